"""Files that belong to records: kept in chunks beside the ledger, fetched when asked for."""

import argparse
import mimetypes
import sys
import time
from pathlib import Path
from typing import Any

from keys.errors import LocalError, UsageError
from node.client import Node, open_node
from node.commands.common import digits, home_of
from node.commands.purpose import read_one
from node.commands.reading import answer_map, answer_rows, tell_missing, tell_nothing
from node.commands.writing import target_of, write_step
from node.files import FileStore
from node.render import note, print_json, say
from node.words import _
from protocol.codec import Value

_POLL_S = 0.2


def attach(args: argparse.Namespace) -> int:
    """`attach`: keep the file here, and name it in a step on the record."""
    target = target_of(args, args.id)
    store = FileStore(home_of(args).files_path)
    list_hash, size, whole = store.add_file(args.file)
    name = args.name or args.file.name
    fields: dict[str, Value] = {
        "name": name, "size": size, "sha256": whole.hex(), "chunks": list_hash.hex(),
        "media": mimetypes.guess_type(name)[0] or "application/octet-stream",
    }  # fmt: skip
    return write_step(args, target, "attach", fields)


def fetch(args: argparse.Namespace) -> int:
    """`fetch`: exit 1 when some part could not be had in time; what came is kept, and the next fetch goes on."""
    home = home_of(args)
    store = FileStore(home.files_path)
    with open_node(home) as node:
        found = read_one(args, node, "show", prefix=digits(args.id))
        if not isinstance(found, dict):
            tell_nothing(node, as_json=args.json)
            return 1
        files = [item for item in answer_rows(found.get("files", [])) if args.name in (None, item["name"])]
        if not files:
            raise UsageError(_("{id} has no such file").format(id=args.id))
        left = {item["name"]: _fetch_one(node, store, item, args.wait) for item in files}
        missing = answer_map(node.ask("status")).get("not_heard") if any(left.values()) else None
    written = [_write_out(store, item, args.output) for item in files if args.output and not left[item["name"]]]
    if args.json:
        print_json({"files": [{"name": name, "missing": count} for name, count in left.items()], "written": written})
    for name, count in left.items():
        if count and not args.json:
            note(_("{name}: {count} parts are not to be had now; ask again later").format(name=name, count=count))
        elif not args.json:
            say(name)
    if not args.json:
        tell_missing(missing)
    return 1 if any(left.values()) else 0


def _fetch_one(node: Node, store: FileStore, item: dict[str, Any], wait_s: int) -> int:
    """Fetch one file; returns how many parts are still missing."""
    list_hash = bytes.fromhex(item["chunks"])
    if not node.running:
        return len(store.missing(list_hash))
    deadline = time.perf_counter() + wait_s
    while True:
        answer = answer_map(node.ask("fetch", chunks=list_hash))
        missing, count = int(str(answer["missing"])), int(str(answer["chunks"]))
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{item['name']}: {count - missing} / {count}" + ("" if missing else "\n"))
        if not missing or time.perf_counter() > deadline:
            return missing
        time.sleep(_POLL_S)


def _write_out(store: FileStore, item: dict[str, Any], folder: Path) -> str:
    name = Path(str(item["name"])).name
    if name in ("", ".", "..") or not name.isprintable():
        raise LocalError(_("{name} is no name for a file here; it stays unwritten").format(name=repr(item["name"])))
    path = folder / name
    store.write_out(bytes.fromhex(item["chunks"]), bytes.fromhex(item["sha256"]), path)
    return str(path)
