"""What one process does: append, admission, audit; and what the commands and the memory of a node cost."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from keys.mark import Mark, mark_path
from keys.signing import SigningKey
from ledger.lmdb_store import open_lmdb
from ledger.store import Ledger, create, load
from node.client import open_node, write
from node.submit import sign_batch
from protocol.entry import Place, open_row
from protocol.frame import Draft, Run, encode_frame
from tests.bench.auditing import auditing
from tests.bench.limits import committing, remembering, signing, verifying
from tests.bench.pair import WAIT_S, number
from tests.bench.table import Row, Table, rounds, timed
from tests.bench.wire import own_memory
from tests.bench.work import AUTHORS, certify, fill, plate, report, sign_reports
from tests.cluster import Cluster, Node, until

BATCH = 500  # what the client signs and submits together
_FRAMES = 16  # that one transaction takes


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: where it prints, where it writes, how much work there is, where the peers are."""

    table: Table
    folder: Path
    size: int  # records
    rounds: int
    installed: Path | None  # the peers


def append(bench: Bench) -> None:
    """Signed, durable appends: in one process, and by an officer's command at a node that runs."""
    folder = bench.folder / "append"
    cluster = Cluster.found(folder, nodes=2, officers=2)
    here, there = cluster.nodes
    with closing(open_lmdb(here.home.store_path)) as storage, committing(folder) as commit:
        append_here = appender(load(storage), cluster.officers[0], folder / "mark")
        append_here(BATCH, 1)  # warm
        try:
            cluster.start([there], linked=False)
            found = rounds(
                bench.rounds, one=lambda: append_here(1, 200), commit=commit, file=lambda: remembering(folder),
                many=lambda: append_here(BATCH, 8), sign=signing,
                node=_importer(there, cluster.officers[1], folder / "key"),
            )  # fmt: skip
        finally:
            cluster.stop()
    rate, commits = found["one"], found["commit"]
    both = 1 / (1 / commits + 1 / found["file"])
    bench.table.add(Row(
        "append", "append, signed and durable, one by one", rate, "entries/s", commits, "LMDB commits",
        goal="at the disk's commit rate", met=rate >= 0.8 * commits,
        note="two things are made durable, one after the other: the mark before its signature is let out (SPEC.md 8.5),"
        " and then the entry before it is acknowledged",
    ))  # fmt: skip
    bench.table.add(Row(
        "append", "the same, against both that must be durable", rate, "entries/s", both, "file, then commit",
        goal="80 % of both in turn", met=rate >= 0.8 * both,
        note=f"a small new file can be made durable {found['file']:,.0f} times a second",
    ))  # fmt: skip
    signs = found["sign"]
    for name, work in (("many", "in one process"), ("node", "by a command at its node")):
        rate = found[name]
        bench.table.add(Row(
            "append", f"append, durable, in batches of {BATCH}, {work}", rate, "entries/s", signs, "libsodium signs",
            goal="80 % of signing", met=rate >= 0.8 * signs,
        ))  # fmt: skip


def _importer(node: Node, author: SigningKey, key_path: Path) -> Callable[[], float]:
    """A function that writes records at a running node, as `hamkor import-csv` does, and returns entries per second.

    The mark and the node's store are durable by then; the index follows on its own and has caught up before.
    """
    key_path.touch()  # what is locked while somebody signs
    Mark.create(mark_path(key_path), author.public)
    at = count()

    def work() -> float:
        size = 16 * BATCH
        drafts: list[Draft] = [("record", report(next(at)), ()) for _ in range(size)]
        until(lambda: number(node, "projected") >= number(node, "entries"), WAIT_S, "the index")
        with open_node(node.home) as asked:
            return size / timed(lambda: write(asked, author, key_path, "record", drafts))

    return work


def appender(ledger: Ledger, author: SigningKey, mark_path: Path) -> Callable[[int, int], float]:
    """A function that appends so many batches of that many reports, and returns entries per second."""
    mark, at = Mark.open(mark_path, author.public), count()

    def write(batch: int, turns: int) -> float:
        batches = [[("record", report(next(at)), ()) for _ in range(batch)] for _ in range(turns)]

        def work() -> None:
            for drafts in batches:
                run, _ = sign_batch(author, ledger.network_id, mark, Cluster.place(ledger, author), drafts, 5)
                result = ledger.commit([(run,)])
                assert result.outcomes[0].refused is None
                ledger.apply(result)

        return batch * turns / timed(work)

    return write


