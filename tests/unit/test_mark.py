"""The high-water mark: a key never signs twice at one place."""

from pathlib import Path

import pytest

from keys.errors import MarkError
from keys.mark import Mark
from keys.signing import PublicKey

KEY = PublicKey(b"\x01" * 32)


def identity(seq: int) -> bytes:
    return seq.to_bytes(32, "big")


def test_new_key_may_sign(tmp_path: Path) -> None:
    assert Mark.open(tmp_path / "m", KEY).check(0, None) == "ok"


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


def test_mark_of_another_key_is_refused(tmp_path: Path) -> None:
    Mark.open(tmp_path / "m", KEY).advance(0, identity(0))
    with pytest.raises(MarkError, match="another key"):
        Mark.open(tmp_path / "m", PublicKey(b"\x02" * 32))
