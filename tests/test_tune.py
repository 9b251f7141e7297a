"""A search: what its file may say, places that several processes share, trials that die, and what comes out."""

import csv
import json
import threading
import time
from types import SimpleNamespace

import optuna
import pytest
from tiny_training import write_tones

from edgedigit import shared_study, tune
from edgedigit.cli import run_main
from edgedigit.config import Config, ModelConfig, load_config, with_settings
from edgedigit.errors import ConfigError, ModelError
from edgedigit.models import create_model
from edgedigit.search_space import Dimension, candidates, read_search
from edgedigit.shared_study import Watch, n_finished, open_study, signs_of_life, take_place

SEARCH = """
trial:
  data: {sources: ['folder:TONES'], labels: [0, 1], split: all, validation_fraction: 0.25, refit: false, noises: ''}
  augment: {enabled: false}
  teachers: []
  fit_student: {epochs: 2, batch_size: 4, ema_decay: 0.5}
  threads: 1
space:
  fit_student.lr: {log: [1e-3, 5e-2]}
  fit_student.optimizer: {choice: [adamw, sgd]}
  student.kwargs.widths: {choice: [[8, 12], [12, 16]]}
"""
RECIPE = """
student: {name: student_dscnn, kwargs: {widths: [8, 12], depths: [1, 1], kernels: [5, 5]}}
"""
STATES = optuna.trial.TrialState


@pytest.fixture
def search_file(tmp_path):
    folder = write_tones(tmp_path / "data" / "tones")
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.replace("TONES", str(folder)))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return path


def command(search_file, run_dir, *argv):
    return [str(search_file), "--config", str(search_file.parent / "recipe.yaml"), "--run-dir", str(run_dir), *argv]


@pytest.fixture(params=["journal", "sqlite"])
def storage(request, tmp_path):
    return str(tmp_path / "study.journal") if request.param == "journal" else f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(shared_study, "POLL_S", 0.01)


def opened(storage, maximise=True, pruner="none"):
    return open_study(storage, "search", {"of": "a test"}, maximise, pruner, 8)


def written(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text, words",
    [
        ("trial: {}", ["no space", "expected the keys space"]),
        ("space: {}", ["no space"]),
        ("spac: {fit_student.lr: {log: [1, 2]}}", ["unknown spac"]),
        ("trial: fast\nspace: {seed: {int: [0, 9]}}", ["trial is 'fast'"]),
        ("space: {fit_student.lr: 3}", ["fit_student.lr is 3", "uniform, log, int, log_int, choice"]),
        ("space: {fit_student.lr: {lgo: [1, 2]}}", ["'lgo' is unknown"]),
        ("space: {fit_student.lr: {log: 1}}", ["log is 1", "expected a list"]),
        ("space: {fit_student.lr: {log: [1]}}", ["expected two numbers"]),
        ("space: {fit_student.lr: {log: [fast, slow]}}", ["expected numbers"]),
        ("space: {fit_student.lr: {log: [0, 1]}}", ["lowest first and above 0"]),
        ("space: {fit_student.lr: {uniform: [2, 1]}}", ["lowest first"]),
        ("space: {seed: {int: [0, 1.5]}}", ["expected two whole numbers"]),
        ("space: {fit_student.optimizer: {choice: [sgd, sgd]}}", ["expected different values"]),
    ],
)
def test_a_wrong_search_file_says_what_is_wrong(tmp_path, text, words):
    with pytest.raises(ConfigError) as raised:
        read_search(written(tmp_path, text))
    assert all(word in str(raised.value) for word in words), raised.value


@pytest.mark.parametrize(
    "key, words",
    [
        ("fit_student.lrr", ["unknown setting 'fit_student.lrr'", "did you mean 'lr'"]),
        ("fit_studnt.lr", ["did you mean 'fit_student'"]),
        ("data.seed", ["data.seed cannot be searched", "same recordings"]),
        ("compress.lr", ["compress.lr cannot be searched"]),
        ("fit_student.epochs", ["fit_student.epochs is 0.5, expected int"]),
        ("distill.alpha", ["distill.alpha changes nothing without teachers"]),
    ],
)
def test_a_setting_that_cannot_be_searched_is_named(key, words):
    kind = ("int", (0, 1)) if key.endswith("seed") else ("uniform", (0.5, 0.75))
    with pytest.raises(ConfigError) as raised:
        candidates(Config(teachers=()), [Dimension(key, *kind)])
    assert all(word in str(raised.value) for word in words), raised.value


def test_soft_targets_can_be_searched_where_there_are_teachers():
    assert [c.distill.alpha for c in candidates(Config(), [Dimension("distill.alpha", "uniform", (0, 1))])] == [0, 1]


def test_how_taken_teachers_were_trained_cannot_be_searched():
    config = with_settings(Config(), {"teachers_from": ["runs/a"]})
    with pytest.raises(ConfigError, match=r"fit_teacher\.lr changes nothing of teachers that are taken"):
        candidates(config, [Dimension("fit_teacher.lr", "log", (1e-3, 1e-2))])


