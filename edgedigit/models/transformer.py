"""A transformer encoder whose tokens are the frames.

Source: Vaswani et al. 2017, with the norm before each part as in Xiong et al. 2020; frames of a spoken word as
tokens, Berg et al. 2021, "Keyword Transformer".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import LOG_MEL_64X32, FrontendSpec


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens (B, N, D).

    Args:
        width: D.
        n_heads: heads, each of D / n_heads.
        dropout: of attention weights.
    """

    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads = n_heads
        self.dropout = nn.Dropout(dropout)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)  # a bias of keys would cancel in the softmax
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        split = self.query_key_value(x).unflatten(2, (3, self.n_heads, -1))  # (B, N, 3, heads, D / heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (B, heads, N, D / heads) each
        # Written out: the fused operator is no faster on a few dozen tokens, and its products escape `count_macs`.
        weights = (query @ key.transpose(2, 3) / query.shape[3] ** 0.5).softmax(dim=3)  # (B, heads, N, N)
        mixed = self.dropout(weights) @ value
        return self.output(mixed.transpose(1, 2).flatten(2))  # (B, N, D)


class EncoderLayer(nn.Module):
    """Self-attention, then two dense layers on every token, each normed before and added to what it sees."""

    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, n_heads, dropout)
        self.dense_norm = nn.LayerNorm(width)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.dense(self.dense_norm(x)))


class Transformer(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_features: rows of all planes, C * F, of which each frame makes a token.
        n_frames: N.
        n_labels: outputs.
        width: of a token.
        depth: encoder layers.
        n_heads: of self-attention.
        dropout: within every layer and before the classifier.
    """

    def __init__(
        self, n_features: int, n_frames: int, n_labels: int, width: int, depth: int, n_heads: int, dropout: float
    ):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features)
        self.embed = nn.Linear(n_features, width)
        self.register_buffer("position", positional_encoding(n_frames, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(EncoderLayer(width, n_heads, dropout) for _ in range(depth)))
        self.final_norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        frames = self.norm(features.flatten(1, 2)).transpose(1, 2)  # (B, N, C * F)
        x = self.layers(self.dropout(self.embed(frames) + self.position))
        return self.classifier(self.dropout(self.final_norm(x).mean(dim=1)))


def positional_encoding(n_frames: int, width: int) -> Tensor:
    """Sines and cosines of the frame's number, wavelengths from 2 pi to 10000 * 2 pi frames: (N, D)."""
    rates = 10000.0 ** (-torch.arange(0, width, 2) / width)  # (D / 2,)
    angles = torch.arange(n_frames)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


@register_model
@with_spec(LOG_MEL_64X32)
def transformer(
    spec: FrontendSpec, n_labels: int, width: int = 160, depth: int = 4, n_heads: int = 4, dropout: float = 0.1
) -> nn.Module:
    """Encoder over frames of log-mel 64 x 32: 1,247,658 parameters, 40.96 M MACs.

    On MFCC 3 x 13 x 32: 1,243,608 parameters, 40.83 M MACs.
    On a spectrogram 513 x 32: 1,320,396 parameters, 43.26 M MACs.

    Raises:
        ConfigError: if `width` is odd or the heads do not divide it, there are no layers, or the features are the
            waveform, whose samples are too many tokens.
    """
    if depth < 1:
        raise ConfigError(f"transformer depth is {depth}, expected 1 or more")
    if width % 2 or width % n_heads:
        raise ConfigError(f"transformer width is {width}, expected an even multiple of n_heads, {n_heads}")
    if spec.kind == "raw":
        raise ConfigError("transformer takes frames, and frontend.kind raw has none; choose another kind")
    return Transformer(spec.shape[0] * spec.shape[1], spec.n_frames, n_labels, width, depth, n_heads, dropout)
