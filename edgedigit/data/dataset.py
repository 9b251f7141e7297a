"""Batches for training and plain arrays for evaluation, from a list of recordings."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from edgedigit.audio import fix_length
from edgedigit.config import AugmentConfig, UnknownConfig
from edgedigit.data.augment import Augmenter
from edgedigit.data.emg_augment import EmgAugmenter
from edgedigit.data.recording import Recording
from edgedigit.data.unknown import Draws
from edgedigit.emg import fit_window
from edgedigit.errors import DataError
from edgedigit.labels import NON_DIGIT

ORDER, CLIPS = 1, 2  # streams of random numbers that must not meet: order of an epoch, augmentation of a batch


@dataclass(frozen=True)
class Batch:
    """One training batch: waveforms (B, n_samples), of EMG (B, channels, n_samples), targets (B, n_labels), float32.

    `quiet` are the waveforms (B, n_samples) before noise was added, or None where nobody asks for them.
    """

    waveforms: np.ndarray
    targets: np.ndarray
    quiet: np.ndarray | None = None


def as_arrays(recordings: Sequence[Recording], labels: Sequence[str], n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Evaluation data, not augmented: waveforms (n, n_samples) float32 and label indices (n,) int64.

    Of EMG, waveforms are (n, channels, n_samples).
    """
    channels = recordings[0].waveform.shape[:-1] if recordings else ()
    fit = fit_window if channels else fix_length
    waveforms = np.zeros((len(recordings), *channels, n_samples), np.float32)
    for row, recording in zip(waveforms, recordings, strict=True):
        row[:] = fit(recording.waveform, n_samples)
    index = {label: i for i, label in enumerate(labels)}
    return waveforms, np.array([index[recording.label] for recording in recordings], np.int64)


def balanced_weights(recordings: Sequence[Recording], shares: Mapping[str, float] = MappingProxyType({})) -> np.ndarray:
    """Probability of drawing each recording so that no corpus can stand for a digit: (n,), sums to 1.

    Each digit is drawn equally often. Within a digit, a source weighs as the square root of its number of
    clips, and a speaker within a source likewise, so a corpus that holds a digit in bulk cannot drown the
    few clips of it that others bring.

    Args:
        shares: by name of a recording, how often it is drawn beside how often it would be; 1 for those not named.
    """
    cells = Counter((r.label, r.source, r.speaker) for r in recordings)
    sources: dict[tuple[str, str], Counter] = {}
    for (label, source, speaker), count in cells.items():
        sources.setdefault((label, source), Counter())[speaker] = count
    source_weight = {key: np.sqrt(sum(speakers.values())) for key, speakers in sources.items()}
    label_weight = Counter()
    for (label, _), weight in source_weight.items():
        label_weight[label] += weight
    speaker_weight = {key: sum(np.sqrt(c) for c in speakers.values()) for key, speakers in sources.items()}
    weights = np.empty(len(recordings))
    for i, r in enumerate(recordings):
        key = (r.label, r.source)
        count = cells[r.label, r.source, r.speaker]
        share_of_speaker = np.sqrt(count) / speaker_weight[key]
        weights[i] = source_weight[key] / label_weight[r.label] * share_of_speaker / count
    if shares:
        weights *= [shares.get(r.name, 1.0) for r in recordings]
        names = np.array([r.label for r in recordings])
        for label in set(names):  # the others of the label take over
            weights[names == label] /= weights[names == label].sum()
    return weights / weights.sum()


