"""Digits spoken one after the other, taken together: a string at a closing pause, and what else it may have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedigit.errors import ConfigError, ModelError
from edgedigit.labels import DIGITS, NON_DIGIT
from edgedigit.runtime.best_strings import NO_DIGIT, best_strings
from edgedigit.runtime.checksum import CHECKSUMS
from edgedigit.runtime.predictor import Recognizer
from edgedigit.runtime.stream import Event

MAX_WORDS = 64  # a string ends here, so that memory is bounded whatever is heard
FLOOR = 1e-6  # no digit is impossible: a probability of 0 is what float32 rounded away


@dataclass(frozen=True)
class StringOptions:
    """How digits become strings.

    Raises:
        ConfigError: if a value cannot work.
    """

    pause_ms: float = (
        1200.0  # of silence ends a string; of 600 ms between recordings, their own silence made up to 1190
    )
    length: int | None = None  # digits that are expected; None: any number
    checksum: str | None = None  # of CHECKSUMS
    n_best: int = 3  # strings that are kept
    # Probability that what was said keeps the checksum, among all that keeps the length; below it is taken to break it.
    # None: of strings at random the share that keeps it, as by Bayes' rule where half of the numbers are wrong.
    plausible: float | None = None
    plausible_length: float = 1e-4  # that it keeps the length; rejected words that it brings back were hardly heard

    def __post_init__(self):
        if not 200 <= self.pause_ms <= 60_000:
            raise ConfigError(f"pause_ms is {self.pause_ms}, expected 200 to 60000")
        if self.length is not None and not 1 <= self.length <= MAX_WORDS:
            raise ConfigError(f"length is {self.length}, expected 1 to {MAX_WORDS} digits")
        if self.checksum is not None and self.checksum not in CHECKSUMS:
            raise ConfigError(f"checksum is {self.checksum!r}, expected one of {', '.join(CHECKSUMS)}")
        if not 1 <= self.n_best <= 100:
            raise ConfigError(f"n_best is {self.n_best}, expected 1 to 100")
        for name in ("plausible", "plausible_length"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ConfigError(f"{name} is {value}, expected 0 or more and below 1")


@dataclass(frozen=True)
class DigitString:
    """Digits that were spoken between two pauses. Times are seconds since the stream's beginning."""

    digits: str
    """The likeliest string that keeps the length and the checksum asked for, with fewer rejected words than answered
    ones; `heard` where none plausibly does."""
    probability: float
    """Of `digits`, calibrated as far as words err independently; where a length or a checksum is kept, among the
    strings that keep it."""
    heard: str
    """The likeliest string, whatever was asked for."""
    satisfied: bool | None
    """Whether `digits` keeps the length and the checksum; None where neither was asked for."""
    n_best: tuple[tuple[str, float], ...]
    """The likeliest strings with their probabilities, `digits` first."""
    start_s: float
    """Beginning of the first digit."""
    end_s: float
    """End of the last digit."""
    time_s: float
    """When the pause had been long enough, or speech that lasted longer and gave no word was over, or the stream."""

    @property
    def corrected(self) -> bool:
        """Whether length or checksum chose another string than the likeliest."""
        return self.digits != self.heard


