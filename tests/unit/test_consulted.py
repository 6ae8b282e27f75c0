"""The journal of consultations: each line becomes exactly one entry, whatever dies when; what is damaged is told."""

from pathlib import Path
from random import Random

import pytest

from keys.errors import LocalError
from keys.signing import SigningKey
from ledger.handling import mark
from ledger.store import Ledger, create
from node import consulted
from node.consulted import Journal, Noted
from node.masking import content_rows, hide, record_of
from protocol.acts import Certify, encode_act
from protocol.body import Consultation, encode_consultation, parse_consultation
from protocol.codec import Value
from protocol.entry import EntryId, Place
from protocol.frame import Run, sign_run
from sim.disk import MemoryStorage
from sim.founding import found, key_of

NAME = "consulted"
CHARTER = found(NAME)
NODE, NEXT = key_of(NAME, "node"), key_of(NAME, "next node")


def a_ledger() -> Ledger:
    ledger = create(MemoryStorage(), CHARTER)
    root = key_of(NAME, "scc")
    acts = [Certify(key.public, "node", "n", "scc", "", ()) for key in (NODE, NEXT)]
    drafts = [("act", encode_act(act), ()) for act in acts]
    run, _ = sign_run(root, ledger.network_id, Place(root.public, 0, None), drafts, 1)
    ledger.apply(ledger.commit([(run,)]))
    return ledger


def noted(number: int) -> Noted:
    return Noted(number, Consultation((EntryId(bytes([number]) * 32),), "show", None, "account", f"why {number}"))


class Node:
    """What the daemon does with the journal; it dies where it is told to."""

    def __init__(self, path: Path, ledger: Ledger, key: SigningKey = NODE) -> None:
        self.ledger = ledger
        self.key = key
        self.journal = Journal(path, ledger, key.public)
        self.signed: list[Run] = []  # in the mark: durable

    def write_next(self, dies: str = "") -> bool:
        """As `Driver._write_next_reading`: False where there is nothing left, or it died."""
        note = self.journal.next()
        if note is None:
            return False
        self._submit()
        if self.journal.next() != note:
            return True
        log = self.ledger.log(self.key.public)
        place = log.next if log is not None else Place(self.key.public, 0, None)
        drafts = [(consulted.KIND, encode_consultation(note.read), ())]
        time_ms = max(note.time_ms, log.time_ms if log is not None else 0)
        self.signed = [sign_run(self.key, self.ledger.network_id, place, drafts, time_ms)[0]]
        if dies == "signed":
            return False
        self._submit()
        return dies != "submitted"

    def _submit(self) -> None:
        for run in self.signed:
            result = self.ledger.commit([(run,)])
            assert result.outcomes[0].refused is None
            self.ledger.apply(result)

    def written(self) -> list[str]:
        entries = [item.entry for item in self.ledger.log_entries(self.key.public)]
        return [parse_consultation(entry.body or b"").why for entry in entries if entry.kind == consulted.KIND]


