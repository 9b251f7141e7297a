"""What was measured, as rows, a table and a plot."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from edgedigit import config as configuration
from edgedigit.bench.machine import machine_facts
from edgedigit.compare.plan import MODEL_FILE, Plan, Protocol, Task
from edgedigit.compare.training import is_finished
from edgedigit.errors import ConfigError
from edgedigit.figures import new_figure, save_png
from edgedigit.metrics import accuracy_row
from edgedigit.train.pipeline import RESULT_FILE

RESULT_KEYS = {
    "split",
    "seed",
    "accuracy",
    "unseen_speakers",
    "n_params",
    "macs",
    "epochs",
    "seconds",
    "device",
    "commit",
}


def read_results(tasks: Sequence[Task], protocols: Sequence[Protocol]) -> list[dict]:
    """One row a model that has been trained: sizes, cost of training, and per protocol its pooled accuracy.

    Raises:
        ConfigError: if nothing has been trained, or something with other settings, or a result is damaged.
    """
    rows = []
    for label in dict.fromkeys(task.label for task in tasks):
        own = [task for task in tasks if task.label == label]
        found = [(task, _read_result(task)) for task in own if is_finished(task)]
        if not found:
            continue
        first = found[0][1]
        row = {"model": own[0].name, "n_params": first["n_params"], "macs": first["macs"], "accuracy": {}}
        for protocol in protocols:
            results = [result for task, result in found if task.protocol == protocol.name]
            if not results:
                continue
            planned = {task.split for task in tasks if task.protocol == protocol.name}  # of whichever model has most
            row["accuracy"][protocol.name] = {
                **_over_seeds(protocol.title, results),
                "splits": sorted({result["split"] for result in results}),
                "n_splits_planned": len(planned),
                "origin": results[0]["accuracy"]["group"].removeprefix(results[0]["split"]),  # of what nobody has said
                "unseen_speakers": all(result["unseen_speakers"] for result in results),
            }
        row["epochs"] = sorted({result["epochs"] for _, result in found})
        row["minutes_per_training"] = sum(result["seconds"] for _, result in found) / 60 / len(found)
        row["device"] = ", ".join(sorted({result["device"] for _, result in found}))
        row["precision"] = ", ".join(sorted({_precision(task, result) for task, result in found}))
        row["commits"] = sorted({str(result["commit"]) for _, result in found})
        row["file"] = str(found[0][0].folder / MODEL_FILE)
        row["size_bytes"] = Path(row["file"]).stat().st_size
        rows.append(row)
    if not rows:
        raise ConfigError("nothing has been trained yet; leave --read-only out")
    return rows


def _read_result(task: Task) -> dict:
    path = task.folder / RESULT_FILE
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be read as JSON ({error}); remove it and run the same command again"
        ) from None
    if not (isinstance(result, dict) and result.keys() >= RESULT_KEYS):
        raise ConfigError(f"{path} is not the result of a training; remove it and run the same command again")
    return result


def _precision(task: Task, result: dict) -> str:
    """In which precision a model was trained; results of before it was kept say what was asked for."""
    asked = configuration.from_dict(task.settings).student_precision
    return result.get("precision") or asked


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
    """Accuracy, interval, deviation between seeds, whether it is simulated and, where folds are missing, which there
    are.
    """
    if accuracy is None:
        return "–"
    text = "{:.2f} [{:.1f}, {:.1f}]".format(*(100 * accuracy[k] for k in ("accuracy", "accuracy_low", "accuracy_high")))
    if "deviation" in accuracy:
        text += f" ± {100 * accuracy['deviation']:.2f}"
    text += accuracy.get("origin", "")
    n_run, n_planned = len(accuracy["splits"]), accuracy["n_splits_planned"]
    if n_run == n_planned:
        return text
    return f"{text} {n_run} of {n_planned} folds: {', '.join(split.rpartition(':')[2] for split in accuracy['splits'])}"


def plot_pareto(rows: Sequence[dict], headline: Protocol, path: Path) -> None:
    """Accuracy against latency with 95 % intervals, and the front of those that no other beats in both.

    Points are numbered from the left; what a number stands for is listed beside the plot.
    """
    from matplotlib.ticker import LogLocator

    known = [row for row in rows if headline.name in row["accuracy"]]
    points = sorted(
        (row["latency"]["latency_ms_p50"], 100 * row["accuracy"][headline.name]["accuracy"], row["model"], row)
        for row in known
    )
    figure = new_figure(10, 6)
    axes = figure.subplots()
    front, level = [], -math.inf
    for number, (latency_ms, accuracy, name, row) in enumerate(points):
        interval = row["accuracy"][headline.name]
        below, above = accuracy - 100 * interval["accuracy_low"], 100 * interval["accuracy_high"] - accuracy
        on_front = accuracy > level
        if on_front:
            front.append((latency_ms, accuracy))
            level = accuracy
        colour = "tab:blue" if on_front else "dimgray"
        axes.errorbar(latency_ms, accuracy, [[below], [above]], color=colour, capsize=2, lw=0.6, alpha=0.6)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colour}
        axes.text(latency_ms, accuracy, number + 1, ha="center", va="center", fontsize=6, color=colour, bbox=box)
        beside = 1 - number * min(0.04, 1 / len(points))  # of the height of the plot
        axes.text(1.02, beside, f"{number + 1}  {name}", transform=axes.transAxes, va="top", fontsize=7, color=colour)
    if front:
        axes.step(*zip(*front, strict=True), where="post", color="tab:blue", lw=1, zorder=0)
    origin = known[0]["accuracy"][headline.name].get("origin", "") if known else ""
    axes.set(xscale="log", xlabel="latency of one inference, p50, ms", ylabel=f"{headline.title}{origin}, %")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    save_png(figure, path)


def result_of(rows: Sequence[dict], plan: Plan, command: str, name: str) -> dict:
    """The comparison as a file of `docs/results`, which the documents' tables are made from."""
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
                "group": row["model"] + head.get("origin", ""),
                **{key: head[key] for key in ("n", "n_correct")},
                **_seeds_cells(head),
                **others,
                "parameters": row["n_params"],
                "M MACs": round(row["macs"] / 1e6, 2),
                "kB": round(row["size_bytes"] / 1000),
                "p50 ms": round(row["latency"]["latency_ms_p50"], 3),
                "p99 ms": round(row["latency"]["latency_ms_p99"], 3),
                "epochs": " or ".join(map(str, row["epochs"])),
                "precision": row["precision"],
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
        f"{machine['onnxruntime']}; trained on {', '.join(sorted({row['device'] for row in rows}))}, one thread each; "
        "auto: bf16 where it is native.",
    }


def _seeds_cells(accuracy: dict) -> dict:
    """What the seeds gave one by one, and how far they lie apart."""
    if "deviation" not in accuracy:
        return {}
    by_seed = " ".join(f"{100 * share:.2f}" for share in accuracy["by_seed"])
    return {"each seed": by_seed, "± between seeds": round(100 * accuracy["deviation"], 2)}
