"""The table: every figure beside the limit and the peers of the same run, and whether the goal is met."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_NAMES = ("work", "ours", "", "limit", "ours/limit", "peer", "ours/peer", "goal", "met")
_LINE = "{:<56} {:>11} {:<10} {:>28} {:>10} {:>24} {:>9}  {:<30} {}"


@dataclass(slots=True)
class Row:
    """One figure. Ratios are ours to theirs, so for rates more is better, for times and sizes less."""

    name: str
    work: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    peers: dict[str, float] = field(default_factory=dict)  # the first is the one that the goal names
    goal: str = ""
    met: bool | None = None  # None: nothing to hold it against, or the peer is not here
    note: str = ""

    def lines(self) -> list[str]:
        """The row as it is printed: one line, one more for each further peer, one for the note."""
        (peer, figure), *others = list(self.peers.items()) or [("", None)]
        met = {True: "yes", False: "NO", None: "" if not self.goal else "-"}[self.met]
        lines = [
            _LINE.format(
                self.work, _short(self.value), self.unit, f"{self.limit_name} {_short(self.limit)}".strip(),
                _ratio(self.value, self.limit), f"{peer} {_short(figure)}".strip(), _ratio(self.value, figure),
                self.goal, met,
            ).rstrip()
        ]  # fmt: skip
        for peer, figure in others:
            cells = ("", "", "", "", "", f"{peer} {_short(figure)}", _ratio(self.value, figure), "", "")
            lines.append(_LINE.format(*cells).rstrip())
        return [*lines, *([f"    {self.note}"] if self.note else [])]


class Table:
    """Rows, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        sys.stdout.write(_LINE.format(*_NAMES).rstrip() + "\n")

    def add(self, row: Row) -> Row:
        """Print a row and keep it."""
        self.rows.append(row)
        sys.stdout.write("".join(f"{line}\n" for line in row.lines()))
        sys.stdout.flush()
        return row

    def say(self, text: str) -> None:
        """A line between the rows: what is skipped, and why."""
        sys.stdout.write(f"-- {text}\n")
        sys.stdout.flush()

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Write all rows as one JSON object."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [asdict(row) | {"to_limit": _divide(row.value, row.limit)} for row in self.rows]
        path.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def rounds(count: int, **works: Callable[[], float]) -> dict[str, float]:
    """The medians of `count` figures of each work, taken in turns, so that a noisy phase meets all alike."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(count):
        for name, work in works.items():
            found[name].append(work())
    return {name: median(values) for name, values in found.items()}


def _divide(value: float, by: float | None) -> float | None:
    return None if not by else value / by


def _ratio(value: float, by: float | None) -> str:
    found = _divide(value, by)
    return "" if found is None else f"{found:.2f}" if found < 100 else f"{found:.0f}"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
