"""The store on disk: the common suite, growth, full maps, second openers, and processes that are killed."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings

import ledger.lmdb_store as module
import ledger.tiers as tiers
from keys.errors import HomeError, StorageError
from ledger.lmdb_store import LmdbStorage, open_lmdb
from tests.storage_suite import StorageMachine, StorageSuite, enter, fill, keys

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LmdbStorage]:
    opened = open_lmdb(tmp_path / "store")
    yield opened
    opened.close()


class TestLmdbStorage(StorageSuite):
    pass


class LmdbMachine(StorageMachine):
    def open(self) -> LmdbStorage:
        self.folder = tempfile.TemporaryDirectory()
        return open_lmdb(Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestLmdbMachine = LmdbMachine.TestCase
TestLmdbMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class TieredMachine(LmdbMachine):
    """With so little room in the newer tiers that pairs move on all the time."""

    def __init__(self) -> None:
        self.usual = tiers.SHARES, tiers.FEW
        tiers.SHARES, tiers.FEW = (2, 5), 0
        super().__init__()

    def teardown(self) -> None:
        super().teardown()
        tiers.SHARES, tiers.FEW = self.usual


TestTieredMachine = TieredMachine.TestCase
TestTieredMachine.settings = TestLmdbMachine.settings


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of 1 MiB, so that growth is cheap to provoke."""
    monkeypatch.setattr(module, "MAP_BYTES_INITIAL", MIB)
    monkeypatch.setattr(module, "ROOM_MIN", MIB)


def pairs(first: int, count: int, size: int = 1000) -> Iterator[tuple[bytes, bytes]]:
    return ((number.to_bytes(8, "big"), Random(number).randbytes(size)) for number in range(first, first + count))


@pytest.mark.usefixtures("small")
def test_store_grows_beyond_its_first_map(storage: LmdbStorage) -> None:
    for batch in range(20):
        with storage.write() as txn:
            txn.put_many("rows", pairs(batch * 500, 500))
    assert storage.size_bytes() > 8 * MIB
    with storage.read() as view:
        assert sum(1 for _ in view.scan("rows")) == 10_000


@pytest.mark.usefixtures("small")
def test_transaction_larger_than_the_room_fails_whole_and_fits_later(storage: LmdbStorage) -> None:
    fill(storage, "rows", [b"kept"])
    failures, message = 0, ""
    while True:
        try:
            with storage.write() as txn:
                txn.put_many("rows", pairs(0, 20_000))
        except StorageError as error:
            failures += 1
            message = str(error)
            with storage.read() as view:
                assert keys(view, "rows") == [b"kept"]
        else:
            break
    assert 1 <= failures <= 3
    assert "try again" in message
    with storage.read() as view:
        assert sum(1 for _ in view.scan("rows")) == 20_001


@pytest.mark.usefixtures("small")
def test_reserved_room_is_there(storage: LmdbStorage) -> None:
    storage.reserve(30 * MIB)
    with storage.write() as txn:
        txn.put_many("rows", pairs(0, 20_000))
    assert storage.size_bytes() > 19 * MIB


@pytest.mark.usefixtures("small")
def test_full_store_refuses_changes_nothing_and_stays_readable(tmp_path: Path) -> None:
    storage = open_lmdb(tmp_path, size_bytes_max=4 * MIB)
    written, message = 0, ""
    while not message:
        try:
            with storage.write() as txn:
                txn.put_many("rows", pairs(written, 100))
            written += 100
        except StorageError as error:
            message = str(error)
    assert "store_mib_max" in message
    assert 2000 < written <= 4100
    with pytest.raises(StorageError, match="nothing was changed"), storage.write() as txn:
        txn.put_many("rows", pairs(50_000, 5000))
    with storage.read() as view:
        assert [key for key, _ in view.scan("rows")] == [key for key, _ in pairs(0, written)]
    storage.close()
    larger = open_lmdb(tmp_path, size_bytes_max=8 * MIB)
    with larger.write() as txn:
        txn.put_many("rows", pairs(written, 1000))
    larger.close()
    assert (tmp_path / "data.mdb").stat().st_size <= 8 * MIB


