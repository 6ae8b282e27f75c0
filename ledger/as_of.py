"""What a node held at a checkpoint: exactly the entries of its state, admitted anew into an empty ledger.

    stated = checkpoint_at(reader, node, time_ms)        # that node's last checkpoint by then, by its clock
    lacking(reader, stated.state)                        # what of it is not here; nothing, or nothing can be shown
    replay(storage, ledger, stated.state)                # ledger: new, see `ledger.store.create`
    survey(reader of ledger).root == stated.whole.root   # whoever shows it checks that

What counted there then follows from the entries again, by the same admission as everywhere. They come in the order in
which they came *here*, but for the acts, which come first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from keys.signing import PublicKey, verify
from ledger.attest import Stated, latest
from ledger.held import held_id, log_of, said_at, seqs_of
from ledger.ingest import Item
from ledger.layout import ARRIVAL, PLACE, U32, U64, LogState
from ledger.storage import Reader, Storage
from ledger.store import Ledger
from protocol.checkpoint import State
from protocol.codec import unpack_row
from protocol.entry import EntryId, NetworkId, Place, open_row, signed_bytes
from protocol.frame import Run
from protocol.limits import FRAME_BYTES_TARGET

_ROWS_MAX: Final = 1000  # in one run
_BATCH_ROWS: Final = 4000  # admitted in one transaction, and read in one view
_BATCH_BYTES: Final = 8 * FRAME_BYTES_TARGET


@dataclass(frozen=True, slots=True)
class Lacking:
    """Entries of a state that are not held here. other: the log is, on another branch."""

    key: PublicKey
    count: int
    other: bool


def checkpoint_at(reader: Reader, node: PublicKey, time_ms: int) -> Stated | None:
    """A node's last whole checkpoint that counts and that it dates at or before `time_ms`.

    Dates never go back along a log. Cost: O(log n) reads, and `latest`'s.
    """
    log = log_of(reader, node)
    low, high = 0, log.size if log is not None else 0
    while log is not None and low < high:
        middle = (low + high) // 2
        if said_at(reader, log, middle).time_ms <= time_ms:
            low = middle + 1
        else:
            high = middle
    return latest(reader, node, low)


def lacking(reader: Reader, state: State) -> list[Lacking]:
    """What of a state is not held here, by key. Cost: O(logs), and O(entries of branches beside their logs)."""
    found = []
    for key in sorted(state):
        size, known = state[key]
        log = log_of(reader, key)
        held = log.held if log is not None else 0
        if log is None or _beside(reader, log, size, known) is None:
            found.append(Lacking(key, max(1, size - held), held >= size))
    return found


def replay(source: Storage, target: Ledger, state: State, told: Callable[[int], object] = lambda _: None) -> None:
    """Admit the entries of a state that lie in `source` into `target`, as many as it takes.

    told: how many are in. Cost: as admission, 10 us an entry and 55 us for each group in which they came. Views of
    `source` are held for one batch each. Raises StorageError.
    """
    with source.read() as reader:
        acting = [key for key, (size, _) in state.items() if _acts(reader, key, size)]
    _complete(source, target, state, acting)
    planned = {key: _held(target, key) for key in state}
    arrival: int | None = 0
    while arrival is not None:
        with source.read() as reader:
            runs, arrival = _batch(reader, state, planned, arrival)
        _admit(target, runs)
        told(target.arrival())
    _complete(source, target, state, state)
    told(target.arrival())


# -- in the order of arrival ----------------------------------------------------------------------


def _batch(
    reader: Reader, state: State, planned: dict[PublicKey, int], arrival: int
) -> tuple[list[Run], int | None]:  # fmt: skip
    """The next runs from that arrival number on, and where to go on; None at the end.

    planned: how far each log is read; a group of entries that does not join what is read is left for `_complete`.
    """
    runs: list[Run] = []
    rows = size_bytes = 0
    for raw, value in reader.scan("arrivals", U64.pack(arrival)):
        if rows >= _BATCH_ROWS or size_bytes >= _BATCH_BYTES:
            return runs, U64.unpack(raw)[0]
        number, first, count = ARRIVAL.unpack(value)
        key = PublicKey(reader.get("numbers", U32.pack(number)) or b"")
        log = log_of(reader, key)
        at, stop = planned.get(key, 0), min(first + count, state[key][0] if key in state else 0)
        while log is not None and first <= at < stop:
            taken = _rows(reader, log, at, stop)
            if not taken:
                break  # they made way for another branch
            runs.append(Run(key, at, held_id(reader, log, at - 1), taken))
            rows, size_bytes = rows + len(taken), size_bytes + sum(map(len, taken))
            at = planned[key] = at + len(taken)
    return runs, None


def _admit(target: Ledger, runs: Iterable[Run]) -> None:
    items: list[Item] = [(run,) for run in runs]
    if items:
        target.apply(target.commit(items))


# -- log by log -----------------------------------------------------------------------------------


def _complete(source: Storage, target: Ledger, state: State, keys: Iterable[PublicKey]) -> None:
    """Admit what is missing of these logs, round after round: a log waits for the acts that certify its key."""
    left = sorted(keys)
    before = -1
    while left and target.arrival() != before:
        before = target.arrival()
        for key in left:
            at, grown = _held(target, key), True
            while grown and at < state[key][0]:
                with source.read() as reader:
                    run = _next_run(reader, target.network_id, key, at, *state[key])
                _admit(target, [run] if run is not None else [])
                grown, at = _held(target, key) > at, _held(target, key)
        left = [key for key in left if _held(target, key) < state[key][0]]


def _next_run(
    reader: Reader, network_id: NetworkId, key: PublicKey, first: int, size: int, last: EntryId
) -> Run | None:  # fmt: skip
    """Entries of a state's log from `first` on, up to one whose own signature holds; None where there are none."""
    log = log_of(reader, key)
    beside = _beside(reader, log, size, last) if log is not None else None
    if log is None or beside is None:
        return None
    own = size - len(beside)  # from there on the state's branch lies beside the log
    if first < own:
        rows, prev = list(_rows(reader, log, first, own)), held_id(reader, log, first - 1)
        rows += [row for _, row in beside[: _ROWS_MAX - len(rows)]] if first + len(rows) == own else []
    else:
        part = beside[first - own :][:_ROWS_MAX]
        prev = beside[first - own - 1][0] if first > own else held_id(reader, log, first - 1)
        rows = [row for _, row in part]
    entries, place = [], Place(key, first, prev)
    for row in rows:
        entries.append(open_row(row, place))
        place = entries[-1].after
    while entries and not verify(key, signed_bytes(network_id, entries[-1].header), entries[-1].signature):
        entries.pop()
    return Run(key, first, prev, tuple(rows[: len(entries)])) if entries else None


