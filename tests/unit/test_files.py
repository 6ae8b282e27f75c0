"""Attached files: cut into chunks, fetched from whoever has them, and never taken for what they are not."""

from hashlib import sha256
from pathlib import Path

import pytest

from keys.errors import FormatError, LocalError
from keys.signing import PublicKey
from node.files import ANSWER_WAIT_S, LACK_WAIT_S, Exchange, FileStore
from protocol.limits import CHUNK_BYTES_MAX

PEERS = [PublicKey(bytes([number]) * 32) for number in range(3)]


def content(chunks: int) -> bytes:
    return b"".join(bytes([number]) * CHUNK_BYTES_MAX for number in range(chunks)) + b"the rest"


@pytest.fixture
def source(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "source")


class Net:
    """Peers that hold some stores; what is asked of them is answered when `deliver` is called."""

    def __init__(self, folder: Path, peers: dict[PublicKey, FileStore]) -> None:
        self.store = FileStore(folder)
        self.peers = peers
        self.asked: list[tuple[PublicKey, bytes]] = []
        self.exchange = Exchange(self.store, self._ask)

    def _ask(self, peer: PublicKey, known: bytes) -> bool:
        self.asked.append((peer, known))
        return True

    def deliver(self, now_s: float) -> None:
        asked, self.asked = self.asked, []
        for peer, known in asked:
            found = self.peers[peer].read(known)
            if self.exchange.brought(peer, known, found, now_s) and found is not None:
                self.store.save(found)

    def run(self, rounds: int = 50) -> None:
        for number in range(rounds):
            self.exchange.ask(self.peers, float(number))
            self.deliver(float(number))
            if not self.exchange.busy:
                return


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 5 * CHUNK_BYTES_MAX + 7])
def test_file_is_written_out_as_it_was_added(source: FileStore, tmp_path: Path, size: int) -> None:
    (tmp_path / "in").write_bytes(bytes(index % 251 for index in range(size)))
    known, stated, whole = source.add_file(tmp_path / "in")
    assert stated == size == source.write_out(known, whole, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    assert whole == sha256((tmp_path / "in").read_bytes()).digest()


def test_damaged_chunk_is_dropped_and_missed(source: FileStore, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(content(2))
    known, _, whole = source.add_file(tmp_path / "in")
    chunk = sha256(bytes(CHUNK_BYTES_MAX)).digest()
    source.path(chunk).write_bytes(b"damaged")
    with pytest.raises(LocalError, match="damaged here"):
        source.write_out(known, whole, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert source.missing(known) == [chunk]


@pytest.mark.parametrize("listed", [b"x" * 33, b"x" * (257 * 32)])
def test_list_that_is_none_is_refused(source: FileStore, listed: bytes) -> None:
    with pytest.raises(FormatError):
        source.missing(source.save(listed))


def test_file_is_fetched_from_several_peers_each_chunk_once(source: FileStore, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(content(9))
    known, _, whole = source.add_file(tmp_path / "in")
    net = Net(tmp_path / "target", dict.fromkeys(PEERS, source))
    assert net.exchange.fetch(known) == (1, 1)  # the list first
    net.exchange.ask(PEERS, 0.0)
    net.deliver(0.0)
    net.exchange.ask(PEERS, 1.0)
    assert len(net.asked) == len(set(net.asked)) == 10
    assert {peer for peer, _ in net.asked} == set(PEERS)
    net.deliver(1.0)
    net.run()
    assert net.exchange.fetch(known) == (0, 10)
    net.store.write_out(known, whole, tmp_path / "out")
    assert not net.exchange.busy


def test_what_is_false_or_was_not_asked_for_is_dropped(source: FileStore, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(content(1))
    known, _, _ = source.add_file(tmp_path / "in")
    net = Net(tmp_path / "target", {PEERS[0]: source})
    assert not net.exchange.brought(PEERS[0], known, source.read(known), 0.0)  # not asked for
    net.exchange.fetch(known)
    net.exchange.ask(PEERS[:1], 0.0)
    assert not net.exchange.brought(PEERS[0], known, b"something else", 0.0)
    assert not net.exchange.brought(PEERS[1], known, source.read(known), 0.0)  # asked of another
    net.asked.clear()
    net.exchange.ask(PEERS[:1], 1.0)
    assert net.asked == []  # that peer lied: it is not asked again at once
    net.exchange.ask(PEERS[:1], LACK_WAIT_S + 1)
    assert net.asked == [(PEERS[0], known)]


def test_silent_peer_is_passed_over_and_a_new_one_asked(source: FileStore, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(content(1))
    known, _, _ = source.add_file(tmp_path / "in")
    net = Net(tmp_path / "target", dict.fromkeys(PEERS, source))
    net.exchange.fetch(known)
    net.exchange.ask(PEERS[:1], 0.0)
    net.asked.clear()
    net.exchange.ask(PEERS[:1], ANSWER_WAIT_S - 1)
    assert net.asked == []
    net.exchange.ask(PEERS[1:], ANSWER_WAIT_S - 1)  # the first has lost its link
    assert [peer for peer, _ in net.asked] == [PEERS[1]]
