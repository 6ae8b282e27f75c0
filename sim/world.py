"""The simulated world: real engines and ledgers over simulated disks, clocks and links, in one plain event heap.

Everything random comes from one `random.Random(seed)`, everything happens in the order of (time, number), so the
same seed gives the same world. Time is virtual, whole nanoseconds.

    World.at(delay_ns, action)     schedule
    World.run(until_ns)            let time pass
    Machine                        one node: a disk, a ledger, an engine, and who writes there

Links lose, repeat, delay and reorder messages, break and come back; machines crash in the middle of a commit and
start again from what their disk kept.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from random import Random
from typing import Final

from keys.errors import HamkorError
from keys.signing import PublicKey, SigningKey
from ledger.store import CommitResult, Ledger, create, load
from node.engine.engine import Engine, EngineSettings
from node.engine.events import (
    Commit,
    CommitFailed,
    Committed,
    Disconnect,
    Event,
    Notify,
    Now,
    PeerDown,
    PeerUp,
    Received,
    Reply,
    Send,
    Submitted,
    TimerFired,
)  # fmt: skip
from protocol.acts import Certify, encode_act
from protocol.body import encode_record
from protocol.card import Card
from protocol.charter import (
    Charter,
    decode_charter_file,
    draft_charter,
    encode_charter_file,
    sign_charter,
    verify_charter,
)  # fmt: skip
from protocol.entry import EntryId, Place, open_row
from protocol.frame import Run
from protocol.frame import sign_run as sign_drafts
from sim.disk import MemoryStorage

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
START_WALL_MS: Final = 1_767_225_600_000  # 2026-01-01
CRASH_IN_COMMIT_PERCENT: Final = 3  # of writes, where machines crash at all: the moment that matters most
AGENCIES: Final = ("mia", "ncdc", "scc", "sss")


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the world is. Probabilities are per message; intervals are means, 0 for never."""

    delay_ms: int = 20
    jitter_ms: int = 10  # more than the spacing of messages reorders them
    loss_percent: int = 0
    repeat_percent: int = 0
    commit_ms: int = 3
    write_every_s: int = 30
    crash_every_s: int = 0
    cut_every_s: int = 0
    cut_for_s: int = 0
    neighbours: int = 0  # links a node keeps at least; 0: to every other


@dataclass(slots=True)
class Acknowledged:
    """An entry that a writer was told is durable."""

    machine: int
    key: PublicKey
    seq: int
    id: EntryId


def key_of(*words: object) -> SigningKey:
    """A key that depends on nothing but its name."""
    return SigningKey.from_seed(sha256(repr(words).encode()).digest())


def found(name: str) -> bytes:
    """A charter file of four agencies."""
    cards = [Card("agency", key_of(name, agency).public, agency.upper(), agency) for agency in AGENCIES]
    signed = draft_charter(cards, network=name, threshold=3, founded_ms=START_WALL_MS, nonce=bytes(16))
    for agency in AGENCIES:
        signed = sign_charter(signed, key_of(name, agency))
    return encode_charter_file(signed)


def sign_run(
    charter: Charter, signer: SigningKey, place: Place, drafts: Iterable[tuple[str, bytes]], at_ms: int
) -> Run:
    """Entries (kind, body) without refs, signed one after another."""
    return sign_drafts(signer, charter.network_id, place, [(kind, body, ()) for kind, body in drafts], at_ms)[0]


@dataclass(slots=True)
class Machine:
    """One node and its writer."""

    number: int
    key: SigningKey
    officer: SigningKey
    storage: MemoryStorage
    ledger: Ledger
    engine: Engine
    alive: bool = True
    life: int = 0  # counts starts: what was under way in an earlier life is lost
    wakes_at: int | None = None
    pending: Run | None = None  # signed and not acknowledged: submitted again after a crash, never signed anew
    requests: int = 0
    crashes: int = 0


