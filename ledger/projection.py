"""The search projection: what an officer finds, in an SQLite file of its own (FTS5 and R*Tree).

It follows the ledger by arrival number, with its cursor in the same transaction as its rows. It can be deleted
at any time and is built again; it decides nothing, and it is never a reason to refuse an entry. A body that
cannot be read is counted as malformed and found by nothing.

| table     | a row for each      | holds                                                                       |
|-----------|---------------------|-----------------------------------------------------------------------------|
| `entries` | record, step        | where it came, who wrote it, the record it is or is on                      |
| `words`   | the same            | its words, coarse words, and tokens for places, drugs, phones and plates    |
| `docs`    | record              | what queries narrow by, and its document's state once a step has changed it |
| `items`   | seized item         | substance, unit, amount, milligrams                                         |
| `links`   | link that stands    | from, relation, to, by which agency                                         |
| `spots`   | record with a place | R*Tree                                                                      |
| `ops`     | step                | its id, which other steps may name, and whether it has been dealt with      |
| `waiting` | step that waits     | the id that it waits for                                                    |

A record's state is a function of the set of its entries (`ledger/document.py`). When an entry stops counting, or an
author turns out to be of another agency, the records it touched are folded again from the ledger.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from keys.errors import FormatError, StorageError
from keys.signing import PublicKey
from ledger.authority import Authority
from ledger.document import LINK, Document, Operation, fold
from ledger.query import index_texts
from ledger.search import STEPS_MAX, Search, created, operation, state_of, step_operations
from ledger.store import Arrived, Ledger
from ledger.workflow import WORKFLOWS, decimal, outline, position, time_ms
from protocol.body import parse_record, parse_step
from protocol.codec import Value
from protocol.entry import Entry, EntryId

SCHEMA_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE entries (
  arrival INTEGER PRIMARY KEY, id BLOB NOT NULL, author BLOB NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL,
  kind TEXT NOT NULL, type TEXT NOT NULL, record BLOB NOT NULL
) STRICT;
CREATE INDEX entries_step ON entries (record, arrival) WHERE kind = 'step';
CREATE TABLE docs (
  arrival INTEGER PRIMARY KEY, record BLOB NOT NULL UNIQUE, author BLOB NOT NULL, type TEXT NOT NULL,
  at_ms INTEGER NOT NULL, region TEXT NOT NULL, counting TEXT NOT NULL, status TEXT NOT NULL, due_ms INTEGER,
  retracted INTEGER NOT NULL, conflicts INTEGER NOT NULL, proposals INTEGER NOT NULL, state BLOB
) STRICT;
CREATE INDEX docs_type ON docs (type, arrival);
CREATE INDEX docs_open ON docs (conflicts, proposals) WHERE conflicts > 0 OR proposals > 0;
CREATE TABLE items (
  doc INTEGER NOT NULL, n INTEGER NOT NULL, substance TEXT NOT NULL, unit TEXT NOT NULL, amount TEXT NOT NULL,
  mass_mg INTEGER, PRIMARY KEY (doc, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX items_substance ON items (substance, doc);
CREATE TABLE links (
  source BLOB NOT NULL, relation TEXT NOT NULL, target BLOB NOT NULL, agency TEXT NOT NULL,
  PRIMARY KEY (source, relation, target, agency)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_target ON links (target);
CREATE VIRTUAL TABLE spots USING rtree (doc, south, north, west, east);
CREATE TABLE ops (id BLOB PRIMARY KEY, done INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE waiting (
  missing BLOB NOT NULL, arrival INTEGER NOT NULL, PRIMARY KEY (missing, arrival)
) STRICT, WITHOUT ROWID;
CREATE TABLE authors (key BLOB PRIMARY KEY, agency TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cuts (key BLOB PRIMARY KEY, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (text, coarse, content = '', tokenize = 'unicode61 remove_diacritics 2');
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES ('cursor', 0), ('malformed', 0);
"""


