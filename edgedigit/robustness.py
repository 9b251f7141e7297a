"""Accuracy of an exported model in noise and rooms, and what loudness, sample rate and timing do to its answers.

python -m edgedigit.robustness
python -m edgedigit.robustness --sources fsdd --part test
python -m edgedigit.robustness --model mine.onnx --sources folder:my_recordings --babble folder:nondigits
python -m edgedigit.robustness --clips 200 --plot noise.png --results noise.json
python -m edgedigit.robustness --model runs/mine/final-int8.onnx --held-out validation --noise-part train
python -m edgedigit.robustness --model runs/cv/kfold-3-*/final-int8.onnx --held-out test --babble other-words

Several models, as those of a cross-validation, each answer what their own training held out; the answers are pooled.
Without --sources it takes the recordings that the model's own training held out for validation. Noises are recordings
of the half that never trains (`data.noise_part`) or, to compare recipes before that, of the half that may; stationary
or impulsive by measurement, and babble of other speakers. The signal-to-noise ratio is that of the clip's loudest
200 ms to the noise over the model's window, as in training. Room, noise and where it begins are drawn by the clip's
name: all models meet the same mixtures.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgedigit.audio import read_audio, resample, write_wav
from edgedigit.cli import ArgumentParser, file_ending, print_json, run_main
from edgedigit.config import HELD_OUT, Config, RobustnessConfig
from edgedigit.data import load_recordings
from edgedigit.data.augment import shift
from edgedigit.data.dataset import as_arrays
from edgedigit.data.mixtures import BABBLE, KINDS, Condition, Mixtures, by_kind, subset
from edgedigit.data.noises import noises_of_part, origin_of
from edgedigit.data.recording import Recording
from edgedigit.errors import ConfigError, DataError
from edgedigit.figures import PANEL_INCHES, Line, draw_lines, new_figure, save_png
from edgedigit.manifest import source_commit, write_json
from edgedigit.metrics import (
    ANSWERED_RIGHTLY,
    accuracy_row,
    answered_shares,
    calibration_interval,
    expected_calibration_error,
)
from edgedigit.provenance import config_of, training_facts
from edgedigit.runtime import Recognizer

NOISE_TITLES = {"evaluation": "evaluation half", "train": "training half", "all": "all"}
BATCH = 128  # clips that are mixed at a time
OTHER_WORDS = "other-words"  # of --babble: what is no digit in the held-out part
SNR_NOTE = "SNR: RMS of a clip's loudest 200 ms to that of the noise over the model's window."


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m edgedigit.robustness", description=__doc__)
    parser.add_argument(
        "--model", nargs="+", help="ONNX file (the shipped default); several answer each their own held-out part"
    )
    of = parser.add_mutually_exclusive_group()
    of.add_argument("--sources", nargs="+", help="fsdd, audiomnist, speech_commands, folder:PATH, …")
    of.add_argument(
        "--held-out", choices=HELD_OUT, help="the recordings that the model's training kept for this; validation"
    )
    parser.add_argument("--part", help="only recordings that their corpus marks as train, validation or test")
    parser.add_argument(
        "--clips", type=int, default=0, help="only so many of each model, chosen by their names; 0: all"
    )
    parser.add_argument("--noises", nargs="+", default=["folder:noise"], help="recorded noises; folder:noise")
    parser.add_argument(
        "--noise-part",
        choices=NOISE_TITLES,
        default="evaluation",
        help="evaluation: those that never train; train: those that may, to compare recipes; all: for your own noises",
    )
    parser.add_argument(
        "--babble",
        nargs="+",
        help="recordings to make babble of, or other-words: what is no digit in the held-out part, by speakers of whom "
        "the model's training heard nothing; the other speakers of the test",
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, help="of noise; all three, without babble where there are no voices for it"
    )
    defaults = RobustnessConfig()
    parser.add_argument("--snr-db", nargs="+", type=float, default=defaults.snr_db, help="20 10 5 0")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument(
        "--plot", type=file_ending(".png"), default="robustness.png", help="PNG file to draw to; robustness.png"
    )
    parser.add_argument("--results", type=file_ending(".json"), help="JSON file to write the tables to, for documents")
    parser.add_argument("--title", default="", help="of the table")
    parser.add_argument("--how", default="", help="commands that made the models, to be put before this one's")
    args = parser.parse_args(argv)
    args.held_out = args.held_out or (None if args.sources else HELD_OUT[0])
    if args.held_out and args.part:
        parser.error("--part is of --sources; --held-out says itself which recordings")
    if args.clips < 0:
        parser.error(f"--clips is {args.clips}, expected 1 or more, or 0 for all")
    if args.sources and len(args.model or ()) > 1:
        parser.error(f"got {len(args.model)} models for the same --sources; name one, or test each with its --held-out")
    if OTHER_WORDS in (args.babble or ()) and (args.sources or len(args.babble) > 1):
        parser.error(f"--babble {OTHER_WORDS} is of --held-out and stands alone; leave other recordings out")
    return args


@dataclass(frozen=True)
class Tested:
    """A model, the clips that it is tested with, and what they are mixed with."""

    recognizer: Recognizer
    clips: list[Recording]
    mixtures: Mixtures


@dataclass(frozen=True)
class Answers:
    """What is answered to n clips, by one model or each by its own.

    Attributes:
        targets: (n,) label indices.
        in_noise: probabilities (n, n_labels) in every condition.
        rejected: (n,) bool, whether the model's threshold turns them away.
        perturbed: (n,) label indices that are answered after each of `perturbations`.
        whole: (n,) bool, whether a word stays in the window after each of `offsets`.
    """

    targets: np.ndarray
    in_noise: dict[Condition, np.ndarray]
    rejected: dict[Condition, np.ndarray]
    perturbed: dict[str, np.ndarray]
    whole: dict[str, np.ndarray]


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    config = RobustnessConfig(snr_db=tuple(dict.fromkeys(args.snr_db)))

    # 1. Recordings, noises and voices; what is missing is told before anything is computed.
    tested, left_out = load_tested(args, config)

    # 2. Answers in every condition, those of several models pooled.
    answers = pooled([answers_of(one, config) for one in tested])

    # 3. Tables, picture, file.
    kinds = tested[0].mixtures.kinds
    grid = grid_of(answers)
    print(grid_text(grid, kinds, config.snr_db))
    print(grid_text(grid, kinds, config.snr_db, ANSWERED_RIGHTLY))
    changes = perturbation_rows(answers)
    print(perturbation_text(changes))
    notes = notes_of(args, tested, left_out)
    print("\n".join(f"  {note}" for note in notes))
    result = {
        "name": Path(args.results).stem if args.results else "",
        "title": args.title,
        "command": " && ".join(filter(None, [args.how, command_of(args)])),
        "commit": source_commit(),
        **training_facts(*(one.recognizer.path for one in tested)),
        "rows": [*grid.values(), *changes],
        "note": " ".join(notes),
    }
    print_json(result)  # before files, which a full disk may refuse
    save_png(grid_figure(grid, kinds, config.snr_db), args.plot)
    if args.results:
        write_json(args.results, result)
    return 0


def load_tested(args: argparse.Namespace, config: RobustnessConfig) -> tuple[list[Tested], str]:
    """Every model with its clips, noises and voices; and a sentence on babble that cannot be made, or none.

    Raises:
        ConfigError: if a model takes no audio, or models cannot be pooled.
        DataError: if clips, noises or voices are missing; voices, only if babble was asked for.
    """
    recognizers = load_models(args.model)
    clips = [load_clips(args, recognizer) for recognizer in recognizers]
    check_apart(recognizers, clips)
    kinds = list(dict.fromkeys(args.kinds or KINDS))
    noises = load_noises(args, recognizers[0], kinds)
    talkers = load_talkers(args, recognizers, clips) if BABBLE in kinds else clips

    def with_kinds(kinds: Sequence[str]) -> list[Tested]:
        window = recognizers[0].info.n_samples, recognizers[0].info.sample_rate
        mixtures = [Mixtures(noises, voices, kinds, config, *window) for voices in talkers]
        return [Tested(*one) for one in zip(recognizers, clips, mixtures, strict=True)]

    tested, left_out = with_kinds(kinds), ""
    try:
        for one in tested:
            one.mixtures.check(one.clips)
    except DataError as error:
        if args.kinds or args.babble:
            raise
        left_out = f"Left out: {str(error).partition(';')[0]}; --babble names others."
        tested = with_kinds([kind for kind in kinds if kind != BABBLE])
    return tested, left_out


def load_models(paths: Sequence[str] | None) -> list[Recognizer]:
    """The models to test, of which each answer means the same.

    Raises:
        ConfigError: if one takes no audio, or has other labels or another window than the first.
        ModelError: if one is no model.
    """
    recognizers = [Recognizer(path) for path in paths or (None,)]
    first = recognizers[0]
    for recognizer in recognizers:
        if recognizer.info.signal.kind != "audio":
            raise ConfigError(f"{recognizer.path.name} takes {recognizer.info.signal.kind}; expected a model of audio")
        for what in ("labels", "signal", "reject_label"):
            if getattr(recognizer.info, what) != getattr(first.info, what):
                raise ConfigError(
                    f"{recognizer.path} and {first.path} differ in {what}; answers of models are pooled where these "
                    "are the same"
                )
    return recognizers


def check_apart(recognizers: Sequence[Recognizer], clips: Sequence[Sequence[Recording]]) -> None:
    """Raise DataError if two models are to answer the same clip, which would count twice."""
    of: dict[str, Path] = {}
    for recognizer, own in zip(recognizers, clips, strict=True):
        for clip in own:
            if clip.name in of:
                raise DataError(
                    f"{clip.name} is in the parts of both {of[clip.name]} and {recognizer.path}; name models whose "
                    "parts share no recording, as those that crossval made for --held-out test"
                )
        of |= dict.fromkeys((clip.name for clip in own), recognizer.path)


def load_clips(args: argparse.Namespace, recognizer: Recognizer) -> list[Recording]:
    """The recordings to test with."""
    from edgedigit.train.heard import recordings_to_test  # which brings torch

    read = recordings_to_test(args, recognizer, recognizer.info.labels)
    clips = [clip for clip in read if clip.label != recognizer.info.reject_label]  # accuracy is of digits
    if not clips:
        words = ", ".join(label for label in recognizer.info.labels if label != recognizer.info.reject_label)
        raise DataError(f"{', '.join(tested_with(args))} holds none of {words}; check its labels")
    return subset(clips, args.clips) if args.clips else clips


def tested_with(args: argparse.Namespace) -> list[str]:
    """What is tested with, in words."""
    whose = "each model's" if len(args.model or ()) > 1 else "the model's"
    return args.sources or [f"{whose} {args.held_out} part"]


def load_noises(args: argparse.Namespace, recognizer: Recognizer, kinds: Sequence[str]) -> dict[str, list[Recording]]:
    """Recorded noises by kind; none where babble alone is asked for."""
    recorded = [kind for kind in kinds if kind != BABBLE]
    if not recorded:
        return {}
    try:
        loaded = load_recordings(args.noises, args.data_dir, labels=None, signal=recognizer.info.signal)
    except DataError as error:
        raise DataError(f"--noises: {error}; --kinds babble needs none") from None
    noises = by_kind(noises_of_part(loaded, args.noise_part))
    if missing := [kind for kind in recorded if not noises[kind]]:
        which = {"evaluation": " that is held out from training", "train": " that may train", "all": ""}
        raise DataError(
            f"of {len(loaded)} noises of {', '.join(args.noises)}, none{which[args.noise_part]} is "
            f"{' or '.join(missing)}; add noises, take other --kinds or, if they never trained, --noise-part all"
        )
    return noises


def load_talkers(
    args: argparse.Namespace, recognizers: Sequence[Recognizer], clips: list[list[Recording]]
) -> list[list[Recording]]:
    """Whose voices babble is made of, for each model; its own clips by default, whose speakers the others may know."""
    if args.babble is None:
        return clips
    if args.babble == [OTHER_WORDS]:
        from edgedigit.train.heard import held_out_voices  # which brings torch

        return [held_out_voices(recognizer.path, args.held_out, args.data_dir) for recognizer in recognizers]
    signal = recognizers[0].info.signal
    loaded = load_recordings(args.babble, args.data_dir, labels=None, signal=signal, progress=True)
    return [loaded] * len(recognizers)


def answers_of(tested: Tested, config: RobustnessConfig) -> Answers:
    """What a model answers in every condition and after each perturbation."""
    recognizer, clips = tested.recognizer, tested.clips
    windows, targets = as_arrays(clips, recognizer.info.labels, recognizer.info.n_samples)
    in_noise = answers_in_noise(recognizer, clips, windows, tested.mixtures)
    return Answers(
        targets,
        in_noise,
        {condition: recognizer.rejects(probabilities) for condition, probabilities in in_noise.items()},
        answers_when_perturbed(recognizer, clips, config),
        {
            name: energy_kept(windows, offset) >= config.offset_keeps
            for name, offset in offsets(recognizer, config).items()
        },
    )


def pooled(several: Sequence[Answers]) -> Answers:
    """Answers of several models to clips of their own, one after the other."""

    def joined(parts: Sequence[Mapping]) -> dict:
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    return Answers(
        np.concatenate([answers.targets for answers in several]),
        joined([answers.in_noise for answers in several]),
        joined([answers.rejected for answers in several]),
        joined([answers.perturbed for answers in several]),
        joined([answers.whole for answers in several]),
    )


def answers_in_noise(
    recognizer: Recognizer, clips: Sequence[Recording], windows: np.ndarray, mixtures: Mixtures
) -> dict[Condition, np.ndarray]:
    """Probabilities (n, n_labels) that the model answers in every condition."""
    shape = len(clips), len(recognizer.info.labels)
    answers = {condition: np.zeros(shape, np.float32) for condition in mixtures.conditions}
    for first in tqdm(range(0, len(clips), BATCH), desc="noise and rooms", unit="batch", leave=False, disable=None):
        part = slice(first, first + BATCH)
        for condition, mixed in mixtures.of(clips[part], windows[part]):
            answers[condition][part] = recognizer.probabilities(mixed)
    return answers


def perturbations(recognizer: Recognizer, config: RobustnessConfig) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What may happen to a clip (T,) at the model's rate on its way to the model's window (n_samples,)."""
    rate = recognizer.info.sample_rate
    gain = np.float32(10 ** (config.gain_db / 20))

    def window(clip: np.ndarray) -> np.ndarray:
        return recognizer.window(clip, rate)

    def from_file(file_rate: int) -> Callable[[np.ndarray], np.ndarray]:
        def read(clip: np.ndarray) -> np.ndarray:  # as from a user's 16-bit WAV file
            with BytesIO() as file:
                write_wav(file, resample(clip, rate, file_rate), file_rate)
                file.seek(0)
                return recognizer.window(*read_audio(file))

        return read

    return {
        f"{config.gain_db:g} dB louder": lambda clip: window(gain * clip),
        f"{config.gain_db:g} dB louder, clipped": lambda clip: window(np.clip(gain * clip, -1, 1)),
        f"{config.gain_db:g} dB fainter": lambda clip: window(clip / gain),
        **{f"{file_rate} Hz file": from_file(file_rate) for file_rate in config.sample_rates},
        **{
            name: lambda clip, offset=offset: shift(window(clip), offset)
            for name, offset in offsets(recognizer, config).items()
        },
    }


