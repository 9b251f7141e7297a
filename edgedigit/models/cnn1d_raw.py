"""A convolutional net over the waveform itself, whose first layer learns the filters that a spectrum would fix.

Source: Dai et al. 2017, "Very deep convolutional neural networks for raw waveforms": a first kernel of 10 ms with
stride 4, then kernels of 3 with pooling by 4. Dense layers after global pooling are this project's.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec

FIRST_KERNEL, FIRST_STRIDE = 80, 4  # samples: 10 ms and 0.5 ms at 8 kHz


class CNN1D(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_features: rows of all planes, C * F; the waveform is one.
        n_labels: outputs.
        widths: channels of each convolution; all but the last are followed by pooling by 4.
        hidden: widths of the dense layers after global pooling.
        channel_dropout: share of channels that each convolution drops whole.
        dropout: after each dense layer.
    """

    def __init__(
        self,
        n_features: int,
        n_labels: int,
        widths: tuple[int, ...],
        hidden: tuple[int, ...],
        channel_dropout: float,
        dropout: float,
    ):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features)
        layers: list[nn.Module] = []
        for i, (n_in, n_out) in enumerate(zip((n_features, *widths[:-1]), widths, strict=True)):
            geometry = (FIRST_KERNEL, FIRST_STRIDE, FIRST_KERNEL // 2) if i == 0 else (3, 1, 1)
            layers += [nn.Conv1d(n_in, n_out, *geometry, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]
            if i < len(widths) - 1:
                layers.append(nn.MaxPool1d(4, ceil_mode=True))
            layers.append(nn.Dropout1d(channel_dropout))
        self.layers = nn.Sequential(*layers)
        dense: list[nn.Module] = []
        for n_in, n_out in zip((widths[-1], *hidden[:-1]), hidden, strict=True):
            dense += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*dense)
        self.classifier = nn.Linear(hidden[-1], n_labels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.layers(self.norm(features.flatten(1, 2)))  # (B, C * F, N) to (B, widths[-1], N')
        return self.classifier(self.hidden(x.mean(dim=2)))


@register_model
@with_spec(FrontendSpec(kind="raw"))
def cnn1d_raw(
    spec: FrontendSpec,
    n_labels: int,
    widths=(64, 128, 128, 256, 256),
    hidden=(512, 256),
    channel_dropout: float = 0.1,
    dropout: float = 0.3,
) -> nn.Module:
    """Five convolutions and two dense layers on a waveform of 8000 samples: 640,908 parameters, 33.73 M MACs."""
    return CNN1D(spec.shape[0] * spec.shape[1], n_labels, tuple(widths), tuple(hidden), channel_dropout, dropout)
