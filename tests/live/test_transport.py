"""Two nodes and their links, over real sockets on the loopback."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
import trio
from libp2p.stream_muxer.exceptions import MuxedStreamError

from keys.errors import BusyError, UsageError
from keys.signing import PublicKey, SigningKey
from node.transport import DialError, Down, Event, Got, Refused, Transport, TransportLimits, Up, open_transport
from node.transport_fixes import Identity, LostError, RawStream, Stream, parse_target, peer_name
from node.transport_wire import Wire

pytestmark = pytest.mark.live

HERE = "/ip4/127.0.0.1/tcp/0"
SEEDS = sorted((bytes([n]) * 32 for n in range(1, 5)), key=lambda seed: SigningKey.from_seed(seed).public)
SMALL, LARGE, THIRD = SEEDS[0], SEEDS[1], SEEDS[2]  # by their public keys
MIB = 1024 * 1024


def anyone(_key: PublicKey) -> bool:
    return True


def node(
    seed: bytes,
    allowed: Callable[[PublicKey], bool] = anyone,
    limits: TransportLimits | None = None,
    listen: str = HERE,
) -> AbstractAsyncContextManager[Transport]:
    return open_transport(seed=seed, listen=[listen], allowed=allowed, limits=limits)


async def told(transport: Transport, within_s: float = 10) -> Event:
    with trio.fail_after(within_s):
        return await transport.events.receive()


async def got(transport: Transport) -> bytes:
    event = await told(transport)
    assert isinstance(event, Got), event
    return event.message


async def link(a: Transport, b: Transport) -> None:
    """A link that `a` dials, both told."""
    await a.dial(b.addresses[0])
    assert await told(a) == Up(b.public, False, b.addresses[0])
    event = await told(b)
    assert isinstance(event, Up)
    assert (event.peer, event.inbound) == (a.public, True)


async def silence(transport: Transport, for_s: float = 0.1) -> None:
    with trio.move_on_after(for_s):
        raise AssertionError(f"unexpected: {await transport.events.receive()}")


def endpoint(transport: Transport) -> tuple[str, int]:
    target = parse_target(transport.addresses[0])
    return target.host, target.port


@asynccontextmanager
async def bare_wire(seed: bytes, to: Transport) -> AsyncIterator[Wire]:
    """A connection by hand, for those who do not behave."""
    raw = RawStream(await trio.open_tcp_stream(*endpoint(to)))
    peer, muxer = await Identity(seed, anyone).upgrade(raw, to.public, MIB)
    wire = Wire(raw, muxer, peer, "", inbound=False, window_bytes=MIB)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run, 5.0)
        yield wire
        wire.drop()


async def bare_link(wire: Wire) -> Stream:
    stream = await wire.open()
    assert await stream.read() == bytes(4)
    return stream


# -- messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(SMALL, LARGE), (LARGE, SMALL)], ids=["smaller key dials", "larger key dials"])
async def test_messages_of_every_size_arrive_in_order_both_ways(seeds: tuple[bytes, bytes]) -> None:
    sizes = [1, 2, 65_502, 65_503, 65_504, 65_507, 65_508, 131_014, 524_288, 2 * MIB]
    messages = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
    async with node(seeds[0]) as a, node(seeds[1]) as b:
        await link(a, b)
        for message in messages:
            assert a.send(b.public, message)
            assert b.send(a.public, message)
        for message in messages:
            assert await got(b) == message
            assert await got(a) == message
        assert a.queued_bytes(b.public) == 0


async def test_ten_thousand_small_messages_arrive_in_order() -> None:
    async with node(SMALL) as a, node(LARGE) as b:
        await link(a, b)
        for n in range(10_000):
            assert a.send(b.public, b"%d" % n)
        for n in range(10_000):
            assert await got(b) == b"%d" % n


async def test_messages_that_no_peer_would_take_are_not_queued() -> None:
    async with node(SMALL) as a:
        for message in (b"", bytes(2 * MIB + 1)):
            with pytest.raises(ValueError, match="bytes; from 1 to"):
                a.send(PublicKey(bytes(32)), message)
        assert not a.send(PublicKey(bytes(32)), b"nobody is there")


async def test_a_reader_that_stops_holds_the_sender_back_and_then_loses_it() -> None:
    limits = TransportLimits(queue_bytes_max=2 * MIB, window_bytes=MIB, unread_bytes_max=2 * MIB)
    message, sent = bytes(65_536), 0
    async with node(SMALL, limits=limits) as a, node(LARGE, limits=limits) as b:
        await link(a, b)
        with trio.move_on_after(0.5):  # in this time it takes what it will take
            while a.send(b.public, message):
                sent += len(message)
                while a.queued_bytes(b.public) > MIB:
                    await trio.sleep(0.005)
        while a.send(b.public, message):
            sent += len(message)
        down = await told(a)
        assert isinstance(down, Down)
        assert down.reason.startswith("too slow"), down
        held = sent - 2 * MIB  # by the reader: its window, its events, and what the kernel took
        assert held < limits.window_bytes + (limits.events_max + 2) * len(message) + 8 * MIB
        count = 0
        while isinstance(event := await told(b), Got):
            assert event.message == message
            count += 1
        assert isinstance(event, Down)
        assert count > limits.events_max


async def test_a_reader_that_pauses_loses_nothing() -> None:
    message = bytes(MIB)
    async with node(SMALL) as a, node(LARGE) as b:
        await link(a, b)
        for _ in range(7):
            assert a.send(b.public, message)
        await trio.sleep(0.5)
        for _ in range(7):
            assert await got(b) == message


@pytest.mark.slow
async def test_a_reader_that_pauses_longer_than_libp2p_would_wait_loses_nothing() -> None:
    limits = TransportLimits(window_bytes=MIB, events_max=1)
    async with node(SMALL, limits=limits) as a, node(LARGE, limits=limits) as b:
        await link(a, b)
        for n in range(7):
            assert a.send(b.public, bytes([n]) * MIB)
        await trio.sleep(7)
        for n in range(7):
            assert await got(b) == bytes([n]) * MIB


# -- who is admitted ----------------------------------------------------------------------------------


async def test_a_dialler_that_is_not_certified_is_refused_in_the_handshake() -> None:
    async with node(SMALL) as a, node(LARGE, allowed=lambda _key: False) as b:
        with pytest.raises(DialError, match="has not seen our certificate"):
            await a.dial(b.addresses[0])
        assert await told(b) == Refused(a.public, "not certified")
        await silence(a)
        await silence(b)


async def test_a_node_that_is_not_certified_is_not_dialled() -> None:
    async with node(SMALL, allowed=lambda _key: False) as a, node(LARGE) as b:
        with pytest.raises(DialError, match="no certificate"):
            await a.dial(b.addresses[0])
        assert await told(a) == Refused(b.public, "not certified")
        await silence(b)


async def test_whoever_answers_with_another_key_is_not_linked() -> None:
    async with node(SMALL) as a, node(LARGE) as b:
        address = b.addresses[0].rpartition("/")[0] + "/" + peer_name(SigningKey.from_seed(THIRD).public)
        with pytest.raises(DialError, match="PeerIDMismatch"):
            await a.dial(address)
        await silence(a)


async def test_a_revoked_peer_is_cut_off_and_stays_out() -> None:
    certified = {SigningKey.from_seed(LARGE).public}
    async with node(SMALL, allowed=certified.__contains__) as a, node(LARGE) as b:
        await link(a, b)
        certified.clear()
        a.disconnect(b.public, "revoked")
        assert not a.send(b.public, b"x")
        assert await told(a) == Down(b.public, "revoked")
        assert isinstance(await told(b), Down)
        with pytest.raises(DialError):
            await b.dial(a.addresses[0])
        assert await told(a) == Refused(b.public, "not certified")


async def test_a_certificate_that_ends_during_the_handshake_makes_no_link() -> None:
    asked: list[PublicKey] = []

    def once(key: PublicKey) -> bool:
        asked.append(key)
        return len(asked) == 1

    async with node(SMALL) as a, node(LARGE, allowed=once) as b:
        with pytest.raises(DialError):
            await a.dial(b.addresses[0])
        assert await told(b) == Refused(a.public, "not certified")


async def test_more_peers_than_allowed_are_refused() -> None:
    async with node(SMALL) as a, node(LARGE) as b, node(THIRD, limits=TransportLimits(peers_max=1)) as c:
        await link(a, c)
        with pytest.raises(DialError):
            await b.dial(c.addresses[0])
        assert await told(c) == Refused(b.public, "1 links are open, the most allowed")
        with pytest.raises(DialError, match="the most allowed"):
            await c.dial(b.addresses[0])


# -- strangers ----------------------------------------------------------------------------------------

JUNK = {
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(4096),
    "a length of 2^63": b"\xff" * 9 + b"\x01",
    "not UTF-8": b"\x13/multistream/1.0.0\n\x04\xff\xfe\xfd\n",
    "an empty name": b"\x13/multistream/1.0.0\n\x01\n",
    "junk for Noise": b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\xff" * 70_000,
    "only plaintext": b"\x13/multistream/1.0.0\n\x11/plaintext/2.0.0\n",
    "nothing": b"",
}


async def test_junk_on_the_port_harms_nobody() -> None:
    async with node(SMALL) as a, node(LARGE, limits=TransportLimits(upgrade_timeout_s=0.2)) as b:
        for name, junk in JUNK.items():
            stream = await trio.open_tcp_stream(*endpoint(b))
            await stream.send_all(junk)
            refused = await told(b)
            assert isinstance(refused, Refused), name
            assert refused.peer is None
            await stream.aclose()
        await link(a, b)


async def test_idle_strangers_do_not_keep_a_peer_out() -> None:
    async with node(SMALL) as a, node(LARGE, limits=TransportLimits(strangers_max=8)) as b:
        idle = [await trio.open_tcp_stream(*endpoint(b)) for _ in range(40)]
        with trio.fail_after(2):
            await a.dial(b.addresses[0])
        assert isinstance(await told(a), Up)
        for stream in idle:
            await stream.aclose()


async def test_refusals_that_nobody_reads_do_not_stop_the_node() -> None:
    async with node(SMALL) as a, node(LARGE, limits=TransportLimits(events_max=1)) as b:
        for _ in range(20):
            stream = await trio.open_tcp_stream(*endpoint(b))
            await stream.send_all(bytes(64))
            await stream.aclose()
        await trio.sleep(0.05)
        await a.dial(b.addresses[0])


@pytest.mark.parametrize("prefix", [b"\xff\xff\xff\xff", (2 * MIB + 1).to_bytes(4, "big")])
async def test_a_message_that_is_too_long_ends_the_link_before_its_body(prefix: bytes) -> None:
    async with node(SMALL) as a, bare_wire(LARGE, a) as wire:
        stream = await bare_link(wire)
        assert isinstance(await told(a), Up)
        await stream.write(prefix)
        down = await told(a)
        assert isinstance(down, Down)
        assert down.reason.startswith(f"it sent a message of {int.from_bytes(prefix, 'big')} bytes")


async def test_a_second_stream_is_refused_and_the_first_lives() -> None:
    async with node(SMALL) as a, bare_wire(LARGE, a) as wire:
        stream = await bare_link(wire)
        assert isinstance(await told(a), Up)
        with pytest.raises(LostError):
            await wire.open()
        await stream.write(b"\0\0\0\x02ok")
        assert await got(a) == b"ok"


async def test_a_peer_that_opens_streams_without_end_is_dropped() -> None:
    async with node(SMALL) as a, bare_wire(LARGE, a) as wire:
        await bare_link(wire)
        assert isinstance(await told(a), Up)
        opened = 0

        async def open_streams() -> None:
            nonlocal opened
            with suppress(MuxedStreamError):
                while True:
                    await wire._muxer.open_stream()
                    opened += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_streams)
            assert isinstance(await told(a), Down)
            nursery.cancel_scope.cancel()
        assert 64 <= opened < 10_000


# -- ends ---------------------------------------------------------------------------------------------

_CHILD = """
import sys, trio
from node.transport import open_transport
async def main():
    seed, listen = bytes.fromhex(sys.argv[1]), ["/ip4/127.0.0.1/tcp/0"]
    async with open_transport(seed=seed, listen=listen, allowed=lambda _: True) as t:
        print(t.addresses[0], flush=True)
        async for event in t.events:
            pass
