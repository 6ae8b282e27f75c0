"""The process that reads ahead of admission: what it says is what admission finds, and it may die at any moment."""

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import closing
from random import Random

import pytest

from keys.errors import AdmissionError
from ledger.reading import read_run
from ledger.store import create
from node.reader import Reader
from protocol.entry import EntryId, Place
from protocol.frame import Run, decode_frame, encode_frame, sign_run
from sim.disk import MemoryStorage
from tests.cluster import charter_file, seeded, until

CHARTER = charter_file()
NETWORK = create(MemoryStorage(), CHARTER).network_id
ROOT = seeded("test", "mia")


def frames(altered: int = -1) -> tuple[bytes, ...]:
    """One log in frames that are together more than it takes to have them read elsewhere; one may be damaged."""
    rng, place, found = Random(1), Place(ROOT.public, 0, None), []
    for at in range(10):
        run, ids = sign_run(ROOT, NETWORK, place, [("record", rng.randbytes(40_000), ()) for _ in range(3)], 1)
        place = Place(ROOT.public, run.end, EntryId(ids[-1]))
        if at == altered:
            run = Run(run.key, run.seq, run.prev, (*run.rows[:-1], run.rows[-1][:-1] + bytes([run.rows[-1][-1] ^ 1])))
        found.append(encode_frame([run]))
    return tuple(found)


FRAMES = frames()


def wanted(_run: Run) -> bool:
    return True


def serves(reader: Reader) -> bool:
    """Whether it has read anything ahead: it is started by the first call, and takes a moment."""
    return len([read for _, read in reader.ahead(FRAMES, wanted) if read]) > 0


@pytest.fixture
def reader() -> Iterator[Reader]:
    with closing(Reader(NETWORK)) as found:
        until(lambda: serves(found), 40, "the reader")
        yield found


def test_what_the_reader_says_is_what_admission_finds(reader: Reader) -> None:
    for (frame, read), expected in zip(reader.ahead(FRAMES, wanted), FRAMES, strict=True):
        alone = read_run(NETWORK, decode_frame(expected)[0])
        assert read is not None
        assert alone is not None
        chain = read.chains[0]
        assert (frame, read.runs) == (expected, decode_frame(expected))
        assert (chain.place, chain.rows, chain.proved) == (alone.place, alone.rows, True)
        assert [*chain.ids, *chain.kinds, *chain.times] == [*alone.ids, *alone.kinds, *alone.times]
    plain, helped = create(MemoryStorage(), CHARTER), create(MemoryStorage(), CHARTER, reader.ahead)
    for ledger in (plain, helped):
        ledger.apply(ledger.commit(FRAMES))
    assert plain.entries == 30
    assert helped.root() == plain.root()


def test_damaged_frame_is_refused_though_it_was_read_before_its_turn(reader: Reader) -> None:
    ledger = create(MemoryStorage(), CHARTER, reader.ahead)
    outcomes = ledger.commit(frames(altered=4)).outcomes
    assert [len(outcome.new) for outcome in outcomes] == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert isinstance(outcomes[4].refused, AdmissionError)
    assert outcomes[4].refused.reason == "signature"


def test_reader_that_is_killed_is_done_without(reader: Reader) -> None:
    ledger, pid = create(MemoryStorage(), CHARTER, reader.ahead), reader.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    result = ledger.commit(FRAMES)
    assert all(outcome.new for outcome in result.outcomes)
    assert reader.pid is None
    until(lambda: serves(reader), 40, "the next reader")
    assert reader.pid not in (None, pid)


def test_answers_that_nobody_waited_for_are_not_taken_for_others(reader: Reader) -> None:
    left = reader.ahead(FRAMES[::-1], wanted)
    assert isinstance(left, Generator)
    next(left)  # and the commit failed
    ledger = create(MemoryStorage(), CHARTER, reader.ahead)
    for _ in range(2):
        assert all(outcome.new or outcome.duplicates for outcome in ledger.commit(FRAMES).outcomes)
    left.close()


def test_reader_ends_when_little_comes(reader: Reader) -> None:
    for _ in range(40):
        assert list(reader.ahead(FRAMES[:1], wanted)) == [(FRAMES[0], None)]
    assert reader.pid is None
