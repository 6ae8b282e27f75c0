"""Frames: what is packed comes out, and what comes from anywhere costs bounded memory and one kind of error."""

import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.entry import EntryId
from protocol.frame import Run, decode_frame, encode_frame
from protocol.limits import FRAME_BYTES_MAX, FRAME_ENTRIES_MAX, FRAME_RUNS_MAX, SEQ_MAX

HASHES = st.binary(min_size=32, max_size=32)
ROWS = st.lists(st.binary(max_size=300), min_size=1, max_size=8).map(tuple)
FIRST = st.builds(lambda key, rows: Run(PublicKey(key), 0, None, rows), HASHES, ROWS)
LATER = st.builds(Run, HASHES.map(PublicKey), st.integers(1, SEQ_MAX), HASHES.map(EntryId), ROWS)
RUNS = st.lists(FIRST | LATER, min_size=1, max_size=5).map(tuple)


@given(RUNS, st.booleans())
def test_runs_come_out_as_they_went_in(runs: tuple[Run, ...], compress: bool) -> None:
    assert decode_frame(encode_frame(runs, compress=compress)) == runs


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_a_format_error(raw: bytes) -> None:
    for flag in (b"", b"\x00", b"\x01", b"\x01\x28\xb5\x2f\xfd"):
        try:
            runs = decode_frame(flag + raw)
        except FormatError:
            continue
        assert encode_frame(runs, compress=False)[1:] == raw


@given(RUNS, st.data())
def test_a_damaged_compressed_frame_is_refused_or_well_formed(runs: tuple[Run, ...], data: st.DataObject) -> None:
    raw = bytearray(encode_frame((*runs, Run(PublicKey(bytes(32)), 0, None, (b"a" * 600,)))))
    assert raw[0] == 1
    raw[data.draw(st.integers(1, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_frame(bytes(raw))
    except FormatError:
        return
    assert decode_frame(encode_frame(found)) == found


def bomb(size: int, *, stated: bool) -> bytes:
    """A compressed frame that unpacks to `size` zero bytes."""
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=stated)
    if stated:
        return b"\x01" + compressor.compress(bytes(size))
    stream = compressor.compressobj()
    return b"\x01" + stream.compress(bytes(size)) + stream.flush()


@pytest.mark.parametrize("stated", [True, False])
def test_a_zip_bomb_is_refused_before_it_unpacks(stated: bool) -> None:
    raw = bomb(64 * 1024 * 1024, stated=stated)
    assert len(raw) < 16_384
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="size"):
            decode_frame(raw)
        assert tracemalloc.get_traced_memory()[1] < 2 * FRAME_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_a_frame_that_states_less_than_it_holds_is_refused() -> None:
    payload = encode_frame([Run(PublicKey(bytes(32)), 0, None, (bytes(5000),))], compress=False)[1:]
    raw = bytearray(b"\x01" + zstandard.ZstdCompressor(level=1).compress(payload))
    parameters = zstandard.get_frame_parameters(bytes(raw[1:]))
    at = bytes(raw).index((parameters.content_size - 256).to_bytes(2, "little"))
    raw[at : at + 2] = (100).to_bytes(2, "little")
    with pytest.raises(FormatError):
        decode_frame(bytes(raw))


def test_a_skippable_zstd_frame_is_refused() -> None:
    with pytest.raises(FormatError):
        decode_frame(b"\x01" + bytes.fromhex("502a4d18") + (8).to_bytes(4, "little") + bytes(8))


def test_bounds_are_met_exactly() -> None:
    def frame(runs: int, rows: int) -> bytes:
        return encode_frame([Run(PublicKey(bytes(32)), 0, None, (b"\xc0",) * rows)] * runs, compress=False)

    assert len(decode_frame(frame(FRAME_RUNS_MAX, 1))) == FRAME_RUNS_MAX
    assert len(decode_frame(frame(1, FRAME_ENTRIES_MAX))[0].rows) == FRAME_ENTRIES_MAX
    for raw in (frame(FRAME_RUNS_MAX + 1, 1), frame(1, FRAME_ENTRIES_MAX + 1), frame(2, FRAME_ENTRIES_MAX)):
        with pytest.raises(FormatError):
            decode_frame(raw)


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(FormatError, match="from 2 to"):
        decode_frame(bytes(FRAME_BYTES_MAX + 1))


def test_places_follow_from_the_run() -> None:
    run = Run(PublicKey(bytes(32)), 7, EntryId(bytes(32)), (b"a", b"b"))
    assert (run.place.seq, run.place.prev, run.end) == (7, bytes(32), 9)
