"""A report as one page: HTML that needs nothing else, to look at or to print.

What records say is escaped; there is no script, no link and nothing is fetched. Colour never says anything alone.
An absence is told with the nodes that are not heard from, for they may know more.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from html import escape
from typing import Any, Final

from node.report_map import MAP_REGIONS, Region, region_map
from node.words import noted

_BARS_MAX: Final = 36
_GAP_MONTHS_MAX: Final = 6  # a longer gap is one mark, so that a single wrong year does not push all others away
_CHART_PX, _BAR_PX = 940, 150
_FILL: Final = "#d9975b"
_DIGITS_MAX: Final = 15  # of a mass in grams: more is no mass, and would fill the page with noughts
_MS_MAX: Final = 253_402_214_400_000  # the last day of the year 9999, in any zone
_ABSENT_MAX: Final = 3
_UNIT_CHARS_MAX: Final = 32
_UNITS: Final = (noted("tablet"), noted("plant"), noted("package"), noted("ml"), noted("l"))  # of what has no mass
_STYLE: Final = """
:root { font: 15px/1.45 system-ui, "Noto Sans", "DejaVu Sans", sans-serif; color: #1c1c1c; background: #fff; }
body { max-width: 980px; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .7rem; padding-bottom: .15rem; border-bottom: 2px solid #1c1c1c; }
p.made { margin: 0; color: #444; }
ul.figures { display: flex; flex-wrap: wrap; list-style: none; margin: 1rem 0 0; padding: 0; border: 1px solid #888; }
ul.figures li { flex: 1 1 8rem; padding: .5rem .8rem; border-right: 1px solid #ccc; font-size: .82rem; color: #444; }
ul.figures li:last-child { border-right: 0; }
ul.figures strong { display: block; font-size: 1.35rem; line-height: 1.3; color: #1c1c1c; }
.warning { border: 2px solid #1c1c1c; border-left: 10px solid #a33; padding: .6rem .9rem; margin: 1rem 0; }
.warning ul { margin: .3rem 0 0; padding-left: 1.4rem; }
.warning strong::before { content: "\\26A0\\FE0E\\00A0"; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th, td { text-align: left; vertical-align: top; padding: .28rem .5rem; border-bottom: 1px solid #ccc; }
th { border-bottom: 1.5px solid #555; }
td { overflow-wrap: anywhere; unicode-bidi: isolate; white-space: pre-line; }
td.s { white-space: nowrap; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.w { min-width: 14rem; } span.s { white-space: nowrap; }
table.chart { table-layout: fixed; } th.name, th.beside { width: 25%; } th.bar { width: 26%; } th.n { width: 12%; }
code { font-size: .95em; } .late { font-weight: 700; text-decoration: underline; } .mark { font-weight: 600; }
figure { margin: 0; } figcaption, .note { font-size: .82rem; color: #444; margin: .4rem 0 0; }
svg { display: block; max-width: 100%; height: auto; } svg text { font-family: inherit; }
ul.values { margin: 0; padding-left: 1.1rem; white-space: normal; }
footer { margin-top: 2rem; border-top: 1px solid #888; }
@page {
  size: A4; margin: 15mm 14mm 17mm;
  @bottom-center { content: counter(page) " / " counter(pages); font-size: 8pt; }
}
@media print {
  :root { font-size: 9.5pt; } body { max-width: none; margin: 0; padding: 0; }
  h1, h2 { break-after: avoid; } figure, tr, .warning, ul.figures { break-inside: avoid; }
  section.rows { break-before: page; } thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

Translate = Callable[[str], str]


def render_report(report: Mapping[str, Any], translate: Translate, lang: str) -> str:
    """The page. report: what `hamkor report` gathers; masses are grams as decimal text, times ms since 1970 UTC.

    Cost: O(records). Nothing missing in `report` is an error.
    """
    _ = translate
    missing = [_last_heard(item, _) for item in report.get("not_heard") or ()]
    parts = [_head(report, _), _warning(missing, _), _figures(report, _)]
    sections = (
        (_("Seizures by region"), _map(report, _)),
        (_("Seizures by month"), _timeline(report.get("months") or (), _)),
        (_("Substances"), _substances(report.get("substances") or (), _)),
        (_("Agencies"), _agencies(report.get("agencies") or (), report.get("double") or {}, _)),
        (_("Open conflicts"), _conflicts(report.get("conflicts") or (), _)),
        (_("Unanswered requests"), _requests(report.get("requests") or (), _)),
    )
    none = _none(missing, _)
    parts += [_section(title, body or none) for title, body in sections]
    parts += [_section(_("Records"), _records(report, _) or none, "rows"), _foot(report, _)]
    title = _text(": ".join([_("Report"), str(report.get("query") or report.get("network") or "")]))
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(lang)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part) + "\n</body>\n</html>\n"
    )  # fmt: skip


def _head(report: Mapping[str, Any], _: Translate) -> str:
    title = ": ".join([_("Report"), str(report.get("query") or _("everything"))])
    made = _("made {time} on node {node} of network {network}, which holds {entries} entries").format(
        time=_when(report.get("made_ms")) or "?", node=report.get("node") or "?", network=report.get("network") or "?",
        entries=report.get("entries", 0),
    )  # fmt: skip
    return f'<h1>{_text(title)}</h1>\n<p class="made">{_text(made)}</p>'


def _last_heard(item: Mapping[str, Any], _: Translate) -> str:
    time = _when(item.get("heard_ms")) or _("never")
    return _("{name} last heard {time}").format(name=item.get("name") or "?", time=time)


def _warning(missing: Sequence[str], _: Translate) -> str:
    if not missing:
        return ""
    told = _("These nodes are not heard from now. What they have written since is not here:")
    rows = "".join(f"<li>{_text(line)}</li>" for line in missing)
    return f'<div class="warning" role="note"><strong>{escape(told)}</strong><ul>{rows}</ul></div>'


def _figures(report: Mapping[str, Any], _: Translate) -> str:
    """The sums in a row: by agency, as every seizure has one and not every seizure a region on the map."""
    rows = report.get("agencies") or list((report.get("regions") or {}).values())
    requests = report.get("requests") or ()
    late = sum(row.get("state") == "overdue" for row in requests)
    unanswered = "; ".join([_("Unanswered requests"), *([_("OVERDUE") + f": {late}"] if late else [])])
    figures = (
        (_text(_total(report)), _("Records")),
        (_text(sum(_count(row) for row in rows)), _("seizures")),
        (_told_mass(sum((_grams(row.get("mass_g")) for row in rows), Decimal(0)), _), _("mass")),
        (_text(len({row.get("id") or row.get("short") for row in report.get("conflicts") or ()})), _("Open conflicts")),
        (_text(len(requests)), unanswered),
    )
    items = "".join(f"<li><strong>{figure}</strong>{escape(told)}</li>" for figure, told in figures)
    return f'<ul class="figures">{items}</ul>'


def _section(title: str, body: str, kind: str = "") -> str:
    opened = f'<section class="{kind}">' if kind else "<section>"
    return f"{opened}\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def _foot(report: Mapping[str, Any], _: Translate) -> str:
    made = _("Made from what this node holds. A joint seizure counts once when both agencies have said that it is one.")
    zone = _("Times are of the zone {zone}.").format(zone=_zone(report.get("made_ms")))
    return f'<footer><p class="note">{_text(made)} {_text(zone)}</p></footer>'


def _none(missing: Sequence[str], _: Translate) -> str:
    """Said of an absence: never of the world, only of here, and who may know more."""
    more = ["…"] if len(missing) > _ABSENT_MAX else []
    told = "; ".join([_("none known here"), *missing[:_ABSENT_MAX], *more])
    return f"<p>{_text(told)}</p>"


# -- pictures -----------------------------------------------------------------------------------------


def _map(report: Mapping[str, Any], _: Translate) -> str:
    given = report.get("regions") or {}
    regions = {code: _region(code, given.get(code) or {}, _) for code in MAP_REGIONS}
    drawn = region_map(regions, lambda mass: _mass(mass, _), _)
    note = _("Schematic map: borders are drawn roughly. Darker is more mass; the figure in a box counts seizures.")
    lines = [note]
    elsewhere = sum(map(_count, report.get("agencies") or ())) - sum(region.count for region in regions.values())
    if elsewhere > 0:
        lines.append(_("Seizures in no region of this map: {count}.").format(count=elsewhere))
    return f"<figure>{drawn}<figcaption>{_text(' '.join(lines))}</figcaption></figure>"


def _region(code: str, row: Mapping[str, Any], _: Translate) -> Region:
    name, count, mass = _clean(row.get("name") or code), _count(row), _grams(row.get("mass_g"))
    told = _("{count} seizures").format(count=count)
    return Region(name, count, mass, f"{name}: {told}, {_mass(mass, _)} ({_exact(mass, _)})")


def _timeline(rows: Sequence[Mapping[str, Any]], _: Translate) -> str:
    """A bar for each month by count, with the count above and the mass beneath; empty where there are no rows."""
    if not rows:
        return ""
    slots = _slots(rows)
    shown = slots[-_BARS_MAX:]
    notes = [_("Above each bar the number of seizures, beneath it their mass.")] if shown else []
    left_out = sum(bool(month and row) for month, row in slots[: len(slots) - len(shown)])
    if left_out:
        notes.append(_("{count} earlier months are left out").format(count=left_out) + ".")
    undated = sum(_count(row) for row in rows if not _is_month(row.get("month")))
    if undated:
        notes.append(_("Seizures of no known month: {count}.").format(count=undated))
    drawn = _bars(shown, _) if shown else ""
    return f"<figure>{drawn}<figcaption>{_text(' '.join(notes))}</figcaption></figure>"


def _is_month(month: object) -> bool:
    return isinstance(month, str) and re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month) is not None


def _slots(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """(month, row) in order; short gaps are filled with empty rows, a long one is a single slot without a month."""
    slots: list[tuple[str, Mapping[str, Any]]] = []
    before = None
    for row in sorted((row for row in rows if _is_month(row.get("month"))), key=lambda row: str(row["month"])):
        year, month = map(int, row["month"].split("-"))
        number = year * 12 + month - 1
        gap = range(number if before is None else before + 1, number)
        if len(gap) > _GAP_MONTHS_MAX:
            slots.append(("", {}))
        else:
            slots += [(f"{empty // 12:04}-{empty % 12 + 1:02}", {}) for empty in gap]
        slots.append((row["month"], row))
        before = number
    return slots


def _bars(slots: Sequence[tuple[str, Mapping[str, Any]]], _: Translate) -> str:
    wide = min(76, _CHART_PX // len(slots))
    upright = wide < 62  # too narrow for a mass in one line
    base = _BAR_PX + 24
    most = max(_count(row) for _month, row in slots) or 1
    parts, year = [], ""
    for at, (month, row) in enumerate(slots):
        left, middle, count, mass = at * wide, at * wide + wide / 2, _count(row), _grams(row.get("mass_g"))
        if not month:
            parts.append(f'<text x="{middle:g}" y="{base - 6}" font-size="14" text-anchor="middle">…</text>')
            continue
        tall = round(_BAR_PX * count / most)
        counted = _("{count} seizures").format(count=count)
        told = _text(f"{month}: {counted}, {_mass(mass, _)} ({_exact(mass, _)})")
        words = [f'<text x="{middle:g}" y="{base + 15}" font-size="11" text-anchor="middle">{month[5:]}</text>']
        if count:
            words.append(
                f'<rect x="{left + 4}" y="{base - tall}" width="{wide - 8}" height="{tall}" fill="{_FILL}"'
                f' stroke="#4a4a4a"/><text x="{middle:g}" y="{base - tall - 5}" font-size="12" font-weight="600"'
                f' text-anchor="middle">{count}</text>'
            )
        if mass > 0:
            words.append(_beneath(middle, base + 50, _mass(mass, _), upright=upright))
        if month[:4] != year:
            year = month[:4]
            words.append(
                f'<line x1="{left}" y1="{base}" x2="{left}" y2="{base + 34}" stroke="#888"/>'
                f'<text x="{left + 3}" y="{base + 31}" font-size="11" font-weight="600">{year}</text>'
            )
        parts.append(f'<g role="img" aria-label="{told}"><title>{told}</title>{"".join(words)}</g>')
    width, height = len(slots) * wide + 2, base + (112 if upright else 58)
    title = _text(_("Seizures by month"))
    return (
        f'<svg viewBox="-1 0 {width} {height}" width="{width}" height="{height}" role="group" fill="#1c1c1c" '
        f'aria-label="{title}">{"".join(parts)}'
        f'<line x1="0" y1="{base}" x2="{width - 2}" y2="{base}" stroke="#1c1c1c"/></svg>'
    )


def _beneath(middle: float, top: int, told: str, *, upright: bool) -> str:
    if not upright:
        return f'<text x="{middle:g}" y="{top}" font-size="11" text-anchor="middle">{_text(told)}</text>'
    x, y = middle + 4, top - 10
    turned = f'x="{x:g}" y="{y}" transform="rotate(-90 {x:g} {y})"'
    return f'<text {turned} font-size="11" text-anchor="end">{_text(told)}</text>'


def _bar(mass: Decimal, most: Decimal) -> str:
    wide = max(2, round(220 * mass / most)) if mass > 0 else 0
    return (
        f'<svg viewBox="0 0 222 14" width="222" height="14" aria-hidden="true">'
        f'<rect x="1" y="1" width="{wide}" height="12" fill="{_FILL}" stroke="#4a4a4a"/></svg>'
        if wide
        else ""
    )


# -- tables -------------------------------------------------------------------------------------------


def _substances(rows: Sequence[Mapping[str, Any]], _: Translate) -> str:
    return _amounts(_("substance"), [(str(row.get("name") or row.get("substance") or "?"), row) for row in rows], _)


def _agencies(rows: Sequence[Mapping[str, Any]], double: Mapping[str, Any], _: Translate) -> str:
    notes = []
    if double.get("same"):
        notes.append(_("{count} reports left out: the same event is counted once").format(count=double["same"]))
    if double.get("possibly"):
        notes.append(_("{count} pairs are possibly the same, and counted twice").format(count=double["possibly"]))
    told = "".join(f'<p class="note">{_text(text)}</p>' for text in notes)
    return _amounts(_("agency"), [(str(row.get("agency") or "?"), row) for row in rows], _) + told


def _amounts(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], _: Translate) -> str:
    """A line for each name: its mass as a bar and in figures, what has no mass beside it, the count."""
    most = max((_grams(row.get("mass_g")) for _name, row in rows), default=Decimal(0))
    cells = []
    for name, row in rows:
        mass = _grams(row.get("mass_g"))
        other = ", ".join(f"{amount} {_told_code(unit, _)}" for unit, amount in (row.get("other") or {}).items())
        cells.append((_text(name), _bar(mass, most), _told_mass(mass, _), _text(other), _count(row)))
    head = (title, "", _("mass"), _("beside"), _("seizures"))
    return _table(head, cells, ("name", "bar", "n", "beside", "n"), "chart") if cells else ""


def _conflicts(rows: Sequence[Mapping[str, Any]], _: Translate) -> str:
    cells = []
    for row in rows:
        values = "".join(
            f"<li>{_text(_plain(said.get('value'), _))} "
            f'<span class="note">({_text(said.get("who") or "?")}, {_when(said.get("time_ms")) or "?"})</span></li>'
            for said in row.get("values") or ()
        )
        listed = f'<ul class="values">{values}</ul>'
        cells.append((_id(row), _text(row.get("type")), _text(row.get("field")), listed))
    return _table(("id", _("type"), _("field"), _("values")), cells, ("s", "s", "", "w")) if cells else ""


def _requests(rows: Iterable[Mapping[str, Any]], _: Translate) -> str:
    """The overdue first, then by the time that is left."""
    cells = []
    for row in sorted(rows, key=_pressing):
        late = row.get("state") == "overdue"
        state = _("OVERDUE") if late else _told_code(row.get("state"), _)
        due = _when(row.get("due_ms")) or _("not received yet")
        cells.append((
            _id(row), _unit(row.get("from")), ", ".join(map(_unit, row.get("to") or ())),
            _text(row.get("question")), _text(_told_code(row.get("urgency"), _)), _text(due),
            f'<span class="late">{_text(state)}</span>' if late else _text(state),
        ))  # fmt: skip
    head = ("id", _("from"), _("to"), _("question"), _("urgency"), _("due"), _("state"))
    return _table(head, cells, ("s", "", "", "w", "s", "s", "s")) if cells else ""


def _pressing(row: Mapping[str, Any]) -> tuple[bool, int]:
    due_ms = row.get("due_ms")
    return row.get("state") != "overdue", due_ms if isinstance(due_ms, int) else _MS_MAX


def _records(report: Mapping[str, Any], _: Translate) -> str:
    """The newest first."""
    moments = sorted(((*_moment(row), at, row) for at, row in enumerate(report.get("records") or ())), reverse=True)
    cells = []
    for _ms, moment, _at, row in moments:
        marks = [_("conflict")] if row.get("conflicts") else []
        marks += [_told_code(row["status"], _)] if row.get("status") not in (None, "", "ok") else []
        mark = f' <span class="mark">[{_text(", ".join(marks))}]</span>' if marks else ""
        where = " ".join(str(part) for part in (row.get("region"), row.get("place")) if part)
        who = f"{row.get('agency') or '?'}/{row.get('unit') or row.get('author') or '?'}"
        what = _text(row.get("summary")) + mark
        cells.append((_id(row), _text(moment), _text(row.get("type")), _text(where), _unit(who), what))
    if not cells:
        return ""
    total = _total(report)
    more = _("{shown} of {total} records, the newest").format(shown=len(cells), total=total)
    note = f'<p class="note">{_text(more)}</p>' if total > len(cells) else ""
    head = ("id", _("when"), _("type"), _("where"), _("who"), _("what"))
    return note + _table(head, cells, ("s", "s", "s", "", "", "w"))


def _total(report: Mapping[str, Any]) -> int:
    return max(int(report.get("records_total") or 0), len(report.get("records") or ()))


def _moment(row: Mapping[str, Any]) -> tuple[int, str]:
    """(ms since 1970, text): when it happened, else when it was written. A time that cannot be read stays as it is."""
    given = str(row.get("time") or "")
    try:
        parsed = datetime.fromisoformat(given)
        if parsed.tzinfo is not None:
            return int(parsed.timestamp() * 1000), parsed.astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        pass
    written_ms = row.get("time_ms")
    return written_ms if isinstance(written_ms, int) else 0, given or _when(written_ms)


def _id(row: Mapping[str, Any]) -> str:
    whole = row.get("id") or row.get("short")
    return f'<code title="{_text(whole)}">{_text(row.get("short") or str(whole or "?")[:7])}</code>'


def _unit(name: object) -> str:
    """HTML: a short name, not broken at its hyphen; a long one wraps as it must."""
    told = _text(name)
    return f'<span class="s">{told}</span>' if len(told) <= _UNIT_CHARS_MAX else told


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], kinds: Sequence[str], whole: str = "") -> str:
    """Cells are HTML already. kinds: the class of each column, or an empty string; whole: that of the table."""
    opened = f'<table class="{whole}">' if whole else "<table>"
    classes = [f' class="{kind}"' if kind else "" for kind in kinds]
    titles = "".join(f"<th{kind}>{escape(title)}</th>" for title, kind in zip(head, classes, strict=True))
    lines = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    )
    return f"{opened}\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


# -- words --------------------------------------------------------------------------------------------


def _clean(value: object) -> str:
    """Text without what could turn it round or hide in it."""
    plain = "" if value is None else str(value)
    return "".join(
        letter if letter.isprintable() or letter == "\n" else " " if letter.isspace() else "\ufffd" for letter in plain
    )


def _text(value: object) -> str:
    """Clean and escaped."""
    return escape(_clean(value))


def _plain(value: object, _: Translate) -> str:
    if value is None:
        return _("removed")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _told_code(code: object, _: Translate) -> str:
    """A word that came as a code; nothing for nothing, as a catalogue answers an empty message with its header."""
    return _(str(code)) if code else ""


def _count(row: Mapping[str, Any]) -> int:
    return int(row.get("count") or 0)


def _grams(value: object) -> Decimal:
    """A mass; 0 for what is none."""
    try:
        found = Decimal(str(value or 0))
    except InvalidOperation:
        return Decimal(0)
    return found if found.is_finite() and abs(found.adjusted()) < _DIGITS_MAX else Decimal(0)


def _mass(grams: Decimal, _: Translate) -> str:
    """A mass for people: 950 g, 24.35 kg, 1.2 t."""
    if grams >= 1_000_000:
        return _("{mass} t").format(mass=_rounded(grams / 1_000_000))
    if grams >= 1000:
        return _("{mass} kg").format(mass=_rounded(grams / 1000))
    return _exact(grams, _)


def _rounded(number: Decimal) -> str:
    return f"{number.quantize(Decimal('0.01')).normalize():f}"


def _exact(grams: Decimal, _: Translate) -> str:
    return _("{mass} g").format(mass=f"{grams.normalize():f}")


def _told_mass(grams: Decimal, _: Translate) -> str:
    """HTML: a mass for people, with the exact grams where the pointer rests."""
    return f'<span title="{_text(_exact(grams, _))}">{_text(_mass(grams, _))}</span>'


def _when(time_ms: object) -> str:
    if not isinstance(time_ms, int):
        return ""
    return _local(time_ms).strftime("%Y-%m-%d %H:%M")


def _zone(time_ms: object) -> str:
    offset = _local(time_ms if isinstance(time_ms, int) else 0).strftime("%z")
    return f"UTC{offset[:3]}:{offset[3:5]}"


def _local(time_ms: int) -> datetime:
    return datetime.fromtimestamp(max(0, min(time_ms, _MS_MAX)) / 1000, UTC).astimezone()
