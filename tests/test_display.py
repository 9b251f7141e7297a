"""The terminal display: what it shows, when it is used, its keys, and that nobody waits for it."""

import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("rich")
pytest.importorskip("termios")
from rich.cells import cell_len
from rich.console import Console
from terminal import Terminal
from tiny_model import speak

from edgedigit import display as display_module
from edgedigit.display import Display, bar
from edgedigit.runtime import Event, Prediction

ROOT = Path(__file__).resolve().parents[1]
HEADER = ("digit", "prob", "seconds", "ms", "source")


def drawn(display):
    """The text of a frame."""
    console = display.console
    with console.capture() as capture:
        console.print(display.frame())
    return capture.get()


def quiet_console(height=30):
    return Console(file=io.StringIO(), width=100, height=height, force_terminal=True, color_system=None)


def partial(**probabilities):
    label = max(probabilities, key=probabilities.get)
    prediction = Prediction(label, probabilities[label], probabilities, False, 1.0)
    return Event("partial", 1.0, 0.5, 1.0, prediction)


@pytest.mark.parametrize(("share", "expected"), [(0, "    "), (0.5, "██  "), (0.53, "██▏ "), (1, "████"), (7, "████")])
def test_bars_to_an_eighth_of_a_character(share, expected):
    assert bar(share, 4) == expected


def test_a_frame_shows_source_state_level_probabilities_answers_and_overruns():
    display = Display(("no", "[bold]yes"), HEADER, console=quiet_console(), overruns=lambda: 3)
    display.begin("default at 44100 Hz")
    display.hear(np.full(441, 0.1, np.float32))
    display.show([partial(**{"no": 0.25, "[bold]yes": 0.75})])
    display.add_row(("no", "0.981", "1.20-1.60", "31.4", "microphone"))
    text = drawn(display)
    for expected in (
        "default at 44100 Hz",
        "speech",
        "-20 dB",
        "0.250",
        "[bold]yes",
        "0.750",
        "0.981",
        "31.4",
        "overruns: 3",
    ):
        assert expected in text
    display.hear(np.ones(441, np.float32))
    assert "0 dB  too loud" in drawn(display)
    display.show([Event("speech_end", 2.0, 0.5, 1.0)])
    assert "listening" in drawn(display) and "0.750" in drawn(display)  # the answer stays to be read


def test_more_labels_than_lines_leaves_the_likeliest():
    labels = [f"word{i}" for i in range(40)]
    display = Display(labels, HEADER, console=quiet_console(height=20))
    display.show([partial(**{label: (i == 33) * 0.5 for i, label in enumerate(labels)})])
    text = drawn(display)
    assert "word33" in text and text.count("word") == 12 and len(text.splitlines()) <= 20


def test_answers_are_newest_first_and_a_few_are_kept_beside_few_labels_of_any_script():
    display = Display(("نعم", "はい"), HEADER, console=quiet_console())
    for i in range(15):
        display.add_row((f"w{i}", "0.900", f"{i}.00-{i}.40", "31.4", "microphone"))
    text = drawn(display)
    assert text.index("w14") < text.index("w13") < text.index("w5 ") and "w4 " not in text
    assert text.count("microphone") == display_module.N_ANSWERS
    columns = {cell_len(line[: line.index("microphone")]) for line in text.splitlines() if "microphone" in line}
    assert len(columns) == 1  # they stand below each other


class StuckTerminal(io.StringIO):
    """Takes nothing more once it is stuck, as one whose output was paused by Ctrl-S."""

    def __init__(self):
        super().__init__()
        self.released = threading.Event()
        self.stuck = threading.Event()

    def write(self, text):
        if "stuck" in text:
            self.stuck.set()
            self.released.wait(10)
        return super().write(text)


def test_a_terminal_that_is_stuck_delays_nobody():
    terminal = StuckTerminal()
    console = Console(file=terminal, width=100, height=30, force_terminal=True)
    with Display(("0", "1"), HEADER, console=console) as display:
        display.notice("stuck")
        assert terminal.stuck.wait(5)
        start = time.perf_counter()
        for _ in range(100):
            display.begin("more")
            display.hear(np.zeros(441, np.float32))
            display.show([partial(no=1.0)])
            display.add_row(("no", "1.000", "0.00-0.40", "30.0", "microphone"))
            display.notice("more")
        assert time.perf_counter() - start < 1
        assert not terminal.released.is_set()
        terminal.released.set()
    assert terminal.getvalue().count("more\n") >= 100  # all of it is shown later


