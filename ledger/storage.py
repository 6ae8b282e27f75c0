"""The window through which the ledger sees a disk: a few sorted tables and transactions, nothing more.

`ledger/lmdb_store.py` is the real one; the simulator has one in memory that loses what was not committed. Both
pass the suite in `tests/storage_suite.py`. One writer at a time; a reader sees the state at its start.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Protocol

TABLES: Final = ("meta", "logs", "numbers", "rows", "ids", "arrivals", "kinds", "forks", "branches")
KEY_BYTES_MAX: Final = 511  # LMDB's own bound


class Reader(Protocol):
    """A consistent view. Valid until its context ends; values are copies.

    Where a stretch of a table is damaged on disk, reading it raises DamagedError, which says where it can be read on.
    """

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value under `key`, or None."""

    def scan(self, table: str, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop in order of key (bytewise); stop None: to the end."""

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """The pair with the greatest key, or None in an empty table."""

    def before(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """The pair with the greatest key below `key`, or None."""


class Writer(Reader, Protocol):
    """The one open write transaction; it sees its own changes."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""

    def put_many(self, table: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set many keys: fastest when they come in ascending order."""

    def delete(self, table: str, key: bytes) -> None:
        """Remove `key`; nothing happens when it is not there."""


class Storage(Protocol):
    """Durable sorted tables. All errors of the disk become StorageError."""

    def read(self) -> AbstractContextManager[Reader]:
        """Open a view; keep it short: old pages cannot be reused while it is open."""

    def write(self) -> AbstractContextManager[Writer]:
        """Open the write transaction. At the end of the block everything is durable, or, on any exception, undone.

        Raises StorageError, with nothing changed, when the disk or the configured size is full.
        """

    def reserve(self, size_bytes: int) -> None:
        """Have room for a coming transaction of about that many bytes, as far as the disk allows."""

    def size_bytes(self) -> int:
        """Bytes in use on disk."""

    def close(self) -> None:
        """Release everything; a second call does nothing."""


def check_keys(keys: Collection[bytes]) -> None:
    """Raise ValueError on a key of no bytes, or of more than KEY_BYTES_MAX. Cost: 30 ns a key."""
    sizes = list(map(len, keys))
    if not 0 < min(sizes) <= max(sizes) <= KEY_BYTES_MAX:
        size = max(sizes) if min(sizes) else 0
        raise ValueError(f"a key of {size} bytes; from 1 to {KEY_BYTES_MAX} are possible")
