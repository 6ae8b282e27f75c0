"""`make bench`: what hamkor costs, each figure beside what the machine allows in the same run.

    python -m tests.bench [--entries N] [--json]

Machines differ and drift, so only the ratios mean anything; under 1.5 is a tie.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from keys.mark import Mark
from keys.signing import verify
from ledger.lmdb_store import open_lmdb
from ledger.projection import Projection
from ledger.store import Ledger, create, load
from node.submit import sign_batch
from protocol.acts import Certify, encode_act
from protocol.body import encode_step
from protocol.entry import Place, open_row
from protocol.frame import Run, decode_frame, encode_frame
from protocol.frame import sign_run as sign_drafts
from sim.disk import MemoryStorage
from tests.bench.auditing import auditing
from tests.cluster import Cluster, Node, charter_file, seeded, seizure, sign_run, until

LOGS = 50


class Table:
    """Rows of figures, printed as they come."""

    def __init__(self, *, quiet: bool) -> None:
        self.rows: list[dict[str, object]] = []
        self._quiet = quiet

    def add(self, work: str, value: float, unit: str, limit: str = "", ratio: float | None = None) -> None:
        """One figure, and its ratio to a limit measured in the same run."""
        self.rows.append({"work": work, "value": round(value, 3), "unit": unit, "limit": limit, "ratio": ratio})
        if not self._quiet:
            beside = f"{ratio:8.2f} x {limit}" if ratio is not None else ""
            sys.stdout.write(f"{work:<58}{value:>14,.1f} {unit:<12}{beside}\n")
            sys.stdout.flush()


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def limits(table: Table) -> dict[str, float]:
    """What libsodium and the disk allow, per second."""
    key = seeded("bench")
    message = bytes(300)
    signature = key.sign(message)
    sign = 2000 / timed(lambda: [key.sign(message) for _ in range(2000)])
    check = 2000 / timed(lambda: [verify(key.public, message, signature) for _ in range(2000)])
    with tempfile.TemporaryDirectory() as folder, closing(open_lmdb(Path(folder) / "s")) as storage:

        def put(number: int) -> None:
            with storage.write() as txn:
                txn.put("meta", number.to_bytes(8, "big"), message)

        commit = 300 / timed(lambda: [put(number) for number in range(300)])
    table.add("limit: libsodium signs", sign, "/s")
    table.add("limit: libsodium verifies", check, "/s")
    table.add("limit: LMDB commits one put, durable", commit, "/s")
    return {"sign": sign, "verify": check, "commit": commit}


def append(table: Table, limit: dict[str, float], folder: Path) -> None:
    """Signed, durable appends: one by one, and in batches."""
    officer = seeded("officer", 0)
    cluster = Cluster.found(folder, nodes=1, officers=1)
    with closing(open_lmdb(cluster.nodes[0].home.store_path)) as storage:
        ledger = load(storage)
        mark = Mark.open(folder / "mark", officer.public)
        bodies = [seizure(number) for number in range(500)]
        for batch, count, bound in ((1, 300, "commit"), (500, 10_000, "sign")):

            def one(batch: int = batch) -> None:
                place = Cluster.place(ledger, officer)
                drafts = [("record", body, ()) for body in bodies[:batch]]
                run, _ = sign_batch(officer, ledger.network_id, mark, place, drafts, 5)
                result = ledger.commit([(run,)])
                assert result.outcomes[0].refused is None
                ledger.apply(result)

            rate = count / timed(lambda one=one, turns=count // batch: [one() for _ in range(turns)])
            name = "one by one" if batch == 1 else f"in batches of {batch}"
            table.add(f"append, signed and durable, {name}", rate, "entries/s", bound, rate / limit[bound])


def admission(table: Table, limit: dict[str, float], folder: Path, count: int) -> None:
    """Frames of runs of 100 and 2,000 into LMDB, against verifying each signature."""
    cluster = Cluster.found(folder, nodes=1, officers=LOGS)
    network_id = cluster_network(cluster)
    per_log = count // LOGS
    runs = [
        sign_run(
            network_id, officer, Place(officer.public, 0, None), [("record", seizure(n)) for n in range(per_log)], 2
        )
        for officer in cluster.officers
    ]
    for size in (per_log, 100):
        frames = [encode_frame([part]) for run in runs for part in pieces(run, size)]
        store = folder / f"admit-{size}"
        with closing(open_lmdb(store)) as storage:
            create(storage, cluster.charter)
            ledger = load(storage)
            copy_acts(cluster.nodes[0], ledger)

            def admit(ledger: Ledger = ledger, frames: list[bytes] = frames) -> None:
                for start in range(0, len(frames), 16):
                    result = ledger.commit(frames[start : start + 16])
                    assert all(outcome.refused is None for outcome in result.outcomes)
                    ledger.apply(result)

            rate = per_log * LOGS / timed(admit)
            assert ledger.entries >= per_log * LOGS
            table.add(f"admission, durable, runs of {size}", rate, "entries/s", "verify", rate / limit["verify"])
    frame = encode_frame([runs[0]])
    table.add("decoding a frame and hashing its chain", chain_rate(frame), "entries/s")


def chain_rate(frame: bytes) -> float:
    """Entries per second through decoding and the hash chain alone."""

    def work() -> None:
        for run in decode_frame(frame):
            place = run.place
            for row in run.rows:
                place = open_row(row, place).after

    count = sum(len(run.rows) for run in decode_frame(frame))
    return count / timed(work)


def pieces(run: Run, size: int) -> list[Run]:
    """The run cut into runs of at most `size` rows."""
    parts, place = [], run.place
    for start in range(0, len(run.rows), size):
        rows = run.rows[start : start + size]
        parts.append(Run(run.key, place.seq, place.prev, rows))
        for row in rows:
            place = open_row(row, place).after
    return parts


def cluster_network(cluster: Cluster) -> bytes:
    """The network id of a cluster."""
    return cluster.nodes[0].home.charter().network_id


def copy_acts(node: Node, ledger: Ledger) -> None:
    """Give `ledger` the certificates that a node's home holds."""
    with closing(open_lmdb(node.home.store_path)) as storage:
        root = seeded("test", "mia")
        run = load(storage).run(root.public, 0, 1 << 30)
        assert run is not None
        ledger.apply(ledger.commit([(run,)]))


