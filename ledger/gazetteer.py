"""Names that mean the same though no rule connects them: places, drugs, units (`gazetteer.json`).

A **concept** is what a name stands for: a region's ISO 3166-2 code, a place within one ("UZ-SU/termiz"), a drug's
code word, a country's ISO 3166-1 code. One name may stand for several: Toshkent is a city and a region. Names are
compared folded (`ledger/folding.py`), so each spelling that folds to another need not be listed.

Each word of a name and of a text is brought to one form before they are compared: words for a region, a city, a
district and a post, in any language, become one word each; Russian adjectives lose their endings (Термезский,
термезской); and a word that is then in no name is tried without the endings of Uzbek cases and Russian nouns.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

from ledger.folding import coarse, fold, words_of

_WORDS_MAX: Final = 5  # in one name
_WORD_MIN: Final = 5  # letters of a word from which an ending is taken off
_LETTERS_MAX: Final = 40  # of a word whose form is remembered
_FORMS_MAX: Final = 1 << 16  # words whose form is remembered
_COARSE_MIN: Final = 5  # letters of a name that is compared coarsely
_UZBEK: Final = ("dagi", "gacha", "ning", "dan", "ga", "ka", "qa", "da", "ni", "lik")  # cases, folded
_RUSSIAN: Final = ("oy", "om", "ey", "em", "ov", "yu", "ye", "ya", "a", "e", "i", "u")  # cases of nouns, folded
_LEFT_MIN: Final = {**dict.fromkeys(_UZBEK, 4), **dict.fromkeys(_RUSSIAN, 5)}  # letters left without the ending
_ADJECTIVE: Final = tuple(
    "sk" + ending for ending in ("aya", "iy", "oy", "uyu", "ogo", "omu", "om", "im", "oye", "oe", "iye", "ie", "ix")
)
_KINDS: Final = {  # folded word -> the word that stands for all of its kind
    word: kind
    for kind, words in {
        "oblast": "viloyati viloyat vil oblast oblasti oblastyu obl region province",
        "gorod": "shahri shahar sh gorod goroda gorode gorodu g city",
        "rayon": "tumani tuman tum rayon rayona rayone rayonu rayonom district",
        "post": "posti post posta poste postu checkpoint",
    }.items()
    for word in words.split()
}
_LANGUAGES: Final = ("uz", "uz_cyrl", "ru", "en")
_NEVER_ALONE: Final = frozenset({"other"})  # a code word for what has no name: no text means it


@cache
def _tables() -> dict[str, dict[str, Any]]:
    text = resources.files("ledger").joinpath("gazetteer.json").read_text("utf-8")
    tables: dict[str, dict[str, Any]] = json.loads(text)
    return tables


def _spellings(entry: dict[str, Any]) -> list[str]:
    return [*(entry[language] for language in _LANGUAGES if language in entry), *entry.get("also", ())]


def _split(name: str) -> tuple[str, ...]:
    """The words of a name, each in its form."""
    return tuple(_plain(word) for word in words_of(fold(name)))


def _plain(word: str) -> str:
    """The form of a word of a name: its kind, an adjective without its ending, or the word itself."""
    if word.endswith(_ADJECTIVE):
        at = word.rindex("sk")
        return word[: at + 2] if at >= 3 else word
    return _KINDS.get(word, word)


_Names = dict[str, dict[tuple[str | None, ...], tuple[str, ...]]]  # no name has None in it; a text's forms may


@cache
def _names() -> _Names:
    """First word -> the words of each name that begins with it -> its concepts."""
    found: dict[tuple[str, ...], set[str]] = {}
    for code, entry in _tables()["regions"].items():
        for words in map(_split, _spellings(entry)):
            found.setdefault(words, set()).add(code)
            if len(words) == 2 and words[0].endswith("sk"):  # the adjective alone
                found.setdefault(words[:1], set()).add(code)
    for concept, entry in _tables()["countries"].items():
        for words in map(_split, _spellings(entry)):
            found.setdefault(words, set()).add(concept)
    larger = frozenset(found)  # whose adjectives no place within has for its own
    for concept, entry in _tables()["places"].items():
        for words in map(_split, _spellings(entry)):
            found.setdefault(words, set()).add(concept)
            if len(words) == 2 and words[0].endswith("sk") and words[:1] not in larger:
                found.setdefault(words[:1], set()).add(concept)
    for concept, entry in _tables()["substances"].items():
        for words in map(_split, _spellings(entry)):
            if concept not in _NEVER_ALONE:
                found.setdefault(words, set()).add(concept)
    table_: _Names = {}
    for words, concepts_ in found.items():
        table_.setdefault(words[0], {})[words] = tuple(sorted(concepts_))
    return table_


@cache
def _starts() -> dict[str | None, tuple[int, dict[tuple[str | None, ...], tuple[str, ...]]]]:
    """First word -> how many words the longest name has that begins with it, and those names."""
    return {first: (max(map(len, names)), names) for first, names in _names().items()}


class _Forms(dict[str, str | None]):
    """Word -> its form where some name has that, or None; filled as words come, since they come again."""

    def __missing__(self, word: str) -> str | None:
        if len(word) > _LETTERS_MAX:
            return None
        if len(self) >= _FORMS_MAX:
            self.clear()
        self[word] = found = _form(word)
        return found


_FORMS: Final = _Forms()


@cache
def _vocabulary() -> frozenset[str]:
    return frozenset(word for names in _names().values() for words in names for word in words if word is not None)


def _form(word: str) -> str | None:
    known = _vocabulary()
    plain = _plain(word)
    if plain in known:
        return plain
    if len(word) < _WORD_MIN:
        return None
    for left in _without_endings(word):
        plain = _plain(left)
        if plain in known:
            return plain
    return None


def _without_endings(word: str) -> Iterable[str]:
    """What may be left of a word of a text without one ending, the likeliest first."""
    for ending, least in _LEFT_MIN.items():
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= least:
            yield stem
    for ending in _RUSSIAN:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= _LEFT_MIN[ending]:
            yield from (stem + nominative for nominative in ("a", "ya", "i"))


def concepts(words: str | Sequence[str]) -> list[str]:
    """The concepts whose names stand in a folded text or among its words (`words_of`), the longest name at each place.

    Sorted, none twice. Costs about 2 us for 40 words, and 2 us more to split them.
    """
    if isinstance(words, str):
        words = words_of(words)
    forms = [_FORMS[word] if word.isalpha() else None for word in words]  # no name has digits in it
    starts = _starts()
    found: set[str] = set()
    after = 0  # where the last name ended
    for at, form in enumerate(forms):
        if form is None or at < after or form not in starts:
            continue
        longest, names = starts[form]
        end = at + 1
        while end < at + longest and end < len(forms) and forms[end] is not None:
            end += 1
        for after in range(end, at, -1):
            if (known := names.get(tuple(forms[at:after]))) is not None:
                found.update(known)
                break
    return sorted(found)


@lru_cache(1 << 12)
def concept_token(concept: str) -> str:
    """One word for the search index, which no word that people write is."""
    return "zqc" + "".join(letter if letter.isalnum() else "z" for letter in concept.lower())


@cache
def _by_name(table: str) -> dict[tuple[str, ...], set[str]]:
    found: dict[tuple[str, ...], set[str]] = {}
    for code, entry in _tables()[table].items():
        for name in (code, *(entry if isinstance(entry, list) else _spellings(entry))):
            found.setdefault(_split(name), set()).add(code)
    return found


@cache
def _by_coarse_name(table: str) -> dict[tuple[str, ...], set[str]]:
    found: dict[tuple[str, ...], set[str]] = {}
    for words, codes in _by_name(table).items():
        found.setdefault(tuple(map(coarse, words)), set()).update(codes)
    return found


def _one(table: str, text: str) -> str | None:
    """The only entry of that name: as it is written, else inflected, else (a longer one) in its coarse form."""
    words = _split(text)
    if not words or len(words) > _WORDS_MAX:
        return None
    found = _by_name(table).get(words)
    if found is None and sum(map(len, words)) >= _COARSE_MIN:
        found = _by_name(table).get(tuple(_FORMS[word] or word for word in words))
        found = found or _by_coarse_name(table).get(tuple(map(coarse, words)))
    return next(iter(found)) if found is not None and len(found) == 1 else None


def region_of(text: str) -> str | None:
    """The region that a name, in any spelling, or a code stands for; None where it is none, or could be two."""
    code = text.strip().upper()
    if code in _tables()["regions"]:
        return code
    return _one("regions", text) or _adjective(text)


def _adjective(text: str) -> str | None:
    """The region of which a single word is the adjective."""
    words = _split(text)
    found = _names().get(words[0], {}).get(words, ()) if len(words) == 1 else ()
    return found[0] if len(found) == 1 and found[0] in _tables()["regions"] else None


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
