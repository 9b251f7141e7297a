"""Figures against published or hand-computed values."""

import math

import numpy as np
import pytest

from edgedigit.errors import InputError
from edgedigit.metrics import (
    accuracy_at_coverage,
    accuracy_row,
    answered_shares,
    area_under_risk_coverage,
    brier_score,
    calibration_interval,
    confusion_matrix,
    expected_calibration_error,
    latency_summary,
    macro_row,
    negative_log_likelihood,
    probability_figures,
    reliability_bins,
    risk_coverage,
    wilson_interval,
)
from edgedigit.train.scoring import clustered_row


@pytest.mark.parametrize(
    ("n_correct", "n", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # FSDD's official test set: one error in 300.
        (299, 300, 0.9814, 0.9994),
    ],
)
def test_wilson_interval_has_its_published_values(n_correct, n, low, high):
    assert wilson_interval(n_correct, n) == pytest.approx((low, high), abs=5e-5)


def test_what_is_rejected_is_answered_neither_rightly_nor_wrongly():
    right, rejected = np.array([True, True, True, False, False]), np.array([False, False, True, True, False])
    assert tuple(answered_shares(right, rejected).values()) == pytest.approx((40.0, 20.0))


def test_wilson_interval_with_no_error_is_n_over_n_plus_z_squared():
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert high == 1.0


def test_wilson_interval_holds_the_proportion_also_where_floats_round():
    for n in range(1, 400):
        assert wilson_interval(0, n)[0] == 0.0 and wilson_interval(n, n)[1] == 1.0


def test_wilson_interval_knows_nothing_without_trials():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_interval_widens_with_confidence():
    assert wilson_interval(90, 100, 0.99)[0] < wilson_interval(90, 100, 0.95)[0]


@pytest.mark.parametrize(("n_correct", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 95)])
def test_wilson_interval_refuses_the_impossible(n_correct, n, confidence):
    with pytest.raises(InputError):
        wilson_interval(n_correct, n, confidence)


def test_accuracy_row_carries_counts_and_interval():
    row = accuracy_row("theo", 299, 300)
    assert (row["group"], row["n"], row["n_correct"]) == ("theo", 300, 299)
    assert row["accuracy"] == pytest.approx(299 / 300)
    assert (row["accuracy_low"], row["accuracy_high"]) == wilson_interval(299, 300)


def test_accuracy_row_needs_clips():
    with pytest.raises(InputError, match="theo"):
        accuracy_row("theo", 0, 0)


