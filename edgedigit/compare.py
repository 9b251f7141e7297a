"""Compare architectures: train them alike, or read what was trained, then one table, one plot and a recommendation.

    python -m edgedigit.compare --config configs/architectures.yaml --run-dir runs/architectures --jobs 2
    python -m edgedigit.compare --config configs/architectures.yaml --run-dir runs/architectures --read-only
    python -m edgedigit.compare --models student_dscnn bc_resnet:tau=1 --use-case production

Every model is trained alone, without teachers, once for each split of each protocol, in a folder of its own; what is
finished is kept, so the command may be stopped and started again. Latencies are measured at the end, all in one run.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shlex
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from edgedigit import config as configuration
from edgedigit.bench import machine_facts, time_artifacts
from edgedigit.cli import ArgumentParser, print_json, run_main
from edgedigit.compress.prune import count_macs, folded_parameters
from edgedigit.config import Config, ModelConfig
from edgedigit.crossval import fold_splits
from edgedigit.data.dataset import as_arrays
from edgedigit.errors import ConfigError, EdgedigitError
from edgedigit.manifest import source_commit, write_json
from edgedigit.metrics import accuracy_row
from edgedigit.train import pipeline, scoring

DEFAULT_CONFIG = "configs/architectures.yaml"
RESULT_FILE, MODEL_FILE = "result.json", "model.onnx"
USE_CASES = ("accuracy", "speed", "balanced", "production", "research")
SPEED_TOLERANCE = 0.05  # of accuracy, that speed may cost
LATENCY_RUNS = 300


@dataclass(frozen=True)
class Protocol:
    """One way of dividing recordings.

    Attributes:
        name: of its folders and of its column.
        title: what the column says.
        settings: nested differences from the recipe; `data.split` may be `loso`, which stands for a split a speaker.
        headline: whether this is the accuracy that the plot and the recommendation look at.
    """

    name: str
    title: str
    settings: dict
    headline: bool = False


@dataclass(frozen=True)
class Task:
    """One training: a model on one split of a protocol, with one seed."""

    label: str
    protocol: str
    split: str
    seed: int
    settings: dict  # nested differences from the defaults, all of them
    folder: Path


@dataclass(frozen=True)
class Plan:
    """Everything that is to be trained, read from a YAML file."""

    title: str
    protocols: tuple[Protocol, ...]
    tasks: tuple[Task, ...]

    @property
    def headline(self) -> Protocol:
        """The protocol that models are ranked by."""
        return next((p for p in self.protocols if p.headline), self.protocols[-1])


def load_plan(path: Path, run_dir: Path, data_dir: str | None, models: Sequence[str] = ()) -> Plan:
    """Read a comparison.

    The file has `title`, `recipe` (differences from the defaults), `protocols` (by name: `title`, `settings`,
    `headline`), `models` and, where more than seed 0 is wanted, `seeds`. A model is a text such as
    `bc_resnet:tau=3`, or a mapping of `model` to such a text with `settings` of its own, a `label` where two would
    share one and, where not all are to be run, `protocols` or, for single folds, `splits`. It has no teachers unless
    its settings name some.

    Args:
        models: texts; these alone instead of the file's.

    Raises:
        ConfigError: if the file cannot be read, or a key or a setting is unknown.
    """
    import yaml

    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    required = {"title", "recipe", "protocols", "models"}
    _check_keys(path, stated, required | {"seeds"}, required)
    protocols = []
    for name, values in stated["protocols"].items():
        _check_keys(f"{path}: protocol {name}", values, {"title", "settings", "headline"}, {"title", "settings"})
        protocols.append(Protocol(name, **values))
    if not isinstance(stated["models"], list):
        raise ConfigError(f"{path}: models is {stated['models']!r}, expected a list")
    entries = [{"model": entry} if isinstance(entry, str) else entry for entry in stated["models"]]
    if models:
        known = {entry["model"]: entry for entry in entries}
        entries = [known.get(text, {"model": text}) for text in models]
    tasks = []
    for entry in entries:
        _check_keys(f"{path}: model", entry, {"model", "label", "settings", "protocols", "splits"}, {"model"})
        model = ModelConfig.from_text(entry["model"])
        label = entry.get("label", model.label)
        for protocol in protocols:
            if protocol.name not in entry.get("protocols", [p.name for p in protocols]):
                continue
            alone = {"teachers": [], "student": {**asdict(model), "label": label}}
            settings = merged(merged(merged(stated["recipe"], protocol.settings), alone), entry.get("settings", {}))
            for split in _splits(configuration.from_dict(settings), data_dir):
                for seed in stated.get("seeds", [0]) if split in entry.get("splits", [split]) else ():
                    folder = run_dir / label / f"{protocol.name}-{split.replace(':', '-')}{f'-seed{seed}' * bool(seed)}"
                    whole = merged(settings, {"data": {"split": split}, "seed": seed})
                    tasks.append(Task(label, protocol.name, split, seed, whole, folder))
    return Plan(stated["title"], tuple(protocols), tuple(tasks))


def _check_keys(where, values, known: set, required: set | None = None) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} holds {type(values).__name__}, expected keys and values")
    unknown, missing = sorted(set(values) - known), sorted((known if required is None else required) - set(values))
    if unknown or missing:
        raise ConfigError(
            f"{where}: {'unknown ' + ', '.join(unknown) if unknown else 'missing ' + ', '.join(missing)}; "
            f"expected {', '.join(sorted(known))}"
        )


def merged(base: Mapping, changes: Mapping) -> dict:
    """Nested settings with others laid over them."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


