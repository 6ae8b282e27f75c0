"""Many seeds at once, each in a process of its own kind: what dies or hangs there is a failure that names its seed.

    for done in many(cases, jobs=2, limit_s=600): ...

Processes are spawned, so nothing of the parent's state comes into a run, and a run gives the same in any of them.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import perf_counter
from typing import Final

from sim.scenario import Case, Outcome, run_case

Work = Callable[[Case], Outcome]
STARTS_WITHIN_S: Final = 60.0  # a process, before the time of its first case begins
_TOLD_MAX: Final = 300  # characters of an exception


@dataclass(frozen=True, slots=True)
class Done:
    """A case that was played, or could not be: then `failure` says why."""

    case: Case
    outcome: Outcome | None
    seconds: float
    failure: str = ""

    @property
    def violations(self) -> list[str]:
        """What was broken, one sentence each."""
        return [self.failure] if self.outcome is None else self.outcome.violations


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: "Connection[Case, tuple[Outcome | None, str] | None]"
    case: Case
    since: float  # when its time began, by perf_counter


def many(cases: Sequence[Case], jobs: int, limit_s: float, work: Work = run_case) -> Iterator[Done]:
    """Play the cases, in the order in which they get done. Leaving the loop early ends the processes.

    limit_s: the wall time that one case may take. work: what a process does with a case; a function by name.
    """
    waiting = deque(cases)
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                workers.append(_start(waiting.popleft(), work))
            left_s = max(0.0, min(worker.since for worker in workers) + limit_s - perf_counter())
            ready = wait([worker.pipe for worker in workers], left_s)
            for worker in list(workers):
                done = _result(worker, limit_s, ready=worker.pipe in ready)
                if done is None:
                    continue
                yield done
                if done.failure or not waiting:
                    workers.remove(worker)
                    _end(worker)
                else:
                    worker.case, worker.since = waiting.popleft(), perf_counter()
                    worker.pipe.send(worker.case)
    finally:
        for worker in workers:
            _end(worker)


def _start(case: Case, work: Work) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    ours.send(case)
    return _Worker(process, ours, case, perf_counter() + STARTS_WITHIN_S)


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.kill()
    worker.process.join()


def _result(worker: _Worker, limit_s: float, *, ready: bool) -> Done | None:
    """What a worker has to say, if anything; a dead worker's pipe is ready, and at its end."""
    seconds = max(0.0, perf_counter() - worker.since)
    if ready:
        try:
            answer = worker.pipe.recv()
            if answer is None:  # it has started
                worker.since = perf_counter()
                return None
            outcome, failure = answer
        except (EOFError, ConnectionError):
            worker.process.join()
            outcome, failure = None, f"its process died (exit status {worker.process.exitcode})"
        return Done(worker.case, outcome, seconds, failure)
    if seconds > limit_s:
        return Done(worker.case, None, seconds, f"it was not done after {limit_s:.0f} s; --limit gives it more")
    return None


def _serve(pipe: "Connection[tuple[Outcome | None, str] | None, Case]", work: Work) -> None:
    """A worker: plays what comes until the parent is gone. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send(None)
    while True:
        try:
            case = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer: tuple[Outcome | None, str] = (work(case), "")
        except Exception as error:  # whatever the engine raises is what is looked for
            answer = (None, f"{type(error).__name__}: {error}"[:_TOLD_MAX])
        pipe.send(answer)
