"""What writers know of authority, and what an act would change before anybody signs it."""

from collections.abc import Sequence

import pytest

from keys.signing import SigningKey
from ledger.effect import moved, why_not_change, why_not_revoke, with_acts, without_effect, would_pass
from ledger.knowledge import NAMED_MAX, acts_to_name, causal_past, known_authority, unknown_acts
from ledger.search import operation
from ledger.store import Ledger, create
from node.submit import naming
from protocol.acts import Act, Admit, Approve, Certify, Propose, Remove, Revoke, Threshold, encode_act
from protocol.body import encode_record, encode_step, parse_step
from protocol.charter import Agency
from protocol.entry import EntryId, Place
from protocol.frame import Draft, sign_run
from protocol.limits import REFS_MAX
from sim.disk import MemoryStorage
from sim.founding import AGENCIES, found, key_of

NAME = "effect tests"
ROOTS = {agency: key_of(NAME, agency) for agency in AGENCIES}
MIA, SCC = ROOTS["mia"], ROOTS["scc"]
ADMIN, OFFICER, OTHER = (key_of(NAME, name) for name in ("admin", "officer", "other"))


def write(ledger: Ledger, signer: SigningKey, *drafts: Draft, knowing: bool = True) -> list[EntryId]:
    """Entries of `signer` in this ledger, the first naming the acts that it holds; their ids."""
    head = ledger.heads.get(signer.public)
    named = naming(drafts, acts_to_name(ledger, signer.public)) if knowing else drafts
    run, ids = sign_run(signer, ledger.network_id, Place(head.key, head.size, head.id), named, 1_767_225_600_000)
    result = ledger.commit([(run,)])
    ledger.apply(result)
    assert result.outcomes[0].refused is None
    return ids


def say(ledger: Ledger, signer: SigningKey, *acts: Act, refs: Sequence[EntryId] = ()) -> list[EntryId]:
    return write(ledger, signer, *(("act", encode_act(act), refs) for act in acts))


def certify(key: SigningKey, rank: str) -> Certify:
    return Certify(key.public, rank, rank, "scc", "", ())


def record(text: str) -> Draft:
    return ("record", encode_record("case", {"title": text}), ())


@pytest.fixture
def ledger() -> Ledger:
    """scc's root key certifies an admin and an officer, the admin another officer."""
    made = create(MemoryStorage(), found(NAME))
    say(made, SCC, certify(ADMIN, "admin"), certify(OFFICER, "officer"))
    say(made, ADMIN, certify(OTHER, "officer"))
    return made


# -- what writers know --------------------------------------------------------------------------------


def test_entry_names_the_newest_act_of_each_log_once(ledger: Ledger) -> None:
    newest = {ledger.ids_at(key.public, [ledger.heads.get(key.public).size - 1])[0][1] for key in (SCC, ADMIN)}
    (first,) = write(ledger, OFFICER, record("one"))
    entry = ledger.entry(first)
    assert entry is not None
    assert set(entry.refs) == newest
    (second,) = write(ledger, OFFICER, record("two"))
    entry = ledger.entry(second)
    assert entry is not None
    assert entry.refs == ()
    (act,) = say(ledger, MIA, Propose(Threshold(2)))
    (third,) = write(ledger, OFFICER, record("three"))
    entry = ledger.entry(third)
    assert entry is not None
    assert entry.refs == (act,)


def test_own_certifier_comes_first_and_few_are_named(ledger: Ledger) -> None:
    admins = [key_of(NAME, f"admin {number}") for number in range(NAMED_MAX + 2)]
    say(ledger, SCC, *(certify(key, "admin") for key in admins))
    for number, key in enumerate(admins):
        say(ledger, key, certify(key_of(NAME, f"officer {number}"), "officer"))
    named = acts_to_name(ledger, OTHER.public)
    assert len(named) == NAMED_MAX
    authors = [entry.key for known in named if (entry := ledger.entry(known)) is not None]
    assert authors[:2] == [ADMIN.public, SCC.public]
    write(ledger, OTHER, record("one"))
    assert len(acts_to_name(ledger, OTHER.public)) == len(admins) + 2 - NAMED_MAX  # the rest, by the next entry


def test_causal_past_reaches_through_what_is_named_and_no_further(ledger: Ledger) -> None:
    (early,) = write(ledger, OTHER, record("early"))
    say(ledger, SCC, Revoke(OFFICER.public, 0, None, "left"))
    (linked,) = write(ledger, OTHER, ("record", encode_record("case", {}), (early,)))
    entry, later = ledger.entry(early), ledger.entry(linked)
    assert entry is not None
    assert later is not None
    assert causal_past(ledger, entry) == {ADMIN.public: 1, SCC.public: 2}
    assert causal_past(ledger, later) == {ADMIN.public: 1, SCC.public: 3, OTHER.public: 1}
    for known, ended in ((entry, False), (later, True)):
        standing = known_authority(ledger, causal_past(ledger, known)).of(OFFICER.public)
        assert standing is not None
        assert (standing.ended is not None) is ended


