"""Digits in a row are one string, whose length or check digit may overrule what was heard."""

import itertools
import json
import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("webrtcvad")
from tiny_model import build_tiny_model, silence, speak, tone_word

import infer
from edgedigit.audio import write_wav
from edgedigit.errors import ConfigError, ModelError
from edgedigit.runtime import DigitStringCollector, Event, Prediction, Recognizer, StreamingRecognizer, StringOptions
from edgedigit.runtime.checksum import CHECKSUMS
from edgedigit.runtime.digit_string import MAX_WORDS, best_strings


@pytest.fixture(scope="module")
def recognizer(tiny_model):
    return Recognizer(tiny_model)


def word(probabilities, start_s, kind="digit"):
    """An event of 0.3 s; labels that are not named have no probability."""
    label, probability = max(probabilities.items(), key=lambda item: item[1])
    rest = dict.fromkeys("0123456789", 0.0)
    prediction = Prediction(label, probability, {**rest, **probabilities}, kind == "rejected", 0.1)
    return Event(kind, start_s + 0.4, start_s, start_s + 0.3, prediction)


def row(*words):
    """Words half a second apart."""
    return [word(probabilities, 0.5 * i) for i, probabilities in enumerate(words)]


def only(strings):
    (string,) = strings
    return string


def strings_of(recognizer, waveform, block, options=None):
    stream, collector = StreamingRecognizer(recognizer), DigitStringCollector(recognizer, options)
    strings = []
    for i in range(0, waveform.size, block):
        strings += collector.accept(stream.accept(waveform[i : i + block]), stream.time_s)
    return strings + collector.flush(stream.flush())


# Streams


@pytest.mark.parametrize("gap_s", [0.12, 0.6])
def test_a_pause_ends_a_string_and_a_gap_does_not(recognizer, gap_s):
    waveform = np.concatenate([speak("4071", gap_s), silence(1.0), speak("93", gap_s), silence(1.5)])
    first, second = strings_of(recognizer, waveform, waveform.size)
    assert (first.digits, second.digits) == ("4071", "93")
    assert first.start_s == pytest.approx(0.5, abs=0.02)
    assert first.end_s == pytest.approx(0.5 + 4 * 0.4 + 3 * gap_s, abs=0.02)
    assert first.time_s == pytest.approx(first.end_s + 1.2, abs=0.02)
    assert first.probability > 0.9 and first.satisfied is None and not first.corrected


@pytest.mark.parametrize("block", [1, 160, 8000])
def test_a_string_that_noise_delays_says_so(recognizer, block):
    """Sound that is no word lasts beyond the pause: the string says that it came after that, not at its pause."""
    collector = DigitStringCollector(recognizer)
    answer = word({"4": 0.99}, 0.5)
    came = [
        Event("speech_start", 0.53, 0.5),
        answer,
        Event("speech_end", answer.time_s, 0.5, answer.end_s),
        Event("speech_start", 1.53, 1.5),
        Event("speech_end", 3.4, 1.5, 3.3),
    ]
    strings, now_s = [], 0.0
    while not strings:
        events, now_s = [event for event in came if now_s < event.time_s <= now_s + block / 8000], now_s + block / 8000
        strings = collector.accept(events, now_s)
    assert only(strings).time_s == 3.4 <= now_s


@pytest.mark.parametrize("block", [1, 37, 160, 800, 8000])
def test_strings_do_not_depend_on_block_size(recognizer, block):
    waveform = np.concatenate([speak("27", 0.15), silence(0.35), speak("5"), silence(1.0)])
    assert strings_of(recognizer, waveform, block) == strings_of(recognizer, waveform, waveform.size)


def test_a_string_that_is_still_open_is_answered_by_flush(recognizer):
    assert [string.digits for string in strings_of(recognizer, speak("618"), 160)] == ["618"]
    assert strings_of(recognizer, silence(3), 160) == []


def test_a_string_that_the_end_of_the_stream_ends_has_taken_until_then(recognizer):
    stream, collector = StreamingRecognizer(recognizer), DigitStringCollector(recognizer)
    assert collector.accept(stream.accept(np.concatenate([speak("618"), silence(0.4)])), stream.time_s) == []
    ends_s = stream.time_s
    string = only(collector.flush(stream.flush(), ends_s))
    assert string.time_s == ends_s and 1000 * (string.time_s - string.end_s) > 400


def test_a_model_of_other_words_is_refused(tmp_path):
    model = build_tiny_model(tmp_path / "m.onnx", labels='["0", "1", "2", "yes", "4", "5", "6", "7", "8", "9"]')
    with pytest.raises(ModelError, match="yes"):
        DigitStringCollector(Recognizer(model))


