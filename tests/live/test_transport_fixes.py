"""One test for each workaround in node/transport_fixes.py, and that a node is an ordinary libp2p peer all the same."""

import logging
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from libp2p import create_identity_from_seed, new_host
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.host.exceptions import StreamFailure
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.utils import read_exactly
from libp2p.network.config import ConnectionConfig
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import FLAG_SYN, TYPE_DATA, TYPE_PING, TYPE_WINDOW_UPDATE, Yamux
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from multiaddr import Multiaddr

from keys.errors import LocalError
from keys.signing import PublicKey
from node.transport import Got, Transport, Up, open_transport
from node.transport_fixes import (
    BoundedYamux,
    Identity,
    LostError,
    NotAllowedError,
    RawStream,
    Stream,
    Turn,
    check_version,
    forward_logs,
    key_of,
    peer_name,
)

pytestmark = pytest.mark.live
SEED, OTHER = bytes(32), bytes([1]) * 32
MIB = 1024 * 1024


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, stream, length) + body


class Secured:
    """What Yamux writes to and reads from, played by the test."""

    is_initiator = False

    def __init__(self) -> None:
        self.feed, self._incoming = trio.open_memory_channel[bytes](1000)
        self._rest = b""
        self.written: list[bytes] = []
        self.full = trio.Event()  # set: writes go through

    async def read(self, n: int) -> bytes:
        while len(self._rest) < n:
            try:
                self._rest += await self._incoming.receive()
            except trio.EndOfChannel:
                raise ConnectionClosedError("closed") from None
        taken, self._rest = self._rest[:n], self._rest[n:]
        return taken

    async def write(self, data: bytes) -> None:
        await self.full.wait()
        self.written.append(data)

    async def close(self) -> None:
        self.feed.close()


@asynccontextmanager
async def yamux(kind: type[Any] = BoundedYamux, **arguments: int) -> AsyncIterator[tuple[Any, Secured]]:
    secured = Secured()
    muxer = kind(secured, ID(b""), is_initiator=False, **arguments)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxer.start)
        await muxer.event_started.wait()
        yield muxer, secured
        nursery.cancel_scope.cancel()


async def tcp_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    near = await trio.open_tcp_stream(*listener.socket.getsockname())
    far = await listener.accept()
    await listener.aclose()
    return near, far


def test_another_release_of_libp2p_is_refused() -> None:
    check_version("0.8.1")
    with pytest.raises(LocalError, match=r"libp2p 0\.9\.0 is installed, hamkor needs exactly 0\.8\.1"):
        check_version("0.9.0")


async def test_a_read_is_whole_however_small_the_pieces() -> None:
    near, far = await tcp_pair()
    raw = RawStream(near)

    async def drip() -> None:
        for n in range(300):
            await far.send_all(bytes([n % 251]))
            await trio.sleep(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        assert await read_exactly(raw, 300) == bytes(n % 251 for n in range(300))
    assert raw.received == 300
    with pytest.raises(ConnectionClosedError, match="announced"):
        await raw.read(1 << 40)
    await far.aclose()
    with pytest.raises(ConnectionClosedError):
        await raw.read(1)
    assert raw.ended
    raw.drop()


async def test_a_drop_does_not_wait_for_a_full_socket() -> None:
    near, far = await tcp_pair()
    raw = RawStream(near)
    failed = trio.Event()

    async def fill() -> None:
        with pytest.raises(ConnectionClosedError):
            await raw.write(bytes(64 * MIB))
        failed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill)
        await trio.sleep(0.05)
        assert not failed.is_set()
        raw.drop()
        with trio.fail_after(1):
            await failed.wait()
    await far.aclose()


async def test_the_handshake_asks_whom_to_admit() -> None:
    near, far = await tcp_pair()
    asked: list[PublicKey] = []

    def nobody(key: PublicKey) -> bool:
        asked.append(key)
        return False

    dialler, acceptor = Identity(SEED, lambda _key: True), Identity(OTHER, nobody)
    raw = RawStream(near)
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            with pytest.raises(NotAllowedError):
                await acceptor.upgrade(RawStream(far), None, MIB)
            far.socket.close()

        nursery.start_soon(answer)
        _, muxer = await dialler.upgrade(raw, acceptor.public, MIB)
        with pytest.raises(LostError, match="certificate"):
            await muxer.start()
    assert asked == [dialler.public]
    raw.drop()


