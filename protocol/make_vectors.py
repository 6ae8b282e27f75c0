"""Makes `protocol/vectors/*.json` and the example in SPEC.md 3.6. The same bytes every time: keys come from names.

    python -m protocol.make_vectors            write them
    python -m protocol.make_vectors --check    compare; exit status 1 when a file differs

Each file is `{"about": text, "valid": [case, ...], "refused": [case, ...]}`. A case has a `name`; a valid one its
bytes and what they say; a refused one its bytes, the `error` (format, admission or network) and the `reason`.
In a `value`, nil, booleans, text, arrays and maps are themselves; bytes are `{"bytes": hex}`, and an integer
that JSON readers may round (above 2^53) is `{"integer": decimal}`. tests/conformance/ runs them all.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Final

from keys.signing import PublicKey, SigningKey
from protocol.acts import (
    Act,
    Admit,
    Approve,
    Certify,
    Cutoff,
    Propose,
    Rekey,
    Remove,
    Revoke,
    Threshold,
    Unit,
    encode_act,
)
from protocol.body import encode_address, encode_record, encode_step
from protocol.bundle import BundleWriter
from protocol.card import CONTEXT as CARD_CONTEXT
from protocol.card import Card, consent_bytes, decode_card_file, encode_card_file
from protocol.charter import CONTEXT as CHARTER_CONTEXT
from protocol.charter import Agency, encode_charter_file
from protocol.checkpoint_vectors import attesting_bodies, checkpoints, tree_proofs
from protocol.codec import decode, encode, pack, unpack_row
from protocol.container import pack_file
from protocol.document_vectors import documents
from protocol.entry import Entry, EntryId, NetworkId, Place, make_header, open_row, sign_row, signed_bytes
from protocol.file_vectors import heads, key_files, marks
from protocol.frame import Run, encode_frame
from protocol.invitation import Invitation, encode_invitation
from protocol.ledger_vectors import ledgers
from protocol.limits import (
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_RUNS_MAX,
    ITEMS_MAX,
    KIND_BYTES_MAX,
    REFS_MAX,
    SEQ_MAX,
    TIME_MS_MAX,
)
from protocol.merkle import EMPTY_ROOT, append, root, tree_root
from protocol.message import (
    Ack,
    Bye,
    Chunk,
    Digest,
    Fork,
    Frame,
    Get,
    Have,
    Hello,
    Ids,
    Message,
    Ping,
    Pong,
    Probe,
    Ranges,
    Same,
    Want,
    encode_message,
)
from protocol.proof_vectors import proofs
from protocol.reconcile import ANSWER, FINGERPRINT, LIST, SKIP, Head, HeadIndex, Mark, Range, cut
from protocol.vector_cast import (
    CARDS,
    FIELDS,
    NETWORK,
    NODE,
    OFFICER,
    ROOT_OF,
    ROOTS,
    T0,
    Case,
    bad,
    filler,
    founded,
    in_order,
    officer_log,
    placed,
    plain,
    seeded,
)

FOLDER: Final = Path(__file__).parent / "vectors"
SPEC: Final = Path(__file__).parent / "SPEC.md"
EXAMPLE_MARKS: Final = ("<!-- made by protocol/make_vectors.py: begin -->\n", "<!-- end -->\n")

# -- codec ----------------------------------------------------------------------------------------


def codec() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 2."""
    values: dict[str, object] = {
        "nil": None, "false": False, "true": True, "0": 0, "127": 127, "128": 128, "255": 255, "256": 256,
        "65535": 65535, "65536": 65536, "2^32-1": 2**32 - 1, "2^32": 2**32, "2^64-1": 2**64 - 1, "-1": -1, "-32": -32,
        "-33": -33, "-128": -128, "-129": -129, "-32769": -32769, "-2^31-1": -(2**31) - 1, "-2^63": -(2**63),
        "empty text": "", "31 letters": "a" * 31, "32 letters": "a" * 32, "256 letters": "a" * 256,
        "Cyrillic": "Қорақалпоғистон", "beyond the BMP": "\U0001f33e", "no normalisation": "e\u0301",
        "empty bytes": b"", "256 bytes": bytes(256), "empty array": [], "16 items": [0] * 16, "empty map": {},
        "keys by UTF-8 bytes": {"b": 1, "a": 2, "aa": 3, "ў": 4, "": 5}, "16 keys": {f"{i:02}": i for i in range(16)},
        "depth 16": nested(16), "most items": [None] * ITEMS_MAX,
    }  # fmt: skip
    refused = {
        "nothing at all": ("", "no value"),
        "two values": ("c0c0", "bytes after the value"),
        "array cut short": ("92c0", "an item is missing"),
        "text cut short": ("a361", "two bytes are missing"),
        "1 in uint 8": ("cc01", "shorter: 01"),
        "255 in uint 16": ("cd00ff", "shorter: ccff"),
        "1 in int 8": ("d001", "shorter: 01; positive integers take the unsigned forms"),
        "128 in int 16": ("d10080", "shorter: cc80"),
        "-1 in int 8": ("d0ff", "shorter: ff"),
        "-33 in int 16": ("d1ffdf", "shorter: d0df"),
        "1 letter in str 8": ("d90161", "shorter: a161"),
        "32 letters in str 16": ("da0020" + "61" * 32, "shorter: d920..."),
        "1 byte in bin 16": ("c5000100", "shorter: c40100"),
        "1 item in array 16": ("dc0001c0", "shorter: 91c0"),
        "1 key in map 16": ("de0001a161c0", "shorter: 81a161c0"),
        "half precision": ("ca3f800000", "floats are not allowed"),
        "double precision": ("cb3ff0000000000000", "floats are not allowed"),
        "extension": ("d40100", "extension types are not allowed"),
        "timestamp": ("d6ff00000000", "extension types are not allowed"),
        "unused byte": ("c1", "no msgpack type"),
        "key twice": ("82a16101a16102", "map keys are strictly ascending"),
        "keys not sorted": ("82a16201a16102", "map keys are strictly ascending"),
        "long key before short": ("82a2616101a16102", "map keys are strictly ascending"),
        "key is a number": ("810101", "map keys are text"),
        "key is bytes": ("81c4016101", "map keys are text"),
        "key is nil": ("81c001", "map keys are text"),
        "text is not UTF-8": ("a1ff", "text is UTF-8"),
        "overlong UTF-8": ("a2c080", "text is UTF-8"),
        "surrogate": ("a3eda080", "text is UTF-8"),
        "depth 17": ("91" * 17 + "c0", "at most 16 arrays and maps in one another"),
        "depth 5000": ("91" * 5000 + "c0", "at most 16 arrays and maps in one another"),
        "too many items": ("dc1001" + "c0" * (ITEMS_MAX + 1), f"at most {ITEMS_MAX} items"),
        "promise of 2^32-1 items": ("ddffffffff", "more items than bytes"),
        "promise of 2^32-1 bytes": ("c6ffffffff", "more bytes than there are"),
    }
    valid: list[Case] = [
        {"name": name, "hex": encode(value).hex(), "value": plain(in_order(value))} for name, value in values.items()
    ]
    cases = [bad(name, bytes.fromhex(raw), why) for name, (raw, why) in refused.items()]
    return "SPEC.md 2. Canonical msgpack.", valid, cases


