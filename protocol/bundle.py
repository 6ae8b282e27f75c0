"""Bundles: entries in a file, for a link made of a stick in a pocket (SPEC.md 8).

    bundle = "hamkor bundle 1" LF  network_id(32)  (u32 length, message)*  u32 0  SHA-256 of all before it

The messages are `frame` and `fork` messages, as on a link; frames are left uncompressed, so that damage can be
pinned to one entry. The end mark proves that the file is whole. Nothing in a bundle is believed for being
there: it goes through the same admission as a peer's frames.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import BinaryIO, Final

from keys.errors import FormatError, NetworkMismatchError
from protocol.limits import MESSAGE_BYTES_MAX
from protocol.message import Fork, Frame, decode_message, encode_message

MAGIC: Final = b"hamkor bundle 1\n"


class BundleWriter:
    """Writes one bundle through `write`; call `close` last."""

    def __init__(self, write: Callable[[bytes], object], network_id: bytes) -> None:
        self._write = write
        self._digest = sha256()
        self._put(MAGIC + network_id)

    def add(self, message: Frame | Fork) -> None:
        """Append one message."""
        raw = encode_message(message)
        self._put(len(raw).to_bytes(4, "big") + raw)

    def close(self) -> None:
        """Write the end mark."""
        self._put(bytes(4))
        self._write(self._digest.digest())

    def _put(self, raw: bytes) -> None:
        self._digest.update(raw)
        self._write(raw)


def read_bundle(stream: BinaryIO, network_id: bytes | None = None) -> Iterator[Frame | Fork]:
    """The messages of a bundle, one by one; memory is bounded by the largest.

    network_id: the network it must belong to; None accepts any.
    Raises FormatError (not a bundle, damaged, cut short: with the byte where it was noticed) or
    NetworkMismatchError. The last check comes at the end: believe nothing before the iterator is exhausted.
    """
    digest = sha256()
    where = 0

    def take(size: int, what: str) -> bytes:
        nonlocal where
        raw = stream.read(size)
        if len(raw) != size:
            raise FormatError(f"the bundle is cut short at byte {where + len(raw)}, within {what}; copy it again")
        where += size
        return raw

    start = take(len(MAGIC), "its first line")
    if start != MAGIC:
        raise FormatError("this is not a hamkor bundle (its first line is not 'hamkor bundle 1')")
    network = take(32, "its network id")
    if network_id is not None and network != network_id:
        raise NetworkMismatchError(
            f"the bundle is of network {network.hex()[:12]}, this ledger is of {network_id.hex()[:12]}"
        )
    digest.update(start + network)
    while True:
        size_raw = take(4, "a length")
        digest.update(size_raw)
        size = int.from_bytes(size_raw, "big")
        if size == 0:
            break
        if size > MESSAGE_BYTES_MAX:
            raise FormatError(f"the bundle states a message of {size} bytes at byte {where}; it is damaged")
        raw = take(size, "a message")
        digest.update(raw)
        try:
            message = decode_message(raw)
        except FormatError as error:
            raise FormatError(f"the bundle is damaged in the message at byte {where - size}: {error}") from None
        if not isinstance(message, (Frame, Fork)):
            raise FormatError(f"the bundle holds a {type(message).__name__.lower()} message at byte {where - size}")
        yield message
    if take(32, "its end mark") != digest.digest():
        raise FormatError("the bundle's checksum does not match its content; copy it again")
    if stream.read(1):
        raise FormatError(f"the bundle goes on after its end at byte {where}; it is damaged")
