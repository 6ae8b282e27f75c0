"""Proofs that are read, for `proof.json`. What each comes to is written down here by hand; no code decides it."""

from dataclasses import replace

from protocol.acts import Admit, Propose, Rekey, Remove, Threshold, Unit
from protocol.body import encode_step
from protocol.charter import Agency
from protocol.codec import unpack_row
from protocol.ledger_vectors import signer
from protocol.proof import Item, Proof, write_proof
from protocol.proof_cast import PAGE, RECORD, Ledger, Town, item
from protocol.proof_refusals import file_case, refused_proofs
from protocol.vector_cast import NETWORK, Case


def proofs() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 8.6."""
    valid = [*_plain_cases(), *_log_cases(), *_council_cases()]
    about = (
        "SPEC.md 8.6. `file` is the proof's file (or `hex`, where that is not UTF-8), `result` what it comes to, or"
        " `reason` why it is refused; the charter"
        " is that of charter.json."
    )
    return about, valid, refused_proofs()


def _held(name: str, proof: Proof, *attested: tuple[str, str], threshold: int = 2, page: str = PAGE) -> Case:
    """A case. attested: for each entry its author's agency, and the agencies that attest it, separated by spaces."""
    keys = [_key_of(one) for one in proof.entries]
    rows = [
        {"id": one.id.hex(), "author": key.hex(), "agency": agency, "agencies": names.split()}
        for one, key, (agency, names) in zip(proof.entries, keys, attested, strict=True)
    ]
    proven = len(attested[0][1].split()) >= threshold
    result = {
        "verdict": "proven" if proven else "unproven",
        "reason": None if proven else "threshold",
        "network": NETWORK.hex(),
        "record": proof.record.hex(),
        "threshold": threshold,
        "entries": rows,
    }
    return {"name": name, **file_case(write_proof(page, proof)), "result": result}


def _key_of(one: Item) -> bytes:
    key = unpack_row(one.header)[1]
    assert isinstance(key, bytes)
    return key


def _plain_cases() -> list[Case]:
    cases = []
    alone = Ledger()
    record = alone.write("ncdc", "record", RECORD)
    cases.append(_held("by a root key, attested by nobody", alone.proof([], [record]), ("ncdc", "")))
    town = Town()
    cases.append(_held("attested by nodes of two agencies", town.sound(), ("scc", "mia scc")))
    cases.append(_held("in another page", town.sound(), ("scc", "mia scc"), page=f"\ufeff«{PAGE}»</script>"))
    town = Town()
    step = town.write("mia officer", "step", encode_step(town.record.id, "comment", {"text": "2"}), [town.record.id])
    first = town.attest("mia node")
    own = town.write("scc officer", "step", encode_step(town.record.id, "tag", {"add": ["x"]}), [town.record.id])
    last = town.attest("scc node")
    proof = town.proof(town.acts, [town.record, step, own], first, last)
    told = {town.record.id: ("scc", "mia scc"), step.id: ("mia", "mia scc"), own.id: ("scc", "scc")}
    cases.append(_held("steps by two agencies, attested in part", proof, *(told[one.id] for one in proof.entries)))
    at = next(number for number, one in enumerate(proof.entries) if one.id == step.id)
    entries = (*proof.entries[:at], replace(proof.entries[at], body=None), *proof.entries[at + 1 :])
    withheld = replace(proof, entries=entries)
    cases.append(_held("a step's body withheld", withheld, *(told[one.id] for one in proof.entries)))
    town = Town()
    again = town.certify("scc", "scc node 2", "node", "scc")
    proof = town.proof([*town.acts, again], [town.record], town.attest("scc node"), town.attest("scc node 2"))
    cases.append(_held("by two nodes of one agency", proof, ("scc", "scc")))
    town = Town()
    twice = town.attest("mia node"), town.attest("mia node"), town.attest("scc node")
    cases.append(_held("by one node twice", town.proof(town.acts, [town.record], *twice), ("scc", "mia scc")))
    return cases