def nested(depth: int) -> object:
    """Nil inside that many arrays."""
    value: object = None
    for _ in range(depth):
        value = [value]
    return value


# -- entries --------------------------------------------------------------------------------------


def entry_case(name: str, place: Place, row: bytes) -> Case:
    """A valid entry: its row and place, and all that follows from them."""
    entry = open_row(row, place)
    value = {
        "refs": list(entry.refs), "kind": entry.kind, "space": entry.space, "body_size": entry.body_size,
        "body_hash": entry.body_hash, "time_ms": entry.time_ms, "body": entry.body,
    }  # fmt: skip
    return {
        "name": name, "network_id": NETWORK.hex(), **placed(place), "hex": row.hex(), "header": entry.header.hex(),
        "signature": entry.signature.hex(), "id": entry.id.hex(), "value": plain(value),
    }  # fmt: skip


def changed_row(row: bytes, **fields: object) -> bytes:
    """`row` with other fields; the signature stays, and no longer fits."""
    names = ("kind", "time_ms", "refs", "space", "body", "signature")
    values = dict(zip(names, unpack_row(row), strict=True))
    return bytes(pack(list((values | fields).values())))


def entries() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 3: single entries."""
    log = officer_log()
    place, row = log[0]
    body = encode_record("seizure", FIELDS)
    refs = [EntryId(filler(f"ref {number}")) for number in range(REFS_MAX + 1)]
    far = Place(OFFICER.public, SEQ_MAX, EntryId(filler("before")))
    most = sign_row(
        OFFICER, NETWORK, far, kind="x" * KIND_BYTES_MAX,
        body=b"", time_ms=TIME_MS_MAX, refs=refs[:REFS_MAX], space=filler("compartment"),
    )  # fmt: skip
    valid = [entry_case(name, *at) for name, at in zip(("record", "step", "in a compartment"), log, strict=True)]
    valid.append(entry_case("every field at its largest", far, most))
    withheld = changed_row(row, body=[len(body), sha256(body).digest()])
    valid.append(entry_case("body withheld: the same header and id", place, withheld))
    kind, time_ms, own_refs, space, _, signature = unpack_row(row)
    wide_time = b"\x96" + bytes(pack(kind)) + b"\xd3" + int(str(time_ms)).to_bytes(8, "big")
    wide_time += b"".join(bytes(pack(part)) for part in (own_refs, space, body, signature))
    shapes: dict[str, tuple[bytes, str]] = {
        "five fields": (bytes(pack(unpack_row(row)[:5])), "a row has 6 fields"),
        "seven fields": (bytes(pack([*unpack_row(row), None])), "a row has 6 fields"),
        "not an array": (encode({"kind": "record"}), "a row is an array"),
        "kind empty": (changed_row(row, kind=""), "kind is 1 to 24 of a-z, 0-9 and -"),
        "kind too long": (changed_row(row, kind="x" * (KIND_BYTES_MAX + 1)), "kind is 1 to 24 of a-z, 0-9 and -"),
        "kind in capitals": (changed_row(row, kind="Record"), "kind is 1 to 24 of a-z, 0-9 and -"),
        "kind is bytes": (changed_row(row, kind=b"record"), "kind is text"),
        "kind is an array": (changed_row(row, kind=[]), "kind is text"),
        "time below 0": (changed_row(row, time_ms=-1), "time_ms is 0 to 2^53-1"),
        "time too large": (changed_row(row, time_ms=TIME_MS_MAX + 1), "time_ms is 0 to 2^53-1"),
        "time is true": (changed_row(row, time_ms=True), "time_ms is an integer"),
        "refs are nil": (changed_row(row, refs=None), "refs is an array"),
        "ref too short": (changed_row(row, refs=[bytes(31)]), "a ref is 32 bytes"),
        "ref is text": (changed_row(row, refs=["a" * 32]), "a ref is 32 bytes"),
        "ref twice": (changed_row(row, refs=[bytes(32)] * 2), "refs are strictly ascending"),
        "refs not sorted": (changed_row(row, refs=[b"b" * 32, b"a" * 32]), "refs are strictly ascending"),
        "33 refs": (changed_row(row, refs=sorted(refs)), "at most 32 refs"),
        "space too short": (changed_row(row, space=bytes(16)), "space is nil or 32 bytes"),
        "body is text": (changed_row(row, body="body"), "a body is bytes, or [size, hash]"),
        "withheld body too large": (changed_row(row, body=[BODY_BYTES_MAX + 1, bytes(32)]), "at most 262,144 bytes"),
        "withheld body below 0": (changed_row(row, body=[-1, bytes(32)]), "a size is at least 0"),
        "withheld body without hash": (changed_row(row, body=[1]), "a body is bytes, or [size, hash]"),
        "withheld body, short hash": (changed_row(row, body=[1, bytes(31)]), "a hash is 32 bytes"),
        "signature too short": (changed_row(row, signature=bytes(63)), "a signature is 64 bytes"),
        "time as a signed integer": (wide_time, "canonical form"),
        "bytes after the row": (row + b"\xc0", "one value, no more"),
    }
    refused = [
        bad(name, raw, why) | {"network_id": NETWORK.hex()} | placed(place) for name, (raw, why) in shapes.items()
    ]
    wrong: dict[str, tuple[Place, bytes, NetworkId, str, str]] = {
        "other network": (place, row, NetworkId(bytes(32)), "admission", "the signature covers the network id"),
        "other key": (replace(place, key=NODE.public), row, NETWORK, "admission", "the signature covers the key"),
        "other seq": (Place(OFFICER.public, 1, EntryId(bytes(32))), row, NETWORK, "admission", "it covers seq"),
        "other prev": (replace(log[1][0], prev=EntryId(bytes(32))), log[1][1], NETWORK, "admission", "it covers prev"),
        "other body": (place, changed_row(row, body=body[:-1] + b"X"), NETWORK, "admission", "it covers body_hash"),
        "other time": (place, changed_row(row, time_ms=T0 + 1), NETWORK, "admission", "it covers time_ms"),
        "prev at seq 0": (replace(place, prev=EntryId(bytes(32))), row, NETWORK, "format", "prev is nil at seq 0"),
        "no prev at seq 1": (replace(place, seq=1), row, NETWORK, "format", "prev is an id from seq 1 on"),
        "seq too large": (Place(OFFICER.public, SEQ_MAX + 1, EntryId(bytes(32))), row, NETWORK, "format", "seq < 2^53"),
        "small-order key": (replace(place, key=PublicKey(bytes(32))), row, NETWORK, "admission", "strict verification"),
    }
    refused += [
        bad(name, raw, why, error=error) | {"network_id": network.hex()} | placed(at)
        for name, (at, raw, network, error, why) in wrong.items()
    ]
    return "SPEC.md 3. One entry: the row in `hex`, its place in key, seq, prev.", valid, refused


def forged(place: Place, body: bytes, time_ms: int) -> bytes:
    """A row whose signature does not hold."""
    return bytes(pack(["record", time_ms, [], None, body, bytes(64)]))


def chains() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 3.4: runs of entries and one signature."""
    body = encode_record("sitrep", {"text": "x"})

    def chain(*plan: tuple[str, int]) -> list[str]:
        place = Place(OFFICER.public, 0, None)
        rows = []
        for what, time_ms in plan:
            if what == "signed":
                row = sign_row(OFFICER, NETWORK, place, kind="record", body=body, time_ms=time_ms)
            else:
                row = forged(place, body, time_ms)
            rows.append(row.hex())
            place = open_row(row, place).after
        return rows

    good = chain(("signed", T0), ("signed", T0), ("signed", T0 + 1))
    common: Case = {"network_id": NETWORK.hex(), **placed(Place(OFFICER.public, 0, None))}

    def one(name: str, rows: list[str], **more: object) -> Case:
        place = Place(OFFICER.public, 0, None)
        ids = []
        for row in rows:
            place = open_row(bytes.fromhex(row), place).after
            ids.append((place.prev or b"").hex())
        return {"name": name, **common, "rows": rows, "ids": ids, **more}

    valid = [
        one("three entries, each signed", good),
        one(
            "the second is not signed, but the third's signature commits to it",
            chain(("signed", T0), ("forged", T0), ("signed", T0)),
        ),
    ]
    refused = [
        one("last signature fails", chain(("signed", T0), ("forged", T0)), error="admission", reason="signature"),
        one("dates go back", chain(("signed", T0 + 1), ("signed", T0)), error="admission", reason="time"),
        one("first left out", good[1:], error="admission", reason="signature"),
        one("second left out", [good[0], good[2]], error="admission", reason="signature"),
        one("two exchanged", [good[1], good[0], good[2]], error="admission", reason="signature"),
    ]
    return "SPEC.md 3.4. Runs: authentic when the last signature verifies and dates do not go back.", valid, refused


