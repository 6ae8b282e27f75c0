"""An audit for people: a summary on the terminal, a table for a spreadsheet, a page to print. One report, three forms.

All take the report as `hamkor audit --json` prints it. What others wrote is escaped: on the terminal it cannot steer,
in the table it is no formula, on the page it is no markup. The page needs nothing else: no script, nothing is fetched.
Findings are in English, in the words of the audit; what stands around them is in the reader's language.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, Final, NamedTuple

from node.render import safe, say
from node.words import _, language, noted

KINDS: Final = {  # in the order in which they should worry the reader
    "network": noted("of another network"),
    "charter": noted("charter not valid"),
    "container": noted("file or store damaged"),
    "since": noted("what was audited before"),
    "hash": noted("content altered"),
    "signature": noted("signature does not hold"),
    "fork": noted("two versions signed"),
    "differs": noted("checkpoint of another history"),
    "parts": noted("checkpoint of another branch"),
    "held-back": noted("entries that others attest are missing"),
    "gap": noted("entries missing from the middle"),
    "link": noted("chain broken"),
    "format": noted("entry unreadable"),
    "uncertified": noted("author without certificate"),
    "checkpoint": noted("checkpoint malformed"),
    "checkpoint-note": noted("checkpoint's note not signed"),
    "alarm": noted("alarm"),
    "time": noted("dated backwards"),
    "index": noted("the store's own tables are wrong"),
    "void": noted("void: after a cutoff"),
    "disputed": noted("disputed: after a fork"),
    "clock": noted("dated after who attests it"),
    "malformed": noted("malformed"),
    "erased": noted("body erased or withheld"),
    "resumed": noted("changed since the interruption"),
}
_LISTED: Final = 5  # of each kind on the terminal
_COLUMNS: Final = ("source", "class", "kind", "owner", "agency", "key", "seq", "id", "found", "expected", "means")
_STYLE: Final = """
:root { font: 15px/1.45 system-ui, "Noto Sans", "DejaVu Sans", sans-serif; color: #1c1c1c; background: #fff; }
body { max-width: 1080px; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 2px solid; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; } .verdict { border: 2px solid #1c1c1c; padding: .5rem .9rem; }
.faulty { border-left: 10px solid #a33; } .sound { border-left: 10px solid #287a3c; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: #444; } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .82rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .45rem; border-bottom: 1px solid #ccc; }
td, dd { overflow-wrap: anywhere; unicode-bidi: isolate; } td.n { text-align: right; }
code { font-size: .92em; } footer { margin-top: 2rem; border-top: 1px solid #888; font-size: .82rem; color: #444; }
@page { size: A4 landscape; margin: 14mm; }
@media print { body { max-width: none; margin: 0; } h2, h3 { break-after: avoid; } tr { break-inside: avoid; }
  thead { display: table-header-group; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


class _Part(NamedTuple):
    """What was found in one source, or by comparing all (then there is no name)."""

    name: str | None
    report: Mapping[str, Any]


def print_audit(found: Mapping[str, Any], network: str) -> None:
    """The summary: the verdict, what was checked, and findings by kind, the worst first."""
    for part in _parts(found):
        if part.name is not None:
            say(f"{part.name}: {_verdict(part.report)}")
            for label, value in _facts(part.report, network):
                say(f"  {label + ':':<12} {value}")
        elif part.report["faults"] or part.report["notes"]:
            say(_("Side by side:"))
        for title, items, count in _findings(part.report):
            say(f"\n{title}: {count}")
            for kind, group in _by_kind(items):
                say(f"  {_(KINDS.get(kind, kind))} ({kind}): {len(group)}")
                for item in group[:_LISTED]:
                    say(f"    {_where(item)}{item['detail']}")
                if len(group) > _LISTED:
                    told = _("and {count} more: --json, --csv and --html list them")
                    say("    " + told.format(count=len(group) - _LISTED))
        say()
    if "sources" in found:
        say(f"{_('all together')}: {_verdict(found)}")


def audit_csv(found: Mapping[str, Any]) -> bytes:
    """One line for each finding, UTF-8 with a mark at the beginning that spreadsheets look for."""
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for part in _parts(found):
        for of, name in (("faults", "fault"), ("notes", "note")):
            for item in part.report[of]:
                row = {**item, "class": name, "source": item.get("source") or part.name}
                writer.writerow([_cell(row.get(column)) for column in _COLUMNS])
    return out.getvalue().encode("utf-8", "replace")


def audit_page(found: Mapping[str, Any], network: str) -> bytes:
    """The page. Cost: O(findings)."""
    parts = [_section(part, network) for part in _parts(found)]
    title = _("Audit of {network}").format(network=network)
    made = _("Made by hamkor audit, which recomputes everything and believes only the charter.")
    body = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="verdict {escape(str(found["verdict"]))}"><strong>{_text(_verdict(found))}</strong></p>',
        *parts,
        f"<footer>{_text(made)}</footer>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="{language()}">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(body)
        + "\n</body>\n</html>\n"
    ).encode("utf-8", "replace")  # fmt: skip


def _parts(found: Mapping[str, Any]) -> list[_Part]:
    """The sources one by one, then what shows only beside each other."""
    if "sources" not in found:
        return [_Part(str(found["source"]), found)]
    return [*(_Part(str(report["source"]), report) for report in found["sources"]), _Part(None, found)]


def _verdict(report: Mapping[str, Any]) -> str:
    return _("SOUND") if report["verdict"] == "sound" else _("FAULTY")


def _facts(report: Mapping[str, Any], network: str) -> Iterator[tuple[str, str]]:
    yield _("network"), f"{network}, {report['network']}"
    checked = _("{signatures} signatures on {entries} entries in {logs} logs; {checkpoints} checkpoints agree")
    yield _("checked"), checked.format(**{name: report[name] for name in _CHECKED})
    yield _("root"), str(report["root"])


_CHECKED: Final = ("signatures", "entries", "logs", "checkpoints")


def _findings(report: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Mapping[str, Any]], int]]:
    for title, of, count in ((_("faults"), "faults", "fault_count"), (_("notes"), "notes", "note_count")):
        if report[of]:
            yield title, report[of], int(report[count])


def _by_kind(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    order = {kind: at for at, kind in enumerate(KINDS)}

    def rank(item: Mapping[str, Any]) -> tuple[int, str]:
        return order.get(str(item["kind"]), len(order)), str(item["kind"])

    return [
        (str(group[0]["kind"]), group) for _, found in groupby(sorted(items, key=rank), rank) for group in [[*found]]
    ]


def _where(item: Mapping[str, Any]) -> str:
    """Whose log, and which entry."""
    owner = item["owner"] or (str(item["key"])[:12] if item["key"] else "")
    who = f"{owner} ({item['agency']})" if item["agency"] else owner
    place = "" if item["seq"] is None else f"seq {item['seq']}"
    known = str(item["id"])[:12] if item["id"] else ""
    text = ", ".join(part for part in (" ".join(safe(who).split()), place, known) if part)
    return f"{text}: " if text else ""


def _cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return value
    text = safe(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _text(value: object) -> str:
    return escape(safe("" if value is None else str(value)))


def _section(part: _Part, network: str) -> str:
    rows: list[str] = []
    if part.name is not None:
        rows.append(f"<section><h2>{_text(part.name)}: {_text(_verdict(part.report))}</h2>")
        facts = "".join(
            f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in _facts(part.report, network)
        )
        rows.append(f"<dl>{facts}</dl>")
    else:
        rows.append(f"<section><h2>{_text(_('Side by side:'))}</h2>")
    for title, items, count in _findings(part.report):
        rows.append(f"<h3>{_text(title)}: {count}</h3>")
        rows.append(_table(items))
    if part.name is not None and not part.report["faults"]:
        rows.append(f"<p>{_text(_('No fault was found.'))}</p>")
    return "\n".join([*rows, "</section>"])


def _table(items: Sequence[Mapping[str, Any]]) -> str:
    heads = (_("kind"), _("whose log"), "seq", "id", _("found"), _("expected"), _("what it means"))
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    rows = []
    for kind, group in _by_kind(items):
        for item in group:
            owner = _text(item["owner"])
            agency = f" ({_text(item['agency'])})" if item["agency"] else ""
            who = f"{owner}{agency}<br><code>{_text(str(item['key'] or '')[:16])}</code>"
            rows.append(
                f"<tr><td>{_text(_(KINDS.get(kind, kind)))}<br><code>{_text(kind)}</code></td><td>{who}</td>"
                f'<td class="n">{_text(item["seq"])}</td><td><code>{_text(str(item["id"] or "")[:16])}</code></td>'
                f"<td>{_text(item['found'])}</td><td>{_text(item['expected'])}</td><td>{_text(item['means'])}</td></tr>"
            )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
