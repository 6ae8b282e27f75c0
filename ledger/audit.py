"""The auditor: recomputes everything from raw bytes, believes nothing, changes nothing.

It shares no code with admission: it reads entries through `protocol/`, checks signatures through `keys/`, and has
its own small rules for the rest. The checks, in the order in which they are made, and the kind of a fault:

 1. `charter`      the charter in the store is complete, signed by every founder
 2. `network`      and the bundle or store is of the network that the auditor was told
 3. `container`    the bundle is whole: lengths, end mark, checksum; the store has the layout this program reads
 4. `fork`         fork proofs hold: two chains of one log that part at one seq, each up to a signature that holds. A
                   fork is itself a fault: of its author, not of who kept it. Once a cutoff of the key has settled what
                   counts, it is a note
 5. `format`       each row's shape, bounds and canonical form
 6. `gap`          each log starts at 0 and leaves nothing out
 7. `link`         each run starts from the id of the entry before it
 8. `hash`         a stored row gives the id it is stored under: header, signature and body are the ones it had
 9. `time`         dates do not go back along a log
10. `signature`    every entry's own signature. An entry that fails here may still be authentic through a later one
                   of its chain; it is reported all the same. Entries after the last signature that holds are proved
                   by nothing: they are reported together, at the first
11. `fork`         again, hidden ones: a bundle that holds two versions of an entry and no proof
12. `uncertified`  each author was certified, by a chain of acts that leads to the charter. A log whose author's
                   certificate fell later (its signer's cutoff lies before it, or it is disputed) is a note
13. `index`        stores only: every other table says what the rows say (`ledger/audit_index.py`), and the entries on
                   other branches, kept beside their logs, hash and chain as well

Who has standing, and where a log is cut, `ledger/audit_authority.py` says, from the acts that are authentic; what
counts of each log and the ledger root follow (SPEC.md 4.4.4). Notes are no faults: bodies that were erased or withheld
(`erased`), entries that are kept and do not count (`void`, `disputed`, `uncertified`), settled forks (`fork`).

Memory: heads and acts, about 1 KB each, and one batch of signatures; nothing grows with other entries. Logs of which
not all counts are read a second time, once it is known where they end.
Cost: one signature check an entry (55 us, or what `verify_many` makes of it on several cores) and about 8 us beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import BinaryIO, Final, TypeAlias

from keys.errors import FormatError, NetworkMismatchError, RemoteError, UsageError
from keys.signing import PublicKey, Signature, verify
from ledger.audit_authority import HeldAct, Judgement, ever_named, judge_held
from ledger.audit_index import IndexAudit, Recomputed, read_branch, read_place
from ledger.layout import FORMAT, U64
from ledger.storage import Reader, Storage
from protocol.acts import Certify, Cutoff, parse_act
from protocol.bundle import read_bundle
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.codec import decode
from protocol.entry import VERSION, EntryId, Facts, NetworkId, entry_id, read_row, signed_bytes
from protocol.frame import Run, decode_frame
from protocol.limits import ANCHOR, HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, ROOT_ENTRIES_MAX, SEQ_MAX
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
    """One fault or note. key, seq and id say where, owner and agency whose log it is, as far as that is known."""

    kind: str
    key: bytes | None
    seq: int | None
    id: bytes | None
    detail: str  # what was found, what was expected, what it means
    owner: str | None = None  # the name in the certificate; of a root key, the agency's title
    agency: str | None = None

    def to_json(self) -> dict[str, str | int | None]:
        """The finding with bytes as hexadecimal."""
        key, known = (None if raw is None else raw.hex() for raw in (self.key, self.id))
        return {
            "kind": self.kind, "key": key, "owner": self.owner, "agency": self.agency, "seq": self.seq, "id": known,
            "detail": self.detail,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `faults` and `notes` list at most LISTED_MAX each; the counts are of all."""

    network: bytes
    root: bytes  # the ledger root over everything that counts
    logs: int
    entries: int  # rows that could be read, those that do not count included
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

    stream: a file from its first byte; it is read twice, and again where entries come twice or logs are cut short.
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
    audit.settle()
    audit.judge(lambda key, seq: _id_in(_runs(stream, start, charter, None), key, seq))
    if audit.recounts:
        _recount_runs(audit.recounts, _runs(stream, start, charter, None))
    audit.recounted()
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
        for known, value in view.scan("branches"):
            _check_branch(view, index, known, value, audit)
        audit.settle()
        audit.judge(index.id_at)
        for recount in audit.recounts.values():
            prev: EntryId | None = None
            for seq, raw_id, row in index.rows(recount.key, recount.limit):
                recount.take(seq, prev, EntryId(raw_id), row)
                prev = EntryId(raw_id)
        audit.recounted()
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


