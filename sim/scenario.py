"""One run: a world whose weather is drawn from the seed, first everything goes wrong, then it must come together.

case = draw(seed=7, nodes=12, minutes=20)
outcome = run_case(case)
case.line()                    the command that replays it
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from random import Random
from traceback import extract_tb
from typing import Any, Final

from keys.errors import UsageError
from node.engine.engine import EngineSettings
from sim.invariants import check, look
from sim.stage import MINUTE, SECOND, SHAPES, Weather, clock
from sim.world import World

LOOK_EVERY_MINUTES: Final = 5  # virtual, while everything goes wrong
SETTLE_NS: Final = 15 * MINUTE  # virtual: all must hold the same by then, once the faults have stopped
BIG_NODES: Final = 50  # from here on a world is `temper`ed
BIG_WRITERS: Final = 12  # machines of such a world that have officers
BIG_ENTRIES: Final = 2500  # written there, in all
TRACE_SHOWN: Final = 40  # lines before a violation

Progress = Callable[[int, int], None]  # told the virtual minutes done and in all
Watch = Callable[[World], None]  # looks at a world now and then, and changes nothing


@dataclass(frozen=True, slots=True)
class Case:
    """What a run depends on, and nothing else does."""

    seed: int
    nodes: int
    minutes: int  # virtual, of everything going wrong
    weather: Weather

    def line(self) -> str:
        """The command that plays exactly this: what the seed does not give is set."""
        hours, minutes = divmod(self.minutes, 60)
        time = f"--hours {hours}" if not minutes else f"--minutes {self.minutes}"
        drawn = draw(self.seed, self.nodes, self.minutes).weather
        sets = [
            f" --set {name}={_written(getattr(self.weather, name))}"
            for name in WEATHER
            if getattr(self.weather, name) != getattr(drawn, name)
        ]
        return f"hamkor sim --seed {self.seed} --nodes {self.nodes} {time}" + "".join(sets)


@dataclass(slots=True)
class Outcome:
    """What became of one run."""

    seed: int
    nodes: int
    minutes: int
    entries: int = 0
    steps: int = 0
    converged: bool = False
    violations: list[str] = field(default_factory=list)
    digest: str = ""
    crashes: int = 0
    forks: int = 0
    settled_s: int = 0  # virtual: how long it took to come together
    faults: dict[str, int] = field(default_factory=dict)  # kind -> how often it happened, 0 included
    broken_minute: int = 0  # virtual: by when the first violation was seen; 0: only at the end
    trace: list[str] = field(default_factory=list)  # what happened before the first violation


WEATHER: Final = tuple(item.name for item in fields(Weather))


def draw_weather(seed: int, nodes: int) -> Weather:
    """How bad this seed's world is."""
    rng = Random(f"weather {seed}")
    return Weather(
        shape=rng.choice(("all", "all", "all", "ring", "line", "star", "islands")),
        neighbours=rng.choice((0, 2, 3) if nodes <= 8 else (2, 3, 4)),  # steps grow with links
        delay_ms=rng.choice((1, 20, 80, 300)),
        jitter_ms=rng.choice((0, 5, 50, 500)),
        bytes_per_s=rng.choice((0, 0, 1_000_000, 16_000)),
        loss_percent=rng.choice((0, 0, 1, 5)),
        repeat_percent=rng.choice((0, 0, 2, 10)),
        commit_ms=rng.choice((1, 3, 30)),
        officers=rng.choice((1, 1, 2)),
        write_every_s=max(1, rng.choice((60, 120, 240)) * nodes // 12),
        crash_every_s=rng.choice((0, 200, 900)),
        cut_every_s=rng.choice((0, 120, 600)),
        cut_for_s=rng.choice((30, 120, 300)),
        full_every_s=rng.choice((0, 0, 200)),
        lie_every_s=rng.choice((0, 60)),
        twice=rng.randrange(3) == 0,
        branches=rng.choice((0, 0, 2, 3, 6)),
        revoke_every_s=rng.choice((0, 40, 90)),
        council_every_s=rng.choice((0, 45, 90)),
        stolen=rng.randrange(3) == 0,
        skew_hours=rng.choice((0, 1, 72)),
        restore_every_s=rng.choice((0, 0, 120, 300)),
        rollback=rng.randrange(4) == 0,
        lose_percent=rng.choice((0, 0, 20)),
        away_every_s=rng.choice((0, 0, 120)),
        away_for_s=rng.choice((60, 240)),
        attest_every_s=rng.choice((0, 0, 0, 120, 300)) * max(1, nodes // 12),
    )


def draw(seed: int, nodes: int, minutes: int) -> Case:
    """The case of a seed."""
    weather = draw_weather(seed, nodes)
    return Case(seed, nodes, minutes, temper(weather, nodes, minutes) if nodes > BIG_NODES else weather)


def temper(weather: Weather, nodes: int, minutes: int) -> Weather:
    """The same weather for a big world, in which what happens to each machine would happen too often in all.

    Every commit happens on every node, so writing is what a run costs: BIG_ENTRIES in all, 2.5 at a time, and few
    checkpoints. A crash reads a whole ledger back: one a machine. Few links: messages grow with links, and each new
    entry is announced over all of them. Few officers: every certificate makes every node read all acts once more.
    """
    seconds, writers = minutes * 60, BIG_WRITERS
    return replace(
        weather, shape="all", neighbours=4, officers=1, writers=writers, revoke_every_s=0, council_every_s=0,
        write_every_s=max(weather.write_every_s, writers * seconds * 5 // (2 * BIG_ENTRIES)),
        crash_every_s=weather.crash_every_s and max(weather.crash_every_s, seconds),
        full_every_s=weather.full_every_s and max(weather.full_every_s, seconds),
        attest_every_s=weather.attest_every_s and max(weather.attest_every_s, seconds // 8),
    )  # fmt: skip


def settings_for(nodes: int, minutes: int) -> EngineSettings:
    """The engines' timers: those of a real node; in a big world longer ones, by its length.

    A quiet node costs its keepalives and syncs: at the usual intervals, 1,000 nodes with 4 links for a day would
    exchange 70 million of them and do nothing else. About 200 of each a run are as good a test.
    """
    if nodes <= BIG_NODES:
        return EngineSettings()
    usual, run_ms = EngineSettings(), minutes * 60_000
    ping_ms = max(usual.ping_after_ms, min(run_ms // 200, 600_000))
    sync_ms = max(usual.sync_interval_ms, min(run_ms // 200, 300_000))
    return replace(usual, eager_max=2, ping_after_ms=ping_ms, silent_after_ms=3 * ping_ms, sync_interval_ms=sync_ms)


def settle_ns(settings: EngineSettings) -> int:
    """How long a world may take to come together: a dead link must be noticed first, then a few syncs pass."""
    spare_ms = settings.silent_after_ms - EngineSettings().silent_after_ms
    return SETTLE_NS + 2 * spare_ms * SECOND // 1000


def with_set(case: Case, texts: list[str]) -> Case:
    """The case with weather fields set by NAME=VALUE. Raises UsageError that says what is possible."""
    weather = case.weather
    for text in texts:
        name, _, value = text.partition("=")
        if name not in WEATHER:
            raise UsageError(f"--set {text}: the weather has no {name}; it has {', '.join(WEATHER)}")
        weather = replace(weather, **{name: _read(name, value, getattr(Weather(), name))})
    return replace(case, weather=weather)


def _read(name: str, text: str, default: object) -> Any:
    if isinstance(default, bool):
        if text in ("yes", "no"):
            return text == "yes"
        raise UsageError(f"--set {name}={text}: {name} is yes or no")
    if isinstance(default, int):
        most = 100 if name.endswith("_percent") else 10**9
        if re.fullmatch("[0-9]{1,10}", text, re.ASCII) and int(text) <= most:
            return int(text)
        raise UsageError(f"--set {name}={text}: {name} is a whole number from 0 to {most}")
    if text not in SHAPES:
        raise UsageError(f"--set {name}={text}: {name} is one of {', '.join(SHAPES)}")
    return text


def _written(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def run_case(
    case: Case, progress: Progress | None = None, watch: Watch | None = None, watch_every_s: int = 60
) -> Outcome:
    """Play a case. watch: called about every so many virtual seconds; the run is the same with and without it.

    Whatever an engine or a ledger raises in a run is a violation, too.
    """
    world = World(case.seed, case.nodes, case.weather, settings_for(case.nodes, case.minutes))
    outcome = Outcome(case.seed, case.nodes, case.minutes)
    try:
        _storm(world, case, outcome, progress, watch, watch_every_s)
        _calm(world, case, outcome, watch, watch_every_s)
        outcome.violations = check(world, converged=outcome.converged)
    except Exception as error:
        place = extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, {place.name}, line {place.lineno}"
        outcome.violations = [f"invariant 5: {type(error).__name__}: {error} ({where})"]
        outcome.broken_minute = outcome.broken_minute or min(world.now_ns // MINUTE + 1, case.minutes)
    if outcome.violations and not outcome.trace:
        outcome.trace = _trace(world, outcome.violations[0])
    outcome.steps = world.steps
    outcome.forks = sum(head.forked for head in world.machines[0].ledger.heads)
    outcome.entries = world.machines[0].ledger.entries
    outcome.crashes = sum(machine.crashes for machine in world.machines)
    outcome.faults = dict(world.faults)
    for machine in world.machines:
        world.digest.update(machine.ledger.root())
    outcome.digest = world.digest.hexdigest()
    return outcome


def _storm(
    world: World, case: Case, outcome: Outcome, progress: Progress | None, watch: Watch | None, every_s: int
) -> None:
    """Everything goes wrong, and what can be said meanwhile is checked."""
    for minute in range(1, case.minutes + 1):
        _minute(world, minute, watch, every_s)
        if minute % LOOK_EVERY_MINUTES == 0 and not world.problems:
            world.problems += look(world)
        if world.problems and not outcome.trace:
            outcome.broken_minute, outcome.trace = minute, _trace(world, world.problems[0])
        if progress is not None:
            progress(minute, case.minutes)


def _calm(world: World, case: Case, outcome: Outcome, watch: Watch | None, every_s: int) -> None:
    """Nothing goes wrong any more, and all must come together."""
    world.calm_down()
    stop = world.settled if watch is None else _watched(world, watch, every_s)
    outcome.converged = world.run(world.now_ns + settle_ns(world.settings), stop)
    outcome.settled_s = (world.now_ns - case.minutes * MINUTE) // SECOND
    if watch is not None:
        watch(world)


def play(
    seed: int, nodes: int, hours: int, progress: Progress | None = None, *,
    weather: Weather | None = None, minutes: int = 0,
) -> Outcome:  # fmt: skip
    """Run one seed for so many virtual hours and minutes. weather: instead of what the seed gives."""
    case = draw(seed, nodes, hours * 60 + minutes)
    return run_case(case if weather is None else replace(case, weather=weather), progress)


def kind(violation: str) -> str:
    """A violation without its numbers and ids: equal for the same fault in two runs."""
    name, _, rest = violation.partition(": ")
    return f"{name}: " + re.sub(r"\b[0-9a-f]{12}\b|[0-9]+", "#", rest)[:60]


def _minute(world: World, minute: int, watch: Watch | None, every_s: int) -> None:
    """Let a minute pass, and be watched."""
    if watch is not None:
        while (until_ns := (world.now_ns // (every_s * SECOND) + 1) * every_s * SECOND) < minute * MINUTE:
            world.run(until_ns)
            watch(world)
    world.run(minute * MINUTE)


def _watched(world: World, watch: Watch, every_s: int) -> Callable[[], bool]:
    """`world.settled`, which also lets `watch` look: a run is stopped where it asks, so no other slices may be cut."""
    seen_ns = world.now_ns

    def settled() -> bool:
        nonlocal seen_ns
        if world.now_ns >= seen_ns + every_s * SECOND:
            seen_ns = world.now_ns
            watch(world)
        return world.settled()

    return settled


def _trace(world: World, violation: str) -> list[str]:
    return [*list(world.trace)[-TRACE_SHOWN:], f"{clock(world.now_ns)}  VIOLATION     {violation}"]
