"""What a folder of exported files still knows of the run that made it: enough to export it again without that run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedigit.config import Config, from_stored
from edgedigit.errors import ConfigError, ModelError
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
        manifest: the checkpoint's.
    """

    config: Config
    compressed: dict
    model: WaveformModel
    made: dict[str, Path]
    manifest: dict

    @property
    def weights(self) -> dict:
        """Where the weights come from: the commit that first exported them, and the SHA-256 of that checkpoint."""
        return self.manifest.get("weights") or {key: self.manifest[key] for key in ("commit", "sha256")}

    def check_recordings(self, training_data: dict, recordings: str) -> None:
        """Raise ModelError unless these are what the model was trained, selected and tested on, as far as it says.

        Args:
            training_data: of `model_facts`: how many of each source.
            recordings: `fingerprint` of all names.
        """
        told = self.manifest["training_data"]
        if training_data != told:
            raise ModelError(
                f"the model was trained on {told}, here are {training_data}; name its folder with --data-dir"
            )
        if recordings != self.manifest.get("recordings", recordings):
            raise ModelError("here are as many recordings, but others; name the model's folder with --data-dir")


def read_exported(folder: Path, names: Mapping[str, str], checkpoint: str) -> Exported:
    """What export_models.py has written to a folder, its bytes checked against their manifests.

    Args:
        folder: with all files.
        names: of them, by kind.
        checkpoint: the student's.

    Raises:
        ConfigError: if the model is of EMG, which has no thresholds of endpointing.
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
        config = from_stored(manifest["config"])
        manifest["training_data"], manifest["commit"]  # are asked for later
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise ModelError(f"{folder} is not what export_models.py writes ({type(error).__name__}: {error})") from None
    if config.data.signal.kind != "audio":
        raise ConfigError(f"{folder} takes {config.data.signal.kind}; thresholds of endpointing are of audio alone")
    return Exported(config, compressed, build_model(load_checkpoint(folder / checkpoint)), made, manifest)


def _there(path: Path) -> Path:
    if not path.exists():
        raise ModelError(f"{path} is missing; --again-from takes a folder that export_models.py has written, INT8 too")
    return path
