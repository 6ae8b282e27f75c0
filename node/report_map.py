"""A schematic map of the regions: an SVG that a page of HTML holds, to look at or to print.

Each border is written once, as a line of longitudes and latitudes, and the outlines are joined from the lines, so
neighbours always meet. Written by hand to about a tenth of a degree: good for telling regions apart, for nothing else.
Darker is more mass, and the count stands on every region in figures: nothing is said by colour alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from math import cos, radians
from typing import Final

Point = tuple[float, float]
Translate = Callable[[str], str]

# Borders, longitude and latitude in degrees. Named by the two regions, or by the region and its neighbour abroad:
# kz, kg, tj, tm, af. A line runs clockwise along the region that stands first, and against the clock of the second.
_LINES: Final[dict[str, tuple[Point, ...]]] = {
    "QR-kz": ((56.0, 41.32), (56.0, 45.0), (58.57, 45.56), (59.7, 45.1), (61.05, 44.4), (62.0, 43.5)),
    "QR-NW": ((62.0, 43.5), (61.85, 42.9), (62.05, 42.3), (62.4, 41.8)),
    "QR-BU": ((62.4, 41.8), (62.2, 41.4), (61.95, 41.1)),
    "QR-XO": ((61.95, 41.1), (61.5, 41.35), (61.05, 41.55), (60.75, 41.85), (60.35, 42.05), (60.0, 42.15)),
    "QR-tm": ((60.0, 42.15), (59.3, 42.35), (58.6, 42.75), (58.2, 42.65), (57.8, 42.2), (57.0, 41.9), (57.05, 41.3),
              (56.0, 41.32)),
    "XO-BU": ((61.95, 41.1), (62.05, 40.65)),
    "XO-tm": ((62.05, 40.65), (61.75, 41.0), (61.4, 41.15), (60.9, 41.2), (60.45, 41.2), (60.1, 41.4), (60.05, 41.8),
              (60.0, 42.15)),
    "BU-NW": ((62.4, 41.8), (63.1, 41.5), (63.75, 41.1), (64.15, 40.65), (64.75, 40.35), (64.9, 39.95), (65.15, 39.6)),
    "BU-QA": ((65.15, 39.6), (64.85, 39.25), (64.6, 38.75)),
    "BU-tm": ((64.6, 38.75), (64.15, 38.95), (63.6, 39.3), (62.9, 39.7), (62.4, 40.05), (62.05, 40.65)),
    "NW-kz": ((62.0, 43.5), (63.2, 43.65), (64.4, 43.6), (64.95, 43.7), (65.5, 43.3), (66.1, 43.0), (66.05, 42.0),
              (66.5, 42.0), (66.65, 41.2)),
    "NW-JI": ((66.65, 41.2), (66.25, 40.95), (66.35, 40.5)),
    "NW-SA": ((66.35, 40.5), (66.05, 40.3), (66.0, 40.1), (65.6, 39.95), (65.5, 39.65)),
    "NW-QA": ((65.5, 39.65), (65.15, 39.6)),
    "SA-JI": ((66.35, 40.5), (66.8, 40.42), (67.15, 40.25), (67.3, 40.0), (67.55, 39.85), (67.72, 39.62)),
    "SA-tj": ((67.72, 39.62), (67.5, 39.5), (67.4, 39.2)),
    "SA-QA": ((67.4, 39.2), (67.05, 39.25), (66.5, 39.3), (66.0, 39.45), (65.5, 39.65)),
    "JI-kz": ((66.65, 41.2), (67.3, 41.15), (67.95, 41.15), (68.1, 40.95), (68.12, 40.72)),
    "JI-SI": ((68.12, 40.72), (68.05, 40.5), (68.3, 40.3), (68.55, 40.15), (68.85, 40.05)),
    "JI-tj": ((68.85, 40.05), (68.75, 39.8), (68.55, 39.55), (68.15, 39.6), (67.72, 39.62)),
    "SI-kz": ((68.12, 40.72), (68.45, 40.62), (68.6, 40.8), (68.65, 41.0)),
    "SI-TO": ((68.65, 41.0), (68.85, 40.82), (69.0, 40.55), (69.0, 40.35), (69.1, 40.12)),
    "SI-tj": ((69.1, 40.12), (68.85, 40.05)),
    "TO-kz": ((68.65, 41.0), (69.05, 41.35), (69.5, 41.55), (69.95, 41.85), (70.4, 42.08), (70.95, 42.25)),
    "TO-kg": ((70.95, 42.25), (71.2, 42.15), (70.85, 41.9), (70.45, 41.55), (70.72, 41.38)),
    "TO-NG": ((70.72, 41.38), (70.5, 41.15), (70.6, 40.98)),
    "TO-tj": ((70.6, 40.98), (70.1, 40.9), (69.6, 40.77), (69.33, 40.7), (69.4, 40.4), (69.1, 40.12)),
    "NG-kg": ((70.72, 41.38), (71.2, 41.2), (71.5, 41.32), (71.88, 41.38), (72.15, 41.2), (72.2, 41.04)),
    "NG-AN": ((72.2, 41.04), (71.9, 40.92), (71.75, 40.74)),
    "NG-FA": ((71.75, 40.74), (71.45, 40.78), (71.1, 40.72), (70.65, 40.76)),
    "NG-tj": ((70.65, 40.76), (70.75, 40.88), (70.6, 40.98)),
    "AN-kg": ((72.2, 41.04), (72.5, 40.98), (72.9, 40.88), (73.1, 40.82), (72.85, 40.68), (72.6, 40.52), (72.4, 40.42),
              (72.15, 40.44)),
    "AN-FA": ((72.15, 40.44), (71.92, 40.58), (71.75, 40.74)),
    "FA-kg": ((72.15, 40.44), (72.05, 40.25), (71.7, 40.15), (71.3, 40.3), (71.0, 40.2), (70.6, 40.2), (70.38, 40.38)),
    "FA-tj": ((70.38, 40.38), (70.4, 40.52), (70.65, 40.76)),
    "QA-tj": ((67.4, 39.2), (67.65, 39.12), (67.75, 39.0)),
    "QA-SU": ((67.75, 39.0), (67.45, 38.75), (67.1, 38.55), (66.85, 38.3), (66.58, 37.98)),
    "QA-tm": ((66.58, 37.98), (66.2, 38.1), (65.8, 38.22), (65.2, 38.42), (64.6, 38.75)),
    "SU-tj": ((67.75, 39.0), (68.15, 38.9), (68.1, 38.55), (68.35, 38.2), (68.1, 37.85), (67.9, 37.55), (67.8, 37.2)),
    "SU-af": ((67.8, 37.2), (67.3, 37.2), (66.95, 37.35), (66.53, 37.37)),
    "SU-tm": ((66.53, 37.37), (66.58, 37.98)),
}  # fmt: skip
_AROUND: Final[dict[str, str]] = {  # the lines around each region, clockwise
    "UZ-QR": "QR-kz QR-NW QR-BU QR-XO QR-tm",
    "UZ-XO": "QR-XO XO-BU XO-tm",
    "UZ-BU": "QR-BU BU-NW BU-QA BU-tm XO-BU",
    "UZ-NW": "NW-kz NW-JI NW-SA NW-QA BU-NW QR-NW",
    "UZ-SA": "SA-JI SA-tj SA-QA NW-SA",
    "UZ-JI": "JI-kz JI-SI JI-tj SA-JI NW-JI",
    "UZ-SI": "SI-kz SI-TO SI-tj JI-SI",
    "UZ-TO": "TO-kz TO-kg TO-NG TO-tj SI-TO",
    "UZ-NG": "NG-kg NG-AN NG-FA NG-tj TO-NG",
    "UZ-AN": "AN-kg AN-FA NG-AN",
    "UZ-FA": "AN-FA FA-kg FA-tj NG-FA",
    "UZ-QA": "SA-QA QA-tj QA-SU QA-tm BU-QA NW-QA",
    "UZ-SU": "SU-tj SU-af SU-tm QA-SU",
}


def _joined(names: str) -> tuple[Point, ...]:
    """One closed outline from its lines, each turned as it fits; the first point is not repeated."""
    lines = [_LINES[name] for name in names.split()]
    first = lines[0] if lines[0][-1] in (lines[1][0], lines[1][-1]) else lines[0][::-1]
    points = list(first)
    for line in lines[1:]:
        turned = line if line[0] == points[-1] else line[::-1]
        assert turned[0] == points[-1], f"{names}: the lines do not meet at {points[-1]}"
        points += turned[1:]
    assert points[0] == points[-1], f"{names}: not closed"
    return tuple(points[:-1])


_OUTLINES: Final[dict[str, tuple[Point, ...]]] = {code: _joined(names) for code, names in _AROUND.items()}
_CITY: Final = ("UZ-TK", (69.27, 41.28))  # a circle: too small for an outline
MAP_REGIONS: Final = (*_OUTLINES, _CITY[0])  # the city last: it lies upon the region around it

_SIZE_PX: Final = (980, 646)
_MARGIN_PX: Final = 10
_DEGREE_PX: Final = 72  # of latitude; a degree of longitude is narrower by the cosine of the middle
_WEST, _NORTH, _MIDDLE = 56.0, 45.6, 41.3
_FILLS: Final = ("#ffffff", "#fbead9", "#f0c9a0", "#d9975b", "#a8602a", "#6b3513")  # no mass, then five steps
_INK, _INK_ON_DARK, _LINE = "#1c1c1c", "#ffffff", "#4a4a4a"
_DARK_FROM: Final = 4  # the first step on which letters are white
_LADDER: Final = (1, 2, 5)
_BADGE_PX: Final = 18
_NAME_DY: Final = 23  # the first line beneath the middle of the box with the count
_LINE_PX: Final = 14
_GENERIC: Final = frozenset(
    {"viloyati", "вилояти", "область", "Respublikasi", "Республикаси", "Республика", "Region", "Republic", "of"}
)
_WHOLE_NAME: Final = ("UZ-TK", "UZ-TO")  # the city and the region around it share the rest of their names


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a region's words stand, in pixels.

    count: the middle of the box with the count. name: the middle of the first line, where that is outside the region.
    leader: the two ends of the line to the name.
    """

    count: tuple[int, int]
    name: tuple[int, int] | None = None
    leader: tuple[int, int, int, int] | None = None


