"""The pictures of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgedigit.errors import InputError
from edgedigit.figures import Line, draw_lines, lines_figure, new_figure, save_png
from edgedigit.report.runs import Run, fine_tuning_curve, read_log

CURVES = (  # of the log: key, name of the axis, scale
    ("loss", "training loss", 1),
    ("validation_accuracy", "validation accuracy %", 100),
    ("validation_loss", "validation loss", 1),
    ("lr", "learning rate", 1),
)


def plot_curves(log_path: str | Path, png_path: str | Path) -> None:
    """Draw loss, validation accuracy and learning rate over epochs, one line per phase.

    Raises:
        InputError: if the log is missing or holds no epoch.
        MissingDependencyError: if matplotlib is not installed.
    """
    phases = read_log(log_path)
    if not phases:
        raise InputError(f"{log_path} holds no epoch; expected lines with epoch, phase, loss, validation_accuracy, lr")
    figure = new_figure(12, 3.4)
    panels = [curve for curve in CURVES if curve[0] != "validation_loss"]
    for axes, (key, label, scale) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        draw_lines(axes, _phase_lines(phases, list(phases), key, scale), "epoch", label)
    save_png(figure, png_path)


def training_figures(run: Run, track: str) -> Iterator[tuple[str, str, object]]:
    """(key of the log, caption, figure) of a track's student and teachers; those that the log has."""
    models = (run.config.student, *run.config.teachers)  # in this order everywhere, so that colours stay
    trained = [phase for model in models if (phase := f"{track}-{model.label}") in run.phases]
    for key, label, scale in CURVES:
        if lines := _phase_lines(run.phases, trained, key, scale):
            lines = [Line(line.name.removeprefix(f"{track}-"), line.points) for line in lines]
            yield key, f"{label[0].upper()}{label[1:]} over epochs", lines_figure(lines, "epoch", label)


def fine_tuning_figures(run: Run, track: str) -> Iterator[tuple[str, str, object]]:
    """(key of the log, caption, figure) of the epochs after pruning began, steps one after the other."""
    for key, label, scale in CURVES:
        points, steps = fine_tuning_curve(run, track, key)
        if points:
            line = Line("student", [(epoch, scale * value) for epoch, value in points])
            yield key, f"{label[0].upper()}{label[1:]} while pruning", lines_figure([line], "epoch", label, steps)


def distillation_figure(run: Run, track: str):
    """(name of the axis, figure) of student and teachers in one plot; None unless both have begun.

    Validation accuracy where the track has validation, else the training loss.
    """
    student = f"{track}-{run.config.student.label}"
    teachers = [phase for model in run.config.teachers if (phase := f"{track}-{model.label}") in run.phases]
    if not teachers or student not in run.phases:
        return None
    for key, label, scale in (CURVES[1], CURVES[0]):
        lines = _phase_lines(run.phases, [student, *teachers], key, scale)
        if len(lines) > 1:
            roles = {student: "student", **dict.fromkeys(teachers, "teacher")}
            lines = [
                Line(f"{roles[line.name]} {line.name.removeprefix(track + '-')}", line.points, line.name != student)
                for line in lines
            ]
            return label, lines_figure(lines, "epoch", label)
    return None


def pruning_figure(rows: Sequence[dict], key: str, label: str, scale: float):
    """Accuracy with its interval against a size, `key` of the rows."""
    points = [(scale * row[key], 100 * row["accuracy"]) for row in rows]
    spread = [(100 * row["accuracy_low"], 100 * row["accuracy_high"]) for row in rows]
    lines = [Line("while pruning", points[:-1], spread=spread[:-1])]
    lines.append(Line(rows[-1]["group"], points[-1:], spread=spread[-1:]))
    return lines_figure(lines, label, "validation accuracy %")


def _phase_lines(phases: dict[str, list[dict]], chosen: Sequence[str], key: str, scale: float) -> list[Line]:
    lines = []
    for phase in chosen:
        points = [(record["epoch"], scale * record[key]) for record in phases[phase] if record.get(key) is not None]
        if points:
            lines.append(Line(phase, points))
    return lines
