"""The terminal while somebody speaks: level, probabilities of all labels as the word goes on, last answers.

It draws in a thread of its own from what the audio path has left for it, so that a slow terminal delays nobody.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np

from edgedigit.errors import MissingDependencyError

try:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text
except ImportError as error:
    raise MissingDependencyError.of(error.name, "mic") from None

try:
    import termios
    import tty
except ImportError:  # Windows has neither; there are no keys then
    termios = None

REFRESH_HZ = 15  # more is not seen, and each costs a few milliseconds
FLOOR_DB = -60.0  # of full scale: the left end of the level meter
TOO_LOUD_DB = -3.0  # of a block's mean: peaks are cut off from about here on
FALL_DB_S = 30.0  # how fast the meter falls back, so that a short word is seen
N_ANSWERS = 10  # last answers that are shown
BAR_WIDTH = 24
EIGHTHS = " ▏▎▍▌▋▊▉"


class Display:
    """Use it with `with`; the audio path calls `begin`, `hear`, `show`, `add_row` and `notice`, none of which waits.

    Args:
        labels: of the model, in its order.
        header: cells of the table of answers.
        keys: read from the terminal: r asks `clips` for the next word, q sets `stopped`.
        overruns: called for the number to show.
        console: where to draw; standard output, if not given.

    Attributes:
        stopped: somebody has had enough.
        clips: `WordClips`, where keys are read.
        n_refreshes, refresh_s: how often was drawn, and the processor's seconds that this took in all.
    """

    def __init__(
        self,
        labels: Sequence[str],
        header: Sequence[str],
        keys: bool = False,
        overruns: Callable[[], int] = lambda: 0,
        console: Console | None = None,
    ):
        self.console = console or Console()
        self._labels, self._header = tuple(labels), tuple(header)
        self._keys = keys and termios is not None
        self._overruns = overruns
        self._source = ""
        self._started = time.monotonic()
        self._level_db = FLOOR_DB
        self._state = "listening"
        self._probabilities: dict[str, float] = {}
        self._rows: deque[tuple[str, ...]] = deque(maxlen=N_ANSWERS)
        self._n_rows = 0
        self._notices: deque[str] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)
        self.stopped, self.clips = False, None
        self.n_refreshes, self.refresh_s = 0, 0.0

    def __enter__(self) -> Display:
        if self._keys:
            self._terminal = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)  # keys without Enter; Ctrl-C still interrupts
        self._live = Live(
            self.frame(), console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._closing.set()
        self._thread.join()
        self._live.stop()
        if self._keys:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._terminal)

    # What the audio path calls. Plain assignments and appends, which other threads see whole.

    def begin(self, source: str) -> None:
        """A stream begins; what is heard is named so."""
        self._source, self._state, self._probabilities = source, "listening", {}

    def hear(self, samples: np.ndarray) -> None:
        """Take the next block (T,)."""
        level_db = 10 * math.log10(np.dot(samples, samples) / samples.size + 1e-12)
        self._level_db = max(level_db, self._level_db)

    def show(self, events: Sequence) -> None:
        """Take what happened in the stream."""
        for event in events:
            if event.prediction:
                self._probabilities = event.prediction.probabilities
            self._state = "speech" if event.kind in ("speech_start", "partial") else "listening"

    def add_row(self, cells: Sequence[str]) -> None:
        """An answer."""
        self._rows.append(tuple(cells))
        self._n_rows += 1

    def notice(self, line: str) -> None:
        """A line that stays, above all the rest."""
        self._notices.append(line)

    # What the display's own thread does.

    def _run(self) -> None:
        while not self._closing.is_set():
            started, computed = time.perf_counter(), time.thread_time()
            self.refresh()
            self.n_refreshes += 1
            self.refresh_s += time.thread_time() - computed
            self._wait(max(0.0, 1 / REFRESH_HZ - (time.perf_counter() - started)))
        self.refresh()

    def refresh(self) -> None:
        """Draw once."""
        while self._notices:
            self.console.print(Text(self._notices.popleft()), soft_wrap=True)
        self._live.update(self.frame(), refresh=True)
        self._level_db = max(FLOOR_DB, self._level_db - FALL_DB_S / REFRESH_HZ)

    def _wait(self, seconds: float) -> None:
        if not self._keys:
            self._closing.wait(seconds)
            return
        import select

        if not select.select([sys.stdin], [], [], seconds)[0]:
            return
        try:
            keys = os.read(sys.stdin.fileno(), 64).decode(errors="ignore").lower()
        except OSError:  # the terminal has gone
            self._keys = False
            return
        if "r" in keys and self.clips:
            self.clips.wanted = True
        if "q" in keys:
            self.stopped = True

    def frame(self) -> Text:
        """What is drawn: head, level, probabilities beside answers, and a foot.

        One text of lines: tables of rich would take twenty times as long, and all of it is time that the interpreter
        does not have for the audio.
        """
        seconds = int(time.monotonic() - self._started)
        level_db = self._level_db
        too_loud = level_db > TOO_LOUD_DB
        frame = Text(no_wrap=True, overflow="ellipsis")
        frame.append(self._source, "bold").append(f"  {seconds // 60}:{seconds % 60:02d}  ")
        frame.append(self._state, "cyan").append("\nlevel ")
        frame.append(bar(1 - level_db / FLOOR_DB, 2 * BAR_WIDTH), "red" if too_loud else "green")
        frame.append(f" {level_db:4.0f} dB" + "  too loud" * too_loud + "\n\n")
        probabilities, answers = self._probability_lines(), self._answer_lines()
        blank = " " * cell_len(probabilities[0][0]), ""
        for i, (left, right) in enumerate(zip_longest(probabilities, answers)):
            frame.append(*(left or blank)).append("   ").append(right or "", "" if i else "dim").append("\n")
        overruns = self._overruns()
        foot = f"\nanswers: {self._n_rows}   overruns: {overruns}"
        if self._keys:
            foot += "   R keeps a clip of the next word" + (
                ", waiting for it" if self.clips and self.clips.wanted else ""
            )
            foot += "; Q ends"
        return frame.append(foot, "red" if overruns else "dim")

    @property
    def _room(self) -> int:
        """Lines between head and foot."""
        return max(3, self.console.height - 8)

    def _probability_lines(self) -> list[tuple[str, str]]:
        """Lines and their styles: all labels in the model's order where there is room, else the likeliest."""
        probabilities = self._probabilities
        labels = self._labels
        if len(labels) > self._room:
            labels = sorted(labels, key=lambda label: -probabilities.get(label, 0))[: self._room]
        best = max(probabilities, key=probabilities.get) if probabilities else None
        width = max(map(cell_len, self._labels))
        return [
            (
                " " * (width - cell_len(label)) + f"{label} {bar(probability, BAR_WIDTH)} {probability:.3f}",
                "bold green" if label == best else "",
            )
            for label, probability in ((label, probabilities.get(label, 0.0)) for label in labels)
        ]

    def _answer_lines(self) -> list[str]:
        """The header and the last answers, newest first, each column as wide as it needs."""
        rows = [self._header, *list(self._rows)[::-1]][: self._room]
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)][:-1]
        return [
            "  ".join(
                [" " * (width - cell_len(cell)) + cell for cell, width in zip(row, widths, strict=False)] + [row[-1]]
            )
            for row in rows
        ]


def bar(share: float, width: int) -> str:
    """A bar of `share` (0 to 1) of `width` characters, to an eighth of one."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full = "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
    return full.ljust(width)
