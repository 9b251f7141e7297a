"""Evaluation of an exported model on a folder of recordings, its table, its file and its picture."""

import json
import os
from argparse import ArgumentTypeError
from dataclasses import replace

import numpy as np
import pytest
from tiny_model import LABELS, build_tiny_model, tone_word

from edgedigit import crossval, evaluate, robustness, strings_eval
from edgedigit.audio import write_wav
from edgedigit.cli import file_ending, run_main
from edgedigit.compare import __main__ as compare
from edgedigit.config import Config, to_dict, with_settings
from edgedigit.data import load_recordings
from edgedigit.detection import __main__ as detection
from edgedigit.errors import DataError
from edgedigit.labels import NON_DIGIT
from edgedigit.report.documents import render_results, render_summary
from edgedigit.runtime import Recognizer
from edgedigit.train.scoring import over_speakers


@pytest.fixture
def corpus(tmp_path):
    """Two words of each digit; one seven was filed under zero."""
    rng = np.random.default_rng(0)
    for digit in LABELS:
        (tmp_path / "words" / digit).mkdir(parents=True)
        for take in range(2):
            spoken = "7" if (digit, take) == ("0", 1) else digit
            word = tone_word(spoken, duration_s=0.3 + 0.1 * take) + rng.normal(0, 1e-3, 2400 + 800 * take)
            write_wav(tmp_path / "words" / digit / f"{take}.wav", word)
    return tmp_path / "words"


@pytest.mark.parametrize("program", [compare, crossval, detection, evaluate, robustness, strings_eval])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("README.md", "expected a .json file"),
        ("folder.json", "expected a .json file"),
        ("text/inner/figures.json", "which cannot be written"),
    ],
)
def test_a_file_that_cannot_take_the_figures_is_told_before_any_is_computed(program, name, words, tmp_path, capsys):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "text").write_text("no folder")
    with pytest.raises(SystemExit) as ended:
        program.parse_args(["--results", str(tmp_path / name)])
    assert ended.value.code == 2
    assert f"{name}, {words}" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("name", ["closed/figures.json", "closed/inner/figures.json"])
