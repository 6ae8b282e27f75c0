"""What counts of a log: the same in any order of arrival, and what a few plain rules say (SPEC.md 4.4.3, 4.4.4)."""

from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.signing import SigningKey
from ledger.ingest import Outcome
from ledger.store import Ledger, create, load
from protocol.acts import Act, Approve, Certify, Cutoff, Propose, Rekey, Remove, Revoke, encode_act
from protocol.body import encode_record
from protocol.card import consent_bytes
from protocol.codec import encode, unpack_row
from protocol.entry import Entry, EntryId, Place, open_row
from protocol.frame import Run
from protocol.merkle import tree_root
from sim.disk import MemoryStorage
from sim.founding import AGENCIES, found, key_of, sign_run

NAME = "standing tests"
CHARTER = found(NAME)
ROOTS = {agency: key_of(NAME, agency) for agency in AGENCIES}
ADMIN, OFFICER, OTHER = (key_of(NAME, name) for name in ("admin", "officer", "other"))
EMPTY = create(MemoryStorage(), CHARTER)


@dataclass(frozen=True)
class Chain:
    """Entries of one key, one after another, each admissible up to where it is cut."""

    run: Run
    entries: tuple[Entry, ...]

    def part(self, first: int, end: int) -> Run:
        prev = self.entries[first - 1].id if first else None
        return Run(self.run.key, first, prev, self.run.rows[first:end])


def chain(signer: SigningKey, drafts: list[tuple[str, bytes]], before: "Chain | None" = None, at: int = 0) -> Chain:
    """`drafts` signed after the first `at` entries of `before`."""
    rows: list[bytes] = list(before.run.rows[:at]) if before else []
    place = before.entries[at - 1].after if before and at else Place(signer.public, 0, None)
    rows += sign_run(EMPTY.charter, signer, place, drafts, 1).rows
    return whole(signer, rows)


def whole(signer: SigningKey, rows: list[bytes]) -> Chain:
    entries, place = [], Place(signer.public, 0, None)
    for row in rows:
        entries.append(open_row(row, place))
        place = entries[-1].after
    return Chain(Run(signer.public, 0, None, tuple(rows)), tuple(entries))


def records(count: int, text: str) -> list[tuple[str, bytes]]:
    return [("record", encode_record("intel", {"n": n, "text": text})) for n in range(count)]


def acts(*bodies: Act) -> list[tuple[str, bytes]]:
    return [("act", encode_act(act)) for act in bodies]


def officer(key: SigningKey) -> Certify:
    return Certify(key.public, "officer", "o", "mia", "", ("officer",))


def spoil(chain_: Chain, signer: SigningKey, at: int) -> Chain:
    """The same with a signature that fails at `at`; what follows is signed anew, so it is authentic all the same."""
    rows = list(chain_.run.rows[:at])
    fields = unpack_row(chain_.run.rows[at])
    rows.append(encode([*fields[:5], bytes(64)]))
    place = whole(signer, rows).entries[-1].after
    rest = [(entry.kind, entry.body or b"") for entry in chain_.entries[at + 1 :]]
    return whole(signer, rows + list(sign_run(EMPTY.charter, signer, place, rest, 1).rows))


CERTIFIED = Certify(ADMIN.public, "admin", "a", "mia", "", ("admin",))
MAIN = chain(OFFICER, records(12, "main"))
BRANCHES = {
    "signed": chain(OFFICER, records(8, "branch"), MAIN, 5),
    "spoilt": spoil(chain(OFFICER, records(8, "spoilt"), MAIN, 7), OFFICER, 7),
}
ADMINS = chain(ADMIN, acts(officer(OFFICER), officer(OTHER)))
OTHERS = chain(OTHER, records(4, "other"))


def admit(ledger: Ledger, run: Run) -> Outcome:
    result = ledger.commit([(run,)])
    ledger.apply(result)
    assert result.outcomes[0].refused is None, result.outcomes[0].refused
    return result.outcomes[0]


