"""The committed vectors: what is valid is read as it says, what is not is refused, and no bit can be changed."""

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from keys.errors import AdmissionError, FormatError, NetworkMismatchError, RemoteError
from keys.signing import PublicKey
from protocol import make_vectors
from protocol.acts import encode_act, parse_act
from protocol.body import parse_address, parse_alarm, parse_consultation, parse_record, parse_step
from protocol.bundle import read_bundle
from protocol.card import Card, decode_card_file
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.checkpoint import parse_checkpoint
from protocol.codec import decode, encode
from protocol.entry import Entry, EntryId, NetworkId, Place, check_link, open_row, verify_entry
from protocol.frame import Run, decode_frame, encode_frame
from protocol.invitation import decode_invitation
from protocol.limits import FRAME_BYTES_MAX, MESSAGE_BYTES_MAX
from protocol.merkle import append, is_consistent, is_included, root, tree_root
from protocol.message import Message, decode_message, encode_message
from protocol.reconcile import Head, HeadIndex, cut

Case = dict[str, Any]
ERRORS = {"format": FormatError, "admission": AdmissionError, "network": NetworkMismatchError}
FOLDER = Path(make_vectors.__file__).parent / "vectors"


def cases(family: str, title: str) -> list[Any]:
    listed = json.loads((FOLDER / f"{family}.json").read_text()).get(title, [])
    return [pytest.param(case, id=case["name"]) for case in listed]


def value_of(written: object) -> object:
    """The value that a vector's JSON stands for."""
    match written:
        case {"bytes": str(digits)}:
            return bytes.fromhex(digits)
        case {"integer": str(digits)}:
            return int(digits)
        case dict():
            return {key: value_of(item) for key, item in written.items()}
        case list():
            return [value_of(item) for item in written]
        case _:
            return written


def raw_of(case: Case) -> bytes:
    if case.get("build"):  # too long to be written out
        return encode(["frame", 0, bytes(FRAME_BYTES_MAX + 1)])
    return bytes.fromhex(case["hex"])


def network_of(case: Case) -> NetworkId:
    return NetworkId(bytes.fromhex(case["network_id"]))


def place_of(case: Case) -> Place:
    prev = case["prev"]
    return Place(PublicKey(bytes.fromhex(case["key"])), case["seq"], EntryId(bytes.fromhex(prev)) if prev else None)


# -- how each family is read ----------------------------------------------------------------------


def read_codec(raw: bytes, _case: Case) -> object:
    return decode(raw, size_max=1 << 20)


def read_entry(raw: bytes, case: Case) -> Entry:
    entry = open_row(raw, place_of(case))
    verify_entry(entry, network_of(case))
    return entry


def read_frame(raw: bytes, _case: Case) -> tuple[Run, ...]:
    return decode_frame(raw)


def read_message(raw: bytes, _case: Case) -> Message:
    return decode_message(raw)


def read_charter(raw: bytes, _case: Case) -> Charter:
    return verify_charter(decode_charter_file(raw))


def read_card(raw: bytes, _case: Case) -> Card:
    return decode_card_file(raw)


def read_act(raw: bytes, _case: Case) -> object:
    return parse_act(raw)


def read_body(raw: bytes, case: Case) -> object:
    parse: dict[str, Callable[[bytes], object]] = {
        "record": parse_record, "step": parse_step, "address": parse_address, "checkpoint": parse_checkpoint,
        "alarm": parse_alarm, "consultation": parse_consultation,
    }  # fmt: skip
    return parse[case["kind"]](raw)


def read_whole_bundle(raw: bytes, case: Case) -> object:
    if case.get("kind") == "invitation":
        return decode_invitation(raw)
    return list(read_bundle(BytesIO(raw), make_vectors.NETWORK))


READ: dict[str, Callable[[bytes, Case], object]] = {
    "act": read_act, "body": read_body, "bundle": read_whole_bundle, "card": read_card, "charter": read_charter,
    "codec": read_codec, "entry": read_entry, "frame": read_frame, "message": read_message,
}  # fmt: skip


def both(title: str) -> list[Any]:
    return [
        pytest.param(family, param.values[0], id=f"{family}: {param.id}")
        for family in READ
        for param in cases(family, title)
    ]


# -- the claims -----------------------------------------------------------------------------------


def test_committed_files_are_what_the_generator_makes() -> None:
    assert make_vectors.main(["--check"]) == 0


