"""Those who write in a simulated world: officers, and thieves of officers' keys; and how anybody signs.

Everything that was ever signed is remembered here in a plain dictionary: what the model (`model.py`) is made from.
A signer keeps a mark as a real one does (`keys/mark.py`), apart from the ledger's disk.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from keys.errors import MarkError
from keys.mark import Mark
from keys.signing import PublicKey, SigningKey
from node.engine.events import Reply, Submitted
from protocol.body import encode_record
from protocol.codec import pack, unpack_row
from protocol.entry import EntryId, Place, open_row
from protocol.frame import Draft, Run, sign_run
from sim.founding import AGENCIES, GUESTS, Founding, key_of
from sim.stage import MINUTE, SECOND, Acknowledged, Machine, Stage

NOWHERE: Final = Path("/nonexistent/mark")  # marks are kept in memory
ALL: Final = AGENCIES + GUESTS


class MemoryMark(Mark):
    """A mark without a file: it outlives what its machine's disk does."""

    def _save(self) -> None:
        self.lost = False


class Written(NamedTuple):
    """An entry that somebody signed, whatever became of it."""

    id: EntryId
    key: PublicKey
    seq: int
    prev: EntryId | None
    refs: tuple[EntryId, ...]
    kind: str
    body: bytes
    holds: bool  # whether its own signature does