PINGS_THEN_DATA = (
    frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 1, 0)
    + frame(TYPE_PING, FLAG_SYN, 0, 7) * 3
    + frame(TYPE_DATA, 0, 1, 5, b"hello")
)


async def test_the_read_loop_goes_on_while_the_socket_takes_no_answer() -> None:
    async with yamux(unread_bytes_max=MIB) as (muxer, secured):
        await secured.feed.send(PINGS_THEN_DATA)
        with trio.fail_after(1):
            stream = Stream(muxer, await muxer.next_stream())
            assert await stream.read() == b"hello"
        secured.full.set()
        await trio.testing.wait_all_tasks_blocked()
        assert b"".join(secured.written).count(frame(TYPE_PING, 2, 0, 7)) == 3


async def test_without_the_fix_the_read_loop_stops() -> None:
    """When this fails, libp2p has changed and the fix may go."""
    async with yamux(Yamux) as (muxer, secured):
        await secured.feed.send(PINGS_THEN_DATA)
        with trio.move_on_after(0.1) as waited:
            await muxer.accept_stream()
        assert waited.cancelled_caught


async def test_a_peer_that_asks_for_more_answers_than_it_takes_is_cut_off() -> None:
    async with yamux(unread_bytes_max=MIB) as (muxer, secured):
        for _ in range(10):
            await secured.feed.send(frame(TYPE_PING, FLAG_SYN, 0, 1) * 1000)
        with trio.fail_after(5):
            await muxer.event_closed.wait()


async def test_a_peer_that_overruns_its_window_is_cut_off() -> None:
    async with yamux(unread_bytes_max=300_000) as (muxer, secured):
        secured.full.set()
        await secured.feed.send(frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 1, 0))
        for _ in range(4):
            await secured.feed.send(frame(TYPE_DATA, 0, 1, 65_536, bytes(65_536)))
        stream = await muxer.next_stream()
        await trio.testing.wait_all_tasks_blocked()
        assert not muxer.event_closed.is_set()
        await secured.feed.send(frame(TYPE_DATA, 0, 1, 65_536, bytes(65_536)))
        with trio.fail_after(1):
            await muxer.event_closed.wait()
        assert len(Stream(muxer, stream)._unread) == 0


async def test_the_window_is_opened_again_by_halves() -> None:
    async with yamux(unread_bytes_max=8 * MIB) as (muxer, secured):
        secured.full.set()
        await secured.feed.send(frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 1, 0))
        stream = Stream(muxer, await muxer.next_stream())
        stream.widen(4 * MIB)
        for _ in range(256):
            await secured.feed.send(frame(TYPE_DATA, 0, 1, 65_536, bytes(65_536)))
            left = 65_536
            while left:
                left -= len(await stream.read())
        grants = [data for data in secured.written if data[1] == TYPE_WINDOW_UPDATE and data[3] == 0]
        granted = sum(struct.unpack("!BBHII", data)[4] for data in grants)
        assert 16 * MIB < granted <= 20 * MIB  # what was sent, and one window
        assert len(grants) <= 9


async def test_what_came_before_the_end_is_read() -> None:
    async with yamux(unread_bytes_max=MIB) as (muxer, secured):
        await secured.feed.send(frame(TYPE_WINDOW_UPDATE, FLAG_SYN, 1, 0))
        stream = Stream(muxer, await muxer.next_stream())
        await secured.feed.send(frame(TYPE_DATA, 0, 1, 8, b"farewell"))
        secured.feed.close()
        await muxer.event_closed.wait()
        assert await stream.read(4) == b"fare"
        assert await stream.read() == b"well"
        with pytest.raises(LostError):
            await stream.read()


class ShutStream:
    """A Yamux stream whose window is shut."""

    stream_id = 1
    closed = send_closed = False
    send_window = 0


async def test_a_write_waits_for_the_window_however_long() -> None:
    async with yamux(unread_bytes_max=MIB) as (muxer, secured):
        secured.full.set()
        shut = ShutStream()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Stream(muxer, shut).write, b"0123456789")
            for window in (3, 3, 4):
                await trio.sleep(0.02)
                shut.send_window += window
        assert shut.send_window == 0
        bodies = [written[12:] for written in secured.written]
        assert b"".join(bodies) == b"0123456789"
        assert secured.written == [frame(TYPE_DATA, 0, 1, len(body), body) for body in bodies]
        shut.closed = True
        with pytest.raises(LostError):
            await Stream(muxer, shut).write(b"x")