_PLACES: Final[dict[str, _Place]] = {
    "UZ-QR": _Place((170, 120)),
    "UZ-NW": _Place((458, 205)),
    "UZ-BU": _Place((412, 356)),
    "UZ-QA": _Place((552, 474)),
    "UZ-SA": _Place((584, 410)),
    "UZ-JI": _Place((617, 341)),
    "UZ-XO": _Place((254, 304), (160, 366), (246, 313, 196, 352)),
    "UZ-SI": _Place((688, 383), (716, 480), (691, 392, 708, 466)),
    "UZ-TK": _Place((632, 240), (632, 262), (721, 315, 672, 284)),
    "UZ-TO": _Place((774, 298), (748, 206), (771, 289, 754, 228)),
    "UZ-NG": _Place((836, 340), (910, 268), (840, 331, 884, 290)),
    "UZ-AN": _Place((893, 358), (926, 430), (896, 367, 914, 416)),
    "UZ-FA": _Place((838, 378), (840, 458), (838, 387, 840, 444)),
    "UZ-SU": _Place((628, 552), (764, 550), (637, 552, 694, 552)),
}
_LEGEND_PX: Final = (24, 446)


@dataclass(frozen=True, slots=True)
class Region:
    """What the map shows of a region: plain text, not escaped; the mass in grams.

    title: the whole of it in words, for a pointer that rests on the region and for a reader of screens.
    """

    name: str
    count: int
    mass: Decimal
    title: str