@dataclass
class World:
    """Machines, links, time."""

    seed: int
    size: int
    weather: Weather
    settings: EngineSettings = field(default_factory=EngineSettings)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.now_ns = 0
        self.steps = 0
        self.digest = sha256()
        self.acknowledged: list[Acknowledged] = []
        self.submitted: dict[PublicKey, list[EntryId]] = {}
        self.calm = False
        self.problems: list[str] = []
        self.size_max = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._links: set[tuple[int, int]] = set()
        self._cut: set[int] = set()  # machines without a link to the others outside this set
        self.charter_file = found(f"world {self.seed}")
        self.machines: list[Machine] = []
        self._found()

    # -- founding ---------------------------------------------------------------------------------

    def _found(self) -> None:
        """Every machine starts with all nodes' certificates; officers are certified while the world runs."""
        root = key_of(f"world {self.seed}", "mia")
        nodes = [key_of(self.seed, "node", number) for number in range(self.size)]
        acts = [
            ("act", encode_act(Certify(key.public, "node", f"node {number}", "mia", f"unit-{number}", ())))
            for number, key in enumerate(nodes)
        ]
        charter = verify_charter(decode_charter_file(self.charter_file))
        run = sign_run(charter, root, Place(root.public, 0, None), acts, START_WALL_MS)
        for number, key in enumerate(nodes):
            storage = MemoryStorage()
            ledger = create(storage, self.charter_file)
            ledger.apply(ledger.commit([(run,)]))
            officer = key_of(self.seed, "officer", number)
            engine = Engine(key.public, ledger, Random(self.rng.getrandbits(64)), self.settings)
            self.machines.append(Machine(number, key, officer, storage, ledger, engine))
        self._note_run(run)
        self.by_key = {machine.key.public: machine for machine in self.machines}
        for machine in self.machines:
            self.at(self.rng.randrange(10 * SECOND), partial(self._connect_soon, machine))
            self.at(self.rng.randrange(MINUTE), partial(self._certify, machine))
            self._plan(machine, self.weather.write_every_s, self._write)
            self._plan(machine, self.weather.crash_every_s, self._crash)
        if self.weather.cut_every_s:
            self.at(self._interval(self.weather.cut_every_s), self._cut_some)

    def _certify(self, machine: Machine) -> None:
        """The agency certifies one officer, on machine 0; the certificate has to travel before they can write."""
        root = key_of(f"world {self.seed}", "mia")
        first = self.machines[0]
        if not first.alive or first.pending is not None or first.requests > 10**9:
            self.at(5 * SECOND, lambda: self._certify(machine))
            return
        act = Certify(machine.officer.public, "officer", f"officer {machine.number}", "mia", "", ("officer",))
        self._submit(first, root, [("act", encode_act(act))])

    # -- time -------------------------------------------------------------------------------------

    def at(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Do `action` after a while."""
        self._number += 1
        heapq.heappush(self._heap, (self.now_ns + delay_ns, self._number, action))

    def run(self, until_ns: int, stop: Callable[[], bool] | None = None) -> bool:
        """Let time pass until then, or until `stop()` after a step; True when it stopped."""
        while self._heap and self._heap[0][0] <= until_ns:
            self.now_ns, _, action = heapq.heappop(self._heap)
            action()
            self.steps += 1
            if stop is not None and self.steps % 64 == 0 and stop():
                return True
        self.now_ns = max(self.now_ns, until_ns)
        return stop is not None and stop()

    def now(self) -> Now:
        """Both clocks."""
        return Now(self.now_ns, START_WALL_MS + self.now_ns // MS)

    def _interval(self, mean_s: int) -> int:
        return self.rng.randint(mean_s * SECOND // 2, mean_s * SECOND * 3 // 2)

    def _plan(self, machine: Machine, mean_s: int, action: Callable[[Machine], None]) -> None:
        if mean_s:
            self.at(self._interval(mean_s), partial(self._repeat, machine, mean_s, action))

    def _repeat(self, machine: Machine, mean_s: int, action: Callable[[Machine], None]) -> None:
        action(machine)
        self._plan(machine, mean_s, action)

    # -- one machine ------------------------------------------------------------------------------

    def feed(self, machine: Machine, event: Event) -> None:
        """Hand an event to a machine's engine and carry out what it says."""
        self.digest.update(f"{self.now_ns} {machine.number} {type(event).__name__}".encode())
        if isinstance(event, Received):
            self.digest.update(event.message)
        for output in machine.engine.handle(event, self.now()):
            match output:
                case Send():
                    self._carry(machine, output)
                case Commit():
                    self._commit(machine, output)
                case Reply():
                    self._replied(machine, output)
                case Disconnect():
                    self._unlink(machine, self.by_key[output.peer], output.reason)
                case Notify():
                    continue
        self.size_max = max(self.size_max, machine.engine.size())
        self._wake(machine)

    def _wake(self, machine: Machine) -> None:
        deadline = machine.engine.deadline()
        if deadline is None or (machine.wakes_at is not None and machine.wakes_at <= max(deadline, self.now_ns)):
            return
        at, life = max(deadline, self.now_ns), machine.life
        machine.wakes_at = at

        def fire() -> None:
            if machine.life == life and machine.wakes_at == at:
                machine.wakes_at = None
                if machine.alive:
                    self.feed(machine, TimerFired())

        self.at(at - self.now_ns, fire)

    def _commit(self, machine: Machine, commit: Commit) -> None:
        """The disk takes its time; a crash before it is done loses the transaction."""
        life = machine.life

        def done() -> None:
            if not machine.alive or machine.life != life:
                return
            result: CommitResult | HamkorError
            try:
                result = machine.ledger.commit(commit.items)
            except HamkorError as error:
                result = error
            event = (
                Committed(commit.batch, result)
                if isinstance(result, CommitResult)
                else CommitFailed(commit.batch, result)
            )

            def told() -> None:
                if machine.alive and machine.life == life:
                    self.feed(machine, event)

            self.at(self.rng.randrange(MS), told)  # a crash here: durable, and nobody was told

        self.at(self.rng.randint(1, 2 * self.weather.commit_ms) * MS, done)

    # -- writers ----------------------------------------------------------------------------------

    def _write(self, machine: Machine) -> None:
        """The officer of this machine writes one to four records, once they are certified here."""
        if self.calm or not machine.alive or machine.pending is not None:
            return
        if machine.ledger.authority.of(machine.officer.public) is None:
            return
        count = self.rng.randint(1, 4)
        text = f"{machine.number} at {self.now_ns}"
        self._submit(
            machine,
            machine.officer,
            [("record", encode_record("sitrep", {"text": text, "n": n})) for n in range(count)],
        )

    def _submit(self, machine: Machine, signer: SigningKey, drafts: list[tuple[str, bytes]]) -> None:
        head = machine.ledger.heads.get(signer.public)
        place = Place(signer.public, head.size, head.id)
        machine.pending = sign_run(machine.ledger.charter, signer, place, drafts, self.now().wall_ms)
        self._hand_in(machine)
        if self.weather.crash_every_s and self.rng.randrange(100) < CRASH_IN_COMMIT_PERCENT:
            self.at(self.rng.randrange(3 * self.weather.commit_ms * MS), lambda: self._crash(machine))

    def _hand_in(self, machine: Machine) -> None:
        if machine.pending is not None:
            machine.requests += 1
            self.feed(machine, Submitted(machine.requests, (machine.pending,)))

    def _replied(self, machine: Machine, reply: Reply) -> None:
        run = machine.pending
        if run is None or reply.request != machine.requests:
            return
        if reply.error is not None or reply.outcome is None:
            self.at(SECOND, lambda: self._hand_in(machine) if machine.alive else None)
            return
        if reply.outcome.refused is not None or reply.outcome.set_aside:
            self.problems.append(f"machine {machine.number}: its own entries were not admitted: {reply.outcome}")
        machine.pending = None
        for seq, known in enumerate(self._note_run(run), run.seq):
            self.acknowledged.append(Acknowledged(machine.number, run.key, seq, known))

    def _note_run(self, run: Run) -> list[EntryId]:
        """Remember what was written, in plain lists: the model that nodes are compared with."""
        log = self.submitted.setdefault(run.key, [])
        place, ids = run.place, []
        for row in run.rows:
            entry = open_row(row, place)
            ids.append(entry.id)
            place = entry.after
        if len(log) == run.seq:
            log += ids
        elif log[run.seq : run.end] != ids:
            self.problems.append(f"log {run.key.hex()[:12]} was written twice at {run.seq}")
        return ids

    # -- crashes ----------------------------------------------------------------------------------

    def _crash(self, machine: Machine) -> None:
        if self.calm or not machine.alive:
            return
        machine.alive = False
        machine.life += 1
        machine.crashes += 1
        machine.wakes_at = None
        for other in self.machines:
            if self._linked(machine, other):
                self._unlink(other, machine, "it crashed")
        machine.storage.crash()
        self.at(self.rng.randrange(SECOND, 2 * MINUTE), lambda: self._restart(machine))

    def _restart(self, machine: Machine) -> None:
        machine.storage = machine.storage.reopen()
        machine.ledger = load(machine.storage)
        for known in self.acknowledged:
            if known.machine == machine.number and machine.ledger.entry(known.id) is None:
                self.problems.append(f"machine {machine.number} lost acknowledged entry {known.id.hex()[:12]}")
        machine.engine = Engine(machine.key.public, machine.ledger, Random(self.rng.getrandbits(64)), self.settings)
        machine.alive = True
        self._hand_in(machine)
        self._connect_soon(machine)

    # -- links ------------------------------------------------------------------------------------

    def _linked(self, one: Machine, other: Machine) -> bool:
        return (min(one.number, other.number), max(one.number, other.number)) in self._links

    def _reachable(self, one: Machine, other: Machine) -> bool:
        return one.alive and other.alive and (one.number in self._cut) == (other.number in self._cut)

    def _connect_soon(self, machine: Machine) -> None:
        """Link to every machine, or to enough of them."""
        wanted = self.weather.neighbours or self.size
        others = [other for other in self.machines if other is not machine]
        self.rng.shuffle(others)
        missing = wanted - sum(self._linked(machine, other) for other in others)
        for other in others:
            if missing > 0 and not self._linked(machine, other) and self._reachable(machine, other):
                self._link(machine, other)
                missing -= 1
        life = machine.life
        retry_ns = self.rng.randrange(5 * SECOND, 20 * SECOND)
        self.at(retry_ns, lambda: self._connect_soon(machine) if machine.alive and machine.life == life else None)

    def _link(self, one: Machine, other: Machine) -> None:
        banned = one.engine.is_banned(other.key.public, self.now()) or other.engine.is_banned(
            one.key.public, self.now()
        )
        if banned:
            return
        self._links.add((min(one.number, other.number), max(one.number, other.number)))
        self.feed(one, PeerUp(other.key.public, inbound=False))
        self.feed(other, PeerUp(one.key.public, inbound=True))

    def _unlink(self, one: Machine, other: Machine, reason: str) -> None:
        if not self._linked(one, other):
            return
        self._links.discard((min(one.number, other.number), max(one.number, other.number)))
        for end, far in ((one, other), (other, one)):
            if end.alive:
                self.at(self.rng.randrange(100 * MS), partial(self._tell_down, end, far, end.life, reason))

    def _tell_down(self, end: Machine, far: Machine, life: int, reason: str) -> None:
        if end.alive and end.life == life and not self._linked(end, far):
            self.feed(end, PeerDown(far.key.public, reason))

    def _carry(self, machine: Machine, send: Send) -> None:
        """One message over a link, as good as the weather allows."""
        other = self.by_key[send.peer]
        if not self._linked(machine, other):
            return
        weather = self.weather
        lost = not self.calm and self.rng.randrange(100) < weather.loss_percent
        copies = 0 if lost else 2 if not self.calm and self.rng.randrange(100) < weather.repeat_percent else 1
        for _ in range(copies):
            jitter = self.rng.randint(0, weather.jitter_ms * MS) if weather.jitter_ms else 0
            life = other.life

            def arrive(life: int = life) -> None:
                if other.alive and other.life == life and self._linked(machine, other):
                    self.feed(other, Received(machine.key.public, send.message))

            self.at(weather.delay_ms * MS + jitter + len(send.message) // 100, arrive)

    def _cut_some(self) -> None:
        """Part of the machines lose every link to the rest, for a while."""
        if not self.calm:
            count = self.rng.randint(1, max(1, self.size // 2))
            self._cut = set(self.rng.sample(range(self.size), count))
            for one in self.machines:
                for other in self.machines:
                    if one.number < other.number and not self._reachable(one, other):
                        self._unlink(one, other, "the network is cut")
            self.at(self._interval(self.weather.cut_for_s), self._heal)
            self.at(self._interval(self.weather.cut_every_s), self._cut_some)

    def _heal(self) -> None:
        self._cut = set()

    # -- the end ----------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """Faults and writing stop, everything is mended; only what is under way goes on."""
        self.calm = True
        self._cut = set()

    def settled(self) -> bool:
        """Whether every machine lives, nothing waits to be handed in, and all hold the same."""
        if not all(machine.alive and machine.pending is None for machine in self.machines):
            return False
        return len({machine.ledger.heads.fingerprint() for machine in self.machines}) == 1
