"""Digits in other languages, as espeak-ng's voices of these languages are given them to read; labels stay "0" to "9".

Words other than digits are read as they are spelled. Arabic is vocalised, since espeak-ng guesses no short vowels, and
without the final letter that it would say as /t/, which nobody does before a pause.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgedigit.labels import DIGITS

ENGLISH = "en"

_DIGITS = {
    "ar": "صِفْر وَاحِد اِثْنَان ثَلَاثَ أَرْبَعَ خَمْسَ سِتَّا سَبْعَ ثَمَانِيَ تِسْعَ",
    "cmn": "零 一 二 三 四 五 六 七 八 九",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "hi": "शून्य एक दो तीन चार पाँच छह सात आठ नौ",
}


def by_digit(words: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Language to ten words in one text, as language to digit to word."""
    return {language: dict(zip(DIGITS, ten.split(), strict=True)) for language, ten in words.items()}


DIGITS_IN = by_digit(_DIGITS)
"""Language to what is said for each digit."""

REGIONS = {"es": ("es", "es-419"), "fr": ("fr", "fr-be", "fr-ch")}
"""Further voices of a language; the others have one each."""
