"""What every `ledger.storage.Storage` must do. Subclass `StorageSuite` in a test file and give `storage`.

The real store and the simulator's pass the same tests, so what holds in simulation holds on disk.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keys.errors import StorageError
from ledger.storage import Reader, Storage, Writer


class StorageSuite:
    """The claims. A subclass has a fixture `storage` that gives an empty Storage."""

    def test_empty_store_has_nothing(self, storage: Storage) -> None:
        with storage.read() as view:
            assert view.get("rows", b"a") is None
            assert view.last("rows") is None
            assert view.before("rows", b"a") is None
            assert list(view.scan("rows")) == []

    def test_committed_is_read_back(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("rows", b"a", b"1")
            txn.put("ids", b"a", b"")
        with storage.read() as view:
            assert view.get("rows", b"a") == b"1"
            assert view.get("ids", b"a") == b""
            assert view.get("logs", b"a") is None

    def test_values_are_copies(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("rows", b"a", b"before")
        with storage.read() as view:
            value = view.get("rows", b"a")
            pair = view.last("rows")
        with storage.write() as txn:
            txn.put("rows", b"a", b"after!")
        assert type(value) is bytes
        assert (value, pair) == (b"before", (b"a", b"before"))

    def test_exception_undoes_everything(self, storage: Storage) -> None:
        fill(storage, "rows", [b"a"])

        def stop_halfway() -> None:
            with storage.write() as txn:
                txn.put("rows", b"b", b"")
                txn.delete("rows", b"a")
                txn.put_many("ids", [(b"x", b""), (b"y", b"")])
                raise KeyError("stop")

        with pytest.raises(KeyError, match="stop"):
            stop_halfway()
        with storage.read() as view:
            assert keys(view, "rows") == [b"a"]
            assert keys(view, "ids") == []

    def test_writer_sees_its_own_changes(self, storage: Storage) -> None:
        fill(storage, "rows", [b"a", b"c", b"e"])
        with storage.write() as txn:
            txn.put("rows", b"b", b"new")
            txn.put("rows", b"c", b"changed")
            txn.delete("rows", b"e")
            assert txn.get("rows", b"e") is None
            assert list(txn.scan("rows")) == [(b"a", b"a"), (b"b", b"new"), (b"c", b"changed")]
            assert txn.last("rows") == (b"c", b"changed")
            assert txn.before("rows", b"c") == (b"b", b"new")

    def test_reader_sees_the_state_at_its_start(self, storage: Storage) -> None:
        fill(storage, "rows", [b"a", b"b"])
        with storage.read() as view:
            with ExitStack() as other:  # the same thread may do so where no growth is needed
                txn = other.enter_context(storage.write())
                txn.put("rows", b"c", b"c")
                assert keys(view, "rows") == [b"a", b"b"]
            assert keys(view, "rows") == [b"a", b"b"]
        with storage.read() as view:
            assert keys(view, "rows") == [b"a", b"b", b"c"]

    def test_reader_does_not_see_an_open_transaction(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("rows", b"a", b"")
            with storage.read() as view:
                assert view.get("rows", b"a") is None
                assert view.last("rows") is None

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [
            (b"", None, [b"a", b"b", b"bb", b"c"]),
            (b"b", None, [b"b", b"bb", b"c"]),
            (b"b", b"c", [b"b", b"bb"]),
            (b"ba", b"bz", [b"bb"]),
            (b"", b"a", []),
            (b"c", b"b", []),
            (b"d", None, []),
            (b"", b"", []),
        ],
    )
    def test_scan_gives_what_lies_between(
        self, storage: Storage, start: bytes, stop: bytes | None, expected: list[bytes]
    ) -> None:
        fill(storage, "rows", [b"bb", b"c", b"a", b"b"])
        with storage.read() as view:
            assert [key for key, _ in view.scan("rows", start, stop)] == expected
        with storage.write() as txn:
            assert [key for key, _ in txn.scan("rows", start, stop)] == expected

    @pytest.mark.parametrize(
        ("key", "expected"), [(b"a", None), (b"b", b"a"), (b"bz", b"b"), (b"\xff" * 40, b"c"), (b"", None)]
    )
    def test_before_is_the_greatest_key_below(self, storage: Storage, key: bytes, expected: bytes | None) -> None:
        fill(storage, "rows", [b"a", b"b", b"c"])
        with storage.read() as view:
            found = view.before("rows", key)
        assert (found and found[0]) == expected

    def test_bytes_are_compared_as_unsigned(self, storage: Storage) -> None:
        fill(storage, "rows", [b"\xff", b"\x7f", b"\x80", b"\x00", b"\x00\x00"])
        with storage.read() as view:
            assert keys(view, "rows") == [b"\x00", b"\x00\x00", b"\x7f", b"\x80", b"\xff"]

    def test_put_many_takes_any_order_and_repeats(self, storage: Storage) -> None:
        fill(storage, "rows", [b"m"])
        with storage.write() as txn:
            txn.put_many("rows", [(b"z", b"1"), (b"a", b"2"), (b"m", b"3"), (b"z", b"4")])
            txn.put_many("rows", [])
        with storage.read() as view:
            assert list(view.scan("rows")) == [(b"a", b"2"), (b"m", b"3"), (b"z", b"4")]

    @pytest.mark.parametrize("first", [b"\x00", b"m", b"n", b"z"])
    def test_put_many_in_ascending_order_keeps_every_pair(self, storage: Storage, first: bytes) -> None:
        fill(storage, "rows", [b"a", b"m"])
        pairs = [(first + bytes([index]), bytes([index])) for index in range(200)]
        with storage.write() as txn:
            txn.put_many("rows", iter(pairs))
        with storage.read() as view:
            assert list(view.scan("rows")) == sorted([(b"a", b"a"), (b"m", b"m"), *pairs])

    def test_delete_of_what_is_not_there_does_nothing(self, storage: Storage) -> None:
        fill(storage, "rows", [b"a"])
        with storage.write() as txn:
            txn.delete("rows", b"b")
            txn.delete("rows", b"")
        with storage.read() as view:
            assert keys(view, "rows") == [b"a"]

    def test_scan_sees_what_is_changed_ahead_of_it(self, storage: Storage) -> None:
        fill(storage, "rows", [b"a", b"b", b"c", b"d"])
        seen = []
        with storage.write() as txn:
            for key, _ in txn.scan("rows"):
                seen.append(key)
                if key == b"a":
                    txn.delete("rows", b"a")
                    txn.delete("rows", b"b")
                    txn.put("rows", b"cc", b"")
        assert seen == [b"a", b"c", b"cc", b"d"]

    @pytest.mark.parametrize("key", [b"", b"k" * 512])
    def test_impossible_keys_are_refused(self, storage: Storage, key: bytes) -> None:
        with pytest.raises(ValueError, match="a key of"), storage.write() as txn:
            txn.put("rows", key, b"")
        with pytest.raises(ValueError, match="a key of"), storage.write() as txn:
            txn.put_many("rows", [(b"a", b""), (key, b"")])
        with storage.read() as view:
            assert view.get("rows", key) is None
            assert keys(view, "rows") == []

    def test_longest_key_and_large_value_fit(self, storage: Storage) -> None:
        key, value = b"k" * 511, b"v" * 300_000
        with storage.write() as txn:
            txn.put("rows", key, value)
        with storage.read() as view:
            assert view.get("rows", key) == value

    def test_view_is_useless_after_its_end(self, storage: Storage) -> None:
        fill(storage, "rows", [b"a", b"b"])
        with storage.read() as view:
            scan = view.scan("rows")
            next(scan)
        for use in (lambda: view.get("rows", b"a"), lambda: view.last("rows"), lambda: next(scan)):
            with pytest.raises(RuntimeError, match="ended"):
                use()

    def test_second_transaction_in_one_thread_is_refused(self, storage: Storage) -> None:
        with storage.write() as txn:
            txn.put("rows", b"a", b"")
            with pytest.raises(RuntimeError, match="open already"):
                enter(storage.write())
        with storage.read() as view:
            assert keys(view, "rows") == [b"a"]

    def test_size_grows_with_content(self, storage: Storage) -> None:
        before = storage.size_bytes()
        with storage.write() as txn:
            txn.put("logs", b"a", b"v" * 100_000)
        assert storage.size_bytes() >= before + 100_000

    def test_closed_store_refuses_politely(self, storage: Storage) -> None:
        storage.close()
        storage.close()
        for context in (storage.read, storage.write):
            with pytest.raises(StorageError, match="closed"):
                enter(context())
        with pytest.raises(StorageError, match="closed"):
            storage.size_bytes()


def enter(context: "AbstractContextManager[Reader] | AbstractContextManager[Writer]") -> None:
    """Open and end `context`."""
    with context:
        pass


def fill(storage: Storage, table: str, names: list[bytes]) -> None:
    """Store each name under itself."""
    with storage.write() as txn:
        for name in names:
            txn.put(table, name, name)


def keys(view: Reader, table: str) -> list[bytes]:
    """All keys of a table."""
    return [key for key, _ in view.scan(table)]


_keys = st.one_of(st.integers(0, 40).map(lambda number: number.to_bytes(2, "big")), st.binary(min_size=1, max_size=3))
_values = st.binary(max_size=8)
_names = st.sampled_from(["rows", "ids"])


class StorageMachine(RuleBasedStateMachine):
    """Any order of operations gives what a dictionary gives. A subclass says how to `open` a fresh store."""

    def open(self) -> Storage:
        """A fresh, empty store."""
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.storage = self.open()
        self.committed: dict[str, dict[bytes, bytes]] = {"rows": {}, "ids": {}}
        self.pending: dict[str, dict[bytes, bytes]] | None = None
        self.block = ExitStack()
        self.txn: Writer | None = None
        self.views: list[tuple[ExitStack, Reader, dict[str, dict[bytes, bytes]]]] = []

    @precondition(lambda self: self.txn is None)
    @rule()
    def begin(self) -> None:
        self.block = ExitStack()
        self.txn = self.block.enter_context(self.storage.write())
        self.pending = {name: dict(table) for name, table in self.committed.items()}

    @precondition(lambda self: self.txn is not None)
    @rule(name=_names, key=_keys, value=_values)
    def put(self, name: str, key: bytes, value: bytes) -> None:
        assert self.txn is not None
        assert self.pending is not None
        self.txn.put(name, key, value)
        self.pending[name][key] = value

    @precondition(lambda self: self.txn is not None)
    @rule(name=_names, pairs=st.lists(st.tuples(_keys, _values), max_size=12), ascending=st.booleans())
    def put_many(self, name: str, pairs: list[tuple[bytes, bytes]], ascending: bool) -> None:
        assert self.txn is not None
        assert self.pending is not None
        self.txn.put_many(name, sorted(pairs) if ascending else pairs)
        self.pending[name].update(sorted(pairs) if ascending else pairs)

    @precondition(lambda self: self.txn is not None)
    @rule(name=_names, key=_keys)
    def delete(self, name: str, key: bytes) -> None:
        assert self.txn is not None
        assert self.pending is not None
        self.txn.delete(name, key)
        self.pending[name].pop(key, None)

    @precondition(lambda self: self.txn is not None)
    @rule()
    def commit(self) -> None:
        assert self.pending is not None
        self.block.close()
        self.txn, self.committed = None, self.pending

    @precondition(lambda self: self.txn is not None)
    @rule()
    def abort(self) -> None:
        error = KeyError("abort")
        with pytest.raises(KeyError), self.block:
            raise error
        self.txn = None

    @precondition(lambda self: len(self.views) < 3)
    @rule()
    def look(self) -> None:
        stack = ExitStack()
        self.views.append((stack, stack.enter_context(self.storage.read()), self.committed))

    @precondition(lambda self: bool(self.views))
    @rule()
    def look_away(self) -> None:
        self.views.pop(0)[0].close()

    @rule(name=_names, start=st.one_of(st.just(b""), _keys), stop=st.one_of(st.none(), _keys))
    def read(self, name: str, start: bytes, stop: bytes | None) -> None:
        for view, model in self._known():
            table = model[name]
            expected = [(key, table[key]) for key in sorted(table) if key >= start and (stop is None or key < stop)]
            assert list(view.scan(name, start, stop)) == expected
            assert view.get(name, start) == table.get(start)
            assert view.last(name) == max(table.items(), default=None)
            assert view.before(name, start) == max(((k, v) for k, v in table.items() if k < start), default=None)

    @precondition(lambda self: self.txn is not None)
    @rule(name=_names, victims=st.sets(_keys, max_size=4), extra=_keys)
    def change_while_scanning(self, name: str, victims: set[bytes], extra: bytes) -> None:
        assert self.txn is not None
        assert self.pending is not None
        table = self.pending[name]
        seen: list[bytes] = []
        expected = sorted(table)
        for index, (key, _) in enumerate(self.txn.scan(name)):
            seen.append(key)
            if index == 1:
                before = sorted(table)
                for victim in victims:
                    self.txn.delete(name, victim)
                    table.pop(victim, None)
                self.txn.put(name, extra, b"extra")
                table[extra] = b"extra"
                expected = before[:2] + sorted(key for key in table if key > before[1])
        assert seen == expected

    @invariant()
    def tables_agree(self) -> None:
        for view, model in self._known():
            assert dict(view.scan("rows")) == model["rows"]

    def _known(self) -> Iterator[tuple[Reader, dict[str, dict[bytes, bytes]]]]:
        if self.txn is not None:
            assert self.pending is not None
            yield self.txn, self.pending
        for _, view, model in self.views:
            yield view, model

    def teardown(self) -> None:
        if not hasattr(self, "storage"):
            return
        for stack, _, _ in self.views:
            stack.close()
        self.block.close()
        self.storage.close()
