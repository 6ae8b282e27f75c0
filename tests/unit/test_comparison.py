"""What checkpoints tell: agrees, differs, held back, parts, malformed; the same however the entries came."""

from itertools import permutations
from pathlib import Path
from random import Random

import pytest

from ledger.attest import Ranges
from ledger.comparison import _PASS
from protocol.acts import Revoke, encode_act
from protocol.checkpoint import Attested, Checkpoint, encode_checkpoint, parse_checkpoint
from sim.founding import key_of
from sim.model import naive_root
from tests.attesting import NAME, NODES, OFFICERS, START_MS, Witness, part, record
from tests.ledgers import ids_of


@pytest.fixture
def here(tmp_path: Path) -> Witness:
    return Witness.found(tmp_path, 0)


@pytest.fixture
def other(tmp_path: Path) -> Witness:
    return Witness.found(tmp_path, 1)


def test_checkpoint_of_what_is_held_agrees(here: Witness, other: Witness) -> None:
    run = other.write(OFFICERS[0], [("record", record("one"))])
    here.admit(run, other.attest())
    here.compare()
    assert here.verdicts(1) == ["agrees"]


def test_checkpoint_waits_for_what_it_attests_and_agrees_once_that_came(here: Witness, other: Witness) -> None:
    runs = [other.write(OFFICERS[n], [("record", record(f"{n} {k}")) for k in range(3)]) for n in range(3)]
    first, second = other.attest(), other.attest()
    here.admit(first, second)
    here.compare()
    assert here.verdicts(1) == [None, None]
    for run in runs:
        here.admit(run)
        here.compare()
        assert here.verdicts(1) == ([None, None] if run is not runs[-1] else ["agrees", "agrees"])


def test_other_root_differs_and_the_root_here_is_kept(here: Witness, other: Witness) -> None:
    run = other.write(OFFICERS[0], [("record", record("one"))])
    right = here.ledger.root()
    here.admit(run, other.attest(root=bytes(32)), other.attest())
    here.compare()
    assert here.verdicts(1) == ["differs", "agrees"]
    with here.projection.connection() as db:
        (found,) = db.execute("SELECT here FROM checkpoints WHERE verdict = 'differs'").fetchone()
    assert found not in (right, bytes(32))


def test_verdicts_are_the_same_in_any_order_of_arrival(tmp_path: Path) -> None:
    source = Witness.found(tmp_path, 1)
    runs = []
    for step in range(3):
        runs.append(source.write(OFFICERS[step], [("record", record(f"{step} {k}")) for k in range(step + 1)]))
        runs.append(source.attest(root=bytes(32) if step == 1 else None))
    outcomes = []
    for order in permutations(range(3)):
        here = Witness.found(tmp_path, 0)
        here.admit(*runs[1::2])
        for at in order:
            here.compare()
            here.admit(runs[2 * at])
        here.compare()
        outcomes.append(here.rows())
    assert outcomes[0][0]
    assert all(outcome == outcomes[0] for outcome in outcomes)
    anew = Witness.found(tmp_path, 0)
    anew.admit(*runs)
    anew.compare()
    assert anew.rows() == outcomes[0]


def test_index_made_anew_says_the_same(here: Witness, other: Witness) -> None:
    here.admit(other.write(OFFICERS[0], [("record", record("one"))]), other.attest(), other.attest(root=bytes(32)))
    here.compare()
    before = here.rows()
    here.projection.start_again()
    here.compare()
    assert here.rows() == before


def test_more_checkpoints_than_one_pass_takes(here: Witness, other: Witness) -> None:
    runs = []
    for number in range(_PASS + 40):
        runs.append(other.write(OFFICERS[number % 3], [("record", record(str(number)))]))
        runs.append(other.attest())
    here.admit(*runs[1::2])
    here.compare()
    assert here.verdicts(1) == [None] * (_PASS + 40)
    here.admit(*runs[0::2])
    here.compare()
    assert here.verdicts(1) == ["agrees"] * (_PASS + 40)


def test_malformed_checkpoint_has_no_state_and_the_next_goes_by_the_one_before(here: Witness, other: Witness) -> None:
    first = other.attest()
    note = parse_checkpoint(other.ledger.log_entries(NODES[1].public)[0].entry.body or b"").note
    heads = (Attested(OFFICERS[0].public, 5, ids_of(first)[0]),)
    wrong = encode_checkpoint(Checkpoint(bytes(32), 40, 40, heads, full=False, rest=0, note=note))
    here.admit(first, other.write(other.key, [("checkpoint", wrong), ("checkpoint", b"\xc0")]))
    here.admit(other.write(OFFICERS[0], [("record", record("one"))]), other.attest())
    here.compare()
    assert here.verdicts(1) == ["agrees", "malformed", "malformed", "agrees"]


