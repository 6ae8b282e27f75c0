"""Who reads marked records says what for, and it is in the node's log: exactly once, whatever happens to the node."""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.lmdb_store import open_lmdb
from ledger.store import load
from protocol.body import parse_consultation
from tests.cluster import until
from tests.live.test_officer import SEIZURE, Office

pytestmark = pytest.mark.live
SECRET_PLACE = "Hidden yard 17"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("consulted"))
    made.cluster.start()
    yield made
    made.cluster.stop()


@pytest.fixture(scope="module")
def marked(office: Office) -> str:
    """The id of a marked record that both nodes hold."""
    found = office.write(0, *SEIZURE, f"place={SECRET_PLACE}", "handling.tlp=AMBER", by=0)
    office.write(0, *SEIZURE, "place=Open road", by=0)
    until(office.cluster.converged, 20, "both hold it")
    return found


def readings(office: Office, at: int, about: str = "") -> list[dict[str, Any]]:
    """What `hamkor consultations` says, once nothing waits."""

    def settled() -> bool:
        return not json.loads(office.run(at, "consultations", "--json")[1])["pending"]

    until(settled, 20, "the journal is empty")
    rows: list[dict[str, Any]] = json.loads(office.run(at, "consultations", *([about] if about else []), "--json")[1])[
        "rows"
    ]
    return rows


ONE = [("show",), ("history",)]
MANY = [
    ("find", "heroin"), ("find", "heroin", "--json"), ("log", "--limit", "50"), ("log", "--limit", "50", "--json"),
    ("conflicts",), ("conflicts", "--json"),
]  # fmt: skip


@pytest.mark.parametrize("words", ONE)
def test_one_marked_record_is_not_shown_without_a_purpose(office: Office, marked: str, words: tuple[str, ...]) -> None:
    before = len(readings(office, 0, marked))
    status, out, err = office.run(0, *words, marked)
    assert (status, out) == (2, "")
    assert "AMBER" in err
    assert "--why" in err
    assert len(readings(office, 0, marked)) == before


@pytest.mark.parametrize("words", MANY)
def test_lists_show_that_a_marked_record_is_there_and_not_what_it_says(
    office: Office, marked: str, words: tuple[str, ...]
) -> None:
    before = len(readings(office, 0, marked))
    out = office.run(0, *words)[1]
    assert SECRET_PLACE not in out
    if words[0] != "conflicts":
        assert marked[:7] in out
        assert "AMBER" in out
        assert "Open road" in out
    assert len(readings(office, 0, marked)) == before


