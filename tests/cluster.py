"""Real nodes for tests and benchmarks: homes made through the library, each run by its own process."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from keys.keyfile import KdfCost, KeyOwner, create_key_file
from keys.signing import SigningKey
from ledger.lmdb_store import open_lmdb
from ledger.store import Ledger, create, load
from node.client import request
from node.home import Home, Settings, create_home, peer_id
from node.submit import run_request
from protocol.acts import Certify, encode_act
from protocol.body import encode_record
from protocol.card import Card
from protocol.charter import draft_charter, encode_charter_file, sign_charter
from protocol.codec import Value
from protocol.entry import NetworkId, Place, open_row
from protocol.frame import Run
from protocol.frame import sign_run as sign_drafts

CHEAP = KdfCost(1, 8192)
AGENCIES = ("mia", "ncdc", "scc", "sss")


def seeded(*words: object) -> SigningKey:
    """A key that depends on nothing but its name."""
    from hashlib import sha256

    return SigningKey.from_seed(sha256(repr(words).encode()).digest())


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def charter_file(name: str = "test") -> bytes:
    """A charter of four agencies, signed by all."""
    cards = [Card("agency", seeded(name, agency).public, agency.upper(), agency) for agency in AGENCIES]
    signed = draft_charter(cards, network=name, threshold=3, founded_ms=1, nonce=bytes(16))
    for agency in AGENCIES:
        signed = sign_charter(signed, seeded(name, agency))
    return encode_charter_file(signed)


def sign_run(
    ledger_id: bytes, signer: SigningKey, place: Place, drafts: Sequence[tuple[str, bytes]], time_ms: int
) -> Run:
    """Entries (kind, body) without refs, signed one after another."""
    return sign_drafts(signer, NetworkId(ledger_id), place, [(kind, body, ()) for kind, body in drafts], time_ms)[0]


def seizure(number: int) -> bytes:
    """The body of a seizure report of about 300 bytes, different for every number."""
    fields = {
        "seized_at": f"2026-03-{number % 28 + 1:02d}T10:{number % 60:02d}:00+05:00",
        "region": ("UZ-SU", "UZ-TK", "UZ-SA", "UZ-AN")[number % 4],
        "place": ("Sariosiyo posti", "Termiz", "Denov")[number % 3],
        "items": [{"substance": "heroin", "form": "powder", "amount": str(number), "unit": "g"}],
        "counting_agency": ("mia", "scc", "sss")[number % 3],
        "declaration_no": f"{number:08d}/{number * 7919 % 99991}",
        "detection": "rentgen",
        "vehicles": [f"01A{number % 1000:03d}BC"],
        "narrative": f"report {number}, word{number * 104729 % 1000003}",
    }
    return encode_record("seizure", fields)


@dataclass
class Node:
    """A node of the cluster."""

    name: str
    home: Home
    key: SigningKey
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    prefix: tuple[str, ...] = ()  # of its command: where it runs
    before: Callable[[], None] | None = None  # run in its process before it starts

    def start(self) -> None:
        """Start its process; `Cluster.ready` waits for it."""
        command = [*self.prefix, sys.executable, "-m", "node.cli", "--home", str(self.home.path), "run"]
        with (self.home.path / "output").open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True,
                preexec_fn=self.before,  # noqa: PLW1509  one system call
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9, now."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, wait_s: float = 10.0) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(wait_s)

    def ask(self, op: str, **fields: Value) -> Value:
        """One request on its control socket."""
        return request(self.home.socket_path, {"op": op, **fields})

    def status(self) -> dict[str, Value]:
        """What it says of itself."""
        found = self.ask("status")
        assert isinstance(found, dict)
        return found

    def memory_bytes(self) -> int:
        """Resident memory now, bytes: all of it, the mapped store included."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Cluster:
    """A founded network: nodes with homes, officers with keys, all certified, none running yet."""

    folder: Path
    nodes: list[Node] = field(default_factory=list)
    officers: list[SigningKey] = field(default_factory=list)
    charter: bytes = b""

    @classmethod
    def found(
        cls, folder: Path, nodes: int, officers: int = 1, *, agencies: Sequence[str] = ("mia",),
        hosts: Sequence[str] | None = None, **settings: int,
    ) -> "Cluster":  # fmt: skip
        """Make it. Every home holds all certificates and every other node's address.

        agencies: the officers' in turn; those of the first serve at unit-0, of the second at unit-1, and so on.
        hosts: each node's address, where each has its own; else all are at 127.0.0.1.
        """
        cluster = cls(folder, charter=charter_file())
        ports = free_ports(nodes) if hosts is None else [4090] * nodes
        hosts = hosts or ["127.0.0.1"] * nodes
        keys = [seeded("node", number) for number in range(nodes)]
        cluster.officers = [seeded("officer", number) for number in range(officers)]
        addresses = [
            f"/ip4/{host}/tcp/{port}/p2p/{peer_id(key.public)}"
            for host, port, key in zip(hosts, ports, keys, strict=True)
        ]
        drafts = [
            ("act", encode_act(Certify(key.public, "node", f"node-{number}", "mia", f"unit-{number}", ())))
            for number, key in enumerate(keys)
        ]
        by_agency = {"mia": drafts}
        for number, key in enumerate(cluster.officers):
            at = number % len(agencies)
            act = Certify(key.public, "officer", f"officer {number}", agencies[at], f"unit-{at}", ("officer",))
            by_agency.setdefault(agencies[at], []).append(("act", encode_act(act)))
        for number, (host, key, port) in enumerate(zip(hosts, keys, ports, strict=True)):
            others = tuple(address for address in addresses if not address.endswith(peer_id(key.public)))
            listen = (f"/ip4/{host}/tcp/{port}",)
            home = create_home(
                folder / f"node-{number}", cluster.charter, Settings(listen=listen, peers=others, **settings)
            )
            owner = KeyOwner(key.public, "node", f"node-{number}", "mia", f"unit-{number}")
            create_key_file(home.key_path, key, b"", owner, cost=CHEAP)
            with closing(open_lmdb(home.store_path)) as storage:
                ledger = create(storage, cluster.charter)
                for agency, acts in by_agency.items():
                    root = seeded("test", agency)
                    run = sign_run(ledger.network_id, root, Place(root.public, 0, None), acts, 1)
                    result = ledger.commit([(run,)])
                    assert result.outcomes[0].refused is None
                    ledger.apply(result)
            cluster.nodes.append(Node(f"node-{number}", home, key, port))
        return cluster

    def fill(self, node: Node, count: int) -> None:
        """Write `count` seizures, spread over the officers, into the store of a node that is not running."""
        with closing(open_lmdb(node.home.store_path)) as storage:
            ledger = load(storage)
            for number, officer in enumerate(self.officers):
                share = range(number, count, len(self.officers))
                place = self.place(ledger, officer)
                for start in range(0, len(share), 1000):
                    drafts = [("record", seizure(item)) for item in share[start : start + 1000]]
                    run = sign_run(ledger.network_id, officer, place, drafts, 2)
                    result = ledger.commit([(run,)])
                    assert result.outcomes[0].refused is None
                    ledger.apply(result)
                    place = self.place(ledger, officer)

    @staticmethod
    def place(ledger: Ledger, officer: SigningKey) -> Place:
        """Where the officer's next entry goes."""
        head = ledger.heads.get(officer.public)
        return Place(officer.public, head.size, head.id)

    def write(self, node: Node, officer: SigningKey, bodies: Sequence[bytes]) -> dict[str, Value]:
        """An officer writes through a running node; returns the node's answer: what it says is durable."""
        answer = request(node.home.socket_path, run_request(self._sign(node, officer, bodies)))
        assert isinstance(answer, dict)
        return answer

    def write_ids(self, node: Node, officer: SigningKey, bodies: Sequence[bytes]) -> list[bytes]:
        """Like `write`; returns the ids of the entries that the node has acknowledged."""
        run = self._sign(node, officer, bodies)
        answer = request(node.home.socket_path, run_request(run))
        assert isinstance(answer, dict)
        assert answer["admitted"] == len(bodies)
        ids, place = [], run.place
        for row in run.rows:
            entry = open_row(row, place)
            ids.append(bytes(entry.id))
            place = entry.after
        return ids

    @staticmethod
    def _sign(node: Node, officer: SigningKey, bodies: Sequence[bytes]) -> Run:
        prepared = node.ask("prepare", key=officer.public)
        assert isinstance(prepared, dict)
        prev, seq, network_id = prepared["prev"], prepared["seq"], prepared["network_id"]
        place = Place(officer.public, seq, prev)  # type: ignore[arg-type]
        assert isinstance(network_id, bytes)
        return sign_run(network_id, officer, place, [("record", body) for body in bodies], 3)

    def start(self, nodes: Sequence[Node] | None = None, *, linked: bool = True) -> None:
        """Start nodes and wait until they serve, and have links to all others that run."""
        started = self.nodes if nodes is None else nodes
        for node in started:
            node.start()
        for node in started:
            self.ready(node)
        if linked:
            running = [node for node in self.nodes if node.process is not None and node.process.poll() is None]
            until(lambda: all(node.status()["peers"] == len(running) - 1 for node in running), 40, "links")

    def ready(self, node: Node) -> None:
        """Wait until the node answers."""

        def answers() -> bool:
            assert node.process is not None
            assert node.process.poll() is None, (node.home.path / "output").read_text()
            try:
                node.status()
            except Exception:  # not yet
                return False
            return True

        until(answers, 40, f"{node.name} serves")

    def converged(self) -> bool:
        """Whether all nodes have one root now."""
        return len({str(node.status()["root"]) for node in self.nodes}) == 1

    def stop(self) -> None:
        """End all processes."""
        for node in self.nodes:
            node.kill()


def until(true: Callable[[], bool], wait_s: float, what: str, poll_s: float = 0.01) -> float:
    """Wait until `true()`; returns how long it took, seconds; fails after `wait_s`."""
    start = time.perf_counter()
    while not true():
        if time.perf_counter() - start > wait_s:
            raise AssertionError(f"waited {wait_s} s in vain for: {what}")
        time.sleep(poll_s)
    return time.perf_counter() - start
