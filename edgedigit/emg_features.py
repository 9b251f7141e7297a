"""Filters and features of surface EMG in scipy and numpy: the reference that the exportable front end is held to.

The filters are causal. One that runs forward and backward has no delay, but its output at a sample depends on
what comes after it: nets that are trained on that have seen what no device can show them.

Source: time-domain features after Hudgins et al. 1993 (mean absolute value, waveform length) and Hjorth 1970 (the
signal, its first and its second differences); windows of power in bands as in Jou et al. 2006, who recognised silent
speech; band of 20 to 450 Hz after De Luca et al. 2010.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgedigit import features
from edgedigit.spec import FrontendSpec

TAIL = 1e-4  # of the impulse response's sum of magnitudes, that may be cut off


@lru_cache
def filter_sections(spec: FrontendSpec) -> np.ndarray:
    """Butterworth band-pass, and a notch where the spec has one: second-order sections (n, 6)."""
    from scipy import signal  # 2.5 s to import, which sound has no use for

    edges = (spec.f_min, spec.f_max)
    sections = signal.butter(spec.filter_order // 2, edges, "bandpass", fs=spec.sample_rate, output="sos")
    if spec.mains_hz > 0:
        notch = signal.tf2sos(*signal.iirnotch(spec.mains_hz, spec.notch_q, fs=spec.sample_rate))
        sections = np.concatenate([sections, notch])
    return sections


def filter_emg(emg: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """Causal band-pass and notch, as if the electrodes had rested at their first value: (..., T) float64.

    Args:
        emg: (..., T) at the spec's sample rate.
    """
    from scipy import signal

    emg = np.asarray(emg, np.float64)
    return signal.sosfilt(filter_sections(spec), emg - emg[..., :1], axis=-1)


@lru_cache
def impulse_response(spec: FrontendSpec) -> np.ndarray:
    """What `filter_emg` makes of a single 1, until no more than `TAIL` of it is left or the window ends: (n_taps,).

    A convolution with it is the filter, and convolutions are what an exported graph can hold.
    """
    from scipy import signal

    response = signal.sosfilt(filter_sections(spec), np.eye(1, spec.n_samples)[0])
    left = np.cumsum(np.abs(response)[::-1])[::-1]
    return response[: max(1, int(np.count_nonzero(left > TAIL * left[0])))]


@lru_cache
def band_filters(spec: FrontendSpec) -> np.ndarray:
    """Triangles over DFT bins whose feet are their neighbours' peaks, evenly from f_min to f_max.

    Returns:
        (n_bands, n_bins) float64, rows sum to 1.
    """
    peaks = np.linspace(spec.f_min, spec.f_max, spec.n_bands)
    bins_hz = np.arange(spec.n_bins) * spec.sample_rate / spec.n_fft
    width = max(peaks[1] - peaks[0] if spec.n_bands > 1 else spec.f_max - spec.f_min, spec.sample_rate / spec.n_fft)
    filters = np.maximum(0.0, 1 - np.abs(bins_hz - peaks[:, None]) / width)
    return filters / filters.sum(axis=1, keepdims=True)


def compute(emg: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """Features of each window and channel: logarithms of power in bands, then those of the filtered signal's mean
    magnitude, of its first and second differences' mean magnitudes (waveform length and its like), and of its peak.

    Args:
        emg: (B, n_channels, T) with T == spec.n_samples.

    Returns:
        (B, n_channels, n_bands + N_TIME_FEATURES, N) float32, natural logarithms.
    """
    x = filter_emg(emg, spec)
    spare = (spec.n_frames - 1) * spec.hop_length + spec.win_length - spec.n_samples
    x = np.pad(x, ((0, 0), (0, 0), (0, spare)))

    def frames(values: np.ndarray) -> np.ndarray:  # (B, C, N, win_length)
        windows = np.lib.stride_tricks.sliding_window_view(values, spec.win_length, axis=-1)
        return windows[:, :, :: spec.hop_length]

    power = np.abs(np.fft.rfft(frames(x) * features.window_of(spec), spec.n_fft)) ** 2 / spec.n_fft
    bands = np.log(power @ band_filters(spec).T + spec.power_floor)  # (B, C, N, n_bands)
    first = np.diff(x, prepend=0.0)
    second = np.diff(first, prepend=0.0)
    floor = np.sqrt(spec.power_floor)
    means = [np.log(frames(np.abs(values)).mean(-1) + floor) for values in (x, first, second)]
    peak = np.log(frames(np.abs(x)).max(-1) + floor)
    stack = np.concatenate([bands, np.stack([*means, peak], axis=-1)], axis=-1)
    return stack.transpose(0, 1, 3, 2).astype(np.float32)
