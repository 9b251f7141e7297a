"""Training from a configuration: recordings, splits, teachers, then the student that learns from them."""

from __future__ import annotations

import difflib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from edgedigit import config as configuration
from edgedigit.config import Config, DataConfig, FitConfig, ModelConfig
from edgedigit.data import available_labels, load_recordings
from edgedigit.data.dataset import TrainingBatches, as_arrays, fingerprint
from edgedigit.data.emg_augment import EmgAugmenter
from edgedigit.data.label_issues import read_label_issues
from edgedigit.data.noises import noises_of_part
from edgedigit.data.recording import SIMULATED, SYNTH, Recording
from edgedigit.data.splits import Split, make_split
from edgedigit.data.unknown import prior_bias
from edgedigit.errors import ConfigError, DataError, MissingDataError, ModelError
from edgedigit.labels import NON_DIGIT
from edgedigit.manifest import write_json
from edgedigit.models import WaveformModel, create_model
from edgedigit.provenance import CONFIG_FILE, load_run_config, note_commit
from edgedigit.train import distributed
from edgedigit.train.checkpoints import (
    OTHER_MATERIAL,
    build_model,
    changed_material,
    describe,
    load_checkpoint,
    save_checkpoint,
)
from edgedigit.train.devices import autocast_type, check_device, resolved, set_up_torch
from edgedigit.train.hints import classifiers
from edgedigit.train.observers import Observer
from edgedigit.train.trainer import Ensemble, Trainer

SELECTION, FINAL = "selection", "final"
SIMULATED_PART = ", simulated"  # ends the name of a part that nobody has spoken
SYNTHETIC_PART = ", synthetic voices"  # likewise
STUDENT_FILE = "student.json"  # summary of a finished training
RESULT_FILE = "result.json"  # of a finished training of edgedigit.compare
STUDENT_ANSWERS_FILE = "student_answers.csv"  # of the trained student, before compression, and of its teachers
TEACHERS = "teachers"  # stage, in that file, of what all teachers answer together


@dataclass(frozen=True)
class Track:
    """One division of the training recordings that models are trained on.

    The `selection` track keeps validation speakers out, to choose and to measure on strangers; the `final`
    track, whose student is exported, trains on them too where the configuration asks for a refit.
    """

    name: str
    train: list[Recording]
    validation: list[Recording]


@dataclass(frozen=True)
class Material:
    """All recordings of an experiment, divided."""

    tracks: tuple[Track, ...]
    test: list[Recording]
    noises: list[Recording]

    def evaluations(self) -> list[tuple[str, str, list[Recording]]]:
        """(what, track whose model may be measured on it, recordings): validation, then test."""
        first, last = self.tracks[0], self.tracks[-1]
        heard = {r.speaker for r in first.train} & {r.speaker for r in first.validation}
        title = "validation, same speakers" if heard else "validation, unseen speakers"
        parts = ((title, first.name, first.validation), ("test", last.name, self.test))
        return [(part + origin(recordings), track, recordings) for part, track, recordings in parts]

    def contents(self) -> str:
        """A digest of what training draws from, in its order: names and shapes, as waveforms may be rounded otherwise
        on another machine.
        """
        drawn = [[(r.name, r.waveform.shape) for r in (*track.train, *track.validation)] for track in self.tracks]
        noises = [(noise.name, noise.waveform.shape) for noise in self.noises]
        return hashlib.sha256(json.dumps([drawn, noises]).encode()).hexdigest()


def origin(recordings: Sequence[Recording]) -> str:
    """What the name of every figure on these has to end with: nothing, where people made them."""
    sources = {recording.source for recording in recordings}
    return SYNTHETIC_PART if SYNTH in sources else SIMULATED_PART if SIMULATED in sources else ""


