"""Authority, read twice: `ledger.authority` and the auditor's own reading of SPEC.md 4.4 agree on any set of acts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.signing import PublicKey, Signature, SigningKey
from ledger.audit_authority import HeldAct, judge, judge_held
from ledger.authority import Authority, evaluate, evaluate_held, evaluate_more
from ledger.council import ActEntry
from protocol.acts import (
    Act,
    Admit,
    Approve,
    Certify,
    Change,
    Cutoff,
    Propose,
    Rekey,
    Remove,
    Revoke,
    Threshold,
    Unit,
    encode_act,
)
from protocol.card import consent_bytes
from protocol.charter import Agency, Charter
from protocol.entry import EntryId

NAMES = ("a", "b", "c", "d", "e")


@cache
def signer(name: str) -> SigningKey:
    return SigningKey.from_seed(sha256(f"key of {name}".encode()).digest())


def key(name: str) -> PublicKey:
    return signer(name).public


@cache
def consent(name: str, agency: str) -> Signature:
    return signer(name).sign(consent_bytes(agency))


def founded(count: int, threshold: int) -> Charter:
    """Agencies a, b, ... whose root keys have the same names."""
    return Charter("network", tuple(Agency(name, f"Agency {name}", key(name)) for name in NAMES[:count]), threshold,
                   0, bytes(16))  # fmt: skip


@dataclass
class Script:
    """Acts as they are signed, one after the other; entries of other kinds leave gaps in the logs."""

    charter: Charter
    acts: list[HeldAct] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def say(
        self, who: str, act: Act | bytes, refs: Sequence[EntryId] = (), *, skip: int = 0, low: bool = False
    ) -> EntryId:
        """Sign an act; give its id. skip: entries of other kinds before it. low: its id is the lowest of its height."""
        seq = self.sizes.get(who, 0) + skip
        self.sizes[who] = seq + 1
        body = act if isinstance(act, bytes) else encode_act(act)
        mark = sha256(b"|".join([who.encode(), str(seq).encode(), body, *refs])).digest()
        known = EntryId((b"\0\0" if low else b"\x01" + mark[:1]) + mark[2:])
        self.acts.append(HeldAct(key(who), seq, known, tuple(sorted(refs)), body))
        return known

    def propose(self, who: str, change: Change, refs: Sequence[EntryId] = ()) -> EntryId:
        return self.say(who, Propose(change), refs)

    def approve(self, who: str, proposal: EntryId, refs: Sequence[EntryId] = (), *, low: bool = False) -> EntryId:
        return self.say(who, Approve(proposal), refs, low=low)

    def certify(self, who: str, subject: str, rank: str, agency: str) -> EntryId:
        return self.say(who, Certify(key(subject), rank, subject, agency, "", ()))

    def cut(self, who: str, act: EntryId | None) -> Cutoff:
        """The cutoff of `who` at that act of its own; None: at nothing."""
        found = next((item for item in self.acts if item.id == act), None)
        return Cutoff(key(who), 0 if found is None else found.seq, act)

    def rekey(self, agency: str, new: str, last: EntryId | None, old: str | None = None) -> Rekey:
        cutoff = self.cut(old or agency, last)
        return Rekey(agency, key(new), cutoff.seq, cutoff.id)

    def revoke(self, who: str, subject: str, last: EntryId | None) -> EntryId:
        cutoff = self.cut(subject, last)
        return self.say(who, Revoke(cutoff.key, cutoff.seq, cutoff.id, "lost"))


@dataclass(frozen=True)
class Told:
    """What both implementations must say, in terms of both."""

    standing: dict[PublicKey, tuple[object, ...]]
    cutoffs: dict[PublicKey, Cutoff]
    members: dict[str, PublicKey]
    threshold: int
    passed: frozenset[EntryId]
    open: dict[EntryId, frozenset[str]]
    units: dict[str, tuple[str, tuple[str, ...]]]


def by_rule(charter: Charter, acts: Sequence[HeldAct]) -> Authority:
    return evaluate(charter, [ActEntry(known, who, seq, refs, body) for who, seq, known, refs, body in acts])


def told_by_rule(charter: Charter, acts: Sequence[HeldAct]) -> Told:
    found = by_rule(charter, acts)
    seqs = {item.id: item.seq for item in acts}
    roles = {who: one.roles for who, one in found.standings.items() if one.rank != "agency"}
    standing: dict[PublicKey, tuple[object, ...]] = {
        who: (one.rank, one.agency, one.name, one.unit, roles.get(who, ()), one.certifier,
              None if one.act is None else seqs[one.act])
        for who, one in found.standings.items()
    }  # fmt: skip
    proposals = found.council.proposals
    return Told(
        standing, {who: cutoff for who in standing if (cutoff := found.cutoff(who)) is not None},
        {name: agency.key for name, agency in found.council.members.items()}, found.council.threshold,
        frozenset(item.id for item in proposals if item.passed is not None),
        {item.id: frozenset(item.yes) for item in proposals if item.passed is None},
        {name: (unit.title, unit.regions) for name, unit in found.units.items()},
    )  # fmt: skip


def told_by_auditor(charter: Charter, acts: Sequence[HeldAct]) -> Told:
    found = judge(charter, acts)
    assert found.settled_by.keys() == found.cutoffs.keys()
    return Told(
        {who: (one.rank, one.agency, one.name, one.unit, one.roles, one.certifier, one.seq)
         for who, one in found.standing.items()},
        found.cutoffs, found.members, found.threshold, frozenset(found.passed), found.open,
        {name: (unit.title, unit.regions) for name, unit in found.units.items()},
    )  # fmt: skip


Reader: TypeAlias = "Callable[[Charter, Sequence[HeldAct]], Told]"
READERS = pytest.mark.parametrize("told", [told_by_rule, told_by_auditor])

# -- any set of acts ----------------------------------------------------------------------------------

SPEAKERS = (*NAMES[:4], "a2", "b2", "e", "admin a", "admin b", "x", "y", "z")
SUBJECTS = ("admin a", "admin b", "x", "y", "z", "a2", "b", "stranger")
NEW = ("a2", "b2", "e", "x", "a")
Draw = tuple[int, int, int, int, int, int]


def change_of(script: Script, kind: int, one: int, two: int, cutoff: Cutoff) -> Change:
    agency, new = NAMES[one % 5], NEW[two % len(NEW)]
    match kind % 5:
        case 0:
            return Admit(Agency(NAMES[(one + 3) % 5], "another", key(new)))
        case 1 | 2:
            return Rekey(agency, key(new), cutoff.seq, cutoff.id)
        case 3:
            named = {key(name): Cutoff(key(name), cutoff.seq, cutoff.id) for name in (agency, SUBJECTS[two % 8])}
            return Remove(agency, tuple(named[who] for who in sorted(named)) if one % 2 else ())
        case _:
            return Threshold(1 + two % 4)


def written(charter: Charter, draws: Sequence[Draw]) -> list[HeldAct]:
    """Acts that the numbers say: councils that mostly agree, certificates, revocations, nonsense, thieves."""
    script = Script(charter)
    for who, kind, one, two, three, pointing in draws:
        speaker = SPEAKERS[who % len(SPEAKERS)]
        ids = [item.id for item in script.acts]
        refs = set(ids[-1 - pointing % 7 :][:1]) if pointing % 3 else set()
        if pointing % 11 == 0:
            refs.add(EntryId(bytes([pointing]) * 32))  # an entry that is no act
        proposals = [item.id for item in script.acts if b"propose" in item.body]
        cutoff = Cutoff(key(speaker), 0, None) if three % 5 == 4 else Cutoff(
            key(speaker), three % 5, EntryId(bytes([three]) * 32)
        )  # fmt: skip
        subject, agency = SUBJECTS[two % len(SUBJECTS)], NAMES[one % 4]
        act: Act | bytes
        match kind % 16:
            case 0 | 1 | 2 | 3 | 4 | 5 | 6 if proposals:
                act = Approve(proposals[-1 - one % min(4, len(proposals))])
            case 6 | 7 | 8 | 9:
                act = Propose(change_of(script, one // 8, one, two, cutoff))
            case 10 | 11 | 12:
                rank = ("admin", "node", "officer")[three % 3]
                own = consent(subject, NAMES[three % 2]) if subject != "stranger" and pointing % 2 else None
                act = Certify(key(subject), rank, f"name {three}", agency, "", ("officer",) if three % 2 else (), own)
            case 13:
                act = Revoke(key(subject), cutoff.seq, cutoff.id, "")
            case 14:
                act = Unit(("u", "v")[one % 2], f"unit {two}", ())
            case _:
                act = b"\x81\xa3act\xa4what"
        script.say(speaker, act, tuple(refs), skip=int(three % 4 == 3))
    return script.acts


numbers = st.integers(0, 63)
draws = st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers, numbers), max_size=24)


@given(st.integers(2, 4), st.integers(1, 4), draws, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_both_readings_agree_on_any_acts_in_any_order(
    agencies: int, threshold: int, draws: list[Draw], rng: Random
) -> None:
    charter = founded(agencies, min(threshold, agencies))
    acts = written(charter, draws)
    expected = told_by_auditor(charter, acts)
    whole = by_rule(charter, acts)
    assert told_by_rule(charter, acts) == expected
    for _ in range(2):
        shuffled = rng.sample(acts, len(acts))
        assert by_rule(charter, shuffled) == whole
        assert told_by_auditor(charter, shuffled) == expected


@given(st.integers(2, 4), st.integers(1, 4), draws, draws, st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_reading_more_acts_on_top_of_some_is_reading_all(
    agencies: int, threshold: int, draws: list[Draw], newcomers: list[Draw], rng: Random
) -> None:
    """Whatever has come before, and in whatever portions; most of the later ones certify keys never heard of."""
    charter = founded(agencies, min(threshold, agencies))
    script = Script(charter, written(charter, draws), dict.fromkeys(SPEAKERS, 100))
    for who, kind, one, two, three, _ in newcomers:
        rank = ("admin", "node", "officer", "officer")[kind % 4]
        speaker = NAMES[who % 4] if who % 3 else SPEAKERS[who % len(SPEAKERS)]
        script.certify(speaker, f"new {one % 48}", rank, speaker if three % 8 else NAMES[two % 4])
        if two % 8 == 0:
            script.certify(f"new {three % 48}", f"new {two}", "officer", NAMES[one % 4])
        if three % 16 == 0:
            script.revoke(NAMES[two % 4], f"new {one % 48}", None)
    acts = [ActEntry(known, who, seq, refs, body) for who, seq, known, refs, body in script.acts]
    if rng.random() < 0.5:
        rng.shuffle(acts)
    at = rng.randint(0, len(acts))
    found = evaluate(charter, acts[:at])
    while at < len(acts):
        end = min(len(acts), at + rng.randint(1, 4))
        found = evaluate_more(charter, found, acts[:at], acts[at:end], {}, lambda _: False)
        at = end
    whole = evaluate(charter, acts)
    assert found == whole
    assert found.named == whole.named


# -- SPEC.md 4.4.5, row by row ------------------------------------------------------------------------


def passed(found: Told, *proposals: EntryId) -> list[bool]:
    return [proposal in found.passed for proposal in proposals]


@READERS
def test_what_an_officer_wrote_after_the_cutoff_is_void_and_what_came_before_stays(told: Reader) -> None:
    script = Script(founded(2, 2))
    script.certify("a", "officer", "officer", "a")
    script.certify("a", "colleague", "admin", "a")
    last = EntryId(b"\x07" * 32)
    script.say("a", Revoke(key("officer"), 7, last, "stolen"))
    script.say("colleague", Revoke(key("officer"), 9, EntryId(b"\x09" * 32), "stolen, but later"))
    script.say("b", Revoke(key("officer"), 0, None, "of another agency: no effect"))
    found = told(script.charter, script.acts)
    assert found.cutoffs == {key("officer"): Cutoff(key("officer"), 7, last)}
    assert found.standing[key("officer")][0] == "officer"


@READERS
def test_what_a_revoked_admin_certified_later_has_no_standing_until_the_agency_certifies_it(told: Reader) -> None:
    script = Script(founded(2, 2))
    script.certify("a", "admin", "admin", "a")
    before = script.certify("admin", "honest", "officer", "a")
    script.certify("admin", "thief", "officer", "a")
    script.certify("admin", "victim", "officer", "a")
    script.revoke("a", "admin", before)
    found = told(script.charter, script.acts)
    assert found.cutoffs == {key("admin"): Cutoff(key("admin"), 0, before)}
    assert key("honest") in found.standing
    assert not {key("thief"), key("victim")} & found.standing.keys()
    script.certify("a", "victim", "officer", "a")
    found = told(script.charter, script.acts)
    assert found.standing[key("victim")][-2:] == (key("a"), 2)
    assert key("thief") not in found.standing


@READERS
def test_stolen_root_key_gains_nothing_by_acts_that_come_early(told: Reader) -> None:
    """The thief's acts refer to nothing, so they have the lowest heights, and the lowest ids of those."""
    script = Script(founded(3, 2))
    honest = script.certify("a", "officer", "officer", "a")
    script.certify("a", "spy", "officer", "a")
    thiefs = script.say("a", Propose(Remove("c", ())), low=True)
    accomplice = script.approve("b", thiefs, low=True)  # b was deceived, and then said that a's key was stolen
    new = script.propose("b", script.rekey("a", "a2", honest), [accomplice])
    script.approve("c", new)
    found = told(script.charter, script.acts)
    assert passed(found, thiefs, new) == [False, True]
    assert found.members == {"a": key("a2"), "b": key("b"), "c": key("c")}
    assert found.cutoffs == {key("a"): Cutoff(key("a"), 0, honest)}
    assert key("officer") in found.standing
    assert key("spy") not in found.standing


