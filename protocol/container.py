"""The files that people pass by hand (SPEC.md 8.1).

Each is one line that says what it is, `hamkor <kind> 1`, then one canonical value.
"""

from typing import Final

from keys.errors import FormatError
from protocol.codec import Value, decode, encode
from protocol.limits import ITEMS_MAX

_PREFIX: Final = b"hamkor "
_LINE_BYTES_MAX: Final = 40
_KINDS: Final = ("bundle", "card", "charter", "heads", "invitation", "key", "mark")  # all that begin with such a line


def pack_file(kind: str, value: object) -> bytes:
    """The file's bytes. Raises TypeError on a value that has no canonical form."""
    return _PREFIX + kind.encode() + b" 1\n" + encode(value)


def unpack_file(raw: bytes, kind: str, *, size_max: int, items_max: int = ITEMS_MAX) -> Value:
    """The value in a file of that kind: at most `size_max` bytes after its first line, `items_max` in one array.

    Raises FormatError on anything else, saying what it is instead.
    """
    line, newline, _ = raw[: _LINE_BYTES_MAX + 1].partition(b"\n")
    found, _, version = line[len(_PREFIX) :].decode("ascii", "replace").partition(" ")
    if not newline or not line.startswith(_PREFIX) or found not in _KINDS or not version.isdecimal():
        raise FormatError(f"this is not a hamkor {kind}: its first line is not 'hamkor {kind} 1'")
    if found != kind:
        raise FormatError(f"this is a hamkor {found}; a hamkor {kind} is expected here")
    if version != "1":
        raise FormatError(f"this {kind} is of version {version}; this program reads version 1: update it")
    try:
        return decode(raw[len(line) + 1 :], size_max=size_max, items_max=items_max)
    except FormatError as error:
        raise FormatError(f"this {kind} is cut short or damaged; copy it again ({error})") from None