@pytest.mark.parametrize("seed", range(40))
def test_each_line_is_one_entry_wherever_the_node_dies(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    node = Node(tmp_path / "journal", a_ledger())
    added = 0
    for _ in range(30):
        if rng.random() < 0.4:
            count = rng.randint(1, 3)
            node.journal.add([noted(added + at) for at in range(count)])
            added += count
        else:
            node.write_next(rng.choice(["", "signed", "submitted"]))
        if rng.random() < 0.3:  # it starts anew, with what is on the disk
            signed, node = node.signed, Node(tmp_path / "journal", node.ledger)
            node.signed = signed
        waiting = [note.read.why for note in node.journal.pending()]
        assert node.written() + waiting == [f"why {at}" for at in range(added)]
    while node.write_next():
        continue
    assert node.written() == [f"why {at}" for at in range(added)]
    assert not (tmp_path / "journal").exists()


def test_journal_goes_on_under_a_new_key_of_the_node(tmp_path: Path) -> None:
    node = Node(tmp_path / "journal", a_ledger())
    node.journal.add([noted(at) for at in range(4)])
    node.write_next()
    renewed = Node(tmp_path / "journal", node.ledger, NEXT)
    assert [note.read.why for note in renewed.journal.pending()] == ["why 1", "why 2", "why 3"]
    renewed.write_next("submitted")
    renewed.journal.add([noted(4)])
    while renewed.write_next():
        continue
    assert (node.written(), renewed.written()) == (["why 0"], ["why 1", "why 2", "why 3", "why 4"])


def test_line_that_a_power_cut_left_in_part_is_no_line(tmp_path: Path) -> None:
    path, ledger = tmp_path / "journal", a_ledger()
    Journal(path, ledger, NODE.public).add([noted(0)])
    whole = path.stat().st_size
    Journal(path, ledger, NODE.public).add([noted(1)])
    raw = path.read_bytes()
    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        journal = Journal(path, ledger, NODE.public)
        expected = [noted(0)] if size >= whole else []
        assert journal.pending() == expected
        journal.add([noted(2)])
        assert journal.pending() == [*expected, noted(2)]


def test_damage_before_the_last_line_is_told_and_nothing_is_added(tmp_path: Path) -> None:
    path, ledger = tmp_path / "journal", a_ledger()
    journal = Journal(path, ledger, NODE.public)
    journal.add([noted(0), noted(1)])
    raw = path.read_bytes()
    last = raw.rstrip(b"\n").rfind(b"\n")
    for at in range(last):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        for act in (journal.pending, journal.next, lambda: journal.add([noted(2)])):
            with pytest.raises(LocalError, match="damaged"):
                act()


def test_journal_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consulted, "BYTES_MAX", 2000)
    journal = Journal(tmp_path / "journal", a_ledger(), NODE.public)
    with pytest.raises(LocalError, match="no room for more"):  # noqa: PT012  # one of them does not fit
        for at in range(20):
            journal.add([noted(at)])
    assert 0 < len(journal.pending()) < 20
    assert (tmp_path / "journal").stat().st_size <= 2000


def test_journal_that_cannot_be_written_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(LocalError, match="cannot be used"):
        Journal(tmp_path / "journal", a_ledger(), NODE.public).add([noted(0)])


# -- marks and masks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handlings", "expected"),
    [
        ([], ""),
        ([None], ""),
        ([{"tlp": "GREEN"}], ""),
        ([{"tlp": "CLEAR", "recipients": ["RED"]}], ""),
        ([{"tlp": "AMBER"}], "AMBER"),
        ([{"tlp": "AMBER+STRICT", "codes": ["H1"]}], "AMBER+STRICT H1"),
        ([{"tlp": "GREEN", "codes": ["H3", "H0"]}], "H0 H3"),
        ([{"tlp": "GREEN"}, {"tlp": "RED"}], "RED"),
        ([{"tlp": "AMBER"}, {"tlp": "RED", "codes": ["H2"]}], "RED H2"),
        (["RED", ["RED"], {"tlp": ["RED"]}, {"codes": "H1"}, {"codes": [["H1"], {}, 7]}], ""),
    ],
)
def test_mark_is_what_handling_names_above_green(handlings: list[Value], expected: str) -> None:
    assert mark(*handlings) == expected


def test_hidden_row_keeps_its_names_and_none_of_its_content() -> None:
    row: dict[str, Value] = {
        "id": "ab" * 32, "kind": "search", "type": "operation", "marked": "RED", "fields": {"a": "secret"},
        "tags": ["secret"], "summary": "secret", "conflicts": 3, "note": "secret", "author": {"name": "known"},
    }  # fmt: skip
    before = set(row)
    hide(row)
    assert set(row) == {*before, "masked"}
    assert "secret" not in str(row)
    assert (row["kind"], row["type"], row["author"], row["marked"]) == ("", "operation", {"name": "known"}, "RED")


def test_rows_of_every_answer_that_has_content_are_found() -> None:
    open_, kept = {"id": "aa" * 32, "marked": ""}, {"id": "bb" * 32, "record": "cc" * 32, "marked": "RED"}
    assert content_rows("show", kept) == content_rows("log", {"entries": [kept]}) == [kept]
    assert content_rows("find", {"hits": [open_, kept]}) == content_rows("conflicts", [open_, kept]) == [open_, kept]
    assert content_rows("show", None) == content_rows("stats", {"rows": [kept]}) == []
    assert (record_of(kept).hex(), record_of(open_).hex()) == ("cc" * 32, "aa" * 32)
