"""Admission: the same entries in any order, cut anywhere, repeated, give the same ledger; damage changes nothing."""

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keys.errors import AdmissionError, FormatError, StorageError
from ledger.ingest import Outcome
from ledger.store import Ledger, create, load
from protocol.acts import Certify, encode_act
from protocol.body import encode_record
from protocol.codec import encode, unpack_row
from protocol.entry import Entry, EntryId, Place, open_row
from protocol.frame import Run, encode_frame
from protocol.merkle import tree_root
from protocol.message import Fork
from sim.disk import MemoryStorage
from sim.founding import found, key_of, sign_run
from tests.ledgers import ids_of

NAME = "ingest tests"
CHARTER = found(NAME)
ROOT = key_of(NAME, "mia")
OFFICERS = [key_of(NAME, "officer", number) for number in range(4)]
STRANGER = key_of(NAME, "stranger")
EMPTY = create(MemoryStorage(), CHARTER)


def certificates() -> Run:
    drafts = [("act", encode_act(Certify(key.public, "officer", "o", "mia", "", ("officer",)))) for key in OFFICERS]
    return sign_run(EMPTY.charter, ROOT, Place(ROOT.public, 0, None), drafts, 1)


def log_of(officer: int, count: int) -> Run:
    key = OFFICERS[officer]
    drafts = [("record", encode_record("intel", {"n": number, "by": officer})) for number in range(count)]
    return sign_run(EMPTY.charter, key, Place(key.public, 0, None), drafts, 1)


WHOLE = [certificates()] + [log_of(officer, 12) for officer in range(4)]


def part(run: Run, first: int, end: int) -> Run:
    """Rows first to below end of a run that starts at 0."""
    place = run.place
    for row in run.rows[:first]:
        place = open_row(row, place).after
    return Run(run.key, place.seq, place.prev, run.rows[first:end])


def by_id(entry: Entry) -> EntryId:
    return entry.id


def admit(ledger: Ledger, item: object) -> Outcome:
    result = ledger.commit([item])  # type: ignore[list-item]
    ledger.apply(result)
    return result.outcomes[0]


def reference() -> Ledger:
    ledger = create(MemoryStorage(), CHARTER)
    for run in WHOLE:
        assert admit(ledger, (run,)).refused is None
    return ledger


REFERENCE = reference()


@given(st.randoms(use_true_random=False))
def test_any_order_any_cut_any_repetition_gives_the_same_ledger(rng: Random) -> None:
    parts = []
    for run in WHOLE:
        at = 0
        while at < len(run.rows):
            end = min(len(run.rows), at + rng.randint(1, 8))
            parts.append(part(run, max(0, at - rng.randint(0, 3)), end))
            at = end
    parts += rng.choices(parts, k=5)
    rng.shuffle(parts)
    ledger = create(MemoryStorage(), CHARTER)
    while parts:
        left = []
        while parts:
            together = [parts.pop() for _ in range(min(len(parts), rng.randint(1, 4)))]
            outcome = admit(ledger, encode_frame(together, compress=rng.random() < 0.5))
            assert outcome.refused is None
            aside = {(item.key, item.seq) for item in outcome.set_aside}
            left += [run for run in together if (run.key, run.seq) in aside]
        parts = left
    assert ledger.root() == REFERENCE.root()
    assert ledger.authority == REFERENCE.authority
    assert ledger.heads.fingerprint() == REFERENCE.heads.fingerprint()
    assert load(ledger.storage).root() == REFERENCE.root()


def test_no_changed_byte_in_a_frame_is_admitted() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    admit(ledger, (WHOLE[0],))
    root, arrival = ledger.root(), ledger.arrival()
    good = encode_frame([part(WHOLE[1], 0, 2)], compress=False)
    for position in range(len(good)):
        for bit in range(8):
            damaged = bytearray(good)
            damaged[position] ^= 1 << bit
            outcome = admit(ledger, bytes(damaged))
            assert outcome.refused is not None or outcome.set_aside, position
            assert outcome.new == []
    assert (ledger.root(), ledger.arrival()) == (root, arrival)
    assert admit(ledger, good).new


def test_refusal_names_the_entry_that_was_altered() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    admit(ledger, (WHOLE[0],))
    run = WHOLE[1]
    row = run.rows[5]
    altered = Run(run.key, 0, None, (*run.rows[:5], row.replace(b"intel", b"inteL"), *run.rows[6:]))
    outcome = admit(ledger, (altered,))
    assert isinstance(outcome.refused, AdmissionError)
    assert "entry 5 of log" in str(outcome.refused)
    assert outcome.refused.reason == "signature"