@READERS
def test_stolen_root_key_cannot_complete_an_old_proposal_against_who_must_replace_it(told: Reader) -> None:
    """The removal of d lacks one yes; the new root key of a needs that of d. The thief is first, by height and id."""
    script = Script(founded(4, 3))
    honest = script.certify("a", "officer", "officer", "a")
    removal = script.propose("b", Remove("d", ()))
    script.approve("c", removal)
    theft = script.say("a", Approve(removal), low=True)
    new = script.propose("b", script.rekey("a", "a2", honest), [theft])
    script.approve("c", new)
    script.approve("d", new)
    found = told(script.charter, script.acts)
    assert passed(found, removal, new) == [False, True]
    assert found.members == {"a": key("a2"), "b": key("b"), "c": key("c"), "d": key("d")}
    assert found.cutoffs == {key("a"): Cutoff(key("a"), 0, honest)}


@READERS
@pytest.mark.parametrize("first", ["a", "b"])
def test_of_mutual_removals_the_later_word_of_the_others_passes(told: Reader, first: str) -> None:
    """Each removal cuts the other's log wholly, and needs the other's yes."""
    second = "b" if first == "a" else "a"
    script = Script(founded(4, 3))
    earlier = script.propose(first, Remove(second, ()))
    later = script.propose(second, Remove(first, ()))
    for name in ("c", "d"):
        script.approve(name, earlier)
        script.approve(name, later)
    found = told(script.charter, script.acts)
    assert passed(found, earlier, later) == [False, True]
    assert first not in found.members
    assert found.cutoffs == {key(first): Cutoff(key(first), 0, None)}


