"""protocol/verify_proof.py: it proves what holds, refuses all else for the right reason, and nothing harms it."""

import json
import subprocess
import sys
import tracemalloc
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import verify_proof
from protocol.codec import encode
from protocol.merkle import inclusion_proof, tree_root
from protocol.verify_proof import FILE_BYTES_MAX, Malformed, Refused, check, decode, is_act, read_charter, root_over
from tests.proofs import DAMAGES, Case, cases, damaged, valid
from tests.proofs.world import AFTER, BEFORE, BEGIN, END, World, wrap

VECTORS = Path(verify_proof.__file__).parent / "vectors"


@cache
def worlds() -> list[World]:
    return [World(Random(seed)) for seed in range(12)]


@cache
def smallest() -> Case:
    """The shortest of some proofs that are proven."""
    found = [valid(World(Random(seed)), Random(seed)) for seed in range(40)]
    return min((case for case in found if case.verdict == "proven"), key=lambda case: len(case.proof))


def vectors(family: str, title: str) -> list[Any]:
    listed = json.loads((VECTORS / f"{family}.json").read_text())[title]
    return [pytest.param(case, id=case["name"]) for case in listed]


# -- what it says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_sound_proof_is_shown_as_it_was_made(seed: int) -> None:
    world, random = World(Random(seed)), Random(seed)
    for _ in range(3):
        case = valid(world, random)
        assert check(case.proof, case.charter) == case.expected


@pytest.mark.parametrize("at", range(len(DAMAGES)), ids=[f"{reason} {name}" for reason, name, _ in DAMAGES])
def test_damage_is_refused_for_its_reason(at: int) -> None:
    reason, name, _ = DAMAGES[at]
    tried = Counter[bool]()
    for world in worlds():
        case = damaged(world, Random(at), at)
        tried[case.name == f"{reason}: {name}"] += 1
        assert check(case.proof, case.charter) == {"verdict": "refused", "reason": case.reason}, case.name
    if not tried[True]:  # rare: it needs what few worlds have
        found = (damaged(World(Random(seed)), Random(at), at) for seed in range(12, 400))
        case = next(case for case in found if case.name == f"{reason}: {name}")
        assert check(case.proof, case.charter) == {"verdict": "refused", "reason": reason}


def test_random_damage_says_what_the_generator_says() -> None:
    for case in cases(seed=3, count=400):
        answer = check(case.proof, case.charter)
        assert case.verdict in (None, answer["verdict"]), case.name
        assert case.reason in (None, answer["reason"]), case.name


def test_every_reason_is_reached() -> None:
    reasons = {"form", "page", "network", "entry", "signature", "act", "standing", "record", "checkpoint", "path"}
    assert {reason for reason, _, _ in DAMAGES} == reasons | {"charter"}


# -- nothing can be changed ------------------------------------------------------------------------------


def test_every_changed_bit_is_refused() -> None:
    case = smallest()
    start, stop = case.proof.index(BEGIN) + len(BEGIN), case.proof.index(END)
    for at in range(len(case.proof)):
        for bit in range(8):
            changed = case.proof[:at] + bytes([case.proof[at] ^ (1 << bit)]) + case.proof[at + 1 :]
            answer = check(changed, case.charter)
            assert answer["verdict"] == "refused", (at, bit)
            if not start <= at < stop:
                assert answer["reason"] in ("page", "form"), (at, bit)


def test_every_changed_byte_of_the_payload_is_refused() -> None:
    """The page is bound to it again, so that what is inside is reached."""
    case, random, reasons = smallest(), Random(5), set[str]()
    start, stop = case.proof.index(BEGIN) + len(BEGIN), case.proof.index(END)
    payload = b64decode(case.proof[start:stop])
    for at in range(len(payload)):
        changed = payload[:at] + bytes([payload[at] ^ random.randrange(1, 256)]) + payload[at + 1 :]
        answer = check(wrap(changed), case.charter)
        assert answer["verdict"] == "refused", at
        reasons.add(answer["reason"])
    assert reasons >= {"form", "page", "network", "entry", "signature", "record", "path"}


def test_every_truncation_is_refused() -> None:
    case = smallest()
    for size in range(len(case.proof)):
        assert check(case.proof[:size], case.charter)["verdict"] == "refused", size
    for size in range(len(case.charter)):
        assert check(case.proof, case.charter[:size]) == {"verdict": "refused", "reason": "charter"}


