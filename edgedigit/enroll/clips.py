"""Clips of a user's words, altered copies of them, and what stands for every other sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgedigit.audio import AUDIO_SUFFIXES, fix_length
from edgedigit.config import AugmentConfig
from edgedigit.data import folder, synth
from edgedigit.data.augment import Augmenter, colored_noise
from edgedigit.data.other_words import OTHER_WORDS
from edgedigit.data.recording import Entry, Recording, read_entries
from edgedigit.errors import InputError
from edgedigit.labels import DIGITS, NON_DIGIT
from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.runtime.predictor import SILENCE_RMS

MIN_CLIPS = 3  # of a word; about ten are asked for
MAX_NAMED = 3  # clips in one line; how many more there are is said
N_COPIES = 8  # of each clip
N_OTHERS = 6  # synthetic clips of each other word
CUT_FROM = 1.5  # windows of the model: a recording of other sounds that is longer is learnt from in several parts
MAX_PARTS = 60  # of one recording, evenly spread: an hour of television shall not take an hour to learn
PAUSE_DB = 30  # below the loudest part of its recording
N_NOISES = 60  # windows in which nobody speaks
ALTERED = AugmentConfig(  # what changes between two sayings of a word by one person in one room
    speed_probability=0.5,
    speed_range=0.1,
    vocoder_probability=0.0,
    shift_ms=100.0,
    equalizer_db=2.0,
    band_probability=0.0,
    codec_probability=0.0,
    room_probability=0.0,
    noise_probability=0.8,
    snr_db=(8.0, 40.0),
    clean_snr_db=60.0,
    babble_share=0.0,
)


def read_clips(path: str | Path, sample_rate: int) -> list[Recording]:
    """A user's clips: one sub-folder for each word, or a manifest.csv; `_unknown_` holds what is none of them.

    Raises:
        DataError: if the folder is missing or laid out otherwise.
        AudioError: if a file is not audio.
        InputError: if there are too few clips of a word, a sub-folder holds none, or a clip is silent.
    """
    entries = folder.entries(Path(path))
    if empty := folders_without_audio(Path(path), entries):
        raise InputError(
            f"{path}: no recording in {', '.join(empty)}, expected {' '.join(AUDIO_SUFFIXES)}; convert or remove"
        )
    recordings = read_entries(entries, sample_rate)
    for recording in recordings:
        if np.sqrt(np.mean(recording.waveform**2)) < SILENCE_RMS:
            raise InputError(f"{path}: {recording.name} is silent; record it again or remove it")
    counts = Counter(recording.label for recording in recordings if recording.label != NON_DIGIT)
    if not counts:
        raise InputError(f"{path} holds {NON_DIGIT} alone; add a sub-folder of clips for each word")
    few = [f"{count} of {label}" for label, count in sorted(counts.items()) if count < MIN_CLIPS]
    if few:
        raise InputError(f"{path} holds {', '.join(few)}; record {MIN_CLIPS} clips of each word or more, about ten")
    return recordings


def folders_without_audio(path: Path, entries: Sequence[Entry]) -> list[str]:
    """Sub-folders that gave no clip, such as one of .m4a files: a word would be left out without a word said."""
    if not path.is_dir() or (path / folder.MANIFEST).is_file():
        return []
    heard = {entry.path.parent.name for entry in entries}
    return sorted(
        inner.name for inner in path.iterdir() if inner.is_dir() and inner.name not in heard and inner.name[0] != "."
    )


def notes_on(path: str | Path, clips: Sequence[Recording], recognizer: Recognizer) -> list[str]:
    """What a user should know of a folder and the clips that `read_clips` has read from it, one line each."""
    notes = []
    if suffixes := files_left_out(Path(path)):
        counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        notes.append(f"left out {counts}: only {' '.join(AUDIO_SUFFIXES)} are read; convert them to have them learnt")
    window_s = recognizer.info.n_samples / recognizer.info.sample_rate
    several = [(clip.name, count) for clip in clips if (count := words_beyond_window(clip, recognizer)) > 1]
    if several:
        named = ", ".join(f"{name} ({count})" for name, count in several[:MAX_NAMED])
        more = f" and {len(several) - MAX_NAMED} more" if len(several) > MAX_NAMED else ""
        notes.append(
            f"several words seem to be in {named}{more}: the model hears {window_s:g} s, and only the loudest "
            f"{window_s:g} s of a clip is learnt; cut them into one clip a word"
        )
    return notes


def files_left_out(path: Path) -> Counter:
    """How many files of each suffix in the sub-folders are not read, such as .m4a; hidden ones do not count."""
    if not path.is_dir() or (path / folder.MANIFEST).is_file():
        return Counter()
    files = (file for file in path.glob("*/*") if file.is_file() and file.name[0] != "." and file.parent.name[0] != ".")
    suffixes = (file.suffix.lower() for file in files)
    return Counter(suffix or "without suffix" for suffix in suffixes if suffix not in AUDIO_SUFFIXES)


def words_beyond_window(clip: Recording, recognizer: Recognizer) -> int:
    """How many words a stream would hear in a clip whose speech does not fit into the model's window; 0 if it does.

    `_unknown_` may hold anything, so there it is 0. A pause within a word is no reason to cut it where all of it fits.
    """
    if clip.label == NON_DIGIT or clip.waveform.size <= recognizer.info.n_samples:
        return 0
    stream = StreamingRecognizer(recognizer, sample_rate=clip.sample_rate)
    words = [event for event in (*stream.accept(clip.waveform), *stream.flush()) if event.kind in ("digit", "rejected")]
    fits = not words or words[-1].end_s - words[0].start_s <= recognizer.info.n_samples / recognizer.info.sample_rate
    return 0 if fits else len(words)


def cut_others(clips: Sequence[Recording], n_samples: int) -> list[Recording]:
    """Words as they are; a long recording of `_unknown_` as parts of `n_samples` under its name, without pauses."""
    parts = []
    for clip in clips:
        size = clip.waveform.size
        if clip.label != NON_DIGIT or size <= CUT_FROM * n_samples:
            parts.append(clip)
            continue
        starts = np.linspace(0, size - n_samples, min(-(-size // n_samples), MAX_PARTS)).round().astype(int)
        cut = np.array([clip.waveform[start : start + n_samples] for start in starts])  # (n, n_samples)
        rms = np.sqrt(np.mean(cut**2, axis=1))
        loud = cut[rms >= rms.max() * 10 ** (-PAUSE_DB / 20)]
        parts += [replace(clip, waveform=waveform) for waveform in loud]
    return parts


def altered_copies(waveforms: Sequence[np.ndarray], n_copies: int, n_samples: int, sample_rate: int, seed: int):
    """`n_copies` of each clip, one after the other, shifted, louder or fainter, in noise: (n * n_copies, n_samples)."""
    augmenter = Augmenter(ALTERED, n_samples, sample_rate)
    repeated = [waveform for waveform in waveforms for _ in range(n_copies)]
    return augmenter(repeated, np.random.default_rng(seed)) if repeated else np.zeros((0, n_samples), np.float32)


def windows(waveforms: Sequence[np.ndarray], n_samples: int) -> np.ndarray:
    """Clips as they are: (n, n_samples)."""
    return np.array([fix_length(waveform, n_samples) for waveform in waveforms], np.float32).reshape(-1, n_samples)


def other_clips(sample_rate: int, progress: bool = False) -> list[Recording]:
    """Digits and a hundred other words by synthetic voices, rendered once and then read from the user's cache.

    Raises:
        MissingDependencyError: if the package espeakng-loader is absent.
    """
    return synth.load((*DIGITS, *OTHER_WORDS), N_OTHERS, sample_rate=sample_rate, progress=progress)


def noise_windows(n_samples: int, seed: int) -> np.ndarray:
    """Faint and loud noise from white to brown: (N_NOISES, n_samples)."""
    rng = np.random.default_rng(seed)
    noise = colored_noise((N_NOISES, n_samples), rng.uniform(0.0, 2.0, N_NOISES), rng)
    return noise * 10 ** (rng.uniform(-70, -25, (N_NOISES, 1)) / 20).astype(np.float32)
