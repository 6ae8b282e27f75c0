"""The audit of homes with revoked officers, fallen admins, settled forks: sound, and of the ledger's own root."""

from collections.abc import Callable
from io import BytesIO
from random import Random

import pytest

from keys.signing import SigningKey
from ledger.audit import audit_bundle, audit_storage
from ledger.audit_authority import HeldAct, judge_held
from ledger.audit_finding import Report
from ledger.store import Ledger, create, load
from protocol.acts import Act, Approve, Cutoff, Propose, Rekey, Remove, Revoke, Threshold, encode_act
from protocol.bundle import BundleWriter
from protocol.codec import decode, encode
from protocol.entry import EntryId
from protocol.frame import encode_frame
from protocol.message import Frame
from sim.disk import MemoryStorage
from sim.founding import AGENCIES, key_of
from tests.property.test_standing import (
    ADMIN,
    ADMINS,
    BRANCHES,
    CERTIFIED,
    CHARTER,
    MAIN,
    NAME,
    OFFICER,
    OTHER,
    OTHERS,
    ROOTS,
    Chain,
    acts,
    admit,
    chain,
    officer,
    records,
    settle,
    spoil,
)

NEW, SPY = key_of(NAME, "mia", "new root"), key_of(NAME, "spy")


def root_log(agency: str, *said: Act) -> Chain:
    return chain(ROOTS[agency], acts(*said))


def cutoff(of: Chain, seq: int) -> Cutoff:
    return Cutoff(of.run.key, seq, of.entries[seq].id)


def officer_revoked() -> list[Chain]:
    return [root_log("mia", CERTIFIED, Revoke(OFFICER.public, 4, MAIN.entries[4].id, "stolen")), ADMINS, MAIN]


def admin_revoked_below_its_certificates() -> list[Chain]:
    return [root_log("mia", CERTIFIED, Revoke(ADMIN.public, 0, ADMINS.entries[0].id, "stolen")), ADMINS, MAIN, OTHERS]


def certified_again() -> list[Chain]:
    revoke = Revoke(ADMIN.public, 0, ADMINS.entries[0].id, "stolen")
    return [root_log("mia", CERTIFIED, revoke, officer(OTHER)), ADMINS, MAIN, OTHERS]


def root_key_replaced() -> list[Chain]:
    thief = root_log("mia", CERTIFIED, officer(SPY), Propose(Threshold(1)))
    change = Rekey("mia", NEW.public, 0, thief.entries[0].id)
    return [thief, ADMINS, MAIN, chain(SPY, records(2, "spy")), *agreed("scc", ("sss", "ncdc"), change)]


def old_proposal_completed() -> list[Chain]:
    """The removal of sss lacks the yes of mia, whose thief gives it; the new key of mia needs the yes of sss."""
    before = root_log("mia", CERTIFIED)
    new = Rekey("mia", NEW.public, 0, before.entries[0].id)
    ncdc = root_log("ncdc", Propose(Remove("sss", ())), Propose(new))
    removal, change = (entry.id for entry in ncdc.entries)
    thief = root_log("mia", CERTIFIED, Approve(removal))
    return [thief, ncdc, root_log("scc", Approve(removal), Approve(change)), root_log("sss", Approve(change)), ADMINS]


def mutual_removal(one: tuple[str, str], other: tuple[str, str]) -> list[Chain]:
    """sss and scc approve the removals proposed by these, in these orders."""
    proposed = {
        "mia": root_log("mia", Propose(Remove("ncdc", ()))),
        "ncdc": root_log("ncdc", Propose(Remove("mia", ()))),
    }
    ids = {name: log.entries[0].id for name, log in proposed.items()}
    votes = [root_log(name, *(Approve(ids[by]) for by in order)) for name, order in (("sss", one), ("scc", other))]
    return [*proposed.values(), *votes]


def mutual_removal_in_one_order() -> list[Chain]:
    return mutual_removal(("mia", "ncdc"), ("mia", "ncdc"))


def mutual_removal_in_two_orders() -> list[Chain]:
    return mutual_removal(("mia", "ncdc"), ("ncdc", "mia"))


def approval_by_a_removed_agency() -> list[Chain]:
    wish = root_log("ncdc", Propose(Threshold(1)))
    mia = root_log("mia", CERTIFIED, Approve(wish.entries[0].id))
    kept = tuple(sorted([cutoff(mia, 0), cutoff(ADMINS, 0), cutoff(MAIN, 4)], key=lambda item: item.key))
    return [wish, mia, ADMINS, MAIN, OTHERS, *agreed("scc", ("sss",), Remove("mia", kept), wish)]


def fork_endorsed() -> list[Chain]:
    branch = BRANCHES["signed"]
    revoke = Revoke(OFFICER.public, 8, branch.entries[8].id, "copied")
    return [root_log("mia", CERTIFIED, revoke), ADMINS, branch, MAIN]


def fork_cut_below() -> list[Chain]:
    return [root_log("mia", CERTIFIED, Revoke(OFFICER.public, 2, MAIN.entries[2].id, "copied")), ADMINS,
            BRANCHES["signed"], MAIN]  # fmt: skip


