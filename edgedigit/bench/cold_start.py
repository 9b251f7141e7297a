"""From the start of a process to its first answer, and what that time goes into."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from edgedigit.bench.child import start
from edgedigit.errors import ModelError
from edgedigit.metrics import latency_summary

PHASES = {
    "whole": "cold start, new process to first answer",
    "import": "cold start, of which importing the package",
    "load": "cold start, of which loading the model",
    "answer": "first inference after loading",
}


def cold_start(path: Path) -> dict[str, float]:
    """Start a process that answers once: milliseconds of the whole and of each phase.

    Raises:
        ModelError: if it gives no answer.
    """
    started = time.perf_counter()
    with start("edgedigit.bench.first_answer", str(path)) as process:
        line = process.stdout.readline()
        whole_ms = 1000 * (time.perf_counter() - started)
        said = process.stderr.read().strip().splitlines()
    if not line:
        raise ModelError(f"{path} gave no answer in a new process: {said[-1] if said else 'it ended'}")
    return {"whole": whole_ms, **json.loads(line)}


def run_cold_start(path: Path, n_processes: int) -> list[dict]:
    """Rows of a cold start and its phases, over several processes one after the other.

    The files are in the disk's cache: a process before these is not counted.
    """
    cold_start(path)
    starts = [cold_start(path) for _ in range(n_processes)]
    return [
        {"name": f"{path.name}: {name}", **latency_summary(np.array([took[phase] for took in starts]))}
        for phase, name in PHASES.items()
    ]
