"""Measure inference and end of word -> answer on this machine, against budgets and beside what people use today.

    python -m edgedigit.bench                      # the shipped models, streams on a virtual clock
    python -m edgedigit.bench --realtime           # every clip streamed in real time, about 8 minutes
    python -m edgedigit.bench --held-out validation --snr-db 20 10 --plot answers.png
    python -m edgedigit.bench --only --listen 60   # an hour of speech without digits and noise, and nothing else
    python -m edgedigit.bench --microphone         # and through a sound device, in real time
    python -m edgedigit.bench --write              # also keep the figures in benchmarks/results/
    python -m edgedigit.bench --compare benchmarks/results/mine.json benchmarks/results/yours.json

The answer budget runs from the last sample of the word to the moment the program has the digit: what is left of the
device's block, the silence that tells the end, resampling, features and network. Exit code 1 if a budget is broken.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgedigit.bench.answers import How, run_answers, run_silero
from edgedigit.bench.beside_peers import run_peers
from edgedigit.bench.cold_start import run_cold_start
from edgedigit.bench.comparison import comparison
from edgedigit.bench.conditions import HELD_OUT, NOISE_PARTS, NOISES, RECORDED_KINDS, Conditions, words
from edgedigit.bench.inference import run_beside_load, run_inference, shipped_files
from edgedigit.bench.listener import Task
from edgedigit.bench.listening import SPEECH, listening_text, load_sounds, run_listening
from edgedigit.bench.live import MICROPHONE, NOTE, run_microphone
from edgedigit.bench.load import LOAD
from edgedigit.bench.machine import machine_facts, machine_slug
from edgedigit.bench.rows import broken_budgets, check_budgets, remarks, table
from edgedigit.cli import ArgumentParser, print_json, run_main
from edgedigit.config import BenchConfig
from edgedigit.errors import InputError
from edgedigit.manifest import source_commit, write_json
from edgedigit.runtime._paths import artifacts_dir
from edgedigit.word_stream import BLOCK_MS, MICROPHONE_RATE

PARTS = ("inference", "answers", "peers")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line; see --help."""
    defaults = BenchConfig()
    parser = ArgumentParser(prog="python -m edgedigit.bench", description=__doc__)
    parser.add_argument("--model", type=Path, metavar="ONNX", help="measure this file; default: the shipped ones")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds FSDD (else EDGEDIGIT_DATA)")
    parser.add_argument(
        "--held-out", choices=HELD_OUT, help="stream these speakers of the model's own training as well, for 500 words"
    )
    parser.add_argument("--snr-db", nargs="+", type=float, default=[], metavar="DB", help="and in noise: 20 10")
    parser.add_argument(
        "--kinds", nargs="+", choices=RECORDED_KINDS, default=list(RECORDED_KINDS), help="of noise; all"
    )
    parser.add_argument("--noises", nargs="+", default=[NOISES], help=f"recorded noises; {NOISES}")
    parser.add_argument(
        "--noise-part",
        choices=NOISE_PARTS,
        default=NOISE_PARTS[0],
        help="evaluation: those that never train; train: those that may; all: for your own noises",
    )
    parser.add_argument("--speech", nargs="+", default=[SPEECH], help=f"sentences without digits; {SPEECH}")
    parser.add_argument("--listen", type=float, metavar="MINUTES", help="hear speech without digits and noise, in turn")
    parser.add_argument(
        "--only",
        nargs="*",
        choices=PARTS,
        default=list(PARTS),
        help="measure these; none named: what is asked for",
    )
    parser.add_argument("--compare", nargs=2, type=Path, metavar="FILE", help="show two result files side by side")
    parser.add_argument("--microphone", action="store_true", help="and through a virtual microphone, in real time")
    parser.add_argument("--realtime", action="store_true", help="stream in real time instead of on a virtual clock")
    parser.add_argument("--clips", type=int, default=0, metavar="N", help="stream this many clips; default: all")
    parser.add_argument("--runs", type=int, default=defaults.n_runs, metavar="N", help="inferences timed; 1000")
    parser.add_argument("--processes", type=int, default=defaults.n_processes, metavar="N", help="cold starts; 10")
    parser.add_argument("--sample-rate", type=int, default=MICROPHONE_RATE, metavar="HZ", help="of the stream; 48000")
    parser.add_argument("--block-ms", type=float, default=BLOCK_MS, metavar="MS", help="of a device block; 20")
    parser.add_argument("--seed", type=int, default=0, help="of order, gaps and noise; 0")
    for name, about in (("inference", "p99; 15"), ("answer", "p95; 150")):
        budget_ms = getattr(defaults, f"budget_{name}_ms")
        parser.add_argument(f"--budget-{name}-ms", type=float, default=budget_ms, metavar="MS", help=about)
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw how the time to an answer is distributed")
    parser.add_argument(
        "--write",
        nargs="?",
        type=Path,
        const=Path("benchmarks/results"),
        metavar="DIR",
        help="keep the figures in a file named after the machine; DIR: benchmarks/results",
    )
    args = parser.parse_args(argv)
    if not all(map(math.isfinite, args.snr_db)):
        parser.error(f"--snr-db is {args.snr_db}, expected finite values in dB")
    for name, least in (("clips", 0), ("runs", 1), ("processes", 1), ("block_ms", 1), ("listen", 1)):
        if getattr(args, name) is not None and not least <= getattr(args, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected {least} or more")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep; returns the exit code."""
    args = parse_args(argv)
    config = BenchConfig(args.budget_inference_ms, args.budget_answer_ms, args.runs, n_processes=args.processes)
    how = How(args.sample_rate, args.block_ms, args.realtime, args.seed, progress=sys.stderr.isatty())

    if args.compare:
        print(comparison(*args.compare))
        return 0

    # 1. Models, words and noises; what is missing is told before anything is measured.
    machine = machine_facts()
    path = args.write / f"{machine_slug(machine)}.json" if args.write else None
    if path and path.exists() and set(args.only) != set(PARTS):
        raise InputError(f"{path} would lose the rows that --only leaves out; name another folder with --write DIR")
    if args.model is None:
        paths = shipped_files(artifacts_dir())
        if find_spec("torch") is None:
            print("left out: TorchScript, since torch is not installed")
            paths = [file for file in paths if file.suffix != ".pt"]
    else:
        paths = [args.model]
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    rows, notes, results = [], [], {"machine": machine, "commit": source_commit()}
    if args.microphone or {"answers", "peers"} & set(args.only):
        clips, whose = words(args, paths[0])
        conditions = Conditions(args, paths[0], clips)
        notes += [whose, f"Stream: {args.sample_rate} Hz, blocks of {args.block_ms:g} ms.", *conditions.notes]
        print(whose)
    if args.listen:
        sounds, about = load_sounds(args, paths[0])
        notes += about

    # 2. Inference: alone, beside a load, in a new process.
    if "inference" in args.only:
        rows += run_inference(paths, config)
        rows += run_beside_load(paths[0], config)
        rows += run_cold_start(paths[0], config.n_processes)
        notes.append(f"A core is kept busy by a process: {LOAD}.")

    # 3. Answers, in quiet and in noise and through a sound device; peers.
    answered = []
    if "answers" in args.only:
        budget_ms = config.budget_answer_ms
        answered = [run_answers(paths[0], said, budget_ms, how, name, bed) for name, said, bed in conditions]
        rows += [one.row for one in answered]
        rows += run_silero(answered[0], paths[0], clips, how, print)
        notes += [f"{one.condition.capitalize()}: {remark}." for one in answered for remark in remarks(one.row)]
    if args.microphone:
        delay, live = run_microphone(paths[0], clips, config.budget_answer_ms, args.seed, print)
        answered.append(live)
        rows += [delay, live.row]
        notes += [NOTE, *(f"{MICROPHONE.capitalize()}: {remark}." for remark in remarks(live.row))]
    if "peers" in args.only:
        rows += run_peers(paths[0], clips, print)

    # 4. Listening for long.
    if args.listen:
        task = Task("", (), args.listen, args.sample_rate, args.block_ms, args.realtime)
        results["listening"] = run_listening(paths[0], sounds, task, how.progress)

    # 5. Table, picture, file, budgets.
    print("\n".join(([table(rows)] if rows else []) + ([listening_text(results["listening"])] if args.listen else [])))
    if args.plot and answered:
        from edgedigit.bench.picture import answers_figure
        from edgedigit.figures import save_png

        save_png(answers_figure(answered, config.budget_answer_ms), args.plot)
        print(f"wrote {args.plot}")
    results |= {"rows": rows, "note": " ".join(notes)}
    if path:
        write_json(path, results)
        print(f"wrote {path}")
    print_json({**results, "within_budget": not broken_budgets(rows)})
    check_budgets(rows)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
