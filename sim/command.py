"""`hamkor sim`: run the simulated world from a seed, or from many, and say whether what must always hold has held."""

import argparse
import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from keys.errors import UsageError

if TYPE_CHECKING:  # the world is loaded when it is wanted, not for --help
    from sim.parallel import Done
    from sim.scenario import Case, Outcome

NODES_MAX: Final = 2000
HOURS_MAX: Final = 24 * 365
SEEDS_MAX: Final = 1_000_000
JOBS_MAX: Final = 256
_BAR: Final = 24  # characters


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `hamkor sim` to the command line."""
    parser = commands.add_parser(
        "sim", help="a simulated network from a seed, with its invariants checked", description=__doc__,
        epilog="examples: hamkor sim --seed 7 --nodes 11 --hours 2; hamkor sim --seeds 1000 --nodes 12",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, default=None, help="the one to play (default: 1)")
    which.add_argument("--seeds", type=int, metavar="N", help="play so many, in parallel")
    parser.add_argument("--from", dest="first", type=int, default=1, metavar="SEED", help="the first of --seeds")
    parser.add_argument("--nodes", type=int, help="default: 11, with --seeds 12")
    time = parser.add_mutually_exclusive_group()
    time.add_argument("--hours", type=int, help="virtual time in which everything goes wrong (default: 2 hours)")
    time.add_argument("--minutes", type=int, help="the same in minutes (default with --seeds: 20)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change the weather that the seed gives"
    )
    parser.add_argument("--shrink", action="store_true", help="make a failing case smaller while it fails")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw convergence, traffic and lag of one seed")
    parser.add_argument("--jobs", type=int, help="processes for --seeds (default: one for each core)")
    parser.add_argument("--limit", type=int, default=900, metavar="SECONDS", help="for one of --seeds (default: 900)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play one seed or many; 0 without violations, else 1; 130 when interrupted without any."""
    _check(args)
    from sim.scenario import draw, with_set

    several = args.seeds is not None
    nodes = args.nodes or (12 if several else 11)
    minutes = args.minutes or (args.hours * 60 if args.hours else 20 if several else 120)
    if not several:
        return _one(with_set(draw(1 if args.seed is None else args.seed, nodes, minutes), args.set), args)
    cases = [with_set(draw(args.first + number, nodes, minutes), args.set) for number in range(args.seeds)]
    return _many(cases, args)


def _check(args: argparse.Namespace) -> None:
    """Raise UsageError for what makes no sense."""
    for name, least, most in (
        ("nodes", 2, NODES_MAX), ("hours", 1, HOURS_MAX), ("minutes", 1, 60 * HOURS_MAX), ("seeds", 1, SEEDS_MAX),
        ("jobs", 1, JOBS_MAX), ("limit", 1, 7 * 86400),
    ):  # fmt: skip
        value = getattr(args, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name} is from {least} to {most}, not {value}")
    if args.plot is not None and args.seeds is not None:
        raise UsageError("--plot draws one seed: say --seed")
    if args.plot is not None and args.plot.suffix.lower() != ".png":
        raise UsageError(f"--plot writes PNG: {args.plot.name} should end in .png")
    if args.plot is not None and not args.plot.absolute().parent.is_dir():
        raise UsageError(f"--plot: there is no folder {args.plot.parent}")


# -- one seed ---------------------------------------------------------------------------------------


def _one(case: "Case", args: argparse.Namespace) -> int:
    from sim.scenario import run_case

    plot = None
    if args.plot is not None:
        from sim.plot import Plot

        plot = Plot(case)
    meter = _Meter(case.minutes, "virtual minutes")
    started = perf_counter()
    try:
        if plot is None:
            outcome = run_case(case, meter.at)
        else:
            outcome = run_case(case, meter.at, plot.watch, plot.every_s)
    finally:
        meter.end()
    seconds = perf_counter() - started
    if plot is not None:
        plot.save(args.plot, outcome)
    if args.json:
        told = asdict(outcome) | {"seconds": round(seconds, 2), "again": case.line()}
        sys.stdout.write(json.dumps(told, sort_keys=True) + "\n")
        if outcome.violations:
            sys.stderr.write(f"again: {case.line()}\n")
    else:
        _tell(case, outcome, seconds)
    if outcome.violations and args.shrink:
        _shrink(case)
    return 1 if outcome.violations else 0


def _tell(case: "Case", outcome: "Outcome", seconds: float) -> None:
    out = sys.stdout.write
    out(f"seed {case.seed}: {case.nodes} nodes, {case.minutes} virtual minutes, {outcome.forks} forked logs\n")
    out(f"faults: {_counts(outcome.faults)}\n")
    out(f"{outcome.entries} entries, {outcome.steps} steps in {seconds:.1f} s; all held the same")
    out(f" {outcome.settled_s} virtual s after the faults stopped\n" if outcome.converged else " never\n")
    out(f"digest {outcome.digest}\n")
    if not outcome.violations:
        out("all nodes hold the same; nothing that must hold was broken\n")
        return
    out("what happened last, in virtual time:\n")
    for line in outcome.trace:
        out(f"  {line}\n")
    for violation in outcome.violations:
        out(f"VIOLATION {violation}\n")
    out(f"again: {case.line()}\n")


