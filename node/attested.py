"""What checkpoints tell, as plain values: how nodes stand, one checkpoint in full, receipts, alarms (SPEC.md 7.2).

Verdicts come from the index (`ledger/comparison.py`), everything else from the store.
"""

from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import Final

from keys.errors import FormatError, UsageError
from keys.signing import PublicKey
from ledger.attest import KIND, checkpoints_in, latest
from ledger.authority import Standing
from ledger.comparison import state_of_node
from ledger.held import held_id, log_of, said_at, seqs_back
from ledger.layout import PLACE, LogState, decode_log
from ledger.measure import ceiling
from ledger.projection import Projection
from ledger.search import HISTORY_MAX, Connection
from ledger.storage import Reader
from ledger.store import Ledger
from ledger.view import author_view, short_id
from node.attesting import ALARM
from node.clock import wall_ms
from protocol.body import Alarm, parse_alarm
from protocol.checkpoint import State, note_key, parse_checkpoint, render_note
from protocol.codec import Value, unpack_row
from protocol.entry import Entry, EntryId

ALARMS_MAX: Final = 100  # shown
LOGS_MAX: Final = 20  # of those held back, shown for each node
_DIFFERING_MAX: Final = 10  # of one node, shown


class Attested:
    """Reads one ledger and its index; `me` is the node's own key."""

    def __init__(self, ledger: Ledger, projection: Projection, me: PublicKey | None) -> None:
        self._ledger = ledger
        self._projection = projection
        self._me = me

    # -- how the nodes stand ----------------------------------------------------------------------

    def status(self) -> dict[str, Value]:
        """For every certified node: its last checkpoint, what is wrong, held back, not attested; and the alarms."""
        ledger = self._ledger
        with ledger.storage.read() as view, self._projection.connection() as db:
            logs = {PublicKey(key): decode_log(key, raw) for key, raw in view.scan("logs")}
            rows: list[Value] = []
            rows += [self._node(db, view, standing, logs) for standing in self._nodes()]
        return {"nodes": rows, "alarms": self.alarms()}

    def _nodes(self) -> list[Standing]:
        authority = self._ledger.authority
        return [known for key, known in sorted(authority.standings.items()) if authority.is_node(key)]

    def _node(
        self, db: Connection, view: Reader, standing: Standing, logs: Mapping[PublicKey, LogState]
    ) -> dict[str, Value]:  # fmt: skip
        node = standing.key
        state = state_of_node(db, node)
        sql = "SELECT id FROM checkpoints WHERE verdict = 'differs' AND node = ? ORDER BY seq DESC LIMIT ?"
        differing: list[Value] = [row[0].hex() for row in db.execute(sql, (node, _DIFFERING_MAX))]
        sql = "SELECT id FROM checkpoints WHERE verdict = 'malformed' AND node = ? ORDER BY seq DESC LIMIT ?"
        malformed: list[Value] = [row[0].hex() for row in db.execute(sql, (node, _DIFFERING_MAX))]
        sql = "SELECT id FROM checkpoints WHERE node = ? AND verdict IS NOT 'malformed' ORDER BY seq DESC LIMIT 1"
        last = db.execute(sql, (node,)).fetchone()
        return {
            **author_view(self._ledger.authority, node), "me": node == self._me,
            "checkpoint": _row(db, last[0]) if last is not None else None,
            "differing": differing, "malformed": malformed,
            "held_back": self._held_back(db, node, state, logs), "behind": _behind(view, state, logs),
        }  # fmt: skip

    def _held_back(
        self, db: Connection, node: PublicKey, state: State, logs: Mapping[PublicKey, LogState]
    ) -> dict[str, Value]:  # fmt: skip
        """What a node's last checkpoint attests that is not here. What would not be taken here is not expected here."""
        authority = self._ledger.authority
        sql = (
            "SELECT min(seen_ms) FROM attested a JOIN checkpoints c ON c.node = a.node AND c.seq = a.seq"
            " WHERE a.log = ? AND a.node = ? AND a.size > ?"
        )
        listed: list[Value] = []
        total, since = 0, []
        for key, (size, _) in sorted(state.items()):
            log = logs.get(key)
            held = log.held if log is not None else 0
            if held >= size or not authority.admits(key) or (log is not None and ceiling(log, authority)[0] < size):
                continue
            (seen_ms,) = db.execute(sql, (key, node, held)).fetchone()
            total += size - held
            since.append(seen_ms if seen_ms is not None else wall_ms())
            if len(listed) < LOGS_MAX:
                listed.append(author_view(authority, key) | {"entries": size - held, "since_ms": since[-1]})
        return {"entries": total, "since_ms": min(since, default=None), "logs": listed}

    def alarms(self) -> list[Value]:
        """The newest alarms that nodes have raised and that count: by whom, about which checkpoint of whom."""
        ledger = self._ledger
        found: list[tuple[Entry, Alarm]] = []
        with ledger.storage.read() as view:
            for key, standing in ledger.authority.standings.items():
                log = log_of(view, key) if standing.rank == "node" else None
                for known in _last_of(view, log, ALARM, ALARMS_MAX) if log is not None else ():
                    entry = ledger.entry(known)
                    with suppress(FormatError):  # then it says nothing; `hamkor log` shows it
                        found += [] if entry is None else [(entry, parse_alarm(entry.body or b""))]
        rows: list[Value] = []
        for entry, alarm in sorted(found, key=lambda pair: -pair[0].time_ms)[:ALARMS_MAX]:
            about = ledger.entry(alarm.checkpoint)
            rows.append({
                "id": entry.id.hex(), "time_ms": entry.time_ms, "by": author_view(ledger.authority, entry.key),
                "checkpoint": alarm.checkpoint.hex(), "root": alarm.root.hex(),
                "about": author_view(ledger.authority, about.key) if about is not None else None,
            })  # fmt: skip
        return rows

    # -- checkpoints ------------------------------------------------------------------------------

    def checkpoints(self, _: Mapping[str, Value]) -> Value:
        """The last checkpoint of every certified node; None for one that has written none."""
        return self.status()["nodes"]

    def checkpoint(self, request: Mapping[str, Value]) -> Value:
        """One checkpoint in full, with its signed note: the one whose id begins so, or a node's last; "": our own."""
        ledger, named = self._ledger, str(request.get("name") or "")
        entry = self._checkpoint_entry(named)
        if entry is None:
            return None
        view: dict[str, Value] = {
            "id": entry.id.hex(), "short": short_id(ledger, entry.id), "seq": entry.seq, "time_ms": entry.time_ms,
            "author": author_view(ledger.authority, entry.key), "status": ledger.status(entry),
            "verdict": None, "fault": "", "here": None, "vkey": note_key(entry.key), "note": None, "heads": [],
        }  # fmt: skip
        with self._projection.connection() as db:
            view |= _row(db, entry.id) or {}
        try:
            said = parse_checkpoint(entry.body or b"")
        except FormatError as error:
            return view | {"verdict": "malformed", "fault": str(error)}
        with ledger.storage.read() as reader:
            whole = latest(reader, entry.key, entry.seq + 1)
        heads = whole.whole.heads if whole is not None and whole.id == entry.id else said.heads
        listed: list[Value] = [
            author_view(ledger.authority, head.key) | {"size": head.size, "id": head.id.hex() if head.id else None}
            for head in heads
        ]
        return view | {
            "root": said.root.hex(), "logs": said.logs, "entries": said.entries, "full": said.full, "heads": listed,
            "note": render_note(entry.key, ledger.network_id, said).decode(),
        }  # fmt: skip

    def _checkpoint_entry(self, named: str) -> Entry | None:
        """Raises UsageError where what is named is no checkpoint, and no node."""
        ledger = self._ledger
        if named:
            with suppress(FormatError):
                ids = [known for known in ledger.ids_with(named) if self._is_checkpoint(known)]
                if len(ids) > 1:
                    raise UsageError(f"{named} is the beginning of several checkpoints' ids; give more digits")
                if ids:
                    return ledger.entry(ids[0])
        key = self._one_node(named) if named else self._me
        if key is None:
            return None
        with ledger.storage.read() as view:
            found = latest(view, key)
        return None if found is None else ledger.entry(found.id)

    def _is_checkpoint(self, known: EntryId) -> bool:
        entry = self._ledger.entry(known)
        return entry is not None and entry.kind == KIND

    def _one_node(self, name: str) -> PublicKey:
        wanted = name.casefold()
        nodes = [known for known in self._ledger.authority.standings.values() if known.rank == "node"]
        exact = [known.key for known in nodes if wanted in (known.name.casefold(), known.unit)]
        found = exact or [known.key for known in nodes if known.key.hex().startswith(wanted)]
        if len(found) != 1:
            raise UsageError(f"{name!r} names no node and no checkpoint, or several; see hamkor checkpoint show")
        return found[0]

    # -- receipts ---------------------------------------------------------------------------------

    def receipts(self, request: Mapping[str, Value]) -> Value:
        """For the entry whose id begins with `prefix`, by which checkpoint each node first attested it.

        all: for each step on that record, too. None: nothing begins so.
        """
        ledger, prefix = self._ledger, str(request.get("prefix") or "").strip()
        ids = ledger.ids_with(prefix) if prefix else []
        if len(ids) > 1:
            raise UsageError(f"{prefix} is the beginning of several ids; give more digits")
        entry = ledger.entry(ids[0]) if ids else None
        if entry is None:
            return None
        entries = [entry]
        if request.get("all") is True and entry.kind == "record":
            found = (ledger.entry(step) for step in self._projection.steps_of(entry.id, HISTORY_MAX))
            entries += [step for step in found if step is not None]
        rows: list[Value] = []
        with ledger.storage.read() as view, self._projection.connection() as db:
            rows += [
                {
                    "id": item.id.hex(), "short": short_id(ledger, item.id), "kind": item.kind,
                    "time_ms": item.time_ms, "status": ledger.status(item),
                    "author": author_view(ledger.authority, item.key), "nodes": self._receipts(db, view, item),
                }
                for item in entries
            ]  # fmt: skip
        return rows

    def _receipts(self, db: Connection, view: Reader, entry: Entry) -> list[Value]:
        """A row for each certified node, by unit: its checkpoint, or None while it has not attested the entry."""
        ledger = self._ledger
        log = log_of(view, entry.key)
        mine = log is not None and held_id(view, log, entry.seq) == entry.id
        known = {row[0] for row in db.execute("SELECT DISTINCT node FROM attested WHERE log = ?", (entry.key,))}
        nodes = {standing.key for standing in self._nodes()} | {PublicKey(key) for key in known}
        rows: list[tuple[str, dict[str, Value]]] = []
        for node in sorted(nodes):
            found = _first(db, view, log, node, entry.seq) if mine and log is not None else None
            if found is not None or ledger.authority.is_node(node):
                who = author_view(ledger.authority, node)
                rows.append((f"{who['unit']} {who['name']}", who | {"checkpoint": found}))
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _first(db: Connection, view: Reader, log: LogState, node: PublicKey, seq: int) -> dict[str, Value] | None:
    """The first checkpoint of a node whose state has the entry held at that place."""
    sql = "SELECT seq, size, id FROM attested WHERE log = ? AND node = ? AND size > ? ORDER BY seq"
    for at, size, last in db.execute(sql, (log.key, node, seq)):
        if held_id(view, log, size - 1) == last:  # of the same chain: what is held here up to there
            (known,) = db.execute("SELECT id FROM checkpoints WHERE node = ? AND seq = ?", (node, at)).fetchone()
            return _row(db, known)
    return None


