"""What a folder of exported files still knows of the run that made it: enough to export it again without that run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedigit.config import Config, from_stored
from edgedigit.errors import ModelError
from edgedigit.manifest import verify_manifest
from edgedigit.models import WaveformModel
from edgedigit.train.checkpoints import build_model, load_checkpoint


@dataclass(frozen=True, eq=False)
class Exported:
    """An exported model.

    Attributes:
        config: of its run.
        compressed: what prune_and_quantize.py found, as far as an export needs it.
        model: the pruned student.
        made: its ONNX files, by kind.
        training_data: what its manifest says it was trained on.
    """

    config: Config
    compressed: dict
    model: WaveformModel
    made: dict[str, Path]
    training_data: dict


def read_exported(folder: Path, names: Mapping[str, str], checkpoint: str) -> Exported:
    """What export_models.py has written to a folder, its bytes checked against their manifests.

    Args:
        folder: with all files.
        names: of them, by kind.
        checkpoint: the student's.

    Raises:
        ModelError: if a file is missing, damaged, or INT8 was left out.
    """
    manifest = verify_manifest(_there(folder / checkpoint))
    made = {kind: folder / names[kind] for kind in ("fp32", "int8")}
    for path in made.values():
        verify_manifest(_there(path))
    try:
        results = json.loads((folder / "export_results.json").read_text(encoding="utf-8"))
        compressed = {key: results[key] for key in ("int8_speedup", "int8_loss")}
        compressed["default"] = next(kind for kind, name in names.items() if name == results["default"])
        compressed["calibration_clips"] = json.loads((folder / "calibration_clips.json").read_text(encoding="utf-8"))
        compressed |= {"calibration": manifest["calibration"], "int8_passed": True}  # else it had been left out
        config, training_data = from_stored(manifest["config"]), manifest["training_data"]
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise ModelError(f"{folder} is not what export_models.py writes ({type(error).__name__}: {error})") from None
    return Exported(config, compressed, build_model(load_checkpoint(folder / checkpoint)), made, training_data)


def _there(path: Path) -> Path:
    if not path.exists():
        raise ModelError(f"{path} is missing; --again-from takes a folder that export_models.py has written, INT8 too")
    return path
