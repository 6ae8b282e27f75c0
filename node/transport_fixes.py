"""What hamkor takes from py-libp2p, made safe. Nothing else in the program imports libp2p or multiaddr.

Taken: the Noise handshake, the Yamux multiplexer, multistream-select, peer ids, multiaddrs; on the wire a node is
an ordinary libp2p peer over TCP. Left out: libp2p's host and swarm. Of the faults met in 0.8.1 most live there
(one bad stream handler ends the host, deaf after 250 connections, failed dials remembered for 60 s and a stale
first address for ever, 250 ms before every connect, SO_REUSEPORT that hides a port in use, closes that wait on a
full socket, TLS and plaintext accepted unless told otherwise), and a node that keeps one stream per peer needs
none of it.

What remains needs these workarounds. Each has its test in tests/live/test_transport_fixes.py.

    fix                      why it is there, and when it may go
    check_version            the subclasses below rely on internals of 0.8.1; goes when they all go
    RawStream.read           libp2p's read_exactly gives up after 101 partial reads; when it loops until EOF
    RawStream.drop           libp2p's closes write first and wait; when there is a close that never blocks
    GatedNoise               no hook says whom to admit; when Noise takes one
    BoundedYamux (control)   the read loop stops while it writes a pong into a full socket, and two such loops
                             stop each other for ever; when replies are queued
    BoundedYamux (unread)    a peer that overruns its window is only warned; when that closes the connection
    Stream.read (window)     every read sends a window update and may double the window, up to 16 MiB; when updates
                             wait for half a window
    Stream.read (rest)       what came just before the connection closed is thrown away; when it can still be read
    Stream.write (stall)     a window shut for 5 s is an error that loses count of what was sent; when it waits
    Turn                     a message takes ten locks, nearly always free, each a turn of the event loop, and so does a
                             write: half of what a short message costs; when it takes none
    Wire (transport_wire)    streams a peer opens are not counted, and an exception in whoever answers one ends
                             everything; when there is a limit per connection
    forward_logs             libp2p's loggers do not propagate; when they do
    propose, agree           its dialler waits for the answer to each of the two lines of multistream-select, three
                             times in a connection: six round trips. Where only one protocol is offered there is
                             nothing to wait for: what follows is sent at once, and the answer, which can only be the
                             same two lines, is read before anything else; when it negotiates lazily
"""

import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from struct import pack
from typing import Any

import libp2p
import trio
from libp2p import create_identity_from_seed
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError, IOException
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect import MULTISELECT_PROTOCOL_ID, Multiselect
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import FLAG_SYN, TYPE_DATA, TYPE_PING, YAMUX_HEADER_FORMAT, Yamux
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from multiaddr import Multiaddr

from keys.errors import LocalError, RemoteError
from keys.signing import PublicKey

LIBP2P_VERSION = "0.8.1"
CHUNK_BYTES = 65_507  # one write: with its Yamux header exactly one Noise message; a byte more makes two
_NOISE_MESSAGE_BYTES = 65_537  # length prefix included: the most that is ever read from a socket in one piece
_RECEIVE_BYTES = 128 * 1024  # asked of the kernel at a time
_CONTROL_FRAMES_MAX = 4096  # unsent pongs, resets, window updates: 48 KiB; an honest peer leaves a few
_ED25519_PREFIX = bytes.fromhex("002408011220")  # peer id = this and the 32 bytes of the key
_STREAM_ERRORS = (MuxedStreamError, IOException, trio.BrokenResourceError)
_log = logging.getLogger("hamkor.libp2p")


class LostError(RemoteError):
    """A connection ended, or must end: the text says why."""


class GoneError(LostError):
    """It was the other side that ended it, or it was not needed: nothing to complain of."""


class NotAllowedError(RemoteError):
    """The peer proved its key, and that key is not admitted."""

    def __init__(self, peer: PublicKey) -> None:
        super().__init__("not certified")
        self.peer = peer


def check_version(version: str = libp2p.__version__) -> None:
    """Raises LocalError unless libp2p is the release that these workarounds were made for."""
    if version != LIBP2P_VERSION:
        raise LocalError(
            f"libp2p {version} is installed, hamkor needs exactly {LIBP2P_VERSION}: "
            f"install it with `pip install libp2p=={LIBP2P_VERSION}`"
        )


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _log.isEnabledFor(record.levelno):
            _log.handle(record)


def forward_logs() -> None:
    """Send what libp2p's loggers say, from WARNING up, to the logger `hamkor.libp2p`, and nowhere else."""
    source = logging.getLogger("libp2p")
    source.handlers[:] = [_Forward()]
    source.propagate = False
    source.setLevel(logging.WARNING)
    if _log.level == logging.NOTSET:
        _log.setLevel(logging.WARNING)


