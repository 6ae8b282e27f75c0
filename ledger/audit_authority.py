"""The auditor's own reading of SPEC.md 4.4: who may do what, by the charter and the acts. Slow and obvious.

Written from the text alone, and sharing nothing with `ledger/council.py` and `ledger/authority.py`, so that a mistake
in one of the two shows where they differ (`tests/property/test_authority.py`). Nothing is remembered between calls,
nothing is looked up in an index: what a sentence says of all acts is a loop over all acts.

    judge        the council, then root keys, then admins: 4.4.1 to 4.4.3
    judge_held   the same where logs may fork: which acts are read depends on which branch a cutoff endorses (4.4.4)
    ever_named   whom a certificate or the council named at any time, whatever became of it
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from keys.errors import FormatError
from keys.signing import PublicKey, verify
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
)
from protocol.card import consent_bytes
from protocol.charter import Agency, Charter
from protocol.entry import EntryId
from protocol.limits import AGENCIES_MAX


class HeldAct(NamedTuple):
    """An entry of kind `act` that is held with its body."""

    key: PublicKey
    seq: int
    id: EntryId
    refs: tuple[EntryId, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """What a key is, and by which entry: entry `seq` of `certifier`'s log; both None for a root key."""

    rank: str  # agency, admin, node or officer
    agency: str
    name: str
    unit: str = ""
    roles: tuple[str, ...] = ()
    certifier: PublicKey | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class NamedUnit:
    """A unit, and the entry that names it."""

    title: str
    regions: tuple[str, ...]
    key: PublicKey
    seq: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the acts come to."""

    standing: dict[PublicKey, Standing]
    cutoffs: dict[PublicKey, Cutoff]  # of keys that have standing
    members: dict[str, PublicKey]  # the council: agency -> its root key
    threshold: int
    units: dict[str, NamedUnit]
    passed: tuple[EntryId, ...]  # proposals, in the order in which they passed
    open: dict[EntryId, frozenset[str]]  # the others that count -> the agencies that said yes, disowned ones included
    settled_by: dict[PublicKey, EntryId]  # a key that has a cutoff -> the revocation, or the proposal, that set it
    heard: frozenset[PublicKey]  # the keys whose acts are read for the council
    endorsed: frozenset[PublicKey] = frozenset()  # the forked logs that count up to their cutoffs (`judge_held`)


def judge(charter: Charter, acts: Iterable[HeldAct]) -> Judgement:
    """Judge the acts, of which (key, seq) and id differ. A body that is no act counts for nothing.

    Cost: the council's acts to the third power, a few passes over the others. Source: SPEC.md 4.4.1 to 4.4.3.
    """
    parsed = sorted(_parsed(acts), key=lambda item: (item.key, item.seq))
    spoken = [item for item in parsed if isinstance(item.act, Propose | Approve)]
    heard = _heard(charter, spoken)
    council = _council(charter, [item for item in spoken if item.key in heard])
    in_force = [*council.in_force.values(), *council.cutoffs]
    cutoffs = _lowest(in_force)
    claims: dict[PublicKey, list[Certify]] = {}  # who is certified, by anybody
    for item in parsed:
        if isinstance(item.act, Certify):
            claims.setdefault(item.act.subject, []).append(item.act)
    standing = {key: Standing("agency", agency.name, agency.title) for key, agency in council.roots.items()}
    revoked: list[tuple[str, str, _Cut]] = []  # rank and agency of who revokes, what it says
    units: dict[str, NamedUnit] = {}
    for rank in ("agency", "admin"):
        speakers = {key: known for key, known in standing.items() if known.rank == rank}
        said = [
            (item, speakers[item.key])
            for item in parsed
            if item.key in speakers and not _after(item.seq, cutoffs.get(item.key))
        ]
        said.sort(key=lambda pair: (pair[0].key, -pair[0].seq))  # the first of several decides
        certified = _certified([pair for pair in said if _consented(pair[0].act, claims)], standing)
        standing |= certified
        for item, speaker in said:
            if isinstance(item.act, Revoke):
                cutoff = Cutoff(item.act.subject, item.act.seq, item.act.id)
                revoked.append((rank, speaker.agency, _Cut(cutoff, item.id)))
            elif isinstance(item.act, Unit):
                units.setdefault(item.act.unit, NamedUnit(item.act.title, item.act.regions, item.key, item.seq))
        cutoffs = _lowest([*in_force, *_cuts(standing, revoked, council.removed)])
    cutoffs = {key: cut for key, cut in cutoffs.items() if key in standing}
    said_yes = {
        proposal: frozenset(agency for _, _, agency in council.yes[proposal])
        for proposal in council.opened
        if proposal not in council.passed
    }
    return Judgement(
        standing, {key: cut.cutoff for key, cut in cutoffs.items()},
        {name: agency.key for name, agency in council.members.items()}, council.threshold, units,
        tuple(council.passed), said_yes, {key: cut.by for key, cut in cutoffs.items()}, frozenset(heard),
    )  # fmt: skip


_Branches: TypeAlias = Mapping[PublicKey, frozenset[HeldAct]]  # forked logs that are read further, the acts there


def judge_held(
    charter: Charter,
    acts: Collection[HeldAct],
    forks: Mapping[PublicKey, int],
    chain: Callable[[Cutoff], Collection[HeldAct] | None],
) -> Judgement:
    """Judge the acts of logs that may fork, leaving out those at or above a fork that no cutoff endorses.

    forks: key -> lowest proved seq. chain: the acts of the branch that has the cutoff's entry, up to it; None where
    that branch is not held. Source: SPEC.md 4.4.4.

    An endorsed branch may hold acts that say something of other branches, so acts are judged until they endorse what
    was read: of each branch what lies up to its cutoff. If that goes in a circle, what is not endorsed all around it is
    not read.
    """
    below = [act for act in acts if act.seq < forks.get(act.key, act.seq + 1)]

    def read(branches: _Branches) -> tuple[Judgement, _Branches]:
        """What the acts come to if these branches are read, and the branches that are endorsed by that."""
        beyond = [act for key, held in branches.items() for act in held if act.seq >= forks[key]]
        judgement = judge(charter, [*below, *beyond])
        endorsed: dict[PublicKey, frozenset[HeldAct]] = {}
        for key, seq in forks.items():
            cutoff = judgement.cutoffs.get(key)
            if cutoff is not None and cutoff.id is not None and cutoff.seq >= seq:
                held = chain(cutoff)
                if held is not None:
                    endorsed[key] = frozenset(held)
        return replace(judgement, endorsed=frozenset(endorsed)), endorsed

    readings: list[_Branches] = [{}]
    while True:
        judgement, endorsed = read(readings[-1])
        if endorsed == readings[-1]:
            return judgement
        if endorsed in readings:
            circle = readings[readings.index(endorsed) :]
            common = {key: frozenset.intersection(*(one[key] for one in circle))
                      for key in endorsed if all(key in one for one in circle)}  # fmt: skip
            judgement, again = read(common)
            return replace(judgement, endorsed=frozenset(common.keys() & again.keys()))
        readings.append(endorsed)


def ever_named(charter: Charter, acts: Iterable[HeldAct]) -> set[PublicKey]:
    """The keys to which a chain of names leads from the charter, were nothing cut, voted down or disputed.

    A node takes in the log of a key that has standing at the time, and keeps it when the standing falls: such a log
    may be held. One of a key that is not named here was never admitted by anybody.
    """
    named = {(agency.key, "agency", agency.name) for agency in charter.agencies}
    waiting = list(_parsed(acts))
    while True:
        speakers: dict[PublicKey, list[tuple[str, str]]] = {}
        for key, rank, agency in named:
            speakers.setdefault(key, []).append((rank, agency))
        found = {
            name
            for item in waiting
            for rank, agency in speakers.get(item.key, ())
            for name in _names(item.act, rank, agency)
        }
        if found <= named:
            return {key for key, _, _ in named}
        named |= found


def _names(act: Act, rank: str, agency: str) -> Iterator[tuple[PublicKey, str, str]]:
    """Whom an act would give what rank in which agency, said by somebody of that rank and agency."""
    match act:
        case Certify() if act.agency == agency and (rank == "agency" or (rank == "admin" and act.rank != "admin")):
            yield act.subject, act.rank, act.agency
        case Propose(Rekey(name=name, key=key)) | Propose(Admit(Agency(name=name, key=key))) if rank == "agency":
            yield key, "agency", name
        case _:
            return


class _Parsed(NamedTuple):
    key: PublicKey
    seq: int
    id: EntryId
    refs: tuple[EntryId, ...]
    act: Act


def _parsed(acts: Iterable[HeldAct]) -> Iterator[_Parsed]:
    for key, seq, known, refs, body in acts:
        try:
            yield _Parsed(key, seq, known, refs, parse_act(body))
        except FormatError:
            continue  # no act: it has no effect (4.3)


# -- 4.4.3: cutoffs -----------------------------------------------------------------------------------


class _Cut(NamedTuple):
    cutoff: Cutoff
    by: EntryId


def _after(seq: int, cut: _Cut | None) -> bool:
    return cut is not None and (cut.cutoff.id is None or seq > cut.cutoff.seq)


def _lowest(cuts: Iterable[_Cut]) -> dict[PublicKey, _Cut]:
    """Of several cutoffs of one key the lowest: none before any, then the smaller seq, then the smaller id."""
    found: dict[PublicKey, _Cut] = {}
    for cut in sorted(cuts, key=lambda cut: (cut.cutoff.id is not None, cut.cutoff.seq, cut.cutoff.id or b"", cut.by)):
        found.setdefault(cut.cutoff.key, cut)
    return found


def _named_or_whole(key: PublicKey, change: Remove) -> Cutoff:
    return next((cutoff for cutoff in change.cutoffs if cutoff.key == key), Cutoff(key, 0, None))


def _cuts(
    standing: dict[PublicKey, Standing],
    revoked: list[tuple[str, str, _Cut]],
    removed: list[tuple[EntryId, Remove, frozenset[PublicKey]]],
) -> Iterator[_Cut]:
    """What revocations and removals say of the keys that are certified by now."""
    for rank, agency, cut in revoked:
        of = standing.get(cut.cutoff.key)
        ranks = ("admin", "node", "officer") if rank == "agency" else ("node", "officer")
        if of is not None and of.agency == agency and of.rank in ranks:
            yield cut
    for key, known in standing.items():
        root = key
        while (certifier := standing[root].certifier) is not None:
            root = certifier
        for proposal, change, roots in removed:
            if root in roots and known.rank != "agency":
                yield _Cut(_named_or_whole(key, change), proposal)


# -- 4.4.2: ranks -------------------------------------------------------------------------------------


def _consented(act: Act, claims: dict[PublicKey, list[Certify]]) -> bool:
    """Whether the subject of a certificate consented to its agency, or to none of those that certify it."""
    if not isinstance(act, Certify):
        return True
    others = claims[act.subject]
    if len({other.agency for other in others}) == 1:
        return True
    given = {other.agency for other in others if verify(act.subject, consent_bytes(other.agency), other.consent or b"")}
    return not given or act.agency in given


def _certified(said: list[tuple[_Parsed, Standing]], standing: dict[PublicKey, Standing]) -> dict[PublicKey, Standing]:
    """Whom the speakers of one rank certify, in the order in which the first decides."""
    found: dict[PublicKey, Standing] = {}
    for item, speaker in said:
        act = item.act
        if (
            isinstance(act, Certify)
            and act.agency == speaker.agency
            and act.subject not in standing
            and (speaker.rank == "agency" or act.rank != "admin")
        ):
            certificate = Standing(act.rank, act.agency, act.name, act.unit, act.roles, item.key, item.seq)
            found.setdefault(act.subject, certificate)
    return found


# -- 4.4.1: the council -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reading:
    """The council's acts as read once, with what was in force from the beginning."""

    in_force: dict[PublicKey, _Cut]
    said: dict[EntryId, list[tuple[PublicKey, int]]]  # proposal -> who said yes at which seq, in whatever order
    changes: dict[EntryId, Change]  # what those are about
    members: dict[str, Agency]
    threshold: int
    roots: dict[PublicKey, Agency]  # every key that is or was an agency's
    opened: dict[EntryId, Change] = field(default_factory=dict)
    yes: dict[EntryId, list[tuple[PublicKey, int, str]]] = field(default_factory=dict)  # those that counted
    passed: dict[EntryId, tuple[Cutoff, ...]] = field(default_factory=dict)  # -> the root keys' cutoffs that it set
    removed: list[tuple[EntryId, Remove, frozenset[PublicKey]]] = field(default_factory=list)  # the agency's root keys

    @property
    def cutoffs(self) -> list[_Cut]:
        return [_Cut(cutoff, proposal) for proposal, made in self.passed.items() for cutoff in made]


