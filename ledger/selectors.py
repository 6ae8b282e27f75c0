"""Phones and plates as people write them, in the one form in which they are compared.

A phone becomes E.164, a plate upper-case Latin letters and digits: spaces, hyphens and brackets go, and Cyrillic
letters that look like Latin ones become those. What is found in a text is a guess: the search index takes it beside the
words, so that a wrong one costs little. Dates, amounts, coordinates and the numbers of papers are left out all the
same, by how their digits are grouped and by the words beside them.
"""

import re
from typing import Final

_ALIKE: Final = str.maketrans("АВЕКМНОРСТУХавекмнорстух", "ABEKMHOPCTYXABEKMHOPCTYX")
_DIGITS_MIN: Final = 4
_GAP_MAX: Final = 7  # between two of the digits: " KG ", or " ABC " with a hyphen at each side
_SOME_DIGITS: Final = re.compile(rf"\d(?:\D{{0,{_GAP_MAX}}}\d){{{_DIGITS_MIN - 1}}}")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?")

_SEPARATORS: Final = r" ()\u00a0\u2011\u2013-"
_RUN: Final = re.compile(rf"(?<!\w)\d(?:[{_SEPARATORS}]{{0,3}}\+?\d){{8,}}(?!\w)")
_PLUS: Final = re.compile(rf"\+[{_SEPARATORS}]{{0,2}}\Z")  # before a run
_GROUP: Final = re.compile(r"\+?\d+")
_GROUPS_MAX: Final = 8  # 8 10 998 90 123 45 67 has seven
_CUT_BEFORE: Final = re.compile(r"\d[.:/]|\w-")  # a run that goes on from a time, a date or the number of a paper
_CUT_AFTER: Final = re.compile(r"[:/.]\d|,\d{1,6}(?!\d)")
_PAPER: Final = re.compile(  # words before a number that is no phone
    r"(?:инн|стир|inn|stir|пинфл|жшшир|pinfl|jshshir|па[сc]порт\w*|pasport\w*|passport|деклараци\w*|deklara[tc]siya\w*"
    r"|declaration|гтд|бюд|byud|imei|imsi|vin|№|\bno\.?|\bid)[\s:.#№-]*$",
    re.IGNORECASE,
)
_CALLED: Final = re.compile(r"тел|tel|phone|моб|mob", re.IGNORECASE)  # beside which a number is a phone after all
_LOOK_BACK: Final = 24  # characters
_AMOUNT: Final = re.compile(  # words after a number that is no phone
    r"\s{0,2}(?:[$€%]|(?:so.{0,2}m|sum|сум|сўм|usd|uzs|долл|dollar|руб|тенге|тонн|tonna|kg|кг|gramm?|грамм?|g|г|dona|дона"
    r"|ta|та|шт)(?![^\W\d]))",
    re.IGNORECASE,
)
_OPERATORS: Final = re.compile(  # mobile operators and the regions' area codes in Uzbekistan
    r"20|33|50|55|6[1-25-79]|7[0-9]|8[78]|9[0-57-9]"
)
_LENGTHS: Final = {  # a country's number with its code
    "998": 12, "996": 12, "992": 12, "993": 11, "994": 12, "995": 12, "375": 12, "380": 12, "7": 11, "93": 11,
    "90": 12, "86": 13, "98": 12, "92": 12, "91": 12,
}  # fmt: skip
_CODE: Final = re.compile("998|996|992|993|994|995|375|380|93|90|86|98|92|91|7")
_NATIONAL_DIGITS: Final = 9
_NATIONAL: Final = frozenset(  # 90 123 45 67, with any of the spaces left out, and 90 12 34 567
    {(9,), (2, 7), (5, 4), (7, 2), (2, 3, 4), (2, 5, 2), (5, 2, 2), (2, 3, 2, 2), (2, 2, 2, 3)}
)
_LONG: Final = frozenset({(11,), (1, 10), (1, 3, 7), (1, 3, 3, 4), (1, 3, 3, 2, 2), (1, 3, 2, 2, 3), (4, 3, 2, 2)})

