"""What is to be compared: models, protocols and seeds, read from a YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from edgedigit import config as configuration
from edgedigit.config import Config, DataConfig, ModelConfig, merged
from edgedigit.crossval import folds_of
from edgedigit.errors import ConfigError
from edgedigit.spec import Signal
from edgedigit.train.pipeline import check_models

MODEL_FILE = "model.onnx"  # of each training


@dataclass(frozen=True)
class Protocol:
    """One way of dividing recordings.

    Attributes:
        name: of its folders and of its column.
        title: what the column says.
        settings: nested differences from the recipe; `data.split` may be `loso`, which stands for a split a speaker.
        headline: whether this is the accuracy that the plot and the recommendation look at.
    """

    name: str
    title: str
    settings: dict
    headline: bool = False


@dataclass(frozen=True)
class Task:
    """One training: a model on one split of a protocol, with one seed."""

    label: str  # of its folder
    name: str  # of its row: what `train_distill.py --model` takes, unless the file labels it
    protocol: str
    split: str
    seed: int
    settings: dict  # nested differences from the defaults, all of them
    folder: Path


@dataclass(frozen=True)
class Plan:
    """Everything that is to be trained, read from a YAML file."""

    title: str
    protocols: tuple[Protocol, ...]
    tasks: tuple[Task, ...]
    signal: Signal  # that all models take

    @property
    def headline(self) -> Protocol:
        """The protocol that models are ranked by."""
        return next((p for p in self.protocols if p.headline), self.protocols[-1])


def load_plan(path: Path, run_dir: Path, data_dir: str | None, models: Sequence[str] = ()) -> Plan:
    """Read a comparison.

    The file has `title`, `recipe` (differences from the defaults), `protocols` (by name: `title`, `settings`,
    `headline`), `models` and, where more than seed 0 is wanted, `seeds`. A model is a text such as
    `bc_resnet:tau=3`, or a mapping of `model` to such a text with `settings` of its own, a `label` where two would
    share one and, where not all are to be run, `protocols` or, for single folds, `splits`. It has no teachers unless
    its settings name some.

    Args:
        models: texts or labels; these alone instead of all of the file's. Texts that it has not are trained too.

    Raises:
        ConfigError: if the file cannot be read, a key, a setting or a model is unknown, a model cannot be built, or
            two have the same label.
    """
    import yaml

    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    required = {"title", "recipe", "protocols", "models"}
    _check_keys(path, stated, required | {"seeds"}, required)
    if not (isinstance(stated["protocols"], Mapping) and stated["protocols"]):
        raise ConfigError(f"{path}: protocols is {stated['protocols']!r}, expected a name and settings for each")
    seeds = stated.get("seeds", [0])
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds)):
        raise ConfigError(f"{path}: seeds is {seeds!r}, expected a list of whole numbers")
    recipe = stated["recipe"] or {}
    _check_mapping(f"{path}: recipe", recipe)
    protocols = []
    for name, values in stated["protocols"].items():
        _check_keys(f"{path}: protocol {name}", values, {"title", "settings", "headline"}, {"title", "settings"})
        _check_mapping(f"{path}: settings of protocol {name}", values["settings"])
        protocols.append(Protocol(name, **values))
    if not isinstance(stated["models"], list):
        raise ConfigError(f"{path}: models is {stated['models']!r}, expected a list")
    entries = [{"model": entry} if isinstance(entry, str) else entry for entry in stated["models"]]
    for entry in entries:
        _check_keys(f"{path}: model", entry, {"model", "label", "settings", "protocols", "splits"}, {"model"})
        _check_mapping(f"{path}: settings of {entry['model']}", entry.get("settings", {}))
        unknown = [name for name in entry.get("protocols", []) if name not in stated["protocols"]]
        if unknown:
            raise ConfigError(
                f"{path}: {entry['model']} is for protocol {', '.join(map(str, unknown))}, "
                f"expected some of {', '.join(stated['protocols'])}"
            )
    if models:
        entries = [entry for text in models for entry in _entries_of(text, entries)]
    labels = [_label_of(entry) for entry in entries]
    shared = sorted({label for label in labels if labels.count(label) > 1})
    if shared:
        raise ConfigError(f"{path}: {', '.join(shared)} names several models; folders are named so, give each a label")
    tasks = []
    for entry in entries:
        model = ModelConfig.from_text(entry["model"])
        label, name = _label_of(entry), entry.get("label", entry["model"])
        for protocol in protocols:
            if protocol.name not in entry.get("protocols", [p.name for p in protocols]):
                continue
            alone = {"teachers": [], "student": {**asdict(model), "label": label}}
            settings = merged(merged(merged(recipe, protocol.settings), alone), entry.get("settings", {}))
            if label not in {task.label for task in tasks}:  # better known now than when its turn comes
                check_models(configuration.from_dict(settings))
            for split in _splits(configuration.from_dict(settings), data_dir):
                for seed in seeds if split in entry.get("splits", [split]) else ():
                    folder = run_dir / label / f"{protocol.name}-{split.replace(':', '-')}{f'-seed{seed}' * bool(seed)}"
                    whole = merged(settings, {"data": {"split": split}, "seed": seed})
                    tasks.append(Task(label, name, protocol.name, split, seed, whole, folder))
        if label not in {task.label for task in tasks}:
            raise ConfigError(f"{path}: {label} has no split of {', '.join(entry.get('splits', ()))} in its protocols")
    signals = {configuration.from_dict(task.settings).data.signal for task in tasks}
    if len(signals) > 1:
        raise ConfigError(f"{path}: models take different signals, whose latencies do not compare; give each a file")
    return Plan(stated["title"], tuple(protocols), tuple(tasks), next(iter(signals), Signal()))


def _label_of(entry: Mapping) -> str:
    return entry.get("label", ModelConfig.from_text(entry["model"]).label)


def _entries_of(text: str, entries: Sequence[Mapping]) -> list[Mapping]:
    """What the file has under a label, else all that it has of a model, else what tables call so, else the model
    without settings of its own.
    """
    return (
        [entry for entry in entries if entry.get("label") == text]
        or [entry for entry in entries if entry["model"] == text]
        or [entry for entry in entries if _label_of(entry) == text]
        or [{"model": text}]
    )


def _check_mapping(where, values) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} holds {type(values).__name__}, expected keys and values")


def _check_keys(where, values, known: set, required: set) -> None:
    _check_mapping(where, values)
    unknown, missing = sorted(map(str, set(values) - known)), sorted(required - set(values))
    if unknown or missing:
        raise ConfigError(
            f"{where}: {'unknown ' + ', '.join(unknown) if unknown else 'missing ' + ', '.join(missing)}; "
            f"expected {', '.join(sorted(known))}"
        )


@cache
def _loso_splits(data: DataConfig, data_dir: str | None) -> tuple[str, ...]:
    return tuple(folds_of("loso", Config(data=data), data_dir))


def _splits(config: Config, data_dir: str | None) -> tuple[str, ...]:
    """`loso` stands for all of its folds, any other split for itself."""
    data = config.data
    if data.split != "loso":
        return (data.split,)
    return _loso_splits(DataConfig(sources=data.sources, labels=data.labels, signal=data.signal), data_dir)
