"""Phones and plates in any spelling become one; dates, amounts and numbers of papers do not become phones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.folding import coarse, fold
from ledger.selectors import phone_key, phones, plate_key, plates, worth_a_look


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("810998901234567", ["+998901234567"]),
        ("99890 123-45-67", ["+998901234567"]),
        ("+(998)90 1234567", ["+998901234567"]),
        ("90\u00a0123\u00a045\u00a067", ["+998901234567"]),
        ("8 90 123 45 67", ["+998901234567"]),
        ("8 (912) 345-67-89", ["+79123456789"]),
        ("+49 151 23456789", ["+4915123456789"]),
        ("901234567 931112233", ["+998901234567", "+998931112233"]),
        ("901234567,931112233", ["+998901234567", "+998931112233"]),
        ("90 123 45 67 / 93 111 22 33", ["+998901234567", "+998931112233"]),
        ("901234567 901234567", ["+998901234567"]),
        ("14.03.2026 90 123 45 67 22:40", ["+998901234567"]),
        ("тел. № 901234567", ["+998901234567"]),
    ],
)
def test_phones_beside_other_numbers_are_found(text: str, found: list[str]) -> None:
    assert phones(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "901 234 567 so'm",
        "998 901 234 567",
        "901234567 so‘m",
        "901234567 kg",
        "901234567.50",
        "ИНН 901234567",
        "201234567",
        "паспорт 901234567",
        "№ 901234567",
        "AB-901234567",
        "A-901234567/2",
        "AA901234567",
        "26010/12.03.2024/0001234",
        "41.311081, 69.279737",
        "861234567890123",
        "14.03.2026 14.05.2026",
        "+998 90 123 45",
        "101234567",
    ],
)
def test_amount_date_or_number_of_a_paper_is_no_phone(text: str) -> None:
    assert phones(text) == []


@pytest.mark.parametrize(
    "text",
    ["25 000 USD", "350 kg 20", "12 kg 500 gr", "10 of 2026", "14 mar 2026", "10 от 2026", "с 100 000 до 200 000"],
)
def test_amount_or_date_is_no_plate(text: str) -> None:
    assert plates(text) == []


@pytest.mark.parametrize(
    ("text", "plate"),
    [
        ("01 KG 123 ABC", "01KG123ABC"),
        ("AB 1234 AH", "AB1234AH"),
        ("а 123 вс 777", "A123BC777"),
        ("01 1234 AA", "011234AA"),
        ("CMD 1234", "CMD1234"),
        ("D 012 345", "D012345"),
        ("KBL 12345", "KBL12345"),
        ("123 - ABC - 02", None),
    ],
)
def test_plate_of_another_kind(text: str, plate: str | None) -> None:
    assert plates(text) == ([] if plate is None else [plate])


@pytest.mark.parametrize("text", ["123 ABC 02", "01 KG 123 ABC", "2026-03-14T10:00:00Z 01A777BC", "tel 90 123 45 67"])
def test_text_with_a_selector_is_worth_a_look(text: str) -> None:
    assert worth_a_look(text)


@pytest.mark.parametrize("text", ["2026-03-14T22:40:00+05:00", "2026-03-14", "no digits", "12", ""])
def test_moment_or_a_text_with_few_digits_is_not_worth_a_look(text: str) -> None:
    assert not worth_a_look(text)


@given(st.integers(1, 10**7), st.sampled_from(["90", "93", "71", "33"]))
def test_phone_that_is_found_is_the_phone_that_is_meant(number: int, operator: str) -> None:
    text = f"{operator} {number % 1000:03} {number // 1000 % 100:02} {number // 100000 % 100:02}"
    assert phones(text) == [phone_key(text)]
