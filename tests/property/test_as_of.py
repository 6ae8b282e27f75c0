"""As of a checkpoint: whatever happened before and since, the copy shows what a ledger with that very state shows."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.signing import PublicKey, SigningKey
from ledger.as_of import checkpoint_at, lacking, replay
from ledger.attest import full_is_due, latest, stated, survey
from ledger.projection import Projection
from ledger.store import Ledger, create, load
from ledger.view import document_view
from protocol.acts import Act, Approve, Certify, Propose, Rekey, Revoke, encode_act
from protocol.body import encode_record, encode_step
from protocol.checkpoint import State, draft
from protocol.entry import Entry, EntryId, Place
from protocol.frame import Draft, Run, sign_run
from protocol.message import Fork
from sim.disk import MemoryStorage
from sim.founding import AGENCIES, found, key_of

NAME = "as of"
START_MS = 1_767_225_600_000
CHARTER = found(NAME)
ROOTS = {agency: key_of(NAME, agency) for agency in AGENCIES}
NEW_ROOT, ADMIN = key_of(NAME, "new root"), key_of(NAME, "admin")
OFFICERS = [key_of(NAME, "officer", number) for number in range(3)]
NODE = key_of(NAME, "node")


class World:
    """A node that writes, hears and attests; `moments` are its checkpoints, each with the ledger as it was then."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.ledger = create(MemoryStorage(), CHARTER)
        self.time_ms = START_MS
        self.offered: list[Run | Fork] = []
        self.records: list[EntryId] = []
        self.moments: list[tuple[EntryId, int, Ledger]] = []
        for agency, officer in zip(("mia", "mia", "scc"), OFFICERS, strict=True):
            self.act(ROOTS[agency], Certify(officer.public, "officer", "o", agency, "", ("officer",)))
        self.act(ROOTS["mia"], Certify(ADMIN.public, "admin", "a", "mia", "", ("admin",)))
        self.act(ROOTS["scc"], Certify(NODE.public, "node", "n", "scc", "unit-1", ()))

    def take(self, run: Run) -> None:
        self.offered.append(run)
        self.ledger.apply(self.ledger.commit([(run,)]))

    def sign(self, key: SigningKey, drafts: Sequence[Draft], place: Place | None = None) -> list[EntryId]:
        log = self.ledger.log(key.public)
        if place is None and log is not None and (log.held > log.size or log.forked_at is not None):
            return []  # ended or forked: it writes no more
        place = place or (log.next if log is not None else Place(key.public, 0, None))
        self.time_ms += self.rng.randrange(3) * 1000
        run, ids = sign_run(key, self.ledger.network_id, place, drafts, self.time_ms)
        self.take(run)
        return ids

    def act(self, key: SigningKey, *acts: Act) -> list[EntryId]:
        return self.sign(key, [("act", encode_act(act), ()) for act in acts])

    # -- what may happen --------------------------------------------------------------------------

    def write(self) -> None:
        bodies = [encode_record("intel", {"n": self.rng.random().hex()}) for _ in range(self.rng.randint(1, 3))]
        self.records += self.sign(self.rng.choice(OFFICERS), [("record", body, ()) for body in bodies])

    def change(self) -> None:
        if self.records:
            record = self.rng.choice(self.records)
            step = self.rng.choice([("amend", {"set": {"n": self.rng.random().hex()}}), ("tag", {"add": ["t"]})])
            self.sign(self.rng.choice(OFFICERS), [("step", encode_step(record, *step), (record,))])

    def revoke(self) -> None:
        agency, subject = self.rng.choice([("mia", OFFICERS[0]), ("mia", ADMIN), ("scc", OFFICERS[2])])
        entries = self.entries(subject.public)
        last = self.rng.choice([*entries, None])
        seq = last.seq if last is not None else 0
        self.act(ROOTS[agency], Revoke(subject.public, seq, last.id if last is not None else None, ""))

    def certify(self) -> None:
        fresh = key_of(NAME, "late", self.rng.randrange(3))
        if self.act(ADMIN, Certify(fresh.public, "officer", "late", "mia", "", ("officer",))):
            self.records += self.sign(fresh, [("record", encode_record("intel", {"late": True}), ())])

    def fork(self) -> None:
        key = self.rng.choice(OFFICERS[:2])
        entries = self.entries(key.public)
        if entries:
            after = self.rng.choice(entries)
            place = Place(key.public, after.seq, after.prev)
            bodies = [encode_record("intel", {"branch": number}) for number in range(self.rng.randint(1, 4))]
            self.sign(key, [("record", body, ()) for body in bodies], place)

    def endorse(self) -> None:
        for key, seq, _ in self.ledger.forks()[:1]:
            held = [item.entry for item in self.ledger.log_entries(key)]
            self.act(ROOTS["mia"], Revoke(key, held[-1].seq, held[-1].id, "that branch"))
            assert seq <= held[-1].seq

    def replace_root(self) -> None:
        entries = self.entries(ROOTS["mia"].public)
        if not entries:
            return
        last = self.rng.choice(entries)
        proposed = self.act(ROOTS["scc"], Propose(Rekey("mia", NEW_ROOT.public, last.seq, last.id)))
        for agency in ("sss", "ncdc"):
            for proposal in proposed:
                self.act(ROOTS[agency], Approve(proposal))

    def attest(self) -> None:
        with self.ledger.storage.read() as view:
            here, mine = survey(view), latest(view, NODE.public)
            before = None if mine is None or full_is_due(view, NODE.public) else mine.state
        storage = self.ledger.storage
        assert isinstance(storage, MemoryStorage)
        then = MemoryStorage()
        then.restore(storage.snapshot())
        bodies = draft(NODE, self.ledger.network_id, here.root, here.heads, before)
        ids = self.sign(NODE, [("checkpoint", body, ()) for body in bodies])
        if ids:
            self.moments.append((ids[-1], self.time_ms, load(then)))

    def entries(self, key: PublicKey) -> list[Entry]:
        log = self.ledger.log(key)
        return [item.entry for item in self.ledger.log_entries(key)][: log.size if log is not None else 0]


