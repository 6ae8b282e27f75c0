"""The run: nodes, faults, the two crimes, and what must hold once everything is well again."""

import ctypes
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from keys.errors import AdmissionError, HamkorError
from ledger.lmdb_store import open_lmdb
from ledger.store import load
from node.client import _Daemon, write
from node.daemon import _DIAL_WAIT_S
from node.engine.engine import EngineSettings
from node.transport import TransportLimits
from protocol.acts import Revoke, encode_act
from protocol.entry import EntryId
from tests.cluster import Cluster, Node, seeded
from tests.soak.net import Loopback, Spaces
from tests.soak.officers import Officer, copied, make_officer
from tests.soak.plan import Acknowledged, Fault, Plan, expected

OFFICERS = 6  # the first is revoked, the second's key is copied
SYNC_S = 10
# After the last fault: a node dials an address again after the longest pause, the dial takes its time, a link that is
# dead and does not look it is dropped when silent, what was asked of it is asked of another, and two syncs bring
# what gossip did not.
CONVERGE_S = (
    _DIAL_WAIT_S[-1] * 1.2 + TransportLimits().dial_timeout_s
    + (EngineSettings().silent_after_ms + EngineSettings().want_wait_ms) / 1000 + 2 * SYNC_S
)  # fmt: skip
CALM_S = 3.0  # equal roots count once they have stayed so: nodes write entries of their own
CRIME_WAIT_S = 90.0  # for each step of a crime: what it needs comes after any fault
START_S = 60.0
GROWTH_BASE_BYTES = 24 << 20  # the allocator's, and what the interpreter loads late
FDS_MORE_MAX = 8  # descriptors above the idle node's: a client, a file being written


