"""Teach an exported model a few words of your own, from about ten clips of each, in seconds.

python -m edgedigit.enroll --clips my_words --output mine          # my_words/lights/*.wav, my_words/door/*.wav, …
python -m edgedigit.enroll --clips my_digits --output mine         # folders zero to nine: the digits as you say them
python -m edgedigit.enroll --clips my_words --output mine --keep-digits
python infer.py --model mine/model.onnx --mic

Needs no torch: pip install "edgedigit[enroll]". A sub-folder `_unknown_` holds sounds that are to be rejected.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgedigit.cli import ArgumentParser, folder_of, print_json, run_main

FILE, INT8_FILE = "model.onnx", "model_int8.onnx"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m edgedigit.enroll", description=__doc__)
    parser.add_argument("--clips", required=True, metavar="FOLDER", help="one sub-folder a word, or a manifest.csv")
    parser.add_argument(
        "--output",
        required=True,
        type=folder_of(FILE, INT8_FILE),
        metavar="DIR",
        help=f"folder for {FILE} and {INT8_FILE}",
    )
    parser.add_argument("--replace", action="store_true", help="what was enrolled in that folder before")
    parser.add_argument("--model", metavar="ONNX", help="build on this one and write model.onnx alone (both shipped)")
    parser.add_argument("--keep-digits", action="store_true", help="recognise the ten digits as well")
    parser.add_argument(
        "--others",
        choices=("synth", "none"),
        default="synth",
        help="what is learnt to be rejected: a hundred words by synthetic voices, or only your own _unknown_ (synth)",
    )
    parser.add_argument(
        "--false-accepts", type=float, default=0.05, metavar="SHARE", help="of other words that may pass (0.05)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the altered copies (0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error(f"--seed is {args.seed}, expected 0 or more")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    started = time.perf_counter()

    from edgedigit.enroll.clips import notes_on, read_clips
    from edgedigit.enroll.pipeline import check_replaceable, enroll, remove_enrolled, write_enrolled
    from edgedigit.runtime import Recognizer
    from edgedigit.runtime._paths import artifacts_dir

    # 1. The clips and the models that they are put on.
    output = Path(args.output)
    for name in (FILE, INT8_FILE):
        check_replaceable(output / name, args.replace)
    models = {FILE: args.model} if args.model else {name: artifacts_dir() / name for name in (FILE, INT8_FILE)}
    recognizer = Recognizer(models[FILE])
    clips = read_clips(args.clips, recognizer.info.sample_rate)
    for note in notes_on(args.clips, clips, recognizer):
        print(note)

    # 2. A classifier for each, judged on clips held out of it.
    made = {
        name: enroll(
            clips,
            model,
            keep_digits=args.keep_digits,
            others=args.others == "synth",
            false_accepts=args.false_accepts,
            seed=args.seed,
            progress=not args.quiet and name == FILE,  # what was rendered once is read the second time
        )
        for name, model in models.items()
    }
    options = {key: getattr(args, key) for key in ("keep_digits", "others", "false_accepts", "seed")}
    # Of other words it would mislead, beside a new model.onnx alone or where writing the second file fails.
    was_there = remove_enrolled(output / INT8_FILE)
    for name, model in models.items():
        write_enrolled(made[name], clips, model, output / name, options)
    if was_there and INT8_FILE not in made:
        print(f"removed the {INT8_FILE} that was enrolled before in {output}")

    # 3. What it does to them.
    enrolled = made[FILE]
    print(table(enrolled.held_out))
    others, kept = enrolled.held_out["others"], enrolled.held_out["kept"]
    if kept["n"]:
        print(f"digits by synthetic voices: {kept['right']} of {kept['n']} right, the others rejected or wrong")
    if others["n"]:
        print(f"other words taken for one of these: {others['accepted']} of {others['n']}", end="")
        print(" (synthetic voices; people differ)" if args.others == "synth" else "")
    else:
        print("no other words to judge by: what is none of these may be taken for one; add clips to _unknown_")
    seconds = time.perf_counter() - started
    for name, one in made.items():
        print(f"wrote {output / name}: {in_short(one.held_out)}, answers below {one.reject_below} are rejected")
    print(f"{seconds:.1f} s")
    facts = {
        name: {"model": str(output / name), "reject_below": one.reject_below, "held_out": one.held_out}
        for name, one in made.items()
    }
    print_json(
        {
            **facts[FILE],
            "labels": enrolled.head.labels,
            "int8": facts.get(INT8_FILE),
            "seconds": round(seconds, 1),
        }
    )
    return 0


def in_short(held_out: dict) -> str:
    """How many of the clips were answered rightly when each was held out."""
    rows = held_out["words"].values()
    return f"{sum(row['right'] for row in rows)} of {sum(row['n'] for row in rows)} clips right"


def table(held_out: dict) -> str:
    """One line a word: what became of its clips when each was held out."""
    width = max(4, *(len(label) for label in held_out["words"]))
    lines = [f"{'word':<{width}}  clips  right  rejected  wrong   (each clip by a model that did not learn from it)"]
    for label, row in held_out["words"].items():
        lines.append(f"{label:<{width}}  {row['n']:>5}  {row['right']:>5}  {row['rejected']:>8}  {row['wrong']:>5}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_main(main, extra="enroll"))
