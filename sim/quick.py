"""What every machine of a world computes alike is computed once: the results are the real functions' own.

A message that a dozen machines get is decoded, and an entry that they admit is hashed and verified, with the same
outcome on each. So the functions that do it, all pure, remember what they returned. Only successes are kept.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from ledger import ingest, measure, store
from node.engine import engine

REMEMBERED: Final = 1 << 15  # results of each function: more than are new within a few virtual minutes
_SHARED: Final = (
    (measure, "verify"), (store, "verify"), (measure, "read_row"), (ingest, "read_row"), (ingest, "decode_frame"),
    (engine, "decode_message"),
)  # fmt: skip


def share() -> None:
    """Let the functions remember, and forget what they remembered of earlier worlds. Safe to repeat."""
    remembering: dict[Callable[..., Any], Callable[..., Any]] = {}
    for module, name in _SHARED:
        real = getattr(module, name)
        real = getattr(real, "__wrapped__", real)
        if real not in remembering:
            remembering[real] = lru_cache(REMEMBERED)(real)
        setattr(module, name, remembering[real])
