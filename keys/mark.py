"""The high-water mark: what a key has signed last, durable before the signature is let out.

A log that is behind its mark was restored from an older copy, or copied to a second machine: signing there
would fork the log, and a fork can be proved for ever. So the mark is checked before every signature. It also
holds the last signed rows themselves: after a crash between signing and storing they are submitted again,
unchanged, instead of being signed anew at the same place.

    "hamkor mark 1" LF  public(32)  u64 seq  id(32)  u64 first  u32 count  (u32 size, blob)*  SHA-256 of all before it
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, TypeAlias

from keys.errors import MarkError
from keys.files import replace_file
from keys.signing import PublicKey

MAGIC: Final = b"hamkor mark 1\n"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024

State: TypeAlias = Literal["ok", "resubmit"]


class Mark:
    """The mark of one key. `seq` and `id` are of the last signed entry, None before the first."""

    def __init__(self, path: Path, public: PublicKey) -> None:
        self.path = path
        self.public = public
        self.first_seq: int = 0  # of the rows in `pending`
        self.seq: int | None = None
        self.id: bytes | None = None
        self.pending: tuple[bytes, ...] = ()

    @classmethod
    def open(cls, path: Path, public: PublicKey) -> "Mark":
        """The mark in `path`, or an empty one where there is no file. Raises MarkError on a damaged file."""
        mark = cls(path, public)
        try:
            with path.open("rb") as file:
                raw = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return mark
        except OSError as error:
            raise MarkError(f"the high-water mark {path} cannot be read: {error.strerror}") from None
        mark._decode(raw)
        return mark

    def advance(
        self, seq: int, entry_id: bytes, pending: Sequence[bytes] = (), *, first_seq: int | None = None
    ) -> None:
        """Entries up to `seq` are signed; durable when this returns. Raises MarkError when the disk fails.

        pending: what to submit again after a crash; first_seq: the seq of the first entry in it.
        """
        if self.seq is not None and seq <= self.seq:
            raise MarkError(f"entry {seq} of log {self.public.hex()[:12]} was signed already; {_ADVICE}")
        raw = MAGIC + self.public + seq.to_bytes(8, "big") + entry_id
        raw += (seq if first_seq is None else first_seq).to_bytes(8, "big") + len(pending).to_bytes(4, "big")
        for blob in pending:
            raw += len(blob).to_bytes(4, "big") + blob
        try:
            replace_file(self.path, raw + sha256(raw).digest())
        except OSError as error:
            raise MarkError(f"the high-water mark {self.path} cannot be written: {error.strerror}") from None
        self.seq, self.id, self.pending = seq, entry_id, tuple(pending)
        self.first_seq = seq if first_seq is None else first_seq

    def check(self, size: int, head_id: bytes | None) -> State:
        """Whether the key may sign, given its log: `size` entries, the last with id `head_id`.

        "ok": it may. "resubmit": the rows in `pending` were signed and not stored; submit them first.
        Raises MarkError when the log lacks entries that the key has signed, or holds others in their place.
        """
        if self.seq is None or (size == self.seq + 1 and head_id == self.id):
            return "ok"
        if self.pending and self.first_seq == size:
            return "resubmit"
        if size > self.seq + 1:
            return "ok"  # the mark was lost or is older; the log says more, and the log was admitted
        raise MarkError(
            f"the log of key {self.public.hex()[:12]} holds {size} entries here, but the key has signed"
            f" {self.seq + 1}: this home was restored from an older copy, or copied. {_ADVICE}"
        )

    def _decode(self, raw: bytes) -> None:
        content, checksum = raw[:-32], raw[-32:]
        start = len(MAGIC)
        if len(raw) < start + 116 or not raw.startswith(MAGIC) or sha256(content).digest() != checksum:
            raise MarkError(f"the high-water mark {self.path} is damaged. {_ADVICE}")
        if content[start : start + 32] != self.public:
            raise MarkError(f"the high-water mark {self.path} is of another key than {self.public.hex()[:12]}")
        self.seq = int.from_bytes(content[start + 32 : start + 40], "big")
        self.id = content[start + 40 : start + 72]
        self.first_seq = int.from_bytes(content[start + 72 : start + 80], "big")
        count = int.from_bytes(content[start + 80 : start + 84], "big")
        blobs, at = list[bytes](), start + 84
        while len(blobs) < count and at < len(content):  # a damaged count must not make four thousand million blobs
            size = int.from_bytes(content[at : at + 4], "big")
            blobs.append(content[at + 4 : at + 4 + size])
            at += 4 + size
        if len(blobs) != count or at != len(content):
            raise MarkError(f"the high-water mark {self.path} is damaged. {_ADVICE}")
        self.pending = tuple(blobs)


_ADVICE: Final = (
    "Nothing was signed. Reading and syncing go on. To write again, make a new key and have its card certified;"
    " keys are never copied or restored"
)
