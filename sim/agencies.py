"""What agencies do in a simulated world: certify, revoke, decide in council; and what a thief of a root key does.

Every act is decided on what the machine at which it is signed holds at that moment, so those of two machines race.
Each agency's root key is at one machine, its admin's at another. An agency looks after its people: whoever has no
standing there is certified again. Nodes keep their standing: what certified them stays below every cutoff.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from keys.signing import PublicKey, SigningKey
from ledger.authority import Authority
from protocol.acts import (
    Act,
    Admit,
    Approve,
    Certify,
    Change,
    Cutoff,
    Propose,
    Rekey,
    Remove,
    Revoke,
    Threshold,
    encode_act,
)
from protocol.charter import Agency
from protocol.entry import EntryId, Place
from protocol.frame import Draft
from sim.founding import AGENCIES, GUESTS, Founding, key_of
from sim.stage import MINUTE, SECOND, Machine, Stage
from sim.writers import ALL, Writers

CARE_S: Final = 40  # how often an agency looks after its people
SIT_S: Final = 45  # how often it looks at what is proposed
CERTIFIED_AT_ONCE: Final = 8


class Agencies:
    """The agencies of one world, and the thief of one's root key."""

    def __init__(self, stage: Stage, writers: Writers, founding: Founding) -> None:
        self._stage = stage
        self._writers = writers
        self._charter = founding.charter
        self._network = founding.name
        self._keys: dict[PublicKey, SigningKey] = {}
        self._admins: dict[str, SigningKey] = {}
        self._made = 0
        self._founding_acts = {run.key: len(run.rows) for run in founding.runs}
        self._considered: set[tuple[str, EntryId]] = set()
        self._stolen: tuple[str, SigningKey, int] | None = None  # whose, which, and how long its log was
        for which, agency in enumerate(ALL):
            root = key_of(self._network, agency)
            self._keys[root.public] = root
            self._admins[agency] = key_of(self._network, agency, "admin")
            stage.at(stage.rng.randrange(20 * SECOND), partial(self._care, which))
            stage.every(CARE_S, partial(self._care, which))
            if stage.weather.council_every_s or stage.weather.stolen:
                stage.every(SIT_S, partial(self._sit, which))
        stage.every(stage.weather.revoke_every_s, self._revoke_somebody)
        stage.every(stage.weather.council_every_s, self._propose_something)
        if stage.weather.stolen:
            stage.at(stage.rng.randrange(MINUTE, 4 * MINUTE), self._steal)

    # -- who and where ----------------------------------------------------------------------------

    def _desk(self, which: int) -> Machine:
        """Where an agency's root key is."""
        return self._stage.machines[which % len(self._stage.machines)]

    def _admin_desk(self, which: int) -> Machine:
        size = len(self._stage.machines)
        return self._stage.machines[(which + size // 2) % size]

    def _root(self, which: int) -> SigningKey | None:
        """The agency's root key, as its own machine knows it; None: it is no member there."""
        member = self._desk(which).ledger.authority.council.members.get(ALL[which])
        return None if member is None else self._keys.get(member.key)

    def _new_key(self, agency: str) -> SigningKey:
        self._made += 1
        key = key_of(self._network, agency, "root", self._made)
        self._keys[key.public] = key
        return key

    def _ask(self, machine: Machine, signer: SigningKey | None, *acts: Act, refs: Sequence[EntryId] = ()) -> None:
        if signer is not None and acts:
            drafts: list[Draft] = [("act", encode_act(act), tuple(refs)) for act in acts]
            self._writers.ask(machine, signer, lambda: drafts)

    # -- certificates -----------------------------------------------------------------------------

    def _care(self, which: int) -> None:
        """Certify whoever lacks standing: the admin by the root key, officers by either."""
        agency, root, desk = ALL[which], self._root(which), self._desk(which)
        if root is None:
            return
        authority = desk.ledger.authority
        admin = self._admins[agency]
        silent = admin.public in self._writers.silent
        if silent or not authority.may_write(admin.public):
            if silent or authority.of(admin.public) is not None:
                self._made += 1
                admin = self._admins[agency] = key_of(self._network, agency, "admin", self._made)
            self._ask(desk, root, Certify(admin.public, "admin", "admin", agency, "", ("admin",)))
        by_admin = self._stage.rng.randrange(2) == 0
        where, signer = (self._admin_desk(which), admin) if by_admin else (desk, root)
        people = [
            officer.public
            for machine in self._stage.machines
            for officer in machine.officers
            if self._writers.agency[officer.public] == agency and where.ledger.authority.of(officer.public) is None
        ]
        if where.alive and not where.outbox:
            acts = [Certify(key, "officer", "officer", agency, "", ("officer",)) for key in people]
            self._ask(where, signer, *acts[:CERTIFIED_AT_ONCE])

    # -- revocations ------------------------------------------------------------------------------

    def _revoke_somebody(self) -> None:
        """A root key or an admin revokes an officer, a root key also an admin: at what its machine holds, or less."""
        rng = self._stage.rng
        which = rng.randrange(len(ALL))
        agency = ALL[which]
        by_admin = rng.randrange(3) == 0
        where = self._admin_desk(which) if by_admin else self._desk(which)
        signer = self._admins[agency] if by_admin else self._root(which)
        staff = [key for key, whose in self._writers.agency.items() if whose == agency]
        staff = [key for key in staff if where.ledger.authority.of(key) is not None]
        twice = [key for key in staff if where.ledger.heads.get(key).forked]
        if not by_admin and rng.randrange(3) == 0:
            staff.append(self._admins[agency].public)
        if not staff or signer is None or not where.alive or where.outbox:
            return
        cutoff = self._cutoff(where, rng.choice(twice or staff))
        self._stage.count("revoke", f"revokes {cutoff.key.hex()[:12]} at {_told(cutoff)}", where)
        self._ask(where, signer, Revoke(cutoff.key, cutoff.seq, cutoff.id, "left"))

    def _cutoff(self, machine: Machine, key: PublicKey, floor: int = 0) -> Cutoff:
        """What the machine holds of a log, or less, at least `floor` entries. Endorses a branch, where it forks."""
        rng, log = self._stage.rng, machine.ledger.log(key)
        if log is None or log.held <= floor or (floor == 0 and rng.randrange(8) == 0):
            held = machine.ledger.ids_at(key, [floor - 1]) if floor else []
            return Cutoff(key, *held[0]) if held else Cutoff(key, 0, None)
        seq = log.held - 1 if rng.randrange(3) else rng.randrange(floor, log.held)
        if log.forked_at is not None and seq >= log.forked_at:
            self._stage.count("endorse", f"endorses a branch of {key.hex()[:12]}", machine)
        return Cutoff(key, *machine.ledger.ids_at(key, [seq])[0])

    # -- the council ------------------------------------------------------------------------------

    def _propose_something(self) -> None:
        """An agency proposes; whom it may, it may also remove or give a new key."""
        rng = self._stage.rng
        which = rng.randrange(len(ALL))
        desk, root = self._desk(which), self._root(which)
        if root is None or not desk.alive or desk.outbox:
            return
        change = self._change(desk, ALL[which])
        if change is not None:
            self._stage.count("council", f"{ALL[which]} proposes {type(change).__name__.lower()}", desk)
            self._ask(desk, root, Propose(change))

    def _change(self, desk: Machine, proposer: str) -> Change | None:
        rng, council = self._stage.rng, desk.ledger.authority.council
        absent = [name for name in GUESTS if name not in council.members]
        kinds = ["threshold", "rekey", "rekey", "remove"] + ["admit", "admit"] * len(absent)
        match rng.choice(kinds):
            case "threshold":
                return Threshold(rng.randint(2, 4))
            case "admit":
                name = rng.choice(absent)
                return Admit(Agency(name, name.upper(), self._new_key(name).public))
            case "remove":
                name = rng.choice(GUESTS)
                if name == proposer or name not in council.members:
                    return None
                keys = [council.members[name].key, self._admins[name].public]
                keys += [key for key, whose in self._writers.agency.items() if whose == name]
                named = [key for key in sorted(set(keys)) if rng.randrange(4)]
                return Remove(name, tuple(self._cutoff(desk, key) for key in named))
            case _:
                return self._new_root(desk, proposer)

    def _new_root(self, desk: Machine, proposer: str) -> Change | None:
        members = desk.ledger.authority.council.members
        name = self._stage.rng.choice(ALL)
        if self._stolen is not None and members.get(self._stolen[0], None) is not None:
            name, stolen, size = self._stolen
            if members[name].key == stolen.public and name != proposer:
                before = desk.ledger.ids_at(stolen.public, [size - 1]) if size else []
                if before and self._stage.rng.randrange(3):
                    return Rekey(name, self._new_key(name).public, *before[0])
        if name == proposer or name not in members:
            return None
        old = members[name].key
        floor = self._founding_acts.get(old, 0) if name in AGENCIES else 0
        cutoff = self._cutoff(desk, old, floor)
        return Rekey(name, self._new_key(name).public, cutoff.seq, cutoff.id)

    def _sit(self, which: int) -> None:
        """An agency says yes to most of what is open and new to it."""
        desk, root, rng = self._desk(which), self._root(which), self._stage.rng
        if root is None or not desk.alive or desk.outbox:
            return
        for proposal in _open(desk.ledger.authority):
            if (ALL[which], proposal) in self._considered:
                continue
            self._considered.add((ALL[which], proposal))
            if rng.randrange(4):
                self._ask(desk, root, Approve(proposal), refs=[proposal])

    # -- a stolen root key ------------------------------------------------------------------------

    def _steal(self) -> None:
        rng = self._stage.rng
        which = rng.randrange(len(ALL))
        root, desk = self._root(which), self._desk(which)
        if root is not None and not self._stage.calm:
            self._stolen = (ALL[which], root, desk.ledger.heads.get(root.public).size)
            self._writers.dishonest.add(root.public)
            self._use_stolen()

    def _use_stolen(self) -> None:
        """Sign what serves the thief at some machine, without refs: it may look as old as the charter."""
        stage, rng = self._stage, self._stage.rng
        if stage.calm or self._stolen is None:
            return
        stage.at(stage.interval(40), self._use_stolen)
        agency, root, size = self._stolen
        where = rng.choice(stage.machines)
        head = where.ledger.heads.get(root.public)
        if not where.alive or where.outbox or where.pending is not None or head.size < size:
            return
        authority = where.ledger.authority
        accomplice = key_of(stage.seed, "accomplice", rng.randrange(3))
        acts: list[Act] = [Certify(accomplice.public, "officer", "accomplice", agency, "", ("officer",))]
        acts += [Approve(proposal) for proposal in _open(authority)]
        if rng.randrange(2):
            acts.append(Propose(Remove(rng.choice(GUESTS), ())))
        if rng.randrange(2):
            acts.append(Propose(Threshold(2)))
        stage.count("stolen", f"signs {len(acts)} acts with the stolen root key of {agency}", where)
        chosen: list[Draft] = [("act", encode_act(act), ()) for act in acts]
        before = head.size if rng.randrange(3) else rng.randint(size, head.size)
        last = where.ledger.ids_at(root.public, [before - 1]) if before else []
        if not last:
            return
        run = self._writers.sign(where, root, Place(root.public, before, last[0][1]), chosen)
        self._writers.hand_in_signed(where, run)


def _open(authority: Authority) -> list[EntryId]:
    return [proposal.id for proposal in authority.council.proposals if proposal.passed is None]


def _told(cutoff: Cutoff) -> str:
    return "none" if cutoff.id is None else f"{cutoff.seq} {cutoff.id.hex()[:12]}"
