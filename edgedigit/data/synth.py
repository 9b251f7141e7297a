"""Words rendered by speech synthesis in many voices: training data that needs no download."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edgedigit.audio import resample
from edgedigit.data.accents import DIGIT_SPELLINGS
from edgedigit.data.download import cache_dir
from edgedigit.data.engines import (
    ENGLISH_ACCENTS,
    Espeak,
    Style,
    espeak_languages,
    espeak_voices,
    program_voices,
    say_with_program,
)
from edgedigit.data.languages import DIGITS_IN, ENGLISH, REGIONS
from edgedigit.data.other_words import OTHER_WORDS, words_beside
from edgedigit.data.progress import progress_bar
from edgedigit.data.recording import SYNTH, Recording
from edgedigit.errors import ConfigError, DataError
from edgedigit.labels import DIGIT_WORDS, DIGITS, NON_DIGIT

N_PER_WORD = 400
PROGRAM_REPEATS = 4  # clips of each word by each voice of an installed program, which are few but sound better
MAX_PROGRAM_SHARE = 0.5
FOREIGN_SHARE = 0.45  # of espeak-ng's clips: English with an accent

SPEED_RANGE = (0.7, 1.35)
MIN_DURATION_S = 0.15
MAX_DURATION_S = 1.2
MIN_PEAK = 0.02
SILENCE = 0.002  # of the peak, -54 dB: the faint ends of /s/ and /f/ stay
MARGIN_S = 0.02
MAX_DRAWS = 40  # of another speed and pitch, and at every tenth of another voice

CACHE_FORMAT = 3  # raise when the same settings give other samples


def all_voices(language: str = ENGLISH, words: Sequence[str] = DIGITS) -> list[str]:
    """Voices at hand, such as "espeak:en-us+f3" or "flite:slt".

    For English digits, voices of other languages are among them ("espeak:hi+f3"): they say English with an accent. Of
    what is no digit they say nothing.

    Raises:
        ConfigError: if espeak-ng does not speak `language`.
    """
    if language != ENGLISH:
        known = espeak_languages()
        if language not in known:
            near = difflib.get_close_matches(language, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"espeak-ng speaks no {language!r}; {hint}digits are known in {', '.join(DIGITS_IN)}")
        return [f"espeak:{voice}" for voice in espeak_voices(REGIONS.get(language, (language,)))]
    accents = (*ENGLISH_ACCENTS, *(DIGIT_SPELLINGS if set(words) <= {*DIGITS, NON_DIGIT} else ()))
    return [f"espeak:{voice}" for voice in espeak_voices(accents)] + program_voices()


def render(
    words: Sequence[str],
    n_per_word: int = N_PER_WORD,
    seed: int = 0,
    voices: Sequence[str] | None = None,
    language: str = ENGLISH,
    sample_rate: int = 8000,
    progress: bool = False,
) -> list[Recording]:
    """Say each word `n_per_word` times, each time in another voice or style; silence around it is cut off.

    Accents are taken in turn, and so are the voices of each; all words are said by the same ones, but for other words
    beside digits, which foreign voices do not say. A clip that is silent
    or not between 0.15 and 1.2 s long is drawn again. The result depends on the arguments and the engines' versions
    only.

    Args:
        words: labels; digits are spoken as numbers, and "_unknown_" is `n_per_word` clips of other words, which are
            known in English alone: in other languages it is left out.
        n_per_word: clips of each word.
        seed: of voices and styles.
        voices: from `all_voices`; None takes them all.
        language: as espeak-ng names it; other than English, only espeak-ng speaks.
        sample_rate: Hz, of the returned waveforms.
        progress: show a bar.

    Returns:
        Recordings, word by word, each voice ("synth:espeak:en-us+f3") a speaker.

    Raises:
        DataError: if a voice is unknown or cannot say a word acceptably, or the language lacks digits.
        MissingDependencyError: if the package espeakng-loader is absent.
    """
    rng = np.random.default_rng(seed)
    words = _said(words, language)
    voices = list(voices or all_voices(language, words))
    plan = _plan(voices, n_per_word, rng)
    recordings = []
    with (
        Espeak() as espeak,
        progress_bar(None, progress, total=len(words) * n_per_word, desc="rendering speech", unit="clip") as bar,
    ):
        for word in words:
            said, saying = [word], plan
            if word == NON_DIGIT:
                said = words_beside(words)
                native = [voice for voice in voices if _accent(voice) not in DIGIT_SPELLINGS]
                if native and len(native) < len(voices):
                    saying = _plan(native, n_per_word, rng)
            for index, planned in enumerate(saying):
                spoken = said[index % len(said)]
                waveform, voice = _say(espeak, spoken, language, planned, saying, sample_rate, rng)
                name = f"synth/{word}/{index:05d}_{voice}"
                recordings.append(Recording(waveform, sample_rate, word, f"synth:{voice}", SYNTH, name))
                bar.update()
    return recordings


def _plan(voices: list[str], n: int, rng: np.random.Generator) -> list[str]:
    """Voice of each of the `n` clips of a word: programs a few times each, then espeak-ng's in turn."""
    espeak = [voice for voice in voices if voice.startswith("espeak:")]
    programs = [voice for voice in voices if not voice.startswith("espeak:")] * PROGRAM_REPEATS
    n_programs = min(len(programs), round(n * MAX_PROGRAM_SHARE)) if espeak else n
    foreign = [voice for voice in espeak if _accent(voice) in DIGIT_SPELLINGS]
    native = [voice for voice in espeak if _accent(voice) not in DIGIT_SPELLINGS]
    n_espeak = n - n_programs
    n_foreign = round(n_espeak * FOREIGN_SHARE) if native and foreign else n_espeak * bool(foreign)
    plan = []
    for group, count in ((programs, n_programs), (foreign, n_foreign), (native, n_espeak - n_foreign)):
        if group:
            plan += _in_turn(group, count, rng)
    return plan