def settle(ledger: Ledger, chains: list[Chain], rng: Random) -> Ledger:
    """Offer all chains, cut and shuffled, again and again until nothing has changed three times."""
    same = 0
    while same < 3:
        before = (ledger.root(), ledger.heads.fingerprint())
        parts: list[Run] = []
        for item in chains:
            cuts = sorted({0, len(item.entries), *rng.sample(range(len(item.entries) + 1), min(2, len(item.entries)))})
            ends = [end for end in cuts if end == 0 or item.entries[end - 1].signature != bytes(64)]
            parts += [item.part(first, end) for first, end in pairwise(ends)]
        rng.shuffle(parts)
        for run in parts:
            admit(ledger, run)
        same = same + 1 if (ledger.root(), ledger.heads.fingerprint()) == before else 0
    return ledger


def counted(ledger: Ledger, key: SigningKey) -> list[EntryId]:
    log = ledger.log(key.public)
    entries = ledger.log_entries(key.public)[: log.size] if log is not None else []
    return [item.entry.id for item in entries]


def holds_together(ledger: Ledger) -> None:
    """Heads, root and what a restart finds follow from the entries that count."""
    leaves = []
    for head in ledger.heads:
        ids = [item.entry.id for item in ledger.log_entries(head.key)[: head.size]]
        assert (len(ids), ids[-1] if ids else None) == (head.size, head.id)
        log = ledger.log(head.key)
        assert log is not None
        assert log.size == head.size or (log.size < head.size and ledger.authority.speaks(head.key))
        ids = ids[: log.size]
        if ids:
            leaves.append(sha256(b"\x00" + head.key + len(ids).to_bytes(8, "big") + tree_root(ids)).digest())
    assert ledger.root() == tree_root(leaves)
    again = load(ledger.storage)
    assert (again.root(), again.authority, again.entries) == (ledger.root(), ledger.authority, ledger.entries)
    assert again.heads.fingerprint() == ledger.heads.fingerprint()


CUTOFFS = [None, *MAIN.entries, *BRANCHES["signed"].entries[5:], *BRANCHES["spoilt"].entries[7:]]


def expected(branches: list[str], cutoff: Entry | None) -> int:
    """How much of the officer's log counts once all has been offered."""
    fork = min((5 if name == "signed" else 7 for name in branches), default=None)
    if cutoff is None:
        return 0
    known = [MAIN, *(BRANCHES[name] for name in branches)]
    if fork is None or cutoff.seq < fork:
        size = min(cutoff.seq + 1, 12)
    else:
        size = cutoff.seq + 1 if any(cutoff in item.entries for item in known) else fork
    spoilt = BRANCHES["spoilt"].entries
    return size - 1 if cutoff == spoilt[7] and "spoilt" in branches and size == 8 else size


@settings(max_examples=150, deadline=None)
@given(branches=st.sets(st.sampled_from(sorted(BRANCHES))), cutoff=st.sampled_from(CUTOFFS), seed=st.integers(0, 10**9))
def test_revoked_log_counts_up_to_its_cutoff_in_any_order(branches: set[str], cutoff: Entry | None, seed: int) -> None:
    revoke = Revoke(OFFICER.public, cutoff.seq if cutoff else 0, cutoff.id if cutoff else None, "stolen")
    mia = chain(ROOTS["mia"], acts(CERTIFIED, revoke))
    chains = [mia, ADMINS, MAIN, OTHERS, *(BRANCHES[name] for name in sorted(branches))]
    one, two = (settle(create(MemoryStorage(), CHARTER), chains, Random(f"{seed} {n}")) for n in range(2))
    for ledger, other in ((one, two), (two, one)):
        for _, _, proof in other.forks():  # sync sends it to whoever does not show the fork
            ledger.apply(ledger.commit([proof]))
        settle(ledger, chains, Random(seed))
    assert one.root() == two.root()
    assert one.heads.fingerprint() == two.heads.fingerprint()
    assert len(counted(one, OFFICER)) == expected(sorted(branches), cutoff)
    assert len(counted(one, OTHER)) == 4
    holder = next((item for item in chains if cutoff in item.entries), None)
    if holder is not None and cutoff is not None and expected(sorted(branches), cutoff) == cutoff.seq + 1:
        assert counted(one, OFFICER) == [entry.id for entry in holder.entries[: cutoff.seq + 1]]
    for ledger in (one, two):
        holds_together(ledger)
        for item in ledger.log_entries(OFFICER.public):
            counts = item.entry.id in counted(ledger, OFFICER)
            assert (ledger.status(item.entry) == "ok") == counts


