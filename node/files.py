"""Attached files: kept in chunks named by their hashes, fetched from whoever has them (SPEC.md 6.7).

A file is cut into chunks of 256 KiB; its **list** is the hashes of the chunks one after another, and is kept as a
chunk too. An attachment names the hash of the list. So each piece is checked by itself, a cut loses at most one,
and what two files share is kept once.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from keys.errors import FormatError, LocalError
from keys.files import replace_file
from keys.signing import PublicKey
from protocol.limits import CHUNK_BYTES_MAX, FILE_BYTES_MAX

_ASKED_MAX: Final = 4  # chunks asked for at a time from one peer: 1 MiB under way
_FETCHES_MAX: Final = 64  # files being fetched
ANSWER_WAIT_S: Final = 10.0
LACK_WAIT_S: Final = 20.0  # before a peer that does not have a chunk is asked for it again
SERVE_QUEUE_BYTES_MAX: Final = 4 * 1024 * 1024  # queued for a peer: no chunk is added beyond, it asks again


class FileStore:
    """The chunks in one folder. Two processes may use it at once: a chunk appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, known: bytes) -> Path:
        """Where a chunk is."""
        digits = known.hex()
        return self._folder / digits[:2] / digits[2:]

    def has(self, known: bytes) -> bool:
        """Whether a chunk is here. It is checked when it is read."""
        return self.path(known).exists()

    def read(self, known: bytes) -> bytes | None:
        """A chunk, or None where it is not here, or damaged: then it is dropped, to be fetched again."""
        path = self.path(known)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if sha256(content).digest() == known:
            return content
        path.unlink(missing_ok=True)
        return None

    def save(self, content: bytes) -> bytes:
        """Keep a chunk; returns its hash. Raises LocalError when the disk refuses."""
        known = sha256(content).digest()
        path = self.path(known)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, content)
        except OSError as error:
            raise LocalError(f"{path} cannot be written: {error.strerror}") from None
        return known

    def add_file(self, path: Path) -> tuple[bytes, int, bytes]:
        """Keep a file; returns (hash of its list, size, SHA-256 of it). Memory: one chunk. Raises LocalError."""
        whole, size, chunks = sha256(), 0, []
        try:
            with path.open("rb") as file:
                while content := file.read(CHUNK_BYTES_MAX):
                    size += len(content)
                    if size > FILE_BYTES_MAX:
                        raise LocalError(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB; attach it in parts")
                    whole.update(content)
                    chunks.append(self.save(content))
        except OSError as error:
            raise LocalError(f"{path} cannot be read: {error.strerror}") from None
        return self.save(b"".join(chunks)), size, whole.digest()

    def missing(self, list_hash: bytes) -> list[bytes]:
        """The chunks that are not here: the list itself while that is missing. Raises FormatError on a bad list."""
        listed = self.read(list_hash)
        if listed is None:
            return [list_hash]
        return [known for known in dict.fromkeys(_hashes(listed)) if not self.has(known)]

    def write_out(self, list_hash: bytes, whole: bytes, path: Path) -> int:
        """Write a file that is here to `path`, checked by its SHA-256; returns its size. Raises LocalError."""
        listed = self.read(list_hash)
        check, size = sha256(), 0
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with partial.open("xb") as out:
                for known in _hashes(listed or b""):
                    content = self.read(known)
                    if content is None:
                        raise LocalError(f"a part of {path.name} is damaged here; fetch it again")
                    check.update(content)
                    size += len(content)
                    out.write(content)
            if listed is None or check.digest() != whole:
                raise LocalError(f"{path.name} is not the file that was attached: its SHA-256 differs")
            os.link(partial, path)
        except FileExistsError:
            raise LocalError(f"{path} exists already; nothing was changed") from None
        except OSError as error:
            raise LocalError(f"{path} cannot be written: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)
        return size


def _hashes(listed: bytes) -> Iterator[bytes]:
    if len(listed) % 32 or len(listed) > 32 * (FILE_BYTES_MAX // CHUNK_BYTES_MAX):
        raise FormatError("a list of chunks is up to 256 hashes of 32 bytes")
    return (listed[at : at + 32] for at in range(0, len(listed), 32))


@dataclass(slots=True)
class _Peer:
    """What was asked of one peer, by when it should have answered, and what it does not have."""

    asked: dict[bytes, float] = field(default_factory=dict)
    lacks: dict[bytes, float] = field(default_factory=dict)  # until when that is taken for granted


class Exchange:
    """Fetches files from peers. It is told what happens, and asks through `send_get`; it reads no clock."""

    def __init__(self, store: FileStore, send_get: Callable[[PublicKey, bytes], bool]) -> None:
        self._store = store
        self._send_get = send_get
        self._peers: dict[PublicKey, _Peer] = {}
        self._lists: set[bytes] = set()

    def fetch(self, list_hash: bytes) -> tuple[int, int]:
        """Want a file; returns (chunks that are missing, chunks in all), the list counted while it is missing."""
        missing = self._store.missing(list_hash)
        if missing and len(self._lists) < _FETCHES_MAX:
            self._lists.add(list_hash)
        listed = self._store.read(list_hash)
        return len(missing), 1 if listed is None else max(1, len(listed) // 32)

    @property
    def busy(self) -> bool:
        """Whether anything is wanted."""
        return bool(self._lists)

    def ask(self, peers: Iterable[PublicKey], now_s: float) -> None:
        """Ask the linked peers for what is missing, spread over them."""
        linked = list(peers)
        self._peers = {key: self._peers.get(key, _Peer()) for key in linked}
        for peer in self._peers.values():
            for known in [known for known, until in peer.asked.items() if until < now_s]:
                del peer.asked[known]  # asked again below, of whoever has room
            peer.lacks = {known: until for known, until in peer.lacks.items() if until > now_s}
        under_way = {known for peer in self._peers.values() for known in peer.asked}
        for list_hash in sorted(self._lists):
            try:
                missing = self._store.missing(list_hash)
            except FormatError:
                missing = []  # nobody can make this list a file
            if not missing:
                self._lists.discard(list_hash)
            for known in missing:
                if known not in under_way and self._ask_one(known, now_s):
                    under_way.add(known)

    def _ask_one(self, known: bytes, now_s: float) -> bool:
        room = [item for item in self._peers.items() if len(item[1].asked) < _ASKED_MAX and known not in item[1].lacks]
        for key, peer in sorted(room, key=lambda item: len(item[1].asked)):
            if self._send_get(key, known):
                peer.asked[known] = now_s + ANSWER_WAIT_S
                return True
        return False

    def brought(self, key: PublicKey, known: bytes, content: bytes | None, now_s: float) -> bool:
        """Whether a peer's answer is to be kept: what was not asked for, or is something else, is not."""
        peer = self._peers.get(key)
        if peer is None or peer.asked.pop(known, None) is None:
            return False
        if content is None or sha256(content).digest() != known:
            peer.lacks[known] = now_s + LACK_WAIT_S
            return False
        return True
