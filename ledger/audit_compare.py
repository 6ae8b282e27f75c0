"""Several sources at once: who lacks what another holds, and who signed two versions. Used by `hamkor audit`.

Every source was audited on its own before (`ledger/audit.py`). Here only what is proved is compared: of each log, as
far as it is whole, up to the last entry whose own signature holds. An id stands for all before it, so one id of each
log says whether two sources agree; only where they do not is the place looked for at which they part.

A fault is `held-back` (a source lacks entries that another has, and that would count) or `fork` (two sources hold two
versions of an entry, both signed: neither alone shows it). What is lacking and would not count is a note, and so is a
fork that a cutoff has settled; then whoever holds another branch than the endorsed one lacks that.
Cost: a few reads a log; of a bundle one pass, and about 20 more where any log parts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from keys.signing import PublicKey
from ledger.audit_finding import Finding, Findings, short
from ledger.audit_state import Audited, Held
from protocol.acts import Cutoff
from protocol.entry import EntryId

Places: TypeAlias = set[tuple[PublicKey, int]]
IdsAt: TypeAlias = Callable[[Places], dict[tuple[PublicKey, int], EntryId]]

_NOTHING = Held(0, None, None, None)


@dataclass(frozen=True, slots=True)
class Compared:
    """A source to compare: its name for people, what its audit came to, and how to look up ids in it."""

    name: str
    audited: Audited
    ids_at: IdsAt


@dataclass(frozen=True, slots=True)
class Comparison:
    """What shows only when the sources are laid side by side. Each finding names the source that it is about."""

    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    fault_count: int
    note_count: int


@dataclass(slots=True)
class _Parting:
    """A log of which two sources hold two versions: the first seq at which they do lies in low <= seq <= high."""

    key: PublicKey
    one: Compared
    other: Compared
    low: int
    high: int


def compare(sources: Sequence[Compared]) -> Comparison:
    """Lay audited sources side by side."""
    findings = Findings()
    partings: list[_Parting] = []
    for longest, others in _by_longest(sources).values():
        partings += _compare_with(longest, others, findings)
    for parting in _narrowed(partings):
        cutoff = _cutoff(parting)
        if cutoff is not None:
            _say_settled(parting, cutoff, findings)
        elif not _known(parting.key, parting.low, parting.one, parting.other):
            _say_parting(parting, findings)

    def owners(key: bytes | None) -> tuple[str | None, str | None]:
        found = (source.audited.owners(key) for source in sources)
        return next((owner for owner in found if owner != (None, None)), (None, None))

    faults, notes = findings.named(owners)
    return Comparison(faults, notes, findings.fault_count, findings.note_count)


def _by_longest(sources: Sequence[Compared]) -> dict[int, tuple[Compared, list[tuple[PublicKey, list[Compared]]]]]:
    """Of each source the logs of which it holds most, and who else there is to compare; logs ascending by key."""
    keys = sorted({key for source in sources for key in source.audited.held})
    found: dict[int, tuple[Compared, list[tuple[PublicKey, list[Compared]]]]] = {}
    for key in keys:
        sizes = [_held(source, key).size for source in sources]
        at = sizes.index(max(sizes))
        others = [source for source in sources if source is not sources[at]]
        found.setdefault(at, (sources[at], []))[1].append((key, others))
    return found


def _held(source: Compared, key: PublicKey) -> Held:
    return source.audited.held.get(key, _NOTHING)


def _compare_with(
    longest: Compared, logs: list[tuple[PublicKey, list[Compared]]], findings: Findings
) -> list[_Parting]:
    """Say what others lack of these logs; give those whose ids differ."""
    asked = {(key, _held(other, key).size - 1) for key, others in logs for other in others if _held(other, key).size}
    ids = longest.ids_at(asked)
    partings: list[_Parting] = []
    for key, others in logs:
        most = _held(longest, key)
        for other in others:
            held = _held(other, key)
            if held.size and ids.get((key, held.size - 1)) != held.id:
                partings.append(_Parting(key, longest, other, 0, held.size - 1))
            elif held.size < most.size:
                _say_lacking(key, longest, other, findings)
    return partings


def _say_lacking(key: PublicKey, longest: Compared, other: Compared, findings: Findings) -> None:
    held, most = _held(other, key), _held(longest, key)
    limits = [limit for limit in (held.limit, most.limit) if limit is not None]
    counting = min([most.size, *limits])
    found = f"{other.name} lacks {most.size - held.size} entries from seq {held.size} on, which {longest.name} has"
    if counting > held.size:
        means = "they were left out, held back, or had not come there when it was made"
        expected = f"{most.size} entries"
        findings.fault("held-back", key, held.size, None, found, expected, means, source=other.name)
    else:
        means = "they would not count, and are not passed on"
        findings.note("held-back", key, held.size, None, found, means, source=other.name)


def _known(key: PublicKey, seq: int, *sources: Compared) -> bool:
    """Whether one of the sources proves a fork at that seq or below: then it is told already."""
    forks = (_held(source, key).forked_at for source in sources)
    return any(fork is not None and fork <= seq for fork in forks)


def _narrowed(partings: list[_Parting]) -> list[_Parting]:
    """Look for the first entry that differs, in all logs at once, by halves."""
    while any(parting.low < parting.high for parting in partings):
        asked: dict[int, tuple[Compared, Places]] = {}
        for parting in partings:
            for source in (parting.one, parting.other):
                asked.setdefault(id(source), (source, set()))[1].add((parting.key, _middle(parting)))
        ids = {at: source.ids_at(places) for at, (source, places) in asked.items()}
        for parting in partings:
            place = parting.key, _middle(parting)
            if ids[id(parting.one)].get(place) == ids[id(parting.other)].get(place):
                parting.low = min(_middle(parting) + 1, parting.high)
            else:
                parting.high = _middle(parting)
    return partings


def _middle(parting: _Parting) -> int:
    return (parting.low + parting.high) // 2


def _cutoff(parting: _Parting) -> Cutoff | None:
    """The cutoff of the log's key, as far as either source knows of one; the lower of two."""
    cutoffs = [_held(source, parting.key).cutoff for source in (parting.one, parting.other)]
    return min((one for one in cutoffs if one is not None), key=lambda one: (one.id is not None, one.seq), default=None)


