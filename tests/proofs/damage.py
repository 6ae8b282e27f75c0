"""What a damage is, and the list of all of them, under the reason that a verifier must give."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.proofs.world import Draft

ORDER = 2**252 + 27742317777372353535851937790883648493  # of the Ed25519 group
IDENTITY = bytes([1]) + bytes(31)  # a point of small order
MAX = 2**53 - 1

Damage = Callable[[Draft, Random], bytes | bool | None]  # a file; True: the draft as it is now; None, False: no


@dataclass(frozen=True)
class Case:
    """Two files, and what a verifier must say of them. verdict None: only that all verifiers say the same."""

    name: str
    proof: bytes
    charter: bytes
    verdict: str | None
    reason: str | None
    expected: dict[str, Any] | None = None  # all that it must say


DAMAGES: list[tuple[str, str, Damage]] = []  # reason, name, what does it


def damages(reason: str) -> Callable[[Damage], Damage]:
    """Register a damage under its reason."""

    def add(made: Damage) -> Damage:
        DAMAGES.append((reason, made.__name__, made))
        return made

    return add


def flip(raw: bytes, random: Random) -> bytes:
    """One bit of it changed."""
    at = random.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << random.randrange(8))]) + raw[at + 1 :]
