"""Virtual time and what stands in it: the event heap, the weather, the machines.

    Stage.at(delay_ns, action)     schedule
    Stage.run(until_ns)            let time pass

Everything random comes from one `random.Random(seed)`, everything happens in the order of (time, number), so the
same seed gives the same world. Time is virtual, whole nanoseconds.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from random import Random
from typing import Final

from keys.mark import Mark
from keys.signing import PublicKey, SigningKey
from ledger.store import Ledger
from node.engine.engine import Engine
from node.engine.events import Event, Now
from protocol.entry import EntryId
from protocol.frame import Run
from sim.disk import MemoryStorage, Snapshot
from sim.founding import START_WALL_MS

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS
MINUTE: Final = 60 * SECOND
SHAPES: Final = ("all", "ring", "line", "star", "islands")
FAULTS: Final = (  # what can go wrong, by name
    "away", "branches", "claim", "corrupt", "council", "crash", "cut", "endorse", "flood", "forge", "full", "garble",
    "loss", "lost files", "lost write", "refused", "reorder", "repeat", "replay", "restore",
    "revoke", "rollback", "skew", "stolen", "twice", "withhold",
)  # fmt: skip
TRACE_LINES: Final = 2000  # of what happened last


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the world is. Probabilities are per message; intervals are means, 0 for never."""

    shape: str = "all"  # who links with whom: one of SHAPES
    neighbours: int = 0  # links a node keeps at least, in shapes "all" and "islands"; 0: to every other
    delay_ms: int = 20
    jitter_ms: int = 10  # more than the spacing of messages reorders them
    bytes_per_s: int = 0  # of one link, in each direction; 0: no limit
    loss_percent: int = 0
    repeat_percent: int = 0
    commit_ms: int = 3
    officers: int = 1  # a machine
    writers: int = 0  # machines that have officers, the first so many; 0: all
    write_every_s: int = 30
    crash_every_s: int = 0
    cut_every_s: int = 0
    cut_for_s: int = 30
    full_every_s: int = 0  # a disk has no room for up to a minute
    lie_every_s: int = 0  # a certified node that keeps to no rule links with somebody
    twice: bool = False  # one officer's key is copied, and used on two machines
    branches: int = 0  # an officer hands so many different continuations of one log to as many machines
    revoke_every_s: int = 0  # an agency revokes a key
    council_every_s: int = 0  # an agency proposes something
    stolen: bool = False  # a root key is copied, and used as if nothing had ever been decided
    skew_hours: int = 0  # machines' wall clocks are off by up to so much
    restore_every_s: int = 0  # a machine is put back to a copy of its disk, older by minutes
    rollback: bool = False  # and its marks with it
    lose_percent: int = 0  # of crashes, that lose the marks too
    away_every_s: int = 0  # a machine is off
    away_for_s: int = 120
    attest_every_s: int = 0  # a machine attests what counts there, where that has changed


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An entry that a writer was told is durable."""

    key: PublicKey
    seq: int
    id: EntryId


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of a machine's disk, and of its marks."""

    disk: Snapshot
    marks: dict[PublicKey, tuple[int, int | None, bytes | None, tuple[bytes, ...]]]


@dataclass(slots=True)
class Machine:
    """One node and those who write there."""

    number: int
    key: SigningKey
    officers: list[SigningKey]
    storage: MemoryStorage
    ledger: Ledger
    engine: Engine
    alive: bool = True
    life: int = 0  # counts starts: what was under way in an earlier life is lost
    wakes_at: int | None = None
    outbox: deque[Callable[[], Run | None]] = field(default_factory=deque)  # what to sign next, one at a time
    pending: Run | None = None  # signed and not answered
    marks: dict[PublicKey, Mark] = field(default_factory=dict)  # of the keys that sign here: not on the ledger's disk
    unmarked: set[PublicKey] = field(default_factory=set)  # of those whose marks were lost
    skew_ms: int = 0  # of its wall clock
    requests: int = 0
    crashes: int = 0
    acknowledged: list[Acknowledged] = field(default_factory=list)


class Stage:
    """Time, randomness, and the state that the parts of a world share."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self.seed = seed
        self.weather = weather
        self.rng = Random(seed)
        self.now_ns = 0
        self.steps = 0
        self.digest = sha256()
        self.calm = False  # no more faults, and nobody writes
        self.problems: list[str] = []
        self.machines: list[Machine] = []
        self.faults: Counter[str] = Counter(dict.fromkeys(FAULTS, 0))  # how often each has happened
        self.trace: deque[str] = deque(maxlen=TRACE_LINES)
        self.sent_bytes = 0  # over links, by whom ever
        self.cut = False  # some machines cannot reach the others
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0

    def feed(self, machine: Machine, event: Event) -> None:
        """Hand an event to a machine's engine and carry out what it says."""
        raise NotImplementedError

    def note(self, text: str, machine: Machine | None = None) -> None:
        """Add a line to the trace: when, where, what."""
        where = "" if machine is None else f"machine {machine.number}"
        self.trace.append(f"{clock(self.now_ns)}  {where:<12}  {text}")

    def at(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Do `action` after a while."""
        self._number += 1
        heapq.heappush(self._heap, (self.now_ns + delay_ns, self._number, action))

    def every(self, mean_s: int, action: Callable[[], None]) -> None:
        """Do `action` again and again, after half to one and a half times that; never when 0."""
        if mean_s:
            self.at(self.interval(mean_s), partial(self._again, mean_s, action))

    def _again(self, mean_s: int, action: Callable[[], None]) -> None:
        if not self.calm:
            action()
            self.every(mean_s, action)

    def interval(self, mean_s: int) -> int:
        """Half to one and a half times that, ns."""
        return self.rng.randint(mean_s * SECOND // 2, mean_s * SECOND * 3 // 2)

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

    def now(self, machine: Machine | None = None) -> Now:
        """Both clocks, as that machine shows them."""
        return Now(self.now_ns, START_WALL_MS + self.now_ns // MS + (0 if machine is None else machine.skew_ms))

    def count(self, fault: str, text: str, machine: Machine | None = None) -> None:
        """Something went wrong: count it, and say so in the trace."""
        self.faults[fault] += 1
        self.note(text, machine)


def clock(now_ns: int) -> str:
    """Virtual time as hours:minutes:seconds."""
    seconds, ms = divmod(now_ns // MS, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"
