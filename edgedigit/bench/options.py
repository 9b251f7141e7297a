"""The command line of `python -m edgedigit.bench`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from edgedigit.bench.conditions import BABBLE, NOISE_PARTS, NOISES, RECORDED_KINDS
from edgedigit.bench.listening import SPEECH
from edgedigit.cli import ArgumentParser, file_ending
from edgedigit.config import HELD_OUT, BenchConfig
from edgedigit.word_stream import BLOCK_MS, MICROPHONE_RATE

ALL_MINUTES = 1440.0
LEAST = {"clips": 0, "seed": 0, "runs": 1, "processes": 1, "block_ms": 1, "listen": 1, "listen_live": 0.1, "jobs": 1}
PARTS = ("inference", "answers", "peers")


def parse_args(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    """Command line; see --help."""
    defaults = BenchConfig()
    parser = ArgumentParser(prog="python -m edgedigit.bench", description=description)
    parser.add_argument("--model", type=Path, metavar="ONNX", help="measure this file; default: the shipped ones")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds FSDD (else EDGEDIGIT_DATA)")
    parser.add_argument(
        "--held-out", choices=HELD_OUT, help="stream these speakers of the model's own training as well, for 500 words"
    )
    parser.add_argument("--snr-db", nargs="+", type=float, default=[], metavar="DB", help="and in noise: 20 10")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=(*RECORDED_KINDS, BABBLE),
        default=list(RECORDED_KINDS),
        help="of noise; stationary impulsive. babble: of other speakers whom the model's own training held out",
    )
    parser.add_argument("--noise-only", action="store_true", help="leave the words in quiet out")
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
        "--listen-live",
        nargs="?",
        type=float,
        const=ALL_MINUTES,
        metavar="MINUTES",
        help="hear both once through a virtual microphone, in real time; MINUTES: at most, of each",
    )
    parser.add_argument(
        "--only",
        nargs="*",
        choices=PARTS,
        default=list(PARTS),
        help="measure these; none named: what is asked for",
    )
    parser.add_argument("--compare", nargs=2, type=Path, metavar="FILE", help="show two result files side by side")
    parser.add_argument("--microphone", action="store_true", help="and through a virtual microphone, in real time")
    parser.add_argument("--browser", action="store_true", help="and on the page in Chromium, in real time")
    parser.add_argument("--realtime", action="store_true", help="stream in real time instead of on a virtual clock")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="streams in real time to hear at once, each in a process; 1"
    )
    parser.add_argument("--clips", type=int, default=0, metavar="N", help="stream this many clips; default: all")
    parser.add_argument("--runs", type=int, default=defaults.n_runs, metavar="N", help="inferences timed; 1000")
    parser.add_argument("--processes", type=int, default=defaults.n_processes, metavar="N", help="cold starts; 10")
    parser.add_argument("--sample-rate", type=int, default=MICROPHONE_RATE, metavar="HZ", help="of the stream; 48000")
    parser.add_argument("--block-ms", type=float, default=BLOCK_MS, metavar="MS", help="of a device block; 20")
    parser.add_argument("--seed", type=int, default=0, help="of order, gaps and noise; 0")
    for name, about in (("inference", "p99; 15"), ("answer", "p95; 150")):
        budget_ms = getattr(defaults, f"budget_{name}_ms")
        parser.add_argument(f"--budget-{name}-ms", type=float, default=budget_ms, metavar="MS", help=about)
    parser.add_argument(
        "--budget-quiet-ms",
        type=float,
        nargs=3,
        metavar=("P50", "P95", "P99"),
        help="of answers in quiet, besides; 60 120 150 are the aims; default: none",
    )
    gates = {
        "min-right": ("SHARE", f"of all words in quiet; {defaults.min_right:g}"),
        "max-points-lost": ("POINTS", "of right words in quiet, against the same one by one; default: any"),
        "max-cpu-share": ("SHARE", f"of a core while listening; {defaults.max_cpu_share:g}"),
        "max-growth-mb": ("MB", f"of memory while listening; {defaults.max_growth_mb:g}"),
    }
    for name, (unit, about) in gates.items():
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=float, default=default, metavar=unit, help=about)
    parser.add_argument(
        "--plot", type=file_ending(".png"), metavar="PNG", help="draw how the time to an answer is distributed"
    )
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
    for name, least in LEAST.items():
        if getattr(args, name) is not None and not least <= getattr(args, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected {least} or more")
    for name, most in (("min_right", 1), ("max_points_lost", 100), ("max_cpu_share", 1), ("max_growth_mb", math.inf)):
        if getattr(args, name) is not None and not 0 <= getattr(args, name) <= most:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected 0 to {most}")
    if not args.compare:
        _check_use(parser, args)
    return args


def asked(args: argparse.Namespace) -> dict:
    """What makes other figures of rows of the same names: the stream, who speaks, and noises and sentences."""
    return {
        key: getattr(args, key) for key in ("sample_rate", "block_ms", "held_out", "noises", "noise_part", "speech")
    }


def _check_use(parser: ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where nothing would be measured, or not what an option is about."""
    if not (args.only or args.microphone or args.browser or args.listen or args.listen_live):
        more = "--listen-live, --microphone or --browser"
        parser.error(f"--only leaves nothing to measure; add --listen, {more}, or name a part")
    answers = "answers" in args.only
    streams = answers or args.microphone or args.browser
    live = args.microphone or args.browser or args.listen_live or (answers and args.realtime)
    if args.jobs > 1 and (not live or (answers and not args.realtime)):
        parser.error("--jobs is of streams in real time; add --realtime, or leave answers out of --only")
    if args.snr_db and not (answers or args.microphone):
        parser.error("--snr-db is about words in a stream; add answers to --only, or --microphone")
    if args.snr_db and args.microphone and BABBLE in args.kinds:
        parser.error("--microphone hears words in recorded noises; leave babble out of --kinds")
    if args.budget_quiet_ms and (args.noise_only or not streams):
        parser.error("--budget-quiet-ms holds words in quiet; leave --noise-only out, or add answers to --only")
    if args.noise_only and not args.snr_db:
        parser.error("--noise-only leaves the words in quiet out; name the noise with --snr-db")
    if args.noise_only and args.browser:
        parser.error("--browser hears words in quiet; leave --noise-only out")
    if args.plot and not streams:
        parser.error("--plot draws words in a stream; add answers to --only, --microphone or --browser")
    if args.held_out and not (streams or "peers" in args.only):
        parser.error("--held-out names who speaks; add answers or peers to --only, --microphone or --browser")