def offsets(recognizer: Recognizer, config: RobustnessConfig) -> dict[str, int]:
    """By how many samples a clip is moved inside the model's window."""
    offset = round(config.offset_ms * recognizer.info.sample_rate / 1000)
    return {f"{config.offset_ms:g} ms late": offset, f"{config.offset_ms:g} ms early": -offset}


def energy_kept(windows: np.ndarray, offset: int) -> np.ndarray:
    """Share (n,) of the energy of windows (n, T) that is still inside when they are moved by `offset` samples."""
    moved = np.stack([shift(window, offset) for window in windows])
    return (moved**2).sum(axis=1) / np.maximum((windows**2).sum(axis=1), np.finfo(np.float32).tiny)


def answers_when_perturbed(
    recognizer: Recognizer, clips: Sequence[Recording], config: RobustnessConfig
) -> dict[str, np.ndarray]:
    """Label indices (n,) that the model answers to clean, near clips after each of `perturbations`."""
    answers = {}
    for name, perturb in tqdm(
        perturbations(recognizer, config).items(), desc="perturbations", leave=False, disable=None
    ):
        parts = []
        for first in range(0, len(clips), BATCH):
            windows = np.stack([perturb(clip.waveform) for clip in clips[first : first + BATCH]])
            parts.append(recognizer.probabilities(windows).argmax(axis=1))
        answers[name] = np.concatenate(parts)
    return answers


