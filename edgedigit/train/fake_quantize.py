"""Training for eight bits: a network that rounds as its INT8 export will, while its weights stay in full precision.

Source: Jacob et al. 2018; gradients pass the rounding as if it were not there (Bengio et al. 2013).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from edgedigit.errors import ConfigError
from edgedigit.train import distributed

RANGE_RATE = 0.05  # share of the newest batch in an activation's range
TINY = 1e-8  # scale of what is 0 everywhere
WEIGHT_LIMIT = 127  # of symmetric int8
ACTIVATION_LEVELS = 255  # of uint8, above 0
# What `edgedigit.compress.quantize` leaves to ONNX Runtime: Conv, Gemm and MatMul, Add, Relu, ReduceMean.
QUANTIZED_MODULES = (_ConvNd, nn.Linear, nn.ReLU)
QUANTIZED_CALLS = (operator.add, operator.iadd, torch.add, torch.relu, nn.functional.relu, torch.mean, "mean", "relu")
RELU_CALLS = (torch.relu, nn.functional.relu, "relu")


class Activation(nn.Module):
    """Rounds a tensor (...) to 256 steps between the extremes that batches have, averaged over the last ones."""

    def __init__(self):
        super().__init__()
        self.register_buffer("extremes", torch.zeros(2))  # -lowest, highest; 0 always has a step
        self.register_buffer("seen", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        with torch.no_grad():
            now = distributed.highest(torch.stack([-x.amin(), x.amax()]).clamp_min(0.0))
            self.extremes.lerp_(now, RANGE_RATE if self.seen else 1.0)
            self.seen.fill_(True)
            scale = (self.extremes.sum() / ACTIVATION_LEVELS).clamp_min(TINY)
            zero_point = (self.extremes[0] / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, ACTIVATION_LEVELS)


def rounded_weight(weight: Tensor) -> Tensor:
    """Weights (C_out, ...) on the symmetric int8 grid of each output channel.

    A norm that follows multiplies whole channels, so the grid is also that of the weights it is folded into.
    """
    with torch.no_grad():
        scale = (weight.flatten(1).abs().amax(dim=1) / WEIGHT_LIMIT).clamp_min(TINY)
        zero_point = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_point, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)


class FakeQuantized(nn.Module):
    """A network with the roundings of its INT8 export; it shares the modules and weights of the one it is given.

    Args:
        network: training-time branches folded; features (B, C, F, N) to logits (B, n_labels).

    Attributes:
        ranges: of the activations that are rounded, by the name of their place; to be kept with a checkpoint.

    Raises:
        ConfigError: if the network's forward cannot be traced.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        try:
            self.network = fx.symbolic_trace(network)
        except (fx.proxy.TraceError, TypeError) as error:
            raise ConfigError(
                f"{type(network).__name__} cannot be trained for eight bits ({error}); set compress.qat_epochs to 0"
            ) from None
        self.ranges = nn.ModuleDict()
        for node in [node for node in self.network.graph.nodes if self._is_rounded(node)]:
            name = f"range_of_{node.name}"
            self.ranges[name] = Activation()
            self.network.add_submodule(name, self.ranges[name])
            with self.network.graph.inserting_after(node):
                rounded = self.network.graph.call_module(name)
            node.replace_all_uses_with(rounded)
            rounded.args = (node,)
        self.network.recompile()
        self.weights = [
            f"{name}.weight" for name, module in self.network.named_modules() if isinstance(module, _ConvNd | nn.Linear)
        ]

    def forward(self, features: Tensor) -> Tensor:
        weights = {name: rounded_weight(self.network.get_parameter(name)) for name in self.weights}
        return torch.func.functional_call(self.network, weights, (features,))

    def _is_rounded(self, node: fx.Node) -> bool:
        """Inputs and outputs of operators in INT8, but for what the export fuses: norms into convolutions, ReLUs."""
        users = list(self._users(node))
        if node.op in ("output", "get_attr") or isinstance(self._module(node), nn.Dropout):
            return False
        if len(users) == 1 and (self._is_folded_norm(users[0]) or self._is_relu(users[0])):
            return False
        return any(self._is_quantized(one) for one in (node, *users))

    def _users(self, node: fx.Node) -> Iterator[fx.Node]:
        """Where a result goes in the export, which has no dropout."""
        for user in node.users:
            yield from self._users(user) if isinstance(self._module(user), nn.Dropout) else (user,)

    def _is_quantized(self, node: fx.Node) -> bool:
        return (
            isinstance(self._module(node), QUANTIZED_MODULES)
            or (node.op != "call_module" and node.target in QUANTIZED_CALLS)
            or self._is_folded_norm(node)
        )

    def _is_folded_norm(self, node: fx.Node) -> bool:
        return isinstance(self._module(node), _BatchNorm) and isinstance(self._module(node.args[0]), _ConvNd)

    def _is_relu(self, node: fx.Node) -> bool:
        return isinstance(self._module(node), nn.ReLU) or (node.op != "call_module" and node.target in RELU_CALLS)

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self.network.get_submodule(node.target) if node.op == "call_module" else None
