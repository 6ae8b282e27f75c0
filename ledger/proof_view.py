"""What a proof that was checked says, as plain maps of text and numbers: for the page in it, and for `hamkor verify`.

All of it comes from the proof and the charter. Nothing that the proof leaves out is known here.
"""

from collections.abc import Mapping

from keys.signing import PublicKey
from ledger.document import FILE, LINK, TAG, Document, Operation, changes, fold
from ledger.proof_acts import ProofActs
from ledger.verify import Proved, Verdict, Witness
from ledger.view import change_sentence, in_order, plain, plain_map, slot_name, summary
from protocol.body import parse_record, parse_step
from protocol.charter import Charter
from protocol.codec import Value
from protocol.entry import Entry, EntryId


def proof_view(verdict: Verdict, charter: Charter) -> dict[str, Value]:
    """The record, its steps, its authors with their certificates, who attests it. The verdict is not a refusal."""
    known = verdict.acts
    if known is None or not verdict.entries:
        raise ValueError("a proof that was refused says nothing")
    first = verdict.entries[0]
    record = parse_record(first.entry.body or b"")
    creation = _operation(first, "", record.fields)
    steps, unread = _steps(verdict)
    document = fold(creation, steps)
    agencies = {one.entry.id: one.agencies for one in verdict.entries}
    signed = [one.entry for one in verdict.entries] + [one.entry for one in verdict.witnesses]
    council: list[Value] = [
        {"change": change_sentence(change), "agencies": list(agreed)} for change, agreed in known.changes
    ]
    told: list[Value] = [_step(known, document, op, list(agencies[op.id])) for op in in_order(creation, steps)]
    told += [_who(known, one.entry) | {"state": state, "agencies": list(one.agencies)} for one, state in unread]
    return {
        "verdict": verdict.verdict, "reason": verdict.reason, "network": charter.network,
        "network_id": charter.network_id.hex(), "record": first.entry.id.hex(), "type": record.type,
        "threshold": known.threshold, "members": _members(known),
        "summary": summary(document.fields()), "retracted": document.retracted,
        "created": _who(known, first.entry) | {"agencies": list(first.agencies)},
        "fields": _fields(known, document), "proposals": len(document.proposals),
        "tags": list(document.members(TAG)), "links": list(document.members(LINK)),
        "files": [plain_map(values[0].value) for values in document.members(FILE).values()],
        "steps": told,
        "people": [_person(known, key, charter) for key in dict.fromkeys(entry.key for entry in signed)],
        "attested": [_attested(known, one, len(verdict.entries)) for one in sorted(verdict.witnesses, key=_moment)],
        "council": council,
    }  # fmt: skip


def _operation(proved: Proved, step: str, fields: Mapping[str, Value], refs: tuple[EntryId, ...] = ()) -> Operation:
    entry = proved.entry
    return Operation(entry.id, entry.key, proved.agency, entry.time_ms, step, fields, refs)


def _steps(verdict: Verdict) -> tuple[list[Operation], list[tuple[Proved, str]]]:
    """The steps whose bodies are there, and those whose are not."""
    steps: list[Operation] = []
    unread: list[tuple[Proved, str]] = []
    for one in verdict.entries[1:]:
        if one.entry.body is None:
            unread.append((one, "withheld"))
            continue
        step = parse_step(one.entry.body)
        refs = tuple(ref for ref in one.entry.refs if ref not in step.acts)
        steps.append(_operation(one, step.step, step.fields, refs))
    return steps, unread


def _fields(known: ProofActs, document: Document) -> list[Value]:
    """Every field that stands, with every value it has, by whom and since when."""
    return [
        {"field": name, "values": [
            _by(known, said.author) | {"time_ms": said.time_ms, "value": plain(said.value), "entry": said.op.hex()}
            for said in values
        ]}
        for name, values in document.standing("f:")
    ]  # fmt: skip


def _step(known: ProofActs, document: Document, op: Operation, agencies: list[Value]) -> dict[str, Value]:
    changed: list[Value] = [
        {"field": slot_name(slot), **({"removed": True} if value is None else {"value": plain(value)})}
        for slot, value in changes(op)
    ]
    view = _by(known, op.author) | {"id": op.id.hex(), "time_ms": op.time_ms, "step": op.step, "agencies": agencies}
    said = {} if changed else {name: plain(value) for name, value in op.fields.items()}
    return view | {"changes": changed, "fields": said, "state": "proposed" if document.is_proposal(op) else ""}


def _who(known: ProofActs, entry: Entry) -> dict[str, Value]:
    return _by(known, entry.key) | {"id": entry.id.hex(), "time_ms": entry.time_ms, "seq": entry.seq}


def _by(known: ProofActs, key: bytes) -> dict[str, Value]:
    person = known.certified.get(PublicKey(key))
    name = person.name if person is not None else ""
    return {"key": key.hex(), "name": name, "agency": known.agency_of(PublicKey(key)) or ""}


def _person(known: ProofActs, key: PublicKey, charter: Charter) -> dict[str, Value]:
    """A key, and the certificates from it up to the agency's root key."""
    steps: list[Value] = []
    at = key
    while (person := known.certified.get(at)) is not None and len(steps) < 3 and at not in known.roots:
        steps.append({
            "rank": person.rank, "name": person.name, "agency": person.agency, "unit": person.unit, "key": at.hex(),
            "roles": list(person.roles), "act": person.act.id.hex(), "time_ms": person.act.time_ms,
        })  # fmt: skip
        at = person.by
    root = known.roots.get(at)
    founding = any(agency.key == at for agency in charter.agencies)
    if root is not None:
        steps.append({"rank": "agency", "name": root.title, "agency": root.name, "key": at.hex(), "founding": founding})
    cutoff = known.cutoffs.get(key)
    ended: Value = None
    if cutoff is not None:
        ended = {"seq": cutoff.seq if cutoff.id is not None else None, "reason": known.revoked.get(key, "")}
    rank = "agency" if key in known.roots else known.certified[key].rank
    return _by(known, key) | {"rank": rank, "chain": steps, "ended": ended}


def _attested(known: ProofActs, witness: Witness, entries: int) -> dict[str, Value]:
    checkpoint = witness.checkpoint
    return _who(known, witness.entry) | {
        "root": checkpoint.root.hex(), "logs": checkpoint.logs, "entries": checkpoint.entries,
        "covers": len(witness.paths), "of": entries, "creation": any(path.entry == 0 for path in witness.paths),
        "member": (known.agency_of(witness.entry.key) or "") in known.members,
    }  # fmt: skip


def _moment(witness: Witness) -> tuple[int, EntryId]:
    return witness.entry.time_ms, witness.entry.id


def _members(known: ProofActs) -> list[Value]:
    return [{"agency": name, "title": known.members[name].title} for name in sorted(known.members)]
