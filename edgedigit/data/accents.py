"""English digits spelled as other languages would write them, zero to nine.

espeak-ng's voice of such a language then says English digits with the sounds of that language: an accent.
"""

from edgedigit.data.languages import by_digit

_SPELLINGS = {
    "hi": "ज़ीरो वन टू थ्री फ़ोर फ़ाइव सिक्स सेवन एट नाइन",
    "mr": "झीरो वन टू थ्री फोर फाइव सिक्स सेवन एट नाइन",
    "ne": "जिरो वान टु थ्री फोर फाइभ सिक्स सेभेन एट नाइन",
    "bn": "জিরো ওয়ান টু থ্রি ফোর ফাইভ সিক্স সেভেন এইট নাইন",
    "gu": "ઝીરો વન ટુ થ્રી ફોર ફાઇવ સિક્સ સેવન એઇટ નાઇન",
    "pa": "ਜ਼ੀਰੋ ਵਨ ਟੂ ਥ੍ਰੀ ਫੋਰ ਫਾਈਵ ਸਿਕਸ ਸੈਵਨ ਏਟ ਨਾਈਨ",
    "ta": "சீரோ ஒன் டூ த்ரீ ஃபோர் ஃபைவ் சிக்ஸ் செவன் எய்ட் நைன்",
    "te": "జీరో వన్ టూ త్రీ ఫోర్ ఫైవ్ సిక్స్ సెవెన్ ఎయిట్ నైన్",
    "kn": "ಜೀರೋ ವನ್ ಟೂ ತ್ರೀ ಫೋರ್ ಫೈವ್ ಸಿಕ್ಸ್ ಸೆವೆನ್ ಎಯ್ಟ್ ನೈನ್",
    "ml": "സീറോ വൺ ടൂ ത്രീ ഫോർ ഫൈവ് സിക്സ് സെവൻ എയ്റ്റ് നയൻ",
    "es": "sírou uán tú tri for fáif sics séven éit náin",
    "it": "siro uan tu tri for faiv sics seven eit nain",
    "pt": "zírou uãn tu tri fór fáiv sics séven êit náin",
    "de": "siero wann tu sri for faif six sewen eht nain",
    "fr": "ziro ouane tou sri for faïve sixe sévenne eïte naïne",
    "ru": "зироу уан ту сри фор файв сикс севен эйт найн",
    "pl": "ziroł łan tu tri for fajf siks sewen ejt najn",
    "tr": "ziro van tu tri for fayv siks sevın eyt nayn",
    "nl": "zierow wan toe srie for faif siks seven eet nain",
    "ko": "지로 원 투 쓰리 포 파이브 식스 세븐 에잇 나인",
    "ja": "ゼロ ワン ツー スリー フォー ファイブ シックス セブン エイト ナイン",
    "id": "ziro wan tu tri for faif siks seven eit nain",
    "sw": "ziro wan tu thri foo faiv siks seven eit nain",
    "el": "ζίροου ουάν του θρι φορ φάιβ σιξ σέβεν έιτ νάιν",
    "fi": "siirou uan tuu srii foor faiv siks seven eit nain",
    "hu": "zíró uán tú szrí fór fájv sziksz szeven éjt nájn",
    "ro": "zirou uan tu tri for faiv sics seven eit nain",
}

DIGIT_SPELLINGS = by_digit(_SPELLINGS)
"""Language of espeak-ng to what it reads for each digit."""
