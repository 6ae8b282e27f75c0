"""The words of an officer's commands: records, workflows, search. What they do is in `commands/`."""

import argparse
from pathlib import Path

from node.arguments import Commands, add_card, add_fields_from, add_passphrase, add_why, command, group, list_of
from node.words import _


def add_officer_commands(commands: Commands) -> None:
    """Add them all."""
    _keys(commands)
    _write(commands)
    _read(commands)
    _requests(commands)
    _alerts(commands)
    _custody(commands)
    _operations(commands)
    _listings(commands)
    _tables(commands)


def _key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", metavar="FILE", type=Path, help=_("your key file (default: HAMKOR_KEY)"))
    add_passphrase(parser)


def _id(parser: argparse.ArgumentParser, name: str = "id") -> None:
    parser.add_argument(name, help=_("the first digits of its id"))


def _more(parser: argparse.ArgumentParser) -> None:
    list_of(parser, "fields", str, "FIELD=VALUE", nargs="*", text=_("more fields; see: hamkor types"))
    _key(parser)


def _keys(commands: Commands) -> None:
    officer = group(commands, "officer", _("an officer's key and card"))
    new = command(
        officer, "new", "agency:new_officer", _("make an officer's key, and the card to be certified beside it"),
        "hamkor officer new --name 'Z. Tosheva' --agency scc --unit imt-4 -o tosheva.key",
    )  # fmt: skip
    new.add_argument("--name", required=True)
    new.add_argument("--agency", required=True)
    new.add_argument("--unit", default="")
    new.add_argument(
        "--role", action="append", choices=("coordinator", "auditor", "admin"), default=[],
        help=_("beside writing records"),
    )  # fmt: skip
    new.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    add_passphrase(new, creates=True)
    add_card(officer, "hamkor officer card tosheva.key")


def _write(commands: Commands) -> None:
    add = command(
        commands, "add", "writing:add", _("write a record, or many from a file"),
        "hamkor add seizure seized_at=now region=Surxondaryo 'items[0].substance=geroin' 'items[0].form=powder'"
        " 'items[0].amount=2.5' 'items[0].unit=kg'",
    )  # fmt: skip
    add.add_argument("type", help=_("such as seizure, intel, alert, rfi; see: hamkor types"))
    list_of(
        add, "fields", str, "FIELD=VALUE", nargs="*",
        text=_("name=text, a.b=text, a[0]=text, a[]=text (one more item), a:=JSON; - reads JSON"),
    )  # fmt: skip
    add_fields_from(add)
    add.add_argument("--edit", action="store_true", help=_("write the fields in $EDITOR"))
    step = command(
        commands, "step", "writing:step", _("add to a record: any step that its type has"),
        "hamkor step 3fa9c1d grade source_grade=A info_grade=1 reason='two more sources'",
    )  # fmt: skip
    _id(step)
    step.add_argument("step", help=_("such as reply, ack, comment; see: hamkor types TYPE"))
    list_of(step, "fields", str, "FIELD=VALUE", nargs="*", text=_("as for hamkor add; an ack needs none"))
    add_fields_from(step)
    amend = command(
        commands, "amend", "writing:amend",
        _("set fields of a record anew; by an officer of another agency it is a proposal"),
        "hamkor amend 3fa9c1d 'items[0].amount=24.410' place='Sariosiyo posti'",
    )  # fmt: skip
    _id(amend)
    list_of(amend, "fields", str, "FIELD=VALUE", nargs="*", text=_("as for hamkor add"))
    amend.add_argument("--unset", action="append", metavar="FIELD", help=_("take a field away; may be repeated"))
    amend.add_argument("--edit", action="store_true", help=_("write the fields in $EDITOR"))
    add_why(amend)
    _key(amend)
    comment = command(
        commands, "comment", "writing:comment", _("add a remark to a record"),
        "hamkor comment 3fa9c1d 'Two more packages in the spare wheel'",
    )  # fmt: skip
    _id(comment)
    list_of(comment, "text", str, "WORD", nargs="*")
    comment.add_argument("--edit", action="store_true", help=_("write it in $EDITOR"))
    _key(comment)
    tag = command(
        commands, "tag", "writing:tag", _("add words to find a record by, or take them away"),
        "hamkor tag 3fa9c1d konvoy sariosiyo --remove unclear",
    )  # fmt: skip
    _id(tag)
    list_of(tag, "tags", str, "WORD", nargs="*")
    tag.add_argument("--remove", action="append", metavar="WORD", help=_("may be repeated"))
    _key(tag)
    link = command(
        commands, "link", "writing:link", _("say how a record relates to another"),
        "hamkor link 3fa9c1d 77be012 --relation part_of",
    )  # fmt: skip
    _id(link)
    _id(link, "to")
    link.add_argument("--relation", default="related", metavar="WORD", help=_("such as part_of, mentions"))
    link.add_argument("--remove", action="store_true", help=_("take the link away"))
    _key(link)
    _settle(commands)


