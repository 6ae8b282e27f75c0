"""The `hamkor` command. This file knows the words; what they do is in `commands/`, loaded when it is asked for."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Final

from node.arguments import Commands, Parser, add_card, add_passphrase, add_why, command, group, list_of
from node.cli_auditor import add_auditor_commands
from node.cli_authority import add_authority_commands
from node.cli_officer import add_officer_commands
from node.words import LANGUAGES, _, noted, told_error, use

EXTRAS: Final = {  # found by entry point, so that this package never imports them
    "demo": noted("eleven nodes on this machine play a case"),
    "sim": noted("a simulated network from a seed, with its invariants checked"),
}
_SUMMARY: Final = noted(
    "hamkor: a ledger that several agencies keep together and none owns.\n\n"
    "exit status: 0 fine; 1 nothing found, or a fault found; 2 misuse; 3 and up an error (SPEC.md 11)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    _prepare_output()
    status = 0
    try:
        status = _call(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where it can still be told that it failed
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()  # whoever read has had enough
        return 0
    except OSError as error:
        _drop_output()
        return status or _fail(f"the answer could not be written: {error.strerror}", 3)
    return status


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments. Where a command takes a list, options may stand between its items: argparse stops there."""
    parser = build_parser(words)
    args, rest = parser.parse_known_args(words)
    more: tuple[str, type] | None = getattr(args, "more", None)
    if rest and (more is None or any(word.startswith("-") and word != "-" for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if more is not None:
        name, kind = more
        setattr(args, name, [*getattr(args, name), *map(kind, rest)])
    return args


def _prepare_output() -> None:
    """A letter that the terminal lacks is no reason to stop, nor is a stream that was closed before we began."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123  # for as long as we run
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let what is still buffered go nowhere, quietly."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _call(words: Sequence[str]) -> int:
    """Carry out the command; errors become one sentence. Raises BrokenPipeError and KeyboardInterrupt."""
    from keys.errors import HamkorError

    try:
        use(_after("--lang", words))
        return _run(_parse(words))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("HAMKOR_DEBUG"):
            raise
        if isinstance(error, HamkorError):
            return _fail(told_error(str(error)), error.exit_code)
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _fail(f"this should not happen ({what}); HAMKOR_DEBUG=1 shows where", HamkorError.exit_code)


def _run(args: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = args.run
    if isinstance(args.run, str):
        module, _, name = args.run.partition(":")
        run = getattr(import_module(f"node.commands.{module}"), name)
    return run(args)


def _fail(message: str, status: int) -> int:
    """One line on standard error; what a peer or a file name smuggled into it cannot steer the terminal."""
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(message.split()))
    sys.stderr.write(f"hamkor: {line}\n")
    return status


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser. words: the command line, so that only the extra command it names is loaded."""
    parser = Parser(prog="hamkor", description=_(_SUMMARY), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--home", metavar="DIR", type=Path, help=_("the node's home (default: HAMKOR_HOME, else ~/.hamkor)")
    )
    parser.add_argument("--lang", choices=LANGUAGES, help=_("the language to speak (default: by LANG)"))
    told = _("show program's version number and exit")
    parser.add_argument("--version", action="version", version="hamkor 0.1.0", help=told)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _agency(commands)
    add_authority_commands(commands)
    _node(commands)
    add_officer_commands(commands)
    _past(commands)
    add_auditor_commands(commands)
    chosen = _chosen(words)
    for name, summary in EXTRAS.items():
        if name == chosen:
            from importlib.metadata import entry_points  # costs as much as all the rest of the help

            for point in entry_points(group="hamkor.commands", name=name):
                point.load()(commands)
        else:
            commands.add_parser(name, help=_(summary), add_help=False)
    return parser


def _after(option: str, words: Sequence[str]) -> str | None:
    """What stands after an option, which must be known before the parser is made."""
    for word, value in pairwise(words):
        if word == option:
            return value
    return None


def _chosen(words: Sequence[str]) -> str | None:
    """The command among `words`: the first that is neither an option nor the folder after --home."""
    rest = iter(words)
    for word in rest:
        if word in ("--home", "--lang"):
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None


def _agency(commands: Commands) -> None:
    named = group(commands, "agency", _("an agency's root key and card"))
    new = command(
        named, "new", "agency:new_agency", _("make an agency's root key, and its card beside it"),
        "hamkor agency new scc --title 'State Customs Committee' --key scc.key",
    )  # fmt: skip
    new.add_argument("name", help=_("short name: a-z, 0-9, '-'"))
    new.add_argument("--title", required=True, help=_("full name"))
    where = new.add_mutually_exclusive_group(required=True)
    where.add_argument("--key", metavar="FILE", type=Path, help=_("the key file to make"))
    where.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help=_("the folder to make NAME.key and NAME.card in")
    )
    add_passphrase(new, creates=True)
    add_card(named, "hamkor agency card scc.key")

    named = group(commands, "charter", _("the root of trust that the founding agencies sign"))
    draft = command(
        named, "draft", "agency:draft", _("draft a charter from the agencies' cards"),
        "hamkor charter draft mia.card scc.card sss.card --network demo --threshold 2 -o charter",
    )  # fmt: skip
    list_of(draft, "cards", Path, "CARD")
    draft.add_argument("--network", required=True, help=_("the network's name"))
    draft.add_argument("--threshold", type=int, required=True, help=_("how many agencies the council needs"))
    draft.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    sign = command(
        named, "sign", "agency:sign", _("sign a charter with an agency's root key"),
        "hamkor charter sign charter --key scc.key",
    )  # fmt: skip
    sign.add_argument("charter", type=Path)
    sign.add_argument("--key", metavar="FILE", type=Path, required=True)
    sign.add_argument("-o", "--output", type=Path, metavar="FILE", help=_("write a signed copy (default: in place)"))
    add_passphrase(sign)
    merge = command(
        named, "merge", "agency:merge", _("put together copies of a charter that were signed apart"),
        "hamkor charter merge from-mia from-scc -o charter",
    )  # fmt: skip
    list_of(merge, "charters", Path, "CHARTER")
    merge.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    show = command(named, "show", "agency:show_charter", _("show what a charter says"), "hamkor charter show charter")
    show.add_argument("charter", type=Path)
    check = command(
        named, "verify", "agency:verify", _("check that every founding agency has signed"),
        "hamkor charter verify charter",
    )  # fmt: skip
    check.add_argument("charter", type=Path)

    certify = command(
        commands, "certify", "agency:certify", _("certify nodes, officers or admins of your agency by their cards"),
        "hamkor certify imt-4.card tosheva.card --key scc.key",
    )  # fmt: skip
    list_of(certify, "cards", Path, "CARD")
    certify.add_argument(
        "--key", metavar="FILE", type=Path, required=True, help=_("the agency's root key, or an admin's")
    )
    certify.add_argument("--rank", choices=("admin", "node", "officer"), help=_("instead of what the cards ask for"))
    certify.add_argument("--unit", help=_("instead of what the cards say; '' for none"))
    certify.add_argument(
        "--role", action="append", choices=("officer", "coordinator", "auditor", "admin"),
        help=_("instead of what the cards ask for; may be repeated"),
    )  # fmt: skip
    add_passphrase(certify)
    unit = command(
        commands, "unit", "agency:unit", _("name a joint team and the regions it covers"),
        "hamkor unit imt-4 --title 'Mobile Team 4' --region UZ-SU --region UZ-QA --key mia.key",
    )  # fmt: skip
    unit.add_argument("unit")
    unit.add_argument("--title", required=True)
    unit.add_argument("--region", action="append", default=[], metavar="CODE", help=_("ISO 3166-2, such as UZ-SU"))
    unit.add_argument("--key", metavar="FILE", type=Path, required=True)
    add_passphrase(unit)
    invite = command(
        commands, "invite", "agency:invite", _("write an invitation: what a new node needs to be let in"),
        "hamkor invite -o scc.invitation",
    )  # fmt: skip
    invite.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")


def _node(commands: Commands) -> None:
    init = command(
        commands, "init", "steward:init", _("make a node's home from a charter: its key and card"),
        "hamkor --home /srv/hamkor init --charter charter --name imt-4 --agency scc --unit imt-4",
    )  # fmt: skip
    init.add_argument("--charter", type=Path, required=True, metavar="FILE")
    init.add_argument("--name", required=True, help=_("the node's name"))
    init.add_argument("--agency", required=True, help=_("who will certify it"))
    init.add_argument("--unit", default="", help=_("where it serves"))
    init.add_argument(
        "--listen", action="append", metavar="ADDRESS", help=_("such as /ip4/0.0.0.0/tcp/4090 (the default)")
    )
    init.add_argument("--announce", action="append", default=[], metavar="ADDRESS", help=_("what others should dial"))
    init.add_argument("--no-passphrase", action="store_true", help=_("for a machine that must start unattended"))
    add_passphrase(init, creates=True)
    join = command(
        commands, "join", "steward:join", _("take in an invitation"), "hamkor --home /srv/hamkor join scc.invitation"
    )
    join.add_argument("invitation", type=Path)
    run = command(
        commands, "run", "steward:run", _("run the node until it is told to stop"), "hamkor --home /srv/hamkor run",
        printing=False,
    )  # fmt: skip
    add_passphrase(run)
    command(commands, "status", "steward:status", _("what this node holds and how it is"), "hamkor status")
    command(
        commands, "peers", "steward:peers", _("the other nodes: who is linked, who is not, who misbehaved"),
        "hamkor peers",
    )  # fmt: skip
    command(commands, "offline", "steward:offline", _("close every link until 'online' or a restart"), "hamkor offline")
    command(commands, "online", "steward:online", _("open links again"), "hamkor online")
    export = command(
        commands, "export", "steward:export",
        _("write the ledger, or what another node lacks, to a bundle; or records to a table"),
        "hamkor export ledger.bundle",
    )  # fmt: skip
    export.add_argument("file", type=Path)
    list_of(export, "words", str, "QUERY", nargs="*", text=_("with --format: which records; see hamkor find"))
    export.add_argument(
        "--format",
        choices=("bundle", "csv", "jsonl", "geojson"),
        default="bundle",
        help=_("records as a table, or a map"),
    )
    export.add_argument(
        "--for", dest="peer", type=Path, metavar="HEADS", help=_("only what the node of these heads lacks")
    )
    add_why(export)
    command(
        commands, "reindex", "steward:reindex", _("build the search index anew; may be interrupted"), "hamkor reindex"
    )
    heads = command(
        commands, "heads", "steward:heads", _("write how far this node holds each log, for 'export --for'"),
        "hamkor heads -o imt-4.heads",
    )  # fmt: skip
    heads.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    take = command(
        commands, "import", "steward:import_bundle", _("take in a bundle, wholly or not at all"),
        "hamkor import ledger.bundle",
    )  # fmt: skip
    take.add_argument("file", type=Path)


def _past(commands: Commands) -> None:
    past = command(
        commands, "as-of", "as_of:as_of",
        _("what a node held when it signed a checkpoint: find, show, history, stats, log"),
        "hamkor as-of imt-4 2026-03-14T22:40 find geroin",
    )  # fmt: skip
    past.add_argument("node", metavar="NODE_OR_UNIT", help=_("whose checkpoints; a key's first digits will do"))
    past.add_argument(
        "moment", metavar="TIME_OR_CHECKPOINT",
        help=_("its last checkpoint by then, by its clock (2026-03-14, 2026-03-14T22:40, 7d), or a checkpoint's id"),
    )  # fmt: skip
    past.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help=_("what to ask then, as it is typed"))
    past.set_defaults(parse=_parse, call=_run)


if __name__ == "__main__":
    sys.exit(main())
