"""The high-water mark: a key never signs twice at one place."""

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from keys.errors import MarkError
from keys.mark import Mark, birth_ns_of
from keys.signing import PublicKey

KEY = PublicKey(b"\x01" * 32)


def identity(seq: int) -> bytes:
    return seq.to_bytes(32, "big")


def test_new_key_may_sign(tmp_path: Path) -> None:
    Mark.create(tmp_path / "m", KEY)
    assert Mark.open(tmp_path / "m", KEY).check(0, None) == "ok"
    with pytest.raises(MarkError, match="never overwritten"):
        Mark.create(tmp_path / "m", KEY)


def test_key_without_a_mark_is_lost_until_it_adopts_the_end_of_its_log(tmp_path: Path) -> None:
    mark = Mark.open(tmp_path / "m", KEY)
    assert mark.check(5, identity(4)) == "lost"
    mark.adopt(5, identity(4))
    again = Mark.open(tmp_path / "m", KEY)
    assert (again.lost, again.seq, again.check(5, identity(4))) == (False, 4, "ok")


@pytest.mark.parametrize("signed", [0, 3])
def test_log_that_is_ahead_bars_the_key_for_ever(tmp_path: Path, signed: int) -> None:
    mark = Mark.create(tmp_path / "m", KEY)
    if signed:
        mark.advance(signed - 1, identity(signed - 1))
    with pytest.raises(MarkError, match="second one"):
        Mark.open(tmp_path / "m", KEY).check(signed + 1, identity(signed))
    with pytest.raises(MarkError, match="second one"):  # also when the log is as it was
        Mark.open(tmp_path / "m", KEY).check(signed, identity(signed - 1) if signed else None)


def test_replaced_key_signs_nothing_more(tmp_path: Path) -> None:
    Mark.create(tmp_path / "m", KEY).retire()
    with pytest.raises(MarkError, match="replaced"):
        Mark.open(tmp_path / "m", KEY).check(0, None)


def test_copied_or_restored_mark_is_noticed_and_a_renamed_folder_is_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    Mark.create(home / "m", KEY).advance(4, identity(4))
    home.rename(tmp_path / "renamed")
    path = tmp_path / "renamed" / "m"
    if birth_ns_of(path) == 0:
        pytest.skip("this file system does not tell when a file was made")
    assert Mark.open(path, KEY).check(5, identity(4)) == "ok"
    while True:  # the clock of the file system has ticked when the copy is born later
        shutil.copytree(path.parent, tmp_path / "copy", dirs_exist_ok=True)
        if birth_ns_of(tmp_path / "copy" / "m") > birth_ns_of(path):
            break
        shutil.rmtree(tmp_path / "copy")
    with pytest.raises(MarkError, match="copied or restored"):
        Mark.open(tmp_path / "copy" / "m", KEY).check(5, identity(4))
    kept = path.read_bytes()
    path.unlink()
    path.write_bytes(kept)
    with pytest.raises(MarkError, match="copied or restored"):
        Mark.open(path, KEY).check(5, identity(4))


def test_mark_of_version_1_is_read_and_written_anew(tmp_path: Path) -> None:
    raw = b"hamkor mark 1\n" + KEY + (4).to_bytes(8, "big") + identity(4) + (4).to_bytes(8, "big") + bytes(4)
    (tmp_path / "m").write_bytes(raw + sha256(raw).digest())
    mark = Mark.open(tmp_path / "m", KEY)
    assert mark.check(5, identity(4)) == "ok"
    mark.advance(5, identity(5))
    assert (tmp_path / "m").read_bytes().startswith(b"hamkor mark 2\n")
    assert Mark.open(tmp_path / "m", KEY).seq == 5


def test_mark_survives_and_matches_the_log(tmp_path: Path) -> None:
    Mark.open(tmp_path / "m", KEY).advance(4, identity(4), (b"rows",))
    again = Mark.open(tmp_path / "m", KEY)
    assert (again.seq, again.id, again.pending) == (4, identity(4), (b"rows",))
    assert again.check(5, identity(4)) == "ok"


def test_rows_signed_before_a_crash_are_submitted_again(tmp_path: Path) -> None:
    Mark.open(tmp_path / "m", KEY).advance(6, identity(6), (b"rows",), first_seq=5)
    assert Mark.open(tmp_path / "m", KEY).check(5, identity(4)) == "resubmit"


@pytest.mark.parametrize("size", [0, 1, 3])
def test_restored_copy_is_refused_and_told_what_to_do(tmp_path: Path, size: int) -> None:
    Mark.open(tmp_path / "m", KEY).advance(4, identity(4), (b"rows",))
    with pytest.raises(MarkError, match="new key"):
        Mark.open(tmp_path / "m", KEY).check(size, identity(size - 1) if size else None)