# -- frames and messages --------------------------------------------------------------------------


def officer_run() -> Run:
    """The officer's log as one run."""
    log = officer_log()
    return Run(OFFICER.public, 0, None, tuple(row for _, row in log))


def run_value(run: Run) -> list[object]:
    """A run as a value."""
    return [run.key, run.seq, run.prev, list(run.rows)]


def stored(payload: bytes) -> bytes:
    """A zstd frame (RFC 8878) of one raw block, so that the bytes do not depend on a compressor's version."""
    size = len(payload)
    assert 256 <= size < 65_792
    head = bytes.fromhex("28b52ffd60") + (size - 256).to_bytes(2, "little")
    return head + (size << 3 | 1).to_bytes(3, "little") + payload


def frames() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 5."""
    run = officer_run()
    tail = Run(NODE.public, 7, EntryId(filler("before")), (b"\xc0",))
    plans: dict[str, tuple[Run, ...]] = {"one run": (run,), "two runs, rows not looked at": (run, tail)}
    valid: list[Case] = []
    for name, runs in plans.items():
        value = plain([run_value(item) for item in runs])
        valid.append({"name": name, "hex": encode_frame(runs, compress=False).hex(), "value": value})
    packed = b"\x01" + stored(encode_frame((run,), compress=False)[1:])
    valid.append({"name": "zstd, one raw block", "hex": packed.hex(), "value": plain([run_value(run)])})

    def framed(*runs: object) -> bytes:
        return b"\x00" + bytes(pack(list(runs)))

    key, rows = OFFICER.public, [b"\xc0"]
    refused = [
        bad("empty", b"", "from 2 bytes on"),
        bad("only the flag", b"\x00", "from 2 bytes on"),
        bad("unknown flag", b"\x02" + framed([key, 0, None, rows])[1:], "00 or 01"),
        bad("no run", framed(), "1 to 1,024 runs"),
        bad("too many runs", framed(*[[key, 0, None, rows]] * (FRAME_RUNS_MAX + 1)), "1 to 1,024 runs"),
        bad("run of three", framed([key, 0, None]), "a run is [key, seq, prev, rows]"),
        bad("short key", framed([key[:31], 0, None, rows]), "a key is 32 bytes"),
        bad("seq below 0", framed([key, -1, None, rows]), "seq is 0 to 2^53-1"),
        bad("prev at seq 0", framed([key, 0, bytes(32), rows]), "prev is nil exactly at seq 0"),
        bad("no prev at seq 1", framed([key, 1, None, rows]), "prev is nil exactly at seq 0"),
        bad("short prev", framed([key, 1, bytes(31), rows]), "an id is 32 bytes"),
        bad("no rows", framed([key, 0, None, []]), "at least one row"),
        bad("row is no bytes", framed([key, 0, None, [[]]]), "rows are byte strings"),
        bad("not canonical", b"\x00\xdc\x00\x01" + bytes(pack([key, 0, None, rows])), "canonical form"),
        bad("not an array", b"\x00\xc0", "a payload is an array of runs"),
        bad("zstd cut short", packed[:-1], "the whole payload"),
        bad("zstd and more", packed + b"\x00", "one zstd frame and nothing after it"),
        bad("not zstd", b"\x01" + bytes(32), "one zstd frame"),
        bad(
            "zstd bomb: states 1 GiB",
            bytes.fromhex("01" "28b52ffd" "a0" "00000040" "550000" "00"),
            f"a stated size of at most {FRAME_BYTES_MAX}",
        ),
        bad("zstd without a stated size", bytes.fromhex("01" "28b52ffd" "0058" "110000" "91c0"), "a stated size"),
    ]  # fmt: skip
    return "SPEC.md 5. `value` is the array of runs.", valid, refused


def messages() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 6."""
    key, known = OFFICER.public, EntryId(filler("head"))
    head, none = Head(key, 3, known), Head(NODE.public, 0, None)
    first, second = fork_of(OFFICER)
    frame = encode_frame((Run(key, 0, None, (b"\xc0",)),), compress=False)
    one_of_each: tuple[Message, ...] = (
        Hello(NETWORK, filler("digest"), 12345),
        Digest(filler("digest")),
        Same(filler("digest")),
        Ranges(
            filler("salt")[:8],
            (
                Range(b"\x20", SKIP), Range(b"\x40\x01", FINGERPRINT, (filler("one")[:8], filler("two")[:8])),
                Range(
                    b"\x60", LIST,
                    marks=(Mark(b"\x50" * 8, bytes(8), 9), Mark(b"\x51" * 8, known[:8], 300, forked=True)),
                ),
                Range(b"\x80", LIST), Range(b"\xa0", ANSWER),
                Range(b"", ANSWER, heads=(Head(PublicKey(b"\xb0" * 32), 9, known, forked=True),), asked=(b"\xc0" * 8,)),
            ),
        ),
        Have((head, none)),
        Want(((key, 0, SEQ_MAX), (NODE.public, 3, 4))),
        Frame(0, frame),
        Ack(1),
        Probe(key, (0, 1, 63)),
        Ids(key, ((0, known),)),
        Fork(first, second),
        Fork(first, second, (second,), (first, second)),
        Get(filler("chunk")),
        Chunk(filler("chunk"), b"a few bytes"),
        Chunk(filler("chunk"), None),
        Ping(7),
        Pong(7),
        Bye("the disk is full"),
    )  # fmt: skip
    valid: list[Case] = []
    for message in one_of_each:
        raw = encode_message(message)
        name = type(message).__name__.lower()
        valid.append({"name": name, "hex": raw.hex(), "value": plain(decode(raw, size_max=1 << 20))})
    h32 = bytes(32)

    def ranges(*parts: object) -> list[object]:
        return ["ranges", bytes(8), list(parts)]

    values: dict[str, tuple[object, str]] = {
        "not an array": ({"hello": 1}, "an array"),
        "empty": ([], "the first item is the name"),
        "name is a number": ([1], "the first item is the name"),
        "unknown name": (["shout", 1], "a known name"),
        "hello without count": (["hello", 1, h32, h32], "4 fields"),
        "hello, short network": (["hello", 1, h32[1:], h32, 0], "32 bytes"),
        "digest too long": (["digest", h32 + b"0"], "32 bytes"),
        "count below 0": (["ack", -1], "0 to 2^53-1"),
        "count is true": (["ack", True], "an integer"),
        "range of one": (ranges([b""]), "[upper, mode, ...]"),
        "short salt": (["ranges", bytes(7), []], "8 bytes"),
        "open range first": (ranges([b"", 0], [b"\x01", 0]), "only the last range is open"),
        "ranges not ascending": (ranges([b"\x02", 0], [b"\x02", 0]), "ascending"),
        "upper too long": (ranges([bytes(33), 0]), "at most 32 bytes"),
        "mode 4": (ranges([b"", 4, []]), "modes 0 to 3"),
        "mode is false": (ranges([b"", False]), "a mode is an integer"),
        "skip with content": (ranges([b"", 0, h32]), "skip has no content"),
        "fingerprint without content": (ranges([b"", 1]), "prints of 8 bytes"),
        "no prints": (ranges([b"", 1, b""]), "at least one print"),
        "prints of 9 bytes": (ranges([b"", 1, bytes(9)]), "prints of 8 bytes"),
        "mark without size": (ranges([b"", 2, bytes(16), [], []]), "a size for each mark"),
        "mark of 15 bytes": (ranges([b"", 2, bytes(15), [1], []]), "marks of 16 bytes"),
        "marks not ascending": (ranges([b"", 2, b"b" * 16 + b"a" * 16, [1, 1], []]), "ascending by key"),
        "fork of no mark": (ranges([b"", 2, bytes(16), [1], [1]]), "places below the number of marks"),
        "forks not ascending": (ranges([b"", 2, bytes(32), [1, 1], [1, 0]]), "ascending"),
        "head outside its range": (
            ranges([b"\x10", 3, [[b"\x10" + bytes(31), 1, h32, False]], b""]), "in the range",
        ),
        "heads not ascending": (
            ranges([b"", 3, [[b"b" * 32, 1, h32, False], [b"a" * 32, 1, h32, False]], b""]), "ascending by key",
        ),
        "asked for by 7 bytes": (ranges([b"", 3, [], bytes(7)]), "tags of 8 bytes"),
        "1,025 ranges": (ranges(*[[n.to_bytes(2, "big"), 0] for n in range(1, 1026)]), "at most 1,024"),
        "log twice": (["have", [[h32, 0, None, False]] * 2], "each log once"),
        "head without id": (["have", [[h32, 1, None, False]]], "an id exactly when the size is not 0"),
        "empty head with id": (["have", [[h32, 0, h32, False]]], "an id exactly when the size is not 0"),
        "forked is a number": (["have", [[h32, 0, None, 0]]], "true or false"),
        "want of nothing": (["want", [[h32, 3, 3]]], "end is greater than seq"),
        "frame too large": (["frame", 0, bytes(FRAME_BYTES_MAX + 1)], "at most 1 MiB"),
        "65 probes": (["probe", h32, list(range(65))], "at most 64"),
        "ids of one": (["ids", h32, [[1]]], "[seq, id]"),
        "fork of one": (["fork", [b"", bytes(64)]], "4 fields"),
        "fork, short signature": (["fork", [b"", bytes(64)], [b"", bytes(63)], [], []], "64 bytes"),
        "fork, side too long": (["fork", first, second, [first] * 128, []], "at most 128"),
        "get, short hash": (["get", bytes(31)], "32 bytes"),
        "chunk of text": (["chunk", h32, "text"], "bytes or nil"),
        "chunk without content": (["chunk", h32], "2 fields"),
        "long reason": (["bye", "x" * 201], "at most 200 characters"),
    }  # fmt: skip
    refused = []
    for name, (value, why) in values.items():
        case = bad(name, encode(value), why)
        if len(encode(value)) > 1 << 16:  # one byte over and over: said, not written out
            case["hex"] = ""
            case["build"] = 'canonical bytes of ["frame", 0, 1,048,577 zero bytes]'
        refused.append(case)
    return "SPEC.md 6. `value` is the array.", valid, refused


