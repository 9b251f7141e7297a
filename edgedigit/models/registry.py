"""Model registry: every architecture is built by name, from plain values that a checkpoint can hold."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from edgedigit.errors import ConfigError
from edgedigit.frontend import Frontend
from edgedigit.spec import FrontendSpec

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


class WaveformModel(nn.Module):
    """A front end and a network: waveform (B, T) to logits (B, n_labels).

    Args:
        name: registered name.
        spec: features that the network expects.
        network: maps features (B, C, F, N) to logits; if it was built with `channels`, it says them
            in an attribute of that name.
        kwargs: what the network was built with besides `spec`, `n_labels` and `channels`.
    """

    def __init__(self, name: str, spec: FrontendSpec, network: nn.Module, n_labels: int, kwargs: dict):
        super().__init__()
        self.name = name
        self.spec = spec
        self.n_labels = n_labels
        self.kwargs = kwargs
        self.frontend = Frontend(spec)
        self.network = network

    def forward(self, waveform: Tensor) -> Tensor:
        return self.network(self.frontend(waveform))

    def description(self) -> dict:
        """What `create_model` needs to build this model again, pruned or not."""
        return {
            "name": self.name,
            "n_labels": self.n_labels,
            "kwargs": {**self.kwargs, "frontend": self.spec.to_dict()},
            "channels": getattr(self.network, "channels", None),
        }


def register_model(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Register `builder(spec, n_labels, channels=None, **kwargs) -> nn.Module` under its own name.

    The builder carries its default features in an attribute `spec`, set by `with_spec`.
    """
    _BUILDERS[builder.__name__] = builder
    return builder


def with_spec(spec: FrontendSpec | Callable[..., FrontendSpec]):
    """Decorator that states the features a model expects unless it is told otherwise.

    Args:
        spec: the features, or a function of the model's own options that returns them.
    """

    def mark(builder):
        builder.spec = spec
        return builder

    return mark


def list_models() -> list[str]:
    """Registered names, sorted."""
    return sorted(_BUILDERS)


def summary(name: str) -> str:
    """What a registered model is: the first line of its file's docstring."""
    return (sys.modules[_BUILDERS[name].__module__].__doc__ or "").partition("\n")[0]


def create_model(
    name: str, n_labels: int = 10, channels: Sequence[int] | None = None, frontend: dict | None = None, **kwargs
) -> WaveformModel:
    """Build a model by name.

    Args:
        channels: widths of a pruned model, from its checkpoint.
        frontend: settings of `FrontendSpec` that differ from the model's own.
        kwargs: the model's own options.

    Raises:
        ConfigError: if the name or an option is unknown, or an option has a value that the model cannot have.
    """
    if name not in _BUILDERS:
        near = difflib.get_close_matches(name, _BUILDERS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(list_models())}"
        raise ConfigError(f"unknown model {name!r}; {hint}")
    builder = _BUILDERS[name]
    options = {} if channels is None else {"channels": list(channels)}
    try:
        default = builder.spec(**kwargs) if callable(builder.spec) else builder.spec
        spec = FrontendSpec.from_dict({**default.to_dict(), **(frontend or {})})
        network = builder(spec=spec, n_labels=n_labels, **options, **kwargs)
    except ConfigError:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:  # of torch, for odd options
        said = str(error).partition("\n")[0]
        raise ConfigError(
            f"model {name} cannot be built: {said}; its options are in edgedigit/models/{name}.py"
        ) from None
    return WaveformModel(name, spec, network, n_labels, kwargs)


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters; the fixed front end has none."""
    return sum(parameter.numel() for parameter in model.parameters())
