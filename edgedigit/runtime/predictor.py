"""One ONNX file in, labels out: a window of audio or EMG to probabilities with ONNX Runtime, without torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgedigit.audio import check_waveform, fix_length, read_audio, resample
from edgedigit.emg import check_emg, fit_window, read_emg
from edgedigit.errors import AudioError, ConfigError, EmgError, InputError, MissingDependencyError, ModelError
from edgedigit.labels import NON_DIGIT, check_labels
from edgedigit.manifest import manifest_path, verify_manifest
from edgedigit.runtime._paths import default_model
from edgedigit.runtime.vad import is_threshold
from edgedigit.spec import Signal

OUTPUT = "probabilities"
SILENCE_RMS = 1e-5  # -100 dBFS over the window, below what 16 bits can hold: nothing was recorded
MAX_THREADS = 64
MAX_BATCH = 256  # clips in one run of the session, so that a folder of any size needs bounded memory

Audio = str | os.PathLike | BinaryIO | np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What the model heard in one clip."""

    label: str
    """The likeliest label; `_unknown_`, where the model has it, for what is no digit. Heed `rejected`."""
    probability: float
    """Calibrated probability of `label`."""
    probabilities: dict[str, float]
    """Probability of every label, in the model's order; they sum to 1."""
    rejected: bool
    """True where the clip is not to be taken as a digit: `probability` is below the model's threshold, or the model
    has a label for other sounds and chose it."""
    latency_ms: float = field(compare=False)
    """Samples in memory to answer: resampling, window, features and network; a batch's time is shared evenly."""

    def top(self, k: int) -> list[tuple[str, float]]:
        """The `k` likeliest labels with their probabilities, best first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself in its ONNX metadata."""

    labels: tuple[str, ...]
    sample_rate: int  # Hz
    n_samples: int  # window of the model
    version: str
    thresholds: dict  # {"reject_below": probability, "vad": {name of a VadOptions field: value}}
    metadata: dict[str, str]  # everything, as stored
    signal: Signal  # what the model takes; audio, where the file does not say

    @property
    def reject_label(self) -> str | None:
        """The label that stands for no digit, which is answered with nothing; None where the model has none."""
        return NON_DIGIT if NON_DIGIT in self.labels else None


