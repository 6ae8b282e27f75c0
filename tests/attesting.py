"""Ledgers of several nodes in memory, which attest what they hold: for tests of checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keys.signing import PublicKey, SigningKey
from ledger.attest import full_is_due, latest, survey
from ledger.comparison import Comparison
from ledger.projection import Projection
from ledger.store import Ledger, create
from protocol.acts import Certify, encode_act
from protocol.body import encode_record
from protocol.checkpoint import draft
from protocol.entry import EntryId, Place
from protocol.frame import Run, sign_run
from protocol.message import Fork
from sim.disk import MemoryStorage
from sim.founding import AGENCIES, found, key_of
from tests.ledgers import ids_of

NAME = "attesting"
START_MS = 1_767_225_600_000
OFFICERS = [key_of(NAME, "officer", number) for number in range(3)]
NODES = [key_of(NAME, "node", number) for number in range(3)]


def record(text: str) -> bytes:
    """The body of a record."""
    return encode_record("sitrep", {"text": text})


@dataclass
class Witness:
    """A node: its ledger, its index, its key."""

    key: SigningKey
    ledger: Ledger
    projection: Projection
    comparison: Comparison
    now_ms: int = START_MS
    written: list[EntryId] = field(default_factory=list)

    @classmethod
    def found(cls, folder: Path, number: int = 0) -> "Witness":
        """Node `number` of three; every agency has certified its own, and an officer."""
        ledger = create(MemoryStorage(), found(NAME))
        for at, agency in enumerate(AGENCIES[:3]):
            root = key_of(NAME, agency)
            acts = [
                Certify(NODES[at].public, "node", f"node-{at}", agency, f"unit-{at}", ()),
                Certify(OFFICERS[at].public, "officer", f"officer-{at}", agency, f"unit-{at}", ("officer",)),
            ]
            run, _ = sign_run(
                root, ledger.network_id, Place(root.public, 0, None), [("act", encode_act(act), ()) for act in acts],
                START_MS,
            )  # fmt: skip
            ledger.apply(ledger.commit([(run,)]))
        projection = Projection(folder / f"search-{number}-{len(list(folder.iterdir()))}.db")
        return cls(NODES[number], ledger, projection, Comparison(projection))

    def admit(self, *runs: Run | Fork) -> None:
        """Take runs, or proofs of forks, as a peer's."""
        for run in runs:
            result = self.ledger.commit([run if isinstance(run, Fork) else (run,)])
            assert result.outcomes[0].refused is None
            self.ledger.apply(result)

    def write(self, signer: SigningKey, drafts: Sequence[tuple[str, bytes]]) -> Run:
        """Sign entries at the end of that key's log here, and take them."""
        log = self.ledger.log(signer.public)
        place = Place(signer.public, 0, None) if log is None else log.next
        time_ms = max(self.now_ms, 0 if log is None else log.time_ms)
        run, ids = sign_run(signer, self.ledger.network_id, place, [(kind, body, ()) for kind, body in drafts], time_ms)
        self.admit(run)
        self.written += ids
        return run

    def attest(self, *, root: bytes | None = None, full: bool = False) -> Run:
        """Sign a checkpoint. root: instead of the right one."""
        me = self.key.public
        with self.ledger.storage.read() as view:
            here, mine = survey(view), latest(view, me)
            before = None if full or mine is None or full_is_due(view, me) else mine.state
        bodies = draft(self.key, self.ledger.network_id, root or here.root, here.heads, before)
        return self.write(self.key, [("checkpoint", body) for body in bodies])

    def compare(self) -> None:
        """Follow to the end."""
        while self.projection.catch_up(self.ledger) or self.comparison.compare(self.ledger, self.now_ms):
            continue

    def verdicts(self, node: int) -> list[str | None]:
        """What is found of that node's checkpoints, in order."""
        with self.projection.connection() as db:
            rows = db.execute("SELECT verdict FROM checkpoints WHERE node = ? ORDER BY seq", (NODES[node].public,))
            return [row[0] for row in rows]

    def rows(self) -> list[object]:
        """Everything in the tables of the comparison."""
        with self.projection.connection() as db:
            return [
                db.execute("SELECT * FROM checkpoints ORDER BY node, seq").fetchall(),
                db.execute("SELECT * FROM attested ORDER BY log, node, seq").fetchall(),
                db.execute("SELECT * FROM states ORDER BY node, log").fetchall(),
            ]


def part(run: Run, first: int, stop: int) -> Run:
    """Some of a run's entries."""
    prev: EntryId | None = run.prev if first == 0 else ids_of(run)[first - 1]
    return Run(PublicKey(run.key), run.seq + first, prev, run.rows[first:stop])
