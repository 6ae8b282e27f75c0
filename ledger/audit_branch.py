"""Entries that lie on other branches than the one that an audit takes as the log. Used by `ledger/audit.py`.

A source may hold several branches of a forked log: a bundle one after the other, a store in table `branches`. The
first is the log; entries of others are set aside, with what they say. Here they are put together by `prev`: what is
proved (SPEC.md 3.4), where a fork is that nobody told of, and which branch a cutoff endorses (4.4.4). That one then
takes the place of the log from where they part.

    judge_asides      once all was read: signatures, hidden forks
    note_branches     where they leave the log, and the roots that checkpoints attest; reads those logs once more
    held_chain        what a cutoff endorses: the acts of the branch that has its entry
    adopt             that branch counts

Memory: about 500 bytes an entry set aside, its acts and alarms whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from keys.signing import PublicKey
from ledger.audit_authority import HeldAct
from ledger.audit_finding import Findings
from protocol.acts import Cutoff
from protocol.entry import EntryId
from protocol.merkle import append, root

if TYPE_CHECKING:
    from ledger.audit_log import Log, Logs
    from ledger.audit_state import Source

Alarmed: TypeAlias = tuple[int, EntryId, bytes]  # seq, id, body


@dataclass(frozen=True, slots=True)
class Attestation:
    """A checkpoint entry that was read, without its body."""

    seq: int
    id: EntryId
    time_ms: int  # by the node's clock
    body_hash: bytes
    note: bool | None  # whether its note holds; None: not looked at, or there is none


Said: TypeAlias = HeldAct | Attestation | Alarmed | None  # what an entry says to the audit


class Aside(NamedTuple):
    """An entry set aside."""

    seq: int
    prev: EntryId | None
    id: EntryId
    signed: bool  # whether its own signature holds
    said: Said


# -- what is proved, what is forked -------------------------------------------------------------------


def judge_asides(logs: "Logs", source: "Source", findings: Findings) -> None:
    """Report what proves nothing, and leave it out; note the forks of which there is no proof in the source."""
    hidden: dict[tuple[PublicKey, int], EntryId] = {}
    for key in sorted(logs.logs):
        log = logs.logs[key]
        if log.asides:
            logs.entries += len(log.asides)
            logs.signatures += sum(one.signed for one in log.asides.values())
            _leave_out_unproved(log, findings)
            parting = min((one.seq for one in _first(log) if one.seq < log.own), default=None)
            if parting is not None and (log.forked_at is None or parting < log.forked_at):
                hidden[key, parting] = min(one.id for one in _first(log) if one.seq == parting)
    for place, here in source.ids_at(set(hidden)).items() if hidden else ():
        other = hidden[place]
        logs.forked(*place, (min(here, other), max(here, other)))


def _leave_out_unproved(log: "Log", findings: Findings) -> None:
    """Report each signature that does not hold; of entries that nothing proves, the first of those on one branch."""
    proved: set[EntryId | None] = set()
    for one in sorted(log.asides.values(), key=lambda one: -one.seq):
        if one.signed or one.id in proved:
            proved |= {one.id, one.prev}
    for one in sorted(log.asides.values(), key=_place):
        if one.signed:
            continue
        found = "its own signature, on another branch of the log, does not verify"
        expected = "a signature by the author"
        if one.id in proved:
            found += ", although that of a later entry of that branch does"
            means = "it is authentic, but was signed wrongly"
            findings.fault("signature", log.key, one.seq, one.id, found, expected, means)
        elif one.prev not in log.asides or one.prev in proved:
            found += ", nor does one after it"
            findings.fault("signature", log.key, one.seq, one.id, found, expected, "it was slipped in")
    log.asides = {known: one for known, one in log.asides.items() if known in proved}


def _place(one: Aside) -> tuple[int, EntryId]:
    return one.seq, one.id


def _first(log: "Log") -> Iterator[Aside]:
    """The entries at which branches begin."""
    return (one for one in log.asides.values() if one.prev not in log.asides)


def note_branches(logs: "Logs", source: "Source", wanted: Mapping[PublicKey, set[int]]) -> None:
    """Find where branches leave their logs, and note the roots of branches at the sizes that are asked for."""
    partings = {key: {one.seq for one in _first(log)} for key, log in logs.logs.items() if log.asides}
    below: dict[tuple[PublicKey, int], EntryId | None] = {(key, 0): None for key in partings}
    walks: dict[PublicKey, tuple[int, EntryId | None, list[bytes]]] = {key: (0, None, []) for key in partings}
    for key in partings:
        logs.logs[key].partings = {0: []}
    for key, seq, prev, known, _ in source.rows(sorted(partings)) if partings else ():
        size, head, peaks = walks[key]
        log = logs.logs[key]
        if seq != size or prev != head or seq >= log.read_whole or known in log.asides:
            continue
        walks[key] = size, _, peaks = seq + 1, known, append(peaks, seq, (known,))
        if size in partings[key]:
            below[key, size], log.partings[size] = known, list(peaks)
    for key in partings:
        ends = {seq: known for (of, seq), known in below.items() if of == key}
        _note_roots(logs.logs[key], ends, wanted.get(key, set()))


def _note_roots(log: "Log", below: Mapping[int, EntryId | None], wanted: set[int]) -> None:
    """below: parting -> the log's own entry before it."""
    log.linked, log.branch_roots = set(), {}
    peaks: dict[EntryId, list[bytes]] = {}  # of those that stand at one seq
    at, before = -1, peaks
    for one in sorted(log.asides.values(), key=_place):
        if one.seq != at:
            at, before, peaks = one.seq, peaks, {}
        if one.prev in log.linked and one.prev in before:
            start = before[one.prev]
        elif one.seq in below and below[one.seq] == one.prev:
            start = log.partings[one.seq]
        else:
            continue  # the entries between are not here
        log.linked.add(one.id)
        peaks[one.id] = append(start, one.seq, (one.id,))
        if one.seq + 1 in wanted:
            log.branch_roots[one.id] = root(peaks[one.id])


