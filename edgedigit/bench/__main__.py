"""Measure inference and end of word -> answer on this machine, against budgets and beside what people use today.

    python -m edgedigit.bench                      # the shipped models, streams on a virtual clock
    python -m edgedigit.bench --realtime           # every clip streamed in real time, about 8 minutes
    python -m edgedigit.bench --held-out validation --snr-db 20 10 --plot answers.png
    python -m edgedigit.bench --only --listen 60   # an hour of speech without digits and noise, and nothing else
    python -m edgedigit.bench --only --listen-live # the same once, through a sound device, in real time
    python -m edgedigit.bench --microphone         # and through a sound device, in real time
    python -m edgedigit.bench --browser            # and on the page in Chromium, in real time
    python -m edgedigit.bench --only answers --realtime --microphone --browser --listen-live --jobs 4 --snr-db 20 10
    python -m edgedigit.bench --write              # also keep the figures in benchmarks/results/
    python -m edgedigit.bench --compare benchmarks/results/mine.json benchmarks/results/yours.json

The answer budget runs from the last sample of the word to the moment the line with the digit is printed: what is left
of the device's block, the silence that tells the end, resampling, features, network and output, which in a browser is
the drawing. It is of the words that were answered; how many of all words were in time is shown beside it. Exit code 1
if a budget or limit is broken, in noise too.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from edgedigit.bench.answers import CLEAN, How, as_ratios, run_answers, run_silero
from edgedigit.bench.beside_peers import run_peers
from edgedigit.bench.browser import BROWSER, check_browser, run_browser
from edgedigit.bench.browser import NOTE as BROWSER_NOTE
from edgedigit.bench.cold_start import run_cold_start
from edgedigit.bench.comparison import comparison
from edgedigit.bench.conditions import Conditions, words
from edgedigit.bench.inference import run_beside_load, run_inference, shipped_files
from edgedigit.bench.kept import LISTENING, LISTENING_LIVE, check_foreseen, destination, keep
from edgedigit.bench.listener import Task
from edgedigit.bench.listening import broken_limits, listening_text, load_sounds, run_listening, run_listening_live
from edgedigit.bench.live import MICROPHONE, NOTE, answered_live, check_microphone, hear_stretches, run_clicks
from edgedigit.bench.load import LOAD
from edgedigit.bench.machine import machine_facts, model_facts
from edgedigit.bench.options import asked, parse_args
from edgedigit.bench.rows import (
    answer_budget,
    broken_budgets,
    check_broken,
    end_remarks,
    group_remarks,
    quiet_gates,
    table,
)
from edgedigit.bench.streams import heard, jobs_note, streams_at_a_time
from edgedigit.cli import print_json, run_main
from edgedigit.config import BenchConfig
from edgedigit.errors import EdgedigitError, GateError, InputError
from edgedigit.figures import new_figure
from edgedigit.manifest import source_commit
from edgedigit.runtime._paths import artifacts_dir


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep; returns the exit code."""
    args = parse_args(argv, __doc__)
    config = config_of(args)
    progress = sys.stderr.isatty() and args.jobs == 1
    how = How(args.sample_rate, args.block_ms, args.realtime, args.seed, progress)
    if args.compare:
        print(comparison(*args.compare))
        return 0

    # 1. Models, words and noises; what is missing is told before anything is measured.
    machine = machine_facts()
    path = destination(args, machine)
    paths = model_files(args)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    rows, notes, answered, listened = [], [], [], {}
    clips, conditions = [], ()
    if args.plot:
        from edgedigit.bench.picture import draw_answers

        new_figure(1, 1)  # says now if matplotlib is missing
    if args.microphone or args.listen_live:
        check_microphone()
    if args.browser:
        check_browser(paths[0])
    if args.microphone or args.browser or {"answers", "peers"} & set(args.only):
        clips, whose = words(args, paths[0])
        conditions = Conditions(args, paths[0], clips)
        notes += [whose, f"Stream: {args.sample_rate} Hz, blocks of {args.block_ms:g} ms.", *conditions.notes]
        print(whose)
    facts = {"machine": machine, "commit": source_commit(), "seeds": [args.seed], "model": model_facts(paths[0])}
    facts["asked"] = asked(args)
    if path:
        check_foreseen(path, args, paths[0], len(clips), conditions.names if clips else (), facts)
    if args.listen or args.listen_live:
        sounds, about = load_sounds(args, paths[0])
        notes += about
    errors: list[EdgedigitError] = []

    def measured(measure: Callable, *arguments: object) -> object:
        """What it gives; what cannot be measured costs no other figure, and the program says so at its end."""
        try:
            return measure(*arguments)
        except EdgedigitError as error:
            print(f"not measured: {error}")
            errors.append(error)
            return None

    # 2. Inference: alone, beside a load, in a new process.
    if "inference" in args.only:
        rows += run_inference(paths, config)
        rows += measured(run_beside_load, paths, config) or []
        rows += measured(run_cold_start, paths[0], config.n_processes) or []
        notes.append(f"A core is kept busy by a process: {LOAD}.")

    # 3. Answers, in quiet and in noise, through a sound device and in a browser; peers.
    clicks = measured(run_clicks, args.seed) if args.microphone else None  # before anything else runs
    with streams_at_a_time(args.jobs) as streams:
        budget_ms, say = config.budget_answer_ms, partial(print, flush=True)
        memory, silero, device, page, live = [], None, [], None, None
        if "answers" in args.only:
            for name, said, bed in conditions:
                memory.append(streams.submit(run_answers, paths[0], said, budget_ms, how, name, bed))
            if not args.noise_only:
                silero = streams.submit(run_silero, paths[0], clips, budget_ms, how, say)
        for name, said, bed in conditions if clicks else ():
            dealt = (paths[0], said, args.seed, say, name, bed)
            parts = [streams.submit(hear_stretches, *dealt, part, args.jobs) for part in range(args.jobs)]
            device.append((name, parts))
        if args.browser:
            page = streams.submit(run_browser, paths[0], clips, budget_ms, args.seed, say)
        if args.listen_live:
            live = streams.submit(run_listening_live, paths[0], sounds, args.listen_live, how.progress)
        from_memory = list(filter(None, (measured(heard, one) for one in memory)))
        from_device = []
        for name, parts in device:
            found = [measured(heard, one) for one in parts]
            if all(part is not None for part in found):  # without one of them it would be of other words
                live_row = measured(answered_live, paths[0], found, budget_ms, name)
                from_device += [live_row] if live_row else []
        answered += from_memory + from_device
        rows += [one.row for one in from_memory]
        beside = measured(heard, silero) or [] if silero else []
        rows += [row for one in from_memory if one.condition == CLEAN for row in as_ratios(beside, one.row)]
        rows += [clicks] * bool(clicks) + [one.row for one in from_device]
        notes += [NOTE] if clicks else []
        if page and (seen := measured(heard, page)):
            answered.append(seen[1])
            rows += [*seen[0], seen[1].row]
            notes.append(BROWSER_NOTE)
        if live:
            listened[LISTENING_LIVE] = measured(heard, live)
    notes += [jobs_note(args.jobs)] if args.jobs > 1 else []
    quiet = [one for one in answered if one.condition in (CLEAN, MICROPHONE, BROWSER)]
    for one in answered:
        one.row.update(quiet_gates(config) if one in quiet else answer_budget(config))
    grouped = {one.condition: "; ".join(group_remarks(one.row)) for one in answered}
    notes += [f"Words, {condition}: {said}." for condition, said in grouped.items() if said]
    notes += [f"{remark}." for one in quiet[:1] for remark in end_remarks(one.row)]
    if "peers" in args.only:
        rows += measured(run_peers, paths[0], clips, print) or []

    # 4. Listening for long.
    if args.listen:
        task = Task("", (), args.listen, args.sample_rate, args.block_ms, args.realtime)
        listened[LISTENING] = measured(run_listening, paths[0], sounds, task, how.progress)
    listened = {name: one for name, one in listened.items() if one}

    # 5. Table, file, picture, budgets.
    print("\n".join(([table(rows)] if rows else []) + [listening_text(one) for one in listened.values()]))
    results = {**facts, "rows": rows, "note": " ".join(notes), **listened}

    def written(target: str | Path, write: Callable[[], None]) -> None:
        """What cannot be written costs no figures either."""
        try:
            write()
            print(f"wrote {target}")
        except InputError as error:
            errors.append(error)
        except OSError as error:
            errors.append(InputError(f"{target} cannot be written ({error.strerror})"))

    if path and (rows or listened):
        written(path, lambda: keep(path, results))
    if args.plot and answered:
        written(args.plot, lambda: draw_answers(answered, config.budget_answer_ms, args.plot))
    broken = broken_budgets(rows) + [said for one in listened.values() for said in broken_limits(one, config)]
    within = not broken and not any(isinstance(error, GateError) for error in errors)
    print_json({**results, "within_budget": within})
    if errors:
        raise errors[0]
    check_broken(broken)
    return 0


def config_of(args: Namespace) -> BenchConfig:
    """What is measured and what it is held to.

    Raises:
        ConfigError: if a limit is senseless.
    """
    names = ("budget_quiet_ms", "min_right", "max_points_lost", "max_cpu_share", "max_growth_mb")
    given = {name: getattr(args, name) for name in names}
    return BenchConfig(args.budget_inference_ms, args.budget_answer_ms, args.runs, n_processes=args.processes, **given)


def model_files(args: Namespace) -> list[Path]:
    """The files to measure, the one that streams are heard with first."""
    if args.model is not None:
        return [args.model]
    paths = shipped_files(artifacts_dir())
    if find_spec("torch") is None:
        print("left out: TorchScript, since torch is not installed")
        paths = [path for path in paths if path.suffix != ".pt"]
    return paths


if __name__ == "__main__":
    sys.exit(run_main(main))