def test_other_entry_in_the_place_of_ours_is_refused(tmp_path: Path) -> None:
    Mark.open(tmp_path / "m", KEY).advance(4, identity(4), (b"rows",))
    with pytest.raises(MarkError):
        Mark.open(tmp_path / "m", KEY).check(5, identity(99))


def test_seq_never_goes_back(tmp_path: Path) -> None:
    mark = Mark.open(tmp_path / "m", KEY)
    mark.advance(4, identity(4))
    with pytest.raises(MarkError, match="signed already"):
        mark.advance(4, identity(5))


def test_every_flipped_bit_and_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m"
    Mark.open(path, KEY).advance(4, identity(4), (b"rows",))
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(MarkError):
            Mark.open(path, KEY)
    for bit in range(0, len(good) * 8, 3):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(changed))
        with pytest.raises(MarkError):
            Mark.open(path, KEY)


def undone(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mark of five entries, and one of six beside it, as after a power cut that undid the renaming; where that is."""
    Mark.open(path, KEY).advance(4, identity(4), (b"rows",))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda _self, _target: None)
        Mark.open(path, KEY).advance(5, identity(5), (b"more",))
    return path.with_name(f".{path.name}.new")


def test_mark_whose_renaming_a_power_cut_undid_is_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    undone(path, monkeypatch)
    old = path.read_bytes()
    mark = Mark.open(path, KEY)
    assert (mark.seq, mark.pending, mark.check(5, identity(4))) == (5, (b"more",), "resubmit")
    with monkeypatch.context() as patch:  # the next signature fails: what is durable stays
        patch.setattr(os, "write", lambda _descriptor, _content: Path("/nonexistent").stat())
        with pytest.raises(MarkError, match="cannot be written"):
            mark.advance(6, identity(6))
    assert Mark.open(path, KEY).seq == 5
    assert path.read_bytes() != old
    Mark.open(path, KEY).advance(6, identity(6))
    assert Mark.open(path, KEY).check(7, identity(6)) == "ok"
    assert list(tmp_path.iterdir()) == [path]


def test_mark_that_was_cut_off_in_the_writing_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = undone(tmp_path / "m", monkeypatch)
    whole = new.read_bytes()
    for size in range(len(whole)):
        new.write_bytes(whole[:size])
        assert Mark.open(tmp_path / "m", KEY).seq == 4
    Mark.open(tmp_path / "m", KEY).advance(5, identity(5))
    assert Mark.open(tmp_path / "m", KEY).seq == 5


def test_copied_mark_that_has_not_its_name_yet_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = undone(tmp_path / "m", monkeypatch)
    if birth_ns_of(new) == 0:
        pytest.skip("this file system does not tell when a file was made")
    kept, born = new.read_bytes(), birth_ns_of(new)
    while birth_ns_of(new) <= born:  # until the clock of the file system has ticked
        new.unlink()
        new.write_bytes(kept)
    with pytest.raises(MarkError, match="copied or restored"):
        Mark.open(tmp_path / "m", KEY).check(6, identity(5))


def test_old_mark_written_over_the_new_one_in_place_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m"
    Mark.open(path, KEY).advance(4, identity(4))
    if birth_ns_of(path) == 0:
        pytest.skip("this file system does not tell when a file was made")
    old, born, seq = path.read_bytes(), birth_ns_of(path), 4
    while birth_ns_of(path) <= born:
        seq += 1
        Mark.open(path, KEY).advance(seq, identity(seq))
    path.write_bytes(old)
    with pytest.raises(MarkError, match="copied or restored"):
        Mark.open(path, KEY).check(5, identity(4))


def test_mark_is_synced_before_it_is_given_out_and_each_is_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    mark = Mark.open(tmp_path / "m", KEY)
    kept = []
    for seq in range(3):
        mark.advance(seq, identity(seq))
        kept.append((tmp_path / "m").open("rb"))  # so that its number is not given to another
        assert synced[-1] == (tmp_path / "m").stat().st_ino
    assert len({os.fstat(file.fileno()).st_ino for file in kept}) == 3
    for file in kept:
        file.close()


def test_mark_of_another_key_is_refused(tmp_path: Path) -> None:
    Mark.open(tmp_path / "m", KEY).advance(0, identity(0))
    with pytest.raises(MarkError, match="another key"):
        Mark.open(tmp_path / "m", PublicKey(b"\x02" * 32))
