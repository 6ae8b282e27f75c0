"""Tables in and out: CSV files become records, records become CSV, JSON lines, GeoJSON, or a page to look at."""

import argparse
import csv
import io
import json
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TextIO

from keys.errors import FormatError, LocalError, UsageError
from ledger.gazetteer import centroid, region_codes, region_name, substance_name
from ledger.handling import document_mark
from ledger.query import parse_query
from ledger.search import Search, wanted_authors
from ledger.store import Ledger
from ledger.view import author_view, document_view
from ledger.workflow import names, position
from node.client import open_node, resubmit
from node.clock import wall_ms
from node.commands.common import home_of
from node.commands.exporting import open_reader
from node.commands.fields import put_field
from node.commands.purpose import consult, purpose, tell_masked
from node.commands.reading import answer_map, answer_rows
from node.commands.writing import key_of, sign_and_write
from node.direct import up_to_date
from node.filling import fill_record
from node.render import lines_of, masked_text, note, print_json, say
from node.words import _, language
from protocol.body import encode_record
from protocol.codec import Value
from protocol.entry import EntryId
from protocol.frame import Draft
from protocol.schema import record_problems, type_schema

ROWS_MAX: Final = 1_000_000
_CELL_CHARS_MAX: Final = 200_000
_ASK_AT_ONCE: Final = 2000
_MAP_BYTES_MAX: Final = 1024 * 1024
COUNTED_BY: Final = ("region", "substance", "month", "agency")
_REPORT_ROWS_MAX: Final = 1000


# -- in -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a field comes from: a column, with what its values mean, or one value for all rows."""

    field: str
    column: str = ""
    value: str = ""
    values: Mapping[str, str] | None = None
    default: str = ""

    def of(self, row: Mapping[str, str]) -> str:
        """The field's text in a row; empty where there is none."""
        if not self.column:
            return self.value
        text = (row.get(self.column) or "").strip()
        if self.values is not None and text:
            text = self.values.get(text, text)
        return text or self.default


@dataclass(slots=True)
class _Counts:
    """What became of the rows."""

    rows: int = 0
    written: int = 0
    known: int = 0
    refused: int = 0


def import_csv(args: argparse.Namespace) -> int:
    """`import-csv`: exit 1 when rows were refused. A row that was imported before is left out."""
    type_schema(args.type)
    sources, options = _read_map(args.map)
    owner = key_of(args)[1]
    now_ms = wall_ms()
    counts = _Counts()
    drafts: list[tuple[str, Draft]] = []
    refused: list[tuple[int, str]] = []
    seen: Counter[str] = Counter()
    with _rows(args.file, sources, options) as (rows, size_bytes, told):
        for line, row in rows:
            counts.rows += 1
            cells = {source.field: source.of(row) for source in sources}
            base = json.dumps([args.type, cells], ensure_ascii=False, sort_keys=True)
            seen[base] += 1
            import_id = sha256(f"{base}\n{seen[base]}".encode()).hexdigest()[:32]
            try:
                fields = _fields_of(cells)
                filled = fill_record(args.type, fields, owner, now_ms) | {"import_id": import_id}
                problems = record_problems(args.type, filled)
                if problems:
                    refused.append((line, "; ".join(_(one.template).format(**one.values) for one in problems)))
                else:
                    drafts.append((import_id, ("record", encode_record(args.type, filled), ())))
            except (UsageError, FormatError) as error:
                refused.append((line, str(error)))
            if counts.rows % 500 == 0:
                progress(_("checked"), told(), size_bytes)
    progress(_("checked"), size_bytes, size_bytes)
    counts.refused = len(refused)
    known = _known(args, [import_id for import_id, _draft in drafts])
    fresh = [draft for import_id, draft in drafts if import_id not in known]
    counts.known = len(drafts) - len(fresh)
    if fresh and not args.dry_run:
        counts.written = len(sign_and_write(args, "record", fresh))
    _tell(args, counts, refused, len(fresh))
    return 1 if refused else 0


