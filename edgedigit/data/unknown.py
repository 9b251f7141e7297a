"""What is drawn for the label of all that is not a digit: words, sentences, digits cut off, noise, an empty room.

Sentences may hold digit words, and corpora of them often come without transcripts. They are used all the same, because
speech that flows is what a microphone hears most, but seldom and as windows at random places: about 0.6 % of the words
of English prose are digits, and a second holds two or three words, so that of 100 windows one or two hold a digit. With
the default share of 0.06 that is one wrong label to 700 digits, and a digit amid other words, where no one speaks to a
recogniser of digits. Nothing is cut out of sentences by its pauses: there a digit would stand alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgedigit.audio import frame_energies
from edgedigit.config import UnknownConfig
from edgedigit.data.augment import colored_noise
from edgedigit.data.recording import Recording
from edgedigit.errors import DataError
from edgedigit.labels import NON_DIGIT

FRAME_MS = 10
WORD_DROP_DB = 30.0  # a word reaches from the first to the last frame that is no fainter than this below its loudest
FADE_MS = 10.0  # where a digit is cut: a step would be heard, and learnt as the sign of what is unknown
SPARE = 1.3  # windows of sentences and noise are so much longer than the model's, for augmentation to play them faster


class Draws:
    """Everything that training draws from, digits and not, each as one row of a table.

    Rows are the recordings, the same once more as what is left of them when they are cut off, the noises, and one
    for the noise floor. A row that cannot be drawn has weight 0. Where there are no sentences, words have their share,
    and the other way round; where there is no noise, the noise floor has.

    Args:
        recordings: what is trained on; those labelled `_unknown_` are words or, if longer, sentences.
        weights: (n,) of the recordings, balanced within each label.
        config: shares of each kind.
        noises: recorded noises, (T_i,) each.
        n_samples: length of the model's window.
        sample_rate: Hz.

    Attributes:
        weights: (n_rows,), sums to 1.
        is_digit: (n_rows,) bool.

    Raises:
        DataError: if words or sentences have a share, and there is no recording of either.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        weights: np.ndarray,
        config: UnknownConfig,
        noises: Sequence[np.ndarray],
        n_samples: int,
        sample_rate: int,
    ):
        self.recordings = recordings
        self.config = config
        self.noises = [noise for noise in noises if len(noise)]
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        known = np.array([recording.label != NON_DIGIT for recording in recordings], bool)
        long = np.array([r.waveform.size > config.sentence_s * r.sample_rate for r in recordings], bool)
        words, sentences = ~known & ~long, ~known & long
        if (config.words or config.sentences) and not (~known).any():
            raise DataError(
                f"data.unknown draws words and sentences, but no training recording is of {NON_DIGIT}; add a source of "
                "other words, or set data.unknown.words and data.unknown.sentences to 0"
            )
        shares = {"words": config.words, "sentences": config.sentences}
        if not words.any() or not sentences.any():  # the ones stand for the others
            there = "words" if words.any() else "sentences"
            shares = dict.fromkeys(shares, 0.0) | {there: config.words + config.sentences}
        n, n_noises = len(recordings), len(self.noises)
        recorded = config.noise if n_noises else 0.0
        digits = 1 - config.share
        heard = digits * _share(weights, known) + shares["words"] * _share(weights, words)
        self.weights = np.concatenate(
            [
                heard + shares["sentences"] * _share(weights, sentences),
                config.cut * _share(weights, known),
                np.full(n_noises, recorded / max(1, n_noises)),
                [config.floor + config.noise - recorded],
            ]
        )
        self.weights /= self.weights.sum()  # whose last bits would not be 1 otherwise
        self.is_digit = np.concatenate([known, np.zeros(n + n_noises + 1, bool)])

    def waveform(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """Samples (T,) of a row; what is random about it is drawn anew each time."""
        n = len(self.recordings)
        spare = round(SPARE * self.n_samples)
        if row < n:
            recording = self.recordings[row]
            is_sentence = recording.label == NON_DIGIT and (
                recording.waveform.size > self.config.sentence_s * recording.sample_rate
            )
            return random_window(recording.waveform, spare, rng) if is_sentence else recording.waveform
        if row < 2 * n:
            return cut_off(self.recordings[row - n].waveform, self.sample_rate, self.config.cut_keep, rng)
        if row < 2 * n + len(self.noises):
            return random_window(self.noises[row - 2 * n], spare, rng)
        hiss = colored_noise((1, self.n_samples), rng.uniform(0.0, 2.0, 1), rng)[0]
        level = np.float32(10 ** (rng.uniform(*self.config.floor_db) / 20))
        return np.round(level * hiss * 32768) / np.float32(32768)  # as 16 bits hold it


def _share(weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Weights of what is chosen, summing to 1, and 0 of the others."""
    return np.where(chosen, weights, 0.0) / max(weights[chosen].sum(), 1e-300)


def even_prior(labels: Sequence[str], config: UnknownConfig) -> list[float]:
    """What to add to the logits of a model that was trained on `Draws`, so that it expects all labels alike.

    Training draws `_unknown_` several times as often as any other label, and a net learns to expect that: in noise it
    takes words for it that it would still read. Without `_unknown_` among the labels nothing is to be added.

    Source: Bayes' rule for other priors, Saerens, Latinne and Decaestecker 2002.
    """
    if NON_DIGIT not in labels:
        return []
    times_as_often = config.share / ((1 - config.share) / (len(labels) - 1))
    return [-math.log(times_as_often) if label == NON_DIGIT else 0.0 for label in labels]


def random_window(waveform: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A window (n_samples,) at a random place of (T,); all of it where it is shorter."""
    start = int(rng.integers(0, max(0, len(waveform) - n_samples) + 1))
    return waveform[start : start + n_samples]


def cut_off(waveform: np.ndarray, sample_rate: int, keep: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """The beginning of a word and what comes before it, or its end and what comes after: (T,) -> (shorter,).

    Args:
        waveform: one word.
        sample_rate: Hz.
        keep: the share of the word that is left is drawn evenly between these.
    """
    start, end = word_extent(waveform, sample_rate)
    kept = max(1, round(rng.uniform(*keep) * (end - start)))
    fade = np.linspace(1.0, 0.0, min(kept, round(FADE_MS * sample_rate / 1000)), dtype=np.float32)
    if rng.random() < 0.5:
        part = waveform[: start + kept].astype(np.float32)
        part[len(part) - len(fade) :] *= fade
    else:
        part = waveform[end - kept :].astype(np.float32)
        part[: len(fade)] *= fade[::-1]
    return part


def word_extent(waveform: np.ndarray, sample_rate: int) -> tuple[int, int]:
    """First sample of the word in (T,) and the one after its last, by the energy of frames."""
    frame_length = sample_rate * FRAME_MS // 1000
    energies = frame_energies(waveform, frame_length)
    loud = np.flatnonzero(energies >= energies.max() * 10 ** (-WORD_DROP_DB / 10))
    return int(loud[0]) * frame_length, min((int(loud[-1]) + 1) * frame_length, len(waveform))
