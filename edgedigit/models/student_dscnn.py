"""The student: depthwise-separable convolutions over time, with the mel bands, or maps of them, as channels.

A temporal net is chosen for its INT8 speed: every pointwise convolution is one dense matrix product
over a few dozen frames, and the depthwise ones are a small share of the work. Where noise covers some bands, patterns
that lie in few of them are what is left: maps find these first.

Source: the layout follows TC-ResNet (Choi et al. 2019) and MatchboxNet (Majumdar and Ginsburg 2020);
maps before it are the two-dimensional blocks that BC-ResNet (Kim et al. 2021) begins with, at one stage's cost;
the training-time branches are those of RepVGG (Ding et al. 2021) and MobileOne (Vasu et al. 2023); rows without their
mean are cepstral mean normalisation (Atal 1974), of log energies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class DepthwiseConv(nn.Module):
    """Depthwise convolution over time with batch norm; training-time branches fold into one kernel.

    Args:
        branches: the full kernel, a short kernel of 3, and (at stride 1) the identity are summed, each
            with its own norm, if True; otherwise the full kernel alone.
    """

    def __init__(self, channels: int, kernel_size: int, stride: int, branches: bool):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.main = _conv_norm(channels, kernel_size, stride)
        self.short = _conv_norm(channels, 3, stride) if branches else None
        self.skip = nn.BatchNorm1d(channels) if branches and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.main(x)
        if self.short is not None:
            y = y + self.short(x)
        if self.skip is not None:
            y = y + self.skip(x)
        return y

    @torch.no_grad()
    def fold(self) -> nn.Conv1d:
        """One convolution with bias that computes the same in evaluation mode."""
        weight, bias = _fold_norm(self.main[0].weight, self.main[1])
        if self.short is not None:
            short_weight, short_bias = _fold_norm(self.short[0].weight, self.short[1])
            margin = (self.kernel_size - 3) // 2
            weight = weight + nn.functional.pad(short_weight, (margin, margin))
            bias = bias + short_bias
        if self.skip is not None:
            identity = torch.zeros_like(weight)
            identity[:, 0, self.kernel_size // 2] = 1.0
            skip_weight, skip_bias = _fold_norm(identity, self.skip)
            weight, bias = weight + skip_weight, bias + skip_bias
        channels = weight.shape[0]
        conv = nn.Conv1d(channels, channels, self.kernel_size, self.stride, self.kernel_size // 2, groups=channels)
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
        return conv


class Block(nn.Module):
    """Depthwise over time, pointwise over channels, and a skip where the shape stays."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, stride: int, residual: bool, branches: bool):
        super().__init__()
        self.depthwise = DepthwiseConv(n_in, kernel_size, stride, branches)
        self.pointwise = nn.Conv1d(n_in, n_out, 1, bias=False)
        self.norm = nn.BatchNorm1d(n_out)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.pointwise(self.depthwise(x)))
        return torch.relu(x + y) if self.residual else torch.relu(y)


class Maps(nn.Module):
    """Small patterns of time and frequency, before anything mixes all bands: (B, C, F, N) to (B, maps * bands, N).

    Every stage halves the bands and has one residual depthwise-separable block.

    Args:
        n_planes: C: a row beside its deviation from its mean.
        n_rows: F, bands in their order.
        widths: maps of each stage.
    """

    def __init__(self, n_planes: int, n_rows: int, widths: tuple[int, ...]):
        super().__init__()
        self.halving, self.residual = nn.ModuleList(), nn.ModuleList()
        n_in = n_planes
        for stage, width in enumerate(widths):
            halving = _separable(n_in, width, (2, 1)) if stage else [nn.Conv2d(n_in, width, 3, (2, 1), 1, bias=False)]
            self.halving.append(nn.Sequential(*halving, nn.BatchNorm2d(width)))
            self.residual.append(nn.Sequential(*_separable(width, width, 1), nn.BatchNorm2d(width)))
            n_in, n_rows = width, (n_rows + 1) // 2
        self.n_outputs = n_in * n_rows

    def forward(self, x: Tensor) -> Tensor:
        for halving, residual in zip(self.halving, self.residual, strict=True):
            x = torch.relu(halving(x))
            x = torch.relu(x + residual(x))
        return x.flatten(1, 2)


def _separable(n_in: int, n_out: int, stride: int | tuple[int, int]) -> list[nn.Module]:
    depthwise = nn.Conv2d(n_in, n_in, 3, stride, 1, groups=n_in, bias=False)
    return [depthwise, nn.BatchNorm2d(n_in), nn.Conv2d(n_in, n_out, 1, bias=False)]


