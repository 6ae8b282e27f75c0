"""The only place that reads a clock."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.engine.events import Now


def now() -> "Now":
    """Both clocks at this moment."""
    from node.engine.events import Now  # not above: the client reads the time, and needs no engine

    return Now(mono_ns=time.monotonic_ns(), wall_ms=time.time_ns() // 1_000_000)


def wall_ms() -> int:
    """Milliseconds since the Unix epoch, for what is written and shown."""
    return time.time_ns() // 1_000_000
