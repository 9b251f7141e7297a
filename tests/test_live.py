"""Live sound: what waits or is lost on its way from the device shows in latencies and leaves times as they were."""

import json
import shlex
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnx")
from tiny_model import speak

from edgedigit import live
from edgedigit.listener import Listener
from edgedigit.runtime import lasting_microphone, microphone
from edgedigit.runtime.lasting_microphone import LastingMicrophone

ROOT = Path(__file__).resolve().parents[1]


class FakeDevice(threading.Thread):
    """What sounddevice offers, with one microphone, which hands over `waveform` as soon as it is opened.

    The first `n_at_once` blocks come at once, and the program has its turn `lag_s` later; the others as there is room.
    """

    RATE = 16000
    PortAudioError = RuntimeError
    default = types.SimpleNamespace(device=(0, 0))

    def __init__(self, waveform, n_at_once, lag_s=0.0):
        super().__init__()
        self.waveform, self.n_at_once, self.lag_s = waveform, n_at_once, lag_s

    def query_devices(self):
        return [{"name": "fake", "max_input_channels": 1, "default_samplerate": float(self.RATE)}]

    def InputStream(self, blocksize, callback, finished_callback, **_settings):
        self.blocks = self.waveform[: self.waveform.size // blocksize * blocksize].reshape(-1, blocksize, 1)
        self.callback, self.finished = callback, finished_callback
        return types.SimpleNamespace(start=self.begin, close=self.join)

    def begin(self):
        self.hand_over(self.blocks[: self.n_at_once])
        time.sleep(self.lag_s)
        self.start()

    def hand_over(self, blocks):
        for block in blocks:
            self.callback(block, len(block), None, types.SimpleNamespace(input_overflow=False))

    def run(self):
        queue = self.callback.__self__._blocks
        for block in [*self.blocks[self.n_at_once :], None]:
            while queue.full():
                time.sleep(0.001)
            self.finished() if block is None else self.hand_over([block])


@pytest.fixture
def fake_device(monkeypatch):
    """Ctrl-C is pressed when the device has delivered everything."""

    def plug_in(*args, **kwargs):
        def press_ctrl_c():
            raise KeyboardInterrupt

        monkeypatch.setitem(sys.modules, "sounddevice", FakeDevice(*args, **kwargs))
        monkeypatch.setattr(microphone, "refresh_devices", press_ctrl_c)

    return plug_in


def test_the_latency_that_is_printed_contains_how_long_sound_has_waited_for_the_program(run, fake_device):
    said = speak("61", sample_rate=16000)
    latencies = {}
    for lag_s in (0.0, 0.7):
        fake_device(said, n_at_once=499, lag_s=lag_s)
        code, out, _ = run("--mic")
        words = json.loads(out[-1])["results"]
        assert code == 0 and [word["label"] for word in words] == ["6", "1"]
        latencies[lag_s] = np.array([word["latency_ms"] for word in words])
    assert (latencies[0.7] > 700).all()
    assert (latencies[0.0] < 700).all()


def test_a_block_of_a_file_in_real_time_has_waited_since_its_last_sample_would_have_been_spoken(monkeypatch):
    now_s, waited_ms = [100.0], []

    class Slow:
        def open(self, source, sample_rate):
            pass

        def accept(self, block, waited_s):
            waited_ms.append(1000 * waited_s)
            now_s[0] += 0.025 if len(waited_ms) == 1 else 0.001  # the first block takes longer than it lasts
            return 0

    clock = types.SimpleNamespace(
        monotonic=lambda: now_s[0], sleep=lambda seconds: now_s.__setitem__(0, now_s[0] + seconds)
    )
    monkeypatch.setattr(live, "time", clock)
    blocks = live.Paced(np.zeros(400, np.float32), 8000)
    live.Session(Slow()).follow(blocks, lambda: blocks.captured_s)
    assert waited_ms == pytest.approx([0, 15, 6, 0, 0], abs=1e-6)


def test_the_latency_of_a_file_in_real_time_contains_how_long_its_sound_has_waited(run, tmp_path, monkeypatch):
    accept, n_blocks = Listener.accept, []

    def slow_at_first(self, *block):
        n_blocks.append(1)
        time.sleep(1.5 if len(n_blocks) == 1 else 0)
        return accept(self, *block)

    monkeypatch.setattr(Listener, "accept", slow_at_first)
    soundfile.write(tmp_path / "said.wav", speak("6"), 8000)  # the word ends at 0.9 s
    _, out, _ = run("--realtime", tmp_path / "said.wav")
    (word,) = json.loads(out[-1])["results"]
    assert word["end_s"] == pytest.approx(0.9, abs=0.02) and word["latency_ms"] > 500


def test_lost_sound_is_said_at_once_and_leaves_later_times_and_the_recording_as_long_as_they_are(
    run, fake_device, monkeypatch, tmp_path
):
    monkeypatch.setattr(microphone, "QUEUE_S", 1.0)
    said = speak("61", 2.0, sample_rate=16000)
    fake_device(said, n_at_once=150)  # of 10 ms: what was said from 1.0 to 1.5 s finds no room
    code, out, err = run("--mic", "--record", tmp_path / "heard.wav")
    summary = json.loads(out[-1])
    assert code == 0 and summary["overruns"] == 50
    assert sum("is being lost" in line for line in err) == 1
    assert [word["label"] for word in summary["results"]] == ["6", "1"]
    assert [word["start_s"] for word in summary["results"]] == pytest.approx([0.5, 2.9], abs=0.03)
    heard, _ = soundfile.read(tmp_path / "heard.wav", dtype="float32")
    expected = said[: said.size // 160 * 160].copy()
    expected[16000:24000] = 0
    np.testing.assert_allclose(heard, expected, atol=2e-5)


def test_losses_that_follow_each_other_are_said_once_and_later_ones_again(monkeypatch):
    class Losing:
        def __init__(self, device):
            self.device, self.sample_rate, self.overruns = microphone.InputDevice(0, "f", 8000, 1, True), 8000, 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            for heard_s, self.overruns in ((0, 0), (1, 1), (2, 4), (6, 5), (20, 5), (30, 6)):
                clock.append(heard_s)
                yield np.zeros(80, np.float32)

    clock, said = [], []
    monkeypatch.setattr(microphone, "Microphone", Losing)
    monkeypatch.setattr(lasting_microphone.time, "monotonic", lambda: clock[-1])
    with LastingMicrophone(on_lost=lambda _line: said.append(clock[-1])) as lasting:
        for _ in zip(range(6), lasting, strict=False):
            pass
    assert said == [1, 30]


def test_a_standard_error_that_was_closed_is_no_other_file():
    """Else what C libraries write there would end up in whatever was opened next, such as the recording."""
    code = """
import os
from edgedigit.cli import run_main
print(run_main(lambda _: os.fstat(2).st_rdev == os.stat(os.devnull).st_rdev))
"""
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} 2>&-"
    done = subprocess.run(command, shell=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "True\n"


def test_a_program_without_standard_error_may_keep_it_so(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "__stderr__", None)
    with live.own_stderr():
        assert sys.stderr is None
