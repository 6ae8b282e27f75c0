"""Keys, cards, the charter, certificates: what an agency does."""

import argparse
import io
from collections.abc import Iterable
from pathlib import Path

from keys.entropy import system_entropy
from keys.errors import AdmissionError, KeyFileError, UsageError
from keys.keyfile import COSTS, FILE_BYTES_MAX, MAGIC, KeyOwner, create_key_file, load_key_file, read_owner
from keys.signing import SEED_BYTES, SigningKey
from node.client import open_node, write
from node.clock import wall_ms
from node.commands.common import (
    card_path,
    home_of,
    misuse,
    passphrase,
    read_card,
    read_file,
    rewrite,
    unlock,
    write_new,
)  # fmt: skip
from node.commands.exporting import open_reader, write_bundle
from node.home import dialable
from node.render import print_json, say, table, when
from protocol.acts import Certify, Unit, encode_act
from protocol.card import Card, encode_card_file
from protocol.charter import (
    NONCE_BYTES,
    SignedCharter,
    decode_charter_file,
    draft_charter,
    encode_charter_file,
    merge_charters,
    sign_charter,
    verify_charter,
)  # fmt: skip
from protocol.invitation import Invitation, encode_invitation
from protocol.limits import ADDRESSES_MAX, CHARTER_BYTES_MAX


def new_agency(args: argparse.Namespace) -> int:
    """`agency new`."""
    path: Path = args.key or args.output / f"{args.name}.key"
    return _new_key(args, path, "agency", args.title, args.name)


def new_officer(args: argparse.Namespace) -> int:
    """`officer new`."""
    rank = "admin" if "admin" in args.role else "officer"
    return _new_key(args, args.output, rank, args.name, args.agency, args.unit, _roles(rank, args.role))


def _roles(rank: str, roles: Iterable[str]) -> tuple[str, ...]:
    """The roles that a rank has beside those asked for."""
    return tuple(sorted({*{"admin": ("admin", "officer"), "officer": ("officer",)}.get(rank, ()), *roles}))


def _new_key(
    args: argparse.Namespace, path: Path, rank: str, name: str, agency: str, unit: str = "",
    roles: tuple[str, ...] = (),
) -> int:  # fmt: skip
    signer = SigningKey.from_seed(system_entropy(SEED_BYTES))
    card = Card(rank, signer.public, name, agency, unit, roles)
    with misuse():
        card_file = encode_card_file(card, signer)  # refuses bad names before anything is written
    for taken in (path, card_path(path)):
        if taken.exists():
            raise KeyFileError(f"{taken} exists already; nothing was changed: choose another name")
    owner = KeyOwner(signer.public, rank, name, agency, unit)
    create_key_file(path, signer, passphrase(args, name, new=True), owner, cost=COSTS[args.kdf])
    write_new(card_path(path), card_file)
    answer = {"key": signer.public.hex(), "key_file": str(path), "card": str(card_path(path))}
    if args.json:
        print_json(answer)
    else:
        say(f"key of {card.name}: {path} (keep it; it is never copied)")
        say(
            f"its card: {card_path(path)} (hand it to {'the other founders' if card.rank == 'agency' else card.agency})"
        )
    return 0


def show_card(args: argparse.Namespace) -> int:
    """`agency card`, `officer card`: takes a card, or the key file it lies beside; makes a lost card again."""
    path: Path = args.card
    if read_file(path, FILE_BYTES_MAX, "a card").startswith(MAGIC):
        if not card_path(path).exists():
            _make_card_again(args, path)
        path = card_path(path)
    card = read_card(path)
    if args.json:
        print_json(
            {name: getattr(card, name) for name in ("rank", "key", "name", "agency", "unit", "roles", "addresses")}
        )
    else:
        say(f"{card.rank} {card.name}, {card.agency}{', ' + card.unit if card.unit else ''}")
        say(f"key {card.key.hex()}")
        if card.roles:
            say(f"asks for the roles {', '.join(card.roles)}")
    return 0


def _make_card_again(args: argparse.Namespace, path: Path) -> None:
    """From the key file, which knows all but the roles that were asked for and a node's addresses."""
    owner = read_owner(path)
    signer, _ = load_key_file(path, passphrase(args, f"{owner.name} ({path}), to make its card again"))
    card = Card(owner.rank, signer.public, owner.name, owner.agency, owner.unit, _roles(owner.rank, ()))
    write_new(card_path(path), encode_card_file(card, signer))


def draft(args: argparse.Namespace) -> int:
    """`charter draft`."""
    cards = [read_card(path) for path in args.cards]
    nonce = system_entropy(NONCE_BYTES)
    with misuse():
        signed = draft_charter(cards, network=args.network, threshold=args.threshold, founded_ms=wall_ms(), nonce=nonce)
    write_new(args.output, encode_charter_file(signed))
    return _show(args, signed)


def sign(args: argparse.Namespace) -> int:
    """`charter sign`: adds a signature to the file, or to a copy of it."""
    signed = _read_charter(args.charter)
    signer, _ = unlock(args, args.key, "agency")
    signed = sign_charter(signed, signer)
    rewrite(args.output or args.charter, encode_charter_file(signed))
    return _show(args, signed)


def merge(args: argparse.Namespace) -> int:
    """`charter merge`."""
    first, *others = [_read_charter(path) for path in args.charters]
    for other in others:
        first = merge_charters(first, other)
    write_new(args.output, encode_charter_file(first))
    return _show(args, first)


