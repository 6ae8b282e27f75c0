"""The audit of checkpoints and alarms: is what a node attests what is held here? Used by `ledger/audit.py`.

    bodies = Bodies(); bodies.take(key, body)     # a first look at the source
    bodies.wanted()                                    # log -> the sizes at which its root is needed
    ...                                                # the logs are read, and their roots noted (`Log.roots`)
    Checkpoints(...).all(bodies)                       # the states of every node, in order, compared with that

Of each checkpoint that counts (SPEC.md 7.1, 7.2):

| kind              | fault of          | when                                                                         |
|-------------------|-------------------|------------------------------------------------------------------------------|
| `checkpoint`      | the node          | its entries do not make a checkpoint, or do not add up                       |
| `checkpoint-note` | the node          | its note is not signed by the node                                           |
| `held-back`       | whoever left out  | entries of its state are not in this source, and would count                 |
| `parts`           | author, or node   | another entry stands here at the end of a log of its state; no fork is known |
| `differs`         | the node          | all its state is held here, and gives another root                           |
| `alarm`           | the alarming node | an alarm says what is not so                                                 |

A note of kind `clock` says that a log's last entry is dated over CLOCK_MS after a checkpoint that attests it. Dates do
not go back along a log, so a clock that was ever ahead shows there.

Memory: a round holds the checkpoints' bodies of as many nodes as fit in BODIES_BYTES_MAX, of one at least, and a root
for each head in them. Cost: O(logs) hashes a checkpoint.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey
from ledger.audit_authority import Judgement
from ledger.audit_branch import Attestation
from ledger.audit_finding import Findings, short
from ledger.audit_log import Log
from protocol.body import parse_alarm
from protocol.checkpoint import Attested, Chain, Whole, parse_checkpoint
from protocol.entry import EntryId
from protocol.merkle import log_leaf, tree_root

BODIES_BYTES_MAX: Final = 64 * 1024 * 1024
CLOCK_MS: Final = 3_600_000  # an hour: what a wrong zone makes, and no drift does


@dataclass(slots=True)
class Bodies:
    """The bodies of checkpoint entries, by node and SHA-256, as far as they fit."""

    later: set[PublicKey] = field(default_factory=set)  # nodes whose bodies did not fit
    done: set[PublicKey] = field(default_factory=set)  # nodes that were dealt with in an earlier round
    held: dict[PublicKey, dict[bytes, bytes]] = field(default_factory=dict)
    _size: int = 0

    def take(self, key: PublicKey, body: bytes) -> None:
        """Keep a body."""
        if key in self.done or key in self.later:
            return
        self.held.setdefault(key, {})[sha256(body).digest()] = body
        self._size += len(body)
        if self._size > BODIES_BYTES_MAX and len(self.held) > 1:
            self._size -= sum(map(len, self.held.pop(key).values()))
            self.later.add(key)

    def next_round(self) -> "Bodies":
        """Empty, for the nodes that did not fit."""
        return Bodies(done=self.done | set(self.held))

    def wanted(self) -> dict[PublicKey, set[int]]:
        """Of each log the sizes that a state may have, whichever branch its node's checkpoints lie on."""
        found: dict[PublicKey, set[int]] = {}
        for bodies in self.held.values():
            for body in bodies.values():
                for head in _heads(body):
                    if head.size:
                        found.setdefault(head.key, set()).add(head.size)
        return found


def read_chain(
    bodies: Iterable[tuple[int, bytes | None]],
) -> Iterator[tuple[int, Whole | None, str, Chain]]:
    """Seq, the checkpoint that it completes, what is wrong, and the chain with its state; entry by entry.

    After a body that is missing, nothing is wrong with the checkpoints up to the next full one: they cannot be read.
    """
    chain, lost = Chain(), False
    for seq, body in bodies:
        if body is None:
            chain, lost = Chain(), True
            yield seq, None, "", chain
            continue
        whole, wrong = chain.take(seq, body)
        unread = lost and chain.whole is None
        yield seq, whole, "" if unread else wrong, chain


