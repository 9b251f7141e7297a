"""Regularised multinomial logistic regression on embeddings, its answers to clips held out, and a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STRENGTH = 5e-3  # of the quadratic penalty, against a mean log-likelihood in which every label weighs alike
MAX_ITERATIONS = 300
N_FOLDS = 10
SCALE_FLOOR = 1e-4  # of a standard deviation: an embedding that never moves says nothing


@dataclass(frozen=True)
class Examples:
    """What a classifier learns from: clips, and altered copies of them.

    Attributes:
        embeddings: (n, n_embedding), as `Embedder` returns them.
        offsets: (n, n_labels), scores that the model gives already; 0 for new labels.
        targets: (n,) indices of labels.
        folds: (n,); all copies of a clip, and all clips of a word that is none of the labels, are in one fold.
        original: (n,) True for clips as they were recorded.
        own: (n,) True for the user's clips and their copies, False for synthetic voices and noise.
    """

    embeddings: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    folds: np.ndarray
    original: np.ndarray
    own: np.ndarray


def fit(examples: Examples, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_embedding, n_labels) and bias (n_labels,) on top of the offsets.

    Every label weighs alike, however many clips it has, and within a label the user's clips and all others. Without a
    reason in the clips the offsets stay as they are.

    Args:
        examples: clips.
        rows: (n,) bool, of those to learn from; None: all.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    rows = np.ones(len(examples.targets), bool) if rows is None else rows
    offsets, targets, n_labels = examples.offsets[rows], examples.targets[rows], examples.offsets.shape[1]
    mean = examples.embeddings[rows].mean(axis=0)
    scale = np.maximum(examples.embeddings[rows].std(axis=0), SCALE_FLOOR)
    inputs = (examples.embeddings[rows] - mean) / scale
    cells = 2 * targets + examples.own[rows]
    counts = np.bincount(cells, minlength=2 * n_labels)
    in_label = np.count_nonzero(counts.reshape(-1, 2), axis=1)  # (n_labels,)
    share = 1 / (counts[cells] * in_label[targets] * np.count_nonzero(in_label))  # (n,), sums to 1
    wanted = np.eye(n_labels)[targets]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-n_labels].reshape(-1, n_labels), flat[-n_labels:]
        log_p = log_softmax(inputs @ weights + bias + offsets, axis=1)
        gradient = (np.exp(log_p) - wanted) * share[:, None]  # (n, n_labels)
        loss = -share @ (wanted * log_p).sum(axis=1) + 0.5 * STRENGTH * np.square(weights).sum()
        of_weights = inputs.T @ gradient + STRENGTH * weights
        return loss, np.concatenate([of_weights.ravel(), gradient.sum(axis=0)])

    start = np.zeros((inputs.shape[1] + 1) * n_labels)
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_ITERATIONS})
    weights, bias = found.x[:-n_labels].reshape(-1, n_labels), found.x[-n_labels:]
    return weights / scale[:, None], bias - (mean / scale) @ weights


def probabilities(examples: Examples, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(n, n_labels), rows sum to 1."""
    from scipy.special import softmax

    return softmax(examples.embeddings @ weights + bias + examples.offsets, axis=1)


def held_out_probabilities(examples: Examples) -> np.ndarray:
    """(n, n_labels), of each clip by a classifier that learnt from the other folds: with ten clips, leave one out."""
    found = np.empty(examples.offsets.shape)
    for fold in np.unique(examples.folds):
        out = examples.folds == fold
        found[out] = probabilities(examples, *fit(examples, ~out))[out]
    return found


def acceptance(found: np.ndarray, unknown: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Answer (n,) and how sure it is (n,) for probabilities (n, n_labels): 0 where `unknown` is the answer."""
    answers = found.argmax(axis=1)
    return answers, np.where(answers == unknown, 0.0, found.max(axis=1))


def threshold(sureness: np.ndarray, false_accepts: float) -> float:
    """What an answer must exceed so that at most this share of other words, (n,) as `acceptance` has it, gets one."""
    allowed = int(false_accepts * len(sureness))
    highest_refused = np.sort(sureness)[::-1][min(allowed, len(sureness) - 1)]
    return float(min(1.0, np.ceil(highest_refused * 1e4 + 1) / 1e4))  # above it, at four digits
