"""AudioMNIST: 30,000 recordings of 60 speakers at 48 kHz, `data/NN/{digit}_{NN}_{index}.wav`.

Source: Becker et al. 2018, "AudioMNIST: Exploring Explainable Artificial Intelligence for audio analysis on a simple
benchmark", arXiv:1807.03418; https://github.com/soerenab/AudioMNIST, MIT. It is published as a repository without
releases, so no hash of an archive is known and it is not downloaded automatically.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgedigit.data.download import Corpus
from edgedigit.data.recording import Entry

CORPUS = Corpus(
    name="audiomnist",
    folders=("audiomnist/data", "AudioMNIST/data", "audiomnist/AudioMNIST-master/data", "AudioMNIST-master/data"),
    pattern="[0-9][0-9]/[0-9]_[0-9][0-9]_*.wav",
    url="https://github.com/soerenab/AudioMNIST/archive/refs/heads/master.tar.gz",
)

TEST_SPEAKERS = (
    (5, 13, 18, 22, 26, 32, 33, 42, 45, 51, 52, 60),
    (1, 6, 7, 16, 19, 23, 28, 34, 35, 46, 53, 56),
    (2, 8, 9, 17, 24, 29, 36, 37, 39, 48, 54, 57),
    (3, 10, 14, 20, 25, 30, 38, 40, 43, 49, 55, 58),
    (4, 11, 12, 15, 21, 27, 31, 41, 44, 47, 50, 59),
)
"""Speakers tested in each of the published folds for digits; a fold is validated on the test speakers of the one
before it, the first on those of the last."""

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>\d\d)_(?P<index>\d+)\.wav")


def entries(folder: Path) -> list[Entry]:
    """All recordings in `folder` (the one with a sub-folder per speaker), sorted by speaker, digit and index."""
    paths = {path.name: path for path in folder.glob(CORPUS.pattern)}
    matches = filter(None, map(_NAME.fullmatch, paths))
    return [
        Entry(
            path=paths[match.string],
            label=match["digit"],
            speaker=speaker_name(int(match["speaker"])),
            source="audiomnist",
            name=f"audiomnist/{match['speaker']}/{match.string}",
        )
        for match in sorted(matches, key=lambda match: (match["speaker"], match["digit"], int(match["index"])))
    ]


def speaker_name(number: int) -> str:
    """Name of a speaker as in `Recording.speaker`."""
    return f"audiomnist:{number:02d}"
