"""A report as one page: HTML that needs nothing else, to look at or to print.

What records say is escaped; there is no script, no link and nothing is fetched. Colour never says anything alone.
An absence is told with the nodes that are not heard from, for they may know more.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from html import escape
from typing import Any, Final

from node.page import MS_MAX, cleaned, escaped, section, table, when_of, whole_page, zone_of
from node.report_map import MAP_REGIONS, Region, region_map
from node.words import noted

_BARS_MAX: Final = 36
_GAP_MONTHS_MAX: Final = 6  # a longer gap is one mark, so that a single wrong year does not push all others away
_CHART_PX, _BAR_PX = 940, 150
_FILL: Final = "#d9975b"
_DIGITS_MAX: Final = 15  # of a mass in grams: more is no mass, and would fill the page with noughts
_ABSENT_MAX: Final = 3
_UNIT_CHARS_MAX: Final = 32
_UNITS: Final = (noted("tablet"), noted("plant"), noted("package"), noted("ml"), noted("l"))  # of what has no mass
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
    parts += [section(title, body or none) for title, body in sections]
    parts += [section(_("Records"), _records(report, _) or none, "rows"), _foot(report, _)]
    return whole_page(": ".join([_("Report"), str(report.get("query") or report.get("network") or "")]), lang, parts)


def _head(report: Mapping[str, Any], _: Translate) -> str:
    title = ": ".join([_("Report"), str(report.get("query") or _("everything"))])
    made = _("made {time} on node {node} of network {network}, which holds {entries} entries").format(
        time=when_of(report.get("made_ms")) or "?", node=report.get("node") or "?",
        network=report.get("network") or "?", entries=report.get("entries", 0),
    )  # fmt: skip
    return f'<h1>{escaped(title)}</h1>\n<p class="made">{escaped(made)}</p>'


def _last_heard(item: Mapping[str, Any], _: Translate) -> str:
    time = when_of(item.get("heard_ms")) or _("never")
    return _("{name} last heard {time}").format(name=item.get("name") or "?", time=time)


def _warning(missing: Sequence[str], _: Translate) -> str:
    if not missing:
        return ""
    told = _("These nodes are not heard from now. What they have written since is not here:")
    rows = "".join(f"<li>{escaped(line)}</li>" for line in missing)
    return f'<div class="warning" role="note"><strong>{escape(told)}</strong><ul>{rows}</ul></div>'


def _figures(report: Mapping[str, Any], _: Translate) -> str:
    """The sums in a row: by agency, as every seizure has one and not every seizure a region on the map."""
    rows = report.get("agencies") or list((report.get("regions") or {}).values())
    requests = report.get("requests") or ()
    late = sum(row.get("state") == "overdue" for row in requests)
    unanswered = "; ".join([_("Unanswered requests"), *([_("OVERDUE") + f": {late}"] if late else [])])
    conflicts = {row.get("id") or row.get("short") for row in report.get("conflicts") or ()}
    figures = (
        (escaped(_total(report)), _("Records")),
        (escaped(sum(_count(row) for row in rows)), _("seizures")),
        (_told_mass(sum((_grams(row.get("mass_g")) for row in rows), Decimal(0)), _), _("mass")),
        (escaped(len(conflicts)), _("Open conflicts")),
        (escaped(len(requests)), unanswered),
    )
    items = "".join(f"<li><strong>{figure}</strong>{escape(told)}</li>" for figure, told in figures)
    return f'<ul class="figures">{items}</ul>'


def _foot(report: Mapping[str, Any], _: Translate) -> str:
    made = _("Made from what this node holds. A joint seizure counts once when both agencies have said that it is one.")
    zone = _("Times are of the zone {zone}.").format(zone=zone_of(report.get("made_ms")))
    return f'<footer><p class="note">{escaped(made)} {escaped(zone)}</p></footer>'


def _none(missing: Sequence[str], _: Translate) -> str:
    """Said of an absence: never of the world, only of here, and who may know more."""
    more = ["…"] if len(missing) > _ABSENT_MAX else []
    told = "; ".join([_("none known here"), *missing[:_ABSENT_MAX], *more])
    return f"<p>{escaped(told)}</p>"


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
    return f"<figure>{drawn}<figcaption>{escaped(' '.join(lines))}</figcaption></figure>"


def _region(code: str, row: Mapping[str, Any], _: Translate) -> Region:
    name, count, mass = cleaned(row.get("name") or code), _count(row), _grams(row.get("mass_g"))
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
    return f"<figure>{drawn}<figcaption>{escaped(' '.join(notes))}</figcaption></figure>"


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
        told = escaped(f"{month}: {counted}, {_mass(mass, _)} ({_exact(mass, _)})")
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
    title = escaped(_("Seizures by month"))
    return (
        f'<svg viewBox="-1 0 {width} {height}" width="{width}" height="{height}" role="group" fill="#1c1c1c" '
        f'aria-label="{title}">{"".join(parts)}'
        f'<line x1="0" y1="{base}" x2="{width - 2}" y2="{base}" stroke="#1c1c1c"/></svg>'
    )


def _beneath(middle: float, top: int, told: str, *, upright: bool) -> str:
    if not upright:
        return f'<text x="{middle:g}" y="{top}" font-size="11" text-anchor="middle">{escaped(told)}</text>'
    x, y = middle + 4, top - 10
    turned = f'x="{x:g}" y="{y}" transform="rotate(-90 {x:g} {y})"'
    return f'<text {turned} font-size="11" text-anchor="end">{escaped(told)}</text>'


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
    told = "".join(f'<p class="note">{escaped(text)}</p>' for text in notes)
    return _amounts(_("agency"), [(str(row.get("agency") or "?"), row) for row in rows], _) + told


def _amounts(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], _: Translate) -> str:
    """A line for each name: its mass as a bar and in figures, what has no mass beside it, the count."""
    most = max((_grams(row.get("mass_g")) for _name, row in rows), default=Decimal(0))
    cells = []
    for name, row in rows:
        mass = _grams(row.get("mass_g"))
        other = ", ".join(f"{amount} {_told_code(unit, _)}" for unit, amount in (row.get("other") or {}).items())
        cells.append((escaped(name), _bar(mass, most), _told_mass(mass, _), escaped(other), _count(row)))
    head = (title, "", _("mass"), _("beside"), _("seizures"))
    return table(head, cells, ("name", "bar", "n", "beside", "n"), "chart") if cells else ""


def _conflicts(rows: Sequence[Mapping[str, Any]], _: Translate) -> str:
    cells = []
    for row in rows:
        values = "".join(
            f"<li>{escaped(_plain(said.get('value'), _))} "
            f'<span class="note">({escaped(said.get("who") or "?")}, {when_of(said.get("time_ms")) or "?"})</span></li>'
            for said in row.get("values") or ()
        )
        listed = f'<ul class="values">{values}</ul>'
        cells.append((_id(row), escaped(row.get("type")), escaped(row.get("field")), listed))
    return table(("id", _("type"), _("field"), _("values")), cells, ("s", "s", "", "w")) if cells else ""


def _requests(rows: Iterable[Mapping[str, Any]], _: Translate) -> str:
    """The overdue first, then by the time that is left."""
    cells = []
    for row in sorted(rows, key=_pressing):
        late = row.get("state") == "overdue"
        state = _("OVERDUE") if late else _told_code(row.get("state"), _)
        due = when_of(row.get("due_ms")) or _("not received yet")
        cells.append((
            _id(row), _unit(row.get("from")), ", ".join(map(_unit, row.get("to") or ())),
            escaped(row.get("question")), escaped(_told_code(row.get("urgency"), _)), escaped(due),
            f'<span class="late">{escaped(state)}</span>' if late else escaped(state),
        ))  # fmt: skip
    head = ("id", _("from"), _("to"), _("question"), _("urgency"), _("due"), _("state"))
    return table(head, cells, ("s", "", "", "w", "s", "s", "s")) if cells else ""


def _pressing(row: Mapping[str, Any]) -> tuple[bool, int]:
    due_ms = row.get("due_ms")
    return row.get("state") != "overdue", due_ms if isinstance(due_ms, int) else MS_MAX


def _records(report: Mapping[str, Any], _: Translate) -> str:
    """The newest first."""
    moments = sorted(((*_moment(row), at, row) for at, row in enumerate(report.get("records") or ())), reverse=True)
    cells = []
    for _ms, moment, _at, row in moments:
        marks = [_("conflict")] if row.get("conflicts") else []
        marks += [_told_code(row["status"], _)] if row.get("status") not in (None, "", "ok") else []
        mark = f' <span class="mark">[{escaped(", ".join(marks))}]</span>' if marks else ""
        where = " ".join(str(part) for part in (row.get("region"), row.get("place")) if part)
        who = f"{row.get('agency') or '?'}/{row.get('unit') or row.get('author') or '?'}"
        what = escaped(row.get("summary")) + mark
        cells.append((_id(row), escaped(moment), escaped(row.get("type")), escaped(where), _unit(who), what))
    if not cells:
        return ""
    total = _total(report)
    more = _("{shown} of {total} records, the newest").format(shown=len(cells), total=total)
    note = f'<p class="note">{escaped(more)}</p>' if total > len(cells) else ""
    head = ("id", _("when"), _("type"), _("where"), _("who"), _("what"))
    return note + table(head, cells, ("s", "s", "s", "", "", "w"))


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
    return written_ms if isinstance(written_ms, int) else 0, given or when_of(written_ms)


def _id(row: Mapping[str, Any]) -> str:
    whole = row.get("id") or row.get("short")
    return f'<code title="{escaped(whole)}">{escaped(row.get("short") or str(whole or "?")[:7])}</code>'


def _unit(name: object) -> str:
    """HTML: a short name, not broken at its hyphen; a long one wraps as it must."""
    told = escaped(name)
    return f'<span class="s">{told}</span>' if len(told) <= _UNIT_CHARS_MAX else told


# -- words --------------------------------------------------------------------------------------------


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
    return f'<span title="{escaped(_exact(grams, _))}">{escaped(_mass(grams, _))}</span>'
