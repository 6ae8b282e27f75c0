"""The high-water mark: what a key has signed last, durable before the signature is let out.

A log that is behind its mark was restored from an older copy, or copied to a second machine: signing there
would fork the log, and a fork can be proved for ever. So the mark is checked before every signature. It also
holds the last signed rows themselves: after a crash between signing and storing they are submitted again,
unchanged, instead of being signed anew at the same place.

A mark is born with its key, says "nothing signed yet", and moves on with every signature. So each of these tells:

    log behind the mark          the store is older than the key: wait for the log, or make a new key
    log ahead of the mark        another copy of this key has signed: the mark is barred, for ever
    the file was born elsewhere  the mark was copied or put back: a file keeps the time of its birth when it or its
                                 folder is renamed and when the machine starts anew, and loses it when it is copied
    no file                      lost: what peers hold of the log decides where it goes on

    "hamkor mark 2" LF  public(32)  u64 size  id(32)  u8 state  u64 birth_ns  machine(32)
        u64 first  u32 count  (u32 size, blob)*  SHA-256 of all before it

size: entries signed; id: of the last, zeros where there is none. birth_ns: of this very file, 0 where the file system
does not tell; then `machine`, SHA-256 of the machine's id, is compared instead (zeros where there is none). Version 1
had seq in place of size and neither state, birth_ns nor machine; it is read, and written anew with the next signature.

**One sync for each.** A new mark is written and synced as `.NAME.new`, with which it is durable, name and all (see
`keys.files.make_file`); then it takes the name of the one before, and no sync is spent on that. Should a power cut undo
the renaming, the old mark has its name again and the new one lies beside it, whole: where `.NAME.new` is whole, it is
the mark. Where it is not, the power went before the sync had ended, and so before anything was let out: the other is.
A file that is written over in place, or several that are used in turn, would save no more than the rename, and could
be put back without a trace: a file's birth tells one content from another because each content has a file of its own.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, TypeAlias

from keys.errors import MarkError
from keys.files import make_file, settle_file
from keys.signing import PublicKey

MAGIC: Final = b"hamkor mark 2\n"
_MAGIC_1: Final = b"hamkor mark 1\n"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
_HEAD: Final = struct.Struct(">32sQ32sBQ32sQI")  # public, size, id, state, birth_ns, machine, first, count
_HEAD_1: Final = struct.Struct(">32sQ32sQI")  # public, seq, id, first, count
_NO_ID: Final = bytes(32)
_OPEN, _BARRED, _RETIRED = 0, 1, 2
_MACHINE_ID: Final = Path("/etc/machine-id")

State: TypeAlias = Literal["ok", "resubmit", "lost"]


def mark_path(key_path: Path) -> Path:
    """Where the high-water mark of a key file is."""
    return key_path.with_name(key_path.name + ".mark")


class Mark:
    """The mark of one key. `seq` and `id` are of the last signed entry, None before the first."""

    def __init__(self, path: Path, public: PublicKey) -> None:
        self.path = path
        self.public = public
        self.first_seq: int = 0  # of the rows in `pending`
        self.seq: int | None = None
        self.id: bytes | None = None
        self.pending: tuple[bytes, ...] = ()
        self.lost = True  # there is no file
        self._state = _OPEN
        self._at_home = True  # the file is the one that was written here
        self._new = path.with_name(f".{path.name}.new")
        self._settled = True  # False: `_new` is the mark

    @classmethod
    def open(cls, path: Path, public: PublicKey) -> "Mark":
        """The mark in `path`; `lost` where there is no file. Raises MarkError on a damaged file."""
        mark = cls(path, public)
        raw = _read(mark._new)
        if raw is not None and _is_whole(raw):
            mark._settled = False
        else:
            raw = _read(path)
        if raw is not None:
            mark._decode(raw, path if mark._settled else mark._new)
            mark.lost = False
        return mark

    @classmethod
    def create(cls, path: Path, public: PublicKey) -> "Mark":
        """The mark of a key that was made just now and has signed nothing. Raises MarkError when there is a file."""
        if path.exists():
            raise MarkError(f"{path} exists already; a mark is never overwritten: choose another name for the key")
        mark = cls(path, public)
        mark._save()
        return mark

    def advance(
        self, seq: int, entry_id: bytes, pending: Sequence[bytes] = (), *, first_seq: int | None = None
    ) -> None:
        """Entries up to `seq` are signed; durable when this returns. Raises MarkError when the disk fails.

        pending: what to submit again after a crash; first_seq: the seq of the first entry in it.
        """
        if self.seq is not None and seq <= self.seq:
            raise MarkError(f"entry {seq} of log {self.public.hex()[:12]} was signed already; {ADVICE}")
        before = self.seq, self.id, self.pending, self.first_seq
        self.seq, self.id, self.pending = seq, entry_id, tuple(pending)
        self.first_seq = seq if first_seq is None else first_seq
        try:
            self._save()
        except MarkError:
            self.seq, self.id, self.pending, self.first_seq = before
            raise

    def adopt(self, size: int, head_id: bytes | None) -> None:
        """Begin a lost mark anew at the end of the log: `size` entries, the last with id `head_id`."""
        self.seq, self.id = (size - 1, head_id) if size else (None, None)
        self._save()

    def retire(self) -> None:
        """Let the key sign nothing more: another has taken its place."""
        self._state = _RETIRED
        self._save()

    def check(self, size: int, head_id: bytes | None) -> State:
        """Whether the key may sign, given its log: `size` entries, the last with id `head_id`.

        "ok": it may. "resubmit": the rows in `pending` were signed and not stored; submit them first. "lost": there
        is no mark; `adopt` begins one once the log is known to be whole.
        Raises MarkError when the log lacks entries that the key has signed, or holds others in their place; when it
        has more than were signed here (which is kept: the key never signs here again); and when the mark was copied.
        """
        self._check_state()
        if self.lost:
            return "lost"
        signed = 0 if self.seq is None else self.seq + 1
        if size == signed and head_id == self.id:
            return "ok"
        if self.pending and self.first_seq == size:
            return "resubmit"
        if size > signed:
            self._state = _BARRED
            self._save()
            self._check_state()
        raise MarkError(
            f"the log of key {self.public.hex()[:12]} holds {size} entries here, but the key has signed"
            f" {signed}: this home was restored from an older copy, or copied. {ADVICE}"
        )

    def _check_state(self) -> None:
        if self._state == _RETIRED:
            raise MarkError(f"key {self.public.hex()[:12]} was replaced by another (hamkor rekey); use that one")
        if self._state == _BARRED:
            raise MarkError(
                f"key {self.public.hex()[:12]} has signed entries that were not signed here: this is an older copy of"
                f" it, or there is a second one. {ADVICE}"
            )
        if not self._at_home:
            raise MarkError(
                f"{self.path} is a copy: the key that it belongs to was copied or restored from a backup. {ADVICE}"
            )

    def _save(self) -> None:
        size = 0 if self.seq is None else self.seq + 1
        blobs = b"".join(len(blob).to_bytes(4, "big") + blob for blob in self.pending)

        def content(birth_ns: int) -> bytes:
            head = _HEAD.pack(self.public, size, self.id or _NO_ID, self._state, birth_ns, _machine(), self.first_seq,
                              len(self.pending))  # fmt: skip
            raw = MAGIC + head + blobs
            return raw + sha256(raw).digest()

        try:
            if not self._settled:  # until now it alone says what was signed last
                settle_file(self._new, self.path)
                self._settled = True
            make_file(self._new, lambda descriptor: content(birth_ns_of(descriptor)))
            self._new.replace(self.path)
        except OSError as error:
            raise MarkError(f"the high-water mark {self.path} cannot be written: {error.strerror}") from None
        self.lost = False

    def _decode(self, raw: bytes, path: Path) -> None:
        content = raw[:-32]
        layout = _HEAD_1 if raw.startswith(_MAGIC_1) else _HEAD
        start = len(MAGIC) + layout.size
        if not _is_whole(raw) or len(content) < start:
            raise MarkError(f"the high-water mark {self.path} is damaged. {ADVICE}")
        if layout is _HEAD_1:
            public, seq, last, self.first_seq, count = layout.unpack_from(content, len(MAGIC))
            size, birth_ns, machine = seq + 1, 0, _NO_ID
        else:
            public, size, last, self._state, birth_ns, machine, self.first_seq, count = layout.unpack_from(
                content, len(MAGIC)
            )
        if public != self.public:
            raise MarkError(f"the high-water mark {self.path} is of another key than {self.public.hex()[:12]}")
        if size:
            self.seq, self.id = size - 1, last
        here = birth_ns_of(path)
        if birth_ns and here:
            self._at_home = birth_ns == here
        elif machine != _NO_ID and _machine() != _NO_ID:
            self._at_home = machine == _machine()
        self._read_blobs(content, start, count)

    def _read_blobs(self, content: bytes, at: int, count: int) -> None:
        blobs: list[bytes] = []
        while len(blobs) < count and at < len(content):  # a damaged count must not make four thousand million blobs
            size = int.from_bytes(content[at : at + 4], "big")
            blobs.append(content[at + 4 : at + 4 + size])
            at += 4 + size
        if len(blobs) != count or at != len(content):
            raise MarkError(f"the high-water mark {self.path} is damaged. {ADVICE}")
        self.pending = tuple(blobs)


def _read(path: Path) -> bytes | None:
    """What is in a file; None: there is none."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MarkError(f"the high-water mark {path} cannot be read: {error.strerror}") from None


