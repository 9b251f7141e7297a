"""Render the ten sample clips of artifacts/samples with espeak-ng: one digit each, ten voices.

python docs/make_samples.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgedigit.audio import SAMPLE_RATE, write_wav
from edgedigit.data.synth import render
from edgedigit.labels import DIGIT_WORDS, DIGITS

FOLDER = Path(__file__).resolve().parents[1] / "artifacts" / "samples"
VOICES = (
    "en-us+f1",
    "en-gb-scotland+m3",
    "en-us+m1",
    "en-gb-x-rp+f4",
    "en-029+m2",
    "en-us+f3",
    "en-gb-scotland+f2",
    "en-us+m4",
    "en-gb-x-rp+m1",
    "en-us+f5",
)
SILENCE_S = 0.25  # before and after the word


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    silence = np.zeros(round(SILENCE_S * SAMPLE_RATE), np.float32)
    for digit, word, voice in zip(DIGITS, DIGIT_WORDS, VOICES, strict=True):
        (recording,) = render([digit], n_per_word=1, seed=1, voices=[f"espeak:{voice}"], sample_rate=SAMPLE_RATE)
        write_wav(FOLDER / f"{word}.wav", np.concatenate([silence, recording.waveform, silence]))
    print(f"wrote {len(DIGITS)} clips to {FOLDER.name}/")


if __name__ == "__main__":
    main()
