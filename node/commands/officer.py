"""Records: what an officer does."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from keys.errors import FormatError, LocalError, UsageError
from node.client import Node, open_node, write
from node.commands.common import home_of, misuse, unlock
from node.render import entry_line, entry_page, note, print_json, say, table, when
from protocol.body import encode_record, encode_step
from protocol.codec import Value
from protocol.entry import EntryId
from protocol.frame import Draft

_INT_DIGITS_MAX: Final = 20  # 2^64 has as many
INPUT_BYTES_MAX: Final = 256 * 1024 * 1024
_ID: Final = re.compile(r"[0-9a-f]{1,64}")
_PART: Final = re.compile(r"([^.\[\]]+)|\[(\d{0,9})\]")
_ITEMS_MAX: Final = 1000  # in one array given on the command line


def add(args: argparse.Namespace) -> int:
    """`add`."""
    bodies = _bodies(args, partial(encode_record, args.type), empty=False)
    return _write(args, "record", [("record", body, ()) for body in bodies])


def step(args: argparse.Namespace) -> int:
    """`step`."""
    with open_node(home_of(args)) as node:
        record = _resolve(node, args.id)
    bodies = _bodies(args, partial(encode_step, record, args.step), empty=True)
    return _write(args, "step", [("step", body, (record,)) for body in bodies])


def _write(args: argparse.Namespace, kind: str, drafts: list[Draft]) -> int:
    home = home_of(args)
    path = args.key or (Path(os.environ["HAMKOR_KEY"]) if os.environ.get("HAMKOR_KEY") else None)
    if path is None:
        raise UsageError("whose key? give your key file with --key, or in HAMKOR_KEY")
    signer, _ = unlock(args, path, "officer")

    def progress(done: int) -> None:
        if sys.stderr.isatty() and len(drafts) > 1:
            sys.stderr.write(f"\r{done} of {len(drafts)}" + ("\n" if done == len(drafts) else ""))

    with open_node(home) as node:
        ids = write(node, signer, path, kind, drafts, progress)
    if args.json:
        print_json({"ids": ids})
    else:
        for known in ids[:20]:
            say(known.hex()[:10])
        if len(ids) > 20:
            say(f"and {len(ids) - 20} more")
    return 0


def _resolve(node: Node, prefix: str) -> EntryId:
    """The record that is meant: itself, or the one that a step is on."""
    found = node.ask("show", prefix=_digits(prefix))
    if not isinstance(found, dict):
        raise LocalError(f"no entry here begins with {prefix}; look for it with: hamkor find WORDS")
    if found["kind"] not in ("record", "step"):
        raise UsageError(f"{prefix} is of kind {found['kind']}; steps are added to records")
    return EntryId(bytes.fromhex(str(found.get("record") or found["id"])))


def _digits(prefix: str) -> str:
    """The first digits of an id, as a person may have copied them. Raises UsageError."""
    digits = prefix.strip().lower()
    if _ID.fullmatch(digits) is None:
        raise UsageError(f"{prefix!r} is no id: an id is up to 64 of 0-9 and a-f")
    return digits


def show(args: argparse.Namespace) -> int:
    """`show`: exit 1 when nothing is known."""
    with open_node(home_of(args)) as node:
        found = node.ask("show", prefix=_digits(args.id))
        if not isinstance(found, dict):
            _say_nothing(node, args, None)
            return 1
    if args.json:
        print_json(found)
    else:
        entry_page(found)
    return 0


def find(args: argparse.Namespace) -> int:
    """`find`: exit 1 when nothing is known here."""
    with open_node(home_of(args)) as node:
        answer = node.ask("find", words=" ".join(args.words), limit=args.limit)
        if not isinstance(answer, dict) or not isinstance(answer["hits"], list):
            raise FormatError("the node's answer is not understood; command line and node differ in version")
        hits = answer["hits"]
        if args.json:
            print_json(answer)
        elif hits:
            for hit in hits:
                if isinstance(hit, dict):
                    entry_line(hit)
        else:
            _say_nothing(node, args, answer.get("not_heard"))
    return 0 if hits else 1


def _say_nothing(node: Node, args: argparse.Namespace, missing: Value) -> None:
    """Absence is never plain "none": say who has not been heard."""
    if args.json:
        print_json(None)
        return
    if missing is None and node.running:
        answer = node.ask("status")
        missing = answer.get("not_heard") if isinstance(answer, dict) else None
    note("none known here" if node.running else "none known here; the node is stopped")
    for item in missing if isinstance(missing, list) else []:
        if isinstance(item, dict):
            note(f"  {item['name']} last heard {when(item['heard_ms'])}")


def log(args: argparse.Namespace) -> int:
    """`log`: the newest entries, or from a cursor on; exit 1 when there is none."""
    query: dict[str, Value] = {"limit": args.limit}
    if args.key:
        query["key"] = args.key
    if args.since is not None:
        query["cursor"] = args.since
    elif not args.key:
        query["newest"] = True
    with open_node(home_of(args)) as node:
        answer = node.ask("log", **query)
        if not isinstance(answer, dict) or not isinstance(answer["entries"], list):
            raise FormatError("the node's answer is not understood; command line and node differ in version")
        if args.json and not args.follow:
            print_json(answer)
        else:
            for entry in answer["entries"]:
                _print_entry(args, entry)
        if args.follow:
            query |= {"cursor": answer["cursor"], "newest": False}
            for entry in node.follow("log", **query):
                _print_entry(args, entry)
    return 0 if answer["entries"] else 1


def _print_entry(args: argparse.Namespace, entry: Value) -> None:
    if args.json:
        print_json(entry)
    elif isinstance(entry, dict):
        entry_line(entry)


def who(args: argparse.Namespace) -> int:
    """`who`: exit 1 when nobody fits."""
    with open_node(home_of(args)) as node:
        chains = node.ask("who", name=args.name)
    if args.json:
        print_json(chains)
    elif isinstance(chains, list) and chains:
        rows: list[tuple[object, ...]] = []
        for chain in chains:
            for depth, item in enumerate(chain if isinstance(chain, list) else []):
                if isinstance(item, dict):
                    roles = item["roles"]
                    by = "" if depth == 0 else "certified by "
                    rows.append((
                        "  " * depth + by + str(item["name"]), item["rank"], item["agency"], item["unit"],
                        ", ".join(map(str, roles)) if isinstance(roles, list) else "", str(item["key"])[:16],
                    ))  # fmt: skip
        table(("who", "rank", "agency", "unit", "roles", "key"), rows)
    else:
        note("nobody known here is so named")
    return 0 if chains else 1


# -- fields -------------------------------------------------------------------------------------------


def _bodies(args: argparse.Namespace, body: Callable[[Mapping[str, Value]], bytes], *, empty: bool) -> list[bytes]:
    """The bodies of the entries to write: from a file, standard input, or the words of the command.

    empty: whether there may be none of these, for one entry without fields. Nothing is written when any is wrong.
    """
    words: list[str] = args.fields
    source = args.file or ("-" if words == ["-"] else None)
    with misuse():
        body({})  # the type or step, before any file is read
    if source is None:
        if not words and not empty:
            raise UsageError("no fields; give FIELD=VALUE, or --file FILE")
        fields = parse_fields(words)
        with misuse():
            return [body(fields)]
    if words and words != ["-"]:
        raise UsageError("give fields on the command line or in a file, not both")
    bodies = []
    for number, fields in enumerate(_read_json(source), 1):
        try:
            bodies.append(body(fields))
        except FormatError as error:
            raise FormatError(f"{source}, entry {number}: {error}; nothing was written") from None
    if not bodies:
        raise UsageError(f"{source} holds no fields")
    return bodies


def _read_json(source: str) -> Iterator[dict[str, Value]]:
    """One JSON object, or one a line."""
    try:
        if source == "-":
            text = sys.stdin.read(INPUT_BYTES_MAX + 1)
        else:
            with Path(source).open(encoding="utf-8") as file:
                text = file.read(INPUT_BYTES_MAX + 1)
    except UnicodeDecodeError:
        raise FormatError(f"{source} is not UTF-8 text") from None
    except OSError as error:
        raise LocalError(f"{source} cannot be read: {error.strerror}") from None
    if len(text) > INPUT_BYTES_MAX:
        raise FormatError(f"{source} is over {INPUT_BYTES_MAX} bytes; cut it into parts")
    if not text.strip():
        return
    try:
        whole = [_parse_json(text)]
    except json.JSONDecodeError as mistake:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):  # one object, over one line or many
            raise FormatError(f"{source}, line {mistake.lineno}: not JSON: {mistake.msg}") from None
        whole = [_parse_line(line, f"{source}, line {number}") for number, line in lines]
    for value in whole:
        if not isinstance(value, dict):
            raise FormatError(f"{source}: each entry is a JSON object of fields")
        yield value


def _parse_line(line: str, where: str) -> Value:
    try:
        return _parse_json(line)
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON: {error.msg}") from None
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def _parse_json(text: str) -> Value:
    """JSON in which a number with a fraction becomes the text that was written. Raises also FormatError."""
    try:
        value: Value = json.loads(
            text, parse_float=str, parse_int=_whole, parse_constant=_refuse_constant, object_pairs_hook=_once_each
        )
    except RecursionError:
        raise FormatError("the JSON is nested too deeply") from None
    return value


def _whole(digits: str) -> int:
    if len(digits) > _INT_DIGITS_MAX:
        raise FormatError(f"the number {digits[:24]}... is too large; write it as text")
    return int(digits)


def _refuse_constant(name: str) -> Value:
    raise FormatError(f"{name} is not a number that can be written")


def _once_each(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    """A JSON object in which no name comes twice: one of the two values would be lost in silence."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise FormatError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return fields


