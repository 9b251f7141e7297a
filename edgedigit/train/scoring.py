"""Logits and accuracy of a torch model over many clips."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgedigit.data.recording import ARTIFICIAL, UNKNOWN_SPEAKER, Recording
from edgedigit.errors import InputError
from edgedigit.labels import NON_DIGIT
from edgedigit.metrics import accuracy_row
from edgedigit.runtime import Recognizer

MAX_GROUPS = 12  # more sources or speakers than this would be a list, not a table
OVER_SPEAKERS = "interval over"
"""In the name of a row whose interval is that of speakers, not of clips; their number follows."""


@torch.no_grad()
def predict_logits(model: nn.Module, waveforms: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Logits (n, n_labels) float32 of waveforms (n, n_samples), in evaluation mode."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    parts = [
        model(torch.from_numpy(waveforms[start : start + batch_size]).to(device)).float().cpu().numpy()
        for start in range(0, len(waveforms), batch_size)
    ]
    model.train(training)
    return np.concatenate(parts)


def predict_onnx(path: str | Path, waveforms: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Probabilities (n, n_labels) of an exported model for waveforms (n, n_samples)."""
    recognizer = Recognizer(path)
    parts = [recognizer.probabilities(waveforms[i : i + batch_size]) for i in range(0, len(waveforms), batch_size)]
    return np.concatenate(parts)


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Temperature that minimises the negative log-likelihood of targets (n,) under logits (n, n_labels).

    The right label is given the share (n + 1) / (n + 2), the others the rest: without an error among the n clips, no
    temperature would be low enough, and the next error would be made with certainty.

    Source: Guo et al. 2017; the share, Platt 1999.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    n, n_labels = logits.shape
    shares = np.full((n, n_labels), 1 / (n + 2) / (n_labels - 1))
    shares[np.arange(n), targets] = (n + 1) / (n + 2)

    def nll(log_temperature):
        return -(shares * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(axis=1).mean()

    return float(np.exp(minimize_scalar(nll, bounds=(-3.0, 3.0), method="bounded").x))


def accuracy_rows(
    part: str, recordings: Sequence[Recording], predictions: np.ndarray, labels: Sequence[str]
) -> list[dict]:
    """Accuracy over all recordings, then by source where there are several, and by speaker where there are few.

    Recordings of `_unknown_` have a row of their own, at the end, and count in no other: they are right where nothing
    was answered. A digit that was taken for one of them is wrong.

    Args:
        part: what the recordings are, such as "test"; heads every row's group.
        predictions: (n,) indices into `labels`.

    Returns:
        Rows as `metrics.accuracy_row` makes them.
    """
    right = np.array([labels[p] == r.label for p, r in zip(predictions, recordings, strict=True)])
    others = np.array([r.label == NON_DIGIT for r in recordings])
    if others.any():
        last = accuracy_row(f"{part}, {NON_DIGIT}", int(right[others].sum()), int(others.sum()))
        digits = np.flatnonzero(~others)
        if not len(digits):
            return [last]
        return [*accuracy_rows(part, [recordings[i] for i in digits], np.asarray(predictions)[digits], labels), last]
    rows = [accuracy_row(part, int(right.sum()), len(right))]
    for attribute in ("source", "speaker"):
        values = np.array([getattr(recording, attribute) for recording in recordings])
        names = sorted(set(values))
        if 1 < len(names) <= MAX_GROUPS:
            rows += [
                accuracy_row(f"{part}, {n}", int(right[values == n].sum()), int((values == n).sum())) for n in names
            ]
    return rows


def clustered_row(group: str, rows: Sequence[dict], confidence: float = 0.95) -> dict:
    """Accuracy over all clips, with the interval that speakers give: clips of one speaker are right or wrong together.

    Speakers are drawn, clips come with them: the interval is Student's for a ratio of sums over speakers, and says
    what other speakers would give. With few of them it is wide, as it should be.

    Args:
        group: name of the row.
        rows: as `accuracy_row`, one for each speaker.

    Returns:
        `group, n` and fractions `accuracy*`.

    Raises:
        InputError: if there are fewer than two speakers.

    Source: W. G. Cochran, Sampling Techniques, 3rd edition (1977), chapter 9A: clusters of unequal sizes.
    """
    from scipy.special import stdtrit

    if len(rows) < 2:
        raise InputError(f"group {group!r} has {len(rows)} speakers; an interval over speakers needs at least two")
    n = np.array([row["n"] for row in rows])
    right = np.array([row["n_correct"] for row in rows])
    accuracy = right.sum() / n.sum()
    variance = len(n) / (len(n) - 1) * ((right - accuracy * n) ** 2).sum() / n.sum() ** 2
    half_width = stdtrit(len(n) - 1, 0.5 + confidence / 2) * math.sqrt(variance)
    return {
        "group": group,
        "n": int(n.sum()),
        "accuracy": float(accuracy),
        "accuracy_low": float(max(0.0, accuracy - half_width)),
        "accuracy_high": float(min(1.0, accuracy + half_width)),
    }


def over_speakers(speakers: Sequence[str], sources: Set[str], right: Sequence[bool]) -> list[dict]:
    """A row whose interval says what other speakers would give; none where that cannot be told.

    It takes two or more people, known apart, who do not all reach the same accuracy: without any spread between them,
    as where every answer is right, the interval would be no wider than a point.

    Args:
        speakers: (n,) of each recording that was tested.
        sources: of them all.
        right: (n,) whether each was answered rightly.
    """
    answered: dict[str, list[bool]] = {}
    for speaker, one in zip(speakers, right, strict=True):
        answered.setdefault(speaker, []).append(one)
    unknown = any(speaker.endswith(f":{UNKNOWN_SPEAKER}") for speaker in answered)
    by_speaker = [accuracy_row(speaker, sum(told), len(told)) for speaker, told in sorted(answered.items())]
    if unknown or sources & set(ARTIFICIAL) or len({row["accuracy"] for row in by_speaker}) < 2:
        return []
    return [clustered_row(f"all clips, {OVER_SPEAKERS} {len(by_speaker)} speakers", by_speaker)]


ANSWER_FIELDS = ("track", "stage", "part", "name", "label", "speaker", "source", "answer")


def answer_rows(
    track: str,
    stage: str,
    part: str,
    recordings: Sequence[Recording],
    predictions: np.ndarray,
    labels: Sequence[str],
) -> list[tuple]:
    """One row of `ANSWER_FIELDS` for every recording, so that any table can be made from them later."""
    return [
        (track, stage, part, r.name, r.label, r.speaker, r.source, labels[p])
        for r, p in zip(recordings, predictions, strict=True)
    ]


def write_answers(path: str | Path, rows: Sequence[tuple]) -> None:
    """Write `answer_rows` as CSV."""
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(ANSWER_FIELDS)
        writer.writerows(rows)


def read_answers(path: str | Path) -> list[dict]:
    """Rows of a file that `write_answers` wrote, as dictionaries.

    Raises:
        InputError: if it is another file, or cut off within a row.
    """
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        rows = list(reader)
    if tuple(reader.fieldnames or ()) != ANSWER_FIELDS or any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path} does not hold the columns {', '.join(ANSWER_FIELDS)}; run the script that writes it")
    return rows


def accuracy_table(rows: Sequence[dict]) -> str:
    """Rows as aligned text: group, accuracy %, 95 % Wilson interval where it is one of clips, n."""
    width = max(len(row["group"]) for row in rows)

    def interval(row: dict) -> str:
        return f"[{100 * row['accuracy_low']:.1f}, {100 * row['accuracy_high']:.1f}]" if "accuracy_low" in row else ""

    return "\n".join(
        f"  {row['group']:<{width}}  {100 * row['accuracy']:6.2f} %  {interval(row):<14}  n={row['n']}" for row in rows
    )


def confusion_table(matrix: np.ndarray, labels: Sequence[str]) -> str:
    """A confusion matrix as aligned text: truth in rows, answers in columns, a dot where there is no clip."""
    rows = [["", *labels]]
    for label, counts in zip(labels, matrix.tolist(), strict=True):
        rows.append([label, *(str(count) if count else "·" for count in counts)])
    width = max(len(cell) for row in rows for cell in row)
    return "\n".join("  " + " ".join(f"{cell:>{width}}" for cell in row) for row in rows)
