"""The compact range against a naive tree, written from RFC 9162 section 2.1.1, and against published roots."""

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.merkle import (
    EMPTY_ROOT,
    append,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    is_consistent_subtree,
    is_included,
    is_included_in_subtree,
    root,
    tree_root,
)

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"


def naive(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 over leaf hashes."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive(leaves[:split]) + naive(leaves[split:])).digest()


def leaf(number: int) -> bytes:
    return sha256(number.to_bytes(8, "big")).digest()


def test_every_size_up_to_300_has_the_naive_root() -> None:
    leaves = [leaf(number) for number in range(300)]
    peaks: list[bytes] = []
    for size in range(300):
        assert root(peaks) == naive(leaves[:size])
        assert len(peaks) == size.bit_count()
        peaks = append(peaks, size, [leaves[size]])


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=80), st.integers(0, 80))
def test_appending_in_two_parts_is_appending_at_once(leaves: list[bytes], cut: int) -> None:
    cut = min(cut, len(leaves))
    peaks = append(append((), 0, leaves[:cut]), cut, leaves[cut:])
    assert peaks == append((), 0, leaves)
    assert root(peaks) == tree_root(leaves) == naive(leaves)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True), st.data())
def test_any_change_of_a_leaf_changes_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves[:at], sha256(leaves[at]).digest(), *leaves[at + 1 :]]
    assert tree_root(changed) != tree_root(leaves)
    assert tree_root(leaves[:-1]) != tree_root(leaves)


def test_the_given_range_is_left_as_it_was() -> None:
    peaks = append((), 0, [leaf(0)])
    append(peaks, 1, [leaf(1)])
    assert peaks == [leaf(0)]


def test_the_empty_tree_has_the_root_of_rfc_9162() -> None:
    assert root(()) == EMPTY_ROOT == sha256().digest()


def published(name: str) -> list[dict[str, Any]]:
    """The cases of one published file, hashes as bytes. Four bytes that are no hash stand where any value does."""
    cases = json.loads((VECTORS / f"rfc9162-{name}.json").read_text())["cases"]
    for case in cases:
        for field in ("root", "root1", "root2", "leafHash"):
            case[field] = base64.b64decode(case.get(field) or "")
        case["proof"] = [base64.b64decode(step) for step in case["proof"] or []]
    return list(cases)


@pytest.mark.skipif(not VECTORS.exists(), reason="the published vectors are not here")
def test_all_published_inclusion_proofs_are_decided_as_they_say() -> None:
    for case in published("inclusion"):
        said = is_included(case["root"], case["treeSize"], case["leafIdx"], case["leafHash"], case["proof"])
        assert said is not case["wantErr"], case["case"]
    for case in published("subtreeinclusion"):
        said = is_included_in_subtree(
            case["root"], case["start"], case["end"], case["leafIdx"], case["leafHash"], case["proof"]
        )
        assert said is not case["wantErr"], case["case"]


@pytest.mark.skipif(not VECTORS.exists(), reason="the published vectors are not here")
def test_all_published_consistency_proofs_are_decided_as_they_say() -> None:
    for case in published("consistency"):
        said = is_consistent(case["size1"], case["size2"], case["root1"], case["root2"], case["proof"])
        assert said is not case["wantErr"], case["case"]
    for case in published("subtreeconsistency"):
        said = is_consistent_subtree(
            case["start"], case["end"], case["size"], case["root1"], case["root2"], case["proof"]
        )
        assert said is not case["wantErr"], case["case"]


def naive_path(leaves: list[bytes], index: int) -> list[bytes]:
    """PATH of RFC 9162 2.1.3.1."""
    if len(leaves) == 1:
        return []
    split = largest_below(len(leaves))
    if index < split:
        return [*naive_path(leaves[:split], index), naive(leaves[split:])]
    return [*naive_path(leaves[split:], index - split), naive(leaves[:split])]


def naive_subproof(leaves: list[bytes], first: int, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162 2.1.4.1."""
    if first == len(leaves):
        return [] if whole else [naive(leaves)]
    split = largest_below(len(leaves))
    if first <= split:
        return [*naive_subproof(leaves[:split], first, whole), naive(leaves[split:])]
    return [*naive_subproof(leaves[split:], first - split, False), naive(leaves[:split])]


def largest_below(size: int) -> int:
    split = 1
    while split * 2 < size:
        split *= 2
    return split


@given(st.integers(1, 70), st.data())
def test_proofs_are_those_of_the_naive_tree_and_hold(size: int, data: st.DataObject) -> None:
    leaves = [leaf(number) for number in range(size)]
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    path, proof = inclusion_proof(leaves, index), consistency_proof(leaves, first)
    assert path == naive_path(leaves, index)
    assert proof == naive_subproof(leaves, first, True)
    assert is_included(naive(leaves), size, index, leaves[index], path)
    assert is_consistent(first, size, naive(leaves[:first]), naive(leaves), proof)


@given(st.integers(1, 40), st.data())
def test_a_proof_of_anything_else_fails(size: int, data: st.DataObject) -> None:
    leaves = [leaf(number) for number in range(size)]
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    path, proof = inclusion_proof(leaves, index), consistency_proof(leaves, first)
    tree, start = naive(leaves), naive(leaves[:first])
    for wrong in (index ^ 1, index + size, size - 1 - index):
        if wrong != index:
            assert not is_included(tree, size, wrong, leaves[index], path)
    assert not is_included(tree, size, index, leaf(size), path)
    for damaged in (path[:-1], [*path, leaf(1)], [leaf(99), *path], *flipped(path)):
        if damaged != path:
            assert not is_included(tree, size, index, leaves[index], damaged)
    for damaged in (proof[:-1], [*proof, leaf(1)], [leaf(99), *proof], *flipped(proof)):
        if damaged != proof:
            assert not is_consistent(first, size, start, tree, damaged)
    if first < size:
        assert not is_consistent(first, size, tree, tree, proof)
        assert not is_consistent(first, size, start, start, proof)


def flipped(path: list[bytes]) -> list[list[bytes]]:
    """`path` with one bit changed in each of its hashes."""
    return [[*path[:at], bytes([step[0] ^ 1]) + step[1:], *path[at + 1 :]] for at, step in enumerate(path)]


def test_what_cannot_be_proved_is_refused() -> None:
    with pytest.raises(IndexError):
        inclusion_proof([leaf(0)], 1)
    with pytest.raises(IndexError):
        consistency_proof([leaf(0)], 0)
    assert not is_included(EMPTY_ROOT, 0, 0, EMPTY_ROOT, [])
    assert not is_consistent(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert not is_consistent(0, 1, EMPTY_ROOT, leaf(0), [])
    assert not is_included(leaf(0), 1 << 70, 5, leaf(0), [])


@pytest.mark.skipif(not VECTORS.exists(), reason="the published vectors are not here")
def test_published_roots_of_the_rfc_6962_tree() -> None:
    """Those vectors use the eight leaves of Certificate Transparency's reference tree."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = [sha256(b"\x00" + bytes.fromhex(raw)).digest() for raw in inputs]
    cases = json.loads((VECTORS / "rfc9162-consistency.json").read_text())["cases"]
    seen = set()
    for case in cases:
        if case["wantErr"] or "additional" in case["case"]:  # those hold no roots of a tree
            continue
        for size, published in ((case["size1"], case["root1"]), (case["size2"], case["root2"])):
            if 0 < size <= len(leaves) and published:
                assert tree_root(leaves[:size]) == base64.b64decode(published), case["case"]
                seen.add(size)
    assert len(seen) >= 4
