"""A failing case made smaller while it fails in the same way: fewer minutes, fewer nodes, less weather.

    small = shrink(case, play)

Greedy, to a fixed point, at most RUNS_MAX runs. Every step is a whole run, for a change early on changes everything
after it; so the smallest case of all is not promised, only one of which no single part can be left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from sim.scenario import WEATHER, Case, kind
from sim.stage import Weather

RUNS_MAX: Final = 300
NODES_MIN: Final = 2

Play = Callable[[Case], tuple[list[str], int]]  # -> the violations; by which minute the first was seen, 0: at the end


def shrink(case: Case, play: Play, tell: Callable[[Case], None] = lambda _: None) -> Case:
    """The smallest case found that breaks what `case` breaks first; `case` itself when it breaks nothing.

    tell: called with each smaller case that still fails.
    """
    violations, minute = play(case)
    if not violations:
        return case
    wanted, runs, tried = kind(violations[0]), 1, {case}
    found = True
    while found:
        found = False
        for smaller in _smaller(case, minute):
            if smaller in tried:
                continue
            if runs >= RUNS_MAX:
                return case
            tried.add(smaller)
            runs += 1
            violations, seen = play(smaller)
            if wanted in map(kind, violations):
                case, minute, found = smaller, seen, True
                tell(case)
                break
    return case


def _smaller(case: Case, minute: int) -> Iterator[Case]:
    """What to try, the greatest steps first."""
    for minutes in (minute, case.minutes // 8, case.minutes // 2, case.minutes * 3 // 4, case.minutes - 1):
        if 0 < minutes < case.minutes:
            yield replace(case, minutes=minutes)
    for nodes in (NODES_MIN, case.nodes // 2, case.nodes * 3 // 4, case.nodes - 1):
        if NODES_MIN <= nodes < case.nodes:
            yield replace(case, nodes=nodes)
    fair = Weather()
    for name in WEATHER:
        if getattr(case.weather, name) != getattr(fair, name):
            yield replace(case, weather=replace(case.weather, **{name: getattr(fair, name)}))
