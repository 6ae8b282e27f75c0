"""Conversations between bare engines, wired by hand: no clock, no sockets, every output looked at."""

from collections import deque
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import StorageError
from keys.signing import SigningKey
from ledger.ingest import Item, Outcome
from ledger.store import Ledger, create
from node.engine.engine import MS, Engine, EngineSettings
from node.engine.events import (
    Commit,
    CommitFailed,
    Committed,
    Disconnect,
    Event,
    Now,
    Output,
    PeerDown,
    PeerUp,
    Received,
    Reply,
    Send,
    Submitted,
    TimerFired,
)  # fmt: skip
from node.engine.pace import Pace
from node.engine.peer import KNOWN_LOGS_MAX
from node.engine.sync import UNCERTIFIED_MAX
from protocol.acts import Certify, Revoke, encode_act
from protocol.body import encode_record
from protocol.entry import Entry, EntryId, Place, open_row
from protocol.frame import Run, encode_frame
from protocol.limits import MESSAGE_BYTES_MAX
from protocol.message import Ack, Digest, Fork, Frame, Have, Hello, Ping, Same, Want, decode_message, encode_message
from protocol.reconcile import Head
from sim.disk import MemoryStorage
from sim.founding import found, key_of, sign_run

NETWORK = "engine tests"
NODES = [key_of(NETWORK, "node", number) for number in range(3)]
OFFICERS = [key_of(NETWORK, "officer", number) for number in range(50)]
CHARTER = found(NETWORK)


def new_ledger() -> Ledger:
    """A ledger that knows all nodes and officers."""
    ledger = create(MemoryStorage(), CHARTER)
    root = key_of(NETWORK, "mia")
    acts = [("act", encode_act(Certify(key.public, "node", "n", "mia", "", ()))) for key in NODES]
    acts += [("act", encode_act(Certify(key.public, "officer", "o", "mia", "", ("officer",)))) for key in OFFICERS]
    ledger.apply(ledger.commit([(sign_run(ledger.charter, root, Place(root.public, 0, None), acts, 1),)]))
    return ledger


def records(ledger: Ledger, officer: SigningKey, count: int, text: str = "x") -> Run:
    """The officer's next entries."""
    head = ledger.heads.get(officer.public)
    drafts = [("record", encode_record("intel", {"n": number, "text": text})) for number in range(count)]
    return sign_run(ledger.charter, officer, Place(officer.public, head.size, head.id), drafts, 1)


def branch(run: Run, at: int, officer: SigningKey, ledger: Ledger) -> Run:
    """Another entry, validly signed, in the place of entry `at` of the run."""
    place = run.place
    for row in run.rows[:at]:
        place = open_row(row, place).after
    other = [("record", encode_record("intel", {"other": True}))]
    return sign_run(ledger.charter, officer, place, other, 1)


class Wire:
    """Engines and what is between them. Messages and commits are carried out in order, at once."""

    def __init__(self, count: int = 2, **settings: int) -> None:
        self.ledgers = [new_ledger() for _ in range(count)]
        self.engines = [
            Engine(NODES[n].public, self.ledgers[n], Random(n), EngineSettings(**settings)) for n in range(count)
        ]
        self.queue: deque[tuple[int, Output]] = deque()
        self.seen: list[tuple[int, Output]] = []
        self.now = Now(0, 0)
        self.hold: Callable[[int, Output], bool] = lambda _number, _output: False
        self.held: list[tuple[int, Output]] = []

    def feed(self, number: int, event: Event) -> list[Output]:
        outputs = self.engines[number].handle(event, self.now)
        self.queue += [(number, output) for output in outputs]
        self.seen += [(number, output) for output in outputs]
        return outputs

    def link(self, one: int = 0, other: int = 1) -> None:
        self.feed(one, PeerUp(NODES[other].public, inbound=False))
        self.feed(other, PeerUp(NODES[one].public, inbound=True))

    def pump(self) -> None:
        while self.queue:
            number, output = self.queue.popleft()
            if self.hold(number, output):
                self.held.append((number, output))
            elif isinstance(output, Send):
                target = next(n for n, key in enumerate(NODES) if key.public == output.peer)
                self.feed(target, Received(NODES[number].public, output.message))
            elif isinstance(output, Commit):
                self.feed(number, Committed(output.batch, self.ledgers[number].commit(output.items)))

    def wait(self, ms: int) -> None:
        """Let time pass, firing timers as they come due."""
        end = self.now.mono_ns + ms * MS
        while True:
            due = [deadline for engine in self.engines if (deadline := engine.deadline()) is not None]
            if not due or min(due) > end:
                break
            self.now = Now(max(min(due), self.now.mono_ns), self.now.wall_ms)
            for number, engine in enumerate(self.engines):
                deadline = engine.deadline()
                if deadline is not None and deadline <= self.now.mono_ns:
                    self.feed(number, TimerFired())
            self.pump()
        self.now = Now(end, self.now.wall_ms + ms)

    def sent(self, kind: type, number: int | None = None) -> list[object]:
        """The messages of one kind that were sent, by one engine or by all."""
        return [
            message
            for sender, output in self.seen
            if isinstance(output, Send) and number in (None, sender)
            and isinstance(message := decode_message(output.message), kind)
        ]  # fmt: skip

    def roots(self) -> set[bytes]:
        return {ledger.root() for ledger in self.ledgers}


