"""The benchmark harness tells what it claims: clocks, ends of words, lost and added digits, broken budgets."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import SAMPLE_RATE, build_tiny_model, silence, tone_word

from edgedigit import peers, word_stream
from edgedigit.bench import __main__ as command_line
from edgedigit.bench import clips as clips_module
from edgedigit.bench import conditions, load, machine, printed
from edgedigit.bench.answers import Answered, How, answered_offline, as_ratios, run_answers, run_silero
from edgedigit.bench.babble import babble_under, by_speaker
from edgedigit.bench.beside_peers import time_recognizers
from edgedigit.bench.clips import load_clips
from edgedigit.bench.cold_start import cold_start, run_cold_start
from edgedigit.bench.inference import load_model, run_beside_load, run_inference
from edgedigit.bench.machine import machine_facts, machine_slug
from edgedigit.bench.noise_bed import joined, noise_bed, over_noise
from edgedigit.bench.picture import answers_figure, cumulative
from edgedigit.bench.rows import broken_budgets, check_broken, quiet_gates, remarks, table
from edgedigit.bench.streams import heard, streams_at_a_time
from edgedigit.bench.timing import time_calls
from edgedigit.config import BenchConfig
from edgedigit.data.augment import active_rms
from edgedigit.data.recording import Recording
from edgedigit.errors import ConfigError, DataError, DeviceError, GateError, InputError, ModelError, WorkerError
from edgedigit.runtime import Event, Prediction, Recognizer
from edgedigit.word_stream import Answer, Clip, Word, WordStream, build_stream, end_of_word, play, score

BLOCK_MS = 20
ANY_TIME = ("--budget-inference-ms", "1e6", "--budget-answer-ms", "1e6")  # where time is not what is tested
WORDS = (Word("1", 1.0, 1.4, 1.5), Word("2", 2.5, 2.9, 3.0))


@pytest.fixture
def tones():
    """Thirty words that the tiny model knows."""
    return [Clip(tone_word(digit), SAMPLE_RATE, str(digit)) for digit in list(range(10)) * 3]


def test_calls_are_timed_in_turn_and_what_comes_before_each_is_not():
    said = []
    first, second = time_calls([lambda: said.append("a"), lambda: said.append("b")], n_runs=2, n_warmup=1, n_again=2)
    assert "".join(said) == "ab" + 2 * "aaabbb"
    assert first["n"] == second["n"] == 2


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now_s = 0.0

    def perf_counter(self):
        return self.now_s

    def sleep(self, duration_s):
        self.now_s += duration_s


@pytest.fixture
def clock(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(word_stream, "time", fake)
    return fake


class FakeEngine:
    """Says a digit in the block that holds a given moment, after computing for a given time."""

    def __init__(self, clock, at_s, compute_s):
        self.clock, self.at_sample, self.compute_s, self.position = clock, at_s * SAMPLE_RATE, compute_s, 0

    def accept(self, samples):
        before, self.position = self.position, self.position + len(samples)
        self.clock.sleep(self.compute_s)
        return [digit("1", 1.0, 1.4)] if before <= self.at_sample < self.position else []

    def flush(self):
        return []


def digit(label, start_s, end_s, kind="digit"):
    return Event(kind, end_s, start_s, end_s, Prediction(label, 0.9, {label: 0.9}, kind == "rejected", 1.0))


def stream_of(duration_s):
    return WordStream(silence(duration_s), SAMPLE_RATE, WORDS)


def burst(duration_s, level):
    return np.full(round(duration_s * SAMPLE_RATE), level, np.float32)


def test_the_word_ends_with_its_last_frame_that_is_not_faint():
    waveform = np.concatenate([silence(0.1), burst(0.3, 0.5), silence(0.2)])
    assert end_of_word(waveform, SAMPLE_RATE) == round(0.4 * SAMPLE_RATE)


def test_a_soft_ending_within_35_db_belongs_to_the_word_and_a_softer_one_does_not():
    loud = burst(0.3, 0.5)
    for below_db, end_s in ((34, 0.5), (36, 0.3)):
        tail = burst(0.2, 0.5 * 10 ** (-below_db / 20))
        assert end_of_word(np.concatenate([loud, tail, silence(0.1)]), SAMPLE_RATE) == round(end_s * SAMPLE_RATE)


def test_a_clip_without_silence_ends_where_it_ends():
    assert end_of_word(burst(0.3, 0.5)[:-7], SAMPLE_RATE) == 0.3 * SAMPLE_RATE - 7


def test_a_stream_holds_each_word_where_it_says(tones):
    stream = build_stream(tones, SAMPLE_RATE, noise_db=-90)
    assert [word.label for word in stream.words] == [clip.label for clip in tones]
    for clip, word in zip(tones, stream.words, strict=True):
        start = round(word.start_s * SAMPLE_RATE)
        np.testing.assert_allclose(stream.waveform[start : start + clip.waveform.size], clip.waveform, atol=1e-3)
        assert word.start_s < word.end_s <= word.clip_end_s
    gaps = [b.start_s - a.clip_end_s for a, b in zip(stream.words, stream.words[1:], strict=False)]
    assert min(gaps) >= 0.6 - 1e-3 and max(gaps) <= 1.2 + 1e-3 and np.std(gaps) > 0.05


def test_a_stream_is_the_same_for_the_same_seed_only(tones):
    assert np.array_equal(build_stream(tones[:2], seed=1).waveform, build_stream(tones[:2], seed=1).waveform)
    assert build_stream(tones[:2], seed=1).words != build_stream(tones[:2], seed=2).words


def test_clips_of_two_rates_make_no_stream(tones):
    other = Clip(tones[0].waveform, 16000, "0")
    for clips in ([], [tones[0], other]):
        with pytest.raises(InputError, match="at one rate"):
            build_stream(clips)


@pytest.mark.parametrize("realtime", [False, True])
def test_an_answer_comes_when_its_block_is_complete_plus_the_time_it_took(clock, realtime):
    engine = FakeEngine(clock, at_s=0.41, compute_s=0.005)
    (answer,) = play(stream_of(0.6), engine, BLOCK_MS, realtime)
    assert answer.answered_s == pytest.approx(0.42 + 0.005)  # 0.41 s lies in the block that ends at 0.42 s


@pytest.mark.parametrize("realtime", [False, True])
def test_an_engine_slower_than_the_stream_falls_behind(clock, realtime):
    engine = FakeEngine(clock, at_s=0.41, compute_s=0.03)
    (answer,) = play(stream_of(0.42), engine, BLOCK_MS, realtime)
    assert answer.answered_s == pytest.approx(0.02 + 21 * 0.03)  # the first block's end, then 21 blocks at 30 ms each


def test_the_virtual_clock_does_not_wait(clock):
    play(stream_of(100), FakeEngine(clock, at_s=0, compute_s=0), BLOCK_MS)
    assert clock.now_s == 0


def test_a_stream_may_end_within_a_block(clock):
    (answer,) = play(stream_of(0.102), FakeEngine(clock, at_s=0.101, compute_s=0.001), BLOCK_MS)
    assert answer.answered_s == pytest.approx(0.103)


def test_latency_runs_from_the_end_of_the_word():
    result = score(WORDS, [Answer(digit("1", 1.02, 1.38), 1.52), Answer(digit("7", 2.5, 2.9), 2.8)])
    assert result.labels == ("1", "7") and result.n_correct == 1 and result.n_extra == 0
    np.testing.assert_allclose(result.latency_ms, [120, -100])
    row = result.row("words")
    assert row["latency_ms_max"] == pytest.approx(120) and row["n_before_end"] == 1


def test_lost_unsure_and_added_digits_are_counted():
    answers = [
        Answer(digit("1", 0.2, 0.6), 0.7),  # before any word
        Answer(digit("1", 1.0, 1.2), 1.3),
        Answer(digit("8", 1.3, 1.5), 1.6),  # the same word again
        Answer(digit("2", 2.5, 2.9, kind="rejected"), 3.0),
        Answer(Event("speech_end", 3.1, 2.5, 2.9), 3.1),
    ]
    row = score(WORDS, answers).row("words")
    counted = {key: row[key] for key in ("n", "n_clips", "n_correct", "n_missed", "n_rejected", "n_extra")}
    assert counted == {"n": 1, "n_clips": 2, "n_correct": 1, "n_missed": 1, "n_rejected": 1, "n_extra": 2}


def test_of_all_words_those_count_as_in_time_that_were_answered_or_rejected_in_it():
    words = (*WORDS, Word("3", 4.0, 4.4, 4.5), Word("4", 5.0, 5.4, 5.5), Word("5", 6.0, 6.4, 6.5))
    answers = [
        Answer(digit("1", 1.0, 1.4), 1.5),
        Answer(digit("7", 2.5, 2.9), 3.0),  # wrong, in time
        Answer(digit("3", 4.0, 4.4), 4.6),  # right, late
        Answer(digit("4", 5.0, 5.4, kind="rejected"), 5.5),  # in time; nothing is said of the fifth
    ]
    row = score(words, answers).row("words", within_ms=150)
    assert (row["n"], row["n_clips"], row["n_within"], row["n_right_within"]) == (3, 5, 3, 1)
    assert "within 150 ms 60.0 % of all, right 20.0 %" in table([row])
    assert score(words, answers).row("words", within_ms=201)["n_right_within"] == 2


@pytest.mark.parametrize(("sure_at_s", "n_rejected", "n_within"), [(None, 1, 1), (3.2, 0, 0), (3.0, 0, 1)])
def test_a_word_that_is_rejected_and_then_answered_is_in_time_if_its_answer_is(sure_at_s, n_rejected, n_within):
    answers = [Answer(digit("1", 1.0, 1.4), 1.6), Answer(digit("2", 2.5, 2.7, kind="rejected"), 2.8)]
    answers += [Answer(digit("2", 2.7, 2.9), sure_at_s)] if sure_at_s else []
    row = score(WORDS, answers).row("words")
    assert (row["n_rejected"], row["n_within"]) == (n_rejected, n_within)


def test_the_first_of_two_rejections_is_when_the_word_was_rejected():
    answers = [Answer(digit("2", 2.5, 2.9, kind="rejected"), at_s) for at_s in (3.0, 3.3)]
    assert score(WORDS, answers).rejected_ms[1] == pytest.approx(100)


def test_one_digit_for_two_words_is_one_answer_and_one_miss():
    row = score(WORDS, [Answer(digit("2", 1.2, 3.0), 3.1)]).row("words")
    assert row["n_missed"] == 1 and row["n_extra"] == 0 and row["n_correct"] == 1


def test_a_recogniser_that_never_answers_fails():
    with pytest.raises(GateError, match="none of 2 words"):
        score(WORDS, []).row("words")


def test_the_real_recogniser_answers_each_tone_within_the_budget(tiny_model, tones, clock):
    """On a clock that computing does not move: the budget holds what was waited for."""
    answered = run_answers(tiny_model, tones, BenchConfig().budget_answer_ms, How())
    row = answered.row
    assert row["n_correct"] == 30 and row["n_missed"] == row["n_extra"] == 0
    assert 30 < row["latency_ms_p50"] < 150
    by_drop = row["latency_ms_p95_by_end_drop_db"]
    assert list(by_drop) == ["25", "30", "35", "40"] and by_drop["25"] >= by_drop["40"]
    assert row["n_correct_offline"] == 30 and answered.decided_ms.shape == (30,)


def test_each_kind_of_words_is_counted_by_itself_in_the_stream_and_one_by_one(tiny_model, tones):
    mislabelled = replace(tones[3], label="9", group="strangers")
    clips = [replace(clip, group="friends") for clip in tones[:5]] + [mislabelled]
    row = run_answers(tiny_model, clips, 150, How()).row
    assert row["groups"] == [
        {"group": "friends", "n_clips": 5, "n_correct": 5, "n_correct_offline": 5, "n_label_offline": 5},
        {"group": "strangers", "n_clips": 1, "n_correct": 0, "n_correct_offline": 0, "n_label_offline": 0},
    ]
    said = "friends: right in the stream 5, one by one 5 of 5: +0.00 points (5 with those that the model rejects)"
    assert said in remarks(row)


def test_what_is_answered_one_by_one_holds_the_noise_of_the_stream(tiny_model, tones):
    """A loud tone under all words is answered instead of them; in quiet each is right."""
    hum = 3 * tone_word(9, duration_s=2.0)
    in_noise, in_quiet = (build_stream(tones[:5], bed=bed) for bed in (hum, None))
    recognizer = Recognizer(tiny_model)
    assert sum(answered_offline(recognizer, in_noise)["n_label_offline"]) == 0
    assert sum(answered_offline(recognizer, in_quiet)["n_label_offline"]) == 5


def test_a_right_label_that_the_model_rejects_is_no_answer(tiny_model, tones):
    strict = Recognizer(tiny_model, reject_below=1.0)
    hum = 0.3 * tone_word(9, duration_s=2.0)  # so that none is quite sure
    right = answered_offline(strict, build_stream(tones[:4], bed=hum))
    assert sum(right["n_correct_offline"]) == 0 and sum(right["n_label_offline"]) == 4


def test_the_noise_lies_under_all_of_the_stream_and_begins_anew(tones):
    bed = np.random.default_rng(0).normal(0, 0.01, 700).astype(np.float32)
    quiet, noisy = (build_stream(tones[:2], SAMPLE_RATE, bed=noise) for noise in (None, bed))
    added = noisy.waveform - quiet.waveform
    np.testing.assert_allclose(added, np.resize(bed, added.size), atol=1e-6)
    assert noisy.words == quiet.words


@pytest.mark.parametrize("snr_db", [20, 0])
def test_words_are_as_far_above_the_noise_as_asked_for(tones, noises, snr_db):
    clips = [tones[0], replace(tones[1], waveform=tones[1].waveform / 50)]
    levelled, bed = over_noise(clips, noises, snr_db)
    noise_db = 10 * np.log10(np.mean(bed**2))
    for clip in levelled:
        word_db = 20 * np.log10(active_rms(clip.waveform[None])[0])
        assert word_db - noise_db == pytest.approx(snr_db, abs=0.3)  # fades between noises take a little


def test_every_noise_goes_on_for_20_s_at_one_level_without_a_gap(noises):
    bed = noise_bed(noises)
    assert bed.size == len(noises) * 20 * SAMPLE_RATE
    tenths = np.sqrt(np.mean(bed.reshape(-1, SAMPLE_RATE // 10) ** 2, axis=1))
    np.testing.assert_allclose(tenths, 1, atol=0.15)  # where one passes into the next as well


def test_a_loop_has_no_seam():
    tone = tone_word(3, duration_s=1.013)[200:-200]  # without its rise and fall
    loop = joined([tone], n_fade=400)
    assert loop.size == tone.size - 400
    steps = np.abs(np.diff(np.concatenate([loop, loop])))
    assert steps.max() < 1.5 * np.abs(np.diff(tone)).max()


@pytest.fixture
def noises():
    """Three noises of different levels."""
    rng = np.random.default_rng(0)
    waves = [(level * rng.normal(size=5 * SAMPLE_RATE)).astype(np.float32) for level in (0.001, 0.01, 0.1)]
    return [Recording(wave, SAMPLE_RATE, "noise", "", "noise", f"noise/{i}.wav") for i, wave in enumerate(waves)]


def test_what_can_be_asked_for_is_what_robustness_knows():
    from edgedigit import robustness
    from edgedigit.data import mixtures

    assert set(conditions.NOISE_PARTS) == set(robustness.NOISE_TITLES)
    assert {*conditions.RECORDED_KINDS, conditions.BABBLE} == {*mixtures.KINDS}
    assert conditions.BABBLE == mixtures.BABBLE


N_TALKERS = 6


def says_a_tone(speaker):
    """What one of six speakers says: a tone of their own, by which they are found in babble."""
    wave = np.sin(2 * np.pi * (400 + 300 * speaker) * np.arange(4000) / SAMPLE_RATE).astype(np.float32)
    return Clip(wave, SAMPLE_RATE, str(speaker), "", f"speaker {speaker}")


def heard_in(samples):
    """Which of the six are heard."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    at = [round((400 + 300 * speaker) * samples.size / SAMPLE_RATE) for speaker in range(N_TALKERS)]
    return {f"speaker {i}" for i, k in enumerate(at) if spectrum[k - 3 : k + 4].max() > 0.1 * spectrum.max()}


