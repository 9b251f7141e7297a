"""Several processes that share each batch, as torchrun starts them; with one process all of this does nothing.

Every process prepares the same global batch and computes on its own rows. Gradients are averaged by
DistributedDataParallel; batch norm and dropout look at the global batch, so training is that of one process. They may
run on several machines: the run folder is the first process's alone, and the others are told what it holds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from edgedigit.errors import ConfigError, EdgedigitError, WorkerError

T = TypeVar("T")
TIMEOUT_S = 600  # in which a process must answer: the first one may render voices while the others wait


def n_processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0; process 0 alone writes files."""
    return distributed.get_rank() if n_processes() > 1 else 0


@contextmanager
def joined(device: str = "cpu", timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Join the processes that torchrun started, if it did, for as long as the block runs.

    Args:
        timeout_s: a process that does not answer for so long is given up.

    Raises:
        ConfigError: if the device is not the CPU.
        WorkerError: in the block, if another process ended or does not answer.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":  # how torchrun tells its processes
        yield
        return
    if device != "cpu":
        raise ConfigError(f"several processes train on the CPU only, got device {device}; start one without torchrun")
    me = f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"

    def stop(*_) -> None:  # torchrun ends those that are left when one has died
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise WorkerError(f"{me} was told to stop, as when another has ended; repair that and go on with --resume")

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        _meet(me, timeout_s)
        yield
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, which would come before the reason has been told
        if not _is_lost_connection(error):
            raise
        raise WorkerError(
            f"{me} has lost another one, which ended or hangs; repair that and go on with --resume"
        ) from None
    else:
        signal.signal(signal.SIGTERM, previous)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _meet(me: str, timeout_s: float) -> None:
    """Join the process group.

    Raises:
        WorkerError: if the others cannot be reached.
    """
    try:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=timeout_s))
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise WorkerError(
            f"{me} cannot reach the others; start all with the same --master-addr and port and, where a machine's "
            "own name resolves to 127.0.0.1, set GLOO_SOCKET_IFNAME to the network between them, such as eth0"
        ) from None


def _is_lost_connection(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and (isinstance(error, distributed.DistError) or "gloo" in str(error))


@contextmanager
def first_of_each_machine_first() -> Iterator[None]:
    """The first process of every machine runs the block, then the others: what it downloads or renders, they find."""
    if n_processes() == 1:
        yield
        return
    first_here = int(os.environ.get("LOCAL_RANK", rank())) == 0
    if not first_here:
        distributed.barrier()
    yield
    if first_here:
        distributed.barrier()


def from_first(read: Callable[[], T]) -> T:
    """What `read()` returns in process 0, in all of them: its disk alone holds the run, and others may have another.

    Raises:
        EdgedigitError: in all processes, if it does in process 0.
    """
    if n_processes() == 1:
        return read()
    told: list = [None]
    failure: Exception | None = None
    if rank() == 0:
        try:
            told = [(read(), None)]
        except (EdgedigitError, OSError) as error:
            told, failure = [(None, str(error))], error
    distributed.broadcast_object_list(told)
    value, why = told[0]
    if failure is not None:
        raise failure
    if why is not None:
        raise WorkerError(f"the first process cannot go on: {why}")
    return value


def check_alike(facts: Mapping[str, object]) -> None:
    """Refuse to train together what was started differently: batches would not be the same, or processes would hang.

    Args:
        facts: by name, what all processes need alike.

    Raises:
        ConfigError: in all processes, if one of them differs.
    """
    if n_processes() == 1:
        return
    everyone: list = [None] * n_processes()
    distributed.all_gather_object(everyone, dict(facts))
    differing = [name for name in facts if any(own[name] != everyone[0][name] for own in everyone)]
    if differing:
        raise ConfigError(
            f"{', '.join(differing)} differ between the processes; give every machine the same recordings and start "
            "train_distill.py on all with the same options"
        )


def share_of(batch_size: int) -> slice:
    """Rows of a global batch that this process computes on.

    Raises:
        ConfigError: if the batch cannot be divided evenly.
    """
    if batch_size % n_processes():
        raise ConfigError(f"a batch of {batch_size} clips cannot be shared evenly by {n_processes()} processes")
    rows = batch_size // n_processes()
    return slice(rank() * rows, (rank() + 1) * rows)


def mean(value: Tensor) -> Tensor:
    """Mean of a value over the processes, without gradient."""
    value = value.detach().clone()
    if n_processes() > 1:
        distributed.all_reduce(value)
        value /= n_processes()
    return value


def highest(value: Tensor) -> Tensor:
    """Highest of each value over the processes, without gradient."""
    value = value.detach().clone()
    if n_processes() > 1:
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return value


def in_shares(compute: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """`compute(rows)`, where every process computes a part and all get the whole."""
    if n_processes() == 1:
        return compute(rows)
    part = np.array_split(rows, n_processes())[rank()]
    parts: list = [None] * n_processes()
    distributed.all_gather_object(parts, compute(part) if len(part) else None)
    return np.concatenate([part for part in parts if part is not None])


def parallel(network: nn.Module) -> nn.Module:
    """The network as the processes train it together; its layers are changed in place where they look at the batch."""
    if n_processes() == 1:
        return network
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = GlobalBatchNorm  # same parameters and statistics, another forward
        elif type(module) in GLOBAL_DROPOUTS:
            module.__class__ = GLOBAL_DROPOUTS[type(module)]
    return nn.parallel.DistributedDataParallel(network, forward_sync_buffers=False)  # statistics stay the same


class _Sum(torch.autograd.Function):
    """Sum over the processes that passes gradients back to all of them."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone()
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return gradient


class GlobalBatchNorm(_BatchNorm):
    """Batch norm over the rows of all processes: SyncBatchNorm, which torch has for accelerators only."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...)."""
        if not self.training:
            return super().forward(x)
        shape = (1, -1, *[1] * (x.ndim - 2))
        values = x.float()  # under autocast as in torch's own: statistics in full precision
        own = torch.stack(torch.var_mean(values, [0, *range(2, x.ndim)], correction=0))  # (2, C): variances, means
        others = torch.zeros_like(own)
        # One row for each process, (P, 2, C); the sum gathers them.
        parts = _Sum.apply(torch.stack([own if i == rank() else others for i in range(n_processes())]))
        mean = parts[:, 1].mean(dim=0)
        variance = (parts[:, 0] + (parts[:, 1] - mean) ** 2).mean(dim=0)
        with torch.no_grad():
            n = n_processes() * values.numel() // len(mean)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / max(1, n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return ((values - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        """Any dimension: the layer that this one stands for has been built for it."""


class GlobalDropout(nn.Dropout):
    """Dropout whose mask is drawn for the rows of all processes, so their random numbers stay those of one."""

    draw = staticmethod(F.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Drop from (B, ...)."""
        if not self.training:
            return x
        mask = self.draw(x.new_ones(n_processes() * len(x), *x.shape[1:]), self.p)
        return x * mask[share_of(len(mask))]


class GlobalDropout1d(GlobalDropout):
    """Likewise for whole channels of (B, C, N)."""

    draw = staticmethod(F.dropout1d)


class GlobalDropout2d(GlobalDropout):
    """Likewise for whole channels of (B, C, F, N)."""

    draw = staticmethod(F.dropout2d)


GLOBAL_DROPOUTS = {nn.Dropout: GlobalDropout, nn.Dropout1d: GlobalDropout1d, nn.Dropout2d: GlobalDropout2d}