def region_map(regions: Mapping[str, Region], tell_mass: Callable[[Decimal], str], translate: Translate) -> str:
    """The map as an SVG element. regions: every one of MAP_REGIONS."""
    _ = translate
    bounds = bounds_of(max(regions[code].mass for code in MAP_REGIONS))
    shapes, words = [], []
    for code in MAP_REGIONS:
        region = regions[code]
        step = step_of(region.mass, bounds)
        shapes.append(_shape(code, step, region.title))
        words.append(_words(code, region, step, tell_mass(region.mass) if region.mass > 0 else ""))
    wide, high = _SIZE_PX
    title = escape(_("Seizures by region"))
    return (
        f'<svg viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="group" '
        f'aria-label="{title}" class="map">\n'
        + "\n".join(shapes) + "\n" + "\n".join(words) + "\n" + _legend(bounds, tell_mass, _) + "\n</svg>"
    )  # fmt: skip


def bounds_of(most: Decimal) -> tuple[Decimal, ...]:
    """The upper bounds of five steps, rising by four or five times, each 1, 2 or 5 with noughts; the last >= `most`.

    Empty where there is no mass.
    """
    if most <= 0:
        return ()
    rung = 3 * most.adjusted()
    while _rung(rung) < most:  # at most three times
        rung += 1
    return tuple(_rung(rung - 2 * down) for down in (4, 3, 2, 1, 0))


