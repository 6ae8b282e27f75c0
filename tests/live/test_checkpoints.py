"""Checkpoints between real nodes: they agree, fall silent, and a false one is told on all; commands typed and read."""

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from nacl.signing import VerifyKey

from ledger.attest import survey
from ledger.lmdb_store import open_lmdb
from ledger.store import load
from node.client import request
from node.submit import run_request
from protocol.checkpoint import Attested, draft, read_note
from protocol.entry import EntryId
from tests.cluster import Cluster, Node, seizure, sign_run, until

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that attest every second; none runs yet."""
    cluster = Cluster.found(tmp_path, nodes=3, officers=2, checkpoint_s=1)
    try:
        yield cluster
    finally:
        cluster.stop()


def typed(node: Node, *words: str) -> tuple[int, str, str]:
    """What a command says: exit status, standard output, standard error."""
    argv = [sys.executable, "-m", "node.cli", "--home", str(node.home.path), "--lang", "en", *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    return done.returncode, done.stdout, done.stderr


def told(node: Node) -> dict[str, dict[str, object]]:
    """How that node sees every node, by name."""
    found = node.status()["checkpoints"]
    assert isinstance(found, dict)
    return {row["name"]: row for row in found["nodes"]}


def alarms(node: Node) -> list[dict[str, object]]:
    """The alarms that a node knows."""
    found = node.status()["checkpoints"]
    assert isinstance(found, dict)
    return list(found["alarms"])


def at_rest(node: Node, *names: str) -> bool:
    """Whether those nodes have attested all that is here, and it agrees."""
    rows = told(node)
    return all(
        rows[name]["checkpoint"] is not None
        and rows[name]["checkpoint"]["verdict"] == "agrees"  # type: ignore[index]
        and rows[name]["behind"]["entries"] == 0  # type: ignore[index]
        for name in names
    )


def attest_falsely(cluster: Cluster, at: Node, liar: Node, more: Attested | None = None) -> EntryId:
    """Sign a checkpoint with the key of a node that does not run, and hand it in at another; its id.

    more: a log that it says to have up to there; else its root is of nothing.
    """
    with closing(open_lmdb(at.home.store_path, readonly=True)) as storage:
        ledger = load(storage)
        with storage.read() as view:
            heads = list(survey(view).heads)
        if more is not None:
            heads = sorted([*(head for head in heads if head.key != more.key), more])
        bodies = draft(liar.key, ledger.network_id, bytes(32), heads, None)
        place = cluster.place(ledger, liar.key)
        run = sign_run(ledger.network_id, liar.key, place, [("checkpoint", body) for body in bodies], 10**12)
    answer = request(at.home.socket_path, run_request(run))
    assert isinstance(answer, dict)
    assert answer["admitted"] == 1
    log = at.ask("log", key=liar.key.public.hex(), cursor=run.seq)
    assert isinstance(log, dict)
    return EntryId(bytes.fromhex(log["entries"][0]["id"]))  # type: ignore[index,call-overload,arg-type]


def test_nodes_attest_agree_and_fall_silent(three: Cluster) -> None:
    names = [node.name for node in three.nodes]
    three.start()
    for number in range(2):
        (known,) = three.write_ids(three.nodes[number], three.officers[0], [seizure(number)])
        until(lambda: all(at_rest(node, *names) for node in three.nodes), 40, "all attest what was written")
    counts = {node.status()["entries"] for node in three.nodes}
    assert len(counts) == 1
    _, text, _ = typed(three.nodes[0], "status")
    assert "2 of 2 other nodes agree" in text
    assert not any(word in text for word in ("DIFFERS", "ALARM", "HELD BACK", "behind"))
    status, text, _ = typed(three.nodes[1], "receipts", known.hex()[:12])
    assert (status, "attested by 3 of 3 nodes" in text) == (0, True)
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["unit-0", "unit-1", "unit-2"]
    rows = json.loads(typed(three.nodes[1], "receipts", known.hex()[:12], "--json")[1])
    shown = {row["name"]: row["checkpoint"]["id"] for row in rows[0]["nodes"]}
    for name, checkpoint in shown.items():
        status, text, _ = typed(three.nodes[0], "checkpoint", "show", checkpoint[:12])
        assert (status, name in text, "agrees" in text) == (0, True, True)
    for node in three.nodes:
        assert node.stop() == 0
    assert {node.status()["entries"] for node in started(three)} == counts  # started again, they have nothing to say
    assert json.loads(typed(three.nodes[1], "receipts", known.hex()[:12], "--json")[1]) == rows


def started(cluster: Cluster) -> list[Node]:
    """All nodes, running, after they held the same, and each index has all of it."""
    cluster.start()
    names = [node.name for node in cluster.nodes]
    until(lambda: all(at_rest(node, *names) for node in cluster.nodes), 40, "all at rest")
    return cluster.nodes


def test_false_root_raises_one_alarm_on_every_other_node_and_status_shows_it(three: Cluster) -> None:
    one, two, liar = three.nodes
    three.start([one, two])
    three.write(one, three.officers[0], [seizure(1)])
    until(lambda: at_rest(one, two.name) and at_rest(two, one.name), 40, "two nodes at rest")
    lie = attest_falsely(three, one, liar)
    until(lambda: len(alarms(one)) == len(alarms(two)) == 2, 40, "both alarms everywhere")
    assert {alarm["by"]["name"] for alarm in alarms(one)} == {one.name, two.name}  # type: ignore[index]
    assert {alarm["checkpoint"] for alarm in alarms(two)} == {lie.hex()}
    for node in (one, two):
        text = typed(node, "status")[1]
        assert text.count("ALARM") == 2
        assert f"of {liar.name} contradicts" in text
    shown = json.loads(typed(two, "checkpoint", "show", lie.hex(), "--json")[1])
    assert (shown["verdict"], shown["root"], shown["here"] != shown["root"]) == ("differs", "00" * 32, True)
    assert one.stop() == 0
    three.start([one])
    three.write(one, three.officers[1], [seizure(2)])
    until(lambda: at_rest(one, two.name) and at_rest(two, one.name), 40, "at rest again")
    assert len(alarms(one)) == len(alarms(two)) == 2  # the restarted node knows its own
    assert one.stop() == 0
    assert "ALARM" in typed(one, "status")[1]  # also from the store alone


def test_entries_that_nobody_shows_are_held_back(three: Cluster) -> None:
    one, _, liar = three.nodes
    three.start([one], linked=False)
    unseen = EntryId(bytes(range(32)))
    attest_falsely(three, one, liar, Attested(three.officers[1].public, 7, unseen))
    until(lambda: told(one)[liar.name]["checkpoint"] is not None, 40, "the checkpoint is read")
    row = told(one)[liar.name]
    held = row["held_back"]
    assert row["checkpoint"]["verdict"] is None  # type: ignore[index]
    assert (held["entries"], [log["name"] for log in held["logs"]]) == (7, ["officer 1"])  # type: ignore[index]
    assert "HELD BACK" not in typed(one, "status")[1]  # it may be on its way
    assert alarms(one) == []


def test_exported_note_is_a_signed_note(three: Cluster, tmp_path: Path) -> None:
    one = three.nodes[0]
    three.start([one], linked=False)
    assert typed(one, "checkpoint", "export", "node-1")[0] == 1  # it has written none
    attest_falsely(three, one, three.nodes[1])
    until(lambda: told(one)["node-1"]["checkpoint"] is not None, 40, "the checkpoint is read")
    file = tmp_path / "note"
    status, out, err = typed(one, "checkpoint", "export", "node-1", "-o", str(file))
    assert (status, "note" in out) == (0, True)
    vkey = typed(one, "checkpoint", "export", "node-1", "--key")[1].strip()
    assert vkey in err
    check_signed_note(file.read_bytes(), vkey)
    assert one.stop() == 0
    assert typed(one, "checkpoint", "export", "node-1")[1].encode() == file.read_bytes()
    assert read_note(file.read_bytes()).root == bytes(32)


def check_signed_note(raw: bytes, vkey: str) -> None:
    """As c2sp.org/signed-note says, with nothing of this program."""
    name, digits, encoded = vkey.split("+", 2)
    key = b64decode(encoded)
    assert key[0] == 1
    assert sha256(name.encode() + b"\n" + key).digest()[:4].hex() == digits
    text, _, signatures = raw.decode().rpartition("\n\n")
    dash, who, signed = signatures.rstrip("\n").split(" ")
    assert (dash, who) == ("\u2014", name)
    blob = b64decode(signed)
    assert blob[:4].hex() == digits
    VerifyKey(key[1:]).verify((text + "\n").encode(), blob[4:])