def _log_cases() -> list[Case]:
    cases = []
    town = Town()
    town.spoilt("scc officer", "record", RECORD)
    spoilt = town.spoilt("scc officer", "record", RECORD)
    rest = [town.spoilt("scc officer", "record", RECORD), *town.records("scc officer", 1)]
    proof = town.proof(town.acts, [spoilt], *town.both())
    proof = replace(proof, entries=(item(spoilt, rest),))
    cases.append(_held("signed by an entry two after it", proof, ("scc", "mia scc")))
    town = Town()
    proof = replace(town.sound(), entries=(item(town.record, town.records("scc officer", 2)),))
    cases.append(_held("followed by others without need", proof, ("scc", "mia scc")))
    town = Town()
    town.records("scc officer", 300)
    late = town.records("scc officer", 1)[0]
    town.records("scc officer", 7)
    proof = town.proof(town.acts, [late], *town.both())
    cases.append(_held("in a long log", proof, ("scc", "mia scc")))
    town = Town()
    cut = town.revoke("scc", "scc officer", 2)
    cases.append(_held("the author revoked at the record", town.sound(cut), ("scc", "mia scc")))
    town = Town()
    town.records("scc officer", 3)
    cuts = [town.revoke("scc admin", "scc officer", 5), town.revoke("scc", "scc officer", 4)]
    cases.append(_held("revoked twice, by an admin too", town.sound(*cuts), ("scc", "mia scc")))
    town = Town()
    unit = town.act("scc admin", Unit("imt-4", "Team 4", ("UZ-SU",)))
    cases.append(_held("with a unit", town.sound(unit), ("scc", "mia scc")))
    town = Town()
    checkpoint = town.attest("scc node")
    proof = town.proof(town.acts, [town.record], checkpoint)
    cases.append(_held("by its author's agency alone", proof, ("scc", "scc")))
    return cases


def _council_cases() -> list[Case]:
    cases = []
    town = Town()
    said = town.decide(Admit(Agency("sss", "SSS", signer("sss").public)), "mia", "scc")
    node = town.certify("sss", "sss node", "node", "sss")
    proof = town.proof([*town.acts, *said, node], [town.record], town.attest("mia node"), town.attest("sss node"))
    cases.append(_held("attested by an agency that was admitted", proof, ("scc", "mia sss")))
    town = Town()
    said = town.decide(Threshold(1), "mia", "ncdc")
    proof = town.proof([*town.acts, *said], [town.record], town.attest("mia node"))
    cases.append(_held("a threshold of one by now", proof, ("scc", "mia"), threshold=1))
    town = Town()
    said = [town.act("mia", Propose(Threshold(3)))]
    cases.append(_held("a proposal that did not pass", town.sound(*said), ("scc", "mia scc")))
    town = Town()
    late = town.certify("scc", "scc officer 2", "officer", "scc")
    old = town.write("scc", "record", RECORD)
    said = town.decide(Rekey("scc", signer("scc second").public, old.seq, old.id), "mia", "ncdc")
    new = town.certify("scc second", "scc node 2", "node", "scc")
    proof = town.proof([*town.acts, late, *said, new], [old], town.attest("mia node"), town.attest("scc node 2"))
    cases.append(_held("by a root key that was replaced, below its end", proof, ("scc", "mia scc")))
    town = Town()
    nodes = town.both()
    keep = tuple(
        sorted(
            (
                town.cutoff("scc officer", 2),
                town.cutoff("scc node", 1),
                town.cutoff("scc admin", 1),
                town.cutoff("scc", 2),
            ),
            key=lambda cut: cut.key,
        )
    )
    said = town.decide(Remove("scc", keep), "mia", "ncdc")
    proof = town.proof([*town.acts, *said], [town.record], *nodes)
    cases.append(_held("by an agency that was removed since", proof, ("scc", "mia")))
    return cases
