"""Fields as a person gives them: words of the command line, JSON from a file or standard input, an editor."""

import argparse
import copy
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from keys.errors import FormatError, LocalError, UsageError
from node.words import _
from protocol.codec import Value

_INT_DIGITS_MAX: Final = 20  # 2^64 has as many
INPUT_BYTES_MAX: Final = 256 * 1024 * 1024
_PART: Final = re.compile(r"([^.\[\]]+)|\[(\d{0,9})\]")
_ITEMS_MAX: Final = 1000  # in one array given on the command line


def given_fields(args: argparse.Namespace, *, empty: bool) -> list[tuple[str, dict[str, Value]]]:
    """(where it stands, fields) of each entry to write: from a file, standard input, or the words of the command.

    empty: whether there may be none of these, for one entry without fields.
    """
    words: list[str] = args.fields
    source = args.file or ("-" if words == ["-"] else None)
    if source is None:
        if not words and not empty:
            raise UsageError(_("no fields; give FIELD=VALUE, or --file FILE"))
        return [("", parse_fields(words))]
    if words and words != ["-"]:
        raise UsageError(_("give fields on the command line or in a file, not both"))
    found = [(f"{source}, entry {number}", fields) for number, fields in enumerate(_read_json(source), 1)]
    if not found:
        raise UsageError(_("{source} holds no fields").format(source=source))
    return found


def edited_fields(fields: Mapping[str, Value], about: list[str]) -> dict[str, Value]:
    """The fields as a person leaves them in $VISUAL or $EDITOR, as JSON. Raises LocalError where they gave up.

    about: lines of explanation; lines that begin with '#' are left out again.
    """
    lines = [json.dumps(fields, ensure_ascii=False, indent=2), "", *(f"# {line}" for line in about)]
    before = "\n".join(lines) + "\n"
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    descriptor, name = tempfile.mkstemp(prefix="hamkor-", suffix=".json")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(before)
        try:
            status = subprocess.run([*shlex.split(editor), name], check=False).returncode
        except OSError as error:
            why = _("the editor {editor} cannot be run: {why}").format(editor=editor, why=error.strerror)
            raise LocalError(why) from None
        if status != 0:
            raise LocalError(_("the editor ended with {status}; nothing was written").format(status=status))
        after = path.read_text(encoding="utf-8")
    finally:
        path.unlink(missing_ok=True)
    text = "\n".join(line for line in after.split("\n") if not line.lstrip().startswith("#"))
    if after == before or not text.strip():
        raise LocalError(_("nothing was changed; nothing was written"))
    try:
        value = _parse_json(text)
    except json.JSONDecodeError as error:
        why = _("line {line} is not JSON: {why}; nothing was written").format(line=error.lineno, why=error.msg)
        raise UsageError(why) from None
    if not isinstance(value, dict):
        raise UsageError(_("the fields are one JSON object; nothing was written"))
    return value


def _read_json(source: str) -> Iterator[dict[str, Value]]:
    """One JSON object, or one a line."""
    try:
        if source == "-":
            text = sys.stdin.read(INPUT_BYTES_MAX + 1)
        else:
            with Path(source).open(encoding="utf-8") as file:
                text = file.read(INPUT_BYTES_MAX + 1)
    except UnicodeDecodeError:
        raise FormatError(f"{source} is not UTF-8 text") from None
    except OSError as error:
        raise LocalError(f"{source} cannot be read: {error.strerror}") from None
    if len(text) > INPUT_BYTES_MAX:
        raise FormatError(f"{source} is over {INPUT_BYTES_MAX} bytes; cut it into parts")
    if not text.strip():
        return
    try:
        whole = [_parse_json(text)]
    except json.JSONDecodeError as mistake:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):  # one object, over one line or many
            raise FormatError(f"{source}, line {mistake.lineno}: not JSON: {mistake.msg}") from None
        whole = [_parse_line(line, f"{source}, line {number}") for number, line in lines]
    for value in whole:
        if not isinstance(value, dict):
            raise FormatError(f"{source}: each entry is a JSON object of fields")
        yield value


def _parse_line(line: str, where: str) -> Value:
    try:
        return _parse_json(line)
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON: {error.msg}") from None
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def _parse_json(text: str) -> Value:
    """JSON in which a number with a fraction becomes the text that was written. Raises also FormatError."""
    try:
        value: Value = json.loads(
            text, parse_float=str, parse_int=_whole, parse_constant=_refuse_constant, object_pairs_hook=_once_each
        )
    except RecursionError:
        raise FormatError("the JSON is nested too deeply") from None
    return value