@READERS
def test_of_mutual_removals_in_different_orders_neither_passes_and_each_may_be_proposed_anew(told: Reader) -> None:
    script = Script(founded(4, 3))
    one = script.propose("a", Remove("b", ()))
    other = script.propose("b", Remove("a", ()))
    for name, order in (("c", (one, other)), ("d", (other, one))):
        for proposal in order:
            script.approve(name, proposal)
    found = told(script.charter, script.acts)
    assert passed(found, one, other) == [False, False]
    assert found.members.keys() == {"a", "b", "c", "d"}
    assert found.cutoffs == {}
    anew = script.propose("c", Remove("b", ()))
    script.approve("d", anew)
    script.approve("a", anew)
    found = told(script.charter, script.acts)
    assert found.members.keys() == {"a", "c", "d"}
    assert found.cutoffs == {key("b"): Cutoff(key("b"), 0, None)}


@READERS
def test_what_a_removed_agency_approves_is_void_however_it_is_placed(told: Reader) -> None:
    script = Script(founded(4, 3))
    wish = script.propose("b", Threshold(1))
    kept = script.certify("a", "officer", "officer", "a")
    removal = script.propose("b", Remove("a", (script.cut("a", kept),)))
    for name in ("c", "d"):
        script.approve(name, removal)
    script.approve("c", wish)
    script.say("a", Approve(wish), low=True)  # refers to nothing: early in the order, after the cutoff in its log
    found = told(script.charter, script.acts)
    assert passed(found, wish, removal) == [False, True]
    assert found.threshold == 3
    assert found.cutoffs == {key("a"): Cutoff(key("a"), 0, kept), key("officer"): Cutoff(key("officer"), 0, None)}
    script.approve("a", wish, [removal])  # after the removal in every way
    assert told(script.charter, script.acts) == found


