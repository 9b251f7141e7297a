"""Experiment configuration: frozen dataclasses hold every default, YAML or JSON states differences."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgedigit.errors import ConfigError
from edgedigit.labels import DIGITS, NON_DIGIT, check_labels
from edgedigit.spec import Signal


def _at_least(limit, **values):
    for name, value in values.items():
        if not limit <= value < math.inf:
            raise ConfigError(
                f"{name} is {value}, expected {limit} or more" + (", finite" if value == math.inf else "")
            )


def _above_zero(**values):
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value}, expected more than 0" + (", finite" if value == math.inf else ""))


def _ordered(**values):
    for name, (low, high) in values.items():
        if not -math.inf < low <= high < math.inf:
            raise ConfigError(f"{name} is {[low, high]}, expected finite bounds, the lower bound first")


def _one_of(choices, **values):
    for name, value in values.items():
        if value not in choices:
            raise ConfigError(f"{name} is {value!r}, expected one of {', '.join(choices)}")


def _share(**values):
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"{name} is {value}, expected 0 or more and below 1")


PRECISIONS = ("auto", "bf16", "fp16", "fp32")
DEVICES = ("cpu", "cuda")
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("one_cycle", "cosine", "step", "plateau")
LOSSES = ("cross_entropy", "focal")
BALANCED = "balanced"
NOISE_PARTS = ("train", "all")
HELD_OUT = ("validation", "test")  # parts of its recordings that a training keeps to itself
FOLD_UNITS = ("speaker", "session", "recording")
UNKNOWN_KINDS = ("words", "sentences", "pieces", "cut", "noise", "floor")


@dataclass(frozen=True)
class UnknownConfig:
    """What is drawn for `_unknown_`, where `data.labels` names it; without it nothing here has any effect.

    The first six are shares of all clips drawn in training, 0.30 together: more than the eleventh part of one label
    among eleven, as rooms hold more of it than of digits, and little enough that each digit keeps 7 clips of 100.
    """

    words: float = 0.12  # recordings of other words: nearest to digits, so the most
    sentences: float = 0.06  # random windows of longer recordings: real streams, but a digit word may be among them
    pieces: float = 0.0  # what is between two pauses of a longer recording, as a stream asks about it
    cut: float = 0.06  # digits of which little is left, as where a recording begins or ends within a word
    noise: float = 0.04  # recorded noise alone (`data.noises`); where there is none, noise floor instead
    floor: float = 0.02  # coloured hiss alone, what a microphone hears of an empty room
    sentence_s: float = 3.5  # recordings longer than this are sentences; wake words come in 3 s
    cut_keep: tuple[float, float] = (0.15, 0.45)  # share of the word that is left; from half on it may be recognised
    floor_db: tuple[float, float] = (-90.0, -40.0)  # dBFS; -90 is one step of 16 bits
    test_fraction: float = 0.4  # of speakers who say other words alone; they never train. Hours are what tests lack

    @property
    def share(self) -> float:
        """Of all clips drawn, of all kinds together."""
        return sum(getattr(self, kind) for kind in UNKNOWN_KINDS)

    def __post_init__(self):
        shares = {kind: getattr(self, kind) for kind in UNKNOWN_KINDS}
        _share(**{f"data.unknown.{key}": value for key, value in shares.items()})
        if not 0 < self.share < 1:
            raise ConfigError(
                f"data.unknown's shares {', '.join(shares)} sum to {self.share:g}, expected above 0, below 1"
            )
        _share(**{"data.unknown.test_fraction": self.test_fraction})
        low, high = self.cut_keep
        if not 0 < low <= high < 1:
            raise ConfigError(f"data.unknown.cut_keep is {[low, high]}, expected two shares of a word, the lower first")
        low, high = self.floor_db
        if not low <= high <= 0:
            raise ConfigError(f"data.unknown.floor_db is {[low, high]}, expected dBFS, the lower bound first")
        if not self.sentence_s > 0:
            raise ConfigError(f"data.unknown.sentence_s is {self.sentence_s}, expected more than 0 seconds")


@dataclass(frozen=True)
class DataConfig:
    """Which recordings, and how they are divided."""

    sources: tuple[str, ...] = ("fsdd",)  # names of edgedigit.data.SOURCES, or folder:PATH
    signal: Signal = field(default_factory=Signal)  # audio, or EMG with its rate, window and channels
    noises: str = "folder:noise"  # recorded noise for augmentation of audio; used where it exists, "" for none
    noise_part: str = "train"  # keeps away from the noises that edgedigit.robustness tests with; or all
    labels: tuple[str, ...] = DIGITS  # digits, or any words; "_unknown_" stands for every other word
    unknown: UnknownConfig = UnknownConfig()  # what "_unknown_" is trained on
    label_issues: str = ""  # JSON file of `edgedigit.label_issues`: recordings whose label is in doubt, "" for none
    label_issue_share: float = 0.1  # how often these are drawn beside how often they would be
    split: str = "fsdd_official"  # see edgedigit.data.splits.make_split
    fold_sources: tuple[str, ...] = ()  # corpora whose speakers kfold deals, the others always train; empty deals all
    fold_by: str = "speaker"  # what kfold deals and never divides; or session, or recording: of people who also train
    validation_fraction: float = 0.2  # of the training speakers; 0 trains on all and selects nothing
    refit: bool = True  # after selection, train again on training + validation speakers
    seed: int = 0  # deals speakers to folds and to validation

    def __post_init__(self):
        check_labels(self.labels)
        _at_least(0, seed=self.seed)
        _one_of(FOLD_UNITS, fold_by=self.fold_by)
        _one_of(NOISE_PARTS, noise_part=self.noise_part)
        _share(validation_fraction=self.validation_fraction)
        if not 0 < self.label_issue_share <= 1:
            raise ConfigError(f"data.label_issue_share is {self.label_issue_share}, expected above 0, at most 1")
        if NON_DIGIT in self.labels and self.signal.kind != "audio":
            raise ConfigError(f"data.labels names {NON_DIGIT}, which is for audio alone; EMG has recordings of rest")


@dataclass(frozen=True)
class AugmentConfig:
    """Strength of each augmentation; probabilities are per clip."""

    enabled: bool = True
    speed_probability: float = 0.8
    speed_range: float = 0.18  # played this share faster or slower: pitch and formants follow
    vocoder_probability: float = 0.25  # tempo and vocal tract length without pitch
    tempo_range: float = 0.2
    vtlp_range: float = 0.15
    shift_ms: float = 150.0
    equalizer_db: float = 4.0  # standard deviation of a random microphone curve
    band_probability: float = 0.15  # telephone band
    codec_probability: float = 0.1  # mu-law companding
    room_probability: float = 0.3
    n_rooms: int = 200
    noise_probability: float = 0.6
    snr_db: tuple[float, float] = (0.0, 30.0)
    clean_snr_db: float = 45.0  # even clean recordings have a noise floor
    recorded_share: float = 0.35  # of noises; the rest is coloured noise between white and brown
    babble_share: float = 0.2
    overdrive_probability: float = 0.0  # peaks cut off, as by a microphone that is turned up too far
    overdrive_db: tuple[float, float] = (3.0, 25.0)  # of the loudest sample above where it is cut
    gate_probability: float = 0.0  # microphones with noise suppression
    gate_db: tuple[float, float] = (12.0, 35.0)  # below the loudest frame: what is fainter is turned down
    gate_depth_db: tuple[float, float] = (15.0, 60.0)  # by this much
    gain_db: float = 6.0
    time_masks: int = 2
    time_mask_ms: float = 80.0
    frequency_masks: int = 2
    frequency_mask_share: float = 0.12  # of the feature rows
    mixup_probability: float = 0.3
    mixup_alpha: float = 0.4
    copies: int = 0  # epochs after which the same augmented batches come again, kept with what teachers said; 0: never

    def __post_init__(self):
        _at_least(1, n_rooms=self.n_rooms)
        _at_least(0, copies=self.copies, shift_ms=self.shift_ms, equalizer_db=self.equalizer_db, gain_db=self.gain_db)
        _at_least(0, time_masks=self.time_masks, time_mask_ms=self.time_mask_ms, frequency_masks=self.frequency_masks)
        for name in (setting.name for setting in dataclasses.fields(self)):
            value = getattr(self, name)
            if name.endswith(("_probability", "_share")) and not 0 <= value <= 1:
                raise ConfigError(f"augment.{name} is {value}, expected 0 to 1")
            if name.endswith("_range") and not 0 <= value < 1:
                raise ConfigError(f"augment.{name} is {value}, expected 0 or more and below 1")
        _ordered(snr_db=self.snr_db, overdrive_db=self.overdrive_db)
        _ordered(gate_db=self.gate_db, gate_depth_db=self.gate_depth_db)
        if not 0 < self.mixup_alpha < math.inf:
            raise ConfigError(f"mixup_alpha is {self.mixup_alpha}, expected a finite number above 0")


@dataclass(frozen=True)
class EmgAugmentConfig:
    """Strength of each augmentation of EMG; `augment.enabled` and `augment.copies` hold for it too."""

    gain_db: float = 3.0  # of each channel: skin and gel conduct as they do
    shift_ms: float = 40.0  # earlier or later
    snr_db: tuple[float, float] = (10.0, 40.0)  # of white noise, against the sample-to-sample movement of the channel
    channel_dropout: float = 0.1  # probability that one electrode has come off

    def __post_init__(self):
        _at_least(0, gain_db=self.gain_db, shift_ms=self.shift_ms)
        if not 0 <= self.channel_dropout <= 1:
            raise ConfigError(f"emg_augment.channel_dropout is {self.channel_dropout}, expected 0 to 1")
        _ordered(**{"emg_augment.snr_db": self.snr_db})


@dataclass(frozen=True)
class ModelConfig:
    """A registered model and what its builder is given.

    Where a model is expected, the text `NAME:KEY=VALUE,KEY=VALUE` stands for one, such as `bc_resnet:tau=3`. Dots
    reach inwards (`frontend.kind=mfcc`), values are YAML (`widths=[16,24,32,48]`).
    """

    name: str
    kwargs: dict = field(default_factory=dict)
    label: str = ""  # of its files and log lines; without one its name, or the text that it was given as

    def __post_init__(self):
        if not re.fullmatch(r"[\w.+-]*", self.label):
            raise ConfigError(f"label is {self.label!r}, expected letters, digits and ._+- alone: files are named so")
        object.__setattr__(self, "label", self.label or self.name)

    @classmethod
    def from_text(cls, text: str) -> ModelConfig:
        """The model that a text such as `resnet_se:frontend.kind=mfcc` stands for.

        Raises:
            ConfigError: if an option has no value or one that is not YAML.
        """
        import yaml

        name, _, options = text.partition(":")
        kwargs: dict = {}
        for option in filter(None, re.split(r",(?![^\[{]*[\]}])", options)):  # not at the commas of a list
            key, equals, value = option.partition("=")
            if not equals or not key.strip():
                raise ConfigError(f"model {text!r}: option {option!r} has no value; write it as KEY=VALUE")
            try:
                nested = yaml.safe_load(value)
            except yaml.YAMLError:
                raise ConfigError(f"model {text!r}: the value of {key!r} is not valid YAML") from None
            for part in reversed(key.strip().split(".")):
                nested = {part: nested}
            kwargs = merged(kwargs, nested)
        label = re.sub(r"[^\w.+-]+", "-", text.strip().replace("=", "")).strip("-")
        return cls(name.strip(), kwargs, label)


@dataclass(frozen=True)
class FitConfig:
    """One call of the trainer."""

    epochs: int
    lr: float  # peak of the schedule
    batch_size: int = 64
    samples_per_epoch: int = 0  # 0: one pass over the training recordings
    optimizer: str = "adamw"  # or sgd, with Nesterov momentum
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.02  # not on norms and biases
    schedule: str = "one_cycle"  # after a linear warm-up half a cosine down to 1 %; or cosine (to 0), step, plateau
    warmup_share: float = 0.1  # of all steps
    decay_factor: float = 0.1  # on the rate, whenever step or plateau lowers it
    decay_epochs: int = 10  # step: between decays; plateau: without a better loss on validation (else on training)
    ema_decay: float = 0.998  # per step; the averaged weights are the model
    loss: str = "cross_entropy"  # or focal; of the labels, teachers' soft targets keep theirs
    focal_gamma: float = 2.0  # of the focal loss: how fast clips stop counting once they are recognised
    class_weights: str | tuple[float, ...] = ()  # of each label; "balanced": inverse to how often training draws it
    label_smoothing: float = 0.05
    gradient_clip: float = 5.0  # largest norm of all gradients together; .inf clips nothing
    patience: int = 25  # epochs in which neither accuracy nor loss on validation got better, before stopping
    checkpoint_epochs: int = 0  # between checkpoints kept beside best and last; 0 keeps none

    def __post_init__(self):
        _at_least(1, epochs=self.epochs, patience=self.patience)
        _at_least(2, batch_size=self.batch_size)  # batch norm has no variance over one clip
        _at_least(1, decay_epochs=self.decay_epochs)
        _above_zero(lr=self.lr)
        _at_least(0, samples_per_epoch=self.samples_per_epoch, weight_decay=self.weight_decay)
        _at_least(0, checkpoint_epochs=self.checkpoint_epochs, focal_gamma=self.focal_gamma)
        _one_of(OPTIMIZERS, optimizer=self.optimizer)
        _one_of(SCHEDULES, schedule=self.schedule)
        _one_of(LOSSES, loss=self.loss)
        _share(warmup_share=self.warmup_share, label_smoothing=self.label_smoothing, ema_decay=self.ema_decay)
        if not self.gradient_clip > 0:
            raise ConfigError(f"gradient_clip is {self.gradient_clip}, expected more than 0; .inf clips nothing")
        for name in ("momentum", "decay_factor"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected more than 0 and below 1")
        weights = self.class_weights
        if isinstance(weights, str):
            if weights != BALANCED:
                raise ConfigError(f"class_weights is {weights!r}, expected {BALANCED!r} or a list")
        elif not all(0 <= weight < math.inf for weight in weights) or (weights and not any(weights)):
            raise ConfigError(f"class_weights is {list(weights)}, expected numbers from 0 that are not all 0")


@dataclass(frozen=True)
class DistillConfig:
    """Soft targets: loss = alpha * T^2 * KL + (1 - alpha) * CE + feature_weight * (1 - cosine)."""

    temperature: float = 4.0
    alpha: float = 0.7
    feature_weight: float = 0.0  # of the distance to the teachers' embeddings; 0 asks for none
    teacher_weights: tuple[float, ...] = ()  # of each teacher's log-probabilities in their mean; empty weighs all alike
    quiet_teachers: bool = False  # they hear each clip before noise was added, and the student after

    def __post_init__(self):
        _above_zero(temperature=self.temperature)
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha is {self.alpha}, expected 0 to 1")
        _at_least(0, feature_weight=self.feature_weight)
        weights = self.teacher_weights
        if not all(0 <= weight < math.inf for weight in weights) or (weights and not any(weights)):
            raise ConfigError(f"teacher_weights is {list(weights)}, expected numbers from 0 that are not all 0")


@dataclass(frozen=True)
class CompressConfig:
    """Pruning and quantisation."""

    target_sparsity: float = 0.4  # share of the parameters that leave
    pruning_steps: int = 8
    epochs_per_step: int = 1
    final_epochs: int = 24  # fine-tuning once the last channel has left
    lr: float = 3e-3
    qat_epochs: int = 0  # of fine-tuning with INT8's roundings, after the last; 0 leaves them to calibration alone
    qat_lr: float = 3e-4  # peak; the net is already trained, and large steps would undo that
    round_to: int = 4  # channels stay a multiple of this: vector width of INT8 kernels
    calibration_clips: int = 512
    unknown_odds: float = 1.0  # exported probabilities expect `_unknown_` so many times as often as each other label

    def __post_init__(self):
        _at_least(1, epochs_per_step=self.epochs_per_step, final_epochs=self.final_epochs, round_to=self.round_to)
        _at_least(1, pruning_steps=self.pruning_steps, calibration_clips=self.calibration_clips)
        _above_zero(lr=self.lr, qat_lr=self.qat_lr, unknown_odds=self.unknown_odds)
        _at_least(0, qat_epochs=self.qat_epochs)
        if not 0 <= self.target_sparsity < 1:
            raise ConfigError(f"target_sparsity is {self.target_sparsity}, expected 0 or more and below 1")

    def of_weights(self) -> CompressConfig:
        """What trained weights depend on: the same, with defaults for what exported files alone do."""
        default = CompressConfig()
        return dataclasses.replace(
            self,
            calibration_clips=default.calibration_clips,
            unknown_odds=default.unknown_odds,
            qat_lr=self.qat_lr if self.qat_epochs else default.qat_lr,
        )


@dataclass(frozen=True)
class RobustnessConfig:
    """What `edgedigit.robustness` does to recordings; no training setting."""

    snr_db: tuple[float, ...] = (20.0, 10.0, 5.0, 0.0)  # a quiet office to speech as loud as the noise
    n_rooms: int = 50
    room_seed: int = 1  # training's rooms are those of seed 0
    talkers: tuple[int, int] = (3, 8)  # of babble, as in training; fewer are interfering voices, not babble
    gain_db: float = 20.0  # up and down
    sample_rates: tuple[int, ...] = (16000, 44100, 48000)  # Hz, of files that users have
    offset_ms: float = 200.0  # earlier and later than where the word was found
    offset_keeps: float = 0.99  # of its energy: a clip that keeps less has lost part of its word over the window's edge

    def __post_init__(self):
        if not self.snr_db or not all(math.isfinite(value) for value in self.snr_db):
            raise ConfigError(f"snr_db is {list(self.snr_db)}, expected one or more finite values in dB")


@dataclass(frozen=True)
class StringsConfig:
    """What `edgedigit.strings_eval` says to a recogniser; no training setting."""

    n_strings: int = 100
    digits: tuple[int, int] = (4, 10)  # fewest and most in a string: a PIN to a telephone number
    gap_ms: tuple[float, float] = (120.0, 600.0)  # between clips, drawn evenly: brisk to deliberate
    noise_db: float = -65.0  # dBFS, under everything: a quiet room
    seed: int = 0
    invalid: float = 0.0  # share of strings that break the checksum, as a speaker's slip does

    def __post_init__(self):
        _at_least(1, n_strings=self.n_strings)
        _at_least(0, seed=self.seed)
        if not 0 <= self.invalid <= 1:
            raise ConfigError(f"invalid is {self.invalid}, expected a share of the strings, 0 to 1")
        if not 1 <= self.digits[0] <= self.digits[1]:
            raise ConfigError(f"digits is {list(self.digits)}, expected two counts from 1, the lower first")
        if not 0 <= self.gap_ms[0] <= self.gap_ms[1] < math.inf:
            raise ConfigError(f"gap_ms is {list(self.gap_ms)}, expected two durations in ms, the shorter first")
        if not self.noise_db <= 0:
            raise ConfigError(f"noise_db is {self.noise_db}, expected dBFS, 0 or less")


@dataclass(frozen=True)
class BenchConfig:
    """What `edgedigit.bench` measures and holds to a budget; no training setting."""

    budget_inference_ms: float = 15.0  # of the 99th percentile
    budget_answer_ms: float = 150.0  # of the 95th percentile of the words that were answered
    n_runs: int = 1000  # inferences timed for each file: 10 lie beyond the 99th percentile
    threads: tuple[int, ...] = (1, 2)  # of the network; more than 2 gain nothing on models this small
    n_processes: int = 10  # started cold, one after the other
    budget_quiet_ms: tuple[float, float, float] | None = None  # p50, p95, p99 of answers in quiet, besides; None: any
    min_right: float = 0.5  # share of all words in quiet: a fast answer to one of them keeps no budget
    max_points_lost: float | None = None  # in quiet, of right words against the same clips one by one; None: any
    max_cpu_share: float = 0.03  # of one core, while listening
    max_growth_mb: float = 1.0  # while listening, from the first tenth to the last

    def __post_init__(self):
        _at_least(0, budget_inference_ms=self.budget_inference_ms, budget_answer_ms=self.budget_answer_ms)
        for limit_ms in self.budget_quiet_ms or ():
            _at_least(0, budget_quiet_ms=limit_ms)
        _at_least(1, n_runs=self.n_runs, n_processes=self.n_processes)
        _at_least(0, min_right=self.min_right, max_points_lost=self.max_points_lost or 0)
        _at_least(0, max_cpu_share=self.max_cpu_share, max_growth_mb=self.max_growth_mb)


@dataclass(frozen=True)
class GateConfig:
    """Limits that stop a script with exit code 1; INT8 that breaks one is left out of the export, fp32 is not.

    The two shares of INT8 hold for what was measured, whatever its interval: doubt speaks for fp32. But a share of less
    than one clip cannot be measured, so one clip alone breaks neither, unless nothing at all is allowed (0 and 1).
    """

    min_validation_accuracy: float = 0.6  # a student below this is not worth exporting
    max_int8_loss: float = 0.003  # of accuracy, against fp32 on validation; of fewer than 667 clips one
    max_parity_fp32: float = 1e-4  # largest probability difference from torch
    min_agreement_int8: float = 0.995  # share of decisions equal to fp32; of fewer than 400 clips one may differ
    max_size_bytes: int = 1_000_000  # per exported file
    max_n_params: int = 90_000
    max_latency_ms: float = 15.0  # p99 of one inference


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    emg_augment: EmgAugmentConfig = EmgAugmentConfig()
    teachers: tuple[ModelConfig, ...] = (ModelConfig("resnet_se"),)
    teachers_from: str | tuple[str, ...] = ()  # folders of runs whose trained teachers are taken as they are; () trains
    student: ModelConfig = ModelConfig("student_dscnn")
    fit_teacher: FitConfig = FitConfig(epochs=20, lr=1.5e-3, weight_decay=0.05)
    fit_student: FitConfig = FitConfig(epochs=40, lr=5e-3)
    distill: DistillConfig = DistillConfig()
    compress: CompressConfig = CompressConfig()
    gates: GateConfig = GateConfig()
    seed: int = 0  # weights, order of recordings, augmentation
    threads: int = 0  # of torch; 0 leaves torch's own choice
    device: str = "cpu"  # that trains; or cuda
    precision: str = "auto"  # of teachers' networks: bf16 where the device computes it natively; or bf16, fp16, fp32
    student_precision: str = "fp32"  # of the student's network while it trains, likewise

    def __post_init__(self):
        _at_least(0, seed=self.seed, threads=self.threads)
        _one_of(DEVICES, device=self.device)
        _one_of(PRECISIONS, precision=self.precision, student_precision=self.student_precision)
        if self.teachers_from and not self.teachers:
            raise ConfigError(f"teachers_from is {self.teachers_from!r}, but no teachers are named; name those to take")
        if self.distill.quiet_teachers and self.data.signal.kind != "audio":
            raise ConfigError(
                "distill.quiet_teachers is true, but EMG has no noise that was added; set it to false for EMG"
            )
        if self.distill.teacher_weights and len(self.distill.teacher_weights) != len(self.teachers):
            raise ConfigError(
                f"distill.teacher_weights has {len(self.distill.teacher_weights)} values, expected one for each of "
                f"{len(self.teachers)} teachers"
            )
        for name, fit in (("fit_teacher", self.fit_teacher), ("fit_student", self.fit_student)):
            weights, n_labels = fit.class_weights, len(self.data.labels)
            if weights == BALANCED and NON_DIGIT in self.data.labels:  # export would even the odds a second time
                raise ConfigError(
                    f"{name}.class_weights is {BALANCED!r}, but with {NON_DIGIT} all other labels are drawn alike, and "
                    f"exported probabilities are freed from how often {NON_DIGIT} is; leave class_weights out"
                )
            if weights and weights != BALANCED and len(weights) != n_labels:
                raise ConfigError(
                    f"{name}.class_weights has {len(weights)} values, expected one for each of {n_labels} labels"
                )


def to_dict(config) -> dict:
    """Plain values of a configuration dataclass, as JSON would hold them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def training_settings(config: Config) -> dict:
    """What trained weights depend on: all but the gates and the machine, whose threads and device round differently."""
    return {key: value for key, value in to_dict(config).items() if key not in ("gates", "threads", "device")}


