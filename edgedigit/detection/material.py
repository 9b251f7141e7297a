"""Recordings that a model was not trained on, and which of them choose a threshold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedigit.config import from_stored
from edgedigit.data import load_recordings
from edgedigit.data.noises import noises_of_part
from edgedigit.data.recording import ARTIFICIAL, SYNTH, Recording
from edgedigit.data.splits import in_name_order
from edgedigit.errors import DataError
from edgedigit.manifest import manifest_path, read_manifest
from edgedigit.runtime import Recognizer
from edgedigit.train.pipeline import divide


@dataclass(frozen=True)
class Heard:
    """What a model met before it was finished, by the names of recordings.

    Attributes:
        known: whether the model's manifest says so; if not, the rest is empty.
        trained: that it was trained on.
        validation: on which its training was watched and its probabilities were calibrated.
        speakers: of `trained`.
        noises: that were mixed under its recordings, or trained it to answer nothing.
    """

    known: bool = False
    trained: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    speakers: frozenset[str] = frozenset()
    noises: frozenset[str] = frozenset()


def heard_by(model: Path, data_dir: str | Path | None) -> Heard:
    """What a model's manifest says that it was trained on, divided once more as it was then.

    Raises:
        DataError: if those recordings are not there.
    """
    values = read_manifest(model).get("config") if manifest_path(model).exists() else None
    if values is None:
        return Heard()
    data = from_stored(values).data
    sources = tuple(source for source in data.sources if source.partition(":")[0] != SYNTH)
    if not sources:
        return Heard(known=True)
    # Synthetic voices only train, and splits deal real speakers: the others are divided alike without them.
    data = replace(data, sources=sources)
    recordings = load_recordings(sources, data_dir, labels=data.labels, signal=data.signal, download=False)
    track = divide(data, recordings, []).tracks[-1]
    try:
        noises = load_recordings([data.noises], data_dir, labels=None, signal=data.signal) if data.noises else []
        noises = noises_of_part(noises, data.noise_part)
    except DataError:  # there were none, and augmentation made its own
        noises = []
    return Heard(
        True,
        frozenset(recording.name for recording in track.train),
        frozenset(recording.name for recording in track.validation),
        frozenset(recording.speaker for recording in track.train),
        frozenset(recording.name for recording in noises),
    )


def load_unheard(
    sources: Sequence[str], recognizer: Recognizer, heard: Heard, data_dir: str | Path | None, digits: bool
) -> tuple[list[Recording], int]:
    """Recordings of the model's digits, or of anything else, that people made and the model was not trained on.

    Returns:
        Those, and how many were left out because the model was trained on them.

    Raises:
        DataError: if none is left.
    """
    info = recognizer.info
    wanted = [label for label in info.labels if label != info.reject_label]
    loaded = load_recordings(sources, data_dir, labels=wanted if digits else None, signal=info.signal, progress=True)
    loaded = [r for r in loaded if (r.label in wanted) == digits and r.source not in ARTIFICIAL]
    kept = [recording for recording in loaded if recording.name not in heard.trained]
    if not kept:
        if not loaded:
            raise DataError(f"nothing but digits in {', '.join(sources)}; name recordings of other words or of noise")
        raise DataError(f"the model was trained on all {len(loaded)} recordings in {', '.join(sources)}; name others")
    return kept, len(loaded) - len(kept)


def halves(recordings: Sequence[Recording], heard: Heard) -> tuple[list[Recording], list[Recording]]:
    """Recordings that choose a threshold and those that measure what comes of it, by other speakers.

    Validation recordings of the model choose. The speakers of the others are dealt to both by turns in each source, in
    an order that depends on their names alone.

    Raises:
        DataError: if a half would be empty.
    """
    speakers = defaultdict(set)
    choosing = {recording.speaker for recording in recordings if recording.name in heard.validation}
    for recording in recordings:
        speakers[recording.source].add(recording.speaker)
    for names in speakers.values():
        choosing |= set(in_name_order(names - choosing)[::2])
    parts = [[r for r in recordings if (r.speaker in choosing) == first] for first in (True, False)]
    if not all(parts):
        raise DataError(
            f"{len(recordings)} recordings of speech are by {sum(map(len, speakers.values()))} speakers, and need two: "
            "one to choose a threshold on, another to count false accepts on"
        )
    return parts[0], parts[1]