def grid_of(answers: Answers) -> dict[Condition, dict]:
    """A row for every condition, with what is answered rightly and wrongly at the threshold."""
    return {
        condition: {
            **row_of(condition.name, probabilities, answers.targets),
            **answered_shares(probabilities.argmax(axis=1) == answers.targets, answers.rejected[condition]),
        }
        for condition, probabilities in answers.in_noise.items()
    }


def perturbation_rows(answers: Answers) -> list[dict]:
    """A row for every perturbation and, of those in time, one of the words that stay in the window."""
    plain, targets = answers.in_noise[Condition()].argmax(axis=1), answers.targets
    rows = [perturbation_row(name, labels, plain, targets) for name, labels in answers.perturbed.items()]
    for name, whole in answers.whole.items():
        if whole.any():
            labels = answers.perturbed[name]
            rows.append(perturbation_row(f"{name}, whole words", labels[whole], plain[whole], targets[whole]))
    return rows


def row_of(group: str, probabilities: np.ndarray, targets: np.ndarray) -> dict:
    """`accuracy_row` with the calibration error and its 95 % interval, in per cent, and how much too sure it is."""
    low, high, _ = calibration_interval(probabilities, targets)
    error = 100 * expected_calibration_error(probabilities, targets)
    row = accuracy_of(group, probabilities.argmax(axis=1), targets)
    too_sure = 100 * (float(probabilities.max(axis=1).mean()) - row["accuracy"])
    said = {"calibration error %": f"{error:.1f} ({100 * low:.1f}–{100 * high:.1f})"}
    return {**row, **said, "too sure by points": f"{too_sure:+.1f}"}