def test_two_that_hold_the_same_say_hello_and_nothing_else() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    assert [type(decode_message(o.message)) for _, o in wire.seen if isinstance(o, Send)] == [Hello, Hello]


def test_nothing_to_sync_costs_one_round_trip_and_under_300_bytes() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.seen.clear()
    wire.wait(40_000)
    sizes = [len(o.message) for _, o in wire.seen if isinstance(o, Send)]
    kinds = {type(decode_message(o.message)).__name__ for _, o in wire.seen if isinstance(o, Send)}
    assert {"Digest", "Same"} <= kinds
    assert max(sizes) < 150
    assert len(wire.sent(Same)) >= 1


def test_what_one_lacks_is_fetched_on_connecting() -> None:
    wire = Wire()
    for ledger, officers in zip(wire.ledgers, (OFFICERS[:5], OFFICERS[3:9]), strict=True):
        for officer in officers[:2]:
            ledger.apply(ledger.commit([(records(ledger, officer, 30),)]))
    wire.link()
    wire.pump()
    assert len(wire.roots()) == 1
    assert wire.ledgers[0].entries == 53 + 4 * 30


def test_both_know_that_they_hold_the_same_as_soon_as_the_first_sync_has_brought_it() -> None:
    """It once took until the next sync, half a minute; they compare once a link, however much comes."""
    wire = Wire()
    for officer in OFFICERS[:3]:
        wire.ledgers[0].apply(wire.ledgers[0].commit([(records(wire.ledgers[0], officer, 3),)]))
    wire.link()
    wire.pump()
    peers = [next(iter(engine.peers.values())) for engine in wire.engines]
    assert [peer.same_ms for peer in peers] == [0, 0]
    for officer in OFFICERS[:3]:
        wire.feed(0, Submitted(1, (records(wire.ledgers[0], officer, 3),)))
        wire.pump()
        wire.wait(1000)
    assert len(wire.roots()) == 1
    assert (len(wire.sent(Digest)), len(wire.sent(Same))) == (1, 1)


def test_new_entry_is_pushed_after_its_commit_and_never_before() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.seen.clear()
    outputs = wire.feed(0, Submitted(7, (records(wire.ledgers[0], OFFICERS[0], 2),)))
    assert [type(output) for output in outputs] == [Commit]
    wire.wait(0)
    assert wire.sent(Frame) == []
    assert wire.sent(Have) == []
    wire.pump()
    assert [o.request for _, o in wire.seen if isinstance(o, Reply) and o.outcome is not None] == [7]
    wire.wait(20)
    assert len(wire.sent(Frame, 0)) == 1
    assert len(wire.roots()) == 1
    wire.wait(60_000)
    assert len(wire.sent(Ack, 1)) == 1
    assert len(wire.sent(Frame)) == 1  # each entry once per link


def test_frame_is_acknowledged_only_once_it_is_durable() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.hold = lambda number, output: number == 1 and isinstance(output, Commit)
    wire.feed(0, Submitted(1, (records(wire.ledgers[0], OFFICERS[0], 1),)))
    wire.pump()
    wire.wait(50)
    assert len(wire.held) == 1
    assert wire.sent(Ack, 1) == []


def test_gap_is_asked_for() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.hold = lambda number, output: (
        number == 0 and isinstance(output, Send) and isinstance(decode_message(output.message), Frame)
    )
    wire.feed(0, Submitted(1, (records(wire.ledgers[0], OFFICERS[0], 3),)))
    wire.pump()
    wire.wait(20)
    assert len(wire.held) == 1  # this frame is lost
    wire.hold = lambda _number, _output: False
    wire.feed(0, Submitted(2, (records(wire.ledgers[0], OFFICERS[0], 1),)))
    wire.pump()
    wire.wait(20)
    assert [want.logs[0][:2] for want in wire.sent(Want, 1) if isinstance(want, Want)] == [(OFFICERS[0].public, 0)]
    assert len(wire.roots()) == 1


def test_unacknowledged_frames_stay_within_the_window() -> None:
    wire = Wire(window_bytes=150_000)
    for officer in OFFICERS[:40]:
        run = records(wire.ledgers[0], officer, 100, text=Random(officer.public).randbytes(150).hex())
        wire.ledgers[0].apply(wire.ledgers[0].commit([(run,)]))
    wire.hold = lambda number, output: (
        number == 1 and isinstance(output, Send) and isinstance(decode_message(output.message), Ack)
    )
    wire.link()
    wire.pump()
    assert len(wire.sent(Frame, 0)) == 1  # the next is made when this one is on its way
    wire.wait(1)
    frames = [frame for frame in wire.sent(Frame, 0) if isinstance(frame, Frame)]
    sizes = [len(frame.frame) for frame in frames]
    assert len(frames) > 1
    assert sum(sizes[:-1]) < 150_000 <= sum(sizes)
    assert len(wire.roots()) == 2
    wire.hold = lambda _number, _output: False
    wire.queue += wire.held
    wire.pump()
    wire.wait(1)
    assert len(wire.roots()) == 1