def test_behind_a_word_others_talk_and_elsewhere_its_speaker_may():
    clips = [says_a_tone(speaker) for speaker in [*range(N_TALKERS)] * 5]
    bed = babble_under(clips, by_speaker(clips), seed=3)
    stream = build_stream(clips, SAMPLE_RATE, seed=3)
    assert stream.waveform.size <= bed.size < stream.waveform.size + SAMPLE_RATE
    for clip, word in zip(clips, stream.words, strict=True):
        behind = heard_in(bed[round(word.start_s * SAMPLE_RATE) : round(word.clip_end_s * SAMPLE_RATE)])
        assert clip.speaker not in behind and len(behind) >= 3
    assert heard_in(bed) == {clip.speaker for clip in clips}
    seconds = bed[: bed.size // SAMPLE_RATE * SAMPLE_RATE].reshape(-1, SAMPLE_RATE)
    np.testing.assert_allclose(np.sqrt(np.mean(seconds**2, axis=1)), 1, atol=0.2)


def test_babble_is_a_condition_and_lies_as_far_below_the_words_as_asked_for(tiny_model, monkeypatch):
    clips = [says_a_tone(speaker) for speaker in range(N_TALKERS)]
    monkeypatch.setattr(conditions, "load_strangers", lambda *_: (clips, "six who hum"))
    args = Namespace(snr_db=[20.0, 5.0], kinds=["babble"], noise_only=False, held_out=None, data_dir=None, seed=0)
    asked = conditions.Conditions(args, tiny_model, clips)
    assert asked.names == ["clean", "babble noise 20 dB", "babble noise 5 dB"] == [name for name, *_ in asked]
    assert "six who hum" in asked.notes[-1]
    args.noise_only = True
    assert asked.names == ["babble noise 20 dB", "babble noise 5 dB"] == [name for name, *_ in asked]
    for (_, said, bed), snr_db in zip(asked, args.snr_db, strict=True):
        word_db = 20 * np.log10(active_rms(said[0].waveform[None])[0])
        assert word_db - 10 * np.log10(np.mean(bed**2)) == pytest.approx(snr_db, abs=0.5)


def test_too_few_others_for_babble_are_told_before_anything_is_measured(tiny_model, monkeypatch):
    clips = [says_a_tone(speaker) for speaker in range(3)]
    monkeypatch.setattr(conditions, "load_strangers", lambda *_: (clips, "three"))
    args = Namespace(snr_db=[20.0], kinds=["babble"], held_out=None, data_dir=None, seed=0)
    with pytest.raises(DataError, match="needs 3 other speakers, got 2"):
        conditions.Conditions(args, tiny_model, clips)


class FakeNet:
    """Speech in the chunks that hold anything loud."""

    chunk_length = 256

    def reset(self):
        self.heard = []

    def probability(self, chunk):
        self.heard.append(chunk)
        return 0.9 if np.abs(chunk).max() > 0.05 else 0.01


@pytest.fixture
def silero_peer(tiny_model, monkeypatch):
    monkeypatch.setattr(peers, "SileroNet", lambda rate, model: FakeNet())
    return lambda rate: peers.SileroEndpointing(Recognizer(tiny_model), rate)


def test_silero_s_own_endpointing_answers_after_its_silence(silero_peer, tones):
    stream = build_stream(tones[:10], SAMPLE_RATE)
    result = score(stream.words, play(stream, silero_peer(SAMPLE_RATE)))
    assert result.n_correct == 10 and result.n_extra == 0
    # 100 ms of silence in chunks of 32 ms, the block of 20 ms, and the clips' own faint ends
    assert 100 < np.median(result.latency_ms) < 190


@pytest.mark.parametrize("block", [37, 4000])
def test_what_silero_s_own_endpointing_says_does_not_depend_on_the_blocks(silero_peer, tones, block):
    stream = build_stream(tones[:3], 16000)
    engine = silero_peer(16000)
    whole = engine.accept(stream.waveform) + engine.flush()
    parts = [e for i in range(0, stream.waveform.size, block) for e in engine.accept(stream.waveform[i : i + block])]
    assert parts + engine.flush() == whole and len(whole) == 3


def test_a_word_that_silero_leaves_open_is_answered_at_the_end(silero_peer):
    engine = silero_peer(SAMPLE_RATE)
    assert engine.accept(tone_word(4, duration_s=0.6)[:-800]) == []
    assert [event.label for event in engine.flush()] == ["4"]
    assert engine.flush() == []


def test_without_silero_its_rows_are_named_and_left_out(tiny_model, tones, monkeypatch):
    from edgedigit.runtime import silero

    monkeypatch.setattr(silero.importlib.util, "find_spec", lambda _: None)
    said = []
    assert run_silero(tiny_model, tones[:3], 150, How(), said.append) == []
    assert len(said) == 2 and all(line.startswith("left out: ") and "silero-vad" in line for line in said)


def test_the_distribution_counts_answers_before_the_end_as_none_and_misses_as_never():
    points = cumulative(np.array([50.0, np.nan, -20.0, 10.0]))
    assert points == [(0, 0), (0, 25), (10, 25), (10, 50), (50, 50), (50, 75)]


def test_the_line_of_a_condition_is_at_its_budget_where_the_column_of_words_in_time_is():
    said = [Answer(digit("1", 1.2, 1.5), 1.6), Answer(digit("2", 2.5, 2.9, kind="rejected"), 3.0)]
    result = score(WORDS, said)
    row = result.row("words", within_ms=110)
    by_then = max(percent for ms, percent in cumulative(result.decided_ms) if ms <= 110)
    assert by_then == pytest.approx(100 * row["n_within"] / row["n_clips"]) and row["n_rejected"] == 1


def test_the_picture_holds_each_condition_and_the_budget():
    pytest.importorskip("matplotlib")
    answered = [Answered({}, name, np.array([20.0, 40.0, at])) for name, at in (("clean", 60.0), ("rain 10 dB", 300.0))]
    axes = answers_figure(answered, 150).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["clean", "rain 10 dB"]
    assert "budget 150 ms" in {text.get_text() for text in axes.texts}
    assert axes.get_xlim()[1] >= 300


@pytest.mark.parametrize(("p95", "p99", "n_broken"), [(149, 300, 0), (151, 152, 1)])
def test_a_budget_is_about_its_quantile(p95, p99, n_broken):
    row = {"name": "a", "latency_ms_p95": p95, "latency_ms_p99": p99, "budget_ms": 150, "budget_quantile": "p95"}
    assert len(broken_budgets([row, {"name": "peer", "latency_ms_p95": 1e6}])) == n_broken
    if n_broken:
        with pytest.raises(GateError, match=r"a: p95 is 151\.0 ms, the budget is 150 ms"):
            check_broken(broken_budgets([row]))


@pytest.mark.parametrize(("n_correct", "n_broken"), [(1, 1), (327, 1), (328, 0)])
def test_fast_answers_to_less_than_half_of_the_words_keep_no_budget(n_correct, n_broken):
    row = {"name": "quiet", "latency_ms_p95": 1.0}
    row |= {"n_clips": 655, "n_correct": n_correct, "n_correct_offline": 655, **quiet_gates(BenchConfig())}
    broken = broken_budgets([row])
    assert len(broken) == n_broken
    assert not n_broken or broken == [f"quiet: {n_correct} of 655 words are right, expected 50 % or more"]


@pytest.mark.parametrize(("most_lost", "n_broken"), [(None, 0), (1.0, 0), (0.9, 1)])
def test_points_lost_are_limited_where_asked_for(most_lost, n_broken):
    row = {"name": "quiet", "latency_ms_p95": 1.0, "n_clips": 200, "n_correct": 196, "n_correct_offline": 198}
    broken = broken_budgets([{**row, **quiet_gates(BenchConfig(max_points_lost=most_lost))}])
    assert len(broken) == n_broken
    assert not n_broken or broken == ["quiet: -1.00 points against one by one, at most 0.9 may be lost"]


def test_every_answer_is_printed_before_the_engine_hands_it_on(clock, monkeypatch):
    """Printing that takes 7 ms makes the answer 7 ms later."""
    engine = FakeEngine(clock, at_s=0.41, compute_s=0.005)
    real = printed.Report.word
    monkeypatch.setattr(printed.Report, "word", lambda *line: (clock.sleep(0.007), real(*line)))
    with printed.PrintingEngine(engine, list("0123456789")) as printing:
        (answer,) = play(stream_of(0.6), printing, BLOCK_MS)
    assert answer.answered_s == pytest.approx(0.42 + 0.005 + 0.007)
    (line,) = printing.lines
    assert line.splitlines()[-1].split() == ["1", "0.900", "1.00-1.40", "0.0", "stream"]


def test_an_engine_that_is_heard_prints_every_digit_of_a_stream(tiny_model, tones, monkeypatch):
    engines = []
    monkeypatch.setattr(printed.PrintingEngine, "__exit__", lambda self, *_: engines.append(self))
    run_answers(tiny_model, tones[:4], 150, How())
    assert "".join(line.splitlines()[-1].split()[0] for line in engines[0].lines[-4:]) == "0123"


def test_recognisers_are_timed_and_judged_on_the_same_clips(tones):
    figures = time_recognizers({"right": lambda waveform: "3", "mute": lambda waveform: None}, tones, n_rounds=2)
    assert figures["right"]["n"] == 60 and figures["right"]["n_clips"] == 30
    assert figures["right"]["n_correct"] == 3 and figures["mute"]["n_correct"] == 0


def test_machine_facts_name_cpu_and_runtime():
    facts = machine_facts()
    assert facts["cpu"] and facts["cores"] >= 1 and facts["onnxruntime"] and facts["n_threads"] == 1
    slug = machine_slug({"cpu": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "cores": 2})
    assert slug == "intel-xeon-platinum-8481c-cpu-2-cores"


@pytest.mark.parametrize(
    "told, instructions",
    [
        ("model name\t: AMD EPYC\nflags\t\t: sse2 avx avx2 fma\n", "AVX2"),
        ("model name\t: AMD EPYC\nflags\t\t: avx2 avx512bw avx512_vnni\n", "AVX-512 VNNI"),
        ("Features\t: fp asimd asimdhp asimddp\n", "NEON DotProd"),
        ("flags\t\t: sse2\nprocessor\t: 1\nflags\t\t: avx2\n", None),
        (None, None),
    ],
)
def test_machine_facts_name_the_instructions_that_eight_bits_use(tmp_path, monkeypatch, told, instructions):
    """Virtual machines call CPUs with and without them by one name."""
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    if told is not None:
        machine.CPU_INFO.write_text(told, encoding="utf-8")
    assert machine_facts().get("instructions") == instructions


def test_each_file_is_timed_on_one_thread_and_the_first_on_more(tiny_model):
    rows = run_inference([tiny_model], BenchConfig(n_runs=5))
    assert [row["name"].partition(": ")[2] for row in rows] == [
        "waveform to probabilities",
        "waveform to probabilities, 2 threads",
    ]
    assert [row["n"] for row in rows] == [5, 5]
    assert ["budget_ms" in row for row in rows] == [True, False]  # the budget is one thread's


def test_beside_a_load_the_other_cores_are_busy_while_it_is_timed_and_not_after(tiny_model, tmp_path, monkeypatch):
    from edgedigit.bench import inference

    seen, alive, n_calls, time_calls = [], [], [], inference.time_calls

    @contextlib.contextmanager
    def watched(n_processes):
        with load.busy_cores(n_processes) as workers:
            seen.extend(workers)
            yield

    def timed(calls, n_runs):
        alive.extend(worker.poll() is None for worker in seen)
        n_calls.append(len(calls))
        return time_calls(calls, n_runs)

    files = [tiny_model, build_tiny_model(tmp_path / "other.onnx")]
    monkeypatch.setattr(inference, "busy_cores", watched)
    monkeypatch.setattr(inference, "time_calls", timed)
    rows = run_beside_load(files, BenchConfig(n_runs=5))
    assert len(seen) == load.other_cores() and alive == [True] * len(seen)
    assert all(worker.poll() is not None for worker in seen)
    assert [row["name"].startswith("tiny.onnx: ") and "busy" in row["name"] for row in rows] == [True, True]
    assert "2 threads" in rows[1]["name"]
    run_inference(files, BenchConfig(n_runs=5))
    assert n_calls == [3, 3]  # what else runs in turn with a file is the same with the load and without


def test_a_load_really_computes():
    with load.busy_cores(1) as (worker,):
        spent_s, until = cpu_s(worker.pid), time.monotonic() + 10
        while cpu_s(worker.pid) - spent_s < 0.1:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_load_that_cannot_begin_is_said(monkeypatch):
    monkeypatch.setattr(load, "WORK", "raise SystemExit('no memory')")
    with pytest.raises(WorkerError, match="did not begin: no memory"), load.busy_cores(1):
        pass


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_cold_start_is_a_new_process_and_holds_its_phases(tiny_model):
    took = cold_start(tiny_model)
    phases_ms = took["import"] + took["load"] + took["answer"]
    assert took["label"] in set("0123456789")
    assert 0 < phases_ms < took["whole"]


def test_cold_starts_are_rows_of_the_same_table(tiny_model):
    rows = run_cold_start(tiny_model, n_processes=2)
    assert [row["n"] for row in rows] == [2] * 4
    assert "first inference after loading" in table(rows)


def test_a_model_that_cannot_start_is_named(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"broken\.onnx gave no answer in a new process: .*not a whole ONNX model"):
        cold_start(tmp_path / "broken.onnx")


def test_a_damaged_torchscript_file_is_named(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "model_ts.pt"
    for content in (None, b"nothing"):
        if content:
            path.write_bytes(content)
        with pytest.raises(ModelError, match=r"model_ts\.pt"):
            load_model(path)


def test_without_fsdd_the_sample_clips_are_taken_and_that_is_said(tmp_path, monkeypatch, tones):
    from edgedigit.audio import write_wav
    from edgedigit.data import download

    monkeypatch.setattr(download, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(clips_module, "artifacts_dir", lambda: tmp_path)
    (tmp_path / "samples").mkdir()
    with pytest.raises(DataError, match="--data-dir"):
        load_clips(tmp_path)
    write_wav(tmp_path / "samples" / "seven.wav", tones[7].waveform)
    write_wav(tmp_path / "samples" / "3_voice.wav", tones[3].waveform)
    clips, source = load_clips(tmp_path)
    assert [clip.label for clip in clips] == ["3", "7"] and source.startswith("the 2 sample clips only")


def test_the_runtime_extra_is_enough(tiny_model, tmp_path, monkeypatch, capsys, tones):
    """Without torch, tqdm and the peers the sample clips are streamed, and every peer left out is named."""
    from edgedigit.audio import write_wav

    for package in ("torch", "tqdm", "pocketsphinx", "python_speech_features"):
        monkeypatch.setitem(sys.modules, package, None)
    for module in [name for name in sys.modules if name.startswith("edgedigit.data")]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "samples").mkdir()
    for clip in tones[:3]:
        write_wav(tmp_path / "samples" / f"{clip.label}.wav", clip.waveform)
    monkeypatch.setattr(clips_module, "artifacts_dir", lambda: tmp_path)
    assert (
        command_line.main(
            ["--model", str(tiny_model), "--runs", "5", "--processes", "1", "--data-dir", str(tmp_path), *ANY_TIME]
        )
        == 0
    )
    output = capsys.readouterr().out
    assert "the 3 sample clips only" in output
    assert all(f"left out: {name}" in output for name in (peers.PSF_TORCH, *peers.POCKETSPHINX))


@pytest.mark.parametrize(
    ("part", "trained", "about"),
    [
        ("validation", {"b:z"}, "strangers of the model's validation part, 2 clips of 2 speakers who never trained it"),
        ("validation", {"a:x"}, "speakers of the model's validation part, 2 clips of 2 speakers, 1 of whom trained it"),
        ("test", {"b:z"}, "strangers of the model's test part, 2 clips of 2 speakers who never trained it"),
        ("test", {"a:x", "b:z"}, "speakers of the model's test part, 2 clips of 2 speakers, 1 of whom trained it with"),
    ],
)
def test_speakers_of_a_test_who_also_trained_are_no_strangers(monkeypatch, part, trained, about):
    heard = pytest.importorskip("edgedigit.train.heard")
    from edgedigit.data.recording import Recording

    held = [Recording(np.zeros(8, np.float32), 8000, "3", speaker, "a", speaker) for speaker in ("a:x", "a:y")]
    monkeypatch.setattr(heard, "held_out", lambda *_: held)
    monkeypatch.setattr(heard, "heard_by", lambda *_: heard.Heard(speakers=frozenset(trained)))
    clips, said = clips_module.load_strangers(clips_module.artifacts_dir() / "model.onnx", part)
    assert said.startswith(about) and {clip.group for clip in clips} == {said.partition(",")[0]}


@pytest.fixture
def command(tmp_path, tones):
    """Runs `python -m edgedigit.bench` on tones laid out as FSDD's test recordings."""
    from edgedigit.audio import write_wav

    pytest.importorskip("onnx")
    model = build_tiny_model(tmp_path / "tiny.onnx")
    recordings = tmp_path / "data" / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for clip in tones[:10]:
        write_wav(recordings / f"{clip.label}_tone_0.wav", clip.waveform)

    def run(*flags):
        words = [
            "--model",
            model,
            "--data-dir",
            tmp_path / "data",
            "--clips",
            "3",
            "--runs",
            "20",
            "--processes",
            "2",
            *flags,
        ]
        return subprocess.run(
            [sys.executable, "-m", "edgedigit.bench", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[1],
        )

    return run


@pytest.fixture
def few(tiny_model, tmp_path, monkeypatch, tones):
    """Runs the command in this process on three sample clips."""
    from edgedigit.audio import write_wav
    from edgedigit.data import download

    monkeypatch.setattr(download, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(clips_module, "artifacts_dir", lambda: tmp_path)
    (tmp_path / "samples").mkdir()
    for clip in tones[:3]:
        write_wav(tmp_path / "samples" / f"{clip.label}.wav", clip.waveform)
    given = ["--model", str(tiny_model), "--data-dir", str(tmp_path), *ANY_TIME]
    return lambda *flags: command_line.main([*given, *map(str, flags)])


def test_what_cannot_be_measured_costs_no_other_figure(few, tmp_path, capsys, monkeypatch):
    def broken(*_):
        raise DeviceError("the device has gone")

    monkeypatch.setattr(command_line, "run_cold_start", broken)
    with pytest.raises(DeviceError, match="has gone"):
        few("--only", "inference", "--runs", "5", "--write", tmp_path / "results")
    output = capsys.readouterr().out
    (kept,) = (tmp_path / "results").glob("*.json")
    assert "not measured: the device has gone" in output
    assert len(json.loads(kept.read_text(encoding="utf-8"))["rows"]) == 4


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--only"], "--only leaves nothing to measure"),
        (["--only", "inference", "--snr-db", "20"], "--snr-db is about words in a stream"),
        (["--noise-only"], "--noise-only leaves the words in quiet out; name the noise"),
        (["--noise-only", "--snr-db", "20", "--browser"], "--browser hears words in quiet"),
        (["--microphone", "--snr-db", "20", "--kinds", "babble"], "leave babble out of --kinds"),
        (["--only", "peers", "--plot", "a.png"], "--plot draws words in a stream"),
        (["--only", "--listen", "1", "--held-out", "test"], "--held-out names who speaks"),
        (["--only", "answers", "--jobs", "2"], "--jobs is of streams in real time"),
        (["--only", "inference", "--budget-quiet-ms", "1", "2", "3"], "--budget-quiet-ms holds words in quiet"),
        (["--noise-only", "--snr-db", "9", "--budget-quiet-ms", "1", "2", "3"], "--budget-quiet-ms holds words"),
        (["--only", "inference", "--jobs", "2"], "--jobs is of streams in real time"),
        (["--seed", "-1"], "--seed is -1, expected 0 or more"),
        (["--plot", "."], "expected a .png file to write"),
    ],
)
def test_what_would_measure_nothing_is_told(refusal, flags, words):
    assert words in refusal(command_line.main, flags)


def test_words_in_noise_are_held_to_the_budget_and_to_no_share_of_right_ones(few, monkeypatch):
    noisy = Answered({"name": "in rain", "latency_ms_p95": 1e4, "n_clips": 9, "n_correct": 0}, "rain", np.array([1e4]))
    monkeypatch.setattr(command_line, "run_answers", lambda *_: noisy)
    monkeypatch.setattr(command_line, "run_silero", lambda *_: [])
    monkeypatch.setattr(command_line, "table", lambda _: "")
    with pytest.raises(GateError, match=r"^in rain: p95 is 10000\.0 ms, the budget is 150 ms; close"):
        few("--only", "answers", "--budget-answer-ms", "150")
    noisy.row["latency_ms_p95"] = 149.0
    assert few("--only", "answers", "--budget-answer-ms", "150") == 0


def test_words_in_noise_do_not_stand_in_for_those_in_quiet_that_could_not_be_measured(few, monkeypatch, capsys):
    def answers(_model, _words, _budget_ms, _how, condition, _bed):
        if condition == "clean":
            raise GateError("none of 3 words was answered")
        row = {"name": "in rain", "latency_ms_p95": 1.0, "latency_ms_p95_by_end_drop_db": {"25": 1.0}}
        return Answered(row, condition, np.array([1.0]))

    monkeypatch.setattr(command_line.Conditions, "__iter__", lambda _: iter([("clean", [], None), ("rain", [], None)]))
    monkeypatch.setattr(command_line, "run_answers", answers)
    monkeypatch.setattr(command_line, "run_silero", lambda *_: [{"name": "a peer", "latency_ms_p50": 1.0}])
    monkeypatch.setattr(command_line, "table", lambda _: "")
    with pytest.raises(GateError, match="none of 3 words"):
        few("--only", "answers")
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "p95 if the word ends" not in results["note"]
    assert [row["name"] for row in results["rows"]] == ["in rain"]  # a peer's ratio would be to what was heard in noise


def test_a_peer_s_ratio_is_to_our_median_and_there_is_none_to_answers_before_the_end():
    ours = {"name": "m.onnx: end of word to answer", "latency_ms_p50": 20.0}
    (row,) = as_ratios([{"name": "a peer", "latency_ms_p50": 50.0}], ours)
    assert row["ratio"] == 2.5 and row["ratio_to"] == "m.onnx"
    (row,) = as_ratios([row], {**ours, "latency_ms_p50": 0.0})
    assert row["ratio"] is None


def test_streams_at_a_time_are_in_processes_of_their_own_and_answer_as_in_turn(tiny_model, tones):
    words = tones[:2]
    with streams_at_a_time(2) as streams:
        where = streams.submit(os.getpid)
        broken = streams.submit(run_answers, tiny_model, [silent(words[0])], 150, How(realtime=True))
        heard = streams.submit(run_answers, tiny_model, words, 150, How(realtime=True))
        assert where.result() != os.getpid()
        with pytest.raises(GateError, match="none of 1 words"):
            broken.result()
        assert heard.result().row["n_correct"] == 2
    with streams_at_a_time(1) as streams:
        assert streams.submit(os.getpid).result() == os.getpid()
        broken = streams.submit(run_answers, tiny_model, [silent(words[0])], 150, How())
        with pytest.raises(GateError, match="none of 1 words"):
            broken.result()


def test_an_error_outside_begins_no_more_streams_and_a_dead_process_is_told():
    waiting = []
    with pytest.raises(KeyboardInterrupt), streams_at_a_time(2) as streams:
        waiting += [streams.submit(time.sleep, 0.1) for _ in range(20)]
        raise KeyboardInterrupt
    assert sum(one.cancelled() for one in waiting) > 10
    with streams_at_a_time(2) as streams:
        gone = streams.submit(os._exit, 3)
        with pytest.raises(WorkerError, match="has ended; take fewer --jobs"):
            heard(gone)
    with streams_at_a_time(1) as streams, pytest.raises(InputError, match="no-such-file: No such file"):
        heard(streams.submit(os.stat, "no-such-file"))


def silent(clip):
    return replace(clip, waveform=0 * clip.waveform)


def test_what_is_heard_at_the_same_time_is_said_and_kept_apart(few, tmp_path):
    """What is measured at a microphone's pace has a file of its own, with the model and the seed that made it."""
    flags = ("--only", "answers", "--realtime", "--jobs", "2", "--seed", "3", "--write", tmp_path / "results")
    assert few(*flags) == 0
    (kept,) = (tmp_path / "results").glob("*.json")
    results = json.loads(kept.read_text(encoding="utf-8"))
    assert kept.stem.endswith("-in-real-time")
    assert "up to 2 at a time" in results["note"]
    assert results["seeds"] == [3] and results["model"]["file"] == "tiny.onnx"
    assert re.fullmatch("[0-9a-f]{64}", results["model"]["sha256"])


@pytest.mark.parametrize(("p50", "p95", "p99", "said"), [(60, 120, 150, ""), (61, 120, 150, "p50"), (1, 1, 151, "p99")])
def test_in_quiet_three_quantiles_may_be_held_to_budgets(p50, p95, p99, said):
    row = {"name": "words", "latency_ms_p50": p50, "latency_ms_p95": p95, "latency_ms_p99": p99, "n_clips": 1}
    gates = quiet_gates(BenchConfig(budget_quiet_ms=(60, 120, 150)))
    broken = broken_budgets([{**row, "n_correct": 1, **gates}])
    assert [line for line in broken if f": {said} is " in line] == broken and len(broken) == bool(said)
    assert not broken_budgets([{**row, "n_correct": 1, **quiet_gates(BenchConfig())}])


def test_a_picture_is_drawn_where_asked_for(few, tmp_path):
    pytest.importorskip("matplotlib")
    assert few("--only", "answers", "--plot", tmp_path / "answers.png") == 0
    assert (tmp_path / "answers.png").read_bytes().startswith(b"\x89PNG")


def test_a_full_disk_costs_no_figures(few, no_room, capsys):
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match=r"full\.png cannot be written \(No space left on device\)"):
        few("--only", "answers", "--plot", no_room[0])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]


