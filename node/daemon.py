"""The daemon: one engine between the network, the disk and the control socket.

These tasks share one trio loop, and only `Driver.feed` touches the engine:

    network     transport events  -> PeerUp, Received, PeerDown
    timers      Engine.deadline() -> TimerFired
    commits     Commit outputs    -> a worker thread -> Committed or CommitFailed
    control     requests          -> Submitted, BundleSubmitted, or an answer from the desk
    project     Notify outputs    -> a byte to the indexer, a process of its own
    receipts    new records       -> the node's own entries
    checkpoints what counts now   -> the node's own entries; so do alarms about other nodes' checkpoints
    consulting  the journal       -> the node's own entries
    fetching    wanted chunks     -> get messages; what comes back is saved in a worker thread

Stopping (SIGTERM, SIGINT): no new requests, the commit under way is finished, links are closed, exit 0.
"""

import gc
import itertools
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from logging.handlers import RotatingFileHandler
from random import Random
from typing import Final

import trio

from keys.entropy import Entropy, system_entropy
from keys.errors import BusyError, HamkorError, HomeError, IndexDamagedError, LocalError, StorageError, UsageError
from keys.mark import Mark
from keys.signing import PublicKey, SigningKey
from ledger.authority import Authority
from ledger.ingest import Outcome
from ledger.knowledge import acts_to_name
from ledger.lmdb_store import LmdbStorage, open_lmdb
from ledger.projection import Projection
from ledger.store import CommitResult, Ledger, load
from ledger.workflow import names
from node.attesting import draft_alarms, draft_checkpoint, is_due, last_ms
from node.boards import RECEIPTED, receipts_due
from node.client import batch_size, is_alive
from node.clock import now, wall_ms
from node.consulted import KIND as CONSULTATION
from node.consulted import Journal
from node.control import Request, SendItems, serve_control
from node.desk import LIMIT_MAX, Desk, alone
from node.engine.engine import Engine, EngineSettings
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
    PeerDown,
    PeerUp,
    Received,
    Reply,
    Send,
    Submitted,
    TimerFired,
)  # fmt: skip
from node.files import SERVE_QUEUE_BYTES_MAX, Exchange, FileStore
from node.heard import absent_nodes, load_heard, save_heard
from node.home import Home
from node.submit import commit_bundle, import_answer, naming, pending_runs, read_run, sign_batch, submit_answer
from node.transport import DialError, Down, Got, Refused, Transport, Up, open_transport
from node.transport_fixes import parse_target
from protocol.body import encode_address, encode_consultation, encode_step
from protocol.codec import Value
from protocol.entry import EntryId, Place
from protocol.frame import Draft, Run
from protocol.message import Chunk, Get, encode_message

log = logging.getLogger("hamkor")
_DIAL_WAIT_S: Final = (1, 2, 5, 10, 30, 60)  # between attempts to one address
_HEAD_START_S: Final = 1.0  # of the smaller key, where both are told to dial: two connections cost twice
_DIAL_EVERY_S: Final = 0.5  # a look at who is not linked
_STOP_S: Final = 4.0  # SPEC: stopped within five seconds
_LOG_BYTES_MAX: Final = 16 * 1024 * 1024
_INDEX_WAIT_S: Final = 120.0
_GC_OBJECTS: Final = 50_000  # new ones before garbage is looked for: a commit makes many, and few in circles
_INDEX_GAP_S: Final = 1.0  # between the indexer's steps while entries come in
_OWN_GAP_S: Final = 0.5  # between looks at what is new for this node's unit
_NEVER_NS: Final = 1 << 63
_NEARLY: Final = 1000  # entries that the index lacks and `status` waits for
_LINE_BYTES_MAX: Final = 4096  # of what the indexer says last
_CHUNKS_MAX: Final = 4096  # brought and not yet on disk: more than all peers may be asked for at once
_SHOW_MS: Final = 5000  # a peer that is linked for so long has told its heads
_GATHER_S: Final = 2.0  # after a quiet time, before a checkpoint: what comes together is attested together
_STORE_WAIT_S: Final = 10.0  # at the start, for a command that has the store
_ALARM_S: Final = 1.0  # between alarms: a node that lies without end does not make this one write without end
_AGAIN_S: Final = 30.0  # until readings that could not be signed for are tried again
_UNKNOWN_KEYS_MAX: Final = 256  # refused strangers that are remembered by key


def _step_on(record: EntryId, body: bytes) -> Sequence[Draft]:
    return [("step", body, (record,))]


def _submitted(run: Run, request: int) -> Submitted:
    return Submitted(request, (run,))


