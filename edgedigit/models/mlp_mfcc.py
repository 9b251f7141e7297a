"""A multilayer perceptron on statistics of MFCC, the classic baseline that knows nothing of order in time.

Source: classic layout; mean, deviation and extremes of cepstra over a clip are what was fed to classifiers
before networks saw frames. Batch norm: Ioffe and Szegedy 2015; dropout: Srivastava et al. 2014.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class MLPOnStatistics(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_features: rows of all planes, C * F.
        n_labels: outputs.
        widths: of the hidden layers.
        dropout: after each of them.
    """

    def __init__(self, n_features: int, n_labels: int, widths: tuple[int, ...], dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(4 * n_features)
        layers: list[nn.Module] = []
        for n_in, n_out in zip((4 * n_features, *widths[:-1]), widths, strict=True):
            layers += [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1], n_labels)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(self.hidden(self.norm(statistics(features))))


def statistics(features: Tensor) -> Tensor:
    """Mean, standard deviation, minimum and maximum over time: (B, C, F, N) to (B, 4 * C * F)."""
    rows = features.flatten(1, 2)  # (B, C * F, N)
    mean = rows.mean(dim=2)
    deviation = (rows - mean[:, :, None]).square().mean(dim=2).sqrt()
    return torch.cat([mean, deviation, rows.amin(dim=2), rows.amax(dim=2)], dim=1)


@register_model
@with_spec(FrontendSpec(kind="mfcc"))
def mlp_mfcc(spec: FrontendSpec, n_labels: int, widths=(256, 128, 64), dropout: float = 0.3) -> nn.Module:
    """Perceptron on 156 statistics of MFCC 3 x 13 x 99: 82,754 parameters, 0.08 M MACs."""
    return MLPOnStatistics(spec.shape[0] * spec.shape[1], n_labels, tuple(widths), dropout)
