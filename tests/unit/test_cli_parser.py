"""The words of the command line: help, misuse, and how little is loaded to show them."""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from node.cli import EXTRAS, _chosen, build_parser, main

ROOT = Path(__file__).parents[2]
HEAVY = ("libp2p", "trio", "nacl", "lmdb", "sqlite3", "msgpack", "zstandard", "node.engine", "importlib.metadata")


def leaves(parser: argparse.ArgumentParser, name: str = "hamkor") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, by its full name."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, inner in group.choices.items():
            if word not in EXTRAS:
                yield from leaves(inner, f"{name} {word}")


COMMANDS = dict(leaves(build_parser()))


def test_issue_commands_are_all_there() -> None:
    wanted = """agency new|agency card|charter draft|charter sign|charter show|charter verify|charter merge|init|join
        |officer new|officer card|certify|unit|invite|run|status|peers|offline|online|add|step|show|find|log|who
        |export|heads|import|audit|forks|reindex|amend|comment|link|tag|retract|accept|history|conflicts|attach|fetch
        |same|rfi new|rfi ack|rfi reply|rfi refuse|rfi delay|rfi list|rfi due|alert send|alert ack|alert list
        |evidence give|evidence take|evidence list|op add|op list|sop publish|sop ack|sop list|asset add|asset list
        |asset move|asset service|roster add|roster list|sitrep add|sitrep list|stats|types|searches|watch|import-csv
        |report|council propose admit|council propose remove|council propose rekey|council propose threshold
        |council approve|council list|council show|revoke|authority|stolen|rekey|checkpoint show|checkpoint export
        |receipts|consultations|as-of|prove|verify"""
    assert {f"hamkor {name.strip()}" for name in wanted.split("|")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_shows_an_example_of_it(name: str) -> None:
    text = COMMANDS[name].format_help()
    example = text[text.index("example: ") :]
    words = example.removeprefix("example: ").split()
    if words[1] == "--home":
        del words[1:3]
    assert " ".join(words).startswith(name), example


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"hamkor run"}))
def test_each_command_that_prints_has_json(name: str) -> None:
    assert "--json" in COMMANDS[name].format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_function(name: str) -> None:
    module, _, function = str(COMMANDS[name].get_default("run")).partition(":")
    assert callable(getattr(import_module(f"node.commands.{module}"), function))


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_a_passphrase_as_an_argument(name: str) -> None:
    options = {option for action in COMMANDS[name]._actions for option in action.option_strings}
    assert not options & {"--passphrase", "--password", "-p"}


@pytest.mark.parametrize(
    "words",
    [[], ["nothing"], ["show"], ["agency"], ["status", "--nonsense"], ["status", "more"], ["log", "--limit", "x"],
     ["agency", "new", "mia", "--title", "T"], ["find"], ["add"], ["audit", "file"], ["run", "--pass", "3"],
     ["add", "seizure", "a=1", "--unknown", "b=2"]],
)  # fmt: skip
def test_misuse_is_one_sentence_and_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("hamkor: ")
    assert printed.err.count("\n") == 1
    assert "--help" in printed.err


def test_help_is_exit_0_and_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n    {name.split()[1]} " in text for name in [*COMMANDS, *(f"hamkor {extra}" for extra in EXTRAS)])


@pytest.mark.parametrize(
    ("words", "chosen"),
    [(["demo"], "demo"), (["--home", "demo", "status"], "status"), (["find", "demo"], "find"), (["--version"], None)],
)
def test_extra_command_is_loaded_only_when_it_is_the_command(words: list[str], chosen: str | None) -> None:
    assert _chosen(words) == chosen


def test_fault_of_the_program_is_one_sentence_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from node.commands import steward

    def broken(_: argparse.Namespace) -> int:
        raise ZeroDivisionError("one\x1b[31m\ntwo")

    monkeypatch.delenv("HAMKOR_DEBUG", raising=False)
    monkeypatch.setattr(steward, "status", broken)
    assert main(["status"]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ZeroDivisionError" in error
    assert "\x1b" not in error
    monkeypatch.setenv("HAMKOR_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["status"])


def test_interrupt_is_exit_130(monkeypatch: pytest.MonkeyPatch) -> None:
    from node.commands import steward

    def interrupted(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(steward, "status", interrupted)
    assert main(["status"]) == 130


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from node.cli import main; main(['--help'])\n"
        f"sys.exit(str([name for name in {HEAVY!r} if name in sys.modules and name not in before]))"
    )
    code = "import sys; before = set(sys.modules); " + code
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_help_costs_little_more_than_starting_python() -> None:
    def best_s(*words: str) -> float:
        taken = []
        for _ in range(7):
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True)
            taken.append(time.perf_counter() - started)
        return min(taken)

    assert best_s("-m", "node.cli", "--help") < 7 * best_s("-c", "pass")
