"""A packed table: pairs kept together in blocks, so that they cost less disk and fewer pages to write (SPEC.md 9).

    block = first key -> canonical [last key, content]
    content = canonical [[key, ...], [value, ...]], compressed with zstd (RFC 8878)

A row stands alone in its log, but its neighbours say much the same: a block of them takes a third of the disk. The keys
of a block are of one group (one log), ascend, and none of another block lies between them. A new pair beyond a small
block joins it, until that fills a page; many pairs that come together fill larger blocks. So a pair that comes by
itself writes one page, and one that comes in bulk is written once. Whatever else changes in a block, all of it is
written anew.

Content has a checksum: where a bit of it is not as it was written, the block is an error that says from which key to
which, never other content. Reading goes on after it.

Reading one pair costs the block, 10 to 60 us; the last block read is remembered. Reading on from there costs 0.3 us.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from operator import add, lt
from typing import Final, cast

import zstandard

from keys.errors import DamagedError, FormatError
from ledger.storage import Reader, Writer, check_keys
from protocol.codec import pack, unpack_row

BLOCK_PAIRS_MAX: Final = 1024
CONTENT_BYTES_MAX: Final = 16 * 1024 * 1024  # one pair of any size may follow what is there
_CHUNK: Final = 10_000  # pairs held at once
_LEVEL: Final = -1  # 1 takes a third longer and saves 2 %; 3 twice as long, and nothing more

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the blocks of a table are to be."""

    group_bytes: int  # keys that begin with the same so many bytes may share a block
    open_bytes: int  # a block that takes less on disk is open: with one more row it takes a page at most
    block_bytes: int  # of keys and values, where a block ends, unless less than half as much again is left; or before,
    full_bytes: int  # where it takes about so much on disk: it fills its pages


ROWS: Final = Shape(group_bytes=4, open_bytes=3500, block_bytes=22 * 1024, full_bytes=7_900)  # a group is one log


