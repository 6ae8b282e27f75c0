"""Taking a decoded map apart: each function returns a field of the right type or raises FormatError naming it.

These rules decide which acts have an effect, so they must give one answer on every machine: none of them asks
Python what a letter is, because that changes with its Unicode tables.
"""

from collections.abc import Callable, Iterable, Mapping
from string import ascii_lowercase, digits

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.codec import Value, encode
from protocol.limits import CODE_CHARS_MAX, NAME_BYTES_MAX

_CODE_LETTERS = frozenset(ascii_lowercase + digits + "-")
# What could move a terminal's cursor or turn its text round: C0, DEL, C1, line and paragraph separators, bidi.
_CONTROLS = frozenset(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F)]))
_ISOLATES = frozenset(map(chr, range(0x2066, 0x206A)))


def written(value: object, parse: Callable[[bytes], object]) -> bytes:
    """The canonical bytes of `value`, after `parse` has accepted them. Raises FormatError."""
    try:
        raw = encode(value)
    except TypeError as error:
        raise FormatError(f"this cannot be written: {error}") from None
    parse(raw)
    return raw


def mapping(value: Value, what: str) -> dict[str, Value]:
    """A map."""
    if not isinstance(value, dict):
        raise FormatError(f"{what} is a map")
    return value


def exactly(fields: Mapping[str, Value], names: Iterable[str], what: str) -> None:
    """These fields and no others."""
    wanted = set(names)
    if set(fields) != wanted:
        off = sorted(set(fields) ^ wanted)
        raise FormatError(f"{what} has exactly the fields {', '.join(sorted(wanted))}; check {', '.join(off)[:100]}")


def text(fields: Mapping[str, Value], name: str, *, bytes_max: int = NAME_BYTES_MAX, empty: bool = False) -> str:
    """Text of at most `bytes_max` bytes of UTF-8, without control characters (SPEC.md 4.6)."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value.encode()) > bytes_max or (not value and not empty):
        raise FormatError(f"{name} is text of {0 if empty else 1} to {bytes_max} bytes")
    if not _CONTROLS.isdisjoint(value) or not _ISOLATES.isdisjoint(value):
        raise FormatError(f"{name} holds a control character")
    return value


def code(fields: Mapping[str, Value], name: str, *, empty: bool = False) -> str:
    """A short name for machines and people: a-z, 0-9 and '-'."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > CODE_CHARS_MAX or not _CODE_LETTERS.issuperset(value):
        raise FormatError(f"{name} is up to {CODE_CHARS_MAX} of a-z, 0-9 and '-', such as imt-4")
    if not value and not empty:
        raise FormatError(f"{name} is missing")
    return value


def number(fields: Mapping[str, Value], name: str, least: int, most: int) -> int:
    """A whole number in that range."""
    value = fields.get(name)
    if type(value) is not int or not least <= value <= most:
        raise FormatError(f"{name} is a whole number from {least} to {most}")
    return value


def fixed_bytes(fields: Mapping[str, Value], name: str, size: int) -> bytes:
    """Exactly `size` bytes."""
    value = fields.get(name)
    if not isinstance(value, bytes) or len(value) != size:
        raise FormatError(f"{name} is {size} bytes")
    return value


def public_key(fields: Mapping[str, Value], name: str) -> PublicKey:
    """A public key."""
    return PublicKey(fixed_bytes(fields, name, 32))


def texts(
    fields: Mapping[str, Value], name: str, *, most: int, bytes_max: int = NAME_BYTES_MAX, ascending: bool = False
) -> tuple[str, ...]:
    """An array of at most `most` texts, where asked in strictly ascending order."""
    value = fields.get(name)
    if not isinstance(value, list) or len(value) > most:
        raise FormatError(f"{name} is an array of at most {most} texts")
    found = tuple(text({name: item}, name, bytes_max=bytes_max) for item in value)
    if ascending and list(found) != sorted(set(found)):
        raise FormatError(f"{name} is in ascending order without repeats")
    return found


def one_of(fields: Mapping[str, Value], name: str, allowed: Iterable[str]) -> str:
    """One of the allowed words."""
    value = fields.get(name)
    words = tuple(allowed)
    if not isinstance(value, str) or value not in words:
        raise FormatError(f"{name} is one of {', '.join(words)}")
    return value
