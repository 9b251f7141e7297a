"""A residual teacher with channel and spatial attention.

Source: residual learning, He et al. 2016; squeeze-and-excitation, Hu et al. 2018; the spatial gate is
that of CBAM, Woo et al. 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class SqueezeExcitation(nn.Module):
    """Weighs channels by a small net that sees their means."""

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // reduction, 1)
        self.expand = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.relu(self.reduce(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(weight))


class SpatialAttention(nn.Module):
    """Weighs places of the time-frequency plane by the mean and the maximum over channels."""

    def __init__(self, kernel_size: int = 5):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(summary))


class ResidualBlock(nn.Module):
    """3x3 then 1x1 convolution, both attentions, and a projected skip."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
            SqueezeExcitation(n_out),
            SpatialAttention(),
        )
        self.skip = nn.Sequential(
            nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity(),
            nn.Conv2d(n_in, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class ResNetSE(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: feature planes C.
        n_labels: outputs.
        widths: channels of the four stages.
        dropout: before the classifier.
    """

    def __init__(self, n_channels: int, n_labels: int, widths: tuple[int, ...], dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_channels)
        self.stem = nn.Sequential(
            # A quarter of the rows and of the frames at once: the plane is what costs, not the filters.
            nn.Conv2d(n_channels, widths[0], 7, 4, 3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        stages = zip((widths[0], *widths[:-1]), widths, strict=True)
        self.stages = nn.Sequential(*(ResidualBlock(i, o, 1 if k == 0 else 2) for k, (i, o) in enumerate(stages)))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.stages(self.stem(self.norm(features)))
        return self.classifier(self.dropout(x.mean(dim=(2, 3))))


@register_model
@with_spec(FrontendSpec())
def resnet_se(spec: FrontendSpec, n_labels: int, widths=(64, 128, 256, 512), dropout: float = 0.2) -> nn.Module:
    """Residual net with attention on log-mel 40 x 99: 2,299,080 parameters, 39.47 M MACs.

    On log-mel 64 x 32: 2,299,080 parameters, 15.79 M MACs. On MFCC 3 x 13 x 32: 2,305,356 parameters, 5.07 M MACs.
    On a spectrogram 513 x 32: 2,299,080 parameters, 128.23 M MACs.
    """
    return ResNetSE(spec.shape[0], n_labels, tuple(widths), dropout).to(memory_format=torch.channels_last)
