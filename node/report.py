"""A report as one page: HTML that needs nothing else, to look at or to print.

What records say is escaped; there is no script, no link and nothing is fetched. Colour never says anything alone.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from html import escape
from typing import Any, Final

_TILES: Final = {  # where each region lies on the map, roughly: column, row
    "UZ-QR": (0, 0), "UZ-XO": (0, 1), "UZ-NW": (1, 1), "UZ-BU": (1, 2), "UZ-JI": (2, 1), "UZ-SA": (2, 2),
    "UZ-QA": (2, 3), "UZ-SU": (3, 3), "UZ-SI": (3, 1), "UZ-TK": (3, 0), "UZ-TO": (4, 0), "UZ-NG": (5, 0),
    "UZ-FA": (5, 1), "UZ-AN": (6, 0),
}  # fmt: skip
_TILE_PX: Final = (118, 78)
_STEPS: Final = ("#ffffff", "#f3dcc4", "#e3ad7c", "#c97a3f", "#8f4a1b")  # none, then four from little to much
_BARS_MAX: Final = 36
_STYLE: Final = """
:root { font: 15px/1.45 system-ui, "Noto Sans", sans-serif; color: #1c1c1c; }
body { max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; border-bottom: 2px solid #1c1c1c; }
p.made { margin: 0; color: #555; } .warning { border: 2px solid #a33; padding: .6rem .9rem; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; padding: .28rem .5rem; border-bottom: 1px solid #ccc; }
th { border-bottom: 1.5px solid #555; } td { overflow-wrap: anywhere; } td:first-child { white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.late { font-weight: 700; text-decoration: underline; } .mark { font-weight: 600; }
figure { margin: 0; } figcaption, .note { font-size: .82rem; color: #555; }
svg { display: block; max-width: 100%; height: auto; } svg text { font-family: inherit; }
ul { margin: .2rem 0; padding-left: 1.2rem; }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 10.5pt; } h2 { break-after: avoid; }
  figure, tr, .warning { break-inside: avoid; } thead { display: table-header-group; } @page { margin: 16mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

Translate = Callable[[str], str]


def render_report(report: Mapping[str, Any], translate: Translate, lang: str) -> str:
    """The page. report: what `hamkor report` gathers; masses are grams as decimal text, times ms since 1970 UTC.

    Cost: O(records). Nothing missing in `report` is an error.
    """
    _ = translate
    parts = [
        _head(report, _),
        _warning(report.get("not_heard") or (), _),
        _section(_("Seizures by region"), _map(report.get("regions") or {}, _)),
        _section(_("Seizures by month"), _timeline(report.get("months") or (), _)),
        _section(_("Substances"), _substances(report.get("substances") or (), _)),
        _section(_("Agencies"), _agencies(report.get("agencies") or (), report.get("double") or {}, _)),
        _section(_("Open conflicts"), _conflicts(report.get("conflicts") or (), _)),
        _section(_("Unanswered requests"), _requests(report.get("requests") or (), _)),
        _section(_("Records"), _records(report, _)),
    ]
    title = _("Report")
    foot = _("Made from what this node holds. A joint seizure counts once when both agencies have said that it is one.")
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(lang)}">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}: {_text(report.get('query') or report.get('network'))}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts)
        + f'\n<p class="note">{escape(foot)}</p>\n</body>\n</html>\n'
    )  # fmt: skip


def _head(report: Mapping[str, Any], _: Translate) -> str:
    title = escape(_("Report"))
    asked = report.get("query") or _("everything")
    made = _("made {time} on node {node} of network {network}, which holds {entries} entries").format(
        time=_when(report.get("made_ms")), node=report.get("node") or "?", network=report.get("network") or "?",
        entries=report.get("entries", 0),
    )  # fmt: skip
    return f'<h1>{title}: {_text(asked)}</h1>\n<p class="made">{_text(made)}</p>'


def _warning(missing: Iterable[Mapping[str, Any]], _: Translate) -> str:
    line = _("{name} last heard {time}")
    times = [(item.get("name"), _when(item.get("heard_ms")) or _("never")) for item in missing]
    rows = "".join(f"<li>{_text(line.format(name=name, time=time))}</li>" for name, time in times)
    if not rows:
        return ""
    told = _("These nodes are not heard from now. What they have written since is not here:")
    return f'<div class="warning"><strong>{escape(told)}</strong><ul>{rows}</ul></div>'


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


# -- pictures -----------------------------------------------------------------------------------------


def _map(regions: Mapping[str, Mapping[str, Any]], _: Translate) -> str:
    """A tile for each region, placed as the regions lie, darker with mass, with mass and count written in it."""
    most = max((_grams(region.get("mass_g")) for region in regions.values()), default=Decimal(0))
    wide, high = _TILE_PX
    tiles = []
    for code, (column, row) in _TILES.items():
        region = regions.get(code, {})
        mass, count = _grams(region.get("mass_g")), int(region.get("count") or 0)
        step = 0 if not count else 1 if not mass or not most else min(4, 1 + int(4 * mass / most))
        ink = "#ffffff" if step == 4 else "#1c1c1c"
        x, y = 4 + column * wide, 4 + row * high
        name = str(region.get("name") or code)
        short = name.split()[0] if code != "UZ-TK" else name
        size = 13 if len(short) < 14 else 10
        told = _("{count} seizures").format(count=count)
        lines = (
            f'<text x="{x + 8}" y="{y + 21}" font-size="{size}" font-weight="600">{_text(short[:18])}</text>'
            f'<text x="{x + 8}" y="{y + 41}" font-size="13">{_text(_mass(mass)) if count else "–"}</text>'
            f'<text x="{x + 8}" y="{y + 59}" font-size="12">{_text(told) if count else ""}</text>'
        )
        tiles.append(
            f'<g fill="{ink}"><title>{_text(name)}: {_text(told)}, {mass:f} g</title>'
            f'<rect x="{x}" y="{y}" width="{wide - 6}" height="{high - 6}" rx="4" fill="{_STEPS[step]}" stroke="#555"/>'
            f"{lines}</g>"
        )
    width, height = 8 + 7 * wide, 8 + 4 * high
    title = _("Seizures by region")
    note = _("Regions where they lie, not in shape. Darker is more mass, against the largest: {mass}.")
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        f'width="{width}" height="{height}">{"".join(tiles)}</svg>'
        f"<figcaption>{_text(note.format(mass=_mass(most)))}</figcaption></figure>"
    )


def _timeline(months: Sequence[Mapping[str, Any]], _: Translate) -> str:
    """A bar for each month by count, with the count above and the mass beneath."""
    shown = list(months)[-_BARS_MAX:]
    if not shown:
        return _none(_)
    most = max(int(month.get("count") or 0) for month in shown) or 1
    wide = max(26, min(64, 820 // len(shown)))
    bars = []
    for at, month in enumerate(shown):
        count = int(month.get("count") or 0)
        tall = round(120 * count / most)
        x = at * wide
        label = str(month.get("month") or "?")
        bars.append(
            f"<g><title>{_text(label)}: {count}, {_text(_mass(_grams(month.get('mass_g'))))}</title>"
            f'<rect x="{x + 3}" y="{140 - tall}" width="{wide - 6}" height="{tall}" fill="#c97a3f" stroke="#555"/>'
            f'<text x="{x + wide / 2}" y="{134 - tall}" font-size="11" text-anchor="middle">{count}</text>'
            f'<text x="{x + wide / 2}" y="156" font-size="10" text-anchor="middle">{_text(label[2:])}</text></g>'
        )  # fmt: skip
    left_out = len(months) - len(shown)
    note = (
        f'<p class="note">{_text(_("{count} earlier months are left out").format(count=left_out))}</p>'
        if left_out
        else ""
    )
    width = len(shown) * wide
    title = _("Seizures by month")
    return (
        f'<figure><svg viewBox="0 0 {width} 164" width="{width}" height="164" role="img" '
        f'aria-label="{escape(title)}">{"".join(bars)}</svg></figure>{note}'
    )


def _substances(rows: Sequence[Mapping[str, Any]], _: Translate) -> str:
    if not rows:
        return _none(_)
    most = max((_grams(row.get("mass_g")) for row in rows), default=Decimal(0)) or Decimal(1)
    cells = []
    for row in rows:
        mass = _grams(row.get("mass_g"))
        other = ", ".join(f"{amount} {unit}" for unit, amount in (row.get("other") or {}).items())
        wide = round(float(200 * mass / most))
        bar = f'<svg width="200" height="12" aria-hidden="true"><rect width="{wide}" height="12" fill="#c97a3f"/></svg>'
        cells.append(
            (
                _text(row.get("name") or row.get("substance") or "?"),
                bar,
                _text(_mass(mass)),
                _text(other),
                int(row.get("count") or 0),
            )
        )
    return _table((_("substance"), "", _("mass"), _("beside"), _("seizures")), cells, numbers=(2, 4))


def _agencies(rows: Sequence[Mapping[str, Any]], double: Mapping[str, Any], _: Translate) -> str:
    if not rows:
        return _none(_)
    cells = [
        (_text(row.get("agency")), _text(_mass(_grams(row.get("mass_g")))), int(row.get("count") or 0)) for row in rows
    ]
    notes = []
    if double.get("same"):
        notes.append(_("{count} reports left out: the same event is counted once").format(count=double["same"]))
    if double.get("possibly"):
        notes.append(_("{count} pairs are possibly the same, and counted twice").format(count=double["possibly"]))
    told = "".join(f'<p class="note">{_text(text)}</p>' for text in notes)
    return _table((_("agency"), _("mass"), _("seizures")), cells, numbers=(1, 2)) + told


# -- tables -------------------------------------------------------------------------------------------


def _conflicts(rows: Sequence[Mapping[str, Any]], _: Translate) -> str:
    cells = []
    removed = _("removed")
    for row in rows:
        values = "".join(
            f"<li>{_text(_plain(said.get('value')) or removed)} <span class=\"note\">({_text(said.get('who'))},"
            f" {_when(said.get('time_ms'))})</span></li>" for said in row.get("values") or ()
        )  # fmt: skip
        cells.append(
            (
                f"<code>{_text(row.get('short'))}</code>",
                _text(row.get("type")),
                _text(row.get("field")),
                f"<ul>{values}</ul>",
            )
        )
    return _table(("id", _("type"), _("field"), _("values")), cells) if cells else _none(_)


def _requests(rows: Sequence[Mapping[str, Any]], _: Translate) -> str:
    cells = []
    for row in rows:
        late = row.get("state") == "overdue"
        state = _("OVERDUE") if late else _(str(row.get("state") or ""))
        due = _when(row.get("due_ms")) or _("not received yet")
        cells.append((
            f"<code>{_text(row.get('short'))}</code>", _text(row.get("from")), _text(", ".join(row.get("to") or ())),
            _text(row.get("question")), _text(_(str(row.get("urgency") or ""))), _text(due),
            f'<span class="late">{_text(state)}</span>' if late else _text(state),
        ))  # fmt: skip
    head = ("id", _("from"), _("to"), _("question"), _("urgency"), _("due"), _("state"))
    return _table(head, cells) if cells else _none(_)


def _records(report: Mapping[str, Any], _: Translate) -> str:
    cells = []
    for row in sorted(report.get("records") or (), key=_moment, reverse=True):
        marks = [_("conflict")] if row.get("conflicts") else []
        marks += [_(str(row["status"]))] if row.get("status") not in (None, "", "ok") else []
        mark = f' <span class="mark">[{_text(", ".join(marks))}]</span>' if marks else ""
        where = " ".join(part for part in (row.get("region"), row.get("place")) if part)
        who = f"{row.get('agency')}/{row.get('unit')}"
        short = f"<code>{_text(row.get('short'))}</code>"
        what = _text(row.get("summary")) + mark
        cells.append((short, _text(_moment(row)), _text(row.get("type")), _text(where), _text(who), what))
    if not cells:
        return _none(_)
    total = int(report.get("records_total") or len(cells))
    more = _("{shown} of {total} records, the newest").format(shown=len(cells), total=total)
    note = f'<p class="note">{_text(more)}</p>' if total > len(cells) else ""
    return note + _table(("id", _("when"), _("type"), _("where"), _("who"), _("what")), cells)


def _moment(row: Mapping[str, Any]) -> str:
    """When it happened, else when it was written."""
    return str(row.get("time") or "")[:16].replace("T", " ") or _when(row.get("time_ms"))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """Cells are HTML already."""
    kinds = [' class="n"' if at in numbers else "" for at in range(len(head))]
    titles = "".join(f"<th{kind}>{escape(title)}</th>" for title, kind in zip(head, kinds, strict=True))
    lines = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def _none(_: Translate) -> str:
    told = _("none known here")
    return f"<p>{escape(told)}</p>"


# -- words --------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    """Escaped, without what could turn the text round."""
    plain = "" if value is None else str(value)
    return escape("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in plain))


def _plain(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _grams(value: object) -> Decimal:
    try:
        found = Decimal(str(value or 0))
    except InvalidOperation:
        return Decimal(0)
    return found if found.is_finite() else Decimal(0)


def _mass(grams: Decimal) -> str:
    """A mass for people: 950 g, 24.35 kg, 1.2 t."""
    for unit, size in (("t", Decimal(1_000_000)), ("kg", Decimal(1000))):
        if grams >= size:
            return f"{(grams / size).quantize(Decimal('0.01')).normalize():f} {unit}"
    return f"{grams.normalize():f} g"


def _when(time_ms: object) -> str:
    if not isinstance(time_ms, int):
        return ""
    return datetime.fromtimestamp(min(time_ms, 253402300799000) / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
