"""How entries are signed and handed in: the mark first, then the node; never twice at one place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keys.errors import BusyError, KeyFileError, MarkError
from keys.mark import Mark, mark_path
from keys.signing import SigningKey
from node.client import batch_size, write
from node.submit import BATCH_MAX, Draft
from protocol.codec import Value
from protocol.entry import Place, open_row
from protocol.frame import Run
from protocol.limits import BODY_BYTES_MAX, FRAME_BYTES_TARGET

SIGNER = SigningKey.from_seed(bytes(range(32)))


class Fake:
    """A node that keeps one log. fails: what to raise at the next hand-ins, before or after keeping the rows."""

    running = True

    def __init__(self, key_path: Path) -> None:
        self.place = Place(SIGNER.public, 0, None)
        self.batches: list[int] = []
        self.lose: list[bool | None] = []  # per hand-in: True, it never arrives; False, it is kept, no answer comes
        self.marks: list[tuple[int | None, int]] = []  # the mark's seq at each hand-in, and the last seq handed in
        self.acts: list[Value] = []  # to be named
        self.rows: list[bytes] = []
        self._key_path = key_path

    def ask(self, op: str, **fields: Value) -> Value:
        assert op == "prepare"
        assert fields["key"] == SIGNER.public
        return {
            "network_id": bytes(32), "seq": self.place.seq, "prev": self.place.prev, "time_ms_min": 2**52,
            "acts": self.acts, "whole": True,
        }  # fmt: skip

    def submit(self, run: Run) -> Value:
        self.marks.append((Mark.open(mark_path(self._key_path), SIGNER.public).seq, run.end - 1))
        fault = self.lose.pop(0) if self.lose else None
        if fault is True:
            raise BusyError("gone before it arrived")
        assert run.place == self.place
        for row in run.rows:
            entry = open_row(row, self.place)
            assert entry.time_ms == 2**52  # the log's last time is ahead of this machine's clock
            self.place = entry.after
        self.batches.append(len(run.rows))
        self.rows += run.rows
        if fault is False:
            raise BusyError("gone before it answered")
        return {"admitted": len(run.rows), "duplicates": 0}

    def follow(self, op: str, **fields: Value) -> Iterator[Value]:
        raise NotImplementedError


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    """Where the key file is."""
    path = tmp_path / "officer.key"
    path.touch()
    return path


def drafts(count: int, size_bytes: int = 10) -> list[Draft]:
    """Bodies that differ."""
    return [("record", str(number).encode().ljust(size_bytes), ()) for number in range(count)]


def test_many_entries_go_in_batches_and_the_mark_goes_first(key_path: Path) -> None:
    node, told = Fake(key_path), list[int]()
    ids = write(node, SIGNER, key_path, "record", drafts(1200), told.append)
    assert len(set(ids)) == 1200
    assert node.batches == [BATCH_MAX, BATCH_MAX, 200]
    assert told == [500, 1000, 1200]
    assert all(mark == handed_in for mark, handed_in in node.marks)
    assert ids[-1] == node.place.prev


def test_batch_signed_while_another_is_refused_is_forgotten_and_never_marked(key_path: Path) -> None:
    node = Fake(key_path)
    node.lose = [None, True]  # the second of four batches
    with pytest.raises(BusyError):
        write(node, SIGNER, key_path, "record", drafts(1700))
    assert node.batches == [BATCH_MAX]
    assert Mark.open(mark_path(key_path), SIGNER.public).seq == 2 * BATCH_MAX - 1
    write(node, SIGNER, key_path, "record", drafts(1))
    assert node.batches == [BATCH_MAX, BATCH_MAX, 1]
    assert len(set(node.rows)) == node.place.seq


def test_acts_are_named_by_the_first_entry_of_what_is_written_together(key_path: Path) -> None:
    node = Fake(key_path)
    node.acts = [b"\x07" * 32]
    write(node, SIGNER, key_path, "record", drafts(600))
    place, refs = Place(SIGNER.public, 0, None), []
    for row in node.rows:
        entry = open_row(row, place)
        place = entry.after
        refs.append(entry.refs)
    assert refs == [(b"\x07" * 32,), *[()] * 599]


@pytest.mark.parametrize("lost", [True, False])
def test_what_was_signed_and_not_answered_goes_in_again_unchanged(key_path: Path, lost: bool) -> None:
    node = Fake(key_path)
    node.lose = [lost]
    with pytest.raises(BusyError):
        write(node, SIGNER, key_path, "record", drafts(3))
    signed = Mark.open(mark_path(key_path), SIGNER.public)
    ids = write(node, SIGNER, key_path, "record", drafts(2, 20))
    assert node.place.seq == 5
    assert len(ids) == 2
    assert signed.seq == 2
    assert node.batches == [3, 2]


def test_node_that_says_yes_and_keeps_nothing_does_not_loop(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Fake(key_path)
    node.lose = [True]
    with pytest.raises(BusyError):
        write(node, SIGNER, key_path, "record", drafts(1))
    monkeypatch.setattr(node, "submit", lambda run: {"admitted": 0, "duplicates": 0})
    with pytest.raises(BusyError, match="did not grow"):
        write(node, SIGNER, key_path, "record", drafts(1))


def test_log_behind_its_mark_is_never_signed_for(key_path: Path) -> None:
    node = Fake(key_path)
    write(node, SIGNER, key_path, "record", drafts(2))
    write(node, SIGNER, key_path, "record", drafts(2))
    node.place = Place(SIGNER.public, 0, None)  # restored from an older copy
    with pytest.raises(MarkError, match="restored"):
        write(node, SIGNER, key_path, "record", drafts(1))
    assert node.batches == [2, 2]


def test_key_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be locked"):
        write(Fake(tmp_path / "none.key"), SIGNER, tmp_path / "none.key", "record", drafts(1))


def test_batch_fits_in_a_frame_and_holds_one_entry_at_least() -> None:
    assert batch_size(drafts(10, BODY_BYTES_MAX)) == 1
    assert batch_size(drafts(1, BODY_BYTES_MAX)) == 1
    assert batch_size(drafts(500, 100)) == 500
    count = batch_size(drafts(500, 4000))
    assert 100 < count * 4000 <= FRAME_BYTES_TARGET < (count + 20) * 4000


def test_large_bodies_are_handed_in_a_few_at_a_time(key_path: Path) -> None:
    node = Fake(key_path)
    ids = write(node, SIGNER, key_path, "record", drafts(5, BODY_BYTES_MAX))
    assert len(ids) == 5
    assert node.batches == [1] * 5
