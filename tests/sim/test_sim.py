"""The simulated world: the same seed is the same world, honest code survives it, broken code does not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from keys.signing import PublicKey
from ledger.ingest import Admission, Diverged, Outcome
from ledger.store import CommitResult, Ledger
from node.engine.engine import Engine
from node.engine.events import Reply
from node.engine.sync import Sync
from protocol.reconcile import Head, HeadIndex
from sim.invariants import check, look
from sim.scenario import play
from sim.stage import MINUTE, Weather
from sim.world import World

pytestmark = pytest.mark.sim
ROOT = Path(__file__).parents[2]
ROUGH = Weather(
    jitter_ms=50, loss_percent=2, repeat_percent=5, crash_every_s=300, cut_every_s=600, cut_for_s=60, full_every_s=600,
    lie_every_s=30, twice=True,
)  # fmt: skip


def run_command(seed: int, hash_seed: str) -> dict[str, object]:
    arguments = [sys.executable, "-m", "node.cli", "sim", "--seed", str(seed), "--nodes", "4", "--hours", "1", "--json"]
    done = subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONHASHSEED": hash_seed}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_same_seed_gives_the_same_digest_in_any_process() -> None:
    first, second = run_command(5, "1"), run_command(5, "2")
    assert first["digest"] == second["digest"]
    assert first["violations"] == []
    assert first["converged"] is True
    assert run_command(6, "1")["digest"] != first["digest"]


@pytest.mark.parametrize("seed", range(1, 21))
def test_nothing_that_must_hold_is_broken(seed: int) -> None:
    outcome = play(seed, 6, 0, minutes=20)
    assert outcome.violations == []
    assert outcome.entries > 20


def test_roughest_weather_is_survived() -> None:
    outcome = play(1, 5, 1, weather=ROUGH)
    assert outcome.violations == []
    assert outcome.crashes > 10
    assert outcome.forks == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_seeds(seed: int) -> None:
    assert play(seed, 6, 1).violations == []


@pytest.mark.parametrize("seed", range(3))
def test_officer_key_used_on_two_machines_is_a_fork_that_all_know(seed: int) -> None:
    world = World(seed, 4, Weather(write_every_s=20, twice=True))
    world.run(35 * MINUTE)
    world.calm_down()
    assert world.run(world.now_ns + 10 * MINUTE, world.settled)
    key = world.machines[0].officers[0].public
    at = world.writers.forks()[key]
    for machine in world.machines:
        head = machine.ledger.heads.get(key)
        assert (head.size, head.forked) == (at, True)
        assert next((log, seq) for log, seq, _ in machine.ledger.forks()) == (key, at)
    assert any(len(machine.ledger.log_entries(key, at)) > 0 for machine in world.machines)  # kept, as disputed
    assert len({machine.ledger.root() for machine in world.machines}) == 1
    assert check(world, converged=True) == []


# -- deliberate faults: each must be found ----------------------------------------------------------


def violations(weather: Weather = ROUGH) -> str:
    """What is found in 45 minutes of a weather in which honest code breaks nothing."""
    return " | ".join(play(1, 4, 0, weather=weather, minutes=45).violations)


@pytest.mark.parametrize("weather", [ROUGH, Weather(write_every_s=20, twice=True)], ids=["rough", "fair"])
def test_without_a_fault_nothing_is_found(weather: Weather) -> None:
    outcome = play(1, 4, 0, weather=weather, minutes=45)
    assert outcome.violations == []
    assert outcome.forks == 1


def test_acknowledging_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Engine._submit

    def hasty(self: Engine, origin: object, item: object) -> None:
        honest(self, origin, item)  # type: ignore[arg-type]
        self._out.append(Reply(origin.request, Outcome()))  # type: ignore[attr-defined]

    monkeypatch.setattr(Engine, "_submit", hasty)
    assert "lost acknowledged entry" in violations()


def test_last_signature_left_unchecked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "_verify_run", lambda *_: None)
    assert "another root than what was written gives" in violations()


def test_fork_that_is_not_looked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(_: Admission, run: object, *rest: object) -> None:
        rest[-1].outcome.diverged.append(Diverged(run.key, run.seq))  # type: ignore[attr-defined]

    monkeypatch.setattr(Admission, "_check_divergence", blind)
    assert "invariant 4" in violations()


def test_node_that_never_asks_for_what_it_lacks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sync, "_want", lambda *_: None)
    assert "invariant 2: the nodes do not hold the same in time" in violations()


def test_stale_root_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Ledger.apply

    def forgetful(self: Ledger, result: CommitResult) -> None:
        kept = dict(self._leaves)
        honest(self, result)
        self._leaves |= {log.key: kept[log.key] for log in result.logs if log.size > 5 and log.key in kept}

    monkeypatch.setattr(Ledger, "apply", forgetful)
    assert "invariant 1" in violations()


def test_head_merged_instead_of_replaced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork makes a log shorter: who keeps the greatest size seen is wrong until a restart, so nobody restarts."""
    honest: Callable[[HeadIndex, Head], None] = HeadIndex.put

    def merging(self: HeadIndex, head: Head) -> None:
        honest(self, max(self.get(PublicKey(head.key)), head, key=lambda item: item.size))

    monkeypatch.setattr(HeadIndex, "put", merging)
    assert "invariant 4" in violations(Weather(write_every_s=20, twice=True))


def test_queue_that_is_never_emptied_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "size", lambda self: 10**6)
    world = World(1, 3, Weather())
    world.run(MINUTE)
    assert any("invariant 6" in problem for problem in look(world))