_PLATE: Final = re.compile(  # first those that begin with a digit: so each place is tried for half of them
    r"(?<!\w)(?:(?=\d)(?:"
    r"\d\d[ -]?[A-Z][ -]?\d{3}[ -]?[A-Z]{2}"  # Uzbekistan, a person's: 01 A 777 BC
    r"|\d\d[ -]?\d{3}[ -]?[A-Z]{3}"  # Uzbekistan, a company's: 01 777 ABC
    r"|\d\d[ -]?\d{4}[ -]?[A-Z]{2}"  # Uzbekistan, a trailer's: 01 1234 AB
    r"|\d\d[ -]?[A-Z]{2}[ -]?\d{4}"  # older
    r"|\d{3}[ -]?[A-Z]{2,3}[ -]?(?:0[1-9]|1\d|20)"  # Kazakhstan: 123 ABC 02
    r"|\d\d[ -]?KG[ -]?\d{3}[ -]?[A-Z]{2,3}"  # Kyrgyzstan: 01 KG 123 ABC
    r"|\d{4}[ -]?[A-Z]{2}[ -]?\d\d"  # Tajikistan: 1234 AB 01
    r")|(?=[A-Z])(?:"
    r"[ABEKMHOPCTYX][ -]?\d{3}[ -]?[ABEKMHOPCTYX]{2}[ -]?\d{2,3}"  # Russia: A 123 BC 77
    r"|[A-Z]\d{4}[A-Z]{1,2}"  # Kyrgyzstan, older
    r"|[A-Z]{2}[ -]?\d{4}[ -]?(?:AG|AH|BN|DZ|LB|MR)|[A-Z]{2}\d{4}[A-Z]{2}"  # Turkmenistan: AB 1234 AH
    r"|(?:KBL|HRT|KDR|BLK|NGR|KDZ)[ -]?\d{4,5}"  # Afghanistan
    r"|[DTX][ -]?\d{3}[ -]?\d{3}|C\d{6}|CMD[ -]?\d{4}|UN[ -]?\d{4}"  # diplomatic
    r"))(?!\w)"
)
_MAY_BE_PLATE: Final = re.compile(r"\d[ -]?[^\W\d_]|[^\W\d_][ -]?\d")  # a letter and a digit side by side
_LETTERS: Final = re.compile("[A-Z]+")
_WORDS: Final = frozenset(  # the only letters in an amount or a date, which is no plate
    {
        "KG", "GR", "MG", "ML", "KM", "CM", "MM", "MB", "GB", "TA", "USD", "UZS", "SUM", "SOM", "RUB", "EUR", "KZT",
        "PCS", "OF", "IN", "AT", "TO", "ON", "BY", "OR", "NO", "AND", "FOR", "THE", "HA", "OT", "CO", "HE", "JAN",
        "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    }
)  # fmt: skip


def worth_a_look(text: str) -> bool:
    """Whether a phone or a plate may stand in a text: a cheap test that leaves out most."""
    if len(text) < _DIGITS_MIN or text.isalpha() or _SOME_DIGITS.search(text) is None:
        return False
    if _MAY_BE_PLATE.search(text) is None:
        return len(text) >= _NATIONAL_DIGITS and _RUN.search(text) is not None
    return _MOMENT.fullmatch(text) is None


def phones(text: str) -> list[str]:
    """The phone numbers in a text, E.164, in the order of the text. Without digits about 1 us."""
    if _SOME_DIGITS.search(text) is None:
        return []
    found: dict[str, None] = {}
    for run in _RUN.finditer(text):
        groups: list[str] = _GROUP.findall(run[0])
        before = text[max(0, run.start() - _LOOK_BACK) : run.start()]
        if _PAPER.search(before) and not _CALLED.search(before):
            continue
        if _PLUS.search(before):
            groups[0] = "+" + groups[0]
        elif _AMOUNT.match(text, run.end()):
            continue
        elif _CUT_BEFORE.fullmatch(before[-2:]):
            groups.pop(0)
        if groups and _CUT_AFTER.match(text, run.end()):
            groups.pop()
        found.update(dict.fromkeys(_in_run(groups)))
    return list(found)


def _in_run(groups: list[str]) -> list[str]:
    """The phones in groups of digits that stand beside one another: the longest at each place."""
    found = []
    at = 0
    while at < len(groups):
        size = min(_GROUPS_MAX, len(groups) - at)
        while size and (phone := _grouped(groups[at : at + size])) is None:
            size -= 1
        if size:
            found.append(phone)
        at += max(size, 1)
    return [phone for phone in found if phone is not None]


def _grouped(groups: list[str]) -> str | None:
    """The number as E.164, where its country or the grouping of its digits tells a phone."""
    digits = "".join(groups)
    if not _NATIONAL_DIGITS <= len(digits) <= 18 or "+" in digits[1:]:
        return None
    if digits[0] in "+0" or (digits.startswith("810") and len(digits) > 12):
        return _international(digits)
    shape = tuple(map(len, groups))
    if set(shape) == {3}:  # an amount: 901 234 567
        return None
    if len(digits) == _NATIONAL_DIGITS:
        taxpayer = shape == (9,) and digits.startswith("20")  # so begin a company's taxpayer numbers
        return None if shape not in _NATIONAL or taxpayer else _international(digits)
    if len(digits) == 11 and digits[:2] in ("89", "79", "77") and shape not in _LONG:
        return None
    return _international(digits)


def _international(digits: str) -> str | None:
    """E.164 of digits, perhaps after a plus, that are an international number or one as dialled in Uzbekistan."""
    marked = digits.startswith("+")
    digits = digits.removeprefix("+")
    if not marked and digits.startswith("00"):
        digits, marked = digits[2:], True
    elif not marked and digits.startswith("810") and len(digits) > 12:
        digits, marked = digits[3:], True
    if marked:
        code = _CODE.match(digits)
        fits = len(digits) == _LENGTHS[code[0]] if code else 10 <= len(digits) <= 15 and digits[0] != "0"
        return "+" + digits if fits else None
    if len(digits) == _NATIONAL_DIGITS and _OPERATORS.match(digits):
        return "+998" + digits
    if len(digits) == 12 and digits.startswith(("992", "996", "998")):
        return "+" + digits if digits[2] != "8" or _OPERATORS.match(digits, 3) else None
    if len(digits) == 10 and digits[0] == "8" and _OPERATORS.match(digits, 1):
        return "+998" + digits[1:]
    if len(digits) == 11 and digits[:2] in ("89", "79", "77"):  # Russia and Kazakhstan, as dialled there or without +
        return "+7" + digits[1:]
    return None


def plates(text: str) -> list[str]:
    """The vehicle plates in a text, in the order of the text. Without digits about 1 us."""
    if _SOME_DIGITS.search(text) is None:
        return []
    found: dict[str, None] = {}
    for match in _PLATE.findall((text if text.isascii() else text.translate(_ALIKE)).upper()):
        if not _WORDS.issuperset(_LETTERS.findall(match)):
            found[match.replace(" ", "").replace("-", "")] = None
    return list(found)


def phone_key(text: str) -> str | None:
    """The phone that somebody means: with its country, or a national one; None where it cannot be one."""
    digits = re.sub(r"\D", "", text)
    if not _DIGITS_MIN < len(digits) <= 15 or re.search(r"[^\W\d]", text):
        return None
    marked = "+" if text.lstrip(" (").startswith("+") else ""
    return _international(marked + digits) or "+" + digits


def plate_key(text: str) -> str | None:
    """The plate that somebody means; None where it cannot be one."""
    found = "".join(letter for letter in text.translate(_ALIKE).upper() if letter.isalnum())
    fits = 3 <= len(found) <= 12 and found.isascii() and any(letter.isdigit() for letter in found)
    return found if fits else None
