"""A store whose blocks of rows are damaged: the audit names what is lost, entry by entry, and reads the rest."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import lmdb
import pytest

from keys.errors import DamagedError
from ledger.audit import audit_storage
from ledger.audit_finding import Report
from ledger.layout import PLACE
from ledger.lmdb_store import open_lmdb
from ledger.storage import TABLES
from protocol.entry import Place, sign_rows
from tests.audit_world import CHARTER, NETWORK, key, record, sound_world, store

AZIZA, HELD = 4, 610  # a log's number in the store, and how many entries are in it
ENTRIES = HELD + 16  # those of the other logs with them


@dataclass(frozen=True)
class Home:
    """A store on disk."""

    path: Path
    blocks: dict[int, int]  # of Aziza's log: the first seq of each -> the seq beyond

    def audit(self) -> Report:
        with closing(open_lmdb(self.path, readonly=True)) as storage:
            return audit_storage(storage, CHARTER)

    def block(self, first: int, number: int = AZIZA) -> bytes:
        return self._blocks()[PLACE.pack(number, first)]

    def _blocks(self) -> dict[bytes, bytes]:
        with lmdb.open(str(self.path), max_dbs=20, readonly=True) as env, env.begin() as txn:
            return dict(txn.cursor(env.open_db(b"blocks", txn, create=False)))

    def change(self, first: int, value: bytes, number: int = AZIZA) -> None:
        with lmdb.open(str(self.path), max_dbs=20) as env:
            table = env.open_db(b"blocks")
            with env.begin(write=True) as txn:
                txn.put(PLACE.pack(number, first), value, db=table)

    def with_blocks(self) -> "Home":
        firsts = [seq for number, seq in map(PLACE.unpack, sorted(self._blocks())) if number == AZIZA]
        return Home(self.path, dict(pairwise([*firsts, HELD])))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Home:
    world = sound_world()
    log = world.log("aziza")
    place = log.place()
    while place.seq < HELD:
        draft = ("record", record(place.seq), ())
        (row,), (known,) = sign_rows(key("aziza"), NETWORK, place, [draft], 2000 + place.seq)
        log.rows.append(row)
        place = Place(place.key, place.seq + 1, known)
    path = tmp_path_factory.mktemp("whole") / "store"
    last = PLACE.pack(AZIZA, HELD - 8)
    with closing(open_lmdb(path)) as storage, store(world).read() as view:
        with storage.write() as txn:
            for name in TABLES:
                txn.put_many(name, (pair for pair in view.scan(name) if name != "rows" or pair[0] < last))
        with storage.write() as txn:
            txn.put_many("rows", view.scan("rows", last))
    return Home(path, {}).with_blocks()


@pytest.fixture
def home(whole: Home, tmp_path: Path) -> Home:
    shutil.copytree(whole.path, tmp_path / "store")
    return Home(tmp_path / "store", whole.blocks)


def flips(block: bytes, seed: int, count: int) -> Iterator[bytes]:
    """The block with one bit changed: at both ends, where its own lengths are, and anywhere."""
    rng = Random(seed)
    positions = [*range(0, 24, 4), len(block) - 1, *rng.sample(range(len(block)), count)]
    for at in positions:
        yield block[:at] + bytes([block[at] ^ 1 << rng.randrange(8)]) + block[at + 1 :]


def lost(report: Report) -> list[tuple[int | None, str]]:
    return [(fault.seq, fault.found) for fault in report.faults if fault.kind == "format"]


def test_any_bit_of_a_block_loses_just_its_entries_and_each_is_named(home: Home) -> None:
    first = sorted(home.blocks)[1]
    beyond = home.blocks[first]
    for damaged in flips(home.block(first), seed=1, count=6):
        home.change(first, damaged)
        report = home.audit()
        assert lost(report) == [
            (first, f"the block that holds entries {first} to {beyond - 1} of the log is damaged and cannot be read")
        ]
        assert {fault.key for fault in report.faults} == {key("aziza").public}
        assert {fault.kind for fault in report.faults} == {"format", "gap", "index"}
        assert not any(fault.id for fault in report.faults if "table ids" in fault.found)
        assert report.entries == ENTRIES - (beyond - first)
        assert report.signatures == report.entries - 1  # of what comes after the gap the first cannot be put together


@pytest.mark.parametrize("damage", [lambda _: b"", lambda raw: raw[:-1], lambda raw: raw + b"\x00", lambda _: b"\x93"])
def test_blocks_at_the_ends_of_a_log_are_lost_up_to_where_it_ends(home: Home, damage: Callable[[bytes], bytes]) -> None:
    last = max(home.blocks)
    for first in (0, last):
        home.change(first, damage(home.block(first)))
    report = home.audit()
    assert [(seq, found.split()[5:8]) for seq, found in lost(report)] == [
        (0, ["0", "to", f"{home.blocks[0] - 1}"]), (last, [f"{last}", "to", f"{HELD - 1}"])
    ]  # fmt: skip


def test_lost_acts_are_named_and_whom_they_certified_is_not_taken_for_certified(home: Home) -> None:
    home.change(0, home.block(0, number=0)[:40], number=0)
    report = home.audit()
    assert lost(report) == [(0, "the block that holds entries 0 to 1 of the log is damaged and cannot be read")]
    assert {fault.kind for fault in report.faults} == {"format", "index", "uncertified"}


def test_block_altered_and_made_whole_again_is_pinned_to_the_row(home: Home) -> None:
    """Whoever can write the file can write the checksum, too; the hashes are not theirs to choose."""
    place = PLACE.pack(AZIZA, 200)
    with closing(open_lmdb(home.path)) as storage, storage.write() as txn:
        row = txn.get("rows", place)
        assert row is not None
        txn.put("rows", place, row.replace(b"day 200", b"day 201"))
    (fault,) = home.audit().faults
    assert (fault.kind, fault.seq, fault.id) == ("hash", 200, row[:32])


def test_who_reads_a_damaged_block_is_told_where_reading_goes_on(home: Home) -> None:
    first = sorted(home.blocks)[1]
    home.change(first, home.block(first)[:-1])
    with closing(open_lmdb(home.path)) as storage, storage.read() as view:
        with pytest.raises(DamagedError) as caught:
            list(view.scan("rows", PLACE.pack(AZIZA, 0)))
        assert caught.value.first == PLACE.pack(AZIZA, first)
        assert caught.value.beyond == PLACE.pack(AZIZA, home.blocks[first])
        assert len(list(view.scan("rows", caught.value.beyond, PLACE.pack(AZIZA, HELD)))) == HELD - home.blocks[first]
        assert view.get("rows", PLACE.pack(AZIZA, first - 1)) is not None
