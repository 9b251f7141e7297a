"""Structured pruning: whole channels leave, so the smaller net is smaller everywhere."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch.utils.flop_counter import FlopCounterMode

from edgedigit.errors import ConfigError
from edgedigit.models import WaveformModel, count_parameters, create_model

FINENESS = 200  # pruning proceeds by 1/FINENESS of the channels at a time until the target is met


def parameter_targets(n_params: int, target_sparsity: float, steps: int) -> list[int]:
    """Parameters that may remain after each step: equal shares leave, `target_sparsity` of them in all.

    Raises:
        ConfigError: if the sparsity is not in [0, 1) or there are no steps.
    """
    if not 0 <= target_sparsity < 1:
        raise ConfigError(f"target_sparsity is {target_sparsity}, expected 0 or more and below 1")
    if steps < 1:
        raise ConfigError(f"pruning_steps is {steps}, expected 1 or more")
    return [round(n_params * (1 - target_sparsity * (step + 1) / steps)) for step in range(steps)]


def prune_to(model: WaveformModel, max_params: int, round_to: int) -> WaveformModel:
    """Remove the channels of least group magnitude until at most `max_params` parameters remain.

    Args:
        model: left as it is.
        max_params: counted as inference will hold them, training-time branches folded.
        round_to: channel counts stay multiples of this.

    Returns:
        A pruned copy that `create_model` can rebuild from its `channels`.

    Source: Fang et al. 2023 (dependency graph, group magnitude), through torch-pruning.

    Raises:
        ConfigError: if the target cannot be met, or the model cannot be rebuilt with fewer channels.
    """
    import torch_pruning

    n_params, channels = folded_parameters(model), model.description()["channels"]
    if channels is None and n_params > max_params:
        raise ConfigError(f"{model.name} cannot be pruned; train another student or set target_sparsity to 0")
    pruned = deepcopy(model).eval()
    network = pruned.network
    # Norm statistics do not follow gradients; parameters must, for the dependency graph to be traced.
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    pruner = torch_pruning.pruner.BasePruner(
        network,
        torch.zeros(1, *model.spec.shape),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=False,  # layers shrink alike; ranked together, magnitudes would empty the early ones
        pruning_ratio=0.95,
        iterative_steps=FINENESS,
        round_to=round_to,
        ignored_layers=[network.classifier, *getattr(network, "kept_whole", ())],
    )
    for _ in range(FINENESS):
        if n_params <= max_params:
            return rebuild(pruned)
        pruner.step()
        if network.channels != channels:  # most steps, being rounded, remove nothing
            n_params, channels = folded_parameters(pruned), network.channels
    raise ConfigError(
        f"pruning stopped at {n_params} parameters, above the {max_params} asked for; lower target_sparsity or round_to"
    )


def rebuild(model: WaveformModel) -> WaveformModel:
    """The same net built afresh from its channels: what a checkpoint of it will give."""
    described = model.description()
    fresh = create_model(
        described["name"], described["n_labels"], channels=described["channels"], **described["kwargs"]
    )
    fresh.load_state_dict(model.state_dict())
    return fresh.eval()


def folded_parameters(model: WaveformModel) -> int:
    """Parameters once training-time branches are folded."""
    return count_parameters(fold(model))


def fold(model: WaveformModel) -> WaveformModel:
    """A copy whose training-time branches are single convolutions, in evaluation mode."""
    folded = deepcopy(model).eval()
    if hasattr(folded.network, "fold"):
        folded.network.fold()
    return folded


def count_macs(model: WaveformModel) -> int:
    """Multiply-accumulates of the network for one clip, features not counted."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        fold(model).network(torch.zeros(1, *model.spec.shape))
    features = sum(  # of an ensemble's members
        sum(counts.values()) for name, counts in counter.get_flop_counts().items() if name.endswith(".frontend")
    )
    return (counter.get_total_flops() - features) // 2