def _say_settled(parting: _Parting, cutoff: Cutoff, findings: Findings) -> None:
    key, seq = parting.key, parting.low
    if not _known(key, seq, parting.one, parting.other):
        found = f"{parting.one.name} and {parting.other.name} hold two versions of this entry"
        findings.note("fork", key, seq, None, found, "the author signed both; a cutoff of the key says what counts")
    if cutoff.id is None or cutoff.seq < seq:
        return
    place = key, cutoff.seq
    holds = [source.ids_at({place}).get(place) == cutoff.id for source in (parting.one, parting.other)]
    if holds[0] != holds[1]:
        has, lacks = (parting.one, parting.other) if holds[0] else (parting.other, parting.one)
        found = f"{lacks.name} lacks the branch that the cutoff endorses, from seq {seq} on, which {has.name} has"
        means = "it counts, and replaces the other where it comes"
        findings.fault("held-back", key, seq, None, found, f"{cutoff.seq + 1} entries", means, source=lacks.name)


def _say_parting(parting: _Parting, findings: Findings) -> None:
    key, seq = parting.key, parting.low
    one, other = (source.ids_at({(key, seq)}).get((key, seq)) for source in (parting.one, parting.other))
    found = f"{parting.one.name} has {short(one)} at seq {seq}, {parting.other.name} has {short(other)}"
    means = "the author signed two versions, and each source shows only one: entries from there on are disputed"
    findings.fault("fork", key, seq, one, found, "one entry", means)
