"""Whole small ledgers as bundles, and what counts in each: the cases of SPEC.md 4.4.5 and more, for `ledger.json`.

What is expected is written down here by hand, log by log; no code decides it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from keys.signing import PublicKey, SigningKey
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
    encode_act,
)
from protocol.body import encode_record
from protocol.bundle import BundleWriter
from protocol.card import consent_bytes
from protocol.charter import Agency
from protocol.entry import Entry, EntryId, Place, open_row, sign_row
from protocol.frame import Run, encode_frame
from protocol.merkle import tree_root
from protocol.message import Fork, Frame
from protocol.vector_cast import AGENCIES, NETWORK, ROOTS, T0, Case, seeded


@dataclass
class Script:
    """Entries as they are signed, one after another. People have names; the agencies' names are their root keys'."""

    entries: dict[str, list[tuple[Entry, bytes]]] = field(default_factory=dict)
    forks: list[Fork] = field(default_factory=list)

    def write(self, who: str, kind: str, body: bytes, refs: Sequence[EntryId] = (), at: int | None = None) -> Entry:
        """Sign an entry; at: on another branch, after that many entries."""
        log = self.entries.setdefault(who, [])
        before = log if at is None else log[:at]
        key = signer(who)
        place = before[-1][0].after if before else Place(key.public, 0, None)
        time_ms = T0 + 1000 * len(before)
        row = sign_row(key, NETWORK, place, kind=kind, body=body, time_ms=time_ms, refs=sorted(refs))
        entry = open_row(row, place)
        if at is None:
            log.append((entry, row))
        return entry

    def act(self, who: str, act: Act, refs: Sequence[EntryId] = ()) -> EntryId:
        """Sign an act."""
        return self.write(who, "act", encode_act(act), refs).id

    def certify(self, who: str, subject: str, rank: str, agency: str, *, consenting: bool = False) -> EntryId:
        """Certify somebody for an agency."""
        key = signer(subject)
        consent = key.sign(consent_bytes(agency)) if consenting else None
        return self.act(who, Certify(key.public, rank, subject, agency, "", (), consent))

    def records(self, who: str, count: int) -> list[Entry]:
        """Write some records."""
        body = encode_record("sitrep", {"text": "calm"})
        return [self.write(who, "record", body) for _ in range(count)]

    def cutoff(self, whose: str, count: int) -> Cutoff:
        """The cutoff that leaves `count` entries of a log."""
        key = signer(whose).public
        return Cutoff(key, count - 1, self.entries[whose][count - 1][0].id) if count else Cutoff(key, 0, None)

    def revoke(self, who: str, whose: str, count: int) -> EntryId:
        """Revoke somebody, leaving `count` entries."""
        cut = self.cutoff(whose, count)
        return self.act(who, Revoke(cut.key, cut.seq, cut.id, "lost"))

    def decide(self, change: Change, *voters: str, refs: Sequence[EntryId] = ()) -> list[EntryId]:
        """The first proposes, the others approve, each having seen those before."""
        said = [self.act(voters[0], Propose(change), refs)]
        for voter in voters[1:]:
            said.append(self.act(voter, Approve(said[0]), (*refs, *said)))
        return said

    def fork(self, who: str, at: int) -> None:
        """Sign another entry for the seq `at`, and keep the proof."""
        other = self.write(who, "record", encode_record("sitrep", {"text": "not so calm"}), at=at)
        mine = self.entries[who][at][0]
        first, second = sorted((mine, other), key=lambda entry: entry.id)
        self.forks.append(Fork((first.header, first.signature), (second.header, second.signature), (), ()))

    def case(
        self, name: str, counts: dict[str, int], standing: dict[str, str], sent: dict[str, int] | None = None
    ) -> Case:
        """The case. counts: how much of a log counts; sent: how much is in the bundle; where that is not all."""
        sent = sent or {}
        counts = {who: len(log) for who, log in self.entries.items()} | counts
        parts: list[bytes] = []
        writer = BundleWriter(parts.append, NETWORK)
        for fork in self.forks:
            writer.add(fork)
        order = sorted(self.entries, key=lambda who: (who not in AGENCIES, "admin" not in who, who))
        for number, who in enumerate(order):
            rows = [row for _, row in self.entries[who][: sent.get(who)]]
            run = Run(signer(who).public, 0, None, tuple(rows))
            writer.add(Frame(number, encode_frame([run], compress=False)))
        writer.close()
        keys = {who: signer(who).public for who in self.entries}
        sizes = sorted((keys[who], who, counts[who]) for who in self.entries)
        root = tree_root(self._leaf(key, who, size) for key, who, size in sizes if size)
        return {
            "name": name, "hex": b"".join(parts).hex(), "root": root.hex(),
            "logs": [[key.hex(), size, len(self.entries[who][: sent.get(who)])] for key, who, size in sizes],
            "standing": {signer(who).public.hex(): rank for who, rank in sorted(standing.items())},
        }  # fmt: skip

    def _leaf(self, key: PublicKey, who: str, size: int) -> bytes:
        log_root = tree_root(entry.id for entry, _ in self.entries[who][:size])
        return sha256(b"\x00" + key + size.to_bytes(8, "big") + log_root).digest()


def signer(who: str) -> SigningKey:
    """The key of that name."""
    return ROOTS[who] if who in ROOTS else seeded(who)


def _people() -> Iterator[Case]:
    """Officers, certified and revoked."""
    one = Script()
    one.certify("mia", "officer one", "officer", "mia", consenting=True)
    one.records("officer one", 3)
    yield one.case("an officer with a certificate", {}, {"officer one": "officer"})

    one = Script()
    one.certify("mia", "officer one", "officer", "mia")
    one.records("officer one", 4)
    one.revoke("mia", "officer one", 2)
    yield one.case("a stolen officer's key: void after the cutoff", {"officer one": 2}, {"officer one": "officer"})
    one.revoke("mia", "officer one", 1)
    yield one.case("of two cutoffs the lower counts", {"officer one": 1}, {"officer one": "officer"})
    one.revoke("mia", "officer one", 0)
    yield one.case("a cutoff at nothing is the lowest", {"officer one": 0}, {"officer one": "officer"})

    one = Script()
    one.certify("mia", "officer one", "officer", "mia")
    one.records("officer one", 2)
    one.revoke("scc", "officer one", 0)
    yield one.case("another agency's revocation has no effect", {}, {"officer one": "officer"})


def _admins() -> Iterator[Case]:
    """Admins, and consents."""
    one = Script()
    one.certify("mia", "admin one", "admin", "mia")
    one.certify("admin one", "officer one", "officer", "mia")
    one.certify("admin one", "officer two", "officer", "mia")
    one.records("officer one", 2)
    one.records("officer two", 2)
    one.revoke("mia", "admin one", 1)
    yield one.case(
        "a revoked admin's later certificate falls", {"admin one": 1, "officer two": 0},
        {"admin one": "admin", "officer one": "officer"},
    )  # fmt: skip
    one.certify("mia", "officer two", "officer", "mia")
    yield one.case(
        "and counts again when the agency certifies", {"admin one": 1},
        {"admin one": "admin", "officer one": "officer", "officer two": "officer"},
    )  # fmt: skip

    one = Script()
    one.certify("mia", "admin one", "admin", "mia")
    one.certify("admin one", "officer one", "officer", "scc")
    one.certify("admin one", "admin two", "admin", "mia")
    one.records("officer one", 1)
    yield one.case("an admin certifies no admin, nor for others", {"officer one": 0}, {"admin one": "admin"})

    one = Script()
    one.certify("mia", "officer one", "officer", "mia", consenting=True)
    one.certify("scc", "officer one", "officer", "scc")
    one.revoke("scc", "officer one", 0)
    one.records("officer one", 2)
    yield one.case("who consented to one agency is not another's", {}, {"officer one": "officer"})


def _council() -> Iterator[Case]:
    """The council."""
    one = Script()
    one.certify("mia", "officer one", "officer", "mia")
    one.certify("mia", "officer two", "officer", "mia")  # by the thief
    one.records("officer one", 1)
    one.records("officer two", 1)
    one.decide(Admit(Agency("sss", "Agency SSS", signer("sss").public)), "mia", "scc")  # with the thief's word
    cut = one.cutoff("mia", 1)
    one.decide(Rekey("mia", signer("mia anew").public, cut.seq, cut.id), "scc", "ncdc")
    one.certify("mia anew", "officer three", "officer", "mia")
    one.records("officer three", 1)
    yield one.case(
        "a stolen root key: the council cuts it and names a new one", {"mia": 1, "officer two": 0},
        {"mia anew": "agency", "officer one": "officer", "officer three": "officer"},
    )  # fmt: skip

    one = Script()
    said = one.decide(Admit(Agency("sss", "Agency SSS", signer("sss").public)), "mia", "scc")
    one.certify("sss", "officer one", "officer", "sss")
    one.records("officer one", 2)
    one.decide(Threshold(3), "sss", "mia", refs=said)
    yield one.case("an admitted agency certifies and votes", {}, {"sss": "agency", "officer one": "officer"})

    one = Script()
    one.act("mia", Propose(Admit(Agency("sss", "Agency SSS", signer("sss").public))))
    one.certify("sss", "officer one", "officer", "sss")
    one.records("officer one", 1)
    yield one.case("one yes of two admits nobody", {"sss": 0, "officer one": 0}, {})

    one = Script()
    one.certify("mia", "officer one", "officer", "mia")
    one.certify("mia", "officer two", "officer", "mia")
    one.records("officer one", 3)
    one.records("officer two", 3)
    cuts = tuple(sorted((one.cutoff("officer one", 2), one.cutoff("mia", 2)), key=lambda item: item.key))
    said = one.decide(Admit(Agency("sss", "Agency SSS", signer("sss").public)), "mia", "scc")
    one.decide(Remove("mia", cuts), "scc", "ncdc", refs=said)
    yield one.case(
        "a removed agency: its keys are cut as named, the others wholly",
        {"mia": 2, "officer one": 2, "officer two": 0},
        {"officer one": "officer", "officer two": "officer"},
    )  # fmt: skip


def _forks() -> Iterator[Case]:
    """Forked logs."""
    one = Script()
    one.certify("mia", "officer one", "officer", "mia")
    one.records("officer one", 3)
    one.fork("officer one", 1)
    yield one.case(
        "a fork: what lies below it counts", {"officer one": 1}, {"officer one": "officer"}, {"officer one": 1}
    )
    yield one.case("a fork whose disputed branch is in the bundle", {"officer one": 1}, {"officer one": "officer"})
    one.revoke("mia", "officer one", 3)
    yield one.case("a fork, and a cutoff that endorses this branch", {}, {"officer one": "officer"})
    one.revoke("mia", "officer one", 1)
    yield one.case("a lower cutoff, below the fork", {"officer one": 1}, {"officer one": "officer"})

    one = Script()
    one.certify("mia", "officer one", "officer", "mia")
    one.records("officer one", 3)
    one.fork("officer one", 1)
    other = one.write("officer one", "record", encode_record("sitrep", {"text": "not so calm"}), at=1)
    one.act("mia", Revoke(other.key, 1, other.id, "copied"))
    yield one.case("a fork of which the endorsed branch is not here", {"officer one": 1}, {"officer one": "officer"})


def ledgers() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 4.4: whole ledgers of the network in charter.json (mia, ncdc, scc; two decide)."""
    about = (
        "SPEC.md 4.4. Bundles of the network in charter.json. `logs`: key, how many entries count, how many are in the"
        " bundle; `root` is the ledger root; `standing` the rank of each key that has one, the founders' root keys left"
        " out."
    )
    return about, [*_people(), *_admins(), *_council(), *_forks()], []