def history(seed: int) -> World:
    rng = Random(seed)
    world = World(rng)
    usual, rare = [world.write, world.change, world.attest], [
        world.revoke, world.certify, world.fork, world.endorse, world.replace_root
    ]  # fmt: skip
    for _ in range(rng.randint(3, 30)):
        rng.choice(usual if rng.random() < 0.75 else rare)()
    world.attest()
    return world


def elsewhere(world: World) -> Ledger:
    """Another node, which heard of the same in another order."""
    ledger = create(MemoryStorage(), CHARTER)
    offered: list[Run | Fork] = [*world.offered, *(proof for _, _, proof in world.ledger.forks())]
    same, before = 0, None
    while same < 2:
        world.rng.shuffle(offered)
        for item in offered:
            ledger.apply(ledger.commit([item if isinstance(item, Fork) else (item,)]))
        same = same + 1 if before == (ledger.root(), ledger.arrival()) else 0
        before = (ledger.root(), ledger.arrival())
    return ledger


def without_short(value: Any) -> Any:
    """Short ids are as short as what else is held lets them be."""
    if isinstance(value, dict):
        return {name: without_short(item) for name, item in value.items() if name != "short"}
    return [without_short(item) for item in value] if isinstance(value, list) else value


def shown(ledger: Ledger, folder: Path) -> dict[str, Any]:
    """What counts in a ledger, as people are shown it."""
    projection = Projection(folder / f"{len(list(folder.glob('*.db')))}.db")
    while projection.catch_up(ledger):
        continue
    records = [listed.record for listed in projection.listed(retracted=True)]
    return {
        entry.id.hex(): (type_name, without_short(document_view(ledger, document)))
        for type_name, entry, document in projection.documents(ledger, records)
    }


def copy_of(source: Ledger, state: State) -> Ledger:
    ledger = create(MemoryStorage(), CHARTER)
    replay(source.storage, ledger, state)
    return ledger


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_copy_shows_what_the_node_showed_when_it_attested(seed: int) -> None:
    world = history(seed)
    here = elsewhere(world)
    with TemporaryDirectory() as name:
        for source in (world.ledger, here):
            for known, time_ms, then in world.moments:
                entry = source.entry(known)
                assert entry is not None
                with source.storage.read() as view:
                    found = latest(view, NODE.public, entry.seq + 1)
                    assert found is not None
                    assert (found.id, found.time_ms) == (known, time_ms)
                    missing = lacking(view, found.state)
                if missing:  # whoever hears first of what ends or forks a log does not fetch what lies beyond
                    sound = {key for key, one in source.authority.standings.items() if one.ended is None}
                    assert source is here
                    assert sound.isdisjoint({item.key for item in missing} - {key for key, _, _ in source.forks()})
                    continue
                copy = copy_of(source, found.state)
                assert copy.root() == found.whole.root == then.root()
                assert copy.entries == then.entries == found.whole.entries
                assert copy.authority.standings == then.authority.standings
                assert shown(copy, Path(name)) == shown(then, Path(name))


@pytest.mark.parametrize("seed", range(20))
def test_checkpoint_at_a_time_is_the_last_by_then(seed: int) -> None:
    world = history(seed)
    times = [time_ms for _, time_ms, _ in world.moments]
    with world.ledger.storage.read() as view:
        every = [(found.id, found.time_ms) for found in stated(view, NODE.public)]
        assert every == [(known, time_ms) for known, time_ms, _ in world.moments]
        for time_ms in {*times, *(at - 1 for at in times), START_MS - 1, times[-1] + 5000}:
            found = checkpoint_at(view, NODE.public, time_ms)
            expected = [known for known, at in every if at <= time_ms]
            assert (found.id if found else None) == (expected[-1] if expected else None)


def test_what_is_not_held_is_counted_by_log() -> None:
    world = history(3)
    known, _, then = world.moments[-1]
    behind = create(MemoryStorage(), CHARTER)
    runs = [run for run in world.offered if isinstance(run, Run) and run.key != OFFICERS[2].public]
    for run in runs:
        behind.apply(behind.commit([(run,)]))
    with world.ledger.storage.read() as view:
        entry = world.ledger.entry(known)
        assert entry is not None
        found = latest(view, NODE.public, entry.seq + 1)
    assert found is not None
    size = then.heads.get(OFFICERS[2].public).size
    with behind.storage.read() as view:
        assert [(item.key, item.count, item.other) for item in lacking(view, found.state)] == (
            [(OFFICERS[2].public, size, False)] if size else []
        )
