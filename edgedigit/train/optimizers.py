"""Optimisers and the schedules of their rate."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from edgedigit.config import FitConfig


def make_optimizer(model: nn.Module, config: FitConfig) -> Optimizer:
    """AdamW, or SGD with Nesterov momentum; weight decay on matrices and kernels only: norms, biases, positions, no."""
    groups = [{"params": [], "weight_decay": config.weight_decay}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and name.endswith("weight")
        groups[0 if decays else 1]["params"].append(parameter)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True)
    return torch.optim.AdamW(groups, lr=config.lr)


def make_schedulers(
    optimizer: Optimizer, config: FitConfig, epoch_steps: int
) -> tuple[lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau | None]:
    """What lowers the rate.

    Args:
        epoch_steps: steps of an epoch.

    Returns:
        A scheduler to step after every batch, and for `plateau` one to step with the loss after every epoch.
    """
    n_steps = config.epochs * epoch_steps
    if config.schedule == "one_cycle":
        return lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, n_steps, config.warmup_share)), None
    warmup = max(1, round(n_steps * config.warmup_share))
    rising = lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=max(1, warmup - 1))
    if config.schedule == "plateau":
        patience = config.decay_epochs - 1  # torch counts the epochs that it bears
        return rising, lr_scheduler.ReduceLROnPlateau(optimizer, factor=config.decay_factor, patience=patience)
    if config.schedule == "cosine":
        falling = lr_scheduler.CosineAnnealingLR(optimizer, max(1, n_steps - warmup))
    else:
        falling = lr_scheduler.StepLR(optimizer, config.decay_epochs * epoch_steps, config.decay_factor)
    return lr_scheduler.SequentialLR(optimizer, [rising, falling], [warmup]), None


def one_cycle(step: int, n_steps: int, warmup_share: float) -> float:
    """Factor on the peak rate: linear warm-up, then half a cosine down to 1 %."""
    warmup = max(1, round(n_steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, n_steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
