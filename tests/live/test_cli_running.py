"""The commands beside a running node: through its socket, several at once, and in pipes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from keys.keyfile import KeyOwner, create_key_file
from keys.mark import mark_path
from ledger.lmdb_store import LmdbStorage, open_lmdb
from ledger.store import load
from node.daemon import _own_store
from tests.cluster import CHEAP, Cluster, Node, until

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
FILLED = 1500  # entries there before the first test
SECRET = b"correct horse"


class Office:
    """One running node, and an officer with a key file."""

    def __init__(self, folder: Path) -> None:
        cluster = Cluster.found(folder, nodes=1, officers=2)
        cluster.fill(cluster.nodes[0], FILLED)
        officer = cluster.officers[0]
        owner = KeyOwner(officer.public, "officer", "officer 0", "mia", "unit-0")
        self.cluster = cluster
        self.node: Node = cluster.nodes[0]
        self.key = folder / "officer.key"
        create_key_file(self.key, officer, SECRET, owner, cost=CHEAP)
        mark_path(self.key).unlink()  # it has signed what the cluster is filled with: the log says how much

    def start(self, *words: object, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
        """A command that runs by itself."""
        argv = [sys.executable, "-m", "node.cli", "--home", str(self.node.home.path), *map(str, words)]
        pipes: list[int] = []
        if words[0] in ("add", "step"):
            reading, writing = os.pipe()
            os.write(writing, SECRET + b"\n")
            os.close(writing)
            argv += ["--key", str(self.key), "--passphrase-fd", str(reading)]
            pipes.append(reading)
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=pipes,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}, cwd=self.node.home.path.parent,
        )  # fmt: skip
        for descriptor in pipes:
            os.close(descriptor)
        return process

    def run(self, *words: object) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out, err

    def ok(self, *words: object) -> dict[str, object]:
        """The JSON of a command that must succeed."""
        status, out, err = self.run(*words, "--json")
        assert status == 0, (words, status, err)
        found = json.loads(out)
        assert isinstance(found, dict)
        return found

    def number(self, name: str) -> int:
        """A number in the node's status."""
        return int(str(self.ok("status")[name]))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """See `Office`."""
    office = Office(tmp_path_factory.mktemp("office"))
    try:
        office.cluster.start(linked=False)
        until(lambda: office.number("records") == FILLED, 20, "the index has all")
        yield office
    finally:
        office.cluster.stop()


def test_commands_with_one_key_at_once_take_turns_and_do_not_fork_its_log(office: Office) -> None:
    before = office.number("records")
    commands = [office.start("add", "case", f"title=at once {number}", "--json") for number in range(8)]
    answers = [command.communicate(timeout=60) for command in commands]
    assert [command.returncode for command in commands] == [0] * 8, answers
    ids = {known for out, _ in answers for known in json.loads(out)["ids"]}
    assert len(ids) == 8
    assert office.number("records") == before + 8
    assert office.number("forks") == 0
    assert office.run("forks")[0] == 1


def test_records_that_no_frame_could_hold_together_are_written_all(office: Office, tmp_path: Path) -> None:
    before = office.number("records")
    path = tmp_path / "large.jsonl"
    path.write_text("\n".join(json.dumps({"title": str(number), "narrative": "x" * 200_000}) for number in range(20)))
    assert len(office.ok("add", "case", "--file", path)["ids"]) == 20  # type: ignore[arg-type]
    assert office.number("records") == before + 20


def test_what_is_written_is_found_shown_and_followed(office: Office) -> None:
    with office.start("log", "--follow", "--limit", "1", "--json") as follower:
        assert follower.stdout is not None
        newest = json.loads(follower.stdout.readline())
        wrote = office.ok("add", "rfi", "to=oct", "question=Who owns plate 01A777AA?", "urgency=urgent")
        entry = json.loads(follower.stdout.readline())
        assert [entry["id"]] == wrote["ids"] != [newest["id"]]
        follower.send_signal(signal.SIGINT)
        _, error = follower.communicate(timeout=20)
        assert follower.returncode == 130
        assert "Traceback" not in error
    hits = office.ok("find", "01A777AA")["hits"]
    assert isinstance(hits, list)
    assert [hit["id"] for hit in hits] == wrote["ids"]
    office.ok("step", hits[0]["short"], "ack")
    office.ok("step", hits[0]["short"], "reply", "answer=A. Karimov")
    shown = office.ok("show", hits[0]["short"])
    assert [step["type"] for step in shown["steps"]] == ["ack", "reply"]  # type: ignore[attr-defined]
    _, page, _ = office.run("show", hits[0]["short"])
    assert "A. Karimov" in page
    assert "\x1b" not in page


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_reader_that_has_enough_ends_a_command_quietly(office: Office, more: list[str]) -> None:
    with office.start("log", "--limit", "1000", "--since", "0", *more) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("words", [["--help"], ["log"], ["status", "--json"]])
