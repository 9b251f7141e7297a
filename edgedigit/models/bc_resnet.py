"""BC-ResNet: most of each block works on the mean over frequency, and its answer is broadcast over all rows again.

Input is log-mel 40, windows of 30 ms every 10 ms. For 12 labels, with multiply-accumulates of one second:

| tau | parameters | published | MACs | published |
|---|---|---|---|---|
| 1 | 9,232 | 9.2 k | 2,408,440 | 3.1 M |
| 1.5 | 17,154 | 17.2 k | 4,471,140 | 5.5 M |
| 2 | 27,284 | 27.3 k | 7,106,160 | 8.5 M |
| 3 | 54,168 | 54.2 k | 14,093,160 | 16.2 M |
| 6 | 187,812 | 188 k | 48,789,840 | 53.1 M |
| 8 | 321,068 | 321 k | 83,367,360 | 89.1 M |

The published MACs come out within 4 % if every value that leaves a norm counts as two more, one for its deviation and
one for its weight, over the 101 frames of a second that is padded at both ends.

Source: Kim et al. 2021, "Broadcasted Residual Learning for Efficient Keyword Spotting", tables 1 and 3; sub-spectral
normalisation, Chang et al. 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec

SUB_BANDS = 5  # groups of rows with statistics of their own
DEPTHS = (2, 2, 4, 4)  # blocks of each stage
STRIDES = (1, 2, 2, 1)  # rows that the first block of each stage skips


class SubSpectralNorm(nn.Module):
    """Batch norm whose statistics and weights belong to a channel and a band of rows.

    Args:
        channels: of the input (B, channels, n_rows, N).
        n_rows: rows of the input; where `SUB_BANDS` does not divide them, the next smaller number that does is used.
    """

    def __init__(self, channels: int, n_rows: int):
        super().__init__()
        self.channels = channels
        self.n_bands = max(n for n in range(1, SUB_BANDS + 1) if n_rows % n == 0)
        self.norm = nn.BatchNorm2d(channels * self.n_bands)

    def forward(self, x: Tensor) -> Tensor:
        bands = x.unflatten(2, (self.n_bands, -1)).flatten(1, 2)  # (B, channels * n_bands, rows of a band, N)
        return self.norm(bands).unflatten(1, (self.channels, self.n_bands)).flatten(2, 3)


class BroadcastBlock(nn.Module):
    """y = x + f2(x) + broadcast(f1(mean of f2(x) over frequency)), without the x where channels change.

    Args:
        n_in: input channels.
        n_out: output channels; if they differ, a pointwise convolution changes them first.
        n_rows: rows of the output.
        stride: rows that the frequency convolution skips.
        dilation: of the temporal convolution, in frames.
        dropout: probability that a channel of f1 is dropped.
    """

    def __init__(self, n_in: int, n_out: int, n_rows: int, stride: int, dilation: int, dropout: float):
        super().__init__()
        self.expand = None
        if n_in != n_out:
            self.expand = nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU())
        self.frequency = nn.Sequential(
            nn.Conv2d(n_out, n_out, (3, 1), (stride, 1), (1, 0), groups=n_out, bias=False),
            SubSpectralNorm(n_out, n_rows),
        )
        self.temporal = nn.Sequential(
            nn.Conv2d(n_out, n_out, (1, 3), 1, (0, dilation), (1, dilation), groups=n_out, bias=False),
            nn.BatchNorm2d(n_out),
            nn.SiLU(),
            nn.Conv2d(n_out, n_out, 1, bias=False),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        rows = self.frequency(x if self.expand is None else self.expand(x))
        y = rows + self.temporal(rows.mean(dim=2, keepdim=True))  # (B, n_out, 1, N) is broadcast over the rows
        return torch.relu(y if self.expand is not None else y + x)


class BCResNet(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: feature planes C.
        n_features: feature rows F.
        n_labels: outputs.
        width: channels of the first stage; all others are multiples of it.
        dropout: probability that a channel is dropped in a block.
    """

    def __init__(self, n_channels: int, n_features: int, n_labels: int, width: int, dropout: float):
        super().__init__()
        widths = (2 * width, width, int(1.5 * width), 2 * width, int(2.5 * width))
        n_rows = _strided(n_features, 2)
        self.stem = nn.Sequential(
            nn.Conv2d(n_channels, widths[0], 5, (2, 1), 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        blocks = []
        for stage, (depth, stride) in enumerate(zip(DEPTHS, STRIDES, strict=True)):
            n_rows = _strided(n_rows, stride)
            for position in range(depth):
                first = position == 0
                blocks.append(
                    BroadcastBlock(
                        n_in=widths[stage] if first else widths[stage + 1],
                        n_out=widths[stage + 1],
                        n_rows=n_rows,
                        stride=stride if first else 1,
                        dilation=2**stage,
                        dropout=dropout,
                    )
                )
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            # Five rows remain of 40, and this convolution takes them all; of fewer, it takes what there is.
            nn.Conv2d(widths[-1], widths[-1], (min(5, n_rows), 5), padding=(0, 2), groups=widths[-1], bias=False),
            nn.Conv2d(widths[-1], 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(4 * width, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(features)))
        return self.classifier(x.mean(dim=(2, 3)))


@register_model
@with_spec(FrontendSpec(win_length=240))
def bc_resnet(spec: FrontendSpec, n_labels: int, tau: float = 1, dropout: float = 0.1) -> nn.Module:
    """BC-ResNet-tau: log-mel 40 x 98, 9 k (tau 1) to 321 k parameters (tau 8).

    Args:
        tau: factor of all widths; 1, 1.5, 2, 3, 6 and 8 are published.
        dropout: probability that a channel is dropped in a block.

    Raises:
        ConfigError: if `tau` leaves fewer than two channels.
    """
    width = int(8 * tau)
    if width < 2:
        raise ConfigError(f"tau is {tau}, expected 0.25 or more; 1, 1.5, 2, 3, 6 and 8 are published")
    return BCResNet(spec.shape[0], spec.shape[1], n_labels, width, dropout)


def _strided(n_rows: int, stride: int) -> int:
    """Rows after a padded convolution of odd size."""
    return (n_rows - 1) // stride + 1
