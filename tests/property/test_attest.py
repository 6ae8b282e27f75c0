"""Checkpoints in a real ledger: what is attested is what counted, and can be recomputed later (SPEC.md 7.1)."""

from hypothesis import given
from hypothesis import strategies as st

from keys.signing import SigningKey
from ledger.attest import FULL_EVERY, Ranges, full_is_due, has_news, latest, stated, survey
from ledger.store import Ledger, create
from protocol.acts import Certify, Revoke, encode_act
from protocol.body import encode_record
from protocol.checkpoint import Attested, Chain, State, draft
from protocol.entry import EntryId, Place
from protocol.limits import CHECKPOINT_HEADS_MAX
from sim.disk import MemoryStorage
from sim.founding import found, key_of, sign_run

NAME = "attest tests"
CHARTER = found(NAME)
ROOT, NODE, OFFICER, OTHER = (key_of(NAME, name) for name in ("mia", "node", "officer", "other"))


def write(ledger: Ledger, key: SigningKey, *drafts: tuple[str, bytes]) -> None:
    log = ledger.log(key.public)
    place = ledger.heads.get(key.public)
    held = log.next if log is not None else Place(key.public, 0, None)
    run = sign_run(ledger.charter, key, held, list(drafts), 1)
    result = ledger.commit([(run,)])
    assert result.outcomes[0].refused is None
    ledger.apply(result)
    assert ledger.heads.get(key.public).size == place.size + len(drafts)


def ledger_with_people() -> Ledger:
    ledger = create(MemoryStorage(), CHARTER)
    people = ((NODE, "node"), (OFFICER, "officer"), (OTHER, "officer"))
    acts = [Certify(key.public, rank, rank, "mia", "imt-1", ()) for key, rank in people]
    write(ledger, ROOT, *(("act", encode_act(act)) for act in acts))
    return ledger


def attest(ledger: Ledger, *, full: bool | None = None) -> bytes:
    """Write a checkpoint as a node does; its root."""
    with ledger.storage.read() as view:
        found = survey(view)
        mine = latest(view, NODE.public)
        due = full_is_due(view, NODE.public) if full is None else full
    assert found.root == ledger.root()
    assert found.entries == ledger.entries
    before = None if due or mine is None else mine.state
    write(
        ledger,
        NODE,
        *(("checkpoint", body) for body in draft(NODE, ledger.network_id, found.root, found.heads, before)),
    )
    return found.root


def record(number: int) -> tuple[str, bytes]:
    return "record", encode_record("intel", {"n": number})


@given(st.lists(st.sampled_from(["officer", "other", "attest", "full", "revoke"]), max_size=14))
def test_each_state_attested_has_its_root_for_ever(steps: list[str]) -> None:
    ledger = ledger_with_people()
    roots: list[bytes] = []
    states: list[State] = []
    cut = False
    for number, step in enumerate(steps):
        if step in ("attest", "full"):
            states.append({head.key: (head.size, head.id or EntryId(b"")) for head in survey_of(ledger)})
            roots.append(attest(ledger, full=step == "full" or not roots))
        elif step == "revoke" and not cut:
            cut = True
            first = ledger.ids_at(OTHER.public, [0])
            seq, known = first[0] if first else (0, None)
            write(ledger, ROOT, ("act", encode_act(Revoke(OTHER.public, seq, known, "lost"))))
        elif step == "officer" or not cut:
            write(ledger, OFFICER if step == "officer" or cut else OTHER, record(number))
    ranges = Ranges()
    with ledger.storage.read() as view:
        seen = [(one.whole.root, dict(one.state)) for one in stated(view, NODE.public)]
        assert seen == list(zip(roots, states, strict=True))
        for root, state in seen + seen[::-1]:
            assert ranges.ledger_root(view, state) == root
        for one in list(stated(view, NODE.public)):
            found = latest(view, NODE.public, one.seq + 1)
            assert found is not None
            assert (found.id, found.whole) == (one.id, one.whole)
        if states:
            last = latest(view, NODE.public)
            assert last is not None
            assert last.state == states[-1]


def survey_of(ledger: Ledger) -> tuple[Attested, ...]:
    with ledger.storage.read() as view:
        return survey(view).heads


def test_checkpoints_alone_are_no_news() -> None:
    ledger = ledger_with_people()
    attest(ledger)
    with ledger.storage.read() as view:
        mine = latest(view, NODE.public)
        assert mine is not None
        assert not has_news(view, mine.state, survey(view))
    write(ledger, OFFICER, record(1))
    with ledger.storage.read() as view:
        assert has_news(view, mine.state, survey(view))
    attest(ledger)
    with ledger.storage.read() as view:
        again = latest(view, NODE.public)
        assert again is not None
        assert not has_news(view, again.state, survey(view))
    write(ledger, ROOT, ("act", encode_act(Revoke(OFFICER.public, 0, None, "never"))))
    with ledger.storage.read() as view:
        assert has_news(view, again.state, survey(view))


def test_every_64th_checkpoint_is_full() -> None:
    ledger = ledger_with_people()
    for number in range(2 * FULL_EVERY + 3):
        write(ledger, OFFICER, record(number))
        attest(ledger)
    with ledger.storage.read() as view:
        fulls = [number for number, one in enumerate(stated(view, NODE.public)) if one.whole.full]
    assert fulls == [0, FULL_EVERY, 2 * FULL_EVERY]


def test_a_state_that_is_not_held_has_no_root() -> None:
    ledger = ledger_with_people()
    write(ledger, OFFICER, record(1))
    attest(ledger)
    behind = ledger_with_people()
    with ledger.storage.read() as view, behind.storage.read() as other:
        mine = latest(view, NODE.public)
        assert mine is not None
        assert Ranges().ledger_root(other, mine.state) is None
        assert latest(other, NODE.public) is None
        assert list(stated(other, OFFICER.public)) == []


def test_checkpoint_in_parts_is_read_back_whole() -> None:
    """A node with more logs than fit in one entry: written by hand, since such a ledger takes minutes to make."""
    ledger = ledger_with_people()
    write(ledger, OFFICER, record(1))
    heads = survey_of(ledger)
    many = sorted(
        [*heads, *(Attested(key_of(NAME, str(n)).public, 1, EntryId(b"\1" * 32)) for n in range(CHECKPOINT_HEADS_MAX))]
    )
    bodies = draft(NODE, ledger.network_id, ledger.root(), many, None)
    assert len(bodies) == 2
    write(ledger, NODE, *(("checkpoint", body) for body in bodies))
    attest(ledger, full=False)
    with ledger.storage.read() as view:
        whole = list(stated(view, NODE.public))
        assert [one.seq for one in whole] == [1, 3]  # that all those logs are gone takes two as well
        last = latest(view, NODE.public)
        assert last is not None
        assert last.state.keys() == {head.key for head in survey_of(ledger)}
        first = latest(view, NODE.public, 2)
        assert first is not None
        assert len(first.state) == len(many)
    assert Chain().take(1, bodies[1])[0] is None