def load_material(
    config: Config, data_dir: str | Path | None, progress: bool = True, download: bool = True
) -> Material:
    """Read the recordings that a configuration names and divide them.

    Args:
        download: fetch a corpus that is not on disk.

    Raises:
        DataError: if recordings are missing, or a recording or speaker crosses the split.
    """
    return divide(config.data, *read_recordings(config.data, data_dir, progress, download))


def read_recordings(
    data: DataConfig, data_dir: str | Path | None, progress: bool = True, download: bool = True
) -> tuple[list[Recording], list[Recording]]:
    """Recordings of all sources, and recorded noises.

    Raises:
        DataError: if recordings are missing, or those of a label.
    """
    recordings = load_recordings(
        data.sources, data_dir, labels=data.labels, signal=data.signal, progress=progress, download=download
    )
    held = {recording.label for recording in recordings}
    if not (data.unknown.words or data.unknown.sentences or data.unknown.pieces):
        held.add(NON_DIGIT)  # made of parts of digits and of noise
    if missing := [label for label in data.labels if label not in held]:
        others = available_labels(data.sources, data_dir) - set(data.labels)
        near = {label: difflib.get_close_matches(label.lower(), sorted(others), 1, 0.6) for label in missing}
        hints = ", ".join(f"{near[label][0]} for {label}" for label in missing if near[label])
        raise DataError(
            f"{', '.join(data.sources)}: no recording of {', '.join(missing)}"
            + (
                f"; there is {hints}"
                if hints
                else f"; there is also {', '.join(sorted(others)[:12])}"
                if others
                else ""
            )
            + "; add recordings or name only the labels that there are"
        )
    return recordings, load_noises(data, data_dir)


def divide(data: DataConfig, recordings: list[Recording], noises: list[Recording]) -> Material:
    """Divide recordings as a configuration says.

    Raises:
        DataError: if a recording or speaker crosses the split.
    """
    split = split_of(data, recordings, data.validation_fraction)
    train, validation, test = ([recordings[i] for i in part] for part in (split.train, split.validation, split.test))
    if validation and data.refit:
        tracks = (Track(SELECTION, train, validation), Track(FINAL, train + validation, []))
    else:
        tracks = (Track(FINAL, train, validation),)
    return Material(tracks, test, noises)


def split_of(data: DataConfig, recordings: Sequence[Recording], validation_fraction: float) -> Split:
    """The split that a configuration names."""
    return make_split(
        recordings,
        data.split,
        validation_fraction,
        data.seed,
        data.fold_sources,
        data.fold_by,
        data.unknown.test_fraction,
    )


def data_notes(material: Material) -> list[str]:
    """What to know about the figures of a division before they come: who is heard in validation."""
    first, notes = material.tracks[0], []
    if not first.validation:
        notes.append("no validation: nothing is selected, calibrated or measured on clips that did not train")
    elif {r.speaker for r in first.train} & {r.speaker for r in first.validation}:
        notes.append(
            "validation holds other recordings of the speaker who trains, as no second one is known: its figure says "
            "nothing about a stranger. Where several spoke, a manifest.csv with the columns file,label,speaker,source "
            "keeps them apart"
        )
    if origin(first.validation) == SYNTHETIC_PART:
        notes.append("validation is by synthetic voices: its figure says nothing about people")
    return notes


def load_noises(data: DataConfig, data_dir: str | Path | None) -> list[Recording]:
    """Recorded noises where they are at hand; without them augmentation makes its own. None for EMG.

    Raises:
        DataError: if the folder is damaged, holds none that may train or, where it is not the usual one, is missing.
    """
    source = data.noises
    if not source or data.signal.kind != "audio":
        return []
    try:
        noises = load_recordings([source], data_dir, labels=None, signal=data.signal)
    except MissingDataError:
        if source == DataConfig().noises:
            return []
        raise  # noises that were asked for by name
    chosen = noises_of_part(noises, data.noise_part)
    if not chosen:
        raise DataError(
            f"data.noises {source}: its {len(noises)} recordings are all held out for evaluation, none may train; "
            "add noises, or set data.noise_part=all"
        )
    return chosen


