"""What nodes attest is held against what is there; sources against each other; what was audited before is not again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from io import BytesIO

import pytest

from keys.errors import FormatError, NetworkMismatchError, UsageError
from ledger import audit_checkpoint
from ledger.audit import audit_bundle, audit_source, audit_storage
from ledger.audit_compare import Compared, Comparison, compare
from ledger.audit_finding import Report
from ledger.audit_journal import Journal, read_journal
from ledger.audit_source import BundleSource, StoreSource
from ledger.audit_state import Options
from ledger.audit_stretch import Checker, Result, Task, one_by_one
from protocol.acts import Revoke, encode_act
from protocol.body import Alarm, encode_alarm
from protocol.checkpoint import Attested, Checkpoint, note_text, parse_checkpoint, read_note, render_note
from protocol.codec import encode
from protocol.entry import NetworkId, open_row
from protocol.frame import Run
from tests.audit_world import (
    CHARTER,
    ENTRIES,
    NETWORK,
    Log,
    World,
    admitted,
    bundle,
    checkpoint,
    erase,
    expected_root,
    fork_at,
    key,
    record,
    sound_world,
    store,
)


def witnessed() -> World:
    """Two nodes of two agencies, which attest the ledger in turn while it grows."""
    world = sound_world()
    world.log("mia").certify("post", "node", "mia")
    for name in ("node", "post", "node", "post", "node"):
        checkpoint(world, name)
        world.log("aziza").write(record(len(world.log("aziza").rows)))
    return world


def both(world: World) -> list[Report]:
    """The world audited as a bundle and as a store."""
    return [audit_bundle(BytesIO(bundle(world)), CHARTER), audit_storage(store(world), CHARTER)]


def test_checkpoints_of_several_nodes_agree() -> None:
    world = witnessed()
    for report in both(world):
        assert report.faults == report.notes == ()
        assert report.checkpoints == 5
        assert report.root == expected_root(world)


def test_checkpoint_of_several_entries_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.checkpoint.CHECKPOINT_HEADS_MAX", 2)
    world = sound_world()
    checkpoint(world, "node")
    checkpoint(world, "node")
    assert len(world.log("node").rows) == 1 + 3 + 1
    for report in both(world):
        assert (report.faults, report.notes, report.checkpoints) == ((), (), 2)


def test_nodes_that_do_not_fit_in_one_round_are_judged_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_checkpoint, "BODIES_BYTES_MAX", 100)
    world = witnessed()
    checkpoint(world, "post", root=bytes(32))
    for report in both(world):
        assert report.checkpoints == 5
        assert [(fault.kind, fault.seq) for fault in report.faults] == [("differs", 2)]


@pytest.mark.parametrize(("ahead_ms", "told"), [(audit_checkpoint.CLOCK_MS, 0), (audit_checkpoint.CLOCK_MS + 9, 1)])
def test_entry_dated_long_after_who_attests_it_is_noted(ahead_ms: int, told: int) -> None:
    world = sound_world()
    aziza = world.log("aziza")
    when = 1000 + len(world.log("node").rows)  # of the checkpoint
    aziza.write(record(1), time_ms=when + ahead_ms)
    checkpoint(world, "node")
    for report in both(world):
        assert report.faults == ()
        assert [(note.kind, note.key, note.seq) for note in report.notes] == [
            ("clock", aziza.key, len(aziza.rows) - 1)
        ] * told


# -- both branches of a fork ---------------------------------------------------------------------------


def settled() -> tuple[World, Log]:
    """aziza wrote two versions of her log from seq 6 on; mia endorses one, up to seq 7. The other, all of it.

    Before that the first node attested the other branch, and then this one.
    """
    world = sound_world()
    checkpoint(world, "node")
    other = world.log("aziza")
    branch = world.logs["aziza"] = Log("aziza", other.rows[:6])
    for number in range(3):
        branch.write(record(100 + number))
    world.log("mia").write(encode_act(Revoke(key("aziza").public, 7, branch.ids()[7], "copied")), kind="act")
    checkpoint(world, "node", root=expected_root(world, {"aziza": 8}), heads=[*_cut(world, "aziza", 8)])
    return world, other


def _sources(world: World, other: Log) -> dict[str, bytes]:
    mine = world.log("aziza")
    whole, ids = [run for run in world.runs() if run.key != mine.key], other.ids()
    first, second = (Run(log.key, 0, None, tuple(log.rows)) for log in (mine, other))
    late = Run(mine.key, 6, ids[5], tuple(mine.rows[6:8])), Run(mine.key, 8, mine.ids()[7], tuple(mine.rows[8:]))
    return {
        "endorsed first": bundle(world, [first, second, *whole]),
        "endorsed second": bundle(world, [second, *whole, first]),
        "from the fork on": bundle(world, [second, *whole, *late]),
        "twice": bundle(world, [second, first, *whole, second, first]),
        "between": bundle(world, [Run(other.key, 0, None, tuple(other.rows[:8])), late[0],
                                  Run(other.key, 8, ids[7], tuple(other.rows[8:])), *whole, late[1]]),
    }  # fmt: skip


@pytest.mark.parametrize("order", ["endorsed first", "endorsed second", "from the fork on", "twice", "between"])
def test_endorsed_branch_counts_and_is_attested_wherever_it_comes(order: str) -> None:
    world, other = settled()
    source = BundleSource(BytesIO(_sources(world, other)[order]), CHARTER)
    audited = audit_source(source, CHARTER, Options())
    report = audited.report
    assert report.faults == ()
    assert report.checkpoints == 2
    assert report.root == expected_root(world, {"aziza": 8})
    assert report.entries == sum(len(log.rows) for log in world.logs.values()) + len(other.rows) - 6
    assert {note.kind for note in report.notes} == {"fork", "void"}
    place = other.key, 7
    assert source.ids_at({place}) == {place: world.log("aziza").ids()[7]}


def test_entry_of_another_branch_that_nothing_proves_is_a_fault() -> None:
    world, other = settled()
    forged = other.row(record(7), at=9, network=bytes(32))
    runs = [*world.runs(), Run(other.key, 6, other.ids()[5], (*other.rows[6:9], forged))]
    report = audit_bundle(BytesIO(bundle(world, runs)), CHARTER)
    assert [(fault.kind, fault.seq) for fault in report.faults] == [("signature", 9)]


def test_store_that_keeps_the_endorsed_branch_beside_the_log_is_wrong() -> None:
    world, other = settled()
    branch = world.logs["aziza"]
    storage = store(replace(world, logs=world.logs | {"aziza": other}))
    with storage.read() as view:
        place = next(at for at, owner in view.scan("numbers") if owner == other.key)
    with storage.write() as txn:
        for seq, row in enumerate(branch.rows[6:8], 6):
            known = branch.ids()[seq]
            txn.put("branches", known, encode([place + seq.to_bytes(8, "big"), branch.ids()[seq - 1], row]))
            txn.put("ids", known, place + seq.to_bytes(8, "big"))
    report = audit_storage(storage, CHARTER)
    assert report.root == expected_root(world, {"aziza": 8})
    assert {(fault.kind, fault.key) for fault in report.faults} == {("index", other.key)}
    assert any("size is stored as" in fault.found for fault in report.faults)


def test_body_in_another_form_is_a_note() -> None:
    world = sound_world()
    for kind in ("act", "address", "alarm", "consultation"):
        world.log("node").write(encode({"x": 1}), kind=kind)
    for report in both(world):
        assert report.faults == ()
        assert [(note.kind, note.seq) for note in report.notes] == [("malformed", seq) for seq in (1, 2, 3, 4)]


# -- what is wrong with a checkpoint, or shows by one -------------------------------------------------


def another_state(world: World) -> None:
    checkpoint(world, "node", root=expected_root(world, {"aziza": 3}))


def wrong_note(world: World) -> None:
    checkpoint(world, "node", change=lambda body: replace(body, note=key("bobur").sign(b"")))


def does_not_add_up(world: World) -> None:
    def more(body: Checkpoint) -> Checkpoint:
        text = note_text(NETWORK, body.logs, body.entries + 1, body.root)
        return replace(body, entries=body.entries + 1, note=key("node").sign(text))

    checkpoint(world, "node", change=more)


def not_in_its_form(world: World) -> None:
    world.log("node").write(encode({"root": bytes(32)}), kind="checkpoint")


def first_is_not_full(world: World) -> None:
    checkpoint(world, "node", change=lambda body: replace(body, full=False))


def left_incomplete(world: World) -> None:
    checkpoint(world, "node", change=lambda body: replace(body, rest=1))
    checkpoint(world, "node", change=lambda body: replace(body, full=True, heads=_state(world), logs=6))


def _state(world: World) -> tuple[Attested, ...]:
    return tuple(sorted(Attested(log.key, len(ids), ids[-1]) for log in world.logs.values() for ids in [log.ids()]))


def tail_removed(world: World) -> None:
    checkpoint(world, "node")
    del world.log("aziza").rows[7:]


def log_removed(world: World) -> None:
    checkpoint(world, "node")
    del world.logs["bobur"]


def revocation_removed(world: World) -> None:
    world.log("mia").write(encode_act(Revoke(key("aziza").public, 4, world.log("aziza").ids()[4], "")), kind="act")
    checkpoint(world, "node", root=expected_root(world, {"aziza": 5}), heads=[*_cut(world, "aziza", 5)])
    del world.log("mia").rows[2:]


def _cut(world: World, name: str, size: int) -> Iterator[Attested]:
    for head in _state(world):
        yield Attested(head.key, size, world.log(name).ids()[size - 1]) if head.key == key(name).public else head


def another_branch(world: World) -> None:
    branch = Log("aziza", world.log("aziza").rows[:9])
    branch.write(record(999))
    heads = [Attested(head.key, 10, branch.ids()[9]) if head.key == branch.key else head for head in _state(world)]
    checkpoint(world, "node", heads=heads)


def false_alarm(world: World) -> None:
    checkpoint(world, "node")
    world.log("node").write(encode_alarm(Alarm(world.log("node").ids()[-1], bytes(32))), kind="alarm")


def alarm_with_another_root(world: World) -> None:
    checkpoint(world, "node", root=bytes(32))
    world.log("node").write(encode_alarm(Alarm(world.log("node").ids()[-1], b"r" * 32)), kind="alarm")


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (another_state, [("differs", "node", 1)]),
        (wrong_note, [("checkpoint-note", "node", 1)]),
        (does_not_add_up, [("checkpoint", "node", 1)]),
        (not_in_its_form, [("checkpoint", "node", 1)]),
        (first_is_not_full, [("checkpoint", "node", 1)]),
        (left_incomplete, [("checkpoint", "node", 2)]),
        (tail_removed, [("held-back", "aziza", 7)]),
        (log_removed, [("held-back", "bobur", 0)]),
        (revocation_removed, [("held-back", "mia", 2)]),
        (another_branch, [("parts", "aziza", 9)]),
        (false_alarm, [("alarm", "node", 2)]),
        (alarm_with_another_root, [("differs", "node", 1), ("alarm", "node", 2)]),
    ],
)
def test_what_a_checkpoint_gives_away_is_named(
    tamper: Callable[[World], None], expected: list[tuple[str, str, int]]
) -> None:
    world = sound_world()
    tamper(world)
    for report in both(world):
        found = [(fault.kind, fault.key, fault.seq) for fault in report.faults]
        assert found == [(kind, key(name).public, seq) for kind, name, seq in expected]
        assert all(fault.found and fault.expected and fault.means for fault in report.faults)


def test_finding_names_the_owner_and_who_attests() -> None:
    world = sound_world()
    tail_removed(world)
    for report in both(world):
        (fault,) = report.faults
        assert (fault.owner, fault.agency) == ("aziza", "mia")
        assert "3 entries from seq 7 on" in fault.found
        assert key("node").public.hex()[:12] in fault.found


def test_attested_entries_that_are_here_in_pieces_are_one_fault() -> None:
    world = sound_world()
    checkpoint(world, "node")
    runs = [run for run in world.runs() if (run.key, run.seq) != (key("aziza").public, 4)]
    report = audit_bundle(BytesIO(bundle(world, runs)), CHARTER)
    assert [(fault.kind, fault.seq) for fault in report.faults] == [("gap", 4)]


def test_right_alarm_is_a_note() -> None:
    world = sound_world()
    root = expected_root(world)
    checkpoint(world, "node", root=bytes(32))
    world.log("node").write(encode_alarm(Alarm(world.log("node").ids()[-1], root)), kind="alarm")
    for report in both(world):
        assert [fault.kind for fault in report.faults] == ["differs"]
        assert [note.kind for note in report.notes] == ["alarm"]
        assert "right" in report.notes[0].means


def test_checkpoint_by_an_officer_attests_nothing() -> None:
    world = sound_world()
    checkpoint(world, "aziza", root=bytes(32))
    for report in both(world):
        assert report.faults == ()
        assert [note.kind for note in report.notes] == ["checkpoint"]


def test_states_are_read_again_from_the_next_full_checkpoint_when_a_body_was_erased() -> None:
    world = sound_world()
    for turn in range(4):
        if turn == 3:
            world.witnesses["node"].attested = None  # a full one
        checkpoint(world, "node")
        world.log("bobur").write(record(turn))
    ids = world.log("node").ids()
    world.log("node").rows[2] = erase(world.log("node").rows[2])
    assert world.log("node").ids() == ids
    for report in both(world):
        assert report.faults == ()
        assert report.checkpoints == 2
        assert [note.kind for note in report.notes] == ["erased"]


def test_attested_entries_that_are_void_by_now_may_be_missing() -> None:
    world = sound_world()
    checkpoint(world, "node")
    world.log("mia").write(encode_act(Revoke(key("aziza").public, 4, world.log("aziza").ids()[4], "")), kind="act")
    del world.log("aziza").rows[6:]
    report = audit_bundle(BytesIO(bundle(world)), CHARTER)
    assert report.faults == ()
    assert [(note.kind, note.seq) for note in report.notes] == [("held-back", 6), ("void", 5)]


# -- a sound ledger with everything in it -------------------------------------------------------------


def eventful() -> World:
    """Revocations, an endorsed fork, erased bodies, entries in a compartment, checkpoints before and after."""
    world = witnessed()
    aziza, bobur, mia = world.log("aziza"), world.log("bobur"), world.log("mia")
    for number in range(150):
        aziza.write(record(number))
        bobur.write(record(number))
    checkpoint(world, "node")
    cutoff = bobur.ids()[99]
    mia.write(encode_act(Revoke(key("bobur").public, 99, cutoff, "lost")), kind="act")
    world.forks.append(fork_at(aziza, 130))
    mia.write(encode_act(Revoke(key("aziza").public, 140, aziza.ids()[140], "copied")), kind="act")
    mia.certify("bobur-2", "officer", "mia")
    for number in range(20):
        world.log("bobur-2").write(record(number))
    erased = world.log("bobur-2").rows
    erased[3] = erase(erased[3])
    return world


def counted(world: World) -> bytes:
    return expected_root(world, {"aziza": 141, "bobur": 100})


def test_eventful_ledger_is_sound() -> None:
    world = eventful()
    report = audit_bundle(BytesIO(bundle(world)), CHARTER)
    assert report.faults == ()
    assert sorted({note.kind for note in report.notes}) == ["erased", "fork", "void"]
    assert report.root == counted(world)
    assert report.checkpoints == 6


def test_store_that_admission_made_of_it_is_sound() -> None:
    world = eventful()
    world.log("bobur-2").rows[:] = []
    storage, _ = admitted(world)
    report = audit_storage(storage, CHARTER)
    assert report.faults == ()
    assert report.checkpoints == 5  # the last attests what is void, and was not taken
    assert sorted(note.kind for note in report.notes) == ["fork", "held-back", "held-back"]


# -- several sources ----------------------------------------------------------------------------------


def compared(**worlds: World) -> Comparison:
    """Each world as a bundle of that name; those that end in `store` as a store."""
    with ExitStack() as stack:
        sources: list[Compared] = []
        for name, world in worlds.items():
            source: BundleSource | StoreSource
            if name.endswith("store"):
                source = StoreSource(stack.enter_context(store(world).read()), CHARTER)
            else:
                source = BundleSource(BytesIO(bundle(world)), CHARTER)
            audited = audit_source(source, CHARTER, Options())
            assert audited.report.sound
            sources.append(Compared(name, audited, source.ids_at))
        return compare(sources)


def test_source_that_holds_another_branch_than_the_endorsed_one_lacks_that() -> None:
    world, other = settled()
    for log in world.logs.values():
        log.rows = [row for row in log.rows if not row.startswith(b"\x96\xaacheckpoint")]
    mine = replace(world, logs=world.logs | {"aziza": other})
    for names in (("one", "other"), ("other", "one")):
        found = compared(**dict(zip(names, (world, mine), strict=True)))
        assert [(fault.kind, fault.key, fault.seq, fault.source) for fault in found.faults] == [
            ("held-back", other.key, 6, names[1])
        ]
        assert [(note.kind, note.key, note.seq) for note in found.notes] == [("fork", other.key, 6)]


def shortened(world: World, name: str, size: int) -> World:
    logs = {known: Log(known, list(log.rows)) for known, log in world.logs.items()}
    del logs[name].rows[size:]
    return replace(world, logs=logs)


@pytest.mark.parametrize("other", ["one", "store"])
def test_source_that_lacks_entries_is_named(other: str) -> None:
    world = sound_world()
    found = compared(**{"first": shortened(world, "aziza", 6), other: world, "last": shortened(world, "bobur", 0)})
    faults = {(fault.kind, fault.key, fault.seq, fault.source) for fault in found.faults}
    assert faults == {
        ("held-back", key("aziza").public, 6, "first"), ("held-back", key("bobur").public, 0, "last"),
    }  # fmt: skip
    assert {fault.owner for fault in found.faults} == {"aziza", "bobur"}
    assert found.notes == ()


def test_same_sources_have_nothing_to_tell() -> None:
    assert compared(one=sound_world(), store=sound_world()) == Comparison((), (), 0, 0)


@pytest.mark.parametrize("names", [("one", "other"), ("one", "store"), ("store", "one")])
@pytest.mark.parametrize("seq", [0, 4, 9])
def test_fork_that_no_source_shows_alone_is_found_at_its_place(names: tuple[str, str], seq: int) -> None:
    world = sound_world()
    other = shortened(world, "aziza", seq)
    for number in range(4):
        other.log("aziza").write(record(100 + number))
    found = compared(**dict(zip(names, (world, other), strict=True)))
    assert [(fault.kind, fault.key, fault.seq) for fault in found.faults] == [("fork", key("aziza").public, seq)]
    assert all(name in found.faults[0].found for name in names)


def test_void_entries_that_one_source_lacks_are_a_note() -> None:
    world = sound_world()
    world.log("mia").write(encode_act(Revoke(key("aziza").public, 4, world.log("aziza").ids()[4], "")), kind="act")
    found = compared(one=world, other=shortened(world, "aziza", 5))
    assert found.faults == ()
    assert [(note.kind, note.seq, note.source) for note in found.notes] == [("held-back", 5, "other")]


# -- since, and after an interruption -----------------------------------------------------------------


def since(world: World, mark: str) -> list[Report]:
    options = Options(since=mark)
    return [
        audit_bundle(BytesIO(bundle(world)), CHARTER, options), audit_storage(store(world), CHARTER, options),
    ]  # fmt: skip


def test_only_what_is_new_since_a_checkpoint_is_verified() -> None:
    world = replace(sound_world(), run_length=1)
    checkpoint(world, "node")
    mark = world.log("node").ids()[-1].hex()
    for number in range(5):
        world.log("aziza").write(record(number))
    report = audit_bundle(BytesIO(bundle(world)), CHARTER, Options(since=mark[:16]))
    assert report.faults == ()
    assert report.signatures == 1 + 5
    assert report.root == expected_root(world)
    assert [(note.kind, note.seq) for note in report.notes] == [("since", 1)]


def test_note_of_a_checkpoint_names_it_too() -> None:
    world = sound_world()
    checkpoint(world, "node")
    entry = open_row(world.log("node").rows[-1], world.log("node").place(1))
    assert entry.body is not None
    raw = render_note(key("node").public, NETWORK, parse_checkpoint(entry.body))
    report = audit_bundle(BytesIO(bundle(world)), CHARTER, Options(since=read_note(raw)))
    assert [note.kind for note in report.notes] == ["since"]
    other = replace(read_note(raw), network_id=NetworkId(bytes(32)))
    with pytest.raises(NetworkMismatchError):
        audit_bundle(BytesIO(bundle(world)), CHARTER, Options(since=other))


def test_old_entry_that_was_signed_anew_since_is_found_and_all_is_verified() -> None:
    world = sound_world()
    checkpoint(world, "node")
    mark = world.log("node").ids()[-1].hex()
    aziza = world.log("aziza")
    del aziza.rows[5:]
    for number in range(5):
        aziza.write(record(50 + number))  # the author's own key: all signatures hold
    for report in since(world, mark):
        assert [(fault.kind, fault.seq) for fault in report.faults] == [("since", 1), ("parts", 9)]
        assert report.signatures == ENTRIES + 1


@pytest.mark.parametrize("mark", ["abc", "0" * 64, "0" * 12])
def test_mark_that_names_no_checkpoint_is_misuse(mark: str) -> None:
    world = sound_world()
    checkpoint(world, "node")
    with pytest.raises(UsageError):
        since(world, mark)


class Stopped(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("after", [1, 3, 5])
@pytest.mark.parametrize("in_store", [False, True])
def test_audit_that_was_interrupted_goes_on_to_the_same_report(after: int, in_store: bool) -> None:
    world = eventful() if not in_store else witnessed()

    def audit(options: Options) -> Report:
        if in_store:
            return audit_storage(store(world), CHARTER, options)
        return audit_bundle(BytesIO(bundle(world)), CHARTER, options)

    whole = audit(Options())
    journal = Journal(NETWORK)

    def stopping(checker: Checker, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        for number, pair in enumerate(one_by_one(checker, tasks)):
            if number == after:
                raise Stopped
            yield pair

    with pytest.raises(Stopped):
        audit(Options(spread=stopping, journal=journal))
    again = read_journal(journal.encode(), NETWORK)
    assert 1 <= len(again.known) <= after
    assert audit(Options(journal=again)) == whole
    assert again.lost() == 0


def test_stretch_that_was_altered_since_the_interruption_is_verified_again() -> None:
    world = sound_world()
    journal = Journal(NETWORK)
    assert audit_bundle(BytesIO(bundle(world)), CHARTER, Options(journal=journal)).sound
    again = read_journal(journal.encode(), NETWORK)
    log = world.log("aziza")
    entry = open_row(log.rows[9], log.place(9))
    forged = encode(["record", entry.time_ms, [], None, record(9), bytes(key("bobur").sign(entry.header))])
    log.rows[9] = forged
    report = audit_bundle(BytesIO(bundle(world)), CHARTER, Options(journal=again))
    assert [(fault.kind, fault.seq) for fault in report.faults] == [("signature", 9)]
    assert again.lost() == 1


def test_every_change_of_a_journal_is_refused() -> None:
    journal = Journal(NETWORK, met={sha256(b"x").digest()})
    raw = journal.encode()
    assert read_journal(raw, NETWORK).known == journal.met
    for at in range(len(raw)):
        with pytest.raises((FormatError, NetworkMismatchError)):
            read_journal(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :], NETWORK)
        with pytest.raises(FormatError):
            read_journal(raw[:at], NETWORK)
    with pytest.raises(NetworkMismatchError):
        read_journal(raw, NetworkId(bytes(32)))
