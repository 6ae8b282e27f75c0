"""Names that mean the same though no rule connects them: places, drugs, units (`gazetteer.json`).

A **concept** is what a name stands for: a region's ISO 3166-2 code, a place within one ("UZ-SU/termiz"), a drug's
code word, a country's ISO 3166-1 code. One name may stand for several: Toshkent is a city and a region. Names are
compared folded (`ledger/folding.py`), so each spelling that folds to another need not be listed.
"""

import json
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

from ledger.folding import fold, words_of

_WORDS_MAX: Final = 5  # in one name
_STEM_MIN: Final = 5  # letters that are left of a word before an ending is taken off
_ENDINGS: Final = (  # Uzbek cases; endings of Russian adjectives and nouns, folded
    "dagi", "ning", "dan", "ga", "da", "ni", "skogo", "skomu", "skoy", "skuyu", "skom", "skim", "om", "oy", "e", "i",
    "u", "a",
)  # fmt: skip


@cache
def _tables() -> dict[str, dict[str, Any]]:
    text = resources.files("ledger").joinpath("gazetteer.json").read_text("utf-8")
    tables: dict[str, dict[str, Any]] = json.loads(text)
    return tables


@cache
def _names() -> dict[str, dict[tuple[str, ...], tuple[str, ...]]]:
    """First word -> the words of each name that begins with it -> its concepts."""
    found: dict[tuple[str, ...], set[str]] = {}
    for code, entry in _tables()["regions"].items():
        for name in (entry["uz"], entry["uz_cyrl"], entry["ru"], entry["en"], *entry["also"]):
            found.setdefault(_split(name), set()).add(code)
        found.setdefault((_split(entry["ru"])[0],), set()).add(code)  # the adjective alone; never "gorod"
    found.pop(("gorod",), None)
    found.pop(("respublika",), None)
    for table in ("places", "countries"):
        for concept, entry in _tables()[table].items():
            for name in (entry[language] for language in ("uz", "ru", "en") if language in entry):
                found.setdefault(_split(name), set()).add(concept)
    for concept, entry in _tables()["substances"].items():
        for name in (entry["uz"], entry["ru"], entry["en"], *entry["also"]):
            found.setdefault(_split(name), set()).add(concept)
    table_: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = {}
    for words, concepts_ in found.items():
        table_.setdefault(words[0], {})[words] = tuple(sorted(concepts_))
    return table_


def _split(name: str) -> tuple[str, ...]:
    return tuple(words_of(fold(name)))


def concepts(words: Sequence[str]) -> list[str]:
    """The concepts whose names stand among folded words (`words_of`), the longest at each place. About 3 us for 40."""
    names = _names()
    found: set[str] = set()
    at = 0
    starts = [_first(word) if word.isalpha() else None for word in words]  # no name has digits in it
    if not any(starts):
        return []
    while at < len(words):
        first = starts[at]
        if first is None:
            at += 1
            continue
        here = names[first]
        step = 1
        for size in range(min(_WORDS_MAX, len(words) - at), 0, -1):
            known = here.get((first, *words[at + 1 : at + size]))
            if known is not None:
                found.update(known)
                step = size
                break
        at += step
    return sorted(found)


@lru_cache(1 << 16)
def _first(word: str) -> str | None:
    """The word, or what is left of it without an ending, with which some name begins."""
    names = _names()
    if word in names:
        return word
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < _STEM_MIN:
            continue
        for whole in (stem, stem + "a", stem + "skaya"):
            if whole in names:
                return whole
    return None


@lru_cache(1 << 12)
def concept_token(concept: str) -> str:
    """One word for the search index, which no word that people write is."""
    return "zqc" + "".join(letter if letter.isalnum() else "z" for letter in concept.lower())


@cache
def _by_name(table: str) -> dict[tuple[str, ...], set[str]]:
    found: dict[tuple[str, ...], set[str]] = {}
    for code, entry in _tables()[table].items():
        if isinstance(entry, list):
            given = entry
        else:
            languages = (language for language in ("uz", "uz_cyrl", "ru", "en") if language in entry)
            given = [*(entry[language] for language in languages), *entry.get("also", ())]
        for name in (code, *given):
            found.setdefault(_split(name), set()).add(code)
    return found


def _one(table: str, text: str) -> str | None:
    found = _by_name(table).get(_split(text), set())
    return next(iter(found)) if len(found) == 1 else None


def region_of(text: str) -> str | None:
    """The region that a name, in any spelling, or a code stands for; None where it is none, or could be two."""
    code = text.strip().upper()
    if code in _tables()["regions"]:
        return code
    return _one("regions", text) or _adjective(text)


def _adjective(text: str) -> str | None:
    found = {concept for concept in concepts(_split(text)) if concept in _tables()["regions"]}
    return next(iter(found)) if len(found) == 1 and len(_split(text)) == 1 else None


def substance_of(text: str) -> str | None:
    """The code word of a drug by any of its names, or None."""
    return _one("substances", text)


def unit_of(text: str) -> str | None:
    """kg, g, mg, l, ml, tablet, plant or package, by any word for it, or None."""
    return _one("units", text)


def region_codes() -> tuple[str, ...]:
    """The codes of all regions, in order."""
    return tuple(sorted(_tables()["regions"]))


def region_name(code: str, lang: str) -> str:
    """The name of a region in en, uz or ru; the code itself where it is not known."""
    return str(_tables()["regions"].get(code, {}).get(lang, code))


def substance_name(code: str, lang: str) -> str:
    """The name of a drug in en, uz or ru; the code itself where it is not known."""
    return str(_tables()["substances"].get(code, {}).get(lang, code))


def centroid(code: str) -> tuple[str, str] | None:
    """(latitude, longitude) of about the middle of a region, decimal text."""
    found = _tables()["regions"].get(code)
    return None if found is None else (found["centroid"][0], found["centroid"][1])
