"""The search projection: what an officer finds, in an SQLite file of its own (FTS5 and R*Tree).

It follows the ledger by arrival number, with its cursor in the same transaction as its rows. It can be deleted
at any time and is built again; it decides nothing, and it is never a reason to refuse an entry. A body that
cannot be read is counted as malformed and found by nothing.

| table     | a row for each      | holds                                                                       |
|-----------|---------------------|-----------------------------------------------------------------------------|
| `docs`    | record              | who wrote it, what queries narrow by, its document's state once a step has  |
|           |                     | changed it; `counts` 0 for a void, disputed or uncertified one: only found  |
| `steps`   | step                | who wrote it, and on which record; `doc`: its arrival, NULL while it is not |
|           |                     | here                                                                        |
| `words`   | record, step        | its words, coarse words, and tokens for places, drugs, phones and plates    |
| `items`   | seized item         | substance, unit, amount, mass in grams and nanograms above them             |
| `links`   | link that stands    | from, relation, to, by which agency                                         |
| `spots`   | record with a place | R*Tree                                                                      |
| `named`   | id that a step names| the step's arrival: asked when that id comes after the step                 |
| `consulted`| record that was read| in which consultation; `consultations` holds when, by which officer, account |
| `authors` | author of an entry  | its number in the other tables; the agency and unit by which they were read |

What an entry puts into them: `ledger/indexing.py`. The tables of `ledger/comparison.py` are in the same file.

A record's state is a function of the set of its entries that count (`ledger/document.py`). A step waits for its record
and for nothing else; one that comes after steps that name it is applied together with those. When an entry stops
counting, or counts again, or an author turns out to be of another agency, the records it touched are made again from
the ledger.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from keys.errors import FormatError, StorageError
from keys.signing import PublicKey
from ledger.authority import Authority
from ledger.comparison import SCHEMA as COMPARISON_SCHEMA
from ledger.document import Document, Operation
from ledger.held import Kept
from ledger.indexing import COUNTS, Arriving, Batch, add_doc, batch_of, doc_row, link_rows, status_of
from ledger.search import STEPS_MAX, Search, doc_of, operation, state_of, step_operations, undisputed
from ledger.store import Ledger
from ledger.workflow import WORKFLOWS, outline
from protocol.entry import EntryId

SCHEMA_VERSION: Final = 8
_BATCH_BYTES_MAX: Final = 16 * 1024 * 1024  # of bodies: what one step of `catch_up` holds in memory
_CHUNK: Final = 256  # entries read at once: at most 64 MiB of bodies
_DOCUMENTS_MAX: Final = 256  # held at once while steps are applied: some are megabytes
_RECORDS_BY: Final = tuple(  # that an author made or wrote a step on, from a seq on
    f"SELECT record FROM {table} JOIN authors ON number = author WHERE key = ? AND seq >= ?"  # noqa: S608
    for table in ("docs", "steps")
)
_HERE: Final = {  # whether an entry is, and as which arrival
    "docs": "SELECT arrival FROM docs WHERE author = ? AND seq = ? AND record = ?",
    "steps": "SELECT arrival FROM steps WHERE author = ? AND seq = ? AND id = ?",
}
_SCHEMA: Final = """
CREATE TABLE docs (
  arrival INTEGER PRIMARY KEY, record BLOB NOT NULL, author INTEGER NOT NULL, seq INTEGER NOT NULL,
  type TEXT NOT NULL, at_ms INTEGER NOT NULL, region TEXT NOT NULL, counting TEXT NOT NULL, status TEXT NOT NULL,
  due_ms INTEGER, retracted INTEGER NOT NULL, conflicts INTEGER NOT NULL, proposals INTEGER NOT NULL,
  counts INTEGER NOT NULL, state BLOB
) STRICT;
CREATE INDEX docs_author ON docs (author, seq);
CREATE INDEX docs_type ON docs (type, arrival);
CREATE INDEX docs_open ON docs (conflicts, proposals) WHERE conflicts > 0 OR proposals > 0;
CREATE TABLE steps (
  arrival INTEGER PRIMARY KEY, id BLOB NOT NULL, author INTEGER NOT NULL, seq INTEGER NOT NULL, type TEXT NOT NULL,
  record BLOB NOT NULL, doc INTEGER
) STRICT;
CREATE INDEX steps_record ON steps (record, arrival);
CREATE INDEX steps_author ON steps (author, seq);
CREATE TABLE items (
  doc INTEGER NOT NULL, n INTEGER NOT NULL, substance TEXT NOT NULL, unit TEXT NOT NULL, amount TEXT NOT NULL,
  mass_g INTEGER, mass_ng INTEGER, PRIMARY KEY (doc, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE links (
  source BLOB NOT NULL, relation TEXT NOT NULL, target BLOB NOT NULL, agency TEXT NOT NULL,
  PRIMARY KEY (source, relation, target, agency)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_target ON links (target);
CREATE VIRTUAL TABLE spots USING rtree (doc, south, north, west, east);
CREATE TABLE named (id BLOB NOT NULL, arrival INTEGER NOT NULL, PRIMARY KEY (id, arrival)) STRICT, WITHOUT ROWID;
CREATE TABLE authors (
  number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, agency TEXT NOT NULL, unit TEXT NOT NULL
) STRICT;
CREATE TABLE cuts (key BLOB PRIMARY KEY, size INTEGER NOT NULL, why TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE consultations (id BLOB PRIMARY KEY, time_ms INTEGER NOT NULL, officer BLOB, account TEXT NOT NULL)
STRICT, WITHOUT ROWID;
CREATE INDEX consultations_time ON consultations (time_ms);
CREATE TABLE consulted (record BLOB NOT NULL, id BLOB NOT NULL, PRIMARY KEY (record, id)) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (
  text, coarse, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO words (words, rank) VALUES ('automerge', 8);
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES ('cursor', 0), ('malformed', 0);
"""


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
        """Take up to `most` entries that have arrived since, fewer where they are large; returns how many.

        Cost: about 40 us an entry of 300 bytes, a third of it for its words.
        """
        with self.connection() as db:
            if state_of(db, "cursor") <= ledger.arrival():
                return self._take(db, ledger, most)
        self.start_again()  # it is of a store that was put back to an older copy
        with self.connection() as db:
            return self._take(db, ledger, most)

    def _take(self, db: sqlite3.Connection, ledger: Ledger, most: int) -> int:
        authority = self._recheck(db, ledger)
        cursor = state_of(db, "cursor")
        arrived = _arrived(ledger, cursor, most)
        if not arrived:
            return 0
        batch = batch_of(arrived, ledger)
        db.execute("BEGIN IMMEDIATE")
        sql = "UPDATE state SET value = ? WHERE name = 'cursor' AND value = ?"
        if not db.execute(sql, (arrived[-1].arrival + 1, cursor)).rowcount:
            db.execute("ROLLBACK")  # another process took the same entries meanwhile
            return len(arrived)
        numbers = _number(db, dict.fromkeys(item.key for item in arrived), authority)
        _forget(db, batch, numbers)
        _insert(db, batch, numbers)
        db.execute("UPDATE state SET value = value + ? WHERE name = 'malformed'", (batch.malformed,))
        _Applying(db, ledger).take_in(batch, arrived[0].arrival)
        db.execute("COMMIT")
        return len(arrived)

    def _recheck(self, db: sqlite3.Connection, ledger: Ledger) -> Authority:
        """Make again the records touched by entries that no longer count, or whose authors changed agency or unit.

        Returns the authority by which all is read now. What is read of the ledger later may be newer; then the next
        call finds that out.
        """
        authority = ledger.authority
        cuts = {bytes(key): (size, _why_cut(authority, key)) for key, size in ledger.cuts.items()}
        old_cuts = {bytes(key): (size, why) for key, size, why in db.execute("SELECT key, size, why FROM cuts")}
        if cuts == old_cuts and authority is self._authority:
            return authority
        rows = db.execute("SELECT key, agency, unit FROM authors")
        old_places = {PublicKey(key): (agency, unit) for key, agency, unit in rows}
        moved = [key for key, place in old_places.items() if _place(authority, key) != place]
        changed = [(bytes(key), 0) for key in moved]
        for key in cuts.keys() | old_cuts.keys():
            if cuts.get(key) != old_cuts.get(key):
                log = ledger.log(PublicKey(key))
                ends = [cut[0] for cut in (cuts.get(key), old_cuts.get(key)) if cut is not None]
                # another branch may count, up to the same place
                ends += [log.forked_at] if log is not None and log.forked_at is not None else []
                changed.append((key, min(ends)))
        found: set[bytes] = set()
        for key, size in changed:
            for sql in _RECORDS_BY:
                found |= {bytes(row[0]) for row in db.execute(sql, (key, size))}
        if changed:
            db.execute("BEGIN IMMEDIATE")
            places = [(*_place(authority, key), key) for key in moved]
            db.executemany("UPDATE authors SET agency = ?, unit = ? WHERE key = ?", places)
            db.execute("DELETE FROM cuts")
            db.executemany("INSERT INTO cuts VALUES (?, ?, ?)", [(key, *cut) for key, cut in cuts.items()])
            applying = _Applying(db, ledger)
            for record in sorted(found):
                applying.make_again(record)
            db.execute("COMMIT")
        self._authority = authority
        return authority

    # -- the file ---------------------------------------------------------------------------------

    def start_again(self) -> None:
        """Put an empty index in place of what is there; `catch_up` fills it. Whoever reads the old one may go on."""
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        with self.connection() as db:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            tables = _SCHEMA + COMPARISON_SCHEMA
            db.executescript(f"BEGIN IMMEDIATE; {tables} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        self._authority = None

    def _prepare(self) -> None:
        try:
            with self.connection() as db:
                version = int(db.execute("PRAGMA user_version").fetchone()[0])
                if version == SCHEMA_VERSION:
                    db.execute("SELECT count(*) FROM state").fetchone()
                    return
        except StorageError:
            pass  # damaged: replaced
        self.start_again()


def _arrived(ledger: Ledger, cursor: int, most: int) -> list[Kept]:
    """Up to `most` entries from arrival number `cursor` on, fewer where they are large."""
    found: list[Kept] = []
    size_bytes = 0
    while len(found) < most and size_bytes < _BATCH_BYTES_MAX:
        more = ledger.kept(cursor, min(_CHUNK, most - len(found)))
        if not more:
            break
        found += more
        cursor = more[-1].arrival + 1
        size_bytes += sum(len(item.body) for item in more if item.body is not None)
    return found


def _why_cut(authority: Authority, key: PublicKey) -> str:
    """What decides between void, disputed and uncertified: the log's end, as text."""
    if authority.of(key) is None:
        return "uncertified"
    cutoff = authority.cutoff(key)
    return "" if cutoff is None else f"{cutoff.seq} {cutoff.id.hex() if cutoff.id is not None else ''}"


def _place(authority: Authority, key: PublicKey) -> tuple[str, str]:
    """The agency and unit of a key, empty for one that is not certified."""
    standing = authority.of(key)
    return (standing.agency, standing.unit) if standing is not None else ("", "")


# -- operations ---------------------------------------------------------------------------------------


class _Applying:
    """Applies steps to the documents that they are on, those of one record in order of arrival."""

    def __init__(self, db: sqlite3.Connection, ledger: Ledger) -> None:
        self._db = db
        self._ledger = ledger
        self._documents: dict[bytes, tuple[int, str, Document]] = {}  # arrival, type, state
        self._sizes: dict[PublicKey, int] = {}

    def take_in(self, batch: Batch, first: int) -> None:
        """Apply new steps, and those that came before their record, which is new: it arrived as `first` or later."""
        self._tie(first)
        sql = (
            "SELECT record FROM docs d WHERE arrival >= ?"
            " AND EXISTS (SELECT 1 FROM steps s WHERE s.record = d.record AND s.arrival < d.arrival)"
        )
        late = [bytes(row[0]) for row in self._db.execute(sql, (first,))]
        apart = set(late)
        self._run(step for step in batch.steps if step.record not in apart)
        for record in late:
            self._run(self._steps(record))

    def _tie(self, first: int) -> None:
        """Let steps name the row of their record, where either arrived as `first` or later."""
        sql = "SELECT record FROM steps WHERE arrival >= ?"
        on = dict.fromkeys(record for (record,) in self._db.execute(sql, (first,)))
        docs = [found for record in on if (found := doc_of(self._db, self._ledger, record)) is not None]
        ties = [(found.arrival, found.entry.id, first) for found in docs]
        self._db.executemany("UPDATE steps SET doc = ? WHERE record = ? AND arrival >= ?", ties)
        sql = (
            "UPDATE steps SET doc = d.arrival FROM docs d"
            " WHERE d.arrival >= ? AND steps.record = d.record AND steps.arrival < ?"
        )
        self._db.execute(sql, (first, first))

    def make_again(self, record: bytes) -> None:
        """Make a record's rows again from the ledger, and apply its steps as if they came now."""
        self._make_row_again(record)
        self._run(self._steps(record))

    def _steps(self, record: bytes) -> list[Arriving]:
        """The steps on a record that are here, in order of arrival."""
        sql = "SELECT arrival, id FROM steps WHERE record = ? ORDER BY arrival"
        return [Arriving(arrival, EntryId(step), record, None) for arrival, step in self._db.execute(sql, (record,))]

    def _make_row_again(self, record: bytes) -> None:
        found = doc_of(self._db, self._ledger, record)
        if found is None:
            return  # it is not here
        entry = found.entry
        state = COUNTS if undisputed(self._ledger, entry, self._sizes) else self._ledger.status(entry)
        with suppress(FormatError):  # it could be read when it came
            batch = Batch()
            add_doc(batch, found.arrival, entry.seq, operation(self._ledger, entry), found.type, state)
            _delete_follows(self._db, found.arrival, record)
            self._db.execute("DELETE FROM docs WHERE arrival = ?", (found.arrival,))
            _insert(self._db, batch, {entry.key: found.author})

    def _run(self, steps: Iterable[Arriving]) -> None:
        for step in steps:
            op = step.op or self._operation(step.id)
            document = self._document(step.record) if op is not None else None
            if op is not None and document is not None:
                document.apply(op, self._namers(step))
            if len(self._documents) >= _DOCUMENTS_MAX:
                self._store_all()
        self._store_all()

    def _store_all(self) -> None:
        for arrival, type_name, document in self._documents.values():
            _store(self._db, self._ledger, arrival, type_name, document)
        self._documents.clear()

    def _operation(self, known: EntryId) -> Operation | None:
        """What an entry says, or None when it is disputed."""
        entry = self._ledger.entry(known)
        if entry is None or not undisputed(self._ledger, entry, self._sizes):
            return None
        try:
            return operation(self._ledger, entry)
        except FormatError:
            return None  # it could be read when it came

    def _namers(self, step: Arriving) -> Iterator[Operation]:
        """What the steps on the same record say that came earlier and name this one. Each is read when asked for."""
        sql = "SELECT s.id FROM named n JOIN steps s USING (arrival) WHERE n.id = ? AND arrival < ? AND s.record = ?"
        for row in self._db.execute(sql, (step.id, step.arrival, step.record)).fetchall():
            op = self._operation(EntryId(row[0]))
            if op is not None:
                yield op

    def _document(self, record: bytes) -> Document | None:
        """The record's state, or None while there is none: it is not here, or disputed, or cannot be read."""
        known = self._documents.get(record)
        if known is None:
            found = doc_of(self._db, self._ledger, record)
            if found is None or not found.counts:
                return None
            known = self._documents[record] = (found.arrival, found.type, found.document(self._ledger))
        return known[2]


def _store(db: sqlite3.Connection, ledger: Ledger, arrival: int, type_name: str, document: Document) -> None:
    """Write a document's state and what follows from it."""
    fields = document.fields()
    row, items, place = doc_row(fields, document.time_ms, document.agency)
    steps: list[Operation] = []
    if type_name in WORKFLOWS:
        sql = "SELECT id FROM steps WHERE record = ? ORDER BY arrival LIMIT ?"
        ids = [EntryId(row[0]) for row in db.execute(sql, (document.record, STEPS_MAX))]
        steps = step_operations(ledger, ids)
    words, due = outline(type_name, fields, steps)
    conflicts = len(document.conflicts())
    more = ["retracted"] * (document.retracted is not None) + ["conflict"] * (conflicts > 0)
    more += ["proposed"] * bool(document.proposals) + ["overfull"] * bool(document.left_out)
    db.execute(
        "UPDATE docs SET at_ms = ?, region = ?, counting = ?, status = ?, due_ms = ?, retracted = ?, conflicts = ?,"
        " proposals = ?, state = ? WHERE arrival = ?",
        (*row, status_of(fields, [*words, *more]), due, int(document.retracted is not None), conflicts,
         len(document.proposals), document.to_bytes(), arrival),
    )  # fmt: skip
    _delete_follows(db, arrival, document.record)
    batch = Batch(items=[(arrival, *item) for item in items], links=link_rows(document))
    if place is not None:
        batch.spots.append((arrival, place[0], place[0], place[1], place[1]))
    _insert(db, batch, {})


def _number(db: sqlite3.Connection, keys: Iterable[PublicKey], authority: Authority) -> dict[PublicKey, int]:
    """The numbers of authors; those who have none are given one."""
    found: dict[PublicKey, int] = {}
    for key in keys:
        row = db.execute("SELECT number FROM authors WHERE key = ?", (key,)).fetchone()
        if row is None:
            sql = "INSERT INTO authors (key, agency, unit) VALUES (?, ?, ?) RETURNING number"
            row = db.execute(sql, (key, *_place(authority, key))).fetchone()
        found[key] = row[0]
    return found


def _insert(db: sqlite3.Connection, batch: Batch, numbers: Mapping[PublicKey, int]) -> None:
    """Write the rows of a batch, in order of arrival. numbers: of their authors."""
    docs = ((arrival, id_, numbers[key], *rest) for arrival, id_, key, *rest in batch.docs)
    db.executemany("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", docs)
    steps = ((arrival, id_, numbers[key], *rest) for arrival, id_, key, *rest in batch.step_rows)
    db.executemany("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, NULL)", steps)
    db.executemany("INSERT INTO words (rowid, text, coarse) VALUES (?, ?, ?)", batch.words)
    db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", batch.items)
    db.executemany("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?)", batch.links)
    db.executemany("INSERT OR REPLACE INTO spots VALUES (?, ?, ?, ?, ?)", batch.spots)
    db.executemany("INSERT INTO named VALUES (?, ?)", batch.named)
    db.executemany("INSERT OR REPLACE INTO consultations VALUES (?, ?, ?, ?)", batch.consultations)
    db.executemany("INSERT OR REPLACE INTO consulted VALUES (?, ?)", batch.consulted)


def _forget(db: sqlite3.Connection, batch: Batch, numbers: Mapping[PublicKey, int]) -> None:
    """Delete what is here of entries that arrive again: their branch of a fork made way for another, and is back."""
    for table, author, seq, id_, words in batch.again:
        for (old,) in db.execute(_HERE[table], (numbers[author], seq, id_)).fetchall():
            db.execute("INSERT INTO words (words, rowid, text, coarse) VALUES ('delete', ?, ?, ?)", (old, *words))
            db.execute("DELETE FROM steps WHERE arrival = ?", (old,))  # without which its rows in `named` say nothing
            db.execute("DELETE FROM docs WHERE arrival = ?", (old,))
            db.execute("DELETE FROM items WHERE doc = ?", (old,))
            db.execute("DELETE FROM spots WHERE doc = ?", (old,))


def _delete_follows(db: sqlite3.Connection, arrival: int, record: bytes) -> None:
    """Delete what follows from a document."""
    db.execute("DELETE FROM items WHERE doc = ?", (arrival,))
    db.execute("DELETE FROM links WHERE source = ?", (record,))
    db.execute("DELETE FROM spots WHERE doc = ?", (arrival,))
