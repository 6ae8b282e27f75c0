"""The simulated world: the same seed is the same world, honest code survives it, broken code does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.ingest import Outcome
from ledger.store import CommitResult, Ledger
from node.engine.engine import Engine
from node.engine.events import Reply
from node.engine.sync import Sync
from sim.scenario import draw_weather, play

pytestmark = pytest.mark.sim
ROOT = Path(__file__).parents[2]
QUICK_SEEDS = [seed for seed in range(1, 400) if draw_weather(seed, 4).write_every_s >= 30]
ROUGH = next(s for s in QUICK_SEEDS if draw_weather(s, 4).crash_every_s == 300 and draw_weather(s, 4).cut_every_s)


def run_command(seed: int, hash_seed: str) -> dict[str, object]:
    command = [sys.executable, "-m", "node.cli", "sim", "--seed", str(seed), "--nodes", "4", "--hours", "1", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONHASHSEED": hash_seed}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_same_seed_gives_the_same_digest_in_any_process() -> None:
    first, second = run_command(ROUGH, "1"), run_command(ROUGH, "2")
    assert set(first) == {
        "seed", "nodes", "hours", "entries", "steps", "converged", "violations", "digest", "seconds",
    }  # fmt: skip
    assert first["digest"] == second["digest"]
    assert first["violations"] == []
    assert first["converged"] is True
    assert run_command(QUICK_SEEDS[0], "1")["digest"] != first["digest"]


@pytest.mark.parametrize("seed", QUICK_SEEDS[:8])
def test_nothing_that_must_hold_is_broken(seed: int) -> None:
    outcome = play(seed, 4, 1)
    assert outcome.violations == []
    assert outcome.entries > 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_seeds(seed: int) -> None:
    assert play(seed, 6, 1).violations == []


def test_acknowledging_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Engine._submit

    def hasty(self: Engine, origin: object, item: object) -> None:
        honest(self, origin, item)  # type: ignore[arg-type]
        self._out.append(Reply(origin.request, Outcome()))  # type: ignore[attr-defined]

    monkeypatch.setattr(Engine, "_submit", hasty)
    outcome = play(ROUGH, 4, 1)
    assert any("acknowledged" in violation or "twice" in violation for violation in outcome.violations)


def test_a_node_that_never_asks_for_what_it_lacks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sync, "_want", lambda *_: None)
    outcome = play(ROUGH, 4, 1)
    assert any("invariant 2" in violation for violation in outcome.violations)


def test_a_stale_root_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Ledger.apply

    def forgetful(self: Ledger, result: CommitResult) -> None:
        kept = dict(self._leaves)
        honest(self, result)
        self._leaves |= {log.key: kept[log.key] for log in result.logs if log.size > 5 and log.key in kept}

    monkeypatch.setattr(Ledger, "apply", forgetful)
    outcome = play(ROUGH, 4, 1)
    assert any("invariant 1" in violation for violation in outcome.violations)
