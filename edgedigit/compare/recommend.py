"""One model for a use, chosen by measured figures."""

from __future__ import annotations

from collections.abc import Sequence

from edgedigit.config import GateConfig
from edgedigit.errors import ConfigError

USE_CASES = ("accuracy", "speed", "balanced", "production", "research")
SPEED_TOLERANCE = 0.05  # of accuracy, that speed may cost


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
    gates = GateConfig()
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
