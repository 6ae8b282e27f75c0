"""Checkpoints: what a node attests, entry by entry, and the signed note of each (SPEC.md 7.1).

    bodies = draft(signing_key, network_id, root, heads, before)    # a node writes these, one entry each
    chain = Chain()
    whole, wrong = chain.take(seq, body)                            # a reader takes its checkpoint entries in order
    chain.state[key]                                                # (size, id): what that node attests

A **note** is the same for programs that know nothing of ledgers but read C2SP signed notes.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from keys.errors import AdmissionError, FormatError
from keys.signing import PublicKey, Signature, SigningKey, verify
from protocol.codec import decode
from protocol.entry import EntryId, NetworkId
from protocol.limits import BODY_BYTES_MAX, CHECKPOINT_HEADS_MAX, SEQ_MAX
from protocol.shape import exactly, fixed_bytes, mapping, number, written

NOTE_BYTES_MAX: Final = 4096
_HEAD: Final = Struct(">32sQ32s")
_NO_ID: Final = bytes(32)
_FIELDS: Final = ("entries", "full", "heads", "logs", "note", "rest", "root")
_ED25519: Final = b"\x01"  # the signature type of a signed note
_TEXT: Final = re.compile(
    r"hamkor/([0-9a-f]{64})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\nentries (0|[1-9][0-9]{0,15})\n"
)
_SIGNATURE: Final = re.compile(r"— (hamkor-[0-9a-f]{16}) ([A-Za-z0-9+/]{91}=)\n")

State = Mapping[PublicKey, tuple[int, EntryId]]  # what a checkpoint attests: of each log its size and last id


class Attested(NamedTuple):
    """One log of a state, or the end of it: size 0 and no id."""

    key: PublicKey
    size: int
    id: EntryId | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The body of one checkpoint entry. The note's signature is not checked: see `note_holds`."""

    root: bytes
    logs: int
    entries: int
    heads: tuple[Attested, ...]
    full: bool
    rest: int
    note: Signature


@dataclass(frozen=True, slots=True)
class Whole:
    """A checkpoint, all its entries taken together. Its state is that of the chain that returned it."""

    first: int  # the seq of its first entry
    root: bytes
    logs: int
    entries: int
    heads: tuple[Attested, ...]  # those of all its entries
    full: bool


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note that was read, and not checked."""

    network_id: NetworkId
    logs: int
    entries: int
    root: bytes
    name: str
    hash: bytes  # the first bytes of a hash of name and key
    signature: Signature


# -- writing --------------------------------------------------------------------------------------


def draft(
    key: SigningKey, network_id: NetworkId, root: bytes, heads: Sequence[Attested], before: State | None
) -> list[bytes]:
    """The bodies of a checkpoint, one for each entry that it takes.

    heads: every log of which anything counts, ascending by key. before: the state of this node's checkpoint before
    this one; None writes a full one. Cost: O(logs).
    """
    if before is None:
        changed = list(heads)
    else:
        changed = [head for head in heads if before.get(head.key) != (head.size, head.id)]
        there = {head.key for head in heads}
        changed = sorted([*changed, *(Attested(gone, 0, None) for gone in before if gone not in there)])
    entries = sum(head.size for head in heads)
    note = key.sign(note_text(network_id, len(heads), entries, root))
    parts = [changed[at : at + CHECKPOINT_HEADS_MAX] for at in range(0, len(changed), CHECKPOINT_HEADS_MAX)] or [[]]
    return [
        encode_checkpoint(Checkpoint(root, len(heads), entries, tuple(part), before is None, len(parts) - 1 - at, note))
        for at, part in enumerate(parts)
    ]


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The body of a `checkpoint` entry. Raises FormatError."""
    value = {
        "entries": checkpoint.entries, "full": checkpoint.full,
        "heads": b"".join(_HEAD.pack(head.key, head.size, head.id or _NO_ID) for head in checkpoint.heads),
        "logs": checkpoint.logs, "note": checkpoint.note, "rest": checkpoint.rest, "root": checkpoint.root,
    }  # fmt: skip
    return written(value, parse_checkpoint)


# -- reading --------------------------------------------------------------------------------------