def fork_of(key: SigningKey) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Two signed headers at one place, by ascending id."""
    place = Place(key.public, 0, None)
    rows = [sign_row(key, NETWORK, place, kind="record", body=b"\x80", time_ms=T0 + n) for n in range(2)]
    pair: list[Entry] = sorted((open_row(row, place) for row in rows), key=lambda entry: entry.id)
    return (pair[0].header, bytes(pair[0].signature)), (pair[1].header, bytes(pair[1].signature))


# -- reconciliation, Merkle -----------------------------------------------------------------------


def reconcile() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 6.2: fingerprints, prints, marks and cuts."""
    heads = [Head(PublicKey(filler(f"log {n}")), n + 1, EntryId(filler(f"head {n}")), forked=n == 2) for n in range(5)]
    index = HeadIndex(heads)
    listed = [[head.key.hex(), head.size, head.id.hex() if head.id else None, head.forked] for head in index]
    salt = index.fingerprint()[:8]
    spans: dict[str, tuple[bytes, bytes]] = {
        "everything": (b"", b""), "nothing": (b"\xff" * 32, b""), "first one": (b"", list(index)[1].key),
        "from 40 to c0": (b"\x40", b"\xc0"), "from 40 on": (b"\x40", b""),
    }  # fmt: skip
    valid: list[Case] = [
        {
            "name": name, "heads": listed, "lower": lower.hex(), "upper": upper.hex(),
            "count": index.count(lower, upper), "fingerprint": index.fingerprint(lower, upper).hex(),
            "salt": salt.hex(), "print": index.prints(salt, lower, [upper])[0].hex(),
            "marks": [
                (mark.tag + mark.print).hex() for mark in map(partial(index.mark, salt), index.between(lower, upper))
            ],
            "cuts": [end.hex() for end in cut(lower, upper, 16)],
        }
        for name, (lower, upper) in spans.items()
    ]  # fmt: skip
    return "SPEC.md 6.2. Heads are [key, size, id, forked]. The cuts are those into 16 parts.", valid, []