def test_parts_left_incomplete_are_malformed_and_the_next_is_whole(here: Witness, other: Witness) -> None:
    here.admit(other.attest())
    root = bytes(32)
    half = encode_checkpoint(Checkpoint(root, 5, 5, (), full=False, rest=1, note=bytes(64)))  # type: ignore[arg-type]
    here.admit(other.write(other.key, [("checkpoint", half)]))
    here.compare()
    assert here.verdicts(1) == ["agrees"]
    here.admit(other.attest())
    here.compare()
    assert here.verdicts(1) == ["agrees", "malformed", "agrees"]


def test_note_that_does_not_hold_is_a_fault_and_the_checkpoint_counts(here: Witness, other: Witness) -> None:
    other.attest()
    said = parse_checkpoint(other.ledger.log_entries(NODES[1].public)[0].entry.body or b"")
    spoiled = Witness.found(here.projection._path.parent, 1)
    body = encode_checkpoint(
        Checkpoint(said.root, said.logs, said.entries, said.heads, said.full, said.rest, bytes(64))  # type: ignore[arg-type]
    )
    here.admit(spoiled.write(spoiled.key, [("checkpoint", body)]))
    here.compare()
    assert here.verdicts(1) == ["agrees"]
    with here.projection.connection() as db:
        assert db.execute("SELECT fault FROM checkpoints").fetchall() == [("its note is not signed by it",)]


def test_checkpoints_after_a_cutoff_are_taken_back_and_keep_when_they_were_seen(here: Witness, other: Witness) -> None:
    here.admit(other.attest(), other.write(OFFICERS[0], [("record", record("one"))]), other.attest())
    here.compare()
    here.now_ms += 60_000
    root = key_of(NAME, "ncdc")
    last = other.ledger.log_entries(NODES[1].public)[0].entry
    act = encode_act(Revoke(NODES[1].public, last.seq, last.id, "stolen"))
    here.write(root, [("act", act)])
    here.compare()
    assert here.verdicts(1) == ["agrees"]
    with here.projection.connection() as db:
        assert db.execute("SELECT seen_ms FROM checkpoints").fetchall() == [(START_MS,)]


def test_other_branch_of_a_log_parts_and_agrees_once_that_branch_is_endorsed(here: Witness, other: Witness) -> None:
    trunk = other.write(OFFICERS[0], [("record", record("trunk"))])
    here.admit(trunk)
    mine = here.write(OFFICERS[0], [("record", record("branch a"))])
    theirs = other.write(OFFICERS[0], [("record", record("branch b"))])
    here.admit(other.attest())
    here.compare()
    assert here.verdicts(1) == ["parts"]
    here.admit(theirs)
    here.compare()
    assert here.verdicts(1) == ["parts"]
    assert here.ledger.forks()
    cutoff = Revoke(OFFICERS[0].public, 1, ids_of(theirs)[0], "forked")
    here.write(key_of(NAME, "mia"), [("act", encode_act(cutoff))])
    here.admit(theirs)
    here.compare()
    assert here.verdicts(1) == ["agrees"]
    assert mine.seq == theirs.seq


def test_log_that_counts_no_more_leaves_the_state(here: Witness, other: Witness) -> None:
    run = other.write(OFFICERS[1], [("record", record(str(n))) for n in range(4)])
    first = other.attest()
    revoke = other.write(key_of(NAME, "ncdc"), [("act", encode_act(Revoke(OFFICERS[1].public, 0, None, "")))])
    second = other.attest()
    here.admit(part(run, 0, 2), first, revoke, second)
    here.compare()
    assert here.verdicts(1) == [None, "agrees"]  # what is void by now is never sent here


def test_own_checkpoints_are_followed_too(here: Witness) -> None:
    here.attest()
    here.write(OFFICERS[0], [("record", record("one"))])
    here.attest()
    here.compare()
    assert here.verdicts(0) == ["agrees", "agrees"]


def test_state_reaches_over_full_checkpoints(here: Witness, other: Witness) -> None:
    runs = [other.write(OFFICERS[0], [("record", record("one"))]), other.attest()]
    runs += [other.attest(full=True), other.write(OFFICERS[1], [("record", record("two"))]), other.attest(full=True)]
    here.admit(*runs)
    here.compare()
    assert here.verdicts(1) == ["agrees"] * 3
    with here.projection.connection() as db:
        (rows,) = db.execute("SELECT count(*) FROM attested WHERE log = ?", (OFFICERS[0].public,)).fetchone()
    assert rows == 1  # what a full one repeats is no change


def test_log_roots_are_right_at_sizes_in_any_order(here: Witness) -> None:
    here.write(OFFICERS[0], [("record", record(str(number))) for number in range(70)])
    ids, key, rng = here.written, OFFICERS[0].public, Random(1)
    ranges = Ranges()
    with here.ledger.storage.read() as view:
        for _ in range(500):
            size = rng.randint(1, len(ids))
            assert ranges.log_root(view, key, size, ids[size - 1]) == naive_root(list(ids[:size]))
        assert ranges.log_root(view, key, 71, ids[-1]) is None
        assert ranges.log_root(view, key, 5, ids[5]) is None