def from_dict(values: Mapping, kind: type = Config, where: str = ""):
    """Build a configuration from nested mappings that state only differences.

    Raises:
        ConfigError: on an unknown key (naming the nearest) or a value of the wrong type.
    """
    return _merge(kind, None, values, where)


def from_stored(values: Mapping) -> Config:
    """A resolved configuration as runs, checkpoints and manifests store it, maybe by an older version.

    Raises:
        ConfigError: as `from_dict`.
    """
    config = from_dict(values)
    if config.data.signal.kind == "audio" and "noise_part" not in values.get("data", {}):
        config = with_setting(config, "data.noise_part", "all")  # once, all noises trained
    return config


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Defaults, changed by a YAML or JSON file, changed by `key.path=value` overrides.

    Args:
        path: a file, or None for the defaults.
        overrides: such as "fit_student.lr=3e-3"; values are read as YAML.

    Raises:
        ConfigError: if the file is missing or malformed, or a key or type is wrong.
    """
    return apply_overrides(from_dict({} if path is None else read_settings(path)), overrides)


def read_settings(path: str | Path) -> dict:
    """Keys and values of a YAML or JSON file, not checked yet; none if it is empty.

    Raises:
        ConfigError: if the file is missing or malformed.
    """
    import yaml

    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"configuration {path} is not text; expected YAML or JSON in UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded or {}, dict):
        raise ConfigError(f"configuration {path} holds {type(loaded).__name__}, expected keys and values")
    return loaded or {}


def apply_overrides(config: Config, overrides: Sequence[str], only: Sequence[str] = ()) -> Config:
    """Change a configuration by `key.path=value` settings, as if all came at once: teachers and their weights, say.

    Args:
        overrides: such as "fit_student.lr=3e-3"; values are read as YAML.
        only: sections that may be changed; empty allows all.

    Raises:
        ConfigError: if a key or type is wrong, or a section may not be changed.
    """
    import yaml

    changes: dict = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r} has no '='; write it as --set fit_student.lr=3e-3")
        if only and key.strip().split(".")[0] not in only:
            raise ConfigError(
                f"{key.strip()} was fixed when the run was trained; only {', '.join(only)} may change now"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"override {override!r}: the value is not valid YAML") from None
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        if "student" in value and "student" in changes:  # in their order: another name drops options given before
            config, changes = with_settings(config, changes), {}
        changes = merged(changes, value)
    return with_settings(config, changes)


def with_setting(config: Config, key: str, value: object) -> Config:
    """Change one setting, named by its dotted key such as "fit_student.lr".

    Raises:
        ConfigError: if the key or the type is wrong.
    """
    for part in reversed(key.split(".")):
        value = {part: value}
    return _merge(Config, config, value, "")


def with_settings(config: Config, values: Mapping) -> Config:
    """Lay nested mappings that state only differences over a configuration.

    Raises:
        ConfigError: on an unknown key (naming the nearest) or a value of the wrong type.
    """
    return _merge(Config, config, values, "")


def differences(config: Config) -> dict:
    """Nested plain values of a configuration that are not the defaults: what a file has to state to be read as it."""
    return _differing(to_dict(config), to_dict(Config()))


def _differing(values: dict, defaults: dict) -> dict:
    found = {}
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            value = _differing(value, defaults[key])
            if value:
                found[key] = value
        elif key not in defaults or value != defaults[key]:
            found[key] = value
    return found


def _merge(kind, base, values, where):
    """A `kind` with `values` laid over `base` (over the defaults where base is None)."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'configuration'} is {values!r}, expected keys and values")
    hints = typing.get_type_hints(kind)
    changes = {}
    for key, value in values.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(hints)}"
            raise ConfigError(f"unknown setting {path!r}{hint}")
        current = getattr(base, key) if base is not None else _default(kind, key)
        changes[key] = _convert(hints[key], current, value, path)
    try:
        return dataclasses.replace(base, **changes) if base is not None else kind(**changes)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where and where not in str(error) else str(error)) from None
    except TypeError:
        nothing = dataclasses.MISSING
        required = [f.name for f in dataclasses.fields(kind) if f.default is nothing and f.default_factory is nothing]
        missing = [name for name in required if name not in changes]
        raise ConfigError(f"{where or 'configuration'} lacks {', '.join(missing)}") from None


