"""What pages have in common: HTML that needs nothing else, to look at or to print on A4.

What others wrote is cleaned and escaped; there is no script, no link and nothing is fetched.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

MS_MAX: Final = 253_402_214_400_000  # the last day of the year 9999, in any zone
STYLE: Final = """
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


def whole_page(title: str, lang: str, parts: Iterable[str]) -> str:
    """The page. parts: HTML, the empty ones left out."""
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(lang)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part) + "\n</body>\n</html>\n"
    )  # fmt: skip


def section(title: str, body: str, kind: str = "") -> str:
    """A part with its heading. title: text; body: HTML."""
    opened = f'<section class="{kind}">' if kind else "<section>"
    return f"{opened}\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], kinds: Sequence[str], whole: str = "") -> str:
    """Cells are HTML already. kinds: the class of each column, or an empty string; whole: that of the table."""
    opened = f'<table class="{whole}">' if whole else "<table>"
    classes = [f' class="{kind}"' if kind else "" for kind in kinds]
    titles = "".join(f"<th{kind}>{escape(title)}</th>" for title, kind in zip(head, classes, strict=True))
    lines = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    )
    return f"{opened}\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def cleaned(value: object) -> str:
    """Text without what could turn it round or hide in it."""
    plain = "" if value is None else str(value)
    return "".join(
        letter if letter.isprintable() or letter == "\n" else " " if letter.isspace() else "\ufffd" for letter in plain
    )


def escaped(value: object) -> str:
    """Clean and escaped."""
    return escape(cleaned(value))


def when_of(time_ms: object) -> str:
    """A time as it is shown, in this machine's zone; nothing for no time."""
    if not isinstance(time_ms, int):
        return ""
    return local_time(time_ms).strftime("%Y-%m-%d %H:%M")


def zone_of(time_ms: object) -> str:
    """This machine's zone at that time, such as UTC+05:00."""
    offset = local_time(time_ms if isinstance(time_ms, int) else 0).strftime("%z")
    return f"UTC{offset[:3]}:{offset[3:5]}"


def local_time(time_ms: int) -> datetime:
    """The time in this machine's zone, no later than a calendar reaches."""
    return datetime.fromtimestamp(max(0, min(time_ms, MS_MAX)) / 1000, UTC).astimezone()
