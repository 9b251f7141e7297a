"""False accepts per hour with their interval, thresholds that keep to a rate, misses, and the area under the ROC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedigit.errors import InputError


@dataclass(frozen=True)
class Accept:
    """A digit that was answered in a stream.

    Attributes:
        label: the digit.
        probability: of it.
        start_s: of the speech, in the stream.
        clip: index of the clip that it overlaps most, None where it overlaps none.
    """

    label: str
    probability: float
    start_s: float
    clip: int | None


def poisson_interval(n_events: int, hours: float, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a rate per hour from a count.

    Args:
        n_events: counted.
        hours: in which they were counted.
        confidence: two-sided, between 0 and 1.

    Raises:
        InputError: if the count is negative, or there was no time.

    Source: F. Garwood, Biometrika 28 (1936), 437-442.
    """
    from scipy.special import gammaincinv

    if n_events < 0 or not hours > 0:
        raise InputError(f"got {n_events} events in {hours} hours; expected 0 or more, in more than 0 hours")
    tail = (1 - confidence) / 2
    low = float(gammaincinv(n_events, tail)) if n_events else 0.0
    return low / hours, float(gammaincinv(n_events + 1, 1 - tail)) / hours


def rate_row(n_events: int, hours: float) -> dict:
    """False accepts per hour: `n_false_accepts hours far_per_hour far_per_hour_low far_per_hour_high`."""
    low, high = poisson_interval(n_events, hours)
    return {
        "n_false_accepts": n_events,
        "hours": hours,
        "far_per_hour": n_events / hours,
        "far_per_hour_low": low,
        "far_per_hour_high": high,
    }


def n_accepted(accepts: Sequence[Accept], threshold: float) -> int:
    """How many are still answered at a threshold."""
    return sum(accept.probability >= threshold for accept in accepts)


def n_allowed(far_per_hour: float, hours: float) -> int:
    """False accepts that a rate allows in a time, rounded down."""
    return math.floor(far_per_hour * hours + 1e-9)  # 0.1 * 10 is 1


def threshold_at(accepts: Sequence[Accept], hours: float, far_per_hour: float) -> float | None:
    """The lowest threshold that leaves no more false accepts than a rate allows; None if none does.

    Args:
        accepts: all of a stream without digits, at a threshold of 0.
        hours: of that stream.
        far_per_hour: the rate.
    """
    allowed = n_allowed(far_per_hour, hours)
    found = sorted((accept.probability for accept in accepts), reverse=True)
    if len(found) <= allowed:
        return 0.0
    threshold = float(np.nextafter(found[allowed], 2.0))
    return threshold if threshold <= 1 else None


def answered(labels: Sequence[str], accepts: Sequence[Accept], threshold: float) -> tuple[int, int, int]:
    """What became of digits in a stream: how many were answered rightly, wrongly and not at all.

    The first answer to a clip that reaches the threshold counts; further ones do not.

    Args:
        labels: of the clips, in their order.
        accepts: of the stream, in the order of time.
    """
    first: dict[int, str] = {}
    for accept in accepts:
        if accept.clip is not None and accept.probability >= threshold:
            first.setdefault(accept.clip, accept.label)
    n_right = sum(labels[clip] == label for clip, label in first.items())
    return n_right, len(first) - n_right, len(labels) - len(first)


def auroc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Probability that a digit scores higher than something else, ties counting half.

    Args:
        positives: scores (n,) of digits.
        negatives: scores (m,) of the others.

    Raises:
        InputError: if one of them is empty.

    Source: Hanley and McNeil, Radiology 143 (1982), 29-36: the area is Mann and Whitney's statistic over n m.
    """
    from scipy.stats import rankdata

    n, m = len(positives), len(negatives)
    if not n or not m:
        raise InputError(f"got {n} digits and {m} other clips; the area under the ROC needs some of each")
    ranks = rankdata(np.concatenate([positives, negatives]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
