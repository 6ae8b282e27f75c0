"""Workflows: requests and their clocks, alerts, procedures, exhibits, operations."""

import argparse
from collections.abc import Sequence
from typing import Any, cast

from keys.errors import UsageError
from ledger.workflow import decimal, time_ms
from node.client import open_node
from node.clock import wall_ms
from node.commands.common import home_of
from node.commands.fields import parse_fields
from node.commands.purpose import purpose, tell_masked
from node.commands.reading import answer_map, answer_rows, tell_missing, tell_nothing
from node.commands.writing import target_of, write_record, write_step
from node.filling import local_time
from node.render import masked_text, note, print_json, red, say, span, table, when, who_of
from node.words import _
from protocol.codec import Value


def _board(args: argparse.Namespace, op: str, **query: Value) -> tuple[dict[str, Value], list[dict[str, Any]]]:
    """The answer to a request for a board, and its rows; printed already where JSON is wanted or there is none."""
    with open_node(home_of(args)) as node:
        answer = answer_map(node.ask(op, **query, **purpose(args)))
        rows = answer_rows(answer["rows"])
        if args.json:
            print_json(answer)
            return answer, []
        if not rows:
            tell_nothing(node, missing=answer.get("not_heard"))
    tell_masked(rows)
    return answer, rows


def _given(args: argparse.Namespace, **named: Value) -> dict[str, Value]:
    """The options that were given, and the fields beside them."""
    return {name: value for name, value in named.items() if value not in (None, [], "")} | parse_fields(args.fields)


# -- requests for information -------------------------------------------------------------------------


def rfi_new(args: argparse.Namespace) -> int:
    """`rfi new`."""
    fields = _given(
        args, to=list(args.to), question=" ".join(args.question), urgency=args.urgency, purpose=args.purpose,
        due_at=args.due,
    )  # fmt: skip
    return write_record(args, "rfi", fields)


def rfi_ack(args: argparse.Namespace) -> int:
    """`rfi ack`."""
    return write_step(args, target_of(args, args.id, "rfi"), "ack", _given(args))


def rfi_reply(args: argparse.Namespace) -> int:
    """`rfi reply`."""
    return write_step(args, target_of(args, args.id, "rfi"), "reply", _given(args, answer=" ".join(args.answer)))


def rfi_refuse(args: argparse.Namespace) -> int:
    """`rfi refuse`."""
    return write_step(args, target_of(args, args.id, "rfi"), "refuse", _given(args, reason=" ".join(args.reason)))


def rfi_delay(args: argparse.Namespace) -> int:
    """`rfi delay`."""
    fields = _given(args, until=args.until, reason=" ".join(args.reason))
    return write_step(args, target_of(args, args.id, "rfi"), "delay", fields)


def rfi_list(args: argparse.Namespace) -> int:
    """`rfi list`, `rfi due`: requests with the clock of each unit that is asked. Exit 1 when there is none."""
    answer, rows = _board(args, "requests", due=args.due_only)
    if args.json:
        return 0 if answer["rows"] else 1
    now_ms = int(cast("int", answer["now_ms"]))
    lines: list[tuple[object, ...]] = []
    for row in rows:
        for unit in row["units"]:
            if args.due_only and unit["state"] in ("replied", "refused"):
                continue
            lines.append((
                row["short"], row["author"]["unit"] or row["author"]["agency"], unit["unit"], _(str(row["urgency"])),
                _(unit["state"]), _clock(unit, now_ms), masked_text(row) or row["question"] or "",
            ))  # fmt: skip
    if lines:
        table((_("id"), _("from"), _("to"), _("urgency"), _("state"), _("clock"), _("question")), lines)
        tell_missing(answer.get("not_heard"))
    return 0 if rows else 1


def _clock(unit: dict[str, Any], now_ms: int) -> str:
    if unit["state"] in ("replied", "refused"):
        return ""
    if unit["due_ms"] is None:
        return _("not received yet")
    left = unit["due_ms"] - now_ms
    return _("OVERDUE by {time}").format(time=span(-left)) if left < 0 else _("{time} left").format(time=span(left))


# -- alerts -------------------------------------------------------------------------------------------


def alert_send(args: argparse.Namespace) -> int:
    """`alert send`: to units; with --update or --cancel, about an earlier one."""
    fields = _given(
        args, to=list(args.to), instruction=" ".join(args.instruction), headline=args.headline, status=args.status,
        valid_until=args.until, targets=list(args.target), kind="alert",
    )  # fmt: skip
    earlier = args.update or args.cancel
    if earlier:
        target = target_of(args, earlier, "alert")
        relation = "updates" if args.update else "cancels"
        fields |= {"kind": "update" if args.update else "cancel"}
        fields["links"] = [{"to": target.record.hex(), "relation": relation}]
        fields.setdefault("to", target.values.get("to"))
    return write_record(args, "alert", fields)


