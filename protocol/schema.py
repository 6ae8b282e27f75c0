"""The types of records: JSON Schema (2020-12) files in `types/`, one for each type (SPEC.md 4.7).

Whoever writes a record is held to its type's file before signing; whoever reads one is not: a newer peer may
know types and fields that this program does not, and they are kept and shown. Adding a type is adding a file.

Beside JSON Schema's words a type has `steps` (what may happen to a record of that type beside what may happen to
any, in `steps.json`) and `examples`; a field may have `words`: spellings that a person may type for its codes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from keys.errors import UsageError

if TYPE_CHECKING:  # what checks is imported when something is written: it takes longer than a search
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

_NOT_TYPES: Final = frozenset({"common", "steps"})
_PROBLEMS_MAX: Final = 20
_VALUE_CHARS_MAX: Final = 60

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field. `template` is the sentence with names in braces, for translation."""

    field: str
    template: str
    values: Mapping[str, str]

    def __str__(self) -> str:
        return self.template.format(**self.values)


def _is_time(value: object) -> bool:
    """RFC 3339 with a zone."""
    if not isinstance(value, str):
        return True
    try:
        return datetime.fromisoformat(value).tzinfo is not None and value[10:11] == "T"
    except ValueError:
        return False


@cache
def _files() -> dict[str, Schema]:
    folder = resources.files("protocol").joinpath("types")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".json"))
    return {name.removesuffix(".json"): json.loads(folder.joinpath(name).read_text("utf-8")) for name in names}


def type_names() -> tuple[str, ...]:
    """The types that this program knows, in order of name."""
    return tuple(name for name in _files() if name not in _NOT_TYPES)


def type_schema(name: str) -> Schema:
    """The schema of a type. Raises UsageError on an unknown one."""
    if name in _NOT_TYPES or name not in _files():
        raise UsageError(f"there is no type {name[:24]!r}; the types are: {', '.join(type_names())}")
    return _files()[name]


def step_schemas(name: str) -> Mapping[str, Schema]:
    """The schemas of the steps on records of a type; of an unknown type, those that any record may have."""
    of_type = _files()[name]["steps"] if name in type_names() else {}
    return {**_files()["steps"]["steps"], **of_type}


def resolve(schema: Schema) -> Schema:
    """The schema with what its `$ref` points to filled in, one level deep; its own words win."""
    if "$ref" not in schema:
        return schema
    return {**resolve(_pointed_to(schema)), **{word: value for word, value in schema.items() if word != "$ref"}}


def _pointed_to(schema: Schema) -> Schema:
    target: Schema = _files()["common"]["$defs"][str(schema["$ref"]).rpartition("/")[2]]
    return target


@cache
def _validator(type_name: str, step: str) -> "Draft202012Validator":
    from jsonschema import Draft202012Validator, FormatChecker

    formats = FormatChecker(formats=())
    formats.checks("date-time")(_is_time)
    schema = step_schemas(type_name)[step] if step else type_schema(type_name)
    plain = {word: value for word, value in schema.items() if word not in ("steps", "examples", "$id")}
    return Draft202012Validator(_filled_in(plain), format_checker=formats)


def _filled_in(schema: Any) -> Any:
    """The schema with what each `$ref` points to in its place: to follow one costs as much as all else together."""
    if isinstance(schema, list):
        return [_filled_in(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    own = {word: _filled_in(value) for word, value in schema.items() if word != "$ref"}
    if "$ref" not in schema:
        return own
    target = _filled_in(_pointed_to(schema))
    return {"allOf": [target], **own} if own else target


def record_problems(type_name: str, fields: Mapping[str, Any]) -> list[Problem]:
    """All that is wrong with the fields of a new record. Raises UsageError on an unknown type. About 0.3 ms."""
    type_schema(type_name)
    return _problems(_validator(type_name, ""), fields, type_name)


def step_problems(type_name: str, step: str, fields: Mapping[str, Any]) -> list[Problem]:
    """All that is wrong with the fields of a step. Raises UsageError on a step that the type does not have."""
    known = step_schemas(type_name)
    if step not in known:
        raise UsageError(f"a record of type {type_name} has no step {step[:24]!r}; its steps are: {', '.join(known)}")
    return _problems(_validator(type_name, step), fields, f"{type_name} {step}")


def _problems(validator: "Draft202012Validator", fields: Mapping[str, Any], what: str) -> list[Problem]:
    found: dict[str, Problem] = {}
    for error in validator.iter_errors(fields):
        for problem in _told(error, what):
            found.setdefault(str(problem), problem)
        if len(found) >= _PROBLEMS_MAX:
            break
    return sorted(found.values(), key=lambda problem: problem.field)[:_PROBLEMS_MAX]


def _told(error: "ValidationError", what: str) -> Iterator[Problem]:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    value = json.dumps(error.instance, ensure_ascii=False, default=str)[:_VALUE_CHARS_MAX]
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    expected = str(resolve(schema).get("description", schema.get("pattern", "")))
    rule: Any = error.validator_value
    fields: Any = error.instance
    match error.validator:
        case "required":
            properties = schema.get("properties", {})
            for name in rule:
                if name not in fields:
                    about = str(resolve(properties.get(name, {})).get("description", ""))
                    full = f"{where}.{name}" if where else str(name)
                    yield Problem(full, "{field} is missing: {expected}", {"field": full, "expected": about})
        case "additionalProperties":
            properties = schema.get("properties", {})
            for name in fields:
                if name not in properties:
                    full = f"{where}.{name}" if where else str(name)
                    values = {"field": full, "what": where or what, "allowed": ", ".join(properties)}
                    yield Problem(full, "{field} is no field of {what}; its fields are: {allowed}", values)
        case "enum":
            values = {"field": where, "value": value, "allowed": ", ".join(map(str, rule))}
            yield Problem(where, "{field}: {value} is not one of: {allowed}", values)
        case "type":
            values = {"field": where or what, "value": value, "expected": f"{rule}: {expected}"}
            yield Problem(where, "{field}: {value} is not of the right kind, which is {expected}", values)
        case _:
            bound = f"{error.validator} {rule}"
            values = {"field": where, "value": value, "expected": expected or bound}
            if error.validator in ("minItems", "maxItems", "minimum", "maximum", "minLength", "maxLength"):
                values["expected"] = f"{expected} ({bound})".strip()
            yield Problem(where, "{field}: {value} does not fit; expected: {expected}", values)
