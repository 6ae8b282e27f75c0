"""What is held of one log, read from one view of the store, whether it counts or not."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias, cast

from keys.errors import StorageError
from keys.signing import PublicKey
from ledger.layout import PLACE, LogState, decode_log, kind_key
from ledger.storage import Reader
from protocol.codec import unpack_row, unpack_rows
from protocol.entry import EntryId

_Row: TypeAlias = "tuple[str, int, list[EntryId], bytes | None, object, bytes]"


class Said(NamedTuple):
    """What a row says, as far as it is asked for here."""

    id: EntryId
    time_ms: int
    body: bytes | None


class Kept(NamedTuple):
    """An entry as it is kept: what its row says, which was checked when it came. Nothing is hashed anew."""

    arrival: int  # its place in the order of arrival
    id: EntryId
    key: PublicKey
    seq: int
    kind: str
    time_ms: int
    refs: Sequence[EntryId]
    space: bytes | None
    body: bytes | None  # None: withheld or erased
    disputed: bool
    forked: bool  # at a fork of its log or after it: it may make way for another branch, and come back


def kept_rows(reader: Reader, log: LogState, first: int, stop: int, arrival: int) -> Iterator[Kept]:
    """The entries from `first` to below `stop` of a log, of which the first arrived as number `arrival`.

    Cost: about 2 us each. Memory: all of their rows. Raises FormatError or StorageError where one cannot be read.
    """
    if first >= stop:
        return
    pairs = reader.scan("rows", PLACE.pack(log.number, first), PLACE.pack(log.number, stop))
    values = [value for _, value in pairs]
    forked_at = stop if log.forked_at is None else log.forked_at
    rows = list(unpack_rows([value[32:] for value in values]))
    if any(len(row) != 6 or type(row[2]) is not list for row in rows):
        raise StorageError(f"rows of log {log.key.hex()[:12]} are damaged; run hamkor audit on this home")
    for at, (value, (kind, time_ms, refs, space, body, _)) in enumerate(
        zip(values, cast("list[_Row]", rows), strict=True)
    ):
        seq = first + at
        yield Kept(
            arrival + at, EntryId(value[:32]), log.key, seq, kind, time_ms, refs, space,
            body if type(body) is bytes else None, seq >= log.size, seq >= forked_at,
        )  # fmt: skip


def log_of(reader: Reader, key: PublicKey) -> LogState | None:
    """What is known of a log."""
    raw = reader.get("logs", key)
    return None if raw is None else decode_log(key, raw)


def held_id(reader: Reader, log: LogState, seq: int) -> EntryId | None:
    """The id of the entry held at that place of a log; None: there is none."""
    raw = reader.get("rows", PLACE.pack(log.number, seq)) if seq >= 0 else None
    return None if raw is None else EntryId(raw[:32])


def said_at(reader: Reader, log: LogState, seq: int) -> Said:
    """What the row held at that place says. Raises FormatError where there is none, or it cannot be read."""
    raw = reader.get("rows", PLACE.pack(log.number, seq)) or b""
    _, time_ms, _, _, body, _ = unpack_row(raw[32:])
    return Said(EntryId(raw[:32]), cast("int", time_ms), body if isinstance(body, bytes) else None)


def seqs_of(reader: Reader, log: LogState, kind: str, first: int, stop: int) -> Iterator[int]:
    """The seqs from `first` to below `stop` of a log's entries of a kind (one of INDEXED_KINDS), ascending."""
    start, end = (kind_key(kind, PLACE.pack(log.number, seq)) for seq in (first, max(first, stop)))
    return (PLACE.unpack(at[-PLACE.size :])[1] for at, _ in reader.scan("kinds", start, end))


def seqs_back(reader: Reader, log: LogState, kind: str, stop: int) -> Iterator[int]:
    """The same below `stop`, the last first."""
    start, at = (kind_key(kind, PLACE.pack(log.number, seq)) for seq in (0, stop))
    while (found := reader.before("kinds", at)) is not None and found[0] >= start:
        at = found[0]
        yield PLACE.unpack(at[-PLACE.size :])[1]
