"""Keyword Transformer: every frame is a token, and a learnt class token gathers the answer.

Input is MFCC 40, windows of 30 ms every 10 ms. For 12 labels, with multiply-accumulates of one second, those of
attention included:

| size | width | heads | parameters | published | MACs |
|---|---|---|---|---|---|
| 1 | 64 | 1 | 607,308 | 607 k | 73,698,560 |
| 2 | 128 | 2 | 2,394,252 | 2,394 k | 264,182,272 |
| 3 | 192 | 3 | 5,360,844 | 5,361 k | 571,451,136 |

Source: Berg et al. 2021, "Keyword Transformer: A Self-Attention Model for Keyword Spotting"; without the second class
token of its distilled variant.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec

HEAD_WIDTH = 64  # channels of each attention head
INITIAL_STD = 0.02  # of weights and positions, truncated at two


class Attention(nn.Module):
    """Multi-head self-attention over all frames; queries, keys and values have no bias."""

    def __init__(self, width: int):
        super().__init__()
        self.n_heads = width // HEAD_WIDTH
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        # (B, N, width) to (B, heads, N, HEAD_WIDTH)
        query, key, value = (
            layer(x).unflatten(2, (self.n_heads, HEAD_WIDTH)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(query @ key.transpose(2, 3) / HEAD_WIDTH**0.5, dim=3)  # (B, heads, N, N)
        return self.project((weights @ value).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Attention and a two-layer net of four times the width, each normalised after its skip is added."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.attention = Attention(width)
        self.attention_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.mlp_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class KeywordTransformer(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_features: rows of all planes, C * F.
        n_frames: N; positions are learnt, so another number needs another model.
        n_labels: outputs.
        width: channels, a multiple of `HEAD_WIDTH`.
        depth: encoder layers.
        dropout: inside the encoder.
    """

    def __init__(self, n_features: int, n_frames: int, n_labels: int, width: int, depth: int, dropout: float):
        super().__init__()
        self.embed = nn.Linear(n_features, width)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + n_frames, width))
        self.layers = nn.Sequential(*(EncoderLayer(width, dropout) for _ in range(depth)))
        self.classifier = nn.Linear(width, n_labels)
        self.apply(_initialize)
        for parameter in (self.class_token, self.positions):
            nn.init.trunc_normal_(parameter, std=INITIAL_STD, a=-2 * INITIAL_STD, b=2 * INITIAL_STD)

    def forward(self, features: Tensor) -> Tensor:
        frames = self.embed(features.flatten(1, 2).transpose(1, 2))  # (B, N, width)
        x = torch.cat([self.class_token.expand(frames.shape[0], -1, -1), frames], dim=1) + self.positions
        return self.classifier(self.layers(x)[:, 0])


@register_model
@with_spec(FrontendSpec(kind="mfcc", win_length=240, n_fft=512, n_mels=80, f_min=20.0, n_mfcc=40, lifter=0, n_deltas=0))
def kwt(spec: FrontendSpec, n_labels: int, size: int = 1, depth: int = 12, dropout: float = 0.0) -> nn.Module:
    """KWT-1 to KWT-3: MFCC 40 x 98, 607 k to 5.4 M parameters.

    Args:
        size: 1, 2 or 3, the number of heads; the width is 64 times that.
        depth: encoder layers, 12 in the paper.
        dropout: inside the encoder; the paper uses none.

    Raises:
        ConfigError: if there is no model of this size, or `depth` is below 1.
    """
    if size not in (1, 2, 3):
        raise ConfigError(f"size is {size}, expected 1, 2 or 3")
    if depth < 1:
        raise ConfigError(f"depth is {depth}, expected 1 or more")
    n_channels, n_rows, n_frames = spec.shape
    return KeywordTransformer(n_channels * n_rows, n_frames, n_labels, size * HEAD_WIDTH, depth, dropout)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INITIAL_STD, a=-2 * INITIAL_STD, b=2 * INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
