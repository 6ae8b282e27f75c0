"""What several commands need: the home, files, passphrases."""

import argparse
import getpass
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from keys.errors import FormatError, HomeError, KeyFileError, LocalError, UsageError
from keys.files import create_file, replace_file
from keys.keyfile import KeyOwner, load_key_file
from keys.signing import SigningKey
from node.home import Home, open_home, read_bounded
from node.words import _
from protocol.card import Card, decode_card_file
from protocol.limits import CARD_BYTES_MAX

_PASSPHRASE_BYTES_MAX: Final = 1024
_ID: Final = re.compile(r"[0-9a-f]{1,64}")


def home_path(args: argparse.Namespace) -> Path:
    """--home, else HAMKOR_HOME, else ~/.hamkor."""
    chosen: Path | None = args.home
    return chosen or Path(os.environ.get("HAMKOR_HOME") or Path.home() / ".hamkor")


def home_of(args: argparse.Namespace) -> Home:
    """The home that the command is about."""
    past: Home | None = getattr(args, "past", None)  # a moment of it, where that is what is asked about
    if past is not None:
        return past
    return open_home(home_path(args))


def read_file(path: Path, size_max: int, what: str) -> bytes:
    """A file that a person named. Raises LocalError."""
    try:
        return read_bounded(path, size_max)
    except HomeError:
        raise LocalError(f"{path} is too large to be {what} (over {size_max} bytes)") from None
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}") from None


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet. Raises LocalError."""
    try:
        create_file(path, content)
    except FileExistsError:
        raise LocalError(f"{path} exists already; nothing was changed") from None
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def misuse() -> Iterator[None]:
    """What breaks a rule of the protocol here was typed by a person: FormatError becomes UsageError."""
    try:
        yield
    except FormatError as error:
        raise UsageError(str(error)) from None


def check_target(path: Path, kind: str) -> None:
    """Refuse to write over anything but an older file of that kind: it could be a key. Raises LocalError."""
    start = f"hamkor {kind} ".encode()
    found = start
    with suppress(OSError), path.open("rb") as file:  # whatever is wrong with it shows when it is written
        found = file.read(len(start))
    if found != start:
        raise LocalError(f"{path} exists and is no hamkor {kind}; nothing was changed: choose another name")


def rewrite(path: Path, content: bytes) -> None:
    """Write a hamkor file, in place of an older one of its kind if there is one. Raises LocalError."""
    check_target(path, content.split(b" ", 2)[1].decode("ascii"))
    try:
        replace_file(path, content)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from None


def read_card(path: Path) -> Card:
    """A card file, its signature checked."""
    return decode_card_file(read_file(path, CARD_BYTES_MAX + 64, "a card"))


def passphrase(args: argparse.Namespace, what: str, *, new: bool = False) -> bytes:
    """The passphrase, from --passphrase-fd or by prompt; a new one is asked for twice."""
    if args.passphrase_fd is not None:
        given = _from_descriptor(args.passphrase_fd)
    elif not sys.stdin.isatty():
        raise UsageError("no terminal to ask for the passphrase on; give it with --passphrase-fd N")
    else:
        given = _ask(f"Passphrase for {what}: ")
        if new and given != _ask("Once more: "):
            raise KeyFileError("the two passphrases differ; nothing was made")
    if new and not given:
        raise KeyFileError("an empty passphrase protects nothing; nothing was made")
    return given


def _ask(prompt: str) -> bytes:
    try:
        return getpass.getpass(prompt).encode("utf-8", "surrogateescape")
    except EOFError:
        raise UsageError("no passphrase was given") from None


def _from_descriptor(descriptor: int) -> bytes:
    raw = bytearray()
    try:
        while len(raw) <= _PASSPHRASE_BYTES_MAX and (part := os.read(descriptor, 1)) not in (b"", b"\n"):
            raw += part
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "there is no such descriptor"
        raise UsageError(f"descriptor {descriptor} cannot be read: {why}") from None
    if len(raw) > _PASSPHRASE_BYTES_MAX:
        raise UsageError(f"the passphrase on descriptor {descriptor} is over {_PASSPHRASE_BYTES_MAX} bytes")
    return bytes(raw)


def unlock(args: argparse.Namespace, path: Path, *ranks: str) -> tuple[SigningKey, KeyOwner]:
    """The key in a file, which must be of one of the ranks."""
    from keys.keyfile import read_owner

    owner = read_owner(path)
    if owner.rank not in ranks:
        raise KeyFileError(
            f"{path} holds the key of {owner.rank} {owner.name}; this needs a key of {' or '.join(ranks)}"
        )
    return load_key_file(path, passphrase(args, f"{owner.name} ({path})"))


def card_path(key_path: Path) -> Path:
    """Where the card of a key file is: NAME.card beside NAME.key, else .card after the whole name."""
    if key_path.suffix == ".key":
        return key_path.with_suffix(".card")
    return key_path.with_name(key_path.name + ".card")


def digits(prefix: str) -> str:
    """The first digits of an id, as a person may have copied them. Raises UsageError."""
    found = prefix.strip().lower()
    if _ID.fullmatch(found) is None:
        raise UsageError(_("{id} is no id: an id is up to 64 of 0-9 and a-f").format(id=repr(prefix)))
    return found
