"""The words of the commands about authority: the council, revocations, who counts, stolen keys, new keys."""

import argparse
from pathlib import Path

from node.arguments import Commands, add_passphrase, add_why, command, group
from node.words import _


def add_authority_commands(commands: Commands) -> None:
    """Add them all."""
    _council(commands)
    _revoke(commands)
    _ask(commands)
    _rekey(commands)


def _signing(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--key", metavar="FILE", type=Path, required=True, help=text)
    parser.add_argument("--yes", action="store_true", help=_("do not ask whether to sign"))
    add_passphrase(parser)


def _council(commands: Commands) -> None:
    council = group(commands, "council", _("the council of agencies: who belongs to it, and under which key"))
    propose = group(council, "propose", _("put a change to the council"))
    admit = command(
        propose, "admit", "council:propose", _("take in an agency"),
        "hamkor council propose admit ncdc.card --key scc.key",
    )  # fmt: skip
    admit.add_argument("card", type=Path, help=_("the agency's card"))
    remove = command(
        propose, "remove", "council:propose",
        _("remove an agency; of its keys' logs what is held here still counts"),
        "hamkor council propose remove sss --key scc.key",
    )  # fmt: skip
    remove.add_argument("agency")
    remove.add_argument(
        "--cutoff", action="append", default=[], metavar="KEY=ENTRY",
        help=_("the last entry of that key that counts, or none; may be repeated"),
    )  # fmt: skip
    rekey = command(
        propose, "rekey", "council:propose", _("give an agency a new root key, and end the log of the old one"),
        "hamkor council propose rekey sss sss-new.card --key scc.key",
    )  # fmt: skip
    rekey.add_argument("agency")
    rekey.add_argument("card", type=Path, help=_("the card of its new root key"))
    rekey.add_argument(
        "--last", metavar="ENTRY",
        help=_("the last entry of the old key that counts, or none (default: the last held here)"),
    )  # fmt: skip
    threshold = command(
        propose, "threshold", "council:propose", _("change how many agencies must agree"),
        "hamkor council propose threshold 3 --key scc.key",
    )  # fmt: skip
    threshold.add_argument("number", type=int)
    for parser, what in ((admit, "admit"), (remove, "remove"), (rekey, "rekey"), (threshold, "threshold")):
        parser.set_defaults(what=what)
        _signing(parser, _("your agency's root key"))
    approve = command(
        council, "approve", "council:approve", _("say yes to a proposal"),
        "hamkor council approve 3fa9c1d --key mia.key",
    )  # fmt: skip
    approve.add_argument("id", help=_("the first digits of the proposal's id"))
    _signing(approve, _("your agency's root key"))
    listing = command(
        council, "list", "council:list_", _("proposals, who said yes, who is missing, and acts without effect"),
        "hamkor council list",
    )  # fmt: skip
    listing.add_argument("--ids", action="store_true", help=_("only the ids of those that are open"))
    show = command(
        council, "show", "council:show", _("a proposal, and what it would change"), "hamkor council show 3fa9c1d"
    )
    show.add_argument("id", help=_("the first digits of the proposal's id"))


def _revoke(commands: Commands) -> None:
    revoke = command(
        commands, "revoke", "standing:revoke", _("end a key: what its log holds after an entry is void"),
        "hamkor revoke tosheva --last 3fa9c1d --reason 'laptop stolen at Denov' --key scc.key",
    )  # fmt: skip
    revoke.add_argument("name", metavar="KEY_OR_NAME")
    last = revoke.add_mutually_exclusive_group()
    last.add_argument(
        "--last", metavar="ENTRY", help=_("the last entry that counts (default: the last of its log held here)")
    )
    last.add_argument("--all", action="store_true", help=_("no entry of it counts"))
    revoke.add_argument("--reason", required=True, help=_("why, for everybody to read"))
    _signing(revoke, _("the agency's root key, or an admin's"))


def _ask(commands: Commands) -> None:
    authority = command(
        commands, "authority", "standing:authority", _("who counts: council, keys, units; now, or as a writer knew it"),
        "hamkor authority --at 3fa9c1d",
    )  # fmt: skip
    authority.add_argument("--at", metavar="ENTRY", help=_("as the writer of that entry could know it"))
    stolen = command(
        commands, "stolen", "standing:stolen",
        _("what a key could read, what it signed, and what revoking it would change; signs nothing"),
        "hamkor stolen tosheva --since 2026-03-14T22:00",
    )  # fmt: skip
    stolen.add_argument("name", metavar="KEY_OR_NAME")
    end = stolen.add_mutually_exclusive_group()
    end.add_argument("--since", metavar="TIME", help=_("since when it may be in other hands: 2026-03-14T22:00, 3d"))
    end.add_argument("--last", metavar="ENTRY", help=_("the last entry that is to count"))
    add_why(stolen)


def _rekey(commands: Commands) -> None:
    rekey = command(
        commands, "rekey", "rekey:rekey",
        _("make a new key in place of a node's, or with --key of an officer's or agency's; the old one ends"),
        "hamkor --home /srv/hamkor rekey",
    )  # fmt: skip
    rekey.add_argument("--key", metavar="FILE", type=Path, help=_("the old key file, where it is not a node's"))
    rekey.add_argument("-o", "--output", metavar="FILE", type=Path, help=_("the key file to make"))
    rekey.add_argument("--no-passphrase", action="store_true", help=_("for a machine that must start unattended"))
    add_passphrase(rekey, creates=True)