def merkle() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 7."""
    leaves = [filler(f"leaf {number}") for number in range(33)]
    valid: list[Case] = [{"name": "0 leaves", "leaves": 0, "peaks": [], "root": EMPTY_ROOT.hex()}]
    for size in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33):
        peaks = append((), 0, leaves[:size])
        valid.append(
            {"name": f"{size} leaves", "leaves": size, "peaks": [p.hex() for p in peaks], "root": root(peaks).hex()}
        )
    logs = {PublicKey(filler(f"log {n}")): leaves[: n + 1] for n in range(5)}
    leaf_of = {
        key: sha256(b"\x00" + key + len(ids).to_bytes(8, "big") + tree_root(ids)).digest() for key, ids in logs.items()
    }
    ledger: Case = {
        "name": "ledger root of five logs", "logs": [[key.hex(), len(ids)] for key, ids in sorted(logs.items())],
        "root": tree_root(leaf_of[key] for key in sorted(leaf_of)).hex(),
    }  # fmt: skip
    about = (
        "SPEC.md 7. Leaf n is SHA-256 of the text 'leaf n'; log entries' ids are leaves 0, 1, 2 and so on. With `path`:"
        " an inclusion proof of `leaf`. With `proof`: a consistency proof between `first` and `size`."
    )
    proved, refused = tree_proofs()
    return about, [*valid, ledger, *proved], refused


# -- charter, card, acts, bodies ------------------------------------------------------------------


def charters() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 4.1."""
    signed = founded()
    charter = signed.charter
    value = charter.value()
    full = encode_charter_file(signed)

    def signers(listed: object) -> Iterable[tuple[object, object]]:
        assert isinstance(listed, list)
        return ((agency["name"], agency["key"]) for agency in listed)

    def refile(**fields: object) -> bytes:
        changed = dict(value) | fields
        content = CHARTER_CONTEXT + encode(changed)
        signatures = {str(name): ROOT_OF[key].sign(content) for name, key in signers(changed["agencies"])}
        return pack_file("charter", {"charter": changed, "signatures": signatures})

    agencies = [{"key": a.key, "name": a.name, "title": a.title} for a in charter.agencies]
    wrong = ROOTS["scc"].sign(b"something else")
    swapped = replace(signed, signatures={**signed.signatures, "mia": signed.signatures["scc"]})
    elsewhere = replace(signed, signatures={**signed.signatures, "scc": wrong})
    unsigned = replace(signed, signatures={who: s for who, s in signed.signatures.items() if who != "scc"})
    stranger = {"charter": value, "signatures": {**signed.signatures, "zzz": wrong}}
    refused = [
        bad("not signed by scc", encode_charter_file(unsigned), "every agency signs", error="admission"),
        bad("scc signed something else", encode_charter_file(elsewhere), "strict verification", error="admission"),
        bad("scc's signature for mia's", encode_charter_file(swapped), "strict verification", error="admission"),
        bad("signature of a stranger", pack_file("charter", stranger), "only agencies of the charter sign"),
        bad("threshold 0", refile(threshold=0), "1 to the number of agencies"),
        bad("threshold 4 of 3", refile(threshold=4), "1 to the number of agencies"),
        bad("no agencies", refile(agencies=[], threshold=1), "1 to 64 agencies"),
        bad("agencies not sorted", refile(agencies=agencies[::-1]), "ascending by name"),
        bad("one name twice", refile(agencies=[agencies[0], {**agencies[1], "name": "mia"}]), "different names"),
        bad("one key twice", refile(agencies=[agencies[0], agencies[1] | {"key": CARDS[0].key}]), "different keys"),
        bad("name in capitals", refile(agencies=[{**agencies[0], "name": "MIA"}], threshold=1), "a-z, 0-9 and -"),
        bad("name of 25", refile(agencies=[{**agencies[0], "name": "a" * 25}], threshold=1), "at most 24"),
        bad("version 2", refile(version=2), "version is 1"),
        bad("nonce of 8", refile(nonce=bytes(8)), "a nonce is 16 bytes"),
        bad("no network name", refile(network=""), "1 to 200 bytes"),
        bad("line feed in the network name", refile(network="a\nb"), "no control characters"),
        bad("unknown field", refile(extra=1), "exactly these fields"),
        bad("this is a card", encode_card_file(CARDS[0], ROOTS["mia"]), "the kind in the first line"),
        bad("version 2 of the file", full.replace(b" 1\n", b" 2\n", 1), "the version in the first line"),
        bad("no first line", full.partition(b"\n")[2], "the first line"),
    ]  # fmt: skip
    case: Case = {
        "name": "three agencies", "hex": full.hex(), "value": plain(in_order(value)), "signed": charter.encode().hex(),
        "network_id": charter.network_id.hex(),
    }  # fmt: skip
    about = "SPEC.md 4.1. `hex` is the charter file, `signed` what is hashed and, after its context, signed."
    return about, [case], refused


