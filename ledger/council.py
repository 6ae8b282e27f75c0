"""What the council of agencies decided, as a pure function of the set of its acts (SPEC.md 4.4.1).

The council's acts are the proposals and approvals signed by root keys. They are read in order of causal height,
then id; both are bound by hashes, so every node reads them in the same order. A change that passes may cut a root
key's log. Then all is read again from the charter on, with those cutoffs in force from the beginning, until what
passes is what was in force: so a stolen root key gains nothing by writing as if it had written early.

Two changes may each cut away a yes that the other needs. Then those who said yes to both decide by what they said
last, wherever it stands in the order: see `_disowned`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

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
    beyond: bool = False  # at or above a proved fork of its log


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
    speakers: frozenset[PublicKey]  # whose acts are read: root keys, and those that a proposal would make one
    threshold: int
    cutoffs: Mapping[PublicKey, tuple[Cutoff, EntryId]]  # with the act by which it passed
    removed: Mapping[PublicKey, tuple[Removal, ...]]  # by each root key that the agency had had by then
    proposals: tuple[Proposal, ...]  # in the order in which they were read


_Ends: TypeAlias = "dict[PublicKey, tuple[Cutoff, EntryId]]"  # key -> where its log ends, and the act that says so


@dataclass(slots=True)
class _Open:
    id: EntryId
    agency: str
    change: Change
    yes: dict[str, dict[PublicKey, int]] = field(default_factory=dict)  # agency -> its keys that said yes, first seq
    passed: EntryId | None = None


@dataclass(slots=True)
class _State:
    members: dict[str, Agency]
    roots: dict[PublicKey, Agency]
    threshold: int
    ends: _Ends  # in force
    passed: _Ends = field(default_factory=dict)  # by what has passed in this reading
    removed: dict[PublicKey, tuple[Removal, ...]] = field(default_factory=dict)
    proposals: dict[EntryId, _Open] = field(default_factory=dict)

    def counts(self, key: PublicKey, seq: int) -> bool:
        """Whether that entry of a root key's log is not after its end."""
        return key not in self.ends or spares(self.ends[key][0], seq)


def decide(charter: Charter, acts: Iterable[tuple[ActEntry, Act]]) -> Council:
    """What the council's acts come to. Cost: O(acts log acts) for each time they are read, mostly two."""
    spoken: list[tuple[ActEntry, Act]] = [item for item in acts if isinstance(item[1], (Propose, Approve))]
    speakers = _speakers(charter, spoken)
    ordered = in_order([item for item in spoken if item[0].key in speakers])
    earlier: list[_Ends] = []
    ends: _Ends = {}
    while True:
        state = _read_all(charter, ordered, ends)
        if state.passed == ends:
            return _outcome(state, ends, speakers)
        if state.passed in earlier:  # they go in a circle: all cutoffs of the circle count
            for circle in earlier[earlier.index(state.passed) :]:
                _lower_all(ends, circle)
            state = _read_all(charter, ordered, ends)
            return _outcome(state, state.ends, speakers)
        earlier.append(state.passed)
        ends = dict(state.passed)


def lower(one: Cutoff, other: Cutoff) -> bool:
    """Whether `one` leaves less of a log than `other`; of two at one seq the smaller id counts as the lower."""
    return one.order < other.order


def spares(cutoff: Cutoff | None, seq: int) -> bool:
    """Whether entry `seq` of a log with that cutoff still counts."""
    return cutoff is None or (cutoff.id is not None and seq <= cutoff.seq)


def _speakers(charter: Charter, acts: list[tuple[ActEntry, Act]]) -> frozenset[PublicKey]:
    """The keys that the charter names, or that a change proposed by such a key would make an agency's."""
    keys = {agency.key for agency in charter.agencies}
    named = {
        (entry.key, act.change.key if isinstance(act.change, Rekey) else act.change.agency.key)
        for entry, act in acts
        if isinstance(act, Propose) and isinstance(act.change, (Rekey, Admit))
    }
    while more := {new for by, new in named if by in keys and new not in keys}:
        keys |= more
    return frozenset(keys)


class _Words:
    """Who said yes to what, in whatever order, in acts that are not after a cutoff in force from the beginning."""

    def __init__(self, ordered: list[tuple[ActEntry, Act]], ends: _Ends) -> None:
        valid = [(entry, act) for entry, act in ordered
                 if entry.key not in ends or spares(ends[entry.key][0], entry.seq)]  # fmt: skip
        self.changes = {entry.id: act.change for entry, act in valid if isinstance(act, Propose)}
        self.yes: dict[EntryId, dict[PublicKey, int]] = {}  # proposal -> key -> seq of its first yes
        self.said: dict[PublicKey, set[EntryId]] = {}
        for entry, act in valid:
            proposal = entry.id if isinstance(act, Propose) else act.proposal if isinstance(act, Approve) else None
            if proposal in self.changes:
                first = self.yes.setdefault(proposal, {}).get(entry.key, entry.seq)
                self.yes[proposal][entry.key] = min(first, entry.seq)  # a second yes says nothing new
                self.said.setdefault(entry.key, set()).add(proposal)


