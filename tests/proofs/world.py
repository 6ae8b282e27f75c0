"""Small networks made at random, and proofs of a record in them (SPEC.md 8.6), to be damaged.

A **world** is a network whose acts, logs and checkpoints were made in one order. A **draft** is a proof of its record,
as structures that can be changed anywhere; an entry that is changed can be signed again.
"""

from base64 import b64encode
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any

from keys.signing import SigningKey
from protocol.acts import (
    Act,
    Admit,
    Approve,
    Certify,
    Cutoff,
    Propose,
    Rekey,
    Remove,
    Revoke,
    Threshold,
    Unit,
    encode_act,
)
from protocol.charter import Agency, Charter, SignedCharter, encode_charter_file, sign_charter
from protocol.checkpoint import Attested, draft
from protocol.codec import decode, encode
from protocol.entry import EntryId
from protocol.merkle import inclusion_proof, tree_root

BEGIN, END = b'<script type="application/x-hamkor-proof">\n', b"</script>"
BEFORE = "<!doctype html><meta charset=utf-8><title>Isbot · proof</title><p>Sariosiyo\n".encode() + BEGIN
AFTER = END + b"\n<p>printed by nobody\n"
NAMES = ("gdiab", "mia", "mod", "scc", "sss", "zz-9")
REGIONS = ("UZ-AN", "UZ-QA", "UZ-SU", "UZ-TK")
START_MS = 1_767_225_600_000


def key_of(word: str) -> SigningKey:
    return SigningKey.from_seed(sha256(word.encode()).digest())


def id_of(header: bytes, signature: bytes) -> bytes:
    return sha256(b"\x00" + header + signature).digest()


# -- entries -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A signed entry. `made` has the fields of its header, so that it can be signed again with others."""

    signer: SigningKey
    network: bytes
    made: dict[str, Any]
    body: bytes
    header: bytes
    signature: bytes
    id: bytes
    holds: bool

    @property
    def key(self) -> bytes:
        return self.signer.public

    @property
    def seq(self) -> int:
        return self.made["seq"]

    def again(self, *, body: bytes | None = None, **changes: Any) -> "Row":
        """The same entry with other fields or another body, signed anew."""
        made = {**self.made, **changes}
        return sign(self.signer, self.network, made, self.body if body is None else body, sized=body is not None)

    def with_header(self, header: bytes) -> "Row":
        """An entry that has this very header, signed."""
        signature = self.signer.sign(b"hamkor/entry/1\x00" + self.network + header)
        return replace(self, header=header, signature=signature, id=id_of(header, signature), holds=True)

    def with_signature(self, signature: bytes) -> "Row":
        return replace(self, signature=signature, id=id_of(self.header, signature), holds=False)


FIELDS = ("version", "key", "seq", "prev", "refs", "kind", "space", "body_size", "body_hash", "time_ms")


def sign(
    signer: SigningKey, network: bytes, made: dict[str, Any], body: bytes, *, sized: bool = True, holds: bool = True
) -> Row:
    if sized:
        made = {**made, "body_size": len(body), "body_hash": sha256(body).digest()}
    header = encode([made[name] for name in FIELDS])
    good = signer.sign(b"hamkor/entry/1\x00" + network + header)
    signature = good if holds else bytes([good[0] ^ 1]) + good[1:]
    return Row(signer, network, made, body, header, signature, id_of(header, signature), holds)


@dataclass
class Person:
    """A key, whose it is, and its log."""

    signer: SigningKey
    agency: str
    rank: str
    rows: list[Row] = field(default_factory=list)
    ended: bool = False  # it writes nothing that counts any more
    certificate: Row | None = None

    @property
    def key(self) -> bytes:
        return self.signer.public

    def last(self) -> tuple[int, EntryId | None]:
        """The cutoff that keeps all that it has written."""
        return (len(self.rows) - 1, EntryId(self.rows[-1].id)) if self.rows else (0, None)


@dataclass(frozen=True)
class Checkpoint:
    """An entry that attests, and the sizes of the logs that it attests."""

    row: Row
    node: Person
    sizes: dict[bytes, int]
    leaves: list[tuple[bytes, bytes]]  # of the ledger root: key and leaf, ascending by key


