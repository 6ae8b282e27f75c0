"""How commands are declared: parsers whose errors are one sentence, and whose help shows an example."""

import argparse
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from node.words import LANGUAGES, _

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001  # it has no other name


class Parser(argparse.ArgumentParser):
    """Errors are one sentence, and say where help is; options are written in full."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Exit 2 with one sentence."""
        self.exit(2, f"hamkor: {message}; see: {self.prog} --help\n")


def command(
    commands: Commands, name: str, run: str, summary: str, example: str, *, printing: bool = True
) -> argparse.ArgumentParser:
    """A command. run: module:function in `node/commands`, loaded when it is asked for."""
    parser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".",
        epilog=_("example: {command}").format(command=example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--home", metavar="DIR", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--lang", choices=LANGUAGES, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    if printing:
        parser.add_argument("--json", action="store_true", help=_("print JSON"))
    parser.set_defaults(run=run, typed=parser.prog.partition(" ")[2])
    return parser


def group(commands: Commands, name: str, summary: str) -> Commands:
    """A command that has commands."""
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    parser.epilog = _("an example of each: {command}").format(command=f"{parser.prog} COMMAND --help")
    return parser.add_subparsers(metavar="COMMAND", required=True)


def list_of(
    parser: argparse.ArgumentParser, name: str, kind: type, metavar: str, *, nargs: str = "+", text: str | None = None
) -> None:
    """A list of arguments, which options may interrupt; see `node.cli`."""
    parser.add_argument(name, nargs=nargs, type=kind, metavar=metavar, help=text)
    parser.set_defaults(more=(name, kind))


def add_passphrase(parser: argparse.ArgumentParser, *, creates: bool = False) -> None:
    """How the passphrase of a key file comes in."""
    parser.add_argument("--passphrase-fd", metavar="N", type=int, help=_("read the passphrase from this descriptor"))
    if creates:
        parser.add_argument(
            "--kdf", choices=("interactive", "moderate", "sensitive"), default="moderate",
            help=_("what one guess at the passphrase costs (default: moderate, 256 MiB)"),
        )  # fmt: skip


def add_why(parser: argparse.ArgumentParser) -> None:
    """What marked records are read for."""
    parser.add_argument(
        "--why", metavar="TEXT",
        help=_("what you read marked records for (default: HAMKOR_WHY); it is written into the ledger"),
    )  # fmt: skip


def add_fields_from(parser: argparse.ArgumentParser) -> None:
    """Fields from a file, and the key to sign with."""
    parser.add_argument(
        "--file", metavar="FILE", help=_("fields from a JSON object, or one a line (JSON lines); - is standard input")
    )
    parser.add_argument("--key", metavar="FILE", type=Path, help=_("your key file (default: HAMKOR_KEY)"))
    add_passphrase(parser)


def add_card(named: Commands, example: str) -> None:
    """The command `card` of those who have one."""
    summary = _("show what a card says; make it again where it is lost")
    parser = command(named, "card", "agency:show_card", summary, example)
    parser.add_argument("card", type=Path, metavar="FILE", help=_("a card, or the key file that it lies beside"))
    add_passphrase(parser)