class Driver:
    """Feeds events to the engine and carries out what it says."""

    def __init__(self, home: Home, ledger: Ledger, projection: Projection, signer: SigningKey, rng: Random) -> None:
        settings = EngineSettings(sync_interval_ms=home.settings.sync_interval_s * 1000)
        self.home = home
        self.ledger = ledger
        self.signer = signer
        self.engine = Engine(signer.public, ledger, rng, settings)
        self.projection = projection
        self.journal = Journal(home.journal_path, ledger, signer.public)
        self.desk = Desk(ledger, projection, signer.public, self.not_heard, lambda: self._met, self.journal)
        self.transport: Transport | None = None
        self.strangers: dict[str, int] = {}  # refused in the handshake: key or "?" -> times
        self.last_heard = load_heard(home)  # node -> wall_ms
        self.stopping = False
        self.offline = False  # radio silence: no links until told otherwise
        self._back = trio.Event()  # from it: everybody is dialled now
        self._addresses: tuple[int, Authority | None, Mapping[PublicKey, Sequence[str]]] = (-1, None, {})
        self.bytes_sent = 0  # of messages, before Noise and Yamux add theirs
        self.bytes_received = 0
        self._rng = rng
        self._replies: dict[int, Reply] = {}
        self._waiting: dict[int, trio.Event] = {}
        self._request = 0
        self._commits_in, self._commits_out = trio.open_memory_channel[Commit](1)
        self._timer_changed = trio.Event()  # the engine's next deadline is before _wakes_ns
        self._wakes_ns = 0
        self._arrived = trio.Event()
        self._changed = trio.Event()  # what counts may have: by entries, or by a proof of a fork
        self._projected_more = trio.Event()
        self._hurry = trio.Event()  # somebody waits for the index
        self._indexer: trio.Process | None = None
        self._rebuild = False  # the index, before the next indexer starts
        self._noted = trio.Event()  # the journal has more
        self._read: set[EntryId] = set()  # looked at here, not yet written down
        self.files = FileStore(home.files_path)
        self.exchange = Exchange(self.files, self._send_get)
        self._chunks_in, self._chunks_out = trio.open_memory_channel[bytes](_CHUNKS_MAX)
        self._files_wanted = trio.Event()
        self._met = False  # since the start, this node and another have held the same
        self._own_turn = trio.Lock()  # two entries of the node's own may not be signed for one place

    # -- the engine -------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Hand one event to the engine and carry out its outputs, in order."""
        for output in self.engine.handle(event, now()):
            match output:
                case Send():
                    if self.transport is not None and self.transport.send(output.peer, output.message):
                        self.bytes_sent += len(output.message)
                case Commit():
                    self._commits_in.send_nowait(output)  # one is under way at a time, so there is room
                case Reply():
                    self._reply(output)
                case Notify():
                    self._arrived.set()
                    self._arrived = trio.Event()
                case ChunkAsked():
                    self._serve_chunk(output)
                case ChunkBrought():
                    self._take_chunk(output)
                case Disconnect():
                    log.info("disconnect", extra={"peer": output.peer.hex()[:12], "reason": output.reason})
                    if self.transport is not None:
                        self.transport.disconnect(output.peer, output.reason)
        deadline = self.engine.deadline()
        if deadline is not None and deadline < self._wakes_ns:
            self._timer_changed.set()

    # -- attached files ---------------------------------------------------------------------------

    def _serve_chunk(self, asked: ChunkAsked) -> None:
        """Send a chunk, unless much waits for that peer already: then it asks again."""
        if self.transport is not None and self.transport.queued_bytes(asked.peer) < SERVE_QUEUE_BYTES_MAX:
            message = encode_message(Chunk(asked.hash, self.files.read(asked.hash)))
            if self.transport.send(asked.peer, message):
                self.bytes_sent += len(message)

    def _take_chunk(self, brought: ChunkBrought) -> None:
        kept = self.exchange.brought(brought.peer, brought.hash, brought.content, trio.current_time())
        if kept and brought.content is not None:
            self._chunks_in.send_nowait(brought.content)
        elif self.exchange.busy:
            self._files_wanted.set()

    def _send_get(self, peer: PublicKey, known: bytes) -> bool:
        return self.transport is not None and self.transport.send(peer, encode_message(Get(known)))

    async def save_chunks(self) -> None:
        """Keep what peers bring, off this thread: each chunk is durable before more is asked for in its place."""
        async for content in self._chunks_out:
            try:
                await trio.to_thread.run_sync(self.files.save, content)
            except LocalError as error:
                log.error("chunk not kept", extra={"error": str(error)})
            self._files_wanted.set()

    async def fetching(self) -> None:
        """Ask for the chunks that are wanted, while any are."""
        while True:
            self._files_wanted = trio.Event()
            if self.exchange.busy and not self.offline:
                self.exchange.ask(list(self.engine.peers), trio.current_time())
            with trio.move_on_after(1.0 if self.exchange.busy else float("inf")):
                await self._files_wanted.wait()

    def _fetch(self, request: Request) -> Value:
        """Want a file; how many of its chunks are missing."""
        list_hash = request.get("chunks")
        if not isinstance(list_hash, bytes) or len(list_hash) != 32:
            raise UsageError("a file is named by the hash of its list of chunks, 32 bytes")
        missing, count = self.exchange.fetch(list_hash)
        self._files_wanted.set()
        return {"missing": missing, "chunks": count}

    def _fetch_by_policy(self, after: int) -> None:
        """Want the files that were attached since, up to the size in the settings."""
        for list_hash, size in self.projection.attached(self.ledger, after):
            if size <= self.home.settings.fetch_kib_max * 1024:
                self.exchange.fetch(list_hash)
                self._files_wanted.set()

    def _reply(self, reply: Reply) -> None:
        waiting = self._waiting.get(reply.request)
        if waiting is not None:
            self._replies[reply.request] = reply
            waiting.set()

    async def ask(self, make: Callable[[int], Event]) -> Outcome:
        """Feed the event that `make` builds with a new request number; wait for what becomes of it."""
        if self.stopping:
            raise BusyError("the node is stopping; try again when it runs")
        self._request += 1
        request = self._request
        self._waiting[request] = trio.Event()
        try:
            self.feed(make(request))
            await self._waiting[request].wait()
            reply = self._replies.pop(request)
        finally:
            del self._waiting[request]
        if reply.error is not None or reply.outcome is None:
            raise reply.error or LocalError("the node gave no answer")
        return reply.outcome

    async def timers(self) -> None:
        """Wake the engine when its deadline comes."""
        while True:
            self._timer_changed = trio.Event()
            deadline = self.engine.deadline()
            self._wakes_ns = _NEVER_NS if deadline is None else deadline
            wait_s = float("inf") if deadline is None else max(0.0, (deadline - now().mono_ns) / 1e9)
            with trio.move_on_after(wait_s):
                await self._timer_changed.wait()
            deadline = self.engine.deadline()
            if deadline is not None and deadline <= now().mono_ns:
                self._wakes_ns = 0  # it is looked up anew right after
                self.feed(TimerFired())

    async def commits(self) -> None:
        """Run one commit at a time in a worker thread."""
        async for commit in self._commits_out:
            try:
                result = await trio.to_thread.run_sync(self._commit, commit)
            except HamkorError as error:
                if isinstance(error, StorageError):
                    log.error("commit failed", extra={"error": str(error)})
                self.feed(CommitFailed(commit.batch, error))
            else:
                self._check_own_log(result)
                before = self.ledger.authority
                self.feed(Committed(commit.batch, result))
                if self.ledger.authority is not before:
                    self._authority_checked()
                self._note_met()
                self._changed.set()
                self._changed = trio.Event()

    def _commit(self, commit: Commit) -> CommitResult:
        if commit.bundle is None:
            return self.ledger.commit(commit.items)
        return commit_bundle(self.ledger, commit.bundle)

    def _authority_checked(self) -> None:
        """Drop links to keys that no longer count."""
        for peer in list(self.engine.peers):
            if not self.allowed(peer) and self.transport is not None:
                self.transport.disconnect(peer, "its certificate no longer counts")

    def allowed(self, peer: PublicKey) -> bool:
        """Whether the handshake lets that key in."""
        if self.offline:
            return False
        return self.ledger.authority.is_node(peer) and not self.engine.is_banned(peer, now())

    # -- the network ------------------------------------------------------------------------------

    async def network(self, transport: Transport) -> None:
        """Turn what the transport tells into events."""
        async for event in transport.events:
            match event:
                case Got():
                    self.bytes_received += len(event.message)
                    self.feed(Received(event.peer, event.message))
                    self._note_met()
                case Up():
                    log.info("peer up", extra={"peer": event.peer.hex()[:12], "address": event.address})
                    self.feed(PeerUp(event.peer, event.inbound))
                case Down():
                    log.info("peer down", extra={"peer": event.peer.hex()[:12], "reason": event.reason})
                    known = self.engine.peers.get(event.peer)
                    if known is not None:
                        self._heard([event.peer])
                    self.feed(PeerDown(event.peer, event.reason))
                case Refused():
                    self._count_stranger(event)

    def note_heard(self) -> None:
        """Every node that is linked is heard now."""
        self._heard(list(self.engine.peers))

    def _heard(self, peers: Iterable[PublicKey]) -> None:
        self.last_heard |= dict.fromkeys(peers, wall_ms())
        try:
            save_heard(self.home, self.last_heard)
        except OSError as error:
            log.warning("not kept when nodes were last heard", extra={"error": str(error)})

    def _count_stranger(self, event: Refused) -> None:
        if self.offline:
            return  # nobody is let in now, which says nothing about them
        if event.peer is not None and self.ledger.authority.is_node(event.peer):
            log.info("refused", extra={"peer": event.peer.hex()[:12], "reason": "banned for what it sent before"})
            return  # `peers` shows the ban and why
        name = event.peer.hex() if event.peer is not None else "?"
        if name not in self.strangers and len(self.strangers) >= _UNKNOWN_KEYS_MAX:
            name = "?"
        self.strangers[name] = self.strangers.get(name, 0) + 1
        log.warning("refused", extra={"peer": name[:12], "reason": event.reason})

    async def dialling(self, transport: Transport) -> None:
        """Keep a link to every node whose address is known; of two that may dial, the smaller key does so first."""
        tried: dict[str, tuple[int, float]] = {}  # address -> (failures, not before)
        under_way: set[str] = set()  # one that does not answer keeps no other waiting
        async with trio.open_nursery() as nursery:
            while True:
                back = self._back
                addresses = {} if self.offline else self._addresses_to_dial()
                for address in tried.keys() - addresses.keys():
                    del tried[address]
                for address, head_start_s in addresses.items():
                    failures, earliest = tried.setdefault(address, (0, trio.current_time() + head_start_s))
                    if address not in under_way and trio.current_time() >= earliest:
                        wait_s = _DIAL_WAIT_S[min(failures, len(_DIAL_WAIT_S) - 1)]
                        tried[address] = (failures + 1, trio.current_time() + wait_s * self._rng.uniform(0.8, 1.2))
                        under_way.add(address)
                        nursery.start_soon(self._dial, transport, address, tried, under_way)
                with trio.move_on_after(_DIAL_EVERY_S):
                    await back.wait()

    async def _dial(
        self, transport: Transport, address: str, tried: dict[str, tuple[int, float]], under_way: set[str]
    ) -> None:
        try:
            await transport.dial(address)
        except DialError as error:
            log.debug("dial failed", extra={"address": address, "error": str(error)})
        else:
            tried[address] = (0, trio.current_time() + _DIAL_WAIT_S[0])
        finally:
            under_way.discard(address)

    def _addresses_to_dial(self) -> dict[str, float]:
        """Addresses of nodes that are not connected and that we are to dial: all, where nobody can dial us.

        And the seconds that we wait first, for the other node to dial.
        """
        found: dict[str, float] = {}
        can_be_dialled = self.transport is not None and self.transport.addresses
        for key, addresses in self._published().items():
            ours = key > self.signer.public or not can_be_dialled
            if ours and key != self.signer.public and key not in self.engine.peers and self.allowed(key):
                found |= dict.fromkeys(addresses, 0.0)
        for address in self.home.settings.peers:
            try:
                key = parse_target(address).peer
            except ValueError as error:
                log.warning("bad address in settings", extra={"address": address, "error": str(error)})
                continue
            if key != self.signer.public and key not in self.engine.peers:
                found.setdefault(address, _HEAD_START_S if can_be_dialled and key < self.signer.public else 0.0)
        return dict(sorted(found.items()))

    def _published(self) -> Mapping[PublicKey, Sequence[str]]:
        """The addresses that certified nodes published; read anew when entries have come."""
        arrival, authority = self.ledger.arrival(), self.ledger.authority
        if arrival != self._addresses[0] or authority is not self._addresses[1]:
            self._addresses = arrival, authority, self.ledger.addresses()
        return self._addresses[2]

    # -- the node's own entries -------------------------------------------------------------------

    async def publish_addresses(self, transport: Transport) -> None:
        """Write the node's addresses into its log, once its certificate is here, where they have changed.

        They stay the same while the node runs. A node that may not write, or cannot, goes on reading and syncing.
        """
        while self.ledger.authority.of(self.signer.public) is None:
            await self._arrived.wait()
        if self.ledger.addresses().get(self.signer.public, ()) != transport.addresses:
            try:
                await self._write_own(lambda: [("address", encode_address(transport.addresses), ())])
            except HamkorError as error:
                log.error("addresses not published", extra={"error": str(error)})

    async def _write_own(self, make: Callable[[], Sequence[Draft]], time_ms: int = 0) -> None:
        """Sign and admit what `make` gives, which is asked once all that was signed before is in the log.

        The entries stand one right after another. time_ms: when that was; now by default. Where `make` gives nothing,
        nothing is signed.
        """
        async with self._own_turn:
            me = self.signer.public
            mark = Mark.open(self.home.mark_path, me)
            await self._heard_of_own_log(lost=mark.lost)
            for run in pending_runs(mark):
                if run.end > self.ledger.heads.get(me).size:
                    await self.ask(partial(_submitted, run))  # signed before a crash, never admitted
            drafts = await trio.to_thread.run_sync(make)  # O(logs) where it is a checkpoint
            acts = acts_to_name(self.ledger, me)
            while drafts:
                log_state = self.ledger.log(me)
                size, last = (log_state.size, log_state.id) if log_state is not None else (0, None)
                if mark.check(size, last) == "lost":
                    mark.adopt(size, last)
                at_ms = max(time_ms or wall_ms(), log_state.time_ms if log_state is not None else 0)
                count = batch_size(drafts)
                batch, drafts = naming(drafts[:count], acts), drafts[count:]
                run, _ids = sign_batch(self.signer, self.ledger.network_id, mark, Place(me, size, last), batch, at_ms)
                submit_answer(await self.ask(partial(_submitted, run)))
                acts = []

    async def _heard_of_own_log(self, *, lost: bool) -> None:
        """Wait until another node had its chance to show what it holds of our log: it may have what we lost.

        Nobody misses what a node without links does not write into its own log. Officers' entries do not wait.
        lost: nothing here says how far the log went, so only a node that holds the same as we do is enough.
        """
        while not (self._met or alone(self.ledger.authority, self.signer.public)):
            now_ms = wall_ms()
            heard = any(now_ms - peer.since_ms >= _SHOW_MS for peer in self.engine.peers.values())
            if heard and not lost and not self._behind():
                return
            await trio.sleep(_SHOW_MS / 20_000)
            self._note_met()

    def _behind(self) -> bool:
        """Whether a peer, heard for no longer than it takes to send them, says that it has more of our own log."""
        me, late = self.signer.public, wall_ms() - 10 * _SHOW_MS
        size = self.ledger.heads.get(me).size
        return any(peer.known.get(me, 0) > size and peer.since_ms > late for peer in self.engine.peers.values())

    def _note_met(self) -> None:
        self._met = self._met or any(peer.same_ms is not None for peer in self.engine.peers.values())

    def _check_own_log(self, result: CommitResult) -> None:
        """Where our own log grew by entries that were not signed here, there is another copy of this key: bar ours."""
        me = self.signer.public
        for log_state in result.logs:
            if log_state.key == me and log_state.forked_at is None:
                try:
                    mark = Mark.open(self.home.mark_path, me)
                    signed = 0 if mark.seq is None else mark.seq + 1
                    if not mark.lost and log_state.size > signed:
                        mark.check(log_state.size, log_state.id)
                except HamkorError as error:
                    log.error("this node signs nothing more", extra={"error": str(error)})

    async def finish(self) -> None:
        """Take no more requests, and wait until what was accepted is durable and answered."""
        self.stopping = True
        while self._waiting:
            await trio.sleep(0.01)

    # -- the projection ---------------------------------------------------------------------------

    async def project(self) -> None:
        """Keep the indexer running, and tell it when entries have arrived. It is never a reason to refuse an entry."""
        command = [sys.executable, "-m", "node.indexer", str(self.home.path)]
        for attempt in itertools.count():
            if self._rebuild:
                self._rebuild = False
                self.projection.start_again()
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
            self._indexer = process
            try:
                await self._follow_indexer(process)
            finally:
                self._indexer = None
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
            if not self._rebuild:
                await trio.sleep(_DIAL_WAIT_S[min(attempt, len(_DIAL_WAIT_S) - 1)])

    async def _follow_indexer(self, process: trio.Process) -> None:
        """Until the process ends."""
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_indexer, process.stdin)
            async for part in process.stdout:
                said = (said + part)[-_LINE_BYTES_MAX:]
                self._projected_more.set()
                self._projected_more = trio.Event()
            nursery.cancel_scope.cancel()
        if not self._rebuild:
            log.error("indexer ended", extra={"error": said.decode("utf-8", "replace").strip().split("\n")[-1]})

    async def _tell_indexer(self, stream: trio.abc.SendStream) -> None:
        """At once after a quiet time; while more comes in, every _INDEX_GAP_S, unless somebody waits for it."""
        while True:
            arrived, hurry = self._arrived, self._hurry
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.send_all(b".")
            with trio.move_on_after(_INDEX_GAP_S):
                await hurry.wait()
            await arrived.wait()

    async def receipts(self) -> None:
        """Write into the node's own log that what is for its unit has come here, and that it was looked at here."""
        after = -1
        while True:
            projected = self._projected_more
            if self.home.settings.fetch_kib_max:
                self._fetch_by_policy(after)
            due, after = await trio.to_thread.run_sync(
                receipts_due, self.ledger, self.projection, self.signer.public, after
            )
            drafts = [(record, "receipt") for record in due]
            drafts += [(record, "read") for record in sorted(self._read)]
            self._read.clear()
            for record, step in drafts:
                unit = self.ledger.authority.standings[self.signer.public].unit
                body = encode_step(record, step, {"unit": unit})
                try:
                    await self._write_own(partial(_step_on, record, body))
                except HamkorError as error:
                    log.error("receipt not written", extra={"record": record.hex()[:12], "error": str(error)})
            await trio.sleep(_OWN_GAP_S)
            if not self._read:
                await projected.wait()

    async def checkpoints(self) -> None:
        """Attest what counts here, when it has changed: soon after a quiet time, at most once in an interval."""
        interval_s, me = self.home.settings.checkpoint_s, self.signer.public
        since_s = (wall_ms() - await trio.to_thread.run_sync(last_ms, self.ledger, me)) / 1000
        earliest = trio.current_time() + interval_s - (since_s if 0 <= since_s < interval_s else interval_s)
        while interval_s:
            changed = self._changed
            try:
                if await trio.to_thread.run_sync(is_due, self.ledger, me):
                    await trio.sleep(max(min(_GATHER_S, interval_s), earliest - trio.current_time()))
                    await self._write_own(partial(draft_checkpoint, self.ledger, self.signer))
                    earliest = trio.current_time() + interval_s
                    continue
            except HamkorError as error:
                log.error("checkpoint not written", extra={"error": str(error)})
                earliest = trio.current_time() + interval_s
            await changed.wait()

    async def alarms(self) -> None:
        """Say in the node's own log that another's checkpoint contradicts what it says is in it."""
        make = partial(draft_alarms, self.ledger, self.projection, self.signer.public)
        while True:
            projected = self._projected_more
            try:
                if await trio.to_thread.run_sync(make):
                    await self._write_own(make)
                    log.warning("alarm", extra={"why": "a node's checkpoint contradicts what it says is in it"})
            except IndexDamagedError:
                await projected.wait()  # whoever asks it next has it built anew
            except HamkorError as error:
                log.error("alarm not written", extra={"error": str(error)})
            await trio.sleep(_ALARM_S)
            await projected.wait()

    async def consulting(self) -> None:
        """Make entries of the journal's lines, one by one, as long as this node may sign.

        What cannot be written now waits until more is noted, or for a while. Nothing is lost meanwhile.
        """
        while True:
            self._noted = trio.Event()
            try:
                while await self._write_next_reading():
                    continue
            except HamkorError as error:
                log.error("consultations wait in the journal", extra={"error": str(error)})
            with trio.move_on_after(_AGAIN_S if self.home.journal_path.exists() else float("inf")):
                await self._noted.wait()

    async def _write_next_reading(self) -> bool:
        """Write the journal's next line into the log; False where there is none."""
        me = self.signer.public
        note = self.journal.next() if self.home.journal_path.exists() else None
        if note is None or not self.ledger.authority.is_node(me) or self.ledger.fork(me) is not None:
            return False
        draft = (CONSULTATION, encode_consultation(note.read), ())
        # what a crash left signed and not submitted may be this very line: then it is in the log by now
        await self._write_own(lambda: [draft] if self.journal.next() == note else [], note.time_ms)
        return True

    def _looked_at(self, view: Mapping[str, Value]) -> None:
        """An officer at this node has looked at a record: note it where the record is for this unit."""
        me = self.ledger.authority.of(self.signer.public)
        fields = view.get("fields")
        if me is None or not me.unit or not isinstance(fields, dict) or view.get("type") not in RECEIPTED:
            return
        steps = view.get("steps")
        seen = any(
            isinstance(step, dict) and step.get("type") == "read" and isinstance(author := step.get("author"), dict)
            and author.get("key") == self.signer.public.hex()
            for step in (steps if isinstance(steps, list) else [])
        )  # fmt: skip
        if not seen and me.unit in names(fields.get("to")):
            self._read.add(EntryId(bytes.fromhex(str(view["id"]))))
            self._projected_more.set()
            self._projected_more = trio.Event()

    # -- the control socket -----------------------------------------------------------------------

    async def answer(self, request: Request, send_items: SendItems) -> Value:
        """Answer one request of the command line."""
        try:
            return await self._answer(request, send_items)
        except IndexDamagedError as error:
            log.error("index damaged", extra={"error": str(error)})
            self._rebuild_index()
            raise BusyError("the search index was damaged and is being built anew; ask again in a while") from None
        finally:
            if request.get("why"):
                self._noted.set()  # the journal may have grown

    def _rebuild_index(self) -> None:
        """Have the index built from the beginning, by the next indexer."""
        self._rebuild = True
        if self._indexer is not None:
            self._indexer.kill()

    async def _answer(self, request: Request, send_items: SendItems) -> Value:
        match request.get("op"):
            case "submit":
                return await self._submit(request)
            case "import":
                return await self._import(request)
            case "status":
                if self.ledger.arrival() - self.projection.cursor() < _NEARLY:
                    await self._projected()
                return self.status()
            case "peers":
                return self.peers()
            case "links":
                return self._set_links(up=request.get("up") is True)
            case "log" if request.get("follow"):
                return await self._follow(request, send_items)
            case "fetch":
                return self._fetch(request)
            case "reindex":
                self._rebuild_index()
                while self._rebuild:  # until the old index is gone
                    await trio.sleep(0.01)
                return {"entries": self.ledger.arrival()}
            case "watch":
                return await self._watch(request, send_items)
            case "log" | "who" | "forks" | "prepare":
                return self.desk.answer(request)
            case _:
                return await self._look_up(request)

    async def _look_up(self, request: Request) -> Value:
        """Answer what the index is asked, once it has what the ledger has, or nearly."""
        exact = request.get("op") == "imported"  # what was written and is not indexed would be written again
        await self._projected(_INDEX_WAIT_S if exact else 0.3)
        if exact and self.projection.cursor() < self.ledger.arrival():
            raise BusyError("the search index is far behind; ask again when it has followed (hamkor status)")
        answer = self.desk.answer(request)
        if request.get("op") == "show" and isinstance(answer, dict) and not answer.get("masked"):
            self._looked_at(answer)
        return answer

    def _set_links(self, *, up: bool) -> Value:
        """Go offline, closing every link, or come back."""
        self.offline = not up
        log.info("links", extra={"up": up})
        if up:
            self._back.set()
            self._back = trio.Event()
        if self.transport is not None and self.offline:
            for peer in list(self.engine.peers):
                self.transport.disconnect(peer, "this node goes offline")
        return {"offline": self.offline}

    async def _projected(self, wait_s: float = 0.3) -> None:
        """Wait, a little, until the projection has what the ledger has."""
        with trio.move_on_after(wait_s):
            while True:
                projected = self._projected_more
                if self.projection.cursor() >= self.ledger.arrival():
                    return
                self._hurry.set()
                self._hurry = trio.Event()
                await projected.wait()

    async def _submit(self, request: Request) -> Value:
        run = read_run(request)
        return submit_answer(await self.ask(partial(_submitted, run)))

    async def _import(self, request: Request) -> Value:
        path = request.get("path")
        if not isinstance(path, str):
            raise LocalError('an import names its file in "path"')
        return import_answer(await self.ask(lambda number: BundleSubmitted(number, path)))

    async def _follow(self, request: Request, send_items: SendItems) -> Value:
        cursor = request.get("cursor")
        at = cursor if isinstance(cursor, int) else self.ledger.arrival()
        while True:
            arrived = self._arrived
            page = self.desk.answer({**request, "cursor": at, "follow": False})
            if not isinstance(page, dict) or not isinstance(page["cursor"], int):
                return None
            entries = page["entries"]
            await send_items(entries if isinstance(entries, list) else [])
            if page["cursor"] == at:
                await arrived.wait()
            at = page["cursor"]

    async def _watch(self, request: Request, send_items: SendItems) -> Value:
        """New records and steps that fit, as they arrive."""
        self.desk.answer({**request, "op": "find", "limit": 1, "why": None})  # a wrong query shows at once
        after = self.projection.cursor()
        while True:
            projected = self._projected_more
            found = self.desk.answer({**request, "op": "find", "after": after - 1, "limit": LIMIT_MAX})
            if not isinstance(found, dict) or not isinstance(found["cursor"], int):
                return None
            hits = found["hits"]
            await send_items(hits[::-1] if isinstance(hits, list) else [])
            if found["cursor"] == after:
                await projected.wait()
            after = found["cursor"]

    def status(self) -> dict[str, Value]:
        """What `hamkor status` shows."""
        status = self.desk.ledger_status()
        engine = self.engine
        status |= {
            "running": True,
            "offline": self.offline,
            "peers": sum(1 for _ in engine.peers),
            "failure": str(engine.failure) if engine.failure is not None else None,
            "addresses": list(self.transport.addresses) if self.transport is not None else [],
            "projected": self.projection.cursor(),
            "not_heard": self.not_heard(),
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "memory_items": engine.size(),
        }
        return status

    def not_heard(self) -> list[Value]:
        """Certified nodes without a link now, and when they were last heard."""
        return absent_nodes(self.ledger, self.signer.public, self.last_heard, self.engine.peers)

    def peers(self) -> Value:
        """What `hamkor peers` shows: every link, every node that is missing, and who was refused."""
        rows: list[Value] = []
        past: dict[PublicKey, dict[str, Value]] = {}
        for (key, reason), count in self.engine.past_refusals.items():
            past.setdefault(key, {})[reason] = count
        for key, standing in sorted(self.ledger.authority.standings.items()):
            if standing.rank != "node" or key == self.signer.public:
                continue
            peer = self.engine.peers.get(key)
            refused: dict[str, Value] = dict(past.get(key, {}))
            for reason, count in peer.counted().items() if peer is not None else ():
                before = refused.get(reason, 0)
                refused[reason] = count + (before if isinstance(before, int) else 0)
            row: dict[str, Value] = {
                "key": key.hex(), "name": standing.name, "unit": standing.unit, "agency": standing.agency,
                "up": peer is not None, "refused": refused, "banned": self.engine.is_banned(key, now()),
                "heard_ms": wall_ms() if peer is not None else self.last_heard.get(key),
            }  # fmt: skip
            if peer is not None:
                row |= {
                    "since_ms": peer.since_ms, "same_ms": peer.same_ms, "eager": peer.eager,
                    "admitted": peer.admitted, "duplicates": peer.duplicates, "owed": len(peer.owed),
                }  # fmt: skip
            rows.append(row)
        return {"peers": rows, "strangers": [{"key": k, "times": n} for k, n in sorted(self.strangers.items())]}