class Recognizer:
    """Recognises one spoken word per clip.

    Args:
        model: path of an ONNX file; None: the shipped model.
        threads: threads of the network. One is fastest on models this small.
        reject_below: probability under which answers are rejected, between 0 and 1; None: the model's own. Where false
            alarms are dear, `python -m edgedigit.detection` says what each threshold costs.

    A model may have the label `_unknown_` for other words, noise and parts of digits. Where it wins, or no digit
    reaches `reject_below`, the answer is `rejected`: files, folders, streams and the microphone then say no digit.

    Attributes:
        path: the model file.
        info: its `ModelInfo`.

    Raises:
        ModelError: if the file is missing, damaged, differs from its manifest or breaks the contract (input
            `waveform` float32 (B, n_samples), of EMG `emg` float32 (B, channels, n_samples), output `probabilities`
            float32 (B, n_labels), metadata).
        MissingDependencyError: if onnxruntime is not installed.

    Example:
        >>> Recognizer().predict("seven.wav").label
        '7'
    """

    def __init__(self, model: str | os.PathLike | None = None, threads: int = 1, reject_below: float | None = None):
        if reject_below is not None and not 0 <= reject_below <= 1:
            raise InputError(f"reject_below is {reject_below}, expected a probability, 0 to 1")
        if not 1 <= threads <= MAX_THREADS:
            raise InputError(f"threads is {threads}, expected 1 to {MAX_THREADS}")
        self.path = default_model() if model is None else Path(model)
        if not self.path.is_file():
            raise ModelError(f"{self.path} is not a file, expected an ONNX model; export_models.py writes one")
        if manifest_path(self.path).exists():
            verify_manifest(self.path)
        self._session = open_session(self.path, threads)
        self.info = _read_info(self.path, self._session)
        self._reject_below = reject_below

    @property
    def reject_below(self) -> float:
        """Predictions less probable than this are marked as rejected."""
        own = float(self.info.thresholds.get("reject_below", 0.0))
        return own if self._reject_below is None else self._reject_below

    def predict(self, audio: Audio | Sequence[Audio], sample_rate: int | None = None) -> Prediction | list[Prediction]:
        """Recognise one clip, or each clip of a list.

        Args:
            audio: a path, a binary file, or a mono array (T,) of float in [-1, 1] or int16; or a list of these.
                A clip longer than the model's window is cut to the loudest window; for several words use
                `StreamingRecognizer`. For a model of EMG: a `.npy` or `.csv` file, or an array, (time, channels), at
                the model's rate and in the units it was trained on.
            sample_rate: Hz, of arrays; None: the model's. Files know their own, those of EMG have the model's.

        Returns:
            One `Prediction`, or for a list a list of them.

        Raises:
            AudioError, EmgError: if a clip cannot be used.
        """
        single = not isinstance(audio, (list, tuple))
        read = self._read_emg if self.info.signal.kind == "emg" else self._read_audio
        rate = self.info.sample_rate if sample_rate is None else sample_rate
        clips = [read(item, rate) for item in ([audio] if single else audio)]
        predictions = []
        for first in range(0, len(clips), MAX_BATCH):
            predictions += self._predict_batch(clips[first : first + MAX_BATCH])
        return predictions[0] if single else predictions

    def _read_audio(self, item: Audio, sample_rate: int) -> tuple[np.ndarray, int]:
        """Mono samples (T,) and their rate."""
        if isinstance(item, np.ndarray):
            return check_waveform(item), sample_rate
        if isinstance(item, (str, os.PathLike)) or hasattr(item, "read"):
            return read_audio(item)
        raise AudioError(f"got {type(item).__name__}, expected a path, a binary file or a numpy array")

    def _read_emg(self, item: Audio, sample_rate: int) -> tuple[np.ndarray, int]:
        """Samples (channels, T) and their rate, which must be the model's."""
        if not isinstance(item, (str, os.PathLike, np.ndarray)):
            raise EmgError(f"got {type(item).__name__}, expected the path of a .npy or .csv file, or a numpy array")
        emg = check_emg(item) if isinstance(item, np.ndarray) else read_emg(item)
        signal = self.info.signal
        name = "EMG" if isinstance(item, np.ndarray) else str(item)
        if len(emg) != signal.n_channels:
            raise EmgError(f"{name} has {len(emg)} channels, {self.path.name} takes {signal.n_channels}")
        if sample_rate != signal.sample_rate:
            raise EmgError(
                f"{name} is at {sample_rate} Hz, {self.path.name} takes {signal.sample_rate} Hz; resample it"
            )
        return emg, sample_rate

    def _predict_batch(self, clips: list[tuple[np.ndarray, int]]) -> list[Prediction]:
        start = time.perf_counter()
        windows = np.stack([self.window(waveform, rate) for waveform, rate in clips])
        rows = self.probabilities(windows)
        latency_ms = (time.perf_counter() - start) * 1000 / len(clips)
        if self.info.signal.kind == "emg":  # no electrode moved: nothing was connected
            silent = (np.ptp(windows, axis=2) == 0).all(axis=1)
        else:
            silent = np.einsum("ij,ij->i", windows, windows) < SILENCE_RMS**2 * windows.shape[1]
        rejected = silent | self.rejects(rows)
        return [self._prediction(row, no_digit, latency_ms) for row, no_digit in zip(rows, rejected, strict=True)]

    def _prediction(self, row: np.ndarray, rejected: bool, latency_ms: float) -> Prediction:
        best = int(row.argmax())
        return Prediction(
            label=self.info.labels[best],
            probability=float(row[best]),
            probabilities=dict(zip(self.info.labels, row.tolist(), strict=True)),
            rejected=bool(rejected),
            latency_ms=latency_ms,
        )

    def rejects(self, probabilities: np.ndarray) -> np.ndarray:
        """Which answers are not to be taken as a digit: (B, n_labels) -> (B,) bool.

        Those less probable than `reject_below`, and those for which another sound than a digit is likeliest.
        """
        best = probabilities.argmax(axis=1)
        unsure = probabilities.max(axis=1).astype(np.float64) < self.reject_below  # a float32 threshold is another
        return unsure | np.array([self.info.labels[index] == self.info.reject_label for index in best], dtype=bool)

    def window(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Fit a mono clip into the model's window: (T,) at `sample_rate` Hz -> (n_samples,); EMG keeps its channels."""
        if self.info.signal.kind == "emg":
            return fit_window(waveform, self.info.n_samples)
        waveform = resample(waveform, sample_rate, self.info.sample_rate)
        return fix_length(waveform, self.info.n_samples, sample_rate=self.info.sample_rate)

    def probabilities(self, waveforms: np.ndarray) -> np.ndarray:
        """Run the network alone.

        Args:
            waveforms: (B, n_samples) at the model's sample rate, of EMG (B, channels, n_samples).

        Returns:
            (B, n_labels) float32, rows sum to 1, columns in the order of `info.labels`.

        Raises:
            AudioError, EmgError: if the shape is another, or the answer is not finite.
        """
        signal = self.info.signal
        error = EmgError if signal.kind == "emg" else AudioError
        waveforms = np.ascontiguousarray(waveforms, dtype=np.float32)
        if waveforms.shape[1:] != signal.shape:
            expected = ", ".join(map(str, signal.shape))
            raise error(f"waveforms have shape {waveforms.shape}, expected (B, {expected})")
        (rows,) = self._session.run([OUTPUT], {signal.input_name: waveforms})
        if not np.isfinite(rows).all():
            scale = "[-1, 1]" if signal.kind == "audio" else "microvolts"
            raise error(f"{self.path.name} gave no finite answer; scale the samples to {scale}")
        return rows


def session_options(threads: int):
    """How onnxruntime is to run a model: quietly, and to the same answers on every CPU.

    Raises:
        MissingDependencyError: if onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError.of("onnxruntime", "runtime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not burn a core
    # x86 without VNNI adds products of INT8 in 16 bits, which overflow; this keeps them whole, for a tenth more time.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def open_session(path: Path, threads: int):
    """An onnxruntime session that changes nothing outside itself."""
    options = session_options(threads)
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        raise ModelError(
            f"{path} is not a whole ONNX model ({type(error).__name__}); copy it again or export it again"
        ) from None


def _read_info(path: Path, session) -> ModelInfo:
    """Check the contract of the model file and read its metadata."""
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    try:
        signal = Signal(**json.loads(metadata["signal"])) if "signal" in metadata else None
    except (ValueError, TypeError, ConfigError) as error:
        raise ModelError(
            f"{path}: its signal is malformed ({error}); use a model that export_models.py wrote"
        ) from None
    name = (signal or Signal()).input_name
    inputs = [(value.name, value.type) for value in session.get_inputs()]
    outputs = [(value.name, value.type) for value in session.get_outputs()]
    if inputs != [(name, "tensor(float)")] or outputs != [(OUTPUT, "tensor(float)")]:
        raise ModelError(
            f"{path} has inputs {inputs} and outputs {outputs}, expected one input {name!r} and one output "
            f"{OUTPUT!r}, both float32; use a model that export_models.py wrote"
        )
    try:
        info = ModelInfo(
            labels=tuple(json.loads(metadata["labels"])),
            sample_rate=int(metadata["sample_rate"]),
            n_samples=int(metadata["n_samples"]),
            version=metadata["version"],
            thresholds=json.loads(metadata["thresholds"]),
            metadata=metadata,
            signal=signal or Signal(sample_rate=int(metadata["sample_rate"]), n_samples=int(metadata["n_samples"])),
        )
        if not all(isinstance(label, str) for label in info.labels):
            raise ValueError(f"labels are {list(info.labels)}, expected text")
        check_labels(info.labels)
        reject_below = info.thresholds.get("reject_below", 0.0)
        if not is_threshold(reject_below):
            raise ValueError(f"reject_below is {reject_below!r}, expected a finite number")
    except (KeyError, ValueError, TypeError, AttributeError, ConfigError) as error:
        raise ModelError(
            f"{path}: metadata is missing or malformed ({error!r}); use a model that export_models.py wrote"
        ) from None
    batch = session.get_inputs()[0].shape[:1]
    if batch and isinstance(batch[0], int):
        raise ModelError(
            f"{path} takes {batch[0]} clips at a time, expected any number (B); export it with a batch size left open"
        )
    shapes = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    for shape, expected in zip(shapes, (info.signal.shape, (len(info.labels),)), strict=True):
        fixed = zip(shape[1:], expected, strict=False)
        if len(shape) != 1 + len(expected) or any(isinstance(a, int) and a != b for a, b in fixed):
            wanted = ", ".join(map(str, expected))
            raise ModelError(f"{path} has a tensor of shape {shape}, but its metadata says (B, {wanted})")
    return info
