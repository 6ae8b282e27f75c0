"""What an officer types after `find`, read once into what the search index is asked.

    geroin "yonilg‘i baki" type:seizure region:UZ-SU near:38.41,67.96,20 since:2026-03 phone:'90 123-45-67'

Words must all occur; quotes keep words together; the last word may be a beginning. A word also finds what it means:
other spellings of the same place, drug, phone or plate. `NAME:VALUE` narrows; NAME:a,b takes either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from keys.errors import UsageError
from ledger.folding import coarse, fold, words_of
from ledger.gazetteer import concept_token, concepts, region_of, substance_of
from ledger.selectors import phone_key, phones, plate_key, plates

LOCAL: Final = timezone(timedelta(hours=5))  # Uzbekistan, all of it, all the year
_PHRASE_WORDS_MAX: Final = 64
NAMES: Final = (
    "type", "region", "unit", "agency", "since", "until", "status", "substance", "near", "plate", "phone", "tag", "by",
)  # fmt: skip
_EVERY: Final = frozenset({"since", "until", "near"})


@dataclass(frozen=True, slots=True)
class Query:
    """A query. exact, coarse: FTS5 expressions, empty for none; the rest narrows by what a record is."""

    exact: str = ""
    coarse: str = ""
    types: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    agencies: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    substances: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None  # not included
    near: tuple[float, float, float] | None = None  # latitude, longitude, km


def parse_query(text: str, now_ms: int) -> Query:
    """The query in `text`. now_ms: for since:7d. Raises UsageError naming the part that is wrong."""
    words, narrowed = _split(text)
    values: dict[str, tuple[str, ...]] = {}
    for name, given in narrowed:
        values[name] = values.get(name, ()) + tuple(part for part in given.split(",") if part or name == "near")
    exact = [term for word, phrase in words if (term := _exact(word, phrase=phrase))]
    rough = [term for word, phrase in words if (term := _coarse(word, phrase=phrase))]
    if words and exact and not words[-1][1] and text.rstrip()[-1:] not in ('"', "'"):
        exact[-1] = _beginning(words[-1][0], exact[-1])
    exact = _with_joined(words, exact)
    for name, key, mark in (("plate", plate_key, "zqp"), ("phone", phone_key, "zqt")):
        if name in values:
            exact.append(_any(_selector(name, value, key(value), mark) for value in values[name]))
            rough.append(exact[-1])
    if "tag" in values:
        exact.append(_any(_phrase(fold(tag)) for tag in values["tag"]))
        rough.append(exact[-1])
    return Query(
        " AND ".join(term for term in exact if term),
        " AND ".join(term for term in rough if term) if len(rough) == len(exact) else "",
        tuple(name.casefold() for name in values.get("type", ())),
        tuple(region_of(name) or name.upper() for name in values.get("region", ())),
        tuple(name.casefold() for name in values.get("unit", ())),
        tuple(name.casefold() for name in values.get("agency", ())),
        tuple(name.casefold() for name in values.get("by", ())),
        tuple(name.casefold() for name in values.get("status", ())),
        tuple(substance_of(name) or name.casefold() for name in values.get("substance", ())),
        _since(values["since"][0], now_ms) if "since" in values else None,
        _until(values["until"][0], now_ms) if "until" in values else None,
        _near(values["near"]) if "near" in values else None,
    )


def _split(text: str) -> tuple[list[tuple[str, bool]], list[tuple[str, str]]]:
    """Words and phrases (text, is it a phrase), and (name, value) of what narrows. A value may be quoted."""
    words: list[tuple[str, bool]] = []
    narrowed: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        start = at
        while at < len(text) and not text[at].isspace() and text[at] != '"':
            at += 1
        word = text[start:at]
        name, colon, value = word.partition(":")
        if at < len(text) and text[at] == '"' and (not word or (colon and not value)):
            end = text.find('"', at + 1)
            end = len(text) if end < 0 else end
            quoted, at = text[at + 1 : end], end + 1
            if not word:
                words.append((quoted, True))
                continue
            value = quoted
        elif at < len(text) and text[at] == '"':
            at += 1  # a quotation mark within a word separates
        if colon and name.casefold() in NAMES:
            if not value:
                raise UsageError(f"{name}: is followed by a value, without a space between")
            narrowed.append((name.casefold(), value))
        elif word:
            words.append((word, False))
    return words[:_PHRASE_WORDS_MAX], narrowed


def _phrase(folded: str) -> str:
    """A quoted FTS5 string of the letters and digits in `folded`, or nothing."""
    kept = words_of(folded)
    return f'"{" ".join(kept)}"' if kept else ""


def _any(terms: Iterable[str]) -> str:
    kept = [term for term in terms if term]
    return kept[0] if len(kept) == 1 else f"({' OR '.join(kept)})" if kept else ""


def _exact(word: str, *, phrase: bool) -> str:
    folded = fold(word)
    if phrase:  # as a whole it may be a name
        named = region_of(word) or substance_of(word)
        return _any([_phrase(folded), *([f'"{concept_token(named)}"'] if named else [])])
    alike = [f'"{concept_token(concept)}"' for concept in concepts(words_of(folded))]
    selectors = [f'"zqt{phone[1:]}"' for phone in phones(word)] + [f'"zqp{plate.lower()}"' for plate in plates(word)]
    return _any([_phrase(folded), *alike, *selectors])


def _beginning(word: str, term: str) -> str:
    """The term, where its word may also be a beginning."""
    plain = _phrase(fold(word))
    return term.replace(plain, f"{plain} *", 1) if plain else term


def _with_joined(words: list[tuple[str, bool]], exact: list[str]) -> list[str]:
    """Where several words together are a name or a number, that name or number will do instead of the words."""
    plain = " ".join(word for word, phrase in words if not phrase)
    if len(words) < 2 or len(exact) != len(words) or any(phrase for _, phrase in words):
        return exact
    apart = {concept for word, _ in words for concept in concepts(words_of(fold(word)))}
    joined = [f'"{concept_token(concept)}"' for concept in concepts(words_of(fold(plain))) if concept not in apart]
    joined += [f'"zqt{phone[1:]}"' for phone in phones(plain)] + [f'"zqp{plate.lower()}"' for plate in plates(plain)]
    return [f"(({' AND '.join(exact)}) OR {_any(joined)})"] if joined else exact


def _coarse(word: str, *, phrase: bool) -> str:
    kept = [coarse(part) for part in words_of(fold(word))]
    kept = [part for part in kept if part]
    return " AND ".join(f'"{part}"' for part in kept) if kept and not phrase else _phrase(fold(word))


def _selector(name: str, value: str, key: str | None, mark: str) -> str:
    if key is None:
        raise UsageError(f"{name}:{value} is no {name}; type it with its digits, such as {_EXAMPLES[name]}")
    return f'"{mark}{key.lower().lstrip("+")}"'


_EXAMPLES: Final = {"plate": "plate:01A777BC", "phone": "phone:+998901234567"}


def _since(text: str, now_ms: int) -> int:
    return _span("since", text, now_ms)[0]


def _until(text: str, now_ms: int) -> int:
    return _span("until", text, now_ms)[1]


def _span(name: str, text: str, now_ms: int) -> tuple[int, int]:
    """(first ms, ms after the last) of a year, month, day, time, or of now less so many days or hours."""
    try:
        if text[-1:] in ("d", "h") and text[:-1].isdigit() and len(text) < 8:
            at = now_ms - int(text[:-1]) * (86_400_000 if text[-1] == "d" else 3_600_000)
            return at, at + 1
        if len(text) == 4:
            begin, end = datetime(int(text), 1, 1, tzinfo=LOCAL), datetime(int(text) + 1, 1, 1, tzinfo=LOCAL)
        elif len(text) == 7:
            year, month = int(text[:4]), int(text[5:])
            begin = datetime(year, month, 1, tzinfo=LOCAL)
            end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=LOCAL)
        else:
            begin = datetime.fromisoformat(text)
            begin = begin if begin.tzinfo is not None else begin.replace(tzinfo=LOCAL)
            end = begin + (timedelta(days=1) if len(text) == 10 else timedelta(seconds=1))
        return round(begin.astimezone(UTC).timestamp() * 1000), round(end.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{name}:{text} is no time; write 2026, 2026-03, 2026-03-14, 2026-03-14T22:40 or, for days ago, 7d"
        ) from None


def _near(parts: tuple[str, ...]) -> tuple[float, float, float]:
    try:
        latitude, longitude, km = map(float, parts)
    except ValueError:
        latitude = longitude = km = -1.0
    if not (abs(latitude) <= 90 and abs(longitude) <= 180 and 0 < km <= 20_000):
        raise UsageError(f"near:{','.join(parts)} is not near:LATITUDE,LONGITUDE,KM, such as near:38.41,67.96,20")
    return latitude, longitude, km
