"""Enrolment: a file that keeps the contract, other words rejected, and one line for what is wrong."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnx")
import onnx

import infer
from edgedigit.audio import write_wav
from edgedigit.cli import run_main
from edgedigit.data.recording import Recording
from edgedigit.enroll import __main__ as cli
from edgedigit.enroll import clips as clips_module
from edgedigit.enroll import head, pipeline
from edgedigit.enroll.graph import Embedder, Head, find_opening, graft
from edgedigit.manifest import manifest_path, read_manifest, sha256_of
from edgedigit.metrics import wilson_interval
from edgedigit.runtime import Recognizer, StreamingRecognizer, VadOptions
from edgedigit.runtime._paths import artifacts_dir

ROOT = Path(__file__).resolve().parents[1]
MODEL = artifacts_dir() / "model.onnx"
# Columns of an embedding: the classifier's own input, the last stage's maximum, mean and maximum of the earlier stages.
PARTS = np.split(np.arange(368), np.cumsum([88, 88, 56, 56, 40]))
BOTH = pytest.mark.parametrize("model", ["model.onnx", "model_int8.onnx"])


def sound(word, take):
    """Two words: a rising and a falling whistle, never the same twice; a third is a buzz."""
    rng = np.random.default_rng([len(word), take])
    time_s = np.arange(4000) / 8000 * rng.uniform(0.9, 1.1)
    if word == "buzz":
        wave = np.sign(np.sin(2 * np.pi * rng.uniform(90, 110) * time_s))
    else:
        sweep_hz = 1500 if word == "rise" else -1500
        wave = np.sin(2 * np.pi * (1800 + rng.uniform(-50, 50) + sweep_hz * (time_s - 0.25)) * time_s)
    return (0.2 * np.hanning(4000) * wave + rng.normal(0, 1e-3, 4000)).astype(np.float32)


@pytest.fixture
def words(tmp_path):
    for word in ("rise", "fall", "_unknown_"):
        (tmp_path / "words" / word).mkdir(parents=True)
        for take in range(6):
            wave = sound("buzz" if word == "_unknown_" else word, take)
            write_wav(tmp_path / "words" / word / f"{take}.wav", wave)
    return tmp_path / "words"


def enroll(*argv):
    """On the shipped model.onnx alone, if no model is named: in half the time."""
    on = () if "--model" in argv else ("--model", MODEL)
    return run_main(cli.main, [str(word) for word in ("--quiet", *argv, *on)])


@pytest.fixture
def few_others(monkeypatch, tmp_path):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(clips_module, "OTHER_WORDS", ("garden", "window", "coffee", "music", "people", "river"))
    monkeypatch.setattr(clips_module.synth, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(clips_module.synth, "program_voices", list)


@BOTH
def test_new_words_are_heard_and_other_sounds_are_rejected(words, tmp_path, capsys, model):
    argv = ("--clips", words, "--output", tmp_path / "mine", "--model", artifacts_dir() / model, "--others", "none")
    assert enroll(*argv) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["labels"] == ["fall", "rise", "_unknown_"]
    assert sum(row["right"] for row in summary["held_out"]["words"].values()) >= 10  # of 12
    recognizer = Recognizer(tmp_path / "mine" / "model.onnx")  # verifies the manifest
    fresh = [recognizer.predict(sound(word, 50)) for word in ("rise", "fall", "buzz")]
    assert [answer.label for answer in fresh] == ["rise", "fall", "_unknown_"]
    assert [answer.rejected for answer in fresh] == [False, False, True]
    assert sum(fresh[0].probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_file_keeps_the_contract_and_says_what_it_was_made_of(words, tmp_path, capsys):
    assert enroll("--clips", words, "--output", tmp_path / "mine", "--others", "none") == 0
    path = tmp_path / "mine" / "model.onnx"
    base, info = Recognizer(MODEL).info, Recognizer(path).info
    assert (info.sample_rate, info.n_samples, info.signal) == (base.sample_rate, base.n_samples, base.signal)
    assert info.thresholds["vad"] == asdict(VadOptions.from_dict(base.thresholds["vad"]))  # all, by name
    assert json.loads(info.metadata["enrolled"])["clips"] == {"_unknown_": 6, "fall": 6, "rise": 6}
    manifest = read_manifest(path)
    assert manifest["kind"] == "enrolled" and manifest["labels"] == list(info.labels)
    weights = {value.name for value in onnx.load(path).graph.initializer}
    assert "model.network.stem.weight" in weights and "model.network.classifier.weight" not in weights
    assert path.stat().st_size < MODEL.stat().st_size + 10_000
    assert {file.name for file in path.parent.iterdir()} == {"model.onnx", "model.manifest.json"}
    capsys.readouterr()
    assert run_main(infer.main, ["--model", str(path), str(words / "rise")]) == 0
    assert [row["label"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["results"]].count("rise") >= 5
    stream = StreamingRecognizer(Recognizer(path))
    stream.accept(np.concatenate([np.zeros(8000, np.float32), sound("rise", 3), np.zeros(8000, np.float32)]))


def test_both_shipped_files_are_built_on_if_none_is_named(words, tmp_path, capsys):
    argv = ["--clips", str(words), "--output", str(tmp_path / "mine"), "--others", "none", "--quiet"]
    assert run_main(cli.main, argv) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    for made, base in ((summary, "model.onnx"), (summary["int8"], "model_int8.onnx")):
        path = tmp_path / "mine" / base
        recognizer = Recognizer(path)
        assert (made["model"], made["reject_below"]) == (str(path), recognizer.reject_below)
        assert sum(row["right"] for row in made["held_out"]["words"].values()) >= 10  # of 12
        enrolled = json.loads(recognizer.info.metadata["enrolled"])
        assert (enrolled["on"], enrolled["sha256"]) == (base, sha256_of(artifacts_dir() / base))
        assert [recognizer.predict(sound(word, 50)).label for word in ("rise", "fall")] == ["rise", "fall"]
    assert enroll("--clips", words, "--output", tmp_path / "mine", "--others", "none", "--replace") == 0
    said = capsys.readouterr().out
    assert json.loads(said.splitlines()[-1])["int8"] is None and "removed the model_int8.onnx" in said
    # an INT8 file of other words beside the new one would mislead, also where its successor cannot be written
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {"model.onnx", "model.manifest.json"}


def test_a_second_file_that_cannot_be_written_leaves_none_of_other_words(words, tmp_path, capsys, monkeypatch):
    argv = ["--clips", str(words), "--output", str(tmp_path / "mine"), "--others", "none", "--quiet"]
    assert run_main(cli.main, argv) == 0
    (words / "rise").rename(words / "up")

    def full(source, *rest):
        if source.name == "model_int8.onnx":
            raise OSError(28, "No space left on device")
        graft(source, *rest)

    monkeypatch.setattr(pipeline, "graft", full)
    assert run_main(cli.main, [*argv, "--replace"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {"model.onnx", "model.manifest.json"}
    assert Recognizer(tmp_path / "mine" / "model.onnx").info.labels == ("fall", "up", "_unknown_")


def test_digits_can_be_kept_and_lose_nothing(words, tmp_path, capsys, few_others):
    assert enroll("--clips", words, "--output", tmp_path / "mine", "--keep-digits") == 0
    recognizer = Recognizer(tmp_path / "mine" / "model.onnx")
    assert recognizer.info.labels == (*"0123456789", "fall", "rise", "_unknown_")
    samples = sorted((artifacts_dir() / "samples").glob("*.wav"))
    kept, shipped = recognizer.predict(samples), Recognizer(MODEL).predict(samples)
    assert [answer.label for answer in kept] == [answer.label for answer in shipped]
    assert recognizer.predict(sound("fall", 70)).label == "fall"
    held_out = json.loads(capsys.readouterr().out.splitlines()[-1])["held_out"]
    assert held_out["kept"]["n"] == 60 and held_out["others"]["n"] == 6 * 6 + 6  # a digit is no other word


def test_ones_own_digits_start_from_what_the_model_knows(tmp_path, capsys, few_others):
    """Every other clip of 3 is enrolled as 8 and the reverse, by a person with odd habits."""
    samples = artifacts_dir() / "samples"
    for label, word in (("3", "eight"), ("8", "three"), ("5", "five")):
        (tmp_path / "digits" / label).mkdir(parents=True)
        waveform, rate = soundfile.read(samples / f"{word}.wav", dtype="float32")
        for take in range(4):
            write_wav(tmp_path / "digits" / label / f"{take}.wav", waveform * (0.5 + 0.1 * take), rate)
    assert enroll("--clips", tmp_path / "digits", "--output", tmp_path / "mine") == 0
    recognizer = Recognizer(tmp_path / "mine" / "model.onnx")
    heard = [recognizer.predict(samples / f"{word}.wav").label for word in ("eight", "three", "five")]
    assert heard == ["3", "8", "5"]


def test_without_a_reason_a_head_changes_nothing(tmp_path):
    info = Recognizer(MODEL).info
    n, facts = len(info.labels), info.metadata
    width = Embedder(MODEL)(np.zeros((1, 8000), np.float32))[0].shape[1]
    neutral = Head(info.labels, tuple(range(n)), np.zeros((width, n)), np.zeros(n))
    graft(MODEL, tmp_path / "same.onnx", neutral, facts)
    waveforms = np.random.default_rng(0).normal(0, 0.1, (4, 8000)).astype(np.float32)
    same, shipped = (Recognizer(path).probabilities(waveforms) for path in (tmp_path / "same.onnx", MODEL))
    assert np.allclose(same, shipped, atol=1e-6)


@BOTH
def test_embeddings_are_parts_of_unit_length_and_follow_the_clip_not_its_level(model):
    embedder = Embedder(artifacts_dir() / model)
    clip = sound("rise", 0)
    windows = clips_module.windows([clip, 0.1 * clip, sound("fall", 0)], 8000)
    embeddings, scores = embedder(windows)
    assert embeddings.shape == (3, 368) and scores.shape == (3, len(Recognizer(MODEL).info.labels))
    for part in PARTS:
        assert np.linalg.norm(embeddings[:, part], axis=1) == pytest.approx(np.ones(3), abs=1e-5)
        assert embeddings[0, part] @ embeddings[1, part] > embeddings[0, part] @ embeddings[2, part]


def test_the_maximum_hears_a_sound_wherever_it_is_and_the_mean_how_long():
    """A word said twice in a window has the maxima of one said once, and another mean."""
    short = sound("rise", 0)[1000:3000]
    once, twice = np.zeros((2, 8000), np.float32)
    once[1000:3000] = twice[1000:3000] = twice[5000:7000] = short
    (one, two), _ = Embedder(MODEL)(np.stack([once, twice]))
    mean, maximum = PARTS[4:]
    assert one[maximum] @ two[maximum] > one[mean] @ two[mean]


@BOTH
def test_the_file_computes_what_the_classifier_was_fitted_on(tmp_path, model):
    path = artifacts_dir() / model
    rng = np.random.default_rng(0)
    head_ = Head(("yes", "no"), (-1, -1), rng.normal(size=(368, 2)), rng.normal(size=2))
    facts = {**Recognizer(path).info.metadata, "labels": json.dumps(head_.labels)}
    graft(path, tmp_path / "new.onnx", head_, {key: facts[key] for key in facts if key != "reject_label"})
    windows = clips_module.windows([sound(word, 0) for word in ("rise", "fall", "buzz")], 8000)
    embeddings, _ = Embedder(path)(windows)
    scores = embeddings @ head_.weights + head_.bias
    wanted = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert Recognizer(tmp_path / "new.onnx").probabilities(windows) == pytest.approx(wanted, abs=1e-5)


def test_the_threshold_lets_no_more_pass_than_allowed():
    sureness = np.linspace(0, 0.99, 100)
    for allowed in (0.0, 0.05, 0.5):
        limit = head.threshold(sureness, allowed)
        assert (sureness >= limit).sum() == round(100 * allowed)


def test_the_threshold_rises_to_what_ones_own_clips_allow():
    """Other words that are easily rejected ask for little; a word asks for more, unless it is said unsurely."""
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], 40)  # two words, and `_unknown_`
    own = targets < 2
    examples = head.Examples(np.zeros((120, 1)), np.zeros((120, 3)), targets, np.zeros(120), np.ones(120, bool), own)

    def chosen(of_words, of_others):
        found = np.full((120, 3), 0.0)
        found[own, targets[own]] = of_words
        found[~own, 0] = of_others
        found[:, 2] = np.where(own, 1 - found.max(axis=1), 0.0)
        return pipeline._threshold(examples, found, 2, 0.05)

    sure, unsure = rng.uniform(0.9, 1.0, 80), rng.uniform(0.6, 1.0, 80)
    assert (sure >= chosen(sure, 0.3)).mean() == pytest.approx(0.95, abs=0.02)
    assert chosen(unsure, 0.3) < chosen(sure, 0.3)
    assert chosen(sure, 0.99) > 0.99  # other words come first


def test_held_out_clips_are_judged_without_having_been_learnt():
    """Labels that mean nothing are learnt by heart and not found again."""
    rng = np.random.default_rng(0)
    embeddings, targets = rng.normal(size=(60, 80)), rng.integers(0, 2, 60)
    examples = head.Examples(embeddings, np.zeros((60, 2)), targets, np.arange(60) % 10, *np.ones((2, 60), bool))
    learnt = head.probabilities(examples, *head.fit(examples)).argmax(axis=1)
    held_out = head.held_out_probabilities(examples).argmax(axis=1)
    assert (learnt == targets).mean() == 1
    assert (held_out == targets).mean() < 0.75


def test_the_same_clips_give_the_same_model(words, tmp_path, capsys):
    for name in ("one", "two"):
        assert enroll("--clips", words, "--output", tmp_path / name, "--others", "none") == 0
    one, two = ((tmp_path / name / "model.onnx").read_bytes() for name in ("one", "two"))
    assert one == two


def test_an_earlier_enrolment_is_replaced_only_where_that_is_said(words, tmp_path, refusal, monkeypatch):
    """Its clips may be gone, and nothing else would bring it back."""
    first = tmp_path / "mine" / "model.onnx"
    argv = ["--clips", words, "--output", first.parent, "--others", "none", "--quiet", "--model", MODEL]
    assert run_main(cli.main, [str(word) for word in argv]) == 0
    before = {file.name: file.read_bytes() for file in first.parent.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(clips_module, "read_clips", None)  # it is told before anything is read
        line = refusal(cli.main, argv)
    assert f"{first} was enrolled before (fall, rise); add --replace" in line
    first.rename(first.with_name("model_int8.onnx"))  # the second file alone, which would be removed
    manifest_path(first).rename(manifest_path(first.with_name("model_int8.onnx")))
    assert "model_int8.onnx was enrolled before (fall, rise)" in refusal(cli.main, argv)
    assert sorted(file.read_bytes() for file in first.parent.iterdir()) == sorted(before.values())
    (words / "rise").rename(words / "up")
    assert run_main(cli.main, [str(word) for word in (*argv, "--replace")]) == 0
    assert Recognizer(first).info.labels == ("fall", "up", "_unknown_")


def test_a_folder_that_cannot_take_the_models_is_told_before_clips_are_read(tmp_path, refusal):
    taken = tmp_path / "mk.py"
    taken.write_text("a program")
    argv = ["--clips", tmp_path / "nowhere", "--output"]
    assert f"{taken} is a file; name a folder for model.onnx and model_int8.onnx" in refusal(cli.main, [*argv, taken])
    assert f"got {taken / 'mine'}, which cannot be written" in refusal(cli.main, [*argv, taken / "mine"])
    assert "nowhere does not exist" in refusal(cli.main, [*argv, tmp_path / "new" / "mine"])
    assert [path.name for path in tmp_path.iterdir()] == ["mk.py"] and taken.read_text() == "a program"


def test_bad_input_costs_one_line_and_loses_nothing(words, tmp_path, capsys, tiny_model):
    def refused(*argv):
        out = tmp_path / "out"
        assert enroll("--output", out, "--others", "none", *argv) == 2
        assert not (out / "model.onnx").exists()
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    assert "does not exist" in refused("--clips", tmp_path / "nowhere")
    assert "does not end in one dense layer" in refused("--clips", words, "--model", tiny_model)
    assert "is not a file" in refused("--clips", words, "--model", "no.onnx")
    assert "share from 0" in refused("--clips", words, "--false-accepts", "5")
    assert "digits are kept" in refused("--clips", words, "--keep-digits")
    write_wav(words / "rise" / "9.wav", np.zeros(4000, np.float32))
    assert "rise/9.wav is silent" in refused("--clips", words)
    (words / "rise" / "9.wav").write_text("no audio")
    assert "is not an audio file" in refused("--clips", words)
    (words / "rise" / "9.wav").unlink()
    for take in range(4):
        (words / "fall" / f"{take}.wav").unlink()
    assert "2 of fall; record 3" in refused("--clips", words)
    for path in [*(words / "fall").iterdir()]:
        path.rename(path.with_suffix(".m4a"))  # as telephones record
    assert "no recording in fall, expected .wav" in refused("--clips", words)
    for name in ("fall", "_unknown_"):
        shutil.rmtree(words / name)
    assert "labels are rise, expected two or more" in refused("--clips", words)


def test_what_is_not_learnt_is_said_in_one_line_each(words, tmp_path, capsys):
    argv = ("--clips", words, "--output", tmp_path / "mine", "--others", "none", "--replace")
    assert enroll(*argv) == 0
    lines = capsys.readouterr().out
    assert "left out" not in lines and "several words" not in lines
    (words / "rise" / "0.wav").rename(words / "rise" / "0.m4a")
    (words / "fall" / "1.wav").rename(words / "fall" / "1.M4A")
    (words / "fall" / "notes.txt").write_text("at home")
    (words / "fall" / ".hidden").write_text("of the system")
    said = [soundfile.read(artifacts_dir() / "samples" / f"{word}.wav", dtype="float32") for word in ("two", "three")]
    pause, rate = np.zeros(said[0][1] // 2, np.float32), said[0][1]
    for word in ("rise", "_unknown_"):  # what is rejected may be a sentence
        write_wav(words / word / "long.wav", np.concatenate([pause, said[0][0], pause, said[1][0], pause]), rate)
    padded = np.concatenate([pause, said[0][0], pause, pause, pause])  # long, but a single word
    write_wav(words / "rise" / "padded.wav", padded, rate)
    assert enroll(*argv) == 0
    left_out, several = capsys.readouterr().out.splitlines()[:2]
    assert left_out.startswith("left out 2 .m4a, 1 .txt: only .wav .flac")
    assert several.startswith("several words seem to be in words/rise/long.wav (2): the model hears 1 s, and only")


def test_all_of_a_long_recording_of_other_sounds_is_learnt(words, tmp_path, capsys):
    """Not its loudest second alone; in the manifest it is one."""
    pause = np.zeros(8000, np.float32)
    tones = [0.1 * np.sin(2 * np.pi * 400 * np.arange(8000) / 8000 * (1 + 0.05 * take)) for take in range(5)]
    write_wav(words / "_unknown_" / "long.wav", np.concatenate([sound("buzz", 9), *tones, pause, pause]))
    assert enroll("--clips", words, "--output", tmp_path / "mine", "--others", "none") == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["held_out"]["others"]["n"] == 6 + 6  # short ones, and seconds with sound
    info = Recognizer(tmp_path / "mine" / "model.onnx").info
    assert json.loads(info.metadata["enrolled"])["clips"]["_unknown_"] == 7


def test_parts_of_a_recording_are_held_out_together_and_bounded_in_number():
    def recording(name, seconds, label="_unknown_"):
        noise = np.random.default_rng(0).normal(0, 0.1, int(8000 * seconds)).astype(np.float32)
        return Recording(noise, 8000, label, "me", "mine", name)

    clips = [recording("a", 3.2), recording("b", 1.2), recording("c", 200), recording("d", 3, "yes")]
    parts = clips_module.cut_others(clips, 8000)
    names = [part.name for part in parts]
    assert {name: names.count(name) for name in names} == {"a": 4, "b": 1, "c": clips_module.MAX_PARTS, "d": 1}
    assert all(part.waveform.size == 8000 for part in parts if part.name in "ac")
    assert parts[-1] is clips[-1] and parts[4] is clips[1]
    folds = pipeline._folds(parts, np.ones(len(parts), bool), ("yes", "_unknown_"))
    assert {(name, fold) for name, fold in zip(names, folds, strict=True)} == {("a", 0), ("b", 1), ("c", 2), ("d", 0)}


def test_an_enrolled_model_names_the_one_that_it_was_made_of(words, tmp_path, capsys):
    assert enroll("--clips", words, "--output", tmp_path / "mine", "--others", "none") == 0
    capsys.readouterr()
    again = ("--clips", words, "--output", tmp_path / "more", "--others", "none")
    assert enroll(*again, "--model", tmp_path / "mine" / "model.onnx") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "mine/model.onnx has been enrolled already, on a model.onnx" in line and sha256_of(MODEL)[:12] in line
    assert not (tmp_path / "more").exists()


def test_a_negative_seed_is_refused_before_anything_is_read(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        enroll("--clips", tmp_path / "nowhere", "--output", tmp_path, "--seed", "-1")
    assert "--seed is -1, expected 0 or more" in capsys.readouterr().err


def test_a_model_that_was_not_enrolled_is_never_overwritten(words, tmp_path, capsys):
    before = MODEL.read_bytes(), manifest_path(MODEL).read_bytes()
    assert enroll("--clips", words, "--output", MODEL.parent, "--others", "none") == 2
    assert "did not write" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    shutil.copy(MODEL, tmp_path / "mine" / "model_int8.onnx")  # would be removed, were it an enrolled one
    assert enroll("--clips", words, "--output", tmp_path / "mine", "--others", "none") == 2
    assert "model_int8.onnx is a model that this program did not write" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["model_int8.onnx"]
    assert (MODEL.read_bytes(), manifest_path(MODEL).read_bytes()) == before


@pytest.fixture
def measurement():
    """The script that measures enrolment for the documents."""
    spec = importlib.util.spec_from_file_location("measure_enrollment", ROOT / "docs" / "measure_enrollment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_measured_row_says_what_the_written_threshold_gives(measurement, capsys):
    counts = dict(n=200, closed=190, right=150, rejected=45, wrong=5, detected=170, n_others=100, accepted=10)
    row = measurement.report("two words", Counter(counts))
    assert (row["group"], row["n"], row["n_correct"]) == ("two words", 200, 170)
    low, high = wilson_interval(150, 200)
    assert row["right at the program's threshold %"] == f"75.0 ({100 * low:.1f}–{100 * high:.1f})"
    low, high = wilson_interval(10, 100)
    assert row["others pass at it %"] == f"10.0 ({100 * low:.1f}–{100 * high:.1f})"
    assert "others pass at it %" not in measurement.report("digits alone", Counter({**counts, "n_others": 0}))


def test_what_is_measured_is_decided_at_the_threshold_in_the_file(measurement, monkeypatch):
    """Words that are surer than it are answered, others rejected, whatever 5 % of the other words reach."""

    def recording(word, take):
        return Recording(
            sound(word, take), 8000, "_unknown_" if word == "buzz" else word, "me", "mine", f"{word}{take}"
        )

    clips = [recording(word, take) for word in ("rise", "fall", "buzz") for take in range(6)]
    tested = [recording(word, take) for word in ("rise", "fall") for take in range(10, 15)]
    others = [recording("buzz", take) for take in range(10, 30)]
    without = partial(pipeline.enroll, others=False)
    for reject_below, n_right in ((0.0, 10), (1.1, 0)):

        def enrolled(*given, at=reject_below):
            return replace(without(*given), reject_below=at)

        monkeypatch.setattr(measurement, "enroll", enrolled)
        counts = measurement.measure(MODEL, clips, tested, others)
        assert (counts["right"], counts["rejected"]) == (n_right, 10 - n_right)
        assert counts["detected"] == 10, "the published figure does not ask for the model's own threshold"


def test_enrolment_needs_no_torch(words, tmp_path):
    argv = ["--clips", str(words), "--output", str(tmp_path / "o"), "--others", "none", "--quiet"]
    block = "import sys\nclass Block:\n    def find_spec(self, name, *_):\n        assert name != 'torch'\n"
    code = (
        f"{block}sys.meta_path.insert(0, Block())\nfrom edgedigit.enroll.__main__ import main\nsys.exit(main({argv!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["platformdirs", "tqdm", "scipy", "onnx", "espeakng_loader"])
def test_a_missing_package_names_the_extra_of_enrolment(words, tmp_path, package):
    argv = ["enroll", "--clips", str(words), "--output", str(tmp_path / "o"), "--quiet"]
    code = (
        f"import runpy, sys; sys.modules[{package!r}] = None; sys.argv = {argv!r}\n"
        "runpy.run_module('edgedigit.enroll', run_name='__main__')"
    )
    nothing_kept = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=nothing_kept, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert re.fullmatch(
        rf'error: {package}[\w.]* is not installed; run: pip install "edgedigit\[enroll\]"\n', done.stderr
    )


@BOTH
def test_shipped_models_can_be_opened(model):
    opening = find_opening(onnx.load(artifacts_dir() / model), model)
    assert opening.scores and len(opening.stages) == 3


def test_a_net_without_stages_over_time_gives_its_embedding_alone():
    """An average over time of one stage: there is nothing earlier to hear."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["waveform", "w"], ["c"], strides=[2], group=1),
        node("GlobalAveragePool", ["c"], ["mean"]),
        node("Flatten", ["mean"], ["flat"]),
        node("Gemm", ["flat", "v"], ["scores"]),
        node("Softmax", ["scores"], ["probabilities"]),
    ]
    opening = find_opening(onnx.helper.make_model(onnx.helper.make_graph(nodes, "small", [], [])), "small.onnx")
    assert (opening.embedding, opening.scores, opening.stages) == ("flat", "scores", ())