def test_a_folder_that_must_not_be_written_to_is_told_too(name, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(ArgumentTypeError, match="cannot be written"):
        file_ending(".json")(str(tmp_path / name))


def test_files_in_folders_that_can_be_made_and_files_that_are_there_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").write_text("{}")
    for name in ("new.json", "old.json", "a/b/new.json", str(tmp_path / "c/new.json")):
        assert file_ending(".json")(name) == name
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"], "nothing is made before there are figures"


@pytest.mark.parametrize(("flag", "of"), [("--plot", 0), ("--results", 1)])
def test_a_full_disk_costs_no_figures(corpus, tmp_path, capsys, no_room, flag, of):
    model = build_tiny_model(tmp_path / "tiny.onnx")
    argv = ["--model", str(model), "--sources", f"folder:{corpus}", flag, str(no_room[of])]
    assert run_main(evaluate.main, argv) == 2
    output = capsys.readouterr()
    assert json.loads(output.out.splitlines()[-1])["rows"][0]["n_correct"] == 19
    assert "No space left on device" in output.err.splitlines()[-1]


def test_figures_of_probabilities_are_printed_stored_drawn_and_shown_in_documents(corpus, tmp_path, capsys):
    model, plot, results = build_tiny_model(tmp_path / "tiny.onnx"), tmp_path / "plot.png", tmp_path / "mine.json"
    argv = ["--model", str(model), "--sources", f"folder:{corpus}", "--plot", str(plot), "--results", str(results)]
    assert run_main(evaluate.main, [*argv, "--title", "Tones"]) == 0
    printed = capsys.readouterr().out
    stored = json.loads(results.read_text())
    assert json.loads(printed.splitlines()[-1]) == stored
    figures = stored["probabilities"]
    # One answer of twenty is wrong: its squared distance from the truth is nearly 2, the others' nearly 0.
    assert stored["rows"][0]["n_correct"] == 19
    assert figures["brier"] == pytest.approx(2 / 20, rel=0.05)
    assert figures["nll"] > 0.5 and 0 < figures["aurc"] < 0.2
    assert 0.94 <= figures["accuracy_at_90"] <= 1 and "AURC" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    cell = render_results(results).split("| accuracy % of the most confident 90 %")[1].splitlines()[2]
    assert f"{figures['brier']:.3g}" in cell and f"{100 * figures['accuracy_at_90']:.2f}" in cell


def test_the_result_says_how_many_of_its_clips_trained_the_model(corpus, tmp_path, capsys):
    model = build_tiny_model(tmp_path / "final-int8.onnx")
    kept = {"sources": [f"folder:{corpus}"], "split": "all", "validation_fraction": 0.5, "labels": list(LABELS)}
    (tmp_path / "config.json").write_text(json.dumps(to_dict(with_settings(Config(), {"data": kept, "seed": 5}))))
    (tmp_path / "commits.json").write_text('["aaa", "bbb"]')
    assert run_main(evaluate.main, ["--model", str(model), "--sources", f"folder:{corpus}"]) == 0
    printed = capsys.readouterr().out.splitlines()
    result = json.loads(printed[-1])
    assert result["note"] == (
        "Of 20 recordings tested, known by folder and name or by the same samples, 20 trained the model. Accuracies "
        "are of the likeliest label; at the model's threshold, 0.5, 95.00 % are answered rightly and 5.00 % wrongly, "
        "the rest not at all."
    )
    assert (result["seeds"], result["trained_at"]) == ([5], "aaa, bbb")
    assert f"  {result['note']}" in printed


def test_other_speakers_would_give_what_the_interval_over_speakers_says(corpus, tmp_path, capsys):
    """One of 20 answers is wrong."""
    lines = [
        f"{digit}/{take}.wav,{digit},{'ann' if int(digit) < 5 else 'bob'},mine" for digit in LABELS for take in range(2)
    ]
    (corpus / "manifest.csv").write_text("\n".join(["file,label,speaker,source", *lines]))
    results = tmp_path / "mine.json"
    argv = ["--model", str(build_tiny_model(tmp_path / "tiny.onnx")), "--sources", f"folder:{corpus}"]
    assert run_main(evaluate.main, [*argv, "--results", str(results), "--title", "T"]) == 0
    first, second = json.loads(results.read_text())["rows"][:2]
    assert second["group"] == "all clips, interval over 2 speakers"
    assert second["accuracy"] == first["accuracy"] == 0.95
    assert second["accuracy_low"] < first["accuracy_low"], "two speakers say little of a third"
    cells = render_summary([results]).splitlines()[-1].split(" | ")
    assert cells[-1].startswith(f"95.00 ({100 * second['accuracy_low']:.2f}–100.00)")


def test_where_speakers_are_not_told_apart_there_is_no_interval_over_them():
    def rows(*speakers, source="mine", right=(True, False, True, True)):
        found = over_speakers([f"{source}:{name}" for name in speakers], {source}, np.array(right))
        answers = [
            {
                **{"stage": "int8", "label": "0", "answer": str(int(not yes)), "name": f"{i}"},
                **{"speaker": f"{source}:{name}", "source": source},
            }
            for i, (name, yes) in enumerate(zip(speakers, right, strict=True))
        ]
        assert [row for row in crossval.tables(answers, "int8") if "interval over" in row["group"]] == found
        return found

    assert len(rows("a", "a", "b", "b")) == 1
    assert rows("a", "a", "a", "a") == []
    assert rows("a", "a", "unknown", "unknown") == []
    assert rows("a", "a", "b", "b", source="synth") == []
    assert rows("a", "a", "b", "b", source="emg_simulated") == []
    assert rows("a", "a", "b", "b", right=[True] * 4) == [], "nobody differs"


def test_a_misspelt_folder_is_named_among_what_counts_as_no_digit(corpus):
    (corpus / "7").rename(corpus / "sevn")
    read = load_recordings([f"folder:{corpus}"], labels=[*LABELS, NON_DIGIT])
    assert {(r.label, r.word) for r in read} == {(NON_DIGIT, "sevn"), *((label, "") for label in set(LABELS) - {"7"})}
    assert evaluate.other_words(read) == f" Counted as {NON_DIGIT}: sevn (2)."
    assert evaluate.other_words([r for r in read if r.label != NON_DIGIT]) == ""
    many = [replace(read[-1], word=f"w{i:02}") for i in range(evaluate.MAX_WORDS_TOLD + 2)]
    assert evaluate.other_words(many).endswith("w11 (1) and 2 more words.")
    for path in list(corpus.iterdir()):
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(DataError, match="holds none of 0, 1"):
        robustness.load_clips(robustness.parse_args(["--sources", f"folder:{corpus}"]), Recognizer())
