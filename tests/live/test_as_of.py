"""What was known: reading commands on what another node attested, typed at a home, with and without its daemon."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keys.signing import SigningKey
from ledger.attest import latest, survey
from ledger.lmdb_store import open_lmdb
from ledger.store import load
from protocol.acts import Certify, encode_act
from protocol.checkpoint import draft
from protocol.entry import Place
from protocol.frame import sign_run
from tests.cluster import seeded
from tests.live.test_officer import SEIZURE, Office

pytestmark = pytest.mark.live
DAY_MS = 86_400_000
FIRST_MS = 1_772_323_200_000  # 2026-03-01T00:00Z


class Past:
    """A home at which another node's checkpoints have come; that node does not run, its key signs here."""

    def __init__(self, folder: Path) -> None:
        self.office = Office(folder)
        self.witness = self.office.nodes[1].key
        self.early = self.office.write(0, *SEIZURE, "place=Early yard", by=0)
        self.secret = self.office.write(0, *SEIZURE, "place=Secret yard", "handling.tlp=RED", by=0)
        self.first = self.attest(FIRST_MS)
        self.office.ok(0, "amend", self.early, "place=Moved yard", by=0)
        self.late = self.office.write(0, *SEIZURE, "place=Late yard", by=0)
        self.second = self.attest(FIRST_MS + DAY_MS)

    def attest(self, time_ms: int, *, root: bytes | None = None, by: SigningKey | None = None) -> str:
        """Write a checkpoint of that node into the store of this home; returns its id."""
        signer = by or self.witness
        with closing(open_lmdb(self.office.nodes[0].home.store_path)) as storage:
            ledger = load(storage)
            with storage.read() as view:
                here, mine = survey(view), latest(view, signer.public)
            bodies = draft(signer, ledger.network_id, root or here.root, here.heads, mine.state if mine else None)
            log = ledger.log(signer.public)
            place = log.next if log is not None else Place(signer.public, 0, None)
            drafts = [("checkpoint", body, ()) for body in bodies]
            run, ids = sign_run(signer, ledger.network_id, place, drafts, time_ms)
            assert ledger.commit([(run,)]).outcomes[0].refused is None
        return ids[-1].hex()

    def run(self, *words: object) -> tuple[int, str, str]:
        return self.office.run(0, "as-of", *words)

    def ok(self, *words: object) -> str:
        status, out, err = self.run(*words)
        assert status == 0, (words, out, err)
        return out

    @property
    def copies(self) -> Path:
        return self.office.nodes[0].home.path / "as-of"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(tmp_path_factory.mktemp("past"))


@pytest.fixture(params=["stopped", "running"])
def anyhow(request: pytest.FixtureRequest, past: Past) -> Iterator[Past]:
    """With the daemon of the home, and without."""
    node = past.office.nodes[0]
    if request.param == "running":
        past.office.cluster.start([node], linked=False)
    yield past
    node.kill() if request.param == "running" else None


def hits(out: str) -> dict[str, Any]:
    return {hit["id"]: hit for hit in json.loads(out)["hits"]}


def test_find_shows_what_was_known_then_and_says_when_that_was(anyhow: Past) -> None:
    out = anyhow.ok("node-1", anyhow.first[:12], "find", "heroin")
    head, *lines = out.splitlines()
    assert anyhow.first[:7] in head
    assert "node-1 (mia/unit-1)" in head
    assert "2026-03-01" in head
    assert len(lines) == 2
    found = hits(anyhow.ok("unit-1", "2026-03-02T04:59", "find", "heroin", "--json"))  # in Tashkent; a minute before
    assert set(found) == {anyhow.early, anyhow.secret}
    assert found[anyhow.early]["fields"]["place"] == "Early yard"
    later = hits(anyhow.ok("unit-1", "2026-03-02", "find", "heroin", "--json"))
    assert set(later) == {anyhow.early, anyhow.secret, anyhow.late}
    assert later[anyhow.early]["fields"]["place"] == "Moved yard"


def test_show_history_and_statistics_are_of_then(anyhow: Past) -> None:
    assert "Early yard" in anyhow.ok("node-1", anyhow.first, "show", anyhow.early)
    assert "Moved yard" not in anyhow.ok("node-1", anyhow.first, "history", anyhow.early)
    assert "Moved yard" in anyhow.ok("node-1", anyhow.second, "history", anyhow.early)
    assert json.loads(anyhow.ok("node-1", anyhow.first, "stats", "--json"))["rows"][0]["count"] == 2
    assert json.loads(anyhow.ok("node-1", anyhow.second, "stats", "--json"))["rows"][0]["count"] == 3
    status, _, err = anyhow.run("node-1", anyhow.first, "show", anyhow.late)
    assert (status, "none known here" in err) == (1, True)


def test_marked_records_of_then_are_read_for_a_purpose_that_the_home_itself_notes(anyhow: Past) -> None:
    assert "Secret" not in anyhow.ok("node-1", anyhow.first, "find", "heroin")
    status, out, err = anyhow.run("node-1", anyhow.first, "show", anyhow.secret)
    assert (status, "--why" in err, "Secret" in out) == (2, True, False)
    before = readings(anyhow)
    assert "Secret yard" in anyhow.ok("node-1", anyhow.first, "show", anyhow.secret, "--why", "court 12")
    after = readings(anyhow)
    assert len(after) == len(before) + 1
    assert {"why": "court 12", "command": "as-of show"}.items() <= after[0].items()