@cache
def _loso_splits(sources: tuple[str, ...], data_dir: str | None) -> tuple[str, ...]:
    config = configuration.from_dict({"data": {"sources": list(sources)}})
    return tuple(fold_splits("loso", config, data_dir))


def _splits(config: Config, data_dir: str | None) -> tuple[str, ...]:
    """`loso` stands for all of its folds, any other split for itself."""
    return _loso_splits(config.data.sources, data_dir) if config.data.split == "loso" else (config.data.split,)


def run_task(task: Task, data_dir: str | None) -> str:
    """Train one model on one split, unless that has been done; a line that says how well it does on the test part.

    Raises:
        ConfigError: if the folder holds a training with other settings.
    """
    path = task.folder / RESULT_FILE
    if path.exists():
        return ""
    config = configuration.from_dict(task.settings)
    started = time.perf_counter()
    material = _material(config, data_dir)
    pipeline.prepare_run(config, task.folder, True, material.tracks)
    students = pipeline.train_all(config, material, task.folder, resume=True, say=_silent, bars=False)
    model = students[pipeline.FINAL]
    seconds = time.perf_counter() - started
    waveforms, targets = as_arrays(material.test, config.data.labels, model.spec.n_samples)
    predictions = scoring.predict_logits(model, waveforms).argmax(axis=1)
    answers = scoring.answer_rows(pipeline.FINAL, "student", "test", material.test, predictions, config.data.labels)
    scoring.write_answers(task.folder / "answers.csv", answers)
    _export(config, model, material, task.folder / MODEL_FILE)
    heard = {r.speaker for track in material.tracks for r in track.train}
    row = accuracy_row(task.split, int((predictions == targets).sum()), len(targets))
    log = (task.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    write_json(
        path,
        {
            "model": task.label,
            "protocol": task.protocol,
            "split": task.split,
            "unseen_speakers": not heard & {r.speaker for r in material.test},
            "n_params": folded_parameters(model),
            "macs": count_macs(model),
            "epochs": json.loads(log[-1])["epoch"],
            "seconds": round(seconds, 1),
            "device": config.device,
            "commit": source_commit(),
            "seed": config.seed,
            "accuracy": row,
        },
    )
    run = f"{task.label}, {task.protocol}, {task.split}, seed {task.seed}"
    return f"{run}: {100 * row['accuracy']:.2f} % of {row['n']}, {seconds:.0f} s"


def _silent(*_) -> None:
    pass


def _export(config: Config, model, material: pipeline.Material, path: Path) -> None:
    from edgedigit.export.exportable import Exportable
    from edgedigit.export.facts import model_facts
    from edgedigit.export.onnx_file import export_onnx, finish_onnx

    export_onnx(Exportable(model, 1.0), path)
    uncalibrated = {"temperature": 1.0, "reject_below": 0.0}
    finish_onnx(path, model.spec, model_facts(config, model, uncalibrated, material.tracks[-1].train))


@cache
def _recordings(sources: tuple[str, ...], noises: str, labels: tuple[str, ...], data_dir: str | None):
    data = configuration.DataConfig(sources=sources, noises=noises, labels=labels)
    return pipeline.read_recordings(data, data_dir, progress=False)


def _material(config: Config, data_dir: str | None) -> pipeline.Material:
    """Recordings are read once a process, however many trainings it runs."""
    data = config.data
    return pipeline.divide(data, *_recordings(data.sources, data.noises, data.labels, data_dir))


def _end_with_parent() -> None:
    """Should this process be left alone, end it: started again, the command would train in the same folders."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _work(task: Task, data_dir: str | None) -> str:
    try:
        return run_task(task, data_dir)
    except EdgedigitError as error:
        raise EdgedigitError(f"{task.label}, {task.split}: {error}") from None


def train(tasks: Sequence[Task], data_dir: str | None, n_jobs: int) -> None:
    """Train what is not finished yet, several models at a time; each takes one thread."""
    waiting = [task for task in tasks if not (task.folder / RESULT_FILE).exists()]
    print(f"{len(tasks)} trainings, {len(tasks) - len(waiting)} of them finished", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started below
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, mp_context=context, initializer=_end_with_parent) as pool:
        futures = [pool.submit(_work, task, data_dir) for task in waiting]
        try:
            for i, future in enumerate(futures):
                print(f"[{i + 1}/{len(waiting)}] {future.result()}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_results(tasks: Sequence[Task], protocols: Sequence[Protocol]) -> list[dict]:
    """One row a model that has been trained: sizes, cost of training, and per protocol its pooled accuracy.

    Raises:
        ConfigError: if nothing has been trained.
    """
    rows = []
    for label in dict.fromkeys(task.label for task in tasks):
        own = [task for task in tasks if task.label == label]
        found = [
            (task, json.loads((task.folder / RESULT_FILE).read_text(encoding="utf-8")))
            for task in own
            if (task.folder / RESULT_FILE).exists()
        ]
        if not found:
            continue
        first = found[0][1]
        row = {"model": label, "n_params": first["n_params"], "macs": first["macs"], "accuracy": {}}
        for protocol in protocols:
            results = [result for task, result in found if task.protocol == protocol.name]
            if not results:
                continue
            planned = {task.split for task in own if task.protocol == protocol.name}
            row["accuracy"][protocol.name] = {
                **_over_seeds(protocol.title, results),
                "splits": sorted({result["split"] for result in results}),
                "n_splits_planned": len(planned),
                "unseen_speakers": all(result["unseen_speakers"] for result in results),
            }
        row["epochs"] = sorted({result["epochs"] for _, result in found})
        row["minutes_per_training"] = sum(result["seconds"] for _, result in found) / 60 / len(found)
        row["device"] = ", ".join(sorted({result["device"] for _, result in found}))
        row["commits"] = sorted({str(result["commit"]) for _, result in found})
        row["file"] = str(found[0][0].folder / MODEL_FILE)
        row["size_bytes"] = Path(row["file"]).stat().st_size
        rows.append(row)
    if not rows:
        raise ConfigError("nothing has been trained yet; leave --read-only out")
    return rows


def _over_seeds(title: str, results: Sequence[dict]) -> dict:
    """Accuracy over all splits, the mean of the seeds, with the interval of one: a seed tests no further clips.

    Where seeds have run different splits, only those that every seed has run count.
    """
    seeds = sorted({result["seed"] for result in results})
    shared = set.intersection(*({r["split"] for r in results if r["seed"] == seed} for seed in seeds))
    counted = [result for result in results if result["split"] in shared]
    n = sum(result["accuracy"]["n"] for result in counted) // len(seeds)
    right = [sum(r["accuracy"]["n_correct"] for r in counted if r["seed"] == seed) for seed in seeds]
    row = accuracy_row(title, round(sum(right) / len(right)), n)
    if len(seeds) > 1:
        row |= {"seeds": seeds, "by_seed": [r / n for r in right], "deviation": statistics.stdev(r / n for r in right)}
    return row


def recommend(rows: Sequence[dict], use_case: str, headline: str) -> tuple[dict, str]:
    """The model for a use, and why.

    Args:
        rows: with `accuracy`, `latency`, `n_params`, `size_bytes`.
        use_case: one of USE_CASES.
        headline: name of the protocol whose accuracy counts.

    Raises:
        ConfigError: if no model has been measured on that protocol, or none fits.
    """
    known = [row for row in rows if headline in row["accuracy"]]
    if not known:
        raise ConfigError(f"no model has been measured on {headline}; train first")

    def accuracy(row: dict) -> float:
        return row["accuracy"][headline]["accuracy"]

    def p50(row: dict) -> float:
        return row["latency"]["latency_ms_p50"]

    best = max(known, key=accuracy)
    # Models whose interval reaches the best one's estimate cannot be told from it on these clips.
    alike = [row for row in known if row["accuracy"][headline]["accuracy_high"] >= accuracy(best)]
    if use_case == "accuracy":
        return best, f"the most accurate; {len(alike) - 1} others cannot be told from it on these clips"
    if use_case == "speed":
        allowed = [row for row in known if accuracy(row) >= accuracy(best) - SPEED_TOLERANCE]
        return min(allowed, key=p50), f"the fastest within {100 * SPEED_TOLERANCE:.0f} points of the most accurate"
    if use_case == "balanced":
        chosen = min(known, key=lambda row: (1 - accuracy(row)) * p50(row) ** 0.5)
        return (
            chosen,
            "the least error rate times square root of latency: half the errors are worth four times the time",
        )
    if use_case == "research":
        return min(alike, key=lambda row: row["n_params"]), "the fewest parameters of those not worse than the best"
    gates = configuration.GateConfig()
    fitting = [
        row
        for row in known
        if row["n_params"] <= gates.max_n_params
        and row["size_bytes"] <= gates.max_size_bytes
        and row["latency"]["latency_ms_p99"] <= gates.max_latency_ms
    ]
    if not fitting:
        raise ConfigError(f"none of {len(known)} models keeps {gates.max_n_params:,} parameters and the budgets")
    best_fitting = max(fitting, key=accuracy)
    level = accuracy(best_fitting)
    equals = [row for row in fitting if row["accuracy"][headline]["accuracy_high"] >= level]
    return min(equals, key=p50), (
        f"the fastest of the {len(equals)} not worse than {best_fitting['model']}, the most accurate of those "
        f"within {gates.max_n_params:,} parameters, {gates.max_size_bytes / 1e6:g} MB and {gates.max_latency_ms:g} ms"
    )


def text_table(rows: Sequence[dict], protocols: Sequence[Protocol]) -> str:
    """The comparison as aligned text."""
    header = ["model", "parameters", "M MACs", "kB", "p50 / p99 ms", *(f"{p.title} %" for p in protocols), "min"]
    lines = [header]
    for row in rows:
        latency = row["latency"]
        lines.append(
            [
                row["model"],
                f"{row['n_params']:,}",
                f"{row['macs'] / 1e6:.2f}",
                f"{row['size_bytes'] / 1000:.0f}",
                f"{latency['latency_ms_p50']:.3f} / {latency['latency_ms_p99']:.3f}",
                *(accuracy_cell(row["accuracy"].get(protocol.name)) for protocol in protocols),
                f"{row['minutes_per_training']:.1f}",
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    aligned = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))] for line in lines
    ]
    return "\n".join("  ".join(line) for line in aligned)


def accuracy_cell(accuracy: dict | None) -> str:
    """Accuracy, interval, deviation between seeds and, where folds are missing, how many there are."""
    if accuracy is None:
        return "–"
    text = "{:.2f} [{:.1f}, {:.1f}]".format(*(100 * accuracy[k] for k in ("accuracy", "accuracy_low", "accuracy_high")))
    if "deviation" in accuracy:
        text += f" ± {100 * accuracy['deviation']:.2f}"
    n_run, n_planned = len(accuracy["splits"]), accuracy["n_splits_planned"]
    return text if n_run == n_planned else f"{text} {n_run} of {n_planned} folds"


def plot_pareto(rows: Sequence[dict], headline: Protocol, path: Path) -> None:
    """Accuracy against latency with 95 % intervals, and the front of those that no other beats in both."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    known = [row for row in rows if headline.name in row["accuracy"]]
    points = sorted(
        (row["latency"]["latency_ms_p50"], 100 * row["accuracy"][headline.name]["accuracy"], row) for row in known
    )
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    front, level = [], -math.inf
    for latency_ms, accuracy, row in points:
        interval = row["accuracy"][headline.name]
        below, above = accuracy - 100 * interval["accuracy_low"], 100 * interval["accuracy_high"] - accuracy
        on_front = accuracy > level
        if on_front:
            front.append((latency_ms, accuracy))
            level = accuracy
        colour = "tab:blue" if on_front else "tab:gray"
        axes.errorbar(latency_ms, accuracy, [[below], [above]], fmt="o", color=colour, capsize=2, lw=0.8)
        axes.annotate(row["model"], (latency_ms, accuracy), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.step(*zip(*front, strict=True), where="post", color="tab:blue", lw=1)
    axes.set(xscale="log", xlabel="latency of one inference, p50, ms", ylabel=f"{headline.title}, %")
    axes.grid(alpha=0.3, which="both")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def result_of(rows: Sequence[dict], plan: Plan, command: str, name: str) -> dict:
    """The comparison as a file of `docs/results`, which README's tables are made from."""
    table = []
    for row in rows:
        head = row["accuracy"].get(plan.headline.name)
        others = {
            protocol.title: accuracy_cell(row["accuracy"].get(protocol.name))
            for protocol in plan.protocols
            if protocol is not plan.headline
        }
        if head is None:
            continue
        table.append(
            {
                "group": row["model"],
                **{key: head[key] for key in ("n", "n_correct")},
                **({"± between seeds": round(100 * head["deviation"], 2)} if "deviation" in head else {}),
                **others,
                "parameters": row["n_params"],
                "M MACs": round(row["macs"] / 1e6, 2),
                "kB": round(row["size_bytes"] / 1000),
                "p50 ms": round(row["latency"]["latency_ms_p50"], 3),
                "p99 ms": round(row["latency"]["latency_ms_p99"], 3),
                "epochs": " or ".join(map(str, row["epochs"])),
                "minutes per training": round(row["minutes_per_training"], 1),
            }
        )
    machine = machine_facts()
    commits = sorted({commit for row in rows for commit in row["commits"]})
    return {
        "name": name,
        "title": plan.title,
        "command": command,
        "commit": ", ".join(commits),
        "seeds": sorted({task.seed for task in plan.tasks}),
        "rows": table,
        "note": f"Accuracy % is that of {plan.headline.title}. fp32 ONNX, one thread, {machine['cpu']}, onnxruntime "
        f"{machine['onnxruntime']}; trained on {', '.join(sorted({row['device'] for row in rows}))}, one thread each.",
    }


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
    parser.add_argument("--plot", help="PNG of the Pareto plot (<run-dir>/pareto.png)")
    parser.add_argument("--results", help="JSON file to write the table to, for README.md")
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
            raise ConfigError(f"no protocol {', '.join(unknown)} in {args.config}")
    chosen = [task for task in plan.tasks if task.protocol in (args.protocols or [task.protocol])]

    # 2. Train what is missing.
    if not args.read_only:
        train(chosen, args.data_dir, args.jobs)

    # 3. One table, latencies measured in one run.
    rows = read_results(plan.tasks, plan.protocols)
    for row, latency in zip(rows, time_artifacts([row["file"] for row in rows], LATENCY_RUNS), strict=True):
        row["latency"] = latency
    rows.sort(key=lambda row: row["latency"]["latency_ms_p50"])
    print(text_table(rows, plan.protocols))

    # 4. Plot and recommendation.
    plot = Path(args.plot) if args.plot else run_dir / "pareto.png"
    plot_pareto(rows, plan.headline, plot)
    best, why = recommend(rows, args.use_case, plan.headline.name)
    accuracy = accuracy_cell(best["accuracy"][plan.headline.name])
    print(
        f"for {args.use_case}: {best['model']}, {why}; {plan.headline.title} {accuracy} %, "
        f"{best['latency']['latency_ms_p50']:.3f} ms, {best['n_params']:,} parameters"
    )
    words = ["python", "-m", "edgedigit.compare", "--config", args.config]
    result = result_of(rows, plan, shlex.join(words), Path(args.results or "architectures").stem)
    if args.results:
        write_json(args.results, result)
    print_json({"recommended": best["model"], "use_case": args.use_case, "plot": str(plot), "models": rows})
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
