"""Check digits: which strings of digits can be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Checksum:
    """A scheme in which the digits, weighed by their places, sum to `remainder` modulo `modulus`."""

    name: str
    modulus: int
    remainder: int
    weigh: Callable[[int, int], int]
    """Place from the right, from 0, and digit there, to what it adds."""

    @property
    def chance(self) -> float:
        """Share of strings drawn at random that keep it."""
        return 1 / self.modulus

    def holds(self, digits: str) -> bool:
        """Whether a string, check digits included, keeps the scheme; the empty string does not."""
        total = sum(self.weigh(place, int(digit)) for place, digit in enumerate(reversed(digits)))
        return bool(digits) and total % self.modulus == self.remainder


def _luhn(place: int, digit: int) -> int:
    return digit if place % 2 == 0 else 2 * digit - 9 * (digit > 4)  # the digits of 2 d, added


def _mod97(place: int, digit: int) -> int:
    return digit * pow(10, place, 97)


CHECKSUMS = {
    scheme.name: scheme
    for scheme in (
        Checksum("luhn", 10, 0, _luhn),  # ISO/IEC 7812-1, annex B: payment cards, IMEI
        Checksum("mod97", 97, 1, _mod97),  # ISO/IEC 7064, MOD 97-10: two check digits, as in IBANs
    )
}
