"""Reconciliation: two nodes with any heads learn where they differ, in few messages, and then stop."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.signing import PublicKey
from protocol.codec import encode
from protocol.entry import EntryId
from protocol.limits import HEADS_MAX, RANGES_MAX
from protocol.message import Ranges, decode_message, encode_message
from protocol.reconcile import (
    ANSWER,
    FINGERPRINT,
    LIST,
    LIST_MAX,
    OPENING_LIST_MAX,
    SKIP,
    TAG_BYTES,
    Head,
    HeadIndex,
    Mark,
    Range,
    cut,
    opening,
    reply,
)  # fmt: skip

SALT = bytes(8)


def key(number: int) -> PublicKey:
    return PublicKey(sha256(number.to_bytes(4, "big")).digest())


def head(number: int, size: int, branch: int = 0, *, forked: bool = False) -> Head:
    last = EntryId(sha256(bytes([branch]) + number.to_bytes(4, "big") + size.to_bytes(4, "big")).digest())
    return Head(key(number), size, last if size else None, forked)


def over_the_wire(ranges: Sequence[Range], salt: bytes = SALT) -> tuple[Range, ...]:
    """What the peer reads: also shows that what we say is accepted."""
    message = decode_message(encode_message(Ranges(salt, tuple(ranges))))
    assert isinstance(message, Ranges)
    assert list(message.ranges) == list(ranges)
    return message.ranges


def reconcile(
    ours: HeadIndex, theirs: HeadIndex, ranges_max: int = RANGES_MAX, heads_max: int = HEADS_MAX
) -> tuple[dict[PublicKey, Head], dict[PublicKey, Head], int]:
    """Run one reconciliation: what each side learnt of the other's heads, and how many messages it took."""
    learnt: tuple[dict[PublicKey, Head], dict[PublicKey, Head]] = ({}, {})
    sides = (ours, theirs)
    salt, opened = opening(ours)
    ranges = over_the_wire(opened, salt)
    messages, turn = 1, 1
    while True:
        answer, heads = reply(sides[turn], salt, ranges, ranges_max, heads_max)
        assert len(answer) <= ranges_max
        assert sum(part.items for part in answer) <= heads_max
        learnt[turn].update({item.key: item for item in heads})
        if not answer:
            return learnt[0], learnt[1], messages
        ranges = over_the_wire(answer)
        messages += 1
        assert messages < 40, "it never ends"
        turn = 1 - turn


SIZES = st.integers(0, 3)
WHERE = st.sampled_from(["both", "mine", "yours", "fork"])
INDEXES = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(1, 3), st.integers(1, 3), WHERE),
    max_size=60,
    unique_by=lambda item: item[0],
)


@settings(max_examples=150)
@given(INDEXES, st.integers(0, 400))
def test_every_difference_is_learnt_by_the_side_that_lacks_it(
    plan: list[tuple[int, int, int, str]], common: int
) -> None:
    ours = HeadIndex(head(5000 + number, 1) for number in range(common))
    theirs = HeadIndex(head(5000 + number, 1) for number in range(common))
    for number, mine, yours, where in plan:
        if where in ("both", "mine"):
            ours.put(head(number, mine))
        if where in ("both", "yours"):
            theirs.put(head(number, yours))
        if where == "fork":  # same size, other content
            ours.put(head(number, mine))
            theirs.put(head(number, mine, branch=1))
    we_learnt, they_learnt, _ = reconcile(ours, theirs)
    every = {item.key for item in ours} | {item.key for item in theirs}
    for log in every:
        my_head, your_head = ours.get(log), theirs.get(log)
        if my_head == your_head:
            assert log not in we_learnt
            assert log not in they_learnt
            continue
        if your_head.size > my_head.size:
            assert tells(we_learnt[log], your_head)
        elif my_head.size > your_head.size:
            assert tells(they_learnt[log], my_head)
        else:  # a fork: who learns the other's head can look for it
            assert we_learnt.get(log) == your_head or they_learnt.get(log) == my_head


