"""What must always hold (the numbers are those of README's design rules), checked against plain lists and sets.

1. Same entries, any order, any repetition: same authority, heads and ledger root.
2. An entry acknowledged to its writer is on that node's disk after any crash, and in the end on every node.
6. Memory does not grow with the ledger: what an engine holds is bounded by links and logs.
"""

from hashlib import sha256
from random import Random

from ledger.store import create
from protocol.frame import Run
from protocol.merkle import tree_root
from sim.disk import MemoryStorage
from sim.world import Machine, World

SPARE = 512  # things that an engine may hold beside those for each link and log


def look(world: World) -> list[str]:
    """What can be said while the world runs: equal heads mean equal roots and authority; bounds hold now."""
    problems = _memory(world)
    seen: dict[bytes, Machine] = {}
    for machine in world.machines:
        if not machine.alive:
            continue
        ledger = machine.ledger
        first = seen.setdefault(ledger.heads.fingerprint(), machine).ledger
        if ledger.root() != first.root() or ledger.authority != first.authority:
            problems.append(f"invariant 1: machine {machine.number} holds the same as another and concludes otherwise")
    for known in world.acknowledged[-200:]:
        machine = world.machines[known.machine]
        if machine.alive and machine.ledger.entry(known.id) is None:
            problems.append(f"invariant 2: machine {machine.number} lacks its acknowledged entry {known.id.hex()[:12]}")
    return problems


def check(world: World, *, converged: bool) -> list[str]:
    """The violations found, one sentence each; most are looked for at the end, some were noted on the way."""
    problems = list(world.problems)
    if not converged:
        problems.append("invariant 2: the nodes do not hold the same in time after the faults have stopped")
    problems += _model(world)
    problems += _acknowledged(world)
    problems += _memory(world)
    if converged:
        problems += _any_order(world)
    return problems


def _model(world: World) -> list[str]:
    """Every node holds exactly what was written, with the root that a naive computation gives."""
    leaves = []
    for key in sorted(world.submitted):
        ids = world.submitted[key]
        leaves.append(sha256(b"\x00" + key + len(ids).to_bytes(8, "big") + tree_root(ids)).digest())
    expected = tree_root(leaves)
    return [
        f"invariant 1: machine {machine.number} has another root than what was written gives"
        for machine in world.machines
        if machine.ledger.root() != expected
    ]


def _acknowledged(world: World) -> list[str]:
    problems = []
    for machine in world.machines:
        missing = [known for known in world.acknowledged if machine.ledger.entry(known.id) is None]
        if missing:
            problems.append(
                f"invariant 2: machine {machine.number} lacks {len(missing)} acknowledged entries,"
                f" the first {missing[0].id.hex()[:12]}"
            )
    return problems


def _memory(world: World) -> list[str]:
    logs, links = len(world.submitted), world.size
    bound = SPARE + links * (4 * logs + 64) + 4 * logs
    if world.size_max > bound:
        return [f"invariant 6: an engine held {world.size_max} things; {bound} are the bound"]
    return []


def _any_order(world: World) -> list[str]:
    """Admit everything again, cut and shuffled: the outcome must be the same."""
    rng = Random(f"order {world.seed}")
    source = world.machines[0].ledger
    parts: list[Run] = []
    for head in source.heads:
        at = 0
        while at < head.size:
            run = source.run(head.key, at, min(head.size, at + rng.randint(1, 50)))
            if run is None:
                return [f"invariant 1: log {head.key.hex()[:12]} cannot be read back at {at}"]
            parts.append(run)
            at = run.end
    rng.shuffle(parts)
    ledger = create(MemoryStorage(), world.charter_file)
    waiting = parts + rng.sample(parts, len(parts) // 4)
    while waiting:
        left = []
        for run in waiting:
            result = ledger.commit([(run,)])
            ledger.apply(result)
            if result.outcomes[0].set_aside:
                left.append(run)
        if len(left) == len(waiting):
            return [f"invariant 1: {len(left)} runs are never admitted in another order"]
        waiting = left
    same = ledger.root() == source.root() and ledger.authority == source.authority
    return [] if same else ["invariant 1: the same entries in another order give another root or authority"]
