"""Asking the search index: words, selectors, places, counts. It is written by `ledger/projection.py`.

Answers name records; what they say is read from the ledger, so nothing that is shown comes from here.
"""

import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from math import cos, radians
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from keys.errors import FormatError, IndexDamagedError, StorageError
from keys.signing import PublicKey
from ledger.authority import Authority
from ledger.document import Document, Operation
from ledger.held import Kept
from ledger.query import Query
from ledger.store import Ledger
from ledger.workflow import distance_m
from protocol.body import parse_record, parse_step
from protocol.codec import Value
from protocol.entry import Entry, EntryId

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT_VTAB})
Connection: TypeAlias = sqlite3.Connection  # so that others need not know what the index is kept in
STEPS_MAX: Final = 1000  # of one record, looked at for its workflow
_IDLE_MAX: Final = 4  # connections kept open: each holds up to 2 MB of the file
_File: TypeAlias = tuple[int, int] | None
HISTORY_MAX: Final = 20_000  # steps of one record that are shown
_MATCHED: Final = (  # a record of which an entry matches
    "(d.arrival IN (SELECT rowid FROM words WHERE words MATCH ?) OR d.arrival IN"
    " (SELECT doc FROM steps WHERE arrival IN (SELECT rowid FROM words WHERE words MATCH ?)))"
)
MATCHED_MAX: Final = 1000  # steps of one record, told for one query


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that was found, or a step whose record is not here. matched: the steps on it that were found."""

    arrival: int
    id: EntryId
    matched: tuple[EntryId, ...] = ()


class Doc(NamedTuple):
    """A record's row. state: its document's, once a step has changed it."""

    entry: Entry
    arrival: int
    author: int  # its number
    type: str
    state: bytes | None
    counts: int

    def document(self, ledger: Ledger) -> Document:
        """The record as it stands. Raises FormatError."""
        return Document.from_bytes(self.state) if self.state else created(ledger, self.entry)


@dataclass(frozen=True, slots=True)
class Listed:
    """What the index keeps of a record."""

    arrival: int
    record: EntryId
    type: str
    at_ms: int
    status: str
    due_ms: int | None


@dataclass(frozen=True, slots=True)
class Total:
    """One line of statistics. other: amounts that have no mass, by unit."""

    key: str
    count: int
    mass_g: Decimal
    other: Mapping[str, Decimal]


class Search:
    """An index file, for reading. Each call has a connection to itself, so threads may ask while one writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[tuple[_File, sqlite3.Connection]] = []  # opened before, and to which file

    # -- asking -----------------------------------------------------------------------------------

    def find(
        self, query: Query, limit: int, *, now_ms: int, authors: frozenset[bytes] | None = None, after: int = -1
    ) -> list[Hit]:
        """Records for which an entry has all the words and which fit the rest: exact first, then coarse, newest first.

        authors: only records by them. after: only where an entry that arrived after that one fits.
        """
        found: dict[bytes, tuple[Hit, dict[EntryId, None]]] = {}
        with self.connection() as db:
            for expression in dict.fromkeys([query.exact, query.coarse] if query.exact else [""]):
                if (query.exact and not expression) or len(found) >= limit:
                    continue
                for hit, record in _search(db, query, expression, now_ms, authors, after):
                    if record not in found and len(found) >= limit:
                        break
                    matched = found.setdefault(record, (hit, {}))[1]
                    if len(matched) < MATCHED_MAX:
                        matched |= dict.fromkeys(hit.matched)
        return [Hit(hit.arrival, hit.id, tuple(matched)) for hit, matched in found.values()]

    def document(self, ledger: Ledger, record: bytes) -> tuple[Entry, Document] | None:
        """A record's creating entry and its state, or None when the record is not here, disputed or unreadable."""
        return next(((entry, document) for _, entry, document in self.documents(ledger, [record])), None)

    def documents(self, ledger: Ledger, records: Iterable[bytes]) -> Iterator[tuple[str, Entry, Document]]:
        """(type, creating entry, state) of those of the records that are here, not disputed and can be read."""
        with self.connection() as db:
            for record in records:
                found = doc_of(db, ledger, record)
                if found is not None and found.counts:
                    yield found.type, found.entry, found.document(ledger)

    def changed(self, records: Iterable[bytes]) -> Iterator[tuple[bytes, Document]]:
        """Those of the records that are not disputed and that steps have changed, and their state.

        Cost: a look at the record's first step that is here.
        """
        sql = (
            "SELECT d.state FROM steps s JOIN docs d ON d.arrival = s.doc"
            " WHERE s.record = ? AND d.counts AND d.state IS NOT NULL LIMIT 1"
        )
        with self.connection() as db:
            for record in records:
                row = db.execute(sql, (record,)).fetchone()
                if row is not None:
                    yield record, Document.from_bytes(row[0])

    def listed(
        self,
        type_name: str = "",
        *,
        unsettled: bool = False,
        after: int = -1,
        limit: int = 10_000,
        retracted: bool = False,
    ) -> list[Listed]:
        """Records of a type (all: ""), newest first; unsettled: with conflicts or open proposals."""
        sql = "SELECT arrival, record, type, at_ms, status, due_ms FROM docs WHERE counts AND arrival > ?"
        sql += "" if retracted else " AND retracted = 0"
        sql += " AND type = ?" if type_name else ""
        sql += " AND (conflicts > 0 OR proposals > 0)" if unsettled else ""
        values = (after, type_name, limit) if type_name else (after, limit)
        with self.connection() as db:
            rows = db.execute(f"{sql} ORDER BY arrival DESC LIMIT ?", values).fetchall()
        return [Listed(arrival, EntryId(record), *rest) for arrival, record, *rest in rows]

    def steps_of(self, record: bytes, limit: int = STEPS_MAX) -> list[EntryId]:
        """The steps on a record, in order of arrival."""
        sql = "SELECT id FROM steps WHERE record = ? ORDER BY arrival LIMIT ?"
        with self.connection() as db:
            return [EntryId(row[0]) for row in db.execute(sql, (record, limit))]

    def links_to(self, record: bytes) -> list[tuple[EntryId, str]]:
        """(record, relation) of links that point to a record."""
        sql = "SELECT DISTINCT source, relation FROM links WHERE target = ? ORDER BY source, relation LIMIT 1000"
        with self.connection() as db:
            return [(EntryId(source), str(relation)) for source, relation in db.execute(sql, (record,))]

    def attached(self, ledger: Ledger, after: int) -> list[tuple[bytes, int]]:
        """(hash of its list of chunks, size) of each file attached by an entry that arrived after `after`."""
        sql = "SELECT id FROM steps WHERE arrival > ? AND type = 'attach' ORDER BY arrival"
        with self.connection() as db:
            ids = [EntryId(row[0]) for row in db.execute(sql, (after,))]
        found = []
        for step in step_operations(ledger, ids):
            match step.fields:
                case {"chunks": str() as digits, "size": int() as size} if len(digits) == 64:
                    found.append((bytes.fromhex(digits), size))
                case _:
                    continue
        return found

    def consultations(
        self, record: bytes | None, officers: frozenset[bytes] | None, account: str, since_ms: int, until_ms: int,
        limit: int,
    ) -> list[EntryId]:  # fmt: skip
        """Entries that say who read marked records, the latest first: of a record, or by officers or an account.

        since_ms up to below until_ms, by their nodes' clocks. Where neither record nor officers are given: all.
        """
        sql, values = "SELECT id FROM consultations WHERE time_ms >= ? AND time_ms < ?", [since_ms, until_ms]
        bound: list[object] = list(values)
        if record is not None:
            sql += " AND id IN (SELECT id FROM consulted WHERE record = ?)"
            bound.append(record)
        elif officers is not None:
            sql += f" AND (account = ? OR officer IN ({', '.join('?' * len(officers))}))"
            bound += [account, *sorted(officers)]
        with self.connection() as db:
            rows = db.execute(f"{sql} ORDER BY time_ms DESC, id LIMIT ?", (*bound, limit))
            return [EntryId(row[0]) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many records there are of each type; under "" how many entries are malformed."""
        sql = "SELECT type, count(*) FROM docs WHERE counts GROUP BY type ORDER BY type"
        with self.connection() as db:
            counts = {str(name): int(count) for name, count in db.execute(sql)}
            counts[""] = state_of(db, "malformed")
        return counts

    def imported(self, import_ids: Iterable[str]) -> set[str]:
        """Which of these import ids, of letters and digits, records here have."""
        with self.connection() as db:
            sql = "SELECT 1 FROM words WHERE words MATCH ? LIMIT 1"
            words = {known: f'"zqi{known}"' for known in import_ids if known.isalnum()}
            return {known for known, word in words.items() if db.execute(sql, (word,)).fetchone()}

    # -- counting ---------------------------------------------------------------------------------

    def same_events(self) -> tuple[list[frozenset[bytes]], list[tuple[bytes, bytes]]]:
        """Groups of records that are one event for sure, and pairs that possibly are (SPEC.md 4.9).

        A pair is sure when the originating agencies of both records have said so. A record that is not here, or not a
        seizure, or by nobody who is certified, is no part of a pair. Retracted ones are not told, but they connect.
        """
        with self.connection() as db:
            groups, possible, _ = self._same_events(db)
            return groups, possible

    def _same_events(
        self, db: sqlite3.Connection
    ) -> tuple[list[frozenset[bytes]], list[tuple[bytes, bytes]], set[bytes]]:
        """The same, and which of the records are by their counting agency. Reads every seizure, where some are."""
        said: dict[tuple[bytes, bytes], set[str]] = {}
        sql = "SELECT source, target, agency FROM links WHERE relation = 'same_event' AND source != target"
        for source, target, agency in db.execute(sql):
            said.setdefault((min(source, target), max(source, target)), set()).add(agency)
        sql = (
            "SELECT record, agency, retracted, counting = agency FROM docs JOIN authors ON number = author"
            " WHERE type = 'seizure' AND counts AND record IN (SELECT source FROM links WHERE relation = 'same_event'"
            " UNION SELECT target FROM links WHERE relation = 'same_event')"
        )
        of: dict[bytes, str] = {}
        retracted: set[bytes] = set()
        own: set[bytes] = set()
        for record, agency, gone, counted in db.execute(sql) if said else ():
            of[record] = agency
            retracted |= {record} if gone else set()
            own |= {record} if counted else set()
        pairs = [pair for pair in said if of.get(pair[0]) and of.get(pair[1])]
        whole = _groups(pair for pair in pairs if {of[pair[0]], of[pair[1]]} <= said[pair])
        known = {record: number for number, group in enumerate(whole) for record in group}
        groups = [group - retracted for group in whole]
        possible = [
            pair for pair in pairs
            if retracted.isdisjoint(pair) and known.get(pair[0], pair[0]) != known.get(pair[1], pair[1])
        ]  # fmt: skip
        return sorted((group for group in groups if len(group) > 1), key=sorted), sorted(possible), own

    def totals(self, by: str, query: Query, *, now_ms: int, authors: frozenset[bytes] | None = None) -> list[Total]:
        """Seizures that fit `query`, counted by "substance", "region", "month" or "agency"; each event once.

        Of the records of one event the one by its counting agency counts, else that of the smallest id. Mass is exact.
        Where the query asks for substances, only their amounts are added up.
        """
        key = {
            "substance": "i.substance", "region": "d.region", "agency": "d.counting",
            "month": "strftime('%Y-%m', (d.at_ms / 1000) + 18000, 'unixepoch')",
        }[by]  # fmt: skip
        with self.connection() as db:
            groups, _, own = self._same_events(db)
            where, values = _conditions(query, now_ms, authors, db)
            if query.exact:
                where.append(_MATCHED)
                values += [f"text : ({query.exact})"] * 2
            if query.substances:
                where.append(f"i.substance IN ({', '.join('?' * len(query.substances))})")
                values += query.substances
            db.execute("CREATE TEMP TABLE IF NOT EXISTS left_out (record BLOB PRIMARY KEY)")
            db.execute("DELETE FROM temp.left_out")
            for group in groups:
                db.executemany("INSERT INTO left_out VALUES (?)", [(one,) for one in group - {_counted(group, own)}])
            where += ["d.counts", "d.type = 'seizure'", "d.retracted = 0"]
            where.append("d.record NOT IN (SELECT record FROM left_out)")
            rows = f"FROM docs d LEFT JOIN items i ON i.doc = d.arrival WHERE {' AND '.join(where)}"
            sql = (
                f"SELECT {key}, i.unit, sum(i.mass_g), sum(i.mass_ng),"
                f" group_concat(CASE WHEN i.mass_g IS NULL THEN i.amount END, ' ') {rows} GROUP BY 1, 2"
            )
            mass_ng: dict[str, int] = {}
            other: dict[str, dict[str, Decimal]] = {}
            for name, unit, grams, rest_ng, amounts in db.execute(sql, values):
                mass_ng[name or ""] = mass_ng.get(name or "", 0) + (grams or 0) * 10**9 + (rest_ng or 0)
                for amount in (amounts or "").split():
                    units = other.setdefault(name or "", {})
                    units[unit] = units.get(unit, Decimal(0)) + Decimal(amount)
            sql = f"SELECT {key}, count(DISTINCT d.arrival) {rows} GROUP BY 1"
            counts = {str(name or ""): int(count) for name, count in db.execute(sql, values)}
        found = [
            Total(name, count, Decimal(mass_ng.get(name, 0)).scaleb(-9), other.get(name, {}))
            for name, count in counts.items()
        ]
        found.sort(key=lambda total: (-total.mass_g, -total.count, total.key))
        return sorted(found, key=lambda total: total.key) if by == "month" else found

    # -- the file ---------------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one call, left open for the next one. Raises StorageError for what SQLite finds wrong.

        To open one costs 0.3 ms; to close the last one writes all that is in the log beside the file into the file.
        """
        try:
            file = self._file()
            db = self._opened(file)
            try:
                yield db
            except BaseException:
                db.close()
                raise
            if db.in_transaction or file != self._file() or len(self._idle) >= _IDLE_MAX:
                db.close()
            else:
                self._idle.append((file, db))
        except sqlite3.Error as error:
            damaged = error.sqlite_errorcode in _DAMAGED if hasattr(error, "sqlite_errorcode") else False
            problem = IndexDamagedError if damaged else StorageError
            raise problem(f"the search index {self._path}: {error}; run: hamkor reindex") from None

    def _opened(self, file: "_File") -> sqlite3.Connection:
        while self._idle:
            known, db = self._idle.pop()
            if known == file:
                return db
            db.close()  # it is of a file that another has replaced
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is indexed again
        return db

    def _file(self) -> "_File":
        """Which file stands there: its number is no other's while a connection to it is open. None: there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


# -- entries as operations ----------------------------------------------------------------------------


def operation(ledger: Ledger, entry: Entry) -> Operation:
    """An entry of kind record or step as an operation. Raises FormatError."""
    if entry.body is None or entry.space is not None:
        raise FormatError("its body cannot be read here")
    if entry.kind == "record":
        return operation_of(ledger, entry, "", parse_record(entry.body).fields)
    step = parse_step(entry.body)
    return operation_of(ledger, entry, step.step, step.fields, step.acts)


def operation_of(
    ledger: Ledger, entry: Entry | Kept, step: str, fields: Mapping[str, Value], acts: Container[EntryId] = ()
) -> Operation:
    """The operation of an entry whose body says this. acts: refs that are no operations, and are left out.

    An act may never come here, when it does not count: then nothing says that something is missing.
    """
    standing = ledger.authority.of(entry.key)
    agency, unit = (standing.agency, standing.unit) if standing is not None else ("", "")
    refs = tuple(ref for ref in entry.refs if ref not in acts) if entry.refs else ()
    return Operation(entry.id, entry.key, agency, entry.time_ms, step, fields, refs, unit)


def doc_of(db: sqlite3.Connection, ledger: Ledger, record: bytes) -> Doc | None:
    """A record's row, or None while it is not here.

    It is found by its place in its author's log: an index of ids, whose order is random, would cost a page for each
    record that comes.
    """
    entry = ledger.entry(record)
    if entry is None:
        return None
    sql = (
        "SELECT arrival, author, type, state, counts FROM docs JOIN authors ON number = author"
        " WHERE key = ? AND seq = ? AND record = ?"
    )
    row = db.execute(sql, (entry.key, entry.seq, record)).fetchone()
    return None if row is None else Doc(entry, *row)


def created(ledger: Ledger, entry: Entry) -> Document:
    """A record as its first entry says it. Raises FormatError."""
    return Document.created(operation(ledger, entry))


def step_operations(ledger: Ledger, ids: Iterable[EntryId]) -> list[Operation]:
    """The steps with those ids that can be read and are not disputed."""
    found = []
    sizes: dict[PublicKey, int] = {}
    for entry_id in ids:
        entry = ledger.entry(entry_id)
        if entry is None or not undisputed(ledger, entry, sizes):
            continue
        try:
            found.append(operation(ledger, entry))
        except FormatError:
            continue  # shown as malformed by `show`; it says nothing here
    return found


def undisputed(ledger: Ledger, entry: Entry, sizes: dict[PublicKey, int]) -> bool:
    """Whether an entry counts, as the store has it: `ledger.heads` may be behind what has arrived.

    sizes: of the logs already asked for; kept by the caller for as long as it looks at one moment.
    """
    if entry.key not in sizes:
        log = ledger.log(entry.key)
        sizes[entry.key] = log.size if log is not None else 0
    return entry.seq < sizes[entry.key] and ledger.ids_at(entry.key, [entry.seq]) == [(entry.seq, entry.id)]


def wanted_authors(query: Query, authority: Authority) -> frozenset[bytes] | None:
    """The keys of those whose records a query is about; None: everybody's."""
    if not (query.units or query.agencies or query.people):
        return None
    return frozenset(
        bytes(key)
        for key, standing in authority.standings.items()
        if (not query.units or standing.unit in query.units)
        and (not query.agencies or standing.agency in query.agencies)
        and (not query.people or any(name in standing.name.casefold() for name in query.people))
    )


# -- queries ------------------------------------------------------------------------------------------


def state_of(db: sqlite3.Connection, name: str) -> int:
    """A counter of the index."""
    return int(db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()[0])


def _search(
    db: sqlite3.Connection, query: Query, expression: str, now_ms: int, authors: frozenset[bytes] | None, after: int
) -> Iterator[tuple[Hit, bytes]]:
    """(hit, record) of each entry that fits, newest first."""
    where, values = _conditions(query, now_ms, authors, db)
    if not expression:
        if not where:
            return
        conditions = " AND ".join([*where, "d.arrival > ?"])
        sql = f"SELECT d.arrival, d.record FROM docs d WHERE {conditions}"  # noqa: S608  # values are bound
        for arrival, record in db.execute(f"{sql} ORDER BY d.arrival DESC", (*values, after)):
            yield Hit(arrival, EntryId(record)), record
        return
    column = "text" if expression == query.exact else "{text coarse}"
    sql = (
        "SELECT words.rowid, s.id, s.record, d.arrival, d.record FROM words"  # noqa: S608
        " LEFT JOIN steps s ON s.arrival = words.rowid"
        " LEFT JOIN docs d ON d.arrival = CASE WHEN s.id IS NULL THEN words.rowid ELSE s.doc END"
        " WHERE words MATCH ? AND words.rowid > ?"
        + "".join(f" AND {condition}" for condition in where)
        + " ORDER BY words.rowid DESC"
    )
    for arrival, step, on, doc, record in db.execute(sql, (f"{column} : ({expression})", after, *values)):
        if step is None:
            yield Hit(arrival, EntryId(record)), record
        elif doc is None:
            yield Hit(arrival, EntryId(step)), step  # its record is not here
        else:
            yield Hit(doc, EntryId(record), (EntryId(step),)), on


def _conditions(
    query: Query, now_ms: int, authors: frozenset[bytes] | None, db: sqlite3.Connection
) -> tuple[list[str], list[object]]:
    """SQL conditions on `docs d`, and their values."""
    where: list[str] = []
    values: list[object] = []

    def either(condition: str, items: Sequence[object]) -> None:
        if items:
            where.append("(" + " OR ".join([condition] * len(items)) + ")")
            values.extend(items)

    if query.types:
        where.append("(" + " OR ".join(["substr(d.type, 1, ?) = ?"] * len(query.types)) + ")")
        values += [part for name in query.types for part in (len(name), name)]
    either("d.region = ?", query.regions)
    either("EXISTS (SELECT 1 FROM items i WHERE i.doc = d.arrival AND i.substance = ?)", query.substances)
    for status in query.statuses:
        if status == "overdue":
            where.append("d.due_ms < ?")
            values.append(now_ms)
        else:
            where.append("instr(' ' || d.status || ' ', ' ' || ? || ' ') > 0")
            values.append(status)
    if query.since_ms is not None:
        where.append("d.at_ms >= ?")
        values.append(query.since_ms)
    if query.until_ms is not None:
        where.append("d.at_ms < ?")
        values.append(query.until_ms)
    if authors is not None:
        keys = ", ".join(["?"] * len(authors))
        where.append(f"d.author IN (SELECT number FROM authors WHERE key IN ({keys}))")  # noqa: S608
        values += sorted(authors)
    if query.near is not None:
        latitude, longitude, km = query.near
        db.create_function("metres", 4, distance_m, deterministic=True)
        around = km / 111.0 * 1.01
        wide = around / max(0.01, _cosine(latitude))
        where.append(
            "d.arrival IN (SELECT doc FROM spots WHERE north >= ? AND south <= ? AND east >= ? AND west <= ?"
            " AND metres(?, ?, south, west) <= ?)"
        )
        values += [latitude - around, latitude + around, longitude - wide, longitude + wide]
        values += [latitude, longitude, km * 1000]
    return where, values


def _cosine(latitude: float) -> float:
    return cos(radians(min(89.0, abs(latitude))))


def _groups(pairs: Iterable[tuple[bytes, bytes]]) -> list[frozenset[bytes]]:
    """The connected parts of a graph."""
    of: dict[bytes, set[bytes]] = {}
    for pair in pairs:
        small, large = sorted((of.get(record, {record}) for record in pair), key=len)
        large |= small
        of |= dict.fromkeys({*small, *pair}, large)
    return [frozenset(group) for group in {id(group): group for group in of.values()}.values()]


def _counted(group: Iterable[bytes], own: Container[bytes]) -> bytes:
    """The record that stands for an event in statistics. own: those by their counting agency."""
    return min(group, key=lambda record: (record not in own, record))
