"""A new key in place of one that was lost, copied, restored or stolen. Keys are never used again."""

import argparse
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from keys.entropy import system_entropy
from keys.errors import BusyError, HamkorError, KeyFileError, LocalError, UsageError
from keys.keyfile import COSTS, KeyOwner, create_key_file, read_cost, read_owner
from keys.mark import Mark, mark_path
from keys.signing import SEED_BYTES, PublicKey, SigningKey
from node.client import is_alive
from node.commands.common import card_path, home_of, misuse, passphrase, read_card, write_new
from node.commands.exporting import open_reader
from node.commands.steward import NO_PASSPHRASE_COST
from node.home import Home, dialable
from node.render import print_json, say
from node.words import _
from protocol.card import Card, encode_card_file

_ROLES = {"admin": ("admin", "officer"), "officer": ("officer",)}


def rekey(args: argparse.Namespace) -> int:
    """`rekey`: for the node of this home, or with --key for whoever's key file that is."""
    if (args.key is None) != (args.output is None):
        raise UsageError(_("for a key file give both: hamkor rekey --key OLD.key -o NEW.key"))
    return _of_node(args) if args.key is None else _of_file(args)


def _of_node(args: argparse.Namespace) -> int:
    home = home_of(args)
    if is_alive(home):
        raise BusyError(_("the node runs with the old key; stop it first"))
    old = _card_of(home.card_path, home.key_path)
    if old.rank != "node":
        raise KeyFileError(_("{file} is not of a node").format(file=home.card_path))
    free = not home.key_path.exists() or read_cost(home.key_path) == NO_PASSPHRASE_COST
    secret = b"" if free or args.no_passphrase else passphrase(args, old.name, new=True)
    signer = SigningKey.from_seed(system_entropy(SEED_BYTES))
    last = _last_signed(home, old.key, mark_path(home.key_path))
    _put_aside(home, old.key)
    cost = NO_PASSPHRASE_COST if not secret else COSTS[args.kdf]
    card = replace(old, key=signer.public, addresses=dialable(home.settings, signer.public))
    _make(home.key_path, home.card_path, signer, card, secret, cost)
    return _tell(args, card, home.key_path, home.card_path, old.key, last)


def _of_file(args: argparse.Namespace) -> int:
    old_path, path = args.key, args.output
    old = _card_of(card_path(old_path), old_path)
    for taken in (path, card_path(path)):
        if taken.exists():
            raise KeyFileError(_("{file} exists already; nothing was changed: choose another name").format(file=taken))
    secret = passphrase(args, old.name, new=True)
    signer = SigningKey.from_seed(system_entropy(SEED_BYTES))
    home = None
    with suppress(HamkorError):  # without a home there is nothing to look the log up in
        home = home_of(args)
    last = _last_signed(home, old.key, mark_path(old_path))
    card = replace(old, key=signer.public)
    _make(path, card_path(path), signer, card, secret, COSTS[args.kdf])
    _retire(old_path, old.key)
    return _tell(args, card, path, card_path(path), old.key, last)


def _card_of(card: Path, key_path: Path) -> Card:
    """Whose key it is: as its card says, else as its key file does."""
    if card.exists():
        return read_card(card)
    owner = read_owner(key_path)
    return Card(owner.rank, owner.public, owner.name, owner.agency, owner.unit, _ROLES.get(owner.rank, ()))


def _put_aside(home: Home, old: PublicKey) -> None:
    """Keep the old key, mark and card under other names, the mark so that it lets nothing be signed."""
    aside = home.path / f"node.key.{old.hex()[:12]}"
    if home.key_path.exists():
        _retire(home.key_path, old)
    for path, kept in ((home.key_path, aside), (mark_path(home.key_path), mark_path(aside)),
                       (home.card_path, home.path / f"node.card.{old.hex()[:12]}")):  # fmt: skip
        if kept.exists():
            raise LocalError(_("{file} exists already; nothing was changed: choose another name").format(file=kept))
        if path.exists():
            path.rename(kept)


def _retire(key_path: Path, public: PublicKey) -> None:
    with suppress(HamkorError):  # a damaged mark lets nothing be signed either
        Mark.open(mark_path(key_path), public).retire()


def _make(path: Path, card_file: Path, signer: SigningKey, card: Card, secret: bytes, cost: object) -> None:
    with misuse():
        content = encode_card_file(card, signer)
    owner = KeyOwner(signer.public, card.rank, card.name, card.agency, card.unit)
    create_key_file(path, signer, secret, owner, cost=cost)  # type: ignore[arg-type]
    write_new(card_file, content)


def _last_signed(home: Home | None, old: PublicKey, mark: Path) -> bytes | None:
    """The id of the last entry that the old key has signed, as the mark or the log here knows it: the later one."""
    found: list[tuple[int, bytes]] = []
    with suppress(HamkorError):
        known = Mark.open(mark, old)
        if known.seq is not None and known.id is not None:
            found.append((known.seq, known.id))
    if home is not None:
        with suppress(HamkorError), open_reader(home) as ledger:
            head = ledger.heads.get(old)
            found += [(head.size - 1, head.id)] if head.id is not None else []
    return max(found)[1] if found else None


def _tell(args: argparse.Namespace, card: Card, path: Path, card_file: Path, old: PublicKey, last: bytes | None) -> int:
    if card.rank == "agency":
        end = last.hex() if last is not None else "none"
        file = shlex.quote(str(card_file))
        steps = [f"hamkor council propose rekey {card.agency} {file} --last {end} --key ROOT.key"]
    else:
        end = f"--last {last.hex()}" if last is not None else "--all"
        signer = f"--key {card.agency}.key"
        steps = [
            f"hamkor certify {shlex.quote(str(card_file))} {signer}",
            f"hamkor revoke {old.hex()} {end} --reason replaced {signer}",
        ]
    if args.json:
        print_json({"key": card.key, "key_file": str(path), "card": str(card_file), "old": old, "last": last,
                    "commands": steps})  # fmt: skip
        return 0
    say(_("new key of {name}: {file}; the old one signs nothing more").format(name=card.name, file=path))
    who = _("another agency's council") if card.rank == "agency" else card.agency
    say(_("for {agency} to run, with its own key file:").format(agency=who))
    for step in steps:
        say("  " + step)
    return 0