@settings(max_examples=60, deadline=None)
@given(first=st.integers(-1, 2), second=st.integers(-1, 2), seed=st.integers(0, 10**9))
def test_what_a_revoked_admin_certified_falls_with_its_act(first: int, second: int, seed: int) -> None:
    """Two revocations: the lower cutoff holds. An admin's act that is void gives nobody standing."""
    entries = ADMINS.entries
    cuts = [Revoke(ADMIN.public, *((at, entries[at].id) if at >= 0 else (0, None)), "r") for at in (first, second)
            if at < len(entries)]  # fmt: skip
    chains = [chain(ROOTS["mia"], acts(CERTIFIED, *cuts)), ADMINS, MAIN, OTHERS]
    ledger = settle(create(MemoryStorage(), CHARTER), chains, Random(seed))
    left = min((at for at in (first, second) if at < len(entries)), default=1)
    assert (len(counted(ledger, OFFICER)), len(counted(ledger, OTHER))) == (12 * (left >= 0), 4 * (left >= 1))
    assert ledger.authority.may_write(ADMIN.public) == (not cuts)
    holds_together(ledger)


def entry_status(ledger: Ledger, known: EntryId) -> str:
    entry = ledger.entry(known)
    assert entry is not None
    return ledger.status(entry)


def test_branch_that_made_way_is_kept_and_comes_back_when_a_lower_cutoff_endorses_it() -> None:
    branch = BRANCHES["signed"]
    above = Revoke(OFFICER.public, 11, MAIN.entries[11].id, "first")
    below = Revoke(OFFICER.public, 8, branch.entries[8].id, "second")
    mia = chain(ROOTS["mia"], acts(CERTIFIED, above, below))
    ledger = create(MemoryStorage(), CHARTER)
    for run in (mia.part(0, 1), ADMINS.run, branch.run, MAIN.run, mia.part(1, 2), MAIN.run, MAIN.part(5, 12)):
        admit(ledger, run)
    assert counted(ledger, OFFICER) == [entry.id for entry in MAIN.entries]
    assert {entry_status(ledger, entry.id) for entry in branch.entries[5:]} == {"void"}
    admit(ledger, mia.part(2, 3))  # nobody sends the branch again: it is taken from what was kept
    assert counted(ledger, OFFICER) == [entry.id for entry in branch.entries[:9]]
    assert {entry_status(ledger, entry.id) for entry in MAIN.entries[5:]} == {"void"}
    holds_together(ledger)
    arrived, _ = ledger.arrived(0)
    assert len({item.arrival for item in arrived}) == len(arrived)


def voted(agency: str, change: Propose, *more: Act) -> Chain:
    return chain(ROOTS[agency], acts(change, *more))


def test_council_gives_a_new_root_key_and_what_the_old_one_signs_later_is_void() -> None:
    new = key_of(NAME, "mia", "new root")
    old = chain(ROOTS["mia"], acts(CERTIFIED))
    thief = chain(ROOTS["mia"], acts(CERTIFIED, officer(OTHER), Revoke(ADMIN.public, 0, None, "spite")))
    proposal = voted("scc", Propose(Rekey("mia", new.public, 0, old.entries[0].id)))
    yes = [chain(ROOTS[agency], acts(Approve(proposal.entries[0].id))) for agency in ("sss", "ncdc")]
    renewed = chain(new, acts(officer(OTHER)))
    chains = [thief, ADMINS, MAIN, OTHERS, proposal, *yes, renewed]
    ledgers = [settle(create(MemoryStorage(), CHARTER), chains, Random(seed)) for seed in range(12)]
    assert len({ledger.root() for ledger in ledgers}) == 1
    assert len({ledger.heads.fingerprint() for ledger in ledgers}) == 1
    for ledger in ledgers:
        assert (len(counted(ledger, ROOTS["mia"])), len(counted(ledger, new))) == (1, 1)
        assert ledger.heads.get(ROOTS["mia"].public).size == 3  # what is void of a root key's log is told to all
        assert ledger.authority.may_write(ADMIN.public)
        standing = ledger.authority.of(OTHER.public)
        assert standing is not None
        assert standing.certifier == new.public  # the renewed key's word counts, the thief's does not
        holds_together(ledger)


