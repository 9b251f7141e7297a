"""Two result files side by side: two machines, or two versions on one."""

from __future__ import annotations

import json
import math
from pathlib import Path

from edgedigit.bench.kept import DAMAGE
from edgedigit.bench.listening import cost_text
from edgedigit.bench.rows import QUANTILES, within_text
from edgedigit.errors import InputError

NONE = "–"


def load_results(path: Path) -> dict:
    """What is compared of a file that `--write` has written: `machine rows within listening`.

    Raises:
        InputError: if it is missing or damaged, in one line.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        rows = {_text(row["name"]): [_size(row[f"latency_ms_{q}"]) for q in QUANTILES] for row in results["rows"]}
        within = {
            row["name"]: within_text(row) for row in results["rows"] if "n_within" in row
        }  # older files have none
        listened = results.get("listening")
        return {
            "machine": _machine(results),
            "measured": _measured(results),
            "rows": rows,
            "within": within,
            "listening": listened and {"cpu_share": _size(listened["cpu_share"]), "text": cost_text(listened)},
        }
    except DAMAGE as error:
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is no result file of edgedigit.bench ({why}); write one with --write") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _size(value: float) -> float:
    """A finite number from 0.

    Raises:
        ValueError: if it is none.
    """
    size = float(value)
    if not 0 <= size < math.inf:
        raise ValueError(f"{size} is no latency or share")
    return size


def comparison(before: Path, after: Path) -> str:
    """Latencies of two files as a table, with their ratio, and one line for each row that only one of them has.

    Raises:
        InputError: if a file is missing or damaged, or they have no row in common.
    """
    first, second = load_results(before), load_results(after)
    rows, others = first["rows"], second["rows"]
    shared = [name for name in rows if name in others]
    if not shared:
        raise InputError(f"{before} and {after} have no row in common; measure both with the same model and options")
    width = max(map(len, shared))
    lines = [f"A: {before}: {first['machine']}", f"B: {after}: {second['machine']}"]
    for what, said in first["measured"].items():
        if said != second["measured"][what]:
            lines.append(f"note: {what} differ: A {said or 'not told'}, B {second['measured'][what] or 'not told'}")
    lines.append(f"{'ms':<{width}}" + "".join(f"{f'A {q}':>10}{f'B {q}':>10}{'B/A':>7}" for q in QUANTILES))
    for name in shared:
        cells = (f"{a:>10.3f}{b:>10.3f}{_ratio(a, b):>7}" for a, b in zip(rows[name], others[name], strict=True))
        lines.append(f"{name:<{width}}{''.join(cells)}")
    for name in shared:
        said = [one["within"].get(name) for one in (first, second)]
        if any(said):
            lines.append(
                f"within the budget, {name}: " + ", ".join(f"{x}: {s or NONE}" for x, s in zip("AB", said, strict=True))
            )
    for letter, own, other in (("A", rows, others), ("B", others, rows)):
        lines += [f"only in {letter}: {name}" for name in own if name not in other]
    return "\n".join(lines + _listening(first["listening"], second["listening"]))


def _listening(first: dict | None, second: dict | None) -> list[str]:
    """Cost of listening, where both have it; a line where only one has."""
    if not (first and second):
        return [f"only in {'A' if first else 'B'}: listening"] if first or second else []
    ratio = _ratio(first["cpu_share"], second["cpu_share"])
    return [
        f"listening, A: {first['text']}",
        f"listening, B: {second['text']}, {ratio} times A's share of a core",
    ]


def _machine(results: dict) -> str:
    machine = results.get("machine") or {}
    said = [f"{machine[key]}" for key in ("cpu", "instructions", "onnxruntime") if machine.get(key)]
    return ", ".join([*said, f"commit {results.get('commit')}"])


def _measured(results: dict) -> dict[str, str]:
    """What rows of one name must have in common to be compared, in words; older files do not tell."""
    model, seeds = results.get("model") or {}, results.get("seeds") or []
    said = f"{model['file']}, SHA-256 {model['sha256'][:12]}…" if model else ""
    return {"models": said, "seeds": ", ".join(f"{seed}" for seed in seeds)}


def _ratio(a: float, b: float) -> str:
    return f"{b / a:.2f}" if a else NONE
