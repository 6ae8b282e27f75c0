"""Cards: signed by the key they are of, and by no other."""

from dataclasses import replace

import pytest

from keys.errors import AdmissionError, FormatError
from keys.signing import SigningKey
from protocol.card import CONTEXT, Card, consent_bytes, decode_card_file, encode_card_file
from protocol.codec import encode
from protocol.container import pack_file
from protocol.vector_cast import CARDS, NODE, OFFICER, ROOTS

CARD = Card("node", NODE.public, "term-1", "mia", "imt-4", (), ("/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.2/tcp/4001"))


def test_a_card_comes_back() -> None:
    assert decode_card_file(encode_card_file(CARD, NODE)) == CARD
    assert decode_card_file(encode_card_file(CARDS[0], ROOTS["mia"])) == CARDS[0]


def test_another_key_cannot_make_a_card() -> None:
    with pytest.raises(FormatError, match="the key that it is of"):
        encode_card_file(CARD, OFFICER)


def filed(signer: SigningKey, context: bytes = CONTEXT, agency: str = "mia") -> bytes:
    """The card as `signer` signs it, with a consent to being of `agency`."""
    value = replace(CARD, consent=NODE.sign(consent_bytes(agency))).value()
    return pack_file("card", {"card": value, "signature": signer.sign(context + encode(value))})


def test_a_card_signed_by_another_key_is_refused() -> None:
    raw = filed(OFFICER)
    with pytest.raises(AdmissionError, match="does not verify") as caught:
        decode_card_file(raw)
    assert caught.value.reason == "signature"


def test_a_signature_made_for_something_else_is_no_proof() -> None:
    with pytest.raises(AdmissionError):
        decode_card_file(filed(NODE, b""))
    assert decode_card_file(filed(NODE)) == CARD


def test_a_consent_to_another_agency_is_none() -> None:
    with pytest.raises(AdmissionError, match="the consent on the card of term-1"):
        decode_card_file(filed(NODE, agency="scc"))


@pytest.mark.parametrize(
    "card",
    [
        Card("king", NODE.public, "term-1", "mia"),
        Card("node", NODE.public, "", "mia"),
        Card("node", NODE.public, "term-1", ""),
        Card("node", NODE.public, "term-1", "MIA"),
        Card("node", NODE.public, "term-1", "mia", "IMT 4"),
        Card("node", NODE.public, "term\x1b[2J", "mia"),
        Card("node", NODE.public, "\udcff", "mia"),
        Card("node", NODE.public, "term-1", "mia", roles=("officer", "auditor")),
        Card("node", NODE.public, "term-1", "mia", roles=("emperor",)),
        Card("node", NODE.public, "term-1", "mia", addresses=("/" * 257,)),
        Card("node", NODE.public, "term-1", "mia", addresses=("/x",) * 17),
    ],
    ids=lambda card: f"{card.rank} {card.name!r} {card.agency} {card.unit} {card.roles} {len(card.addresses)}",
)
def test_a_card_that_breaks_a_rule_is_not_made(card: Card) -> None:
    with pytest.raises(FormatError):
        encode_card_file(card, NODE)
