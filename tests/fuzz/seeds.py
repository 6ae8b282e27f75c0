"""What fuzzing starts from: the vectors, valid and refused, and for the formats that have none, examples made here."""

import json
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from keys.keyfile import KdfCost, KeyOwner, create_key_file
from keys.mark import Mark
from ledger.audit_journal import Journal
from node.submit import run_request
from protocol import make_vectors
from protocol.codec import encode
from protocol.container import pack_file
from protocol.entry import NetworkId, Place
from protocol.frame import Run, sign_run
from protocol.limits import DEPTH_MAX
from protocol.message import Fork, encode_message
from sim.founding import key_of
from tests.fuzz.targets import ID, KEY, PASSPHRASE

_SEED_BYTES_MAX: Final = 8 * 1024  # a longer one slows the fuzzer down more than it tells
_SAME_NAME: Final = ("act", "body", "card", "charter", "codec", "entry", "frame", "message")
_REQUESTS: Final[tuple[dict[str, object], ...]] = (
    {"op": "status"}, {"op": "find", "words": "sario type:seizure", "limit": 5}, {"op": "find", "words": '"a b" c*'},
    {"op": "find", "words": "plate:01A777BC near:38.4,67.9,5km since:2026-01-01 until:today", "after": 0},
    {"op": "find", "words": "phone:+998901234567 agency:scc unit:imt-4 by:zulfiya"}, {"op": "links", "up": True},
    {"op": "show", "prefix": "0a"}, {"op": "record", "prefix": ""}, {"op": "history", "prefix": "ff"},
    {"op": "stats", "by": "type", "words": ""}, {"op": "imported", "ids": [ID, ID]}, {"op": "who", "name": "zul"},
    {"op": "log", "cursor": 0, "limit": 10, "newest": True}, {"op": "log", "key": KEY.hex(), "follow": False},
    {"op": "prepare", "key": KEY, "kind": "record"}, {"op": "prepare", "key": KEY, "kind": "step", "record": ID},
    {"op": "forks"}, {"op": "fetch", "chunks": [ID]}, {"op": "import", "path": "/tmp/x"}, {"no": 1}, {"op": 1},
)  # fmt: skip


def seeds() -> dict[str, list[bytes]]:
    """The starting inputs of every target."""
    found: dict[str, list[bytes]] = {name: _hexes(name) for name in _SAME_NAME}
    for case in _cases("bundle"):
        found.setdefault(case.get("kind", "bundle"), []).append(bytes.fromhex(case["hex"]))
    for case in _cases("chain"):
        found["entry"] += [bytes.fromhex(row) for row in case["rows"]]
    found["entry"] += _run().rows
    found["header"] = [bytes.fromhex(case["header"]) for case in _cases("entry") if "header" in case]
    found["header"] += [raw[:-1] for raw in found["header"]]
    found["invitation"] += [raw[:-1] for raw in found["invitation"]]
    found["proof"] = [raw for raw in found["message"] if b"\xa4fork" in raw[:6]]
    found["proof"] += [
        _proof(b"\xcb" + bytes(8)),
        _proof(b"\xd6\xff" + bytes(4)),
        _proof(b"\x91" * DEPTH_MAX + b"\xc0"),
    ]
    deep = [b"\x91" * depth + b"\xc0" for depth in (DEPTH_MAX, DEPTH_MAX + 1, 512, 1023, 1025)]
    found["codec"] += deep
    found["frame"] += [b"\x00" + raw for raw in deep]
    found["keyfile"], found["mark"] = _own_files()
    heads = [b"", KEY + (7).to_bytes(8, "big"), bytes(41)]
    found["heads"] = [pack_file("heads", {"heads": item, "network": make_vectors.NETWORK}) for item in heads]
    found["heads"].append(pack_file("heads", {"heads": b"", "network": ID}))
    digests = frozenset(sha256(bytes([at])).digest() for at in range(3))
    found["journal"] = [Journal(NetworkId(network), known).encode()
                        for network in (make_vectors.NETWORK, ID) for known in (frozenset(), digests)]  # fmt: skip
    found["desk"] = [encode(request) for request in _REQUESTS]
    requests = [*found["desk"], encode(run_request(_run()))]
    found["control"] = [len(raw).to_bytes(4, "big") + raw for raw in requests]
    return {name: sorted({raw for raw in raws if len(raw) <= _SEED_BYTES_MAX}) for name, raws in found.items()}


def file_name(raw: bytes) -> str:
    """As libFuzzer names what it keeps."""
    return sha256(raw).hexdigest()[:40]


def _cases(family: str) -> list[dict[str, Any]]:
    file = json.loads((Path(make_vectors.__file__).parent / "vectors" / f"{family}.json").read_text())
    return [*file["valid"], *file.get("refused", ())]


def _hexes(family: str) -> list[bytes]:
    return [bytes.fromhex(case["hex"]) for case in _cases(family) if case.get("hex") is not None]


def _run() -> Run:
    place = Place(KEY, 1, ID)
    return sign_run(key_of("fuzz", "officer"), make_vectors.NETWORK, place, [("record", b"\x80", [])], 1)[0]


def _proof(kind: bytes) -> bytes:
    """A fork proof whose headers hold that, in msgpack, for a kind: it has no canonical form."""
    rest = b"\xc0\x00" + encode(ID) + b"\x00"
    side = b"\x9a\x01" + encode(KEY) + b"\x03" + encode(ID) + b"\x90" + kind + rest, bytes(64)
    return encode_message(Fork(side, side))


def _own_files() -> tuple[list[bytes], list[bytes]]:
    """Key files and marks. The cost is the least there is, so that the passphrase can be tried each time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        owner = KeyOwner(KEY, "officer", "A. Karimov", "mia", "imt-4")
        create_key_file(path, key_of("fuzz", "officer"), PASSPHRASE, owner, cost=KdfCost(1, 8192), entropy=bytes)
        keys = [path.read_bytes()]
        marks = []
        for pending in ((), (encode(run_request(_run())),), (b"\x80", b"")):
            Mark(path, KEY).advance(1, ID, pending)
            marks.append(path.read_bytes())
    return keys, marks
