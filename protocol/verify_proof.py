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
from typing import Any, NamedTuple

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

FILE_BYTES_MAX, CHARTER_BYTES_MAX, BODY_BYTES_MAX, HEADER_BYTES_MAX = 16 << 20, 64 << 10, 256 << 10, 2048
NUMBER_MAX = 2**53 - 1
BEGIN, END = b'<script type="application/x-hamkor-proof">\n', b"</script>"

Cutoff = tuple[int, bytes | None]  # seq and id of the last entry of a log that counts; 0 and None: none does


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

SHORT = {  # what a first byte says by itself: what comes, and its number or size
    byte: (what, byte - base)
    for what, low, high, base in (
        ("integer", 0x00, 0x7F, 0), ("map", 0x80, 0x8F, 0x80), ("array", 0x90, 0x9F, 0x90), ("text", 0xA0, 0xBF, 0xA0),
        ("nil", 0xC0, 0xC0, 0xC0), ("bool", 0xC2, 0xC3, 0xC2), ("integer", 0xE0, 0xFF, 0x100),
    )
    for byte in range(low, high + 1)
}  # fmt: skip
LONG = {  # what comes, how many bytes its number or size takes, and the least that needs so many
    0xC4: ("bytes", 1, 0), 0xC5: ("bytes", 2, 1 << 8), 0xC6: ("bytes", 4, 1 << 16),
    0xD9: ("text", 1, 32), 0xDA: ("text", 2, 1 << 8), 0xDB: ("text", 4, 1 << 16),
    0xDC: ("array", 2, 16), 0xDE: ("map", 2, 16),
    0xCC: ("integer", 1, 128), 0xCD: ("integer", 2, 1 << 8), 0xCE: ("integer", 4, 1 << 16),
    0xCF: ("integer", 8, 1 << 32),
}  # fmt: skip
NEGATIVE = {0xD0: (1, -33), 0xD1: (2, -129), 0xD2: (4, -(1 << 15) - 1), 0xD3: (8, -(1 << 31) - 1)}  # and the most


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
        if first in SHORT:
            return SHORT[first]
        if first in NEGATIVE:
            width, most = NEGATIVE[first]
            what, number = "integer", int.from_bytes(self.take(width), "big", signed=True)
            fine = number <= most
        elif first in LONG:
            what, width, least = LONG[first]
            number = int.from_bytes(self.take(width), "big")
            fine = number >= least and (number <= 4096 or what not in ("array", "map"))
        else:
            raise Malformed  # a fraction, an extension, a size of more than 2 bytes
        if not fine:
            raise Malformed  # a shorter form would do, or too many items
        return what, number

    def one(self, what: str, least: int = 0, most: int = FILE_BYTES_MAX) -> int:
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

    def bytes_of(self, size: int | None = None) -> bytes:
        """Bytes; so many, where a size is given."""
        return self.take(self.one("bytes") if size is None else self.one("bytes", size, size))

    def text_of(self, size: int) -> str:
        """The next `size` bytes as UTF-8."""
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise Malformed from None

    def nil(self) -> bool:
        """Whether nil comes next; it is passed over."""
        found = self.raw[self.at : self.at + 1] == b"\xc0"
        self.at += found
        return found

    def value(self, depth: int = 0) -> Any:
        """Any value: int, None, bool, bytes, str, list or dict."""
        what, number = self.head()
        if what in ("integer", "nil", "bool"):
            return number if what == "integer" else bool(number) if what == "bool" else None
        if what in ("bytes", "text"):
            return self.take(number) if what == "bytes" else self.text_of(number)
        if depth == 16:
            raise Malformed
        if what == "array":
            return [self.value(depth + 1) for _ in range(number)]
        found: dict[str, Any] = {}
        before = ""
        for _ in range(number):
            name = self.text_of(self.one("text"))
            if found and name <= before:  # by code points is by UTF-8 bytes
                raise Malformed
            found[name], before = self.value(depth + 1), name
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
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # could turn the text round


def is_text(value: Any, least: int = 1, most: int = 200) -> bool:
    """Text of so many bytes that shows all that it says."""
    return type(value) is str and least <= len(value.encode()) <= most and HIDDEN.search(value) is None


def like(pattern: str) -> Rule:
    """A rule for text: the whole of it matches."""
    return lambda value: type(value) is str and re.fullmatch(pattern, value) is not None