# -- start and stop -----------------------------------------------------------------------------------


async def run(home: Home, signer: SigningKey, *, entropy: Entropy = system_entropy) -> None:
    """Run the node until SIGTERM or SIGINT. Raises HamkorError when it cannot start.

    Prints one line on standard output once it serves: "ready", its addresses.
    """
    configure_log(home)
    with closing(await _own_store(home)) as storage:
        ledger = load(storage)
        if ledger.network_id != home.charter().network_id:
            raise HomeError(f"the store in {home.path} is of another network than its charter; restore the right one")
        driver = Driver(home, ledger, Projection(home.search_path), signer, Random(entropy(16)))
        gc.collect()
        gc.freeze()  # what is here now stays: a hundred thousand objects that each search would visit
        gc.set_threshold(_GC_OBJECTS)
        await _serve(driver, signer)
    log.info("stopped")


async def _own_store(home: Home) -> LmdbStorage:
    """The home's store. A command that was typed before the node serves has it for a moment: that is waited for."""
    give_up = trio.current_time() + _STORE_WAIT_S
    while True:
        try:
            return open_lmdb(home.store_path, size_bytes_max=home.settings.store_bytes_max())
        except HomeError:
            if trio.current_time() > give_up or is_alive(home):
                raise
        await trio.sleep(0.05)