def test_it_draws_no_more_often_than_it_says():
    with Display(("0", "1"), HEADER, console=quiet_console()) as display:
        time.sleep(0.5)
    assert 1 <= display.n_refreshes <= 0.5 * display_module.REFRESH_HZ + 1.5


@pytest.fixture(scope="module")
def two_words(tmp_path_factory):
    path = tmp_path_factory.mktemp("display") / "two.wav"
    soundfile.write(path, speak("47", gap_s=0.35, sample_rate=16000), 16000)
    return path


def infer(tiny_model, *words):
    return [sys.executable, str(ROOT / "infer.py"), "--model", str(tiny_model), *map(str, words)]


def test_a_terminal_has_a_display_and_a_pipe_has_lines(tiny_model, two_words, tmp_path):
    command = infer(tiny_model, "--realtime", two_words)
    terminal = Terminal(*command, folder=tmp_path)
    code, shown, restored = terminal.end()
    piped = subprocess.run(command, capture_output=True, text=True)
    lines = piped.stdout.splitlines()
    assert "level" in terminal.text and "█" in terminal.text and "answers: 2   overruns: 0" in terminal.text
    assert (code, piped.returncode, restored) == (0, 0, True)
    assert "\x1b" not in piped.stdout and len(lines) == 4 and lines[0].split() == list(HEADER)
    for key in ("label", "start_s", "end_s"):
        assert [word[key] for word in shown["results"]] == [word[key] for word in json.loads(lines[-1])["results"]]


@pytest.mark.parametrize(
    ("flags", "options"), [(["--plain"], {}), ([], {"TERM": "dumb"}), ([], {"PYTHONIOENCODING": "latin-1"})]
)
def test_lines_on_a_terminal_where_they_are_wanted_or_all_it_can(tiny_model, two_words, tmp_path, flags, options):
    terminal = Terminal(*infer(tiny_model, "--realtime", two_words, *flags), folder=tmp_path, **options)
    code, _, _ = terminal.end()
    assert code == 0 and "level" not in terminal.text and "\x1b" not in terminal.text and "digit" in terminal.text


def test_lines_on_a_terminal_without_rich(tiny_model, two_words, tmp_path):
    code = "import sys; sys.modules['rich'] = None; import infer; sys.exit(infer.main(sys.argv[1:]))"
    words = ["--model", str(tiny_model), "--realtime", str(two_words)]
    terminal = Terminal(sys.executable, "-c", code, *words, folder=tmp_path)
    assert terminal.end()[0] == 0 and "level" not in terminal.text and "digit" in terminal.text


def test_a_terminal_is_put_right_and_told_the_result_when_the_program_is_terminated(tiny_model, two_words, tmp_path):
    terminal = Terminal(*infer(tiny_model, "--realtime", *[two_words] * 20), folder=tmp_path)
    terminal.wait_for("answers: 1")
    terminal.terminate()
    code, summary, restored = terminal.end()
    assert code == 0 and restored and 1 <= summary["n_words"] < 40
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")  # the cursor is shown again


@pytest.mark.timed  # keys are pressed while words are heard
def test_r_keeps_a_clip_of_the_word_and_q_ends(tiny_model, two_words, tmp_path):
    terminal = Terminal(*infer(tiny_model, "--realtime", two_words, two_words), folder=tmp_path)
    terminal.wait_for("level")
    terminal.press("r")
    terminal.wait_for("waiting for it")
    terminal.wait_for("wrote 4_")
    terminal.press("Q")
    code, summary, restored = terminal.end()
    assert code == 0 and restored and summary["n_inputs"] == 1
    (clip,) = tmp_path.glob("*.wav")
    heard, rate = soundfile.read(clip)
    assert rate == 16000 and 0.8 < heard.size / rate < 1.2
    assert np.argmax(np.abs(np.fft.rfft(heard))) * rate / heard.size == pytest.approx(600, abs=5)  # the tone of "4"
