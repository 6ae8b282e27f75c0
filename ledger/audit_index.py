"""The audit of a store's own bookkeeping: does every table say what the rows say? Used by `ledger/audit.py`.

The rows are the ledger; all other tables follow from them. A difference is never a forgery by itself, since no
signature covers these tables, but a node that trusts a wrong one shows, sends or counts the wrong thing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey
from ledger.audit_damage import Undamaged
from ledger.audit_finding import Findings
from ledger.layout import ARRIVAL, INDEXED_KINDS, PLACE, U32, U64, LogState, kind_key
from protocol.codec import decode
from protocol.entry import EntryId
from protocol.limits import MESSAGE_BYTES_MAX

_STATE_BYTES_MAX: Final = 8192
_MEANING: Final = "the node's own bookkeeping is wrong; sync into a new home from other nodes"


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What the rows, and the fork proofs, say of one log."""

    key: PublicKey
    size: int
    id: EntryId | None
    time_ms: int
    peaks: tuple[bytes, ...]
    held: int
    forked_at: int | None


class IndexAudit:
    """Compares the tables of one store with its rows, branches among them. Memory: a few hundred bytes a log."""

    def __init__(self, view: Undamaged, findings: Findings) -> None:
        self._view = view
        self._fault = findings.fault
        self.keys: dict[int, PublicKey] = {}  # a log's number -> its key
        self._states: dict[PublicKey, LogState] = {}
        self._rows = 0
        self._branches = 0
        self._kinds = 0
        self._read_logs()

    def places(self, key: PublicKey, number: int, seq: int, ids: Sequence[bytes]) -> None:
        """Check that rows of log `number`, from `seq` on, are found under their ids. Cost: 1 us a row."""
        get, place_of = self._view.plain.get, PLACE.pack  # ids are in no blocks
        self._rows += len(ids)
        for at, entry_id in enumerate(ids, seq):
            found = get("ids", entry_id)
            if found != place_of(number, at):
                shown = "nothing" if found is None else f"place {found.hex()}"
                self._index(
                    key, at, entry_id, f"table ids has {shown} under this id", f"place {place_of(number, at).hex()}"
                )

    def kind(self, key: PublicKey, number: int, seq: int, entry_id: bytes, kind: str) -> None:
        """Check that an entry of an indexed kind is listed."""
        self._kinds += 1
        if self._view.get("kinds", kind_key(kind, PLACE.pack(number, seq))) is None:
            self._index(key, seq, entry_id, f"table kinds does not list this entry of kind {kind}", "it there")

    def branch(self, key: PublicKey, seq: int, entry_id: bytes, prev: bytes | None) -> None:
        """Check that an entry beside the log is found under its id, is in no row, and follows one that is kept."""
        self._branches += 1
        place = PLACE.pack(self._states[key].number if key in self._states else 0, seq)
        if self._view.get("ids", entry_id) != place:
            self._index(
                key, seq, entry_id, "table ids does not lead to the place of this entry, which is kept beside the log"
            )
        if self.id_at(key, seq) == entry_id:
            self._index(key, seq, entry_id, "tables rows and branches both hold this entry")
        before = None if seq == 0 else prev
        follows = seq == 0 or (
            prev is not None and (self.id_at(key, seq - 1) == prev or self._is_branch(prev, seq - 1))
        )
        if not follows or before != prev:
            self._index(key, seq, entry_id, "this entry is kept beside the log, and the one before it is not kept")

    def lost(self) -> None:
        """Name the entries that cannot be read, once all rows were looked for: one fault for each damaged block."""
        for first, beyond in self._view.lost:
            place, after = read_place(first), None if beyond is None else read_place(beyond)
            if place is None or place[0] not in self.keys:
                found = f"a block of rows, from {first.hex()[:64]} on, is damaged and cannot be read"
                self._fault("format", None, None, None, found, "a whole block of a known log", "it cannot be checked")
                continue
            number, seq = place
            key = self.keys[number]
            held = self._states[key].held if key in self._states else 0
            end = after[1] if after is not None and after[0] == number else max(held, seq + 1)
            which = f"entry {seq}" if end == seq + 1 else f"entries {seq} to {end - 1}"
            found = f"the block that holds {which} of the log is damaged and cannot be read"
            means = "they are lost here; sync into a new home from other nodes"
            self._fault("format", key, seq, None, found, "a whole block, whose checksum holds", means)

    def id_at(self, key: PublicKey, seq: int) -> bytes | None:
        """The id of the row at a place of a log."""
        state = self._states.get(key)
        raw = None if state is None else self._view.get("rows", PLACE.pack(state.number, seq))
        return None if raw is None else raw[:32]

    def rows(self, key: PublicKey, stop: int) -> Iterator[tuple[int, bytes, bytes]]:
        """The rows of a log below `stop`: seq, id, row."""
        number = self._states[key].number if key in self._states else 0
        for place, raw in self._view.scan("rows", PLACE.pack(number, 0), PLACE.pack(number, stop)):
            yield PLACE.unpack(place)[1], raw[:32], raw[32:]

    def finish(self, logs: dict[PublicKey, Recomputed]) -> None:
        """Check everything that can only be known once all rows were seen."""
        for key, state in self._states.items():
            self._check_state(state, logs.get(key) or Recomputed(key, 0, None, 0, (), 0, None))
        for key, log in logs.items():
            if key not in self._states:
                what = f"{log.held} rows" if log.held else "a fork proof"
                self._index(key, None, None, f"there are {what} of this log, which table logs does not list")
        self._check_ids()
        self._check_kinds()
        self._check_arrivals(logs)

    # -- logs and numbers -------------------------------------------------------------------------

    def _read_logs(self) -> None:
        for raw_key, raw in self._view.scan("logs"):
            state = _state(raw_key, raw)
            if state is None:
                self._index(raw_key, None, None, "the state of this log in table logs cannot be read")
            else:
                self._states[state.key] = state
        for raw_number, raw_key in self._view.scan("numbers"):
            if len(raw_number) != U32.size or len(raw_key) != 32:
                self._index(None, None, None, f"table numbers holds {raw_number.hex()[:64]}, which is no log's number")
                continue
            number, key = U32.unpack(raw_number)[0], PublicKey(raw_key)
            known = self._states.get(key)
            if known is None or known.number != number:
                stated = "no state" if known is None else f"number {known.number}"
                self._index(key, None, None, f"table numbers gives this log number {number}, table logs has {stated}")
            self.keys[number] = key
        for key, state in self._states.items():
            if self.keys.get(state.number) != key:
                self._index(key, None, None, f"table numbers does not give number {state.number} to this log")

    def _check_state(self, state: LogState, log: Recomputed) -> None:
        """One fault for each field that the rows contradict."""
        head = "no entry" if log.id is None else log.id.hex()
        stated_head = "no entry" if state.id is None else state.id.hex()
        peaks, stated_peaks = (b"".join(found).hex() for found in (log.peaks, state.peaks))
        for name, stated, expected in (
            ("size", f"{state.size}", f"{log.size}"),
            ("head", stated_head, head),
            ("time_ms", f"{state.time_ms}", f"{log.time_ms}"),
            ("Merkle peaks", stated_peaks, peaks),
            ("number of rows held", f"{state.held}", f"{log.held}"),
            ("fork", f"{state.forked_at}", f"{log.forked_at}"),
        ):
            if stated != expected:
                found = f"the log's {name} is stored as {stated[:64]}"
                self._index(state.key, None, state.id, found, f"{expected[:64]}, as the rows and fork proofs give")

    # -- ids, kinds, arrivals ---------------------------------------------------------------------

    def _check_ids(self) -> None:
        if sum(1 for _ in self._view.scan("ids")) == self._rows + self._branches:
            return  # every entry was found under its id, and there are no more
        for entry_id, place in self._view.scan("ids"):
            if self._view.has_lost(place):
                continue  # reported: the block is damaged
            row = self._view.get("rows", place)
            if (row is None or row[:32] != entry_id) and self._view.get("branches", entry_id) is None:
                self._index(
                    None, None, entry_id, f"table ids leads to place {place.hex()[:64]}, where no such entry is"
                )

    def _check_kinds(self) -> None:
        if sum(1 for _ in self._view.scan("kinds")) == self._kinds:
            return
        for index_key, _ in self._view.scan("kinds"):
            kind, _, place = index_key.partition(b"\x00")
            if self._view.has_lost(place):
                continue
            row = self._view.get("rows", place)
            if row is None or kind.decode("ascii", "replace") not in INDEXED_KINDS or not _is_kind(row[32:], kind):
                self._index(None, None, None, f"table kinds lists {index_key.hex()[:96]}, where no such entry is")

    def _check_arrivals(self, logs: dict[PublicKey, Recomputed]) -> None:
        """The stretches follow one another, and cover each log from its first entry to its last.

        Numbers are left out only where entries made way; an entry takes one each time that it comes into the log.
        """
        arrival = left_out = 0
        reached: dict[int, int] = {}
        for raw_key, value in self._view.scan("arrivals"):
            if len(raw_key) != U64.size or len(value) != ARRIVAL.size:
                self._index(None, None, None, f"table arrivals holds {raw_key.hex()[:64]}, which is no stretch")
                continue
            number, first, count = ARRIVAL.unpack(value)
            start = U64.unpack(raw_key)[0]
            if start < arrival:
                self._index(None, None, None, f"table arrivals goes on at {start}", f"{arrival}")
            if first != reached.get(number, 0):
                expected = reached.get(number, 0)
                detail = f"arrival {start} starts at entry {first} of the log"
                self._index(self.keys.get(number), first, None, detail, f"{expected}")
            left_out += max(0, start - arrival)
            arrival, reached[number] = start + count, first + count
        for number, key in self.keys.items():
            held = logs[key].held if key in logs else 0
            if reached.get(number, 0) != held:
                detail = f"table arrivals tells of {reached.get(number, 0)} entries of this log"
                self._index(key, None, None, detail, f"{held}, as are held")
        stated = self._view.get("meta", b"arrival") or b""
        total = U64.unpack(stated)[0] if len(stated) == U64.size else -1
        left_out += total - arrival
        forked = any(log.forked_at is not None for log in logs.values())
        if total < arrival or (left_out > 0 and not forked):
            detail = f"the arrival counter is {total}, the arrivals end at {arrival} and leave out {left_out} numbers"
            self._index(None, None, None, detail, "numbers to be left out only where entries made way")

    def _is_branch(self, entry_id: bytes, seq: int) -> bool:
        raw = self._view.get("branches", entry_id)
        read = None if raw is None else read_branch(raw)
        return read is not None and read[1] == seq

    def _index(
        self, key: bytes | None, seq: int | None, entry_id: bytes | None, found: str, expected: str = ""
    ) -> None:
        self._fault("index", key, seq, entry_id, found, expected, _MEANING)


