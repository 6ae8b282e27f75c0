"""Links to other nodes: one per peer, over TCP, Noise and Yamux, which carry messages and tell who is up.

What a peer may cost is in TransportLimits. Whom to admit is asked (`allowed`) in every handshake, both ways.

Which connection is the link, when two nodes dial each other at once or one of them has lost the other unnoticed:
the node with the smaller key decides.
    dialled by                  the smaller-keyed node                  the other
    seen by the smaller-keyed   it has none, or it would not dial       taken, unless its own dial has got through
                                                                        or its own link still answers a ping
    seen by the other           taken, instead of what it had           the smaller one's answer says so
A dial that is overtaken by the peer's own connection succeeds, by that one. Each Up is followed by exactly one
Down, and a peer's next Up comes after it.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trio

from keys.errors import RemoteError
from keys.signing import PublicKey
from node.transport_event import DialError, Down, Event, Got, Refused, TransportLimits, Up
from node.transport_fixes import GoneError, Identity, LostError, NotAllowedError, RawStream, Target, parse_target
from node.transport_listen import open_listeners, published_addresses
from node.transport_wire import REASON_CHARS_MAX, Inbox, Link, Wire

__all__ = ["DialError", "Down", "Event", "Got", "Refused", "Transport", "TransportLimits", "Up", "open_transport"]
_log = logging.getLogger("hamkor.transport")
_FLUSH_S = 0.5  # at the end: how long what is queued may still take to leave
_EYEBALLS_S = 0.05  # before a second address of a host name is tried beside the first


@dataclass(eq=False, slots=True)
class _Dial:
    """A dial under way."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)
    connected: bool = False  # TCP is there: the peer may have heard of it
    failure: Exception | None = None


