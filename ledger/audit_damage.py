"""What of a store an audit cannot read, and how it goes on all the same. Used by `ledger/audit_source.py`.

Rows are kept in blocks (SPEC.md 9), and a block of which one bit is not as it was written cannot be read at all. So
what is lost is a stretch of one log: from the key of the block to that of the next one. Keys stand outside the blocks,
so the audit can name each entry that is lost, and where reading goes on.
"""

from bisect import bisect_right
from collections.abc import Iterator

from keys.errors import DamagedError
from ledger.storage import Reader


class Undamaged:
    """A `Reader` in which there is nothing where the store is damaged. `lost` says where that is.

    Memory: 100 bytes a stretch.
    """

    def __init__(self, view: Reader) -> None:
        self.plain = view
        self.lost: list[tuple[bytes, bytes | None]] = []  # key of table rows, and the key beyond, in order

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `ledger.storage.Reader`."""
        try:
            return self.plain.get(table, key)
        except DamagedError as error:
            self._note(error)
            return None

    def scan(self, table: str, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """See `ledger.storage.Reader`."""
        at: bytes | None = start
        while at is not None:
            try:
                yield from self.plain.scan(table, at, stop)
            except DamagedError as error:
                self._note(error)
                at = error.beyond
            else:
                at = None

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """See `ledger.storage.Reader`."""
        return self.plain.last(table)

    def before(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """See `ledger.storage.Reader`."""
        return self.plain.before(table, key)

    def has_lost(self, place: bytes) -> bool:
        """Whether a key of table rows lies where that is damaged."""
        at = bisect_right(self.lost, place, key=lambda stretch: stretch[0])
        beyond = self.lost[at - 1][1] if at else b""
        return beyond is None or place < beyond

    def _note(self, error: DamagedError) -> None:
        stretch = (error.first, error.beyond)
        at = bisect_right(self.lost, error.first, key=lambda known: known[0])
        if not at or self.lost[at - 1] != stretch:
            self.lost.insert(at, stretch)
