"""Making fields fit their type: what a person may leave to the program, and what it takes from the person's words.

A region by its name, a drug by any of its names, a plate with spaces, a local time without a zone, a list with commas:
each becomes the one form that the type's schema asks for. What cannot be understood stays as it is, and the schema
names it. What is derived says from what: a mass in grams beside the amount as written.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from keys.keyfile import KeyOwner
from ledger.gazetteer import region_of, substance_of, unit_of
from ledger.query import LOCAL
from ledger.selectors import phone_key, plate_key
from ledger.workflow import decimal
from protocol.codec import Value
from protocol.schema import Schema, resolve, step_schemas, type_schema

_GRAMS: Final = {"kg": Decimal(1000), "g": Decimal(1), "mg": Decimal("0.001")}
_OWN_UNIT: Final = {"intel": "reporting_unit", "operation": "lead_unit", "sitrep": "unit", "asset": "holder_unit"}
_YES: Final = {"yes": True, "true": True, "no": False, "false": False}


def fill_record(type_name: str, fields: Mapping[str, Value], owner: KeyOwner, now_ms: int) -> dict[str, Value]:
    """The fields of a new record, fitted and completed. Raises UsageError on an unknown type."""
    filled = fit(type_schema(type_name), fields, now_ms)
    if type_name == "seizure":
        filled.setdefault("counting_agency", owner.agency)
    own = _OWN_UNIT.get(type_name)
    if own is not None and owner.unit:
        filled.setdefault(own, owner.unit)
    return derive(type_name, filled)


def derive(type_name: str, fields: dict[str, Value]) -> dict[str, Value]:
    """The fields with what follows from them: mass_g of items whose unit is a mass, and how it was derived."""
    items = fields.get("items")
    if type_name != "seizure" or not isinstance(items, list):
        return fields
    fields["items"] = [_with_mass(item) if isinstance(item, dict) else item for item in items]
    return fields


def _with_mass(item: dict[str, Value]) -> dict[str, Value]:
    amount = decimal(item.get("amount"))
    unit = str(item.get("unit"))
    derived = str(item.get("mass_from", "")).startswith("amount in ")
    if amount is None or unit not in _GRAMS or ("mass_g" in item and not derived):
        return item
    grams = f"{amount * _GRAMS[unit]:f}"
    grams = grams.rstrip("0").rstrip(".") if "." in grams else grams
    return item | {"mass_g": grams or "0", "mass_from": f"amount in {unit}"}


def fill_step(type_name: str, step: str, fields: Mapping[str, Value], now_ms: int) -> dict[str, Value]:
    """The fields of a step, fitted."""
    schema = step_schemas(type_name).get(step)
    return fit(schema, fields, now_ms) if schema is not None else dict(fields)


def fit(schema: Schema, fields: Mapping[str, Value], now_ms: int) -> dict[str, Value]:
    """The fields of an object in the forms that its schema asks for."""
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    rest: Schema = others if isinstance(others, Mapping) else {}
    return {name: _fit(properties.get(name, rest), value, now_ms) for name, value in fields.items()}


def _fit(schema: Schema, value: Value, now_ms: int) -> Value:
    reference = str(schema.get("$ref", "")).rpartition("/")[2]
    full = resolve(schema)
    if full.get("type") == "array":
        items = full.get("items", {})
        if isinstance(value, str) and resolve(items).get("type", "string") == "string":
            value = [part.strip() for part in value.split(",") if part.strip()]
        return [_fit(items, item, now_ms) for item in value] if isinstance(value, list) else value
    if full.get("type") == "object" and isinstance(value, dict):
        return fit(full, value, now_ms)
    if full.get("type") == "integer" and isinstance(value, str) and value.strip().isdigit():
        return int(value)
    if full.get("type") == "boolean" and isinstance(value, str):
        return _YES.get(value.casefold(), value)
    if full.get("type") == "string" and type(value) is int:
        value = str(value)
    if isinstance(value, str):
        return _fit_text(full, reference, value.strip(), now_ms)
    return value


def _fit_text(schema: Schema, reference: str, text: str, now_ms: int) -> str:
    if schema.get("format") == "date-time":
        return local_time(text, now_ms)
    by_name: dict[str, Callable[[str], str | None]] = {
        "region": lambda name: region_of(name) or name.upper(), "country": str.upper, "plate": plate_key,
        "phone": phone_key, "unit": str.casefold, "agency": str.casefold,
        "amount": lambda number: number.replace(",", ".", 1).replace(" ", ""),
        "decimal": lambda number: number.replace(",", ".", 1),
    }  # fmt: skip
    if reference in by_name:
        return by_name[reference](text) or text
    words: Any = schema.get("words")
    found = substance_of(text) if words == "substance" else unit_of(text) if words == "unit" else None
    if found is not None:
        return found
    if "enum" in schema:
        allowed: list[str] = schema["enum"]
        return next((word for word in allowed if word.casefold() == text.casefold()), text)
    return text


def local_time(text: str, now_ms: int) -> str:
    """RFC 3339 of a time as people write it: "now", "2026-03-14 22:40", with a zone or in Uzbekistan's."""
    if text.casefold() == "now":
        return datetime.fromtimestamp(now_ms // 1000, LOCAL).isoformat()
    if text[:1] == "+" and text[1:-1].isdigit() and text[-1:] in ("h", "d") and len(text) < 8:
        hours = int(text[1:-1]) * (24 if text[-1] == "d" else 1)
        return (datetime.fromtimestamp(now_ms // 1000, LOCAL) + timedelta(hours=hours)).isoformat()
    try:
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return text
    if len(text) <= 10:
        return text  # a day is no time
    return (found if found.tzinfo is not None else found.replace(tzinfo=LOCAL)).isoformat()
