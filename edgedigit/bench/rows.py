"""Rows of measured figures: their budgets, and the table for reading."""

from __future__ import annotations

from collections.abc import Sequence

from edgedigit.config import BenchConfig
from edgedigit.errors import GateError

QUANTILES = ("p50", "p95", "p99")


def budgeted_ms(row: dict) -> float:
    """The figure of a row that its budget is about."""
    return row[f"latency_ms_{row['budget_quantile']}"]


def broken_budgets(rows: Sequence[dict]) -> list[str]:
    """One sentence for each row whose figure is above its budget, or that has too few right words to be worth one."""
    broken = [
        f"{row['name']}: {row['budget_quantile']} is {budgeted_ms(row):.1f} ms, the budget is {row['budget_ms']:g} ms"
        for row in rows
        if row.get("budget_ms") is not None and budgeted_ms(row) > row["budget_ms"]
    ]
    for row in rows:
        for quantile, limit_ms in (row.get("quiet_budgets_ms") or {}).items():
            if (got_ms := row[f"latency_ms_{quantile}"]) > limit_ms:
                broken.append(f"{row['name']}: {quantile} is {got_ms:.1f} ms, in quiet {limit_ms:g} ms is the budget")
        least, most_lost = row.get("min_right"), row.get("max_points_lost")
        if least is not None and row["n_correct"] < least * row["n_clips"]:
            said = f"{row['n_correct']} of {row['n_clips']} words are right, expected {100 * least:g} % or more"
            broken.append(f"{row['name']}: {said}")
        if most_lost is not None and -points(row) > most_lost:
            broken.append(
                f"{row['name']}: {points(row):+.2f} points against one by one, at most {most_lost:g} may be lost"
            )
    return broken


def answer_budget(config: BenchConfig) -> dict:
    """What a row of words is held to in noise too."""
    return {"budget_ms": config.budget_answer_ms, "budget_quantile": "p95"}


def quiet_gates(config: BenchConfig) -> dict:
    """What a row of words in quiet is held to."""
    besides = config.budget_quiet_ms
    return {
        **answer_budget(config),
        "min_right": config.min_right,
        "max_points_lost": config.max_points_lost,
        "quiet_budgets_ms": dict(zip(QUANTILES, besides, strict=True)) if besides else None,
    }


def check_broken(broken: Sequence[str]) -> None:
    """Raise where a budget or another limit is broken.

    Raises:
        GateError: naming all of them.
    """
    if broken:
        raise GateError("; ".join(broken) + "; close other programs and measure again, or choose another model")


def table(rows: Sequence[dict]) -> str:
    """The rows for reading: one line each."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'measured':<{width}} {'n':>5} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}  ms"]
    for row in rows:
        figures = " ".join(f"{row[f'latency_ms_{key}']:8.3f}" for key in ("p50", "p95", "p99", "max"))
        line = f"{row['name']:<{width}} {row['n']:>5} {figures} "
        if row.get("budget_ms") is not None:
            line += f" budget {row['budget_ms']:g} ({row['budget_quantile']})"
        if row.get("quiet_budgets_ms"):
            line += f", in quiet {' / '.join(f'{ms:g}' for ms in row['quiet_budgets_ms'].values())}"
        if row.get("ratio") is not None:
            line += f" {row['ratio']:.1f} times {row['ratio_to']}"
        if row.get("n_correct") is not None:
            line += f" right {row['n_correct']}/{row['n_clips']}"
        if "n_extra" in row:
            line += f", missed {row['n_missed']} ({row['n_rejected']} as unsure), extra {row['n_extra']}"
            line += f", before the end {row['n_before_end']}"
        if "n_within" in row:
            line += f", within {row['within_ms']:g} ms {within_text(row)}"
        lines.append(line)
        lines += [f"  {remark}" for remark in remarks(row)]
    return "\n".join(lines)


def within_text(row: dict) -> str:
    """Shares of all words, those of which nothing was said too: answered or rejected in time, and right in time."""
    share, right = (100 * row[key] / row["n_clips"] for key in ("n_within", "n_right_within"))
    return f"{share:.1f} % of all, right {right:.1f} %"


def remarks(row: dict) -> list[str]:
    """What a row says beyond its line."""
    said = [f"right in the stream {offline_text(row)}"] if "n_correct_offline" in row else []
    return said + group_remarks(row) + end_remarks(row)


def group_remarks(row: dict) -> list[str]:
    """What streaming gives up of each kind of words."""
    return [f"{group['group']}: right in the stream {offline_text(group)}" for group in row.get("groups", ())]


def end_remarks(row: dict) -> list[str]:
    """What the figure would be, did words end elsewhere."""
    ends = row.get("latency_ms_p95_by_end_drop_db", {}).items()
    by_drop = ", ".join(f"{drop} dB: {p95:.0f} ms" for drop, p95 in ends)
    return [f"p95 if the word ends with its last 10 ms within so many dB of its loudest: {by_drop}"] if by_drop else []


def points(row: dict) -> float:
    """Right in the stream less right one by one, in points; below 0 is lost."""
    return 100 * (row["n_correct"] - row["n_correct_offline"]) / row["n_clips"]


def offline_text(row: dict) -> str:
    """What streaming gives up: right in the stream, right one by one, the difference in points."""
    return (
        f"{row['n_correct']}, one by one {row['n_correct_offline']} of {row['n_clips']}: {points(row):+.2f} points "
        f"({row['n_label_offline']} with those that the model rejects)"
    )
