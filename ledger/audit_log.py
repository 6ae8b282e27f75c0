"""The logs of one source as an audit reads them: what follows what, what proves what. Used by `ledger/audit.py`.

Stretches in which all is well are taken whole, as `ledger/audit_stretch.py` checked them. Others are read here row by
row, and what is wrong is named: the checks 4 to 11 of `ledger/audit.py`.

Entries on other branches than the one that is taken as the log are set aside; `ledger/audit_branch.py` says what
comes of them.

Memory: about 1 KB a log and an act, 200 bytes a checkpoint, a root for each size of a log that one attests, and 500
bytes an entry set aside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey, Signature, verify
from ledger.audit_authority import HeldAct
from ledger.audit_branch import Aside, Attestation, Said
from ledger.audit_finding import Findings, short
from ledger.audit_index import Recomputed
from ledger.audit_stretch import Checked, Special, Stretch, note_is_right, why_malformed
from protocol.acts import parse_act
from protocol.codec import decode
from protocol.entry import VERSION, EntryId, Facts, NetworkId, entry_id, read_row, signed_bytes
from protocol.frame import Run
from protocol.limits import ANCHOR, HEADER_BYTES_MAX, SEQ_MAX
from protocol.merkle import append, root
from protocol.message import Fork

UNPROVED_MAX: Final = 100  # entries of one log that wait for a later signature to prove them; more are counted
ASIDE_MAX: Final = 100_000  # entries of a bundle that come again, or on another branch; they are held: 50 MB


@dataclass(slots=True)
class _Unproved:
    """An entry whose own signature fails and that no later one has proved yet."""

    seq: int
    id: EntryId
    act: HeldAct | None


@dataclass(slots=True)
class Log:
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
    asides: dict[EntryId, Aside] = field(default_factory=dict)  # entries on other branches, or that came twice
    partings: dict[int, list[bytes]] = field(default_factory=dict)  # where branches leave it -> the peaks below
    linked: set[EntryId] = field(default_factory=set)  # the entries aside that are whole with it, from seq 0 on
    branch: list[Aside] = field(default_factory=list)  # the endorsed branch, up to the cutoff, where it is not its own
    runs: int = 0  # that were read of a bundle
    held_runs: set[int] = field(default_factory=set)  # which of them were set aside
    own: int = 0  # where the last entry whose own signature holds ends, of those that are whole
    own_id: EntryId | None = None  # of entry own - 1
    chained: int = 0  # entries that are whole, and may be more than count
    read_whole: int = 0  # the same, of the branch that was read first
    unproved: list[_Unproved] = field(default_factory=list)
    unproved_count: int = 0
    wanted: list[int] = field(default_factory=list)  # sizes at which the root is asked for, the smallest last
    roots: dict[int, tuple[EntryId, bytes]] = field(default_factory=dict)  # size -> last id, log root
    branch_roots: dict[EntryId, bytes] = field(default_factory=dict)  # the same of other branches: last id -> log root
    checkpoints: list[Attestation] = field(default_factory=list)
    alarms: list[tuple[int, EntryId, bytes]] = field(default_factory=list)  # seq, id, body

    def recomputed(self) -> Recomputed:
        """What the store's tables should say of it."""
        return Recomputed(self.key, self.size, self.head, self.time_ms, tuple(self.peaks), self.held, self.forked_at)

    def root_at(self, size: int, known: EntryId) -> bytes | None:
        """The log root at a size that is asked for, of the branch that has this entry last; None: it is not here."""
        here = self.roots.get(size)
        return here[1] if here is not None and here[0] == known else self.branch_roots.get(known)

    def id_on_branch(self, seq: int) -> tuple[bool, EntryId | None]:
        """Whether the endorsed branch, not the log as it was read, says what stands at `seq`; and what that is."""
        if not self.branch or seq < self.branch[0].seq:
            return False, None
        at = seq - self.branch[0].seq
        return True, self.branch[at].id if at < len(self.branch) else None

    def grow(self, ids: Sequence[EntryId]) -> None:
        """Add entries to the tree, and note its root where one is asked for."""
        start, end = self.size, self.size + len(ids)
        while self.wanted and self.wanted[-1] <= end:
            stop = self.wanted.pop()
            if stop > self.size:
                self.peaks = append(self.peaks, self.size, ids[self.size - start : stop - start])
                self.size = stop
                self.roots[stop] = ids[stop - start - 1], root(self.peaks)
        self.peaks = append(self.peaks, self.size, ids[self.size - start :])
        self.size, self.head = end, ids[-1]


@dataclass(slots=True)
class Recount:
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


