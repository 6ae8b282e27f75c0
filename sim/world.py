"""The simulated world: real engines and ledgers over simulated disks, clocks and links, in one plain event heap.

    World(seed, size, weather)     founded; nothing has happened yet
    World.run(until_ns)            let time pass (`stage.py`)
    World.calm_down()              faults and writing stop

Machines crash in the middle of a commit and start again from what their disk kept. `links.py` is the network,
`writers.py` the people, `liar.py` the node that keeps to no rule, `founding.py` the charter and the keys.
"""

from functools import partial
from random import Random
from typing import Final

from keys.errors import HamkorError
from ledger.store import load
from node.engine.engine import Engine, EngineSettings
from node.engine.events import (
    ChunkAsked,
    ChunkBrought,
    Commit,
    CommitFailed,
    Committed,
    Disconnect,
    Event,
    Notify,
    Received,
    Reply,
    Send,
    TimerFired,
)  # fmt: skip
from sim.agencies import Agencies
from sim.attesters import Attesters
from sim.disk import MemoryStorage
from sim.founding import founding, key_of
from sim.liar import Liar
from sim.links import Links
from sim.quick import share
from sim.stage import MINUTE, MS, SECOND, Backup, Machine, Stage, Weather
from sim.writers import Writers

SIZE_EVERY: Final = 16  # steps between looks at how much an engine holds
CRASH_IN_COMMIT_PERCENT: Final = 3  # of commits, where machines crash at all: the moment that matters most


