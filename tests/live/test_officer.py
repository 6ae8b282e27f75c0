"""What officers do, typed as they type it, on two real nodes with officers of two agencies."""

import contextlib
import csv
import io
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keys.errors import BusyError
from keys.keyfile import KeyOwner, create_key_file
from node.cli import main
from node.client import _Daemon
from node.submit import BATCH_MAX
from protocol.codec import Value
from protocol.frame import Run
from protocol.schema import type_names
from tests.cluster import CHEAP, Cluster, Node, until

pytestmark = pytest.mark.live
SECRET = b"secret"
ROOT = Path(__file__).parents[2]


class Office:
    """Two linked nodes; officer 0 is of mia at unit-0, officer 1 of scc at unit-1, officer 2 of mia at unit-0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = Cluster.found(folder, 2, 4, agencies=("mia", "scc"))
        self.keys = []
        for number, officer in enumerate(self.cluster.officers):
            agency = ("mia", "scc")[number % 2]
            path = folder / f"officer-{number}.key"
            owner = KeyOwner(officer.public, "officer", f"officer {number}", agency, f"unit-{number % 2}")
            create_key_file(path, officer, SECRET, owner, cost=CHEAP)
            self.keys.append(path)

    @property
    def nodes(self) -> list[Node]:
        return self.cluster.nodes

    def run(self, at: int, *words: object, by: int | None = None, lang: str = "en") -> tuple[int, str, str]:
        """Exit status and what is printed on both streams, of a command at a node, signed by an officer."""
        argv = ["--home", str(self.nodes[at].home.path), "--lang", lang, *map(str, words)]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            if by is not None:
                reading, writing = os.pipe()
                stack.callback(os.close, reading)
                os.write(writing, SECRET + b"\n")
                os.close(writing)
                argv += ["--key", str(self.keys[by]), "--passphrase-fd", str(reading)]
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            status = main(argv)
        return status, out.getvalue(), err.getvalue()

    def ok(self, at: int, *words: object, by: int | None = None, lang: str = "en") -> str:
        """What a command prints that must succeed."""
        status, out, err = self.run(at, *words, by=by, lang=lang)
        assert status == 0, (words, status, out, err)
        return out

    def json(self, at: int, *words: object, by: int | None = None) -> Any:
        """The JSON that a command prints that must succeed."""
        return json.loads(self.ok(at, *words, "--json", by=by))

    def write(self, at: int, *words: object, by: int) -> str:
        """The id of what a command has written."""
        ids = self.json(at, *words, by=by)["ids"]
        assert len(ids) == 1
        return str(ids[0])

    def both(self, what: str) -> None:
        """Wait until both nodes hold the entry and have it in their index."""
        until(lambda: all(self.run(at, "show", what)[0] == 0 for at in (0, 1)), 20, f"both hold {what[:10]}")
        until(self.cluster.converged, 20, "both hold the same")

    def indexed(self, at: int) -> None:
        """Wait until a node's index has all that it holds."""
        until(lambda: (found := self.json(at, "status"))["projected"] >= found["entries"], 60, "the index follows")

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """While the two nodes have no link."""
        self.ok(0, "offline")
        until(lambda: self.nodes[1].status()["peers"] == 0, 20, "apart")
        try:
            yield
        finally:
            self.ok(0, "online")
            until(lambda: all(node.status()["peers"] == 1 for node in self.nodes), 30, "together")
            until(self.cluster.converged, 20, "both hold the same")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    made.cluster.start()
    yield made
    made.cluster.stop()


SEIZURE = (
    "add", "seizure", "seized_at=2026-03-14 22:40", "region=UZ-SU", "items[0].substance=heroin",
    "items[0].form=powder", "items[0].amount=24.350", "items[0].unit=kg",
)  # fmt: skip


# -- types --------------------------------------------------------------------------------------------


def test_types_are_listed_and_a_type_shows_its_fields_and_codes(office: Office) -> None:
    listed = office.ok(0, "types")
    assert all(name in listed for name in type_names())
    shown = office.ok(0, "types", "seizure")
    assert "seized_at*" in shown
    assert "powder tablet crystal liquid plant blotter" in shown
    assert "hamkor step ID delay" in office.ok(0, "types", "rfi")
    status, _, err = office.run(0, "types", "seizures")
    assert (status, "the types are: alert, asset" in err) == (2, True)


@pytest.mark.parametrize("name", type_names())
def test_example_of_each_type_works_when_pasted(office: Office, name: str) -> None:
    line = next(line for line in office.ok(0, "types", name).splitlines() if line.startswith("  hamkor add "))
    words = shlex.split(line)
    shown = office.json(0, "show", office.write(0, *words[1:], by=0))
    assert (shown["type"], shown["status"]) == (name, "ok")


