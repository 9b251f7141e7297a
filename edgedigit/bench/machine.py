"""What a latency depends on besides the model: the machine that it was measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgedigit.errors import ModelError
from edgedigit.manifest import sha256_of

CPU_INFO = Path("/proc/cpuinfo")
# By the flag that tells of it, the fastest for products of eight bits first: names of CPUs in virtual machines hide it.
INSTRUCTIONS = {
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512bw": "AVX-512",
    "avx2": "AVX2",
    "i8mm": "NEON I8MM",
    "asimddp": "NEON DotProd",
    "asimd": "NEON",
}


def machine_facts(n_threads: int = 1) -> dict:
    """What a latency depends on besides the model: CPU, cores, threads used, runtime and Python versions.

    And `instructions`, those of the CPU that make INT8 fast or not, where the system tells.
    """
    try:
        onnxruntime = version("onnxruntime")
    except PackageNotFoundError:
        onnxruntime = None
    flags = set(_told_of_cpu("flags", "Features").split())
    instructions = next((name for flag, name in INSTRUCTIONS.items() if flag in flags), None)
    return {
        "cpu": _cpu_name(),
        **({"instructions": instructions} if instructions else {}),
        "n_threads": n_threads,
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime,
        "python": platform.python_version(),
        "platform": platform.platform(aliased=True, terse=True),
    }


def _cpu_name() -> str:
    return _told_of_cpu("model name", "Model") or platform.processor() or platform.machine() or "unknown CPU"


def _told_of_cpu(*keys: str) -> str:
    """What Linux says of the first CPU under one of these keys; empty elsewhere."""
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith(keys):
                return " ".join(line.partition(":")[2].split())
    return ""


def machine_slug(facts: dict) -> str:
    """A file stem for a machine's results, such as `intel-xeon-processor-2-cores`."""
    words = re.sub(r"\((r|tm)\)|@.*", " ", f"{facts['cpu']}".lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {facts['cores']} cores").strip("-")


def model_facts(path: Path) -> dict:
    """Which model was measured: its file's name and the SHA-256 of its bytes.

    Raises:
        ModelError: if there is none.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing; name an ONNX file with --model")
    return {"file": path.name, "sha256": sha256_of(path)}
