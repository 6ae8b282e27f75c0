"""Finding which logs differ between two nodes, in bytes proportional to the difference (SPEC.md 6.2).

Each node sorts its logs by key. A **head** says how far it holds one log: key, size, id of the last entry, and
whether the log is forked (then size is where the fork starts). The **fingerprint** of a range of keys is
SHA-256 over the sum, modulo 2^256, of the SHA-256 of each head, and their count. Equal fingerprints: equal
heads. A range that differs is cut into SPLIT equal parts of the key space, until it holds few enough logs to list
them: keys are spread evenly, and who makes some that are not pays for each bit, and costs a message for four.

    opener                              answerer
    [prints of OPENING_SPLIT parts]  ->
                                     <- [prints of their parts, or lists, where they differ]
    [LIST: a mark and a size a log]  ->        ... until
                                     <- [ANSWER: my heads where I have more; which logs are these?]
    [ANSWER: those are]              ->

The side that finds itself behind asks for entries; nothing here remembers anything between messages. The
scheme is range-based set reconciliation (A. Meyer, SRDS 2023); the sum as fingerprint is as in Negentropy.

Between two messages only 8 bytes of a fingerprint travel, its **print**, and 16 of a listed log, its **mark**. Who
may choose heads could make two prints equal, and hide a difference: so each is hashed with a salt that the opener
takes from its own digest. The digest changes with every entry that is written anywhere, the attacker's own
included, so nothing can be prepared: each guess costs a hash, one in 2^64 hits, and hides for one reconciliation.
A mark begins with the log's key, of which nobody can make a second with the same 8 bytes.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from keys.signing import PublicKey
from protocol.codec import pack
from protocol.entry import EntryId

SPLIT: Final = 16
LIST_MAX: Final = 24  # logs of a part: to list them costs less than to split once more
OPENING_SPLIT: Final = 64  # the first message has no part that is known to differ: it costs once what others cost often
OPENING_LIST_MAX: Final = 64  # and with so many logs it can as well list them all
SALT_BYTES: Final = 8
PRINT_BYTES: Final = 8
TAG_BYTES: Final = 8  # of a key
MARK_BYTES: Final = TAG_BYTES + PRINT_BYTES
_KEY_BYTES: Final = 32
_MODULUS: Final = 1 << 256

SKIP, FINGERPRINT, LIST, ANSWER = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Head:
    """How far a node holds one log. Of a forked log only what lies below the fork counts."""

    key: PublicKey
    size: int  # entries that count
    id: EntryId | None  # of entry size - 1; None when size is 0, and when a list told the size alone
    forked: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """One log in a list: what tells it from others, its size, and whether it is the same as somebody else's."""

    tag: bytes  # the first TAG_BYTES of its key
    print: bytes  # of its head, PRINT_BYTES
    size: int
    forked: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """The keys from the previous range's `upper` (the first: from the start) to below `upper` (empty: to the end)."""

    upper: bytes
    mode: int
    prints: tuple[bytes, ...] = ()  # of FINGERPRINT: of as many equal parts
    marks: tuple[Mark, ...] = ()  # of LIST
    heads: tuple[Head, ...] = ()  # of ANSWER
    asked: tuple[bytes, ...] = ()  # of ANSWER: tags of logs that are to be named

    @property
    def items(self) -> int:
        """How many logs it speaks of."""
        return len(self.marks) + len(self.heads) + len(self.asked)


