"""How the time from end of word to answer or rejection is distributed, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgedigit.bench.answers import Answered
from edgedigit.figures import PANEL_INCHES, Line, draw_lines, new_figure, save_png

BEYOND_MS = 50.0  # that the axis goes on, at least, after the budget


def draw_answers(answered: Sequence[Answered], budget_ms: float, path: str | Path) -> None:
    """Write `answers_figure` as PNG."""
    save_png(answers_figure(answered, budget_ms), path)


def answers_figure(answered: Sequence[Answered], budget_ms: float):
    """Share of all words answered or rejected by then, a line for each condition, and the budget.

    At the budget a line has the share that the table gives as within it. A line begins at 0 ms with what was decided
    before the end of its word, and ends below 100 % by the words of which nothing was said.

    Raises:
        MissingDependencyError: if matplotlib is not installed.
    """
    figure = new_figure(1.5 * PANEL_INCHES[0], 1.2 * PANEL_INCHES[1])
    axes = figure.subplots()
    lines = [Line(one.condition, cumulative(one.decided_ms)) for one in answered]
    draw_lines(axes, lines, "end of word to answer or rejection, ms", "words answered or rejected %")
    axes.axvline(budget_ms, color="#8A8A8A", linewidth=0.8, linestyle=":")
    axes.annotate(
        f"budget {budget_ms:g} ms", (budget_ms, 2), xytext=(4, 0), textcoords="offset points", fontsize="small"
    )
    axes.set(xlim=(0, max(budget_ms + BEYOND_MS, *(line.points[-1][0] for line in lines))), ylim=(0, 101))
    axes.legend(frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1, 0.08))
    return figure


def cumulative(decided_ms: np.ndarray) -> list[tuple[float, float]]:
    """Steps (ms, % of all words by then) of times (n_words,), NaN where nothing was said of a word."""
    heard = np.sort(np.maximum(decided_ms[np.isfinite(decided_ms)], 0.0))
    before, after = (100 * (np.arange(heard.size) + more) / decided_ms.size for more in (0, 1))
    return list(zip(np.repeat(heard, 2), np.stack([before, after], axis=1).ravel(), strict=True))
