"""Where things stand that people must answer for: requests, alerts, procedures, exhibits, operations.

Pure functions of a record's fields and the steps on it. Times are what the writers claimed; a request's clock starts
when a node or officer of the asked unit first wrote that it is there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from math import asin, cos, radians, sin, sqrt
from typing import Final

from ledger.document import Operation
from protocol.codec import Value
from protocol.entry import EntryId

HOUR_MS: Final = 3_600_000
URGENCY_MS: Final = {"urgent": 8 * HOUR_MS, "normal": 72 * HOUR_MS, "routine": 168 * HOUR_MS}  # (EU) 2023/977 Art. 5
WORKFLOWS: Final = frozenset({"rfi", "evidence"})  # types whose state is kept in the search index
_EARTH_M: Final = 6_371_000.0
_CLOSED: Final = frozenset({"replied", "refused"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a request stands with one unit. state: undelivered, open, acknowledged, delayed, replied or refused."""

    unit: str
    state: str
    received_ms: int | None = None
    due_ms: int | None = None  # None: the clock has not started
    answer: EntryId | None = None

    def overdue(self, now_ms: int) -> bool:
        """Whether it should have been answered by now."""
        return self.state not in _CLOSED and self.due_ms is not None and self.due_ms < now_ms


def asked_units(fields: Mapping[str, Value], steps: Iterable[Operation]) -> list[Asked]:
    """The state of a request with each unit that it is for."""
    by_unit: dict[str, list[Operation]] = {}
    for step in steps:
        by_unit.setdefault(step.unit, []).append(step)
    return [_asked(unit, fields, by_unit.get(unit, [])) for unit in names(fields.get("to"))]


def _asked(unit: str, fields: Mapping[str, Value], steps: Sequence[Operation]) -> Asked:
    told = [step for step in steps if step.step in ("receipt", "read", "ack", "reply", "refuse", "delay")]
    if not told:
        return Asked(unit, "undelivered", None, time_ms(fields.get("due_at")))
    received = min(step.time_ms for step in told)
    due = time_ms(fields.get("due_at"))
    if due is None:
        due = received + URGENCY_MS.get(str(fields.get("urgency")), URGENCY_MS["routine"])
    delays = [until for step in told if step.step == "delay" and (until := time_ms(step.fields.get("until")))]
    due = max([due, *delays])
    said = {step.step: step for step in sorted(told, key=lambda step: step.id)}
    for name, state in (("reply", "replied"), ("refuse", "refused")):
        if name in said:
            return Asked(unit, state, received, due, said[name].id)
    state = "delayed" if delays else "acknowledged" if "ack" in said else "open"
    return Asked(unit, state, received, due)


@dataclass(frozen=True, slots=True)
class Told:
    """How far an alert has come with one unit: when its node held it, an officer looked at it, one acknowledged it."""

    unit: str
    delivered_ms: int | None = None
    read_ms: int | None = None
    acknowledged_ms: int | None = None


def told_units(fields: Mapping[str, Value], steps: Iterable[Operation]) -> list[Told]:
    """The state of an alert with each unit that it is for. What is read was delivered."""
    first: dict[tuple[str, str], int] = {}
    for step in steps:
        at = (step.unit, step.step)
        first[at] = min(first.get(at, step.time_ms), step.time_ms)

    def earliest(unit: str, *steps_: str) -> int | None:
        return min((first[unit, step] for step in steps_ if (unit, step) in first), default=None)

    return [
        Told(unit, earliest(unit, "receipt", "read", "ack"), earliest(unit, "read", "ack"), earliest(unit, "ack"))
        for unit in names(fields.get("to"))
    ]


@dataclass(frozen=True, slots=True)
class Handover:
    """One move of an exhibit. take None: pending. difference_g: what was taken less what was given, grams."""

    give: Operation
    take: Operation | None = None
    difference_g: Decimal | None = None
    seal_differs: bool = False


def custody(steps: Iterable[Operation]) -> list[Handover]:
    """The moves of an exhibit in order of time, each give with the first take that names it."""
    steps = sorted(steps, key=lambda step: (step.time_ms, step.id))
    takes: dict[str, Operation] = {}
    for step in steps:
        if step.step == "take" and isinstance(step.fields.get("give"), str):
            takes.setdefault(str(step.fields["give"]), step)
    moves = []
    for give in steps:
        if give.step == "give":
            take = takes.get(give.id.hex())
            if take is None:
                moves.append(Handover(give))
                continue
            masses = [decimal(side.fields.get("net_mass_g")) for side in (give, take)]
            difference = masses[1] - masses[0] if masses[0] is not None and masses[1] is not None else None
            moves.append(Handover(give, take, difference, give.fields.get("seal_no") != take.fields.get("seal_no")))
    return moves


def outline(type_name: str, fields: Mapping[str, Value], steps: Sequence[Operation]) -> tuple[list[str], int | None]:
    """(words of its status, when it is due) for the search index."""
    if type_name == "rfi":
        asked = asked_units(fields, steps)
        open_ = [unit for unit in asked if unit.state not in _CLOSED]
        due = min((unit.due_ms for unit in open_ if unit.due_ms is not None), default=None)
        return [*sorted({unit.state for unit in asked}), "unanswered" if open_ else "answered"], due
    if type_name == "evidence":
        return ["pending"] if any(move.take is None for move in custody(steps)) else [], None
    return [], None


@dataclass(frozen=True, slots=True)
class Area:
    """Where and when an operation is."""

    from_ms: int
    to_ms: int
    latitude: float
    longitude: float
    radius_m: float

    def meets(self, other: "Area") -> bool:
        """Whether two operations overlap in place and in time."""
        if self.to_ms < other.from_ms or other.to_ms < self.from_ms:
            return False
        apart = distance_m(self.latitude, self.longitude, other.latitude, other.longitude)
        return apart <= self.radius_m + other.radius_m


def area(fields: Mapping[str, Value]) -> Area | None:
    """The area of an operation, or None where its fields do not give one."""
    match fields:
        case {"window": {"from": from_, "to": to}, "area": {"point": dict() as point, "radius_m": int() as radius}}:
            begin, end, place = time_ms(from_), time_ms(to), position(point)
            if begin is not None and end is not None and place is not None:
                return Area(begin, end, *place, float(radius))
        case _:
            pass
    return None


def position(value: Value) -> tuple[float, float] | None:
    """(latitude, longitude) in degrees of a position field."""
    if not isinstance(value, dict):
        return None
    latitude, longitude = decimal(value.get("latitude")), decimal(value.get("longitude"))
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return float(latitude), float(longitude)


def distance_m(latitude: float, longitude: float, latitude_2: float, longitude_2: float) -> float:
    """Metres between two places on a sphere (haversine); within 0.5 % of the ellipsoid."""
    a, b = radians(latitude), radians(latitude_2)
    h = sin((b - a) / 2) ** 2 + cos(a) * cos(b) * sin(radians(longitude_2 - longitude) / 2) ** 2
    return 2 * _EARTH_M * asin(min(1.0, sqrt(h)))


def names(value: Value) -> list[str]:
    """The texts of a list, or of one text."""
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def decimal(value: Value) -> Decimal | None:
    """A decimal text or whole number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 30 else None


def time_ms(value: Value) -> int | None:
    """RFC 3339 with a zone as milliseconds since 1970 UTC; None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return round(found.timestamp() * 1000) if found is not None and found.tzinfo is not None else None