PROOFS = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 3), st.none() | st.integers(1, 3), st.booleans()),
    min_size=1,
    max_size=60,
    unique_by=lambda item: item[0],
)


@settings(max_examples=60)
@given(PROOFS, st.integers(0, 100))
def test_who_holds_the_proof_of_a_fork_learns_who_lacks_it(
    plan: list[tuple[int, int, int | None, bool]], common: int
) -> None:
    sides = tuple(HeadIndex(head(5000 + number, 1) for number in range(common)) for _ in range(2))
    for number, size, other, first in plan:
        sides[not first].put(head(number, size, forked=True))
        if other is not None:
            sides[first].put(head(number, other))
    *learnt, _ = reconcile(*sides)
    for number, _, other, first in plan:
        found = learnt[not first][key(number)]
        assert (found.size, found.forked) == (other or 0, False)


def tells(learnt: Head, head: Head) -> bool:
    """Whether it was learnt how far a log goes: a list leaves the id out."""
    return learnt in (head, Head(head.key, head.size, None, head.forked))


@pytest.mark.parametrize("count", [0, 1, OPENING_LIST_MAX, OPENING_LIST_MAX + 1, 1000])
def test_equal_indexes_end_with_the_opening(count: int) -> None:
    heads = [head(number, 1) for number in range(count)]
    assert reconcile(HeadIndex(heads), HeadIndex(reversed(heads))) == ({}, {}, 1)


