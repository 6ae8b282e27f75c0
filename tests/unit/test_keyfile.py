"""Key files: nothing is overwritten, nothing leaks, damage and wrong passphrases are told apart."""

import json
import os
import random
from hashlib import sha256
from pathlib import Path

import pytest

from keys.errors import KeyFileError
from keys.files import create_file, replace_file
from keys.keyfile import COSTS, MAGIC, KdfCost, KeyOwner, create_key_file, load_key_file, read_owner
from keys.signing import SigningKey

CHEAP = KdfCost(1, 8192)
KEY = SigningKey.from_seed(b"\x07" * 32)
OWNER = KeyOwner(KEY.public, "officer", "Zulfiya Tosheva", "scc", "imt-4")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "officer.key"
    create_key_file(path, KEY, b"secret", OWNER, cost=CHEAP)
    return path


def test_key_comes_back_with_its_owner(key_file: Path) -> None:
    key, owner = load_key_file(key_file, b"secret")
    assert (key.seed, owner) == (KEY.seed, OWNER)
    assert read_owner(key_file) == OWNER
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_the_default_cost_is_moderate_and_works(tmp_path: Path) -> None:
    create_key_file(tmp_path / "k", KEY, b"x", OWNER, cost=COSTS["interactive"])
    assert load_key_file(tmp_path / "k", b"x")[0].public == KEY.public


def test_wrong_passphrase_says_so(key_file: Path) -> None:
    with pytest.raises(KeyFileError, match="wrong passphrase"):
        load_key_file(key_file, b"Secret")


def test_existing_file_is_never_overwritten(key_file: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_key_file(key_file, KEY, b"other", OWNER, cost=CHEAP)
    assert key_file.read_bytes() == before
    assert {path.name for path in key_file.parent.iterdir()} == {key_file.name, f"{key_file.name}.mark"}


def test_file_that_others_can_read_is_refused(key_file: Path) -> None:
    key_file.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key_file(key_file, b"secret")


def test_every_truncation_and_every_flipped_bit_is_refused(key_file: Path) -> None:
    good = key_file.read_bytes()
    rng = random.Random(1)
    damaged = [good[:size] for size in range(len(good))]
    for byte in range(len(good)):
        changed = bytearray(good)
        changed[byte] ^= 1 << rng.randrange(8)
        damaged.append(bytes(changed))
    for raw in damaged:
        key_file.write_bytes(raw)
        with pytest.raises(KeyFileError):
            load_key_file(key_file, b"secret")


@pytest.mark.parametrize(("name", "value"), [("mem", 1 << 40), ("ops", 10**6), ("ops", "3"), ("salt", "00")])
def test_demands_of_a_forged_file_are_bounded(key_file: Path, name: str, value: object) -> None:
    fields = read_fields(key_file)
    fields["kdf"][name] = value
    write_fields(key_file, fields)
    with pytest.raises(KeyFileError):
        load_key_file(key_file, b"secret")


def test_owner_cannot_be_exchanged(key_file: Path) -> None:
    fields = read_fields(key_file)
    fields["name"] = "Somebody Else"
    write_fields(key_file, fields)
    with pytest.raises(KeyFileError, match="altered"):
        load_key_file(key_file, b"secret")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="space"):
        create_file(tmp_path / "a", b"content")
    assert list(tmp_path.iterdir()) == []


def test_replace_keeps_the_old_content_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "a", b"old")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="error"):
            replace_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    replace_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def read_fields(path: Path) -> dict[str, dict[str, object]]:
    content: dict[str, dict[str, object]] = json.loads(path.read_bytes()[len(MAGIC) : -65])
    return content


def write_fields(path: Path, fields: object) -> None:
    raw = MAGIC + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(raw + sha256(raw).hexdigest().encode() + b"\n")
