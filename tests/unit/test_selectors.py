"""Phones and plates in any spelling become one; dates, amounts and numbers of papers do not become phones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.folding import coarse, fold
from ledger.selectors import phone_key, phones, plate_key, plates


@pytest.mark.parametrize(
    "text",
    [
        "+998 90 123-45-67",
        "(90) 123 45 67",
        "90 123 45 67",
        "8 10 998 90 1234567",
        "998901234567",
        "901234567",
        "tel. +998901234567, Termiz",
        "00998 90 123 45 67",
    ],
)
def test_phone_is_found_in_any_spelling(text: str) -> None:
    assert phones(text) == ["+998901234567"]


@pytest.mark.parametrize(
    ("text", "phone"), [("+7 912 345-67-89", "+79123456789"), ("+992 93 123 4567", "+992931234567")]
)
def test_foreign_phone_keeps_its_country(text: str, phone: str) -> None:
    assert phones(text) == [phone]


@pytest.mark.parametrize(
    "text",
    ["2026-03-14T22:40:00+05:00", "2026-03-14 22:40", "24.350 kg", "00000042/33257", "1234", "0123456789012345678"],
)
def test_what_is_no_phone_is_not_taken_for_one(text: str) -> None:
    assert phones(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("01A777BC", ["01A777BC"]),
        ("01 а 777 вс", ["01A777BC"]),
        ("60А123ВС", ["60A123BC"]),
        ("01 777 ABC", ["01777ABC"]),
        ("А123ВС77 и 10 B 123 AA", ["A123BC77", "10B123AA"]),
        ("123 ABC 02", ["123ABC02"]),
        ("1234 AB 01", ["1234AB01"]),
        ("24.350 kg, 12 ta", []),
        ("no digits here", []),
    ],
)
def test_plates_are_found_in_either_alphabet(text: str, found: list[str]) -> None:
    assert plates(text) == found


@pytest.mark.parametrize(
    ("text", "key"), [("01 a 777-вс", "01A777BC"), ("777", "777"), ("ABC", None), ("?", None), ("1" * 13, None)]
)
def test_plate_that_somebody_means(text: str, key: str | None) -> None:
    assert plate_key(text) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("90 765 43 21", "+998907654321"),
        ("+998907654321", "+998907654321"),
        ("12345", "+12345"),
        ("abc", None),
        ("1234", None),
        ("1" * 16, None),
    ],
)
def test_phone_that_somebody_means(text: str, key: str | None) -> None:
    assert phone_key(text) == key


@given(st.text(max_size=80))
def test_any_text_is_read_and_any_word_has_one_coarse_form(text: str) -> None:
    assert all(phone.startswith("+") and phone[1:].isdigit() for phone in phones(text))
    assert all(plate.isalnum() and plate.isascii() for plate in plates(text))
    assert coarse(coarse(text)) == coarse(text)


@given(st.lists(st.sampled_from("'\u2018\u2019\u02bb\u02bc`"), min_size=2, max_size=2))
def test_apostrophes_are_one_letter(marks: list[str]) -> None:
    one, other = (f"Qo{mark}ng{mark}irot" for mark in marks)
    assert fold(one) == fold(other)