def test_incremental_sync_costs_little_more_than_the_entries() -> None:
    wire = Wire()
    for ledger in wire.ledgers:
        for officer in OFFICERS:
            ledger.apply(ledger.commit([(records(ledger, officer, 20),)]))
    news = [
        records(wire.ledgers[0], officer, 2, text=Random(officer.public).randbytes(100).hex()) for officer in OFFICERS
    ]
    wire.ledgers[0].apply(wire.ledgers[0].commit([tuple(news)]))
    wire.link()
    wire.pump()
    assert len(wire.roots()) == 1
    spent = sum(len(o.message) for _, o in wire.seen if isinstance(o, Send))
    assert spent < 1.5 * sum(len(row) for run in news for row in run.rows)


def test_failed_disk_refuses_writes_until_a_commit_succeeds_again() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    outputs = wire.feed(0, Submitted(1, (records(wire.ledgers[0], OFFICERS[0], 1),)))
    commit = next(output for output in outputs if isinstance(output, Commit))
    wire.queue.clear()
    outputs = wire.feed(0, CommitFailed(commit.batch, StorageError("the disk is full")))
    assert [(o.request, str(o.error)) for o in outputs if isinstance(o, Reply)] == [(1, "the disk is full")]
    outputs = wire.feed(0, Submitted(2, (records(wire.ledgers[0], OFFICERS[0], 1),)))
    assert [type(output) for output in outputs] == [Reply]
    wire.queue.clear()
    wire.wait(6_000)  # the engine tries an empty commit, which succeeds
    outputs = wire.feed(0, Submitted(3, (records(wire.ledgers[0], OFFICERS[0], 1),)))
    wire.pump()
    assert wire.ledgers[0].heads.get(OFFICERS[0].public).size == 1


def test_forged_frames_are_counted_and_end_in_a_ban() -> None:
    wire = Wire(refusals_max=3)
    wire.link()
    wire.pump()
    run = records(wire.ledgers[0], OFFICERS[0], 2)
    forged = Run(run.key, 0, None, (run.rows[0], run.rows[1][:-1] + bytes([run.rows[1][-1] ^ 1])))
    root = wire.ledgers[0].root()
    for number in range(3):
        frame = Frame(number, encode_frame([forged]))
        wire.feed(0, Received(NODES[1].public, encode_message(frame)))
        wire.pump()
    assert wire.engines[0].peers[NODES[1].public].refusals == {"signature": 3}
    assert any(isinstance(output, Disconnect) for _, output in wire.seen)
    assert wire.engines[0].is_banned(NODES[1].public, wire.now)
    assert wire.ledgers[0].root() == root
    wire.feed(0, PeerDown(NODES[1].public, "dropped"))
    outputs = wire.feed(0, PeerUp(NODES[1].public, inbound=True))
    assert [type(output) for output in outputs] == [Disconnect]


@pytest.mark.parametrize("junk", [b"", b"\x00", b"\xff" * 40, b"\x91\xa4nope", b"\x92\xa5hello\x01"])
def test_junk_is_counted(junk: bytes) -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.feed(0, Received(NODES[1].public, junk))
    assert wire.engines[0].peers[NODES[1].public].refusals.total() == 1


def test_peer_of_another_network_is_dropped_at_once() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    outputs = wire.feed(0, Received(NODES[1].public, encode_message(Hello(bytes(32), bytes(32), 0))))
    assert any(isinstance(output, Disconnect) for output in outputs)


def test_silent_peer_is_pinged_then_dropped() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.hold = lambda number, output: number == 1  # it hears, and says nothing
    wire.wait(45_000)
    assert wire.sent(Ping, 0)
    assert any(isinstance(output, Disconnect) and number == 0 for number, output in wire.seen)


def test_unanswered_want_is_asked_of_another_peer() -> None:
    wire = Wire(count=3)
    run = records(wire.ledgers[0], OFFICERS[0], 40)
    for number in (0, 1):
        wire.ledgers[number].apply(wire.ledgers[number].commit([(run,)]))
    wire.hold = lambda number, output: (
        number == 0 and isinstance(output, Send) and isinstance(decode_message(output.message), Frame)
    )
    wire.link(0, 2)
    wire.pump()
    assert wire.ledgers[2].heads.get(OFFICERS[0].public).size == 0
    wire.link(1, 2)
    wire.pump()
    wire.wait(120_000)
    assert wire.ledgers[2].heads.get(OFFICERS[0].public).size == 40


