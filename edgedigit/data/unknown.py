"""What is drawn for the label of all that is not a digit: words, sentences, digits cut off, noise, an empty room.

Sentences may hold digit words, and corpora of them often come without transcripts. They are used all the same, because
speech that flows is what a microphone hears most, but seldom and as windows at random places: about 0.6 % of the words
of English prose are digits, and a second holds two or three words, so that of 100 windows one or two hold a digit. With
the default share of 0.06 that is one wrong label to 700 digits, and a digit amid other words, where no one speaks to a
recogniser of digits.

Pieces of sentences, from one pause to the next, are what a stream asks about, and so are nearest to its false accepts.
Some hold a single word; a digit would stand alone there, and so would "to" and "for", which only their context tells
from "two" and "four".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgedigit.audio import SPEECH_FRAME_MS, frame_energies, speech_energies
from edgedigit.config import UnknownConfig
from edgedigit.data.augment import colored_noise
from edgedigit.data.recording import Recording
from edgedigit.errors import DataError
from edgedigit.labels import NON_DIGIT

FRAME_MS = 10
WORD_DROP_DB = 30.0  # a word reaches from the first to the last frame that is no fainter than this below its loudest
FADE_MS = 10.0  # where a digit is cut: a step would be heard, and learnt as the sign of what is unknown
PAUSE_MS = 40  # between two pieces of a sentence; closures of stops are as long, and streams take them for pauses too
PIECE_S = (0.1, 1.5)  # shorter ones are clicks; a stream cuts what is longer
BEFORE_S = 0.4  # kept of the pause before a piece, and after it, as streams keep them
AFTER_S = 0.1
SPARE = 1.3  # windows of sentences and noise are so much longer than the model's, for augmentation to play them faster


class Draws:
    """Everything that training draws from, digits and not, each as one row of a table.

    Rows are the recordings, the same once more as what is left of them when they are cut off, the noises, the
    recordings once more as one of their pieces, and one for the noise floor. A row that cannot be drawn has weight 0.
    Where there are no sentences, words have their share and that of pieces, and the other way round; where there is no
    noise, the noise floor has.

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
        shares = {"words": config.words, "sentences": config.sentences, "pieces": config.pieces}
        if any(shares.values()) and not (~known).any():
            asked = " and ".join(kind for kind in shares if shares[kind])
            raise DataError(
                f"data.unknown draws {asked}, but no training recording is of {NON_DIGIT}; add a source of other "
                "words, or set data.unknown.words, data.unknown.sentences and data.unknown.pieces to 0"
            )
        if not words.any() or not sentences.any():  # the ones stand for the others
            there = "words" if words.any() else "sentences"
            shares = dict.fromkeys(shares, 0.0) | {there: sum(shares.values())}
        n, n_noises = len(recordings), len(self.noises)
        recorded = config.noise if n_noises else 0.0
        digits = 1 - config.share
        heard = digits * _share(weights, known) + shares["words"] * _share(weights, words)
        self.weights = np.concatenate(
            [
                heard + shares["sentences"] * _share(weights, sentences),
                config.cut * _share(weights, known),
                np.full(n_noises, recorded / max(1, n_noises)),
                shares["pieces"] * _share(weights, sentences),
                [config.floor + config.noise - recorded],
            ]
        )
        self.weights /= self.weights.sum()  # whose last bits would not be 1 otherwise
        self.is_digit = np.concatenate([known, np.zeros(2 * n + n_noises + 1, bool)])

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
        if row < len(self.weights) - 1:
            return random_piece(self.recordings[row - 2 * n - len(self.noises)].waveform, self.sample_rate, rng)
        hiss = colored_noise((1, self.n_samples), rng.uniform(0.0, 2.0, 1), rng)[0]
        level = np.float32(10 ** (rng.uniform(*self.config.floor_db) / 20))
        return np.round(level * hiss * 32768) / np.float32(32768)  # as 16 bits hold it


def _share(weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Weights of what is chosen, summing to 1, and 0 of the others."""
    return np.where(chosen, weights, 0.0) / max(weights[chosen].sum(), 1e-300)


def prior_bias(labels: Sequence[str], config: UnknownConfig, odds: float) -> list[float]:
    """What to add to the logits of a model that was trained on `Draws`, so that it expects what it is to expect.

    Training draws `_unknown_` several times as often as any other label, and a net learns to expect that: in noise it
    takes words for it that it would still read. Without `_unknown_` among the labels nothing is to be added.

    Args:
        odds: how many times as often as each other label `_unknown_` is to be expected; 1: all alike.

    Source: Bayes' rule for other priors, Saerens, Latinne and Decaestecker 2002.
    """
    if NON_DIGIT not in labels:
        return []
    times_as_often = config.share / ((1 - config.share) / (len(labels) - 1))
    return [math.log(odds / times_as_often) if label == NON_DIGIT else 0.0 for label in labels]


def random_window(waveform: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A window (n_samples,) at a random place of (T,); all of it where it is shorter."""
    start = int(rng.integers(0, max(0, len(waveform) - n_samples) + 1))
    return waveform[start : start + n_samples]


def random_piece(waveform: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """What is between two pauses of a sentence, and some of these: (T,) -> (shorter,)."""
    pieces = find_pieces(waveform, sample_rate)
    i = int(rng.integers(len(pieces)))
    start, end = pieces[i]
    earliest = pieces[i - 1][1] if i else 0
    latest = pieces[i + 1][0] if i + 1 < len(pieces) else len(waveform)
    start = max(earliest, start - round(BEFORE_S * sample_rate))
    return waveform[start : min(latest, end + round(AFTER_S * sample_rate))]


def find_pieces(waveform: np.ndarray, sample_rate: int) -> list[tuple[int, int]]:
    """First sample, and the one after the last, of each stretch of speech in (T,); all of it where none is found."""
    length = round(sample_rate * SPEECH_FRAME_MS / 1000)
    loud = np.flatnonzero(speech_energies(waveform, sample_rate))
    if not loud.size:
        return [(0, len(waveform))]
    gaps = np.flatnonzero(np.diff(loud) > PAUSE_MS // SPEECH_FRAME_MS)
    starts, ends = loud[np.r_[0, gaps + 1]] * length, (loud[np.r_[gaps, len(loud) - 1]] + 1) * length
    shortest, longest = (round(seconds * sample_rate) for seconds in PIECE_S)
    pieces = [
        (first, min(first + longest, end))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        for first in range(start, end, longest)
    ]
    return [(start, end) for start, end in pieces if end - start >= shortest] or [(0, len(waveform))]


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