def test_confusion_matrix_has_truth_in_rows():
    matrix = confusion_matrix([0, 0, 1, 2], [0, 1, 1, 0], 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(("targets", "predictions"), [([0, 3], [0, 0]), ([0, 0], [-1, 0]), ([0], [0, 1]), ([0.5], [0])])
def test_confusion_matrix_refuses_what_is_no_pair_of_labels(targets, predictions):
    with pytest.raises(InputError):
        confusion_matrix(targets, predictions, 3)


def test_calibration_error_of_certain_and_right_answers_is_zero():
    assert expected_calibration_error(np.eye(4), [0, 1, 2, 3]) == 0.0


def test_calibration_error_of_certain_and_wrong_answers_is_one():
    assert expected_calibration_error(np.eye(4), [1, 2, 3, 0]) == 1.0


def test_calibration_error_equals_the_hand_computed_value():
    # Two bins of (0.5, 1] and below: confidences 0.6 and 0.8 share one, right once: |1.4 - 1| / 3;
    # 0.4 is alone and right: |0.4 - 1| / 3.
    probabilities = [[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
    assert expected_calibration_error(probabilities, [0, 0, 2], n_bins=2) == pytest.approx((0.4 + 0.6) / 3)


def test_calibration_error_of_calibrated_answers_is_small():
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 1, 20_000)
    probabilities = np.stack([first, 1 - first], axis=1)
    targets = (rng.uniform(0, 1, first.size) > first).astype(int)
    assert expected_calibration_error(probabilities, targets) < 0.02


def test_reliability_bins_equal_the_hand_computed_ones():
    probabilities = [[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
    unsure, sure = reliability_bins(probabilities, [0, 0, 2], n_bins=2)
    assert unsure == {"n": 1, "confidence": pytest.approx(0.4), "accuracy": 1.0}
    assert sure == {"n": 2, "confidence": pytest.approx(0.7), "accuracy": 0.5}


def test_brier_score_equals_the_hand_computed_value():
    # (0.4^2 + 0.3^2 + 0.1^2) = 0.26 where the first is true, (0.6^2 + 0.7^2 + 0.1^2) = 0.86 where the second is.
    row = [0.6, 0.3, 0.1]
    assert brier_score([row], [0]) == pytest.approx(0.26)
    assert brier_score([row, row], [0, 1]) == pytest.approx((0.26 + 0.86) / 2)


def test_brier_score_goes_from_certain_and_right_to_certain_and_wrong():
    assert (brier_score(np.eye(3), [0, 1, 2]), brier_score(np.eye(3), [1, 2, 0])) == (0, 2)
    assert brier_score(np.full((1, 10), 0.1), [3]) == pytest.approx(0.9)


def test_negative_log_likelihood_equals_the_hand_computed_value():
    assert negative_log_likelihood([[0.5, 0.5], [0.25, 0.75]], [0, 0]) == pytest.approx(math.log(2) * 3 / 2)
    assert negative_log_likelihood(np.full((1, 10), 0.1), [3]) == pytest.approx(math.log(10))


def test_one_answer_that_is_certain_and_wrong_costs_much_and_not_infinity():
    assert negative_log_likelihood(np.eye(2), [0, 0]) == pytest.approx(126 * math.log(2) / 2, rel=1e-6)


FIVE = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.45, 0.55]]  # surest first
ONLY_THE_THIRD_IS_WRONG = [0, 0, 0, 1, 1]


def test_risk_and_coverage_equal_the_hand_computed_values():
    coverage, risk = risk_coverage(FIVE, ONLY_THE_THIRD_IS_WRONG)
    assert coverage == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert risk == pytest.approx([0, 0, 1 / 3, 1 / 4, 1 / 5])
    expected = (1 / 3 + 1 / 4 + 1 / 5) / 5
    assert area_under_risk_coverage(FIVE, ONLY_THE_THIRD_IS_WRONG) == pytest.approx(expected)
    assert accuracy_at_coverage(FIVE, ONLY_THE_THIRD_IS_WRONG, 0.8) == pytest.approx(3 / 4)
    assert accuracy_at_coverage(FIVE, ONLY_THE_THIRD_IS_WRONG, 0.5) == pytest.approx(2 / 3)  # three of five are half
    assert accuracy_at_coverage(FIVE, ONLY_THE_THIRD_IS_WRONG, 1.0) == pytest.approx(4 / 5)


def test_risk_depends_neither_on_the_order_of_clips_nor_on_who_is_named_first_among_equals():
    order = [4, 2, 0, 3, 1]
    shuffled = risk_coverage([FIVE[i] for i in order], [ONLY_THE_THIRD_IS_WRONG[i] for i in order])
    np.testing.assert_allclose(shuffled, risk_coverage(FIVE, ONLY_THE_THIRD_IS_WRONG))
    equals = [[0.7, 0.3]] * 4
    for targets in ([0, 0, 0, 1], [1, 0, 0, 0]):
        assert risk_coverage(equals, targets)[1] == pytest.approx([0.25] * 4)


def test_coverage_of_nine_tenths_of_ten_is_nine():
    confidence = np.linspace(0.95, 0.6, 10)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert accuracy_at_coverage(probabilities, [0] * 9 + [1], 0.9) == 1.0
    assert accuracy_at_coverage(probabilities, [0] * 9 + [1], 0.91) == pytest.approx(0.9)


@pytest.mark.parametrize("coverage", [0, 1.5, -0.1])
def test_impossible_coverage_is_refused(coverage):
    with pytest.raises(InputError, match="coverage"):
        accuracy_at_coverage(FIVE, ONLY_THE_THIRD_IS_WRONG, coverage)


@pytest.mark.parametrize(
    "figure",
    [
        expected_calibration_error,
        reliability_bins,
        brier_score,
        negative_log_likelihood,
        risk_coverage,
        area_under_risk_coverage,
        probability_figures,
    ],
)
@pytest.mark.parametrize(
    ("probabilities", "targets"),
    [([[0.5, 0.6]], [0]), ([[1.0, 0.0]], [2]), ([[1.0, 0.0]], [0, 1]), ([0.5, 0.5], [0]), (np.zeros((0, 2)), [])],
)
def test_what_is_no_probability_is_refused(figure, probabilities, targets):
    with pytest.raises(InputError):
        figure(probabilities, targets)


def test_latency_summary_interpolates_percentiles():
    summary = latency_summary(np.arange(1, 102))  # 1 .. 101, so percentile q is 1 + q
    assert summary == {
        "n": 101,
        "latency_ms_mean": 51.0,
        "latency_ms_p50": 51.0,
        "latency_ms_p95": 96.0,
        "latency_ms_p99": 100.0,
        "latency_ms_max": 101.0,
    }


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [-0.1]])
def test_latency_summary_refuses_what_no_clock_gives(values):
    with pytest.raises(InputError):
        latency_summary(values)