class Transport:
    """Made by open_transport."""

    def __init__(
        self, identity: Identity, allowed: Callable[[PublicKey], bool], limits: TransportLimits, nursery: trio.Nursery
    ) -> None:
        self._identity = identity
        self._allowed = allowed
        self._limits = limits
        self._nursery = nursery
        self._tell, self.events = trio.open_memory_channel[Event](limits.events_max)
        self._links: dict[PublicKey, Link] = {}
        self._dials: dict[PublicKey, _Dial] = {}
        self._arrivals: dict[PublicKey, Wire] = {}  # inbound, not yet a link: the newest of each peer
        self._strangers: dict[RawStream, None] = {}  # in order of arrival
        self.public = identity.public
        self.addresses: tuple[str, ...] = ()

    def send(self, peer: PublicKey, message: bytes) -> bool:
        """Queue a message for a peer; False when it is not up, or when it is too slow and therefore dropped.

        Never waits. Raises ValueError for an empty message or one of more than message_bytes_max.
        """
        if not 0 < len(message) <= self._limits.message_bytes_max:
            raise ValueError(f"a message of {len(message)} bytes; from 1 to {self._limits.message_bytes_max} are sent")
        link = self._links.get(peer)
        if link is None or not link.told or link.reason:
            return False
        if link.outbox.size_bytes + len(message) > self._limits.queue_bytes_max:
            link.end(f"too slow: {link.outbox.size_bytes} bytes wait for it")
            return False
        link.outbox.put(message)
        return True

    def queued_bytes(self, peer: PublicKey) -> int:
        """What waits to be sent to a peer; 0 when it is not up."""
        link = self._links.get(peer)
        return 0 if link is None or link.reason else link.outbox.size_bytes

    def disconnect(self, peer: PublicKey, reason: str) -> None:
        """Drop every connection of a peer now, made or in the making. Its Down follows, if it was up."""
        if (link := self._links.get(peer)) is not None:
            link.end(reason or "disconnected")
        if (wire := self._arrivals.get(peer)) is not None:
            wire.drop()
        if (dial := self._dials.get(peer)) is not None:
            dial.scope.cancel()

    async def dial(self, address: str) -> None:
        """Connect to a node and return when its link is made; at once when it is up already.

        address: "/ip4/192.0.2.1/tcp/4001/p2p/ID", or with ip6, dns, dns4, dns6. Raises DialError.
        """
        try:
            target = parse_target(address)
        except ValueError as error:
            raise DialError(str(error)) from None
        peer = target.peer
        if peer == self.public:
            raise DialError(f"{address} is this node's own address")
        while (other := self._dials.get(peer)) is not None:
            await other.done.wait()
        if self._is_linked(peer):
            return
        if not self._allowed(peer):
            self._refuse(peer, "not certified")
            raise DialError(f"{address} is not dialled: no certificate held here reaches the key it names")
        if len(self._links) >= self._limits.peers_max:
            raise DialError(f"{address} is not dialled: {len(self._links)} links are open, the most allowed")
        await self._dial(address, target)

    async def _dial(self, address: str, target: Target) -> None:
        dial = self._dials[target.peer] = _Dial()
        self._nursery.start_soon(self._outbound, address, target, dial)
        timeout_s = self._limits.dial_timeout_s
        try:
            with trio.move_on_after(timeout_s):
                await dial.done.wait()
        finally:
            in_time = dial.done.is_set()
            if not in_time:
                dial.scope.cancel()
        if self._is_linked(target.peer):
            return
        if dial.failure is not None:
            raise DialError(f"cannot reach {address}: {_text(dial.failure)}") from dial.failure
        if not in_time:
            raise DialError(f"cannot reach {address}: no answer within {timeout_s:g} s")
        raise DialError(f"{address}: the connection was dropped again at once")

    async def _outbound(self, address: str, target: Target, dial: _Dial) -> None:
        """Make a connection and live on it. Settles `dial`, raises nothing."""
        try:
            with dial.scope:
                raw = RawStream(await trio.open_tcp_stream(target.host, target.port, happy_eyeballs_delay=_EYEBALLS_S))
                dial.connected = True
                try:
                    await self._live(await self._upgrade(raw, target.peer, address), dial)
                finally:
                    raw.drop()
        except (OSError, RemoteError) as error:
            dial.failure = error
        except Exception as error:
            _log.exception("dialling %s failed", address)
            dial.failure = error
        finally:
            self._settle(target.peer, dial)

    def _settle(self, peer: PublicKey, dial: _Dial) -> None:
        """Its outcome is known: from here on nothing cancels it as a dial."""
        if self._dials.get(peer) is dial:
            del self._dials[peer]
        dial.done.set()

    async def _inbound(self, stream: trio.SocketStream) -> None:
        """Whatever becomes of a connection from outside. Raises nothing."""
        raw = RawStream(stream)
        peer: PublicKey | None = None
        try:
            wire = await self._meet(raw)
            peer = wire.peer
            await self._live(wire)
        except NotAllowedError as error:
            self._refuse(error.peer, str(error))
        except GoneError as error:
            _log.debug("a connection of %s was closed: %s", peer.hex()[:12] if peer else "?", error)
        except LostError as error:
            self._refuse(peer, str(error))
        except Exception:
            _log.exception("a connection from outside was closed")
        finally:
            raw.drop()

    async def _meet(self, raw: RawStream) -> Wire:
        """A stranger's handshake, within its time and its number."""
        host, port = raw.get_remote_address() or ("0.0.0.0", 0)  # noqa: S104  # it is gone already
        if len(self._strangers) >= self._limits.strangers_max:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.drop()
        self._strangers[raw] = None
        try:
            with trio.fail_after(self._limits.upgrade_timeout_s):
                return await self._upgrade(raw, None, f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}")
        except trio.TooSlowError:
            raise LostError("no handshake in time") from None
        finally:
            self._strangers.pop(raw, None)

    async def _upgrade(self, raw: RawStream, expected: PublicKey | None, address: str) -> Wire:
        peer, muxer = await self._identity.upgrade(raw, expected, self._limits.unread_bytes_max)
        return Wire(raw, muxer, peer, address, inbound=expected is None, window_bytes=self._limits.window_bytes)

    async def _live(self, wire: Wire, dial: _Dial | None = None) -> None:
        """The life of a connection, its link's Up and Down included. Raises if it never became the link."""
        link: Link | None = None
        link_made = trio.Event()
        failure: RemoteError | None = GoneError("it closed the connection")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_wire, wire, nursery.cancel_scope, link_made)
                try:
                    older, link = await (self._take(wire) if wire.inbound else self._open(wire))
                    failure = None
                    link_made.set()
                    if dial is not None:
                        self._settle(wire.peer, dial)
                    await self._carry(link, older)
                except (LostError, NotAllowedError) as error:
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            if link is not None:
                link.end("connection lost")
                if not link.told:
                    self._forget(link)
        if failure is not None:
            raise wire.failure or failure
        if link is not None and link.told:
            await self._tell.send(Down(wire.peer, link.reason))
            self._forget(link)

    async def _run_wire(self, wire: Wire, scope: trio.CancelScope, link_made: trio.Event) -> None:
        await wire.run(self._limits.upgrade_timeout_s)
        if not link_made.is_set():  # else the link's reader finds the end, after what came before it
            scope.cancel()

    async def _open(self, wire: Wire) -> tuple[Link | None, Link]:
        stream = await wire.open()
        inbox = Inbox(stream, self._limits.message_bytes_max)
        if await inbox.next():
            raise LostError("its first message is not the empty one")
        return self._register(Link(wire, stream, inbox))

    async def _take(self, wire: Wire) -> tuple[Link | None, Link]:
        if (older := self._arrivals.get(wire.peer)) is not None:
            older.drop()
        self._arrivals[wire.peer] = wire
        try:
            with trio.move_on_after(self._limits.upgrade_timeout_s) as timeout:
                stream = await wire.accept()
            if timeout.cancelled_caught:
                raise LostError("it opened no hamkor stream in time")
            await self._decide(wire)
            link = Link(wire, stream, Inbox(stream, self._limits.message_bytes_max))
            link.outbox.put(b"")  # the word that this is the link
            return self._register(link)
        finally:
            if self._arrivals.get(wire.peer) is wire:
                del self._arrivals[wire.peer]

    async def _decide(self, wire: Wire) -> None:
        """Return when this inbound connection is to be the link; raise LostError when not. See the table above."""
        dial = self._dials.get(wire.peer)
        if dial is not None:
            if self.public < wire.peer and dial.connected:
                with trio.move_on_after(self._limits.probe_timeout_s):
                    await dial.done.wait()
            if not dial.done.is_set():
                dial.scope.cancel()
        link = self._links.get(wire.peer)
        if self.public < wire.peer and link is not None and not link.wire.inbound and not link.reason:
            if await link.wire.answers(self._limits.probe_timeout_s):
                raise GoneError("there is a link already")
            link.end("it no longer answers, and has connected anew")

    def _register(self, link: Link) -> tuple[Link | None, Link]:
        """Make it the peer's link, from here on without a pause. Also returns the one before it, ended."""
        peer = link.wire.peer
        if not self._allowed(peer):
            raise NotAllowedError(peer)
        older = self._links.get(peer)
        if older is not None:
            older.end("replaced by a newer connection")
        elif len(self._links) >= self._limits.peers_max:
            raise LostError(f"{self._limits.peers_max} links are open, the most allowed")
        self._links[peer] = link
        return older, link

    def _forget(self, link: Link) -> None:
        if self._links.get(link.wire.peer) is link:
            del self._links[link.wire.peer]
        link.done.set()

    def _is_linked(self, peer: PublicKey) -> bool:
        link = self._links.get(peer)
        return link is not None and not link.reason

    async def _carry(self, link: Link, older: Link | None) -> None:
        """Tell its Up, after the Down of the link before, and carry messages until it ends."""
        with link.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, link)  # the peer has our word even if nobody here listens yet
                if older is not None:
                    await older.done.wait()
                link.told = True
                try:
                    await self._tell.send(Up(link.wire.peer, link.wire.inbound, link.wire.address))
                except trio.Cancelled:
                    link.told = False
                    raise
                await self._read(link)

    async def _write(self, link: Link) -> None:
        with suppress(LostError):  # the reader finds the same, and has things to read first
            await link.outbox.write_to(link.stream)

    async def _read(self, link: Link) -> None:
        try:
            while True:
                if message := await link.inbox.next():
                    got = Got(link.wire.peer, message)
                    try:
                        self._tell.send_nowait(got)
                    except trio.WouldBlock:
                        await self._tell.send(got)
        except LostError as error:
            link.end(str(error))

    def _refuse(self, peer: PublicKey | None, reason: str) -> None:
        """Tell it if somebody listens: strangers must not be able to stop the node by filling its queue."""
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._tell.send_nowait(Refused(peer, reason[:REASON_CHARS_MAX]))

    async def _close(self) -> None:
        """Let what is queued leave, for a moment, and then drop everything."""
        with trio.CancelScope(shield=True), trio.move_on_after(_FLUSH_S):
            for link in list(self._links.values()):
                await link.outbox.empty()
        for link in self._links.values():
            link.end("this node stops")
        for wire in self._arrivals.values():
            wire.drop()
        self._nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_transport(
    *,
    seed: bytes,
    listen: Sequence[str],
    announce: Sequence[str] = (),
    allowed: Callable[[PublicKey], bool],
    limits: TransportLimits | None = None,
) -> AsyncIterator[Transport]:
    """A transport that listens until the block is left, which takes less than 2 s.

    seed: the node key's, 32 bytes. listen: "/ip4/127.0.0.1/tcp/0" and the like; port 0 takes any that is free.
    announce: the addresses to publish instead, for nodes behind 0.0.0.0 or a router; port 0 stands for the one
    listened on. Raises UsageError (an address is wrong) or BusyError (it is taken).
    """
    async with trio.open_nursery() as nursery:
        transport = Transport(Identity(seed, allowed), allowed, limits or TransportLimits(), nursery)
        listeners = await open_listeners(listen)
        ports = [int(listener.socket.getsockname()[1]) for listener in listeners]
        transport.addresses = published_addresses(transport.public, listen, announce, ports)
        if listeners:
            nursery.start_soon(trio.serve_listeners, transport._inbound, listeners)  # noqa: SLF001
        try:
            yield transport
        finally:
            await transport._close()  # noqa: SLF001


def _text(error: BaseException) -> str:
    """What to tell a person of an exception that may have no text, or hold others."""
    if isinstance(error, BaseExceptionGroup):
        return _text(error.exceptions[0])
    if isinstance(error, OSError):
        return error.strerror or (_text(error.__cause__) if error.__cause__ else str(error))
    return str(error) or type(error).__name__
