"""Real recordings to stream, which no shipped model has trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgedigit.audio import SAMPLE_RATE, load_waveform
from edgedigit.errors import DataError, MissingDependencyError
from edgedigit.labels import DIGIT_OF_WORD, DIGITS
from edgedigit.runtime import Recognizer
from edgedigit.runtime._paths import artifacts_dir
from edgedigit.word_stream import Clip

FSDD_TEST = "FSDD official test"
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
    test = [recording for recording in recordings if recording.split == "test"]
    return _clips(test, FSDD_TEST), f"{FSDD_TEST}, {len(test)} clips"


def load_strangers(model: Path, part: str, data_dir: str | Path | None = None) -> tuple[list[Clip], str]:
    """Words of speakers whom the model's own training held out for validation or test, and a sentence about them.

    Raises:
        ConfigError: if nothing says how the model was trained.
        DataError: if it held none out, or they are not here.
        MissingDependencyError: if what reads a training's recordings is not installed.
    """
    try:
        from edgedigit.train.heard import heard_by, held_out

        recordings = held_out(model, Recognizer(model).info.labels, part, data_dir)
        trained = heard_by(model, data_dir).speakers  # a corpus' own split may divide a speaker's recordings
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error.name, "train") from None
    speakers = {recording.speaker for recording in recordings}
    n_seen = len(speakers & trained)
    group = f"{'speakers' if n_seen else 'strangers'} of the model's {part} part"
    about = f"{group}, {len(recordings)} clips of {len(speakers)} speakers"
    about += f", {n_seen} of whom trained it with other recordings" if n_seen else " who never trained it"
    return _clips(recordings, group), about + (", but on whom it was selected" if part == "validation" else "")


def _clips(recordings: Sequence, group: str) -> list[Clip]:
    return [Clip(r.waveform, r.sample_rate, r.label, group, r.speaker) for r in recordings]


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
