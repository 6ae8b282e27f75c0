"""`hamkor demo`: eleven real nodes on this machine found a network, work a case, are cut apart, and heal.

Everything is done with the commands a person would type; the nodes are processes of their own, with libp2p,
LMDB and Ed25519 as anywhere. Steps: found, certify, start, import, play, cut, write apart, heal, attest, audit.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final, TextIO

from keys.errors import LocalError
from node.cli import main as hamkor

AGENCIES: Final = {
    "mia": "Ministry of Internal Affairs",
    "ncdc": "National Information-Analytical Center on Drug Control",
    "scc": "State Customs Committee",
    "sss": "State Security Service",
}
UNITS: Final = {  # unit: (the agency that certifies its node, title, regions)
    "oct": ("mia", "Operations Coordination Team", ()),
    "imt-1": ("mia", "Interagency Mobile Team 1", ("UZ-SI", "UZ-TK", "UZ-TO")),
    "imt-2": ("sss", "Interagency Mobile Team 2", ("UZ-AN", "UZ-FA", "UZ-NG")),
    "imt-3": ("scc", "Interagency Mobile Team 3", ("UZ-JI", "UZ-SA")),
    "imt-4": ("scc", "Interagency Mobile Team 4", ("UZ-QA", "UZ-SU")),
    "imt-5": ("mia", "Interagency Mobile Team 5", ("UZ-BU", "UZ-NW")),
    "imt-6": ("sss", "Interagency Mobile Team 6", ("UZ-QR", "UZ-XO")),
}
FIELD_AGENCIES: Final = ("mia", "scc", "sss")
CUT_OFF: Final = ("imt-4", "imt-6")
THRESHOLD: Final = 3
PASSPHRASE: Final = "demo: not a secret"  # noqa: S105  # the network lives for a minute, in a temporary folder
START_WAIT_S: Final = 40.0
CONVERGE_WAIT_S: Final = 60.0
CALM_S: Final = 0.5
CHECKPOINT_S: Final = 4
SUBSTANCES: Final = {"BASE DE COCA": "cocaine_base", "BASUCO": "basuco"}
DEPARTMENTS: Final = {"AMAZONAS": "CO-AMA", "ANTIOQUIA": "CO-ANT", "CESAR": "CO-CES", "VALLE": "CO-VAC"}


class DemoError(LocalError):
    """The demonstration could not go on."""


@dataclass(slots=True)
class Node:
    """One node: its home, its process."""

    unit: str
    agency: str
    home: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    settled_s: float | None = None  # when it reached the root that all then had
    healed_s: float | None = None  # the same, after the links came back
    status: dict[str, object] = field(default_factory=dict)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `hamkor demo` to the command line."""
    parser = commands.add_parser(
        "demo", help="eleven nodes on this machine play a case", description=__doc__,
        epilog="example: hamkor demo --keep /tmp/play", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the story")
    parser.add_argument(
        "--keep", metavar="DIR", type=Path, help="leave the network running in DIR, and say how to use it"
    )
    parser.add_argument("--data", metavar="FILE", type=Path, help="seizures to import (Colombian open data, JSON)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play; 0 when all nodes converged and the audit found the ledger sound."""
    folder = args.keep or Path(tempfile.mkdtemp(prefix="hamkor-demo-"))
    if args.keep and folder.exists() and any(folder.iterdir()):
        raise DemoError(f"{folder} is not empty; choose another folder for --keep")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    demo = Demo(folder, sys.stderr if args.json else sys.stdout)
    try:
        result = demo.play(args.data)
        if args.json:
            sys.stdout.write(json.dumps(result, sort_keys=True) + "\n")
        if args.keep:
            demo.explain()
        return 0 if result["converged"] and demo.sound else 1
    finally:
        if not args.keep:
            demo.stop()
            shutil.rmtree(folder, ignore_errors=True)


class Demo:
    """The network and the people in it."""

    def __init__(self, folder: Path, out: TextIO) -> None:
        self.folder = folder
        self.charter = folder / "charter"
        self.nodes: dict[str, Node] = {}
        self.records: dict[str, str] = {}  # name in the case -> id
        self.sound = False
        self._out = out
        self._started_s = _clock_s()

    def play(self, data: Path | None) -> dict[str, object]:
        """The whole story. Returns what --json prints."""
        self.found()
        self.certify()
        self.start()
        self.import_seizures(data)
        steps = tomllib.loads(_scenario("case.toml"))["step"]
        self.case([step for step in steps if step["phase"] == "together"])
        self.settle("everyone holds the same")
        self.cut([step for step in steps if step["phase"] == "apart"])
        self.heal()
        self.conflict()
        self.attest()
        converged = self.settle("all ledger roots are equal")
        self.table()
        audit = self.audit()
        status = self.nodes["oct"].status
        return {
            "nodes": len(self.nodes),
            "entries": status["entries"],
            "records": status["records"],
            "conflicts": status["conflicts"],
            "same": self.command("stats", node=self.nodes["oct"])["same"],
            "roots": {unit: node.status["root"] for unit, node in sorted(self.nodes.items())},
            "converged": converged,
            "audit": {name: audit[name] for name in ("verdict", "entries", "signatures", "faults")},
            "seconds": round(_clock_s() - self._started_s, 1),
        }

    # -- founding ---------------------------------------------------------------------------------

    def found(self) -> None:
        """Four agencies make their root keys, draft the charter and sign it one after another."""
        self.say(f"Four agencies found the network; the council needs {THRESHOLD} of {len(AGENCIES)}.")
        for agency, title in AGENCIES.items():
            self.command("agency", "new", agency, "--title", title, "--key", self.key(agency), "--kdf", "interactive")
        cards = [self.key(agency).with_suffix(".card") for agency in AGENCIES]
        self.command(
            "charter", "draft", *cards, "--network", "Uzbekistan interagency", "--threshold", THRESHOLD,
            "-o", self.charter,
        )  # fmt: skip
        for agency in AGENCIES:
            self.command("charter", "sign", self.charter, "--key", self.key(agency))
            self.say(f"  {agency} has signed the charter")
        self.command("charter", "verify", self.charter)

    def certify(self) -> None:
        """Each node and officer gets a key; its agency certifies it; the certificates travel in files."""
        homes = [(f"{agency}-hq", agency) for agency in AGENCIES] + [(unit, of[0]) for unit, of in UNITS.items()]
        for (unit, agency), port in zip(homes, _free_ports(len(homes)), strict=True):
            node = Node(unit, agency, self.folder / unit, port)
            self.nodes[unit] = node
            self.command(
                "init", "--charter", self.charter, "--name", unit, "--agency", agency, "--unit", unit,
                "--listen", f"/ip4/127.0.0.1/tcp/{port}", "--no-passphrase", node=node,
            )  # fmt: skip
            settings = node.home / "hamkor.toml"
            settings.write_text(settings.read_text().replace("checkpoint_s = 300", f"checkpoint_s = {CHECKPOINT_S}"))
        for unit in UNITS:
            for agency in FIELD_AGENCIES:
                role = ["--role", "coordinator"] if unit == "oct" else []
                self.command(
                    "officer", "new", "--name", f"{agency.upper()} officer, {unit}", "--agency", agency,
                    "--unit", unit, *role, "-o", self.key(f"{agency}@{unit}"), "--kdf", "interactive",
                )  # fmt: skip
        for agency in AGENCIES:
            cards = [node.home / "node.card" for node in self.nodes.values() if node.agency == agency]
            cards += [self.key(f"{agency}@{unit}").with_suffix(".card") for unit in UNITS if agency in FIELD_AGENCIES]
            headquarters = self.nodes[f"{agency}-hq"]
            self.command("certify", *cards, "--key", self.key(agency), node=headquarters)
            if agency == "mia":
                for unit, (_, title, regions) in UNITS.items():
                    where = [word for region in regions for word in ("--region", region)]
                    self.command("unit", unit, "--title", title, *where, "--key", self.key(agency), node=headquarters)
            self.command("invite", "-o", self.folder / f"{agency}.invitation", node=headquarters)
        for node in self.nodes.values():
            for agency in AGENCIES:
                self.command("join", self.folder / f"{agency}.invitation", node=node)
        officers = len(UNITS) * len(FIELD_AGENCIES)
        self.say(f"  {len(self.nodes)} nodes and {officers} officers are certified by their agencies")

    # -- running ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start eleven processes and wait until every node is linked to every other."""
        self.say("Eleven nodes start.")
        for node in self.nodes.values():
            self.start_node(node)
        for node in self.nodes.values():
            self.await_ready(node)
        self.until(
            lambda: all(self.status(node)["peers"] == len(self.nodes) - 1 for node in self.nodes.values()),
            START_WAIT_S, "the nodes are linked to one another",
        )  # fmt: skip
        self.say("  every node is linked to every other")

    def start_node(self, node: Node) -> None:
        """Start one node's daemon."""
        command = [sys.executable, "-m", "node.cli", "--home", str(node.home), "run"]
        with (node.home / "output").open("wb") as output:
            node.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def await_ready(self, node: Node) -> None:
        """Wait until the daemon answers on its socket."""

        def ready() -> bool:
            if node.process is not None and node.process.poll() is not None:
                text = (node.home / "output").read_text(errors="replace").strip()
                raise DemoError(f"node {node.unit} did not start: {text[-300:]}")
            return (node.home / "control.sock").exists()

        self.until(ready, START_WAIT_S, f"{node.unit} serves")

    def import_seizures(self, data: Path | None) -> None:
        """Spread the seizures over the teams' officers, each of whom signs their own."""
        by_officer: dict[str, list[str]] = {}
        source, reports = _seizures(data)
        teams = [unit for unit in UNITS if unit != "oct"]
        for number, (unit, fields) in enumerate(reports):
            agency = FIELD_AGENCIES[number // len(teams) % len(FIELD_AGENCIES)]
            line = json.dumps(fields | {"counting_agency": agency}, ensure_ascii=False)
            by_officer.setdefault(f"{agency}@{unit or teams[number % len(teams)]}", []).append(line)
        self.say(f"{len(by_officer)} officers import {len(reports)} seizures ({source}).")
        for officer, lines in sorted(by_officer.items()):
            path = self.folder / f"{officer}.jsonl"
            path.write_text("\n".join(lines) + "\n")
            self.write(officer, "add", "seizure", "--file", path)

    def case(self, steps: Sequence[dict[str, object]]) -> None:
        """Play steps of the case; each is seen on another node before the next."""
        for step in steps:
            record = self.step(step)
            seen_on = "oct" if "oct" not in str(step["as"]) else "imt-1"
            since = _clock_s()
            self.until(partial(self.has, self.nodes[seen_on], record), 10.0, f"{seen_on} sees it")
            self.say(f"  {step['say']} ({record[:10]}, at {seen_on} after {_clock_s() - since:.2f} s)")
            if "show" in step:
                self.board(str(step["show"]))

    def board(self, name: str) -> None:
        """What the OCT sees now."""
        oct_ = self.nodes["oct"]
        if name == "requests":
            shown = self.shown("rfi", "due", node=oct_)
        else:
            shown = self.shown("stats", "--by", "region", "sariosiyo", node=oct_)
        self.say(indented(shown))

    def sees_conflict(self, unit: str) -> bool:
        """Whether a node shows a second value."""
        return "=2:" in self.shown("conflicts", node=self.nodes[unit])

    def conflict(self) -> None:
        """Both sides see the two values and the proposal; settled on one node, they are settled on all."""
        for unit in ("oct", "imt-4"):
            self.until(partial(self.sees_conflict, unit), 10.0, f"{unit} shows a conflict")
        self.say("The same field was set twice, neither seeing the other; every node shows both, and the proposal:")
        self.say(indented(self.shown("conflicts", node=self.nodes["oct"])))
        seizure = self.records["seizure"]
        self.write("scc@imt-4", "conflicts", seizure, "--take", "place=1")
        self.write("scc@imt-4", "accept", seizure)
        settled = lambda: all(self.status(node)["conflicts"] == 0 for node in self.nodes.values())  # noqa: E731
        self.until(settled, 10.0, "it is settled on all")
        self.say("  Customs at IMT-4 take the first value and accept the proposal: settled on every node")

    def step(self, step: dict[str, object]) -> str:
        """One step of the case; returns the id of the entry that it wrote."""
        path = self.folder / "step.json"
        fields = step.get("fields", {})
        path.write_text(json.dumps(fields, ensure_ascii=False))
        officer = str(step["as"])
        on = self.records.get(str(step.get("on")), "")
        unit = officer.partition("@")[2]
        if on:
            self.until(partial(self.has, self.nodes[unit], on), 10.0, f"{unit} has what is answered")
        match step["do"]:
            case "add":
                written = self.write(officer, "add", str(step["type"]), "--file", path)
            case "amend":
                words = [f"{name}={value}" for name, value in fields.items()]  # type: ignore[attr-defined]  # a table
                written = self.write(officer, "amend", on, *words)
            case "same":
                written = self.write(officer, "same", on, self.records[str(step["other"])])
            case _:
                written = self.write(officer, "step", on, str(step["step"]), "--file", path)
        record = str(written["ids"][-1])  # type: ignore[index]  # a list, in our own command's answer
        if "name" in step:
            self.records[str(step["name"])] = record
        return record

    # -- apart and together -----------------------------------------------------------------------

    def cut(self, steps: Sequence[dict[str, object]]) -> None:
        """Cut two teams off, and let both sides write."""
        self.say(f"{' and '.join(CUT_OFF)} lose every link; both sides go on.")
        for unit in CUT_OFF:
            self.command("offline", node=self.nodes[unit])
        for step in steps:
            record = self.step(step)
            self.say(f"  {step['say']} ({record[:10]})")
        roots = {str(self.status(node)["root"]) for node in self.nodes.values()}
        self.say(f"  the ledger stands at {len(roots)} different roots")

    def heal(self) -> None:
        """Bring them back."""
        self.say("The links come back.")
        for unit in CUT_OFF:
            self.command("online", node=self.nodes[unit])
        self.settle("all ledger roots are equal")
        for node in self.nodes.values():
            node.healed_s = node.settled_s

    def attest(self) -> None:
        """Every node signs what it holds, the others compare it, and then nobody has anything to add."""
        self.until(
            lambda: all(map(_agreeing, map(self.status, self.nodes.values()))), CONVERGE_WAIT_S,
            "every node attests all that is here",
        )  # fmt: skip
        seizure = self.records["seizure"]
        (found,) = self.rows("receipts", seizure, node=self.nodes["oct"])
        nodes: list[dict[str, Any]] = found["nodes"]
        held = [node for node in nodes if node["checkpoint"] is not None]
        agencies = len({str(node["agency"]) for node in held})
        self.say(
            f"Every node has signed a checkpoint of all that is here, and all agree. That the seizure {seizure[:10]}"
            f" existed is attested by {len(held)} nodes of {agencies} agencies."
        )

    def settle(self, what: str) -> bool:
        """Wait until all roots are equal, noting when each node got there."""
        since = _clock_s()
        reached: dict[str, tuple[str, float]] = {}
        first: dict[str, float] = {}  # when each reached the root that all had at first: then nodes attest it
        calm: tuple[float, str] = (since, "")  # since when all have this root: nodes write receipts of their own

        def equal() -> bool:
            for node in self.nodes.values():
                node.status = self.status(node)
                root = str(node.status["root"])
                if reached.get(node.unit, ("", 0.0))[0] != root:
                    reached[node.unit] = (root, _clock_s() - since)
            roots = {root for root, _ in reached.values()}
            nonlocal calm, first
            if len(roots) == 1 and not first:
                first = {unit: at for unit, (_, at) in reached.items()}
            if len(roots) != 1 or calm[1] not in roots:
                calm = (_clock_s(), min(roots))
            return len(roots) == 1 and _clock_s() - calm[0] > CALM_S

        try:
            self.until(equal, CONVERGE_WAIT_S, what)
        except DemoError as error:
            self.say(f"  {error}")
            return False
        finally:
            for unit, (_, at) in reached.items():
                self.nodes[unit].settled_s = first.get(unit, at)
        self.say(f"  {what} ({_clock_s() - since:.1f} s)")
        return True

    def table(self) -> None:
        """One line a node."""
        self.say(f"\n  {'node':<10}{'entries':>9}{'logs':>7}{'lag s':>8}  root")
        for unit, node in sorted(self.nodes.items()):
            status = node.status
            lag = f"{node.healed_s:.2f}" if node.healed_s is not None else "?"
            self.say(f"  {unit:<10}{status['entries']:>9}{status['logs']:>7}{lag:>8}  {str(status['root'])[:32]}")
        self.say("")

    def audit(self) -> dict[str, object]:
        """Export one node's ledger; audit the file in a process that has only the charter."""
        bundle = self.folder / "audit" / "ledger.bundle"
        bundle.parent.mkdir(exist_ok=True)
        self.command("export", bundle, node=self.nodes["ncdc-hq"])
        charter = bundle.parent / "charter"
        shutil.copy(self.charter, charter)
        command = [sys.executable, "-m", "node.cli", "audit", str(bundle), "--charter", str(charter), "--json"]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        if done.returncode not in (0, 1):
            raise DemoError(f"the audit could not be made: {done.stderr.strip()[-300:]}")
        found: dict[str, object] = json.loads(done.stdout)
        self.sound = found["verdict"] == "sound" and found["root"] == self.nodes["oct"].status["root"]
        self.say(
            f"An auditor with only the charter and a file checks {found['signatures']} signatures on"
            f" {found['entries']} entries in {found['logs']} logs: {found['verdict']}."
        )
        return found

    def explain(self) -> None:
        """Say how to play with what was left running."""
        home = self.folder / "imt-1"
        key = self.key("mia@imt-1")
        pids = " ".join(str(node.process.pid) for node in self.nodes.values() if node.process is not None)
        self.say("\nThe network is left running. Try:")
        self.say(f"  hamkor --home {home} status")
        self.say(f"  hamkor --home {home} find heroin")
        self.say(f"  hamkor --home {home} add intel report_no=1 reporting_unit=imt-1 narrative='...' --key {key}")
        self.say(f"The passphrase of every key is: {PASSPHRASE}")
        self.say(f"Stop it with: kill {pids}")

    def stop(self) -> None:
        """End every node."""
        running = [node.process for node in self.nodes.values() if node.process is not None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    # -- tools ------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell the person who watches."""
        self._out.write(text + "\n")
        self._out.flush()

    def key(self, name: str) -> Path:
        """The path of a key file."""
        return self.folder / "keys" / f"{name}.key"

    def command(self, *words: object, node: Node | None = None) -> dict[str, object]:
        """Run one hamkor command in this process, as a person would in a shell; returns its JSON."""
        self.key("").parent.mkdir(mode=0o700, exist_ok=True)
        home = ["--home", str(node.home)] if node is not None else []
        argv = [*home, *map(str, words)]
        out, err = io.StringIO(), io.StringIO()
        with _passphrase_fd() as descriptor:
            needs_key = "--key" in argv or ("-o" in argv and argv[0] == "officer")
            extra = ["--passphrase-fd", str(descriptor)] if needs_key else []
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = hamkor([*argv, *extra, "--json"])
        if status != 0:
            raise DemoError(f"hamkor {' '.join(argv)} ended with {status}: {err.getvalue().strip()[-300:]}")
        text = out.getvalue()
        answer: dict[str, object] = json.loads(text) if text.startswith("{") else {}
        return answer

    def rows(self, *words: object, node: Node) -> list[dict[str, Any]]:
        """The JSON of a command that lists something."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            hamkor(["--home", str(node.home), *map(str, words), "--json"])
        listed: list[dict[str, Any]] = json.loads(out.getvalue())
        return listed

    def shown(self, *words: object, node: Node) -> str:
        """What a command prints for a person, both streams."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            hamkor(["--home", str(node.home), "--lang", "en", *map(str, words)])
        return out.getvalue()

    def write(self, officer: str, *words: object) -> dict[str, object]:
        """An officer writes on their unit's node."""
        node = self.nodes[officer.partition("@")[2]]
        return self.command(*words, "--key", self.key(officer), node=node)

    def status(self, node: Node) -> dict[str, object]:
        """What the node says of itself."""
        return self.command("status", node=node)

    def has(self, node: Node, record: str) -> bool:
        """Whether the node holds that entry."""
        try:
            return bool(self.command("show", record, node=node))
        except DemoError:
            return False

    def until(self, true: Callable[[], bool], wait_s: float, what: str) -> None:
        """Wait until `true()`; raises DemoError after `wait_s` seconds."""
        deadline = _clock_s() + wait_s
        while not true():
            if _clock_s() > deadline:
                raise DemoError(f"waited {wait_s:.0f} s in vain until {what}")
            time.sleep(0.05)


def _agreeing(status: dict[str, Any]) -> bool:
    """Whether that node finds that every node has attested all that is there."""
    return all(
        row["checkpoint"] is not None and row["checkpoint"]["verdict"] == "agrees" and row["behind"]["entries"] == 0
        for row in status["checkpoints"]["nodes"]
    )


def indented(text: str) -> str:
    """What a command printed, as part of the story."""
    return "\n".join(f"      {line}" for line in text.splitlines())


def _clock_s() -> float:
    return time.perf_counter()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            found.append(listener.getsockname()[1])
        return found


@contextlib.contextmanager
def _passphrase_fd() -> Iterator[int]:
    """A descriptor from which the passphrase can be read."""
    reading, writing = os.pipe()
    os.write(writing, (PASSPHRASE + "\n").encode())
    os.close(writing)
    try:
        yield reading
    finally:
        with contextlib.suppress(OSError):
            os.close(reading)


def _scenario(name: str) -> str:
    return resources.files("sim").joinpath("scenarios", name).read_text(encoding="utf-8")


def _seizures(path: Path | None) -> tuple[str, list[tuple[str, dict[str, object]]]]:
    """Where the reports come from, and (unit or "", fields) of each."""
    chosen = path or Path(__file__).resolve().parents[2] / "shared" / "data" / "seizures-colombia-2018.json"
    if path is None and not chosen.is_file():
        lines = [json.loads(line) for line in _scenario("seizures.jsonl").splitlines()]
        return "a shipped scenario", [(line["unit"], line["fields"]) for line in lines]
    try:
        rows = json.loads(chosen.read_text(encoding="utf-8"))
        return "Colombian open data, 2018", [("", _from_colombia(row)) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DemoError(f"{chosen} cannot be read as seizures: {error}") from None


def _from_colombia(row: dict[str, str]) -> dict[str, object]:
    """A row of the Colombian data as the fields of a seizure."""
    substance = row["clase_de_estupefaciente"]
    item = {
        "substance": SUBSTANCES.get(substance, substance.lower()),
        "form": "powder",
        "amount": row["cantidad"],
        "unit": "g",
    }
    return {
        "seized_at": row["fecha"].split(".")[0] + "-05:00",
        "region": DEPARTMENTS.get(row["departamento"], "CO-XX"),
        "place": row["municipio"].title(),
        "items": [item],
        "narrative": f"{row['clase_de_sitio'].capitalize()}, zona {row['zona'].lower()}.",
    }
