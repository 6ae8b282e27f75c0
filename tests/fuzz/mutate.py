"""Changes to an input that keep its form: one node of the msgpack in it, in canonical encoding again.

Flipping bytes almost never gets past a codec that takes one form only; this reaches the checks behind it. What
stands before the value (a file's first line, a frame's flag, a request's length) stays; byte strings that hold
msgpack themselves (rows in runs, headers in proofs, frames in messages) are gone into.
"""

from random import Random
from typing import Any, Final

import msgpack
import zstandard

from protocol.bundle import MAGIC as BUNDLE_MAGIC
from protocol.limits import FRAME_BYTES_MAX

_BUNDLE_START: Final = len(BUNDLE_MAGIC) + 32
_TRIES: Final = 4
_EDGES: Final[tuple[Any, ...]] = (
    None, False, True, 0, 1, -1, 127, 128, 1 << 32, (1 << 53) - 1, 1 << 53, (1 << 64) - 1, -(1 << 63), 1.5, "", "a",
    "A", "\u202e", "\x00", "я" * 100, "a" * 201, b"", bytes(16), bytes(31), bytes(32), bytes(33), bytes(64), [], {},
    [[]], [None] * 33, {"a": 1}, [bytes(32), 0, None], msgpack.ExtType(5, b"x"), msgpack.Timestamp(1),
)  # fmt: skip


def mutate(raw: bytes, random: Random) -> bytes | None:
    """`raw` with one change in the value that it holds; None where none can be read in it."""
    if raw.startswith(BUNDLE_MAGIC):
        return _bundle(raw, random)
    for start in (raw.find(b"\n", 0, 40) + 1, 1, 4):
        if raw[:1] == b"\x01" and start == 1:
            found = _zstd(raw, random)
        else:
            found = _value(raw[start:], random)
        if found is not None:
            return raw[:start] + found
    return None


def _value(raw: bytes, random: Random) -> bytes | None:
    if not raw or not (raw[0] >> 4 in (8, 9) or raw[0] in (0xDC, 0xDD, 0xDE, 0xDF)):  # an array or a map
        return None
    try:
        value = msgpack.unpackb(raw, strict_map_key=False)
        return bytes(msgpack.packb(_sorted(_changed(value, random))))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _zstd(raw: bytes, random: Random) -> bytes | None:
    try:
        if not 0 < zstandard.get_frame_parameters(raw[1:]).content_size <= FRAME_BYTES_MAX:
            return None
        plain = zstandard.ZstdDecompressor().decompress(raw[1:])
    except zstandard.ZstdError:
        return None
    found = _value(plain, random)
    return None if found is None else zstandard.ZstdCompressor(level=1).compress(found)


def _bundle(raw: bytes, random: Random) -> bytes | None:
    """A bundle with one message changed, left out or repeated; its end mark is for the target to mend."""
    messages, at = [], _BUNDLE_START
    while at + 4 < len(raw) and (size := int.from_bytes(raw[at : at + 4], "big")):
        messages.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    if not messages:
        return None
    index = random.randrange(len(messages))
    changed = _value(messages[index], random)
    messages[index : index + 1] = random.choice([[changed or b""], [], [messages[index]] * 2, [changed or b"\x90"]])
    body = b"".join(len(message).to_bytes(4, "big") + message for message in messages)
    return raw[:_BUNDLE_START] + body + bytes(4) + raw[-32:]


def _changed(value: Any, random: Random) -> Any:
    """A copy of `value` in which one node, at any depth, is another."""
    if isinstance(value, (list, dict)) and value and random.random() < 0.8:
        keys = list(range(len(value))) if isinstance(value, list) else list(value)
        key = random.choice(keys)
        copy = value.copy()
        match random.randrange(8):
            case 0:
                del copy[key]
            case 1:
                if isinstance(copy, list):
                    copy.insert(key, copy[random.choice(keys)])
                else:
                    copy[random.choice(_names(key))] = copy.pop(key)
            case 2:
                copy[key] = copy[random.choice(keys)]
            case _:
                copy[key] = _changed(copy[key], random)
        return copy
    if isinstance(value, bytes) and random.random() < 0.8:
        inner = mutate(value, random) if len(value) > 8 else None
        return inner if inner is not None else _stretched(value, random)
    if isinstance(value, str) and random.random() < 0.5:
        return _stretched(value, random)
    if isinstance(value, int) and random.random() < 0.5:
        return value + random.choice((-1, 1, 1 << 32, -(1 << 32)))
    return random.choice(_EDGES)


def _names(key: object) -> tuple[object, ...]:
    return f"{key}a", "", "a", "z" * 30, 1, b"a"


def _stretched(value: Any, random: Random) -> Any:
    """Text or bytes, shorter, longer or with one part turned round."""
    at = random.randrange(len(value) + 1)
    return random.choice((value[:at], value[at:], value + value, value[:at] + value[at:][::-1], value[1:] + value[:1]))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: str(key).encode())}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value
