"""Manifests: the JSON file beside each artifact that says what it is and proves its bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

from edgedigit.errors import ModelError


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def manifest_path(artifact: str | Path) -> Path:
    """`model.onnx` is described by `model.manifest.json` in the same folder."""
    artifact = Path(artifact)
    return artifact.with_name(f"{artifact.stem}.manifest.json")


def write_json(path: str | Path, values: object) -> None:
    """Write JSON under a temporary name and rename, so a reader never meets half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def write_manifest(artifact: str | Path, values: dict) -> dict:
    """Write the manifest of `artifact`; file name, size and hash are taken from the file itself."""
    artifact = Path(artifact)
    manifest = {
        "file": artifact.name,
        "sha256": sha256_of(artifact),
        "size_bytes": artifact.stat().st_size,
        **values,
    }
    write_json(manifest_path(artifact), manifest)
    return manifest


def read_manifest(artifact: str | Path) -> dict:
    """Read the manifest beside `artifact`.

    Raises:
        ModelError: if there is none or it is no JSON object.
    """
    path = manifest_path(artifact)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; export_models.py writes it beside {Path(artifact).name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}); run export_models.py again") from None
    if not isinstance(manifest, dict):
        raise ModelError(f"{path} holds {type(manifest).__name__}, expected a JSON object; run export_models.py again")
    return manifest


def verify_manifest(artifact: str | Path) -> dict:
    """Read the manifest and check the artifact's bytes against it.

    Raises:
        ModelError: if the manifest is missing or the hash differs.
    """
    manifest = read_manifest(artifact)
    got = sha256_of(artifact)
    if got != manifest.get("sha256"):
        raise ModelError(
            f"{artifact}: sha256 {got[:12]}… differs from its manifest's {str(manifest.get('sha256'))[:12]}…; "
            "the file is damaged or was replaced: run export_models.py again"
        )
    return manifest


def source_commit() -> str:
    """Short commit of the code that is running, "-dirty" appended if it was changed, or "unknown"."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + (
            "-dirty" if git("status", "--porcelain", "-uno", "--", ":/*.py", ":/configs") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
