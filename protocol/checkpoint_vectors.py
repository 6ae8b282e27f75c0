"""Checkpoints and what goes with them, for `checkpoint.json`, `body.json` and `merkle.json`."""

from collections.abc import Sequence
from dataclasses import replace

from keys.signing import PublicKey
from protocol.body import Alarm, Consultation, encode_alarm, encode_consultation
from protocol.checkpoint import Attested, Chain, State, draft, note_key, parse_checkpoint, render_note
from protocol.codec import decode, encode
from protocol.entry import EntryId
from protocol.ledger_vectors import signer
from protocol.merkle import EMPTY_ROOT, consistency_proof, inclusion_proof, tree_root
from protocol.vector_cast import NETWORK, Case, bad, filler, plain


def checkpoints() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 7.1."""
    node, other = signer("mia node"), signer("scc node")
    keys = sorted(signer(f"log {number}").public for number in range(4))

    def head(at: int, size: int) -> Attested:
        return Attested(keys[at], size, EntryId(filler(f"entry {at} {size}")))

    root = filler("a root")
    one, two, three = [head(0, 3), head(1, 1)], [head(0, 3), head(1, 4), head(2, 1)], [head(0, 5), head(2, 1)]
    full = draft(node, NETWORK, root, one, None)
    grown = draft(node, NETWORK, root, two, _state(one))
    shrunk = draft(node, NETWORK, root, three, _state(two))
    parts = _in_parts(draft(node, NETWORK, root, two, None)[0])
    runs: dict[str, tuple[list[tuple[int, bytes]], list[Attested]]] = {
        "empty": ([(0, draft(node, NETWORK, EMPTY_ROOT, [], None)[0])], []),
        "full": ([(0, full[0])], one),
        "grown": ([(0, full[0]), (7, grown[0])], two),
        "a log that counts no more": ([(0, full[0]), (1, grown[0]), (2, shrunk[0])], three),
        "full again": ([(0, full[0]), (5, draft(node, NETWORK, root, three, None)[0])], three),
        "nothing changed": ([(0, full[0]), (1, draft(node, NETWORK, root, one, _state(one))[0])], one),
        "in three entries": ([(0, full[0]), (4, parts[0]), (5, parts[1]), (6, parts[2])], two),
        "after one that was left incomplete": ([(0, full[0]), (4, parts[0]), (9, grown[0])], two),
        "after one that is malformed": ([(0, full[0]), (4, b"\x80"), (9, grown[0])], two),
        "after one that does not add up": ([(0, full[0]), (4, shrunk[0]), (9, grown[0])], two),
    }
    valid = [_run_case(name, run, heads) for name, (run, heads) in runs.items()]
    broken: dict[str, tuple[list[tuple[int, bytes]], str]] = {
        "not full, and none before it": ([(0, grown[0])], "it is not full, and none comes before it"),
        "parts with an entry between": ([(4, parts[0]), (6, parts[1]), (7, parts[2])], "not one right after another"),
        "parts out of order": ([(4, parts[0]), (5, parts[2])], "rest goes down by one"),
        "parts that differ": ([(4, parts[0]), (5, _changed(parts[1], root=filler("b"))), (6, parts[2])], "same fields"),
        "parts whose heads go back": ([(4, _changed(parts[1], rest=1)), (5, _changed(parts[0], rest=0))], "ascending"),
        "does not add up": ([(0, full[0]), (1, shrunk[0])], "other numbers of logs and entries"),
    }
    refused: list[Case] = [
        {"name": name, "seqs": [seq for seq, _ in run], "bodies": [body.hex() for _, body in run], "reason": why}
        for name, (run, why) in broken.items()
    ]
    note = render_note(node.public, NETWORK, parse_checkpoint(full[0]))
    text = note.decode()
    notes = {
        "a note by another node": render_note(other.public, NETWORK, parse_checkpoint(full[0])),
        "a note of other logs": note.replace(b"\n2\n", b"\n3\n"),
        "a note with a leading zero": note.replace(b"\n2\n", b"\n02\n"),
        "a note of another network": note.replace(NETWORK.hex().encode(), bytes(32).hex().encode()),
        "a note without its blank line": text.replace("\n\n", "\n").encode(),
        "a note without a signature": note.split(b"\n\n")[0],
        "a hyphen for the dash": text.replace("—", "-").encode(),
        "upper case": note.replace(b"hamkor/", b"Hamkor/"),
    }
    refused += [
        {"name": name, "note": raw.hex(), "key": node.public.hex(), "reason": "note"} for name, raw in notes.items()
    ]
    about = (
        "SPEC.md 7.1. `bodies` are a node's checkpoint entries at `seqs` of its log; after the last its state is"
        " `state` ([key, size, id]). `note` is the file of the last one's note, `vkey` the key for verifiers of notes."
        " Refused: the last of `bodies` is no checkpoint, or `note` is no note by `key`."
    )
    return about, valid, refused


def _state(heads: Sequence[Attested]) -> State:
    return {found.key: (found.size, found.id or EntryId(b"")) for found in heads}


def _in_parts(body: bytes) -> list[bytes]:
    """A checkpoint of three heads as three entries."""
    heads = decode(body, size_max=1 << 20)["heads"]  # type: ignore[index, call-overload]
    assert isinstance(heads, bytes)
    return [_changed(body, heads=heads[72 * at : 72 * at + 72], rest=2 - at) for at in range(3)]


def _changed(body: bytes, **fields: object) -> bytes:
    value = decode(body, size_max=1 << 20)
    assert isinstance(value, dict)
    return encode(value | fields)


def _run_case(name: str, run: list[tuple[int, bytes]], heads: list[Attested]) -> Case:
    node = signer("mia node").public
    last = parse_checkpoint(run[-1][1])
    chain = Chain()
    wholes = [chain.take(seq, body)[0] for seq, body in run]
    assert wholes[-1] is not None, name
    return {
        "name": name,
        "key": node.hex(),
        "network_id": NETWORK.hex(),
        "seqs": [seq for seq, _ in run],
        "bodies": [body.hex() for _, body in run],
        "root": last.root.hex(),
        "logs": len(heads),
        "entries": sum(head.size for head in heads),
        "state": [[head.key.hex(), head.size, (head.id or b"").hex()] for head in heads],
        "note": render_note(node, NETWORK, last).hex(),
        "vkey": note_key(node),
    }


# -- bodies and trees, beside those of make_vectors.py --------------------------------------------


def attesting_bodies() -> tuple[list[Case], list[Case]]:
    """SPEC.md 4.5: checkpoint, alarm, consultation."""
    node = signer("mia node")
    heads = [
        Attested(PublicKey(filler("log a")), 3, EntryId(filler("entry a"))),
        Attested(PublicKey(filler("log b")), 1, EntryId(filler("entry b"))),
    ]
    heads.sort()
    [body] = draft(node, NETWORK, filler("root"), heads, None)
    [less] = draft(node, NETWORK, filler("root"), heads[:1], {head.key: (head.size, EntryId(b"")) for head in heads})
    ids = tuple(sorted(EntryId(filler(f"record {number}")) for number in range(3)))
    read = Consultation(ids, "show", signer("mia officer").public, "aziza", "tekshiruv 14/26")
    good = {
        "checkpoint": ("checkpoint", body),
        "checkpoint, one log no more": ("checkpoint", less),
        "checkpoint of nothing": ("checkpoint", draft(node, NETWORK, EMPTY_ROOT, [], None)[0]),
        "alarm": ("alarm", encode_alarm(Alarm(ids[0], filler("root")))),
        "consultation": ("consultation", encode_consultation(read)),
        "consultation without an officer": ("consultation", encode_consultation(replace(read, officer=None))),
    }
    valid: list[Case] = [
        {"name": name, "kind": kind, "hex": raw.hex(), "value": plain(decode(raw, size_max=1 << 20))}
        for name, (kind, raw) in good.items()
    ]
    listed = decode(body, size_max=1 << 20)["heads"]  # type: ignore[index, call-overload]
    assert isinstance(listed, bytes)
    alarm, consultation = good["alarm"][1], good["consultation"][1]
    wrong = {
        "checkpoint, heads out of order": ("checkpoint", _changed(body, heads=listed[72:] + listed[:72]), "ascending"),
        "checkpoint, a log twice": ("checkpoint", _changed(body, heads=listed[:72] * 2), "each key once"),
        "checkpoint, 71 bytes of heads": ("checkpoint", _changed(body, heads=listed[:71]), "72 bytes each"),
        "checkpoint, size 0 with an id": (
            "checkpoint",
            _changed(body, heads=listed[:32] + bytes(8) + listed[40:72]),
            "zeros exactly when the size is 0",
        ),
        "checkpoint, a size without an id": ("checkpoint", _changed(body, heads=listed[:40] + bytes(32)), "zeros"),
        "checkpoint, size over 2^53-1": (
            "checkpoint",
            _changed(body, heads=listed[:32] + b"\xff" * 8 + listed[40:72]),
            "2^53-1",
        ),
        "checkpoint, full is 1": ("checkpoint", _changed(body, full=1), "true or false"),
        "checkpoint, rest below 0": ("checkpoint", _changed(body, rest=-1), "from 0"),
        "checkpoint, note of 63 bytes": ("checkpoint", _changed(body, note=bytes(63)), "64 bytes"),
        "checkpoint, one field more": ("checkpoint", _changed(body, more=1), "exactly these fields"),
        "alarm, root of 31 bytes": ("alarm", _changed(alarm, root=bytes(31)), "32 bytes"),
        "alarm, one field more": ("alarm", _changed(alarm, more=1), "exactly these fields"),
        "consultation of nothing": ("consultation", _changed(consultation, records=[]), "1 to 500"),
        "consultation of 501": (
            "consultation",
            _changed(consultation, records=[number.to_bytes(32, "big") for number in range(501)]),
            "1 to 500",
        ),
        "consultation, records out of order": (
            "consultation",
            _changed(consultation, records=[*ids[::-1]]),
            "ascending",
        ),
        "consultation without a purpose": ("consultation", _changed(consultation, why=""), "1 to 2,000 bytes"),
        "consultation, purpose of 2,001 bytes": (
            "consultation",
            _changed(consultation, why="a" * 2001),
            "1 to 2,000 bytes",
        ),
        "consultation, a control character": ("consultation", _changed(consultation, why="a\x1b"), "4.6"),
        "consultation, an officer's name": ("consultation", _changed(consultation, officer="A."), "nil or 32 bytes"),
    }
    return valid, [bad(name, raw, why, kind=kind) for name, (kind, raw, why) in wrong.items()]


def tree_proofs() -> tuple[list[Case], list[Case]]:
    """SPEC.md 7.4: inclusion and consistency, as they hold and as they fail."""
    leaves = [filler(f"leaf {number}") for number in range(33)]
    valid: list[Case] = []
    refused: list[Case] = []
    for size, index in ((1, 0), (2, 1), (3, 2), (5, 4), (7, 3), (8, 0), (13, 12), (33, 17), (33, 32)):
        path = inclusion_proof(leaves[:size], index)
        valid.append(_inclusion(f"leaf {index} of {size}", size, index, leaves[index], path, leaves))
    for first, size in ((1, 1), (1, 2), (2, 3), (3, 7), (4, 7), (6, 8), (8, 8), (12, 33), (32, 33)):
        valid.append(_consistency(f"{first} of {size}", first, size, leaves, consistency_proof(leaves[:size], first)))
    path = inclusion_proof(leaves[:13], 5)
    good = _inclusion("", 13, 5, leaves[5], path, leaves)
    apart: dict[str, Case] = {
        "nothing in a tree of size 0": {"size": 0, "index": 0, "root": EMPTY_ROOT.hex(), "path": []},
        "the empty root in a tree of size 0": {
            "size": 0,
            "index": 0,
            "root": EMPTY_ROOT.hex(),
            "leaf": EMPTY_ROOT.hex(),
            "path": [],
        },
        "an index past the end": {"index": 13},
        "another index": {"index": 4},
        "another size": {"size": 20},
        "another leaf": {"leaf": leaves[4].hex()},
        "a path too short": {"path": [one.hex() for one in path[:-1]]},
        "a path too long": {"path": [one.hex() for one in [*path, leaves[0]]]},
        "an empty path": {"path": []},
        "hashes out of order": {"path": [one.hex() for one in path[::-1]]},
        "another root": {"root": leaves[0].hex()},
        "a path in a tree of one": {"size": 1, "index": 0, "leaf": leaves[0].hex(), "root": leaves[0].hex()},
    }
    for name, changed in apart.items():
        refused.append(good | {"name": f"inclusion: {name}"} | changed)
    proof = consistency_proof(leaves[:13], 6)
    grown = _consistency("", 6, 13, leaves, proof)
    same = _consistency("", 8, 8, leaves, [])
    damaged: list[tuple[Case, str, Case]] = [
        (grown, "from size 0", {"first": 0, "first_root": EMPTY_ROOT.hex(), "proof": []}),
        (
            grown,
            "from size 0 to 0",
            {"first": 0, "size": 0, "first_root": EMPTY_ROOT.hex(), "root": EMPTY_ROOT.hex(), "proof": []},
        ),
        (grown, "from size 0 with a proof", {"first": 0, "first_root": EMPTY_ROOT.hex()}),
        (grown, "from a greater size", {"first": 14}),
        (grown, "another first size", {"first": 7}),
        (grown, "another size", {"size": 30}),
        (grown, "another first root", {"first_root": leaves[0].hex()}),
        (grown, "another root", {"root": leaves[0].hex()}),
        (grown, "an empty proof", {"proof": []}),
        (grown, "a proof too short", {"proof": [one.hex() for one in proof[:-1]]}),
        (grown, "a proof too long", {"proof": [one.hex() for one in [*proof, leaves[0]]]}),
        (same, "same size, another root", {"root": leaves[0].hex()}),
        (same, "same size, with a proof", {"proof": [leaves[0].hex()]}),
    ]
    for base, name, changed in damaged:
        refused.append(base | {"name": f"consistency: {name}"} | changed)
    return valid, refused


def _inclusion(name: str, size: int, index: int, leaf: bytes, path: Sequence[bytes], leaves: Sequence[bytes]) -> Case:
    return {
        "name": name,
        "size": size,
        "index": index,
        "leaf": leaf.hex(),
        "path": [one.hex() for one in path],
        "root": tree_root(leaves[:size]).hex(),
    }


def _consistency(name: str, first: int, size: int, leaves: Sequence[bytes], proof: Sequence[bytes]) -> Case:
    return {
        "name": name,
        "first": first,
        "size": size,
        "first_root": tree_root(leaves[:first]).hex(),
        "root": tree_root(leaves[:size]).hex(),
        "proof": [one.hex() for one in proof],
    }
