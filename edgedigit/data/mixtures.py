"""Clips in rooms and noise to test with: drawn by the clip's name, so that every model meets the same mixture."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgedigit.config import RobustnessConfig
from edgedigit.data.augment import add_at_snr, excerpt, filter_spectrum, room_bank
from edgedigit.data.noises import IMPULSIVE, LOUD_WITHIN_DB, STATIONARY, kind_of
from edgedigit.data.recording import Recording
from edgedigit.errors import DataError

BABBLE = "babble"
KINDS = (STATIONARY, BABBLE, IMPULSIVE)
MIN_NOISE_MS = 100  # of a recorded noise; less is a click that repeats as a buzz
STEP_MS = 50  # between the places of a recording at which an excerpt may begin


class Spoken(Protocol):
    """What somebody says: waveform (T,)."""

    waveform: np.ndarray


@dataclass(frozen=True)
class Condition:
    """One cell of the grid.

    Attributes:
        kind: one of `KINDS`, or "" without noise.
        snr_db: of the clip's loudest 200 ms against the noise over the window; None without noise.
        reverberant: whether the speech was played in a room.
    """

    kind: str = ""
    snr_db: float | None = None
    reverberant: bool = False

    @property
    def name(self) -> str:
        noise = f"{self.kind} {self.snr_db:g} dB" if self.kind else "clean"
        return f"{noise}, {'reverberant' if self.reverberant else 'near'}"


class Mixtures:
    """Puts clips into every condition of the grid.

    Reverberation is on the speech alone and noise is added after it, as in training. What is louder than full scale is
    turned down, not clipped.

    Args:
        noises: recorded noises by kind; each kind that is asked for needs one or more.
        talkers: recordings that babble is made of; a clip's own speaker is left out.
        kinds: of `KINDS`, which noises to add.
        config: ratios, rooms, number of talkers.
        n_samples: length of the model's window.
        sample_rate: Hz.
    """

    def __init__(
        self,
        noises: Mapping[str, Sequence[Recording]],
        talkers: Sequence[Recording],
        kinds: Sequence[str],
        config: RobustnessConfig,
        n_samples: int,
        sample_rate: int,
    ):
        self.noises = noises
        self.kinds = kinds
        self.config = config
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        self.voices: dict[str, list[Recording]] = defaultdict(list)
        for talker in sorted(talkers, key=lambda recording: recording.name):
            self.voices[talker.speaker].append(talker)

    @property
    def conditions(self) -> list[Condition]:
        """All cells of the grid: clean, then kind by kind; near before reverberant."""
        noisy = [(kind, snr_db) for kind in self.kinds for snr_db in self.config.snr_db]
        return [Condition(*noise, reverberant=room) for room in (False, True) for noise in [("", None), *noisy]]

    def check(self, clips: Sequence[Recording]) -> None:
        """Raise DataError unless there is babble without the speaker of each clip."""
        needed = self.config.talkers[0]
        for speaker in sorted({clip.speaker for clip in clips}) if BABBLE in self.kinds else ():
            n_others = len(self.voices.keys() - {speaker})
            if n_others < needed:
                raise DataError(
                    f"babble behind {speaker} needs {needed} other speakers, got {n_others}; name recordings of more "
                    "with --babble folder:PATH, or leave it out: --kinds stationary impulsive"
                )

    def of(self, clips: Sequence[Recording], windows: np.ndarray) -> Iterator[tuple[Condition, np.ndarray]]:
        """Every condition with the clips in it.

        Args:
            clips: whose names draw rooms and noises.
            windows: (B, n_samples), the clips as the model would get them without room and noise.

        Yields:
            Conditions and waveforms (B, n_samples) float32, in the order of `conditions`.
        """
        noise = {kind: np.stack([self._noise(clip, kind) for clip in clips]) for kind in self.kinds}
        bank = room_bank(self.config.n_rooms, self.sample_rate, self.config.room_seed)
        rooms = bank[[_rng("room", clip).integers(len(bank)) for clip in clips]]
        reverberant = filter_spectrum(windows, np.zeros((len(clips), 2)), rooms)
        for condition in self.conditions:
            mixed = reverberant if condition.reverberant else windows
            if condition.kind:
                mixed = add_at_snr(mixed, noise[condition.kind], np.full(len(clips), condition.snr_db))
            peak = np.abs(mixed).max(axis=1, keepdims=True)
            yield condition, (mixed / np.maximum(peak, 1.0)).astype(np.float32)

    def _noise(self, clip: Recording, kind: str) -> np.ndarray:
        """(n_samples,): the same for every ratio and place, so that one column differs from the next in level alone."""
        rng = _rng(kind, clip)
        if kind == BABBLE:
            others = {speaker: said for speaker, said in self.voices.items() if speaker != clip.speaker}
            return babble(others, self.config.talkers, self.n_samples, rng)
        waveform = self.noises[kind][rng.integers(len(self.noises[kind]))].waveform
        starts = loud_starts(waveform, self.n_samples, self.sample_rate * STEP_MS // 1000)
        return excerpt(waveform, int(rng.choice(starts)), self.n_samples)


def babble(
    voices: Mapping[str, Sequence[Spoken]], talkers: tuple[int, int], n_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Some of the voices at once: (n_samples,).

    Args:
        voices: what each speaker has said.
        talkers: fewest and most that talk.
        n_samples: length; what somebody has said begins anew where it ends.
        rng: draws who talks, what, and from where on.
    """
    others, (low, high) = sorted(voices), talkers
    n_talkers = min(int(rng.integers(low, high + 1)), len(others))
    chosen = [voices[others[i]] for i in rng.choice(len(others), n_talkers, replace=False)]
    spoken = [voice[rng.integers(len(voice))].waveform for voice in chosen]
    return sum(excerpt(waveform, int(rng.integers(len(waveform))), n_samples) for waveform in spoken)


