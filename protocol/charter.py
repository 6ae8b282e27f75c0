"""The charter: the root of trust, signed by every founding agency (SPEC.md 4.1).

    charter = {"agencies": [{"key", "name", "title"}, ...], "founded_ms", "network", "nonce", "threshold", "version"}
    network_id = SHA-256(charter)            signature = Ed25519(root key, "hamkor/charter/1" 00 charter)

It is drafted from the agencies' cards, then each agency signs the same file on its own machine, in any order;
copies signed apart can be merged. It is complete when all have signed.

    draft = draft_charter(cards, network="...", threshold=3, founded_ms=..., nonce=...)
    for key in root_keys: draft = sign_charter(draft, key)
    charter = verify_charter(draft)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Final

from keys.errors import AdmissionError, FormatError, NetworkMismatchError
from keys.signing import PublicKey, Signature, SigningKey, verify
from protocol.card import Card
from protocol.codec import Value, decode, encode
from protocol.container import pack_file, unpack_file
from protocol.entry import NetworkId
from protocol.limits import AGENCIES_MAX, CHARTER_BYTES_MAX, TIME_MS_MAX
from protocol.shape import code, exactly, fixed_bytes, mapping, number, public_key, text, written

CONTEXT: Final = b"hamkor/charter/1\x00"
NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Agency:
    """A founding agency: its short name (mia), its full one, its root key."""

    name: str
    title: str
    key: PublicKey


@dataclass(frozen=True)  # no slots: its hash is kept
class Charter:
    """What the founders agreed on. Agencies are in ascending order of name."""

    network: str
    agencies: tuple[Agency, ...]
    threshold: int  # how many agencies the council needs
    founded_ms: int
    nonce: bytes  # makes two networks of the same founders different

    def value(self) -> dict[str, object]:
        """The map that is hashed and signed, and stands in the file."""
        agencies = [{"key": agency.key, "name": agency.name, "title": agency.title} for agency in self.agencies]
        return {
            "agencies": agencies, "founded_ms": self.founded_ms, "network": self.network, "nonce": self.nonce,
            "threshold": self.threshold, "version": 1,
        }  # fmt: skip

    def encode(self) -> bytes:
        """The canonical bytes of `value`."""
        return encode(self.value())

    @cached_property
    def network_id(self) -> NetworkId:
        """SHA-256 of the charter without its signatures."""
        return NetworkId(sha256(self.encode()).digest())

    def agency(self, name: str) -> Agency | None:
        """The founding agency of that name."""
        return next((agency for agency in self.agencies if agency.name == name), None)


@dataclass(frozen=True, slots=True)
class SignedCharter:
    """A charter and the signatures it has so far, by agency name. They are checked by `verify_charter` only."""

    charter: Charter
    signatures: Mapping[str, Signature]

    @property
    def missing(self) -> tuple[str, ...]:
        """The agencies that have not signed."""
        return tuple(agency.name for agency in self.charter.agencies if agency.name not in self.signatures)


def draft_charter(
    cards: Sequence[Card], *, network: str, threshold: int, founded_ms: int, nonce: bytes
) -> SignedCharter:
    """An unsigned charter of the agencies whose cards these are. Raises FormatError on a rule of SPEC.md 4.1."""
    for card in cards:
        if card.rank != "agency":
            raise FormatError(f"the card of {card.name} is of rank {card.rank}; a charter is made of agencies' cards")
    agencies = tuple(sorted((Agency(c.agency, c.name, c.key) for c in cards), key=lambda agency: agency.name))
    charter = Charter(network, agencies, threshold, founded_ms, nonce)
    raw = written(charter.value(), _parse_raw)
    return SignedCharter(_parse_raw(raw), {})


def sign_charter(signed: SignedCharter, signer: SigningKey) -> SignedCharter:
    """The charter with one more signature. Raises AdmissionError when the key is no founding agency's."""
    for agency in signed.charter.agencies:
        if agency.key == signer.public:
            signature = signer.sign(CONTEXT + signed.charter.encode())
            return replace(signed, signatures={**signed.signatures, agency.name: signature})
    raise AdmissionError(
        "charter", f"key {signer.public.hex()[:12]} is not the root key of any agency in this charter; check the draft"
    )


