"""Real nodes, real links: what an officer, an agency and an attacker would see."""

import random
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from keys.errors import BusyError
from keys.signing import SigningKey
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
    until(lambda: len({node.status()["entries"] for node in four.nodes}) == 1, 30, "as many entries")


@pytest.mark.crash
def test_twenty_kills_at_any_moment_lose_nothing_that_was_acknowledged(four: Cluster) -> None:
    rng = random.Random(20)
    acknowledged: list[bytes] = []  # ids, appended only once the node has said that they are durable

    def keep_writing(victim: Node, officer: SigningKey, start: int) -> None:
        for number in range(start, start + 10_000):
            try:
                acknowledged.extend(four.write_ids(victim, officer, [seizure(number)] * rng.randint(1, 5)))
            except BusyError:
                return  # killed

    for turn in range(20):
        victim, officer = four.nodes[turn % 4], four.officers[turn % 4]
        before = len(acknowledged)
        writer = threading.Thread(target=keep_writing, args=(victim, officer, turn * 10_000))
        writer.start()
        time.sleep(rng.uniform(0.0, 0.25))
        victim.kill()
        writer.join()
        victim.start()
        four.ready(victim)
        for entry_id in acknowledged[before:][-20:]:  # what others acknowledged last may be on its way
            assert victim.ask("show", prefix=entry_id.hex()) is not None
        assert four.write_ids(victim, officer, [seizure(turn)])  # its next entry continues its chain
    until(four.converged, 60, "equal roots")
    assert len(acknowledged) > 100
    for node in four.nodes:
        assert all(node.ask("show", prefix=entry_id.hex()) is not None for entry_id in acknowledged)
        assert node.status()["failure"] is None
        assert node.status()["forks"] == 0


def test_sigterm_ends_a_node_cleanly_and_soon(four: Cluster) -> None:
    four.write(four.nodes[0], four.officers[0], [seizure(1)])
    started = time.perf_counter()
    assert four.nodes[0].stop() == 0
    assert time.perf_counter() - started < 30  # the daemon's own bound is five seconds
    assert not four.nodes[0].home.socket_path.exists()


async def test_a_node_that_is_stopping_says_that_it_is_busy_so_that_the_writer_tries_again() -> None:
    from node.daemon import Driver

    driver = object.__new__(Driver)
    driver.stopping = True
    with pytest.raises(BusyError, match="try again"):
        await driver.ask(lambda number: pytest.fail(f"request {number} was taken"))


def test_garbage_on_the_port_leaves_the_node_serving(four: Cluster) -> None:
    import socket

    node = four.nodes[0]
    for junk in (b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 0xFFFFFFFF) + b"x" * 100):
        with socket.create_connection(("127.0.0.1", node.port), 5) as stream:
            stream.sendall(junk)
    four.write(node, four.officers[0], [seizure(5)])
    until(four.converged, 20, "equal roots")


async def test_a_node_that_does_not_answer_keeps_no_other_waiting(autojump_clock: MockClock) -> None:
    from node.daemon import Driver

    dialled: list[tuple[str, float]] = []

    class Silence:
        async def dial(self, address: str) -> None:
            dialled.append((address, trio.current_time() - start))
            await trio.sleep(15.0)

    driver = object.__new__(Driver)
    driver.offline, driver._back, driver._rng = False, trio.Event(), random.Random(1)
    addresses = {"silent": 0.0}
    driver._addresses_to_dial = lambda: addresses  # type: ignore[method-assign]
    start = trio.current_time()
    with trio.move_on_after(3.0):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.dialling, Silence())
            await trio.sleep(0.2)
            addresses["other"] = 0.0
    assert [address for address, _ in dialled] == ["silent", "other"]
    assert dialled[1][1] < 1.0
