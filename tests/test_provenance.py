"""Where a model comes from is found in its manifest, in its run folder, and below an enrolled model."""

import json
import shutil

import pytest
from tiny_model import build_tiny_model
from tiny_training import LABELS, tones

from edgedigit import provenance
from edgedigit.compress.pipeline import prune_track
from edgedigit.config import Config, from_dict, to_dict, with_setting
from edgedigit.errors import ConfigError
from edgedigit.manifest import sha256_of, write_manifest
from edgedigit.provenance import commits_of, config_of, note_commit, trained_at, trained_file, training_facts
from edgedigit.train import pipeline


@pytest.fixture
def model(tmp_path):
    return build_tiny_model(tmp_path / "final-int8.onnx")


@pytest.fixture
def settings():
    return to_dict(with_setting(Config(), "seed", 7))


def enroll_on(model, path):
    path.parent.mkdir(exist_ok=True)
    told = {"clips": {"yes": 10}, "on": model.name, "sha256": sha256_of(model)}
    return build_tiny_model(path, enrolled=json.dumps(told))


def test_nothing_is_known_of_a_model_alone(model):
    assert config_of(model) is None and training_facts(model) == {"seeds": []}


def test_a_run_folder_tells_what_a_manifest_would(model, settings):
    model.with_name("config.json").write_text(json.dumps(settings))
    assert config_of(model).seed == 7 and training_facts(model)["seeds"] == [7]
    write_manifest(model, {"config": {**settings, "seed": 8}})
    assert config_of(model).seed == 8, "the manifest is the model's own"


def test_an_enrolled_model_has_the_training_of_the_model_below_it(model, settings, tmp_path):
    write_manifest(model, {"config": settings})
    beside, elsewhere = (enroll_on(model, path) for path in (tmp_path / "mine.onnx", tmp_path / "far" / "mine.onnx"))
    assert trained_file(beside) == model and config_of(beside).seed == 7
    assert trained_file(elsewhere) is None and config_of(elsewhere) is None
    build_tiny_model(model, version="0.0.other")  # of that name, and another
    assert trained_file(beside) is None


@pytest.mark.parametrize("text", ["null", '{"architectures": ["x"], "seed": 1}'])
def test_settings_of_another_program_are_none_of_ours(model, text):
    model.with_name("config.json").write_text(text)
    assert config_of(model) is None and training_facts(model) == {"seeds": []}


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read as JSON"), ('{"data": {"x": 1}}', "does not fit")])
def test_damaged_settings_are_named(model, text, words):
    model.with_name("config.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        config_of(model)


def at(monkeypatch, *commits):
    left = list(commits)
    monkeypatch.setattr(provenance, "source_commit", lambda: left.pop(0))


def test_results_say_at_which_commits_a_run_was_trained(model, settings, monkeypatch):
    model.with_name("config.json").write_text(json.dumps(settings))
    at(monkeypatch, "aaa", "aaa", "bbb")
    for _ in range(3):  # the second phase at the same commit
        note_commit(model.parent)
    assert training_facts(model) == {"seeds": [7], "trained_at": "aaa, bbb"}
    other = model.parent / "other" / model.name
    other.parent.mkdir()
    shutil.copy(model, other)
    assert training_facts(model, other) == {"seeds": [7], "trained_at": "aaa, bbb, unknown"}
    other.with_name("config.json").write_text(json.dumps({**settings, "seed": 8}))
    other.with_name("commits.json").write_text('["bbb", "ccc"]')
    assert training_facts(model, other) == {"seeds": [7, 8], "trained_at": "aaa, bbb, ccc"}


def test_results_of_several_runs_say_all_their_commits():
    assert trained_at([["a"], ["a", "b"]]) == {"trained_at": "a, b"}
    assert trained_at([["a"], []]) == {"trained_at": "a, unknown"}
    assert trained_at([[], ["unknown"]]) == {}


def test_a_run_that_was_begun_before_commits_were_noted_does_not_pass_for_one_of_today(model, monkeypatch):
    (model.parent / "final-student.last.pt").write_bytes(b"")
    assert "trained_at" not in training_facts(model)
    at(monkeypatch, "bbb")
    note_commit(model.parent)
    assert commits_of(model.parent) == ["unknown", "bbb"]


def test_what_was_trained_outside_a_repository_says_no_commit(model, monkeypatch):
    at(monkeypatch, "unknown")
    note_commit(model.parent)
    assert "trained_at" not in training_facts(model)


SETTINGS = {
    "data": {"labels": LABELS, "split": "all", "refit": False},
    "augment": {"enabled": False},
    "teachers": [],
    "student": {"name": "student_dscnn", "kwargs": {"widths": [16], "depths": [1], "kernels": [5]}},
    "fit_student": {"epochs": 1, "lr": 0.01, "batch_size": 8},
    "compress": {"pruning_steps": 1, "target_sparsity": 0.3, "final_epochs": 1},
    "threads": 1,
}


def test_trainings_note_their_commit_and_what_is_resumed_when_finished_does_not(tmp_path, monkeypatch):
    config = from_dict(SETTINGS)
    material = pipeline.Material((pipeline.Track(pipeline.FINAL, tones(16), []),), [], [])

    def train(resume):
        pipeline.prepare_run(config, tmp_path, resume, material.tracks)
        pipeline.train_all(config, material, tmp_path, resume, say=str, bars=False)

    def prune(resume):
        prune_track(config, material, material.tracks[0], tmp_path, resume, say=str, bars=False)

    for commit, step, resume in (
        ("aaa", train, False),
        ("bbb", prune, False),
        ("ccc", train, True),
        ("ccc", prune, True),
    ):
        monkeypatch.setattr(provenance, "source_commit", lambda commit=commit: commit)
        step(resume)
    assert commits_of(tmp_path) == ["aaa", "bbb"]
    (tmp_path / "commits.json").unlink()  # as in folders of earlier versions
    train(True)
    assert commits_of(tmp_path) == []