def alert_ack(args: argparse.Namespace) -> int:
    """`alert ack`."""
    return write_step(args, target_of(args, args.id, "alert"), "ack", _given(args))


def alert_list(args: argparse.Namespace) -> int:
    """`alert list`: each alert, and how far it has come with each unit. Exit 1 when there is none."""
    answer, rows = _board(args, "alerts")
    if args.json:
        return 0 if answer["rows"] else 1
    for row in rows:
        say(f"{row['short']}  {when(row['time_ms'])}  {who_of(row)}  {_(row['kind'] or '')}, {_(row['status'] or '')}")
        say(f"    {masked_text(row) or row['headline'] or row['instruction'] or ''}")
        units = [
            (unit["unit"], *(_moment(unit[name]) for name in ("delivered_ms", "read_ms", "acknowledged_ms")))
            for unit in row["units"]
        ]
        table(("    " + _("unit"), _("delivered"), _("read"), _("acknowledged")), [
            ("    " + name, *rest) for name, *rest in units
        ])  # fmt: skip
    tell_missing(answer.get("not_heard") if rows else None)
    return 0 if rows else 1


def _moment(time_ms: object) -> str:
    return when(time_ms) if isinstance(time_ms, int) else "-"


# -- procedures ---------------------------------------------------------------------------------------


def sop_publish(args: argparse.Namespace) -> int:
    """`sop publish`."""
    fields = _given(args, title=args.title, version=args.version_of, to=list(args.to), in_force_from=args.from_day)
    return write_record(args, "sop", fields)


def sop_ack(args: argparse.Namespace) -> int:
    """`sop ack`."""
    return write_step(args, target_of(args, args.id, "sop"), "ack", _given(args))


def sop_list(args: argparse.Namespace) -> int:
    """`sop list`: procedures, and who has not acknowledged them. Exit 1 when there is none."""
    answer, rows = _board(args, "procedures")
    if args.json:
        return 0 if answer["rows"] else 1
    for row in rows:
        title = masked_text(row) or f"{row['title']} {row['version']}"
        say(f"{row['short']}  {title}  " + _("in force from {day}").format(
            day=row["in_force_from"] or "-"))  # fmt: skip
        missing = ", ".join(item["name"] for item in row["missing"]) or "-"
        told = _("acknowledged: {count}; missing: {names}")
        say("    " + told.format(count=len(row["acknowledged"]), names=missing))
    tell_missing(answer.get("not_heard") if rows else None)
    return 0 if rows else 1


# -- exhibits -----------------------------------------------------------------------------------------


def evidence_give(args: argparse.Namespace) -> int:
    """`evidence give`: pending until the other side takes it."""
    fields = _given(args, to=args.to, seal_no=args.seal, net_mass_g=args.mass, reason=args.reason)
    return write_step(args, target_of(args, args.id, "evidence"), "give", fields)


def evidence_take(args: argparse.Namespace) -> int:
    """`evidence take`: the other side's word on what it was given."""
    target = target_of(args, args.id, "evidence")
    with open_node(home_of(args)) as node:
        moves = answer_rows(node.ask("moves", record=target.record))
    pending = [move for move in moves if move["take"] is None]
    if len(pending) != 1:
        named = [move for move in pending if move["give"]["id"] == target.named]
        if not named:
            what = _("several handovers are pending; name one by its id") if pending else _("no handover is pending")
            raise UsageError(what)
        pending = named
    give = pending[0]["give"]
    fields = _given(args, give=give["id"], seal_no=args.seal, net_mass_g=args.mass, remark=args.remark)
    status = write_step(args, target, "take", fields)
    difference = (decimal(args.mass) or 0) - (decimal(give.get("net_mass_g")) or 0)
    if difference and not args.json:
        note(_("the mass differs by {grams} g from what was given; both are kept").format(grams=f"{difference:+f}"))
    return status