def test_what_is_marked_now_needs_a_purpose_also_where_it_was_open_then(past: Past) -> None:
    record = past.office.write(0, *SEIZURE, "place=Open yard", by=0)
    then = past.attest(FIRST_MS + 7 * DAY_MS // 4)
    assert "Open yard" in past.ok("node-1", then, "show", record)
    past.office.ok(0, "amend", record, "handling.tlp=AMBER", by=0)
    assert "AMBER" in past.run("node-1", then, "show", record)[2]
    assert "Open yard" not in past.ok("node-1", then, "find", "heroin") + past.ok("node-1", then, "history", past.early)
    assert "Open yard" in past.ok("node-1", then, "show", record, "--why", "case 9")


def test_proof_of_a_marked_record_is_written_for_a_purpose_only(past: Past, tmp_path: Path) -> None:
    words = ("prove", past.secret, "-o", tmp_path / "proof.html", "--partial")
    status, _, err = past.office.run(0, *words)
    assert (status, "RED" in err, (tmp_path / "proof.html").exists()) == (2, True, False)
    past.office.ok(0, *words, "--why", "for the court")
    assert "Secret yard" in (tmp_path / "proof.html").read_text()
    assert {"why": "for the court", "command": "prove"}.items() <= readings(past)[0].items()


def readings(past: Past) -> list[dict[str, Any]]:
    """Those of the secret record, the newest first, written and waiting."""
    answer = json.loads(past.office.run(0, "consultations", past.secret, "--json")[1])
    rows: list[dict[str, Any]] = [*answer["pending"], *answer["rows"]]
    return sorted(rows, key=lambda row: -int(row["time_ms"]))


def test_copy_is_kept_used_again_made_anew_when_deleted_and_bounded(past: Past) -> None:
    past.ok("node-1", past.first, "find", "heroin")
    made = (past.copies / past.first / "store" / "data.mdb").stat()
    past.ok("node-1", past.first, "find", "heroin")
    again = (past.copies / past.first / "store" / "data.mdb").stat()
    assert (made.st_ino, made.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)
    more = [past.attest(FIRST_MS + (2 + number) * DAY_MS) for number in range(5)]
    (past.copies / f".{more[0]}.part").mkdir()  # a run that was interrupted
    for known in more:
        past.ok("node-1", known, "find", "heroin")
    assert {path.name for path in past.copies.iterdir()} == {".lock", *more[1:]}
    assert len(hits(past.ok("node-1", past.first, "find", "heroin", "--json"))) == 2


def test_checkpoint_that_does_not_add_up_is_told_and_shows_nothing(past: Past) -> None:
    lie = past.attest(FIRST_MS + 10 * DAY_MS, root=bytes(32))
    status, out, err = past.run("node-1", lie, "find", "heroin")
    assert (status, out) == (1, "")
    assert "does not add up" in err
    assert not (past.copies / lie).exists()
    past.attest(FIRST_MS + 11 * DAY_MS)


def test_what_is_not_here_is_counted_by_log(past: Past) -> None:
    with closing(open_lmdb(past.office.nodes[0].home.store_path, readonly=True)) as storage:
        ledger = load(storage)
        size = ledger.heads.get(past.witness.public).size
        run = ledger.run(past.witness.public, 0, size)
        assert run is not None
    other = past.office.nodes[1].home
    with closing(open_lmdb(other.store_path)) as storage:
        assert load(storage).commit([(run,)]).outcomes[0].refused is None
    status, _, err = past.office.run(1, "as-of", "node-1", past.second, "find", "heroin")
    assert status == 1
    assert "officer 0 (mia): 4 entries are not here" in err


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("node-1", "2026-02-01", "find", "heroin"), 1, "no checkpoint here"),
        (("nobody", "7d", "find", "heroin"), 2, "no node has the name"),
        (("node-1", "0123456789", "find", "heroin"), 2, "no whole checkpoint"),
        (("node-1", "yesterday", "find", "heroin"), 2, "is no time"),
        (("node-1", "7d", "add", "seizure"), 2, "as-of is followed by"),
        (("node-1", "7d", "log", "--follow"), 2, "as-of is followed by"),
        (("node-1", "7d", "find"), 2, "required"),
        (("node-1", "7d"), 2, "required"),
    ],
)
def test_what_cannot_be_asked_is_said(past: Past, words: tuple[str, ...], status: int, told: str) -> None:
    found, out, err = past.run(*words)
    assert (found, out) == (status, "")
    assert told in err


def test_of_several_nodes_of_a_unit_all_are_listed(past: Past) -> None:
    root = seeded("test", "mia")
    with closing(open_lmdb(past.office.nodes[0].home.store_path)) as storage:
        ledger = load(storage)
        act = Certify(seeded("second").public, "node", "node-9", "mia", "unit-1", ())
        run, _ = sign_run(root, ledger.network_id, ledger.log(root.public).next, [("act", encode_act(act), ())], 2)  # type: ignore[union-attr]
        assert ledger.commit([(run,)]).outcomes[0].refused is None
    status, out, err = past.run("unit-1", "7d", "find", "heroin")
    assert (status, "may be any of these" in err) == (2, True)
    assert "node-1" in out
    assert "node-9" in out
    listed = json.loads(past.run("unit-1", "7d", "find", "heroin", "--json")[1])
    assert {row["name"]: row["checkpoint"] is None for row in listed} == {"node-1": False, "node-9": True}
    prefix = past.witness.public.hex()[:10]
    assert len(hits(past.ok(prefix, past.first, "find", "heroin", "--json"))) == 2
