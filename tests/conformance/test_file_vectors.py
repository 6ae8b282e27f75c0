"""The vectors of files: key file, mark, heads."""

import json
from pathlib import Path
from typing import Any

import pytest

from keys.errors import FormatError, KeyFileError, MarkError, NetworkMismatchError
from keys.keyfile import load_key_file
from keys.mark import Mark
from keys.signing import PublicKey
from node.commands.steward import read_heads
from protocol import make_vectors
from protocol.vector_cast import NETWORK, OFFICER

Case = dict[str, Any]
FOLDER = Path(make_vectors.__file__).parent / "vectors"


def cases(family: str, title: str) -> list[Any]:
    listed = json.loads((FOLDER / f"{family}.json").read_text())[title]
    return [pytest.param(case, id=case["name"]) for case in listed]


def written(case: Case, folder: Path) -> Path:
    path = folder / "file"
    path.write_bytes(bytes.fromhex(case["hex"]))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("case", cases("keyfile", "valid"))
def test_key_file_holds_the_key(case: Case, tmp_path: Path) -> None:
    key, owner = load_key_file(written(case, tmp_path), case["passphrase"].encode())
    assert (key.seed.hex(), key.public.hex()) == (case["seed"], case["public"])
    assert {"agency": owner.agency, "name": owner.name, "rank": owner.rank, "unit": owner.unit} == case["owner"]


@pytest.mark.parametrize("case", cases("keyfile", "refused"))
def test_key_file_that_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        load_key_file(written(case, tmp_path), case["passphrase"].encode())


@pytest.mark.parametrize("case", cases("mark", "valid"))
def test_mark_says_what_was_signed(case: Case, tmp_path: Path) -> None:
    mark = Mark.open(written(case, tmp_path), PublicKey(bytes.fromhex(case["key"])))
    assert ((mark.seq or 0) + 1 if mark.seq is not None else 0) == case["size"]
    assert (mark.id or bytes(32)).hex() == case["id"]
    assert [row.hex() for row in mark.pending] == case["rows"]
    assert mark.check(case["size"], mark.id) == "ok"


@pytest.mark.parametrize("case", cases("mark", "refused"))
def test_mark_that_lets_nothing_be_signed(case: Case, tmp_path: Path) -> None:
    def sign() -> None:
        mark = Mark.open(written(case, tmp_path), OFFICER.public)
        mark.check(0 if mark.seq is None else mark.seq + 1, mark.id)

    with pytest.raises(MarkError):
        sign()


@pytest.mark.parametrize("case", cases("heads", "valid"))
def test_heads_file_says_what_is_held(case: Case, tmp_path: Path) -> None:
    assert [[key.hex(), size] for key, size in read_heads(written(case, tmp_path), NETWORK).items()] == case["heads"]


@pytest.mark.parametrize("case", cases("heads", "refused"))
def test_heads_file_that_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(NetworkMismatchError if case["error"] == "network" else FormatError):
        read_heads(written(case, tmp_path), NETWORK)
