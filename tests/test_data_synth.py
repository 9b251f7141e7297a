"""Synthetic speech speaks, repeats itself exactly, and is rendered once."""

import os
import re
import stat
from collections import Counter

import numpy as np
import pytest

from edgedigit.audio import write_wav
from edgedigit.data import load_recordings, synth
from edgedigit.data.accents import DIGIT_SPELLINGS
from edgedigit.data.engines import SKIPPED_VARIANTS, Espeak, Style, espeak_voices, program_voices, say_with_program
from edgedigit.data.languages import DIGITS_IN
from edgedigit.data.other_words import OTHER_WORDS, words_beside
from edgedigit.errors import ConfigError, DataError
from edgedigit.labels import DIGITS, NON_DIGIT

pytest.importorskip("espeakng_loader")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(synth, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(synth, "program_voices", list)  # the same voices on every machine


@pytest.fixture(scope="module")
def rendered():
    return synth.render(DIGITS, 60, seed=3, voices=[f"espeak:{voice}" for voice in espeak_voices()])


def waveforms(recordings):
    return [recording.waveform.tobytes() for recording in recordings]


def test_every_word_is_said_equally_often_by_the_same_voices(rendered):
    assert Counter(recording.label for recording in rendered) == dict.fromkeys(DIGITS, 60)
    speakers = [{r.speaker for r in rendered if r.label == digit} for digit in DIGITS]
    assert all(len(of_digit & speakers[0]) >= 55 for of_digit in speakers)
    assert all(recording.speaker.startswith("synth:espeak:en") for recording in rendered)
    assert len({recording.name for recording in rendered}) == len(rendered)
    assert {recording.source for recording in rendered} == {"synth"}


def test_every_clip_is_audible_trimmed_and_of_a_words_length(rendered):
    for recording in rendered:
        assert recording.waveform.dtype == np.float32
        assert 0.14 <= recording.waveform.size / 8000 <= 1.21
        level = np.abs(recording.waveform)
        assert 0.02 < level.max() <= 1
    onsets_s = [np.argmax(np.abs(r.waveform) > 0.01 * np.abs(r.waveform).max()) / 8000 for r in rendered]
    assert np.quantile(onsets_s, 0.9) < 0.06


def test_silence_is_cut_to_20_ms_and_faint_ends_stay():
    tone = np.sin(np.arange(4000) * 0.3).astype(np.float32)
    tone[2000:] *= 0.004  # -48 dB, as faint as the end of a fricative
    padded = np.concatenate([np.zeros(3000), tone, np.zeros(5000)])
    assert abs(synth.trim_silence(padded, 8000).size - (4000 + 2 * 160)) < 20
    assert synth.trim_silence(np.zeros(100), 8000).size == 0


def test_the_same_seed_gives_the_same_samples_and_another_seed_others():
    voices = ["espeak:en-us+f3", "espeak:en+croak", "espeak:en-gb-scotland+m7"]
    first = synth.render(["six", "3"], 6, seed=1, voices=voices)
    synth.render(["eight"], 5, seed=9)  # the engine keeps a state that must not leak into the next rendering
    assert waveforms(first) == waveforms(synth.render(["six", "3"], 6, seed=1, voices=voices))
    assert waveforms(first) != waveforms(synth.render(["six", "3"], 6, seed=2, voices=voices))


def test_no_voice_depends_on_memory_that_it_never_wrote():
    """Equal calls to two instances give equal samples, whatever the variant."""
    takes = []
    for _ in range(2):
        with Espeak() as espeak:
            takes.append([espeak.say("eight", voice, Style()).tobytes() for voice in espeak_voices()])
            espeak.say("three", "en-us+f5", Style(1.2))
    assert takes[0] == takes[1]
    assert all(takes[0])


def test_every_accent_says_ten_different_digits_and_repeats_itself():
    takes = []
    for _ in range(2):
        with Espeak() as espeak:
            takes.append(
                {
                    language: [espeak.say(text, f"{language}+f3", Style()).tobytes() for text in spelling.values()]
                    for language, spelling in DIGIT_SPELLINGS.items()
                }
            )
    assert takes[0] == takes[1]
    assert all(len(set(said)) == 10 and all(said) for said in takes[0].values())


def test_accents_speak_a_share_of_the_digits_and_no_other_words():
    recordings = synth.render(["3", "7"], 40, seed=2)
    foreign = [r for r in recordings if r.speaker.split(":")[2].partition("+")[0] in DIGIT_SPELLINGS]
    assert len(foreign) == pytest.approx(80 * synth.FOREIGN_SHARE, abs=4)
    spoken = Counter(r.speaker.split(":")[2].partition("+")[0] for r in foreign)
    assert len(spoken) >= 16  # 18 for each digit, each another accent; what came out too long was drawn again
    assert max(spoken.values()) <= 4
    assert not any("espeak:hi+" in voice for voice in synth.all_voices("en", ["yes", "3"]))


def test_accents_say_digits_beside_other_words_too_but_none_of_these():
    recordings = synth.render(["3", NON_DIGIT, "7"], 40, seed=2)
    foreign = Counter(r.label for r in recordings if r.speaker.split(":")[2].partition("+")[0] in DIGIT_SPELLINGS)
    assert Counter(r.label for r in recordings) == {"3": 40, NON_DIGIT: 40, "7": 40}
    assert foreign.keys() == {"3", "7"}
    assert foreign.total() == pytest.approx(80 * synth.FOREIGN_SHARE, abs=4)


def test_where_nobody_has_an_accent_other_words_are_said_by_those_who_say_the_words():
    recordings = synth.render(["yes", NON_DIGIT, "no"], 6, seed=2)
    by_word = {label: [r.speaker for r in recordings if r.label == label] for label in ("yes", NON_DIGIT, "no")}
    assert by_word["yes"] == by_word["no"] == by_word[NON_DIGIT]


def test_an_accent_is_heard_as_the_digit_in_its_own_spelling():
    (digit,) = synth.render(["7"], 1, seed=0, voices=["espeak:hi+m3"])
    (spelled,) = synth.render([DIGIT_SPELLINGS["hi"]["7"]], 1, seed=0, voices=["espeak:hi+m3"])
    (other,) = synth.render([DIGIT_SPELLINGS["hi"]["8"]], 1, seed=0, voices=["espeak:hi+m3"])
    assert waveforms([digit]) == waveforms([spelled]) != waveforms([other])


def test_words_voices_and_styles_differ():
    with Espeak() as espeak:
        said = {
            espeak.say(text, voice, style).tobytes()
            for text in ("six", "eight")
            for voice in ("en-us+f3", "en+m1")
            for style in (Style(), Style(speed=1.3), Style(pitch=1.0))
        }
        slow, fast = (espeak.say("seven", "en-us+m1", Style(speed)).size for speed in (0.7, 1.35))
    assert len(said) == 12
    assert slow > 1.3 * fast


def test_whispers_and_robots_are_left_out():
    variants = {voice.partition("+")[2] for voice in espeak_voices()}
    assert len(variants) > 80
    assert not variants & set(SKIPPED_VARIANTS)
    assert not any("robo" in variant.lower() for variant in variants)


def test_the_source_renders_once_and_reads_the_cache_afterwards(tmp_path, monkeypatch):
    first = load_recordings(["synth:3"], tmp_path, labels=("4", "yes"))
    monkeypatch.setattr(synth, "render", None)  # a second rendering would fail
    second = load_recordings(["synth:3"], tmp_path, labels=("4", "yes"))
    assert waveforms(first) == waveforms(second)
    assert [(r.label, r.speaker, r.name) for r in first] == [(r.label, r.speaker, r.name) for r in second]
    assert Counter(recording.label for recording in second) == {"4": 3, "yes": 3}
    assert [path.suffix for path in (tmp_path / "cache" / "synth").iterdir()] == [".npz"]


def test_wrong_requests_are_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="no voice 'en-us\\+nobody'"):
        synth.render(["1"], 1, voices=["espeak:en-us+nobody"])
    with pytest.raises(DataError, match="no synthesiser is called 'parrot'"):
        synth.render(["1"], 1, voices=["parrot:polly"])
    with pytest.raises(DataError, match="cannot say"):
        synth.render(["a sentence much too long to be spoken in one second"], 1, voices=["espeak:en"])
    with pytest.raises(ConfigError, match="at least 1"):
        load_recordings(["synth:0"], tmp_path)
    with pytest.raises(ConfigError, match="speaks no 'dee'; did you mean 'de'"):
        load_recordings(["synth:5:dee"], tmp_path)
    with pytest.raises(ConfigError, match="write synth:N:LANGUAGE"):
        load_recordings(["synth:de:5"], tmp_path)
    for count in ("-3", "+3", "-3:de", "2.5"):  # no language is called so
        with pytest.raises(ConfigError, match=f"source 'synth:{re.escape(count)}' is unknown; .* at least 1 clip"):
            load_recordings([f"synth:{count}"], tmp_path)
    with pytest.raises(DataError, match="digits in 'it' are not known; choose one of ar, cmn, de"):
        load_recordings(["synth:1:it"], tmp_path)
    with pytest.raises(DataError, match="synth:1:de holds no recording of _unknown_"):
        load_recordings(["synth:1:de"], tmp_path, labels=("_unknown_",))