def accuracy_of(group: str, answers: np.ndarray, targets: np.ndarray) -> dict:
    return accuracy_row(group, int((answers == targets).sum()), len(targets))


def perturbation_row(group: str, answers: np.ndarray, plain: np.ndarray, targets: np.ndarray) -> dict:
    """`accuracy_row` with the difference from the plain clips in points, and how many answers are others."""
    points = 100 * (np.mean(answers == targets) - np.mean(plain == targets))
    changed = 100 * np.mean(answers != plain)
    row = accuracy_of(group, answers, targets)
    return {**row, "points from clean": float(points), "answers changed %": float(changed)}


def grid_text(
    grid: dict[Condition, dict], kinds: Sequence[str], snr_db: Sequence[float], figure: str = "accuracy %"
) -> str:
    """The grid as aligned text: kinds in rows, ratios in columns, near and reverberant one below the other.

    Args:
        figure: accuracies with their intervals, or another of the rows' figures.
    """

    def cell(row: dict) -> str:
        if figure in row:
            return f"{row[figure]:5.1f}"
        return f"{100 * row['accuracy']:5.1f} [{100 * row['accuracy_low']:.1f}, {100 * row['accuracy_high']:.1f}]"

    of = " of the likeliest label, whatever its probability [95 % interval]" if figure == "accuracy %" else ""
    lines = [f"  {figure}{of}, n = {grid[Condition()]['n']}"]
    for reverberant, place in ((False, "near"), (True, "reverberant")):
        lines.append(f"  {place:<12}{'clean':<20}" + "".join(f"{f'{snr:g} dB':<20}" for snr in snr_db).rstrip())
        for kind in kinds:
            cells = [grid[Condition(reverberant=reverberant)]]
            cells += [grid[Condition(kind, snr, reverberant)] for snr in snr_db]
            lines.append(f"  {kind:<12}" + "".join(f"{cell(row):<20}" for row in cells).rstrip())
    return "\n".join(lines)


