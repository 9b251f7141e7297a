"""Tables over folds, and what the command line refuses before hours are spent."""

import pytest

from edgedigit import crossval
from edgedigit.cli import run_main
from edgedigit.config import load_config

ANSWERS = [
    {"stage": stage, "label": label, "answer": answer, "speaker": speaker, "source": source}
    for stage, label, answer, speaker, source in (
        ("int8", "0", "0", "one:a", "one"),
        ("int8", "0", "0", "one:a", "one"),
        ("int8", "0", "1", "one:b", "one"),
        ("int8", "1", "1", "two:c", "two"),
        ("student", "1", "0", "two:c", "two"),
    )
]


def accuracies(rows):
    return {row["group"]: (row["n"], round(row["accuracy"], 3)) for row in rows}


def test_tables_put_the_macro_first_and_count_one_stage():
    rows = crossval.tables(ANSWERS, "int8")
    assert rows[0]["group"] == "macro over digits"
    assert accuracies(rows) == {
        "macro over digits": (4, 0.833),
        "all clips": (4, 0.75),
        "source one": (3, 0.667),
        "source two": (1, 1.0),
        "speaker one:a": (2, 1.0),
        "speaker one:b": (1, 0.0),
        "speaker two:c": (1, 1.0),
        "digit 0": (3, 0.667),
        "digit 1": (1, 1.0),
    }


def test_a_second_macro_leaves_out_speakers_that_the_recipe_was_chosen_on():
    rows = crossval.tables(ANSWERS, "int8", chosen_on={"one:b"})
    assert accuracies(rows)["macro over digits, speakers that no choice was made on"] == (3, 1.0)


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
    with pytest.raises(crossval.EdgedigitError, match="nothing was compressed"):
        crossval.run_fold("kfold:2:0", tmp_path, args)


def test_each_fold_takes_the_teachers_of_the_same_fold_elsewhere(tmp_path):
    args = crossval.parse_args(["kfold:2", "--teachers-from", str(tmp_path), "--set", "seed=1"])
    settings = crossval._settings("kfold:2:1", tmp_path / "here" / "kfold-2-1", args)
    assert settings == ["seed=1", "data.split=kfold:2:1", f"teachers_from={tmp_path / 'kfold-2-1'}"]
