"""What a transport tells, and what it allows peers and strangers to cost."""

from dataclasses import dataclass
from typing import TypeAlias

from keys.errors import RemoteError
from keys.signing import PublicKey


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What peers and strangers may cost. Nodes with different limits understand each other."""

    message_bytes_max: int = 2 * 1024 * 1024  # protocol.limits.MESSAGE_BYTES_MAX and room to grow
    queue_bytes_max: int = 8 * 1024 * 1024  # outgoing, per peer: a slower peer is dropped and syncs later
    window_bytes: int = 4 * 1024 * 1024  # received and unread, per peer: 80 MB/s at 50 ms
    unread_bytes_max: int = 8 * 1024 * 1024  # the same from a peer that ignores its window: then it is dropped
    events_max: int = 16  # told and not yet read; every message in it may have message_bytes_max
    peers_max: int = 256  # links
    strangers_max: int = 256  # TCP connections that have not proved a key; the oldest goes first
    dial_timeout_s: float = 15.0  # TCP, handshake and the peer's word
    upgrade_timeout_s: float = 5.0  # a stranger's handshake, and a stream's choice of protocol
    probe_timeout_s: float = 3.0  # a link that does not answer for so long gives way to a new connection


@dataclass(frozen=True, slots=True)
class Up:
    """A link to this peer exists."""

    peer: PublicKey
    inbound: bool
    address: str


@dataclass(frozen=True, slots=True)
class Got:
    """A message came."""

    peer: PublicKey
    message: bytes


@dataclass(frozen=True, slots=True)
class Down:
    """The link to this peer has ended."""

    peer: PublicKey
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody was not admitted. peer: None when no key was proved. Some may be missing: for counting only."""

    peer: PublicKey | None
    reason: str


Event: TypeAlias = Up | Got | Down | Refused


class DialError(RemoteError):
    """An address could not be reached, or who answers there is not the node it names."""
