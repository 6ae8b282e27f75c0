"""Deliberate faults: each is switched on in code that is honest otherwise, and the simulator must find it.

The same seeds and weather without the fault are clean (`test_without_a_fault_nothing_is_found`), so what is found is
the fault, and not the weather.
"""

import random
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from keys.errors import HamkorError
from keys.mark import Mark
from keys.signing import PublicKey
from ledger import attest, council, measure
from ledger.attest import Survey
from ledger.ingest import Admission, Diverged, Outcome
from ledger.layout import decode_log
from ledger.projection import Projection, _Applying
from ledger.storage import Reader
from ledger.store import CommitResult, Ledger
from node.engine.engine import Engine
from node.engine.events import Reply
from node.engine.sync import Sync
from protocol.frame import encode_frame
from protocol.limits import SEQ_MAX
from protocol.merkle import log_leaf, root, tree_root
from protocol.message import Frame
from protocol.reconcile import Head, HeadIndex
from sim.invariants import look
from sim.scenario import play
from sim.stage import MINUTE, Weather
from sim.world import World

pytestmark = pytest.mark.sim

ROUGH: Final = Weather(
    jitter_ms=50, loss_percent=2, repeat_percent=5, crash_every_s=120, cut_every_s=120, cut_for_s=60, full_every_s=200,
    lie_every_s=10, write_every_s=20, twice=True,
)  # fmt: skip
TWICE: Final = Weather(write_every_s=20, neighbours=2, twice=True)
CRASHES: Final = Weather(write_every_s=10, crash_every_s=40, lose_percent=100, commit_ms=1000)
RESTORED: Final = Weather(write_every_s=5, neighbours=2, restore_every_s=20, delay_ms=300)
REVOKED: Final = Weather(write_every_s=20, neighbours=2, revoke_every_s=30, cut_every_s=60)
COUNCIL: Final = Weather(write_every_s=120, neighbours=2, council_every_s=15, cut_every_s=60)
ATTESTED: Final = Weather(write_every_s=20, neighbours=2, attest_every_s=20, twice=True, crash_every_s=60)
ALL: Final = {
    "rough": ROUGH, "twice": TWICE, "crashes": CRASHES, "restored": RESTORED, "revoked": REVOKED, "council": COUNCIL,
    "attested": ATTESTED,
}  # fmt: skip
SEEDS: Final = (1, 2)


def violations(weather: Weather, minutes: int = 5) -> str:
    """What is found by the first seed that finds anything."""
    for seed in SEEDS:
        found = play(seed, 6, 0, weather=weather, minutes=minutes).violations
        if found:
            return " | ".join(found)
    return ""


@pytest.mark.parametrize("name", ALL)
def test_without_a_fault_nothing_is_found(name: str) -> None:
    assert violations(ALL[name]) == ""


def test_acknowledging_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Engine._submit

    def hasty(self: Engine, origin: object, item: object) -> None:
        honest(self, origin, item)  # type: ignore[arg-type]
        self._out.append(Reply(origin.request, Outcome()))  # type: ignore[attr-defined]

    monkeypatch.setattr(Engine, "_submit", hasty)
    assert "acknowledged" in violations(ROUGH)


def test_sending_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Engine._submit

    def hasty(self: Engine, origin: object, item: object) -> None:
        honest(self, origin, item)  # type: ignore[arg-type]
        for peer in self.peers.values():
            self._send(peer, Frame(peer.frames_sent, encode_frame(item)))  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_submit", hasty)
    assert "sends what is not on its disk" in violations(CRASHES)


def test_cutoff_that_is_ignored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "end_of", lambda _: SEQ_MAX + 1)
    assert "of what was written" in violations(REVOKED)


