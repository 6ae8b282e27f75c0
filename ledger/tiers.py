"""A table in tiers: keys in no order, such as hashes, in a few trees of growing size (SPEC.md 9).

A tree that takes keys at random writes a page for nearly every key, once it has more pages than a transaction has keys.
Here few new pairs go into a small tree; when they are many, or would be more than its share, they and all of it go into
the next, in order, where many then fall on one page. The last tier has no bound. So at a million entries a pair costs
half the pages, and what is looked up takes three reads at most. Of a key that several tiers have, the newest counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Protocol

from ledger.storage import Reader, Writer

SHARES = (8_192, 131_072)  # pairs that each tier but the last may hold, the newest first
FEW = 16  # so many times as few as the next tier has are few: of more, some fall on every page of it
_CHUNK = 65_536  # pairs held at once
Pair = tuple[bytes, bytes]


class PlainReader(Reader, Protocol):
    """What a disk must also do for this."""

    def count(self, table: str) -> int:
        """How many pairs a table has. O(1)."""

    def first(self, tables: Sequence[str], key: bytes) -> bytes | None:
        """The value under `key` in the first of the tables that has it, or None."""


class PlainWriter(PlainReader, Writer, Protocol):
    """The same in the write transaction."""

    def clear(self, table: str) -> None:
        """Remove all pairs of a table."""


class TieredReader:
    """A table in tiers in one view, read like any other; see `ledger.storage.Reader`.

    tiers: the tables, the newest first.
    """

    def __init__(self, plain: PlainReader, tiers: Sequence[str]) -> None:
        self._plain = plain
        self._tiers = tiers
        self._known: list[str] | None = None

    def _filled(self) -> list[str]:
        """The tiers that hold something."""
        if self._known is None:
            self._known = [tier for tier in self._tiers if self._plain.count(tier)]
        return self._known

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        return self._plain.first(self._known or self._tiers, key)  # one look costs less than to ask what is filled

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[Pair]:
        """Pairs with start <= key < stop."""
        merged: Iterator[Pair] = iter(())
        for tier in reversed(self._filled()):
            newer = self._plain.scan(tier, start, stop)
            merged = _over(newer, merged) if tier != self._filled()[-1] else newer
        return merged

    def last(self) -> Pair | None:
        """The pair with the greatest key, or None in an empty table."""
        return _greatest(self._plain.last(tier) for tier in self._filled())

    def before(self, key: bytes) -> Pair | None:
        """The pair with the greatest key below `key`, or None."""
        return _greatest(self._plain.before(tier, key) for tier in self._filled())


class TieredWriter(TieredReader):
    """The same in the write transaction. See `ledger.storage.Writer`."""

    def __init__(self, plain: PlainWriter, tiers: Sequence[str]) -> None:
        super().__init__(plain, tiers)
        self._writer = plain
        self._changes = 0

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[Pair]:
        """Pairs with start <= key < stop. What is changed meanwhile beyond the last pair given is seen."""
        again = True
        while again:
            again, changes = False, self._changes
            for pair in super().scan(start, stop):
                yield pair
                if self._changes != changes:
                    start, again = pair[0] + b"\x00", True
                    break

    def put_many(self, pairs: Iterable[Pair]) -> None:
        """Set many keys; of a key that comes twice the later value stays."""
        source = iter(pairs)
        while chunk := list(islice(source, _CHUNK)):
            self._put_chunk(chunk)
        self._changes += 1
        self._known = None

    def _put_chunk(self, pairs: Sequence[Pair]) -> None:
        count, writer = len(pairs), self._writer
        for tier, after, share in zip(self._tiers[:-1], self._tiers[1:], SHARES, strict=True):
            held = writer.count(tier)
            if held + count <= share and count * FEW < writer.count(after):
                writer.put_many(tier, pairs)
                return
            if held:  # older than `pairs`, and newer than what is in the tiers after it
                writer.put_many(after, writer.scan(tier))
                writer.clear(tier)
        writer.put_many(self._tiers[-1], pairs)

    def delete(self, key: bytes) -> None:
        """Remove `key`; nothing happens when it is not there."""
        self._changes += 1
        for tier in self._filled():
            self._writer.delete(tier, key)


def _over(newer: Iterator[Pair], older: Iterator[Pair]) -> Iterator[Pair]:
    """The pairs of both in order; of a key that both have, the newer one's."""
    pending = next(newer, None)
    for pair in older:
        while pending is not None and pending[0] < pair[0]:
            yield pending
            pending = next(newer, None)
        if pending is None or pending[0] != pair[0]:
            yield pair
    if pending is not None:
        yield pending
        yield from newer


def _greatest(pairs: Iterable[Pair | None]) -> Pair | None:
    """The pair with the greatest key, of several the first."""
    return max((pair for pair in pairs if pair is not None), key=itemgetter(0), default=None)
