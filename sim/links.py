"""The network of a simulated world: links that lose, repeat, delay, reorder and choke, break and come back."""

from functools import partial
from typing import Final

from keys.signing import PublicKey
from node.engine.events import PeerDown, PeerUp, Received, Send
from protocol.entry import read_row
from protocol.frame import decode_frame
from protocol.message import Frame, decode_message
from sim.stage import MS, SECOND, Machine, Stage

FRAME_START: Final = bytes.fromhex("93a5") + b"frame"  # an array of three, the first of which is "frame"
BIG: Final = 50  # machines: from here on they look for links seldom
TRIED_MAX: Final = 16  # machines that one tries to link with at a time


class Links:
    """Which machines are linked, and what is on its way between them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        size = len(stage.machines)
        self._of: list[dict[int, int]] = [{} for _ in range(size)]  # machine -> whom it is linked with -> which link
        self._made = 0
        self._free_at: dict[tuple[int, int, int], int] = {}  # (link, from, to) -> when it has sent what it was given
        self._cut: frozenset[int] = frozenset()  # machines without a link to the others outside this set
        self._by_key: dict[PublicKey, Machine] = {machine.key.public: machine for machine in stage.machines}
        self._must, self._may = _topology(stage.weather.shape, size)
        stage.every(stage.weather.cut_every_s, self._cut_some)

    # -- up and down ------------------------------------------------------------------------------

    def connect_soon(self, machine: Machine) -> None:
        """Link to every machine that the shape of the network asks for, or to enough of them; again and again."""
        stage, linked = self._stage, self._of[machine.number]
        for number in self._must[machine.number]:
            self._try_link(machine, number)
        others = self._may[machine.number]
        wanted = min(stage.weather.neighbours or len(others), len(others))
        if len(linked) < wanted:
            for number in stage.rng.sample(others, min(len(others), TRIED_MAX)):
                if len(linked) < wanted:
                    self._try_link(machine, number)
        life = machine.life
        slow = len(stage.machines) > BIG
        retry_ns = (
            stage.rng.randrange(60 * SECOND, 180 * SECOND) if slow else stage.rng.randrange(5 * SECOND, 20 * SECOND)
        )
        stage.at(retry_ns, lambda: self.connect_soon(machine) if machine.alive and machine.life == life else None)

    def drop_all(self, machine: Machine, reason: str) -> None:
        """Every link of a machine ends."""
        for number in list(self._of[machine.number]):
            self._unlink(machine, self._stage.machines[number], reason)

    def drop(self, machine: Machine, peer: PublicKey, reason: str) -> None:
        """A machine hangs up."""
        self._unlink(machine, self._by_key[peer], reason)

    def heal(self) -> None:
        """The network is whole again; links come back when machines next try."""
        self._cut = frozenset()
        self._stage.cut = False

    def _number(self, one: Machine, other: Machine) -> int | None:
        return self._of[one.number].get(other.number)

    def _try_link(self, one: Machine, number: int) -> None:
        other = self._stage.machines[number]
        if number not in self._of[one.number] and self._reachable(one, other):
            self._link(one, other)

    def _reachable(self, one: Machine, other: Machine) -> bool:
        return one.alive and other.alive and (one.number in self._cut) == (other.number in self._cut)

    def _link(self, one: Machine, other: Machine) -> None:
        now = self._stage.now()
        if one.engine.is_banned(other.key.public, now) or other.engine.is_banned(one.key.public, now):
            return
        self._made += 1
        self._of[one.number][other.number] = self._of[other.number][one.number] = self._made
        self._stage.feed(one, PeerUp(other.key.public, inbound=False))
        self._stage.feed(other, PeerUp(one.key.public, inbound=True))

    def _unlink(self, one: Machine, other: Machine, reason: str) -> None:
        number = self._of[one.number].pop(other.number, None)
        if number is None:
            return
        del self._of[other.number][one.number]
        for end, far in ((one, other), (other, one)):
            self._free_at.pop((number, end.number, far.number), None)
            if end.alive:
                told = partial(self._tell_down, end, far, end.life, reason)
                self._stage.at(self._stage.rng.randrange(100 * MS), told)

    def _tell_down(self, end: Machine, far: Machine, life: int, reason: str) -> None:
        if end.alive and end.life == life and self._number(end, far) is None:
            self._stage.feed(end, PeerDown(far.key.public, reason))

    def _cut_some(self) -> None:
        """Part of the machines lose every link to the rest, for a while."""
        stage = self._stage
        size = len(stage.machines)
        self._cut = frozenset(stage.rng.sample(range(size), stage.rng.randint(1, max(1, size // 2))))
        stage.cut = True
        stage.count("cut", f"machines {sorted(self._cut)} are cut off")
        for one in stage.machines:
            for number in sorted(self._of[one.number]):
                if not self._reachable(one, stage.machines[number]):
                    self._unlink(one, stage.machines[number], "the network is cut")
        stage.at(stage.interval(stage.weather.cut_for_s), self.heal)

    # -- messages ---------------------------------------------------------------------------------

    def carry(self, machine: Machine, send: Send) -> None:
        """One message over a link, as good as the weather allows."""
        stage, weather, rng = self._stage, self._stage.weather, self._stage.rng
        other = self._by_key[send.peer]
        number = self._number(machine, other)
        if number is None:
            return
        lost = not stage.calm and rng.randrange(100) < weather.loss_percent
        copies = 0 if lost else 2 if not stage.calm and rng.randrange(100) < weather.repeat_percent else 1
        waits_ns = 0
        if weather.bytes_per_s:
            way = (number, machine.number, other.number)
            sent_at = max(stage.now_ns, self._free_at.get(way, 0)) + len(send.message) * SECOND // weather.bytes_per_s
            self._free_at[way] = sent_at
            waits_ns = sent_at - stage.now_ns

        def arrive() -> None:
            if self._number(machine, other) == number:
                stage.feed(other, Received(machine.key.public, send.message))

        if send.message.startswith(FRAME_START):
            self._check_durable(machine, send.message)
        stage.sent_bytes += len(send.message)
        stage.faults["loss"] += lost
        stage.faults["repeat"] += copies == 2
        for _ in range(copies):
            jitter = rng.randint(0, weather.jitter_ms * MS) if weather.jitter_ms else 0
            stage.at(waits_ns + weather.delay_ms * MS + jitter, arrive)

    def _check_durable(self, machine: Machine, message: bytes) -> None:
        """What is sent must be on the sender's disk first."""
        frame = decode_message(message)
        with machine.storage.read() as view:
            for run in decode_frame(frame.frame) if isinstance(frame, Frame) else ():
                prev = run.prev
                for seq, row in enumerate(run.rows, run.seq):
                    prev = read_row(row, run.key, seq, prev).id
                if prev is None or view.get("ids", prev) is None:
                    told = f"invariant 2: machine {machine.number} sends what is not on its disk"
                    self._stage.problems.append(told)


def _topology(shape: str, size: int) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Whom each machine must link with, and of whom it links with as many as the weather says."""
    numbers = range(size)
    nobody: list[tuple[int, ...]] = [()] * size
    match shape:
        case "ring":
            return _ring(0, size), nobody
        case "line":
            return [tuple(m for m in (n - 1, n + 1) if 0 <= m < size) for n in numbers], nobody
        case "star":
            return [tuple(range(1, size)) if n == 0 else (0,) for n in numbers], nobody
        case "islands":  # two, with one bridge
            half = size // 2
            rings = _ring(0, half) + _ring(half, size)
            rings[0], rings[-1] = (*rings[0], size - 1), (*rings[-1], 0)
            return rings, [tuple(m for m in numbers if m != n and (m < half) == (n < half)) for n in numbers]
        case _:
            return _ring(0, size), [tuple(m for m in numbers if m != n) for n in numbers]


def _ring(first: int, stop: int) -> list[tuple[int, ...]]:
    size = stop - first
    return [tuple(sorted({first + (n - 1) % size, first + (n + 1) % size} - {first + n})) for n in range(size)]
