"""What marked records are read for: said with --why or HAMKOR_WHY, or asked for; the node notes it (SPEC.md 4.11).

Lists show that marked records are there, and their content when a purpose is given. A command about one record does
nothing without.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from keys.errors import HamkorError, UsageError
from keys.keyfile import read_owner
from keys.signing import PublicKey
from node.client import Node, open_node
from node.commands.common import home_of
from node.render import note
from node.words import _
from protocol.codec import Value

_ASK_AT_ONCE: Final = 4000  # records in one request
_FILES_MAX: Final = 16  # key files in a home that are looked at


def purpose(args: argparse.Namespace, why: str | None = None) -> dict[str, Value]:
    """What to ask the node with for content: by whom, for what, with which command; {} where no purpose was given."""
    said = (why or getattr(args, "why", None) or os.environ.get("HAMKOR_WHY") or "").strip()
    return {"why": said, "command": str(args.typed), "officer": _officer(args)} if said else {}


def read_one(args: argparse.Namespace, node: Node, op: str, **fields: Value) -> Value:
    """The node's answer about one record. Where that is marked and no purpose was given, asks for it.

    Raises UsageError where there is nobody to ask.
    """
    found = node.ask(op, **fields, **purpose(args))
    if isinstance(found, dict) and found.get("masked"):
        found = node.ask(op, **fields, **purpose(args, asked(str(found["marked"]))))
    return found


def consult(args: argparse.Namespace, records: Iterable[bytes], mark: str = "") -> bool:
    """Have the node write down that these marked records are read; for commands that show them in their own way.

    False, with nothing written, where no purpose was given; with `mark` it is asked for then. Durable when it returns.
    """
    said = purpose(args, asked(mark) if mark and not purpose(args) else None)
    ids: list[Value] = list(records)
    if said and ids:
        with open_node(home_of(args)) as node:
            for start in range(0, len(ids), _ASK_AT_ONCE):
                node.ask("consult", records=ids[start : start + _ASK_AT_ONCE], **said)
    return bool(said)


def asked(mark: str) -> str:
    """The purpose, from whoever sits at the terminal. Raises UsageError where nobody does, or nothing is said."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(_("This record is marked {mark}. What do you read it for? ").format(mark=mark))
        sys.stderr.flush()
        said = sys.stdin.readline().strip()
        if said:
            return said
    raise UsageError(
        _("this record is marked {mark}: say what you read it for, with --why TEXT or in HAMKOR_WHY;"
          " it is written into the ledger").format(mark=mark)
    )  # fmt: skip


def tell_masked(rows: Iterable[Mapping[str, Any]]) -> None:
    """Say how many rows are without their content."""
    count = sum(1 for row in rows if row.get("masked"))
    if count:
        note(_("marked, and shown without their content: {count}; --why TEXT shows it").format(count=count))


def _officer(args: argparse.Namespace) -> PublicKey | None:
    """Whose key file is named, in --key or HAMKOR_KEY; else that of the only officer with one in the home."""
    given = getattr(args, "key", None) or os.environ.get("HAMKOR_KEY")
    paths = (
        [Path(given)] if isinstance(given, (str, Path)) else sorted(home_of(args).own_path.glob("*.key"))[:_FILES_MAX]
    )
    owners = []
    for path in paths:
        try:
            owners.append(read_owner(path))
        except HamkorError:
            continue  # no key file, or not ours to read: it names nobody
    found = {owner.public for owner in owners if owner.rank == "officer"}
    return found.pop() if len(found) == 1 else None
