"""Proof that an exported file answers as the trained model does, and the limits on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from edgedigit.config import GateConfig
from edgedigit.export.exportable import Exportable

BATCH = 256


@torch.no_grad()
def run_torch(model: Exportable | torch.jit.ScriptModule, waveforms: np.ndarray) -> np.ndarray:
    """Probabilities (n, n_labels) for waveforms (n, n_samples)."""
    parts = [model(torch.from_numpy(waveforms[i : i + BATCH])).numpy() for i in range(0, len(waveforms), BATCH)]
    return np.concatenate(parts)


def run_torchscript(path: Path, waveforms: np.ndarray) -> np.ndarray:
    """As `run_torch`, from a TorchScript file."""
    return run_torch(torch.jit.load(str(path)), waveforms)


def compare(reference: np.ndarray, probabilities: np.ndarray) -> dict:
    """Largest difference of any probability, and the share of clips with the same decision.

    Args:
        reference: (n, n_labels) of the trained model.
        probabilities: (n, n_labels) of the exported file.
    """
    same = reference.argmax(axis=1) == probabilities.argmax(axis=1)
    return {
        "n": len(reference),
        "max_difference": float(np.abs(reference - probabilities).max()),
        "same_decision": float(same.mean()),
    }


def allowed_clips(share: float, n: int) -> int:
    """How many of `n` clips a limit of so small a share allows: one clip alone breaks none but that of 0."""
    return max(1, math.floor(share * n + 1e-6)) if share > 0 else 0  # 0.005 of 1000 is 5, whatever floats make of it


def broken_limits(files: Sequence[dict], gates: GateConfig) -> list[str]:
    """What each file breaks, one sentence each; empty if all is well."""
    broken = []
    for entry in files:
        name, parity = entry["file"], entry["parity"]
        if entry["size_bytes"] > gates.max_size_bytes:
            broken.append(f"{name} has {entry['size_bytes']} bytes, {gates.max_size_bytes} are allowed")
        if entry["n_params"] > gates.max_n_params:
            broken.append(f"{name} has {entry['n_params']} parameters, {gates.max_n_params} are allowed")
        n_differ = round(parity["n"] * (1 - parity["same_decision"]))
        n_may = allowed_clips(1 - gates.min_agreement_int8, parity["n"])
        if entry["kind"] == "int8" and n_differ > n_may:
            broken.append(
                f"{name} decides as the trained model on {100 * parity['same_decision']:.2f} % of {parity['n']} clips, "
                f"{100 * gates.min_agreement_int8:.2f} % are needed ({n_differ} differ, {n_may} may)"
            )
        if entry["kind"] != "int8" and parity["max_difference"] > gates.max_parity_fp32:
            again = " (prune_and_quantize.py --resume writes it anew)" if entry["kind"] == "fp32" else ""
            broken.append(
                f"{name} differs from the trained model by {parity['max_difference']:.1e}, "
                f"{gates.max_parity_fp32:.1e} is allowed{again}"
            )
        if entry.get("latency", {}).get("latency_ms_p99", 0.0) > gates.max_latency_ms:
            broken.append(
                f"{name} takes {entry['latency']['latency_ms_p99']:.2f} ms (p99), {gates.max_latency_ms} are allowed"
            )
    return broken
