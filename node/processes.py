"""The audit's stretches on all cores: one process each, forked when the first come, gone with the last.

Python's own work on an entry holds the interpreter, so threads would not do. Processes are forked: they start in
milliseconds, with everything loaded. They are handed what to check, and touch nothing that the parent has open.
"""

import gc
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context
from typing import Final

from keys.errors import LocalError
from ledger.audit_stretch import Checker, Result, Task, one_by_one

_ALONE: Final = 4  # tasks or fewer are not worth a process
_AHEAD: Final = 3  # tasks for each process that are read before their turn: what bounds the memory
_checker: Checker | None = None  # in the processes that check


def on_all_cores(checker: Checker, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
    """Each task and its result, in order. Raises LocalError when a process was killed."""
    source = iter(tasks)
    first = list(islice(source, _ALONE + 1))
    cores = len(os.sched_getaffinity(0))
    if len(first) <= _ALONE or cores == 1:
        yield from one_by_one(checker, chain(first, source))
        return
    gc.freeze()  # so that no process copies what it never looks at
    with ProcessPoolExecutor(cores, get_context("fork"), _begin, (checker,)) as pool:
        waiting: deque[tuple[Task, Future[Result]]] = deque()
        try:
            for task in chain(first, source):
                waiting.append((task, pool.submit(_check, task)))
                if len(waiting) > _AHEAD * cores:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            gc.unfreeze()


def _next(waiting: "deque[tuple[Task, Future[Result]]]") -> tuple[Task, Result]:
    task, future = waiting.popleft()
    try:
        return task, future.result()
    except BrokenProcessPool:
        raise LocalError("a process that checks signatures was killed; is there enough memory? start again") from None


def _begin(checker: Checker) -> None:
    """In a new process. Ctrl-C reaches all of them; the parent says what follows."""
    global _checker  # a process is told once, not with each task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # there are no cycles in what a check leaves behind
    _checker = checker


def _check(task: Task) -> Result:
    assert _checker is not None
    return _checker(task)
