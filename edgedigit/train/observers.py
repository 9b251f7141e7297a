"""Who looks on while a model trains: TensorBoard and Weights & Biases, told once an epoch by the trainer.

Neither is imported unless it is asked for.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.special import softmax

from edgedigit import emg_features, features
from edgedigit.errors import InputError, MissingDependencyError
from edgedigit.figures import confusion_figure, features_figure, pixels
from edgedigit.manifest import write_json
from edgedigit.metrics import confusion_matrix
from edgedigit.spec import FrontendSpec

TENSORBOARD_DIR = "tensorboard"
WANDB_FILE = "wandb.json"  # of the run folder: which W&B run it is and its next step, so that scripts go on with it
WANDB_PROJECT = "edgedigit"  # unless WANDB_PROJECT names another
N_CLIPS = 8  # validation clips whose features are shown
NOT_FIGURES = ("phase", "epoch")  # of a record


@dataclass(frozen=True, eq=False)
class Validated:
    """What a model answers to the validation clips after an epoch.

    Attributes:
        waveforms: (n, *spec.signal.shape).
        targets: (n,) label indices.
        logits: (n, n_labels).
        spec: of the features that the model takes.
    """

    waveforms: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    spec: FrontendSpec


class Observer(Protocol):
    """Is told by the trainer after every epoch, in the first process alone."""

    def epoch_ended(self, record: dict, validated: Validated | None) -> None:
        """Look at an epoch.

        Args:
            record: as it goes into log.jsonl: `phase`, `epoch` and figures.
            validated: None where the phase has no validation.
        """

    def close(self) -> None:
        """No epoch follows."""


class TensorBoard:
    """Events below a folder, one TensorBoard run for each phase, its steps the epochs.

    Where an epoch comes again, because a run was resumed or a phase repeated, what the events hold of it and of later
    ones is declared void.

    Raises:
        MissingDependencyError: if tensorboard is not installed.
    """

    def __init__(self, folder: Path, labels: Sequence[str]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingDependencyError.of("tensorboard", "track") from None
        self.make_writer = SummaryWriter
        self.folder = folder
        self.labels = labels
        self.writer = None
        self.phase = ""

    def epoch_ended(self, record: dict, validated: Validated | None) -> None:
        """Scalars; with validation also confusions and the features of some clips. On disk when it returns."""
        epoch = record["epoch"]
        if self.writer is None or self.phase != record["phase"]:
            self.close()
            self.phase = record["phase"]
            self.writer = self.make_writer(str(self.folder / self.phase), purge_step=epoch)
        for name, value in _scalars(record).items():
            self.writer.add_scalar(name, value, epoch)
        if validated is not None:
            for name, picture in _pictures(validated, self.labels).items():
                self.writer.add_image(name, picture, epoch, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """Close the events of the last phase."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class WeightsAndBiases:
    """One W&B run for the run folder; figures are named `<phase>/<figure>` over `<phase>/epoch`.

    WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and wandb's other variables hold as ever; offline, everything stays in
    `<run-dir>/wandb` for `wandb sync`.

    Raises:
        MissingDependencyError: if wandb is not installed.
        InputError: if `<run-dir>/wandb.json` is damaged.
    """

    def __init__(self, run_dir: Path, labels: Sequence[str], config: dict):
        try:
            import wandb
        except ImportError:
            raise MissingDependencyError.of("wandb", "wandb") from None
        self.wandb = wandb
        self.run_dir = run_dir
        self.labels = labels
        self.config = config
        self.phases: set[str] = set()
        self.state = _wandb_state(run_dir / WANDB_FILE)

    @cached_property
    def run(self):
        """Begun at the first epoch: what fails before is no run."""
        return self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", WANDB_PROJECT),
            dir=str(self.run_dir),
            id=self.state["id"],
            resume="allow",
            name=self.run_dir.resolve().name,
            config=self.config,
            allow_val_change=True,  # of `compress`, which the second script may have changed
        )

    def epoch_ended(self, record: dict, validated: Validated | None) -> None:
        """Scalars; with validation also confusions and the features of some clips."""
        phase = record["phase"]
        if phase not in self.phases:
            self.phases.add(phase)
            self.run.define_metric(f"{phase}/*", step_metric=f"{phase}/epoch")
        values = {**_scalars(record), "epoch": record["epoch"]}
        if validated is not None:
            pictures = _pictures(validated, self.labels)
            values |= {name: self.wandb.Image(picture) for name, picture in pictures.items()}
        # Offline nobody knows how far the run was: a step that had been logged already would be dropped at its sync.
        self.run.log({f"{phase}/{name}": value for name, value in values.items()}, step=self.state["step"])
        self.state["step"] += 1
        write_json(self.run_dir / WANDB_FILE, self.state)

    def close(self) -> None:
        """Finish the run, if an epoch began it."""
        if "run" in self.__dict__:
            self.run.finish()


def open_observers(
    run_dir: Path, labels: Sequence[str], config: dict, tensorboard: bool = False, wandb: bool = False
) -> list[Observer]:
    """The observers that were asked for.

    Args:
        run_dir: folder of the run.
        labels: of the model's outputs.
        config: resolved, for W&B's table of runs.

    Raises:
        MissingDependencyError: if a package is not installed; better known before anything is trained.
    """
    observers: list[Observer] = []
    if tensorboard:
        observers.append(TensorBoard(run_dir / TENSORBOARD_DIR, labels))
    if wandb:
        observers.append(WeightsAndBiases(run_dir, labels, config))
    return observers


def _scalars(record: dict) -> dict[str, float]:
    """Figures of a record, those of validation under one heading."""
    return {
        name.replace("validation_", "validation/"): value
        for name, value in record.items()
        if name not in NOT_FIGURES and value is not None
    }


def _pictures(validated: Validated, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Confusions, and the features of some clips with label, answer and its probability: (H, W, 3) uint8."""
    targets, logits = validated.targets, validated.logits
    answers = logits.argmax(axis=1)
    matrix = confusion_matrix(targets, answers, len(labels))
    rows = np.unique(np.linspace(0, len(targets) - 1, N_CLIPS).round().astype(int))  # the same in every epoch
    planes = _planes(validated.waveforms[rows], validated.spec)
    shares = softmax(logits, axis=1)
    titles = [
        f"{labels[targets[row]]} {'=' if answers[row] == targets[row] else '≠'} {labels[answers[row]]} "
        f"({100 * shares[row].max():.0f} %)"
        for row in rows
    ]
    return {
        "validation/confusion": pixels(confusion_figure(matrix, labels)),
        "validation/clips": pixels(features_figure(list(planes), titles)),
    }


def _planes(waveforms: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """What is drawn of each window's features: audio without deltas (n, F, N), EMG's channels stacked (n, C * F, N)."""
    if spec.kind == "emg":
        stacked = emg_features.compute(waveforms, spec)  # (n, C, F, N)
        return stacked.reshape(len(stacked), -1, spec.n_frames)
    return features.compute(waveforms, spec)[:, 0]


def _wandb_state(path: Path) -> dict:
    """`id` of the W&B run of a run folder and its next `step`; of a new one where there is none.

    Raises:
        InputError: if the file is not what is written here.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {"id": str(values["id"]), "step": int(values["step"])}
    except FileNotFoundError:
        return {"id": uuid.uuid4().hex[:8], "step": 0}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not hold the id and step of a W&B run; delete it to begin another") from None
