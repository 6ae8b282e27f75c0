"""Where a node listens, and under which addresses others find it.

Sockets are opened here and not by libp2p: it sets SO_REUSEPORT, with which a second daemon on the same port starts
as if all were well and takes half of the connections.
"""

import errno
from collections.abc import Sequence

import trio

from keys.errors import BusyError, LocalError, UsageError
from keys.signing import PublicKey
from node.transport_fixes import parse_listen, parse_target, peer_name

_WILDCARDS = ("/ip4/0.0.0.0", "/ip6/::")


async def open_listeners(listen: Sequence[str]) -> list[trio.SocketListener]:
    """Sockets that listen on these addresses. Raises UsageError, BusyError or LocalError, naming the address."""
    listeners: list[trio.SocketListener] = []
    address = ""
    try:
        for address in listen:
            host, port = parse_listen(address)
            listeners += await trio.open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as error:
        for listener in listeners:
            await listener.aclose()
        if isinstance(error, ValueError):
            raise UsageError(f"cannot listen: {error}") from None
        if error.errno == errno.EADDRINUSE:
            raise BusyError(f"cannot listen on {address}: another process has that port; choose another") from None
        raise LocalError(f"cannot listen on {address}: {error.strerror or error}") from None
    return listeners


def published_addresses(
    public: PublicKey, listen: Sequence[str], announce: Sequence[str], ports: Sequence[int]
) -> tuple[str, ...]:
    """What others may dial: `announce`, or else what is listened on, wildcards (which nobody can dial) left out."""
    suffix = f"/p2p/{peer_name(public)}"
    own = [f"/{address.split('/')[1]}/{parse_listen(address)[0]}" for address in listen]
    listened = [f"{host}/tcp/{port}" for host, port in zip(own, ports, strict=True) if host not in _WILDCARDS]
    announced = [address.removesuffix(suffix) for address in announce]
    if ports:
        announced = [f"{a.removesuffix('/tcp/0')}/tcp/{ports[0]}" if a.endswith("/tcp/0") else a for a in announced]
    found = tuple(f"{address}{suffix}" for address in announced or listened)
    for address in found:
        try:
            parse_target(address)
        except ValueError as error:
            raise UsageError(f"cannot announce: {error}") from None
    return found
