"""What infer.py hears streams with: words or, on request, strings of them, as its options want it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgedigit.answers import Report
from edgedigit.errors import InputError
from edgedigit.runtime import DigitString, DigitStringCollector, Event, Recognizer, StreamingRecognizer, StringOptions
from edgedigit.runtime.vad import DETECTORS, VadOptions


class Listener:
    """Streams of words or, with --string, of strings; reports what is heard in them.

    Args:
        recognizer: the model.
        args: options of infer.py.
        report: is told the answers.

    Attributes:
        watcher: is told all events, also partial ones, if it was set before the stream was opened.
    """

    def __init__(self, recognizer: Recognizer, args: argparse.Namespace, report: Report):
        self._recognizer, self._report = recognizer, report
        self.watcher: Callable[[Sequence[Event]], None] | None = None
        self._options, self._silero = endpointing(recognizer, args.endpointing) if args.endpointing else (None, None)
        self.strings = string_collector(recognizer, args) if args.string else None
        self.open("", recognizer.info.sample_rate)  # thresholds that cannot work are told before anything is read

    def open(self, source: str, sample_rate: int) -> None:
        """Begin a stream; its source is named in what is reported."""
        self._source = source
        self._stream = StreamingRecognizer(
            self._recognizer,
            self._options,
            sample_rate,
            silero_model=self._silero,
            partials=self.watcher is not None,
        )
        if self.strings:
            self.strings.reset()

    def accept(self, samples, waited_s: float = 0.0) -> int:
        """Take samples, which have waited since they were captured; how many answers there were."""
        events = self._stream.accept(samples)
        return self._report_on(events, self.strings and self.strings.accept(events, self._stream.time_s), waited_s)

    def flush(self) -> int:
        """End the stream, with the word that is being said; how many answers there were."""
        ends_s = self._stream.time_s  # before it begins anew
        events = self._stream.flush()
        return self._report_on(events, self.strings and self.strings.flush(events, ends_s))

    def _report_on(self, events: Sequence[Event], strings: Sequence[DigitString] | None, waited_s: float = 0.0) -> int:
        answers = strings if self.strings else [event for event in events if event.kind in ("digit", "rejected")]
        for answer in answers:
            if self.strings:
                latency_ms = 1000 * (answer.time_s - answer.end_s + waited_s)
                self._report.string(self._source, answer, latency_ms)
            else:
                latency_ms = answer.latency_ms + 1000 * waited_s
                self._report.word(self._source, answer.prediction, answer.start_s, answer.end_s, latency_ms)
        if self.watcher:
            self.watcher(events)
        return len(answers)


def endpointing(recognizer: Recognizer, wanted: str) -> tuple[VadOptions, str | None]:
    """Thresholds for what --endpointing says, and the path of Silero's file, where one is named."""
    options = VadOptions.from_dict(recognizer.info.thresholds.get("vad", {}))
    if wanted in DETECTORS:
        return replace(options, detector=wanted), None
    if not Path(wanted).is_file():
        raise InputError(f"--endpointing is {wanted!r}, expected {', '.join(DETECTORS)} or Silero's ONNX file")
    return replace(options, detector="silero"), wanted


def string_collector(recognizer: Recognizer, args: argparse.Namespace) -> DigitStringCollector:
    """What gathers digits into strings, as the command line wants them."""
    given = {name: getattr(args, name) for name in ("length", "checksum", "n_best", "pause_ms")}
    options = StringOptions(**{"n_best": 1, **{name: value for name, value in given.items() if value is not None}})
    return DigitStringCollector(recognizer, options)
