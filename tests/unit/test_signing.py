"""The verifier, pinned: which of the published edge cases it accepts."""

import json
from pathlib import Path

import pytest

from keys.signing import SigningKey, all_hold, verify

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "ed25519-cctv.json"


def test_rfc8032_test_vector_2() -> None:
    key = SigningKey.from_seed(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = key.sign(b"\x72")
    assert signature.hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify(key.public, b"\x72", signature)


def test_every_changed_bit_of_a_signature_is_refused() -> None:
    key = SigningKey.from_seed(bytes(32))
    signature = key.sign(b"message")
    for bit in range(512):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verify(key.public, b"message", bytes(changed)), bit


@pytest.mark.parametrize(("public", "signature"), [(b"", b""), (bytes(31), bytes(64)), (bytes(32), bytes(63))])
def test_malformed_input_is_false_not_an_error(public: bytes, signature: bytes) -> None:
    assert verify(public, b"", signature) is False


def test_seed_of_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey.from_seed(bytes(31))


def test_repr_shows_no_secret() -> None:
    key = SigningKey.from_seed(b"\x42" * 32)
    assert (b"\x42" * 4).hex() not in repr(key)


@pytest.mark.skipif(not VECTORS.exists(), reason="the published vectors are not here")
def test_published_edge_cases_are_accepted_exactly_as_pinned() -> None:
    cases = json.loads(VECTORS.read_text())
    accepted = [
        case["number"]
        for case in cases
        if verify(bytes.fromhex(case["key"]), case["msg"].encode(), bytes.fromhex(case["sig"]))
    ]
    assert len(cases) == 914
    assert accepted == ACCEPTED
    together = [
        case["number"]
        for case in cases
        if all_hold(bytes.fromhex(case["key"]), [bytes.fromhex(case["sig"]) + case["msg"].encode()])
    ]
    assert together == ACCEPTED


def test_signatures_hold_together_only_if_each_does() -> None:
    key, messages = SigningKey.from_seed(bytes(32)), [bytes([length]) * length * 40 for length in (3, 1, 9, 0)]
    signed = [key.sign(message) + message for message in messages]
    assert all_hold(key.public, signed)
    assert all_hold(key.public, [])
    for at, one in enumerate(signed):
        for wrong in (one[:-1] + bytes([one[-1] ^ 1]), one + b"x", one[:63], b""):
            assert not all_hold(key.public, [*signed[:at], wrong, *signed[at + 1 :]])
    assert not all_hold(key.public[:31], signed)


ACCEPTED = [
    7,
    29,
    50,
    117,
    139,
    161,
    182,
    249,
    305,
    411,
    425,
    438,
    465,
    473,
    481,
    489,
    497,
    511,
    525,
    538,
    565,
    573,
    581,
    589,
    597,
    611,
    625,
    638,
    665,
    673,
    681,
    689,
    697,
    711,
    725,
    738,
    765,
    773,
    781,
    789,
    797,
    832,
    899,
]  # 43 of 914: all have a canonical, full-order key and R