def _whole(digits: str) -> int:
    if len(digits) > _INT_DIGITS_MAX:
        raise FormatError(f"the number {digits[:24]}... is too large; write it as text")
    return int(digits)


def _refuse_constant(name: str) -> Value:
    raise FormatError(f"{name} is not a number that can be written")


def _once_each(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    """A JSON object in which no name comes twice: one of the two values would be lost in silence."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise FormatError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return fields


def parse_fields(words: list[str]) -> dict[str, Value]:
    """`name=text`, `name:=JSON`, `a.b=text`, `list[]=text`, `list[0].a=text` as one map. Raises UsageError."""
    fields: dict[str, Value] = {}
    for name, value in _named(words):
        _set(fields, name, value)
    return fields


def amended_fields(words: list[str], now: Mapping[str, Value]) -> dict[str, Value]:
    """The top-level fields that the words change, each whole, where the record's fields are `now`."""
    fields: dict[str, Value] = {}
    for name, value in _named(words):
        parts = _split(name)
        top = str(parts[0])
        if top not in fields:
            fields[top] = copy.deepcopy(now.get(top))
        fields[top] = _put(fields[top], parts[1:], value, name)
    return fields


def _put(here: Value, parts: list[str | int], value: Value, name: str) -> Value:
    """`here` with `value` in the place that `parts` lead to, in place of what was there."""
    if not parts:
        return value
    part = parts[0]
    if isinstance(part, int):
        items = here if isinstance(here, list) else []
        index = len(items) if part < 0 else part
        if index > min(len(items), _ITEMS_MAX):
            there = _("{name}: there are {count} items; give the next one")
            raise UsageError(there.format(name=name, count=len(items)))
        rest = _put(items[index] if index < len(items) else None, parts[1:], value, name)
        return [*items[:index], rest, *items[index + 1 :]]
    fields = here if isinstance(here, dict) else {}
    return fields | {part: _put(fields.get(part), parts[1:], value, name)}


def put_field(fields: dict[str, Value], name: str, value: Value) -> None:
    """Set the field of a dotted name. Raises UsageError where another field contradicts it."""
    _set(fields, name, value)


def _named(words: list[str]) -> Iterator[tuple[str, Value]]:
    """(name, value) of each word. Raises UsageError."""
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.strip(":"):
            raise UsageError(f"{word!r} is not FIELD=VALUE")
        value: Value = text
        if name.endswith(":"):
            name = name[:-1]
            try:
                value = _parse_json(text)
            except json.JSONDecodeError as error:
                raise UsageError(f"{name}: {text!r} is not JSON: {error.msg}; for text write {name}=...") from None
            except FormatError as error:
                raise UsageError(f"{name}: {error}") from None
        yield name, value


def _set(fields: dict[str, Value], name: str, value: Value) -> None:
    parts = _split(name)
    here: Value = fields
    for at, part in enumerate(parts):
        last = at == len(parts) - 1
        fresh: Value = value if last else ([] if isinstance(parts[at + 1], int) else {})
        if isinstance(part, int) and isinstance(here, list):
            index = len(here) if part < 0 else part
            if index > min(len(here), _ITEMS_MAX):
                raise UsageError(f"{name}: item {index} comes before item {len(here)} was given")
            if index == len(here):
                here.append(fresh)
            elif last:
                raise UsageError(f"{name} is given twice")
            here = here[index]
        elif isinstance(part, str) and isinstance(here, dict):
            if last and part in here:
                raise UsageError(f"{name} is given twice")
            here = here.setdefault(part, fresh)
        else:
            raise UsageError(f"{name} contradicts another field")


def _split(name: str) -> list[str | int]:
    """The steps of a dotted name; -1 stands for []: after the last item."""
    parts: list[str | int] = []
    at = 0
    while at < len(name):
        match = _PART.match(name, at)
        if match is None or (at > 0 and match[1] and name[at - 1] != "."):
            raise UsageError(f"{name!r} is no field name; write a.b, list[] or list[0].a")
        parts.append(match[1] if match[1] else int(match[2]) if match[2] else -1)
        at = match.end()
        if at < len(name) and name[at] == ".":
            at += 1
            if at == len(name):
                raise UsageError(f"{name!r} ends with a dot")
    if not parts or not isinstance(parts[0], str):
        raise UsageError(f"{name!r} is no field name; write a.b, list[] or list[0].a")
    return parts
