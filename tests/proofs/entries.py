"""Damaged entries and signatures (SPEC.md 8.6, checks 4 and 5)."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from protocol.codec import encode
from tests.proofs.damage import DAMAGES, IDENTITY, ORDER, damages, flip
from tests.proofs.world import FIELDS, Draft, Item, Row, key_of

# -- 4 entry -------------------------------------------------------------------------------------------


def _places(draft: Draft) -> list[Item]:
    """Items that may be signed anew without giving a form that is wrong: no steps, whose ids are in order."""
    return [*draft.acts, draft.entries[0], *(one.item for one in draft.attestations)]


def _headers() -> dict[str, dict[str, Any]]:
    """Headers that break a rule of SPEC.md 3.1, by what is other in them."""
    return {
        "version_of_header_2": {"version": 2},
        "version_of_header_text": {"version": "1"},
        "key_of_header_31": {"key": bytes(31)},
        "seq_negative": {"seq": -1},
        "seq_2_53": {"seq": 2**53},
        "seq_0_with_prev": {"seq": 0, "prev": bytes(32)},
        "seq_1_without_prev": {"seq": 1, "prev": None},
        "prev_of_31": {"seq": 1, "prev": bytes(31)},
        "refs_nil": {"refs": None},
        "refs_of_33": {"refs": [bytes([at]) + bytes(31) for at in range(33)]},
        "refs_of_80": {"refs": [bytes([at]) + bytes(31) for at in range(80)]},
        "refs_not_ascending": {"refs": [bytes([2]) * 32, bytes([1]) * 32]},
        "refs_twice": {"refs": [bytes(32), bytes(32)]},
        "refs_short": {"refs": [bytes(31)]},
        "refs_text": {"refs": ["a" * 32]},
        "kind_in_capitals": {"kind": "Record"},
        "kind_empty": {"kind": ""},
        "kind_of_25": {"kind": "a" * 25},
        "kind_with_line_feed": {"kind": "act\n"},
        "kind_bytes": {"kind": b"act"},
        "space_of_31": {"space": bytes(31)},
        "space_false": {"space": False},
        "body_size_262145": {"body_size": 262_145},
        "body_size_one_more": {"body_size": 1},
        "body_hash_of_31": {"body_hash": bytes(31)},
        "body_hash_other": {"body_hash": bytes(32)},
        "time_negative": {"time_ms": -1},
        "time_2_53": {"time_ms": 2**53},
        "time_nil": {"time_ms": None},
    }


def _register_headers() -> None:
    for name, changes in _headers().items():

        def changed(draft: Draft, random: Random, changes: Any = changes) -> bool:
            item = random.choice([one for one in _places(draft) if one.body is not None])
            if "body_size" in changes or "body_hash" in changes:
                made = {**item.row.made, **changes}
                if changes.get("body_size") == 1:
                    made["body_size"] = item.row.made["body_size"] + 1
                item.become(item.row.with_header(encode([made[field] for field in FIELDS])))
            else:
                item.become(item.row.again(**changes))
            return True

        DAMAGES.append(("entry", name, changed))


_register_headers()


@damages("entry")
def header_not_canonical(draft: Draft, random: Random) -> bool:
    item = random.choice(_places(draft))
    header = item.row.header
    forms = (
        b"\xdc\x00\x0a" + header[1:], header[:1] + b"\xcc\x01" + header[2:], header + b"\xc0", header[:-1], b"",
        header.replace(b"\xc4\x20", b"\xc5\x00\x20", 1), b"\x9b" + header[1:] + b"\xc0", b"\x91" * 2048,
    )  # fmt: skip
    item.become(item.row.with_header(random.choice(forms)))
    return True


@damages("entry")
def body_changed(draft: Draft, random: Random) -> bool:
    item = random.choice([one for one in [*draft.entries, *_places(draft)] if one.body])
    item.body = flip(item.body or b"", random)
    return True


@damages("entry")
def body_longer(draft: Draft, random: Random) -> bool:
    item = random.choice([one for one in [*draft.entries, *_places(draft)] if one.body is not None])
    item.body = (item.body or b"") + b"\xc0"
    return True


@damages("entry")
def body_of_another(draft: Draft, random: Random) -> bool:
    item, other = random.choice(_places(draft)), random.choice(_places(draft))
    item.body = other.row.body + b"" if other.row.body != item.row.body else b""
    return True


def _rest(draft: Draft, random: Random, change: Callable[[Row, Row], Row]) -> bool:
    """An item is followed by two entries of its log, the second of which is changed and signed."""
    item = random.choice([*draft.entries, *_places(draft)])
    made = {**item.row.made, "kind": "note-9", "refs": []}
    first = item.row.again(**{**made, "seq": item.row.seq + 1, "prev": item.row.id})
    second = change(first, first.again(seq=first.seq + 1, prev=first.id))
    item.rest = [(first.header, first.signature), (second.header, second.signature)]
    return True


@damages("entry")
def rest_skips_a_seq(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda _, row: row.again(seq=row.seq + 1))


@damages("entry")
def rest_stays_at_a_seq(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda _, row: row.again(seq=row.seq - 1))


@damages("entry")
def rest_of_another_prev(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda first, row: row.again(prev=flip(first.id, random)))


@damages("entry")
def rest_of_another_key(draft: Draft, random: Random) -> bool:
    signer = key_of(f"stranger {random.getrandbits(6)}")
    return _rest(draft, random, lambda _, row: replace(row, signer=signer).again(key=signer.public))


@damages("entry")
def rest_header_not_canonical(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda _, row: row.with_header(row.header + b"\xc0"))


@damages("entry")
def rest_leaves_out_the_next(draft: Draft, random: Random) -> bool | None:
    found = [item for item in [*draft.entries, *_places(draft)] if len(item.rest) > 1]
    if not found:
        return None
    del random.choice(found).rest[0]
    return True


@damages("entry")
def signature_of_an_entry_with_rest(draft: Draft, random: Random) -> bool:
    """The entry after it names another id as `prev`."""
    if not _rest(draft, random, lambda _, row: row):
        return False
    for item in [draft.entries[0], *_places(draft)]:
        if item.rest:
            item.row = item.row.with_signature(flip(item.row.signature, random))
            return True
    return False


# -- 5 signature ---------------------------------------------------------------------------------------


def _signed(draft: Draft, random: Random) -> Item | None:
    found = [item for item in _places(draft) if not item.rest]
    return random.choice(found) if found else None


@damages("signature")
def bit_of_a_signature(draft: Draft, random: Random) -> bool:
    item = _signed(draft, random)
    if item:
        item.row = item.row.with_signature(flip(item.row.signature, random))
    return item is not None


@damages("signature")
def signature_not_reduced(draft: Draft, random: Random) -> bool:
    """S and the group's order: the same signature to a lax verifier."""
    item = _signed(draft, random)
    if item:
        raw = item.row.signature
        wide = int.from_bytes(raw[32:], "little") + ORDER
        item.row = item.row.with_signature(raw[:32] + wide.to_bytes(32, "little"))
    return item is not None


