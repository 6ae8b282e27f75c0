"""Where an audit reads entries from: a bundle, or one view of a store. Used by `ledger/audit.py`.

`read` makes the checks that depend on which it is, and hands stretches to the audit; everything else is asked of both
in the same words (`ledger/audit_state.Source`).
"""

from collections.abc import Iterable, Iterator
from io import SEEK_END
from typing import BinaryIO, Final

from keys.errors import FormatError, NetworkMismatchError, RemoteError, UsageError
from keys.signing import PublicKey
from ledger.audit_checkpoint import Bodies
from ledger.audit_damage import Undamaged
from ledger.audit_finding import Findings
from ledger.audit_index import IndexAudit, read_branch, read_place
from ledger.audit_log import Logs, fork_place
from ledger.audit_state import Audit
from ledger.audit_stretch import STRETCH, Checked, CheckedRun, Stretch
from ledger.layout import FORMAT, INDEXED_KINDS, PLACE, U64
from ledger.storage import Reader
from protocol.bundle import read_bundle
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.codec import decode, unpack_row
from protocol.entry import EntryId, read_row
from protocol.frame import Run, decode_frame
from protocol.limits import MESSAGE_BYTES_MAX
from protocol.message import Fork, Frame, read_fork

_CHECKPOINT_ROW: Final = b"\x96\xaacheckpoint"  # how the row of a checkpoint begins
_CHECKPOINT_KEYS: Final = b"checkpoint\x00"  # and its key in table kinds


# -- a bundle -----------------------------------------------------------------------------------------


