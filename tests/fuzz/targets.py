"""What each decoder is held to: a function from bytes that knows nothing of a fuzzer.

`accepts(name, raw)` runs one. A decoder refuses with an error of ours and a bounded message, or accepts; what it
accepts is bounded, and encodes to the very same bytes where the format is canonical. Anything else is a bug, and
escapes as AssertionError or as whatever the decoder raised.

Where a checksum or a length guards a format, the target reads the bytes as they came, and once more with the guard
mended: no fuzzer finds a SHA-256 by trying.
"""

import atexit
import os
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from keys.errors import FormatError, HamkorError, StorageError
from keys.keyfile import MAGIC as KEY_MAGIC
from keys.keyfile import KdfCost, load_key_file, read_cost, read_owner
from keys.mark import MAGIC as MARK_MAGIC
from keys.mark import Mark
from keys.signing import PublicKey
from ledger.audit_journal import read_journal
from ledger.projection import Projection
from ledger.store import Ledger, create
from node.commands.steward import HEADS_BYTES_MAX, read_heads
from node.control import REQUEST_BYTES_MAX, Request, _read
from node.desk import Desk
from node.submit import pending_runs, read_run
from protocol.acts import Certify, encode_act, parse_act
from protocol.body import encode_address, encode_record, encode_step, parse_address, parse_record, parse_step
from protocol.bundle import BundleWriter, read_bundle
from protocol.card import decode_card_file
from protocol.charter import decode_charter_file, encode_charter_file, verify_charter
from protocol.codec import decode, encode, pack
from protocol.container import unpack_file
from protocol.entry import EntryId, NetworkId, Place, entry_id, open_row, read_row, verify_entry
from protocol.frame import decode_frame, encode_frame
from protocol.invitation import decode_invitation, encode_invitation
from protocol.limits import (
    BODY_BYTES_MAX,
    CARD_BYTES_MAX,
    CHARTER_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_ENTRIES_MAX,
    HEADER_BYTES_MAX,
    HEADS_MAX,
    INVITATION_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    RANGES_MAX,
)
from protocol.message import Fork, Frame, Ranges, decode_message, encode_message
from protocol.reconcile import Head, HeadIndex, reply
from protocol.vector_cast import NETWORK
from sim.disk import MemoryStorage
from sim.founding import found, key_of, sign_run