def parse_fields(words: list[str]) -> dict[str, Value]:
    """`name=text`, `name:=JSON`, `a.b=text`, `list[]=text`, `list[0].a=text` as one map. Raises UsageError."""
    fields: dict[str, Value] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.strip(":"):
            raise UsageError(f"{word!r} is not FIELD=VALUE")
        value: Value = text
        if name.endswith(":"):
            name = name[:-1]
            try:
                value = _parse_json(text)
            except json.JSONDecodeError as error:
                raise UsageError(f"{name}: {text!r} is not JSON: {error.msg}; for text write {name}=...") from None
            except FormatError as error:
                raise UsageError(f"{name}: {error}") from None
        _set(fields, name, value)
    return fields


def _set(fields: dict[str, Value], name: str, value: Value) -> None:
    parts = _split(name)
    here: Value = fields
    for at, part in enumerate(parts):
        last = at == len(parts) - 1
        fresh: Value = value if last else ([] if isinstance(parts[at + 1], int) else {})
        if isinstance(part, int) and isinstance(here, list):
            index = len(here) if part < 0 else part
            if index > min(len(here), _ITEMS_MAX):
                raise UsageError(f"{name}: item {index} comes before item {len(here)} was given")
            if index == len(here):
                here.append(fresh)
            elif last:
                raise UsageError(f"{name} is given twice")
            here = here[index]
        elif isinstance(part, str) and isinstance(here, dict):
            if last and part in here:
                raise UsageError(f"{name} is given twice")
            here = here.setdefault(part, fresh)
        else:
            raise UsageError(f"{name} contradicts another field")


def _split(name: str) -> list[str | int]:
    """The steps of a dotted name; -1 stands for []: after the last item."""
    parts: list[str | int] = []
    at = 0
    while at < len(name):
        match = _PART.match(name, at)
        if match is None or (at > 0 and match[1] and name[at - 1] != "."):
            raise UsageError(f"{name!r} is no field name; write a.b, list[] or list[0].a")
        parts.append(match[1] if match[1] else int(match[2]) if match[2] else -1)
        at = match.end()
        if at < len(name) and name[at] == ".":
            at += 1
            if at == len(name):
                raise UsageError(f"{name!r} ends with a dot")
    if not parts or not isinstance(parts[0], str):
        raise UsageError(f"{name!r} is no field name; write a.b, list[] or list[0].a")
    return parts
