"""What to ask whom: wants, probes for forks, and logs whose certificates have not come yet. No I/O, no clock.

A log that is behind is wanted from one peer at a time, until a deadline that every frame from that peer puts
off. Logs of keys without a certificate chain wait here until the acts have come: so acts come first of all.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from keys.signing import PublicKey
from ledger.authority import Authority
from ledger.store import Ledger
from protocol.limits import ANCHOR, HEADS_MAX, RANGES_MAX, SEQ_MAX, WANTS_MAX
from protocol.message import PROBES_MAX, Fork, Ids, Probe, Ranges, Want
from protocol.reconcile import Head, opening, reply

UNCERTIFIED_MAX: Final = 1024  # heads of unknown keys kept for later, a peer; the next sync names the rest again
PROBES_OPEN_MAX: Final = 16  # searches for a fork under way at once, a peer
PATIENCE_NS: Final = 300 * 10**9  # a log that does not grow for so long is asked of another, whatever else came

Ask = tuple[PublicKey, int, int]  # log, first, end


@dataclass(slots=True)
class _Wanted:
    peer: PublicKey
    end: int
    deadline_ns: int
    limit_ns: int  # the deadline is not put off beyond it until this very log grows


class Sync:
    """The bookkeeping of sync over all links. Everything here is bounded by the number of logs."""

    def __init__(self, ledger: Ledger) -> None:
        self.wanting: dict[PublicKey, _Wanted] = {}
        self._ledger = ledger
        self._uncertified: dict[PublicKey, dict[PublicKey, Head]] = {}  # peer -> log -> its head
        self._probing: dict[tuple[PublicKey, PublicKey], tuple[int, int]] = {}  # (peer, log) -> [agreed, differs]

    def size(self) -> int:
        """How many things are held."""
        return len(self.wanting) + sum(map(len, self._uncertified.values())) + len(self._probing)

    def opening(self) -> Ranges:
        """The message that starts a reconciliation."""
        return Ranges(*opening(self._ledger.heads))

    def answer(self, step: Ranges) -> tuple[Ranges | None, list[Head]]:
        """Our next step in a reconciliation, if there is any, and the peer's heads that differ from ours."""
        ranges, learnt = reply(self._ledger.heads, step.salt, step.ranges, RANGES_MAX, HEADS_MAX)
        return Ranges(step.salt, tuple(ranges)) if ranges else None, learnt

    # -- heads ------------------------------------------------------------------------------------

    def has_room(self, peer: PublicKey, head: Head) -> bool:
        """Whether a peer's head can be considered: of keys without standing only so many are kept."""
        kept = self._uncertified.get(peer, {})
        return len(kept) < UNCERTIFIED_MAX or head.key in kept or self._ledger.authority.admits(head.key)

    def consider(self, peer: PublicKey, head: Head, deadline_ns: int) -> Ask | Probe | Fork | None:
        """What a peer's head calls for: entries, a search for a fork, a proof that it lacks, or nothing."""
        mine = self._ledger.heads.get(head.key)
        if not self._ledger.authority.admits(head.key):
            if head.size:
                self._uncertified.setdefault(peer, {})[head.key] = head
            return None
        cutoff = self._ledger.authority.cutoff(head.key)
        end = 0 if cutoff is None or cutoff.id is None else cutoff.seq + 1  # up to there a branch may be endorsed
        if mine.forked and (not head.forked or head.size > max(end, self._forked_at(head.key))):
            return self._ledger.fork(head.key)
        if cutoff is not None and head.size > mine.size >= end and not self._ledger.authority.speaks(head.key):
            return None  # what lies beyond is void
        if head.forked and not mine.forked and head.size <= mine.size:
            return None  # it sends its proof
        if head.size > mine.size:
            return self._want(peer, mine, head.size, deadline_ns)
        if (head.size, head.id) == (mine.size, mine.id):
            return None
        if head.id is not None and self._id_at(head.key, head.size - 1) != head.id:
            return self.probe(peer, head.key, head.size)
        return None

    def gap(self, peer: PublicKey, key: PublicKey, seq: int, deadline_ns: int) -> Ask | None:
        """A run came that starts at `seq`, past our end: ask for all from our end on."""
        mine = self._ledger.heads.get(key)
        ask = self._want(peer, mine, seq, deadline_ns) if mine.size < seq else None
        return None if ask is None else (key, mine.size, SEQ_MAX)

    def _want(self, peer: PublicKey, mine: Head, end: int, deadline_ns: int) -> Ask | None:
        if mine.key in self.wanting:
            return None
        self.wanting[mine.key] = _Wanted(peer, end, deadline_ns, deadline_ns + PATIENCE_NS)
        return (mine.key, mine.size, end)

    def _forked_at(self, key: PublicKey) -> int:
        """Where the fork is; our size may be smaller, when the proof came before the entries."""
        log = self._ledger.log(key)
        return SEQ_MAX if log is None or log.forked_at is None else log.forked_at

    def _id_at(self, key: PublicKey, seq: int) -> bytes | None:
        found = self._ledger.ids_at(key, [seq])
        return found[0][1] if found else None

    # -- wants ------------------------------------------------------------------------------------

    def wants(self, asks: list[Ask]) -> Iterator[Want]:
        """The asks as messages: logs of keys that certify first, then the shortest."""
        certifies = self._ledger.authority.certifies
        ordered = sorted(asks, key=lambda ask: (not certifies(ask[0]), ask[2] - ask[1], ask[0]))
        for start in range(0, len(ordered), WANTS_MAX):
            yield Want(tuple(ordered[start : start + WANTS_MAX]))

    def arrived(self, key: PublicKey, end: int, peer: PublicKey | None, deadline_ns: int) -> bool:
        """Note that a log grew to `end`. True when that was asked of `peer`, so it is no news."""
        wanted = self.wanting.get(key)
        if wanted is None:
            return False
        if end >= wanted.end:
            del self.wanting[key]
        elif wanted.peer == peer:
            wanted.deadline_ns, wanted.limit_ns = deadline_ns, deadline_ns + PATIENCE_NS
        return wanted.peer == peer

    def progress(self, peer: PublicKey, deadline_ns: int) -> None:
        """A frame came from that peer: what it still owes gets more time, up to a limit."""
        for wanted in self.wanting.values():
            if wanted.peer == peer:
                wanted.deadline_ns = min(deadline_ns, wanted.limit_ns)

    def is_wanting(self, peer: PublicKey) -> bool:
        """Whether anything is still wanted from that peer."""
        return any(wanted.peer == peer for wanted in self.wanting.values())

    def overdue(self, mono_ns: int) -> bool:
        """Give up what was not answered in time; True when there was any."""
        late = [key for key, wanted in self.wanting.items() if wanted.deadline_ns <= mono_ns]
        for key in late:
            del self.wanting[key]
        return bool(late)

    def forget(self, peer: PublicKey) -> bool:
        """The link is gone; True when something was wanted over it."""
        lost = [key for key, wanted in self.wanting.items() if wanted.peer == peer]
        for key in lost:
            del self.wanting[key]
        self._uncertified.pop(peer, None)
        self._probing = {at: span for at, span in self._probing.items() if at[0] != peer}
        return bool(lost)

    def newly_known(self, authority: Authority) -> Iterable[tuple[PublicKey, list[Head]]]:
        """Heads that waited for their key's certificate and can now be considered, by peer."""
        ready: dict[PublicKey, list[Head]] = {}
        for peer, kept in self._uncertified.items():
            known = [key for key in kept if authority.admits(key)]
            if known:
                ready[peer] = [kept.pop(key) for key in known]
        return ready.items()

    # -- forks ------------------------------------------------------------------------------------

    def renew(self) -> None:
        """A sync interval has passed: searches that went nowhere may start again."""
        self._probing.clear()

    def probe(self, peer: PublicKey, key: PublicKey, differs: int) -> Probe | None:
        """Start the search for the first entry below `differs` that the peer holds otherwise."""
        mine = self._ledger.heads.get(key)
        at = (peer, key)
        end = min(differs, mine.size)
        if at in self._probing or sum(key == peer for key, _ in self._probing) >= PROBES_OPEN_MAX or end == 0:
            return None
        self._probing[at] = (0, end)
        return Probe(key, _spread_over(0, end))

    def compare_ids(self, peer: PublicKey, ids: Ids) -> Probe | Ask | None:
        """Narrow the search: the next probe, or what to ask for; None when it has ended."""
        at = (peer, ids.key)
        if at not in self._probing:
            return None
        agreed, differs = self._probing[at]
        mine = dict(self._ledger.ids_at(ids.key, [seq for seq, _ in ids.ids]))
        for seq, theirs in sorted(ids.ids):
            if seq not in mine or not agreed <= seq < differs:
                continue
            if mine[seq] == theirs:
                agreed = seq + 1
            else:
                differs = seq + 1
                break
        if (agreed, differs) == self._probing.pop(at) and differs - agreed > 1:
            return None  # the peer told us nothing new
        if differs - agreed == 1:
            return (ids.key, agreed, agreed + ANCHOR)  # so that one of them is signed
        self._probing[at] = (agreed, differs)
        return Probe(ids.key, _spread_over(agreed, differs))


def _spread_over(first: int, end: int) -> tuple[int, ...]:
    """At most PROBES_MAX seqs from `first` to below `end`, evenly spread, the last included."""
    count = end - first
    if count <= PROBES_MAX:
        return tuple(range(first, end))
    return tuple(sorted({first + (count * step) // PROBES_MAX - 1 for step in range(1, PROBES_MAX + 1)}))
