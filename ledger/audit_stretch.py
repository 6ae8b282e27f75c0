"""The part of an audit that costs time, cut so that any process can do it: a stretch of one log, all checked at once.

    checker = Checker(network_id)
    checked = checker.check(Stretch(key, seq, prev, rows))      # None: something is wrong, look at each row
    for task, result in spread(checker, tasks): ...             # in order; `one_by_one`, or on all cores

Of a stretch in which nothing is wrong, only what it comes to is handed back: the ids, the dates at its ends, and the
few entries that say something to the audit itself. Where anything is wrong the answer is None; `ledger/audit_log.py`
then reads each row once more, slowly, and has words for what it finds.

Signatures are not checked again where they were before: in stretches whose digest is in `known` (an audit that was
interrupted wrote it down), and below the sizes in `sizes` (an earlier audit covered them: `--since`). Everything else
is checked all the same, so a stretch that was altered has another digest.
Cost: 56 us an entry for the signature, 4 us beside it; 4 us where it was checked before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias

from keys.errors import FormatError
from keys.signing import PublicKey, verify
from ledger.layout import INDEXED_KINDS
from protocol.checkpoint import note_holds, parse_checkpoint
from protocol.entry import CONTEXT, EntryId, Facts, NetworkId, read_row
from protocol.frame import Run, decode_frame

STRETCH: Final = 500  # rows of a store that are checked together: 30 ms of work


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of one log, one after another."""

    key: PublicKey
    seq: int  # of the first row
    prev: EntryId | None  # the entry before it, as far as anybody says
    rows: Sequence[bytes]
    ids: Sequence[bytes] | None = None  # under which a store keeps them
    number: int = 0  # of the log in that store


class Special(NamedTuple):
    """An entry that says something to the audit: of an indexed kind, or without its body."""

    seq: int
    fact: Facts  # of a checkpoint without its body
    erased: bool
    note: bool | None  # of a checkpoint: whether its note holds; None: not looked at


class Checked(NamedTuple):
    """What a sound stretch comes to."""

    ids: Sequence[EntryId]
    first_ms: int
    last_ms: int
    signatures: int  # that were checked, now or before an interruption
    special: tuple[Special, ...]
    digest: bytes  # stands for all of it, signatures included


class CheckedRun(NamedTuple):
    """A run of a bundle: where it stands, and what it comes to."""

    key: PublicKey
    seq: int
    prev: EntryId | None
    checked: Checked | None


Task: TypeAlias = Stretch | bytes  # of a store; a frame of a bundle
Result: TypeAlias = Checked | list[CheckedRun] | None  # of a frame: of each of its runs; None: look closer


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks stretches and frames of one network. Sent to other processes as it is."""

    network_id: NetworkId
    known: frozenset[bytes] = frozenset()
    sizes: Mapping[PublicKey, int] = field(default_factory=dict)

    def __call__(self, task: Task) -> Result:
        """Check a stretch or a frame."""
        return self.check(task) if isinstance(task, Stretch) else self.check_frame(task)

    def check_frame(self, frame: bytes) -> list[CheckedRun] | None:
        """What each run of a frame comes to; None where the frame cannot be read."""
        try:
            runs = decode_frame(frame)
        except FormatError:
            return None
        return [CheckedRun(run.key, run.seq, run.prev, self.check(stretch_of(run))) for run in runs]

    def check(self, stretch: Stretch) -> Checked | None:
        """What a stretch comes to; None where anything in it is wrong."""
        key, seq, prev = stretch.key, stretch.seq, stretch.prev
        facts, special, last_ms = list[Facts](), list[Special](), 0
        try:
            for row in stretch.rows:
                fact = read_row(row, key, seq, prev)
                if fact.time_ms < last_ms:
                    return None
                if fact.body is None or fact.kind in INDEXED_KINDS:
                    special.append(_special(seq, fact))
                facts.append(fact)
                seq, prev, last_ms = seq + 1, fact.id, fact.time_ms
        except FormatError:
            return None
        ids = [fact.id for fact in facts]
        if stretch.ids is not None and stretch.ids != ids:
            return None
        digest = sha256(self.network_id + key + b"".join(ids)).digest()
        signatures = len(facts)
        if seq <= self.sizes.get(key, 0):
            signatures = 0
        elif digest not in self.known:
            signed = CONTEXT + self.network_id
            for fact in facts:
                if not verify(key, signed + fact.header, fact.signature):
                    return None
            special = [self._with_note(key, item, body) for item, body in _bodies(special, facts, stretch.seq)]
        bare = tuple(_bare(item) for item in special)
        return Checked(ids, facts[0].time_ms, last_ms, signatures, bare, digest)

    def _with_note(self, key: PublicKey, item: Special, body: bytes | None) -> Special:
        if item.fact.kind != "checkpoint" or body is None:
            return item
        return item._replace(note=note_is_right(key, self.network_id, body))


def note_is_right(key: PublicKey, network_id: NetworkId, body: bytes) -> bool | None:
    """Whether the note of a checkpoint holds; None where the body is no checkpoint."""
    try:
        return note_holds(key, network_id, parse_checkpoint(body))
    except FormatError:
        return None


def _special(seq: int, fact: Facts) -> Special:
    return Special(seq, fact, fact.body is None, None)


def _bodies(special: list[Special], facts: list[Facts], first: int) -> Iterator[tuple[Special, bytes | None]]:
    for item in special:
        yield item, facts[item.seq - first].body


def _bare(item: Special) -> Special:
    """Without what is large and is read elsewhere."""
    if item.fact.kind in ("act", "alarm"):
        return item
    return item._replace(fact=item.fact._replace(body=None, header=b""))


def stretch_of(run: Run) -> Stretch:
    """A run as a stretch."""
    return Stretch(run.key, run.seq, run.prev, run.rows)


Spread: TypeAlias = Callable[[Checker, Iterable[Task]], Iterator[tuple[Task, Result]]]


def one_by_one(checker: Checker, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
    """Each task and its result, in order, in this process."""
    for task in tasks:
        yield task, checker(task)
