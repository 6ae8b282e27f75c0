"""What two nodes say to each other on a link (SPEC.md 6): one canonical array per message, its name first.

Every message is bounded and its shape checked here, before anything acts on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.codec import decode, encode, pack
from protocol.entry import EntryId
from protocol.limits import (
    ANCHOR,
    CHUNK_BYTES_MAX,
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    HEADS_MAX,
    MESSAGE_BYTES_MAX,
    RANGES_MAX,
    SEQ_MAX,
    WANTS_MAX,
)
from protocol.reconcile import (
    ANSWER,
    FINGERPRINT,
    LIST,
    MARK_BYTES,
    PRINT_BYTES,
    SALT_BYTES,
    SKIP,
    TAG_BYTES,
    Head,
    Mark,
    Range,
)  # fmt: skip

PROBES_MAX = 64  # seqs asked for in one probe
Signed: TypeAlias = tuple[bytes, bytes]  # an entry's header, and its signature


@dataclass(frozen=True, slots=True)
class Hello:
    """First on a link, from both sides: who we are and what we hold, in short."""

    network_id: bytes
    digest: bytes  # the fingerprint of everything
    entries: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class Digest:
    """Is yours the same? Answered by Same, or by Ranges."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Same:
    """Our digests are equal."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Ranges:
    """One step of reconciliation, all of which are under the salt that its opener chose."""

    salt: bytes
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Have:
    """These logs grew here."""

    heads: tuple[Head, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """Send me these logs from these seqs on: (key, seq, end), end exclusive."""

    logs: tuple[tuple[PublicKey, int, int], ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Entries; `number` counts this sender's frames on this link from 0."""

    number: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Your frames below `count` are dealt with: what they held is on disk, or refused."""

    count: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Which ids do you hold at these seqs of this log?"""

    key: PublicKey
    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ids:
    """The answer to Probe; seqs that are not held are left out."""

    key: PublicKey
    ids: tuple[tuple[int, EntryId], ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """Two different entries that one key signed for one seq: (header, signature) each, by ascending id.

    A signature may hold only on a later entry of the same chain. Then the entries that follow stand in `first_rest`
    or `second_rest`, up to one whose own signature holds.
    """

    first: Signed
    second: Signed
    first_rest: tuple[Signed, ...] = ()
    second_rest: tuple[Signed, ...] = ()

    @property
    def sides(self) -> tuple[tuple[Signed, ...], tuple[Signed, ...]]:
        """Both chains."""
        return (self.first, *self.first_rest), (self.second, *self.second_rest)

    def value(self) -> list[object]:
        """As it is encoded, and kept in the store."""
        return [self.first, self.second, self.first_rest, self.second_rest]


@dataclass(frozen=True, slots=True)
class Get:
    """Send me the chunk whose SHA-256 this is."""

    hash: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """The answer to Get; content None: it is not here. Whoever gets it checks the hash."""

    hash: bytes
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """I am."""

    number: int


@dataclass(frozen=True, slots=True)
class Bye:
    """Last on a link: why it ends."""

    reason: str


Message: TypeAlias = (
    Hello | Digest | Same | Ranges | Have | Want | Frame | Ack | Probe | Ids | Fork | Get | Chunk | Ping | Pong | Bye
)


def encode_message(message: Message) -> bytes:
    """The message's bytes."""
    match message:
        case Frame():  # the one that is large and frequent: packed as it is
            return bytes(pack(["frame", message.number, message.frame]))
        case Hello():
            return encode(["hello", message.version, message.network_id, message.digest, message.entries])
        case Digest() | Same():
            return encode([type(message).__name__.lower(), message.digest])
        case Ranges():
            return encode(["ranges", message.salt, [_range_value(part) for part in message.ranges]])
        case Have():
            return encode(["have", [_head_value(head) for head in message.heads]])
        case Want():
            return encode(["want", message.logs])
        case Ack():
            return encode(["ack", message.count])
        case Probe():
            return encode(["probe", message.key, message.seqs])
        case Ids():
            return encode(["ids", message.key, message.ids])
        case Fork():
            return encode(["fork", *message.value()])
        case Get() | Chunk():
            content = [message.content] if isinstance(message, Chunk) else []
            return encode([type(message).__name__.lower(), message.hash, *content])
        case Ping() | Pong():
            return encode([type(message).__name__.lower(), message.number])
        case Bye():
            return encode(["bye", message.reason])


def decode_message(raw: bytes) -> Message:
    """The message that a peer sent. Raises FormatError on anything else. Memory: a few times len(raw)."""
    value = decode(raw, size_max=MESSAGE_BYTES_MAX)
    if type(value) is not list or not value or type(value[0]) is not str:
        raise FormatError("a message is an array that begins with its name")
    name, fields = value[0], value[1:]
    shape = _SHAPES.get(name)
    if shape is None:
        raise FormatError(f"unknown message {name[:24]!r}")
    count, build = shape
    if len(fields) != count:
        raise FormatError(f"message {name!r} has {count} fields, this one has {len(fields)}")
    return build(*fields)


def _range_value(part: Range) -> list[object]:
    content: list[object] = []
    if part.mode == FINGERPRINT:
        content = [b"".join(part.prints)]
    elif part.mode == LIST:
        marks = b"".join(mark.tag + mark.print for mark in part.marks)
        forked = [at for at, mark in enumerate(part.marks) if mark.forked]
        content = [marks, [mark.size for mark in part.marks], forked]
    elif part.mode == ANSWER:
        content = [[_head_value(head) for head in part.heads], b"".join(part.asked)]
    return [part.upper, part.mode, *content]


def _head_value(head: Head) -> list[object]:
    return [head.key, head.size, head.id, head.forked]


def _bytes(value: object, size: int, what: str) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise FormatError(f"{what} is {size} bytes")
    return value


def _number(value: object, what: str, most: int = SEQ_MAX) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise FormatError(f"{what} is a whole number from 0 to {most}")
    return value


def _items(value: object, most: int, what: str) -> list[object]:
    if type(value) is not list or len(value) > most:
        raise FormatError(f"{what} are an array of at most {most}")
    return cast("list[object]", value)


def _tuple(value: object, size: int, what: str) -> list[object]:
    if type(value) is not list or len(value) != size:
        raise FormatError(f"{what} is an array of {size}")
    return cast("list[object]", value)


def _head(value: object) -> Head:
    key, size, last, forked = _tuple(value, 4, "a head")
    count = _number(size, "a head's size")
    if (last is None) != (count == 0) or type(forked) is not bool:
        raise FormatError("a head is [key, size, id, forked], and its id is nil exactly when its size is 0")
    known = None if last is None else EntryId(_bytes(last, 32, "a head's id"))
    return Head(PublicKey(_bytes(key, 32, "a head's key")), count, known, forked)


def _heads(value: object) -> tuple[Head, ...]:
    heads = tuple(_head(item) for item in _items(value, HEADS_MAX, "heads"))
    if len({head.key for head in heads}) != len(heads):
        raise FormatError("a log is named twice among the heads")
    return heads


def _ranges(salt: object, value: object) -> Ranges:
    parts = []
    lower = b""
    items = _items(value, RANGES_MAX, "ranges")
    for position, item in enumerate(items):
        if type(item) is not list or len(item) < 2 or type(item[0]) is not bytes:
            raise FormatError("a range is [upper, mode, ...]")
        upper, mode = item[0], item[1]
        if upper == b"" and position != len(items) - 1:
            raise FormatError("only the last range may be open")
        if upper != b"" and (len(upper) > 32 or upper <= lower):
            raise FormatError("ranges are in ascending order of at most 32 bytes each")
        parts.append(_range(lower, upper, mode, item[2:]))
        lower = upper
    if sum(part.items for part in parts) > HEADS_MAX or sum(len(part.prints) for part in parts) > RANGES_MAX:
        raise FormatError(f"the ranges of a message speak of at most {HEADS_MAX} logs, and hold {RANGES_MAX} prints")
    return Ranges(_bytes(salt, SALT_BYTES, "a salt"), tuple(parts))


def _range(lower: bytes, upper: bytes, mode: object, content: Sequence[object]) -> Range:
    if type(mode) is not int:
        raise FormatError("a range's mode is a number")
    if mode == SKIP and not content:
        return Range(upper, SKIP)
    if mode == FINGERPRINT and len(content) == 1 and content[0]:
        return Range(upper, FINGERPRINT, _chopped(content[0], PRINT_BYTES, "prints"))
    if mode == LIST and len(content) == 3:
        return Range(upper, LIST, marks=_marks(*content))
    if mode == ANSWER and len(content) == 2:
        heads = _heads(content[0])
        _check_within(lower, upper, [head.key for head in heads])
        return Range(upper, ANSWER, heads=heads, asked=_chopped(content[1], TAG_BYTES, "the logs asked for"))
    raise FormatError("a range's mode is 0 (skip), 1 (fingerprint), 2 (list) or 3 (answer), with its content")


def _marks(value: object, sizes: object, forked: object) -> tuple[Mark, ...]:
    marks = _chopped(value, MARK_BYTES, "marks")
    counts = [_number(size, "a head's size") for size in _items(sizes, HEADS_MAX, "sizes")]
    forks = [_number(at, "a place in a list", len(marks) - 1) for at in _items(forked, len(marks), "forked logs")]
    is_forked = set(forks)
    if len(counts) != len(marks) or forks != sorted(is_forked):
        raise FormatError("a list has a size for each mark, and its forked logs ascend")
    tags = [mark[:TAG_BYTES] for mark in marks]
    if tags != sorted(tags):
        raise FormatError("the marks of a list ascend by key")
    told = zip(tags, marks, counts, strict=True)
    return tuple(Mark(tag, mark[TAG_BYTES:], size, at in is_forked) for at, (tag, mark, size) in enumerate(told))


def _chopped(value: object, size: int, what: str) -> tuple[bytes, ...]:
    if type(value) is not bytes or len(value) % size or len(value) > HEADS_MAX * size:
        raise FormatError(f"{what} are byte strings of {size}, joined, at most {HEADS_MAX} of them")
    return tuple(value[at : at + size] for at in range(0, len(value), size))


def _check_within(lower: bytes, upper: bytes, keys: Sequence[bytes]) -> None:
    if keys and (keys[0] < lower or (upper and keys[-1] >= upper) or list(keys) != sorted(keys)):
        raise FormatError("the heads of a range lie in it, in ascending order of their keys")


def _want(value: object) -> Want:
    logs = []
    for item in _items(value, WANTS_MAX, "wants"):
        key, start, end = _tuple(item, 3, "a want")
        first, last = _number(start, "a want's seq"), _number(end, "a want's end")
        if first >= last:
            raise FormatError("a want's end is greater than its seq")
        logs.append((PublicKey(_bytes(key, 32, "a want's key")), first, last))
    return Want(tuple(logs))


def _frame(number: object, frame: object) -> Frame:
    if type(frame) is not bytes or len(frame) > FRAME_BYTES_MAX:
        raise FormatError(f"a frame is at most {FRAME_BYTES_MAX} bytes")
    return Frame(_number(number, "a frame's number"), frame)


def _probe(key: object, seqs: object) -> Probe:
    asked = tuple(_number(seq, "a probed seq") for seq in _items(seqs, PROBES_MAX, "probed seqs"))
    return Probe(PublicKey(_bytes(key, 32, "a probe's key")), asked)


def _ids(key: object, ids: object) -> Ids:
    found = []
    for item in _items(ids, PROBES_MAX, "ids"):
        seq, known = _tuple(item, 2, "an id")
        found.append((_number(seq, "an id's seq"), EntryId(_bytes(known, 32, "an id"))))
    return Ids(PublicKey(_bytes(key, 32, "a probe's key")), tuple(found))


def read_fork(first: object, second: object, first_rest: object, second_rest: object) -> Fork:
    """The proof in a message or a store; its shape is checked, and nothing else. Raises FormatError."""
    return Fork(_signed_header(first), _signed_header(second), _rest(first_rest), _rest(second_rest))


def _rest(value: object) -> tuple[Signed, ...]:
    if type(value) is not list or len(value) >= ANCHOR:
        raise FormatError(f"a side of a fork proof is at most {ANCHOR} signed headers")
    return tuple(_signed_header(item) for item in value)


def _signed_header(value: object) -> Signed:
    header, signature = _tuple(value, 2, "a signed header")
    if type(header) is not bytes or len(header) > HEADER_BYTES_MAX:
        raise FormatError(f"a header is at most {HEADER_BYTES_MAX} bytes")
    return header, _bytes(signature, 64, "a signature")


def _chunk(known: object, content: object) -> Chunk:
    if content is not None and (type(content) is not bytes or len(content) > CHUNK_BYTES_MAX):
        raise FormatError(f"a chunk is at most {CHUNK_BYTES_MAX} bytes, or nil")
    return Chunk(_bytes(known, 32, "a chunk's hash"), content)


def _hello(version: object, network_id: object, digest: object, entries: object) -> Hello:
    known_version = _number(version, "the protocol version", 255)
    known_network, known_digest = _bytes(network_id, 32, "a network id"), _bytes(digest, 32, "a digest")
    return Hello(known_network, known_digest, _number(entries, "a count"), known_version)


def _bye(reason: object) -> Bye:
    if type(reason) is not str or len(reason) > 200:
        raise FormatError("a reason is at most 200 characters")
    return Bye(reason)


_SHAPES: dict[str, tuple[int, Callable[..., Message]]] = {  # one builder a name
    "hello": (4, _hello),
    "digest": (1, lambda digest: Digest(_bytes(digest, 32, "a digest"))),
    "same": (1, lambda digest: Same(_bytes(digest, 32, "a digest"))),
    "ranges": (2, _ranges),
    "have": (1, lambda heads: Have(_heads(heads))),
    "want": (1, _want),
    "frame": (2, _frame),
    "ack": (1, lambda count: Ack(_number(count, "a count"))),
    "probe": (2, _probe),
    "ids": (2, _ids),
    "fork": (4, read_fork),
    "get": (1, lambda known: Get(_bytes(known, 32, "a chunk's hash"))),
    "chunk": (2, _chunk),
    "ping": (1, lambda number: Ping(_number(number, "a number"))),
    "pong": (1, lambda number: Pong(_number(number, "a number"))),
    "bye": (1, _bye),
}