def admission(bench: Bench) -> None:
    """Frames from a peer into LMDB, durable, against verifying each signature."""
    folder = bench.folder / "admission"
    cluster = Cluster.found(folder, nodes=1, officers=AUTHORS)
    charter = cluster.nodes[0].home.charter()
    each = max(100, min(bench.size, 50_000) // AUTHORS)
    runs = [
        sign_reports(charter.network_id, author, Place(author.public, 0, None), range(at, each * AUTHORS, AUTHORS))
        for at, author in enumerate(cluster.officers)
    ]
    at = count()

    def admit(size: int) -> float:
        frames = [encode_frame([part]) for run in runs for part in pieces(run, size)]
        with closing(open_lmdb(folder / f"store-{next(at)}")) as storage:
            ledger = create(storage, cluster.charter)
            certify(ledger, cluster.officers)
            return each * AUTHORS / timed(lambda: take(ledger, frames))

    found = rounds(bench.rounds, verify=verifying, bulk=lambda: admit(each), short=lambda: admit(100))
    for name, size in (("bulk", each), ("short", 100)):
        rate = found[name]
        bench.table.add(Row(
            "admission", f"admission, durable, frames of {size} of one log", rate, "entries/s", found["verify"],
            "libsodium verifies", goal="8 x" if name == "bulk" else "",
            met=rate >= 8 * found["verify"] if name == "bulk" else None,
        ))  # fmt: skip


def take(ledger: Ledger, frames: list[bytes]) -> None:
    """Admit frames, some in one transaction, as the engine does."""
    for start in range(0, len(frames), _FRAMES):
        result = ledger.commit(frames[start : start + _FRAMES])
        assert all(outcome.refused is None for outcome in result.outcomes)
        ledger.apply(result)


def pieces(run: Run, size: int) -> list[Run]:
    """The run cut into runs of at most `size` rows."""
    parts, place = [], run.place
    for start in range(0, len(run.rows), size):
        rows = run.rows[start : start + size]
        parts.append(Run(run.key, place.seq, place.prev, rows))
        for row in rows:
            place = open_row(row, place).after
    return parts


def audit(bench: Bench) -> None:
    """A home and a bundle."""
    auditing(bench.table, bench.folder / "audit", bench.size, bench.rounds)


_HAMKOR = [sys.executable, "-m", "node.cli"]


def commands(bench: Bench) -> None:
    """Whole commands, beside what starting Python costs."""
    cluster = Cluster.found(bench.folder / "commands", nodes=1, officers=AUTHORS)
    node = cluster.nodes[0]
    fill(node, cluster.officers, bench.size)
    words = plate(bench.size // 2)
    try:
        cluster.start(linked=False)
        until(lambda: number(node, "projected") >= number(node, "entries"), WAIT_S, "the index")

        def inside() -> float:
            return timed(lambda: node.ask("find", words=words, limit=20))

        found = rounds(
            3 * bench.rounds, inside=inside, python=lambda: _whole([sys.executable, "-c", ""]),
            find=lambda: _whole([*_HAMKOR, "--home", str(node.home.path), "find", words]),
            help=lambda: _whole([*_HAMKOR, "--help"]),
        )  # fmt: skip
    finally:
        cluster.stop()
    python = 1000 * found["python"]
    size = f"one plate among {bench.size:,}"
    bench.table.add(Row("commands", f"find of {size}, inside the node", 1000 * found["inside"], "ms"))
    for name, work, most in (("find", f"hamkor find, {size}", 400), ("help", "hamkor --help", 150)):
        cost = 1000 * found[name]
        bench.table.add(
            Row("commands", work, cost, "ms", python, "python -c ''", goal=f"under {most} ms", met=cost < most)
        )


def _whole(command: list[str]) -> float:
    return timed(lambda: subprocess.run(command, check=True, capture_output=True))


def memory(bench: Bench) -> None:
    """Memory of a node that has nothing to do: with nothing in it, and with ten times the records."""
    held = []
    many = 10 * bench.size
    for size in (0, many):
        cluster = Cluster.found(bench.folder / f"memory-{size}", nodes=1, officers=AUTHORS)
        node = cluster.nodes[0]
        fill(node, cluster.officers, size)
        try:
            cluster.start(linked=False)
            until(lambda node=node: number(node, "projected") >= number(node, "entries"), WAIT_S, "the index")
            assert node.process is not None
            held.append([part / 2**20 for part in own_memory(node.process.pid)])
        finally:
            cluster.stop()
    note = "the daemon {:.0f} and its indexer {:.0f}, shared pages by halves, the mapped store left out"
    (idle, small), (full, large) = held
    bench.table.add(Row(
        "memory", "a node idle, nothing in it", idle + small, "MiB", goal="under 120 MB",
        met=(idle + small) * 2**20 < 120e6, note=note.format(idle, small),
    ))  # fmt: skip
    above = full + large - idle - small
    bench.table.add(Row(
        "memory", f"a node with {many:,} entries, above idle", above, "MiB", goal="at most 60 MB",
        met=above * 2**20 <= 60e6, note=note.format(full, large),
    ))  # fmt: skip