# -- a network -----------------------------------------------------------------------------------------


class World:
    """A small network, made at random: its acts in the order in which they take effect, its logs, a record."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.word = f"{random.getrandbits(64):016x}"
        self.now_ms = START_MS
        count = random.choice((1, 2, 3, 3, 4, 5))
        self.threshold = random.randint(1, count) if random.random() < 0.7 else (count + 1) // 2
        self.people: list[Person] = []
        self.roots: dict[str, Person] = {}  # of the members
        for name in sorted(random.sample(NAMES, count)):
            self.roots[name] = self.new(name, "root")
        agencies = tuple(Agency(name, f"Agency {name}", root.signer.public) for name, root in self.roots.items())
        founded = Charter("proof of proofs", agencies, self.threshold, START_MS, random.randbytes(16))
        signed = SignedCharter(founded, {})
        for root in self.roots.values():
            signed = sign_charter(signed, root.signer)
        self.signed = signed
        self.charter = encode_charter_file(signed)
        self.network = founded.network_id
        self.acts: list[Row] = []
        self.checkpoints: list[Checkpoint] = []
        self.states: dict[bytes, dict[bytes, tuple[int, EntryId]]] = {}
        self._live()

    # people and their logs

    def new(self, agency: str, rank: str) -> Person:
        person = Person(key_of(f"{self.word} {len(self.people)}"), agency, rank)
        self.people.append(person)
        return person

    def of(self, *ranks: str, agency: str | None = None) -> list[Person]:
        """Who can write: of these ranks, of that agency or any."""
        return [
            one for one in self.people
            if one.rank in ranks and not one.ended and agency in (None, one.agency) and one.agency in self.roots
        ]  # fmt: skip

    def write(
        self, person: Person, kind: str, body: bytes, refs: tuple[bytes, ...] = (), *, holds: bool | None = None
    ) -> Row:
        self.now_ms += self.random.randint(0, 100_000)
        if holds is None:
            holds = self.random.random() > 0.06
        made = {
            "version": 1, "key": person.key, "seq": len(person.rows), "kind": kind, "refs": sorted(refs),
            "prev": person.rows[-1].id if person.rows else None, "space": None, "time_ms": self.now_ms,
        }  # fmt: skip
        row = sign(person.signer, self.network, made, body, holds=holds)
        person.rows.append(row)
        return row

    def fill(self, person: Person, count: int) -> None:
        for _ in range(count):
            self.write(person, self.random.choice(("record", "address", "note-9")), self.random.randbytes(9))

    def act(self, person: Person, act: Act) -> Row:
        row = self.write(person, "act", encode_act(act))
        self.acts.append(row)
        return row

    # what happens

    def _live(self) -> None:
        random = self.random
        for name in list(self.roots):
            self._staff(name)
        for _ in range(random.randint(0, 4)):
            self._govern()
        self._chance()
        author = random.choice(self.of("officer", "officer", "root", "admin", "node"))
        body = {"fields": {"place": "Sariosiyo", "amount": "1.250", "n": random.getrandbits(40)}, "type": "seizure"}
        if random.random() < 0.2:
            body["later"] = [None, True, -5]
        self.record = self.write(author, "record", encode(body))
        self.author = author
        self.steps: list[Row] = []
        for _ in range(random.randint(1, 7)):
            match random.randrange(5):
                case 0 | 1:
                    self._step()
                case 2:
                    self._attest(random.choice(self.of("node")))
                case 3:
                    self._govern()
                case _:
                    self._chance()
        for node in self.of("node"):
            if random.random() < 0.8:
                self._attest(node)
        for _ in range(random.randint(0, 3)):
            self._govern(late=True)
        for person in self.people:  # the last entry of a log is signed
            self.write(person, "note-9", b"", holds=True)

    def _staff(self, name: str) -> None:
        root, random = self.roots[name], self.random
        if random.random() < 0.6:
            self._certify(root, "admin")
        for rank in ("node", *random.choices(("node", "officer"), k=random.randint(0, 2)), "officer"):
            self._certify(random.choice(self.of("root", "admin", agency=name)), rank)

    def _certify(self, by: Person, rank: str) -> None:
        person = self.new(by.agency, rank)
        roles = ("officer",) if rank == "officer" else ()
        act = Certify(person.signer.public, rank, f"{rank} {len(self.people)}", by.agency, "", roles)
        person.certificate = self.act(by, act)

    def _chance(self) -> None:
        for person in self.people:
            if self.random.random() < 0.4:
                self.fill(person, self.random.choice((1, 2, 3, 5, 9, 30)))

    def _step(self) -> None:
        random = self.random
        who = random.choice(self.of("officer", "officer", "node", "root"))
        body: dict[str, Any] = {"fields": {"text": f"step {len(self.steps)}"}, "record": self.record.id}
        body["step"] = random.choice(("comment", "amend", "a" * 24))
        refs = [self.record.id, *random.sample([row.id for row in self.steps], min(len(self.steps), 2))]
        if random.random() < 0.3:
            body["acts"] = [self.acts[-1].id]
            refs.append(self.acts[-1].id)
        self.steps.append(self.write(who, "step", encode(body), tuple(refs)))

    def _attest(self, node: Person) -> None:
        sizes = {one.key: len(one.rows) for one in self.people if one.rows}
        logs = {one.key: one for one in self.people}
        heads = [Attested(logs[key].signer.public, size, EntryId(logs[key].rows[size - 1].id))
                 for key, size in sorted(sizes.items())]  # fmt: skip
        leaves = self.leaves(sizes)
        root = tree_root(leaf for _, leaf in leaves)
        before = self.states.get(node.key) if self.random.random() < 0.5 else None
        (body,) = draft(node.signer, self.network, root, heads, before)
        row = self.write(node, "checkpoint", body)
        self.states[node.key] = {head.key: (head.size, head.id) for head in heads if head.id}
        self.checkpoints.append(Checkpoint(row, node, sizes, leaves))

    def leaves(self, sizes: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
        """The ledger root's leaves over the logs of that state: key and leaf, ascending by key."""
        logs = {one.key: one.rows for one in self.people}
        found = []
        for key, size in sorted(sizes.items()):
            log = tree_root(row.id for row in logs[key][:size])
            found.append((key, sha256(b"\x00" + key + size.to_bytes(8, "big") + log).digest()))
        return found

    # acts of the council and of agencies

    def _govern(self, *, late: bool = False) -> None:
        random = self.random
        if random.random() < 0.35:
            self._revoke()
        elif random.random() < 0.25:
            by = random.choice(self.of("root", "admin"))
            regions = tuple(sorted(random.sample(REGIONS, 2)))
            self.act(by, Unit(f"imt-{random.randint(1, 9)}", "A team", regions))
        elif random.random() < 0.3:
            self._certify(random.choice(self.of("root", "admin")), random.choice(("node", "officer")))
        else:
            self._council(random.choice(("admit", "rekey", "remove", "threshold", "nothing")), late=late)

    def _revoke(self) -> None:
        subjects = [one for one in self.of("officer", "node", "admin") if len(self.of(one.rank, agency=one.agency)) > 1]
        if not subjects:
            return
        subject = self.random.choice(subjects)
        ranks = ("root",) if subject.rank == "admin" else ("root", "admin")
        by = self.random.choice([one for one in self.of(*ranks, agency=subject.agency) if one is not subject])
        self.act(by, Revoke(subject.signer.public, *subject.last(), "o‘g‘irlangan"))
        subject.ended = True

    def _council(self, what: str, *, late: bool) -> None:
        random, names = self.random, sorted(self.roots)
        concerned = random.choice(names)
        others = [name for name in names if name != concerned]
        if what in ("rekey", "remove") and len(others) < self.threshold:
            return
        free = [name for name in NAMES if name not in self.roots]
        new: Person | None = None
        match what:
            case "admit" if free:
                new = self.new(random.choice(free), "root")
                self._decide(names, Propose(Admit(Agency(new.agency, "A new one", new.signer.public))))
                self.roots[new.agency] = new
                self._staff(new.agency)
            case "rekey":
                old, new = self.roots[concerned], self.new(concerned, "root")
                self._decide(others, Propose(Rekey(concerned, new.signer.public, *old.last())))
                self.roots[concerned], old.ended = new, True
            case "remove" if late and len(names) > self.threshold:
                cut = [one for one in self.people if one.agency == concerned and (one.rows or random.random() < 0.5)]
                cutoffs = tuple(Cutoff(one.signer.public, *one.last()) for one in sorted(cut, key=lambda one: one.key))
                self._decide(others, Propose(Remove(concerned, cutoffs)))
                del self.roots[concerned]
                for one in self.people:
                    one.ended = one.ended or one.agency == concerned
            case "threshold":
                wanted = random.randint(1, len(names))
                self._decide(names, Propose(Threshold(wanted)))
                self.threshold = wanted
            case "nothing":  # a proposal that does not pass; it may want more yeses than it gets
                if self.threshold > 1:
                    self.act(self.roots[concerned], Propose(Threshold(1)))

    def _decide(self, names: list[str], proposal: Propose) -> None:
        """The proposal, with as many yeses as it needs, and at times one twice or one more than needed."""
        random, needed = self.random, self.threshold
        speakers = random.sample(names, min(len(names), needed + random.randint(0, 1)))
        first = self.act(self.roots[speakers[0]], proposal)
        for name in speakers[1:]:
            self.act(self.roots[name], Approve(EntryId(first.id)))
        if random.random() < 0.2:
            self.act(self.roots[speakers[-1]], Approve(EntryId(first.id)))

    # a proof

    def person(self, key: bytes) -> Person:
        return next(one for one in self.people if one.key == key)

    def item(self, row: Row, *, shown: bool = True) -> "Item":
        """The row, and where its own signature does not hold (or now and then) the rows after it to one that does."""
        rows = self.person(row.key).rows
        rest: list[Row] = []
        if not row.holds or self.random.random() < 0.05:
            ahead = rows[row.seq + 1 :]
            stop = next(at for at, other in enumerate(ahead) if other.holds) if ahead else -1
            rest = ahead[: stop + 1]
        return Item(row, row.body if shown else None, [(one.header, one.signature) for one in rest])

    def draft(self) -> "Draft":
        """A proof of the record: some of its steps, some of the checkpoints; it may be unproven."""
        random = self.random
        steps = [row for row in self.steps if random.random() < 0.8]
        rows = [self.record, *sorted(steps, key=lambda row: row.id)]
        keep = random.choice((1.0, 1.0, 0.7, 0.4, 0.0))
        attestations = []
        for checkpoint in self.checkpoints:
            held = [at for at, row in enumerate(rows) if row.seq < checkpoint.sizes.get(row.key, 0)]
            if held and random.random() < keep:
                chosen = sorted(random.sample(held, random.randint(1, len(held)))) if random.random() < 0.4 else held
                paths = [self.path(at, rows[at], checkpoint) for at in chosen]
                attestations.append(Attestation(self.item(checkpoint.row), paths, checkpoint))
        random.shuffle(attestations)
        acts = [self.item(row) for row in self.acts]
        entries = [self.item(row, shown=row is self.record or random.random() < 0.85) for row in rows]
        return Draft(self, acts, attestations, entries, self.network, self.record.id, self.charter)

    def path(self, entry: int, row: Row, checkpoint: Checkpoint) -> list[Any]:
        size = checkpoint.sizes[row.key]
        in_log = inclusion_proof([one.id for one in self.person(row.key).rows[:size]], row.seq)
        leaf = next(at for at, (key, _) in enumerate(checkpoint.leaves) if key == row.key)
        return [entry, size, in_log, leaf, inclusion_proof([one for _, one in checkpoint.leaves], leaf)]