class State:
    """What a node attests, compared log by log with what is held."""

    def __init__(self, logs: Mapping[PublicKey, Log]) -> None:
        self._logs = logs
        self.missing: dict[PublicKey, int] = {}  # -> the size attested
        self.parts: dict[PublicKey, tuple[int, EntryId]] = {}
        self._leaves: dict[PublicKey, bytes] = {}
        self._order: list[PublicKey] = []

    def apply(self, whole: Whole, chain: Chain) -> None:
        """Go on to the next checkpoint."""
        if whole.full:
            self.missing, self.parts, self._leaves, self._order = {}, {}, {}, []
            for key, (size, known) in chain.state.items():
                self.set(key, size, known)
            return
        for head in whole.heads:
            self.missing.pop(head.key, None)
            self.parts.pop(head.key, None)
            if self._leaves.pop(head.key, None) is not None:
                del self._order[bisect_left(self._order, head.key)]
            if head.id is not None:
                self.set(head.key, head.size, head.id)

    def set(self, key: PublicKey, size: int, known: EntryId) -> None:
        """Say what is attested of one log of which nothing was said."""
        log = self._logs.get(key)
        here = None if log is None else log.root_at(size, known)
        if here is not None:
            self._leaves[key] = log_leaf(key, size, here)
            insort(self._order, key)
        elif log is not None and size in log.roots:
            self.parts[key] = size, known
        else:
            self.missing[key] = size

    def root(self) -> bytes | None:
        """The ledger root of the state; None where not all of it is held here."""
        return None if self.missing or self.parts else tree_root(self._leaves[key] for key in self._order)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a checkpoint attests, and what is held here: None where that cannot be said."""

    attested: bytes
    here: bytes | None


class Checkpoints:
    """Judges the checkpoints and alarms of one source, once authority is known and the logs' roots were noted."""

    def __init__(
        self,
        logs: Mapping[PublicKey, Log],
        judgement: Judgement,
        limit: Callable[[PublicKey], int | None],
        findings: Findings,
    ) -> None:
        """limit: how many entries of a log can count, or None."""
        self.agreed = 0
        self.verdicts: dict[EntryId, Verdict] = {}  # those that alarms are about
        self._logs = logs
        self._judgement = judgement
        self._limit = limit
        self._findings = findings
        self._ahead: dict[PublicKey, tuple[int, PublicKey, Attestation]] = {}  # by how much a log's dates are ahead
        self._asked = {known for known in map(_alarmed, self._alarms()) if known is not None}

    def all(self, bodies: Bodies) -> None:
        """Judge the checkpoints of the nodes whose bodies are held."""
        for key in sorted(self._logs):
            log = self._logs[key]
            if not log.checkpoints or key in bodies.later or key in bodies.done:
                continue
            standing = self._judgement.standing.get(key)
            if standing is None or standing.rank != "node":
                item = log.checkpoints[0]
                found = f"{len(log.checkpoints)} checkpoint entries by a key that is no node"
                self._findings.note("checkpoint", key, item.seq, item.id, found, "they attest nothing")
                continue
            self._node(log, bodies.held.get(key, {}))

    def _node(self, log: Log, bodies: Mapping[bytes, bytes]) -> None:
        counted = [item for item in log.checkpoints if item.seq < log.size]
        state = State(self._logs)
        missing: dict[PublicKey, tuple[int, Attestation]] = {}
        parts: dict[PublicKey, tuple[int, EntryId, Attestation]] = {}
        chain = read_chain((item.seq, bodies.get(item.body_hash)) for item in counted)
        for item, (seq, whole, wrong, read) in zip(counted, chain, strict=True):
            if wrong:
                expected = "entries that make a checkpoint (SPEC.md 7.1)"
                means = "what this node attests cannot be told from it"
                self._findings.fault("checkpoint", log.key, seq, item.id, wrong, expected, means)
            if item.note is False:
                found, expected = "the note of this checkpoint is not signed by the node", "a signature by its key"
                means = "programs that read signed notes will refuse it"
                self._findings.fault("checkpoint-note", log.key, seq, item.id, found, expected, means)
            if whole is None:
                continue
            state.apply(whole, read)
            self._look_at_clocks(log.key, item, whole)
            for key, size in state.missing.items():
                if key not in missing or size > missing[key][0]:
                    missing[key] = size, item
            for key, (size, known) in state.parts.items():
                parts.setdefault(key, (size, known, item))
            self._compare(log.key, item, whole, state.root())
        self._say_missing(log.key, missing)
        self._say_parts(log.key, parts)

    def _compare(self, node: PublicKey, item: Attestation, whole: Whole, here: bytes | None) -> None:
        if item.id in self._asked:
            self.verdicts[item.id] = Verdict(whole.root, here)
        if here == whole.root:
            self.agreed += 1
        elif here is not None:
            found = f"this checkpoint attests root {whole.root.hex()} of {whole.entries} entries in {whole.logs} logs"
            means = "with the same entries at the ends of all logs there is one root: this node's word is false"
            self._findings.fault("differs", node, item.seq, item.id, found, here.hex(), means)

    def _say_missing(self, node: PublicKey, missing: Mapping[PublicKey, tuple[int, Attestation]]) -> None:
        for key, (size, item) in sorted(missing.items()):
            log = self._logs.get(key)
            held = 0 if log is None else log.chained
            limit = self._limit(key)
            if size <= held or (log is not None and not log.whole and log.next >= size):
                continue  # it is here, and in pieces: that is a fault already
            found = (
                f"{size - held} entries from seq {held} on are not here; checkpoint {short(item.id)} (seq {item.seq})"
                f" of node {short(node)} attests that it held them"
            )
            if limit is not None and held >= limit:
                means = "they would not count: what a cutoff or a fork has made void is not passed on"
                self._findings.note("held-back", key, held, None, found, means)
            else:
                means = "they exist, and whoever made this source left them out or was not given them"
                self._findings.fault("held-back", key, held, None, found, f"{size} entries", means)

    def _say_parts(self, node: PublicKey, parts: Mapping[PublicKey, tuple[int, EntryId, Attestation]]) -> None:
        for key, (size, known, item) in sorted(parts.items()):
            log = self._logs[key]
            found = (
                f"checkpoint {short(item.id)} (seq {item.seq}) of node {short(node)} attests {known.hex()} at seq"
                f" {size - 1}"
            )
            here = log.roots[size][0]
            limit = self._limit(key)
            if (log.forked_at is not None and log.forked_at < size) or (limit is not None and limit < size):
                means = f"that node held another branch of a log that is known to be forked; here it is {short(here)}"
                self._findings.note("parts", key, size - 1, here, found, means)
            else:
                means = "the log's author wrote two versions and this source hides one, or that node's word is false"
                self._findings.fault("parts", key, size - 1, here, found, here.hex(), means)

    def _look_at_clocks(self, node: PublicKey, item: Attestation, whole: Whole) -> None:
        for key, _, known in whole.heads:
            log = self._logs.get(key)
            if log is None or known is None or known != log.id or log.time_ms <= item.time_ms + CLOCK_MS:
                continue
            ahead = log.time_ms - item.time_ms
            if key not in self._ahead or ahead > self._ahead[key][0]:
                self._ahead[key] = ahead, node, item

    def clocks(self) -> None:
        """Say whose dates are ahead of who attests them, when all checkpoints were judged."""
        for key, (ahead, node, item) in sorted(self._ahead.items()):
            log = self._logs[key]
            found = (
                f"dated {ahead // 60_000} minutes after checkpoint {short(item.id)} (seq {item.seq}) of node"
                f" {short(node)}, which attests it"
            )
            self._findings.note("clock", key, log.next - 1, log.id, found, "one of the two clocks was wrong")

    # -- alarms -----------------------------------------------------------------------------------

    def _alarms(self) -> Iterator[tuple[PublicKey, int, EntryId, bytes]]:
        for key in sorted(self._logs):
            log = self._logs[key]
            standing = self._judgement.standing.get(key)
            for seq, known, body in log.alarms:
                if standing is not None and standing.rank == "node" and seq < log.size:
                    yield key, seq, known, body

    def alarms(self) -> None:
        """Judge the alarms, when all checkpoints were judged."""
        for key, seq, known, body in self._alarms():
            try:
                alarm = parse_alarm(body)
            except FormatError:
                continue  # it says nothing; a note tells of it
            verdict = self.verdicts.get(alarm.checkpoint)
            what = f"an alarm: checkpoint {short(alarm.checkpoint)} does not have root {alarm.root.hex()}"
            if verdict is None or verdict.here is None:
                self._findings.note("alarm", key, seq, known, what, "the state of that checkpoint is not all held here")
            elif verdict.here == alarm.root != verdict.attested:
                self._findings.note("alarm", key, seq, known, what, "it is right: that checkpoint is false")
            else:
                expected = f"the root of that state, {verdict.here.hex()}"
                means = "the alarm is false" if verdict.here == verdict.attested else "its root is another state's"
                self._findings.fault("alarm", key, seq, known, what, expected, means)


def _alarmed(alarm: tuple[PublicKey, int, EntryId, bytes]) -> EntryId | None:
    try:
        return parse_alarm(alarm[3]).checkpoint
    except FormatError:
        return None


def _heads(body: bytes) -> Sequence[Attested]:
    try:
        return parse_checkpoint(body).heads
    except FormatError:
        return ()
