"""Admission: the one door through which entries come into the ledger (SPEC.md 3.5).

A frame is admitted in this order, and wholly or not at all:

1. its shape and bounds (`decode_frame`);
2. each run, in the frame's order:
   a. the author has a certificate chain to the charter: acts earlier in the frame count already;
   b. the run touches what is held: it starts at or before the end of the log;
   c. each row's shape, size, hash and canonical form; times do not go back;
   d. where the run overlaps what is held, the ids are the same;
   e. the signature on the run's last row: with the chain of hashes it proves every row before it;
3. everything is written in one transaction.

A run that fails (a) or (b) is **set aside**: nothing is wrong with it, it only comes too early, and sync brings
it again. One that fails (c), (d) or (e) refuses the whole frame. Where (d) fails and both entries are signed by
their author, that is a **fork**: the proof is kept, what lies below it counts, what lies above is disputed.

Of a log only so much counts as its author's standing allows: nothing without a certificate, up to the cutoff where
the key was revoked, up to the fork where it signed twice; a cutoff beyond a fork endorses the branch it lies on.
Whenever the acts change, the logs they speak of are measured again. What does not count stays where it is held.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

from keys.errors import AdmissionError, FormatError, RemoteError
from keys.signing import PublicKey, Signature, verify
from ledger.authority import Authority, evaluate
from ledger.council import ActEntry
from ledger.layout import ARRIVAL, INDEXED_KINDS, PLACE, U32, U64, LogState, decode_log, kind_key
from ledger.storage import Reader, Writer
from protocol.charter import Charter
from protocol.codec import encode, pack, unpack_row
from protocol.entry import VERSION, EntryId, Facts, entry_id, read_row, signed_bytes
from protocol.frame import Run, decode_frame
from protocol.limits import SEQ_MAX
from protocol.merkle import append
from protocol.message import Fork


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries that were admitted together: `count` entries of `key`'s log from `first` on."""

    key: PublicKey
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """A run that cannot be placed. reason: "gap", "uncertified", "void" (after its author's cutoff), "forked", or
    "unproven": it parts from what is held at an entry that its author did not sign itself, so there is no proof of
    the fork, and nobody to blame for it.
    """

    key: PublicKey
    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Diverged:
    """A peer's validly signed run does not join ours, and the place where they part lies before it."""

    key: PublicKey
    seq: int


@dataclass(slots=True)
class Outcome:
    """What became of one item."""

    new: list[Stretch] = field(default_factory=list)
    duplicates: int = 0
    set_aside: list[SetAside] = field(default_factory=list)
    diverged: list[Diverged] = field(default_factory=list)
    forks: list[tuple[PublicKey, int]] = field(default_factory=list)
    refused: RemoteError | None = None


Item: TypeAlias = "bytes | tuple[Run, ...] | Fork"


@dataclass(slots=True)
class _Plan:
    """What a checked frame will write."""

    logs: dict[PublicKey, LogState] = field(default_factory=dict)
    rows: list[tuple[LogState, int, list[bytes], list[Facts]]] = field(default_factory=list)
    acts: list[ActEntry] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    fork: tuple[PublicKey, int, Fork] | None = None
    branches: list[tuple[LogState, int]] = field(default_factory=list)  # rows from that seq on make way


