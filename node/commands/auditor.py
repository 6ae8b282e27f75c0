"""Checking: what an auditor does, who trusts the charter and nothing else."""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from keys.errors import FormatError, HamkorError, LocalError
from keys.signing import verify
from ledger.audit import Report, audit_bundle, audit_storage
from ledger.lmdb_store import open_lmdb
from node.client import open_node
from node.commands.common import home_of, read_file
from node.home import SETTINGS
from node.render import note, print_json, say, table
from protocol.bundle import MAGIC
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.limits import CHARTER_BYTES_MAX

UNREADABLE: Final = 2
_PART: Final = 250  # signatures a thread takes at once: libsodium releases the interpreter while it works


def audit(args: argparse.Namespace) -> int:
    """`audit`: exit 0 sound, 1 faulty, 2 unreadable."""
    try:
        charter = verify_charter(decode_charter_file(read_file(args.charter, CHARTER_BYTES_MAX, "a charter")))
        report = _audit(args.source, charter)
    except HamkorError as error:
        if args.json:
            print_json({"verdict": "unreadable", "why": str(error)})
        note(f"hamkor: unreadable: {error}")
        return UNREADABLE
    found = report.to_json()
    if args.json:
        print_json(found)
    else:
        _print(found, args.source, charter)
    return 0 if found["verdict"] == "sound" else 1


def _audit(source: Path, charter: Charter) -> Report:
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def check(part: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
            return [verify(*item) for item in part]

        def verify_many(items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
            parts = [items[start : start + _PART] for start in range(0, len(items), _PART)]
            return [answer for answers in pool.map(check, parts) for answer in answers]

        if source.is_dir():
            store = source / "store" if (source / SETTINGS).exists() else source
            storage = open_lmdb(store, readonly=True)
            try:
                return audit_storage(storage, charter, verify_many)
            finally:
                storage.close()
        try:
            with source.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise FormatError(f"{source} is no hamkor bundle, nor a home")
                file.seek(0)
                return audit_bundle(file, charter, verify_many)
        except OSError as error:
            raise LocalError(f"{source} cannot be read: {error.strerror}") from None


def _print(found: dict[str, object], source: Path, charter: Charter) -> None:
    say(f"{source}: {str(found['verdict']).upper()}")
    say(f"network   {charter.network}, {found['network']}")
    say(f"checked   {found['signatures']} signatures on {found['entries']} entries in {found['logs']} logs")
    say(f"root      {found['root']}")
    for title in ("faults", "notes"):
        rows = found.get(title)
        if isinstance(rows, list) and rows:
            say(f"\n{title}:")
            table(
                ("kind", "key", "seq", "id", "what it means"),
                [(r["kind"], str(r["key"] or "")[:12], r["seq"], str(r["id"] or "")[:12], "") for r in rows[:100]],
            )
            for row in rows[:100]:
                say(f"  {row['kind']}: {row['detail']}")
            if len(rows) > 100:
                say(f"  and {len(rows) - 100} more (--json lists them)")


def forks(args: argparse.Namespace) -> int:
    """`forks`: exit 1 when there is none."""
    with open_node(home_of(args)) as node:
        rows = node.ask("forks")
    listed = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if args.json:
        print_json(listed)
    elif listed:
        for row in listed:
            author, ids = row["author"], row["ids"]
            name = author["name"] or author["key"] if isinstance(author, dict) else "?"
            say(f"{name} signed two entries with seq {row['seq']}:")
            for known in ids if isinstance(ids, list) else []:
                say(f"  {known}")
    else:
        say("no key is known to have forked its log")
    return 0 if listed else 1
