"""Comparing what nodes attest with what is held here (SPEC.md 7.2), in tables beside the search index.

| table         | a row for each                       | holds                                                        |
|---------------|--------------------------------------|--------------------------------------------------------------|
| `checkpoints` | checkpoint, or what should be one    | when, how much, root, verdict; what is lacking for a verdict |
| `attested`    | log that a checkpoint changes        | its size and last id from then on; size 0: none              |
| `states`      | log in a node's last checkpoint      | the same                                                     |

They follow from the entries, apart from the time at which a checkpoint was first seen here. A verdict is NULL while
entries that the checkpoint attests are not held: it is held against them once they are.

| verdict     | means                                                                                 |
|-------------|---------------------------------------------------------------------------------------|
| `agrees`    | the ledger root here, at what it attests, is its root                                 |
| `differs`   | it is another; `here` says which                                                      |
| `parts`     | another entry is held here where it attests the last of a log: the two branches differ |
| `malformed` | it is no checkpoint; `fault` says why                                                 |
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from keys.errors import FormatError
from keys.signing import PublicKey
from ledger.attest import KIND, Ranges, stated
from ledger.held import held_id, log_of, said_at, seqs_of
from ledger.layout import LogState
from ledger.search import Connection, Search
from ledger.storage import Reader
from ledger.store import Ledger
from protocol.checkpoint import Attested, Chain, Checkpoint, State, Whole, note_holds, parse_checkpoint
from protocol.entry import EntryId
from protocol.merkle import log_leaf, tree_root

SCHEMA: Final = """
CREATE TABLE checkpoints (
  node BLOB NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, time_ms INTEGER NOT NULL, entries INTEGER NOT NULL,
  logs INTEGER NOT NULL, root BLOB NOT NULL, seen_ms INTEGER NOT NULL, fault TEXT NOT NULL, verdict TEXT, here BLOB,
  log BLOB, size INTEGER, last BLOB, PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX checkpoints_id ON checkpoints (id);
CREATE INDEX checkpoints_open ON checkpoints (log, size) WHERE log IS NOT NULL;
CREATE INDEX checkpoints_bad ON checkpoints (verdict, node) WHERE verdict IN ('differs', 'malformed');
CREATE TABLE attested (
  log BLOB NOT NULL, node BLOB NOT NULL, seq INTEGER NOT NULL, size INTEGER NOT NULL, id BLOB NOT NULL,
  PRIMARY KEY (log, node, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE states (
  node BLOB NOT NULL, log BLOB NOT NULL, size INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (node, log)
) STRICT, WITHOUT ROWID;
"""
_INSERT: Final = "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL, NULL)"
_FORGET: Final = (
    "DELETE FROM checkpoints WHERE node = ?",
    "DELETE FROM attested WHERE node = ?",
    "DELETE FROM states WHERE node = ?",
)
_PASS: Final = 256  # checkpoints taken, and verdicts given, in one pass: a view of the store is open meanwhile
_LEAVES_MAX: Final = 100_000  # leaves of ledger roots that are remembered: about 30 MB


class _Open(NamedTuple):
    """Why there is no final verdict: of which log what is lacking, or held otherwise."""

    log: PublicKey
    size: int
    last: EntryId


@dataclass(frozen=True, slots=True)
class _Judged:
    """A verdict: NULL, or one of the table above."""

    verdict: str | None
    here: bytes | None = None
    open: _Open | None = None


class _Read(NamedTuple):
    """A checkpoint entry."""

    seq: int
    id: EntryId
    time_ms: int
    body: bytes | None


class Comparison:
    """Follows the checkpoints of all nodes in the ledger, in the index file of `search`."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._ranges = Ranges()
        self._leaves: dict[tuple[PublicKey, int, EntryId], bytes] = {}
        self._seen: dict[bytes, int] = {}  # when checkpoints were first seen that are taken again

    def compare(self, ledger: Ledger, now_ms: int) -> bool:
        """Take new checkpoints and give the verdicts that can be given now; whether more are left for another pass.

        now_ms: when those are seen for the first time. Cost: O(logs) a checkpoint, about 1 us each, and one hash for
        each entry that none attested before.
        """
        with self._search.connection() as db, ledger.storage.read() as view:
            left = _PASS
            for node in _nodes(db, ledger):
                left -= self._follow(db, view, ledger, node, now_ms, left)
                if left <= 0:
                    return True
            return self._reconsider(db, view, ledger, left) >= left

    # -- new ones ---------------------------------------------------------------------------------

    def _follow(
        self, db: Connection, view: Reader, ledger: Ledger, node: PublicKey, now_ms: int, most: int
    ) -> int:  # fmt: skip
        """Take a node's new checkpoint entries, at most so many; returns how many there were."""
        log = log_of(view, node)
        last = _last(db, node)
        if last is None and log is None:
            return 0
        gone = last is not None and (log is None or last[0] >= log.size or held_id(view, log, last[0]) != last[1])
        reads = [] if log is None else _reads(view, log, -1 if gone or last is None else last[0], most)
        if not reads and not gone:
            return 0
        db.execute("BEGIN IMMEDIATE")
        if _last(db, node) != last:
            db.execute("ROLLBACK")  # another process took the same checkpoints meanwhile
            return len(reads)
        if gone:
            sql = "SELECT id, seen_ms FROM checkpoints WHERE node = ?"
            self._seen |= {bytes(known): seen for known, seen in db.execute(sql, (node,))}
            for forget in _FORGET:
                db.execute(forget, (node,))
        _Taking(self, db, view, ledger, node, now_ms).take(reads)
        db.execute("COMMIT")
        return len(reads)

    def seen(self, known: EntryId, now_ms: int) -> int:
        """When a checkpoint was first seen."""
        return self._seen.pop(known, now_ms)

    # -- verdicts ---------------------------------------------------------------------------------

    def judge(self, view: Reader, ledger: Ledger, root: bytes, state: State) -> _Judged:
        """What a checkpoint's root and state are, held against what is held here."""
        lacks: tuple[int, _Open] | None = None
        parts: _Open | None = None
        leaves: list[bytes] = []
        for key in sorted(state):
            size, last = state[key]
            found = self._leaf(view, ledger, key, size, last)
            if found is not None:
                leaves.append(found)
                continue
            log = log_of(view, key)
            missing = size - (log.held if log is not None else 0)
            if missing <= 0:
                parts = parts or _Open(key, size, last)
            elif lacks is None or missing > lacks[0]:
                lacks = missing, _Open(key, size, last)
        if lacks is not None:
            return _Judged(None, open=lacks[1])
        if parts is not None:
            return _Judged("parts", open=parts)
        here = tree_root(leaves)
        return _Judged("agrees" if here == root else "differs", here)

    def _leaf(self, view: Reader, ledger: Ledger, key: PublicKey, size: int, last: EntryId) -> bytes | None:
        """A log's leaf, where it is held up to that size and entry. Of a log of one branch it is remembered."""
        known = None if key in ledger.cuts else self._leaves.get((key, size, last))
        if known is not None:
            return known
        found = self._ranges.log_root(view, key, size, last)
        if found is None:
            return None
        if len(self._leaves) >= _LEAVES_MAX:
            self._leaves.clear()
        made = self._leaves[key, size, last] = log_leaf(key, size, found)
        return made

    def _reconsider(self, db: Connection, view: Reader, ledger: Ledger, most: int) -> int:
        """Judge again those for which what was lacking has come; returns how many."""
        ready: dict[PublicKey, list[int]] = {}
        count = 0
        for node, seq in _ready(db, view):
            if count < most:
                ready.setdefault(node, []).append(seq)
                count += 1
        for node, seqs in sorted(ready.items()):
            verdicts = [(at, self._judge_again(db, view, ledger, node, at, states)) for at, states in
                        _states(db, view, node, sorted(seqs))]  # fmt: skip
            db.execute("BEGIN IMMEDIATE")
            for seq, judged in verdicts:
                _write_verdict(db, node, seq, judged)
            db.execute("COMMIT")
        return count

    def _judge_again(
        self, db: Connection, view: Reader, ledger: Ledger, node: PublicKey, seq: int, state: State
    ) -> _Judged:  # fmt: skip
        sql = "SELECT root FROM checkpoints WHERE node = ? AND seq = ?"
        row = db.execute(sql, (node, seq)).fetchone()
        return _Judged(None) if row is None else self.judge(view, ledger, row[0], state)


class _Taking:
    """Takes checkpoint entries of one node, in the order of its log."""

    def __init__(
        self, comparison: Comparison, db: Connection, view: Reader, ledger: Ledger, node: PublicKey, now_ms: int
    ) -> None:  # fmt: skip
        self._comparison = comparison
        self._db = db
        self._view = view
        self._ledger = ledger
        self._node = node
        self._now_ms = now_ms
        self._chain = Chain()
        self._open: list[_Read] = []  # parts of one that is not whole yet
        self._chain.state = state_of_node(db, node)
        sql = "SELECT entries, logs, root FROM checkpoints WHERE node = ? AND verdict IS NOT 'malformed'"
        whole = db.execute(f"{sql} ORDER BY seq DESC LIMIT 1", (node,)).fetchone()
        if whole is not None:
            self._chain.whole = Whole(0, whole[2], whole[1], whole[0], (), full=False)

    def take(self, reads: Iterable[_Read]) -> None:
        """Write the rows of them all; parts at the end that are not whole yet are left for another time."""
        for read in reads:
            before = self._chain.state
            whole, wrong = self._chain.take(read.seq, read.body)
            part = _parsed(read.body)
            if whole is not None and part is not None:
                if wrong:
                    self._malformed(self._open[-1], wrong)
                self._open = []
                self._whole(read, whole, part, before)
            elif part is not None and part.rest:
                if wrong:
                    self._malformed(self._open[-1], wrong)
                    self._open = []
                self._open.append(read)
            else:
                self._open = []
                self._malformed(read, wrong)

    def _whole(self, read: _Read, whole: Whole, part: Checkpoint, before: State) -> None:
        changed: list[Attested] = list(whole.heads)
        if whole.full:
            changed = [head for head in changed if before.get(head.key) != (head.size, head.id)]
            changed += [Attested(key, 0, None) for key in before if key not in self._chain.state]
        rows = [(head.key, self._node, read.seq, head.size, head.id or b"") for head in changed]
        self._db.executemany("INSERT OR REPLACE INTO attested VALUES (?, ?, ?, ?, ?)", rows)
        self._db.executemany(
            "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)",
            [(self._node, head.key, head.size, head.id) for head in changed if head.id is not None],
        )
        self._db.executemany(
            "DELETE FROM states WHERE node = ? AND log = ?",
            [(self._node, head.key) for head in changed if head.id is None],
        )
        holds = note_holds(self._node, self._ledger.network_id, part)
        judged = self._comparison.judge(self._view, self._ledger, whole.root, self._chain.state)
        self._insert(read, (whole.entries, whole.logs, whole.root), "" if holds else "its note is not signed by it")
        _write_verdict(self._db, self._node, read.seq, judged)

    def _malformed(self, read: _Read, why: str) -> None:
        self._insert(read, (0, 0, b""), why)
        _write_verdict(self._db, self._node, read.seq, _Judged("malformed"))

    def _insert(self, read: _Read, said: tuple[int, int, bytes], fault: str) -> None:
        seen_ms = self._comparison.seen(read.id, self._now_ms)
        row = (self._node, read.seq, read.id, read.time_ms, *said, seen_ms, fault)
        self._db.execute(_INSERT, row)


def state_of_node(db: Connection, node: PublicKey) -> dict[PublicKey, tuple[int, EntryId]]:
    """What a node's last checkpoint attests; empty where there is none."""
    rows = db.execute("SELECT log, size, id FROM states WHERE node = ?", (node,))
    return {PublicKey(log): (size, EntryId(last)) for log, size, last in rows}


def _nodes(db: Connection, ledger: Ledger) -> list[PublicKey]:
    """The keys of which checkpoints count, and those of which some did."""
    known = {PublicKey(row[0]) for row in db.execute("SELECT DISTINCT node FROM checkpoints")}
    return sorted(known | {key for key, known in ledger.authority.standings.items() if known.rank == "node"})


def _last(db: Connection, node: PublicKey) -> tuple[int, bytes] | None:
    row = db.execute("SELECT seq, id FROM checkpoints WHERE node = ? ORDER BY seq DESC LIMIT 1", (node,)).fetchone()
    return None if row is None else (row[0], row[1])


def _reads(view: Reader, log: LogState, after: int, most: int) -> list[_Read]:
    """The checkpoint entries of a log after that seq that count, at most so many."""
    seqs = islice(seqs_of(view, log, KIND, after + 1, log.size), most)
    return [_Read(seq, *said_at(view, log, seq)) for seq in seqs]


def _parsed(body: bytes | None) -> Checkpoint | None:
    with suppress(FormatError):  # what is wrong with it, the chain has said
        return None if body is None else parse_checkpoint(body)
    return None


def _ready(db: Connection, view: Reader) -> Iterator[tuple[PublicKey, int]]:
    """(node, seq) of the checkpoints for which what was lacking is held now, or another branch in place of one."""
    for (key,) in db.execute("SELECT DISTINCT log FROM checkpoints WHERE log IS NOT NULL").fetchall():
        log = log_of(view, key)
        if log is None:
            continue
        sql = "SELECT node, seq, size, last, verdict FROM checkpoints WHERE log = ? AND size <= ?"
        for node, seq, size, last, verdict in db.execute(sql, (key, log.held)).fetchall():
            if verdict is None or held_id(view, log, size - 1) == last:
                yield PublicKey(node), seq


def _states(
    db: Connection, view: Reader, node: PublicKey, seqs: list[int]
) -> Iterator[tuple[int, State]]:  # fmt: skip
    """The states of a node's checkpoints, ascending by seq. The last one is at hand; others are read again."""
    last = _last(db, node)
    if last is not None and seqs == [last[0]]:
        yield seqs[0], state_of_node(db, node)
        return
    wanted = set(seqs)
    for found in stated(view, node, seqs[0]):
        if found.seq in wanted:
            yield found.seq, found.state
        if found.seq >= seqs[-1]:
            return


def _write_verdict(db: Connection, node: PublicKey, seq: int, judged: _Judged) -> None:
    known = judged.open or (None, None, None)
    db.execute(
        "UPDATE checkpoints SET verdict = ?, here = ?, log = ?, size = ?, last = ? WHERE node = ? AND seq = ?",
        (judged.verdict, judged.here, *known, node, seq),
    )