def show_charter(args: argparse.Namespace) -> int:
    """`charter show`."""
    return _show(args, _read_charter(args.charter))


def verify(args: argparse.Namespace) -> int:
    """`charter verify`: exit 0 when all have signed, 1 when a signature is missing or wrong."""
    signed = _read_charter(args.charter)
    try:
        charter = verify_charter(signed)
    except AdmissionError as error:
        if args.json:
            print_json({"valid": False, "why": str(error), "missing": list(signed.missing)})
        else:
            say(str(error))
        return 1
    if args.json:
        print_json({"valid": True, "network_id": charter.network_id.hex()})
    else:
        say(f"valid: {charter.network}, signed by all {len(charter.agencies)} agencies; id {charter.network_id.hex()}")
    return 0


def _show(args: argparse.Namespace, signed: SignedCharter) -> int:
    charter = signed.charter
    if args.json:
        print_json(
            {
                "network": charter.network, "network_id": charter.network_id.hex(), "threshold": charter.threshold,
                "founded_ms": charter.founded_ms, "missing": list(signed.missing),
                "agencies": [{"name": a.name, "title": a.title, "key": a.key} for a in charter.agencies],
            }
        )  # fmt: skip
        return 0
    say(f"{charter.network}: founded {when(charter.founded_ms)}, network {charter.network_id.hex()[:16]}")
    say(f"the council needs {charter.threshold} of {len(charter.agencies)} agencies")
    table(
        ("agency", "title", "root key", "signed"),
        [
            (agency.name, agency.title, agency.key.hex()[:16], "yes" if agency.name in signed.signatures else "no")
            for agency in charter.agencies
        ],
    )
    return 0


def _read_charter(path: Path) -> SignedCharter:
    return decode_charter_file(read_file(path, CHARTER_BYTES_MAX, "a charter"))


def certify(args: argparse.Namespace) -> int:
    """`certify`: one act a card, in the certifier's log in this home."""
    cards = [read_card(path) for path in args.cards]
    home = home_of(args)
    signer, owner = unlock(args, args.key, "agency", "admin")
    acts = [_certificate(args, card, owner) for card in cards]
    with misuse():
        drafts = [("act", encode_act(act), ()) for act in acts]
    with open_node(home) as node:
        ids = write(node, signer, args.key, "act", drafts)
    if args.json:
        print_json({"ids": ids, "certified": [act.subject for act in acts]})
    else:
        for act, known in zip(acts, ids, strict=True):
            roles = f" as {', '.join(act.roles)}" if act.roles else ""
            say(f"{known.hex()[:10]}  {owner.agency} certifies {act.rank} {act.name}{roles}")
        say("new nodes need an invitation: hamkor invite -o FILE")
    return 0


def _certificate(args: argparse.Namespace, card: Card, owner: KeyOwner) -> Certify:
    """What the card asks for, or what the command says instead. Raises UsageError where it would have no effect."""
    if card.rank == "agency":
        raise UsageError(f"{card.name} is an agency; agencies are named in the charter")
    if card.agency != owner.agency:
        raise UsageError(f"{card.name} is of {card.agency}; {owner.agency} certifies its own people and nodes only")
    rank = args.rank or card.rank
    if owner.rank == "admin" and rank == "admin":
        raise UsageError(f"{owner.name} is an admin; {card.name} can be made one with the agency's root key only")
    roles = card.roles if args.role is None and rank == card.rank else _roles(rank, args.role or ())
    unit = card.unit if args.unit is None else args.unit
    return Certify(card.key, rank, card.name, card.agency, unit, roles, card.consent)


def unit(args: argparse.Namespace) -> int:
    """`unit`."""
    with misuse():
        body = encode_act(Unit(args.unit, args.title, tuple(sorted(set(args.region)))))
    home = home_of(args)
    signer, _ = unlock(args, args.key, "agency", "admin")
    with open_node(home) as node:
        ids = write(node, signer, args.key, "act", [("act", body, ())])
    if args.json:
        print_json({"ids": ids})
    else:
        say(f"{ids[0].hex()[:10]}  unit {args.unit} covers {', '.join(args.region) or 'no region'}")
    return 0


def invite(args: argparse.Namespace) -> int:
    """`invite`: the charter, the logs that certify and those of nodes, and the addresses known here."""
    home = home_of(args)
    with open_reader(home) as ledger:
        logs = {act.key for act in ledger.acts} | set(ledger.addresses())
        buffer = io.BytesIO()
        write_bundle(ledger, buffer.write, dict.fromkeys(logs, 0))
        addresses = [address for known in ledger.addresses().values() for address in known]
    card = read_card(home.card_path)
    addresses += dialable(home.settings, card.key)
    chosen = tuple(sorted(set(addresses)))[: 16 * ADDRESSES_MAX]
    content = encode_invitation(Invitation(home.charter_file(), buffer.getvalue(), chosen))
    rewrite(args.output, content)
    if args.json:
        print_json({"file": str(args.output), "bytes": len(content), "logs": len(logs), "addresses": list(chosen)})
    else:
        say(f"{args.output}: {len(content)} bytes, {len(logs)} logs, {len(chosen)} addresses")
        say("hand it to the new node's steward, who runs: hamkor join FILE")
    return 0
