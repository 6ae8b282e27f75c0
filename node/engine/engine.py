"""The heart of a node, without a clock, a socket or a disk: `handle(event, now)` returns what to do.

    event            outputs
    PeerUp           Send hello
    Received         Send answers; Commit what it brought, unless a commit is under way or was just now
    Submitted        Commit, or it joins the next one
    Committed        Send pushes and acks; Reply; Notify; the next Commit
    CommitFailed     Reply with the error; no more writes until an empty commit succeeds
    TimerFired       whatever is due: commit, push, announcements, acks, sync, keepalive, unanswered wants

An output appears only once what it promises is durable: entries are acknowledged, pushed and announced from
`Committed` on, never before. One commit is under way at a time and takes all that has come meanwhile (group
commit), so commits cannot finish out of order. What peers send in quick succession is committed, pushed on and
acknowledged together (`pace.py`): alone it goes at once, and what somebody waits for here always does.

How entries travel (SPEC.md 6): what is written here is pushed to all neighbours, what comes from one to a few
*eager* others, and announced to the rest; over a link that turns out to bring a log's entries a second time they are
announced, too. Sync compares digests, then heads, with a random peer from time to time; whoever is behind asks, and
is answered in frames, at most a window of them unacknowledged. `sync.py` decides what to ask for.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from keys.errors import AdmissionError, FormatError, HamkorError, NetworkMismatchError, StorageError
from keys.signing import PublicKey
from ledger.ingest import Item, Outcome
from ledger.store import CommitResult, Ledger
from node.engine.events import (
    BundleSubmitted,
    ChunkAsked,
    ChunkBrought,
    Commit,
    CommitFailed,
    Committed,
    Disconnect,
    Event,
    Notify,
    Now,
    Output,
    PeerDown,
    PeerUp,
    Received,
    Reply,
    Send,
    Submitted,
    TimerFired,
)  # fmt: skip
from node.engine.pace import Pace
from node.engine.peer import BUDGET_NS, Made, Peer, forget_oldest
from node.engine.sync import Sync
from protocol.limits import HEADS_MAX
from protocol.message import (
    Ack,
    Bye,
    Chunk,
    Digest,
    Fork,
    Frame,
    Get,
    Have,
    Hello,
    Ids,
    Message,
    Ping,
    Pong,
    Probe,
    Ranges,
    Same,
    Want,
    decode_message,
    encode_message,
)  # fmt: skip
from protocol.reconcile import Head

MS: Final = 1_000_000  # ns
_LATER_MAX: Final = 4096  # announced heads that get time to come by another link


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an operator may tune. Times in ms."""

    eager_max: int = 4  # neighbours to which what came from another is pushed
    own_max: int = 32  # links, up to which what is written here is pushed over all of them
    burst: int = 8  # commits, or pushes, that go at once after a quiet time
    commit_wait_ms: int = 100  # between them, where peers send in quick succession
    push_wait_ms: int = 50
    tell_wait_ms: int = 500  # announcements gather this long: longer than a push takes
    tell_gap_ms: int = 1_000  # between announcements that come in quick succession
    tell_max: int = 4  # links, the longest untold first, that are told at a time
    ack_wait_ms: int = 2_000  # acks gather this long: the peer's window has room enough
    sync_interval_ms: int = 30_000
    ping_after_ms: int = 10_000  # of silence
    silent_after_ms: int = 30_000  # then the peer is dropped
    want_wait_ms: int = 10_000  # then another peer is asked
    retry_after_ms: int = 5_000  # after a failed commit
    ban_ms: int = 600_000
    window_bytes: int = 4 * 1024 * 1024  # unacknowledged frames to one peer
    commit_bytes: int = 2 * 1024 * 1024  # about what one transaction takes; meanwhile half a window is on its way
    gather_bytes: int = 64 * 1024  # that much is committed, or acknowledged, without waiting for more
    # Budgets of one peer. Who goes over one is dropped and banned; honest peers stay far below.
    refusals_max: int = 16  # over a link's life
    inbox_bytes_max: int = 16 * 1024 * 1024  # frames that wait for a commit
    inbox_frames_max: int = 4096  # frames and fork proofs that wait for a commit
    messages_max: int = 60_000  # in 30 s: 2,000 a second cost about a fifth of a core
    requests_max: int = 6_000  # in 30 s, of those that have to be looked up: digest, ranges, want, probe
    waiting_max: int = 8192  # in 30 s, runs that came before what they follow
    disputed_max: int = 2048  # in 30 s, runs and proofs beyond a fork or a cutoff: it was told of that at the first
    branches_max: int = 16  # in 30 s, runs for which another branch had to make way
    repeated_max: int = 300_000  # in 30 s, entries that are held already: about a tenth of a core


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a queued item came from: a peer's frame (or fork proof), or a request on this machine."""

    peer: Peer | None = None  # the link itself: what came over an older one is not credited to a newer one
    frame: int | None = None
    request: int | None = None
    size_bytes: int = 0
    written: bool = False  # here, just now: nobody else has it


