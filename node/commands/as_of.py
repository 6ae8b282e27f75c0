"""What was known: reading commands on exactly what a node held at one of its checkpoints.

The entries of the checkpoint's state are copied into a small home of their own, `as-of/CHECKPOINT` in this node's home,
and the command runs there. The newest few copies are kept; all may be deleted at any time.
"""

import argparse
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Final

from keys.errors import LocalError, UsageError
from ledger.as_of import Lacking, checkpoint_at, lacking, replay
from ledger.attest import Stated, latest, survey
from ledger.authority import Standing
from ledger.lmdb_store import open_lmdb
from ledger.projection import Projection
from ledger.query import parse_query
from ledger.store import Ledger, create
from ledger.view import author_view, short_id
from node.clock import wall_ms
from node.commands.common import home_of
from node.commands.exporting import open_reader
from node.commands.tables import progress
from node.home import Home, Past, Settings, create_home
from node.render import note, print_json, say, table, when
from node.words import _

_KEPT: Final = 4  # copies
_READING: Final = ("reading:find", "reading:show", "reading:history", "reading:stats", "reading:log")
_DIGITS_MIN: Final = 7  # of a checkpoint's id, where a time might be meant


def as_of(args: argparse.Namespace) -> int:
    """`as-of`: exit 1 where that cannot be shown, else as the command that is run."""
    inner = _inner(args)
    home = home_of(args)
    with open_reader(home) as ledger:
        node = _node_named(ledger, args.node, as_json=inner.json)
        if node is None:
            return 2
        stated = _stated(ledger, node, args.moment)
        if stated is None:
            note(_("{name} has no checkpoint here of that time or before").format(name=node.name))
            return 1
        header = _header(ledger, node, stated)
        with ledger.storage.read() as reader:
            missing = lacking(reader, stated.state)
        if missing:
            _say_missing(ledger, header, missing)
            return 1
        path = _copy(home, ledger, stated)
    if path is None:
        note(header)
        note(_(
            "the copy does not add up to the root that {name} attested: its word is false, or what it held and did not"
            " count decided there what counts; hamkor audit tells"
        ).format(name=node.name))  # fmt: skip
        return 1
    programs = inner.json or getattr(inner, "format", "text") != "text"
    (note if programs else say)(header)
    inner.past = Home(path, past=Past(home.path, stated.time_ms))
    return int(args.call(inner))


def _inner(args: argparse.Namespace) -> argparse.Namespace:
    """The command to run, as it was typed. Raises UsageError on one that does not only read."""
    inner: argparse.Namespace = args.parse(args.words)
    if inner.run not in _READING or getattr(inner, "follow", False):
        raise UsageError(_("as-of is followed by find, show, history, stats or log, and what belongs to that"))
    inner.typed, inner.json = f"as-of {inner.typed}", inner.json or args.json
    return inner


# -- whose, and when ------------------------------------------------------------------------------


def _node_named(ledger: Ledger, name: str, *, as_json: bool) -> Standing | None:
    """The node that is meant; where it may be several they are listed, with their last checkpoints, and None."""
    wanted = name.casefold()
    nodes = [
        standing
        for _key, standing in sorted(ledger.authority.standings.items())
        if standing.rank == "node"
        and (standing.key.hex().startswith(wanted) or wanted in (standing.name.casefold(), standing.unit))
    ]
    if not nodes:
        raise UsageError(_("no node has the name, unit or key {name}; see: hamkor peers").format(name=name))
    if len(nodes) == 1:
        return nodes[0]
    with ledger.storage.read() as reader:
        rows = [(node, latest(reader, node.key)) for node in nodes]
    if as_json:
        print_json([
            author_view(ledger.authority, node.key)
            | {"checkpoint": known.id.hex() if known else None, "time_ms": known.time_ms if known else None}
            for node, known in rows
        ])  # fmt: skip
    else:
        table((_("node"), _("key"), _("last checkpoint")), [
            (node.name, node.key.hex()[:12], when(known.time_ms) if known else _("never")) for node, known in rows
        ])  # fmt: skip
    note(_("{name} may be any of these nodes; give one's name or key").format(name=name))
    return None


