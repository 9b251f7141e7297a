"""Teachers that another run has trained: taken where they are safe to take, refused in one line where they are not."""

import shutil

import pytest
import torch
from tiny_training import LABELS, tones

from edgedigit import tune
from edgedigit.config import from_dict
from edgedigit.errors import ConfigError, ModelError
from edgedigit.train import pipeline
from edgedigit.train.checkpoints import load_checkpoint, save_checkpoint

TINY = {"widths": [8], "depths": [1], "kernels": [5]}
SETTINGS = {
    "data": {"labels": LABELS, "split": "all", "refit": False},
    "augment": {"enabled": False},
    "teachers": [{"name": "ds_cnn", "kwargs": {"width": 8, "depth": 1}}],
    "student": {"name": "student_dscnn", "kwargs": TINY},
    "fit_teacher": {"epochs": 2, "lr": 0.01, "batch_size": 8},
    "fit_student": {"epochs": 1, "lr": 0.01, "batch_size": 8},
    "threads": 1,
}
ALONE = {"teachers": [], "student": SETTINGS["teachers"][0]}


def settings(**changes):
    return from_dict({**SETTINGS, **changes})


def track(train=None):
    return pipeline.Track(pipeline.FINAL, train or tones(16), tones(8, seed=1))


def run(folder, config, said=None, own_track=None):
    """Train a whole run; returns its student."""
    material = pipeline.Material((own_track or track(),), [], [])
    pipeline.prepare_run(config, folder, False, material.tracks)
    say = str if said is None else said.append
    return pipeline.train_all(config, material, folder, say=say, bars=False)[pipeline.FINAL]


def weights(folder, phase):
    return load_checkpoint(folder / f"final-{phase}.best.pt")["state"]


