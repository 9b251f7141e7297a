"""DS-CNN: depthwise-separable convolutions over the time-frequency plane, the field's reference for small devices.

The sizes of the paper take MFCC 10 in windows of 40 ms every 20 ms. The figure it publishes for each is no parameter
count but the bytes of an INT8 model in memory: weights and biases with norms folded, and the largest input and output
of one layer. For 12 labels, with multiply-accumulates of one second:

| size | trained parameters | with norms folded | activations | bytes together | published | MACs |
|---|---|---|---|---|---|---|
| s | 23,180 | 22,604 | 16,000 | 38,604 | 38.6 KB | 2,656,768 |
| m | 136,580 | 135,032 | 54,180 | 189,212 | 189.2 KB | 9,816,384 |
| l | 413,736 | 410,700 | 86,940 | 497,640 | 497.6 KB | 28,327,812 |

MLPerf Tiny's keyword model is the size s; the 23.8 k parameters given for it include 576 biases that its convolutions
keep in front of their norms.

Source: Zhang et al. 2017, "Hello Edge: Keyword Spotting on Microcontrollers".
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class Layout(NamedTuple):
    """What differs between sizes; strides are (rows, frames)."""

    width: int  # channels of every layer
    depth: int  # depthwise-separable blocks
    stem_stride: tuple[int, int]
    first_stride: tuple[int, int]  # of the first block; the others keep the plane
    margin: tuple[int, int]  # rows and frames of zeros after the features: for kernels of even size


LAYOUTS = {
    "s": Layout(64, 4, stem_stride=(2, 2), first_stride=(1, 1), margin=(0, 1)),
    "m": Layout(172, 4, stem_stride=(1, 2), first_stride=(2, 2), margin=(1, 1)),
    "l": Layout(276, 5, stem_stride=(1, 2), first_stride=(2, 2), margin=(1, 1)),
}
LOG_MEL = FrontendSpec(hop_length=160)
HELLO_EDGE = FrontendSpec(
    kind="mfcc", win_length=320, hop_length=160, n_fft=512, f_min=20.0, n_mfcc=10, lifter=0, n_deltas=0
)


class DSCNN(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: feature planes C.
        n_labels: outputs.
        layout: widths, depth and strides.
        normalize: batch norm of the features, which the paper does without.
        dropout: before the classifier.
    """

    def __init__(self, n_channels: int, n_labels: int, layout: Layout, normalize: bool, dropout: float):
        super().__init__()
        width = layout.width
        self.norm = nn.BatchNorm2d(n_channels) if normalize else nn.Identity()
        self.margin = nn.ZeroPad2d((0, layout.margin[1], 0, layout.margin[0])) if any(layout.margin) else nn.Identity()
        self.stem = nn.Sequential(
            nn.Conv2d(n_channels, width, (4, 10), layout.stem_stride, (1, 4), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            *(_block(width, layout.first_stride if position == 0 else (1, 1)) for position in range(layout.depth))
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.blocks(self.stem(self.margin(self.norm(features))))
        return self.classifier(self.dropout(x.mean(dim=(2, 3))))


def _features(size: str | None = None, **_) -> FrontendSpec:
    return LOG_MEL if size is None else HELLO_EDGE


@register_model
@with_spec(_features)
def ds_cnn(
    spec: FrontendSpec,
    n_labels: int,
    size: str | None = None,
    width: int | None = None,
    depth: int | None = None,
    dropout: float = 0.1,
) -> nn.Module:
    """DS-CNN on log-mel 40 x 50, 23 k parameters; with a size, the paper's on MFCC 10 x 49, 23 k to 414 k.

    Args:
        size: s, m or l of the paper, in either case; it states everything but the dropout.
        width: channels of every layer where no size is given, 64 by default.
        depth: depthwise-separable blocks where no size is given, 4 by default.
        dropout: before the classifier.

    Raises:
        ConfigError: if the size is unknown, or `width` or `depth` would contradict it.
    """
    if size is None:
        width, depth = 64 if width is None else width, 4 if depth is None else depth
        layout = Layout(width, depth, stem_stride=(2, 2), first_stride=(1, 1), margin=(0, 0))
        return DSCNN(spec.shape[0], n_labels, layout, normalize=True, dropout=dropout)
    if str(size).lower() not in LAYOUTS:
        raise ConfigError(f"size is {size!r}, expected one of {', '.join(LAYOUTS)}")
    if width is not None or depth is not None:
        raise ConfigError(f"size {size} states width and depth; leave them out, or the size")
    return DSCNN(spec.shape[0], n_labels, LAYOUTS[str(size).lower()], normalize=False, dropout=dropout)


def _block(width: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
