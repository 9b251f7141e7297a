"""Waveform to probabilities of exported files, batch 1."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgedigit.bench.load import busy_cores, other_cores
from edgedigit.bench.timing import time_calls
from edgedigit.config import BenchConfig
from edgedigit.errors import MissingDependencyError, ModelError
from edgedigit.runtime import Recognizer
from edgedigit.runtime._paths import RESULTS
from edgedigit.spec import Signal

CHECKPOINT = "student.pt"  # beside the exported files: the student that they were made from


def load_model(path: str | Path, threads: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """Waveforms (B, n_samples) to probabilities (B, n_labels) of an ONNX or TorchScript file.

    Args:
        path: the file.
        threads: of an ONNX file; TorchScript takes as many as torch is set to.

    Raises:
        ModelError: if the file is missing or damaged.
        MissingDependencyError: if its runtime is not installed.
    """
    path = Path(path)
    if path.suffix != ".pt":
        return Recognizer(path, threads).probabilities
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


def run_inference(paths: Sequence[Path], config: BenchConfig) -> list[dict]:
    """Rows of waveform -> probabilities: each file on one thread, the first file on other numbers of threads too."""
    return _time(paths, config)


def run_beside_load(paths: Sequence[Path], config: BenchConfig) -> list[dict]:
    """Rows of waveform -> probabilities of the first file while the other cores are kept busy.

    All files are run in the same turns as by `run_inference`, since what runs before a file empties the caches that it
    finds: between the rows of both, the load alone differs.
    """
    n_busy = other_cores()
    with busy_cores(n_busy):
        rows = _time(paths, config, n_busy)
    return [row for row in rows if row["name"].startswith(f"{paths[0].name}: ")]


def _time(paths: Sequence[Path], config: BenchConfig, n_busy: int = 0) -> list[dict]:
    """Files in turn, then the first on more threads; the budget is that of one thread."""
    more = [(paths[0], n_threads) for n_threads in config.threads if n_threads != 1]
    files = [*((path, 1) for path in paths), *more]
    waveform = example_waveform()
    with one_torch_thread():
        models = [load_model(path, n_threads) for path, n_threads in files]
        latencies = time_calls([lambda model=model: model(waveform) for model in models], config.n_runs)
    rows = []
    for (path, n_threads), latency in zip(files, latencies, strict=True):
        rows.append({"name": inference_name(path, n_threads, n_busy), **latency})
        if n_threads == 1:
            rows[-1] |= {"budget_ms": config.budget_inference_ms, "budget_quantile": "p99"}
    return rows


def inference_name(path: Path, n_threads: int = 1, n_busy: int = 0) -> str:
    """Name of a row of waveform -> probabilities."""
    threads = "" if n_threads == 1 else f", {n_threads} threads"
    beside = f", {n_busy} other core{'s' if n_busy > 1 else ''} busy" if n_busy else ""
    return f"{path.name}: waveform to probabilities{threads}{beside}"


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
