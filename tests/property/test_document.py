"""A record's state depends on the set of operations only, and says what a plain reading of the rules says."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from keys.errors import FormatError
from ledger.document import (
    AGENCY_BYTES_MAX,
    FIELD,
    FILE,
    LINK,
    RETRACTED,
    SLOTS_PER_OPERATION_MAX,
    TAG,
    Document,
    Operation,
    changes,
    fold,
)
from protocol.codec import Value, encode
from protocol.entry import EntryId
from protocol.limits import BODY_BYTES_MAX, DEPTH_MAX

AGENCIES = ("mia", "scc", "sss")  # the first is the originating one
TARGETS = tuple(sha256(name).hexdigest() for name in (b"x", b"y"))
Slots = dict[str, dict[EntryId, Value]]


def id_of(*words: object) -> EntryId:
    return EntryId(sha256(repr(words).encode()).digest())


def op(
    number: int, step: str, fields: dict[str, Value], refs: Iterable[EntryId] = (), agency: str = "mia"
) -> Operation:
    return Operation(
        id_of("op", number), id_of("author", agency), agency, number, step, fields, tuple(sorted({*refs, RECORD.id}))
    )


RECORD = Operation(
    id_of("record"), id_of("author", "mia"), "mia", 0, "",
    {"place": "Denov", "amount": 5, "tags": ["new", "old"], "links": [{"relation": "same_event", "to": TARGETS[0]}]},
)  # fmt: skip


# -- a slow reading of the rules, written apart from the code -----------------------------------------


def model(creation: Operation, operations: Iterable[Operation]) -> tuple[Slots, set[EntryId]]:
    """(what stands in each slot, open proposals), from the set of operations."""
    counting = list({one.id: one for one in operations}.values())

    def answers(one: Operation) -> EntryId | None:
        if one.step in ("accept", "decline") and one.agency == creation.agency:
            named = bytes.fromhex(str(one.fields["proposal"]))
            return EntryId(named) if named in one.refs else None
        return None

    answered = {answers(one) for one in counting}
    proposals = {one.id for one in counting if one.step in ("amend", "retract") and one.agency != creation.agency}
    says = [
        (one, slot, value)
        for one in [creation, *counting]
        if one.id not in proposals and (one.step not in ("accept", "decline") or answers(one) is not None)
        for slot, value in changes(one)
    ]
    stands: Slots = {}
    for one, slot, value in says:
        is_set = slot[:2] in (TAG, LINK, FILE)
        if is_set and value is None:
            continue
        gone = False
        for other, other_slot, other_value in says:
            saw = other is not one and (one.id in other.refs or (one is creation and other is not creation))
            if other_slot == slot and saw:
                may_remove = other_value is None and other.agency == creation.agency
                gone = gone or not is_set or other.agency == one.agency or may_remove
        if not gone:
            stands.setdefault(slot, {})[one.id] = value
    return stands, proposals - {one for one in answered if one}


def agrees(document: Document, operations: Iterable[Operation]) -> None:
    stands, proposals = model(RECORD, operations)
    assert {slot: {by: said.value for by, said in values.items()} for slot, values in document.slots.items()} == stands
    assert set(document.proposals) == proposals
    assert Document.from_bytes(document.to_bytes()) == document
    assert Document.from_bytes(document.to_bytes()).to_bytes() == document.to_bytes()


# -- drawing operations -------------------------------------------------------------------------------

values: st.SearchStrategy[Value] = st.sampled_from([None, 1, 2, "a", "b", [1], {"x": b"1"}])
names = st.sampled_from(["place", "amount", "note"])
tags = st.lists(st.sampled_from(["new", "old", "hot"]), max_size=2)


@st.composite
def bodies(draw: st.DrawFn, proposals: Sequence[EntryId]) -> tuple[str, dict[str, Value]]:
    """(step, fields). proposals: what may be answered."""
    step = draw(st.sampled_from(["amend", "amend", "tag", "link", "attach", "retract", "accept", "decline", "comment"]))
    match step:
        case "amend":
            return step, {"set": dict(draw(st.dictionaries(names, values, min_size=1, max_size=2)))}
        case "tag":
            return step, {"add": list(draw(tags)), "remove": list(draw(tags))}
        case "link":
            relation = draw(st.sampled_from(["same_event", "related"]))
            return step, {"to": draw(st.sampled_from(TARGETS)), "relation": relation, "remove": draw(st.booleans())}
        case "attach":
            return step, {"chunks": draw(st.sampled_from(TARGETS)), "detach": draw(st.booleans())}
        case "retract":
            return step, {"undo": True} if draw(st.booleans()) else {"reason": draw(st.sampled_from(["r1", "r2"]))}
        case "comment":
            return step, {"text": "x"}
        case _:
            named = draw(st.sampled_from(list(proposals))) if proposals else id_of("none")
            answer: dict[str, Value] = {"proposal": named.hex()}
            if step == "accept":
                answer["set"] = dict(draw(st.dictionaries(names, values, max_size=2)))
            return step, answer


@st.composite
def histories(draw: st.DrawFn, most: int = 14) -> list[Operation]:
    """Operations that name some of those before them, and now and then what nobody has."""
    made: list[Operation] = []
    for number in range(draw(st.integers(0, most))):
        agency = draw(st.sampled_from(AGENCIES))
        open_ = [one.id for one in made if one.step in ("amend", "retract") and one.agency != "mia"]
        step, fields = draw(bodies(open_))
        seen = [one for one in made if draw(st.booleans())]
        refs = {one.id for one in seen if draw(st.booleans())}
        document = fold(RECORD, seen)
        if draw(st.booleans()):
            refs |= set(document.live(slot for slot, _ in changes(op(number, step, fields))))
        if "proposal" in fields and draw(st.integers(0, 4)):
            refs.add(EntryId(bytes.fromhex(str(fields["proposal"]))))
        if draw(st.integers(0, 11)) == 0:
            refs.add(id_of("missing", draw(st.integers(0, 1))))
        made.append(op(number, step, fields, refs, agency))
    return made


# -- laws ---------------------------------------------------------------------------------------------


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_any_repetition_gives_the_same_bytes(made: list[Operation], rng: Random) -> None:
    document = fold(RECORD, made)
    agrees(document, made)
    for _ in range(3):
        again = [*made, *rng.choices(made, k=3)] if made else []
        rng.shuffle(again)
        assert fold(RECORD, again).to_bytes() == document.to_bytes()


@given(histories(), st.randoms(use_true_random=False))
def test_any_part_in_any_order_gives_what_its_operations_say(made: list[Operation], rng: Random) -> None:
    """Those left out are void, disputed or not here: which of these, and what names them, makes no difference."""
    part = rng.sample(made, rng.randint(0, len(made)))
    document = fold(RECORD, part)
    agrees(document, part)
    assert document.to_bytes() == fold(RECORD, sorted(part, key=lambda one: one.time_ms)).to_bytes()
    silent = [replace(one, step="comment", fields={}) for one in made if one not in part]
    mixed = [*part, *silent]
    rng.shuffle(mixed)
    assert fold(RECORD, mixed).to_bytes() == document.to_bytes()


@given(histories(), st.randoms(use_true_random=False))
def test_operations_taken_in_one_by_one_give_what_fold_gives(made: list[Operation], rng: Random) -> None:
    document = Document.created(RECORD)
    taken: list[Operation] = []
    for one in [*rng.sample(made, len(made)), *rng.choices(made, k=3)] if made else []:
        document.apply(one, (other for other in taken if one.id in other.refs))
        taken.append(one)
        agrees(document, taken)
        document = Document.from_bytes(document.to_bytes())  # as the search index keeps it between steps
    assert document == fold(RECORD, made)


def test_order_of_two_that_name_a_missing_one_does_not_matter() -> None:
    """`fold` once went round for ever: one waited for a missing id, and another for that id and for the first."""
    gone = op(0, "amend", {"set": {"place": "gone"}})
    first = op(1, "amend", {"set": {"place": "a"}}, [gone.id])
    second = op(2, "amend", {"set": {"place": "b"}}, [gone.id, first.id])
    for made in ([first, second], [second, first], [second, gone, first], [first, second, gone]):
        document = fold(RECORD, made)
        assert (document.fields()["place"], document.conflicts()) == ("b", {})


def test_correction_of_what_a_thief_wrote_stays_where_that_never_came() -> None:
    theft = op(1, "amend", {"set": {"amount": 0}})
    correction = op(2, "amend", {"set": {"amount": 5}}, [theft.id])
    for held in ([theft, correction], [correction, theft], [correction]):
        document = fold(RECORD, held)
        assert document.fields()["amount"] == 5
        assert document.live([FIELD + "amount"]) == [correction.id]


def test_long_chain_is_folded_in_one_go() -> None:
    chain: list[Operation] = []
    for number in range(20_000):
        chain.append(op(number, "amend", {"set": {"n": number}}, [chain[-1].id] if chain else []))
    Random(1).shuffle(chain)
    document = fold(RECORD, chain)
    assert document.fields()["n"] == 19_999
    assert document.conflicts() == {}


def test_what_names_an_operation_is_read_only_until_nothing_of_it_is_left() -> None:
    first = op(1, "amend", {"set": {"place": "a", "note": "n"}})
    namers = iter([
        op(2, "comment", {}, [first.id]), op(3, "amend", {"set": {"place": "b"}}, [first.id]),
        op(4, "amend", {"set": {"note": "m"}}, [first.id]), op(5, "comment", {}, [first.id]),
    ])  # fmt: skip
    document = Document.created(RECORD)
    document.apply(first, namers)
    assert next(namers).time_ms == 5
    assert "note" not in document.fields()


def test_value_is_superseded_only_by_an_operation_that_saw_it() -> None:
    one = op(1, "amend", {"set": {"place": "a"}})
    two = op(2, "amend", {"set": {"place": "b"}})
    document = fold(RECORD, [one, two])
    assert {said.value for said in document.conflicts()["place"]} == {"a", "b"}
    assert document.fields()["place"] == min((one.id, "a"), (two.id, "b"))[1]
    half = op(3, "amend", {"set": {"place": "c"}}, [one.id])
    document = fold(RECORD, [one, two, half])
    assert {said.value for said in document.conflicts()["place"]} == {"b", "c"}
    settled = op(4, "amend", {"set": {"place": "d"}}, document.live([FIELD + "place"]))
    document = fold(RECORD, [settled, half, two, one])
    assert document.conflicts() == {}
    assert document.fields()["place"] == "d"
    late = op(5, "amend", {"set": {"place": "e"}}, [one.id])  # saw only what had been replaced already
    document = fold(RECORD, [one, two, half, settled, late])
    assert {said.value for said in document.conflicts()["place"]} == {"d", "e"}


def test_equal_values_that_did_not_see_each_other_are_no_conflict() -> None:
    document = fold(RECORD, [op(number, "amend", {"set": {"place": "a"}}) for number in (1, 2)])
    assert document.conflicts() == {}
    assert len(document.live([FIELD + "place"])) == 2


def test_removed_field_against_a_new_value_is_a_conflict() -> None:
    document = fold(RECORD, [op(1, "amend", {"set": {"place": None}}), op(2, "amend", {"set": {"place": "a"}})])
    assert {said.value for said in document.conflicts()["place"]} == {None, "a"}


@pytest.mark.parametrize("slot", [TAG + "hot", LINK + "related:" + TARGETS[0], FILE + TARGETS[0]])
def test_addition_that_was_not_seen_wins_over_a_removal(slot: str) -> None:
    def say(number: int, refs: Iterable[EntryId], agency: str, *, remove: bool) -> Operation:
        match slot[:2]:
            case "t:":
                return op(number, "tag", {"remove" if remove else "add": ["hot"]}, refs, agency)
            case "l:":
                return op(number, "link", {"to": TARGETS[0], "remove": remove}, refs, agency)
            case _:
                return op(number, "attach", {"chunks": TARGETS[0], "detach": remove}, refs, agency)

    added = say(1, [], "scc", remove=False)
    assert slot in fold(RECORD, [added]).slots
    assert slot in fold(RECORD, [added, say(2, [], "scc", remove=True)]).slots  # not seen
    assert slot in fold(RECORD, [added, say(2, [added.id], "sss", remove=True)]).slots  # a third agency
    for agency in ("scc", "mia"):
        gone = say(2, [added.id], agency, remove=True)
        assert slot not in fold(RECORD, [added, gone]).slots
        again = say(3, [], "scc", remove=False)
        document = fold(RECORD, [gone, again, added])
        assert list(document.slots[slot]) == [again.id]


def test_link_that_two_agencies_made_is_said_by_both_whoever_saw_the_other() -> None:
    fields: dict[str, Value] = {"to": TARGETS[1], "relation": "same_event"}
    theirs = op(1, "link", fields, [], "scc")
    ours = op(2, "link", fields, [theirs.id], "mia")
    document = fold(RECORD, [theirs, ours])
    assert {said.agency for said in document.members(LINK)[f"same_event:{TARGETS[1]}"]} == {"scc", "mia"}
    taken = op(3, "link", fields | {"remove": True}, [theirs.id, ours.id], "scc")  # only what it said itself
    document = fold(RECORD, [theirs, ours, taken])
    assert {said.agency for said in document.members(LINK)[f"same_event:{TARGETS[1]}"]} == {"mia"}


def test_link_written_with_spaces_or_capitals_is_the_same_link() -> None:
    spaced = " ".join(TARGETS[1][at : at + 2] for at in range(0, 64, 2)).upper()
    document = fold(RECORD, [op(1, "link", {"to": spaced}), op(2, "link", {"to": TARGETS[1]})])
    assert len(document.members(LINK)) == 2  # the one of its creation, and this
    assert f"related:{TARGETS[1]}" in document.members(LINK)


@given(histories())
def test_nothing_of_another_agency_changes_a_field_until_it_is_accepted(made: list[Operation]) -> None:
    own = [one for one in made if one.agency == "mia"]
    document = fold(RECORD, made)
    said = [said for _, standing in document.standing(FIELD) for said in standing]
    said += [said for _, standing in document.standing(RETRACTED) for said in standing]
    assert {one.op for one in said} <= {RECORD.id, *(one.id for one in own)}
    assert {one.agency for one in said} == {"mia"}


def test_proposal_stands_beside_until_accepted_or_declined() -> None:
    proposed = op(1, "amend", {"set": {"place": "Termiz"}}, agency="scc")
    document = fold(RECORD, [proposed])
    assert document.fields()["place"] == "Denov"
    assert [said.value for said in document.proposals[proposed.id]] == [[FIELD + "place", "Termiz"]]
    answer: dict[str, Value] = {"proposal": proposed.id.hex()}
    accepted = op(2, "accept", answer | {"set": {"place": "Termiz"}}, [proposed.id])
    declined = op(3, "decline", answer, [proposed.id])
    document = fold(RECORD, [proposed, accepted])
    assert (document.fields()["place"], document.proposals) == ("Termiz", {})
    document = fold(RECORD, [proposed, declined])
    assert (document.fields()["place"], document.proposals) == ("Denov", {})
    document = fold(RECORD, [proposed, accepted, declined])
    assert document == fold(RECORD, [declined, accepted, proposed])
    assert (document.fields()["place"], document.proposals) == ("Termiz", {})
    for stranger in ("scc", "sss"):
        document = fold(RECORD, [proposed, replace(accepted, agency=stranger), replace(declined, agency=stranger)])
        assert list(document.proposals) == [proposed.id]
        assert document.fields()["place"] == "Denov"
    unseen = op(4, "accept", answer | {"set": {"place": "Termiz"}})  # does not name what it accepts
    assert fold(RECORD, [proposed, unseen]).fields()["place"] == "Denov"


nested: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
known_names = st.sampled_from(
    ["set", "add", "remove", "to", "relation", "chunks", "detach", "reason", "undo", "proposal", "tags", "links", "x"]
)
fields_ = st.dictionaries(
    known_names | st.text(max_size=4),
    nested | st.just(TARGETS[0]) | st.lists(st.fixed_dictionaries({"to": nested | st.just(TARGETS[0])}), max_size=3),
    max_size=6,
)
steps_ = st.sampled_from(["amend", "tag", "link", "attach", "retract", "accept", "decline", "comment", "later"])


@given(fields_, st.lists(st.tuples(steps_, fields_, st.sampled_from(AGENCIES)), max_size=6))
def test_nonsense_changes_something_or_nothing_and_never_fails(
    first: dict[str, Value], more: list[tuple[str, dict[str, Value], str]]
) -> None:
    creation = replace(RECORD, fields=first)
    made = [op(number, step, fields, [], agency) for number, (step, fields, agency) in enumerate(more)]
    document = fold(creation, made)
    assert fold(creation, made[::-1]).to_bytes() == document.to_bytes()
    assert Document.from_bytes(document.to_bytes()) == document
    document.fields()
    document.conflicts()
    assert document.retracted is None or isinstance(document.retracted, str)
    assert [document.members(prefix) for prefix in (TAG, LINK, FILE)]
    document.live(document.slots)


def test_deep_and_large_values_survive() -> None:
    deep: Value = "x"
    for _ in range(DEPTH_MAX - 3):  # a body, its fields and `set` are around it
        deep = [deep]
    large = "y" * (BODY_BYTES_MAX - 1000)
    for agency in AGENCIES[:2]:
        made = [op(number, "amend", {"set": {"a": what}}, agency=agency) for number, what in enumerate([deep, large])]
        made += [op(3, "attach", {"chunks": TARGETS[0], "more": [deep]}), op(4, "amend", {"set": {"many": [0] * 4096}})]
        encode({"fields": made[0].fields})
        document = fold(RECORD, made)
        again = Document.from_bytes(document.to_bytes())
        assert again == document
        assert again.sizes == document.sizes


def test_damaged_state_is_refused() -> None:
    raw = fold(RECORD, [op(1, "amend", {"set": {"place": "a"}}, agency="scc")]).to_bytes()
    for size in range(len(raw)):
        with pytest.raises(FormatError):
            Document.from_bytes(raw[:size])


def test_operation_says_at_most_so_much() -> None:
    many: dict[str, Value] = {f"n{number}": number for number in range(5000)}
    document = fold(RECORD, [op(1, "amend", {"set": many})])
    assert len(document.slots) == len(Document.created(RECORD).slots) + SLOTS_PER_OPERATION_MAX


def test_what_one_agency_keeps_standing_is_bounded_and_leaves_others_their_room() -> None:
    large = "y" * 250_000
    flood = [op(number, "amend", {"set": {"note": large}}, agency="scc") for number in range(40)]
    own = [op(100 + number, "amend", {"set": {"note": large + str(number)}}) for number in range(40)]
    document = fold(RECORD, [*flood, *own, op(200, "tag", {"add": ["hot"]}, agency="sss")])
    assert max(document.sizes.values()) <= AGENCY_BYTES_MAX
    assert len(document.to_bytes()) < 3 * AGENCY_BYTES_MAX
    assert document.left_out > 40
    assert "hot" in document.members(TAG)
    again = Document.from_bytes(document.to_bytes())
    assert (again, again.sizes) == (document, document.sizes)
    again.apply(op(300, "amend", {"set": {"note": "settled"}}, again.live([FIELD + "note"])))  # frees more
    assert again.fields()["note"] == "settled"
    assert again.conflicts() == {}
    for proposal in list(again.proposals):
        again.apply(op(400, "decline", {"proposal": proposal.hex()}, [proposal]))
    assert again.sizes["scc"] == 0


@given(histories())
def test_sizes_follow_from_the_state(made: list[Operation]) -> None:
    document = fold(RECORD, made)
    again = Document.from_bytes(document.to_bytes())
    assert {name: size for name, size in document.sizes.items() if size} == again.sizes


# -- several replicas ---------------------------------------------------------------------------------


class Replica:
    """What one node holds of the record, applied as it comes."""

    def __init__(self) -> None:
        self.held: dict[EntryId, Operation] = {}
        self.document = Document.created(RECORD)

    def take(self, one: Operation) -> None:
        if one.id not in self.held:
            self.document.apply(one, [other for other in self.held.values() if one.id in other.refs])
            self.held[one.id] = one


class Replicas(RuleBasedStateMachine):
    """Nodes that write, are parted, and meet again."""

    @initialize()
    def begin(self) -> None:
        self.replicas = [Replica() for _ in range(4)]
        self.made: list[Operation] = []

    @rule(at=st.integers(0, 3), agency=st.sampled_from(AGENCIES), lapse=st.integers(0, 9), data=st.data())
    def write(self, at: int, agency: str, lapse: int, data: st.DataObject) -> None:
        replica = self.replicas[at]
        step, fields = data.draw(bodies(sorted(replica.document.proposals)))
        draft = op(len(self.made), step, fields, [], agency)
        refs = set(replica.document.live(slot for slot, _ in changes(draft)))
        if "proposal" in fields:
            refs |= {EntryId(bytes.fromhex(str(fields["proposal"])))} & replica.document.proposals.keys()
        if lapse == 0:
            refs = set(sorted(refs)[1:])  # a program that forgets one
        self.made.append(op(len(self.made), step, fields, refs, agency))
        replica.take(self.made[-1])

    @rule(source=st.integers(0, 3), to=st.integers(0, 3), rng=st.randoms(use_true_random=False))
    def meet(self, source: int, to: int, rng: Random) -> None:
        given_ = list(self.replicas[source].held.values())
        for one in rng.sample(given_, rng.randint(0, len(given_))):  # parts, in any order
            self.replicas[to].take(one)

    @rule(at=st.integers(0, 3))
    def agrees_with_the_model(self, at: int) -> None:
        replica = self.replicas[at]
        agrees(replica.document, replica.held.values())

    def teardown(self) -> None:
        if not hasattr(self, "made"):
            return
        for number, replica in enumerate(self.replicas):
            rest = list(self.made)
            Random(number).shuffle(rest)
            for one in rest:
                replica.take(one)
            agrees(replica.document, self.made)
            assert replica.document.to_bytes() == fold(RECORD, self.made).to_bytes()


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
