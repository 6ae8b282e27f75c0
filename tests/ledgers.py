"""A ledger in memory that tests write to entry by entry: agencies, officers and nodes whose keys are known."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from keys.signing import PublicKey, SigningKey
from ledger.attest import latest, survey
from ledger.store import Ledger, create
from protocol.acts import Act, Approve, Certify, Change, Propose, Revoke, encode_act
from protocol.body import encode_record, encode_step
from protocol.charter import Charter
from protocol.checkpoint import draft
from protocol.codec import pack, unpack_row
from protocol.entry import EntryId, Place, open_row, sign_row
from protocol.frame import Run
from sim.disk import MemoryStorage
from sim.founding import found, key_of


@dataclass
class World:
    """A ledger of the six agencies of sim/founding.py, of which three decide, and a clock that ticks by the entry."""

    name: str = "worlds"
    ledger: Ledger = field(init=False)
    now_ms: int = 1_767_225_600_000

    def __post_init__(self) -> None:
        self.ledger = create(MemoryStorage(), found(self.name))

    @property
    def charter(self) -> Charter:
        """That of the ledger."""
        return self.ledger.charter

    def key(self, *words: object) -> SigningKey:
        """The key of that name; an agency's name gives its root key."""
        return key_of(self.name, *words)

    def place(self, key: PublicKey) -> Place:
        """Where the next entry of that log goes."""
        log = self.ledger.log(key)
        if log is None:
            return Place(key, 0, None)
        [(_, last)] = self.ledger.ids_at(key, [log.held - 1])
        return Place(key, log.held, last)

    def write(
        self, signer: SigningKey, drafts: Sequence[tuple[str, bytes, Sequence[EntryId]]], *, spoil: int = 0
    ) -> list[EntryId]:
        """Entries of one log, admitted together. spoil: of how many the own signature is made to fail."""
        place, rows, ids = self.place(signer.public), [], []
        for number, (kind, body, refs) in enumerate(drafts):
            self.now_ms += 1000
            row = sign_row(signer, self.ledger.network_id, place, kind=kind, body=body, time_ms=self.now_ms, refs=refs)
            if number < spoil:
                row = bytes(pack([*unpack_row(row)[:5], bytes(64)]))
            entry = open_row(row, place)
            rows.append(row)
            ids.append(entry.id)
            place = entry.after
        first = self.place(signer.public)
        self.admit(Run(signer.public, first.seq, first.prev, tuple(rows)))
        return ids

    def admit(self, run: Run) -> None:
        """Take in a run, which must not be refused."""
        result = self.ledger.commit([(run,)])
        self.ledger.apply(result)
        assert result.outcomes[0].refused is None, result.outcomes[0].refused

    def act(self, signer: SigningKey, act: Act, refs: Sequence[EntryId] = ()) -> EntryId:
        """The id of an act."""
        return self.write(signer, [("act", encode_act(act), refs)])[0]

    def certify(self, signer: SigningKey, rank: str, agency: str, *words: object) -> SigningKey:
        """A key of that rank and name, certified by `signer`."""
        key = self.key(rank, agency, *words)
        roles = {"officer": ("officer",), "admin": ("admin",)}.get(rank, ())
        name = " ".join(map(str, (rank, agency, *words)))
        self.act(signer, Certify(key.public, rank, name, agency, f"unit-{agency}", roles))
        return key

    def revoke(self, signer: SigningKey, key: PublicKey, last: EntryId | None) -> EntryId:
        """End a log after the entry `last`."""
        entry = self.ledger.entry(last) if last is not None else None
        return self.act(signer, Revoke(key, entry.seq if entry is not None else 0, last, "lost"))

    def decide(self, change: Change, *agencies: str, refs: Sequence[EntryId] = ()) -> list[EntryId]:
        """The acts by which the root keys of `agencies` pass a change."""
        proposal = self.act(self.key(agencies[0]), Propose(change), refs)
        return [proposal, *(self.act(self.key(name), Approve(proposal)) for name in agencies[1:])]

    def record(self, signer: SigningKey, **fields: object) -> EntryId:
        """A seizure with those fields, however odd."""
        return self.write(signer, [("record", encode_record("seizure", fields), ())])[0]

    def step(
        self, signer: SigningKey, record: EntryId, step: str, refs: Sequence[EntryId] = (), **fields: object
    ) -> EntryId:  # fmt: skip
        """A step on a record that saw its creation and `refs`."""
        return self.write(signer, [("step", encode_step(record, step, fields), sorted({record, *refs}))])[0]

    def checkpoint(self, signer: SigningKey, *, full: bool = False) -> EntryId:
        """The node attests what counts now."""
        with self.ledger.storage.read() as reader:
            found, mine = survey(reader), latest(reader, signer.public)
        before = None if mine is None or full else mine.state
        bodies = draft(signer, self.ledger.network_id, found.root, found.heads, before)
        return self.write(signer, [("checkpoint", body, ()) for body in bodies])[-1]


def ids_of(run: Run) -> list[EntryId]:
    """The ids of a run's entries."""
    ids, place = [], run.place
    for row in run.rows:
        entry = open_row(row, place)
        ids.append(entry.id)
        place = entry.after
    return ids