@dataclass
class Item:
    """An entry as it stands in a proof."""

    row: Row
    body: bytes | None
    rest: list[tuple[bytes, bytes]]

    def value(self) -> list[Any]:
        return [self.row.header, self.row.signature, self.body, [list(pair) for pair in self.rest]]

    def become(self, row: Row, *, rest: bool = False) -> None:
        """Stand for another entry."""
        self.row, self.body = row, row.body
        if not rest:
            self.rest = []


@dataclass
class Attestation:
    item: Item
    paths: list[list[Any]]
    checkpoint: Checkpoint

    def value(self) -> list[Any]:
        return [self.item.value(), self.paths]

    def restate(self, **changes: Any) -> None:
        """The checkpoint with other fields in its body (the note as it was), signed."""
        body = {**body_of(self.item.row), **changes}
        self.item.become(self.item.row.again(body=encode(body)))

    def renote(self, **changes: Any) -> None:
        """The checkpoint with other fields in its body, and the note over them."""
        body = {**body_of(self.item.row), **changes}
        root = b64encode(body["root"]).decode()
        network = self.item.row.network.hex()
        text = f"hamkor/{network}\n{body['logs']}\n{root}\nentries {body['entries']}\n"
        self.restate(**changes, note=self.checkpoint.node.signer.sign(text.encode()))


