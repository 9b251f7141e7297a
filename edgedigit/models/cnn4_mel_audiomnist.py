"""Four convolutions over the log-mel plane that do not see padding, for clips much shorter than the window.

Recordings of AudioMNIST last 0.3 to 1 s. Frames in which every band lies at the floor hold digital silence only,
so they are left out of every layer and of the pooling: the answer does not depend on how much silence there is.
Any background, recorded or added in training, lies above that floor; then the mask keeps every frame.

Source: classic layout; initialisation, He et al. 2015; AudioMNIST, Becker et al. 2018.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.features import EPSILON
from edgedigit.models.registry import register_model, with_spec
from edgedigit.spec import FrontendSpec

FLOOR_MARGIN = 0.1  # natural logarithm: less than 10 % of the floor's power on top of it is silence


class MaskedCNN(nn.Module):
    """Features (B, C, F, N) to logits (B, n_labels).

    Args:
        n_channels: feature planes C.
        n_labels: outputs.
        level_rows: rows of the first plane that tell whether a frame is silent; the loudest of them counts.
        floor: their value in digital silence.
        widths: channels of the four layers, each followed by pooling by 2.
        dropout: before the classifier.
    """

    def __init__(
        self, n_channels: int, n_labels: int, level_rows: int, floor: float, widths: tuple[int, ...], dropout: float
    ):
        super().__init__()
        self.level_rows = level_rows
        self.floor = floor
        self.norm = nn.BatchNorm2d(n_channels)
        pairs = zip((n_channels, *widths[:-1]), widths, strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(n_in, n_out, 3, padding=1) for n_in, n_out in pairs)
        self.halve = nn.MaxPool2d(2, ceil_mode=True)
        self.halve_mask = nn.MaxPool2d((1, 2), ceil_mode=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], n_labels)
        for layer in self.convs:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def mask(self, features: Tensor) -> Tensor:
        """(B, 1, 1, N): 1 where a frame holds sound, 0 where it is at the floor."""
        level = features[:, :1, : self.level_rows].amax(dim=2, keepdim=True)
        return (level > self.floor + FLOOR_MARGIN).to(features.dtype)

    def forward(self, features: Tensor) -> Tensor:
        mask = self.mask(features)
        x = self.norm(features) * mask
        for conv in self.convs:
            x = self.halve(torch.relu(conv(x)) * mask)  # outputs are not negative: silence never is the maximum
            mask = self.halve_mask(mask)
        x = x * mask
        share = self.pool(mask).clamp_min(1e-3)  # of frames that hold sound; a silent clip has none
        x = (self.pool(x) / share).flatten(1)  # (B, widths[-1])
        return self.classifier(self.dropout(x))


@register_model
@with_spec(FrontendSpec(win_length=400, hop_length=160, n_fft=512, n_mels=64))
def cnn4_mel_audiomnist(spec: FrontendSpec, n_labels: int, widths=(16, 32, 64, 128), dropout: float = 0.3) -> nn.Module:
    """Four masked convolutions on log-mel 64 x 49: 98,444 parameters, 12.10 M MACs.

    Raises:
        ConfigError: if the features are the waveform, which has no frames to mask.
    """
    if spec.kind == "raw":
        raise ConfigError("cnn4_mel_audiomnist masks frames, and frontend.kind raw has none; choose another kind")
    level_rows = 1 if spec.kind == "mfcc" else spec.shape[1]  # the first cepstral row is the log energy
    floor = math.log(max(spec.power_floor, EPSILON))
    return MaskedCNN(spec.shape[0], n_labels, level_rows, floor, tuple(widths), dropout)