@pytest.mark.parametrize(("count", "most"), [(100, 4), (1000, 4), (10_000, 5), (50_000, 6)])
def test_one_difference_is_found_in_logarithmically_many_messages(count: int, most: int) -> None:
    ours = HeadIndex(head(number, 1) for number in range(count))
    theirs = HeadIndex(head(number, 2 if number == count // 2 else 1) for number in range(count))
    we_learnt, _, messages = reconcile(ours, theirs)
    assert list(we_learnt) == [key(count // 2)]
    assert messages <= most


def test_bytes_grow_with_the_difference_and_not_with_the_logs() -> None:
    ours = HeadIndex(head(number, 1) for number in range(20_000))
    theirs = HeadIndex(head(number, 1) for number in range(20_001))
    assert sent(ours, theirs) < 2500


def sent(ours: HeadIndex, theirs: HeadIndex) -> int:
    """The bytes of the messages of one reconciliation."""
    salt, ranges = opening(ours)
    turn, size = 1, 0
    while ranges:
        size += len(encode_message(Ranges(salt, ranges)))
        ranges = tuple(reply((ours, theirs)[turn], salt, ranges, RANGES_MAX, HEADS_MAX)[0])
        turn = 1 - turn
    return size


def test_twenty_differences_among_ten_times_the_logs_cost_little_more() -> None:
    sizes = []
    for count in (1000, 10_000):
        ours = HeadIndex(head(number, 1) for number in range(count))
        theirs = HeadIndex(head(number, 1 if number % (count // 20) else 2) for number in range(count))
        sizes.append(sent(ours, theirs))
    assert sizes[1] < 1.8 * sizes[0] < 9300


def test_an_empty_node_learns_any_number_of_logs_a_part_at_a_time() -> None:
    """A list of nothing, answered by more heads than one message may hold, once ended with nothing learnt."""
    ours = HeadIndex()
    theirs = HeadIndex(head(number, 1) for number in range(1000))
    rounds = 0
    while len(ours) < len(theirs):
        we_learnt, _, _ = reconcile(ours, theirs, heads_max=150)
        assert we_learnt, "no progress"
        for item in we_learnt.values():
            ours.put(item)
        rounds += 1
    assert rounds <= 10
    assert ours.fingerprint() == theirs.fingerprint()


@settings(max_examples=60)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(17, 40), st.integers(64, 100), st.booleans())
def test_small_budgets_only_need_more_rounds(
    mine: int, yours: int, ranges_max: int, heads_max: int, we_open: bool
) -> None:
    ours = HeadIndex(head(number, 1) for number in range(mine))
    theirs = HeadIndex(head(number, 1) for number in range(200, 200 + yours))
    for _ in range(60):
        if ours.fingerprint() == theirs.fingerprint():
            break
        first, second = (ours, theirs) if we_open else (theirs, ours)
        first_learnt, second_learnt, _ = reconcile(first, second, ranges_max, heads_max)
        assert first_learnt or second_learnt
        for index, learnt in ((first, first_learnt), (second, second_learnt)):
            for item in learnt.values():
                if item.size > index.get(item.key).size:
                    index.put((theirs if index is ours else ours).get(item.key))
    assert ours.fingerprint() == theirs.fingerprint()


def test_neighbouring_skips_become_one_and_the_last_are_left_out() -> None:
    """Of 64 parts the third differs."""
    ours = HeadIndex(head(number, 1) for number in range(2000))
    theirs = HeadIndex(head(number, 1) for number in range(2000))
    theirs.put(Head(PublicKey(bytes([8]) * 32), 2, EntryId(bytes(32))))
    salt, opened = opening(ours)
    answer, _ = reply(theirs, salt, opened, RANGES_MAX, HEADS_MAX)
    assert [(part.upper, part.mode) for part in answer] == [(b"\x08", SKIP), (b"\x0c", FINGERPRINT)]


@given(st.data())
def test_whatever_a_peer_says_the_answer_is_bounded_and_well_formed(data: st.DataObject) -> None:
    index = HeadIndex(head(number, 1) for number in range(data.draw(st.integers(0, 200))))
    uppers = sorted(data.draw(st.sets(st.binary(min_size=1, max_size=32), max_size=8)))
    ranges, lower = [], b""
    for upper in [*uppers, b""]:
        mode = data.draw(st.sampled_from([SKIP, FINGERPRINT, LIST, ANSWER]))
        named = [item for item in index.between(lower, upper) if data.draw(st.booleans())] if mode >= LIST else []
        if mode == LIST:
            size, forked = data.draw(SIZES), data.draw(st.booleans())
            strange = Mark(named[-1].key[:TAG_BYTES] if named else bytes(TAG_BYTES), bytes(8), 1)
            marks = (*(Mark(item.key[:TAG_BYTES], bytes(8), size, forked) for item in named), strange)
            ranges.append(Range(upper, mode, marks=marks))
        else:
            heads = tuple(Head(item.key, item.size + 1, item.id) for item in named)
            asked = tuple(item.key[:TAG_BYTES] for item in reversed(named)) * 2 if mode == ANSWER else ()
            prints = (bytes(8),) * data.draw(st.integers(1, 20)) if mode == FINGERPRINT else ()
            ranges.append(Range(upper, mode, prints, heads=heads, asked=asked))
        lower = upper
    answer, _ = reply(index, SALT, over_the_wire(ranges), 40, 100)
    assert len(answer) <= 40
    assert sum(part.items for part in answer) <= 100
    over_the_wire(answer)


@given(
    st.lists(st.tuples(st.integers(0, 50), SIZES), max_size=40), st.sets(st.integers(0, 50), max_size=5),
    st.binary(max_size=32), st.binary(max_size=32),
)  # fmt: skip
def test_fingerprint_depends_on_the_heads_alone(
    puts: list[tuple[int, int]], drops: set[int], lower: bytes, upper: bytes
) -> None:
    grown = HeadIndex()
    for number, size in puts:
        grown.put(head(number, size))
        grown.fingerprint(lower, upper)  # caches must not show
    kept = dict(puts)
    for number in drops:
        grown.drop(key(number))
        kept.pop(number, None)
    fresh = HeadIndex(head(number, size) for number, size in kept.items())
    inside = [
        item for item in sorted(fresh, key=lambda one: one.key) if lower <= item.key and (not upper or item.key < upper)
    ]
    total = sum(
        int.from_bytes(sha256(encode([one.key, one.size, one.id, one.forked])).digest(), "big") for one in inside
    )
    plain = sha256((total % 2**256).to_bytes(32, "big") + len(inside).to_bytes(8, "big")).digest()
    assert grown.fingerprint(lower, upper) == fresh.fingerprint(lower, upper) == plain
    assert grown.fingerprint() == fresh.fingerprint() == fresh.fingerprint(b"", b"\xff" * 32)
    assert list(grown) == list(fresh)


def test_fork_and_branch_change_the_fingerprint() -> None:
    prints = {
        HeadIndex([item]).fingerprint()
        for item in (head(1, 1), head(1, 2), head(1, 1, branch=1), head(1, 1, forked=True), head(2, 1))
    }
    assert len(prints | {HeadIndex().fingerprint()}) == 6


BOUNDS = st.binary(max_size=32)


@given(BOUNDS, BOUNDS, st.integers(1, 70))
def test_parts_are_equal_short_and_in_order(one: bytes, other: bytes, parts: int) -> None:
    lower, upper = min(one, other), max(one, other)
    ends = cut(lower, upper, parts)
    assert len(ends) == parts
    assert ends[-1] == upper
    places = [int.from_bytes(end.ljust(32, b"\x00"), "big") for end in (lower, *ends)]
    if upper == b"":
        places[-1] = 2**256
    assert b"" not in ends[:-1]
    widths = [after - before for before, after in pairwise(places)]
    assert max(widths) - min(widths) <= 2 or places[-1] <= 1
    assert not any(end.endswith(b"\x00") for end in ends[:-1])


def test_logs_whose_keys_were_made_to_stand_close_cost_more_messages_and_are_found() -> None:
    """Thirty keys with four bytes in common, among a thousand: about what somebody can make in a year."""
    near = [Head(PublicKey(bytes.fromhex("0a0b0c0d") + key(number)[4:]), 1, EntryId(bytes(32))) for number in range(30)]
    ours = HeadIndex([head(number, 1) for number in range(1000)] + near)
    theirs = HeadIndex([head(number, 1) for number in range(1000)] + near[:-1])
    we_learnt, they_learnt, messages = reconcile(ours, theirs)
    assert (we_learnt, list(they_learnt.values())) == ({}, near[-1:])
    assert messages <= 12


def test_two_keys_that_begin_alike_are_both_told() -> None:
    """A list names logs by the first bytes of their keys: where that is not enough, it is asked."""
    alike = [
        Head(PublicKey(bytes(TAG_BYTES) + bytes([end]) * 24), end + 1, EntryId(bytes([end]) * 32)) for end in range(4)
    ]
    ours, theirs = HeadIndex(alike[:3]), HeadIndex(alike[2:])
    we_learnt, they_learnt, _ = reconcile(ours, theirs)
    assert alike[3] in we_learnt.values()
    assert {head.key for head in alike[:2]} <= set(they_learnt)


def test_a_log_that_only_the_lister_has_is_asked_for_and_named() -> None:
    ours, theirs = HeadIndex([head(1, 3), head(2, 5)]), HeadIndex([head(2, 5)])
    we_learnt, they_learnt, messages = reconcile(ours, theirs)
    assert (we_learnt, they_learnt, messages) == ({}, {key(1): head(1, 3)}, 3)


def test_a_log_that_the_lister_has_more_of_is_learnt_from_the_list() -> None:
    ours, theirs = HeadIndex([head(1, 3), head(2, 5)]), HeadIndex([head(1, 2), head(2, 5)])
    assert reconcile(ours, theirs) == ({}, {key(1): Head(key(1), 3, None)}, 1)


def test_another_salt_gives_other_prints() -> None:
    """Whoever made two heads whose prints are equal would have to do so anew after every entry."""
    index = HeadIndex(head(number, 1) for number in range(LIST_MAX))
    one, other = (index.prints(bytes([salt]) * 8, b"", [b""]) for salt in range(2))
    assert one != other
    assert index.mark(bytes(8), head(1, 1)).print != index.mark(b"\x01" * 8, head(1, 1)).print
    grown = HeadIndex(head(number, 1 + (number == 0)) for number in range(LIST_MAX))
    assert opening(index)[0] != opening(grown)[0]
