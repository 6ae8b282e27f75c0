"""Names that mean the same meet, those that could mean two things say so, and words that are no names do not."""

import pytest

from ledger.folding import coarse, fold, words_of
from ledger.gazetteer import (
    centroid,
    concept_token,
    concepts,
    region_codes,
    region_name,
    region_of,
    substance_name,
    substance_of,
    unit_of,
)


def meant(text: str) -> list[str]:
    return concepts(words_of(fold(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Қашқадарё", ["UZ-QA"]),
        ("Qashqadaryo viloyatida", ["UZ-QA"]),
        ("Кашкадарьинская область", ["UZ-QA"]),
        ("в Сурхандарьинской области", ["UZ-SU"]),
        ("Surxondaryoda", ["UZ-SU"]),
        ("Karakalpakstan", ["UZ-QR"]),
        ("Qoraqalpog'iston", ["UZ-QR"]),
        ("Ташкент", ["UZ-TK", "UZ-TO"]),
        ("Toshkent shahri", ["UZ-TK"]),
        ("город Ташкент", ["UZ-TK"]),
        ("Ташкентская область", ["UZ-TO"]),
        ("из Термеза", ["UZ-SU/termiz"]),
        ("Sariosiyo posti", ["UZ-SU/sariosiyo"]),
        ("Сариасия", ["UZ-SU/sariosiyo"]),
        ("Афганистан", ["AF"]),
        ("героин", ["heroin"]),
        ("geroinni", ["heroin"]),
        ("маковая соломка", ["poppy_straw"]),
        ("nasha", ["cannabis"]),
        ("ko‘knor poyasi", ["poppy_straw"]),
        ("мак", ["poppy"]),
        ("qoradori, gashish", ["hashish", "opium"]),
        ("город", []),
        ("nothing of the kind 24 350", []),
        ("", []),
    ],
)
def test_text_means(text: str, expected: list[str]) -> None:
    assert meant(text) == expected


@pytest.mark.parametrize("code", region_codes())
def test_each_region_is_found_by_each_of_its_names_and_has_a_place(code: str) -> None:
    for lang in ("uz", "ru", "en"):
        name = region_name(code, lang)
        assert region_of(name) == code, name
        assert code in meant(name)
    assert region_of(code.lower()) == code
    place = centroid(code)
    assert place is not None
    assert 37 < float(place[0]) < 46
    assert 55 < float(place[1]) < 74


def test_fourteen_regions_and_their_tokens_do_not_collide() -> None:
    assert len(region_codes()) == 14
    tokens = {concept_token(concept) for concept in (*region_codes(), "heroin", "UZ-SU/termiz", "AF")}
    assert len(tokens) == 17
    assert all(token.isalnum() and token.isascii() and token.startswith("zqc") for token in tokens)


@pytest.mark.parametrize("name", ["Toshkent", "Ташкент", "nowhere", "", "UZ-ZZ"])
def test_name_of_two_regions_or_none_is_no_region(name: str) -> None:
    assert region_of(name) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Геройн", None),
        ("героин", "heroin"),
        ("GEROIN", "heroin"),
        ("спайс", "synthetic_cannabinoid"),
        ("poppy straw", "poppy_straw"),
        ("poppy_straw", "poppy_straw"),
        ("НПС", "nps"),
        ("xyz", None),
    ],
)
def test_drug_by_any_name(text: str, code: str | None) -> None:
    assert substance_of(text) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [("кг", "kg"), ("Kg", "kg"), ("dona", "tablet"), ("o'ram", "package"), ("tup", "plant"), ("z", None)],
)
def test_unit_by_any_word(text: str, code: str | None) -> None:
    assert unit_of(text) == code


def test_names_are_given_in_each_language() -> None:
    assert [substance_name("poppy_straw", lang) for lang in ("en", "uz", "ru")] == [
        "poppy straw",
        "ko‘knor poyasi",
        "маковая соломка",
    ]
    assert region_name("XX-YY", "ru") == "XX-YY"


@pytest.mark.parametrize(
    ("one", "other"),
    [("qashqadaryo", "kashkadaryo"), ("xorazm", "Khorazm"), ("jizzax", "Жиззах"), ("Farg‘ona", "Fargona")],
)
def test_coarse_form_brings_spellings_together(one: str, other: str) -> None:
    assert coarse(one) == coarse(other)
