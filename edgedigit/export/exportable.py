"""What every export format holds: a window of the signal in, calibrated probabilities out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedigit.compress.prune import fold
from edgedigit.models import WaveformModel


class Exportable(nn.Module):
    """A window (B, *signal.shape) to probabilities (B, n_labels): folded model, temperature, softmax."""

    def __init__(self, model: WaveformModel, temperature: float):
        super().__init__()
        self.model = fold(model).requires_grad_(False)
        self.temperature = temperature
        self.eval()

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.softmax(self.model(waveform) / self.temperature, dim=1)

    def example(self, batch: int = 2) -> Tensor:
        """An input of the right shape."""
        generator = torch.Generator().manual_seed(0)
        return 0.1 * torch.randn(batch, *self.model.spec.signal.shape, generator=generator)
