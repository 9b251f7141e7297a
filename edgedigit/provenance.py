"""What a model file comes from: the configuration that trained its net, and the commits of this code that did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgedigit.config import Config, from_stored
from edgedigit.errors import ConfigError
from edgedigit.manifest import manifest_path, read_manifest, sha256_of, source_commit, write_json
from edgedigit.runtime import Recognizer
from edgedigit.runtime._paths import artifacts_dir

CONFIG_FILE = "config.json"  # of a run folder: the resolved configuration
COMMITS_FILE = "commits.json"  # of a run folder: those that trained its nets, in their order
UNKNOWN = "unknown"  # commit of what was trained before this was noted


def load_run_config(run_dir: Path) -> Config:
    """The configuration that a run was started with.

    Raises:
        ConfigError: if the folder holds no run, or its settings are damaged or not of this version.
    """
    path = run_dir / CONFIG_FILE
    if not path.exists():
        raise ConfigError(f"{run_dir} holds no run ({CONFIG_FILE} is missing); run train_distill.py first")
    return _parsed(_read(path), path, "or another --run-dir")


def enrolled_on(model: Path) -> dict | None:
    """What a model that `edgedigit.enroll` made says of the one that it was built on: `on`, `sha256`; else None."""
    told = Recognizer(model).info.metadata.get("enrolled")
    return None if told is None else json.loads(told)


def trained_file(model: Path) -> Path | None:
    """The file whose training made a model's net: itself or, if it was enrolled, the one that it was enrolled on.

    That one is looked for beside it and among the shipped models, and known by its bytes; None if it is in neither.
    """
    base = enrolled_on(model)
    if base is None:
        return model
    places = (folder / base["on"] for folder in (model.parent, artifacts_dir()))
    return next((path for path in places if path.is_file() and sha256_of(path) == base["sha256"]), None)


def config_of(model: Path) -> Config | None:
    """What a model's net was trained with: from its manifest or, where it lies in a run folder, from that.

    None where neither says so. An enrolled model has that of the model below it.

    Raises:
        ConfigError: if the settings are damaged or not of this version.
    """
    net = trained_file(model)
    stored = _stored(net) if net else {}
    return _parsed(stored, net, "or another model") if net and "data" in stored else None


def training_facts(*models: Path) -> dict:
    """What a result says of the training of the models that it is about.

    Returns:
        `seeds`, each once, empty where they are not known; and `trained_at`, commits as text, where the run folder of
        a model says.
    """
    nets = [trained_file(model) for model in models]
    stored = [_stored(net) if net else {} for net in nets]
    seeds = dict.fromkeys(settings["seed"] for settings in stored if "seed" in settings)
    return {"seeds": list(seeds)} | trained_at([commits_of(net.parent) if net else [] for net in nets])


def trained_at(commits: Sequence[Sequence[str]]) -> dict:
    """What a result says of the commits that trained the nets it is about, each net's own: `trained_at`, as text.

    Nothing where that is known of none.
    """
    told = dict.fromkeys(commit for of_one in commits for commit in of_one or [UNKNOWN])
    return {"trained_at": ", ".join(told)} if set(told) - {UNKNOWN} else {}


def note_commit(run_dir: Path) -> None:
    """Store the commit of this code in a run folder in which a training is about to begin or to go on.

    A folder that an earlier version has begun to fill, or other runs with their teachers, gets "unknown" before it.
    """
    commits, now = commits_of(run_dir), source_commit()
    if not commits and any(run_dir.glob("*.pt")):
        commits = [UNKNOWN]
    if now not in commits:
        write_json(run_dir / COMMITS_FILE, [*commits, now])


def commits_of(run_dir: Path) -> list[str]:
    """Commits that `note_commit` has stored in a run folder; none in those of earlier versions.

    Raises:
        ConfigError: if the file is damaged.
    """
    path = run_dir / COMMITS_FILE
    return _read(path) if path.exists() else []


def _stored(model: Path) -> dict:
    """The plain settings in a model's manifest or run folder; empty where there are none."""
    manifest = read_manifest(model) if manifest_path(model).exists() else {}
    if "config" in manifest:
        return manifest["config"]
    run = model.with_name(CONFIG_FILE)
    stored = _read(run) if run.exists() else {}
    return stored if isinstance(stored, dict) and "data" in stored else {}  # others call their files so, too


def _read(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON ({error}); train again in another --run-dir") from None


def _parsed(stored: dict, path: Path, otherwise: str) -> Config:
    try:
        return from_stored(stored)
    except ConfigError as error:
        raise ConfigError(
            f"{path} does not fit this version ({error}); use the one that trained it, {otherwise}"
        ) from None
