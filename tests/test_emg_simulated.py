"""The simulator keeps to what is known of muscles and electrodes, and gives nothing that it was not asked for."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import welch

from edgedigit.data import emg_simulated as simulated
from edgedigit.data import load_recordings
from edgedigit.data.emg_simulated import REST, Simulation, render
from edgedigit.errors import ConfigError
from edgedigit.spec import Signal

SIGNAL = Signal("emg", 1000, 1024, 8)
CLEAN = Simulation(n_subjects=2, n_sessions=2, hum_uv=0.0, drift_uv=0.0, noise_uv=0.0)


@pytest.fixture(scope="module")
def clean():
    return render(["UP", "DOWN", REST], 8, SIGNAL, CLEAN)


def spectrum(emg):
    frequency_hz, power = welch(emg, SIGNAL.sample_rate, nperseg=512, axis=-1)
    return frequency_hz, power.reshape(-1, len(frequency_hz)).mean(axis=0)


def test_every_recording_says_that_it_is_simulated(clean):
    assert {r.source for r in clean} == {"emg_simulated"}
    assert all(r.name.startswith("emg_simulated/") and r.speaker.startswith("emg_simulated:") for r in clean)
    loaded = load_recordings(["emg_simulated:2"], labels=["UP", "DOWN"], signal=SIGNAL)
    assert [r.label for r in loaded] == ["DOWN", "DOWN", "UP", "UP"]
    assert {r.source for r in loaded} == {"emg_simulated"}


def test_words_subjects_and_sessions_are_even(clean):
    assert [r.waveform.shape for r in clean] == [(8, 1024)] * 24
    cells = {(r.label, r.speaker, r.session) for r in clean}
    assert len(cells) == 3 * 2 * 2
    assert len({r.name for r in clean}) == 24


def test_the_same_seed_gives_the_same_and_another_gives_another(clean):
    again = render(["UP", "DOWN", REST], 8, SIGNAL, CLEAN)
    other = render(["UP", "DOWN", REST], 8, SIGNAL, CLEAN, seed=1)
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(clean, again, strict=True))
    assert not any(np.array_equal(a.waveform, b.waveform) for a, b in zip(clean, other, strict=True))


def test_muscles_give_20_to_450_hz(clean):
    frequency_hz, power = spectrum(np.stack([r.waveform for r in clean]))
    inside = (frequency_hz >= 20) & (frequency_hz <= 450)
    assert power[inside].sum() > 0.98 * power.sum()
    median_hz = frequency_hz[np.searchsorted(np.cumsum(power), power.sum() / 2)]
    assert 60 < median_hz < 220


def test_words_are_louder_than_rest(clean):
    level = {word: np.mean([r.waveform.std() for r in clean if r.label == word]) for word in ("UP", "DOWN", REST)}
    assert min(level["UP"], level["DOWN"]) > 2 * level[REST] > 0


def test_amplitude_and_discharges_grow_with_activation():
    pool = simulated.make_pool(np.random.default_rng(0))
    shapes = simulated.action_potentials(pool, simulated.electrode_poles(8), 1000)
    counts, levels = [], []
    for drive in (0.05, 0.2, 0.5, 1.0):
        trains = simulated.discharge(np.full((8, 2000), drive), pool, 1000, np.random.default_rng(1))
        counts.append(trains.sum())
        emg = np.stack([np.convolve(train, shape[0]) for train, shape in zip(trains, shapes, strict=True)]).sum(axis=0)
        levels.append(emg.std())
    assert counts == sorted(counts) and levels == sorted(levels)
    assert levels[-1] > 3 * levels[0]


def test_units_are_recruited_in_order_of_size_and_fire_at_their_rates():
    pool = simulated.make_pool(np.random.default_rng(0))
    faint = simulated.discharge(np.full((8, 4000), 0.1), pool, 1000, np.random.default_rng(0))
    fires = faint.sum(axis=1) > 0
    assert pool.size[fires].max() < pool.size[~fires].min()
    full = simulated.discharge(np.full((8, 20000), 1.0), pool, 1000, np.random.default_rng(0)).sum(axis=1) / 20
    np.testing.assert_allclose(full, pool.peak_rate_hz, rtol=0.1)
    assert full[0] == pytest.approx(35, rel=0.1) and full[-1] == pytest.approx(25, rel=0.1)


def test_intervals_vary_as_they_should():
    pool = simulated.make_pool(np.random.default_rng(0))
    train = simulated.discharge(np.full((8, 60000), 1.0), pool, 1000, np.random.default_rng(0))[0]
    intervals = np.diff(np.flatnonzero(train))
    assert intervals.std() / intervals.mean() == pytest.approx(simulated.INTERVAL_CV, abs=0.03)


def test_a_muscle_is_seen_best_by_the_electrode_over_it():
    pool = simulated.make_pool(np.random.default_rng(0))
    shapes = simulated.action_potentials(pool, simulated.electrode_poles(8), 1000)
    power = (shapes**2).sum(axis=2).reshape(len(simulated.MUSCLES), simulated.UNITS, 8).sum(axis=1)
    assert (power.argmax(axis=1) == np.arange(8)).sum() >= 6  # neighbours on the face may be heard as well


def test_electrodes_shift_between_sessions_alone():
    still = replace(CLEAN, shift_mm=0.0, rotation_deg=0.0, contact_db=0.0)
    poles = simulated.electrode_poles(8)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(simulated.move_electrodes(poles, still, rng), poles)
    moved = simulated.move_electrodes(poles, CLEAN, rng)
    distance_mm = np.linalg.norm(moved - poles, axis=-1)
    assert 0.5 < distance_mm.mean() < 15
    width_mm = np.linalg.norm(moved[:, 0] - moved[:, 1], axis=-1)
    np.testing.assert_allclose(width_mm, simulated.POLE_DISTANCE_MM)  # the pair stays a pair


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_hum_is_there_where_it_is_asked_for(clean, mains_hz):
    signal = replace(SIGNAL, mains_hz=mains_hz)
    humming = render([REST], 4, signal, replace(CLEAN, hum_uv=50.0))
    frequency_hz, power = spectrum(np.stack([r.waveform for r in humming]))
    assert abs(frequency_hz[power.argmax()] - mains_hz) < 2
    _, quiet = spectrum(np.stack([r.waveform for r in clean if r.label == REST]))
    assert power.max() > 100 * quiet[power.argmax()]


@pytest.mark.parametrize("setting, band_hz", [({"drift_uv": 60.0}, (0, 10)), ({"noise_uv": 20.0}, (460, 500))])
def test_drift_and_noise_are_there_where_they_are_asked_for(clean, setting, band_hz):
    with_it = render([REST], 4, SIGNAL, replace(CLEAN, **setting))
    frequency_hz, power = spectrum(np.stack([r.waveform for r in with_it]))
    _, quiet = spectrum(np.stack([r.waveform for r in clean if r.label == REST]))
    inside = (frequency_hz >= band_hz[0]) & (frequency_hz <= band_hz[1])
    assert power[inside].sum() > 20 * quiet[inside].sum()


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(ConfigError, match="at 1000 Hz or more, got 250"):
        render(["UP"], 2, Signal("emg", 250, 256, 2))
    with pytest.raises(ConfigError, match="asks for no trials"):
        render(["UP"], 0, SIGNAL)