def perturbation_text(rows: Sequence[dict]) -> str:
    """What each perturbation does, as aligned text."""
    width = max(len(row["group"]) for row in rows)
    lines = [f"  {'clean, near, and':<{width}}      n  accuracy %  points from clean  answers changed %"]
    for row in rows:
        figures = f"{100 * row['accuracy']:10.2f}  {row['points from clean']:+17.2f}  {row['answers changed %']:17.2f}"
        lines.append(f"  {row['group']:<{width}}  {row['n']:5}  {figures}")
    return "\n".join(lines)


def grid_figure(grid: dict[Condition, dict], kinds: Sequence[str], snr_db: Sequence[float]):
    """Accuracy with its interval from clean to the loudest noise, a panel for each place."""
    figure = new_figure(2 * PANEL_INCHES[0], PANEL_INCHES[1])
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (reverberant, place) in zip(panels, ((False, "near"), (True, "reverberant")), strict=True):
        lines = []
        for kind in kinds:
            rows = [grid[Condition(reverberant=reverberant)]]
            rows += [grid[Condition(kind, snr, reverberant)] for snr in snr_db]
            points = [(i, 100 * row["accuracy"]) for i, row in enumerate(rows)]
            spread = [(100 * row["accuracy_low"], 100 * row["accuracy_high"]) for row in rows]
            lines.append(Line(kind, points, spread=spread))
        draw_lines(axes, lines, "signal-to-noise ratio", f"accuracy %, {place}")
        axes.set_xticks(range(1 + len(snr_db)), ["clean", *(f"{snr:g} dB" for snr in snr_db)])
    return figure


