"""How often something may happen, so that what comes in quick succession is done together. No clock."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Lets `burst` happen at once after a quiet time, and then one in `wait_ns`."""

    wait_ns: int
    burst: int
    _next_ns: int = 0  # mono: when the next would come if all had kept their distance

    def due_ns(self) -> int:
        """From when on it may happen, mono."""
        return self._next_ns - (self.burst - 1) * self.wait_ns

    def take(self, mono_ns: int) -> None:
        """It happens now. What happens although it was not due makes the next one wait no longer than `wait_ns`."""
        self._next_ns = min(max(self._next_ns, mono_ns), mono_ns + (self.burst - 1) * self.wait_ns) + self.wait_ns