def prepare_run(config: Config, run_dir: Path, resume: bool, tracks: Sequence[Track]) -> None:
    """Create the run folder, store the resolved configuration in it, and the teachers that another run has trained.

    Raises:
        ConfigError: if the folder already holds a run and `resume` is not given, or holds another's; or if a
            model cannot be built, the device lacks a precision or the teachers of another run may have heard who
            is held out here, which is better known before anything is trained.
        ModelError: if those teachers are missing or have not been trained to their end.
    """
    check_models(config)
    check_device(config.device)
    for precision in (config.precision, config.student_precision):
        autocast_type(precision, config.device)
    path = run_dir / CONFIG_FILE
    if path.exists():
        if not resume:
            raise ConfigError(f"{run_dir} already holds a run; continue it with --resume or choose another --run-dir")
        if configuration.training_settings(load_run_config(run_dir)) != configuration.training_settings(config):
            raise ConfigError(
                f"{run_dir} was started with other settings (see {path}); resume with the same ones "
                "or choose another --run-dir"
            )
    elif config.teachers_from:
        take_teachers(config, run_dir, tracks)
    write_json(path, configuration.to_dict(config))


def check_processes(config: Config, material: Material, resume: bool) -> None:
    """Raise ConfigError, in all processes that train together, unless all are about to train the same."""
    if distributed.n_processes() > 1:
        precisions = [resolved(name, config.device) for name in (config.precision, config.student_precision)]
        distributed.check_alike(
            {
                "settings": configuration.training_settings(config),
                "--resume": resume,
                "recordings": material.contents(),
                "what precision auto stands for": precisions,  # CPUs differ; bf16 or fp32 says which
            }
        )


def take_teachers(config: Config, run_dir: Path, tracks: Sequence[Track]) -> None:
    """Copy the teachers of `config.teachers_from` into a run folder, which then depends on nothing outside it.

    Raises:
        ConfigError, ModelError: as `find_teachers`.
    """
    for phase, saved in find_teachers(config, tracks).items():
        save_checkpoint(run_dir / f"{phase}.best.pt", saved)


def find_teachers(config: Config, tracks: Sequence[Track]) -> dict[str, dict]:
    """Checkpoints, by phase, of the teachers that `config.teachers_from` has, as teachers or as students.

    Each is from the first folder that has it. How they were trained (`fit_teacher`, `augment`, `seed`) is that run's
    affair; on which recordings is not, as soft targets would tell what a teacher has heard.

    Raises:
        ConfigError: if a teacher is of another kind, or was trained on other recordings.
        ModelError: if a teacher is missing or has not been trained to its end.
    """
    folders = [Path(folder) for folder in _as_tuple(config.teachers_from)]
    taken = {}
    for track in tracks:
        for teacher in config.teachers:
            phase = f"{track.name}-{teacher.label}"
            folder = next((f for f in folders if (f / f"{phase}.best.pt").exists()), folders[0])
            saved = load_checkpoint(folder / f"{phase}.best.pt")
            if not (saved.get("done") or load_checkpoint(folder / f"{phase}.last.pt")["done"]):
                raise ModelError(f"{folder}: training of {phase} has not finished; run train_distill.py --resume on it")
            # Built, and not as it was stored: settings that came later are in it with their defaults.
            if describe(build_model(saved)) != describe(make_model(config, teacher)):
                raise ConfigError(f"{folder}: {phase} is another {saved['model']['name']} than teachers describe")
            theirs, ours = (
                configuration.to_dict(one.data) for one in (configuration.from_stored(saved["config"]), config)
            )
            differing = [f"data.{key}" for key in ours if theirs[key] != ours[key]]
            # The same settings name other recordings in another --data-dir. Older checkpoints do not say which.
            if changed_material(saved, {"recordings": fingerprint(r.name for r in track.train)}):
                differing.append("the recordings themselves")
            if differing:
                raise ConfigError(
                    f"{folder}: {phase} was trained with other {', '.join(differing)} and may have heard who is held "
                    "out here; leave teachers_from empty to train teachers for this run"
                )
            taken[phase] = {**saved, "done": True}
    return taken


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def check_models(config: Config) -> None:
    """Raise ConfigError unless every model can be built, computes a clip and has a name of its own."""
    models = (*config.teachers, config.student)
    labels = [model.label for model in models]
    if len(set(labels)) < len(labels):
        raise ConfigError(
            f"teachers and student are {', '.join(labels)}; checkpoints are named so, so give each its own label"
        )
    window = config.data.signal
    for model in models:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of torch, about layers of width 0
            built = make_model(config, model)
        if config.teachers and config.distill.feature_weight:
            classifiers(built)
        spec = built.spec
        if spec.signal != window:
            taken = spec.signal
            raise ConfigError(
                f"{model.name} takes {taken.kind} of {taken.n_samples} samples at {taken.sample_rate} Hz, channels "
                f"{taken.n_channels}; recordings are prepared as {window.kind} of {window.n_samples} at "
                f"{window.sample_rate} Hz, channels {window.n_channels}: set these in data.signal, not in frontend"
            )
        _try_out(built)


