"""What a latency depends on besides the model: the machine that it was measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def machine_facts(n_threads: int = 1) -> dict:
    """What a latency depends on besides the model: CPU, cores, threads used, runtime and Python versions."""
    try:
        onnxruntime = version("onnxruntime")
    except PackageNotFoundError:
        onnxruntime = None
    return {
        "cpu": _cpu_name(),
        "n_threads": n_threads,
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime,
        "python": platform.python_version(),
        "platform": platform.platform(aliased=True, terse=True),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "unknown CPU"


def machine_slug(facts: dict) -> str:
    """A file stem for a machine's results, such as `intel-xeon-processor-2-cores`."""
    words = re.sub(r"\((r|tm)\)|@.*", " ", f"{facts['cpu']}".lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {facts['cores']} cores").strip("-")
