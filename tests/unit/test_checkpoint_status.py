"""What `hamkor status` says of checkpoints, and what nodes at rest write: nothing."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from node.attested import Attested
from node.attesting import draft_alarms, draft_checkpoint, is_due, last_ms
from node.clock import wall_ms
from node.commands.checkpoints import BEHIND_MS, HELD_BACK_MS, status_rows
from node.words import use
from protocol.acts import Revoke, encode_act
from protocol.body import encode_step, parse_alarm
from protocol.checkpoint import parse_checkpoint
from protocol.entry import Place
from protocol.frame import Run, sign_run
from sim.founding import key_of
from tests.attesting import NAME, NODES, OFFICERS, START_MS, Witness, part, record


@pytest.fixture(autouse=True)
def in_english() -> None:
    use("en")


@pytest.fixture
def three(tmp_path: Path) -> list[Witness]:
    return [Witness.found(tmp_path, number) for number in range(3)]


def seen(witness: Witness) -> dict[str, Any]:
    """How a node sees all nodes, by name."""
    witness.compare()
    found: Any = Attested(witness.ledger, witness.projection, witness.key.public).status()
    return {row["name"]: row for row in found["nodes"]}


def labels(witness: Witness) -> list[str]:
    """The first words of the lines of `status`."""
    witness.compare()
    found = Attested(witness.ledger, witness.projection, witness.key.public).status()
    return [label for label, _ in status_rows({"checkpoints": found})]


def spread(run: Run, witnesses: list[Witness]) -> None:
    """Hand a run to those who lack it."""
    for witness in witnesses:
        if witness.ledger.heads.get(run.key).size < run.end:
            witness.admit(run)


def rounds(witnesses: list[Witness]) -> Iterator[int]:
    """Let those who have something to attest do so, round by round; how many did."""
    while due := [witness for witness in witnesses if is_due(witness.ledger, witness.key.public)]:
        for witness in due:
            drafts = draft_checkpoint(witness.ledger, witness.key)
            spread(witness.write(witness.key, [(kind, body) for kind, body, _ in drafts]), witnesses)
        yield len(due)


def test_network_at_rest_falls_silent(three: list[Witness]) -> None:
    assert list(rounds(three)) == [3]
    assert list(rounds(three)) == []
    spread(three[0].write(OFFICERS[0], [("record", record("one"))]), three)
    assert list(rounds(three)) == [3]
    assert [draft_checkpoint(witness.ledger, witness.key) for witness in three] == [[], [], []]


def test_what_ceases_to_count_is_attested(three: list[Witness]) -> None:
    spread(three[0].write(OFFICERS[1], [("record", record("one"))]), three)
    assert list(rounds(three)) == [3]
    one = three[0]
    theirs = one.ledger.log_entries(OFFICERS[1].public)[0].entry
    one.admit(_other(three[0], theirs.time_ms))  # a fork is proved: nothing that counts has come
    assert one.ledger.log(OFFICERS[1].public).size == 0  # type: ignore[union-attr]
    assert is_due(one.ledger, one.key.public)


def _other(witness: Witness, time_ms: int) -> Run:
    """Another first entry of officer 1."""
    place = Place(OFFICERS[1].public, 0, None)
    return sign_run(
        OFFICERS[1], witness.ledger.network_id, place, [("record", record("two"), ())], time_ms
    )[0]  # fmt: skip


def test_every_64th_checkpoint_at_the_latest_is_full(three: list[Witness]) -> None:
    one = three[0]
    full = []
    for number in range(150):
        one.write(OFFICERS[0], [("record", record(str(number)))])
        ((kind, body, refs),) = draft_checkpoint(one.ledger, one.key)
        one.write(one.key, [(kind, body)])
        full += [number] if parse_checkpoint(body).full else []
        assert refs == ()
    assert full[0] == 0
    assert max(after - before for before, after in pairwise(full)) == 64
    one.compare()
    assert set(one.verdicts(0)) == {"agrees"}
    assert last_ms(one.ledger, one.key.public) == START_MS


def test_node_without_a_certificate_or_with_an_ended_one_attests_nothing(three: list[Witness]) -> None:
    one = three[0]
    assert not is_due(one.ledger, key_of(NAME, "stranger").public)
    one.write(key_of(NAME, "mia"), [("act", encode_act(Revoke(NODES[0].public, 0, None, "lost")))])
    assert not is_due(one.ledger, one.key.public)


def test_alarm_is_raised_once_by_each_node_and_again_after_the_index_was_lost(three: list[Witness]) -> None:
    one, two, liar = three
    lie = liar.attest(root=bytes(32))
    for witness in (one, two):
        witness.admit(lie)
        witness.compare()
        ((kind, body, refs),) = draft_alarms(witness.ledger, witness.projection, witness.key.public)
        assert (kind, refs, parse_alarm(body).checkpoint) == ("alarm", (liar.written[-1],), liar.written[-1])
        assert parse_alarm(body).root not in (bytes(32), witness.ledger.root())
        run = witness.write(witness.key, [(kind, body)])
        spread(run, [one, two])
    for witness in (one, two):
        witness.projection.start_again()
        witness.compare()
        assert draft_alarms(witness.ledger, witness.projection, witness.key.public) == []
        assert labels(witness)[:3] == ["checkpoints", "ALARM", "ALARM"]
        assert "DIFFERS" in labels(witness)
    assert draft_alarms(liar.ledger, liar.projection, liar.key.public) == []  # it does not accuse itself


def test_one_line_while_all_agree(three: list[Witness]) -> None:
    assert list(rounds(three)) == [3]
    assert labels(three[0]) == ["checkpoints"]
    ((_, text),) = status_rows(
        {"checkpoints": Attested(three[0].ledger, three[0].projection, NODES[0].public).status()}
    )
    assert text.startswith("2 of 2 other nodes agree")


def test_held_back_is_named_when_it_has_lasted_a_minute(three: list[Witness]) -> None:
    one, two, _ = three
    list(rounds(three))
    unseen = two.write(OFFICERS[2], [("record", record(str(number))) for number in range(5)])
    one.now_ms = wall_ms()
    one.admit(part(unseen, 0, 2), two.attest())
    row = seen(one)["node-1"]
    assert row["checkpoint"]["verdict"] is None
    assert row["held_back"]["entries"] == 3
    assert [(log["name"], log["entries"]) for log in row["held_back"]["logs"]] == [("officer-2", 3)]
    assert "HELD BACK" not in labels(one)
    with one.projection.connection() as db:
        db.execute("UPDATE checkpoints SET seen_ms = ?", (wall_ms() - 2 * HELD_BACK_MS,))
    assert "HELD BACK" in labels(one)
    one.admit(part(unseen, 2, 5))
    assert seen(one)["node-1"]["held_back"] == {"entries": 0, "since_ms": None, "logs": []}


def test_what_would_not_be_taken_here_is_not_held_back(three: list[Witness]) -> None:
    one, two, _ = three
    run = two.write(OFFICERS[2], [("record", record(str(number))) for number in range(5)])
    one.admit(part(run, 0, 2))
    cutoff = Revoke(OFFICERS[2].public, 1, one.ledger.ids_at(OFFICERS[2].public, [1])[0][1], "stolen")
    one.write(key_of(NAME, "scc"), [("act", encode_act(cutoff))])
    one.admit(two.attest())
    assert seen(one)["node-1"]["held_back"]["entries"] == 0


def test_behind_counts_what_a_node_has_not_attested_and_leaves_checkpoints_out(three: list[Witness]) -> None:
    one, two, _ = three
    list(rounds(three))
    assert [row["behind"]["entries"] for row in seen(one).values()] == [0, 0, 0]
    one.now_ms = START_MS + 5
    one.write(OFFICERS[0], [("record", record("old")), ("record", record("older"))])
    one.attest()
    assert seen(one)["node-1"]["behind"] == {"entries": 2, "since_ms": START_MS + 5}
    assert wall_ms() - START_MS > BEHIND_MS
    assert labels(one).count("behind") == 2
    assert two.ledger.heads.get(OFFICERS[0].public).size == 0


# -- receipts -----------------------------------------------------------------------------------------


def receipts(witness: Witness, known: bytes, *, every: bool = False) -> Any:
    """The rows of `hamkor receipts`."""
    witness.compare()
    asked = Attested(witness.ledger, witness.projection, witness.key.public)
    return asked.receipts({"prefix": known.hex(), "all": every})


def test_receipt_is_the_first_checkpoint_whose_state_has_the_entry(three: list[Witness]) -> None:
    one, two, _ = three
    before = two.attest()
    run = two.write(OFFICERS[0], [("record", record("one")), ("record", record("two"))])
    first, known = two.attest(), two.written[1:3]
    checkpoint = two.written[-1]
    one.admit(before, run, first, two.attest(full=True), two.write(OFFICERS[0], [("record", record("three"))]))
    one.admit(two.attest())
    for entry in known:
        (row,) = receipts(one, entry)
        found = {node["name"]: node["checkpoint"] for node in row["nodes"]}
        assert found["node-1"]["id"] == checkpoint.hex()
        assert found["node-1"]["verdict"] == "agrees"
        assert (found["node-0"], found["node-2"]) == (None, None)


def test_receipts_of_steps_are_told_apart(three: list[Witness]) -> None:
    one = three[0]
    one.write(OFFICERS[0], [("record", record("one"))])
    known = one.written[-1]
    one.attest()
    first = one.written[-1]
    one.write(OFFICERS[0], [("step", encode_step(known, "comment", {"text": "late"}))])
    one.attest()
    second = one.written[-1]
    rows = receipts(one, known, every=True)
    assert [row["nodes"][0]["checkpoint"]["id"] for row in rows] == [first.hex(), second.hex()]
    assert len(receipts(one, known)) == 1
    assert receipts(one, bytes(32)) is None


def test_checkpoint_over_another_branch_is_no_receipt(three: list[Witness]) -> None:
    one, two, _ = three
    one.write(OFFICERS[0], [("record", record("mine"))])
    known = one.written[-1]
    two.write(OFFICERS[0], [("record", record("theirs"))])
    one.admit(two.attest())
    (row,) = receipts(one, known)
    assert [node["checkpoint"] for node in row["nodes"]] == [None, None, None]
