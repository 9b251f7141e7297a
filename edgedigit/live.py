"""Live sound: blocks go to whoever listens as they come, until they end or somebody has enough."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np


def follow(
    blocks: Iterable[np.ndarray], takers: Iterable[Callable[[np.ndarray], object]], done: Callable[[], bool]
) -> None:
    """Hand each block (T,) to each of `takers` in turn, until the blocks end, `done` says so, or Ctrl-C."""
    try:
        for block in blocks:
            for take in takers:
                take(block)
            if done():
                return
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the terminal has written ^C there


@contextmanager
def own_stderr() -> Iterator[None]:
    """Keep standard error to this program's own lines: PortAudio and ALSA write their inner troubles there.

    Python's writes go where they went; the file descriptor that C libraries write to leads nowhere meanwhile.
    """
    if sys.stderr is not sys.__stderr__:  # replaced by a program that embeds this one, which must not lose it
        yield
        return
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere, os.fdopen(kept, "w", buffering=1, closefd=False) as errors:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = errors
        try:
            yield
        finally:
            sys.stderr = sys.__stderr__
            os.dup2(kept, 2)
            os.close(kept)
