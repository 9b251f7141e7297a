"""Waveform to probabilities of exported files, batch 1."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgedigit.errors import MissingDependencyError, ModelError
from edgedigit.runtime import Recognizer
from edgedigit.runtime._paths import RESULTS
from edgedigit.runtime.timing import time_calls
from edgedigit.spec import Signal

CHECKPOINT = "student.pt"  # beside the exported files: the student that they were made from


def load_model(path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """Waveforms (B, n_samples) to probabilities (B, n_labels) of an ONNX or TorchScript file.

    Raises:
        ModelError: if the file is missing or damaged.
        MissingDependencyError: if its runtime is not installed.
    """
    path = Path(path)
    if path.suffix != ".pt":
        return Recognizer(path).probabilities
    try:
        import torch
    except ImportError:
        raise MissingDependencyError.of("torch", "train") from None
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path))
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path} is not a whole TorchScript file ({type(error).__name__}); run export_models.py"
        ) from None

    def probabilities(waveforms: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(waveforms)).numpy()

    return probabilities


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """torch on one thread inside, as before afterwards; nothing where torch is not installed."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def example_waveform(signal: Signal | None = None) -> np.ndarray:
    """An input (1, *signal.shape), of audio for None, to time; what models compute does not depend on its content."""
    shape = (signal or Signal()).shape
    return np.random.default_rng(0).normal(0, 0.1, (1, *shape)).astype(np.float32)


def time_artifacts(
    paths: Sequence[str | Path], signal: Signal | None = None, n_runs: int = 1000, n_again: int = 0
) -> list[dict]:
    """Time signal -> probabilities of ONNX and TorchScript files in turn, batch 1, one thread; None: audio.

    Args:
        n_again: as in `timing.time_calls`.

    Returns:
        One `metrics.latency_summary` (ms) for each.
    """
    waveform = example_waveform(signal)
    with one_torch_thread():
        models = [load_model(path) for path in paths]
        return time_calls([lambda model=model: model(waveform) for model in models], n_runs, n_again=n_again)


def run_inference(paths: Sequence[Path], budget_ms: float, n_runs: int) -> list[dict]:
    """Rows of waveform -> probabilities, one for each file."""
    budget = {"budget_ms": budget_ms, "budget_quantile": "p99"}
    return [
        {"name": f"{path.name}: waveform to probabilities", **latency, **budget}
        for path, latency in zip(paths, time_artifacts(paths, n_runs=n_runs), strict=True)
    ]


def shipped_files(folder: Path) -> list[Path]:
    """ONNX and TorchScript files in a folder that export_models.py wrote, the default one first.

    Raises:
        ModelError: if its results are missing or malformed.
    """
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        names = [file["file"] for file in results["files"]]
        return [folder / name for name in sorted(names, key=lambda name: (name != results["default"], name))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / RESULTS} cannot be used ({error!r}); run export_models.py") from None
