"""Entries as a person sees them: plain maps of text and numbers, the same for the terminal and for --json.

Nothing is hidden: what is disputed, malformed, withheld or unknown is shown, and says so.
"""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from keys.errors import FormatError
from ledger.authority import Authority, Ended, Standing
from ledger.document import FILE, LINK, RETRACTED, TAG, Document, Operation, Said, changes
from ledger.handling import document_mark, mark
from ledger.store import Ledger
from protocol.acts import (
    Admit,
    Approve,
    Certify,
    Change,
    Propose,
    Rekey,
    Remove,
    Revoke,
    Threshold,
    Unit,
    parse_act,
)  # fmt: skip
from protocol.body import parse_address, parse_consultation, parse_record, parse_step
from protocol.codec import Value
from protocol.entry import Entry, EntryId

SHORT_DIGITS_MIN: Final = 7
_SUMMARY_CHARS_MAX: Final = 120
_TITLES: Final = (  # fields that say what a record is about, the most telling first
    "title", "headline", "question", "report_no", "exhibit_no", "object", "names", "plate", "msisdn", "serial",
    "number", "officer", "synopsis", "address", "kind", "place", "instruction", "narrative", "issues",
)  # fmt: skip


def short_id(ledger: Ledger, entry_id: bytes) -> str:
    """The shortest beginning of an id, of at least 7 digits, that no other entry here shares."""
    digits = entry_id.hex()
    for size in range(SHORT_DIGITS_MIN, 65):
        if len(ledger.ids_with(digits[:size], 2)) < 2:
            return digits[:size]
    return digits


def author_view(authority: Authority, key: bytes) -> dict[str, Value]:
    """Who a key is. A key without a certificate chain is named by its digits."""
    standing: Standing | None = authority.of(key)  # type: ignore[arg-type]  # any bytes may be asked for
    if standing is None:
        return {"key": key.hex(), "name": "", "agency": "", "unit": "", "rank": "uncertified"}
    return {
        "key": key.hex(), "name": standing.name, "agency": standing.agency, "unit": standing.unit,
        "rank": standing.rank,
    }  # fmt: skip


def standing_view(ledger: Ledger, standing: Standing, authority: Authority | None = None) -> dict[str, Value]:
    """A key, by whom it was certified, how much of its log counts here, and what ended it, if anything did.

    authority: in which it stands so; by default the ledger's own.
    """
    log = ledger.log(standing.key)
    size, held = (log.size, log.held) if log is not None else (0, 0)
    view = author_view(authority or ledger.authority, standing.key) | {
        "roles": list(standing.roles), "act": standing.act.hex() if standing.act else "",
        "counts": size, "void": 0, "disputed": 0, "uncertified": 0,
        "forked_at": log.forked_at if log is not None else None, "ended": None,
    }  # fmt: skip
    rest = ledger.log_entries(standing.key, size, 1) if held > size else []
    if rest:
        view[ledger.status(rest[0].entry)] = held - size
    if standing.ended is not None:
        view["ended"] = ended_view(ledger, standing.ended, authority)
    return view


def ended_view(ledger: Ledger, ended: Ended, authority: Authority | None = None) -> dict[str, Value]:
    """Where a log ends, by whose act, when and why. seq None: none of it counts. by: empty for the council."""
    act = ledger.entry(ended.act)
    by = author_view(authority or ledger.authority, ended.by) if ended.by is not None else None
    return {
        "seq": ended.cutoff.seq if ended.cutoff.id is not None else None,
        "id": ended.cutoff.id.hex() if ended.cutoff.id is not None else None, "by": by, "act": ended.act.hex(),
        "time_ms": act.time_ms if act is not None else None, "reason": ended.reason,
    }  # fmt: skip


def entry_view(ledger: Ledger, entry: Entry) -> dict[str, Value]:
    """One entry: header, author, status (as `Ledger.status`, "malformed" or "withheld") and what its body says.

    marked: as the entry itself says; whoever shows it asks what its record says now (`ledger/handling.py`).
    """
    view: dict[str, Value] = {
        "id": entry.id.hex(),
        "short": short_id(ledger, entry.id),
        "kind": entry.kind,
        "type": "",
        "seq": entry.seq,
        "time_ms": entry.time_ms,
        "author": author_view(ledger.authority, entry.key),
        "refs": [ref.hex() for ref in entry.refs],
        "status": ledger.status(entry),
        "marked": "",
        "fields": {},
    }
    if entry.body is None:
        view["status"] = "withheld"
        view["note"] = f"the body ({entry.body_size} bytes) is not here; its hash is {entry.body_hash.hex()}"
    elif entry.space is not None:
        view["note"] = f"encrypted for compartment {entry.space.hex()[:12]}"
    else:
        try:
            view |= _body_view(entry.kind, entry.body)
        except FormatError as error:
            view["status"] = "malformed"
            view["note"] = f"the body cannot be read: {error}"
    return view


