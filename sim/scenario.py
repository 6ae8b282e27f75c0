"""One run: a world whose weather is drawn from the seed, first everything goes wrong, then it must come together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from sim.invariants import check, look
from sim.stage import MINUTE, SECOND, Weather
from sim.world import World

LOOK_EVERY_MINUTES: Final = 5  # virtual, while everything goes wrong
SETTLE_NS: Final = 15 * MINUTE  # virtual: all must hold the same by then, once the faults have stopped


@dataclass(slots=True)
class Outcome:
    """What became of one run."""

    seed: int
    nodes: int
    hours: int
    entries: int = 0
    steps: int = 0
    converged: bool = False
    violations: list[str] = field(default_factory=list)
    digest: str = ""
    crashes: int = 0
    forks: int = 0
    settled_s: int = 0  # virtual: how long it took to come together


def draw_weather(seed: int, nodes: int) -> Weather:
    """How bad this seed's world is."""
    rng = Random(f"weather {seed}")
    return Weather(
        shape=rng.choice(("all", "all", "all", "ring", "star")),
        neighbours=0 if nodes <= 8 else rng.choice((0, 3, 5) if nodes <= 16 else (3, 5)),  # steps grow with links
        delay_ms=rng.choice((1, 20, 80, 300)),
        jitter_ms=rng.choice((0, 5, 50, 500)),
        bytes_per_s=rng.choice((0, 0, 1_000_000, 16_000)),
        loss_percent=rng.choice((0, 0, 1, 5)),
        repeat_percent=rng.choice((0, 0, 2, 10)),
        commit_ms=rng.choice((1, 3, 30)),
        officers=rng.choice((1, 1, 2, 4)),
        write_every_s=rng.choice((10, 30, 120)),
        crash_every_s=rng.choice((0, 300, 1800)),
        cut_every_s=rng.choice((0, 600, 1800)),
        cut_for_s=rng.choice((30, 300, 1200)),
        full_every_s=rng.choice((0, 0, 900)),
        lie_every_s=rng.choice((0, 60)),
        twice=rng.randrange(3) == 0,
    )


def play(
    seed: int, nodes: int, hours: int, progress: Callable[[int, int], None] | None = None, *,
    weather: Weather | None = None, minutes: int = 0,
) -> Outcome:  # fmt: skip
    """Run one seed for so many virtual hours and minutes. progress: told the virtual minutes done and in all.

    weather: instead of what the seed gives.
    """
    world = World(seed, nodes, weather or draw_weather(seed, nodes))
    minutes += hours * 60
    for minute in range(1, minutes + 1):
        world.run(minute * MINUTE)
        if minute % LOOK_EVERY_MINUTES == 0 and not world.problems:
            world.problems += look(world)
        if progress is not None:
            progress(minute, minutes)
    world.calm_down()
    converged = world.run(world.now_ns + SETTLE_NS, world.settled)
    outcome = Outcome(seed, nodes, hours, converged=converged, steps=world.steps)
    outcome.settled_s = (world.now_ns - minutes * MINUTE) // SECOND
    outcome.forks = len(world.writers.forks())
    outcome.violations = check(world, converged=converged)
    outcome.entries = world.machines[0].ledger.entries
    outcome.crashes = sum(machine.crashes for machine in world.machines)
    for machine in world.machines:
        world.digest.update(machine.ledger.root())
    outcome.digest = world.digest.hexdigest()
    return outcome
