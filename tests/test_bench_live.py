"""Answers through a sound device: times run from what was played, not from when the recording began."""

import shutil

import numpy as np
import pytest

pytest.importorskip("onnx")
from tiny_model import SAMPLE_RATE, tone_word

from edgedigit.bench import live
from edgedigit.bench.answers import CLEAN
from edgedigit.bench.live import (
    CLICK,
    MICROPHONE,
    N_CLICKS,
    SINK_RATE,
    Playing,
    answered_live,
    click_delays_ms,
    hear_stretches,
    play_through,
    run_clicks,
    run_microphone,
    stretches,
    together,
)
from edgedigit.errors import DeviceError
from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.word_stream import Clip, StreamScore, Word, build_stream, score

BLOCK = SAMPLE_RATE // 100


class Device:
    """Source and microphone in one: blocks of 10 ms come when their last sample is due and `delay_s` later."""

    sample_rate = SAMPLE_RATE
    overruns = 0
    is_playing = False  # what is played has entered at once

    def __init__(self, delay_s, loses=None, fast=1.0):
        self.delay_s, self.loses, self.fast, self.now_s, self.sound = (
            delay_s,
            loses,
            fast,
            100.0,
            np.zeros(0, np.float32),
        )

    def perf_counter(self):
        return self.now_s

    def play(self, waveform, rate):
        assert rate == SAMPLE_RATE
        self.sound = np.concatenate([np.zeros(BLOCK // 3, np.float32), waveform])  # begins within a block
        return self.now_s - self.delay_s + BLOCK // 3 / SAMPLE_RATE

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        while True:
            block, self.sound = self.sound[:BLOCK], self.sound[BLOCK:]
            self.now_s += BLOCK / SAMPLE_RATE / self.fast
            block = np.pad(block, (0, BLOCK - block.size))
            yield block if self.loses is None else np.minimum(block, self.loses)


@pytest.fixture
def device(monkeypatch):
    def make(delay_s=0.03, **how):
        made = Device(delay_s, **how)
        monkeypatch.setattr(live, "time", made)
        monkeypatch.setattr(live, "Microphone", lambda: made)
        monkeypatch.setattr(live, "refresh_devices", lambda: None)
        return made

    return make


@pytest.fixture
def words():
    return [Clip(tone_word(digit), SAMPLE_RATE, str(digit)) for digit in (3, 1, 4, 1, 5)]


def through(device, model, words):
    stream = build_stream(words, SAMPLE_RATE)
    engine = StreamingRecognizer(Recognizer(model), sample_rate=SAMPLE_RATE)
    return score(stream.words, play_through(device, device, engine, stream))


def test_the_delay_of_the_device_is_part_of_the_answer(tiny_model, device, words):
    soon, late = (through(device(delay_s), tiny_model, words) for delay_s in (0.0, 0.2))
    assert soon.n_correct == late.n_correct == 5 and soon.n_extra == 0
    np.testing.assert_allclose(late.latency_ms - soon.latency_ms, 200, atol=0.1)
    assert 20 < np.median(soon.latency_ms) < 120


def test_a_device_whose_clock_runs_away_is_no_measurement(tiny_model, device, words):
    with pytest.raises(DeviceError, match=r"clock has moved -\d+ ms in \d+ s"):
        through(device(fast=1.01), tiny_model, words)


def test_streams_are_counted_together():
    word = Word("1", 1.0, 1.4, 1.5)
    scores = [
        StreamScore((word,), ("1",), np.array([40.0]), rejected_ms=np.array([np.nan]), n_extra=2),
        StreamScore((word, word), (None, "7"), np.array([np.nan, 60.0]), np.array([30.0, np.nan]), n_extra=1),
    ]
    whole = together(scores)
    assert whole.labels == ("1", None, "7") and whole.n_correct == 1
    assert whole.n_rejected == 1 and whole.n_extra == 3
    np.testing.assert_array_equal(whole.latency_ms, [40, np.nan, 60])
    np.testing.assert_array_equal(whole.rejected_ms, [np.nan, 30, np.nan])


def test_clicks_tell_the_delay_of_the_device_and_its_blocks(device):
    delays_ms = click_delays_ms(device(0.03))
    assert delays_ms.shape == (N_CLICKS,)
    assert delays_ms.min() >= 30 and delays_ms.max() <= 40.1  # and up to a block, in which it may lie anywhere
    assert delays_ms.max() - delays_ms.min() > 5


def test_clicks_that_are_lost_are_no_measurement(device):
    with pytest.raises(DeviceError, match=f"heard 0 of {N_CLICKS} clicks"):
        click_delays_ms(device(loses=0.2))


def test_what_is_played_is_heard_to_its_end(device):
    made = device(0.1)
    sound = np.full(SAMPLE_RATE, 0.5, np.float32)
    heard = np.concatenate([block for _, block in Playing(made, made, sound, SAMPLE_RATE)])
    assert (heard > 0.4).sum() == sound.size


@pytest.mark.mic
@pytest.mark.skipif(not shutil.which("pulseaudio"), reason="PulseAudio is not installed")
def test_words_through_a_virtual_microphone_are_answered(tiny_model, words, monkeypatch):
    pytest.importorskip("sounddevice", exc_type=OSError)
    said = []
    monkeypatch.setattr(live, "STRETCH_WORDS", 3)
    click = run_clicks(0)
    assert click["name"] == CLICK and click["n"] == N_CLICKS and click["latency_ms_p50"] < 100
    answered = run_microphone(tiny_model, words, 150, 0, said.append)
    assert answered.condition == MICROPHONE
    assert answered.row["n_correct"] == 5 and answered.row["n_extra"] == 0
    assert answered.row["latency_ms_p50"] > click["latency_ms_p50"]
    assert "minutes into a virtual microphone" in said[0]
    hum = np.random.default_rng(0).normal(0, 0.003, SAMPLE_RATE).astype(np.float32)
    noisy = run_microphone(tiny_model, words, 150, 0, said.append, "rain 20 dB", hum)
    assert noisy.row["name"].endswith("5 words through a microphone in rain 20 dB") and noisy.row["n_correct"] == 5
    parts = [hear_stretches(tiny_model, words, 0, said.append, part=part, n_parts=3) for part in range(3)]
    assert [[len(one.words) for one, _ in part] for part in parts] == [
        [3],
        [2],
        [],
    ]  # in processes of their own, perhaps
    dealt = answered_live(tiny_model, parts, 150, CLEAN)
    assert dealt.row["name"] == answered.row["name"] and dealt.row["n_correct"] == dealt.row["n_correct_offline"] == 5
    assert noisy.condition != MICROPHONE  # which the gates of quiet are for


def test_a_noise_goes_on_from_one_stretch_to_the_next(words, monkeypatch):
    monkeypatch.setattr(live, "STRETCH_WORDS", 2)
    bed = 0.1 * np.sin(2 * np.pi * 0.05 * np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)  # 20 s a turn
    quiet, noisy = (stretches(words, 0, one) for one in (None, bed))
    assert [len(stream.words) for stream in noisy] == [2, 2, 1]
    assert all(a.words == b.words for a, b in zip(quiet, noisy, strict=True))
    alone = np.concatenate([b.waveform - a.waveform for a, b in zip(quiet, noisy, strict=True)])
    expected = 0.1 * np.sin(2 * np.pi * 0.05 * np.arange(alone.size) / SINK_RATE)
    assert np.abs(alone - expected).mean() < 1e-3  # but where resampling begins and ends
