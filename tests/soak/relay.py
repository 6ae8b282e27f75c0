"""Delay, jitter and loss in a process of its own, for kernels without netem: each node's cable runs through it.

    python -m tests.soak.relay SEED HUB NAMESPACE,PORT,DELAY_MS,JITTER_MS,LOSS ...

A cable is two TAP devices: `eth0` in the node's namespace, PORT in the hub's. What goes in at one end comes out at
the other, later, in order, or not at all. Prints "ready" once all are there; ends when its standard input does.
"""

import ctypes
import fcntl
import heapq
import os
import selectors
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x0002, 0x1000, 0x40000000
_FRAME_BYTES_MAX = 65536
_QUEUED_MAX = 20_000  # frames under way; a router drops what does not fit


@dataclass(slots=True)
class End:
    """One end of a cable: frames that come in here leave by `out`."""

    out: int
    delay_s: float
    jitter_s: float
    loss: float
    last_s: float = 0.0  # when the last frame leaves: none overtakes another


def tap(namespace: str, name: str) -> int:
    """A new TAP device in a namespace; this process stays there. It is gone when its descriptor is closed."""
    with Path("/run/netns", namespace).open("rb") as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


def carry(ends: dict[int, End], rng: Random, until: int) -> None:
    """Carry frames until the descriptor `until` has ended."""
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    with selectors.DefaultSelector() as selector:
        for descriptor in (*ends, until):
            selector.register(descriptor, selectors.EVENT_READ)
        while True:
            wait_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for key, _ in selector.select(wait_s):
                if key.fd == until:
                    return
                for frame in _frames(key.fd):
                    end = ends[key.fd]
                    if rng.random() < end.loss or len(waiting) >= _QUEUED_MAX:
                        continue
                    delay_s = max(0.0, rng.gauss(end.delay_s, end.jitter_s))
                    end.last_s = max(end.last_s, time.monotonic() + delay_s)
                    number += 1
                    heapq.heappush(waiting, (end.last_s, number, end.out, frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, out, frame = heapq.heappop(waiting)
                try:
                    os.write(out, frame)
                except OSError:
                    continue  # the other end is down or full: lost, as on any cable


def _frames(descriptor: int) -> list[bytes]:
    """What waits there, a few frames at most."""
    found: list[bytes] = []
    while len(found) < 64:
        try:
            found.append(os.read(descriptor, _FRAME_BYTES_MAX))
        except OSError:
            break  # nothing more, or the device is down for now
    return found


def main(seed: str, hub: str, *cables: str) -> None:
    """Make the cables and carry."""
    ends: dict[int, End] = {}
    for cable in cables:
        namespace, port, delay_ms, jitter_ms, loss = cable.split(",")
        near, far = tap(namespace, "eth0"), tap(hub, port)
        for one, other in ((near, far), (far, near)):
            ends[one] = End(other, float(delay_ms) / 1000, float(jitter_ms) / 1000, float(loss))
    print("ready", flush=True)
    carry(ends, Random(f"{seed} relay"), sys.stdin.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
