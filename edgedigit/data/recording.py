"""One recording of one word, whatever corpus it comes from."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgedigit.audio import load_waveform
from edgedigit.data.progress import progress_bar
from edgedigit.labels import NON_DIGIT

SYNTH = "synth"
"""Source of recordings that no person spoke; they train and never test."""

SIMULATED = "emg_simulated"
"""Source of EMG that no muscle made; every figure from it says so."""

ARTIFICIAL = (SYNTH, SIMULATED)

UNKNOWN_SPEAKER = "unknown"
"""Ends the speaker of recordings of which nothing says who made them: one person, or several."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One word, spoken or mouthed.

    Attributes:
        waveform: (T,) float32 in [-1, 1]; of EMG (channels, T) in microvolts or steps of the converter.
        sample_rate: Hz.
        label: "0" to "9" for digits, the word itself for any other.
        speaker: unique over all corpora, such as "fsdd:george".
        source: the corpus.
        name: unique over all corpora, such as "fsdd/0_george_0.wav".
        split: the corpus' own official split, "train", "validation" or "test"; empty where it has none.
        session: unique over all corpora, between electrodes being put on and taken off; empty where nothing says.
        word: what the source calls it, where `label` is another, the one of whatever is no digit; else empty.
    """

    waveform: np.ndarray
    sample_rate: int
    label: str
    speaker: str
    source: str
    name: str
    split: str = ""
    session: str = ""
    word: str = ""


@dataclass(frozen=True)
class Entry:
    """A recording that has not been read yet; attributes as in `Recording`."""

    path: Path
    label: str
    speaker: str
    source: str
    name: str
    split: str = ""
    word: str = ""


def read_entries(entries: Iterable[Entry], sample_rate: int, progress: bool = False) -> list[Recording]:
    """Read and resample every entry.

    Args:
        entries: what to read.
        sample_rate: Hz, of the returned waveforms.
        progress: show a bar.

    Raises:
        AudioError: if a file is missing or is not audio.
    """
    entries = list(entries)
    return [
        Recording(
            waveform=np.clip(load_waveform(entry.path, sample_rate), -1.0, 1.0),  # resampling may overshoot
            sample_rate=sample_rate,
            label=entry.label,
            speaker=entry.speaker,
            source=entry.source,
            name=entry.name,
            split=entry.split,
            word=entry.word,
        )
        for entry in progress_bar(entries, progress, desc="reading recordings", unit="clip")
    ]


def with_labels(entries: Iterable[Entry], labels: Container[str] | None) -> list[Entry]:
    """Keep the entries whose label is in `labels`; all of them if it is None.

    Where `labels` holds `NON_DIGIT`, every other word is kept under that label.
    """
    if labels is None:
        return list(entries)
    if NON_DIGIT in labels:
        return [
            entry if entry.label in labels else replace(entry, label=NON_DIGIT, word=entry.label) for entry in entries
        ]
    return [entry for entry in entries if entry.label in labels]
