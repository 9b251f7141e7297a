"""Recordings that a model was not trained on, and which of them choose a threshold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from edgedigit.data import load_recordings
from edgedigit.data.recording import ARTIFICIAL, Recording
from edgedigit.data.splits import in_name_order
from edgedigit.errors import DataError
from edgedigit.runtime import Recognizer
from edgedigit.train.heard import Heard


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
    kept = [recording for recording in loaded if heard.novelty(recording) != "trained"]
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