def merged(base: Mapping, changes: Mapping) -> dict:
    """Nested settings with others laid over them: one option of a front end leaves the others alone."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def _default(kind, key):
    value = next(f for f in dataclasses.fields(kind) if f.name == key).default
    return None if value is dataclasses.MISSING else value


def _convert(hint, current, value, path):
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is ModelConfig and isinstance(value, str):
        return ModelConfig.from_text(value)
    if (
        hint is ModelConfig
        and isinstance(value, Mapping)
        and current
        and value.get("name", current.name) != current.name
    ):
        current = None  # another model: options and label of the former are not its own
    if dataclasses.is_dataclass(hint):
        return _merge(hint, current, value, path)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(f"{path} is {value!r}, expected a list")
        if args[-1] is Ellipsis:
            return tuple(_convert(args[0], None, item, f"{path}[{i}]") for i, item in enumerate(value))
        if len(value) != len(args):
            raise ConfigError(f"{path} has {len(value)} values, expected {len(args)}")
        return tuple(
            _convert(a, None, item, f"{path}[{i}]") for i, (a, item) in enumerate(zip(args, value, strict=True))
        )
    if hint is dict and isinstance(value, Mapping) and isinstance(current, Mapping):
        return merged(current, value)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        *others, last = [arg for arg in args if arg is not types.NoneType]
        for other in others:
            with contextlib.suppress(ConfigError):
                return _convert(other, current, value, path)
        return _convert(last, current, value, path)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 3e-3 as a string
        try:
            value = float(value)
        except ValueError:
            raise ConfigError(f"{path} is {value!r}, expected a number") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float | str):  # likewise 5e5, which is a whole number
        with contextlib.suppress(ValueError):
            number = float(value)
            value = int(number) if number.is_integer() else value
    if hint is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # labels such as 7
    wrong_bool = isinstance(value, bool) and hint is not bool
    if hint is str and wrong_bool:  # YAML 1.1 reads yes, no, on and off so, which are words to recognise as well
        raise ConfigError(f'{path} is {value!r}, expected str; write words such as yes, no, on, off in quotes: "yes"')
    if isinstance(value, float) and math.isnan(value):  # no comparison with it fails: a gate would never close
        raise ConfigError(f"{path} is nan, expected a number")
    if not isinstance(value, hint) or wrong_bool:
        raise ConfigError(f"{path} is {value!r}, expected {hint.__name__}")
    return value
