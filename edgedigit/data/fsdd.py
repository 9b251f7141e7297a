"""Free Spoken Digit Dataset: 3000 recordings of six men at 8 kHz, `{digit}_{speaker}_{index}.wav`.

Source: Jackson et al., https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. The release archive
has no published hash and GitHub may repack it, so the recordings themselves are checked after unpacking.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgedigit.data.download import Corpus
from edgedigit.data.recording import Entry

CORPUS = Corpus(
    name="fsdd",
    folders=("fsdd/recordings", "recordings", "fsdd/free-spoken-digit-dataset-1.0.10/recordings"),
    pattern="[0-9]_*_*.wav",
    url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
    content_sha256="dbd573d7cafe79c4b49f65718115e1304e24e067fa39eff18a660dc6cb9c360f",
)
N_TEST = 5  # recordings 0 to 4 of each digit and speaker are the official test set

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>.+)_(?P<index>\d+)\.wav")


def entries(folder: Path) -> list[Entry]:
    """All recordings in `folder`, sorted by digit, speaker and index."""
    matches = filter(None, (_NAME.fullmatch(path.name) for path in folder.iterdir()))
    return [
        Entry(
            path=folder / match.string,
            label=match["digit"],
            speaker=f"fsdd:{match['speaker']}",
            source="fsdd",
            name=f"fsdd/{match.string}",
            split="test" if int(match["index"]) < N_TEST else "train",
        )
        for match in sorted(matches, key=lambda match: (match["digit"], match["speaker"], int(match["index"])))
    ]
