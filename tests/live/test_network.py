"""Real nodes, real links: what an officer, an agency and an attacker would see."""

import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.codec import Value
from tests.cluster import Cluster, Node, seizure, until

pytestmark = pytest.mark.live


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Cluster]:
    """Four nodes, running and linked."""
    cluster = Cluster.found(tmp_path, nodes=4, officers=4)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def hits(node: Node, words: str) -> list[Value]:
    """What `find` answers."""
    found = node.ask("find", words=words, limit=20)
    assert isinstance(found, dict)
    listed = found["hits"]
    assert isinstance(listed, list)
    return listed


def test_what_is_written_on_one_of_ten_nodes_is_found_on_another_within_a_second(tmp_path: Path) -> None:
    cluster = Cluster.found(tmp_path, nodes=10, officers=1)
    try:
        cluster.start()
        slowest = 0.0
        for turn in range(3):
            cluster.write(cluster.nodes[turn], cluster.officers[0], [seizure(1000 + turn)])
            word = f"word{(1000 + turn) * 104729 % 1000003}"
            for node in cluster.nodes:
                slowest = max(
                    slowest, until(lambda node=node, word=word: bool(hits(node, word)), 5, f"{node.name} finds")
                )
        assert slowest < 5
        print(f"slowest of 30: {slowest * 1000:.0f} ms")
    finally:
        cluster.stop()


def test_both_sides_hold_everything_after_they_were_apart(four: Cluster) -> None:
    apart = four.nodes[3]
    apart.ask("links", up=False)
    until(lambda: apart.status()["peers"] == 0, 10, "apart")
    four.write(apart, four.officers[0], [seizure(1), seizure(2)])
    four.write(four.nodes[0], four.officers[1], [seizure(3)])
    assert not four.converged()
    apart.ask("links", up=True)
    until(four.converged, 30, "equal roots after healing")
    assert all(node.status()["entries"] == four.nodes[0].status()["entries"] for node in four.nodes)


@pytest.mark.crash
def test_twenty_kills_lose_nothing_that_was_acknowledged(four: Cluster) -> None:
    rng = random.Random(20)
    acknowledged = 0
    for turn in range(20):
        victim = four.nodes[turn % len(four.nodes)]
        officer = four.officers[turn % len(four.nodes)]
        answer = four.write(victim, officer, [seizure(turn * 10 + number) for number in range(rng.randint(1, 8))])
        acknowledged += int(str(answer["admitted"]))
        victim.kill()
        victim.start()
        four.ready(victim)
        status = victim.status()
        assert status["failure"] is None
        prepared = victim.ask("prepare", key=officer.public)
        assert isinstance(prepared, dict)
    until(four.converged, 60, "equal roots")
    counts = {int(str(node.status()["records"])) for node in four.nodes}
    assert counts == {acknowledged}


def test_sigterm_ends_a_node_cleanly_and_soon(four: Cluster) -> None:
    four.write(four.nodes[0], four.officers[0], [seizure(1)])
    started = time.perf_counter()
    assert four.nodes[0].stop() == 0
    assert time.perf_counter() - started < 30  # the daemon's own bound is five seconds
    assert not four.nodes[0].home.socket_path.exists()


def test_garbage_on_the_port_leaves_the_node_serving(four: Cluster) -> None:
    import socket

    node = four.nodes[0]
    for junk in (b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 0xFFFFFFFF) + b"x" * 100):
        with socket.create_connection(("127.0.0.1", node.port), 5) as stream:
            stream.sendall(junk)
    four.write(node, four.officers[0], [seizure(5)])
    until(four.converged, 20, "equal roots")
