"""Result files of two machines or versions side by side; what cannot be compared is said in one line."""

import json
import math
from contextlib import nullcontext
from pathlib import Path

import pytest

from edgedigit.bench import __main__ as command_line
from edgedigit.bench.browser import ARRIVAL, DRAWING
from edgedigit.bench.comparison import comparison
from edgedigit.bench.kept import (
    ASIDE,
    GO_ON,
    LISTENING,
    LISTENING_LIVE,
    check_foreseen,
    keep,
    kept_extents,
    listed,
    lost_of,
)
from edgedigit.bench.live import CLICK
from edgedigit.bench.machine import machine_facts, machine_slug
from edgedigit.bench.options import parse_args
from edgedigit.errors import InputError

ROW = {"name": "a: inference", "latency_ms_p50": 1.0, "latency_ms_p95": 2.0, "latency_ms_p99": 4.0}


def result(path, rows, **more):
    path.write_text(
        json.dumps({"machine": {"cpu": path.stem}, "commit": "abc", "rows": rows, **more}), encoding="utf-8"
    )
    return path


def changed(**values):
    """What a file holds whose one row is damaged."""
    return json.dumps({"rows": [{**ROW, **values}]}).encode()


def test_two_machines_stand_side_by_side_with_their_ratio(tmp_path):
    slower = {**ROW, "latency_ms_p50": 3.0, "latency_ms_p95": 3.0, "latency_ms_p99": 2.0}
    only = {**ROW, "name": "b: cold start"}
    text = comparison(result(tmp_path / "xeon.json", [ROW, only]), result(tmp_path / "pi.json", [slower]))
    (line,) = [line for line in text.splitlines() if line.startswith("a: inference")]
    assert line.split()[2:] == ["1.000", "3.000", "3.00", "2.000", "3.000", "1.50", "4.000", "2.000", "0.50"]
    assert "only in A: b: cold start" in text.splitlines()
    assert "xeon, commit abc" in text and "pi, commit abc" in text


def test_what_was_measured_with_another_model_or_seed_is_said(tmp_path):
    model, more = {"file": "m.onnx", "sha256": "0123456789abcdef"}, {"seeds": [0]}
    first = result(tmp_path / "first.json", [ROW], model=model, **more)
    same = result(tmp_path / "same.json", [ROW], model=model, **more)
    other = result(tmp_path / "other.json", [ROW], model={**model, "sha256": "f" * 64}, seeds=[1])
    older = result(tmp_path / "older.json", [ROW])
    assert "differ" not in comparison(first, same)
    assert "note: models differ: A m.onnx, SHA-256 0123456789ab…, B m.onnx, SHA-256 ffffffffffff…" in comparison(
        first, other
    )
    assert "note: seeds differ: A 0, B 1" in comparison(first, other)
    assert "note: models differ: A m.onnx, SHA-256 0123456789ab…, B not told" in comparison(first, older)


def test_listening_is_compared_where_both_have_listened(tmp_path):
    cost = {"cpu_share": 0.02, "peak_mb": 90.0, "growth_mb": 0.1, "growth_over_minutes": 54.0}
    once = result(tmp_path / "once.json", [ROW], listening=cost)
    twice = result(tmp_path / "twice.json", [ROW], listening={**cost, "cpu_share": 0.05})
    never = result(tmp_path / "never.json", [ROW])
    assert "2.50 times A's share" in comparison(once, twice)
    assert comparison(once, never).endswith("only in A: listening")
    assert "listening" not in comparison(never, never).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    "content",
    [
        *(None, b"", b"{", b"[1]", b'{"rows": [{"name": "a"}]}', b"\xff\xfe", b'{"rows": 3}', b"[" * 200_000),
        changed(name=3),
        changed(latency_ms_p50=-1.0),
        changed(latency_ms_p95=math.nan),
        changed(latency_ms_p99=10**400),
        changed(n_clips=0, n_within=0, n_right_within=0, within_ms=150.0),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, capsys, content):
    whole, damaged = result(tmp_path / "whole.json", [ROW]), tmp_path / "damaged.json"
    if content is not None:
        damaged.write_bytes(content)
    for pair in ((whole, damaged), (damaged, whole)):
        with pytest.raises(InputError) as raised:
            command_line.main(["--compare", *map(str, pair)])
        assert "damaged.json" in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_files_without_a_common_row_are_refused(tmp_path):
    other = result(tmp_path / "other.json", [{**ROW, "name": "b"}])
    with pytest.raises(InputError, match="no row in common"):
        comparison(result(tmp_path / "one.json", [ROW]), other)


def test_shares_within_the_budget_stand_side_by_side_and_older_files_have_none(tmp_path):
    newer = {**ROW, "n_clips": 200, "within_ms": 150, "n_within": 190, "n_right_within": 180}
    old, new = result(tmp_path / "old.json", [ROW]), result(tmp_path / "new.json", [newer])
    assert "within the budget, a: inference: A: –, B: 95.0 % of all, right 90.0 %" in comparison(old, new)
    assert "within the budget" not in comparison(old, old)


