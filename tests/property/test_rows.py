"""Rows that are read together say what they say one by one, or are refused like them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import AdmissionError, FormatError
from protocol.codec import pack
from protocol.entry import EntryId, Facts, Place, read_row, read_rows
from protocol.limits import BODY_BYTES_MAX, SEQ_MAX, TIME_MS_MAX
from sim.founding import key_of

KEY = key_of("rows", "officer").public
ID = EntryId(bytes(range(32)))
_bytes = st.binary(min_size=32, max_size=32)
_refs = st.lists(_bytes, max_size=3, unique=True).map(sorted)
_wrong = st.sampled_from(
    [None, True, -1, 2**63, 1.5, "record", "abcdef", b"", b"x" * 32, b"x" * 64, [], [[]], [1, 2], [9, b"h" * 32],
     [b"b" * 32, b"a" * 32], bytes(BODY_BYTES_MAX + 1), TIME_MS_MAX + 1]
)  # fmt: skip


@st.composite
def runs(draw: st.DrawFn) -> list[bytes]:
    """Rows of one run; most are right, some have a field of another kind, another form, or other bounds."""
    fields: list[list[object]] = [
        [
            draw(st.sampled_from(["record", "step", "act"])), 6, draw(_refs), draw(st.none() | _bytes),
            draw(st.binary(max_size=300)), draw(st.binary(min_size=64, max_size=64)),
        ]
        for _ in range(draw(st.integers(1, 5)))
    ]  # fmt: skip
    change = draw(st.integers(0, 9))
    if change == 9:
        draw(st.sampled_from(fields))[draw(st.integers(0, 5))] = draw(_wrong)
    if change == 8:
        draw(st.sampled_from(fields))[:2] = draw(st.sampled_from([["record-x", 6], ["record", 7], ["step", 5]]))
    rows = [bytes(pack(row)) for row in fields]
    at = draw(st.integers(0, len(rows) - 1))
    match change:
        case 0:
            rows[at] = draw(st.binary(max_size=4)) + rows[at]
        case 1:
            rows[at] = rows[at].replace(b"\x90", b"\xdc\x00\x00", 1)  # an empty array, written longer
        case 2:
            cut = draw(st.integers(0, len(rows[at])))
            rows[at : at + 1] = [rows[at][:cut], rows[at][cut:]]  # the same bytes, as two rows
        case 3:
            rows[at : at + 2] = [b"".join(rows[at : at + 2])]
        case 4:
            rows[at] = bytes(pack(draw(_wrong)))
    return rows


@given(runs(), st.sampled_from([0, 1, SEQ_MAX - 1, SEQ_MAX]), st.sampled_from([None, 0, 6, 9]), st.integers(1, 3))
def test_rows_read_together_say_what_each_says(rows: list[bytes], seq: int, time_ms: int | None, way: int) -> None:
    prev = None if (seq == 0) == (way < 3) else ID  # now and then the wrong one
    expected, place, last_ms = list[Facts](), Place(KEY, seq, prev), time_ms
    refused: type[Exception] | None = None
    try:
        for row in rows:
            fact = read_row(row, KEY, place.seq, place.prev)
            if last_ms is not None:
                if fact.time_ms < last_ms or (fact.body is None and fact.space is None):
                    refused = AdmissionError
                    break
                last_ms = fact.time_ms
            expected.append(fact)
            place = Place(KEY, place.seq + 1, fact.id)
    except FormatError:
        refused = FormatError
    if refused is not None:
        with pytest.raises(refused, match=f"entry {seq + len(expected)} of log"):
            read_rows(rows, KEY, seq, prev, time_ms)
        return
    chain = read_rows(rows, KEY, seq, prev, time_ms)
    assert list(chain.ids) == [fact.id for fact in expected]
    assert list(chain.kinds) == [fact.kind for fact in expected]
    assert list(chain.times) == [fact.time_ms for fact in expected]
    assert [chain.fact(at) for at in range(len(chain))] == expected
    part = chain.part(1, 3)
    assert [part.fact(at) for at in range(len(part))] == expected[1:3]
