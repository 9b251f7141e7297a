"""Training losses."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy against probability targets.

    Args:
        logits: (B, n_labels).
        targets: (B, n_labels), rows sum to 1.
        label_smoothing: share of each target that is spread over all labels.
    """
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


def distillation(
    logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float,
    alpha: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy.

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
    hard = cross_entropy(logits, targets, label_smoothing)
    return alpha * temperature**2 * soft + (1 - alpha) * hard
