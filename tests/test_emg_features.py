"""Filters let pass what muscles give and nothing else, cause nothing before its time, and are the same in the graph."""

import numpy as np
import pytest
import torch

from edgedigit import emg_features
from edgedigit.errors import ConfigError
from edgedigit.frontend import Frontend
from edgedigit.spec import EMG_8X1000, FrontendSpec, Signal

SLOW = FrontendSpec(**Signal("emg", 250, 256, 2).frontend())
SHORT = FrontendSpec(**{**Signal("emg", 1000, 1000, 3).frontend(), "win_length": 64, "hop_length": 32, "n_fft": 64})
SIXTY = FrontendSpec(**Signal("emg", 2000, 2048, 1, mains_hz=60.0).frontend())
SPECS = {"8 x 1 kHz": EMG_8X1000, "2 x 250 Hz": SLOW, "short windows": SHORT, "60 Hz at 2 kHz": SIXTY}


@pytest.fixture(params=SPECS, ids=str)
def spec(request):
    return SPECS[request.param]


def tone(spec, frequency_hz, level=100.0):
    time_s = np.arange(spec.n_samples) / spec.sample_rate
    return np.tile(level * np.sin(2 * np.pi * frequency_hz * time_s), (spec.n_channels, 1))


def gain(spec, frequency_hz):
    """In the second half, once the filter has settled."""
    x = tone(spec, frequency_hz)
    half = spec.n_samples // 2
    return emg_features.filter_emg(x, spec)[:, half:].std() / x[:, half:].std()


def emg(spec, n=3, seed=0):
    """Noise that wanders around the middle of a 12-bit converter."""
    rng = np.random.default_rng(seed)
    shape = (n, spec.n_channels, spec.n_samples)
    return (1900 + rng.normal(0, 3, shape).cumsum(axis=2) + rng.normal(0, 40, shape)).astype(np.float32)


@pytest.mark.parametrize("spec, mains_hz", [(EMG_8X1000, 50), (SLOW, 50), (SIXTY, 60)])
def test_mains_vanish_and_their_neighbours_stay(spec, mains_hz):
    assert gain(spec, mains_hz) < 0.01
    assert gain(spec, 100) == pytest.approx(1.0, abs=0.05)
    assert gain(spec, 30) > 0.7


def test_drift_and_what_no_muscle_gives_vanish():
    assert gain(EMG_8X1000, 3) < 0.05
    assert gain(EMG_8X1000, 200) == pytest.approx(1.0, abs=0.02)
    assert gain(EMG_8X1000, 490) < 0.3


def test_without_mains_nothing_is_notched():
    spec = FrontendSpec(**{**EMG_8X1000.to_dict(), "mains_hz": 0.0})
    assert gain(spec, 50) > 0.95


def test_the_notch_is_left_out_where_the_rate_cannot_hold_it():
    assert Signal("emg", 100, 100, 2).frontend()["mains_hz"] == 0.0
    assert Signal("emg", 125, 128, 2).frontend()["mains_hz"] == 50.0
    with pytest.raises(ConfigError, match="mains_hz is 60"):
        FrontendSpec(**{**Signal("emg", 110, 128, 2).frontend(), "mains_hz": 60.0})


def test_nothing_depends_on_what_comes_after_it(spec):
    x = emg(spec)
    later = x.copy()
    later[:, :, 150:] += 500
    before, after = (emg_features.filter_emg(values, spec) for values in (x, later))
    np.testing.assert_array_equal(before[..., :150], after[..., :150])
    assert np.abs(before[..., 150:] - after[..., 150:]).max() > 100


def test_the_voltage_that_electrodes_rest_at_makes_no_difference(spec):
    x = emg(spec)
    np.testing.assert_allclose(emg_features.compute(x + 700, spec), emg_features.compute(x, spec), atol=1e-4)
    flat = np.full_like(x, 1900)
    assert np.abs(emg_features.filter_emg(flat, spec)).max() == 0


def test_the_graph_equals_the_reference(spec):
    x = emg(spec)
    with torch.no_grad():
        got = Frontend(spec)(torch.from_numpy(x)).numpy()
    expected = emg_features.compute(x, spec)
    assert got.shape == expected.shape == (3, *spec.shape)
    assert np.abs(got - expected).max() <= 2e-3


def test_a_window_of_the_default_has_128_features_and_lasts_as_long_at_other_rates():
    channels, rows, _ = EMG_8X1000.shape
    assert channels * rows == 128
    assert (EMG_8X1000.win_length, EMG_8X1000.hop_length) == (256, 128)
    assert (SLOW.win_length, SLOW.hop_length, SLOW.f_max) == (64, 32, 112.5)
    assert SLOW.n_frames == EMG_8X1000.n_frames == 7


def test_a_tone_is_loudest_in_its_band():
    peaks = np.linspace(EMG_8X1000.f_min, EMG_8X1000.f_max, EMG_8X1000.n_bands)
    for band in (2, 5, 9):
        features = emg_features.compute(tone(EMG_8X1000, peaks[band])[None], EMG_8X1000)
        assert (features[0, :, : EMG_8X1000.n_bands, 2:].argmax(axis=1) == band).all()


def test_levels_follow_the_amplitude():
    x = emg(EMG_8X1000) - 1900
    louder = emg_features.compute(10 * x, EMG_8X1000) - emg_features.compute(x, EMG_8X1000)
    np.testing.assert_allclose(louder[:, :, 12:], np.log(10), atol=0.15)
    assert np.isfinite(emg_features.compute(np.zeros_like(x), EMG_8X1000)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"f_max": 500.0},
        {"f_min": 0.0},
        {"filter_order": 3},
        {"n_bands": 0},
        {"power_floor": 0.0},
        {"mains_hz": 500.0},
        {"kind": "mfcc"},  # of several channels
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_impossible_filters_are_refused(wrong):
    with pytest.raises(ConfigError):
        FrontendSpec(**{**EMG_8X1000.to_dict(), **wrong})


def test_a_spec_says_its_signal():
    assert EMG_8X1000.signal == Signal("emg", 1000, 1024, 8)
    assert FrontendSpec().signal == Signal()
    assert (FrontendSpec().signal.shape, EMG_8X1000.signal.shape) == ((8000,), (8, 1024))
    assert (FrontendSpec().signal.input_name, EMG_8X1000.signal.input_name) == ("waveform", "emg")
