"""The client: what every command uses to reach the node of this home.

With a daemon running, requests go over its control socket; without one, the store is opened directly. The
answers are the same. An officer's key is used here and never reaches the daemon: it is asked where the log
stands, and is handed signed rows.
"""

import fcntl
import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from keys import errors
from keys.errors import BusyError, FormatError, HamkorError, KeyFileError, LocalError, MarkError
from keys.mark import Mark, mark_path
from keys.signing import PublicKey, SigningKey
from node.clock import wall_ms
from node.home import Home, open_home
from node.submit import BATCH_MAX, naming, pending_runs, remember, run_request
from protocol.codec import Value, decode, encode
from protocol.entry import EntryId, NetworkId, Place
from protocol.frame import Draft, Run, sign_run
from protocol.limits import FRAME_BYTES_TARGET

if TYPE_CHECKING:
    from node.consulted import Noted

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_CONNECT_WAIT_S: Final = 5.0
_ANSWER_WAIT_S: Final = 300.0  # a large bundle takes its time
_HEADER_BYTES: Final = 400  # of an entry beside its body and refs, generously
_REF_BYTES: Final = 34


class Node(Protocol):
    """What a command can ask: a running daemon or the store itself."""

    running: bool

    def ask(self, op: str, **fields: Value) -> Value:
        """The answer to a request. Raises HamkorError as the node raised it."""

    def submit(self, run: Run) -> Value:
        """Hand in signed entries; returns once they are durable."""

    def follow(self, op: str, **fields: Value) -> Iterator[Value]:
        """Items as they come. Raises BusyError when the node stops."""


def request(path: Path, fields: Mapping[str, Value]) -> Value:
    """One request to the daemon behind the socket at `path`."""
    for answer in _answers(path, fields):
        if "ok" in answer:
            return answer["ok"]
    raise BusyError("the node closed the connection without an answer; see its log")


class _Daemon:
    """A running daemon."""

    running = True

    def __init__(self, home: Home) -> None:
        self._path = home.socket_path

    def ask(self, op: str, **fields: Value) -> Value:
        return request(self._path, {"op": op, **fields})

    def submit(self, run: Run) -> Value:
        return request(self._path, run_request(run))

    def follow(self, op: str, **fields: Value) -> Iterator[Value]:
        for answer in _answers(self._path, {"op": op, "follow": True, **fields}, wait_s=None):
            if "item" in answer:
                yield answer["item"]
            else:
                return
        raise BusyError("the node has stopped; what comes later is shown by: hamkor log")


def _answers(
    path: Path, fields: Mapping[str, Value], *, wait_s: float | None = _ANSWER_WAIT_S
) -> Iterator[dict[str, Value]]:
    """The answers to one request, errors raised."""
    raw = encode(dict(fields))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(_CONNECT_WAIT_S)
            stream.connect(str(path))
            stream.settimeout(wait_s)
            stream.sendall(len(raw).to_bytes(4, "big") + raw)
            with stream.makefile("rb") as file:
                while size_raw := file.read(4):
                    size = int.from_bytes(size_raw, "big")
                    if size > ANSWER_BYTES_MAX:
                        raise FormatError(
                            f"the node answers with {size} bytes; command line and node differ in version"
                        )
                    raw = file.read(size)
                    if len(raw) < size:
                        raise BusyError(f"the node behind {path} stopped in the middle of its answer; see its log")
                    answer = decode(raw, size_max=ANSWER_BYTES_MAX)
                    if not isinstance(answer, dict):
                        raise FormatError("the node answers with something else than a map")
                    if isinstance(error := answer.get("error"), dict):
                        raise _raised(error)
                    yield answer
                    if "ok" in answer:
                        return
    except TimeoutError:
        raise BusyError(f"the node behind {path} does not answer; see its log, or restart it") from None
    except OSError as error:
        raise BusyError(f"the node behind {path} cannot be reached: {error.strerror}; is it running?") from None


def _raised(error: Mapping[str, Value]) -> HamkorError:
    """The error that the node reported, as an error of the same class."""
    kind, message = str(error.get("kind")), str(error.get("message"))
    found = getattr(errors, kind, LocalError)
    if found is errors.AdmissionError:
        return errors.AdmissionError(str(error.get("reason", "")), message)
    if isinstance(found, type) and issubclass(found, HamkorError):
        return found(message)
    return LocalError(message)


