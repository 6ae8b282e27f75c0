"""Machines that attest what counts at them, and the judge of what they attested (SPEC.md 7.1).

A machine writes its checkpoints with the ledger's own code. They are judged against plain lists: what a checkpoint
says of a log is looked up in all that was ever signed, roots are computed by the slow model, and now and then all that
lies on the machine's disk is judged, at the moment at which it signs.
"""

from functools import partial
from hashlib import sha256
from typing import Final

from keys.signing import PublicKey
from ledger.attest import KIND, Ranges, draft_next, is_due, stated
from protocol.charter import Charter
from protocol.checkpoint import Chain, parse_checkpoint
from protocol.entry import EntryId
from protocol.frame import Draft
from sim.model import judge_world, naive_root
from sim.stage import Machine, Stage
from sim.writers import Writers, Written

CALM_S: Final = 4  # between a machine's looks at whether to attest, once the faults have stopped
JUDGED: Final = 6  # checkpoints of a world for which a machine's disk is judged: that costs most


class Attesters:
    """Lets machines attest, each at an interval of its own."""

    def __init__(self, stage: Stage, writers: Writers, charter: Charter) -> None:
        self._stage = stage
        self._writers = writers
        self._charter = charter
        self._silenced: set[int] = set()  # machines that may not sign now
        self._drafted = 0
        self._met = False
        self._attested: dict[int, bytes] = {}  # machine -> the heads of which it had nothing to attest
        weather = stage.weather
        for machine in stage.machines if weather.attest_every_s else ():
            if not weather.writers or machine.number < weather.writers:
                stage.at(stage.interval(weather.attest_every_s), partial(self._look, machine))

    def _look(self, machine: Machine) -> None:
        stage = self._stage
        wait_s = CALM_S if stage.calm else stage.weather.attest_every_s
        stage.at(stage.interval(wait_s), partial(self._look, machine))
        ready = machine.alive and not machine.outbox and machine.pending is None
        if not ready or not self._together() or not self._news(machine):
            return
        self._writers.ask(machine, machine.key, partial(self._draft, machine))
        if self._writers.is_waiting(machine):
            self._silenced.discard(machine.number)
        else:
            self._silenced.add(machine.number)

    def _together(self) -> bool:
        """Once the faults have stopped, machines attest after they have held the same: what they do then must end."""
        if self._stage.calm and not self._met:
            self._met = len({machine.ledger.heads.fingerprint() for machine in self._stage.machines}) == 1
        return self._met or not self._stage.calm

    def _news(self, machine: Machine) -> bool:
        """Whether there is something for a machine to attest, and its key may write."""
        key, heads = machine.key.public, machine.ledger.heads
        forked = heads.get(key).forked or key in self._writers.silent
        if forked or not machine.ledger.authority.may_write(key):
            return False
        if self._attested.get(machine.number) == heads.fingerprint():
            return False
        with machine.storage.read() as view:
            if is_due(view, key):
                return True
        self._attested[machine.number] = heads.fingerprint()
        return False

    def quiet(self) -> bool:
        """Whether no machine that can has anything left to attest."""
        every_s, most = self._stage.weather.attest_every_s, self._stage.weather.writers
        return not any(
            machine.number not in self._silenced and self._news(machine)
            for machine in (self._stage.machines if every_s else ())
            if not most or machine.number < most
        )

    def _draft(self, machine: Machine) -> list[Draft]:
        """The machine's next checkpoint, as it signs it."""
        key = machine.key.public
        with machine.storage.read() as view:
            bodies = draft_next(view, machine.key, self._charter.network_id)
        log = machine.ledger.log(key)
        if log is not None and log.size != machine.ledger.heads.get(key).size:
            return []  # the disk has more than the engine was told of yet
        self._drafted += 1
        if bodies and self._drafted & (self._drafted - 1) == 0 and self._drafted < 1 << JUDGED:
            self._judge(machine, bodies)
        return [(KIND, body, ()) for body in bodies]

    def _judge(self, machine: Machine, bodies: list[bytes]) -> None:
        """Hold what a machine is about to attest against the model's judgement of all that is on its disk."""
        found = judge_world(self._charter, self._writers.signed, (), [machine])
        counted = {key: ids for key, ids in found.counted.items() if ids}
        said = parse_checkpoint(bodies[0])
        sizes = sum(map(len, counted.values()))
        if (said.logs, said.entries, said.root) != (len(counted), sizes, _root(counted)):
            self._stage.problems.append(
                f"invariant 3: machine {machine.number} attests {said.entries} entries in {said.logs} logs,"
                f" of what is on its disk {sizes} count in {len(counted)}"
            )


def check_attested(stage: Stage, writers: Writers) -> list[str]:
    """What is wrong with the checkpoints that honest machines have written, and what other machines make of them."""
    problems: list[str] = []
    roots: dict[EntryId, bytes] = {}  # of a log up to that entry
    nodes = {machine.key.public: machine for machine in stage.machines}
    for key, machine in nodes.items() if stage.weather.attest_every_s else ():
        if key not in writers.dishonest:
            problems += _check_chain(writers, machine, roots)
    reader = stage.machines[stage.seed % len(stage.machines)]
    ranges = Ranges()
    with reader.storage.read() as view:
        for key, machine in nodes.items() if stage.weather.attest_every_s else ():
            for found in stated(view, key):
                here = ranges.ledger_root(view, found.state)
                if here not in (None, found.whole.root):
                    problems.append(
                        f"invariant 1: machine {reader.number} finds another root at what"
                        f" checkpoint {found.id.hex()[:12]} of machine {machine.number} attests"
                    )
    return problems


def _check_chain(writers: Writers, machine: Machine, roots: dict[EntryId, bytes]) -> list[str]:
    """A machine's checkpoints, one after another: each adds up, and its root is that of its state."""
    problems: list[str] = []
    chain = Chain()
    log = machine.ledger.log(machine.key.public)
    listed = machine.ledger.log_entries(machine.key.public, 0, log.size) if log is not None else []
    for item in listed:
        if item.entry.kind != KIND:
            continue
        who = f"checkpoint {item.entry.id.hex()[:12]} of machine {machine.number}"
        whole, wrong = chain.take(item.entry.seq, item.entry.body)
        if whole is None or wrong:
            problems.append(f"invariant 5: {who} is malformed: {wrong}")
            continue
        own = chain.state.get(machine.key.public, (0, None))[0]
        if own != whole.first:
            problems.append(f"invariant 3: {who} is entry {whole.first} and attests {own} before it")
        leaves = []
        for key, (size, last) in sorted(chain.state.items()):
            if last not in roots:
                roots[last] = _log_root(writers.signed, key, last, size)
            leaves.append(_leaf(key, size, roots[last]))
        if whole.root != naive_root(leaves):
            problems.append(f"invariant 1: {who} has another root than what it attests gives")
    return problems


def _log_root(signed: dict[EntryId, Written], key: PublicKey, last: EntryId, size: int) -> bytes:
    """The naive root over a log up to an entry; nothing that any root is where that is no such log."""
    ids: list[bytes] = []
    known: EntryId | None = last
    while known is not None and known in signed and signed[known].key == key:
        ids.append(known)
        known = signed[known].prev
    return naive_root(ids[::-1]) if len(ids) == size else b""


def _root(counted: dict[PublicKey, list[EntryId]]) -> bytes:
    return naive_root([_leaf(key, len(ids), naive_root(list(ids))) for key, ids in sorted(counted.items())])


def _leaf(key: bytes, size: int, log_root: bytes) -> bytes:
    return sha256(b"\x00" + key + size.to_bytes(8, "big") + log_root).digest()
