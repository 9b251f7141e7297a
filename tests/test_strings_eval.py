"""Strings that are put together are what was asked for, and errors are counted as the field counts them."""

import json

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("webrtcvad")
from tiny_model import silence, tone_word

from edgedigit import strings_eval
from edgedigit.audio import write_wav
from edgedigit.cli import run_main
from edgedigit.config import StringsConfig
from edgedigit.data.recording import Recording
from edgedigit.errors import ConfigError, DataError, InputError
from edgedigit.metrics import bootstrap_interval, edit_counts
from edgedigit.runtime import DigitString
from edgedigit.runtime.checksum import CHECKSUMS
from edgedigit.strings_eval import Outcome, build_strings, score


def recordings(digits="0123456789", speakers=("a", "b")):
    return [Recording(tone_word(d), 8000, d, s, "x", f"{s}{d}") for s in speakers for d in digits]


@pytest.fixture
def folder(tmp_path):
    """Each digit once, by one speaker."""
    for digit in range(10):
        (tmp_path / "clips" / str(digit)).mkdir(parents=True)
        write_wav(tmp_path / "clips" / str(digit) / "1.wav", tone_word(digit))
    return tmp_path / "clips"


def run(capsys, tiny_model, *args):
    assert run_main(strings_eval.main, [*map(str, args), "--model", str(tiny_model)]) == 0
    out = capsys.readouterr().out.splitlines()
    return out, json.loads(out[-1])


@pytest.mark.parametrize(
    ("reference", "answer", "counts"),
    [
        ("407", "407", (0, 0, 0)),
        ("407", "417", (1, 0, 0)),
        ("407", "47", (0, 1, 0)),
        ("407", "4007", (0, 0, 1)),
        ("407", "", (0, 3, 0)),
        ("", "40", (0, 0, 2)),
        ("1234", "2345", (0, 1, 1)),
        ("12", "34", (2, 0, 0)),
    ],
)
def test_edits_are_the_fewest(reference, answer, counts):
    assert edit_counts(reference, answer) == counts


def test_the_bootstrap_covers_and_is_of_strings():
    rng = np.random.default_rng(0)
    counts, totals = rng.binomial(10, 0.1, 400), np.full(400, 10)
    low, high = bootstrap_interval(counts, totals)
    assert low < counts.sum() / 4000 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.1 * 0.9 / 4000), rel=0.2)
    clustered = np.where(rng.random(400) < 0.1, 10, 0)  # whole strings wrong at once
    assert np.subtract(*bootstrap_interval(clustered, totals)[::-1]) > 2 * (high - low)
    with pytest.raises(InputError):
        bootstrap_interval(np.zeros(0), np.zeros(0))


def test_strings_are_of_one_speaker_and_of_the_lengths_asked_for():
    strings = build_strings(recordings(), StringsConfig(n_strings=50, digits=(4, 6)))
    assert {len(string.digits) for string in strings} == {4, 5, 6}
    assert all(string.digits == "".join(clip.label for clip in string.clips) for string in strings)
    again = build_strings(recordings(), StringsConfig(n_strings=50, digits=(4, 6)))
    assert [string.digits for string in again] == [string.digits for string in strings]


def test_strings_keep_the_checksum_or_say_why_they_cannot():
    for checksum in CHECKSUMS.values():
        strings = build_strings(recordings(), StringsConfig(n_strings=20), checksum)
        assert all(checksum.holds(string.digits) for string in strings)
    with pytest.raises(DataError, match="only 1, of which no 4 digits"):
        build_strings(recordings("1"), StringsConfig(digits=(4, 4)), CHECKSUMS["luhn"])


