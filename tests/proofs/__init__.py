"""Synthetic proofs (SPEC.md 8.6), valid and damaged, from a seed: what every verifier must agree on.

    for case in cases(seed=1, count=300): case.name, case.proof, case.charter, case.verdict, case.reason
    python -m tests.proofs --count 10000        # what the verifiers that are here say, and where they differ

`world.py` makes networks and drafts of proofs. A damage (`damage.py`; `files.py` to `content.py`) gets a draft,
changes it, and says so; or returns the bytes of a file; or None where it does not apply. It is registered under the
reason that a verifier must give. What it changes is signed again, so that each check is reached.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

from protocol.acts import Admit, Approve, Certify, Propose, Rekey, Remove, Revoke, Threshold
from protocol.card import consent_bytes
from protocol.charter import Agency
from protocol.codec import encode
from protocol.entry import EntryId
from tests.proofs import content, entries, files
from tests.proofs.authority import certificate
from tests.proofs.damage import DAMAGES, MAX, Case, flip
from tests.proofs.world import Draft, World, key_of

__all__ = ["DAMAGES", "Case", "cases", "content", "damaged", "entries", "files", "valid"]

# -- what is no damage ---------------------------------------------------------------------------------------


def _spaced(draft: Draft, random: Random) -> None:
    """A compartment in a header changes nothing (SPEC.md 8.6)."""
    act = random.choice((certificate(random, ""), {"act": "unit", "regions": [], "title": "A", "unit": "imt-9"}))
    by = random.choice(draft.world.of("root"))
    if act["act"] == "certify":
        act["agency"] = by.agency
    draft.act(by, act, space=random.randbytes(32))


def _signed_on(draft: Draft, random: Random) -> None:
    """More acts that have an effect: the same verdict."""
    by = random.choice(draft.world.of("root"))
    subject = key_of(f"another {random.getrandbits(8)}")
    consent = subject.sign(consent_bytes(by.agency))
    rank = random.choice(("node", "officer", "admin"))
    draft.act(by, Certify(subject.public, rank, "N", by.agency, "imt-4", ("admin", "officer"), consent))
    if random.random() < 0.5:
        draft.act(by, Revoke(subject.public, random.randrange(9), EntryId(random.randbytes(32)), ""))


def _proposed(draft: Draft, random: Random) -> None:
    """Proposals that cannot be done stay open, however many say yes."""
    voices, taken = list(draft.world.roots.values()), random.choice(list(draft.world.roots.values()))
    change = random.choice((
        Admit(Agency(taken.agency, "A double", key_of("double").public)),
        Admit(Agency("free", "F", taken.signer.public)),
        Threshold(64), Rekey("nobody", key_of("double").public, 0, None), Remove("nobody", ()),
        Rekey(taken.agency, taken.signer.public, 0, None),
    ))  # fmt: skip
    first = draft.act(voices[0], Propose(change))
    for root in voices[1:]:
        draft.act(root, Approve(EntryId(first.id)))


SOUND = (None, None, _spaced, _signed_on, _proposed)


def valid(world: World, random: Random) -> Case:
    """A proof that no check refuses."""
    draft = world.draft()
    more = random.choice(SOUND)
    if more:
        more(draft, random)
    expected = draft.expected()
    name = more.__name__ if more else "sound"
    return Case(name, draft.file(), draft.charter, expected["verdict"], expected["reason"], expected)


def damaged(world: World, random: Random, at: int) -> Case:
    """The damage of that index, or the next one that can be done to a draft of this world."""
    while True:
        reason, name, made = DAMAGES[at % len(DAMAGES)]
        draft = world.draft()
        found = made(draft, random)
        if found is not None and found is not False:
            raw = draft.file() if found is True else found
            return Case(f"{reason}: {name}", raw, draft.charter, "refused", reason)
        at += 1


# -- damage at random ----------------------------------------------------------------------------------------


def _mutate(value: Any, random: Random, others: list[Any]) -> Any:
    """The value with something in it dropped, doubled, swapped, put elsewhere, or made another."""
    if isinstance(value, list) and value and random.random() < 0.75:
        at = random.randrange(len(value))
        match random.randrange(8):
            case 0:
                return [*value[:at], *value[at + 1 :]]
            case 1:
                return [*value[:at], value[at], *value[at:]]
            case 2:
                other = random.randrange(len(value))
                swapped = list(value)
                swapped[at], swapped[other] = swapped[other], swapped[at]
                return swapped
            case 3:
                return [*value[:at], random.choice(others), *value[at + 1 :]]
            case _:
                return [*value[:at], _mutate(value[at], random, others), *value[at + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool):
        return random.choice((0, 1, value + 1, value - 1, value * 2, MAX, 2**53, random.getrandbits(16)))
    if isinstance(value, bytes) and value:
        return random.choice((flip(value, random), value[:-1], value + b"\x00", None, random.choice(others)))
    return random.choice((None, [], b"", 0, random.choice(others)))


def at_random(world: World, random: Random) -> Case:
    """Bytes or structures changed blindly. What must be said of most is only that all verifiers say the same."""
    draft = world.draft()
    raw = draft.file()
    match random.randrange(6):
        case 0:
            at = random.randrange(len(raw))
            other = random.choice([byte for byte in range(256) if byte != raw[at]])
            return Case("random: byte", raw[:at] + bytes([other]) + raw[at + 1 :], draft.charter, "refused", None)
        case 1:
            return Case("random: cut", raw[: random.randrange(len(raw))], draft.charter, "refused", None)
        case 2:
            one, two = sorted(random.randrange(len(raw)) for _ in "ab")
            spliced = raw[:one] + raw[two:] if random.random() < 0.5 else raw[:two] + raw[one:]
            return Case("random: splice", spliced, draft.charter, None, None)
        case 3:
            flipped = draft.file(flip(draft.payload(), random))
            return Case("random: payload bit", flipped, draft.charter, "refused", None)
        case 4:
            payload = draft.payload()
            one, two = sorted(random.randrange(len(payload)) for _ in "ab")
            spliced = payload[:one] + random.randbytes(random.randrange(4)) + payload[two:]
            return Case("random: payload splice", draft.file(spliced), draft.charter, None, None)
        case _:
            value = draft.value()
            parts = [*value["acts"], *value["entries"], *value["attestations"], value["record"]]
            for _ in range(random.choice((1, 1, 2))):
                name = random.choice(("acts", "attestations", "attestations", "entries", "record"))
                value[name] = _mutate(value[name], random, parts)
            return Case("random: structure", draft.file(encode(value)), draft.charter, None, None)


def cases(seed: int, count: int) -> Iterator[Case]:
    """That many cases: a quarter that no check refuses, half damaged on purpose, a quarter at random. 4 ms each."""
    random = Random(seed)
    start = random.randrange(len(DAMAGES))
    world = World(Random(random.getrandbits(64)))
    for at in range(count):
        if at % 8 == 7:
            world = World(Random(random.getrandbits(64)))
        match at % 4:
            case 0:
                yield valid(world, random)
            case 1:
                yield at_random(world, random)
            case _:
                yield damaged(world, random, start + at // 2 + (at % 2) * len(DAMAGES) // 2)