def _is_whole(raw: bytes) -> bool:
    """Whether it is a mark as it was written, to the last byte."""
    return raw.startswith((MAGIC, _MAGIC_1)) and sha256(raw[:-32]).digest() == raw[-32:]


ADVICE: Final = (
    "Nothing was signed. Reading and syncing go on. To write again, make a new key with hamkor rekey and have its card"
    " certified; keys are never copied or restored"
)


# -- the birth of a file ------------------------------------------------------------------------------

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_STATX_BTIME: Final = 0x800
_BTIME_AT: Final = 80  # in struct statx: i64 seconds, u32 nanoseconds
_statx: Final[Callable[..., int] | None] = getattr(ctypes.CDLL(None), "statx", None)


def birth_ns_of(file: int | Path) -> int:
    """When a file (a descriptor or a path) was made, nanoseconds since 1970, or 0 where the system does not tell.

    Nothing sets this time but the making of the file. Python's `os.stat` leaves it out, so the C library is asked.
    """
    if _statx is None:
        return 0
    answer = ctypes.create_string_buffer(256)
    if isinstance(file, int):
        failed = _statx(file, b"", _AT_EMPTY_PATH, _STATX_BTIME, answer)
    else:
        failed = _statx(_AT_FDCWD, os.fsencode(file), 0, _STATX_BTIME, answer)
    if failed or not struct.unpack_from("=I", answer, 0)[0] & _STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", answer, _BTIME_AT)
    return int(seconds * 10**9 + nanoseconds)


@cache
def _machine() -> bytes:
    """SHA-256 of the machine's id, zeros where it has none."""
    try:
        found = _MACHINE_ID.read_bytes().strip()
    except OSError:
        return _NO_ID
    return sha256(b"hamkor mark\x00" + found).digest() if found else _NO_ID
