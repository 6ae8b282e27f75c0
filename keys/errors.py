"""Everything that can go wrong, in one small tree. A class's docstring says when; `exit_code` is the command's.

*Local*: the command is wrong, or this machine is. *Remote*: a peer or a file did it; it never stops a node.
*Evidence*: carries the bytes that prove it. A message says what happened, to which id, what was expected and
what to do next; it never holds a secret or a body.
"""

from typing import ClassVar


class HamkorError(Exception):
    """The root. Its text is one clear sentence or two, for a person."""

    exit_code: ClassVar[int] = 3


class LocalError(HamkorError):
    """Something on this machine, or the command itself, is not right."""


class UsageError(LocalError):
    """The command's words are wrong."""

    exit_code = 2


class KeyFileError(LocalError):
    """A key file is damaged, exists already, is open to others, or the passphrase is wrong."""

    exit_code = 4


class HomeError(LocalError):
    """The folder is no home, is of another network, or is in use by another process."""

    exit_code = 5


class StorageError(LocalError):
    """The disk or the store is full or damaged. Nothing was changed."""

    exit_code = 6


class DamagedError(StorageError):
    """A stretch of one of the store's tables is damaged, and cannot be read.

    first: the key that it begins with. beyond: the key from which on the table can be read again; None: there is none.
    """

    def __init__(self, message: str, first: bytes, beyond: bytes | None) -> None:
        super().__init__(message)
        self.first = first
        self.beyond = beyond


class IndexDamagedError(StorageError):
    """The search index is damaged. It decides nothing, and is built anew."""


class BusyError(LocalError):
    """A port or socket is taken, or the daemon cannot be reached."""

    exit_code = 7


class MarkError(LocalError):
    """The log is behind what its key has signed: a restored or copied home. Nothing may be signed."""

    exit_code = 8


class RemoteError(HamkorError):
    """A peer or a file did something wrong."""

    exit_code = 10


class FormatError(RemoteError):
    """Bytes that are not in the form SPEC.md gives, or too many of them."""

    exit_code = 11


class AdmissionError(RemoteError):
    """An entry that cannot be admitted. reason: one word, for counting."""

    exit_code = 12

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NetworkMismatchError(RemoteError):
    """Something of another network."""

    exit_code = 13