def _stated(ledger: Ledger, node: Standing, moment: str) -> Stated | None:
    """The checkpoint that is meant: by its id, or the node's last by a time."""
    digits = moment.strip().lower()
    if len(digits) >= _DIGITS_MIN and set(digits) <= set("0123456789abcdef"):
        return _by_id(ledger, node, digits)
    until_ms = parse_query(f"until:{moment.strip().replace(' ', 'T')}", wall_ms()).until_ms
    with ledger.storage.read() as reader:
        return checkpoint_at(reader, node.key, (until_ms or 0) - 1)


def _by_id(ledger: Ledger, node: Standing, digits: str) -> Stated:
    found = [entry for known in ledger.ids_with(digits) if (entry := ledger.entry(known)) is not None]
    if len(found) == 1 and (found[0].kind, found[0].key) == ("checkpoint", node.key):
        with ledger.storage.read() as reader:
            stated = latest(reader, node.key, found[0].seq + 1)
        if stated is not None and stated.id == found[0].id:
            return stated
    raise UsageError(_("{id} is no whole checkpoint of {name}").format(id=digits, name=node.name))


def _header(ledger: Ledger, node: Standing, stated: Stated) -> str:
    return _("as of checkpoint {id} of {name} ({agency}/{unit}), {time} by its clock, {entries} entries").format(
        id=short_id(ledger, stated.id), name=node.name, agency=node.agency, unit=node.unit or "-",
        time=when(stated.time_ms), entries=stated.whole.entries,
    )  # fmt: skip


def _say_missing(ledger: Ledger, header: str, missing: Sequence[Lacking]) -> None:
    note(header)
    note(_("not all of it is here, so it cannot be shown:"))
    for item in missing:
        view = author_view(ledger.authority, item.key)
        name = f"{view['name']} ({view['agency']})" if view["name"] else item.key.hex()[:12]
        if item.other:
            note("  " + _("{name}: that node held another branch of this log").format(name=name))
        else:
            note("  " + _("{name}: {count} entries are not here").format(name=name, count=item.count))


# -- the copy -------------------------------------------------------------------------------------


def _copy(home: Home, ledger: Ledger, stated: Stated) -> Path | None:
    """The home that holds the state, made where it is not there; None where its root is another than attested."""
    path = home.pasts_path / stated.id.hex()
    try:
        with _alone(home.pasts_path):
            if not path.exists():
                for left in home.pasts_path.glob(".*.part"):  # of a run that was interrupted
                    rmtree(left)
                part = path.with_name(f".{path.name}.part")
                if not _build(part, ledger, stated):
                    rmtree(part)
                    return None
                part.rename(path)
            os.utime(path)
            copies = [item for item in home.pasts_path.iterdir() if not item.name.startswith(".")]
            for old in sorted(copies, key=lambda item: item.stat().st_mtime_ns)[:-_KEPT]:
                rmtree(old)
    except OSError as error:
        raise LocalError(
            _("{folder} cannot be used: {why}; it may be deleted").format(folder=home.pasts_path, why=error.strerror)
        ) from None
    return path


def _build(path: Path, ledger: Ledger, stated: Stated) -> bool:
    """Fill a home with the state and index it; whether its root is the one attested."""
    copy = create_home(path, ledger.charter_file, Settings())
    with closing(open_lmdb(copy.store_path)) as storage:
        target = create(storage, ledger.charter_file)
        total = stated.whole.entries
        replay(ledger.storage, target, stated.state, lambda done: progress(_("copied"), done, total))
        with storage.read() as reader:
            if survey(reader).root != stated.whole.root:
                return False
        projection = Projection(copy.search_path)
        while projection.catch_up(target):
            progress(_("indexed"), projection.cursor(), total)
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One at a time makes or deletes copies. Raises OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
