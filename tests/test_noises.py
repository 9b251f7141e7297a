"""Recorded noises are told apart by measurement, and those that test never train."""

from dataclasses import replace

import numpy as np
import pytest

from edgedigit.audio import write_wav
from edgedigit.config import DataConfig
from edgedigit.data.noises import (
    IMPULSIVE,
    STATIONARY,
    is_held_out,
    kind_of,
    level_variation_db,
    noises_of_part,
    origin_of,
)
from edgedigit.data.recording import Recording
from edgedigit.errors import DataError, MissingDataError
from edgedigit.train.pipeline import read_recordings

RATE = 8000


def hiss(duration_s=3.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(duration_s * RATE)).astype(np.float32)


def clicks(every_s=0.5, length_s=0.02, duration_s=3.0):
    waveform = hiss(duration_s) * np.float32(0.01)
    for start in np.arange(0.1, duration_s - length_s, every_s):
        waveform[round(start * RATE) :][: round(length_s * RATE)] *= 300
    return waveform


def noise(waveform, name="noise/fan.wav"):
    return Recording(waveform, RATE, "noise", "-", "mine", name)


def test_level_variation_equals_the_hand_computed_value():
    """Half of the frames a hundred times the energy: mean 50.5, geometric mean 10."""
    loud, faint = np.full(80, 1.0, np.float32), np.full(80, 0.1, np.float32)
    second = np.concatenate([loud, faint] * 50)
    assert level_variation_db(second, RATE) == pytest.approx(10 * np.log10(50.5 / 10), abs=1e-4)
    assert level_variation_db(np.full(RATE, 0.5, np.float32), RATE) == pytest.approx(0)


def test_hiss_is_stationary_and_clicks_are_impulsive_whatever_their_level():
    for gain in (1e-3, 1.0):
        assert kind_of(noise(gain * hiss())) == STATIONARY
        assert kind_of(noise(gain * clicks())) == IMPULSIVE
    assert level_variation_db(hiss(), RATE) < 0.2


def test_a_pause_does_not_make_a_fan_impulsive():
    stopped = np.concatenate([hiss(), np.zeros(2 * RATE, np.float32)])
    assert kind_of(noise(stopped)) == STATIONARY


def test_noises_shorter_than_a_second_are_measured_as_well():
    assert kind_of(noise(hiss(0.3))) == STATIONARY
    assert kind_of(noise(clicks(duration_s=0.4))) == IMPULSIVE


def test_takes_of_one_freesound_clip_are_of_one_origin_and_fall_into_one_part():
    first, second = "noise/esc10/dog_bark_2-122104-A.flac", "noise/esc10/dog_bark_2-122104-B.flac"
    assert origin_of(first) == origin_of(second) == "freesound:122104"
    assert origin_of("elsewhere/1-122104-A.wav") == "freesound:122104"  # as ESC-50 itself names it
    assert origin_of("noise/env_rain.flac") == "env_rain"
    assert all(is_held_out(f"a_1-{i}-A.flac") == is_held_out(f"b/a_1-{i}-C.wav") for i in range(50))


def test_the_division_is_about_even_and_does_not_depend_on_what_else_there_is():
    names = [f"noise/rain_1-{i}-A.flac" for i in range(1000)]
    held = [is_held_out(name) for name in names]
    assert 450 < sum(held) < 550
    some = [noise(hiss(0.1), name) for name in names[:100]]
    parts = {part: {one.name for one in noises_of_part(some, part)} for part in ("train", "evaluation", "all")}
    assert parts["train"] | parts["evaluation"] == parts["all"] and not parts["train"] & parts["evaluation"]
    assert {one.name for one in noises_of_part(some[::2], "train")} == parts["train"] & {one.name for one in some[::2]}


# Known answers of the hash: another division would let noises that tested train.
HELD_OUT = {"rain_1-17367-A": False, "bg_white_noise": False, "bg_pink_noise": True, "env_wind": False}


@pytest.mark.parametrize(("stem", "held_out"), HELD_OUT.items())
def test_the_division_stays_as_it_is(stem, held_out):
    assert is_held_out(f"noise/{stem}.flac") is held_out


@pytest.fixture
def data(tmp_path):
    """Settings whose noises are two, one of either part."""
    for label in ("0", "1"):
        (tmp_path / "words" / label).mkdir(parents=True)
        write_wav(tmp_path / "words" / label / "a.wav", hiss(0.2))
    (tmp_path / "noise" / "place").mkdir(parents=True)
    for level, stem in ((0.5, "bg_white_noise"), (0.25, "bg_pink_noise")):
        write_wav(tmp_path / "noise" / "place" / f"{stem}.wav", np.full(RATE, level))
    return DataConfig(
        sources=(f"folder:{tmp_path / 'words'}",), noises=f"folder:{tmp_path / 'noise'}", labels=("0", "1")
    )


def test_training_keeps_away_from_the_noises_that_test_unless_told_otherwise(data):
    training = {round(float(one.waveform[0]), 2) for one in read_recordings(data, None, progress=False)[1]}
    everything = read_recordings(replace(data, noise_part="all"), None, progress=False)[1]
    levels = {"bg_white_noise": 0.5, "bg_pink_noise": 0.25}
    assert training == {level for stem, level in levels.items() if not HELD_OUT[stem]}
    assert {round(float(one.waveform[0]), 2) for one in everything} == set(levels.values())


def test_without_the_usual_folder_training_makes_its_own_noise(data, tmp_path):
    usual = replace(data, noises=DataConfig().noises)
    assert len(read_recordings(usual, tmp_path, progress=False)[1]) == 1
    assert read_recordings(usual, tmp_path / "words", progress=False)[1] == []
    with pytest.raises(MissingDataError, match="does not exist"):
        read_recordings(replace(data, noises="folder:gone"), tmp_path, progress=False)


@pytest.mark.parametrize("manifest", ["file,label,speaker\n", "", "file,label,speaker,source\ngone.wav,a,b,c\n"])
def test_a_damaged_folder_of_noises_is_told_of_though_it_is_the_usual_one(data, tmp_path, manifest):
    (tmp_path / "noise" / "manifest.csv").write_text(manifest)
    usual = replace(data, noises=DataConfig().noises)
    with pytest.raises(DataError, match=r"manifest\.csv"):
        read_recordings(usual, tmp_path, progress=False)


def test_noises_of_which_none_may_train_are_told_of(data, tmp_path):
    for stem, held_out in HELD_OUT.items():
        if not held_out:
            (tmp_path / "noise" / "place" / f"{stem}.wav").unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"all held out for evaluation.*noise_part=all"):
        read_recordings(data, None, progress=False)
