"""Checkpoints as they lie in the store: what to attest now, what a node attested, and whether it adds up (SPEC.md 7).

    found = survey(reader)                                   # what counts here now: root and heads
    mine = latest(reader, key)                               # this node's last checkpoint, and its state
    draft_next(reader, signing_key, network_id)              # the next one, if there is news

    Ranges().ledger_root(reader, stated.state)               # the ledger root that a state has here

Every function reads one view of the store and changes nothing. Log roots at sizes of the past are computed from the
ids of the rows held; a node's states are read back to its last full checkpoint, at most 64 entries or so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from keys.errors import FormatError
from keys.signing import PublicKey, SigningKey
from ledger.held import held_id, log_of, said_at, seqs_back, seqs_of
from ledger.layout import PLACE, LogState, decode_log
from ledger.storage import Reader
from protocol.checkpoint import Attested, Chain, Checkpoint, State, Whole, draft, parse_checkpoint
from protocol.entry import EntryId, NetworkId
from protocol.limits import SEQ_MAX
from protocol.merkle import append, log_leaf, root, tree_root

KIND: Final = "checkpoint"
FULL_EVERY: Final = 64  # whole checkpoints: how far back whoever wants a state has to read
RANGES_MAX: Final = 20_000  # logs of which compact ranges are remembered: about 15 MB for each of RANGES_KEPT
RANGES_KEPT: Final = 4  # of one log


@dataclass(frozen=True, slots=True)
class Survey:
    """What counts here: what a checkpoint written now would attest."""

    root: bytes
    entries: int
    heads: tuple[Attested, ...]  # ascending by key


@dataclass(frozen=True, slots=True)
class Stated:
    """One checkpoint of a node, and the state that it attests."""

    seq: int  # of its last entry
    id: EntryId
    time_ms: int  # by that node's clock
    whole: Whole
    state: State


def survey(reader: Reader) -> Survey:
    """What counts here now. Cost: O(logs), about 10 us each."""
    heads: list[Attested] = []
    leaves: list[bytes] = []
    for key, raw in reader.scan("logs"):
        log = decode_log(key, raw)
        if log.size:
            heads.append(Attested(log.key, log.size, log.id))
            leaves.append(log_leaf(log.key, log.size, root(log.peaks)))
    return Survey(tree_root(leaves), sum(head.size for head in heads), tuple(heads))


# -- a node's checkpoints -------------------------------------------------------------------------


def latest(reader: Reader, node: PublicKey, stop: int = SEQ_MAX) -> Stated | None:
    """A node's last whole checkpoint that counts, of those whose last entry has a seq below `stop`.

    Cost: reads back to the last full one.
    """
    log = log_of(reader, node)
    if log is None:
        return None
    stop = min(stop, log.size)
    seqs = _since_full(reader, log, stop)
    found = list(_stated(reader, log, seqs))
    if not found or not found[0].whole.full or found[0].seq != _first_end(reader, log, seqs):
        found = list(_stated(reader, log, [seq for seq, _ in _backwards(reader, log, stop)][::-1]))
    return found[-1] if found else None


def stated(reader: Reader, node: PublicKey, first: int = 0) -> Iterator[Stated]:
    """A node's whole checkpoints that count, in order, from the last full one before seq `first` on, or that one.

    The state is that of the moment: it changes with the next one, so copy what is to last.
    """
    log = log_of(reader, node)
    if log is None:
        return
    begin = 0
    if first:
        seqs = _since_full(reader, log, min(first + 1, log.size))
        found = next(_stated(reader, log, seqs), None)
        if found is not None and found.whole.full and found.seq == _first_end(reader, log, seqs):
            begin = seqs[0]
    yield from _stated(reader, log, seqs_of(reader, log, KIND, begin, log.size))


def full_is_due(reader: Reader, node: PublicKey) -> bool:
    """Whether a node's next checkpoint is to be a full one. Cost: reads at most FULL_EVERY bodies."""
    log = log_of(reader, node)
    parts = _backwards(reader, log, log.size) if log is not None else iter(())
    whole = (part for _, part in parts if part is not None and part.rest == 0)
    return not any(part.full for part in islice(whole, FULL_EVERY - 1))


def has_news(reader: Reader, before: State, found: Survey) -> bool:
    """Whether what counts has changed by anything but checkpoints since `before`. Cost: O(logs + what is new)."""
    if before.keys() - {head.key for head in found.heads}:
        return True
    for head in found.heads:
        size, known = before.get(head.key, (0, None))
        if (size, known) == (head.size, head.id):
            continue
        log = log_of(reader, head.key)
        if log is None or head.size <= size or checkpoints_in(reader, log, size, head.size) != head.size - size:
            return True
        if size and held_id(reader, log, size - 1) != known:
            return True
    return False


