"""Digits in Arabic, German, Spanish and French by MBROLA's voices, to test what learnt from espeak-ng's own.

python docs/render_mbrola.py mbrola_digits
python docs/render_mbrola.py mbrola_digits --languages de --takes 20

espeak-ng says which sounds a word has, and MBROLA joins them from recordings of one person (diphones), so these clips
are neither espeak-ng's formants nor somebody who says a word. Each voice says each digit in so many takes of different
speed and pitch. The folder gets WAV files and a manifest.csv: a voice is a speaker, a language a source. A voice that
lacks a sound of a digit is left out, as those of Hindi do; the one of Mandarin does not start (espeak-ng 1.51).

Needs the programs espeak-ng and mbrola, and voices below /usr/share/mbrola (Debian: contrib and non-free, mbrola-de1
and so on). Each voice has its own terms, most of them no sale, alone or in a product: read them before these clips are
used for more than a test, and hand none of them on.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgedigit.audio import read_audio, write_wav
from edgedigit.cli import ArgumentParser, run_main
from edgedigit.data.folder import COLUMNS, MANIFEST
from edgedigit.data.languages import DIGITS_IN
from edgedigit.data.synth import MAX_DURATION_S, MIN_DURATION_S, SPEED_RANGE, trim_silence
from edgedigit.errors import DataError, MissingDependencyError

VOICES = Path("/usr/share/mbrola")
PREFIXES = {"ar": ("ar",), "de": ("de",), "es": ("es", "mx", "vz"), "fr": ("fr", "ca")}  # of the names of voices
RENAMED = {"ar": {"R": "r"}, "es": {"e/": "e", "o/": "o"}}  # sounds that espeak-ng calls otherwise than these voices
WORDS_PER_MINUTE = 170
PITCH = (30, 70)  # of espeak-ng's 0 to 99
MAX_DRAWS = 20  # of another speed and pitch, where a clip is too long or too short


class MissingSoundError(Exception):
    """A voice lacks a sound of a word."""


def main(argv: Sequence[str] | None = None) -> int:
    """Render; returns the exit code."""
    parser = ArgumentParser(prog="python docs/render_mbrola.py", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--languages", nargs="+", choices=sorted(PREFIXES), default=sorted(PREFIXES), help="all")
    parser.add_argument("--takes", type=int, default=10, help="clips of each digit by each voice; 10")
    args = parser.parse_args(argv)
    for program in ("espeak-ng", "mbrola"):
        if not shutil.which(program):
            raise MissingDependencyError(f"the program {program} is not installed (Debian: sudo apt install {program})")
    rows = []
    for language in args.languages:
        of_language = []
        for voice in sorted(path.name for path in VOICES.glob("*")):
            if voice.rstrip("0123456789") in PREFIXES[language]:
                of_language += render_voice(args.folder, language, voice, args.takes)
        if not of_language:
            raise DataError(
                f"no voice in {VOICES} says the digits in {language}; install mbrola-{language}2 and others"
            )
        print(f"{language}: {len(of_language)} clips")
        rows += of_language
    with (args.folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return 0


def render_voice(folder: Path, language: str, voice: str, n_takes: int) -> list[tuple[str, str, str, str]]:
    """Write a voice's clips; their rows in the manifest, none if it lacks a sound."""
    rng = np.random.default_rng([ord(letter) for letter in voice])
    (folder / language).mkdir(parents=True, exist_ok=True)
    rows = []
    for take in range(n_takes):
        for digit, text in DIGITS_IN[language].items():
            file = Path(language, f"{digit}_{voice}_{take}.wav")
            try:
                write_wav(folder / file, *say(text, language, voice, rng))
            except MissingSoundError as error:
                print(f"{voice} is left out: {error}")
                for row in rows:
                    (folder / row[0]).unlink()
                return []
            rows.append((file.as_posix(), digit, voice, f"mbrola_{language}"))
    return rows


def say(text: str, language: str, voice: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Samples (T,) and their rate in Hz of a clip that is neither too short nor too long for a word.

    Raises:
        DataError: if espeak-ng fails, or no speed suits the voice.
        MissingSoundError: if the voice cannot say it.
    """
    for _ in range(MAX_DRAWS):
        speed, pitch = rng.uniform(*SPEED_RANGE), rng.integers(*PITCH)
        style = ["-s", str(round(speed * WORDS_PER_MINUTE)), "-p", str(pitch)]
        try:
            sounds = run("espeak-ng", "-v", f"mb-{voice}", *style, "--pho", "-q", text).stdout.decode()
            for name, called in RENAMED.get(language, {}).items():
                sounds = re.sub(rf"^{name}(?=\s)", called, sounds, flags=re.MULTILINE)
            with tempfile.TemporaryDirectory() as folder:
                phonemes, clip = Path(folder, "word.pho"), Path(folder, "word.wav")
                phonemes.write_text(sounds, encoding="utf-8")
                said = run("mbrola", str(VOICES / voice / voice), str(phonemes), str(clip))
                if said.returncode or b"unknown" in said.stderr:
                    raise MissingSoundError(f"it lacks a sound of {text!r}")
                samples, sample_rate = read_audio(clip)
        except (OSError, subprocess.SubprocessError) as error:
            raise DataError(f"mb-{voice} cannot say {text!r}: {error}") from None
        samples = trim_silence(samples, sample_rate)
        if MIN_DURATION_S <= samples.size / sample_rate <= MAX_DURATION_S:
            return samples, sample_rate
    raise DataError(f"mb-{voice} says {text!r} in no time between {MIN_DURATION_S} and {MAX_DURATION_S} s")


def run(*command: str) -> subprocess.CompletedProcess:
    """Run a program; MBROLA's failures are left to the caller."""
    return subprocess.run(command, capture_output=True, timeout=60, check=command[0] == "espeak-ng")


if __name__ == "__main__":
    sys.exit(run_main(main))
