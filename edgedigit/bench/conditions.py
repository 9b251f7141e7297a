"""What is said, and in which noise: real words and real noises that the model has not trained on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgedigit.bench.answers import CLEAN
from edgedigit.bench.clips import choose_clips, load_clips, load_strangers
from edgedigit.runtime import Recognizer
from edgedigit.word_stream import Clip

NOISES = "folder:noise"
# What `edgedigit.robustness` calls these; it needs more packages than the runtime, and these flags are always shown.
HELD_OUT = ("validation", "test")
NOISE_PARTS = ("evaluation", "train", "all")
RECORDED_KINDS = ("stationary", "impulsive")
Condition = tuple[str, list[Clip], np.ndarray | None]  # its name, the words, the noise under them


def words(args: argparse.Namespace, model: Path) -> tuple[list[Clip], str]:
    """The words to stream, and a sentence that says whose they are."""
    clips, source = load_clips(args.data_dir)
    if args.held_out:
        strangers, about = load_strangers(model, args.held_out, args.data_dir)
        clips, source = clips + strangers, f"{source}; {about}"
    chosen = choose_clips(clips, args.clips, args.seed)
    return chosen, f"Words: {source}{f'; {len(chosen)} of these' if len(chosen) < len(clips) else ''}."


def noise_name(kind: str, snr_db: float) -> str:
    """Name of a condition."""
    return f"{kind} noise {snr_db:g} dB"


class Conditions:
    """In quiet, then each kind of noise at each ratio.

    Args:
        args: `snr_db kinds noises noise_part data_dir seed`.
        model: whose part of the noises is asked for.
        clips: the words.

    Attributes:
        notes: what a reader must know of the noises.

    Raises:
        DataError: if there are no such noises.
    """

    def __init__(self, args: argparse.Namespace, model: Path, clips: list[Clip]):
        self.args, self.clips = args, clips
        self.noises, self.notes = {}, []
        if args.snr_db:
            from edgedigit.bench.noise_bed import SNR_NOTE
            from edgedigit.robustness import load_noises, recorded_notes

            recognizer = Recognizer(model)
            loaded = load_noises(args, recognizer)
            self.noises = {kind: loaded[kind] for kind in args.kinds}
            self.notes = [SNR_NOTE, *recorded_notes(args, recognizer, self.noises)]

    @property
    def names(self) -> list[str]:
        """Of the conditions, in their order."""
        return [CLEAN, *(noise_name(kind, snr_db) for kind in self.noises for snr_db in self.args.snr_db)]

    def __iter__(self) -> Iterator[Condition]:
        yield CLEAN, self.clips, None
        for kind, noises in self.noises.items():
            from edgedigit.bench.noise_bed import over_noise

            for snr_db in self.args.snr_db:
                yield noise_name(kind, snr_db), *over_noise(self.clips, noises, snr_db, self.args.seed)