def test_acts_about_a_writer_that_it_did_not_know_are_told(ledger: Ledger) -> None:
    (early,) = write(ledger, OTHER, record("early"))
    say(ledger, SCC, Revoke(OFFICER.public, 0, None, "of no concern"), Revoke(ADMIN.public, 0, None, "above it"))
    entry = ledger.entry(early)
    assert entry is not None
    (missed,) = unknown_acts(ledger, causal_past(ledger, entry), OTHER.public)
    assert (missed.key, missed.seq) == (SCC.public, 3)


def test_step_names_acts_beside_operations_and_waits_for_none_of_them(ledger: Ledger) -> None:
    (known,) = write(ledger, OFFICER, record("one"))
    (act,) = say(ledger, MIA, Propose(Threshold(2)))
    body = encode_step(known, "comment", {"text": "x"})
    (step,) = write(ledger, OFFICER, ("step", body, (known,)))
    entry = ledger.entry(step)
    assert entry is not None
    assert set(entry.refs) == {known, act}
    assert parse_step(entry.body or b"").acts == {act}
    assert operation(ledger, entry).refs == (known,)


def test_first_draft_takes_no_more_refs_than_an_entry_may_have() -> None:
    ids = [EntryId(bytes([number]) * 32) for number in range(REFS_MAX + 8)]
    body = encode_step(ids[0], "comment", {"text": "x"})
    first, second = naming([("step", body, tuple(ids[:30])), ("step", body, ())], ids[28:])
    assert first[2] == tuple(ids[:REFS_MAX])
    assert parse_step(first[1]).acts == {ids[30], ids[31]}
    assert second == ("step", body, ())


# -- what an act would do -----------------------------------------------------------------------------


def test_revocation_that_is_thought_of_moves_what_the_signed_one_does(ledger: Ledger) -> None:
    write(ledger, OTHER, record("one"), record("two"))
    write(ledger, OFFICER, record("one"))
    act = Revoke(ADMIN.public, 0, None, "stolen")
    thought = moved(ledger, with_acts(ledger, [(SCC.public, act)]))
    assert {row.standing.key: (row.now, row.then, row.certified) for row in thought} == {
        ADMIN.public: (1, 0, True), OTHER.public: (2, 0, False),
    }  # fmt: skip
    say(ledger, SCC, act)
    for row in thought:
        log = ledger.log(row.standing.key)
        assert log is not None
        assert log.size == row.then
    assert ledger.heads.get(OFFICER.public).size == 1


@pytest.mark.parametrize(
    ("actor", "subject", "why"),
    [
        (MIA, OFFICER, "only that agency"), (ADMIN, ADMIN, "a higher one"), (SCC, MIA, "by the council"),
        (SCC, key_of(NAME, "nobody"), "no standing"), (OFFICER, OTHER, "a higher one"),
    ],
)  # fmt: skip
def test_revocation_of_no_effect_says_why_and_has_none(
    ledger: Ledger, actor: SigningKey, subject: SigningKey, why: str
) -> None:
    act = Revoke(subject.public, 0, None, "x")
    told = why_not_revoke(ledger, ledger.authority.of(actor.public), act)
    assert told is not None
    assert why in told
    assert moved(ledger, with_acts(ledger, [(actor.public, act)])) == []


def test_change_that_can_pass_is_told_with_what_it_does(ledger: Ledger) -> None:
    write(ledger, OFFICER, record("one"))
    change = Remove("scc", ())
    assert why_not_change(ledger.authority, change) is None
    after = would_pass(ledger, MIA.public, Propose(change), change, ())
    assert "scc" not in after.council.members
    rows = {row.standing.key: row.then for row in moved(ledger, after)}
    assert rows == {SCC.public: 0, ADMIN.public: 0, OFFICER.public: 0, OTHER.public: 0}


@pytest.mark.parametrize(
    "change", [Threshold(9), Remove("nobody", ()), Admit(Agency("scc", "x", key_of(NAME, "new").public)),
               Admit(Agency("new", "x", MIA.public))],
)  # fmt: skip
def test_change_that_cannot_pass_is_told_so_and_does_not(ledger: Ledger, change: object) -> None:
    assert why_not_change(ledger.authority, change) is not None  # type: ignore[arg-type]
    after = would_pass(ledger, MIA.public, Propose(change), change, ())  # type: ignore[arg-type]
    assert after.council.members == ledger.authority.council.members
    assert after.council.threshold == ledger.authority.council.threshold


def test_acts_without_effect_are_told_with_the_reason(ledger: Ledger) -> None:
    assert without_effect(ledger) == []
    say(ledger, OFFICER, certify(key_of(NAME, "x"), "officer"))
    say(ledger, MIA, certify(key_of(NAME, "y"), "officer"))
    say(ledger, ADMIN, Propose(Threshold(2)), Approve(EntryId(bytes(32))))
    write(ledger, SCC, ("act", b"\xc1", ()))
    say(ledger, MIA, Approve(EntryId(bytes(32))))
    why = [told for _, _, told in without_effect(ledger)]
    assert sorted(word for told in why for word in (
        "no say over", "this is about scc", "only an agency's root key", "cannot be read", "is not here",
    ) if word in told) == sorted(
        ["no say over", "this is about scc", "only an agency's root key", "only an agency's root key",
         "cannot be read", "is not here"]
    )  # fmt: skip
