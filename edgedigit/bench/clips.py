"""Real recordings to stream, which no shipped model has trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgedigit.audio import SAMPLE_RATE, load_waveform
from edgedigit.errors import DataError
from edgedigit.labels import DIGIT_OF_WORD, DIGITS
from edgedigit.runtime._paths import artifacts_dir
from edgedigit.word_stream import Clip

_LABEL_OF = {**DIGIT_OF_WORD, **{digit: digit for digit in DIGITS}}


def load_clips(data_dir: str | Path | None = None) -> tuple[list[Clip], str]:
    """Real recordings that no shipped model has trained on, and a sentence that says which.

    Returns:
        FSDD's official test recordings (300), or the sample clips that come with the model where FSDD is not on disk.
    """
    try:
        from edgedigit.data import load_recordings

        recordings = load_recordings(["fsdd"], data_dir, download=False)
    except (DataError, ImportError) as error:  # the runtime extra alone lacks what reading corpora needs
        clips = _sample_clips()
        return clips, f"the {len(clips)} sample clips only: {error}"
    clips = [Clip(r.waveform, r.sample_rate, r.label) for r in recordings if r.split == "test"]
    return clips, f"FSDD official test, {len(clips)} clips"


def _sample_clips() -> list[Clip]:
    clips = []
    for path in sorted((artifacts_dir() / "samples").glob("*")):
        label = next((part for part in re.split(r"[^a-z0-9]+", path.stem.lower()) if part in _LABEL_OF), None)
        if label is not None and path.suffix in (".wav", ".flac", ".ogg"):
            clips.append(Clip(load_waveform(path), SAMPLE_RATE, _LABEL_OF[label]))
    if not clips:
        raise DataError("there are no recordings: name a folder that holds FSDD with --data-dir or EDGEDIGIT_DATA")
    return clips


def choose_clips(clips: Sequence[Clip], n: int, seed: int = 0) -> list[Clip]:
    """Some of the clips, or all of them for n = 0, shuffled; the same for the same seed."""
    order = np.random.default_rng(seed).permutation(len(clips))
    return [clips[i] for i in order[: n or len(clips)]]