def _council(charter: Charter, acts: list[_Parsed]) -> _Reading:
    """Read until what passes is what was in force; where that goes in a circle, once more with all of the circle."""
    council = _in_order(acts)
    outcomes: list[frozenset[_Cut]] = [frozenset()]
    while True:
        reading = _read(charter, council, outcomes[-1])
        outcome = frozenset(reading.cutoffs)
        if outcome == outcomes[-1]:
            return reading
        if outcome in outcomes:
            return _read(charter, council, frozenset().union(*outcomes[outcomes.index(outcome) :]))
        outcomes.append(outcome)


def _heard(charter: Charter, acts: list[_Parsed]) -> set[PublicKey]:
    """The keys that the charter names, or that a change proposed by such a key would make an agency's."""
    keys = {agency.key for agency in charter.agencies}
    while True:
        named = {key for item in acts if item.key in keys for key, _, _ in _names(item.act, "agency", "")}
        if named <= keys:
            return keys
        keys |= named


def _read(charter: Charter, council: list[_Parsed], cuts: frozenset[_Cut]) -> _Reading:
    in_force = _lowest(cuts)
    valid = [item for item in council if not _after(item.seq, in_force.get(item.key))]
    changes = {item.id: item.act.change for item in valid if isinstance(item.act, Propose)}
    said: dict[EntryId, list[tuple[PublicKey, int]]] = {proposal: [] for proposal in changes}
    for item in valid:
        if (proposal := _proposal(item)) in said:
            said[proposal].append((item.key, item.seq))
    members = {agency.name: agency for agency in charter.agencies}
    reading = _Reading(
        in_force, said, changes, members, charter.threshold, {agency.key: agency for agency in charter.agencies}
    )
    for item in council:
        speaker = reading.roots.get(item.key)
        present = _lowest([*reading.in_force.values(), *reading.cutoffs])
        if speaker is None or reading.members.get(speaker.name) != speaker or _after(item.seq, present.get(item.key)):
            continue
        proposal = _proposal(item)
        if isinstance(item.act, Propose):
            reading.opened[proposal] = item.act.change
        if proposal in reading.opened and proposal not in reading.passed:
            reading.yes.setdefault(proposal, []).append((item.key, item.seq, speaker.name))
            if _passes(reading, proposal):
                _do(reading, proposal)
    return reading


