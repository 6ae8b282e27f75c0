"""Who there is in a simulated network: four agencies, and keys that depend on nothing but their names."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from keys.signing import SigningKey
from protocol.card import Card
from protocol.charter import Charter, draft_charter, encode_charter_file, sign_charter
from protocol.entry import Place
from protocol.frame import Run
from protocol.frame import sign_run as sign_drafts

START_WALL_MS: Final = 1_767_225_600_000  # 2026-01-01
AGENCIES: Final = ("mia", "ncdc", "scc", "sss")


def key_of(*words: object) -> SigningKey:
    """A key that depends on nothing but its name."""
    return SigningKey.from_seed(sha256(repr(words).encode()).digest())


def found(name: str) -> bytes:
    """A charter file of four agencies, whose root keys are key_of(name, agency)."""
    cards = [Card("agency", key_of(name, agency).public, agency.upper(), agency) for agency in AGENCIES]
    signed = draft_charter(cards, network=name, threshold=3, founded_ms=START_WALL_MS, nonce=bytes(16))
    for agency in AGENCIES:
        signed = sign_charter(signed, key_of(name, agency))
    return encode_charter_file(signed)


def sign_run(
    charter: Charter, signer: SigningKey, place: Place, drafts: Iterable[tuple[str, bytes]], at_ms: int
) -> Run:
    """Entries (kind, body) without refs, signed one after another."""
    return sign_drafts(signer, charter.network_id, place, [(kind, body, ()) for kind, body in drafts], at_ms)[0]
