"""Bodies of the other kinds: records, steps on them, nodes' addresses (SPEC.md 4.5). Shapes only.

A record or step may have fields and even top-level names that this program does not know: a newer peer wrote
them; they are kept and shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keys.errors import FormatError
from protocol.codec import Value, decode, encode
from protocol.entry import EntryId
from protocol.limits import ADDRESS_BYTES_MAX, ADDRESSES_MAX, BODY_BYTES_MAX
from protocol.shape import CODE_CHARS_MAX, exactly, fixed_bytes, mapping, texts


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


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node can be reached: multiaddrs that end in its peer id."""

    addresses: tuple[str, ...]


def encode_record(record_type: str, fields: Mapping[str, object]) -> bytes:
    """The body of a `record` entry. Raises FormatError on a wrong type name or a value with no encoding."""
    return _checked({"fields": fields, "type": record_type}, parse_record)


def encode_step(record: EntryId, step: str, fields: Mapping[str, object]) -> bytes:
    """The body of a `step` entry. Raises FormatError."""
    return _checked({"fields": fields, "record": record, "step": step}, parse_step)


def encode_address(addresses: Sequence[str]) -> bytes:
    """The body of an `address` entry. Raises FormatError."""
    return _checked({"addresses": list(addresses)}, parse_address)


def parse_record(body: bytes) -> Record:
    """The record in a body. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "a record")
    return Record(_word(fields, "type"), mapping(fields.get("fields"), "a record's fields"))


def parse_step(body: bytes) -> Step:
    """The step in a body. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "a step")
    record = EntryId(fixed_bytes(fields, "record", 32))
    return Step(record, _word(fields, "step"), mapping(fields.get("fields"), "a step's fields"))


def parse_address(body: bytes) -> Address:
    """The addresses in a body. Raises FormatError."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "an address entry")
    exactly(fields, ("addresses",), "an address entry")
    return Address(texts(fields, "addresses", most=ADDRESSES_MAX, bytes_max=ADDRESS_BYTES_MAX))


def _word(fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= CODE_CHARS_MAX or not value.isidentifier():
        raise FormatError(f"{name} is one word of at most {CODE_CHARS_MAX} letters, digits and '_'")
    if value != value.lower() or not value.isascii():
        raise FormatError(f"{name} is written in lower-case a-z, digits and '_'")
    return value


def _checked(value: object, parse: Callable[[bytes], object]) -> bytes:
    try:
        body = encode(value)
    except TypeError as error:
        raise FormatError(f"this cannot be written: {error}") from None
    parse(body)
    return body