def agreed(proposer: str, others: tuple[str, ...], change: Rekey | Remove, wish: Chain | None = None) -> list[Chain]:
    """The change proposed and approved; ncdc approves it as well when it has said something before."""
    proposal = root_log(proposer, Propose(change))
    said = proposal.entries[0].id
    votes = [root_log(name, Approve(said)) for name in others]
    return [proposal, *votes, *([chain(ROOTS["ncdc"], acts(Approve(said)), wish, 1)] if wish else [])]


CASES: list[tuple[Callable[[], list[Chain]], set[str]]] = [
    (officer_revoked, {"void"}),
    (admin_revoked_below_its_certificates, {"void", "uncertified"}),
    (certified_again, {"void"}),
    (root_key_replaced, {"void", "uncertified"}),
    (old_proposal_completed, {"void"}),
    (mutual_removal_in_one_order, {"void"}),
    (mutual_removal_in_two_orders, set()),
    (approval_by_a_removed_agency, {"void", "uncertified"}),
    (fork_endorsed, {"fork", "void"}),
    (fork_cut_below, {"fork", "void"}),
]
IDS = [case.__name__ for case, _ in CASES]


def everything_first(case: list[Chain]) -> Ledger:
    """A home that took in all of it before it knew better: first what falls, then the acts by which it fell."""
    ledger = create(MemoryStorage(), CHARTER)
    roots = {ROOTS[name].public for name in AGENCIES}
    mia = next(item for item in case if item.run.key == ROOTS["mia"].public)
    others = [item for item in case if item.run.key not in roots]
    for run in (mia.part(0, 1), *(item.run for item in others), mia.run, *(item.run for item in others)):
        admit(ledger, run)
    return settle(ledger, case, Random(1))


def exported(ledger: Ledger) -> bytes:
    """What the node sends of its ledger, and the proofs that it holds."""
    out = BytesIO()
    writer = BundleWriter(out.write, ledger.network_id)
    for number, head in enumerate(ledger.heads):
        first = 0
        while (run := ledger.run(head.key, first, head.size)) is not None:
            writer.add(Frame(number, encode_frame([run])))
            first = run.end
    for _, _, proof in ledger.forks():
        writer.add(proof)
    writer.close()
    return out.getvalue()


def kinds(report: Report) -> set[str]:
    return {note.kind for note in report.notes}


@pytest.mark.parametrize(("case", "expected"), CASES, ids=IDS)
def test_home_with_what_fell_is_sound_and_has_the_ledgers_root(
    case: Callable[[], list[Chain]], expected: set[str]
) -> None:
    noted: set[str] = set()
    for seed in range(4):
        ledger = (
            everything_first(case()) if seed == 0 else settle(create(MemoryStorage(), CHARTER), case(), Random(seed))
        )
        report = audit_storage(ledger.storage, ledger.charter)
        assert report.faults == ()
        assert report.root == ledger.root()
        noted |= kinds(report)  # what never was admitted is not there to be noted
        assert all(note.owner and note.agency for note in report.notes)
        bundle = audit_bundle(BytesIO(exported(ledger)), ledger.charter)
        assert bundle.faults == ()
        assert bundle.root == ledger.root()
    assert noted == expected


def test_unsettled_fork_is_its_authors_fault_and_names_him() -> None:
    ledger = settle(
        create(MemoryStorage(), CHARTER), [root_log("mia", CERTIFIED), ADMINS, BRANCHES["signed"], MAIN], Random(1)
    )
    report = audit_storage(ledger.storage, ledger.charter)
    (fault,) = report.faults
    assert (fault.kind, fault.key, fault.seq, fault.owner, fault.agency) == ("fork", OFFICER.public, 5, "o", "mia")
    assert kinds(report) == {"disputed"}
    assert report.root == ledger.root()


def test_settled_fork_names_the_act_that_settled_it() -> None:
    case = fork_endorsed()
    ledger = everything_first(case)
    notes = audit_storage(ledger.storage, ledger.charter).notes
    (fork,) = (note for note in notes if note.kind == "fork")
    assert case[0].entries[1].id.hex() in fork.detail


def test_author_whom_nobody_ever_certified_is_a_fault() -> None:
    ledger = settle(create(MemoryStorage(), CHARTER), [root_log("mia", CERTIFIED), ADMINS, MAIN], Random(1))
    with ledger.storage.write() as txn:  # the admin's certificate for the officer is taken away
        for place, raw in list(txn.scan("rows")):
            if raw[:32] == ADMINS.entries[0].id:
                fields = decode(raw[32:], size_max=4096)
                assert isinstance(fields, list)
                fields[4] = [ADMINS.entries[0].body_size, ADMINS.entries[0].body_hash]
                txn.put("rows", place, raw[:32] + encode(fields))
    report = audit_storage(ledger.storage, ledger.charter)
    assert [(fault.kind, fault.key) for fault in report.faults if fault.kind != "index"] == [
        ("uncertified", OFFICER.public)
    ]


# -- table branches -----------------------------------------------------------------------------------


