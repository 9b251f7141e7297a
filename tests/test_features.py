"""Features: numpy equals python_speech_features, and the exportable module equals numpy."""

import numpy as np
import psf_reference
import pytest
import torch

from edgedigit import features
from edgedigit.errors import ConfigError
from edgedigit.frontend import Frontend
from edgedigit.spec import LOG_MEL_64X32, MFCC_13X32, SPECTROGRAM_513X32, FrontendSpec

SPECS = {
    "log_mel 40": FrontendSpec(),
    "log_mel 64": FrontendSpec(n_mels=64, n_fft=512, win_length=400, hop_length=250),
    "mfcc": FrontendSpec(kind="mfcc", n_mels=26, hop_length=160),
    "mfcc without deltas": FrontendSpec(kind="mfcc", n_mels=26, n_deltas=0),
    "spectrogram": SPECTROGRAM_513X32,
    "raw": FrontendSpec(kind="raw"),
    "log_mel, absolute level": FrontendSpec(level_normalize=False, power_floor=0.0),
}


@pytest.fixture(params=SPECS, ids=str)
def spec(request):
    return SPECS[request.param]


def speechlike(batch=4, seed=0):
    """Harmonics with a moving envelope, over faint noise: voiced, unvoiced and quiet stretches."""
    rng = np.random.default_rng(seed)
    t = np.arange(8000) / 8000
    waves = []
    for i in range(batch):
        pitch = 90 + 60 * i
        voiced = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 12))
        envelope = np.exp(-0.5 * ((t - 0.3 - 0.1 * i) / 0.12) ** 2)
        waves.append(0.2 * voiced * envelope + 0.01 * rng.standard_normal(8000))
    return np.stack(waves).astype(np.float32)


@pytest.mark.parametrize("n_mels", [26, 40])
def test_log_mel_equals_python_speech_features(n_mels):
    spec = FrontendSpec(n_mels=n_mels, level_normalize=False, power_floor=0.0)
    waveform = speechlike()
    truth = np.stack([psf_reference.log_mel(x, spec) for x in waveform])
    assert np.abs(features.log_mel(waveform, spec)[:, 0] - truth).max() <= 1e-3


def test_mfcc_and_deltas_equal_python_speech_features():
    spec = FrontendSpec(kind="mfcc", n_mels=26, level_normalize=False, power_floor=0.0)
    waveform = speechlike()
    truth = np.stack([psf_reference.mfcc(x, spec) for x in waveform])
    assert np.abs(features.mfcc(waveform, spec) - truth).max() <= 1e-3


def test_module_equals_numpy(spec):
    waveform = speechlike()
    with torch.no_grad():
        got = Frontend(spec)(torch.from_numpy(waveform)).numpy()
    expected = features.compute(waveform, spec)
    assert got.shape == expected.shape == (4, *spec.shape)
    assert np.abs(got - expected).max() <= 1e-3


@pytest.mark.parametrize("gain_db", [-20, 20])
@pytest.mark.parametrize("kind", ["log_mel", "mfcc", "spectrogram", "raw"])
def test_recording_gain_does_not_change_features(kind, gain_db):
    spec = FrontendSpec(kind=kind, n_mels=26)
    waveform = speechlike()
    louder = waveform * 10 ** (gain_db / 20)
    assert np.abs(features.compute(louder, spec) - features.compute(waveform, spec)).max() < 0.02


def test_the_spectrogram_is_the_logarithm_of_the_power_of_each_bin():
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)[None]
    logs = features.spectrogram(tone, SPECTROGRAM_513X32)
    assert (logs[0, 0].argmax(axis=0) == 128).all()  # 1000 Hz of 4000 in 512 steps
    power = features.power_spectrum(tone, SPECTROGRAM_513X32)
    np.testing.assert_allclose(np.exp(logs[0, 0].T), power[0] + SPECTROGRAM_513X32.power_floor, rtol=1e-4)


def test_three_views_have_the_shapes_in_their_names():
    assert MFCC_13X32.shape == (3, 13, 32)
    assert LOG_MEL_64X32.shape == (1, 64, 32)
    assert SPECTROGRAM_513X32.shape == (1, 513, 32)


def test_silence_gives_finite_features(spec):
    assert np.isfinite(features.compute(np.zeros((1, 8000), np.float32), spec)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "mel"},
        {"win_length": 300},
        {"f_max": 5000.0},
        {"f_min": 4000.0},
        {"hop_length": 0},
        {"n_deltas": 3},
        {"delta_width": 0},
        {"n_mels": 0},
        {"n_mfcc": 41, "kind": "mfcc"},
        {"n_mfcc": 0, "kind": "mfcc"},
        {"power_floor": -1.0},
    ],
    ids=lambda wrong: "-".join(map(str, next(iter(wrong.items())))),
)
def test_impossible_geometry_is_refused(wrong):
    with pytest.raises(ConfigError):
        FrontendSpec(**wrong)


def test_spec_survives_a_round_trip_and_refuses_unknown_keys():
    spec = FrontendSpec(kind="mfcc", n_mels=26)
    assert FrontendSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(ConfigError, match="n_mel"):
        FrontendSpec.from_dict({"n_mel": 40})