def test_fork_is_proved_kept_and_known_to_all() -> None:
    wire = Wire(count=3)
    run = records(wire.ledgers[0], OFFICERS[0], 10)
    rival = branch(run, 6, OFFICERS[0], wire.ledgers[0])
    wire.ledgers[0].apply(wire.ledgers[0].commit([(run,)]))
    short = Run(run.key, 0, None, run.rows[:6])
    for number, held in ((1, [(short,), (rival,)]), (2, [(short,)])):
        wire.ledgers[number].apply(wire.ledgers[number].commit(held))
    assert wire.ledgers[1].heads.get(run.key).size == 7
    wire.link(0, 1)
    wire.pump()
    wire.link(1, 2)
    wire.pump()
    wire.wait(90_000)
    assert wire.sent(Fork)
    for ledger in wire.ledgers:
        assert [(key, seq) for key, seq, _ in ledger.forks()] == [(run.key, 6)]
        head = ledger.heads.get(run.key)
        assert (head.size, head.forked) == (6, True)
    assert len(wire.roots()) == 1
    assert [item.disputed for item in wire.ledgers[0].log_entries(run.key, 5, 2)] == [False, True]  # kept as evidence


def test_fork_far_back_in_long_logs_is_found() -> None:
    wire = Wire()
    run = records(wire.ledgers[0], OFFICERS[0], 3000)
    rival_start = branch(run, 1234, OFFICERS[0], wire.ledgers[0])
    rest = [("record", encode_record("intel", {"n": number})) for number in range(900)]
    after = open_row(rival_start.rows[0], rival_start.place).after
    rival = sign_run(wire.ledgers[0].charter, OFFICERS[0], after, rest, 1)
    shared = Run(run.key, 0, None, run.rows[:1234])
    wire.ledgers[0].apply(wire.ledgers[0].commit([(run,)]))
    for part in (shared, rival_start, rival):
        wire.ledgers[1].apply(wire.ledgers[1].commit([(part,)]))
    wire.link()
    wire.pump()
    wire.wait(90_000)
    assert [ledger.heads.get(run.key).size for ledger in wire.ledgers] == [1234, 1234]
    assert len(wire.roots()) == 1


# -- each of these was a bug --------------------------------------------------------------------------


def put(ledger: Ledger, *items: Item) -> tuple[Outcome, ...]:
    """Admit items past the engine."""
    result = ledger.commit(items)
    ledger.apply(result)
    return result.outcomes


def later(run: Run, first: int) -> Run:
    """The run without its first rows."""
    place = run.place
    for row in run.rows[:first]:
        place = open_row(row, place).after
    return Run(run.key, place.seq, place.prev, run.rows[first:])


def test_entries_below_a_fork_are_fetched_after_its_proof_has_come_first() -> None:
    wire = Wire()
    run = records(wire.ledgers[0], OFFICERS[0], 10)
    put(wire.ledgers[0], (run,))
    put(wire.ledgers[0], (branch(run, 6, OFFICERS[0], wire.ledgers[0]),))
    proof = wire.ledgers[0].fork(run.key)
    assert proof is not None
    put(wire.ledgers[1], proof)
    assert wire.ledgers[1].heads.get(run.key).size == 0
    wire.link()
    wire.pump()
    wire.wait(60_000)
    assert wire.ledgers[1].heads.get(run.key).size == 6
    assert len(wire.roots()) == 1


def test_fork_below_a_proved_fork_is_found() -> None:
    """Who signs twice may show the proof of a later pair than the first; the branches part below it all the same."""
    wire = Wire()
    run = records(wire.ledgers[0], OFFICERS[0], 10)
    parted = branch(run, 3, OFFICERS[0], wire.ledgers[0])
    after = open_row(parted.rows[0], parted.place).after
    drafts = [("record", encode_record("intel", {"other": number})) for number in range(6)]
    rival = sign_run(wire.ledgers[0].charter, OFFICERS[0], after, drafts, 1)
    ours = open_row(later(run, 6).rows[0], later(run, 6).place)
    theirs = open_row(later(rival, 2).rows[0], later(rival, 2).place)
    assert ours.seq == theirs.seq == 6
    first, second = sorted((ours, theirs), key=lambda entry: entry.id)
    proof = Fork((first.header, first.signature), (second.header, second.signature))
    put(wire.ledgers[0], (run,))
    for part in (Run(run.key, 0, None, run.rows[:3]), parted, rival):
        put(wire.ledgers[1], (part,))
    for ledger in wire.ledgers:
        put(ledger, proof)
        assert ledger.heads.get(run.key).size == 6
    assert len(wire.roots()) == 2
    wire.link()
    wire.pump()
    wire.wait(90_000)
    assert [ledger.heads.get(run.key).size for ledger in wire.ledgers] == [3, 3]
    assert len(wire.roots()) == 1