def test_values_are_of_the_range_and_choices_may_be_lists(storage):
    space = [
        Dimension("a", "uniform", (0, 1)),
        Dimension("b", "log", (1e-3, 1.0)),
        Dimension("c", "int", (2, 4)),
        Dimension("d", "choice", ([8, 12], {"kind": "mfcc"}, "plain", None)),
    ]
    study = opened(storage)
    for _ in range(12):
        trial = study.ask()
        a, b, c, d = (dimension.suggest(trial) for dimension in space)
        assert 0 <= a <= 1 and 1e-3 <= b <= 1 and c in (2, 3, 4) and d in space[3].values
        study.tell(trial, 1.0)
        assert space[3].value_of(study.trials[-1].params["d"]) == d


@pytest.mark.parametrize(
    "setting, words",
    [
        ("fit_student.lrr: {log: [1, 2]}", "did you mean 'lr'"),
        ("student.kwargs.wdths: {choice: [[8, 12]]}", "wdths"),
        ("student: {choice: [student_dscnn, bc_resnt]}", "did you mean 'bc_resnet'"),
    ],
)
def test_names_are_checked_before_anything_starts(search_file, tmp_path, capsys, setting, words):
    search_file.write_text(search_file.read_text() + f"  {setting}\n")
    assert run_main(tune.main, command(search_file, tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_best_that_could_not_be_trained_is_refused_before_anything_starts(search_file, tmp_path, capsys):
    """Widths of two stages fit a student that `trial` has made shorter, not that of the recipe."""
    text = search_file.read_text()
    search_file.write_text(
        text.replace("  threads: 1", "  threads: 1\n  student: {kwargs: {depths: [1, 1], kernels: [5, 5]}}")
    )
    assert run_main(tune.main, [str(search_file), "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "widths" in error and error.count("\n") == 1


def test_without_strangers_there_is_nothing_to_choose_by(search_file, tmp_path, capsys):
    search_file.write_text(search_file.read_text().replace("validation_fraction: 0.25", "validation_fraction: 0"))
    assert run_main(tune.main, command(search_file, tmp_path / "run")) == 2
    assert "needs validation speakers" in capsys.readouterr().err


def test_a_storage_that_cannot_be_opened_costs_one_line():
    with pytest.raises(ConfigError, match=r"storage nosuch://x cannot be opened") as raised:
        opened("nosuch://x")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["my notes\n", "my notes", '{"phase": "final", "epoch": 1}\n'])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"notes\.txt is no journal of a search"):
        opened(str(path))
    assert path.read_text() == content


def test_an_empty_file_becomes_a_journal(tmp_path):
    (tmp_path / "study.journal").touch()
    opened(str(tmp_path / "study.journal"))
    opened(str(tmp_path / "study.journal"))  # and is one


def test_a_study_of_other_settings_is_not_mixed_up(storage):
    opened(storage)
    with pytest.raises(ConfigError, match="searches other settings"):
        open_study(storage, "search", {"of": "another test"}, True, "none", 8)


def test_processes_that_ask_at_once_finish_exactly_as_many_as_asked_for(storage, no_waiting):
    """Each thread has its own connection, as a process would."""
    opened(storage)
    taken = []

    def work():
        study = opened(storage)
        while (trial := take_place(study, 7, Watch(60), seed=0)) is not None:
            taken.append(trial.number)
            study.tell(trial, 1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert n_finished(opened(storage)) == len(taken) == len(set(taken)) == 7


def test_a_place_whose_process_died_is_filled_again(storage, no_waiting):
    died = take_place(opened(storage), 2, Watch(60), seed=0)
    study, watch = opened(storage), Watch(0.3)
    while (trial := take_place(study, 2, watch, seed=0)) is not None:
        study.tell(trial, 1.0)
    assert [trial.state for trial in study.trials] == [STATES.FAIL, STATES.COMPLETE, STATES.COMPLETE]
    assert died.number == 0


def test_a_trial_that_gives_signs_of_life_is_left_alone(storage, monkeypatch):
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(shared_study, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    trial = opened(storage).ask()
    study, watch = opened(storage), Watch(0.3)
    with signs_of_life(trial, 0.001):
        for _ in range(3):
            before = study.get_trials()[0].user_attrs.get("beat")
            while study.get_trials()[0].user_attrs.get("beat") == before:
                time.sleep(0.01)
            assert watch.dead(study.get_trials()) == []
            clock.now_s += 0.4
    watch.dead(study.get_trials())  # the last sign may be news
    clock.now_s += 0.4
    assert watch.dead(study.get_trials()) == [trial.number]


def test_the_trials_of_one_process_are_the_same_every_time(tmp_path, no_waiting):
    def drawn(name):
        study, values = opened(str(tmp_path / name)), []
        while (trial := take_place(study, 14, Watch(60), seed=3)) is not None:
            values.append(trial.suggest_float("x", 0, 1))
            study.tell(trial, -((values[-1] - 0.3) ** 2))
        return values

    first = drawn("first")
    assert drawn("second") == first
    assert len(set(first)) == len(first)


def test_settings_that_cannot_be_trained_do_not_end_the_search(storage):
    class Diverging:
        objective = "accuracy"

        def train(self, trial):
            raise ModelError("loss became nan")

    study = opened(storage)
    said = tune.run_trial(Diverging(), study, take_place(study, 2, Watch(60), 0), 60.0)
    assert said == "trial 0: cannot be trained: loss became nan"
    assert n_finished(study) == 1 and study.trials[0].state == STATES.PRUNED


def test_teachers_are_trained_once_and_weigh_what_each_trial_says(monkeypatch):
    trained = []

    def trainer(config, track, described, *_, **__):
        trained.append(described.name)
        return SimpleNamespace(run=lambda: create_model(described.name))

    monkeypatch.setattr(tune, "make_trainer", trainer)
    config = Config(teachers=(ModelConfig("cnn_mini"), ModelConfig("mlp_mfcc")))
    search = tune.Search(config, (), "accuracy", SimpleNamespace(tracks=[None], noises=[]))
    weighed = with_settings(config, {"distill": {"teacher_weights": [1, 3]}})
    assert search._ensemble(config).shares == [0.5, 0.5]
    assert search._ensemble(weighed).shares == [0.25, 0.75]
    assert trained == ["cnn_mini", "mlp_mfcc"]
    search._ensemble(with_settings(config, {"emg_augment": {"gain_db": 6.0}}))
    assert len(trained) == 4  # what teachers hear has changed


def test_an_interrupted_trial_gives_its_place_back(storage):
    class Interrupted:
        objective = "accuracy"

        def train(self, trial):
            raise KeyboardInterrupt

    study = opened(storage)
    with pytest.raises(KeyboardInterrupt):
        tune.run_trial(Interrupted(), study, take_place(study, 2, Watch(60), 0), 60.0)
    assert n_finished(study) == 0 and study.trials[0].state == STATES.FAIL


def test_a_bad_trial_is_stopped_early(storage):
    study = opened(storage, pruner="median")
    for _ in range(5):
        trial = study.ask()
        for epoch in range(1, 9):
            trial.report(0.9, epoch)
        study.tell(trial, 0.9)
    bad = study.ask()
    bad.report(0.1, 3)
    assert not bad.should_prune()  # in the first half it is too early to say
    bad.report(0.1, 4)
    assert bad.should_prune()


@pytest.mark.slow
def test_two_processes_search_and_a_finished_search_does_nothing_more(search_file, tmp_path, capfd):
    """Real trainings on tones, from two processes to a file that a training reads."""
    run_dir = tmp_path / "run"
    argv = command(search_file, run_dir, "--trials", "5", "--jobs", "2", "--pruner", "none")
    argv += ["--set", "fit_student.label_smoothing=0.1"]
    assert run_main(tune.main, argv) == 0
    summary = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert summary["trials"] == {"complete": 5, "pruned": 0, "fail": summary["trials"]["fail"], "running": 0}
    assert sum(worker["complete"] for worker in summary["workers"]) == 5
    assert json.loads((run_dir / "worker-1.txt").read_text().splitlines()[-1])["trials"]["complete"] == 5

    best = load_config(run_dir / "best.yaml")
    settings = summary["best"]["settings"]
    changes = ["fit_student.label_smoothing=0.1", *(f"{key}={json.dumps(value)}" for key, value in settings.items())]
    assert best == load_config(tmp_path / "recipe.yaml", changes)  # nothing of what made the trials short
    with open(run_dir / "trials.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["state"] == "complete"]
    assert max(float(row["value"]) for row in rows) == summary["best"]["value"]
    assert {row["epochs"] for row in rows} == {"2"}
    assert (run_dir / "history.png").stat().st_size > 0

    before = (run_dir / "study.journal").read_text().count('"op_code":4')
    assert run_main(tune.main, argv) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1]) == summary
    assert (run_dir / "study.journal").read_text().count('"op_code":4') == before  # no trial was created


def test_help_needs_no_optuna(capsys, monkeypatch):
    monkeypatch.setitem(tune.sys.modules, "optuna", None)
    with pytest.raises(SystemExit) as stopped:
        tune.main(["--help"])
    assert stopped.value.code == 0 and "--trials" in capsys.readouterr().out


def test_a_missing_optuna_names_what_brings_it(search_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(tune.sys.modules, "optuna", None)
    assert run_main(tune.main, command(search_file, tmp_path / "run")) == 2
    assert 'pip install "edgedigit[tune]"' in capsys.readouterr().err
