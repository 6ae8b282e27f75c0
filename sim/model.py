"""What must count in a world, from all that was ever signed: independent of the ledger, slow, obvious.

    found = judge_world(world)      what survived somewhere, who may write, and of every log what counts
    found.counted[key]              the ids that count, in order
    found.forks[key]                where two entries stand for one place

Plain dictionaries and loops over everything. Who may write is the auditor's own reading of the text
(`ledger/audit_authority.py`); of a log counts what SPEC.md 4.4.4 says. Nodes are asked for two things only: which ids
their disks hold, and which proofs of forks. An entry that was signed and is on no disk has gone with a crash: it
proves nothing and counts nowhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeAlias

from keys.signing import PublicKey
from ledger.audit_authority import HeldAct, Judgement, judge
from protocol.charter import Charter
from protocol.entry import EntryId, entry_id
from sim.stage import Machine
from sim.writers import Written

_Logs: TypeAlias = dict[PublicKey, dict[EntryId, Written]]
_NOTHING: Final[Mapping[PublicKey, EntryId]] = {}


@dataclass(slots=True)
class Found:
    """What must be so on every node."""

    judgement: Judgement
    counted: dict[PublicKey, list[EntryId]]
    forks: dict[PublicKey, int]  # the lowest seq at which two entries survive, or are proved
    must_know: set[PublicKey]  # the logs of whose fork every node must know: it bears on what counts
    problems: list[str] = field(default_factory=list)


def judge_world(
    charter: Charter, signed: Mapping[EntryId, Written], honest: Iterable[PublicKey], machines: list[Machine]
) -> Found:
    """Judge all that survived on the machines' disks. honest: keys of which no log may fork."""
    problems: list[str] = []
    held = {machine.number: _held(machine) for machine in machines}
    for machine in machines:
        unknown = held[machine.number] - signed.keys()
        if unknown:
            problems.append(f"invariant 3: machine {machine.number} holds {len(unknown)} entries that nobody signed")
    logs: _Logs = {}
    for known in set().union(*held.values()) & signed.keys():
        logs.setdefault(signed[known].key, {})[known] = signed[known]
    forks = _forks(logs, signed, machines, problems)
    problems += [
        f"invariant 2: log {key.hex()[:12]} was written twice at {forks[key]}, by one who keeps to the rules"
        for key in honest
        if key in forks
    ]
    judgement, endorsed = _judge(charter, logs, forks)
    found = Found(judgement, {}, forks, set(), problems)
    for key, log in logs.items():
        found.counted[key] = [entry.id for entry in _counts(key, log, forks, judgement, endorsed)]
        cutoff = judgement.cutoffs.get(key)
        end = len(log) if cutoff is None else 0 if cutoff.id is None else cutoff.seq + 1
        if key in judgement.standing and key in forks and forks[key] < end:
            found.must_know.add(key)
    return found


def naive_root(leaves: list[bytes]) -> bytes:
    """The tree hash as RFC 9162, 2.1.1 writes it down: slow, and sharing nothing with the ledger."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def _held(machine: Machine) -> set[EntryId]:
    with machine.storage.read() as view:
        return {EntryId(known) for known, _ in view.scan("ids")}


def _forks(
    logs: _Logs, signed: Mapping[EntryId, Written], machines: list[Machine], problems: list[str]
) -> dict[PublicKey, int]:
    """Where two entries of one log stand for one place, among those that survived, or in a proof that somebody has."""
    found: dict[PublicKey, int] = {}
    for key, log in logs.items():
        seqs = [entry.seq for entry in log.values()]
        for seq in seqs:
            if seqs.count(seq) > 1:
                found[key] = min(seq, found.get(key, seq))
    for machine in machines:
        for key, seq, proof in machine.ledger.forks():
            sides = [signed.get(entry_id(*side[0])) for side in proof.sides]
            if any(side is None or (side.key, side.seq) != (key, seq) for side in sides) or sides[0] == sides[1]:
                problems.append(f"invariant 4: machine {machine.number} holds a proof of a fork that is none")
                continue
            found[key] = min(seq, found.get(key, seq))
    return found


def _chain(log: dict[EntryId, Written], last: EntryId | None) -> list[Written]:
    """The entries from the log's first to that one; none where one of them did not survive."""
    chain: list[Written] = []
    while last is not None:
        if last not in log:
            return []
        chain.append(log[last])
        last = log[last].prev
    return chain[::-1]


def _trunk(log: dict[EntryId, Written], end: int) -> list[Written]:
    """The entries below `end`, of which there is one for each place."""
    trunk = sorted((entry for entry in log.values() if entry.seq < end), key=lambda entry: entry.seq)
    return [entry for at, entry in enumerate(trunk) if entry.seq == at]


def _judge(
    charter: Charter, logs: _Logs, forks: Mapping[PublicKey, int]
) -> tuple[Judgement, Mapping[PublicKey, EntryId]]:
    """Judge the acts, and again with those on branches that the judgement endorses, until it endorses what was read.

    Where that goes in a circle, only what is endorsed all around it is read. Also those branches, by their last.
    """

    def read(endorsed: Mapping[PublicKey, EntryId]) -> Judgement:
        acts = []
        for key, log in logs.items():
            chain = _chain(log, endorsed[key]) if key in endorsed else _trunk(log, forks.get(key, len(log)))
            acts += [HeldAct(act.key, act.seq, act.id, act.refs, act.body) for act in chain if act.kind == "act"]
        return judge(charter, acts)

    readings: list[Mapping[PublicKey, EntryId]] = [_NOTHING]
    while True:
        judgement = read(readings[-1])
        endorsed = {
            key: cutoff.id
            for key, seq in forks.items()
            if (cutoff := judgement.cutoffs.get(key)) is not None
            and cutoff.id is not None
            and cutoff.seq >= seq
            and len(_chain(logs.get(key, {}), cutoff.id)) == cutoff.seq + 1
        }
        if endorsed == readings[-1]:
            return judgement, endorsed
        if endorsed in readings:
            circle = readings[readings.index(endorsed) :]
            endorsed = dict(set.intersection(*(set(reading.items()) for reading in circle)))
            return read(endorsed), endorsed
        readings.append(endorsed)


def _counts(
    key: PublicKey, log: dict[EntryId, Written], forks: Mapping[PublicKey, int], judgement: Judgement,
    endorsed: Mapping[PublicKey, EntryId],
) -> list[Written]:  # fmt: skip
    """SPEC.md 4.4.4, in its order."""
    if key not in judgement.standing:
        return []
    cutoff = judgement.cutoffs.get(key)
    end = len(log) if cutoff is None else 0 if cutoff.id is None else cutoff.seq + 1
    chain = _chain(log, endorsed[key]) if key in endorsed else _trunk(log, min(end, forks.get(key, end)))
    while chain and not chain[-1].holds:
        chain.pop()
    return chain