@dataclass(slots=True)
class _Batch:
    """What one step of `catch_up` will write."""

    entries: list[tuple[object, ...]]
    words: list[tuple[int, str, str]]
    docs: list[tuple[object, ...]]
    items: list[tuple[object, ...]]
    links: list[tuple[object, ...]]
    spots: list[tuple[object, ...]]
    created: list[bytes]
    steps: list[Arrived]
    malformed: int = 0


class Projection(Search):
    """The index in one file; one of another version, or a damaged one, is replaced by an empty one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._authority: Authority | None = None  # as `_recheck` last saw it
        self._prepare()

    # -- following the ledger ---------------------------------------------------------------------

    def cursor(self) -> int:
        """The arrival number up to which entries are here."""
        with self.connection() as db:
            return state_of(db, "cursor")

    def catch_up(self, ledger: Ledger, most: int = 5000) -> int:
        """Take up to `most` entries that have arrived since; returns how many. Cost: about 50 us an entry."""
        with self.connection() as db:
            if state_of(db, "cursor") > ledger.arrival():  # of a store that was put back to an older copy
                self._start_again(db)
            self._recheck(db, ledger)
            cursor = state_of(db, "cursor")
            arrived, after = ledger.arrived(cursor, most)
            if not arrived:
                return 0
            batch = _batch(arrived, ledger)
            db.execute("BEGIN IMMEDIATE")
            sql = "UPDATE state SET value = ? WHERE name = 'cursor' AND value = ?"
            if not db.execute(sql, (after, cursor)).rowcount:
                db.execute("ROLLBACK")  # another process took the same entries meanwhile
                return len(arrived)
            db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch.entries)
            db.executemany("INSERT INTO words (rowid, text, coarse) VALUES (?, ?, ?)", batch.words)
            _insert_docs(db, batch.docs, batch.items, batch.links, batch.spots)
            db.execute("UPDATE state SET value = value + ? WHERE name = 'malformed'", (batch.malformed,))
            _Applying(db, ledger).apply_all(batch)
            db.execute("COMMIT")
            return len(arrived)

    @staticmethod
    def _start_again(db: sqlite3.Connection) -> None:
        """Empty the index, to be built from the beginning."""
        sql = "SELECT name, type FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        tables = [name for name, _ in db.execute(sql)]
        db.execute("BEGIN IMMEDIATE")
        for name in (name for name in tables if not name.startswith(("words_", "spots_"))):
            db.execute(f"DROP TABLE {name}")  # names from the database itself
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute("COMMIT")

    def _recheck(self, db: sqlite3.Connection, ledger: Ledger) -> None:
        """Fold again the records touched by entries that no longer count, or whose authors changed agency."""
        cuts = {bytes(key): ledger.heads.get(key).size for key, _, _ in ledger.forks()}
        old_cuts = dict(db.execute("SELECT key, size FROM cuts"))
        if cuts == old_cuts and ledger.authority is self._authority:
            return
        agencies = {bytes(key): standing.agency for key, standing in ledger.authority.standings.items()}
        old_agencies = dict(db.execute("SELECT key, agency FROM authors"))
        changed = [(key, 0) for key, agency in old_agencies.items() if agencies.get(key, "") != agency]
        changed += [(key, size) for key, size in cuts.items() if old_cuts.get(key) != size]
        found: set[bytes] = set()
        for key, size in changed:
            sql = "SELECT record FROM entries WHERE author = ? AND seq >= ?"
            found |= {bytes(row[0]) for row in db.execute(sql, (key, size))}
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM authors")
        db.executemany("INSERT INTO authors VALUES (?, ?)", agencies.items())
        db.executemany("INSERT OR REPLACE INTO cuts VALUES (?, ?)", cuts.items())
        for record in sorted(found):
            _refold(db, ledger, record)
        db.execute("COMMIT")
        self._authority = ledger.authority

    # -- the file ---------------------------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            with self.connection() as db:
                version = int(db.execute("PRAGMA user_version").fetchone()[0])
                if version == SCHEMA_VERSION:
                    db.execute("SELECT count(*) FROM state").fetchone()
                    return
        except (StorageError, sqlite3.Error):
            version = -1  # damaged: replaced below
        if version != 0:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        with self.connection() as db:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


# -- what an entry puts into the index ----------------------------------------------------------------


def _batch(arrived: Iterable[Arrived], ledger: Ledger) -> _Batch:
    batch = _Batch([], [], [], [], [], [], [], [])
    for item in arrived:
        entry = item.entry
        if entry.kind not in ("record", "step"):
            continue
        try:
            _index(item, ledger, batch)
        except FormatError:
            batch.malformed += 1
            if entry.kind == "step":
                batch.steps.append(item)  # others may name it
    return batch


def _index(item: Arrived, ledger: Ledger, batch: _Batch) -> None:
    """Add an entry's rows to the batch. Raises FormatError."""
    entry = item.entry
    if entry.body is None or entry.space is not None:
        if entry.kind == "step":
            batch.steps.append(item)
        return
    codes: list[str] = []
    if entry.kind == "record":
        record = parse_record(entry.body)
        name, target, fields = record.type, bytes(entry.id), record.fields
        batch.created.append(target)
        if not item.disputed:
            codes = _add_doc(batch, ledger, item.arrival, entry, name, fields)
    else:
        step = parse_step(entry.body)
        name, target, fields = step.step, bytes(step.record), step.fields
        batch.steps.append(item)
    batch.entries.append((item.arrival, entry.id, entry.key, entry.seq, entry.time_ms, entry.kind, name, target))
    exact, rough = index_texts([name, *_texts(fields)], codes)
    import_id = fields.get("import_id")
    batch.words.append((item.arrival, f"{exact} zqi{import_id}" if isinstance(import_id, str) else exact, rough))