def _proposal(item: _Parsed) -> EntryId:
    return item.act.proposal if isinstance(item.act, Approve) else item.id


def _in_order(council: list[_Parsed]) -> list[_Parsed]:
    """By height, then id. Heights grow round by round until none is too low; ids are hashes, so that ends."""
    before: dict[EntryId, set[EntryId]] = {}
    last: _Parsed | None = None
    known = {item.id for item in council}
    for item in council:  # by key, then seq
        named = {*item.refs, _proposal(item)} - {item.id}
        if last is not None and last.key == item.key:
            named.add(last.id)
        before[item.id], last = named & known, item
    heights = dict.fromkeys(before, 0)
    for _ in council:
        grown = False
        for one, named in before.items():
            height = max((heights[other] + 1 for other in named), default=0)
            grown, heights[one] = grown or height != heights[one], height
        if not grown:
            break
    return sorted(council, key=lambda item: (heights[item.id], item.id))


def _passes(reading: _Reading, proposal: EntryId) -> bool:
    change = reading.opened[proposal]
    agencies = {
        agency
        for key, _, agency in reading.yes[proposal]
        if agency in reading.members and agency != _concerned(change) and not _disowned(reading, key, proposal)
    }
    return len(agencies) >= reading.threshold and _can_be_done(reading, change)