@pytest.mark.usefixtures("small")
def test_swallowed_full_map_still_undoes_the_transaction(tmp_path: Path) -> None:
    storage = open_lmdb(tmp_path, size_bytes_max=2 * MIB)

    def write_on_regardless() -> None:
        with storage.write() as txn:
            txn.put("rows", b"a", b"")
            try:
                txn.put_many("rows", pairs(0, 5000))
            except StorageError:
                txn.put("ids", b"b", b"")

    with pytest.raises(StorageError):
        write_on_regardless()
    with storage.read() as view:
        assert keys(view, "rows") == keys(view, "ids") == []
    storage.close()


@pytest.mark.usefixtures("small")
def test_growth_leaves_open_views_valid(storage: LmdbStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESIZE_WAIT_S", 0.05)
    fill(storage, "rows", [b"a"])
    failed: list[StorageError] = []

    def write() -> None:
        try:
            for batch in range(10):
                with storage.write() as txn:
                    txn.put_many("ids", pairs(batch * 500, 500))
        except StorageError as error:
            failed.append(error)

    with storage.read() as view:
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(20)
        assert not writer.is_alive()
        assert keys(view, "rows") == [b"a"]
        assert view.last("ids") is None
    assert len(failed) == 1  # the map could not move under the view: refused, not damaged
    with storage.write() as txn:
        txn.put_many("ids", pairs(0, 500))


@pytest.mark.usefixtures("small")
def test_readers_and_a_growing_writer_share_the_store(storage: LmdbStorage) -> None:
    done = threading.Event()
    problems: list[str] = []

    def read() -> None:
        try:
            while not done.is_set():
                with storage.read() as outer, storage.read() as inner:
                    counts = [sum(1 for _ in view.scan("rows")) for view in (outer, inner)]
                    if counts[0] % 200 or counts[1] % 200 or counts[0] > counts[1]:
                        problems.append(f"{counts}")
        except Exception as error:  # reported by the main thread
            problems.append(repr(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for batch in range(40):
        with storage.write() as txn:
            txn.put_many("rows", pairs(batch * 200, 200))
    done.set()
    for reader in readers:
        reader.join(20)
    assert problems == []
    assert storage.size_bytes() > 7 * MIB


def test_second_owner_is_refused_and_told_who_is_first(storage: LmdbStorage) -> None:
    with pytest.raises(HomeError, match=f"pid {os.getpid()}"):
        open_lmdb(storage.path)
    code = "import sys; from pathlib import Path; from ledger.lmdb_store import open_lmdb; open_lmdb(Path(sys.argv[1]))"
    other = subprocess.run(
        [sys.executable, "-c", code, str(storage.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert f"HomeError: another hamkor process (pid {os.getpid()})" in other.stderr.replace("keys.errors.", "")
    fill(storage, "rows", [b"a"])


def test_closed_store_can_be_owned_again(storage: LmdbStorage) -> None:
    fill(storage, "rows", [b"a"])
    storage.close()
    again = open_lmdb(storage.path)
    with again.read() as view:
        assert keys(view, "rows") == [b"a"]
    again.close()


def test_store_is_private(storage: LmdbStorage) -> None:
    fill(storage, "rows", [b"a"])
    assert storage.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in storage.path.iterdir()} == {0o600}


READ_ALONG = """
import sys
from pathlib import Path
from ledger.lmdb_store import open_lmdb
storage = open_lmdb(Path(sys.argv[1]), readonly=True)
for line in sys.stdin:
    with storage.read() as view:
        print(sum(1 for _ in view.scan("rows")), flush=True)
try:
    storage.write().__enter__()
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.usefixtures("small")
def test_reader_in_another_process_follows_growth(storage: LmdbStorage) -> None:
    fill(storage, "rows", [b"a"])
    with subprocess.Popen(
        [sys.executable, "-c", READ_ALONG, str(storage.path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdin is not None
        assert other.stdout is not None
        counts = []
        for batch in range(8):
            other.stdin.write("\n")
            other.stdin.flush()
            counts.append(int(other.stdout.readline()))
            with storage.write() as txn:
                txn.put_many("rows", pairs(batch * 1000, 1000))
        other.stdin.close()
        assert other.stdout.readline().strip() == "StorageError"
    assert counts == [1 + 1000 * batch for batch in range(8)]
    assert storage.size_bytes() > 7 * MIB


def test_nothing_to_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="no store"):
        open_lmdb(tmp_path / "missing", readonly=True)
    assert not (tmp_path / "missing").exists()


def test_damaged_file_is_a_clear_error(storage: LmdbStorage) -> None:
    fill(storage, "rows", [b"a"])
    storage.close()
    (storage.path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match="damaged"):
        open_lmdb(storage.path)


def test_truncated_file_is_a_clear_error(storage: LmdbStorage) -> None:
    (storage.path / "data.mdb").write_bytes(b"")
    storage.close()
    with (storage.path / "data.mdb").open("wb") as file:
        file.write(b"\x00" * 100)
    with pytest.raises(StorageError):
        open_lmdb(storage.path)


def test_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be opened"):
        open_lmdb(tmp_path / "file" / "store")


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from ledger.lmdb_store import open_lmdb
storage = open_lmdb(Path(sys.argv[1]))
batch = 0
while True:
    with storage.write() as txn:
        txn.put_many("rows", [((batch * 100 + n).to_bytes(8, "big"), bytes(500)) for n in range(50)])
        if batch == int(sys.argv[2]):
            print("in the middle", flush=True)
            sys.stdin.read()
        txn.put_many("rows", [((batch * 100 + n).to_bytes(8, "big"), bytes(500)) for n in range(50, 100)])
    print(batch, flush=True)
    batch += 1
"""


@pytest.mark.crash
@pytest.mark.parametrize("victim", [0, 1, 7])
def test_killed_in_a_transaction_loses_nothing_committed(tmp_path: Path, victim: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path), str(victim)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        acknowledged = 0
        while (line := writer.stdout.readline().strip()) != "in the middle":
            acknowledged = int(line) + 1
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
    storage = open_lmdb(tmp_path)  # the dead owner's lock is gone
    with storage.read() as view:
        assert keys(view, "rows") == [number.to_bytes(8, "big") for number in range(acknowledged * 100)]
    fill(storage, "ids", [b"a"])
    storage.close()
    assert acknowledged == victim


FILL_A_LIMITED_DISK = """
import os, resource, signal, sys
from pathlib import Path
from ledger.lmdb_store import open_lmdb
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
storage = open_lmdb(Path(sys.argv[1]))
with storage.write() as txn:
    txn.put("rows", b"kept", b"")
resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, 256 * 1024))
try:
    with storage.write() as txn:
        txn.put_many("rows", [(n.to_bytes(8, "big"), os.urandom(1000)) for n in range(1000)])
except Exception as error:
    print(type(error).__name__, error)
with storage.read() as view:
    print([key for key, _ in view.scan("rows")])
"""


@pytest.mark.crash
def test_disk_that_refuses_a_write_changes_nothing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FILL_A_LIMITED_DISK, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    first, second = run.stdout.splitlines()
    assert first.startswith("StorageError the disk under")
    assert second == "[b'kept']"
    storage = open_lmdb(tmp_path)
    with storage.read() as view:
        assert keys(view, "rows") == [b"kept"]
    storage.close()


def test_close_waits_for_the_writer(storage: LmdbStorage) -> None:
    started, finish = threading.Event(), threading.Event()

    def write() -> None:
        with storage.write() as txn:
            txn.put("rows", b"a", b"")
            started.set()
            finish.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    assert started.wait(20)
    closer = threading.Thread(target=storage.close)
    closer.start()
    finish.set()
    writer.join(20)
    closer.join(20)
    with pytest.raises(StorageError, match="closed"):
        enter(storage.read())
    again = open_lmdb(storage.path)
    with again.read() as view:
        assert keys(view, "rows") == [b"a"]
    again.close()