@pytest.mark.parametrize("language", DIGITS_IN)
def test_every_language_says_ten_different_digits_with_its_own_voices(language, tmp_path):
    recordings = load_recordings([f"synth:1:{language}"], tmp_path)
    assert [recording.label for recording in recordings] == list(DIGITS)
    assert all(recording.speaker.startswith(f"synth:espeak:{language}") for recording in recordings)
    assert len(set(waveforms(recordings))) == 10
    english = synth.render(DIGITS, 1, voices=[f"espeak:{language}+f3"])  # with an accent, where there is one
    spoken = synth.render(DIGITS, 1, voices=[f"espeak:{language}+f3"], language=language)
    assert not set(waveforms(english)) & set(waveforms(spoken))


def test_words_of_a_language_are_read_as_they_are_spelled(tmp_path):
    (recording,) = load_recordings(["synth:1:de"], tmp_path, labels=("licht",))
    assert (recording.label, recording.speaker[:15]) == ("licht", "synth:espeak:de")


def test_other_words_of_a_language_come_from_recordings(tmp_path):
    """Voices know other words in English alone; a folder brings them beside the voices' digits."""
    labels = (*DIGITS, "_unknown_")
    (tmp_path / "words" / "straße").mkdir(parents=True)
    write_wav(tmp_path / "words" / "straße" / "1.wav", np.full(4000, 0.1, np.float32))
    recordings = load_recordings(["synth:1:de", "folder:words"], tmp_path, labels=labels)
    assert [recording.label for recording in recordings] == list(labels)
    assert [recording.source for recording in recordings] == ["synth"] * 10 + ["words"]
    assert [r.label for r in synth.render(("ja", "_unknown_"), 1, voices=["espeak:de"], language="de")] == ["ja"]