class StudentDSCNN(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_features: rows of all planes, C * F.
        n_labels: outputs.
        widths: channels of each stage.
        depths: blocks in each stage; the first block of every stage but the first halves the frame rate.
        kernels: depthwise kernel of each stage, in frames of that stage, odd.
        stem_stride: frames that the first convolution skips.
        branches: training-time branches in the depthwise convolutions.
        dropout: before the classifier.
        channels: outputs of the stem and of each block, where pruning has changed them.
        deviations: the stem is also given every row's deviation from its mean over the clip, from which steady noise
            and the microphone's colour are gone.
        maps: of each stage of `Maps` before the stem, which pruning leaves whole; empty for none.
        stem_kernel: frames that the stem looks at, odd.

    Raises:
        ConfigError: if stages are described by lists of different lengths, a kernel is even or, but for the stem's,
            below 3, or a number of channels or maps is below 1.
    """

    def __init__(
        self,
        n_features: int,
        n_labels: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        kernels: tuple[int, ...],
        stem_stride: int,
        branches: bool,
        dropout: float,
        channels: list[int] | None,
        deviations: bool,
        maps: tuple[int, ...],
        stem_kernel: int,
    ):
        super().__init__()
        if not len(widths) == len(depths) == len(kernels):
            raise ConfigError(f"widths {widths}, depths {depths} and kernels {kernels} must name as many stages")
        if any(kernel < 3 or kernel % 2 == 0 for kernel in kernels):
            raise ConfigError(f"kernels are {kernels}, expected odd numbers from 3")
        if stem_kernel < 1 or stem_kernel % 2 == 0:
            raise ConfigError(f"stem_kernel is {stem_kernel}, expected an odd number from 1")
        if any(width < 1 for width in maps):
            raise ConfigError(f"maps are {maps}, expected numbers from 1")
        if any(width < 1 for width in widths) or not any(depths):
            raise ConfigError(f"widths {widths} and depths {depths} leave nothing to compute")
        layout = [(stage, position) for stage, depth in enumerate(depths) for position in range(depth)]
        if channels is None:
            channels = [widths[0], *(widths[stage] for stage, _ in layout)]
        self.norm = nn.BatchNorm1d(n_features)
        self.deviations = deviations
        self.maps = Maps(1 + deviations, n_features, maps) if maps else None
        n_rows = self.maps.n_outputs if maps else n_features * (1 + deviations)
        self.stem = nn.Conv1d(n_rows, channels[0], stem_kernel, stem_stride, stem_kernel // 2, bias=False)
        self.stem_norm = nn.BatchNorm1d(channels[0])
        self.blocks = nn.ModuleList(
            Block(
                n_in=channels[i],
                n_out=channels[i + 1],
                kernel_size=kernels[stage],
                stride=2 if stage > 0 and position == 0 else 1,
                residual=position > 0 or stage == 0,
                branches=branches,
            )
            for i, (stage, position) in enumerate(layout)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels[-1], n_labels)

    folded = False  # whether the training-time branches are single convolutions

    @property
    def channels(self) -> list[int]:
        """Present widths, as the constructor takes them."""
        return [self.stem.out_channels, *(block.pointwise.out_channels for block in self.blocks)]

    @property
    def kept_whole(self) -> list[nn.Module]:
        """What pruning takes no channel from."""
        return [] if self.maps is None else [self.maps]

    def forward(self, features: Tensor) -> Tensor:
        x = self.norm(features.flatten(1, 2))  # (B, C * F, N)
        planes = [x, x - x.mean(dim=2, keepdim=True)] if self.deviations else [x]
        if self.maps is not None:
            x = self.maps(torch.stack(planes, dim=1))
        elif self.deviations:
            x = torch.cat(planes, dim=1)
        x = torch.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.dropout(x.mean(dim=2)))

    @torch.no_grad()
    def fold(self) -> StudentDSCNN:
        """Replace training-time branches by the single convolutions that they amount to, in place."""
        for block in self.blocks:
            if isinstance(block.depthwise, DepthwiseConv):
                block.depthwise = block.depthwise.fold()
        self.folded = True
        return self


@register_model
@with_spec(FrontendSpec())
def student_dscnn(
    spec: FrontendSpec,
    n_labels: int,
    widths=(64, 80, 112),
    depths=(2, 2, 2),
    kernels=(9, 9, 9),
    stem_stride: int = 2,
    branches: bool = True,
    dropout: float = 0.1,
    channels=None,
    deviations: bool = False,
    maps=(),
    stem_kernel: int = 5,
) -> nn.Module:
    """Temporal depthwise-separable student on log-mel 40 x 99: 61,018 parameters, 1.73 M MACs.

    Counted before pruning, training-time branches folded.

    Raises:
        ConfigError: if an option has a value that the net cannot have, or there are `maps` and no bands side by side.
    """
    if maps and (spec.shape[0] > 1 or spec.shape[1] < 2 ** len(maps)):
        raise ConfigError(
            f"maps={list(maps)} needs one plane of at least {2 ** len(maps)} bands, got features of {spec.shape[0]} x "
            f"{spec.shape[1]}; leave maps out or take another front end"
        )
    return StudentDSCNN(
        n_features=spec.shape[0] * spec.shape[1],
        n_labels=n_labels,
        widths=widths,
        depths=depths,
        kernels=kernels,
        stem_stride=stem_stride,
        branches=branches,
        dropout=dropout,
        channels=channels,
        deviations=deviations,
        maps=tuple(maps),
        stem_kernel=stem_kernel,
    )


def _conv_norm(channels: int, kernel_size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, channels, kernel_size, stride, kernel_size // 2, groups=channels, bias=False),
        nn.BatchNorm1d(channels),
    )


def _fold_norm(weight: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return weight * scale[:, None, None], norm.bias - norm.running_mean * scale
