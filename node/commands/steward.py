"""A node's home and its daemon: what whoever looks after a node does."""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from keys.entropy import system_entropy
from keys.errors import FormatError, HamkorError, HomeError, LocalError, NetworkMismatchError, UsageError
from keys.keyfile import COSTS, KdfCost, KeyOwner, create_key_file, load_key_file
from keys.signing import SEED_BYTES, PublicKey, SigningKey
from ledger.projection import Projection
from node.client import is_alive, open_node
from node.commands.checkpoints import status_rows
from node.commands.common import home_of, home_path, misuse, passphrase, read_file, rewrite, write_new
from node.commands.exporting import open_reader, write_bundle_file
from node.commands.tables import export_table
from node.home import SETTINGS, Home, Settings, create_home, dialable, write_settings
from node.render import print_json, say, table, when
from node.words import _
from protocol.card import Card, encode_card_file
from protocol.charter import decode_charter_file, verify_charter
from protocol.codec import Value
from protocol.container import pack_file, unpack_file
from protocol.invitation import decode_invitation
from protocol.limits import CHARTER_BYTES_MAX, INVITATION_BYTES_MAX

NO_PASSPHRASE_COST: Final = KdfCost(1, 8192)  # the empty passphrase protects nothing: the file's mode does
HEADS_BYTES_MAX: Final = 64 * 1024 * 1024
_HEAD_BYTES: Final = 40  # a log's key (32) and its size (u64, big-endian)


def init(args: argparse.Namespace) -> int:
    """`init`."""
    path = home_path(args)
    if (path / SETTINGS).exists():
        raise HomeError(f"{path} is a hamkor home already; nothing was changed")
    for address in [*(args.listen or ()), *args.announce]:
        if not address.startswith("/"):
            raise UsageError(f"{address!r} is no address; one looks like /ip4/192.0.2.7/tcp/4090")
    charter_file = read_file(args.charter, CHARTER_BYTES_MAX, "a charter")
    charter = verify_charter(decode_charter_file(charter_file))
    if charter.agency(args.agency) is None:
        names = ", ".join(agency.name for agency in charter.agencies)
        raise LocalError(f"{args.agency} is no agency of this charter; its agencies are {names}")
    signer = SigningKey.from_seed(system_entropy(SEED_BYTES))
    settings = Settings(announce=tuple(args.announce))
    if args.listen:
        settings = replace(settings, listen=tuple(args.listen))
    card = Card("node", signer.public, args.name, args.agency, args.unit, (), dialable(settings, signer.public))
    with misuse():
        card_file = encode_card_file(card, signer)
    secret = b"" if args.no_passphrase else passphrase(args, f"node {args.name}", new=True)
    home = create_home(path, charter_file, settings)
    owner = KeyOwner(signer.public, "node", args.name, args.agency, args.unit)
    try:
        create_key_file(
            home.key_path, signer, secret, owner, cost=NO_PASSPHRASE_COST if args.no_passphrase else COSTS[args.kdf]
        )
        write_new(home.card_path, card_file)
        _create_store(home, charter_file)
    except BaseException:
        (path / SETTINGS).unlink()  # without its settings it is no home, and init can be tried again
        raise
    if args.json:
        print_json({"home": str(home.path), "key": signer.public, "card": str(home.card_path)})
    else:
        say(f"home of node {args.name}: {home.path}")
        say(f"its card, for {args.agency} to certify: {home.card_path}")
    return 0


def _create_store(home: Home, charter_file: bytes) -> None:
    from ledger.lmdb_store import open_lmdb
    from ledger.store import create

    storage = open_lmdb(home.store_path)
    try:
        create(storage, charter_file)
    finally:
        storage.close()


def join(args: argparse.Namespace) -> int:
    """`join`: the invitation's bundle goes through admission; its addresses into the settings."""
    home = home_of(args)
    invitation = decode_invitation(read_file(args.invitation, INVITATION_BYTES_MAX + 64, "an invitation"))
    theirs = verify_charter(decode_charter_file(invitation.charter_file)).network_id
    if theirs != home.charter().network_id:
        raise NetworkMismatchError(
            f"the invitation is to network {theirs.hex()[:12]}, this home is of {home.charter().network_id.hex()[:12]}"
        )
    with tempfile.NamedTemporaryFile(dir=home.path, suffix=".bundle") as file, open_node(home) as node:
        file.write(invitation.bundle)
        file.flush()
        answer = node.ask("import", path=file.name)
    mine = dialable(home.settings, _own_key(home))
    peers = tuple(sorted({*home.settings.peers, *invitation.addresses} - set(mine)))
    write_settings(Home(home.path, replace(home.settings, peers=peers)))
    if args.json:
        print_json({"imported": answer, "peers": list(peers)})
    else:
        _say_imported(answer)
        say(f"{len(peers)} addresses to dial are in {home.path / SETTINGS}")
        if is_alive(home):
            say("the running node reads them when it is started again")
    return 0


