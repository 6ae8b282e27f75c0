"""The desk: everything that can be asked of a ledger, as plain values. The daemon answers its socket with it, and
the command line uses it directly when no daemon runs.
"""

from collections.abc import Callable, Mapping
from typing import Final

from keys.errors import AdmissionError, FormatError, UsageError
from keys.signing import PublicKey
from ledger.authority import Standing
from ledger.projection import Projection
from ledger.store import Ledger
from ledger.view import author_view, entry_view, short_id
from protocol.codec import Value
from protocol.entry import entry_id

LIMIT_MAX: Final = 1000
_WRITERS: Final = {"record": ("officer",), "step": ("officer",), "act": ("agency", "admin"), "address": ("node",)}


class Desk:
    """Answers requests {"op": name, ...}; `me` is the node's own key, if it has one."""

    def __init__(self, ledger: Ledger, projection: Projection, me: PublicKey | None = None) -> None:
        self._ledger = ledger
        self._projection = projection
        self._me = me
        self._ops: Mapping[str, Callable[[Mapping[str, Value]], Value]] = {
            "show": self.show,
            "find": self.find,
            "log": self.log,
            "who": self.who,
            "forks": self.forks,
            "prepare": self.prepare,
            "status": lambda _: self.ledger_status(),
        }

    def answer(self, request: Mapping[str, Value]) -> Value:
        """The answer to a request. Raises UsageError on an unknown one, and what the operation raises."""
        operation = self._ops.get(str(request.get("op")))
        if operation is None:
            raise UsageError(
                f"unknown request {str(request.get('op'))[:24]!r}; command line and node differ in version"
            )
        return operation(request)

    # -- reading ----------------------------------------------------------------------------------

    def show(self, request: Mapping[str, Value]) -> Value:
        """The entry whose id begins with `prefix`, with its record's steps; None when there is none."""
        prefix = _text(request, "prefix")
        found = self._ledger.ids_with(prefix)
        if not found:
            return None
        if len(found) > 1:
            candidates = ", ".join(known.hex()[: len(prefix) + 6] for known in found)
            raise UsageError(f"{prefix} is the beginning of several ids: {candidates}; give more digits")
        entry = self._ledger.entry(found[0])
        if entry is None:
            return None
        view = entry_view(self._ledger, entry)
        steps: list[Value] = []
        for hit in self._projection.steps_of(found[0]):
            step = self._ledger.entry(hit.id)
            if step is not None:
                steps.append(entry_view(self._ledger, step))
        return view | {"steps": steps}

    def find(self, request: Mapping[str, Value]) -> Value:
        """Entries that hold all the `words`, newest first; `unit:X` and `agency:X` keep to their authors."""
        words = []
        kept: dict[str, str] = {}
        for word in _text(request, "words").split():
            name, colon, value = word.partition(":")
            if colon and name in ("unit", "agency"):
                kept[name] = value
            else:
                words.append(word)
        authors = self._authors(kept) if kept else None
        hits = self._projection.find(" ".join(words) or "type:", _limit(request, 50), authors=authors)
        listed: list[Value] = []
        for hit in hits:
            entry = self._ledger.entry(hit.id)
            if entry is not None:
                listed.append(entry_view(self._ledger, entry) | {"record_short": short_id(self._ledger, hit.record)})
        return {"hits": listed, "not_heard": []}

    def _authors(self, kept: Mapping[str, str]) -> frozenset[bytes]:
        return frozenset(
            key
            for key, standing in self._ledger.authority.standings.items()
            if all(getattr(standing, name) == value for name, value in kept.items())
        )

    def log(self, request: Mapping[str, Value]) -> Value:
        """Entries as they came here, from `cursor` on; with `key`, one log's in its order, from seq `cursor` on."""
        cursor, limit = _number(request, "cursor"), _limit(request, 100)
        if request.get("key"):
            standing = self._one(_text(request, "key"))
            arrived = self._ledger.log_entries(standing.key, cursor, limit)
            after = cursor + len(arrived)
        elif request.get("newest") is True:
            arrived, after = self._ledger.arrived(max(0, self._ledger.arrival() - limit), limit)
        else:
            arrived, after = self._ledger.arrived(cursor, limit)
        entries: list[Value] = []
        entries += [entry_view(self._ledger, item.entry) | {"arrival": item.arrival} for item in arrived]
        return {"entries": entries, "cursor": after}

    def who(self, request: Mapping[str, Value]) -> Value:
        """The certificate chain of a key or name, from it up to the charter."""
        matches = self._matching(_text(request, "name"))
        return [
            [
                author_view(self._ledger.authority, step.key)
                | {"roles": list(step.roles), "act": step.act.hex() if step.act else ""}
                for step in self._ledger.authority.chain(standing.key)
            ]
            for standing in matches[:LIMIT_MAX]
        ]

    def forks(self, _: Mapping[str, Value]) -> Value:
        """Every log whose key is proved to have signed two entries at one place."""
        rows: list[Value] = []
        for key, seq, proof in self._ledger.forks():
            ids: list[Value] = [entry_id(*side).hex() for side in (proof.first, proof.second)]
            rows.append({"author": author_view(self._ledger.authority, key), "seq": seq, "ids": ids})
        return rows

    def ledger_status(self) -> dict[str, Value]:
        """What the ledger holds."""
        ledger = self._ledger
        counts = self._projection.counts()
        malformed = counts.pop("")
        types: dict[str, Value] = dict(counts)
        me = ledger.authority.of(self._me) if self._me is not None else None
        return {
            "network": ledger.charter.network,
            "network_id": ledger.network_id.hex(),
            "node": author_view(ledger.authority, self._me) if self._me is not None else None,
            "certified": me is not None,
            "entries": ledger.entries,
            "arrived": ledger.arrival(),
            "logs": len(ledger.heads),
            "records": sum(counts.values()),
            "types": types,
            "malformed": malformed,
            "forks": len(ledger.forks()),
            "root": ledger.root().hex(),
            "store_bytes": ledger.storage.size_bytes(),
        }

    # -- writing ----------------------------------------------------------------------------------

    def prepare(self, request: Mapping[str, Value]) -> Value:
        """Where the next entry of `key`'s log goes, if the key may write entries of `kind`."""
        key = request.get("key")
        if not isinstance(key, bytes) or len(key) != 32:
            raise FormatError('"key" is a public key of 32 bytes')
        kind = str(request.get("kind", "record"))
        public = PublicKey(key)
        standing = self._ledger.authority.of(public)
        if standing is None:
            raise AdmissionError(
                "uncertified",
                f"key {key.hex()[:12]} has no certificate here; have its card certified by its agency (hamkor certify),"
                " and let this node hear of it",
            )
        allowed = _WRITERS.get(kind)
        if allowed is not None and standing.rank not in allowed:
            raise AdmissionError(
                "rank",
                f"{standing.name} is of rank {standing.rank}; entries of kind {kind} are by {' or '.join(allowed)}",
            )
        log = self._ledger.log(public)
        if log is not None and log.forked_at is not None:
            raise AdmissionError(
                "forked", f"the log of {standing.name} is forked at entry {log.forked_at}; it needs a new key"
            )
        return {
            "network_id": self._ledger.network_id,
            "seq": log.size if log is not None else 0,
            "prev": log.id if log is not None else None,
            "time_ms_min": log.time_ms if log is not None else 0,
            "name": standing.name,
        }

    # -- keys -------------------------------------------------------------------------------------

    def _matching(self, name: str) -> list[Standing]:
        """Standings whose key begins with these digits, or whose name, agency or unit is this."""
        wanted = name.casefold()
        return [
            standing
            for key, standing in sorted(self._ledger.authority.standings.items())
            if key.hex().startswith(wanted)
            or wanted in standing.name.casefold()
            or wanted in (standing.agency, standing.unit)
        ]

    def _one(self, name: str) -> Standing:
        matches = self._matching(name)
        exact = [standing for standing in matches if standing.key.hex().startswith(name.lower())]
        chosen = exact or matches
        if len(chosen) != 1:
            what = "several keys" if chosen else "no key"
            raise UsageError(f"{name!r} names {what}; give a key's first digits (hamkor who)")
        return chosen[0]


def _text(request: Mapping[str, Value], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{name} is missing")
    return value.strip()


def _number(request: Mapping[str, Value], name: str) -> int:
    value = request.get(name, 0)
    if type(value) is not int or value < 0:
        raise UsageError(f"{name} must be a whole number")
    return value


def _limit(request: Mapping[str, Value], default: int) -> int:
    value = request.get("limit", default)
    if type(value) is not int or not 0 < value <= LIMIT_MAX:
        raise UsageError(f"the limit must be from 1 to {LIMIT_MAX}")
    return value