def test_nobody_is_blamed_for_bringing_a_branch_that_is_dated_earlier() -> None:
    wire = Wire()
    officer, ledger = OFFICERS[0], wire.ledgers[0]
    place = Place(officer.public, 0, None)
    drafts = [("record", encode_record("intel", {"n": number})) for number in range(2)]
    put(wire.ledgers[0], (sign_run(ledger.charter, officer, place, drafts, 900),))
    other = [("record", encode_record("intel", {"other": number})) for number in range(5)]
    put(wire.ledgers[1], (sign_run(ledger.charter, officer, place, other, 100),))
    wire.link()
    wire.pump()
    wire.wait(90_000)
    assert [ledger.heads.get(officer.public).forked for ledger in wire.ledgers] == [True, True]
    assert len(wire.roots()) == 1
    assert [peer.refusals.total() for engine in wire.engines for peer in engine.peers.values()] == [0, 0]


def test_fork_at_an_entry_without_a_signature_of_its_own_is_proved_by_the_next_one_and_known_to_all() -> None:
    wire = Wire()
    officer, ledger = OFFICERS[0], wire.ledgers[0]
    one = records(ledger, officer, 1)
    spoilt = one.rows[0][:-1] + bytes([one.rows[0][-1] ^ 1])  # authentic all the same: the next one's signature holds
    after = open_row(spoilt, one.place).after
    second = sign_run(ledger.charter, officer, after, [("record", encode_record("intel", {}))], 1)
    put(wire.ledgers[0], (Run(officer.public, 0, None, (spoilt, second.rows[0])),))
    rival = records(wire.ledgers[1], officer, 3, text="another")
    put(wire.ledgers[1], (rival,))
    wire.link()
    wire.pump()
    wire.wait(90_000)
    proofs = [ledger.fork(officer.public) for ledger in wire.ledgers]
    assert proofs[0] == proofs[1]
    assert proofs[0] is not None
    assert sorted(map(len, proofs[0].sides)) == [1, 2]
    assert {ledger.heads.get(officer.public) for ledger in wire.ledgers} == {Head(officer.public, 0, None, forked=True)}
    assert len(wire.roots()) == 1
    assert [peer.refusals.total() for engine in wire.engines for peer in engine.peers.values()] == [0, 0]
    assert [engine.banned for engine in wire.engines] == [{}, {}]


def test_fork_at_a_bad_signature_far_back_is_found_between_logs_of_different_length() -> None:
    wire = Wire()
    officer, ledger = OFFICERS[0], wire.ledgers[0]
    one = records(ledger, officer, 100)
    for number, size in enumerate((200, 230)):
        spoilt = sign_run(ledger.charter, officer, open_rows(one)[-1].after,
                          [("record", encode_record("intel", {"by": number}))], 1)  # fmt: skip
        bad = spoilt.rows[0][:-1] + bytes([spoilt.rows[0][-1] ^ 1])
        after = open_row(bad, open_rows(one)[-1].after).after
        drafts = [("record", encode_record("intel", {"n": n, "by": number})) for n in range(size - 101)]
        rest = sign_run(ledger.charter, officer, after, drafts, 1)
        put(wire.ledgers[number], (Run(officer.public, 0, None, (*one.rows, bad, *rest.rows)),))
    wire.link()
    wire.pump()
    wire.wait(90_000)
    assert {ledger.heads.get(officer.public).size for ledger in wire.ledgers} == {100}
    assert [ledger.heads.get(officer.public).forked for ledger in wire.ledgers] == [True, True]
    assert len(wire.roots()) == 1


def open_rows(run: Run) -> list[Entry]:
    entries, place = [], run.place
    for row in run.rows:
        entries.append(open_row(row, place))
        place = entries[-1].after
    return entries


def test_log_whose_certificate_a_fork_has_made_disputed_is_the_same_everywhere() -> None:
    wire = Wire()
    root, stranger = key_of(NETWORK, "mia"), key_of("only certified above the fork")
    head = wire.ledgers[0].heads.get(root.public)
    place = Place(root.public, head.size, head.id)
    for ledger, subject in zip(wire.ledgers, (stranger, key_of("another")), strict=True):
        act = Certify(subject.public, "officer", "o", "mia", "", ("officer",))
        put(ledger, (sign_run(ledger.charter, root, place, [("act", encode_act(act))], 2),))
    put(wire.ledgers[0], (records(wire.ledgers[0], stranger, 4),))
    wire.link()
    wire.pump()
    wire.wait(120_000)
    assert [ledger.heads.get(root.public).forked for ledger in wire.ledgers] == [True, True]
    assert len(wire.roots()) == 1


def test_what_came_over_an_older_link_is_not_credited_to_a_newer_one() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.hold = lambda number, output: number == 0 and isinstance(output, Commit)
    frame = encode_frame([records(wire.ledgers[1], OFFICERS[0], 3)])
    peer = NODES[1].public
    for number in range(2):
        wire.feed(0, Received(peer, encode_message(Frame(number, frame))))
        wire.pump()
    wire.feed(0, PeerDown(peer, "cut"))
    wire.feed(0, PeerUp(peer, inbound=True))
    wire.queue.clear()
    wire.hold = lambda _number, _output: False
    wire.queue += wire.held
    wire.pump()
    assert wire.ledgers[0].heads.get(OFFICERS[0].public).size == 3
    assert wire.engines[0].peers[peer].inbox_bytes == 0
    assert wire.sent(Ack, 0) == []


