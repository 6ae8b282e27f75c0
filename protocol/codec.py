"""Canonical msgpack: one value, one byte string (SPEC.md 2).

Allowed are nil, booleans, integers of -2^63 to 2^64-1, UTF-8 text, byte strings, arrays, and maps whose keys
are text in strictly ascending order of their UTF-8 bytes. Everything takes its shortest form. Floats and
extension types are refused: a fraction is decimal text, exactly as it was written, so no two machines round
it differently. `decode` re-encodes what it read and compares, so `encode(decode(raw)) == raw` always holds.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, TypeAlias, cast

import msgpack

from keys.errors import FormatError
from protocol.limits import DEPTH_MAX, ITEMS_MAX

Value: TypeAlias = "None | bool | int | str | bytes | list[Value] | dict[str, Value]"

_PLAIN: Final = frozenset({type(None), bool, int, str, bytes})
_TEXT: Final = frozenset({str})
pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack  # the raw encoder: only for values known to be canonical


def encode(value: object) -> bytes:
    """The canonical bytes of `value`; map keys are sorted here.

    Raises TypeError on anything but the allowed types (lone surrogates and integers out of range are not among
    them), and on nesting deeper than DEPTH_MAX.
    """
    try:
        return bytes(pack(_ordered(value, DEPTH_MAX)))
    except (OverflowError, ValueError) as error:  # UnicodeEncodeError is a ValueError
        raise TypeError(f"no canonical form: {error}") from None


def _ordered(value: object, depth: int) -> object:
    """`value` with the keys of its maps in ascending order of code points, which is that of their UTF-8 bytes."""
    if type(value) in _PLAIN or isinstance(value, (int, str, bytes)):
        return value
    if depth == 0:
        raise TypeError(f"nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        if not (_TEXT.issuperset(map(type, value)) or all(isinstance(key, str) for key in value)):
            raise TypeError("map keys must be text")
        pairs = [(key, value[key]) for key in sorted(value)]
        return {key: item if type(item) in _PLAIN else _ordered(item, depth - 1) for key, item in pairs}
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _PLAIN else _ordered(item, depth - 1) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form; a fraction is written as decimal text")


def _refuse_extension(code: int, _payload: bytes) -> object:
    raise FormatError(f"msgpack extension type {code} is not allowed here")


def decode(raw: bytes | memoryview, *, size_max: int, items_max: int = ITEMS_MAX) -> Value:
    """The value that `raw` encodes canonically.

    size_max: bytes; a longer input is refused before it is looked at.
    items_max: in one array or map. The C decoder allocates what a length promises, up to 1,024 levels deep,
        before it looks for the items: without this bound, 5 KB of lengths cost gigabytes of address space.
    Raises FormatError on anything that `encode` would not have produced. Cost: O(len(raw)) time and memory.
    """
    if len(raw) > size_max:
        raise FormatError(f"{len(raw)} bytes; at most {size_max} are accepted here")
    try:
        value = msgpack.unpackb(
            raw, raw=False, strict_map_key=False, ext_hook=_refuse_extension, max_str_len=size_max,
            max_bin_len=size_max, max_array_len=items_max, max_map_len=items_max,
        )  # fmt: skip
        _check_nested([value], DEPTH_MAX + 1)
        again = pack(value)  # keys are in order already; of a repeated one the last is left, so this comes out shorter
    except FormatError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise FormatError(f"not canonical msgpack: {error or type(error).__name__}") from None
    if again != raw:
        raise FormatError("not in canonical form: a key is repeated, or a value has a shorter or other encoding")
    result: Value = value
    return result


def _check_nested(items: Iterable[object], depth: int) -> None:
    """Refuse fractions, nesting deeper than `depth`, and map keys that are no text or not in ascending order."""
    for item in items:
        kind = type(item)
        if kind is str or kind in _PLAIN:
            continue
        if kind is float or depth == 1:
            raise TypeError("a fraction is written as decimal text" if kind is float else f"nested over {DEPTH_MAX}")
        if kind is dict:
            keys = list(item)  # type: ignore[call-overload]
            if keys and (type(keys[0]) is not str or keys != sorted(keys)):  # TypeError where not all are text
                _refuse_keys(keys)
            _check_nested(item.values(), depth - 1)  # type: ignore[attr-defined]
        else:
            _check_nested(item, depth - 1)  # type: ignore[arg-type]


def _refuse_keys(keys: list[object]) -> None:
    """Say what is wrong with the keys of a map. By code points they are in the order of their UTF-8 bytes."""
    for before, key in pairwise(["", *keys]):
        if type(key) is not str or type(before) is not str:
            raise FormatError("a map key is not text; expected text keys only")
        if key < before:
            raise FormatError(f"map key {key[:24]!r} is out of order; expected ascending UTF-8 bytes")


def unpack_row(raw: bytes) -> list[object]:
    """The array in `raw`, not yet checked to be canonical: the caller re-encodes what it keeps, and compares.

    Admission's fast path: one C call. Rows, runs and frames hold no maps, so none is accepted. Raises FormatError
    when it is no array. Memory: a few times len(raw).
    """
    try:
        value = msgpack.unpackb(raw, raw=False, strict_map_key=True, max_array_len=ITEMS_MAX, max_map_len=0)
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise FormatError(f"not msgpack: {error or type(error).__name__}") from None
    if type(value) is not list:
        raise FormatError(f"expected an array, found {type(value).__name__}")
    return value


_TOGETHER_MAX: Final = 1024  # rows decoded in one call
_ARRAY_16: Final = b"\xdc"


def unpack_rows(rows: Sequence[bytes]) -> list[list[object]]:
    """The arrays in `rows`, as by `unpack_row` of each. Raises FormatError where one is none.

    Many are decoded in one C call. Rows whose bounds are not those of the values in them may so be read as others
    than by themselves; the caller, who compares each with what it was read from, refuses all such.
    """
    found: list[list[object]] = []
    for start in range(0, len(rows), _TOGETHER_MAX):
        part = rows[start : start + _TOGETHER_MAX]
        together = unpack_row(_ARRAY_16 + len(part).to_bytes(2, "big") + b"".join(part))
        if set(map(type, together)) != {list}:
            raise FormatError("expected an array in each row")
        found += cast("list[list[object]]", together)
    return found
