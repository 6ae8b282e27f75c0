"""Whether a proof holds, with the charter alone (SPEC.md 8.6). No ledger, no clock, no network.

    verdict = verify_file(raw, charter)         # "proven", "unproven" or "refused", with the reason

A proof is checked in the order of REASONS, and the first check that fails gives the reason:

| reason       | it holds when                                                                                    |
|--------------|--------------------------------------------------------------------------------------------------|
| `form`       | the file and its payload have the size, form and order of a proof                                |
| `page`       | the page is the one of which the payload holds the hash                                          |
| `network`    | the proof is of the charter's network                                                            |
| `entry`      | every header is one, every body has its size and hash, what follows an entry is linked to it     |
| `signature`  | every entry is signed by itself, or by one that follows it in its log                            |
| `act`        | every act has an effect when it is read                                                          |
| `standing`   | nothing lies after a cutoff; the authors are certified, those who attest certified as nodes      |
| `record`     | the first entry creates the record, the others are steps on it                                   |
| `checkpoint` | who attests does so by a whole checkpoint, whose note holds                                      |
| `path`       | every path leads from its entry to the root of its checkpoint                                    |

Then the record is proven when nodes of enough agencies attest its creation; else it is not (`threshold`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final, TypeVar

from keys.errors import FormatError
from keys.signing import verify
from ledger.proof_acts import ProofActs
from protocol.body import parse_record, parse_step
from protocol.charter import Charter
from protocol.checkpoint import Checkpoint, note_holds, parse_checkpoint
from protocol.entry import Entry, EntryId, NetworkId, open_header, signed_bytes
from protocol.merkle import log_leaf, root_from
from protocol.proof import Attestation, Item, Path, Proof, read_proof

REASONS: Final = (
    "form", "page", "network", "entry", "signature", "act", "standing", "record", "checkpoint", "path",
)  # fmt: skip
PROVEN, UNPROVEN, REFUSED = "proven", "unproven", "refused"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Witness:
    """One attestation: the checkpoint's entry, what it says, and the entries to which it has paths."""

    entry: Entry
    checkpoint: Checkpoint
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Proved:
    """One entry of the record, by whom it is, and the agencies whose nodes attest it."""

    entry: Entry
    agency: str
    agencies: tuple[str, ...]  # ascending


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a proof comes to. Of a refused one only `reason` says something."""

    verdict: str  # PROVEN, UNPROVEN or REFUSED
    reason: str | None  # None where it is proven; "threshold"; else one of REASONS
    detail: str = ""  # of a refused one, for a person: what was wrong
    network: NetworkId | None = None
    record: EntryId | None = None
    threshold: int = 0
    entries: tuple[Proved, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    acts: ProofActs | None = None

    def to_json(self) -> dict[str, object]:
        """The same map that every verifier of proofs gives."""
        found: dict[str, object] = {"verdict": self.verdict, "reason": self.reason}
        if self.network is None or self.record is None:
            return found
        return found | {
            "network": self.network.hex(), "record": self.record.hex(), "threshold": self.threshold,
            "entries": [
                {"id": one.entry.id.hex(), "author": one.entry.key.hex(), "agency": one.agency,
                 "agencies": list(one.agencies)}
                for one in self.entries
            ],
        }  # fmt: skip


class _Refused(Exception):  # noqa: N818  it never leaves this file
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def verify_file(raw: bytes, charter: Charter) -> Verdict:
    """What the proof in a file comes to. charter: complete. Raises nothing. Cost: about 60 us an item and signature."""
    try:
        proof, page = read_proof(raw)
    except FormatError as error:
        return Verdict(REFUSED, "form", str(error))
    if sha256(page).digest() != proof.page:
        return Verdict(REFUSED, "page", "the page was changed after the proof was made; what it says may be false")
    return verify_proof(proof, charter)


def verify_proof(proof: Proof, charter: Charter) -> Verdict:
    """The same from check 3 on: of a proof that has no page yet."""
    try:
        return _checked(proof, charter)
    except _Refused as refused:
        return Verdict(REFUSED, refused.reason, refused.detail)


def _checked(proof: Proof, charter: Charter) -> Verdict:
    if proof.network != charter.network_id:
        told = f"it is of network {proof.network.hex()[:12]}, the charter of {charter.network_id.hex()[:12]}"
        raise _Refused("network", told)
    items = [*proof.acts, *proof.entries, *(one.item for one in proof.attestations)]
    opened = [_opened(item) for item in items]
    for item, chain in zip(items, opened, strict=True):
        _check_signature(item, chain, proof.network)
    every = [chain[0] for chain in opened]
    acts, entries = every[: len(proof.acts)], every[len(proof.acts) : len(proof.acts) + len(proof.entries)]
    attesting = every[len(acts) + len(entries) :]
    known = ProofActs(charter)
    for act in acts:
        why = known.take(act)
        if why:
            raise _Refused("act", f"act {_short(act)} has no effect where it stands: {why}")
    _check_standing(known, acts, entries, attesting)
    _check_record(proof.record, entries)
    witnesses = tuple(
        Witness(entry, _checkpoint(entry, proof.network), one.paths)
        for entry, one in zip(attesting, proof.attestations, strict=True)
    )
    for witness, attestation in zip(witnesses, proof.attestations, strict=True):
        _check_paths(witness, attestation, entries)
    return _counted(proof, known, entries, witnesses)


# -- entries (checks 4 and 5) ---------------------------------------------------------------------


def _opened(item: Item) -> list[Entry]:
    """The entry, and those after it that are there to prove it."""
    try:
        chain = [open_header(item.header, item.signature, item.body)]
        chain += [open_header(header, signature, None) for header, signature in item.rest]
    except FormatError as error:
        raise _Refused("entry", f"entry {item.id.hex()[:12]}: {error}") from None
    for before, entry in pairwise(chain):
        if (entry.key, entry.seq, entry.prev) != (before.key, before.seq + 1, before.id):
            raise _Refused("entry", f"what should follow entry {item.id.hex()[:12]} does not")
    return chain


def _check_signature(item: Item, chain: list[Entry], network: NetworkId) -> None:
    last = chain[-1]
    if not verify(last.key, signed_bytes(network, last.header), last.signature):
        raise _Refused("signature", f"the signature on entry {item.id.hex()[:12]} does not hold")


# -- what the proof shows (checks 7 to 10) --------------------------------------------------------


def _check_standing(known: ProofActs, acts: list[Entry], entries: list[Entry], attesting: list[Entry]) -> None:
    for entry in [*acts, *entries, *attesting]:
        if not known.counts(entry):
            raise _Refused("standing", f"entry {_short(entry)} lies after the end of its author's log: it is void")
    for entry in entries:
        if known.agency_of(entry.key) is None:
            raise _Refused("standing", f"the author of entry {_short(entry)} is certified by nobody here")
    for entry in attesting:
        node = known.certified.get(entry.key)
        if node is None or node.rank != "node":
            raise _Refused("standing", f"the key that attests in entry {_short(entry)} is not certified as a node")


def _check_record(record: EntryId, entries: list[Entry]) -> None:
    first = entries[0]
    if first.id != record or first.kind != "record":
        raise _Refused("record", "the first entry does not create the record that the proof is about")
    _body(parse_record, first.body, "the record")
    for entry in entries[1:]:
        step = None if entry.body is None else _body(parse_step, entry.body, f"step {_short(entry)}")
        if entry.kind != "step" or record not in entry.refs or (step is not None and step.record != record):
            raise _Refused("record", f"entry {_short(entry)} is no step on that record")


def _body(parse: Callable[[bytes], T], body: bytes | None, what: str) -> T:
    try:
        return parse(body or b"")
    except FormatError as error:
        raise _Refused("record", f"{what} cannot be read: {error}") from None


def _checkpoint(entry: Entry, network: NetworkId) -> Checkpoint:
    known = _short(entry)
    try:
        checkpoint = parse_checkpoint(entry.body or b"")
    except FormatError as error:
        raise _Refused("checkpoint", f"{known} is no checkpoint: {error}") from None
    if entry.kind != "checkpoint" or checkpoint.rest:
        raise _Refused("checkpoint", f"{known} is no checkpoint, or not the last entry of one")
    if not note_holds(entry.key, network, checkpoint):
        raise _Refused("checkpoint", f"the note of checkpoint {known} is not signed by its node")
    return checkpoint


def _check_paths(witness: Witness, attestation: Attestation, entries: list[Entry]) -> None:
    for path in attestation.paths:
        entry = entries[path.entry]
        log_root = root_from(path.size, entry.seq, entry.id, path.log)
        found = None
        if log_root is not None:
            found = root_from(witness.checkpoint.logs, path.leaf, log_leaf(entry.key, path.size, log_root), path.ledger)
        if found != witness.checkpoint.root:
            where = f"the root that checkpoint {_short(witness.entry)} attests"
            raise _Refused("path", f"the path from entry {_short(entry)} does not lead to {where}")


def _short(entry: Entry) -> str:
    return entry.id.hex()[:12]


def _counted(proof: Proof, known: ProofActs, entries: list[Entry], witnesses: tuple[Witness, ...]) -> Verdict:
    agencies: list[set[str]] = [set() for _ in entries]
    for witness in witnesses:
        agency = known.certified[witness.entry.key].agency
        for path in witness.paths:
            if agency in known.members:
                agencies[path.entry].add(agency)
    proved = tuple(
        Proved(entry, known.agency_of(entry.key) or "", tuple(sorted(names)))
        for entry, names in zip(entries, agencies, strict=True)
    )
    enough = len(agencies[0]) >= known.threshold
    return Verdict(
        PROVEN if enough else UNPROVEN, None if enough else "threshold", "", proof.network, proof.record,
        known.threshold, proved, witnesses, known,
    )  # fmt: skip
