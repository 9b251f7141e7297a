"""A depthwise-separable net over the time-frequency plane, the field's reference for small devices.

Source: Zhang et al. 2017, "Hello Edge": one full convolution, then depthwise-separable blocks.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class DSCNN(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: feature planes C.
        n_labels: outputs.
        width: channels of every layer.
        depth: depthwise-separable blocks.
        dropout: before the classifier.
    """

    def __init__(self, n_channels: int, n_labels: int, width: int, depth: int, dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_channels)
        self.stem = nn.Sequential(
            nn.Conv2d(n_channels, width, (4, 10), 2, (1, 4), bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(_block(width) for _ in range(depth)))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.blocks(self.stem(self.norm(features)))
        return self.classifier(self.dropout(x.mean(dim=(2, 3))))


@register_model
@with_spec(FrontendSpec(hop_length=160))
def ds_cnn(spec: FrontendSpec, n_labels: int, width: int = 64, depth: int = 4, dropout: float = 0.1) -> nn.Module:
    """DS-CNN of the small size, on log-mel 40 x 50: 23,052 parameters, 10.62 M MACs."""
    return DSCNN(spec.shape[0], n_labels, width, depth, dropout)


def _block(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
