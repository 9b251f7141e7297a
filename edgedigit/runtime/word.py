"""A word out of a stream, frame by frame: how long, how voiced and how loud it is, and the model's window with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(slots=True)
class Frame:
    """A piece of a stream, `VadOptions.frame_ms` long."""

    samples: np.ndarray  # float32 (frame_length,)
    active: bool  # it is speech
    voiced: bool  # it is speech with a voice
    energy: float  # sum of squares about the mean


class Word:
    """The frames of a word and of what came before it, such as silence, a click or the rest of another word.

    Attributes:
        frames: all of them.
        n_active: how many frames of the word are speech.
        n_voiced: how many of these are voiced.
    """

    def __init__(self, frames: Iterable[Frame], n_before: int):
        """Begin a word with `frames`, of which the first `n_before` are no part of it."""
        self.frames: list[Frame] = []
        self.n_active = self.n_voiced = 0
        self._n_before = n_before
        self._peak = 0.0  # energy of the loudest frame of speech
        for frame in frames:
            self.append(frame)

    def append(self, frame: Frame) -> None:
        """Take the next frame."""
        self.frames.append(frame)
        if frame.active and len(self.frames) > self._n_before:
            self.n_active += 1
            self.n_voiced += frame.voiced
            self._peak = max(self._peak, frame.energy)

    def level_db(self, n_last: int | None = None) -> float:
        """The loudest frame of speech in dBFS, of the whole word or of its last `n_last` frames."""
        peak = self._peak
        if n_last is not None:
            last = self.frames[max(self._n_before, len(self.frames) - n_last) :]
            peak = max((frame.energy for frame in last if frame.active), default=0.0)
        return 10 * math.log10(peak / self.frames[0].samples.size + 1e-12)

    def n_since(self, drop_db: float) -> int:
        """Frames since there was speech within `drop_db` of the word's loudest."""
        near = self._peak / 10 ** (drop_db / 10)
        speech = reversed(self.frames[self._n_before :])
        return next(i for i, frame in enumerate(speech) if frame.active and frame.energy >= near)


def fill_window(frames: Sequence[Frame], n_samples: int, n_before: int) -> np.ndarray:
    """A word in the middle of the model's window, filled up with the silence around it, mirrored.

    Zeros would begin and end with steps in the noise, and a step sounds like the /t/ of "two" or the /s/ of "six".

    Args:
        frames: the word and what came before it.
        n_samples: length of the window.
        n_before: how many of the first frames fill the window before it; the silence at its end fills it after it.

    Returns:
        float32 (n_samples,), or all of the word where that is longer.
    """
    word = np.concatenate([frame.samples for frame in frames])
    spare = n_samples - word.size
    if spare <= 0:
        return word
    frame_length = frames[0].samples.size
    n_begin = min(len(frames), n_before) * frame_length
    silence = next((i for i, frame in enumerate(reversed(frames)) if frame.active), len(frames))
    n_end = min(silence * frame_length, word.size - n_begin)
    window = np.zeros(n_samples, dtype=np.float32)
    first = spare // 2
    window[first : first + word.size] = word
    window[:first] = _there_and_back(word[:n_begin], first)[::-1]
    if n_end:
        window[first + word.size :] = _there_and_back(word[: -n_end - 1 : -1], spare - first)
    return window


def _there_and_back(samples: np.ndarray, n: int) -> np.ndarray:
    """(T,) forwards, backwards, forwards and so on -> (n,)."""
    return np.resize(np.concatenate((samples, samples[::-1])), n)