def _settle(commands: Commands) -> None:
    same = command(
        commands, "same", "writing:same",
        _("say that two seizures are one event; sure, and counted once, when both agencies have said so"),
        "hamkor same 3fa9c1d 77be012",
    )  # fmt: skip
    _id(same)
    _id(same, "other")
    same.add_argument("--remove", action="store_true", help=_("take it back"))
    _key(same)
    retract = command(
        commands, "retract", "writing:retract", _("take a record back; it stays and is shown as retracted"),
        "hamkor retract 3fa9c1d 'entered twice'",
    )  # fmt: skip
    _id(retract)
    list_of(retract, "reason", str, "WORD", nargs="*")
    retract.add_argument("--undo", action="store_true", help=_("let it stand again"))
    _key(retract)
    accept = command(
        commands, "accept", "writing:accept", _("make another agency's proposal count, or decline it"),
        "hamkor accept 3fa9c1d",
    )  # fmt: skip
    accept.add_argument("id", help=_("the proposal, or the record where it has only one"))
    accept.add_argument("--decline", nargs="?", const="", metavar="REASON", help=_("let it lapse"))
    _key(accept)
    _files(commands)


def _files(commands: Commands) -> None:
    attach = command(
        commands, "attach", "files:attach", _("attach a file of up to 64 MiB to a record"),
        "hamkor attach 3fa9c1d foto.jpg",
    )  # fmt: skip
    _id(attach)
    attach.add_argument("file", type=Path, metavar="FILE")
    attach.add_argument("--name", help=_("instead of the file's own name"))
    _key(attach)
    fetch = command(
        commands, "fetch", "files:fetch", _("get a record's files from the nodes that have them, and write them"),
        "hamkor fetch 3fa9c1d -o .",
    )  # fmt: skip
    _id(fetch)
    fetch.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help=_("write them there (default: only fetch them)")
    )
    fetch.add_argument("--name", help=_("only the file of this name"))
    fetch.add_argument("--wait", type=int, default=60, metavar="SECONDS", help=_("how long to wait (default: 60)"))
    add_why(fetch)


