"""Names that mean the same meet, those that could mean two things say so, and words that are no names do not."""

import pytest

from ledger import gazetteer
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("в Сариасийском районе", ["UZ-SU/sariosiyo"]),
        ("Ургутский РОВД", ["UZ-SA/urgut"]),
        ("Бухарский район", ["UZ-BU/buxorotumani"]),
        ("в Бухарской области", ["UZ-BU"]),
        ("Xivadan Urganchga", ["UZ-XO/urganch", "UZ-XO/xiva"]),
        ("Термизга", ["UZ-SU/termiz"]),
        ("Pastdarg'om, Паст Дарғом", ["UZ-SA/pastdargom"]),
        ("изъято: маковой соломкой, марихуану", ["cannabis", "poppy_straw"]),
        ("г. Ташкент", ["UZ-TK"]),
        ("Sariosiyo", ["UZ-SU/sariosiyo"]),
        ("Ханка", ["UZ-XO/xonqa", "opium"]),
        ("наши люди в нашей области", []),
        ("Узбекистанский", ["UZ"]),
        ("other things", []),
        ("ko" * 30, []),
    ],
)
def test_inflected_name_means_the_same(text: str, expected: list[str]) -> None:
    assert meant(text) == expected
    assert concepts(fold(text)) == expected


def test_each_spelling_in_the_gazetteer_means_its_concept() -> None:
    for table in ("regions", "places", "countries", "substances"):
        for concept, entry in gazetteer._tables()[table].items():
            for name in gazetteer._spellings(entry):
                if concept != "other" and not any(letter.isdigit() for letter in name):
                    assert concept in concepts(fold(name)), (concept, name)


def test_each_spelling_of_a_drug_and_a_unit_has_one_code() -> None:
    for code, entry in gazetteer._tables()["substances"].items():
        assert [substance_of(name) for name in gazetteer._spellings(entry)] == [code] * len(gazetteer._spellings(entry))
    for code, names in gazetteer._tables()["units"].items():
        assert [unit_of(name) for name in names] == [code] * len(names)


def test_no_two_concepts_share_a_token_and_no_name_is_a_token() -> None:
    tables = gazetteer._tables()
    named = [concept for table in ("regions", "places", "countries", "substances") for concept in tables[table]]
    tokens = [concept_token(concept) for concept in named]
    assert len(set(tokens)) == len(named)
    assert not set(tokens) & gazetteer._vocabulary()


def test_place_lies_in_a_region_or_a_country_that_is_listed() -> None:
    tables = gazetteer._tables()
    for concept in tables["places"]:
        assert concept.partition("/")[0] in {*tables["regions"], *tables["countries"]}, concept


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Surxondaryo", "UZ-SU"),
        ("Сурхандарья", "UZ-SU"),
        ("Сурхандарьинская", "UZ-SU"),
        ("Surkhandarya", "UZ-SU"),
        ("Surxondaryo vil.", "UZ-SU"),
        ("Ташкентская обл.", "UZ-TO"),
        ("Toshkent sh.", "UZ-TK"),
        ("г. Ташкент", "UZ-TK"),
        ("Bukhara", "UZ-BU"),
        ("Khorezm Region", "UZ-XO"),
        (" uz-qr ", "UZ-QR"),
        ("Termiz", None),
    ],
)
def test_region_by_any_spelling(text: str, code: str | None) -> None:
    assert region_of(text) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [("героина", "heroin"), ("poppy-straw", "poppy_straw"), ("kakain", "cocaine"), ("α-PVP", "alpha_pvp")],
)
def test_drug_is_found_inflected_and_misspelt(text: str, code: str) -> None:
    assert substance_of(text) == code


def test_memory_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gazetteer, "_FORMS_MAX", 8)
    forms = gazetteer._Forms()
    for at in range(100):
        assert forms["x" + "ab" * (at % 15)] is None
        assert len(forms) <= 8
    assert forms["y" * 41] is None
    assert "y" * 41 not in forms
