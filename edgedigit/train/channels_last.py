"""Convolutions over time as a CPU computes them fastest while they train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional


@contextmanager
def channels_last(network: nn.Module, device: str) -> Iterator[None]:
    """Within it, the convolutions over time of a network, and their norms, keep the channels of a frame side by side.

    What they compute is the same but for rounding, and so are their types, weights and shapes (B, C, N); only the
    order in memory is another, in which oneDNN and PyTorch are faster on a CPU; elsewhere nothing changes. PyTorch
    sums a norm's statistics more coarsely so: to some 1e-5 of a deviation over 10,000 frames, instead of 1e-7.
    """
    patched = [module for module in network.modules() if device == "cpu" and type(module) in FORWARDS]
    for module in patched:
        module.forward = partial(FORWARDS[type(module)], module)
    try:
        yield
    finally:
        for module in patched:
            del module.forward


def _convolve(conv: nn.Conv1d, x: Tensor) -> Tensor:
    if x.dim() != 3 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return nn.Conv1d.forward(conv, x)
    geometry = ((1, *conv.stride), (0, *conv.padding), (1, *conv.dilation))
    return functional.conv2d(_beside(x), conv.weight.unsqueeze(2), conv.bias, *geometry, conv.groups).squeeze(2)


def _normalize(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    if x.dim() != 3 or not norm.training or not norm.track_running_stats or norm.momentum is None:
        return nn.BatchNorm1d.forward(norm, x)
    norm.num_batches_tracked.add_(1)
    averages = (norm.running_mean, norm.running_var)
    return functional.batch_norm(
        _beside(x), *averages, norm.weight, norm.bias, training=True, momentum=norm.momentum, eps=norm.eps
    ).squeeze(2)


def _beside(x: Tensor) -> Tensor:
    """(B, C, N) -> (B, C, 1, N) with the channels innermost in memory."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


FORWARDS = {nn.Conv1d: _convolve, nn.BatchNorm1d: _normalize}
