"""What goes into the engine and what comes out: the whole of its contact with the world."""

from dataclasses import dataclass
from typing import TypeAlias

from keys.errors import HamkorError
from keys.signing import PublicKey
from ledger.ingest import Item, Outcome, Stretch
from ledger.store import CommitResult
from protocol.frame import Run


@dataclass(frozen=True, slots=True)
class Now:
    """Two clocks: mono_ns drives timers; wall_ms (Unix epoch) is only written into entries and shown."""

    mono_ns: int
    wall_ms: int


# -- in -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A link to a certified node is open. Exactly one PeerDown follows each."""

    peer: PublicKey
    inbound: bool


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The link is gone."""

    peer: PublicKey
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """One message from a peer, as bytes."""

    peer: PublicKey
    message: bytes


@dataclass(frozen=True, slots=True)
class Submitted:
    """Entries signed on this machine; answered by Reply once they are durable, or refused."""

    request: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class BundleSubmitted:
    """A bundle file to admit wholly or not at all; answered by Reply."""

    request: int
    path: str


@dataclass(frozen=True, slots=True)
class Committed:
    """The transaction of that number is durable."""

    batch: int
    result: CommitResult


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The transaction of that number was undone."""

    batch: int
    error: HamkorError


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The clock has reached `Engine.deadline()`."""


Event: TypeAlias = PeerUp | PeerDown | Received | Submitted | BundleSubmitted | Committed | CommitFailed | TimerFired

# -- out ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commit:
    """Run `ledger.commit(items)`, or `commit_whole` on the bundle at `bundle`. One is under way at a time."""

    batch: int
    items: tuple[Item, ...]
    bundle: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message to that peer, in order."""

    peer: PublicKey
    message: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a Submitted or BundleSubmitted. What `outcome` says is durable."""

    request: int
    outcome: Outcome | None
    error: HamkorError | None = None


@dataclass(frozen=True, slots=True)
class Notify:
    """These entries are new and durable: for the projection, subscribers and watchers."""

    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Drop every connection of that peer."""

    peer: PublicKey
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkAsked:
    """That peer asks for a chunk of an attached file; answering is up to the driver, which has the disk."""

    peer: PublicKey
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChunkBrought:
    """That peer answers a request for a chunk; content None: it has none. Not checked against the hash."""

    peer: PublicKey
    hash: bytes
    content: bytes | None


Output: TypeAlias = Commit | Send | Reply | Notify | Disconnect | ChunkAsked | ChunkBrought