async def _serve(driver: Driver, signer: SigningKey) -> None:
    settings = driver.home.settings
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await nursery.start(partial(serve_control, driver.home.socket_path, driver.answer))
            nursery.start_soon(driver.commits)
            nursery.start_soon(driver.timers)
            nursery.start_soon(driver.project)
            async with open_transport(
                seed=signer.seed, listen=settings.listen, announce=settings.announce, allowed=driver.allowed
            ) as transport:
                driver.transport = transport
                nursery.start_soon(driver.network, transport)
                nursery.start_soon(driver.dialling, transport)
                nursery.start_soon(driver.publish_addresses, transport)
                nursery.start_soon(driver.receipts)
                nursery.start_soon(driver.checkpoints)
                nursery.start_soon(driver.alarms)
                nursery.start_soon(driver.consulting)
                nursery.start_soon(driver.save_chunks)
                nursery.start_soon(driver.fetching)
                log.info("ready", extra={"addresses": list(transport.addresses), "entries": driver.ledger.entries})
                sys.stdout.write(json.dumps({"ready": True, "addresses": list(transport.addresses)}) + "\n")
                sys.stdout.flush()
                async for number in signals:
                    log.info("stopping", extra={"signal": signal.Signals(number).name})
                    break
                driver.note_heard()
                with trio.move_on_after(_STOP_S):
                    await driver.finish()
                driver.transport = None
            nursery.cancel_scope.cancel()


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, and what belongs to it."""

    _STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if record.name != "hamkor":
            line["from"] = record.name
        line |= {name: value for name, value in record.__dict__.items() if name not in self._STANDARD}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_log(home: Home) -> None:
    """Write the log of this process to the home, rotated at 16 MiB, three old ones kept."""
    handler = RotatingFileHandler(home.log_path, maxBytes=_LOG_BYTES_MAX, backupCount=3, encoding="utf-8")
    handler.setFormatter(_JsonLines())
    logging.basicConfig(handlers=[handler], level=home.settings.log_level.upper(), force=True)
    logging.getLogger("hamkor.libp2p").setLevel(logging.CRITICAL)  # its errors are dropped handshakes: told once, by us