def _own_key(home: Home) -> PublicKey:
    from keys.keyfile import read_owner

    return read_owner(home.key_path).public


def run(args: argparse.Namespace) -> int:
    """`run`."""
    home = home_of(args)
    home.charter()
    signer = _unlock_node(args, home)
    import trio

    from node.daemon import run as run_daemon

    try:
        trio.run(run_daemon, home, signer)
    except BaseExceptionGroup as group:
        raise _only_error(group) from None
    return 0


def _unlock_node(args: argparse.Namespace, home: Home) -> SigningKey:
    from keys.errors import KeyFileError
    from keys.keyfile import read_cost

    if args.passphrase_fd is None and read_cost(home.key_path) == NO_PASSPHRASE_COST:
        return load_key_file(home.key_path, b"")[0]
    signer, owner = load_key_file(home.key_path, passphrase(args, f"the node in {home.path}"))
    if owner.rank != "node":
        raise KeyFileError(f"{home.key_path} holds the key of {owner.rank} {owner.name}, not of a node")
    return signer


def _only_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to tell of a group of tasks that ended together: our own error, if there is one, else the only one."""
    ours, _ = group.split(HamkorError)
    found: BaseException = ours or group
    while isinstance(found, BaseExceptionGroup) and (ours is not None or len(found.exceptions) == 1):
        found = found.exceptions[0]
    return found


def status(args: argparse.Namespace) -> int:
    """`status`."""
    with open_node(home_of(args)) as node:
        answer = node.ask("status")
    if args.json:
        print_json(answer)
        return 0
    if not isinstance(answer, dict):
        raise FormatError("the node's answer is not understood; command line and node differ in version")
    me = answer.get("node")
    name = f"{me['name']} ({me['agency']})" if isinstance(me, dict) and me.get("name") else _("not certified yet")
    state = _("stopped") if not answer["running"] else _("offline") if answer.get("offline") else _("running")
    held = _("{entries} entries in {logs} logs, {records} records")
    rows = [
        (_("node"), f"{name}, {state}"),
        (_("network"), f"{answer['network']}, {str(answer['network_id'])[:16]}"),
        (_("holds"), held.format(entries=answer["entries"], logs=answer["logs"], records=answer["records"])),
        (_("root"), str(answer["root"])),
        (_("links"), str(answer["peers"])),
    ]
    if answer.get("conflicts"):
        rows.append((_("unsettled"), f"{answer['conflicts']} (hamkor conflicts)"))
    if answer.get("failure"):
        rows.append((_("FAILURE"), str(answer["failure"])))
    if answer.get("forks"):
        rows.append((_("FORKS"), f"{answer['forks']} (hamkor forks)"))
    rows += status_rows(answer)
    missing = answer.get("not_heard")
    for item in missing if isinstance(missing, list) else []:
        if isinstance(item, dict):
            heard = _("{name} last heard {time}").format(name=item["name"], time=when(item["heard_ms"]))
            rows.append((_("no link"), heard))
    width = max(10, *(len(label) + 2 for label, _text in rows))
    for label, text in rows:
        say(label.ljust(width) + text)
    return 0


def peers(args: argparse.Namespace) -> int:
    """`peers`: exit 0 when there is any link, else 1."""
    with open_node(home_of(args)) as node:
        answer = node.ask("peers")
    if not isinstance(answer, dict) or not isinstance(answer["peers"], list):
        raise FormatError("the node's answer is not understood; command line and node differ in version")
    listed = [peer for peer in answer["peers"] if isinstance(peer, dict)]
    if args.json:
        print_json(answer)
    else:
        table(
            (_("node"), _("unit"), _("link"), _("heard"), _("new"), _("again"), _("refused")),
            [
                (
                    peer["name"], peer["unit"], _("banned") if peer["banned"] else _("up") if peer["up"] else _("no"),
                    when(peer["heard_ms"]), peer.get("admitted"), peer.get("duplicates"), _counts(peer["refused"]),
                )
                for peer in listed
            ],
        )  # fmt: skip
        strangers = answer.get("strangers")
        for stranger in strangers if isinstance(strangers, list) else []:
            if isinstance(stranger, dict):
                told = _("refused at the door: {key}, {times} times")
                say(told.format(key=str(stranger["key"])[:16], times=stranger["times"]))
    return 0 if any(peer["up"] for peer in listed) else 1


def _counts(value: Value) -> str:
    return ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else ""


def offline(args: argparse.Namespace) -> int:
    """`offline`."""
    return _links(args, up=False)


def online(args: argparse.Namespace) -> int:
    """`online`."""
    return _links(args, up=True)


def _links(args: argparse.Namespace, *, up: bool) -> int:
    with open_node(home_of(args)) as node:
        answer = node.ask("links", up=up)
    if args.json:
        print_json(answer)
    else:
        say("links are open" if up else "offline: every link is closed until 'hamkor online' or a restart")
    return 0


def export(args: argparse.Namespace) -> int:
    """`export`: a bundle, or with --format records as a table."""
    if args.format != "bundle":
        return export_table(args)
    if args.words:
        raise UsageError("a query goes with --format csv, jsonl or geojson; a bundle holds whole logs")
    home = home_of(args)
    with open_reader(home) as ledger:
        known = read_heads(args.peer, ledger.network_id) if args.peer else {}
        logs = {head.key: known.get(head.key, 0) for head in ledger.heads}
        count = write_bundle_file(ledger, args.file, logs)
        answer = {"file": str(args.file), "entries": count, "bytes": args.file.stat().st_size, "root": ledger.root()}
    if args.json:
        print_json(answer)
    else:
        say(f"{args.file}: {count} entries, {answer['bytes']} bytes, ledger root {ledger.root().hex()[:16]}")
    return 0


def reindex(args: argparse.Namespace) -> int:
    """`reindex`: build the search index anew. Interrupted, it goes on where it was."""
    home = home_of(args)
    if is_alive(home):
        entries, counts = _reindex_running(home)
    else:
        entries, counts = _reindex_stopped(home)
    malformed = counts.pop("")
    if args.json:
        print_json({"entries": entries, "records": sum(counts.values()), "malformed": malformed})
    else:
        told = _("{entries} entries indexed: {records} records, {malformed} malformed")
        say(told.format(entries=entries, records=sum(counts.values()), malformed=malformed))
    return 0


def _reindex_running(home: Home) -> tuple[int, dict[str, int]]:
    """The node does it; this waits."""
    with open_node(home) as node:
        asked = node.ask("reindex")
        entries = int(str(asked["entries"])) if isinstance(asked, dict) else 0
        done = -1
        while done < entries:
            time.sleep(0.05)
            status = node.ask("status")
            if isinstance(status, dict):
                done = int(str(status["projected"]))
            _progress(done, entries)
    return entries, Projection(home.search_path).counts()


def _reindex_stopped(home: Home) -> tuple[int, dict[str, int]]:
    started = home.path / "reindexing"  # there while an index is being built anew
    projection = Projection(home.search_path)
    if not started.exists():
        started.touch()
        projection.start_again()
    with open_reader(home) as ledger:
        entries = ledger.arrival()
        while projection.catch_up(ledger):
            _progress(projection.cursor(), entries)
    started.unlink(missing_ok=True)
    return entries, projection.counts()


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} / {of}" + ("\n" if done >= of else ""))


def heads(args: argparse.Namespace) -> int:
    """`heads`."""
    with open_reader(home_of(args)) as ledger:
        listed = b"".join(head.key + head.size.to_bytes(8, "big") for head in ledger.heads)
        count = len(listed) // _HEAD_BYTES
        rewrite(args.output, pack_file("heads", {"heads": listed, "network": ledger.network_id}))
    if args.json:
        print_json({"file": str(args.output), "logs": count})
    else:
        say(f"{args.output}: {count} logs; where it is handed over: hamkor export FILE --for {args.output.name}")
    return 0


def read_heads(path: Path, network_id: bytes) -> Mapping[PublicKey, int]:
    """How many entries of each log a heads file says are held. Raises FormatError, NetworkMismatchError."""
    value = unpack_file(read_file(path, HEADS_BYTES_MAX, "a heads file"), "heads", size_max=HEADS_BYTES_MAX)
    match value:
        case {"heads": bytes() as listed, "network": bytes() as network} if len(listed) % _HEAD_BYTES == 0:
            if network != network_id:
                raise NetworkMismatchError(
                    f"{path} is of network {network.hex()[:12]}, this home is of {network_id.hex()[:12]}"
                )
            heads = [listed[at : at + _HEAD_BYTES] for at in range(0, len(listed), _HEAD_BYTES)]
            return {PublicKey(head[:32]): int.from_bytes(head[32:], "big") for head in heads}
        case _:
            raise FormatError(f"{path} is damaged; write it again with: hamkor heads -o FILE")


def import_bundle(args: argparse.Namespace) -> int:
    """`import`."""
    if not args.file.is_file():
        raise LocalError(f"there is no bundle {args.file}")
    with open_node(home_of(args)) as node:
        answer = node.ask("import", path=str(args.file.resolve()))
    if args.json:
        print_json(answer)
    else:
        _say_imported(answer)
    return 0


def _say_imported(answer: Value) -> None:
    if isinstance(answer, dict):
        say(f"{answer['admitted']} entries are new, {answer['duplicates']} were here already")
        aside = answer["set_aside"]
        if isinstance(aside, dict) and aside:
            say(f"set aside: {_counts(aside)} (runs whose certificates or earlier entries are not here yet)")
