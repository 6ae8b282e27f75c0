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
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from keys.errors import AdmissionError, FormatError, RemoteError
from keys.signing import PublicKey, Signature, verify
from ledger.authority import ActEntry, Authority, evaluate
from ledger.layout import ARRIVAL, INDEXED_KINDS, PLACE, U32, U64, LogState, decode_log, kind_key
from ledger.storage import Reader, Writer
from protocol.charter import Charter
from protocol.codec import encode, unpack_row
from protocol.entry import VERSION, EntryId, Facts, entry_id, read_row, signed_bytes
from protocol.frame import Run, decode_frame
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
    """A run that cannot be placed. reason: "gap", "uncertified", "forked", or "unproven": it parts from what is held
    at an entry that its author did not sign itself, so there is no proof of the fork, and nobody to blame for it.
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
        limit = run.end if log.forked_at is None else min(run.end, log.forked_at)
        if run.seq > log.size:
            reason = "gap" if log.forked_at is None or log.size < log.forked_at else "forked"
            plan.outcome.set_aside.append(SetAside(run.key, run.seq, reason))
            return
        facts = self._read_rows(run, log)
        shared = min(run.end, log.size)  # below it, both sides hold entries
        joins = facts[shared - run.seq - 1].id if shared > run.seq else run.prev
        if joins != self._id_at(log, shared - 1, plan):
            self._check_divergence(run, facts, log, plan)
            return
        plan.outcome.duplicates += shared - run.seq
        if limit <= log.size:
            if log.forked_at is not None and run.end > limit:
                plan.outcome.set_aside.append(SetAside(run.key, limit, "forked"))
            return
        self._verify_last(run, facts)
        self._plan_rows(run, facts[log.size - run.seq : limit - run.seq], log, plan)

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
            ActEntry(fact.id, run.key, log.size + offset, fact.body)
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
        size = min(log.size, seq)
        ids = [raw[:32] for _, raw in self._rows(log, 0, size)] if size < log.size else []
        cut = replace(log, forked_at=seq)
        if size < log.size:
            cut = replace(cut, size=size, id=EntryId(ids[-1]) if ids else None, peaks=tuple(append((), 0, ids)))
        plan = _Plan(logs={key: cut}, fork=(key, seq, fork))
        plan.outcome.forks.append((key, seq))
        return plan

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
        raw = self._txn.get("rows", PLACE.pack(log.number, seq))
        return None if raw is None else EntryId(raw[:32])

    def _signed_header(self, log: LogState, seq: int, plan: _Plan) -> tuple[bytes, bytes]:
        for planned, first, _, facts in plan.rows:
            if planned.key == log.key and first <= seq < first + len(facts):
                return facts[seq - first].header, facts[seq - first].signature
        raw = self._txn.get("rows", PLACE.pack(log.number, seq)) or b""
        fact = read_row(raw[32:], log.key, seq, self._id_at(log, seq - 1, plan))
        return fact.header, fact.signature

    def _rows(self, log: LogState, first: int, stop: int) -> Iterable[tuple[bytes, bytes]]:
        return self._txn.scan("rows", PLACE.pack(log.number, first), PLACE.pack(log.number, stop))

    # -- writing ----------------------------------------------------------------------------------

    def _write(self, plan: _Plan) -> None:
        txn = self._txn
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
        if plan.acts or plan.fork is not None:
            self._renew_authority(plan)

    def _renew_authority(self, plan: _Plan) -> None:
        self.acts += plan.acts
        if plan.fork is not None:
            key, seq, _ = plan.fork
            self.acts = [act for act in self.acts if act.key != key or act.seq < seq]
        self.authority = evaluate(self._charter, self.acts)


def read_acts(reader: Reader) -> list[ActEntry]:
    """All acts that count, from the store. Cost: O(acts)."""
    acts = []
    logs: dict[int, LogState] = {}
    for index_key, _ in reader.scan("kinds", b"act\x00", b"act\x01"):
        place = index_key[4:]
        number, seq = PLACE.unpack(place)
        if number not in logs:
            key = reader.get("numbers", U32.pack(number)) or b""
            logs[number] = decode_log(key, reader.get("logs", key) or b"")
        if seq < logs[number].size:
            raw = reader.get("rows", place) or b""
            body = unpack_row(raw[32:])[4]
            acts.append(ActEntry(EntryId(raw[:32]), logs[number].key, seq, body if isinstance(body, bytes) else None))
    return acts


def _key_and_seq(header: bytes) -> tuple[PublicKey, int]:
    fields = unpack_row(header)
    if len(fields) != 10 or fields[0] != VERSION or type(fields[1]) is not bytes or type(fields[2]) is not int:
        raise FormatError("a fork proof holds something that is not an entry's header")
    if len(fields[1]) != 32 or fields[2] < 0 or encode(fields) != header:
        raise FormatError("a fork proof holds a header that is not in canonical form")
    return PublicKey(fields[1]), fields[2]


def _short(key: bytes) -> str:
    return key.hex()[:12]
