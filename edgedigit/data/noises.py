"""Recorded noises: stationary or impulsive by measurement, and divided into those that train and those that test."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from edgedigit.data.recording import Recording

STATIONARY, IMPULSIVE = "stationary", "impulsive"
IMPULSIVE_FROM_DB = 2.0  # of `level_variation_db`; of ESC-10, this tells rain and engines from barks and clocks
FRAME_MS = 10  # shorter than a bark or the tick of a clock, longer than a period of an engine or a voice
LOUD_WITHIN_DB = 10.0  # seconds fainter than this below the loudest are pauses, not the noise
FLOOR_DB = 60.0  # digital silence counts as this far below the loudest frame
ESC_NAME = re.compile(r"\d-(\d+)-[A-Z]$")  # fold-clip-take of the ESC corpora: takes of a clip are of one recording


def origin_of(name: str) -> str:
    """What a noise was cut out of: the Freesound clip of an ESC file, else the file itself.

    Args:
        name: of a `Recording`, such as "noise/esc10/rain_1-17367-A.flac".
    """
    stem = PurePosixPath(name).stem
    esc = ESC_NAME.search(stem)
    return f"freesound:{esc[1]}" if esc else stem


def is_held_out(name: str) -> bool:
    """Whether a noise tests and never trains: half of all origins, by their hash, whatever else there is."""
    return hashlib.sha256(origin_of(name).encode()).digest()[0] % 2 == 1


def noises_of_part(noises: Sequence[Recording], part: str) -> list[Recording]:
    """The noises that may train ("train"), those that test ("evaluation"), or "all"."""
    return [noise for noise in noises if part == "all" or is_held_out(noise.name) == (part == "evaluation")]


def level_variation_db(waveform: np.ndarray, sample_rate: int) -> float:
    """How much the short-time level varies within a second: 0 for a steady tone, 0.1 for white noise, 15 for a bark.

    The arithmetic mean of the energies of 10 ms frames over their geometric mean, in dB; the median over the seconds
    within 10 dB of the loudest, so that pauses between events say nothing.

    Args:
        waveform: (T,), not all zero.
        sample_rate: Hz.
    """
    frame = sample_rate * FRAME_MS // 1000
    n_frames = min(1000 // FRAME_MS, len(waveform) // frame)  # of a second, or of a shorter clip
    n_seconds = len(waveform) // (n_frames * frame)
    frames = waveform[: n_seconds * n_frames * frame].reshape(n_seconds, n_frames, frame)
    energy = np.square(frames, dtype=np.float64).mean(axis=2)  # (seconds, frames)
    level = energy.mean(axis=1)
    energy = energy[level >= level.max() * 10 ** (-LOUD_WITHIN_DB / 10)]
    energy = np.maximum(energy, energy.max(axis=1, keepdims=True) * 10 ** (-FLOOR_DB / 10))
    return float(np.median(10 * np.log10(energy.mean(axis=1)) - 10 * np.log10(energy).mean(axis=1)))


def kind_of(noise: Recording) -> str:
    """`STATIONARY` or `IMPULSIVE`: whether the level within a second varies by `IMPULSIVE_FROM_DB` or more."""
    return IMPULSIVE if level_variation_db(noise.waveform, noise.sample_rate) >= IMPULSIVE_FROM_DB else STATIONARY