@pytest.mark.parametrize(("family", "case"), both("valid"))
def test_valid_is_accepted(family: str, case: Case) -> None:
    READ[family](raw_of(case), case)


@pytest.mark.parametrize(("family", "case"), both("refused"))
def test_refused_is_refused_for_its_kind_of_reason(family: str, case: Case) -> None:
    with pytest.raises(ERRORS[case["error"]]):
        READ[family](raw_of(case), case)


@pytest.mark.parametrize("case", cases("codec", "valid"))
def test_codec_value_and_bytes_are_each_others_only_form(case: Case) -> None:
    assert decode(raw_of(case), size_max=1 << 20) == value_of(case["value"])
    assert encode(value_of(case["value"])) == raw_of(case)


@pytest.mark.parametrize("case", cases("entry", "valid"))
def test_entry_gives_header_signature_id_and_fields(case: Case) -> None:
    entry = read_entry(raw_of(case), case)
    found = {"header": entry.header.hex(), "signature": entry.signature.hex(), "id": entry.id.hex()}
    assert found == {name: case[name] for name in found}
    fields = value_of(case["value"])
    assert isinstance(fields, dict)
    assert {name: getattr(entry, name) for name in fields} == fields | {"refs": tuple(fields["refs"])}


def read_chain(case: Case) -> list[Entry]:
    place, before, entries = place_of(case), None, []
    for row in case["rows"]:
        entry = open_row(bytes.fromhex(row), place)
        check_link(entry, before)
        entries.append(entry)
        place, before = entry.after, entry
    verify_entry(entries[-1], network_of(case))
    return entries


@pytest.mark.parametrize("case", cases("chain", "valid"))
def test_chain_is_proved_by_its_last_signature(case: Case) -> None:
    assert [entry.id.hex() for entry in read_chain(case)] == case["ids"]


@pytest.mark.parametrize("case", cases("chain", "refused"))
def test_broken_chain_is_refused_for_its_reason(case: Case) -> None:
    with pytest.raises(AdmissionError) as caught:
        read_chain(case)
    assert caught.value.reason == case["reason"]


@pytest.mark.parametrize("case", cases("frame", "valid"))
def test_frame_holds_the_runs_it_says(case: Case) -> None:
    runs = decode_frame(raw_of(case))
    assert [[run.key, run.seq, run.prev, list(run.rows)] for run in runs] == value_of(case["value"])
    assert decode_frame(encode_frame(runs)) == runs


@pytest.mark.parametrize("case", cases("message", "valid"))
def test_message_is_the_array_it_says(case: Case) -> None:
    assert encode(value_of(case["value"])) == raw_of(case)
    assert encode_message(decode_message(raw_of(case))) == raw_of(case)


@pytest.mark.parametrize("case", cases("charter", "valid"))
def test_charter_has_the_network_id_it_says(case: Case) -> None:
    charter = read_charter(raw_of(case), case)
    assert charter.encode().hex() == case["signed"]
    assert charter.network_id.hex() == case["network_id"]
    assert charter.value() == value_of(case["value"])


@pytest.mark.parametrize("case", cases("card", "valid"))
def test_card_says_what_it_says(case: Case) -> None:
    card = decode_card_file(raw_of(case))
    assert encode(card.value()) == encode(value_of(case["value"]))


@pytest.mark.parametrize("case", cases("act", "valid"))
def test_act_is_written_as_it_was_read(case: Case) -> None:
    assert encode_act(parse_act(raw_of(case))) == raw_of(case) == encode(value_of(case["value"]))


@pytest.mark.parametrize("case", cases("reconcile", "valid"))
def test_fingerprint_of_a_range(case: Case) -> None:
    index = HeadIndex(
        Head(PublicKey(bytes.fromhex(key)), size, EntryId(bytes.fromhex(last)) if last else None, forked)
        for key, size, last, forked in case["heads"]
    )
    lower, upper = bytes.fromhex(case["lower"]), bytes.fromhex(case["upper"])
    assert index.count(lower, upper) == case["count"]
    assert index.fingerprint(lower, upper).hex() == case["fingerprint"]
    salt = bytes.fromhex(case["salt"])
    assert index.prints(salt, lower, [upper])[0].hex() == case["print"]
    marks = [index.mark(salt, head) for head in index.between(lower, upper)]
    assert [(mark.tag + mark.print).hex() for mark in marks] == case["marks"]
    assert [end.hex() for end in cut(lower, upper, 16)] == case["cuts"]


