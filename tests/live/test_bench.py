"""What the benchmark stands on: the kernel's counters, turns, and the same work for all."""

import os
import socket
from pathlib import Path
from statistics import mean

import pytest

from protocol.schema import record_problems
from tests.bench.table import Row, rounds
from tests.bench.wire import connections, own_memory, processor_s, tcp_bytes
from tests.bench.work import as_json, plate, report

pytestmark = pytest.mark.live


def test_the_kernel_counts_what_a_connection_carried_both_ways() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)) as one, listener.accept()[0] as other:
            one.sendall(bytes(5000))
            taken = 0
            while taken < 5000:
                taken += len(other.recv(5000))
            other.sendall(bytes(70))
            assert len(one.recv(70, socket.MSG_WAITALL)) == 70
            one.sendall(b"x")  # carries the last acknowledgement
            assert other.recv(1) == b"x"
            assert connections(port) == 1
            assert tcp_bytes(port) == 5071


def test_memory_and_processor_time_of_a_process_are_read() -> None:
    before, _ = own_memory(os.getpid())
    block = bytearray(os.urandom(32 << 20))
    after, _ = own_memory(os.getpid())
    assert after - before > len(block) // 2
    assert processor_s(os.getpid()) > 0


def test_works_are_taken_in_turns() -> None:
    taken: list[str] = []

    def work(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    assert rounds(3, ours=lambda: work("ours"), limit=lambda: work("limit")) == {"ours": 3.0, "limit": 4.0}
    assert taken == ["ours", "limit"] * 3


def test_reports_are_of_fifteen_fields_and_fit_their_type() -> None:
    bodies = [report(number) for number in range(300)]
    assert len(set(bodies)) == 300
    assert 290 < mean(map(len, bodies)) < 330
    for number, body in enumerate(bodies):
        fields = as_json(body)["fields"]
        assert isinstance(fields, dict)
        assert len(fields) == 15
        assert fields["vehicles"] == [plate(number)]
        assert not record_problems("seizure", fields)


def test_a_row_says_how_it_stands_to_its_limit_and_to_every_peer() -> None:
    row = Row("sync", "full sync", 50.0, "records/s", 100.0, "verify", {"one": 10.0, "two": 200.0}, "10 x one", False)
    first, second = row.lines()
    told = "full sync 50.0 records/s verify 100 0.50 one 10.0 5.00 10 x one NO"
    assert " ".join(first.split()) == told
    assert second.split() == ["two", "200", "0.25"]


def test_every_file_of_the_peers_is_locked_by_hash_and_names_no_host() -> None:
    lock = Path("tests/bench/peers/package-lock.json").read_text()
    assert "resolved" not in lock
    assert lock.count('"integrity"') > 400
    assert "://" not in "".join(line for line in lock.splitlines() if "url" not in line)