class Admission:
    """Admits items within one write transaction; `authority`, `acts` and `logs` say what stands afterwards."""

    def __init__(self, charter: Charter, authority: Authority, acts: Sequence[ActEntry], txn: Writer) -> None:
        self.authority = authority
        self.acts = list(acts)
        self.logs: dict[PublicKey, LogState] = {}
        self._charter = charter
        self._txn = txn
        arrival = txn.get("meta", b"arrival")
        self._arrival = U64.unpack(arrival)[0] if arrival else 0
        last = txn.last("numbers")
        self._numbers = U32.unpack(last[0])[0] + 1 if last else 0

    def admit(self, item: Item) -> Outcome:
        """Check and write one item; a refused one writes nothing. Cost: about 10 us an entry, 55 us a run."""
        before = self._numbers
        try:
            if isinstance(item, Fork):
                plan = self._check_fork(item)
            else:
                plan = self._check_frame(decode_frame(item) if isinstance(item, bytes) else item)
        except RemoteError as error:
            self._numbers = before
            return Outcome(refused=error)
        self._write(plan)
        return plan.outcome

    def finish(self) -> None:
        """Write the counters; call it once, last."""
        self._txn.put("meta", b"arrival", U64.pack(self._arrival))

    # -- checks: nothing is written ---------------------------------------------------------------

    def _check_frame(self, runs: Sequence[Run]) -> _Plan:
        plan = _Plan()
        authority = self.authority
        for index, run in enumerate(runs):
            if authority.of(run.key) is None:
                plan.outcome.set_aside.append(SetAside(run.key, run.seq, "uncertified"))
                continue
            known = len(plan.acts)
            self._check_run(run, plan)
            if plan.fork is not None:  # it goes in by itself; the rest of the frame comes again
                plan.outcome.set_aside += [SetAside(rest.key, rest.seq, "gap") for rest in runs[index + 1 :]]
                break
            if len(plan.acts) > known:
                authority = evaluate(self._charter, [*self.acts, *plan.acts])
        return plan

    def _check_run(self, run: Run, plan: _Plan) -> None:
        log = plan.logs.get(run.key) or self.log(run.key)
        if self._endorsed(log) and log.forked_at is not None and run.seq >= log.size and run.end > log.forked_at:
            self._check_branch(run, log, plan)
            return
        ceiling, beyond = self._ceiling(log)
        limit = min(run.end, ceiling)
        if run.seq > log.size:
            plan.outcome.set_aside.append(SetAside(run.key, run.seq, beyond if run.seq >= ceiling else "gap"))
            return
        facts = self._read_rows(run, log)
        shared = min(run.end, log.size)  # below it, both sides hold entries
        joins = facts[shared - run.seq - 1].id if shared > run.seq else run.prev
        if joins != self._id_at(log, shared - 1, plan):
            self._check_divergence(run, facts, log, plan)
            return
        plan.outcome.duplicates += shared - run.seq
        if run.end > limit:
            plan.outcome.set_aside.append(SetAside(run.key, limit, beyond))
        if limit <= log.size:
            return
        self._verify_last(run, facts)
        while limit < run.end and limit > log.size and not self._is_own(run.key, facts[limit - 1 - run.seq]):
            limit -= 1  # so that what counts can be sent on
        if limit > log.size:
            self._plan_rows(run, facts[log.size - run.seq : limit - run.seq], log, plan)

    def _check_branch(self, run: Run, log: LogState, plan: _Plan) -> None:
        """A run above the fork of a log of which a cutoff endorses a branch: held until the branch is whole."""
        before = self._held_id(log, run.seq - 1)
        if run.seq > log.held or run.prev != before:
            plan.outcome.set_aside.append(SetAside(run.key, run.seq, "gap"))
            return
        facts = self._read_rows(run, replace(log, id=self._held_id(log, log.held - 1)))
        self._verify_last(run, facts)
        known = 0
        while known < len(facts) and self._held_id(log, run.seq + known) == facts[known].id:
            known += 1
        plan.outcome.duplicates += known
        if known < len(facts):
            first, rows = run.seq + known, list(run.rows[known:])
            plan.rows.append((log, first, rows, facts[known:]))
            plan.branches.append((log, first))
            plan.logs[run.key] = replace(log, held=first + len(rows), time_ms=facts[-1].time_ms)

    def _read_rows(self, run: Run, log: LogState) -> list[Facts]:
        facts: list[Facts] = []
        key, seq, prev = run.key, run.seq, run.prev
        time_ms = log.time_ms if seq == log.held and prev == log.id else 0  # another branch has its own times
        try:
            for row in run.rows:
                fact = read_row(row, key, seq, prev)
                if fact.body is None and fact.space is None:
                    raise AdmissionError("body", f"entry {seq} of log {_short(key)} comes without its body")
                if fact.time_ms < time_ms:
                    raise AdmissionError("time", f"entry {seq} of log {_short(key)} is dated before its predecessor")
                facts.append(fact)
                time_ms, prev, seq = fact.time_ms, fact.id, seq + 1
        except FormatError as error:
            raise FormatError(f"entry {seq} of log {_short(key)}: {error}") from None
        return facts

    def _verify_last(self, run: Run, facts: list[Facts]) -> None:
        network_id = self._charter.network_id
        last = facts[-1]
        if verify(run.key, signed_bytes(network_id, last.header), last.signature):
            return
        for offset, fact in enumerate(facts):  # name the first entry that its author did not sign
            if not verify(run.key, signed_bytes(network_id, fact.header), fact.signature):
                raise AdmissionError(
                    "signature",
                    f"the signature of entry {run.seq + offset} of log {_short(run.key)} does not verify:"
                    " it was altered, or written for another network",
                )

    def _plan_rows(self, run: Run, facts: list[Facts], log: LogState, plan: _Plan) -> None:
        rows = list(run.rows[log.size - run.seq : log.size - run.seq + len(facts)])
        grown = replace(
            log,
            size=log.size + len(facts),
            id=facts[-1].id,
            time_ms=facts[-1].time_ms,
            peaks=tuple(append(log.peaks, log.size, [fact.id for fact in facts])),
            held=max(log.held, log.size + len(facts)),
        )
        plan.rows.append((log, log.size, rows, facts))
        plan.logs[run.key] = grown
        plan.outcome.new.append(Stretch(run.key, log.size, len(facts)))
        plan.acts += [
            ActEntry(fact.id, run.key, log.size + offset, tuple(fact.refs), fact.body)
            for offset, fact in enumerate(facts)
            if fact.kind == "act"
        ]

    # -- forks ------------------------------------------------------------------------------------

    def _check_divergence(self, run: Run, facts: list[Facts], log: LogState, plan: _Plan) -> None:
        """Find where `run` parts from what is held: a fork when both entries there are signed."""
        self._verify_last(run, facts)
        if run.seq > 0 and run.prev != self._id_at(log, run.seq - 1, plan):
            plan.outcome.diverged.append(Diverged(run.key, run.seq))
            return
        for seq in range(run.seq, min(run.end, log.size)):
            theirs = facts[seq - run.seq]
            if theirs.id == self._id_at(log, seq, plan):
                continue
            mine = self._signed_header(log, seq, plan)
            pair = sorted([mine, (theirs.header, bytes(theirs.signature))], key=lambda item: entry_id(*item))
            if not all(self._is_signed(run.key, *item) for item in pair):
                plan.outcome.set_aside.append(SetAside(run.key, seq, "unproven"))
                return
            found = self._check_fork(Fork(pair[0], pair[1]))
            if plan.rows or plan.acts:
                plan.outcome.set_aside += [SetAside(stretch.key, stretch.first, "gap") for stretch in plan.outcome.new]
                plan.rows, plan.acts, plan.outcome.new = [], [], []
            plan.logs, plan.fork = dict(found.logs), found.fork
            plan.outcome.forks = found.outcome.forks
            return

    def _check_fork(self, fork: Fork) -> _Plan:
        """Check a proof: one certified key, one seq, two ids, two valid signatures."""
        (first, first_signature), (second, second_signature) = fork.first, fork.second
        key, seq = _key_and_seq(first)
        if (key, seq) != _key_and_seq(second) or entry_id(*fork.first) >= entry_id(*fork.second):
            raise FormatError("a fork proof is two different entries of one key and seq, in ascending order of id")
        if self.authority.of(key) is None:
            return _Plan(outcome=Outcome(set_aside=[SetAside(key, seq, "uncertified")]))
        for header, signature in ((first, first_signature), (second, second_signature)):
            if not self._is_signed(key, header, signature):
                raise AdmissionError(
                    "signature", f"the proof that log {_short(key)} forks at {seq} holds a signature that fails"
                )
        log = self.log(key)
        if log.forked_at is not None and log.forked_at <= seq:
            return _Plan(outcome=Outcome(duplicates=1))
        plan = _Plan(logs={key: self._measured(replace(log, forked_at=seq), self.authority)}, fork=(key, seq, fork))
        plan.outcome.forks.append((key, seq))
        return plan

    # -- what counts ------------------------------------------------------------------------------

    def _ceiling(self, log: LogState) -> tuple[int, str]:
        """How many entries of a log may count, and what becomes of the rest: "forked" or "void"."""
        cutoff = self.authority.cutoff(log.key)
        if log.forked_at is not None and (cutoff is None or cutoff.id is None or cutoff.seq >= log.forked_at):
            return (log.size if self._endorsed(log) and log.size > log.forked_at else log.forked_at), "forked"
        if cutoff is None:
            return SEQ_MAX + 1, ""
        return (0 if cutoff.id is None else cutoff.seq + 1), "void"

    def _endorsed(self, log: LogState) -> bool:
        cutoff = self.authority.cutoff(log.key)
        above = cutoff is not None and cutoff.id is not None and log.forked_at is not None
        return above and cutoff.seq >= log.forked_at  # type: ignore[union-attr,operator]

    def _measured(self, log: LogState, authority: Authority) -> LogState:
        """The log with its size as `authority` and its fork allow. Cost: O(size) hashes where that changes it."""
        standing, size = authority.of(log.key), log.held
        cutoff = authority.cutoff(log.key)
        if standing is None:
            size = 0
        elif cutoff is not None:
            size = 0 if cutoff.id is None else min(size, cutoff.seq + 1)
        if log.forked_at is not None and size > log.forked_at:
            whole = cutoff is not None and size == cutoff.seq + 1 and self._held_id(log, cutoff.seq) == cutoff.id
            size = size if whole else log.forked_at
        while 0 < size < log.held and not self._is_own(log.key, self._fact_at(log, size - 1)):
            size -= 1  # back to an entry that can be sent on
        if size == log.size:
            return log
        ids = [raw[:32] for _, raw in self._rows(log, 0, size)]
        return replace(log, size=size, id=EntryId(ids[-1]) if ids else None, peaks=tuple(append((), 0, ids)))

    def _is_own(self, key: PublicKey, fact: Facts) -> bool:
        return self._is_signed(key, fact.header, fact.signature)

    def _is_signed(self, key: PublicKey, header: bytes, signature: bytes) -> bool:
        return verify(key, signed_bytes(self._charter.network_id, header), Signature(signature))

    # -- reading ----------------------------------------------------------------------------------

    def log(self, key: PublicKey) -> LogState:
        """The state of `key`'s log; a new log gets a number, which lasts if something is written to it."""
        if key not in self.logs:
            raw = self._txn.get("logs", key)
            if raw is None:
                log = LogState(key, self._numbers, 0, None, 0, (), 0, None)
                self._numbers += 1
                return log
            self.logs[key] = decode_log(key, raw)
        return self.logs[key]

    def _id_at(self, log: LogState, seq: int, plan: _Plan) -> EntryId | None:
        if seq < 0:
            return None
        if seq == log.size - 1:
            return log.id
        for planned, first, _, facts in plan.rows:
            if planned.key == log.key and first <= seq < first + len(facts):
                return facts[seq - first].id
        return self._held_id(log, seq)

    def _held_id(self, log: LogState, seq: int) -> EntryId | None:
        raw = self._txn.get("rows", PLACE.pack(log.number, seq)) if seq >= 0 else None
        return None if raw is None else EntryId(raw[:32])

    def _fact_at(self, log: LogState, seq: int) -> Facts:
        raw = self._txn.get("rows", PLACE.pack(log.number, seq)) or b""
        return read_row(raw[32:], log.key, seq, self._held_id(log, seq - 1))

    def _signed_header(self, log: LogState, seq: int, plan: _Plan) -> tuple[bytes, bytes]:
        for planned, first, _, facts in plan.rows:
            if planned.key == log.key and first <= seq < first + len(facts):
                return facts[seq - first].header, facts[seq - first].signature
        fact = self._fact_at(log, seq)
        return fact.header, fact.signature

    def _rows(self, log: LogState, first: int, stop: int) -> Iterable[tuple[bytes, bytes]]:
        return self._txn.scan("rows", PLACE.pack(log.number, first), PLACE.pack(log.number, stop))

    # -- writing ----------------------------------------------------------------------------------

    def _write(self, plan: _Plan) -> None:
        txn = self._txn
        for log, first in plan.branches:
            if first < log.held:
                self._make_way(log, first)
        for log, first, rows, facts in plan.rows:
            places = [PLACE.pack(log.number, first + offset) for offset in range(len(rows))]
            txn.put_many("rows", zip(places, [f.id + row for f, row in zip(facts, rows, strict=True)], strict=True))
            txn.put_many("ids", sorted(zip([fact.id for fact in facts], places, strict=True)))
            kinds = [(p, f.kind) for p, f in zip(places, facts, strict=True) if f.kind in INDEXED_KINDS]
            for place, kind in kinds:
                txn.put("kinds", kind_key(kind, place), b"")
            txn.put("arrivals", U64.pack(self._arrival), ARRIVAL.pack(log.number, first, len(rows)))
            self._arrival += len(rows)
        for key, log in plan.logs.items():
            txn.put("logs", key, log.encode())
            txn.put("numbers", U32.pack(log.number), key)
            self.logs[key] = log
        if plan.fork is not None:
            key, seq, fork = plan.fork
            txn.put("forks", key + U64.pack(seq), encode([fork.first, fork.second]))
        if plan.acts or plan.fork is not None or plan.branches:
            self.acts += plan.acts
            again = [plan.fork[0]] if plan.fork is not None else [log.key for log, _ in plan.branches]
            self._renew_authority(again)

    def _renew_authority(self, again: Sequence[PublicKey]) -> None:
        """Evaluate the acts and measure the logs that they speak of, until nothing moves.

        again: logs whose own acts may count otherwise now. It ends because a log moves only by acts of a higher rank.
        """
        moved = list(again)
        while True:
            for key in moved:
                self.acts = [act for act in self.acts if act.key != key]
                self.acts += _acts_of(self._txn, self.log(key))
            before, self.authority = self.authority, evaluate(self._charter, self.acts)
            moved = []
            for key in [*again, *_changed(before, self.authority)]:
                if self._txn.get("logs", key) is None:
                    continue
                log = self.log(key)
                measured = self._measured(log, self.authority)
                self.logs[key] = measured
                if measured != log:
                    self._txn.put("logs", key, measured.encode())
                    if log.forked_at is not None:
                        moved.append(key)
            again = ()
            if not moved:
                return

    def _make_way(self, log: LogState, first: int) -> None:
        """Put the rows of a branch from `first` on beside the log, where `Ledger.entry` still finds them."""
        txn = self._txn
        places = [(place, raw) for place, raw in self._rows(log, first, log.held)]
        prev = self._held_id(log, first - 1) or b""
        for place, raw in places:
            txn.put("branches", raw[:32], pack([place, prev, raw[32:]]))
            txn.delete("rows", place)
            for kind in INDEXED_KINDS:
                txn.delete("kinds", kind_key(kind, place))
            prev = raw[:32]
        stretches = [(at, ARRIVAL.unpack(value)) for at, value in txn.scan("arrivals")]
        for at, (number, start, count) in stretches:
            if number != log.number or start + count <= first:
                continue
            txn.delete("arrivals", at)
            if start < first:
                txn.put("arrivals", at, ARRIVAL.pack(number, start, first - start))


