"""Streams that are heard one after the other, or several at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from edgedigit.errors import EdgedigitError, InputError, WorkerError

_interrupted = False  # in a process that hears streams: what it would begin after that is not begun


class InTurn(Executor):
    """Makes each call when it is submitted, so that none disturbs another; its result, or error, waits."""

    def submit(self, fn: Callable, /, *args: Any) -> Future:
        """`fn(*args)`, made."""
        future: Future = Future()
        try:
            future.set_result(fn(*args))
        except (EdgedigitError, OSError) as error:
            future.set_exception(error)
        return future


class AtATime(ProcessPoolExecutor):
    """Makes so many calls at once, each in a process of its own; an error or interrupt outside begins no more."""

    def __init__(self, n_jobs: int):
        super().__init__(n_jobs, get_context("spawn"))

    def submit(self, fn: Callable, /, *args: Any) -> Future:
        """`fn(*args)`, in its turn."""
        return super().submit(_unless_interrupted, fn, *args)

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)


def _unless_interrupted(fn: Callable, *args: Any) -> Any:
    """Ctrl-C reaches each process, but ends only the call that it is making: others wait in its queue."""
    global _interrupted
    if _interrupted:
        raise KeyboardInterrupt
    try:
        return fn(*args)
    except KeyboardInterrupt:
        _interrupted = True
        raise


def streams_at_a_time(n_jobs: int) -> Executor:
    """What hears so many streams at once; one: in this process, in turn."""
    return InTurn() if n_jobs == 1 else AtATime(n_jobs)


def heard(stream: Future) -> Any:
    """What a stream gave.

    Raises:
        EdgedigitError: what kept it from that; WorkerError if its process has ended.
    """
    try:
        return stream.result()
    except BrokenExecutor:
        raise WorkerError("a process that heard a stream has ended; take fewer --jobs") from None
    except OSError as error:
        raise InputError(f"{error.filename or 'a stream'}: {error.strerror or error}") from None


def jobs_note(n_jobs: int) -> str:
    """What a reader must know of streams that were heard at the same time."""
    return f"Streams in real time were heard up to {n_jobs} at a time, each in a process of its own."
