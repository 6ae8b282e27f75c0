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
from keys.signing import SIGNATURE_BYTES, PublicKey, all_hold
from ledger.layout import INDEXED_KINDS
from protocol.acts import parse_act
from protocol.body import parse_address, parse_alarm, parse_consultation
from protocol.checkpoint import note_holds, parse_checkpoint
from protocol.codec import pack, unpack_row
from protocol.entry import CONTEXT, VERSION, EntryId, Facts, NetworkId, read_row
from protocol.frame import Run, decode_frame
from protocol.limits import BODY_BYTES_MAX, SEQ_MAX, TIME_MS_MAX

_PARSERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "act": parse_act, "address": parse_address, "alarm": parse_alarm, "consultation": parse_consultation,
}  # fmt: skip
STRETCH: Final = 1000  # rows of a store that are checked together: 60 ms of work


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of one log, one after another."""

    key: PublicKey
    seq: int  # of the first row
    prev: EntryId | None  # the entry before it, as far as anybody says
    rows: Sequence[bytes]
    number: int | None = None  # of the log in a store: then each row stands after the id that it is kept under


class Special(NamedTuple):
    """An entry that says something to the audit: of an indexed kind, or without its body."""

    seq: int
    fact: Facts  # of a checkpoint without its body
    erased: bool
    note: bool | None  # of a checkpoint: whether its note holds; None: not looked at
    malformed: str  # why its body is not one of its kind, "" where it is; checkpoints are read elsewhere


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
        read = _read(self.network_id, stretch)
        if read is None:
            return None
        key, ids = stretch.key, read.ids
        digest = sha256(self.network_id + key + b"".join(ids)).digest()
        special, signatures = read.special, len(ids)
        if stretch.seq + len(ids) <= self.sizes.get(key, 0):
            signatures = 0
        elif digest not in self.known:
            if not all_hold(key, read.signed):
                return None
            special = [self._with_note(key, item) for item in special]
        bare = tuple(_bare(item) for item in special)
        return Checked(ids, read.first_ms, read.last_ms, signatures, bare, digest)

    def _with_note(self, key: PublicKey, item: Special) -> Special:
        if item.fact.kind != "checkpoint" or item.fact.body is None:
            return item
        return item._replace(note=note_is_right(key, self.network_id, item.fact.body))


class _Read(NamedTuple):
    ids: list[EntryId]
    signed: list[bytes]  # of each entry: its signature, and what that is over
    special: list[Special]
    first_ms: int
    last_ms: int


def _read(network_id: NetworkId, stretch: Stretch) -> _Read | None:
    """Everything but the signatures. None where a row cannot be read, dates go back, or it is kept under another id.

    A plain record, as most entries are, is read in line here: by the same rules as in `read_row`, a third faster.
    """
    key, seq, prev = stretch.key, stretch.seq, stretch.prev
    if (prev is None) != (seq == 0) or seq > SEQ_MAX - len(stretch.rows):
        return None
    read = _Read([], [], [], 0, 0)
    ids, signed, before = read.ids, read.signed, CONTEXT + network_id
    first_ms, last_ms, labelled = -1, 0, stretch.number is not None
    try:
        for value in stretch.rows:
            row = value[32:] if labelled else value
            kind, time_ms, refs, space, body, signature = fields = unpack_row(row)
            if (
                kind == "record"
                and refs == []
                and space is None
                and type(body) is bytes
                and type(signature) is bytes
                and type(time_ms) is int
                and len(body) <= BODY_BYTES_MAX
                and len(signature) == SIGNATURE_BYTES
                and 0 <= time_ms <= TIME_MS_MAX
                and pack(fields) == row
            ):
                header = pack([VERSION, key, seq, prev, refs, kind, space, len(body), sha256(body).digest(), time_ms])
                known = EntryId(sha256(b"\x00" + header + signature).digest())
            else:
                fact = read_row(row, key, seq, prev)
                known, time_ms, signature, header = fact.id, fact.time_ms, fact.signature, fact.header
                if fact.body is None or fact.kind in INDEXED_KINDS:
                    read.special.append(Special(seq, fact, fact.body is None, None, why_malformed(fact)))
            if time_ms < last_ms or (labelled and value[:32] != known):
                return None
            if first_ms < 0:
                first_ms = time_ms
            ids.append(known)
            signed.append(signature + before + header)
            seq, prev, last_ms = seq + 1, known, time_ms
    except (FormatError, ValueError):  # not six fields, or not those of a row
        return None
    return read._replace(first_ms=first_ms, last_ms=last_ms)


def why_malformed(fact: Facts) -> str:
    """What is wrong with the body of an act, address, alarm or consultation; "" where nothing is, or it cannot be read.

    Records and steps are not looked into: an ordinary entry would cost a quarter more beside its signature. What they
    say has an effect only in the search index, which shows them.
    """
    parse = _PARSERS.get(fact.kind)
    if parse is None or fact.body is None or fact.space is not None:
        return ""
    try:
        parse(fact.body)
    except FormatError as error:
        return f"{error}"
    return ""


def note_is_right(key: PublicKey, network_id: NetworkId, body: bytes) -> bool | None:
    """Whether the note of a checkpoint holds; None where the body is no checkpoint."""
    try:
        return note_holds(key, network_id, parse_checkpoint(body))
    except FormatError:
        return None


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
