"""Bundles: whole or refused, with the byte where it was noticed. Bits and truncations are in the vectors' tests."""

from io import BytesIO

import pytest

from keys.errors import FormatError, NetworkMismatchError
from protocol.bundle import read_bundle
from protocol.frame import encode_frame
from protocol.make_vectors import bundle_bytes, fork_of, officer_run
from protocol.message import Fork, Frame
from protocol.vector_cast import NETWORK, OFFICER

FRAME = Frame(0, encode_frame((officer_run(),), compress=False))
FORK = Fork(*fork_of(OFFICER))


def test_messages_come_back_in_order() -> None:
    raw = bundle_bytes(FRAME, FORK, FRAME)
    assert list(read_bundle(BytesIO(raw), NETWORK)) == [FRAME, FORK, FRAME]
    assert list(read_bundle(BytesIO(raw))) == [FRAME, FORK, FRAME]


def test_an_empty_bundle_is_whole() -> None:
    assert list(read_bundle(BytesIO(bundle_bytes()), NETWORK)) == []


def test_another_network_is_told_before_anything_is_read() -> None:
    with pytest.raises(NetworkMismatchError):
        next(iter(read_bundle(BytesIO(bundle_bytes(FRAME, network_id=bytes(32))), NETWORK)))


def test_where_it_was_cut_is_said() -> None:
    raw = bundle_bytes(FRAME)
    with pytest.raises(FormatError, match="cut short at byte 60, within a message"):
        list(read_bundle(BytesIO(raw[:60]), NETWORK))


def test_damage_is_pinned_to_its_message() -> None:
    raw = bytearray(bundle_bytes(FRAME, FRAME))
    raw[52] ^= 0xFF  # the first byte of the first message
    with pytest.raises(FormatError, match="in the message at byte 52"):
        list(read_bundle(BytesIO(bytes(raw)), NETWORK))


def test_a_stated_size_over_the_limit_is_refused_before_it_is_read() -> None:
    raw = bundle_bytes()[:48] + b"\xff\xff\xff\xff"
    with pytest.raises(FormatError, match="states a message of 4294967295 bytes"):
        list(read_bundle(BytesIO(raw), NETWORK))


def test_a_damaged_end_comes_after_the_messages() -> None:
    raw = bundle_bytes(FRAME)
    messages = read_bundle(BytesIO(raw[:-1] + b"\x00"), NETWORK)
    assert next(messages) == FRAME
    with pytest.raises(FormatError, match="checksum"):
        next(messages)