check_version()
forward_logs()


@dataclass(frozen=True, slots=True)
class Target:
    """A dialable address, taken apart."""

    peer: PublicKey
    host: str
    port: int


def parse_listen(address: str) -> tuple[str, int]:
    """Host and port of "/ip4/.../tcp/..." or "/ip6/.../tcp/...". Raises ValueError."""
    parts = _parts(address)
    if [name for name, _ in parts] not in (["ip4", "tcp"], ["ip6", "tcp"]):
        raise ValueError(f"{address!r} is not of the form /ip4/0.0.0.0/tcp/4001")
    return parts[0][1], int(parts[1][1])


@lru_cache(4096)  # an address costs 0.3 ms, and all are looked at twice a second
def parse_target(address: str) -> Target:
    """What to dial for "/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT/p2p/ID". Raises ValueError."""
    parts = _parts(address)
    names = [name for name, _ in parts]
    if names[1:] != ["tcp", "p2p"] or names[0] not in ("ip4", "ip6", "dns", "dns4", "dns6"):
        raise ValueError(f"{address!r} is not of the form /ip4/192.0.2.1/tcp/4001/p2p/ID")
    return Target(key_of(ID.from_base58(parts[2][1])), parts[0][1], int(parts[1][1]))


def _parts(address: str) -> list[tuple[str, str]]:
    try:
        return [(str(protocol.name), str(value)) for protocol, value in Multiaddr(address).items()]
    except Exception as error:  # the library raises its own and a few others
        raise ValueError(f"{address!r} is not a multiaddr: {error}") from None


def peer_name(key: PublicKey) -> str:
    """The libp2p peer id of `key`, as text: what stands after /p2p/."""
    return str(ID(_ED25519_PREFIX + key).to_base58())


def key_of(peer_id: ID) -> PublicKey:
    """The Ed25519 key that a peer id holds. Raises ValueError for ids of other kinds."""
    raw = peer_id.to_bytes()
    if len(raw) != len(_ED25519_PREFIX) + 32 or not raw.startswith(_ED25519_PREFIX):
        raise ValueError("the peer id is not that of an Ed25519 key")
    return PublicKey(raw[len(_ED25519_PREFIX) :])


class RawStream(ReadWriteCloser):  # type: ignore[misc]  # libp2p is not type-checked
    """A TCP connection as libp2p wants it, with whole reads and a close that never waits."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self.received = 0  # bytes, ever
        self.ended = False  # by the other side
        self._arrived = trio.Event()
        self._first = b""  # goes before what is written next
        self._agreeing = ""  # on this protocol, before anything else is read

    def propose(self, protocol: str) -> None:
        """Choose a protocol without waiting: `propose` and `agree` below, at the next write and the next read."""
        self._first, self._agreeing = propose(protocol), protocol

    async def read(self, n: int | None = None) -> bytes:
        """Exactly n bytes. Raises ConnectionClosedError at the end, or when n is more than Noise ever needs."""
        if self._agreeing:
            protocol, self._agreeing = self._agreeing, ""
            await agree(self, protocol)
        size = 1 if n is None else n
        if size > _NOISE_MESSAGE_BYTES:
            raise ConnectionClosedError(f"{size} bytes announced before the handshake")
        while len(self._buffer) < size:
            try:
                part = await self._stream.receive_some(_RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self.ended = True
                raise ConnectionClosedError("connection lost") from error
            if not part:
                self.ended = True
                raise ConnectionClosedError("closed by the peer")
            self.received += len(part)
            self._arrived.set()
            self._arrived = trio.Event()
            self._buffer += part
        if n is None:
            size = len(self._buffer)
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    async def more_than(self, received: int) -> None:
        """Return once more bytes than that have ever come: the other side lives. Needs somebody who reads."""
        while self.received <= received:
            await self._arrived.wait()

    async def write(self, data: bytes) -> None:
        """Send all of it; waits while the other side does not take it, and otherwise not at all."""
        if self._first:
            data, self._first = self._first + data, b""
        try:
            try:
                sent = os.write(self._stream.socket.fileno(), data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                await self._stream.send_all(memoryview(data)[sent:])
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self.ended = True
            raise ConnectionClosedError("connection lost") from error

    def drop(self) -> None:
        """Close now. Whoever reads or writes is woken; nothing is waited for."""
        self._stream.socket.close()

    async def close(self) -> None:
        """`drop`, for libp2p's own code."""
        self.drop()
        await trio.lowlevel.checkpoint()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Host and port of the other side, or None when it is gone."""
        try:
            name = self._stream.socket.getpeername()
        except OSError:
            return None
        return str(name[0]), int(name[1])


class GatedNoise(Noise):  # type: ignore[misc]
    """The Noise handshake, which ends in NotAllowedError for a key that `allowed` does not admit."""

    def __init__(self, key_pair: Any, allowed: Callable[[PublicKey], bool]) -> None:
        super().__init__(key_pair, create_noise_key_pair().private_key)
        self._admits = allowed

    async def secure_inbound(self, conn: Any) -> Any:
        """Answer a handshake; the peer's key is known, and judged, at its third and last message."""
        return self._gate(await super().secure_inbound(conn))

    async def secure_outbound(self, conn: Any, peer_id: ID) -> Any:
        """Begin a handshake with `peer_id`; our key is shown only to a peer that has proved its own."""
        return self._gate(await super().secure_outbound(conn, peer_id))

    def _gate(self, session: Any) -> Any:
        peer = key_of(session.get_remote_peer())
        if not self._admits(peer):
            raise NotAllowedError(peer)
        return session