def _known(args: argparse.Namespace, ids: list[str]) -> set[str]:
    """Which of these were imported before."""
    found: set[str] = set()
    path, owner = key_of(args)
    with open_node(home_of(args)) as node:
        if not args.dry_run:
            resubmit(node, owner.public, path, "record")  # what was signed before a crash counts as imported
        for start in range(0, len(ids), _ASK_AT_ONCE):
            part: list[Value] = list(ids[start : start + _ASK_AT_ONCE])
            answer = node.ask("imported", ids=part)
            found.update(str(item) for item in (answer if isinstance(answer, list) else []))
    return found


def _tell(args: argparse.Namespace, counts: _Counts, refused: list[tuple[int, str]], fresh: int) -> None:
    if args.refused is not None:
        text = "".join(json.dumps({"line": line, "reason": why}, ensure_ascii=False) + "\n" for line, why in refused)
        try:
            args.refused.write_text(text, encoding="utf-8")
        except OSError as error:
            raise LocalError(f"{args.refused}: {error.strerror}") from None
    if args.json:
        print_json({
            "rows": counts.rows, "written": counts.written, "known": counts.known, "refused": counts.refused,
            "would_write": fresh, "problems": [{"line": line, "reason": why} for line, why in refused[:1000]],
        })  # fmt: skip
        return
    for line, why in refused[:20]:
        note(_("line {line}: {reason}").format(line=line, reason=why))
    if len(refused) > 20:
        note(_("and {count} more").format(count=len(refused) - 20))
    if args.dry_run:
        told = _("{rows} rows: {fresh} would be written, {known} are here already, {refused} are refused")
    else:
        told = _("{rows} rows: {written} written, {known} were here already, {refused} refused")
    say(told.format(rows=counts.rows, fresh=fresh, written=counts.written, known=counts.known, refused=counts.refused))