# -- nothing harms it --------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_garbage_is_refused(proof: bytes, charter: bytes) -> None:
    assert check(proof, charter) == {"verdict": "refused", "reason": "charter"}
    assert check(proof, smallest().charter) == {"verdict": "refused", "reason": "form"}
    assert check(wrap(proof), smallest().charter) == {"verdict": "refused", "reason": "form"}
    assert check(smallest().proof, b"hamkor charter 1\n" + charter)["reason"] == "charter"


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=70) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
    max_leaves=20,
)


@given(nested)
def test_decoder_reads_what_the_encoder_writes(value: Any) -> None:
    assert decode(encode(value)) == value


def hostile() -> dict[str, bytes]:
    """Payloads that would cost a careless reader dear."""
    room = FILE_BYTES_MAX * 74 // 100  # of a payload, so that the file has at most 16 MiB
    start = b"\x87\xa4acts"
    path = b"\x95\x00\x01\x90\x00\x90"
    return {
        "nested": b"\x91" * room,
        "empty arrays": start + b"\xdc\x10\x00" + b"\x90" * room,
        "arrays of empty arrays": start + (b"\xdc\x10\x00" + b"\x90" * 4096) * (room // 4099),
        "promised array": start + b"\xdd\xff\xff\xff\xff",
        "promised map": b"\xdf\xff\xff\xff\xff",
        "promised bytes": start + b"\x91\x94\xc6\xff\xff\xff\xff",
        "promised text": b"\x87\xdb\xff\xff\xff\xff",
        "items of nothing": start + b"\xdc\x10\x00" + (b"\x94\xc4\x00\xc4\x40" + bytes(64) + b"\xc0\x90") * 4096,
        "nothing in rest": start + b"\x91\x94\xc4\x00\xc4\x40" + bytes(64) + b"\xc0\xdc\x10\x00" + b"\x92" * room,
        "paths of nothing": start + b"\x90\xacattestations\xdc\x01\x00"
        + (b"\x92\x94\xc4\x00\xc4\x40" + bytes(64) + b"\xc0\x90\xdc\x10\x00" + path * 4096) * 256,
        "one long text": b"\x87\xdb" + (room - 10).to_bytes(4, "big") + b"a" * (room - 10),
    }  # fmt: skip


@pytest.mark.parametrize("name", hostile())
def test_hostile_payload_costs_little_memory(name: str) -> None:
    proof = wrap(hostile()[name])
    charter = smallest().charter
    assert len(proof) <= FILE_BYTES_MAX
    tracemalloc.start()
    try:
        assert check(proof, charter) == {"verdict": "refused", "reason": "form"}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * FILE_BYTES_MAX


def test_long_file_is_refused_for_its_size_alone() -> None:
    case = smallest()
    room = FILE_BYTES_MAX - len(case.proof)
    assert check(case.proof + b" " * room, case.charter)["reason"] == "page"
    assert check(case.proof + b" " * (room + 1), case.charter)["reason"] == "form"


def test_proof_at_all_bounds_is_read() -> None:
    """Paths of 64 hashes in each of 256 attestations: the form is right, and they lead nowhere."""
    world = World(Random(5))
    draft = world.draft()
    attestation = world.draft().attestations[:1] or world.draft().attestations[:1]
    assert attestation
    entry = attestation[0].paths[0][0]
    attestation[0].paths = [[entry, 2**53 - 1, [bytes(32)] * 64, 2**53 - 1, [bytes(32)] * 64]]
    draft.attestations = attestation * 256
    assert check(draft.file(), world.charter) == {"verdict": "refused", "reason": "path"}


# -- its parts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", vectors("codec", "valid"))
def test_decoder_accepts_what_is_canonical(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["hex"])
    assert encode(decode(raw)) == raw


@pytest.mark.parametrize("case", vectors("codec", "refused"))
def test_decoder_refuses_what_is_not(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode(bytes.fromhex(case["hex"]))


@pytest.mark.parametrize("case", vectors("charter", "valid"))
def test_charter_gives_its_network(case: dict[str, Any]) -> None:
    assert read_charter(bytes.fromhex(case["hex"])).network.hex() == case["network_id"]


@pytest.mark.parametrize("case", vectors("charter", "refused"))
def test_charter_that_breaks_a_rule_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="charter"):
        read_charter(bytes.fromhex(case["hex"]))


@pytest.mark.parametrize("case", vectors("act", "valid"))
def test_act_of_the_vectors_is_one(case: dict[str, Any]) -> None:
    assert is_act(decode(bytes.fromhex(case["hex"])))


@pytest.mark.parametrize("case", vectors("act", "refused"))
def test_act_that_breaks_a_rule_is_none(case: dict[str, Any]) -> None:
    assert not is_act(decode(bytes.fromhex(case["hex"])))


def test_path_leads_to_the_root_from_its_own_leaf_only() -> None:
    leaves = [sha256(bytes([at])).digest() for at in range(40)]
    for size in range(1, 41):
        root = tree_root(leaves[:size])
        for index in range(size):
            path = inclusion_proof(leaves[:size], index)
            assert root_over(leaves[index], index, size, path) == root
            for other in range(size + 2):
                if other != index:
                    assert root_over(leaves[index], other, size, path) != root
            assert root_over(leaves[index], index, size, path[:-1]) is None or not path
            assert root_over(leaves[index], index, size, [*path, root]) is None
    assert root_over(leaves[0], 0, 0, []) is None


# -- the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The file by itself, copied to a folder where nothing of hamkor is."""
    alone = tmp_path / "verify_proof.py"
    alone.write_bytes(Path(verify_proof.__file__).read_bytes())

    def start(proof: bytes, charter: bytes, *options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "proof.html").write_bytes(proof)
        (tmp_path / "charter").write_bytes(charter)
        command = [sys.executable, "-I", str(alone), *options, "proof.html", "charter"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return start


def test_command_prints_one_line_of_json(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    case = smallest()
    done = run(case.proof, case.charter)
    assert (done.returncode, json.loads(done.stdout)) == (0, case.expected)
    assert done.stdout.count("\n") == 1


def test_status_tells_refused_from_unreadable(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    case = smallest()
    assert run(case.proof + b"\n", case.charter).returncode == 1
    assert run(b"no proof", case.charter).returncode == 2
    done = run(case.proof, b"no charter")
    assert (done.returncode, json.loads(done.stdout)) == (2, {"verdict": "refused", "reason": "charter"})
    assert run(case.proof, case.charter, "--yes").returncode == 2


def test_text_names_who_said_what_and_plays_no_tricks(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    world = World(Random(6))
    draft = world.draft()
    row = world.record.again(body=encode({"fields": {"place": "Termiz\u202e\x1b[2J"}, "type": "seizure"}))
    draft.entries, draft.attestations, draft.record = draft.entries[:1], [], row.id
    draft.entries[0].become(row)
    done = run(draft.file(), world.charter, "--text")
    assert done.returncode == 1
    assert done.stdout.startswith("UNPROVEN")
    assert "Termiz\\u202e" in done.stdout
    assert row.id.hex() in done.stdout
    assert world.network.hex() in done.stdout
    assert not {"\u202e", "\x1b"} & set(done.stdout)


def test_file_imports_nothing_of_hamkor(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    source = Path(verify_proof.__file__).read_text()
    words = [line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert set(words) <= {*sys.stdlib_module_names, "nacl"}


def test_page_may_say_anything_but_not_another_thing() -> None:
    """What stands on the page is bound to the payload, and decides nothing."""
    world = World(Random(8))
    draft = world.draft()
    expected = check(draft.file(), world.charter)
    draft.before, draft.after = b"<p>nothing of this is true</p>" + BEGIN, END + "</p>ғ".encode()
    assert check(draft.file(), world.charter) == expected != check(wrap(draft.payload(), BEFORE, AFTER), world.charter)


def test_base64_of_the_payload_has_one_form() -> None:
    case = smallest()
    start, stop = case.proof.index(BEGIN) + len(BEGIN), case.proof.index(END)
    lines = case.proof[start:stop].splitlines()
    assert {len(line) for line in lines[:-1]} == {76}
    joined = b"".join(lines)
    assert b64encode(wrap(b"", b"", joined)) != joined
    assert check(case.proof[:start] + joined + b"\n" + case.proof[stop:], case.charter)["reason"] == "form"
