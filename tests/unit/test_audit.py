"""The auditor finds each kind of tampering, says where, and finds nothing in a sound ledger."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import cast

import pytest

from keys.errors import FormatError, UsageError
from ledger import audit_finding, audit_log
from ledger.audit import audit_bundle, audit_storage
from ledger.audit_finding import Report
from ledger.audit_stretch import Stretch, _read
from ledger.layout import ARRIVAL, PLACE, U32, U64, LogState, decode_log, kind_key
from ledger.store import create
from protocol.acts import Certify, Revoke, encode_act
from protocol.bundle import BundleWriter
from protocol.charter import SignedCharter, encode_charter_file, sign_charter
from protocol.codec import decode, encode
from protocol.entry import EntryId, Place, make_header, open_row, read_row, signed_bytes
from protocol.frame import Run, encode_frame
from protocol.message import Fork, Frame
from sim.disk import MemoryStorage
from tests.audit_world import (
    CHARTER,
    CHARTER_FILE,
    ENTRIES,
    LOGS,
    NETWORK,
    Log,
    World,
    bundle,
    expected_root,
    fork_at,
    key,
    kinds,
    mountain,
    record,
    replace_row,
    sound_world,
    store,
)


def audited(raw: bytes) -> Report:
    return audit_bundle(BytesIO(raw), CHARTER)


# -- what is sound ------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_length", [1, 3, 4, 100])
def test_sound_bundle_is_sound(run_length: int) -> None:
    world = replace(sound_world(), run_length=run_length)
    report = audited(bundle(world))
    assert report.faults == report.notes == ()
    assert report.to_json() == {
        "verdict": "sound", "network": NETWORK.hex(), "root": expected_root(world).hex(), "logs": LOGS,
        "entries": ENTRIES, "signatures": ENTRIES, "checkpoints": 0, "faults": [], "fault_count": 0, "notes": [],
        "note_count": 0,
    }  # fmt: skip


def test_sound_store_is_sound_and_has_the_bundles_root() -> None:
    world = sound_world()
    report = audit_storage(store(world), CHARTER)
    assert report.faults == report.notes == ()
    assert report == audited(bundle(world))


def test_empty_ledger_is_sound() -> None:
    assert audited(bundle(World({}))).to_json()["verdict"] == "sound"
    assert audit_storage(store(World({})), CHARTER).sound


def test_runs_in_any_order_of_logs_are_sound() -> None:
    world = sound_world()
    report = audited(bundle(world, sorted(world.runs(), key=lambda run: (run.seq, run.key))))
    assert report.sound
    assert report.root == expected_root(world)


def test_certificates_count_wherever_they_stand() -> None:
    world = sound_world()
    world.logs = dict(reversed(world.logs.items()))
    assert audited(bundle(world)).sound
    assert audit_storage(store(world), CHARTER).sound


def test_entries_that_come_twice_change_nothing() -> None:
    world = sound_world()
    runs = world.runs()
    longer = [run for run in replace(world, run_length=7).runs() if run.seq == 0]
    report = audited(bundle(world, [*runs, runs[3], *longer, runs[-1]]))
    assert report.sound
    assert (report.entries, report.root) == (ENTRIES, expected_root(world))


def test_run_that_overlaps_and_goes_on_is_taken() -> None:
    world = World({"mia": Log("mia")})
    for number in range(6):
        world.log("mia").write(record(number))
    ids, rows = world.log("mia").ids(), world.log("mia").rows
    runs = [Run(key("mia").public, 0, None, tuple(rows[:4])), Run(key("mia").public, 2, ids[1], tuple(rows[2:]))]
    report = audited(bundle(world, runs))
    assert report.sound
    assert (report.entries, report.root) == (6, expected_root(world))


def test_erased_body_is_a_note_and_the_chain_still_proves_it() -> None:
    world = sound_world()
    fields = cast("list[object]", decode(world.log("aziza").rows[3], size_max=4096))
    body = cast("bytes", fields[4])
    erased = encode([*fields[:4], [len(body), sha256(body).digest()], *fields[5:]])
    root = expected_root(world)
    world.log("aziza").rows[3] = erased
    for report in (audited(bundle(world)), audit_storage(store(world), CHARTER)):
        assert report.sound
        assert report.root == root
        assert report.signatures == ENTRIES
        (note,) = report.notes
        assert (note.kind, note.key, note.seq) == ("erased", key("aziza").public, 3)
        assert sha256(body).hexdigest() in note.detail


def test_proved_fork_is_shown_and_its_entries_do_not_count() -> None:
    world = sound_world()
    world.forks.append(fork_at(world.log("aziza"), 6))
    for report in (audited(bundle(world)), audit_storage(store(world), CHARTER)):
        assert [fault.kind for fault in report.faults] == ["fork"]
        assert (report.faults[0].key, report.faults[0].seq) == (key("aziza").public, 6)
        assert [(note.kind, note.seq) for note in report.notes] == [("disputed", 6)]
        assert "4 entries" in report.notes[0].detail
        assert report.root == expected_root(world, {"aziza": 6})
        assert (report.entries, report.signatures) == (ENTRIES, ENTRIES + 2)


def test_store_made_by_admission_is_sound_and_has_its_root() -> None:
    world = sound_world()
    storage = MemoryStorage()
    ledger = create(storage, CHARTER_FILE)
    for run in world.runs():
        ledger.apply(ledger.commit([encode_frame([run])]))
    report = audit_storage(storage, CHARTER)
    assert report.faults == ()
    assert (report.entries, report.root) == (ledger.entries, ledger.root()) == (ENTRIES, expected_root(world))
    ledger.apply(ledger.commit([fork_at(world.log("bobur"), 5)]))
    report = audit_storage(storage, CHARTER)
    assert kinds(report) == {"fork"}
    assert report.root == ledger.root() == expected_root(world, {"bobur": 5})


# -- tampering with a bundle --------------------------------------------------------------------------


def flip_in_body(world: World) -> bytes:
    log = world.log("aziza")
    runs = world.runs()
    return bundle(world, [replace_row(run, log, 5, lambda row: row.replace(b"day 5", b"day 6")) for run in runs])


def remove_entry(world: World) -> bytes:
    runs = world.runs()
    index = next(i for i, run in enumerate(runs) if run.key == key("aziza").public)
    runs[index] = replace(runs[index], rows=runs[index].rows[:1] + runs[index].rows[2:])
    return bundle(world, runs)


def remove_run(first: int) -> Callable[[World], bytes]:
    def tamper(world: World) -> bytes:
        return bundle(world, [run for run in world.runs() if (run.key, run.seq) != (key("aziza").public, first)])

    return tamper


def swap_rows(world: World) -> bytes:
    runs = world.runs()
    index = next(i for i, run in enumerate(runs) if run.key == key("aziza").public)
    first, second, *rest = runs[index].rows
    runs[index] = replace(runs[index], rows=(second, first, *rest))
    return bundle(world, runs)


def sign_by_another(world: World) -> bytes:
    log = world.log("aziza")
    entry = open_row(log.rows[9], log.place(9))
    fields = cast("list[object]", decode(log.rows[9], size_max=4096))
    log.rows[9] = encode([*fields[:5], bytes(key("bobur").sign(entry.header))])
    return bundle(world)


def other_network(world: World) -> bytes:
    return bundle(world, network=bytes(32))


def signed_for_another_network(world: World) -> bytes:
    world.log("aziza").write(record(10), network=bytes(32))
    return bundle(world)


def backdate(world: World) -> bytes:
    world.log("aziza").write(record(10), time_ms=5)
    return bundle(world)


def swap_bodies(world: World) -> bytes:
    log = world.log("bobur")
    second, eighth = (cast("list[object]", decode(log.rows[seq], size_max=4096)) for seq in (1, 9))
    log_rows = world.runs()
    changed = [
        replace_row(run, log, 9, lambda _: encode([*eighth[:4], second[4], eighth[5]])) for run in log_rows
    ]  # fmt: skip
    return bundle(world, changed)


def hidden_fork(world: World) -> bytes:
    runs = world.runs()
    branch = Log("aziza", world.log("aziza").rows[:6])
    branch.write(b"\x80")
    branch.write(b"\x80")
    ids = branch.ids()
    return bundle(world, [*runs, Run(branch.key, 5, ids[4], tuple(branch.rows[5:]))])


def slipped_in_version(world: World) -> bytes:
    log = world.log("aziza")
    forged = log.row(b"\x80", at=6, network=bytes(32))
    return bundle(world, [*world.runs(), Run(log.key, 6, log.ids()[5], (forged,))])


def two_chains(world: World) -> bytes:
    branch = Log("aziza", world.log("aziza").rows[:7])
    branch.write(b"\x80")
    ids = branch.ids()
    branch.write(record(1))
    runs = [run for run in world.runs() if (run.key, run.seq) != (branch.key, 8)]
    return bundle(world, [*runs, Run(branch.key, 8, ids[7], tuple(branch.rows[8:]))])


def uncertified(world: World) -> bytes:
    world.log("stranger").write(record(0))
    return bundle(world)


def certified_by_officer(world: World) -> bytes:
    world.log("aziza").certify("friend", "officer", "mia")
    world.log("friend").write(record(0))
    return bundle(world)


def certified_for_another_agency(world: World) -> bytes:
    world.log("admin").certify("friend", "officer", "iib")
    world.log("friend").write(record(0))
    return bundle(world)


def admin_by_admin(world: World) -> bytes:
    world.log("admin").certify("second admin", "admin", "mia")
    world.log("second admin").write(record(0))
    return bundle(world)


def certificate_beyond_a_fork(world: World) -> bytes:
    world.log("mia").certify("late", "officer", "mia")
    world.log("late").write(record(0))
    world.forks.append(fork_at(world.log("mia"), 2))
    return bundle(world)


def forged_certificate(world: World) -> bytes:
    body = encode_act(Certify(key("friend").public, "officer", "friend", "mia", "", ()))
    world.log("mia").write(body, kind="act", network=bytes(32))
    world.log("friend").write(record(0))
    return bundle(world)


def flip_in_header(world: World) -> bytes:
    """The date, which only the header holds."""
    log = world.log("aziza")
    return bundle(
        world, [replace_row(run, log, 9, lambda row: row[:8] + b"\xcd\x03\xf2" + row[11:]) for run in world.runs()]
    )


def flip_in_signature(world: World) -> bytes:
    log = world.log("aziza")
    return bundle(
        world, [replace_row(run, log, 9, lambda row: row[:-1] + bytes([row[-1] ^ 1])) for run in world.runs()]
    )


def log_restarted(world: World) -> bytes:
    again = Log("aziza")
    for number in range(3):
        again.write(record(100 + number))
    return bundle(world, [*world.runs(), Run(again.key, 0, None, tuple(again.rows))])


def wrong_checksum(world: World) -> bytes:
    raw = bundle(world)
    return raw[:-1] + bytes([raw[-1] ^ 1])


def cut_short(world: World) -> bytes:
    return bundle(world)[:-40]


def grown(world: World) -> bytes:
    return bundle(world) + b"\x00"


def not_canonical(world: World) -> bytes:
    log = world.log("aziza")
    runs = [replace_row(run, log, 9, lambda row: row[:1] + b"\xd9\x06" + row[2:]) for run in world.runs()]
    return bundle(world, runs)


def not_a_row(world: World) -> bytes:
    return bundle(
        world, [replace_row(run, world.log("aziza"), 2, lambda _: b"\x93\x01\x02\x03") for run in world.runs()]
    )


def not_a_frame(world: World) -> bytes:
    out = BytesIO()
    writer = BundleWriter(out.write, NETWORK)
    writer.add(Frame(0, b"\x00\x91\x91\x01"))
    writer.close()
    return out.getvalue()


def slander(world: World) -> bytes:
    world.forks.append(fork_at(world.log("aziza"), 3, signer="bobur"))
    return bundle(world)


def fork_of_nothing(world: World) -> bytes:
    fork = fork_at(world.log("aziza"), 3)
    world.forks.append(Fork(fork.first, fork.first))
    return bundle(world)


def fork_without_headers(world: World) -> bytes:
    world.forks.append(Fork((encode([1, 2]), bytes(64)), (encode([1, 3]), bytes(64))))
    return bundle(world)


@pytest.mark.parametrize(
    ("tamper", "expected", "author", "seq"),
    [
        (flip_in_body, {"signature", "link"}, "aziza", 5),
        (remove_entry, {"signature", "gap"}, "aziza", 1),
        (remove_run(0), {"gap"}, "aziza", 0),
        (remove_run(4), {"gap"}, "aziza", 4),
        (swap_rows, {"signature", "link", "time"}, "aziza", 0),
        (sign_by_another, {"signature"}, "aziza", 9),
        (other_network, {"network"}, None, None),
        (signed_for_another_network, {"signature"}, "aziza", 10),
        (backdate, {"time"}, "aziza", 10),
        (swap_bodies, {"signature"}, "bobur", 9),
        (hidden_fork, {"fork"}, "aziza", 6),
        (slipped_in_version, {"signature"}, "aziza", 6),
        (two_chains, {"link"}, "aziza", 8),
        (uncertified, {"uncertified"}, "stranger", 0),
        (certified_by_officer, {"uncertified"}, "friend", 0),
        (certified_for_another_agency, {"uncertified"}, "friend", 0),
        (admin_by_admin, {"uncertified"}, "second admin", 0),
        (certificate_beyond_a_fork, {"fork"}, "mia", 2),
        (forged_certificate, {"signature", "uncertified"}, "mia", 2),
        (flip_in_header, {"signature"}, "aziza", 9),
        (flip_in_signature, {"signature"}, "aziza", 9),
        (log_restarted, {"fork"}, "aziza", 0),
        (wrong_checksum, {"container"}, None, None),
        (cut_short, {"container"}, None, None),
        (grown, {"container"}, None, None),
        (not_canonical, {"format"}, "aziza", 9),
        (not_a_row, {"format"}, "aziza", 2),
        (not_a_frame, {"format"}, None, None),
        (slander, {"fork"}, "aziza", 3),
        (fork_of_nothing, {"fork"}, "aziza", 3),
        (fork_without_headers, {"fork"}, None, None),
    ],
)
def test_tampering_with_a_bundle_is_found(
    tamper: Callable[[World], bytes], expected: set[str], author: str | None, seq: int | None
) -> None:
    report = audited(tamper(sound_world()))
    assert report.to_json()["verdict"] == "faulty"
    assert kinds(report) == expected
    where = {(fault.key, fault.seq) for fault in report.faults}
    assert (None if author is None else key(author).public, seq) in where
    assert len(report.faults) == len(expected)  # one finding for one thing
    assert all(len(fault.detail) > 40 for fault in report.faults)


def test_certificate_after_its_signers_cutoff_gives_nothing_and_is_shown() -> None:
    world = sound_world()
    world.log("mia").write(encode_act(Revoke(key("admin").public, 1, world.log("admin").ids()[1], "")), kind="act")
    world.log("admin").certify("friend", "officer", "mia")  # the thief's
    world.log("friend").write(record(0))
    report = audited(bundle(world))
    assert report.faults == ()
    assert {(note.kind, note.key) for note in report.notes} == {
        ("void", key("admin").public), ("uncertified", key("friend").public),
    }  # fmt: skip
    del world.logs["friend"]
    assert report.root == expected_root(world, {"admin": 2})


def test_hidden_fork_ends_what_counts() -> None:
    world = sound_world()
    report = audited(hidden_fork(world))
    assert report.root == expected_root(world, {"aziza": 6})
    assert [(note.kind, note.seq) for note in report.notes] == [("disputed", 6), ("disputed", 6)]  # of either branch


def test_false_signature_within_a_chain_is_found_and_named_authentic() -> None:
    world = World({})
    log = world.log("mia")
    for number in range(3):
        log.write(record(number))
    fields = cast("list[object]", decode(log.rows[1], size_max=4096))
    log.rows[1:] = [encode([*fields[:5], bytes(64)])]
    for number in range(2, 5):
        log.write(record(number))
    for report in (audited(bundle(world)), audit_storage(store(world), CHARTER)):
        (fault,) = report.faults
        assert (fault.kind, fault.seq, fault.id) == ("signature", 1, log.ids()[1])
        assert "authentic" in fault.detail
        assert report.signatures == 4
        assert report.root == expected_root(world)


def test_every_changed_byte_of_a_bundle_is_found() -> None:
    world = World({})
    world.log("mia").certify("aziza", "officer", "mia")
    world.log("aziza").write(record(0))
    raw = bundle(world)
    assert audited(raw).sound
    for where in range(len(raw)):
        report = audited(raw[:where] + bytes([raw[where] ^ 1]) + raw[where + 1 :])
        assert not report.sound, where


def test_every_truncation_of_a_bundle_is_found() -> None:
    world = World({})
    world.log("mia").write(record(0))
    raw = bundle(world)
    for size in range(len(raw)):
        assert kinds(audited(raw[:size])) == {"container"}, size


# -- tampering with a store ---------------------------------------------------------------------------

ROW = PLACE.pack(4, 5)  # entry 5 of aziza's log


def put(table: str, at: bytes, value: bytes) -> Callable[[MemoryStorage], None]:
    def tamper(storage: MemoryStorage) -> None:
        with storage.write() as txn:
            assert txn.get(table, at) != value
            txn.put(table, at, value)

    return tamper


def drop(table: str, at: bytes) -> Callable[[MemoryStorage], None]:
    def tamper(storage: MemoryStorage) -> None:
        with storage.write() as txn:
            assert txn.get(table, at) is not None
            txn.delete(table, at)

    return tamper


def change(table: str, at: bytes, edit: Callable[[bytes], bytes]) -> Callable[[MemoryStorage], None]:
    def tamper(storage: MemoryStorage) -> None:
        with storage.read() as view:
            found = view.get(table, at)
        assert found is not None
        put(table, at, edit(found))(storage)

    return tamper


def state(edit: Callable[[LogState], LogState]) -> Callable[[MemoryStorage], None]:
    owner = key("aziza").public
    return change("logs", owner, lambda raw: edit(decode_log(owner, raw)).encode())


def swap_stored(storage: MemoryStorage) -> None:
    first, second = PLACE.pack(4, 5), PLACE.pack(4, 6)
    with storage.write() as txn:
        one, two = txn.get("rows", first), txn.get("rows", second)
        assert one is not None
        assert two is not None
        txn.put("rows", first, one[:32] + two[32:])
        txn.put("rows", second, two[:32] + one[32:])


def relabel_consistently(storage: MemoryStorage) -> None:
    """The last row is replaced by one that another key signed, and every table is made to agree."""
    log = sound_world().log("aziza")
    old = log.ids()
    fields = cast("list[object]", decode(log.rows[9], size_max=4096))
    entry = open_row(log.rows[9], log.place(9))
    log.rows[9] = encode([*fields[:5], bytes(key("bobur").sign(entry.header))])
    new = log.ids()
    place = PLACE.pack(4, 9)
    with storage.write() as txn:
        txn.put("rows", place, new[9] + log.rows[9])
        txn.delete("ids", old[9])
        txn.put("ids", new[9], place)
    state(lambda known: replace(known, id=new[9], peaks=tuple(mountain(new))))(storage)


def charter_of(network: str) -> bytes:
    other = SignedCharter(replace(CHARTER, network=network), {})
    return encode_charter_file(sign_charter(sign_charter(other, key("iib")), key("mia")))


def some_id(seq: int) -> bytes:
    return sound_world().log("aziza").ids()[seq]


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (change("rows", ROW, lambda value: value.replace(b"day 5", b"day 6")), {"hash"}),
        (change("rows", ROW, lambda value: value[:-1] + bytes([value[-1] ^ 1])), {"hash"}),
        (change("rows", ROW, lambda value: value[:-1]), {"format", "index"}),
        (change("rows", ROW, lambda value: bytes(32) + value[32:]), {"index"}),
        (change("rows", ROW, lambda value: value[:20]), {"index", "gap"}),
        (swap_stored, {"hash", "time"}),
        (relabel_consistently, {"signature", "index"}),  # what nobody signed does not count
        (drop("rows", ROW), {"gap", "index"}),
        (drop("rows", PLACE.pack(4, 0)), {"gap", "index"}),
        (drop("rows", PLACE.pack(4, 9)), {"index"}),
        (put("rows", PLACE.pack(99, 0), bytes(100)), {"index"}),
        (put("rows", b"what", bytes(100)), {"index"}),
        (drop("ids", some_id(3)), {"index"}),
        (put("ids", some_id(3), PLACE.pack(4, 4)), {"index"}),
        (put("ids", bytes(32), PLACE.pack(4, 4)), {"index"}),
        (drop("kinds", kind_key("act", PLACE.pack(0, 1))), {"index"}),
        (put("kinds", kind_key("act", ROW), b""), {"index"}),
        (put("kinds", b"nonsense", b""), {"index"}),
        (drop("numbers", U32.pack(4)), {"index"}),
        (put("numbers", U32.pack(77), key("aziza").public), {"index"}),
        (put("numbers", b"\x00", b""), {"index"}),
        (drop("logs", key("aziza").public), {"index"}),
        (put("logs", key("aziza").public, b"\xff"), {"index"}),
        (put("logs", key("aziza").public, encode([4, 10, "x", 0, [], 10, None])), {"index"}),
        (state(lambda log: replace(log, size=9)), {"index"}),
        (state(lambda log: replace(log, id=EntryId(some_id(8)))), {"index"}),
        (state(lambda log: replace(log, id=None)), {"index"}),
        (state(lambda log: replace(log, peaks=log.peaks[::-1])), {"index"}),
        (state(lambda log: replace(log, held=11)), {"index"}),
        (state(lambda log: replace(log, time_ms=0)), {"index"}),
        (state(lambda log: replace(log, forked_at=10)), {"index"}),
        (drop("arrivals", U64.pack(0)), {"index"}),
        (put("arrivals", U64.pack(1000), ARRIVAL.pack(4, 10, 2)), {"index"}),
        (put("arrivals", b"x", b"y"), {"index"}),
        (put("meta", b"arrival", U64.pack(5)), {"index"}),
        (drop("meta", b"arrival"), {"index"}),
        (put("forks", key("aziza").public + U64.pack(3), b"\x90"), {"fork"}),
        (put("forks", key("aziza").public + U64.pack(3), b"\xff"), {"fork"}),
        (put("meta", b"format", b"9"), {"container"}),
        (drop("meta", b"format"), {"container"}),
        (drop("meta", b"charter"), {"charter"}),
        (change("meta", b"charter", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])), {"charter"}),
        (put("meta", b"charter", charter_of("another")), {"network"}),
    ],
)
def test_tampering_with_a_store_is_found(tamper: Callable[[MemoryStorage], None], expected: set[str]) -> None:
    storage = store(sound_world())
    tamper(storage)
    report = audit_storage(storage, CHARTER)
    assert kinds(report) == expected
    assert all(len(fault.detail) > 40 for fault in report.faults)


def test_altered_row_is_pinned_to_its_place() -> None:
    storage = store(sound_world())
    change("rows", ROW, lambda value: value.replace(b"day 5", b"day 6"))(storage)
    (fault,) = audit_storage(storage, CHARTER).faults
    assert (fault.kind, fault.key, fault.seq, fault.id) == ("hash", key("aziza").public, 5, some_id(5))


@pytest.mark.parametrize("moved_to", [None, 7])
def test_hidden_fork_in_a_store_is_found(moved_to: int | None) -> None:
    world = sound_world()
    world.forks.append(fork_at(world.log("aziza"), 6))
    storage = store(world)
    with storage.write() as txn:
        raw = txn.get("forks", key("aziza").public + U64.pack(6))
        assert raw is not None
        txn.delete("forks", key("aziza").public + U64.pack(6))
        if moved_to is not None:
            txn.put("forks", key("aziza").public + U64.pack(moved_to), raw)
    assert "index" in kinds(audit_storage(storage, CHARTER))


# -- how it works -------------------------------------------------------------------------------------


def test_faults_are_listed_up_to_a_bound_and_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_finding, "LISTED_MAX", 3)
    world = sound_world()
    for number in range(8):
        world.log(f"stranger {number}").write(record(number))
    report = audited(bundle(world))
    assert len(report.faults) == 3
    assert report.fault_count == 8
    assert report.to_json()["fault_count"] == 8


def test_repeats_are_compared_up_to_a_bound_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "ASIDE_MAX", 3)
    world = sound_world()
    report = audited(bundle(world, [*world.runs(), *world.runs()[:-1]]))
    assert kinds(report) == {"container"}
    assert report.fault_count == 1


def test_stream_that_cannot_be_read_twice_is_refused() -> None:
    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(UsageError, match="several passes"):
        audit_bundle(Pipe(bundle(sound_world())), CHARTER)


def test_header_of_the_tests_is_the_protocols() -> None:
    log = sound_world().log("aziza")
    entry = open_row(log.rows[5], log.place(5))
    place = Place(log.key, 5, log.ids()[4])
    assert entry.header == make_header(place, [], "record", None, entry.body_size, entry.body_hash, entry.time_ms)


def test_row_that_is_read_in_line_is_read_by_the_same_rules() -> None:
    """Every changed byte of a plain record's row, and every cut: refused by both, or the same entry to both."""
    log = sound_world().log("aziza")
    prev = log.ids()[4]
    accepted = 0
    for row in (log.rows[5], log.row(b"x" * 300, at=5, time_ms=1 << 40)):
        flips = [(at, flip) for at in range(len(row)) for flip in (1, 0x40, 0xFF)]
        damaged = [row[:at] + bytes([row[at] ^ flip]) + row[at + 1 :] for at, flip in flips]
        for value in [row, *damaged, *(row[:at] for at in range(len(row)))]:
            read = _read(NETWORK, Stretch(log.key, 5, prev, (value,)))
            try:
                fact = read_row(value, log.key, 5, prev)
            except FormatError:
                assert read is None
                continue
            assert read is not None
            assert (read.ids, read.first_ms, read.last_ms) == ([fact.id], fact.time_ms, fact.time_ms)
            assert read.signed == [fact.signature + signed_bytes(NETWORK, fact.header)]
            accepted += 1
    assert accepted > 500
