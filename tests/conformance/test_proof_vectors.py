"""The vectors of proofs and of checkpoints: each comes to what its file says, and is refused for the reason it says."""

import json
from pathlib import Path
from typing import Any

import pytest

from keys.errors import RemoteError
from keys.signing import PublicKey
from ledger.verify import REASONS, verify_file
from protocol import make_vectors
from protocol.charter import decode_charter_file, verify_charter
from protocol.checkpoint import Chain, check_note, note_key, parse_checkpoint, read_note, render_note
from protocol.entry import NetworkId
from protocol.proof import END
from protocol.verify_proof import check

Case = dict[str, Any]
FOLDER = Path(make_vectors.__file__).parent / "vectors"
CHARTER_FILE = bytes.fromhex(json.loads((FOLDER / "charter.json").read_text())["valid"][0]["hex"])
CHARTER = verify_charter(decode_charter_file(CHARTER_FILE))


def file_of(case: Case) -> bytes:
    return case["file"].encode() if "file" in case else bytes.fromhex(case["hex"])


def cases(family: str, title: str, holding: str = "name") -> list[Any]:
    listed = json.loads((FOLDER / f"{family}.json").read_text())[title]
    return [pytest.param(case, id=case["name"]) for case in listed if holding in case]


@pytest.mark.parametrize("case", cases("proof", "valid"))
def test_proof_comes_to_what_it_says(case: Case) -> None:
    assert verify_file(file_of(case), CHARTER).to_json() == case["result"]


@pytest.mark.parametrize("case", cases("proof", "refused"))
def test_proof_is_refused_for_its_reason(case: Case) -> None:
    verdict = verify_file(file_of(case), CHARTER)
    assert (verdict.verdict, verdict.reason) == ("refused", case["reason"]), verdict.detail
    assert verdict.to_json() == {"verdict": "refused", "reason": case["reason"]}


@pytest.mark.parametrize("case", [*cases("proof", "valid"), *cases("proof", "refused")])
def test_the_single_file_says_the_same(case: Case) -> None:
    expected = case.get("result") or {"verdict": "refused", "reason": case["reason"]}
    assert check(file_of(case), CHARTER_FILE) == expected


def test_every_reason_has_vectors() -> None:
    assert {param.values[0]["reason"] for param in cases("proof", "refused")} == set(REASONS)


@pytest.mark.parametrize("case", cases("proof", "valid")[:2])
def test_every_changed_byte_and_every_truncation_is_refused(case: Case) -> None:
    raw = file_of(case)
    end = raw.index(END) + len(END)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
        assert verify_file(changed, CHARTER).verdict == "refused", at
        assert verify_file(raw[:at], CHARTER).reason == ("page" if at >= end else "form")


def node_of(case: Case) -> tuple[PublicKey, NetworkId]:
    return PublicKey(bytes.fromhex(case["key"])), NetworkId(bytes.fromhex(case["network_id"]))


def taken(case: Case) -> Chain:
    """A chain that has taken all but the last."""
    chain = Chain()
    for seq, body in zip(case["seqs"][:-1], case["bodies"][:-1], strict=True):
        chain.take(seq, bytes.fromhex(body))
    return chain


@pytest.mark.parametrize("case", cases("checkpoint", "valid"))
def test_checkpoints_add_up_to_the_state_they_say(case: Case) -> None:
    chain = taken(case)
    whole, _ = chain.take(case["seqs"][-1], bytes.fromhex(case["bodies"][-1]))
    assert whole is not None
    assert (whole.root.hex(), whole.logs, whole.entries) == (case["root"], case["logs"], case["entries"])
    assert [[key.hex(), *(size, known.hex())] for key, (size, known) in sorted(chain.state.items())] == case["state"]


@pytest.mark.parametrize("case", cases("checkpoint", "refused", "bodies"))
def test_what_is_no_checkpoint_changes_no_state(case: Case) -> None:
    chain = taken(case)
    before = dict(chain.state)
    assert chain.take(case["seqs"][-1], bytes.fromhex(case["bodies"][-1]))[0] is None
    assert chain.state == before


@pytest.mark.parametrize("case", cases("checkpoint", "valid"))
def test_note_is_the_file_it_says(case: Case) -> None:
    key, network = node_of(case)
    checkpoint = parse_checkpoint(bytes.fromhex(case["bodies"][-1]))
    raw = bytes.fromhex(case["note"])
    assert render_note(key, network, checkpoint) == raw
    assert note_key(key) == case["vkey"]
    check_note(read_note(raw), key)


@pytest.mark.parametrize("case", cases("checkpoint", "refused", "note"))
def test_note_that_is_none_is_refused(case: Case) -> None:
    with pytest.raises(RemoteError):
        check_note(read_note(bytes.fromhex(case["note"])), PublicKey(bytes.fromhex(case["key"])))
