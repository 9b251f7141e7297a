"""Label names: what a model's outputs are called, and the words that stand for digits."""

DIGITS = tuple("0123456789")

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

DIGIT_OF_WORD = dict(zip(DIGIT_WORDS, DIGITS, strict=True))

NON_DIGIT = "_unknown_"
"""Label of whatever is none of the wanted words: other words, parts of digits, noise, silence. A model that has it
answers nothing where it wins."""
