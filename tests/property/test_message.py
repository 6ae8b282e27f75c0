"""Messages: each is read back as it was written; anything else is one kind of error, at a bounded cost."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.codec import encode
from protocol.entry import EntryId
from protocol.limits import FRAME_BYTES_MAX, HEADS_MAX, MESSAGE_BYTES_MAX, RANGES_MAX, SEQ_MAX
from protocol.message import (
    PROBES_MAX,
    Ack,
    Bye,
    Chunk,
    Digest,
    Fork,
    Frame,
    Get,
    Have,
    Hello,
    Ids,
    Message,
    Ping,
    Pong,
    Probe,
    Ranges,
    Same,
    Want,
    decode_message,
    encode_message,
)
from protocol.reconcile import ANSWER, FINGERPRINT, LIST, SKIP, Head, Mark, Range

HASHES = st.binary(min_size=32, max_size=32)
KEYS = HASHES.map(PublicKey)
IDS = HASHES.map(EntryId)
COUNTS = st.integers(0, SEQ_MAX)
HEADS = st.builds(Head, KEYS, st.integers(1, SEQ_MAX), IDS, st.booleans()) | KEYS.map(lambda key: Head(key, 0, None))
TAGS = st.binary(min_size=8, max_size=8)
MARKS = st.builds(Mark, TAGS, TAGS, COUNTS, st.booleans())
SIGNED = st.tuples(st.binary(max_size=400), st.binary(min_size=64, max_size=64))


@st.composite
def some_ranges(draw: st.DrawFn) -> Ranges:
    uppers: list[bytes] = sorted(draw(st.sets(st.binary(min_size=1, max_size=32), max_size=6)))
    parts, lower = [], b""
    for upper in uppers + ([b""] if draw(st.booleans()) else []):
        mode = draw(st.integers(0, 3))
        prints = draw(st.lists(TAGS, min_size=1, max_size=3)) if mode == FINGERPRINT else []
        marks = sorted(draw(st.lists(MARKS, max_size=3)), key=lambda mark: mark.tag) if mode == LIST else []
        heads: list[Head] = []
        asked: list[bytes] = []
        if mode == ANSWER:
            listed = draw(st.lists(HEADS, max_size=3, unique_by=lambda head: head.key))
            heads = sorted((h for h in listed if lower <= h.key and (not upper or h.key < upper)), key=lambda h: h.key)
            asked = draw(st.lists(TAGS, max_size=3))
        parts.append(Range(upper, mode, tuple(prints), tuple(marks), tuple(heads), tuple(asked)))
        lower = upper
    return Ranges(draw(TAGS), tuple(parts))


WANTS = st.tuples(KEYS, st.integers(0, SEQ_MAX - 1), st.integers(1, 99)).map(
    lambda want: (want[0], want[1], min(want[1] + want[2], SEQ_MAX))
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, HASHES, HASHES, COUNTS, st.integers(0, 255)),
    st.builds(Digest, HASHES),
    st.builds(Same, HASHES),
    some_ranges(),
    st.builds(Have, st.lists(HEADS, max_size=5, unique_by=lambda head: head.key).map(tuple)),
    st.builds(Want, st.lists(WANTS, max_size=5).map(tuple)),
    st.builds(Frame, COUNTS, st.binary(max_size=400)),
    st.builds(Ack, COUNTS),
    st.builds(Probe, KEYS, st.lists(COUNTS, max_size=PROBES_MAX).map(tuple)),
    st.builds(Ids, KEYS, st.lists(st.tuples(COUNTS, IDS), max_size=5).map(tuple)),
    st.builds(Fork, SIGNED, SIGNED),
    st.builds(Get, HASHES),
    st.builds(Chunk, HASHES, st.none() | st.binary(max_size=400)),
    st.builds(Ping, COUNTS),
    st.builds(Pong, COUNTS),
    st.builds(Bye, st.text(st.characters(exclude_categories=["Cs"]), max_size=200)),
)


@given(MESSAGES)
def test_a_message_is_read_back_as_it_was_written(message: Message) -> None:
    raw = encode_message(message)
    again = decode_message(raw)
    assert again == message
    assert encode_message(again) == raw


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_a_format_error(raw: bytes) -> None:
    try:
        message = decode_message(raw)
    except FormatError:
        return
    assert encode_message(message) == raw


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text("ab", max_size=4) | HASHES
SHAPES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
NAMES = st.sampled_from([kind.__name__.lower() for kind in Message.__args__])


@given(NAMES, st.lists(SHAPES, max_size=4))
def test_well_encoded_nonsense_is_refused_with_a_format_error(name: str, content: list[object]) -> None:
    raw = encode([name, *content])
    try:
        message = decode_message(raw)
    except FormatError:
        return
    assert encode_message(message) == raw


@given(MESSAGES, st.data())
def test_a_damaged_message_is_refused_or_says_something_else(message: Message, data: st.DataObject) -> None:
    raw = bytearray(encode_message(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_message(bytes(raw))
    except FormatError:
        return
    assert repr(found) != repr(message)


def test_every_message_is_tried_here() -> None:
    assert len(Message.__args__) == 16


def test_sizes_are_met_exactly() -> None:
    largest = encode_message(Frame(SEQ_MAX, bytes(FRAME_BYTES_MAX)))
    assert len(largest) <= MESSAGE_BYTES_MAX
    assert decode_message(largest) == Frame(SEQ_MAX, bytes(FRAME_BYTES_MAX))
    with pytest.raises(FormatError):
        decode_message(encode_message(Frame(0, bytes(FRAME_BYTES_MAX + 1))))


def test_a_hello_carries_its_version_first() -> None:
    """So that a node of a later version can be told apart before its other fields are looked at."""
    assert encode_message(Hello(bytes(32), bytes(32), 0, version=9))[:8] == b"\x95\xa5hello\x09"
    assert [field.name for field in fields(Hello)][-1] == "version"


def test_a_skipped_range_has_no_content() -> None:
    assert decode_message(encode(["ranges", bytes(8), [[b"", SKIP]]])) == Ranges(bytes(8), (Range(b"", SKIP),))


def test_what_a_reconciliation_message_speaks_of_is_bounded_over_all_its_ranges() -> None:
    most = (
        Range(b"\x10", FINGERPRINT, (bytes(8),) * RANGES_MAX),
        Range(b"", LIST, marks=(Mark(bytes(8), bytes(8), 0),) * HEADS_MAX),
    )
    assert decode_message(encode_message(Ranges(bytes(8), most))) == Ranges(bytes(8), most)
    for more in (
        (Range(b"\x10", FINGERPRINT, (bytes(8),)), Range(b"", FINGERPRINT, (bytes(8),) * RANGES_MAX)),
        (Range(b"\x10", ANSWER, asked=(bytes(8),)), Range(b"", LIST, marks=most[1].marks)),
    ):
        with pytest.raises(FormatError, match=r"at most 4096 logs.* 1024 prints"):
            decode_message(encode_message(Ranges(bytes(8), more)))