def test_head_merged_instead_of_replaced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork makes a log shorter: who keeps the greatest size seen is wrong until a restart, so nobody restarts."""
    honest: Callable[[HeadIndex, Head], None] = HeadIndex.put

    def merging(self: HeadIndex, head: Head) -> None:
        honest(self, max(self.get(PublicKey(head.key)), head, key=lambda item: item.size))

    monkeypatch.setattr(HeadIndex, "put", merging)
    assert "invariant 4" in violations(TWICE)


def test_last_signature_left_unchecked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "_verify_run", lambda *_: None)
    assert "that nobody signed" in violations(ROUGH)


def test_fork_that_is_hidden_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(_: Admission, run: object, *rest: object) -> None:
        rest[-1].outcome.diverged.append(Diverged(run.key, run.seq))  # type: ignore[attr-defined]

    monkeypatch.setattr(Admission, "_check_divergence", blind)
    assert "invariant 4" in violations(TWICE)


def test_mark_that_is_ignored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mark, "check", lambda *_: "ok")
    assert "written twice" in violations(RESTORED)


def test_acts_evaluated_in_order_of_arrival_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(council, "in_order", list)
    assert "invariant 1" in violations(COUNCIL)


def test_root_of_another_state_that_is_signed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = attest.survey

    def hasty(reader: Reader) -> Survey:
        """The heads of now, and the root without the log that is the last of them."""
        found = honest(reader)
        leaves = [log_leaf(*_log(reader, key)) for key, _, _ in found.heads[:-1]]
        return replace(found, root=tree_root(leaves))

    monkeypatch.setattr(attest, "survey", hasty)
    found = violations(ATTESTED)
    assert "has another root than what it attests gives" in found
    assert "finds another root at what checkpoint" in found


def _log(reader: Reader, key: bytes) -> tuple[bytes, int, bytes]:
    log = decode_log(key, reader.get("logs", key) or b"")
    return key, log.size, root(log.peaks)


def test_checkpoint_that_leaves_out_a_log_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = attest.survey

    def blind(reader: Reader) -> Survey:
        """What a node would attest that hides a log: root and heads agree with each other."""
        found = honest(reader)
        leaves = [log_leaf(*_log(reader, key)) for key, _, _ in found.heads[1:]]
        return Survey(tree_root(leaves), found.entries - found.heads[0].size, found.heads[1:])

    monkeypatch.setattr(attest, "survey", blind)
    assert "of what is on its disk" in violations(ATTESTED)


def test_checkpoints_that_answer_one_another_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attest, "has_news", lambda _, before, found: before.keys() != set() and found is not None)
    assert "do not hold the same in time" in violations(ATTESTED)


def test_projection_cursor_outside_the_transaction_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert projected(tmp_path / "honest.db") == ""
    honest = Projection._take

    def careless(self: Projection, db: sqlite3.Connection, ledger: Ledger, most: int) -> int:
        """The cursor first, by itself; then the rows. What the power leaves in between."""
        _, after = ledger.arrived(self.cursor(), most)
        try:
            return honest(self, db, ledger, most)
        except PowerError:
            db.execute("ROLLBACK")
            db.execute("UPDATE state SET value = ? WHERE name = 'cursor'", (after,))
            raise

    monkeypatch.setattr(Projection, "_take", careless)
    assert projected(tmp_path / "careless.db") != ""


class PowerError(Exception):
    """The power went."""


def projected(path: Path) -> str:
    """Follow a machine of a world with an index, through power cuts after its rows; then compare with one made anew."""
    rng = random.Random(1)
    world = World(1, 3, Weather(write_every_s=5, crash_every_s=60))
    honest = _Applying.take_in

    def cut(self: _Applying, *rest: object) -> None:
        honest(self, *rest)  # type: ignore[arg-type]
        if rng.randrange(3) == 0:
            raise PowerError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Applying, "take_in", cut)
        for step in range(24):
            world.run((step + 1) * MINUTE // 4)
            try:
                Projection(path).catch_up(world.machines[0].ledger)
            except PowerError:
                continue
            except HamkorError as error:
                return f"invariant 2: the index takes no more: {error}"
    Projection(path).catch_up(world.machines[0].ledger)
    anew = Projection(path.with_suffix(".anew"))
    anew.catch_up(world.machines[0].ledger)
    return "" if rows(path) == rows(path.with_suffix(".anew")) else "invariant 1: the index differs from one made anew"


def rows(path: Path) -> list[object]:
    """Everything in an index."""
    tables: Iterable[str] = ("docs", "steps", "items", "links", "state", "terms")
    with sqlite3.connect(path) as db:
        db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, instance)")
        return [sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in tables]


# -- and a few more ------------------------------------------------------------------------------------


def test_node_that_never_asks_for_what_it_lacks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sync, "_want", lambda *_: None)
    assert "invariant 2: the nodes do not hold the same in time" in violations(ROUGH)


def test_stale_root_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Ledger.apply

    def forgetful(self: Ledger, result: CommitResult) -> None:
        kept = dict(self._leaves)
        honest(self, result)
        self._leaves |= {log.key: kept[log.key] for log in result.logs if log.size > 5 and log.key in kept}

    monkeypatch.setattr(Ledger, "apply", forgetful)
    assert "invariant 1" in violations(ROUGH)


def test_queue_that_is_never_emptied_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "size", lambda self: 10**6)
    world = World(1, 3, Weather())
    world.run(MINUTE)
    assert any("invariant 6" in problem for problem in look(world))
