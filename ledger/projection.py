"""The search projection: what an officer finds, in an SQLite file of its own (FTS5 and R*Tree).

It follows the ledger by arrival number, with its cursor in the same transaction as its rows. It can be deleted
at any time and is built again; it decides nothing, and it is never a reason to refuse an entry. A body that
cannot be read is counted as malformed and found by nothing.

| table     | a row for each      | holds                                                                       |
|-----------|---------------------|-----------------------------------------------------------------------------|
| `entries` | record, step        | where it came, who wrote it, the record it is or is on                      |
| `words`   | the same            | its words, coarse words, and tokens for places, drugs, phones and plates    |
| `docs`    | record              | what queries narrow by, and its document's state once a step has changed it;|
|           |                     | `counts` 0 for one that is void, disputed or uncertified: only found        |
| `items`   | seized item         | substance, unit, amount, mass in grams and nanograms above them             |
| `links`   | link that stands    | from, relation, to, by which agency                                         |
| `spots`   | record with a place | R*Tree                                                                      |
| `named`   | id that a step names| the step's arrival: asked when that id comes after the step                 |
| `consulted`| record that was read| in which consultation; `consultations` holds when, by which officer, account |
| `authors` | author of an entry  | the agency and unit by which those entries were read                        |

The tables of `ledger/comparison.py` are in the same file.

A record's state is a function of the set of its entries that count (`ledger/document.py`). A step waits for its record
and for nothing else; one that comes after steps that name it is applied together with those. When an entry stops
counting, or counts again, or an author turns out to be of another agency, the records it touched are made again from
the ledger.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from keys.errors import FormatError, StorageError
from keys.signing import PublicKey
from ledger.authority import Authority
from ledger.comparison import SCHEMA as COMPARISON_SCHEMA
from ledger.document import LINK, Document, Operation
from ledger.search import STEPS_MAX, Search, created, operation, operation_of, state_of, step_operations, undisputed
from ledger.store import Arrived, Ledger
from ledger.wording import index_texts
from ledger.workflow import WORKFLOWS, decimal, outline, position, time_ms
from protocol.body import parse_consultation, parse_record, parse_step
from protocol.codec import Value
from protocol.entry import Entry, EntryId

SCHEMA_VERSION: Final = 6
COUNTS: Final = "ok"  # the status of an entry that counts
_BATCH_BYTES_MAX: Final = 16 * 1024 * 1024  # of bodies: what one step of `catch_up` holds in memory
_CHUNK: Final = 256  # entries read at once: at most 64 MiB of bodies
_DOCUMENTS_MAX: Final = 256  # held at once while steps are applied: some are megabytes
_SCHEMA: Final = """
CREATE TABLE entries (
  arrival INTEGER PRIMARY KEY, id BLOB NOT NULL, author BLOB NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL,
  kind TEXT NOT NULL, type TEXT NOT NULL, record BLOB NOT NULL
) STRICT;
CREATE INDEX entries_step ON entries (record, arrival) WHERE kind = 'step';
CREATE INDEX entries_author ON entries (author, seq);
CREATE TABLE docs (
  arrival INTEGER PRIMARY KEY, record BLOB NOT NULL UNIQUE, author BLOB NOT NULL, type TEXT NOT NULL,
  at_ms INTEGER NOT NULL, region TEXT NOT NULL, counting TEXT NOT NULL, status TEXT NOT NULL, due_ms INTEGER,
  retracted INTEGER NOT NULL, conflicts INTEGER NOT NULL, proposals INTEGER NOT NULL, counts INTEGER NOT NULL,
  state BLOB
) STRICT;
CREATE INDEX docs_type ON docs (type, arrival);
CREATE INDEX docs_open ON docs (conflicts, proposals) WHERE conflicts > 0 OR proposals > 0;
CREATE TABLE items (
  doc INTEGER NOT NULL, n INTEGER NOT NULL, substance TEXT NOT NULL, unit TEXT NOT NULL, amount TEXT NOT NULL,
  mass_g INTEGER, mass_ng INTEGER, PRIMARY KEY (doc, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX items_substance ON items (substance, doc);
CREATE TABLE links (
  source BLOB NOT NULL, relation TEXT NOT NULL, target BLOB NOT NULL, agency TEXT NOT NULL,
  PRIMARY KEY (source, relation, target, agency)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_target ON links (target);
CREATE VIRTUAL TABLE spots USING rtree (doc, south, north, west, east);
CREATE TABLE named (id BLOB NOT NULL, arrival INTEGER NOT NULL, PRIMARY KEY (id, arrival)) STRICT, WITHOUT ROWID;
CREATE TABLE authors (key BLOB PRIMARY KEY, agency TEXT NOT NULL, unit TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cuts (key BLOB PRIMARY KEY, size INTEGER NOT NULL, why TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE consultations (id BLOB PRIMARY KEY, time_ms INTEGER NOT NULL, officer BLOB, account TEXT NOT NULL)
STRICT, WITHOUT ROWID;
CREATE INDEX consultations_time ON consultations (time_ms);
CREATE TABLE consulted (record BLOB NOT NULL, id BLOB NOT NULL, PRIMARY KEY (record, id)) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (text, coarse, content = '', tokenize = 'unicode61 remove_diacritics 2');
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES ('cursor', 0), ('malformed', 0);
"""


class _Step(NamedTuple):
    """A step that arrived. op None: it has not been read yet."""

    arrival: int
    id: EntryId
    record: bytes
    op: Operation | None


@dataclass(slots=True)
class _Batch:
    """What one step of `catch_up` will write."""

    entries: list[tuple[object, ...]] = field(default_factory=list)
    words: list[tuple[int, str, str]] = field(default_factory=list)
    docs: list[tuple[object, ...]] = field(default_factory=list)
    items: list[tuple[object, ...]] = field(default_factory=list)
    links: list[tuple[bytes, str, bytes, str]] = field(default_factory=list)
    spots: list[tuple[object, ...]] = field(default_factory=list)
    named: list[tuple[EntryId, int]] = field(default_factory=list)
    steps: list[_Step] = field(default_factory=list)  # that count
    consultations: list[tuple[object, ...]] = field(default_factory=list)
    consulted: list[tuple[EntryId, EntryId]] = field(default_factory=list)  # record, consultation
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
        """Take up to `most` entries that have arrived since, fewer where they are large; returns how many.

        Cost: about 90 us an entry of 300 bytes, half of it for its words.
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
        arrived, after = _arrived(ledger, cursor, most)
        if not arrived:
            return 0
        batch = _batch(arrived, ledger)
        db.execute("BEGIN IMMEDIATE")
        sql = "UPDATE state SET value = ? WHERE name = 'cursor' AND value = ?"
        if not db.execute(sql, (after, cursor)).rowcount:
            db.execute("ROLLBACK")  # another process took the same entries meanwhile
            return len(arrived)
        _forget(db, batch)
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch.entries)
        db.executemany("INSERT INTO words (rowid, text, coarse) VALUES (?, ?, ?)", batch.words)
        db.executemany("INSERT INTO named VALUES (?, ?)", batch.named)
        db.executemany("INSERT OR REPLACE INTO consultations VALUES (?, ?, ?, ?)", batch.consultations)
        db.executemany("INSERT OR REPLACE INTO consulted VALUES (?, ?)", batch.consulted)
        _insert_docs(db, batch)
        db.execute("UPDATE state SET value = value + ? WHERE name = 'malformed'", (batch.malformed,))
        places = [(key, *_place(authority, key)) for key in {item.entry.key for item in arrived}]
        db.executemany("INSERT OR IGNORE INTO authors VALUES (?, ?, ?)", places)
        _Applying(db, ledger).take_in(batch)
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
        old_places = {PublicKey(key): (agency, unit) for key, agency, unit in db.execute("SELECT * FROM authors")}
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
            sql = "SELECT record FROM entries WHERE author = ? AND seq >= ?"
            found |= {bytes(row[0]) for row in db.execute(sql, (key, size))}
        if changed:
            db.execute("BEGIN IMMEDIATE")
            places = [(key, *_place(authority, key)) for key in moved]
            db.executemany("INSERT OR REPLACE INTO authors VALUES (?, ?, ?)", places)
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


# -- what an entry puts into the index ----------------------------------------------------------------


def _arrived(ledger: Ledger, cursor: int, most: int) -> tuple[list[Arrived], int]:
    """Up to `most` entries from arrival number `cursor` on, fewer where they are large; and the cursor after them."""
    found: list[Arrived] = []
    size_bytes = 0
    while len(found) < most and size_bytes < _BATCH_BYTES_MAX:
        more, cursor = ledger.arrived(cursor, min(_CHUNK, most - len(found)))
        if not more:
            break
        found += more
        size_bytes += sum(item.entry.body_size for item in more)
    return found, cursor


def _batch(arrived: Iterable[Arrived], ledger: Ledger) -> _Batch:
    batch = _Batch()
    for item in arrived:
        kind = item.entry.kind
        readable = item.entry.body is not None and item.entry.space is None
        try:
            if readable and kind in ("record", "step"):
                _index(item, ledger, batch)
            elif readable and kind == "consultation":
                _index_consultation(item.entry, batch)
        except FormatError:
            batch.malformed += 1
    return batch


def _index_consultation(entry: Entry, batch: _Batch) -> None:
    """Add the rows of who read what to the batch. Raises FormatError."""
    read = parse_consultation(entry.body or b"")
    batch.consultations.append((entry.id, entry.time_ms, read.officer, read.user))
    batch.consulted += [(record, entry.id) for record in read.records]


def _index(item: Arrived, ledger: Ledger, batch: _Batch) -> None:
    """Add an entry's rows to the batch. Raises FormatError."""
    entry = item.entry
    codes: list[str] = []
    if entry.kind == "record":
        record = parse_record(entry.body or b"")
        name, target, fields = record.type, bytes(entry.id), record.fields
        state = ledger.status(entry) if item.disputed else COUNTS
        codes = _add_doc(batch, ledger, item.arrival, operation_of(ledger, entry, "", fields), name, state)
    else:
        step = parse_step(entry.body or b"")
        name, target, fields = step.step, bytes(step.record), step.fields
        op = operation_of(ledger, entry, name, fields, step.acts)
        batch.named += [(ref, item.arrival) for ref in op.refs if ref != target]
        batch.steps += [] if item.disputed else [_Step(item.arrival, entry.id, target, op)]
    batch.entries.append((item.arrival, entry.id, entry.key, entry.seq, entry.time_ms, entry.kind, name, target))
    texts = [name]
    _add_texts(fields.values(), texts)
    exact, rough = index_texts(texts, codes)
    import_id = fields.get("import_id")
    batch.words.append((item.arrival, f"{exact} zqi{import_id}" if isinstance(import_id, str) else exact, rough))


def _add_doc(
    batch: _Batch, ledger: Ledger, arrival: int, creation: Operation, type_name: str, state: str
) -> list[str]:  # fmt: skip
    """The rows of a new record; returns the codes to index it by. state: as `Ledger.status`.

    One that does not count is found like others, by its state too; it has no document, due time or links.
    """
    fields = creation.fields
    row, items, place = _doc_row(fields, creation.time_ms, creation.agency)
    words, due = outline(type_name, fields, ()) if state == COUNTS else ((state,), None)
    status, counts = _status(fields, words), int(state == COUNTS)
    batch.docs.append((arrival, creation.id, creation.author, type_name, *row, status, due, 0, 0, 0, counts, None))
    batch.items += [(arrival, *item) for item in items]
    if "links" in fields and counts:
        batch.links += _link_rows(Document.created(creation))
    if place is not None:
        batch.spots.append((arrival, place[0], place[0], place[1], place[1]))
    return [row[1], *(item[1] for item in items)]


_Item: TypeAlias = "tuple[int, str, str, str, int | None, int | None]"


def _doc_row(
    fields: Mapping[str, Value], written_ms: int, agency: str
) -> tuple[tuple[int, str, str], list[_Item], tuple[float, float] | None]:
    """((at_ms, region, counting agency), items, place) of a record's fields."""
    window = fields.get("window")
    times = [fields.get(name) for name in ("seized_at", "activity_at", "at")]
    times.append(window.get("from") if isinstance(window, dict) else None)
    at_ms = next((found for value in times if value and (found := time_ms(value)) is not None), written_ms)
    region, counting = fields.get("region"), fields.get("counting_agency")
    where = fields.get("position")
    spot = fields.get("area")
    if where is None and isinstance(spot, dict):
        where = spot.get("point")
    listed = fields.get("items")
    items: list[_Item] = [
        _item(number, item)
        for number, item in enumerate(listed[:100] if isinstance(listed, list) else [])
        if isinstance(item, dict)
    ]
    head = (at_ms, region if isinstance(region, str) else "", counting if isinstance(counting, str) else agency)
    return head, items, position(where)


_MASS_UNITS: Final = {"kg": 3, "g": 0, "mg": -3}  # powers of ten, grams
_AMOUNT_MAX: Final = Decimal(10**12)
_GRAMS_MAX: Final = 10**10  # 10,000 tonnes: so many items of it still add up within 64 bits


def _item(number: int, item: Mapping[str, Value]) -> _Item:
    """(number, substance, unit, amount, whole grams, nanograms above them) of a seized item.

    An amount that is no decimal from 0 to 10^12 with at most 9 places counts as 0.
    """
    unit = item.get("unit")
    amount = decimal(item.get("amount"))
    if amount is not None and not (0 <= amount < _AMOUNT_MAX and _places(amount) <= 9):
        amount = None
    grams = decimal(item.get("mass_g"))
    if grams is None and amount is not None and isinstance(unit, str) and unit in _MASS_UNITS:
        grams = amount.scaleb(_MASS_UNITS[unit])
    mass: tuple[int, int] | tuple[None, None] = (None, None)
    if grams is not None and 0 <= grams < _GRAMS_MAX:
        mass = divmod(int(grams.scaleb(9)), 10**9)
    substance = item.get("substance", "")
    return (number, str(substance)[:60], str(unit or "")[:24], "0" if amount is None else f"{amount:f}", *mass)


def _places(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _status(fields: Mapping[str, Value], words: Iterable[str]) -> str:
    said = fields.get("status")
    return " ".join(dict.fromkeys([*([said.casefold()] if isinstance(said, str) else []), *words]))


def _link_rows(document: Document) -> list[tuple[bytes, str, bytes, str]]:
    rows = []
    for name, values in document.members(LINK).items():
        relation, _, target = name.rpartition(":")
        rows += [(bytes(document.record), relation, bytes.fromhex(target), said.agency) for said in values]
    return sorted(set(rows))


def _add_texts(values: Iterable[Value], texts: list[str]) -> None:
    """Add all texts and numbers within some values."""
    for value in values:
        kind = type(value)
        if kind is str:
            texts.append(value)  # type: ignore[arg-type]
        elif kind is dict:
            _add_texts(value.values(), texts)  # type: ignore[union-attr]
        elif kind is list:
            _add_texts(value, texts)  # type: ignore[arg-type]
        elif kind is int:
            texts.append(str(value))


# -- operations ---------------------------------------------------------------------------------------


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


class _Applying:
    """Applies steps to the documents that they are on, those of one record in order of arrival."""

    def __init__(self, db: sqlite3.Connection, ledger: Ledger) -> None:
        self._db = db
        self._ledger = ledger
        self._documents: dict[bytes, tuple[int, str, Document]] = {}  # arrival, type, state
        self._sizes: dict[PublicKey, int] = {}

    def take_in(self, batch: _Batch) -> None:
        """Apply new steps, and those that came before their record, which is new."""
        sql = "SELECT 1 FROM entries WHERE record = ? AND kind = 'step' AND arrival < ? LIMIT 1"
        docs = [(bytes(record), arrival) for arrival, record, *_ in batch.docs if isinstance(record, bytes)]
        late = [record for record, arrival in docs if self._db.execute(sql, (record, arrival)).fetchone()]
        if late:
            apart = set(late)
            self._run(step for step in batch.steps if step.record not in apart)
            for record in late:
                self._run(self._steps(record))
        else:
            self._run(batch.steps)

    def make_again(self, record: bytes) -> None:
        """Make a record's rows again from the ledger, and apply its steps as if they came now."""
        self._make_row_again(record)
        self._run(self._steps(record))

    def _steps(self, record: bytes) -> list[_Step]:
        """The steps on a record that are here, in order of arrival."""
        sql = "SELECT arrival, id FROM entries WHERE record = ? AND kind = 'step' ORDER BY arrival"
        return [_Step(arrival, EntryId(step), record, None) for arrival, step in self._db.execute(sql, (record,))]

    def _make_row_again(self, record: bytes) -> None:
        entry = self._ledger.entry(record)
        sql = "SELECT arrival, type FROM entries WHERE author = ? AND seq = ? AND id = ? AND kind = 'record'"
        row = None if entry is None else self._db.execute(sql, (entry.key, entry.seq, record)).fetchone()
        if entry is None or row is None:
            return  # it is not here
        arrival, type_name = row
        _delete_follows(self._db, arrival, record)
        self._db.execute("DELETE FROM docs WHERE arrival = ?", (arrival,))
        state = COUNTS if undisputed(self._ledger, entry, self._sizes) else self._ledger.status(entry)
        with suppress(FormatError):  # it could be read when it came
            batch = _Batch()
            _add_doc(batch, self._ledger, arrival, operation(self._ledger, entry), type_name, state)
            _insert_docs(self._db, batch)

    def _run(self, steps: Iterable[_Step]) -> None:
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

    def _namers(self, step: _Step) -> Iterator[Operation]:
        """What the steps on the same record say that came earlier and name this one. Each is read when asked for."""
        sql = "SELECT e.id FROM named n JOIN entries e USING (arrival) WHERE n.id = ? AND arrival < ? AND e.record = ?"
        for row in self._db.execute(sql, (step.id, step.arrival, step.record)).fetchall():
            op = self._operation(EntryId(row[0]))
            if op is not None:
                yield op

    def _document(self, record: bytes) -> Document | None:
        """The record's state, or None while there is none: it is not here, or disputed, or cannot be read."""
        found = self._documents.get(record)
        if found is None:
            sql = "SELECT arrival, type, state FROM docs WHERE record = ? AND counts"
            row = self._db.execute(sql, (record,)).fetchone()
            entry = self._ledger.entry(record) if row is not None else None
            if row is None or entry is None:
                return None
            document = Document.from_bytes(row[2]) if row[2] else created(self._ledger, entry)
            found = self._documents[record] = (row[0], row[1], document)
        return found[2]


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
    more += ["proposed"] * bool(document.proposals) + ["overfull"] * bool(document.left_out)
    db.execute(
        "UPDATE docs SET at_ms = ?, region = ?, counting = ?, status = ?, due_ms = ?, retracted = ?, conflicts = ?,"
        " proposals = ?, state = ? WHERE arrival = ?",
        (*row, _status(fields, [*words, *more]), due, int(document.retracted is not None), conflicts,
         len(document.proposals), document.to_bytes(), arrival),
    )  # fmt: skip
    _delete_follows(db, arrival, document.record)
    batch = _Batch(items=[(arrival, *item) for item in items], links=_link_rows(document))
    if place is not None:
        batch.spots.append((arrival, place[0], place[0], place[1], place[1]))
    _insert_docs(db, batch)


def _insert_docs(db: sqlite3.Connection, batch: _Batch) -> None:
    db.executemany("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", batch.docs)
    db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", batch.items)
    db.executemany("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?)", batch.links)
    db.executemany("INSERT OR REPLACE INTO spots VALUES (?, ?, ?, ?, ?)", batch.spots)


def _forget(db: sqlite3.Connection, batch: _Batch) -> None:
    """Delete what is here of entries that arrive again: their branch of a fork made way for another, and is back."""
    sql = "SELECT arrival FROM entries WHERE author = ? AND seq = ? AND id = ?"
    for row, (_, *texts) in zip(batch.entries, batch.words, strict=True):
        _, entry_id, author, seq, *_ = row
        for (old,) in db.execute(sql, (author, seq, entry_id)).fetchall():
            db.execute("INSERT INTO words (words, rowid, text, coarse) VALUES ('delete', ?, ?, ?)", (old, *texts))
            db.execute("DELETE FROM entries WHERE arrival = ?", (old,))  # without which its rows in `named` say nothing
            db.execute("DELETE FROM docs WHERE arrival = ?", (old,))
            db.execute("DELETE FROM items WHERE doc = ?", (old,))
            db.execute("DELETE FROM spots WHERE doc = ?", (old,))


def _delete_follows(db: sqlite3.Connection, arrival: int, record: bytes) -> None:
    """Delete what follows from a document."""
    db.execute("DELETE FROM items WHERE doc = ?", (arrival,))
    db.execute("DELETE FROM links WHERE source = ?", (record,))
    db.execute("DELETE FROM spots WHERE doc = ?", (arrival,))
