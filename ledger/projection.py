"""The search projection: what an officer finds, in an SQLite file of its own (FTS5).

It follows the ledger by arrival number, with its cursor in the same transaction as its rows. It can be deleted
at any time and is built again; it decides nothing, and it is never a reason to refuse an entry. A body that
cannot be read is counted as malformed and found by nothing.

Who wrote an entry and whether it is disputed are asked of the ledger when it is shown, not stored here.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from keys.errors import FormatError, StorageError
from ledger.folding import fold
from ledger.store import Arrived, Ledger
from protocol.body import parse_record, parse_step
from protocol.codec import Value
from protocol.entry import EntryId

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE entries (
  arrival INTEGER PRIMARY KEY, id BLOB NOT NULL, author BLOB NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL,
  kind TEXT NOT NULL, type TEXT NOT NULL, record BLOB NOT NULL
) STRICT;
CREATE INDEX entries_record ON entries (record, arrival);
CREATE INDEX entries_type ON entries (type, arrival);
CREATE VIRTUAL TABLE words USING fts5 (text, content = '', tokenize = 'unicode61 remove_diacritics 2');
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES ('cursor', 0), ('malformed', 0);
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """One entry that was found. `record` is the record that it is, or is a step on."""

    arrival: int
    id: EntryId
    record: EntryId
    kind: str
    type: str
    author: bytes
    seq: int
    time_ms: int


class Projection:
    """The projection in one file. One thread may write while another reads: each call has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._prepare()

    @classmethod
    def open(cls, path: Path) -> Self:
        """The projection in `path`; a file of another version, or a damaged one, is replaced by an empty one."""
        return cls(path)

    def close(self) -> None:
        """Nothing is kept open between calls."""

    # -- following the ledger ---------------------------------------------------------------------

    def cursor(self) -> int:
        """The arrival number up to which entries are here."""
        with self._connection() as db:
            return int(db.execute("SELECT value FROM state WHERE name = 'cursor'").fetchone()[0])

    def catch_up(self, ledger: Ledger, most: int = 5000) -> int:
        """Take up to `most` entries that have arrived since; returns how many. Cost: about 20 us an entry."""
        with self._connection() as db:
            cursor = int(db.execute("SELECT value FROM state WHERE name = 'cursor'").fetchone()[0])
            arrived, after = ledger.arrived(cursor, most)
            if not arrived:
                return 0
            rows, texts, malformed = [], [], 0
            for item in arrived:
                try:
                    found = _indexed(item)
                except FormatError:
                    malformed += 1
                    continue
                if found is not None:
                    rows.append(found[0])
                    texts.append((item.arrival, found[1]))
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            db.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", texts)
            db.execute("UPDATE state SET value = value + ? WHERE name = 'malformed'", (malformed,))
            changed = db.execute(
                "UPDATE state SET value = ? WHERE name = 'cursor' AND value = ?", (after, cursor)
            ).rowcount
            db.execute("COMMIT" if changed else "ROLLBACK")  # another process took the same entries meanwhile
            return len(arrived)

    # -- asking -----------------------------------------------------------------------------------

    def find(self, words: str, limit: int = 50, *, authors: frozenset[bytes] | None = None) -> list[Hit]:
        """Entries that hold all the words, newest first; the last word may be a beginning.

        Quotes keep words together; `type:WORD` keeps to records of types that begin so. authors: only theirs.
        Nothing that is typed here can be an error.
        """
        query, types = parse_query(words)
        if not query and not types:
            return []
        conditions, values = [], list[str | int]()
        if query:
            conditions.append("arrival IN (SELECT rowid FROM words WHERE words MATCH ?)")
            values.append(query)
        for prefix in types:
            conditions.append("substr(type, 1, ?) = ?")
            values += [len(prefix), prefix]
        wide = limit if authors is None else -1
        sql = f"SELECT * FROM entries WHERE {' AND '.join(conditions)} ORDER BY arrival DESC LIMIT ?"  # noqa: S608
        with self._connection() as db:
            found = []
            for row in db.execute(sql, (*values, wide)):
                if authors is None or row[2] in authors:
                    found.append(_hit(row))
                    if len(found) == limit:
                        break
        return found

    def steps_of(self, record: bytes, limit: int = 1000) -> list[Hit]:
        """The steps on a record, in order of arrival."""
        sql = "SELECT * FROM entries WHERE record = ? AND kind = 'step' ORDER BY arrival LIMIT ?"
        with self._connection() as db:
            return [_hit(row) for row in db.execute(sql, (record, limit))]

    def counts(self) -> dict[str, int]:
        """How many records there are of each type; under "" how many entries are malformed."""
        sql = "SELECT type, count(*) FROM entries WHERE kind = 'record' GROUP BY type ORDER BY type"
        with self._connection() as db:
            counts = {str(name): int(count) for name, count in db.execute(sql)}
            counts[""] = int(db.execute("SELECT value FROM state WHERE name = 'malformed'").fetchone()[0])
        return counts

    # -- the file ---------------------------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            with self._connection() as db:
                version = int(db.execute("PRAGMA user_version").fetchone()[0])
                if version == SCHEMA_VERSION:
                    db.execute("SELECT count(*) FROM state").fetchone()
                    return
        except (StorageError, sqlite3.Error):
            version = -1  # damaged: replaced below
        if version != 0:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        with self._connection() as db:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self._path, timeout=10, isolation_level=None)
            try:
                db.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is indexed again
                yield db
            finally:
                db.close()
        except sqlite3.DatabaseError as error:
            raise StorageError(f"the search file {self._path}: {error}; delete it, it is built again") from error


def parse_query(words: str) -> tuple[str, list[str]]:
    """The FTS5 expression for what a person typed, and the type prefixes in it. Every text is a valid query."""
    terms: list[str] = []
    types: list[str] = []
    for position, part in enumerate(words.split('"')):
        if position % 2:
            terms.append(_phrase(part))
            continue
        for word in part.split():
            if word.casefold().startswith("type:") and len(word) > 5:
                types.append(word[5:].casefold())
            else:
                terms.append(_phrase(word))
    terms = [term for term in terms if term]
    if terms and not words.rstrip().endswith('"'):
        terms[-1] += " *"
    return " AND ".join(terms), types


def _phrase(text: str) -> str:
    """A quoted FTS5 string of the letters and digits in `text`, or nothing."""
    kept = "".join(letter if letter.isalnum() else " " for letter in fold(text)).split()
    return '"' + " ".join(kept) + '"' if kept else ""


def _indexed(item: Arrived) -> tuple[tuple[object, ...], str] | None:
    """The row and the words of an entry, or None where there is nothing to find. Raises FormatError."""
    entry = item.entry
    if entry.body is None or entry.space is not None:
        return None
    if entry.kind == "record":
        record = parse_record(entry.body)
        name, target, fields = record.type, bytes(entry.id), record.fields
    elif entry.kind == "step":
        step = parse_step(entry.body)
        name, target, fields = step.step, bytes(step.record), step.fields
    else:
        return None
    row = (item.arrival, entry.id, entry.key, entry.seq, entry.time_ms, entry.kind, name, target)
    return row, fold(" ".join([name, *_texts(fields)]))


def _texts(value: Value) -> Iterator[str]:
    """All texts and numbers within a value, and the names of fields with a yes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)


def _hit(row: tuple[int, bytes, bytes, int, int, str, str, bytes]) -> Hit:
    arrival, entry_id, author, seq, time_ms, kind, name, record = row
    return Hit(arrival, EntryId(entry_id), EntryId(record), kind, name, author, seq, time_ms)
