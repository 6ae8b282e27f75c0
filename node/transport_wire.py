"""One connection to one peer, from the handshake to its one hamkor stream; and that stream's messages.

    message = length (4 bytes, big-endian) and that many bytes

An empty message carries nothing. The acceptor's first message is empty and says: this connection is the link.
The dialler waits for it, so that both sides agree which of two connections made at the same time remains.
"""

import logging
from collections import deque
from dataclasses import dataclass, field

import trio

from keys.signing import PublicKey
from node.transport_fixes import CHUNK_BYTES, BoundedYamux, LostError, RawStream, Stream, agree, choose, propose

PROTOCOL = "/hamkor/1"
_STREAMS_BURST = 64  # streams a peer may open at once, then one a second: foreign libp2p peers try ping, identify
_NEGOTIATIONS_MAX = 4  # streams of one connection that may be choosing their protocol
_PREFIX_BYTES = 4
REASON_CHARS_MAX = 200
_log = logging.getLogger("hamkor.transport")


class Wire:
    """A secured, multiplexed connection to a peer whose key is proven and admitted."""

    def __init__(
        self, raw: RawStream, muxer: BoundedYamux, peer: PublicKey, address: str, *, inbound: bool, window_bytes: int
    ) -> None:
        self.peer = peer
        self.address = address
        self.inbound = inbound
        self.failure: LostError | None = None  # why it never carried anything
        self._raw = raw
        self._muxer = muxer
        self._window_bytes = window_bytes
        self._chosen: Stream | None = None
        self._choosing = 0
        self._accepted = trio.Event()
        self._streams_left = float(_STREAMS_BURST)
        self._counted_at = trio.current_time()

    async def run(self, negotiate_timeout_s: float) -> None:
        """Carry frames and answer streams until the connection ends. Raises no Exception."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._answer_streams, nursery, negotiate_timeout_s)
                try:
                    await self._muxer.start()
                except LostError as error:
                    self.failure = error
                nursery.cancel_scope.cancel()
        except Exception:  # whatever libp2p raises ends this connection and nothing else
            _log.debug("connection to %s failed", self.peer.hex()[:12], exc_info=True)
        finally:
            self.drop()

    def drop(self) -> None:
        """Close now; waits for nothing."""
        self._raw.drop()

    async def open(self) -> Stream:
        """Open the hamkor stream. Raises LostError when the peer does not take it."""
        try:
            stream = Stream(self._muxer, await self._muxer.open_stream())
            await stream.write(propose(PROTOCOL))
            await agree(stream, PROTOCOL)
        except Exception as error:
            raise LostError("it does not take part in hamkor, or closed the connection") from error
        stream.widen(self._window_bytes)
        self._chosen = stream
        return stream

    async def accept(self) -> Stream:
        """The hamkor stream, once the peer has opened it."""
        await self._accepted.wait()
        assert self._chosen is not None
        return self._chosen

    async def answers(self, within_s: float) -> bool:
        """Whether anything at all comes from the peer's machine within that time, a ping's answer at least."""
        before = self._raw.received
        with trio.move_on_after(within_s):
            try:
                await self._muxer.ping()
            except (LostError, trio.BrokenResourceError):
                return False
            await self._raw.more_than(before)
        return self._raw.received > before

    async def _answer_streams(self, nursery: trio.Nursery, timeout_s: float) -> None:
        while (stream := await self._muxer.next_stream()) is not None:
            now = trio.current_time()
            self._streams_left = min(_STREAMS_BURST, self._streams_left + now - self._counted_at) - 1
            self._counted_at = now
            if self._streams_left < 0:
                _log.warning("peer %s opens too many streams", self.peer.hex()[:12])
                self.drop()
                while await self._muxer.next_stream() is not None:
                    continue  # the read loop finds the end only once each that it has read is taken
                return
            if self._choosing < _NEGOTIATIONS_MAX:
                self._choosing += 1
                nursery.start_soon(self._answer, Stream(self._muxer, stream), timeout_s)
            else:
                await self._muxer.refuse(stream)

    async def _answer(self, stream: Stream, timeout_s: float) -> None:
        """Let the peer choose a protocol: hamkor's, once, on a connection that it dialled; else none."""
        offered = PROTOCOL if self.inbound and self._chosen is None else ""
        try:
            with trio.fail_after(timeout_s):
                await choose(stream, offered)
        except Exception:  # a stream's failure is that stream's
            await self._muxer.refuse(stream.inner)
        else:
            if self._chosen is None:
                stream.widen(self._window_bytes)
                self._chosen = stream
                self._accepted.set()
            else:
                await self._muxer.refuse(stream.inner)
        finally:
            self._choosing -= 1


class Inbox:
    """Messages read from a stream."""

    def __init__(self, stream: Stream, message_bytes_max: int) -> None:
        self._stream = stream
        self._message_bytes_max = message_bytes_max
        self._buffer = bytearray()

    async def next(self) -> bytes:
        """The next message, empty or not. Raises LostError, before it reads the body, for one that is too long."""
        await self._fill(_PREFIX_BYTES)
        size = int.from_bytes(self._buffer[:_PREFIX_BYTES], "big")
        if size > self._message_bytes_max:
            raise LostError(f"it sent a message of {size} bytes; at most {self._message_bytes_max} are accepted")
        end = _PREFIX_BYTES + size
        await self._fill(end)
        message = bytes(memoryview(self._buffer)[_PREFIX_BYTES:end])
        del self._buffer[:end]
        return message

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            self._buffer += await self._stream.read()


class Outbox:
    """Messages that wait for a stream, joined into writes of CHUNK_BYTES."""

    def __init__(self) -> None:
        self._parts: deque[memoryview] = deque()
        self._waits = trio.Event()
        self._idle = trio.Event()
        self._idle.set()
        self.size_bytes = 0  # prefixes included, and what is being written

    def put(self, message: bytes) -> None:
        """Add a message. The caller watches `size_bytes`."""
        self._parts.append(memoryview(len(message).to_bytes(_PREFIX_BYTES, "big")))
        if message:
            self._parts.append(memoryview(message))
        self.size_bytes += _PREFIX_BYTES + len(message)
        self._waits.set()
        if self._idle.is_set():
            self._idle = trio.Event()

    async def empty(self) -> None:
        """Return once all of it is written; for ever if the stream has ended."""
        await self._idle.wait()

    async def write_to(self, stream: Stream) -> None:
        """Write everything, for ever. Raises LostError when the stream ends."""
        while True:
            await self._waits.wait()
            self._waits = trio.Event()
            while self._parts:
                chunk = self._take()
                await stream.write(chunk)
                self.size_bytes -= len(chunk)
                if self._parts:
                    await trio.lowlevel.checkpoint()  # writing need not wait for anything
            self._idle.set()

    def _take(self) -> bytes:
        parts: list[memoryview] = []
        free = CHUNK_BYTES
        while self._parts and free:
            part = self._parts.popleft()
            if len(part) > free:
                self._parts.appendleft(part[free:])
                part = part[:free]
            parts.append(part)
            free -= len(part)
        return b"".join(parts)


@dataclass(eq=False, slots=True)
class Link:
    """The one connection to a peer that carries messages."""

    wire: Wire
    stream: Stream
    inbox: Inbox
    outbox: Outbox = field(default_factory=Outbox)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)  # its Down is told
    told: bool = False  # its Up is told
    reason: str = ""  # set once it is to end

    def end(self, reason: str) -> None:
        """Close now; waits for nothing. The first reason counts."""
        self.reason = self.reason or reason[:REASON_CHARS_MAX]
        self.scope.cancel()
        self.wire.drop()
