"""Result files of two machines or versions side by side; what cannot be compared is said in one line."""

import json

import pytest

from edgedigit.bench import __main__ as command_line
from edgedigit.bench.comparison import comparison
from edgedigit.bench.machine import machine_facts, machine_slug
from edgedigit.errors import InputError

ROW = {"name": "a: inference", "latency_ms_p50": 1.0, "latency_ms_p95": 2.0, "latency_ms_p99": 4.0}


def result(path, rows, **more):
    path.write_text(
        json.dumps({"machine": {"cpu": path.stem}, "commit": "abc", "rows": rows, **more}), encoding="utf-8"
    )
    return path


def test_two_machines_stand_side_by_side_with_their_ratio(tmp_path):
    slower = {**ROW, "latency_ms_p50": 3.0, "latency_ms_p95": 3.0, "latency_ms_p99": 2.0}
    only = {**ROW, "name": "b: cold start"}
    text = comparison(result(tmp_path / "xeon.json", [ROW, only]), result(tmp_path / "pi.json", [slower]))
    (line,) = [line for line in text.splitlines() if line.startswith("a: inference")]
    assert line.split()[2:] == ["1.000", "3.000", "3.00", "2.000", "3.000", "1.50", "4.000", "2.000", "0.50"]
    assert "only in A: b: cold start" in text.splitlines()
    assert "xeon, commit abc" in text and "pi, commit abc" in text


def test_listening_is_compared_where_both_have_listened(tmp_path):
    cost = {"cpu_share": 0.02, "peak_mb": 90.0, "growth_mb": 0.1, "growth_over_minutes": 54.0}
    once = result(tmp_path / "once.json", [ROW], listening=cost)
    twice = result(tmp_path / "twice.json", [ROW], listening={**cost, "cpu_share": 0.05})
    never = result(tmp_path / "never.json", [ROW])
    assert "2.50 times A's share" in comparison(once, twice)
    assert comparison(once, never).endswith("only in A: listening")
    assert "listening" not in comparison(never, never).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[1]", b'{"rows": [{"name": "a"}]}', b"\xff\xfe", b'{"rows": 3}']
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


def test_a_part_of_the_figures_does_not_replace_all_of_them(tmp_path, tiny_model):
    kept = result(tmp_path / f"{machine_slug(machine_facts())}.json", [ROW])
    before = kept.read_bytes()
    with pytest.raises(InputError, match="would lose the rows that --only leaves out"):
        command_line.main(["--model", str(tiny_model), "--only", "inference", "--write", str(tmp_path)])
    assert kept.read_bytes() == before
