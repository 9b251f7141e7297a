"""What a training draws from stays the same when it goes on: recordings, noises and the list of label issues."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_training import LABELS, tones, write_tones

import train_distill
from edgedigit import crossval
from edgedigit.audio import write_wav
from edgedigit.cli import run_main
from edgedigit.config import from_dict, load_config, to_dict
from edgedigit.errors import ConfigError, ModelError
from edgedigit.train import pipeline
from edgedigit.train.checkpoints import load_checkpoint, save_checkpoint

SETTINGS = {
    "data": {"labels": LABELS, "split": "all", "refit": False},
    "augment": {"room_probability": 0.0, "vocoder_probability": 0.0},
    "teachers": [],
    "student": {"name": "student_dscnn", "kwargs": {"widths": [8], "depths": [1], "kernels": [5]}},
    "fit_student": {"epochs": 1, "lr": 0.01, "batch_size": 8},
    "threads": 1,
}
DOUBTED = ("tones/0/3", "tones/0/5")


class Training:
    """A small training with a noise and two labels in doubt."""

    def __init__(self, folder):
        self.folder, self.issues = folder, folder / "issues.json"
        self.doubt(*DOUBTED)
        settings = {**SETTINGS, "data": {**SETTINGS["data"], "label_issues": str(self.issues)}}
        self.config = from_dict(settings)
        self.track = pipeline.Track(pipeline.FINAL, tones(16), [])
        self.noises = [replace(recording, name=f"noise/{i}.wav") for i, recording in enumerate(tones(2, seed=1))]

    def doubt(self, *names, heard="high"):
        self.issues.write_text(json.dumps({"issues": dict.fromkeys(names, heard)}))

    def trainer(self, noises=None):
        noises = self.noises if noises is None else noises
        model, fit = self.config.student, self.config.fit_student
        return pipeline.make_trainer(self.config, self.track, model, fit, None, noises, folder=self.folder)


@pytest.fixture
def training(tmp_path):
    training = Training(tmp_path)
    training.trainer().run()
    return training


def test_what_is_drawn_from_decides_the_batches_of_a_training_that_goes_on(training):
    batch, without = (next(training.trainer(noises).batches.epoch(0)).waveforms for noises in (None, []))
    assert not np.array_equal(batch, without)


@pytest.mark.parametrize(
    ("noises", "doubted", "words"),
    [
        ([], DOUBTED, r"other noises \(data.noises\);"),
        (None, DOUBTED[:1], r"another list of label issues \(data.label_issues\);"),
        ([], (), r"other noises .* and another list of label issues"),
    ],
)
def test_other_noises_or_label_issues_are_refused(training, noises, doubted, words):
    training.doubt(*doubted)
    with pytest.raises(ModelError, match=f"final-student_dscnn.last.pt was trained with {words}"):
        training.trainer(noises).resume()
    there = pipeline.drawn_from(training.config.data, training.noises if noises is None else noises)
    with pytest.raises(ModelError, match=f"final-student_dscnn.best.pt was trained with {words}"):
        pipeline.check_recordings(training.config, training.folder, [training.track], there)
    pipeline.check_recordings(training.config, training.folder, [training.track])  # nothing will be trained


def test_the_same_in_another_order_and_checkpoints_that_do_not_say_are_accepted(training):
    training.doubt(*DOUBTED[::-1], heard="other")  # what is heard instead changes no draw
    assert training.trainer(training.noises[::-1]).resume()
    path = training.folder / "final-student_dscnn.last.pt"
    saved = load_checkpoint(path)
    for what in ("noises", "label_issues"):
        del saved[what]
    save_checkpoint(path, saved)
    training.doubt("tones/0/1")
    assert training.trainer([]).resume()


@pytest.fixture
def fold(tmp_path, monkeypatch):
    """A finished fold with one noise and one label in doubt; its folder and the arguments that made it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "issues.json").write_text('{"issues": {"a.wav": "1"}}')
    (tmp_path / "noise" / "hum").mkdir(parents=True)
    write_wav(tmp_path / "noise" / "hum" / "a.wav", np.full(800, 0.1))
    settings = ["data.label_issues=issues.json", "data.noise_part=all"]
    words = [word for setting in settings for word in ("--set", setting)]
    args = crossval.parse_args(["kfold:2", "--stage", "student", "--resume", "--data-dir", str(tmp_path), *words])
    config = load_config(None, [*settings, "data.split=kfold:2:0"])
    stated = pipeline.drawn_from(config.data, pipeline.load_noises(config.data, tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    (tmp_path / "student.json").write_text(json.dumps({"drawn_from": stated}))
    return tmp_path, args


@pytest.mark.parametrize(("file", "words"), [("issues.json", "another list of"), ("noise/hum/b.wav", "other noises")])
def test_a_finished_fold_is_kept_only_with_the_same_noises_and_label_issues(fold, file, words):
    folder, args = fold
    assert crossval._is_finished("kfold:2:0", folder, args)
    if file == "issues.json":
        (folder / file).write_text('{"issues": {"b.wav": "1"}}')
    else:
        write_wav(folder / file, np.full(800, 0.1))
    with pytest.raises(ConfigError, match=f"holds a fold with {words}"):
        crossval._is_finished("kfold:2:0", folder, args)
    (folder / "student.json").write_text("{}")  # of an earlier version
    assert crossval._is_finished("kfold:2:0", folder, args)


@pytest.mark.parametrize(
    ("doubted", "code", "said"),
    [
        (("tones/0_ann_0.wav", "tones/gone.wav"), 0, "labels in doubt: 1 of 2 in"),
        (("gone.wav",), 2, "lists 1 names, none of the 16 recordings has one of them"),
        ((), 0, "16 training"),
    ],
)
def test_a_training_says_how_many_labels_in_doubt_it_has_and_refuses_a_list_of_others(
    tmp_path, capsys, doubted, code, said
):
    write_tones(tmp_path / "tones")
    issues, run_dir = tmp_path / "issues.json", tmp_path / "run"
    issues.write_text(json.dumps({"issues": dict.fromkeys(doubted, "1")}))
    settings = ["data.sources=['folder:tones']", "data.labels=['0','1']", "data.split=all", "data.noises=''"]
    settings += ["data.validation_fraction=0", f"data.label_issues={issues}", "augment.enabled=false", "teachers=[]"]
    settings += ["student={name: student_dscnn, kwargs: {widths: [8], depths: [1], kernels: [5]}}"]
    settings += ["fit_student={epochs: 1, lr: 0.01}"]
    argv = ["--run-dir", str(run_dir), "--data-dir", str(tmp_path), "--quiet"]
    assert run_main(train_distill.main, [*argv, *(word for one in settings for word in ("--set", one))]) == code
    told = capsys.readouterr()
    assert said in told.out + told.err and run_dir.exists() == (code == 0)
    if code == 0:
        stated = json.loads((run_dir / "student.json").read_text())["drawn_from"]
        assert stated == pipeline.drawn_from(pipeline.load_run_config(run_dir).data, [])
