"""Vectors of the files that stay on a machine or are passed by hand: key file, mark, heads (SPEC.md 8.1, 8.4, 8.5)."""

import json
from hashlib import sha256
from struct import pack
from typing import Final

from keys.keyfile import KdfCost, KeyOwner, encode_key_file
from protocol.codec import encode
from protocol.vector_cast import NETWORK, OFFICER, Case, bad, filler, officer_log

WORDS: Final = "to‘g‘ri ot"


def key_files() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 8.4."""
    owner = KeyOwner(OFFICER.public, "officer", "Karimov A.", "mia", "imt-4")
    raw = _key_file(owner)
    valid: list[Case] = [
        {
            "name": "an officer's key", "hex": raw.hex(), "passphrase": WORDS, "seed": OFFICER.seed.hex(),
            "owner": {"agency": "mia", "name": "Karimov A.", "rank": "officer", "unit": "imt-4"},
            "public": OFFICER.public.hex(),
        }
    ]  # fmt: skip
    fields = json.loads(raw.split(b"\n")[1])
    changed = {
        "other name": (fields | {"name": "Somebody"}, "the owner is sealed with the key"),
        "other public key": (fields | {"public": filler("x").hex()}, "the owner is sealed with the key"),
        "other salt": (fields | {"kdf": fields["kdf"] | {"salt": bytes(16).hex()}}, "wrong passphrase, or altered"),
        "21 passes": (fields | {"kdf": fields["kdf"] | {"ops": 21}}, "at most 20 passes"),
        "2 GiB": (fields | {"kdf": fields["kdf"] | {"mem": 1 << 31}}, "at most 1 GiB"),
        "other derivation": (fields | {"kdf": fields["kdf"] | {"name": "scrypt"}}, "argon2id13"),
        "no rank": ({name: value for name, value in fields.items() if name != "rank"}, "rank is missing"),
        "name of 201 bytes": (fields | {"name": "x" * 201}, "at most 200 bytes"),
    }
    refused = [_refused(name, _sealed(b"hamkor key 1\n" + _line(value)), why) for name, (value, why) in changed.items()]
    refused += [
        _refused("wrong passphrase", raw, "the passphrase") | {"passphrase": "to‘g‘ri it"},
        _refused("wrong checksum", raw[:-2] + bytes([raw[-2] ^ 1]) + b"\n", "SHA-256 of all before it"),
        _refused("other version", _sealed(b"hamkor key 2\n" + _line(fields)), "the first line"),
        _refused("no JSON", _sealed(b"hamkor key 1\n[[[\n"), "a JSON object"),
        _refused("cut short", raw[:-1], "the last line feed"),
    ]
    return "SPEC.md 8.4. Opened with `passphrase` (UTF-8).", valid, refused


def _key_file(owner: KeyOwner) -> bytes:
    """A file that costs little to open, the same every time."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return filler(f"entropy {count}", size)

    return encode_key_file(OFFICER, WORDS.encode(), owner, KdfCost(1, 8192), entropy)


def _line(fields: object) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _sealed(content: bytes) -> bytes:
    return content + sha256(content).hexdigest().encode() + b"\n"


def _refused(name: str, raw: bytes, reason: str) -> Case:
    return bad(name, raw, reason, error="key file", passphrase=WORDS)


def marks() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 8.5."""
    rows = [row for _, row in officer_log()]
    last = filler("an id")

    def mark(
        size: int, known: bytes, blobs: list[bytes], *, state: int = 0, count: int | None = None,
        public: bytes = OFFICER.public, magic: bytes = b"hamkor mark 2\n",
    ) -> bytes:  # fmt: skip
        first = size - len(blobs)
        raw = magic + public + pack(">Q", size) + known + pack(">BQ", state, 0) + bytes(32)
        raw += pack(">QI", first, len(blobs) if count is None else count)
        raw += b"".join(pack(">I", len(blob)) + blob for blob in blobs)
        return raw + sha256(raw).digest()

    good = {
        "nothing signed yet": (mark(0, bytes(32), []), 0, bytes(32), []),
        "three entries, two of them at hand": (mark(3, last, rows[1:]), 3, last, rows[1:]),
    }
    valid: list[Case] = [
        {
            "name": name, "hex": raw.hex(), "key": OFFICER.public.hex(), "size": size, "id": known.hex(),
            "rows": [row.hex() for row in held],
        }
        for name, (raw, size, known, held) in good.items()
    ]  # fmt: skip
    refused = [
        bad("wrong checksum", good["nothing signed yet"][0][:-1] + b"\0", "SHA-256 of all before it", error="mark"),
        bad("of another key", mark(0, bytes(32), [], public=filler("x")), "the key", error="mark"),
        bad("of another version", mark(0, bytes(32), [], magic=b"hamkor mark 9\n"), "the first line", error="mark"),
        bad("fewer rows than it says", mark(3, last, rows[1:], count=3), "count", error="mark"),
        bad("more rows than it says", mark(3, last, rows[1:], count=1), "count", error="mark"),
        bad("a promise of 2^32-1 rows", mark(3, last, [], count=2**32 - 1), "count", error="mark"),
        bad("cut short", good["nothing signed yet"][0][:40], "the head", error="mark"),
        bad("barred", mark(1, last, rows[:1], state=1), "may not sign", error="mark"),
        bad("replaced", mark(1, last, rows[:1], state=2), "may not sign", error="mark"),
    ]
    about = (
        "SPEC.md 8.5, of the key in `key` (the refused ones too: officer one's). birth_ns and machine are zeros, so"
        " that nothing is compared with the file system. The last two are read, and sign nothing."
    )
    return about, valid, refused


def heads() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 8.1."""
    keys = sorted(filler(f"log {number}") for number in range(3))
    listed = b"".join(key + pack(">Q", size) for size, key in enumerate(keys, 1))

    def file(value: object, line: bytes = b"hamkor heads 1\n") -> bytes:
        return line + encode(value)

    value = {"heads": listed, "network": NETWORK}
    valid: list[Case] = [
        {"name": "three logs", "hex": file(value).hex(), "heads": [[key.hex(), n] for n, key in enumerate(keys, 1)]},
        {"name": "none", "hex": file(value | {"heads": b""}).hex(), "heads": []},
    ]
    refused = [
        bad("half a head", file(value | {"heads": listed[:-1]}), "40 bytes each"),
        bad("heads are an array", file(value | {"heads": [listed]}), "heads is bytes"),
        bad("no map", file([]), "a map"),
        bad("of another network", file(value | {"network": bytes(32)}), "the network id", error="network"),
        bad("a card", file(value, b"hamkor card 1\n"), "the first line"),
        bad("another version", file(value, b"hamkor heads 2\n"), "the version"),
        bad("bytes after the value", file(value) + b"\xc0", "one value, no more"),
        bad("no first line", encode(value), "the first line"),
    ]
    return "SPEC.md 8.1, kind `heads`, of the network in charter.json.", valid, refused
