"""Checkpoints: plain values and tensors only, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from edgedigit.errors import ModelError
from edgedigit.models import WaveformModel, create_model

FORMAT = 1
OTHER_MATERIAL = {
    "recordings": "other recordings",
    "noises": "other noises (data.noises)",
    "label_issues": "another list of label issues (data.label_issues)",
}


def save_checkpoint(path: str | Path, values: dict) -> None:
    """Write `values` under a temporary name, then rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    torch.save({"format": FORMAT, **values}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint.

    Raises:
        ModelError: if it is missing, damaged, holds code, or is of another format.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"checkpoint {path} is missing; run train_distill.py first") from None
    except Exception as error:  # damage makes the unpickler raise anything
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"checkpoint {path} cannot be read ({first[:80]}); train again or restore it") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ModelError(f"checkpoint {path} is not of format {FORMAT}; train again with this version")
    return values


def changed_material(stored: Mapping, drawn_from: Mapping[str, str]) -> list[str]:
    """What of `TrainingBatches.drawn_from` a checkpoint or summary states otherwise; older ones do not say it all."""
    return [what for what, digest in drawn_from.items() if stored.get(what, digest) != digest]


def build_model(checkpoint: dict) -> WaveformModel:
    """The model that a checkpoint describes, with its weights, in evaluation mode."""
    described = checkpoint["model"]
    model = create_model(
        described["name"], described["n_labels"], channels=described["channels"], **described["kwargs"]
    )
    if described.get("folded"):
        model.network.fold()
    model.load_state_dict(checkpoint["state"])
    return model.eval()


def describe(model: WaveformModel) -> dict:
    """The `model` entry of a checkpoint."""
    return {**model.description(), "folded": getattr(model.network, "folded", False)}