def sync(table: Table, limit: dict[str, float], folder: Path, count: int) -> None:
    """Full and incremental sync between two node processes over libp2p; wire, disk and memory."""
    cluster = Cluster.found(folder, nodes=2, officers=LOGS)
    first, second = cluster.nodes
    cluster.fill(first, count)
    disk = store_bytes(first)
    try:
        cluster.start([first], linked=False)
        total = int(str(first.status()["entries"]))
        until(lambda: int(str(first.status()["projected"])) >= total, 300, "the sender's index")
        assert first.stop() == 0
        cluster.start([second], linked=False)
        idle = second.memory_bytes()
        first.start()
        cluster.ready(first)
        until(lambda: second.status()["peers"] == 1, 30, "a link")
        peak = 0

        def done() -> bool:
            nonlocal peak
            peak = max(peak, second.memory_bytes())
            return int(str(second.status()["entries"])) >= total

        seconds = until(done, 300, "full sync")
        rate = count / seconds
        wire = int(str(first.status()["bytes_sent"])) / count
        table.add(f"full sync of {count:,}, two processes, libp2p", rate, "entries/s", "verify", rate / limit["verify"])
        table.add("  on the wire", wire, "B/entry")
        table.add("  on disk, all indices", disk / count, "B/entry")
        table.add("  receiver's memory, idle", idle / 2**20, "MiB")
        table.add("  receiver's memory, peak", peak / 2**20, "MiB")
        seconds += until(lambda: int(str(second.status()["projected"])) >= total, 300, "the index has followed")
        indexed = total / seconds
        table.add("  the receiver's search index meanwhile", indexed, "entries/s", "sync", indexed / rate)
        until(cluster.converged, 30, "equal roots")
        finding(table, second)
        incremental(table, cluster)
    finally:
        cluster.stop()