def sized(size: int) -> Rule:
    """A rule for bytes: so many."""
    return lambda value: type(value) is bytes and len(value) == size


def between(least: int, most: int) -> Rule:
    """A rule for integers."""
    return lambda value: type(value) is int and least <= value <= most


def is_ascending(values: list[Any]) -> bool:
    """Strictly: nothing stands there twice."""
    return all(one < other for one, other in pairwise(values))


def many(rule: Rule, most: int, *, ascending: bool = True) -> Rule:
    """A rule for arrays: at most so many items, each by `rule`, strictly ascending unless it is said otherwise."""
    return lambda value: (
        type(value) is list and len(value) <= most and all(map(rule, value))
        and (not ascending or is_ascending(value))
    )  # fmt: skip


def anything(_: Any) -> bool:
    """A rule that all values follow."""
    return True


def fits(value: Any, shape: dict[str, Rule]) -> bool:
    """Whether it is a map with exactly these fields, each by its rule."""
    return type(value) is dict and value.keys() == shape.keys() and all(shape[name](value[name]) for name in shape)


def is_cutoff(seq: Any, entry_id: Any) -> bool:
    """Whether these are the seq and id of a last entry that counts; 0 and nil: none does."""
    return between(0, 0)(seq) if entry_id is None else is_number(seq) and is_id(entry_id)


def is_row(value: Any) -> bool:
    """[key, seq, id]: a cutoff of that key."""
    return type(value) is list and len(value) == 3 and is_id(value[0]) and is_cutoff(*value[1:])


is_id, is_number, is_code = sized(32), between(0, NUMBER_MAX), like("[a-z0-9-]{1,24}")
is_word = like("[a-z][a-z0-9_]{0,23}")
AGENCY: dict[str, Rule] = {"key": is_id, "name": is_code, "title": is_text}
CHARTER: dict[str, Rule] = {
    "agencies": many(lambda one: fits(one, AGENCY), 64, ascending=False), "founded_ms": is_number, "network": is_text,
    "nonce": sized(16), "threshold": between(1, 64), "version": between(1, 1),
}  # fmt: skip
CHANGES: dict[str, Rule] = {
    "admit": lambda terms: fits(terms, AGENCY),
    "rekey": lambda terms: (
        fits(terms, {"id": anything, "key": is_id, "name": is_code, "seq": anything})
        and is_cutoff(terms["seq"], terms["id"])
    ),
    "remove": lambda terms: (
        fits(terms, {"cutoffs": many(is_row, 4096, ascending=False), "name": is_code})
        and is_ascending([row[0] for row in terms["cutoffs"]])
    ),
    "threshold": between(1, 64),
}
ACTS: dict[str, dict[str, Rule]] = {
    "certify": {
        "agency": is_code, "consent": lambda value: value is None or sized(64)(value), "name": is_text,
        "rank": like("admin|node|officer"), "roles": many(like("admin|auditor|coordinator|officer"), 8),
        "subject": is_id, "unit": lambda value: value == "" or is_code(value),
    },
    "unit": {"regions": many(like("[A-Z]{2}-[A-Z0-9]{1,3}"), 64), "title": is_text, "unit": is_code},
    "revoke": {"id": anything, "reason": lambda value: is_text(value, 0, 2000), "seq": anything, "subject": is_id},
    "propose": {"change": lambda value: type(value) is dict and len(value) == 1 and is_change(*value.items())},
    "approve": {"proposal": is_id},
}  # fmt: skip
RECORD: dict[str, Rule] = {"fields": lambda value: type(value) is dict, "type": is_word}
STEP: dict[str, Rule] = {"fields": RECORD["fields"], "record": is_id, "step": is_word}
CHECKPOINT: dict[str, Rule] = {
    "entries": is_number, "full": lambda value: type(value) is bool, "heads": lambda value: type(value) is bytes,
    "logs": is_number, "note": sized(64), "rest": between(0, 0), "root": is_id,
}  # fmt: skip


def is_change(change: tuple[str, Any]) -> bool:
    """Whether the council can be asked for it."""
    return change[0] in CHANGES and CHANGES[change[0]](change[1])


def is_act(value: Any) -> bool:
    """Whether it is one of the acts of 4.3."""
    shape = ACTS.get(str(value.get("act"))) if type(value) is dict else None
    if shape is None or not fits(value, {"act": like("[a-z]+"), **shape}):
        return False
    return value["act"] != "revoke" or is_cutoff(value["seq"], value["id"])


