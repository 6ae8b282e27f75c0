"""Whatever was certified, revoked and decided: every record that counts has a proof that no verifier refuses, and it is
attested by just those agencies whose nodes attest it.
"""

from collections.abc import Sequence
from random import Random

import pytest

from keys.signing import PublicKey, SigningKey
from ledger.attest import Stated, latest, stated
from ledger.proof import build_proof
from ledger.verify import PROVEN, REFUSED, UNPROVEN, verify_file
from protocol import verify_proof
from protocol.acts import Admit, Approve, Change, Cutoff, Propose, Rekey, Remove, Threshold
from protocol.charter import Agency
from protocol.entry import Entry, EntryId
from protocol.proof import BEGIN, END, write_proof
from tests.ledgers import World

PAGE = f"{BEGIN.decode()}{END.decode()}"
RECORDS_MAX = 6  # of which proofs are made, in each story


class Story:
    """A world in which things happen as a seed says."""

    def __init__(self, seed: int) -> None:
        self.world = World(f"story {seed % 8}")
        self.rng = Random(seed)
        roots = [self.world.key(agency.name) for agency in self.world.charter.agencies]
        self.keys: dict[PublicKey, SigningKey] = {key.public: key for key in roots}
        self.records: list[EntryId] = []
        self.steps: list[EntryId] = []
        self.made = 0  # keys
        for _ in range(self.rng.randint(20, 70)):
            happens = (self.certify, self.record, self.step, self.attest, self.revoke, self.decide)
            self.rng.choices(happens, (4, 3, 3, 5, 1, 1.5))[0]()

    def able(self, *ranks: str) -> list[SigningKey]:
        """The keys of those ranks that may write."""
        standings = sorted(self.world.ledger.authority.standings.items())
        return [self.keys[key] for key, one in standings if one.rank in ranks and one.ended is None]

    def certify(self) -> None:
        authority = self.world.ledger.authority
        signer = self.rng.choice(self.able("agency", "admin"))
        standing = authority.of(signer.public)
        if standing is not None and standing.agency in authority.council.members:
            ranks = ("node", "node", "officer", "admin") if standing.rank == "agency" else ("node", "officer")
            self.made += 1
            key = self.world.certify(signer, self.rng.choice(ranks), standing.agency, self.made)
            self.keys[key.public] = key

    def record(self) -> None:
        author = self.rng.choice(self.able("officer", "agency", "admin"))
        self.records.append(self.world.record(author, n=len(self.records)))

    def step(self) -> None:
        if self.records:
            author = self.rng.choice(self.able("officer", "node", "agency"))
            record = self.rng.choice(self.records)
            self.steps.append(self.world.step(author, record, "comment", n=len(self.steps)))

    def attest(self) -> None:
        nodes = self.able("node")
        for node in self.rng.sample(nodes, min(2, len(nodes))):
            self.world.checkpoint(node, full=self.rng.random() < 0.2)

    def cutoff(self, key: PublicKey) -> Cutoff:
        """One near the end of a log."""
        log = self.world.ledger.log(key)
        size = self.rng.randint(max(0, log.size - 3), log.size) if log is not None else 0
        last = self.world.ledger.ids_at(key, [size - 1])[0][1] if size else None
        return Cutoff(key, max(0, size - 1), last)

    def revoke(self) -> None:
        authority = self.world.ledger.authority
        for subject in self.rng.sample(subjects := self.able("officer", "node", "admin"), min(1, len(subjects))):
            above = [one.key for one in authority.chain(subject.public)[1:] if authority.may_write(one.key)]
            if above:
                cutoff = self.cutoff(subject.public)
                self.world.revoke(self.keys[self.rng.choice(above)], subject.public, cutoff.id)

    def decide(self) -> None:
        council = self.world.ledger.authority.council
        members = sorted(council.members)
        self.made += 1
        name, key = self.rng.choice(members), self.world.key("root", self.made)
        cut = self.cutoff(council.members[name].key)
        own = [one for one, found in self.world.ledger.authority.standings.items() if found.agency == name]
        changes: list[Change] = [
            Admit(Agency(f"new-{self.made}", "New", key.public)), Rekey(name, key.public, cut.seq, cut.id),
            Remove(name, tuple(self.cutoff(one) for one in sorted(own))), Threshold(self.rng.randint(1, len(members))),
        ]  # fmt: skip
        change = self.rng.choice(changes)
        voters = [one for one in members if one != name or isinstance(change, Admit | Threshold)]
        self.rng.shuffle(voters)
        least = max(1, council.threshold - self.rng.randint(0, 1))
        self.keys[key.public] = key
        self.vote(change, [self.keys[council.members[one].key] for one in voters[:least]])

    def vote(self, change: Change, voters: Sequence[SigningKey]) -> None:
        passed = [one.passed for one in self.world.ledger.authority.council.proposals if one.passed is not None]
        first, *others = voters
        proposal = self.world.act(first, Propose(change), passed[-16:])
        for voter in others:
            self.world.act(voter, Approve(proposal), passed[-16:])


def attesting(story: Story, entry: Entry, *, last: bool) -> set[str]:
    """The members whose nodes have a checkpoint that covers an entry, or whose last one does: the plain way."""
    ledger = story.world.ledger

    def covers(one: Stated) -> bool:
        size, known = one.state.get(entry.key, (0, None))
        return size > entry.seq and ledger.ids_at(entry.key, [size - 1]) == [(size - 1, known)]

    found = set()
    with ledger.storage.read() as reader:
        for key, standing in ledger.authority.standings.items():
            if standing.rank == "node" and standing.agency in ledger.authority.council.members:
                ended = latest(reader, key)
                if (ended is not None and covers(ended)) if last else any(map(covers, stated(reader, key))):
                    found.add(standing.agency)
    return found


@pytest.mark.parametrize("seeds", [[*range(20), 431], pytest.param(range(20, 300), marks=pytest.mark.slow)])
def test_every_record_that_counts_has_a_proof_that_says_who_attests_it(seeds: Sequence[int]) -> None:
    verdicts: list[str] = []
    for seed in seeds:
        story = Story(seed)
        ledger = story.world.ledger
        entries = [entry for one in story.records if (entry := ledger.entry(one)) is not None]
        counting = [entry for entry in entries if ledger.status(entry) == "ok"]
        for entry in story.rng.sample(counting, min(len(counting), RECORDS_MAX)):
            raw = write_proof(PAGE, build_proof(ledger, entry.id, story.steps))
            verdict = verify_file(raw, ledger.charter)
            assert verdict.verdict != REFUSED, (seed, verdict)
            agencies = set(verdict.entries[0].agencies)
            assert attesting(story, entry, last=True) <= agencies <= attesting(story, entry, last=False), seed
            assert verdict.threshold == ledger.authority.council.threshold, seed
            assert verify_proof.check(raw, ledger.charter_file) == verdict.to_json(), seed
            verdicts.append(verdict.verdict)
    assert set(verdicts) == {PROVEN, UNPROVEN}