def evidence_list(args: argparse.Namespace) -> int:
    """`evidence list`: exhibits and every move. Exit 1 when there is none."""
    answer, rows = _board(args, "custody")
    if args.json:
        return 0 if answer["rows"] else 1
    for row in rows:
        if row.get("masked"):
            say(f"{row['short']}  {masked_text(row)}")
            continue
        say(f"{row['short']}  {row['exhibit_no']}  {row['object']}  " + _("seal {seal}, {grams} g").format(
            seal=row["seal_no"] or "-", grams=row["net_mass_g"] or "-"))  # fmt: skip
        for move in row["moves"]:
            for side, name in ((move["give"], _("given")), (move["take"], _("taken"))):
                if side is None:
                    say("        " + red(_("pending: not taken yet")))
                    continue
                to = f" → {side['to']}" if "to" in side else ""
                say(f"    {side['short']}  {when(side['time_ms'])}  {name}{to}  {who_of(side)}  " + _(
                    "seal {seal}, {grams} g").format(seal=side["seal_no"], grams=side["net_mass_g"]))  # fmt: skip
            if move["difference_g"] not in (None, "0") and decimal(move["difference_g"]):
                say("        " + red(_("the mass differs by {grams} g").format(grams=move["difference_g"])))
            if move["take"] is not None and move["seal_differs"]:
                say("        " + red(_("the seal differs")))
    tell_missing(answer.get("not_heard") if rows else None)
    return 0 if rows else 1


# -- operations ---------------------------------------------------------------------------------------


def op_add(args: argparse.Namespace) -> int:
    """`op add`: then say at once whether another unit's operation meets it."""
    latitude, comma, longitude = args.at.partition(",")
    if not comma:
        raise UsageError(_("--at takes LATITUDE,LONGITUDE, such as 38.4147,67.9589"))
    fields = _given(
        args, kind=args.kind, window={"from": args.from_time, "to": args.to_time}, lead_unit=args.unit,
        area={"point": {"latitude": latitude.strip(), "longitude": longitude.strip()}, "radius_m": args.radius},
        participants=list(args.participant),
    )  # fmt: skip
    now_ms = wall_ms()
    begin, end = (time_ms(local_time(text, now_ms)) for text in (args.from_time, args.to_time))
    if begin is not None and end is not None and end < begin:
        raise UsageError(_("the operation ends before it begins: {begin} – {end}").format(
            begin=args.from_time, end=args.to_time))  # fmt: skip
    status = write_record(args, "operation", fields)
    if not args.json:
        op_list(argparse.Namespace(**{**vars(args), "all": False}))
    return status


def op_list(args: argparse.Namespace) -> int:
    """`op list`: operations, which of them meet, and how sure that is. Exit 1 when there is none."""
    answer, rows = _board(args, "operations", all=args.all)
    if args.json:
        return 0 if answer["rows"] else 1
    for row in rows:
        window, area = row["window"] or {}, row["area"] or {}
        point = area.get("point", {})
        what = masked_text(row) or (
            f"{row['kind']}  {window.get('from')} – {window.get('to')}  "
            f"{point.get('latitude')},{point.get('longitude')} ± {area.get('radius_m')} m"
        )
        say(f"{row['short']}  {row['lead_unit']}  {what}")
        for other in row["meets"]:
            met = _("meets {id} of {unit} in place and time").format(id=other["short"], unit=other["lead_unit"])
            say("    " + red(met))
    if rows:
        verdict = {
            "conflict": _("operations meet: talk to the other unit before you move"),
            "unknown": _("UNKNOWN whether others meet these: not heard from"),
            "none": _("no operation known here meets another; every node is heard"),
        }  # fmt: skip
        note(verdict[str(answer["answer"])])
        tell_missing(answer.get("not_heard"))
    return 0 if rows else 1


# -- equipment, rosters, reports ----------------------------------------------------------------------


def asset_move(args: argparse.Namespace) -> int:
    """`asset move`."""
    fields = _given(args, holder_unit=args.unit, reason=args.reason)
    return write_step(args, target_of(args, args.id, "asset"), "move", fields)


def asset_service(args: argparse.Namespace) -> int:
    """`asset service`."""
    fields = _given(args, condition=args.condition, next_service=args.next, remark=args.remark)
    return write_step(args, target_of(args, args.id, "asset"), "service", fields)


def listing(args: argparse.Namespace) -> int:
    """`asset list`, `roster list`, `sitrep list`: the fields of every record of a type. Exit 1 when there is none."""
    answer, rows = _board(args, "records", type=args.type)
    if args.json:
        return 0 if answer["rows"] else 1
    columns: Sequence[str] = args.columns
    lines = []
    for row in rows:
        fields = row["fields"]
        lines.append((row["short"], *(_cell(fields.get(name)) for name in columns), masked_text(row) or row["latest"]))
    if lines:
        table((_("id"), *(_(name) for name in columns), _("latest")), lines)
        tell_missing(answer.get("not_heard"))
    return 0 if rows else 1


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return "" if value is None else str(value)


def add_typed(args: argparse.Namespace) -> int:
    """`asset add`, `roster add`, `sitrep add`: as `add`, with the type known."""
    return write_record(args, args.type, _given(args))