def is_due(reader: Reader, node: PublicKey) -> bool:
    """Whether there is something for a node to attest. Cost: O(logs), and `latest`'s."""
    mine = latest(reader, node)
    return mine is None or has_news(reader, mine.state, survey(reader))


def draft_next(reader: Reader, signer: SigningKey, network_id: NetworkId) -> list[bytes]:
    """The bodies of a node's next checkpoint, to be signed right after what is in its log; none without news."""
    found, mine = survey(reader), latest(reader, signer.public)
    if mine is not None and not has_news(reader, mine.state, found):
        return []
    before = None if mine is None or full_is_due(reader, signer.public) else mine.state
    return draft(signer, network_id, found.root, found.heads, before)


def checkpoints_in(reader: Reader, log: LogState, first: int, stop: int) -> int:
    """How many of a log's entries in that range are checkpoints."""
    return sum(1 for _ in seqs_of(reader, log, KIND, first, stop))


def _backwards(reader: Reader, log: LogState, stop: int) -> Iterator[tuple[int, Checkpoint | None]]:
    """A log's checkpoint entries below `stop`, the last first; None: one that cannot be read."""
    for seq in seqs_back(reader, log, KIND, stop):
        try:
            yield seq, parse_checkpoint(said_at(reader, log, seq).body or b"")
        except FormatError:
            yield seq, None


def _since_full(reader: Reader, log: LogState, stop: int) -> list[int]:
    """The seqs of a log's checkpoint entries below `stop`, from the first entry of the last full one on."""
    seqs: list[int] = []
    full = False  # the last entry of a full one has been seen
    for seq, part in _backwards(reader, log, stop):
        if full and (part is None or not part.full or part.rest == 0):
            break
        full = full or (part is not None and part.full and part.rest == 0)
        seqs.append(seq)
    return seqs[::-1]


def _first_end(reader: Reader, log: LogState, seqs: Sequence[int]) -> int | None:
    """The seq of the last entry of the checkpoint that begins `seqs`."""
    for seq in seqs:
        body = said_at(reader, log, seq).body
        if body is not None and parse_checkpoint(body).rest == 0:
            return seq
    return None


def _stated(reader: Reader, log: LogState, seqs: Iterable[int]) -> Iterator[Stated]:
    chain = Chain()
    for seq in seqs:
        known, time_ms, body = said_at(reader, log, seq)
        whole, _ = chain.take(seq, body)
        if whole is not None:
            yield Stated(seq, known, time_ms, whole, chain.state)


# -- does it add up -------------------------------------------------------------------------------


class _Range(NamedTuple):
    """The compact range over the first entries of a log."""

    size: int
    last: EntryId
    peaks: list[bytes]


_NOTHING: Final = _Range(0, EntryId(b""), [])


class Ranges:
    """Log roots at sizes of the past, of rows held here, whether they count or not.

    The compact ranges last asked for are remembered, a few for each log, since nodes attest a growing log at sizes that
    lie close together, and not in order. So asking for ascending sizes costs each entry one hash.
    """

    def __init__(self, logs_max: int = RANGES_MAX) -> None:
        self._known: dict[PublicKey, list[_Range]] = {}  # the last asked for at the end
        self._logs_max = logs_max

    def log_root(self, reader: Reader, key: PublicKey, size: int, known: EntryId) -> bytes | None:
        """The log root over the first `size` entries held, if the last of them is `known`; None otherwise.

        Cost: O(size) at first, then O(growth) since the nearest that is remembered.
        """
        log = log_of(reader, key)
        if log is None or log.held < size or held_id(reader, log, size - 1) != known:
            return None
        # rows may have made way for another branch since
        kept = [near for near in self._known.get(key, ()) if held_id(reader, log, near.size - 1) == near.last]
        at, _, peaks = max((near for near in kept if near.size <= size), default=_NOTHING)
        ids = (raw[:32] for _, raw in reader.scan("rows", PLACE.pack(log.number, at), PLACE.pack(log.number, size)))
        found = _Range(size, known, append(peaks, at, ids))
        if key not in self._known and len(self._known) >= self._logs_max:
            self._known.pop(next(iter(self._known)))
        self._known[key] = [*(near for near in kept if near.size != size), found][-RANGES_KEPT:]
        return root(found.peaks)

    def ledger_root(self, reader: Reader, state: State) -> bytes | None:
        """The ledger root of a state, or None where not all of it is held here. Cost: O(logs), and `log_root`'s."""
        leaves = []
        for key in sorted(state):
            size, known = state[key]
            found = self.log_root(reader, key, size, known)
            if found is None:
                return None
            leaves.append(log_leaf(key, size, found))
        return tree_root(leaves)
