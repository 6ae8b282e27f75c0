"""The journal of consultations: who was shown marked records, durable before anybody is shown them (SPEC.md 4.11).

A file in the home, one consultation a line, each with a checksum. The daemon makes an entry of each in the node's own
log, in order, and deletes the file when it has made the last. Commands without a daemon, and a node that may not sign
yet, only add lines.

**Exactly once.** The first line says how far the node's log went when the file was begun. Nothing else writes
consultations into that log, so as many lines are done as it holds consultations from there on: after a crash at any
moment, once what was signed has been submitted again, the log itself says which line is next.
"""

import fcntl
import json
import os
import pwd
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from keys.errors import LocalError
from keys.files import replace_file, sync_folder
from keys.signing import PublicKey
from ledger.held import seqs_of
from protocol.body import Consultation
from protocol.entry import EntryId
from protocol.limits import SEQ_MAX

if TYPE_CHECKING:
    from ledger.store import Ledger

KIND: Final = "consultation"
BYTES_MAX: Final = 4 * 1024 * 1024  # about 10,000 readings of one record: what a node may owe its log
_DIGITS: Final = 16  # of each line's checksum


@dataclass(frozen=True, slots=True)
class Noted:
    """One line: a consultation, and when it was."""

    time_ms: int
    read: Consultation


@dataclass(frozen=True, slots=True)
class _Start:
    """The first line: from where on in whose log the entries are that the other lines became."""

    key: PublicKey | None
    seq: int


def account_name(uid: int) -> str:
    """The name of an account at this machine, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


class Journal:
    """The journal in one home. Several processes may add to it; the daemon alone takes from it."""

    def __init__(self, path: Path, ledger: "Ledger", me: PublicKey | None) -> None:
        self._path = path
        self._ledger = ledger
        self._me = me

    def add(self, notes: Sequence[Noted]) -> None:
        """Note consultations; durable when this returns. Raises LocalError: the disk, a damaged or a full journal.

        Cost: a sync of the disk, and reading what the journal holds.
        """
        with self._open(create=True) as (descriptor, raw):
            start, known, whole = self._read(raw)
            lines = [_line(_noted_value(note)) for note in notes]
            if start is None:
                lines.insert(0, _line(_start_value(self._now())))
            added = b"".join(lines)
            if whole + len(added) > BYTES_MAX:
                raise LocalError(
                    f"{len(known)} readings of marked records wait here to be written into the ledger, and there is no"
                    " room for more; start the node (hamkor run) and let it link with another"
                )
            os.ftruncate(descriptor, whole)  # what a power cut left of a line that nobody was shown anything for
            os.lseek(descriptor, 0, os.SEEK_END)
            view = memoryview(added)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        if start is None:
            sync_folder(self._path.parent)

    def pending(self) -> list[Noted]:
        """What is no entry yet, in order."""
        with self._open() as (_, raw):
            start, notes, _ = self._read(raw)
        return notes[self._done(start) :] if start is not None else []

    def marks(self, _: Collection[EntryId]) -> Mapping[EntryId, str]:
        """None beside those that the ledger tells."""
        return {}

    def next(self) -> Noted | None:
        """What is to be written into the log next, by the daemon; deletes a journal of which all is written.

        The log must hold all that the key has signed. Begins the journal anew where the node has another key now.
        """
        with self._open() as (_, raw):
            start, notes, _ = self._read(raw)
            left = notes[self._done(start) :] if start is not None else []
            if not left:
                self._path.unlink(missing_ok=True)
            elif start is not None and start.key != self._me:
                lines = [_start_value(self._now()), *map(_noted_value, left)]
                replace_file(self._path, b"".join(map(_line, lines)))
        return left[0] if left else None

    # -- parts ------------------------------------------------------------------------------------

    def _now(self) -> _Start:
        log = self._ledger.log(self._me) if self._me is not None else None
        return _Start(self._me, log.held if log is not None else 0)

    def _done(self, start: _Start) -> int:
        """How many lines are entries."""
        log = self._ledger.log(start.key) if start.key is not None else None
        if log is None:
            return 0
        with self._ledger.storage.read() as reader:
            return sum(1 for _ in seqs_of(reader, log, KIND, start.seq, SEQ_MAX))

    @contextmanager
    def _open(self, *, create: bool = False) -> Iterator[tuple[int, bytes]]:
        """(descriptor, content) of the file, locked; content b"" where there is none."""
        try:
            descriptor = self._locked(create=create)
            if descriptor is None:
                yield -1, b""
                return
            try:
                yield descriptor, _read_all(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise LocalError(
                f"the journal of consultations {self._path} cannot be used: {error.strerror};"
                " no marked record is shown until that is mended"
            ) from None

    def _locked(self, *, create: bool) -> int | None:
        """The file, locked: that one which has the name once the lock is ours."""
        while True:
            flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
            try:
                descriptor = os.open(self._path, flags, 0o600)
            except FileNotFoundError:
                return None
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    return descriptor
            except FileNotFoundError:
                pass  # deleted since: look again
            os.close(descriptor)

    def _read(self, raw: bytes) -> tuple[_Start | None, list[Noted], int]:
        """(first line, the others, bytes of them); no first line where none is whole. Raises LocalError: damaged."""
        lines = raw.split(b"\n")[:-1]
        while lines and not _is_whole(lines[-1]):  # a power cut came before anything was shown for it
            lines.pop()
        try:
            values = [_value(line) for line in lines]
            start = _Start(_key(values[0]["key"]), int(values[0]["seq"])) if values else None
            notes = [_noted(value) for value in values[1:]]
        except (ValueError, KeyError, TypeError):
            raise LocalError(
                f"the journal of consultations {self._path} is damaged; keep a copy for the auditor and remove it:"
                " no marked record is shown until then"
            ) from None
        return start, notes, sum(len(line) + 1 for line in lines)


def _line(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True).encode()
    return sha256(text).hexdigest()[:_DIGITS].encode() + b" " + text + b"\n"


def _is_whole(line: bytes) -> bool:
    checksum, _, text = line.partition(b" ")
    return sha256(text).hexdigest()[:_DIGITS].encode() == checksum


def _value(line: bytes) -> dict[str, Any]:
    """What a line says. Raises ValueError on a damaged one."""
    value = json.loads(line[_DIGITS:]) if _is_whole(line) else None
    if not isinstance(value, dict):
        raise ValueError(line)  # noqa: TRY004  # as json raises it
    return value


def _start_value(start: _Start) -> dict[str, Any]:
    return {"key": start.key.hex() if start.key is not None else None, "seq": start.seq}


def _noted_value(note: Noted) -> dict[str, Any]:
    read = note.read
    return {
        "time_ms": note.time_ms, "command": read.command, "user": read.user, "why": read.why,
        "officer": read.officer.hex() if read.officer is not None else None,
        "records": [record.hex() for record in read.records],
    }  # fmt: skip


def _noted(value: Mapping[str, Any]) -> Noted:
    records = tuple(EntryId(bytes.fromhex(record)) for record in value["records"])
    read = Consultation(records, value["command"], _key(value["officer"]), value["user"], value["why"])
    return Noted(int(value["time_ms"]), read)


def _key(digits: str | None) -> PublicKey | None:
    return None if digits is None else PublicKey(bytes.fromhex(digits))


def _read_all(descriptor: int) -> bytes:
    raw = bytearray()
    while part := os.read(descriptor, 1 << 20):
        raw += part
        if len(raw) > 2 * BYTES_MAX:
            raise OSError(0, "it is larger than a journal can be")
    return bytes(raw)
