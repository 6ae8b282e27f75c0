"""The file of a proof: what has its form is read as it was written, and nothing else is (SPEC.md 8.6)."""

from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import FormatError
from keys.signing import Signature
from protocol.codec import decode, encode, pack
from protocol.entry import EntryId, NetworkId
from protocol.limits import PROOF_BYTES_MAX
from protocol.proof import BEGIN, END, Attestation, Item, Path, Proof, encode_payload, read_proof, write_proof

PAGE = f"<p>“a page”</p>{BEGIN.decode()}{END.decode()}<p>and more</p>"
ITEM = Item(b"header", Signature(bytes(64)), b"body")
hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple)
numbers = st.integers(0, 2**53 - 1)
signatures = st.binary(min_size=64, max_size=64).map(Signature)
items = st.builds(
    Item, st.binary(max_size=40), signatures, st.none() | st.binary(max_size=40),
    st.lists(st.tuples(st.binary(max_size=40), signatures), max_size=2).map(tuple),
)  # fmt: skip


def path_of(at: int) -> st.SearchStrategy[Path]:
    return st.builds(Path, st.just(at), numbers, hashes, numbers, hashes)


@st.composite
def proofs(draw: st.DrawFn) -> Proof:
    steps = draw(st.lists(items, max_size=3, unique_by=lambda item: item.id))
    entries = (draw(items), *sorted(steps, key=lambda item: item.id))
    covered = st.sets(st.integers(0, len(entries) - 1), min_size=1).map(sorted)
    attestations = [
        Attestation(draw(items), tuple(draw(path_of(at)) for at in one)) for one in draw(st.lists(covered, max_size=2))
    ]
    return Proof(
        NetworkId(draw(st.binary(min_size=32, max_size=32))), EntryId(draw(st.binary(min_size=32, max_size=32))),
        tuple(draw(st.lists(items, max_size=2))), entries, tuple(attestations),
    )  # fmt: skip


@given(proofs())
def test_what_is_written_is_read_back(proof: Proof) -> None:
    raw = write_proof(PAGE, proof)
    found, page = read_proof(raw)
    assert page == PAGE.encode()
    assert found == replace(proof, page=sha256(page).digest())
    content = raw[raw.index(BEGIN) + len(BEGIN) : raw.index(END)]
    assert {len(line) for line in content.split(b"\n")[:-2]} <= {76}
    assert raw.replace(content, b"") == page


def file_of(content: bytes) -> bytes:
    return PAGE.encode().replace(BEGIN, BEGIN + content)


def lines(payload: bytes, width: int = 76) -> bytes:
    text = b64encode(payload)
    return b"".join(text[at : at + width] + b"\n" for at in range(0, len(text), width))


def test_base64_of_any_other_form_is_refused() -> None:
    item = replace(ITEM, body=b"a body of such a size that padding ends the text")
    payload = encode_payload(Proof(NetworkId(bytes(32)), EntryId(bytes(32)), (), (item,), ()))
    good = lines(payload)
    read_proof(file_of(good))
    assert good.endswith(b"=\n")
    end = good.rstrip(b"=\n")
    loose = end[:-1] + bytes([end[-1] + 1]) + good[len(end) :]  # the same bytes, with other padding bits
    for content in (
        lines(payload, 77), lines(payload, 75), good[:-1], good + b"\n", good.replace(b"\n", b"\r\n"), b" " + good, b"",
        good.rstrip(b"=\n") + b"\n", good[:-1] + b"====\n", b"\n", good.replace(b"A", b"-"), loose, good + b"AAAA\n",
    ):  # fmt: skip
        with pytest.raises(FormatError):
            read_proof(file_of(content))


def test_pages_that_begin_a_payload_twice_or_never_are_refused() -> None:
    raw = write_proof(PAGE, Proof(NetworkId(bytes(32)), EntryId(bytes(32)), (), (ITEM,), ()))
    for other in (raw + BEGIN, raw.replace(END, b""), raw.replace(BEGIN, b""), raw + b"\xff", b"", BEGIN + raw):
        with pytest.raises(FormatError):
            read_proof(other)
    with pytest.raises(FormatError):
        write_proof("<p>no place for it</p>", Proof(NetworkId(bytes(32)), EntryId(bytes(32)), (), (ITEM,), ()))
    with pytest.raises(FormatError, match="at most"):
        read_proof(raw + b" " * PROOF_BYTES_MAX)


def test_payloads_of_any_other_form_are_refused() -> None:
    path = [0, 1, [bytes(32)], 0, []]
    item = [b"h", bytes(64), None, []]
    good: dict[str, object] = {
        "acts": [], "attestations": [[item, [path]]], "entries": [item], "network": bytes(32), "page": bytes(32),
        "record": bytes(32), "version": 1,
    }  # fmt: skip
    read_proof(file_of(lines(encode(good))))
    other = [b"i", bytes(64), None, []]
    twice = sorted(([b"j", bytes(64), None, []], other), key=lambda one: sha256(b"\0" + one[0] + bytes(64)).digest())  # type: ignore[operator]
    read_proof(file_of(lines(encode(good | {"entries": [item, *twice]}))))
    for changed in (
        {"version": 2}, {"version": True}, {"network": bytes(31)}, {"record": None}, {"page": "x"}, {"more": 1},
        {"entries": []}, {"entries": [item, *reversed(twice)]}, {"entries": [item, other, other]}, {"entries": {}},
        {"acts": [[b"h", bytes(63), None, []]]}, {"acts": [[b"h", bytes(64), "text", []]]}, {"acts": [item[:3]]},
        {"acts": [["h", bytes(64), None, []]]}, {"acts": [[b"h", bytes(64), None, [[b"h", bytes(64)]] * 128]]},
        {"acts": [[b"h", bytes(64), None, [[b"h"]]]]}, {"attestations": [[item, []]]},
        {"attestations": [[item, [path, path]]]}, {"attestations": [[item, [[1, *path[1:]]]]]},
        {"attestations": [[item, [[0, -1, [], 0, []]]]]}, {"attestations": [[item, [[0, 1, [], 2**53, []]]]]},
        {"attestations": [[item, [[0, 1, [bytes(32)] * 65, 0, []]]]]}, {"attestations": [[item, [path]]] * 257},
        {"attestations": [[item, [[0, 1, [b""], 0, []]]]]},
    ):  # fmt: skip
        with pytest.raises(FormatError):
            read_proof(file_of(lines(encode(good | changed))))
    many = bytes(pack(good | {"acts": [[b"", bytes(64), None, []]] * 4097}))
    with pytest.raises(FormatError):
        read_proof(file_of(lines(many)))
    raw = encode(good)
    assert decode(raw, size_max=len(raw)) == good
    for payload in (raw + b"\0", raw[:-1], b"\xc1", b"", b"\x80", b"\x91" * 2000):
        with pytest.raises(FormatError):
            read_proof(file_of(lines(payload)))