def same(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with one teacher and its student."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(folder, settings())
    return folder


def test_teachers_come_from_several_folders(trained, tmp_path):
    other = {"name": "cnn_mini", "kwargs": {"width": 8}}
    run(tmp_path / "mini", settings(teachers=[], student=other, fit_student=SETTINGS["fit_teacher"]))
    folders = [str(trained), str(tmp_path / "mini")]
    run(tmp_path / "both", settings(teachers=[*SETTINGS["teachers"], other], teachers_from=folders))
    for folder, phase in ((trained, "ds_cnn"), (tmp_path / "mini", "cnn_mini")):
        assert same(weights(folder, phase), weights(tmp_path / "both", phase))


def test_a_student_learns_from_taken_teachers_what_it_learnt_from_its_own(trained, tmp_path):
    run(tmp_path / "again", settings(teachers_from=str(trained)))
    assert not (tmp_path / "again" / "final-ds_cnn.last.pt").exists()  # not trained
    assert same(weights(tmp_path / "again", "student_dscnn"), weights(trained, "student_dscnn"))


def test_taken_teachers_are_copied_so_the_run_stands_alone(trained, tmp_path):
    config = settings(teachers_from=str(trained))
    run(tmp_path / "again", config)
    assert same(weights(tmp_path / "again", "ds_cnn"), weights(trained, "ds_cnn"))
    assert len(pipeline.load_teachers(config, tmp_path / "again", "final").teachers) == 1
    run(tmp_path / "third", settings(teachers_from=str(tmp_path / "again")))  # the copy can be taken as well
    assert same(weights(tmp_path / "third", "student_dscnn"), weights(trained, "student_dscnn"))


def test_a_net_that_was_trained_alone_can_teach(tmp_path):
    run(tmp_path / "alone", settings(**ALONE))
    run(tmp_path / "run", settings(teachers_from=str(tmp_path / "alone")))
    assert same(weights(tmp_path / "run", "ds_cnn"), weights(tmp_path / "alone", "ds_cnn"))


def test_what_does_not_say_whom_it_heard_may_differ(trained, tmp_path):
    """Seeds, schedules and augmentation of the student are its own: a study varies them."""
    said = []
    other = settings(
        teachers_from=str(trained),
        seed=3,
        augment={"enabled": False, "copies": 1},
        fit_teacher={"epochs": 9, "lr": 1.0},
    )
    run(tmp_path / "other", other, said)
    assert any(str(trained) in line for line in said)
    assert not same(weights(tmp_path / "other", "student_dscnn"), weights(trained, "student_dscnn"))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"split": "kfold:2:0"},
        {"sources": ["fsdd", "synth"]},
        {"validation_fraction": 0.1},
        {"fold_sources": ["fsdd"]},
        {"labels": ["high", "low"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_teachers_of_other_data_are_refused_before_anything_is_begun(trained, tmp_path, change):
    config = settings(teachers_from=str(trained), data={**SETTINGS["data"], **change})
    with pytest.raises(ConfigError, match=rf"final-ds_cnn was trained with other data\.{next(iter(change))} and may"):
        run(tmp_path / "other", config)
    assert not (tmp_path / "other").exists()


def test_teachers_of_other_recordings_are_refused_though_the_settings_are_the_same(trained, tmp_path):
    with pytest.raises(ConfigError, match="other the recordings themselves and may have heard"):
        run(tmp_path / "other", settings(teachers_from=str(trained)), own_track=track(tones(16, seed=5)))


def test_a_run_goes_on_with_its_own_recordings_alone(trained, tmp_path):
    pipeline.check_recordings(settings(), trained, [track(tones(16)[::-1])])
    with pytest.raises(ModelError, match="trained on other recordings than the 18 that are here now"):
        pipeline.check_recordings(settings(), trained, [track(tones(18))])
    saved = load_checkpoint(trained / "final-student_dscnn.best.pt")
    saved.pop("recordings")
    save_checkpoint(tmp_path / "final-student_dscnn.best.pt", saved)
    pipeline.check_recordings(settings(), tmp_path, [track(tones(18))])  # from before checkpoints said which


def test_a_search_takes_teachers_instead_of_training_them(trained, monkeypatch):
    monkeypatch.setattr(tune, "make_trainer", lambda *_, **__: pytest.fail("trained again"))
    config = settings(teachers_from=str(trained))
    search = tune.Search(config, (), "accuracy", pipeline.Material((track(),), [], []))
    search.take_teachers()
    (teacher,) = search._ensemble(config).teachers
    assert same(weights(trained, "ds_cnn"), teacher.state_dict())
    others = tune.Search(config, (), "accuracy", pipeline.Material((track(tones(16, seed=5)),), [], []))
    with pytest.raises(ConfigError, match="may have heard who is held out"):
        others.take_teachers()


def test_the_order_of_recordings_does_not_matter(trained, tmp_path):
    run(tmp_path / "other", settings(teachers_from=str(trained)), own_track=track(tones(16)[::-1]))


def test_another_architecture_is_refused(trained, tmp_path):
    teachers = [{"name": "ds_cnn", "kwargs": {"width": 12, "depth": 1}}]
    with pytest.raises(ConfigError, match="final-ds_cnn is another ds_cnn than teachers describe"):
        run(tmp_path / "other", settings(teachers_from=str(trained), teachers=teachers))


def test_a_teacher_of_before_a_setting_existed_is_taken(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "older")
    path = tmp_path / "older" / "final-ds_cnn.best.pt"
    saved = load_checkpoint(path)
    del saved["model"]["kwargs"]["frontend"]["mains_hz"]
    save_checkpoint(path, saved)
    run(tmp_path / "run", settings(teachers_from=str(tmp_path / "older")))
    assert same(weights(tmp_path / "run", "student_dscnn"), weights(trained, "student_dscnn"))


def test_missing_teachers_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere.*final-ds_cnn\.best\.pt is missing"):
        run(tmp_path / "run", settings(teachers_from=str(tmp_path / "nowhere")))
    assert not (tmp_path / "run").exists()


def test_teachers_that_are_still_in_training_are_refused(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "begun")
    last = tmp_path / "begun" / "final-ds_cnn.last.pt"
    save_checkpoint(last, {**load_checkpoint(last), "done": False})
    with pytest.raises(ModelError, match=r"begun: training of final-ds_cnn has not finished; run .*--resume"):
        run(tmp_path / "run", settings(teachers_from=str(tmp_path / "begun")))


def test_teachers_to_take_must_be_named():
    with pytest.raises(ConfigError, match="teachers_from is 'runs/a', but no teachers are named"):
        settings(teachers_from="runs/a", teachers=[])
