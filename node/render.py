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
from typing import Any, Final

from keys.errors import LocalError
from node.words import _
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
        return _("never")
    return datetime.fromtimestamp(min(time_ms, 253402300799000) / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def safe(text: str) -> str:
    """Text without control characters, ends of lines excepted."""
    letters = text.replace("\t", " ")
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in letters)


def _one_line(text: str) -> str:
    return " ".join(safe(text).split("\n"))


def span(time_ms: int) -> str:
    """A length of time for people: 3 d 4 h, 5 h 20 min, 12 min."""
    minutes = max(0, time_ms) // 60_000
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return _("{days} d {hours} h").format(days=days, hours=hours)
    return _("{hours} h {minutes} min").format(hours=hours, minutes=minutes) if hours else f"{minutes} min"


def who_of(item: Mapping[str, Any]) -> str:
    """The author of an entry or a value: agency/unit, and the name where there is one."""
    author = item.get("author")
    if not isinstance(author, Mapping):
        return "?"
    where = f"{author.get('agency') or _('uncertified')}/{author.get('unit') or str(author['key'])[:8]}"
    return _one_line(f"{where} {author.get('name') or ''}").rstrip()


def _place_of(item: Mapping[str, Any]) -> str:
    author = item.get("author")
    if not isinstance(author, Mapping):
        return "?"
    return _one_line(
        f"{author.get('agency') or _('uncertified')}/{author.get('unit') or author.get('name') or author['key']}"
    )


def entry_line(entry: Mapping[str, Any]) -> None:
    """One entry in one line: id, time, author, what it is, the beginning of what it says."""
    status = entry.get("status")
    mark = "" if status == "ok" else red(f" [{_(str(status))}]")
    name = str(entry.get("type") or entry.get("kind"))
    gist = masked_text(entry) or str(entry.get("note") or " ".join(_leaves(entry.get("fields"))))
    head = f"{_bold(str(entry.get('short')))}  {when(entry.get('time_ms'))}  {_place_of(entry)[:24]:<12}"
    _write(f"{head} {_one_line(name):<10}{mark} {_one_line(gist)[:_LINE_CHARS_MAX]}")


def masked_text(row: Mapping[str, Any]) -> str:
    """What stands in place of a marked record's content; empty where the row is whole."""
    return _("marked {mark}: --why shows it").format(mark=row.get("marked")) if row.get("masked") else ""


def hit_line(hit: Mapping[str, Any]) -> None:
    """One record in one line: id, when it was written, by whom, type, region, what it is about, what is unsettled."""
    marks = [] if hit.get("status") == "ok" else [_(str(hit.get("status")))]
    marks += [_("conflict")] if hit.get("conflicts") else []
    marks += [_("proposed")] if hit.get("proposals") else []
    marks += [_("retracted")] if hit.get("retracted") else []
    fields = hit.get("fields") or {}
    parts = (
        _bold(str(hit["short"])), when(hit.get("time_ms")), f"{_place_of(hit)[:24]:<12}",
        f"{_one_line(str(hit.get('type') or hit.get('kind'))):<9}", f"{_one_line(str(fields.get('region', ''))):<5}",
        _one_line(masked_text(hit) or str(hit.get("summary", "")))[:_LINE_CHARS_MAX],
    )  # fmt: skip
    _write("  ".join(parts).rstrip() + (red(f"  [{', '.join(marks)}]") if marks else ""))


def entry_page(entry: Mapping[str, Any], indent: str = "") -> None:
    """Everything of one entry; of a record, as it stands now."""
    author = entry.get("author")
    status = str(entry.get("status"))
    title = f"{entry.get('type') or entry.get('kind')} {entry.get('id')}"
    _write(indent + _bold(title) + ("" if status == "ok" else red(f"  {_(status).upper()}")))
    if isinstance(author, dict):
        unit = f", {author['unit']}" if author.get("unit") else ""
        name = author.get("name") or author.get("key")
        said = _("by {name} ({agency}{unit})")
        say(f"{indent}  " + said.format(name=name, agency=author.get("agency") or _("uncertified"), unit=unit))
    at = _("at {time}, entry {seq} of that log")
    say(f"{indent}  " + at.format(time=when(entry.get("time_ms")), seq=entry.get("seq")))
    if entry.get("marked"):
        say(f"{indent}  " + _("marked {mark}").format(mark=entry["marked"]))
    if entry.get("note"):
        say(f"{indent}  {entry['note']}")
    if entry.get("retracted"):
        _write(indent + "  " + red(_("retracted: {reason}").format(reason=entry["retracted"])))
    for name, value in lines_of(entry.get("fields"), ""):
        text = value.replace("\n", f"\n{indent}    ")  # what was written in lines cannot look like lines of ours
        say(f"{indent}  {_one_line(name)}: {text}")
    _unsettled(entry, indent)
    for item in entry.get("links") or ():
        say(f"{indent}  → {item['relation']} {item['to'][:12]} ({', '.join(item['by'])})")
    for item in entry.get("linked_from") or ():
        say(f"{indent}  ← {item['relation']} {item['short']}")
    if entry.get("tags"):
        say(f"{indent}  " + _("tags: {tags}").format(tags=", ".join(entry["tags"])))
    for item in entry.get("files") or ():
        line = _("file: {name} ({size} B, here)") if item.get("here") else _("file: {name} ({size} B, not fetched)")
        say(f"{indent}  " + line.format(name=item.get("name"), size=item.get("size")))
    for step in entry.get("steps") or ():
        say()
        entry_page(step, indent + "    ")
    if entry.get("left_out"):
        told = _("{count} steps have no effect: their agency keeps too much standing in this record")
        _write(indent + "  " + red(told.format(count=entry["left_out"])))
    if entry.get("waits_for"):
        say(f"{indent}  " + _("waits for record {id}, which is not here").format(id=entry["waits_for"][:12]))


def _unsettled(entry: Mapping[str, Any], indent: str) -> None:
    for name, values in (entry.get("conflicts") or {}).items():
        _write(indent + "  " + red(_("{field}: IN CONFLICT").format(field=name)))
        for said in values:
            _said(said.get("value"), said, indent, removed=bool(said.get("removed")))
    proposals = entry.get("proposals")
    for proposal in proposals if isinstance(proposals, list) else ():
        for name, value in proposal["set"].items():
            _write(indent + "  " + _one_line(_("{field}: proposed").format(field=name)))
            _said(value, proposal, indent, removed=value is None)


def _said(value: Any, said: Mapping[str, Any], indent: str, *, removed: bool) -> None:
    text = _("removed") if removed else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    say(f"{indent}      {_one_line(text)}  ({who_of(said)}, {when(said['time_ms'])}, {said['short']})")


def lines_of(value: Value, name: str) -> list[tuple[str, str]]:
    """Nested fields as dotted names, one a line."""
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in lines_of(item, f"{name}.{key}" if name else key)]
    if isinstance(value, list):
        return [line for at, item in enumerate(value) for line in lines_of(item, f"{name}[{at}]")]
    return [(name, str(value))]


def _leaves(value: Value) -> list[str]:
    return [text for _name, text in lines_of(value, "")] if value else []


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


def red(text: str) -> str:
    """What needs attention."""
    return _style(_RED, text)
