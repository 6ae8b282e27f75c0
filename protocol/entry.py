"""The entry: one signed fact in one key's log (SPEC.md 3).

    header = [version, key, seq, prev, refs, kind, space, body_size, body_hash, time_ms]   canonical msgpack
    signature = Ed25519(key, "hamkor/entry/1" 00 network_id header)
    id = SHA-256(00 header signature)            which is also the entry's RFC 9162 leaf hash
    row = [kind, time_ms, refs, space, body, signature]

A **row** is how an entry is stored and sent inside a run: what follows from its place (version, key, seq,
prev) and from its body (size, hash) is left out. `body` is the bytes themselves or, where they are withheld
or erased, the array [size, hash]. A row and its place give back the exact header; `prev` is the id of the
entry before, so a run of rows and one valid signature on its last prove them all.

    >>> log = Place(key, seq=0, prev=None)
    >>> row = sign_row(signing_key, network_id, log, kind="record", body=body, time_ms=0)
    >>> entry = open_row(row, log)             # every check but the signature
    >>> verify_entry(entry, network_id)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, NewType, TypeAlias, cast

from keys.errors import AdmissionError, FormatError
from keys.signing import SIGNATURE_BYTES, PublicKey, Signature, SigningKey, verify
from protocol.codec import pack, unpack_row, unpack_rows
from protocol.limits import BODY_BYTES_MAX, HEADER_BYTES_MAX, KIND_BYTES_MAX, REFS_MAX, SEQ_MAX, TIME_MS_MAX

EntryId = NewType("EntryId", bytes)  # 32 bytes
NetworkId = NewType("NetworkId", bytes)  # 32 bytes
VERSION = 1
CONTEXT = b"hamkor/entry/1\x00"
_KIND_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
# These need no letter by letter check.
_COMMON_KINDS = frozenset({"act", "record", "step", "address", "checkpoint", "alarm", "consultation"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands: whose log, at which index, after which entry (None for the first)."""

    key: PublicKey
    seq: int
    prev: EntryId | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A decoded entry whose shape is right. Its signature is not checked: see `verify_entry`."""

    id: EntryId
    key: PublicKey
    seq: int
    prev: EntryId | None
    refs: tuple[EntryId, ...]
    kind: str
    space: bytes | None  # the compartment whose members can read the body; None: everyone
    body_size: int
    body_hash: bytes
    time_ms: int  # the writer's claim, Unix epoch, UTC
    signature: Signature
    body: bytes | None  # None: withheld or erased
    header: bytes

    @property
    def after(self) -> Place:
        """The place of the next entry in this log."""
        return Place(self.key, self.seq + 1, self.id)


def entry_id(header: bytes, signature: bytes) -> EntryId:
    """SHA-256(00 header signature)."""
    return EntryId(sha256(b"\x00" + header + signature).digest())


def signed_bytes(network_id: bytes, header: bytes) -> bytes:
    """What the author's key signs."""
    return CONTEXT + network_id + header


def sign_row(
    signer: SigningKey, network_id: NetworkId, place: Place, *, kind: str, body: bytes, time_ms: int,
    refs: Sequence[EntryId] = (), space: bytes | None = None,
) -> bytes:  # fmt: skip
    """The row of a new entry at `place`, signed. refs may come in any order. Raises FormatError on a bad field."""
    return sign_rows(signer, network_id, place, [(kind, body, refs)], time_ms, space)[0][0]


def sign_rows(
    signer: SigningKey, network_id: NetworkId, place: Place, drafts: Iterable[tuple[str, bytes, Sequence[EntryId]]],
    time_ms: int, space: bytes | None = None,
) -> tuple[list[bytes], list[EntryId]]:  # fmt: skip
    """The rows of `drafts`, (kind, body, refs in any order), as the next entries at `place`, and the entries' ids.

    Raises FormatError on a bad field. Cost: one signature and about 3 us an entry.
    """
    if signer.public != place.key:
        raise FormatError("the signing key is not the key of the log")
    key, seq, prev = place.key, place.seq, place.prev
    sign, signed = signer.sign, signed_bytes(network_id, b"")
    rows: list[bytes] = []
    ids: list[EntryId] = []
    for kind, body, refs in drafts:
        ordered = sorted(set(refs)) if refs else []
        size = len(body)
        _check_fields(kind, time_ms, ordered, space, size)
        _check_place(seq, prev)
        header = pack([VERSION, key, seq, prev, ordered, kind, space, size, sha256(body).digest(), time_ms])
        signature = sign(signed + header)
        rows.append(pack([kind, time_ms, ordered, space, body, signature]))
        prev = entry_id(header, signature)
        ids.append(prev)
        seq += 1
    return rows, ids


