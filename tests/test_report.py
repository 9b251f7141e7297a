"""Documents carry the figures of the result files and nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgedigit.bench import kept
from edgedigit.errors import InputError
from edgedigit.metrics import ANSWERED_RIGHTLY, accuracy_row
from edgedigit.report import documents
from edgedigit.report.__main__ import main
from edgedigit.report.documents import IN_REAL_TIME, render_block, update_document

REPOSITORY = Path(__file__).parents[1]

RESULTS = {
    "name": "fsdd_official",
    "title": "FSDD, official split (seen speakers)",
    "command": "python train_distill.py --config configs/fsdd_official.yaml",
    "commit": "abc1234",
    "seeds": [0, 1],
    "rows": [
        {"group": "all", "n": 300, "n_correct": 299, "ece": 0.0123},
        {"group": "macro over digits", "n": 300, "accuracy": 0.9525},
        {"group": "mean of seeds", "n": 300, "accuracy": 0.95, "accuracy_low": 0.94, "accuracy_high": 0.96},
    ],
    "note": "One clip is misread.",
}
EXPORT = {
    "machine": {"cpu": "Xeon", "n_threads": 1, "onnxruntime": "1.31.1"},
    "commit": "abc1234",
    "default": "model_int8.onnx",
    "files": [
        {
            "file": "model_int8.onnx",
            "size_bytes": 61_500,
            "n_params": 36_000,
            "macs": 4_500_000,
            "accuracy": {"group": "all", "n": 300, "n_correct": 299},
            "parity": {"n": 1000, "max_difference": 0.0123, "same_decision": 0.998},
            "latency": {"n": 2000, "latency_ms_p50": 0.1234, "latency_ms_p95": 0.2, "latency_ms_p99": 0.5},
        },
        {"file": "model_ts.pt", "size_bytes": 200_000},
    ],
}
BENCHMARK = {
    "machine": {"cpu": "Xeon", "n_threads": 2},
    "rows": [
        {
            "name": "waveform to probabilities",
            "n": 2000,
            "latency_ms_p50": 0.21,
            "latency_ms_p95": 0.3,
            "latency_ms_p99": 0.4,
            "budget_ms": 15,
        }
    ],
}


@pytest.fixture
def root(tmp_path):
    """A repository with a README of one results block and a card without blocks."""
    block = "<!-- generated:results:fsdd_official -->\nold\n<!-- /generated -->"
    (tmp_path / "README.md").write_text(f"# Title\n\n{block}\n\nby hand\n", encoding="utf-8")
    (tmp_path / "MODEL_CARD.md").write_text("# Card\n", encoding="utf-8")
    (tmp_path / "docs").mkdir(exist_ok=True)
    for name in ("architectures.md", "benchmarks.md", "emg.md", "own_words.md", "streaming.md", "training.md"):
        (tmp_path / "docs" / name).write_text("# Without blocks\n", encoding="utf-8")
    write(tmp_path / "docs" / "results" / "fsdd_official.json", RESULTS)
    return tmp_path


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def test_the_documents_of_this_repository_match_their_result_files(capsys):
    assert main(["--check", "--root", str(REPOSITORY)]) == 0, capsys.readouterr().out


def test_results_show_n_accuracy_interval_command_and_further_figures(root):
    block = render_block("results:fsdd_official", root)
    assert "| group | n | accuracy % | 95 % interval | ece |" in block
    assert "| all | 300 | 99.67 | 98.14–99.94 | 0.0123 |" in block
    assert "Seeds 0, 1; commit abc1234. Reproduce: `python train_distill.py" in block
    assert block.endswith("One clip is misread.")


def test_the_commit_of_the_training_stands_beside_that_of_the_evaluation_where_it_is_known(root):
    write(root / "docs" / "results" / "fsdd_official.json", {**RESULTS, "trained_at": "def5678"})
    assert "Seeds 0, 1; commit abc1234; trained at def5678. Rep" in render_block("results:fsdd_official", root)


def test_a_mean_has_only_the_interval_it_brings(root):
    block = render_block("results:fsdd_official", root)
    assert "| macro over digits | 300 | 95.25 | – | – |" in block
    assert "| mean of seeds | 300 | 95.00 | 94.00–96.00 | – |" in block


def test_labels_stand_beside_each_other_by_source(root):
    rows = {"a": [accuracy_row("0", 9, 10), accuracy_row("1", 4, 4)], "b": [accuracy_row("1", 1, 2)]}
    write(root / "docs" / "results" / "by.json", {**RESULTS, "by_source": rows})
    block = render_block("results:by", root)
    assert "| accuracy % | a | b |" in block
    assert "| 0 | 90.00 (59.58–98.21), n 10 | – |" in block and "| 1 | 100.00 (51.01–100.00), n 4 | 50.00" in block


def test_a_summary_sets_first_rows_side_by_side(root):
    block = render_block("summary:fsdd_official,strangers", root)
    assert "| FSDD, official split (seen speakers) | 300 | 99.67 | 98.14–99.94 |" in block
    assert "| `strangers`: not measured yet | – | – | – |" in block


def test_probabilities_of_several_evaluations_stand_side_by_side(root):
    figures = {"ece": 0.2221, "brier": 0.7, "nll": 1.9, "aurc": 0.3, "accuracy_at_90": 0.53, "accuracy_at_80": 0.57}
    write(root / "docs" / "results" / "voices.json", {**RESULTS, "title": "Voices", "probabilities": figures})
    block = render_block("probabilities:voices,strangers", root)
    assert "| evaluation | expected calibration error % | Brier score |" in block
    assert "| Voices | 22.21 | 0.7 | 1.9 | 0.3 | 53.00 | 57.00 |" in block
    assert "| `strangers`: not measured yet | – | – | – | – | – | – |" in block
    sure = {**figures, "ece_low": 0.2, "ece_high": 0.25, "ece_by_chance": 0.013}
    write(root / "docs" / "results" / "voices.json", {**RESULTS, "title": "Voices", "probabilities": sure})
    assert "| Voices | 22.21 (20.00–25.00; 1.30 by chance) | 0.7 |" in render_block("probabilities:voices", root)
    with pytest.raises(InputError, match="has no key 'probabilities'"):
        render_block("probabilities:fsdd_official", root)


def test_artifacts_show_every_file(root):
    write(root / "artifacts" / "export_results.json", EXPORT)
    block = render_block("artifacts", root)
    row = "| `model_int8.onnx` (default) | 61.5 | 36,000 | 4,500,000 | 99.67 (98.14–99.94, 300) | 0.0123 | 99.80 |"
    assert f"{row} 0.123 / 0.2 / 0.5 |" in block
    assert "| `model_ts.pt` | 200.0 | – | – | – | – | – | – |" in block
    assert block.endswith("Xeon, 1 thread, onnxruntime 1.31.1, commit abc1234.")


def test_artifacts_say_why_a_file_is_left_out(root):
    left_out = {"model_int8.onnx": ["model_int8.onnx decides otherwise"]}
    write(root / "artifacts" / "export_results.json", {**EXPORT, "left_out": left_out})
    assert "`model_int8.onnx` is left out: model_int8.onnx decides otherwise." in render_block("artifacts", root)


def test_benchmarks_show_every_machine(root):
    write(root / "benchmarks" / "results" / "a.json", BENCHMARK)
    write(root / "benchmarks" / "results" / "b.json", {**BENCHMARK, "machine": {"cpu": "Cortex-A76", "n_threads": 1}})
    block = render_block("benchmarks", root)
    assert block.index("Xeon, 2 threads.") < block.index("Cortex-A76, 1 thread.")
    assert block.count("| waveform to probabilities | 2,000 | 0.21 / 0.3 / 0.4 / – | 15 |") == 2


def test_benchmarks_show_peers_and_words_where_they_were_measured(root):
    latency = {"n": 300, "latency_ms_p50": 5.0, "latency_ms_p95": 9.0, "latency_ms_p99": 12.0, "latency_ms_max": 30.0}
    answer = {"name": "answer", **latency, "budget_ms": 150.0, "budget_quantile": "p95"}
    answer |= {"n_clips": 300, "n_correct": 297, "n_missed": 2, "n_extra": 1}
    peer = {"name": "peer", **latency, "ratio": 12.34, "ratio_to": "model.onnx", "n_clips": 300, "n_correct": 201}
    write(root / "benchmarks" / "results" / "a.json", {"rows": [answer, peer], "note": "300 words."})
    block = render_block("benchmarks", root)
    assert "| budget ms | time against ours | right | missed / extra |" in block
    assert "| answer | 300 | 5 / 9 / 12 / 30 | 150 (p95) | – | 297 of 300 | 2 / 1 |" in block
    assert "| peer | 300 | 5 / 9 / 12 / 30 | – | 12.3 × model.onnx | 201 of 300 | – |" in block
    assert block.endswith("300 words.")
    early = {**peer, "name": "early", "latency_ms_p50": 0.0, "ratio": None}  # half of ours came before the word's end
    write(root / "benchmarks" / "results" / "a.json", {"rows": [answer, peer, early]})
    assert "| early | 300 | 0 / 9 / 12 / 30 | – | – | 201 of 300 | – |" in render_block("benchmarks", root)
    answer |= {"within_ms": 150.0, "n_within": 297, "n_right_within": 294}
    write(root / "benchmarks" / "results" / "a.json", {"rows": [answer, peer]})
    block = render_block("benchmarks", root)
    assert "| right | within the budget, of all | missed / extra |" in block
    assert "| 297 of 300 | 99.0 % (right 98.0 %) | 2 / 1 |" in block and "| 201 of 300 | – | – |" in block


def test_benchmarks_show_what_streaming_loses_and_what_listening_costs(root):
    latency = {"n": 300, "latency_ms_p50": 5.0, "latency_ms_p95": 9.0, "latency_ms_p99": 12.0, "latency_ms_max": 30.0}
    answer = {"name": "answer", **latency, "n_clips": 300, "n_correct": 294, "n_correct_offline": 297}
    rate = {
        "hours": 0.5,
        "n_false_accepts": 2,
        "far_per_hour": 4.0,
        "far_per_hour_low": 0.48,
        "far_per_hour_high": 14.4,
    }
    listening = {"minutes": 60.0, "sample_rate": 48000, "block_ms": 10.0, "cpu_share": 0.0177, "peak_mb": 99.94}
    listening |= {"growth_mb": 0.04, "growth_over_minutes": 54.0, "sounds": [{"name": "noise", **rate}]}
    write(root / "benchmarks" / "results" / "a.json", {"rows": [answer], "listening": listening})
    block = render_block("benchmarks", root)
    assert "| 294 of 300 | 297 (-1.00 points) |" in block
    cost = "Listening for 60 minutes, 48000 Hz in blocks of 10 ms: 1.77 % of one core, 99.9 MB resident at most, "
    assert cost + "+0.0 MB in 54 minutes." in block
    assert "| noise | 30.0 | 2 | 4.0 (0.5–14.4) |" in block
    write(root / "benchmarks" / "results" / "a.json", {"rows": [answer], "listening": {"minutes": 60.0}})
    with pytest.raises(InputError, match=r"a\.json: has no key 'peak_mb'"):
        render_block("benchmarks", root)


def test_budgets_set_machines_side_by_side(root):
    latency = {"n": 300, "latency_ms_p50": 5.0, "latency_ms_p95": 9.0, "latency_ms_p99": 12.0, "latency_ms_max": 30.0}
    answer = {"name": "answer", **latency, "budget_ms": 150.0, "budget_quantile": "p95", "n_clips": 30, "n_correct": 29}
    peer, start = {"name": "peer", **latency, "n_clips": 30, "n_correct": 20}, {"name": "cold start", **latency}
    sound = {"name": "noise", "far_per_hour": 4.4, "far_per_hour_low": 0.48, "far_per_hour_high": 14.4}
    listening = {"minutes": 60.0, "sample_rate": 48000, "block_ms": 10.0, "cpu_share": 0.0177, "peak_mb": None}
    first = {"machine": {"cpu": "Xeon", "instructions": "AVX2"}, "commit": "abc1234", "rows": [answer, start]}
    first["listening"] = {**listening, "sounds": [sound]}
    write(root / "benchmarks" / "results" / "a.json", first)
    second = {"commit": "def5678", "rows": [{**answer, "n_correct": 28, "n_right_within": 27}, peer]}
    write(root / "benchmarks" / "results" / "b.json", second)
    assert render_block("budgets", root).splitlines() == [
        "| measured | budget ms | Xeon (AVX2): p50 / p95 / p99 ms | Xeon (AVX2): right "
        "| b: p50 / p95 / p99 ms | b: right |",
        "|---|---|---|---|---|---|",
        "| answer | 150 (p95) | 5 / 9 / 12 | 29 of 30 | 5 / 9 / 12 | 28 of 30, in time 90.0 % |",
        "| peer | – | – | – | 5 / 9 / 12 | 20 of 30 |",
        "",
        "- Xeon, instructions AVX2, commit abc1234. Listening for 60 minutes, 48000 Hz in blocks of 10 ms: "
        "1.77 % of one core. Taken for digits an hour (95 % interval): 4 (0–14) of noise.",
        "- Commit def5678.",
    ]
    live = {
        **first,
        "rows": [{**answer, "name": "live", "quiet_budgets_ms": {"p50": 60, "p95": 120}}],
        "listening": None,
    }
    write(root / "benchmarks" / "results" / f"a{IN_REAL_TIME}.json", live)
    write(root / "benchmarks" / "results" / "c.json", first)  # another machine with as a CPU of that name
    header, _, *lines = render_block("budgets", root).splitlines()
    assert [cell for cell in header.split(" | ") if "right" in cell] == [
        "Xeon (AVX2): right",
        "b: right",
        "Xeon (AVX2), c: right |",
    ]
    assert "| live | 150 (p95), 60 / 120 | 5 / 9 / 12 | 29 of 30 | – | – | – | – |" in lines
    write(root / "benchmarks" / "results" / f"a{IN_REAL_TIME}.json", first)
    with pytest.raises(InputError, match="'answer' is in another file of this machine too"):
        render_block("budgets", root)
    (root / "benchmarks" / "results" / f"a{IN_REAL_TIME}.json").unlink()
    write(root / "benchmarks" / "results" / "a.json", {"machine": {"cpu": "Xeon"}})
    with pytest.raises(InputError, match=r"a\.json: has no key 'rows'"):
        render_block("budgets", root)


def test_documents_and_benchmarks_name_the_second_file_alike():
    assert documents.IN_REAL_TIME == kept.IN_REAL_TIME


def test_a_grid_shows_accuracies_by_noise_ratio_and_place(root):
    groups = [f"{sound}, {place}" for place in ("near", "hall") for sound in ("clean", "wind 10 dB", "wind -7.5 dB")]
    rows = [accuracy_row(group, 10 - i, 10) for i, group in enumerate(groups)]
    results = {**RESULTS, "title": "In wind", "rows": [*rows, accuracy_row("20 dB louder", 1, 10)]}
    write(root / "docs" / "results" / "noise.json", results)
    title, _, *table, _, command = render_block("grid:noise", root).splitlines()
    assert title == "**In wind** (n = 10)" and command.startswith("Commit abc1234. Reproduce: `python train_distill.py")
    assert table == [
        "| accuracy % | clean | 10 dB | -7.5 dB |",
        "|---|---|---|---|",
        "| wind, near | 100.00 | 90.00 | 80.00 |",
        "| wind, hall | 70.00 | 60.00 | 50.00 |",
    ]
    answering = [{**row, ANSWERED_RIGHTLY: 50.0 - i} for i, row in enumerate(rows)]
    write(root / "docs" / "results" / "noise.json", {**results, "rows": answering})
    assert "| accuracy, answered rightly % | clean | 10 dB | -7.5 dB |" in render_block("grid:noise", root)
    assert "| wind, hall | 70.00, 47.0 | 60.00, 46.0 | 50.00, 45.0 |" in render_block("grid:noise", root)
    with pytest.raises(InputError, match=r"fsdd_official\.json: .*run python -m edgedigit\.robustness again"):
        render_block("grid:fsdd_official", root)


@pytest.mark.parametrize("name", ["results:none_such", "grid:none_such", "artifacts", "benchmarks", "budgets"])
def test_what_was_not_measured_says_so(root, name):
    assert render_block(name, root).startswith("Not ")


def test_check_finds_a_stale_block_and_changes_nothing(root, capsys):
    before = (root / "README.md").read_bytes()
    assert main(["--check", "--root", str(root)]) == 1
    assert "results:fsdd_official" in capsys.readouterr().out
    assert (root / "README.md").read_bytes() == before


def test_rewriting_makes_the_check_pass_and_keeps_the_rest(root):
    assert main(["--root", str(root)]) == 0
    text = (root / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Title\n") and text.endswith("by hand\n") and "99.67" in text and "old" not in text
    assert main(["--check", "--root", str(root)]) == 0


def test_a_new_result_makes_the_block_stale_again(root):
    main(["--root", str(root)])
    write(root / "docs" / "results" / "fsdd_official.json", {**RESULTS, "commit": "def5678"})
    assert main(["--check", "--root", str(root)]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- generated:artifacts -->\nno end\n", "not closed"),
        ("<!-- generated:artifacts -->\n<!-- generated:benchmarks -->\n<!-- /generated -->\n", "not closed"),
        ("<!-- generated:weather -->\n<!-- /generated -->\n", "unknown"),
        ("<!-- generated:results:../secret -->\n<!-- /generated -->\n", "unknown"),
    ],
)
def test_a_wrong_marker_is_an_error(root, text, message):
    with pytest.raises(InputError, match=message):
        update_document(text, root)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"rows": [{"group": "all"}], "title": "t", "command": "c"}'])
def test_a_damaged_result_file_is_named(root, content):
    path = root / "docs" / "results" / "fsdd_official.json"
    path.write_text(content, encoding="utf-8")
    for block in ("results:fsdd_official", "summary:fsdd_official"):
        with pytest.raises(InputError, match=re.escape(str(path))):
            render_block(block, root)


def test_outside_a_repository_the_missing_document_is_named(tmp_path):
    with pytest.raises(InputError, match=r"README\.md"):
        main(["--root", str(tmp_path)])


def test_the_command_reports_bad_input_in_one_line(tmp_path):
    command = [sys.executable, "-m", "edgedigit.report", "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
