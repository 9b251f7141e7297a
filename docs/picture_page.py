"""Draw docs/page.png: the page after it has heard the ten sample clips from Chromium's fake microphone.

python docs/picture_page.py [page.png [light|dark [WIDTH]]]
"""

from __future__ import annotations

import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from edgedigit.audio import SAMPLE_RATE, load_waveform, write_wav
from edgedigit.labels import DIGIT_WORDS
from edgedigit.runtime._paths import artifacts_dir
from edgedigit.serve.chromium import chromium, playing, serving
from edgedigit.serve.site import site_files

N_COLOURS = 64  # a third of the bytes, and nobody sees it
GAP_S = 0.35
NOISE_DB = -60  # of full scale: a quiet room


def main(path: str = "docs/page.png", scheme: str = "light", width: str = "1100") -> None:
    """Play, listen, and take the picture when the last digit has been heard."""
    rng = np.random.default_rng(0)
    gap = np.zeros(int(GAP_S * SAMPLE_RATE))
    parts = [np.zeros(SAMPLE_RATE)]
    for word in DIGIT_WORDS:
        parts += [load_waveform(artifacts_dir() / "samples" / f"{word}.wav"), gap]
    waveform = np.concatenate([*parts, gap])
    with tempfile.TemporaryDirectory() as folder, serving(site_files()) as (url, _):
        recording = Path(folder, "ten.wav")
        write_wav(recording, waveform + rng.normal(0, 10 ** (NOISE_DB / 20), waveform.size))
        with chromium(*playing(recording)) as browser:
            page = browser.new_page(viewport={"width": int(width), "height": 1000}, color_scheme=scheme)
            page.goto(url)
            page.click("#listen:enabled", timeout=60_000)
            page.wait_for_selector("#answer:text-is('9')", timeout=60_000)
            page.wait_for_timeout(400)
            picture = page.screenshot()
    Image.open(BytesIO(picture)).quantize(N_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
