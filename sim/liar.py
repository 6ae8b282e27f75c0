"""A certified node that keeps to no rule: it forges, garbles, promises what it does not have.

It never signs a valid entry, so whatever of its own making is found in a ledger is a violation. As a relay it passes
on what others signed: late, again, in the wrong order, altered, or not at all.
"""

from functools import partial
from itertools import islice

from keys.signing import PublicKey, SigningKey
from node.engine.events import PeerDown, PeerUp, Received
from protocol.body import encode_record
from protocol.entry import EntryId, Place
from protocol.frame import Run, encode_frame
from protocol.message import Ack, Fork, Frame, Have, Hello, Ids, Message, Ping, Want, encode_message
from protocol.reconcile import Head
from sim.founding import sign_run
from sim.stage import MS, SECOND, Machine, Stage


class Liar:
    """One key that every machine accepts links from, and no engine behind it."""

    def __init__(self, stage: Stage, key: SigningKey) -> None:
        self.key = key
        self._stage = stage
        stage.every(stage.weather.lie_every_s, self._visit)

    def _visit(self) -> None:
        """Link with somebody for up to two minutes, and tell lies."""
        stage, rng = self._stage, self._stage.rng
        machine = rng.choice(stage.machines)
        if not machine.alive or machine.engine.is_banned(self.key.public, stage.now()):
            return
        if self.key.public not in machine.engine.peers:
            stage.feed(machine, PeerUp(self.key.public, inbound=True))
        life = machine.life
        for _ in range(rng.randint(1, 12)):
            stage.at(rng.randrange(60 * SECOND), partial(self._lie, machine, life))
        stage.at(rng.randrange(60 * SECOND, 120 * SECOND), partial(self._leave, machine, life, "it left"))

    def hung_up(self, machine: Machine, reason: str) -> None:
        """A machine has had enough."""
        self._stage.at(self._stage.rng.randrange(100 * MS), partial(self._leave, machine, machine.life, reason))

    def _leave(self, machine: Machine, life: int, reason: str) -> None:
        if machine.life == life and machine.alive:
            self._stage.feed(machine, PeerDown(self.key.public, reason))

    def _lie(self, machine: Machine, life: int) -> None:
        if machine.life != life or not machine.alive or self._stage.calm:
            return
        kind, messages = self._messages(machine, self._stage.rng.choice(_sources(self._stage)))
        self._stage.count(kind, f"a certified node lies to it: {kind}", machine)
        for message in messages:
            if machine.life == life:
                self._stage.feed(machine, Received(self.key.public, message))

    def _messages(self, machine: Machine, source: Machine) -> tuple[str, list[bytes]]:
        """One kind of lie, and what is sent. source: another machine, whose true entries a relay can have."""
        rng = self._stage.rng
        kind = rng.choice(("forge", "corrupt", "garble", "claim", "claim", "replay", "reorder", "withhold", "flood"))
        number = rng.randrange(9)
        match kind:
            case "forge":
                return kind, [encode_message(Frame(number, encode_frame([self._forged(machine)])))]
            case "corrupt":
                return kind, [encode_message(Frame(number, self._altered(machine)))]
            case "garble":
                raw = bytearray(encode_message(self._claim(machine)))
                raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
                return kind, [bytes(raw[: rng.randrange(len(raw))] if rng.randrange(2) else raw)]
            case "replay" | "reorder":  # true entries, again and again, or those that come later first
                frames = self._true(source, late=kind == "reorder")
                return kind, [encode_message(Frame(number, frame)) for frame in frames]
            case "withhold":  # what it promises is there, and it never sends it
                return kind, [encode_message(Have(tuple(islice(source.ledger.heads, 16))))]
            case "flood":
                ping = encode_message(Ping(number))
                claim = encode_message(self._claim(machine))
                return kind, [ping] * rng.randint(10, 40) + [claim] * rng.randint(10, 40)
            case _:
                return kind, [encode_message(self._claim(machine))]

    def _claim(self, machine: Machine) -> Message:
        rng = self._stage.rng
        claims: tuple[Message, ...] = (
            Hello(machine.ledger.network_id, rng.randbytes(32), rng.randrange(10**9)),
            Have((Head(self._victim(machine), rng.randint(1, 10**6), self._id()),)),
            Have((Head(self._victim(machine), rng.randint(1, 9), self._id(), forked=True),)),
            Want(((self._victim(machine), rng.randrange(9), 10**9),)),
            Ids(self._victim(machine), ((rng.randrange(9), self._id()),)),
            Fork((rng.randbytes(120), rng.randbytes(64)), (rng.randbytes(120), rng.randbytes(64))),
            Ack(rng.randrange(100)),
        )
        return rng.choice(claims)

    def _true(self, source: Machine, *, late: bool) -> list[bytes]:
        """Frames of what another machine holds: two logs from the start, or the end of each before its beginning."""
        frames = []
        for _ in range(2):
            head = source.ledger.heads.get(self._victim(source))
            middle = head.size // 2
            spans = ((middle, head.size), (0, middle)) if late else ((0, head.size), (0, head.size))
            runs = [source.ledger.run(head.key, first, stop) for first, stop in spans]
            frames += [encode_frame([run]) for run in runs if run is not None]
        return frames

    def _victim(self, machine: Machine) -> PublicKey:
        return self._stage.rng.choice([head.key for head in machine.ledger.heads])

    def _id(self) -> EntryId:
        return EntryId(self._stage.rng.randbytes(32))

    def _forged(self, machine: Machine) -> Run:
        """Entries that follow somebody's last one exactly, signed by the liar."""
        head = machine.ledger.heads.get(self._victim(machine))
        drafts = [("record", encode_record("sitrep", {"text": "forged"})) for _ in range(2)]
        mine = Place(self.key.public, head.size, head.id)
        run = sign_run(machine.ledger.charter, self.key, mine, drafts, self._stage.now().wall_ms)
        return Run(head.key, run.seq, run.prev, run.rows)

    def _altered(self, machine: Machine) -> bytes:
        """Entries that are held, with one byte changed."""
        head = machine.ledger.heads.get(self._victim(machine))
        run = machine.ledger.run(head.key, 0, head.size, entries_max=8)
        raw = bytearray(encode_frame([run or self._forged(machine)], compress=False))
        raw[self._stage.rng.randrange(len(raw))] ^= 1 << self._stage.rng.randrange(8)
        return bytes(raw)


def _sources(stage: Stage) -> list[Machine]:
    """Machines from which a relay may have got true entries."""
    return [machine for machine in stage.machines if machine.alive]
