"""What grows with the ledger: the same work at a tenth and at ten times the records."""

from collections.abc import Callable
from contextlib import closing
from itertools import count

from ledger.attest import survey
from ledger.lmdb_store import open_lmdb
from ledger.store import Ledger, load
from protocol.checkpoint import draft
from protocol.frame import encode_frame
from tests.bench.limits import signing
from tests.bench.local import BATCH, Bench, appender, take
from tests.bench.pair import WAIT_S, Pair, holding, number
from tests.bench.table import Row, timed
from tests.bench.work import AUTHORS, fill, sign_reports, word
from tests.cluster import Cluster, until

_WORKS = ("append", "admission", "checkpoint", "sync", "find")
_EACH = 100  # records of one log in one frame of the admission


def growth(bench: Bench) -> None:
    """Microseconds of each work at both sizes, as multiples of what a signature costs at that moment."""
    small, large = bench.size // 10, 10 * bench.size
    before, after = _at(bench, small), _at(bench, large)
    for work in _WORKS:
        one, other = before[work], after[work]
        bench.table.add(Row(
            "growth", f"{work}: at {large:,} against {small:,}", other, "signings", one, f"at {small:,}",
            goal="within 1.5 x", met=other <= 1.5 * one,
        ))  # fmt: skip


def _at(bench: Bench, size: int) -> dict[str, float]:
    """What each work costs at that size, in signatures: per entry, per checkpoint, per query."""
    cluster = Cluster.found(bench.folder / f"growth-{size}", nodes=2, officers=AUTHORS + 1)
    first, second = cluster.nodes
    fill(first, cluster.officers[:AUTHORS], size)
    found: dict[str, float] = {}
    with closing(open_lmdb(first.home.store_path)) as storage:
        ledger = load(storage)
        write = appender(ledger, cluster.officers[-1], first.home.path / "bench.mark")
        found["append"] = _cost(bench, lambda: 1 / write(BATCH, 4))
        found["admission"] = _cost(bench, _admission(ledger, cluster, size))
        found["checkpoint"] = _cost(bench, lambda: timed(lambda: _checkpoint(ledger, cluster)))
    pair = Pair(cluster)
    try:
        cluster.start([first], linked=False)
        entries = number(first, "entries")
        until(lambda: number(first, "projected") >= entries, WAIT_S, "the index")
        second.start()
        until(lambda: pair.connected, 60, "a connection", poll_s=0.001)
        signs = signing()
        with holding(second, entries) as holds:
            seconds = timed(lambda: (cluster.ready(second), until(holds, WAIT_S, "sync", 0.005)))
        found["sync"] = seconds / entries * (signs + signing()) / 2
        assert second.stop() == 0
        turn = count()

        def find() -> float:
            # a plate would be in ten times the records
            return timed(lambda: first.ask("find", words=word(size // 2 + next(turn)), limit=20))

        found["find"] = _cost(bench, find)
    finally:
        cluster.stop()
    return found


def _cost(bench: Bench, work: Callable[[], float], turns: int = 5) -> float:
    """The least of the seconds that `work` says, each times the signing rate just before: what a busy machine adds
    falls on one size or the other by chance.
    """
    return min(signing() * work() for _ in range(bench.rounds * turns))


def _admission(ledger: Ledger, cluster: Cluster, size: int) -> Callable[[], float]:
    """Seconds per entry to admit frames from the authors, each of some further records."""
    turn = count()

    def work() -> float:
        start = size + next(turn) * _EACH * AUTHORS
        runs = []
        for at, author in enumerate(cluster.officers[:AUTHORS]):
            mine = range(start + at, start + _EACH * AUTHORS, AUTHORS)
            runs.append(sign_reports(ledger.network_id, author, Cluster.place(ledger, author), mine))
        frames = [encode_frame([run]) for run in runs]
        return timed(lambda: take(ledger, frames)) / (_EACH * AUTHORS)

    return work


def _checkpoint(ledger: Ledger, cluster: Cluster) -> None:
    """A first checkpoint drafted from the store as it is."""
    with ledger.storage.read() as reader:
        found = survey(reader)
        draft(cluster.nodes[0].key, ledger.network_id, found.root, found.heads, None)
