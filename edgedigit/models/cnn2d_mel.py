"""A plain convolutional net over the log-mel plane.

Source: classic layout, stages of 3x3 convolution and pooling as in Simonyan and Zisserman 2015, one convolution
a stage; global pooling, Lin et al. 2014; dropout of whole channels, Tompson et al. 2015.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec


class CNN2D(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: feature planes C.
        n_labels: outputs.
        widths: channels of each stage; every stage halves the plane.
        hidden: widths of the dense layers after global pooling.
        channel_dropout: share of channels that each stage drops whole.
        dropout: after each dense layer.
    """

    def __init__(
        self,
        n_channels: int,
        n_labels: int,
        widths: tuple[int, ...],
        hidden: tuple[int, ...],
        channel_dropout: float,
        dropout: float,
    ):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_channels)
        stages: list[nn.Module] = []
        for n_in, n_out in zip((n_channels, *widths[:-1]), widths, strict=True):
            stages += [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
            stages += [nn.MaxPool2d(2, ceil_mode=True), nn.Dropout2d(channel_dropout)]
        self.stages = nn.Sequential(*stages)
        dense: list[nn.Module] = []
        for n_in, n_out in zip((widths[-1], *hidden[:-1]), hidden, strict=True):
            dense += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*dense)
        self.classifier = nn.Linear(hidden[-1], n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.stages(self.norm(features))
        return self.classifier(self.hidden(x.mean(dim=(2, 3))))


@register_model
@with_spec(FrontendSpec(win_length=400, hop_length=152, n_fft=512, n_mels=64))
def cnn2d_mel(
    spec: FrontendSpec,
    n_labels: int,
    widths=(32, 64, 128, 256),
    hidden=(512, 256),
    channel_dropout: float = 0.1,
    dropout: float = 0.3,
) -> nn.Module:
    """Four convolutions and two dense layers on log-mel 64 x 51: 653,804 parameters, 48.39 M MACs."""
    return CNN2D(spec.shape[0], n_labels, tuple(widths), tuple(hidden), channel_dropout, dropout)