def test_all_that_is_wrong_is_named_at_once_with_what_is_allowed(office: Office) -> None:
    status, out, err = office.run(
        0, "add", "seizure", "seized_at=yesterday", "items[0].form=powdr", "regio=UZ-SU", "vehicles[0]=?", by=0
    )
    assert (status, out) == (2, "")
    for told in (
        "seized_at:", "region is missing", "items[0].form:", "powder, tablet, crystal", "items[0].substance is missing",
        "regio is no field of seizure", "vehicles[0]:", "nothing was written",
    ):  # fmt: skip
        assert told in err, told


def test_what_a_person_types_is_fitted_to_the_type(office: Office) -> None:
    record = office.write(
        0, "add", "seizure", "seized_at=2026-03-14 22:40", "region=Surxondaryo", "items[0].substance=героин",
        "items[0].form=POWDER", "items[0].amount=24,5", "items[0].unit=кг", "vehicles=01 а 777 вс, 10 B 123 AA", by=1,
    )  # fmt: skip
    fields = office.json(0, "show", record)["fields"]
    assert fields["seized_at"] == "2026-03-14T22:40:00+05:00"
    assert fields["region"] == "UZ-SU"
    assert fields["vehicles"] == ["01A777BC", "10B123AA"]
    assert fields["counting_agency"] == "scc"
    assert fields["items"] == [{
        "substance": "heroin", "form": "powder", "amount": "24.5", "unit": "kg", "mass_g": "24500",
        "mass_from": "amount in kg",
    }]  # fmt: skip


# -- records that merge -------------------------------------------------------------------------------


def test_two_teams_amend_one_field_apart_and_settle_it_on_one_node(office: Office) -> None:
    record = office.write(0, *SEIZURE, "place=Sariosiyo posti", by=0)
    office.both(record)
    with office.apart():
        office.ok(0, "amend", record, "place=Sariosiyo, 2-yo‘lak", by=0)
        office.ok(1, "amend", record, "place=Sariosiyo, 12-km", "items[0].amount=24.410", by=2)
    for at in (0, 1):
        shown = office.ok(at, "conflicts", record[:12])
        assert "Sariosiyo, 2-yo‘lak  (mia/unit-0 officer 0, " in shown
        assert "Sariosiyo, 12-km  (mia/unit-0 officer 2, " in shown
        assert "place: IN CONFLICT" in office.ok(at, "show", record)
        assert "[conflict]" in office.ok(at, "find", "status:conflict")
    number = 1 if office.json(0, "conflicts", record)[0]["conflicts"]["place"][0]["value"].endswith("yo‘lak") else 2
    settled = office.write(1, "conflicts", record, "--take", f"place={number}", by=0)
    office.both(settled)
    for at in (0, 1):
        assert office.run(at, "conflicts", record[:12])[0] == 1
        fields = office.json(at, "show", record)["fields"]
        assert fields["place"] == "Sariosiyo, 2-yo‘lak"
        assert fields["items"][0]["mass_g"] == "24410"
    history = office.ok(0, "history", record)
    assert history.count("place: Sariosiyo, 2-yo‘lak") == 2
    assert "replaces Sariosiyo, 12-km (mia/unit-0 officer 2, " in history
    assert "replaces Sariosiyo posti (mia/unit-0 officer 0, " in history


def test_another_agencys_amendment_is_a_proposal_until_it_is_accepted(office: Office) -> None:
    record = office.write(0, *SEIZURE, "concealment=baki", by=0)
    office.both(record)
    proposal = office.write(1, "amend", record, "concealment=zapas g‘ildirak", by=1)
    office.both(proposal)
    assert office.json(0, "show", record)["fields"]["concealment"] == "baki"
    assert "zapas g‘ildirak  (scc/unit-1 officer 1, " in office.ok(0, "show", record)
    assert office.run(1, "accept", proposal, by=1)[0] == 2  # only the originator's officers
    office.both(office.write(0, "accept", proposal[:12], by=2))
    for at in (0, 1):
        shown = office.json(at, "show", record)
        assert (shown["fields"]["concealment"], shown["proposals"]) == ("zapas g‘ildirak", [])
    declined = office.write(1, "amend", record, "concealment=qop", by=1)
    office.both(declined)
    office.both(office.write(0, "accept", record, "--decline", "not so", by=0))
    assert office.json(1, "show", record)["proposals"] == []
    assert office.json(1, "show", record)["fields"]["concealment"] == "zapas g‘ildirak"
    assert "this is a proposal" in office.run(1, "amend", record, "place=x", by=1)[2]


