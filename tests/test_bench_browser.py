"""Answers in a browser: times run from when the device handed the sound over, and end when the page has drawn."""

import dataclasses

import numpy as np
import pytest
from tiny_model import tone_word

from edgedigit.audio import SAMPLE_RATE, resample
from edgedigit.bench import __main__ as command_line
from edgedigit.bench import browser
from edgedigit.bench.browser import BROWSER, Clock, browser_name, check_browser, find, lies_at, place_of, run_browser
from edgedigit.bench.clips import load_clips
from edgedigit.bench.in_page import DEVICE_RATE, Heard
from edgedigit.errors import DeviceError, GateError, InputError, ModelError
from edgedigit.runtime._paths import default_model
from edgedigit.serve import chromium
from edgedigit.word_stream import Clip, build_stream, score

BLOCK = DEVICE_RATE // 100
PIECE = 80  # samples of 10 ms at the model's rate


@pytest.fixture(scope="module")
def stream():
    return build_stream([Clip(tone_word(digit), SAMPLE_RATE, str(digit)) for digit in (3, 1, 4)], DEVICE_RATE)


def heard_of(stream, place=1000, page_s=0.2, pipe_ms=30.0, drawn_ms=80.0, late_ms=None, **changes):
    """A page that sees blocks from `place` on, 500 ms after its clock's zero, and draws `drawn_ms` after each word.

    Args:
        place: sample with which the first block begins.
        page_s: where in the stream the page begins to hear.
        pipe_ms: from the last sample of a piece to the page.
        drawn_ms: from the end of a word to its row.
        late_ms: (N,) by which each block is handed over late.
    """
    waveform = np.round(stream.waveform * 2**15) / 2**15
    starts = np.arange(0, waveform.size - place - BLOCK, BLOCK)
    zero_ms = 500 - 1000 * (place + BLOCK) / DEVICE_RATE  # when sample 0 was spoken
    late_ms = np.zeros(starts.size) if late_ms is None else late_ms(starts.size)
    handed_ms = 500 + 10.0 * np.arange(starts.size) + late_ms
    blocks = np.stack([handed_ms, handed_ms + 0.4, np.full(starts.size, BLOCK), waveform[place + starts]], axis=1)

    def spoken_ms(position_s):
        block = np.clip((position_s * DEVICE_RATE - place) // BLOCK, 0, starts.size - 1).astype(int)
        return zero_ms + 1000 * position_s + late_ms[block]

    page = resample(stream.waveform, DEVICE_RATE, SAMPLE_RATE)[round(page_s * SAMPLE_RATE) :]
    page = page[: page.size // PIECE * PIECE]
    ends_s = page_s + (np.arange(PIECE, page.size + 1, PIECE) - 1) / SAMPLE_RATE
    audio = np.stack([spoken_ms(ends_s) + pipe_ms, np.full(ends_s.size, PIECE)], axis=1)
    rows = [
        {
            "label": word.label,
            "best": word.label,
            "probability": "0.9",
            "computeMs": "1",
            "seconds": f"{word.start_s - page_s:.2f}–{word.end_s - page_s:.2f}",
            "drawnMs": float(spoken_ms(word.end_s)) + drawn_ms,
            "shownMs": 0.0,
        }
        for word in stream.words
    ]
    return Heard(
        **{"sample_rate": DEVICE_RATE, "blocks": blocks, "audio": audio, "waveform": page, "rows": rows} | changes
    )


def latency_of(stream, **how):
    measured = score(stream.words, Clock(heard_of(stream, **how), stream).answers())
    assert measured.n_correct == 3 and measured.n_extra == 0
    return measured.latency_ms


@pytest.mark.parametrize("place", [0, 1000, 30_000])
@pytest.mark.parametrize("page_s", [0.0, 0.2, 1.1])
def test_an_answer_takes_from_the_last_sample_of_the_word_to_its_drawing(stream, place, page_s):
    np.testing.assert_allclose(latency_of(stream, place=place, page_s=page_s), 80, atol=0.2)


def test_what_lies_between_the_device_and_the_page_is_in_the_time(stream):
    clock = Clock(heard_of(stream, pipe_ms=42.0), stream)
    np.testing.assert_allclose(clock.arrivals_ms(), 42, atol=0.2)


def test_a_block_that_alone_was_late_makes_no_answer_seem_sooner(stream):
    word = stream.words[1]

    def late_ms(n):
        return 7.0 * (np.arange(n) == (word.end_s * DEVICE_RATE - 1000) // BLOCK)

    drawn_as_if_late = latency_of(stream, late_ms=late_ms)
    np.testing.assert_allclose(drawn_as_if_late, [80, 87, 80], atol=0.2)


def test_what_a_device_never_makes_up_for_was_spoken_later(stream):
    def late_ms(n):
        return 20.0 * (np.arange(n) > n // 2)

    np.testing.assert_allclose(latency_of(stream, late_ms=late_ms), 80, atol=0.2)


def test_blocks_that_are_lost_before_the_clock_are_no_measurement(stream):
    heard = heard_of(stream)
    with pytest.raises(DeviceError, match=r"\d+ of \d+ blocks of Chromium's fake microphone are not what was played"):
        Clock(heard_of(stream, blocks=np.delete(heard.blocks, 100, axis=0)), stream)


@pytest.mark.parametrize("off_ms", [-20.0, 15.0, 8e7])
def test_stamps_of_another_clock_are_no_measurement(stream, off_ms):
    heard = heard_of(stream)
    with pytest.raises(DeviceError, match="by another clock"):
        Clock(heard_of(stream, blocks=heard.blocks - [off_ms, 0, 0, 0]), stream)


def test_a_device_of_another_rate_is_no_measurement(stream):
    with pytest.raises(DeviceError, match="hears at 48000 Hz, not at 44100 Hz"):
        Clock(heard_of(stream, sample_rate=48000), stream)


def test_a_page_that_hears_something_else_is_no_measurement(stream):
    noise = np.random.default_rng(1).normal(0, 0.1, 5 * SAMPLE_RATE)
    with pytest.raises(DeviceError, match="does not hear what was played"):
        Clock(heard_of(stream, waveform=noise), stream)


def test_a_page_that_hears_next_to_nothing_is_no_measurement(stream):
    with pytest.raises(DeviceError, match=r"heard 0.50 s, expected all"):
        Clock(heard_of(stream, waveform=np.zeros(SAMPLE_RATE // 2)), stream)


def test_a_page_that_shows_no_row_is_no_measurement(stream, tiny_model, monkeypatch):
    monkeypatch.setattr(browser, "hear", lambda _, played: heard_of(played, rows=[]))
    with pytest.raises(GateError, match="none of 1 words was answered"):
        run_browser(tiny_model, [Clip(tone_word(3), SAMPLE_RATE, "3")], 150, 0, lambda _: None)


def test_the_rows_say_the_answer_and_what_it_is_made_of(tiny_model, monkeypatch):
    monkeypatch.setattr(browser, "hear", lambda _, played: heard_of(played, pipe_ms=42.0, drawn_ms=80.0))
    clips = [Clip(tone_word(digit), SAMPLE_RATE, str(digit)) for digit in (3, 1)]
    (arrival, drawing), answered = run_browser(tiny_model, clips, 150, 0, lambda _: None)
    assert arrival["latency_ms_p50"] == pytest.approx(42, abs=0.2) and drawing["n"] == 2
    assert answered.row["name"] == browser_name(tiny_model, 2)
    assert answered.row["n_correct"] == answered.row["n_right_within"] == answered.row["n_correct_offline"] == 2
    assert answered.row["latency_ms_p95"] == pytest.approx(80, abs=0.2) and answered.row["within_ms"] == 150


def test_a_rejected_word_is_decided_as_an_answered_one_is(tiny_model, monkeypatch):
    def heard(_, played):
        answered = heard_of(played, drawn_ms=80.0)
        answered.rows[1]["label"] = ""
        return answered

    monkeypatch.setattr(browser, "hear", heard)
    clips = [Clip(tone_word(digit), SAMPLE_RATE, str(digit)) for digit in (3, 1)]
    _, answered = run_browser(tiny_model, clips, 150, 0, lambda _: None)
    assert answered.row["n_rejected"] == 1 and answered.row["n_within"] == 2
    np.testing.assert_allclose(answered.decided_ms, 80, atol=0.2)


def test_pieces_are_found_where_sound_was_lost_or_inserted():
    played = np.random.default_rng(0).normal(0, 0.1, 6 * SAMPLE_RATE)
    heard = np.concatenate([played[400:16400], np.zeros(64), played[16400:]])
    assert lies_at(heard, played).tolist() == [400, 400, 336, 336, 336]


@pytest.mark.parametrize("silence", (4640, 12000))  # the first piece holds silence and sound; or silence alone
def test_a_page_that_begins_before_the_sound_hears_silence_first(silence):
    played = np.random.default_rng(0).normal(0, 0.1, 6 * SAMPLE_RATE)
    heard = np.concatenate([np.zeros(silence), played])
    assert (lies_at(heard, played) == -silence).all()


def test_a_page_that_hears_something_else_first_is_an_error():
    rng = np.random.default_rng(0)
    played = rng.normal(0, 0.1, 4 * SAMPLE_RATE)
    with pytest.raises(DeviceError, match="does not hear what was played"):
        lies_at(np.concatenate([rng.normal(0, 0.1, SAMPLE_RATE), played[SAMPLE_RATE:]]), played)
    with pytest.raises(DeviceError, match="nothing but silence"):
        lies_at(np.zeros(3 * SAMPLE_RATE), played)


def test_silence_before_the_sound_has_no_delay(stream):
    silence = round(0.5 * SAMPLE_RATE)
    heard = heard_of(stream, page_s=0.0, pipe_ms=42.0)
    early = np.stack([heard.audio[0] - (300.0, 0.0), heard.audio[0]])  # worth 0.5 s, seen before it could be spoken
    early[:, 1] = silence / 2
    padded = dataclasses.replace(
        heard,
        waveform=np.concatenate([np.zeros(silence, heard.waveform.dtype), heard.waveform]),
        audio=np.concatenate([early, heard.audio]),
    )
    plain, later = (Clock(one, stream).arrivals_ms() for one in (heard, padded))
    assert later.min() >= 0 and np.median(later) == pytest.approx(np.median(plain), abs=1)


def test_a_piece_is_found_beside_what_is_louder():
    rng = np.random.default_rng(0)
    sound = np.concatenate([rng.normal(0, 1e-3, 4000), rng.normal(0, 1, 4000)])
    assert find(sound[1000:2000], sound) == (1000, pytest.approx(1))
    assert find(np.zeros(1000), sound)[1] == 0


def test_the_first_block_is_found_in_a_faint_rounded_noise():
    waveform = np.random.default_rng(0).normal(0, 10 ** (-65 / 20), 20 * BLOCK * 100)
    starts = np.arange(0, 100 * BLOCK, BLOCK)
    firsts = np.round(waveform[777 + starts] * 2**15) / 2**15
    assert place_of(firsts, starts, waveform) == 777


def test_what_the_browser_lacks_is_told_before_anything_is_measured(monkeypatch, tiny_model, capsys):
    pytest.importorskip("playwright")
    monkeypatch.setattr(command_line, "run_inference", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(chromium, "find_chromium", lambda: None)
    with pytest.raises(InputError, match="apt-get install chromium"):
        command_line.main(["--browser", "--model", str(tiny_model)])
    monkeypatch.setattr(chromium, "find_chromium", lambda: "chromium")
    with pytest.raises(ModelError, match="manifest"):
        check_browser(tiny_model)


def test_sound_that_the_page_has_before_it_was_spoken_is_an_error(stream):
    clock = Clock(heard_of(stream, pipe_ms=-20.0), stream)
    with pytest.raises(DeviceError, match="lost between Chromium's fake microphone and the page"):
        clock.arrivals_ms()


@pytest.mark.browser
@pytest.mark.timed  # what Chromium's fake microphone loses on a busy machine ends a measurement
@pytest.mark.skipif(chromium.find_chromium() is None, reason="no Chromium is installed")
def test_words_in_chromium_are_answered_and_timed():
    pytest.importorskip("playwright")
    clips, _ = load_clips("nowhere")  # the samples
    said = []
    asides, answered = run_browser(default_model(), clips, 150, 0, said.append)
    arrival, drawing = asides
    row = answered.row
    assert answered.condition == BROWSER and row["n_clips"] == 10
    assert row["n_correct"] >= 9 and row["n_extra"] == 0
    assert arrival["n"] > 1000 and 5 < arrival["latency_ms_p50"] < row["latency_ms_max"]
    assert drawing["n"] >= 9 and drawing["latency_ms_p50"] > 0
    assert "minutes into Chromium" in said[0]