def cards() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 4.2."""
    node = Card("node", NODE.public, "term-1", "mia", "imt-4", (), ("/ip4/192.0.2.1/tcp/4001",))
    officer = Card("officer", OFFICER.public, "A. Karimov", "mia", "imt-4", ("coordinator", "officer"))
    valid: list[Case] = []
    for name, card, key in (("node", node, NODE), ("officer", officer, OFFICER), ("agency", CARDS[0], ROOTS["mia"])):
        raw = encode_card_file(card, key)
        valid.append({"name": name, "hex": raw.hex(), "value": plain(in_order(decode_card_file(raw).value()))})

    def refile(signer: SigningKey = OFFICER, **fields: object) -> bytes:
        value = officer.value() | {"consent": OFFICER.sign(consent_bytes("mia"))} | fields
        return pack_file("card", {"card": value, "signature": signer.sign(CARD_CONTEXT + encode(value))})

    refused = [
        bad("signed by another key", refile(NODE), "the card's own key signs", error="admission"),
        bad(
            "consent to another agency",
            refile(consent=OFFICER.sign(consent_bytes("scc"))),
            "signed to be of mia",
            error="admission",
        ),
        bad("rank king", refile(rank="king"), "agency, admin, node or officer"),
        bad("no name", refile(name=""), "1 to 200 bytes"),
        bad("no agency", refile(agency=""), "1 to 24 of a-z, 0-9 and -"),
        bad("roles not sorted", refile(roles=["officer", "coordinator"]), "ascending"),
        bad("unknown role", refile(roles=["king"]), "admin, auditor, coordinator or officer"),
        bad("address too long", refile(addresses=["/" * 257]), "at most 256 bytes"),
        bad("17 addresses", refile(addresses=["/"] * 17), "at most 16"),
        bad("version 2", refile(version=2), "version is 1"),
        bad("unknown field", refile(extra=1), "exactly these fields"),
        bad("text turned round", refile(name="a\u202eb"), "no control characters"),
    ]
    return "SPEC.md 4.2. `hex` is the card file.", valid, refused


def acts() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 4.3 and 4.5."""
    known = EntryId(filler("last that counts"))
    ends = [Cutoff(OFFICER.public, 0, None), Cutoff(NODE.public, 7, known)]
    cutoffs = tuple(sorted(ends, key=lambda cutoff: cutoff.key))
    good: dict[str, Act] = {
        "certify officer": Certify(
            OFFICER.public,
            "officer",
            "A. Karimov",
            "mia",
            "imt-4",
            ("coordinator", "officer"),
            OFFICER.sign(consent_bytes("mia")),
        ),
        "certify node": Certify(NODE.public, "node", "term-1", "mia", "", ()),
        "revoke from entry 8 on": Revoke(OFFICER.public, 7, known, "laptop stolen"),
        "revoke all": Revoke(OFFICER.public, 0, None, ""),
        "unit": Unit("imt-4", "Joint team 4", ("UZ-QA", "UZ-SU")),
        "propose to admit": Propose(Admit(Agency("sss", "Agency SSS", seeded("root of sss").public))),
        "propose to remove": Propose(Remove("scc", cutoffs)),
        "propose a root key": Propose(Rekey("scc", seeded("second root of scc").public, 7, known)),
        "propose a threshold": Propose(Threshold(3)),
        "approve": Approve(known),
    }
    valid: list[Case] = []
    for name, act in good.items():
        raw = encode_act(act)
        valid.append({"name": name, "hex": raw.hex(), "value": plain(decode(raw, size_max=1 << 20))})
    certify = _map(good["certify officer"])
    revoke, unit = _map(good["revoke from entry 8 on"]), _map(good["unit"])
    values: dict[str, tuple[object, str]] = {
        "not a map": ([], "a map"),
        "no act": ({}, "act names what it is"),
        "unknown act": ({"act": "crown"}, "a known act"),
        "certify an agency": (certify | {"rank": "agency"}, "admin, node or officer"),
        "certify, short key": (certify | {"subject": bytes(31)}, "32 bytes"),
        "certify, no name": (certify | {"name": ""}, "1 to 200 bytes"),
        "certify, agency in capitals": (certify | {"agency": "MIA"}, "a-z, 0-9 and -"),
        "certify, unknown role": (certify | {"roles": ["king"]}, "known roles"),
        "certify, role twice": (certify | {"roles": ["officer", "officer"]}, "strictly ascending"),
        "certify, one field more": (certify | {"until": 1}, "exactly these fields"),
        "revoke, seq without id": (revoke | {"id": None}, "seq is 0 when id is nil"),
        "revoke, seq below 0": (revoke | {"seq": -1}, "0 to 2^53-1"),
        "revoke, long reason": (revoke | {"reason": "x" * 2001}, "at most 2,000 bytes"),
        "unit, name in capitals": (unit | {"unit": "IMT-4"}, "a-z, 0-9 and -"),
        "unit, regions not sorted": (unit | {"regions": ["UZ-SU", "UZ-QA"]}, "strictly ascending"),
        "unit, no ISO region": (unit | {"regions": ["Surxondaryo"]}, "ISO 3166-2"),
        "propose nothing": ({"act": "propose", "change": {}}, "exactly one change"),
        "propose two": ({"act": "propose", "change": {"remove": "scc", "threshold": 2}}, "exactly one change"),
        "propose, cutoff twice": (
            {"act": "propose", "change": {"remove": {"cutoffs": [[NODE.public, 7, known]] * 2, "name": "scc"}}},
            "strictly ascending by key",
        ),
        "propose, cutoff without id": (
            {"act": "propose", "change": {"remove": {"cutoffs": [[NODE.public, 7, None]], "name": "scc"}}},
            "seq is 0 when id is nil",
        ),
        "propose threshold 0": ({"act": "propose", "change": {"threshold": 0}}, "1 to 64"),
        "approve, short id": ({"act": "approve", "proposal": bytes(31)}, "32 bytes"),
    }
    refused = [bad(name, encode(value), why) for name, (value, why) in values.items()]
    return "SPEC.md 4.3. Bodies of entries of kind act.", valid, refused


