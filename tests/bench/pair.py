"""Two node processes that meet and part, seen from outside: control socket, their stores, the kernel's counters."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from keys.signing import PublicKey, SigningKey
from ledger.held import log_of
from ledger.lmdb_store import open_lmdb
from ledger.store import load
from protocol.codec import Value
from protocol.entry import EntryId, Place, make_header
from tests.bench.wire import connections, tcp_bytes
from tests.bench.work import certify, fill, report
from tests.cluster import Cluster, Node, seeded, until

WAIT_S = 1200.0  # on a busy machine, a million entries


@dataclass(frozen=True, slots=True)
class Met:
    """What a meeting cost."""

    seconds: float  # from the kernel's connection until all that was expected is durable at the other node
    wire_bytes: int  # both ways, from the handshake on
    message_bytes: int  # both ways, of messages alone


class Pair:
    """A cluster of two nodes; `first` holds more."""

    def __init__(self, cluster: Cluster, second: int = 1) -> None:
        self.cluster = cluster
        self.first, self.second = cluster.nodes[0], cluster.nodes[second]
        self.ports = (self.first.port, self.second.port)  # either may dial
        self._written: list[PublicKey] = []  # the logs that `write` made longer last

    def link(self) -> float:
        """Let them meet; returns when the kernel had the connection, on the clock of `time.perf_counter`."""
        for node in (self.second, self.first):
            node.ask("links", up=True)
        until(lambda: self.connected, WAIT_S, "a connection", poll_s=0.0005)
        return time.perf_counter()

    def part(self) -> None:
        """Close the link and keep it closed."""
        for node in (self.first, self.second):
            node.ask("links", up=False)
        until(lambda: not self.connected, 60, "no connection")

    @property
    def connected(self) -> bool:
        """Whether a connection is there, in the kernel's eyes."""
        return any(map(connections, self.ports))

    def wire_bytes(self) -> int:
        """Of the connection that is open, both ways."""
        return sum(map(tcp_bytes, self.ports))

    def message_bytes(self) -> int:
        """Of all messages so far, both ways."""
        return sum(number(self.first, name) for name in ("bytes_sent", "bytes_received"))

    def settle(self) -> None:
        """Wait until both hold the same and have nothing to index."""
        until(lambda: self.first.status()["root"] == self.second.status()["root"], WAIT_S, "equal roots")
        for node in (self.first, self.second):
            until(lambda node=node: number(node, "projected") >= number(node, "entries"), WAIT_S, "the index")

    def meet(self) -> Met:
        """Link them, and wait until the second holds what was written last at the first; they are apart before."""
        before = self.message_bytes()
        with following(self.first, self.second, self._written) as holds:
            start = self.link()
            until(holds, WAIT_S, "what is new", poll_s=0.001)
            seconds = time.perf_counter() - start
        until(lambda: self.first.status()["root"] == self.second.status()["root"], 60, "equal roots")
        return Met(seconds, self.wire_bytes(), self.message_bytes() - before)

    def write(self, authors: Sequence[SigningKey], each: int, first: int) -> int:
        """Let authors write reports at the first node; returns the bytes of the entries as they are signed."""
        size = 0
        self._written = [author.public for author in authors]
        for at, author in enumerate(authors):
            bodies = [report(first + at * each + step) for step in range(each)]
            self.cluster.write(self.first, author, bodies)
            size += sum(entry_bytes(body) for body in bodies)
        return size


def entry_bytes(body: bytes) -> int:
    """The bytes of a signed entry with that body: header, signature, body (SPEC.md 3)."""
    place = Place(PublicKey(bytes(32)), 1000, EntryId(bytes(32)))
    return len(make_header(place, [], "record", None, len(body), bytes(32), 3)) + 64 + len(body)


@contextmanager
def holding(node: Node, entries: int) -> Iterator[Callable[[], bool]]:
    """Tells whether that many entries are durable at a node, from its store: that costs the node nothing."""
    with closing(open_lmdb(node.home.store_path, readonly=True)) as storage:

        def holds() -> bool:
            with storage.read() as txn:
                return int.from_bytes(txn.get("meta", b"arrival") or b"", "big") >= entries

        yield holds


@contextmanager
def following(source: Node, target: Node, logs: Sequence[PublicKey]) -> Iterator[Callable[[], bool]]:
    """Tells whether as much of these logs is durable at the target as now at the source, from their stores."""
    stores = (node.home.store_path for node in (source, target))
    here, there = (open_lmdb(path, readonly=True) for path in stores)
    with closing(here), closing(there):
        with here.read() as view:
            wanted = [(key, log.size) for key in logs if (log := log_of(view, key)) is not None]

        def holds() -> bool:
            with there.read() as view:
                return all((log := log_of(view, key)) is not None and log.size >= size for key, size in wanted)

        yield holds


@contextmanager
def growing(node: Node, logs: Sequence[PublicKey]) -> Iterator[Callable[[], list[tuple[PublicKey, int]]]]:
    """Tells which entries of these logs have become durable at a node since it was asked last, from its store."""
    with closing(open_lmdb(node.home.store_path, readonly=True)) as storage:
        sizes, arrival = dict.fromkeys(logs, 0), b""

        def more() -> list[tuple[PublicKey, int]]:
            nonlocal arrival
            found: list[tuple[PublicKey, int]] = []
            with storage.read() as view:
                before, arrival = arrival, view.get("meta", b"arrival") or b""
                for key in logs if arrival != before else ():
                    log = log_of(view, key)
                    size = 0 if log is None else log.size
                    found += ((key, seq) for seq in range(sizes[key], size))
                    sizes[key] = size
            return found

        yield more


def number(node: Node, name: str) -> int:
    """A number of a node's status."""
    found: Value = node.status()[name]
    assert isinstance(found, int)
    return found


def many_logs(folder: Path, logs: int, **settings: int) -> tuple[Pair, list[SigningKey]]:
    """Two nodes that hold the same: one report in each of so many logs. Neither is running."""
    cluster = Cluster.found(folder, nodes=2, officers=1, **settings)
    officers = [seeded("many", at) for at in range(logs)]
    first, second = cluster.nodes
    with closing(open_lmdb(first.home.store_path)) as storage:
        certify(load(storage), officers)
    fill(first, officers, logs)
    copy_store(first, second)
    return Pair(cluster), officers


def copy_store(source: Node, target: Node) -> None:
    """Give a node that is not running the store of another."""
    shutil.copy(source.home.store_path / "data.mdb", target.home.store_path / "data.mdb")
