"""The main job, as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sim.demo import UNITS

ROOT = Path(__file__).parents[2]


@pytest.mark.live
def test_demo_converges_and_is_sound() -> None:
    command = [sys.executable, "-m", "node.cli", "demo", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert set(found) == {
        "nodes", "entries", "records", "conflicts", "same", "roots", "converged", "audit", "seconds",
    }  # fmt: skip
    assert (found["nodes"], found["converged"]) == (11, True)
    assert (found["conflicts"], found["same"]) == (0, 1)
    for told in ("=2:", "proposal", "left", "possibly the same", "1 reports left out", "settled on every node",
                 "attested by 11 nodes of 4 agencies"):  # fmt: skip
        assert told in done.stderr, told
    assert set(UNITS) < set(found["roots"])
    assert len(set(found["roots"].values())) == 1
    assert found["audit"]["verdict"] == "sound"
    assert found["audit"]["faults"] == []
    assert found["audit"]["entries"] == found["audit"]["signatures"] == found["entries"]