@pytest.mark.parametrize("flags", [("--microphone",), ("--snr-db", "20"), ("--held-out", "validation")])
def test_what_is_missing_is_told_before_anything_is_measured(few, monkeypatch, flags):
    def never(*_):
        raise AssertionError("measured")

    def no_pulseaudio():
        raise DeviceError("PulseAudio is missing")

    for name in ("run_inference", "run_answers", "hear_stretches"):
        monkeypatch.setattr(command_line, name, never)
    monkeypatch.setattr(command_line, "check_microphone", no_pulseaudio)
    with pytest.raises((DeviceError, DataError, ConfigError)):
        few(*flags)


def test_words_that_are_mostly_wrong_end_the_command_as_a_broken_budget(few, monkeypatch, tones):
    mislabelled = [replace(clip, label="9") for clip in tones[:3]]
    monkeypatch.setattr(conditions, "load_clips", lambda _: (mislabelled, "tones"))
    with pytest.raises(GateError, match="0 of 3 words are right, expected 50 % or more"):
        few("--only", "answers")
    assert few("--only", "answers", "--min-right", "0") == 0


@pytest.mark.timed
def test_the_command_ends_with_json_and_keeps_its_figures(command, tmp_path):
    done = command("--write", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    (path,) = (tmp_path / "results").glob("*.json")
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert printed == {**kept, "within_budget": True}
    assert [row["n_correct"] for row in kept["rows"] if "n_extra" in row] == [3]


@pytest.mark.timed
@pytest.mark.parametrize("flag", ["--budget-inference-ms", "--budget-answer-ms"])
def test_a_broken_budget_ends_the_command_with_exit_code_1(command, flag):
    done = command(flag, "0.001")
    assert done.returncode == 1
    assert "the budget is 0.001 ms" in done.stderr and len(done.stderr.splitlines()) == 1
    assert json.loads(done.stdout.splitlines()[-1])["within_budget"] is False


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--clips", "-1"),
        ("--runs", "0"),
        ("--processes", "0"),
        ("--block-ms", "0"),
        ("--listen", "nan"),
        ("--listen-live", "0"),
        ("--snr-db", "inf"),
        ("--min-right", "1.1"),
        ("--max-points-lost", "nan"),
        ("--max-growth-mb", "-1"),
    ],
)
def test_a_senseless_number_is_refused(capsys, flag, value):
    with pytest.raises(SystemExit) as stopped:
        command_line.main([flag, value])
    assert stopped.value.code == 2 and flag in capsys.readouterr().err
