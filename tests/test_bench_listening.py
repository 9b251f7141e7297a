"""Listening for long: the same answers at any pace and in any blocks, each sound counted once, memory told truly."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("onnx")
from tiny_model import SAMPLE_RATE, silence, speak

from edgedigit.audio import write_wav
from edgedigit.bench import listener, listening
from edgedigit.bench.listener import Heard, Reading, Task, cut, listen, memory_bytes, read_in_parts
from edgedigit.bench.listening import (
    Sound,
    broken_limits,
    figures,
    listening_text,
    run_listening,
    run_listening_live,
)
from edgedigit.config import BenchConfig
from edgedigit.errors import ModelError

MEGABYTE = 1_000_000


@pytest.fixture
def sounds(tmp_path):
    """Digits, then quiet, as WAV files: 3.3 s and 1.5 s."""
    paths = [tmp_path / "digits.wav", tmp_path / "quiet.wav"]
    write_wav(paths[0], speak("731"))
    write_wav(paths[1], silence(1.5))
    return [str(path) for path in paths]


def task(model, sounds, **changes):
    return replace(Task(str(model), sounds, minutes=0.05, sample_rate=48000, block_ms=10), **changes)


def heard(said):
    return [one for one in said if isinstance(one, Heard)]


def test_answers_do_not_depend_on_the_pace(tiny_model, sounds):
    fast, slow = (heard(listen(task(tiny_model, sounds, realtime=realtime))) for realtime in (False, True))
    assert fast == slow and fast[0].n_digits == 3


def test_real_time_takes_the_time_that_the_sound_lasts(tiny_model, sounds, monkeypatch):
    slept = []
    monkeypatch.setattr(listener.time, "perf_counter", lambda: sum(slept))
    monkeypatch.setattr(listener.time, "sleep", slept.append)
    list(listen(task(tiny_model, sounds, realtime=True)))
    assert sum(slept) == pytest.approx(3.0)


@pytest.mark.parametrize("block_ms", [20, 7.3])
def test_answers_do_not_depend_on_the_blocks(tiny_model, sounds, block_ms):
    a, b = (heard(listen(task(tiny_model, sounds, block_ms=ms))) for ms in (10, block_ms))
    assert [(one.n_digits, one.n_rejected) for one in a] == [(one.n_digits, one.n_rejected) for one in b]


def test_what_is_heard_again_does_not_count(tiny_model, sounds):
    once = heard(listen(task(tiny_model, sounds, minutes=0.08)))
    thrice = heard(listen(task(tiny_model, sounds, minutes=0.24)))
    assert once[0].n_digits == thrice[0].n_digits == 3
    assert [one.audio_s for one in thrice] == pytest.approx([len(speak("731")) / SAMPLE_RATE, 1.5], abs=0.02)


def test_minutes_that_end_within_a_sound_count_what_was_heard(tiny_model, sounds):
    first, second = heard(listen(task(tiny_model, sounds, minutes=2.0 / 60)))
    assert first.audio_s == pytest.approx(2.0) and 0 < first.n_digits < 3
    assert second == Heard(sounds[1], 0.0, 0, 0)


def test_memory_and_cost_are_read_every_10_seconds_and_at_the_end(tiny_model, sounds):
    readings = [one for one in listen(task(tiny_model, sounds, minutes=0.4)) if isinstance(one, Reading)]
    assert [reading.audio_s for reading in readings] == pytest.approx([10, 20, 24])
    assert all(a.cpu_s < b.cpu_s for a, b in pairwise(readings))


def test_a_file_read_in_parts_is_the_file(tmp_path):
    waveform = speak("42")
    write_wav(tmp_path / "a.wav", waveform)
    whole = np.concatenate(list(read_in_parts(tmp_path / "a.wav", SAMPLE_RATE)))
    np.testing.assert_allclose(whole, waveform, atol=1 / 32768)
    up = np.concatenate(list(read_in_parts(tmp_path / "a.wav", 48000)))
    assert up.size == pytest.approx(6 * waveform.size, abs=6)


def test_blocks_hold_every_sample_once():
    parts = [np.arange(5.0), np.zeros(0), np.arange(5.0, 17.0)]
    blocks = list(cut(iter(parts), 4))
    assert [block.size for block in blocks] == [4, 4, 4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), np.arange(17.0))


def test_memory_that_is_taken_shows():
    before = memory_bytes()[0]
    if before is None:
        pytest.skip("this system does not say what a process holds")
    taken = np.ones(50 * MEGABYTE // 8)
    assert memory_bytes()[0] - before > 40 * MEGABYTE
    assert memory_bytes()[1] >= memory_bytes()[0] and taken.size


def test_growth_is_from_the_first_tenth_to_the_last():
    readings = [Reading(10.0 * i, 0.2 * i, MEGABYTE * (50 + i), MEGABYTE * (60 + i)) for i in range(1, 101)]
    found = figures(readings, Task("", (), 0, 48000, 10))
    assert found["cpu_share"] == pytest.approx(0.02) and found["peak_mb"] == 160
    assert found["growth_mb"] == pytest.approx(90) and found["growth_over_minutes"] == pytest.approx(15)
    assert found["resident_mb"] == [50 + 6 * minute for minute in range(1, 17)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"cpu_share": 0.0301}, ["listening: 3.01 % of one core, at most 3 % is expected"]),
        ({"growth_mb": 1.1}, ["listening: memory has grown by 1.10 MB in 54 minutes, at most 1 MB is expected"]),
        ({"growth_mb": None}, []),
    ],
)
def test_listening_that_costs_too_much_or_grows_is_said(changes, said):
    cost = {"cpu_share": 0.03, "growth_mb": 1.0, "growth_over_minutes": 54.0}
    assert broken_limits({**cost, **changes}, BenchConfig()) == said


def test_where_memory_is_not_known_that_is_said():
    found = figures([Reading(10.0, 0.1, None, None)], Task("", (), 0, 48000, 10))
    assert found["peak_mb"] is None
    assert "memory is not known" in listening_text({**found, "sounds": []})


def sound(name, waveform, hours):
    return Sound(name, waveform, SAMPLE_RATE, 2, hours)


def test_a_process_of_its_own_listens_and_rates_are_per_hour_of_recordings(tiny_model):
    pytest.importorskip("scipy")
    digits = speak("731")
    hours = 0.5 * digits.size / SAMPLE_RATE / 3600  # the other half was pauses
    both = [sound("speech", digits, hours), sound("quiet", silence(1.0), 1.0 / 3600)]
    listened = run_listening(tiny_model, both, Task("", (), 0.2, 48000, 20))
    speech, quiet = listened["sounds"]
    assert speech["n_false_accepts"] == 3 and quiet["n_false_accepts"] == 0
    assert speech["far_per_hour"] == pytest.approx(3 / hours, rel=0.01)
    assert listened["minutes"] == pytest.approx(0.2)
    assert 0 < listened["cpu_share"] < 1
    assert "speech: 3 false accepts" in listening_text(listened)


def test_half_of_a_sound_is_half_of_its_time(tiny_model):
    pytest.importorskip("scipy")
    waveform = silence(4.0)
    listened = run_listening(tiny_model, [sound("quiet", waveform, 1.0)], Task("", (), 2.0 / 60, 48000, 20))
    assert listened["sounds"][0]["hours"] == pytest.approx(0.5)


def test_a_model_that_cannot_listen_is_named(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"listening did not begin: .*broken"):
        run_listening(tmp_path / "broken.onnx", [sound("quiet", silence(1.0), 1.0)], Task("", (), 0.1, 48000, 20))


@pytest.mark.mic
@pytest.mark.skipif(not shutil.which("pulseaudio"), reason="PulseAudio is not installed")
def test_what_is_heard_through_a_microphone_is_counted_and_all_of_the_process_costs(tiny_model):
    pytest.importorskip("sounddevice", exc_type=OSError)
    both = [sound("speech", speak("731"), 1.0), sound("quiet", silence(12.0), 1.0)]
    listened = run_listening_live(tiny_model, both, 11.0 / 60)
    assert [row["n_false_accepts"] for row in listened["sounds"]] == [3, 0]
    assert listened["minutes"] == pytest.approx((speak("731").size / SAMPLE_RATE + 17) / 60, abs=0.01)
    assert listened["sounds"][1]["hours"] == pytest.approx(11 / 12)
    assert listened["block_ms"] == 10 and listened["realtime"] and 0 < listened["cpu_share"] < 1
    assert "minutes through a microphone in real time" in listening_text(listened)
    over = broken_limits({**listened, "cpu_share": 0.04, "growth_mb": 0.0}, BenchConfig())
    assert over == ["listening through a microphone: 4.00 % of one core, at most 3 % is expected"]


def test_listening_needs_no_torch(tiny_model, sounds, monkeypatch):
    import subprocess
    import sys

    wanted = json.dumps({**vars(task(tiny_model, sounds)), "minutes": 0.01})
    code = f"""
