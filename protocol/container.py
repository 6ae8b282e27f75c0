"""The files that people pass by hand: one line that says what it is, then one canonical value (SPEC.md 8.1).

    "hamkor <kind> 1" LF  value
"""

from keys.errors import FormatError
from protocol.codec import Value, decode, encode

_PREFIX = b"hamkor "
_LINE_BYTES_MAX = 40


def pack_file(kind: str, value: object) -> bytes:
    """The file's bytes."""
    return _PREFIX + kind.encode() + b" 1\n" + encode(value)


def unpack_file(raw: bytes, kind: str, *, size_max: int) -> Value:
    """The value in a file of that kind. Raises FormatError on anything else, saying what it is instead."""
    line, newline, _ = raw[: _LINE_BYTES_MAX + 1].partition(b"\n")
    if not newline or not line.startswith(_PREFIX):
        raise FormatError(f"this is not a hamkor {kind}: its first line is not 'hamkor {kind} 1'")
    found, _, version = line[len(_PREFIX) :].decode("ascii", "replace").rpartition(" ")
    if found != kind:
        raise FormatError(f"this is a hamkor {found}; a {kind} is expected here")
    if version != "1":
        raise FormatError(f"this {kind} is of version {version}; this program reads version 1: update it")
    return decode(raw[len(line) + 1 :], size_max=size_max)
