"""Building the proof of a record from the ledger (SPEC.md 8.6). `ledger/verify.py` says whether it holds.

    proof = build_proof(ledger, record, steps)       # no page yet: see protocol/proof.py

Taken are the record's creation and its steps that count; for each agency the first checkpoint of its nodes that covers
the creation and, where that is another, the first that covers as many steps as any does; the certificates of all whose
keys occur, the revocations of them, and what the council decided. Nothing is taken on trust: a checkpoint whose root is
not the one that its state has here is passed over.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from keys.errors import FormatError, LocalError
from keys.signing import PublicKey, verify
from ledger.attest import Ranges, Stated, latest
from ledger.council import ActEntry, in_order, spares
from ledger.held import held_id
from ledger.knowledge import read
from ledger.layout import PLACE, LogState, decode_log
from ledger.proof_acts import ProofActs
from ledger.storage import Reader
from ledger.store import Ledger
from protocol.acts import Act, Approve, Propose
from protocol.body import parse_record, parse_step
from protocol.entry import Entry, EntryId, signed_bytes
from protocol.limits import ANCHOR, PROOF_ATTESTATIONS_MAX, PROOF_ITEMS_MAX
from protocol.merkle import inclusion_proofs, log_leaf
from protocol.proof import Attestation, Item, Path, Proof

_RANK_ORDER: Final = {"admin": 0, "node": 1, "officer": 2}


@dataclass(frozen=True, slots=True)
class _Found:
    """A checkpoint that adds up, and the entries that it covers, with their paths."""

    node: PublicKey
    id: EntryId
    time_ms: int
    paths: tuple[Path, ...]

    @property
    def covers(self) -> frozenset[int]:
        return frozenset(path.entry for path in self.paths)


def build_proof(ledger: Ledger, record: EntryId, steps: Iterable[EntryId]) -> Proof:
    """The proof of a record, without a page. It may be attested by nobody: its verdict says so.

    steps: the steps on it, in any order; those that do not count are left out.
    Raises LocalError when the record is not here, does not count, or is too large.
    Cost: O(acts); for each agency two ledger roots of the past, one hash an entry that is new since the one before.
    """
    entries = _entries_of(ledger, record, steps)
    agencies = _agencies(ledger)
    with ledger.storage.read() as reader:
        search = _Search(reader, entries)
        found = [one for nodes in agencies for one in search.of_agency(nodes)][:PROOF_ATTESTATIONS_MAX]
    authors = {entry.key for entry in entries} | {one.node for one in found}
    acts = _ordered(ledger, _needed(ledger, authors), _council(ledger))
    if len(acts) > PROOF_ITEMS_MAX:
        raise LocalError(f"the proof would need {len(acts)} acts; at most {PROOF_ITEMS_MAX} fit in one")
    return Proof(
        ledger.network_id, record, tuple(_item(ledger, entry) for entry in acts),
        tuple(_item(ledger, entry) for entry in entries),
        tuple(Attestation(_item(ledger, _entry(ledger, one.id)), one.paths) for one in found),
    )  # fmt: skip


# -- entries --------------------------------------------------------------------------------------


def _entries_of(ledger: Ledger, record: EntryId, steps: Iterable[EntryId]) -> list[Entry]:
    """The creation, then the steps that count, ascending by id."""
    creation = _entry(ledger, record)
    status = ledger.status(creation)
    try:
        parse_record(creation.body if creation.kind == "record" and creation.body is not None else b"")
    except FormatError:
        raise LocalError(f"{record.hex()[:12]} is no record that can be read here; only such are proved") from None
    if status != "ok":
        raise LocalError(f"the record {record.hex()[:12]} is {status}: it does not count, so there is nothing to prove")
    found = {step: entry for step in steps if (entry := ledger.entry(step)) is not None}
    counting = [entry for _, entry in sorted(found.items()) if _is_step(entry, record) and ledger.status(entry) == "ok"]
    if len(counting) >= PROOF_ITEMS_MAX:
        raise LocalError(f"the record has {len(counting)} steps; at most {PROOF_ITEMS_MAX - 1} fit in one proof")
    return [creation, *counting]


def _is_step(entry: Entry, record: EntryId) -> bool:
    """Whether an entry is a step on that record, as far as its body is here. One that cannot be read is none."""
    if entry.kind != "step" or record not in entry.refs:
        return False
    try:
        return entry.body is None or parse_step(entry.body).record == record
    except FormatError:
        return False


def _entry(ledger: Ledger, known: EntryId) -> Entry:
    entry = ledger.entry(known)
    if entry is None:
        raise LocalError(f"entry {known.hex()[:12]} is not here")
    return entry


def _item(ledger: Ledger, entry: Entry) -> Item:
    """The entry as it stands in a proof: with what follows it, where its own signature does not hold."""
    rest: list[Entry] = []
    last = entry
    while not verify(last.key, signed_bytes(ledger.network_id, last.header), last.signature):
        following = ledger.log_entries(entry.key, last.seq + 1, 1)
        if not following or len(rest) == ANCHOR - 1:
            raise LocalError(f"nothing here proves that entry {entry.id.hex()[:12]} is its author's")
        last = following[0].entry
        rest.append(last)
    return Item(entry.header, entry.signature, entry.body, tuple((one.header, one.signature) for one in rest))


# -- attestations ---------------------------------------------------------------------------------


def _agencies(ledger: Ledger) -> list[list[PublicKey]]:
    """The nodes of each member of the council, agency by agency."""
    nodes: dict[str, list[PublicKey]] = {name: [] for name in sorted(ledger.authority.council.members)}
    for key, standing in sorted(ledger.authority.standings.items()):
        if standing.rank == "node" and standing.agency in nodes:
            nodes[standing.agency].append(key)
    return list(nodes.values())


class _Search:
    """Which checkpoints cover which of the entries, in one view of the store."""

    def __init__(self, reader: Reader, entries: Sequence[Entry]) -> None:
        self._reader = reader
        self._entries = entries
        self._ranges = Ranges()
        self._logs: dict[PublicKey, LogState] = {}
        for key in {entry.key for entry in entries}:
            self._logs[key] = decode_log(key, reader.get("logs", key) or b"")

    def of_agency(self, nodes: Sequence[PublicKey]) -> list[_Found]:
        """The first checkpoint that covers the creation and, where it is another, the first that covers the most."""
        first = self._first(nodes, frozenset({0}))
        if first is None:
            return []
        covered = (self._covers(last) for node in nodes if (last := latest(self._reader, node)) is not None)
        most = max((one for one in covered if 0 in one), key=len)
        later = self._first(nodes, most) if not most <= first.covers else None
        return [first] if later is None or later.id == first.id else [first, later]

    def _first(self, nodes: Sequence[PublicKey], wanted: frozenset[int]) -> _Found | None:
        """Of the nodes' first checkpoints that cover `wanted`, the earliest that adds up; else of their last ones."""
        firsts = [(one.time_ms, one.id, node, one) for node in nodes if (one := self._first_of(node, wanted))]
        lasts = [
            (one.time_ms, one.id, node, one) for node in nodes
            if (one := latest(self._reader, node)) is not None and wanted <= self._covers(one)
        ]  # fmt: skip
        candidates = sorted(firsts, key=lambda item: item[:2]) + sorted(lasts, key=lambda item: item[:2])
        return next((found for _, _, node, one in candidates if (found := self._paths(node, one)) is not None), None)

    def _first_of(self, node: PublicKey, wanted: frozenset[int]) -> Stated | None:
        """A node's first checkpoint that covers `wanted`, by halving: what is covered once mostly stays so."""
        found = latest(self._reader, node)
        if found is None or not wanted <= self._covers(found):
            return None
        low, high = 0, found.seq + 1  # below `low` none covers it, below `high` one does
        while high - low > 1:
            middle = (low + high) // 2
            one = latest(self._reader, node, middle)
            if one is not None and wanted <= self._covers(one):
                found, high = one, one.seq + 1
            else:
                low = middle
        return found

    def _covers(self, stated: Stated) -> frozenset[int]:
        """The entries that a state has: in a log of which it has more, and the same."""
        same: dict[PublicKey, int] = {}
        for key, log in self._logs.items():
            size, known = stated.state.get(key, (0, None))
            same[key] = size if size and held_id(self._reader, log, size - 1) == known else 0
        return frozenset(at for at, entry in enumerate(self._entries) if entry.seq < same[entry.key])

    def _paths(self, node: PublicKey, stated: Stated) -> _Found | None:
        """The paths into a checkpoint, or None where its root is not that of its state here."""
        covered = sorted(self._covers(stated))
        by_log: dict[PublicKey, list[int]] = {}
        for at in covered:
            by_log.setdefault(self._entries[at].key, []).append(at)
        order = {key: at for at, key in enumerate(sorted(stated.state))}
        leaves = []
        for key in order:
            size, known = stated.state[key]
            log_root = self._ranges.log_root(self._reader, key, size, known)
            if log_root is None:
                return None
            leaves.append(log_leaf(key, size, log_root))
        root, above = inclusion_proofs(leaves, [order[key] for key in by_log])
        if root != stated.whole.root:
            return None
        paths: list[Path] = []
        for key, listed in by_log.items():
            size = stated.state[key][0]
            _, below = inclusion_proofs(self._ids(key, size), [self._entries[at].seq for at in listed])
            paths += [
                Path(at, size, tuple(below[self._entries[at].seq]), order[key], tuple(above[order[key]]))
                for at in listed
            ]
        return _Found(node, stated.id, stated.time_ms, tuple(sorted(paths, key=lambda path: path.entry)))

    def _ids(self, key: PublicKey, size: int) -> Iterator[bytes]:
        number = self._logs[key].number
        rows = self._reader.scan("rows", PLACE.pack(number, 0), PLACE.pack(number, size))
        return (raw[:32] for _, raw in rows)


