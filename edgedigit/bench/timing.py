"""How long one inference takes, measured in a way that two models can be compared by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from edgedigit.metrics import latency_summary


def time_calls(
    calls: Sequence[Callable[[], object]], n_runs: int = 1000, n_warmup: int = 50, n_again: int = 0
) -> list[dict]:
    """Time several callables in turn, A B A B …, so that a drift of the machine's speed meets all alike.

    Args:
        n_again: calls that are not timed before every one that is: they bring back to the caches what the others have
            driven out, so that a model beside large ones is as fast as alone.

    Returns:
        One `metrics.latency_summary` (ms) for each.
    """
    for call in calls:
        for _ in range(n_warmup):
            call()
    times_ms = np.empty((len(calls), n_runs))
    for run in range(n_runs):
        for row, call in zip(times_ms, calls, strict=True):
            for _ in range(n_again):
                call()
            started = time.perf_counter()
            call()
            row[run] = 1000 * (time.perf_counter() - started)
    return [latency_summary(row) for row in times_ms]