def _add_doc(
    batch: _Batch, ledger: Ledger, arrival: int, entry: Entry, type_name: str, fields: Mapping[str, Value]
) -> list[str]:
    """The rows of a new record; returns the codes to index it by."""
    agency = _agency(ledger, entry.key)
    row, items, place = _doc_row(fields, entry.time_ms, agency)
    words, due = outline(type_name, fields, ())
    status = _status(fields, words)
    batch.docs.append((arrival, entry.id, entry.key, type_name, *row, status, due, 0, 0, 0, None))
    batch.items += [(arrival, *item) for item in items]
    if "links" in fields:
        document = created(ledger, entry)
        batch.links += _link_rows(document)
    if place is not None:
        batch.spots.append((arrival, place[0], place[0], place[1], place[1]))
    return [str(row[1]), *(str(item[1]) for item in items)]


def _doc_row(
    fields: Mapping[str, Value], written_ms: int, agency: str
) -> tuple[tuple[int, str, str], list[tuple[int, str, str, str, int | None]], tuple[float, float] | None]:
    """((at_ms, region, counting agency), items, place) of a record's fields."""
    window = fields.get("window")
    times = [fields.get(name) for name in ("seized_at", "activity_at", "at")]
    times.append(window.get("from") if isinstance(window, dict) else None)
    at_ms = next((found for value in times if (found := time_ms(value)) is not None), written_ms)
    region, counting = fields.get("region"), fields.get("counting_agency")
    where = fields.get("position")
    spot = fields.get("area")
    if where is None and isinstance(spot, dict):
        where = spot.get("point")
    items = []
    listed = fields.get("items")
    for number, item in enumerate(listed[:100] if isinstance(listed, list) else []):
        if isinstance(item, dict):
            amount = decimal(item.get("amount"))
            items.append((
                number, str(item.get("substance", ""))[:60], str(item.get("unit", ""))[:24],
                str(amount if amount is not None else 0), _milligrams(item, amount),
            ))  # fmt: skip
    head = (at_ms, region if isinstance(region, str) else "", counting if isinstance(counting, str) else agency)
    return head, items, position(where)


_MG: Final = {"kg": Decimal(1_000_000), "g": Decimal(1000), "mg": Decimal(1)}


