"""`python infer.py --mic` on a virtual microphone: words come out, and a device that is unplugged is waited for."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue

import numpy as np
import pytest
import soundfile

from edgedigit.audio import load_waveform
from edgedigit.labels import DIGIT_WORDS
from edgedigit.virtual_microphone import VirtualMicrophone

ROOT = Path(__file__).resolve().parents[1]
RATE = 44100  # Hz, what is played
ANSWER_S = 60.0  # on a machine that is busy otherwise; an answer itself takes a tenth of a second

pytestmark = [
    pytest.mark.mic,
    pytest.mark.skipif(not shutil.which("pulseaudio"), reason="PulseAudio is not installed"),
]


@pytest.fixture(params=[44100, 48000], ids=["44.1 kHz", "48 kHz"])
def any_rate(request):
    with VirtualMicrophone(request.param) as virtual:
        yield virtual


@pytest.fixture
def virtual():
    with VirtualMicrophone(RATE) as virtual:  # that of PortAudio: what is recorded is what was played, to the bit
        yield virtual


def spoken(digits):
    """Sample clips of the digits with pauses around them, in the faint noise of a quiet room."""
    pause = np.zeros(RATE * 4 // 10, np.float32)
    parts = [pause]
    for digit in digits:
        parts += [load_waveform(ROOT / "artifacts" / "samples" / f"{DIGIT_WORDS[int(digit)]}.wav", RATE), pause]
    waveform = np.concatenate(parts)
    return waveform + np.random.default_rng(0).normal(0, 1e-3, waveform.size).astype(np.float32)


class Listening:
    """A running `infer.py --mic` with its lines of stdout and stderr as they come."""

    def __init__(self, virtual, *options):
        command = [sys.executable, "infer.py", "--mic", *map(str, options)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A shell has its background jobs ignore Ctrl-C, and so do the tests that it runs there, and their children.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(command, cwd=ROOT, env=virtual.environment, **pipes)
        finally:
            signal.signal(signal.SIGINT, before)
        self._streams = {name: Queue() for name in ("stdout", "stderr")}
        self._readers = [threading.Thread(target=self._read, args=(name,)) for name in self._streams]
        for reader in self._readers:
            reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def _read(self, name):
        for line in getattr(self.process, name):
            self._streams[name].put(line.rstrip("\n"))

    def line(self, name="stdout"):
        """The next line."""
        try:
            return self._streams[name].get(timeout=ANSWER_S)
        except Empty:
            pytest.fail(f"no line on {name} within {ANSWER_S} s; it ended with {self.process.poll()}")

    def labels(self, count):
        """Those of the next answers."""
        return "".join(json.loads(self.line())["label"] or "-" for _ in range(count))

    def end(self):
        """Ctrl-C: the closing object and what else is on stderr."""
        self.process.send_signal(signal.SIGINT)
        summary = json.loads(self.line())
        assert self.process.wait(ANSWER_S) == 0
        for reader in self._readers:
            reader.join()
        rest = self._streams["stderr"]
        return summary, [rest.get_nowait() for _ in range(rest.qsize())]


def test_spoken_digits_come_out_at_any_rate_of_the_device(any_rate):
    with Listening(any_rate, "--json") as listening:
        assert listening.line("stderr") == "listening to default at 44100 Hz; Ctrl-C ends"
        any_rate.play(spoken("0123456789"), RATE)
        assert listening.labels(10) == "0123456789"
        summary, errors = listening.end()
    assert (summary["n_words"], summary["interruptions"]) == (10, 0)
    assert [line for line in errors if "sound was lost" in line] == errors[-1:] * (summary["overruns"] > 0)


def test_an_unplugged_microphone_is_said_waited_for_and_listened_to_again(virtual):
    with Listening(virtual, "--json") as listening:
        listening.line("stderr")
        virtual.play(spoken("3"), RATE)
        assert listening.labels(1) == "3"
        virtual.unplug()
        assert listening.line("stderr") == "microphone 0 (default) has gone; waiting for it"
        time.sleep(1.5)  # in which a look for it finds none, and says nothing
        virtual.replug()
        assert listening.line("stderr") == "microphone 0 (default) is back, at 44100 Hz"
        virtual.play(spoken("70"), RATE)
        assert listening.labels(2) == "70"
        summary, errors = listening.end()
    assert summary["interruptions"] == 1 and not [line for line in errors if line.startswith(("micro", "Expr", "ALSA"))]


def written(path):
    """What a recording holds, without the silence before and after what was played."""
    heard, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    return np.trim_zeros(heard)


def test_a_recording_holds_what_was_said_whether_ctrl_c_or_kill_ends_it(virtual, tmp_path):
    waveform = spoken("52")
    said = np.trim_zeros(np.rint(waveform * 32768).astype(np.int16))
    for end in ("end", "kill"):
        path = tmp_path / f"{end}.wav"
        with Listening(virtual, "--json", "--record", path) as listening:
            listening.line("stderr")
            virtual.play(waveform, RATE)
            assert listening.labels(2) == "52"
            virtual.wait()
            waiting_until = time.monotonic() + ANSWER_S
            while written(path).size < said.size and time.monotonic() < waiting_until:  # a busy machine lags
                time.sleep(0.2)
            listening.process.kill() if end == "kill" else listening.end()
            listening.process.wait(ANSWER_S)
        heard = written(path)
        assert heard.size == said.size
        # Sample for sample, but for silence where a busy machine has lost blocks.
        same = heard == said
        assert (heard[~same] == 0).all() and np.mean(same) > 0.7


def test_ctrl_c_ends_the_waiting_too(virtual):
    with Listening(virtual, "--json") as listening:
        listening.line("stderr")
        virtual.unplug()
        assert listening.line("stderr").endswith("waiting for it")
        summary, _ = listening.end()
    assert summary["interruptions"] == 1 and summary["n_words"] == 0


def test_a_microphone_that_is_not_there_is_one_line(virtual):
    virtual.unplug()
    result = subprocess.run(
        [sys.executable, "infer.py", "--mic"], cwd=ROOT, env=virtual.environment, capture_output=True, text=True
    )
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2 and result.stdout == ""
    assert line.startswith("error: microphone 0 (default) cannot be opened")


def test_the_display_names_the_device_shows_answers_and_says_that_it_has_gone(virtual, tmp_path):
    pytest.importorskip("rich")
    from terminal import Terminal

    command = sys.executable, str(ROOT / "infer.py"), "--mic", "--record", "heard.wav"
    terminal = Terminal(*command, folder=tmp_path, **virtual.environment)
    terminal.wait_for("listening to default at 44100 Hz")
    terminal.press("r")
    terminal.wait_for("waiting for it")
    virtual.play(spoken("8"), RATE)
    terminal.wait_for("answers: 1 ")
    terminal.wait_for("wrote 8_")
    virtual.unplug()
    terminal.wait_for("microphone 0 (default) has gone; waiting for it")
    virtual.replug()
    terminal.wait_for("is back, at 44100 Hz")
    terminal.press("q")
    code, summary, restored = terminal.end()
    assert code == 0 and restored and summary["results"][0]["label"] == "8" and summary["recorded_s"] > 1
    assert sorted(path.name[:5] for path in tmp_path.iterdir())[1] == "heard"
