"""TC-ResNet: a residual net over time alone, with the cepstral coefficients as channels.

Input is MFCC 40, windows of 30 ms every 10 ms. For 12 labels, with multiply-accumulates of one second:

| depth | width | name in the paper | parameters | published | MACs |
|---|---|---|---|---|---|
| 8 | 1 | TC-ResNet8 | 65,168 | 66 k | 1,522,560 |
| 8 | 1.5 | TC-ResNet8-1.5 | 144,264 | 145 k | 3,284,208 |
| 14 | 1 | TC-ResNet14 | 135,856 | 137 k | 3,030,528 |
| 14 | 1.5 | TC-ResNet14-1.5 | 303,000 | 305 k | 6,677,136 |

The published counts include the moving mean and variance of the norms, which are no trained parameters: with them, ours
are 65,824, 145,248, 136,928 and 304,608.

Source: Choi et al. 2019, "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices".
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec

WIDTHS = {  # channels of the first convolution and of each block, by depth
    8: (16, 24, 32, 48),
    14: (16, 24, 24, 32, 32, 48, 48),
}


class TemporalBlock(nn.Module):
    """Two convolutions of 9 frames; where channels change, the frame rate halves and the skip is projected."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        changes = n_in != n_out
        stride = 2 if changes else 1
        self.body = nn.Sequential(
            nn.Conv1d(n_in, n_out, 9, stride, 4, bias=False),
            nn.BatchNorm1d(n_out),
            nn.ReLU(),
            nn.Conv1d(n_out, n_out, 9, padding=4, bias=False),
            nn.BatchNorm1d(n_out),
        )
        self.skip = nn.Identity()
        if changes:
            self.skip = nn.Sequential(nn.Conv1d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm1d(n_out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class TCResNet(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_features: rows of all planes, C * F.
        n_labels: outputs.
        widths: channels of the first convolution and of each block.
        dropout: before the classifier.
    """

    def __init__(self, n_features: int, n_labels: int, widths: tuple[int, ...], dropout: float):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(n_features, widths[0], 3, padding=1, bias=False), nn.BatchNorm1d(widths[0]), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(TemporalBlock(i, o) for i, o in pairwise(widths)))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], n_labels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        x = self.blocks(self.stem(features.flatten(1, 2)))  # (B, C * F, N) into the stem
        return self.classifier(self.dropout(x.mean(dim=2)))


@register_model
@with_spec(FrontendSpec(kind="mfcc", win_length=240, f_min=20.0, n_mfcc=40, lifter=0, n_deltas=0))
def tc_resnet(spec: FrontendSpec, n_labels: int, depth: int = 8, width: float = 1.0, dropout: float = 0.5) -> nn.Module:
    """TC-ResNet: MFCC 40 x 98, 65 k (depth 8) to 303 k parameters (depth 14, width 1.5).

    Args:
        depth: 8 or 14, the paper's count of convolutions.
        width: factor of all channels; 1 and 1.5 are published.
        dropout: before the classifier.

    Raises:
        ConfigError: if there is no net of this depth, or `width` leaves no channel.
    """
    if depth not in WIDTHS:
        raise ConfigError(f"depth is {depth}, expected one of {', '.join(map(str, WIDTHS))}")
    widths = tuple(int(channels * width) for channels in WIDTHS[depth])
    if widths[0] < 1:
        raise ConfigError(f"width is {width}, expected {1 / WIDTHS[depth][0]} or more; 1 and 1.5 are published")
    return TCResNet(spec.shape[0] * spec.shape[1], n_labels, widths, dropout)
