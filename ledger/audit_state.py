"""The state of one audit, and what is concluded from it: who has standing, what counts, what is found.

Used by `ledger/audit.py`, which says what is checked and in which order.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from keys.signing import PublicKey
from ledger.audit_authority import HeldAct, Judgement, ever_named, judge_held
from ledger.audit_branch import adopt, held_chain, judge_asides, note_branches
from ledger.audit_checkpoint import Bodies, Checkpoints, State
from ledger.audit_finding import Findings, Owners, Report, short
from ledger.audit_journal import Journal
from ledger.audit_log import Log, Logs, Recount
from ledger.audit_since import AuditedBefore, Mark
from ledger.audit_stretch import Checked, Checker, Result, Spread, Stretch, Task, one_by_one
from protocol.acts import Certify, Cutoff, parse_act
from protocol.charter import Charter
from protocol.entry import EntryId
from protocol.limits import ROOT_ENTRIES_MAX
from protocol.merkle import log_leaf, root, tree_root

Tell: TypeAlias = Callable[[int, float], None]  # how many entries were read, and about what part of all that is


@dataclass(frozen=True, slots=True)
class Options:
    """How to audit."""

    spread: Spread = one_by_one
    journal: Journal | None = None  # what an interrupted audit had checked, and what this one checks
    since: Mark | None = None  # what names the checkpoint up to which all was audited before
    tell: Tell | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What a source holds of one log, as far as it is whole and proved."""

    size: int
    id: EntryId | None
    forked_at: int | None
    limit: int | None  # how much of it can count; None: all
    cutoff: Cutoff | None = None  # the key's


@dataclass(frozen=True, slots=True)
class Audited:
    """One source, audited: its report, and what it takes to compare it with others."""

    report: Report
    held: Mapping[PublicKey, Held]
    owners: Owners


class Source(Protocol):
    """Where entries come from: a bundle or a store."""

    def first_look(self, bodies: Bodies) -> None:
        """Hand the checkpoints' bodies to `bodies`; nothing is checked."""

    def rows(self, keys: Iterable[PublicKey]) -> Iterator[tuple[PublicKey, int, EntryId | None, EntryId, bytes]]:
        """The rows of those logs: key, seq, id before it, id, row. Each log in order, as far as it can be read."""

    def ids_at(self, places: set[tuple[PublicKey, int]]) -> dict[tuple[PublicKey, int], EntryId]:
        """The ids at those places, as far as they are held."""

    def marks(self) -> Iterator[tuple[PublicKey, int, EntryId, bytes]]:
        """Checkpoint entries in order of each log: key, seq, id, body; nothing is checked."""

    def finish(self, logs: Logs) -> None:
        """Check what can be checked only once it is known what counts."""