def progress(what: str, done: int, of: int) -> None:
    """A bar on standard error, where a person looks."""
    if sys.stderr.isatty() and of:
        filled = min(30, 30 * done // of)
        sys.stderr.write(f"\r{what} [{'#' * filled}{' ' * (30 - filled)}]" + ("\n" if done >= of else ""))


def _read_map(path: Path) -> tuple[list[_Source], Mapping[str, str]]:
    """The sources and options in a map file. Raises LocalError or UsageError naming what is wrong."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAP_BYTES_MAX)
        found = tomllib.loads(raw.decode("utf-8"))
    except OSError as error:
        raise LocalError(_("{file} cannot be read: {why}").format(file=path, why=error.strerror)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(_("{file} is not TOML: {why}").format(file=path, why=error)) from None
    fields = found.get("fields")
    unknown = set(found) - {"fields", "options"}
    if not isinstance(fields, dict) or not fields or unknown:
        raise UsageError(_('{file} has a table [fields]: FIELD = "COLUMN", and may have [options]').format(file=path))
    options = found.get("options", {})
    if not isinstance(options, dict) or set(options) - {"delimiter", "encoding"}:
        raise UsageError(_("{file}: [options] may have delimiter and encoding").format(file=path))
    return [_source(path, name, given) for name, given in fields.items()], options


def _source(path: Path, name: str, given: object) -> _Source:
    if isinstance(given, str):
        return _Source(name, column=given)
    allowed = {"column", "value", "values", "default"}
    if isinstance(given, dict) and not set(given) - allowed and (("column" in given) != ("value" in given)):
        values = given.get("values")
        texts = [given.get(word, "") for word in ("column", "value", "default")]
        if all(isinstance(text, str) for text in texts) and (values is None or isinstance(values, dict)):
            meant = None if values is None else {str(key): str(value) for key, value in values.items()}
            return _Source(name, texts[0], texts[1], meant, texts[2])
    raise UsageError(
        _('{file}: {field} is "COLUMN", or a table with column, values, default, or with value alone').format(
            file=path, field=name
        )
    )


@contextmanager
def _rows(
    path: Path, sources: list[_Source], options: Mapping[str, str]
) -> Iterator[tuple[Iterator[tuple[int, dict[str, str]]], int, Callable[[], int]]]:
    """(line number, row) of each row of a CSV file; its size; how far it is read. Raises LocalError, UsageError."""
    csv.field_size_limit(_CELL_CHARS_MAX)
    try:
        with (
            path.open("rb") as raw,
            io.TextIOWrapper(raw, encoding=str(options.get("encoding", "utf-8-sig")), newline="") as file,
        ):
            reader = csv.DictReader(file, delimiter=str(options.get("delimiter", ",")))
            columns = reader.fieldnames or ()
            missing = sorted({source.column for source in sources if source.column} - set(columns))
            if missing:
                raise UsageError(
                    _("{file} has no column {missing}; its columns are {columns}").format(
                        file=path, missing=", ".join(missing), columns=", ".join(columns)
                    )
                )

            def rows() -> Iterator[tuple[int, dict[str, str]]]:
                for count, row in enumerate(reader):
                    if count == ROWS_MAX:
                        raise UsageError(_("{file} has over {count} rows; cut it into parts").format(
                            file=path, count=ROWS_MAX))  # fmt: skip
                    yield reader.line_num, {name: cell for name, cell in row.items() if isinstance(cell, str)}

            yield rows(), path.stat().st_size, raw.tell
    except OSError as error:
        raise LocalError(_("{file} cannot be read: {why}").format(file=path, why=error.strerror)) from None
    except (UnicodeDecodeError, LookupError, csv.Error, TypeError) as error:
        raise UsageError(_("{file} is no CSV file that can be read: {why}").format(file=path, why=error)) from None


def _fields_of(cells: Mapping[str, str]) -> dict[str, Value]:
    """The fields of a row: dotted names as on the command line; empty cells are left out."""
    fields: dict[str, Value] = {}
    for name, text in cells.items():
        if text:
            put_field(fields, name, text)
    return fields


# -- out ----------------------------------------------------------------------------------------------


def export_table(args: argparse.Namespace) -> int:
    """`export --format csv|jsonl|geojson`: the records that fit the query, as they stand.

    Marked ones come without content, unless a purpose is given: then the node writes down all of them first.
    """
    home = home_of(args)
    check_target_free(args.file)
    partial = args.file.with_name(f".{args.file.name}.{os.getpid()}.part")
    words = " ".join(args.words)
    with open_reader(home) as ledger:
        projection = up_to_date(home, ledger)
        marked = _marked(ledger, projection, words) if purpose(args) else []
    consult(args, marked)
    with open_reader(home) as ledger:
        try:
            with partial.open("w", encoding="utf-8", newline="") as out:
                rows = _standing(ledger, projection, words, frozenset(marked))
                count, left_out = _WRITERS[args.format](rows, out)
                out.flush()
                os.fsync(out.fileno())
            partial.replace(args.file)
        except OSError as error:
            raise LocalError(_("{file} cannot be written: {why}").format(file=args.file, why=error.strerror)) from None
        finally:
            partial.unlink(missing_ok=True)
    if args.json:
        print_json({"file": str(args.file), "records": count, "left_out": left_out})
    else:
        say(_("{file}: {count} records").format(file=args.file, count=count))
        if left_out:
            note(_("{count} records without a position are not on the map").format(count=left_out))
    return 0 if count else 1


def check_target_free(path: Path) -> None:
    """Refuse to write over a hamkor file: it could be a key. Raises LocalError."""
    try:
        with path.open("rb") as file:
            start = file.read(7)
    except OSError:
        return
    if start == b"hamkor ":
        raise LocalError(_("{file} is a hamkor file; nothing was changed: choose another name").format(file=path))


def _chosen(ledger: Ledger, search: Search, words: str) -> list[EntryId]:
    """The records that fit, newest first."""
    now_ms = wall_ms()
    query = parse_query(words, now_ms)
    authors = wanted_authors(query, ledger.authority)
    if words.strip():
        return [hit.id for hit in search.find(query, ROWS_MAX, now_ms=now_ms, authors=authors)]
    return [listed.record for listed in search.listed(limit=ROWS_MAX, retracted=True)]


def _marked(ledger: Ledger, search: Search, words: str) -> list[EntryId]:
    """Those of them that are marked."""
    found = search.documents(ledger, _chosen(ledger, search, words))
    return [entry.id for _type, entry, document in found if document_mark(document)]


def _standing(
    ledger: Ledger, search: Search, words: str, may_show: Container[EntryId]
) -> Callable[[], Iterator[dict[str, Any]]]:
    """A function that goes through the records that fit, newest first, once each time it is called.

    may_show: the marked records whose content may be told.
    """
    ids = _chosen(ledger, search, words)

    def rows() -> Iterator[dict[str, Any]]:
        for type_name, entry, document in search.documents(ledger, ids):
            author = author_view(ledger.authority, entry.key)
            view = document_view(ledger, document)
            row = {
                "id": entry.id.hex(), "type": type_name, "time_ms": entry.time_ms,
                "agency": author["agency"], "unit": author["unit"], "author": author["name"],
                "retracted": view["retracted"], "conflicts": view["conflicts"], "tags": view["tags"],
                "links": view["links"], "fields": document.fields(), "marked": view["marked"],
            }  # fmt: skip
            if row["marked"] and entry.id not in may_show:
                row |= {"retracted": None, "conflicts": {}, "tags": [], "links": [], "fields": {}, "masked": True}
            yield row

    return rows


_HEAD: Final = ("id", "type", "time_ms", "agency", "unit", "author", "retracted", "conflicts", "tags", "marked")


def _csv(rows: Callable[[], Iterator[dict[str, Any]]], out: TextIO) -> tuple[int, int]:
    """Fields as columns with dotted names. Two passes: the columns are known only at the end of the first."""
    columns: dict[str, None] = {}
    for row in rows():
        columns.update(dict.fromkeys(name for name, _text in lines_of(row["fields"], "")))
    writer = csv.writer(out)
    writer.writerow([*_HEAD, *columns])
    count = 0
    for row in rows():
        count += 1
        fields = dict(lines_of(row["fields"], ""))
        head = [row[name] for name in _HEAD[:7]] + [" ".join(row["conflicts"]), " ".join(row["tags"]), row["marked"]]
        writer.writerow([_cell(cell) for cell in [*head, *(fields.get(name, "") for name in columns)]])
    return count, 0


def _cell(value: object) -> str:
    """Text that a spreadsheet takes for text: what would begin a formula gets an apostrophe before it."""
    text = "" if value is None else str(value)
    number = text[1:].replace(".", "", 1).isdigit()
    return f"'{text}" if text[:1] in ("=", "@", "\t", "\r") or (text[:1] in ("+", "-") and not number) else text


def _jsonl(rows: Callable[[], Iterator[dict[str, Any]]], out: TextIO) -> tuple[int, int]:
    count = 0
    for row in rows():
        count += 1
        out.write(json.dumps(row, ensure_ascii=False, sort_keys=True, default=_hex) + "\n")
    return count, 0


def _geojson(rows: Callable[[], Iterator[dict[str, Any]]], out: TextIO) -> tuple[int, int]:
    """RFC 7946: one feature a record that has a position."""
    count = left_out = 0
    out.write('{"type": "FeatureCollection", "features": [')
    for row in rows():
        fields = row.pop("fields")
        area = fields.get("area")
        place = position(fields.get("position") or (area.get("point") if isinstance(area, dict) else None))
        if place is None:
            left_out += 1
            continue
        feature = {
            "type": "Feature", "id": row["id"], "geometry": {"type": "Point", "coordinates": [place[1], place[0]]},
            "properties": row | fields,
        }  # fmt: skip
        out.write((",\n" if count else "\n") + json.dumps(feature, ensure_ascii=False, sort_keys=True, default=_hex))
        count += 1
    out.write("\n]}\n")
    return count, left_out


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_WRITERS: Final = {"csv": _csv, "jsonl": _jsonl, "geojson": _geojson}


# -- a page to look at --------------------------------------------------------------------------------


def report(args: argparse.Namespace) -> int:
    """`report`: one HTML file that needs nothing else."""
    from node.report import render_report

    check_target_free(args.output)
    words = " ".join(args.words)
    with open_node(home_of(args)) as node:
        status, why = answer_map(node.ask("status")), purpose(args)
        found = answer_map(node.ask("find", words=words or "since:1970", limit=_REPORT_ROWS_MAX, **why))
        counted = {by: answer_map(node.ask("stats", words=words, by=by)) for by in COUNTED_BY}
        conflicts = answer_rows(node.ask("conflicts", **why))
        requests = answer_rows(answer_map(node.ask("requests", due=True, **why))["rows"])
    hits = answer_rows(found["hits"])
    page = render_report(_report(words, status, hits, counted, conflicts, requests), _, language())
    try:
        args.output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise LocalError(_("{file} cannot be written: {why}").format(file=args.output, why=error.strerror)) from None
    if args.json:
        print_json({"file": str(args.output), "records": len(hits)})
    else:
        say(_("{file}: {count} records").format(file=args.output, count=len(hits)))
        tell_masked(hits)
    return 0


def _report(
    words: str, status: Mapping[str, Value], hits: list[dict[str, Any]], counted: Mapping[str, Mapping[str, Value]],
    conflicts: list[dict[str, Any]], requests: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """What the page shows."""
    by = {name: answer_rows(answer["rows"]) for name, answer in counted.items()}
    lang = language()
    regions = {row["key"]: row for row in by["region"]}
    node = status.get("node")
    possibly = counted["region"]["possibly"]
    return {
        "query": words, "made_ms": wall_ms(), "network": status["network"], "entries": status["entries"],
        "node": node.get("name", "") if isinstance(node, dict) else "", "not_heard": status.get("not_heard") or [],
        "records": [_report_row(hit) for hit in hits], "records_total": len(hits) if words else status["records"],
        "regions": {
            code: {
                "name": region_name(code, lang), "centroid": centroid(code),
                "count": regions.get(code, {}).get("count", 0), "mass_g": regions.get(code, {}).get("mass_g", "0"),
            }
            for code in region_codes()
        },
        "substances": [
            {"substance": row["key"], "name": substance_name(row["key"], lang), **row} for row in by["substance"]
        ],
        "months": [{"month": row["key"], **row} for row in by["month"]],
        "agencies": [{"agency": row["key"], **row} for row in by["agency"]],
        "double": {"same": counted["region"]["same"], "possibly": len(possibly) if isinstance(possibly, list) else 0},
        "conflicts": [
            {
                "id": row["id"], "short": row["short"], "type": row["type"], "field": field,
                "values": [
                    {"value": said.get("value"), "who": said["author"]["name"], "time_ms": said["time_ms"]}
                    for said in values
                ],
            }
            for row in conflicts
            for field, values in row["conflicts"].items()
        ],
        "requests": [
            {
                "id": row["id"], "short": row["short"], "question": masked_text(row) or row["question"],
                "from": row["author"]["unit"], "to": names(row["to"]), "urgency": row["urgency"],
                "due_ms": row["due_ms"] if row["due_ms"] != 2**53 else None,
                "state": "overdue" if row["late"] else next(
                    (unit["state"] for unit in row["units"] if unit["state"] not in ("replied", "refused")), ""
                ),
            }
            for row in requests
        ],
    }  # fmt: skip


def _report_row(hit: dict[str, Any]) -> dict[str, Any]:
    fields = hit.get("fields") or {}
    author = hit["author"]
    return {
        "id": hit["id"], "short": hit["short"], "type": hit["type"], "time_ms": hit["time_ms"],
        "time": fields.get("seized_at") or fields.get("activity_at") or "", "region": fields.get("region", ""),
        "place": fields.get("place", ""), "agency": author["agency"], "unit": author["unit"], "author": author["name"],
        "summary": masked_text(hit) or hit.get("summary", ""), "conflicts": len(hit.get("conflicts") or {}),
        "status": "retracted" if hit.get("retracted") else hit["status"],
    }  # fmt: skip
