"""What the council of agencies decided, as a pure function of the set of its acts (SPEC.md 4.5).

The council's acts are the proposals and approvals signed by root keys. They are read in order of causal height,
then id; both are bound by hashes, so every node reads them in the same order. A change that passes may cut a root
key's log. Then reading starts again from the charter with that cutoff in force from the beginning: so a stolen
root key gains nothing by writing as if it had written early. Cutoffs are never taken back, so this comes to an end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from keys.signing import PublicKey
from protocol.acts import Act, Admit, Approve, Change, Cutoff, Propose, Rekey, Remove, Threshold
from protocol.charter import Agency, Charter
from protocol.entry import EntryId
from protocol.limits import AGENCIES_MAX

OPEN: Final = "open"
PASSED: Final = "passed"


@dataclass(frozen=True, slots=True)
class ActEntry:
    """An admitted entry of kind `act`. body None: withheld or erased, so it has no effect here."""

    id: EntryId
    key: PublicKey  # who acts
    seq: int
    refs: tuple[EntryId, ...]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change put to the council, who said yes, and the act by which it passed, if it did."""

    id: EntryId
    agency: str  # who proposed
    change: Change
    yes: tuple[str, ...]  # agencies, ascending, the proposer's included
    passed: EntryId | None

    @property
    def state(self) -> str:
        """`open` or `passed`."""
        return OPEN if self.passed is None else PASSED


@dataclass(frozen=True, slots=True)
class Removal:
    """The act by which an agency left, and what still counts of the logs of its keys; of one not named, nothing."""

    act: EntryId
    cutoffs: Mapping[PublicKey, Cutoff]


@dataclass(frozen=True, slots=True)
class Council:
    """The outcome."""

    members: Mapping[str, Agency]  # by name, as they are now
    roots: Mapping[PublicKey, Agency]  # every root key that ever was, with its agency as it was then
    threshold: int
    cutoffs: Mapping[PublicKey, tuple[Cutoff, EntryId]]  # with the act by which it passed
    removed: Mapping[PublicKey, Removal]  # by each root key that the agency ever had
    proposals: tuple[Proposal, ...]  # in the order in which they were read


@dataclass(slots=True)
class _Open:
    id: EntryId
    agency: str
    change: Change
    yes: set[str]
    passed: EntryId | None = None


@dataclass(slots=True)
class _State:
    members: dict[str, Agency]
    roots: dict[PublicKey, Agency]
    threshold: int
    cutoffs: dict[PublicKey, tuple[Cutoff, EntryId]]
    removed: dict[PublicKey, Removal] = field(default_factory=dict)
    proposals: dict[EntryId, _Open] = field(default_factory=dict)
    lowered: bool = False


def lower(one: Cutoff, other: Cutoff) -> bool:
    """Whether `one` leaves less of a log than `other`; of two at one seq the smaller id counts as the lower."""
    return _order(one) < _order(other)


def spares(cutoff: Cutoff | None, seq: int) -> bool:
    """Whether entry `seq` of a log with that cutoff still counts."""
    return cutoff is None or (cutoff.id is not None and seq <= cutoff.seq)


def decide(charter: Charter, acts: Iterable[tuple[ActEntry, Act]]) -> Council:
    """What the council's acts come to. Cost: O(acts log acts) for each root key that is cut, and once more."""
    ordered = _in_order([(entry, act) for entry, act in acts if isinstance(act, (Propose, Approve))])
    cutoffs: dict[PublicKey, tuple[Cutoff, EntryId]] = {}
    while True:
        members = {agency.name: agency for agency in charter.agencies}
        roots = {agency.key: agency for agency in charter.agencies}
        state = _State(members, roots, charter.threshold, cutoffs)
        for entry, act in ordered:
            _read(state, entry, act)
            if state.lowered:
                break
        if not state.lowered:
            proposals = tuple(
                Proposal(item.id, item.agency, item.change, tuple(sorted(item.yes)), item.passed)
                for item in state.proposals.values()
            )
            return Council(state.members, state.roots, state.threshold, cutoffs, state.removed, proposals)