def read_place(raw: bytes) -> tuple[int, int] | None:
    """Number and seq in a key of table rows, or None when it is none."""
    return PLACE.unpack(raw) if len(raw) == PLACE.size else None


def read_branch(raw: bytes) -> tuple[int, int, bytes | None, bytes] | None:
    """Number, seq, id before it and row of a value in table branches, or None when it is damaged."""
    try:
        fields = decode(raw, size_max=MESSAGE_BYTES_MAX)
    except FormatError:
        return None
    match fields:
        case [bytes(place), bytes(prev), bytes(row)] if len(place) == PLACE.size and len(prev) in (0, 32):
            number, seq = PLACE.unpack(place)
            return number, seq, prev or None, row
        case _:
            return None


def _is_kind(row: bytes, kind: bytes) -> bool:
    """Whether a row says that kind: it is the first of its six fields, text of at most 24 bytes."""
    return row[:1] == b"\x96" and row[2 : 2 + len(kind)] == kind and row[1] == 0xA0 | len(kind)


def _state(key: bytes, raw: bytes) -> LogState | None:
    """The value of table logs, every type checked; None when it is damaged."""
    try:
        fields = decode(raw, size_max=_STATE_BYTES_MAX)
    except FormatError:
        return None
    match fields:
        case [
            int(number),
            int(size),
            bytes() | None as last,
            int(time_ms),
            list(peaks),
            int(held),
            int() | None as fork,
        ]:
            hashes = tuple(peak for peak in peaks if isinstance(peak, bytes))
            if len(hashes) != len(peaks) or len(key) != 32:
                return None
            head = None if last is None else EntryId(last)
            return LogState(PublicKey(key), number, size, head, time_ms, hashes, held, fork)
        case _:
            return None