class BundleSource:
    """A bundle, read as often as it takes."""

    _logs: Logs | None = None  # once it was read: tells branches apart

    def __init__(self, stream: BinaryIO, charter: Charter) -> None:
        if not stream.seekable():
            raise UsageError("a bundle is audited in several passes; save it to a file first")
        self._stream = stream
        self._start = stream.tell()
        self._charter = charter

    def read(self, audit: Audit) -> None:
        """Checks 2 to 11."""
        forks: list[Fork] = []
        why = ""
        bodies = Bodies()
        try:
            for message in self._read():
                if isinstance(message, Fork):
                    forks.append(message)
                else:
                    self._take_checkpoints(message.frame, bodies)
        except RemoteError as error:
            why = f"{error}"
            kind = "network" if isinstance(error, NetworkMismatchError) else "container"
            means = "what follows, or all of it, is not what was exported"
            audit.findings.fault(kind, None, None, None, why, "a whole bundle of the charter's network", means)
        audit.want(bodies)
        for fork in forks:
            audit.logs.fork(fork)
        size = max(1, self._stream.seek(0, SEEK_END) - self._start)
        frames = (message.frame for message in self._messages() if isinstance(message, Frame))
        for number, (frame, result) in enumerate(audit.spread(frames)):
            assert isinstance(frame, bytes)
            assert not isinstance(result, Checked)
            self._frame(number, frame, result, audit)
            audit.told((self._stream.tell() - self._start) / size)
        if any(log.asides for log in audit.logs.logs.values()):
            audit.logs.sort_out(self._runs())
        self._logs = audit.logs

    def _frame(self, number: int, frame: bytes, result: "list[CheckedRun] | None", audit: Audit) -> None:
        runs: tuple[Run, ...] = ()
        if result is None:
            try:
                runs = decode_frame(frame)
            except FormatError as error:
                found, means = f"frame {number} of the bundle cannot be read ({error})", "its entries are lost"
                audit.findings.fault("format", None, None, None, found, "a frame in its canonical form", means)
                return
        for at, run in enumerate(result or ()):
            if not audit.take(Stretch(run.key, run.seq, run.prev, ()), run.checked):
                runs = runs or decode_frame(frame)
                whole = run.checked is not None and run.checked.signatures == len(runs[at].rows)
                audit.logs.run(runs[at], signed=whole)

    def first_look(self, bodies: Bodies) -> None:
        """See Source."""
        for message in self._messages():
            if isinstance(message, Frame):
                self._take_checkpoints(message.frame, bodies)

    @staticmethod
    def _take_checkpoints(frame: bytes, bodies: Bodies) -> None:
        for run in _runs_with_checkpoints(frame):
            for row in run.rows:
                if row.startswith(_CHECKPOINT_ROW) and (body := _body_of(row)) is not None:
                    bodies.take(run.key, body)

    def finish(self, logs: Logs) -> None:
        """See Source: nothing."""

    def rows(self, keys: Iterable[PublicKey]) -> Iterator[tuple[PublicKey, int, EntryId | None, EntryId, bytes]]:
        """See Source. Logs come in the order of the bundle."""
        wanted = set(keys)
        for run in self._runs():
            if run.key in wanted:
                yield from _rows_of(run)

    def ids_at(self, places: set[tuple[PublicKey, int]]) -> dict[tuple[PublicKey, int], EntryId]:
        """See Source."""
        found = {} if self._logs is None else self._logs.ids_on_branches(places)
        places = places - set(found)
        seqs: dict[PublicKey, list[int]] = {}
        for key, seq in places:
            seqs.setdefault(key, []).append(seq)
        for run in self._runs() if places else ():
            if any(run.seq <= seq < run.end for seq in seqs.get(run.key, ())):
                for key, seq, _, known, _ in _rows_of(run):
                    if (key, seq) in places and (self._logs is None or known not in self._logs.log(key).asides):
                        found.setdefault((key, seq), known)
        return {place: known for place, known in found.items() if known is not None}

    def marks(self) -> Iterator[tuple[PublicKey, int, EntryId, bytes]]:
        """See Source."""
        found: dict[tuple[PublicKey, int], tuple[EntryId, bytes]] = {}
        for message in self._messages():
            for run in _runs_with_checkpoints(message.frame) if isinstance(message, Frame) else ():
                for key, seq, _, known, row in _rows_of(run):
                    if row.startswith(_CHECKPOINT_ROW) and (body := _body_of(row)) is not None:
                        found.setdefault((key, seq), (known, body))
        for (key, seq), (known, body) in sorted(found.items()):
            yield key, seq, known, body

    def _read(self) -> Iterator[Frame | Fork]:
        self._stream.seek(self._start)
        yield from read_bundle(self._stream, self._charter.network_id)

    def _messages(self) -> Iterator[Frame | Fork]:
        """The messages up to where the bundle can be read."""
        try:
            yield from self._read()
        except RemoteError:
            return  # reported in the first pass

    def _runs(self) -> Iterator[Run]:
        for message in self._messages():
            try:
                yield from decode_frame(message.frame) if isinstance(message, Frame) else ()
            except FormatError:
                continue  # reported in the first pass


def _runs_with_checkpoints(frame: bytes) -> tuple[Run, ...]:
    """The runs of a frame if it may hold checkpoints. A compressed one is always looked into."""
    if frame[:1] == b"\x00" and _CHECKPOINT_ROW not in frame:
        return ()
    try:
        return tuple(run for run in decode_frame(frame) if any(row.startswith(_CHECKPOINT_ROW) for row in run.rows))
    except FormatError:
        return ()


def _rows_of(run: Run) -> Iterator[tuple[PublicKey, int, EntryId | None, EntryId, bytes]]:
    prev = run.prev
    for seq, row in enumerate(run.rows, run.seq):
        try:
            known = read_row(row, run.key, seq, prev).id
        except FormatError:
            return  # reported elsewhere
        yield run.key, seq, prev, known, row
        prev = known


def _body_of(row: bytes) -> bytes | None:
    try:
        fields = unpack_row(row)
    except FormatError:
        return None
    return fields[4] if len(fields) == 6 and isinstance(fields[4], bytes) else None


# -- a store ------------------------------------------------------------------------------------------


