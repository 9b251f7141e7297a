"""Draw docs/terminal.png: the terminal display while the sample clips are heard from a virtual microphone.

python docs/picture_terminal.py [terminal.png]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from io import BytesIO, StringIO

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console

from edgedigit.answers import Report
from edgedigit.audio import load_waveform
from edgedigit.display import Display
from edgedigit.labels import DIGIT_WORDS
from edgedigit.listener import Listener
from edgedigit.live import Session
from edgedigit.recording import WordClips
from edgedigit.runtime import Recognizer
from edgedigit.runtime._paths import artifacts_dir
from edgedigit.runtime.microphone import Microphone
from edgedigit.virtual_microphone import VirtualMicrophone

N_COLOURS = 32  # a third of the bytes, and nobody sees it
N_ANSWERS = 8  # the picture is taken within the word after so many
GAP_S = 0.35


def main(path: str = "docs/terminal.png") -> None:
    """Play, listen, and take the picture within a word."""
    recognizer = Recognizer()
    options = argparse.Namespace(json=False, top_k=1, string=False, endpointing=None)
    report = Report(options, recognizer.info.labels)
    rate = 44100
    parts = [np.zeros(rate // 2, np.float32)]
    for word in DIGIT_WORDS:
        parts += [load_waveform(artifacts_dir() / "samples" / f"{word}.wav", rate), np.zeros(round(GAP_S * rate))]
    with VirtualMicrophone(rate) as virtual, Microphone() as microphone:
        hidden = Console(file=StringIO(), width=100, height=30)
        display = Display(report.labels, report.header, console=hidden, overruns=lambda: microphone.overruns)
        display._keys, display.clips = True, WordClips(None, print, print)  # as on a terminal with a keyboard
        report.display = display
        session = Session(Listener(recognizer, options, report), display)
        session.begin("microphone", microphone.sample_rate, f"{microphone.device.name} at {microphone.sample_rate} Hz")
        virtual.play(np.concatenate(parts), rate)

        def until_within_a_word():
            for block in microphone:
                display._level_db -= 0.3  # falls as when drawn
                yield block
                if session.n_answers == N_ANSWERS and 0.4 < display._probabilities[str(N_ANSWERS)] < 0.99:
                    return

        session.follow(until_within_a_word())
        console = Console(file=StringIO(), record=True, width=100, height=30, force_terminal=True)
        console.print("$ python infer.py --mic")
        console.print(display.frame())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.set_content(console.export_svg(title="edgedigit"))
        picture = page.locator("svg").screenshot()
        browser.close()
    Image.open(BytesIO(picture)).quantize(N_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