class DigitStringCollector:
    """Gathers the words of a stream into strings.

    Words that the recogniser rejects are left out. A length or a checksum may bring them back, as long as they are
    fewer than the words that were answered as digits; else strings would be invented from what was mostly no digit.
    Where no word was answered as a digit there is no string. Feed it all events of one stream, in order; what it
    returns does not depend on how the stream was cut into blocks.

    Args:
        recognizer: the stream's model, whose labels are digits.
        options: pause, length, checksum.

    Raises:
        ModelError: if the model knows other words than digits.

    Example:
        >>> stream = StreamingRecognizer(recognizer, sample_rate=48000)
        >>> strings = DigitStringCollector(recognizer, StringOptions(checksum="luhn"))
        >>> for block in blocks:
        ...     for string in strings.accept(stream.accept(block), stream.time_s):
        ...         print(string.digits, string.satisfied)
    """

    def __init__(self, recognizer: Recognizer, options: StringOptions | None = None):
        others = set(recognizer.info.labels) - {*DIGITS, NON_DIGIT}
        if others:
            raise ModelError(f"{recognizer.path.name} knows {', '.join(sorted(others))}; strings are of digits alone")
        self.options = options or StringOptions()
        self._reject_below = recognizer.reject_below
        self.reset()

    def reset(self) -> None:
        """Forget the string so far."""
        self._words: list[Event] = []
        self._speaking = False
        self._quiet_s = 0.0  # end of the last answered word's sound, which may go on after its answer
        self._silent_s = 0.0  # when it was known that speech had ended; no string is decided before

    def accept(self, events: Sequence[Event], time_s: float) -> list[DigitString]:
        """Take what the stream's `accept` returned, and its `time_s` after that; strings that ended meanwhile."""
        strings = []
        for event in events:
            if not self._speaking:
                strings += self._close_before(event.time_s)
            if event.kind in ("digit", "rejected"):
                self._words.append(event)
                if len(self._words) == MAX_WORDS:
                    strings += self._close(event.time_s)
            elif event.kind == "speech_end" and self._words and event.start_s == self._words[-1].start_s:
                self._quiet_s = event.end_s
            if event.kind in ("speech_start", "speech_end"):
                self._speaking = event.kind == "speech_start"
            if event.kind == "speech_end":
                self._silent_s = event.time_s
        # At the deadline itself a word may still begin: of events and of blocks alike only what is later closes.
        return strings + ([] if self._speaking else self._close_before(time_s))

    def flush(self, events: Sequence[Event] = (), time_s: float = 0.0) -> list[DigitString]:
        """Take what the stream's `flush` returned, and its `time_s` before that; end the string, then begin anew."""
        strings = self.accept(events, 0.0)
        if self._words:
            strings += self._close(max(time_s, *(word.time_s for word in self._words)))
        self.reset()
        return strings

    def _close_before(self, time_s: float) -> list[DigitString]:
        if not self._words:
            return []
        deadline_s = max(self._words[-1].end_s, self._quiet_s) + self.options.pause_ms / 1000
        return self._close(max(deadline_s, self._silent_s)) if time_s > deadline_s else []

    def _close(self, time_s: float) -> list[DigitString]:
        words, self._words = self._words, []
        return [self._decide(words, time_s)] if any(word.kind == "digit" for word in words) else []

    def _decide(self, words: Sequence[Event], time_s: float) -> DigitString:
        options = self.options
        alternatives = [self._alternatives(word) for word in words]
        answered = [word for word in words if word.kind == "digit"]
        best, mass = best_strings(alternatives, n_best=options.n_best)
        heard, satisfied = best[0].digits, None
        if options.length or options.checksum:
            most = 2 * len(answered) - 1  # digits: every answered word is one, and fewer rejected words
            kept, kept_mass, satisfied = best, mass, True
            conditions = [(None, options.plausible_length)] if options.length else []
            if options.checksum:
                checksum = CHECKSUMS[options.checksum]
                conditions.append((checksum, checksum.chance if options.plausible is None else options.plausible))
            for checksum, plausible in conditions:
                before = kept_mass
                kept, kept_mass = best_strings(alternatives, options.length, checksum, options.n_best, most)
                satisfied = satisfied and kept_mass > plausible * before
            best, mass = (kept, kept_mass) if satisfied else (best, mass)
        n_best = tuple((string.digits, string.probability / mass) for string in best)
        first, last = words[best[0].first], words[best[0].last]
        return DigitString(*n_best[0], heard, satisfied, n_best, first.start_s, last.end_s, time_s)

    def _alternatives(self, word: Event) -> dict[str, float]:
        """What a word may have been. Of a rejected one, that it was no digit outweighs every digit."""
        probabilities = word.prediction.probabilities
        weights = {digit: max(probabilities.get(digit, 0.0), FLOOR) for digit in DIGITS}
        if word.kind == "rejected":  # first, so that it wins a tie
            nothing = max(self._reject_below, probabilities.get(NON_DIGIT, 0.0), *weights.values())
            weights = {NO_DIGIT: nothing, **weights}
        total = sum(weights.values())
        return {digit: weight / total for digit, weight in weights.items()}
