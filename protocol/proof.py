"""The proof of a record: one HTML file, a page for a person that carries what a program checks (SPEC.md 8.6).

raw = write_proof(page, proof)          # page: HTML in which BEGIN END stands once, with nothing between
proof, page = read_proof(raw)           # size, form and order; `ledger/verify.py` checks the rest

payload     = canonical {"acts", "attestations", "entries", "network", "page", "record", "version"}
item        = [header, signature, body, rest]       attestation = [item, [path, ...]]
path        = [entry, size, [hash, ...], leaf, [hash, ...]]
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Final

from keys.errors import FormatError
from keys.signing import Signature
from protocol.codec import Value, decode, encode
from protocol.entry import EntryId, NetworkId, entry_id
from protocol.limits import ANCHOR, PROOF_ATTESTATIONS_MAX, PROOF_BYTES_MAX, PROOF_HASHES_MAX, PROOF_ITEMS_MAX, SEQ_MAX
from protocol.shape import exactly, fixed_bytes, mapping, number

BEGIN: Final = b'<script type="application/x-hamkor-proof">\n'
END: Final = b"</script>"
_LINE_CHARS: Final = 76
_NOT_ONE: Final = "this is no hamkor proof; give a file that hamkor prove wrote"


@dataclass(frozen=True, slots=True)
class Item:
    """An entry as it stands in a proof: nothing of it is checked but types and sizes."""

    header: bytes
    signature: Signature
    body: bytes | None  # None: withheld, or erased
    rest: tuple[tuple[bytes, Signature], ...] = ()  # the entries after it up to one whose signature holds

    @property
    def id(self) -> EntryId:
        """The id of the entry."""
        return entry_id(self.header, self.signature)


@dataclass(frozen=True, slots=True)
class Path:
    """The way from an entry to the ledger root that a checkpoint attests."""

    entry: int  # index in the proof's entries
    size: int  # of the entry's log, as attested
    log: tuple[bytes, ...]  # from the entry to the log root
    leaf: int  # the log's place among all logs, by key
    ledger: tuple[bytes, ...]  # from the log's leaf to the ledger root


@dataclass(frozen=True, slots=True)
class Attestation:
    """A checkpoint, and what it attests of the proof's entries. Paths ascend by entry."""

    item: Item
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a program checks."""

    network: NetworkId
    record: EntryId
    acts: tuple[Item, ...]
    entries: tuple[Item, ...]  # the record's creation, then steps on it ascending by id
    attestations: tuple[Attestation, ...]
    page: bytes = bytes(32)  # SHA-256 of the page; `write_proof` fills it in


# -- the file -------------------------------------------------------------------------------------


def write_proof(page: str, proof: Proof) -> bytes:
    """The file: `page` with the payload in it. Raises FormatError when it would be too large, or is no such page."""
    raw = page.encode()
    payload = encode_payload(replace(proof, page=sha256(raw).digest()))
    before, begin, after = raw.partition(BEGIN)
    text = b64encode(payload)
    lines = b"".join(text[at : at + _LINE_CHARS] + b"\n" for at in range(0, len(text), _LINE_CHARS))
    whole = before + begin + lines + after
    if len(whole) > PROOF_BYTES_MAX:
        raise FormatError(f"the proof would take {len(whole)} bytes; at most {PROOF_BYTES_MAX} are allowed")
    read_proof(whole)
    return whole


def read_proof(raw: bytes) -> tuple[Proof, bytes]:
    """The proof in a file, and the page around it, both only as to size, form and order. Raises FormatError."""
    if len(raw) > PROOF_BYTES_MAX:
        raise FormatError(f"a proof is at most {PROOF_BYTES_MAX} bytes")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise FormatError(_NOT_ONE) from None
    before, begin, rest = raw.partition(BEGIN)
    content, end, after = rest.partition(END)
    if not begin or not end or raw.count(BEGIN) != 1:
        raise FormatError(_NOT_ONE)
    return parse_payload(_unwrapped(content)), before + begin + end + after


def _unwrapped(content: bytes) -> bytes:
    """What the lines of base64 say."""
    *lines, last = content.split(b"\n")
    text = b"".join(lines)
    if last or not lines or any(len(line) != _LINE_CHARS for line in lines[:-1]) or len(lines[-1]) > _LINE_CHARS:
        raise FormatError(f"a proof's payload is base64 in lines of {_LINE_CHARS}, each with LF at its end")
    try:
        payload = b64decode(text, validate=True)
    except ValueError:
        raise FormatError("a proof's payload is not base64; it was cut short or damaged: copy it again") from None
    if not lines[-1] or b64encode(payload) != text:
        raise FormatError("a proof's payload is not base64 as it is written; it was damaged: copy it again")
    return payload


# -- the payload ----------------------------------------------------------------------------------


def encode_payload(proof: Proof) -> bytes:
    """The canonical payload. Raises FormatError when it breaks a rule."""
    payload = encode({
        "acts": _values(proof.acts), "entries": _values(proof.entries), "network": proof.network, "page": proof.page,
        "attestations": [
            [_value(one.item), [[p.entry, p.size, p.log, p.leaf, p.ledger] for p in one.paths]]
            for one in proof.attestations
        ],
        "record": proof.record, "version": 1,
    })  # fmt: skip
    parse_payload(payload)
    return payload


def _values(items: Iterable[Item]) -> list[object]:
    return [_value(item) for item in items]


def _value(item: Item) -> object:
    return [item.header, item.signature, item.body, [list(pair) for pair in item.rest]]


def parse_payload(payload: bytes) -> Proof:
    """The proof in a payload, as to form and order. Raises FormatError. Cost: O(size)."""
    fields = mapping(decode(payload, size_max=PROOF_BYTES_MAX), "a proof")
    exactly(fields, ("acts", "attestations", "entries", "network", "page", "record", "version"), "a proof")
    number(fields, "version", 1, 1)
    acts = [_item(value) for value in _array(fields["acts"], 0, PROOF_ITEMS_MAX, "acts")]
    entries = [_item(value) for value in _array(fields["entries"], 1, PROOF_ITEMS_MAX, "entries")]
    if any(one.id >= other.id for one, other in pairwise(entries[1:])):
        raise FormatError("a proof's steps ascend by id, each once")
    listed = _array(fields["attestations"], 0, PROOF_ATTESTATIONS_MAX, "attestations")
    attestations = tuple(_attestation(value, len(entries)) for value in listed)
    return Proof(
        NetworkId(fixed_bytes(fields, "network", 32)), EntryId(fixed_bytes(fields, "record", 32)), tuple(acts),
        tuple(entries), attestations, fixed_bytes(fields, "page", 32),
    )  # fmt: skip


def _array(value: Value, least: int, most: int, what: str) -> list[Value]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise FormatError(f"{what} is an array of {least} to {most}")
    return value


def _item(value: Value) -> Item:
    header, signature, body, rest = _array(value, 4, 4, "an item of a proof")
    pairs = [_array(pair, 2, 2, "a signed header") for pair in _array(rest, 0, ANCHOR - 1, "what follows an entry")]
    if not isinstance(body, bytes | None):
        raise FormatError("a body is bytes or nil")
    return Item(*_signed(header, signature), body, tuple(_signed(*pair) for pair in pairs))


def _signed(header: Value, signature: Value) -> tuple[bytes, Signature]:
    if not isinstance(header, bytes) or not isinstance(signature, bytes) or len(signature) != 64:
        raise FormatError("a header is bytes, a signature is 64 bytes")
    return header, Signature(signature)


def _attestation(value: Value, entries: int) -> Attestation:
    item, listed = _array(value, 2, 2, "an attestation")
    paths = tuple(_path(path, entries) for path in _array(listed, 1, PROOF_ITEMS_MAX, "paths"))
    if any(one.entry >= other.entry for one, other in pairwise(paths)):
        raise FormatError("the paths of an attestation ascend by entry, each once")
    return Attestation(_item(item), paths)


def _path(value: Value, entries: int) -> Path:
    entry, size, log, leaf, ledger = _array(value, 5, 5, "a path")
    numbers = {"entry": entry, "size": size, "leaf": leaf}
    return Path(
        number(numbers, "entry", 0, entries - 1), number(numbers, "size", 0, SEQ_MAX), _hashes(log),
        number(numbers, "leaf", 0, SEQ_MAX), _hashes(ledger),
    )  # fmt: skip


def _hashes(value: Value) -> tuple[bytes, ...]:
    hashes: Sequence[Value] = _array(value, 0, PROOF_HASHES_MAX, "the hashes of a path")
    return tuple(fixed_bytes({"a hash": one}, "a hash", 32) for one in hashes)