def make_header(
    place: Place, refs: Sequence[bytes], kind: str, space: bytes | None, body_size: int, body_hash: bytes, time_ms: int
) -> bytes:
    """The canonical header bytes."""
    return bytes(
        pack([VERSION, place.key, place.seq, place.prev, refs, kind, space, body_size, body_hash, time_ms])
    )  # fmt: skip


class Facts(NamedTuple):
    """What a row says, checked: everything but its place. See Entry for the fields."""

    id: EntryId
    refs: list[EntryId]
    kind: str
    space: bytes | None
    body_size: int
    body_hash: bytes
    time_ms: int
    signature: Signature
    body: bytes | None
    header: bytes


_Columns: TypeAlias = tuple[
    tuple[str, ...], tuple[int, ...], tuple[list[EntryId], ...], tuple[bytes | None, ...], tuple[bytes, ...],
    tuple[bytes, ...],
]  # of rows that are read together  # fmt: skip
_facts = tuple.__new__  # a named tuple's own constructor costs twice as much


def read_row(raw: bytes, key: PublicKey, seq: int, prev: EntryId | None) -> Facts:
    """What `raw` says at that place, every rule of SPEC.md 3 checked except the signature and the link.

    Raises FormatError. Cost: two hashes, one decoding, two encodings: about 4 us for a 300-byte body.
    """
    facts: list[Facts] = []
    _read_into(facts, (raw,), key, seq, prev, None)
    return facts[0]


@dataclass(frozen=True, slots=True)
class Chain:
    """The rows of one run, read and checked: what they say, in columns."""

    place: Place  # of the first
    rows: Sequence[bytes]
    ids: Sequence[EntryId]
    kinds: Sequence[str]
    times: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)

    def fact(self, at: int) -> Facts:
        """All that a row says. Cost: that of `read_row`."""
        prev = self.ids[at - 1] if at else self.place.prev
        return read_row(self.rows[at], self.place.key, self.place.seq + at, prev)

    def part(self, first: int, end: int) -> "Chain":
        """Rows `first` to below `end`."""
        if first == 0:
            place = self.place
        else:
            place = Place(self.place.key, self.place.seq + first, self.ids[first - 1])
        cut = slice(first, end)
        return Chain(place, self.rows[cut], self.ids[cut], self.kinds[cut], self.times[cut])


def read_rows(
    rows: Sequence[bytes], key: PublicKey, seq: int, prev: EntryId | None, time_ms: int | None
) -> Chain:  # fmt: skip
    """What the rows of one run say, the first of them at that place, checked one after another as by `read_row`.

    time_ms: of the entry before them, from where times may not go back; then a row without a space must have its
    body, too. None: neither is checked. Raises FormatError, or AdmissionError ("body", "time"), which name the entry.
    Cost: about 3 us a row, half of it hashes.
    """
    chain = _read_plain(rows, key, seq, prev, time_ms or 0)
    if chain is not None:
        return chain
    facts: list[Facts] = []
    try:
        _read_into(facts, rows, key, seq, prev, time_ms)
    except FormatError as error:
        raise FormatError(f"{_name(key, seq + len(facts))}: {error}") from None
    return Chain(
        Place(key, seq, prev), rows, [fact.id for fact in facts], [fact.kind for fact in facts],
        [fact.time_ms for fact in facts],
    )  # fmt: skip