# What is made of words


def test_a_checksum_picks_the_best_string_that_keeps_it_and_says_so(recognizer):
    words = row({"7": 1.0}, {"9": 0.99, "5": 0.01}, {"9": 0.9, "1": 0.1}, {"2": 0.7, "7": 0.3})
    string = only(DigitStringCollector(recognizer, StringOptions(checksum="luhn")).flush(words))
    assert string.heard == "7992" and not CHECKSUMS["luhn"].holds("7992")
    assert CHECKSUMS["luhn"].holds(string.digits)
    assert string.satisfied and string.corrected
    plain = only(DigitStringCollector(recognizer).flush(words))
    assert (plain.digits, plain.satisfied) == ("7992", None)
    assert plain.probability == pytest.approx(0.99 * 0.9 * 0.7, abs=1e-4)


def test_the_probability_of_a_string_is_among_those_that_keep_the_checksum():
    words = [{"1": 0.6, "2": 0.4}, {"8": 0.5, "6": 0.5}]  # Luhn holds for 18 and 26, neither for 16 nor 28
    strings, mass = best_strings(words, checksum=CHECKSUMS["luhn"], n_best=5)
    assert strings == [("18", pytest.approx(0.3), 0, 1), ("26", pytest.approx(0.2), 0, 1)]
    assert mass == pytest.approx(0.5)


def words_of(rng, is_rejected):
    """What each word may have been; the rejected ones may be left out."""
    rows = [rng.dirichlet(np.full(11, 0.3)) for _ in is_rejected]
    return [
        dict(zip(["", *"0123456789"], row, strict=True)) if left_out else dict(zip("0123456789", row[1:], strict=True))
        for row, left_out in zip(rows, is_rejected, strict=True)
    ]


@pytest.mark.parametrize("scheme", [None, *CHECKSUMS])
@pytest.mark.parametrize(("length", "max_length"), [(None, None), (3, None), (None, 2), (3, 2)])
@pytest.mark.parametrize(("is_rejected", "n_best"), [([True] * 4, 100), ([True, False, False, True], 1), ([False], 3)])
def test_the_search_finds_what_trying_all_strings_finds(scheme, length, max_length, is_rejected, n_best):
    words = words_of(np.random.default_rng(0), is_rejected)
    kept, mass = {}, 0.0
    checksum = CHECKSUMS.get(scheme)
    for choice in itertools.product(*(one.items() for one in words)):
        digits = "".join(digit for digit, _ in choice)
        probability = np.prod([p for _, p in choice])
        holds = checksum is None or checksum.holds(digits)
        if holds and length in (None, len(digits)) and len(digits) <= (max_length or 4):
            used = [place for place, (digit, _) in enumerate(choice) if digit]
            ends = (used[0], used[-1]) if used else (None, None)
            kept[digits] = max(kept.get(digits, (0.0,)), (probability, *ends))
            mass += probability
    strings, found_mass = best_strings(words, length, checksum, n_best, max_length)
    assert found_mass == pytest.approx(mass)
    best = sorted(kept.items(), key=lambda item: -item[1][0])[:n_best]
    assert strings == [(digits, pytest.approx(p), first, last) for digits, (p, first, last) in best]


@pytest.mark.parametrize(("n_rejected", "n_best"), [(56, 1), (31, 1), (43, 100)])
def test_the_longest_string_is_decided_in_time(n_rejected, n_best):
    words = words_of(np.random.default_rng(0), [place < n_rejected for place in range(MAX_WORDS)])
    most = 2 * (MAX_WORDS - n_rejected) - 1
    started_s = time.process_time()
    strings, _ = best_strings(words, None, CHECKSUMS["mod97"], n_best, most)
    assert time.process_time() - started_s < (1 if n_best == 1 else 10)  # they take 0.05 and 1 s
    assert len(strings) == n_best and all(CHECKSUMS["mod97"].holds(string.digits) for string in strings)


def test_a_length_takes_in_a_rejected_word_that_is_left_out_otherwise(recognizer):
    words = row({"4": 0.99, "1": 0.01}, {"8": 1.0})
    words.insert(1, word({"6": 0.4, "8": 0.35, "2": 0.25}, 0.25, kind="rejected"))
    assert only(DigitStringCollector(recognizer).flush(words)).digits == "48"
    string = only(DigitStringCollector(recognizer, StringOptions(length=3)).flush(words))
    assert (string.digits, string.heard, string.satisfied) == ("468", "48", True)


