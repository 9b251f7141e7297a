"""How often a model hears digits in speech and noise, and what it misses where that is held to a rate.

python -m edgedigit.detection --positives fsdd folder:digits --speech folder:nondigits/librispeech_tc100 \\
    --noise folder:noise --words folder:nondigits/speechcmd --results docs/results/detection.json

As wake words are measured: sentences and noise are streamed, with pauses, as from a microphone, and every digit that
is answered counts as a false accept. One half of the speakers of sentences chooses the threshold that keeps to a rate,
the other half says what becomes of it. Recordings that the model was trained on are left out.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from edgedigit.cli import ArgumentParser, file_ending, print_json, run_main
from edgedigit.data.recording import Recording
from edgedigit.detection import counting
from edgedigit.detection.listening import stream_of
from edgedigit.detection.material import halves, load_unheard
from edgedigit.detection.points import Bench, digit_scores, operating_point, point_rows, surest, trade_off
from edgedigit.errors import ModelError
from edgedigit.figures import Line, lines_figure, save_png
from edgedigit.manifest import source_commit, write_json
from edgedigit.provenance import training_facts
from edgedigit.runtime import Recognizer
from edgedigit.train.heard import Heard, heard_by

RATE_PER_HOUR = 1.0
OWN = "the model's own threshold"
GROUPS = {  # of digits, by `Heard.novelty`
    "validation": "unseen speakers, of validation",
    "seen": "seen speakers",
    "unseen": "unseen speakers",
    "new": "unknown speakers",
    "unknown": "unknown whether seen",
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m edgedigit.detection", description=__doc__)
    parser.add_argument("--model", help="ONNX file (the shipped default)")
    parser.add_argument("--positives", nargs="+", required=True, metavar="SOURCE", help="digits: fsdd, folder:PATH, …")
    parser.add_argument("--speech", nargs="+", required=True, metavar="SOURCE", help="sentences without digits")
    parser.add_argument("--noise", nargs="+", default=[], metavar="SOURCE", help="recorded noise")
    parser.add_argument("--words", nargs="+", default=[], metavar="SOURCE", help="other words, one in each recording")
    parser.add_argument(
        "--far-per-hour",
        nargs="+",
        type=float,
        default=[RATE_PER_HOUR],
        metavar="RATE",
        help="false accepts per hour of speech that are allowed where the threshold is chosen (1); each takes minutes",
    )
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument(
        "--results",
        type=file_ending(".json"),
        help="JSON file to write to, for the documents; the curve lies beside it as PNG",
    )
    parser.add_argument("--title", default="", help="of the table")
    args = parser.parse_args(argv)
    if not all(rate > 0 for rate in args.far_per_hour):
        parser.error(f"--far-per-hour is {args.far_per_hour}, expected rates above 0")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)

    # 1. The model, what it has met, and recordings that it was not trained on.
    recognizer = Recognizer(args.model)
    if recognizer.info.signal.kind != "audio":
        raise ModelError(f"{recognizer.path.name} takes {recognizer.info.signal.kind}; streams are of audio alone")
    heard = heard_by(recognizer.path, args.data_dir)
    if not heard.known:
        print(f"{heard.why}: whatever is not known to have trained it is counted")

    def unheard(sources: Sequence[str], digits: bool = False) -> list[Recording]:
        found, n_left_out = load_unheard(sources, recognizer, heard, args.data_dir, digits) if sources else ([], 0)
        if n_left_out:
            print(f"{', '.join(sources)}: {n_left_out} recordings that the model was trained on are left out")
        return found

    positives, speech = unheard(args.positives, digits=True), unheard(args.speech)
    noise, words = unheard(args.noise), unheard(args.words)
    new = [recording for recording in noise if recording.name not in heard.noises]
    if 0 < len(new) < len(noise):
        print(f"{len(noise) - len(new)} noises that the model was trained with are left out")
        noise = new
    choosing, measuring = halves(speech, heard)
    groups = positive_groups(positives, heard)

    # 2. Everything streamed once with nothing rejected; thresholds from the first half of the speakers.
    streams = {"choosing": stream_of(choosing), "speech": stream_of(measuring)}
    streams |= {"noise": stream_of(noise)} if noise else {}
    bench = Bench(args.model, streams | {name: stream_of(clips) for name, clips in groups.items()})
    hours = streams["choosing"].hours
    chosen: dict[str, float | None] = {
        f"threshold chosen for at most {rate:g} FA/h": bench.threshold_at("choosing", rate)
        for rate in args.far_per_hour
    }
    thresholds = {OWN: recognizer.reject_below, **chosen}

    # 3. What becomes of each threshold on other speakers, on noise, on digits and on other words.
    others = {"speech": measuring, "noise": noise, "words": words}
    scores = {name: digit_scores(recognizer, clips) for name, clips in others.items() if clips}
    points, rows = [], []
    for name, threshold in thresholds.items():
        points.append(operating_point(name, threshold, bench, groups, scores))
        rows += point_rows(points[-1])
    own_scores = {name: digit_scores(recognizer, clips) for name, clips in groups.items()}
    areas = [
        {
            "digits": name,
            "n_digits": len(own),
            "others": other,
            "n_others": len(theirs),
            "auroc": counting.auroc(own, theirs),
        }
        for name, own in own_scores.items()
        for other, theirs in scores.items()
    ]
    print_tables(points, areas)

    # 4. The curve, and the result.
    curve = trade_off(bench, groups)
    note = f"{notes(args, heard, streams, noise, hours)} {auroc_note(areas)}".rstrip()
    print(f"  {note}")
    result = {
        "name": Path(args.results).stem if args.results else "",
        "title": args.title,
        "command": command(args),
        "commit": source_commit(),
        **training_facts(recognizer.path),
        "rows": rows,
        "note": note,
        "operating_points": points,
        "chosen_on": {"n_recordings": len(choosing), "hours": hours, "n_speakers": len({r.speaker for r in choosing})},
        "auroc": areas,
        "false_accepts": surest(bench),
    }
    print_json(result)  # before files, which a full disk may refuse
    if args.results:
        write_json(args.results, {**result, "curve": curve})
        save_png(curve_figure(curve), Path(args.results).with_suffix(".png"))
    return 0


def positive_groups(positives: Sequence[Recording], heard: Heard) -> dict[str, list[Recording]]:
    """Digits by source, and by whether the model was trained on their speakers or calibrated on them."""
    groups: dict[str, list[Recording]] = {}
    for recording in positives:
        groups.setdefault(f"{recording.source}, {GROUPS[heard.novelty(recording)]}", []).append(recording)
    return dict(sorted(groups.items()))


def curve_figure(curve: Sequence[dict]):
    """Misses against false accepts per hour, as a detection error trade-off; points without any are off its scale."""
    groups = [key for key in curve[0] if key not in ("threshold", "far_per_hour")]
    shown = [row for row in curve if row["far_per_hour"] > 0]
    lines = [Line(group, [(row["far_per_hour"], 100 * row[group]) for row in shown]) for group in groups if shown]
    figure = lines_figure(lines, "false accepts per hour of speech", "digits not answered rightly %", [RATE_PER_HOUR])
    figure.axes[0].set_xscale("log")
    return figure


def notes(args: argparse.Namespace, heard: Heard, streams: dict, noise: Sequence[Recording], hours: float) -> str:
    """What a reader must know of the figures."""
    measured = streams["speech"].hours
    counts = [f"{rate:g} an hour {counting.n_allowed(rate, hours)}" for rate in args.far_per_hour]
    none_chosen, none_measured = (counting.poisson_interval(0, time)[1] for time in (hours, measured))
    said = [
        f"Thresholds chosen on {60 * hours:.0f} minutes of speech, false accepts (FA/h: per hour) counted on "
        f"{60 * measured:.0f} minutes by other speakers; pauses do not count.",
        f"A rate is kept where the threshold is chosen, by so many false accepts as it allows in that time: at most "
        f"{', '.join(counts)}. What other people get is counted. None at all in so short a time would still leave up "
        f"to {none_chosen:.1f} an hour possible where thresholds are chosen, {none_measured:.1f} where it is counted "
        "(95 %): a rate below these is an aim, not a result.",
        "The interval of FA/h (95 %, exact) holds the true rates that such a count does not contradict, for speech and "
        "noise like these; what is said or sounds elsewhere is not in it.",
    ]
    said.append("Sentences come without transcripts: a digit word in one counts as a false accept.")
    known = sum(recording.name in heard.noises for recording in noise)
    if known:
        said.append(f"{known} of {len(noise)} noises were mixed under the recordings that the model was trained on.")
    if not heard.known:
        said.append(f"{heard.why}.")
    return " ".join(said)


def auroc_note(areas: Sequence[dict]) -> str:
    """Areas under the ROC of single clips, in a sentence; empty where nothing was told apart."""
    said = [f"{area['auroc']:.4f} for {area['digits']}, against {area['others']}" for area in areas]
    return f"AUROC, clip by clip: {'; '.join(said)}." if said else ""


def print_tables(points: Sequence[dict], areas: Sequence[dict]) -> None:
    """Operating points, one after the other, and areas under the ROC."""
    for point in points:
        if point["threshold"] is None:
            print(f"{point['name']}: no probability keeps to it; false accepts reach 1.0")
            continue
        print(f"{point['name']}: threshold {point['threshold']:.7g}")
        for kind in ("speech", "noise"):
            if kind in point:
                print(
                    "  {:<8} {n_false_accepts:5d} false accepts in {hours:.3f} h: {far_per_hour:.1f} an hour "
                    "[{far_per_hour_low:.1f}, {far_per_hour_high:.1f}]".format(kind, **point[kind])
                )
        for row in point["digits"]:
            low, high = 100 * (1 - row["accuracy_high"]), 100 * (1 - row["accuracy_low"])
            print(
                f"  {row['group']}: misses {100 * (1 - row['accuracy']):.2f} % [{low:.1f}, {high:.1f}] of {row['n']} "
                f"({row['n_unanswered']} unanswered, {row['n_wrong']} as another digit)"
            )
        if "words" in point:
            row = point["words"]
            low, high = 100 * (1 - row["accuracy_high"]), 100 * (1 - row["accuracy_low"])
            print(
                f"  other words taken for digits: {100 * (1 - row['accuracy']):.2f} % [{low:.1f}, {high:.1f}]", end=""
            )
            print(f" of {row['n']}")
    for row in areas:
        print(
            f"  AUROC {row['auroc']:.4f}: {row['n_digits']} digits ({row['digits']}), {row['n_others']} {row['others']}"
        )


def command(args: argparse.Namespace) -> str:
    """What gives the same figures again."""
    words = ["python", "-m", "edgedigit.detection", *(["--model", args.model] if args.model else [])]
    for name in ("positives", "speech", "noise", "words"):
        values = getattr(args, name)
        words += [f"--{name}", *values] if values else []
    if args.far_per_hour != [RATE_PER_HOUR]:
        words += ["--far-per-hour", *(f"{rate:g}" for rate in args.far_per_hour)]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(run_main(main))