def _read_plain(
    rows: Sequence[bytes], key: PublicKey, seq: int, prev: EntryId | None, time_ms: int
) -> Chain | None:  # fmt: skip
    """The same for rows of the usual kinds with their bodies, checked column by column; None: read them one by one.

    Nearly all rows are such. What admission costs per entry is mostly here: it calls nothing that it can spare.
    """
    try:
        fields = unpack_rows(rows)
        if not fields or set(map(len, fields)) != {6} or list(map(pack, fields)) != list(rows):
            return None
        kinds, times, refs, spaces, bodies, signatures = cast("_Columns", zip(*fields, strict=True))
        sizes = list(map(len, bodies))
        if (
            set(map(type, bodies)) != {bytes} or set(map(type, signatures)) != {bytes} or set(map(type, times)) != {int}
            or set(map(type, kinds)) != {str} or not _COMMON_KINDS.issuperset(kinds) or max(sizes) > BODY_BYTES_MAX
            or set(map(len, signatures)) != {SIGNATURE_BYTES} or not time_ms <= times[0] <= times[-1] <= TIME_MS_MAX
            or sorted(times) != list(times) or seq + len(rows) - 1 > SEQ_MAX
        ):  # fmt: skip
            return None
        _check_place(seq, prev)
        for one in refs:
            if one != []:
                _check_refs(one)
        if any(space is not None and not _is_bytes(space, 32) for space in set(spaces)):
            return None
    except (FormatError, TypeError):  # the first that is wrong is found one by one
        return None
    first, ids = Place(key, seq, prev), list[EntryId]()
    digests = [sha256(body).digest() for body in bodies]
    places = range(seq, seq + len(rows))
    for at, kind, when, ref, space, size, digest, signature in zip(
        places, kinds, times, refs, spaces, sizes, digests, signatures, strict=True
    ):
        header = pack((VERSION, key, at, prev, ref, kind, space, size, digest, when))
        prev = EntryId(sha256(b"\x00" + header + signature).digest())
        ids.append(prev)
    return Chain(first, rows, ids, kinds, times)


def _read_into(
    facts: list[Facts], rows: Sequence[bytes], key: PublicKey, seq: int, prev: EntryId | None, time_ms: int | None
) -> None:
    """Add the facts of each row.

    time_ms: None for rows of which nothing before them is known.
    """
    for raw, row in zip(rows, map(unpack_row, rows), strict=True):
        if len(row) != 6:
            raise FormatError(f"a row has 6 fields, this one has {len(row)}")
        kind, when, refs, space, body, signature = row
        kept: bytes | None
        if type(body) is bytes:
            size, digest, kept = len(body), sha256(body).digest(), body
        elif type(body) is list and len(body) == 2 and type(body[0]) is int and _is_bytes(body[1], 32):
            size, digest, kept = body[0], body[1], None
        else:
            raise FormatError("a row's body is bytes, or [size, hash] where it is withheld")
        if type(signature) is not bytes or len(signature) != 64:
            raise FormatError("a signature is 64 bytes")
        if (
            type(kind) is not str or kind not in _COMMON_KINDS or type(when) is not int or refs != []
            or space is not None or not 0 <= when <= TIME_MS_MAX or not 0 <= size <= BODY_BYTES_MAX
        ):  # fmt: skip
            _check_fields(kind, when, refs, space, size)
        if pack(row) != raw:
            raise FormatError("the row is not in canonical form")
        if prev is None or not 0 < seq <= SEQ_MAX:
            _check_place(seq, prev)
        header = pack([VERSION, key, seq, prev, refs, kind, space, size, digest, when])
        prev = EntryId(sha256(b"\x00" + header + signature).digest())
        if time_ms is not None:
            if kept is None and space is None:
                raise AdmissionError("body", f"{_name(key, seq)} comes without its body")
            if when < time_ms:  # type: ignore[operator]  # it is a whole number: see above
                raise AdmissionError("time", f"{_name(key, seq)} is dated before its predecessor")
            time_ms = when  # type: ignore[assignment]
        facts.append(_facts(Facts, (prev, refs, kind, space, size, digest, when, signature, kept, header)))
        seq += 1


def _name(key: PublicKey, seq: int) -> str:
    return f"entry {seq} of log {key.hex()[:12]}"


def open_row(raw: bytes, place: Place) -> Entry:
    """The entry that `raw` is at `place`; checked as by `read_row`. Raises FormatError."""
    facts = read_row(raw, place.key, place.seq, place.prev)
    return Entry(
        facts.id, place.key, place.seq, place.prev, tuple(facts.refs), facts.kind, facts.space, facts.body_size,
        facts.body_hash, facts.time_ms, facts.signature, facts.body, facts.header,
    )  # fmt: skip