def _concerned(change: Change) -> str | None:
    """The agency that a change would remove or give a new key: it has no say in it."""
    return change.name if isinstance(change, Remove | Rekey) else None


def _can_be_done(reading: _Reading, change: Change) -> bool:
    match change:
        case Admit(agency):
            new = agency.key not in reading.roots and agency.name not in reading.members
            return new and len(reading.members) < AGENCIES_MAX
        case Rekey():
            return change.name in reading.members and change.key not in reading.roots
        case Remove():
            return change.name in reading.members and len(reading.members) > reading.threshold
        case Threshold():
            return change.threshold <= len(reading.members)


def _do(reading: _Reading, proposal: EntryId) -> None:
    change = reading.opened[proposal]
    made = _would_cut(reading, change)
    match change:
        case Admit(agency):
            reading.members[agency.name] = reading.roots[agency.key] = agency
        case Rekey():
            agency = Agency(change.name, reading.members[change.name].title, change.key)
            reading.members[change.name] = reading.roots[change.key] = agency
        case Remove():
            del reading.members[change.name]
            had = frozenset(key for key, agency in reading.roots.items() if agency.name == change.name)
            reading.removed.append((proposal, change, had))
        case Threshold():
            reading.threshold = change.threshold
    reading.passed[proposal] = made


