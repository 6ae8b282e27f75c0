#!/usr/bin/env python3
"""Check the proof of a record, trusting nobody: one file that needs Python 3.11 and PyNaCl, and nothing of hamkor.

    python verify_proof.py PROOF CHARTER            what it shows, for a person (on a terminal)
    python verify_proof.py --json PROOF CHARTER     the same as one line of JSON (anywhere else)

PROOF is a file from `hamkor prove`: a page that can be read and printed, with the evidence inside. CHARTER is the
network's founding document. It is the one thing that you must already have and believe: get it from an agency, and
compare the network id, which is printed, with one that you were told by other means. Nothing is fetched; no clock is
asked.

WHAT IS CHECKED, in this order; numbers and words are those of SPEC.md 8.6, the law that this file was written from.
 (0) charter     every founding agency signed the charter
  1  form        the file and the payload in it have the one form that is allowed, and no other
  2  page        the page is the one that the evidence was made for
  3  network     it is about the network of this charter
  4  entry       every signed entry is well formed, and each body has the size and hash that was signed
  5  signature   every entry was signed by its author's key, or a later entry that commits to it was (strict Ed25519)
  6  act         step by step from the charter: each certificate, revocation and council decision was made by one who
                 might make it
  7  standing    every author was certified, every attesting node as a node, and nothing lies after a revocation
  8  record      the entries are the record that is named, and steps on that record
  9  checkpoint  every attestation is a checkpoint whose signed note holds
 10  path        every entry lies, by a Merkle path, in the log and ledger to which a checkpoint attests

PROVEN    nodes of at least as many agencies as the council needs attest that the record existed. Exit status 0.
UNPROVEN  all checks hold, but too few agencies attest. Exit status 1.
REFUSED   a check failed, named by its word. Nothing in the file may be relied on. Exit status 1; 2 where the file is
          no proof (`form`) or the charter is no good (`charter`).

WHAT A PROOF CANNOT SHOW: that there is nothing else. A later revocation, another branch of a log, a later step may
have been left out; an audit of the whole ledger shows those. Times are claims of the clocks of whoever wrote them;
that agencies independent of one another attest an entry is what dates it. A body may be withheld: then only its hash
is shown. A key says who held the key, not who sat at the keyboard. Nobody signs the page: what it says in words counts
for nothing, what this program prints counts.
"""

import json
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

FILE_BYTES_MAX = 16 << 20
CHARTER_BYTES_MAX = 64 << 10
BEGIN = b'<script type="application/x-hamkor-proof">\n'
END = b"</script>"
NUMBER_MAX = 2**53 - 1
BODY_BYTES_MAX = 262_144
HEAD_BYTES = 72  # of a log in a checkpoint: key, u64 size, id
NONE: tuple[int, bytes | None] = (0, None)  # a cutoff (seq, id) before the first entry


class Malformed(Exception):  # noqa: N818
    """These bytes are not in the form that SPEC.md gives them."""


class Refused(Exception):  # noqa: N818
    """A check failed; the argument is its word."""


def need(holds: object, reason: str) -> None:
    """Refuse the proof for that reason, unless it `holds`."""
    if not holds:
        raise Refused(reason)


def hashed(*parts: bytes) -> bytes:
    """SHA-256 of the parts, one after another."""
    return sha256(b"".join(parts)).digest()


