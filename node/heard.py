"""Which nodes are not heard from now, and since when. Kept in the home, so that a restart does not forget."""

import json
from collections.abc import Container, Mapping

from keys.files import replace_file
from keys.signing import PublicKey
from ledger.store import Ledger
from node.home import Home
from protocol.codec import Value


def load_heard(home: Home) -> dict[PublicKey, int]:
    """When each node was last heard, ms; empty where that was never kept, or cannot be read."""
    try:
        found = json.loads(home.heard_path.read_text(encoding="utf-8"))
        return {PublicKey(bytes.fromhex(key)): int(at) for key, at in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # then it says "never", which is less than was known and not wrong


def save_heard(home: Home, heard: Mapping[PublicKey, int]) -> None:
    """Keep it. Raises OSError."""
    text = json.dumps({key.hex(): at for key, at in sorted(heard.items())})
    replace_file(home.heard_path, (text + "\n").encode())


def absent_nodes(
    ledger: Ledger, me: PublicKey | None, heard: Mapping[PublicKey, int], linked: Container[PublicKey] = ()
) -> list[Value]:
    """Certified nodes without a link now, and when they were last heard (None: never)."""
    return [
        {"name": standing.name, "unit": standing.unit, "heard_ms": heard.get(key)}
        for key, standing in sorted(ledger.authority.standings.items())
        if standing.rank == "node" and key != me and key not in linked
    ]
