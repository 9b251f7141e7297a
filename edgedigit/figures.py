"""Drawings of a training: curves, confusion matrices, features. matplotlib without its global state or a display."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from edgedigit.errors import InputError, MissingDependencyError
from edgedigit.metrics import reliability_bins, risk_coverage, wilson_interval

PANEL_INCHES = (4.8, 3.2)  # as wide as a phone shows it, so that its text is not scaled down there
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A", "#9A6324")
"""Okabe and Ito's palette, less what a white or a black page swallows: told apart by colour-blind readers too."""


@dataclass(frozen=True)
class Line:
    """One line of `lines_figure`.

    Attributes:
        name: in the legend.
        points: (x, y), in order.
        dashed: drawn broken, such as what was not chosen.
        spread: (low, high) of each point's y, drawn as a bar; empty for none.
    """

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    spread: Sequence[tuple[float, float]] = ()


def lines_figure(lines: Sequence[Line], x_label: str, y_label: str, marks: Sequence[float] = ()):
    """Lines over one pair of axes, and dotted vertical ones at the marks."""
    figure = new_figure(*PANEL_INCHES)
    axes = figure.subplots()
    draw_lines(axes, lines, x_label, y_label)
    for x in marks:
        axes.axvline(x, color="#8A8A8A", linewidth=0.8, linestyle=":")
    return figure


def draw_lines(axes, lines: Sequence[Line], x_label: str, y_label: str) -> None:
    """Put lines, their legend and their labels on matplotlib axes."""
    for i, line in enumerate(lines):
        x, y = zip(*line.points, strict=True)
        alone = len(line.points) == 1
        style = {
            "color": COLOURS[i % len(COLOURS)],
            "marker": "o" if alone or line.spread else None,
            "markersize": 4,
            "linestyle": "--" if line.dashed else "-",
            "label": line.name,
        }
        if line.spread:
            low, high = np.transpose(line.spread)
            axes.errorbar(x, y, yerr=[np.subtract(y, low), np.subtract(high, y)], capsize=2, elinewidth=0.8, **style)
        else:
            axes.plot(x, y, **style)
    if all(float(x).is_integer() for line in lines for x, _ in line.points):  # there is no epoch 2.5
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if lines:
        axes.legend(frameon=False, fontsize="small")


def confusion_figure(matrix: np.ndarray, labels: Sequence[str], title: str = ""):
    """A confusion matrix: counts as text, each row shaded by its share.

    Args:
        matrix: counts (n_labels, n_labels), truth in rows (as `metrics.confusion_matrix`).
        labels: names of the rows and columns.
        title: what it is of, as where recordings are simulated.

    Raises:
        InputError: if the matrix is not n_labels square.
        MissingDependencyError: if matplotlib is not installed.
    """
    matrix = np.asarray(matrix)
    n = len(labels)
    if matrix.shape != (n, n):
        raise InputError(f"got a confusion matrix of shape {matrix.shape} for {n} labels; expected {(n, n)}")
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.5 * n)
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour)
    axes.set(xlabel="answer", ylabel="truth", xticks=range(n), yticks=range(n), xticklabels=labels, yticklabels=labels)
    if title:
        axes.set_title(title)
    if max(map(len, labels)) > 3:
        axes.tick_params(axis="x", rotation=90)
    return figure


def probabilities_figure(probabilities: np.ndarray, targets: np.ndarray):
    """How far probabilities can be trusted: reliability diagram, and what is wrong if the least sure are not answered.

    Args:
        probabilities: (N, n_labels).
        targets: (N,) label indices.

    Raises:
        InputError: if they are no probabilities of those labels.
        MissingDependencyError: if matplotlib is not installed.
    """
    bins = reliability_bins(probabilities, targets)
    shown = [100 * one["confidence"] for one in bins]
    spread = [wilson_interval(round(one["accuracy"] * one["n"]), one["n"]) for one in bins]
    answers = Line(
        "answers, 95 % interval",
        list(zip(shown, (100 * one["accuracy"] for one in bins), strict=True)),
        spread=[(100 * low, 100 * high) for low, high in spread],
    )
    coverage, risk = risk_coverage(probabilities, targets)
    figure = new_figure(2 * PANEL_INCHES[0], PANEL_INCHES[1])
    left, right = figure.subplots(1, 2)
    diagonal = Line("perfectly calibrated", [(0, 0), (100, 100)], dashed=True)
    draw_lines(left, [answers, diagonal], "confidence %", "accuracy %")
    curve = Line(f"AURC {risk.mean():.4g}", list(zip(100 * coverage, 100 * risk, strict=True)))
    draw_lines(right, [curve], "coverage: answered %", "risk: wrong of these %")
    return figure


def features_figure(planes: Sequence[np.ndarray], titles: Sequence[str], n_columns: int = 4):
    """Features of several clips side by side, time to the right.

    Args:
        planes: (F, N) each; a plane of one row is drawn as a curve.
        titles: one for each plane.
    """
    n_rows = -(-len(planes) // n_columns)
    figure = new_figure(2.2 * n_columns, 1.9 * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).flat
    for axes, plane, title in zip(grid, planes, titles, strict=False):
        if len(plane) == 1:
            axes.plot(plane[0], linewidth=0.4)
        else:
            axes.imshow(plane, origin="lower", aspect="auto", cmap="magma")
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=6)
    for axes in list(figure.axes)[len(planes) :]:
        axes.set_visible(False)
    return figure


def importances_figure(importances: Mapping[str, float]):
    """How much each setting of a search mattered: bars of shares, the greatest on top."""
    names = sorted(importances, key=importances.get)
    figure = new_figure(6.4, 1.0 + 0.35 * len(names))
    axes = figure.subplots()
    bars = axes.barh(names, [importances[name] for name in names])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel="importance, share of all", xlim=(0, 1.1 * max(importances.values())))
    return figure


def search_figure(trials: Sequence[dict], measured: str, maximise: bool):
    """What the trials of a search reached, in their order, and the best so far.

    Args:
        trials: with `number`, `state` ("complete" or "pruned") and `value`.
        measured: what the value is.
        maximise: whether a greater one is better.
    """
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    for state, marker in (("complete", "o"), ("pruned", "x")):
        points = [(trial["number"], trial["value"]) for trial in trials if trial["state"] == state]
        if points:
            axes.plot(*zip(*points, strict=True), marker, label=state if state == "complete" else "stopped early")
    finished = [trial for trial in trials if trial["state"] == "complete"]
    best = (np.maximum if maximise else np.minimum).accumulate([trial["value"] for trial in finished])
    axes.step([trial["number"] for trial in finished], best, where="post", label="best so far")
    axes.set(xlabel="trial", ylabel=measured)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def new_figure(width: float, height: float):
    """A figure of so many inches.

    Raises:
        MissingDependencyError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError.of("matplotlib", "train") from None
    return Figure(figsize=(width, height), layout="constrained")


def save_png(figure, path: str | Path) -> None:
    """Write a figure as PNG; the folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=120)


def pixels(figure) -> np.ndarray:
    """A figure as (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def svg_text(figure, name: str) -> str:
    """A figure as an `<svg>` element for a page: text stays text, black follows the page's own colour of text.

    Args:
        name: no other figure of the page has it; ids begin with it.
    """
    from matplotlib import rc_context

    buffer = BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # numbered anew in every figure, and nothing refers to them
    text = re.sub(r'(?<= )(width|height)="[\d.]+pt" ?', "", text, count=2)  # the page says how wide
    return text.replace("#000000", "currentColor")
