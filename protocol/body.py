"""Bodies of the other kinds: records, steps on them, and what nodes write (SPEC.md 4.5). Shapes only.

A record or step may have fields and even top-level names that this program does not know: a newer peer wrote
them; the bytes are kept as they came, names inside `fields` are shown, others are ignored.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.codec import Value, decode
from protocol.entry import EntryId
from protocol.limits import (
    ADDRESS_BYTES_MAX,
    ADDRESSES_MAX,
    BODY_BYTES_MAX,
    CODE_CHARS_MAX,
    CONSULTED_MAX,
    REASON_BYTES_MAX,
)
from protocol.shape import exactly, fixed_bytes, mapping, public_key, text, texts, written

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


@dataclass(frozen=True, slots=True)
class Alarm:
    """A node's word that another's checkpoint contradicts itself: with its heads, the root here is another."""

    checkpoint: EntryId
    root: bytes


@dataclass(frozen=True, slots=True)
class Consultation:
    """A node's word that somebody read marked records through it."""

    records: tuple[EntryId, ...]  # ascending
    command: str
    officer: PublicKey | None  # whose key is in that home
    user: str  # the account at the machine
    why: str


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


def encode_alarm(alarm: Alarm) -> bytes:
    """The body of an `alarm` entry. Raises FormatError."""
    return written({"checkpoint": alarm.checkpoint, "root": alarm.root}, parse_alarm)


def encode_consultation(read: Consultation) -> bytes:
    """The body of a `consultation` entry. Raises FormatError."""
    value = {
        "command": read.command, "officer": read.officer, "records": list(read.records), "user": read.user,
        "why": read.why,
    }  # fmt: skip
    return written(value, parse_consultation)


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


def parse_alarm(body: bytes) -> Alarm:
    """The alarm in a body. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "an alarm")
    exactly(fields, ("checkpoint", "root"), "an alarm")
    return Alarm(EntryId(fixed_bytes(fields, "checkpoint", 32)), fixed_bytes(fields, "root", 32))


def parse_consultation(body: bytes) -> Consultation:
    """The consultation in a body. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "a consultation")
    exactly(fields, ("command", "officer", "records", "user", "why"), "a consultation")
    ids = fields["records"]
    if not isinstance(ids, list) or not 1 <= len(ids) <= CONSULTED_MAX:
        raise FormatError(f"records is an array of 1 to {CONSULTED_MAX} ids")
    records = tuple(EntryId(fixed_bytes({"a record": known}, "a record", 32)) for known in ids)
    if list(records) != sorted(set(records)):
        raise FormatError("records is in ascending order without repeats")
    officer = None if fields["officer"] is None else public_key(fields, "officer")
    why = text(fields, "why", bytes_max=REASON_BYTES_MAX)
    return Consultation(records, text(fields, "command"), officer, text(fields, "user"), why)


def _word(fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or _WORD.fullmatch(value) is None:
        raise FormatError(f"{name} is a word of at most {CODE_CHARS_MAX} of a-z, 0-9 and '_', a letter first")
    return value
