"""What is kept of answers: enough for the closing line, and no more the longer somebody listens."""

import argparse
import json
import os
import tracemalloc

import numpy as np
import pytest

from edgedigit.answers import N_LAST, RATIO, LatencyHistogram, Report
from edgedigit.runtime.predictor import Prediction

WORD = Prediction("1", 0.9, {"1": 0.9, "2": 0.1}, False, 0.1)


def report_of(is_json=False, n_last=None):
    return Report(argparse.Namespace(string=False, json=is_json, top_k=2), ("1", "2"), n_last)


def hear(report, first, end):
    for i in range(first, end):
        report.word("microphone", WORD, float(i), i + 0.5, 20 + 80 * (i * 0.618 % 1))


def closing(report, capsys):
    report.finish(argparse.Namespace(path=argparse.Namespace(name="m.onnx"), info=argparse.Namespace(version="1")))
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("percent", [0, 1, 50, 95, 99, 100])
def test_a_percentile_is_right_to_half_a_bin(percent):
    latencies_ms = np.random.default_rng(0).lognormal(4, 1, 5001)
    histogram = LatencyHistogram()
    for latency_ms in latencies_ms:
        histogram.add(latency_ms)
    exact = np.percentile(latencies_ms, percent, method="nearest")
    assert histogram.percentile(percent) == pytest.approx(exact, rel=RATIO**0.5 - 1 + 1e-4)


def test_no_latency_has_no_percentile_and_extreme_ones_have():
    histogram = LatencyHistogram()
    assert histogram.percentile(50) is None
    for latency_ms in (0.0, 1e99, 1e99):
        histogram.add(latency_ms)
    assert histogram.percentile(0) < 0.0011 and histogram.percentile(50) > 9e6


@pytest.mark.parametrize("is_json", [True, False])
def test_memory_does_not_grow_with_what_a_microphone_has_heard(is_json, monkeypatch):
    monkeypatch.setattr("sys.stdout", open(os.devnull, "w"))  # what captures the output would grow  # noqa: SIM115
    report = report_of(is_json, N_LAST)
    hear(report, 0, 2000)
    tracemalloc.start()
    hear(report, 2000, 2200)  # what was in the way is replaced
    before = tracemalloc.get_traced_memory()[0]
    hear(report, 2200, 5000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 10_000  # bytes; 2800 answers would be two millions


def test_the_closing_line_counts_all_and_holds_the_last(capsys):
    report = report_of(n_last=3)
    hear(report, 0, 50)
    summary = closing(report, capsys)
    assert summary["n_words"] == 50 and [result["start_s"] for result in summary["results"]] == [47, 48, 49]
    assert summary["latency_ms_p50"] == pytest.approx(60, abs=2)  # of all; of the last three it would be 30


def test_of_recordings_the_closing_line_holds_all(capsys):
    report = report_of()
    hear(report, 0, 2 * N_LAST)
    assert len(closing(report, capsys)["results"]) == 2 * N_LAST