trio.run(main)
"""


@pytest.mark.crash
async def test_a_killed_peer_is_down_at_once() -> None:
    child = await trio.lowlevel.open_process([sys.executable, "-c", _CHILD, LARGE.hex()], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        with trio.fail_after(15):
            address = (await child.stdout.receive_some()).decode().strip()
        async with node(SMALL) as a:
            await a.dial(address)
            assert isinstance(await told(a), Up)
            child.send_signal(signal.SIGKILL)
            assert isinstance(await told(a, within_s=2), Down)
    finally:
        child.kill()
        await child.wait()


async def test_leaving_takes_less_than_two_seconds_with_a_peer_that_reads_nothing() -> None:
    async with node(SMALL) as a, bare_wire(LARGE, a) as wire:
        await bare_link(wire)
        assert isinstance(await told(a), Up)
        with trio.fail_after(2):
            async with node(THIRD) as c:
                await c.dial(a.addresses[0])
                await told(c)
                while c.send(a.public, bytes(MIB)) and c.queued_bytes(a.public) < 4 * MIB:
                    await trio.sleep(0)


async def test_what_was_queued_just_before_leaving_still_arrives() -> None:
    async with node(LARGE) as b:
        async with node(SMALL) as a:
            await link(a, b)
            assert a.send(b.public, b"farewell")
        assert await got(b) == b"farewell"
        assert isinstance(await told(b), Down)


async def test_a_port_in_use_is_named() -> None:
    async with node(SMALL) as a:
        taken = a.addresses[0].partition("/p2p/")[0]
        with pytest.RaisesGroup(pytest.RaisesExc(BusyError, match=taken)):
            async with node(LARGE, listen=taken):
                pass


@pytest.mark.parametrize("listen", ["", "junk", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/0", "/ip4/1.2.3/tcp/0"])
async def test_an_address_that_is_wrong_is_named(listen: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(UsageError, match="cannot listen")):
        async with node(SMALL, listen=listen):
            pass


async def test_a_node_behind_a_wildcard_publishes_what_it_announces() -> None:
    async with (
        open_transport(
            seed=SMALL,
            listen=["/ip4/0.0.0.0/tcp/0"],
            announce=["/ip4/127.0.0.1/tcp/0", "/dns4/a.example/tcp/4001"],
            allowed=anyone,
        ) as a,
        node(LARGE, listen="/ip4/0.0.0.0/tcp/0") as b,
    ):
        assert a.addresses[1] == f"/dns4/a.example/tcp/4001/p2p/{peer_name(a.public)}"
        assert b.addresses == ()
        await b.dial(a.addresses[0])
        assert isinstance(await told(b), Up)


# -- dialling -----------------------------------------------------------------------------------------


async def test_a_dial_to_somebody_who_does_not_answer_ends_in_time() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_name(SigningKey.from_seed(LARGE).public)}"
    async with node(SMALL, limits=TransportLimits(dial_timeout_s=0.3)) as a:
        with pytest.raises(DialError, match=r"no answer within 0\.3 s"), trio.fail_after(2):
            await a.dial(address)
    await listener.aclose()


async def test_a_failed_dial_does_not_stand_in_the_way_of_the_next() -> None:
    async with node(SMALL) as a:
        async with node(LARGE) as b:
            address = b.addresses[0]
        with pytest.raises(DialError, match="refused"), trio.fail_after(1):
            await a.dial(address)
        async with node(LARGE, listen=address.partition("/p2p/")[0]) as b, node(THIRD):
            with trio.fail_after(1):
                await a.dial(b.addresses[0])
            assert await told(a) == Up(b.public, False, address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "junk",
        HERE,
        f"/ip4/127.0.0.1/udp/1/p2p/{peer_name(PublicKey(bytes(32)))}",
        "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
    ],
)
async def test_an_address_that_cannot_be_dialled_is_named(address: str) -> None:
    async with node(SMALL) as a:
        with pytest.raises(DialError):
            await a.dial(address)
        with pytest.raises(DialError, match="own address"):
            await a.dial(a.addresses[0])


async def test_a_link_over_ipv6() -> None:
    async with node(SMALL) as a, node(LARGE, listen="/ip6/::1/tcp/0") as b:
        await link(a, b)


async def test_dialling_a_peer_that_is_up_does_nothing() -> None:
    async with node(SMALL) as a, node(LARGE) as b:
        await link(a, b)
        await a.dial(b.addresses[0])
        await b.dial(a.addresses[0])
        await silence(a)
        await silence(b)


@pytest.mark.parametrize("head_start", range(12))
async def test_simultaneous_dials_end_in_one_link(head_start: int) -> None:
    async with node(SMALL) as a, node(LARGE) as b:
        for first, second in ((a, b), (b, a)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.dial, second.addresses[0])
                for _ in range(3 * head_start):
                    await trio.lowlevel.checkpoint()
                nursery.start_soon(second.dial, first.addresses[0])
            up_a, up_b = await told(a), await told(b)
            assert isinstance(up_a, Up)
            assert isinstance(up_b, Up)
            assert up_a.inbound != up_b.inbound
            assert a.send(b.public, b"from a")
            assert b.send(a.public, b"from b")
            assert (await got(a), await got(b)) == (b"from b", b"from a")
            await silence(a, 0.02)
            a.disconnect(b.public, "next")
            assert isinstance(await told(a), Down)
            assert isinstance(await told(b), Down)


@asynccontextmanager
async def cable(to: Transport) -> AsyncIterator[tuple[str, trio.Event]]:
    """An address that leads to `to` until the event is set; then, like a cut cable, it says nothing."""
    cut = trio.Event()

    async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        while not cut.is_set() and (part := await source.receive_some()):
            if not cut.is_set():
                await sink.send_all(part)
        await trio.sleep_forever()

    async def carry(near: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(*endpoint(to)) as far, trio.open_nursery() as both:
            both.start_soon(copy, near, far)
            both.start_soon(copy, far, near)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, carry, listeners)
        port = listeners[0].socket.getsockname()[1]
        yield f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_name(to.public)}", cut
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seeds", [(SMALL, LARGE), (LARGE, SMALL)], ids=["kept by the smaller", "kept by the larger"])
async def test_a_link_that_only_one_side_still_believes_in_gives_way(seeds: tuple[bytes, bytes]) -> None:
    limits = TransportLimits(probe_timeout_s=0.2)
    async with node(seeds[0], limits=limits) as a, node(seeds[1]) as b, cable(b) as (address, cut):
        await a.dial(address)
        assert isinstance(await told(a), Up)
        assert isinstance(await told(b), Up)
        cut.set()
        b.disconnect(a.public, "lost")  # a does not hear of it
        assert isinstance(await told(b), Down)
        await b.dial(a.addresses[0])
        assert isinstance(await told(a), Down)
        up = await told(a)
        assert isinstance(up, Up)
        assert up.inbound
        assert isinstance(await told(b), Up)
        assert a.send(b.public, b"again")
        assert await got(b) == b"again"


async def test_four_hundred_links_one_after_another() -> None:
    async with node(SMALL) as a, node(LARGE) as b:
        for _ in range(400):
            await a.dial(b.addresses[0])
            await told(a)
            await told(b)
            a.disconnect(b.public, "next")
            await told(a)
            await told(b)
        await link(a, b)
