"""What nodes attest: their checkpoints, the signed notes of these, and receipts for records."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any, Final

from keys.errors import LocalError
from keys.files import replace_file
from node.client import open_node
from node.clock import wall_ms
from node.commands.common import digits, home_of
from node.commands.reading import answer_map, answer_rows
from node.render import note, print_json, say, span, table, when
from node.words import _, noted
from protocol.codec import Value

HELD_BACK_MS: Final = 60_000  # what is on its way is not held back
BEHIND_MS: Final = 600_000  # two of the usual intervals: then a node is late
_ALARMS_SHOWN: Final = 5
_VERDICTS: Final = {
    "agrees": noted("agrees"), "differs": noted("DIFFERS"), "parts": noted("has another branch"),
    "malformed": noted("malformed"), None: noted("not all of it is here"),
}  # fmt: skip


def show(args: argparse.Namespace) -> int:
    """`checkpoint show`: the last of every node, or one in full; exit 1 when there is none."""
    if not args.name:
        return _show_all(args)
    with open_node(home_of(args)) as node:
        found = node.ask("checkpoint", name=args.name)
    if args.json:
        print_json(found)
    elif found is None:
        note(_("no checkpoint of {name} is here").format(name=args.name))
    else:
        _show_one(answer_map(found))
    return 0 if found is not None else 1


def _show_all(args: argparse.Namespace) -> int:
    with open_node(home_of(args)) as node:
        rows = answer_rows(node.ask("checkpoints"))
    if args.json:
        print_json(rows)
    else:
        table(
            (_("node"), _("unit"), _("checkpoint"), _("written"), _("entries"), _("here")),
            [
                (row["name"], row["unit"], str(last["id"])[:12], when(last["time_ms"]), last["entries"],
                 _verdict(last))
                if (last := row["checkpoint"]) is not None else (row["name"], row["unit"], _("none"), "", None, "")
                for row in rows
            ],
        )  # fmt: skip
    return 0 if any(row["checkpoint"] for row in rows) else 1


def _verdict(found: Mapping[str, Any]) -> str:
    known = _VERDICTS[found["verdict"]]
    return _(known)


def _show_one(found: Mapping[str, Any]) -> None:
    author = found["author"]
    status = str(found["status"])
    verdict = _(status) if status != "ok" else _verdict(found)
    told = [
        (_("checkpoint"), str(found["id"])),
        (_("node"), f"{author['name'] or author['key']} ({author['agency'] or _('uncertified')})"),
        (_("written"), when(found["time_ms"])),
    ]
    if found["note"] is not None:
        what = _("{entries} entries in {logs} logs").format(entries=found["entries"], logs=found["logs"])
        told += [(_("attests"), what), (_("root"), found["root"])]
    told.append((_("here"), verdict))
    if found["here"] is not None and found["here"] != found.get("root"):
        told.append((_("root here"), found["here"]))
    if found["fault"]:
        told.append((_("fault"), found["fault"]))
    told.append((_("note key"), found["vkey"]))
    _say_pairs(told)
    heads = found["heads"]
    if heads:
        say()
        table(
            (_("log"), _("name"), _("size"), _("last entry")),
            [(row["key"][:12], row["name"], row["size"], (row["id"] or "")[:12]) for row in heads],
        )


def _say_pairs(pairs: list[tuple[str, str]]) -> None:
    width = max(len(label) for label, _text in pairs) + 2
    for label, text in pairs:
        say(label.ljust(width) + text)


def export(args: argparse.Namespace) -> int:
    """`checkpoint export`: a signed note; exit 1 when there is none."""
    with open_node(home_of(args)) as node:
        found = node.ask("checkpoint", name=args.name or "")
    if not isinstance(found, dict) or found["note"] is None:
        note(_("no checkpoint of {name} is here").format(name=args.name or _("this node")))
        return 1
    if args.key_only:
        say(str(found["vkey"]))
        return 0
    text = str(found["note"])
    if args.output is not None:
        try:
            replace_file(args.output, text.encode())
        except OSError as error:
            raise LocalError(f"{args.output} cannot be written: {error.strerror}") from None
    if args.json:
        print_json({"id": found["id"], "vkey": found["vkey"], "note": text})
    elif args.output is None:
        say(text.removesuffix("\n"))
    else:
        say(_("{file}: the note of checkpoint {id}").format(file=args.output, id=str(found["short"])))
    if not args.json:
        note(_("its key, for any verifier of signed notes: {key}").format(key=found["vkey"]))
    return 0


def receipts(args: argparse.Namespace) -> int:
    """`receipts`: by which checkpoint each node first attested an entry; exit 1 when nothing is known."""
    with open_node(home_of(args)) as node:
        found = node.ask("receipts", prefix=digits(args.id), all=args.all)
    if found is None:
        note(_("nothing is known here of {id}").format(id=args.id))
        return 1
    rows = answer_rows(found)
    if args.json:
        print_json(rows)
        return 0
    for number, row in enumerate(rows):
        if number:
            say()
        _say_receipts(row)
    return 0


def _say_receipts(row: Mapping[str, Any]) -> None:
    nodes = row["nodes"]
    attested = [known for known in nodes if known["checkpoint"] is not None]
    head = _("{id} ({kind}) of {time}: attested by {count} of {all} nodes")
    say(head.format(id=row["short"], kind=row["kind"], time=when(row["time_ms"]), count=len(attested), all=len(nodes)))
    table(
        (_("unit"), _("node"), _("agency"), _("held by"), _("checkpoint"), _("here")),
        [
            (known["unit"], known["name"], known["agency"], when(last["time_ms"]), str(last["id"])[:12],
             _verdict(last))
            if (last := known["checkpoint"]) is not None
            else (known["unit"], known["name"], known["agency"], _("not yet"), "", "")
            for known in nodes
        ],
    )  # fmt: skip


# -- in `hamkor status` -------------------------------------------------------------------------------


def status_rows(answer: Mapping[str, Value]) -> list[tuple[str, str]]:
    """(label, text) of what checkpoints tell: one line where all nodes agree, one more for each that does not."""
    found: Any = answer.get("checkpoints")
    if not isinstance(found, dict):
        return []
    nodes = [row for row in found["nodes"] if not row["me"]]
    wrong = [line for row in nodes for line in _wrong(row)]
    agreeing = [row for row in nodes if not any(_wrong(row)) and row["checkpoint"] is not None]
    times = [row["checkpoint"]["time_ms"] for row in found["nodes"] if row["checkpoint"] is not None]
    said = _("{count} of {all} other nodes agree, the last one is of {time}")
    rows = [(_("checkpoints"), said.format(count=len(agreeing), all=len(nodes), time=when(max(times, default=None))))]
    for alarm in found["alarms"][:_ALARMS_SHOWN]:
        about = alarm["about"]["name"] if alarm["about"] is not None else "?"
        told = _("{by} on checkpoint {id} of {node}, {time}")
        by, known = alarm["by"]["name"], alarm["checkpoint"][:12]
        rows.append((_("ALARM"), told.format(by=by, id=known, node=about, time=when(alarm["time_ms"]))))
    if len(found["alarms"]) > _ALARMS_SHOWN:
        rows.append((_("ALARM"), _("and {count} more (--json)").format(count=len(found["alarms"]) - _ALARMS_SHOWN)))
    return rows + wrong


def _wrong(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is to be said of one node."""
    name, now_ms, last = row["name"], wall_ms(), row["checkpoint"]
    if row["differing"]:
        told = _("checkpoint {id} of {node} contradicts what is held here (hamkor checkpoint show {id})")
        yield _("DIFFERS"), told.format(id=row["differing"][0][:12], node=name)
    if row["malformed"]:
        told = _("{node} wrote what is no checkpoint (hamkor checkpoint show {id})")
        yield _("MALFORMED"), told.format(id=row["malformed"][0][:12], node=name)
    if last is not None and last["verdict"] == "parts":
        yield _("PARTS"), _("{node} has another branch of a forked log (hamkor forks)").format(node=name)
    held = row["held_back"]
    if held["entries"] and now_ms - held["since_ms"] >= HELD_BACK_MS:
        whose = ", ".join(log["name"] or log["key"][:12] for log in held["logs"][:3])
        told = _("{entries} entries that {node} attests are not here, for {span}: of {logs}")
        values = {"entries": held["entries"], "node": name, "span": span(now_ms - held["since_ms"]), "logs": whose}
        yield _("HELD BACK"), told.format(**values)
    behind = row["behind"]
    if behind["entries"] and now_ms - (behind["since_ms"] or 0) >= BEHIND_MS:
        if last is None:
            yield _("behind"), _("{node} has attested nothing yet").format(node=name)
        else:
            told = _("{node} has not attested {entries} entries; its last checkpoint is of {time}")
            yield _("behind"), told.format(node=name, entries=behind["entries"], time=when(last["time_ms"]))