@pytest.mark.parametrize("scheme", CHECKSUMS)
def test_the_share_asked_for_breaks_the_checksum_by_people_who_can_say_both(scheme):
    some = [*recordings(), *recordings("1", ("c",)), *recordings("0", ("d",))]
    strings = build_strings(some, StringsConfig(n_strings=40, digits=(4, 4), invalid=0.25), CHECKSUMS[scheme])
    assert [CHECKSUMS[scheme].holds(string.digits) for string in strings] == [False] * 10 + [True] * 30
    assert {clip.speaker for string in strings for clip in string.clips} == {"a", "b"}
    with pytest.raises(DataError, match="d says only 0, of which no 4 digits break luhn"):
        build_strings(recordings("0", ("d",)), StringsConfig(digits=(4, 4), invalid=0.5), CHECKSUMS["luhn"])


def answer(digits, satisfied=None, heard=None):
    return DigitString(digits, 1.0, heard or digits, satisfied, ((digits, 1.0),), 0.0, 1.0, 2.0)


def test_a_string_that_comes_in_two_parts_is_wrong_though_its_digits_are_right():
    outcomes = [Outcome("1234", (answer("1234"),)), Outcome("1234", (answer("12"), answer("34"))), Outcome("12", ())]
    figures = score(outcomes)
    assert figures["strings"]["n_wrong"] == 2 and figures["n_split"] == figures["rows"][0]["in pieces"] == 1
    digits = figures["digits"]
    assert (digits["n"], digits["n_substitutions"], digits["n_deletions"], digits["n_insertions"]) == (10, 0, 2, 0)
    assert digits["error"] == 0.2 and digits["error_low"] < 0.2 < digits["error_high"]
    with pytest.raises(InputError):
        score([])


def test_what_is_known_is_kept_refused_or_turned_into_another_string():
    """Of each string: what was answered, what would be if nothing were refused."""
    right, refused, other = answer("18", True), answer("18", False), answer("26", True, "28")
    valid = [
        (right, right),
        (other, other),
        (refused, right),
        (answer("28", False), right),
        (answer("2", False), other),
    ]
    invalid = [(answer("28", False), other), (other, other), (answer("2", False), other)]
    pairs = [("18", True, *pair) for pair in valid] + [("28", False, *pair) for pair in invalid]
    outcomes, unrefused = ([Outcome(spoken, (pair[i],), is_valid) for spoken, is_valid, *pair in pairs] for i in (0, 1))
    kept, broken = strings_eval.known_rows(outcomes, unrefused)
    assert (kept["n"], kept["n_correct"], kept["right refused"], kept["another string"]) == (5, 1, 2, 1)
    assert (broken["n"], broken["n_correct"], broken["another string"]) == (3, 2, 1)
    assert strings_eval.known_rows(outcomes[:5], unrefused[:5]) == [kept]
    in_pieces = Outcome("28", (answer("2", False), answer("18", True)), False)
    assert strings_eval.known_rows([in_pieces], [in_pieces])[0]["n_correct"] == 0, "a piece may be believed alone"


def test_a_slip_of_the_speaker_is_counted_apart(tiny_model, folder, tmp_path, capsys):
    options = ["--sources", f"folder:{folder}", "--strings", "4", "--digits", "4", "4", "--checksum", "luhn"]
    out, result = run(capsys, tiny_model, *options, "--invalid", "0.5", "--plausible", "0.2", "0")
    rows = {row["group"]: (row["n_correct"], row["n"]) for row in result["rows"][2:]}
    assert rows["valid strings, answered exactly, plausible 0.2"] == (2, 2)
    assert rows["valid strings, answered exactly, plausible 0"] == (2, 2)
    assert rows["invalid strings, not turned into valid ones, plausible 0.2"] == (2, 2)
    assert rows["invalid strings, not turned into valid ones, plausible 0"] == (0, 2), "nothing is refused"
    assert result["strings"]["n_wrong"] == 0 and result["n_unsatisfied"] == 2, "the first is for the other figures"
    assert result["rows"][0]["group"] == "whole strings, plausible 0.2"
    assert "--invalid 0.5 --plausible 0.2 0.0" in result["command"]
    assert "invalid strings, not turned into valid ones, plausible 0.2: 2 of 2" in "\n".join(out)