@pytest.mark.parametrize("tells", [True, False], ids=["closed", "replaced"])
def test_queue_stays_bounded_when_a_peer_links_again_and_again(*, tells: bool) -> None:
    wire = Wire(inbox_bytes_max=5000)
    wire.link()
    wire.pump()
    wire.hold = lambda number, output: number == 0 and isinstance(output, Commit)
    frame = encode_message(Frame(0, encode_frame([records(wire.ledgers[1], OFFICERS[0], 3)])))
    sizes = set()
    for _ in range(50):
        wire.feed(0, Received(NODES[1].public, frame))
        if tells:
            wire.feed(0, PeerDown(NODES[1].public, "cut"))
        wire.feed(0, PeerUp(NODES[1].public, inbound=True))
        wire.pump()
        sizes.add(wire.engines[0].size())
    assert max(sizes) < 10


def test_peer_that_sends_other_things_cannot_keep_a_log_back() -> None:
    """It says that it holds a log, is asked for it, never sends it, and is never silent."""
    wire = Wire(count=3)
    run = records(wire.ledgers[0], OFFICERS[0], 40)
    wire.link(0, 2)
    wire.pump()
    false_head = Have((Head(run.key, 1000, EntryId(bytes(32))),))
    wire.feed(2, Received(NODES[0].public, encode_message(false_head)))
    wire.pump()
    put(wire.ledgers[1], (run,))
    wire.link(1, 2)
    wire.pump()
    for number in range(150):
        wire.feed(0, Submitted(number, (records(wire.ledgers[0], OFFICERS[1], 1),)))
        wire.pump()
        wire.wait(5_000)
    assert wire.ledgers[2].heads.get(run.key).size == 40


def test_peer_that_was_dropped_is_not_listened_to_while_its_link_closes() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.feed(0, Received(NODES[1].public, encode_message(Hello(bytes(32), bytes(32), 0))))
    assert wire.feed(0, Received(NODES[1].public, encode_message(Ping(1)))) == []


def test_message_over_the_limit_is_refused() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.feed(0, Received(NODES[1].public, bytes(MESSAGE_BYTES_MAX + 1)))
    assert wire.engines[0].peers[NODES[1].public].refusals == {"FormatError": 1}


def test_frames_that_a_failed_disk_could_not_take_are_not_acknowledged_and_come_again() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    wire.hold = lambda number, output: number == 1 and isinstance(output, Commit)
    wire.feed(0, Submitted(1, (records(wire.ledgers[0], OFFICERS[0], 3),)))
    wire.pump()
    wire.wait(50)
    commit = next(output for _, output in wire.held if isinstance(output, Commit))
    wire.hold = lambda _number, _output: False
    wire.feed(1, CommitFailed(commit.batch, StorageError("the disk is full")))
    wire.pump()
    assert wire.sent(Ack, 1) == []
    assert wire.ledgers[1].heads.get(OFFICERS[0].public).size == 0
    wire.wait(90_000)
    assert wire.ledgers[1].heads.get(OFFICERS[0].public).size == 3


# -- what a hostile peer cannot do ------------------------------------------------------------------


def dropped(wire: Wire, number: int = 0) -> list[str]:
    """Why an engine hung up on peers."""
    return [output.reason for sender, output in wire.seen if sender == number and isinstance(output, Disconnect)]


def flood(wire: Wire, messages: list[bytes]) -> None:
    for message in messages:
        wire.feed(0, Received(NODES[1].public, message))
        while wire.queue:
            number, output = wire.queue.popleft()
            if isinstance(output, Commit) and number == 0:
                wire.feed(0, Committed(output.batch, wire.ledgers[0].commit(output.items)))


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("messages", encode_message(Ping(1))),
        ("requests", encode_message(Want(((NODES[0].public, 0, 1),)))),
    ],
)
def test_peer_that_floods_is_dropped_and_the_reason_is_counted(budget: str, message: bytes) -> None:
    wire = Wire(messages_max=100, requests_max=20)
    wire.link()
    wire.pump()
    wire.seen.clear()
    flood(wire, [message] * 150)
    (reason,) = dropped(wire)
    assert reason.startswith(f"{budget}: more than")
    assert wire.engines[0].peers[NODES[1].public].counted()[budget] == 1
    assert wire.engines[0].is_banned(NODES[1].public, wire.now)


def test_budgets_start_anew_after_a_while() -> None:
    wire = Wire(messages_max=100)
    wire.link()
    wire.pump()
    for _ in range(5):
        flood(wire, [encode_message(Ping(1))] * 60)
        wire.now = Now(wire.now.mono_ns + 31 * 1000 * MS, 0)
    assert dropped(wire) == []