def loud_starts(waveform: np.ndarray, n_samples: int, step: int) -> np.ndarray:
    """Where excerpts of (T,) may begin: those within 10 dB of the loudest, since a pause between barks is no noise."""
    starts = np.arange(0, max(1, len(waveform) - n_samples + 1), step)
    total = np.concatenate(([0.0], np.cumsum(np.square(waveform, dtype=np.float64))))
    energy = total[np.minimum(starts + n_samples, len(waveform))] - total[starts]
    return starts[energy >= energy.max() * 10 ** (-LOUD_WITHIN_DB / 10)]


def by_kind(noises: Sequence[Recording]) -> dict[str, list[Recording]]:
    """Recorded noises sorted into `STATIONARY` and `IMPULSIVE`, each in the order of their names.

    Raises:
        DataError: if a noise is silent or too short to be one.
    """
    kinds: dict[str, list[Recording]] = {STATIONARY: [], IMPULSIVE: []}
    for noise in sorted(noises, key=lambda recording: recording.name):
        if len(noise.waveform) * 1000 < MIN_NOISE_MS * noise.sample_rate or not np.any(noise.waveform):
            raise DataError(
                f"noise {noise.name} is silent or shorter than {MIN_NOISE_MS} ms; remove it from the noises"
            )
        kinds[kind_of(noise)].append(noise)
    return kinds


def subset(clips: Sequence[Recording], n: int) -> list[Recording]:
    """`n` clips, chosen by the hash of their names, in their order; all of them if there are no more."""
    chosen = {clip.name for clip in sorted(clips, key=lambda clip: _digest("subset", clip))[:n]}
    return [clip for clip in clips if clip.name in chosen]


def _digest(purpose: str, clip: Recording) -> bytes:
    return hashlib.sha256(f"{purpose}|{clip.name}".encode()).digest()


def _rng(purpose: str, clip: Recording) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(_digest(purpose, clip)[:8], "little"))