class Turn:
    """A lock like trio's, which waits for nothing while it is free."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_error: object) -> None:
        self._lock.release()


class BoundedYamux(Yamux):  # type: ignore[misc]
    """Yamux whose read loop never waits for a write, and which holds at most `unread_bytes_max`."""

    def __init__(
        self, secured: Any, peer_id: ID, *, is_initiator: bool, unread_bytes_max: int,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(secured, peer_id, is_initiator=is_initiator)
        self._before = before  # what has to be read first
        self._unread_bytes_max = unread_bytes_max
        self._control: deque[bytes] = deque()
        self._control_waits = trio.Event()
        self.streams_lock = Turn()
        self._write_lock = Turn()

    async def send(self, stream: Any, part: bytes) -> None:
        """Send part of a stream: at most CHUNK_BYTES, and what its window allows."""
        stream.send_window -= len(part)
        await self._write_frame(pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, stream.stream_id, len(part)) + part)

    async def start(self) -> None:
        """Carry frames until the connection ends. Raises LostError when the peer does not agree to."""
        if self._before is not None:
            await self._before()
        await super().start()

    async def _write_frame(self, data: bytes) -> None:
        if data[1] != TYPE_DATA:
            if len(self._control) >= _CONTROL_FRAMES_MAX:
                raise trio.BrokenResourceError("the peer asks for more answers than it takes")
            self._control.append(data)
            self._control_waits.set()
            await trio.lowlevel.checkpoint()
            return
        async with self._write_lock:
            if self._control:  # a stream's first frame must not come after its data
                data = b"".join((*self._control, data))
                self._control.clear()
            await self.secured_conn.write(data)

    async def _flush(self) -> None:
        frames = b"".join(self._control)
        self._control.clear()
        await self.secured_conn.write(frames)

    async def _measure_rtt_loop(self) -> None:
        """Write control frames as they come. Yamux starts this beside its read loop; its pings are not needed."""
        try:
            while True:
                await self._control_waits.wait()
                self._control_waits = trio.Event()
                async with self._write_lock:
                    if self._control:
                        await self._flush()
        except ConnectionClosedError:
            return  # the read loop finds the same

    async def _read_data_body(self, length: int) -> bytes:
        unread = sum(len(buffer) for buffer in self.stream_buffers.values())
        if unread + length > self._unread_bytes_max:
            _log.warning("a peer sends beyond its window: %d bytes unread", unread + length)
            raise trio.TooSlowError  # the read loop closes the connection on this, and only on this
        return bytes(await super()._read_data_body(length))

    async def next_stream(self) -> Any | None:
        """The next stream that the peer opens, or None when the connection has ended."""
        try:
            return await self.accept_stream()
        except MuxedConnUnavailable:
            return None

    async def refuse(self, stream: Any) -> None:
        """Reset a stream and forget what the peer sent on it (libp2p would keep that for a minute)."""
        await stream.reset()
        unread = self.stream_buffers.get(stream.stream_id)
        if unread is not None:
            unread.clear()
            await self._finalize_stream(stream, fully_closed=True)

    async def ping(self) -> None:
        """Make the other side send something, if it lives."""
        self._ping_id += 1
        await self._write_frame(pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, self._ping_id))


class Stream:
    """One Yamux stream, read and written by one task each. Both raise LostError when it ends."""

    def __init__(self, muxer: BoundedYamux, stream: Any) -> None:
        self.inner = stream
        self.inner.window_lock = Turn()
        self._muxer = muxer
        self._unread: bytearray = muxer.stream_buffers.get(stream.stream_id, bytearray())
        self._window_bytes = 0

    def widen(self, window_bytes: int) -> None:
        """From now on, let the peer send that much before it is read; until then, Yamux's 256 KiB in all."""
        self._window_bytes = window_bytes

    async def read(self, n: int = 4 * CHUNK_BYTES) -> bytes:
        """From 1 to n bytes: what is there. What came before the end of the connection is read first."""
        try:
            await self._grant()
            return bytes(await self._muxer.read_stream(self.inner.stream_id, n))
        except _STREAM_ERRORS as error:
            if not self._unread:
                raise LostError("closed by the peer") from error
            rest = bytes(self._unread[:n])
            del self._unread[:n]
            return rest

    async def _grant(self) -> None:
        """Open the window again once half of it is used: what is granted and unread stays below it."""
        missing = self._window_bytes - (self.inner.recv_window + len(self._unread))
        if self._window_bytes and missing >= self._window_bytes // 2:
            self.inner.recv_window += missing
            await self.inner.send_window_update(missing)

    async def write(self, chunk: bytes) -> None:
        """Send all of it; waits, for ever if need be, while the peer's window is shut."""
        wait_s = 0.001
        while chunk:
            if self.inner.closed or self.inner.send_closed:
                raise LostError("closed by the peer")
            if self.inner.send_window <= 0:
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, 0.05)
                continue
            part = chunk[: min(self.inner.send_window, CHUNK_BYTES)]
            try:
                await self._muxer.send(self.inner, part)
            except _STREAM_ERRORS as error:
                raise LostError("closed by the peer") from error
            chunk = chunk[len(part) :]