@READERS
def test_cutoff_of_a_removed_agencys_officer_is_the_one_named(told: Reader) -> None:
    script = Script(founded(3, 1))
    kept = script.certify("a", "officer", "officer", "a")
    last = EntryId(b"\x05" * 32)
    cutoffs = sorted([script.cut("a", kept), Cutoff(key("officer"), 5, last)], key=lambda cutoff: cutoff.key)
    script.propose("b", Remove("a", tuple(cutoffs)))
    assert told(script.charter, script.acts).cutoffs == {cutoff.key: cutoff for cutoff in cutoffs}


# -- the council's words, where they are easily misread -----------------------------------------------


@READERS
def test_proposals_of_strangers_give_no_height(told: Reader) -> None:
    """An officer's log may be held here and not there; what refers to it has the same place in the order anyway."""
    script = Script(founded(3, 1))
    script.certify("a", "officer", "officer", "a")
    admission = script.propose("b", Admit(Agency("e", "Agency e", key("e"))))
    noise = script.propose("officer", Threshold(2))
    script.say("c", Propose(script.rekey("e", "e2", None, "e")), [noise], low=True)
    with_noise = told(script.charter, script.acts)
    assert with_noise.members["e"] == key("e")
    assert admission in with_noise.passed
    assert told(script.charter, [item for item in script.acts if item.id != noise]) == with_noise


