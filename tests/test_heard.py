"""What a model has heard is told from what is new to it, and where nothing tells, that is said."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from tiny_model import SAMPLE_RATE, build_tiny_model, tone_word

from edgedigit.audio import write_wav
from edgedigit.config import Config, to_dict, with_settings
from edgedigit.data import load_recordings
from edgedigit.data.recording import UNKNOWN_SPEAKER, Recording
from edgedigit.detection.__main__ import GROUPS
from edgedigit.detection.material import load_unheard
from edgedigit.errors import DataError
from edgedigit.runtime import Recognizer
from edgedigit.train.heard import NOVELTY, Heard, heard_by, novelty_note, pooled_novelty_note


@pytest.fixture
def corpora(tmp_path):
    """Two digits by four speakers, in `words`, and a noise of the half that trains."""
    (tmp_path / "words").mkdir()
    lines = ["file,label,speaker,source"]
    for digit in "01":
        for take, speaker in enumerate(("anna", "ben", "carla", "dora")):  # nobody says a word as another does
            write_wav(tmp_path / "words" / f"{digit}_{speaker}.wav", (1 - 0.1 * take) * tone_word(digit))
            lines.append(f"{digit}_{speaker}.wav,{digit},{speaker},words")
    (tmp_path / "words" / "manifest.csv").write_text("\n".join(lines))
    (tmp_path / "noise").mkdir()
    hiss = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    (tmp_path / "noise" / "hum").mkdir()
    write_wav(tmp_path / "noise" / "hum" / "a.wav", hiss)
    return tmp_path


def trained(folder, name="final-int8.onnx", **data):
    """A model in a run folder of these settings."""
    kept = {"sources": ["folder:words"], "split": "all", "labels": ["0", "1"], "validation_fraction": 0.25}
    config = with_settings(Config(), {"data": {**kept, "noise_part": "all", **data}})
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    return build_tiny_model(folder / name)


@pytest.mark.parametrize(("name", "n_trained"), [("final-int8.onnx", 8), ("selection-int8.onnx", 6)])
def test_the_exported_model_of_a_refit_heard_what_selection_kept_for_validation(corpora, name, n_trained):
    heard = heard_by(trained(corpora, name), corpora)
    assert heard.known and (len(heard.trained), len(heard.validation)) == (n_trained, 8 - n_trained)


@pytest.mark.parametrize("sources", [["synth:3", "folder:words"], ["synth:3"]])
def test_a_model_of_synthetic_voices_heard_nobody_and_noises(corpora, sources):
    heard = heard_by(trained(corpora, sources=sources, split="synthetic"), corpora)
    assert heard.known and not heard.trained and heard.noises == {"noise/hum/a.wav"}


def test_a_damaged_folder_of_noises_is_not_taken_for_none(corpora):
    model = trained(corpora)
    (corpora / "noise" / "manifest.csv").write_text("file,label\n")
    with pytest.raises(DataError, match=r"manifest\.csv lacks the columns"):
        heard_by(model, corpora)
    (corpora / "noise").rename(corpora / "elsewhere")
    assert heard_by(model, corpora).noises == frozenset()


def test_who_is_not_told_apart_is_not_called_a_stranger():
    mine = Recording(np.zeros(8, np.float32), 8000, "3", f"mine:{UNKNOWN_SPEAKER}", "mine", "mine/3/a.wav")
    heard = Heard(known=True, trained=frozenset({"other/3/b.wav"}), speakers=frozenset({mine.speaker}))
    assert heard.novelty(mine) == "new"
    assert Heard(speakers=heard.speakers).novelty(mine) == "unknown"
    assert GROUPS.keys() == NOVELTY.keys() - {"trained"}


def test_copies_under_other_names_are_what_they_are_copies_of(corpora):
    """As of training clips that were collected once more, in another container."""
    model = trained(corpora, refit=False)
    for path in (corpora / "words").glob("*.wav"):
        (corpora / "mine" / path.stem[0]).mkdir(parents=True, exist_ok=True)
        waveform, rate = soundfile.read(path, dtype="int16")
        soundfile.write(corpora / "mine" / path.stem[0] / f"take-{path.stem}.flac", waveform, rate)
        quieter = (waveform * 0.77).astype("int16")  # another recording, as far as samples tell
        soundfile.write(corpora / "mine" / path.stem[0] / f"new-{path.stem}.flac", quieter, rate)
    copies = load_recordings(["folder:mine"], corpora, ["0", "1"])
    assert novelty_note(copies, model, corpora) == (
        "Of 16 recordings tested, known by folder and name or by the same samples, 6 trained the model, 2 are of its "
        "validation, 8 are new to it, by nobody knows whom."
    )
    left, n_left_out = load_unheard(["folder:mine"], Recognizer(model), heard_by(model, corpora), corpora, digits=True)
    assert n_left_out == 6 and len(left) == 10


def test_the_note_counts_what_trained_the_model(corpora):
    recordings = load_recordings(["folder:words"], corpora, ["0", "1"])
    model = trained(corpora, refit=False)
    assert novelty_note(recordings, model, corpora) == (
        "Of 8 recordings tested, known by folder and name or by the same samples, 6 trained the model, 2 are of its "
        "validation."
    )
    model = trained(corpora, split="kfold:4:0", validation_fraction=0.0)
    assert "6 trained the model, 2 are by speakers who are new to it." in novelty_note(recordings, model, corpora)
    config = corpora / "config.json"
    config.write_text(config.read_text().replace("folder:words", "folder:gone"))
    note = novelty_note(recordings, model, corpora)
    assert note.startswith("Which of the 8 recordings tested trained the model is not known: folder")
    config.unlink()
    assert novelty_note(recordings, model, corpora) == (
        "Of 8 recordings tested, known by folder and name or by the same samples, 8 may or may not have trained the "
        "model. Nothing says what the model was trained on."
    )


def test_the_note_of_several_models_counts_what_each_answered(corpora):
    recordings = load_recordings(["folder:words"], corpora, ["0", "1"])
    model = trained(corpora, refit=False)
    assert pooled_novelty_note([(model, recordings[:3]), (model, recordings[3:])], corpora) == (
        "Of 8 recordings tested, each with one of 2 models, known by folder and name or by the same "
        "samples, 6 trained the model, 2 are of its validation."
    )
    (corpora / "other").mkdir()
    other = corpora / "other" / "model.onnx"
    shutil.copy(model, other)
    assert pooled_novelty_note([(model, recordings), (other, recordings[:2]), (other, recordings[:1])], corpora) == (
        "Of 11 recordings tested, each with one of 3 models, known by folder and name or by the same samples, 6 "
        "trained the model, 2 are of its validation, 3 may or may not have trained the model. Nothing says what the "
        "model was trained on."
    )
    settings = (corpora / "config.json").read_text().replace("folder:words", "folder:gone")
    other.with_name("config.json").write_text(settings)
    note = pooled_novelty_note([(model, recordings), (other, recordings[:2])], corpora)
    assert note.startswith("Of 8 recordings tested, each with one of 2 models")
    assert "Which of the 2 recordings tested trained the model is not known: folder" in note