def _read(commands: Commands) -> None:
    show = command(
        commands,
        "show",
        "reading:show",
        _("show a record as it stands, and what happened to it"),
        "hamkor show 3fa9c1d",
    )
    _id(show)
    add_why(show)
    history = command(
        commands, "history", "reading:history", _("who set what when, and what that replaced"), "hamkor history 3fa9c1d"
    )
    _id(history)
    add_why(history)
    conflicts = command(
        commands, "conflicts", "reading:conflicts",
        _("fields with several values, and proposals; settle one with --take"),
        "hamkor conflicts 3fa9c1d --take place=2",
    )  # fmt: skip
    conflicts.add_argument("id", nargs="?", help=_("the first digits of its id"))
    conflicts.add_argument("--take", action="append", metavar="FIELD=N", help=_("the value that is to stand"))
    add_why(conflicts)
    _key(conflicts)
    find = command(
        commands, "find", "reading:find", _("find records: words, selectors, places, times"),
        "hamkor find geroin type:seizure region:Surxondaryo since:2026-03 near:38.41,67.96,20 plate:01A777BC",
    )  # fmt: skip
    list_of(find, "words", str, "QUERY", text=_(
        'words, "a phrase", @saved, and type: region: unit: agency: by: since: until: status: substance: tag:'
        " near:LAT,LON,KM plate: phone:"
    ))  # fmt: skip
    find.add_argument("--limit", type=int, default=20)
    find.add_argument("--format", choices=("text", "json", "ids"), default="text")
    find.add_argument("--save", metavar="NAME", help=_("keep the query, to be used as @NAME"))
    add_why(find)
    searches = command(commands, "searches", "reading:searches", _("the saved searches"), "hamkor searches")
    searches.add_argument("--forget", metavar="NAME")
    watch = command(
        commands, "watch", "reading:watch", _("print new hits as they arrive"), "hamkor watch plate:01A777BC"
    )
    list_of(watch, "words", str, "QUERY")
    add_why(watch)
    stats = command(
        commands, "stats", "reading:stats", _("count seizures and add up masses, each event once"),
        "hamkor stats --by region since:2026",
    )  # fmt: skip
    list_of(stats, "words", str, "QUERY", nargs="*")
    stats.add_argument("--by", choices=("substance", "region", "month", "agency"), default="substance")
    types = command(
        commands, "types", "reading:types", _("the types of records: fields, codes, an example that works"),
        "hamkor types seizure",
    )  # fmt: skip
    types.add_argument("type", nargs="?")
    log = command(commands, "log", "reading:log", _("entries as they came"), "hamkor log --follow")
    log.add_argument("--key", metavar="KEY", help=_("one log only: a key's first digits, or a name"))
    log.add_argument("--limit", type=int, default=20)
    log.add_argument(
        "--since", "--since-cursor", type=int, metavar="CURSOR",
        help=_("from this arrival on (with --key: from this seq)"),
    )  # fmt: skip
    log.add_argument("--follow", action="store_true", help=_("go on as new ones come"))
    add_why(log)
    consultations = command(
        commands, "consultations", "consulting:consultations",
        _("who read marked records, when, what for, and through which node"), "hamkor consultations tosheva --since 7d",
    )  # fmt: skip
    consultations.add_argument(
        "about", nargs="?", metavar="ID_OR_OFFICER",
        help=_("a record, by its id's first digits, or an officer or account (default: all)"),
    )  # fmt: skip
    consultations.add_argument("--since", metavar="TIME", help=_("from then on: 2026-03-14T22:00, 3d"))
    consultations.add_argument("--until", metavar="TIME", help=_("up to then"))
    consultations.add_argument("--limit", type=int, default=100)
    who = command(
        commands, "who", "standing:who",
        _("the certificates from a key or name up to the charter, and what became of it"), "hamkor who tosheva",
    )  # fmt: skip
    who.add_argument("name", help=_("a key's first digits, a name, an agency or a unit"))


def _requests(commands: Commands) -> None:
    rfi = group(commands, "rfi", _("requests for information, with a clock from receipt: 8 h, 3 days, 7 days"))
    new = command(
        rfi, "new", "workflows:rfi_new", _("ask units"),
        "hamkor rfi new --to imt-1 --urgency urgent 'Owner and crossings of 01B204CA since January?'",
    )  # fmt: skip
    list_of(new, "question", str, "WORD")
    new.add_argument("--to", action="append", required=True, metavar="UNIT", help=_("may be repeated"))
    new.add_argument("--urgency", choices=("urgent", "normal", "routine"), default="normal")
    new.add_argument("--purpose")
    new.add_argument("--due", metavar="TIME", help=_("instead of the time that the urgency gives"))
    new.set_defaults(fields=[])
    _key(new)
    for name, run, summary in (
        ("ack", "rfi_ack", _("say that your unit has it")),
        ("reply", "rfi_reply", _("answer it")),
        ("refuse", "rfi_refuse", _("say that it will not be answered, and why")),
    ):
        parser = command(rfi, name, f"workflows:{run}", summary, f"hamkor rfi {name} 3fa9c1d ...")
        _id(parser)
        if name == "ack":
            _more(parser)
        else:
            list_of(parser, "answer" if name == "reply" else "reason", str, "WORD")
            parser.set_defaults(fields=[])
            _key(parser)
    delay = command(
        rfi, "delay", "workflows:rfi_delay", _("say until when the answer will take, and why"),
        "hamkor rfi delay 3fa9c1d --until +2d 'the register is closed'",
    )  # fmt: skip
    _id(delay)
    list_of(delay, "reason", str, "WORD")
    delay.add_argument("--until", required=True, metavar="TIME", help=_("a time, or +2d, +8h from now"))
    delay.set_defaults(fields=[])
    _key(delay)
    every = command(rfi, "list", "workflows:rfi_list", _("all requests"), "hamkor rfi list")
    every.set_defaults(due_only=False)
    add_why(every)
    due = command(rfi, "due", "workflows:rfi_list", _("what is unanswered, the most urgent first"), "hamkor rfi due")
    due.set_defaults(due_only=True)
    add_why(due)