def way_made() -> Ledger:
    """MAIN was held first and made way for the branch, entries 5 to 11."""
    case = fork_endorsed()
    ledger = create(MemoryStorage(), CHARTER)
    for run in (case[0].part(0, 1), ADMINS.run, MAIN.run, case[2].run, case[0].part(1, 2), case[2].run):
        admit(ledger, run)
    assert audit_storage(ledger.storage, ledger.charter).faults == ()
    return ledger


def aside(ledger: Ledger) -> list[tuple[bytes, bytes]]:
    with ledger.storage.read() as view:
        found = list(view.scan("branches"))
    assert len(found) == 11  # with what the branch holds after the cutoff
    return found


def test_entries_that_made_way_are_read_counted_and_shown_as_void() -> None:
    ledger = way_made()
    report = audit_storage(ledger.storage, ledger.charter)
    assert report.entries == ledger.entries + len(aside(ledger))
    assert kinds(report) == {"fork", "void"}
    assert any(note.kind == "void" and "11 entries" in note.detail for note in report.notes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda raw: raw.replace(b"main", b"mist"), {"hash"}),
        (lambda raw: raw[:-1], {"index"}),
        (lambda _: b"\xff", {"index"}),
        (None, {"index"}),
    ],
)
def test_tampering_with_an_entry_that_made_way_is_found(
    change: Callable[[bytes], bytes] | None, expected: set[str]
) -> None:
    ledger = way_made()
    known, raw = next(item for item in aside(ledger) if item[0] == MAIN.entries[6].id)
    with ledger.storage.write() as txn:
        if change is None:
            txn.delete("branches", known)
        else:
            txn.put("branches", known, change(raw))
    found = {fault.kind for fault in audit_storage(ledger.storage, ledger.charter).faults}
    assert expected <= found <= expected | {"index"}


def test_gap_among_arrivals_is_a_fault_where_nothing_made_way() -> None:
    ledger = settle(create(MemoryStorage(), CHARTER), [root_log("mia", CERTIFIED), ADMINS, MAIN], Random(1))
    with ledger.storage.write() as txn:
        number = txn.get("meta", b"arrival") or b""
        txn.put("meta", b"arrival", (int.from_bytes(number, "big") + 1).to_bytes(8, "big"))
    assert [fault.kind for fault in audit_storage(ledger.storage, ledger.charter).faults] == ["index"]


# -- which acts are read ------------------------------------------------------------------------------


def test_act_on_a_branch_that_undoes_its_own_endorsement_is_not_read() -> None:
    """mia's branch raises the threshold, so that mia's new key fails, which alone endorses the branch: a circle."""
    charter = load(create(MemoryStorage(), CHARTER).storage).charter
    held: list[HeldAct] = []

    def say(signer: SigningKey, seq: int, act: Act, refs: tuple[EntryId, ...] = ()) -> EntryId:
        known = EntryId(bytes([len(held) + 1]) * 32)
        held.append(HeldAct(signer.public, seq, known, refs, encode_act(act)))
        return known

    higher = say(ROOTS["scc"], 0, Propose(Threshold(4)))
    say(ROOTS["sss"], 0, Approve(higher))
    yes = say(ROOTS["mia"], 3, Approve(higher))
    new = say(ROOTS["ncdc"], 0, Propose(Rekey("mia", NEW.public, 3, yes)))
    say(ROOTS["sss"], 1, Approve(new), (yes,))
    say(ROOTS["scc"], 1, Approve(new), (yes,))
    branch = [act for act in held if act.key == ROOTS["mia"].public]
    found = judge_held(charter, held, {ROOTS["mia"].public: 2}, lambda cutoff: branch if cutoff.id == yes else None)
    assert found.passed == (new,)
    assert found.threshold == 3


def test_what_counts_ends_where_the_author_signed_well() -> None:
    """The last entry held has a signature that fails: a fault, and it does not count, as nobody could pass it on."""
    ledger = settle(create(MemoryStorage(), CHARTER), [root_log("mia", CERTIFIED), ADMINS, MAIN], Random(1))
    whole = audit_storage(ledger.storage, ledger.charter)
    ids = [entry.id for entry in MAIN.entries]
    forged = spoil(MAIN, OFFICER, len(ids) - 1)
    out = BytesIO()
    writer = BundleWriter(out.write, ledger.network_id)
    for number, run in enumerate((root_log("mia", CERTIFIED).run, ADMINS.run, forged.run)):
        writer.add(Frame(number, encode_frame([run])))
    writer.close()
    report = audit_bundle(BytesIO(out.getvalue()), ledger.charter)
    assert [(fault.kind, fault.seq) for fault in report.faults] == [("signature", len(ids) - 1)]
    assert [(note.kind, note.seq) for note in report.notes] == [("disputed", len(ids) - 1)]
    shorter = settle(
        create(MemoryStorage(), CHARTER),
        [root_log("mia", CERTIFIED), ADMINS, chain(OFFICER, [], MAIN, len(ids) - 1)],
        Random(1),
    )
    assert report.root == shorter.root() != whole.root