# -- the charter (SPEC.md 4.1) ------------------------------------------------------------------------


class Charter(NamedTuple):
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
    names = [agency["name"] for agency in charter["agencies"]]
    roots = {agency["name"]: agency["key"] for agency in charter["agencies"]}
    need(is_ascending(names) and len(set(roots.values())) == len(names) >= charter["threshold"], "charter")
    need(fits(signatures, dict.fromkeys(names, sized(64))), "charter")
    reader = Reader(raw)  # the very bytes of the charter: they follow the head of the map and the field's name
    reader.at = start = len(first + b"\x82\xa7charter")
    reader.value()
    text = raw[start : reader.at]
    need(all(signed(roots[name], signatures[name], b"hamkor/charter/1\0" + text) for name in names), "charter")
    return Charter(hashed(text), charter["network"], charter["threshold"], roots)


# -- the file (SPEC.md 8.6, check 1) ------------------------------------------------------------------


class Header(NamedTuple):
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


class Path(NamedTuple):
    """From an entry to the root of a log, and from there to the root of the ledger."""

    entry: int
    size: int
    in_log: list[bytes]
    leaf: int
    in_ledger: list[bytes]


class Proof(NamedTuple):
    """The payload."""

    acts: list[Item]
    attestations: list[tuple[Item, list[Path]]]
    entries: list[Item]
    network: bytes
    page: bytes
    record: bytes
    version: int

    def items(self) -> list[Item]:
        """All signed entries, in the order in which they are checked."""
        return [*self.acts, *self.entries, *(item for item, _ in self.attestations)]


def read_file(raw: bytes) -> tuple[Proof, bytes]:
    """The payload of a proof file, and the hash of the page. Raises Malformed."""
    start = raw.find(BEGIN) + len(BEGIN)
    stop = raw.find(END, start)
    if len(raw) > FILE_BYTES_MAX or raw.count(BEGIN) != 1 or stop < 0:
        raise Malformed
    try:
        raw.decode()
        payload = b64decode(raw[start:stop].replace(b"\n", b""), validate=True)
    except ValueError:
        raise Malformed from None
    again = b64encode(payload)
    if raw[start:stop] != b"".join(again[at : at + 76] + b"\n" for at in range(0, len(again), 76)):
        raise Malformed  # lines of another length, no padding, or bits that say nothing
    return read_payload(Reader(payload)), hashed(raw[:start], raw[stop:])


def read_payload(reader: Reader) -> Proof:
    """All that the payload holds; the names in its map are in ascending order."""
    parts: dict[str, Callable[[], Any]] = {
        "acts": lambda: [read_item(reader) for _ in reader.items(0, 4096)],
        "attestations": lambda: [read_attestation(reader) for _ in reader.items(0, 256)],
        "entries": lambda: [read_item(reader) for _ in reader.items(1, 4096)],
        "network": lambda: reader.bytes_of(32),
        "page": lambda: reader.bytes_of(32),
        "record": lambda: reader.bytes_of(32),
        "version": lambda: reader.one("integer", 1, 1),
    }
    found: dict[str, Any] = {}
    reader.one("map", len(parts), len(parts))
    for name, part in parts.items():
        if reader.text_of(reader.one("text")) != name:
            raise Malformed
        found[name] = part()
    reader.end()
    proof = Proof(**found)
    if any(path.entry >= len(proof.entries) for _, paths in proof.attestations for path in paths):
        raise Malformed
    if not is_ascending([step.id for step in proof.entries[1:]]):
        raise Malformed
    return proof


def read_item(reader: Reader) -> Item:
    """[header, signature, body, [[header, signature], ...]]."""
    reader.items(4, 4)
    raw, signature = reader.bytes_of(), reader.bytes_of(64)
    body = None if reader.nil() else reader.bytes_of()
    rest = []
    for _ in reader.items(0, 127):
        reader.items(2, 2)
        rest.append((reader.bytes_of(), reader.bytes_of(64)))
    return Item(raw, signature, body, rest, hashed(b"\0", raw, signature))


def read_attestation(reader: Reader) -> tuple[Item, list[Path]]:
    """[item, [[entry, size, [hash, ...], leaf, [hash, ...]], ...]]."""
    reader.items(2, 2)
    item, paths = read_item(reader), []
    for _ in reader.items(1, 4096):
        reader.items(5, 5)
        entry, size, in_log = reader.number(), reader.number(), read_hashes(reader)
        paths.append(Path(entry, size, in_log, reader.number(), read_hashes(reader)))
    if not is_ascending([path.entry for path in paths]):
        raise Malformed
    return item, paths


