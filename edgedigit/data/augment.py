"""Seeded augmentation of waveforms and features, vectorised over the batch wherever that pays.

Every transform is a plain function of its input and its parameters; `Augmenter` draws the parameters.
Waveforms are float32 at the spec's sample rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import fft

from edgedigit.audio import fix_length
from edgedigit.config import AugmentConfig

STFT_LENGTH = 256  # samples: 32 ms at 8 kHz, long enough to resolve a man's pitch
STFT_HOP = 64


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play (T,) faster by about `factor`: tempo, pitch and formants all move, as on a tape. (T / factor,)

    The transform's lengths are the nearest that are quick to compute, within 2 % of what is asked for.
    """
    size = _quick_length(len(waveform), at_least=len(waveform))
    new_size = _quick_length(max(1, round(size / factor)))
    n = max(1, round(len(waveform) * new_size / size))
    spectrum = fft.rfft(np.asarray(waveform, np.float32), size)
    keep = min(len(spectrum), new_size // 2 + 1)
    resampled = fft.irfft(np.pad(spectrum[:keep], (0, new_size // 2 + 1 - keep)), new_size)
    return (resampled[:n] * (new_size / size)).astype(np.float32)


def _quick_length(n: int, at_least: int = 1) -> int:
    """The length nearest to `n` that a real FFT is quick at."""
    longer = fft.next_fast_len(n, real=True)
    shorter = fft.prev_fast_len(n, real=True)
    return longer if shorter < at_least or longer - n <= n - shorter else shorter


def stretch_and_warp(waveform: np.ndarray, tempo: float = 1.0, warp: float = 1.0) -> np.ndarray:
    """Phase vocoder that changes tempo and formants and leaves the pitch.

    Args:
        waveform: (T,).
        tempo: above 1 is faster.
        warp: vocal-tract length factor; above 1 moves formants up, as a shorter tract does.

    Returns:
        (about T / tempo,).

    Source: Flanagan and Golden 1966 (phase vocoder); Jaitly and Hinton 2013 (VTLP), here applied to
    the spectral envelope so that the fine structure, and with it the pitch, stays.
    """
    window = _hann()
    padded = np.pad(waveform, (STFT_LENGTH, STFT_LENGTH + STFT_HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, STFT_LENGTH)[::STFT_HOP] * window
    spectrum = fft.rfft(frames, axis=1)  # (N, bins)
    if warp != 1.0:
        spectrum *= _envelope_gain(np.abs(spectrum), warp)
    if tempo != 1.0:
        magnitude, phase = np.abs(spectrum), np.angle(spectrum)
        position = np.arange(0, len(spectrum) - 1, tempo)
        index = position.astype(int)
        share = (position - index).astype(np.float32)[:, None]
        advance = np.arange(spectrum.shape[1], dtype=np.float32) * np.float32(2 * np.pi * STFT_HOP / STFT_LENGTH)
        step = phase[index + 1] - phase[index] - advance
        step += advance - np.float32(2 * np.pi) * np.round(step / np.float32(2 * np.pi))
        magnitude = (1 - share) * magnitude[index] + share * magnitude[index + 1]
        phase = phase[0] + np.concatenate([np.zeros_like(step[:1]), np.cumsum(step, axis=0)[:-1]])
        spectrum = magnitude * np.exp(1j * phase)
    frames = fft.irfft(spectrum, STFT_LENGTH, axis=1) * window
    out = _overlap_add(frames)
    n = max(1, round(len(waveform) / tempo))
    start = round(STFT_LENGTH / tempo)
    return (out[start : start + n] / 1.5).astype(np.float32)  # 1.5: sum of squared windows at 75 % overlap


def shift(waveform: np.ndarray, n_samples: int) -> np.ndarray:
    """Move (T,) later by `n_samples` (earlier if negative), filling with zeros."""
    out = np.zeros_like(waveform)
    if abs(n_samples) < len(waveform):
        source = waveform[max(0, -n_samples) : len(waveform) - max(0, n_samples)]
        out[max(0, n_samples) : max(0, n_samples) + len(source)] = source
    return out


def colored_noise(shape: tuple[int, int], exponent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit RMS whose power falls as 1 / f**exponent: 0 is white, 1 is pink.

    Args:
        shape: (B, T).
        exponent: (B,).
    """
    spectrum = fft.rfft(rng.standard_normal(shape, dtype=np.float32), axis=1)
    log_frequency = np.log(np.maximum(np.arange(spectrum.shape[1], dtype=np.float32), 1.0))
    spectrum *= np.exp(-0.5 * exponent.astype(np.float32)[:, None] * log_frequency)
    noise = fft.irfft(spectrum, shape[1], axis=1)
    return (noise / (np.sqrt(np.mean(noise**2, axis=1, keepdims=True)) + 1e-9)).astype(np.float32)


def add_at_snr(waveform: np.ndarray, noise: np.ndarray, snr_db: np.ndarray) -> np.ndarray:
    """Mix noise in at a signal-to-noise ratio over the clip's active part.

    The signal's level is the RMS of its loudest 200 ms, so that padding does not count as speech.

    Args:
        waveform: (B, T).
        noise: (B, T).
        snr_db: (B,).
    """
    level = active_rms(waveform)
    noise_rms = np.sqrt(np.mean(noise**2, axis=1)) + 1e-9
    gain = level / noise_rms * 10 ** (-snr_db / 20)
    return waveform + gain.astype(np.float32)[:, None] * noise


def active_rms(waveform: np.ndarray, block: int = 200, n_blocks: int = 8) -> np.ndarray:
    """RMS of the loudest `n_blocks` neighbouring blocks in each row of (B, T): (B,); 200 ms at 8 kHz."""
    n = waveform.shape[1] // block
    energy = np.square(waveform[:, : n * block]).reshape(len(waveform), n, block).mean(axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(energy, min(n_blocks, n), axis=1)
    return np.sqrt(windows.mean(axis=2).max(axis=1))


def filter_spectrum(waveform: np.ndarray, gain: np.ndarray, rooms: np.ndarray | None = None) -> np.ndarray:
    """Apply magnitude responses, and room impulse responses where given, in one pass of the FFT.

    Args:
        waveform: (B, T).
        gain: (B, n_knots) in dB at frequencies spread evenly from 0 to Nyquist.
        rooms: (B, taps) impulse responses; a unit impulse leaves a row dry.

    Returns:
        (B, T): the tail that falls outside the clip is cut.
    """
    n = waveform.shape[1]
    size = fft.next_fast_len(n + (rooms.shape[1] if rooms is not None else 0), real=True)
    spectrum = fft.rfft(waveform, size, axis=1)
    position = np.linspace(0, gain.shape[1] - 1, spectrum.shape[1])
    index = np.minimum(position.astype(int), gain.shape[1] - 2)
    share = (position - index).astype(np.float32)
    neper = (gain * (np.log(10) / 20)).astype(np.float32)
    spectrum *= np.exp(neper[:, index] * (1 - share) + neper[:, index + 1] * share)
    if rooms is not None:
        spectrum *= fft.rfft(rooms, size, axis=1)
    return fft.irfft(spectrum, size, axis=1)[:, :n].astype(np.float32)


def band_gain(low_hz: float, high_hz: float, n_knots: int, nyquist_hz: float = 4000.0) -> np.ndarray:
    """Gain curve of a telephone band: 0 dB inside, 24 dB an octave outside. (n_knots,) dB"""
    frequency = np.maximum(np.linspace(0, nyquist_hz, n_knots), 20.0)
    below = np.minimum(0.0, 24 * np.log2(frequency / low_hz))
    above = np.minimum(0.0, 24 * np.log2(high_hz / frequency))
    return np.maximum(below + above, -60.0)


def mu_law(waveform: np.ndarray, n_levels: int = 256) -> np.ndarray:
    """G.711-style companding to `n_levels` and back, at the clip's own full scale."""
    peak = np.max(np.abs(waveform)) + 1e-9
    mu = n_levels - 1
    companded = np.log1p(mu * np.abs(waveform) / peak) / np.log1p(mu)
    steps = np.round(companded * (mu / 2)) / (mu / 2)
    return (np.sign(waveform) * np.expm1(steps * np.log1p(mu)) / mu * peak).astype(np.float32)


def overdrive(waveform: np.ndarray, drive_db: np.ndarray) -> np.ndarray:
    """Cut off the peaks of (B, T), as a microphone that is turned up too far does; the peak stays where it was.

    Args:
        drive_db: (B,) by which the loudest sample would have passed full scale.
    """
    limit = np.abs(waveform).max(axis=1, keepdims=True) * 10 ** (-drive_db[:, None] / 20)
    return (np.clip(waveform, -limit, limit) * 10 ** (drive_db[:, None] / 20)).astype(np.float32)


def noise_gate(
    waveform: np.ndarray, threshold_db: np.ndarray, depth_db: np.ndarray, frame_length: int = 80, n_hold: int = 5
) -> np.ndarray:
    """Turn down whatever is faint beside the loudest frame, as microphones with noise suppression do.

    Args:
        waveform: (B, T).
        threshold_db: (B,) below the loudest frame; what is fainter is turned down.
        depth_db: (B,) by how much.
        frame_length: samples between decisions, 10 ms at 8 kHz; the gain moves linearly between them.
        n_hold: frames that the gate stays open after the last loud one.

    Returns:
        (B, T).
    """
    n = -(-waveform.shape[1] // frame_length)
    padded = np.pad(waveform, ((0, 0), (0, n * frame_length - waveform.shape[1])))
    energy = np.square(padded).reshape(len(padded), n, frame_length).mean(axis=2)
    loud = energy > energy.max(axis=1, keepdims=True) * 10 ** (-threshold_db[:, None] / 10)
    held = np.pad(loud, ((0, 0), (n_hold, 0)))
    is_open = np.lib.stride_tricks.sliding_window_view(held, n_hold + 1, axis=1).any(axis=2)
    gain = np.where(is_open, 1.0, 10 ** (-depth_db[:, None] / 20)).astype(np.float32)  # (B, n)
    ramp = np.arange(frame_length, dtype=np.float32) / frame_length
    before = np.concatenate([gain[:, :1], gain[:, :-1]], axis=1)
    smooth = before[:, :, None] * (1 - ramp) + gain[:, :, None] * ramp
    return waveform * smooth.reshape(len(padded), -1)[:, : waveform.shape[1]]


def spec_augment(
    shape: tuple[int, int, int, int],
    rng: np.random.Generator,
    time_masks: int,
    time_width: int,
    bands: int,
    band_width: int,
) -> np.ndarray:
    """Mask that hides random stretches of time and of frequency.

    Args:
        shape: of the features, (B, C, F, N).
        time_masks: number of time masks, each 0 to `time_width` frames.
        bands: number of frequency masks, each 0 to `band_width` rows.

    Returns:
        (B, 1, F, N) bool, True where the features stay.

    Source: Park et al. 2019.
    """
    n_batch, _, n_rows, n_frames = shape

    def stripes(count, width, length):
        size = rng.integers(0, width + 1, (n_batch, count, 1))
        start = (rng.random((n_batch, count, 1)) * (length - size + 1)).astype(int)
        position = np.arange(length)
        return ((position >= start) & (position < start + size)).any(axis=1)  # (B, length)

    hidden = stripes(time_masks, time_width, n_frames)[:, None, :] | stripes(bands, band_width, n_rows)[:, :, None]
    return ~hidden[:, None]


@lru_cache(maxsize=4)
def room_bank(n_rooms: int, sample_rate: int, seed: int = 0) -> np.ndarray:
    """Impulse responses of random shoebox rooms by the image-source method, direct sound first.

    Returns:
        (n_rooms, taps) float32, direct path at sample 0 with amplitude 1, 250 ms long.

    Raises:
        MissingDependencyError: if pyroomacoustics is absent.
    """
    try:
        import pyroomacoustics
    except ImportError:
        from edgedigit.errors import MissingDependencyError

        raise MissingDependencyError.of("pyroomacoustics", "train") from None
    rng = np.random.default_rng(seed)
    taps = sample_rate // 4
    bank = np.zeros((n_rooms, taps), np.float32)
    for row in bank:
        size = rng.uniform([2.5, 2.5, 2.2], [8.0, 7.0, 3.5])  # metres
        absorption, order = pyroomacoustics.inverse_sabine(rng.uniform(0.15, 0.6), size)
        room = pyroomacoustics.ShoeBox(
            size, fs=sample_rate, materials=pyroomacoustics.Material(absorption), max_order=min(order, 12)
        )
        talker = rng.uniform(0.15, 0.85, 3) * size
        offset = rng.standard_normal(3)
        offset *= rng.uniform(0.2, 2.0) / np.linalg.norm(offset)
        room.add_source(talker)
        room.add_microphone(np.clip(talker + offset, 0.1, size - 0.1))
        room.compute_rir()
        response = np.asarray(room.rir[0][0])
        direct = int(np.argmax(np.abs(response)))
        response = response[direct : direct + taps] / response[direct]
        row[: len(response)] = response
    return bank


class Augmenter:
    """Draws and applies the waveform transforms of an `AugmentConfig` to batches of clips.

    Args:
        config: which transforms, how often, how strong.
        n_samples: length of the model's window.
        sample_rate: Hz.
        noises: recorded noises, (T_i,) each, or empty.
        speech: clips that babble is mixed from, (T_i,) each.
    """

    def __init__(
        self,
        config: AugmentConfig,
        n_samples: int,
        sample_rate: int,
        noises: Sequence[np.ndarray] = (),
        speech: Sequence[np.ndarray] = (),
    ):
        self.config = config
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        self.noises = [noise for noise in noises if len(noise)]
        self.speech = [clip for clip in speech if len(clip)]

    def __call__(self, waveforms: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """Augment a batch of clips of any length: (B, n_samples) float32."""
        return self.with_quiet(waveforms, rng)[0]

    def with_quiet(self, waveforms: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """As a call gives it, and the same voices in the same rooms before noise and what a microphone makes of it.

        Returns:
            Two arrays (B, n_samples) float32.
        """
        config = self.config
        if not config.enabled:
            batch = np.stack([fix_length(waveform, self.n_samples) for waveform in waveforms])
            return batch, batch.copy()
        batch = np.stack([self._place(self._vary_voice(waveform, rng), rng) for waveform in waveforms])
        quiet = self._vary_channel(batch, rng)
        batch = self._overdrive(self._add_noise(quiet, rng), rng)
        batch = self._transmit(self._suppress_noise(batch, rng), rng)
        gain_db = rng.uniform(-config.gain_db, config.gain_db, (len(batch), 1)).astype(np.float32)
        for view in (batch, quiet):
            view *= 10 ** (gain_db / 20)
            np.clip(view, -1.0, 1.0, out=view)
        return batch, quiet

    def mix(
        self, views: Sequence[np.ndarray], targets: np.ndarray, rng: np.random.Generator
    ) -> tuple[Sequence[np.ndarray], np.ndarray]:
        """`mixup` as the configuration has it, of clips (B, T), as one or more hear them, and targets (B, n_labels)."""
        config = self.config
        if not config.enabled or config.mixup_probability == 0:
            return views, targets
        return mixup(views, targets, config.mixup_probability, config.mixup_alpha, rng)

    def _vary_voice(self, waveform, rng):
        config = self.config
        if rng.random() < config.speed_probability:
            waveform = change_speed(waveform, rng.uniform(1 - config.speed_range, 1 + config.speed_range))
        if rng.random() < config.vocoder_probability:
            waveform = stretch_and_warp(
                waveform,
                tempo=rng.uniform(1 - config.tempo_range, 1 + config.tempo_range),
                warp=rng.uniform(1 - config.vtlp_range, 1 + config.vtlp_range),
            )
        return waveform

    def _place(self, waveform, rng):
        clip = fix_length(waveform, self.n_samples)
        limit = int(self.config.shift_ms * self.sample_rate / 1000)
        return shift(clip, int(rng.integers(-limit, limit + 1)))

    def _vary_channel(self, batch, rng):
        config = self.config
        n_knots = 33
        coarse = rng.normal(0.0, config.equalizer_db, (len(batch), 9)) * (rng.random((len(batch), 1)) < 0.8)
        position = np.linspace(0, 8, n_knots)
        gain = np.stack([np.interp(position, np.arange(9), row) for row in coarse])
        rooms = None
        if config.room_probability > 0:
            bank = room_bank(config.n_rooms, self.sample_rate)
            rooms = bank[rng.integers(0, len(bank), len(batch))].copy()
            dry = rng.random(len(batch)) >= config.room_probability
            rooms[dry] = 0.0
            rooms[dry, 0] = 1.0
        return filter_spectrum(batch, gain, rooms)

    def _overdrive(self, batch, rng):
        config = self.config
        if config.overdrive_probability == 0:  # draws nothing, so that recipes without it stay as they were
            return batch
        rows = np.flatnonzero(rng.random(len(batch)) < config.overdrive_probability)
        batch[rows] = overdrive(batch[rows], rng.uniform(*config.overdrive_db, len(rows)))
        return batch

    def _suppress_noise(self, batch, rng):
        config = self.config
        if config.gate_probability == 0:  # draws nothing, so that recipes without it stay as they were
            return batch
        rows = np.flatnonzero(rng.random(len(batch)) < config.gate_probability)
        if len(rows):
            threshold_db, depth_db = (rng.uniform(*r, len(rows)) for r in (config.gate_db, config.gate_depth_db))
            batch[rows] = noise_gate(batch[rows], threshold_db, depth_db)
        return batch

    def _transmit(self, batch, rng):
        """The telephone comes last: what it carries is speech and noise alike."""
        config = self.config
        rows = np.flatnonzero(rng.random(len(batch)) < config.band_probability)
        if len(rows):
            edges = zip(rng.uniform(100, 350, len(rows)), rng.uniform(2800, 3800, len(rows)), strict=True)
            gain = np.stack([band_gain(low, high, 33, self.sample_rate / 2) for low, high in edges])
            batch[rows] = filter_spectrum(batch[rows], gain)
        for row in np.flatnonzero(rng.random(len(batch)) < config.codec_probability):
            batch[row] = mu_law(batch[row], int(rng.choice([64, 256])))
        return batch

    def _add_noise(self, batch, rng):
        config = self.config
        noise = colored_noise(batch.shape, rng.uniform(0.0, 2.0, len(batch)), rng)
        kind = rng.random(len(batch))
        for row in range(len(batch)):
            if self.noises and kind[row] < config.recorded_share:
                noise[row] = self._excerpt(self.noises[rng.integers(len(self.noises))], rng)
            elif self.speech and kind[row] > 1 - config.babble_share:
                talkers = rng.integers(0, len(self.speech), int(rng.integers(3, 9)))
                noise[row] = sum(self._excerpt(self.speech[i], rng) for i in talkers)
        snr_db = rng.uniform(*config.snr_db, len(batch))
        snr_db[rng.random(len(batch)) >= config.noise_probability] = config.clean_snr_db
        return add_at_snr(batch, noise, snr_db)

    def _excerpt(self, waveform, rng):
        return excerpt(waveform, int(rng.integers(0, len(waveform))), self.n_samples)


def excerpt(waveform: np.ndarray, start: int, n_samples: int) -> np.ndarray:
    """`n_samples` of a recording (T,) from `start` on, at unit RMS; beyond its end it begins again."""
    window = np.take(waveform, np.arange(start, start + n_samples), mode="wrap")
    return window / (np.sqrt(np.mean(window**2)) + 1e-6)


def mixup(
    views: Sequence[np.ndarray], targets: np.ndarray, probability: float, alpha: float, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Blend some clips of a batch with others, at equal level, and their targets in the same proportion.

    Args:
        views: (B, T) each, the same clips as one or more hear them; levels are those of the first.
        targets: (B, n_labels) probabilities.
        probability: share of clips that are blended.
        alpha: Beta(alpha, alpha) draws the proportion; the first clip always weighs at least half.

    Source: Zhang et al. 2018.
    """
    weight = rng.beta(alpha, alpha, len(targets)).astype(np.float32)
    weight = np.maximum(weight, 1 - weight)
    weight[rng.random(len(targets)) >= probability] = 1.0
    other = rng.permutation(len(targets))
    weight = weight[:, None]
    level = active_rms(views[0]) + 1e-9
    gain = (level / level[other]).astype(np.float32)[:, None]
    blended = [weight * view + (1 - weight) * (view[other] * gain) for view in views]
    return blended, weight * targets + (1 - weight) * targets[other]


@lru_cache(maxsize=1)
def _hann() -> np.ndarray:
    return np.hanning(STFT_LENGTH + 1)[:-1].astype(np.float32)


def _envelope_gain(magnitude: np.ndarray, warp: float) -> np.ndarray:
    """What to multiply a spectrum (N, bins) by so that its smooth envelope moves by `warp`."""
    cepstrum = fft.irfft(np.log(magnitude + 1e-6), axis=1)
    n_keep = 20  # quefrencies below 2.5 ms at 8 kHz: formants, not pitch
    cepstrum[:, n_keep : cepstrum.shape[1] - n_keep + 1] = 0.0
    envelope = fft.rfft(cepstrum, axis=1).real  # (N, bins), log
    bins = envelope.shape[1]
    source = np.clip(np.arange(bins) / warp, 0, bins - 1)
    index = np.minimum(source.astype(int), bins - 2)
    share = (source - index).astype(magnitude.dtype)
    moved = envelope[:, index] * (1 - share) + envelope[:, index + 1] * share
    return np.exp(np.clip(moved - envelope, -5.0, 5.0))


def _overlap_add(frames: np.ndarray) -> np.ndarray:
    n_frames, length = frames.shape
    parts = length // STFT_HOP
    out = np.zeros((n_frames + parts - 1, STFT_HOP), frames.dtype)
    for part in range(parts):
        out[part : part + n_frames] += frames[:, part * STFT_HOP : (part + 1) * STFT_HOP]
    return out.reshape(-1)