def body_of(row: Row) -> dict[str, Any]:
    found = decode(row.body, size_max=1 << 20)
    assert isinstance(found, dict)
    return dict(found)


@dataclass
class Draft:
    """A proof that can still be changed."""

    world: World
    acts: list[Item]
    attestations: list[Attestation]
    entries: list[Item]
    network: bytes
    record: bytes
    charter: bytes
    before: bytes = BEFORE
    after: bytes = AFTER
    page: bytes | None = None
    tails: dict[bytes, Row] = field(default_factory=dict)

    def value(self) -> dict[str, Any]:
        page = sha256(self.before + self.after).digest() if self.page is None else self.page
        return {
            "acts": [item.value() for item in self.acts], "attestations": [one.value() for one in self.attestations],
            "entries": [item.value() for item in self.entries], "network": self.network, "page": page,
            "record": self.record, "version": 1,
        }  # fmt: skip

    def payload(self) -> bytes:
        return encode(self.value())

    def file(self, payload: bytes | None = None) -> bytes:
        return wrap(self.payload() if payload is None else payload, self.before, self.after)

    def expected(self) -> dict[str, Any]:
        """What a verifier says of an undamaged draft."""
        world = self.world
        agencies: list[set[str]] = [set() for _ in self.entries]
        for attestation in self.attestations:
            name = attestation.checkpoint.node.agency
            for path in attestation.paths:
                if name in world.roots:
                    agencies[path[0]].add(name)
        proven = len(agencies[0]) >= world.threshold
        return {
            "verdict": "proven" if proven else "unproven", "reason": None if proven else "threshold",
            "network": world.network.hex(), "record": self.record.hex(), "threshold": world.threshold,
            "entries": [
                {"id": item.row.id.hex(), "author": item.row.key.hex(),
                 "agency": world.person(item.row.key).agency, "agencies": sorted(found)}
                for item, found in zip(self.entries, agencies, strict=True)
            ],
        }  # fmt: skip

    def act(self, by: Person, act: Act | dict[str, Any], **changes: Any) -> Row:
        """One more act at the end, by whoever: its entry follows the last one of its log."""
        last = self.tails.get(by.key) or (by.rows[-1] if by.rows else None)
        made = {
            "version": 1, "key": by.key, "seq": last.seq + 1 if last else 0, "prev": last.id if last else None,
            "refs": [], "kind": "act", "space": None, "time_ms": self.world.now_ms, **changes,
        }  # fmt: skip
        row = sign(by.signer, self.world.network, made, encode(act) if isinstance(act, dict) else encode_act(act))
        self.tails[by.key] = row
        self.acts.append(Item(row, row.body, []))
        return row


def wrap(payload: bytes, before: bytes = BEFORE, after: bytes = AFTER, width: int = 76) -> bytes:
    """A proof file, the page as it is given."""
    text = b64encode(payload)
    return before + b"".join(text[at : at + width] + b"\n" for at in range(0, len(text), width)) + after
