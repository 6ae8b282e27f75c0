"""Entries as a person sees them: plain maps of text and numbers, the same for the terminal and for --json.

Nothing is hidden: what is disputed, malformed, withheld or unknown is shown, and says so.
"""

from typing import Final

from keys.errors import FormatError
from ledger.authority import Authority, Standing
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
from protocol.body import parse_address, parse_record, parse_step
from protocol.codec import Value
from protocol.entry import Entry

SHORT_DIGITS_MIN: Final = 7


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


def entry_view(ledger: Ledger, entry: Entry) -> dict[str, Value]:
    """One entry: header, author, status ("ok", "disputed", "malformed", "withheld") and what its body says."""
    head = ledger.heads.get(entry.key)
    view: dict[str, Value] = {
        "id": entry.id.hex(),
        "short": short_id(ledger, entry.id),
        "kind": entry.kind,
        "type": "",
        "seq": entry.seq,
        "time_ms": entry.time_ms,
        "author": author_view(ledger.authority, entry.key),
        "refs": [ref.hex() for ref in entry.refs],
        "status": "disputed" if head.forked and entry.seq >= head.size else "ok",
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


def _body_view(kind: str, body: bytes) -> dict[str, Value]:
    match kind:
        case "record":
            record = parse_record(body)
            return {"type": record.type, "fields": plain(record.fields)}
        case "step":
            step = parse_step(body)
            return {"type": step.step, "record": step.record.hex(), "fields": plain(step.fields)}
        case "act":
            return {"type": "act", "note": act_sentence(body)}
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
            return f"proposes to the council: {_change(act.change)}"
        case Approve():
            return f"approves proposal {act.proposal.hex()[:12]}"


def _change(change: Change) -> str:
    match change:
        case Admit():
            return f"admit {change.agency.name} ({change.agency.title})"
        case Rekey():
            return f"give {change.name} the root key {change.key.hex()[:12]}"
        case Remove():
            return f"remove {change.name}"
        case Threshold():
            return f"let {change.threshold} agencies decide"
