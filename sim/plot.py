"""A picture of one run over virtual time: convergence, traffic, lag, and the faults that befell it.

    plot = Plot(case)
    outcome = run_case(case, watch=plot.watch, watch_every_s=plot.every_s)
    plot.save(path, outcome)

Looks, and changes nothing. A look costs nodes x (logs with entries that are not everywhere yet).
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keys.errors import StorageError, UsageError
from keys.signing import PublicKey
from sim.scenario import Case, Outcome
from sim.stage import SECOND
from sim.world import World

LOOKS: Final = 2400  # about so many a run
BLUE, ORANGE, GREEN, RED, GREY = "#2b6ca3", "#d97a1e", "#3f8f5b", "#b8413c", "#8a8f98"
CUT, CALM = "#f6ead3", "#dcefe1"  # what is behind the lines while the network is cut, and once all is mended
WIDTH, HEIGHT, DPI = 12.0, 11.0, 110  # inches; dots per inch


@dataclass(slots=True)
class Samples:
    """What was seen, one item a look in each list; the first is the world as it was founded."""

    at_s: list[float] = field(default_factory=lambda: [0.0])
    complete: list[float] = field(default_factory=lambda: [100.0])  # percent: hold all that was acknowledged
    alive: list[float] = field(default_factory=lambda: [100.0])  # percent
    ledgers: list[float] = field(default_factory=lambda: [1.0])  # distinct ones
    bytes_per_s: list[float] = field(default_factory=lambda: [0.0])  # since the last look, over all links
    behind: list[float] = field(default_factory=lambda: [0.0])  # entries that the slowest node lacks
    cut: list[bool] = field(default_factory=lambda: [False])
    lag: list[tuple[float, float]] = field(default_factory=list)  # (when an entry had reached all, s that it took)
    faults: list[tuple[float, str, int]] = field(default_factory=list)  # (when, kind, how often since the last look)


class Plot:
    """Watches a world, then draws. Raises UsageError when matplotlib is not installed."""

    def __init__(self, case: Case) -> None:
        try:
            import matplotlib as _  # noqa: F401, ICN001
        except ImportError as error:
            raise UsageError("--plot needs matplotlib: pip install 'hamkor[plot]'") from error
        self.samples = Samples()
        self.every_s = max(1, case.minutes * 60 // LOOKS)
        self._case = case
        self._seen = [0] * case.nodes  # acknowledged entries of each machine that were looked at
        self._waiting: dict[PublicKey, dict[int, float]] = {}  # log -> seq -> when it was first seen acknowledged
        self._faults: Counter[str] = Counter()
        self._sent_bytes = 0
        self._last_s = 0.0

    def watch(self, world: World) -> None:
        """Look once."""
        now_s, seen = world.now_ns / SECOND, self.samples
        for machine in world.machines:
            for entry in machine.acknowledged[self._seen[machine.number] :]:
                self._waiting.setdefault(entry.key, {}).setdefault(entry.seq, now_s)
            self._seen[machine.number] = len(machine.acknowledged)
        behind = self._lacking(world, now_s)
        seen.at_s.append(now_s)
        seen.behind.append(max(behind))
        seen.complete.append(100 * behind.count(0) / len(behind))
        seen.alive.append(100 * sum(machine.alive for machine in world.machines) / len(behind))
        seen.ledgers.append(len({machine.ledger.heads.fingerprint() for machine in world.machines}))
        seen.cut.append(world.cut)
        seen.bytes_per_s.append((world.sent_bytes - self._sent_bytes) / max(now_s - self._last_s, 1e-3))
        for name, count in sorted((world.faults - self._faults).items()):
            seen.faults.append((now_s, name, count))
        self._faults, self._sent_bytes, self._last_s = Counter(world.faults), world.sent_bytes, now_s

    def _lacking(self, world: World, now_s: float) -> list[int]:
        """How many entries each machine lacks; those that no machine lacks any more are counted into the lag."""
        lacking = [0] * len(world.machines)
        for key, seqs in list(self._waiting.items()):
            heads = [machine.ledger.heads.get(key) for machine in world.machines]
            forked_at = min((head.size for head in heads if head.forked), default=None)
            everywhere = min(head.size for head in heads)
            for seq, since_s in list(seqs.items()):
                if seq < everywhere:
                    self.samples.lag.append((now_s, now_s - since_s))
                if seq < everywhere or (forked_at is not None and seq >= forked_at):
                    del seqs[seq]  # it is on all nodes, or disputed
            if not seqs:
                del self._waiting[key]
                continue
            for number, head in enumerate(heads):
                lacking[number] += sum(seq >= head.size for seq in seqs)
        return lacking

    # -- drawing ----------------------------------------------------------------------------------

    def save(self, path: Path, outcome: Outcome) -> None:
        """Write the picture. Raises StorageError when it cannot be written."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        end_s = max([self.samples.at_s[-1] + self.every_s, self._case.minutes * 60 * 1.03])  # room to see the end
        unit_s, unit = (3600, "hours") if end_s > 3 * 3600 else (60, "minutes")
        kinds = sorted({name for _, name, _ in self.samples.faults})
        ratios = [2.6, 1.6, 1.8, 2.2, 1.8, 0.5 + 0.26 * len(kinds)]
        axes = figure.subplots(6, 1, sharex=True, height_ratios=ratios)
        self._title(figure, outcome)
        at = [when / unit_s for when in [*self.samples.at_s, end_s]]
        seen = self.samples
        for series in (seen.complete, seen.alive, seen.ledgers, seen.behind):
            series.append(series[-1])  # it stays as it was left
        for draw, axis in zip((self._nodes, self._ledgers, self._traffic, self._lag, self._behind), axes, strict=False):
            self._shade(axis, at, end_s / unit_s, unit_s)
            draw(axis, at, unit_s)
            axis.grid(visible=True, axis="y", color="#e6e8eb", linewidth=0.8)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
            axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1.02), frameon=False, fontsize=9, borderaxespad=0.0)
        self._faults_strip(axes[5], kinds, unit_s)
        self._shade(axes[5], at, end_s / unit_s, unit_s)
        axes[5].set_xlabel(f"virtual time, {unit}")
        axes[5].set_xlim(0, end_s / unit_s)
        try:
            figure.savefig(path, format="png")
        except OSError as error:
            raise StorageError(f"{path}: the picture could not be written: {error.strerror}") from error

    def _title(self, figure: Any, outcome: Outcome) -> None:
        case = self._case
        if outcome.violations:
            end, color = f"{len(outcome.violations)} violations: {outcome.violations[0][:90]}", RED
        else:
            end, color = f"all nodes hold the same {outcome.settled_s} s after the faults stopped", GREEN
        hours = f"{case.minutes / 60:g} virtual hours" if case.minutes > 60 else f"{case.minutes} virtual minutes"
        figure.suptitle(
            f"seed {case.seed}: {case.nodes} nodes, {hours}, {outcome.entries:,} entries\n",
            fontsize=14, fontweight="bold", linespacing=0.9, x=0.02, ha="left",
        )  # fmt: skip
        figure.text(0.02, 0.972, end, fontsize=10.5, color=color, ha="left", va="top")

    def _shade(self, axis: Any, at: list[float], end: float, unit_s: int) -> None:
        """Sand where the network was cut, green where nothing goes wrong any more."""
        begun = None
        for when, cut in [*zip(at, self.samples.cut, strict=False), (end, False)]:
            if cut and begun is None:
                begun = when
            elif not cut and begun is not None:
                axis.axvspan(begun, when, color=CUT, linewidth=0, zorder=0)
                begun = None
        axis.axvspan(self._case.minutes * 60 / unit_s, end, color=CALM, linewidth=0, zorder=0)

    def _nodes(self, axis: Any, at: list[float], _unit_s: int) -> None:
        axis.fill_between(at, self.samples.complete, step="post", color=BLUE, alpha=0.25, linewidth=0)
        axis.step(at, self.samples.complete, where="post", color=BLUE, linewidth=1, label="hold all acknowledged")
        axis.step(at, self.samples.alive, where="post", color=GREY, linewidth=1, linestyle=":", label="are running")
        axis.fill_between([], [], color=CUT, label="the network is cut")
        axis.fill_between([], [], color=CALM, label="no more faults")
        axis.set_ylim(0, 105)
        axis.set_ylabel("nodes, %")

    def _ledgers(self, axis: Any, at: list[float], _unit_s: int) -> None:
        axis.step(at, self.samples.ledgers, where="post", color=GREEN, linewidth=1.2, label="different ledgers")
        axis.set_ylim(0, max([2, *self.samples.ledgers]) * 1.08)
        axis.set_ylabel("ledgers, count")

    def _traffic(self, axis: Any, at: list[float], _unit_s: int) -> None:
        size = max(1, len(at) // 240)  # a mean over so many looks, or there is nothing but spikes
        values = self.samples.bytes_per_s
        mean = [sum(values[i : i + size]) / len(values[i : i + size]) / 1000 for i in range(0, len(values), size)]
        starts = at[: len(values) : size]
        axis.fill_between(starts, mean, step="post", color=ORANGE, alpha=0.25, linewidth=0)
        axis.step(starts, mean, where="post", color=ORANGE, linewidth=1, label="sent, all links")
        axis.set_ylim(bottom=0)
        axis.set_ylabel("traffic, kB/s")

    def _lag(self, axis: Any, _at: list[float], unit_s: int) -> None:
        shown = [(when / unit_s, max(took, self.every_s)) for when, took in self.samples.lag]  # finer was not looked
        axis.plot(
            [when for when, _ in shown], [took for _, took in shown],
            ".", color=BLUE, markersize=4, alpha=0.5, label=f"an entry is on all\nnodes (to {self.every_s} s)",
        )  # fmt: skip
        axis.set_yscale("log")
        axis.set_ylim(self.every_s * 0.7, max([10 * self.every_s, *(took for _, took in shown)]) * 1.6)
        axis.set_ylabel("lag, s")

    def _behind(self, axis: Any, at: list[float], _unit_s: int) -> None:
        axis.fill_between(at, self.samples.behind, step="post", color=RED, alpha=0.15, linewidth=0)
        axis.step(at, self.samples.behind, where="post", color=RED, linewidth=1, label="the slowest\nnode lacks")
        axis.set_ylim(0, max([4, *self.samples.behind]) * 1.08)
        axis.set_ylabel("entries")

    def _faults_strip(self, axis: Any, kinds: list[str], unit_s: int) -> None:
        for row, name in enumerate(kinds):
            found = [(when / unit_s, count) for when, kind, count in self.samples.faults if kind == name]
            axis.scatter(
                [when for when, _ in found], [row] * len(found), s=[min(30 + 6 * count, 70) for _, count in found],
                marker="|", color=RED, linewidths=1.2 if len(found) < 200 else 0.6,
            )  # fmt: skip
        total: Counter[str] = Counter()
        for _, name, count in self.samples.faults:
            total[name] += count
        axis.set_yticks(range(len(kinds)), [f"{name} ({total[name]:,})" for name in kinds], fontsize=9)
        axis.set_ylim(len(kinds) - 0.4, -0.6)
        axis.set_ylabel("faults")
        axis.spines[["top", "right"]].set_visible(False)
