"""A spatiotemporal transformer for surface EMG: attention over electrodes within a window, then over windows.

For ten labels and the default signal, 8 channels at 1 kHz in windows of 256 every 128 samples, 16 features of each
channel. The electrodes of a window become one vector of 128 features, however many electrodes there are.

Source: encoder layers as in `edgedigit.models.transformer`; space and time attended to apart as in Bertasius et al.
2021, "Is Space-Time Attention All You Need for Video Understanding?", here space first and once, since an electrode
means the same in every window; class of the word from the mean over windows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import register_model, with_spec
from edgedigit.models.transformer import EncoderLayer, positional_encoding
from edgedigit.spec import EMG_8X1000, FrontendSpec


class SpatiotemporalTransformer(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: electrodes, C.
        n_rows: features of a channel, F.
        n_frames: windows, N.
        n_labels: outputs.
        n_features: of a window, once its electrodes have been brought together.
        width: of a token of time.
        depth: encoder layers over windows.
        n_heads: of self-attention.
        dropout: within every layer and before the classifier.
    """

    def __init__(
        self,
        n_channels: int,
        n_rows: int,
        n_frames: int,
        n_labels: int,
        n_features: int,
        width: int,
        depth: int,
        n_heads: int,
        dropout: float,
    ):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_channels * n_rows)
        self.embed_channel = nn.Linear(n_rows, n_features)
        self.electrode = nn.Parameter(torch.randn(n_channels, n_features) * 0.1)
        self.space = EncoderLayer(n_features, n_heads, dropout)
        self.space_norm = nn.LayerNorm(n_features)
        self.embed_window = nn.Linear(n_features, width)
        self.register_buffer("position", positional_encoding(n_frames, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.time = nn.Sequential(*(EncoderLayer(width, n_heads, dropout) for _ in range(depth)))
        self.time_norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        n_channels, _, n_frames = features.shape[1:]
        x = self.norm(features.flatten(1, 2)).unflatten(1, (n_channels, -1))  # (B, C, F, N)
        x = x.permute(0, 3, 1, 2).flatten(0, 1)  # (B * N, C, F)
        x = self.space(self.embed_channel(x) + self.electrode)
        x = self.space_norm(x).mean(dim=1).unflatten(0, (-1, n_frames))  # (B, N, n_features)
        x = self.time(self.dropout(self.embed_window(x) + self.position))
        return self.classifier(self.dropout(self.time_norm(x).mean(dim=1)))


@register_model
@with_spec(EMG_8X1000)
def st_transformer_emg(
    spec: FrontendSpec,
    n_labels: int,
    n_features: int = 128,
    width: int = 256,
    depth: int = 6,
    n_heads: int = 8,
    dropout: float = 0.1,
) -> nn.Module:
    """Encoder over electrodes, then windows, of EMG 8 x 16 x 7: 4,971,658 parameters, 44.65 M MACs.

    Raises:
        ConfigError: if the features are not those of EMG, the heads do not divide a width, or there are no layers.
    """
    if depth < 1:
        raise ConfigError(f"st_transformer_emg depth is {depth}, expected 1 or more")
    if spec.kind != "emg":
        raise ConfigError(f"st_transformer_emg takes EMG, got frontend.kind {spec.kind}; set data.signal.kind to emg")
    for name, size in (("n_features", n_features), ("width", width)):
        if size % 2 or size % n_heads:
            raise ConfigError(f"{name} is {size}, expected an even multiple of n_heads, {n_heads}")
    return SpatiotemporalTransformer(*spec.shape, n_labels, n_features, width, depth, n_heads, dropout)