def in_order(acts: list[tuple[ActEntry, Act]]) -> list[tuple[ActEntry, Act]]:
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


def _read_all(charter: Charter, ordered: list[tuple[ActEntry, Act]], ends: _Ends) -> _State:
    members = {agency.name: agency for agency in charter.agencies}
    roots = {agency.key: agency for agency in charter.agencies}
    state = _State(members, roots, charter.threshold, dict(ends))
    words = _Words(ordered, ends)
    for entry, act in ordered:
        item = _yes(state, entry, act)
        if item is not None and item.passed is None and _agreed(state, words, item) and _possible(state, item.change):
            item.passed = entry.id
            _apply(state, item.change, entry.id)
    return state


def _yes(state: _State, entry: ActEntry, act: Act) -> _Open | None:
    """Note an act; the proposal to which it says yes, or None when it has no effect."""
    agency = state.roots.get(entry.key)
    if agency is None or not state.counts(entry.key, entry.seq):
        return None
    member = state.members.get(agency.name)
    if member is None or member.key != entry.key:
        return None  # it left, or has another root key by now
    if isinstance(act, Propose):
        state.proposals[entry.id] = _Open(entry.id, agency.name, act.change)
    item = state.proposals.get(act.proposal if isinstance(act, Approve) else entry.id)
    if item is not None:
        item.yes.setdefault(agency.name, {}).setdefault(entry.key, entry.seq)
    return item


def _agreed(state: _State, words: _Words, item: _Open) -> bool:
    """Whether enough members say yes, the agency concerned left out, and nobody's yes that others took back by word."""
    concerned = _concerned(item.change)
    yes = [keys for name, keys in item.yes.items() if name in state.members and name != concerned]
    return (
        sum(any(not _disowned(state, words, item.id, *one) for one in keys.items()) for keys in yes) >= state.threshold
    )


def _disowned(state: _State, words: _Words, proposal: EntryId, key: PublicKey, seq: int) -> bool:
    """Whether somebody who said yes to `proposal` beside `key` said later that `key`'s log ended before `seq`.

    That is: said yes to a change that would cut it there, and for which enough have spoken. So a key that was stolen
    cannot complete an old proposal with the voices of those who have since decided that it was stolen.
    """
    for other, first in words.yes.get(proposal, {}).items():
        for later in words.said[other] if other != key else ():
            if words.yes[later][other] > first:
                cutoff = _cutoff_of(state, later, words.changes[later], key)
                if cutoff is not None and not spares(cutoff, seq) and _supported(state, words, later):
                    return True
    return False


def _supported(state: _State, words: _Words, proposal: EntryId) -> bool:
    concerned = _concerned(words.changes[proposal])
    names = {state.roots[key].name for key in words.yes[proposal] if key in state.roots}
    return len(names - {concerned}) >= state.threshold


def _concerned(change: Change) -> str | None:
    return change.name if isinstance(change, (Rekey, Remove)) else None


def _cutoff_of(state: _State, proposal: EntryId, change: Change, key: PublicKey) -> Cutoff | None:
    """Where `change` ended the log of root key `key`, or would when it passed now; None: not at all."""
    item = state.proposals.get(proposal)
    if item is not None and item.passed is not None:
        cut = state.passed.get(key)
        return cut[0] if cut is not None and cut[1] == item.passed else None
    member = state.members.get(_concerned(change) or "")
    if member is None or member.key != key:
        return None
    if isinstance(change, Rekey):
        return Cutoff(key, change.seq, change.id)
    return _of_removed(change, key) if isinstance(change, Remove) else None


def _of_removed(change: Remove, key: PublicKey) -> Cutoff:
    return next((cutoff for cutoff in change.cutoffs if cutoff.key == key), Cutoff(key, 0, None))


def _possible(state: _State, change: Change) -> bool:
    match change:
        case Admit(agency):
            new = agency.name not in state.members and agency.key not in state.roots
            return new and len(state.members) < AGENCIES_MAX
        case Rekey():
            return change.name in state.members and change.key not in state.roots
        case Remove():
            return change.name in state.members and len(state.members) > state.threshold
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
            for key in [key for key, agency in state.roots.items() if agency.name == change.name]:
                state.removed[key] = (*state.removed.get(key, ()), removal)  # it may have left before, and come back
            _cut(state, _of_removed(change, gone.key), act)


def _cut(state: _State, cutoff: Cutoff, act: EntryId) -> None:
    _lower_all(state.ends, {cutoff.key: (cutoff, act)})
    _lower_all(state.passed, {cutoff.key: (cutoff, act)})


def _lower_all(ends: _Ends, more: _Ends) -> None:
    for key, found in more.items():
        if key not in ends or lower(found[0], ends[key][0]):
            ends[key] = found


def _outcome(state: _State, ends: _Ends, speakers: frozenset[PublicKey]) -> Council:
    proposals = tuple(
        Proposal(item.id, item.agency, item.change, tuple(sorted(item.yes)), item.passed)
        for item in state.proposals.values()
    )
    return Council(state.members, state.roots, speakers, state.threshold, ends, state.removed, proposals)