def test_frame_is_admitted_whole_or_not_at_all() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    admit(ledger, (WHOLE[0],))
    bad = Run(WHOLE[2].key, 0, None, (WHOLE[2].rows[0][:-1] + bytes([WHOLE[2].rows[0][-1] ^ 1]),))
    outcome = admit(ledger, (WHOLE[1], bad))
    assert outcome.refused is not None
    assert outcome.new == []
    assert ledger.heads.get(WHOLE[1].key).size == 0


def test_certificates_earlier_in_a_frame_count_for_runs_later_in_it() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    assert len(admit(ledger, tuple(WHOLE)).new) == 5
    ledger = create(MemoryStorage(), CHARTER)
    outcome = admit(ledger, tuple(reversed(WHOLE)))
    assert [item.reason for item in outcome.set_aside] == ["uncertified"] * 4


def test_certificates_that_a_fork_puts_off_do_not_count_for_the_rest_of_the_frame() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    first, later = part(WHOLE[0], 0, 2), part(WHOLE[0], 2, 4)
    admit(ledger, (first,))
    admit(ledger, (WHOLE[1],))
    place = part(WHOLE[1], 5, 6).place
    rival = sign_run(EMPTY.charter, OFFICERS[0], place, [("record", encode_record("intel", {"rival": True}))], 1)
    outcome = admit(ledger, (later, rival, WHOLE[3]))
    assert outcome.forks == [(OFFICERS[0].public, 5)]
    assert {item.key for item in outcome.set_aside} == {ROOT.public, OFFICERS[2].public}
    assert ledger.authority.of(OFFICERS[2].public) is None
    assert ledger.heads.get(OFFICERS[2].public).size == 0
    assert len(admit(ledger, (later, WHOLE[3])).new) == 2  # and is good when it comes again


def test_stranger_is_set_aside() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    run = sign_run(
        EMPTY.charter, STRANGER, Place(STRANGER.public, 0, None), [("record", encode_record("intel", {}))], 1
    )
    assert [item.reason for item in admit(ledger, (run,)).set_aside] == ["uncertified"]


def test_entry_dated_before_its_predecessor_is_refused() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    admit(ledger, (WHOLE[0],))
    key = OFFICERS[0]
    first = sign_run(EMPTY.charter, key, Place(key.public, 0, None), [("record", encode_record("intel", {}))], 50)
    after = open_row(first.rows[0], first.place).after
    early = sign_run(EMPTY.charter, key, after, [("record", encode_record("intel", {}))], 49)
    admit(ledger, (first,))
    outcome = admit(ledger, (early,))
    assert isinstance(outcome.refused, AdmissionError)
    assert outcome.refused.reason == "time"


def test_signature_in_mid_run_need_not_hold_when_a_later_one_does() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    admit(ledger, (WHOLE[0],))
    key = OFFICERS[0]
    one = log_of(0, 1)
    spoilt = one.rows[0][:-1] + bytes([one.rows[0][-1] ^ 1])  # the chain commits to this signature as it is
    after = open_row(spoilt, one.place).after
    second = sign_run(EMPTY.charter, key, after, [("record", encode_record("intel", {}))], 2)
    assert admit(ledger, (Run(key.public, 0, None, (spoilt,)),)).refused is not None
    assert admit(ledger, (Run(key.public, 0, None, (spoilt, second.rows[0])),)).refused is None
    run = ledger.run(key.public, 0, 1)
    assert run is None  # it is never sent without the entry that proves it
    whole = ledger.run(key.public, 0, 2)
    assert whole is not None
    assert len(whole.rows) == 2


def test_public_row_without_its_body_is_refused() -> None:
    ledger = create(MemoryStorage(), CHARTER)
    admit(ledger, (WHOLE[0],))
    run = log_of(0, 1)
    kind, time_ms, refs, space, body, signature = unpack_row(run.rows[0])
    assert isinstance(body, bytes)
    bare = encode([kind, time_ms, refs, space, [len(body), sha256(body).digest()], signature])
    outcome = admit(ledger, (Run(run.key, 0, None, (bare,)),))
    assert isinstance(outcome.refused, AdmissionError)
    assert outcome.refused.reason == "body"