LISTENED = {"cpu_share": 0.02, "peak_mb": 90.0, "growth_mb": 0.1, "growth_over_minutes": 54.0}


def named(*names):
    return [{**ROW, "name": name} for name in names]


def args_of(*flags):
    return parse_args(list(flags), "")


MODEL = Path("m.onnx")
FACTS = {"machine": {"cpu": "kept"}, "commit": "abc", "seeds": [0], "model": {"file": "m.onnx", "sha256": "0" * 64}}
FACTS["asked"] = {"sample_rate": 48000}
QUIET = "m.onnx: end of word to answer, 655 words on a virtual clock"
NOISY = "m.onnx: end of word to answer, 655 words in stationary noise 20 dB on a virtual clock"
LIVE = "m.onnx: end of word to answer, 655 words through a microphone"
SEEN = "m.onnx: end of word to answer, 655 words in Chromium"
LISTENED_ALL = ("--microphone", "--browser", "--listen", "60")
INFERENCE, PEER = "m.onnx: waveform to probabilities", "pocketsphinx: clip to answer"


@pytest.mark.parametrize(
    ("flags", "n_words", "lost"),
    [
        ((), 655, [NOISY, LIVE, CLICK, SEEN, ARRIVAL, DRAWING, LISTENING]),
        (("--microphone", "--listen", "60", "--snr-db", "20"), 655, [SEEN, ARRIVAL, DRAWING]),
        ((*LISTENED_ALL, "--snr-db", "20"), 655, []),
        (LISTENED_ALL, 655, [NOISY]),
        ((*LISTENED_ALL, "--snr-db", "20"), 300, [QUIET, NOISY, LIVE, SEEN]),
        ((*LISTENED_ALL, "--snr-db", "20", "--only", "answers"), 655, [INFERENCE, PEER]),
        ((*LISTENED_ALL, "--only", "inference", "peers"), 655, [QUIET, NOISY]),
    ],
)
def test_what_the_options_leave_out_of_a_file_is_refused_before_anything_is_measured(tmp_path, flags, n_words, lost):
    rows = named(INFERENCE, QUIET, NOISY, LIVE, CLICK, SEEN, ARRIVAL, DRAWING, PEER)
    path = result(tmp_path / "kept.json", rows, listening=LISTENED)
    conditions = ["clean", *(["stationary noise 20 dB"] if "--snr-db" in flags else [])]
    refused = pytest.raises(InputError) if lost else nullcontext()
    with refused as raised:
        check_foreseen(path, args_of(*flags), MODEL, n_words, conditions, FACTS)
    if lost:
        said = str(raised.value)
        assert said == f"{path} would lose {listed(lost)}; measure these too, {GO_ON}"


def test_the_command_refuses_to_lose_rows_and_measures_nothing(tmp_path, tiny_model, monkeypatch):
    kept = result(tmp_path / f"{machine_slug(machine_facts())}.json", named(NOISY))
    before = kept.read_bytes()
    monkeypatch.setattr(command_line, "run_inference", lambda *_: pytest.fail("measured"))
    with pytest.raises(InputError, match=r"would lose .*stationary noise 20 dB.*--write DIR"):
        command_line.main(["--model", str(tiny_model), "--only", "inference", "--write", str(tmp_path)])
    assert kept.read_bytes() == before


def test_what_could_not_be_measured_replaces_nothing_and_is_kept_beside(tmp_path, tiny_model):
    """A model of another name cannot give the row that the file has."""
    kept = result(tmp_path / f"{machine_slug(machine_facts())}.json", named(INFERENCE))
    before = kept.read_bytes()
    flags = ["--only", "inference", "--runs", "5", "--processes", "1"]
    with pytest.raises(InputError, match=r"stays: it would lose .*m\.onnx: waveform.*\.json\.new"):
        command_line.main(["--model", str(tiny_model), *flags, "--write", str(tmp_path)])
    assert kept.read_bytes() == before
    (aside,) = tmp_path.glob("*.new")
    assert len(json.loads(aside.read_text(encoding="utf-8"))["rows"]) == 8


def test_other_rows_of_the_same_measurement_are_added(tmp_path):
    path = tmp_path / "kept.json"
    keep(path, {**FACTS, "rows": named(QUIET, CLICK), "note": "One seed. Words: m. a.", "listening": LISTENED})
    flags = args_of("--only", "answers", "--snr-db", "20", "--noise-only", "--microphone")
    check_foreseen(path, flags, MODEL, 655, ["stationary noise 20 dB"], FACTS)
    later = [{**row, "latency_ms_p50": 9.0} for row in named(NOISY, CLICK)]
    keep(path, {**FACTS, "rows": later, "note": "One seed. SNR: of a word."})
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert [(row["name"], row["latency_ms_p50"]) for row in kept["rows"]] == [(QUIET, 1.0), (CLICK, 9.0), (NOISY, 9.0)]
    assert kept["note"] == "One seed. Words: m. a. SNR: of a word." and kept["listening"] == LISTENED


