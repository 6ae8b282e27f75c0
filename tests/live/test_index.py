"""The index over time: forks that show late, steps that come early, long chains, joint events, a store put back."""

import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path

import pytest

from ledger.projection import Projection
from ledger.query import Query, parse_query
from ledger.search import Total
from ledger.store import create
from protocol.acts import Revoke, encode_act
from protocol.entry import EntryId
from protocol.frame import Run
from sim.disk import MemoryStorage
from tests.cluster import Cluster
from tests.live.test_documents import (
    CHARTER,
    OFFICERS,
    ROOT_KEYS,
    ROOTS,
    Book,
    admit,
    agency_of,
    check_against_fold,
    dump,
    follow,
    ledger_with,
)

pytestmark = pytest.mark.live
ITEMS = [{"substance": "opium", "form": "plant", "amount": "7.25", "unit": "kg"}]


def totals(projection: Projection, by: str = "substance") -> list[Total]:
    return projection.totals(by, Query(), now_ms=0)


def test_fork_that_shows_late_takes_the_disputed_part_out_again(tmp_path: Path) -> None:
    book = Book()
    sound = book.record(0, "case", {"title": "sound"})
    book.step(3, sound, "amend", {"set": {"title": "counts"}})  # officer 3 is of the same agency
    forked_at = len(book.entries[OFFICERS[3].public])
    book.step(3, sound, "tag", {"add": ["disputed"]})
    lost = book.record(3, "case", {"title": "lost"})
    ledger = ledger_with(book)
    projection = follow(tmp_path / "search.db", ledger)
    before = projection.document(ledger, sound)
    assert before is not None
    assert before[1].members("t:") != {}
    assert projection.document(ledger, lost) is not None
    admit(ledger, book.rival(OFFICERS[3], forked_at))
    follow(tmp_path / "search.db", ledger)
    after = projection.document(ledger, sound)
    assert after is not None
    assert (after[1].fields(), after[1].members("t:")) == ({"title": "counts"}, {})
    assert projection.document(ledger, lost) is None
    assert [hit.id for hit in projection.find(parse_query("lost", 0), 9, now_ms=0)] == [lost]  # kept, and found
    check_against_fold(projection, ledger)
    assert dump(follow(tmp_path / "new.db", ledger))["docs"] == dump(projection)["docs"]


def test_step_that_comes_before_its_record_waits_and_before_what_it_names_does_not(tmp_path: Path) -> None:
    book = Book()
    record = book.record(0, "case", {"title": "a"})
    first = book.step(3, record, "amend", {"set": {"title": "b"}})
    second = book.step(3, record, "amend", {"set": {"title": "c"}}, [first])
    book.step(1, record, "tag", {"add": ["x"]}, [second])
    proposed = book.step(2, record, "amend", {"set": {"title": "d"}})
    declined = {"proposal": proposed.hex()}
    book.step(4, record, "decline", declined, [proposed])  # of another agency: no effect
    book.step(0, record, "decline", declined, [proposed])
    whole = follow(tmp_path / "whole.db", ledger_with(book))
    for number, order in enumerate(permutations([0, 1, 2, 3, 4])):
        ledger = ledger_with(Book())
        projection = Projection(tmp_path / f"{number}.db")
        came: list[int] = []
        for officer in order:
            log = book.entries[OFFICERS[officer].public]
            admit(ledger, book.part(OFFICERS[officer].public, 0, len(log)))
            came.append(officer)
            while projection.catch_up(ledger, 1):
                continue
            check_against_fold(projection, ledger)
            found = projection.document(ledger, record)
            if 0 not in came:
                assert found is None
                continue
            assert found is not None
            assert found[1].fields() == {"title": "c" if 3 in came else "a"}
            assert list(found[1].members("t:")) == (["x"] if 1 in came else [])
            assert found[1].proposals == {}  # declined before it came or after
        assert found is not None
        known = whole.document(ledger, record)
        assert known is not None
        assert found[1].to_bytes() == known[1].to_bytes()


def test_branch_of_a_fork_that_counts_again_is_indexed_once(tmp_path: Path) -> None:
    """Two cutoffs that endorse one branch and then, with a smaller id, the other that was held before."""
    book = Book()
    record = book.record(0, "case", {"title": "sound"})
    forker, root = OFFICERS[3], ROOTS[agency_of(3)]
    branches: list[tuple[EntryId, EntryId, Run]] = []  # its record, its end, all of it
    for name in ("one", "other"):
        book.entries.pop(forker.public, None)
        book.rows.pop(forker.public, None)
        made = book.record(3, "case", {"title": name})
        end = book.step(3, record, "amend", {"set": {"title": name}})
        branches.append((made, end, book.part(forker.public, 0, 2)))
    branches.sort(key=lambda branch: branch[1])
    ledger = create(MemoryStorage(), CHARTER)
    admit(ledger, *(book.part(key, 0, len(book.entries[key])) for key in ROOT_KEYS))
    admit(ledger, book.part(OFFICERS[0].public, 0, 1), branches[0][2])
    admit(ledger, branches[1][2])  # the fork is proved; neither counts
    path = tmp_path / "search.db"
    follow(path, ledger)
    for made, end, run in reversed(branches):
        book.write(root, "act", encode_act(Revoke(forker.public, 1, end, "forked")))
        log = book.entries[root.public]
        admit(ledger, book.part(root.public, len(log) - 1, len(log)))
        admit(ledger, run)
        projection = follow(path, ledger)
        check_against_fold(projection, ledger)
        found = projection.document(ledger, record)
        assert found is not None
        assert found[1].live(["f:title"]) == [end]
        assert projection.counts() == {"": 0, "case": 2}
        title = str(found[1].fields()["title"])
        hits = projection.find(parse_query(title, 0), 9, now_ms=0, after=projection.cursor() - 3)
        assert {hit.id for hit in hits} == {made, record}
        assert projection.document(ledger, made) is not None
    with projection.connection() as db:
        db.execute("INSERT INTO words (words) VALUES ('integrity-check')")


