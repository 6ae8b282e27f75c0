"""Reading: finding records, and what is known of each."""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from keys.errors import FormatError, LocalError, UsageError
from keys.files import replace_file
from node.client import Node, open_node
from node.commands.common import digits, home_of
from node.commands.purpose import purpose, read_one, tell_masked
from node.files import FileStore
from node.home import Home
from node.render import (
    entry_line,
    entry_page,
    hit_line,
    lines_of,
    masked_text,
    note,
    print_json,
    red,
    say,
    table,
    when,
    who_of,
)
from node.words import _
from protocol.codec import Value
from protocol.schema import resolve, step_schemas, type_names, type_schema

_SAVED_MAX: Final = 200
_UNKNOWN_ANSWER: Final = "the node's answer is not understood; command line and node differ in version"


def answer_map(value: Value) -> dict[str, Value]:
    """An answer that is a map. Raises FormatError on anything else."""
    if not isinstance(value, dict):
        raise FormatError(_UNKNOWN_ANSWER)
    return value


def answer_rows(value: Value) -> list[dict[str, Any]]:
    """An answer that is a list of maps, taken to have the fields that this version's nodes give."""
    if not isinstance(value, list):
        raise FormatError(_UNKNOWN_ANSWER)
    return [row for row in value if isinstance(row, dict)]


# -- one record ---------------------------------------------------------------------------------------


def show(args: argparse.Namespace) -> int:
    """`show`: exit 1 when nothing is known."""
    with open_node(home_of(args)) as node:
        found = read_one(args, node, "show", prefix=digits(args.id))
        if not isinstance(found, dict):
            tell_nothing(node, as_json=args.json)
            return 1
    store = FileStore(home_of(args).files_path)
    for item in answer_rows(found.get("files", [])):
        item["here"] = not store.missing(bytes.fromhex(item["chunks"]))
    if args.json:
        print_json(found)
    else:
        entry_page(found)
    return 0


def history(args: argparse.Namespace) -> int:
    """`history`: who set what when, and what that replaced."""
    with open_node(home_of(args)) as node:
        found = read_one(args, node, "history", prefix=digits(args.id))
        if not isinstance(found, dict):
            tell_nothing(node, as_json=args.json)
            return 1
    if args.json:
        print_json(found)
        return 0
    for row in answer_rows(found["history"]):
        state = red(f"  [{_(str(row['state']))}]") if row["state"] else ""
        say(f"{row['short']}  {when(row['time_ms'])}  {who_of(row)}  {row['step']}{state}")
        for change in row["changes"]:
            after = _("removed") if change.get("removed") else _text(change.get("value"))
            say(f"    {change['field']}: {after}")
            for old in change["replaces"]:
                before = _("removed") if old.get("removed") else _text(old.get("value"))
                say("        " + _("replaces {value} ({who}, {time})").format(
                    value=before, who=who_of(old), time=when(old["time_ms"])))  # fmt: skip
        for name, value in lines_of(row["fields"], ""):
            say(f"    {name}: {value}")
        for missing in row.get("not_here") or ():
            say("    " + _("names entry {id}, which is not here").format(id=missing[:12]))
    return 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def conflicts(args: argparse.Namespace) -> int:
    """`conflicts`: what is not settled; with --take, settle it. Exit 1 when there is none."""
    if args.take:
        if args.id is None:
            raise UsageError(_("which record? give the first digits of its id"))
        from node.commands.writing import take  # not above: what only reads needs nothing that signs

        return take(args)
    with open_node(home_of(args)) as node:
        rows = answer_rows(node.ask("conflicts", **purpose(args)))
    if args.id is not None:
        rows = [row for row in rows if str(row["id"]).startswith(digits(args.id))]
    if args.json:
        print_json(rows)
        return 0 if rows else 1
    for row in rows:
        say(f"{row['short']}  {row['type']}  {row['agency']}  {masked_text(row) or row['summary']}")
        for name, values in row["conflicts"].items():
            for number, said in enumerate(values, 1):
                value = _("removed") if said.get("removed") else _text(said.get("value"))
                say(f"    {name}={number}: {value}  ({who_of(said)}, {when(said['time_ms'])})")
        for proposal in row["proposals"]:
            say("    " + _("proposal {id} by {who}, {time}").format(
                id=proposal["short"], who=who_of(proposal), time=when(proposal["time_ms"])))  # fmt: skip
            for name, value in proposal["set"].items():
                after = _("removed") if value is None else _text(value)
                say(f"        {name}: {after}")
    tell_masked(rows)
    if rows:
        note(_("settle with: hamkor conflicts ID --take FIELD=NUMBER; answer a proposal with: hamkor accept PROPOSAL"))
    else:
        note(_("nothing is in conflict here"))
    return 0 if rows else 1


