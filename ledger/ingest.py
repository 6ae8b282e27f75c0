"""Admission: the one door through which entries come into the ledger (SPEC.md 3.5).

A frame is admitted in this order, and wholly or not at all:

1. its shape and bounds (`decode_frame`);
2. each run, in the frame's order:
   a. the author has a certificate chain to the charter: acts earlier in the frame count already;
   b. the run touches what is held: it starts at or before the end of the log;
   c. each row's shape, size, hash and canonical form; times do not go back;
   d. where the run overlaps what is held, the ids are the same;
   e. the signature on the run's last row: with the chain of hashes it proves every row before it;
      Acts and every ANCHOR-th entry of a log are held to their own signatures too;
3. everything is written in one transaction.

A run that fails (a) or (b) is **set aside**: nothing is wrong with it, it only comes too early, and sync brings
it again. One that fails (c) or (e) refuses the whole frame. Where (d) fails that is a **fork**: each side is proved
by the next signature in its chain; the proof is kept, what lies below it counts, what lies above is disputed.

Of a log only so much counts as its author's standing allows: nothing without a certificate, up to the cutoff where
the key was revoked, up to the fork where it signed twice; a cutoff beyond a fork endorses the branch it lies on.
Whenever the acts change, the logs they speak of are measured again. What does not count is kept: in the log, or, where
it made way for an endorsed branch, beside it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import add
from typing import Final, TypeAlias, cast

from keys.errors import AdmissionError, FormatError, RemoteError
from keys.signing import PublicKey
from ledger.authority import Authority, evaluate_held, evaluate_more
from ledger.council import ActEntry
from ledger.held import seqs_of
from ledger.layout import ARRIVAL, INDEXED_KINDS, PLACE, U32, U64, LogState, decode_log, kind_key
from ledger.measure import Measure, ceiling, endorsed
from ledger.storage import Reader, Writer
from protocol.acts import Cutoff
from protocol.charter import Charter
from protocol.codec import decode, encode, pack, unpack_row
from protocol.entry import VERSION, Chain, EntryId, Facts, entry_id, read_rows
from protocol.frame import Run, decode_frame
from protocol.limits import ANCHOR, HEADER_BYTES_MAX, ROOT_ENTRIES_MAX
from protocol.merkle import append
from protocol.message import Fork
from protocol.reconcile import Head


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries that were admitted together: `count` entries of `key`'s log from `first` on."""

    key: PublicKey
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """A run that cannot be placed. reason: "gap", "uncertified", "void" (after its author's cutoff) or "forked"."""

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
    branches: int = 0  # runs that begin a branch beside what is held
    repeated: list[PublicKey] = field(default_factory=list)  # logs of runs that were held wholly
    refused: RemoteError | None = None


