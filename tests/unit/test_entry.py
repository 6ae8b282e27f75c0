"""Entries: signing, reading, links. Single rules are in the vectors."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import AdmissionError, FormatError
from protocol.codec import pack
from protocol.entry import EntryId, NetworkId, Place, check_link, open_row, read_row, sign_row, verify_entry
from protocol.limits import BODY_BYTES_MAX, HEADER_BYTES_MAX, REFS_MAX, SEQ_MAX
from protocol.vector_cast import FIELDS, NETWORK, NODE, OFFICER, filler, officer_log

START = Place(OFFICER.public, 0, None)
IDS = st.binary(min_size=32, max_size=32).map(EntryId)


def row(place: Place = START, time_ms: int = 1, body: bytes = b"\x80") -> bytes:
    return sign_row(OFFICER, NETWORK, place, kind="record", body=body, time_ms=time_ms)


@given(
    st.lists(IDS, max_size=REFS_MAX), st.binary(max_size=100), st.none() | st.binary(min_size=32, max_size=32),
    st.sampled_from(["act", "record", "a-kind-of-later"]),
)  # fmt: skip
def test_what_is_signed_is_read_back_and_verifies(
    refs: list[EntryId], body: bytes, space: bytes | None, kind: str
) -> None:
    raw = sign_row(OFFICER, NETWORK, START, kind=kind, body=body, time_ms=5, refs=refs, space=space)
    entry = open_row(raw, START)
    verify_entry(entry, NETWORK)
    assert (entry.refs, entry.body, entry.space, entry.kind) == (tuple(sorted(set(refs))), body, space, kind)
    assert len(entry.header) <= HEADER_BYTES_MAX


def test_signing_twice_gives_the_same_row() -> None:
    assert row() == row()


@given(st.binary(max_size=150))
def test_garbage_is_refused_with_a_format_error(raw: bytes) -> None:
    with pytest.raises(FormatError):
        read_row(raw, OFFICER.public, 0, None)


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text("ab", max_size=3) | st.binary(max_size=70)
)


@given(st.lists(SCALARS | st.lists(SCALARS, max_size=3), min_size=6, max_size=6))
def test_well_encoded_nonsense_is_refused_with_a_format_error(fields: list[object]) -> None:
    with pytest.raises(FormatError):
        read_row(bytes(pack(fields)), OFFICER.public, 0, None)


def test_another_key_cannot_sign_in_a_log() -> None:
    with pytest.raises(FormatError, match="not the key of the log"):
        sign_row(NODE, NETWORK, START, kind="record", body=b"", time_ms=0)


@pytest.mark.parametrize(
    "place", [replace(START, seq=1), replace(START, prev=EntryId(bytes(32))), replace(START, seq=-1)]
)
def test_nothing_is_signed_at_an_impossible_place(place: Place) -> None:
    with pytest.raises(FormatError):
        row(place)


def test_the_largest_body_fits_and_one_byte_more_does_not() -> None:
    assert open_row(row(body=bytes(BODY_BYTES_MAX)), START).body_size == BODY_BYTES_MAX
    with pytest.raises(FormatError, match="at most"):
        row(body=bytes(BODY_BYTES_MAX + 1))


def test_the_largest_header_is_within_its_bound() -> None:
    place = Place(OFFICER.public, SEQ_MAX, EntryId(bytes(32)))
    refs = [EntryId(filler(str(number))) for number in range(REFS_MAX)]
    raw = sign_row(
        OFFICER,
        NETWORK,
        place,
        kind="x" * 24,
        body=bytes(BODY_BYTES_MAX),
        time_ms=2**53 - 1,
        refs=refs,
        space=bytes(32),
    )
    assert len(open_row(raw, place).header) < HEADER_BYTES_MAX


def test_an_entry_counts_in_its_own_network_only() -> None:
    with pytest.raises(AdmissionError, match="another network"):
        verify_entry(open_row(row(), START), NetworkId(bytes(32)))


def test_links() -> None:
    first = open_row(row(), START)
    second = open_row(row(first.after), first.after)
    check_link(first, None)
    check_link(second, first)
    for entry, before in ((second, None), (first, first), (first, second), (second, second)):
        with pytest.raises(AdmissionError) as caught:
            check_link(entry, before)
        assert caught.value.reason == "link"
    early = open_row(row(first.after, time_ms=0), first.after)
    with pytest.raises(AdmissionError) as caught:
        check_link(early, first)
    assert caught.value.reason == "time"


def test_withholding_the_body_leaves_the_id() -> None:
    place, raw = officer_log()[0]
    entry = open_row(raw, place)
    bare = bytes(
        pack(
            [
                entry.kind,
                entry.time_ms,
                list(entry.refs),
                entry.space,
                [entry.body_size, entry.body_hash],
                entry.signature,
            ]
        )
    )
    without = open_row(bare, place)
    assert (without.id, without.header, without.body) == (entry.id, entry.header, None)
    verify_entry(without, NETWORK)
    assert FIELDS["place"].encode() not in bare