def _check_branch(view: Reader, index: IndexAudit, known: bytes, value: bytes, audit: "_Audit") -> None:
    """An entry on another branch, kept beside the log: it hashes to its id, and follows an entry that is kept."""
    read = read_branch(value)
    key = None if read is None else index.keys.get(read[0])
    if read is None or key is None or len(known) != 32:
        audit.fault("index", key, None, known, "this entry in table branches cannot be read, or is of no known log")
        return
    _, seq, prev, row = read
    index.branch(key, seq, known, prev)
    try:
        fact = read_row(row, key, seq, None if prev is None else EntryId(prev))
    except FormatError as error:
        audit.fault("format", key, seq, known, f"{error}: the row, kept beside the log, was altered on disk")
        return
    if fact.id != known:
        detail = f"the row gives id {fact.id.hex()}, it is kept beside the log as {known.hex()}: it was altered on disk"
        audit.fault("hash", key, seq, known, detail)
        return
    audit.aside(key, seq, fact, _children(view, key, seq, fact.id))


def _children(view: Reader, key: PublicKey, seq: int, known: EntryId) -> Iterator[Facts]:
    """The entries that follow one kept beside the log, up to the next anchor. A look through the table for each."""
    for offset in range(1, ANCHOR):
        for raw_id, value in view.scan("branches"):
            read = read_branch(value)
            if read is not None and read[1] == seq + offset and read[2] == known:
                fact = read_row(read[3], key, read[1], known)
                known = EntryId(raw_id)
                yield fact
                break
        else:
            return


def _id_in(runs: Iterator[Run], key: PublicKey, seq: int) -> EntryId | None:
    """The id of the first version of an entry in a bundle."""
    for run in runs:
        if run.key != key or not run.seq <= seq < run.end:
            continue
        prev = run.prev
        for offset, row in enumerate(run.rows):
            try:
                prev = read_row(row, key, run.seq + offset, prev).id
            except FormatError:
                break
            if run.seq + offset == seq:
                return prev
    return None


def _recount_runs(recounts: "dict[PublicKey, _Recount]", runs: Iterator[Run]) -> None:
    for run in runs:
        recount = recounts.get(run.key)
        prev = run.prev
        for seq, row in enumerate(run.rows, run.seq) if recount is not None else ():
            try:
                known = read_row(row, run.key, seq, prev).id
            except FormatError:
                break  # reported before
            if recount is not None:
                recount.take(seq, prev, known, row)
            prev = known


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
            if type(version) is int and type(seq) is int and 0 <= seq <= SEQ_MAX:
                return PublicKey(key), seq, prev
    raise FormatError("these are not an entry's ten fields")


# -- the state of an audit ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Unproved:
    """An entry whose own signature fails and that no later one has proved yet."""

    seq: int
    id: EntryId | None
    act: HeldAct | None


@dataclass(slots=True)
class _Log:
    """How far one log was read (`next`), and how far it is whole (`size`): to the first gap or broken link.

    Once authority is known `size`, `head` and `peaks` are of what counts.
    """

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
    aside: int = 0  # entries on other branches, kept beside it
    own: int = 0  # where the last entry whose own signature holds ends, of those that are whole
    chained: int = 0  # entries that are whole, and may be more than count
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
    act: HeldAct | None = None
    signed: Signed | None = None


@dataclass(slots=True)
class _Recount:
    """What counts of a log below `limit`: up to the last entry whose own signature holds.

    Within any ANCHOR entries there is one, or admission would have refused them; so only those are tried.
    """

    key: PublicKey
    limit: int
    network_id: NetworkId
    size: int = 0
    head: EntryId | None = None
    peaks: list[bytes] = field(default_factory=list)
    own: tuple[int, EntryId | None, list[bytes]] = (0, None, [])  # the same, up to an entry with its own signature

    def take(self, seq: int, prev: EntryId | None, known: EntryId, row: bytes) -> None:
        """Take an entry, if it is the next."""
        if seq != self.size or prev != self.head or seq >= self.limit:
            return
        self.peaks = append(self.peaks, seq, (known,))
        self.size, self.head = seq + 1, known
        if seq < self.limit - ANCHOR:
            return
        fact = read_row(row, self.key, seq, prev)
        if verify(self.key, signed_bytes(self.network_id, fact.header), Signature(fact.signature)):
            self.own = self.size, self.head, list(self.peaks)