# -- what is endorsed ---------------------------------------------------------------------------------


def held_chain(logs: "Logs", source: "Source", cutoff: Cutoff) -> Sequence[HeldAct] | None:
    """The acts of the branch that has the cutoff's entry, up to it; None where it is not held whole."""
    log = logs.logs.get(cutoff.key)
    if log is None or cutoff.id is None:
        return None
    if cutoff.id in log.linked:
        branch = _branch(log, cutoff.id)
        if branch[-1].seq != cutoff.seq:
            return None
        own = [act for act in logs.acts if act.key == cutoff.key and act.seq < branch[0].seq]
        return own + [one.said for one in branch if isinstance(one.said, HeldAct)]
    place = cutoff.key, cutoff.seq
    if cutoff.seq >= log.read_whole or source.ids_at({place}).get(place) != cutoff.id:
        return None
    return [act for act in logs.acts if act.key == cutoff.key and act.seq <= cutoff.seq]


def _branch(log: "Log", end: EntryId) -> list[Aside]:
    """The entries of a branch from where it leaves the log up to `end`."""
    found: list[Aside] = []
    known: EntryId | None = end
    while known is not None and known in log.asides:
        found.append(log.asides[known])
        known = found[-1].prev
    return found[::-1]


def adopt(log: "Log", cutoff: Cutoff, size_max: int) -> bool:
    """Let the endorsed branch count, where it is another than the log's own; False: it is not, or nothing of it counts.

    size_max: how many entries of the log can count.
    """
    if cutoff.id is None or cutoff.id not in log.linked:
        return False
    branch = _branch(log, cutoff.id)
    start = branch[0].seq
    log.branch = branch
    log.chained = branch[-1].seq + 1
    log.checkpoints = [item for item in log.checkpoints if item.seq < start]
    log.checkpoints += [one.said for one in branch if isinstance(one.said, Attestation)]
    log.alarms = [item for item in log.alarms if item[0] < start]
    log.alarms += [one.said for one in branch if isinstance(one.said, tuple) and not isinstance(one.said, HeldAct)]
    end = next((one for one in reversed(branch) if one.signed and one.seq < size_max), None)
    if end is None:
        return False
    ids = [one.id for one in branch[: end.seq - start + 1]]
    log.size, log.head, log.peaks = end.seq + 1, end.id, append(log.partings[start], start, ids)
    log.own, log.own_id = log.size, log.head
    return True
