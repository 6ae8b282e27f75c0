"""What a seed means: faults in order, links, who commits the two crimes. Nothing here touches the machine."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

KINDS = ("kill", "term", "stop", "cut", "part")  # kill -9, SIGTERM, SIGSTOP, one node's link, two groups
GAP_S = (1.0, 5.0)  # from the beginning of one fault to that of the next
LASTS_S = {"kill": (0.2, 6.0), "term": (0.2, 6.0), "stop": (1.0, 12.0), "cut": (1.0, 15.0), "part": (3.0, 15.0)}
PREFIX = "hksoak"
_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-(?:hub|\d+)")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. It begins `gap_s` after the one before it, or once its nodes are well again."""

    gap_s: float
    kind: str  # one of KINDS
    nodes: tuple[int, ...]  # the one node, or the smaller group
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Shape:
    """What a link does to each packet, each way."""

    delay_ms: float
    jitter_ms: float
    loss: float  # 0 to 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is drawn before the run starts."""

    faults: tuple[Fault, ...]
    shapes: tuple[Shape, ...]  # of each node's link
    cut_off: int  # the node where a revoked officer goes on writing
    second: int  # the node where the copied key is used


def draw(seed: int, seconds: float, nodes: int) -> Plan:
    """The plan of a seed. Every kind of fault comes once before any comes twice. Node 0 is never killed or ended:
    on it memory and descriptors are compared over the whole run.

    nodes: at least 3. Faults enough for `seconds` even if none has to wait.
    """
    rng = Random(f"{seed} plan")
    shapes = tuple(_shape(rng) for _ in range(nodes))
    cut_off, second = rng.sample(range(1, nodes), 2)
    kinds = rng.sample(KINDS, len(KINDS))
    faults: list[Fault] = []
    spent_s = 0.0
    while spent_s < seconds or len(faults) < len(KINDS):
        kind = kinds[len(faults)] if len(faults) < len(KINDS) else rng.choice(KINDS)
        gap_s = round(rng.uniform(*GAP_S), 2)
        faults.append(Fault(gap_s, kind, _targets(kind, nodes, rng), round(rng.uniform(*LASTS_S[kind]), 2)))
        spent_s += gap_s
    return Plan(tuple(faults), shapes, cut_off, second)


def _shape(rng: Random) -> Shape:
    delay_ms = rng.uniform(2, 60)
    return Shape(round(delay_ms, 1), round(delay_ms * rng.uniform(0, 0.3), 1), round(rng.uniform(0, 0.02), 4))


def _targets(kind: str, nodes: int, rng: Random) -> tuple[int, ...]:
    if kind == "part":
        return tuple(sorted(rng.sample(range(nodes), rng.randint(1, nodes // 2))))
    return (rng.randrange(1 if kind in ("kill", "term") else 0, nodes),)


def namespace(pid: int, started: int, which: int | str) -> str:
    """The name of a namespace: it tells whose it is."""
    return f"{PREFIX}-{pid}-{started}-{which}"


def stale(names: Iterable[str], started: Callable[[int], int | None]) -> list[str]:
    """The namespaces whose run is gone. started: when the process with that id started, None where there is none."""
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None and started(int(match[1])) != int(match[2]):
            found.append(name)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed; 0.0 of none."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An entry that a node has said is durable."""

    officer: int
    seq: int
    id: bytes
    node: int


def expected(status: str, entry: Acknowledged, ends: dict[int, tuple[int, str]]) -> str:
    """What is wrong with an acknowledged entry, "" for nothing.

    status: as a node shows it, "" where it is not there.
    ends: of the officers whose logs end by a crime: the first seq that does not count, and "void" or "disputed".
    """
    end, after = ends.get(entry.officer, (None, ""))
    if end is None or entry.seq < end:
        return "" if status == "ok" else f"is {status or 'missing'}, not ok"
    return "" if status == after else f"is {status or 'missing'}, not {after}"
