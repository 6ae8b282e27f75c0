"""Checking: what an auditor does, who trusts the charter and nothing else."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Final

from keys.errors import FormatError, HamkorError, LocalError
from keys.files import replace_file
from ledger.audit import audit_source
from ledger.audit_compare import Compared, Comparison, compare
from ledger.audit_finding import Finding
from ledger.audit_journal import JOURNAL_BYTES_MAX, Journal, read_journal
from ledger.audit_journal import MAGIC as JOURNAL_MAGIC
from ledger.audit_since import Mark
from ledger.audit_source import BundleSource, StoreSource
from ledger.audit_state import Options
from ledger.lmdb_store import open_lmdb
from node.audit_page import audit_csv, audit_page, print_audit
from node.client import open_node
from node.commands.common import home_of, read_file, write_new
from node.home import SETTINGS
from node.processes import on_all_cores
from node.render import note, print_json, say
from node.words import _
from protocol.bundle import MAGIC
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.checkpoint import NOTE_BYTES_MAX, read_note
from protocol.limits import CHARTER_BYTES_MAX

UNREADABLE: Final = 2
INTERRUPTED: Final = 130
_BAR: Final = 24  # characters
_SAVE_EVERY_S: Final = 30.0


def audit(args: argparse.Namespace) -> int:
    """`audit`: exit 0 sound, 1 faulty, 2 unreadable, 130 when it was interrupted."""
    try:
        charter = verify_charter(decode_charter_file(read_file(args.charter, CHARTER_BYTES_MAX, "a charter")))
        for path in (args.csv, args.html):
            if path is not None and path.exists():
                raise LocalError(f"{path} exists already; nothing was changed")
        work = _Work(args, charter)
    except HamkorError as error:
        return _unreadable(args, error)
    try:
        found = work.run()
        if args.csv is not None:
            write_new(args.csv, audit_csv(found))
        if args.html is not None:
            write_new(args.html, audit_page(found, charter.network))
    except KeyboardInterrupt:
        return work.interrupted()
    except HamkorError as error:
        work.save()
        return _unreadable(args, error)
    if args.json:
        print_json(found)
    else:
        print_audit(found, charter.network)
    return 0 if found["verdict"] == "sound" else 1


def _unreadable(args: argparse.Namespace, error: HamkorError) -> int:
    if args.json:
        print_json({"verdict": "unreadable", "why": str(error)})
    note(f"hamkor: {_('unreadable: {why}').format(why=' '.join(str(error).split()))}")
    return UNREADABLE


class _Work:
    """One audit, of one source or several, that may be interrupted."""

    def __init__(self, args: argparse.Namespace, charter: Charter) -> None:
        self._sources: list[Path] = args.sources
        self._resume: Path = args.resume or Path(f"{args.sources[0].name or 'ledger'}.resume")
        self._charter = charter
        self._journal = Journal(charter.network_id)
        if args.resume is not None and args.resume.exists():
            self._journal = read_journal(
                read_file(args.resume, JOURNAL_BYTES_MAX, "what an interrupted audit left"), charter.network_id
            )
        self._meter = _Meter()
        self._saved = perf_counter()
        self._options = Options(on_all_cores, self._journal, _mark(args.since), self._tell)

    def run(self) -> dict[str, object]:
        """The report, as it is printed with --json."""
        with ExitStack() as stack:
            compared: list[Compared] = []
            for path in self._sources:
                self._meter.of(path.name if len(self._sources) > 1 else "")
                source = _opened(path, self._charter, stack)
                try:
                    audited = audit_source(source, self._charter, self._options)
                except OSError as error:
                    raise LocalError(f"{path} cannot be read: {error.strerror}") from None
                compared.append(Compared(str(path), audited, source.ids_at))
            together = compare(compared) if len(compared) > 1 else Comparison((), (), 0, 0)
        self._meter.end()
        if self._is_ours():
            with suppress(OSError):
                self._resume.unlink(missing_ok=True)  # what it said is in the report now
        return _as_json(compared, together, self._resumed())

    def interrupted(self) -> int:
        """Keep what was checked, and say how to go on."""
        self._meter.end()
        if self.save():
            told = _("interrupted; what was checked is kept: give --resume {file} to go on")
            note(f"hamkor: {told.format(file=self._resume)}")
        return INTERRUPTED

    def save(self) -> bool:
        """Write down what was checked. A disk that is full is no reason to stop."""
        if not self._journal.met:
            return False
        if self._resume.exists() and not self._is_ours():
            note("hamkor: " + _("{file} is another file, and stays as it is").format(file=self._resume))
            return False
        try:
            replace_file(self._resume, self._journal.encode())
        except OSError as error:
            told = _("{file} cannot be written: {why}").format(file=self._resume, why=error.strerror)
            note(f"hamkor: {told}")
            return False
        return True

    def _is_ours(self) -> bool:
        with suppress(OSError), self._resume.open("rb") as file:
            return file.read(len(JOURNAL_MAGIC)) == JOURNAL_MAGIC
        return False

    def _tell(self, entries: int, part: float) -> None:
        self._meter.at(entries, part)
        if perf_counter() - self._saved > _SAVE_EVERY_S:
            self._saved = perf_counter()
            self.save()

    def _resumed(self) -> tuple[Finding, ...]:
        lost = self._journal.lost()
        if not lost:
            return ()
        found = f"{lost} of the {len(self._journal.known)} stretches that were checked before are not here as they were"
        means = "the source has grown, or was changed since; what is here was checked anew"
        return (Finding("resumed", None, None, None, found, "", means),)


def _mark(since: str | None) -> Mark | None:
    """What --since names: the beginning of an id, or a file with a signed note."""
    if since is None or (not Path(since).is_file() and set(since) <= set("0123456789abcdef")):
        return since
    return read_note(read_file(Path(since), NOTE_BYTES_MAX, "a signed note"))


def _opened(path: Path, charter: Charter, stack: ExitStack) -> BundleSource | StoreSource:
    """A home, the folder of a store, or a bundle. Raises LocalError, FormatError or HomeError."""
    if path.is_dir():
        storage = open_lmdb(path / "store" if (path / SETTINGS).exists() else path, readonly=True)
        stack.callback(storage.close)
        return StoreSource(stack.enter_context(storage.read()), charter)
    try:
        file = stack.enter_context(path.open("rb"))
        start = file.read(len(MAGIC))
        file.seek(0)
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}") from None
    if start != MAGIC:
        raise FormatError(f"{path} is no hamkor bundle, nor a home")
    return BundleSource(file, charter)


def _as_json(compared: Sequence[Compared], together: Comparison, more: tuple[Finding, ...]) -> dict[str, object]:
    """One source: its report. Several: the reports by source, and what shows beside them."""
    if len(compared) == 1:
        report = compared[0].audited.report
        report = replace(report, notes=(*report.notes, *more), note_count=report.note_count + len(more))
        return {"source": compared[0].name, **report.to_json()}
    reports = [source.audited.report for source in compared]
    sound = all(report.sound for report in reports) and together.fault_count == 0
    notes = (*together.notes, *more)
    return {
        "verdict": "sound" if sound else "faulty",
        "network": reports[0].network.hex(),
        "sources": [{"source": source.name, **source.audited.report.to_json()} for source in compared],
        "faults": [fault.to_json() for fault in together.faults],
        "fault_count": together.fault_count,
        "notes": [item.to_json() for item in notes],
        "note_count": together.note_count + len(more),
    }


class _Meter:
    """A line on standard error, if that is a terminal: how much is read, how fast, how long it will take."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._name = ""
        self._began = self._last = perf_counter()

    def of(self, name: str) -> None:
        """Begin with a source."""
        self._name = f"{name}: " if name else ""
        self._began = perf_counter()

    def at(self, entries: int, part: float) -> None:
        """So much is read; drawn at most ten times a second."""
        now = perf_counter()
        if not self._shown or now - self._last < 0.1:
            return
        self._last = now
        rate = entries / max(now - self._began, 1e-9)
        left_s = int((now - self._began) * (1 - part) / part) if part else 0
        full = int(_BAR * part)
        eta = f"{left_s // 3600}:{left_s // 60 % 60:02}:{left_s % 60:02}"
        told = _("{entries} entries, {rate} a second, {eta} left").format(entries=entries, rate=int(rate), eta=eta)
        sys.stderr.write(f"\r{self._name}[{'#' * full}{'.' * (_BAR - full)}] {told}\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def forks(args: argparse.Namespace) -> int:
    """`forks`: exit 1 when there is none."""
    with open_node(home_of(args)) as node:
        rows = node.ask("forks")
    listed = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if args.json:
        print_json(listed)
    elif listed:
        for row in listed:
            author, ids = row["author"], row["ids"]
            name = author["name"] or author["key"] if isinstance(author, dict) else "?"
            say(f"{name} signed two entries with seq {row['seq']}:")
            for known in ids if isinstance(ids, list) else []:
                say(f"  {known}")
    else:
        say("no key is known to have forked its log")
    return 0 if listed else 1