def _alerts(commands: Commands) -> None:
    alert = group(commands, "alert", _("alerts to units, and how far each has come"))
    send = command(
        alert, "send", "workflows:alert_send", _("alert units"),
        "hamkor alert send --to imt-1 --to imt-3 --target 01B204CA 'Stop and search; fuel tanks.'",
    )  # fmt: skip
    list_of(send, "instruction", str, "WORD")
    send.add_argument("--to", action="append", default=[], metavar="UNIT", help=_("may be repeated"))
    send.add_argument("--headline")
    send.add_argument("--status", choices=("actual", "exercise", "test"), default="actual")
    send.add_argument("--target", action="append", default=[], metavar="TEXT", help=_("a plate, phone or name"))
    send.add_argument("--until", metavar="TIME", help=_("valid until then; a time, or +2d, +8h from now"))
    about = send.add_mutually_exclusive_group()
    about.add_argument("--update", metavar="ID", help=_("in place of this alert"))
    about.add_argument("--cancel", metavar="ID", help=_("to end this alert"))
    send.set_defaults(fields=[])
    _key(send)
    ack = command(
        alert, "ack", "workflows:alert_ack", _("say that your unit has understood"), "hamkor alert ack 3fa9c1d"
    )
    _id(ack)
    _more(ack)
    add_why(command(
        alert, "list", "workflows:alert_list", _("by unit: delivered, read, acknowledged"), "hamkor alert list"
    ))  # fmt: skip
    sop = group(commands, "sop", _("standing procedures, and who has acknowledged them"))
    publish = command(
        sop, "publish", "workflows:sop_publish", _("publish a procedure"),
        "hamkor sop publish --title 'Sealing of exhibits' --version-of 2.1 --from 2026-04-01 narrative='Two seals.'",
    )  # fmt: skip
    publish.add_argument("--title", required=True)
    publish.add_argument("--version-of", required=True, metavar="VERSION")
    publish.add_argument("--from", dest="from_day", metavar="DAY")
    publish.add_argument("--to", action="append", default=[], metavar="UNIT", help=_("may be repeated"))
    _more(publish)
    ack = command(sop, "ack", "workflows:sop_ack", _("say that you have read it"), "hamkor sop ack 3fa9c1d")
    _id(ack)
    _more(ack)
    add_why(command(sop, "list", "workflows:sop_list", _("procedures, and who is missing"), "hamkor sop list"))


def _custody(commands: Commands) -> None:
    evidence = group(commands, "evidence", _("exhibits, and who holds them by both sides' word"))
    give = command(
        evidence, "give", "workflows:evidence_give", _("hand an exhibit over; pending until it is taken"),
        "hamkor evidence give 3fa9c1d --to lab --seal 'A 004411' --mass 24350",
    )  # fmt: skip
    _id(give)
    give.add_argument("--to", required=True, help=_("the unit or officer that takes it"))
    give.add_argument("--reason")
    take = command(
        evidence, "take", "workflows:evidence_take", _("take over what was given"),
        "hamkor evidence take 3fa9c1d --seal 'A 004411' --mass 24348",
    )  # fmt: skip
    _id(take)
    take.add_argument("--remark")
    for parser in (give, take):
        parser.add_argument("--seal", required=True, help=_("the seal's number, as you see it"))
        parser.add_argument("--mass", required=True, metavar="GRAMS", help=_("net, as you weighed it"))
        parser.set_defaults(fields=[])
        _key(parser)
    add_why(command(evidence, "list", "workflows:evidence_list", _("exhibits and every move"), "hamkor evidence list"))


