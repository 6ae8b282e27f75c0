"""The only place that draws randomness from the system. Everything else is handed an `Entropy`."""

import os
from collections.abc import Callable
from typing import TypeAlias

Entropy: TypeAlias = Callable[[int], bytes]  # how many bytes -> that many


def system_entropy(size: int) -> bytes:
    """`size` random bytes from the operating system."""
    return os.urandom(size)