_IDS_MAX: Final = 32_768  # held at once
Item: TypeAlias = "bytes | tuple[Run, ...] | Fork"


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one log to be written from `first` on."""

    log: LogState
    first: int
    chain: Chain

    def at(self, key: PublicKey, seq: int) -> int | None:
        """Which of these is the row at `seq` of that log, if it is among them."""
        found = key == self.log.key and self.first <= seq < self.first + len(self.chain)
        return seq - self.first if found else None


@dataclass(slots=True)
class _Plan:
    """What a checked frame will write."""

    logs: dict[PublicKey, LogState] = field(default_factory=dict)
    rows: list[_Rows] = field(default_factory=list)
    beside: list[tuple[_Rows, EntryId | None]] = field(default_factory=list)  # of a branch, and the id before them
    again: list[PublicKey] = field(default_factory=list)  # logs to be measured once that is written
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
        self._measure = Measure(charter.network_id, txn)
        self._forks = read_forks(txn)
        arrival = txn.get("meta", b"arrival")
        self._arrival = U64.unpack(arrival)[0] if arrival else 0
        last = txn.last("numbers")
        self._numbers = U32.unpack(last[0])[0] + 1 if last else 0
        self._ids: dict[bytes, bytes] = {}  # of what was written -> its place: they are written together

    def admit(self, item: Item) -> Outcome:
        """Check and write one item; a refused one writes nothing. Cost: about 7 us an entry, 55 us a run."""
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

    def finish(self) -> dict[PublicKey, Head]:
        """Write the counters; call it once, last. Gives the heads of the logs that changed, as peers are told them."""
        self._txn.put("meta", b"arrival", U64.pack(self._arrival))
        self._put_ids()
        return {key: self._measure.head(log, self.authority) for key, log in self.logs.items()}

    # -- checks: nothing is written ---------------------------------------------------------------

    def _check_frame(self, runs: Sequence[Run]) -> _Plan:
        plan = _Plan()
        authority = self.authority
        for index, run in enumerate(runs):
            if not authority.admits(run.key):
                plan.outcome.set_aside.append(SetAside(run.key, run.seq, "uncertified"))
                continue
            known = len(plan.acts)
            self._check_run(run, plan)
            if plan.fork is not None:  # it goes in by itself; the rest of the frame comes again
                plan.outcome.set_aside += [SetAside(rest.key, rest.seq, "gap") for rest in runs[index + 1 :]]
                break
            if len(plan.acts) > known:
                authority = self._evaluated(authority, [*self.acts, *plan.acts[:known]], plan.acts[known:])
        return plan

    def _check_run(self, run: Run, plan: _Plan) -> None:
        log = plan.logs.get(run.key) or self.log(run.key)
        if self._keeps_beyond(log, run):
            self._check_beyond(run, log, plan)
            return
        most, beyond = ceiling(log, self.authority)
        limit = min(run.end, most)
        if run.seq > log.size:
            if self._parts_beyond(log, run, plan):
                self._check_divergence(run, self._read_rows(run, log), log, plan)
            else:
                plan.outcome.set_aside.append(SetAside(run.key, run.seq, beyond if run.seq >= most else "gap"))
            return
        chain = self._read_rows(run, log)
        shared = min(limit, log.held)  # below it, both sides hold entries
        joins = chain.ids[shared - run.seq - 1] if shared > run.seq else run.prev
        if joins != self._id_at(log, shared - 1, plan):
            self._check_divergence(run, chain, log, plan)
            return
        plan.outcome.duplicates += shared - run.seq
        if run.end > limit:
            plan.outcome.set_aside.append(SetAside(run.key, limit, beyond))
        if limit <= log.size:
            plan.outcome.repeated.append(run.key)
            return
        self._verify_run(run, chain, shared)
        while log.size < limit < run.end and not self._measure.is_own(run.key, chain.fact(limit - 1 - run.seq)):
            limit -= 1  # so that what counts can be sent on
        if limit > log.size:
            self._plan_rows(run, chain.part(0, limit - run.seq), log, plan)

    def _keeps_beyond(self, log: LogState, run: Run) -> bool:
        """Whether entries beyond what counts are kept: a branch that may be the endorsed one, and a root key's."""
        branch = self._may_be_branch(log, run)
        if not self._keeps_void(log) and not branch:
            return False
        if run.seq <= log.held and run.prev == self._measure.held_id(log, run.seq - 1):
            return True
        return branch and self._txn.get("branches", run.prev or b"\x00") is not None

    def _keeps_void(self, log: LogState) -> bool:
        return self.authority.speaks(log.key) and not self.authority.may_write(log.key)

    def _parts_beyond(self, log: LogState, run: Run, plan: _Plan) -> bool:
        """Whether a run follows another entry than the one held, beyond what counts, where that fork is not proved."""
        settled = log.held if log.forked_at is None else min(log.held, log.forked_at)
        return self._keeps_void(log) and run.seq <= settled and run.prev != self._id_at(log, run.seq - 1, plan)

    def _may_be_branch(self, log: LogState, run: Run) -> bool:
        beyond = log.forked_at is not None and run.end > log.forked_at
        return beyond and self._measure.lacks_branch(log, self.authority)

    def _check_beyond(self, run: Run, log: LogState, plan: _Plan) -> None:
        """Keep what joins what is kept; what counts of the log is measured when it is written."""
        chain = self._read_rows(run, replace(log, id=self._measure.held_id(log, log.held - 1)))
        joins = run.prev == self._measure.held_id(log, run.seq - 1)  # the log as it is held, or a branch beside it
        first = run.seq
        while joins and first < run.end and self._measure.held_id(log, first) == chain.ids[first - run.seq]:
            first += 1
        settled = log.held if log.forked_at is None else min(log.held, log.forked_at)
        if first < min(settled, run.end):
            self._check_divergence(run, chain, log, plan)
            return
        plan.outcome.duplicates += first - run.seq
        end, beyond = run.end, "void"
        if self.authority.speaks(log.key):
            end = min(end, ROOT_ENTRIES_MAX)
        if log.forked_at is not None and not self._measure.lacks_branch(log, self.authority):
            end, beyond = min(end, log.forked_at), "forked"
        while first < end < run.end and not self._measure.is_own(run.key, chain.fact(end - 1 - run.seq)):
            end -= 1
        if max(first, end) < run.end:
            plan.outcome.set_aside.append(SetAside(run.key, max(first, end), beyond))
        if first < end:
            self._verify_run(run, chain, first)
            rows = _Rows(log, first, chain.part(first - run.seq, end - run.seq))
            if joins and first == log.held:
                plan.rows.append(rows)
                plan.logs[run.key] = replace(log, held=end, time_ms=chain.times[end - 1 - run.seq])
                plan.outcome.new.append(Stretch(run.key, first, end - first))
            else:
                plan.outcome.branches += joins
                plan.beside.append((rows, chain.ids[first - run.seq - 1] if first > run.seq else run.prev))
                plan.logs[run.key] = log
            plan.again.append(run.key)

    def _read_rows(self, run: Run, log: LogState) -> Chain:
        # another branch has its own times
        time_ms = log.time_ms if run.seq == log.held and run.prev == log.id else 0
        return read_rows(run.rows, run.key, run.seq, run.prev, time_ms)

    def _verify_run(self, run: Run, chain: Chain, first: int) -> None:
        """Check the signatures on the last row, on acts, and on every ANCHOR-th entry, from `first` on."""
        fresh, last = first - run.seq, len(chain) - 1
        proving = {last, *range(fresh + (-first - 1) % ANCHOR, last, ANCHOR)}
        if "act" in chain.kinds:
            proving.update(at for at in range(fresh, last) if chain.kinds[at] == "act")
        if all(self._measure.is_own(run.key, chain.fact(at)) for at in sorted(proving)):
            return
        for at in range(len(chain)):  # name the first entry that its author did not sign
            if not self._measure.is_own(run.key, chain.fact(at)):
                raise AdmissionError(
                    "signature",
                    f"the signature of entry {run.seq + at} of log {_short(run.key)} does not verify:"
                    " it was altered, or written for another network",
                )

    def _plan_rows(self, run: Run, chain: Chain, log: LogState, plan: _Plan) -> None:
        """Let a log grow by the rows of `run` that `chain` holds, those that are held already left out."""
        size = run.seq + len(chain)
        grown = replace(
            log,
            size=size,
            id=chain.ids[-1],
            time_ms=chain.times[-1],
            peaks=tuple(append(log.peaks, log.size, chain.ids[log.size - run.seq :])),
            held=max(log.held, size),
        )
        first = min(log.held, size)
        plan.rows.append(_Rows(log, first, chain.part(first - run.seq, len(chain))))
        plan.logs[run.key] = grown
        plan.outcome.new.append(Stretch(run.key, log.size, size - log.size))
        if "act" in chain.kinds:
            for at in range(first - run.seq, len(chain)):
                if chain.kinds[at] == "act":
                    fact = chain.fact(at)
                    plan.acts.append(ActEntry(fact.id, run.key, run.seq + at, tuple(fact.refs), fact.body))

    # -- forks ------------------------------------------------------------------------------------

    def _check_divergence(self, run: Run, chain: Chain, log: LogState, plan: _Plan) -> None:
        """Find where `run` parts from what is held: a fork when both entries there are signed."""
        self._verify_run(run, chain, run.seq)
        if run.seq > 0 and run.prev != self._id_at(log, run.seq - 1, plan):
            plan.outcome.diverged.append(Diverged(run.key, run.seq))
            return
        for seq in range(run.seq, min(run.end, log.held)):
            if chain.ids[seq - run.seq] == self._id_at(log, seq, plan):
                continue
            if log.forked_at is not None and log.forked_at <= seq:
                plan.outcome.duplicates += 1  # it is proved already
                return
            theirs = self._up_to_own(run.key, map(chain.fact, range(seq - run.seq, len(chain))))
            mine = self._up_to_own(run.key, (self._fact_at(log, at, plan) for at in range(seq, log.held)))
            first, second = sorted([mine, theirs], key=lambda side: entry_id(*side[0]))
            found = self._check_fork(Fork(first[0], second[0], first[1:], second[1:]))
            if plan.rows or plan.beside:
                plan.outcome.set_aside += [SetAside(stretch.key, stretch.first, "gap") for stretch in plan.outcome.new]
                plan.rows, plan.acts, plan.beside, plan.again, plan.outcome.new = [], [], [], [], []
            plan.logs, plan.fork = dict(found.logs), found.fork
            plan.outcome.forks = found.outcome.forks
            return

    def _check_fork(self, fork: Fork) -> _Plan:
        """Check a proof: one certified key, one seq, two ids, each proved by a valid signature in its chain."""
        (key, seq), other = (_place_of_chain(side) for side in fork.sides)
        if (key, seq) != other or entry_id(*fork.first) >= entry_id(*fork.second):
            raise FormatError("a fork proof is two different entries of one key and seq, in ascending order of id")
        if not self.authority.admits(key):
            return _Plan(outcome=Outcome(set_aside=[SetAside(key, seq, "uncertified")]))
        if not all(self._measure.is_signed(key, *side[-1]) for side in fork.sides):
            raise AdmissionError(
                "signature", f"the proof that log {_short(key)} forks at {seq} holds a signature that fails"
            )
        log = self.log(key)
        if log.forked_at is not None and log.forked_at <= seq:
            return _Plan(outcome=Outcome(duplicates=1))
        log = self._measure.counting(replace(log, forked_at=seq), self.authority)
        plan = _Plan(logs={key: log}, fork=(key, seq, fork))
        plan.outcome.forks.append((key, seq))
        return plan

    # -- signatures -------------------------------------------------------------------------------

    def _up_to_own(self, key: PublicKey, facts: Iterable[Facts]) -> tuple[tuple[bytes, bytes], ...]:
        """Headers and signatures from the start of a chain to the first that proves it, within ANCHOR entries."""
        side: list[tuple[bytes, bytes]] = []
        for fact in facts:
            side.append((fact.header, bytes(fact.signature)))
            if self._measure.is_own(key, fact):
                break
        return tuple(side)

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
        for rows in plan.rows:
            if (at := rows.at(log.key, seq)) is not None:
                return rows.chain.ids[at]
        return self._measure.held_id(log, seq)

    def _fact_at(self, log: LogState, seq: int, plan: _Plan) -> Facts:
        for rows in plan.rows:
            if (at := rows.at(log.key, seq)) is not None:
                return rows.chain.fact(at)
        return self._measure.fact_at(log, seq)

    # -- writing ----------------------------------------------------------------------------------

    def _write(self, plan: _Plan) -> None:
        txn = self._txn
        for rows in plan.rows:
            self._put_rows(rows)
        for rows, prev in plan.beside:
            self._put_beside(rows, prev)
        for key, log in plan.logs.items():
            txn.put("logs", key, log.encode())
            if key not in self.logs:  # it is new
                txn.put("numbers", U32.pack(log.number), key)
            self.logs[key] = log
        if plan.fork is not None:
            key, seq, fork = plan.fork
            txn.put("forks", key + U64.pack(seq), encode(fork.value()))
            self._forks[key] = min(seq, self._forks.get(key, seq))
        if plan.acts or plan.fork is not None or plan.again:
            self._renew_authority(plan.acts, [plan.fork[0]] if plan.fork is not None else plan.again)
        for rows, _ in plan.beside:
            log = self.log(rows.log.key)
            if log.size > rows.log.size:  # the branch is whole
                plan.outcome.new.append(Stretch(log.key, rows.log.size, log.size - rows.log.size))

    def _renew_authority(self, more: Sequence[ActEntry], again: Sequence[PublicKey]) -> None:
        """Evaluate the acts, and measure the logs of which something else counts now.

        more: acts that have come. again: logs of which other acts are held, or which are forked, since they were read.
        """
        before, fresh = self.authority, set(again)
        back: set[PublicKey] = set()
        if not fresh:
            self.authority = self._evaluated(before, self.acts, more)
        self.acts += more
        while True:
            if fresh:
                self.acts = [act for act in self.acts if act.key not in fresh]
                for key in sorted(fresh):
                    self.acts += _acts_of(self._txn, self.log(key))
                self.authority = evaluate_held(self._charter, self.acts, self._forks, self._holds)
            fresh = {key for key in self._forks if key not in back and self._restored(self.log(key))}
            if not fresh:
                break
            back |= fresh  # a branch comes back once
        moved = set(again) | back | (before.endorsed ^ self.authority.endorsed)
        for key in sorted(moved.union(_changed(before, self.authority))):
            if self._txn.get("logs", key) is not None:
                log = self.log(key)
                self.logs[key] = self._measure.counting(log, self.authority)
                if self.logs[key] != log:
                    self._txn.put("logs", key, self.logs[key].encode())

    def _evaluated(self, before: Authority, acts: Sequence[ActEntry], more: Sequence[ActEntry]) -> Authority:
        return evaluate_more(self._charter, before, acts, more, self._forks, self._holds)

    def _holds(self, cutoff: Cutoff) -> bool:
        return self._measure.holds(self.log(cutoff.key), cutoff)

    def _put_rows(self, new: _Rows) -> None:
        txn, number, chain = self._txn, new.log.number, new.chain
        places = [PLACE.pack(number, seq) for seq in range(new.first, new.first + len(chain))]
        txn.put_many("rows", zip(places, map(add, chain.ids, chain.rows), strict=True))
        self._ids.update(zip(chain.ids, places, strict=True))
        if len(self._ids) >= _IDS_MAX:
            self._put_ids()
        if not INDEXED_KINDS.isdisjoint(chain.kinds):
            for place, kind in zip(places, chain.kinds, strict=True):
                if kind in INDEXED_KINDS:
                    txn.put("kinds", kind_key(kind, place), b"")
        if places:
            txn.put("arrivals", U64.pack(self._arrival), ARRIVAL.pack(number, new.first, len(places)))
            self._arrival += len(places)

    def _put_beside(self, new: _Rows, prev: EntryId | None) -> None:
        """Keep entries of a branch beside the log, where `Ledger.entry` finds them."""
        for offset, (known, row) in enumerate(zip(new.chain.ids, new.chain.rows, strict=True)):
            place = PLACE.pack(new.log.number, new.first + offset)
            self._txn.put("branches", known, pack([place, prev or b"", row]))
            self._ids[known] = place
            prev = known

    def _put_ids(self) -> None:
        ids = sorted(self._ids)
        self._txn.put_many("ids", zip(ids, map(self._ids.__getitem__, ids), strict=True))
        self._ids = {}

    def _restored(self, log: LogState) -> bool:
        """Put the branch that the cutoff endorses in its place, where it is kept whole beside the log; True: it was."""
        cutoff = self.authority.cutoff(log.key)
        if cutoff is None or not endorsed(log, self.authority):
            return False
        aside: list[bytes] = []
        known, seq = cutoff.id, cutoff.seq
        while self._measure.held_id(log, seq) != known:
            raw = self._txn.get("branches", known or b"\x00")
            if raw is None:
                return False
            _, prev, row = unpack_row(raw)
            aside.append(cast("bytes", row))
            known, seq = EntryId(cast("bytes", prev)) if prev else None, seq - 1
        if not aside:
            return False
        self._make_way(log, seq + 1)
        chain = read_rows(aside[::-1], log.key, seq + 1, known, None)
        for known in chain.ids:
            self._txn.delete("branches", known)
        self._put_rows(_Rows(log, seq + 1, chain))
        back = replace(log, held=cutoff.seq + 1, time_ms=chain.times[-1])
        self._txn.put("logs", log.key, back.encode())
        self.logs[log.key] = back
        return True

    def _make_way(self, log: LogState, first: int) -> None:
        """Put the rows of a branch from `first` on beside the log, where `Ledger.entry` still finds them."""
        txn = self._txn
        held = list(self._measure.rows(log, first, log.held))
        prev = self._measure.held_id(log, first - 1) or b""
        for place, raw in held:
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


