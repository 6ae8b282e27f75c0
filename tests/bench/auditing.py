"""What an audit costs, beside what libsodium alone verifies on the same cores: measured in turns, medians of ratios.

python -m tests.bench.auditing [--entries N] [--turns N]
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import TypeAlias

from nacl.bindings import crypto_sign_open

from ledger.audit import Options, audit_bundle, audit_storage
from ledger.audit_finding import Report
from ledger.lmdb_store import open_lmdb
from node.processes import on_all_cores
from protocol.bundle import read_bundle
from protocol.charter import Charter
from protocol.entry import read_row, signed_bytes
from protocol.frame import decode_frame
from protocol.message import Frame
from tests.bench.table import Row, Table
from tests.cluster import Cluster

Signed: TypeAlias = tuple[bytes, bytes, bytes]  # key, message, signature


def auditing(table: Table, folder: Path, count: int, turns: int = 5) -> None:
    """Audit a home and a bundle of `count` entries; add their rates beside libsodium's."""
    cluster = Cluster.found(folder, nodes=1, officers=50)
    node = cluster.nodes[0]
    cluster.fill(node, count)
    charter = node.home.charter()
    bundle = folder / "ledger.bundle"
    export = [sys.executable, "-m", "node.cli", "--home", str(node.home.path), "export", str(bundle)]
    subprocess.run(export, check=True, capture_output=True)
    signed = signatures(bundle, charter)
    options = Options(spread=on_all_cores)

    def home_audit() -> Report:
        with closing(open_lmdb(node.home.store_path, readonly=True)) as storage:
            return audit_storage(storage, charter, options)

    def bundle_audit() -> Report:
        with bundle.open("rb") as stream:
            return audit_bundle(stream, charter, options)

    alone, ratios = [], dict[str, list[float]]({"a home": [], "a bundle": []})
    for _ in range(turns):
        limit = alone_rate(signed)
        alone.append(limit)
        for name, work in (("a home", home_audit), ("a bundle", bundle_audit)):
            start = time.perf_counter()
            report = work()
            rate = report.entries / (time.perf_counter() - start)
            assert report.sound
            assert report.entries == report.signatures == len(signed)
            ratios[name].append(rate / limit)
    limit, cores = median(alone), len(os.sched_getaffinity(0))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, found in ratios.items():
        rate = median(found) * limit
        table.add(Row(
            "audit", f"audit of {name} of {count:,}, everything checked", rate, "entries/s", limit,
            f"verifies on {cores} cores", goal="90 %", met=rate >= 0.9 * limit,
            note=f"memory of this process at its most: {most:,.0f} MiB" if name == "a bundle" else "",
        ))  # fmt: skip


def signatures(bundle: Path, charter: Charter) -> list[Signed]:
    """Every signature in a bundle."""
    found: list[Signed] = []
    with bundle.open("rb") as stream:
        for message in read_bundle(stream):
            for run in decode_frame(message.frame) if isinstance(message, Frame) else ():
                prev = run.prev
                for seq, row in enumerate(run.rows, run.seq):
                    fact = read_row(row, run.key, seq, prev)
                    found.append((run.key, signed_bytes(charter.network_id, fact.header), fact.signature))
                    prev = fact.id
    return found


def alone_rate(signed: Sequence[Signed]) -> float:
    """How many a second libsodium verifies through PyNaCl's lowest call, one process a core, all begun together."""
    cores = len(os.sched_getaffinity(0))
    context = get_context("fork")
    ready = context.Barrier(cores + 1)
    parts = [context.Process(target=_verify, args=(signed[at::cores], ready)) for at in range(cores)]
    for part in parts:
        part.start()
    ready.wait()
    start = time.perf_counter()
    for part in parts:
        part.join()
        assert part.exitcode == 0
    return len(signed) / (time.perf_counter() - start)


def _verify(signed: Sequence[Signed], ready: Barrier) -> None:
    ready.wait()
    for key, message, signature in signed:
        crypto_sign_open(signature + message, key)


def main() -> None:
    """Run it alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        auditing(Table(), Path(name), args.entries, args.turns)


if __name__ == "__main__":
    main()
