"""Compare architectures: train them alike, or read what was trained, then one table, one plot and a recommendation.

    python -m edgedigit.compare --config configs/architectures.yaml --run-dir runs/architectures --jobs 2
    python -m edgedigit.compare --config configs/architectures.yaml --run-dir runs/architectures --read-only
    python -m edgedigit.compare --models student_dscnn bc_resnet:tau=1 --use-case production

Every model is trained without teachers, unless the file names some for it, once for each split, in a folder of its own;
what is finished is kept, so the command may be stopped and started again. Latencies are measured at the end, all in one
run. --read-only trains nothing.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from edgedigit.bench.inference import time_artifacts
from edgedigit.cli import ArgumentParser, file_ending, print_json, run_main
from edgedigit.compare.plan import load_plan
from edgedigit.compare.recommend import USE_CASES, recommend
from edgedigit.compare.results import accuracy_cell, plot_pareto, read_results, result_of, text_table
from edgedigit.compare.training import train
from edgedigit.errors import ConfigError
from edgedigit.manifest import write_json

DEFAULT_CONFIG = "configs/architectures.yaml"
LATENCY_RUNS = 300
CALLS_AGAIN = 3  # before each: beside nets of megabytes a small one would find the caches empty, and look half as fast


def parse_args(argv: Sequence[str] | None):
    parser = ArgumentParser(prog="python -m edgedigit.compare", description=__doc__)
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="recipe, protocols and models (%(default)s)")
    parser.add_argument("--run-dir", default="runs/architectures", help="folder of all trainings (%(default)s)")
    parser.add_argument("--models", nargs="+", default=(), metavar="NAME[:KEY=VALUE,...]", help="these alone")
    parser.add_argument("--protocols", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each (%(default)s)")
    parser.add_argument("--read-only", action="store_true", help="train nothing, compare what there is")
    parser.add_argument("--use-case", choices=USE_CASES, default="balanced", help="recommend one for it (%(default)s)")
    parser.add_argument("--plot", type=file_ending(".png"), help="PNG of the Pareto plot (<run-dir>/pareto.png)")
    parser.add_argument("--results", type=file_ending(".json"), help="JSON file to write the table to")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error("--jobs is 1 or more")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    run_dir = Path(args.run_dir)

    # 1. What is to be compared.
    plan = load_plan(Path(args.config), run_dir, args.data_dir, args.models)
    if args.protocols:
        unknown = sorted(set(args.protocols) - {protocol.name for protocol in plan.protocols})
        if unknown:
            known = ", ".join(protocol.name for protocol in plan.protocols)
            raise ConfigError(f"{args.config} has no protocol {', '.join(unknown)}; expected some of {known}")
    chosen = [task for task in plan.tasks if task.protocol in (args.protocols or [task.protocol])]

    if args.results:
        Path(args.results).parent.mkdir(parents=True, exist_ok=True)  # better now than after hours

    # 2. Train what is missing.
    if not args.read_only:
        train(chosen, args.data_dir, args.jobs)

    # 3. One table, latencies measured in one run.
    rows = read_results(plan.tasks, plan.protocols)
    files = [row["file"] for row in rows]
    latencies = time_artifacts(files, plan.signal, n_runs=LATENCY_RUNS, n_again=CALLS_AGAIN)
    for row, latency in zip(rows, latencies, strict=True):
        row["latency"] = latency
    rows.sort(key=lambda row: row["latency"]["latency_ms_p50"])
    print(text_table(rows, plan.protocols))

    # 4. What was measured is kept before a model is looked for, since none may fit; then plot and recommendation.
    words = ["python", "-m", "edgedigit.compare", "--config", args.config, "--run-dir", args.run_dir]
    if args.results:
        write_json(args.results, result_of(rows, plan, shlex.join(words), Path(args.results).stem))
    plot = Path(args.plot) if args.plot else run_dir / "pareto.png"
    plot_pareto(rows, plan.headline, plot)
    best, why = recommend(rows, args.use_case, plan.headline.name)
    accuracy = accuracy_cell(best["accuracy"][plan.headline.name])
    print(
        f"for {args.use_case}: {best['model']}, {why}; {plan.headline.title}, %: {accuracy}; "
        f"{best['latency']['latency_ms_p50']:.3f} ms, {best['n_params']:,} parameters"
    )
    print_json({"recommended": best["model"], "use_case": args.use_case, "plot": str(plot), "models": rows})
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