# -- acts -----------------------------------------------------------------------------------------


def _needed(ledger: Ledger, keys: Iterable[PublicKey]) -> list[Entry]:
    """The certificates of those keys and of all above them, and the revocations of any, admins' certificates first."""
    authority = ledger.authority
    needed: dict[EntryId, tuple[int, int]] = {}
    waiting, seen = list(keys), set[PublicKey]()
    while waiting:
        key = waiting.pop()
        standing = authority.of(key)
        if key in seen or standing is None:
            continue
        seen.add(key)
        if standing.act is not None and standing.certifier is not None:
            needed[standing.act] = (0, _RANK_ORDER[standing.rank])
            waiting.append(standing.certifier)
        if standing.ended is not None and standing.ended.by is not None:
            needed[standing.ended.act] = (1, 0)
            waiting.append(standing.ended.by)
    return [_entry(ledger, known) for known, _ in sorted(needed.items(), key=lambda item: (item[1], item[0]))]


def _council(ledger: Ledger) -> list[Entry]:
    """The acts by which changes passed, as the council's acts are read."""
    council = ledger.authority.council
    passed = {proposal.id for proposal in council.proposals if proposal.passed is not None}
    spoken: list[tuple[ActEntry, Act]] = []
    for entry in ledger.acts if passed else ():
        act = read(entry)
        if isinstance(act, Propose | Approve) and ledger.authority.speaks(entry.key):
            spoken.append((entry, act))
    ordered = in_order(spoken)  # by all of them, void ones too: they are in each other's past
    named = [entry for entry, act in ordered if _proposal(entry, act) in passed]
    return [_entry(ledger, entry.id) for entry in named if spares(ledger.authority.cutoff(entry.key), entry.seq)]


def _proposal(entry: ActEntry, act: Act) -> EntryId:
    return act.proposal if isinstance(act, Approve) else entry.id


def _ordered(ledger: Ledger, needed: Sequence[Entry], council: Sequence[Entry]) -> list[Entry]:
    """The acts in an order in which each has an effect; those that have none in any are left out.

    Certificates and revocations come as early as they can: before the council replaces the root key that signed them.
    Of the council's acts those are left out that would make a change pass earlier than it did: a yes that was disowned.
    """
    known = ProofActs(ledger.charter)
    waiting = list(needed)
    taken: list[Entry] = []

    def settle() -> None:
        before = -1
        while len(waiting) != before:
            before = len(waiting)
            done = [entry for entry in waiting if not known.take(entry)]
            taken.extend(done)
            waiting[:] = [entry for entry in waiting if entry not in done]

    by = {proposal.passed for proposal in ledger.authority.council.proposals}
    settle()
    for entry in council:
        if (entry.id in by or not known.passes(entry)) and not known.take(entry):
            taken.append(entry)
            settle()
    return taken