class _Audit:
    """What was found so far. Entries come in through `run` or `stored_row`, log by log in order of seq."""

    def __init__(self, charter: Charter, verify_many: VerifyMany) -> None:
        self.logs: dict[PublicKey, _Log] = {}
        self.repeats: dict[PublicKey, dict[int, list[Facts]]] = {}
        self._charter = charter
        self._network_id = charter.network_id
        self._verify_many = verify_many
        self._batch: list[_Check] = []
        self.recounts: dict[PublicKey, _Recount] = {}
        self._acts: list[HeldAct] = []
        self._acts_aside: list[HeldAct] = []
        self._forks: list[tuple[PublicKey, int, tuple[EntryId, EntryId]]] = []
        self._judgement: Judgement | None = None
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
        self._forks.append((key, seq, ids))

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
        if log.whole:
            log.peaks = append(log.peaks, log.size, (fact.id,))
            log.size, log.head = seq + 1, fact.id
        if checkable:
            act = _held_act(log.key, seq, fact)
            self._batch.append(_Check(log, seq, fact.id, act, self._signed(log.key, fact)))
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
        if check.act is not None:
            self._acts.append(check.act)
        log = check.log
        if check.seq < log.size:
            log.own = check.seq + 1
        for item in log.unproved:
            detail = (
                f"its own signature does not verify, although that of entry {check.seq}, later in the same chain, does:"
                " it is authentic, but was signed wrongly, or altered before the author went on"
            )
            self.fault("signature", log.key, item.seq, item.id, detail)
            if item.act is not None:
                self._acts.append(item.act)
        self._fault_count += log.unproved_count - len(log.unproved)
        log.unproved, log.unproved_count = [], 0

    def _unproved(self, check: _Check) -> None:
        log = check.log
        log.unproved_count += 1
        if log.unproved_count <= UNPROVED_MAX or check.act is not None:
            log.unproved.append(_Unproved(check.seq, check.id, check.act))

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

    def aside(self, key: PublicKey, seq: int, fact: Facts, after: Iterator[Facts]) -> None:
        """Take an entry kept beside its log; `after`: those that follow it, read only where they must prove it."""
        log = self._log(key)
        log.aside += 1
        self._entries += 1
        if self._verify([self._signed(key, fact)])[0]:
            self._signatures += 1
        else:
            proved = any(self._verify([self._signed(key, later)])[0] for later in after)
            detail = "its own signature does not verify, " + (
                "although that of a later entry in the same chain does: it is authentic, but was signed wrongly"
                if proved
                else "nor does that of one after it: nothing proves this entry, which is kept beside its log"
            )
            self.fault("signature", key, seq, fact.id, detail)
        act = _held_act(key, seq, fact)
        if act is not None:
            self._acts_aside.append(act)

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
        """Read the bundle again, and compare each entry that came twice with its other version."""
        for run in runs:
            held = self.repeats.get(run.key)
            if held is None:
                continue
            log = self.logs[run.key]
            prev = run.prev
            for seq, row in enumerate(run.rows, run.seq):
                try:
                    fact = read_row(row, run.key, seq, prev)
                except FormatError:
                    break  # reported in the first pass
                for other in held.pop(seq, ()):
                    settled = log.forked_at is not None and seq >= log.forked_at  # proved already
                    if other.id != fact.id and not settled:
                        self._is_fork(run.key, seq, fact, other)
                prev = fact.id

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

    def judge(self, id_at: Callable[[PublicKey, int], bytes | None]) -> None:
        """Say what counts, once all entries were read and proved. `id_at` gives the id held at a place.

        `recounts` are then the logs that are to be read again, up to where they are cut.
        """
        forks = {key: log.forked_at for key, log in self.logs.items() if log.forked_at is not None}

        def holds(cutoff: Cutoff) -> bool:
            return id_at(cutoff.key, cutoff.seq) == cutoff.id

        self._judgement = judgement = judge_held(self._charter, self._acts, forks, holds)
        for key, log in self.logs.items():
            log.chained, limit = log.size, log.size
            cutoff = judgement.cutoffs.get(key)
            if cutoff is not None:
                limit = min(limit, _end_of(cutoff))
            if log.forked_at is not None and key not in judgement.endorsed:
                limit = min(limit, log.forked_at)
            standing = judgement.standing.get(key)
            if standing is None:
                limit = 0
            elif key in judgement.heard:
                limit = min(limit, ROOT_ENTRIES_MAX)
            if limit == 0:
                log.size, log.head, log.peaks = 0, None, []
            elif limit < log.size or log.own < log.size:
                self.recounts[key] = _Recount(key, limit, self._network_id)

    def recounted(self) -> None:
        """Take over what the recounts say."""
        for key, recount in self.recounts.items():
            log = self.logs[key]
            log.size, log.head, log.peaks = recount.own

    def report(self) -> Report:
        """End the audit; `judge` and `recounted` came before."""
        assert self._judgement is not None
        self._conclude(self._judgement)
        counted = [self.logs[key] for key in sorted(self.logs) if self.logs[key].size]
        leaves = (sha256(b"\x00" + log.key + U64.pack(log.size) + root(log.peaks)).digest() for log in counted)
        owners = self._owners(self._judgement)
        faults, notes = (
            tuple(replace(item, owner=owner, agency=agency) for item in found for owner, agency in [owners(item.key)])
            for found in (self._faults, self._notes)
        )
        return Report(
            self._network_id, tree_root(leaves), sum(log.first is not None for log in self.logs.values()),
            self._entries, self._signatures, faults, notes, self._fault_count, self._note_count,
        )  # fmt: skip

    def _conclude(self, judgement: Judgement) -> None:
        for key, seq, ids in self._forks:
            detail = (
                f"the author signed two entries at seq {seq}, {_short(ids[0])} and {_short(ids[1])}, expected one: "
            )
            by = judgement.settled_by.get(key)
            if by is None:
                detail += "the key was copied or restored from a backup; entries from there on are disputed"
                self.fault("fork", key, seq, ids[0], detail)
            else:
                self.note("fork", key, seq, ids[0], f"{detail}settled by act {by.hex()}, which says what counts of it")
        named = ever_named(self._charter, [*self._acts, *self._acts_aside])
        for key in sorted(self.logs):
            log = self.logs[key]
            if log.first is not None and key not in judgement.standing:
                self._uncertified(log, fallen=key in named)
            elif log.chained > log.size or log.aside:
                self._left_out(log, judgement)

    def _uncertified(self, log: _Log, *, fallen: bool) -> None:
        if fallen:
            detail = f"this author's certificate fell: the {log.held + log.aside} entries are kept, and do not count"
            self.note("uncertified", log.key, log.first, None, detail)
            return
        detail = (
            "no chain of certificates leads from this log's author to the charter, as every author needs: its"
            f" {log.held} entries carry no authority"
        )
        self.fault("uncertified", log.key, log.first, None, detail)

    def _left_out(self, log: _Log, judgement: Judgement) -> None:
        """Notes of what is held and does not count: void after a cutoff, disputed where that is not decided."""
        cutoff = judgement.cutoffs.get(log.key)
        end = log.chained if cutoff is None else max(log.size, min(log.chained, _end_of(cutoff)))
        if end > log.size:
            why = "no later signature of it could be passed on" if log.forked_at is None else f"fork at {log.forked_at}"
            detail = f"{end - log.size} entries from seq {log.size} on are kept, and do not count ({why})"
            self.note("disputed", log.key, log.size, None, detail)
        by = judgement.settled_by.get(log.key)
        if log.chained > end and by is not None:
            detail = f"{log.chained - end} entries from seq {end} on lie after the cutoff that act {by.hex()} set"
            self.note("void", log.key, end, None, f"{detail}: they are kept, and do not count")
        if log.aside:
            detail = f"{log.aside} entries lie on another branch than the one that is held, and do not count"
            self.note("void" if cutoff is not None else "disputed", log.key, log.forked_at, None, detail)

    def _owners(self, judgement: Judgement) -> Callable[[bytes | None], tuple[str | None, str | None]]:
        """Whose key it is: by standing, or else by any certificate, which need not count."""
        found: dict[bytes, tuple[str, str]] = {}
        for act in (*self._acts, *self._acts_aside):
            parsed = parse_act(act.body)
            if isinstance(parsed, Certify):
                found[parsed.subject] = parsed.name, parsed.agency
        found |= {key: (known.name, known.agency) for key, known in judgement.standing.items()}
        return lambda key: found.get(key or b"", (None, None))

    def _log(self, key: PublicKey) -> _Log:
        if key not in self.logs:
            self.logs[key] = _Log(key)
        return self.logs[key]


def _prev(log: _Log, seq: int) -> EntryId | None:
    """What the next entry was signed after. Where that is lost, anything of the right shape."""
    if seq == 0:
        return None
    return log.id if log.known and log.id is not None else EntryId(bytes(32))


def _held_act(key: PublicKey, seq: int, fact: Facts) -> HeldAct | None:
    if fact.kind != "act" or fact.body is None:
        return None
    try:
        parse_act(fact.body)
    except FormatError:
        return None  # has no effect, on any node
    return HeldAct(key, seq, fact.id, tuple(EntryId(ref) for ref in fact.refs), fact.body)


def _end_of(cutoff: Cutoff) -> int:
    """How many entries a cutoff leaves."""
    return 0 if cutoff.id is None else cutoff.seq + 1


def _short(known: bytes | None) -> str:
    return "none" if known is None else known.hex()[:12]