@pytest.mark.parametrize(("length", "start_s", "end_s"), [(None, 1.0, 2.3), (4, 0.5, 2.3), (5, 0.5, 2.8)])
def test_a_string_lasts_from_its_first_digit_to_its_last_brought_back_or_not(recognizer, length, start_s, end_s):
    around = [word({"4": 0.6, "3": 0.4}, 0.5, kind="rejected"), word({"6": 0.4, "8": 0.3}, 2.5, kind="rejected")]
    words = [around[0], *(word({digit: 1.0}, 1.0 + 0.5 * i) for i, digit in enumerate("123")), around[1]]
    collector = DigitStringCollector(recognizer, StringOptions(length=length))
    string = only(collector.flush(words))
    assert (string.start_s, string.end_s) == (start_s, pytest.approx(end_s))


@pytest.mark.parametrize("length", [None, 2])
@pytest.mark.parametrize(("share", "satisfied"), [(0.05, False), (0.2, True)])
def test_a_number_that_was_clearly_said_wrongly_is_not_turned_into_another(recognizer, length, share, satisfied):
    """28 breaks Luhn's rule, and of what else may have been said 18 alone keeps it."""
    words = row({"2": 1 - share, "1": share}, {"8": 1.0})
    string = only(DigitStringCollector(recognizer, StringOptions(length=length, checksum="luhn")).flush(words))
    assert (string.digits, string.heard, string.satisfied) == ("18" if satisfied else "28", "28", satisfied)
    bold = StringOptions(length=length, checksum="luhn", plausible=1e-4)
    assert only(DigitStringCollector(recognizer, bold).flush(words)).digits == "18"


@pytest.mark.parametrize(("share", "satisfied"), [(0.005, False), (0.02, True)])
def test_a_checksum_that_chance_keeps_more_seldom_needs_less_to_be_believed(recognizer, share, satisfied):
    """79445 breaks ISO 7064, where one string in 97 keeps it; 79444 does not."""
    words = row(*({digit: 1.0} for digit in "7944"), {"5": 1 - share, "4": share})
    string = only(DigitStringCollector(recognizer, StringOptions(checksum="mod97")).flush(words))
    assert (string.digits, string.satisfied) == ("79444" if satisfied else "79445", satisfied)


def test_a_checksum_is_judged_among_the_strings_that_keep_the_length(recognizer):
    """The length brings back what was most likely no digit; if it was one, 208 keeps Luhn's rule, 108 does not."""
    words = row({"_unknown_": 0.97, "2": 0.02, "1": 0.01}, {"0": 1.0}, {"8": 1.0})
    words[0] = replace(words[0], kind="rejected")
    string = only(DigitStringCollector(recognizer, StringOptions(length=3, checksum="luhn")).flush(words))
    assert (string.digits, string.heard, string.satisfied) == ("208", "08", True)
    alone = only(DigitStringCollector(recognizer, StringOptions(checksum="luhn")).flush(words))
    assert (alone.digits, alone.satisfied) == ("08", False)


def test_what_cannot_be_kept_is_answered_as_heard_and_says_so(recognizer):
    words = row({"4": 1.0}, {"8": 1.0})
    too_few = only(DigitStringCollector(recognizer, StringOptions(length=5)).flush(words))
    sure = only(DigitStringCollector(recognizer, StringOptions(checksum="luhn")).flush(words))
    for string in (too_few, sure):
        assert (string.digits, string.satisfied, string.corrected) == ("48", False, False)


def noises(n):
    """Rejected words, between and after those of `row`."""
    return [word({"6": 0.4, "8": 0.3, "2": 0.3}, 0.5 * i + 0.25, kind="rejected") for i in range(n)]


@pytest.mark.parametrize("length", [None, 1, 3, 5])
@pytest.mark.parametrize("checksum", [None, *CHECKSUMS])
def test_rejected_words_alone_are_no_string(recognizer, length, checksum):
    assert DigitStringCollector(recognizer, StringOptions(length=length, checksum=checksum)).flush(noises(5)) == []


@pytest.mark.parametrize("n_answered", [1, 2, 3])
def test_a_length_brings_back_fewer_rejected_words_than_were_answered(recognizer, n_answered):
    words = [*row(*[{"4": 1.0}] * n_answered), *noises(n_answered)]
    few, many = (StringOptions(length=length) for length in (2 * n_answered - 1, 2 * n_answered))
    kept = only(DigitStringCollector(recognizer, few).flush(words))
    assert (kept.satisfied, len(kept.digits)) == (True, 2 * n_answered - 1)
    beyond = only(DigitStringCollector(recognizer, many).flush(words))
    assert (beyond.satisfied, beyond.digits) == (False, "4" * n_answered)


