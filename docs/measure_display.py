"""What the terminal display costs: the time of a refresh, and how much later words are answered with it.

python docs/measure_display.py [ROUNDS]

Plays the ten sample clips into a virtual microphone, in turn with lines, with the display on a pseudo-terminal that is
read, and with it on one that nobody reads, and ends with one line of JSON. Needs pulseaudio, libasound2-plugins,
libportaudio2 and pip install "edgedigit[mic]".
"""

from __future__ import annotations

import argparse
import os
import pty
import sys
import threading
import time
from contextlib import ExitStack

import numpy as np
from rich.console import Console

from edgedigit.answers import Report
from edgedigit.audio import load_waveform
from edgedigit.cli import print_json, run_main
from edgedigit.display import Display
from edgedigit.errors import InputError
from edgedigit.labels import DIGIT_WORDS
from edgedigit.listener import Listener
from edgedigit.live import Session
from edgedigit.metrics import latency_summary
from edgedigit.runtime import Recognizer
from edgedigit.runtime._paths import artifacts_dir
from edgedigit.runtime.microphone import Microphone
from edgedigit.virtual_microphone import VirtualMicrophone
from edgedigit.word_stream import Clip, build_stream

MODES = ("lines", "display", "display, terminal not read")
RATE = 44100  # Hz


class TimedReport(Report):
    """Notes the moment of each answer."""

    def word(self, source, prediction, *times):
        """One recognised word."""
        self.answers.append((time.perf_counter(), prediction.label))
        super().word(source, prediction, *times)


def main(argv=None) -> int:
    """Measure and print."""
    n_rounds = int((argv or sys.argv[1:] or ["10"])[0])
    samples = artifacts_dir() / "samples"
    clips = [Clip(load_waveform(samples / f"{word}.wav"), 8000, str(i)) for i, word in enumerate(DIGIT_WORDS)]
    args = argparse.Namespace(json=False, top_k=1, string=False, endpointing=None)
    recognizer = Recognizer()
    latencies, refreshes, overruns = {mode: [] for mode in MODES}, {mode: [] for mode in MODES}, 0
    with VirtualMicrophone(RATE) as virtual:
        for round_ in range(n_rounds):
            stream = build_stream(clips, RATE, seed=round_)
            for mode in MODES:
                answers, display, lost = listen(virtual, recognizer, args, stream, mode)
                overruns += lost
                said = [word.label for word in stream.words]
                if [label for _, label in answers] != said:
                    raise InputError(f"{mode}: heard {[label for _, label in answers]}, expected {said}")
                ends = [word.end_s for word in stream.words]
                latencies[mode] += [1000 * (moment - end) for (moment, _), end in zip(answers, ends, strict=True)]
                if display:
                    refreshes[mode].append((display.n_refreshes, display.refresh_s))
                print(f"round {round_} {mode}: p50 {np.median(latencies[mode]):.1f} ms", file=sys.stderr)
    result = {mode: latency_summary(np.maximum(latencies[mode], 0.0)) for mode in MODES}
    n, seconds = np.sum(refreshes["display"], axis=0)
    print_json({"latency": result, "refresh_ms": 1000 * seconds / n, "n_refreshes": int(n), "overruns": overruns})
    return 0


def listen(virtual, recognizer, args, stream, mode):
    """One stream: (seconds since its beginning, label) of each answer, the display, overruns."""
    with ExitStack() as stack:
        microphone = stack.enter_context(Microphone())
        report = TimedReport(args, recognizer.info.labels)
        report.answers = []
        display = None
        own, other = pty.openpty()
        terminal = stack.enter_context(os.fdopen(other, "w"))
        if mode == "display":
            threading.Thread(target=drain, args=(own,), daemon=True).start()
        if mode == "lines":
            report._row = lambda *cells: None
        else:
            console = Console(file=terminal, force_terminal=True, width=100, height=30)
            display = Display(report.labels, report.header, console=console)
            display.__enter__()
            report.display = display
        session = Session(Listener(recognizer, args, report), display)
        session.begin("microphone", microphone.sample_rate)
        started = virtual.play(stream.waveform, RATE)
        end = started + stream.waveform.size / RATE + 0.5
        session.follow(blocks_until(microphone, end))
        session.end()
        if mode == MODES[2]:  # let the display go on, else its thread never ends
            threading.Thread(target=drain, args=(own,), daemon=True).start()
        if display:
            display.__exit__()
        virtual.wait()
        return [(moment - started, label) for moment, label in report.answers], display, microphone.overruns


def blocks_until(blocks, end):
    """Those that come before a moment."""
    for block in blocks:
        if time.perf_counter() > end:
            return
        yield block


def drain(descriptor):
    """Read a terminal as its window would."""
    while True:
        try:
            os.read(descriptor, 65536)
        except OSError:
            return


if __name__ == "__main__":
    sys.exit(run_main(main))