@pytest.mark.parametrize("words", [("show", "ID"), ("history", "ID"), ("find", "heroin"), ("log", "--limit", "50")])
def test_with_a_purpose_it_is_shown_and_one_entry_says_who_read_it_and_why(
    office: Office, marked: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAMKOR_KEY", str(office.keys[2]))
    before = len(readings(office, 0, marked))
    typed = [marked if word == "ID" else word for word in words]
    assert SECRET_PLACE in office.ok(0, *typed, "--why", f"case 7, {words[0]}")
    rows = readings(office, 0, marked)
    assert len(rows) == before + 1
    assert rows[0]["why"] == f"case 7, {words[0]}"
    assert rows[0]["command"] == words[0]
    assert rows[0]["officer"]["name"] == "officer 2"
    assert rows[0]["node"]["name"] == "node-0"
    assert [record["id"] for record in rows[0]["records"]] == [marked]


def test_purpose_may_stand_in_the_environment_and_other_nodes_hear_of_the_reading(
    office: Office, marked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAMKOR_WHY", "patrol 3")
    assert SECRET_PLACE in office.ok(0, "show", marked)
    until(office.cluster.converged, 20, "both hold it")
    until(lambda: bool(readings(office, 1, marked)), 20, "it is indexed")
    assert readings(office, 1, marked)[0]["why"] == "patrol 3"
    shown = office.ok(1, "consultations", marked[:8])
    assert "patrol 3" in shown
    assert "mia/node-0" in shown
    assert office.run(1, "consultations", "officer 3")[0] == 1


def test_statistics_and_ids_tell_no_content_and_are_not_written_down(office: Office, marked: str) -> None:
    before = len(readings(office, 0))
    assert office.json(0, "stats")["rows"]
    assert marked in office.ok(0, "find", "heroin", "--format", "ids", "--why", "only ids")
    assert len(readings(office, 0)) == before


def test_record_marked_later_is_marked_and_one_marked_no_longer_is_not(office: Office) -> None:
    record = office.write(0, *SEIZURE, "place=Later", by=0)
    assert "Later" in office.ok(0, "show", record)
    office.ok(0, "amend", record, 'handling:={"codes":["H1"]}', by=0)
    assert "H1" in office.run(0, "show", record)[2]
    assert "Later" not in office.run(0, "log", "--limit", "50")[1]
    office.ok(0, "amend", record, "--unset", "handling", by=0)
    assert "Later" in office.ok(0, "show", record)


def test_table_leaves_content_out_until_a_purpose_is_given(office: Office, marked: str, tmp_path: Path) -> None:
    for form in ("csv", "jsonl", "geojson"):
        office.run(0, "export", tmp_path / form, "heroin", "--format", form)
        assert SECRET_PLACE not in (tmp_path / form).read_text()
    with (tmp_path / "csv").open(newline="") as file:
        assert {row["id"]: row["marked"] for row in csv.DictReader(file)}[marked] == "AMBER"
    before = len(readings(office, 0, marked))
    office.ok(0, "export", tmp_path / "full", "heroin", "--format", "jsonl", "--why", "for the court")
    assert SECRET_PLACE in (tmp_path / "full").read_text()
    rows = readings(office, 0, marked)
    assert (len(rows), rows[0]["command"], rows[0]["why"]) == (before + 1, "export", "for the court")


def test_page_leaves_content_out_until_a_purpose_is_given(office: Office, marked: str, tmp_path: Path) -> None:
    office.ok(0, "report", "heroin", "-o", tmp_path / "page.html")
    assert SECRET_PLACE not in (tmp_path / "page.html").read_text()
    office.ok(0, "report", "heroin", "-o", tmp_path / "page.html", "--why", "weekly")
    assert SECRET_PLACE in (tmp_path / "page.html").read_text()
    assert readings(office, 0, marked)[0]["command"] == "report"


def test_boards_leave_content_out_until_a_purpose_is_given(office: Office) -> None:
    office.ok(0, "rfi", "new", "--to", "unit-1", "Who owns the yard?", "--key", office.keys[0], by=0)
    question = office.write(0, "add", "rfi", "to=unit-1", "urgency=normal", "question=Who is the secret source?",
                            "handling.tlp=RED", by=0)  # fmt: skip
    assert "Who owns the yard?" in office.ok(0, "rfi", "list")
    assert "secret source" not in office.ok(0, "rfi", "list") + office.ok(0, "rfi", "list", "--json")
    assert "secret source" in office.ok(0, "rfi", "list", "--why", "duty")
    assert readings(office, 0, question)[0]["command"] == "rfi list"


def test_what_a_stolen_key_signed_is_told_without_the_content_of_marked_records(office: Office, marked: str) -> None:
    for words in (("stolen", "officer 0"), ("stolen", "officer 0", "--json")):
        out = office.ok(0, *words)
        assert marked[:7] in out
        assert SECRET_PLACE not in out
    assert SECRET_PLACE in office.ok(0, "stolen", "officer 0", "--why", "laptop gone")
    assert readings(office, 0, marked)[0]["command"] == "stolen"


def test_editor_shows_a_marked_record_for_a_purpose_only(
    office: Office, marked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", "false")
    assert "--why" in office.run(0, "amend", marked, "--edit", by=0)[2]
    before = len(readings(office, 0, marked))
    office.run(0, "amend", marked, "--edit", "--why", "a slip of the pen", by=0)
    rows = readings(office, 0, marked)
    assert (len(rows), rows[0]["command"]) == (before + 1, "amend")


def test_words_that_cannot_be_written_down_are_refused_and_nothing_is_shown(office: Office, marked: str) -> None:
    for why in ("x" * 2001, "a\u202eb"):
        status, out, err = office.run(0, "show", marked, "--why", why)
        assert (status, out) == (2, "")
        assert "purpose" in err


def test_each_reading_is_one_entry_though_the_node_is_killed_at_once(office: Office, marked: str) -> None:
    node = office.nodes[0]
    for number in range(4):
        assert SECRET_PLACE in office.ok(0, "show", marked, "--why", f"before kill {number}")
        node.kill()
        if number % 2:
            assert SECRET_PLACE in office.ok(0, "show", marked, "--why", f"while stopped {number}")
            waiting = json.loads(office.ok(0, "consultations", marked, "--json"))["pending"]
            assert waiting[-1]["why"] == f"while stopped {number}"
        office.cluster.start([node])
    said = [row["why"] for row in readings(office, 0, marked)]
    for number in range(4):
        assert said.count(f"before kill {number}") == 1
        assert said.count(f"while stopped {number}") == number % 2
    assert not node.home.journal_path.exists()


def test_many_records_read_at_once_are_named_500_an_entry(office: Office, tmp_path: Path) -> None:
    lines = tmp_path / "many.jsonl"
    fields = {"seized_at": "2026-03-14T22:40:00+05:00", "region": "UZ-QA", "items": [], "handling": {"codes": ["H0"]}}
    fields["items"] = [{"substance": "opium", "form": "powder", "amount": "1", "unit": "g"}]
    lines.write_text("".join(json.dumps(fields | {"place": f"yard {at}"}) + "\n" for at in range(501)))
    office.ok(0, "add", "seizure", "--file", lines, by=0)
    found = office.json(0, "find", "opium", "--limit", "1000")["hits"]
    assert len([hit for hit in found if hit.get("masked")]) == 501
    office.ok(0, "find", "opium", "--limit", "1000", "--why", "all of them")
    rows = [row for row in readings(office, 0) if row["why"] == "all of them"]
    assert sorted(len(row["records"]) for row in rows) == [1, 500]


def test_entries_are_what_the_list_says(office: Office, marked: str) -> None:
    rows = readings(office, 0, marked)
    office.nodes[0].stop()
    with closing(open_lmdb(office.nodes[0].home.store_path, readonly=True)) as storage:
        ledger = load(storage)
        for row in rows:
            entry = ledger.entry(bytes.fromhex(row["id"]))
            assert entry is not None
            read = parse_consultation(entry.body or b"")
            assert (entry.key, entry.kind) == (office.nodes[0].key.public, "consultation")
            assert (read.why, read.command, read.user) == (row["why"], row["command"], row["user"])
            assert bytes.fromhex(marked) in read.records
    assert os.environ.get("HAMKOR_WHY") is None
