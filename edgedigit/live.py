"""Live sound: blocks go to all that take part in listening, from a device or at the pace of one."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from edgedigit.listener import Listener
from edgedigit.runtime import Event
from edgedigit.runtime.microphone import BLOCK_MS

if TYPE_CHECKING:
    from edgedigit.display import Display  # which needs rich


class Paced:
    """Blocks of (T,) at a rate in Hz as a microphone would deliver them: each once its last sample would be spoken.

    Attributes:
        captured_s: when the last sample of the last block would have been spoken, of `time.monotonic`, as
            `Microphone.captured_s`: a program that lags, or wakes late, makes a block wait.
    """

    def __init__(self, waveform: np.ndarray, sample_rate: int):
        self._waveform, self._sample_rate = waveform, sample_rate
        self.captured_s = time.monotonic()

    def __iter__(self) -> Iterator[np.ndarray]:
        block = self._sample_rate * BLOCK_MS // 1000
        started = time.monotonic()
        for start in range(0, self._waveform.size, block):
            samples = self._waveform[start : start + block]
            self.captured_s = started + (start + samples.size) / self._sample_rate
            time.sleep(max(0.0, self.captured_s - time.monotonic()))
            yield samples


class Session:
    """What takes part in listening: whoever recognises, and what is recorded and shown of it.

    Args:
        listener: who recognises.
        display: what shows it, if anything does; asked for clips of words, where it reads keys.
    """

    def __init__(self, listener: Listener, display: Display | None = None):
        self._listener, self._display = listener, display
        self._clips = display and display.clips
        if display:
            listener.watcher = self._watch
        self.recording = None  # a `Recording`, once the device is open whose rate it has
        self.n_answers = 0
        self.stopped = False  # somebody has had enough

    def begin(self, source: str, sample_rate: int, title: str | None = None) -> None:
        """A stream begins: its name in answers, its rate in Hz, and its name in the display, where that is another."""
        self._listener.open(source, sample_rate)
        if self.recording:
            self.recording.set_rate(sample_rate)
        if self._clips:
            self._clips.begin(sample_rate)
        if self._display:
            self._display.begin(title or source)

    def _watch(self, events: Sequence[Event]) -> None:
        self._display.show(events)
        for event in events:
            if self._clips and event.kind in ("digit", "rejected"):
                label = None if event.kind == "rejected" else event.label
                self._clips.answer(label, event.start_s, event.end_s)

    def end(self) -> None:
        """The stream has ended, perhaps within a word."""
        self.n_answers += self._listener.flush()
        if self._clips:
            self._clips.end()

    def follow(self, blocks: Iterable[np.ndarray], captured_s: Callable[[], float] | None = None) -> None:
        """Take blocks (T,) until they end or until Ctrl-C; an empty one means that there is no sound yet.

        Args:
            blocks: mono float32.
            captured_s: when the last sample of the last block had come, of `time.monotonic`: how long that has waited
                is part of the latencies that are reported. None: it has not waited.
        """
        try:
            for block in blocks:
                if block.size:
                    if self.recording:  # first, so that it holds whatever an answer was given to
                        self.recording.write(block)
                    if self._clips:
                        self._clips.hear(block)
                    if self._display:
                        self._display.hear(block)
                    waited_s = time.monotonic() - captured_s() if captured_s else 0.0
                    self.n_answers += self._listener.accept(block, waited_s)
                if self._display and self._display.stopped:
                    self.stopped = True
                    return
        except KeyboardInterrupt:
            self.stopped = True
            if not self._display:
                print(file=sys.stderr)  # the terminal has written ^C there


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, as of `timeout` or a service manager, end listening as Ctrl-C does: the terminal is put right again,
    and the closing line is printed.
    """
    if threading.current_thread() is not threading.main_thread():  # others may not say what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def own_stderr() -> Iterator[None]:
    """Keep standard error to this program's own lines: PortAudio and ALSA write their inner troubles there.

    Python's writes go where they went; the file descriptor that C libraries write to leads nowhere meanwhile.
    """
    # There is none, or it was replaced by a program that embeds this one, which must not lose it.
    if sys.stderr is None or sys.stderr is not sys.__stderr__:
        yield
        return
    kept = os.dup(2)
    how = {"buffering": 1, "encoding": sys.stderr.encoding, "errors": "backslashreplace"}
    with open(os.devnull, "wb") as nowhere, os.fdopen(kept, "w", **how) as errors:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = errors
        try:
            yield
        finally:
            sys.stderr = sys.__stderr__
            os.dup2(kept, 2)