def read_acts(reader: Reader) -> list[ActEntry]:
    """All acts that are held and not disputed, from the store. Cost: O(acts)."""
    acts: list[ActEntry] = []
    for key, raw in reader.scan("logs"):
        acts += _acts_of(reader, decode_log(key, raw))
    return acts


def _acts_of(reader: Reader, log: LogState) -> list[ActEntry]:
    """The acts in one log. Those after its cutoff are among them: whether they count is for `evaluate` to say."""
    acts = []
    first, stop = (kind_key("act", PLACE.pack(log.number, seq)) for seq in (0, log.held))
    for index_key, _ in reader.scan("kinds", first, stop):
        place = index_key[4:]
        _, seq = PLACE.unpack(place)
        if log.forked_at is not None and seq >= max(log.forked_at, log.size):
            break
        raw = reader.get("rows", place) or b""
        _, _, refs, _, body, _ = unpack_row(raw[32:])
        known = tuple(EntryId(ref) for ref in cast("list[bytes]", refs))
        acts.append(ActEntry(EntryId(raw[:32]), log.key, seq, known, body if isinstance(body, bytes) else None))
    return acts


def _changed(before: Authority, after: Authority) -> list[PublicKey]:
    """The keys of whose logs more or less may count now."""
    keys = before.standings.keys() | after.standings.keys()
    return sorted(
        key
        for key in keys
        if (before.of(key) is None) != (after.of(key) is None) or before.cutoff(key) != after.cutoff(key)
    )


def _key_and_seq(header: bytes) -> tuple[PublicKey, int]:
    fields = unpack_row(header)
    if len(fields) != 10 or fields[0] != VERSION or type(fields[1]) is not bytes or type(fields[2]) is not int:
        raise FormatError("a fork proof holds something that is not an entry's header")
    if len(fields[1]) != 32 or fields[2] < 0 or encode(fields) != header:
        raise FormatError("a fork proof holds a header that is not in canonical form")
    return PublicKey(fields[1]), fields[2]


def _short(key: bytes) -> str:
    return key.hex()[:12]
