"""The cast of the test vectors: keys from names, one small network, and how a case is written as JSON.

`protocol/make_vectors.py` says what a case is, and makes the files.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from keys.signing import SigningKey
from protocol.body import encode_record, encode_step
from protocol.card import Card
from protocol.charter import SignedCharter, draft_charter, sign_charter
from protocol.codec import decode, encode
from protocol.entry import EntryId, NetworkId, Place, open_row, sign_row

Case: TypeAlias = dict[str, object]
T0: Final = 1_767_225_600_000  # 2026-01-01 00:00 UTC


def seeded(name: str) -> SigningKey:
    """The key of that name: its seed is SHA-256 of the name."""
    return SigningKey.from_seed(sha256(name.encode()).digest())


def filler(name: str, size: int = 32) -> bytes:
    """Bytes that look random."""
    return sha256(name.encode()).digest()[:size]


def plain(value: object) -> object:
    """`value` as JSON, by the rules at the top."""
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case bool() | None | str():
            return value
        case int():
            return value if -(2**53) < value < 2**53 else {"integer": str(value)}
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            raise TypeError(f"{type(value).__name__} does not occur in vectors")


# -- the cast: one small network that all files share ---------------------------------------------

AGENCIES: Final = ("mia", "ncdc", "scc")
ROOTS: Final = {name: seeded(f"root of {name}") for name in AGENCIES}
ROOT_OF: Final[dict[object, SigningKey]] = {key.public: key for key in ROOTS.values()}
CARDS: Final = tuple(Card("agency", ROOTS[name].public, f"Agency {name.upper()}", name) for name in AGENCIES)
OFFICER: Final = seeded("officer one")
NODE: Final = seeded("node one")


def founded() -> SignedCharter:
    """The charter, signed by all three."""
    signed = draft_charter(CARDS, network="example", threshold=2, founded_ms=T0, nonce=filler("nonce", 16))
    for key in ROOTS.values():
        signed = sign_charter(signed, key)
    return signed


NETWORK: Final[NetworkId] = founded().charter.network_id
FIELDS: Final = {"amount": "1.250", "place": "Sariosiyo", "region": "UZ-SU", "substance": "heroin"}


def officer_log() -> list[tuple[Place, bytes]]:
    """Three entries of one officer: a record, a step on it, a record in a compartment."""
    place = Place(OFFICER.public, 0, None)
    rows: list[tuple[Place, bytes]] = []

    def add(kind: str, body: bytes, refs: Sequence[EntryId] = (), space: bytes | None = None) -> EntryId:
        nonlocal place
        time_ms = T0 + 60_000 * len(rows)
        row = sign_row(OFFICER, NETWORK, place, kind=kind, body=body, time_ms=time_ms, refs=refs, space=space)
        rows.append((place, row))
        place = open_row(row, place).after
        assert place.prev is not None
        return place.prev

    first = add("record", encode_record("seizure", FIELDS))
    add("step", encode_step(first, "comment", {"text": "Оғирлик қайта ўлчанди"}), [first, EntryId(filler("an act"))])
    add("record", filler("ciphertext", 24), space=filler("compartment"))
    return rows


def in_order(value: object) -> object:
    """`value` as it is read back."""
    return decode(encode(value), size_max=1 << 20)


def bad(name: str, raw: bytes, reason: str, *, error: str = "format", **more: object) -> Case:
    """A refused case."""
    return {"name": name, "hex": raw.hex(), "error": error, "reason": reason, **more}


def placed(place: Place) -> Case:
    """A place as JSON."""
    return {"key": place.key.hex(), "seq": place.seq, "prev": place.prev.hex() if place.prev else None}
