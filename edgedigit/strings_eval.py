"""Error of digit strings: spoken digits in a row, through the endpointing that the microphone uses.

python -m edgedigit.strings_eval --sources fsdd --part test
python -m edgedigit.strings_eval --sources fsdd --part test --checksum luhn --length
python -m edgedigit.strings_eval --sources fsdd --part test --checksum luhn --invalid 0.5
python -m edgedigit.strings_eval --sources folder:strings/an4 --utterances
python -m edgedigit.strings_eval --held-out validation --trim
python -m edgedigit.strings_eval --sources folder:my_digits --strings 300 --results docs/results/strings.json

Strings are put together from clips of single digits: each of one speaker, digits and clips drawn evenly from those of
that speaker, gaps drawn evenly, over a steady faint noise. With --utterances the recordings are strings already, each
labelled with its digits. String error counts strings that were not answered by exactly their digits, once; digit error
is (substitutions + deletions + insertions) / digits spoken. Intervals of 95 %: Wilson over strings, and over digits a
bootstrap of the strings. Only speakers that a model was not trained on say how it does on others.

With --checksum or --length it is said how many strings were answered exactly, and which of the others were refused
(`satisfied` is false) but would have been right. Some may break the checksum (--invalid), as when a speaker errs: of
those, how many were not turned into a string that keeps it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path

import numpy as np

from edgedigit.cli import ArgumentParser, file_ending, print_json, run_main
from edgedigit.config import HELD_OUT, StringsConfig
from edgedigit.data.progress import progress_bar
from edgedigit.data.recording import Recording
from edgedigit.errors import DataError, InputError
from edgedigit.labels import DIGITS
from edgedigit.manifest import source_commit, write_json
from edgedigit.metrics import accuracy_row, bootstrap_interval, edit_counts, wilson_interval
from edgedigit.provenance import training_facts
from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.runtime.checksum import CHECKSUMS, Checksum
from edgedigit.runtime.digit_string import DigitString, DigitStringCollector, StringOptions
from edgedigit.word_stream import Clip, build_stream, end_of_word

MARGIN_MS = 30  # left around a word that is cut out: its softest sounds


@dataclass(frozen=True, eq=False)
class Spoken:
    """Digits that are said in a row, and the clips that say them."""

    digits: str
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a string.

    Attributes:
        spoken: its digits.
        answers: what was answered.
        is_valid: whether it keeps what the recogniser knows.
    """

    spoken: str
    answers: tuple[DigitString, ...]
    is_valid: bool = True

    @property
    def text(self) -> str:
        """All digits answered."""
        return "".join(answer.digits for answer in self.answers)

    @property
    def heard(self) -> str:
        """All digits answered, had neither length nor checksum been known."""
        return "".join(answer.heard for answer in self.answers)

    @property
    def is_accepted(self) -> bool:
        """Whether anything was said to keep what is known."""
        return any(answer.satisfied for answer in self.answers)

    @property
    def is_right(self) -> bool:
        """Whether one answer has exactly the digits."""
        return len(self.answers) == 1 and self.text == self.spoken


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m edgedigit.strings_eval", description=__doc__)
    defaults = StringsConfig()
    parser.add_argument("--model", help="ONNX file (the shipped default)")
    of = parser.add_mutually_exclusive_group(required=True)
    of.add_argument("--sources", nargs="+", help="fsdd, audiomnist, speech_commands, folder:PATH, …")
    of.add_argument("--held-out", choices=HELD_OUT, help="the recordings that the model's training kept for this")
    parser.add_argument("--part", help="only recordings that their corpus marks as train, validation or test")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument(
        "--utterances", action="store_true", help="the recordings are strings, labelled with their digits"
    )
    parser.add_argument("--trim", action="store_true", help="cut silence off the clips, so that gaps are as drawn")
    parser.add_argument("--strings", type=int, default=defaults.n_strings, help=f"how many; {defaults.n_strings}")
    parser.add_argument("--digits", nargs=2, type=int, default=defaults.digits, metavar="N", help="in a string; 4 10")
    parser.add_argument("--gap-ms", nargs=2, type=float, default=defaults.gap_ms, metavar="MS", help="between; 120 600")
    parser.add_argument("--noise-db", type=float, default=defaults.noise_db, help="dBFS of the noise; -65")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of digits, clips, gaps and noise; 0")
    parser.add_argument("--length", action="store_true", help="the recogniser knows how many digits are said")
    parser.add_argument(
        "--checksum", choices=CHECKSUMS, help="strings keep it, recorded ones or not; the recogniser knows"
    )
    parser.add_argument("--invalid", type=float, default=0.0, metavar="SHARE", help="of strings that break it; 0")
    parser.add_argument(
        "--plausible",
        nargs="+",
        type=float,
        default=[StringOptions.plausible],
        metavar="P",
        help="refuse what keeps the checksum with less; default: what chance gives. Of several each has its rows",
    )
    parser.add_argument("--reject-below", type=float, metavar="P", help="leave out words below this probability")
    parser.add_argument("--results", type=file_ending(".json"), help="JSON file to write everything to")
    parser.add_argument("--title", default="", help="of the result")
    args = parser.parse_args(argv)
    if args.held_out and (args.part or args.utterances):
        parser.error("--part and --utterances are of --sources; --held-out says itself which recordings")
    if args.invalid and not args.checksum:
        parser.error("--invalid is about a checksum and needs --checksum")
    if args.invalid and args.utterances:
        parser.error("--invalid is for strings that are put together; recorded ones keep a checksum or not")
    if args.plausible != [StringOptions.plausible] and not args.checksum:
        parser.error("--plausible is about a checksum and needs --checksum")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    config = StringsConfig(args.strings, tuple(args.digits), tuple(args.gap_ms), args.noise_db, args.seed, args.invalid)
    checksum = CHECKSUMS.get(args.checksum or "")
    options = [StringOptions(checksum=args.checksum, plausible=plausible) for plausible in args.plausible]
    recognizer = Recognizer(args.model, reject_below=args.reject_below)
    DigitStringCollector(recognizer)  # a model that knows other words is refused before anything is read

    # 1. What is spoken.
    recordings = load(args, recognizer)
    spoken = recorded_strings(recordings) if args.utterances else build_strings(recordings, config, checksum)

    # 2. What is answered, and what would be if nothing were refused.
    outcomes: list[list[Outcome]] = []  # of each string, with each of the options
    for row, string in enumerate(progress_bar(spoken, True, desc="listening", unit="string")):
        length = len(string.digits) if args.length else None
        known = [
            replace(one, length=length) for one in (*options, replace(options[0], plausible=0.0, plausible_length=0.0))
        ]
        answers = listen(recognizer, string, known, config, seed=config.seed + row)
        is_valid = checksum is None or checksum.holds(string.digits)
        outcomes.append([Outcome(string.digits, one, is_valid) for one in answers])

    # 3. Figures.
    *by_option, unrefused = zip(*outcomes, strict=True)
    notes = [f", plausible {p:g}" if len(by_option) > 1 else "" for p in args.plausible]
    figures = score(by_option[0], config.seed)
    for row in figures["rows"]:
        row["group"] += notes[0]
    if args.checksum or args.length:
        for note, of in zip(notes, by_option, strict=True):
            figures["rows"] += known_rows(of, unrefused, note)
    print(figures_text(figures))
    result = {
        "name": Path(args.results).stem if args.results else "",
        "title": args.title,
        "command": shlex.join(["python", "-m", "edgedigit.strings_eval", *_said(args)]),
        "commit": source_commit(),
        **training_facts(recognizer.path),
        "model": recognizer.path.name,
        "sources": args.sources or [f"{args.held_out} part of the model's training"],
        "n_speakers": len({clip.speaker for string in spoken for clip in string.clips}),
        **figures,
    }
    print_json(result)  # before the file, which a full disk may refuse
    if args.results:
        strings = [outcome_row(outcome) for outcome in by_option[0]] if len(by_option) == 1 else []
        write_json(args.results, {**result, "outcomes": strings})
    return 0