KEY: Final = key_of("fuzz", "officer").public
ID: Final = EntryId(bytes(range(32)))
PASSPHRASE: Final = b"fuzz"
TEXT_CHARS_MAX: Final = 1000  # of an error's message: it goes to logs, to terminals, over the control socket
_LINE_BYTES: Final = 64  # room for the first line of a file
_CHEAP: Final = KdfCost(2, 64 * 1024)  # a passphrase is tried only where a guess costs no more
_LARGE_BYTES_MAX: Final = 1024 * 1024  # of inputs to formats that may be longer still


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder: what must hold of it, and the longest input worth trying, in bytes."""

    check: Callable[[bytes], None]
    size_max: int


def accepts(name: str, raw: bytes) -> bool:
    """Whether the decoder accepts `raw`. Raises AssertionError, or anything that is not ours, where it has a bug."""
    try:
        TARGETS[name].check(raw)
    except HamkorError as error:
        text = str(error)
    else:
        return True
    assert len(text) <= TEXT_CHARS_MAX, f"a message of {len(text)} characters"
    return False


# -- bytes that are signed, kept and sent ------------------------------------------------------------


def check_codec(raw: bytes) -> None:
    assert encode(decode(raw, size_max=BODY_BYTES_MAX)) == raw


def check_entry(raw: bytes) -> None:
    entry = open_row(raw, Place(KEY, 1, ID))
    body = [entry.body_size, entry.body_hash] if entry.body is None else entry.body
    assert pack([entry.kind, entry.time_ms, entry.refs, entry.space, body, entry.signature]) == raw
    assert entry.id == entry_id(entry.header, entry.signature) == read_row(raw, KEY, 1, ID).id
    check_header(entry.header)
    verify_entry(entry, NetworkId(NETWORK))


def check_header(raw: bytes) -> None:
    match decode(raw, size_max=HEADER_BYTES_MAX):
        case [int(version), bytes(key), int(seq), None | bytes() as prev, refs, kind, space, size, digest, time_ms]:
            if (type(version), version, type(seq), len(key)) != (int, 1, int, 32):  # true is 1, to Python
                raise FormatError("no header")
            row = pack([kind, time_ms, refs, space, [size, digest], bytes(64)])
            known = EntryId(prev) if prev is not None else None
            assert read_row(row, PublicKey(key), seq, known).header == raw
        case _:
            raise FormatError("no header")


def check_frame(raw: bytes) -> None:
    runs = decode_frame(raw)
    assert 1 <= sum(len(run.rows) for run in runs) <= FRAME_ENTRIES_MAX
    plain = encode_frame(runs, compress=False)
    assert len(plain) <= FRAME_BYTES_MAX + 1
    assert raw[:1] == b"\x01" or plain == raw
    packed = encode_frame(runs)
    assert len(packed) > FRAME_BYTES_MAX or decode_frame(packed) == runs
    for run in runs:
        for place in (run.place, Place(run.key, run.end, ID)):
            with suppress(FormatError):
                open_row(run.rows[0], place)


def check_message(raw: bytes) -> None:
    message = decode_message(raw)
    assert encode_message(message) == raw
    if isinstance(message, Ranges):
        answer, _ = reply(_heads(), message.salt, message.ranges, RANGES_MAX, HEADS_MAX)
        step = Ranges(message.salt, tuple(answer))
        assert decode_message(encode_message(step)) == step


@cache
def _heads() -> HeadIndex:
    return HeadIndex(Head(PublicKey(sha256(bytes([n])).digest()), n + 1, ID, n % 50 == 3) for n in range(200))


def check_proof(raw: bytes) -> None:
    """A fork proof that a peer sends, up to where admission knows whose it is."""
    proof = decode_message(raw)
    if not isinstance(proof, Fork):
        raise FormatError("no fork proof")
    outcome = _ledger().commit([proof]).outcomes[0]
    if outcome.refused is not None:
        raise outcome.refused


def check_act(raw: bytes) -> None:
    assert encode_act(parse_act(raw)) == raw


def check_body(raw: bytes) -> None:
    """As each kind of body in turn; accepted when it is one of them."""
    refused = 0
    for check in (_check_record, _check_step, _check_address):
        try:
            check(raw)
        except FormatError as error:
            refused += 1
            if refused == 3:
                raise error from None


def _check_record(raw: bytes) -> None:
    record = parse_record(raw)
    known = encode_record(record.type, record.fields)
    assert parse_record(known) == record
    assert known == raw or len(decode(raw, size_max=BODY_BYTES_MAX)) > 2  # type: ignore[arg-type]  # a newer peer's


def _check_step(raw: bytes) -> None:
    step = parse_step(raw)
    known = encode_step(step.record, step.step, step.fields)
    assert parse_step(known) == step
    assert known == raw or len(decode(raw, size_max=BODY_BYTES_MAX)) > 3  # type: ignore[arg-type]


def _check_address(raw: bytes) -> None:
    assert encode_address(parse_address(raw).addresses) == raw


# -- files that are passed by hand ---------------------------------------------------------------------


def check_bundle(raw: bytes) -> None:
    with suppress(HamkorError):
        _check_bundle(raw[:-32] + sha256(raw[:-32]).digest())
    _check_bundle(raw)


def _check_bundle(raw: bytes) -> None:
    messages = list(read_bundle(BytesIO(raw), NETWORK))
    again = BytesIO()
    writer = BundleWriter(again.write, NETWORK)
    for message in messages:
        writer.add(message)
        if isinstance(message, Frame):
            with suppress(FormatError):
                decode_frame(message.frame)
    writer.close()
    assert again.getvalue() == raw


def check_charter(raw: bytes) -> None:
    signed = decode_charter_file(raw)
    assert encode_charter_file(signed) == raw
    verify_charter(signed)


def check_card(raw: bytes) -> None:
    card = decode_card_file(raw)
    file = unpack_file(raw, "card", size_max=CARD_BYTES_MAX)
    assert isinstance(file, dict)
    assert encode(file["card"]) == encode(card.value())


def check_invitation(raw: bytes) -> None:
    invitation = decode_invitation(raw)
    assert encode_invitation(invitation) == raw
    with suppress(HamkorError):
        check_charter(invitation.charter_file)
    with suppress(HamkorError):
        _check_bundle(invitation.bundle)


def check_heads(raw: bytes) -> None:
    heads = read_heads(_file(raw), NETWORK)
    assert all(len(key) == 32 and 0 <= size < 1 << 64 for key, size in heads.items())
    assert 40 * len(heads) <= len(raw)


def check_journal(raw: bytes) -> None:
    with suppress(HamkorError):
        _check_journal(raw[:-32] + sha256(raw[:-32]).digest())
    _check_journal(raw)


def _check_journal(raw: bytes) -> None:
    journal = read_journal(raw, NETWORK)
    assert all(len(digest) == 32 for digest in journal.known)
    assert 32 * len(journal.known) <= len(raw)
    assert read_journal(journal.encode(), NETWORK) == journal


# -- this machine's own files, and its socket --------------------------------------------------------------


def check_keyfile(raw: bytes) -> None:
    with suppress(HamkorError):
        content = raw if raw.startswith(KEY_MAGIC) else KEY_MAGIC + raw
        content = content[:-65]
        _check_keyfile(content + sha256(content).hexdigest().encode() + b"\n")
    _check_keyfile(raw)


def _check_keyfile(raw: bytes) -> None:
    path = _file(raw)
    owner, cost = read_owner(path), read_cost(path)
    for text in (owner.rank, owner.name, owner.agency, owner.unit):
        assert len(text.encode()) <= len(raw)  # and it can be encoded: it is printed
    if cost.ops <= _CHEAP.ops and cost.mem_bytes <= _CHEAP.mem_bytes:
        key, named = load_key_file(path, PASSPHRASE)
        assert named == owner
        assert key.public == owner.public


def check_mark(raw: bytes) -> None:
    with suppress(HamkorError):
        content = (MARK_MAGIC + KEY + raw[len(MARK_MAGIC) + 32 :])[:-32]
        _check_mark(content + sha256(content).digest())
    _check_mark(raw)


def _check_mark(raw: bytes) -> None:
    mark = Mark.open(_file(raw), KEY)
    assert (mark.seq is None) == (mark.id is None)
    assert sum(4 + len(blob) for blob in mark.pending) <= len(raw)
    blobs = b"".join(len(blob).to_bytes(4, "big") + blob for blob in mark.pending)
    tail = mark.first_seq.to_bytes(8, "big") + len(mark.pending).to_bytes(4, "big") + blobs
    assert raw.endswith(tail + sha256(raw[:-32]).digest())
    pending_runs(mark)


def check_control(raw: bytes) -> None:
    with suppress(HamkorError):
        _check_control(len(raw[4:]).to_bytes(4, "big") + raw[4:])
    _check_control(raw)


def _check_control(raw: bytes) -> None:
    request = _awaited(_read(_Stream(raw)))  # type: ignore[arg-type]
    if request is None:
        raise FormatError("the client went away")
    encoded = encode(request)
    assert raw.startswith(len(encoded).to_bytes(4, "big") + encoded)
    if request["op"] == "submit":
        run = read_run(request)
        assert run.end - run.seq == len(run.rows) > 0


def check_desk(raw: bytes) -> None:
    value = decode(raw, size_max=REQUEST_BYTES_MAX)
    if not isinstance(value, dict):
        raise FormatError("no request")
    try:
        answer = _desk().answer(value)
    except StorageError as error:  # the daemon would build its index anew for it
        raise AssertionError(str(error)) from error
    assert len(encode(answer)) < 1 << 20


class _Stream:
    """A socket on which a client sent this and closed."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    async def receive_some(self, most: int) -> bytes:
        part, self._raw = self._raw[:most], self._raw[most:]
        return part


