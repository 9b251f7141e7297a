"""Speech synthesis engines: espeak-ng from its PyPI package; flite, festival and pico where they are installed."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedigit.audio import read_audio
from edgedigit.errors import DataError, MissingDependencyError

ENGLISH_ACCENTS = (
    "en",
    "en-029",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-gb-x-rp",
    "en-us",
    "en-us-nyc",
)
SKIPPED_VARIANTS = {
    "whisper": "a whisper: no voiced speech",
    "whisperf": "a whisper: no voiced speech",
    "caleb": "a whisper: no voiced speech",
    "Reed": "reads memory it never wrote, so that it differs from run to run",
    "fast": "the default voice with a test setting",
    "Demonic": "a monster",
    "announcer": "a machine from a game",
    "UniRobot": "a robot",
    "anikaRobot": "a robot",
}
"""Variants of espeak-ng that are left out, with the reason; all that are called robosoft are robots, too."""

BASE_WORDS_PER_MINUTE = 170
TIMEOUT_S = 60

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS of speak_lib.h, as are the following
_DONT_EXIT = 0x8000
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_SYNTH_ARGUMENTS = (
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.c_void_p,
    ctypes.c_void_p,
)


@dataclass(frozen=True)
class Style:
    """How a word is said. `speed` is relative to the voice's own; `pitch` and `inflection` run from -1 to 1."""

    speed: float = 1.0
    pitch: float = 0.0
    inflection: float = 0.0


def _loader():
    try:
        import espeakng_loader
    except ImportError:
        raise MissingDependencyError.of("espeakng_loader", "enroll") from None
    return espeakng_loader


