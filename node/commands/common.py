"""What several commands need: the home, files, passphrases."""

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import Final

from keys.errors import HomeError, KeyFileError, LocalError, UsageError
from keys.files import create_file, replace_file
from keys.keyfile import KeyOwner, load_key_file
from keys.signing import SigningKey
from node.home import Home, open_home, read_bounded
from protocol.card import Card, decode_card_file
from protocol.limits import CARD_BYTES_MAX

_PASSPHRASE_BYTES_MAX: Final = 1024


def home_path(args: argparse.Namespace) -> Path:
    """--home, else HAMKOR_HOME, else ~/.hamkor."""
    chosen: Path | None = args.home
    return chosen or Path(os.environ.get("HAMKOR_HOME") or Path.home() / ".hamkor")


def home_of(args: argparse.Namespace) -> Home:
    """The home that the command is about."""
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


def rewrite(path: Path, content: bytes) -> None:
    """Write a file in place of an older one. Raises LocalError."""
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
        return _from_descriptor(args.passphrase_fd)
    if not sys.stdin.isatty():
        raise UsageError("no terminal to ask for the passphrase on; give it with --passphrase-fd N")
    given = getpass.getpass(f"Passphrase for {what}: ")
    if new and given != getpass.getpass("Once more: "):
        raise KeyFileError("the two passphrases differ; nothing was made")
    if new and not given:
        raise KeyFileError("an empty passphrase protects nothing; nothing was made")
    return given.encode()


def _from_descriptor(descriptor: int) -> bytes:
    raw = bytearray()
    try:
        while len(raw) <= _PASSPHRASE_BYTES_MAX and (part := os.read(descriptor, 1)) not in (b"", b"\n"):
            raw += part
    except OSError as error:
        raise UsageError(f"descriptor {descriptor} cannot be read: {error.strerror}") from None
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


def mark_path(key_path: Path) -> Path:
    """Where the high-water mark of a key file is."""
    return key_path.with_name(key_path.name + ".mark")


def card_path(key_path: Path) -> Path:
    """Where the card of a key file is."""
    return key_path.with_suffix(".card")