def _would_cut(reading: _Reading, change: Change) -> tuple[Cutoff, ...]:
    """The cutoffs of root keys that a change sets when it passes now."""
    match change:
        case Rekey(name=name) if name in reading.members:
            return (Cutoff(reading.members[name].key, change.seq, change.id),)
        case Remove(name=name) if name in reading.members:
            return (_named_or_whole(reading.members[name].key, change),)
        case _:
            return ()


def _disowned(reading: _Reading, key: PublicKey, proposal: EntryId) -> bool:
    """Whether a yes by `key` to the proposal P is disowned: another who said yes to P has since said yes to cutting it.

    SPEC.md 4.4.1: another key X that said yes to P has, later in X's log than its first yes to P, first said yes to a
    supported change R that cuts the log of `key` before its first yes to P.
    """
    said = reading.said.get(proposal, [])
    first = min(seq for who, seq, _ in reading.yes[proposal] if who == key)
    for other in {who for who, _ in said} - {key}:
        before = min(seq for who, seq in said if who == other)
        for change_id, change in reading.changes.items():
            later = min((seq for who, seq in reading.said[change_id] if who == other), default=-1) > before
            if later and _cuts_before(reading, change_id, key, first) and _supported(reading, change_id, change):
                return True
    return False


def _cuts_before(reading: _Reading, change_id: EntryId, key: PublicKey, seq: int) -> bool:
    made = reading.passed.get(change_id)
    cutoffs = _would_cut(reading, reading.changes[change_id]) if made is None else made
    return any(cutoff.key == key and _after(seq, _Cut(cutoff, change_id)) for cutoff in cutoffs)


def _supported(reading: _Reading, change_id: EntryId, change: Change) -> bool:
    agencies = {reading.roots[key].name for key, _ in reading.said[change_id] if key in reading.roots}
    agencies -= {_concerned(change)}
    return len(agencies) >= reading.threshold