def test_full_disk_refuses_the_commit_and_changes_nothing() -> None:
    storage = MemoryStorage()
    ledger = create(storage, CHARTER)
    admit(ledger, (WHOLE[0],))
    root = ledger.root()
    storage.full_after(storage.size_bytes() + 100)
    with pytest.raises(StorageError):
        ledger.commit([(WHOLE[1],)])
    assert load(storage).root() == root
    storage.full_after(None)
    assert admit(ledger, (WHOLE[1],)).new


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_with_a_reason(raw: bytes) -> None:
    ledger = create(MemoryStorage(), CHARTER)
    assert isinstance(admit(ledger, raw).refused, FormatError)


class LedgerMachine(RuleBasedStateMachine):
    """Random admissions, damage, reloads, forks, against plain lists."""

    @initialize()
    def found(self) -> None:
        self.storage = MemoryStorage()
        self.ledger = create(self.storage, CHARTER)
        admit(self.ledger, (WHOLE[0],))
        self.sizes = dict.fromkeys(range(4), 0)
        self.forks: dict[int, int] = {}

    @rule(officer=st.integers(0, 3), first=st.integers(0, 11), count=st.integers(1, 6))
    def admit_part(self, officer: int, first: int, count: int) -> None:
        run = part(WHOLE[officer + 1], first, min(12, first + count))
        outcome = admit(self.ledger, encode_frame([run]))
        assert outcome.refused is None
        limit = self.forks.get(officer, 12)
        if first <= self.sizes[officer]:
            self.sizes[officer] = max(self.sizes[officer], min(run.end, limit))

    @rule(officer=st.integers(0, 3), position=st.integers(0, 10_000), bit=st.integers(0, 7))
    def damage(self, officer: int, position: int, bit: int) -> None:
        raw = bytearray(encode_frame([part(WHOLE[officer + 1], 0, 12)], compress=False))
        raw[position % len(raw)] ^= 1 << bit
        outcome = admit(self.ledger, bytes(raw))
        assert outcome.new == []
        assert outcome.forks == []

    @rule(officer=st.integers(0, 3), at=st.integers(0, 11))
    def equivocate(self, officer: int, at: int) -> None:
        key = OFFICERS[officer]
        place = part(WHOLE[officer + 1], at, at + 1).place
        rival = sign_run(EMPTY.charter, key, place, [("record", encode_record("intel", {"rival": at}))], 1)
        if self.sizes[officer] <= at:
            return  # it would simply be admitted, and the model's log would be another
        outcome = admit(self.ledger, (rival,))
        assert outcome.refused is None
        if at < self.forks.get(officer, 12):
            assert outcome.forks == [(key.public, at)]
            self.forks[officer] = at
            self.sizes[officer] = min(self.sizes[officer], at)

    @rule(officer=st.integers(0, 3), at=st.integers(0, 11))
    def prove(self, officer: int, at: int) -> None:
        """The proof alone, before or after the entries."""
        place = part(WHOLE[officer + 1], at, at + 1).place
        drafts = [("record", encode_record("intel", {"rival": at}))]
        rival = sign_run(EMPTY.charter, OFFICERS[officer], place, drafts, 1)
        pair = sorted((open_row(row, place) for row in (WHOLE[officer + 1].rows[at], rival.rows[0])), key=by_id)
        outcome = admit(self.ledger, Fork(*((entry.header, entry.signature) for entry in pair)))
        assert outcome.refused is None
        self.forks[officer] = min(at, self.forks.get(officer, 12))
        self.sizes[officer] = min(self.sizes[officer], self.forks[officer])

    @rule()
    def lose_power_in_a_commit(self) -> None:
        with pytest.raises(StorageError):
            self.write_until_the_power_goes()
        self.ledger = load(self.storage.reopen())

    def write_until_the_power_goes(self) -> None:
        with self.storage.write() as txn:
            txn.put("meta", b"arrival", b"x" * 8)
            self.storage.crash()

    @rule()
    def reload(self) -> None:
        self.ledger = load(self.storage)

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "sizes"):
            return
        for officer, size in self.sizes.items():
            run = WHOLE[officer + 1]
            head = self.ledger.heads.get(run.key)
            assert (head.size, head.forked) == (size, officer in self.forks)
            log = self.ledger.log(run.key)
            if log is not None and log.size:
                ids = ids_of(run)[:size]
                assert log.id == ids[-1]
                assert tree_root(ids) == tree_root(
                    [entry.entry.id for entry in self.ledger.log_entries(run.key)[:size]]
                )


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
