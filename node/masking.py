"""What is shown of marked records to somebody who has not said what for: that they are there, and no content.

Rows of answers say in "marked" what a record's handling names, empty where nothing does. A row that is hidden says
"masked": true. Counts (`stats`, `status`) are shown as they are: they are no content of any one record.
"""

from collections.abc import Mapping
from typing import Final

from protocol.codec import Value
from protocol.entry import EntryId

_ROWS: Final = {  # where an answer has its rows; "": it is one row; None: it is a list of them
    "show": "", "history": "", "conflicts": None, "find": "hits", "log": "entries", "requests": "rows",
    "alerts": "rows", "procedures": "rows", "custody": "rows", "operations": "rows", "records": "rows",
}  # fmt: skip
_KEPT: Final = frozenset({  # what a row may say of a record whose content is hidden
    "id", "short", "kind", "type", "seq", "time_ms", "author", "agency", "status", "marked", "arrival", "record", "to",
    "for_us", "urgency", "units", "open", "due_ms", "late", "lead_unit", "meets", "acknowledged", "missing",
})  # fmt: skip


def content_rows(op: str, answer: Value) -> list[dict[str, Value]]:
    """The rows of an answer that say in "marked" whether they may be shown."""
    if op not in _ROWS:
        return []
    where = _ROWS[op]
    found = answer.get(where) if where and isinstance(answer, dict) else answer
    rows = found if isinstance(found, list) else [found]
    return [row for row in rows if isinstance(row, dict) and "marked" in row]


def record_of(row: Mapping[str, Value]) -> EntryId:
    """The record that a row is of, or is a step on."""
    return EntryId(bytes.fromhex(str(row.get("record") or row["id"])))


def hide(row: dict[str, Value]) -> None:
    """Take the content out of a row; every name stays, so that whoever reads it finds what it looks for."""
    for name, value in row.items():
        if name not in _KEPT or (name == "kind" and value not in ("record", "step")):  # else it is a field's
            row[name] = _nothing(value)
    row["masked"] = True


def _nothing(value: Value) -> Value:
    if isinstance(value, str):
        return ""
    if isinstance(value, list):
        return []
    return {} if isinstance(value, dict) else None