def finding(table: Table, node: Node) -> None:
    """One selector among all: inside the node, and as a whole command, beside what starting Python costs."""
    words = f"01A{7:03d}BC"
    node.ask("find", words=words, limit=20)
    inside = timed(lambda: node.ask("find", words=words, limit=20))
    table.add("find of one selector, inside the node", 1000 * inside, "ms")
    python = min(timed(lambda: subprocess.run([sys.executable, "-c", ""], check=True)) for _ in range(3))
    for name, argv in (("find", ["--home", str(node.home.path), "find", words]), ("--help", ["--help"])):
        command = [sys.executable, "-m", "node.cli", *argv]
        seconds = min(timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(3))  # noqa: B023
        table.add(f"hamkor {name}, whole command", 1000 * seconds, "ms", "python", seconds / python)


def amending(table: Table, folder: Path, count: int) -> None:
    """A long chain of amendments to one record: what the last tenth costs, to the first."""
    storage = MemoryStorage()
    ledger = create(storage, charter_file())
    root, officer = seeded("test", "mia"), seeded("officer", 0)
    act = encode_act(Certify(officer.public, "officer", "o", "mia", "unit-0", ("officer",)))
    ledger.apply(ledger.commit([(sign_run(ledger.network_id, root, Place(root.public, 0, None), [("act", act)], 1),)]))
    place: Place = Place(officer.public, 0, None)
    run, ids = sign_drafts(officer, ledger.network_id, place, [("record", seizure(1), ())], 1)
    ledger.apply(ledger.commit([(run,)]))
    record, last = ids[0], ids[0]
    projection = Projection(folder / "search.db")
    spent = []
    for start in range(0, count, count // 10):
        for _ in range(start, start + count // 10):
            head = ledger.heads.get(officer.public)
            body = encode_step(record, "amend", {"set": {"place": f"post {start}"}})
            at = Place(officer.public, head.size, head.id)
            run, ids = sign_drafts(officer, ledger.network_id, at, [("step", body, tuple({record, last}))], 1)
            ledger.apply(ledger.commit([(run,)]))
            last = ids[0]
        spent.append(timed(lambda: _follow(projection, ledger)))
    table.add(f"{count:,} amendments to one record, indexed", count / sum(spent), "entries/s")
    table.add("  the last tenth to the first", spent[-1] / spent[0], "x")


def _follow(projection: Projection, ledger: Ledger) -> None:
    while projection.catch_up(ledger, 1):
        continue


def incremental(table: Table, cluster: Cluster) -> None:
    """100 new entries in 50 logs while apart; then the time and bytes until both have them."""
    first, second = cluster.nodes
    second.ask("links", up=False)
    until(lambda: first.status()["peers"] == 0, 20, "no link")
    for number, officer in enumerate(cluster.officers):
        cluster.write(first, officer, [seizure(10**6 + number), seizure(2 * 10**6 + number)])
    sent = int(str(first.status()["bytes_sent"]))
    second.ask("links", up=True)
    until(lambda: second.status()["peers"] == 1, 60, "a link")
    seconds = until(cluster.converged, 60, "equal roots")
    table.add("incremental sync of 100 in 50 logs, after the link is up", seconds * 1000, "ms")
    spent = int(str(first.status()["bytes_sent"])) - sent
    table.add("  on the wire", spent, "B", "entries", spent / (100 * len(seizure(10**6)) + 100 * 110))


def store_bytes(node: Node) -> int:
    """Bytes in use in a node's store."""
    with closing(open_lmdb(node.home.store_path)) as storage:
        return storage.size_bytes()


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000, help="how many records to sync")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    args = parser.parse_args()
    table = Table(quiet=args.json)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limit = limits(table)
        append(table, limit, folder / "append")
        admission(table, limit, folder / "admission", min(args.entries, 50_000))
        sync(table, limit, folder / "sync", args.entries)
        auditing(table.add, folder / "audit", args.entries)
        amending(table, folder, 10_000)
    if args.json:
        sys.stdout.write(json.dumps({"rows": table.rows}) + "\n")


if __name__ == "__main__":
    main()
