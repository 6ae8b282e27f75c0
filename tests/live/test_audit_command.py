"""`hamkor audit` as a person runs it: what it prints and writes, on several cores, stopped half way, several files."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from keys.errors import LocalError
from ledger.audit import audit_bundle, audit_storage
from ledger.audit_journal import Journal
from ledger.audit_state import Options
from ledger.audit_stretch import Checker, Result, Stretch, Task
from ledger.lmdb_store import open_lmdb
from ledger.storage import TABLES
from node.cli import main
from node.processes import on_all_cores
from protocol.acts import Certify, encode_act
from protocol.frame import sign_run
from tests.audit_world import (
    CHARTER,
    CHARTER_FILE,
    NETWORK,
    Log,
    World,
    bundle,
    checkpoint,
    expected_root,
    key,
    record,
    sound_world,
    store,
)

pytestmark = pytest.mark.live


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANG", "C")
    (tmp_path / "charter").write_bytes(CHARTER_FILE)
    return tmp_path


def written(folder: Path, name: str, world: World) -> Path:
    (folder / name).write_bytes(bundle(world))
    return folder / name


def on_disk(folder: Path, name: str, world: World) -> Path:
    memory = store(world)
    with closing(open_lmdb(folder / name)) as storage, memory.read() as view, storage.write() as txn:
        for table in TABLES:
            txn.put_many(table, view.scan(table))
    return folder / name


def audit(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any, str]:
    """Status, the JSON, standard error."""
    status = main(["audit", *map(str, words), "--charter", "charter", "--json"])
    out, error = capsys.readouterr()
    return status, json.loads(out), error


def large_world(entries: int) -> World:
    """Some officers with long logs, signed in one go."""
    world = World({})
    names = [f"officer {number}" for number in range(6)]
    for name in names:
        world.log("mia").certify(name, "officer", "mia")
    for name in names:
        log = Log(name)
        drafts = [("record", record(number), ()) for number in range(entries // len(names))]
        log.rows = list(sign_run(key(name), NETWORK, log.place(), drafts, 1000)[0].rows)
        world.logs[name] = log
    world.run_length = 100
    return world


def test_all_cores_find_what_one_finds(folder: Path) -> None:
    world = large_world(6000)
    raw = bundle(world)
    at = raw.index(b"what was seen on day 500")
    for content in (raw, raw[:at] + b"W" + raw[at + 1 :]):
        alone = audit_bundle(io.BytesIO(content), CHARTER)
        assert audit_bundle(io.BytesIO(content), CHARTER, Options(spread=on_all_cores)) == alone
        assert alone.sound == (content == raw)
        assert alone.entries > 5000
    with closing(open_lmdb(on_disk(folder, "store", world), readonly=True)) as storage:
        found = audit_storage(storage, CHARTER, Options(spread=on_all_cores))
        assert found == audit_storage(storage, CHARTER)
        assert found.sound


def test_process_that_checks_knows_what_was_checked() -> None:
    world = large_world(1200)
    runs = [run for run in world.runs() if len(run.rows) == 100]
    tasks = [Stretch(run.key, run.seq, run.prev, run.rows) for run in runs]
    plain = Checker(NETWORK)
    digests = frozenset(found.digest for task in tasks if (found := plain.check(task)) is not None)
    assert len(digests) == len(tasks) > 4
    again = list(on_all_cores(Checker(NETWORK, digests), tasks))
    assert [result for _, result in again] == [plain.check(task) for task in tasks]


class Killing(Checker):
    """Dies with the first thing that it is asked to check."""

    def __call__(self, task: Task) -> Result:
        os.kill(os.getpid(), signal.SIGKILL)
        return None


def test_process_that_is_killed_is_an_error_and_not_a_finding() -> None:
    tasks = [Stretch(run.key, run.seq, run.prev, run.rows) for run in large_world(1200).runs()]
    with pytest.raises(LocalError, match="was killed"):
        list(on_all_cores(Killing(NETWORK), tasks))


def test_sound_sources_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = sound_world()
    checkpoint(world, "node")
    status, found, error = audit(
        capsys, written(folder, "one.bundle", world), on_disk(folder, "home", world)
    )  # fmt: skip
    assert (status, error) == (0, "")
    assert found["verdict"] == "sound"
    assert {source["root"] for source in found["sources"]} == {expected_root(world).hex()}
    assert [source["checkpoints"] for source in found["sources"]] == [1, 1]
    assert (found["faults"], found["notes"]) == ([], [])


def test_summary_table_and_page_tell_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = sound_world()
    name = "=1+1<script>alert(1)</script>"
    world.log("mia").write(
        encode_act(Certify(key("evil").public, "officer", name, "mia", "", ())), kind="act"
    )  # fmt: skip
    world.log("evil").write(record(1))
    world.log("evil").write(record(2), time_ms=1)
    world.log("stranger").write(record(1))
    whole = sound_world()
    one, other = written(folder, "one.bundle", world), written(folder, "other.bundle", whole)
    words = ["audit", str(one), str(other), "--charter", "charter", "--html", "page.html", "--csv", "table.csv"]
    assert main(words) == 1
    said = capsys.readouterr().out
    for part in ("FAULTY", "SOUND", "time", "uncertified", "held-back", "Side by side"):
        assert part in said
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text("utf-8-sig"))))
    assert {(row["kind"], row["class"]) for row in rows} == {
        ("time", "fault"), ("uncertified", "fault"), ("held-back", "fault"),
    }  # fmt: skip
    assert {row["owner"][:2] for row in rows if row["kind"] == "time"} == {"'="}
    page = (folder / "page.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)

    Reader().feed(page)
    assert tags.count("tr") - tags.count("thead") == len(rows)
    assert main(words) == 2  # neither is written over
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("lang", ["uz", "ru"])
def test_page_and_summary_speak_the_readers_language(
    folder: Path, capsys: pytest.CaptureFixture[str], lang: str
) -> None:
    written(folder, "b", sound_world())
    assert main(["--lang", lang, "audit", "b", "--charter", "charter", "--html", "page.html"]) == 0
    assert "SOUND" not in capsys.readouterr().out
    assert f'lang="{lang}"' in (folder / "page.html").read_text("utf-8")
    assert main(["--lang", "en", "audit", "b", "--charter", "charter"]) == 0


def test_since_a_checkpoint_by_its_id_and_by_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = sound_world()
    checkpoint(world, "node")
    mark = world.log("node").ids()[-1].hex()
    world.log("aziza").write(record(1))
    written(folder, "b", world)
    status, found, _ = audit(capsys, "b", "--since", mark[:12])
    assert (status, [note["kind"] for note in found["notes"]]) == (0, ["since"])
    for wrong in ("feedfeedfeed", "nosuchfile", "charter"):
        status, found, error = audit(capsys, "b", "--since", wrong)
        assert (status, found["verdict"]) == (2, "unreadable")
        assert error.count("\n") == 1


def test_interrupted_audit_says_how_to_go_on_and_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(folder, "big.bundle", large_world(9_000))
    status, whole, _ = audit(capsys, "big.bundle")
    assert status == 0
    command = [sys.executable, "-c", STOPPED, "audit", "big.bundle", "--charter", "charter", "--resume", "kept"]
    stopped = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "--resume kept" in stopped.stderr
    assert (folder / "kept").stat().st_size > 100
    status, found, error = audit(capsys, "big.bundle", "--resume", "kept")
    assert (status, found, error) == (0, whole, "")
    assert not (folder / "kept").exists()


STOPPED = f"""
import os, signal, sys
import node.commands.auditor as auditor
from node.cli import main
told = auditor._Work._tell
def tell(work, entries, part):
    told(work, entries, part)
    if entries > 2000:
        os.kill(os.getpid(), {int(signal.SIGINT)})
auditor._Work._tell = tell
sys.exit(main())
"""


def test_journal_of_another_source_is_said_and_all_is_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(folder, "b", sound_world())
    (folder / "kept").write_bytes(Journal(NETWORK, met={bytes(32)}).encode())
    status, found, _ = audit(capsys, "b", "--resume", "kept")
    assert (status, [note["kind"] for note in found["notes"]]) == (0, ["resumed"])
    (folder / "kept").write_bytes(b"what else")
    status, found, _ = audit(capsys, "b", "--resume", "kept")
    assert status == 2
    assert (folder / "kept").read_bytes() == b"what else"
