"""What is said, and in which noise: real words and real noises that the model has not trained on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgedigit.bench.answers import CLEAN
from edgedigit.bench.clips import choose_clips, load_clips, load_strangers
from edgedigit.config import HELD_OUT
from edgedigit.runtime import Recognizer
from edgedigit.word_stream import Clip

NOISES = "folder:noise"
# What `edgedigit.robustness` calls these; it needs more packages than the runtime, and these flags are always shown.
NOISE_PARTS = ("evaluation", "train", "all")
RECORDED_KINDS = ("stationary", "impulsive")
BABBLE = "babble"
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
    """In quiet, unless noise alone is asked for, then each kind of noise at each ratio.

    Args:
        args: `snr_db kinds noise_only noises noise_part held_out data_dir seed`.
        model: whose part of the noises, and whose held-out speakers' babble, is asked for.
        clips: the words.

    Attributes:
        kinds: of noise, in their order; none where no ratio is asked for.
        notes: what a reader must know of the noises.

    Raises:
        ConfigError, MissingDependencyError: as `load_strangers`, where babble is asked for.
        DataError: if there are no such noises or speakers.
    """

    def __init__(self, args: argparse.Namespace, model: Path, clips: list[Clip]):
        self.args, self.clips = args, clips
        self.kinds = list(dict.fromkeys(args.kinds)) if args.snr_db else []
        self.noises, self.notes = {}, []
        recorded = [kind for kind in self.kinds if kind != BABBLE]
        if recorded:
            from edgedigit.bench.noise_bed import SNR_NOTE
            from edgedigit.robustness import load_noises, recorded_notes

            recognizer = Recognizer(model)
            loaded = load_noises(args, recognizer, recorded)
            self.noises = {kind: loaded[kind] for kind in recorded}
            self.notes = [SNR_NOTE, *recorded_notes(args, [recognizer.path], self.noises)]
        if BABBLE in self.kinds:
            from edgedigit.bench.babble import BABBLE_NOTE, babble_under, by_speaker

            others, about = load_strangers(model, args.held_out or HELD_OUT[0], args.data_dir)
            self.babble = babble_under(clips, by_speaker(others), args.seed)
            self.notes.append(f"{BABBLE_NOTE} The babble is of {about}.")

    @property
    def names(self) -> list[str]:
        """Of the conditions, in their order."""
        quiet = [] if self.args.noise_only else [CLEAN]
        return quiet + [noise_name(kind, snr_db) for kind in self.kinds for snr_db in self.args.snr_db]

    def __iter__(self) -> Iterator[Condition]:
        if not self.args.noise_only:
            yield CLEAN, self.clips, None
        for kind in self.kinds:
            for snr_db in self.args.snr_db:
                yield noise_name(kind, snr_db), *self._over(kind, snr_db)

    def _over(self, kind: str, snr_db: float) -> tuple[list[Clip], np.ndarray]:
        from edgedigit.bench.noise_bed import bed_level, levelled, over_noise

        if kind == BABBLE:
            return levelled(self.clips), self.babble * bed_level(snr_db)
        return over_noise(self.clips, self.noises[kind], snr_db, self.args.seed)