class Soak:
    """One run. `problems` says what was wrong, one sentence each."""

    def __init__(self, folder: Path, seed: int, seconds: float, plan: Plan, net: Spaces | Loopback) -> None:
        self.folder, self.seed, self.seconds, self.plan, self.net = folder, seed, seconds, plan, net
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.figures: dict[str, str] = {}
        self.officers: list[Officer] = []
        self.ends: dict[int, tuple[int, str]] = {}  # officer -> the first seq that does not count, and what it is
        self.peak_bytes = 0
        self.cluster = Cluster(folder)
        self._taken: set[int] = set()  # nodes with a fault now
        self._lock = threading.Lock()
        self._starting: dict[int, float] = {}  # node -> must answer by
        self._restarts: Counter[int] = Counter()

    @property
    def nodes(self) -> list[Node]:
        """All nodes."""
        return self.cluster.nodes

    def play(self) -> None:
        """Everything, in order."""
        self._found()
        idle = [usage(node) for node in self.nodes]
        crimes = threading.Thread(target=self._crimes, daemon=True)
        for thread in (*self.officers, crimes):
            thread.start()
        self._faults(crimes)
        stopped = time.monotonic()
        for officer in self.officers:
            officer.stop()
        for officer in self.officers:
            officer.join(CONVERGE_S)
            self.problems += officer.problems
            if officer.is_alive():
                self.problems.append(f"{officer.name} still waits for an answer")
        if not any(officer.by_command for officer in self.officers):
            self.problems.append("no record was written by the command line")
        converged = self._settle(stopped)
        if converged:
            self._hand_in()
            self._settle(time.monotonic())
        self._ask_nodes(idle)
        self._read_stores()
        self._read_logs()
        self._audit()

    def _found(self) -> None:
        self.cluster = Cluster.found(
            self.folder / "n", len(self.plan.shapes), OFFICERS, hosts=self.net.hosts, sync_interval_s=SYNC_S
        )
        libc = ctypes.CDLL(None)
        for number, node in enumerate(self.nodes):
            node.prefix = self.net.prefix(number)
            node.before = lambda: libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no node outlives the run
        homes = [node.home for node in self.nodes]
        (self.folder / "o").mkdir()
        self.officers = [
            make_officer(self.folder / "o" / str(number), number, key, homes, self.seed)
            for number, key in enumerate(self.cluster.officers)
        ]
        self.cluster.start()
        self._calm(CONVERGE_S)

    # -- faults -----------------------------------------------------------------------------------

    def _faults(self, crimes: threading.Thread) -> None:
        """What the plan says, in its order, until the time is over; then everything is made well."""
        end = time.monotonic() + self.seconds
        queue = list(self.plan.faults)
        begun: list[tuple[float, Fault]] = []
        ready_at = time.monotonic() + queue[0].gap_s
        sampled = 0.0
        every_kind = {fault.kind for fault in queue}
        while time.monotonic() < end or crimes.is_alive() or not every_kind <= set(self.counts):
            now = time.monotonic()
            for due, fault in [item for item in begun if item[0] <= now]:
                self._end(fault)
                begun.remove((due, fault))
            self._watch_starts()
            if queue and now >= ready_at and self._take(queue[0].nodes):
                fault = queue.pop(0)
                self._begin(fault)
                begun.append((now + fault.lasts_s, fault))
                ready_at = now + (queue[0].gap_s if queue else 0.0)
            if now - sampled > 1.0:
                sampled = now
                self._sample()
            time.sleep(0.05)
        for _, fault in begun:
            self._end(fault)
        while self._starting:
            self._watch_starts()
            time.sleep(0.05)

    def _take(self, numbers: tuple[int, ...]) -> bool:
        with self._lock:
            if self._taken & set(numbers):
                return False
            self._taken |= set(numbers)
            return True

    def _give_back(self, numbers: tuple[int, ...]) -> None:
        with self._lock:
            self._taken -= set(numbers)

    def _begin(self, fault: Fault) -> None:
        self.counts[fault.kind] += 1
        node = self.nodes[fault.nodes[0]]
        assert node.process is not None
        match fault.kind:
            case "kill":
                node.kill()
            case "term":
                if (status := node.stop(30.0)) != 0:
                    self.problems.append(f"{node.name} ended with {status} on SIGTERM")
            case "stop":
                node.process.send_signal(signal.SIGSTOP)
            case "cut":
                self.net.cut(self.nodes, fault.nodes)
            case "part":
                self.net.part(self.nodes, fault.nodes)

    def _end(self, fault: Fault) -> None:
        node = self.nodes[fault.nodes[0]]
        assert node.process is not None
        match fault.kind:
            case "kill" | "term":
                self._start(fault.nodes[0])
                return  # its node is given back when it answers
            case "stop":
                node.process.send_signal(signal.SIGCONT)
            case _:
                self.net.heal(self.nodes, fault.nodes)
        self._give_back(fault.nodes)

    def _start(self, number: int) -> None:
        self.nodes[number].start()
        self._starting[number] = time.monotonic() + START_S

    def _watch_starts(self) -> None:
        for number, deadline in list(self._starting.items()):
            node = self.nodes[number]
            assert node.process is not None
            if node.process.poll() is not None and self._restarts[number] < 20:
                self._restarts[number] += 1  # an officer's command had the store: the daemon says so; once more
                self._start(number)
                continue
            with suppress(HamkorError):
                node.status()
                del self._starting[number]
                self._give_back((number,))
                continue
            if time.monotonic() > deadline:
                del self._starting[number]
                self.problems.append(f"{node.name} does not answer {START_S:.0f} s after its start")

    def _sample(self) -> None:
        for node in self.nodes:
            with suppress(OSError, ValueError, IndexError):
                self.peak_bytes = max(self.peak_bytes, node.memory_bytes())

    # -- the two crimes ---------------------------------------------------------------------------

    def _crimes(self) -> None:
        began = time.monotonic()
        for share, name, crime in ((0.2, "revocation", self._revocation), (0.5, "copied key", self._equivocation)):
            time.sleep(max(0.0, began + share * self.seconds - time.monotonic()))
            try:
                crime()
            except Exception as error:  # a crime that fails must not be missed, whatever it was
                self.problems.append(f"the {name} did not come about: {type(error).__name__}: {error}")
            else:
                self.counts[name] += 1

    def _revocation(self) -> None:
        """The first officer's key is revoked while they write on a node that is cut off."""
        officer, place = self.officers[0], self.plan.cut_off
        with self._taken_node(place):
            self._write_on(officer, place, 1)
            self.net.cut(self.nodes, (place,))
            try:
                self._write_on(officer, place, 2)
                self._revoke(officer, place)
                self._write_on(officer, place, 2)
            finally:
                self.net.heal(self.nodes, (place,))
        officer.only(range(len(self.nodes)))

    def _revoke(self, officer: Officer, place: int) -> None:
        """The agency's root cuts the log off at what another node holds of it now."""
        root = seeded("test", "mia")
        path = self.folder / "o" / "root.key"
        path.write_bytes(b"")  # `write` locks it and keeps the mark beside it
        head: list[tuple[int, bytes | None]] = []  # as it was first told: a second attempt signs the same act

        def written() -> bool:
            others = [node for number, node in enumerate(self.nodes) if number != place and number not in self._taken]
            for node in others:
                with suppress(HamkorError):
                    if not head:
                        found = node.ask("prepare", key=officer.key.public)
                        assert isinstance(found, dict)
                        head.append((found["seq"], found["prev"]))  # type: ignore[arg-type]
                    size, last = head[0]
                    cutoff = (size - 1, EntryId(last)) if last is not None else (0, None)
                    act = encode_act(Revoke(officer.key.public, *cutoff, "left the service"))
                    write(_Daemon(node.home), root, path, "act", [("act", act, ())])
                    self.ends[officer.number] = (size, "void")
                    return True
            return False

        self._wait(written, "the revocation is written")

    def _equivocation(self) -> None:
        """The second officer's key is used in two homes, on nodes that do not hear each other."""
        officer, place = self.officers[1], self.plan.second
        others = [number for number in range(len(self.nodes)) if number != place]
        with self._taken_node(place):
            self._write_on(officer, place, 1)
            officer.rest()
            self._wait(lambda: self._spread(officer, place), "the officer's log is known elsewhere")
            self.net.cut(self.nodes, (place,))
            try:
                thief = copied(officer, self.folder / "o" / "copy", self.seed)
                thief.only([place])
                before = officer.count(others)
                officer.only(others)
                officer.go()
                self._wait(lambda: officer.count(others) >= before + 2, "the owner writes on")
                self.officers.append(thief)
                thief.start()
                self._wait(lambda: thief.count([place]) >= 2, "the copy is written with")
            finally:
                officer.go()
                self.net.heal(self.nodes, (place,))

    def _spread(self, officer: Officer, place: int) -> bool:
        """Whether the other nodes that answer hold as much of the log as the node at `place`."""
        sizes = []
        for number, node in enumerate(self.nodes):
            if number == place or number not in self._taken:
                found = node.ask("prepare", key=officer.key.public)
                assert isinstance(found, dict)
                sizes.append(found["seq"])
        return len(sizes) > 1 and len(set(sizes)) == 1

    def _write_on(self, officer: Officer, place: int, count: int) -> None:
        officer.only([place])
        before = officer.count([place])
        self._wait(lambda: officer.count([place]) >= before + count, f"{officer.name} writes on node {place}")

    @contextmanager
    def _taken_node(self, place: int) -> Iterator[None]:
        self._wait(lambda: self._take((place,)), f"node {place} is well")
        try:
            yield
        finally:
            self._give_back((place,))

    @staticmethod
    def _wait(true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + CRIME_WAIT_S
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {CRIME_WAIT_S:.0f} s until {what}")
            time.sleep(0.05)

    # -- what must hold ---------------------------------------------------------------------------

    def _calm(self, wait_s: float) -> float | None:
        """When all roots became equal, once they have stayed so for CALM_S; None after `wait_s`."""
        deadline = time.monotonic() + wait_s
        since, last = time.monotonic(), ""
        while True:
            roots = {str(node.status()["root"]) for node in self.nodes}
            now = time.monotonic()
            if len(roots) != 1 or last not in roots:
                since, last = now, min(roots)
            elif now - since > CALM_S:
                return since
            if now > deadline + CALM_S:
                return None
            time.sleep(0.1)

    def _settle(self, since: float) -> bool:
        reached = self._calm(CONVERGE_S)
        if reached is None:
            told = [(node.name, node.status()) for node in self.nodes]
            roots = [f"{name} {str(status['root'])[:12]} of {status['entries']}" for name, status in told]
            self.problems.append(f"the roots differ {CONVERGE_S:.0f} s after the last fault: {', '.join(roots)}")
        else:
            self.figures.setdefault("converged after", f"{max(0.0, reached - since):.1f} s (bound {CONVERGE_S:.0f})")
        return reached is not None

    def _hand_in(self) -> None:
        """What was signed and never answered is handed in, as each officer's next command would."""
        for officer in self.officers:
            if (why := officer.hand_in()):
                self.problems.append(f"{officer.name} cannot go on: {why}")

    def _ask_nodes(self, idle: list[tuple[int, int]]) -> None:
        """Ask every running node for its forks, its health and what does not count."""
        thieves = {self.officers[1].key.public.hex()} if "copied key" in self.counts else set()
        bound = GROWTH_BASE_BYTES + len(self.nodes) * (
            TransportLimits().queue_bytes_max + TransportLimits().window_bytes
        )
        rows = []
        for number, (node, (before, fds_before)) in enumerate(zip(self.nodes, idle, strict=True)):
            forks = node.ask("forks")
            assert isinstance(forks, list)
            known = {str(row["author"]["key"]): row["seq"] for row in forks}  # type: ignore[index,call-overload]
            if set(known) != thieves:
                self.problems.append(f"{node.name} knows forks of {sorted(known)}, not of {sorted(thieves)}")
            for seq in known.values():
                self.ends.setdefault(1, (int(str(seq)), "disputed"))
                if self.ends[1][0] != seq:
                    self.problems.append(f"{node.name} puts the fork at {seq}, another node at {self.ends[1][0]}")
            if (failure := node.status()["failure"]) is not None:
                self.problems.append(f"{node.name} has failed: {failure}")
            size, fds = usage(node)
            rows.append(f"{before >> 20}->{size >> 20}")
            if size > before + bound:
                self.problems.append(f"{node.name} grew from {before >> 20} to {size >> 20} MiB, by over {bound >> 20}")
            if fds > fds_before + FDS_MORE_MAX:
                self.problems.append(f"{node.name} has {fds} descriptors open, {fds_before} when idle")
            self._shown(number, node)
            crimes = zip(("revocation", "copied key"), ("revoked", "forked"), self.officers[:2], strict=True)
            for crime, reason, officer in crimes:
                if crime in self.counts and (told := refusal(node, officer)) != reason:
                    self.problems.append(f"{node.name} lets officer {officer.number} write: {told or 'no refusal'}")
        self.figures["memory of its own, MiB"] = f"{' '.join(rows)} idle->end (bound {bound >> 20} more)"
        self.figures["resident at most, MiB"] = f"{self.peak_bytes >> 20}, the mapped store included"
        banned = [node.name for node in self.nodes if re.search("'banned': True", str(node.ask("peers")))]
        if banned:
            self.problems.append(f"honest nodes are banned by {', '.join(banned)}")

    def _shown(self, number: int, node: Node) -> None:
        """What an officer is shown of entries that do not count, and of the last that do."""
        mine = [known for known in self._all() if known.node == number]
        outside = [known for known in mine if known.seq >= self.ends.get(known.officer, (1 << 53, ""))[0]]
        for known in outside[:50] + mine[-20:]:
            view = node.ask("show", prefix=known.id.hex())
            status = str(view["status"]) if isinstance(view, dict) else ""
            self._judge(status, known, f"as {node.name} shows it")

    def _all(self) -> list[Acknowledged]:
        return [known for officer in self.officers for known in officer.acknowledged]

    def _judge(self, status: str, known: Acknowledged, where: str) -> None:
        if wrong := expected(status, known, self.ends):
            entry = f"entry {known.seq} of officer {known.officer} ({known.id.hex()[:12]})"
            self.problems.append(f"{entry} {wrong}, {where}")

    def _read_stores(self) -> None:
        """Stop the nodes; look for every acknowledged entry on every disk."""
        for node in self.nodes:
            if (status := node.stop(30.0)) != 0:
                self.problems.append(f"{node.name} ended with {status} on SIGTERM")
        outside: Counter[str] = Counter()
        for number, node in enumerate(self.nodes):
            with closing(open_lmdb(node.home.store_path, readonly=True)) as storage:
                ledger = load(storage)
                for known in self._all():
                    entry = ledger.entry(EntryId(known.id))
                    status = ledger.status(entry) if entry is not None else ""
                    counts = known.seq < self.ends.get(known.officer, (1 << 53, ""))[0]
                    if counts or known.node == number or status:
                        self._judge(status, known, f"on the disk of {node.name}")
                    if not counts and known.node == number:
                        outside[self.ends[known.officer][1]] += 1
                self.figures["entries on each node"] = f"{ledger.entries} that count"
        for what in ("void", "disputed"):
            self.figures[f"acknowledged, then {what}"] = str(outside[what])

    def _read_logs(self) -> None:
        """No traceback; errors are counted by what they say."""
        told: Counter[str] = Counter()
        for node in self.nodes:
            for path in (*node.home.path.glob("hamkor.log*"), node.home.path / "output"):
                text = path.read_text(errors="replace")
                if "Traceback" in text:
                    self.problems.append(f"{path} holds a traceback: {text[text.index('Traceback') :][:300]!r}")
                for line in text.splitlines():
                    if line.startswith("{") and '"level": "error"' in line:
                        event = json.loads(line)
                        told[f"{event['event']}: {str(event.get('error', ''))[:80]}"] += 1
        self.figures["errors in the logs"] = "; ".join(f"{count} x {what}" for what, count in told.items()) or "none"

    def _audit(self) -> None:
        """`hamkor audit` of two homes: where nothing was cut off by a crime, and where the revoked officer wrote on."""
        charter = self.folder / "charter"
        charter.write_bytes(self.cluster.charter)
        meant = {("fork", self.officers[1].key.public.hex()), ("disputed", self.officers[1].key.public.hex()),
                 ("void", self.officers[0].key.public.hex())}  # fmt: skip
        said = []
        for number in (0, self.plan.cut_off):
            home = self.nodes[number].home.path
            command = [sys.executable, "-m", "node.cli", "audit", str(home), "--charter", str(charter), "--json"]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode not in (0, 1):
                self.problems.append(f"the audit of node {number} could not be made: {done.stderr[-300:]}")
                continue
            found = json.loads(done.stdout)
            for finding in (*found["faults"], *found["notes"]):
                if (finding["kind"], finding["key"]) not in meant:
                    self.problems.append(f"the audit of node {number} finds {finding['kind']}: {finding['detail']}")
            said.append(f"node {number}: {found['signatures']} signatures, {found['fault_count']} faults, "
                        f"{found['note_count']} notes, all meant")  # fmt: skip
        self.figures["audit"] = "; ".join(said)

    def close(self) -> None:
        """End every node; nothing is left running, stopped ones included."""
        for officer in self.officers:
            officer.stop()
        for node in self.nodes:
            node.kill()


def refusal(node: Node, officer: Officer) -> str:
    """Why a node would not let an officer write, "" where it would."""
    try:
        node.ask("prepare", key=officer.key.public)
    except AdmissionError as error:
        return error.reason
    return ""


def usage(node: Node) -> tuple[int, int]:
    """(memory of its own in bytes, the mapped store left out; open descriptors)."""
    assert node.process is not None
    place = Path(f"/proc/{node.process.pid}")
    own = re.search(r"RssAnon:\s+(\d+) kB", (place / "status").read_text())
    assert own is not None
    return int(own[1]) * 1024, sum(1 for _ in (place / "fd").iterdir())