@damages("signature")
def key_of_small_order(draft: Draft, random: Random) -> bool:
    """A key for which one signature holds over everything, to a lax verifier."""
    item = random.choice(_places(draft))
    keys = (IDENTITY, bytes(32), bytes([0xEC]) + b"\xff" * 30 + b"\x7f", bytes([1]) + bytes(30) + b"\x80")
    item.become(item.row.again(key=random.choice(keys)))
    item.row = item.row.with_signature(IDENTITY + bytes(32))
    return True


@damages("signature")
def signature_of_another_key(draft: Draft, random: Random) -> bool:
    item = random.choice(_places(draft))
    other = replace(item.row, signer=key_of("stranger")).again()
    item.become(replace(other, signer=item.row.signer))
    return True


@damages("signature")
def signature_for_another_network(draft: Draft, random: Random) -> bool:
    item = random.choice(_places(draft))
    item.become(replace(item.row, network=flip(item.row.network, random)).again())
    return True


@damages("signature")
def signature_of_another_context(draft: Draft, random: Random) -> bool:
    item = random.choice(_places(draft))
    item.become(item.row.with_signature(item.row.signer.sign(b"hamkor/card/1\x00" + item.row.header)))
    return True


@damages("signature")
def rest_unsigned(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda _, row: row.with_signature(flip(row.signature, random)))


@damages("signature")
def rest_left_out(draft: Draft, random: Random) -> bool | None:
    found = [item for item in [*draft.entries, *_places(draft)] if not item.row.holds]
    if not found:
        return None
    random.choice(found).rest = []
    return True
