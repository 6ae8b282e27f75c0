"""`make bench`: what hamkor costs, each figure beside its limit and the peers of the same run.

    python -m tests.bench [--only ROW]... [--size N] [--rounds N] [--no-peers] [--json FILE]

Machines differ and drift, so only the ratios mean anything; under 1.5 is a tie. What is compared is measured in
turns, and the median of the rounds is shown. `taskset -c 0 make bench` pins everything to one core.
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import peers
from tests.bench.growth import growth
from tests.bench.local import Bench, admission, append, audit, commands, memory
from tests.bench.network import gossip, idle, many, sync
from tests.bench.table import Table, timed

ROWS: dict[str, Callable[[Bench], None]] = {
    "append": append, "admission": admission, "audit": audit, "sync": sync, "idle": idle, "many": many,
    "gossip": gossip, "commands": commands, "memory": memory, "growth": growth,
}  # fmt: skip


def main() -> None:
    """Run the rows that are asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description="What hamkor costs, beside limits and peers.")
    parser.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help=f"one of {', '.join(ROWS)}")
    parser.add_argument("--size", type=int, default=100_000, help="records; growth and memory take ten times as many")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is shown")
    parser.add_argument("--no-peers", action="store_true", help="without hypercore, ssb-db2 and OrbitDB")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all rows to a file")
    args = parser.parse_args()
    if args.size < 1000 or args.rounds < 1:
        parser.error("at least 1,000 records and one round")
    table = Table()
    chosen = args.only or list(ROWS)
    installed = peers.install(table) if "sync" in chosen and not args.no_peers else None
    with tempfile.TemporaryDirectory(prefix="hamkor-bench-") as name:
        for row in chosen:
            seconds = timed(lambda row=row: ROWS[row](Bench(table, Path(name), args.size, args.rounds, installed)))
            table.say(f"{row} took {seconds:.0f} s")
    if args.json is not None:
        about = {"size": args.size, "rounds": args.rounds, "cores": os.cpu_count(), "python": platform.python_version()}
        table.save(args.json, about)


if __name__ == "__main__":
    main()