def _map(act: Act) -> dict[str, object]:
    value = decode(encode_act(act), size_max=1 << 20)
    assert isinstance(value, dict)
    return dict(value)


def bodies() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 4.5."""
    known = EntryId(filler("record"))
    newer = encode({"fields": {"a": "1"}, "later": True, "type": "seizure"})
    good: dict[str, tuple[str, bytes]] = {
        "record": ("record", encode_record("seizure", FIELDS)),
        "record with a name this version does not know": ("record", newer),
        "step": ("step", encode_step(known, "comment", {"text": "‘o‘"})),
        "address": ("address", encode_address(["/ip4/192.0.2.1/tcp/4001"])),
        "no address": ("address", encode_address([])),
    }
    valid: list[Case] = [
        {"name": name, "kind": kind, "hex": raw.hex(), "value": plain(decode(raw, size_max=1 << 20))}
        for name, (kind, raw) in good.items()
    ]
    values: dict[str, tuple[str, object, str]] = {
        "record without fields": ("record", {"type": "seizure"}, "fields is a map"),
        "record type in capitals": ("record", {"type": "Seizure", "fields": {}}, "a-z, 0-9 and _, a letter first"),
        "record type of 25": ("record", {"type": "a" * 25, "fields": {}}, "at most 24"),
        "fields in an array": ("record", {"type": "seizure", "fields": []}, "fields is a map"),
        "step, short record id": ("step", {"record": bytes(31), "step": "ack", "fields": {}}, "32 bytes"),
        "step without name": ("step", {"record": known, "fields": {}}, "step is a word"),
        "address, one field more": ("address", {"addresses": [], "extra": 1}, "exactly these fields"),
        "17 addresses": ("address", {"addresses": ["/"] * 17}, "at most 16"),
    }
    refused = [bad(name, encode(value), why, kind=kind) for name, (kind, value, why) in values.items()]
    more, worse = attesting_bodies()
    return "SPEC.md 4.5. Bodies of other kinds.", valid + more, refused + worse


# -- bundle, invitation ---------------------------------------------------------------------------


def bundle_bytes(*items: Frame | Fork, network_id: bytes = NETWORK) -> bytes:
    """A bundle of these messages."""
    stream = BytesIO()
    writer = BundleWriter(stream.write, network_id)
    for item in items:
        writer.add(item)
    writer.close()
    return stream.getvalue()


def bundles() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 8.2 and 8.3."""
    frame = Frame(0, encode_frame((officer_run(),), compress=False))
    fork = Fork(*fork_of(OFFICER))
    full = bundle_bytes(frame, fork)
    valid: list[Case] = [
        {"name": "nothing", "kind": "bundle", "hex": bundle_bytes().hex(), "messages": []},
        {
            "name": "a frame and a fork", "kind": "bundle", "hex": full.hex(),
            "messages": [encode_message(frame).hex(), encode_message(fork).hex()],
        },
    ]  # fmt: skip
    invitation = Invitation(encode_charter_file(founded()), bundle_bytes(frame), ("/ip4/192.0.2.1/tcp/4001",))
    value = {"charter": invitation.charter_file, "bundle": invitation.bundle, "addresses": invitation.addresses}
    valid.append(
        {"name": "invitation", "kind": "invitation", "hex": encode_invitation(invitation).hex(), "value": plain(value)}
    )

    def sealed(body: bytes) -> bytes:
        return body + sha256(body).digest()

    start = full[:48]
    ping = encode_message(Ping(1))
    refused = [
        bad("other network", bundle_bytes(network_id=bytes(32)), "the network that is expected", error="network"),
        bad("a ping", sealed(start + len(ping).to_bytes(4, "big") + ping + bytes(4)), "frame and fork only"),
        bad("message too large", sealed(start + b"\x7f\xff\xff\xff"), "at most 1 MiB and 4,096 bytes"),
        bad("no end mark", full[:-36], "a length of 0 and the checksum"),
        bad("more after the end", full + b"\x00", "nothing after the end"),
        bad("wrong checksum", full[:-1] + bytes([full[-1] ^ 1]), "SHA-256 of all before it"),
        bad("a card", encode_card_file(CARDS[0], ROOTS["mia"]), "the first line"),
    ]
    return "SPEC.md 8.2, 8.3. The expected network is that of the charter in charter.json.", valid, refused


