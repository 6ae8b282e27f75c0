"""The soak, short; and that a run which was killed leaves nothing that the next one does not clear away."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.soak.__main__ import soak
from tests.soak.net import ip, remove_stale
from tests.soak.plan import namespace

pytestmark = pytest.mark.live


@pytest.mark.slow
def test_three_nodes_survive_twenty_seconds_of_everything(capfd: pytest.CaptureFixture[str]) -> None:
    status = soak(3, 20, 3, netem=False)
    told = capfd.readouterr().out
    assert status == 0, told
    assert "everything held" in told


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2")
def test_the_namespace_of_a_killed_run_goes_with_what_runs_in_it() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    name = namespace(gone.pid, 1, 0)
    try:
        ip("netns", "add", name)
    except OSError as error:
        pytest.skip(f"no namespaces here: {error}")
    with subprocess.Popen(["ip", "netns", "exec", name, "cat"], stdin=subprocess.PIPE) as inside:
        while inside.pid not in map(int, ip("netns", "pids", name).split()):
            assert inside.poll() is None
        assert name in remove_stale()
        assert inside.wait(10) == -signal.SIGKILL
    assert name not in ip("netns", "list")