def signed(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature holds, by libsodium's strict rule (SPEC.md 3.2)."""
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


# -- canonical msgpack (SPEC.md 2) ------------------------------------------------------------------

LONG = {  # first byte: what follows, the width of its number or size, and what that number must reach: no longer form
    0xC4: ("bytes", 1, 0), 0xC5: ("bytes", 2, 1 << 8), 0xC6: ("bytes", 4, 1 << 16),
    0xD9: ("text", 1, 32), 0xDA: ("text", 2, 1 << 8), 0xDB: ("text", 4, 1 << 16),
    0xDC: ("array", 2, 16), 0xDE: ("map", 2, 16),
    0xCC: ("integer", 1, 1 << 7), 0xCD: ("integer", 2, 1 << 8), 0xCE: ("integer", 4, 1 << 16),
    0xCF: ("integer", 8, 1 << 32),
    0xD0: ("negative", 1, -33), 0xD1: ("negative", 2, -129), 0xD2: ("negative", 4, -(1 << 15) - 1),
    0xD3: ("negative", 8, -(1 << 31) - 1),
}  # fmt: skip


class Reader:
    """Reads canonical values from the front of `raw`. Every method raises Malformed on what it does not ask for.

    What has a known shape is read in that shape, so hostile bytes cost no more than the shape allows.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start, self.at = self.at, self.at + size
        if self.at > len(self.raw):
            raise Malformed
        return self.raw[start : self.at]

    def head(self) -> tuple[str, int]:
        """What comes next, and its number (integer, nil, bool) or its size (bytes and text: bytes; else items)."""
        first = self.take(1)[0]
        if first < 0x80:
            return "integer", first
        if first < 0x90:
            return "map", first - 0x80
        if first < 0xA0:
            return "array", first - 0x90
        if first < 0xC0:
            return "text", first - 0xA0
        if first >= 0xE0:
            return "integer", first - 0x100
        if first in (0xC0, 0xC2, 0xC3):
            return ("nil", 0) if first == 0xC0 else ("bool", first - 0xC2)
        if first not in LONG:
            raise Malformed
        what, width, reach = LONG[first]
        number = int.from_bytes(self.take(width), "big", signed=what == "negative")
        if number > reach if what == "negative" else number < reach:
            raise Malformed  # a shorter form would do
        if what in ("array", "map") and number > 4096:
            raise Malformed
        return ("integer" if what == "negative" else what), number

    def one(self, what: str, least: int, most: int) -> int:
        """The number or size of what comes next, which must be a `what`."""
        found, number = self.head()
        if found != what or not least <= number <= most:
            raise Malformed
        return number

    def items(self, least: int, most: int) -> range:
        """A range over the items of the array that begins here; the caller reads each."""
        return range(self.one("array", least, most))

    def number(self, most: int = NUMBER_MAX) -> int:
        """An integer from 0 to `most`."""
        return self.one("integer", 0, most)

    def bytes_of(self, size: int) -> bytes:
        """Bytes, so many."""
        return self.take(self.one("bytes", size, size))

    def nil(self) -> bool:
        """Whether nil comes next; it is passed over."""
        found = self.raw[self.at : self.at + 1] == b"\xc0"
        self.at += found
        return found

    def text(self, size: int) -> str:
        """The next bytes as UTF-8."""
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise Malformed from None

    def value(self, depth: int = 0) -> Any:
        """Any value: int, None, bool, bytes, str, list or dict."""
        what, number = self.head()
        if what == "integer":
            return number
        if what in ("nil", "bool"):
            return bool(number) if what == "bool" else None
        if what in ("bytes", "text"):
            return self.take(number) if what == "bytes" else self.text(number)
        if depth == 16:
            raise Malformed
        if what == "array":
            return [self.value(depth + 1) for _ in range(number)]
        found: dict[str, Any] = {}
        before = b""
        for _ in range(number):
            key = self.text(self.one("text", 0, BODY_BYTES_MAX))
            if found and key.encode() <= before:
                raise Malformed
            before = key.encode()
            found[key] = self.value(depth + 1)
        return found

    def end(self) -> None:
        """Nothing may follow."""
        if self.at != len(self.raw):
            raise Malformed


def decode(raw: bytes) -> Any:
    """The one value in `raw`."""
    reader = Reader(raw)
    found = reader.value()
    reader.end()
    return found


# -- the shapes of values (SPEC.md 4.1, 4.3, 4.5, 4.6) ------------------------------------------------

Rule = Callable[[Any], bool]
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def is_text(value: Any, least: int = 1, most: int = 200) -> bool:
    """Text without what could move a cursor or turn the text round."""
    return type(value) is str and least <= len(value.encode()) <= most and HIDDEN.search(value) is None


def like(pattern: str) -> Rule:
    """A rule for text: the whole of it matches."""
    found = re.compile(pattern)
    return lambda value: type(value) is str and found.fullmatch(value) is not None


def many(size: int) -> Rule:
    """A rule for bytes: so many."""
    return lambda value: type(value) is bytes and len(value) == size


def between(least: int, most: int) -> Rule:
    """A rule for integers."""
    return lambda value: type(value) is int and least <= value <= most


def ascending(rule: Rule, most: int) -> Rule:
    """A rule for arrays: at most so many items, each by `rule`, strictly ascending."""
    return lambda value: (
        type(value) is list and len(value) <= most and all(map(rule, value))
        and all(one < other for one, other in pairwise(value))
    )  # fmt: skip


def fits(value: Any, shape: dict[str, Rule]) -> bool:
    """Whether it is a map with exactly these fields, each by its rule."""
    return type(value) is dict and value.keys() == shape.keys() and all(shape[name](value[name]) for name in shape)


def is_cutoff(seq: Any, entry_id: Any) -> bool:
    """Whether seq and id name a last entry that counts; 0 and nil: none does."""
    return (seq == 0 and type(seq) is int) if entry_id is None else is_number(seq) and is_id(entry_id)


def are_cutoffs(value: Any) -> bool:
    """An array of [key, seq, id], ascending by key."""
    if type(value) is not list or not all(type(row) is list and len(row) == 3 for row in value):
        return False
    return all(is_cutoff(*row[1:]) for row in value) and ascending(is_id, 4096)([row[0] for row in value])


is_id, is_number, is_code = many(32), between(0, NUMBER_MAX), like("[a-z0-9-]{1,24}")
is_word = like("[a-z][a-z0-9_]{0,23}")
anything: Rule = lambda value: True  # noqa: E731
AGENCY = {"key": is_id, "name": is_code, "title": is_text}
CHARTER = {
    "agencies": lambda value: type(value) is list and 1 <= len(value) <= 64 and all(fits(one, AGENCY) for one in value),
    "founded_ms": is_number, "network": is_text, "nonce": many(16), "threshold": between(1, 64),
    "version": between(1, 1),
}  # fmt: skip
CHANGES = {
    "admit": lambda value: fits(value, AGENCY),
    "rekey": lambda value: fits(value, {"id": anything, "key": is_id, "name": is_code, "seq": anything})
    and is_cutoff(value["seq"], value["id"]),
    "remove": lambda value: fits(value, {"cutoffs": are_cutoffs, "name": is_code}),
    "threshold": between(1, 64),
}
ACTS: dict[str, dict[str, Rule]] = {
    "certify": {
        "agency": is_code, "consent": lambda value: value is None or many(64)(value), "name": is_text,
        "rank": like("admin|node|officer"), "roles": ascending(like("admin|auditor|coordinator|officer"), 8),
        "subject": is_id, "unit": lambda value: value == "" or is_code(value),
    },
    "unit": {"regions": ascending(like("[A-Z]{2}-[A-Z0-9]{1,3}"), 64), "title": is_text, "unit": is_code},
    "revoke": {"id": anything, "reason": lambda value: is_text(value, 0, 2000), "seq": anything, "subject": is_id},
    "propose": {
        "change": lambda value: type(value) is dict and len(value) == 1
        and all(name in CHANGES and CHANGES[name](change) for name, change in value.items())
    },
    "approve": {"proposal": is_id},
}  # fmt: skip
CHECKPOINT = {
    "entries": is_number, "full": lambda value: type(value) is bool, "heads": lambda value: type(value) is bytes,
    "logs": is_number, "note": many(64), "rest": between(0, 0), "root": is_id,
}  # fmt: skip


# -- the charter (SPEC.md 4.1) ------------------------------------------------------------------------


@dataclass
class Charter:
    """Who founded the network."""

    network: bytes
    name: str
    threshold: int
    roots: dict[str, bytes]  # the root key of each agency, by name


def read_charter(raw: bytes) -> Charter:
    """The charter in a charter file. Raises Refused unless every agency in it has signed it."""
    first = b"hamkor charter 1\n"
    need(len(raw) <= CHARTER_BYTES_MAX and raw.startswith(first), "charter")
    try:
        value = decode(raw[len(first) :])
    except Malformed:
        raise Refused("charter") from None
    need(fits(value, {"charter": lambda one: fits(one, CHARTER), "signatures": anything}), "charter")
    charter, signatures = value["charter"], value["signatures"]
    roots = {agency["name"]: agency["key"] for agency in charter["agencies"]}
    names = [agency["name"] for agency in charter["agencies"]]
    need(ascending(is_code, 64)(names) and len(set(roots.values())) == len(names), "charter")
    need(charter["threshold"] <= len(names), "charter")
    need(fits(signatures, dict.fromkeys(names, many(64))), "charter")
    # The charter's bytes stand in the file as they were hashed: after the map's head and the name of the first field.
    reader = Reader(raw[len(first) :])
    start = 1 + len(b"\xa7charter")
    reader.at = start
    reader.value()
    text = reader.raw[start : reader.at]
    for name, key in roots.items():
        need(signed(key, signatures[name], b"hamkor/charter/1\x00" + text), "charter")
    return Charter(hashed(text), charter["network"], charter["threshold"], roots)


# -- the file (SPEC.md 8.6, checks 1 and 2) -----------------------------------------------------------


@dataclass
class Header:
    """What an author signed, as far as a proof asks for it (SPEC.md 3.1)."""

    key: bytes
    seq: int
    prev: bytes | None
    refs: list[bytes]
    kind: str
    body_size: int
    body_hash: bytes
    time_ms: int


@dataclass
class Item:
    """An entry, and the headers after it up to one that is signed."""

    raw: bytes  # the header
    signature: bytes
    body: bytes | None
    rest: list[tuple[bytes, bytes]]  # header and signature
    id: bytes
    header: Header = field(init=False)  # from check 4 on


@dataclass
class Path:
    """From an entry to the root of a log, and from there to the root of the ledger."""

    entry: int
    size: int
    in_log: list[bytes]
    leaf: int
    in_ledger: list[bytes]


@dataclass
class Proof:
    """The payload."""

    acts: list[Item]
    attestations: list[tuple[Item, list[Path]]]
    entries: list[Item]
    network: bytes
    page: bytes
    record: bytes

    def items(self) -> list[Item]:
        """All signed entries, in the order in which they are checked."""
        return [*self.acts, *self.entries, *(item for item, _ in self.attestations)]


def read_file(raw: bytes) -> tuple[Proof, bytes]:
    """The payload of a proof file, and the hash of the page. Raises Malformed."""
    start = raw.find(BEGIN) + len(BEGIN)
    stop = raw.find(END, start)
    if len(raw) > FILE_BYTES_MAX or raw.count(BEGIN) != 1 or stop < 0:
        raise Malformed
    content = raw[start:stop]
    try:
        raw.decode()
        payload = b64decode(content.replace(b"\n", b""), validate=True)
    except ValueError:
        raise Malformed from None
    again = b64encode(payload)
    if content != b"".join(again[at : at + 76] + b"\n" for at in range(0, len(again), 76)):
        raise Malformed  # lines of another length, no padding, or bits that say nothing
    return read_payload(Reader(payload)), hashed(raw[:start], raw[stop:])


def read_payload(reader: Reader) -> Proof:
    """All that the payload holds; the names in its map are in ascending order."""

    def name(expected: str) -> None:
        if reader.text(reader.one("text", 1, 24)) != expected:
            raise Malformed

    reader.one("map", 7, 7)
    name("acts")
    acts = [read_item(reader) for _ in reader.items(0, 4096)]
    name("attestations")
    attestations = [read_attestation(reader) for _ in reader.items(0, 256)]
    name("entries")
    entries = [read_item(reader) for _ in reader.items(1, 4096)]
    name("network")
    network = reader.bytes_of(32)
    name("page")
    page = reader.bytes_of(32)
    name("record")
    record = reader.bytes_of(32)
    name("version")
    reader.one("integer", 1, 1)
    reader.end()
    if any(one.id >= other.id for one, other in pairwise(entries[1:])):
        raise Malformed
    if any(path.entry >= len(entries) for _, paths in attestations for path in paths):
        raise Malformed
    return Proof(acts, attestations, entries, network, page, record)


def read_item(reader: Reader) -> Item:
    """[header, signature, body, rest]."""
    reader.items(4, 4)
    raw, signature = reader.take(reader.one("bytes", 0, FILE_BYTES_MAX)), reader.bytes_of(64)
    body = None if reader.nil() else reader.take(reader.one("bytes", 0, FILE_BYTES_MAX))
    rest = [read_pair(reader) for _ in reader.items(0, 127)]
    return Item(raw, signature, body, rest, hashed(b"\x00", raw, signature))


def read_pair(reader: Reader) -> tuple[bytes, bytes]:
    """[header, signature]."""
    reader.items(2, 2)
    return reader.take(reader.one("bytes", 0, FILE_BYTES_MAX)), reader.bytes_of(64)


def read_attestation(reader: Reader) -> tuple[Item, list[Path]]:
    """[item, [path, ...]]."""
    reader.items(2, 2)
    item = read_item(reader)
    paths = [read_path(reader) for _ in reader.items(1, 4096)]
    if any(one.entry >= other.entry for one, other in pairwise(paths)):
        raise Malformed
    return item, paths


def read_path(reader: Reader) -> Path:
    """[entry, size, [hash, ...], leaf, [hash, ...]]."""
    reader.items(5, 5)
    entry, size = reader.number(), reader.number()
    in_log = [reader.bytes_of(32) for _ in reader.items(0, 64)]
    leaf = reader.number()
    return Path(entry, size, in_log, leaf, [reader.bytes_of(32) for _ in reader.items(0, 64)])


# -- entries (SPEC.md 3; checks 4 and 5) --------------------------------------------------------------


def read_header(raw: bytes) -> Header:
    """A header, by the rules of 3.1. Raises Malformed."""
    if len(raw) > 2048:
        raise Malformed
    reader = Reader(raw)
    reader.items(10, 10)
    reader.one("integer", 1, 1)
    key, seq = reader.bytes_of(32), reader.number()
    prev = None if reader.nil() else reader.bytes_of(32)
    refs = [reader.bytes_of(32) for _ in reader.items(0, 32)]
    kind = reader.text(reader.one("text", 1, 24))
    if not reader.nil():
        reader.bytes_of(32)  # a compartment
    header = Header(key, seq, prev, refs, kind, reader.number(BODY_BYTES_MAX), reader.bytes_of(32), reader.number())
    reader.end()
    if (prev is None) != (seq == 0) or not is_code(kind) or not ascending(is_id, 32)(refs):
        raise Malformed
    return header


def check_item(item: Item) -> None:
    """Check 4: its header, body, and the chain of headers after it. Raises Malformed."""
    header = item.header = read_header(item.raw)
    if item.body is not None and (len(item.body), hashed(item.body)) != (header.body_size, header.body_hash):
        raise Malformed
    seq, before = header.seq, item.id
    for raw, signature in item.rest:
        after, seq = read_header(raw), seq + 1
        if (after.key, after.seq, after.prev) != (header.key, seq, before):
            raise Malformed
        before = hashed(b"\x00", raw, signature)


def is_signed(item: Item, network: bytes) -> bool:
    """Check 5: the last of the headers after it is signed, or itself where there are none."""
    raw, signature = item.rest[-1] if item.rest else (item.raw, item.signature)
    return signed(item.header.key, signature, b"hamkor/entry/1\x00" + network + raw)


def body_of(item: Item) -> dict[str, Any] | None:
    """The map in an entry's body; None where there is none, or it cannot be read."""
    if item.body is None:
        return None
    try:
        found = decode(item.body)
    except Malformed:
        return None
    return found if type(found) is dict else None


# -- who may (SPEC.md 8.6, acts in a proof; checks 6 and 7) -------------------------------------------


@dataclass
class Proposal:
    """A change put to the council, and which agencies said yes."""

    change: dict[str, Any]
    yes: set[str] = field(default_factory=set)
    passed: bool = False


class Authority:
    """Who speaks for whom: it begins with the charter and changes with each act that is read."""

    def __init__(self, charter: Charter) -> None:
        self.threshold = charter.threshold
        self.members = dict(charter.roots)  # the root key of each agency that is a member now
        self.roots = {key: name for name, key in charter.roots.items()}  # every key that ever was one
        self.certified: dict[bytes, dict[str, Any]] = {}  # the certificate of each key
        self.cutoffs: dict[bytes, tuple[int, bytes | None]] = {}  # the last entry that counts, of keys that have ended
        self.proposals: dict[bytes, Proposal] = {}
        self.read: set[bytes] = set()

    def take(self, item: Item) -> None:
        """Check 6: read the next act, and give it its effect. Raises Refused."""
        act = body_of(item) or {}
        shape = ACTS.get(act["act"]) if type(act.get("act")) is str else None
        need(item.header.kind == "act" and shape is not None and item.id not in self.read, "act")
        assert shape is not None
        need(fits(act, {"act": anything, **shape}), "act")
        self.read.add(item.id)
        getattr(self, "_" + act["act"])(item.header.key, item.id, act)

    def _certify(self, key: bytes, _: bytes, act: dict[str, Any]) -> None:
        need(self._speaks(key, act["agency"], act["rank"]), "act")
        need(act["subject"] not in self.certified and act["subject"] not in self.roots, "act")
        self.certified[act["subject"]] = act

    def _unit(self, key: bytes, _: bytes, act: dict[str, Any]) -> None:
        need(any(self._speaks(key, agency, "officer") for agency in self.members), "act")

    def _revoke(self, key: bytes, _: bytes, act: dict[str, Any]) -> None:
        subject = self.certified.get(act["subject"])
        need(subject is not None and is_cutoff(act["seq"], act["id"]), "act")
        assert subject is not None
        need(self._speaks(key, subject["agency"], subject["rank"]), "act")
        self._cut(act["subject"], (act["seq"], act["id"]))

    def _propose(self, key: bytes, entry_id: bytes, act: dict[str, Any]) -> None:
        self.proposals[entry_id] = Proposal(act["change"])
        self._say_yes(key, self.proposals[entry_id])

    def _approve(self, key: bytes, _: bytes, act: dict[str, Any]) -> None:
        need(act["proposal"] in self.proposals, "act")
        self._say_yes(key, self.proposals[act["proposal"]])

    def _speaks(self, key: bytes, agency: str, rank: str) -> bool:
        """Whether the key may certify or revoke keys of that rank for that agency."""
        admin = self.certified.get(key, {"agency": "", "rank": ""})
        by_admin = rank in ("node", "officer") and (admin["agency"], admin["rank"]) == (agency, "admin")
        return agency in self.members and (self.members[agency] == key or by_admin)

    def _say_yes(self, key: bytes, proposal: Proposal) -> None:
        name = self.roots.get(key, "")
        need(self.members.get(name) == key, "act")
        proposal.yes.add(name)
        ((what, terms),) = proposal.change.items()
        concerned = terms["name"] if what in ("rekey", "remove") else None
        voices = [agency for agency in proposal.yes if agency in self.members and agency != concerned]
        if not proposal.passed and len(voices) >= self.threshold and self._can_be_done(what, terms):
            proposal.passed = True
            self._do(what, terms)

    def _can_be_done(self, what: str, terms: Any) -> bool:
        match what:
            case "admit":
                free = terms["name"] not in self.members and terms["key"] not in self.roots
                return free and len(self.members) < 64
            case "rekey":
                return terms["name"] in self.members and terms["key"] not in self.roots
            case "remove":
                return terms["name"] in self.members and len(self.members) > self.threshold
            case _:
                return bool(terms <= len(self.members))

    def _do(self, what: str, terms: Any) -> None:
        if what == "threshold":
            self.threshold = terms
            return
        name = terms["name"]
        if what == "rekey":
            self._cut(self.members[name], (terms["seq"], terms["id"]))
        if what == "remove":
            listed = {key: (seq, entry_id) for key, seq, entry_id in terms["cutoffs"]}
            root = self.members.pop(name)
            self._cut(root, listed.get(root, NONE))
            for key in [key for key, certificate in self.certified.items() if certificate["agency"] == name]:
                self._cut(key, listed.get(key, NONE))
        else:
            self.members[name] = terms["key"]
            self.roots[terms["key"]] = name

    def _cut(self, key: bytes, cutoff: tuple[int, bytes | None]) -> None:
        """Of several cutoffs of a key the lowest counts (SPEC.md 4.4.3)."""
        self.cutoffs[key] = min(
            cutoff, self.cutoffs.get(key, cutoff), key=lambda one: (one[1] is not None, one[0], one[1] or b"")
        )

    def counts(self, header: Header, entry_id: bytes) -> bool:
        """Check 7: whether the entry lies at or before the cutoff of its log."""
        if header.key not in self.cutoffs:
            return True
        seq, last = self.cutoffs[header.key]
        return last is not None and (header.seq < seq or (header.seq == seq and entry_id == last))

    def agency(self, key: bytes) -> str | None:
        """The agency that a key is or was of."""
        if key in self.roots:
            return self.roots[key]
        return str(self.certified[key]["agency"]) if key in self.certified else None


def check_standing(proof: Proof, authority: Authority) -> None:
    """Check 7."""
    need(all(authority.counts(item.header, item.id) for item in proof.items()), "standing")
    need(all(authority.agency(entry.header.key) is not None for entry in proof.entries), "standing")
    for item, _ in proof.attestations:
        need(authority.certified.get(item.header.key, {}).get("rank") == "node", "standing")


# -- what is attested (checks 8 to 10) ----------------------------------------------------------------


def check_record(proof: Proof) -> None:
    """Check 8: the creation, and steps on that record."""
    first, *steps = proof.entries
    body = body_of(first) or {}
    need(first.id == proof.record and first.header.kind == "record", "record")
    need(type(body.get("fields")) is dict and is_word(body.get("type")), "record")
    for step in steps:
        need(step.header.kind == "step" and proof.record in step.header.refs, "record")
        if step.body is not None:
            body = body_of(step) or {}
            need(type(body.get("fields")) is dict and is_word(body.get("step")), "record")
            need(body.get("record") == proof.record, "record")


def read_checkpoint(item: Item, network: bytes) -> dict[str, Any]:
    """Check 9: the body of a checkpoint whose note holds (SPEC.md 7.1). Raises Refused."""
    body = body_of(item)
    need(item.header.kind == "checkpoint" and fits(body, CHECKPOINT), "checkpoint")
    assert body is not None
    heads = body["heads"]
    need(len(heads) % HEAD_BYTES == 0 and len(heads) <= 3600 * HEAD_BYTES, "checkpoint")
    rows = [heads[at : at + HEAD_BYTES] for at in range(0, len(heads), HEAD_BYTES)]
    need(all(one[:32] < other[:32] for one, other in pairwise(rows)), "checkpoint")
    for row in rows:
        size = int.from_bytes(row[32:40], "big")
        need(size <= NUMBER_MAX and (size == 0) == (row[40:] == bytes(32)), "checkpoint")
    root = b64encode(body["root"]).decode()
    note = f"hamkor/{network.hex()}\n{body['logs']}\n{root}\nentries {body['entries']}\n"
    need(signed(item.header.key, body["note"], note.encode()), "checkpoint")
    return body


def root_over(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """The root of a tree of `size` leaves that has `leaf` at `index`, by RFC 9162 2.1.3.2; None: no such path."""
    if index >= size:
        return None
    at, last, root = index, size - 1, leaf
    for beside in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            root = hashed(b"\x01", beside, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = hashed(b"\x01", root, beside)
        at, last = at >> 1, last >> 1
    return root if last == 0 else None


def is_attested(entry: Item, path: Path, checkpoint: dict[str, Any]) -> bool:
    """Check 10: the path leads from the entry, through the root of its log, to the root of the ledger."""
    header = entry.header
    log = root_over(entry.id, header.seq, path.size, path.in_log)
    if log is None:
        return False
    leaf = hashed(b"\x00", header.key, path.size.to_bytes(8, "big"), log)
    return bool(root_over(leaf, path.leaf, checkpoint["logs"], path.in_ledger) == checkpoint["root"])


# -- the verdict --------------------------------------------------------------------------------------


@dataclass
class Shown:
    """What a proof shows that is not refused."""

    charter: Charter
    proof: Proof
    authority: Authority
    agencies: list[dict[str, int]]  # of each entry, who attests it: agency, and the earliest time it claims
    proven: bool


def examine(raw: bytes, charter_raw: bytes) -> Shown:
    """Make all checks. Raises Refused. Cost: some 60 us for each signature, some 20 for each header in `rest`."""
    charter = read_charter(charter_raw)
    try:
        proof, page = read_file(raw)  # 1
    except Malformed:
        raise Refused("form") from None
    need(proof.page == page, "page")  # 2
    need(proof.network == charter.network, "network")  # 3
    try:
        for item in proof.items():  # 4
            check_item(item)
    except Malformed:
        raise Refused("entry") from None
    need(all(is_signed(item, charter.network) for item in proof.items()), "signature")  # 5
    authority = Authority(charter)
    for act in proof.acts:  # 6
        authority.take(act)
    check_standing(proof, authority)  # 7
    check_record(proof)  # 8
    checkpoints = [read_checkpoint(item, charter.network) for item, _ in proof.attestations]  # 9
    agencies: list[dict[str, int]] = [{} for _ in proof.entries]
    for (item, paths), checkpoint in zip(proof.attestations, checkpoints, strict=True):  # 10
        name, time_ms = authority.certified[item.header.key]["agency"], item.header.time_ms
        for path in paths:
            need(is_attested(proof.entries[path.entry], path, checkpoint), "path")
            if name in authority.members:
                attested = agencies[path.entry]
                attested[name] = min(time_ms, attested.get(name, time_ms))
    return Shown(charter, proof, authority, agencies, len(agencies[0]) >= authority.threshold)


def check(proof: bytes, charter: bytes) -> dict[str, Any]:
    """The verdict on a proof file, given a charter file, as the line of JSON has it. Raises nothing."""
    try:
        shown = examine(proof, charter)
    except Refused as refused:
        return {"verdict": "refused", "reason": str(refused)}
    return as_json(shown)


def as_json(shown: Shown) -> dict[str, Any]:
    """What is shown, for a program."""
    return {
        "verdict": "proven" if shown.proven else "unproven",
        "reason": None if shown.proven else "threshold",
        "network": shown.charter.network.hex(),
        "record": shown.proof.record.hex(),
        "threshold": shown.authority.threshold,
        "entries": [
            {
                "id": entry.id.hex(), "author": entry.header.key.hex(),
                "agency": shown.authority.agency(entry.header.key), "agencies": sorted(attested),
            }
            for entry, attested in zip(shown.proof.entries, shown.agencies, strict=True)
        ],
    }  # fmt: skip


def as_text(shown: Shown) -> str:
    """What is shown, for a person."""
    most, named = shown.authority.threshold, f"{shown.charter.name}, network id {shown.charter.network.hex()}"
    word, than = ("PROVEN", "at least") if shown.proven else ("UNPROVEN", "fewer than")
    lines = [f"{word}: nodes of {than} {most} agencies attest record {shown.proof.record.hex()}", f"in {named}", ""]
    for entry, attested in zip(shown.proof.entries, shown.agencies, strict=True):
        key, body = entry.header.key, body_of(entry)
        who = shown.authority.certified.get(key, {"name": "the root key", "rank": "agency"})
        if body is None:
            said = "its content is withheld: only its hash is shown"
        else:
            said = json.dumps(body["fields"], ensure_ascii=False, default=lambda value: value.hex())
        lines += [
            f"{entry.header.kind} {(body or {}).get('type') or (body or {}).get('step') or ''} {entry.id.hex()}",
            f"  by {who['name']} ({who['rank']}) of {shown.authority.agency(key)}, key {key.hex()}",
            f"  who dates it {moment(entry.header.time_ms)}",
            f"  says {said}",
            *(f"  attested by {name}, which dates that {moment(when)}" for name, when in sorted(attested.items())),
            *([] if attested else ["  attested by nobody here"]),
        ]
    lines += ["", "Not shown: whether there are later steps, revocations or other branches. An audit shows that."]
    return "\n".join(plain(line) for line in lines)


def moment(time_ms: int) -> str:
    """A time for a person; years after 9999 stay a number."""
    if time_ms >= 253_402_300_800_000:
        return f"{time_ms} ms after 1970"
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def plain(text: str) -> str:
    """The text with all that does not print written out, so that it cannot play tricks on a terminal."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    options = [word for word in arguments if word.startswith("--")]
    paths = [word for word in arguments if not word.startswith("--")]
    if len(paths) != 2 or not {*options} <= {"--json", "--text"} or len(options) > 1:
        sys.stderr.write("usage: python verify_proof.py [--json | --text] PROOF CHARTER\n")
        return 2
    try:
        with open(paths[0], "rb") as proof, open(paths[1], "rb") as charter:  # noqa: PTH123
            shown = examine(proof.read(FILE_BYTES_MAX + 1), charter.read(CHARTER_BYTES_MAX + 1))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Refused as refused:
        reason = str(refused)
        found, status = {"verdict": "refused", "reason": reason}, 2 if reason in ("form", "charter") else 1
        text = f"REFUSED ({reason}): nothing in this file may be relied on"
    else:
        found, status, text = as_json(shown), 0 if shown.proven else 1, as_text(shown)
    for_person = "--text" in options or (not options and sys.stdout.isatty())
    sys.stdout.write((text if for_person else json.dumps(found, sort_keys=True)) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
