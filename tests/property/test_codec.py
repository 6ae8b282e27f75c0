"""Canonical encoding: one value, one byte string, and garbage costs an error and nothing else."""

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keys.errors import FormatError
from protocol.codec import decode, encode, unpack_row
from protocol.limits import DEPTH_MAX, ITEMS_MAX

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT | st.binary(max_size=40)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXT, inner, max_size=6), max_leaves=30
)
SIZE_MAX = 1 << 20


def same(left: object, right: object) -> bool:
    """Equal, and of the same types: in Python 1 == True."""
    return repr(left) == repr(right)


@given(VALUES)
def test_a_value_comes_back_and_its_bytes_come_back(value: object) -> None:
    raw = encode(value)
    again = decode(raw, size_max=SIZE_MAX)
    assert again == value
    assert encode(again) == raw


@given(st.dictionaries(TEXT, st.integers(0, 9), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_order_of_insertion_leaves_no_trace(value: dict[str, int], random: Random) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert encode({key: value[key] for key in keys}) == encode(value)


@given(st.binary(max_size=200))
@example(b"\xd6\xff\x00\x00\x00\x00")
@example(b"\xc7\x0c\xff" + bytes(12))
@example(b"\x81\x90\xc0")
@example(b"\x82\xa1a\xc0\xa1a\xc0")
def test_arbitrary_bytes_are_refused_or_are_the_only_form(raw: bytes) -> None:
    try:
        value = decode(raw, size_max=SIZE_MAX)
    except FormatError:
        return
    assert encode(value) == raw


@given(VALUES, st.data())
def test_a_changed_byte_never_gives_the_same_value(value: object, data: st.DataObject) -> None:
    raw = bytearray(encode(value))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(raw), size_max=SIZE_MAX)
    except FormatError:
        return
    assert not same(found, decode(encode(value), size_max=SIZE_MAX))


@given(st.binary(max_size=200))
def test_a_row_is_an_array_or_refused(raw: bytes) -> None:
    try:
        row = unpack_row(raw)
    except FormatError:
        return
    assert type(row) is list


NO_FORM = [1.5, float("nan"), {1: 2}, {b"a": 1}, {"a"}, Ellipsis, bytearray(b"a"), 2**64, -(2**63) - 1, "\ud800"]


@pytest.mark.parametrize("value", NO_FORM, ids=repr)
def test_what_has_no_canonical_form_is_not_encoded(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)
    with pytest.raises(TypeError):
        encode({"inside": [value]})


def test_a_key_that_is_no_unicode_is_not_encoded() -> None:
    with pytest.raises(TypeError):
        encode({"\udcff": 1})


def test_depth_is_bounded_on_both_sides() -> None:
    value: object = 0
    for _ in range(DEPTH_MAX):
        value = {"a": value}
    assert decode(encode(value), size_max=SIZE_MAX) == value
    with pytest.raises(TypeError):
        encode([value])


def test_size_is_looked_at_first() -> None:
    with pytest.raises(FormatError, match="at most 4"):
        decode(encode("hello"), size_max=4)


def test_a_thousand_promises_of_a_million_items_allocate_nothing() -> None:
    import tracemalloc

    bomb = b"\xdd\x00\x0f\xff\xff" * 1000 + bytes(SIZE_MAX - 5000)
    tracemalloc.start()
    try:
        for read in (lambda: decode(bomb, size_max=SIZE_MAX), lambda: unpack_row(bomb)):
            with pytest.raises(FormatError):
                read()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_more_items_are_read_where_the_caller_allows_them() -> None:
    value = [None] * (ITEMS_MAX + 1)
    with pytest.raises(FormatError):
        decode(encode(value), size_max=SIZE_MAX)
    assert decode(encode(value), size_max=SIZE_MAX, items_max=ITEMS_MAX + 1) == value
