"""One link as the engine sees it: what the peer holds, what it is owed, what it has done wrong. All bounded."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from keys.signing import PublicKey
from ledger.store import Ledger
from protocol.frame import Run, encode_frame
from protocol.limits import FRAME_BYTES_TARGET, FRAME_ENTRIES_MAX, FRAME_RUNS_MAX
from protocol.message import Frame
from protocol.reconcile import Head, HeadIndex

KNOWN_LOGS_MAX: Final = 4096  # logs remembered a peer; forgetting one costs at most a frame sent twice
OWED_LOGS_MAX: Final = 65_536  # logs a peer may be owed at once
BUDGET_NS: Final = 30 * 10**9  # budgets start anew
Owed: TypeAlias = tuple[tuple[PublicKey, tuple[int, int]], ...]  # logs and [first, end) of each
Made: TypeAlias = dict[Owed, tuple[bytes, list[tuple[PublicKey, int]]]]  # a frame of all that, and where it ends


def forget_oldest(logs: MutableMapping[PublicKey, Any]) -> None:
    """Keep what is remembered of logs within KNOWN_LOGS_MAX."""
    while len(logs) > KNOWN_LOGS_MAX:
        del logs[next(iter(logs))]


@dataclass(slots=True)
class Peer:
    """State of one link, from PeerUp to PeerDown."""

    key: PublicKey
    inbound: bool
    heard_ns: int  # mono: when anything last came from it
    since_ms: int  # wall: when the link came up
    eager: bool = False  # new entries are pushed to it at once; otherwise they are announced
    entries: int | None = None  # how many it said it holds, in its hello
    same_ms: int | None = None  # wall: when both sides last held the same
    fetching: bool = False  # it was asked for entries before that was known
    compared: bool = False  # and was asked, when they had come, whether both now hold the same
    known: "OrderedDict[PublicKey, int]" = field(default_factory=OrderedDict)  # log -> entries it holds, last we heard
    owed: "OrderedDict[PublicKey, tuple[int, int]]" = field(default_factory=OrderedDict)  # log -> [first, end) to send
    pushes: dict[PublicKey, int] = field(default_factory=dict)  # log -> first new seq, until the next flush
    tells: dict[PublicKey, int] = field(default_factory=dict)  # log -> since when it is to be announced, mono_ns
    told_ns: int = 0  # mono: when anything was last announced to it
    again: set[PublicKey] = field(default_factory=set)  # logs of which it sent what was here
    spared: dict[PublicKey, None] = field(default_factory=dict)  # logs that are not pushed to it: others do
    told: dict[PublicKey, None] = field(default_factory=dict)  # logs last announced to it
    asking: list[tuple[PublicKey, int, int]] = field(default_factory=list)  # wants, until the end of this step
    unacked: deque[tuple[int, int, int]] = field(default_factory=deque)  # (number, bytes, sent mono_ns)
    unacked_bytes: int = 0
    frames_sent: int = 0
    done_frames: int = 0  # of its frames, dealt with
    done_bytes: int = 0  # of those, that it was not told of
    inbox_bytes: int = 0  # its frames that wait for a commit
    inbox_frames: int = 0
    pinged: bool = False  # a ping is out since it was last heard
    refusals: Counter[str] = field(default_factory=Counter)  # reason -> count, over this link's life
    limited: Counter[str] = field(default_factory=Counter)  # what was left out without blame: reason -> count
    spent: Counter[str] = field(default_factory=Counter)  # of its budgets, since `spent_since_ns`
    spent_since_ns: int = 0
    admitted: int = 0  # entries that came from it and were new
    duplicates: int = 0

    def spend(self, what: str, count: int, mono_ns: int) -> int:
        """Take `count` from a budget; how much of it is spent in these BUDGET_NS."""
        if mono_ns - self.spent_since_ns >= BUDGET_NS:
            self.spent.clear()
            self.spent_since_ns = mono_ns
        self.spent[what] += count
        return self.spent[what]

    def counted(self) -> Counter[str]:
        """Everything that was not taken from it, by reason: refused, and left out."""
        return self.refusals + self.limited

    def learn(self, key: PublicKey, size: int) -> None:
        """It holds `size` entries of that log: what it says replaces what we thought, even when it is less."""
        self.known[key] = size
        self.known.move_to_end(key)
        forget_oldest(self.known)

    def spare(self, heads: Iterable[Head]) -> None:
        """It announces these. Where it was sent as much, it gets that log from others, too, and we push it no more."""
        for head in heads:
            if 0 < head.size <= self.known.get(head.key, 0):
                self.spared[head.key] = None
                forget_oldest(self.spared)

    def wants(self, key: PublicKey) -> None:
        """It asks for a log. Where that was announced to it, nobody pushed it: from now on we do, and others, too."""
        if self.told.pop(key, False) is None:
            self.spared.pop(key, None)
            self.eager = True

    def due_tells(self, before_ns: int, heads: HeadIndex) -> list[Head]:
        """What to announce to it now, ascending: what waits since `before_ns` and did not come by another way."""
        due = {key for key, since_ns in self.tells.items() if since_ns <= before_ns}
        for key in due:
            del self.tells[key]
        found = [heads.get(key) for key in sorted(due | self.again)]
        told = [head for head in found if self.known.get(head.key, 0) < head.size or head.key in self.again]
        self.again.clear()
        self.told |= dict.fromkeys(head.key for head in told)
        forget_oldest(self.told)
        return told

    def owe(self, key: PublicKey, first: int, end: int) -> None:
        """Send it entries first to below end, as soon as the window allows; merged with what is owed already."""
        if key in self.owed:
            was_first, was_end = self.owed[key]
            self.owed[key] = (min(first, was_first), max(end, was_end))
        elif len(self.owed) < OWED_LOGS_MAX:
            self.owed[key] = (first, end)

    def next_frame(
        self, ledger: Ledger, mono_ns: int, *, window_bytes: int, made: Made | None = None
    ) -> Frame | None:  # fmt: skip
        """The next frame of what is owed, or None when the window is full or nothing is owed.

        made: frames made for others meanwhile: where they are owed the same, it is read and compressed once.
        """
        if self.unacked_bytes >= window_bytes or not self.owed:
            return None
        owed = tuple(self.owed.items()) if made is not None else ()
        if made is not None and owed in made:
            frame, ends = made[owed]
            for key, end in ends:
                self.learn(key, end)
            self.owed.clear()
            return self._framed(frame, mono_ns)
        runs = self._owed_runs(ledger)
        if not runs:
            return None
        frame = encode_frame(runs)
        if made is not None and not self.owed:
            made[owed] = frame, [(run.key, run.end) for run in runs]
        return self._framed(frame, mono_ns)

    def _framed(self, encoded: bytes, mono_ns: int) -> Frame:
        frame = Frame(self.frames_sent, encoded)
        self.frames_sent += 1
        self.unacked.append((frame.number, len(encoded), mono_ns))
        self.unacked_bytes += len(encoded)
        return frame

    def _owed_runs(self, ledger: Ledger) -> list[Run]:
        """What is owed, as much as a frame takes; it is owed no longer."""
        runs: list[Run] = []
        room, entries = FRAME_BYTES_TARGET, FRAME_ENTRIES_MAX
        while self.owed and room > 0 and entries > 0 and len(runs) < FRAME_RUNS_MAX:
            key, (first, end) = next(iter(self.owed.items()))
            run = ledger.run(key, first, end, bytes_max=room, entries_max=entries)
            if run is None:  # nothing there, or nothing that may be sent
                del self.owed[key]
                continue
            taken = sum(map(len, run.rows))
            if runs and taken > room:
                break  # one large row: it opens the next frame
            runs.append(run)
            room -= taken + 80
            entries -= len(run.rows)
            self.learn(key, run.end)
            if run.end >= min(end, ledger.heads.get(key).size):
                del self.owed[key]
            else:
                self.owed[key] = (run.end, end)
        return runs

    def acknowledge(self, count: int) -> None:
        """Its frames below `count` are dealt with."""
        while self.unacked and self.unacked[0][0] < count:
            self.unacked_bytes -= self.unacked.popleft()[1]

    def forget_unacked(self) -> None:
        """Frames were lost: free the window. What they held is found again by sync."""
        self.unacked.clear()
        self.unacked_bytes = 0

    def size(self) -> int:
        """How many things are held for this peer: for the bound on memory."""
        told = len(self.tells) + len(self.again) + len(self.spared) + len(self.told)
        return len(self.known) + len(self.owed) + len(self.pushes) + told + len(self.unacked)