def _try_out(model: WaveformModel) -> None:
    """Raise ConfigError unless a model answers to a clip of noise; some options build what cannot compute."""
    clip = torch.rand(1, *model.spec.signal.shape, generator=torch.Generator().manual_seed(0))
    where = f"its options are in edgedigit/models/{model.name}.py"
    try:
        with torch.inference_mode():
            logits = model.eval()(clip)
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        raise ConfigError(f"model {model.name} cannot compute a clip: {said}; {where}") from None
    if not logits.isfinite().all():
        raise ConfigError(f"model {model.name} answers {logits[0, 0].item()} to a clip, expected numbers; {where}")


def make_model(config: Config, described: ModelConfig) -> WaveformModel:
    """A fresh model for the signal of a configuration, whose own front end settings go before."""
    frontend = {**config.data.signal.frontend(), **described.kwargs.get("frontend", {})}
    return create_model(described.name, len(config.data.labels), **{**described.kwargs, "frontend": frontend})


def train_all(
    config: Config,
    material: Material,
    run_dir: Path,
    resume: bool = False,
    say: Callable[[str], None] = print,
    bars: bool = True,
    observers: Sequence[Observer] = (),
) -> dict[str, WaveformModel]:
    """Train teachers and student on every track; finished ones are loaded when resuming.

    Returns:
        The student of each track, by the track's name.
    """
    students = {}
    epochs_run: dict[str, int] = {}
    for track in material.tracks:
        say(f"[{track.name}] {len(track.train)} training and {len(track.validation)} validation recordings")
        if config.teachers_from:
            say(f"  teachers from {', '.join(_as_tuple(config.teachers_from))}")
        else:
            for teacher in config.teachers:
                fit = _as_long_as_selected(config.fit_teacher, epochs_run.get(teacher.label))
                _, epochs_run[teacher.label] = _train_one(
                    config, track, teacher, fit, None, material, run_dir, resume, say, bars, observers
                )
        ensemble = load_teachers(config, run_dir, track.name)
        fit = _as_long_as_selected(config.fit_student, epochs_run.get(config.student.label))
        students[track.name], epochs_run[config.student.label] = _train_one(
            config, track, config.student, fit, ensemble, material, run_dir, resume, say, bars, observers
        )
    return students


def load_teachers(config: Config, run_dir: Path, track: str) -> Ensemble | None:
    """The trained teachers of a track, or None if the run has none."""
    paths = [run_dir / f"{track}-{teacher.label}.best.pt" for teacher in config.teachers]
    teachers = [build_model(distributed.from_first(partial(load_checkpoint, path))) for path in paths]
    return Ensemble(teachers, config.precision, config.distill.teacher_weights) if teachers else None


