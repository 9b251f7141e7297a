"""What every export format holds: a window of the signal in, calibrated probabilities out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgedigit.compress.prune import fold
from edgedigit.models import WaveformModel


class Exportable(nn.Module):
    """A window (B, *signal.shape) to probabilities (B, n_labels): folded model, temperature, prior, softmax.

    Args:
        temperature: divides the logits.
        label_bias: added to them then, one for each label, where labels are to be expected otherwise than training
            drew them; none leaves them as they are.
    """

    def __init__(self, model: WaveformModel, temperature: float, label_bias: Sequence[float] = ()):
        super().__init__()
        self.model = fold(model).requires_grad_(False)
        self.temperature = temperature
        bias = torch.tensor(label_bias) if any(label_bias) else None
        last = getattr(self.model.network, "classifier", None)
        if bias is not None and last is not None and last.bias is not None:
            with torch.no_grad():
                last.bias += temperature * bias
            bias = None  # the graph stays as it is: one dense layer and a softmax
        self.register_buffer("label_bias", bias)
        self.eval()

    def forward(self, waveform: Tensor) -> Tensor:
        logits = self.model(waveform) / self.temperature
        return torch.softmax(logits if self.label_bias is None else logits + self.label_bias, dim=1)

    def example(self, batch: int = 2) -> Tensor:
        """An input of the right shape."""
        generator = torch.Generator().manual_seed(0)
        return 0.1 * torch.randn(batch, *self.model.spec.signal.shape, generator=generator)
