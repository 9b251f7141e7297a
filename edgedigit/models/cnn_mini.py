"""The fastest net that still tells digits apart: two dense convolutions over time, mel bands as channels.

Dense, because at this size a depthwise convolution costs more in calls than it saves in operations.

Source: convolution over time with bands as channels, time-delay networks of Waibel et al. 1989; mean and maximum
over time, the classic pair of global poolings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class MiniCNN(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_features: rows of all planes, C * F.
        n_labels: outputs.
        width: channels of both layers, each of which halves the frame rate.
        dropout: before the classifier.
    """

    def __init__(self, n_features: int, n_labels: int, width: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(n_features),
            nn.Conv1d(n_features, width, 3, 2, 1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, 2, 2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * width, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.layers(features.flatten(1, 2))  # (B, C * F, N) to (B, width, N')
        return self.classifier(self.dropout(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)))


@register_model
@with_spec(FrontendSpec(hop_length=200, n_mels=32))
def cnn_mini(spec: FrontendSpec, n_labels: int, width: int = 24, dropout: float = 0.05) -> nn.Module:
    """Two convolutions over time on log-mel 32 x 40: 5,834 parameters, 0.08 M MACs."""
    return MiniCNN(spec.shape[0] * spec.shape[1], n_labels, width, dropout)
