"""python_speech_features with the settings of a FrontendSpec: the outside truth for features."""

import numpy as np
import python_speech_features as psf

from edgedigit.spec import FrontendSpec


def _framing(spec: FrontendSpec) -> dict:
    return {
        "samplerate": spec.sample_rate,
        "winlen": spec.win_length / spec.sample_rate,
        "winstep": spec.hop_length / spec.sample_rate,
        "nfilt": spec.n_mels,
        "nfft": spec.n_fft,
        "lowfreq": spec.f_min,
        "highfreq": spec.f_max,
        "preemph": spec.preemphasis,
        "winfunc": np.hamming,
    }


def log_mel(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """(T,) to (n_mels, N)."""
    energies, _ = psf.fbank(waveform.astype(np.float64), **_framing(spec))
    return np.log(energies).T


def mfcc(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """(T,) to (1 + n_deltas, n_mfcc, N)."""
    stack = [psf.mfcc(waveform.astype(np.float64), numcep=spec.n_mfcc, ceplifter=spec.lifter, **_framing(spec))]
    for _ in range(spec.n_deltas):
        stack.append(psf.delta(stack[-1], spec.delta_width))
    return np.stack([cepstra.T for cepstra in stack])
