"""Label names: what a model's outputs are called, and the words that stand for digits."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

from edgedigit.errors import ConfigError

DIGITS = tuple("0123456789")

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

DIGIT_OF_WORD = dict(zip(DIGIT_WORDS, DIGITS, strict=True))

NON_DIGIT = "_unknown_"
"""Label of whatever is none of the wanted words: other words, parts of digits, noise, silence. A model that has it
answers nothing where it wins."""

LIKENESS = 0.75  # of difflib, from which a label is taken for a misspelling of another


def check_labels(labels: Sequence[str]) -> None:
    """Raise ConfigError unless these are labels that a model can choose among."""
    if len(labels) < 2:
        raise ConfigError(
            f"labels are {', '.join(labels) or 'none'}, expected two or more to tell apart; to find a single word, "
            f"add {NON_DIGIT}, which stands for all others"
        )
    label, count = Counter(labels).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"label {label!r} is named {count} times; name each label once")
    for label in labels:
        if label != label.strip() or not label:
            raise ConfigError(f"label {label!r} is empty or has spaces around it; name a word")
        if label != NON_DIGIT and difflib.get_close_matches(label.lower(), [NON_DIGIT], 1, LIKENESS):
            raise ConfigError(
                f"label {label!r} looks like {NON_DIGIT!r}, which stands for every other word; write it so"
            )


def label_of(word: str) -> str:
    """The label of a written word: "seven" and "Seven" are "7", any other word is its own."""
    return DIGIT_OF_WORD.get(word.lower(), word)


def kind_of(labels: Sequence[str]) -> str:
    """What tables call these labels: "digit", or "label" where any is another word."""
    return "digit" if set(labels) - {NON_DIGIT} <= set(DIGITS) else "label"