class Logs:
    """All logs of a source. Rows come in log by log, each in order of seq."""

    def __init__(self, network_id: NetworkId, findings: Findings) -> None:
        self.logs: dict[PublicKey, Log] = {}
        self.acts: list[HeldAct] = []
        self.forks: list[tuple[PublicKey, int, tuple[EntryId, EntryId]]] = []
        self.wanted: dict[PublicKey, set[int]] = {}  # the sizes at which roots are asked for, of logs not met yet
        self.entries = 0
        self.signatures = 0
        self._network_id = network_id
        self._findings = findings
        self._fault = findings.fault
        self._aside_count = 0

    def log(self, key: PublicKey) -> Log:
        """The log of a key; an empty one where nothing of it was read yet."""
        if key not in self.logs:
            self.logs[key] = Log(key, wanted=sorted(self.wanted.pop(key, ()), reverse=True))
        return self.logs[key]

    def all_acts(self) -> list[HeldAct]:
        """The acts of all branches."""
        aside = (one.said for log in self.logs.values() for one in log.asides.values())
        return [*self.acts, *(said for said in aside if isinstance(said, HeldAct))]

    def ids_on_branches(self, places: set[tuple[PublicKey, int]]) -> dict[tuple[PublicKey, int], EntryId | None]:
        """What stands at those of the places where an endorsed branch took the log's."""
        found: dict[tuple[PublicKey, int], EntryId | None] = {}
        for key, seq in places:
            on, known = (False, None) if key not in self.logs else self.logs[key].id_on_branch(seq)
            if on:
                found[key, seq] = known
        return found

    def _holds(self, key: PublicKey, fact: Facts) -> bool:
        return verify(key, signed_bytes(self._network_id, fact.header), fact.signature)

    # -- 4: fork proofs ---------------------------------------------------------------------------

    def fork(self, proof: Fork) -> int | None:
        """Check a proof and remember where the log forks. Gives the seq, or None when it proves nothing."""
        try:
            (key, seq), other = (_named_chain(side) for side in proof.sides)
        except FormatError as error:
            found = f"a fork proof holds no entry's header ({error})"
            self._fault("fork", None, None, None, found, "two signed headers", "it proves nothing")
            return None
        ids = entry_id(*proof.first), entry_id(*proof.second)
        if (key, seq) != other or ids[0] >= ids[1]:
            expected = "two different entries of one log and seq, in order of id"
            self._fault("fork", key, seq, ids[0], "a fork proof of something else", expected, "it proves nothing")
            return None
        for header, mark in (side[-1] for side in proof.sides):
            if not verify(key, signed_bytes(self._network_id, header), mark):
                found, expected = "a fork proof holds a signature that does not verify", "two by the author"
                self._fault("fork", key, seq, ids[0], found, expected, "it proves nothing, and may be slander")
                return None
        self.signatures += 2
        self.forked(key, seq, ids)
        return seq

    def forked(self, key: PublicKey, seq: int, ids: tuple[EntryId, EntryId]) -> None:
        """Note that a log forks."""
        log = self.log(key)
        log.forked_at = seq if log.forked_at is None else min(seq, log.forked_at)
        self.forks.append((key, seq, ids))

    # -- 5 to 10: rows, their order, their signatures ---------------------------------------------

    def stretch(self, stretch: Stretch, checked: Checked | None) -> bool:
        """Take a stretch as a whole, if all is well with it where it stands; False: nothing was taken."""
        log = self.log(stretch.key)
        if (
            checked is None
            or stretch.seq != log.next
            or not log.known
            or stretch.prev != log.id
            or (checked.first_ms < log.time_ms and log.held)
        ):
            return False
        log.runs += 1
        count = len(checked.ids)
        log.first = stretch.seq if log.first is None else log.first
        log.next, log.id, log.time_ms = stretch.seq + count, checked.ids[-1], checked.last_ms
        log.held += count
        self.entries += count
        self.signatures += checked.signatures
        self._proved(log, stretch.seq)
        if log.whole:
            log.grow(checked.ids)
            log.own, log.own_id = log.size, log.head
        for item in checked.special:
            self._special(log, item)
            act = _held_act(log.key, item.seq, item.fact)
            if act is not None:
                self.acts.append(act)
        return True

    def run(self, run: Run, *, signed: bool = False) -> None:
        """Check a run of a bundle row by row, and chain it to what was read of its log. signed: all signatures hold."""
        log = self.log(run.key)
        log.runs += 1
        facts = self._read_run(run, log)
        if run.seq >= log.next and run.prev in log.asides:  # it goes on on another branch
            self._hold(run, facts, log, signed=signed)
            return
        if run.seq > log.next:
            self._gap(log, run.seq)
            log.id, log.known = run.prev, True
        overlap = min(log.next, run.end) - run.seq
        if overlap > 0:
            if len(facts) < overlap or run.end < log.next or facts[overlap - 1].id != log.id:
                self._hold(run, facts, log, signed=signed)
                return
        elif log.known and run.prev != log.id:
            found = f"the run names {short(run.prev)} as the entry before it"
            means = "one of the two was replaced, or the author wrote two chains"
            self._fault("link", run.key, run.seq, run.prev, found, short(log.id), means)
            self._break(log)
        for fact in facts[overlap:] if overlap > 0 else facts:
            self._entry(log, log.next, fact)
        if run.end > log.next:  # a row could not be read, and what follows it in the run cannot be chained
            log.next, log.known = run.end, False
            self._break(log)

    def _read_run(self, run: Run, log: Log) -> list[Facts]:
        facts: list[Facts] = []
        prev = run.prev
        for row in run.rows:
            seq = run.seq + len(facts)
            try:
                fact = read_row(row, log.key, seq, prev)
            except FormatError as error:
                means = f"the row was altered; it and the {run.end - seq - 1} rows after it in its run are lost"
                self._fault("format", log.key, seq, None, f"{error}", "a row in its canonical form", means)
                break
            facts.append(fact)
            prev = fact.id
        return facts

    def stored_row(self, key: PublicKey, seq: int, known: EntryId, row: bytes) -> str:
        """Check a stored row, which says its own id; give its kind, "" when it cannot be read."""
        log = self.log(key)
        if seq > log.next:
            self._gap(log, seq)
            log.known = False
        try:
            fact = read_row(row, key, seq, _prev(log, seq))
        except FormatError as error:
            means = "the row was altered on disk; the entries around it still prove which id it had"
            self._fault("format", key, seq, known, f"{error}", "a row in its canonical form", means)
            log.next, log.id, log.known, log.held, log.whole = seq + 1, known, True, log.held + 1, False
            log.first = seq if log.first is None else log.first
            return ""
        proved = True
        if log.known and fact.id != known:
            proved = self._holds(key, fact)
            if proved:  # so the row is right, and its label wrong
                found = f"the row is stored under id {known.hex()}"
                self._fault("index", key, seq, known, found, fact.id.hex(), "the label was altered")
            else:
                found = f"the row gives id {fact.id.hex()}, and its signature does not hold"
                self._fault("hash", key, seq, known, found, known.hex(), "its content was altered on disk")
        self._entry(log, seq, fact if proved and log.known else fact._replace(id=known), checkable=proved and log.known)
        return fact.kind

    def _gap(self, log: Log, seq: int) -> None:
        missing = f"entry {log.next} is" if seq == log.next + 1 else f"entries {log.next} to {seq - 1} are"
        found = f"{missing} missing, the log goes on at {seq}"
        means = "something was removed, or not all of it was exported"
        self._fault("gap", log.key, log.next, None, found, f"entry {log.next}", means)
        log.next = seq
        self._break(log)

    def _break(self, log: Log) -> None:
        log.whole = False
        self._give_up(log)

    def _entry(self, log: Log, seq: int, fact: Facts, *, checkable: bool = True) -> None:
        """Take the next entry of `log`. checkable False: it is at fault already, or what it was signed with is lost."""
        if fact.time_ms < log.time_ms and log.held:
            means = "it was backdated, or the clock was set back"
            self._fault(
                "time", log.key, seq, fact.id, f"dated {fact.time_ms} ms", f"{log.time_ms}, as the one before", means
            )
        log.first = seq if log.first is None else log.first
        log.next, log.id, log.known, log.time_ms, log.held = seq + 1, fact.id, True, fact.time_ms, log.held + 1
        self.entries += 1
        if log.whole:
            log.grow((fact.id,))
        if checkable and self._holds(log.key, fact):
            self.signatures += 1
            self._proved(log, seq)
            if seq < log.size:
                log.own, log.own_id = seq + 1, fact.id
            act = _held_act(log.key, seq, fact)
            self.acts += () if act is None else (act,)
        elif checkable:
            self._unproved(log, seq, fact)
        right = None
        if fact.kind == "checkpoint" and fact.body is not None:
            right = note_is_right(log.key, self._network_id, fact.body)
        self._special(log, Special(seq, fact, fact.body is None, right, why_malformed(fact)))

    def _special(self, log: Log, item: Special) -> None:
        fact = item.fact
        if item.erased:
            found = f"the body ({fact.body_size} bytes, SHA-256 {fact.body_hash.hex()}) is not here"
            self._findings.note("erased", log.key, item.seq, fact.id, found, "it was erased or is withheld")
        if item.malformed:
            found = f"the body of this {fact.kind} is not in its form ({item.malformed})"
            self._findings.note("malformed", log.key, item.seq, fact.id, found, "it has no effect")
        if fact.kind == "checkpoint":
            log.checkpoints.append(Attestation(item.seq, fact.id, fact.time_ms, fact.body_hash, item.note))
        elif fact.kind == "alarm" and fact.body is not None:
            log.alarms.append((item.seq, fact.id, fact.body))

    def _proved(self, log: Log, seq: int) -> None:
        """Entry `seq`, whose signature holds, proves those before it in its chain."""
        for item in log.unproved:
            found = f"its own signature does not verify, although that of entry {seq}, later in the same chain, does"
            means = "it is authentic, but was signed wrongly, or altered before the author went on"
            self._fault("signature", log.key, item.seq, item.id, found, "a signature by the author", means)
            if item.act is not None:
                self.acts.append(item.act)
        if log.unproved_count:
            self._findings.more_faults(log.unproved_count - len(log.unproved))
            log.unproved, log.unproved_count = [], 0

    def _unproved(self, log: Log, seq: int, fact: Facts) -> None:
        log.unproved_count += 1
        act = _held_act(log.key, seq, fact)
        if log.unproved_count <= UNPROVED_MAX or act is not None:
            log.unproved.append(_Unproved(seq, fact.id, act))

    def _give_up(self, log: Log) -> None:
        """No later signature can prove what is not proved by now."""
        if log.unproved:
            first = log.unproved[0]
            more = f", nor those of the {log.unproved_count - 1} entries after it" if log.unproved_count > 1 else ""
            found = f"its signature does not verify{more}, and none after it in the chain does"
            means = "it was altered, made with another key, or written for another network"
            self._fault("signature", log.key, first.seq, first.id, found, "a signature by the author", means)
        log.unproved, log.unproved_count = [], 0

    def settle(self) -> None:
        """End all chains."""
        for key in sorted(self.logs):
            self._give_up(self.logs[key])

    # -- entries set aside ------------------------------------------------------------------------

    def _hold(self, run: Run, facts: list[Facts], log: Log, *, signed: bool) -> None:
        """Set a run aside: entries that came before, or that follow others set aside."""
        prev = run.prev
        for seq, fact in enumerate(facts, run.seq):
            if fact.id not in log.asides and not self._room(run.key, seq, fact):
                return
            self.set_aside(log, seq, prev, fact, signed=signed)
            prev = fact.id
        log.held_runs.add(log.runs)

    def _room(self, key: PublicKey, seq: int, fact: Facts) -> bool:
        self._aside_count += 1
        if self._aside_count == ASIDE_MAX + 1:
            found = f"more than {ASIDE_MAX} entries of the bundle come twice, or on other branches"
            means = "from here on they are not compared"
            self._fault("container", key, seq, fact.id, found, "each entry once", means)
        return self._aside_count <= ASIDE_MAX

    def set_aside(self, log: Log, seq: int, prev: EntryId | None, fact: Facts, *, signed: bool = False) -> None:
        """Keep an entry beside its log. signed: its signature is known to hold."""
        if fact.id in log.asides:
            return
        said: Said = _held_act(log.key, seq, fact)
        if fact.kind == "checkpoint":
            right = None if fact.body is None else note_is_right(log.key, self._network_id, fact.body)
            said = Attestation(seq, fact.id, fact.time_ms, fact.body_hash, right)
        elif fact.kind == "alarm" and fact.body is not None:
            said = (seq, fact.id, fact.body)
        holds = signed or self._holds(log.key, fact)
        log.asides[fact.id] = Aside(seq, prev, fact.id, holds, said)

    def sort_out(self, runs: Iterator[Run]) -> None:
        """Read a bundle again: entries set aside that the log itself has are on no other branch."""
        met: dict[PublicKey, tuple[int, int]] = {}  # how many runs, how many entries
        for run in runs:
            log = self.logs.get(run.key)
            if log is None or not log.asides:
                continue
            number, end = met.get(run.key, (0, 0))
            if number + 1 not in log.held_runs:
                prev = run.prev
                for seq, row in enumerate(run.rows, run.seq):
                    try:
                        prev = read_row(row, run.key, seq, prev).id
                    except FormatError:
                        break  # reported in the first pass
                    if seq >= end:
                        log.asides.pop(prev, None)
                end = max(end, run.end)
            met[run.key] = number + 1, end


def _prev(log: Log, seq: int) -> EntryId | None:
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


def fork_place(proof: Fork) -> tuple[PublicKey, int]:
    """The log and seq that a fork proof is about. Raises FormatError."""
    key, seq, _ = _named(proof.first[0])
    return key, seq