def test_answer_that_cannot_be_written_is_one_sentence(office: Office, words: list[str]) -> None:
    command = [sys.executable, "-m", "node.cli", "--home", str(office.node.home.path), *words]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=env)
    assert done.returncode == 3
    assert done.stderr == "hamkor: the answer could not be written: No space left on device\n"
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], stderr=subprocess.PIPE, check=False, env=env)
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_ledger_is_exported_and_audited_while_the_node_runs(office: Office, tmp_path: Path) -> None:
    (tmp_path / "charter").write_bytes(office.cluster.charter)
    exported = office.ok("export", tmp_path / "bundle")
    assert (tmp_path / "bundle").stat().st_mode & 0o077 == 0
    again = office.ok("export", tmp_path / "bundle")
    for source in (tmp_path / "bundle", office.node.home.path):
        report = office.ok("audit", source, "--charter", tmp_path / "charter")
        assert (report["verdict"], report["root"]) == ("sound", again["root"])
    assert exported["entries"] == again["entries"]
    taken = office.ok("import", tmp_path / "bundle")
    assert (taken["admitted"], taken["duplicates"]) == (0, again["entries"])
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "charter"}  # nothing half-written is left


def test_second_daemon_in_a_home_is_refused_and_the_first_goes_on(office: Office) -> None:
    status, _, error = office.run("run")
    assert status == 5
    assert error.count("\n") == 1
    assert office.number("entries") > FILLED


def test_status_and_peers_have_stable_names(office: Office) -> None:
    status = office.ok("status")
    assert {
        "network", "network_id", "node", "entries", "logs", "records", "root", "forks", "running", "peers", "offline",
    } <= set(status)  # fmt: skip
    code, out, _ = office.run("peers", "--json")
    assert code == 1  # there is no other node
    assert json.loads(out) == {"peers": [], "strangers": []}


def test_offline_and_online(office: Office) -> None:
    assert office.ok("offline") == {"offline": True}
    assert office.ok("status")["offline"] is True
    assert office.ok("online") == {"offline": False}


def test_node_stops_cleanly_and_its_store_goes_on_without_it(office: Office) -> None:
    with office.start("log", "--follow", "--limit", "1") as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline()
        office.ok("add", "case", "title=the last before the node stops")
        assert follower.stdout.readline()  # it follows by now
        root = office.ok("status")["root"]
        assert office.node.stop() == 0
        _, error = follower.communicate(timeout=20)
        assert (follower.returncode, error.count("\n")) == (7, 1)
        assert "the node has stopped" in error
    stopped = office.ok("status")
    assert (stopped["root"], stopped["running"]) == (root, False)
    wrote = office.ok("add", "case", "title=written while the node was stopped")
    assert office.ok("find", "stopped")["hits"]
    office.cluster.start(linked=False)
    assert office.ok("show", str(wrote["ids"][0]))["status"] == "ok"  # type: ignore[index]
    assert office.node.stop() == 0
    with closing(open_lmdb(office.node.home.store_path, readonly=True)) as storage:
        ledger = load(storage)
        assert ledger.forks() == []


async def test_node_that_starts_waits_for_a_command_that_has_its_store(tmp_path: Path) -> None:
    home = Cluster.found(tmp_path, nodes=1, officers=1).nodes[0].home
    command = open_lmdb(home.store_path)
    opened: list[LmdbStorage] = []

    async def start() -> None:
        opened.append(await _own_store(home))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await wait_all_tasks_blocked()
        assert not opened
        command.close()
    opened[0].close()
