"""MatchboxNet: time-channel separable convolutions in residual blocks, with ever longer kernels.

Input is MFCC 64, windows of 25 ms every 10 ms. For the 30 labels of Speech Commands v1, with multiply-accumulates of
one second, which is 99 frames here (the paper pads to 128 with zeros):

| repeats | name in the paper | parameters | published | MACs |
|---|---|---|---|---|
| 1 | 3x1x64 | 77,214 | 77 k | 7,112,832 |
| 2 | 3x2x64 | 92,766 | 93 k | 8,614,464 |

Source: Majumdar and Ginsburg 2020, "MatchboxNet: 1D Time-Channel Separable Convolutional Neural Network Architecture
for Speech Commands Recognition"; the blocks are those of QuartzNet, Kriman et al. 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec

KERNELS = (13, 15, 17)  # frames, of the three residual blocks
OUTER_WIDTH = 128  # channels before and after the blocks


class SeparableBlock(nn.Module):
    """`repeats` separable convolutions of one kernel; a projected skip joins before the last ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, repeats: int, dropout: float):
        super().__init__()
        layers = []
        for position in range(repeats):
            if position > 0:
                layers += [nn.ReLU(), nn.Dropout(dropout)]
            layers.append(_separable(n_in if position == 0 else n_out, n_out, kernel_size))
        self.body = nn.Sequential(*layers)
        self.skip = nn.Sequential(nn.Conv1d(n_in, n_out, 1, bias=False), nn.BatchNorm1d(n_out))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(torch.relu(self.body(x) + self.skip(x)))


class MatchboxNet(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_features: rows of all planes, C * F.
        n_labels: outputs.
        repeats: separable convolutions in each residual block, R in the paper.
        width: channels of the residual blocks, C in the paper.
        dropout: after each ReLU.
    """

    def __init__(self, n_features: int, n_labels: int, repeats: int, width: int, dropout: float):
        super().__init__()
        self.prologue = nn.Sequential(_separable(n_features, OUTER_WIDTH, 11), nn.ReLU(), nn.Dropout(dropout))
        self.blocks = nn.Sequential(
            *(
                SeparableBlock(OUTER_WIDTH if position == 0 else width, width, kernel_size, repeats, dropout)
                for position, kernel_size in enumerate(KERNELS)
            )
        )
        self.epilogue = nn.Sequential(
            _separable(width, OUTER_WIDTH, 29, dilation=2),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv1d(OUTER_WIDTH, OUTER_WIDTH, 1, bias=False),
            nn.BatchNorm1d(OUTER_WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.classifier = nn.Linear(OUTER_WIDTH, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.prologue(features.flatten(1, 2))  # (B, C * F, N) into the first convolution
        # The paper classifies each frame and then takes the mean; the layer is affine, so the order does not matter.
        return self.classifier(self.epilogue(self.blocks(x)).mean(dim=2))


@register_model
@with_spec(FrontendSpec(kind="mfcc", n_fft=512, n_mels=64, n_mfcc=64, lifter=0, n_deltas=0))
def matchboxnet(
    spec: FrontendSpec, n_labels: int, repeats: int = 1, width: int = 64, dropout: float = 0.1
) -> nn.Module:
    """MatchboxNet-3xRxC: MFCC 64 x 99, 77 k (3x1x64) or 93 k parameters (3x2x64).

    Args:
        repeats: separable convolutions in each residual block; 1 and 2 are published.
        width: channels of the residual blocks.
        dropout: after each ReLU.

    Raises:
        ConfigError: if `repeats` or `width` is below 1.
    """
    if repeats < 1 or width < 1:
        raise ConfigError(f"repeats is {repeats} and width {width}, expected 1 or more")
    return MatchboxNet(spec.shape[0] * spec.shape[1], n_labels, repeats, width, dropout)


def _separable(n_in: int, n_out: int, kernel_size: int, dilation: int = 1) -> nn.Sequential:
    """Depthwise over time, pointwise over channels, one norm after both."""
    margin = dilation * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv1d(n_in, n_in, kernel_size, padding=margin, dilation=dilation, groups=n_in, bias=False),
        nn.Conv1d(n_in, n_out, 1, bias=False),
        nn.BatchNorm1d(n_out),
    )
