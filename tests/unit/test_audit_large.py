"""A large sound ledger with everything in it gives no fault: not as a bundle, not as the store that admission makes."""

import random
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO

import pytest

from ledger.audit import audit_bundle, audit_storage
from ledger.audit_state import Options
from ledger.layout import U64
from node.processes import on_all_cores
from protocol.acts import Revoke, encode_act
from protocol.checkpoint import Attested, State, draft
from protocol.entry import Place, sign_rows
from protocol.merkle import append, root, tree_root
from tests.audit_world import CHARTER, NETWORK, Log, World, admitted, bundle, erase, fork_at, key, record

OFFICERS, NODES = 20, 3
SPACE = sha256(b"a compartment").digest()


def large_world(entries: int, seed: int) -> World:
    """Officers of two agencies: some are revoked, some logs are forked and settled, some bodies are gone; nodes that
    attest it all while it grows.
    """
    rng = random.Random(seed)
    world = World({}, run_length=500)
    officers = [f"officer {number}" for number in range(OFFICERS)]
    nodes = [f"node {number}" for number in range(NODES)]
    for number, name in enumerate([*officers, *nodes]):
        agency = ("mia", "iib")[number % 2]
        world.log(agency).certify(name, "node" if name in nodes else "officer", agency)
    for name in officers:
        world.logs[name] = Log(name, list(rows_of(name, entries // OFFICERS, rng)))
    attest(world, officers, nodes, rng)
    for number, name in enumerate(officers[:6]):
        ids = world.log(name).ids()
        last = rng.randrange(len(ids) // 2, len(ids) - 1)
        world.log(("mia", "iib")[number % 2]).write(
            encode_act(Revoke(key(name).public, last, ids[last], "lost")), kind="act"
        )
        if number < 3:
            world.forks.append(fork_at(world.log(name), rng.randrange(last // 2, last)))
    return world


def rows_of(name: str, count: int, rng: random.Random) -> Iterator[bytes]:
    """Records; of one in a hundred, in a compartment, the body is not there."""
    signer = key(name)
    place = Place(signer.public, 0, None)
    while place.seq < count:
        gone = rng.random() < 0.01
        body = rng.randbytes(50) if gone else record(place.seq)
        space = SPACE if gone else None
        (row,), (known,) = sign_rows(signer, NETWORK, place, [("record", body, ())], 1000 + place.seq, space)
        yield erase(row) if gone else row
        place = Place(place.key, place.seq + 1, known)


def attest(world: World, officers: list[str], nodes: list[str], rng: random.Random) -> None:
    """Checkpoints over growing parts of the officers' logs."""
    ids = {key(name).public: world.log(name).ids() for name in officers}
    before: dict[str, State] = {}
    for part in range(1, 21):
        name = nodes[part % NODES]
        heads, leaves = [], []
        for owner in sorted(ids):
            size = max(1, len(ids[owner]) * part // 20 - rng.randrange(3))
            heads.append(Attested(owner, size, ids[owner][size - 1]))
            peaks = append((), 0, ids[owner][:size])
            leaves.append(sha256(b"\x00" + owner + U64.pack(size) + root(peaks)).digest())
        for body in draft(key(name), NETWORK, tree_root(leaves), heads, before.get(name)):
            world.log(name).write(body, kind="checkpoint")
        before[name] = {head.key: (head.size, head.id) for head in heads if head.id is not None}


@pytest.mark.parametrize("entries", [4000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_large_sound_ledger_has_no_fault(entries: int) -> None:
    world = large_world(entries, seed=7)
    report = audit_bundle(BytesIO(bundle(world)), CHARTER, Options(spread=on_all_cores))
    assert report.faults == ()
    assert report.entries >= entries
    assert report.checkpoints == 20
    assert {note.kind for note in report.notes} == {"erased", "fork", "void"}
    storage, ledger = admitted(world)
    stored = audit_storage(storage, CHARTER, Options(spread=on_all_cores))
    assert stored.faults == ()
    assert stored.root == report.root == ledger.root()
    assert {note.kind for note in stored.notes} <= {"erased", "fork", "void", "held-back", "parts"}
