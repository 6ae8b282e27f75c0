"""Frames: runs of entries as they travel on links and in bundles (SPEC.md 5).

    frame = 00 payload | 01 zstd(payload)
    payload = [run, ...]           run = [key, seq, prev, [row, ...]]        canonical msgpack, rows as byte strings

A run is a stretch of one log: `seq` and `prev` place its first row, the rest follow. A frame ends each run on
an entry whose own signature verifies; everything before it in the run is proved by its chain of hashes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import zstandard

from keys.errors import FormatError
from keys.signing import PublicKey, SigningKey
from protocol.codec import pack, unpack_row
from protocol.entry import EntryId, NetworkId, Place, sign_rows
from protocol.limits import FRAME_BYTES_MAX, FRAME_ENTRIES_MAX, FRAME_RUNS_MAX, SEQ_MAX

_PLAIN, _ZSTD = b"\x00", b"\x01"
_ZSTD_BYTES_MIN = 512  # below this, compression saves less than it costs
_ZSTD_WINDOW_LOG_MAX = 21  # 2 MiB: more than any frame, so no frame can ask for more memory


Draft: TypeAlias = tuple[str, bytes, Sequence[EntryId]]  # kind, body, refs of an entry to be signed


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of one log. Nothing in it is checked yet but its shape."""

    key: PublicKey
    seq: int  # of the first row
    prev: EntryId | None  # the entry before the first row
    rows: tuple[bytes, ...]

    @property
    def place(self) -> Place:
        """The place of the first row."""
        return Place(self.key, self.seq, self.prev)

    @property
    def end(self) -> int:
        """The seq after the last row."""
        return self.seq + len(self.rows)


def sign_run(
    signer: SigningKey, network_id: NetworkId, place: Place, drafts: Iterable[Draft], time_ms: int
) -> tuple[Run, list[EntryId]]:
    """`drafts` signed as the next entries at `place`, all with that time, and their ids. Raises FormatError."""
    rows, ids = sign_rows(signer, network_id, place, drafts, time_ms)
    return Run(place.key, place.seq, place.prev, tuple(rows)), ids


def encode_frame(runs: Sequence[Run], *, compress: bool = True) -> bytes:
    """The frame's bytes. The caller keeps to FRAME_BYTES_MAX, FRAME_ENTRIES_MAX and FRAME_RUNS_MAX."""
    payload = bytes(pack([[run.key, run.seq, run.prev, run.rows] for run in runs]))
    if compress and len(payload) >= _ZSTD_BYTES_MIN:
        return _ZSTD + zstandard.ZstdCompressor(level=1).compress(payload)
    return _PLAIN + payload


def decode_frame(raw: bytes) -> tuple[Run, ...]:
    """The runs in a frame from anywhere, shapes and bounds checked, contents not.

    Raises FormatError. Memory: at most FRAME_BYTES_MAX for the payload and about twice that for its rows.
    """
    if not 1 < len(raw) <= FRAME_BYTES_MAX:
        raise FormatError(f"a frame of {len(raw)} bytes; from 2 to {FRAME_BYTES_MAX} are accepted")
    payload = _payload(raw)
    runs = unpack_row(payload)
    if pack(runs) != payload:
        raise FormatError("the frame is not in canonical form")
    if not 1 <= len(runs) <= FRAME_RUNS_MAX:
        raise FormatError(f"a frame of {len(runs)} runs; from 1 to {FRAME_RUNS_MAX} are accepted")
    decoded = tuple(_decode_run(run) for run in runs)
    entries = sum(len(run.rows) for run in decoded)
    if entries > FRAME_ENTRIES_MAX:
        raise FormatError(f"a frame of {entries} entries; at most {FRAME_ENTRIES_MAX} are accepted")
    return decoded


def _payload(raw: bytes) -> bytes:
    flag = raw[:1]
    if flag == _PLAIN:
        return raw[1:]
    if flag != _ZSTD:
        raise FormatError(f"unknown frame encoding {flag.hex()}; expected 00 (plain) or 01 (zstd)")
    try:
        parameters = zstandard.get_frame_parameters(raw[1:])
        if not 0 < parameters.content_size <= FRAME_BYTES_MAX:
            raise FormatError(f"a compressed frame must state a size of at most {FRAME_BYTES_MAX} bytes")
        reader = zstandard.ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW_LOG_MAX)
        return reader.decompress(raw[1:], max_output_size=FRAME_BYTES_MAX, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"the compressed frame is damaged: {error}") from None


def _decode_run(run: object) -> Run:
    if type(run) is not list or len(run) != 4:
        raise FormatError("a run is an array of 4: key, seq, prev, rows")
    key, seq, prev, rows = run
    if type(key) is not bytes or len(key) != 32:
        raise FormatError("a run's key is 32 bytes")
    if type(seq) is not int or not 0 <= seq <= SEQ_MAX:
        raise FormatError("a run's seq is a whole number")
    if (prev is None) != (seq == 0) or (prev is not None and (type(prev) is not bytes or len(prev) != 32)):
        raise FormatError("a run's prev is nil at seq 0, and a 32-byte id anywhere else")
    if type(rows) is not list or not rows or not all(type(row) is bytes for row in rows):
        raise FormatError("a run's rows are a non-empty array of byte strings")
    return Run(PublicKey(key), seq, cast("EntryId | None", prev), tuple(rows))