def test_an_interval_over_speakers_of_equal_size_is_students_of_their_accuracies():
    right = [469, 471, 496, 393, 482, 462]
    row = clustered_row("all", [accuracy_row(str(i), n, 500) for i, n in enumerate(right)])
    accuracies = np.array(right) / 500
    half_width = 2.570582 * accuracies.std(ddof=1) / math.sqrt(6)  # the table of t for 5 degrees of freedom
    assert row["accuracy"] == pytest.approx(accuracies.mean())
    assert row["accuracy_low"] == pytest.approx(accuracies.mean() - half_width, abs=1e-6)
    assert row["accuracy_high"] == pytest.approx(accuracies.mean() + half_width, abs=1e-6) and row["n"] == 3000


def test_speakers_that_are_all_right_or_all_wrong_count_as_speakers_not_as_clips():
    speakers = [accuracy_row(str(i), 100 * (i % 10 > 0), 100) for i in range(40)]  # four of forty always wrong
    clustered, pooled = clustered_row("all", speakers), accuracy_row("all", 3600, 4000)
    widths = [row["accuracy_high"] - row["accuracy_low"] for row in (clustered, pooled)]
    assert widths[0] > 8 * widths[1]
    with pytest.raises(InputError, match="at least two"):
        clustered_row("one", speakers[:1])


def test_macro_row_counts_every_group_alike_and_is_wider_than_its_groups_together():
    rows = [accuracy_row("many", 990, 1000), accuracy_row("few", 5, 10)]
    macro = macro_row("macro", rows)
    assert macro["n"] == 1010 and macro["accuracy"] == pytest.approx((0.99 + 0.5) / 2)
    p = 7 / 14
    few = 1.96 * (p * (1 - p) / 14) ** 0.5 / 2  # the few clips make nearly all of the width
    assert macro["accuracy"] - macro["accuracy_low"] == pytest.approx(few, rel=0.01)
    assert macro_row("sure", [accuracy_row("all", 10, 10)])["accuracy_low"] < 0.9
    with pytest.raises(InputError, match="no rows"):
        macro_row("none", [])


def test_a_calibrated_model_has_the_error_that_chance_gives_and_a_wrong_one_more():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, 2000)
    probabilities = np.column_stack([confidence, 1 - confidence])
    right = rng.random(2000) < confidence
    low, high, by_chance = calibration_interval(probabilities, np.where(right, 0, 1), n_draws=200)
    assert low < 0.01 and high < 0.03 and 0.01 < by_chance < 0.03
    low, high, again = calibration_interval(probabilities, np.where(rng.random(2000) < 0.5, 0, 1), n_draws=200)
    assert 0.2 < low < 0.25 < high < 0.3 and again == pytest.approx(by_chance, abs=0.001)


def test_the_interval_of_a_calibration_error_holds_the_true_one_as_a_rule():
    rng, held = np.random.default_rng(1), 0
    for _ in range(40):
        confidence = rng.uniform(0.7, 1.0, 400)
        truth = np.where(rng.random(400) < confidence - 0.05, 0, 1)  # 5 points too sure
        low, high, _ = calibration_interval(np.column_stack([confidence, 1 - confidence]), truth, n_draws=200)
        held += low <= 0.05 <= high
    assert held >= 30