def test_unknown_stands_for_many_words_beside_those_wanted(tmp_path, monkeypatch):
    said, say = [], synth._say
    monkeypatch.setattr(synth, "_say", lambda espeak, word, *rest: said.append(word) or say(espeak, word, *rest))
    recordings = load_recordings(["synth:40"], tmp_path, labels=("open", "3", "_unknown_"))
    assert Counter(r.label for r in recordings) == {"open": 40, "3": 40, "_unknown_": 40}
    assert words_beside(["Open", "3"]) == [word for word in (*DIGITS, *OTHER_WORDS) if word not in ("open", "3")]
    assert said[:80] == ["open"] * 40 + ["3"] * 40
    assert len(set(said[80:])) == 40
    assert not {"open", "3", "_unknown_"} & set(said[80:])


def fake_flite(folder, body):
    """An executable called flite that lists its voices as the real one does."""
    program = folder / "flite"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = -lv ]; then echo "Voices available: kal awb_time slt rms "; exit; fi\n{body}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_an_installed_program_is_asked_for_its_voices_and_its_failure_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    fake_flite(tmp_path, "exit 3")
    assert [voice for voice in program_voices() if voice.startswith("flite:")] == ["flite:slt", "flite:rms"]
    with pytest.raises(DataError, match="flite cannot say 'six' as slt"):
        say_with_program("six", "flite:slt", Style())
    fake_flite(tmp_path, "exit 0")
    with pytest.raises(DataError, match="wrote nothing"):
        say_with_program("six", "flite:slt", Style())


@pytest.mark.parametrize(
    "voice", program_voices() or [pytest.param("", marks=pytest.mark.skip("no flite, festival or pico"))]
)
def test_every_voice_of_an_installed_program_speaks(voice):
    assert len(synth.render(["six"], 2, voices=[voice])) == 2
