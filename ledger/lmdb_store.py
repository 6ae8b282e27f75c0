"""The ledger's disk: LMDB, one environment, whose map grows by itself while the disk has room.

    with closing(open_lmdb(home / "store")) as storage, storage.write() as txn: ...

**Durable**: a write block that ended has been synced; `kill -9` or a power cut keeps it whole or drops it whole.

**Growth**: LMDB writes into a map of fixed size and cannot grow it inside a transaction. So before each one the
map is grown until ROOM_MIN, or a quarter of it, is free. A transaction that fills even that is undone with
StorageError, and more is set aside before the next one: the same transaction then has four times the room.
`reserve` sets room aside for one that is known to be large. The map is address space, not disk: it costs nothing
until it is written. It stays below `size_bytes_max`, and below what the disk could hold.

**Threads**: any thread may read; one writes at a time. The map may only move while no transaction of this process
is open, so growth waits for open views to end, and new ones wait for it. A view that is held open for seconds
costs the writer RESIZE_WAIT_S and a growth; it never deadlocks and never invalidates a view.

**Packing**: tables `rows` and `ids` are kept in blocks and tiers (ledger/packed.py, ledger/tiers.py), in tables of
other names; whoever reads and writes does not see it.

**Processes**: one owns the store (`owner.lock`, flock: the system drops it when the owner dies). Any other may open
it for reading only, and adopts the owner's growth when it meets it.
"""

import errno
import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import lt
from pathlib import Path
from shutil import disk_usage
from threading import Condition, Lock, get_ident, local
from typing import Final, TypeAlias

import lmdb

from keys.errors import HomeError, StorageError
from keys.files import sync_folder
from ledger.packed import PackedReader, PackedWriter, Zstd
from ledger.storage import KEY_BYTES_MAX, TABLES, check_keys
from ledger.tiers import TieredReader, TieredWriter

MAP_BYTES_INITIAL: Final = 64 * 1024 * 1024
ROOM_MIN: Final = 64 * 1024 * 1024  # bytes free in the map before a transaction starts
RESIZE_WAIT_S: Final = 5.0  # how long growth waits for open views before it does without
READERS_MAX: Final = 1024  # views open at once, in all processes
_CHUNK: Final = 10_000  # pairs held at once by put_many
_OWNER_FILE: Final = "owner.lock"
_DATA_FILE: Final = "data.mdb"
_BLOCKS: Final = "blocks"
_TIERS: Final = ("ids-new", "ids-late", "ids-old")
_KEPT: Final = {"rows": (_BLOCKS,), "ids": _TIERS}  # the tables that are kept in others
_NAMES: Final = tuple(kept for name in TABLES for kept in _KEPT.get(name, (name,)))

_Table: TypeAlias = "lmdb._Database"  # noqa: SLF001  # the stubs name it so; there is no public name


def open_lmdb(path: Path, *, size_bytes_max: int | None = None, readonly: bool = False) -> "LmdbStorage":
    """The store in folder `path`; created, mode 0700, where there is none, unless `readonly`.

    size_bytes_max: the most the store may take on disk; None: as much as the disk has.
    readonly: for looking on while another process owns the store; `write` is refused.
    Raises HomeError when another process owns it or there is nothing to read, StorageError when the disk or the
    store is damaged.
    """
    if readonly:
        if not (path / _DATA_FILE).is_file():
            raise HomeError(f"there is no store in {path}; check --home, or create one with hamkor init")
        return LmdbStorage(path, size_bytes_max, owner=None)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = _own(path / _OWNER_FILE)
    except OSError as error:
        raise StorageError(f"the store in {path} cannot be opened: {error.strerror}") from None
    try:
        storage = LmdbStorage(path, size_bytes_max, owner=owner)
        for folder in (path, path.parent):  # LMDB syncs its file, not the folders that name it
            sync_folder(folder)
    except BaseException:
        os.close(owner)
        raise
    return storage


