"""Google Speech Commands v0.02: 105,829 one-second recordings of 35 words at 16 kHz, `word/{speaker}_nohash_{n}.wav`.

Source: Warden 2018, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv:1804.03209; CC BY
4.0. The archive's hash is the one that TensorFlow Datasets and torchaudio publish.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgedigit.data.download import Corpus
from edgedigit.data.recording import Entry
from edgedigit.labels import DIGIT_OF_WORD

CORPUS = Corpus(
    name="speech_commands",
    folders=("speech_commands", "speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02"),
    pattern="*/*_nohash_*.wav",
    url="http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
)
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}

MAX_WAVS_PER_CLASS = 2**27 - 1  # constant of the published rule
VALIDATION_PERCENT = 10.0
TEST_PERCENT = 10.0


def entries(folder: Path) -> list[Entry]:
    """All words in `folder`, sorted by word and file; background noise is left out.

    Digits are labelled "0" to "9", other words keep their name. Splits come from the corpus' two lists, or from its
    hash rule where either is missing.
    """
    listed = None
    if all((folder / file).is_file() for file in LISTS.values()):
        listed = {
            name: split for split, file in LISTS.items() for name in (folder / file).read_text(encoding="utf-8").split()
        }
    found = []
    for path in sorted(folder.glob(CORPUS.pattern)):
        word, speaker = path.parent.name, path.name.split("_nohash_")[0]
        if word.startswith("_"):
            continue
        found.append(
            Entry(
                path=path,
                label=DIGIT_OF_WORD.get(word, word),
                speaker=f"speechcmd:{speaker}",
                source="speech_commands",
                name=f"speech_commands/{word}/{path.name}",
                split=hash_split(speaker) if listed is None else listed.get(f"{word}/{path.name}", "train"),
            )
        )
    return found


def hash_split(speaker: str) -> str:
    """Split of a speaker (the part of a file name before "_nohash_") by the corpus' published rule.

    Source: Warden 2018, section 7; the README of the corpus.
    """
    value = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16)
    percent = value % (MAX_WAVS_PER_CLASS + 1) * (100.0 / MAX_WAVS_PER_CLASS)
    if percent < VALIDATION_PERCENT:
        return "validation"
    return "test" if percent < VALIDATION_PERCENT + TEST_PERCENT else "train"
