"""Answers are printed as infer.py prints them, so that the time to an answer ends where a reader has its line."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np

from edgedigit import peers
from edgedigit.answers import Report
from edgedigit.runtime import Event, StreamingRecognizer

LINE_BYTES = 1 << 12  # more than a line has


class PrintingEngine:
    """What recognises a stream, and prints every answer before it hands its events on; use it with `with`.

    The line goes through a pipe and is read from its other end, since what reads infer.py may well be a program.

    Args:
        engine: what recognises.
        labels: of its model.

    Attributes:
        lines: what was printed for each answer.
    """

    def __init__(self, engine: StreamingRecognizer | peers.SileroEndpointing, labels: Sequence[str]):
        self._engine, self._labels = engine, labels
        self.lines: list[str] = []

    def __enter__(self) -> PrintingEngine:
        self._report = Report(Namespace(string=False, json=False, top_k=1), self._labels)
        self._reader, writer = os.pipe()
        self._pipe = os.fdopen(writer, "w", encoding="utf-8")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._pipe.close()
        os.close(self._reader)

    def accept(self, samples: np.ndarray) -> list[Event]:
        """Take the next block, mono (T,) float32; what it answers has been printed."""
        return self._printed(self._engine.accept(samples))

    def flush(self) -> list[Event]:
        """End the stream; what it answers has been printed."""
        return self._printed(self._engine.flush())

    def _printed(self, events: list[Event]) -> list[Event]:
        for event in events:
            if event.kind in ("digit", "rejected"):
                with redirect_stdout(self._pipe):
                    latency_ms = event.latency_ms or 0.0  # which peers do not say
                    self._report.word("stream", event.prediction, event.start_s, event.end_s, latency_ms)
                self.lines.append(os.read(self._reader, LINE_BYTES).decode())
        return events
