"""The likeliest strings of words that were heard independently, among those that keep a length and a checksum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

import numpy as np

from edgedigit.labels import DIGITS
from edgedigit.runtime.checksum import Checksum

NO_DIGIT = ""  # of a word that is left out
DECIMALS = 9  # of log probabilities that are compared: less is of their rounding, and a tie


class Candidate(NamedTuple):
    """A string, and the likeliest words that make it."""

    digits: str
    probability: float
    first: int | None
    """Place of the word that is its first digit; None where every word was left out."""
    last: int | None
    """Place of the word that is its last digit."""


def best_strings(
    words: Sequence[Mapping[str, float]],
    length: int | None = None,
    checksum: Checksum | None = None,
    n_best: int = 1,
    max_length: int | None = None,
) -> tuple[list[Candidate], float]:
    """The likeliest strings of words that were heard independently.

    A* from the last word to the first, since places count from the right. How likely the words to come can make what
    there is keep the constraints is known exactly, so that nothing is looked at but parts of the strings wanted.

    Args:
        words: of each word, digits and their probabilities; `NO_DIGIT` leaves it out.
        length: number of digits that strings must have.
        checksum: that strings must keep.
        n_best: strings wanted.
        max_length: number of digits that strings may have at most.

    Returns:
        Strings with the probabilities of the likeliest words that make them, best first, perhaps none; and the
        probability of all words that keep lengths and checksum.
    """
    after, kept = _states(len(words), length, checksum, max_length)
    ahead, mass = _ahead(words, after, kept)
    found: list[Candidate] = []
    seen: set[tuple[int, str]] = set()
    order = count()  # decides ties: what a word names first
    # Minus log of the best probability that it can have, words to come, order; state and string so far.
    waiting = [(0.0, len(words), next(order), 0, Candidate("", 1.0, None, None))]
    while waiting and len(found) < n_best:
        _, n_to_come, _, state, so_far = heappop(waiting)
        if (n_to_come, so_far.digits) in seen:  # made of likelier words before. Not their sum: many words that were
            continue  # each rejected would add up to one that was heard
        seen.add((n_to_come, so_far.digits))
        if n_to_come == 0:
            if kept[state]:
                found.append(so_far)
            continue
        place = n_to_come - 1
        for digit, probability in words[place].items():
            next_state, longer = state, so_far._replace(probability=probability * so_far.probability)
            if digit != NO_DIGIT:
                next_state = int(after[int(digit), state])
                last = place if so_far.last is None else so_far.last
                longer = Candidate(digit + so_far.digits, longer.probability, place, last)
            best = longer.probability * ahead[place, next_state]
            if best > 0:
                heappush(waiting, (round(-math.log(best), DECIMALS), place, next(order), next_state, longer))
    return sorted(found, key=lambda candidate: -candidate.probability), mass


def _states(
    n_words: int, length: int | None, checksum: Checksum | None, max_length: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """What constraints need to know of a string: its number of digits and its remainder, counted up as one number.

    Returns:
        (10, n_states) the state after one more digit; and (n_states,) 1 where a string keeps all, else 0. The last of
        the states is that of strings that are too long.
    """
    counts = any(constraint is not None for constraint in (length, checksum, max_length))
    most = min(limit for limit in (n_words, length, max_length) if limit is not None) if counts else 0
    modulus = checksum.modulus if checksum else 1
    too_long = (most + 1) * modulus
    after = np.zeros((len(DIGITS), too_long + 1), np.int64)
    kept = np.zeros(too_long + 1)
    for n in range(most + 1):
        states = slice(n * modulus, (n + 1) * modulus)
        is_kept = length in (None, n) and (n > 0 or not checksum)
        kept[n * modulus + (checksum.remainder if checksum else 0)] = is_kept
        for digit in range(len(DIGITS)):
            added = checksum.weigh(n, digit) if checksum else 0
            after[digit, states] = (n + 1) * modulus + (np.arange(modulus) + added) % modulus
    after[after >= too_long] = too_long if counts else 0
    after[:, too_long] = too_long
    return after, kept


def _ahead(words: Sequence[Mapping[str, float]], after: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, float]:
    """How likely a state becomes a kept one: (n_words + 1, n_states) by the best of the words before each place; and
    from nothing by all words.
    """
    best = np.zeros((len(words) + 1, kept.size))
    best[0] = mass = kept
    for place, word in enumerate(words):
        probabilities = np.array([[word.get(digit, 0.0)] for digit in DIGITS])
        left_out = word.get(NO_DIGIT, 0.0)
        best[place + 1] = np.maximum((probabilities * best[place][after]).max(axis=0), left_out * best[place])
        mass = (probabilities * mass[after]).sum(axis=0) + left_out * mass
    return best, float(mass[0])
