"""The desk: everything that can be asked of a ledger, as plain values. The daemon answers its socket with it, and
the command line uses it directly when no daemon runs.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from keys.errors import AdmissionError, FormatError, LocalError, UsageError
from keys.signing import PublicKey
from ledger.authority import Authority, Standing
from ledger.document import FIELD, Document
from ledger.handling import document_mark, mark, record_marks
from ledger.knowledge import acts_to_name, read
from ledger.projection import Projection
from ledger.query import Query, parse_query
from ledger.search import HISTORY_MAX, Hit, operation, step_operations, wanted_authors
from ledger.store import Ledger
from ledger.view import (
    author_view,
    document_view,
    entry_view,
    history_view,
    short_id,
    standing_view,
    summary,
)  # fmt: skip
from node.attested import Attested
from node.boards import Boards
from node.clock import wall_ms
from node.consulted import Noted
from node.masking import content_rows, hide, record_of
from protocol.acts import Certify
from protocol.body import Consultation, encode_consultation, parse_consultation, parse_record
from protocol.codec import Value
from protocol.entry import Entry, EntryId, entry_id
from protocol.limits import CONSULTED_MAX, SEQ_MAX

LIMIT_MAX: Final = 1000
_DIGITS_MIN: Final = 4  # of an id, where a name might be meant
_WRITERS: Final = {
    "record": ("officer",), "step": ("officer",), "act": ("agency", "admin"), "address": ("node",),
    "checkpoint": ("node",), "alarm": ("node",), "consultation": ("node",),
}  # fmt: skip

Absent = Callable[[], list[Value]]


class Readings(Protocol):
    """Where it is noted who is shown marked records; see `node.consulted.Journal`."""

    def add(self, notes: Sequence[Noted]) -> None:
        """Durable when this returns."""

    def pending(self) -> Sequence[Noted]:
        """What is no entry yet."""

    def marks(self, records: Collection[EntryId]) -> Mapping[EntryId, str]:
        """Marks that these records have by now, where this is a moment of the past."""


class Desk:
    """Answers requests {"op": name, ...}; `me` is the node's own key, if it has one.

    absent: the nodes that are not heard from now, and since when. whole: whether all that another node holds is here.
    journal: without one no content of marked records is given out. clock: what time it is for queries, ms.

    Whoever asks for content says in the request "why", and may say "officer" (a key) and "command"; "user" is the
    account that asks. Without "why" the content of marked records is left out. What only helps to write the next step
    (`record`, `moves`) and what counts many records (`stats`) is given without.
    """

    def __init__(
        self, ledger: Ledger, projection: Projection, me: PublicKey | None = None, absent: Absent = list,
        whole: Callable[[], bool] = lambda: False, journal: Readings | None = None,
        clock: Callable[[], int] = wall_ms,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._projection = projection
        self._me = me
        self._absent = absent
        self._whole = whole
        self._journal = journal
        self._clock = clock
        boards = Boards(ledger, projection, me, absent)
        self._attested = Attested(ledger, projection, me)
        self._ops: Mapping[str, Callable[[Mapping[str, Value]], Value]] = {
            "show": self.show,
            "find": self.find,
            "record": self.record,
            "history": self.history,
            "conflicts": self.conflicts,
            "stats": self.stats,
            "imported": self.imported,
            "log": self.log,
            "who": self.who,
            "forks": self.forks,
            "prepare": self.prepare,
            "status": lambda _: self.ledger_status(),
            "consult": self.consult,
            "marks": self.marks,
            "consultations": self.consultations,
            "requests": boards.requests,
            "alerts": boards.alerts,
            "procedures": boards.procedures,
            "custody": boards.custody,
            "moves": boards.moves,
            "operations": boards.operations,
            "records": boards.records,
            "checkpoints": self._attested.checkpoints,
            "checkpoint": self._attested.checkpoint,
            "receipts": self._attested.receipts,
        }

    def answer(self, request: Mapping[str, Value]) -> Value:
        """The answer to a request. Raises UsageError on an unknown one, and what the operation raises."""
        operation = self._ops.get(str(request.get("op")))
        if operation is None:
            raise UsageError(
                f"unknown request {str(request.get('op'))[:24]!r}; command line and node differ in version"
            )
        answer = operation(request)
        rows = content_rows(str(request.get("op")), answer)
        if self._journal is not None and rows:
            now = self._journal.marks({record_of(row) for row in rows if not row["marked"]})
            for row in rows:
                row["marked"] = row["marked"] or now.get(record_of(row), "")
        rows = [row for row in rows if row["marked"]]
        if rows and request.get("why"):
            self._write_down(request, map(record_of, rows))
        else:
            for row in rows:
                hide(row)
        return answer

    # -- who read what ----------------------------------------------------------------------------

    def consult(self, request: Mapping[str, Value]) -> Value:
        """Write down that those of `records` that are here are read now, for a command that reads the store itself."""
        given = request.get("records")
        ids = [known for known in (given if isinstance(given, list) else []) if isinstance(known, bytes)]
        here = [entry.id for known in ids if (entry := self._ledger.entry(known)) is not None]
        self._write_down(request, here)
        return len(here)

    def marks(self, request: Mapping[str, Value]) -> Value:
        """The marks of `records`, in their order; empty where there is none."""
        given = request.get("records")
        ids = [known for known in (given if isinstance(given, list) else []) if isinstance(known, bytes)]
        marks = record_marks(self._ledger, self._projection, ids)
        return [marks[known] for known in ids]

    def _write_down(self, request: Mapping[str, Value], records: Iterable[EntryId]) -> None:
        """Raises UsageError where the words are not such as may be written, LocalError where they cannot be kept."""
        officer, why = request.get("officer"), request.get("why")
        command, user = (str(request.get(name) or request.get("op")) for name in ("command", "user"))
        ids = sorted(set(records))
        key = PublicKey(officer) if isinstance(officer, bytes) else None
        parts = [tuple(ids[at : at + CONSULTED_MAX]) for at in range(0, len(ids), CONSULTED_MAX)]
        reads = [Consultation(part, command, key, user, str(why).strip()) for part in parts]
        try:
            for read in reads:
                encode_consultation(read)
        except FormatError as error:
            raise UsageError(f"the purpose cannot be written down: {error}") from None
        if reads:
            now_ms = wall_ms()
            if self._journal is None:
                raise LocalError("there is no place here to write down who reads marked records, so they are not shown")
            self._journal.add([Noted(now_ms, read) for read in reads])

    def consultations(self, request: Mapping[str, Value]) -> Value:
        """Who read marked records, newest first, and what waits in this home's journal to become an entry.

        about: the first digits of a record's id, or an officer (as `who`), or an account; nothing: all.
        since, until: as in a query.
        """
        about = str(request.get("about") or "").strip()
        times = [f"{name}:{request[name]}" for name in ("since", "until") if request.get(name)]
        span = parse_query(" ".join(times), self._clock())
        record = self._record_named(about)
        officers = frozenset(one.key for one in standings_named(self._ledger.authority, about)) if about else None
        if record is not None:
            officers = None
        since, until = span.since_ms or 0, span.until_ms if span.until_ms is not None else SEQ_MAX
        ids = self._projection.consultations(record, officers, about, since, until, _limit(request, 100))
        rows: list[Value] = []
        for entry in map(self._ledger.entry, ids):
            standing = self._ledger.authority.of(entry.key) if entry is not None else None
            if entry is not None and (standing is None or standing.rank == "node"):  # by others it says nothing
                view = self._reading(parse_consultation(entry.body or b""), entry.time_ms)
                view |= {"id": entry.id.hex(), "short": short_id(self._ledger, entry.id)}
                view |= {"node": author_view(self._ledger.authority, entry.key), "status": self._ledger.status(entry)}
                rows.append(view)
        waiting: list[Value] = [
            self._reading(note.read, note.time_ms)
            for note in (self._journal.pending() if self._journal is not None else ())
            if since <= note.time_ms < until and (
                not about or record in note.read.records
                or (record is None and (note.read.user == about or note.read.officer in (officers or ())))
            )
        ]  # fmt: skip
        return {"rows": rows, "pending": waiting}

    def _record_named(self, about: str) -> EntryId | None:
        """The record that digits are the beginning of the id of, or of a step on it."""
        digits = about.lower()
        if len(digits) < _DIGITS_MIN or not set(digits) <= set("0123456789abcdef"):
            return None
        entry = self._entry(digits)
        if entry is None or entry.kind not in ("record", "step"):
            return None
        return record_of(entry_view(self._ledger, entry))

    def _reading(self, read: Consultation, time_ms: int) -> dict[str, Value]:
        officer = author_view(self._ledger.authority, read.officer) if read.officer is not None else None
        records: list[Value] = [{"id": one.hex(), "short": short_id(self._ledger, one)} for one in read.records]
        return {
            "time_ms": time_ms, "officer": officer, "user": read.user, "why": read.why, "command": read.command,
            "records": records,
        }  # fmt: skip

    def _marked_views(self, entries: Iterable[Entry]) -> list[dict[str, Value]]:
        """`entry_view` of each, with the mark that its record has now."""
        views = [entry_view(self._ledger, entry) for entry in entries]
        told = [view for view in views if view["kind"] in ("record", "step")]
        first = {bytes(record_of(view)): _said(view) for view in told if view["kind"] == "record"}
        marks = record_marks(self._ledger, self._projection, [bytes(record_of(view)) for view in told], first)
        for view in told:
            view["marked"] = marks[bytes(record_of(view))]
        return views

    # -- one record -------------------------------------------------------------------------------

    def _entry(self, prefix: str) -> Entry | None:
        """The entry whose id begins so. Raises UsageError where several do."""
        found = self._ledger.ids_with(prefix)
        if len(found) > 1:
            candidates = ", ".join(known.hex()[: len(prefix) + 6] for known in found)
            raise UsageError(f"{prefix} is the beginning of several ids: {candidates}; give more digits")
        return self._ledger.entry(found[0]) if found else None

    def show(self, request: Mapping[str, Value]) -> Value:
        """The entry whose id begins with `prefix`: a record as it stands now, with its steps; None: there is none."""
        entry = self._entry(_text(request, "prefix"))
        if entry is None:
            return None
        found = self._projection.document(self._ledger, entry.id) if entry.kind == "record" else None
        if found is not None:
            view = entry_view(self._ledger, entry) | self._document_view(found[1])
        else:
            view = self._marked_views([entry])[0]
        steps: list[Value] = []
        for step_id in self._projection.steps_of(entry.id):
            step = self._ledger.entry(step_id)
            if step is not None:
                steps.append(entry_view(self._ledger, step))
        record = view.get("record")
        if isinstance(record, str) and self._ledger.entry(bytes.fromhex(record)) is None:
            view["waits_for"] = record
        return view | {"steps": steps}

    def _document_view(self, document: Document) -> dict[str, Value]:
        view = document_view(self._ledger, document)
        back: list[Value] = []
        for source, relation in self._projection.links_to(document.record):
            back.append({"relation": relation, "from": source.hex(), "short": short_id(self._ledger, source)})
        return view | {"linked_from": back}

    def record(self, request: Mapping[str, Value]) -> Value:
        """What a step needs to know of the record it is on: the one at `prefix`, or the one that step is on.

        "live" gives, for each slot, the operations whose values stand there. None: nothing begins so.
        """
        entry = self._entry(_text(request, "prefix"))
        if entry is None:
            return None
        if entry.kind not in ("record", "step"):
            raise UsageError(f"{request['prefix']} is of kind {entry.kind}; steps are added to records")
        record = bytes.fromhex(str(entry_view(self._ledger, entry).get("record") or entry.id.hex()))
        found = self._projection.document(self._ledger, record)
        if found is None:
            raise UsageError(f"the record {record.hex()[:12]} is not here, disputed, or cannot be read")
        creation, document = found
        live: dict[str, Value] = {
            slot: [op.hex() for op in document.live([slot])] for slot in document.slots if document.live([slot])
        }
        return {
            "record": record, "type": parse_record(creation.body or b"").type, "agency": document.agency,
            "marked": document_mark(document),
            "named": entry.id.hex(), "live": live, "values": document.fields(),
            "conflicting": {
                name or "retracted": [[said.op.hex(), said.value] for said in values]
                for name, values in document.conflicts().items()
            },
            "proposals": {
                op.hex(): {"set": {
                    str(said.value[0])[len(FIELD):]: said.value[1] for said in changes
                    if isinstance(said.value, list) and str(said.value[0]).startswith(FIELD)
                }, "agency": changes[0].agency}
                for op, changes in document.proposals.items()
            },
        }  # fmt: skip

    def history(self, request: Mapping[str, Value]) -> Value:
        """Everything that happened to the record at `prefix`: who set what when, and what that replaced."""
        entry = self._entry(_text(request, "prefix"))
        if entry is None:
            return None
        if entry.kind != "record":
            raise UsageError(f"{request['prefix']} is of kind {entry.kind}; only records have a history")
        ids = self._projection.steps_of(entry.id, HISTORY_MAX)
        steps = step_operations(self._ledger, ids)
        rows = history_view(self._ledger, operation(self._ledger, entry), steps)
        state = self._ledger.status(entry)
        if state != "ok" and isinstance(rows[0], dict):
            rows[0]["state"] = state
        counted = {step.id for step in steps}
        rows += [
            view | {"step": view["type"], "changes": [], "state": view["status"]}
            for step_id in ids
            if step_id not in counted and (left_out := self._ledger.entry(step_id)) is not None
            and (view := entry_view(self._ledger, left_out))
        ]  # fmt: skip
        return {
            "record": entry.id.hex(), "short": short_id(self._ledger, entry.id), "history": rows,
            "marked": self._marked_views([entry])[0]["marked"],
        }  # fmt: skip

    def conflicts(self, _: Mapping[str, Value]) -> Value:
        """Every record with fields that have several values, or with proposals that nobody has answered."""
        rows: list[Value] = []
        for listed in self._projection.listed(unsettled=True, limit=LIMIT_MAX):
            found = self._projection.document(self._ledger, listed.record)
            if found is not None:
                view = document_view(self._ledger, found[1])
                rows.append({
                    "id": listed.record.hex(), "short": short_id(self._ledger, listed.record), "type": listed.type,
                    "agency": found[1].agency, "summary": view["summary"], "conflicts": view["conflicts"],
                    "proposals": view["proposals"], "marked": view["marked"],
                })  # fmt: skip
        return rows

    # -- many records -----------------------------------------------------------------------------

    def find(self, request: Mapping[str, Value]) -> Value:
        """Records that fit the query `words`, newest first, at most `limit`; with `after`, only what came later."""
        _text(request, "words")
        query, authors = self._query(request)
        after = request.get("after")
        cursor = self._projection.cursor()  # before asking: what comes meanwhile is found again, not missed
        since = after if type(after) is int and -1 <= after <= SEQ_MAX else -1
        hits = self._projection.find(query, _limit(request, 50), now_ms=self._clock(), authors=authors, after=since)
        rows: list[Value] = []
        rows += [view for hit in hits if (view := self._hit_view(hit)) is not None]
        return {"format": 1, "hits": rows, "not_heard": self._absent(), "cursor": cursor}

    def _query(self, request: Mapping[str, Value]) -> tuple[Query, frozenset[bytes] | None]:
        words = request.get("words")
        query = parse_query(words if isinstance(words, str) else "", self._clock())
        return query, wanted_authors(query, self._ledger.authority)

    def _hit_view(self, hit: Hit) -> dict[str, Value] | None:
        entry = self._ledger.entry(hit.id)
        if entry is None:
            return None
        matched: list[Value] = [step.hex() for step in hit.matched]
        found = self._projection.document(self._ledger, hit.id) if entry.kind == "record" else None
        view = entry_view(self._ledger, entry) if found is not None else self._marked_views([entry])[0]
        view |= {"arrival": hit.arrival, "matched": matched}
        if found is not None:
            document = document_view(self._ledger, found[1])
            kept = ("fields", "conflicts", "tags", "retracted", "summary", "marked")
            view |= {name: document[name] for name in kept} | {"proposals": len(found[1].proposals)}
        else:
            fields = view["fields"]
            view["summary"] = summary(fields) if isinstance(fields, dict) else ""
        return view

    def stats(self, request: Mapping[str, Value]) -> Value:
        """Seizures that fit `words`, counted `by` substance, region, month or agency; joint ones once."""
        by = str(request.get("by"))
        if by not in ("substance", "region", "month", "agency"):
            raise UsageError("statistics are by substance, region, month or agency")
        query, authors = self._query(request)
        groups, possible = self._projection.same_events()
        totals = self._projection.totals(by, query, now_ms=self._clock(), authors=authors)
        rows: list[Value] = [
            {"key": total.key, "count": total.count, "mass_g": f"{total.mass_g.normalize():f}",
             "other": {unit: f"{amount.normalize():f}" for unit, amount in sorted(total.other.items())}}
            for total in totals
        ]  # fmt: skip
        pairs: list[Value] = [[short_id(self._ledger, one), short_id(self._ledger, other)] for one, other in possible]
        return {
            "by": by, "rows": rows, "same": sum(len(group) - 1 for group in groups), "possibly": pairs,
            "not_heard": self._absent(),
        }  # fmt: skip

    def imported(self, request: Mapping[str, Value]) -> Value:
        """Which of these import `ids` records here have already."""
        ids = request.get("ids")
        known = [item for item in ids if isinstance(item, str)] if isinstance(ids, list) else []
        return list(self._projection.imported(item for item in known if item.isalnum()))

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
        views = self._marked_views(item.entry for item in arrived)
        entries: list[Value] = []
        entries += [view | {"arrival": item.arrival} for view, item in zip(views, arrived, strict=True)]
        return {"entries": entries, "cursor": after}

    def who(self, request: Mapping[str, Value]) -> Value:
        """The certificate chain of a key or name, from it up to the charter, and what became of each key.

        A key whose chain does not hold any longer is "uncertified"; its chain is that key alone.
        """
        name = _text(request, "name")
        authority = self._ledger.authority
        chains: list[Value] = []
        for standing in self._matching(name)[:LIMIT_MAX]:
            chain: list[Value] = []
            chain += [standing_view(self._ledger, step) for step in authority.chain(standing.key)]
            chains.append(chain)
        fallen = {act.subject: act for entry in self._ledger.acts if isinstance(act := read(entry), Certify)}
        for key, act in sorted(fallen.items()):
            named = key.hex().startswith(name.casefold()) or name.casefold() in act.name.casefold()
            if named and authority.of(key) is None and len(chains) < LIMIT_MAX:
                gone = Standing(key, "uncertified", act.name, act.agency, act.unit, act.roles)
                known = ("name", "agency", "unit")
                chains.append([standing_view(self._ledger, gone) | {word: getattr(act, word) for word in known}])
        return chains

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
            "conflicts": len(self._projection.listed(unsettled=True)),
            "forks": len(ledger.forks()),
            "root": ledger.root().hex(),
            "store_bytes": ledger.storage.size_bytes(),
            "checkpoints": self._attested.status(),
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
        if standing.ended is not None:
            raise AdmissionError(
                "revoked",
                f"the key of {standing.name} was revoked; run hamkor rekey and have the new key certified",
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
            "acts": list(acts_to_name(self._ledger, public)),
            "whole": self._whole() or alone(self._ledger.authority, self._me),
        }

    # -- keys -------------------------------------------------------------------------------------

    def _matching(self, name: str) -> list[Standing]:
        return standings_named(self._ledger.authority, name)

    def _one(self, name: str) -> Standing:
        return one_standing(self._ledger.authority, name)


def standings_named(authority: Authority, name: str) -> list[Standing]:
    """Standings whose key begins with these digits, or whose name, agency or unit is this."""
    wanted = name.casefold()
    return [
        standing
        for key, standing in sorted(authority.standings.items())
        if key.hex().startswith(wanted)
        or wanted in standing.name.casefold()
        or wanted in (standing.agency, standing.unit)
    ]


def one_standing(authority: Authority, name: str) -> Standing:
    """The one that is meant. Raises UsageError where none is, or several are."""
    matches = standings_named(authority, name)
    exact = [standing for standing in matches if standing.key.hex().startswith(name.lower())]
    chosen = exact or matches
    if len(chosen) != 1:
        what = "several keys" if chosen else "no key"
        raise UsageError(f"{name!r} names {what}; give a key's first digits (hamkor who)")
    return chosen[0]


def alone(authority: Authority, me: PublicKey | None) -> bool:
    """Whether no other node is certified: then none holds anything that is not here."""
    return not any(authority.is_node(key) for key in authority.standings if key != me)


def _said(view: Mapping[str, Value]) -> str:
    """The mark that a record's own entry names."""
    fields = view["fields"]
    return mark(fields.get("handling")) if isinstance(fields, dict) else ""


def _text(request: Mapping[str, Value], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{name} is missing")
    return value.strip()


def _number(request: Mapping[str, Value], name: str) -> int:
    value = request.get(name, 0)
    if type(value) is not int or not 0 <= value <= SEQ_MAX:  # more than SQLite can compare with, at 2^63
        raise UsageError(f"{name} must be a whole number")
    return value


def _limit(request: Mapping[str, Value], default: int) -> int:
    value = request.get("limit", default)
    if type(value) is not int or not 0 < value <= LIMIT_MAX:
        raise UsageError(f"the limit must be from 1 to {LIMIT_MAX}")
    return value
