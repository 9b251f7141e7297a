"""Mobile inverted bottlenecks with squeeze-and-excitation over the time-frequency plane.

Source: EfficientNet, Tan and Le 2019; inverted bottlenecks, Sandler et al. 2018; squeeze-and-excitation, Hu et al.
2018; SiLU, Ramachandran et al. 2017. Stages are fewer than EfficientNet's, the plane being a twenty-fifth of an image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.models.resnet_se import SqueezeExcitation
from edgedigit.spec import LOG_MEL_64X32, FrontendSpec


class InvertedBottleneck(nn.Module):
    """Pointwise expansion, depthwise convolution, excitation, pointwise projection, and a skip where the shape stays.

    Args:
        n_in: channels before.
        n_out: channels after.
        expansion: channels of the depthwise convolution for each of `n_in`.
        kernel_size: of the depthwise convolution, odd.
        stride: of the depthwise convolution.
    """

    def __init__(self, n_in: int, n_out: int, expansion: int, kernel_size: int, stride: int):
        super().__init__()
        n_wide = expansion * n_in
        margin = kernel_size // 2
        expand = [nn.Conv2d(n_in, n_wide, 1, bias=False), nn.BatchNorm2d(n_wide), nn.SiLU()]
        self.body = nn.Sequential(
            *(expand if expansion > 1 else ()),
            nn.Conv2d(n_wide, n_wide, kernel_size, stride, margin, groups=n_wide, bias=False),
            nn.BatchNorm2d(n_wide),
            nn.SiLU(),
            SqueezeExcitation(n_wide, reduction=4 * expansion),  # to a quarter of the channels before expansion
            nn.Conv2d(n_wide, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.residual = n_in == n_out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class EffNet(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: feature planes C.
        n_labels: outputs.
        widths: channels of the first convolution, of each stage, and of the last, pointwise convolution.
        depths: bottlenecks in each stage; the first of every stage but the first halves the plane.
        kernels: depthwise kernel of each stage.
        expansion: of every bottleneck but the first stage's, which has 1.
        dropout: before the classifier.
    """

    def __init__(
        self,
        n_channels: int,
        n_labels: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        kernels: tuple[int, ...],
        expansion: int,
        dropout: float,
    ):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_channels)
        self.stem = nn.Sequential(
            nn.Conv2d(n_channels, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.SiLU()
        )
        blocks = []
        for stage, (depth, kernel_size) in enumerate(zip(depths, kernels, strict=True)):
            for position in range(depth):
                blocks.append(
                    InvertedBottleneck(
                        n_in=widths[stage] if position == 0 else widths[stage + 1],
                        n_out=widths[stage + 1],
                        expansion=1 if stage == 0 else expansion,
                        kernel_size=kernel_size,
                        stride=2 if stage > 0 and position == 0 else 1,
                    )
                )
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Conv2d(widths[-2], widths[-1], 1, bias=False), nn.BatchNorm2d(widths[-1]), nn.SiLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(self.norm(features))))
        return self.classifier(self.dropout(x.mean(dim=(2, 3))))


@register_model
@with_spec(LOG_MEL_64X32)
def effnet(
    spec: FrontendSpec,
    n_labels: int,
    widths=(32, 24, 32, 64, 128, 184, 640),
    depths=(1, 2, 3, 3, 2),
    kernels=(3, 3, 5, 3, 5),
    expansion: int = 6,
    dropout: float = 0.2,
) -> nn.Module:
    """Inverted bottlenecks on log-mel 64 x 32: 1,789,976 parameters, 17.08 M MACs.

    On MFCC 3 x 13 x 32: 1,790,556 parameters, 4.84 M MACs.
    On a spectrogram 513 x 32: 1,789,976 parameters, 137.25 M MACs.
    """
    network = EffNet(spec.shape[0], n_labels, tuple(widths), tuple(depths), tuple(kernels), expansion, dropout)
    return network.to(memory_format=torch.channels_last)
