"""The reader: a process that reads frames for admission, on a second core, while there is much to read.

It hashes and verifies what a frame holds, and answers with ids, kinds, times (`ledger/reading.py`). It knows nothing
else, and may be killed at any moment: then admission does that itself. It ends with its input. It is no thread, because
threads take turns in Python, and this is half of what admission costs.

    python -m node.reader NETWORK_ID

    on start    "."
    request     size (4 bytes, big-endian), canonical [frame, [which run, ...]]
    answer      size, canonical [nil or [ids, kinds, times, proved], ...]: one for each run that was asked for
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from select import select
from typing import IO, Final, TypeAlias, cast

from keys.errors import RemoteError
from ledger.reading import Item, ReadFrame, Wanted, in_turn, read_run
from protocol.codec import pack, unpack_row
from protocol.entry import Chain, EntryId, NetworkId
from protocol.frame import Run, decode_frame

_BYTES_MIN: Final = 512 * 1024  # of frames in one commit: about 5,000 entries
_AHEAD: Final = 2  # frames that are read before their turn: what bounds the memory
_UNNEEDED_MAX: Final = 16  # commits of less, one after another: then the process ends


class Reader:
    """The daemon's side: for one commit at a time."""

    def __init__(self, network_id: NetworkId) -> None:
        self._command = [sys.executable, "-m", "node.reader", network_id.hex()]
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False  # it has said so
        self._busy = False  # requests may be unanswered
        self._unneeded = 0  # commits since it was last needed

    def ahead(self, items: Iterable[Item], wanted: Wanted) -> Iterator[tuple[Item, ReadFrame | None]]:
        """See `ledger.reading.Ahead`."""
        many = isinstance(items, Sequence) and sum(len(item) for item in items if isinstance(item, bytes)) > _BYTES_MIN
        process = self._serving() if many else None
        if process is None:
            self._unneeded += 1
            if self._unneeded == _UNNEEDED_MAX:
                self.close()
            yield from in_turn(items, wanted)
            return
        self._busy = True
        waiting: deque[tuple[Item, Future[ReadFrame | None]]] = deque()
        with ThreadPoolExecutor(1) as asking, ThreadPoolExecutor(1) as hearing:  # a full pipe stops only one of them
            for item in items:
                asked = asking.submit(_ask, process, item, wanted)
                waiting.append((item, hearing.submit(_hear, process, asked)))
                if len(waiting) > _AHEAD:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        self._busy = False
        if process.poll() is not None:
            self.close()

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the process. It is started again where it is needed."""
        process, self._process, self._ready, self._busy = self._process, None, False, False
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what was not yet written cannot be
                    _pipe(pipe).close()

    def _serving(self) -> "subprocess.Popen[bytes] | None":
        """The process, once it can be asked. It is started here, and takes a moment."""
        self._unneeded = 0
        if self._busy:
            self.close()  # a commit failed, and left questions that nobody hears the answers to
        if self._process is None and len(os.sched_getaffinity(0)) > 1:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._process is not None and not self._ready:
            answers = _pipe(self._process.stdout)
            if select([answers], [], [], 0)[0]:
                self._ready = answers.read(1) == b"."
                if not self._ready:
                    self.close()
        return self._process if self._ready else None


_Asked: TypeAlias = "tuple[tuple[Run, ...], list[int]] | None"


def _ask(process: "subprocess.Popen[bytes]", item: Item, wanted: Wanted) -> _Asked:
    """Ask for the runs of a frame that are wanted: which they are; None: it is no frame, or the process is gone."""
    if not isinstance(item, bytes):
        return None
    try:
        runs = decode_frame(item)
    except RemoteError:
        return None  # admission says why
    asked = [at for at, run in enumerate(runs) if wanted(run)]
    try:
        _write(_pipe(process.stdin), [item, asked])
    except (OSError, ValueError):  # it was killed, or closed
        return None
    return runs, asked


def _hear(process: "subprocess.Popen[bytes]", question: "Future[_Asked]") -> ReadFrame | None:
    """The answer to a question, after those to the questions before it."""
    asked = question.result()
    if asked is None:
        return None
    try:
        answers = _next_message(_pipe(process.stdout))
    except (OSError, ValueError):
        answers = None
    if answers is None:
        return None
    runs, wanted = asked
    found = zip(wanted, answers, strict=True)
    return ReadFrame(
        runs, {at: _chain(runs[at], cast("list[object]", answer)) for at, answer in found if answer is not None}
    )


def _chain(run: Run, answer: list[object]) -> Chain:
    ids, kinds, times, proved = answer
    raw = cast("bytes", ids)
    known = [EntryId(raw[at : at + 32]) for at in range(0, len(raw), 32)]
    return Chain(run.place, run.rows, known, cast("list[str]", kinds), cast("list[int]", times), proved is True)


def _next(waiting: deque[tuple[Item, Future[ReadFrame | None]]]) -> tuple[Item, ReadFrame | None]:
    item, read = waiting.popleft()
    return item, read.result()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _write(pipe: IO[bytes], message: list[object]) -> None:
    raw = pack(message)
    pipe.write(len(raw).to_bytes(4, "big"))
    pipe.write(raw)
    pipe.flush()


def _next_message(pipe: IO[bytes]) -> list[object] | None:
    """The next request or answer; None at the end."""
    size = int.from_bytes(pipe.read(4), "big")
    raw = pipe.read(size)
    return unpack_row(raw) if raw and len(raw) == size else None


def main(network_id: NetworkId) -> int:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the daemon, too, which closes the input
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(b".")
    answers.flush()
    while (request := _next_message(requests)) is not None:
        frame, asked = request
        runs = decode_frame(cast("bytes", frame))
        _write(answers, [_answer(network_id, runs[at]) for at in cast("list[int]", asked)])
    return 0


def _answer(network_id: NetworkId, run: Run) -> list[object] | None:
    chain = read_run(network_id, run)
    return None if chain is None else [b"".join(chain.ids), chain.kinds, chain.times, chain.proved]


if __name__ == "__main__":
    sys.exit(main(NetworkId(bytes.fromhex(sys.argv[1]))))