def _in_order(acts: list[tuple[ActEntry, Act]]) -> list[tuple[ActEntry, Act]]:
    """By causal height among the council's acts, then by id."""
    known = {entry.id: (entry, act) for entry, act in acts}
    before: dict[EntryId, list[EntryId]] = {}
    last: dict[PublicKey, EntryId] = {}
    for entry, act in sorted(known.values(), key=lambda item: item[0].seq):
        causes = [ref for ref in entry.refs if ref in known]
        if entry.key in last:
            causes.append(last[entry.key])
        if isinstance(act, Approve) and act.proposal in known:
            causes.append(act.proposal)
        before[entry.id] = causes
        last[entry.key] = entry.id
    heights: dict[EntryId, int] = {}
    for start in before:
        stack = [start]
        while stack:
            waiting = [cause for cause in before[stack[-1]] if cause not in heights]
            if waiting:
                stack += waiting
                continue
            known_id = stack.pop()
            heights[known_id] = 1 + max((heights[cause] for cause in before[known_id]), default=-1)
    return sorted(known.values(), key=lambda item: (heights[item[0].id], item[0].id))


def _read(state: _State, entry: ActEntry, act: Act) -> None:
    agency = state.roots.get(entry.key)
    cut = state.cutoffs.get(entry.key)
    if agency is None or not spares(cut[0] if cut else None, entry.seq):
        return
    member = state.members.get(agency.name)
    if member is None or member.key != entry.key:
        return  # it left, or has another root key by now
    if isinstance(act, Propose):
        item = state.proposals[entry.id] = _Open(entry.id, agency.name, act.change, {agency.name})
    elif isinstance(act, Approve) and act.proposal in state.proposals:
        item = state.proposals[act.proposal]
        item.yes.add(agency.name)
    else:
        return
    concerned = item.change.name if isinstance(item.change, (Rekey, Remove)) else None
    yes = sum(name in state.members and name != concerned for name in item.yes)
    if item.passed is None and yes >= state.threshold and _possible(state, item.change):
        item.passed = entry.id
        _apply(state, item.change, entry.id)


def _possible(state: _State, change: Change) -> bool:
    match change:
        case Admit(agency):
            new = agency.name not in state.members and agency.key not in state.roots
            return new and len(state.members) < AGENCIES_MAX
        case Rekey():
            return change.name in state.members and change.key not in state.roots
        case Remove():
            return change.name in state.members and len(state.members) > 1
        case Threshold():
            return change.threshold <= len(state.members)


def _apply(state: _State, change: Change, act: EntryId) -> None:
    match change:
        case Admit(agency):
            state.members[agency.name] = state.roots[agency.key] = agency
        case Threshold():
            state.threshold = change.threshold
        case Rekey():
            old = state.members[change.name]
            new = Agency(change.name, old.title, change.key)
            state.members[change.name] = state.roots[change.key] = new
            _cut(state, Cutoff(old.key, change.seq, change.id), act)
        case Remove():
            gone = state.members.pop(change.name)
            removal = Removal(act, {cutoff.key: cutoff for cutoff in change.cutoffs})
            state.removed |= {key: removal for key, agency in state.roots.items() if agency.name == change.name}
            _cut(state, removal.cutoffs.get(gone.key, Cutoff(gone.key, 0, None)), act)


def _cut(state: _State, cutoff: Cutoff, act: EntryId) -> None:
    before = state.cutoffs.get(cutoff.key)
    if before is None or lower(cutoff, before[0]):
        state.cutoffs[cutoff.key] = (cutoff, act)
        state.lowered = True


def _order(cutoff: Cutoff) -> tuple[int, bytes]:
    return (-1, b"") if cutoff.id is None else (cutoff.seq, cutoff.id)
