"""The control socket: how the command line talks to the daemon on the same machine.

A message is a u32 length (big-endian) and a canonical map. A request is {"op": name, ...}; the answers are
{"item": value} any number of times, then {"ok": value} or {"error": {"kind", "message"}}, with a "reason" where an
entry was not admitted. The socket has mode 0600 and only processes of the same user are served.
"""

import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import trio

from keys.errors import AdmissionError, BusyError, FormatError, HamkorError
from node.consulted import account_name
from protocol.codec import Value, decode, encode

REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024
SOCKET_PATH_BYTES_MAX: Final = 107  # the kernel's limit on a Unix socket's path
_CLIENTS_MAX: Final = 64

Request: TypeAlias = Mapping[str, Value]
SendItems: TypeAlias = Callable[[Sequence[Value]], Awaitable[None]]
Answer: TypeAlias = Callable[[Request, SendItems], Awaitable[Value]]  # the result; raises HamkorError


async def serve_control(
    path: Path, answer: Answer, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled. Raises BusyError when the socket cannot be opened."""
    listener = _listen(path)
    limit = trio.CapacityLimiter(_CLIENTS_MAX)

    async def serve(stream: trio.SocketStream) -> None:
        async with limit, stream:
            try:
                if (uid := _uid(stream.socket)) in (os.getuid(), 0):
                    await _serve_client(stream, answer, account_name(uid))
            except (trio.BrokenResourceError, trio.ClosedResourceError, FormatError):
                return  # the client went away, or does not speak this language: nobody is left to tell

    try:
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(serve, [trio.SocketListener(listener)], handler_nursery=nursery)
    finally:
        path.unlink(missing_ok=True)


def _listen(path: Path) -> trio.socket.SocketType:
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise BusyError(f"the path {path} is too long for a socket (over {SOCKET_PATH_BYTES_MAX} bytes); move the home")
    path.unlink(missing_ok=True)  # the store's lock has shown that no other daemon is alive here
    mask = os.umask(0o177)
    try:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.bind(str(path))
        raw.listen(_CLIENTS_MAX)
    except OSError as error:
        raise BusyError(f"the control socket {path} cannot be opened: {error.strerror}") from None
    finally:
        os.umask(mask)
    return trio.socket.from_stdlib_socket(raw)


def _uid(client: trio.socket.SocketType) -> int:
    """Who is at the other end, by the kernel's word."""
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    return int(uid)


async def _serve_client(stream: trio.SocketStream, answer: Answer, user: str) -> None:
    while True:
        request = await _read(stream)
        if request is None:
            return

        async def send_items(items: Sequence[Value]) -> None:
            await _write(stream, *({"item": item} for item in items))

        try:
            await _write(stream, {"ok": await answer({**request, "user": user}, send_items)})
        except HamkorError as error:
            await _write(stream, {"error": error_value(error)})


def error_value(error: HamkorError) -> dict[str, Value]:
    """An error as it goes to the client, which raises it again."""
    value: dict[str, Value] = {"kind": type(error).__name__, "message": str(error)}
    return value | {"reason": error.reason} if isinstance(error, AdmissionError) else value


async def _read(stream: trio.SocketStream) -> Request | None:
    size_raw = await _exactly(stream, 4)
    if size_raw is None:
        return None
    size = int.from_bytes(size_raw, "big")
    if size > REQUEST_BYTES_MAX:
        raise FormatError(f"a request of {size} bytes; at most {REQUEST_BYTES_MAX}")
    raw = await _exactly(stream, size)
    if raw is None:
        return None
    value = decode(raw, size_max=REQUEST_BYTES_MAX)
    if not isinstance(value, dict) or not isinstance(value.get("op"), str):
        raise FormatError('a request is a map with "op"')
    return value


async def _exactly(stream: trio.SocketStream, size: int) -> bytes | None:
    buffer = bytearray()
    while len(buffer) < size:
        part = await stream.receive_some(min(size - len(buffer), 1 << 16))
        if not part:
            return None
        buffer += part
    return bytes(buffer)


async def _write(stream: trio.SocketStream, *values: Value) -> None:
    raws = [encode(value) for value in values]
    await stream.send_all(b"".join(len(raw).to_bytes(4, "big") + raw for raw in raws))