def load_student(config: Config, run_dir: Path, track: str) -> WaveformModel:
    """The trained student of a track.

    Raises:
        ModelError: if its training has not finished.
    """
    phase = f"{track}-{config.student.label}"
    if not load_checkpoint(run_dir / f"{phase}.last.pt")["done"]:
        raise ModelError(f"{run_dir}: training of {phase} has not finished; run train_distill.py --resume")
    return build_model(load_checkpoint(run_dir / f"{phase}.best.pt"))


def check_recordings(config: Config, run_dir: Path, tracks: Sequence[Track], drawn_from: Mapping | None = None) -> None:
    """Raise ModelError unless the students of a run were trained on the recordings of its tracks, as far as they say.

    What goes on with a run measures and calibrates on recordings that it did not hear; in other ones it may have heard
    them, though the settings are the same.

    Args:
        drawn_from: of `drawn_from`, where training goes on: that has to be the same as well.
    """
    for track in tracks:
        path = run_dir / f"{track.name}-{config.student.label}.best.pt"
        saved = load_checkpoint(path)
        if changed := changed_material(saved, drawn_from or {}):
            raise ModelError(
                f"{path} was trained with {' and '.join(OTHER_MATERIAL[what] for what in changed)}; "
                "go on with the same, or train again in another --run-dir"
            )
        if changed_material(saved, {"recordings": fingerprint(r.name for r in track.train)}):
            raise ModelError(
                f"{path} was trained on other recordings than the {len(track.train)} that are here now; "
                "name the folder that it was trained on with --data-dir, or train again in another --run-dir"
            )


def make_batches(
    config: Config, track: Track, fit: FitConfig, noises: list[Recording], seed: int, taught: bool
) -> TrainingBatches:
    """Augmented batches of a track's training recordings.

    Args:
        taught: whether teachers answer them, who may have to hear them before noise.
    """
    signal = config.data.signal
    augmenter = None
    if signal.kind == "emg":
        enabled = config.augment.enabled
        augmenter = EmgAugmenter(config.emg_augment, signal.n_samples, signal.sample_rate, enabled)
    return TrainingBatches(
        track.train,
        config.data.labels,
        config.augment,
        signal.n_samples,
        signal.sample_rate,
        fit.batch_size,
        fit.samples_per_epoch,
        noises,
        seed,
        augmenter,
        config.data.unknown,
        dict.fromkeys(label_issues(config.data), config.data.label_issue_share),
        quiet=taught and config.distill.quiet_teachers,
    )


def label_issues(data: DataConfig) -> dict[str, str]:
    """Recordings whose labels are in doubt, and what is heard in them; none where the configuration names no file.

    Raises:
        ConfigError: if the file cannot be read.
    """
    return read_label_issues(data.label_issues) if data.label_issues else {}


def drawn_from(data: DataConfig, noises: Sequence[Recording]) -> dict[str, str]:
    """Digests of what any training of these settings draws from beside its recordings, as in its checkpoints.

    Raises:
        ConfigError: if the list of label issues cannot be read.
    """
    return {"noises": fingerprint(noise.name for noise in noises), "label_issues": fingerprint(label_issues(data))}


def label_issue_notes(data: DataConfig, material: Material) -> list[str]:
    """How many of the recordings whose labels are in doubt train, where the configuration names a list of such.

    Raises:
        ConfigError: if the list cannot be read, or holds none of the recordings at all.
    """
    listed = label_issues(data)
    if not listed:
        return []
    first, last = material.tracks[0], material.tracks[-1]
    names = {recording.name for recording in (*first.train, *first.validation, *material.test)}
    if not names & set(listed):
        raise ConfigError(
            f"data.label_issues {data.label_issues} lists {len(listed)} names, none of the {len(names)} recordings has "
            'one of them; write it anew with python -m edgedigit.label_issues, or set data.label_issues=""'
        )
    n = sum(recording.name in listed for recording in last.train)
    return [f"labels in doubt: {n} of {len(listed)} in {data.label_issues} train, {data.label_issue_share:g} as often"]