class HeadIndex:
    """The heads of all logs, ready for range queries. Memory: about 600 bytes a log.

    The sums are a Fenwick tree over the sorted keys. A log that grows costs O(log of logs); one that is new, O(logs)
    additions at the next range query.
    """

    def __init__(self, heads: Iterable[Head] = ()) -> None:
        self._heads: dict[PublicKey, Head] = {head.key: head for head in heads}
        self._numbers = {head.key: _head_number(head) for head in self._heads.values()}
        self._total = sum(self._numbers.values())
        self._keys = sorted(self._heads)
        self._stale = False  # keys came or went since they were sorted
        self._tree: list[int] = []  # _tree[i]: the sum of the last (i & -i) of the first i numbers; empty: to be made

    def __len__(self) -> int:
        return len(self._heads)

    def __iter__(self) -> Iterator[Head]:
        return (self._heads[key] for key in self._sorted())

    def get(self, key: PublicKey) -> Head:
        """The head of `key`'s log; of size 0 where nothing is held."""
        return self._heads.get(key) or Head(key, 0, None)

    def put(self, head: Head) -> None:
        """Set the head of one log."""
        key, number = head.key, _head_number(head)
        change = number - self._numbers.get(key, 0)
        self._total += change
        if key not in self._heads:
            self._stale, self._tree = True, []
        elif self._tree:
            at = bisect_left(self._keys, key) + 1
            while at < len(self._tree):
                self._tree[at] += change
                at += at & -at
        self._heads[key], self._numbers[key] = head, number

    def drop(self, key: PublicKey) -> None:
        """Forget the head of one log, of which nothing counts any longer."""
        if self._heads.pop(key, None) is not None:
            self._total -= self._numbers.pop(key)
            self._stale, self._tree = True, []

    def fingerprint(self, lower: bytes = b"", upper: bytes = b"") -> bytes:
        """The fingerprint of the heads from `lower` to below `upper` (empty: to the end), 32 bytes.

        Of everything: O(1).
        """
        if not lower and not upper:
            return _fingerprint(self._total, len(self._heads))
        return self._fingerprints(lower, [upper])[0]

    def prints(self, salt: bytes, lower: bytes, uppers: Sequence[bytes]) -> tuple[bytes, ...]:
        """What travels under a salt of the fingerprints of parts that follow one another, PRINT_BYTES each."""
        return tuple(sha256(salt + whole).digest()[:PRINT_BYTES] for whole in self._fingerprints(lower, uppers))

    def _fingerprints(self, lower: bytes, uppers: Sequence[bytes]) -> list[bytes]:
        keys = self._sorted()
        start = bisect_left(keys, lower)
        below, found = self._sum_of(start), []
        for upper in uppers:
            stop = bisect_left(keys, upper, start) if upper else len(keys)
            total = self._sum_of(stop)
            found.append(_fingerprint(total - below, stop - start))
            start, below = stop, total
        return found

    def mark(self, salt: bytes, head: Head) -> Mark:
        """How one of these logs is listed."""
        number = self._numbers[head.key].to_bytes(32, "big")
        return Mark(head.key[:TAG_BYTES], sha256(salt + number).digest()[:PRINT_BYTES], head.size, head.forked)

    def between(self, lower: bytes, upper: bytes) -> tuple[Head, ...]:
        """The heads from `lower` to below `upper`, by key."""
        start, stop = self._bounds(lower, upper)
        return tuple(self._heads[key] for key in self._keys[start:stop])

    def tagged(self, tag: bytes, lower: bytes, upper: bytes) -> list[Head]:
        """The heads in that range whose keys begin with `tag`, by key: one, or none."""
        start, stop = self._bounds(lower, upper)
        at = bisect_left(self._keys, tag, start, stop)
        found = []
        while at < stop and self._keys[at].startswith(tag):
            found.append(self._heads[self._keys[at]])
            at += 1
        return found

    def count(self, lower: bytes, upper: bytes) -> int:
        """How many logs lie in that range."""
        start, stop = self._bounds(lower, upper)
        return stop - start

    def _bounds(self, lower: bytes, upper: bytes) -> tuple[int, int]:
        keys = self._sorted()
        start = bisect_left(keys, lower)
        return start, bisect_left(keys, upper, start) if upper else len(keys)

    def _sorted(self) -> list[PublicKey]:
        if self._stale:
            self._keys, self._stale = sorted(self._heads), False
        return self._keys

    def _sum_of(self, count: int) -> int:
        """The sum of the first `count` numbers."""
        tree = self._tree
        if not tree:
            tree += [0, *map(self._numbers.__getitem__, self._sorted())]
            for at in range(1, len(tree)):
                if (above := at + (at & -at)) < len(tree):
                    tree[above] += tree[at]
        total = 0
        while count:
            total += tree[count]
            count &= count - 1
        return total


def _head_number(head: Head) -> int:
    return int.from_bytes(sha256(pack([head.key, head.size, head.id, head.forked])).digest(), "big")


def _fingerprint(total: int, count: int) -> bytes:
    return sha256((total % _MODULUS).to_bytes(32, "big") + count.to_bytes(8, "big")).digest()