def fingerprint(names: Iterable[str]) -> str:
    """Which recordings these are, whatever their order: a digest of their names."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


class TrainingBatches:
    """Augmented batches, a function of (seed, epoch) alone: a resumed run meets the same ones.

    With `augment.copies` they are a function of (seed, epoch modulo copies): after so many epochs they come again.

    Args:
        recordings: what is trained on; more than one source is drawn by `balanced_weights`.
        labels: label names in the order of the model's outputs.
        augment: strengths of the transforms.
        n_samples: length of the model's window.
        sample_rate: Hz.
        batch_size: clips in a batch; the last incomplete batch of an epoch is left out.
        samples_per_epoch: clips drawn in an epoch; 0 is as many as there are recordings.
        noises: recorded noises.
        seed: of order and augmentation.
        augmenter: of EMG; None: that of audio.
        unknown: what `_unknown_` is drawn from, where it is among the labels; the others stay balanced as ever.
        shares: of recordings that are drawn more seldom, as `balanced_weights` takes them.
        quiet: whether batches hold the waveforms before noise as well; of audio alone.

    Raises:
        DataError: if there are no recordings, or a label or a kind of `_unknown_` has none.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        labels: Sequence[str],
        augment: AugmentConfig,
        n_samples: int,
        sample_rate: int,
        batch_size: int,
        samples_per_epoch: int = 0,
        noises: Sequence[Recording] = (),
        seed: int = 0,
        augmenter: EmgAugmenter | None = None,
        unknown: UnknownConfig | None = None,
        shares: Mapping[str, float] = MappingProxyType({}),
        quiet: bool = False,
    ):
        missing = sorted(set(labels) - {recording.label for recording in recordings} - {NON_DIGIT})
        if missing:
            raise DataError(
                f"no training recording of {', '.join(missing)} among {len(recordings)}; "
                "add recordings or name only the labels that there are"
            )
        self.recordings = recordings
        self.drawn_from = {
            "recordings": fingerprint(recording.name for recording in recordings),
            "noises": fingerprint(noise.name for noise in noises),
            "label_issues": fingerprint(shares),
        }
        self.labels = labels
        self.augment = augment
        self.batch_size = min(batch_size, len(recordings))
        self.seed = seed
        self.quiet = quiet
        self.waited_s = 0.0  # in the present epoch, for batches that were not ready when asked for
        n_samples_drawn = samples_per_epoch or len(recordings)
        self.n_batches = max(1, n_samples_drawn // self.batch_size)
        several = len({recording.source for recording in recordings}) > 1 or samples_per_epoch > 0 or bool(shares)
        self.weights = balanced_weights(recordings, shares) if several else None
        index = {label: i for i, label in enumerate(labels)}
        rows = [index[r.label] for r in recordings]
        waveforms = [noise.waveform for noise in noises]
        self.draws = None  # plain recordings alone
        if NON_DIGIT in labels:
            weights = balanced_weights(recordings, shares)
            self.draws = Draws(recordings, weights, unknown or UnknownConfig(), waveforms, n_samples, sample_rate)
            self.weights = self.draws.weights
            rows += [index[NON_DIGIT]] * (len(self.weights) - len(rows))
        self.targets = np.eye(len(labels), dtype=np.float32)[rows]
        self.augmenter = augmenter or Augmenter(
            augment, n_samples, sample_rate, waveforms, [recording.waveform for recording in recordings]
        )

    def __len__(self) -> int:
        return self.n_batches

    def label_shares(self) -> np.ndarray:
        """How often each label is drawn: (n_labels,), sums to 1."""
        return self.targets.mean(axis=0) if self.weights is None else self.weights @ self.targets

    def copy_of(self, epoch: int) -> int:
        """The first epoch that has the same batches."""
        return epoch % self.augment.copies if self.augment.copies else epoch

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch; the next one is prepared in a thread while the caller uses this one."""
        epoch = self.copy_of(epoch)
        rng = np.random.default_rng([self.seed, ORDER, epoch])
        n_drawn = self.n_batches * self.batch_size
        if self.weights is None:
            order = rng.permutation(len(self.recordings))[:n_drawn]
        else:
            order = rng.choice(len(self.weights), n_drawn, p=self.weights)
        order = order.reshape(self.n_batches, self.batch_size)
        with ThreadPoolExecutor(1) as pool:
            self.waited_s = 0.0
            upcoming = pool.submit(self._make, order[0], epoch, 0)
            for step in range(self.n_batches):
                started = time.perf_counter()
                batch = upcoming.result()
                self.waited_s += time.perf_counter() - started
                if step + 1 < self.n_batches:
                    upcoming = pool.submit(self._make, order[step + 1], epoch, step + 1)
                yield batch

    def _make(self, rows: np.ndarray, epoch: int, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, CLIPS, epoch, step])
        clips = [self._waveform(row, rng) for row in rows]
        views = self.augmenter.with_quiet(clips, rng) if self.quiet else (self.augmenter(clips, rng),)
        targets = self.targets[rows]
        if self.draws is None:
            views, targets = self.augmenter.mix(views, targets, rng)
        else:
            of_digits = self.draws.is_digit[rows]
            for part in (of_digits, ~of_digits):  # a digit over a noise or a word is still that digit
                mixed, targets[part] = self.augmenter.mix([view[part] for view in views], targets[part], rng)
                for view, of_part in zip(views, mixed, strict=True):
                    view[part] = of_part
        waveforms, *quiet = (view.astype(np.float32, copy=False) for view in views)
        return Batch(waveforms, targets.astype(np.float32, copy=False), *quiet)

    def _waveform(self, row: int, rng: np.random.Generator) -> np.ndarray:
        return self.recordings[row].waveform if self.draws is None else self.draws.waveform(row, rng)