def parse_checkpoint(body: bytes) -> Checkpoint:
    """The checkpoint in a body. Raises FormatError. Cost: about 1 us a head."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "a checkpoint")
    exactly(fields, _FIELDS, "a checkpoint")
    full, raw = fields["full"], fields["heads"]
    if not isinstance(full, bool):
        raise FormatError("full is true or false")
    if not isinstance(raw, bytes) or len(raw) % _HEAD.size or len(raw) > CHECKPOINT_HEADS_MAX * _HEAD.size:
        raise FormatError(f"heads are at most {CHECKPOINT_HEADS_MAX} times {_HEAD.size} bytes")
    heads = tuple(_attested(*fields) for fields in _HEAD.iter_unpack(raw))
    if any(one.key >= other.key for one, other in pairwise(heads)):
        raise FormatError("heads ascend by key, each key once")
    return Checkpoint(
        fixed_bytes(fields, "root", 32), number(fields, "logs", 0, SEQ_MAX), number(fields, "entries", 0, SEQ_MAX),
        heads, full, number(fields, "rest", 0, SEQ_MAX), Signature(fixed_bytes(fields, "note", 64)),
    )  # fmt: skip


def _attested(key: bytes, size: int, known: bytes) -> Attested:
    if size > SEQ_MAX or (size == 0) != (known == _NO_ID):
        raise FormatError(f"a head has a size up to {SEQ_MAX}, and an id of zeros exactly when that is 0")
    return Attested(PublicKey(key), size, EntryId(known) if size else None)


class Chain:
    """The checkpoints of one node, read in the order of its log from its first, or from a full one."""

    def __init__(self) -> None:
        self.state: dict[PublicKey, tuple[int, EntryId]] = {}  # of the last whole checkpoint; it changes with the next
        self.whole: Whole | None = None  # the last
        self._parts: list[Checkpoint] = []
        self._next = 0  # the seq at which the next part is expected

    def take(self, seq: int, body: bytes | None) -> tuple[Whole | None, str]:
        """Read the node's next checkpoint entry: the checkpoint that it completes, and what is wrong, or "".

        body: None where it is missing. What is wrong may be that the parts before were left incomplete: the entry
        itself may be right all the same. Cost: O(heads), and O(logs) where it is full.
        """
        try:
            part = parse_checkpoint(body or b"")
        except FormatError as error:
            self._parts = []
            return None, "its body is not here" if body is None else str(error)
        wrong = ""
        if self._parts and not self._continues(seq, part):
            self._parts, wrong = [], "the checkpoint before it was left incomplete"
        self._parts.append(part)
        self._next = seq + 1
        if part.rest:
            return None, wrong
        parts, self._parts = self._parts, []
        heads = tuple(head for one in parts for head in one.heads)
        whole = Whole(seq - len(parts) + 1, part.root, part.logs, part.entries, heads, part.full)
        refused = self._advance(whole)
        return (None, refused) if refused else (whole, wrong)

    def _continues(self, seq: int, part: Checkpoint) -> bool:
        before = self._parts[-1]
        same = (before.root, before.logs, before.entries, before.full, before.note, before.rest - 1) == (
            part.root, part.logs, part.entries, part.full, part.note, part.rest
        )  # fmt: skip
        ascending = not before.heads or not part.heads or before.heads[-1].key < part.heads[0].key
        return seq == self._next and same and ascending

    def _advance(self, whole: Whole) -> str:
        if not whole.full and self.whole is None:
            return "it is not full, and none comes before it"
        state = {} if whole.full else self.state
        total = 0 if whole.full or self.whole is None else self.whole.entries
        before = [(head.key, state.get(head.key)) for head in whole.heads]
        for head, (key, old) in zip(whole.heads, before, strict=True):
            total += head.size - (old[0] if old else 0)
            if head.id is None:
                state.pop(key, None)
            else:
                state[key] = head.size, head.id
        if (len(state), total) == (whole.logs, whole.entries):
            self.state, self.whole = state, whole
            return ""
        wrong = f"its heads make {total} entries in {len(state)} logs, it says {whole.entries} in {whole.logs}"
        for key, old in before if not whole.full else ():
            if old is None:
                state.pop(key, None)
            else:
                state[key] = old
        return wrong


# -- signed notes ---------------------------------------------------------------------------------


def note_text(network_id: NetworkId, logs: int, entries: int, root: bytes) -> bytes:
    """What the note's signature is over."""
    return f"hamkor/{network_id.hex()}\n{logs}\n{b64encode(root).decode()}\nentries {entries}\n".encode()


def note_holds(key: PublicKey, network_id: NetworkId, checkpoint: Checkpoint) -> bool:
    """Whether the signature of a checkpoint's note is the node's. Cost: 55 us."""
    text = note_text(network_id, checkpoint.logs, checkpoint.entries, checkpoint.root)
    return verify(key, text, checkpoint.note)


def note_name(key: PublicKey) -> str:
    """The name under which a node's notes are signed."""
    return f"hamkor-{key.hex()[:16]}"


def _note_hash(key: PublicKey) -> bytes:
    return sha256(note_name(key).encode() + b"\n" + _ED25519 + key).digest()[:4]


def note_key(key: PublicKey) -> str:
    """The verifier key that a signed-note verifier asks for."""
    return f"{note_name(key)}+{_note_hash(key).hex()}+{b64encode(_ED25519 + key).decode()}"


def render_note(key: PublicKey, network_id: NetworkId, checkpoint: Checkpoint) -> bytes:
    """The signed note of a checkpoint, as a file."""
    text = note_text(network_id, checkpoint.logs, checkpoint.entries, checkpoint.root).decode()
    signed = b64encode(_note_hash(key) + checkpoint.note).decode()
    return f"{text}\n— {note_name(key)} {signed}\n".encode()


def read_note(raw: bytes) -> Note:
    """The first of our signatures in a signed note. Others, as of witnesses, are left out. Raises FormatError."""
    try:
        text, blank, signatures = raw[: NOTE_BYTES_MAX + 1].decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise FormatError("a note is UTF-8 text; give a file that hamkor checkpoint export wrote") from None
    said, signed = _TEXT.fullmatch(text + "\n"), _SIGNATURE.search(signatures)
    if len(raw) > NOTE_BYTES_MAX or not blank or said is None or signed is None:
        raise FormatError("this is no note of a hamkor checkpoint; give a file that hamkor checkpoint export wrote")
    blob, root = b64decode(signed[2]), b64decode(said[3])
    if (b64encode(blob).decode(), b64encode(root).decode()) != (signed[2], said[3]):
        raise FormatError("the note holds damaged base64; export the checkpoint again")
    return Note(
        NetworkId(bytes.fromhex(said[1])), int(said[2]), int(said[4]), root, signed[1], blob[:4], Signature(blob[4:])
    )


def check_note(note: Note, key: PublicKey) -> None:
    """Check that the node signed the note. Raises AdmissionError."""
    text = note_text(note.network_id, note.logs, note.entries, note.root)
    if (note.name, note.hash) != (note_name(key), _note_hash(key)) or not verify(key, text, note.signature):
        raise AdmissionError("signature", f"the note is not signed by node {key.hex()[:12]}, or was altered")
