"""The only place that reads a clock."""

import time

from node.engine.events import Now


def now() -> Now:
    """Both clocks at this moment."""
    return Now(mono_ns=time.monotonic_ns(), wall_ms=time.time_ns() // 1_000_000)


def wall_ms() -> int:
    """Milliseconds since the Unix epoch, for what is written and shown."""
    return time.time_ns() // 1_000_000