def summary(fields: Mapping[str, Value]) -> str:
    """What a record is about, in a line."""
    items = fields.get("items")
    parts = [
        " ".join(str(item[name]) for name in ("substance", "amount", "unit") if name in item)
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict)
    ]
    parts += [_plainly(fields[name]) for name in _TITLES if fields.get(name)][: 3 if parts else 2]
    vehicles = fields.get("vehicles")
    parts += [item for item in vehicles if isinstance(item, str)] if isinstance(vehicles, list) else []
    if not parts:
        parts = [f"{name}={_plainly(value)}" for name, value in sorted(fields.items())]
    return ", ".join(part for part in parts if part)[:_SUMMARY_CHARS_MAX]


def _plainly(value: Value) -> str:
    if isinstance(value, list):
        return ", ".join(_plainly(item) for item in value)
    if isinstance(value, dict):
        return str(value.get("name", "")) or ", ".join(_plainly(item) for item in value.values())
    return str(plain(value))


def said_view(ledger: Ledger, said: Said) -> dict[str, Value]:
    """A value that stands in a field, and who said so when; "removed" where the field was taken away."""
    view: dict[str, Value] = {
        "op": said.op.hex(), "short": short_id(ledger, said.op), "author": author_view(ledger.authority, said.author),
        "time_ms": said.time_ms,
    }  # fmt: skip
    return view | ({"removed": True} if said.value is None else {"value": plain(said.value)})


def document_view(ledger: Ledger, document: Document) -> dict[str, Value]:
    """What a record says now: fields that are agreed, conflicts, proposals, tags, links, files."""
    conflicts: dict[str, Value] = {
        name or "retracted": [said_view(ledger, said) for said in values]
        for name, values in document.conflicts().items()
    }
    fields = {name: plain(value) for name, value in document.fields().items() if name not in conflicts}
    return {
        "fields": fields,
        "conflicts": conflicts,
        "proposals": [_proposal_view(ledger, proposed) for _, proposed in sorted(document.proposals.items())],
        "tags": list(document.members(TAG)),
        "links": [
            {"relation": name.rpartition(":")[0], "to": name.rpartition(":")[2], "by": [said.agency for said in values]}
            for name, values in document.members(LINK).items()
        ],
        "files": [
            {**plain_map(values[0].value), "by": author_view(ledger.authority, values[0].author)}
            for values in document.members(FILE).values()
        ],
        "retracted": document.retracted,
        "left_out": document.left_out,
        "marked": document_mark(document),
        "summary": summary(document.fields()),
    }


def _proposal_view(ledger: Ledger, proposed: tuple[Said, ...]) -> dict[str, Value]:
    first = proposed[0]
    changed: dict[str, Value] = {}
    for said in proposed:
        if isinstance(said.value, list) and isinstance(said.value[0], str):
            changed[slot_name(said.value[0])] = plain(said.value[1])
    return said_view(ledger, first._replace(value=None)) | {"removed": False, "set": changed}


def slot_name(slot: str) -> str:
    """A slot as people call it: a field's own name, else what it is and of what."""
    prefix, name = slot[:2], slot[2:]
    kinds = {TAG: "tag ", LINK: "link ", FILE: "file ", RETRACTED: "retracted"}
    return kinds.get(prefix, "") + name


def history_view(ledger: Ledger, creation: Operation, steps: Sequence[Operation]) -> list[Value]:
    """Every operation, each after those that it names, then by time: what it changed, and what it replaced.

    "not_here": what it names and is not here. It takes part all the same, and so will what it names when that comes.
    """
    known = {creation.id, *(step.id for step in steps)}
    document = Document.created(creation)
    first: list[tuple[str, Value, list[Said]]] = [(slot, value, []) for slot, value in changes(creation)]
    rows: list[Value] = [_operation_view(ledger, creation, first, "")]
    for op in in_order(creation, steps):
        replaced: list[tuple[str, Value, list[Said]]] = []
        seen = {document.record, *op.refs}
        missing: list[Value] = [ref.hex() for ref in op.refs if ref not in known and ledger.entry(ref) is None]
        for slot, value in changes(op):
            stood = document.slots.get(slot, {})
            replaced.append((slot, value, [stood[known] for known in sorted(stood) if known in seen]))
        row = _operation_view(ledger, op, replaced, "proposed" if document.is_proposal(op) else "")
        document.apply(op)
        rows.append(row | ({"not_here": missing} if missing else {}))
    return rows


