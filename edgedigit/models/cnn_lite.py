"""A light convolutional net that halves the plane by strides, so that no operation is spent on what pooling drops.

Source: strided convolutions in place of pooling, Springenberg et al. 2015; residual refinement, He et al. 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class LiteStage(nn.Module):
    """A strided 3x3 convolution, then a pointwise one added to what it sees."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(n_in, n_out, 3, 2, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(n_out, n_out, 1, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return torch.relu(x + self.mix(x))


class LiteCNN(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: feature planes C.
        n_labels: outputs.
        widths: channels of each stage; every stage halves the plane.
        dropout: before the classifier.
    """

    def __init__(self, n_channels: int, n_labels: int, widths: tuple[int, ...], dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_channels)
        pairs = zip((n_channels, *widths[:-1]), widths, strict=True)
        self.stages = nn.Sequential(*(LiteStage(n_in, n_out) for n_in, n_out in pairs))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.stages(self.norm(features))
        return self.classifier(self.dropout(x.mean(dim=(2, 3))))


@register_model
@with_spec(FrontendSpec(hop_length=160))
def cnn_lite(spec: FrontendSpec, n_labels: int, widths=(24, 48, 88, 144), dropout: float = 0.2) -> nn.Module:
    """Light strided net on log-mel 40 x 50: 196,676 parameters, 5.26 M MACs."""
    return LiteCNN(spec.shape[0], n_labels, tuple(widths), dropout).to(memory_format=torch.channels_last)
