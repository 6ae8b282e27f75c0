"""The network of the proofs among the vectors: small logs, nodes that attest them, and proofs made of both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from keys.signing import Signature
from protocol.body import encode_record
from protocol.checkpoint import Attested, draft
from protocol.codec import pack, unpack_row
from protocol.entry import Entry, EntryId, Place, open_row, sign_row
from protocol.ledger_vectors import Script, signer
from protocol.merkle import inclusion_proof, tree_root
from protocol.proof import BEGIN, END, Attestation, Item, Path, Proof
from protocol.vector_cast import NETWORK, T0

PAGE: Final = f"<!DOCTYPE html>\n<title>Исбот</title>\n{BEGIN.decode()}{END.decode()}\n"
RECORD: Final = encode_record("seizure", {"amount": "1.250", "place": "Sariosiyo"})
NO_SIGNATURE: Final = Signature(bytes(64))


@dataclass
class Ledger(Script):
    """A script whose nodes attest, and of whose records proofs are made."""

    states: dict[EntryId, dict[str, int]] = field(default_factory=dict)  # checkpoint -> sizes, by whose log

    def spoilt(self, who: str, kind: str, body: bytes, refs: Sequence[EntryId] = ()) -> Entry:
        """An entry whose own signature does not hold."""
        log = self.entries.setdefault(who, [])
        place = log[-1][0].after if log else Place(signer(who).public, 0, None)
        time_ms = T0 + 1000 * len(log)
        row = sign_row(signer(who), NETWORK, place, kind=kind, body=body, time_ms=time_ms, refs=sorted(refs))
        row = bytes(pack([*unpack_row(row)[:5], NO_SIGNATURE]))
        log.append((open_row(row, place), row))
        return log[-1][0]

    def heads(self) -> list[Attested]:
        """What a checkpoint written now attests."""
        return sorted(Attested(signer(who).public, len(log), log[-1][0].id) for who, log in self.entries.items())

    def attest(self, node: str, root: bytes | None = None, *, by: str | None = None, kind: str = "checkpoint") -> Entry:
        """A checkpoint of what is there now. by: whose key signs the note."""
        sizes = {who: len(log) for who, log in self.entries.items()}
        found = tree_root(self.leaf(who, size) for who, size in self.in_order(sizes)) if root is None else root
        [body] = draft(signer(by or node), NETWORK, found, self.heads(), None)
        entry = self.write(node, kind, body)
        self.states[entry.id] = sizes
        return entry

    def leaf(self, who: str, size: int) -> bytes:
        """A log's leaf in the tree of the ledger root."""
        log_root = tree_root(entry.id for entry, _ in self.entries[who][:size])
        return sha256(b"\x00" + signer(who).public + size.to_bytes(8, "big") + log_root).digest()

    @staticmethod
    def in_order(sizes: dict[str, int]) -> list[tuple[str, int]]:
        """The logs of a state, ascending by key."""
        return sorted(((who, size) for who, size in sizes.items() if size), key=lambda item: signer(item[0]).public)

    def path(self, checkpoint: Entry, entry: Entry, index: int) -> Path:
        """The way from an entry to what a checkpoint attests."""
        logs = self.in_order(self.states[checkpoint.id])
        at = next(number for number, (who, _) in enumerate(logs) if signer(who).public == entry.key)
        who, size = logs[at]
        ids = [one.id for one, _ in self.entries[who][:size]]
        leaves = [self.leaf(*log) for log in logs]
        return Path(index, size, tuple(inclusion_proof(ids, entry.seq)), at, tuple(inclusion_proof(leaves, at)))

    def attestation(self, checkpoint: Entry, entries: Sequence[Entry]) -> Attestation:
        """A checkpoint, with paths from those of `entries` that it covers."""
        sizes = {signer(who).public: size for who, size in self.states[checkpoint.id].items()}
        covered = [(at, one) for at, one in enumerate(entries) if one.seq < sizes.get(one.key, 0)]
        return Attestation(item(checkpoint), tuple(self.path(checkpoint, one, at) for at, one in covered))

    def named(self, ids: Iterable[EntryId]) -> list[Entry]:
        """The entries with those ids."""
        known = {entry.id: entry for log in self.entries.values() for entry, _ in log}
        return [known[one] for one in ids]

    def proof(self, acts: Iterable[EntryId], entries: Sequence[Entry], *checkpoints: Entry) -> Proof:
        """A proof of the first of `entries`."""
        first, *steps = entries
        ordered = [first, *sorted(steps, key=lambda entry: entry.id)]
        items = tuple(item(act) for act in self.named(acts))
        attested = tuple(self.attestation(one, ordered) for one in checkpoints)
        return Proof(NETWORK, first.id, items, tuple(map(item, ordered)), attested)


def item(entry: Entry, rest: Sequence[Entry] = ()) -> Item:
    """An entry as it stands in a proof."""
    return Item(entry.header, entry.signature, entry.body, tuple((one.header, one.signature) for one in rest))


class Town(Ledger):
    """mia and scc with a node and an officer each, scc's officer certified by an admin; `record` is that one's."""

    def __init__(self) -> None:
        super().__init__()
        self.acts = [
            self.certify("mia", "mia node", "node", "mia"),
            self.certify("scc", "scc node", "node", "scc"),
            self.certify("mia", "mia officer", "officer", "mia"),
            self.certify("scc", "scc admin", "admin", "scc"),
            self.certify("scc admin", "scc officer", "officer", "scc"),
        ]
        self.write("scc officer", "record", encode_record("sitrep", {"text": "calm"}))
        self.record = self.write("scc officer", "record", RECORD)

    def both(self) -> tuple[Entry, Entry]:
        """A checkpoint of each node."""
        return self.attest("mia node"), self.attest("scc node")

    def sound(self, *more: EntryId) -> Proof:
        """Of the record, attested by both."""
        return self.proof([*self.acts, *more], [self.record], *self.both())
