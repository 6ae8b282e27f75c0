"""The network of a run: one namespace a node and a hub with bridges between them, or plain loopback.

The hub is a namespace too, so nothing of the machine's own network is touched. A node's cable ends at a port of
bridge `whole`; cutting it takes the port down, a partition moves ports to bridge `apart`.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import Node
from tests.soak.plan import Shape, namespace, stale

WHOLE, APART = "whole", "apart"  # the bridges


class Loopback:
    """All nodes at 127.0.0.1. A cut node is told to go offline."""

    hosts: Sequence[str] | None = None
    left_out = "namespaces, delay, jitter and loss; a cut is `hamkor offline`, which a node knows of and says"

    def prefix(self, number: int) -> tuple[str, ...]:
        """What a node's command starts with."""
        return ()

    def cut(self, nodes: Sequence[Node], numbers: Sequence[int]) -> None:
        """Take those nodes off the network."""
        for number in numbers:
            nodes[number].ask("links", up=False)

    def heal(self, nodes: Sequence[Node], numbers: Sequence[int]) -> None:
        """Bring them back."""
        for number in numbers:
            nodes[number].ask("links", up=True)

    part = cut  # those nodes do not hear one another either

    def close(self) -> None:
        """Nothing was made."""


class Spaces:
    """A namespace for each node, with a cable to the hub's bridge."""

    def __init__(self, shapes: Sequence[Shape], seed: int) -> None:
        """Make it all. Raises OSError where the machine does not allow it, with nothing left."""
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise OSError("namespaces need root and iproute2")
        pid = os.getpid()
        start = started(pid)
        assert start is not None
        self.names = [namespace(pid, start, number) for number in range(len(shapes))]
        self.hub = namespace(pid, start, "hub")
        self.hosts: Sequence[str] | None = [f"10.77.0.{number + 1}" for number in range(len(shapes))]
        self.left_out = ""
        self._relay: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # cuts come from the faults and from the crimes
        try:
            self._build(shapes, seed)
        except BaseException:
            self.close()
            raise

    def _build(self, shapes: Sequence[Shape], seed: int) -> None:
        for name in (self.hub, *self.names):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for bridge in (WHOLE, APART):
            ip("-n", self.hub, "link", "add", bridge, "type", "bridge")
            ip("-n", self.hub, "link", "set", bridge, "up")
        if self._has_netem():
            for number, (name, shape) in enumerate(zip(self.names, shapes, strict=True)):
                ip("-n", self.hub, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
                for where, device in ((name, "eth0"), (self.hub, f"p{number}")):
                    netem(where, device, shape)
            self.shaping = "netem"
        else:
            self._start_relay(shapes, seed)
            self.shaping = "a relay in place of netem, which this kernel lacks"
        for number, name in enumerate(self.names):
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", self.hub, "link", "set", f"p{number}", "master", WHOLE, "up")

    def _has_netem(self) -> bool:
        try:
            netem(self.hub, "lo", Shape(1, 0, 0))
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def _start_relay(self, shapes: Sequence[Shape], seed: int) -> None:
        cables = [
            f"{name},p{number},{shape.delay_ms},{shape.jitter_ms},{shape.loss}"
            for number, (name, shape) in enumerate(zip(self.names, shapes, strict=True))
        ]
        self._relay = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.relay", str(seed), self.hub, *cables],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != b"ready\n":
            raise OSError("neither netem nor TAP devices are to be had")

    def prefix(self, number: int) -> tuple[str, ...]:
        """What a node's command starts with: it becomes the node's process."""
        return ("ip", "netns", "exec", self.names[number])

    def cut(self, nodes: Sequence[Node], numbers: Sequence[int]) -> None:
        """Pull those nodes' cables."""
        self._set(numbers, "down")

    def part(self, nodes: Sequence[Node], numbers: Sequence[int]) -> None:
        """Move those nodes to the other bridge: they hear one another, and nobody else."""
        self._set(numbers, "master", APART)

    def heal(self, nodes: Sequence[Node], numbers: Sequence[int]) -> None:
        """Undo both."""
        self._set(numbers, "master", WHOLE, "up")

    def _set(self, numbers: Sequence[int], *words: str) -> None:
        with self._lock:
            for number in numbers:
                ip("-n", self.hub, "link", "set", f"p{number}", *words)

    def close(self) -> None:
        """Remove everything that was made; the nodes' processes are gone by now."""
        if self._relay is not None:
            self._relay.kill()
            self._relay.communicate()
        for name in (*self.names, self.hub):
            remove(name)


def ip(*words: str) -> str:
    """Run `ip`; its output. Raises OSError, with what `ip` says."""
    done = subprocess.run(("ip", *words), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def netem(where: str, device: str, shape: Shape) -> None:
    """Shape what leaves by a device. Raises CalledProcessError where the kernel has no netem."""
    words = ("qdisc", "add", "dev", device, "root", "netem", "delay", f"{shape.delay_ms}ms", f"{shape.jitter_ms}ms")
    command = ("tc", "-n", where, *words, "loss", f"{shape.loss:.2%}")
    subprocess.run(command, check=True, capture_output=True)


def remove(name: str) -> None:
    """Remove a namespace of ours, and what still runs in it."""
    if not Path("/run/netns", name).exists():
        return
    listed = subprocess.run(("ip", "netns", "pids", name), check=False, capture_output=True, text=True).stdout
    for pid in listed.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)
    subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


def remove_stale() -> list[str]:
    """Remove what killed runs have left; the names."""
    folder = Path("/run/netns")
    names = stale([path.name for path in folder.iterdir()], started) if folder.is_dir() and os.geteuid() == 0 else []
    for name in names:
        remove(name)
    return names


def started(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None where there is none: ids are used again."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
