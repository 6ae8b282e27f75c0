"""Proofs that are refused, for `proof.json`: sound but for what each name says, so that its own check fails first."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256

from protocol.acts import Admit, Approve, Propose, Rekey, Remove, Revoke, Threshold, Unit
from protocol.body import encode_step
from protocol.charter import Agency
from protocol.codec import decode, encode, pack, unpack_row
from protocol.entry import Entry, EntryId, NetworkId, Place, open_row, sign_row
from protocol.ledger_vectors import signer
from protocol.limits import PROOF_BYTES_MAX
from protocol.proof import BEGIN, END, Attestation, Item, Proof, encode_payload, write_proof
from protocol.proof_cast import NO_SIGNATURE, PAGE, RECORD, Ledger, Town, item
from protocol.vector_cast import T0, Case, filler


def refused_proofs() -> list[Case]:
    """SPEC.md 8.6, reason by reason."""
    return [
        *_form_cases(),
        *_file_cases(),
        *_entry_cases(),
        *_act_cases(),
        *_standing_cases(),
        *_record_cases(),
        *_checkpoint_cases(),
        *_path_cases(),
    ]


def file_case(raw: bytes) -> Case:
    """The file of a case, as text where it is."""
    try:
        return {"file": raw.decode()}
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


def _no(name: str, reason: str, proof: Proof) -> Case:
    return {"name": name, **file_case(write_proof(PAGE, proof)), "reason": reason}


def _file(content: bytes, page: str = PAGE) -> bytes:
    before, begin, after = page.encode().partition(BEGIN)
    return before + begin + content + after


def _lines(payload: bytes, width: int = 76, end: bytes = b"\n") -> bytes:
    text = b64encode(payload)
    return b"".join(text[at : at + width] + end for at in range(0, len(text), width))


def _form_cases() -> list[Case]:
    """Payloads of another form, wrapped as they should be."""
    proof = replace(Town().sound(), page=sha256(PAGE.encode()).digest())
    good = decode(encode_payload(proof), size_max=PROOF_BYTES_MAX)
    assert isinstance(good, dict)
    one: list[object] = [*_items(good, "acts")[0]]
    entry: list[object] = [*_items(good, "entries")[0]]
    attestation: list[object] = [*_items(good, "attestations")[0]]
    path: list[object] = [*_items(attestation, 1)[0]]

    def with_path(*changed: object) -> object:
        return [[attestation[0], [list(changed)]]]

    changes: dict[str, dict[str, object]] = {
        "version 2": {"version": 2},
        "one name more": {"more": 1},
        "network of 31 bytes": {"network": bytes(31)},
        "record in text": {"record": "00"},
        "no page": {"page": None},
        "no entries": {"entries": []},
        "257 attestations": {"attestations": [[[b"", bytes(64), None, []], [[0, 1, [], 0, []]]]] * 257},
        "item of three": {"entries": [entry[:3]]},
        "header in text": {"acts": [["h", *one[1:]]]},
        "signature of 63 bytes": {"entries": [[entry[0], bytes(63), *entry[2:]]]},
        "body in text": {"entries": [[entry[0], entry[1], "b", []]]},
        "128 entries in rest": {"entries": [[*entry[:3], [[b"", bytes(64)]] * 128]]},
        "rest of threes": {"acts": [[*one[:3], [[1, 2, 3]]]]},
        "steps out of order": {"entries": [entry, *_unordered()]},
        "a step twice": {"entries": [entry, one, one]},
        "no paths": {"attestations": [[attestation[0], []]]},
        "paths of one entry twice": {"attestations": [[attestation[0], [path, path]]]},
        "path of an entry that is not there": {"attestations": with_path(1, *path[1:])},
        "path of four": {"attestations": with_path(*path[:4])},
        "negative size": {"attestations": with_path(0, -1, *path[2:])},
        "size over 2^53-1": {"attestations": with_path(0, 2**53, *path[2:])},
        "leaf in text": {"attestations": with_path(*path[:3], "0", path[4])},
        "65 hashes": {"attestations": with_path(0, 1, [bytes(32)] * 65, *path[3:])},
        "hash of 31 bytes": {"attestations": with_path(0, 1, [bytes(31)], *path[3:])},
    }
    built = [(name, encode(good | changed)) for name, changed in changes.items()]
    raw = encode(good)
    built += [
        ("a byte after the payload", raw + b"\x00"),
        ("payload cut short", raw[:-1]),
        ("an array", encode([good])),
        ("version in the long form", raw[:-1] + b"\xcc\x01"),
        ("nested too deep", encode(good)[:-1] + b"\x91" * 40),
    ]
    return [{"name": name, **file_case(_file(_lines(payload))), "reason": "form"} for name, payload in built]


def _items(value: object, at: str | int) -> list[list[object]]:
    found = value[at]  # type: ignore[index]
    assert isinstance(found, list)
    return found


def _unordered() -> list[object]:
    town = Town()
    steps = [
        town.write("mia officer", "step", encode_step(town.record.id, "comment", {"n": n}), [town.record.id])
        for n in range(2)
    ]
    ordered = sorted(steps, key=lambda step: step.id, reverse=True)
    return [[step.header, step.signature, step.body, []] for step in ordered]


def _file_cases() -> list[Case]:
    """Files of another form, other pages, other networks."""
    alone = Ledger()
    record = alone.write("ncdc", "record", RECORD)
    proof = alone.proof([], [record])
    payload = encode_payload(replace(proof, page=sha256(PAGE.encode()).digest()))
    good = _lines(payload)
    files = {
        "lines of 77": _file(_lines(payload, 77)),
        "lines of 75": _file(_lines(payload, 75)),
        "lines with CR LF": _file(_lines(payload, end=b"\r\n")),
        "no LF at the end": _file(good[:-1]),
        "an empty line": _file(good + b"\n"),
        "a space": _file(b" " + good),
        "nothing": _file(b""),
        "base64 for addresses": _file(good.replace(b"A", b"-", 1)),
        "one character more": _file(good[:-1] + b"A\n"),
        "the beginning twice": _file(good) + BEGIN,
        "no beginning": _file(good).replace(BEGIN, b"<script>\n"),
        "no end": _file(good).replace(END, b""),
        "page not in UTF-8": _file(good) + b"\xff",
        "an empty file": b"",
    }
    cases: list[Case] = [{"name": name, **file_case(raw), "reason": "form"} for name, raw in files.items()]
    whole = write_proof(PAGE, proof)
    pages = {
        "a letter of the page changed": whole.replace(b"<title>", b"<TITLE>"),
        "a byte after the page": whole + b" ",
        "page cut short": whole[:-1],
    }
    cases += [{"name": name, **file_case(raw), "reason": "page"} for name, raw in pages.items()]
    cases.append(_no("of another network", "network", replace(proof, network=NetworkId(filler("network")))))
    return cases


def _entry_cases() -> list[Case]:
    town = Town()
    sound = town.sound()
    [good] = sound.entries
    fields = unpack_row(good.header)
    third = town.records("scc officer", 2)[1]

    def header(at: int, value: object) -> Proof:
        changed = bytes(pack([*fields[:at], value, *fields[at + 1 :]]))
        return replace(sound, entries=(replace(good, header=changed),))

    cases = {
        "body of another hash": replace(sound, entries=(replace(good, body=RECORD + b"\x00"),)),
        "body of the same size": replace(sound, entries=(replace(good, body=bytes(len(RECORD))),)),
        "header of version 2": header(0, 2),
        "key of 31 bytes": header(1, bytes(31)),
        "seq below 0": header(2, -1),
        "prev nil at seq 1": header(3, None),
        "refs out of order": header(4, [b"\2" * 32, b"\1" * 32]),
        "33 refs": header(4, sorted(filler(f"ref {n}") for n in range(33))),
        "kind in capitals": header(5, "Record"),
        "space of 31 bytes": header(6, bytes(31)),
        "body over 262,144 bytes": header(7, 262_145),
        "time over 2^53-1": header(9, 2**53),
        "header with 11 fields": replace(sound, entries=(replace(good, header=bytes(pack([*fields, 0]))),)),
        "header over 2,048 bytes": replace(sound, entries=(replace(good, header=good.header + bytes(2048)),)),
        "header in a longer form": replace(
            sound, entries=(replace(good, header=good.header.replace(b"\x9a\x01", b"\x9a\xcc\x01", 1)),)
        ),
        "header of an act empty": replace(sound, acts=(*sound.acts, Item(b"", good.signature, None))),
        "rest with a gap": replace(sound, entries=(item(town.record, [third]),)),
        "rest of another log": replace(sound, entries=(item(town.record, [town.records("mia officer", 1)[0]]),)),
        "rest with a header that is none": replace(sound, entries=(replace(good, rest=((b"", good.signature),)),)),
    }
    found = [_no(name, "entry", proof) for name, proof in cases.items()]
    spoilt = town.spoilt("scc officer", "record", RECORD)
    after = town.spoilt("scc officer", "record", RECORD)
    checkpoint, other = sound.attestations
    signatures = {
        "an entry that is not signed": replace(sound, entries=(replace(good, signature=NO_SIGNATURE),)),
        "an act that is not signed": replace(
            sound, acts=(replace(sound.acts[0], signature=NO_SIGNATURE), *sound.acts[1:])
        ),
        "a checkpoint that is not signed": replace(
            sound, attestations=(replace(checkpoint, item=replace(checkpoint.item, signature=NO_SIGNATURE)), other)
        ),
        "rest that ends on a bad signature": replace(sound, record=spoilt.id, entries=(item(spoilt, [after]),)),
        "an entry signed for another network": replace(sound, entries=(_elsewhere(town),)),
    }
    return found + [_no(name, "signature", proof) for name, proof in signatures.items()]


def _elsewhere(town: Town) -> Item:
    place = Place(town.record.key, town.record.seq, town.record.prev)
    network = NetworkId(filler("another network"))
    row = sign_row(signer("scc officer"), network, place, kind="record", body=RECORD, time_ms=T0)
    return item(open_row(row, place))


def _act_cases() -> list[Case]:
    cases: dict[str, Callable[[Town], Sequence[EntryId]]] = {
        "an officer certifies": lambda t: [t.certify("scc officer", "x", "officer", "scc")],
        "a node certifies": lambda t: [t.certify("scc node", "x", "node", "scc")],
        "an admin certifies an admin": lambda t: [t.certify("scc admin", "x", "admin", "scc")],
        "for another agency": lambda t: [t.certify("mia", "x", "officer", "scc")],
        "an admin for another agency": lambda t: [t.certify("scc admin", "x", "officer", "mia")],
        "certified before": lambda t: [t.certify("scc", "scc officer", "officer", "scc")],
        "a root key certified": lambda t: [t.certify("mia", "ncdc", "officer", "mia")],
        "a root key that was replaced certified": lambda t: [
            *t.decide(Rekey("ncdc", signer("ncdc second").public, 0, None), "mia", "scc"),
            t.certify("mia", "ncdc", "officer", "mia"),
        ],
        "a unit named by an officer": lambda t: [t.act("scc officer", Unit("imt-4", "Team", ()))],
        "a revocation by another agency": lambda t: [t.revoke("mia", "scc officer", 2)],
        "an admin revokes an admin": lambda t: [t.revoke("scc admin", "scc admin", 1)],
        "a revocation of somebody not certified": lambda t: [t.act("scc", Revoke(signer("x").public, 0, None, "lost"))],
        "a revocation of a root key": lambda t: [t.act("scc", Revoke(signer("scc").public, 0, None, "lost"))],
        "an officer proposes": lambda t: [t.act("scc officer", Propose(Threshold(1)))],
        "approved without a proposal": lambda t: [t.act("scc", Approve(EntryId(filler("proposal"))))],
        "approved before it is proposed": lambda t: t.decide(Threshold(1), "mia", "scc")[::-1],
        "an act twice": lambda t: t.acts[:1],
        "a record among the acts": lambda t: [t.record.id],
        "an act whose body is none": lambda t: [t.write("scc", "act", b"\x80").id],
        "by a root key that was replaced": lambda t: [
            *t.decide(Rekey("scc", signer("scc second").public, 1, t.entries["scc"][1][0].id), "mia", "ncdc"),
            t.certify("scc", "x", "officer", "scc"),
        ],
        "by a new root key before it is named": lambda t: [
            t.certify("scc second", "x", "officer", "scc"),
            *t.decide(Rekey("scc", signer("scc second").public, 1, t.entries["scc"][1][0].id), "mia", "ncdc"),
        ],
        "by an admin of a removed agency": lambda t: [
            *t.decide(Remove("scc", ()), "mia", "ncdc"),
            t.certify("scc admin", "x", "officer", "scc"),
        ],
        "by the agency that would be removed": lambda t: [
            *t.decide(Remove("scc", ()), "mia", "scc"),
            t.certify("mia", "x", "officer", "mia"),
            *t.decide(Admit(Agency("scc", "SCC", signer("scc second").public)), "mia", "ncdc"),
            t.certify("scc second", "y", "officer", "scc"),
        ],
    }
    found = []
    for name, more in cases.items():
        town = Town()
        found.append(_no(name, "act", town.sound(*more(town))))
    town = Town()
    sound = town.sound()
    acts = (*sound.acts[:4], replace(sound.acts[4], body=None))
    found.append(_no("an act whose body is withheld", "act", replace(sound, acts=acts)))
    return found


def _standing_cases() -> list[Case]:
    found = []
    town = Town()
    found.append(
        _no("an author without a certificate", "standing", town.proof(town.acts[:4], [town.record], *town.both()))
    )
    found.append(
        _no("a node without a certificate", "standing", town.proof(town.acts[1:], [town.record], *town.both()))
    )
    town = Town()
    officer = town.attest("mia officer")
    found.append(_no("attested by an officer", "standing", town.proof(town.acts, [town.record], officer)))
    town = Town()
    root = town.attest("mia")
    found.append(_no("attested by a root key", "standing", town.proof(town.acts, [town.record], root)))
    cuts: dict[str, Callable[[Town], Sequence[EntryId]]] = {
        "the author revoked before the record": lambda t: [t.revoke("scc", "scc officer", 1)],
        "the author revoked wholly": lambda t: [t.revoke("scc", "scc officer", 0)],
        "the author revoked at another branch": lambda t: [
            t.act("scc", Revoke(t.record.key, t.record.seq, EntryId(filler("other")), "lost"))
        ],
        "of two revocations the lower": lambda t: [
            t.revoke("scc", "scc officer", 1),
            t.revoke("scc admin", "scc officer", 2),
        ],
        "the node revoked wholly": lambda t: [t.revoke("mia", "mia node", 0)],
        "the admin revoked before the certificate": lambda t: [t.revoke("scc", "scc admin", 0)],
        "the root key ended before a certificate": lambda t: t.decide(
            Rekey("scc", signer("scc second").public, 0, t.entries["scc"][0][0].id), "mia", "ncdc"
        ),
        "the agency removed, and its keys cut wholly": lambda t: t.decide(
            Remove("scc", (t.cutoff("scc", 2),)), "mia", "ncdc"
        ),
    }
    for name, more in cuts.items():
        town = Town()
        found.append(_no(name, "standing", town.sound(*more(town))))
    return found


def _record_cases() -> list[Case]:
    town = Town()
    other = town.entries["scc officer"][0][0]
    step = town.write("mia officer", "step", encode_step(town.record.id, "comment", {}), [town.record.id])
    apart = town.write("mia officer", "step", encode_step(other.id, "comment", {}), [town.record.id])
    silent = town.write("mia officer", "step", encode_step(town.record.id, "comment", {}), [other.id])
    empty = town.write("mia officer", "step", b"\x80", [town.record.id])
    odd = town.write("scc officer", "record", b"\x80")
    address = town.write("mia officer", "note", encode_step(town.record.id, "comment", {}), [town.record.id])
    nodes = town.both()

    def with_(*entries: Entry) -> Proof:
        return town.proof(town.acts, entries, *nodes)

    sound = with_(town.record)
    cases = {
        "another record first": replace(sound, record=other.id),
        "a step first": with_(step),
        "a step on another record": with_(town.record, apart),
        "a step that does not name it": with_(town.record, silent),
        "a step whose body is none": with_(town.record, empty),
        "a record whose body is none": with_(odd),
        "another record among the steps": with_(town.record, other),
        "an entry of another kind": with_(town.record, address),
        "the record's body withheld": replace(sound, entries=(replace(sound.entries[0], body=None),)),
    }
    return [_no(name, "record", proof) for name, proof in cases.items()]


def _checkpoint_cases() -> list[Case]:
    found = []
    town = Town()
    found.append(
        _no(
            "a note by another node",
            "checkpoint",
            town.proof(town.acts, [town.record], town.attest("scc node", by="mia node")),
        )
    )
    town = Town()
    kind = town.attest("scc node", kind="address")
    found.append(_no("an entry of kind address", "checkpoint", town.proof(town.acts, [town.record], kind)))
    town = Town()
    sound = town.sound()
    first, other = sound.attestations
    withheld = replace(sound, attestations=(first, replace(other, item=replace(other.item, body=None))))
    found.append(_no("a checkpoint whose body is withheld", "checkpoint", withheld))
    body = town.entries["scc node"][-1][0].body or b""
    fields = decode(body, size_max=1 << 20)
    assert isinstance(fields, dict)
    heads = fields["heads"]
    assert isinstance(heads, bytes)
    bodies = {
        "not the last entry of a checkpoint": fields | {"rest": 1},
        "heads out of order": fields | {"heads": heads[72:] + heads[:72]},
        "heads cut short": fields | {"heads": heads[:71]},
        "a head of size 0 with an id": fields | {"heads": heads[:32] + bytes(8) + heads[40:]},
        "one field more": fields | {"more": 1},
        "a note of other numbers": fields | {"entries": 99},
    }
    for name, value in bodies.items():
        town = Town()
        checkpoint = town.attest("mia node")
        path = town.path(checkpoint, town.record, 0)
        entry = town.write("mia node", "checkpoint", encode(value))
        proof = town.proof(town.acts, [town.record])
        found.append(_no(name, "checkpoint", replace(proof, attestations=(Attestation(item(entry), (path,)),))))
    return found


def _path_cases() -> list[Case]:
    town = Town()
    town.records("scc officer", 3)
    sound = town.sound()
    first, other = sound.attestations
    [path] = first.paths
    cases = {
        "to another leaf": replace(path, leaf=path.leaf ^ 1),
        "another size": replace(path, size=path.size + 1),
        "a smaller size": replace(path, size=2),
        "size 0": replace(path, size=0, log=()),
        "size not above the seq": replace(path, size=1, log=()),
        "leaf past the end": replace(path, leaf=99),
        "a hash left out of the log's": replace(path, log=path.log[:-1]),
        "a hash more in the log's": replace(path, log=(*path.log, bytes(32))),
        "a hash left out of the ledger's": replace(path, ledger=path.ledger[1:]),
        "a hash more in the ledger's": replace(path, ledger=(*path.ledger, bytes(32))),
        "hashes in another order": replace(path, ledger=path.ledger[::-1]),
        "a hash changed": replace(path, log=(filler("hash"), *path.log[1:])),
        "that of the other node": other.paths[0],
    }
    found = [
        _no(f"path: {name}", "path", replace(sound, attestations=(replace(first, paths=(changed,)), other)))
        for name, changed in cases.items()
    ]
    town = Town()
    lie = town.attest("mia node", filler("a root"))
    found.append(_no("a checkpoint of another root", "path", town.proof(town.acts, [town.record], lie)))
    return found