def test_comment_tag_link_and_retract(office: Office) -> None:
    record = office.write(0, *SEIZURE, by=0)
    case = office.write(0, "add", "case", "title=Ko‘prik", by=0)
    office.ok(0, "comment", record, "Two", "more", "packages", by=1)
    office.ok(0, "tag", record, "konvoyqizil", "unclear", by=0)
    office.ok(0, "tag", record, "--remove", "unclear", by=0)
    office.ok(0, "link", record, case[:10], "--relation", "part_of", by=0)
    shown = office.ok(0, "show", record)
    assert "Two more packages" in shown
    assert "tags: konvoyqizil" in shown
    assert "unclear" not in shown.split("tags:")[1].splitlines()[0]
    assert f"→ part_of {case[:12]} (mia)" in shown
    assert "← part_of" in office.ok(0, "show", case)
    assert office.ok(0, "find", "tag:konvoyqizil", "--format", "ids").split() == [record]
    office.ok(0, "retract", record, "entered", "twice", by=0)
    assert "retracted: entered twice" in office.ok(0, "show", record)
    assert "[retracted]" in office.ok(0, "find", "tag:konvoyqizil")
    office.ok(0, "retract", record, "--undo", by=0)
    assert office.json(0, "show", record)["retracted"] is None
    office.ok(0, "link", record, case, "--relation", "part_of", "--remove", by=0)
    assert office.json(0, "show", record)["links"] == []