class LmdbStorage:
    """A `ledger.storage.Storage` on disk. Made by `open_lmdb`."""

    def __init__(self, path: Path, size_bytes_max: int | None, *, owner: int | None) -> None:
        self.path = path
        self._size_bytes_max = size_bytes_max
        self._owner = owner
        self._gate = _Gate()
        self._write_lock = Lock()
        self._writer: int | None = None  # the thread with the open write transaction
        self._room = 0  # bytes the next transaction asks for, beyond ROOM_MIN
        self._closed = False
        self._zstd = local()  # of each thread its own
        start = MAP_BYTES_INITIAL if size_bytes_max is None else min(MAP_BYTES_INITIAL, size_bytes_max)
        try:
            self._env = lmdb.open(
                os.fspath(path), map_size=start, subdir=True, readonly=owner is None, create=owner is not None,
                sync=True, metasync=True, writemap=False, mode=0o700, max_dbs=len(_NAMES), max_readers=READERS_MAX,
            )  # fmt: skip
        except lmdb.Error as error:
            raise self._storage_error(error) from None
        try:
            self._env.reader_check()  # slots of readers that were killed
            self._page_bytes = self._env.stat()["psize"]
            self._tables: dict[str, _Table] = self._open_tables()
        except lmdb.Error as error:
            self._env.close()
            raise self._storage_error(error) from None

    def _open_tables(self) -> dict[str, _Table]:
        if self._owner is None:
            self._env.set_mapsize(0)  # as large as the owner has made it
            return {name: self._env.open_db(name.encode(), create=False) for name in _NAMES}
        with self._env.begin(write=True) as txn:
            return {name: self._env.open_db(name.encode(), txn=txn) for name in _NAMES}

    @contextmanager
    def read(self) -> Iterator["_View"]:
        """See `ledger.storage.Storage`. Views may nest, and stay valid while another thread writes."""
        with self._gate.inside():
            view = _View(self, self._begin_read())
            try:
                yield view
            finally:
                view.end()

    @contextmanager
    def write(self) -> Iterator["_Transaction"]:
        """See `ledger.storage.Storage`. Cost of the end: one or two syncs of the disk, about 0.3 ms."""
        if self._owner is None:
            raise StorageError(f"the store in {self.path} is open for reading only; stop the daemon to write to it")
        if self._writer == get_ident():
            raise RuntimeError("this thread has a write transaction open already")
        with self._write_lock:
            self._check_open()
            self._writer = get_ident()
            try:
                self._make_room()
                with self._gate.inside():
                    yield from self._transact()
            finally:
                self._writer = None

    def _transact(self) -> Iterator["_Transaction"]:
        try:
            txn = self._env.begin(write=True)
        except lmdb.Error as error:
            raise self._storage_error(error) from None
        view = _Transaction(self, txn)
        try:
            yield view
            txn.commit()
        except lmdb.Error as error:
            raise self._storage_error(error) from None
        finally:
            view.end()  # after a commit it has nothing left to undo

    def reserve(self, size_bytes: int) -> None:
        """See that the next write transaction has that much room, where disk and bound allow."""
        self._room = max(self._room, size_bytes)

    def size_bytes(self) -> int:
        """See `ledger.storage.Storage`. Pages freed by deletions are in use: LMDB keeps them for later writes."""
        self._check_open()
        return (self._env.info()["last_pgno"] + 1) * self._page_bytes

    def close(self) -> None:
        """See `ledger.storage.Storage`. Waits for the write transaction of another thread to end."""
        if self._closed:
            return
        if self._writer == get_ident():
            raise RuntimeError("a store cannot be closed inside its write transaction")
        with self._write_lock, self._gate.alone():
            if not self._closed:
                self._closed = True
                self._env.close()
                if self._owner is not None:
                    os.close(self._owner)

    def zstd(self) -> Zstd:
        """What packs and unpacks blocks in this thread."""
        found: Zstd | None = getattr(self._zstd, "own", None)
        if found is None:
            found = self._zstd.own = Zstd()
        return found

    # -- the map ----------------------------------------------------------------------------------

    def _begin_read(self) -> "lmdb.Transaction[bytes]":
        self._check_open()
        try:
            return self._begin_read_once()
        except lmdb.Error as error:
            raise self._storage_error(error) from None

    def _begin_read_once(self) -> "lmdb.Transaction[bytes]":
        try:
            return self._env.begin()
        except lmdb.MapResizedError:
            with self._gate.alone(mine=1) as alone:
                if alone:
                    self._env.set_mapsize(0)
            return self._env.begin()
        except lmdb.ReadersFullError:
            self._env.reader_check()
            return self._env.begin()

    def _make_room(self) -> None:
        """Grow the map so that a transaction has room: best effort, the transaction itself finds out."""
        info = self._env.info()
        size, used = info["map_size"], (info["last_pgno"] + 1) * self._page_bytes
        wanted = size
        while wanted - used < max(ROOM_MIN, wanted // 4, self._room):
            wanted *= 2
        if wanted > size and (wanted := min(wanted, self._map_bytes_max(used))) > size:
            with self._gate.alone() as alone:
                if alone:
                    try:
                        self._env.set_mapsize(wanted)
                    except lmdb.Error as error:
                        raise self._storage_error(error) from None

    def _map_bytes_max(self, used: int) -> int:
        try:
            most = used + disk_usage(self.path).free
        except OSError as error:
            raise StorageError(f"the disk under {self.path} cannot be asked for its room: {error.strerror}") from None
        if self._size_bytes_max is not None:
            most = min(most, self._size_bytes_max)
        return most // self._page_bytes * self._page_bytes

    # -- errors -----------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"the store in {self.path} is closed")

    def _storage_error(self, error: lmdb.Error) -> StorageError:
        """What happened and what to do, in a sentence or two."""
        store = f"the store in {self.path}"
        if isinstance(error, lmdb.MapFullError):
            return self._full()
        if isinstance(error, lmdb.DiskError) or error.code in (errno.EFBIG, errno.EDQUOT):
            return StorageError(f"the disk under {self.path} is full; nothing was changed; free space and try again")
        if isinstance(error, lmdb.MapResizedError):
            return StorageError(f"{store} has grown while this process was reading it; try again")
        if isinstance(error, lmdb.ReadersFullError):
            return StorageError(f"{store} has {READERS_MAX} readers already; close other hamkor commands and try again")
        if isinstance(error, lmdb.LockError):
            return StorageError(f"{store} is locked by another program; end it and try again")
        if isinstance(error, lmdb.NotFoundError):
            return StorageError(
                f"{store} lacks tables that this program reads: it was never completed, or another version wrote it;"
                " make a new home and let it sync"
            )
        if isinstance(error, (lmdb.VersionMismatchError, lmdb.IncompatibleError)):
            return StorageError(f"{store} was written by another version of LMDB; open it with that one")
        if isinstance(error, _DAMAGED):
            return StorageError(f"{store} is damaged ({error}); run hamkor audit on it, and sync into a new home")
        if isinstance(error, lmdb.PanicError) or error.code == errno.EIO:
            return StorageError(f"the disk under {self.path} fails ({error}); check the disk, then start again")
        return StorageError(f"{store} cannot be used: {error}")

    def _full(self) -> StorageError:
        size, used = self._env.info()["map_size"], self.size_bytes()
        if size + self._page_bytes <= self._map_bytes_max(used):
            self._room = 4 * (size - used)
            return StorageError(
                f"one transaction was larger than the {_mib(size - used)} set aside for it; nothing was changed; four"
                " times that is set aside for the next: try again"
            )
        if self._size_bytes_max is not None and size + self._page_bytes > self._size_bytes_max:
            return StorageError(
                f"the store in {self.path} may take {_mib(self._size_bytes_max)}, and this would take more; nothing was"
                " changed; raise store_mib_max in hamkor.toml"
            )
        return StorageError(
            f"the disk under {self.path} has no room left for the store ({_mib(used)} in use); nothing was changed;"
            " free some space and try again"
        )


_DAMAGED: Final = (
    lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.CursorFullError, lmdb.PageFullError,
    lmdb.BadDbiError, lmdb.BadRslotError,
)  # fmt: skip


class _View:
    """A `Reader` over one LMDB transaction."""

    def __init__(self, storage: LmdbStorage, txn: "lmdb.Transaction[bytes]") -> None:
        self._storage = storage
        self._tables = storage._tables  # noqa: SLF001  # one thing in two classes
        self._txn = txn
        self._ended = False
        self._changes = 0  # how often this transaction has changed a table
        self._packed: PackedReader | None = None
        self._tiered: TieredReader | None = None

    def _kept(self, table: str) -> PackedReader | TieredReader:
        """A table that is kept in another form on disk."""
        if table == "rows":
            self._packed = self._packed or PackedReader(self, _BLOCKS, self._storage.zstd())
            return self._packed
        self._tiered = self._tiered or TieredReader(self, _TIERS)
        return self._tiered

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `ledger.storage.Reader`."""
        if table in _KEPT:
            return self._kept(table).get(key)
        if not key:
            return None  # LMDB has no empty keys, and refuses to look for one
        try:
            return self._txn.get(key, db=self._tables[table])
        except lmdb.Error as error:
            raise self._error(error) from None

    def scan(self, table: str, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """See `ledger.storage.Reader`. What is changed meanwhile beyond the last pair given is seen."""
        return self._kept(table).scan(start, stop) if table in _KEPT else self._scan(table, start, stop)

    def _scan(self, table: str, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._txn.cursor(self._tables[table]) as cursor:
                found = cursor.set_range(start)
                while found:
                    changes = self._changes
                    last = b""
                    for last, value in cursor.iternext():
                        if stop is not None and last >= stop:
                            return
                        yield last, value
                        if self._changes != changes:
                            break
                    else:
                        return
                    found = cursor.set_range(last + b"\x00")
        except lmdb.Error as error:
            raise self._error(error) from None

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """See `ledger.storage.Reader`."""
        if table in _KEPT:
            return self._kept(table).last()
        try:
            with self._txn.cursor(self._tables[table]) as cursor:
                return cursor.item() if cursor.last() else None
        except lmdb.Error as error:
            raise self._error(error) from None

    def before(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """See `ledger.storage.Reader`."""
        if table in _KEPT:
            return self._kept(table).before(key)
        try:
            with self._txn.cursor(self._tables[table]) as cursor:
                found = cursor.prev() if cursor.set_range(key) else cursor.last()
                return cursor.item() if found else None
        except lmdb.Error as error:
            raise self._error(error) from None

    def count(self, table: str) -> int:
        """See `ledger.tiers.PlainReader`."""
        try:
            return int(self._txn.stat(self._tables[table])["entries"])
        except lmdb.Error as error:
            raise self._error(error) from None

    def first(self, tables: Sequence[str], key: bytes) -> bytes | None:
        """See `ledger.tiers.PlainReader`."""
        get, tables_of = self._txn.get, self._tables
        try:
            for table in tables:
                value = get(key, db=tables_of[table]) if key else None
                if value is not None:
                    return value
        except lmdb.Error as error:
            raise self._error(error) from None
        return None

    def end(self) -> None:
        """Give up the transaction; what it changed is undone unless it was committed."""
        self._ended = True
        self._packed = self._tiered = None
        self._txn.abort()

    def _error(self, error: lmdb.Error) -> Exception:
        if self._ended:
            return RuntimeError("this view of the store has ended")
        return self._storage._storage_error(error)  # noqa: SLF001


class _Transaction(_View):
    """A `Writer` over one LMDB transaction."""

    def __init__(self, storage: LmdbStorage, txn: "lmdb.Transaction[bytes]") -> None:
        super().__init__(storage, txn)
        self._into_blocks: PackedWriter | None = None
        self._into_tiers: TieredWriter | None = None

    def end(self) -> None:
        """See `_View.end`."""
        self._into_blocks = self._into_tiers = None
        super().end()

    def _kept(self, table: str) -> PackedWriter | TieredWriter:
        if table == "rows":
            self._into_blocks = self._into_blocks or PackedWriter(self, _BLOCKS, self._storage.zstd())
            return self._into_blocks
        self._into_tiers = self._into_tiers or TieredWriter(self, _TIERS)
        return self._into_tiers

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """See `ledger.storage.Writer`. Raises ValueError on a key of no bytes, or of more than KEY_BYTES_MAX."""
        if not 0 < len(key) <= KEY_BYTES_MAX:
            check_keys((key,))
        if table in _KEPT:
            self._kept(table).put_many([(key, value)])
            return
        self._changes += 1
        try:
            self._txn.put(key, value, db=self._tables[table])
        except lmdb.Error as error:
            raise self._error(error) from None

    def put_many(self, table: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """See `ledger.storage.Writer`. Ascending keys beyond the last one fill whole pages: twice as fast."""
        if table in _KEPT:
            self._kept(table).put_many(pairs)
            return
        self._changes += 1
        source = iter(pairs)
        try:
            with self._txn.cursor(self._tables[table]) as cursor:
                while chunk := list(islice(source, _CHUNK)):
                    _put_chunk(cursor, chunk)
        except lmdb.Error as error:
            raise self._error(error) from None

    def clear(self, table: str) -> None:
        """See `ledger.tiers.PlainWriter`."""
        self._changes += 1
        try:
            self._txn.drop(self._tables[table], delete=False)
        except lmdb.Error as error:
            raise self._error(error) from None

    def delete(self, table: str, key: bytes) -> None:
        """See `ledger.storage.Writer`."""
        if table in _KEPT:
            self._kept(table).delete(key)
            return
        if not key:
            return
        self._changes += 1
        try:
            self._txn.delete(key, db=self._tables[table])
        except lmdb.Error as error:
            raise self._error(error) from None


def _put_chunk(cursor: "lmdb.Cursor[bytes]", chunk: list[tuple[bytes, bytes]]) -> None:
    keys = [key for key, _ in chunk]
    check_keys(keys)
    beyond = not cursor.last() or cursor.key() < keys[0]
    append = beyond and all(map(lt, keys, islice(keys, 1, None)))
    taken, added = cursor.putmulti(chunk, append=append)
    if append and (taken, added) != (len(chunk), len(chunk)):  # LMDB skips, in silence, what is out of order
        raise StorageError(f"LMDB appended {added} of {len(chunk)} pairs; the store is damaged: run hamkor audit")


class _Gate:
    """Lets many transactions in, and lets one thread be alone to move the map."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside: Counter[int] = Counter()  # thread -> how many transactions it has open
        self._closing = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be counted as one open transaction. Waits while a thread wants to be alone, unless this one is in already."""
        me = get_ident()
        with self._changed:
            while self._closing and not self._inside[me]:
                self._changed.wait()
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                self._changed.notify_all()

    @contextmanager
    def alone(self, mine: int = 0) -> Iterator[bool]:
        """Whether no transaction is open but `mine` of this thread's; if so, none opens until the block ends."""
        me = get_ident()
        with self._changed:
            while self._closing:
                self._changed.wait()
            self._closing = True
            try:
                if self._inside[me] > mine:
                    yield False  # this thread's own view would have to end first
                else:
                    others_gone = self._changed.wait_for(lambda: self._inside.total() == mine, RESIZE_WAIT_S)
                    yield others_gone
            finally:
                self._closing = False
                self._changed.notify_all()


def _own(path: Path) -> int:
    """The descriptor that holds the lock on `path`, which names this process. Raises HomeError when it is taken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise HomeError(
            f"another hamkor process (pid {pid}) uses this home ({path.parent}); use its control socket, or stop it"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _mib(size: int) -> str:
    return f"{size / (1024 * 1024):.0f} MiB"