def read_forks(reader: Reader) -> dict[PublicKey, int]:
    """The forked logs, and the lowest seq at which each is proved to fork."""
    found: dict[PublicKey, int] = {}
    for at, _ in reader.scan("forks"):
        found.setdefault(PublicKey(at[:32]), U64.unpack(at[32:])[0])  # they come in order of seq
    return found


def read_acts(reader: Reader) -> list[ActEntry]:
    """All acts in logs as they are held, from the store. Cost: O(acts)."""
    acts: list[ActEntry] = []
    for key, raw in reader.scan("logs"):
        acts += _acts_of(reader, decode_log(key, raw))
    return acts


def _acts_of(reader: Reader, log: LogState) -> list[ActEntry]:
    """The acts in one log, all of them: whether they count is for `evaluate_held` to say."""
    acts = []
    for seq in seqs_of(reader, log, "act", 0, log.held):
        raw = reader.get("rows", PLACE.pack(log.number, seq)) or b""
        _, _, refs, _, body, _ = unpack_row(raw[32:])
        known = tuple(EntryId(ref) for ref in cast("list[bytes]", refs))
        kept = body if isinstance(body, bytes) else None
        beyond = log.forked_at is not None and seq >= log.forked_at
        acts.append(ActEntry(EntryId(raw[:32]), log.key, seq, known, kept, beyond))
    return acts