def _awaited(waiting: Coroutine[Any, Any, Request | None]) -> Request | None:
    try:
        waiting.send(None)
    except StopIteration as done:
        result: Request | None = done.value
        return result
    raise AssertionError("it waits, and nothing more will come")


@cache
def _descriptor() -> int:
    descriptor = os.memfd_create("fuzz")
    os.fchmod(descriptor, 0o600)
    return descriptor


def _file(raw: bytes) -> Path:
    """A file, in memory, that holds `raw` until the next call."""
    os.ftruncate(_descriptor(), 0)
    os.pwrite(_descriptor(), raw, 0)
    return Path(f"/proc/self/fd/{_descriptor()}")


@cache
def _ledger() -> Ledger:
    """A certificate and a record."""
    officer = key_of("fuzz", "officer")
    ledger = create(MemoryStorage(), found("fuzz"))
    certificate = Certify(officer.public, "officer", "Zulfiya Tosheva", "scc", "imt-4", ("officer",))
    record = encode_record("seizure", {"place": "Sariosiyo", "amount": "2.5", "plate": "01A777BC"})
    for signer, kind, body in [
        (key_of("fuzz", "scc"), "act", encode_act(certificate)),
        (officer, "record", record),
    ]:
        result = ledger.commit([(sign_run(ledger.charter, signer, Place(signer.public, 0, None), [(kind, body)], 0),)])
        ledger.apply(result)
    return ledger