@READERS
def test_new_root_keys_word_is_not_disowned_by_the_change_that_made_it(told: Reader) -> None:
    script = Script(founded(4, 2))
    new = script.propose("a", script.rekey("b", "b2", None))
    admission = script.propose("d", Admit(Agency("e", "Agency e", key("e"))))
    script.approve("b2", admission, [script.approve("d", new)])
    found = told(script.charter, script.acts)
    assert passed(found, new, admission) == [True, True]


@READERS
def test_void_proposal_disowns_nobody(told: Reader) -> None:
    script = Script(founded(2, 1))
    wish = script.propose("b", Threshold(2))
    script.propose("a", Remove("b", (script.cut("b", wish),)), [wish])
    script.approve("a", wish)
    void = script.propose("b", script.rekey("b", "b2", None), [wish])
    script.approve("a", void)
    assert wish in told(script.charter, script.acts).passed


@READERS
def test_cutoffs_of_a_circle_hold_although_nothing_passes(told: Reader) -> None:
    """A change that cuts the proposal by which it was made: each reading undoes the one before."""
    script = Script(founded(3, 1))
    own = script.propose("c", script.rekey("c", "c2", None))
    script.approve("a", own)
    found = told(script.charter, script.acts)
    assert passed(found, own) == [False]
    assert found.members["c"] == key("c")
    assert found.cutoffs == {key("c"): Cutoff(key("c"), 0, None)}
    again = script.propose("a", script.rekey("c", "c2", None))
    found = told(script.charter, script.acts)
    assert again in found.passed
    assert found.members["c"] == key("c2")


