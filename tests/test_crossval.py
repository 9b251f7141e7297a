"""Tables over folds, and what the command line refuses before hours are spent."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from forked import Forked
from tiny_training import write_tones

from edgedigit import crossval
from edgedigit.cli import run_main
from edgedigit.config import load_config
from edgedigit.data.recording import Recording
from edgedigit.metrics import wilson_interval
from edgedigit.train.pipeline import Material, Track

ANSWERS = [
    {
        "stage": stage,
        "label": label,
        "answer": answer,
        "speaker": speaker,
        "source": source,
        "name": f"{source}/{i}.wav",
    }
    for i, (stage, label, answer, speaker, source) in enumerate(
        [
            ("int8", "0", "0", "one:a", "one"),
            ("int8", "0", "0", "one:a", "one"),
            ("int8", "0", "1", "one:b", "one"),
            ("int8", "1", "1", "two:c", "two"),
            ("student", "1", "0", "two:c", "two"),
        ]
    )
]


def accuracies(rows):
    return {row["group"]: (row["n"], round(row["accuracy"], 3)) for row in rows}


def test_tables_put_the_macro_first_and_count_one_stage_beside_the_others():
    rows = crossval.tables(ANSWERS, "int8")
    assert rows[0]["group"] == "macro over digits"
    assert accuracies(rows) == {
        "macro over digits": (4, 0.833),
        "all clips": (4, 0.75),
        "all clips, interval over 3 speakers": (4, 0.75),
        "all clips, student, fp32": (1, 0.0),
        "source one": (3, 0.667),
        "source two": (1, 1.0),
        "speaker one:a": (2, 1.0),
        "speaker one:b": (1, 0.0),
        "speaker two:c": (1, 1.0),
        "digit 0": (3, 0.667),
        "digit 1": (1, 1.0),
    }


def test_kinds_of_speakers_have_their_rows_and_so_have_the_few_of_a_source_beside_many():
    answers = [{**ANSWERS[0], "speaker": f"many:{'fm'[i % 2]}{i}", "source": "many"} for i in range(13)]
    rows = accuracies(crossval.tables(ANSWERS + answers, "int8", kinds_of_speakers="^many:[fm]"))
    assert rows["speakers many:f*"] == (7, 1.0) and rows["speakers many:m*"] == (6, 1.0)
    assert rows["speaker one:b"] == (1, 0.0) and not any(name.startswith("speaker many") for name in rows)


def test_labels_are_told_apart_by_source_where_there_are_several():
    table = crossval.by_source(ANSWERS, "int8")
    assert {source: accuracies(rows) for source, rows in table.items()} == {
        "one": {"0": (3, 0.667)},
        "two": {"1": (1, 1.0)},
    }
    assert crossval.by_source(ANSWERS[:3], "int8") == {}


def test_tables_of_what_was_simulated_say_so_in_every_row():
    answers = [{**row, "source": "emg_simulated", "label": "UP"} for row in ANSWERS]
    rows = crossval.tables(answers, "int8") + crossval.over_folds({"a": answers, "b": answers}, "int8")["rows"]
    assert rows[0]["group"] == "macro over labels, simulated"
    assert all(row["group"].endswith(", simulated") for row in rows)


def test_teachers_stand_beside_their_student_where_there_are_any():
    teachers = [{**row, "stage": "teachers"} for row in ANSWERS]
    assert "all clips, teachers together, fp32" not in accuracies(crossval.tables(ANSWERS, "int8"))
    assert accuracies(crossval.tables(ANSWERS + teachers, "int8"))["all clips, teachers together, fp32"] == (5, 0.6)


def test_a_second_macro_leaves_out_speakers_that_the_recipe_was_chosen_on():
    rows = crossval.tables(ANSWERS, "int8", chosen_on={"one:b"})
    assert accuracies(rows)["macro over digits, speakers that no setting was chosen on"] == (3, 1.0)


def test_the_note_counts_digits_that_the_recipe_was_chosen_on_as_the_table_does():
    other = {**ANSWERS[2], "label": "_unknown_", "name": "one/word.wav"}
    assert "chosen on 1 of these clips" in crossval._note("int8", [*ANSWERS, other], {"one:b"})


def fold_of(folder, student, stages):
    """The summaries of a finished fold."""
    folder.mkdir()
    (folder / "student.json").write_text(json.dumps(student))
    (folder / "compressed.json").write_text(json.dumps({"stages": stages}))
    return folder


@pytest.mark.parametrize(
    ("student", "compressed", "stage", "at_odds"),
    [
        ({}, {}, "int8", {"student", "teachers"}),  # both scripts of an earlier version
        ({}, {"label_bias": [0, -1]}, "int8", {"teachers"}),
        ({"label_bias": [0, -1]}, {"label_bias": [0, -1]}, "int8", set()),
        ({}, {"label_bias": [0, -1]}, "student", {"student", "teachers"}),
        ({"label_bias": [0, -1]}, {}, "student", set()),
    ],
)
def test_folds_that_do_not_say_that_their_odds_are_even_are_told_apart(tmp_path, student, compressed, stage, at_odds):
    fold = fold_of(tmp_path / "fold", student, [{"stage": "student", **compressed}, {"stage": "int8"}])
    assert crossval.at_training_odds(fold, stage) == at_odds


def test_the_note_says_which_figures_are_of_another_operating_point():
    teachers = [{**row, "stage": "teachers"} for row in ANSWERS]
    assert "expect _unknown_" not in crossval._note("int8", ANSWERS + teachers, set())
    assert "expect _unknown_" not in crossval._note("int8", ANSWERS, set(), {"teachers"})  # there are none
    said = "Answers of teachers together, fp32 and of student, fp32, expect _unknown_ as often as training drew it"
    assert said in crossval._note("int8", ANSWERS + teachers, set(), {"student", "teachers"})


def test_another_macro_and_the_worst_digit_leave_out_labels_in_doubt():
    rows = accuracies(crossval.tables(ANSWERS, "int8", in_doubt={"one/0.wav", "three/9.wav"}))
    assert rows["macro over digits, labels not in doubt"] == (3, 0.75)
    assert rows["worst digit 0, labels not in doubt"] == (2, 0.5)
    assert rows["all clips"] == (4, 0.75)
    assert not any("doubt" in group for group in accuracies(crossval.tables(ANSWERS, "int8", in_doubt={"other.wav"})))


@pytest.mark.parametrize("left_out", [{"chosen_on": {"two:c"}}, {"in_doubt": {"two/3.wav"}}])
def test_a_label_of_which_no_clip_is_left_is_missing_in_the_other_macro(left_out):
    rows = accuracies(crossval.tables(ANSWERS, "int8", **left_out))
    (group,) = (group for group in rows if group.startswith("macro over digits, "))
    assert group.endswith(", none of 1") and rows[group] == (3, 0.667)
    assert rows["macro over digits"] == (4, 0.833)


@pytest.mark.parametrize("what, key", [("chosen_on", "speaker"), ("in_doubt", "name")])
def test_where_no_clip_is_left_there_is_no_other_macro(what, key):
    everything = {row[key] for row in ANSWERS}
    assert crossval.tables(ANSWERS, "int8", **{what: everything}) == crossval.tables(ANSWERS, "int8")


def test_chosen_speakers_are_the_test_speakers_of_the_other_split(data_dir):
    config = load_config(None, ["data.sources=[fsdd]"])
    assert crossval.chosen_speakers(config, [], data_dir) == set()
    assert crossval.chosen_speakers(config, ["data.split=loso:theo"], data_dir) == {"fsdd:theo"}


@pytest.mark.parametrize("protocol", ["kfold:0", "kfold:1", "kfold:²", "kfold:x", "loso:3", "folds"])
def test_an_impossible_protocol_is_one_line(protocol, capsys):
    assert run_main(crossval.main, [protocol]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: protocol") and error.count("\n") == 1


@pytest.mark.parametrize("flag", ["--jobs", "--threads"])
def test_no_jobs_and_no_threads_are_refused(flag, capsys):
    with pytest.raises(SystemExit) as stopped:
        crossval.main(["kfold:2", flag, "0"])
    assert stopped.value.code == 2 and capsys.readouterr().err.startswith("error: --jobs and --threads")


def test_a_fold_that_compresses_nothing_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "compressed.json").write_text("{}")  # of an earlier run

    class Done:
        returncode = 1  # a crash and a gate end alike

    monkeypatch.setattr(crossval.subprocess, "run", lambda *_, **__: Done)
    args = crossval.parse_args(["kfold:2"])
    with pytest.raises(crossval.EdgedigitError, match=r"compressed\.json was not written"):
        crossval.run_fold("kfold:2:0", tmp_path, args)


def test_a_fold_that_is_there_stays_as_it_is_unless_it_is_resumed(tmp_path):
    for name in ("config.json", "compressed.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(crossval.ConfigError, match="already holds a fold; go on with --resume"):
        crossval.run_fold("kfold:2:0", tmp_path, crossval.parse_args(["kfold:2"]))
    assert (tmp_path / "compressed.json").exists()


def test_each_fold_takes_the_teachers_of_the_same_fold_elsewhere(tmp_path):
    args = crossval.parse_args(["kfold:2", "--teachers-from", str(tmp_path), "--set", "seed=1"])
    settings = crossval._settings("kfold:2:1", tmp_path / "here" / "kfold-2-1", args)
    assert settings == ["seed=1", "data.split=kfold:2:1", f"teachers_from={tmp_path / 'kfold-2-1'}"]


def test_what_is_said_of_a_fold_is_what_the_table_has_of_it(monkeypatch, tmp_path, capsys):
    """A clip that is no digit counts in neither."""
    unknown = {**ANSWERS[0], "label": "_unknown_", "answer": "_unknown_"}
    monkeypatch.setattr(crossval, "run_fold", lambda *_: [*ANSWERS, unknown])
    monkeypatch.setattr(crossval, "probabilities_of", lambda *_: None)
    labels = ["data.labels=[0, 1, _unknown_]", "data.sources=[fsdd]"]
    argv = ["--folds", "2", "--run-dir", str(tmp_path), *(word for setting in labels for word in ("--set", setting))]
    for name in ("kfold-2-0", "kfold-2-1"):
        fold_of(tmp_path / name, {}, [{"stage": "student"}])
    assert run_main(crossval.main, argv) == 0
    out = capsys.readouterr().out
    assert "kfold:2:0: 3 of 4 right" in out
    result = json.loads(out.splitlines()[-1])
    assert [row["n"] for row in result["folds"]["rows"]] == [4, 4]
    assert "Answers of student, fp32, expect _unknown_" in result["note"]


def test_folds_count_alike_whatever_their_size():
    folds = {"kfold:2:0": ANSWERS[:2], "kfold:2:1": ANSWERS[2:]}
    over = crossval.over_folds(folds, "int8")
    assert over["of"] == "folds"
    assert accuracies(over["rows"]) == {"fold kfold:2:0": (2, 1.0), "fold kfold:2:1": (2, 0.5)}
    assert over["accuracy_mean"] == pytest.approx(0.75)
    assert over["accuracy_sd"] == pytest.approx(0.5**1.5)  # of 1 and 0.5, divided by n - 1


def test_seeds_share_a_split_and_differ_in_the_seed():
    names = crossval.folds_of("seeds:3", load_config(None), None)
    args = crossval.parse_args(["seeds:3", "--set", "data.split=kfold:5:0"])
    assert names == ["seed:0", "seed:1", "seed:2"]
    assert crossval._settings(names[2], "", args) == ["data.split=kfold:5:0", "seed=2"]


def answered(stage, right, label="0"):
    """Answers of one stage to as many clips, right or wrong."""
    return [
        {**ANSWERS[0], "stage": stage, "label": label, "answer": label if yes else "1", "name": f"{label}{i}.wav"}
        for i, yes in enumerate(right)
    ]


def test_a_mean_over_seeds_counts_each_clip_once():
    folds = {
        "seed:0": answered("int8", [1, 1, 1]) + answered("student", [1, 1, 1]) + answered("int8", [1, 0], "_unknown_"),
        "seed:1": answered("int8", [1, 0, 0]) + answered("student", [1, 1, 1]) + answered("int8", [0, 0], "_unknown_"),
    }
    rows = crossval.seed_tables(folds, "int8")
    assert accuracies(rows) == {
        "mean of 2 seeds": (3, 0.667),
        "mean of 2 seeds, student, fp32": (3, 1.0),
        "mean of 2 seeds, label _unknown_": (2, 0.25),
        "seed 0": (3, 1.0),
        "seed 1": (3, 0.333),
    }
    one = wilson_interval(2, 3)  # as if one net had been asked: two seeds are no twice as many clips
    assert (rows[0]["accuracy_low"], rows[0]["accuracy_high"]) == pytest.approx(one)
    assert rows[1]["accuracy_low"] == wilson_interval(3, 3)[0] < 1
    simulated = {name: [{**row, "source": "emg_simulated"} for row in told] for name, told in folds.items()}
    assert all(row["group"].endswith(", simulated") for row in crossval.seed_tables(simulated, "int8"))


def test_clips_of_no_digit_that_every_fold_tests_count_once():
    """One that each of two folds tested, heard in one of them, and one that a single fold tested."""
    folds = answered("int8", [1, 1], "_unknown_") + answered("int8", [0], "_unknown_") + answered("int8", [1, 0])
    row = crossval.tables(folds, "int8")[-1]
    assert (row["group"], row["n"], row["accuracy"]) == ("label _unknown_", 2, 0.75)
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(wilson_interval(1.5, 2))


def test_a_result_over_seeds_holds_them_and_how_sure_they_were(monkeypatch, tmp_path, capsys):
    fp32 = answered("student", [1, 1])
    seeds = {"seed:0": answered("int8", [1, 1]) + fp32, "seed:1": answered("int8", [1, 0]) + fp32}
    sure = {"seed-0": [[0.9, 0.1], [0.8, 0.2]], "seed-1": [[0.6, 0.4], [0.3, 0.7]]}
    monkeypatch.setattr(crossval, "run_fold", lambda name, *_: seeds[name])
    monkeypatch.setattr(crossval, "probabilities_of", lambda path, _: (np.array(sure[path.name]), np.zeros(2, int)))
    for name, commit in (("seed-0", "aaa"), ("seed-1", "bbb")):  # trained by two versions, counted by a third
        (tmp_path / name).mkdir()
        (tmp_path / name / "commits.json").write_text(json.dumps([commit]))
    argv = ["seeds:2", "--run-dir", str(tmp_path), "--set", "data.labels=[0, 1]"]
    assert run_main(crossval.main, argv) == 0
    out = capsys.readouterr().out
    result = json.loads(out.splitlines()[-1])
    assert result["trained_at"] == "aaa, bbb"
    assert result["seeds"] == [0, 1] and result["folds"]["of"] == "seeds"
    assert result["title"].endswith("split fsdd_official")
    assert "over 2 seeds: mean 75.00 %" in out
    assert result["probabilities"]["nll"] == pytest.approx(-np.mean(np.log([0.9, 0.8, 0.6, 0.3])))


def test_seeds_need_a_test_and_no_other_seed(capsys):
    assert run_main(crossval.main, ["seeds:2", "--config", "configs/shipped.yaml"]) == 2
    assert "split all sets no digits aside" in capsys.readouterr().err
    for words in (["--set", "seed=3"], ["--chosen-on", "data.seed=1"]):
        with pytest.raises(SystemExit) as stopped:
            crossval.parse_args(["seeds:2", *words])
        assert stopped.value.code == 2 and "seeds 0 to N - 1" in capsys.readouterr().err


def test_probabilities_are_those_of_the_digits_of_a_calibrated_fold(monkeypatch, tmp_path):
    def recording(label):
        return Recording(np.zeros(8000, np.float32), 8000, label, "one:a", "one", f"{label}.wav")

    config = load_config(None, ["data.labels=[0, 1, _unknown_]"])
    test = [recording(label) for label in ("1", "_unknown_", "0")]
    tracks = [Track("final", [], [recording("0")])]
    monkeypatch.setattr(crossval, "load_run_config", lambda _: config)
    monkeypatch.setattr(crossval, "check_recordings", lambda *_: None)
    monkeypatch.setattr(crossval, "load_material", lambda *_, **__: Material(tuple(tracks), test, []))
    monkeypatch.setattr(crossval, "predict_onnx", lambda path, waveforms: (path.name, len(waveforms)))
    assert crossval.probabilities_of(tmp_path, None) is None  # nothing was exported
    (tmp_path / "final-int8.onnx").touch()
    predicted, targets = crossval.probabilities_of(tmp_path, None)
    assert predicted == ("final-int8.onnx", 2) and targets.tolist() == [1, 0]
    tracks[0] = Track("final", [], [])  # without validation nothing was calibrated
    assert crossval.probabilities_of(tmp_path, None) is None


def test_confusion_is_pooled_over_folds_and_counts_one_stage():
    assert crossval.pooled_confusion(ANSWERS, "int8", ("0", "1")).tolist() == [[2, 1], [0, 1]]
    assert crossval.pooled_confusion(ANSWERS, "student", ("0", "1")).tolist() == [[0, 0], [1, 0]]


def test_folds_is_short_for_kfold(capsys):
    assert crossval.parse_args(["--folds", "5"]).protocol == "kfold:5"
    for argv in ([], ["loso", "--folds", "5"]):
        with pytest.raises(SystemExit) as stopped:
            crossval.parse_args(argv)
        assert stopped.value.code == 2 and "name one protocol" in capsys.readouterr().err


def test_a_model_that_cannot_be_built_or_pruned_is_refused_before_any_fold(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_main(crossval.main, ["--folds", "2", "--model", "bc_resnt"]) == 2
    assert "did you mean 'bc_resnet'" in capsys.readouterr().err
    assert run_main(crossval.main, ["--folds", "2", "--model", "bc_resnet"]) == 2
    assert "bc_resnet cannot be pruned; stop before with --stage student" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tones(tmp_path):
    return write_tones(tmp_path / "data" / "tones")


@pytest.fixture
def forked_scripts(monkeypatch):
    """The scripts of folds in processes that need not import torch again."""

    def run(command, stdout, stderr, env):
        assert command[0] == sys.executable and Path(command[1]).is_file()
        process = Forked(Path(command[1]).stem, command[2:], env)
        stdout.write("".join(process.communicate(300)))
        return process

    monkeypatch.setattr(crossval, "subprocess", SimpleNamespace(run=run, STDOUT=None))


@pytest.mark.slow
@pytest.mark.usefixtures("forked_scripts")
def test_any_model_is_cross_validated_uncompressed_and_a_fold_cut_short_goes_on(tones, tmp_path, capfd):
    """Two folds of one epoch each, really trained; then one of them is put back to where a kill leaves it."""
    settings = ["data.labels=[0, 1]", f"data.sources=['folder:{tones}']", "data.validation_fraction=0"]
    settings += ["fit_student.epochs=1", "fit_student.batch_size=8", "augment.enabled=false", "data.noises=''"]
    argv = ["--folds=2", "--stage=student", "--model=ds_cnn:size=s", "--jobs=2", f"--run-dir={tmp_path / 'run'}"]
    argv += [word for setting in settings for word in ("--set", setting)]
    argv += [f"--data-dir={tones.parent}", f"--results={tmp_path / 'result.json'}"]
    assert run_main(crossval.main, argv) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert [row["n"] for row in result["folds"]["rows"]] == [8, 8]
    assert result["rows"][1]["group"] == "all clips" and result["rows"][1]["n"] == 16
    assert [sum(row) for row in result["confusion"]["counts"]] == [8, 8]
    assert (tmp_path / "run" / "confusion.png").stat().st_size > 0
    assert not list((tmp_path / "run").rglob("*.onnx"))  # nothing was compressed

    first, second = (tmp_path / "run" / f"kfold-2-{fold}" for fold in range(2))
    kept = (first / "output.txt").read_text()
    (second / "student.json").unlink()
    assert run_main(crossval.main, [*argv, "--resume"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1]) == result
    assert (first / "output.txt").read_text() == kept
    assert "already finished" in (second / "output.txt").read_text()