class Espeak:
    """One instance of espeak-ng, with a state of its own, so that equal calls in equal order give equal samples.

    The library keeps its random and filter states in static variables that nothing resets; hence each instance
    loads its own copy of the library's file.

    Raises:
        MissingDependencyError: if the package espeakng-loader is absent.
        DataError: if the library does not start.
    """

    def __init__(self):
        loader = _loader()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            self._library = ctypes.CDLL(shutil.copy(loader.get_library_path(), folder))
        data_path = str(loader.get_data_path()).encode()
        self.sample_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data_path, _DONT_EXIT)
        if self.sample_rate <= 0:
            raise DataError('espeak-ng does not start; run pip install --force-reinstall "edgedigit[enroll]"')
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._library.espeak_Synth.argtypes = _SYNTH_ARGUMENTS
        self._chunks: list[bytes] = []
        self._callback = _SynthCallback(self._receive)  # kept, or it is collected while the library holds it
        self._library.espeak_SetSynthCallback(self._callback)

    def __enter__(self) -> Espeak:
        return self

    def __exit__(self, *exception) -> None:
        self._library.espeak_Terminate()

    def _receive(self, samples, n_samples: int, events) -> int:
        if samples and n_samples:
            self._chunks.append(ctypes.string_at(samples, 2 * n_samples))
        return 0

    def say(self, text: str, voice: str, style: Style) -> np.ndarray:
        """Samples (T,) float32 at `sample_rate`.

        Args:
            text: what to say.
            voice: accent, or accent+variant, such as "en-us+f3".
            style: how to say it.

        Raises:
            DataError: if espeak-ng does not know the voice.
        """
        variant = voice.partition("+")[2]
        known = not variant or (espeak_data() / "voices" / "!v" / variant).is_file()
        if not known or self._library.espeak_SetVoiceByName(voice.encode()):
            raise DataError(f"espeak-ng has no voice {voice!r}; choose from edgedigit.data.synth.all_voices()")
        for parameter, value in (
            (_RATE, BASE_WORDS_PER_MINUTE * style.speed),
            (_PITCH, 50 + 40 * style.pitch),
            (_RANGE, 50 + 40 * style.inflection),
        ):
            self._library.espeak_SetParameter(parameter, round(value), 0)
        self._chunks.clear()
        content = text.encode()  # ctypes adds the terminating zero, which the size counts
        self._library.espeak_Synth(content, len(content) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        return np.frombuffer(b"".join(self._chunks), dtype=np.int16).astype(np.float32) / 32768


def espeak_data() -> Path:
    """espeak-ng's data folder."""
    return Path(_loader().get_data_path())


def espeak_languages() -> list[str]:
    """Languages and regions that espeak-ng speaks, such as "de" and "es-419"."""
    return sorted(path.name.lower() for path in (espeak_data() / "lang").rglob("*") if path.is_file())


def espeak_voices(accents: Sequence[str] = ENGLISH_ACCENTS) -> list[str]:
    """Every accent or language with every speech-like variant, such as "en-us+f3"."""
    variants = sorted(path.name for path in (espeak_data() / "voices" / "!v").iterdir())
    kept = [name for name in variants if name not in SKIPPED_VARIANTS and not name.startswith("robosoft")]
    return [f"{accent}+{variant}" for accent in accents for variant in kept]


def _flite_voices() -> list[str]:
    listing = subprocess.run(["flite", "-lv"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    spoken = listing.partition(":")[2].split()
    return [voice for voice in spoken if voice not in ("kal", "awb_time")]  # kal16 in 8 kHz; a talking clock


def _flite_command(text: str, voice: str, style: Style, output: str) -> list[str]:
    return ["flite", "-voice", voice, "--setf", f"duration_stretch={1 / style.speed:.3f}", "-t", text, "-o", output]


def _festival_voices() -> list[str]:
    roots = (Path("/usr/share/festival/voices/english"), Path("/usr/local/share/festival/voices/english"))
    return sorted(path.name for root in roots if root.is_dir() for path in root.iterdir())


def _festival_command(text: str, voice: str, style: Style, output: str) -> list[str]:
    stretch = f"(Parameter.set 'Duration_Stretch {1 / style.speed:.3f})"
    return ["text2wave", "-eval", f"(voice_{voice})", "-eval", stretch, "-o", output]


def _pico_voices() -> list[str]:
    return ["en-GB", "en-US"]


def _pico_command(text: str, voice: str, style: Style, output: str) -> list[str]:
    levels = f'<speed level="{round(100 * style.speed)}"><pitch level="{round(100 + 25 * style.pitch)}">'
    return ["pico2wave", "-l", voice, "-w", output, f"{levels}{text}</pitch></speed>"]


@dataclass(frozen=True)
class Program:
    """A synthesiser that is run as a program; the text goes to its standard input as well as to `command`."""

    executable: str
    voices: Callable[[], list[str]]
    command: Callable[[str, str, Style, str], list[str]]


PROGRAMS = {
    "flite": Program("flite", _flite_voices, _flite_command),
    "festival": Program("text2wave", _festival_voices, _festival_command),
    "pico": Program("pico2wave", _pico_voices, _pico_command),
}


def program_voices() -> list[str]:
    """English voices of the installed programs, such as "flite:slt"."""
    return [
        f"{name}:{voice}"
        for name, program in PROGRAMS.items()
        if shutil.which(program.executable)
        for voice in program.voices()
    ]


def say_with_program(text: str, voice: str, style: Style) -> tuple[np.ndarray, int]:
    """Samples (T,) float32 and their rate in Hz.

    Args:
        text: what to say.
        voice: one of `program_voices`.
        style: how to say it; flite and festival follow its speed only.

    Raises:
        DataError: if the program is unknown or fails.
        AudioError: if what it writes is not audio.
    """
    name, _, speaker = voice.partition(":")
    if name not in PROGRAMS:
        raise DataError(f"no synthesiser is called {name!r}; choose espeak, {', '.join(PROGRAMS)}")
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder, "word.wav"))
        command = PROGRAMS[name].command(text, speaker, style, output)
        try:
            subprocess.run(command, input=text, text=True, capture_output=True, timeout=TIMEOUT_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise DataError(f"{name} cannot say {text!r} as {speaker}: {error}; choose other voices") from None
        if not Path(output).exists():
            raise DataError(f"{name} wrote nothing for {text!r} as {speaker}; mend its installation or remove it")
        return read_audio(output)