def read_hashes(reader: Reader) -> list[bytes]:
    """[hash, ...]."""
    return [reader.bytes_of(32) for _ in reader.items(0, 64)]


# -- entries (SPEC.md 3; checks 4 and 5) --------------------------------------------------------------


def read_header(raw: bytes) -> Header:
    """A header, by the rules of 3.1. Raises Malformed."""
    reader = Reader(raw)
    reader.items(10, 10)
    reader.one("integer", 1, 1)
    key, seq = reader.bytes_of(32), reader.number()
    prev = None if reader.nil() else reader.bytes_of(32)
    refs = [reader.bytes_of(32) for _ in reader.items(0, 32)]
    kind = reader.text_of(reader.one("text"))
    if not reader.nil():
        reader.bytes_of(32)  # a compartment
    header = Header(key, seq, prev, refs, kind, reader.number(BODY_BYTES_MAX), reader.bytes_of(32), reader.number())
    reader.end()
    if len(raw) > HEADER_BYTES_MAX or (prev is None) != (seq == 0) or not is_code(kind) or not is_ascending(refs):
        raise Malformed
    return header


def check_item(item: Item) -> None:
    """Check 4: its header, body, and the chain of headers after it. Raises Malformed."""
    header = item.header = read_header(item.raw)
    if item.body is not None and (len(item.body), hashed(item.body)) != (header.body_size, header.body_hash):
        raise Malformed
    before = item.id
    for seq, (raw, signature) in enumerate(item.rest, header.seq + 1):
        after = read_header(raw)
        if (after.key, after.seq, after.prev) != (header.key, seq, before):
            raise Malformed
        before = hashed(b"\0", raw, signature)


def is_signed(item: Item, network: bytes) -> bool:
    """Check 5: the last of the headers after it is signed, or itself where there are none."""
    raw, signature = item.rest[-1] if item.rest else (item.raw, item.signature)
    return signed(item.header.key, signature, b"hamkor/entry/1\0" + network + raw)


def body_of(item: Item, shape: dict[str, Rule] | None = None) -> dict[str, Any]:
    """The map in an entry's body; empty where it is not there or cannot be read, or has not what `shape` asks for."""
    try:
        found = decode(item.body or b"")
    except Malformed:
        return {}
    if type(found) is not dict or not fits({name: found[name] for name in shape or {} if name in found}, shape or {}):
        return {}
    return found


# -- who may (SPEC.md 8.6, acts in a proof; checks 6 and 7) -------------------------------------------


@dataclass
class Proposal:
    """A change put to the council, and which agencies said yes."""

    what: str
    terms: Any
    yes: set[str] = field(default_factory=set)
    passed: bool = False


