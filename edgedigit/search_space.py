"""What a search may change: settings of `edgedigit.config` with their ranges, stated in YAML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedigit.config import Config, read_settings, with_setting
from edgedigit.errors import ConfigError

KINDS = ("uniform", "log", "int", "log_int", "choice")
FIXED = {  # sections that no trial may differ in
    "data": "every trial is measured on the same recordings",
    "gates": "gates judge a product, not a trial",
    "compress": "trials are not compressed",
    "threads": "it changes no result",
    "device": "it changes no result",
}
OF_TEACHERS = ("distill", "fit_teacher", "precision")  # sections that nothing depends on without a teacher


@dataclass(frozen=True)
class Dimension:
    """One setting and the values that it may take.

    Args:
        key: dotted, such as "fit_student.lr".
        kind: one of `KINDS`; `log` and `log_int` are even in the logarithm.
        values: lowest and highest, both possible; of `choice` all.
    """

    key: str
    kind: str
    values: tuple

    def __post_init__(self):
        where = f"search space, {self.key}"
        if self.kind not in KINDS:
            raise ConfigError(f"{where}: {self.kind!r} is unknown, expected one of {', '.join(KINDS)}")
        if self.kind == "choice":
            if len(set(self.names)) < len(self.names) or not self.values:
                raise ConfigError(f"{where}: choice is {list(self.values)}, expected different values")
            return
        number = int if self.kind in ("int", "log_int") else (int, float)
        if not (len(self.values) == 2 and all(isinstance(v, number) and math.isfinite(v) for v in self.values)):
            kind = "whole numbers" if number is int else "numbers"
            raise ConfigError(f"{where}: {self.kind} is {list(self.values)}, expected two {kind}, [lowest, highest]")
        if not self.values[0] < self.values[1] or (self.kind.startswith("log") and self.values[0] <= 0):
            above = " and above 0" if self.kind.startswith("log") else ""
            raise ConfigError(f"{where}: {self.kind} is {list(self.values)}, expected the lowest first{above}")

    @property
    def names(self) -> list:
        """Of the values of a `choice`: storages hold scalars alone, so lists and mappings are JSON."""
        scalar = (str, int, float, bool, type(None))
        return [value if isinstance(value, scalar) else json.dumps(value) for value in self.values]

    def suggest(self, trial) -> object:
        """Value of this setting in an Optuna trial."""
        if self.kind == "choice":
            return self.value_of(trial.suggest_categorical(self.key, self.names))
        logarithmic = self.kind.startswith("log")
        if self.kind in ("int", "log_int"):
            return trial.suggest_int(self.key, *self.values, log=logarithmic)
        return trial.suggest_float(self.key, *map(float, self.values), log=logarithmic)

    def value_of(self, stored: object) -> object:
        """Value that a storage's parameter stands for."""
        return self.values[self.names.index(stored)] if self.kind == "choice" else stored


def read_search(path: str | Path) -> tuple[dict, tuple[Dimension, ...]]:
    """Read a search file: `trial`, settings of every trial over those of the recipe, and `space`.

    Returns:
        The settings of `trial` as nested values, and the dimensions in the order of the file.

    Raises:
        ConfigError: if the file is missing or malformed; the settings' names are checked by `candidates`.
    """
    values = read_settings(path)
    unknown = sorted(map(str, set(values) - {"trial", "space"}))
    if unknown or not isinstance(values.get("space"), Mapping) or not values["space"]:
        got = f"the unknown {', '.join(unknown)}" if unknown else "no space"
        raise ConfigError(f"search file {path} has {got}; expected the keys space and, where wanted, trial")
    if not isinstance(values.get("trial") or {}, Mapping):
        raise ConfigError(f"search file {path}: trial is {values['trial']!r}, expected settings as in configs/")
    return values.get("trial") or {}, tuple(_dimension(str(key), given) for key, given in values["space"].items())


def _dimension(key: str, given: object) -> Dimension:
    if not isinstance(given, Mapping) or len(given) != 1:
        raise ConfigError(f"search space, {key} is {given!r}; expected one of {', '.join(KINDS)}: [...]")
    ((kind, values),) = given.items()
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigError(f"search space, {key}: {kind} is {values!r}, expected a list")
    if kind in ("uniform", "log"):  # YAML 1.1 reads 1e-3 as a string
        try:
            values = [float(value) if isinstance(value, str) else value for value in values]
        except ValueError:
            raise ConfigError(f"search space, {key}: {kind} is {list(values)}, expected numbers") from None
    return Dimension(key, str(kind), tuple(values))


def candidates(config: Config, space: Sequence[Dimension]) -> list[Config]:
    """`config` with each setting of the space at each of its ends or choices, one at a time.

    Whoever can build all of these meets no wrong name or type in the middle of a search.

    Raises:
        ConfigError: if a setting is unknown (naming the nearest), takes no such value, or cannot matter.
    """
    found = []
    with_teachers = bool(config.teachers) or any(dimension.key == "teachers" for dimension in space)
    for dimension in space:
        changed = [with_setting(config, dimension.key, value) for value in dimension.values]  # names first
        section = dimension.key.split(".")[0]
        if section in FIXED:
            raise ConfigError(f"search space: {dimension.key} cannot be searched, because {FIXED[section]}")
        if section in OF_TEACHERS and not with_teachers:
            raise ConfigError(f"search space: {dimension.key} changes nothing without teachers; name some or leave it")
        if section == "fit_teacher" and config.teachers_from:
            raise ConfigError(f"search space: {dimension.key} changes nothing of teachers that are taken as they are")
        found += changed
    return found