class World(Stage):
    """Machines, links, people, time."""

    def __init__(self, seed: int, size: int, weather: Weather, settings: EngineSettings | None = None) -> None:
        super().__init__(seed, weather)
        self.size = size
        self.settings = settings or EngineSettings()
        self.size_max = 0  # things that an engine ever held in memory beside its heads
        network = f"world {seed}"
        share()
        liar = key_of(seed, "liar")
        self.founding = founding(network, (*(key_of(seed, "node", n) for n in range(size)), liar))
        self.charter_file = self.founding.charter_file
        for number in range(size):
            self.machines.append(self._machine(number))
        self.links = Links(self)
        self.writers = Writers(self, self.founding)
        self.agencies = Agencies(self, self.writers, self.founding)
        self.attesters = Attesters(self, self.writers, self.founding.charter)
        self.liar = Liar(self, liar)
        for machine in self.machines:
            self.at(self.rng.randrange(10 * SECOND), partial(self.links.connect_soon, machine))
            self.every(weather.crash_every_s, partial(self._crash, machine))
            self.every(weather.full_every_s, partial(self._fill_disk, machine))
            if weather.skew_hours:
                machine.skew_ms = self.rng.randint(-weather.skew_hours, weather.skew_hours) * 3_600_000
                self.faults["skew"] += machine.skew_ms != 0
        self.every(weather.away_every_s, self._switch_off)
        self.every(weather.restore_every_s, self._back_up)

    def _machine(self, number: int) -> Machine:
        storage = MemoryStorage()
        storage.restore(self.founding.snapshot)
        ledger = load(storage)
        key = key_of(self.seed, "node", number)
        engine = Engine(key.public, ledger, Random(self.rng.getrandbits(64)), self.settings)
        return Machine(number, key, [], storage, ledger, engine)

    # -- one machine ------------------------------------------------------------------------------

    def feed(self, machine: Machine, event: Event) -> None:
        """Hand an event to a machine's engine and carry out what it says."""
        self.digest.update(f"{self.now_ns} {machine.number} {type(event).__name__}".encode())
        if isinstance(event, Received):
            self.digest.update(event.message)
        for output in machine.engine.handle(event, self.now(machine)):
            match output:
                case Send():
                    if output.peer != self.liar.key.public:
                        self.links.carry(machine, output)
                case Commit():
                    self._commit(machine, output)
                case Reply():
                    self.writers.replied(machine, output)
                case Disconnect():
                    if output.peer == self.liar.key.public:
                        self.liar.hung_up(machine, output.reason)
                    else:
                        self.links.drop(machine, output.peer, output.reason)
                case Notify() | ChunkAsked() | ChunkBrought():
                    continue
        if self.steps % SIZE_EVERY == 0:
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
                self.faults["lost write"] += bool(commit.items)
                return
            event: CommitFailed | Committed
            try:
                event = Committed(commit.batch, machine.ledger.commit(commit.items))
            except HamkorError as error:
                event = CommitFailed(commit.batch, error)

            def told() -> None:
                if machine.alive and machine.life == life:
                    self.feed(machine, event)

            self.at(self.rng.randrange(MS), told)  # a crash here: durable, and nobody was told

        takes_ns = self.rng.randint(1, 2 * self.weather.commit_ms) * MS
        self.at(takes_ns, done)
        if self.weather.crash_every_s and commit.items and self.rng.randrange(100) < CRASH_IN_COMMIT_PERCENT:
            self.at(self.rng.randrange(takes_ns + MS), partial(self._crash, machine))

    # -- what befalls it --------------------------------------------------------------------------

    def _crash(self, machine: Machine) -> None:
        if self.calm or not machine.alive:
            return
        self.count("crash", "crashes", machine)
        machine.crashes += 1
        if self.rng.randrange(100) < self.weather.lose_percent:
            self.count("lost files", "loses its marks", machine)
            machine.unmarked |= machine.marks.keys()
            machine.marks.clear()
        self._stop(machine, "it crashed")
        self.at(self.rng.randrange(SECOND, 2 * MINUTE), partial(self._restart, machine))

    def _switch_off(self) -> None:
        """A mobile machine is off for long."""
        machine = self.rng.choice(self.machines)
        if not self.calm and machine.alive:
            self.count("away", "is switched off", machine)
            self._stop(machine, "it was switched off")
            self.at(self.interval(self.weather.away_for_s), partial(self._restart, machine))

    def _stop(self, machine: Machine, why: str) -> None:
        machine.alive = False
        machine.life += 1
        machine.wakes_at = None
        self.links.drop_all(machine, why)
        machine.storage.crash()

    def _restart(self, machine: Machine) -> None:
        self.note("starts again", machine)
        machine.storage = machine.storage.reopen()
        machine.ledger = load(machine.storage)
        for known in machine.acknowledged:
            if machine.ledger.entry(known.id) is None:
                self.problems.append(
                    f"invariant 2: machine {machine.number} lost acknowledged entry {known.id.hex()[:12]} in a crash"
                )
        machine.engine = Engine(machine.key.public, machine.ledger, Random(self.rng.getrandbits(64)), self.settings)
        machine.alive = True
        self.writers.start_again(machine)
        self.links.connect_soon(machine)

    def _back_up(self) -> None:
        """A machine's disk is copied, and some time later put back."""
        machine = self.rng.choice(self.machines)
        marks = {key: (mark.first_seq, mark.seq, mark.id, mark.pending) for key, mark in machine.marks.items()}
        backup = Backup(machine.storage.snapshot(), marks)
        self.at(self.interval(self.weather.restore_every_s), partial(self._restore, machine, backup))

    def _restore(self, machine: Machine, backup: Backup) -> None:
        """What only this machine had is gone. Without their marks, its signers do not know that they signed it."""
        if self.calm or not machine.alive:
            return
        self._stop(machine, "it is restored")
        machine.storage.restore(backup.disk)
        self.count("restore", "is put back to an older copy of its disk", machine)
        self.writers.dishonest |= machine.unmarked
        if self.weather.rollback:
            for key, mark in machine.marks.items():
                mark.first_seq, was, mark.id, mark.pending = backup.marks.get(key, (0, None, None, ()))
                if mark.seq != was:
                    self.count("rollback", f"and the mark of {key.hex()[:12]} with it", machine)
                    self.writers.dishonest.add(key)
                mark.seq = was
        ledger = load(machine.storage)
        machine.acknowledged = [known for known in machine.acknowledged if ledger.entry(known.id) is not None]
        self.at(self.rng.randrange(SECOND, MINUTE), partial(self._restart, machine))

    def _fill_disk(self, machine: Machine) -> None:
        self.count("full", "its disk is nearly full", machine)
        machine.storage.full_after(self.rng.randrange(4000))
        self.at(self.rng.randrange(SECOND, MINUTE), lambda: machine.storage.full_after(None))

    # -- the end ----------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """Faults and writing stop, everything is mended; only what is under way goes on."""
        self.calm = True
        self.links.heal()
        self.note("everything is mended")

    def settled(self) -> bool:
        """Whether every machine lives, nothing waits to be handed in, all hold the same, and all have attested it."""
        if not all(machine.alive and machine.pending is None and not machine.outbox for machine in self.machines):
            return False
        same = len({machine.ledger.heads.fingerprint() for machine in self.machines}) == 1
        return same and self.attesters.quiet()
