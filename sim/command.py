"""`hamkor sim`: run the simulated world from a seed, and say whether what must always hold has held."""

import argparse
import json
import sys
import time

from keys.errors import UsageError
from sim.scenario import Outcome, play

NODES_MAX = 2000
HOURS_MAX = 24 * 365


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `hamkor sim` to the command line."""
    parser = commands.add_parser(
        "sim", help="a simulated network from a seed, with its invariants checked", description=__doc__,
        epilog="example: hamkor sim --seed 7 --nodes 11 --hours 2",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=11)
    parser.add_argument("--hours", type=int, default=2, help="virtual hours in which everything goes wrong")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play one seed; 0 without violations, else 1."""
    if not 2 <= args.nodes <= NODES_MAX or not 1 <= args.hours <= HOURS_MAX:
        raise UsageError(f"--nodes is from 2 to {NODES_MAX}, --hours from 1 to {HOURS_MAX}")
    started = time.perf_counter()
    outcome = play(args.seed, args.nodes, args.hours, _progress if sys.stderr.isatty() else None)
    seconds = time.perf_counter() - started
    if args.json:
        answer = {
            "seed": outcome.seed, "nodes": outcome.nodes, "hours": outcome.hours, "entries": outcome.entries,
            "steps": outcome.steps, "converged": outcome.converged, "violations": outcome.violations,
            "digest": outcome.digest, "seconds": round(seconds, 2),
        }  # fmt: skip
        sys.stdout.write(json.dumps(answer, sort_keys=True) + "\n")
        if outcome.violations:
            sys.stderr.write(f"again: {_replay(outcome)}\n")
    else:
        _tell(outcome, seconds)
    return 1 if outcome.violations else 0


def _progress(done: int, of: int) -> None:
    sys.stderr.write(f"\r{done * 100 // of} %" + ("\n" if done == of else ""))


def _replay(outcome: Outcome) -> str:
    return f"hamkor sim --seed {outcome.seed} --nodes {outcome.nodes} --hours {outcome.hours}"


def _tell(outcome: Outcome, seconds: float) -> None:
    out = sys.stdout.write
    out(
        f"seed {outcome.seed}: {outcome.nodes} nodes, {outcome.hours} virtual hours, {outcome.crashes} crashes,"
        f" {outcome.forks} forked logs\n"
    )
    out(f"{outcome.entries} entries, {outcome.steps} steps in {seconds:.1f} s; all held the same")
    out(f" {outcome.settled_s} virtual s after the faults stopped\n" if outcome.converged else " never\n")
    out(f"digest {outcome.digest}\n")
    for violation in outcome.violations:
        out(f"VIOLATION {violation}\n")
    if outcome.violations:
        out(f"again: {_replay(outcome)}\n")
    else:
        out("all nodes hold the same; nothing that must hold was broken\n")
