"""A table kept in blocks is a table like any other, whatever is put in, in whatever portions."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.errors import DamagedError
from ledger.packed import ROWS, PackedReader, PackedWriter, Shape, Zstd
from ledger.storage import Writer
from protocol.codec import unpack_row
from sim.disk import MemoryStorage

ZSTD = Zstd()
SMALL = Shape(group_bytes=1, open_bytes=50, block_bytes=30, full_bytes=45)
KEYS = st.binary(min_size=1, max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.tuples(KEYS, st.binary(max_size=9)), max_size=20)),
        st.tuples(st.just("delete"), st.lists(st.tuples(KEYS, st.just(b"")), max_size=3)),
        st.tuples(st.just("commit"), st.just([])),
    ),
    max_size=30,
)
BOUNDS = st.tuples(st.one_of(st.just(b""), KEYS), st.one_of(st.none(), KEYS))


def packed(txn: Writer) -> PackedWriter:
    return PackedWriter(txn, "rows", ZSTD, SMALL)


def agrees(table: PackedReader, model: dict[bytes, bytes], start: bytes, stop: bytes | None) -> None:
    wanted = [(key, model[key]) for key in sorted(model) if key >= start and (stop is None or key < stop)]
    assert list(table.scan(start, stop)) == wanted
    assert table.last() == max(model.items(), default=None)
    for key in {*model, start, stop or b"\xff"}:
        assert table.get(key) == model.get(key)
        assert table.before(key) == max(((one, model[one]) for one in model if one < key), default=None)


@given(steps=STEPS, bounds=BOUNDS)
@settings(max_examples=150, deadline=None)
def test_it_holds_what_a_dictionary_holds(
    steps: list[tuple[str, list[tuple[bytes, bytes]]]],
    bounds: tuple[bytes, bytes | None],
) -> None:  # fmt: skip
    storage = MemoryStorage()
    model: dict[bytes, bytes] = {}
    at = 0
    while at <= len(steps):
        with storage.write() as txn:
            table = packed(txn)
            while at < len(steps) and steps[at][0] != "commit":
                what, pairs = steps[at]
                if what == "put":
                    table.put_many(pairs)
                    model |= dict(pairs)
                for key, _ in pairs if what == "delete" else ():
                    table.delete(key)
                    model.pop(key, None)
                at += 1
            agrees(table, model, *bounds)
        at += 1
    with storage.write() as txn:
        agrees(packed(txn), model, *bounds)


@contextmanager
def filled(count: int, size: int) -> Iterator[tuple[Writer, PackedWriter, dict[bytes, bytes]]]:
    """Rows of three logs in blocks of their real size."""
    with MemoryStorage().write() as txn:
        table = PackedWriter(txn, "rows", ZSTD)
        rows = {
            (number % 3).to_bytes(4, "big") + number.to_bytes(8, "big"): Random(number).randbytes(size)
            for number in range(count)
        }
        table.put_many(sorted(rows.items()))
        yield txn, table, rows


def test_rows_of_one_log_share_blocks_and_those_of_two_never() -> None:
    with filled(900, 400) as (txn, table, rows):
        blocks = list(txn.scan("rows"))
        assert len(blocks) < len(rows) // 15
        assert dict(table.scan()) == rows
        for first, block in blocks:
            last, _ = unpack_row(block)
            assert isinstance(last, bytes)
            assert last[:4] == first[:4]


def test_rows_that_come_one_by_one_fill_pages() -> None:
    with MemoryStorage().write() as txn:
        table = PackedWriter(txn, "rows", ZSTD)
        for number in range(200):
            table.put_many([(bytes(4) + number.to_bytes(8, "big"), Random(number).randbytes(150) + bytes(250))])
        sizes = [len(value) for _, value in txn.scan("rows")]
        assert all(ROWS.open_bytes <= size <= 4080 for size in sizes[:-1])
        assert sum(1 for _ in table.scan()) == 200


def test_no_bit_of_a_damaged_block_is_taken_for_another() -> None:
    with filled(60, 300) as (txn, _, rows):
        first, good = next(iter(txn.scan("rows")))
        rng = Random(1)
        for position in range(0, len(good), 7):
            for damaged in (good[:position], good[:position] + bytes([good[position] ^ 1 << rng.randrange(8)])):
                txn.put("rows", first, damaged + good[len(damaged) :] if len(damaged) > position else damaged)
                with pytest.raises(DamagedError) as caught:
                    list(PackedReader(txn, "rows", ZSTD).scan(first, first[:4] + b"\xff" * 8))
                assert caught.value.first == first
                assert caught.value.beyond == min(key for key in rows if key[:4] != first[:4])
