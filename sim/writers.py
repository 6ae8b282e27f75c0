"""Those who write in a simulated world: agencies and admins that certify, officers, and a thief of an officer's key.

What was written is remembered here in plain dictionaries and sets: the model that nodes are compared with.
"""

from collections.abc import Callable
from functools import partial

from keys.signing import PublicKey, SigningKey
from node.engine.events import Reply, Submitted
from protocol.acts import Certify, encode_act
from protocol.body import encode_record
from protocol.entry import EntryId, Place, open_row
from protocol.frame import Run
from sim.founding import AGENCIES, key_of, sign_run
from sim.stage import MINUTE, SECOND, Acknowledged, Machine, Stage


class Writers:
    """Everyone who writes, and what they wrote. `network` names the founding keys."""

    def __init__(self, stage: Stage, network: str) -> None:
        self.written: dict[PublicKey, dict[int, set[EntryId]]] = {}  # log -> seq -> the ids signed for it
        self.twice: set[PublicKey] = set()  # whose key is used on two machines
        self._stage = stage
        self._network = network
        for machine in stage.machines:
            for officer in machine.officers:
                stage.at(stage.rng.randrange(MINUTE), partial(self._certify, machine, officer))
            stage.every(stage.weather.write_every_s, partial(self._write, machine))
        if stage.weather.twice:
            stage.at(stage.rng.randrange(8 * MINUTE, 30 * MINUTE), self._use_copied_key)

    def forks(self) -> dict[PublicKey, int]:
        """The logs in which two entries were signed for one seq, and the lowest such seq."""
        doubles = {key: [seq for seq, ids in log.items() if len(ids) > 1] for key, log in self.written.items()}
        return {key: min(seqs) for key, seqs in doubles.items() if seqs}

    def note(self, run: Run) -> list[EntryId]:
        """Remember what a run says; the ids of its entries."""
        log = self.written.setdefault(run.key, {})
        place, ids = run.place, []
        for row in run.rows:
            entry = open_row(row, place)
            log.setdefault(entry.seq, set()).add(entry.id)
            ids.append(entry.id)
            place = entry.after
            if len(log[entry.seq]) > 1 and run.key not in self.twice:
                self._stage.problems.append(f"invariant 2: log {_short(run.key)} was written twice at {entry.seq}")
        return ids

    # -- what they write --------------------------------------------------------------------------

    def _certify(self, machine: Machine, officer: SigningKey) -> None:
        """An agency certifies an officer on its own machine; the certificate has to travel before they can write."""
        which = machine.number % len(AGENCIES)
        agency = AGENCIES[which]
        by_admin = machine.number // len(AGENCIES) % 2 == 1
        signer = key_of(self._network, agency, "admin") if by_admin else key_of(self._network, agency)
        act = Certify(officer.public, "officer", f"officer {machine.number}", agency, "", ("officer",))
        desk = self._stage.machines[which % len(self._stage.machines)]
        desk.outbox.append(lambda: self._sign(desk, signer, [("act", encode_act(act))]))
        self.hand_in(desk)

    def _write(self, machine: Machine) -> None:
        """An officer of this machine writes one to four records, once they are certified here."""
        rng = self._stage.rng
        officer = rng.choice(machine.officers)
        if not machine.alive or machine.outbox or machine.ledger.authority.of(officer.public) is None:
            return
        text = f"{machine.number} at {self._stage.now_ns}"
        drafts = [("record", encode_record("sitrep", {"text": text, "n": n})) for n in range(rng.randint(1, 4))]
        machine.outbox.append(lambda: self._sign(machine, officer, drafts))
        self.hand_in(machine)

    def _sign(self, machine: Machine, signer: SigningKey, drafts: list[tuple[str, bytes]]) -> Run | None:
        head = machine.ledger.heads.get(signer.public)
        if head.forked:
            return None  # it grows no further
        place = Place(signer.public, head.size, head.id)
        return sign_run(machine.ledger.charter, signer, place, drafts, self._stage.now().wall_ms)

    def _use_copied_key(self) -> None:
        """Somebody far away writes with the first officer's key, at or a little before the end of the log there."""
        stage = self._stage
        officer, thief = stage.machines[0].officers[0], stage.machines[len(stage.machines) // 2]
        head = thief.ledger.heads.get(officer.public)
        if stage.calm or head.forked:
            return
        if not thief.alive or thief.outbox or thief.pending is not None or head.size < 3:
            stage.at(MINUTE, self._use_copied_key)
            return
        self.twice.add(officer.public)
        stage.faults["twice"] += 1
        stage.note("writes with an officer's copied key", thief)
        seq = head.size - stage.rng.randrange(3)
        place = Place(officer.public, seq, thief.ledger.ids_at(officer.public, [seq - 1])[0][1])
        drafts = [("record", encode_record("sitrep", {"text": "written by another"})) for _ in range(2)]
        run = sign_run(thief.ledger.charter, officer, place, drafts, stage.now().wall_ms)
        thief.outbox.append(lambda: run)
        self.hand_in(thief)
        stage.at(2 * MINUTE, self._use_copied_key)  # until it is found out

    # -- handing in -------------------------------------------------------------------------------

    def hand_in(self, machine: Machine) -> None:
        """Submit what waits, one run at a time; what was under way before a crash is submitted as it was signed."""
        if not machine.alive:
            return
        while machine.pending is None and machine.outbox:
            machine.pending = machine.outbox.popleft()()
            if machine.pending is not None:
                self._submit(machine)

    def submit_again(self, machine: Machine) -> None:
        """After a restart or a failure."""
        if machine.alive and machine.pending is not None:
            self._submit(machine)
        self.hand_in(machine)

    def _submit(self, machine: Machine) -> None:
        if machine.pending is not None:
            machine.requests += 1
            self._stage.feed(machine, Submitted(machine.requests, (machine.pending,)))

    def replied(self, machine: Machine, reply: Reply) -> None:
        """The answer to the last request of this life."""
        run, outcome = machine.pending, reply.outcome
        if run is None or reply.request != machine.requests:
            return
        if reply.error is not None or outcome is None:
            self._stage.at(SECOND, self._in_this_life(machine, lambda: self.submit_again(machine)))
            return
        odd = outcome.refused is not None or outcome.set_aside or outcome.diverged or outcome.forks
        if odd and run.key not in self.twice:
            self._stage.problems.append(f"machine {machine.number}: its own entries were not admitted: {outcome}")
        machine.pending = None
        ids = self.note(run) if outcome.refused is None else []  # a rival is evidence, wherever it was put
        if not odd:
            machine.acknowledged += [Acknowledged(run.key, seq, known) for seq, known in enumerate(ids, run.seq)]
        self._stage.at(0, self._in_this_life(machine, lambda: self.hand_in(machine)))

    @staticmethod
    def _in_this_life(machine: Machine, action: Callable[[], None]) -> Callable[[], None]:
        life = machine.life
        return lambda: action() if machine.alive and machine.life == life else None


def _short(key: bytes) -> str:
    return key.hex()[:12]
