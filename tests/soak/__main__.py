"""`python -m tests.soak`: run it, print what was drawn and what came of it; 1 when something was wrong."""

import argparse
import shutil
import signal
import sys
import tempfile
import textwrap
import traceback
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.soak.net import Loopback, Spaces, remove_stale
from tests.soak.plan import KINDS, Plan, draw, quantile
from tests.soak.run import Soak


def main() -> int:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-netem", action="store_true", help="on loopback, without namespaces")
    args = parser.parse_args()
    if not 3 <= args.nodes <= 64 or not args.seconds > 0:
        parser.error("--nodes is from 3 to 64, --seconds above 0")
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background jobs ignore the latter
        signal.signal(number, signal.default_int_handler)
    return soak(args.seed, args.seconds, args.nodes, netem=not args.no_netem)


def soak(seed: int, seconds: float, nodes: int, *, netem: bool) -> int:
    """One run; 0 when everything held."""
    for name in remove_stale():
        print(f"removed the namespace {name} of a run that was killed")
    plan = draw(seed, seconds, nodes)
    folder = Path(tempfile.mkdtemp(prefix="hamkor-soak-"))
    with closing(_network(plan, seed, netem=netem)) as net:
        _tell_plan(plan, seed, seconds, nodes, net)
        run = Soak(folder, seed, seconds, plan, net)
        try:
            run.play()
        except KeyboardInterrupt:
            run.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except Exception:  # the run is judged by what it says, and it says this too
            run.problems.append(f"the run broke off: {traceback.format_exc()}")
        finally:
            run.close()
    _tell(run)
    if not run.problems:
        shutil.rmtree(folder)
        print("\neverything held")
        return 0
    print(f"\n{len(run.problems)} things were wrong; the homes are in {folder}")
    for problem, times in list(Counter(run.problems).items())[:50]:
        print(f"  {problem}" + (f" ({times} times)" if times > 1 else ""))
    again = "" if netem else " --no-netem"
    print(f"again: python -m tests.soak --seed {seed} --seconds {seconds:g} --nodes {nodes}{again}")
    return 1


def _network(plan: Plan, seed: int, *, netem: bool) -> Spaces | Loopback:
    if netem:
        try:
            return Spaces(plan.shapes, seed)
        except OSError as error:
            print(f"no namespaces here: {error}")
    return Loopback()


def _tell_plan(plan: Plan, seed: int, seconds: float, nodes: int, net: Spaces | Loopback) -> None:
    print(f"seed {seed}, {nodes} nodes, {seconds:g} s")
    if isinstance(net, Loopback):
        print(f"on loopback; left out: {net.left_out}")
    else:
        print(f"in namespaces; delay and loss by {net.shaping}")
        for number, shape in enumerate(plan.shapes):
            print(f"  node {number}: {shape.delay_ms} +- {shape.jitter_ms} ms, {shape.loss:.2%} lost, each way")
    print(f"officer 0 is revoked while cut off at node {plan.cut_off}")
    print(f"officer 1's key is copied and used at node {plan.second}")
    print("faults, as +seconds kind nodes seconds:")
    listed = ", ".join(
        f"+{fault.gap_s:g} {fault.kind} {'/'.join(map(str, fault.nodes))} {fault.lasts_s:g}" for fault in plan.faults
    )
    print(textwrap.fill(listed, 110, initial_indent="  ", subsequent_indent="  "), flush=True)


def _tell(run: Soak) -> None:
    waits = [wait for officer in run.officers for wait in officer.waits_s]
    refusals: Counter[str] = sum((officer.refusals for officer in run.officers), Counter())
    acknowledged = sum(len(officer.acknowledged) for officer in run.officers)
    by_command = sum(officer.by_command for officer in run.officers)
    names = {"kill": "kill -9", "term": "SIGTERM", "stop": "SIGSTOP", "cut": "links cut", "part": "partitions"}
    rows = {names[kind]: str(run.counts[kind]) for kind in KINDS}
    rows |= {name: str(run.counts[name]) for name in ("revocation", "copied key")}
    rows |= {
        "entries handed in": str(sum(officer.written for officer in run.officers)),
        "acknowledged": f"{acknowledged}, {by_command} of them to the command line",
        "not written": ", ".join(f"{count} {why}" for why, count in sorted(refusals.items())) or "none",
        "acknowledged within, ms": f"p50 {quantile(waits, 0.5) * 1000:.1f}, p99 {quantile(waits, 0.99) * 1000:.0f}",
    } | run.figures  # fmt: skip
    print()
    for name, value in rows.items():
        print(f"  {name:<26}{value}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; namespaces and processes are removed", file=sys.stderr)
        sys.exit(130)