FILES: Final[dict[str, Callable[[], tuple[str, list[Case], list[Case]]]]] = {
    "act": acts, "body": bodies, "bundle": bundles, "card": cards, "chain": chains, "charter": charters,
    "checkpoint": checkpoints, "codec": codec, "document": documents, "entry": entries, "frame": frames,
    "heads": heads, "keyfile": key_files, "ledger": ledgers, "mark": marks, "merkle": merkle, "message": messages,
    "proof": proofs, "reconcile": reconcile,
}  # fmt: skip


def render(about: str, valid: Iterable[Case], refused: Iterable[Case]) -> str:
    """One file: a line for each case."""
    lines = [
        f' "{title}": [\n  ' + ",\n  ".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n ]"
        for title, cases in (("valid", list(valid)), ("refused", list(refused)))
        if cases
    ]
    return f'{{\n "about": {json.dumps(about)},\n' + ",\n".join(lines) + "\n}\n"


def example() -> str:
    """The worked example of SPEC.md 3.6: one entry, every byte."""
    place, row = officer_log()[0]
    entry = open_row(row, place)
    parts: dict[str, object] = {
        "version": 1, "key": entry.key, "seq": entry.seq, "prev": entry.prev, "refs": list(entry.refs),
        "kind": entry.kind, "space": entry.space, "body_size": entry.body_size, "body_hash": entry.body_hash,
        "time_ms": entry.time_ms,
    }  # fmt: skip
    lines = ['seed          SHA-256 of the text "officer one"', f"network_id    {NETWORK.hex()}", ""]
    lines += [f"{'' if number else 'body':14}{line}" for number, line in enumerate(wrapped(entry.body or b""))]
    lines += ["", "header, field by field", "              9a"]
    lines += [f"{name:14}{bytes(pack(value)).hex()}" for name, value in parts.items()]
    lines.append("")
    named = {
        "signed": signed_bytes(NETWORK, entry.header), "signature": entry.signature, "id": entry.id, "row": row,
    }  # fmt: skip
    for name, raw in named.items():
        lines += [f"{'' if number else name:14}{line}" for number, line in enumerate(wrapped(raw))]
    assert entry.header == make_header(
        place, entry.refs, entry.kind, entry.space, entry.body_size, entry.body_hash, entry.time_ms
    )
    return "```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"


def wrapped(raw: bytes) -> list[str]:
    """Hexadecimal in lines of 48 bytes."""
    return [raw[start : start + 48].hex() for start in range(0, len(raw), 48)]


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with --check compare them."""
    parser = argparse.ArgumentParser(prog="python -m protocol.make_vectors", description="Make the test vectors.")
    parser.add_argument("--check", action="store_true", help="compare with the files that are there; write nothing")
    check = parser.parse_args(arguments).check
    made = {FOLDER / f"{name}.json": render(*make()) for name, make in FILES.items()}
    before, begin, rest = SPEC.read_text().partition(EXAMPLE_MARKS[0])
    _, end, after = rest.partition(EXAMPLE_MARKS[1])
    made[SPEC] = before + begin + example() + end + after
    differing = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in differing:
        sys.stdout.write(f"{path.name} {'differs' if check else 'written'}\n")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(made[path])
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