class Zstd:
    """What compresses and what unpacks, for one thread."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def decompress(self, content: bytes) -> bytes:
        """The inverse of `compress`. Raises zstandard.ZstdError."""
        frame = zstandard.get_frame_parameters(content)
        if not frame.has_checksum or not 0 < frame.content_size <= CONTENT_BYTES_MAX:
            raise zstandard.ZstdError("unbounded")
        return self._decompress(content, allow_extra_data=False)


@dataclass(frozen=True, slots=True)
class _Block:
    keys: list[bytes]
    values: list[bytes]


class PackedReader:
    """A packed table in one view, read like any other; see `ledger.storage.Reader`.

    plain: the view in which the blocks are the pairs. All raise DamagedError where a block is damaged.
    """

    def __init__(self, plain: Reader, table: str, zstd: Zstd, shape: Shape = ROWS) -> None:
        self._plain = plain
        self._shape = shape
        self._table = table
        self._zstd = zstd
        self._near: _Block | None = None  # read last
        self._changes = 0

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        block = self._around(key)
        if block is None:
            return None
        index = bisect_left(block.keys, key)
        return block.values[index] if index < len(block.keys) and block.keys[index] == key else None

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[Pair]:
        """Pairs with start <= key < stop. What is changed meanwhile beyond the last pair given is seen."""
        while (block := self._from(start, stop)) is not None:
            changes = self._changes
            first = bisect_left(block.keys, start)
            end = len(block.keys) if stop is None else bisect_left(block.keys, stop, first)
            for pair in zip(block.keys[first:end], block.values[first:end], strict=True):
                yield pair
                if self._changes != changes:
                    start = pair[0] + b"\x00"
                    break
            else:
                if end < len(block.keys):
                    return
                start = block.keys[-1] + b"\x00"

    def last(self) -> Pair | None:
        """The pair with the greatest key, or None in an empty table."""
        found = self._plain.last(self._table)
        if found is None:
            return None
        block = self._read(*found)
        return block.keys[-1], block.values[-1]

    def before(self, key: bytes) -> Pair | None:
        """The pair with the greatest key below `key`, or None."""
        found = self._plain.before(self._table, key)
        if found is None:
            return None
        block = self._read(*found)
        index = bisect_left(block.keys, key) - 1
        return block.keys[index], block.values[index]

    # -- blocks -----------------------------------------------------------------------------------

    def _around(self, key: bytes) -> _Block | None:
        """The block in which `key` is, if it is anywhere."""
        near = self._near
        if near is not None and near.keys[0] <= key <= near.keys[-1]:
            return near
        found = self._plain.before(self._table, key + b"\x00")
        return None if found is None or self._fields(*found)[0] < key else self._read(*found)

    def _from(self, start: bytes, stop: bytes | None) -> _Block | None:
        """The block of the first pair from `start` on, unless that lies in one from `stop` on."""
        block = self._around(start)
        return block or next((self._read(*found) for found in self._plain.scan(self._table, start, stop)), None)

    def _read(self, first: bytes, raw: bytes) -> _Block:
        last, content = self._fields(first, raw)
        try:
            keys, values = unpack_row(self._zstd.decompress(content))
        except (FormatError, ValueError, zstandard.ZstdError):
            raise self._damaged(first) from None
        if type(keys) is not list or type(values) is not list or not 0 < len(keys) == len(values):
            raise self._damaged(first)
        if set(map(type, keys)) | set(map(type, values)) != {bytes} or (keys[0], keys[-1]) != (first, last):
            raise self._damaged(first)
        if not all(map(lt, keys, islice(keys, 1, None))):
            raise self._damaged(first)
        self._near = _Block(keys, values)
        return self._near

    def _fields(self, first: bytes, raw: bytes) -> tuple[bytes, bytes]:
        try:
            last, content = unpack_row(raw)
        except (FormatError, ValueError):
            raise self._damaged(first) from None
        if type(last) is not bytes or type(content) is not bytes or last < first:
            raise self._damaged(first)
        return last, content

    def _damaged(self, first: bytes) -> DamagedError:
        """Where the next block begins, the table goes on: its key says so, whatever this one says of itself."""
        beyond = next((key for key, _ in self._plain.scan(self._table, first + b"\x00")), None)
        return DamagedError(
            f"the store is damaged: its block of rows from {first.hex()} on cannot be read; run hamkor audit on this"
            " home, and sync into a new one", first, beyond,
        )  # fmt: skip


class PackedWriter(PackedReader):
    """The same in the write transaction. See `ledger.storage.Writer`."""

    def __init__(self, plain: Writer, table: str, zstd: Zstd, shape: Shape = ROWS) -> None:
        super().__init__(plain, table, zstd, shape)
        self._writer = plain

    def put_many(self, pairs: Iterable[Pair]) -> None:
        """Set many keys; of a key that comes twice the later value stays."""
        source = iter(pairs)
        while chunk := list(islice(source, _CHUNK)):
            keys, values = map(list, zip(*chunk, strict=True))
            check_keys(keys)
            if not all(map(lt, keys, islice(keys, 1, None))):
                keys, values = _sorted(dict(chunk))
            self._put_sorted(keys, values)

    def delete(self, key: bytes) -> None:
        """Remove `key`; nothing happens when it is not there."""
        block = self._around(key)
        if block is None or key not in block.keys:
            return
        self._writer.delete(self._table, block.keys[0])
        left = dict(zip(block.keys, block.values, strict=True))
        del left[key]
        self._write(*_sorted(left))

    def _put_sorted(self, keys: list[bytes], values: list[bytes]) -> None:
        """Put pairs where they belong: into the block around them, the open block before them, or new ones."""
        group_bytes = self._shape.group_bytes
        at = 0
        while at < len(keys):
            key, end = keys[at], at + 1
            group = key[:group_bytes]
            if end < len(keys):
                beyond = next((first for first, _ in self._plain.scan(self._table, key + b"\x00")), None)
                end = bisect_left(keys, group + b"\xff" * 9, end)
                end = end if beyond is None else bisect_left(keys, beyond, at + 1, end)
            some, theirs = keys[at:end], values[at:end]
            found = self._plain.before(self._table, key + b"\x00")
            if found is not None:
                if key <= self._fields(*found)[0]:
                    block = self._read(*found)
                    both = zip(block.keys + some, block.values + theirs, strict=True)
                    some, theirs = _sorted(dict(both))
                elif len(found[1]) < self._shape.open_bytes and found[0][:group_bytes] == group:
                    block = self._read(*found)
                    some, theirs = block.keys + some, block.values + theirs
            self._write(some, theirs)
            at = end

    def _write(self, keys: list[bytes], values: list[bytes]) -> None:
        """Put pairs into blocks, in place of those that have the same first keys."""
        blocks: list[Pair] = []
        start, most, full_bytes = 0, self._shape.block_bytes, self._shape.full_bytes
        ends = list(accumulate(map(add, map(len, keys), map(len, values))))  # bytes up to each pair, it included
        while start < len(keys):
            before = ends[start - 1] if start else 0
            much = ends[-1] - before > most + most // 2  # a little more than a block stays in one
            end = bisect_left(ends, before + most, start) + 1 if much else len(keys)
            end = min(end, start + BLOCK_PAIRS_MAX)
            content = self._zstd.compress(cast("bytes", pack([keys[start:end], values[start:end]])))
            blocks.append((keys[start], pack([keys[end - 1], content])))
            start, most = end, min(most, (ends[end - 1] - before) * full_bytes // len(content))
        self._writer.put_many(self._table, blocks)
        self._near = None  # it may be another now
        self._changes += 1


def _sorted(pairs: dict[bytes, bytes]) -> tuple[list[bytes], list[bytes]]:
    keys = sorted(pairs)
    return keys, [pairs[key] for key in keys]
