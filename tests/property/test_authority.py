"""Authority, read twice: `ledger.authority` and the auditor's own reading of SPEC.md 4.4 agree on any set of acts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.signing import PublicKey
from ledger.audit_authority import HeldAct, judge
from ledger.authority import Authority, evaluate
from ledger.council import ActEntry
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
    encode_act,
)
from protocol.charter import Agency, Charter
from protocol.entry import EntryId

NAMES = ("a", "b", "c", "d", "e")


def key(name: str) -> PublicKey:
    return PublicKey(sha256(f"key of {name}".encode()).digest())


def founded(count: int, threshold: int) -> Charter:
    """Agencies a, b, ... whose root keys have the same names."""
    return Charter("network", tuple(Agency(name, f"Agency {name}", key(name)) for name in NAMES[:count]), threshold,
                   0, bytes(16))  # fmt: skip


@dataclass
class Script:
    """Acts as they are signed, one after the other; entries of other kinds leave gaps in the logs."""

    charter: Charter
    acts: list[HeldAct] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def say(
        self, who: str, act: Act | bytes, refs: Sequence[EntryId] = (), *, skip: int = 0, low: bool = False
    ) -> EntryId:
        """Sign an act; give its id. skip: entries of other kinds before it. low: its id is the lowest of its height."""
        seq = self.sizes.get(who, 0) + skip
        self.sizes[who] = seq + 1
        body = act if isinstance(act, bytes) else encode_act(act)
        mark = sha256(b"|".join([who.encode(), str(seq).encode(), body, *refs])).digest()
        known = EntryId((b"\0\0" if low else b"\x01" + mark[:1]) + mark[2:])
        self.acts.append(HeldAct(key(who), seq, known, tuple(sorted(refs)), body))
        return known

    def propose(self, who: str, change: Change, refs: Sequence[EntryId] = ()) -> EntryId:
        return self.say(who, Propose(change), refs)

    def approve(self, who: str, proposal: EntryId, refs: Sequence[EntryId] = (), *, low: bool = False) -> EntryId:
        return self.say(who, Approve(proposal), refs, low=low)

    def certify(self, who: str, subject: str, rank: str, agency: str) -> EntryId:
        return self.say(who, Certify(key(subject), rank, subject, agency, "", ()))

    def cut(self, who: str, act: EntryId | None) -> Cutoff:
        """The cutoff of `who` at that act of its own; None: at nothing."""
        found = next((item for item in self.acts if item.id == act), None)
        return Cutoff(key(who), 0 if found is None else found.seq, act)

    def rekey(self, agency: str, new: str, last: EntryId | None, old: str | None = None) -> Rekey:
        cutoff = self.cut(old or agency, last)
        return Rekey(agency, key(new), cutoff.seq, cutoff.id)

    def revoke(self, who: str, subject: str, last: EntryId | None) -> EntryId:
        cutoff = self.cut(subject, last)
        return self.say(who, Revoke(cutoff.key, cutoff.seq, cutoff.id, "lost"))


@dataclass(frozen=True)
class Told:
    """What both implementations must say, in terms of both."""

    standing: dict[PublicKey, tuple[object, ...]]
    cutoffs: dict[PublicKey, Cutoff]
    members: dict[str, PublicKey]
    threshold: int
    passed: frozenset[EntryId]
    open: dict[EntryId, frozenset[str]]
    units: dict[str, tuple[str, tuple[str, ...]]]


def by_rule(charter: Charter, acts: Sequence[HeldAct]) -> Authority:
    return evaluate(charter, [ActEntry(known, who, seq, refs, body) for who, seq, known, refs, body in acts])


def told_by_rule(charter: Charter, acts: Sequence[HeldAct]) -> Told:
    found = by_rule(charter, acts)
    seqs = {item.id: item.seq for item in acts}
    roles = {who: one.roles for who, one in found.standings.items() if one.rank != "agency"}
    standing: dict[PublicKey, tuple[object, ...]] = {
        who: (one.rank, one.agency, one.name, one.unit, roles.get(who, ()), one.certifier,
              None if one.act is None else seqs[one.act])
        for who, one in found.standings.items()
    }  # fmt: skip
    proposals = found.council.proposals
    return Told(
        standing, {who: cutoff for who in standing if (cutoff := found.cutoff(who)) is not None},
        {name: agency.key for name, agency in found.council.members.items()}, found.council.threshold,
        frozenset(item.id for item in proposals if item.passed is not None),
        {item.id: frozenset(item.yes) for item in proposals if item.passed is None},
        {name: (unit.title, unit.regions) for name, unit in found.units.items()},
    )  # fmt: skip


def told_by_auditor(charter: Charter, acts: Sequence[HeldAct]) -> Told:
    found = judge(charter, acts)
    assert found.settled_by.keys() == found.cutoffs.keys()
    return Told(
        {who: (one.rank, one.agency, one.name, one.unit, one.roles, one.certifier, one.seq)
         for who, one in found.standing.items()},
        found.cutoffs, found.members, found.threshold, frozenset(found.passed), found.open,
        {name: (unit.title, unit.regions) for name, unit in found.units.items()},
    )  # fmt: skip


READERS = pytest.mark.parametrize("told", [told_by_rule, told_by_auditor])

# -- any set of acts ----------------------------------------------------------------------------------

SPEAKERS = (*NAMES[:4], "a2", "b2", "e", "admin a", "admin b", "x", "y", "z")
SUBJECTS = ("admin a", "admin b", "x", "y", "z", "a2", "b", "stranger")
NEW = ("a2", "b2", "e", "x", "a")
Draw = tuple[int, int, int, int, int, int]


def change_of(script: Script, kind: int, one: int, two: int, cutoff: Cutoff) -> Change:
    agency, new = NAMES[one % 5], NEW[two % len(NEW)]
    match kind % 5:
        case 0:
            return Admit(Agency(NAMES[(one + 3) % 5], "another", key(new)))
        case 1 | 2:
            return Rekey(agency, key(new), cutoff.seq, cutoff.id)
        case 3:
            named = {key(name): Cutoff(key(name), cutoff.seq, cutoff.id) for name in (agency, SUBJECTS[two % 8])}
            return Remove(agency, tuple(named[who] for who in sorted(named)) if one % 2 else ())
        case _:
            return Threshold(1 + two % 4)


def written(charter: Charter, draws: Sequence[Draw]) -> list[HeldAct]:
    """Acts that the numbers say: councils that mostly agree, certificates, revocations, nonsense, thieves."""
    script = Script(charter)
    for who, kind, one, two, three, pointing in draws:
        speaker = SPEAKERS[who % len(SPEAKERS)]
        ids = [item.id for item in script.acts]
        refs = set(ids[-1 - pointing % 7 :][:1]) if pointing % 3 else set()
        if pointing % 11 == 0:
            refs.add(EntryId(bytes([pointing]) * 32))  # an entry that is no act
        proposals = [item.id for item in script.acts if b"propose" in item.body]
        cutoff = Cutoff(key(speaker), 0, None) if three % 5 == 4 else Cutoff(
            key(speaker), three % 5, EntryId(bytes([three]) * 32)
        )  # fmt: skip
        subject, agency = SUBJECTS[two % len(SUBJECTS)], NAMES[one % 4]
        act: Act | bytes
        match kind % 16:
            case 0 | 1 | 2 | 3 | 4 | 5 | 6 if proposals:
                act = Approve(proposals[-1 - one % min(4, len(proposals))])
            case 6 | 7 | 8 | 9:
                act = Propose(change_of(script, one // 8, one, two, cutoff))
            case 10 | 11 | 12:
                rank = ("admin", "node", "officer")[three % 3]
                act = Certify(key(subject), rank, f"name {three}", agency, "", ("officer",) if three % 2 else ())
            case 13:
                act = Revoke(key(subject), cutoff.seq, cutoff.id, "")
            case 14:
                act = Unit(("u", "v")[one % 2], f"unit {two}", ())
            case _:
                act = b"\x81\xa3act\xa4what"
        script.say(speaker, act, tuple(refs), skip=int(three % 4 == 3))
    return script.acts


numbers = st.integers(0, 63)
draws = st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers, numbers), max_size=24)


@given(st.integers(2, 4), st.integers(1, 4), draws, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_both_readings_agree_on_any_acts_in_any_order(
    agencies: int, threshold: int, draws: list[Draw], rng: Random
) -> None:
    charter = founded(agencies, min(threshold, agencies))
    acts = written(charter, draws)
    expected = told_by_auditor(charter, acts)
    whole = by_rule(charter, acts)
    assert told_by_rule(charter, acts) == expected
    for _ in range(2):
        shuffled = rng.sample(acts, len(acts))
        assert by_rule(charter, shuffled) == whole
        assert told_by_auditor(charter, shuffled) == expected


# -- SPEC.md 4.4.5, row by row ------------------------------------------------------------------------