def _counts(faults: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(faults.items())) or "none"


def _shrink(case: "Case") -> None:
    """Print the smallest case found; progress goes to standard error. Ctrl-C ends it with what there is."""
    from sim.scenario import run_case
    from sim.shrink import shrink

    smallest, runs = case, 0

    def play(smaller: "Case") -> tuple[list[str], int]:
        nonlocal runs
        runs += 1
        outcome = run_case(smaller)
        return outcome.violations, outcome.broken_minute

    def tell(smaller: "Case") -> None:
        nonlocal smallest
        smallest = smaller
        sys.stderr.write(f"run {runs}, still fails: {smaller.line()}\n")

    try:
        shrink(case, play, tell)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
    sys.stdout.write(f"smallest: {smallest.line()}\n")


# -- many seeds -------------------------------------------------------------------------------------


def _many(cases: "list[Case]", args: argparse.Namespace) -> int:
    from sim.parallel import many

    results: list[Done] = []
    failed = 0
    interrupted = False
    meter = _Meter(len(cases), "seeds")
    started = perf_counter()
    try:
        for done in many(cases, args.jobs or len(os.sched_getaffinity(0)), args.limit):
            results.append(done)
            if done.violations:
                failed += 1
                meter.say(f"seed {done.case.seed}: {done.violations[0]}")
            meter.at(len(results), len(cases), f", {failed} failed")
    except KeyboardInterrupt:
        interrupted = True
    finally:
        meter.end()
    results.sort(key=lambda done: done.case.seed)
    told = summary(results, len(cases), perf_counter() - started)
    if args.json:
        sys.stdout.write(json.dumps(told, sort_keys=True) + "\n")
    else:
        _tell_many(told)
    first = next((done.case for done in results if done.violations and done.outcome is not None), None)
    if args.shrink and first is not None and not interrupted:
        _shrink(first)
    return 1 if failed else 130 if interrupted else 0


def summary(results: "list[Done]", asked: int, seconds: float) -> dict[str, object]:
    """What became of many seeds, as `--json` prints it."""
    outcomes = [done.outcome for done in results if done.outcome is not None]
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults)
    slowest = max((item for item in outcomes if item.converged), key=lambda item: item.settled_s, default=None)
    return {
        "asked": asked, "done": len(results), "seconds": round(seconds, 1),
        "seeds_per_s": round(len(results) / seconds, 2) if seconds else 0.0,
        "entries": sum(item.entries for item in outcomes), "steps": sum(item.steps for item in outcomes),
        "forks": sum(item.forks for item in outcomes), "crashes": sum(item.crashes for item in outcomes),
        "faults": dict(sorted(faults.items())), "never": sorted(name for name, count in faults.items() if not count),
        "slowest": None if slowest is None else {"seed": slowest.seed, "settled_s": slowest.settled_s},
        "failed": [
            {"seed": done.case.seed, "violations": done.violations, "again": done.case.line()}
            for done in results
            if done.violations
        ],
    }  # fmt: skip


def _tell_many(told: "dict[str, object]") -> None:
    out = sys.stdout.write
    out(f"{told['done']} of {told['asked']} seeds in {told['seconds']} s, {told['seeds_per_s']} a second\n")
    out(f"{told['entries']:,} entries, {told['steps']:,} steps, {told['crashes']:,} crashes, {told['forks']:,} forks\n")
    faults, never, slowest, failed = told["faults"], told["never"], told["slowest"], told["failed"]
    assert isinstance(faults, dict) and isinstance(never, list) and isinstance(failed, list)  # noqa: PT018
    out(f"faults: {_counts(faults)}\n")
    if never:
        out(f"NEVER HAPPENED: {', '.join(never)}\n")
    if isinstance(slowest, dict):
        out(f"slowest to come together: seed {slowest['seed']}, {slowest['settled_s']} virtual s\n")
    for item in failed:
        out(f"FAILED seed {item['seed']}\n")
        for violation in item["violations"]:
            out(f"  {violation}\n")
        out(f"  again: {item['again']}\n")
    out("nothing that must hold was broken\n" if not failed else f"{len(failed)} seeds failed\n")


class _Meter:
    """A line on standard error, if that is a terminal: how much is done, how fast, how long it will take."""

    def __init__(self, of: int, what: str) -> None:
        self._of = of
        self._what = what
        self._shown = sys.stderr.isatty()
        self._began = self._last = perf_counter()

    def at(self, done: int, of: int, more: str = "") -> None:
        """So much is done; drawn at most ten times a second."""
        now = perf_counter()
        if not self._shown or (now - self._last < 0.1 and done < of):
            return
        self._last = now
        rate = done / max(now - self._began, 1e-9)
        left_s = int((of - done) / rate) if done else 0
        full = _BAR * done // of
        bar = "#" * full + "." * (_BAR - full)
        eta = f"{left_s // 3600}:{left_s // 60 % 60:02}:{left_s % 60:02}"
        sys.stderr.write(f"\r[{bar}] {done}/{of} {self._what}, {rate:.1f} a second, {eta} left{more}\x1b[K")
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """A line that stays, above the bar; only on a terminal, for the summary says it again."""
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{text}\n")

    def end(self) -> None:
        """Leave the line as it is."""
        if self._shown:
            sys.stderr.write("\n")