def test_ten_thousand_amendments_cost_the_last_as_much_as_the_first(tmp_path: Path) -> None:
    book = Book()
    record = book.record(0, "case", {"title": "0", "narrative": "x" * 300})
    last: EntryId = record
    for number in range(10_000):
        last = book.step(0, record, "amend", {"set": {"title": str(number)}}, [last])
    ledger = ledger_with(book)
    projection = Projection(tmp_path / "search.db")
    spent = []
    taken = 1
    while taken:
        start = time.perf_counter()
        taken = projection.catch_up(ledger, 250)
        spent.append(time.perf_counter() - start)
    assert len(spent) > 40
    assert sum(sorted(spent[-9:-1])[:4]) < 4 * sum(sorted(spent[1:9])[:4])
    found = projection.document(ledger, record)
    assert found is not None
    assert (found[1].fields()["title"], found[1].conflicts()) == ("9999", {})
    assert len(found[1].to_bytes()) < 2000


def test_joint_seizure_counts_once_when_both_agencies_have_said_so(tmp_path: Path) -> None:
    book = Book()
    records = [
        book.record(officer, "seizure", {"seized_at": "2026-03-14T22:40:00+05:00", "region": "UZ-SU", "items": ITEMS})
        for officer in (0, 1, 2)
    ]
    ledger = ledger_with(book)
    path = tmp_path / "search.db"
    projection = follow(path, ledger)
    assert [(total.key, total.count, total.mass_g) for total in totals(projection)] == [("opium", 3, 21750)]

    def say(officer: int, one: int, other: int) -> None:
        held = len(book.entries[OFFICERS[officer].public])
        link = {"to": records[other].hex(), "relation": "same_event"}
        book.step(officer, records[one], "link", link)
        admit(ledger, book.part(OFFICERS[officer].public, held, held + 1))
        follow(path, ledger)

    say(0, 0, 1)
    groups, possible = projection.same_events()
    assert (groups, len(possible), totals(projection)[0].count) == ([], 1, 3)
    say(2, 0, 1)  # a third agency's word makes nothing sure
    assert projection.same_events()[0] == []
    say(1, 1, 0)
    assert projection.same_events() == ([frozenset(records[:2])], [])
    assert totals(projection)[0].count == 2
    say(1, 1, 2)
    say(2, 1, 2)  # a group grows through what its members share
    assert projection.same_events()[0] == [frozenset(records)]
    for by in ("substance", "region", "month", "agency"):
        assert [(total.count, total.mass_g) for total in totals(projection, by)] == [(1, 7250)]
    held = len(book.entries[OFFICERS[0].public])
    book.step(0, records[0], "retract", {"reason": "never was"})
    admit(ledger, book.part(OFFICERS[0].public, held, held + 1))
    follow(path, ledger)
    assert totals(projection)[0].count == 1  # another of the group stands for it


def test_index_of_a_store_that_was_put_back_is_built_anew(tmp_path: Path) -> None:
    book = Book()
    record = book.record(0, "case", {"title": "both"})
    old = ledger_with(book)
    later = book.record(0, "case", {"title": "later"})
    path = tmp_path / "search.db"
    projection = follow(path, ledger_with(book))
    assert [hit.id for hit in projection.find(parse_query("type:case", 0), 9, now_ms=0)] == [later, record]
    follow(path, old)
    assert [hit.id for hit in projection.find(parse_query("type:case", 0), 9, now_ms=0)] == [record]
    assert dump(projection) == dump(follow(tmp_path / "new.db", old))


def test_an_indexer_whose_daemon_was_killed_ends_in_silence(tmp_path: Path) -> None:
    node = Cluster.found(tmp_path, nodes=1).nodes[0]
    command = [sys.executable, "-m", "node.indexer", str(node.home.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as indexer:
        assert indexer.stdin is not None
        assert indexer.stdout is not None
        assert indexer.stderr is not None
        indexer.stdout.close()
        indexer.stdin.write(b".")
        indexer.stdin.close()
        assert indexer.stderr.read() == b""
        assert indexer.wait(30) == 0
