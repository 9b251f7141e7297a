"""Words of one's own through the four scripts: flags, what is said about the split, and one line for what is wrong."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import infer
from edgedigit import evaluate
from edgedigit.cli import run_main
from edgedigit.config import DataConfig, load_config
from edgedigit.errors import ConfigError, DataError
from edgedigit.train import pipeline

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    *("--set", "student.kwargs={widths: [12, 16], depths: [1, 1], kernels: [5, 5]}", "--set", "threads=1"),
    *(
        "--set",
        "compress={target_sparsity: 0.1, pruning_steps: 1, epochs_per_step: 1, final_epochs: 6, calibration_clips: 20}",
    ),
    *("--set", "augment={room_probability: 0, vocoder_probability: 0}", "--set", "fit_student.samples_per_epoch=192"),
    *("--set", "fit_student.lr=2e-2", "--set", "fit_student.ema_decay=0.7", "--teachers", "--quiet"),
    *("--set", "gates={max_int8_loss: 1, min_agreement_int8: 0.5}", "--set", "data.validation_fraction=0.25"),
]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_words(folder, frequencies_hz, n=8):
    """One sub-folder for each word, which is a tone."""
    time_s = np.arange(2800) / 8000
    for word, frequency_hz in frequencies_hz.items():
        (folder / word).mkdir(parents=True)
        for i in range(n):
            wave = 0.3 * np.sin(2 * np.pi * frequency_hz * (1 + i / 200) * time_s)
            soundfile.write(folder / word / f"{i}.wav", wave, 8000)
    return folder


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEDIGIT_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return write_words(tmp_path / "mine", {"yes": 400, "turn on": 1000, "seven": 2000})


def overridden(*argv):
    train = script("train_distill")
    return load_config(None, train.overrides(train.parse_args(argv))).data


@pytest.mark.parametrize(
    "argv, labels",
    [
        (["yes,no,up"], ("yes", "no", "up")),
        (["yes", "no", "up"], ("yes", "no", "up")),
        (["yes,", "no,", "up"], ("yes", "no", "up")),
        (["turn on,turn off"], ("turn on", "turn off")),
        (["off,Seven,_unknown_"], ("off", "7", "_unknown_")),
    ],
)
def test_labels_are_given_with_commas_or_spaces(argv, labels):
    assert overridden("--labels", *argv).labels == labels


def test_data_names_the_sources_and_divides_them_as_they_are_marked():
    assert overridden("--data", "folder:a,synth:9", "synth") == DataConfig(
        ("folder:a", "synth:9", "synth"), split="auto"
    )
    assert overridden("--data", "folder:a", "--set", "data.split=kfold:3:0").split == "kfold:3:0"
    assert overridden("--set", "data.labels=['yes', 'no']") == DataConfig(labels=("yes", "no"))


@pytest.mark.parametrize(
    "labels, message",
    [
        (["yes"], "labels are yes, expected two or more"),
        ([], "labels are none"),
        (["yes", "no", "yes"], "'yes' is named 2 times"),
        (["yes", "_unkown_"], "'_unkown_' looks like '_unknown_'"),
        (["yes", "unknown"], "write it so"),
        (["yes", "__UNKNOWN__"], "looks like"),
        (["yes", ""], "empty"),
    ],
)
def test_labels_that_cannot_be_are_one_clear_error(labels, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(labels=tuple(labels))


def test_yes_and_no_without_quotes_in_yaml_are_explained():
    with pytest.raises(ConfigError, match="in quotes"):
        load_config(None, ["data.labels=[yes, no]"])


def recordings_of(source, labels):
    return pipeline.read_recordings(DataConfig((source,), labels=labels, split="auto", noises=""), None, False)[0]


@pytest.mark.parametrize(
    "source, labels, error, message",
    [
        ("folder:mine", ("yes", "Turn-On"), DataError, "no recording of Turn-On; there is turn on for Turn-On; add"),
        ("folder:mine", ("yes", "up"), DataError, "no recording of up; there is also 7, turn on; add"),
        ("folder:mine", ("ja", "nein"), DataError, "no recording of ja, nein; check labels: it holds 7, turn on, yes"),
        ("folder:yours", ("yes", "no"), DataError, "yours does not exist"),
        ("mine", ("yes", "7"), ConfigError, "write folder:mine, or choose"),
    ],
)
def test_missing_recordings_say_what_there_is(words, source, labels, error, message):
    with pytest.raises(error, match=message):
        recordings_of(source, labels)


def test_other_words_that_neither_voices_nor_recordings_bring_are_asked_for(tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr("edgedigit.data.synth.cache_dir", lambda: tmp_path)
    with pytest.raises(DataError, match="synth:1:de: no recording of _unknown_; add recordings or name only"):
        recordings_of("synth:1:de", ("ja", "_unknown_"))


def divided(words, labels=("yes", "7"), **settings):
    data = DataConfig((f"folder:{words}",), labels=labels, split="auto", noises="", **settings)
    return pipeline.divide(data, *pipeline.read_recordings(data, None, False))


def test_one_unknown_speaker_is_validated_by_recording_and_the_output_says_so(words):
    material = divided(words)
    assert len(material.tracks[0].validation) == 4  # of 16
    assert "same speakers" in material.evaluations()[0][0]
    (note,) = pipeline.data_notes(material)
    assert "nothing about a stranger" in note and "file,label,speaker,source" in note
    assert "no validation" in pipeline.data_notes(divided(words, validation_fraction=0.0))[0]


def test_marked_speakers_validate_as_they_are_marked(words):
    rows = ["file,label,speaker,source,split"]
    for path in sorted(words.glob("*/*.wav")):
        speaker = "ann" if int(path.stem) < 5 else "bob"
        split = "train" if speaker == "ann" else "val"
        rows.append(f"{path.parent.name}/{path.name},{path.parent.name},{speaker},mine,{split}")
    (words / "manifest.csv").write_text("\n".join(rows))
    material = divided(words, refit=False)
    (track,) = material.tracks
    assert ({r.speaker for r in track.train}, {r.speaker for r in track.validation}) == ({"mine:ann"}, {"mine:bob"})
    assert pipeline.data_notes(material) == [] and material.test == []


def test_figures_of_synthetic_voices_say_so(tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr("edgedigit.data.synth.cache_dir", lambda: tmp_path)
    data = DataConfig(("synth:8",), labels=("yes", "no"), split="auto", noises="")
    material = pipeline.divide(data, *pipeline.read_recordings(data, tmp_path, False))
    assert material.evaluations()[0][0] == "validation, unseen speakers, synthetic voices"
    assert "nothing about people" in pipeline.data_notes(material)[-1]


def test_synthetic_voices_train_alone_and_the_marked_people_test(words, tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr("edgedigit.data.synth.cache_dir", lambda: tmp_path / "cache")
    rows = ["file,label,speaker,source,split"]
    for path in sorted(words.glob("yes/*.wav")) + sorted(words.glob("seven/*.wav")):
        speaker, split = ("ann", "train") if int(path.stem) < 5 else ("bob", "val")
        rows.append(f"{path.parent.name}/{path.name},{path.parent.name},{speaker},mine,{split}")
    (words / "manifest.csv").write_text("\n".join(rows))
    data = DataConfig((f"folder:{words}", "synth:8"), labels=("yes", "7"), split="synthetic", refit=False, noises="")
    material = pipeline.divide(data, *pipeline.read_recordings(data, None, False))
    (track,) = material.tracks
    assert {r.source for r in [*track.train, *track.validation]} == {"synth"}
    assert {r.speaker for r in material.test} == {"mine:bob"}
    assert [part for part, *_ in material.evaluations()] == ["validation, unseen speakers, synthetic voices", "test"]
    data = DataConfig((f"folder:{words}",), labels=("yes", "7"), split="synthetic", noises="")
    with pytest.raises(DataError, match="needs a source synth"):
        pipeline.divide(data, *pipeline.read_recordings(data, None, False))


def run(main, *argv):
    return run_main(main, [str(word) for word in argv])


@pytest.mark.slow
def test_words_go_through_all_four_scripts(words, tmp_path, capsys):
    run_dir, out = tmp_path / "run", tmp_path / "out"
    argv = ["--data", "folder:mine", "--labels", "yes,turn on,7", "--run-dir", run_dir, "--epochs", 12, *SMALL]
    assert run(script("train_distill").main, *argv) == 0
    assert "nothing about a stranger" in capsys.readouterr().out
    assert run(script("prune_and_quantize").main, "--run-dir", run_dir, "--quiet") == 0
    assert run(script("export_models").main, "--run-dir", run_dir, "--output-dir", out, "--quiet") == 0
    capsys.readouterr()
    assert run(infer.main, "--model", out / "model.onnx", words / "yes", words / "turn on", words / "seven") == 0
    lines = capsys.readouterr().out.splitlines()
    labels = [result["label"] for result in json.loads(lines[-1])["results"]]
    assert set(labels) <= {"yes", "turn on", "7", None}
    right = np.mean(
        [label == word for label, word in zip(labels, ["yes"] * 8 + ["turn on"] * 8 + ["7"] * 8, strict=True)]
    )
    assert right > 0.7
    assert lines[0].split()[0] == "label"
    assert run(evaluate.main, "--model", out / "model.onnx", "--sources", "folder:mine") == 0
    groups = [row["group"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]]
    assert groups[-3:] == ["label yes", "label turn on", "digit 7"]
