"""Finding which logs differ between two nodes, in bytes proportional to the difference (SPEC.md 6.2).

Each node sorts its logs by key. A **head** says how far it holds one log: key, size, id of the last entry, and
whether the log is forked (then size is where the fork starts). The **fingerprint** of a range of keys is
SHA-256 over the sum, modulo 2^256, of the SHA-256 of each head, and their count. Equal fingerprints: equal
heads. A range that differs is cut into SPLIT parts, until it holds few enough heads to list them.

    opener                        answerer
    [fingerprint of everything] ->
                                <- [fingerprints of SPLIT parts, or the heads]
    [parts that differ, finer]  ->        ... until
    [LIST: my heads in here]    ->
                                <- [ANSWER: my heads where they differ from yours]

The side that finds itself behind asks for entries; nothing here remembers anything between messages. The
scheme is range-based set reconciliation (A. Meyer, SRDS 2023); the sum as fingerprint is as in Negentropy.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from typing import Final

from keys.signing import PublicKey
from protocol.codec import pack
from protocol.entry import EntryId

SPLIT: Final = 16
LIST_MAX: Final = 48  # heads: below this a list costs less than another round trip
_MODULUS: Final = 1 << 256

SKIP, FINGERPRINT, LIST, ANSWER = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Head:
    """How far a node holds one log. Of a forked log only what lies below the fork counts."""

    key: PublicKey
    size: int  # entries that count
    id: EntryId | None  # of entry size - 1; None when size is 0
    forked: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """The keys from the previous range's `upper` (the first: from the start) to below `upper` (empty: to the end)."""

    upper: bytes
    mode: int
    fingerprint: bytes = b""
    heads: tuple[Head, ...] = ()


class HeadIndex:
    """The heads of all logs, ready for range queries. Memory: about 400 bytes a log."""

    def __init__(self, heads: Iterable[Head] = ()) -> None:
        self._heads: dict[PublicKey, Head] = {head.key: head for head in heads}
        self._sorted: list[PublicKey] | None = None  # None: to be sorted again
        self._sums: list[int] | None = None  # _sums[i]: the sum over the first i keys

    def __len__(self) -> int:
        return len(self._heads)

    def __iter__(self) -> Iterator[Head]:
        return (self._heads[key] for key in self._keys())

    def get(self, key: PublicKey) -> Head:
        """The head of `key`'s log; of size 0 where nothing is held."""
        return self._heads.get(key) or Head(key, 0, None)

    def put(self, head: Head) -> None:
        """Set the head of one log. O(1); the next range query pays O(logs) once."""
        if head.key not in self._heads:
            self._sorted = None
        self._heads[head.key] = head
        self._sums = None

    def drop(self, key: PublicKey) -> None:
        """Forget the head of one log, of which nothing counts any longer. Cost as of `put`."""
        if self._heads.pop(key, None) is not None:
            self._sorted = self._sums = None

    def fingerprint(self, lower: bytes = b"", upper: bytes = b"") -> bytes:
        """The fingerprint of the heads from `lower` to below `upper` (empty: to the end), 32 bytes."""
        start, stop = self._bounds(lower, upper)
        sums = self._prefix_sums()
        total = (sums[stop] - sums[start]) % _MODULUS
        return sha256(total.to_bytes(32, "big") + (stop - start).to_bytes(8, "big")).digest()

    def between(self, lower: bytes, upper: bytes) -> tuple[Head, ...]:
        """The heads from `lower` to below `upper`, by key."""
        start, stop = self._bounds(lower, upper)
        return tuple(self._heads[key] for key in self._keys()[start:stop])

    def cut(self, lower: bytes, upper: bytes) -> list[bytes]:
        """The upper ends of up to SPLIT parts of that range, of about equal counts; the last is `upper`."""
        start, stop = self._bounds(lower, upper)
        keys = self._keys()
        inner = sorted({start + (stop - start) * part // SPLIT for part in range(1, SPLIT)} - {start, stop})
        return [bytes(keys[index]) for index in inner] + [upper]

    def count(self, lower: bytes, upper: bytes) -> int:
        """How many logs lie in that range."""
        start, stop = self._bounds(lower, upper)
        return stop - start

    def _bounds(self, lower: bytes, upper: bytes) -> tuple[int, int]:
        keys = self._keys()
        start = bisect_left(keys, lower)
        return start, max(start, bisect_left(keys, upper)) if upper else len(keys)

    def _keys(self) -> list[PublicKey]:
        if self._sorted is None:
            self._sorted = sorted(self._heads)
            self._sums = None
        return self._sorted

    def _prefix_sums(self) -> list[int]:
        if self._sums is None:
            self._sums = list(accumulate((_head_number(self._heads[key]) for key in self._keys()), initial=0))
        return self._sums


def _head_number(head: Head) -> int:
    return int.from_bytes(sha256(pack([head.key, head.size, head.id, head.forked])).digest(), "big")


def opening(index: HeadIndex) -> tuple[Range, ...]:
    """The first message of a reconciliation: the whole key space, as parts or as a list."""
    return tuple(_describe(index, b"", b""))


def reply(index: HeadIndex, ranges: Sequence[Range], ranges_max: int, heads_max: int) -> tuple[list[Range], list[Head]]:
    """What to answer to `ranges`, and the peer's heads that were learnt and differ from ours.

    The answer is empty when nothing is left to say. It stops early before it grows over `ranges_max` ranges or
    `heads_max` heads: the rest is found in the next reconciliation. An ANSWER too long for what room is left ends
    before the first head that does not fit, so a node that holds nothing learns `heads_max` heads at a time.
    """
    answer: list[Range] = []
    learnt: list[Head] = []
    lower = b""
    room = heads_max
    for part in ranges:
        found = _reply_to_range(index, lower, part, learnt)
        heads_count = sum(len(item.heads) for item in found)
        if heads_count > room and found[0].mode == ANSWER and room > 0:
            heads = found[0].heads
            answer.append(Range(heads[room].key, ANSWER, heads=heads[:room]))
            break
        if heads_count > room or len(answer) + len(found) > ranges_max:
            break
        if answer and answer[-1].mode == SKIP and found[0].mode == SKIP:
            answer.pop()
        answer += found
        room -= heads_count
        lower = part.upper
    while answer and answer[-1].mode == SKIP:
        answer.pop()
    return answer, learnt


def _reply_to_range(index: HeadIndex, lower: bytes, part: Range, learnt: list[Head]) -> list[Range]:
    if part.mode == FINGERPRINT and part.fingerprint != index.fingerprint(lower, part.upper):
        return _describe(index, lower, part.upper)
    if part.mode in (LIST, ANSWER):
        differing = [head for head in part.heads if index.get(head.key) != head]
        learnt += differing
        if part.mode == LIST:
            named = {head.key for head in part.heads}
            unnamed = [head for head in index.between(lower, part.upper) if head.key not in named]
            mine = [index.get(head.key) for head in differing] + unnamed
            if mine:
                mine.sort(key=lambda head: head.key)
                return [Range(part.upper, ANSWER, heads=tuple(mine))]
    return [Range(part.upper, SKIP)]


def _describe(index: HeadIndex, lower: bytes, upper: bytes) -> list[Range]:
    if index.count(lower, upper) <= LIST_MAX:
        return [Range(upper, LIST, heads=index.between(lower, upper))]
    parts = []
    for end in index.cut(lower, upper):
        parts.append(Range(end, FINGERPRINT, fingerprint=index.fingerprint(lower, end)))
        lower = end
    return parts
