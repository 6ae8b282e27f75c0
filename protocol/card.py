"""The card: the public half of a key and whose it is, signed by the key itself (SPEC.md 4.2).

    card = {"addresses", "agency", "consent", "key", "name", "rank", "roles", "unit", "version"}
    signature = Ed25519(key, "hamkor/card/1" 00 card)
    consent = Ed25519(key, "hamkor/consent/1" 00 agency)

Whoever makes a key hands its card to the agency that certifies it. The signature proves only that the card's
maker holds the key; the certificate is what counts. The consent goes into the certificate: no other agency can
certify the key as its own against its holder's will.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from keys.errors import AdmissionError, FormatError
from keys.signing import PublicKey, Signature, SigningKey, verify
from protocol.codec import Value, encode
from protocol.container import pack_file, unpack_file
from protocol.limits import ADDRESS_BYTES_MAX, ADDRESSES_MAX, CARD_BYTES_MAX, ROLES_MAX
from protocol.shape import code, exactly, fixed_bytes, mapping, number, one_of, public_key, text, texts, written

CONTEXT: Final = b"hamkor/card/1\x00"
CONSENT: Final = b"hamkor/consent/1\x00"
CARD_RANKS: Final = ("agency", "admin", "node", "officer")
ROLES: Final = ("admin", "auditor", "coordinator", "officer")


@dataclass(frozen=True, slots=True)
class Card:
    """Whose key it is, by their own word. `name` is an agency's title, a node's name or a person's."""

    rank: str
    key: PublicKey
    name: str
    agency: str
    unit: str = ""
    roles: tuple[str, ...] = ()  # ascending
    addresses: tuple[str, ...] = ()  # of a node
    consent: Signature = field(default=Signature(b""), compare=False)  # 64 bytes, made when the card is signed

    def value(self) -> dict[str, object]:
        """The map that is signed, and stands in the file."""
        return {
            "addresses": self.addresses, "agency": self.agency, "consent": self.consent, "key": self.key,
            "name": self.name, "rank": self.rank, "roles": self.roles, "unit": self.unit, "version": 1,
        }  # fmt: skip


def encode_card_file(card: Card, signer: SigningKey) -> bytes:
    """The card file, signed. Raises FormatError when a field breaks a rule or the key is not the card's."""
    if signer.public != card.key:
        raise FormatError("a card is signed by the key that it is of")
    card = replace(card, consent=signer.sign(consent_bytes(card.agency)))
    content = written(card.value(), lambda raw: raw)
    raw = pack_file("card", {"card": card.value(), "signature": signer.sign(CONTEXT + content)})
    decode_card_file(raw)
    return raw


def decode_card_file(raw: bytes) -> Card:
    """The card in a file, its signature checked. Raises FormatError or AdmissionError."""
    outer = mapping(unpack_file(raw, "card", size_max=CARD_BYTES_MAX), "a card file")
    exactly(outer, ("card", "signature"), "a card file")
    card = _parse(mapping(outer["card"], "a card"))
    if not verify(card.key, CONTEXT + encode(outer["card"]), fixed_bytes(outer, "signature", 64)):
        raise AdmissionError("signature", f"the signature on the card of {card.name} does not verify; ask for it again")
    if not verify(card.key, consent_bytes(card.agency), card.consent):
        raise AdmissionError("signature", f"the consent on the card of {card.name} does not verify; ask for it again")
    return card


def consent_bytes(agency: str) -> bytes:
    """What a key signs to say that it is of that agency."""
    return CONSENT + agency.encode("utf-8", "replace")


def _parse(fields: dict[str, Value]) -> Card:
    exactly(fields, ("addresses", "agency", "consent", "key", "name", "rank", "roles", "unit", "version"), "a card")
    number(fields, "version", 1, 1)
    roles = texts(fields, "roles", most=ROLES_MAX, ascending=True)
    for role in roles:
        one_of({"roles": role}, "roles", ROLES)
    return Card(
        one_of(fields, "rank", CARD_RANKS), public_key(fields, "key"), text(fields, "name"), code(fields, "agency"),
        code(fields, "unit", empty=True), roles,
        texts(fields, "addresses", most=ADDRESSES_MAX, bytes_max=ADDRESS_BYTES_MAX),
        Signature(fixed_bytes(fields, "consent", 64)),
    )  # fmt: skip