def _milligrams(item: Mapping[str, Value], amount: Decimal | None) -> int | None:
    grams = decimal(item.get("mass_g"))
    if grams is None and amount is not None and item.get("unit") in _MG:
        grams = amount * _MG[str(item["unit"])] / 1000
    return int(grams * 1000) if grams is not None and 0 <= grams < 10**14 else None


def _status(fields: Mapping[str, Value], words: Iterable[str]) -> str:
    said = fields.get("status")
    return " ".join(dict.fromkeys([*([said.casefold()] if isinstance(said, str) else []), *words]))


def _link_rows(document: Document) -> list[tuple[bytes, str, bytes, str]]:
    rows = []
    for name, values in document.members(LINK).items():
        relation, _, target = name.rpartition(":")
        rows += [(bytes(document.record), relation, bytes.fromhex(target), said.agency) for said in values]
    return sorted(set(rows))


def _texts(value: Value) -> Iterator[str]:
    """All texts and numbers within a value."""
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


# -- operations ---------------------------------------------------------------------------------------


def _agency(ledger: Ledger, key: PublicKey) -> str:
    standing = ledger.authority.of(key)
    return standing.agency if standing is not None else ""


class _Applying:
    """Applies steps to the documents that they are on, each after those that it names; others are put to wait."""

    def __init__(self, db: sqlite3.Connection, ledger: Ledger) -> None:
        self._db = db
        self._ledger = ledger
        self._documents: dict[bytes, Document] = {}
        self._docs: dict[bytes, tuple[int, str]] = {}  # arrival, type
        self._any_wait = db.execute("SELECT 1 FROM waiting LIMIT 1").fetchone() is not None

    def apply_all(self, batch: "_Batch") -> None:
        """The batch's steps, and those that it releases, until nothing more can be applied."""
        self._db.executemany(
            "INSERT OR IGNORE INTO ops VALUES (?, ?)",
            [(bytes(step.entry.id), int(step.disputed)) for step in batch.steps],
        )
        queue = [step for record in batch.created for step in self._released(record)]
        queue += [step for step in batch.steps if not step.disputed]
        for step in queue:  # grows as steps release others
            self._apply(step)
            queue += self._released(bytes(step.entry.id))
        for record, document in self._documents.items():
            arrival, type_name = self._docs[record]
            _store(self._db, self._ledger, arrival, type_name, document)

    def _apply(self, step: Arrived) -> None:
        entry = step.entry
        try:
            op = operation(self._ledger, entry)
            record = bytes(parse_step(entry.body or b"").record)
        except FormatError:
            self._done(entry.id)  # it says nothing; others may name it
            return
        document = self._document(record)
        missing = record if document is None else self._missing(record, op)
        if document is None or missing is not None:
            self._db.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?)", (missing, step.arrival))
            self._any_wait = True
            return
        document.apply(op)
        self._done(entry.id)

    def _done(self, step: EntryId) -> None:
        self._db.execute("UPDATE ops SET done = 1 WHERE id = ?", (step,))

    def _missing(self, record: bytes, op: Operation) -> bytes | None:
        """An id that the step names and that has not been dealt with, or None."""
        for ref in op.refs:
            if ref == record:
                continue
            row = self._db.execute("SELECT done FROM ops WHERE id = ?", (ref,)).fetchone()
            if row is None:
                entry = self._ledger.entry(ref)
                if entry is not None and entry.kind != "step":
                    continue
            elif row[0]:
                continue
            return bytes(ref)
        return None

    def _document(self, record: bytes) -> Document | None:
        """The record's state, or None while there is none: it is not here, or disputed, or cannot be read."""
        if record not in self._documents:
            row = self._db.execute("SELECT arrival, type, state FROM docs WHERE record = ?", (record,)).fetchone()
            entry = self._ledger.entry(record) if row is not None else None
            if row is None or entry is None:
                return None
            self._docs[record] = (row[0], row[1])
            self._documents[record] = Document.from_bytes(row[2]) if row[2] else created(self._ledger, entry)
        return self._documents[record]

    def _released(self, known: bytes) -> list[Arrived]:
        """The steps that waited for this id."""
        if not self._any_wait:
            return []
        found: list[Arrived] = []
        for (arrival,) in self._db.execute("SELECT arrival FROM waiting WHERE missing = ?", (known,)).fetchall():
            found += [step for step in self._ledger.arrived(arrival, 1)[0] if not step.disputed]
        self._db.execute("DELETE FROM waiting WHERE missing = ?", (known,))
        return found


