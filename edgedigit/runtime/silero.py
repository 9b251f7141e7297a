"""Silero's detector of voices as a second opinion on what is speech, from its own ONNX file and without torch."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from edgedigit.errors import ConfigError, ModelError
from edgedigit.runtime.predictor import open_session
from edgedigit.runtime.vad import EnergyGate, VadOptions

CHUNK = {8000: 256, 16000: 512}  # Hz: samples that the net takes at once, 32 ms
CONTEXT = {8000: 32, 16000: 64}  # Hz: samples of the chunk before that go with them
STATE = (2, 1, 128)  # of its recurrent layer
FILE = Path("data") / "silero_vad.onnx"  # inside the package silero-vad


class SileroNet:
    """Silero's net on a stream: a probability of speech every 32 ms.

    Args:
        sample_rate: Hz; 8000 or 16000.
        model: Silero's ONNX file; None: the one in the package silero-vad, which is found without being imported.

    Raises:
        ConfigError: if Silero cannot work at the rate.
        ModelError: if the file is missing or is not Silero's.
        MissingDependencyError: if onnxruntime is not installed.

    Source: Silero Team, Silero VAD, https://github.com/snakers4/silero-vad (MIT), version 5 and later.
    """

    def __init__(self, sample_rate: int, model: str | os.PathLike | None = None):
        if sample_rate not in CHUNK:
            raise ConfigError(f"Silero works at {' or '.join(map(str, CHUNK))} Hz, got {sample_rate}")
        self.sample_rate = sample_rate
        self.chunk_length = CHUNK[sample_rate]
        path = _packaged() if model is None else Path(model)
        if not path.is_file():
            raise ModelError(f"{path} is not a file, expected Silero's silero_vad.onnx")
        self._session = open_session(path, threads=1)
        names = {value.name for value in self._session.get_inputs()}
        if names != {"input", "state", "sr"}:
            raise ModelError(f"{path} has inputs {sorted(names)}, expected input, sr and state: Silero VAD 5 or later")
        self.reset()

    def reset(self) -> None:
        """Forget the stream so far."""
        self._state = np.zeros(STATE, np.float32)
        self._context = np.zeros(CONTEXT[self.sample_rate], np.float32)

    def probability(self, chunk: np.ndarray) -> float:
        """Of speech in the next chunk, float32 (chunk_length,) in [-1, 1]."""
        inputs = {
            "input": np.concatenate((self._context, chunk))[None],
            "state": self._state,
            "sr": np.array(self.sample_rate, np.int64),
        }
        probability, self._state = self._session.run(None, inputs)
        self._context = chunk[-self._context.size :]
        return float(probability.item())


class SileroActivity:
    """Speech is what Silero takes for speech and what stands out of the noise.

    Silero answers every 32 ms; in between its last answer holds. The energy gate still ends a word within a frame, so
    what Silero changes is which sounds may begin one.

    Args:
        options: thresholds.
        sample_rate: Hz; 8000 or 16000.
        model: as for `SileroNet`.

    Raises:
        ConfigError, ModelError, MissingDependencyError: as `SileroNet`.
    """

    def __init__(self, options: VadOptions, sample_rate: int, model: str | os.PathLike | None = None):
        self.options = options
        self._net = SileroNet(sample_rate, model)
        self.reset()

    def reset(self) -> None:
        """Forget the stream so far."""
        self._gate = EnergyGate(self.options)
        self._net.reset()
        self._pending = np.zeros(0, np.float32)  # less than a chunk
        self._speaking = False

    @property
    def noise_floor_db(self) -> float:
        """Present noise floor in dBFS."""
        return self._gate.noise_floor_db

    def is_speech(self, frame: np.ndarray) -> bool:
        """Whether the next frame, float32 (frame_length,), is speech."""
        is_open = self._gate.is_open(frame)
        self._pending = np.concatenate((self._pending, frame))
        chunk_length = self._net.chunk_length
        while self._pending.size >= chunk_length:
            chunk = np.clip(self._pending[:chunk_length] * self._gate.gain, -1, 1).astype(np.float32)
            released = self.options.silero_release if self._speaking else 0.0
            threshold = self.options.silero_probability - released
            self._speaking = self._net.probability(chunk) >= threshold
            self._pending = self._pending[chunk_length:]
        return self._speaking and is_open


def _packaged() -> Path:
    """Silero's file in its package; importing that would import torch."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or not found.submodule_search_locations:
        raise ModelError(
            "Silero's model is not here: run pip install --no-deps silero-vad (it asks for torch, which is not needed "
            "here), or name its silero_vad.onnx"
        )
    return Path(found.submodule_search_locations[0]) / FILE
