"""Seeded augmentation of surface EMG: what electrodes and skin do differently from one recording to the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgedigit.config import EmgAugmentConfig
from edgedigit.emg import fit_window


class EmgAugmenter:
    """Draws and applies the transforms of an `EmgAugmentConfig` to batches of recordings.

    Args:
        config: which transforms, how strong.
        n_samples: length of the model's window.
        sample_rate: Hz.
        enabled: False only fits recordings into the window.
    """

    def __init__(self, config: EmgAugmentConfig, n_samples: int, sample_rate: int, enabled: bool = True):
        self.config = config
        self.n_samples = n_samples
        self.limit = round(config.shift_ms * sample_rate / 1000)
        self.enabled = enabled

    def __call__(self, recordings: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """Augment recordings (channels, T_i): (B, channels, n_samples) float32."""
        windows = np.stack([fit_window(recording, self.n_samples) for recording in recordings])
        if not self.enabled:
            return windows
        config = self.config
        shifts = rng.integers(-self.limit, self.limit + 1, len(windows))
        windows = np.stack([shift(window, n) for window, n in zip(windows, shifts, strict=True)])
        rest = windows[:, :, :1]  # (B, C, 1): gains are of what moves, not of the voltage that it moves around
        moving = windows - rest
        gain_db = rng.uniform(-config.gain_db, config.gain_db, moving.shape[:2])
        moving *= 10 ** (gain_db / 20).astype(np.float32)[:, :, None]
        snr_db = rng.uniform(*config.snr_db, moving.shape[:2])
        level = np.diff(moving).std(axis=2) * 10 ** (-snr_db / 20)  # differences: drift is no signal
        moving += level[:, :, None].astype(np.float32) * rng.standard_normal(moving.shape, dtype=np.float32)
        lost = rng.random(len(moving)) < config.channel_dropout
        if moving.shape[1] > 1:
            channels = rng.integers(0, moving.shape[1], len(moving))
            moving[lost, channels[lost]] = 0.0
        return (moving + rest).astype(np.float32, copy=False)

    def mix(
        self, views: Sequence[np.ndarray], targets: np.ndarray, rng: np.random.Generator
    ) -> tuple[Sequence[np.ndarray], np.ndarray]:
        """Nothing: what two muscles would give that say two words at once is no EMG."""
        return views, targets


def shift(window: np.ndarray, n_samples: int) -> np.ndarray:
    """Move (channels, T) later by `n_samples` (earlier if negative), continued with its end values."""
    last = window.shape[1] - 1
    return window[:, np.clip(np.arange(last + 1) - n_samples, 0, last)]
