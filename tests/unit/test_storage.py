"""The simulated disk passes the suite of every storage, and fails as it is told to."""

import pytest
from hypothesis import settings

from keys.errors import StorageError
from sim.disk import MemoryStorage
from tests.storage_suite import StorageMachine, StorageSuite, enter, fill, keys


class TestMemoryStorage(StorageSuite):
    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage()


class MemoryMachine(StorageMachine):
    def open(self) -> MemoryStorage:
        return MemoryStorage()


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_crash_loses_the_open_transaction_only() -> None:
    disk = MemoryStorage()
    fill(disk, "rows", [b"a"])

    def crash_before_the_end() -> None:
        with disk.write() as txn:
            txn.put("rows", b"b", b"")
            disk.crash()

    with pytest.raises(StorageError, match="went down"):
        crash_before_the_end()
    with disk.read() as view:
        assert keys(view, "rows") == [b"a"]
    fill(disk, "rows", [b"c"])
    with disk.read() as view:
        assert keys(view, "rows") == [b"a", b"c"]


def test_crash_ends_what_was_open() -> None:
    disk = MemoryStorage()
    fill(disk, "rows", [b"a"])
    with disk.read() as view:
        disk.crash()
        with pytest.raises(StorageError, match="went down"):
            view.get("rows", b"a")

    def write_after_the_crash() -> None:
        with disk.write() as txn:
            disk.crash()
            txn.put("rows", b"b", b"")

    with pytest.raises(StorageError, match="went down"):
        write_after_the_crash()


def test_late_end_of_a_crashed_transaction_leaves_the_next_alone() -> None:
    disk = MemoryStorage()
    old = disk.write()
    old.__enter__().put("rows", b"old", b"")
    disk.crash()
    with disk.write() as txn:
        txn.put("rows", b"new", b"")
        with pytest.raises(StorageError, match="went down"):
            old.__exit__(None, None, None)
        txn.put("rows", b"newer", b"")
    with disk.read() as view:
        assert keys(view, "rows") == [b"new", b"newer"]


def test_full_disk_refuses_and_changes_nothing() -> None:
    disk = MemoryStorage()
    disk.full_after(10)
    fill(disk, "rows", [b"abc"])
    with pytest.raises(StorageError, match="full"):
        fill(disk, "rows", [b"x", b"yz"])
    with disk.read() as view:
        assert keys(view, "rows") == [b"abc"]
    fill(disk, "rows", [b"de"])
    with pytest.raises(StorageError, match="full"):
        fill(disk, "rows", [b"f"])
    disk.full_after(None)
    fill(disk, "rows", [b"f"])
    with disk.read() as view:
        assert keys(view, "rows") == [b"abc", b"de", b"f"]


def test_swallowed_failure_still_undoes_the_transaction() -> None:
    disk = MemoryStorage()
    disk.full_after(3)

    def write_on_regardless() -> None:
        with disk.write() as txn:
            txn.put("rows", b"a", b"")
            try:
                txn.put("rows", b"too large", b"")
            except StorageError:
                txn.put("rows", b"b", b"")

    with pytest.raises(StorageError, match="nothing was changed"):
        write_on_regardless()
    with disk.read() as view:
        assert keys(view, "rows") == []


def test_restored_backup_is_the_state_of_its_day() -> None:
    disk = MemoryStorage()
    fill(disk, "rows", [b"a"])
    backup = disk.snapshot()
    size = disk.size_bytes()
    fill(disk, "rows", [b"b"])
    with disk.write() as txn:
        txn.delete("rows", b"a")
    disk.restore(backup)
    with disk.read() as view:
        assert keys(view, "rows") == [b"a"]
    assert disk.size_bytes() == size
    fill(disk, "rows", [b"c"])
    other = MemoryStorage()
    other.restore(backup)
    with other.read() as view:
        assert keys(view, "rows") == [b"a"]


def test_reopened_disk_keeps_what_was_committed() -> None:
    disk = MemoryStorage()
    fill(disk, "rows", [b"a"])
    disk.close()
    with pytest.raises(StorageError, match="closed"):
        enter(disk.read())
    with disk.reopen().read() as view:
        assert keys(view, "rows") == [b"a"]


def test_size_counts_keys_and_values_that_are_there() -> None:
    disk = MemoryStorage()
    fill(disk, "rows", [b"abc", b"de"])
    assert disk.size_bytes() == 10
    with disk.write() as txn:
        txn.put("rows", b"abc", b"")
        txn.delete("rows", b"de")
    assert disk.size_bytes() == 3