def notes_of(args: argparse.Namespace, tested: Sequence[Tested], left_out: str) -> list[str]:
    """What to know about the figures: on whose recordings they rest, and in which noise."""
    from edgedigit.train.heard import pooled_novelty_note  # which brings torch

    config = tested[0].mixtures.config
    notes = [pooled_novelty_note([(one.recognizer.path, one.clips) for one in tested], args.data_dir)]
    if args.held_out == "validation":
        notes.append(f"The {'model was' if len(tested) == 1 else 'models were'} selected on them.")
    notes += [SNR_NOTE, *filter(None, [left_out]), *noise_notes(args, tested)]
    notes.append(f"Whole words: clips that keep {100 * config.offset_keeps:g} % of their energy inside the window.")
    sizes = {len(one.clips) for one in tested}
    if args.clips and args.clips in sizes:
        count = args.clips if len(sizes) == 1 else f"Up to {args.clips}"
        notes.append(f"{count} clips of {', '.join(tested_with(args))}, chosen by the hash of their names.")
    return notes


def noise_notes(args: argparse.Namespace, tested: Sequence[Tested]) -> list[str]:
    """What the noises are, and whether the models have trained on them."""
    notes, mixtures = [], tested[0].mixtures
    if BABBLE in mixtures.kinds:
        low, high = mixtures.config.talkers
        voices = ", ".join(args.babble or tested_with(args))
        if args.babble == [OTHER_WORDS]:
            voices = f"other words in {tested_with(args)[0]}, none of whom trained it"
        notes.append(f"Babble: {low} to {high} speakers of {voices}, never the clip's own.")
    recorded = {kind: mixtures.noises[kind] for kind in mixtures.kinds if kind != BABBLE}
    return notes + recorded_notes(args, [one.recognizer.path for one in tested], recorded)


def recorded_notes(args: argparse.Namespace, models: Sequence[Path], recorded: dict[str, list[Recording]]) -> list[str]:
    """What recorded noises are, by kind, and whether the models have trained on them."""
    if not recorded:
        return []
    counts = [
        f"{len(noises)} {kind} of {len({origin_of(noise.name) for noise in noises})} origins"
        for kind, noises in recorded.items()
    ]
    return [
        f"Noises: {', '.join(args.noises)}, {NOISE_TITLES[args.noise_part]}: {', '.join(counts)}.",
        *training_notes(models),
    ]


def training_notes(models: Sequence[Path]) -> list[str]:
    """What the noises are to the models: one sentence if that is the same for all, else one for each."""
    configs = [config_of(model) for model in models]
    if len({training_note(config) for config in configs}) > 1:
        return [training_note(config, f"the model {model}") for config, model in zip(configs, models, strict=True)]
    return [training_note(configs[0], "the model" if len(models) == 1 else "each model")]


def training_note(config: Config | None, model: str = "the model") -> str:
    """What the noises are to a model that was trained with this configuration; None where nothing says how it was."""
    if config is None:
        return f"Which noises {model} trained on is not known: it has no manifest that says so."
    augment, source = config.augment, config.data.noises
    trained = f"{model[0].upper()}{model[1:]} trained"
    if not (source and augment.enabled and augment.noise_probability and augment.recorded_share):
        return f"{trained} on no recorded noise."
    if config.data.noise_part == "all":
        return f"{trained} on all noises of {source}: where they are these, it has heard them before."
    return f"{trained} on {source} without the evaluation half: that half is new to it."


def command_of(args: argparse.Namespace) -> str:
    """The command that gives these figures again."""
    words = ["python", "-m", "edgedigit.robustness", *(["--model", *args.model] if args.model else [])]
    words += ["--held-out", args.held_out] if args.held_out else ["--sources", *args.sources]
    words += ["--part", args.part] if args.part else []
    words += ["--clips", str(args.clips)] if args.clips else []
    words += ["--noises", *args.noises] if args.noises != ["folder:noise"] else []
    words += ["--noise-part", args.noise_part] if args.noise_part != "evaluation" else []
    words += ["--babble", *args.babble] if args.babble else []
    words += ["--kinds", *args.kinds] if args.kinds and args.kinds != list(KINDS) else []
    words += ["--snr-db", *(f"{snr:g}" for snr in args.snr_db)] if args.snr_db != RobustnessConfig().snr_db else []
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(run_main(main))
