"""How much of a log counts, and how much of it is told to peers (SPEC.md 4.4.4, 6.2). Reads the store, changes nothing.

| of a log                | there counts                                                                       |
|-------------------------|------------------------------------------------------------------------------------|
| without standing        | nothing                                                                            |
| cut at (seq, id)        | up to seq                                                                          |
| forked at f             | below f                                                                            |
| both, and seq >= f      | up to seq where the entry held there is `id`: that branch is endorsed; else below f |

And never more than ends at an entry whose own signature holds: so that it can be sent on.
Peers are told of what counts; of the log of a key that speaks in the council, or might, also of what is void, because
the council's acts are read together, and nodes that hold different ones might decide differently which are void.
"""

from collections.abc import Iterable
from dataclasses import replace

from keys.signing import PublicKey, Signature, verify
from ledger.authority import Authority
from ledger.held import held_id
from ledger.layout import PLACE, LogState
from ledger.storage import Reader
from protocol.acts import Cutoff
from protocol.entry import EntryId, Facts, NetworkId, read_row, signed_bytes
from protocol.limits import ROOT_ENTRIES_MAX, SEQ_MAX
from protocol.merkle import append
from protocol.reconcile import Head


def end_of(cutoff: Cutoff | None) -> int:
    """How many entries a cutoff leaves."""
    return SEQ_MAX + 1 if cutoff is None else cutoff.end


def endorsed(log: LogState, authority: Authority) -> bool:
    """Whether the cutoff lies on a branch of the fork, which counts up to there once it is held whole."""
    return log.forked_at is not None and log.forked_at < end_of(authority.cutoff(log.key)) <= SEQ_MAX


def ceiling(log: LogState, authority: Authority) -> tuple[int, str]:
    """How many entries of a log may count, and what becomes of the rest: "forked" or "void"."""
    end = _most(log, authority)
    if log.forked_at is None or end <= log.forked_at:
        return end, "void"
    return max(log.size, log.forked_at) if endorsed(log, authority) else log.forked_at, "forked"


def _most(log: LogState, authority: Authority) -> int:
    """How many entries may count, whatever is held and forked."""
    end = end_of(authority.cutoff(log.key))
    return min(end, ROOT_ENTRIES_MAX) if authority.speaks(log.key) else end


class Measure:
    """One view of the store, and what it says of logs."""

    def __init__(self, network_id: NetworkId, reader: Reader) -> None:
        self._network_id = network_id
        self._reader = reader

    # -- rows -------------------------------------------------------------------------------------

    def held_id(self, log: LogState, seq: int) -> EntryId | None:
        """The id of the entry held at `seq`; None: there is none."""
        return held_id(self._reader, log, seq)

    def fact_at(self, log: LogState, seq: int) -> Facts:
        """What the row held at `seq` says."""
        raw = self._reader.get("rows", PLACE.pack(log.number, seq)) or b""
        return read_row(raw[32:], log.key, seq, self.held_id(log, seq - 1))

    def rows(self, log: LogState, first: int, stop: int) -> Iterable[tuple[bytes, bytes]]:
        """(place, id and row) of the entries held from `first` to below `stop`."""
        return self._reader.scan("rows", PLACE.pack(log.number, first), PLACE.pack(log.number, stop))

    def is_signed(self, key: PublicKey, header: bytes, signature: bytes) -> bool:
        """Whether an entry's own signature holds. Cost: 55 us."""
        return verify(key, signed_bytes(self._network_id, header), Signature(signature))

    def is_own(self, key: PublicKey, fact: Facts) -> bool:
        """The same, of what a row says."""
        return self.is_signed(key, fact.header, fact.signature)

    # -- what counts ------------------------------------------------------------------------------

    def lacks_branch(self, log: LogState, authority: Authority) -> bool:
        """Whether a cutoff endorses a branch that is not held whole."""
        cutoff = authority.cutoff(log.key)
        return endorsed(log, authority) and cutoff is not None and not self.holds(log, cutoff)

    def holds(self, log: LogState, cutoff: Cutoff) -> bool:
        """Whether the entry held at the cutoff's place is the cutoff's."""
        return cutoff.id is not None and self.held_id(log, cutoff.seq) == cutoff.id

    def counting(self, log: LogState, authority: Authority) -> LogState:
        """The log with its size as `authority` and its fork allow. Cost: O(size) hashes where that changes it."""
        size = 0 if authority.of(log.key) is None else min(log.held, _most(log, authority))
        if log.forked_at is not None and size > log.forked_at:
            size = size if log.key in authority.endorsed else log.forked_at
        size = self._sendable(log, size, 0)
        last = self.held_id(log, size - 1)
        if (size, last) == (log.size, log.id):
            return log
        ids = [raw[:32] for _, raw in self.rows(log, 0, size)]
        return replace(log, size=size, id=last, peaks=tuple(append((), 0, ids)))

    def head(self, log: LogState, authority: Authority) -> Head:
        """The head as peers are told it."""
        if not authority.speaks(log.key) or log.size == log.held:
            return log.head
        size = min(log.held, ROOT_ENTRIES_MAX)
        size = size if log.forked_at is None else min(size, log.forked_at)
        size = self._sendable(log, max(size, log.size), log.size)
        return Head(log.key, size, self.held_id(log, size - 1), log.forked_at is not None)

    def _sendable(self, log: LogState, size: int, least: int) -> int:
        """Back from `size` to an entry that can be sent on: at most ANCHOR steps."""
        while least < size and not self.is_own(log.key, self.fact_at(log, size - 1)):
            size -= 1
        return size
