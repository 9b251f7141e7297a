"""Each transform does to a signal what its name says, by measurement."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from edgedigit.config import AugmentConfig
from edgedigit.data import augment
from edgedigit.data.augment import Augmenter

SAMPLE_RATE = N_SAMPLES = 8000


def tone(frequency_hz, n=N_SAMPLES, level=0.3):
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(n) / SAMPLE_RATE)).astype(np.float32)


def peak_hz(waveform):
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 1 << 17))
    return float(np.argmax(spectrum) * SAMPLE_RATE / (1 << 17))


def rms(waveform):
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def db(ratio):
    return 20 * np.log10(ratio)


def vowel(pitch_hz=100, formant_hz=1000, n=N_SAMPLES):
    """Harmonics of `pitch_hz` under one resonance, as a vowel has several."""
    time_s = np.arange(n) / SAMPLE_RATE
    harmonics = np.arange(1, int(SAMPLE_RATE / 2 / pitch_hz))
    level = np.exp(-0.5 * ((harmonics * pitch_hz - formant_hz) / 250) ** 2) + 1e-3
    return (0.05 * (level[:, None] * np.cos(2 * np.pi * pitch_hz * harmonics[:, None] * time_s)).sum(0)).astype("f4")


def formant_hz(waveform):
    """Centre of the energy."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((power * np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)).sum() / power.sum())