def _beside(reader: Reader, log: LogState, size: int, last: EntryId) -> Sequence[tuple[EntryId, bytes]] | None:
    """(id, row) of those of a state's entries that lie beside the log, on another branch; None: they are not here."""
    found: list[tuple[EntryId, bytes]] = []
    known: EntryId | None = last
    for seq in range(size - 1, -1, -1):
        if seq < log.held and held_id(reader, log, seq) == known:
            break
        raw = reader.get("branches", known or b"\x00")
        if raw is None:
            return None
        _, prev, row = unpack_row(raw)
        found.append((known or EntryId(b""), cast("bytes", row)))
        known = EntryId(cast("bytes", prev)) if prev else None
    return found[::-1]


# -- rows -----------------------------------------------------------------------------------------


def _held(ledger: Ledger, key: PublicKey) -> int:
    log = ledger.log(key)
    return log.held if log is not None else 0


def _acts(reader: Reader, key: PublicKey, size: int) -> bool:
    """Whether there is an act among the first `size` entries of a log."""
    log = log_of(reader, key)
    return log is not None and next(seqs_of(reader, log, "act", 0, size), None) is not None


def _rows(reader: Reader, log: LogState, first: int, stop: int) -> tuple[bytes, ...]:
    """Rows held from `first` on: at least one, then as many as fit in a run."""
    rows: list[bytes] = []
    size_bytes = 0
    for _, raw in reader.scan("rows", PLACE.pack(log.number, first), PLACE.pack(log.number, stop)):
        size_bytes += len(raw)
        if rows and (size_bytes > FRAME_BYTES_TARGET or len(rows) == _ROWS_MAX):
            break
        rows.append(raw[32:])
    return tuple(rows)