class Authority:
    """Who speaks for whom: it begins with the charter and changes with each act that is read."""

    def __init__(self, charter: Charter) -> None:
        self.threshold = charter.threshold
        self.members = dict(charter.roots)  # the root key of each agency that is a member now
        self.roots = {key: name for name, key in charter.roots.items()}  # every key that ever was one
        self.certified: dict[bytes, dict[str, Any]] = {}  # the certificate of each key
        self.cutoffs: dict[bytes, Cutoff] = {}  # of keys that have ended
        self.proposals: dict[bytes, Proposal] = {}
        self.read: set[bytes] = set()

    def take(self, item: Item) -> None:
        """Check 6: read the next act, and give it its effect. Raises Refused."""
        act, key = body_of(item), item.header.key
        need(item.header.kind == "act" and is_act(act) and item.id not in self.read, "act")
        self.read.add(item.id)
        subject = act.get("subject", b"")
        match act["act"]:
            case "certify":
                need(self._speaks(key, act["agency"], act["rank"]), "act")
                need(subject not in self.certified and subject not in self.roots, "act")
                self.certified[subject] = act
            case "unit":
                need(any(self._speaks(key, agency, "officer") for agency in self.members), "act")
            case "revoke":
                need(subject in self.certified, "act")
                need(self._speaks(key, self.certified[subject]["agency"], self.certified[subject]["rank"]), "act")
                self._cut(subject, (act["seq"], act["id"]))
            case "propose":
                ((what, terms),) = act["change"].items()
                self.proposals[item.id] = Proposal(what, terms)
                self._say_yes(key, self.proposals[item.id])
            case _:  # approve
                need(act["proposal"] in self.proposals, "act")
                self._say_yes(key, self.proposals[act["proposal"]])

    def _speaks(self, key: bytes, agency: str, rank: str) -> bool:
        """Whether the key may certify or revoke keys of that rank for that agency."""
        own = self.certified.get(key, {})
        by_admin = rank != "admin" and (own.get("agency"), own.get("rank")) == (agency, "admin")
        return agency in self.members and (self.members[agency] == key or by_admin)

    def _say_yes(self, key: bytes, proposal: Proposal) -> None:
        name, terms = self.roots.get(key, ""), proposal.terms
        need(self.members.get(name) == key, "act")
        proposal.yes.add(name)
        concerned = terms["name"] if proposal.what in ("rekey", "remove") else None
        voices = [agency for agency in proposal.yes if agency in self.members and agency != concerned]
        if not proposal.passed and len(voices) >= self.threshold and self._can_be_done(proposal.what, terms):
            proposal.passed = True
            self._do(proposal.what, terms)

    def _can_be_done(self, what: str, terms: Any) -> bool:
        """SPEC.md 4.4.1, the table of changes."""
        count = len(self.members)
        if what == "threshold":
            return bool(terms <= count)
        member = terms["name"] in self.members
        if what == "remove":
            return member and count > self.threshold
        return terms["key"] not in self.roots and (member if what == "rekey" else not member and count < 64)

    def _do(self, what: str, terms: Any) -> None:
        if what == "threshold":
            self.threshold = terms
        if what == "rekey":
            self._cut(self.members[terms["name"]], (terms["seq"], terms["id"]))
        if what == "remove":
            kept = {key: (seq, entry_id) for key, seq, entry_id in terms["cutoffs"]}
            of_it = [key for key, act in self.certified.items() if act["agency"] == terms["name"]]
            for key in (self.members.pop(terms["name"]), *of_it):
                self._cut(key, kept.get(key, (0, None)))
        if what in ("admit", "rekey"):
            self.members[terms["name"]] = terms["key"]
            self.roots[terms["key"]] = terms["name"]

    def _cut(self, key: bytes, cutoff: Cutoff) -> None:
        """Of several cutoffs of a key the lowest counts (SPEC.md 4.4.3)."""
        both = cutoff, self.cutoffs.get(key, cutoff)
        self.cutoffs[key] = min(both, key=lambda one: (one[1] is not None, one[0], one[1] or b""))

    def counts(self, item: Item) -> bool:
        """Whether the entry does not lie after the cutoff of its log."""
        if item.header.key not in self.cutoffs:
            return True
        (seq, last), here = self.cutoffs[item.header.key], item.header.seq
        return last is not None and (here < seq or (here == seq and item.id == last))

    def agency(self, key: bytes) -> str | None:
        """The agency that a key is or was of."""
        return self.roots.get(key) or self.certified.get(key, {}).get("agency")


def check_standing(proof: Proof, authority: Authority) -> None:
    """Check 7."""
    need(all(authority.counts(item) for item in proof.items()), "standing")
    need(all(authority.agency(entry.header.key) for entry in proof.entries), "standing")
    nodes = [authority.certified.get(item.header.key, {}) for item, _ in proof.attestations]
    need(all(certificate.get("rank") == "node" for certificate in nodes), "standing")


# -- what is attested (checks 8 to 10) ----------------------------------------------------------------


def check_record(proof: Proof) -> None:
    """Check 8: the creation, and steps on that record."""
    first, *steps = proof.entries
    need(first.id == proof.record and first.header.kind == "record" and body_of(first, RECORD), "record")
    for step in steps:
        need(step.header.kind == "step" and proof.record in step.header.refs, "record")
        need(step.body is None or body_of(step, STEP).get("record") == proof.record, "record")


def read_checkpoint(item: Item, network: bytes) -> dict[str, Any]:
    """Check 9: the body of a checkpoint whose note holds (SPEC.md 7.1). Raises Refused."""
    body = body_of(item)
    need(item.header.kind == "checkpoint" and fits(body, CHECKPOINT), "checkpoint")
    heads = [body["heads"][at : at + 72] for at in range(0, len(body["heads"]), 72)]  # key, u64 size, id
    need(len(heads) <= 3600 and is_ascending([head[:32] for head in heads]), "checkpoint")
    for head in heads:
        size = int.from_bytes(head[32:40], "big")
        need(len(head) == 72 and size <= NUMBER_MAX and (size == 0) == (head[40:] == bytes(32)), "checkpoint")
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
    log = root_over(entry.id, entry.header.seq, path.size, path.in_log)
    if log is None:
        return False
    leaf = hashed(b"\0", entry.header.key, path.size.to_bytes(8, "big"), log)
    return bool(root_over(leaf, path.leaf, checkpoint["logs"], path.in_ledger) == checkpoint["root"])