def test_long_record_is_written_and_amended_in_an_editor(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(sys.argv[-1])\n"
        "text = path.read_text()\n"
        "assert '# * title' in text\n"
        "path.write_text(text.replace('\"title\": \"\"', '\"title\": \"Uzun\"').replace('Uzun', 'Uzun ish', 1)"
        " if 'Uzun' not in text else text.replace('Uzun ish', 'Uzunroq ish'))\n"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    record = office.write(0, "add", "case", "--edit", by=0)
    assert office.json(0, "show", record)["fields"]["title"] == "Uzun ish"
    office.ok(0, "amend", record, "--edit", by=0)
    assert office.json(0, "show", record)["fields"]["title"] == "Uzunroq ish"
    monkeypatch.setenv("EDITOR", "true")
    status, _, err = office.run(0, "amend", record, "--edit", by=0)
    assert (status, "nothing was changed; nothing was written" in err) == (3, True)
    monkeypatch.setenv("EDITOR", "false")
    assert "the editor ended with 1" in office.run(0, "add", "case", "--edit", by=0)[2]


def test_field_is_unset_and_nested_fields_are_changed_in_place(office: Office) -> None:
    record = office.write(0, *SEIZURE, "place=Denov", by=0)
    office.ok(0, "amend", record, "--unset", "place", "items[1].substance=opium", "items[1].form=plant",
              "items[1].amount=2", "items[1].unit=kg", by=0)  # fmt: skip
    fields = office.json(0, "show", record)["fields"]
    assert "place" not in fields
    assert [item["substance"] for item in fields["items"]] == ["heroin", "opium"]
    status, _, err = office.run(0, "amend", record, "--unset", "region", "items[0].form=x", by=0)
    assert (status, "region is missing" in err, "items[0].form" in err) == (2, True, True)


# -- files --------------------------------------------------------------------------------------------


def test_file_is_fetched_only_when_asked_resumed_after_a_cut_and_verified(office: Office, tmp_path: Path) -> None:
    record = office.write(0, "add", "case", "title=Foto", by=0)
    content = b"".join(index.to_bytes(4, "big") * 256 for index in range(2300)) + b"end"  # nine chunks of 256 KiB
    (tmp_path / "foto.jpg").write_bytes(content)
    office.both(office.write(0, "attach", record, tmp_path / "foto.jpg", by=0))
    assert f"foto.jpg ({len(content)} B, not fetched)" in office.ok(1, "show", record)
    assert not office.nodes[1].home.files_path.exists()
    with office.apart():
        status, _, err = office.run(1, "fetch", record, "-o", tmp_path, "--wait", "1")
        assert status == 1
        assert "not to be had now" in err
        assert "node-0 last heard" in err
    out = tmp_path / "out"
    out.mkdir()
    assert office.ok(1, "fetch", record, "-o", out) == "foto.jpg\n"
    assert (out / "foto.jpg").read_bytes() == content
    assert "foto.jpg" in office.ok(1, "show", record)
    assert "not fetched" not in office.ok(1, "show", record)
    assert "exists already" in office.run(1, "fetch", record, "-o", out)[2]
    (out / "foto.jpg").unlink()
    chunks = [path for path in office.nodes[1].home.files_path.rglob("*") if path.is_file()]
    max(chunks, key=lambda path: path.stat().st_size).write_bytes(b"damaged")
    assert "damaged here" in office.run(1, "fetch", record, "-o", out)[2]
    assert office.ok(1, "fetch", record, "-o", out) == "foto.jpg\n"  # the damaged part was dropped, and fetched again
    assert (out / "foto.jpg").read_bytes() == content


def test_small_files_come_by_themselves_where_the_settings_say_so(office: Office, tmp_path: Path) -> None:
    node = office.nodes[1]
    assert node.stop() == 0
    settings = node.home.path / "hamkor.toml"
    settings.write_text(settings.read_text().replace("fetch_kib_max = 0", "fetch_kib_max = 100"))
    office.cluster.start([node], linked=False)
    until(lambda: all(other.status()["peers"] == 1 for other in office.nodes), 30, "together again")
    record = office.write(0, "add", "case", "title=Siyosat", by=0)
    for name, size in (("small.txt", 50_000), ("large.txt", 200_000)):
        (tmp_path / name).write_bytes(name.encode() * (size // 9))
        office.both(office.write(0, "attach", record, tmp_path / name, by=0))

    def come() -> bool:
        files = office.json(1, "show", record)["files"]
        return {item["name"] for item in files if item["here"]} == {"small.txt"}

    until(come, 20, "the small file comes by itself")
    assert "large.txt (199998 B, not fetched)" in office.ok(1, "show", record)


def test_file_that_is_too_large_or_not_there_is_refused(office: Office, tmp_path: Path) -> None:
    record = office.write(0, "add", "case", "title=Katta", by=0)
    with (tmp_path / "big").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    assert "larger than 64 MiB" in office.run(0, "attach", record, tmp_path / "big", by=0)[2]
    assert "cannot be read" in office.run(0, "attach", record, tmp_path / "none", by=0)[2]


# -- workflows ----------------------------------------------------------------------------------------


def test_request_runs_on_its_clock_from_receipt_to_answer(office: Office) -> None:
    request = office.write(0, "rfi", "new", "--to", "unit-1", "--urgency", "urgent", "Whose", "truck?", by=0)
    until(lambda: "open" in office.ok(0, "rfi", "list"), 20, "node-1 says that it has it")
    line = next(line for line in office.ok(0, "rfi", "due").splitlines() if "Whose truck?" in line)
    assert "7 h 59 min left" in line
    office.both(office.write(1, "rfi", "ack", request, by=1))
    assert "acknowledged" in office.ok(0, "rfi", "due")
    office.both(office.write(1, "rfi", "delay", request, "--until", "+2d", "register", "closed", by=1))
    assert "1 d 23 h left" in office.ok(0, "rfi", "due")
    office.both(office.write(1, "rfi", "reply", request, "A.", "Karimov", by=1))
    assert "Whose truck?" not in office.ok(0, "rfi", "list").split("replied")[0].splitlines()[-1][:5]
    rows = office.json(0, "rfi", "list")["rows"]
    row = next(row for row in rows if row["id"] == request)
    assert (row["open"], row["units"][0]["state"]) == (False, "replied")
    assert request not in {row["id"] for row in office.json(0, "rfi", "due")["rows"]}
    assert request in office.ok(0, "find", "status:replied", "--format", "ids")


def test_overdue_request_is_named_and_a_refusal_closes_it(office: Office) -> None:
    request = office.write(0, "rfi", "new", "--to", "unit-1", "--due", "2026-01-01 10:00", "Late?", by=0)
    office.both(request)
    assert "OVERDUE by" in office.ok(0, "rfi", "due")
    assert request in office.ok(0, "find", "status:overdue", "--format", "ids")
    office.both(office.write(1, "rfi", "refuse", request, "not", "ours", by=1))
    assert request not in office.run(0, "find", "status:overdue", "--format", "ids")[1]


def test_alert_shows_how_far_it_has_come(office: Office) -> None:
    alert = office.write(0, "alert", "send", "--to", "unit-1", "--target", "01B204CA", "Stop", "it", by=0)

    def unit() -> dict[str, Any]:
        rows = office.json(0, "alert", "list")["rows"]
        found: dict[str, Any] = next(row for row in rows if row["id"] == alert)["units"][0]
        return found

    until(lambda: unit()["delivered_ms"] is not None, 20, "delivered")
    assert unit()["read_ms"] is None
    office.ok(1, "show", alert)
    until(lambda: unit()["read_ms"] is not None, 20, "read")
    assert unit()["acknowledged_ms"] is None
    office.both(office.write(1, "alert", "ack", alert, by=1))
    assert unit()["acknowledged_ms"] is not None
    assert "acknowledged" in office.ok(0, "alert", "list")
    update = office.write(0, "alert", "send", "--update", alert, "Two", "trucks", by=0)
    shown = office.json(0, "show", update)
    assert (shown["fields"]["kind"], shown["fields"]["to"]) == ("update", ["unit-1"])
    assert shown["links"] == [{"relation": "updates", "to": alert, "by": ["mia"]}]
    assert "← updates" in office.ok(0, "show", alert)


def test_procedure_names_who_has_not_acknowledged_it(office: Office) -> None:
    procedure = office.write(
        0,
        "sop",
        "publish",
        "--title",
        "Muhrlash",
        "--version-of",
        "2.1",
        "--from",
        "2026-04-01",
        "--to",
        "unit-1",
        by=0,
    )
    office.both(procedure)
    assert "acknowledged: 0; missing: officer" in office.ok(0, "sop", "list")
    office.both(office.write(1, "sop", "ack", procedure, by=1))
    row = next(row for row in office.json(0, "sop", "list")["rows"] if row["id"] == procedure)
    assert [item["name"] for item in row["acknowledged"]] == ["officer 1"]
    assert [item["name"] for item in row["missing"]] == ["officer 3"]


def test_exhibit_is_pending_until_taken_and_a_mass_difference_shows(office: Office) -> None:
    exhibit = office.write(0, "add", "evidence", "exhibit_no=E-1", "object=24 paket", "net_mass_g=24350", by=0)
    office.both(office.write(0, "evidence", "give", exhibit, "--to", "lab", "--seal", "A 1", "--mass", "24350", by=0))
    assert "pending: not taken yet" in office.ok(1, "evidence", "list")
    assert exhibit in office.ok(1, "find", "status:pending", "--format", "ids")
    status, _, err = office.run(1, "evidence", "take", exhibit, "--seal", "A 2", "--mass", "24348.5", by=1)
    assert status == 0
    assert "the mass differs by -1.5 g" in err
    until(lambda: "the seal differs" in office.ok(0, "evidence", "list"), 20, "taken")
    shown = office.ok(0, "evidence", "list")
    assert "the mass differs by -1.5 g" in shown
    assert "officer 0" in shown
    assert "officer 1" in shown
    assert "no handover is pending" in office.run(1, "evidence", "take", exhibit, "--seal", "A", "--mass", "1", by=1)[2]


def test_operations_that_meet_are_told_to_both_and_absence_is_unknown_while_a_node_is_not_heard(office: Office) -> None:
    window = ("--from", "2036-03-14 22:00", "--to", "2036-03-15 06:00", "--radius", "2000")
    status, _, err = office.run(0, "op", "add", "--kind", "search", "--at", "38.4147,67.9589", *window, by=0)
    assert status == 0
    assert "no operation known here meets another; every node is heard" in err
    until(lambda: office.run(1, "op", "list")[0] == 0, 20, "the operation is known to both")
    with office.apart():
        assert "UNKNOWN whether others meet these" in office.run(1, "op", "list")[2]
        assert "node-0 last heard 20" in office.run(1, "op", "list")[2]
        assert office.json(1, "op", "list")["answer"] == "unknown"
        office.ok(1, "op", "add", "--kind", "checkpoint", "--at", "38.43,67.96", *window, by=1)
    for at, other in ((0, "unit-1"), (1, "unit-0")):
        status, out, err = office.run(at, "op", "list")
        assert f"of {other} in place and time" in out
        assert "operations meet: talk to the other unit" in err
    far = office.run(0, "op", "add", "--kind", "search", "--at", "41.3,69.2", *window, "--unit", "unit-9", by=0)
    assert far[0] == 0
    assert office.json(0, "op", "list")["rows"][0]["meets"] == []
    turned = ("--from", "2036-03-15", "--to", "2036-03-14 06:00", "--radius", "2", "--at", "41,69", "--kind", "search")
    assert "RFC 3339" in office.run(0, "op", "add", *turned, by=0)[2]  # a day is no time
    turned = ("--from", "2036-03-15 10:00", *turned[2:])
    assert "ends before it begins" in office.run(0, "op", "add", *turned, by=0)[2]
    assert "LATITUDE,LONGITUDE" in office.run(0, "op", "add", "--kind", "search", "--at", "x", *window, by=0)[2]


def test_joint_seizure_is_counted_once_when_both_agencies_have_said_so(office: Office) -> None:
    words = ("add", "seizure", "seized_at=2031-05-05 10:00", "region=UZ-XO", "items[0].substance=opium",
             "items[0].form=plant", "items[0].amount=7.25", "items[0].unit=kg")  # fmt: skip
    ours, theirs = office.write(0, *words, by=0), office.write(0, *words, "counting_agency=mia", by=1)

    def stats() -> tuple[int, str]:
        row = office.json(0, "stats", "--by", "month", "since:2031")["rows"][0]
        assert row["key"] == "2031-05"
        return row["count"], row["mass_g"]

    assert stats() == (2, "14500")
    office.ok(0, "same", ours, theirs, by=0)
    assert stats() == (2, "14500")
    assert "possibly the same, counted twice" in office.run(0, "stats", "since:2031")[2]
    office.ok(0, "same", theirs, ours, by=1)
    assert stats() == (1, "7250")
    _, out, err = office.run(0, "stats", "--by", "region", "since:2031")
    assert "UZ-XO" in out
    assert "reports left out: the same event is counted once" in err
    assert "only two seizures" in office.run(0, "same", ours, office.write(0, "add", "case", "title=x", by=0), by=0)[2]


def test_equipment_rosters_and_situation_reports(office: Office) -> None:
    asset = office.write(0, "asset", "add", "serial=RX-1", "kind=scanner", "holder_unit=unit-0", "condition=good", by=0)
    office.ok(0, "asset", "move", asset, "--unit", "unit-1", "--reason", "chegara", by=0)
    office.ok(0, "asset", "service", asset, "--condition", "worn", "--next", "2026-09-01", by=0)
    line = next(line for line in office.ok(0, "asset", "list").splitlines() if "RX-1" in line)
    assert "unit-1" in line
    assert "worn" in line
    assert "service mia/unit-0" in line
    office.ok(0, "roster", "add", "unit=unit-1", "officer=A. Karimov", "from=2026-01-01", by=0)
    assert "A. Karimov" in office.ok(0, "roster", "list")
    office.ok(0, "sitrep", "add", "unit=unit-0", "period.from=2026-03-09 00:00", "period.to=2026-03-16 00:00",
              "counts.seizures=2", "issues=rentgen ta’mirda", by=0)  # fmt: skip
    assert "rentgen ta’mirda" in office.ok(0, "sitrep", "list")


# -- search -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(office: Office) -> str:
    return office.write(
        0, "add", "seizure", "seized_at=2029-07-01 08:00", "region=UZ-QA", "place=Шаҳрисабз, Oʻrta ko‘cha",
        "position.latitude=39.05", "position.longitude=66.83", "items[0].substance=hashish", "items[0].form=powder",
        "items[0].amount=100", "items[0].unit=g", "vehicles=60 A 123 BC", "phones=+998 90 765-43-21",
        "narrative=Qo‘ng‘irot yo‘lida to‘xtatildi", by=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [
        "shahrisabz", "Шахрисабз", '"o\'rta ko`cha"', "type:seizure region:UZ-QA", "region:Qashqadaryo since:2029-07",
        "Кашкадарьинская since:2029-07 until:2029-07-01", "substance:hashish near:39.06,66.84,5", "гашиш since:2029",
        "gashish since:2029", "plate:60А123ВС", "plate:'60 a 123-bc'", "60A123BC", "phone:907654321",
        'phone:"90 765 43 21"', "+998907654321", "unit:unit-0 agency:mia since:2029-07-01 until:2029-07-01",
        "qo'ngirot", "to‘xtat since:2029", "by:officer since:2029-06 until:2029-08",
    ],
)  # fmt: skip
def test_record_is_found_by(office: Office, found: str, query: str) -> None:
    assert found in office.ok(0, "find", query.replace("plate:'60 a 123-bc'", 'plate:"60 a 123-bc"'), "--format", "ids")


@pytest.mark.parametrize(
    "query",
    ["region:UZ-TK since:2029", "substance:heroin since:2029", "near:41.3,69.2,5 since:2029",
     "until:2029-06-30 shahrisabz", "plate:60A124BC", "phone:907654322", "unit:unit-1 shahrisabz",
     "agency:scc shahrisabz", "type:intel shahrisabz"],
)  # fmt: skip
def test_record_is_not_found_by(office: Office, found: str, query: str) -> None:
    assert found not in office.run(0, "find", query, "--format", "ids")[1]


@pytest.mark.parametrize("query", ["near:x", "since:tomorrowish", "plate:?", "phone:abc", "type:", "until:2026-13"])
def test_query_that_means_nothing_is_misuse_that_says_how(office: Office, query: str) -> None:
    status, _, err = office.run(0, "find", query)
    assert (status, err.count("\n")) == (2, 1)
    assert query.partition(":")[0] in err


def test_spelling_that_only_sounds_the_same_is_found_after_the_exact_one(office: Office, found: str) -> None:
    assert found in office.ok(0, "find", "kongirot", "--format", "ids")
    exact = office.write(0, "add", "case", "title=Kongirot", by=0)
    assert office.ok(0, "find", "kongirot", "--format", "ids").split() == [exact, found]


def test_formats_are_stable(office: Office, found: str) -> None:
    answer = json.loads(office.ok(0, "find", "shahrisabz", "--format", "json"))
    assert answer["format"] == 1
    hit = next(hit for hit in answer["hits"] if hit["id"] == found)
    assert {"id", "short", "type", "time_ms", "author", "status", "fields", "summary", "matched", "tags"} <= set(hit)
    line = next(line for line in office.ok(0, "find", "shahrisabz").splitlines() if line.startswith(hit["short"]))
    assert "mia/unit-0" in line
    assert "UZ-QA" in line
    assert "hashish 100 g" in line


def test_search_is_saved_used_listed_and_forgotten(office: Office, found: str) -> None:
    office.ok(0, "find", "shahrisabz", "--save", "shahri")
    assert found in office.ok(0, "find", "@shahri", "since:2029", "--format", "ids")
    assert "@shahri" in office.ok(0, "searches")
    office.ok(0, "searches", "--forget", "shahri")
    assert "no saved search" in office.run(0, "find", "@shahri")[2]


def test_watch_prints_new_hits_as_they_arrive(office: Office) -> None:
    command = [
        sys.executable,
        "-m",
        "node.cli",
        "--home",
        str(office.nodes[1].home.path),
        "watch",
        "--json",
        "watchword",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)
        reader.start()
        written: list[str] = []

        def is_seen() -> bool:  # it prints what comes once it watches, and nothing tells when that is
            written.append(office.write(0, "add", "case", "title=watchword here", by=0))
            office.write(0, "add", "case", "title=something else", by=0)
            return bool(lines)

        try:
            until(is_seen, 60, "a hit is printed")
            until(lambda: json.loads(lines[-1])["id"] == written[-1], 20, "the last one is, too")
        finally:
            process.terminate()
            process.wait()
        reader.join(10)
    assert [json.loads(line)["id"] for line in lines] == written[-len(lines) :]


def test_absence_names_who_is_not_heard(office: Office) -> None:
    with office.apart():
        status, out, err = office.run(0, "find", "nosuchwordatall")
    assert (status, out) == (1, "")
    assert "none known here" in err
    assert "node-1 last heard 20" in err


# -- tables -------------------------------------------------------------------------------------------

MAP = """\
[fields]
seized_at = "when"
region = { column = "dept", values = { Sux = "UZ-SU" } }
place = "place"
"items[0].substance" = "drug"
"items[0].form" = { value = "powder" }
"items[0].amount" = "qty"
"items[0].unit" = { column = "unit", default = "g" }
"""
CSV = """\
when,dept,place,drug,qty,unit
2033-01-01 10:00,Sux,Denov,geroin,10,g
2033-01-02 10:00,UZ-TK,"Toshkent, bozor",opium,2.5,kg
2033-01-02 10:00,UZ-TK,"Toshkent, bozor",opium,2.5,kg
nonsense,Sux,Denov,heroin,10,g
2033-01-04 10:00,Sux,Denov,heroin,ten,g
2033-01-05 10:00,Sux,=HYPERLINK(),heroin,1,
"""


def test_table_is_imported_once_with_every_refused_row_named(office: Office, tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP)
    (tmp_path / "in.csv").write_text(CSV)
    words = ("import-csv", tmp_path / "in.csv", "--type", "seizure", "--map", tmp_path / "map.toml")
    status, out, err = office.run(0, *words, "--dry-run", by=0)
    assert status == 1
    assert "6 rows: 4 would be written, 0 are here already, 2 are refused" in out
    assert "line 5: seized_at" in err
    assert "line 6: items[0].amount" in err
    assert office.run(0, "find", "since:2033 until:2033", "--format", "ids")[0] == 1
    status, out, _ = office.run(0, *words, "--refused", tmp_path / "refused.jsonl", by=0)
    assert (status, "4 written, 0 were here already, 2 refused" in out) == (1, True)
    assert [json.loads(line)["line"] for line in (tmp_path / "refused.jsonl").read_text().splitlines()] == [5, 6]
    assert "0 written, 4 were here already" in office.run(0, *words, by=0)[1]
    assert len(office.ok(0, "find", "since:2033 until:2033", "--format", "ids").split()) == 4
    more = CSV.replace("nonsense", "2033-01-03 10:00")
    (tmp_path / "in.csv").write_text(more)
    assert "1 written, 4 were here already" in office.run(0, *words, by=0)[1]


def test_rows_that_were_signed_and_not_handed_in_are_not_written_twice(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "map.toml").write_text(MAP)
    rows = [f"2032-02-01 10:00,Sux,post {number},geroin,{number + 1},g" for number in range(1200)]
    (tmp_path / "in.csv").write_text("when,dept,place,drug,qty,unit\n" + "\n".join(rows) + "\n")
    words = ["import-csv", tmp_path / "in.csv", "--type", "seizure", "--map", tmp_path / "map.toml"]
    submit, calls = _Daemon.submit, []

    def cut(self: _Daemon, run: Run) -> Value:
        calls.append(run)
        if len(calls) == 2:
            raise BusyError("the link to the node is cut")
        return submit(self, run)

    with monkeypatch.context() as patch:
        patch.setattr(_Daemon, "submit", cut)
        assert office.run(1, *words, by=1)[0] == 7
    answer = office.json(1, *words, by=1)
    assert (answer["known"], answer["written"]) == (1000, 200)
    office.indexed(1)
    row = office.json(1, "stats", "--by", "month", "since:2032-02", "until:2032-02")["rows"][0]
    assert row["count"] == 1200


def test_import_that_is_killed_goes_on_without_duplicates(office: Office, tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP)
    rows = [f"2034-01-{number % 28 + 1:02d} 10:00,Sux,post {number},geroin,{number + 1},g" for number in range(4000)]
    (tmp_path / "in.csv").write_text("when,dept,place,drug,qty,unit\n" + "\n".join(rows) + "\n")
    words = ["import-csv", str(tmp_path / "in.csv"), "--type", "seizure", "--map", str(tmp_path / "map.toml")]
    before = office.json(1, "status")["entries"]
    reading, writing = os.pipe()
    os.write(writing, SECRET + b"\n")
    command = [sys.executable, "-m", "node.cli", "--home", str(office.nodes[1].home.path), *words]
    command += ["--key", str(office.keys[3]), "--passphrase-fd", str(reading)]
    with subprocess.Popen(command, pass_fds=[reading], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        until(lambda: office.json(1, "status")["entries"] >= before + BATCH_MAX, 60, "some are written")
        process.kill()
    os.close(reading)
    os.close(writing)
    answer = office.json(1, *words, by=3)
    assert answer["written"] + answer["known"] == 4000
    assert answer["known"] > 0
    office.indexed(1)
    row = office.json(1, "stats", "--by", "month", "since:2034-01", "until:2034-01")["rows"][0]
    assert row["count"] == 4000
    assert row["mass_g"] == str(4000 * 4001 // 2)


@pytest.mark.parametrize(
    ("map_", "table", "told"),
    [
        ("x", CSV, "is not TOML"),
        ("[field]\na = 'b'", CSV, "has a table [fields]"),
        ("[fields]\nplace = 'nosuch'", CSV, "has no column nosuch"),
        ("[fields]\nplace = { colum = 'place' }", CSV, "place is"),
        (MAP, None, "cannot be read"),
        ("[options]\nencoding = 'nosuch'\n" + MAP, CSV, "no CSV file that can be read"),
    ],
)
def test_table_or_map_that_is_wrong_is_one_sentence(
    office: Office, tmp_path: Path, map_: str, table: str | None, told: str
) -> None:
    (tmp_path / "map.toml").write_text(map_)
    if table is not None:
        (tmp_path / "in.csv").write_text(table)
    status, _, err = office.run(
        0, "import-csv", tmp_path / "in.csv", "--type", "seizure", "--map", tmp_path / "map.toml", by=0
    )
    assert status in (2, 3)
    assert told in err
    assert err.count("\n") == 1


def test_records_are_exported_as_csv_json_lines_and_a_map(office: Office, found: str, tmp_path: Path) -> None:
    assert "1 records" in office.ok(0, "export", tmp_path / "a.csv", "shahrisabz", "--format", "csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["id"] == found
    assert (rows[0]["items[0].substance"], rows[0]["position.latitude"], rows[0]["agency"]) == (
        "hashish",
        "39.05",
        "mia",
    )
    office.ok(0, "export", tmp_path / "a.jsonl", "shahrisabz", "--format", "jsonl")
    assert json.loads((tmp_path / "a.jsonl").read_text())["fields"]["region"] == "UZ-QA"
    _, _, err = office.run(0, "export", tmp_path / "a.geojson", "type:seizure", "--format", "geojson")
    map_ = json.loads((tmp_path / "a.geojson").read_text())
    assert [feature["geometry"]["coordinates"] for feature in map_["features"] if feature["id"] == found] == [
        [66.83, 39.05]
    ]
    assert "without a position" in err
    office.ok(0, "export", tmp_path / "all.csv", "since:2033 until:2033", "--format", "csv")
    if "HYPERLINK" in (text := (tmp_path / "all.csv").read_text()):
        assert ",=HYPERLINK" not in text  # a spreadsheet must not run it
    assert "choose another name" in office.run(0, "export", office.keys[0], "x", "--format", "csv")[2]


# -- the index ----------------------------------------------------------------------------------------


def test_index_is_built_anew_and_gives_the_same(office: Office, found: str) -> None:
    before = office.json(0, "find", "type:seizure", "--limit", "1000")["hits"]
    conflicts = office.json(0, "status")["conflicts"]
    assert "entries indexed" in office.ok(0, "reindex")
    assert office.json(0, "find", "type:seizure", "--limit", "1000")["hits"] == before
    assert office.nodes[0].stop() == 0
    assert "entries indexed" in office.ok(0, "reindex")
    assert office.json(0, "find", "type:seizure", "--limit", "1000")["hits"] == before
    assert office.json(0, "status")["conflicts"] == conflicts
    assert "the node is stopped" in office.run(0, "find", "nosuchwordatall")[2]
    office.cluster.start([office.nodes[0]], linked=False)
    until(lambda: all(node.status()["peers"] == 1 for node in office.nodes), 30, "together again")