def _changed(before: Authority, after: Authority) -> list[PublicKey]:
    """The keys of whose logs more or less may count now."""
    moved = before.council.speakers ^ after.council.speakers  # of these other heads are told
    keys = before.standings.keys() | after.standings.keys()
    return sorted(
        moved.union(
            key
            for key in keys
            if before.of(key) is not after.of(key)
            if (before.of(key) is None) != (after.of(key) is None) or before.cutoff(key) != after.cutoff(key)
        )
    )


def _place_of_chain(side: Sequence[tuple[bytes, bytes]]) -> tuple[PublicKey, int]:
    """Whose entry a side of a fork proof begins with, and its seq. Raises FormatError where it is no chain."""
    start = key, seq, _ = _link_of(side[0][0])
    for offset, (before, (header, _)) in enumerate(pairwise(side), 1):
        if _link_of(header) != (key, seq + offset, entry_id(*before)):
            raise FormatError("a side of a fork proof is entries of one log, each the next after the one before it")
    return start[0], start[1]


def _link_of(header: bytes) -> tuple[PublicKey, int, object]:
    """Key, seq and prev of a header."""
    fields = decode(header, size_max=HEADER_BYTES_MAX)
    if type(fields) is not list or len(fields) != 10 or type(fields[0]) is not int or fields[0] != VERSION:
        raise FormatError("a fork proof holds something that is not an entry's header")
    if type(fields[1]) is not bytes or len(fields[1]) != 32 or type(fields[2]) is not int or fields[2] < 0:
        raise FormatError("a fork proof holds a header of no key or no seq")
    return PublicKey(fields[1]), fields[2], fields[3]


def _short(key: bytes) -> str:
    return key.hex()[:12]