class Identity:
    """A node's key as libp2p wants it, and the handshakes made with it."""

    def __init__(self, seed: bytes, allowed: Callable[[PublicKey], bool]) -> None:
        key_pair = create_identity_from_seed(seed)
        self.public = PublicKey(key_pair.public_key.to_bytes())
        self._noise = GatedNoise(key_pair, allowed)

    async def upgrade(
        self, raw: RawStream, expected: PublicKey | None, unread_bytes_max: int
    ) -> tuple[PublicKey, BoundedYamux]:
        """Secure and multiplex a TCP connection: as the dialler of `expected`, or as the acceptor of anyone.

        Raises NotAllowedError, and LostError for anything else that a stranger may do. That the peer agrees to Yamux a
        dialler learns when the multiplexer starts. The caller sets the time limit and drops `raw`.
        """
        dialled = expected is not None
        connection = RawConnection(raw, dialled)
        try:
            if expected is not None:
                raw.propose(NOISE)
                session = await self._noise.secure_outbound(connection, ID(_ED25519_PREFIX + expected))
                await session.write(propose(YAMUX))
            else:
                await choose(connection, NOISE)
                session = await self._noise.secure_inbound(connection)
        except NotAllowedError:
            raise
        except Exception as error:  # libp2p, and what it builds on, raise anything on bad bytes
            if raw.ended:
                raise GoneError("it closed the connection during the handshake") from error
            raise LostError(f"the handshake failed: {type(error).__name__}") from error

        async def multiplex() -> None:
            try:
                await (agree(session, YAMUX) if dialled else choose(session, YAMUX))
            except Exception as error:
                if raw.ended:
                    reason = "it closed the connection after the handshake: perhaps it has not seen our certificate yet"
                    raise GoneError(reason) from error
                raise LostError("it knows no Yamux") from error

        if not dialled:
            await multiplex()
        peer_id = session.get_remote_peer()
        muxer = BoundedYamux(
            session, peer_id, is_initiator=dialled, unread_bytes_max=unread_bytes_max,
            before=multiplex if dialled else None,
        )  # fmt: skip
        return key_of(peer_id), muxer


async def choose(connection: Any, protocol: str) -> None:
    """Let the other side choose `protocol`, by multistream-select; "": it may choose none.

    Raises one of libp2p's exceptions.
    """
    await Multiselect({protocol: None} if protocol else {}).negotiate(MultiselectCommunicator(connection))


def propose(protocol: str) -> bytes:
    """What chooses the only protocol there is, by multistream-select; who agrees answers with the same bytes."""
    return b"".join(bytes([len(line) + 1]) + line.encode() + b"\n" for line in (MULTISELECT_PROTOCOL_ID, protocol))


async def agree(connection: Any, protocol: str) -> None:
    """Read that the other side agrees to what was proposed. Raises LostError, and what `connection` raises."""
    expected = propose(protocol)
    head = 1 + expected[0]
    for part in (expected[:head], expected[head : head + 1], expected[head + 1 :]):
        read = b""
        while len(read) < len(part):
            if not (more := await connection.read(len(part) - len(read))):
                raise LostError("closed by the peer")
            read += more
        if read != part:
            raise LostError(f"it does not agree to {protocol}")
