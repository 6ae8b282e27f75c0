"""Proofs of records, made from ledgers and checked with the charter alone (SPEC.md 8.6)."""

from dataclasses import replace
from hashlib import sha256

import pytest

from keys.errors import LocalError
from keys.signing import Signature, SigningKey
from ledger.attest import survey
from ledger.proof import build_proof
from ledger.verify import PROVEN, REFUSED, UNPROVEN, Verdict, verify_file, verify_proof
from protocol.acts import Admit, Cutoff, Rekey, Remove, Threshold
from protocol.body import encode_record, encode_step
from protocol.charter import Agency
from protocol.checkpoint import draft
from protocol.codec import encode, unpack_row
from protocol.entry import EntryId, NetworkId, sign_rows
from protocol.frame import Run
from protocol.proof import BEGIN, END, Attestation, Item, Proof, write_proof
from tests.ledgers import World

PAGE = f"<!DOCTYPE html><p>Ҳисобот</p>{BEGIN.decode()}{END.decode()}\n"


class Case(World):
    """Three agencies with a node and an officer each; scc's officer certified by an admin."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.nodes = {name: self.certify(self.key(name), "node", name) for name in ("mia", "ncdc", "scc")}
        self.admin = self.certify(self.key("scc"), "admin", "scc")
        self.officer = self.certify(self.admin, "officer", "scc")
        self.other = self.certify(self.key("mia"), "officer", "mia")

    def attest(self, *names: str) -> None:
        for name in names or ("mia", "ncdc", "scc"):
            self.checkpoint(self.nodes[name])

    def proof(self, record: EntryId, *steps: EntryId) -> Proof:
        return build_proof(self.ledger, record, steps)

    def verdict(self, record: EntryId, *steps: EntryId) -> Verdict:
        """Of the proof as a file, which must agree with the one without a page."""
        proof = self.proof(record, *steps)
        verdict = verify_file(write_proof(PAGE, proof), self.charter)
        assert verdict.to_json() == verify_proof(proof, self.charter).to_json(), verdict
        return verdict


def told(verdict: Verdict) -> tuple[str, str | None, list[tuple[str, ...]]]:
    return verdict.verdict, verdict.reason, [one.agencies for one in verdict.entries]


@pytest.fixture
def case() -> Case:
    return Case()


ALL = ("mia", "ncdc", "scc")


def test_record_that_nodes_of_enough_agencies_attest_is_proven(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    assert told(case.verdict(record)) == (UNPROVEN, "threshold", [()])
    case.attest("mia", "ncdc")
    assert told(case.verdict(record)) == (UNPROVEN, "threshold", [("mia", "ncdc")])
    case.attest("scc")
    assert told(case.verdict(record)) == (PROVEN, None, [ALL])
    found = case.verdict(record).to_json()
    assert found == {
        "verdict": "proven", "reason": None, "network": case.charter.network_id.hex(), "record": record.hex(),
        "threshold": 3, "entries": [{
            "id": record.hex(), "author": case.officer.public.hex(), "agency": "scc", "agencies": list(ALL),
        }],
    }  # fmt: skip


def test_steps_of_several_agencies_are_attested_as_far_as_checkpoints_reach(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    case.attest("mia")
    first = case.step(case.other, record, "comment", text="weighed")
    case.attest("ncdc", "mia")
    second = case.step(case.officer, record, "amend", set={"place": "Termiz"})
    case.attest("scc")
    verdict = case.verdict(record, second, first)
    agencies = {one.entry.id: one.agencies for one in verdict.entries}
    assert (verdict.verdict, agencies) == (PROVEN, {record: ALL, first: ALL, second: ("scc",)})
    assert [one.entry.id for one in verdict.entries] == [record, *sorted((first, second))]
    times = [one.entry.time_ms for one in verdict.witnesses]
    assert len(times) == 4  # mia's first covers the creation alone, its second the step too
    case.attest()
    again = case.verdict(record, first, second)
    assert {one.entry.id: one.agencies for one in again.entries} == {record: ALL, first: ALL, second: ALL}
    assert min(one.entry.time_ms for one in again.witnesses) == min(times)


def test_long_logs_and_checkpoints_that_are_not_full_lead_to_the_same_roots(case: Case) -> None:
    for number in range(70):
        case.record(case.officer, n=number)
        case.checkpoint(case.nodes["mia"], full=number % 9 == 0)
    record = case.record(case.officer, place="here")
    for number in range(20):
        case.record(case.other, n=number)
        case.attest()
    verdict = case.verdict(record)
    assert told(verdict) == (PROVEN, None, [ALL])
    by_mia = next(one for one in verdict.witnesses if one.entry.key == case.nodes["mia"].public)
    earlier = [one.entry for one in case.ledger.log_entries(case.nodes["mia"].public)][:70]
    assert by_mia.entry.prev == earlier[-1].id  # the first that could cover it


def test_entry_with_a_signature_that_fails_is_proved_by_the_next_that_holds(case: Case) -> None:
    drafts = [("record", encode_record("seizure", {"n": n}), ()) for n in range(4)]
    ids = case.write(case.officer, drafts, spoil=3)
    case.attest()
    proof = case.proof(ids[1])
    assert len(proof.entries[0].rest) == 2
    assert told(case.verdict(ids[1])) == (PROVEN, None, [ALL])
    assert case.proof(ids[3]).entries[0].rest == ()


def test_agency_that_was_admitted_and_one_with_a_new_root_key_attest(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    new, again = case.key("customs"), case.key("mia", "second")
    case.decide(Admit(Agency("customs", "New agency", new.public)), "mia", "scc", "sss")
    node = case.certify(new, "node", "customs")
    case.checkpoint(node)
    last = case.place(case.key("mia").public)
    case.decide(Rekey("mia", again.public, last.seq - 1, last.prev), "ncdc", "scc", "sss")
    case.attest("mia")
    case.decide(Threshold(2), "ncdc", "scc", "sss")
    verdict = case.verdict(record)
    assert told(verdict) == (PROVEN, None, [("customs", "mia")])
    assert verdict.threshold == 2
    second = case.certify(again, "node", "mia", "second")
    case.checkpoint(second)
    late = case.record(case.certify(again, "officer", "mia", "second"), place="late")
    case.checkpoint(second)
    case.checkpoint(node)
    assert told(case.verdict(late)) == (PROVEN, None, [("customs", "mia")])


def test_agency_that_was_removed_attests_nothing(case: Case) -> None:
    record = case.record(case.other, place="Denov")
    case.attest()
    keys = sorted({case.other.public, case.nodes["mia"].public, case.key("mia").public})
    kept = tuple(Cutoff(key, case.place(key).seq - 1, case.place(key).prev) for key in keys)
    case.decide(Remove("mia", kept), "ncdc", "scc", "sss")
    verdict = case.verdict(record)
    assert told(verdict) == (UNPROVEN, "threshold", [("ncdc", "scc")])
    assert verdict.entries[0].agency == "mia"
    case.decide(Threshold(2), "ncdc", "scc", "sss")
    assert told(case.verdict(record)) == (PROVEN, None, [("ncdc", "scc")])


def test_yes_of_a_key_that_was_cut_is_left_out(case: Case) -> None:
    """Two agencies want to admit one; a third's old root key, stolen by now, completes that."""
    record = case.record(case.officer, place="Denov")
    admit = Admit(Agency("customs", "New agency", case.key("customs").public))
    proposal, _ = case.decide(admit, "ncdc", "sss")
    last = case.place(case.key("mia").public)
    case.decide(Rekey("mia", case.key("mia", "second").public, last.seq - 1, last.prev), "ncdc", "scc", "sss",
                refs=[proposal])  # fmt: skip
    case.decide(admit, "mia", "scc")  # void: signed by the old key
    case.attest()
    assert told(case.verdict(record)) == (PROVEN, None, [ALL])
    acts = {item.id for item in case.proof(record).acts}
    assert proposal not in acts