def _operations(commands: Commands) -> None:
    op = group(commands, "op", _("operations, and whether two meet in place and time"))
    add = command(
        op, "add", "workflows:op_add", _("announce an operation; says at once whether another meets it"),
        "hamkor op add --kind search --from '2026-03-14 22:00' --to '2026-03-15 06:00' --at 38.41,67.96 --radius 2000",
    )  # fmt: skip
    add.add_argument("--kind", required=True, choices=("controlled_delivery", "surveillance", "search", "checkpoint"))
    add.add_argument("--from", dest="from_time", required=True, metavar="TIME")
    add.add_argument("--to", dest="to_time", required=True, metavar="TIME")
    add.add_argument("--at", required=True, metavar="LATITUDE,LONGITUDE")
    add.add_argument("--radius", required=True, type=int, metavar="METRES")
    add.add_argument("--unit", help=_("the unit that leads (default: yours)"))
    add.add_argument("--participant", action="append", default=[], metavar="UNIT", help=_("may be repeated"))
    _more(add)
    listing = command(
        op, "list", "workflows:op_list", _("operations, which of them meet, and how sure that is"), "hamkor op list"
    )
    listing.add_argument("--all", action="store_true", help=_("those that have ended too"))
    add_why(listing)


def _listings(commands: Commands) -> None:
    for name, summary, columns in (
        ("asset", _("equipment, who holds it and its state"), (
            "serial", "kind", "holder_unit", "condition", "next_service",
        )),
        ("roster", _("who serves where"), ("unit", "officer", "agency", "from", "to")),
        ("sitrep", _("situation reports of units"), ("unit", "period", "counts", "issues")),
    ):  # fmt: skip
        named = group(commands, name, summary)
        add = command(named, "add", "workflows:add_typed", _("write one"), f"hamkor {name} add FIELD=VALUE")
        add.set_defaults(type=name)
        _more(add)
        listing = command(named, "list", "workflows:listing", _("list them"), f"hamkor {name} list")
        listing.set_defaults(type=name, columns=columns)
        add_why(listing)
        if name == "asset":
            move = command(
                named,
                "move",
                "workflows:asset_move",
                _("hand it to another unit"),
                "hamkor asset move 3fa9c1d --unit imt-2",
            )
            _id(move)
            move.add_argument("--unit", required=True)
            move.add_argument("--reason")
            service = command(
                named, "service", "workflows:asset_service", _("say that it was serviced or checked"),
                "hamkor asset service 3fa9c1d --condition good --next 2026-09-01",
            )  # fmt: skip
            _id(service)
            service.add_argument("--condition", required=True, choices=("good", "worn", "broken", "lost"))
            service.add_argument("--next", metavar="DAY")
            service.add_argument("--remark")
            for parser in (move, service):
                parser.set_defaults(fields=[])
                _key(parser)


def _tables(commands: Commands) -> None:
    take = command(
        commands, "import-csv", "tables:import_csv", _("write a record for each row of a table; safe to repeat"),
        "hamkor import-csv seizures.csv --type seizure --map seizures.toml --dry-run",
    )  # fmt: skip
    take.add_argument("file", type=Path, metavar="FILE")
    take.add_argument("--type", required=True)
    take.add_argument(
        "--map", type=Path, required=True, metavar="MAPFILE", help=_("which column is which field (TOML)")
    )
    take.add_argument("--dry-run", action="store_true", help=_("check every row, write nothing"))
    take.add_argument("--refused", type=Path, metavar="FILE", help=_("write refused rows there, with line and reason"))
    _key(take)
    report = command(
        commands, "report", "tables:report", _("one page to look at or print: map, timeline, tables"),
        "hamkor report since:2026 -o report.html",
    )  # fmt: skip
    list_of(report, "words", str, "QUERY", nargs="*")
    report.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    add_why(report)
