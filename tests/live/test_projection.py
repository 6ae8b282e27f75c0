"""The search file: it follows the ledger, survives damage by being built again, and decides nothing."""

import sqlite3
from pathlib import Path

import pytest

from ledger.projection import Projection
from ledger.query import parse_query
from ledger.search import Hit
from ledger.store import Ledger, create
from protocol.acts import Certify, encode_act
from protocol.body import encode_record
from protocol.entry import EntryId, Place
from sim.disk import MemoryStorage
from sim.founding import found, key_of, sign_run

pytestmark = pytest.mark.live
NAME = "projection tests"


@pytest.fixture
def ledger() -> Ledger:
    made = create(MemoryStorage(), found(NAME))
    root, officer = key_of(NAME, "mia"), key_of(NAME, "officer")
    act = encode_act(Certify(officer.public, "officer", "o", "mia", "", ("officer",)))
    runs = (
        sign_run(made.charter, root, Place(root.public, 0, None), [("act", act)], 1),
        sign_run(
            made.charter,
            officer,
            Place(officer.public, 0, None),
            [("record", encode_record("intel", {"text": f"word{number} common"})) for number in range(40)],
            1,
        ),
    )
    made.apply(made.commit([runs]))
    return made


def follow(path: Path, ledger: Ledger, most: int = 5000) -> Projection:
    projection = Projection(path)
    while projection.catch_up(ledger, most):
        continue
    return projection


def find(projection: Projection, words: str, limit: int = 50) -> list[Hit]:
    return projection.find(parse_query(words, 0), limit, now_ms=0)


def test_small_steps_and_one_large_one_give_the_same(tmp_path: Path, ledger: Ledger) -> None:
    small, large = follow(tmp_path / "a", ledger, 7), follow(tmp_path / "b", ledger)
    assert small.cursor() == large.cursor() == ledger.arrival() == 41
    assert find(small, "common", 100) == find(large, "common", 100)
    assert len(find(small, "common", 100)) == 40
    assert [hit.arrival for hit in find(small, "common", 3)] == [40, 39, 38]
    assert small.counts() == {"": 0, "intel": 40}


@pytest.mark.parametrize("damage", [b"", b"not a database at all, but long enough to look" * 50, None])
def test_damaged_old_or_missing_file_is_built_again(tmp_path: Path, ledger: Ledger, damage: bytes | None) -> None:
    path = tmp_path / "search.db"
    follow(path, ledger)
    for extra in tmp_path.glob("search.db-*"):
        extra.unlink()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert len(find(follow(path, ledger), "word7")) == 1


def test_file_of_another_version_is_built_again(tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "search.db"
    follow(path, ledger)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert Projection(path).cursor() == 0
    assert len(find(follow(path, ledger), "word7")) == 1


def test_interrupted_step_is_taken_again(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    projection = Projection(tmp_path / "search.db")
    assert projection.catch_up(ledger, 10) == 10

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ledger.indexing._index", fail)
        with pytest.raises(KeyboardInterrupt):
            projection.catch_up(ledger, 10)
    assert projection.cursor() == 10
    assert len(find(follow(tmp_path / "search.db", ledger), "common", 100)) == 40


def test_two_processes_that_follow_at_once_do_not_count_twice(tmp_path: Path, ledger: Ledger) -> None:
    one, other = Projection(tmp_path / "search.db"), Projection(tmp_path / "search.db")
    while one.catch_up(ledger, 3) + other.catch_up(ledger, 4):
        continue
    assert one.counts() == {"": 0, "intel": 40}
    assert len(find(other, "common", 100)) == 40


def test_index_that_another_process_has_replaced_is_read_from_then_on(tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "search.db"
    reader = follow(path, ledger)
    assert len(find(reader, "common", 100)) == 40
    Projection(path).start_again()
    assert reader.cursor() == 0
    assert find(reader, "common", 100) == []
    Projection(path).catch_up(ledger, 21)
    assert len(find(reader, "common", 100)) == 20


def test_one_record_is_looked_up_without_reading_the_others(tmp_path: Path, ledger: Ledger) -> None:
    officer = key_of(NAME, "officer")
    records = [item.entry.id for item in ledger.log_entries(officer.public)]
    projection = follow(tmp_path / "a", ledger)
    few = sqlite_steps(projection, ledger, records)
    log = ledger.log(officer.public)
    assert log is not None
    more = [("record", encode_record("intel", {"text": f"more{number}"})) for number in range(800)]
    ledger.apply(ledger.commit([(sign_run(ledger.charter, officer, log.next, more, 2),)]))
    while projection.catch_up(ledger):
        continue
    assert sqlite_steps(projection, ledger, records) <= 2 * few


def sqlite_steps(projection: Projection, ledger: Ledger, records: list[EntryId]) -> int:
    """How many tens of SQLite's steps the ways of looking up records take."""
    steps: list[int] = []
    with projection.connection() as db:
        db.set_progress_handler(lambda: steps.append(1), 10)
    list(projection.changed(records))
    assert len(list(projection.documents(ledger, records))) == len(records)
    with projection.connection() as db:
        db.set_progress_handler(None, 10)
    assert steps
    return len(steps)
