"""What a text is like, in two words that cannot be turned back into it: its language, and a hash of its topic. Pure.

Cheap enough for the door: some ten microseconds for a message, where a model of languages takes 140 MB and longer.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter

TOPICS = 16
# The beginning tells as much as the whole.
_LOOKED_AT_CHARACTERS = 400
_TOPIC_WORDS = 60
_LEAST_LETTERS = 4
_WORD = re.compile(r"[^\W\d_]+")
# Writing → beginning and end of its main blocks in Unicode.
_WRITINGS = (
    ("th", 0x0E00, 0x0E7F),
    ("ar", 0x0600, 0x06FF),
    ("zh", 0x4E00, 0x9FFF),
    ("zh", 0x3400, 0x4DBF),
    ("ja", 0x3040, 0x30FF),
    ("ko", 0xAC00, 0xD7AF),
    ("ru", 0x0400, 0x04FF),
    ("hi", 0x0900, 0x097F),
    ("el", 0x0370, 0x03FF),
    ("he", 0x0590, 0x05FF),
)
_VIETNAMESE = frozenset("ăâđêôơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ")
# Short words that are frequent in one language and rare in the others.
_COMMON = {
    "en": "the and is are of to in for my you have it not with was this that please what how when can i a do",
    "ms": "yang dan saya tidak untuk dengan ini itu anda boleh kepada pada telah sudah ada adalah bagi tolong di",
    "es": "el la los las de que y en un una por con para no es mi del se su gracias",
    "fr": "le la les des et est un une pour dans que qui je vous pas avec mon ma ne du",
    "de": "der die das und ist ich nicht ein eine zu mit auf für sie von den mein wie bitte",
    "pt": "o os as de que e em um uma por com para não é meu do da se obrigado",
}
_LANGUAGES_OF = {
    word: tuple(language for language, words in _COMMON.items() if word in words.split())
    for word in " ".join(_COMMON.values()).split()
}


def language_of(text: str) -> str:
    """The likeliest language of a text, by its writing, and by its short words where that is Latin.

    Args:
        text: Its beginning is looked at.

    Returns:
        ``th``, ``en`` …; ``la`` for Latin letters that tell no more, ``zz`` for another writing, ``xx`` for none.
    """
    begin = text[:_LOOKED_AT_CHARACTERS]
    if not begin.isascii():
        found = _by_writing(begin)
        if found is not None:
            return found
    words = _WORD.findall(begin.lower())
    if not words:
        return "xx"
    votes = Counter(language for word in words for language in _LANGUAGES_OF.get(word, ()))
    return max(votes, key=lambda language: votes[language]) if votes else "la"


def topic_of(text: str) -> int | None:
    """Which of 16 heaps a text falls into by its longer words; texts of the same topic fall into few of them.

    Args:
        text: Its beginning is looked at.

    Returns:
        0 to 15: four bits of a hash for which like texts have like values. None for a text without longer words.

    Source:
        M. Charikar, Similarity Estimation Techniques from Rounding Algorithms, STOC 2002.
    """
    begin = text[:_LOOKED_AT_CHARACTERS].lower()
    words = [word for word in _WORD.findall(begin) if len(word) >= _LEAST_LETTERS][:_TOPIC_WORDS]
    if not words:
        return None
    votes = [0, 0, 0, 0]
    for word in words:
        # Thai and Chinese put no space between words: their runs of letters are cut into pieces.
        for piece in (word,) if word.isascii() else _pieces(word):
            bits = zlib.crc32(piece.encode("utf-8", "surrogatepass"))
            for position in range(4):
                votes[position] += 1 if bits >> position & 1 else -1
    return sum(1 << position for position, vote in enumerate(votes) if vote > 0)


def _pieces(word: str) -> list[str]:
    return [word[at : at + 3] for at in range(0, len(word) - 2, 2)] or [word]


def _by_writing(text: str) -> str | None:
    """The language by its letters; None where they are Latin and not Vietnamese."""
    votes: Counter[str] = Counter()
    for letter in unicodedata.normalize("NFC", text.lower()):
        code = ord(letter)
        if code < 0x80 or code == 0xD7 or code == 0xF7:
            votes["latin"] += "a" <= letter <= "z"
        elif letter in _VIETNAMESE:
            votes["vi"] += 1
        elif code < 0x250:
            votes["latin"] += 1
        else:
            named = next((name for name, first, last in _WRITINGS if first <= code <= last), None)
            if named is not None:
                votes[named] += 1
            elif letter.isalpha():
                votes["zz"] += 1
    # Japanese is written with Chinese characters, too; Vietnamese with plain letters mostly.
    if votes["ja"]:
        votes["ja"] += votes.pop("zh", 0)
    if votes["vi"] and votes["vi"] * 12 >= votes["latin"]:
        votes["vi"] += votes.pop("latin", 0)
    best = max(votes, key=lambda name: votes[name], default="latin")
    return None if best == "latin" or not votes[best] else best
