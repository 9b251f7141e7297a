"""What networks know before they answer: the input of the classifier, which a student is drawn towards.

Source: Romero et al. 2015 (FitNets): a learnt regressor brings the student's features to the teacher's width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models import WaveformModel


def classifiers(model: WaveformModel) -> list[nn.Linear]:
    """The last layers of a model, whose inputs (B, width) are its embeddings: one, or one of each ensemble member.

    Raises:
        ConfigError: if it has none.
    """
    found = [module for name, module in model.network.named_modules() if name.split(".")[-1] == "classifier"]
    if not found:
        raise ConfigError(
            f"{model.name} has no layer named classifier, whose input distill.feature_weight would match; "
            "set it to 0 or choose another model"
        )
    return found


@contextmanager
def embeddings_of(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """A list that holds the newest input (B, width) of each layer, for as long as the block runs."""
    seen: list = [None] * len(layers)

    def note(i: int, inputs: tuple) -> None:
        seen[i] = inputs[0].float()

    handles = [
        layer.register_forward_pre_hook(lambda layer, inputs, i=i: note(i, inputs)) for i, layer in enumerate(layers)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class Hinted(nn.Module):
    """A student's network that also guesses its teachers' embeddings; the guessing is dropped after training.

    Args:
        network: features (B, C, F, N) to logits (B, n_labels).
        layers: its classifiers.
        widths: of the embeddings to be guessed.
    """

    def __init__(self, network: nn.Module, layers: Sequence[nn.Linear], widths: Sequence[int]):
        super().__init__()
        self.network = network
        self.layers = list(layers)  # the network's own; in a plain list they are not registered twice
        n_in = sum(layer.in_features for layer in layers)
        self.projections = nn.ModuleList(nn.Linear(n_in, width) for width in widths)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, n_labels) and guesses (B, width), one for each of `widths`."""
        with embeddings_of(self.layers) as seen:
            logits = self.network(features)
        embedding = torch.cat(seen, dim=1)
        return logits, [projection(embedding) for projection in self.projections]
