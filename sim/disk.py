"""A disk in memory: the same window as LMDB's, for thousands of simulated nodes, and it can fail on order.

    disk = MemoryStorage()
    disk.crash()                 # the power goes: the open transaction is lost, what was committed stays
    disk.full_after(10_000)      # room for so many more bytes of keys and values, then StorageError
    backup = disk.snapshot()     # and later: disk.restore(backup), the backup that somebody put back

Nothing here draws randomness or reads a clock, and scans come in order, so a seed gives the same run always.
One thread. An empty disk costs about 1 KB; looking up costs a dictionary's time, inserting a bisection's.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from keys.errors import StorageError
from ledger.storage import KEY_BYTES_MAX, TABLES, check_keys


class _Table:
    """A sorted map of bytes. `frozen`: someone may look at it later, so a commit changes a copy."""

    __slots__ = ("frozen", "keys", "values")

    def __init__(self, values: dict[bytes, bytes], keys: list[bytes]) -> None:
        self.values = values
        self.keys = keys
        self.frozen = False

    def copy(self) -> "_Table":
        return _Table(dict(self.values), list(self.keys))

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                if self.values.pop(key, None) is not None:
                    del self.keys[bisect_left(self.keys, key)]
                continue
            if key not in self.values:
                if not self.keys or key > self.keys[-1]:
                    self.keys.append(key)
                else:
                    insort(self.keys, key)
            self.values[key] = value


_EMPTY: Final = _Table({}, [])
_EMPTY.frozen = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was committed at one moment. Opaque; cheap to take."""

    tables: Mapping[str, _Table]
    size: int


