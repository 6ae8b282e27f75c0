"""What nodes do together: full and incremental sync beside the peers, nothing to sync, many logs, gossip."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Thread
from typing import Any

from keys.signing import PublicKey
from protocol.entry import Place, open_row
from tests.bench import peers
from tests.bench.limits import verifying
from tests.bench.local import Bench
from tests.bench.pair import WAIT_S, Met, Pair, growing, holding, many_logs, number
from tests.bench.peers import HYPERCORE, KINDS, Figures
from tests.bench.pump import flood, stream_rate
from tests.bench.table import Row, median
from tests.bench.wire import folder_bytes, processor_s
from tests.bench.work import AUTHORS, fill, report
from tests.cluster import Cluster, Node, sign_run, until

_MORE = 100  # records that are new in an incremental sync
_FRAME_BYTES = 256 * 1024  # about what a frame of 512 KiB has on the wire
_STREAM_BYTES = 32 * 1024 * 1024  # at least: a stream starts slowly
_GOSSIP_NODES, _GOSSIP_RATE, _GOSSIP_S = 16, 100, 10
_GOSSIP_LOOK_S = 0.01  # between looks into the stores


@dataclass(frozen=True, slots=True)
class Synced:
    """One full sync of ours."""

    rate: float
    processor_us: float  # per record, of both nodes, their indexers left out as far as they run on
    wire: float  # bytes per record
    disk: float
    search: float  # bytes per record in the projection
    indexed: float  # records per second, until the receiver's index has them too
    more: Met
    more_entries: int  # bytes of the new entries themselves


def sync(bench: Bench) -> None:
    """All records to an empty node, and then 100 more, ours and the peers' in turns."""
    cluster = Cluster.found(bench.folder / "sync", nodes=1 + bench.rounds, officers=AUTHORS)
    first = cluster.nodes[0]
    fill(first, cluster.officers, bench.size)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        hyper = stack.enter_context(
            peers.writer(bench.table, bench.installed, HYPERCORE, bench.folder / "hypercore", bench.size)
        )
        cluster.start([first], linked=False)
        until(lambda: number(first, "projected") >= number(first, "entries"), WAIT_S, "the sender's index")
        ours, theirs, ceilings, verifies = [], [], [], []
        for at in range(bench.rounds):
            verifies.append(verifying())
            ours.append(_sync_once(bench, cluster, at))
            ceilings.append(stream_rate(max(_STREAM_BYTES, int(ours[-1].wire * bench.size)), _FRAME_BYTES))
            if hyper is not None and (found := _try(bench, hyper)) is not None:
                theirs.append(found)
    others = {"hypercore": _middle(theirs)} if theirs else {}
    for kind in KINDS[1:]:
        with peers.writer(bench.table, bench.installed, kind, bench.folder / kind.name, bench.size) as writer:
            if writer is not None and (found := _try(bench, writer)) is not None:
                others[kind.name] = found
    cloned = peers.git(bench.table, bench.folder / "git", bench.size)
    others |= {} if cloned is None else {"git": cloned}
    _show_sync(bench, ours, others, median(ceilings), median(verifies))


def _try(bench: Bench, writer: peers.Writer) -> Figures | None:
    try:
        return writer.fetch()
    except peers.PeerError as error:
        bench.table.say(f"{writer.kind.name} failed: {error}")
        return None


