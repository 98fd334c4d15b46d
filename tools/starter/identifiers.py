"""Order ids: the formats the model is trained on, and formats kept for the test of unseen ones.

``L`` stands for a letter, ``D`` for a digit, everything else for itself.
"""

from __future__ import annotations

import random
import string

_SEEN_SEPARATORS = "--------///___..:&*@|#%!;,·–"
_UNSEEN_SEPARATORS = "~=+^"
# Every mark that may occur in a scrambled id: a mark the model never wrote in training it could not write at all.
_MARKS = "!#$%&'()*+,-./:;<=>?@[]^_`{|}~–·"
_PREFIXES = (
    "ORD", "INV", "PO", "SO", "TH", "MY", "VN", "SG", "CN", "AE", "EG", "US", "UK", "WEB", "SHOP", "NO", "TK",
    "REF", "ON", "DH", "A", "B", "X", "KL", "BKK", "HN", "HCM", "DXB", "SH", "GZ", "OD", "ORDER", "CUST", "APP",
    "MOB", "LZ", "SP", "TT", "web", "shop", "ord", "order", "cust", "app", "po", "so", "ab", "my", "th", "vn",
    "ref", "mob", "xr", "qz", "id",
)  # fmt: skip
_PATTERNS = (
    "LLDDDDDD", "LLLDDDD", "LDDDDD", "LDLDLD", "DDDDLL", "DDLLLDD", "LLDDDDLL", "LDDDDDDDD", "LLLLDDDD", "LL-DDDD",
    "LLL-DDDDD", "LL/DDDD-L", "DDDD-DDDD", "DDD-DDDDDDD-DDDDDDD", "DD-DDDDD", "DDDD/DDD", "LL_DDD", "LL.DDDD",
    "L-DDDD", "LLDD-DDDD", "LDD/LDD", "DDDD-LL", "DDDDDD-D", "LL-DD-DDDD", "LLL_DDDD_DD", "DD.DDDD.DD",
    "DDDDDDDD/LL", "LLLLDDDDDDDDDD", "LDDLDD", "DDLDDLDD", "LLDDDDDDDDDLL",
)  # fmt: skip
_UNSEEN_PATTERNS = (
    "LLLLLL#DD", "LLLLL#DDD", "DD#LLLL#DD", "LL#LL#LL#DD", "DDDDDDDDDDDDDDD", "LDDDDDDDDDDDDL", "D#DDDDDD#LLL",
    "LLLDDDLLLDDD", "DDDDD#DDDDD", "LL#DDDD", "LLL#DDDDDD", "DDDD#LL#D", "L#DDDDD",
)  # fmt: skip
_ARABIC_DIGITS = str.maketrans(string.digits, "٠١٢٣٤٥٦٧٨٩")


def _fill(pattern: str, rng: random.Random) -> str:
    letters = {"L": string.ascii_uppercase, "l": string.ascii_lowercase, "D": string.digits}
    return "".join(rng.choice(letters[char]) if char in letters else char for char in pattern)


def _cased(identifier: str, rng: random.Random) -> str:
    return identifier.lower() if rng.random() < 0.35 else identifier


def _digits(rng: random.Random) -> str:
    length = rng.choice((4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10, 11, 12, 13))
    return str(rng.randint(1, 9)) + "".join(rng.choice(string.digits) for _ in range(length - 1))


def _prefixed(rng: random.Random) -> str:
    separator = rng.choice(_SEEN_SEPARATORS)
    groups = [rng.choice(_PREFIXES)]
    if rng.random() < 0.35:
        groups.append(rng.choice((str(rng.randint(2019, 2027)), str(rng.randint(19, 27)), f"{rng.randint(1, 12):02d}")))
    groups.append("".join(rng.choice(string.digits) for _ in range(rng.randint(2, 8))))
    if rng.random() < 0.15:
        groups.append(_fill(rng.choice(("L", "LL", "D", "LD")), rng))
    return (separator if rng.random() < 0.85 else "").join(groups)


def _free(rng: random.Random) -> str:
    groups = []
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
        kinds = rng.choice(("D", "D", "L", "LD", "DL", "mixed"))
        if kinds == "mixed":
            groups.append("".join(rng.choice("LDD") for _ in range(rng.randint(3, 7))))
        else:
            groups.append("".join(kind * rng.randint(1, 4) for kind in kinds))
    separator = rng.choice(_SEEN_SEPARATORS)
    pattern = separator.join(groups)
    if sum(char == "D" for char in pattern) < 2:
        pattern += rng.choice(("", separator)) + "D" * rng.randint(2, 4)
    return _fill(pattern if len(pattern) > 3 else pattern + "DDD", rng)


def _scrambled(rng: random.Random) -> str:
    """Letters, digits and marks without any format; begins and ends with a letter or digit."""
    plain, inner = string.ascii_letters + string.digits * 3, string.ascii_letters + string.digits * 2 + _MARKS * 2
    return rng.choice(plain) + "".join(rng.choice(inner) for _ in range(rng.randint(3, 9))) + rng.choice(string.digits)


def seen_id(rng: random.Random, language: str) -> str:
    """An order id of a format that training uses, upper or lower case."""
    kind = rng.random()
    if kind < 0.28:
        made = _digits(rng)
    elif kind < 0.55:
        made = _cased(_prefixed(rng), rng)
    elif kind < 0.75:
        made = _cased(_fill(rng.choice(_PATTERNS), rng), rng)
    elif kind < 0.84:
        made = _scrambled(rng)
    else:
        made = _cased(_free(rng), rng)
    if language == "ar" and rng.random() < 0.05:
        return made.translate(_ARABIC_DIGITS)
    return made


def unseen_id(rng: random.Random) -> str:
    """An order id of a pattern that training does not list, with marks it never uses as separators; half in lower case.

    The marks do occur inside scrambled training ids, never between the groups of a format.
    """
    pattern = rng.choice(_UNSEEN_PATTERNS).replace("#", rng.choice(_UNSEEN_SEPARATORS))
    made = _fill(pattern, rng)
    return made.lower() if rng.random() < 0.5 else made
