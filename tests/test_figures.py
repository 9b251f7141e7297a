"""Pictures are drawn from what is given, as PNG, as pixels and as SVG that suits a page."""

import re

import numpy as np
import pytest

from edgedigit.errors import InputError
from edgedigit.figures import (
    Line,
    confusion_figure,
    features_figure,
    importances_figure,
    lines_figure,
    pixels,
    probabilities_figure,
    save_png,
    search_figure,
    svg_text,
)


def curve():
    return lines_figure(
        [Line("student", [(1, 2.0), (2, 1.5)]), Line("teacher", [(1, 1.0)], dashed=True)], "epoch", "loss"
    )


def test_a_confusion_matrix_is_drawn_also_with_an_empty_row(tmp_path):
    save_png(confusion_figure(np.array([[8, 2], [0, 0]]), ["six", "eight"]), tmp_path / "new" / "confusion.png")
    assert (tmp_path / "new" / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_confusion_matrix_must_fit_its_labels():
    with pytest.raises(InputError, match="3 labels"):
        confusion_figure(np.eye(2), ["a", "b", "c"])


def test_sure_answers_lie_at_the_right_of_a_reliability_diagram_and_risk_ends_at_the_error_rate():
    probabilities = np.array([[0.99, 0.01]] * 3 + [[0.6, 0.4]] * 2)
    reliability, risk = probabilities_figure(probabilities, [0, 0, 0, 0, 1]).axes
    answers = reliability.containers[0].lines[0]
    assert answers.get_xdata() == pytest.approx([60, 99]) and answers.get_ydata() == pytest.approx([50, 100])
    assert risk.lines[0].get_xydata()[-1] == pytest.approx([100, 20])


def test_every_count_of_a_confusion_matrix_is_written():
    (axes,) = confusion_figure(np.array([[8, 2], [0, 5]]), ["six", "eight"]).axes
    assert {text.get_text() for text in axes.texts} == {"8", "2", "5"}


def test_a_confusion_matrix_says_what_it_is_of():
    (axes,) = confusion_figure(np.eye(2, dtype=int), ["six", "eight"], "test, simulated").axes
    assert axes.get_title() == "test, simulated"


def test_pixels_are_what_tensorboard_takes():
    image = pixels(curve())
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert len(np.unique(image)) > 10  # something is drawn


def test_features_of_every_clip_are_drawn_a_raw_one_as_a_curve():
    figure = features_figure([np.zeros((40, 99)), np.zeros((1, 8000)), np.zeros((13, 99))], ["a", "b", "c"])
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == ["a", "b", "c"]
    assert [len(axes.images) for axes in shown] == [1, 0, 1]


def test_an_svg_fits_into_a_page_beside_others():
    first, second = svg_text(curve(), "first"), svg_text(curve(), "second")
    assert first.startswith("<svg") and first.rstrip().endswith("</svg>")
    assert ">student<" in first  # text stays text
    assert "currentColor" in first and "#000000" not in first
    ids = re.findall(r'\bid="([^"]+)"', first)
    assert ids and not set(ids) & set(re.findall(r'\bid="([^"]+)"', second))
    used = re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', first)
    assert used and set(used) <= set(ids)


def test_the_same_figure_gives_the_same_svg():
    assert svg_text(curve(), "one") == svg_text(curve(), "one")


def test_a_search_shows_its_trials_and_the_best_so_far():
    trials = [{"number": i, "state": state, "value": i / 10} for i, state in enumerate(["complete", "pruned"] * 3)]
    (axes,) = search_figure(trials, "accuracy", True).axes
    complete, stopped, best = axes.lines
    assert list(complete.get_xdata()) == [0, 2, 4]
    assert list(stopped.get_xdata()) == [1, 3, 5]
    assert list(best.get_ydata()) == [0.0, 0.2, 0.4]
    (axes,) = search_figure(trials, "loss", False).axes
    assert list(axes.lines[2].get_ydata()) == [0.0, 0.0, 0.0]


def test_the_greatest_importance_is_on_top():
    (axes,) = importances_figure({"lr": 0.9, "masks": 0.02, "noise": 0.08}).axes
    assert [bar.get_width() for bar in axes.patches] == [0.02, 0.08, 0.9]