def _sync_once(bench: Bench, cluster: Cluster, at: int) -> Synced:
    """The sender runs; the receiver starts empty, and is ended afterwards."""
    pair = Pair(cluster, 1 + at)
    first, second = pair.first, pair.second
    first_entries = number(first, "entries")
    second.start()
    until(lambda: pair.connected, 60, "a connection", poll_s=0.001)
    started = time.perf_counter()
    before = sum(processor_s(_pid(node)) for node in (first, second))
    cluster.ready(second)
    with holding(second, first_entries) as holds:
        until(holds, WAIT_S, "full sync", poll_s=0.005)
    seconds = time.perf_counter() - started
    spent = sum(processor_s(_pid(node)) for node in (first, second)) - before
    wire = pair.wire_bytes()
    disk = folder_bytes(second.home.store_path)
    until(lambda: number(second, "projected") >= first_entries, WAIT_S, "the receiver's index")
    indexed = time.perf_counter() - started
    search = sum(path.stat().st_size for path in second.home.path.glob("search.db*"))
    pair.settle()
    pair.part()
    entries = pair.write(cluster.officers, _MORE // AUTHORS, 10**7 + at * _MORE)
    more = pair.meet()
    pair.settle()
    assert second.stop() == 0
    size = bench.size
    return Synced(
        size / seconds, 1e6 * spent / size, wire / size, disk / size, search / size, size / indexed, more, entries
    )


def _pid(node: Node) -> int:
    assert node.process is not None
    return node.process.pid


def _middle(figures: Sequence[Figures]) -> Figures:
    return sorted(figures, key=lambda one: one.rate)[len(figures) // 2]


def _show_sync(
    bench: Bench, ours: Sequence[Synced], others: dict[str, Figures], ceiling: float, verifies: float
) -> None:
    table, hyper = bench.table, others.get("hypercore")

    def middle(of: Callable[[Synced], float]) -> float:
        return median(of(one) for one in ours)

    def beside(of: Callable[[Figures], float]) -> dict[str, float]:
        return {name: of(found) for name, found in others.items()}

    rate, wire = middle(lambda one: one.rate), middle(lambda one: one.wire)
    fewer = ", ".join(f"{name} {found.count:,}" for name, found in others.items() if found.count < bench.size)
    table.add(Row(
        "sync", f"full sync of {bench.size:,}, two processes, durable", rate, "records/s", verifies,
        "one core verifies", beside(lambda one: one.rate), "10 x hypercore",
        None if hyper is None else rate >= 10 * hyper.rate, f"fewer records: {fewer}" if fewer else "",
    ))  # fmt: skip
    table.add(Row(
        "sync", "full sync, against the stream for the bytes it sends", rate * wire / 1e6, "MB/s", ceiling / 1e6,
        "bare stream", goal="half of the stream", met=rate * wire >= ceiling / 2,
    ))  # fmt: skip
    table.add(Row(
        "sync", "full sync, processor time of both ends", middle(lambda one: one.processor_us), "us/record",
        peers=beside(lambda one: one.processor_us), note="ours with what both indexers did meanwhile",
    ))  # fmt: skip
    indexed = middle(lambda one: one.indexed)
    table.add(Row(
        "sync", "full sync, until the search index has followed", indexed, "records/s", rate, "sync",
        beside(lambda one: one.rate), "10 x hypercore", None if hyper is None else indexed >= 10 * hyper.rate,
    ))  # fmt: skip
    table.add(Row(
        "wire", "on the wire in full sync", wire, "B/record", sum(map(len, map(report, range(1000)))) / 1000,
        "the bodies alone", beside(lambda one: one.wire), "under half of hypercore",
        None if hyper is None else wire < hyper.wire / 2,
    ))  # fmt: skip
    disk = middle(lambda one: one.disk)
    table.add(Row(
        "disk", "on disk, all indices in LMDB", disk, "B/record", peers=beside(lambda one: one.disk),
        goal="no more than hypercore", met=None if hyper is None else disk <= hyper.disk,
        note=f"the search projection takes {middle(lambda one: one.search):,.0f} more",
    ))  # fmt: skip
    _show_more(bench, ours, others)


def _show_more(bench: Bench, ours: Sequence[Synced], others: dict[str, Figures]) -> None:
    hyper = others.get("hypercore")
    seconds = median(one.more.seconds for one in ours)
    bench.table.add(Row(
        "incremental", f"incremental sync, {_MORE} of {bench.size:,} in {AUTHORS} logs", 1000 * seconds, "ms",
        peers={name: 1000 * found.more_s for name, found in others.items()}, goal="10 x faster than hypercore",
        met=None if hyper is None else seconds <= hyper.more_s / 10, note="from the connection on, handshakes included",
    ))  # fmt: skip
    spent, entries = median(one.more.wire_bytes for one in ours), median(one.more_entries for one in ours)
    bench.table.add(Row(
        "incremental", "  on the wire", spent, "B", entries, "the entries",
        {name: float(found.more_bytes) for name, found in others.items()}, "1.5 x the entries", spent <= 1.5 * entries,
    ))  # fmt: skip


# -- nothing to sync, and little among many logs --------------------------------------------------


def idle(bench: Bench) -> None:
    """Two nodes that hold the same meet: what they say, at 50 and at 10,000 logs. They write no checkpoints."""
    for logs in (AUTHORS, 200 * AUTHORS):
        pair, _ = many_logs(bench.folder / f"idle-{logs}", logs, checkpoint_s=0)
        found = []
        try:
            pair.cluster.start()
            pair.settle()
            for _ in range(1 + bench.rounds):
                pair.part()
                before = pair.message_bytes()
                pair.link()
                until(lambda pair=pair: None not in _waits(pair), 60, "both know")
                waited = max(wait for wait in _waits(pair) if wait is not None)
                found.append((pair.message_bytes() - before, pair.wire_bytes(), waited))
                pair.settle()
        finally:
            pair.cluster.stop()
        measured = found[1:]  # in the first, one may have published where it listens, and the other not have it yet
        said, wire, waited = (median(column) for column in zip(*measured, strict=True))
        bench.table.add(Row(
            "idle", f"nothing to sync, {logs:,} logs: both ways", said, "B", goal="one round trip, under 300 B",
            met=said < 300, note=f"{waited:.0f} ms from link to knowing; {wire:,.0f} B of TCP with the handshakes",
        ))  # fmt: skip


def _waits(pair: Pair) -> list[float | None]:
    """Milliseconds from the link's being up to knowing that both hold the same, at each node; None: not yet."""
    waits: list[float | None] = []
    for node in (pair.first, pair.second):
        answer: Any = node.ask("peers")
        row = next((row for row in answer["peers"] if row["up"]), {"same_ms": None})
        waits.append(None if row["same_ms"] is None else row["same_ms"] - row["since_ms"])
    return waits


def many(bench: Bench) -> None:
    """Twenty logs differ by one entry each, among 1,000 and among 10,000; and a hundred. Without checkpoints."""
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for logs in (1000, 10_000):
        pair, officers = many_logs(bench.folder / f"many-{logs}", logs, checkpoint_s=0)
        written = 0
        try:
            pair.cluster.start()
            pair.settle()
            for differ in (20, 100):
                met = []
                for _ in range(bench.rounds):
                    pair.part()
                    pair.write(officers[written : written + differ], 1, 10**8 + written)
                    written += differ
                    met.append(pair.meet())
                    pair.settle()
                found[logs, differ] = median(one.seconds for one in met), median(one.wire_bytes for one in met)
        finally:
            pair.cluster.stop()
    for at, unit, scale in ((0, "ms", 1000), (1, "B", 1)):
        few, lots, wide = (scale * found[key][at] for key in ((1000, 20), (10_000, 20), (10_000, 100)))
        bench.table.add(Row(
            "many", f"20 of 10,000 logs differ: {'bytes' if at else 'time'}", lots, unit, few, "20 of 1,000",
            goal="1.5 x at 10 times the logs", met=lots <= 1.5 * few, note=f"100 of 10,000 differ: {wide:,.0f} {unit}",
        ))  # fmt: skip


# -- gossip ---------------------------------------------------------------------------------------


def gossip(bench: Bench) -> None:
    """Sixteen nodes, all linked, each taking its share of 100 entries a second; a bare TCP flood before and after.

    An entry has arrived where it is durable. What each node's index and its checkpoints cost meanwhile is in it.
    """
    cluster = Cluster.found(bench.folder / "gossip", nodes=_GOSSIP_NODES, officers=_GOSSIP_NODES)
    flooded = flood(_GOSSIP_NODES, _GOSSIP_RATE, _GOSSIP_S / 2)
    try:
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            until(lambda node=node: node.home.socket_path.exists(), WAIT_S, "a node")
        until(lambda: all(number(node, "peers") == _GOSSIP_NODES - 1 for node in cluster.nodes), WAIT_S, "links", 1.0)
        until(cluster.converged, WAIT_S, "equal roots", 0.5)
        before = sum(processor_s(_pid(node)) for node in cluster.nodes)
        late, expected = _gossip(cluster)
        spent = sum(processor_s(_pid(node)) for node in cluster.nodes) - before
    finally:
        cluster.stop()
    flooded += flood(_GOSSIP_NODES, _GOSSIP_RATE, _GOSSIP_S / 2)
    late.sort()
    flooded.sort()
    p99, bare = 1000 * late[int(0.99 * len(late))], 1000 * flooded[int(0.99 * len(flooded))]
    bench.table.add(Row(
        "gossip", f"gossip, {_GOSSIP_NODES} nodes, {_GOSSIP_RATE} entries/s, durable everywhere: p99", p99, "ms", bare,
        "bare TCP flood p99", goal="all delivered, under 250 ms", met=len(late) == expected and p99 < 250,
        note=f"{len(late):,} of {expected:,} delivered, median {1000 * late[len(late) // 2]:.0f} ms"
        f" (flood {1000 * flooded[len(flooded) // 2]:.1f} ms); {1000 * spent / len(late):.2f} ms of processor each",
    ))  # fmt: skip


def _gossip(cluster: Cluster) -> tuple[list[float], int]:
    """Seconds from submitting until each node, the officer's own included, holds the entry; how many to expect."""
    each = _GOSSIP_RATE * _GOSSIP_S // _GOSSIP_NODES
    sent: dict[tuple[PublicKey, int], float] = {}
    expected = each * _GOSSIP_NODES * _GOSSIP_NODES

    def write(index: int) -> None:
        node, author = cluster.nodes[index], cluster.officers[index]
        network_id = node.home.charter().network_id
        place, start = Place(author.public, 0, None), time.perf_counter() + index / _GOSSIP_RATE
        for step in range(each):
            run = sign_run(network_id, author, place, [("record", report(index * 10**6 + step))], 3 + step)
            time.sleep(max(0.0, start + step * _GOSSIP_NODES / _GOSSIP_RATE - time.perf_counter()))
            sent[author.public, step] = time.perf_counter()
            node.ask("submit", key=run.key, seq=run.seq, prev=run.prev, rows=list(run.rows))
            place = open_row(run.rows[0], place).after

    writers = [Thread(target=write, args=(index,)) for index in range(_GOSSIP_NODES)]
    authors = [key.public for key in cluster.officers]
    arrived: list[tuple[PublicKey, int, float]] = []
    with ExitStack() as stack:
        watched = [stack.enter_context(growing(node, authors)) for node in cluster.nodes]
        for thread in writers:
            thread.start()
        give_up = time.perf_counter() + _GOSSIP_S + 30  # the row says how many are missing
        while len(arrived) < expected and time.perf_counter() < give_up:
            for more in watched:
                found, at = more(), time.perf_counter()
                arrived += ((key, seq, at) for key, seq in found)
            time.sleep(_GOSSIP_LOOK_S)
    for thread in writers:
        thread.join()
    return [at - sent[key, seq] for key, seq, at in arrived], expected
