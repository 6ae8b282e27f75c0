"""A certified peer that misbehaves: refused, counted, named in `peers`, dropped when it goes on. Others are served."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from keys.signing import PublicKey
from node.home import peer_id
from node.transport import Down, Got, Transport, Up, open_transport
from protocol.entry import NetworkId, Place, open_row, sign_row
from protocol.frame import Run, encode_frame
from protocol.limits import FRAME_BYTES_MAX
from protocol.message import Frame, Hello, decode_message, encode_message
from tests.cluster import Cluster, Node, seeded, seizure, sign_run, until

pytestmark = pytest.mark.live


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three certified nodes, of which two run; the third's key is in hostile hands."""
    cluster = Cluster.found(tmp_path, nodes=3, officers=2, checkpoint_s=0)  # entries are counted
    try:
        cluster.start(cluster.nodes[:2])
        whole = len(cluster.nodes) + len(cluster.officers) + 2  # certificates, and the addresses of the two
        until(lambda: all(node.status()["entries"] == whole for node in cluster.nodes[:2]), 20, "both have all")
        yield cluster
    finally:
        cluster.stop()


def refused(node: Node, key: PublicKey) -> dict[str, object]:
    """What `peers` says of that node."""
    answer = node.ask("peers")
    assert isinstance(answer, dict)
    rows = answer["peers"]
    assert isinstance(rows, list)
    return next(dict(row) for row in rows if isinstance(row, dict) and row["key"] == key.hex())


async def attack(victim: Node, attacker: Node, messages: list[bytes]) -> str:
    """Link to the victim with the attacker's key, send, and wait to be dropped; returns the reason, "" if never."""
    address = f"/ip4/127.0.0.1/tcp/{victim.port}/p2p/{peer_id(victim.key.public)}"
    async with open_transport(
        seed=attacker.key.seed, listen=[], announce=[], allowed=lambda key: key == victim.key.public
    ) as transport:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                reasons: list[str] = []
                linked = trio.Event()

                async def listen(transport: Transport = transport) -> None:
                    async for event in transport.events:
                        if isinstance(event, Up):
                            linked.set()
                        if isinstance(event, Down):
                            reasons.append(event.reason)
                            nursery.cancel_scope.cancel()
                        assert not isinstance(event, Got) or decode_message(event.message) is not None

                nursery.start_soon(listen)
                await transport.dial(address)
                await linked.wait()
                for message in messages:
                    transport.send(victim.key.public, message)
                    await trio.sleep(0.005)
                await trio.sleep(2)
                nursery.cancel_scope.cancel()
    return reasons[0] if reasons else ""


def hostile_messages(cluster: Cluster) -> dict[str, tuple[list[bytes], str]]:
    """By name: what to send, and the reason under which `peers` counts it."""
    network_id = cluster.nodes[0].home.charter().network_id
    officer = cluster.officers[0]
    start = Place(officer.public, 0, None)
    good = sign_run(network_id, officer, start, [("record", seizure(1)), ("record", seizure(2))], 5)
    forged = Run(good.key, 0, None, (good.rows[0], good.rows[1][:-1] + bytes([good.rows[1][-1] ^ 1])))
    foreign = sign_run(NetworkId(bytes(32)), officer, start, [("record", seizure(1))], 5)
    other = seeded("nobody")
    impostor = sign_row(other, network_id, Place(other.public, 0, None), kind="record", body=seizure(1), time_ms=1)

    def frames(run: Run) -> list[bytes]:
        return [encode_message(Frame(number, encode_frame([run]))) for number in range(40)]

    return {
        "junk": ([bytes([number]) * 50 for number in range(1, 41)], "FormatError"),
        "oversized": (
            [encode_message(Frame(n, b"\x00" * FRAME_BYTES_MAX))[:-1] + b"\x00" * 20 for n in range(20)],
            "FormatError",
        ),
        "forged": (frames(forged), "signature"),
        "another's": (frames(Run(good.key, 0, None, (impostor,))), "signature"),
        "foreign network": (frames(foreign), "signature"),
    }


@pytest.mark.parametrize("name", ["junk", "oversized", "forged", "another's", "foreign network"])
async def test_misbehaving_peer_is_counted_named_and_dropped(three: Cluster, name: str) -> None:
    victim, honest, attacker = three.nodes
    messages, reason = hostile_messages(three)[name]
    before = victim.status()["root"]
    dropped = await attack(victim, attacker, messages)
    assert dropped != ""
    row = refused(victim, attacker.key.public)
    assert row["banned"] is True
    assert isinstance(row["refused"], dict)
    assert row["refused"].get(reason, 0) >= 1
    assert victim.status()["root"] == before
    three.write(honest, three.officers[1], [seizure(9)])
    await trio.to_thread.run_sync(
        until, lambda: victim.status()["root"] == honest.status()["root"], 20, "service goes on"
    )


async def test_hello_of_another_network_ends_the_link_at_once(three: Cluster) -> None:
    victim, _, attacker = three.nodes
    dropped = await attack(victim, attacker, [encode_message(Hello(bytes(32), bytes(32), 0))])
    assert dropped != ""
    assert refused(victim, attacker.key.public)["banned"] is True


async def test_entries_that_come_too_early_are_set_aside_and_do_no_harm(three: Cluster) -> None:
    victim, _, attacker = three.nodes
    network_id = victim.home.charter().network_id
    officer = three.officers[0]
    run = sign_run(network_id, officer, Place(officer.public, 0, None), [("record", seizure(n)) for n in range(4)], 5)
    second = open_row(run.rows[1], open_row(run.rows[0], run.place).after)
    late = Run(run.key, 2, second.id, run.rows[2:])
    dropped = await attack(victim, attacker, [encode_message(Frame(0, encode_frame([late])))])
    assert dropped == ""
    assert victim.status()["failure"] is None


async def test_uncertified_key_is_refused_in_the_handshake_and_counted(three: Cluster) -> None:
    victim = three.nodes[0]
    stranger = Node("stranger", victim.home, seeded("stranger"), 0)
    with pytest.raises(ExceptionGroup):
        await attack(victim, stranger, [b"never sent"])

    def counted() -> bool:
        answer = victim.ask("peers")
        assert isinstance(answer, dict)
        rows = answer["strangers"]
        assert isinstance(rows, list)
        return any(isinstance(row, dict) and row["key"] == stranger.key.public.hex() for row in rows)

    await trio.to_thread.run_sync(until, counted, 10, "the stranger is named")
