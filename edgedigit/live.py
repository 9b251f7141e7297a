"""Live sound: blocks go to all that take part in listening, from a device or at the pace of one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from edgedigit.runtime.microphone import BLOCK_MS


def paced(waveform: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    """Blocks of (T,) at a rate in Hz as a microphone would deliver them: each once its last sample would be spoken."""
    block = sample_rate * BLOCK_MS // 1000
    started = time.perf_counter()
    for start in range(0, waveform.size, block):
        samples = waveform[start : start + block]
        due = started + (start + samples.size) / sample_rate
        time.sleep(max(0.0, due - time.perf_counter()))
        yield samples


class Session:
    """What takes part in listening: whoever recognises, and what is recorded.

    Args:
        listener: has `open(source, sample_rate)`, `accept(block)`, `flush()`; the last two return how many answers.
    """

    def __init__(self, listener):
        self._listener = listener
        self.recording = None  # a `Recording`, once the device is open whose rate it has
        self.n_answers = 0
        self.stopped = False  # somebody has had enough

    def begin(self, source: str, sample_rate: int) -> None:
        """A stream begins: its name, and its rate in Hz."""
        self._listener.open(source, sample_rate)
        if self.recording:
            self.recording.set_rate(sample_rate)

    def end(self) -> None:
        """The stream has ended, perhaps within a word."""
        self.n_answers += self._listener.flush()

    def follow(self, blocks: Iterable[np.ndarray]) -> None:
        """Take blocks (T,) until they end or until Ctrl-C; an empty one means that there is no sound yet."""
        try:
            for block in blocks:
                if block.size:
                    if self.recording:  # first, so that it holds whatever an answer was given to
                        self.recording.write(block)
                    self.n_answers += self._listener.accept(block)
        except KeyboardInterrupt:
            self.stopped = True
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