class StoreSource:
    """One view of a store."""

    _logs: Logs | None = None  # once it was read: tells branches apart

    def __init__(self, view: Reader, charter: Charter) -> None:
        self._view = Undamaged(view)
        self._charter = charter
        self._index = IndexAudit(self._view, Findings())

    def read(self, audit: Audit) -> None:
        """Checks 1 to 11, and what can be said of the tables by then."""
        view, findings = self._view, audit.findings
        _check_meta(view, self._charter, findings)
        self._index = index = IndexAudit(view, findings)
        bodies = Bodies()
        self.first_look(bodies)
        audit.want(bodies)
        for at, raw in view.scan("forks"):
            _check_stored_fork(at, raw, audit)
        arrived = view.get("meta", b"arrival") or b""
        total = max(1, U64.unpack(arrived)[0]) if len(arrived) == U64.size else 1
        odd: list[tuple[bytes, bytes]] = []
        for stretch, checked in audit.spread(self._stretches(odd)):
            assert isinstance(stretch, Stretch)
            assert stretch.number is not None
            assert not isinstance(checked, list)
            ids = [value[:32] for value in stretch.rows] if checked is None else checked.ids
            index.places(stretch.key, stretch.number, stretch.seq, ids)
            if audit.take(stretch, checked):
                for item in () if checked is None else checked.special:
                    if item.fact.kind in INDEXED_KINDS:
                        index.kind(stretch.key, stretch.number, item.seq, item.fact.id, item.fact.kind)
            else:
                self._one_by_one(stretch, stretch.number, audit)
            audit.told(audit.logs.entries / total)
        for raw_place, value in odd:
            place = read_place(raw_place)
            key = None if place is None else index.keys.get(place[0])
            found, means = f"table rows holds {raw_place.hex()[:64]}", "it cannot be checked"
            findings.fault("index", key, None, value[:32], found, "a row of a known log", means)
        index.lost()
        for known, value in view.scan("branches"):
            _check_branch(index, known, value, audit)
        self._logs = audit.logs

    def _one_by_one(self, stretch: Stretch, number: int, audit: Audit) -> None:
        for seq, value in enumerate(stretch.rows, stretch.seq):
            kind = audit.logs.stored_row(stretch.key, seq, EntryId(value[:32]), value[32:])
            if kind in INDEXED_KINDS:
                self._index.kind(stretch.key, number, seq, value[:32], kind)

    def _stretches(self, odd: list[tuple[bytes, bytes]]) -> Iterator[Stretch]:
        """The rows, cut where another log begins, where one is missing, and at every STRETCH of a log."""
        at, prev, key, number = 0, None, PublicKey(b""), -1
        rows: list[bytes] = []
        expected = b""
        for raw_place, value in self._view.scan("rows"):
            if raw_place != expected or len(value) < 32:
                if rows:
                    yield Stretch(key, at, prev, rows, number)
                rows, prev, expected = [], None, b""
                place = read_place(raw_place)
                owner = None if place is None else self._index.keys.get(place[0])
                if place is None or owner is None or len(value) < 32:
                    odd.append((raw_place, value))
                    continue
                key, (number, at) = owner, place
            rows.append(value)
            following = at + len(rows)
            expected = PLACE.pack(number, following)
            if following % STRETCH == 0:
                yield Stretch(key, at, prev, rows, number)
                at, prev, rows = following, EntryId(value[:32]), []
        if rows:
            yield Stretch(key, at, prev, rows, number)

    def finish(self, logs: Logs) -> None:
        """Check 14, once it is known what counts."""
        self._index.finish({log.key: log.recomputed() for log in logs.logs.values()})

    def first_look(self, bodies: Bodies) -> None:
        """See Source. Checkpoints that table kinds leaves out are a fault of that table, and are not compared."""
        for key, _, _, body in self.marks():
            bodies.take(key, body)

    def rows(self, keys: Iterable[PublicKey]) -> Iterator[tuple[PublicKey, int, EntryId | None, EntryId, bytes]]:
        """See Source."""
        for key in keys:
            prev: EntryId | None = None
            for seq, raw_id, row in self._index.rows(key, 1 << 53):
                yield key, seq, prev, EntryId(raw_id), row
                prev = EntryId(raw_id)

    def ids_at(self, places: set[tuple[PublicKey, int]]) -> dict[tuple[PublicKey, int], EntryId]:
        """See Source."""
        found = {} if self._logs is None else self._logs.ids_on_branches(places)
        for key, seq in places - set(found):
            known = self._index.id_at(key, seq)
            found[key, seq] = None if known is None else EntryId(known)
        return {place: known for place, known in found.items() if known is not None}

    def marks(self) -> Iterator[tuple[PublicKey, int, EntryId, bytes]]:
        """See Source."""
        for raw, _ in self._view.scan("kinds", _CHECKPOINT_KEYS, _CHECKPOINT_KEYS[:-1] + b"\x01"):
            place = read_place(raw[len(_CHECKPOINT_KEYS) :])
            key = None if place is None else self._index.keys.get(place[0])
            value = self._view.get("rows", raw[len(_CHECKPOINT_KEYS) :])
            if place is None or key is None or value is None or not value[32:].startswith(_CHECKPOINT_ROW):
                continue  # a fault of table kinds, reported there
            body = _body_of(value[32:])
            if body is not None:
                yield key, place[1], EntryId(value[:32]), body