def in_order(creation: Operation, steps: Sequence[Operation]) -> list[Operation]:
    """By time as claimed, but never before what is named. O(n log n)."""
    known = {step.id for step in steps} - {creation.id}
    left = {step.id: known.intersection(step.refs) for step in steps}
    users: dict[EntryId, list[EntryId]] = {}
    for step_id, refs in left.items():
        for ref in refs:
            users.setdefault(ref, []).append(step_id)
    of = {step.id: step for step in steps}
    heap = [(of[step_id].time_ms, step_id) for step_id, refs in left.items() if not refs]
    heapify(heap)
    ordered = []
    while heap:
        _, step_id = heappop(heap)
        ordered.append(of[step_id])
        for user in users.get(step_id, []):
            left[user].discard(step_id)
            if not left[user]:
                heappush(heap, (of[user].time_ms, user))
    return ordered


def _operation_view(
    ledger: Ledger, op: Operation, changed: Sequence[tuple[str, Value, list[Said]]], state: str
) -> dict[str, Value]:
    told: list[Value] = [
        {"field": slot_name(slot), "replaces": [said_view(ledger, said) for said in old],
         **({"removed": True} if value is None else {"value": plain(value)})}
        for slot, value, old in changed
    ]  # fmt: skip
    said = {name: plain(value) for name, value in op.fields.items()} if not told else {}
    return {
        "id": op.id.hex(), "short": short_id(ledger, op.id), "step": op.step or "created", "time_ms": op.time_ms,
        "author": author_view(ledger.authority, op.author), "changes": told, "fields": said, "state": state,
    }  # fmt: skip


def plain_map(value: Value) -> dict[str, Value]:
    """A map as `plain` gives it; anything else is an empty one."""
    found = plain(value)
    return found if isinstance(found, dict) else {}


def _body_view(kind: str, body: bytes) -> dict[str, Value]:
    match kind:
        case "record":
            record = parse_record(body)
            marked = mark(record.fields.get("handling"))
            return {"type": record.type, "fields": plain(record.fields), "marked": marked}
        case "step":
            step = parse_step(body)
            return {"type": step.step, "record": step.record.hex(), "fields": plain(step.fields)}
        case "act":
            return {"type": "act", "note": act_sentence(body)}
        case "consultation":
            read = parse_consultation(body)
            return {"note": f"{len(read.records)} marked records were read ({read.command}) by {read.user}: {read.why}"}
        case "address":
            return {"type": "address", "note": "can be reached at " + ", ".join(parse_address(body).addresses)}
        case _:
            return {"note": f"of a kind that this program does not know; {len(body)} bytes"}


def plain(value: Value) -> Value:
    """The value with byte strings as hexadecimal text, so that it fits in JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def act_sentence(body: bytes) -> str:
    """What an act does, in one sentence. Raises FormatError."""
    act = parse_act(body)
    match act:
        case Certify():
            roles = f" as {', '.join(act.roles)}" if act.roles else ""
            unit = f" at {act.unit}" if act.unit else ""
            return f"certifies {act.rank} {act.name} of {act.agency}{unit}{roles}, key {act.subject.hex()[:12]}"
        case Revoke():
            last = f"after entry {act.seq}" if act.id is not None else "wholly"
            return f"revokes key {act.subject.hex()[:12]} {last}: {act.reason}"
        case Unit():
            return f"names unit {act.unit}, {act.title}, covering {', '.join(act.regions) or 'no region'}"
        case Propose():
            return f"proposes to the council: {change_sentence(act.change)}"
        case Approve():
            return f"approves proposal {act.proposal.hex()[:12]}"


def change_sentence(change: Change) -> str:
    """What the council would do."""
    match change:
        case Admit():
            return f"admit {change.agency.name} ({change.agency.title})"
        case Rekey():
            last = f"after entry {change.seq}" if change.id is not None else "wholly"
            return f"give {change.name} the root key {change.key.hex()[:12]}, and end its old one's log {last}"
        case Remove():
            return f"remove {change.name}, keeping what {len(change.cutoffs)} of its keys have written so far"
        case Threshold():
            return f"let {change.threshold} agencies decide"
