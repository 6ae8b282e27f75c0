"""What follows from a stolen key: what it signed, and what records would say if part of that did not count."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from keys.errors import FormatError
from ledger.document import Document, fold
from ledger.effect import Moved
from ledger.search import HISTORY_MAX, Search, operation, step_operations
from ledger.store import Ledger
from protocol.body import parse_record, parse_step
from protocol.codec import Value
from protocol.entry import Entry, EntryId

_PAGE: Final = 1000
RECORDS_MAX: Final = 10_000  # looked at for one answer


@dataclass(frozen=True, slots=True)
class Change:
    """A record that would say something else. gone: its creation would not count. fields: name -> (now, then)."""

    record: EntryId
    type: str
    gone: bool
    fields: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    steps: int = 0  # on it, that would not count


def entries_of(ledger: Ledger, moved: Moved) -> Iterator[Entry]:
    """The entries of a log that would stop counting, in its order."""
    seq = moved.then
    while seq < moved.now:
        page = ledger.log_entries(moved.standing.key, seq, min(_PAGE, moved.now - seq))
        if not page:
            return
        yield from (item.entry for item in page)
        seq += len(page)


def changed_records(ledger: Ledger, search: Search, lost: Iterable[Entry]) -> tuple[list[Change], bool]:
    """The records that would change if the entries `lost` did not count; and whether there are more than these.

    What the lost entries are is read from the ledger, and which steps a record has from the index. Cost: O(steps) of
    each record that they touch.
    """
    created: dict[EntryId, str] = {}
    touched: dict[EntryId, set[EntryId]] = {}
    for entry in lost:
        try:
            if entry.body is None or entry.space is not None:
                continue
            if entry.kind == "record":
                created[entry.id] = parse_record(entry.body).type
            elif entry.kind == "step":
                touched.setdefault(parse_step(entry.body).record, set()).add(entry.id)
        except FormatError:
            continue  # it says nothing now, so nothing changes
    changes = [Change(record, name, gone=True) for record, name in created.items()]
    others = [record for record in touched if record not in created]
    for record in others[: max(0, RECORDS_MAX - len(changes))]:
        found = next(iter(search.documents(ledger, [record])), None)
        if found is not None:
            type_name, creation, now = found
            then = _without(ledger, search, creation, touched[record])
            fields = _differences(now, then)
            changes.append(Change(record, type_name, gone=False, fields=fields, steps=len(touched[record])))
    return changes[:RECORDS_MAX], len(created) + len(others) > RECORDS_MAX


def _without(ledger: Ledger, search: Search, creation: Entry, lost: set[EntryId]) -> Document:
    steps = step_operations(ledger, search.steps_of(creation.id, HISTORY_MAX))
    return fold(operation(ledger, creation), [step for step in steps if step.id not in lost])


def _differences(now: Document, then: Document) -> dict[str, tuple[Value, Value]]:
    before: dict[str, Value] = dict(now.fields())
    after: dict[str, Value] = dict(then.fields())
    before["retracted"], after["retracted"] = now.retracted, then.retracted
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