class Engine:
    """One node. `key` is its own; `rng` chooses peers and nothing else."""

    def __init__(self, key: PublicKey, ledger: Ledger, rng: Random, settings: EngineSettings | None = None) -> None:
        self.key = key
        self.ledger = ledger
        self.settings = settings or EngineSettings()
        self.peers: dict[PublicKey, Peer] = {}
        self.failure: HamkorError | None = None  # set: the disk failed, nothing is written
        self.banned: dict[PublicKey, int] = {}  # peer -> until mono_ns
        self.past_refusals: Counter[tuple[PublicKey, str]] = Counter()  # of links that are gone
        self._rng = rng
        self._sync = Sync(ledger)
        self._queue: deque[tuple[_Origin, Item | str]] = deque()  # a str is a bundle's path
        self._gathered_bytes = 0  # that came into it since it was empty
        self._awaited = False  # something in it is somebody's here, who waits
        self._bringers: dict[PublicKey, PublicKey] = {}  # log -> the peer that last pushed news of it
        self._later: deque[tuple[int, Peer, Head]] = deque()  # announced, and looked at from then on (mono_ns)
        self._under_way: tuple[_Origin, ...] | None = None
        self._batch = 0
        self._timers: dict[str, int] = {}  # name -> mono_ns
        chosen = self.settings
        self._commit_pace = Pace(chosen.commit_wait_ms * MS, chosen.burst)
        self._push_pace = Pace(chosen.push_wait_ms * MS, chosen.burst)
        self._tell_pace = Pace(chosen.tell_gap_ms * MS, 2)
        self._out: list[Output] = []

    # -- the interface ----------------------------------------------------------------------------

    def handle(self, event: Event, now: Now) -> list[Output]:
        """Take one event; return what to do, in order. Never raises on anything a peer sent."""
        self._out = []
        match event:
            case Received():
                self._received(event, now)
            case Committed():
                self._committed(event, now)
            case Submitted():
                self._submit(_Origin(request=event.request, written=True), event.runs)
            case BundleSubmitted():
                self._submit(_Origin(request=event.request), event.path)
            case TimerFired():
                self._timer(now)
            case PeerUp():
                self._peer_up(event, now)
            case PeerDown():
                self._peer_down(event, now)
            case CommitFailed():
                self._commit_failed(event, now)
        self._flush_asks(now)
        self._start_commit(now)
        return self._out

    def deadline(self) -> int | None:
        """When TimerFired is due, mono_ns; None when nothing waits."""
        return min(self._timers.values(), default=None)

    def is_banned(self, peer: PublicKey, now: Now) -> bool:
        """Whether that peer was dropped for what it sent, and its time is not up."""
        until = self.banned.get(peer)
        return until is not None and now.mono_ns < until

    def size(self) -> int:
        """How many things are held in memory beside the heads: bounded, whatever the peers do."""
        own = len(self._queue) + len(self._later) + len(self._bringers)
        return own + self._sync.size() + sum(peer.size() for peer in self.peers.values())

    # -- links ------------------------------------------------------------------------------------

    def _peer_up(self, event: PeerUp, now: Now) -> None:
        if self.is_banned(event.peer, now):
            self._out.append(Disconnect(event.peer, "banned for what it sent before"))
            return
        self._forget_link(event.peer)
        peer = Peer(event.peer, event.inbound, heard_ns=now.mono_ns, since_ms=now.wall_ms)
        self.peers[event.peer] = peer
        self._choose_eager()
        heads = self.ledger.heads
        self._send(peer, Hello(self.ledger.network_id, heads.fingerprint(), self.ledger.entries))
        self._arm("keepalive", now, self.settings.ping_after_ms)
        self._arm("sync", now, self._sync_wait_ms())

    def _peer_down(self, event: PeerDown, now: Now) -> None:
        if self._forget_link(event.peer):
            self._ask_somebody()

    def _forget_link(self, key: PublicKey) -> bool:
        """Drop all that is held for a link; True when something was wanted over it, and others are to be asked."""
        peer = self.peers.pop(key, None)
        if peer is None:
            return False
        self._queue = deque(item for item in self._queue if item[0].peer is not peer)  # sync finds it again
        for reason, count in peer.counted().items():
            if len(self.past_refusals) < HEADS_MAX:
                self.past_refusals[(peer.key, reason)] += count
        self._choose_eager()
        return self._sync.forget(peer.key)

    def _choose_eager(self) -> None:
        lazy = [key for key, peer in sorted(self.peers.items()) if not peer.eager]
        missing = self.settings.eager_max - (len(self.peers) - len(lazy))
        for key in self._rng.sample(lazy, min(max(missing, 0), len(lazy))):
            self.peers[key].eager = True

    def _refuse(self, peer: Peer, error: HamkorError, now: Now) -> None:
        """Count what a peer did wrong; drop it when it goes on."""
        reason = error.reason if isinstance(error, AdmissionError) else type(error).__name__
        peer.refusals[reason] += 1
        if peer.refusals.total() >= self.settings.refusals_max or isinstance(error, NetworkMismatchError):
            self._drop(peer, f"{reason}: {error}"[:200], now)

    def _drop(self, peer: Peer, reason: str, now: Now) -> None:
        if peer.key in self.peers and not self.is_banned(peer.key, now):
            self.banned = {key: until for key, until in self.banned.items() if until > now.mono_ns}
            self.banned[peer.key] = now.mono_ns + self.settings.ban_ms * MS
            self._send(peer, Bye(reason))
            self._out.append(Disconnect(peer.key, reason))

    def _send(self, peer: Peer, message: Message) -> None:
        self._out.append(Send(peer.key, encode_message(message)))

    # -- messages ---------------------------------------------------------------------------------

    def _received(self, event: Received, now: Now) -> None:
        peer = self.peers.get(event.peer)
        if peer is None or self.is_banned(peer.key, now):
            return  # it was dropped while this was on its way
        peer.heard_ns, peer.pinged = now.mono_ns, False
        if not self._may(peer, "messages", 1, self.settings.messages_max, now):
            return
        try:
            message = decode_message(event.message)
            is_request = isinstance(message, (Digest, Ranges, Want, Probe))
            if not is_request or self._may(peer, "requests", 1, self.settings.requests_max, now):
                self._dispatch(peer, message, now)
        except (FormatError, NetworkMismatchError) as error:
            self._refuse(peer, error, now)

    def _may(self, peer: Peer, what: str, count: int, most: int, now: Now) -> bool:
        """Take `count` from a budget of the peer's; False: it went over it, and is dropped."""
        if peer.spend(what, count, now.mono_ns) <= most:
            return True
        peer.refusals[what] += 1
        self._drop(peer, f"{what}: more than {most} in {BUDGET_NS // 10**9} s", now)
        return False

    def _dispatch(self, peer: Peer, message: Message, now: Now) -> None:
        match message:
            case Frame():
                self._frame(peer, message, now)
            case Ack():
                peer.acknowledge(message.count)
                self._serve(peer, now)
            case Have():
                peer.spare(message.heads)
                self._announced(peer, message.heads, now)
            case Want():
                for key, first, end in message.logs:
                    peer.owed.pop(key, None)  # it knows better than we do where it stands
                    peer.owe(key, first, end)
                    peer.wants(key)
                self._serve(peer, now)
            case Ranges():
                answer, learnt = self._sync.answer(message)
                if answer is not None:
                    self._send(peer, answer)
                self._learn(peer, learnt, now)
            case Fork():
                size = sum(len(header) + len(signature) for side in message.sides for header, signature in side)
                self._take(peer, _Origin(peer=peer, size_bytes=size), message, now)
            case Hello():
                self._hello(peer, message, now)
            case _:
                self._small_message(peer, message, now)

    def _small_message(self, peer: Peer, message: Message, now: Now) -> None:
        match message:
            case Digest():
                mine = self.ledger.heads.fingerprint()
                if mine == message.digest:
                    peer.same_ms = now.wall_ms
                    self._send(peer, Same(mine))
                else:
                    self._send(peer, self._sync.opening())
            case Same():
                peer.same_ms = now.wall_ms
            case Ping():
                self._send(peer, Pong(message.number))
            case Probe():
                self._send(peer, Ids(message.key, tuple(self.ledger.ids_at(message.key, message.seqs))))
            case Ids():
                step = self._sync.compare_ids(peer.key, message)
                if isinstance(step, Probe):
                    self._send(peer, step)
                elif step is not None:
                    peer.asking.append(step)
            case Get():
                self._out.append(ChunkAsked(peer.key, message.hash))
            case Chunk():
                self._out.append(ChunkBrought(peer.key, message.hash, message.content))
            case _:
                return  # Pong was noted as a sign of life; Bye is followed by PeerDown

    def _hello(self, peer: Peer, hello: Hello, now: Now) -> None:
        if hello.network_id != self.ledger.network_id:
            raise NetworkMismatchError(f"the peer is of network {hello.network_id.hex()[:12]}")
        if hello.version != 1:
            raise FormatError(f"the peer speaks version {hello.version} of the protocol; this program speaks 1")
        peer.entries = hello.entries
        if hello.digest == self.ledger.heads.fingerprint():
            peer.same_ms = now.wall_ms
        elif self.key < peer.key:  # one of the two opens
            self._send(peer, self._sync.opening())

    def _frame(self, peer: Peer, frame: Frame, now: Now) -> None:
        self._sync.progress(peer.key, self._wants_deadline(now))
        origin = _Origin(peer=peer, frame=frame.number, size_bytes=len(frame.frame))
        self._take(peer, origin, frame.frame, now)

    def _take(self, peer: Peer, origin: _Origin, item: Item, now: Now) -> None:
        """Queue what a peer sent for the next commit, within its budget."""
        over = peer.inbox_bytes + origin.size_bytes > self.settings.inbox_bytes_max
        if over or peer.inbox_frames >= self.settings.inbox_frames_max:
            peer.refusals["inbox"] += 1
            self._drop(peer, "it sends more than the window that both sides agreed on", now)
        elif self.failure is None:  # a failed disk takes nothing; unacknowledged frames come again
            peer.inbox_bytes += origin.size_bytes
            peer.inbox_frames += 1
            self._gathered_bytes += origin.size_bytes
            self._queue.append((origin, item))

    # -- asking and serving -----------------------------------------------------------------------

    def _learn(self, peer: Peer, heads: Iterable[Head], now: Now) -> None:
        for head in heads:
            peer.learn(head.key, head.size)
            if not self._sync.has_room(peer.key, head):
                peer.limited["unknown keys"] += 1
                continue
            step = self._sync.consider(peer.key, head, self._wants_deadline(now))
            if isinstance(step, (Fork, Probe)):
                self._send(peer, step)
            elif step is not None:
                peer.asking.append(step)

    def _announced(self, peer: Peer, heads: Iterable[Head], now: Now) -> None:
        """Look at what a peer announces; later, where another brings that log: it may be on its way."""
        soon: list[Head] = []
        for head in heads:
            bringer = self._bringers.get(head.key, peer.key)
            news = not head.forked and head.size > self.ledger.heads.get(head.key).size
            if news and bringer != peer.key and bringer in self.peers and len(self._later) < _LATER_MAX:
                peer.learn(head.key, head.size)
                self._later.append((now.mono_ns + 2 * self.settings.tell_wait_ms * MS, peer, head))
                self._arm_at("later", self._later[0][0])
            else:
                soon.append(head)
        self._learn(peer, soon, now)

    def _look_later(self, now: Now) -> None:
        while self._later and self._later[0][0] <= now.mono_ns:
            _, peer, head = self._later.popleft()
            if self.peers.get(peer.key) is peer and head.size > self.ledger.heads.get(head.key).size:
                self._learn(peer, [head], now)
        if self._later:
            self._arm_at("later", self._later[0][0])

    def _flush_asks(self, now: Now) -> None:
        for peer in self.peers.values():
            if peer.asking:
                for want in self._sync.wants(peer.asking):
                    self._send(peer, want)
                peer.asking = []
                peer.fetching = peer.fetching or peer.same_ms is None
                self._arm("wants", now, self.settings.want_wait_ms)

    def _wants_deadline(self, now: Now) -> int:
        return now.mono_ns + self.settings.want_wait_ms * MS

    def _serve(self, peer: Peer, now: Now, made: Made | None = None) -> None:
        """Send the next frame. A timer that is due at once makes the one after it: then the first is on its way."""
        window = self.settings.window_bytes
        frame = peer.next_frame(self.ledger, now.mono_ns, window_bytes=window, made=made)
        if frame is not None:
            self._send(peer, frame)
            if peer.owed:
                self._arm("serve", now, 0)

    def _acknowledge(self, peer: Peer) -> None:
        """Tell it what is done with, if it was not told."""
        if peer.done_bytes:
            peer.done_bytes = 0
            self._send(peer, Ack(peer.done_frames))

    def _ask_somebody(self) -> None:
        """Start a sync with a peer chosen at random."""
        if self.peers:
            peer = self.peers[self._rng.choice(sorted(self.peers))]
            self._send(peer, Digest(self.ledger.heads.fingerprint()))

    # -- commits ----------------------------------------------------------------------------------

    def _submit(self, origin: _Origin, item: "Item | str") -> None:
        if self.failure is not None and origin.request is not None:
            self._out.append(Reply(origin.request, None, self.failure))
        else:
            self._awaited = True
            self._queue.append((origin, item))

    def _start_commit(self, now: Now) -> None:
        """Commit what has come, unless it may wait for more."""
        if self._under_way is not None or not self._queue:
            return
        pressing = self._awaited or self._gathered_bytes >= self.settings.gather_bytes
        if not pressing and self._commit_pace.due_ns() > now.mono_ns:
            self._arm_at("commit", self._commit_pace.due_ns())
            return
        origins: list[_Origin] = []
        items: list[Item] = []
        size = 0
        bundle = None
        while self._queue and size < self.settings.commit_bytes and bundle is None:
            origin, item = self._queue[0]
            if isinstance(item, str):
                if items:
                    break  # a bundle has a transaction of its own
                bundle = item
            else:
                items.append(item)
            origins.append(origin)
            size += origin.size_bytes
            self._queue.popleft()
        if not self._queue:
            self._gathered_bytes, self._awaited = 0, False
        self._commit_pace.take(now.mono_ns)
        self._commit(tuple(origins), tuple(items), bundle)

    def _commit(self, origins: tuple[_Origin, ...], items: tuple[Item, ...], bundle: str | None = None) -> None:
        self._batch += 1
        self._under_way = origins
        self._out.append(Commit(self._batch, items, bundle))

    def _committed(self, event: Committed, now: Now) -> None:
        if event.batch != self._batch or self._under_way is None:
            raise StorageError(f"commit {event.batch} finished out of turn; expected {self._batch}")
        origins, self._under_way = self._under_way, None
        self.failure = None
        authority = self.ledger.authority
        self.ledger.apply(event.result)
        for origin, outcome in zip(origins, event.result.outcomes, strict=True):
            if origin.request is not None:
                self._out.append(Reply(origin.request, outcome))
            peer = origin.peer
            if peer is not None and self.peers.get(peer.key) is peer:
                self._account(peer, origin, outcome, now)
                if origin.frame is not None:
                    peer.done_frames = origin.frame + 1
                    peer.done_bytes += origin.size_bytes
            self._spread(origin, outcome, now)
        if "push" in self._timers and self._push_pace.due_ns() <= now.mono_ns:
            self._push(now)
        for peer in self.peers.values():
            if peer.done_bytes >= self.settings.gather_bytes:
                self._acknowledge(peer)
            elif peer.done_bytes:
                self._arm("ack", now, self.settings.ack_wait_ms)
        if event.result.authority is not authority:
            self._authority_changed(now)
        self._compare()
        self._notify(event.result)

    def _compare(self) -> None:
        """Once a link, when what a first sync asked for has come: do both hold the same now?"""
        for peer in self.peers.values():
            if peer.fetching and not peer.compared and not peer.asking and not self._sync.is_wanting(peer.key):
                peer.compared = True
                if peer.same_ms is None:
                    self._send(peer, Digest(self.ledger.heads.fingerprint()))

    def _notify(self, result: CommitResult) -> None:
        stretches = tuple(result.stretches)
        if stretches:
            self._out.append(Notify(stretches))

    def _authority_changed(self, now: Now) -> None:
        for peer in self.peers.values():
            if not self.ledger.authority.is_node(peer.key):
                self._send(peer, Bye("its key is no node's any longer"))
                self._out.append(Disconnect(peer.key, "its key is no node's any longer"))
        for peer_key, heads in self._sync.newly_known(self.ledger.authority):
            if peer_key in self.peers:
                self._learn(self.peers[peer_key], heads, now)

    def _account(self, peer: Peer, origin: _Origin, outcome: Outcome, now: Now) -> None:
        peer.inbox_bytes -= origin.size_bytes
        peer.inbox_frames -= 1
        peer.duplicates += outcome.duplicates
        for aside in outcome.set_aside:
            peer.limited[aside.reason] += 1
        waiting = sum(aside.reason in ("gap", "uncertified") for aside in outcome.set_aside)
        disputed = len(outcome.set_aside) - waiting + len(outcome.forks)
        settings = self.settings
        if outcome.refused is not None:
            self._refuse(peer, outcome.refused, now)
        elif (
            self._may(peer, "waiting", waiting, settings.waiting_max, now)
            and self._may(peer, "repeated", outcome.duplicates, settings.repeated_max, now)
            and self._may(peer, "disputed", disputed, settings.disputed_max, now)
            and self._may(peer, "branches", outcome.branches, settings.branches_max, now)
            and len(outcome.set_aside) > waiting
            and peer.spend("told", 1, now.mono_ns) == 1
        ):
            self._send(peer, Digest(self.ledger.heads.fingerprint()))  # so that it learns of the fork or the cutoff
        for stretch in outcome.new:
            peer.admitted += stretch.count
            peer.learn(stretch.key, stretch.first + stretch.count)
        for aside in outcome.set_aside:
            if aside.reason == "gap":
                step = self._sync.gap(peer.key, aside.key, aside.seq, self._wants_deadline(now))
                if step is not None:
                    peer.asking.append(step)
        for key in outcome.repeated:
            peer.again.add(key)  # so that it brings us no more of that log
            self._arm_tell(now)
        for diverged in outcome.diverged:
            probe = self._sync.probe(peer.key, diverged.key, diverged.seq)
            if probe is not None:
                self._send(peer, probe)

    def _commit_failed(self, event: CommitFailed, now: Now) -> None:
        origins, self._under_way = self._under_way or (), None
        bundle_refused = len(origins) == 1 and not isinstance(event.error, StorageError)
        if not bundle_refused:
            self.failure = event.error
            self._arm("retry", now, self.settings.retry_after_ms)
            origins += tuple(origin for origin, _ in self._queue)
            self._queue.clear()
        for origin in origins:
            if origin.request is not None:
                self._out.append(Reply(origin.request, None, event.error))
            elif origin.peer is not None:
                origin.peer.inbox_bytes -= origin.size_bytes
                origin.peer.inbox_frames -= 1

    # -- gossip -----------------------------------------------------------------------------------

    def _spread(self, origin: _Origin, outcome: Outcome, now: Now) -> None:
        """Pass on what is new: pushed when it is news, announced when it was asked for in bulk."""
        for key, _ in outcome.forks:
            proof = self.ledger.fork(key)
            if proof is not None:
                for peer in self.peers.values():
                    self._send(peer, proof)
        source = origin.peer.key if origin.peer is not None else None
        to_all = origin.written and len(self.peers) <= self.settings.own_max
        for stretch in outcome.new:
            end = stretch.first + stretch.count
            asked = self._sync.arrived(stretch.key, end, source, self._wants_deadline(now))
            if source is not None and not asked:
                self._bring(stretch.key, source)
            for peer in self.peers.values():
                if peer.key == source or peer.known.get(stretch.key, 0) >= end:
                    continue
                if not asked and (peer.eager or to_all) and stretch.key not in peer.spared:
                    peer.pushes.setdefault(stretch.key, stretch.first)
                    self._arm_at("push", self._push_pace.due_ns())
                else:
                    peer.tells.setdefault(stretch.key, now.mono_ns)
                    self._arm_tell(now)

    def _bring(self, key: PublicKey, source: PublicKey) -> None:
        self._bringers[key] = source
        forget_oldest(self._bringers)

    def _push(self, now: Now) -> None:
        self._timers.pop("push", None)
        self._push_pace.take(now.mono_ns)
        made: Made = {}  # mostly all are owed the same
        for peer in self.peers.values():
            if not peer.pushes:
                continue
            for key, first in peer.pushes.items():
                size = self.ledger.heads.get(key).size
                start = max(first, peer.known.get(key, 0))
                if start < size:
                    peer.owe(key, start, size)
            peer.pushes.clear()
            self._serve(peer, now, made)

    def _arm_tell(self, now: Now) -> None:
        self._arm_at("tell", max(now.mono_ns + self.settings.tell_wait_ms * MS, self._tell_pace.due_ns()))

    def _tell(self, now: Now) -> None:
        """Announce what had its time to come otherwise, and what came from a peer though it was here."""
        self._tell_pace.take(now.mono_ns)
        left = self.settings.tell_max
        for peer in sorted(self.peers.values(), key=lambda peer: peer.told_ns):
            if left or peer.again:
                news = peer.due_tells(now.mono_ns - self.settings.tell_wait_ms * MS, self.ledger.heads)
                for start in range(0, len(news), HEADS_MAX):
                    self._send(peer, Have(tuple(news[start : start + HEADS_MAX])))
                if news:
                    peer.told_ns = now.mono_ns
                    left = max(0, left - 1)
            if peer.tells:
                self._arm_tell(now)

    # -- timers -----------------------------------------------------------------------------------

    def _arm(self, name: str, now: Now, wait_ms: int) -> None:
        """Set a timer unless it is set already."""
        self._arm_at(name, now.mono_ns + wait_ms * MS)

    def _arm_at(self, name: str, mono_ns: int) -> None:
        self._timers.setdefault(name, mono_ns)

    def _sync_wait_ms(self) -> int:
        return self.settings.sync_interval_ms * self._rng.randint(75, 125) // 100

    def _timer(self, now: Now) -> None:
        due = sorted(name for name, at in self._timers.items() if at <= now.mono_ns)
        for name in due:
            del self._timers[name]
            match name:
                case "push":
                    self._push(now)
                case "tell":
                    self._tell(now)
                case "later":
                    self._look_later(now)
                case "commit":
                    continue  # it starts as soon as it may, after every event
                case "ack":
                    for peer in self.peers.values():
                        self._acknowledge(peer)
                case "serve":
                    for peer in self.peers.values():
                        self._serve(peer, now)
                case "sync":
                    self._periodic_sync(now)
                case "keepalive":
                    self._keepalive(now)
                case "wants":
                    self._overdue_wants(now)
                case _:
                    if self._under_way is None:
                        self._commit((), ())  # does the disk take writes again?

    def _periodic_sync(self, now: Now) -> None:
        self._sync.renew()
        self._ask_somebody()
        if self.peers:
            self._arm("sync", now, self._sync_wait_ms())

    def _keepalive(self, now: Now) -> None:
        for peer in list(self.peers.values()):
            silence_ms = (now.mono_ns - peer.heard_ns) // MS
            if silence_ms >= self.settings.silent_after_ms:
                self._out.append(Disconnect(peer.key, f"silent for {silence_ms // 1000} s"))
            elif silence_ms >= self.settings.ping_after_ms and not peer.pinged:
                peer.pinged = True
                self._send(peer, Ping(now.wall_ms))
            if peer.unacked and now.mono_ns - peer.unacked[0][2] > self.settings.silent_after_ms * MS:
                peer.forget_unacked()
                self._serve(peer, now)
        if self.peers:
            self._arm("keepalive", now, self.settings.ping_after_ms // 2)

    def _overdue_wants(self, now: Now) -> None:
        if self._sync.overdue(now.mono_ns):
            self._ask_somebody()
        if self._sync.wanting:
            self._arm("wants", now, self.settings.want_wait_ms)
