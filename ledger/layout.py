"""How the ledger's tables are laid out: the keys and values, byte by byte (SPEC.md 9).

| table      | key                     | value                                                                    |
|------------|-------------------------|--------------------------------------------------------------------------|
| `meta`     | `format`                | the number of this layout, ASCII                                         |
|            | `charter`               | the charter file as it was accepted                                      |
|            | `arrival`               | u64: how many entries have arrived                                       |
| `logs`     | key                     | canonical [number, size, id, time_ms, peaks, held, forked_at]            |
| `numbers`  | number u32              | key: a log's short name in the other tables                              |
| `rows`     | number u32, seq u64     | id (32), row                                                             |
| `ids`      | id                      | number u32, seq u64                                                      |
| `arrivals` | first arrival u64       | number u32, first seq u64, count u32: entries that came together         |
| `kinds`    | kind, 00, number, seq   | empty; only for the kinds in INDEXED_KINDS                               |
| `forks`    | key, seq u64            | canonical fork proof: [first, second, rest, rest] (SPEC.md 6.5)          |
| `branches` | id                      | canonical [place, id before it, row]: entries beside the log (SPEC.md 9)  |

Integers in keys are big-endian, so that the order of the bytes is the order of the numbers. On a real disk `rows` and
`ids` are kept in other forms, for room and speed (`ledger/packed.py`, `ledger/tiers.py`); nobody here sees that.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final, cast

from keys.errors import StorageError
from keys.signing import PublicKey
from protocol.codec import pack, unpack_row
from protocol.entry import EntryId, Place
from protocol.reconcile import Head

FORMAT: Final = b"3"
INDEXED_KINDS: Final = frozenset({"act", "address", "alarm", "checkpoint", "consultation"})
U32, U64 = Struct(">I"), Struct(">Q")
PLACE = Struct(">IQ")  # number, seq
ARRIVAL = Struct(">IQI")  # number, first seq, count


@dataclass(frozen=True, slots=True)
class LogState:
    """What is known of one log."""

    key: PublicKey
    number: int  # the log's short name in this store
    size: int  # entries that count: up to the fork or the cutoff, where there is one
    id: EntryId | None  # of entry size - 1
    time_ms: int  # of entry held - 1
    peaks: tuple[bytes, ...]  # the compact range over the ids of the entries that count
    held: int  # rows stored, those that do not count included
    forked_at: int | None  # the lowest seq at which the key is proved to have signed twice

    @property
    def head(self) -> Head:
        """The head as peers are told it."""
        return Head(self.key, self.size, self.id, self.forked_at is not None)

    @property
    def next(self) -> Place:
        """Where the next entry of an unforked log goes."""
        return Place(self.key, self.size, self.id)

    def encode(self) -> bytes:
        """The value in table `logs`."""
        row = [self.number, self.size, self.id, self.time_ms, self.peaks, self.held, self.forked_at]
        return bytes(pack(row))


def decode_log(key: bytes, raw: bytes) -> LogState:
    """The inverse of `LogState.encode`. Raises StorageError on a damaged value."""
    fields = unpack_row(raw)
    if len(fields) != 7 or type(fields[4]) is not list:
        raise StorageError(f"the store's record of log {key.hex()[:12]} is damaged; run hamkor audit on this home")
    number, size, last, time_ms, peaks, held, forked_at = fields
    return LogState(
        PublicKey(key), cast("int", number), cast("int", size), cast("EntryId | None", last), cast("int", time_ms),
        tuple(cast("list[bytes]", peaks)), cast("int", held), cast("int | None", forked_at),
    )  # fmt: skip


def kind_key(kind: str, place: bytes) -> bytes:
    """The key in table `kinds`."""
    return kind.encode() + b"\x00" + place
