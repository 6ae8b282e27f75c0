"""The words of the commands for auditors: the audit, what nodes attest, proofs."""

from pathlib import Path

from node.arguments import Commands, add_why, command, group, list_of
from node.words import _


def add_auditor_commands(commands: Commands) -> None:
    """Add them all."""
    _audit(commands)
    _attested(commands)
    _proofs(commands)


def _audit(commands: Commands) -> None:
    audit = command(
        commands, "audit", "auditor:audit", _("check every signature chain, trusting only the charter"),
        "hamkor audit ledger.bundle --charter charter",
    )  # fmt: skip
    list_of(audit, "sources", Path, "FILE_OR_HOME", text=_("several are audited one by one, then compared"))
    audit.add_argument("--charter", type=Path, required=True, metavar="FILE")
    audit.add_argument("--since", metavar="CHECKPOINT", help=_("audited before up to this: its id, or its note's file"))
    audit.add_argument("--resume", metavar="FILE", type=Path, help=_("go on with an audit that was interrupted"))
    audit.add_argument("--csv", metavar="FILE", type=Path, help=_("write the findings as a table"))
    audit.add_argument("--html", metavar="FILE", type=Path, help=_("write a page to print"))
    command(
        commands, "forks", "auditor:forks", _("keys that signed two entries at one place, with the proof"),
        "hamkor forks",
    )  # fmt: skip


def _attested(commands: Commands) -> None:
    named = group(commands, "checkpoint", _("what nodes attest that they hold"))
    show = command(
        named, "show", "checkpoints:show", _("the last checkpoint of every node, or one in full"),
        "hamkor checkpoint show imt-4",
    )  # fmt: skip
    what = _("a node's name, unit or key, or a checkpoint's id")
    show.add_argument("name", nargs="?", metavar="NODE_OR_ID", help=what)
    note = command(
        named, "export", "checkpoints:export", _("write a checkpoint as a signed note, which others can verify"),
        "hamkor checkpoint export -o imt-4.note",
    )  # fmt: skip
    note.add_argument("name", nargs="?", metavar="NODE_OR_ID", help=_("whose, or which (default: this node's last)"))
    note.add_argument("-o", "--output", type=Path, metavar="FILE", help=_("instead of printing it"))
    what = _("print the key that verifies it, and no more")
    note.add_argument("--key", dest="key_only", action="store_true", help=what)
    receipts = command(
        commands, "receipts", "checkpoints:receipts", _("which nodes attest that they hold a record, and since when"),
        "hamkor receipts 4f5a9c1",
    )  # fmt: skip
    receipts.add_argument("id")
    receipts.add_argument("--all", action="store_true", help=_("each step on the record, too"))


def _proofs(commands: Commands) -> None:
    prove = command(
        commands, "prove", "proving:prove", _("write a proof of a record: a file that stands without any node"),
        "hamkor prove 3fa9c1d -o proof.html",
    )  # fmt: skip
    prove.add_argument("id", metavar="ID", help=_("the first digits of an id are enough"))
    prove.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    prove.add_argument("--partial", action="store_true", help=_("also when too few agencies attest it so far"))
    prove.add_argument("--force", action="store_true", help=_("write over a file that is there"))
    add_why(prove)
    check = command(
        commands, "verify", "proving:verify", _("check a proof, trusting only the charter"),
        "hamkor verify proof.html --charter charter",
    )  # fmt: skip
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--charter", type=Path, required=True, metavar="FILE")
