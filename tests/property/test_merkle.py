"""The compact range against a naive tree, written from RFC 9162 section 2.1.1, and against published roots."""

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.merkle import EMPTY_ROOT, append, node_hash, root, tree_root

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


def inclusion_root(index: int, size: int, found: bytes, proof: list[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2), through our node hash."""
    last = size - 1
    for step in proof:
        if index & 1 or index == last:
            found = node_hash(step, found)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found = node_hash(found, step)
        index, last = index >> 1, last >> 1
    return found


@pytest.mark.skipif(not VECTORS.exists(), reason="the published vectors are not here")
def test_published_inclusion_proofs_lead_to_their_roots() -> None:
    cases = json.loads((VECTORS / "rfc9162-inclusion.json").read_text())["cases"]
    good = [case for case in cases if not case["wantErr"]]
    assert len(good) > 5
    for case in good:
        proof = [base64.b64decode(step) for step in case["proof"] or []]
        found = inclusion_root(case["leafIdx"], case["treeSize"], base64.b64decode(case["leafHash"]), proof)
        assert found == base64.b64decode(case["root"]), case["case"]


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
