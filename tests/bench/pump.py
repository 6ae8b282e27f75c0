"""The limits of the network, each in processes of its own: how fast can bytes go where nothing is kept or checked?

python -m tests.bench.pump take                      our own transport: prints its address, then seconds and bytes
python -m tests.bench.pump give ADDRESS BYTES SIZE   sends that many bytes to it in messages of that size
python -m tests.bench.pump flood INDEX PORTS RATE S  a mesh over bare trio TCP; prints how late each message was
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

import trio

from tests.cluster import free_ports, seeded

_QUEUE_BYTES = 2 * 1024 * 1024  # that wait at the sender
_MESSAGE_BYTES = 300
_SETTLE_S = 1.0  # after the last message of a flood


# -- one stream of our transport ------------------------------------------------------------------


def stream_rate(size_bytes: int, message_bytes: int) -> float:
    """Bytes per second through our own transport between two processes, in messages of that size, nothing else done."""
    taker = subprocess.Popen([sys.executable, "-m", "tests.bench.pump", "take"], stdout=subprocess.PIPE, text=True)
    assert taker.stdout is not None
    try:
        address = taker.stdout.readline().strip()
        command = [sys.executable, "-m", "tests.bench.pump", "give", address, str(size_bytes), str(message_bytes)]
        subprocess.run(command, check=True)
        seconds, taken = json.loads(taker.stdout.readline())
        return float(taken / seconds)
    finally:
        taker.kill()
        taker.wait()
        taker.stdout.close()


async def _take() -> None:
    from node.transport import Down, Got, Up, open_transport

    async with open_transport(
        seed=seeded("taker").seed, listen=["/ip4/127.0.0.1/tcp/0"], allowed=lambda _: True
    ) as transport:
        _print(transport.addresses[0])
        start = end = 0.0
        taken = 0
        async for event in transport.events:
            match event:
                case Up():
                    start = time.perf_counter()
                case Got():
                    taken, end = taken + len(event.message), time.perf_counter()
                case Down():
                    break
        _print(json.dumps([end - start, taken]))


async def _give(address: str, size_bytes: int, message_bytes: int) -> None:
    from node.transport import Up, open_transport

    message = bytes(message_bytes)
    async with open_transport(seed=seeded("giver").seed, listen=[], allowed=lambda _: True) as transport:
        await transport.dial(address)
        event = await transport.events.receive()
        assert isinstance(event, Up)
        for _ in range(max(1, size_bytes // message_bytes)):
            while transport.queued_bytes(event.peer) > _QUEUE_BYTES:
                await trio.sleep(0.001)
            assert transport.send(event.peer, message)
        while transport.queued_bytes(event.peer):
            await trio.sleep(0.001)


# -- a flood over bare TCP ------------------------------------------------------------------------


def flood(nodes: int, rate: float, seconds: float) -> list[float]:
    """Seconds from sending to arriving, of every message of a mesh of processes that send `rate` a second in all."""
    ports = free_ports(nodes)
    command = [sys.executable, "-m", "tests.bench.pump", "flood"]
    mesh = [
        subprocess.Popen(
            [*command, str(number), json.dumps(ports), str(rate / nodes), str(seconds)],
            stdout=subprocess.PIPE, text=True,
        )
        for number in range(nodes)
    ]  # fmt: skip
    late: list[float] = []
    for process in mesh:
        output, _ = process.communicate(timeout=seconds + 60)
        late += json.loads(output)
    return late


async def _flood(index: int, ports: Sequence[int], rate: float, seconds: float) -> None:
    late: list[float] = []

    async def hear(stream: trio.SocketStream) -> None:
        held = bytearray()
        async for part in stream:
            held += part
            while len(held) >= _MESSAGE_BYTES:
                late.append(time.perf_counter() - int.from_bytes(held[:8], "big") / 1e9)
                del held[:_MESSAGE_BYTES]

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_tcp, hear, ports[index], host="127.0.0.1"))
        others = [await _reach(port) for number, port in enumerate(ports) if number != index]
        await trio.sleep(1 + index / rate / len(ports))
        for _ in range(int(rate * seconds)):
            message = time.perf_counter_ns().to_bytes(8, "big").ljust(_MESSAGE_BYTES, b"x")
            for stream in others:
                await stream.send_all(message)
            await trio.sleep(1 / rate)
        await trio.sleep(_SETTLE_S)
        nursery.cancel_scope.cancel()
    _print(json.dumps(late))


async def _reach(port: int) -> trio.SocketStream:
    while True:
        try:
            return await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:  # it has not started yet
            await trio.sleep(0.05)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: Sequence[str]) -> None:
    """Be one of the processes."""
    match words:
        case ["take"]:
            trio.run(_take)
        case ["give", address, size, message]:
            trio.run(_give, address, int(size), int(message))
        case ["flood", index, ports, rate, seconds]:
            trio.run(_flood, int(index), json.loads(ports), float(rate), float(seconds))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