def _store(db: sqlite3.Connection, ledger: Ledger, arrival: int, type_name: str, document: Document) -> None:
    """Write a document's state and what follows from it."""
    fields = document.fields()
    row, items, place = _doc_row(fields, document.time_ms, document.agency)
    steps: list[Operation] = []
    if type_name in WORKFLOWS:
        sql = "SELECT id FROM entries WHERE record = ? AND kind = 'step' ORDER BY arrival LIMIT ?"
        ids = [EntryId(row[0]) for row in db.execute(sql, (document.record, STEPS_MAX))]
        steps = step_operations(ledger, ids)
    words, due = outline(type_name, fields, steps)
    conflicts = len(document.conflicts())
    more = ["retracted"] * (document.retracted is not None) + ["conflict"] * (conflicts > 0)
    more += ["proposed"] * bool(document.proposals)
    db.execute(
        "UPDATE docs SET at_ms = ?, region = ?, counting = ?, status = ?, due_ms = ?, retracted = ?, conflicts = ?,"
        " proposals = ?, state = ? WHERE arrival = ?",
        (*row, _status(fields, [*words, *more]), due, int(document.retracted is not None), conflicts,
         len(document.proposals), document.to_bytes(), arrival),
    )  # fmt: skip
    db.execute("DELETE FROM items WHERE doc = ?", (arrival,))
    db.execute("DELETE FROM links WHERE source = ?", (document.record,))
    db.execute("DELETE FROM spots WHERE doc = ?", (arrival,))
    spots = [] if place is None else [(arrival, place[0], place[0], place[1], place[1])]
    _insert_docs(db, [], [(arrival, *item) for item in items], _link_rows(document), spots)


def _insert_docs(
    db: sqlite3.Connection, docs: Iterable[Sequence[object]], items: Iterable[Sequence[object]],
    links: Iterable[Sequence[object]], spots: Iterable[Sequence[object]],
) -> None:  # fmt: skip
    db.executemany("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", docs)
    db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", items)
    db.executemany("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?)", links)
    db.executemany("INSERT OR REPLACE INTO spots VALUES (?, ?, ?, ?, ?)", spots)


def _refold(db: sqlite3.Connection, ledger: Ledger, record: bytes) -> None:
    """Make a record's rows again from the ledger."""
    row = db.execute("SELECT arrival, type FROM entries WHERE record = ? AND kind = 'record'", (record,)).fetchone()
    if row is None:
        return  # its steps wait for it
    arrival, type_name = row
    for table, column in (("docs", "arrival"), ("items", "doc"), ("spots", "doc")):
        db.execute(f"DELETE FROM {table} WHERE {column} = ?", (arrival,))  # noqa: S608  # fixed names
    db.execute("DELETE FROM links WHERE source = ?", (record,))
    entry = ledger.entry(record)
    if entry is None or entry.seq >= ledger.heads.get(entry.key).size:
        return
    batch = _Batch([], [], [], [], [], [], [], [])
    creation = operation(ledger, entry)
    _add_doc(batch, ledger, arrival, entry, type_name, creation.fields)
    _insert_docs(db, batch.docs, batch.items, batch.links, batch.spots)
    ids = [EntryId(row[0]) for row in db.execute(
        "SELECT id FROM entries WHERE record = ? AND kind = 'step' ORDER BY arrival", (record,)
    )]  # fmt: skip
    steps = step_operations(ledger, ids)
    if steps:
        known = {step.id for step in steps}
        held = [ref for step in steps for ref in step.refs if ref not in known and ledger.entry(ref) is not None]
        document, _ = fold(creation, steps, held)
        _store(db, ledger, arrival, type_name, document)
