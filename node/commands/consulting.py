"""Who read which marked records, when, what for, and through which node. Looking at that is itself not written down."""

import argparse
from typing import Any

from node.client import open_node
from node.commands.common import home_of
from node.commands.reading import answer_map, answer_rows
from node.render import note, print_json, red, say, when
from node.words import _

_RECORDS_SHOWN = 8  # of one consultation, in a line


def consultations(args: argparse.Namespace) -> int:
    """`consultations`: exit 1 when none is known here."""
    with open_node(home_of(args)) as node:
        answer = answer_map(
            node.ask("consultations", about=args.about, since=args.since, until=args.until, limit=args.limit)
        )
    rows, waiting = answer_rows(answer["rows"]), answer_rows(answer["pending"])
    if args.json:
        print_json(answer)
        return 0 if rows or waiting else 1
    for row in waiting:
        _say(row, _("through this node"), red("  " + _("waits to be written into its log")))
    for row in rows:
        state = "" if row["status"] == "ok" else red(f"  [{_(str(row['status']))}]")
        _say(row, _("through {node}").format(node=f"{row['node']['agency']}/{row['node']['name']}"), state)
    if not rows and not waiting:
        note(_("no consultation is known here"))
    return 0 if rows or waiting else 1


def _say(row: dict[str, Any], through: str, state: str) -> None:
    officer = row["officer"]
    who = f"{officer['name'] or officer['key'][:12]} ({row['user']})" if officer else row["user"]
    shown = ", ".join(record["short"] for record in row["records"][:_RECORDS_SHOWN])
    more = len(row["records"]) - _RECORDS_SHOWN
    tail = " " + _("and {count} more").format(count=more) if more > 0 else ""
    say(f"{when(row['time_ms'])}  {who}  {row['command']}  {shown}{tail}  {through}{state}")
    say("    " + row["why"].replace("\n", " "))
