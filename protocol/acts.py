"""Acts: the entries that say who may do what (SPEC.md 4.3). Shapes only; `ledger/authority.py` gives them effect.

| act       | fields beside "act"                                                                       |
|-----------|-------------------------------------------------------------------------------------------|
| `certify` | agency, consent, name, rank, roles, subject, unit                                         |
| `revoke`  | id, reason, seq, subject                                                                  |
| `unit`    | regions, title, unit                                                                      |
| `propose` | change: one of {"admit": {key, name, title}}, {"rekey": {id, key, name, seq}},            |
|           | {"remove": {cutoffs: [[key, seq, id], ...], name}} and {"threshold": m}                   |
| `approve` | proposal                                                                                  |
"""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from keys.errors import FormatError
from keys.signing import PublicKey, Signature
from protocol.card import ROLES
from protocol.charter import Agency
from protocol.codec import Value, decode
from protocol.entry import EntryId
from protocol.limits import AGENCIES_MAX, BODY_BYTES_MAX, REASON_BYTES_MAX, REGIONS_MAX, ROLES_MAX, SEQ_MAX
from protocol.shape import code, exactly, fixed_bytes, mapping, number, one_of, public_key, text, texts, written

CERTIFIED_RANKS: Final = ("admin", "node", "officer")
_REGION: Final = re.compile("[A-Z]{2}-[A-Z0-9]{1,3}")  # ISO 3166-2


@dataclass(frozen=True, slots=True)
class Certify:
    """This key is that person, node or admin, of that agency, serving in that unit, with these roles."""

    subject: PublicKey
    rank: str  # one of CERTIFIED_RANKS
    name: str
    agency: str
    unit: str  # "" for none
    roles: tuple[str, ...]  # ascending
    consent: Signature | None = None  # the subject's own, to being of that agency; from its card


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Of `key`'s log only entries up to `seq`, which has id `id`, count. id None: none counts, and seq is 0."""

    key: PublicKey
    seq: int
    id: EntryId | None

    @property
    def end(self) -> int:
        """How many entries it leaves."""
        return 0 if self.id is None else self.seq + 1

    @property
    def order(self) -> tuple[int, bytes]:
        """Of two cutoffs of a key the lower counts: none before any, then the smaller seq, then the smaller id."""
        return self.end, self.id or b""


@dataclass(frozen=True, slots=True)
class Revoke:
    """Of this key's log, only entries up to `seq` (with id `id`) count. id None: none counts, and seq is 0.

    Where the log forks at or below `seq`, this endorses the branch on which `id` lies.
    """

    subject: PublicKey
    seq: int
    id: EntryId | None
    reason: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A joint team and the regions it covers (ISO 3166-2, ascending)."""

    unit: str
    title: str
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Admit:
    """The council takes in an agency."""

    agency: Agency


@dataclass(frozen=True, slots=True)
class Rekey:
    """An agency gets a new root key; of the old one's log, only entries up to `seq` (with id `id`) count."""

    name: str
    key: PublicKey
    seq: int
    id: EntryId | None


@dataclass(frozen=True, slots=True)
class Remove:
    """An agency leaves. Of its keys' logs, its root key's included, only what `cutoffs` names counts."""

    name: str
    cutoffs: tuple[Cutoff, ...]  # ascending by key


@dataclass(frozen=True, slots=True)
class Threshold:
    """The council needs this many agencies from now on."""

    threshold: int


Change: TypeAlias = Admit | Rekey | Remove | Threshold


@dataclass(frozen=True, slots=True)
class Propose:
    """A change put to the council."""

    change: Change


@dataclass(frozen=True, slots=True)
class Approve:
    """An agency's yes to a proposal, named by its entry's id."""

    proposal: EntryId


Act: TypeAlias = Certify | Revoke | Unit | Propose | Approve


def encode_act(act: Act) -> bytes:
    """The body of the entry. Raises FormatError when a field breaks a rule."""
    value: dict[str, object]
    match act:
        case Certify():
            value = {
                "act": "certify", "agency": act.agency, "consent": act.consent, "name": act.name, "rank": act.rank,
                "roles": act.roles, "subject": act.subject, "unit": act.unit,
            }  # fmt: skip
        case Revoke():
            value = {"act": "revoke", "id": act.id, "reason": act.reason, "seq": act.seq, "subject": act.subject}
        case Unit():
            value = {"act": "unit", "regions": act.regions, "title": act.title, "unit": act.unit}
        case Propose():
            value = {"act": "propose", "change": _change_value(act.change)}
        case Approve():
            value = {"act": "approve", "proposal": act.proposal}
        case _:
            assert_never(act)
    return written(value, parse_act)