def cut(lower: bytes, upper: bytes, parts: int) -> list[bytes]:
    """The upper ends of `parts` equal parts of the keys from `lower` to below `upper`; the last is `upper`.

    In a range of fewer keys than parts some are empty: they end where they begin. None but the last is open.
    """
    start, stop = _place(lower), _place(upper) if upper else _MODULUS
    inner = (start + (stop - start) * part // parts for part in range(1, parts))
    return [max(place, 1).to_bytes(_KEY_BYTES, "big").rstrip(b"\x00") for place in inner] + [upper]


def _place(bound: bytes) -> int:
    return int.from_bytes(bound.ljust(_KEY_BYTES, b"\x00"), "big")


def opening(index: HeadIndex) -> tuple[bytes, tuple[Range, ...]]:
    """The salt and the first message of a reconciliation: the whole key space, as parts or as a list."""
    salt = index.fingerprint()[:SALT_BYTES]
    return salt, (_describe(index, salt, b"", b"", OPENING_LIST_MAX, OPENING_SPLIT),)


def reply(
    index: HeadIndex, salt: bytes, ranges: Sequence[Range], ranges_max: int, heads_max: int
) -> tuple[list[Range], list[Head]]:
    """What to answer to `ranges`, under the same salt, and what was learnt of the peer's heads that differ from ours.

    A head learnt from a list has no id. The answer is empty when nothing is left to say. It stops early before it
    grows over `ranges_max` ranges and prints, or `heads_max` heads, marks and tags: the rest is found in the next
    reconciliation. An ANSWER too long for what room is left ends before the first head that does not fit, so a node
    that holds nothing learns `heads_max` heads at a time.
    """
    answer: list[Range] = []
    learnt: list[Head] = []
    room, room_for_ranges = heads_max, ranges_max
    for lower, part in _one_by_one(index, salt, ranges):
        found = _reply_to_range(index, salt, lower, part, learnt)
        if answer and answer[-1].mode == SKIP and found.mode == SKIP:
            answer.pop()
            room_for_ranges += 1
        room_for_ranges -= max(1, len(found.prints))
        if room_for_ranges < 0:
            break
        if found.items > room:
            if room and (heads := found.heads):
                answer.append(Range(heads[room].key if len(heads) > room else part.upper, ANSWER, heads=heads[:room]))
            break
        answer.append(found)
        room -= found.items
    while answer and answer[-1].mode == SKIP:
        answer.pop()
    return answer, learnt


def _one_by_one(index: HeadIndex, salt: bytes, ranges: Iterable[Range]) -> Iterator[tuple[bytes, Range]]:
    """Each range with its lower end; for one with prints, its parts: FINGERPRINT where they differ, else SKIP."""
    lower = b""
    for part in ranges:
        if part.mode != FINGERPRINT:
            yield lower, part
        else:
            ends = cut(lower, part.upper, len(part.prints))
            for end, mine, other in zip(ends, index.prints(salt, lower, ends), part.prints, strict=True):
                if not end or end > lower:
                    yield lower, Range(end, SKIP if mine == other else FINGERPRINT)
                    lower = end
        lower = part.upper


def _reply_to_range(index: HeadIndex, salt: bytes, lower: bytes, part: Range, learnt: list[Head]) -> Range:
    heads: list[Head] = []
    asked: tuple[bytes, ...] = ()
    if part.mode == FINGERPRINT:
        return _describe(index, salt, lower, part.upper, LIST_MAX, SPLIT)
    if part.mode == LIST:
        heads, asked = _compare_list(index, salt, lower, part, learnt)
    elif part.mode == ANSWER:
        learnt += [head for head in part.heads if index.get(head.key) != head]
        heads = [head for tag in sorted(set(part.asked)) for head in index.tagged(tag, lower, part.upper)]
        learnt += _lacking(heads)
    if heads or asked:
        return Range(part.upper, ANSWER, heads=tuple(heads), asked=asked)
    return Range(part.upper, SKIP)


def _compare_list(
    index: HeadIndex, salt: bytes, lower: bytes, part: Range, learnt: list[Head]
) -> tuple[list[Head], tuple[bytes, ...]]:
    """Our heads that the lister needs, by key, and the tags of its logs that we do not know.

    It needs ours unless it only has more of a log: then it is enough that we have learnt that.
    """
    twice = Counter(item.tag for item in part.marks)
    asked: list[bytes] = []
    told: set[PublicKey] = set()  # what need not be said
    for item in part.marks:
        mine = index.tagged(item.tag, lower, part.upper)
        if len(mine) != 1 or twice[item.tag] > 1:
            asked.append(item.tag)
        elif item == index.mark(salt, mine[0]):
            told.add(mine[0].key)
        else:
            learnt.append(Head(mine[0].key, item.size, None, item.forked))
            if item.size > mine[0].size and not item.forked and not mine[0].forked:
                told.add(mine[0].key)
    heads = [head for head in index.between(lower, part.upper) if head.key not in told]
    learnt += _lacking(head for head in heads if head.key[:TAG_BYTES] not in twice)
    return heads, tuple(dict.fromkeys(asked))


def _lacking(heads: Iterable[Head]) -> list[Head]:
    """What is learnt of logs that the other side lacks: who holds the proof of a fork sends it without being asked."""
    return [Head(head.key, 0, None) for head in heads if head.forked]


def _describe(index: HeadIndex, salt: bytes, lower: bytes, upper: bytes, list_max: int, split: int) -> Range:
    if index.count(lower, upper) <= list_max:
        return Range(upper, LIST, marks=tuple(index.mark(salt, head) for head in index.between(lower, upper)))
    return Range(upper, FINGERPRINT, index.prints(salt, lower, cut(lower, upper, split)))
