"""The auditor: recomputes everything from raw bytes, believes nothing, changes nothing.

It shares no code with admission: it reads entries through `protocol/`, checks signatures through `keys/`, and has
its own small rules for the rest. The checks, in the order in which they are made, and the kind of a fault:

 1. `charter`      the charter in the store is complete, signed by every founder
 2. `network`      and the bundle or store is of the network that the auditor was told
 3. `container`    the bundle is whole: lengths, end mark, checksum; the store has the layout this program reads
 4. `fork`         fork proofs hold: two entries of one key and seq, both signed. A fork is itself a fault: of its
                   author, not of who kept it. Entries from there on are disputed and not in the root
 5. `format`       each row's shape, bounds and canonical form
 6. `gap`          each log starts at 0 and leaves nothing out
 7. `link`         each run starts from the id of the entry before it
 8. `hash`         a stored row gives the id it is stored under: header, signature and body are the ones it had
 9. `time`         dates do not go back along a log
10. `signature`    every entry's own signature. An entry that fails here may still be authentic through a later one
                   of its chain; it is reported all the same. Entries after the last signature that holds are proved
                   by nothing: they are reported together, at the first
11. `fork`         again, hidden ones: a bundle that holds two versions of an entry and no proof
12. `uncertified`  each author has a chain of certificates to the charter, by acts that are authentic and not disputed
13. `index`        stores only: every other table says what the rows say (`ledger/audit_index.py`)

Bodies that were erased or withheld (`erased`) and entries beyond a fork (`disputed`) are notes, not faults: the
chain still proves them, and the law may want them so.

Memory: heads and certificates, about 1 KB a log, and one batch of signatures; nothing grows with the entries.
Cost: one signature check an entry (55 us, or what `verify_many` makes of it on several cores) and about 8 us beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO, Final, TypeAlias

from keys.errors import FormatError, NetworkMismatchError, RemoteError, UsageError
from keys.signing import PublicKey, verify
from ledger.audit_index import IndexAudit, Recomputed, read_place
from ledger.layout import FORMAT, U64
from ledger.storage import Reader, Storage
from protocol.acts import Certify, parse_act
from protocol.bundle import read_bundle
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.codec import decode
from protocol.entry import VERSION, EntryId, Facts, entry_id, read_row, signed_bytes
from protocol.frame import Run, decode_frame
from protocol.limits import HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, SEQ_MAX
from protocol.merkle import append, root, tree_root
from protocol.message import Fork, Frame, read_fork

BATCH: Final = 2000  # signatures handed to verify_many at once
LISTED_MAX: Final = 10_000  # faults, and notes, that are listed; more are counted
UNPROVED_MAX: Final = 100  # entries of one log that wait for a later signature to prove them; more are counted
REPEATS_MAX: Final = 10_000  # entries of a bundle that come twice and are held for comparison

Signed: TypeAlias = tuple[bytes, bytes, bytes]  # public key, message, signature
VerifyMany: TypeAlias = Callable[[Sequence[Signed]], Sequence[bool]]


def verify_each(signed: Sequence[Signed]) -> list[bool]:
    """Whether each signature holds, one after the other."""
    return [verify(public, message, signature) for public, message, signature in signed]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault or note. key, seq and id say where, as far as that is known."""

    kind: str
    key: bytes | None
    seq: int | None
    id: bytes | None
    detail: str  # what was found, what was expected, what it means

    def to_json(self) -> dict[str, str | int | None]:
        """The finding with bytes as hexadecimal."""
        key, known = (None if raw is None else raw.hex() for raw in (self.key, self.id))
        return {"kind": self.kind, "key": key, "seq": self.seq, "id": known, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `faults` and `notes` list at most LISTED_MAX each; the counts are of all."""

    network: bytes
    root: bytes  # the ledger root over everything that counts
    logs: int
    entries: int  # rows that could be read, disputed ones included
    signatures: int  # that hold: of entries, and two for each fork proof
    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    fault_count: int
    note_count: int

    @property
    def sound(self) -> bool:
        """Whether there is no fault."""
        return self.fault_count == 0

    def to_json(self) -> dict[str, object]:
        """The report as plain values."""
        return {
            "verdict": "sound" if self.sound else "faulty",
            "network": self.network.hex(),
            "root": self.root.hex(),
            "logs": self.logs,
            "entries": self.entries,
            "signatures": self.signatures,
            "faults": [fault.to_json() for fault in self.faults],
            "fault_count": self.fault_count,
            "notes": [note.to_json() for note in self.notes],
            "note_count": self.note_count,
        }


def audit_bundle(stream: BinaryIO, charter: Charter, verify_many: VerifyMany = verify_each) -> Report:
    """Audit a bundle, as a whole ledger: what it leaves out at the start of a log is a gap.

    stream: a file from its first byte; it is read twice, three times where entries come twice.
    Raises UsageError when it cannot be read twice, OSError when the disk fails.
    """
    if not stream.seekable():
        raise UsageError("a bundle is audited in two passes; save it to a file first")
    start = stream.tell()
    audit = _Audit(charter, verify_many)
    for message in _messages(stream, charter, audit):
        if isinstance(message, Fork):
            audit.fork(message)
    for run in _runs(stream, start, charter, audit):
        audit.run(run)
    audit.flush()
    if audit.repeats:
        audit.compare_repeats(_runs(stream, start, charter, None))
    return audit.report()


def audit_storage(storage: Storage, charter: Charter, verify_many: VerifyMany = verify_each) -> Report:
    """Audit a store and its tables, as one view of it. Raises StorageError when it cannot be read at all."""
    audit = _Audit(charter, verify_many)
    with storage.read() as view:
        _check_meta(view, charter, audit)
        for at, raw in view.scan("forks"):
            _check_stored_fork(at, raw, audit)
        index = IndexAudit(view, audit.fault)
        for raw_place, value in view.scan("rows"):
            place = read_place(raw_place)
            key = None if place is None else index.keys.get(place[0])
            if place is None or key is None or len(value) < 32:
                detail = f"table rows holds {raw_place.hex()[:64]}, which belongs to no known log: it cannot be checked"
                audit.fault("index", key, None, value[:32], detail)
                continue
            kind = audit.stored_row(key, place[1], EntryId(value[:32]), value[32:])
            index.row(key, place[1], raw_place, value[:32], kind)
        audit.settle()
        index.finish({log.key: log.recomputed() for log in audit.logs.values()})
    return audit.report()


# -- 1 to 3: what it claims to be ---------------------------------------------------------------------


def _check_meta(view: Reader, charter: Charter, audit: "_Audit") -> None:
    found = view.get("meta", b"format")
    if found != FORMAT:
        shown = "none" if found is None else found.decode("ascii", "replace")[:20]
        detail = (
            f"the store's layout is {shown}, expected {FORMAT.decode()}: another program wrote it, or it is damaged"
        )
        audit.fault("container", None, None, None, detail)
    try:
        own = verify_charter(decode_charter_file(view.get("meta", b"charter") or b""))
    except RemoteError as error:
        detail = f"the charter in the store is not valid ({error}): what it was created for is unknown"
        audit.fault("charter", None, None, None, detail)
        return
    if own.network_id != charter.network_id:
        detail = f"the store is of network {own.network_id.hex()}, expected {charter.network_id.hex()}: another ledger"
        audit.fault("network", None, None, None, detail)


def _messages(stream: BinaryIO, charter: Charter, audit: "_Audit | None") -> Iterator[Frame | Fork]:
    """The messages up to where the bundle can be read; why it cannot further is told to `audit`, if one is given."""
    try:
        yield from read_bundle(stream, charter.network_id)
    except RemoteError as error:
        if audit is not None:
            kind = "network" if isinstance(error, NetworkMismatchError) else "container"
            audit.fault(kind, None, None, None, f"{error}: what follows, or all of it, is not what was exported")


def _runs(stream: BinaryIO, start: int, charter: Charter, audit: "_Audit | None") -> Iterator[Run]:
    stream.seek(start)
    for message in _messages(stream, charter, None):
        if isinstance(message, Fork):
            continue
        try:
            yield from decode_frame(message.frame)
        except FormatError as error:
            if audit is not None:
                detail = f"frame {message.number} of the bundle cannot be read ({error}): its entries are lost"
                audit.fault("format", None, None, None, detail)


def _check_stored_fork(at: bytes, raw: bytes, audit: "_Audit") -> None:
    try:
        value = decode(raw, size_max=MESSAGE_BYTES_MAX)
        proof = read_fork(*value) if isinstance(value, list) and len(value) == 4 else None
    except FormatError:
        proof = None
    if proof is None:
        audit.fault("fork", at[:32], None, None, "the stored fork proof cannot be read: the fork is not proved")
        return
    seq = audit.fork(proof)
    if seq is not None and at != _named(proof.first[0])[0] + U64.pack(seq):
        audit.fault("index", at[:32], seq, None, "this fork proof is stored under another log or seq than its own")


def _named_chain(side: Sequence[tuple[bytes, bytes]]) -> tuple[PublicKey, int]:
    """Whose log and which seq a side of a fork proof begins at. Raises FormatError when it is no chain."""
    key, seq, _ = _named(side[0][0])
    for offset in range(1, len(side)):
        if _named(side[offset][0]) != (key, seq + offset, entry_id(*side[offset - 1])):
            raise FormatError("its entries do not follow one another")
    return key, seq


def _named(header: bytes) -> tuple[PublicKey, int, object]:
    """Whose log, which seq and which predecessor a header names. Raises FormatError when it is no canonical header."""
    match decode(header, size_max=HEADER_BYTES_MAX):
        case [int(version), bytes(key), int(seq), prev, _, _, _, _, _, _] if version == VERSION and len(key) == 32:
            if type(seq) is int and 0 <= seq <= SEQ_MAX:
                return PublicKey(key), seq, prev
    raise FormatError("these are not an entry's ten fields")


# -- the state of an audit ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Certificate:
    """A certify act: who, at which seq of its log, certified whom as what."""

    certifier: PublicKey
    seq: int
    act: Certify


@dataclass(slots=True)
class _Unproved:
    """An entry whose own signature fails and that no later one has proved yet."""

    seq: int
    id: EntryId | None
    certificate: _Certificate | None


@dataclass(slots=True)
class _Log:
    """How far one log was read (`next`), and how far it counts (`size`): to the first fork, gap or broken link."""

    key: PublicKey
    forked_at: int | None = None
    next: int = 0
    id: EntryId | None = None  # of entry next - 1; None also where it is not known
    known: bool = True  # whether `id` is known
    time_ms: int = 0
    first: int | None = None  # the first seq that was read
    held: int = 0
    whole: bool = True
    size: int = 0
    head: EntryId | None = None
    peaks: list[bytes] = field(default_factory=list)
    disputed: int = 0
    unproved: list[_Unproved] = field(default_factory=list)
    unproved_count: int = 0

    def recomputed(self) -> Recomputed:
        return Recomputed(self.key, self.size, self.head, self.time_ms, tuple(self.peaks), self.held, self.forked_at)


@dataclass(frozen=True, slots=True)
class _Check:
    """A signature to be checked, in its place in the log; `signed` None: the chain breaks here."""

    log: _Log
    seq: int = 0
    id: EntryId | None = None
    certificate: _Certificate | None = None
    signed: Signed | None = None


class _Audit:
    """What was found so far. Entries come in through `run` or `stored_row`, log by log in order of seq."""

    def __init__(self, charter: Charter, verify_many: VerifyMany) -> None:
        self.logs: dict[PublicKey, _Log] = {}
        self.repeats: dict[PublicKey, dict[int, list[Facts]]] = {}
        self._charter = charter
        self._network_id = charter.network_id
        self._verify_many = verify_many
        self._batch: list[_Check] = []
        self._certificates: list[_Certificate] = []
        self._faults: list[Finding] = []
        self._notes: list[Finding] = []
        self._fault_count = self._note_count = self._entries = self._signatures = self._repeat_count = 0

    def fault(self, kind: str, key: bytes | None, seq: int | None, known: bytes | None, detail: str) -> None:
        """Record a fault."""
        self._fault_count += 1
        if len(self._faults) < LISTED_MAX:
            self._faults.append(Finding(kind, key, seq, known, detail))

    def note(self, kind: str, key: bytes | None, seq: int | None, known: bytes | None, detail: str) -> None:
        """Record what is no fault but must be shown."""
        self._note_count += 1
        if len(self._notes) < LISTED_MAX:
            self._notes.append(Finding(kind, key, seq, known, detail))

    # -- 4: fork proofs ---------------------------------------------------------------------------

    def fork(self, proof: Fork) -> int | None:
        """Check a proof and remember where the log forks. Gives the seq, or None when it proves nothing."""
        try:
            (key, seq), other = (_named_chain(side) for side in proof.sides)
        except FormatError as error:
            self.fault("fork", None, None, None, f"a fork proof holds no entry's header ({error}): it proves nothing")
            return None
        ids = entry_id(*proof.first), entry_id(*proof.second)
        if (key, seq) != other or ids[0] >= ids[1]:
            detail = "a fork proof needs two entries of one log and seq, in order of id: this one proves nothing"
            self.fault("fork", key, seq, ids[0], detail)
            return None
        proving = [side[-1] for side in proof.sides]
        signed = [(key, signed_bytes(self._network_id, header), mark) for header, mark in proving]
        if not all(self._verify(signed)):
            detail = "a fork proof holds a signature that does not verify: it proves nothing, and may be slander"
            self.fault("fork", key, seq, ids[0], detail)
            return None
        self._signatures += 2
        self._forked(key, seq, ids)
        return seq

    def _forked(self, key: PublicKey, seq: int, ids: tuple[EntryId, EntryId]) -> None:
        log = self._log(key)
        log.forked_at = seq if log.forked_at is None else min(seq, log.forked_at)
        detail = (
            f"the author signed two entries at seq {seq}, {_short(ids[0])} and {_short(ids[1])}, expected one: the key"
            " was copied or restored from a backup; entries from there on are disputed"
        )
        self.fault("fork", key, seq, ids[0], detail)

    # -- 5 to 9: rows and their order -------------------------------------------------------------

    def run(self, run: Run) -> None:
        """Check a run of a bundle, and chain it to what was read of its log."""
        log = self._log(run.key)
        facts = self._read_run(run, log)
        if run.seq > log.next:
            self._gap(log, run.seq)
            log.id, log.known = run.prev, True
        overlap = min(log.next, run.end) - run.seq
        if overlap > 0:
            if len(facts) < overlap or run.end < log.next or facts[overlap - 1].id != log.id:
                self._hold(run, facts)
                return
        elif log.known and run.prev != log.id:
            detail = (
                f"the run names {_short(run.prev)} as the entry before it, but that is {_short(log.id)}: one of the two"
                " was replaced, or the author wrote two chains"
            )
            self.fault("link", run.key, run.seq, run.prev, detail)
            self._break(log)
        for fact in facts[overlap:] if overlap > 0 else facts:
            self._entry(log, log.next, fact)
        if run.end > log.next:  # a row could not be read, and what follows it in the run cannot be chained
            log.next, log.known = run.end, False
            self._break(log)

    def _read_run(self, run: Run, log: _Log) -> list[Facts]:
        facts: list[Facts] = []
        prev = run.prev
        for row in run.rows:
            seq = run.seq + len(facts)
            try:
                fact = read_row(row, log.key, seq, prev)
            except FormatError as error:
                left = run.end - seq - 1
                detail = f"{error}: the row was altered; it and the {left} rows after it in its run are lost"
                self.fault("format", log.key, seq, None, detail)
                break
            facts.append(fact)
            prev = fact.id
        return facts

    def stored_row(self, key: PublicKey, seq: int, known: EntryId, row: bytes) -> str:
        """Check a stored row, which says its own id; give its kind, "" when it cannot be read."""
        log = self._log(key)
        if seq > log.next:
            self._gap(log, seq)
            log.known = False
        try:
            fact = read_row(row, key, seq, _prev(log, seq))
        except FormatError as error:
            detail = f"{error}: the row was altered on disk; the entries around it still prove which id it had"
            self.fault("format", key, seq, known, detail)
            log.next, log.id, log.known, log.held, log.whole = seq + 1, known, True, log.held + 1, False
            log.first = seq if log.first is None else log.first
            return ""
        proved = True
        if log.known and fact.id != known:
            proved = self._verify([self._signed(key, fact)])[0]
            if proved:  # so the row is right, and its label wrong
                detail = f"the row is stored under id {known.hex()}, expected {fact.id.hex()}: the label was altered"
                self.fault("index", key, seq, known, detail)
            else:
                detail = (
                    f"the row gives id {fact.id.hex()}, it is stored as {known.hex()}, and its signature does not hold:"
                    " its content was altered on disk"
                )
                self.fault("hash", key, seq, known, detail)
        self._entry(log, seq, fact if proved and log.known else fact._replace(id=known), checkable=proved and log.known)
        return fact.kind

    def _gap(self, log: _Log, seq: int) -> None:
        missing = f"entry {log.next} is" if seq == log.next + 1 else f"entries {log.next} to {seq - 1} are"
        detail = f"{missing} missing, the log goes on at {seq}: something was removed, or not all of it was exported"
        self.fault("gap", log.key, log.next, None, detail)
        log.next = seq
        self._break(log)

    def _break(self, log: _Log) -> None:
        log.whole = False
        self._batch.append(_Check(log))

    def _entry(self, log: _Log, seq: int, fact: Facts, *, checkable: bool = True) -> None:
        """Take the next entry of `log`. checkable False: it is at fault already, or what it was signed with is lost."""
        if fact.time_ms < log.time_ms and log.held:
            detail = (
                f"dated {fact.time_ms}, the entry before it {log.time_ms}: it was backdated, or the clock was set back"
            )
            self.fault("time", log.key, seq, fact.id, detail)
        if fact.body is None:
            detail = f"the body ({fact.body_size} bytes, SHA-256 {fact.body_hash.hex()}) was erased or is withheld"
            self.note("erased", log.key, seq, fact.id, detail)
        log.first = seq if log.first is None else log.first
        log.next, log.id, log.known, log.time_ms, log.held = seq + 1, fact.id, True, fact.time_ms, log.held + 1
        self._entries += 1
        if log.forked_at is not None and seq >= log.forked_at:
            log.disputed += 1
        elif log.whole:
            log.peaks = append(log.peaks, log.size, (fact.id,))
            log.size, log.head = seq + 1, fact.id
        if checkable:
            certificate = _certificate(log.key, seq, fact)
            self._batch.append(_Check(log, seq, fact.id, certificate, self._signed(log.key, fact)))
        if len(self._batch) >= BATCH:
            self.flush()

    # -- 10: signatures ---------------------------------------------------------------------------

    def flush(self) -> None:
        """Check the signatures that wait, and draw the conclusions in order."""
        batch, self._batch = self._batch, []
        results = iter(self._verify([check.signed for check in batch if check.signed is not None]))
        for check in batch:
            if check.signed is None:
                self._give_up(check.log)
            elif next(results):
                self._proved(check)
            else:
                self._unproved(check)

    def _proved(self, check: _Check) -> None:
        self._signatures += 1
        if check.certificate is not None:
            self._certificates.append(check.certificate)
        log = check.log
        for item in log.unproved:
            detail = (
                f"its own signature does not verify, although that of entry {check.seq}, later in the same chain, does:"
                " it is authentic, but was signed wrongly, or altered before the author went on"
            )
            self.fault("signature", log.key, item.seq, item.id, detail)
            if item.certificate is not None:
                self._certificates.append(item.certificate)
        self._fault_count += log.unproved_count - len(log.unproved)
        log.unproved, log.unproved_count = [], 0

    def _unproved(self, check: _Check) -> None:
        log = check.log
        log.unproved_count += 1
        if log.unproved_count <= UNPROVED_MAX or check.certificate is not None:
            log.unproved.append(_Unproved(check.seq, check.id, check.certificate))

    def _give_up(self, log: _Log) -> None:
        """No later signature can prove what is not proved by now."""
        if log.unproved:
            first = log.unproved[0]
            more = f", nor those of the {log.unproved_count - 1} entries after it" if log.unproved_count > 1 else ""
            detail = (
                f"its signature does not verify{more}, and none after it in the chain does: it was altered, made with"
                " another key, or written for another network"
            )
            self.fault("signature", log.key, first.seq, first.id, detail)
        log.unproved, log.unproved_count = [], 0

    def settle(self) -> None:
        """Check what waits, and end all chains."""
        self.flush()
        for key in sorted(self.logs):
            self._give_up(self.logs[key])

    def _signed(self, key: PublicKey, fact: Facts) -> Signed:
        return key, signed_bytes(self._network_id, fact.header), fact.signature

    def _verify(self, signed: Sequence[Signed]) -> Sequence[bool]:
        results = self._verify_many(signed) if signed else []
        if len(results) != len(signed):
            raise ValueError(f"verify_many gave {len(results)} answers to {len(signed)} signatures")
        return results

    # -- 11: hidden forks -------------------------------------------------------------------------

    def _hold(self, run: Run, facts: list[Facts]) -> None:
        """Keep entries that came before, in another run, until they can be compared."""
        held = self.repeats.setdefault(run.key, {})
        for offset, fact in enumerate(facts):
            if self._repeat_count == REPEATS_MAX:
                detail = f"more than {REPEATS_MAX} entries of the bundle come twice; from here on they are not compared"
                self.fault("container", run.key, run.seq + offset, fact.id, detail)
            self._repeat_count += 1
            if self._repeat_count <= REPEATS_MAX:
                held.setdefault(run.seq + offset, []).append(fact)

    def compare_repeats(self, runs: Iterator[Run]) -> None:
        """Read the bundle again, and compare each entry that came twice with its other version.

        Where they differ and both are signed the log forks there, so what counts of it is computed again.
        """
        again: dict[PublicKey, _Log] = {}
        for run in runs:
            held = self.repeats.get(run.key)
            if held is None:
                continue
            log = again.setdefault(run.key, _Log(run.key, self.logs[run.key].forked_at))
            prev = run.prev
            for offset, row in enumerate(run.rows):
                seq = run.seq + offset
                try:
                    fact = read_row(row, run.key, seq, prev)
                except FormatError:
                    break  # reported in the first pass
                for other in held.pop(seq, ()):
                    settled = log.forked_at is not None and seq >= log.forked_at  # proved already
                    if other.id != fact.id and not settled and self._is_fork(run.key, seq, fact, other):
                        log.forked_at = seq
                if seq == log.size and prev == log.head and (log.forked_at is None or seq < log.forked_at):
                    log.peaks = append(log.peaks, log.size, (fact.id,))
                    log.size, log.head = seq + 1, fact.id
                prev = fact.id
        for key, log in again.items():
            read = self.logs[key]
            read.size, read.head, read.peaks, read.forked_at = log.size, log.head, log.peaks, log.forked_at
            if log.forked_at is not None:
                read.disputed = max(read.disputed, read.next - log.forked_at)

    def _is_fork(self, key: PublicKey, seq: int, one: Facts, other: Facts) -> bool:
        results = self._verify([self._signed(key, one), self._signed(key, other)])
        if all(results):
            self._forked(key, seq, (min(one.id, other.id), max(one.id, other.id)))
            return True
        wrong = other if results[0] else one
        detail = (
            "the bundle holds two versions of this entry, and this one is not signed by the author: it was slipped in"
        )
        self.fault("signature", key, seq, wrong.id, detail)
        return False

    # -- 12: authority, and the end ---------------------------------------------------------------

    def report(self) -> Report:
        """End the audit."""
        self.settle()
        certified = self._certified()
        for key in sorted(self.logs):
            log = self.logs[key]
            if log.first is not None and key not in certified:
                detail = (
                    "no chain of certificates leads from this log's author to the charter, as every author needs: its"
                    f" {log.held} entries carry no authority"
                )
                self.fault("uncertified", key, log.first, None, detail)
            if log.disputed:
                detail = f"{log.disputed} entries from the fork at seq {log.forked_at} on are kept, and do not count"
                self.note("disputed", key, log.forked_at, None, detail)
        counted = [self.logs[key] for key in sorted(self.logs) if self.logs[key].size]
        leaves = (sha256(b"\x00" + log.key + U64.pack(log.size) + root(log.peaks)).digest() for log in counted)
        return Report(
            self._network_id, tree_root(leaves), sum(log.first is not None for log in self.logs.values()),
            self._entries, self._signatures, tuple(self._faults), tuple(self._notes),
            self._fault_count, self._note_count,
        )  # fmt: skip

    def _certified(self) -> set[PublicKey]:
        """The keys that the charter reaches: each round lets the certifiers known so far speak, until no more come.

        Of several certificates for one key the one of an agency root decides, then the smaller certifier key, then
        the later act; nothing can be said about the agencies' root keys (SPEC.md 4.4).
        """
        roots = {agency.key: ("agency", agency.name) for agency in self._charter.agencies}
        standing: dict[PublicKey, tuple[str, str]] = dict(roots)
        while True:
            chosen: dict[PublicKey, tuple[tuple[bool, bytes, int], Certify]] = {}
            for item in self._certificates:
                rank, agency = standing.get(item.certifier, ("", ""))
                forked_at = self.logs[item.certifier].forked_at
                if (
                    (rank == "agency" or (rank == "admin" and item.act.rank in ("node", "officer")))
                    and item.act.agency == agency
                    and item.act.subject not in roots
                    and (forked_at is None or item.seq < forked_at)
                ):
                    weight = (rank != "agency", item.certifier, -item.seq)
                    if item.act.subject not in chosen or weight < chosen[item.act.subject][0]:
                        chosen[item.act.subject] = (weight, item.act)
            found = roots | {subject: (act.rank, act.agency) for subject, (_, act) in chosen.items()}
            if found == standing:
                return set(standing)
            standing = found

    def _log(self, key: PublicKey) -> _Log:
        if key not in self.logs:
            self.logs[key] = _Log(key)
        return self.logs[key]


def _prev(log: _Log, seq: int) -> EntryId | None:
    """What the next entry was signed after. Where that is lost, anything of the right shape."""
    if seq == 0:
        return None
    return log.id if log.known and log.id is not None else EntryId(bytes(32))


def _certificate(key: PublicKey, seq: int, fact: Facts) -> _Certificate | None:
    if fact.kind != "act" or fact.body is None:
        return None
    try:
        act = parse_act(fact.body)
    except FormatError:
        return None  # has no effect, on any node
    return _Certificate(key, seq, act) if isinstance(act, Certify) else None


def _short(known: bytes | None) -> str:
    return "none" if known is None else known.hex()[:12]
