"""Reconciliation: two nodes with any heads learn where they differ, in few messages, and then stop."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.signing import PublicKey
from protocol.entry import EntryId
from protocol.limits import HEADS_MAX, RANGES_MAX
from protocol.message import Ranges, decode_message, encode_message
from protocol.reconcile import ANSWER, FINGERPRINT, LIST, SKIP, Head, HeadIndex, Range, opening, reply


def key(number: int) -> PublicKey:
    return PublicKey(sha256(number.to_bytes(4, "big")).digest())


def head(number: int, size: int, branch: int = 0, *, forked: bool = False) -> Head:
    last = EntryId(sha256(bytes([branch]) + number.to_bytes(4, "big") + size.to_bytes(4, "big")).digest())
    return Head(key(number), size, last if size else None, forked)


def over_the_wire(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """What the peer reads: also shows that what we say is accepted."""
    message = decode_message(encode_message(Ranges(tuple(ranges))))
    assert isinstance(message, Ranges)
    assert list(message.ranges) == list(ranges)
    return message.ranges


def reconcile(
    ours: HeadIndex, theirs: HeadIndex, ranges_max: int = RANGES_MAX, heads_max: int = HEADS_MAX
) -> tuple[dict[PublicKey, Head], dict[PublicKey, Head], int]:
    """Run one reconciliation: what each side learnt of the other's heads, and how many messages it took."""
    learnt: tuple[dict[PublicKey, Head], dict[PublicKey, Head]] = ({}, {})
    sides = (ours, theirs)
    ranges = over_the_wire(opening(ours))
    messages, turn = 1, 1
    while True:
        answer, heads = reply(sides[turn], ranges, ranges_max, heads_max)
        assert len(answer) <= ranges_max
        assert sum(len(part.heads) for part in answer) <= heads_max
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
        if your_head.size >= my_head.size:
            assert we_learnt[log] == your_head
        if my_head.size >= your_head.size:
            assert they_learnt[log] == my_head


@pytest.mark.parametrize("count", [0, 1, 48, 49, 1000])
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
    ranges, turn, sent = opening(ours), 1, 0
    while ranges:
        sent += len(encode_message(Ranges(tuple(ranges))))
        ranges = tuple(reply((ours, theirs)[turn], ranges, RANGES_MAX, HEADS_MAX)[0])
        turn = 1 - turn
    assert sent < 8000


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
@given(st.integers(0, 300), st.integers(0, 300), st.integers(17, 40), st.integers(48, 100), st.booleans())
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
                    index.put(item)
    assert ours.fingerprint() == theirs.fingerprint()


def test_neighbouring_skips_become_one() -> None:
    ours = HeadIndex(head(number, 1) for number in range(2000))
    theirs = HeadIndex(head(number, 1) for number in range(2000))
    last = sorted(key(number) for number in range(2000))[-1]
    theirs.put(Head(last, 2, EntryId(bytes(32))))
    answer, _ = reply(theirs, opening(ours), RANGES_MAX, HEADS_MAX)
    assert [part.mode for part in answer[:2]] == [SKIP, FINGERPRINT]
    assert answer[0].upper == opening(ours)[-2].upper


def test_what_is_skipped_at_the_end_is_left_out() -> None:
    ours = HeadIndex(head(number, 1) for number in range(2000))
    theirs = HeadIndex(head(number, 1) for number in range(2000))
    first = sorted(key(number) for number in range(2000))[0]
    theirs.put(Head(first, 2, EntryId(bytes(32))))
    answer, _ = reply(theirs, opening(ours), RANGES_MAX, HEADS_MAX)
    assert {part.mode for part in answer} == {FINGERPRINT}
    assert answer[-1].upper == opening(ours)[0].upper


@given(st.data())
def test_whatever_a_peer_says_the_answer_is_bounded_and_well_formed(data: st.DataObject) -> None:
    index = HeadIndex(head(number, 1) for number in range(data.draw(st.integers(0, 200))))
    uppers = sorted(data.draw(st.sets(st.binary(min_size=1, max_size=32), max_size=8)))
    ranges, lower = [], b""
    for upper in [*uppers, b""]:
        mode = data.draw(st.sampled_from([SKIP, FINGERPRINT, LIST, ANSWER]))
        named = [item for item in index.between(lower, upper) if data.draw(st.booleans())] if mode >= LIST else []
        heads = tuple(Head(item.key, item.size + 1, item.id) for item in named)
        ranges.append(Range(upper, mode, bytes(32) if mode == FINGERPRINT else b"", heads))
        lower = upper
    answer, _ = reply(index, over_the_wire(ranges), 40, 100)
    assert len(answer) <= 40
    assert sum(len(part.heads) for part in answer) <= 100
    over_the_wire(answer)


@given(st.lists(st.tuples(st.integers(0, 50), SIZES), max_size=40), st.binary(max_size=32), st.binary(max_size=32))
def test_fingerprint_depends_on_the_heads_alone(puts: list[tuple[int, int]], lower: bytes, upper: bytes) -> None:
    grown = HeadIndex()
    for number, size in puts:
        grown.put(head(number, size))
        grown.fingerprint(lower, upper)  # caches must not show
    fresh = HeadIndex(head(number, size) for number, size in dict(puts).items())
    assert grown.fingerprint(lower, upper) == fresh.fingerprint(lower, upper)
    assert list(grown) == list(fresh)


def test_fork_and_branch_change_the_fingerprint() -> None:
    prints = {
        HeadIndex([item]).fingerprint()
        for item in (head(1, 1), head(1, 2), head(1, 1, branch=1), head(1, 1, forked=True), head(2, 1))
    }
    assert len(prints | {HeadIndex().fingerprint()}) == 6