@pytest.mark.parametrize("scheme", CHECKSUMS)
def test_a_checksum_is_not_kept_by_rejected_words_that_outnumber_the_answered(recognizer, scheme):
    words = [word({"4": 1.0}, 0.0), *noises(4)]
    string = only(DigitStringCollector(recognizer, StringOptions(checksum=scheme)).flush(words))
    assert (string.digits, string.satisfied) == ("4", False)


def test_n_best_are_in_order_and_the_first_is_the_answer(recognizer):
    string = only(DigitStringCollector(recognizer).flush(row({"1": 0.6, "9": 0.4}, {"5": 0.7, "9": 0.3})))
    assert [digits for digits, _ in string.n_best] == ["15", "95", "19"]
    assert [p for _, p in string.n_best] == pytest.approx([0.42, 0.28, 0.18], abs=1e-3)
    assert string.digits == string.n_best[0][0] and string.probability == string.n_best[0][1]


def test_memory_is_bounded_by_ending_a_string_that_never_pauses(recognizer):
    collector = DigitStringCollector(recognizer)
    strings = [s for i in range(1000) for s in collector.accept([word({"1": 1.0}, 0.5 * i)], 0.5 * i + 0.4)]
    assert {len(string.digits) for string in strings} == {MAX_WORDS}
    assert len(collector._words) < MAX_WORDS


@pytest.mark.parametrize(
    "change",
    [{"pause_ms": 10}, {"length": 0}, {"checksum": "crc"}, {"n_best": 0}, {"plausible": 1}, {"plausible_length": -1}],
)
def test_options_that_cannot_work(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        StringOptions(**change)


# Check digits: published examples


@pytest.mark.parametrize(
    ("scheme", "digits"),
    [("luhn", "79927398713"), ("luhn", "4539578763621486"), ("luhn", "490154203237518"), ("mod97", "79444")],
)
def test_published_examples_hold_and_any_single_wrong_digit_does_not(scheme, digits):
    checksum = CHECKSUMS[scheme]
    assert checksum.holds(digits)
    for place, wrong in itertools.product(range(len(digits)), "0123456789"):
        altered = digits[:place] + wrong + digits[place + 1 :]
        assert checksum.holds(altered) == (altered == digits)


def test_no_digits_keep_no_checksum():
    assert not any(checksum.holds("") for checksum in CHECKSUMS.values())


# infer.py


def test_a_file_of_digits_is_one_line(run, tmp_path):
    write_wav(tmp_path / "pin.wav", np.concatenate([speak("79927398713", 0.2), silence(1)]))
    code, out, _ = run("--string", "--checksum", "luhn", "--n-best", "2", tmp_path / "pin.wav")
    (result,) = json.loads(out[-1])["results"]
    assert code == 0 and out[1].split()[0] == result["digits"] == "79927398713"
    assert result["satisfied"] is True and len(result["n_best"]) == 2
    assert out[1].split()[3] == f"{result['latency_ms']:.1f}"
    _, out, _ = run("--string", "--length", "4", "--json", tmp_path / "pin.wav")
    assert [json.loads(out[0])[key] for key in ("digits", "satisfied")] == ["79927398713", False]


def test_a_string_takes_the_pause_that_ends_it(run, tmp_path):
    write_wav(tmp_path / "42.wav", np.concatenate([tone_word(4), silence(0.15), tone_word(2), silence(2)]))
    _, out, _ = run("--string", "--pause-ms", "700", tmp_path / "42.wav")
    summary = json.loads(out[-1])
    assert summary["results"][0]["latency_ms"] == pytest.approx(700, abs=0.1)
    assert summary["latency_ms_p50"] == pytest.approx(700, rel=0.01)


def test_a_short_file_may_hold_a_string_too(run, tmp_path):
    write_wav(tmp_path / "42.wav", np.concatenate([tone_word(4), silence(0.15), tone_word(2), silence(0.2)]))
    _, out, _ = run("--string", tmp_path / "42.wav")
    assert json.loads(out[-1])["results"][0]["digits"] == "42"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--length", "4"], "--length is about digits in a row and needs --string"),
        (["--string", "--checksum", "crc"], "expected one of luhn, mod97"),
        (["--string", "--length", "0"], "expected 1 to 64 digits"),
        (["--string", "--top-k", "2"], "--n-best shows other strings"),
        (["--endpointing", "ears"], "expected webrtc, silero or Silero's ONNX file"),
    ],
)
def test_wrong_options_are_one_line(refusal, tiny_model, args, words):
    assert words in refusal(infer.main, [*args, "--model", tiny_model, "x.wav"])
