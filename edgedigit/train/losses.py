"""Training losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Mean cross-entropy against probability targets, or focal loss.

    Args:
        logits: (B, n_labels).
        targets: (B, n_labels), rows sum to 1.
        label_smoothing: share of each target that is spread over all labels.
        class_weights: (n_labels,) factors on the labels' terms.
        focal_gamma: exponent of the factor (1 - p) on the labels' terms; 0 is cross-entropy.

    Source: Lin et al. 2017 (focal loss), here with a softmax.
    """
    if focal_gamma == 0:
        return F.cross_entropy(logits, targets, class_weights, label_smoothing=label_smoothing)
    log_p = logits.log_softmax(dim=1)
    targets = (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]
    missing = -torch.expm1(log_p)  # 1 - p
    terms = targets * missing.clamp_min(1e-6) ** focal_gamma * log_p  # at 0 the power of a small gamma has no slope
    return -(terms if class_weights is None else terms * class_weights).sum(dim=1).mean()


def distillation(
    logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float,
    alpha: float,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    focal_gamma: float = 0.0,
) -> Tensor:
    """alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy of the labels, see `cross_entropy`.

    The factor T^2 keeps the size of the soft targets' gradients independent of the temperature.

    Args:
        logits: (B, n_labels) of the student.
        teacher_logits: (B, n_labels).
        targets: (B, n_labels), rows sum to 1.

    Source: Hinton, Vinyals and Dean 2015.
    """
    soft = F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher_logits / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = cross_entropy(logits, targets, label_smoothing, class_weights, focal_gamma)
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def feature_matching(guesses: Sequence[Tensor], embeddings: Sequence[Tensor]) -> Tensor:
    """Mean of 1 - cosine between what the student guesses and what each teacher has: half the squared distance of
    the two at length 1.

    Args:
        guesses: (B, width) for each teacher.
        embeddings: (B, width) of the teachers, in the same order.

    Source: Romero et al. 2015 (FitNets), here with embeddings of length 1, whose scale says nothing about the digit.
    """
    pairs = zip(guesses, embeddings, strict=True)
    return torch.stack([(1 - F.cosine_similarity(guess, known, dim=1)).mean() for guess, known in pairs]).mean()
