"""What an audit that was interrupted had checked: so that the next one need not check those signatures again.

    file = "hamkor audit 1" LF network_id (32) u32 count digest (32)* SHA-256(all before it)

A digest stands for a stretch of entries of one log whose signatures all hold (`ledger/audit_stretch.py`); it covers
their ids, and an id covers header, body hash and signature. All hashes are computed anew, so what was altered since
has another digest and is checked anew. The file is the auditor's own: whoever can write it can vouch for signatures.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from keys.errors import FormatError, NetworkMismatchError
from ledger.layout import U32
from protocol.entry import NetworkId

MAGIC: Final = b"hamkor audit 1\n"
JOURNAL_BYTES_MAX: Final = 256 * 1024 * 1024  # 8 million stretches
_HEAD: Final = len(MAGIC) + 32 + U32.size


@dataclass(slots=True)
class Journal:
    """The stretches that were checked: `known` before this run, `met` in it, the known ones among them included."""

    network_id: NetworkId
    known: frozenset[bytes] = frozenset()
    met: set[bytes] = field(default_factory=set)

    def lost(self) -> int:
        """How many known stretches this run has not met."""
        return len(self.known - self.met)

    def encode(self) -> bytes:
        """The file's bytes."""
        digests = sorted(self.known | self.met)
        raw = MAGIC + self.network_id + U32.pack(len(digests)) + b"".join(digests)
        return raw + sha256(raw).digest()


def read_journal(raw: bytes, network_id: NetworkId) -> Journal:
    """The journal in a file. Raises FormatError, or NetworkMismatchError where it is of another network."""
    if not raw.startswith(MAGIC):
        raise FormatError("this is not a file that an interrupted audit left: its first line is not 'hamkor audit 1'")
    if len(raw) < _HEAD + 32 or sha256(raw[:-32]).digest() != raw[-32:]:
        raise FormatError("the file that the interrupted audit left is damaged; delete it, and all is audited")
    body = raw[_HEAD:-32]
    if len(body) != 32 * U32.unpack(raw[_HEAD - U32.size : _HEAD])[0]:
        raise FormatError("the file that the interrupted audit left is damaged; delete it, and all is audited")
    if raw[len(MAGIC) : len(MAGIC) + 32] != network_id:
        raise NetworkMismatchError("the interrupted audit was of another network; give another file to --resume")
    return Journal(network_id, frozenset(body[at : at + 32] for at in range(0, len(body), 32)))
