"""What must always hold (the numbers are those of README's design rules), checked against plain lists and sets.

1. Same entries, any order, any repetition: same authority, heads and ledger root.
2. An entry acknowledged to its writer is on that node's disk after any crash, and in the end on every node.
3. No entry counts that its author did not sign: nodes hold what was written, and nothing else.
4. A fork is known to all, and nothing above it counts.
6. Memory does not grow with the ledger: what an engine holds is bounded by links and logs.
"""

from hashlib import sha256
from random import Random

from ledger.store import Ledger, create, load
from protocol.frame import Run
from protocol.message import Fork
from sim.attesters import check_attested
from sim.disk import MemoryStorage
from sim.model import Found, judge_world, naive_root
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
    writers = world.writers
    honest = {entry.key for entry in writers.signed.values()} - writers.dishonest
    found = judge_world(world.founding.charter, writers.signed, honest, world.machines)
    problems += found.problems
    for machine in world.machines:
        problems += _model(machine, found)
        problems += _authority(machine, found)
    problems += _acknowledged(world, found)
    problems += check_attested(world, writers)
    problems += _memory(world)
    if converged:
        for machine in world.machines:
            problems += _differences(world.machines[0], machine)
            disk = load(machine.storage)
            if (disk.root(), disk.heads.fingerprint()) != (machine.ledger.root(), machine.ledger.heads.fingerprint()):
                problems.append(f"invariant 1: machine {machine.number} finds another ledger on its disk")
        problems += _any_order(world, world.seed)
    return list(dict.fromkeys(problems))


def _model(machine: Machine, found: Found) -> list[str]:
    """The node holds exactly what was written, with the root that a naive computation gives."""
    problems = []
    leaves = []
    for key, ids in sorted(found.counted.items()):
        if ids:
            leaves.append(sha256(b"\x00" + key + len(ids).to_bytes(8, "big") + naive_root(list(ids))).digest())
        head = machine.ledger.heads.get(key)
        if (key in found.must_know and not head.forked) or (head.forked and key not in found.forks):
            problems.append(f"invariant 4: machine {machine.number} and log {_short(key)}: unknown fork, or none")
        log = machine.ledger.log(key)
        size, last = (0, None) if log is None else (log.size, log.id)
        if (size, last) != (len(ids), ids[-1] if ids else None):
            problems.append(
                f"invariants 1, 3: machine {machine.number} counts {size} entries of log {_short(key)},"
                f" of what was written {len(ids)} count"
            )
    if machine.ledger.root() != naive_root(leaves):
        problems.append(f"invariants 1, 3: machine {machine.number} has another root than what was written gives")
    if machine.ledger.entries != sum(map(len, found.counted.values())):
        problems.append(f"invariant 3: machine {machine.number} counts {machine.ledger.entries} entries")
    return problems


def _authority(machine: Machine, found: Found) -> list[str]:
    """The node reads from the acts what the auditor reads from them."""
    authority, judged = machine.ledger.authority, found.judgement
    mine = {
        key: (known.rank, known.agency, known.name, known.unit, known.certifier)
        for key, known in authority.standings.items()
    }
    theirs = {
        key: (known.rank, known.agency, known.name, known.unit, known.certifier)
        for key, known in judged.standing.items()
    }
    cutoffs = {key: cutoff for key in authority.standings if (cutoff := authority.cutoff(key)) is not None}
    members = {name: agency.key for name, agency in authority.council.members.items()}
    wrong = [
        what
        for what, one, other in (
            ("standing", mine, theirs),
            ("cutoffs", cutoffs, judged.cutoffs),
            ("members of the council", members, judged.members),
            ("threshold", authority.council.threshold, judged.threshold),
        )
        if one != other
    ]
    return [f"invariant 1: machine {machine.number} reads other {what} from the acts" for what in wrong]


def _differences(one: Machine, other: Machine) -> list[str]:
    """Two machines with the same heads."""
    same = one.ledger.root() == other.ledger.root() and _alike(one.ledger, other.ledger)
    if same and one.ledger.entries == other.ledger.entries:
        return []
    return [f"invariant 1: machines {one.number} and {other.number} hold the same and mean something else by it"]


def _alike(one: Ledger, other: Ledger) -> bool:
    """Whether two ledgers give the same to everybody."""
    mine, theirs = one.authority, other.authority
    return (mine.standings, mine.units, mine.council.members, mine.council.threshold, mine.council.cutoffs) == (
        theirs.standings, theirs.units, theirs.council.members, theirs.council.threshold, theirs.council.cutoffs
    )  # fmt: skip


def _acknowledged(world: World, found: Found) -> list[str]:
    """What counts is everywhere; what does not is at least where it was acknowledged."""
    problems = []
    counted = {known for ids in found.counted.values() for known in ids}
    known = [(machine, entry) for machine in world.machines for entry in machine.acknowledged]
    for machine in world.machines:
        missing = [
            entry
            for where, entry in known
            if (where is machine or entry.id in counted) and machine.ledger.entry(entry.id) is None
        ]
        if missing:
            problems.append(
                f"invariant 2: machine {machine.number} lacks {len(missing)} acknowledged entries,"
                f" the first {_short(missing[0].id)}"
            )
    return problems


def _memory(world: World) -> list[str]:
    logs = len(world.machines[0].ledger.heads) + len({entry.key for entry in world.writers.signed.values()})
    links = world.size + 1
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
    same = ledger.root() == source.root() and _alike(ledger, source)
    same = same and ledger.heads.fingerprint() == source.heads.fingerprint()
    return [] if same else ["invariant 1: the same entries in another order give another root, authority or heads"]


def _cut(source: Ledger, rng: Random) -> "list[tuple[Run, ...] | Fork] | None":
    """All that a ledger may send, in runs of random length."""
    admits = source.authority.admits
    parts: list[tuple[Run, ...] | Fork] = [fork for key, _, fork in source.forks() if admits(key)]
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