def _check_meta(view: Reader, charter: Charter, findings: Findings) -> None:
    found = view.get("meta", b"format")
    if found != FORMAT:
        shown = "none" if found is None else found.decode("ascii", "replace")[:20]
        means = "another program wrote it, or it is damaged"
        findings.fault("container", None, None, None, f"the store's layout is {shown}", FORMAT.decode(), means)
    try:
        own = verify_charter(decode_charter_file(view.get("meta", b"charter") or b""))
    except RemoteError as error:
        expected, means = "one that all founders signed", "what it was created for is unknown"
        findings.fault("charter", None, None, None, f"the charter in the store is not valid ({error})", expected, means)
        return
    if own.network_id != charter.network_id:
        shown = f"the store is of network {own.network_id.hex()}"
        findings.fault("network", None, None, None, shown, charter.network_id.hex(), "it is another ledger")


def _check_stored_fork(at: bytes, raw: bytes, audit: Audit) -> None:
    try:
        value = decode(raw, size_max=MESSAGE_BYTES_MAX)
        proof = read_fork(*value) if isinstance(value, list) and len(value) == 4 else None
    except FormatError:
        proof = None
    if proof is None:
        found, expected = "the stored fork proof cannot be read", "two signed headers"
        audit.findings.fault("fork", at[:32], None, None, found, expected, "the fork is not proved")
        return
    seq = audit.logs.fork(proof)
    if seq is not None and at != fork_place(proof)[0] + U64.pack(seq):
        found, expected = "this fork proof is stored under another log or seq", "its own"
        means = "the node's own bookkeeping is wrong"
        audit.findings.fault("index", at[:32], seq, None, found, expected, means)


def _check_branch(index: IndexAudit, known: bytes, value: bytes, audit: Audit) -> None:
    """An entry on another branch, kept beside the log: it hashes to its id, and follows an entry that is kept."""
    read = read_branch(value)
    key = None if read is None else index.keys.get(read[0])
    if read is None or key is None or len(known) != 32:
        found, means = "this entry in table branches cannot be read, or is of no known log", "it cannot be checked"
        audit.findings.fault("index", key, None, known, found, "an entry of a known log", means)
        return
    _, seq, prev, row = read
    index.branch(key, seq, known, prev)
    try:
        fact = read_row(row, key, seq, None if prev is None else EntryId(prev))
    except FormatError as error:
        means = "the row, kept beside the log, was altered on disk"
        audit.findings.fault("format", key, seq, known, f"{error}", "a row in its canonical form", means)
        return
    if fact.id != known:
        found, means = f"the row gives id {fact.id.hex()}, beside the log", "it was altered on disk"
        audit.findings.fault("hash", key, seq, known, found, known.hex(), means)
        return
    audit.logs.set_aside(audit.logs.log(key), seq, None if prev is None else EntryId(prev), fact)