def parse_act(body: bytes) -> Act:
    """The act in a body. Raises FormatError on anything else; such an entry has no effect."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "an act")
    match fields.get("act"):
        case "certify":
            return _certify(fields)
        case "revoke":
            return _revoke(fields)
        case "unit":
            return _unit(fields)
        case "propose":
            exactly(fields, ("act", "change"), "a proposal")
            return Propose(_change(mapping(fields["change"], "a proposed change")))
        case "approve":
            exactly(fields, ("act", "proposal"), "an approval")
            return Approve(EntryId(fixed_bytes(fields, "proposal", 32)))
        case other:
            raise FormatError(f"unknown act {str(other)[:24]!r}")


def _certify(fields: dict[str, Value]) -> Certify:
    exactly(fields, ("act", "agency", "consent", "name", "rank", "roles", "subject", "unit"), "a certificate")
    roles = texts(fields, "roles", most=ROLES_MAX, ascending=True)
    for role in roles:
        one_of({"roles": role}, "roles", ROLES)
    return Certify(
        public_key(fields, "subject"), one_of(fields, "rank", CERTIFIED_RANKS), text(fields, "name"),
        code(fields, "agency"), code(fields, "unit", empty=True), roles,
        None if fields["consent"] is None else Signature(fixed_bytes(fields, "consent", 64)),
    )  # fmt: skip


def _revoke(fields: dict[str, Value]) -> Revoke:
    exactly(fields, ("act", "id", "reason", "seq", "subject"), "a revocation")
    seq, last = _last(fields)
    reason = text(fields, "reason", bytes_max=REASON_BYTES_MAX, empty=True)
    return Revoke(public_key(fields, "subject"), seq, last, reason)


def _last(fields: dict[str, Value]) -> tuple[int, EntryId | None]:
    last = None if fields["id"] is None else EntryId(fixed_bytes(fields, "id", 32))
    return number(fields, "seq", 0, SEQ_MAX if last is not None else 0), last


def _cutoffs(rows: Value) -> tuple[Cutoff, ...]:
    found: list[Cutoff] = []
    for row in rows if isinstance(rows, list) else [rows]:
        if not isinstance(row, list) or len(row) != 3:
            raise FormatError("the cutoffs of an agency are [key, seq, id] each")
        fields: dict[str, Value] = {"key": row[0], "seq": row[1], "id": row[2]}
        cutoff = Cutoff(public_key(fields, "key"), *_last(fields))
        if found and cutoff.key <= found[-1].key:
            raise FormatError("the cutoffs of an agency are in ascending order of key, each key once")
        found.append(cutoff)
    return tuple(found)


def _unit(fields: dict[str, Value]) -> Unit:
    exactly(fields, ("act", "regions", "title", "unit"), "a unit act")
    regions = texts(fields, "regions", most=REGIONS_MAX, ascending=True)
    for region in regions:
        if _REGION.fullmatch(region) is None:
            raise FormatError("a region is an ISO 3166-2 code such as UZ-SU")
    return Unit(code(fields, "unit"), text(fields, "title"), regions)


def _change_value(change: Change) -> dict[str, object]:
    match change:
        case Admit(agency):
            return {"admit": {"key": agency.key, "name": agency.name, "title": agency.title}}
        case Rekey():
            return {"rekey": {"id": change.id, "key": change.key, "name": change.name, "seq": change.seq}}
        case Remove():
            cutoffs = [[cutoff.key, cutoff.seq, cutoff.id] for cutoff in change.cutoffs]
            return {"remove": {"cutoffs": cutoffs, "name": change.name}}
        case Threshold():
            return {"threshold": change.threshold}


def _change(fields: dict[str, Value]) -> Change:
    match list(fields.items()):
        case [("admit", dict() as agency)]:
            exactly(agency, ("key", "name", "title"), "an agency to admit")
            return Admit(Agency(code(agency, "name"), text(agency, "title"), public_key(agency, "key")))
        case [("rekey", dict() as agency)]:
            exactly(agency, ("id", "key", "name", "seq"), "a new root key")
            return Rekey(code(agency, "name"), public_key(agency, "key"), *_last(agency))
        case [("remove", dict() as agency)]:
            exactly(agency, ("cutoffs", "name"), "an agency to remove")
            return Remove(code(agency, "name"), _cutoffs(agency["cutoffs"]))
        case [("threshold", _)]:
            return Threshold(number(fields, "threshold", 1, AGENCIES_MAX))
        case _:
            raise FormatError("a proposed change is one of admit, rekey, remove and threshold, with its terms")
