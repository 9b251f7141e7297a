"""Files of surface EMG in, and placing a recording in the model's window. Needs numpy alone."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from edgedigit.errors import EmgError
from edgedigit.spec import MAX_SAMPLE

EMG_SUFFIXES = (".npy", ".csv")
# Of a CSV header, any case, a unit behind it: no electrode. Tables that pandas writes begin with a nameless index.
TIME_COLUMN = re.compile(r"(|unnamed: 0|(t|time|timestamp|sample|index|seconds)([ _]+[\[(]?(s|ms|us|µs)[\])]?)?)", re.I)


def read_emg(path: str | os.PathLike) -> np.ndarray:
    """Read a recording of (time, channels), as `.npy` or as CSV.

    A CSV may have a header; a column that it calls time (`TIME_COLUMN`) is left out, every other is a channel.

    Returns:
        (channels, T) float32, in the units of the file: microvolts, or steps of the converter.

    Raises:
        EmgError: if the file is missing, not such a recording, empty or not finite.
    """
    path = Path(path)
    if path.suffix.lower() not in EMG_SUFFIXES:
        raise EmgError(f"{path} is not EMG: expected {' or '.join(EMG_SUFFIXES)} of shape (time, channels)")
    try:
        samples = np.load(path) if path.suffix.lower() == ".npy" else _read_csv(path)
    except FileNotFoundError:
        raise EmgError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise EmgError(f"{path} is a folder, expected a recording") from None
    except (ValueError, EOFError, OSError, BadZipFile, csv.Error) as error:  # whatever is wrong with the bytes
        raise EmgError(f"{path} cannot be read as numbers ({str(error).splitlines()[0]}); save it again") from None
    return check_emg(samples, str(path))


def _read_csv(path: Path) -> np.ndarray:
    """(T, channels) float64.

    Raises:
        ValueError: if a cell is no number or a row has another length.
    """
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = [row for row in csv.reader(handle) if row]
    if not rows:
        return np.zeros((0, 1))
    width = len(rows[0])
    kept = range(width)
    # Where columns have no names they are counted, 0, 1, 2. As a sample that would be a step, from which filters ring.
    counted = width > 1 and rows[0] == [str(column) for column in range(width)]
    if counted or not _is_number(rows[0][0]):
        kept = [column for column, name in enumerate(rows.pop(0)) if not TIME_COLUMN.fullmatch(name.strip())]
    return np.array([[float(row[column]) for column in kept] for row in _of_length(rows, width)]).reshape(-1, len(kept))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _of_length(rows: list[list[str]], width: int) -> list[list[str]]:
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise ValueError(f"row {number} has {len(row)} values, the first line has {width}")
    return rows


def check_emg(samples: np.ndarray, name: str = "EMG") -> np.ndarray:
    """Samples (T, channels), real numbers of any type, as float32 (channels, T).

    Raises:
        EmgError: if they are something else, none, not finite, or beyond any scale.
    """
    samples = np.asarray(samples)
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.dtype.kind not in "iuf":
        raise EmgError(f"{name} holds {samples.dtype} of shape {samples.shape}, expected numbers (time, channels)")
    if 0 in samples.shape:
        raise EmgError(f"{name} holds no samples (shape {samples.shape}); record it again")
    if samples.shape[1] > samples.shape[0]:
        raise EmgError(f"{name} has shape {samples.shape}, more channels than samples; expected (time, channels)")
    if not np.isfinite(samples).all():
        raise EmgError(f"{name} holds NaN or infinite samples; write it again with finite values")
    peak = max(-float(samples.min()), float(samples.max()))
    if peak > MAX_SAMPLE:
        raise EmgError(f"{name} holds samples of up to {peak:.3g}, expected microvolts; scale them")
    return np.ascontiguousarray(samples.T, dtype=np.float32)


def fit_window(emg: np.ndarray, n_samples: int) -> np.ndarray:
    """Fit a recording into the model's window: (channels, T) -> (channels, n_samples).

    A shorter one is continued with its first and last values, since electrodes rest at no particular voltage; a longer
    one is cut to where it moves most from sample to sample.
    """
    spare = emg.shape[1] - n_samples
    if spare <= 0:
        return np.pad(emg, ((0, 0), (-spare // 2, -spare - -spare // 2)), mode="edge")
    steps = np.diff(emg.astype(np.float64), axis=1)
    spread = steps.std(axis=1, keepdims=True)
    energy = np.square(steps / np.where(spread > 0, spread, 1.0)).sum(axis=0)  # (T - 1,), channels count alike
    total = np.concatenate([[0.0], np.cumsum(energy)])
    start = int(np.argmax(total[n_samples - 1 :] - total[: total.size - n_samples + 1]))
    return emg[:, start : start + n_samples]
