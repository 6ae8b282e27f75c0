"""The acts of a proof, read one after another: who is who, and where logs end (SPEC.md 8.6, check 6).

A proof brings only the acts that matter to it, in an order in which each has an effect when it is read. So this is not
`ledger/authority.py`, which finds out what any set of acts comes to; it decides nothing that the acts leave open.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.acts import (
    Act,
    Admit,
    Approve,
    Certify,
    Change,
    Cutoff,
    Propose,
    Rekey,
    Remove,
    Revoke,
    Threshold,
    Unit,
    parse_act,
)  # fmt: skip
from protocol.charter import Agency, Charter
from protocol.entry import Entry, EntryId
from protocol.limits import AGENCIES_MAX

_BY_ADMIN: Final = ("node", "officer")  # the ranks that an admin certifies and revokes


@dataclass(frozen=True, slots=True)
class Certified:
    """Whom an act certified, as what, and who signed that."""

    key: PublicKey
    rank: str
    name: str
    agency: str
    unit: str
    roles: tuple[str, ...]
    by: PublicKey
    act: Entry


@dataclass(slots=True)
class _Open:
    change: Change
    yes: set[str] = field(default_factory=set)  # agencies
    passed: bool = False


class ProofActs:
    """Who is who, as acts read one after another say it. At first that is the charter."""

    def __init__(self, charter: Charter) -> None:
        self.members = {agency.name: agency for agency in charter.agencies}
        self.roots = {agency.key: agency for agency in charter.agencies}  # every one that is or was
        self.threshold = charter.threshold
        self.certified: dict[PublicKey, Certified] = {}
        self.cutoffs: dict[PublicKey, Cutoff] = {}
        self.revoked: dict[PublicKey, str] = {}  # the reasons given
        self.changes: list[tuple[Change, tuple[str, ...]]] = []  # what passed, and who had said yes
        self.units: dict[str, Unit] = {}
        self._proposals: dict[EntryId, _Open] = {}
        self._read: set[EntryId] = set()

    def take(self, entry: Entry) -> str:
        """Read the next act: "" when it has an effect, else why it has none, and nothing has changed."""
        try:
            act = parse_act(entry.body or b"") if entry.kind == "act" else None
        except FormatError as error:
            return str(error)
        if act is None or entry.id in self._read:
            return "it is no act, or stands there twice"
        why = self._why_not(entry, act)
        if not why:
            self._read.add(entry.id)
            self._apply(entry, act)
        return why

    def passes(self, entry: Entry) -> bool:
        """Whether the council's act `entry`, read next, would make its proposal pass."""
        act = parse_act(entry.body or b"")
        agency = self._agency_of_root(entry.key)
        if agency is None or not isinstance(act, Propose | Approve):
            return False
        item = _Open(act.change) if isinstance(act, Propose) else self._proposals.get(act.proposal)
        return item is not None and self._agreed(item, {*item.yes, agency})

    def agency_of(self, key: PublicKey) -> str | None:
        """The agency of a key that is or was a root key or was certified; None of any other."""
        if key in self.roots:
            return self.roots[key].name
        return self.certified[key].agency if key in self.certified else None

    def counts(self, entry: Entry) -> bool:
        """Whether an entry does not lie after a cutoff."""
        cutoff = self.cutoffs.get(entry.key)
        if cutoff is None:
            return True
        if cutoff.id is None or entry.seq > cutoff.seq:
            return False
        return entry.seq < cutoff.seq or entry.id == cutoff.id

    def _agency_of_root(self, key: PublicKey) -> str | None:
        """The agency of which `key` is the root key now."""
        agency = self.roots.get(key)
        return agency.name if agency is not None and self.members.get(agency.name) == agency else None

    def _why_not(self, entry: Entry, act: Act) -> str:
        root = self._agency_of_root(entry.key)
        if isinstance(act, Propose | Approve):
            if root is None:
                return "its author is no agency's root key then"
            known = isinstance(act, Propose) or act.proposal in self._proposals
            return "" if known else "what it approves was not proposed before"
        author = self.certified.get(entry.key)
        admin = author.agency if author is not None and author.rank == "admin" and author.agency in self.members else ""
        if root is None and not admin:
            return "its author is neither a root key nor an admin then"
        if isinstance(act, Unit):
            return ""
        subject = self.certified.get(act.subject)
        if isinstance(act, Certify) and (subject is not None or act.subject in self.roots):
            return "its subject is certified already, or a root key"
        whose = act if isinstance(act, Certify) else subject
        if whose is None:
            return "its subject is not certified"
        if whose.agency == root or (whose.agency == admin and whose.rank in _BY_ADMIN):
            return ""
        return "its author has no say over that key"

    def _apply(self, entry: Entry, act: Act) -> None:
        match act:
            case Certify():
                self.certified[act.subject] = Certified(
                    act.subject, act.rank, act.name, act.agency, act.unit, act.roles, entry.key, entry
                )
            case Revoke():
                if self._cut(Cutoff(act.subject, act.seq, act.id)):
                    self.revoked[act.subject] = act.reason
            case Propose():
                self._proposals[entry.id] = _Open(act.change)
                self._say_yes(entry.key, self._proposals[entry.id])
            case Approve():
                self._say_yes(entry.key, self._proposals[act.proposal])
            case Unit():
                self.units[act.unit] = act

    def _cut(self, cutoff: Cutoff) -> bool:
        known = self.cutoffs.get(cutoff.key)
        if known is not None and cutoff.order >= known.order:
            return False
        self.cutoffs[cutoff.key] = cutoff
        return True

    def _say_yes(self, key: PublicKey, item: _Open) -> None:
        item.yes.add(self.roots[key].name)
        if self._agreed(item, item.yes):
            item.passed = True
            self.changes.append((item.change, tuple(sorted(item.yes))))
            self._change(item.change)

    def _agreed(self, item: _Open, yes: Iterable[str]) -> bool:
        concerned = item.change.name if isinstance(item.change, Rekey | Remove) else None
        voices = sum(name in self.members and name != concerned for name in yes)
        return not item.passed and voices >= self.threshold and self._possible(item.change)

    def _possible(self, change: Change) -> bool:
        match change:
            case Admit(agency):
                new = agency.name not in self.members and agency.key not in self.roots
                return new and len(self.members) < AGENCIES_MAX
            case Rekey():
                return change.name in self.members and change.key not in self.roots
            case Remove():
                return change.name in self.members and len(self.members) > self.threshold
            case Threshold():
                return change.threshold <= len(self.members)

    def _change(self, change: Change) -> None:
        match change:
            case Admit(agency):
                self.members[agency.name] = self.roots[agency.key] = agency
            case Threshold():
                self.threshold = change.threshold
            case Rekey():
                old = self.members[change.name]
                new = Agency(change.name, old.title, change.key)
                self.members[change.name] = self.roots[change.key] = new
                self._cut(Cutoff(old.key, change.seq, change.id))
            case Remove():
                gone = self.members.pop(change.name)
                cutoffs = {cutoff.key: cutoff for cutoff in change.cutoffs}
                own = [key for key, known in self.certified.items() if known.agency == change.name]
                for key in (gone.key, *own):
                    self._cut(cutoffs.get(key, Cutoff(key, 0, None)))