def test_recorded_strings_keep_a_checksum_or_not(tiny_model, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    for name in ("18", "28"):
        words = [part for digit in name for part in (tone_word(digit), silence(0.15))]
        write_wav(tmp_path / "a" / f"{name}.wav", np.concatenate(words))
    rows = "".join(f"a/{name}.wav,{name},s,a\n" for name in ("18", "28"))
    (tmp_path / "manifest.csv").write_text("file,label,speaker,source\n" + rows)
    known = ["--utterances", "--checksum", "luhn", "--plausible", "0.2"]
    _, result = run(capsys, tiny_model, "--sources", f"folder:{tmp_path}", *known)
    assert [(row["n_correct"], row["n"]) for row in result["rows"][2:]] == [(1, 1), (1, 1)]


def test_the_command_reads_what_it_built_and_says_what_it_did(tiny_model, folder, tmp_path, capsys):
    options = [
        "--sources",
        f"folder:{folder}",
        "--strings",
        "3",
        "--digits",
        "4",
        "5",
        "--checksum",
        "luhn",
        "--length",
    ]
    out, result = run(capsys, tiny_model, *options, "--results", tmp_path / "r.json")
    assert result["strings"]["n"] == 3 and result["strings"]["n_wrong"] == 0 and result["digits"]["error"] == 0
    assert result["as_heard"]["strings"]["n_wrong"] == result["n_unsatisfied"] == 0
    assert "--checksum luhn --length" in result["command"] and "--seed" not in result["command"]
    assert out[1].split()[:3] == ["strings", "3", "0.00"]
    stored = json.loads((tmp_path / "r.json").read_text())
    assert [row["answers"][0]["digits"] for row in stored["outcomes"]] == [row["spoken"] for row in stored["outcomes"]]


def test_a_full_disk_costs_no_figures(tiny_model, folder, no_room, capsys):
    argv = ["--model", tiny_model, "--sources", f"folder:{folder}", "--strings", "1", "--results", no_room[1]]
    assert run_main(strings_eval.main, list(map(str, argv))) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["strings"]["n"] == 1


def test_recorded_strings(tiny_model, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    words = [part for digit in "409" for part in (tone_word(digit), silence(0.15))]
    write_wav(tmp_path / "a" / "x.wav", np.concatenate(words))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file,label,speaker,source\na/x.wav,408,s,a\n")
    _, result = run(capsys, tiny_model, "--sources", f"folder:{tmp_path}", "--utterances")
    assert result["digits"]["n_substitutions"] == 1 and result["digits"]["n"] == 3
    manifest.write_text("file,label,speaker,source\na/x.wav,hello,s,a\n")
    assert run_main(strings_eval.main, ["--sources", f"folder:{tmp_path}", "--utterances"]) == 2
    assert "expected its digits" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"n_strings": 0}, {"digits": (5, 4)}, {"gap_ms": (-1, 5)}, {"noise_db": 3}])
def test_settings_that_cannot_be(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        StringsConfig(**change)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--strings", "0"], "n_strings is 0"),
        (["--utterances", "--checksum", "luhn", "--invalid", "0.5"], "recorded ones keep a checksum or not"),
        (["--invalid", "0.5"], "needs --checksum"),
        (["--checksum", "luhn", "--invalid", "2"], "invalid is 2.0, expected a share"),
        (["--length", "--plausible", "0.5"], "--plausible is about a checksum"),
        (["--checksum", "luhn", "--plausible", "0.5", "1"], "plausible is 1.0, expected 0 or more and below 1"),
        (["--part", "validation"], "leave --part out"),
    ],
)
def test_wrong_options_are_one_line(refusal, folder, options, words):
    assert words in refusal(strings_eval.main, ["--sources", f"folder:{folder}", *options])


def test_trimming_keeps_the_word_and_a_margin():
    clip = np.concatenate([silence(0.4), tone_word(3, 0.3), silence(0.2)])
    assert strings_eval.trimmed(clip, 8000).size / 8000 == pytest.approx(0.36, abs=0.02)
    assert np.square(strings_eval.trimmed(clip, 8000)).sum() == pytest.approx(np.square(clip).sum(), rel=1e-3)