# -- the verdict --------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """What a proof shows that is not refused."""

    charter: Charter
    proof: Proof
    authority: Authority
    attested: list[dict[str, int]]  # of each entry: the agencies that attest it, and the earliest time each claims

    def proven(self) -> bool:
        """Whether enough agencies attest the creation of the record."""
        return len(self.attested[0]) >= self.authority.threshold


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
    attested: list[dict[str, int]] = [{} for _ in proof.entries]
    for (item, paths), checkpoint in zip(proof.attestations, checkpoints, strict=True):  # 10
        name, time_ms = authority.certified[item.header.key]["agency"], item.header.time_ms
        for path in paths:
            need(is_attested(proof.entries[path.entry], path, checkpoint), "path")
            if name in authority.members:
                attested[path.entry][name] = min(time_ms, attested[path.entry].get(name, time_ms))
    return Shown(charter, proof, authority, attested)


def check(proof: bytes, charter: bytes) -> dict[str, Any]:
    """The verdict on a proof file, given a charter file, as the line of JSON has it. Raises nothing."""
    try:
        return as_json(examine(proof, charter))
    except Refused as refused:
        return {"verdict": "refused", "reason": str(refused)}


def as_json(shown: Shown) -> dict[str, Any]:
    """What is shown, for a program."""
    return {
        "verdict": "proven" if shown.proven() else "unproven",
        "reason": None if shown.proven() else "threshold",
        "network": shown.charter.network.hex(),
        "record": shown.proof.record.hex(),
        "threshold": shown.authority.threshold,
        "entries": [
            {
                "id": entry.id.hex(), "author": entry.header.key.hex(),
                "agency": shown.authority.agency(entry.header.key), "agencies": sorted(attested),
            }
            for entry, attested in zip(shown.proof.entries, shown.attested, strict=True)
        ],
    }  # fmt: skip


def as_text(shown: Shown) -> str:
    """What is shown, for a person."""
    word, than = ("PROVEN", "at least") if shown.proven() else ("UNPROVEN", "fewer than")
    lines = [
        f"{word}: nodes of {than} {shown.authority.threshold} agencies attest record {shown.proof.record.hex()}",
        f"network {shown.charter.name}, id {shown.charter.network.hex()}",
    ]
    for entry, attested in zip(shown.proof.entries, shown.attested, strict=True):
        header, body = entry.header, body_of(entry)
        who = shown.authority.certified.get(header.key, {"name": "the root key", "rank": "agency"})
        says = json.dumps(body["fields"], ensure_ascii=False, default=bytes.hex) if body else "(withheld)"
        lines += [
            "",
            f"{header.kind} {body.get('type') or body.get('step') or ''} {entry.id.hex()}",
            f"  says {says}",
            f"  by {who['name']}, {who['rank']} of {shown.authority.agency(header.key)}, key {header.key.hex()}",
            f"  dated {moment(header.time_ms)} by its author",
            *(f"  attested by {name}, dated {moment(when)} by its node" for name, when in sorted(attested.items())),
            *(() if attested else ("  attested by nobody in this proof",)),
        ]
    lines += ["", "Not shown: whether there are later steps, revocations or other branches. An audit shows those."]
    # What does not print is written out, so that it cannot play tricks on a terminal.
    return "\n".join("".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line) for line in lines)


def moment(time_ms: int) -> str:
    """A time for a person; years after 9999 stay a number."""
    if time_ms >= 253_402_300_800_000:
        return f"{time_ms} ms after 1970"
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    options = [word for word in arguments if word.startswith("--")]
    paths = [word for word in arguments if not word.startswith("--")]
    if len(paths) != 2 or options not in ([], ["--json"], ["--text"]):
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
        found, status, text = as_json(shown), 0 if shown.proven() else 1, as_text(shown)
    for_person = options == ["--text"] or (not options and sys.stdout.isatty())
    sys.stdout.write((text if for_person else json.dumps(found, sort_keys=True)) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
