"""Streams that are heard one after the other, or several at a time."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from edgedigit.errors import EdgedigitError


class InTurn(Executor):
    """Makes each call when it is submitted, so that none disturbs another; its result, or error, waits."""

    def submit(self, fn, /, *args: Any, **kwargs: Any) -> Future:
        """`fn(*args, **kwargs)`, made."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except EdgedigitError as error:
            future.set_exception(error)
        return future


def streams_at_a_time(n_jobs: int) -> Executor:
    """What hears so many streams at once, each in a process of its own; one: in this process, in turn."""
    return InTurn() if n_jobs == 1 else ProcessPoolExecutor(n_jobs, get_context("spawn"))


def jobs_note(n_jobs: int) -> str:
    """What a reader must know of streams that were heard at the same time."""
    return f"Streams in real time were heard up to {n_jobs} at a time, each in a process of its own."
