"""Several nets, each with its own front end, whose log-probabilities are mixed with weights that are learnt.

The ensemble's own features are the waveform as it is, so it fits wherever one front end and one network are
expected; what its members see is computed inside the network.

Source: product of experts, Hinton 2002, with softmax weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.models.registry import WaveformModel, create_model, register_model, with_spec
from edgedigit.spec import LOG_MEL_64X32, MFCC_13X32, SPECTROGRAM_513X32, FrontendSpec

MEMBERS = (  # one view of the second for each
    {"name": "resnet_se", "kwargs": {"frontend": LOG_MEL_64X32.to_dict()}},
    {"name": "effnet", "kwargs": {"frontend": SPECTROGRAM_513X32.to_dict()}},
    {"name": "transformer", "kwargs": {"frontend": MFCC_13X32.to_dict()}},
)


class WeightedEnsemble(nn.Module):
    """Waveforms (B, 1, 1, T) to logits (B, n_labels).

    Args:
        members: waveform (B, T) to logits (B, n_labels) each.
    """

    def __init__(self, members: Sequence[WaveformModel]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.log_weights = nn.Parameter(torch.zeros(len(members)))  # their softmax weighs; equal at first

    folded = False  # whether members' training-time branches are single convolutions

    def forward(self, features: Tensor) -> Tensor:
        waveform = features.flatten(1)  # (B, T)
        answers = []
        for member in self.members:
            with torch.autocast("cpu", enabled=False):  # a logarithm of 8 bits would be another feature
                seen = member.frontend(waveform)
            answers.append(member.network(seen).float().log_softmax(dim=1))
        weights = self.log_weights.softmax(dim=0)
        return (torch.stack(answers, dim=2) * weights).sum(dim=2)  # (B, n_labels, members) to (B, n_labels)

    def fold(self) -> WeightedEnsemble:
        """Fold the training-time branches of members that have them, in place."""
        for member in self.members:
            if hasattr(member.network, "fold"):
                member.network.fold()
        self.folded = True
        return self


@register_model
@with_spec(FrontendSpec(kind="raw", preemphasis=0.0, level_normalize=False))
def ensemble(spec: FrontendSpec, n_labels: int, members: Sequence[dict] = MEMBERS) -> nn.Module:
    """Three large nets on a waveform of 8000 samples: 5,332,667 parameters, 193.88 M MACs.

    The residual net sees log-mel 64 x 32, the inverted bottlenecks a spectrogram 513 x 32, the transformer
    MFCC 3 x 13 x 32. All train together.

    Args:
        members: `name` and `kwargs` of each, as `create_model` takes them; features are settings of the members.

    Raises:
        ConfigError: if there are no members, or the ensemble itself or a member is given another waveform.
    """
    if spec != ensemble.spec:
        raise ConfigError("ensemble takes the waveform as it is; set frontend in the kwargs of its members")
    if not members:
        raise ConfigError("ensemble has no members; name at least one")
    for member in members:
        if "name" not in member or set(member) - {"name", "kwargs"}:
            raise ConfigError(f"a member of ensemble is {member}, expected its name and kwargs")
    models = [create_model(member["name"], n_labels, **member.get("kwargs", {})) for member in members]
    window = (spec.sample_rate, spec.n_samples)
    if any((model.spec.sample_rate, model.spec.n_samples) != window for model in models):
        raise ConfigError(f"members of ensemble must all take {spec.n_samples} samples at {spec.sample_rate} Hz")
    return WeightedEnsemble(models)
