"""Log-mel, MFCC and spectrogram features in numpy: the reference that the exportable front end is tested against."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgedigit.spec import FrontendSpec

EPSILON = float(np.finfo(np.float64).eps)  # what python_speech_features puts in place of zero power
RMS_FLOOR = 1e-5  # -100 dBFS: digital silence stays silent instead of being amplified


def hz_to_mel(frequency_hz):
    """HTK mel scale."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency_hz) / 700.0)


def mel_to_hz(mel):
    """Inverse of `hz_to_mel`."""
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


@lru_cache
def mel_filters(spec: FrontendSpec) -> np.ndarray:
    """Triangular mel filters whose corners lie on DFT bins.

    Returns:
        (n_mels, n_bins) float64, peak 1.

    Source: Davis and Mermelstein 1980, with the corner rounding of python_speech_features.
    """
    edges_mel = np.linspace(hz_to_mel(spec.f_min), hz_to_mel(spec.f_max), spec.n_mels + 2)
    edges = np.floor((spec.n_fft + 1) * mel_to_hz(edges_mel) / spec.sample_rate)
    left, peak, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]  # (n_mels, 1) each
    bins = np.arange(spec.n_bins)[None, :]
    rising = (bins - left) / np.maximum(peak - left, 1)
    falling = (right - bins) / np.maximum(right - peak, 1)
    filters = np.where((bins >= left) & (bins < peak), rising, 0.0)
    return np.where((bins >= peak) & (bins < right), falling, filters)


@lru_cache
def dct_matrix(spec: FrontendSpec) -> np.ndarray:
    """Orthonormal DCT-II with HTK liftering folded in.

    Returns:
        (n_mfcc, n_mels) float64.
    """
    k = np.arange(spec.n_mfcc)[:, None]
    m = np.arange(spec.n_mels)[None, :]
    matrix = np.sqrt(2.0 / spec.n_mels) * np.cos(np.pi * k * (2 * m + 1) / (2 * spec.n_mels))
    matrix[0] /= np.sqrt(2.0)
    if spec.lifter > 0:
        matrix *= 1 + (spec.lifter / 2) * np.sin(np.pi * k / spec.lifter)
    return matrix


@lru_cache
def window_of(spec: FrontendSpec) -> np.ndarray:
    """Symmetric Hamming window, (win_length,) float64."""
    return np.hamming(spec.win_length)


def delta_kernel(width: int) -> np.ndarray:
    """Regression weights of a delta over `width` frames either side, (2 * width + 1,), oldest first."""
    offsets = np.arange(-width, width + 1)
    return offsets / (2.0 * np.sum(np.arange(1, width + 1) ** 2))


def emphasize(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """Pre-emphasis, then division by the RMS of the emphasised clip where the spec asks for it.

    Measuring the level after pre-emphasis keeps hum and DC offset out of it.

    Args:
        waveform: (B, T).

    Returns:
        (B, T) float64.
    """
    x = np.asarray(waveform, dtype=np.float64)
    x = np.concatenate([x[:, :1], x[:, 1:] - spec.preemphasis * x[:, :-1]], axis=1)
    if spec.level_normalize:
        x = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + RMS_FLOOR**2)
    return x


def power_spectrum(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """Framed, windowed power spectrum |X|^2 / n_fft.

    Args:
        waveform: (B, T) with T == spec.n_samples.

    Returns:
        (B, N, n_bins) float64.
    """
    x = emphasize(waveform, spec)
    padded_length = (spec.n_frames - 1) * spec.hop_length + spec.win_length
    x = np.pad(x, ((0, 0), (0, padded_length - x.shape[1])))
    frames = np.lib.stride_tricks.sliding_window_view(x, spec.win_length, axis=1)[:, :: spec.hop_length]
    return np.abs(np.fft.rfft(frames * window_of(spec), spec.n_fft)) ** 2 / spec.n_fft


def log_mel(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """Log-mel energies.

    Args:
        waveform: (B, T) with T == spec.n_samples.

    Returns:
        (B, 1, n_mels, N) float32, natural logarithm.
    """
    mel = power_spectrum(waveform, spec) @ mel_filters(spec).T  # (B, N, n_mels)
    logs = np.log(np.maximum(mel + spec.power_floor, EPSILON))
    return logs.transpose(0, 2, 1)[:, None].astype(np.float32)


def mfcc(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """Liftered MFCC, c0 replaced by log frame energy, stacked with their deltas.

    Args:
        waveform: (B, T) with T == spec.n_samples.

    Returns:
        (B, 1 + n_deltas, n_mfcc, N) float32.
    """
    power = power_spectrum(waveform, spec)
    logs = np.log(np.maximum(power @ mel_filters(spec).T + spec.power_floor, EPSILON))
    cepstra = (logs @ dct_matrix(spec).T).transpose(0, 2, 1)  # (B, n_mfcc, N)
    cepstra[:, 0] = np.log(np.maximum(power.sum(-1) + spec.power_floor, EPSILON))
    stack = [cepstra]
    kernel = delta_kernel(spec.delta_width)
    for _ in range(spec.n_deltas):
        padded = np.pad(stack[-1], ((0, 0), (0, 0), (spec.delta_width, spec.delta_width)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=-1)
        stack.append(windows @ kernel)
    return np.stack(stack, axis=1).astype(np.float32)


def spectrogram(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """Log power spectrum.

    Args:
        waveform: (B, T) with T == spec.n_samples.

    Returns:
        (B, 1, n_bins, N) float32, natural logarithm.
    """
    logs = np.log(np.maximum(power_spectrum(waveform, spec) + spec.power_floor, EPSILON))
    return logs.transpose(0, 2, 1)[:, None].astype(np.float32)


def raw(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """The level-normalised waveform itself as one feature row: (B, 1, 1, T) float32."""
    return emphasize(waveform, spec)[:, None, None].astype(np.float32)


def compute(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """Features of the kind that the spec names.

    Args:
        waveform: (B, T) with T == spec.n_samples.

    Returns:
        (B, *spec.shape) float32.
    """
    kinds = {"log_mel": log_mel, "mfcc": mfcc, "spectrogram": spectrogram, "raw": raw}
    return kinds[spec.kind](waveform, spec)
