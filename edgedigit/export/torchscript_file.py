"""TorchScript: a traced module for programs that embed libtorch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

from edgedigit.export.exportable import Exportable


def export_torchscript(model: Exportable, path: Path, facts: dict) -> None:
    """Write a traced module with `facts` beside the code as `facts.json` (`_extra_files`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # still what libtorch programs load
        traced = torch.jit.freeze(torch.jit.trace(model, model.example()))
        torch.jit.save(traced, str(path), _extra_files={"facts.json": json.dumps(facts)})