# -- many records -------------------------------------------------------------------------------------


def find(args: argparse.Namespace) -> int:
    """`find`: exit 1 when nothing is known here."""
    home = home_of(args)
    words = _with_saved(home, " ".join(args.words))
    if args.save:
        _save(home, args.save, words)
    form = "json" if args.json else args.format
    why = purpose(args) if form != "ids" else {}  # an id is no content
    with open_node(home) as node:
        answer = answer_map(node.ask("find", words=words, limit=args.limit, **why))
        hits = answer_rows(answer["hits"])
        if form == "json":
            print_json(answer)
        elif form == "ids":
            for hit in hits:
                say(str(hit["id"]))
        elif hits:
            for hit in hits:
                hit_line(hit)
            tell_masked(hits)
        else:
            tell_nothing(node, missing=answer.get("not_heard"))
    return 0 if hits else 1


def _saved(home: Home) -> dict[str, str]:
    try:
        found = json.loads(home.searches_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise LocalError(f"{home.searches_path}: {error}") from None
    return {str(name): str(words) for name, words in found.items()} if isinstance(found, dict) else {}


def _with_saved(home: Home, words: str) -> str:
    """The query with each @NAME replaced by the search that was saved so."""
    if "@" not in words:
        return words
    known = _saved(home)
    parts = []
    for word in words.split(" "):
        if word.startswith("@") and word[1:] not in known:
            raise UsageError(_("there is no saved search {name}; see: hamkor searches").format(name=word))
        parts.append(known[word[1:]] if word.startswith("@") else word)
    return " ".join(parts)


def _save(home: Home, name: str, words: str) -> None:
    known = _saved(home)
    if not name.isidentifier() or len(name) > 40 or len(known) >= _SAVED_MAX:
        raise UsageError(_("a saved search has a short name of letters and digits, such as surxon"))
    _write_saved(home, known | {name: words})


def _write_saved(home: Home, known: Mapping[str, str]) -> None:
    try:
        text = json.dumps(dict(sorted(known.items())), ensure_ascii=False, indent=1)
        replace_file(home.searches_path, (text + "\n").encode())
    except OSError as error:
        raise LocalError(f"{home.searches_path}: {error.strerror}") from None


def searches(args: argparse.Namespace) -> int:
    """`searches`: the saved ones."""
    home = home_of(args)
    known = _saved(home)
    if args.forget:
        if args.forget not in known:
            raise UsageError(_("there is no saved search {name}; see: hamkor searches").format(name=args.forget))
        _write_saved(home, {name: words for name, words in known.items() if name != args.forget})
        return 0
    if args.json:
        print_json(known)
    else:
        table((_("name"), _("search")), [(f"@{name}", words) for name, words in sorted(known.items())])
    return 0 if known else 1


def watch(args: argparse.Namespace) -> int:
    """`watch`: new hits as they arrive, until interrupted."""
    home = home_of(args)
    words = _with_saved(home, " ".join(args.words))
    with open_node(home) as node:
        for hit in node.follow("watch", words=words, **purpose(args)):
            if args.json:
                print_json(hit)
            elif isinstance(hit, dict):
                hit_line(cast("dict[str, Any]", hit))
    return 0


def stats(args: argparse.Namespace) -> int:
    """`stats`: seizures by substance, region, month or agency, each event once."""
    with open_node(home_of(args)) as node:
        answer = answer_map(node.ask("stats", words=" ".join(args.words), by=args.by))
        rows = answer_rows(answer["rows"])
        if args.json:
            print_json(answer)
            return 0 if rows else 1
        if not rows:
            tell_nothing(node, missing=answer.get("not_heard"))
            return 1
    shown = []
    for row in rows:
        other = ", ".join(f"{amount} {unit}" for unit, amount in row["other"].items())
        shown.append((row["key"] or "?", row["count"], row["mass_g"], other))
    table((_(args.by), _("seizures"), _("grams"), _("beside")), shown)
    if answer["same"]:
        note(_("{count} reports left out: the same event is counted once").format(count=answer["same"]))
    for one, other in cast("list[list[str]]", answer["possibly"]):
        note(_("possibly the same, counted twice until both agencies say so: {one} and {other}").format(
            one=one, other=other))  # fmt: skip
    tell_missing(answer.get("not_heard"))
    return 0


def tell_nothing(node: Node, missing: Value = None, *, as_json: bool = False) -> None:
    """Absence is never plain "none": say who has not been heard."""
    if as_json:
        print_json(None)
        return
    if missing is None and node.running:
        missing = answer_map(node.ask("status")).get("not_heard")
    note(_("none known here") if node.running else _("none known here; the node is stopped"))
    tell_missing(missing)


def tell_missing(missing: Value) -> None:
    """The nodes that are not heard from now, and since when."""
    for item in missing if isinstance(missing, list) else []:
        if isinstance(item, dict):
            note("  " + _("{name} last heard {time}").format(name=item["name"], time=when(item["heard_ms"])))


def log(args: argparse.Namespace) -> int:
    """`log`: the newest entries, or from a cursor on; exit 1 when there is none."""
    query: dict[str, Value] = {"limit": args.limit, **purpose(args)}
    if args.key:
        query["key"] = args.key
    if args.since is not None:
        query["cursor"] = args.since
    elif not args.key:
        query["newest"] = True
    with open_node(home_of(args)) as node:
        answer = answer_map(node.ask("log", **query))
        entries = answer_rows(answer["entries"])
        if args.json and not args.follow:
            print_json(answer)
        else:
            for entry in entries:
                _print_entry(args, entry)
            tell_masked(entries)
        if args.follow:
            query |= {"cursor": answer["cursor"], "newest": False}
            for item in node.follow("log", **query):
                _print_entry(args, cast("dict[str, Any]", item))
    return 0 if entries else 1


def _print_entry(args: argparse.Namespace, entry: dict[str, Any]) -> None:
    if args.json:
        print_json(entry)
    else:
        entry_line(entry)


# -- types --------------------------------------------------------------------------------------------


def types(args: argparse.Namespace) -> int:
    """`types`: the types of records, or all about one."""
    if args.type is None:
        schemas = {name: type_schema(name) for name in type_names()}
        if args.json:
            print_json({name: {"title": s["title"], "description": s["description"]} for name, s in schemas.items()})
        else:
            table((_("type"), _("what it is"), _("fields that it needs")), [
                (name, _(s["description"]), ", ".join(s["required"])) for name, s in schemas.items()
            ])  # fmt: skip
        return 0
    schema = type_schema(args.type)
    if args.json:
        print_json({"schema": schema, "steps": step_schemas(args.type)})
        return 0
    say(f"{args.type}: {_(schema['description'])}")
    say()
    table((_("field"), _("what"), _("allowed")), list(_field_rows(schema, "")))
    own = schema["steps"]
    if own:
        say()
        for name, step in own.items():
            fields = ", ".join(f"{field}*" if field in step["required"] else field for field in step["properties"])
            say(f"  hamkor step ID {name}: {_(step['description'])} ({fields})")
    say()
    say(_("* is needed. An example:"))
    say("  " + example_command(args.type))
    return 0


def _field_rows(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        full = resolve(field)
        mark = "*" if name in schema.get("required", ()) else ""
        allowed = " ".join(full["enum"]) if "enum" in full else ""
        if full.get("type") == "array":
            allowed = _("a list")
        elif full.get("type") in ("integer", "boolean"):
            allowed = _("a whole number") if full["type"] == "integer" else "yes, no"
        yield f"{prefix}{name}{mark}", _(full.get("description", "")), allowed
        inner = resolve(full.get("items", {})) if full.get("type") == "array" else full
        if inner.get("properties"):
            yield from _field_rows(inner, f"{prefix}{name}{'[0]' if full.get('type') == 'array' else ''}.")


def example_command(type_name: str) -> str:
    """A command that writes the type's example."""
    words = []
    for name, value in lines_of(cast("dict[str, Value]", type_schema(type_name)["examples"][0]), ""):
        plain = value.replace("'", "'\\''")
        words.append(f"'{name}={plain}'" if plain != name and not f"{name}{plain}".isalnum() else f"{name}={plain}")
    return f"hamkor add {type_name} " + " ".join(words)