class _Direct:
    """The store itself, for as long as no daemon runs."""

    def __init__(self, home: Home) -> None:
        from node.direct import open_direct  # LMDB and SQLite are loaded only where they are needed

        self.running = home.past is not None  # nothing is stopped about the past
        self._direct = open_direct(home, _ReadingsAt(home.past.of) if home.past is not None else None)

    def ask(self, op: str, **fields: Value) -> Value:
        return self._direct.answer({"op": op, **fields})

    def submit(self, run: Run) -> Value:
        return self._direct.answer(run_request(run))

    def follow(self, op: str, **fields: Value) -> Iterator[Value]:
        raise BusyError("nothing new arrives while the node is stopped; start it with: hamkor run")

    def close(self) -> None:
        self._direct.close()


class _ReadingsAt:
    """Notes at the node of another home who is shown marked records, and asks it which are marked by now."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, notes: "Sequence[Noted]") -> None:
        """Durable when this returns. The node says when it is, and who asks."""
        with open_node(open_home(self._path)) as node:
            for note in notes:
                read = note.read
                node.ask(
                    "consult", records=list(read.records), why=read.why, command=read.command, officer=read.officer
                )

    def pending(self) -> "Sequence[Noted]":
        """Nothing: it waits at that node."""
        return ()

    def marks(self, records: Collection[EntryId]) -> Mapping[EntryId, str]:
        """Those that have one: what was open once and is marked now is not to be had by asking for the past."""
        ids = sorted(records)
        asked: list[Value] = list(ids)
        with open_node(open_home(self._path)) as node:
            marks = node.ask("marks", records=asked) if ids else []
        if not isinstance(marks, list) or len(marks) != len(ids):
            raise FormatError("the node's answer is not understood; command line and node differ in version")
        return {known: str(mark) for known, mark in zip(ids, marks, strict=True) if mark}


@contextmanager
def open_node(home: Home) -> Iterator[Node]:
    """The node of this home: its daemon if one is alive, else its store. Raises HomeError when there is neither."""
    if is_alive(home):
        yield _Daemon(home)
        return
    direct = _Direct(home)
    try:
        yield direct
    finally:
        direct.close()


def is_alive(home: Home) -> bool:
    """Whether a daemon listens in this home."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(_CONNECT_WAIT_S)
        stream.connect(str(home.socket_path))
        return True
    return False


def write(
    node: Node, signer: SigningKey, key_path: Path, kind: str, drafts: Sequence[Draft],
    progress: Callable[[int], None] | None = None,
) -> list[EntryId]:  # fmt: skip
    """Sign `drafts` and hand them in, in batches; returns their ids once all are durable.

    What an earlier run signed and could not hand in goes first. Two commands with one key take turns: signing at
    the same place would fork the log. progress: told how many are done.
    While a batch is made durable, here and at the node, the next one is signed: it leaves this process only once the
    one before it is in the log, and is forgotten where that one is refused.
    Raises MarkError when the home was restored from an older copy, and AdmissionError when the node refuses.
    """
    if not drafts:
        return []
    with _alone(key_path):
        mark = Mark.open(mark_path(key_path), signer.public)
        batches = _sign_batches(_ready(node, mark, kind), signer, drafts)
        run, ids = next(batches)
        if len(ids) == len(drafts):
            _hand_in(node, mark, run, ids)
            if progress is not None:
                progress(len(ids))
            return ids
        from concurrent.futures import ThreadPoolExecutor  # not above: few commands write more than one batch

        with ThreadPoolExecutor(1) as beside:
            handed_in = beside.submit(_hand_in, node, mark, run, ids)
            for run, more in batches:
                handed_in.result()
                handed_in = beside.submit(_hand_in, node, mark, run, more)
                if progress is not None:
                    progress(len(ids))
                ids += more
            handed_in.result()
            if progress is not None:
                progress(len(ids))
    return ids