class Writers:
    """Everyone who writes records, and all that was written."""

    def __init__(self, stage: Stage, founding: Founding) -> None:
        self.signed: dict[EntryId, Written] = {}
        self.dishonest: set[PublicKey] = set()  # keys that may have signed twice for one place
        self.agency: dict[PublicKey, str] = {}  # officer -> whose
        self.silent: set[PublicKey] = set()  # keys whose mark is barred
        self._stage = stage
        self._network_id = founding.charter.network_id
        self._hired = 0
        self._founded: dict[PublicKey, tuple[int, EntryId | None]] = {}
        for run in founding.runs:
            place = run.place
            for row in run.rows:
                place = self._note(row, place)
            self._founded[run.key] = (place.seq, place.prev)
        weather = stage.weather
        for machine in stage.machines:
            if not weather.writers or machine.number < weather.writers:
                for n in range(weather.officers):
                    machine.officers.append(self._hire(ALL[(machine.number + n) % len(ALL)]))
                stage.every(weather.write_every_s, partial(self._write, machine))
        if weather.twice:
            stage.at(stage.rng.randrange(MINUTE, 4 * MINUTE), self._use_copied_key)
        if weather.branches:
            stage.at(stage.rng.randrange(MINUTE, 4 * MINUTE), self._branch)

    def _hire(self, agency: str) -> SigningKey:
        self._hired += 1
        officer = key_of(self._stage.seed, "officer", self._hired)
        self.agency[officer.public] = agency
        return officer

    def _note(self, row: bytes, place: Place, *, holds: bool = True) -> Place:
        """Remember what a row says; the place after it."""
        entry = open_row(row, place)
        self.signed[entry.id] = Written(
            entry.id, entry.key, entry.seq, entry.prev, entry.refs, entry.kind, entry.body or b"", holds
        )
        return entry.after

    # -- records ----------------------------------------------------------------------------------

    def _write(self, machine: Machine) -> None:
        """An officer of this machine writes one to four records, once they are certified here."""
        rng = self._stage.rng
        which = rng.randrange(len(machine.officers))
        officer = machine.officers[which]
        authority = machine.ledger.authority
        if not machine.alive or machine.outbox or authority.of(officer.public) is None:
            return
        if not authority.may_write(officer.public) or officer.public in self.silent:  # somebody takes over
            machine.officers[which] = self._hire(AGENCIES[machine.number % len(AGENCIES)])
            return
        text = f"{machine.number} at {self._stage.now_ns}"
        drafts = [(text, n) for n in range(rng.randint(1, 4))]
        self.ask(machine, officer, lambda: [_record(*draft) for draft in drafts])

    def ask(self, machine: Machine, signer: SigningKey, make: Callable[[], Sequence[Draft]]) -> None:
        """Have somebody sign at a machine what `make` says by then; nothing, where it says nothing."""
        machine.outbox.append(lambda: self._sign(machine, signer, make()))
        self.hand_in(machine)

    def _sign(self, machine: Machine, signer: SigningKey, drafts: Sequence[Draft]) -> Run | None:
        """As `hamkor` does it: not without standing, not on a forked log, not behind the mark."""
        head = machine.ledger.heads.get(signer.public)
        if not drafts or head.forked or not machine.ledger.authority.may_write(signer.public):
            return None
        mark = machine.marks.get(signer.public) or self._begin_mark(machine, signer.public)
        if self._may_sign(machine, mark) != "ok":
            return self._unstored(machine, mark)
        run = self.sign(machine, signer, Place(signer.public, head.size, head.id), drafts)
        mark.seq, mark.id = run.end - 1, next(reversed(self.signed))
        mark.first_seq, mark.pending, mark.lost = run.seq, run.rows, False
        return run

    def _begin_mark(self, machine: Machine, key: PublicKey) -> Mark:
        """The mark of a key that has signed nothing at this machine but what founded the network; or a lost one."""
        mark = machine.marks[key] = MemoryMark(NOWHERE, key)
        if key not in machine.unmarked:
            mark.adopt(*self._founded.get(key, (0, None)))
        return mark

    def _may_sign(self, machine: Machine, mark: Mark) -> str:
        """What the mark says; one that was lost begins anew when all that another node holds is here."""
        head = machine.ledger.heads.get(mark.public)
        try:
            state = mark.check(head.size, head.id)
        except MarkError:
            self._stage.count("refused", f"may not sign with {_short(mark.public)}: its mark forbids it", machine)
            if mark.seq is None or head.size > mark.seq + 1:
                self.silent.add(mark.public)  # another copy has signed: never again
            return "refused"
        if state == "lost" and any(peer.same_ms is not None for peer in machine.engine.peers.values()):
            mark.adopt(head.size, head.id)
            return "ok"
        return state

    def _unstored(self, machine: Machine, mark: Mark) -> Run | None:
        """What was signed here and is not in the log, if that is all that the log lacks."""
        if self._may_sign(machine, mark) != "resubmit" or not machine.ledger.authority.may_write(mark.public):
            return None
        return Run(mark.public, mark.first_seq, machine.ledger.heads.get(mark.public).id, mark.pending)

    def sign(self, machine: Machine, signer: SigningKey, place: Place, drafts: Sequence[Draft], *, bad: int = 0) -> Run:
        """Entries at that place, whatever stands there. bad: the first so many get signatures that do not hold."""
        log = machine.ledger.log(signer.public)
        now_ms = max(self._stage.now(machine).wall_ms, 0 if log is None else log.time_ms)
        rows: list[bytes] = []
        first = place
        for index, draft in enumerate(drafts):
            run, _ = sign_run(signer, self._network_id, place, [draft], now_ms)
            row = run.rows[0]
            if index < bad:
                fields = unpack_row(row)
                row = bytes(pack([*fields[:5], bytes(64)]))
            rows.append(row)
            place = self._note(row, place, holds=index >= bad)
        return Run(first.key, first.seq, first.prev, tuple(rows))

    # -- copied keys ------------------------------------------------------------------------------

    def _use_copied_key(self) -> None:
        """Somebody far away writes with the first officer's key, at or a little before the end of the log there."""
        stage = self._stage
        officer, thief = stage.machines[0].officers[0], stage.machines[len(stage.machines) // 2]
        head = thief.ledger.heads.get(officer.public)
        if stage.calm or head.forked:
            return
        if not thief.alive or thief.outbox or thief.pending is not None or head.size < 3:
            stage.at(MINUTE // 2, self._use_copied_key)
            return
        stage.count("twice", "writes with an officer's copied key", thief)
        self._continue(thief, officer, head.size - stage.rng.randrange(3), "written by another", 2, 0)
        stage.at(2 * MINUTE, self._use_copied_key)  # until it is found out

    def _branch(self) -> None:
        """An officer continues a log in many ways at once, each at another machine; some with bad signatures."""
        stage, rng = self._stage, self._stage.rng
        if stage.calm:
            return
        author = stage.machines[-1].officers or stage.machines[0].officers
        officer = author[0]
        ready = [m for m in stage.machines if m.alive and m.ledger.heads.get(officer.public).size >= 2]
        if len(ready) < 2 or any(m.ledger.heads.get(officer.public).forked for m in ready):
            stage.at(MINUTE // 2, self._branch)
            return
        base = min(m.ledger.heads.get(officer.public).size for m in ready) - rng.randrange(2)
        for n, machine in enumerate(rng.sample(ready, min(len(ready), stage.weather.branches))):
            if machine.pending is None and not machine.outbox:
                stage.count("branches", f"continues {_short(officer.public)} at {base} in a way of its own", machine)
                self._continue(machine, officer, base, f"branch {n}", rng.randint(2, 4), rng.randrange(2))

    def _continue(self, machine: Machine, signer: SigningKey, seq: int, text: str, count: int, bad: int) -> None:
        before = machine.ledger.ids_at(signer.public, [seq - 1])
        if not before:
            return
        self.dishonest.add(signer.public)
        place = Place(signer.public, seq, before[0][1])
        run = self.sign(machine, signer, place, [_record(text, n) for n in range(count)], bad=bad)
        self.hand_in_signed(machine, run)

    # -- handing in -------------------------------------------------------------------------------

    @staticmethod
    def is_waiting(machine: Machine) -> bool:
        """Whether something that was signed at a machine is not answered yet."""
        return machine.pending is not None

    def hand_in_signed(self, machine: Machine, run: Run) -> None:
        """Hand in what was signed elsewhere."""
        machine.outbox.append(lambda: run)
        self.hand_in(machine)

    def hand_in(self, machine: Machine) -> None:
        """Submit what waits, one run at a time."""
        if not machine.alive:
            return
        while machine.pending is None and machine.outbox:
            machine.pending = machine.outbox.popleft()()
            if machine.pending is not None:
                self._submit(machine)

    def start_again(self, machine: Machine) -> None:
        """After a restart: what was signed and never stored is handed in as it is, and not signed anew."""
        machine.pending = None
        for mark in machine.marks.values():
            machine.outbox.append(partial(self._unstored, machine, mark))
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
            self._stage.at(SECOND, self._in_this_life(machine, lambda: self._submit(machine)))
            return
        early = [aside for aside in outcome.set_aside if aside.reason == "gap"]
        if run.key not in self.dishonest and (outcome.refused is not None or early or outcome.diverged):
            self._stage.problems.append(f"machine {machine.number}: its own entries were not admitted: {outcome}")
        self._check_rival(machine, run)
        machine.pending = None
        if not (outcome.refused or outcome.set_aside or outcome.diverged or outcome.forks):
            place = run.place
            for row in run.rows:
                place = open_row(row, place).after
                machine.acknowledged.append(Acknowledged(run.key, place.seq - 1, place.prev or EntryId(b"")))
        self._stage.at(0, self._in_this_life(machine, lambda: self.hand_in(machine)))

    def _check_rival(self, machine: Machine, run: Run) -> None:
        """Who was shown an entry that another counts in the place of must know of a fork."""
        log = machine.ledger.log(run.key)
        place = run.place
        for row in run.rows if log is not None else ():
            place = open_row(row, place).after
            seq = place.seq - 1
            held = machine.ledger.ids_at(run.key, [seq])
            if log is None or seq >= log.size or (log.forked_at is not None and log.forked_at <= seq) or not held:
                return
            if held[0][1] != place.prev:
                told = f"invariant 4: machine {machine.number} saw log {_short(run.key)} written twice and hides it"
                self._stage.problems.append(told)
                return

    @staticmethod
    def _in_this_life(machine: Machine, action: Callable[[], None]) -> Callable[[], None]:
        life = machine.life
        return lambda: action() if machine.alive and machine.life == life else None


def _record(text: str, n: int) -> Draft:
    return ("record", encode_record("sitrep", {"text": text, "n": n}), ())


def _short(key: bytes) -> str:
    return key.hex()[:12]
