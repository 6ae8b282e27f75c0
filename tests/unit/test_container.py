"""Files that are passed by hand: the wrong one, a newer one and a damaged one are told apart."""

import pytest

from keys.errors import FormatError
from protocol.container import pack_file, unpack_file
from protocol.invitation import Invitation, decode_invitation, encode_invitation
from protocol.limits import INVITATION_ADDRESSES_MAX, INVITATION_BYTES_MAX


def test_a_value_comes_back() -> None:
    assert unpack_file(pack_file("card", {"a": [1, b"2"]}), "card", size_max=99) == {"a": [1, b"2"]}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"hamkor card 1\n\xc0", "this is a hamkor card; a hamkor charter is expected"),
        (b"hamkor key 1\n{}", "this is a hamkor key; a hamkor charter is expected"),
        (b"hamkor charter 2\n\xc0", "version 2; this program reads version 1: update it"),
        (b"hamkor charter 1\n", "cut short or damaged"),
        (b"hamkor charter 1\n\x81\xa1", "cut short or damaged"),
        (b"hamkor charter 1\n\xc0\xc0", "cut short or damaged"),
        (b"hamkor charter 1", "not a hamkor charter"),
        (b"hamkor charter 1\r\n\xc0", "not a hamkor charter"),
        (b"hamkor charter x\n\xc0", "not a hamkor charter"),
        (b"hamkor \x1b[2J 1\n\xc0", "not a hamkor charter"),
        (b"", "not a hamkor charter"),
        (b"\x00" * 500, "not a hamkor charter"),
        (b"hamkor charter 1\n" + b"\xc4\x64" + bytes(100), "at most 99"),
    ],
)
def test_what_else_it_is_is_said(raw: bytes, told: str) -> None:
    with pytest.raises(FormatError) as caught:
        unpack_file(raw, "charter", size_max=99)
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


INVITATION = Invitation(b"charter", b"bundle", ("/ip4/192.0.2.1/tcp/4001",))


def test_an_invitation_comes_back() -> None:
    assert decode_invitation(encode_invitation(INVITATION)) == INVITATION


@pytest.mark.parametrize(
    "invitation",
    [
        Invitation(b"", bytes(INVITATION_BYTES_MAX), ()),
        Invitation(b"", b"", ("",)),
        Invitation(b"", b"", ("/" * 257,)),
        Invitation(b"", b"", ("/x",) * (INVITATION_ADDRESSES_MAX + 1)),
    ],
    ids=["too large", "empty address", "long address", "too many addresses"],
)
def test_an_invitation_over_its_bounds_is_not_made(invitation: Invitation) -> None:
    with pytest.raises(FormatError):
        encode_invitation(invitation)


@pytest.mark.parametrize(
    "value", [None, {}, {"addresses": [], "bundle": "", "charter": b""}, {"addresses": [], "bundle": b""}]
)
def test_another_shape_is_no_invitation(value: object) -> None:
    with pytest.raises(FormatError):
        decode_invitation(pack_file("invitation", value))