def test_author_who_was_revoked_after_the_record_is_shown_with_the_cutoff(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    stolen = case.record(case.officer, place="forged")
    step = case.step(case.officer, record, "comment", text="forged")
    case.attest()
    case.revoke(case.admin, case.officer.public, record)
    verdict = case.verdict(record, step)
    assert told(verdict) == (PROVEN, None, [ALL])
    assert verdict.acts is not None
    assert verdict.acts.cutoffs[case.officer.public].id == record
    with pytest.raises(LocalError, match="is void"):
        case.proof(stolen)


def test_node_that_was_revoked_attests_below_its_cutoff_only(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    case.attest()
    good = case.place(case.nodes["scc"].public).prev
    case.checkpoint(case.nodes["scc"])
    case.revoke(case.key("scc"), case.nodes["scc"].public, good)
    assert told(case.verdict(record)) == (PROVEN, None, [ALL])
    case.revoke(case.key("scc"), case.nodes["scc"].public, None)
    assert told(case.verdict(record)) == (UNPROVEN, "threshold", [("mia", "ncdc")])


def test_admin_who_was_revoked_leaves_what_was_certified_before(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    case.attest()
    case.revoke(case.key("scc"), case.admin.public, case.place(case.admin.public).prev)
    assert told(case.verdict(record)) == (PROVEN, None, [ALL])


def test_checkpoint_of_another_root_is_passed_over(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    lie(case, case.nodes["mia"])
    case.attest("ncdc", "scc")
    assert told(case.verdict(record)) == (UNPROVEN, "threshold", [("ncdc", "scc")])
    case.record(case.officer, place="later")
    case.attest("mia")
    assert told(case.verdict(record)) == (PROVEN, None, [ALL])


def lie(case: Case, node: SigningKey) -> None:
    with case.ledger.storage.read() as reader:
        found = survey(reader)
    [body] = draft(node, case.ledger.network_id, bytes(32), found.heads, None)
    case.write(node, [("checkpoint", body, ())])


def test_what_is_no_record_is_not_proved(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    step = case.step(case.officer, record, "comment", text="x")
    with pytest.raises(LocalError, match="no record"):
        case.proof(step)
    with pytest.raises(LocalError, match="not here"):
        case.proof(EntryId(bytes(32)))


def test_steps_on_other_records_are_left_out(case: Case) -> None:
    record, other = case.record(case.officer, n=1), case.record(case.officer, n=2)
    step = case.step(case.officer, other, "comment", text="x")
    assert len(case.proof(record, step, record, other).entries) == 1
    body = encode_step(other, "comment", {"text": "on another"})
    [confused] = case.write(case.officer, [("step", body, [record])])
    assert len(case.proof(record, confused).entries) == 1


def test_step_whose_body_is_withheld_is_proved_without_it(case: Case) -> None:
    record = case.record(case.officer, place="Denov")
    place, secret = case.place(case.other.public), encode_step(record, "comment", {"text": "sealed"})
    drafts = [("step", secret, [record])]
    (row,), (step,) = sign_rows(case.other, case.ledger.network_id, place, drafts, case.now_ms, b"c" * 32)
    fields = unpack_row(row)
    case.admit(Run(place.key, place.seq, place.prev, (encode([*fields[:4], [len(secret), sha256(secret).digest()],
                                                              fields[5]]),)))  # fmt: skip
    case.attest()
    proof = case.proof(record, step)
    assert proof.entries[1].body is None
    assert told(case.verdict(record, step)) == (PROVEN, None, [ALL, ALL])
    shown = replace(proof, entries=(proof.entries[0], replace(proof.entries[1], body=secret)))
    assert verify_proof(shown, case.charter).verdict == PROVEN
    other = replace(proof, entries=(proof.entries[0], replace(proof.entries[1], body=secret + b"x")))
    assert verify_proof(other, case.charter).reason == "entry"


# -- damage ---------------------------------------------------------------------------------------


def small(case: Case) -> bytes:
    """A proof of one entry, proven by the three agencies that are needed."""
    record = case.record(case.other, n=1)
    case.attest()
    return write_proof(PAGE, case.proof(record))


def flipped(raw: bytes, at: int, bit: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]


@pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_every_changed_bit_is_refused_and_in_the_page_as_that(case: Case, bits: int) -> None:
    raw = small(case)
    content = range(raw.index(BEGIN) + len(BEGIN), raw.index(END))
    for at in range(len(raw)):
        for bit in {(at + n) % 8 for n in range(bits)}:
            verdict = verify_file(flipped(raw, at, bit), case.charter)
            assert verdict.verdict == REFUSED, (at, bit)
            assert at in content or verdict.reason in ("page", "form"), (at, bit, verdict)


def test_every_truncation_is_refused(case: Case) -> None:
    raw = small(case)
    end = raw.index(END) + len(END)
    for size in range(len(raw)):
        verdict = verify_file(raw[:size], case.charter)
        assert (verdict.verdict, verdict.reason) == (REFUSED, "page" if size >= end else "form")


def test_reasons_come_in_the_order_of_the_checks(case: Case) -> None:
    """Each damage is of a later check than the one before; done together, the first counts."""
    record, stranger = case.record(case.officer, place="Denov"), case.record(case.other, n=1)
    case.attest()
    whole, other = case.proof(record), case.proof(stranger)
    entry, first = whole.entries[0], whole.attestations[0]
    longer = replace(first.paths[0], log=(*first.paths[0].log, bytes(32)))
    unsigned = replace(entry, signature=Signature(bytes(64)))
    damages = {
        "path": lambda p: replace(p, attestations=(replace(first, paths=(longer,)), *p.attestations[1:])),
        "checkpoint": lambda p: replace(p, attestations=(*p.attestations, Attestation(by_node(case), first.paths))),
        "record": lambda p: replace(p, record=stranger),
        "standing": lambda p: replace(p, acts=other.acts[:1], entries=(entry, *p.entries[1:])),
        "act": lambda p: replace(p, acts=(*p.acts, *p.acts[:1])),
        "signature": lambda p: replace(p, attestations=(replace(first, item=replace(
            first.item, signature=Signature(bytes(64)))),)),
        "entry": lambda p: replace(p, entries=(replace(unsigned, body=b"\x80"),)),
        "network": lambda p: replace(p, network=NetworkId(bytes(32))),
    }  # fmt: skip
    proof = whole
    for reason, damage in damages.items():
        assert verify_proof(damage(whole), case.charter).reason == reason
        proof = damage(proof)
        assert verify_proof(proof, case.charter).reason == reason
    raw = write_proof(PAGE, proof)
    assert verify_file(raw.replace("Ҳ".encode(), b"H"), case.charter).reason == "page"
    assert verify_file(raw + END + BEGIN, case.charter).reason == "form"


def by_node(case: Case) -> Item:
    """An entry of a certified node that is no checkpoint."""
    node = case.nodes["mia"]
    [known] = case.write(node, [("address", b"\x80", ())])
    entry = case.ledger.entry(known)
    assert entry is not None
    return Item(entry.header, entry.signature, entry.body)
