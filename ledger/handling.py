"""Marked records: those whose `handling` says that whoever reads them is written down (SPEC.md 4.11)."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from keys.errors import FormatError
from ledger.document import FIELD, Document
from ledger.search import Search
from ledger.store import Ledger
from protocol.body import parse_record
from protocol.codec import Value

_TLP: Final = ("RED", "AMBER+STRICT", "AMBER")  # above GREEN, the strictest first
_CODES: Final = ("H0", "H1", "H2", "H3")


def mark(*handlings: Value) -> str:
    """What values of `handling` name above GREEN, such as "AMBER H1"; empty: nothing, the record is not marked."""
    said: set[Value] = set()
    for handling in handlings:
        if isinstance(handling, dict):
            codes = handling.get("codes")
            said |= {word for word in (handling.get("tlp"), *(codes if isinstance(codes, list) else ())) if _text(word)}
    tlp = [word for word in _TLP if word in said][:1]
    return " ".join([*tlp, *(code for code in _CODES if code in said)])


def _text(value: Value) -> bool:
    return isinstance(value, str)


def document_mark(document: Document) -> str:
    """The mark of a record as it stands: of all values of its `handling`, where several do."""
    return mark(*(said.value for said in document.slots.get(f"{FIELD}handling", {}).values()))


def record_marks(
    ledger: Ledger, search: Search, records: Iterable[bytes], first: Mapping[bytes, str] = MappingProxyType({})
) -> dict[bytes, str]:
    """The marks of records by their ids; what one said at first where it does not count, or is not indexed yet.

    first: of those that were read just now, what they said. Cost: a look-up in the index each. Empty for those that
    are not here, or cannot be read.
    """
    marks = dict.fromkeys(records, "")
    found = {**first, **{record: document_mark(document) for record, document in search.changed(marks)}}
    return {record: found[record] if record in found else _first_mark(ledger, record) for record in marks}


def _first_mark(ledger: Ledger, record: bytes) -> str:
    entry = ledger.entry(record)
    if entry is None or entry.kind != "record" or entry.space is not None:
        return ""
    try:
        return mark(parse_record(entry.body or b"").fields.get("handling"))
    except FormatError:
        return ""  # nobody can read it
