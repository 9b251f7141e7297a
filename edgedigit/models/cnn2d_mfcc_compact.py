"""The classic compact student: few depthwise-separable convolutions over stacked cepstra, a baseline.

Source: depthwise-separable convolutions and pooling as in MobileNet, Howard et al. 2017; MFCC with their deltas
stacked as rows of one plane are the classic input of small-footprint spotters, Sainath and Parada 2015.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class CompactCNN(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels); planes are stacked into one of C * F rows.

    Cepstra differ in scale by two orders of magnitude, so every row is normalised by itself, and rows are kept apart
    up to the dense layer: only time is averaged over.

    Args:
        n_rows: C * F.
        n_labels: outputs.
        widths: channels of the first, full convolution and of each depthwise-separable one; all are followed by
            pooling by 2.
        hidden: width of the dense layer.
        dropout: before the dense layer.
    """

    def __init__(self, n_rows: int, n_labels: int, widths: tuple[int, ...], hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_rows)
        stages = [_stage(nn.Conv2d(1, widths[0], 3, padding=1, bias=False), widths[0])]
        for n_in, n_out in pairwise(widths):
            depthwise = nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in, bias=False)
            pointwise = nn.Conv2d(n_in, n_out, 1, bias=False)
            stages.append(_stage(nn.Sequential(depthwise, nn.BatchNorm2d(n_in), nn.ReLU(), pointwise), n_out))
        self.stages = nn.Sequential(*stages)
        n_pooled = widths[-1] * math.ceil(n_rows / 2 ** len(widths))
        self.hidden = nn.Sequential(
            nn.BatchNorm1d(n_pooled), nn.Dropout(dropout), nn.Linear(n_pooled, hidden), nn.ReLU()
        )
        self.classifier = nn.Linear(hidden, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.norm(features.flatten(1, 2))  # (B, C * F, N)
        x = self.stages(x[:, None])  # (B, widths[-1], F', N')
        return self.classifier(self.hidden(x.mean(dim=3).flatten(1)))


@register_model
@with_spec(FrontendSpec(kind="mfcc", win_length=160, hop_length=100, n_mfcc=20))
def cnn2d_mfcc_compact(
    spec: FrontendSpec, n_labels: int, widths=(16, 32, 48), hidden: int = 32, dropout: float = 0.2
) -> nn.Module:
    """Compact net on MFCC 3 x 20 x 80: 16,450 parameters, 2.04 M MACs. Planes are stacked to 60 x 80."""
    n_planes, n_features, _ = spec.shape
    return CompactCNN(n_planes * n_features, n_labels, tuple(widths), hidden, dropout)


def _stage(conv: nn.Module, n_out: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True))