def pitch_hz(waveform):
    """From the highest peak of the autocorrelation between 50 and 250 Hz."""
    middle = waveform[len(waveform) // 4 : 3 * len(waveform) // 4]
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    first, last = SAMPLE_RATE // 250, SAMPLE_RATE // 50
    return SAMPLE_RATE / (first + int(np.argmax(correlation[first:last])))


@pytest.mark.parametrize("factor", [0.82, 0.95, 1.0, 1.1, 1.18])
def test_speed_moves_pitch_and_shortens_alike(factor):
    moved = augment.change_speed(tone(440), factor)
    assert peak_hz(moved) == pytest.approx(440 * factor, rel=0.03)  # a length that the FFT is quick at is taken
    assert peak_hz(moved) * len(moved) == pytest.approx(440 * N_SAMPLES, rel=0.002)
    assert abs(db(rms(moved) / rms(tone(440)))) < 0.2
    assert moved.dtype == np.float32


def test_faster_speech_does_not_alias():
    high = augment.change_speed(tone(3900), 1.18)  # would stand at 4602 Hz, above what 8 kHz can hold
    assert rms(high) < 0.05 * rms(tone(3900))


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_tempo_changes_duration_and_leaves_the_pitch(tempo):
    stretched = augment.stretch_and_warp(tone(440), tempo=tempo)
    assert len(stretched) == pytest.approx(N_SAMPLES / tempo, rel=0.02)
    assert peak_hz(stretched) == pytest.approx(440, rel=0.01)
    middle = stretched[len(stretched) // 4 : 3 * len(stretched) // 4]
    assert abs(db(rms(middle) / rms(tone(440)))) < 3


@pytest.mark.parametrize("warp", [0.85, 1.15])
def test_warp_moves_formants_and_leaves_pitch_and_duration(warp):
    before = vowel()
    after = augment.stretch_and_warp(before, warp=warp)
    assert len(after) == len(before)
    assert formant_hz(after) / formant_hz(before) == pytest.approx(warp, abs=0.05)
    assert pitch_hz(after) == pytest.approx(pitch_hz(before), rel=0.02)


def test_vocoder_without_change_gives_the_clip_back():
    before = vowel()
    after = augment.stretch_and_warp(before)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_shift_moves_by_whole_samples_and_fills_with_silence():
    ramp = np.arange(1, 6, dtype=np.float32)
    assert augment.shift(ramp, 2).tolist() == [0, 0, 1, 2, 3]
    assert augment.shift(ramp, -2).tolist() == [3, 4, 5, 0, 0]
    assert augment.shift(ramp, 0).tolist() == ramp.tolist()
    assert augment.shift(ramp, 9).tolist() == [0] * 5


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_falls_as_its_exponent_says(exponent):
    noise = augment.colored_noise((16, N_SAMPLES), np.full(16, exponent), np.random.default_rng(0))
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(axis=0)
    bands = [power[low : 2 * low].mean() for low in (50, 100, 200, 400, 800, 1600)]  # octaves, 1 Hz bins
    slope_db = np.polyfit(range(len(bands)), 10 * np.log10(bands), 1)[0]
    assert slope_db == pytest.approx(-3.01 * exponent, abs=0.4)
    np.testing.assert_allclose([rms(row) for row in noise], 1.0, rtol=1e-4)


@pytest.mark.parametrize("snr_db", [0.0, 12.0, 30.0])
def test_noise_is_added_at_the_ratio_asked_for(snr_db):
    clip = np.zeros(N_SAMPLES, np.float32)
    clip[3000:5000] = tone(500, 2000)  # padding must not count as speech
    noise = np.random.default_rng(0).standard_normal((1, N_SAMPLES)).astype(np.float32)
    added = augment.add_at_snr(clip[None], 7 * noise, np.array([snr_db]))[0] - clip
    assert db(rms(clip[3000:5000]) / rms(added)) == pytest.approx(snr_db, abs=0.3)


def test_noise_on_silence_stays_silent():
    silent = np.zeros((1, N_SAMPLES), np.float32)
    assert not augment.add_at_snr(silent, np.ones_like(silent), np.array([0.0])).any()


@pytest.mark.parametrize(
    "frequency_hz, low_db, high_db", [(75, -27, -20), (1000, -0.1, 0.1), (2000, -0.1, 0.1), (3900, -8, -2)]
)
def test_a_telephone_band_keeps_its_middle_and_loses_its_ends(frequency_hz, low_db, high_db):
    gain = augment.band_gain(150, 3400, 257)[None]
    filtered = augment.filter_spectrum(tone(frequency_hz)[None], gain)[0]
    assert low_db < db(rms(filtered[2000:6000]) / rms(tone(frequency_hz))) < high_db


def test_a_flat_curve_and_a_dry_room_change_nothing():
    clip = vowel()[None]
    dry = np.zeros((1, 2000), np.float32)
    dry[0, 0] = 1.0
    np.testing.assert_allclose(augment.filter_spectrum(clip, np.zeros((1, 33)), dry), clip, atol=1e-6)


def test_an_impulse_response_is_convolved_and_does_not_wrap_around():
    clip = np.zeros((1, 1000), np.float32)
    clip[0, 900] = 1.0
    room = np.zeros((1, 400), np.float32)
    room[0, [0, 50, 300]] = [1.0, 0.5, 0.25]
    out = augment.filter_spectrum(clip, np.zeros((1, 33)), room)[0]
    expected = np.convolve(clip[0], room[0])[:1000]
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_overdrive_cuts_the_peaks_and_leaves_the_rest_in_proportion():
    clip = 0.3 * tone(200) * np.linspace(0, 1, N_SAMPLES, dtype=np.float32)
    peak = np.abs(clip).max()
    plain, cut = augment.overdrive(np.stack([clip, clip]), np.array([0.0, 20.0]))
    np.testing.assert_allclose(plain, clip, rtol=1e-6)
    faint = np.abs(clip) < 0.09 * peak
    np.testing.assert_allclose(cut[faint], 10 * clip[faint], rtol=1e-5)
    np.testing.assert_allclose(np.abs(cut[np.abs(clip) > 0.11 * peak]), peak, rtol=1e-5)


def test_overdrive_leaves_silence_alone():
    silence = np.zeros((2, 100), np.float32)
    np.testing.assert_array_equal(augment.overdrive(silence, np.full(2, 20.0)), silence)


def test_a_gate_turns_down_what_is_faint_and_holds_after_a_word():
    clip = 0.001 * tone(3000)
    clip[3000:5000] += 0.5 * tone(500)[3000:5000]
    gated = augment.noise_gate(np.stack([clip, clip]), np.array([20.0, 80.0]), np.array([40.0, 40.0]))
    np.testing.assert_array_equal(gated[1], clip)  # nothing is 80 dB fainter than the word
    np.testing.assert_allclose(gated[0, 3080:5400], clip[3080:5400], atol=1e-6)  # open, and held for 50 ms
    before, after = slice(0, 2900), slice(5700, N_SAMPLES)
    for part in (before, after):
        assert 20 * np.log10(rms(gated[0, part]) / rms(clip[part])) == pytest.approx(-40, abs=0.5)


def test_a_gate_leaves_silence_alone():
    silence = np.zeros((2, 100), np.float32)
    np.testing.assert_array_equal(augment.noise_gate(silence, np.full(2, 20.0), np.full(2, 40.0)), silence)


@pytest.mark.parametrize("n_levels", [64, 256])
def test_companding_errs_in_proportion_to_the_sample(n_levels):
    clip = tone(440) * np.linspace(0, 1, N_SAMPLES, dtype=np.float32)
    coded = augment.mu_law(clip, n_levels)
    peak, mu = np.abs(clip).max(), n_levels - 1
    half_step = np.log1p(mu) / mu  # of the logarithm of 1 + mu |x| / peak
    bound = (np.abs(clip) + peak / mu) * (np.exp(half_step) - 1) + 1e-6
    assert (np.abs(coded - clip) <= bound).all()
    assert np.abs(coded - clip).max() > 1e-4  # it does code
    assert len(np.unique(coded)) <= n_levels


def test_rooms_start_with_the_direct_sound_and_decay():
    bank = augment.room_bank(12, SAMPLE_RATE)
    assert bank.shape == (12, SAMPLE_RATE // 4)
    assert np.isfinite(bank).all()
    np.testing.assert_allclose(bank[:, 0], 1.0, rtol=1e-6)
    assert (np.abs(bank) <= 1.0 + 1e-6).all()
    energy = (bank.reshape(12, 5, -1) ** 2).sum(axis=2)  # in fifths of 50 ms
    assert (energy[:, 0] > energy[:, 1]).all()
    assert (energy[:, 1] > energy[:, 4]).all()
    assert (energy[:, 1] > 0).all()  # there is a room at all


def test_rooms_are_the_same_for_a_seed():
    first = augment.room_bank(3, SAMPLE_RATE, 5).copy()
    augment.room_bank.cache_clear()
    np.testing.assert_array_equal(augment.room_bank(3, SAMPLE_RATE, 5), first)
    assert not np.array_equal(augment.room_bank(3, SAMPLE_RATE, 6), first)


def test_masks_hide_no_more_than_their_width():
    rng = np.random.default_rng(0)
    keep = augment.spec_augment((200, 1, 40, 99), rng, 1, 8, 1, 5)
    assert keep.shape == (200, 1, 40, 99)
    assert keep.dtype == bool
    hidden_frames = (~keep).all(axis=2)[:, 0].sum(axis=1)
    hidden_rows = (~keep).all(axis=3)[:, 0].sum(axis=1)
    assert hidden_frames.max() == 8
    assert hidden_rows.max() == 5
    assert hidden_frames.min() == hidden_rows.min() == 0
    frames, rows = (~keep).all(axis=2).any(axis=(0, 1)), (~keep).all(axis=3).any(axis=(0, 1))
    assert frames.all()
    assert rows.all()  # every place has its turn, the first and the last too


def test_no_masks_hide_nothing():
    assert augment.spec_augment((2, 1, 40, 99), np.random.default_rng(0), 0, 8, 0, 5).all()


def mixed(probability, n=64, seed=0):
    rng = np.random.default_rng(seed)
    waveforms = rng.normal(0, rng.uniform(0.01, 0.3, (n, 1)), (n, 1600)).astype(np.float32)
    targets = np.eye(10, dtype=np.float32)[rng.integers(0, 10, n)]
    (mixed,), mixed_targets = augment.mixup([waveforms], targets, probability, 0.4, rng)
    return waveforms, targets, mixed, mixed_targets


def test_mixup_keeps_targets_distributions_and_the_first_clip_in_front():
    _, targets, _, blended = mixed(1.0)
    assert (blended >= 0).all()
    np.testing.assert_allclose(blended.sum(axis=1), 1.0, rtol=1e-6)
    assert ((blended * targets).sum(axis=1) >= 0.5 - 1e-6).all()
    assert ((blended > 0).sum(axis=1) == 2).any()


def test_mixup_blends_waveforms_in_the_proportion_of_the_targets_and_at_equal_level():
    waveforms, targets, clips, blended = mixed(1.0)
    for row in range(len(clips)):
        if blended[row].max() > 0.95 or (blended[row] > 0).sum() != 2:
            continue
        weight = blended[row][targets[row] > 0][0]
        rest = clips[row] - weight * waveforms[row]
        assert rms(rest) == pytest.approx((1 - weight) * rms(waveforms[row]), rel=0.25)


def test_mixup_leaves_the_other_clips_alone():
    waveforms, targets, clips, blended = mixed(0.0)
    np.testing.assert_array_equal(clips, waveforms)
    np.testing.assert_array_equal(blended, targets)
    _, targets, _, blended = mixed(0.3, n=400)
    assert 0.15 < (blended != targets).any(axis=1).mean() < 0.35


@pytest.fixture(scope="module")
def augmenter():
    rng = np.random.default_rng(9)
    noises = [rng.normal(0, 0.1, n).astype(np.float32) for n in (500, 40_000)]
    everything = AugmentConfig(
        n_rooms=8,
        room_probability=1.0,
        vocoder_probability=1.0,
        band_probability=1.0,
        codec_probability=1.0,
        overdrive_probability=1.0,
        gate_probability=1.0,
    )
    return Augmenter(everything, N_SAMPLES, SAMPLE_RATE, noises, [vowel(n=4000), vowel(150, n=3000)])


CLIPS = [np.array([0.5], np.float32), vowel(n=37), vowel(n=3000), vowel(n=N_SAMPLES), vowel(n=80_000)]
CLIPS += [np.zeros(4000, np.float32), np.sign(tone(200)).astype(np.float32)]  # silence; full scale


def test_any_clip_becomes_a_finite_window_in_range(augmenter):
    for seed in range(5):
        batch = augmenter(CLIPS, np.random.default_rng(seed))
        assert batch.shape == (len(CLIPS), N_SAMPLES)
        assert batch.dtype == np.float32
        assert np.isfinite(batch).all()
        assert np.abs(batch).max() <= 1.0
        assert rms(batch[2]) > 1e-3


def test_the_same_seed_gives_the_same_clips(augmenter):
    one, again, other = (augmenter(CLIPS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_recordings_are_left_as_they_are(augmenter):
    before = [clip.copy() for clip in CLIPS]
    augmenter(CLIPS, np.random.default_rng(0))
    for clip, kept in zip(CLIPS, before, strict=True):
        np.testing.assert_array_equal(clip, kept)


def test_switched_off_only_the_window_is_fitted():
    plain = Augmenter(AugmentConfig(enabled=False), N_SAMPLES, SAMPLE_RATE)
    batch = plain(CLIPS, np.random.default_rng(0))
    assert batch.shape == (len(CLIPS), N_SAMPLES)
    np.testing.assert_array_equal(batch[3], CLIPS[3])


def test_shift_stays_within_its_limit():
    only_shift = AugmentConfig(
        speed_probability=0.0,
        vocoder_probability=0.0,
        equalizer_db=0.0,
        band_probability=0.0,
        codec_probability=0.0,
        room_probability=0.0,
        noise_probability=0.0,
        overdrive_probability=0.0,
        gate_probability=0.0,
        clean_snr_db=120.0,
        gain_db=0.0,
        shift_ms=50.0,
    )
    click = np.zeros(N_SAMPLES, np.float32)
    click[3900:4100] = 0.5
    batch = Augmenter(only_shift, N_SAMPLES, SAMPLE_RATE)([click] * 100, np.random.default_rng(0))
    starts = np.argmax(np.abs(batch) > 0.25, axis=1) - 3900
    assert -400 <= starts.min() < -300
    assert 300 < starts.max() <= 400


def test_the_page_about_augmentation_states_the_present_strengths():
    docs = Path(__file__).resolve().parents[1] / "docs"
    drawing = runpy.run_path(str(docs / "draw_augmentations.py"))
    assert (docs / "augmentation.md").read_text(encoding="utf-8") == drawing["document"]()
    pictures = [docs / "augmentation" / f"{picture.name}.png" for picture in drawing["PICTURES"]]
    assert sum(picture.stat().st_size for picture in pictures) < 600_000


def noisy_only(**changes):
    """Nothing but noise: at 0 dB on every clip unless changed."""
    off = dict.fromkeys(
        [n for n in AugmentConfig.__dataclass_fields__ if n.endswith("_probability")] + ["shift_ms", "equalizer_db"],
        0.0,
    )
    return AugmentConfig(**off | {"noise_probability": 1.0, "snr_db": (0.0, 0.0), "gain_db": 0.0} | changes)


def test_the_quiet_view_is_the_clip_before_noise():
    clips = [tone(440, level=0.1), tone(900, level=0.1)]
    heard, quiet = Augmenter(noisy_only(), N_SAMPLES, SAMPLE_RATE).with_quiet(clips, np.random.default_rng(0))
    np.testing.assert_allclose(quiet, np.stack(clips), atol=1e-5)
    assert all(db(rms(h - q) / rms(q)) == pytest.approx(0, abs=0.5) for h, q in zip(heard, quiet, strict=True))


def test_both_views_share_voice_place_room_and_gain():
    config = AugmentConfig(noise_probability=0.0, clean_snr_db=120.0, band_probability=0.0, codec_probability=0.0)
    clips = [vowel(), tone(500)]
    heard, quiet = Augmenter(config, N_SAMPLES, SAMPLE_RATE).with_quiet(clips, np.random.default_rng(3))
    np.testing.assert_allclose(heard, quiet, atol=1e-3)


def test_mixup_blends_all_views_in_the_same_proportion():
    rng = np.random.default_rng(0)
    quiet = rng.normal(0, 0.1, (8, 1600)).astype(np.float32)
    noise = rng.normal(0, 1, (8, 1600)) * np.geomspace(0.01, 1, 8)[:, None]  # louder from row to row
    (heard, blended), _ = augment.mixup(
        [(quiet + noise).astype(np.float32), quiet], np.eye(8, dtype=np.float32), 1.0, 0.4, rng
    )
    assert not np.allclose(blended, quiet)
    noises = heard - blended  # blended themselves, and nothing of the speech is left
    for row in range(8):
        residual = np.linalg.lstsq(noise.T, noises[row], rcond=None)[1]
        assert residual < 1e-6 * np.sum(noises[row] ** 2)