def _last_of(view: Reader, log: LogState, kind: str, most: int) -> list[bytes]:
    """The ids of a log's last entries of a kind that count, the last first, at most so many."""
    return [said_at(view, log, seq).id for seq in islice(seqs_back(view, log, kind, log.size), most)]


def _row(db: Connection, known: bytes) -> dict[str, Value] | None:
    """What the index holds of a checkpoint."""
    sql = "SELECT id, seq, time_ms, entries, seen_ms, verdict, fault, here FROM checkpoints WHERE id = ?"
    row = db.execute(sql, (known,)).fetchone()
    if row is None:
        return None
    return {
        "id": row[0].hex(), "seq": row[1], "time_ms": row[2], "entries": row[3], "seen_ms": row[4],
        "verdict": row[5], "fault": row[6], "here": row[7].hex() if row[7] is not None else None,
    }  # fmt: skip


def _behind(view: Reader, state: State, logs: Mapping[PublicKey, LogState]) -> dict[str, Value]:
    """How much counts here, checkpoints left out, that a state does not have; and when the oldest of it was written."""
    total, since = 0, []
    for key, log in logs.items():
        size = state[key][0] if key in state else 0
        missing = log.size - size - (checkpoints_in(view, log, size, log.size) if log.size > size else 0)
        if missing > 0:
            total += missing
            since.append(_first_time(view, log, size))
    return {"entries": total, "since_ms": min(since, default=None)}


def _first_time(view: Reader, log: LogState, seq: int) -> int:
    """When the first entry from `seq` on that is no checkpoint was written, by its author's clock."""
    time_ms = 0
    for _, raw in view.scan("rows", PLACE.pack(log.number, seq), PLACE.pack(log.number, log.size)):
        kind, at = unpack_row(raw[32:])[:2]
        time_ms = at if isinstance(at, int) else 0
        if kind != KIND:
            break
    return time_ms