def test_peer_that_repeats_what_is_held_is_dropped() -> None:
    wire = Wire(repeated_max=500)
    wire.link()
    wire.pump()
    run = records(wire.ledgers[1], OFFICERS[0], 100)
    flood(wire, [encode_message(Frame(number, encode_frame([run]))) for number in range(8)])
    assert [reason[:9] for reason in dropped(wire)] == ["repeated:"]
    assert wire.ledgers[0].heads.get(OFFICERS[0].public).size == 100


def test_peer_that_sends_void_entries_is_told_at_once_and_dropped_when_it_goes_on() -> None:
    wire = Wire(disputed_max=5)
    officer = OFFICERS[0]
    run = records(wire.ledgers[1], officer, 20)
    put(wire.ledgers[1], (run,))
    revoke(wire.ledgers[0], officer, Place(officer.public, 0, None))
    wire.link()
    wire.queue.clear()
    wire.seen.clear()
    frames = [encode_message(Frame(number, encode_frame([run]))) for number in range(9)]
    flood(wire, frames[:1])
    assert len(wire.sent(Digest, 0)) == 1
    assert wire.engines[0].peers[NODES[1].public].counted()["void"] == 1
    assert dropped(wire) == []
    flood(wire, frames[1:])
    assert [reason[:9] for reason in dropped(wire)] == ["disputed:"]
    assert wire.ledgers[0].heads.get(officer.public).size == 0


def test_heads_of_unknown_keys_are_kept_for_one_peer_up_to_a_bound() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    before = wire.engines[0].size()
    for start in (0, 2000):
        heads = tuple(Head(key_of("unknown", n).public, 1, EntryId(bytes(32))) for n in range(start, start + 2000))
        flood(wire, [encode_message(Have(tuple(sorted(heads, key=lambda head: head.key))))])
    assert wire.engines[0].peers[NODES[1].public].counted()["unknown keys"] == 4000 - UNCERTIFIED_MAX
    assert wire.engines[0].size() - before <= UNCERTIFIED_MAX + KNOWN_LOGS_MAX
    assert dropped(wire) == []


def revoke(ledger: Ledger, subject: SigningKey, last: Place) -> Run:
    """The agency says that of the log only what stands before `last` counts."""
    root = key_of(NETWORK, "mia")
    head = ledger.heads.get(root.public)
    act = Revoke(subject.public, max(last.seq - 1, 0), last.prev, "stolen")
    run = sign_run(ledger.charter, root, Place(root.public, head.size, head.id), [("act", encode_act(act))], 2)
    put(ledger, (run,))
    return run


def test_link_of_a_node_whose_key_is_revoked_is_closed() -> None:
    wire = Wire(3)
    wire.link(0, 1)
    wire.link(0, 2)
    wire.pump()
    wire.feed(0, Submitted(1, (revoke(wire.ledgers[2], NODES[1], Place(NODES[1].public, 0, None)),)))
    wire.pump()
    assert dropped(wire) == ["its key is no node's any longer"]


def test_entries_after_a_cutoff_stop_counting_everywhere_and_are_kept_where_they_are() -> None:
    wire = Wire()
    officer = OFFICERS[0]
    run = records(wire.ledgers[0], officer, 10)
    for ledger in wire.ledgers:
        put(ledger, (run,))
    entries = [item.entry for item in wire.ledgers[0].log_entries(officer.public)]
    revoke(wire.ledgers[1], officer, entries[5].after)
    wire.link()
    wire.pump()
    wire.wait(60_000)
    assert len(wire.roots()) == 1
    for ledger in wire.ledgers:
        assert ledger.heads.get(officer.public).size == 6
        assert [ledger.status(entry) for entry in entries] == ["ok"] * 6 + ["void"] * 4


@pytest.mark.parametrize("branch_of", [0, 1])
def test_endorsed_branch_is_fetched_by_whoever_holds_the_other(branch_of: int) -> None:
    wire = Wire(3)
    officer = OFFICERS[0]
    runs = [records(wire.ledgers[n], officer, 5 + n, text=f"branch {n}") for n in range(2)]
    for n, run in enumerate(runs):
        put(wire.ledgers[n], (run,))
    for one, other in ((0, 1), (1, 2)):
        wire.link(one, other)
        wire.pump()
    wire.wait(60_000)
    assert [ledger.heads.get(officer.public).size for ledger in wire.ledgers] == [0, 0, 0]
    last = wire.ledgers[branch_of].log_entries(officer.public)[-1].entry
    root = revoke(wire.ledgers[2], officer, last.after)
    wire.feed(2, Submitted(9, (root,)))
    wire.pump()
    wire.wait(120_000)
    assert {ledger.heads.get(officer.public).id for ledger in wire.ledgers} == {last.id}
    assert len(wire.roots()) == 1


def test_equivocation_met_by_two_nodes_that_never_met_is_known_to_all_within_one_sync() -> None:
    wire = Wire(3)
    officer = OFFICERS[0]
    for number in range(2):
        put(wire.ledgers[number], (records(wire.ledgers[number], officer, 3 + number, text=f"to {number}"),))
    wire.link(1, 2)
    wire.pump()
    wire.wait(40_000)  # the third holds what the second holds
    wire.link(0, 1)
    wire.pump()  # no time passes: what follows from their meeting, and nothing else
    assert [ledger.heads.get(officer.public).forked for ledger in wire.ledgers] == [True, True, True]
    assert len({ledger.fork(officer.public) for ledger in wire.ledgers}) == 1


