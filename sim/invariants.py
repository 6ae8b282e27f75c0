"""What must always hold (the numbers are those of README's design rules), checked against plain lists and sets.

1. Same entries, any order, any repetition: same authority, heads and ledger root.
2. An entry acknowledged to its writer is on that node's disk after any crash, and in the end on every node.
3. No entry counts that its author did not sign: nodes hold what was written, and nothing else.
4. A fork is known to all, and nothing above it counts.
6. Memory does not grow with the ledger: what an engine holds is bounded by links and logs.
"""

from hashlib import sha256
from random import Random

from keys.signing import PublicKey
from ledger.store import Ledger, create, load
from protocol.entry import EntryId
from protocol.frame import Run
from protocol.message import Fork
from sim.disk import MemoryStorage
from sim.stage import Machine
from sim.world import World

SPARE = 512  # things that an engine may hold beside those for each link and log
RECENT = 20  # acknowledged entries of each machine that are looked for while the world runs


def look(world: World) -> list[str]:
    """What can be said while the world runs: equal heads mean equal ledgers, nothing recent is lost, bounds hold."""
    problems = []
    first: dict[bytes, Machine] = {}
    for machine in world.machines:
        if not machine.alive:
            continue
        same = first.setdefault(machine.ledger.heads.fingerprint(), machine)
        problems += _differences(same, machine)
        if any(machine.ledger.entry(known.id) is None for known in machine.acknowledged[-RECENT:]):
            problems.append(f"invariant 2: machine {machine.number} lacks an entry that it acknowledged")
    return problems + _memory(world)


def check(world: World, *, converged: bool) -> list[str]:
    """The violations found, one sentence each; most are looked for at the end, some were noted on the way."""
    problems = list(world.problems)
    if not converged:
        problems.append("invariant 2: the nodes do not hold the same in time after the faults have stopped")
    expected = counted(world)
    for machine in world.machines:
        problems += _model(machine, expected, world.writers.forks())
    problems += _acknowledged(world, expected)
    problems += _memory(world)
    if converged:
        for machine in world.machines:
            problems += _differences(world.machines[0], machine)
            disk = load(machine.storage)
            if (disk.root(), disk.heads.fingerprint()) != (machine.ledger.root(), machine.ledger.heads.fingerprint()):
                problems.append(f"invariant 1: machine {machine.number} finds another ledger on its disk")
        for attempt in range(3):
            problems += _any_order(world, attempt)
    return list(dict.fromkeys(problems))


def counted(world: World) -> dict[PublicKey, list[EntryId]]:
    """What counts of everything that was written: all of a log, or what lies below its fork."""
    forks = world.writers.forks()
    return {
        key: [next(iter(log[seq])) for seq in sorted(log) if seq < forks.get(key, seq + 1)]
        for key, log in world.writers.written.items()
    }


def naive_root(leaves: list[bytes]) -> bytes:
    """The tree hash as RFC 9162, 2.1.1 writes it down: slow, and sharing nothing with the ledger."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def _model(machine: Machine, expected: dict[PublicKey, list[EntryId]], forks: dict[PublicKey, int]) -> list[str]:
    """The node holds exactly what was written, with the root that a naive computation gives."""
    problems = []
    leaves = []
    for key, ids in sorted(expected.items()):
        if ids:
            leaves.append(sha256(b"\x00" + key + len(ids).to_bytes(8, "big") + naive_root(list(ids))).digest())
        head = machine.ledger.heads.get(key)
        if head.forked != (key in forks):
            problems.append(f"invariant 4: machine {machine.number} and log {_short(key)}: unknown fork, or none")
    if machine.ledger.root() != naive_root(leaves):
        problems.append(f"invariants 1, 3: machine {machine.number} has another root than what was written gives")
    if machine.ledger.entries != sum(map(len, expected.values())):
        problems.append(f"invariant 3: machine {machine.number} counts {machine.ledger.entries} entries")
    return problems


def _differences(one: Machine, other: Machine) -> list[str]:
    """Two machines with the same heads."""
    same = one.ledger.root() == other.ledger.root() and one.ledger.authority == other.ledger.authority
    if same and one.ledger.entries == other.ledger.entries:
        return []
    return [f"invariant 1: machines {one.number} and {other.number} hold the same and mean something else by it"]


def _acknowledged(world: World, expected: dict[PublicKey, list[EntryId]]) -> list[str]:
    """What counts is everywhere; what a fork has made disputed is at least where it was acknowledged."""
    problems = []
    known = [(machine, entry) for machine in world.machines for entry in machine.acknowledged]
    for machine in world.machines:
        missing = [
            entry
            for where, entry in known
            if (where is machine or entry.seq < len(expected.get(entry.key, ())))
            and machine.ledger.entry(entry.id) is None
        ]
        if missing:
            problems.append(
                f"invariant 2: machine {machine.number} lacks {len(missing)} acknowledged entries,"
                f" the first {_short(missing[0].id)}"
            )
    return problems


def _memory(world: World) -> list[str]:
    logs, links = len(world.machines[0].ledger.heads) + len(world.writers.written), world.size + 1
    bound = SPARE + links * (4 * logs + 64) + 4 * logs
    if world.size_max > bound:
        return [f"invariant 6: an engine held {world.size_max} things; {bound} are the bound"]
    return []


def _any_order(world: World, attempt: int) -> list[str]:
    """Admit everything again, cut and shuffled, some of it twice: the outcome must be the same."""
    rng = Random(f"order {world.seed} {attempt}")
    source = world.machines[attempt % world.size].ledger
    parts = _cut(source, rng)
    if parts is None:
        return ["invariant 1: a log cannot be read back"]
    rng.shuffle(parts)
    ledger = create(MemoryStorage(), world.charter_file)
    waiting = parts + rng.sample(parts, len(parts) // 4)
    while waiting:
        left = []
        for item in waiting:
            result = ledger.commit([item])
            ledger.apply(result)
            if result.outcomes[0].set_aside:
                left.append(item)
        if len(left) == len(waiting):
            return [f"invariant 1: {len(left)} runs are never admitted in another order"]
        waiting = left
    same = ledger.root() == source.root() and ledger.authority == source.authority
    same = same and ledger.heads.fingerprint() == source.heads.fingerprint()
    return [] if same else ["invariant 1: the same entries in another order give another root, authority or heads"]


def _cut(source: Ledger, rng: Random) -> "list[tuple[Run, ...] | Fork] | None":
    """All that a ledger may send, in runs of random length."""
    parts: list[tuple[Run, ...] | Fork] = [fork for _, _, fork in source.forks()]
    for head in source.heads:
        at = 0
        while at < head.size:
            run = source.run(head.key, at, min(head.size, at + rng.randint(1, 50)))
            if run is None:
                return None
            parts.append((run,))
            at = run.end
    return parts


def _short(known: bytes) -> str:
    return known.hex()[:12]