@READERS
def test_thief_who_says_yes_again_takes_no_word_back(told: Reader) -> None:
    """Of the keys of a and b, stolen one after the other, nothing signed later changes what was decided."""
    script = Script(founded(5, 3))
    removal = script.propose("b", Remove("e", ()))
    script.approve("c", removal)
    before = script.say("a", Unit("u", "u", ()))
    script.approve("a", removal)  # the thief of a
    new_a = script.propose("b", Rekey("a", key("a2"), script.cut("a", before).seq, before))
    for voter in "de":
        script.approve(voter, new_a)
    new_b = script.propose("c", Rekey("b", key("b2"), script.cut("b", new_a).seq, new_a))
    for voter in "de":
        script.approve(voter, new_b)
    honest = told(script.charter, script.acts)
    assert passed(honest, new_a, new_b, removal) == [True, True, False]
    script.approve("b", removal)  # the thief of b
    assert passed(told(script.charter, script.acts), new_a, new_b, removal) == [True, True, False]


@READERS
def test_agency_that_certifies_another_s_officer_gets_nothing(told: Reader) -> None:
    for thief in "ab":  # by the order of keys, one of them would win
        script = Script(founded(2, 2))
        own = "b" if thief == "a" else "a"
        given = Certify(key("x"), "officer", "x", own, "", (), consent("x", own))
        taken = Certify(key("x"), "node", "mine", thief, "", (), consent("x", own))
        script.say(own, given)
        script.say(thief, taken)
        script.say(thief, Revoke(key("x"), 0, None, "spite"))
        found = told(script.charter, script.acts)
        assert [line for line in map(str, found.standing) if "mine" in line] == []


@READERS
def test_second_key_of_an_agency_says_yes_where_its_first_was_disowned(told: Reader) -> None:
    script = Script(founded(2, 1))
    first = script.propose("b", Rekey("a", key("b2"), 0, None))
    script.approve("a", first)
    renewed = script.propose("a", Rekey("b", key("a2"), 0, None))
    script.approve("b", first, [renewed])
    script.approve("a2", first, [script.acts[-1].id])
    assert told(script.charter, script.acts).passed == told(script.charter, list(reversed(script.acts))).passed


@READERS
def test_of_two_removals_of_an_agency_the_lower_cutoffs_count(told: Reader) -> None:
    script = Script(founded(4, 2))
    script.certify("d", "x", "officer", "d")
    first = script.propose("a", Remove("d", ()))
    script.approve("b", first)
    back = script.propose("a", Admit(Agency("d", "again", key("d2"))), [first])
    script.approve("b", back)
    kept = Cutoff(key("x"), 3, EntryId(b"\x03" * 32))
    second = script.propose("a", Remove("d", (kept,)), [back])
    script.approve("b", second)
    found = told(script.charter, script.acts)
    assert passed(found, first, back, second) == [True, True, True]
    assert key("x") not in found.cutoffs or found.cutoffs[key("x")] == Cutoff(key("x"), 0, None)


def test_what_a_thief_signed_after_the_cutoff_on_an_endorsed_branch_is_not_read() -> None:
    """Not everybody holds it. Read, it would put who saw it later in the order, and so name another yes as the last."""
    script = Script(founded(4, 2))
    last = script.say("d", Unit("u", "u", ()))  # seq 0; the log forks there, and this is the right branch
    stolen = script.approve("d", script.propose("d", Threshold(1)))
    new = script.propose("a", Rekey("d", key("d2"), 0, last))
    script.approve("c", new, [stolen], low=True)
    script.approve("b", new)

    def holds(cutoff: Cutoff) -> bool:
        return cutoff.id == last

    def held(acts: Sequence[HeldAct]) -> tuple[Authority, object]:
        forks = {key("d"): 0}
        entries = [
            ActEntry(known, who, seq, refs, body, beyond=who == key("d")) for who, seq, known, refs, body in acts
        ]
        endorsed = [act for act in acts if act.key == key("d") and act.seq == 0]
        judgement = judge_held(script.charter, acts, forks, lambda cutoff: endorsed if holds(cutoff) else None)
        return evaluate_held(script.charter, entries, forks, holds), judgement

    whole, without = held(script.acts), held([act for act in script.acts if act.key != key("d") or act.seq == 0])
    assert whole == without
    assert whole[0].cutoff(key("d")) == Cutoff(key("d"), 0, last)
    assert "u" in whole[0].units
    assert whole[0].council.threshold == 2
