"""Answers on a terminal: tables and pages for people, JSON for programs. Colour only where a person looks.

What others wrote cannot steer the terminal: whatever is printed here passes through `safe`, or as JSON with
everything that is not printable escaped.
"""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from keys.errors import LocalError
from protocol.codec import Value

_CELL_CHARS_MAX: Final = 60
_LINE_CHARS_MAX: Final = 90
# what json.dumps leaves as it is, though a terminal may act on it or hide it
_UNSEEN: Final = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_BOLD, _DIM, _RED, _END = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"


def print_json(value: object) -> None:
    """One JSON value on one line; byte strings as hexadecimal."""
    ascii_only = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=ascii_only, sort_keys=True, default=_hex)
    _write(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def say(text: str = "") -> None:
    """One line, or several."""
    _write(safe(text))


def _write(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalError(f"the answer could not be written: {error.strerror}") from None


def note(text: str) -> None:
    """One line for the person, beside the answer."""
    sys.stderr.write(safe(text) + "\n")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be; numbers to the right."""
    cells = [[_one_line("" if cell is None else str(cell))[:_CELL_CHARS_MAX] for cell in row] for row in rows]
    widths = [max(len(title), *(len(row[at]) for row in cells), 0) for at, title in enumerate(head)]
    numeric = [all(isinstance(row[at], int) or row[at] is None for row in rows) for at in range(len(head))]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    _write("\n".join([_dim(line(head)), *map(line, cells)]))


def when(time_ms: Value) -> str:
    """Local time, to the minute."""
    if not isinstance(time_ms, int):
        return "never"
    return datetime.fromtimestamp(min(time_ms, 253402300799000) / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def safe(text: str) -> str:
    """Text without control characters, ends of lines excepted."""
    letters = text.replace("\t", " ")
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in letters)


def _one_line(text: str) -> str:
    return " ".join(safe(text).split("\n"))


def entry_line(entry: Mapping[str, Value]) -> None:
    """One entry in one line: id, time, author, what it is, the beginning of what it says."""
    author = entry.get("author")
    who = "?"
    if isinstance(author, dict):
        who = f"{author.get('agency') or 'uncertified'}/{author.get('unit') or author.get('name') or author['key']}"
    status = entry.get("status")
    mark = "" if status == "ok" else _red(f" [{status}]")
    name = str(entry.get("type") or entry.get("kind"))
    gist = str(entry.get("note") or " ".join(_leaves(entry.get("fields"))))
    head = f"{_bold(str(entry.get('short')))}  {when(entry.get('time_ms'))}  {_one_line(who)[:24]:<12}"
    _write(f"{head} {_one_line(name):<10}{mark} {_one_line(gist)[:_LINE_CHARS_MAX]}")


def entry_page(entry: Mapping[str, Value], indent: str = "") -> None:
    """Everything of one entry."""
    author = entry.get("author")
    status = str(entry.get("status"))
    title = f"{entry.get('type') or entry.get('kind')} {entry.get('id')}"
    _write(indent + _bold(title) + ("" if status == "ok" else _red(f"  {status.upper()}")))
    if isinstance(author, dict):
        unit = f", {author['unit']}" if author.get("unit") else ""
        say(
            f"{indent}  by    {author.get('name') or author.get('key')} ({author.get('agency') or 'uncertified'}{unit})"
        )
    say(f"{indent}  at    {when(entry.get('time_ms'))}, entry {entry.get('seq')} of that log")
    if entry.get("note"):
        say(f"{indent}  {entry['note']}")
    for name, value in _lines(entry.get("fields"), ""):
        text = value.replace("\n", f"\n{indent}    ")  # what was written in lines cannot look like lines of ours
        say(f"{indent}  {_one_line(name)}: {text}")
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
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"{code}{safe(text)}{_END}" if coloured else safe(text)


def _bold(text: str) -> str:
    return _style(_BOLD, text)


def _dim(text: str) -> str:
    return _style(_DIM, text)


def _red(text: str) -> str:
    return _style(_RED, text)