# -- when much comes ----------------------------------------------------------------------------------


@given(gaps=st.lists(st.integers(0, 300), min_size=1, max_size=60), burst=st.integers(1, 5))
def test_a_pace_lets_a_burst_go_and_then_one_in_a_while(gaps: list[int], burst: int) -> None:
    pace, now, taken = Pace(100, burst), 0, list[int]()
    for gap in gaps:
        now += gap
        if pace.due_ns() <= now:
            pace.take(now)
            taken.append(now)
    for first, start in enumerate(taken):
        for count, end in enumerate(taken[first:], 1):
            assert count <= burst + (end - start) // 100
    quiet = now + 100 * burst
    for _ in range(burst):
        assert pace.due_ns() <= quiet
        pace.take(quiet)


def all_linked() -> Wire:
    wire = Wire(3)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        wire.link(one, other)
    wire.pump()
    wire.wait(1_000)
    wire.seen.clear()
    return wire


def commits(wire: Wire, number: int) -> int:
    return sum(isinstance(output, Commit) and sender == number for sender, output in wire.seen)


def test_what_peers_send_in_quick_succession_is_committed_together_and_alone_at_once() -> None:
    wire = Wire()
    wire.link()
    wire.pump()
    run = records(wire.ledgers[1], OFFICERS[0], 100)
    for number in range(100):
        part = Run(run.key, number, open_rows(run)[number].prev, (run.rows[number],))
        wire.feed(0, Received(NODES[1].public, encode_message(Frame(number, encode_frame([part])))))
        wire.pump()
        if number == 0:
            assert commits(wire, 0) == 1
            assert wire.ledgers[0].heads.get(run.key).size == 1
        wire.wait(2)
    assert commits(wire, 0) <= 8 + 2 + 1
    wire.wait(100)
    assert wire.ledgers[0].heads.get(run.key).size == 100


def test_what_somebody_here_waits_for_is_committed_at_once_and_takes_along_what_waits() -> None:
    wire = all_linked()
    run = records(wire.ledgers[1], OFFICERS[0], 30)
    for number in range(30):
        part = Run(run.key, number, open_rows(run)[number].prev, (run.rows[number],))
        wire.feed(0, Received(NODES[1].public, encode_message(Frame(number, encode_frame([part])))))
        wire.pump()
    assert wire.ledgers[0].heads.get(run.key).size < 30
    wire.feed(0, Submitted(1, (records(wire.ledgers[0], OFFICERS[1], 1),)))
    wire.pump()
    assert [o.request for _, o in wire.seen if isinstance(o, Reply)] == [1]
    assert wire.ledgers[0].heads.get(run.key).size == 30


def test_once_it_is_known_who_brings_what_each_entry_comes_to_a_node_once() -> None:
    wire = all_linked()
    for number in range(20):
        wire.feed(number % 3, Submitted(number, (records(wire.ledgers[number % 3], OFFICERS[number % 3], 1),)))
        wire.pump()
        wire.wait(2_000)
        if number == 8:
            wire.seen.clear()
    assert len(wire.roots()) == 1
    assert len(wire.sent(Frame)) == 11 * 2
    assert wire.sent(Want) == []


def test_who_wants_what_was_announced_is_pushed_to_from_then_on() -> None:
    wire = Wire(eager_max=0, own_max=0)
    wire.link()
    wire.pump()
    for number in range(3):
        wire.feed(0, Submitted(number, (records(wire.ledgers[0], OFFICERS[0], 1),)))
        wire.pump()
        wire.wait(5_000)
        assert len(wire.roots()) == 1
    assert len(wire.sent(Want, 1)) == 1
    assert len(wire.sent(Frame, 0)) == 3


def test_what_is_announced_and_comes_by_another_link_is_not_wanted() -> None:
    wire = all_linked()
    for number in range(2):  # the second node knows then that the first one brings this log
        wire.feed(0, Submitted(number, (records(wire.ledgers[0], OFFICERS[0], 1),)))
        wire.pump()
        wire.wait(5_000)
    run = records(wire.ledgers[0], OFFICERS[0], 1)
    put(wire.ledgers[2], (run,))
    wire.seen.clear()
    have = encode_message(Have((wire.ledgers[2].heads.get(run.key),)))
    wire.feed(1, Received(NODES[2].public, have))
    wire.pump()
    wire.wait(900)
    assert wire.sent(Want, 1) == []
    wire.wait(200)  # it did not come
    assert len(wire.sent(Want, 1)) == 1
    assert wire.ledgers[1].heads.get(run.key).size == 3


def test_what_happens_before_it_is_due_makes_nobody_wait_longer() -> None:
    pace = Pace(100, 8)
    for _ in range(50):
        pace.take(1000)
    assert pace.due_ns() == 1100
