"""Boards: what people must answer for, laid out for a screen: requests, alerts, procedures, exhibits, operations.

What is not known is said: a unit that has not been heard may have written what is not here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Final

from keys.signing import PublicKey
from ledger.document import Document, Operation
from ledger.handling import document_mark
from ledger.projection import Projection
from ledger.search import step_operations
from ledger.store import Ledger
from ledger.view import author_view, plain, short_id, summary
from ledger.workflow import Area, area, asked_units, custody, names, told_units
from node.clock import wall_ms
from protocol.codec import Value
from protocol.entry import EntryId

_ROWS_MAX: Final = 1000
RECEIPTED: Final = ("alert", "rfi", "sop")  # types whose coming to a unit its node writes down
_CHANGING: Final = frozenset({"move", "service", "score"})  # steps that say how something stands
_CHANGED: Final = frozenset({"holder_unit", "condition", "next_service", "score"})


class Boards:
    """Reads one ledger; `me` is the node's own key, whose unit's rows are marked."""

    def __init__(
        self, ledger: Ledger, projection: Projection, me: PublicKey | None, absent: Callable[[], list[Value]]
    ) -> None:
        self._ledger = ledger
        self._projection = projection
        self._me = me
        self._absent = absent

    def requests(self, request: Mapping[str, Value]) -> Value:
        """Requests for information with their clocks; `due`: only the unanswered, the most urgent first."""
        now_ms = wall_ms()
        rows: list[dict[str, Value]] = []
        for head, document, steps in self._records("rfi"):
            units: list[Value] = []
            dues: list[int] = []
            for asked in asked_units(document.fields(), steps):
                late = asked.overdue(now_ms)
                unit = self._plain(asdict(asked)) | {"overdue": late}
                if isinstance(asked.answer, bytes):
                    unit["answer"] = asked.answer.hex()
                units.append(unit)
                if asked.state not in ("replied", "refused"):
                    dues.append(asked.due_ms if asked.due_ms is not None else 2**53)
            head |= {
                "question": document.fields().get("question"), "urgency": document.fields().get("urgency"),
                "units": units, "open": bool(dues), "due_ms": min(dues, default=None), "late": _late(units),
            }  # fmt: skip
            rows.append(head)
        if request.get("due") is True:
            rows = sorted((row for row in rows if row["open"]), key=lambda row: int(str(row["due_ms"])))
        return {"rows": list(rows), "now_ms": now_ms, "not_heard": self._absent()}

    def alerts(self, _: Mapping[str, Value]) -> Value:
        """Alerts, and how far each has come with each unit: delivered, read, acknowledged."""
        rows: list[Value] = []
        for head, document, steps in self._records("alert"):
            fields = document.fields()
            kept = ("kind", "status", "headline", "instruction", "valid_until")
            units: list[Value] = [self._plain(asdict(told)) for told in told_units(fields, steps)]
            rows.append(head | {name: fields.get(name) for name in kept} | {"units": units})
        return {"rows": rows, "not_heard": self._absent()}

    def procedures(self, _: Mapping[str, Value]) -> Value:
        """Standing procedures, who has acknowledged each, and which certified officers have not."""
        rows: list[Value] = []
        officers = {key: item for key, item in self._ledger.authority.standings.items() if item.rank == "officer"}
        for head, document, steps in self._records("sop"):
            fields = document.fields()
            units = names(fields.get("to"))
            done = {step.author: step.time_ms for step in reversed(steps) if step.step == "ack"}
            wanted = {key: item for key, item in officers.items() if not units or item.unit in units}
            rows.append(head | {
                "title": fields.get("title"), "version": fields.get("version"), "units": list(units),
                "in_force_from": fields.get("in_force_from"),
                "acknowledged": [
                    author_view(self._ledger.authority, key) | {"time_ms": at} for key, at in sorted(done.items())
                ],
                "missing": [author_view(self._ledger.authority, key) for key in sorted(set(wanted) - set(done))],
            })  # fmt: skip
        return {"rows": rows, "not_heard": self._absent()}

    def custody(self, _: Mapping[str, Value]) -> Value:
        """Exhibits: every move with both sides' word, what is pending, and where masses or seals differ."""
        rows: list[Value] = []
        for head, document, steps in self._records("evidence"):
            fields = document.fields()
            kept = ("exhibit_no", "object", "seal_no", "net_mass_g")
            rows.append(head | {name: plain(fields.get(name)) for name in kept} | {"moves": self._moves(steps)})
        return {"rows": rows, "not_heard": self._absent()}

    def moves(self, request: Mapping[str, Value]) -> Value:
        """The moves of one exhibit, `record`: for whoever writes the next one, as `Desk.record` for other steps."""
        record = request.get("record")
        steps = self._projection.steps_of(record) if isinstance(record, bytes) else []
        return self._moves(step_operations(self._ledger, steps))

    def _moves(self, steps: list[Operation]) -> list[Value]:
        return [
            {
                "give": self._side(move.give), "take": None if move.take is None else self._side(move.take),
                "difference_g": None if move.difference_g is None else f"{move.difference_g:f}",
                "seal_differs": move.seal_differs,
            }
            for move in custody(steps)
        ]  # fmt: skip

    def operations(self, request: Mapping[str, Value]) -> Value:
        """Operations that have not ended, and which of them meet in place and time.

        "answer" is "conflict" where any do; else "unknown" where units were not heard from, which may have planned
        one that is not here; else "none". request "all": those that have ended too.
        """
        now_ms = wall_ms()
        found: list[tuple[dict[str, Value], str, Area | None]] = []
        for head, document, _ in self._records("operation"):
            fields = document.fields()
            place = area(fields)
            if place is not None and place.to_ms < now_ms and request.get("all") is not True:
                continue
            kept = ("kind", "window", "area", "lead_unit", "participants")
            found.append((head | {name: plain(fields.get(name)) for name in kept}, str(fields.get("lead_unit")), place))
        rows: list[Value] = []
        meetings = 0
        for row, lead, place in found:
            met: list[Value] = [
                {"id": other["id"], "short": other["short"], "lead_unit": other_lead}
                for other, other_lead, other_place in found
                if other is not row and other_lead != lead and place and other_place and place.meets(other_place)
            ]
            meetings += len(met)
            rows.append(row | {"meets": met})
        missing = self._absent()
        answer = "conflict" if meetings else "unknown" if missing else "none"
        return {"rows": rows, "answer": answer, "not_heard": missing, "now_ms": now_ms}

    def records(self, request: Mapping[str, Value]) -> Value:
        """The records of a `type`: their fields, with what a move or a service changed, and the latest such step."""
        rows: list[Value] = []
        for head, document, steps in self._records(str(request.get("type"))):
            told = sorted((step for step in steps if step.step in _CHANGING), key=lambda step: (step.time_ms, step.id))
            fields: dict[str, Value] = {name: plain(value) for name, value in document.fields().items()}
            for step in told:
                fields |= {name: plain(value) for name, value in step.fields.items() if name in _CHANGED}
            latest = f"{told[-1].step} {told[-1].agency}/{told[-1].unit}" if told else ""
            rows.append(head | {"fields": fields, "latest": latest})
        return {"rows": rows, "not_heard": self._absent()}

    # -- parts ------------------------------------------------------------------------------------

    def _records(self, type_name: str) -> Iterator[tuple[dict[str, Value], Document, list[Operation]]]:
        """(what heads a row, document, steps) of each record of a type that is not retracted, newest first."""
        me = self._ledger.authority.of(self._me) if self._me is not None else None
        for listed in self._projection.listed(type_name, limit=_ROWS_MAX):
            found = self._projection.document(self._ledger, listed.record)
            if found is None:
                continue
            document = found[1]
            to = names(document.fields().get("to"))
            head: dict[str, Value] = {
                "id": listed.record.hex(), "short": short_id(self._ledger, listed.record), "type": type_name,
                "author": author_view(self._ledger.authority, document.author), "time_ms": document.time_ms,
                "to": list(to), "summary": summary(document.fields()), "conflicts": len(document.conflicts()),
                "for_us": me is not None and me.unit != "" and me.unit in to, "marked": document_mark(document),
            }  # fmt: skip
            yield head, document, step_operations(self._ledger, self._projection.steps_of(listed.record))

    def _side(self, step: Operation) -> Value:
        return {
            "id": step.id.hex(), "short": short_id(self._ledger, step.id), "time_ms": step.time_ms,
            "author": author_view(self._ledger.authority, step.author),
            **{name: plain(value) for name, value in step.fields.items()},
        }  # fmt: skip

    @staticmethod
    def _plain(fields: Mapping[str, object]) -> dict[str, Value]:
        return {name: value for name, value in fields.items() if value is None or isinstance(value, (str, int))}


def _late(units: list[Value]) -> list[Value]:
    return [unit["unit"] for unit in units if isinstance(unit, dict) and unit["overdue"]]


def receipts_due(ledger: Ledger, projection: Projection, me: PublicKey, after: int) -> tuple[list[EntryId], int]:
    """Records that arrived after `after`, are for this node's unit, and have no receipt by this node yet.

    Oldest first; with the arrival number to go on after. Cost: O(such records).
    """
    standing = ledger.authority.of(me)
    stop = projection.cursor() - 1
    if standing is None or not standing.unit:
        return [], after
    found: list[tuple[int, EntryId]] = []
    for type_name in RECEIPTED:
        for listed in projection.listed(type_name, after=after):
            document = projection.document(ledger, listed.record)
            if document is None or standing.unit not in names(document[1].fields().get("to")):
                continue
            steps = step_operations(ledger, projection.steps_of(listed.record))
            if not any(step.author == me and step.step == "receipt" for step in steps):
                found.append((listed.arrival, listed.record))
    return [record for _, record in sorted(found)], stop
