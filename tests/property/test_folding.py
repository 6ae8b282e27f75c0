"""Laws of folding: what a searcher types and what a writer wrote meet, and folding again changes nothing."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger import folding, gazetteer
from ledger.folding import coarse, fold, words_of
from ledger.gazetteer import concepts, region_codes, region_of
from ledger.selectors import phone_key, phones, plate_key, plates
from ledger.wording import Said, index_words

LATIN = {
    "a": "а", "b": "б", "d": "д", "f": "ф", "g": "г", "h": "ҳ", "i": "и", "j": "ж", "k": "к", "l": "л", "m": "м",
    "n": "н", "o": "о", "p": "п", "q": "қ", "r": "р", "s": "с", "t": "т", "u": "у", "v": "в", "x": "х", "y": "й",
    "z": "з", "o‘": "ў", "g‘": "ғ", "sh": "ш", "ch": "ч",
}  # fmt: skip
ALIKE = dict(zip("ABEKMHOPCTYX", "АВЕКМНОРСТУХ", strict=True))
APOSTROPHES = "'\u2018\u2019\u02bb\u02bc"
CONFUSED = "cczhhjdtskgpfxqwvoyaeiu"
gaps = st.sampled_from(["", " ", "-"])


@given(st.text())
@example("Терме\u0301з")
@example("Qo\u00b4qon")
@example("a'\u0301")
def test_fold_of_a_fold_is_itself(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(st.characters(max_codepoint=127)) | st.text())
@example("K'o`x_1\x1c2")
def test_ascii_text_is_folded_and_split_as_any_other(text: str) -> None:
    assert fold(text) == folding._folded(text) or not text.isascii()
    assert words_of(text) == re.findall(r"[^\W_]+", text)


@given(st.lists(st.lists(st.text(max_size=12) | st.sampled_from(["Termiz shahri", "90 123 45 67", "01A777BC"]))))
def test_words_of_many_entries_are_those_of_each(entries: list[list[str]]) -> None:
    found = index_words([Said(texts, ["UZ-SU"]) for texts in entries])
    assert found == [index_words([Said(texts, ["UZ-SU"])])[0] for texts in entries]
    for texts, (exact, rough) in zip(entries, found, strict=True):
        assert words_of(exact)[: len(words_of(fold(" ".join(texts))))] == words_of(fold(" ".join(texts)))
        words = {coarse(word) for word in words_of(fold(" ".join(texts))) if word.isalpha()}
        assert set(rough.split()) <= words


@given(st.one_of(st.text(), st.text(alphabet=CONFUSED, max_size=12)))
@example("chust")
@example("ttss")
@example("qhan")
def test_coarse_of_a_coarse_is_itself(text: str) -> None:
    assert coarse(coarse(text)) == coarse(text)


@given(st.text())
def test_coarse_takes_folded_and_raw_text_alike(text: str) -> None:
    assert coarse(fold(text)) == coarse(text)


@given(st.text(alphabet=CONFUSED))
def test_what_folds_alike_is_coarsely_alike_in_any_case(text: str) -> None:
    assert coarse(text.upper()) == coarse(text)


@pytest.mark.parametrize("code", region_codes())
def test_region_folds_alike_in_latin_and_cyrillic(code: str) -> None:
    entry = gazetteer._tables()["regions"][code]
    assert fold(entry["uz"]) == fold(entry["uz_cyrl"])
    assert fold(entry["uz"]) != fold(entry["ru"])
    assert region_of(entry["uz"]) == region_of(entry["uz_cyrl"]) == code


@given(st.lists(st.sampled_from(sorted(LATIN)), max_size=12))
def test_uzbek_word_folds_alike_in_latin_and_cyrillic(letters: list[str]) -> None:
    assert fold("".join(letters)) == fold("".join(LATIN[letter] for letter in letters))


@given(st.lists(st.sampled_from(APOSTROPHES), min_size=6, max_size=6))
def test_apostrophes_are_one_letter_to_a_searcher(marks: list[str]) -> None:
    one, other = (f"Qo{a}ng{b}irot ma{c}no" for a, b, c in (marks[:3], marks[3:]))
    assert fold(one) == fold(other) == "qongirot mano"


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("Khorezm", "Xorezm", "Xorazm"),
        ("Dzhizak", "Jizzak", "Zarbdor"),
        ("Surkhondaryo", "Surxandaryo", "Sirdaryo"),
        ("Yangier", "Yangiyer", "Yangiariq"),
        ("Qarshi", "Karshi", "Koson"),
        ("geroin", "geroyin", "gashish"),
        ("Philipp", "Filip", "Pilip"),
        ("Chust", "Chuust", "Kust"),
    ],
)
def test_coarse_joins_what_is_confused_and_no_more(one: str, other: str, apart: str) -> None:
    assert coarse(one) == coarse(other) != coarse(apart)


@given(st.lists(st.sampled_from(["geroin", "Термез", "Toshkent", "shahri", "viloyati", "и", "12", "ab1"]), max_size=12))
def test_concepts_of_a_text_are_those_of_its_words_sorted(words: list[str]) -> None:
    folded = fold(", ".join(words))
    found = concepts(folded)
    assert found == concepts(words_of(folded)) == sorted(set(found))
    assert ("heroin" in found) == ("geroin" in words)


@st.composite
def spellings(draw: st.DrawFn, groups: list[str]) -> str:
    """The groups with any gaps between them, in either case, each letter in either alphabet."""
    text = groups[0] + "".join(draw(gaps) + group for group in groups[1:])
    text = "".join(draw(st.sampled_from([letter, ALIKE.get(letter, letter)])) for letter in text)
    return draw(st.sampled_from([text, text.lower()]))


@pytest.mark.parametrize(
    "groups",
    [
        ["01", "A", "777", "BC"],
        ["40", "777", "ABC"],
        ["A", "123", "BC", "77"],
        ["123", "ABC", "02"],
        ["1234", "AB", "01"],
    ],
)
@given(drawn=st.data())
def test_plate_is_one_in_any_spacing_case_and_alphabet(groups: list[str], drawn: st.DataObject) -> None:
    text = drawn.draw(spellings(groups))
    assert plates(f"avto {text}, yuk") == ["".join(groups)] == [plate_key(text)]


@given(
    st.sampled_from(["", "+998", "998", "00998", "810998", "8 10 998", "+ 998"]),
    st.lists(st.sampled_from(["", " ", "-", "\u00a0"]), min_size=4, max_size=4),
    st.booleans(),
)
def test_phone_is_one_in_any_spacing(before: str, between: list[str], bracketed: bool) -> None:
    code = "(90)" if bracketed else "90"
    groups = zip(["" if before in ("", "998") else between[0], *between[1:]], (code, "123", "45", "67"), strict=True)
    text = before + "".join(gap + group for gap, group in groups)
    assert phones(f"tel: {text}.") == ["+998901234567"]
    assert phone_key(text) == "+998901234567"