class Audit:
    """What was found so far. A source hands in its checkpoints (`want`), then its stretches (`take`)."""

    def __init__(self, charter: Charter, options: Options, before: AuditedBefore | None) -> None:
        """before: what need not be checked again."""
        self.findings = Findings()
        self.logs = Logs(charter.network_id, self.findings)
        self._charter = charter
        self._options = options
        self._before = before
        self._bodies = Bodies()
        self._as_before = True

    # -- reading ----------------------------------------------------------------------------------

    def want(self, bodies: Bodies) -> None:
        """Note the roots of logs that checkpoints attest. Comes before any entry."""
        self._bodies = bodies
        self.logs.wanted = self._wanted()

    def _wanted(self) -> dict[PublicKey, set[int]]:
        wanted = self._bodies.wanted()
        for key, (size, _) in () if self._before is None else self._before.state.items():
            wanted.setdefault(key, set()).add(size)
        return wanted

    def spread(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Have tasks checked, wherever there is room; they come back in order."""
        journal, before = self._options.journal, self._before
        sizes = {} if before is None else {key: size for key, (size, _) in before.state.items()}
        checker = Checker(self._charter.network_id, frozenset() if journal is None else journal.known, sizes)
        return self._options.spread(checker, tasks)

    def take(self, stretch: Stretch, checked: Checked | None) -> bool:
        """Take a stretch, if all is well with it; False: look at each row."""
        if checked is None or not self.logs.stretch(stretch, checked):
            return False
        journal = self._options.journal
        if journal is not None and checked.signatures and all(item.note is not False for item in checked.special):
            journal.met.add(checked.digest)
        return True

    def told(self, part: float) -> None:
        """Say how far the audit is."""
        if self._options.tell is not None:
            self._options.tell(self.logs.entries, min(part, 1.0))

    # -- 12 to 15: authority, checkpoints, the tables ---------------------------------------------

    def conclude(self, source: Source) -> Audited:
        """End the audit, once all entries were read."""
        self.logs.settle()
        judge_asides(self.logs, source, self.findings)
        for log in self.logs.logs.values():
            log.chained = log.read_whole = log.size
        note_branches(self.logs, source, self._wanted() if any(log.asides for log in self.logs.logs.values()) else {})
        named = ever_named(self._charter, self.logs.all_acts())
        judgement = self._judge(source, named)
        limits = {key: self._limit(key, judgement, named) for key in self.logs.logs}

        def limit(key: PublicKey) -> int | None:
            return limits[key] if key in limits else self._limit(key, judgement, named)

        if self._before is not None:
            self._compare_before(self._before)
        checkpoints = Checkpoints(self.logs.logs, judgement, limit, self.findings)
        self._check_checkpoints(checkpoints, source)
        self._say_forks(judgement)
        self._say_left_out(judgement, named)
        source.finish(self.logs)
        owners = self._owners(judgement)
        return Audited(self._report(checkpoints.agreed, owners), self._held(limits, judgement), owners)

    def as_before(self) -> bool:
        """Whether what was audited before is still the same."""
        return self._as_before

    def _judge(self, source: Source, named: set[PublicKey]) -> Judgement:
        """Say what counts of each log, reading those again that are cut.

        Acts of an author who was never named are not read, not even for a consent in them: no node ever took them in.
        """
        logs = self.logs.logs
        forks = {key: log.forked_at for key, log in logs.items() if log.forked_at is not None}

        chains: dict[Cutoff, Sequence[HeldAct] | None] = {}

        def chain(cutoff: Cutoff) -> Sequence[HeldAct] | None:
            if cutoff not in chains:
                chains[cutoff] = held_chain(self.logs, source, cutoff)
            return chains[cutoff]

        acts = [act for act in self.logs.acts if act.key in named]
        judgement = judge_held(self._charter, acts, {key: seq for key, seq in forks.items() if key in named}, chain)
        recounts: dict[PublicKey, Recount] = {}
        for key, log in logs.items():
            most = _most(log, judgement)
            limit = log.size if most is None else min(log.size, most)
            cutoff = judgement.cutoffs.get(key)
            if key in judgement.endorsed and most and cutoff is not None:
                if adopt(log, cutoff, most):
                    continue
                limit = min(limit, log.branch[0].seq) if log.branch else limit
            if limit == 0:
                log.size, log.head, log.peaks = 0, None, []
            elif limit < log.size or log.own < log.size:
                recounts[key] = Recount(key, limit, self._charter.network_id)
        for key, seq, prev, known, row in source.rows(recounts) if recounts else ():
            recounts[key].take(seq, prev, known, row)
        for key, recount in recounts.items():
            logs[key].size, logs[key].head, logs[key].peaks = recount.own
        return judgement

    def _limit(self, key: PublicKey, judgement: Judgement, named: set[PublicKey]) -> int | None:
        """How many entries of a log can count, whatever is held of it; None: all. An unknown key's may."""
        if key not in judgement.standing and key not in named:
            return None
        return _most(self.logs.logs.get(key) or Log(key), judgement)

    def _compare_before(self, before: AuditedBefore) -> None:
        state = State(self.logs.logs)
        for key, (size, known) in sorted(before.state.items()):
            state.set(key, size, known)
        self._as_before = state.root() == before.root
        entries = sum(size for size, _ in before.state.values())
        found = f"{entries} entries up to this checkpoint were audited before; their signatures were not checked again"
        means = "their hashes lead to the root that it attests: they are the same"
        self.findings.note("since", before.key, before.seq, before.id, found, means)

    def changed_since(self, before: AuditedBefore) -> None:
        """Say that what was audited before is no longer here as it was."""
        found = "what this checkpoint attests, and was audited before, is not here as it was"
        means = "it was altered, or is not all here: all was audited anew"
        self.findings.fault("since", before.key, before.seq, before.id, found, f"root {before.root.hex()}", means)

    def _check_checkpoints(self, checkpoints: Checkpoints, source: Source) -> None:
        bodies = self._bodies
        checkpoints.all(bodies)
        while bodies.later:
            bodies = bodies.next_round()
            source.first_look(bodies)
            wanted = bodies.wanted()
            self._note_roots(wanted, source)
            note_branches(self.logs, source, wanted)
            checkpoints.all(bodies)
        checkpoints.alarms()
        checkpoints.clocks()

    def _note_roots(self, wanted: Mapping[PublicKey, set[int]], source: Source) -> None:
        """Read the logs again, for the roots that another round of checkpoints attests."""
        again = {key: Log(key, wanted=sorted(sizes, reverse=True)) for key, sizes in wanted.items()}
        for key, seq, prev, known, _ in source.rows(sorted(again)):
            log, read = again[key], self.logs.logs.get(key)
            if read is not None and seq == log.size < read.read_whole and prev == log.head:
                log.grow((known,))
        for key, read in self.logs.logs.items():
            read.roots = again[key].roots if key in again else {}

    # -- the report -------------------------------------------------------------------------------

    def _report(self, agreed: int, owners: Owners) -> Report:
        logs = self.logs.logs
        counted = [logs[key] for key in sorted(logs) if logs[key].size]
        leaves = (log_leaf(log.key, log.size, root(log.peaks)) for log in counted)
        faults, notes = self.findings.named(owners)
        return Report(
            self._charter.network_id, tree_root(leaves), sum(log.first is not None for log in logs.values()),
            self.logs.entries, self.logs.signatures, agreed, faults, notes,
            self.findings.fault_count, self.findings.note_count,
        )  # fmt: skip

    def _held(self, limits: Mapping[PublicKey, int | None], judgement: Judgement) -> dict[PublicKey, Held]:
        return {
            key: Held(log.own, log.own_id, log.forked_at, limits[key], judgement.cutoffs.get(key))
            for key, log in self.logs.logs.items()
            if log.own or log.forked_at is not None or limits[key] is not None
        }

    def _say_forks(self, judgement: Judgement) -> None:
        for key, seq, ids in self.logs.forks:
            found = f"the author signed two entries at seq {seq}, {short(ids[0])} and {short(ids[1])}"
            by = judgement.settled_by.get(key)
            if by is None:
                means = "the key was copied or restored from a backup; entries from there on are disputed"
                self.findings.fault("fork", key, seq, ids[0], found, "one", means)
            else:
                means = f"settled by act {by.hex()}, which says what counts of it"
                self.findings.note("fork", key, seq, ids[0], found, means)

    def _say_left_out(self, judgement: Judgement, named: set[PublicKey]) -> None:
        for key in sorted(self.logs.logs):
            log = self.logs.logs[key]
            if log.first is not None and key not in judgement.standing:
                self._uncertified(log, fallen=key in named)
            elif log.chained > log.size or log.asides:
                self._left_out(log, judgement)

    def _uncertified(self, log: Log, *, fallen: bool) -> None:
        if fallen:
            found = "this author's certificate fell"
            means = f"the {log.held + len(log.asides)} entries are kept, and do not count"
            self.findings.note("uncertified", log.key, log.first, None, found, means)
            return
        found = "no chain of certificates leads from this log's author to the charter"
        means = f"its {log.held} entries carry no authority"
        self.findings.fault("uncertified", log.key, log.first, None, found, "one, as every author needs", means)

    def _left_out(self, log: Log, judgement: Judgement) -> None:
        """Notes of what is held and does not count: void after a cutoff, disputed where that is not decided."""
        cutoff = judgement.cutoffs.get(log.key)
        end = log.chained if cutoff is None else max(log.size, min(log.chained, cutoff.end))
        if end > log.size:
            why = "no later signature of it could be passed on" if log.forked_at is None else f"fork at {log.forked_at}"
            found = f"{end - log.size} entries from seq {log.size} on are kept"
            self.findings.note("disputed", log.key, log.size, None, found, f"they do not count ({why})")
        by = judgement.settled_by.get(log.key)
        if log.chained > end and by is not None:
            found = f"{log.chained - end} entries from seq {end} on lie after the cutoff that act {by.hex()} set"
            self.findings.note("void", log.key, end, None, found, "they are kept, and do not count")
        aside = len(log.asides)
        if log.branch:  # what was read as the log makes way for it
            aside += log.held - log.branch[0].seq - len(log.branch)
        if aside:
            found = f"{aside} entries lie on another branch than the one that counts, or after the cutoff"
            kind = "void" if cutoff is not None else "disputed"
            self.findings.note(kind, log.key, log.forked_at, None, found, "they are kept, and do not count")

    def _owners(self, judgement: Judgement) -> Owners:
        """Whose key it is: by standing, or else by any certificate, which need not count."""
        found: dict[bytes, tuple[str, str]] = {}
        for act in self.logs.all_acts():
            parsed = parse_act(act.body)
            if isinstance(parsed, Certify):
                found[parsed.subject] = parsed.name, parsed.agency
        found |= {key: (known.name, known.agency) for key, known in judgement.standing.items()}
        return lambda key: found.get(key or b"", (None, None))


def _most(log: Log, judgement: Judgement) -> int | None:
    """How many entries of a log can count, by what cuts it; None: all."""
    limits: list[int] = []
    if log.key not in judgement.standing:
        limits.append(0)
    cutoff = judgement.cutoffs.get(log.key)
    if cutoff is not None:
        limits.append(cutoff.end)
    if log.forked_at is not None and log.key not in judgement.endorsed:
        limits.append(log.forked_at)
    if log.key in judgement.heard:
        limits.append(ROOT_ENTRIES_MAX)
    return min(limits, default=None)
