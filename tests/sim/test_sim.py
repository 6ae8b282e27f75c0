"""The simulated world: the same seed is the same world, honest code survives it, broken code does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.invariants import check
from sim.model import judge_world
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


@pytest.mark.parametrize("seed", [*range(1, 3), *range(4, 13)])
def test_nothing_that_must_hold_is_broken(seed: int) -> None:
    outcome = play(seed, 6, 0, minutes=6)
    assert outcome.violations == []
    assert outcome.entries > 20


def test_roughest_weather_is_survived() -> None:
    outcome = play(1, 5, 0, weather=ROUGH, minutes=30)
    assert outcome.violations == []
    assert outcome.faults["crash"] > 10
    assert outcome.forks == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_seeds(seed: int) -> None:
    assert play(seed, 12, 0, minutes=6).violations == []


@pytest.mark.parametrize("seed", range(3))
def test_officer_key_used_on_two_machines_is_a_fork_that_all_know(seed: int) -> None:
    world = World(seed, 4, Weather(write_every_s=20, twice=True))
    world.run(35 * MINUTE)
    world.calm_down()
    assert world.run(world.now_ns + 10 * MINUTE, world.settled)
    key = world.machines[0].officers[0].public
    found = judge_world(world.founding.charter, world.writers.signed, (), world.machines)
    at = found.forks[key]
    for machine in world.machines:
        head = machine.ledger.heads.get(key)
        assert (head.size, head.forked) == (at, True)
        assert next((log, seq) for log, seq, _ in machine.ledger.forks()) == (key, at)
    assert any(len(machine.ledger.log_entries(key, at)) > 0 for machine in world.machines)  # kept, as disputed
    assert len({machine.ledger.root() for machine in world.machines}) == 1
    assert check(world, converged=True) == []