def tree_proof_holds(case: Case) -> bool:
    proof = [bytes.fromhex(one) for one in case.get("path", case.get("proof"))]
    tree = bytes.fromhex(case["root"])
    if "path" in case:
        return is_included(tree, case["size"], case["index"], bytes.fromhex(case["leaf"]), proof)
    return is_consistent(case["first"], case["size"], bytes.fromhex(case["first_root"]), tree, proof)


@pytest.mark.parametrize("case", cases("merkle", "refused"))
def test_tree_proof_that_fails(case: Case) -> None:
    assert not tree_proof_holds(case)


@pytest.mark.parametrize("case", cases("merkle", "valid"))
def test_merkle_root(case: Case) -> None:
    if "path" in case or "proof" in case:
        assert tree_proof_holds(case)
        return
    if "logs" in case:
        leaves = []
        for key, size in case["logs"]:
            log_root = tree_root(make_vectors.filler(f"leaf {number}") for number in range(size))
            leaves.append(sha256(b"\x00" + bytes.fromhex(key) + size.to_bytes(8, "big") + log_root).digest())
        assert tree_root(leaves).hex() == case["root"]
        return
    peaks = append((), 0, (make_vectors.filler(f"leaf {number}") for number in range(case["leaves"])))
    assert [peak.hex() for peak in peaks] == case["peaks"]
    assert root(peaks).hex() == case["root"]


@pytest.mark.parametrize("case", [c for c in cases("bundle", "valid") if c.values[0]["kind"] == "bundle"])
def test_bundle_holds_its_messages_in_order(case: Case) -> None:
    found = list(read_bundle(BytesIO(raw_of(case)), None))
    assert [encode_message(message).hex() for message in found] == case["messages"]


# -- every truncation, every bit ------------------------------------------------------------------


def truncations(raw: bytes) -> Iterator[bytes]:
    return (raw[:size] for size in range(len(raw)))


def flips(raw: bytes) -> Iterator[bytes]:
    changed = bytearray(raw)
    for bit in range(8 * len(raw)):
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
        changed[bit // 8] ^= 1 << bit % 8


SEALED = ("entry", "charter", "card", "bundle")  # everything in them is covered by a signature or a checksum
OPEN = ("act", "body", "codec", "frame", "message")  # a changed bit may give another valid one, never the same


REFUSED = object()


def small(families: tuple[str, ...]) -> list[Any]:
    """The valid cases that are small enough to try every bit of. An invitation's parts have cases of their own."""
    return [
        param
        for param in both("valid")
        if param.values[0] in families
        and param.values[1].get("kind") != "invitation"
        and len(raw_of(param.values[1])) < 2000
    ]


def refused_or(read: Callable[[bytes, Case], object], raw: bytes, case: Case) -> object:
    try:
        return read(raw, case)
    except RemoteError:
        return REFUSED


@pytest.mark.parametrize(("family", "case"), small(SEALED + OPEN))
def test_every_truncation_is_refused(family: str, case: Case) -> None:
    for raw in truncations(raw_of(case)):
        assert refused_or(READ[family], raw, case) is REFUSED, len(raw)


@pytest.mark.parametrize(("family", "case"), small(SEALED))
def test_every_changed_bit_is_refused(family: str, case: Case) -> None:
    for position, raw in enumerate(flips(raw_of(case))):
        assert refused_or(READ[family], raw, case) is REFUSED, position


@pytest.mark.parametrize(("family", "case"), small(OPEN))
def test_every_changed_bit_is_refused_or_says_something_else(family: str, case: Case) -> None:
    original = repr(READ[family](raw_of(case), case))  # not ==: 1 == True
    zstd = family == "frame" and raw_of(case)[0] == 1
    for position, raw in enumerate(flips(raw_of(case))):
        found = refused_or(READ[family], raw, case)
        if zstd and position == 8 * 5 + 4:
            continue  # the one bit of zstd's frame header that RFC 8878 tells a decoder to ignore
        if case["name"] == "record with a name this version does not know":
            continue  # its value is ignored, by SPEC.md 4.5
        assert found is REFUSED or repr(found) != original, position


def test_message_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(FormatError, match="at most"):
        decode_message(b"\xc1" * (MESSAGE_BYTES_MAX + 1))
