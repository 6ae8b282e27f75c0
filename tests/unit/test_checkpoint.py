"""Checkpoints and their signed notes (SPEC.md 7.1)."""

from base64 import b64decode
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import AdmissionError, FormatError
from keys.signing import PublicKey, SigningKey, verify
from protocol.checkpoint import (
    Attested,
    Chain,
    check_note,
    draft,
    encode_checkpoint,
    note_holds,
    note_key,
    note_text,
    parse_checkpoint,
    read_note,
    render_note,
)
from protocol.entry import EntryId, NetworkId
from protocol.limits import CHECKPOINT_HEADS_MAX

NODE = SigningKey.from_seed(sha256(b"a node").digest())
NETWORK = NetworkId(sha256(b"a network").digest())
ROOT = sha256(b"a root").digest()


def key_of(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def head(number: int, size: int) -> Attested:
    return Attested(key_of(number), size, EntryId(sha256(b"%d %d" % (number, size)).digest()))


@given(st.lists(st.dictionaries(st.integers(0, 9), st.integers(1, 5), max_size=6), min_size=1, max_size=6))
def test_a_chain_gives_back_every_state_that_was_drafted(states: list[dict[int, int]]) -> None:
    chain, seq = Chain(), 0
    for number, sizes in enumerate(states):
        heads = [head(key, size) for key, size in sorted(sizes.items())]
        before = dict(chain.state) if number % 3 else None
        for body in draft(NODE, NETWORK, ROOT, heads, before):
            whole, wrong = chain.take(seq, body)
            seq += 2
        assert wrong == ""
        assert whole is not None
        assert whole.full is (before is None)
        assert chain.state == {head.key: (head.size, head.id) for head in heads}
        assert (whole.logs, whole.entries) == (len(heads), sum(sizes.values()))


def test_a_checkpoint_of_many_heads_takes_several_entries_in_a_row() -> None:
    heads = [head(number, 1) for number in range(CHECKPOINT_HEADS_MAX + 1)]
    first, second = draft(NODE, NETWORK, ROOT, heads, None)
    assert (parse_checkpoint(first).rest, parse_checkpoint(second).rest) == (1, 0)
    chain = Chain()
    assert chain.take(4, first) == (None, "")
    whole, wrong = chain.take(5, second)
    assert whole is not None
    assert (whole.first, len(chain.state), wrong) == (4, len(heads), "")
    apart = Chain()
    apart.take(4, first)
    whole, wrong = apart.take(6, second)  # another entry lies between them
    assert whole is None
    assert "1 entries in 1 logs" in wrong
    missing = Chain()
    assert missing.take(5, second)[0] is None


def test_what_does_not_add_up_leaves_the_state_as_it_was() -> None:
    chain = Chain()
    start = [head(1, 2), head(2, 3)]
    chain.take(0, draft(NODE, NETWORK, ROOT, start, None)[0])
    state = dict(chain.state)
    for before in ({}, {key_of(7): (1, EntryId(bytes(32)))}):
        [body] = draft(NODE, NETWORK, ROOT, [head(1, 4), head(3, 1)], before)
        whole, wrong = chain.take(1, body)
        assert whole is None
        assert "it says" in wrong
        assert chain.state == state
    [body] = draft(NODE, NETWORK, ROOT, [head(1, 4), head(3, 1)], state)
    assert chain.take(2, body)[0] is not None
    assert chain.take(3, None) == (None, "its body is not here")
    assert Chain().take(0, body) == (None, "it is not full, and none comes before it")


def test_a_note_is_what_signed_note_verifiers_read() -> None:
    checkpoint = parse_checkpoint(draft(NODE, NETWORK, ROOT, [head(1, 2)], None)[0])
    raw = render_note(NODE.public, NETWORK, checkpoint)
    # From here on as the C2SP text says, without our code.
    text, _, signatures = raw.decode().partition("\n\n")
    origin, size, root, extension = text.split("\n")
    assert (origin, size, extension) == (f"hamkor/{NETWORK.hex()}", "1", "entries 2")
    assert b64decode(root) == ROOT
    dash, name, blob = signatures.strip("\n").split(" ")
    assert dash == "—"
    vname, vhash, vkey = note_key(NODE.public).split("+", 2)
    key = b64decode(vkey)
    assert vname == name
    assert key[:1] == b"\x01"
    assert sha256(name.encode() + b"\n" + key).digest()[:4].hex() == vhash == b64decode(blob)[:4].hex()
    assert verify(PublicKey(key[1:]), (text + "\n").encode(), b64decode(blob)[4:])


def test_key_hash_is_that_of_a_published_key() -> None:
    """The example of golang.org/x/mod/sumdb/note."""
    name, known, key = ["PeterNeumann", "c74f20a3", "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"]
    assert sha256(name.encode() + b"\n" + b64decode(key)).digest()[:4].hex() == known


def test_a_note_that_was_changed_is_refused() -> None:
    checkpoint = parse_checkpoint(draft(NODE, NETWORK, ROOT, [head(1, 2)], None)[0])
    assert note_holds(NODE.public, NETWORK, checkpoint)
    assert not note_holds(NODE.public, NetworkId(bytes(32)), checkpoint)
    raw = render_note(NODE.public, NETWORK, checkpoint)
    note = read_note(raw)
    check_note(note, NODE.public)
    assert note_text(note.network_id, note.logs, note.entries, note.root) == raw[: raw.index(b"\n\n") + 1]
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises((FormatError, AdmissionError)):
            check_note(read_note(changed), NODE.public)
    with pytest.raises(AdmissionError, match="not signed by node"):
        check_note(note, SigningKey.from_seed(bytes(32)).public)


@given(st.data())
def test_bodies_of_other_shapes_are_refused(data: st.DataObject) -> None:
    [body] = draft(NODE, NETWORK, ROOT, [head(1, 2), head(2, 1)], None)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(FormatError):
        parse_checkpoint(body[:cut])


def test_heads_out_of_order_are_refused() -> None:
    with pytest.raises(FormatError, match="ascend"):
        draft(NODE, NETWORK, ROOT, [head(2, 1), head(1, 2)], None)
    with pytest.raises(FormatError, match="ascend"):
        draft(NODE, NETWORK, ROOT, [head(1, 2), head(1, 3)], None)


def test_more_heads_than_an_entry_holds_are_refused() -> None:
    most = tuple(sorted(head(number, 1) for number in range(CHECKPOINT_HEADS_MAX)))
    checkpoint = parse_checkpoint(draft(NODE, NETWORK, ROOT, most, None)[0])
    assert len(checkpoint.heads) == CHECKPOINT_HEADS_MAX
    with pytest.raises(FormatError, match="at most"):
        encode_checkpoint(replace(checkpoint, heads=(*most, head(CHECKPOINT_HEADS_MAX, 1))))