import sys
from edgedigit.bench import listener
listener.main({wanted!r})
print("torch" in sys.modules, "scipy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"


def test_material_leaves_out_what_the_model_knows(tiny_model, monkeypatch):
    pytest.importorskip("torch")
    from argparse import Namespace

    from edgedigit.data.recording import Recording
    from edgedigit.detection import material
    from edgedigit.errors import DataError
    from edgedigit.train import heard

    def recording(name):
        return Recording(silence(1.0), SAMPLE_RATE, "talk", name, "corpus", name)

    known = heard.Heard(True, frozenset(), frozenset({"watched"}), frozenset(), frozenset({"mixed"}))
    there = {"speech": ["new", "watched"], "noise": ["mixed", "fresh", "other"]}
    monkeypatch.setattr(heard, "heard_by", lambda model, data_dir: known)
    monkeypatch.setattr(
        material, "load_unheard", lambda sources, *_, **__: ([recording(n) for n in there[sources[0]]], 0)
    )
    args = Namespace(speech=["speech"], noises=["noise"], data_dir=None, seed=0)
    sounds, notes = listening.load_sounds(args, tiny_model)
    assert [one.n_recordings for one in sounds] == [1, 2]
    assert "on none of them was the model trained or selected" in notes[0]
    there["noise"] = ["mixed"]
    with pytest.raises(DataError, match="trained or selected on all of noise"):
        listening.load_sounds(args, tiny_model)
