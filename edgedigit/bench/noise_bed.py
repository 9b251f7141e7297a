"""Words over a continuous noise, each as far above it as asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgedigit.data.augment import active_rms
from edgedigit.data.mixtures import STEP_MS, loud_starts
from edgedigit.data.recording import Recording
from edgedigit.word_stream import Clip

STRETCH_S = 20.0  # that one noise goes on, as in a room; detectors learn its level in a few seconds
FADE_S = 0.25  # in which one noise passes into the next, or a recording into its own beginning, at constant power
WORD_DB = -26.0  # dBFS of a word's loudest 200 ms: its peaks and noise 10 dB below stay within full scale
SNR_NOTE = (
    f"SNR: RMS of a word's loudest 200 ms to that of the noise over {STRETCH_S:g} s. Each noise goes on for "
    f"{STRETCH_S:g} s, then passes into the next, all at one level, under words and gaps alike; words are turned up or "
    "down to the ratio."
)


def noise_bed(noises: Sequence[Recording], seed: int = 0) -> np.ndarray:
    """All noises one after the other, in an order drawn from the seed: (T,) float32 of about unit RMS throughout.

    Its end passes into its beginning.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for row in rng.permutation(len(noises)):
        waveform, rate = noises[row].waveform, noises[row].sample_rate
        n_fade = round(FADE_S * rate)
        n_samples = round(STRETCH_S * rate) + n_fade
        start = int(rng.choice(loud_starts(waveform, n_samples, rate * STEP_MS // 1000)))
        part = waveform[start : start + n_samples]
        if part.size < n_samples:
            part = np.resize(joined([part], min(n_fade, part.size // 2)), n_samples)
        parts.append(part / (np.sqrt(np.mean(part**2)) + 1e-9))
    return joined(parts, n_fade).astype(np.float32)


def joined(parts: Sequence[np.ndarray], n_fade: int) -> np.ndarray:
    """Waveforms that pass into each other over so many samples, the last into the first: a loop without a seam."""
    whole = np.zeros(sum(part.size - n_fade for part in parts))
    rise = np.sin(0.5 * np.pi * (np.arange(n_fade) + 0.5) / n_fade)
    position = 0
    for part in parts:
        faded = part.astype(np.float64)
        faded[:n_fade] *= rise
        faded[faded.size - n_fade :] *= rise[::-1]
        np.add.at(whole, (position + np.arange(part.size)) % whole.size, faded)
        position += part.size - n_fade
    return whole


def over_noise(
    clips: Sequence[Clip], noises: Sequence[Recording], snr_db: float, seed: int = 0
) -> tuple[list[Clip], np.ndarray]:
    """Clips at one level and the noise for `build_stream` that lies so many dB below it."""
    return levelled(clips), noise_bed(noises, seed) * bed_level(snr_db)


def bed_level(snr_db: float) -> np.float32:
    """RMS of what lies so many dB below the clips of `levelled`."""
    return np.float32(10 ** ((WORD_DB - snr_db) / 20))


def levelled(clips: Sequence[Clip]) -> list[Clip]:
    """Clips whose loudest 200 ms are all at one level."""
    level, turned = 10 ** (WORD_DB / 20), []
    for clip in clips:
        gain = level / (active_rms(clip.waveform[None])[0] + 1e-9)
        turned.append(replace(clip, waveform=(gain * clip.waveform).astype(np.float32)))
    return turned