@cache
def _desk() -> Desk:
    """A desk over that ledger."""
    folder = tempfile.mkdtemp(prefix="fuzz-desk-")
    atexit.register(rmtree, folder)
    projection = Projection(Path(folder) / "search.db")
    while projection.catch_up(_ledger(), 3):
        continue
    return Desk(_ledger(), projection, KEY)


TARGETS: Final[dict[str, Target]] = {
    "codec": Target(check_codec, BODY_BYTES_MAX),
    "entry": Target(check_entry, BODY_BYTES_MAX + HEADER_BYTES_MAX),
    "header": Target(check_header, HEADER_BYTES_MAX),
    "frame": Target(check_frame, FRAME_BYTES_MAX),
    "bundle": Target(check_bundle, _LARGE_BYTES_MAX),
    "charter": Target(check_charter, CHARTER_BYTES_MAX + _LINE_BYTES),
    "keyfile": Target(check_keyfile, 64 * 1024 + _LINE_BYTES),
    "journal": Target(check_journal, _LARGE_BYTES_MAX),
    "mark": Target(check_mark, _LARGE_BYTES_MAX),
    "control": Target(check_control, _LARGE_BYTES_MAX),
    "desk": Target(check_desk, 64 * 1024),
    "message": Target(check_message, MESSAGE_BYTES_MAX),
    "proof": Target(check_proof, MESSAGE_BYTES_MAX),
    "act": Target(check_act, BODY_BYTES_MAX),
    "body": Target(check_body, BODY_BYTES_MAX),
    "card": Target(check_card, CARD_BYTES_MAX + _LINE_BYTES),
    "invitation": Target(check_invitation, min(INVITATION_BYTES_MAX, _LARGE_BYTES_MAX)),
    "heads": Target(check_heads, min(HEADS_BYTES_MAX, _LARGE_BYTES_MAX)),
}
