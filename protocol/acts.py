"""Acts: the entries that say who may do what (SPEC.md 4.3). Shapes only; `ledger/authority.py` gives them effect."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.card import ROLES
from protocol.codec import Value, decode, encode
from protocol.entry import EntryId
from protocol.limits import BODY_BYTES_MAX, ROLES_MAX, SEQ_MAX
from protocol.shape import code, exactly, fixed_bytes, mapping, number, one_of, public_key, text, texts

CERTIFIED_RANKS: Final = ("admin", "node", "officer")
CHANGES: Final = ("admit", "rekey", "remove", "threshold")
REGIONS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Certify:
    """This key is that person, node or admin, of that agency, serving in that unit, with these roles."""

    subject: PublicKey
    rank: str
    name: str
    agency: str
    unit: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revoke:
    """Of this key's log, only entries up to `seq` (with id `id`) count. id None: none counts, and seq is 0."""

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
class Propose:
    """A change for the council: `change` is one of CHANGES, `terms` what it needs."""

    change: str
    terms: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Approve:
    """An agency's yes to a proposal."""

    proposal: EntryId


Act: TypeAlias = Certify | Revoke | Unit | Propose | Approve


def encode_act(act: Act) -> bytes:
    """The body of the entry. Raises FormatError when a field breaks a rule."""
    value: dict[str, object]
    match act:
        case Certify():
            value = {
                "act": "certify", "agency": act.agency, "name": act.name, "rank": act.rank, "roles": act.roles,
                "subject": act.subject, "unit": act.unit,
            }  # fmt: skip
        case Revoke():
            value = {"act": "revoke", "id": act.id, "reason": act.reason, "seq": act.seq, "subject": act.subject}
        case Unit():
            value = {"act": "unit", "regions": act.regions, "title": act.title, "unit": act.unit}
        case Propose():
            value = {"act": "propose", "change": act.change, "terms": act.terms}
        case Approve():
            value = {"act": "approve", "proposal": act.proposal}
    body = encode(value)
    parse_act(body)
    return body


def parse_act(body: bytes) -> Act:
    """The act in a body. Raises FormatError on anything else; such an entry has no effect."""
    fields = mapping(decode(body, size_max=BODY_BYTES_MAX), "an act")
    match fields.get("act"):
        case "certify":
            return _certify(fields)
        case "revoke":
            return _revoke(fields)
        case "unit":
            exactly(fields, ("act", "regions", "title", "unit"), "a unit act")
            regions = texts(fields, "regions", most=REGIONS_MAX, ascending=True)
            return Unit(code(fields, "unit"), text(fields, "title"), regions)
        case "propose":
            exactly(fields, ("act", "change", "terms"), "a proposal")
            return Propose(one_of(fields, "change", CHANGES), mapping(fields["terms"], "the terms of a proposal"))
        case "approve":
            exactly(fields, ("act", "proposal"), "an approval")
            return Approve(EntryId(fixed_bytes(fields, "proposal", 32)))
        case other:
            raise FormatError(f"unknown act {str(other)[:24]!r}")


def _certify(fields: dict[str, Value]) -> Certify:
    exactly(fields, ("act", "agency", "name", "rank", "roles", "subject", "unit"), "a certificate")
    roles = texts(fields, "roles", most=ROLES_MAX, ascending=True)
    for role in roles:
        one_of({"roles": role}, "roles", ROLES)
    return Certify(
        public_key(fields, "subject"), one_of(fields, "rank", CERTIFIED_RANKS), text(fields, "name"),
        code(fields, "agency"), code(fields, "unit", empty=True), roles,
    )  # fmt: skip


def _revoke(fields: dict[str, Value]) -> Revoke:
    exactly(fields, ("act", "id", "reason", "seq", "subject"), "a revocation")
    last = None if fields["id"] is None else EntryId(fixed_bytes(fields, "id", 32))
    seq = number(fields, "seq", 0, SEQ_MAX if last is not None else 0)
    return Revoke(public_key(fields, "subject"), seq, last, text(fields, "reason", bytes_max=2000, empty=True))
