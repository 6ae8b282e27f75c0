"""Phones and plates as people write them, in the one form in which they are compared.

A phone becomes E.164, a plate upper-case Latin letters and digits: spaces, hyphens and brackets go, and Cyrillic
letters that look like Latin ones become those. What is found in a text is a guess: the search index takes it beside the
words, so that a wrong one costs little.
"""

import re
from typing import Final

_ALIKE: Final = str.maketrans("АВЕКМНОРСТУХавекмнорстух", "ABEKMHOPCTYXABEKMHOPCTYX")
_DIGITS_MIN: Final = 4
_SOME_DIGITS: Final = re.compile(r"\d\D{0,3}\d\D{0,3}\d\D{0,3}\d")
_NINE_DIGITS: Final = re.compile(r"(?:\d[ ()+-]{0,3}){8}\d")
_PHONE: Final = re.compile(
    r"(?<![\w+.,/-])(?:\+|00|8[ -]?10[ -]?)?[ ]?\(?\d{1,3}\)?(?:[ -]?\(?\d{2,4}\)?){2,4}(?![\w.,]?\d)(?!/\d)(?!\w)"
)
_OPERATORS: Final = re.compile(  # mobile operators and the regions' area codes in Uzbekistan
    r"20|33|50|55|6[1-25-79]|7[0-9]|8[78]|9[0-57-9]"
)
_COUNTRIES: Final = ("998", "996", "992", "993", "7", "93", "90", "86", "98", "994", "995", "375", "380")
_NATIONAL_DIGITS: Final = 9
_PLATE: Final = re.compile(
    r"(?<!\w)(?:"
    r"\d{2}[ -]?[A-Z][ -]?\d{3}[ -]?[A-Z]{2}"  # Uzbekistan, a person's: 01 A 777 BC
    r"|\d{2}[ -]?\d{3}[ -]?[A-Z]{3}"  # Uzbekistan, a company's: 01 777 ABC
    r"|\d{2}[ -]?[A-Z]{2}[ -]?\d{4}"  # older, and trailers
    r"|[A-Z][ -]?\d{3}[ -]?[A-Z]{2}[ -]?\d{2,3}"  # Russia: A 123 BC 77
    r"|\d{3}[ -]?[A-Z]{2,3}[ -]?\d{2}"  # Kazakhstan: 123 ABC 02
    r"|\d{2}[ -]?KG[ -]?\d{3}[ -]?[A-Z]{2,3}"  # Kyrgyzstan
    r"|\d{4}[ -]?[A-Z]{2}[ -]?\d{2}"  # Tajikistan: 1234 AB 01
    r"|[A-Z]{2}[ -]?\d{4}[ -]?[A-Z]{2}"  # Turkmenistan: AH 1234 AH
    r"|[CDTX][ -]?\d{3}[ -]?\d{3}"  # diplomatic
    r")(?!\w)"
)


_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT")


def worth_a_look(text: str) -> bool:
    """Whether a phone or a plate may stand in a text: a cheap test that leaves out most."""
    if len(text) < _DIGITS_MIN or text.isalpha():
        return False
    return _SOME_DIGITS.search(text) is not None and _MOMENT.match(text) is None


def phones(text: str) -> list[str]:
    """The phone numbers in a text, E.164, in the order of the text."""
    if _NINE_DIGITS.search(text) is None:
        return []
    found = (_international(match[0]) for match in _PHONE.finditer(text))
    return list(dict.fromkeys(phone for phone in found if phone is not None))


def _international(text: str) -> str | None:
    """The number as E.164, where it looks like one with its country, or like a national one."""
    digits = re.sub(r"\D", "", text)
    stripped = text.strip()
    marked = stripped.startswith(("+", "00"))
    if stripped.startswith("00"):
        digits = digits[2:]
    elif digits.startswith("810") and len(digits) > 12:
        digits, marked = digits[3:], True
    if len(digits) == _NATIONAL_DIGITS and _OPERATORS.match(digits) and not marked:
        return "+998" + digits
    known = digits.startswith(_COUNTRIES) if marked else digits.startswith(("998", "996", "992"))
    return "+" + digits if known and 11 <= len(digits) <= 13 else None


def plates(text: str) -> list[str]:
    """The vehicle plates in a text, in the order of the text."""
    found = (re.sub(r"[ -]", "", match) for match in _PLATE.findall(text.translate(_ALIKE).upper()))
    return list(dict.fromkeys(found))


def phone_key(text: str) -> str | None:
    """The phone that somebody means: with its country, or a national one; None where it cannot be one."""
    digits = re.sub(r"\D", "", text)
    if not _DIGITS_MIN < len(digits) <= 15 or re.search(r"[^\W\d]", text):
        return None
    return _international(text) or "+" + digits


def plate_key(text: str) -> str | None:
    """The plate that somebody means; None where it cannot be one."""
    found = "".join(letter for letter in text.translate(_ALIKE).upper() if letter.isalnum())
    fits = 3 <= len(found) <= 12 and found.isascii() and any(letter.isdigit() for letter in found)
    return found if fits else None