def load(args: argparse.Namespace, recognizer: Recognizer) -> list[Recording]:
    """The recordings to say."""
    from edgedigit.train.heard import recordings_to_test  # which brings torch

    recordings = recordings_to_test(args, recognizer, None if args.utterances else DIGITS)
    return [replace(r, waveform=trimmed(r.waveform, r.sample_rate)) for r in recordings] if args.trim else recordings


def trimmed(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """The word in a clip (T,) and MARGIN_MS around it, by the measure that says where words end."""
    margin = sample_rate * MARGIN_MS // 1000
    start = waveform.size - end_of_word(waveform[::-1], sample_rate)
    return waveform[max(0, start - margin) : end_of_word(waveform, sample_rate) + margin]


def build_strings(
    recordings: Sequence[Recording], config: StringsConfig, checksum: Checksum | None = None
) -> list[Spoken]:
    """Strings of single digits, each by one speaker.

    Args:
        recordings: clips of one digit each.
        config: how many strings, of how many digits, and the share that breaks the checksum: the first of them.
        checksum: that the strings keep.

    Raises:
        DataError: if nobody's digits make strings of every length that keep the checksum or, where some are to, break
            it.
    """
    rng = np.random.default_rng(config.seed)
    by_speaker: dict[str, dict[str, list[Recording]]] = {}
    for recording in recordings:
        by_speaker.setdefault(recording.speaker, {}).setdefault(recording.label, []).append(recording)
    n_invalid = round(config.invalid * config.n_strings)
    speakers = _able_speakers(by_speaker, config, checksum) if checksum else sorted(by_speaker)
    strings = []
    for i in range(config.n_strings):
        clips = by_speaker[speakers[rng.integers(len(speakers))]]
        n_digits = int(rng.integers(config.digits[0], config.digits[1] + 1))
        digits = "".join(rng.choice(sorted(clips), n_digits))
        while checksum and checksum.holds(digits) == (i < n_invalid):
            digits = "".join(rng.choice(sorted(clips), n_digits))
        chosen = [clips[digit][rng.integers(len(clips[digit]))] for digit in digits]
        strings.append(Spoken(digits, tuple(map(_clip, chosen))))
    return strings


def _able_speakers(
    by_speaker: Mapping[str, Collection[str]], config: StringsConfig, checksum: Checksum
) -> Sequence[str]:
    """Who says digits enough for every string that may be drawn: valid and invalid ones are of the same people."""
    able, lacking = [], ""
    for speaker, known in sorted(by_speaker.items()):
        for n_digits, keeps in product(range(config.digits[0], config.digits[1] + 1), (True, False)):
            wanted = config.invalid < 1 if keeps else config.invalid > 0
            if wanted and not _can_make(known, n_digits, checksum, keeps):
                lacking = lacking or (
                    f"{speaker} says only {', '.join(sorted(known))}, of which no {n_digits} digits "
                    f"{'keep' if keeps else 'break'} {checksum.name}"
                )
                break
        else:
            able.append(speaker)
    if not able:
        raise DataError(f"{lacking}; name recordings with more digits of each speaker")
    return able


def _can_make(known: Collection[str], n_digits: int, checksum: Checksum, keeps: bool) -> bool:
    remainders = {0}
    for place in range(n_digits):
        remainders = {(r + checksum.weigh(place, int(digit))) % checksum.modulus for r in remainders for digit in known}
    return checksum.remainder in remainders if keeps else remainders != {checksum.remainder}


def _clip(recording: Recording) -> Clip:
    return Clip(recording.waveform, recording.sample_rate, recording.label, speaker=recording.speaker)


def recorded_strings(recordings: Sequence[Recording]) -> list[Spoken]:
    """Recordings that are strings already.

    Raises:
        DataError: if one is labelled with anything but digits.
    """
    for recording in recordings:
        if not set(recording.label) <= set(DIGITS):
            raise DataError(f"{recording.name} is labelled {recording.label!r}, expected its digits, such as 40719")
    return [Spoken(r.label, (_clip(r),)) for r in recordings]


def listen(
    recognizer: Recognizer, string: Spoken, options: Sequence[StringOptions], config: StringsConfig, seed: int
) -> list[tuple[DigitString, ...]]:
    """Say a string to a fresh stream; what is answered with each of the options."""
    gap_s = (config.gap_ms[0] / 1000, config.gap_ms[1] / 1000)
    sound = build_stream(string.clips, recognizer.info.sample_rate, gap_s, config.noise_db, seed)
    stream = StreamingRecognizer(recognizer, sample_rate=sound.sample_rate)
    events, time_s = stream.accept(sound.waveform), stream.time_s
    last = stream.flush()
    collectors = [DigitStringCollector(recognizer, one) for one in options]
    return [tuple(each.accept(events, time_s) + each.flush(last)) for each in collectors]


def score(outcomes: Sequence[Outcome], seed: int = 0) -> dict:
    """String error and digit error with their intervals; where length or checksum were known, also without them.

    Raises:
        InputError: if there are no strings.
    """
    if not outcomes:
        raise InputError("got no strings; expected at least one")
    errors = _errors([(o.spoken, o.text, o.is_right) for o in outcomes], seed)
    digits = errors["digits"]
    figures = {
        "rows": [
            accuracy_row("whole strings", sum(outcome.is_right for outcome in outcomes), len(outcomes))
            | {"in pieces": sum(len(outcome.answers) > 1 for outcome in outcomes)},
            {
                "group": "digits, 100 less digit error",
                "n": digits["n"],
                "accuracy": 1 - digits["error"],
                "accuracy_low": 1 - digits["error_high"],
                "accuracy_high": 1 - digits["error_low"],
                **{name: digits[f"n_{name}"] for name in ("substitutions", "deletions", "insertions")},
            },
        ],
        **errors,
        "n_split": sum(len(outcome.answers) > 1 for outcome in outcomes),
    }
    asked = [answer for outcome in outcomes for answer in outcome.answers if answer.satisfied is not None]
    if asked:
        figures["n_unsatisfied"] = sum(not answer.satisfied for answer in asked)
        figures["n_corrected"] = sum(answer.corrected for answer in asked)
        figures["n_corrected_right"] = sum(o.answers[0].corrected and o.is_right for o in outcomes if o.answers)
        plain = [(o.spoken, o.heard, len(o.answers) == 1 and o.heard == o.spoken) for o in outcomes]
        figures["as_heard"] = _errors(plain, seed)
    return figures


def known_rows(outcomes: Sequence[Outcome], unrefused: Sequence[Outcome], note: str = "") -> list[dict]:
    """What a recogniser that knows length or checksum makes of strings that keep them, and of those that do not.

    Args:
        outcomes: of each string.
        unrefused: of the same strings, had nothing been refused.
        note: at the end of the rows' names.

    Returns:
        Rows of valid and of invalid strings, as far as there are any. `right refused` are valid strings that would
        have been answered exactly; `another string` those of which one was answered that is said to keep what is known.
    """
    pairs = list(zip(outcomes, unrefused, strict=True))
    valid, invalid = ([pair for pair in pairs if pair[0].is_valid is kept] for kept in (True, False))
    rows = []
    if valid:
        right = [one.is_right and one.is_accepted for one, _ in valid]
        row = accuracy_row(f"valid strings, answered exactly{note}", sum(right), len(valid))
        row["right refused"] = sum(
            free.is_right and not is_right for (_, free), is_right in zip(valid, right, strict=True)
        )
        rows.append(row | {"another string": sum(one.is_accepted and not one.is_right for one, _ in valid)})
    if invalid:
        n_accepted = sum(one.is_accepted for one, _ in invalid)
        row = accuracy_row(
            f"invalid strings, not turned into valid ones{note}", len(invalid) - n_accepted, len(invalid)
        )
        rows.append(row | {"another string": n_accepted})
    return rows


def _errors(pairs: Sequence[tuple[str, str, bool]], seed: int) -> dict:
    """Of strings spoken, answered, and whether that counts as right."""
    n_wrong = sum(not right for *_, right in pairs)
    low, high = wilson_interval(n_wrong, len(pairs))
    edits = np.array([edit_counts(spoken, text) for spoken, text, _ in pairs])  # (strings, 3)
    n_digits = np.array([len(spoken) for spoken, *_ in pairs])
    digit_low, digit_high = bootstrap_interval(edits.sum(axis=1), n_digits, seed)
    substitutions, deletions, insertions = map(int, edits.sum(axis=0))
    return {
        "strings": {
            "n": len(pairs),
            "n_wrong": n_wrong,
            "error": n_wrong / len(pairs),
            "error_low": low,
            "error_high": high,
        },
        "digits": {
            "n": int(n_digits.sum()),
            "n_substitutions": substitutions,
            "n_deletions": deletions,
            "n_insertions": insertions,
            "error": (substitutions + deletions + insertions) / int(n_digits.sum()),
            "error_low": digit_low,
            "error_high": digit_high,
        },
    }


def figures_text(figures: dict) -> str:
    """The table for people."""
    lines = [f"{'':<22}{'n':>6}{'error %':>9}  95 % interval"]
    for title, errors in (("", figures), ("as heard, ", figures.get("as_heard"))):
        for kind in ("strings", "digits") if errors else ():
            row = errors[kind]
            interval = f"{100 * row['error_low']:.2f}–{100 * row['error_high']:.2f}"
            lines.append(f"{title + kind:<22}{row['n']:>6}{100 * row['error']:>9.2f}  {interval}")
    digits = figures["digits"]
    lines.append(
        f"{digits['n_substitutions']} substitutions, {digits['n_deletions']} deletions, "
        f"{digits['n_insertions']} insertions; {figures['n_split']} strings came in parts"
    )
    if "n_corrected" in figures:
        lines.append(
            f"length or checksum chose another string {figures['n_corrected']} times, the right one "
            f"{figures['n_corrected_right']} times; {figures['n_unsatisfied']} answers do not keep them"
        )
    for row in figures["rows"]:
        if "another string" in row:
            interval = f"{100 * row['accuracy_low']:.2f}–{100 * row['accuracy_high']:.2f}"
            lines.append(
                f"{row['group']}: {row['n_correct']} of {row['n']}, {100 * row['accuracy']:.2f} % ({interval})"
            )
            lines[-1] += f"; right but refused {row['right refused']}" if "right refused" in row else ""
            lines[-1] += f"; turned into another {row['another string']}"
    return "\n".join(lines)


def outcome_row(outcome: Outcome) -> dict:
    """One string of the result file."""
    shown = [field.name for field in fields(DigitString)]
    return {"spoken": outcome.spoken, "answers": [{name: getattr(a, name) for name in shown} for a in outcome.answers]}


def _said(args: argparse.Namespace) -> list[str]:
    """The command line again, with what differs from the defaults."""
    defaults = StringsConfig()
    words = ["--model", args.model] if args.model else []
    words += ["--held-out", args.held_out] if args.held_out else ["--sources", *args.sources]
    words += [*(["--part", args.part] if args.part else [])]
    for flag, value, default in (
        ("--strings", [args.strings], [defaults.n_strings]),
        ("--digits", args.digits, defaults.digits),
        ("--gap-ms", args.gap_ms, defaults.gap_ms),
        ("--noise-db", [args.noise_db], [defaults.noise_db]),
        ("--seed", [args.seed], [defaults.seed]),
        ("--checksum", [args.checksum], [None]),
        ("--invalid", [args.invalid], [defaults.invalid]),
        ("--plausible", args.plausible, [StringOptions.plausible]),
        ("--reject-below", [args.reject_below], [None]),
    ):
        words += [flag, *(f"{v}" for v in value)] if list(value) != list(default) else []
    return words + [f"--{name}" for name in ("utterances", "trim", "length") if getattr(args, name)]


if __name__ == "__main__":
    sys.exit(run_main(main))
