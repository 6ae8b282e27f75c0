"""Where a passphrase comes from: a prompt or a descriptor, never an argument."""

import argparse
import getpass
import os
import sys
from collections.abc import Iterator

import pytest

from keys.errors import KeyFileError, UsageError
from node.commands.common import passphrase


def ask(descriptor: int | None = None, *, new: bool = False) -> bytes:
    """What the commands call."""
    return passphrase(argparse.Namespace(passphrase_fd=descriptor), "Z. Tosheva", new=new)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the person at the terminal will type, line by line; nothing more is end of file."""
    lines: list[str] = []

    def prompt(_: str) -> str:
        if not lines:
            raise EOFError
        return lines.pop(0)

    monkeypatch.setattr(getpass, "getpass", prompt)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Reading end, writing end."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_new_passphrase_is_asked_for_twice(typed: list[str]) -> None:
    typed += ["sir", "sir", "left over"]
    assert ask(new=True) == b"sir"
    assert typed == ["left over"]
    typed[:] = ["sir", "sit"]
    with pytest.raises(KeyFileError, match="differ"):
        ask(new=True)


def test_known_passphrase_is_asked_for_once(typed: list[str]) -> None:
    typed += ["қора дори", "left over"]
    assert ask() == "қора дори".encode()
    assert typed == ["left over"]


def test_end_of_input_at_the_prompt_is_an_error(typed: list[str]) -> None:
    with pytest.raises(UsageError, match="no passphrase"):
        ask()


def test_empty_new_passphrase_is_refused_from_prompt_and_descriptor(typed: list[str], pipe: tuple[int, int]) -> None:
    typed += ["", ""]
    with pytest.raises(KeyFileError, match="empty"):
        ask(new=True)
    os.close(pipe[1])
    with pytest.raises(KeyFileError, match="empty"):
        ask(pipe[0], new=True)


def test_descriptor_gives_one_line_and_leaves_the_rest(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"first line\n{}\n")
    os.close(pipe[1])
    assert ask(pipe[0], new=True) == b"first line"
    assert os.read(pipe[0], 10) == b"{}\n"


def test_endless_passphrase_is_refused(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x" * 5000)
    os.close(pipe[1])
    with pytest.raises(UsageError, match="over 1024 bytes"):
        ask(pipe[0])


@pytest.mark.parametrize("descriptor", [-1, 999, 2**70])
def test_descriptor_that_is_not_open_is_misuse(descriptor: int) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        ask(descriptor)


def test_without_a_terminal_a_descriptor_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match="--passphrase-fd"):
        ask()