class MemoryStorage:
    """A `ledger.storage.Storage` in memory."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = dict.fromkeys(TABLES, _EMPTY)
        self._size = 0
        self._room: int | None = None  # bytes that may still be written; None: no bound
        self._views = 0
        self._transaction: _Transaction | None = None
        self._epoch = 0  # counts crashes: what was opened before one is dead after it
        self._closed = False

    @contextmanager
    def read(self) -> Iterator["_View"]:
        """See `ledger.storage.Storage`."""
        self._check_open()
        view = _View(self, dict(self._tables))
        self._views += 1
        try:
            yield view
        finally:
            self._views -= 1
            view.ended = True

    @contextmanager
    def write(self) -> Iterator["_Transaction"]:
        """See `ledger.storage.Storage`."""
        self._check_open()
        if self._transaction is not None:
            raise RuntimeError("this thread has a write transaction open already")
        txn = self._transaction = _Transaction(self, dict(self._tables))
        try:
            yield txn
            self._commit(txn)
        finally:
            txn.ended = True
            if self._transaction is txn:
                self._transaction = None

    def reserve(self, size_bytes: int) -> None:
        """Nothing to do: memory needs no map."""

    def size_bytes(self) -> int:
        """The bytes of all keys and values."""
        self._check_open()
        return self._size

    def close(self) -> None:
        """See `ledger.storage.Storage`. `reopen` gives the disk to the next process."""
        self._closed = True

    # -- what can happen to a disk ----------------------------------------------------------------

    def crash(self) -> None:
        """Lose the open transaction and all views, as when the power goes; then the disk can be used again."""
        self._epoch += 1
        self._transaction = None
        self._closed = False

    def reopen(self) -> "MemoryStorage":
        """The same disk after a close, for a node that starts again."""
        self._closed = False
        return self

    def full_after(self, size_bytes: int | None) -> None:
        """Let only that many more bytes of keys and values be written; None lifts the bound."""
        self._room = size_bytes

    def snapshot(self) -> Snapshot:
        """What is committed now. O(tables)."""
        for table in self._tables.values():
            table.frozen = True
        return Snapshot(dict(self._tables), self._size)

    def restore(self, snapshot: Snapshot) -> None:
        """Put that state back, as someone does who restores a backup. The open transaction is lost."""
        self.crash()
        self._tables = dict(snapshot.tables)
        self._size = snapshot.size

    # -- for the transaction ----------------------------------------------------------------------

    def take_room(self, taken: int) -> None:
        """Raise StorageError when an open transaction of `taken` bytes does not fit."""
        if self._room is not None and taken > self._room:
            raise StorageError("the disk is full; nothing was changed; free some space and try again")

    def check_alive(self, epoch: int) -> None:
        """Raise StorageError when the machine has crashed since `epoch`."""
        if epoch != self._epoch:
            raise StorageError("the machine went down in this transaction; nothing was changed")

    @property
    def epoch(self) -> int:
        """How often this disk has crashed."""
        return self._epoch

    def _commit(self, txn: "_Transaction") -> None:
        self.check_alive(txn.epoch)
        if txn.failed:
            raise StorageError("a write failed in this transaction, so nothing was changed")
        for name, changes in txn.changes.items():
            table = self._tables[name]
            before = sum(_pair_size(key, table.values.get(key)) for key in changes)
            if table.frozen or self._views:
                table = self._tables[name] = table.copy()
            table.apply(changes)
            self._size += sum(_pair_size(key, value) for key, value in changes.items()) - before
        if self._room is not None:
            self._room -= txn.written

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the store is closed")


class _View:
    """A `Reader` over the tables as they stood when it was opened."""

    def __init__(self, storage: MemoryStorage, tables: Mapping[str, _Table]) -> None:
        self._storage = storage
        self._tables = tables
        self.epoch = storage.epoch
        self.ended = False

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `ledger.storage.Reader`."""
        self._check()
        return self._tables[table].values.get(key)

    def scan(self, table: str, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """See `ledger.storage.Reader`."""
        found = self._tables[table]
        upper = len(found.keys) if stop is None else bisect_left(found.keys, stop)
        for index in range(bisect_left(found.keys, start), upper):
            self._check()
            key = found.keys[index]
            yield key, found.values[key]

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """See `ledger.storage.Reader`."""
        self._check()
        found = self._tables[table]
        return (found.keys[-1], found.values[found.keys[-1]]) if found.keys else None

    def before(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """See `ledger.storage.Reader`."""
        self._check()
        found = self._tables[table]
        index = bisect_left(found.keys, key)
        return (found.keys[index - 1], found.values[found.keys[index - 1]]) if index else None

    def _check(self) -> None:
        if self.ended:
            raise RuntimeError("this view of the store has ended")
        self._storage.check_alive(self.epoch)


class _Transaction(_View):
    """A `Writer`: its changes lie over the committed tables until it ends."""

    def __init__(self, storage: MemoryStorage, tables: Mapping[str, _Table]) -> None:
        super().__init__(storage, tables)
        self.changes: dict[str, dict[bytes, bytes | None]] = {}  # None: deleted
        self.written = 0
        self.failed = False
        self._sorted: dict[str, list[bytes]] = {}  # the keys of `changes`

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """See `ledger.storage.Writer`. Raises ValueError on a key of no bytes, or of more than KEY_BYTES_MAX."""
        self._check()
        check_keys((key,))
        self.written += _pair_size(key, value)
        try:
            self._storage.take_room(self.written)
        except StorageError:
            self.failed = True
            raise
        self._change(table, key, bytes(value))

    def put_many(self, table: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """See `ledger.storage.Writer`."""
        for key, value in pairs:
            self.put(table, key, value)

    def delete(self, table: str, key: bytes) -> None:
        """See `ledger.storage.Writer`."""
        self._check()
        self._change(table, key, None)

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `ledger.storage.Reader`."""
        changes = self.changes.get(table)
        if changes is not None and key in changes:
            self._check()
            return changes[key]
        return super().get(table, key)

    def scan(self, table: str, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """See `ledger.storage.Reader`. What is changed meanwhile beyond the last pair given is seen."""
        while (key := self._at_or_after(table, start)) is not None and (stop is None or key < stop):
            value = self.get(table, key)
            if value is not None:
                yield key, value
            start = key + b"\x00"

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """See `ledger.storage.Reader`."""
        return self.before(table, b"\xff" * (KEY_BYTES_MAX + 1))

    def before(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """See `ledger.storage.Reader`."""
        self._check()
        while (found := self._below(table, key)) is not None:
            value = self.get(table, found)
            if value is not None:
                return found, value
            key = found
        return None

    def _change(self, table: str, key: bytes, value: bytes | None) -> None:
        changes = self.changes.setdefault(table, {})
        keys = self._sorted.setdefault(table, [])
        if key not in changes:
            if not keys or key > keys[-1]:
                keys.append(key)
            else:
                insort(keys, key)
        changes[key] = value

    def _at_or_after(self, table: str, key: bytes) -> bytes | None:
        self._check()
        both = (self._tables[table].keys, self._sorted.get(table, []))
        found = [keys[index] for keys in both if (index := bisect_left(keys, key)) < len(keys)]
        return min(found, default=None)

    def _below(self, table: str, key: bytes) -> bytes | None:
        both = (self._tables[table].keys, self._sorted.get(table, []))
        found = [keys[index - 1] for keys in both if (index := bisect_left(keys, key))]
        return max(found, default=None)


def _pair_size(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value)
