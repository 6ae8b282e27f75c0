"""Answers on a terminal: tables and pages for people, JSON for programs. Colour only where a person looks."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from protocol.codec import Value

_CELL_CHARS_MAX: Final = 60
_BOLD, _DIM, _RED, _END = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"


def print_json(value: object) -> None:
    """One JSON value on one line; byte strings as hexadecimal."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, sort_keys=True, default=_hex) + "\n")
    sys.stdout.flush()


def say(text: str = "") -> None:
    """One line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line for the person, beside the answer."""
    sys.stderr.write(safe(text) + "\n")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be; numbers to the right."""
    cells = [[safe("" if cell is None else str(cell))[:_CELL_CHARS_MAX] for cell in row] for row in rows]
    widths = [max(len(title), *(len(row[at]) for row in cells), 0) for at, title in enumerate(head)]
    numeric = [all(isinstance(row[at], int) or row[at] is None for row in rows) for at in range(len(head))]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    sys.stdout.write(_dim(line(head)) + "\n")
    for row in cells:
        sys.stdout.write(line(row) + "\n")
    sys.stdout.flush()


def when(time_ms: Value) -> str:
    """Local time, to the minute."""
    if not isinstance(time_ms, int):
        return "never"
    return datetime.fromtimestamp(min(time_ms, 253402300799000) / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def safe(text: str) -> str:
    """Text without control characters: what a peer wrote cannot steer this terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


def entry_line(entry: Mapping[str, Value]) -> str:
    """One entry in one line, the newest words first."""
    author = entry.get("author")
    who = f"{author.get('agency')}/{author.get('unit') or author.get('name')}" if isinstance(author, dict) else "?"
    status = entry.get("status")
    mark = "" if status == "ok" else _red(f" [{status}]")
    name = str(entry.get("type") or entry.get("kind"))
    gist = str(entry.get("note") or " ".join(_leaves(entry.get("fields"))))
    head = f"{_bold(str(entry.get('short')))}  {when(entry.get('time_ms'))}  {who:<12} {name:<10}{mark}"
    return f"{head} {safe(gist)[:90]}"


def entry_page(entry: Mapping[str, Value], indent: str = "") -> None:
    """Everything of one entry."""
    author = entry.get("author")
    status = str(entry.get("status"))
    title = f"{entry.get('type') or entry.get('kind')} {entry.get('id')}"
    say(indent + _bold(title) + ("" if status == "ok" else _red(f"  {status.upper()}")))
    if isinstance(author, dict):
        unit = f", {author['unit']}" if author.get("unit") else ""
        say(
            f"{indent}  by    {author.get('name') or author.get('key')} ({author.get('agency') or 'uncertified'}{unit})"
        )
    say(f"{indent}  at    {when(entry.get('time_ms'))}, entry {entry.get('seq')} of that log")
    if entry.get("note"):
        say(f"{indent}  {entry['note']}")
    for name, value in _lines(entry.get("fields"), ""):
        say(f"{indent}  {name}: {value}")
    steps = entry.get("steps")
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict):
            say()
            entry_page(step, indent + "    ")


def _lines(value: Value, name: str) -> list[tuple[str, str]]:
    """Nested fields as dotted names, one a line."""
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in _lines(item, f"{name}.{key}" if name else key)]
    if isinstance(value, list):
        return [line for at, item in enumerate(value) for line in _lines(item, f"{name}[{at}]")]
    return [(name, str(value))]


def _leaves(value: Value) -> list[str]:
    return [text for _, text in _lines(value, "")] if value else []


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _style(code: str, text: str) -> str:
    return f"{code}{text}{_END}" if sys.stdout.isatty() else text


def _bold(text: str) -> str:
    return _style(_BOLD, text)


def _dim(text: str) -> str:
    return _style(_DIM, text)


def _red(text: str) -> str:
    return _style(_RED, text)