def merge_charters(first: SignedCharter, second: SignedCharter) -> SignedCharter:
    """The signatures of two copies together; of two by one agency, the one that verifies.

    Raises NetworkMismatchError when the charters differ.
    """
    if first.charter != second.charter:
        raise NetworkMismatchError("these are two different charters; only copies of one charter can be merged")
    content = CONTEXT + first.charter.encode()
    good = {
        agency.name: signature
        for copy in (first, second)
        for agency in first.charter.agencies
        if (signature := copy.signatures.get(agency.name)) and verify(agency.key, content, signature)
    }
    return replace(first, signatures={**second.signatures, **first.signatures, **good})


def verify_charter(signed: SignedCharter) -> Charter:
    """The charter, if every founding agency has validly signed it.

    Raises AdmissionError naming the agencies that have not, or FormatError when the charter breaks a rule.
    """
    written(signed.charter.value(), _parse_raw)
    if signed.missing:
        raise AdmissionError("charter", f"the charter is not signed by {', '.join(signed.missing)}; each agency must")
    content = CONTEXT + signed.charter.encode()
    for agency in signed.charter.agencies:
        if not verify(agency.key, content, signed.signatures[agency.name]):
            raise AdmissionError("charter", f"the signature of {agency.name} on the charter does not verify")
    return signed.charter


def encode_charter_file(signed: SignedCharter) -> bytes:
    """The charter file."""
    return pack_file("charter", {"charter": signed.charter.value(), "signatures": dict(signed.signatures)})


def decode_charter_file(raw: bytes) -> SignedCharter:
    """The charter in a file, signatures not yet checked. Raises FormatError."""
    fields = mapping(unpack_file(raw, "charter", size_max=CHARTER_BYTES_MAX), "a charter file")
    exactly(fields, ("charter", "signatures"), "a charter file")
    charter = _parse(fields["charter"])
    signatures = mapping(fields["signatures"], "the signatures")
    for name in signatures:
        if charter.agency(name) is None:
            raise FormatError(f"a signature is by {name[:24]!r}, which is no agency of this charter")
    return SignedCharter(charter, {name: Signature(fixed_bytes(signatures, name, 64)) for name in signatures})


def _parse_raw(raw: bytes) -> Charter:
    return _parse(decode(raw, size_max=CHARTER_BYTES_MAX))


def _parse(value: Value) -> Charter:
    fields = mapping(value, "a charter")
    exactly(fields, ("agencies", "founded_ms", "network", "nonce", "threshold", "version"), "a charter")
    number(fields, "version", 1, 1)
    items = fields["agencies"]
    if not isinstance(items, list) or not 1 <= len(items) <= AGENCIES_MAX:
        raise FormatError(f"a charter has 1 to {AGENCIES_MAX} agencies")
    agencies = []
    for item in items:
        agency = mapping(item, "an agency")
        exactly(agency, ("key", "name", "title"), "an agency")
        agencies.append(Agency(code(agency, "name"), text(agency, "title"), public_key(agency, "key")))
    names = [agency.name for agency in agencies]
    if names != sorted(set(names)):
        raise FormatError("the agencies of a charter have different names, in ascending order")
    if len({agency.key for agency in agencies}) != len(agencies):
        raise FormatError("two agencies of the charter have the same root key")
    return Charter(
        text(fields, "network"), tuple(agencies), number(fields, "threshold", 1, len(agencies)),
        number(fields, "founded_ms", 0, TIME_MS_MAX), fixed_bytes(fields, "nonce", NONCE_BYTES),
    )  # fmt: skip