def step_of(mass: Decimal, bounds: tuple[Decimal, ...]) -> int:
    """0 for no mass, else 1 to 5."""
    return 0 if mass <= 0 else 1 + sum(mass > bound for bound in bounds)


def _rung(number: int) -> Decimal:
    return Decimal(_LADDER[number % 3]).scaleb(number // 3)


def _pixel(point: Point) -> tuple[float, float]:
    lon, lat = point
    east = (lon - _WEST) * cos(radians(_MIDDLE)) * _DEGREE_PX
    return round(_MARGIN_PX + east, 1), round(_MARGIN_PX + (_NORTH - lat) * _DEGREE_PX, 1)


def _shape(code: str, step: int, title: str) -> str:
    if code == _CITY[0]:
        x, y = _pixel(_CITY[1])
        drawn = f'<circle cx="{x}" cy="{y}" r="11" fill="#ffffff"/><circle cx="{x}" cy="{y}" r="9"'
    else:
        points = " ".join(f"{x:g},{y:g}" for x, y in map(_pixel, _OUTLINES[code]))
        drawn = f'<polygon points="{points}"'
    return (
        f'<g id="{code}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'{drawn} fill="{_FILLS[step]}" stroke="{_LINE}" stroke-width="1.2" stroke-linejoin="round"/></g>'
    )


def _words(code: str, region: Region, step: int, mass: str) -> str:
    """The count in a box, the name and the mass; deaf to the pointer, so that the shape beneath tells its title."""
    place = _PLACES[code]
    x, y = place.count
    wide = 9 + 8 * len(str(region.count))
    parts = []
    if place.leader is not None:
        x1, y1, x2, y2 = place.leader
        parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{_INK}" stroke-width="1"/>')
    parts.append(
        f'<rect x="{x - wide / 2:g}" y="{y - _BADGE_PX / 2:g}" width="{wide}" height="{_BADGE_PX}" rx="3" '
        f'fill="#ffffff" stroke="{_INK}"/>'
        f'<text x="{x}" y="{y + 4}" font-size="12" font-weight="700">{region.count}</text>'
    )
    ink = _INK if place.name or step < _DARK_FROM else _INK_ON_DARK
    x, y = place.name or (x, y + _NAME_DY)
    name = escape(_short(code, region))
    parts.append(f'<text x="{x}" y="{y}" font-size="12" font-weight="600" fill="{ink}">{name}</text>')
    if mass:
        parts.append(f'<text x="{x}" y="{y + _LINE_PX}" font-size="12" fill="{ink}">{escape(mass)}</text>')
    return f'<g aria-hidden="true" pointer-events="none" text-anchor="middle" fill="{_INK}">{"".join(parts)}</g>'


def _short(code: str, region: Region) -> str:
    """The name without the word for a region, which the map says already."""
    if code in _WHOLE_NAME:
        return region.name
    return " ".join(word for word in region.name.split() if word not in _GENERIC) or region.name


def _legend(bounds: tuple[Decimal, ...], tell_mass: Callable[[Decimal], str], _: Translate) -> str:
    x, y = _LEGEND_PX
    rows = [(0, _("no mass known here"))]
    for step, bound in enumerate(bounds, start=1):
        most = tell_mass(bound)
        told = _("up to {mass}").format(mass=most) if step == 1 else f"{tell_mass(bounds[step - 2])} – {most}"
        rows.append((step, told))
    title, counted = escape(_("Mass by region")), escape(_("seizures"))
    lines = [f'<text x="{x}" y="{y - 10}" font-size="12" font-weight="600">{title}</text>']
    for at, (step, told) in enumerate(rows):
        top = y + 24 * at
        lines.append(
            f'<rect x="{x}" y="{top}" width="30" height="18" fill="{_FILLS[step]}" stroke="{_LINE}"/>'
            f'<text x="{x + 40}" y="{top + 13}" font-size="12">{escape(told)}</text>'
        )
    top = y + 24 * len(rows)
    lines.append(
        f'<rect x="{x + 6}" y="{top}" width="17" height="{_BADGE_PX}" rx="3" fill="#ffffff" stroke="{_INK}"/>'
        f'<text x="{x + 14.5:g}" y="{top + 13}" font-size="12" font-weight="700" text-anchor="middle">1</text>'
        f'<text x="{x + 40}" y="{top + 13}" font-size="12">{counted}</text>'
    )
    return f'<g fill="{_INK}">{"".join(lines)}</g>'