def _sign_batches(
    prepared: "_Prepared", signer: SigningKey, drafts: Sequence[Draft]
) -> Iterator[tuple[Run, list[EntryId]]]:
    """Batches of `drafts` signed one after another from the prepared place on; the first names its acts."""
    place, time_ms, acts, done = prepared.place, prepared.time_ms, prepared.acts, 0
    while done < len(drafts):
        stop = done + batch_size(drafts[done : done + BATCH_MAX])
        time_ms = max(wall_ms(), time_ms)
        run, ids = sign_run(signer, prepared.network_id, place, naming(drafts[done:stop], acts), time_ms)
        place, acts, done = Place(place.key, run.end, ids[-1]), (), stop
        yield run, ids


def _hand_in(node: Node, mark: Mark, run: Run, ids: Sequence[EntryId]) -> None:
    """Make the mark of a signed run durable, and then let it out; the run is in the log when this returns."""
    remember(mark, run, ids)
    node.submit(run)


def _ready(node: Node, mark: Mark, kind: str) -> "_Prepared":
    """Where the log stands once all that was signed before is in it."""
    prepared = _prepare(node, mark.public, kind)
    if _checked(mark, prepared) == "resubmit":
        for run in pending_runs(mark):
            node.submit(run)
        prepared = _prepare(node, mark.public, kind)
        if _checked(mark, prepared) == "resubmit":
            raise BusyError("the node took what was signed last, but its log did not grow; restart the node")
    return prepared


def resubmit(node: Node, public: PublicKey, key_path: Path, kind: str) -> None:
    """Hand in what an earlier command with this key signed and could not. Raises as `write` does.

    Whoever decides by what the ledger holds what to write next calls this first.
    """
    with _alone(key_path):
        _ready(node, Mark.open(mark_path(key_path), public), kind)


def batch_size(drafts: Sequence[Draft]) -> int:
    """How many of `drafts` go into one batch: one at least, then as many as fit in FRAME_BYTES_TARGET.

    A batch that the control socket or the mark could not hold would be signed and then never be handed in.
    """
    size_bytes = 0
    for count, (_, body, refs) in enumerate(drafts):
        size_bytes += len(body) + _HEADER_BYTES + _REF_BYTES * len(refs)
        if count and size_bytes > FRAME_BYTES_TARGET:
            return count
    return len(drafts)


@contextmanager
def _alone(key_path: Path) -> Iterator[None]:
    """Only one process at a time signs with a key: others wait for it. The system drops the lock of a dead one."""
    try:
        descriptor = os.open(key_path, os.O_RDWR)  # never written; some file systems lock only what could be
    except OSError as error:
        raise KeyFileError(f"{key_path} cannot be locked for signing: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Where a log stands at the node, and what to name in its next entry."""

    place: Place
    network_id: NetworkId
    time_ms: int  # of the log's last entry
    acts: tuple[EntryId, ...]
    whole: bool  # the node has seen all that at least one other node holds, or there is no other


def _prepare(node: Node, key: PublicKey, kind: str) -> _Prepared:
    prepared = node.ask("prepare", key=key, kind=kind)
    match prepared:
        case {"seq": int() as seq, "prev": None | bytes() as prev, "network_id": bytes() as network_id,
              "time_ms_min": int() as time_ms, "acts": list() as acts, "whole": bool() as whole}:  # fmt: skip
            place = Place(key, seq, EntryId(prev) if prev is not None else None)
            named = tuple(EntryId(act) for act in acts if isinstance(act, bytes))
            return _Prepared(place, NetworkId(network_id), time_ms, named, whole)
        case _:
            raise FormatError("the node's answer is not understood; command line and node differ in version")


def _checked(mark: Mark, prepared: _Prepared) -> str:
    """Whether the key may sign: "ok", or "resubmit". A lost mark goes on where the log ends, if the log is whole."""
    place = prepared.place
    state = mark.check(place.seq, place.prev)
    if state != "lost":
        return state
    if not prepared.whole:
        raise MarkError(
            f"the high-water mark {mark.path} is missing, so what the key has signed must come from other nodes first:"
            " run the node, let it link with another (hamkor peers), and try again"
        )
    mark.adopt(place.seq, place.prev)
    return "ok"
