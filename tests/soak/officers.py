"""Officers who write all the time, each with a key file and a high-water mark, on whichever node they come to."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

from keys.errors import AdmissionError, BusyError, HamkorError, HomeError, LocalError, MarkError
from keys.keyfile import KeyOwner, create_key_file
from keys.mark import Mark
from keys.signing import SigningKey
from node.client import _Daemon, mark_path, resubmit, write
from node.home import Home
from protocol.body import encode_step
from protocol.entry import EntryId
from protocol.frame import Draft
from tests.cluster import CHEAP, seizure
from tests.soak.plan import Acknowledged

PAUSE_S = 0.3  # between two writes of one officer, on average
BATCH_MAX = 4
STEP_SHARE = 0.25  # of writes: comments on what the officer wrote before
CLI_SHARE = 0.04  # of writes: by a process of the command line, as a person would
FIRST_SHARE = 0.3  # the same, until one of an officer's has succeeded: short runs see it too


class Officer(threading.Thread):
    """One key in one home. `stop` ends it; what it has seen is read when it has ended, counts at any time."""

    def __init__(self, number: int, key: SigningKey, key_path: Path, homes: list[Home], rng: Random) -> None:
        super().__init__(daemon=True, name=f"officer {number} {key_path.parent.name}")
        self.number, self.key, self.key_path = number, key, key_path
        self.acknowledged: list[Acknowledged] = []
        self.waits_s: list[float] = []
        self.refusals: Counter[str] = Counter()
        self.problems: list[str] = []
        self.written = 0  # entries handed in, answered or not
        self.by_command = 0  # of those acknowledged
        self.ended = ""  # the reason for which its log was closed
        self._homes, self._rng = homes, rng
        self._only: tuple[int, ...] = tuple(range(len(homes)))
        self._stop_now, self._go = threading.Event(), threading.Event()
        self._turn = threading.Lock()  # held while it writes
        self._report = rng.randrange(1 << 30)
        self._go.set()

    def only(self, nodes: Iterable[int]) -> None:
        """From its next write on it uses these nodes and no other."""
        with self._turn:
            self._only = tuple(nodes)

    def rest(self) -> None:
        """Return once it is between two writes; it goes on with `go`."""
        self._go.clear()
        with self._turn:
            return

    def go(self) -> None:
        """Write on."""
        self._go.set()

    def stop(self) -> None:
        """Write no more."""
        self._stop_now.set()
        self._go.set()

    def count(self, nodes: Iterable[int]) -> int:
        """How many of its entries these nodes have acknowledged."""
        wanted = set(nodes)
        return sum(known.node in wanted for known in list(self.acknowledged))

    def run(self) -> None:
        while not self._stop_now.wait(self._rng.expovariate(1 / PAUSE_S)):
            self._go.wait()
            if self._stop_now.is_set():
                return
            with self._turn:
                self._write(self._rng.choice(self._only))
            if self.ended:
                return

    def _write(self, number: int) -> None:
        try:
            if self._rng.random() < (CLI_SHARE if self.by_command else FIRST_SHARE):
                self.written += 1
                ids = self._command(number)
                self.by_command += len(ids)
            else:
                drafts = self._drafts()
                self.written += len(drafts)
                began = time.perf_counter()
                ids = write(_Daemon(self._homes[number]), self.key, self.key_path, drafts[0][0], drafts)
                self.waits_s.append(time.perf_counter() - began)
        except HamkorError as error:
            self._refused(error)
            return
        last = Mark.open(mark_path(self.key_path), self.key.public).seq
        assert last is not None
        for at, known in enumerate(ids):
            self.acknowledged.append(Acknowledged(self.number, last - len(ids) + 1 + at, bytes(known), number))

    def _drafts(self) -> list[Draft]:
        if self.acknowledged and self._rng.random() < STEP_SHARE:
            record = EntryId(self.acknowledged[-1].id)
            remark = {"text": f"remark {self._rng.randrange(10**6)}"}
            return [("step", encode_step(record, "comment", remark), (record,))]
        count = self._rng.randint(1, BATCH_MAX)
        self._report += count
        return [("record", seizure(self._report + at), ()) for at in range(count)]

    def _command(self, number: int) -> list[EntryId]:
        """`hamkor add`; the ids it prints."""
        self._report += 1
        reading, writing = os.pipe()
        os.write(writing, b"\n")
        os.close(writing)
        words = ["--home", str(self._homes[number].path), "add", "intel", f"report_no={self._report}",
                 "reporting_unit=unit-0", "source_grade=B", "info_grade=2", f"narrative=word{self._report}",
                 "--key", str(self.key_path), "--passphrase-fd", str(reading), "--json"]  # fmt: skip
        try:
            done = subprocess.run(
                [sys.executable, "-m", "node.cli", *words], check=False, capture_output=True, text=True,
                pass_fds=(reading,), timeout=120,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BusyError("the command did not end within two minutes") from None
        finally:
            os.close(reading)
        if done.returncode == 0:
            return [EntryId(bytes.fromhex(known)) for known in json.loads(done.stdout)["ids"]]
        said = done.stderr.strip()[-600:]
        if done.returncode == MarkError.exit_code:
            raise MarkError(said)
        if done.returncode in (BusyError.exit_code, AdmissionError.exit_code):
            raise BusyError(said)  # the reason of a refusal is told to its next writing
        if done.returncode == HomeError.exit_code and "another hamkor process" in said:
            raise BusyError(said)  # a daemon that has its store and not yet its socket
        raise LocalError(f"hamkor add ended with {done.returncode}: {said}")

    def _refused(self, error: HamkorError) -> None:
        match error:
            case MarkError():
                self.refusals["mark"] += 1  # this node has not heard of its last entries yet: by design
            case BusyError():
                self.refusals["no answer"] += 1
            case AdmissionError(reason="revoked" | "forked" as reason):
                self.ended = reason
            case AdmissionError(reason="moved"):
                self.refusals["moved"] += 1
            case _:
                self.problems.append(f"{self.name} was refused: {type(error).__name__}: {error}")

    def hand_in(self) -> str:
        """Hand in what was signed and never answered; "" once nothing is left, else why not."""
        for home in self._homes:
            try:
                resubmit(_Daemon(home), self.key.public, self.key_path, "record")
            except AdmissionError as error:
                return "" if error.reason in ("revoked", "forked") else str(error)
            except HamkorError as error:
                return str(error)
        return ""


def make_officer(folder: Path, number: int, key: SigningKey, homes: list[Home], seed: int) -> Officer:
    """An officer with a key file in a folder of their own."""
    folder.mkdir(mode=0o700)
    owner = KeyOwner(key.public, "officer", f"officer {number}", "mia", "unit-0")
    create_key_file(folder / "officer.key", key, b"", owner, cost=CHEAP)
    return Officer(number, key, folder / "officer.key", homes, Random(f"{seed} officer {number}"))


def copied(officer: Officer, folder: Path, seed: int) -> Officer:
    """The same key with the mark it has now, in a second home. Both can sign from here on, and each mark fits."""
    folder.mkdir(mode=0o700)
    for path in (officer.key_path, mark_path(officer.key_path)):
        shutil.copy(path, folder)  # with its mode: a key that others can read is refused
    path = folder / officer.key_path.name
    return Officer(officer.number, officer.key, path, officer._homes, Random(f"{seed} copy {officer.number}"))