def _in_turn(voices: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """`n` voices in any order: every accent equally often, however many voices it has."""
    of_accent: dict[str, list[str]] = {}
    for voice in rng.permutation(sorted(voices)).tolist():
        of_accent.setdefault(_accent(voice), []).append(voice)
    accents = list(of_accent.values())
    chosen = [accents[i % len(accents)] for i in range(n)]
    return rng.permutation([of[i // len(accents) % len(of)] for i, of in enumerate(chosen)]).tolist()


def _say(
    espeak: Espeak,
    word: str,
    language: str,
    voice: str,
    voices: Sequence[str],
    sample_rate: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, str]:
    """An acceptable clip, (T,) float32 on a 16-bit grid, and the voice that said it."""
    for draw in range(MAX_DRAWS):
        if draw and draw % 10 == 0:
            voice = voices[rng.integers(len(voices))]
        style = Style(rng.uniform(*SPEED_RANGE), rng.uniform(-1, 1), rng.uniform(-1, 1))
        text = _text(word, language, voice)
        engine, _, name = voice.partition(":")
        if engine == "espeak":
            samples, orig_sample_rate = espeak.say(text, name, style), espeak.sample_rate
        else:
            samples, orig_sample_rate = say_with_program(text, voice, style)
        samples = trim_silence(samples, orig_sample_rate)
        if MIN_DURATION_S <= samples.size / orig_sample_rate <= MAX_DURATION_S and np.abs(samples).max() >= MIN_PEAK:
            samples = resample(samples, orig_sample_rate, sample_rate)
            return _from_int16(_to_int16(samples)), voice
    raise DataError(
        f"{voice} cannot say {text!r} in {MIN_DURATION_S} to {MAX_DURATION_S} s; choose a shorter word, spell it as "
        "that voice's language would, or record it"
    )


def _said(words: Sequence[str], language: str) -> list[str]:
    """Those of `words` that voices of a language say: of `NON_DIGIT`, other words are known in English alone."""
    return [word for word in words if word != NON_DIGIT or language == ENGLISH]


def _accent(voice: str) -> str:
    """The language of "espeak:hi+f3": "hi"."""
    return voice.partition(":")[2].partition("+")[0]


def _text(word: str, language: str, voice: str) -> str:
    """What an engine is given to read."""
    if word not in DIGITS:
        return word.replace("_", " ")
    if language != ENGLISH:
        if language not in DIGITS_IN:
            raise DataError(
                f"digits in {language!r} are not known; choose one of {', '.join(DIGITS_IN)}, or name words"
            )
        return DIGITS_IN[language][word]
    accent = _accent(voice) if voice.startswith("espeak:") else ""
    return DIGIT_SPELLINGS[accent][word] if accent in DIGIT_SPELLINGS else DIGIT_WORDS[int(word)]


def trim_silence(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Cut (T,) to the samples above -54 dB of its peak, and 20 ms either side."""
    level = np.abs(waveform)
    loud = np.flatnonzero(level > SILENCE * level.max(initial=0.0))
    if not loud.size:
        return waveform[:0]
    margin = round(MARGIN_S * sample_rate)
    return waveform[max(0, loud[0] - margin) : loud[-1] + 1 + margin]


def _to_int16(waveform: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16)


def _from_int16(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / 32768


def load(
    words: Sequence[str],
    n_per_word: int = N_PER_WORD,
    seed: int = 0,
    sample_rate: int = 8000,
    progress: bool = False,
    language: str = ENGLISH,
) -> list[Recording]:
    """As `render` with every voice of a language at hand, but rendered once and then read from the user's cache.

    Raises:
        ConfigError: if `n_per_word` is below 1.
        DataError, MissingDependencyError: as `render`.
    """
    if n_per_word < 1:
        raise ConfigError(f"synth:{n_per_word} asks for no clips; write synth:N with at least 1 clip of each word")
    words = _said(words, language)
    if not words:
        return []
    voices = all_voices(language, words)
    settings = {
        "format": CACHE_FORMAT,
        "espeakng_loader": version("espeakng_loader"),
        "soxr": version("soxr"),
        "words": words,
        "spellings": DIGIT_SPELLINGS,
        "foreign_share": FOREIGN_SHARE,
        "n_per_word": n_per_word,
        "seed": seed,
        "sample_rate": sample_rate,
        "voices": voices,
    }
    if language != ENGLISH:
        settings |= {"language": language, "spellings": DIGITS_IN.get(language)}
    if NON_DIGIT in words:
        settings["others"] = OTHER_WORDS
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / SYNTH / f"{key[:24]}.npz"
    if not path.exists():
        _write(path, render(words, n_per_word, seed, voices, language, sample_rate, progress))
    return _read(path, sample_rate)


def _write(path: Path, recordings: Sequence[Recording]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        np.savez(
            handle,
            samples=np.concatenate([_to_int16(recording.waveform) for recording in recordings]),
            lengths=[recording.waveform.size for recording in recordings],
            labels=[recording.label for recording in recordings],
            speakers=[recording.speaker for recording in recordings],
            names=[recording.name for recording in recordings],
        )
    os.replace(temporary, path)


def _read(path: Path, sample_rate: int) -> list[Recording]:
    with np.load(path) as stored:
        waveforms = np.split(_from_int16(stored["samples"]), np.cumsum(stored["lengths"])[:-1])
        rows = zip(waveforms, *(stored[name].tolist() for name in ("labels", "speakers", "names")), strict=True)
        return [
            Recording(waveform, sample_rate, label, speaker, SYNTH, name) for waveform, label, speaker, name in rows
        ]