OTHER_FACTS = [{"commit": "abd"}, {"seeds": [1]}, {"machine": {"cpu": "x"}}, {"model": None}, {"asked": {}}]


@pytest.mark.parametrize("other", [*OTHER_FACTS, {"rows": named(QUIET, NOISY)}])
def test_rows_of_another_measurement_or_the_same_rows_are_not_added(tmp_path, other):
    path = tmp_path / "kept.json"
    keep(path, {**FACTS, "rows": named(QUIET, INFERENCE)})
    if "rows" not in other:
        with pytest.raises(InputError, match="would lose"):
            check_foreseen(path, args_of("--only", "inference"), MODEL, 655, ["clean"], {**FACTS, **other})
    with pytest.raises(InputError, match="stays: it would lose"):
        keep(path, {**FACTS, "rows": named(NOISY), **other})


def test_nothing_is_added_to_what_no_commit_tells(tmp_path):
    path = tmp_path / "kept.json"
    for commit in ("abc-dirty", "unknown"):
        path.unlink(missing_ok=True)
        keep(path, {**FACTS, "commit": commit, "rows": named(QUIET)})
        with pytest.raises(InputError, match="stays: it would lose"):
            keep(path, {**FACTS, "commit": commit, "rows": named(NOISY)})


def test_the_same_rows_and_more_replace_a_file(tmp_path):
    path = result(tmp_path / "kept.json", named(QUIET))
    keep(path, {"rows": named(NOISY, QUIET), "listening": LISTENED})
    assert list(kept_extents(path)) == [NOISY, QUIET, LISTENING]


COLD = "m.onnx: cold start, new process to first answer"
SOUNDS = [{"name": "speech"}, {"name": "noise"}]


@pytest.mark.parametrize(
    ("flags", "n_words", "less"),
    [
        (("--listen", "60"), 655, None),
        (("--listen", "60", "--runs", "2000", "--processes", "20"), 700, None),
        (("--listen", "1"), 655, f"{LISTENING} (1 in place of 60)"),
        (("--listen", "60", "--runs", "1"), 655, f"{INFERENCE} (1 in place of 1000)"),
        (("--listen", "60", "--processes", "9"), 655, f"{COLD} (9 in place of 10)"),
        (("--listen", "60"), 100, f"{PEER} (100 in place of 655)"),
    ],
)
def test_fewer_minutes_runs_or_words_than_a_file_has_are_refused_before(tmp_path, flags, n_words, less):
    rows = [{**ROW, "name": name, "n": n} for name, n in ((INFERENCE, 1000), (COLD, 10), (PEER, 655))]
    path = result(tmp_path / "kept.json", rows, listening={**LISTENED, "minutes": 60.0, "sounds": SOUNDS})
    with pytest.raises(InputError) if less else nullcontext() as raised:
        check_foreseen(path, args_of(*flags), MODEL, n_words, ["clean"], FACTS)
    assert not less or f"would lose {less!r}; measure these" in str(raised.value)


def test_what_was_heard_through_a_microphone_is_not_lost_either(tmp_path):
    path = result(tmp_path / "kept.json", [ROW], listening_live={**LISTENED, "minutes": 33.0, "sounds": SOUNDS})
    with pytest.raises(InputError, match="would lose 'listening_live'"):
        check_foreseen(path, args_of("--listen", "60", "--snr-db", "20"), MODEL, 655, ["clean"], FACTS)
    lost = lost_of(kept_extents(path), {ROW["name"]: 655, LISTENING_LIVE: 33.0, f"{LISTENING_LIVE} to speech": 0})
    assert lost == [f"{LISTENING_LIVE} to noise"]


@pytest.mark.parametrize(
    ("row", "listened", "less"),
    [
        ({"n": 900, "n_clips": 655}, {}, None),  # how many of the words were answered is a result
        ({"n": 10, "n_clips": 100}, {}, f"{QUIET} (100 in place of 655)"),
        ({}, {"minutes": 59.0}, f"{LISTENING} (59 in place of 60)"),
        ({}, {"sounds": SOUNDS[:1]}, f"{LISTENING} to noise"),
    ],
)
def test_what_turns_out_to_be_less_replaces_nothing(tmp_path, row, listened, less):
    whole = {"rows": [{**ROW, "name": QUIET, "n": 1000, "n_clips": 655}]}
    whole["listening"] = {**LISTENED, "minutes": 60.0, "sounds": SOUNDS}
    path = result(tmp_path / "kept.json", **whole)
    new = {"rows": [{**whole["rows"][0], **row}], "listening": {**whole["listening"], **listened}}
    with pytest.raises(InputError) if less else nullcontext() as raised:
        keep(path, new)
    assert not less or f"stays: it would lose {less!r}; what" in str(raised.value)
    assert path.with_name(path.name + ASIDE).exists() == bool(less)


def test_a_file_that_is_no_result_is_not_replaced(tmp_path):
    path = tmp_path / "kept.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"kept\.json is in the way and no result file .*--write DIR"):
        kept_extents(path)