def open_header(header: bytes, signature: bytes, body: bytes | None) -> Entry:
    """The entry of a header that stands by itself; every rule but the signature and the link is checked.

    body: None where it is not at hand. Raises FormatError.
    """
    if len(header) > HEADER_BYTES_MAX:
        raise FormatError(f"a header is at most {HEADER_BYTES_MAX} bytes")
    fields = unpack_row(header)
    if len(fields) != 10 or pack(fields) != header:
        raise FormatError("a header is a canonical array of 10 fields")
    version, key, seq, prev, refs, kind, space, size, digest, time_ms = fields
    if type(version) is not int or version != VERSION or not _is_bytes(key, 32) or not _is_bytes(digest, 32):
        raise FormatError(f"a header has version {VERSION}, a key and a hash of 32 bytes each")
    if type(seq) is not int or type(size) is not int or not (prev is None or _is_bytes(prev, 32)):
        raise FormatError("seq and body_size are whole numbers, prev is nil or 32 bytes")
    _check_place(seq, cast("bytes | None", prev))
    _check_fields(kind, time_ms, refs, space, size)
    if not _is_bytes(signature, 64):
        raise FormatError("a signature is 64 bytes")
    if body is not None and (len(body), sha256(body).digest()) != (size, digest):
        raise FormatError("the body is another one than that of the header")
    return Entry(
        entry_id(header, signature), key, seq, prev, tuple(refs), kind, space, size, digest, time_ms, signature, body,  # type: ignore[arg-type]
        header,
    )  # fmt: skip


def verify_entry(entry: Entry, network_id: NetworkId) -> None:
    """Raise AdmissionError ("signature") unless the author's signature on this very entry holds. Cost: 55 us."""
    if not verify(entry.key, signed_bytes(network_id, entry.header), entry.signature):
        raise AdmissionError(
            "signature",
            f"the signature of entry {entry.seq} in log {entry.key.hex()[:12]} does not verify;"
            " it was altered, or written for another network",
        )


def check_link(entry: Entry, before: "Entry | None") -> None:
    """Raise AdmissionError unless `entry` may stand right after `before` (None: it is the first of its log)."""
    if before is None:
        if entry.seq != 0 or entry.prev is not None:
            raise AdmissionError("link", f"entry {entry.seq} of log {entry.key.hex()[:12]} lacks the entries before it")
        return
    if entry.seq != before.seq + 1 or entry.prev != before.id:
        raise AdmissionError("link", f"entry {entry.seq} of log {entry.key.hex()[:12]} does not follow {before.seq}")
    if entry.time_ms < before.time_ms:
        raise AdmissionError("time", f"entry {entry.seq} of log {entry.key.hex()[:12]} is dated before its predecessor")


def _is_bytes(value: object, size: int) -> bool:
    return type(value) is bytes and len(value) == size


def _check_place(seq: int, prev: bytes | None) -> None:
    if not 0 <= seq <= SEQ_MAX:
        raise FormatError(f"seq {seq} is out of range")
    if (prev is None) != (seq == 0):
        raise FormatError("prev is nil at seq 0, and the id of the entry before anywhere else")


def _check_fields(kind: object, time_ms: object, refs: object, space: object, body_size: int) -> None:
    if type(kind) is not str or kind not in _COMMON_KINDS:
        _check_kind(kind)
    if type(time_ms) is not int or not 0 <= time_ms <= TIME_MS_MAX:
        raise FormatError(f"time_ms must be a whole number from 0 to {TIME_MS_MAX}")
    if refs:
        _check_refs(refs)
    elif type(refs) is not list:
        raise FormatError("refs must be an array")
    if space is not None and not _is_bytes(space, 32):
        raise FormatError("space must be nil or 32 bytes")
    if not 0 <= body_size <= BODY_BYTES_MAX:
        raise FormatError(f"a body of {body_size} bytes; at most {BODY_BYTES_MAX}: attach larger things as files")


def _check_kind(kind: object) -> None:
    if type(kind) is not str or not 1 <= len(kind) <= KIND_BYTES_MAX or not _KIND_LETTERS.issuperset(kind):
        raise FormatError(f"kind must be 1 to {KIND_BYTES_MAX} of a-z, 0-9 and '-'")


def _check_refs(refs: object) -> None:
    if type(refs) is not list or len(refs) > REFS_MAX:
        raise FormatError(f"refs must be an array of at most {REFS_MAX} ids")
    last = b""
    for ref in refs:
        if not _is_bytes(ref, 32) or ref <= last:
            raise FormatError("refs must be 32-byte ids in strictly ascending order")
        last = ref
