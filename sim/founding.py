"""Who there is in a simulated network: four agencies, and keys that depend on nothing but their names."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from keys.signing import SigningKey
from ledger.store import create
from protocol.acts import Certify, encode_act
from protocol.card import Card
from protocol.charter import (
    Charter,
    decode_charter_file,
    draft_charter,
    encode_charter_file,
    sign_charter,
    verify_charter,
)
from protocol.entry import Place
from protocol.frame import Run
from protocol.frame import sign_run as sign_drafts
from sim.disk import MemoryStorage, Snapshot

START_WALL_MS: Final = 1_767_225_600_000  # 2026-01-01
AGENCIES: Final = ("mia", "ncdc", "scc", "sss")  # each has machines
GUESTS: Final = ("mfa", "mod")  # these have a say in the council and officers at others' machines, so they may leave
THRESHOLD: Final = 3


@dataclass(frozen=True, slots=True)
class Founding:
    """What every machine of a network starts with."""

    name: str
    charter_file: bytes
    charter: Charter
    runs: tuple[Run, ...]  # the first acts
    snapshot: Snapshot  # of a ledger that holds them


@lru_cache(1 << 10)
def key_of(*words: object) -> SigningKey:
    """A key that depends on nothing but its name."""
    return SigningKey.from_seed(sha256(repr(words).encode()).digest())


def found(name: str) -> bytes:
    """A charter file of six agencies, whose root keys are key_of(name, agency)."""
    names = sorted(AGENCIES + GUESTS)
    cards = [Card("agency", key_of(name, agency).public, agency.upper(), agency) for agency in names]
    signed = draft_charter(cards, network=name, threshold=THRESHOLD, founded_ms=START_WALL_MS, nonce=bytes(16))
    for agency in names:
        signed = sign_charter(signed, key_of(name, agency))
    return encode_charter_file(signed)


@lru_cache(2)
def founding(name: str, nodes: tuple[SigningKey, ...]) -> Founding:
    """A network in which each agency has certified its admin and, in turn, those nodes."""
    charter_file = found(name)
    charter = verify_charter(decode_charter_file(charter_file))
    runs = []
    for which, agency in enumerate(AGENCIES + GUESTS):
        root = key_of(name, agency)
        acts = [Certify(key_of(name, agency, "admin").public, "admin", "admin", agency, "", ("admin",))]
        if agency in AGENCIES:
            acts += [
                Certify(nodes[n].public, "node", f"node {n}", agency, f"unit-{n}", ())
                for n in range(which, len(nodes), len(AGENCIES))
            ]
        drafts = [("act", encode_act(act)) for act in acts]
        runs.append(sign_run(charter, root, Place(root.public, 0, None), drafts, START_WALL_MS))
    storage = MemoryStorage()
    create(storage, charter_file).commit([tuple(runs)])
    return Founding(name, charter_file, charter, tuple(runs), storage.snapshot())


def sign_run(
    charter: Charter, signer: SigningKey, place: Place, drafts: Iterable[tuple[str, bytes]], at_ms: int
) -> Run:
    """Entries (kind, body) without refs, signed one after another."""
    return sign_drafts(signer, charter.network_id, place, [(kind, body, ()) for kind, body in drafts], at_ms)[0]