def test_two_branches_of_what_an_old_root_key_signed_later_are_found_to_part_from_either_side() -> None:
    """Each node is offered only what lies beyond its own: it must learn that this joins another entry."""
    new = key_of(NAME, "mia", "new root")
    old = chain(ROOTS["mia"], acts(CERTIFIED))
    short = chain(ROOTS["mia"], acts(officer(OTHER), officer(OFFICER)), old, 1)
    long = chain(ROOTS["mia"], acts(*[Revoke(ADMIN.public, 0, None, "spite")] * 5), old, 1)
    proposal = voted("scc", Propose(Rekey("mia", new.public, 0, old.entries[0].id)))
    yes = [chain(ROOTS[agency], acts(Approve(proposal.entries[0].id))) for agency in ("sss", "ncdc")]
    for mine, other, at in ((short, long, 3), (long, short, 2)):
        ledger = settle(create(MemoryStorage(), CHARTER), [mine, proposal, *yes], Random(1))
        rest = other.part(at, len(other.entries))
        assert [parted.seq for parted in admit(ledger, rest).diverged] == [at]
        assert admit(ledger, other.part(1, len(other.entries))).forks == [(old.run.key, 1)]
        assert not admit(ledger, rest).diverged  # that the log forks is known
        holds_together(ledger)


def test_removed_agency_keeps_what_the_change_names_and_nothing_else() -> None:
    root = chain(ROOTS["mia"], acts(CERTIFIED, officer(OTHER)))
    kept = (
        Cutoff(ROOTS["mia"].public, 1, root.entries[1].id),
        Cutoff(ADMIN.public, 0, ADMINS.entries[0].id),
        Cutoff(OFFICER.public, 4, MAIN.entries[4].id),
    )
    change = Propose(Remove("mia", tuple(sorted(kept, key=lambda cutoff: cutoff.key))))
    proposal = voted("scc", change)
    yes = [chain(ROOTS[agency], acts(Approve(proposal.entries[0].id))) for agency in ("sss", "ncdc")]
    chains = [root, ADMINS, MAIN, OTHERS, proposal, *yes]
    ledgers = [settle(create(MemoryStorage(), CHARTER), chains, Random(seed)) for seed in range(12)]
    assert len({ledger.root() for ledger in ledgers}) == 1
    for ledger in ledgers:
        sizes = [len(counted(ledger, key)) for key in (ROOTS["mia"], ADMIN, OFFICER, OTHER)]
        assert sizes == [2, 1, 5, 0]
        assert "mia" not in ledger.authority.council.members
        holds_together(ledger)


@pytest.mark.parametrize("seed", range(4))
def test_no_agency_makes_another_s_officer_its_own(seed: int) -> None:
    """scc certifies and revokes mia's officer; by the order of keys alone one of the two agencies would have won."""
    scc = [Certify(OFFICER.public, "node", "mine", "scc", "", ()), Revoke(OFFICER.public, 0, None, "gone")]
    consent = OFFICER.sign(consent_bytes("mia"))
    own = Certify(OFFICER.public, "officer", "o", "mia", "", ("officer",), consent)
    stolen = Certify(OFFICER.public, "officer", "mine", "scc", "", (), consent)  # it is not for scc
    chains = [chain(ROOTS["mia"], acts(CERTIFIED)), chain(ADMIN, acts(own)), chain(ROOTS["scc"], acts(*scc, stolen))]
    ledger = settle(create(MemoryStorage(), CHARTER), [*chains, MAIN], Random(seed))
    standing = ledger.authority.of(OFFICER.public)
    assert standing is not None
    assert (standing.agency, standing.ended, len(counted(ledger, OFFICER))) == ("mia", None, 12)


@pytest.mark.parametrize("size", [127, 128, 129, 300])
def test_author_who_signs_an_anchor_badly_is_refused(size: int) -> None:
    long = chain(OTHER, records(size, "long"))
    ledger = create(MemoryStorage(), CHARTER)
    for run in (chain(ROOTS["mia"], acts(officer(OTHER))).run,):
        admit(ledger, run)
    for at in (10, 127):
        if at < size - 1:
            result = ledger.commit([(spoil(long, OTHER, at).run,)])
            assert (result.outcomes[0].refused is None) == (at != 127)
            if at == 127:
                assert "entry 127" in str(result.outcomes[0].refused)
