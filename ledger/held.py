"""What is held of one log, read from one view of the store, whether it counts or not."""

from collections.abc import Iterator
from typing import NamedTuple, cast

from keys.signing import PublicKey
from ledger.layout import PLACE, LogState, decode_log, kind_key
from ledger.storage import Reader
from protocol.codec import unpack_row
from protocol.entry import EntryId


class Said(NamedTuple):
    """What a row says, as far as it is asked for here."""

    id: EntryId
    time_ms: int
    body: bytes | None


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
