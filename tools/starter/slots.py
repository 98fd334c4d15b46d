"""Values for the slots of a phrase that are no order id: amounts, phones, dates, counts, model numbers."""

from __future__ import annotations

import random
import re

_AMOUNTS = {
    "en": ("${}", "£{}", "€{}", "{} USD", "{} dollars", "S${}"),
    "th": ("{} บาท", "฿{}", "{}บาท", "{} THB"),
    "ms": ("RM{}", "RM {}", "{} ringgit", "MYR {}"),
    "vi": ("{}đ", "{} đồng", "{}k", "{} VND", "{} nghìn"),
    "ar": ("{} ريال", "{} درهم", "{} جنيه", "{} دينار", "${}"),
    "zh": ("{}元", "¥{}", "{}块", "{}块钱", "NT${}"),
}
_PHONES = {
    "en": ("+1 ### ### ####", "+44 7### ######", "(###) ###-####", "07### ######", "+65 #### ####"),
    "th": ("08#-###-####", "09########", "+66 8# ### ####", "02-###-####"),
    "ms": ("01#-### ####", "+60 1#-#######", "03-#### ####", "01########"),
    "vi": ("09########", "03## ### ###", "+84 9## ### ###", "0## #### ####"),
    "ar": ("05########", "+966 5# ### ####", "010########", "+971 5# #######", "00962 7########"),
    "zh": ("13#########", "1## #### ####", "+86 15#########", "0##-########", "09##-###-###"),
}
_MONTHS = {
    "en": ("January", "March", "May", "June", "August", "Oct", "November", "Dec"),
    "th": ("มกราคม", "มีนาคม", "พ.ค.", "มิถุนายน", "ส.ค.", "ตุลาคม", "พฤศจิกายน", "ธ.ค."),
    "ms": ("Januari", "Mac", "Mei", "Jun", "Ogos", "Oktober", "November", "Dis"),
    "vi": ("tháng 1", "tháng 3", "tháng 5", "tháng 6", "tháng 8", "tháng 10", "tháng 11", "tháng 12"),
    "ar": ("يناير", "مارس", "مايو", "يونيو", "أغسطس", "أكتوبر", "نوفمبر", "ديسمبر"),
    "zh": (),
}

# A number of one digit repeated is laughter or a wish (555, 666) and stays as it is.
_LONG_NUMBER = re.compile(r"(?<![0-9])(?!([0-9])\1{2,}(?![0-9]))[0-9]{3,}")


def _digits(pattern: str, rng: random.Random) -> str:
    return "".join(str(rng.randint(0, 9)) if char == "#" else char for char in pattern)


def amount(rng: random.Random, language: str) -> str:
    """An amount of money as written in the language's countries."""
    whole, cents = rng.randint(1, 999), rng.randint(0, 99)
    thousands = f"{rng.randint(1, 99)},{cents * 10:03d}"
    large = f"{rng.randint(1, 9)}.{100 + whole % 900}.000" if language == "vi" else str(whole * 10)
    number = rng.choice((str(whole), f"{whole}.{cents:02d}", thousands, str(rng.randint(1, 99) * 100), large))
    return rng.choice(_AMOUNTS[language]).format(number)


def phone(rng: random.Random, language: str) -> str:
    """A made-up telephone number in a format of the language's countries, one in eight in a format of another's."""
    formats = _PHONES[language] if rng.random() < 0.875 else _PHONES[rng.choice(sorted(_PHONES))]
    return _digits(rng.choice(formats), rng)


def number(rng: random.Random) -> str:
    """A number of three to nine digits that is no order id: of a member, a card, a house."""
    return _digits("#" * rng.randint(3, 9), rng)


def with_other_digits(text: str, rng: random.Random) -> str:
    """A sentence whose numbers of three and more digits are others, as long: what is learnt is that they are no id."""
    return _LONG_NUMBER.sub(lambda match: _digits("#" * len(match[0]), rng), text)


def date(rng: random.Random, language: str) -> str:
    """A day, numeric or with the month's name."""
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2023, 2027)
    if language == "zh":
        return rng.choice(
            (
                f"{month}月{day}日",
                f"{month}月{day}号",
                f"{year}年{month}月{day}日",
                f"{month}/{day}",
                f"{year}-{month:02d}-{day:02d}",
            )
        )
    name = rng.choice(_MONTHS[language])
    iso, long_form = f"{year}-{month:02d}-{day:02d}", f"{day} {name} {year}"
    other = f"{name} {day}" if language == "en" else f"{day:02d}.{month:02d}.{year}"
    return rng.choice((f"{day} {name}", long_form, f"{day}/{month}", f"{day}/{month}/{year}", iso, other))


def count(rng: random.Random) -> str:
    """A count, a house number, a number of days: small most of the time."""
    if rng.random() < 0.3:
        return str(rng.randint(1, 250))
    return str(rng.choice((2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 20, 24, 30)))


def model_number(rng: random.Random) -> str:
    """A product's model designation: looks like an order id and is none."""
    pattern = rng.choice(
        (
            "#",
            "##",
            "###",
            "####",
            "X#",
            "XX-##",
            "XX-####",
            "X###",
            "XX##X",
            "##X",
            "XX#### XX",
            "# Pro",
            "#GB",
            "##L",
            "#W",
        )
    )
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTVWX") if char == "X" else char for char in pattern)
    return _digits(letters, rng)