def label_bias(config: Config) -> list[float]:
    """What is added to scores wherever answers are counted or exported, one value for each label; see `prior_bias`.

    Empty without `_unknown_` among the labels. Training and selection take scores as they are.
    """
    return prior_bias(config.data.labels, config.data.unknown, config.compress.unknown_odds)


def validation_arrays(config: Config, track: Track) -> tuple[np.ndarray, np.ndarray] | None:
    """Waveforms (n, n_samples) and targets (n,) of a track's validation, or None."""
    if not track.validation:
        return None
    return as_arrays(track.validation, config.data.labels, config.data.signal.n_samples)


def make_trainer(
    config: Config,
    track: Track,
    described: ModelConfig,
    fit: FitConfig,
    teacher: Ensemble | None,
    noises: list[Recording],
    **options,
) -> Trainer:
    """A trainer of a freshly built model on a track, everything seeded by `config`.

    Args:
        described: which model; the student of `config` or one of its teachers.
        fit: schedule and optimiser.
        teacher: soft targets, or None.
        options: of `Trainer`, such as `folder`, `progress` and `observers`.
    """
    set_up_torch(config.seed, config.threads, config.device)
    return Trainer(
        make_model(config, described),
        make_batches(config, track, fit, noises, config.seed, teacher is not None),
        validation_arrays(config, track),
        fit,
        config.augment,
        teacher,
        config.distill,
        precision=config.student_precision if described.label == config.student.label else config.precision,
        device=config.device,
        phase=f"{track.name}-{described.label}",
        resolved=configuration.training_settings(config),
        **options,
    )


@contextmanager
def progress_bar(bars: bool, name: str) -> Iterator[Callable[[int, int, str], None]]:
    """A tqdm bar that the trainer calls with (step, n_steps, text); gone after the block, which may raise."""
    # Without tqdm's own estimate, which counts neither validation nor what a resumed run had done before.
    layout = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
    with tqdm(total=0, desc=name, disable=not bars, leave=False, mininterval=0.5, delay=0.5, bar_format=layout) as bar:

        def show(step: int, n_steps: int, text: str) -> None:
            bar.total = n_steps
            bar.set_postfix_str(text, refresh=False)
            bar.update(step - bar.n)

        yield show


def _as_long_as_selected(fit: FitConfig, epochs: int | None) -> FitConfig:
    """The final track trains for as many epochs as selection found useful."""
    return fit if epochs is None else replace(fit, epochs=epochs)


def _train_one(
    config: Config,
    track: Track,
    described: ModelConfig,
    fit: FitConfig,
    teacher: Ensemble | None,
    material: Material,
    run_dir: Path,
    resume: bool,
    say: Callable[[str], None],
    bars: bool,
    observers: Sequence[Observer],
) -> tuple[WaveformModel, int]:
    """Train or resume one model; returns it and the epochs it ran."""
    phase = f"{track.name}-{described.label}"
    with progress_bar(bars, phase) as progress:
        options = {"folder": run_dir, "progress": progress, "observers": observers}
        trainer = make_trainer(config, track, described, fit, teacher, material.noises, **options)
        if resume and trainer.resume():
            say(f"  {phase}: resumed after epoch {trainer.epoch}" + (", already finished" if trainer.done else ""))
        if not trainer.done:
            distributed.from_first(partial(note_commit, run_dir))
        trained = trainer.run()
    best = trainer.best
    if best["accuracy"] is None:
        say(f"  {phase}: {trainer.epoch} epochs")
    else:
        say(
            f"  {phase}: {trainer.epoch} epochs, kept the one after {best['epoch']}: "
            f"{100 * best['accuracy']:.2f} % on {len(track.validation)} validation clips{origin(track.validation)}"
        )
    return trained, trainer.epoch
