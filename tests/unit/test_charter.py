"""The charter: drafted from cards, signed apart, merged, complete only with every signature."""

from dataclasses import replace

import pytest

from keys.errors import AdmissionError, FormatError, NetworkMismatchError
from keys.signing import Signature
from protocol.card import Card
from protocol.charter import (
    Charter,
    SignedCharter,
    decode_charter_file,
    draft_charter,
    encode_charter_file,
    merge_charters,
    sign_charter,
    verify_charter,
)
from protocol.limits import AGENCIES_MAX
from protocol.vector_cast import CARDS, NODE, ROOTS, founded, seeded

MIA, NCDC, SCC = ROOTS.values()


def draft(cards: tuple[Card, ...] = CARDS, network: str = "example", threshold: int = 2) -> SignedCharter:
    return draft_charter(cards, network=network, threshold=threshold, founded_ms=1, nonce=bytes(16))


def test_order_of_cards_and_of_signatures_does_not_matter() -> None:
    one = sign_charter(sign_charter(sign_charter(draft(), MIA), NCDC), SCC)
    other = sign_charter(sign_charter(sign_charter(draft(CARDS[::-1]), SCC), NCDC), MIA)
    assert encode_charter_file(one) == encode_charter_file(other)
    assert verify_charter(one).network_id == verify_charter(other).network_id


def test_copies_signed_apart_are_merged() -> None:
    copies = [sign_charter(draft(), key) for key in (MIA, NCDC, SCC)]
    assert copies[0].missing == ("ncdc", "scc")
    merged = merge_charters(merge_charters(copies[2], copies[0]), copies[1])
    assert merged.missing == ()
    assert verify_charter(merged) == draft().charter


def test_different_charters_are_not_merged() -> None:
    with pytest.raises(NetworkMismatchError):
        merge_charters(draft(), draft(threshold=3))


def test_a_key_that_founds_nothing_cannot_sign() -> None:
    with pytest.raises(AdmissionError, match="not the root key"):
        sign_charter(draft(), NODE)


def test_every_agency_must_have_signed() -> None:
    signed = sign_charter(sign_charter(draft(), MIA), SCC)
    with pytest.raises(AdmissionError, match="ncdc"):
        verify_charter(signed)


def test_a_false_signature_is_named() -> None:
    signed = founded()
    false = replace(signed, signatures={**signed.signatures, "ncdc": Signature(bytes(64))})
    with pytest.raises(AdmissionError, match="ncdc"):
        verify_charter(false)


def test_a_charter_that_breaks_a_rule_is_refused_though_all_signed_it() -> None:
    charter = Charter("example", tuple(reversed(founded().charter.agencies)), 2, 1, bytes(16))
    signed = SignedCharter(charter, {})
    for key in ROOTS.values():
        signed = sign_charter(signed, key)
    with pytest.raises(FormatError, match="ascending"):
        verify_charter(signed)


def test_the_file_comes_back_signed_or_not() -> None:
    for signed in (draft(), sign_charter(draft(), SCC), founded()):
        assert decode_charter_file(encode_charter_file(signed)) == signed


def test_the_network_id_depends_on_everything_but_the_signatures() -> None:
    charter = founded().charter
    assert draft().charter.network_id == sign_charter(draft(), MIA).charter.network_id
    others = (
        replace(charter, network="other"), replace(charter, threshold=3), replace(charter, founded_ms=2),
        replace(charter, nonce=bytes(16)), replace(charter, agencies=charter.agencies[:2]),
    )  # fmt: skip
    assert len({other.network_id for other in others} | {charter.network_id}) == 6


def test_only_agencies_found_a_network() -> None:
    with pytest.raises(FormatError, match="rank node"):
        draft((*CARDS, Card("node", NODE.public, "term-1", "mia")))


@pytest.mark.parametrize("threshold", [0, 4])
def test_the_threshold_is_one_to_all(threshold: int) -> None:
    with pytest.raises(FormatError, match="threshold"):
        draft(threshold=threshold)


@pytest.mark.parametrize("network", ["", "x" * 201, "a\nb", "\udcff"])
def test_a_network_name_is_short_printable_text(network: str) -> None:
    with pytest.raises(FormatError):
        draft(network=network)


def test_agencies_are_few_enough() -> None:
    cards = tuple(Card("agency", seeded(f"a{n}").public, f"A{n}", f"a{n}") for n in range(AGENCIES_MAX + 1))
    assert len(draft(cards[:-1]).charter.agencies) == AGENCIES_MAX
    with pytest.raises(FormatError, match="agencies"):
        draft(cards)


def test_an_agency_is_found_by_name() -> None:
    charter = founded().charter
    found = charter.agency("scc")
    assert found is not None
    assert found.key == SCC.public
    assert charter.agency("nobody") is None
