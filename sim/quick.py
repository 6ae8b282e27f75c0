"""What every machine of a world computes alike is computed once: the results are the real functions' own.

A message that a dozen machines get is decoded, and an entry that they admit is hashed and verified, with the same
outcome on each. So the functions that do it, all pure, remember what they returned. Only successes are kept.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from ledger import authority, ingest, measure, store
from ledger.council import ActEntry
from node.engine import engine
from protocol.charter import Charter

REMEMBERED: Final = 1 << 15  # results of each function: more than are new within a few virtual minutes
EVALUATED: Final = 1 << 10
_SHARED: Final = (
    (measure, "verify"), (store, "verify"), (measure, "read_row"), (ingest, "decode_frame"),
    (engine, "decode_message"),
)  # fmt: skip


class _Evaluated:
    """`evaluate`, remembered by the acts in the very order in which they were given: order must not matter, so it is
    not taken for granted here.
    """

    def __init__(self, real: Callable[..., Any]) -> None:
        self.__wrapped__ = real
        self._found: dict[tuple[object, ...], Any] = {}

    def __call__(self, charter: Charter, acts: Iterable[ActEntry]) -> Any:
        given = tuple(acts)
        known = (charter.network_id, *(act.id for act in given))
        if known not in self._found:
            if len(self._found) == EVALUATED:
                self._found.clear()
            self._found[known] = self.__wrapped__(charter, given)
        return self._found[known]


def share() -> None:
    """Let the functions remember, and forget what they remembered of earlier worlds. Safe to repeat."""
    remembering: dict[Callable[..., Any], Callable[..., Any]] = {}
    for module, name in _SHARED:
        real = getattr(module, name)
        real = getattr(real, "__wrapped__", real)
        if real not in remembering:
            remembering[real] = lru_cache(REMEMBERED)(real)
        setattr(module, name, remembering[real])
    real = authority.evaluate
    evaluated = _Evaluated(real)
    for module in (ingest, store):
        setattr(module, "evaluate", evaluated)  # noqa: B010  # a function there, which a type checker guards
