"""One key, two machines: what real nodes make of an officer who has signed two entries at one place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, Node, seizure, until

pytestmark = pytest.mark.live
BEFORE = 5  # entries of the officer's that both nodes have held from the start


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Cluster]:
    """Four nodes that compare notes when they connect and not again for a day."""
    cluster = Cluster.found(tmp_path, nodes=4, officers=1, sync_interval_s=86_400)
    try:
        yield cluster
    finally:
        cluster.stop()


def forks(node: Node) -> list[tuple[str, int, frozenset[str]]]:
    """(key, seq, ids) of each fork that a node knows."""
    rows = node.ask("forks")
    assert isinstance(rows, list)
    return [(row["author"]["key"], row["seq"], frozenset(row["ids"])) for row in rows]


def status(node: Node, entry_id: bytes) -> str | None:
    """How a node shows an entry, None where it has none."""
    view = node.ask("show", prefix=entry_id.hex())
    return str(view["status"]) if isinstance(view, dict) else None


def test_two_branches_given_to_nodes_that_never_met_are_known_to_all_within_one_sync_of_meeting(four: Cluster) -> None:
    officer, branches = four.officers[0], []
    for node, numbers in ((four.nodes[0], [100]), (four.nodes[1], [200, 201, 202])):
        four.fill(node, BEFORE)
        four.start([node], linked=False)
        branches.append(four.write_ids(node, officer, [seizure(number) for number in numbers]))
        assert node.stop() == 0  # the other one starts only now
    four.start(linked=False)
    expected = [(officer.public.hex(), BEFORE, frozenset(branch[0].hex() for branch in branches))]
    waits_s = [
        until(lambda node=node: forks(node) == expected, 40, f"{node.name} knows the fork") for node in four.nodes
    ]
    print(f"known to all {sum(waits_s) * 1000:.0f} ms after the last of them serves")
    until(four.converged, 40, "equal roots")
    for node, branch in zip(four.nodes, branches, strict=False):
        assert [status(node, known) for known in branch] == ["disputed"] * len(branch)
    for node in four.nodes:
        assert {status(node, known) for branch in branches for known in branch} <= {"disputed", None}
        log = node.ask("log", key=officer.public.hex(), limit=BEFORE)
        assert isinstance(log, dict)
        assert [row["status"] for row in log["entries"]] == ["ok"] * BEFORE