async def test_a_turn_is_taken_by_one_at_a_time() -> None:
    turn, inside = Turn(), [0, 0]  # now, and at most

    async def take() -> None:
        for _ in range(20):
            async with turn:
                inside[:] = inside[0] + 1, max(inside[1], inside[0] + 1)
                await trio.lowlevel.checkpoint()
                inside[0] -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(take)
    assert inside == [0, 1]


async def test_a_write_into_a_full_socket_goes_on_where_it_stopped() -> None:
    near, far = await tcp_pair()
    sent = bytes(range(256)) * (8 * 4096)  # more than the kernel takes at once
    taken = bytearray()
    async with near, far, trio.open_nursery() as nursery:
        nursery.start_soon(RawStream(near).write, sent)
        await trio.testing.wait_all_tasks_blocked()
        while len(taken) < len(sent):
            taken += await far.receive_some()
    assert taken == sent


def test_what_libp2p_logs_comes_out_at_one_place(caplog: pytest.LogCaptureFixture) -> None:
    forward_logs()
    logging.getLogger("libp2p.stream_muxer").warning("a warning")
    logging.getLogger("libp2p.stream_muxer").info("not worth it")
    assert [record.getMessage() for record in caplog.records] == ["a warning"]
    logging.getLogger("hamkor.libp2p").setLevel(logging.ERROR)
    logging.getLogger("libp2p.stream_muxer").warning("not now")
    assert len(caplog.records) == 1
    logging.getLogger("hamkor.libp2p").setLevel(logging.WARNING)


def test_a_peer_id_is_that_of_the_key() -> None:
    public = Identity(SEED, lambda _key: True).public
    assert key_of(ID.from_base58(peer_name(public))) == public
    assert ID.from_pubkey(create_identity_from_seed(SEED).public_key).to_base58() == peer_name(public)
    with pytest.raises(ValueError, match="Ed25519"):
        key_of(ID.from_base58("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"))


# -- ordinary libp2p hosts ----------------------------------------------------------------------------


async def test_an_ordinary_libp2p_host_can_link_and_talk() -> None:
    key_pair = create_identity_from_seed(OTHER)
    host = new_host(
        key_pair=key_pair,
        sec_opt={NOISE: Noise(key_pair, create_new_key_pair().private_key)},
        muxer_opt={YAMUX: Yamux},
        connection_config=ConnectionConfig(min_connections=0, low_watermark=0),
    )
    async with listening() as node, host.run(listen_addrs=[]):
        info = info_from_p2p_addr(Multiaddr(node.addresses[0]))
        with trio.fail_after(10):
            await host.connect(info)
            stream = await host.new_stream(info.peer_id, ["/hamkor/1"])
            assert await stream.read(4) == bytes(4)
            up = await node.events.receive()
            assert isinstance(up, Up)
            assert up.inbound
            await stream.write(b"\0\0\0\x05hello")
            assert await node.events.receive() == Got(up.peer, b"hello")
            assert node.send(up.peer, b"world")
            assert await read_exactly(stream, 9) == b"\0\0\0\x05world"
            with pytest.raises(StreamFailure):
                await host.new_stream(info.peer_id, ["/ipfs/id/1.0.0"])
            await host.disconnect(info.peer_id)


async def test_a_libp2p_host_that_speaks_only_plaintext_is_refused() -> None:
    key_pair = create_identity_from_seed(OTHER)
    host = new_host(
        key_pair=key_pair,
        sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair)},
        connection_config=ConnectionConfig(min_connections=0, low_watermark=0),
    )
    async with listening() as node, host.run(listen_addrs=[]):
        info = info_from_p2p_addr(Multiaddr(node.addresses[0]))
        with trio.fail_after(10), pytest.raises(SwarmException):
            await host.get_network()._dial_addr_single_attempt(Multiaddr(node.addresses[0]), info.peer_id)
        with trio.move_on_after(0.05):
            raise AssertionError(f"unexpected: {await node.events.receive()}")


def listening() -> AbstractAsyncContextManager[Transport]:
    return open_transport(seed=SEED, listen=["/ip4/127.0.0.1/tcp/0"], allowed=lambda _key: True)
