"""Bodies of the other kinds: records, steps on them, nodes' addresses (SPEC.md 4.5). Shapes only.

A record or step may have fields and even top-level names that this program does not know: a newer peer wrote
them; the bytes are kept as they came, names inside `fields` are shown, others are ignored.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keys.errors import FormatError
from protocol.codec import Value, decode
from protocol.entry import EntryId
from protocol.limits import ADDRESS_BYTES_MAX, ADDRESSES_MAX, BODY_BYTES_MAX, CODE_CHARS_MAX
from protocol.shape import exactly, fixed_bytes, mapping, texts, written

_WORD: Final = re.compile(rf"[a-z][a-z0-9_]{{0,{CODE_CHARS_MAX - 1}}}")


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was created. Its id is its entry's."""

    type: str
    fields: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a record: a reply, an acknowledgement, a comment."""

    record: EntryId
    step: str
    fields: dict[str, Value]
    acts: frozenset[EntryId] = frozenset()  # those of the entry's refs that are no operations: it waits for none


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node can be reached: multiaddrs that end in its peer id."""

    addresses: tuple[str, ...]


def encode_record(record_type: str, fields: Mapping[str, object]) -> bytes:
    """The body of a `record` entry. Raises FormatError on a wrong type name or a value with no encoding."""
    return written({"fields": fields, "type": record_type}, parse_record)


def encode_step(record: EntryId, step: str, fields: Mapping[str, object]) -> bytes:
    """The body of a `step` entry. Raises FormatError."""
    return written({"fields": fields, "record": record, "step": step}, parse_step)


def with_acts(body: bytes, acts: Iterable[EntryId]) -> bytes:
    """The body of a step whose entry names `acts` in its refs beside operations. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "a step")
    return written({**fields, "acts": sorted(acts)}, parse_step)


def encode_address(addresses: Sequence[str]) -> bytes:
    """The body of an `address` entry. Raises FormatError."""
    return written({"addresses": list(addresses)}, parse_address)


def parse_record(body: bytes) -> Record:
    """The record in a body. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "a record")
    return Record(_word(fields, "type"), mapping(fields.get("fields"), "a record's fields"))


def parse_step(body: bytes) -> Step:
    """The step in a body. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "a step")
    record = EntryId(fixed_bytes(fields, "record", 32))
    named = fields.get("acts")
    acts = frozenset(EntryId(act) for act in (named if isinstance(named, list) else ()) if isinstance(act, bytes))
    return Step(record, _word(fields, "step"), mapping(fields.get("fields"), "a step's fields"), acts)


def parse_address(body: bytes) -> Address:
    """The addresses in a body. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "an address entry")
    exactly(fields, ("addresses",), "an address entry")
    return Address(texts(fields, "addresses", most=ADDRESSES_MAX, bytes_max=ADDRESS_BYTES_MAX))


def _word(fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or _WORD.fullmatch(value) is None:
        raise FormatError(f"{name} is a word of at most {CODE_CHARS_MAX} of a-z, 0-9 and '_', a letter first")
    return value
