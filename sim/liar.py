"""A certified node that keeps to no rule: it forges, garbles, promises what it does not have.

It never writes a valid entry, so whatever of its doing is found in a ledger is a violation.
"""

from functools import partial

from keys.signing import PublicKey, SigningKey
from node.engine.events import PeerDown, PeerUp, Received
from protocol.body import encode_record
from protocol.entry import EntryId, Place
from protocol.frame import Run, encode_frame
from protocol.message import Ack, Fork, Frame, Have, Hello, Ids, Message, Want, encode_message
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
        if machine.life == life and machine.alive and not self._stage.calm:
            self._stage.faults["lie"] += 1
            self._stage.feed(machine, Received(self.key.public, self._message(machine)))

    def _message(self, machine: Machine) -> bytes:
        rng = self._stage.rng
        forged = encode_frame([self._forged(machine)])
        lies: tuple[Message, ...] = (
            Frame(rng.randrange(9), forged),
            Frame(rng.randrange(9), forged),
            Frame(0, self._altered(machine)),
            Hello(machine.ledger.network_id, rng.randbytes(32), rng.randrange(10**9)),
            Have((Head(self._victim(machine), rng.randint(1, 10**6), self._id()),)),
            Want(((self._victim(machine), rng.randrange(9), 10**9),)),
            Ids(self._victim(machine), ((rng.randrange(9), self._id()),)),
            Fork((rng.randbytes(120), rng.randbytes(64)), (rng.randbytes(120), rng.randbytes(64))),
            Ack(rng.randrange(100)),
        )
        raw = bytearray(encode_message(rng.choice(lies)))
        if rng.randrange(4) == 0:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        return bytes(raw[: rng.randrange(len(raw))] if rng.randrange(8) == 0 else raw)

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
