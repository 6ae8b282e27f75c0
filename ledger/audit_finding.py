"""What an audit says: findings, one for one thing, and the report of one source. Used by `ledger/audit*.py`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

LISTED_MAX: Final = 10_000  # faults, and notes, that are listed; more are counted

Owners: TypeAlias = "Callable[[bytes | None], tuple[str | None, str | None]]"  # key -> name and agency


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault or note. key, seq and id say where, owner and agency whose log it is, as far as that is known."""

    kind: str
    key: bytes | None
    seq: int | None
    id: bytes | None
    found: str
    expected: str  # "" where nothing certain is expected
    means: str  # what follows from it, for a person
    owner: str | None = None  # the name in the certificate; of a root key, the agency's title
    agency: str | None = None
    source: str | None = None  # which of several files or homes; None: of all, or there is only one

    @property
    def detail(self) -> str:
        """The finding as one sentence."""
        return f"{self.found}{f', expected {self.expected}' if self.expected else ''}: {self.means}"

    def to_json(self) -> dict[str, str | int | None]:
        """The finding with bytes as hexadecimal."""
        key, known = (None if raw is None else raw.hex() for raw in (self.key, self.id))
        return {
            "kind": self.kind, "key": key, "owner": self.owner, "agency": self.agency, "seq": self.seq, "id": known,
            "found": self.found, "expected": self.expected, "means": self.means, "detail": self.detail,
            "source": self.source,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `faults` and `notes` list at most LISTED_MAX each; the counts are of all."""

    network: bytes
    root: bytes  # the ledger root over everything that counts
    logs: int
    entries: int  # rows that could be read, those that do not count included
    signatures: int  # that hold: of entries, and two for each fork proof; those checked before an interruption included
    checkpoints: int  # whose state is held here and has the root that they attest
    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    fault_count: int
    note_count: int

    @property
    def sound(self) -> bool:
        """Whether there is no fault."""
        return self.fault_count == 0

    def to_json(self) -> dict[str, object]:
        """The report as plain values."""
        return {
            "verdict": "sound" if self.sound else "faulty",
            "network": self.network.hex(),
            "root": self.root.hex(),
            "logs": self.logs,
            "entries": self.entries,
            "signatures": self.signatures,
            "checkpoints": self.checkpoints,
            "faults": [fault.to_json() for fault in self.faults],
            "fault_count": self.fault_count,
            "notes": [note.to_json() for note in self.notes],
            "note_count": self.note_count,
        }


class Findings:
    """Faults and notes as they come up: the first LISTED_MAX of each, and how many there are."""

    def __init__(self) -> None:
        self.faults: list[Finding] = []
        self.notes: list[Finding] = []
        self.fault_count = 0
        self.note_count = 0

    def fault(
        self, kind: str, key: bytes | None, seq: int | None, known: bytes | None, found: str, expected: str, means: str,
        *, source: str | None = None,
    ) -> None:  # fmt: skip
        """Record a fault."""
        self.fault_count += 1
        if len(self.faults) < LISTED_MAX:
            self.faults.append(Finding(kind, key, seq, known, found, expected, means, source=source))

    def note(
        self, kind: str, key: bytes | None, seq: int | None, known: bytes | None, found: str, means: str,
        *, source: str | None = None,
    ) -> None:  # fmt: skip
        """Record what is no fault but must be shown."""
        self.note_count += 1
        if len(self.notes) < LISTED_MAX:
            self.notes.append(Finding(kind, key, seq, known, found, "", means, source=source))

    def more_faults(self, count: int) -> None:
        """Count faults that are not listed one by one."""
        self.fault_count += count

    def named(self, owners: Owners) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
        """Faults and notes, each with its owner."""
        faults, notes = (
            tuple(replace(item, owner=owner, agency=agency) for item in found for owner, agency in [owners(item.key)])
            for found in (self.faults, self.notes)
        )
        return faults, notes


def short(known: bytes | None) -> str:
    """The beginning of an id or key, for a person."""
    return "none" if known is None else known.hex()[:12]
