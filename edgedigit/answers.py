"""What infer.py prints: answers as they come, what happens to a source, and the closing line."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter, deque
from collections.abc import Sequence

from edgedigit.cli import print_json
from edgedigit.labels import kind_of

N_LAST = 100  # answers of a microphone that the closing line holds: it may listen for months
RATIO = 1.01  # between the bounds of a bin of latencies: what is read off is right to half a per cent
LATENCIES_MS = 1e-3, 1e7  # a microsecond to three hours: beyond is as good as at


class LatencyHistogram:
    """Latencies in bins of 1 %, so that memory does not grow with their number: at most 2315 counts."""

    def __init__(self):
        self._counts: Counter[int] = Counter()

    def add(self, latency_ms: float) -> None:
        """Count one."""
        least, most = LATENCIES_MS
        self._counts[math.floor(math.log(min(max(latency_ms, least), most), RATIO))] += 1

    def percentile(self, percent: float) -> float | None:
        """In ms, that below which `percent` of them lie, right to 0.5 %; None if there are none."""
        rank = min(math.floor(percent / 100 * self._counts.total()), self._counts.total() - 1)
        for place in sorted(self._counts):
            rank -= self._counts[place]
            if rank < 0:
                return round(RATIO ** (place + 0.5), 3)
        return None


class Report:
    """Prints a line per word as it comes, or hands it to a display, and counts.

    Args:
        args: options of infer.py.
        labels: of the model.
        n_last: answers that the closing line holds, the last ones; None: all.

    Attributes:
        labels: of the model.
        n_answers: words and strings so far.
        display: shows answers and notices in place of lines while it is set.
    """

    def __init__(self, args: argparse.Namespace, labels: Sequence[str], n_last: int | None = None):
        self._kind = kind_of(labels)
        self.labels, self.display = labels, None
        self._width = max(len(self._kind), *map(len, labels), 10 if args.string else 0)
        self._json, self._top_k, self._strings = args.json, args.top_k, args.string
        self._header_printed = False
        # With --json each has been printed in full, and the closing line holds none.
        self._results: deque[dict] = deque(maxlen=0 if args.json else n_last)
        self._latencies = LatencyHistogram()
        self.n_inputs = self.n_failed = self.n_answers = 0
        self.extra: dict = {}

    def word(self, source: str, prediction, start_s: float, end_s: float, latency_ms: float) -> None:
        """One recognised word."""
        result = {
            "source": source,
            "label": None if prediction.rejected else prediction.label,
            "probability": round(prediction.probability, 4),
            "start_s": round(start_s, 3),
            "end_s": round(end_s, 3),
            "latency_ms": round(latency_ms, 3),
            "top": [{"label": label, "probability": round(p, 4)} for label, p in prediction.top(self._top_k)],
        }
        self._latencies.add(latency_ms)
        if self._keep(result):
            return
        alternatives = ", ".join(f"{top['label']} {top['probability']:.3f}" for top in result["top"][1:])
        self._row(
            result["label"] or "-",
            f"{prediction.probability:.3f}",
            f"{start_s:.2f}-{end_s:.2f}",
            f"{latency_ms:.1f}",
            f"{source}  {alternatives}".rstrip(),
        )

    def string(self, source: str, string, latency_ms: float) -> None:
        """Digits in a row, after the pause that ends them, which is part of their latency."""
        result = {
            "source": source,
            "digits": string.digits,
            "probability": round(string.probability, 4),
            "start_s": round(string.start_s, 3),
            "end_s": round(string.end_s, 3),
            "latency_ms": round(latency_ms, 3),
            "n_best": [{"digits": digits, "probability": round(p, 4)} for digits, p in string.n_best],
            "satisfied": string.satisfied,
            "heard": string.heard,
        }
        self._latencies.add(latency_ms)
        if self._keep(result):
            return
        notes = [f"{digits} {p:.3f}" for digits, p in string.n_best[1:]]
        notes += [f"heard {string.heard}"] if string.corrected else []
        notes += ["not as expected"] if string.satisfied is False else []
        cells = string.digits, f"{string.probability:.3f}", f"{string.start_s:.2f}-{string.end_s:.2f}"
        self._row(*cells, f"{latency_ms:.1f}", f"{source}  {', '.join(notes)}".rstrip())

    def _keep(self, result: dict) -> bool:
        """Count an answer; whether it has been printed, as --json wants it."""
        self.n_answers += 1
        self._results.append(result)
        if self._json:
            print_json(result)
        return self._json

    def silence(self, source: str, duration_s: float) -> None:
        """A recording in which no word was found; it counts as no answer."""
        if self._json:
            times = {"probability": None, "start_s": 0.0, "end_s": round(duration_s, 3), "latency_ms": None}
            if self._strings:
                print_json({"source": source, "digits": None, **times, "n_best": [], "satisfied": None, "heard": None})
            else:
                print_json({"source": source, "label": None, **times, "top": []})
        else:
            self._row("-", "-", f"0.00-{duration_s:.2f}", "-", f"{source}  no word")

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._kind, "prob", "seconds", "ms", "source"

    def _row(self, *cells: str) -> None:
        if self.display:
            self.display.add_row(cells)
            return
        if not self._header_printed:
            self._header_printed = True
            self._row(*self.header)
        print("{:>{}}  {:>5}  {:>11}  {:>6}  {}".format(cells[0], self._width, *cells[1:]), flush=True)

    def notice(self, line: str) -> None:
        """What happens to the source; no part of the answers."""
        if self.display:
            self.display.notice(line)
        if not self.display or not sys.stderr.isatty():  # a log keeps it all the same
            print(line, file=sys.stderr, flush=True)

    def failure(self, error: Exception) -> None:
        """An input that cannot be used; the others are."""
        self.n_failed += 1
        self.notice(f"error: {error}")

    def finish(self, recognizer) -> None:
        """The closing line: one JSON object."""
        summary = {
            "model": recognizer.path.name,
            "version": recognizer.info.version,
            "n_inputs": self.n_inputs,
            "n_failed": self.n_failed,
            "n_words": self.n_answers,
            "latency_ms_p50": self._latencies.percentile(50),
            **self.extra,
        }
        print_json(summary if self._json else {**summary, "results": list(self._results)})
