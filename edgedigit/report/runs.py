"""What a run folder holds so far: log, figures and answers of a training, finished or not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedigit import config as configuration
from edgedigit.compress.pipeline import SUMMARY_FILE
from edgedigit.config import CompressConfig, Config
from edgedigit.data.splits import is_speaker_disjoint
from edgedigit.errors import InputError
from edgedigit.metrics import accuracy_row
from edgedigit.provenance import load_run_config
from edgedigit.train.pipeline import FINAL, RESULT_FILE, SELECTION, STUDENT_FILE
from edgedigit.train.scoring import read_answers

LOG_FILE, ANSWERS_FILE = "log.jsonl", "answers.csv"
STAGES = {"student": "student, fp32", "pruned": "pruned, fp32", "int8": "pruned, INT8"}


@dataclass(frozen=True)
class Run:
    """A run folder as it was read.

    Attributes:
        folder: where it is.
        name: what the page calls the run: of the folder, with those above it where runs share one.
        config: that it was started with.
        phases: records of the log by phase, one per epoch, in order.
        student: what train_distill.py or a training of edgedigit.compare found at its end; empty before.
        compressed: what prune_and_quantize.py found at its end; empty before.
        answers: one row for each clip and stage, once it is compressed.
    """

    folder: Path
    name: str
    config: Config
    phases: dict[str, list[dict]]
    student: dict
    compressed: dict
    answers: list[dict]

    @property
    def compress(self) -> CompressConfig:
        """How the student was compressed, which may have been changed after training."""
        if not self.compressed:
            return self.config.compress
        return configuration.from_dict(self.compressed["compress"], CompressConfig)

    @property
    def stage(self) -> str:
        """Stage of the product: INT8, or fp32 where INT8 failed its gate or is slower; the student before pruning."""
        if not self.compressed:
            return "student"
        return "int8" if self.compressed.get("default") == "int8" else "pruned"

    @property
    def tracks(self) -> list[str]:
        """Names of the tracks that have begun, selection first."""
        begun = {phase.partition("-")[0] for phase in self.phases}
        return [name for name in (SELECTION, FINAL) if name in begun]

    def phases_of(self, track: str) -> list[str]:
        """Phases of a track that have begun, in the order of training."""
        return [phase for phase in self.phases if phase.partition("-")[0] == track]

    def fine_tuning(self, track: str) -> list[str]:
        """Phases of a track after pruning began: one for each step, then the last."""
        trained = {f"{track}-{model.label}" for model in (*self.config.teachers, self.config.student)}
        return [phase for phase in self.phases_of(track) if phase not in trained]

    def test_speakers(self) -> str:
        """Whether training has heard the speakers of the test part, in words."""
        if is_speaker_disjoint(self.config.data.split, self.config.data.fold_by):
            return "unseen speakers"
        if self.config.data.split in ("official", "auto"):  # each corpus decides for itself
            return "speakers as each corpus divides them"
        return "seen speakers"

    def title(self, part: str) -> str:
        """Name of a part with what its speakers are to the model."""
        name, comma, origin = part.partition(", ")
        return f"test, {self.test_speakers()}{comma}{origin}" if name == "test" else part


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read run folders; where several have one name, each is named with as many folders above it as tell them apart.

    Raises:
        ConfigError: if a folder holds no run.
        InputError: if a file in one is damaged.
    """
    runs = [read_run(folder) for folder in folders]
    paths = [run.folder.resolve().parts for run in runs]

    def name(path: tuple[str, ...]) -> str:
        others = set(paths) - {path}
        n = next(n for n in range(1, len(path) + 1) if all(other[-n:] != path[-n:] for other in others))
        return "/".join(path[-n:])

    return [replace(run, name=name(path)) for run, path in zip(runs, paths, strict=True)]


def read_run(folder: str | Path) -> Run:
    """Read a run folder; what has not been written yet is empty.

    Raises:
        ConfigError: if the folder holds no run.
        InputError: if a file in it is damaged.
    """
    folder = Path(folder)
    config = load_run_config(folder)
    log = folder / LOG_FILE
    path = folder / ANSWERS_FILE
    answers = read_answers(path) if path.exists() else []
    unknown = {row[key] for row in answers for key in ("label", "answer")} - set(config.data.labels)
    if unknown:
        raise InputError(f"{path} holds {', '.join(sorted(unknown))}, no label of this run; it is of another one")
    return Run(
        folder,
        folder.resolve().name,
        config,
        read_log(log) if log.exists() else {},
        _read_if_there(folder / STUDENT_FILE, {"accuracy": list}) or _read_compared(folder / RESULT_FILE),
        _read_if_there(folder / SUMMARY_FILE, {"stages": list}),
        answers,
    )


def _read_compared(path: Path) -> dict:
    """What a training of edgedigit.compare found, its accuracy as train_distill.py names it; empty before."""
    result = _read_if_there(path, {"accuracy": dict, "split": str})
    if not result:
        return {}
    row = result["accuracy"]
    return {**result, "accuracy": [{**row, "group": "test" + row["group"].removeprefix(result["split"])}]}


def _read_if_there(path: Path, kinds: Mapping[str, type]) -> dict:
    """What a script found at its end, with these keys of these types; empty before."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); run the script that writes it again") from None
    for key, kind in kinds.items():
        if not (isinstance(values, dict) and isinstance(values.get(key), kind)):
            what = f"list of {key}" if kind is list else key
            raise InputError(f"{path} has no {what}, expected what the scripts write; run the script again")
    return values


def read_log(path: str | Path) -> dict[str, list[dict]]:
    """Entries of a JSON-lines training log by phase, one per epoch, in order.

    An epoch that was run again replaces the first and all that came after it, and half a line left by a killed run
    is skipped, so the log of a resumed or repeated run reads like that of an uninterrupted one.

    Raises:
        InputError: if the file is missing.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected the JSON-lines log of a training run") from None
    phases: dict[str, dict[int, dict]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and "phase" in entry and "epoch" in entry:
            epochs = phases.setdefault(entry["phase"], {})
            for later in [epoch for epoch in epochs if epoch >= entry["epoch"]]:
                del epochs[later]
            epochs[entry["epoch"]] = entry
    return {phase: list(epochs.values()) for phase, epochs in phases.items()}


def accuracy_by(rows: Sequence[dict], key: str | Callable[[dict], str]) -> list[dict]:
    """Rows as `metrics.accuracy_row` for each value of a key of answers, sorted by it."""
    value = key if callable(key) else (lambda row: row[key])
    groups: dict[str, list[bool]] = {}
    for row in rows:
        groups.setdefault(value(row), []).append(row["label"] == row["answer"])
    return [accuracy_row(name, sum(right), len(right)) for name, right in sorted(groups.items())]


def fine_tuning_curve(run: Run, track: str, key: str) -> tuple[list[tuple[float, float]], list[float]]:
    """A figure of the log over all epochs after pruning began, and where between them channels left."""
    points: list[tuple[float, float]] = []
    steps: list[float] = []
    epoch = 0
    for phase in run.fine_tuning(track):
        if re.fullmatch(rf"{track}-prune\d+", phase):
            steps.append(epoch + 0.5)
        for record in run.phases[phase]:
            epoch += 1
            if record.get(key) is not None:
                points.append((epoch, record[key]))
    return points, steps
