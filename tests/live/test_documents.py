"""Records in the search file: whatever the order of arrival, they are what folding the ledger's entries gives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keys.errors import FormatError
from keys.signing import SigningKey
from ledger.document import TAG, Document, changes, fold
from ledger.lmdb_store import open_lmdb
from ledger.projection import Projection
from ledger.query import Query
from ledger.search import operation, step_operations
from ledger.storage import Storage
from ledger.store import Ledger, create
from ledger.view import document_view, entry_view, history_view
from protocol.acts import Certify, Revoke, encode_act
from protocol.body import encode_record, encode_step, parse_step
from protocol.codec import Value, encode
from protocol.entry import Entry, EntryId, Place, open_row
from protocol.frame import Run
from protocol.frame import sign_run as sign_drafts
from protocol.limits import BODY_BYTES_MAX, DEPTH_MAX
from protocol.message import Fork
from sim.disk import MemoryStorage
from sim.founding import found, key_of

pytestmark = pytest.mark.live
NAME = "document tests"
CHARTER = found(NAME)
EMPTY = create(MemoryStorage(), CHARTER)
AGENCIES = ("mia", "scc", "sss")
ROOTS = {agency: key_of(NAME, agency) for agency in AGENCIES}
OFFICERS = [key_of(NAME, "officer", number) for number in range(6)]
NOW_MS = 1_780_000_000_000
TARGET = "ab" * 32


def agency_of(officer: int) -> str:
    return AGENCIES[officer % 3]


def certify(officer: int, agency: str, unit: str = "") -> bytes:
    return encode_act(Certify(OFFICERS[officer].public, "officer", "o", agency, unit, ("officer",)))


class Book:
    """Logs as their authors keep them, before anybody else has them."""

    def __init__(self) -> None:
        self.entries: dict[bytes, list[Entry]] = {}
        self.rows: dict[bytes, list[bytes]] = {}
        self.of: dict[EntryId, Entry] = {}
        for agency in AGENCIES:
            for officer in range(6):
                if agency_of(officer) == agency:
                    self.write(ROOTS[agency], "act", certify(officer, agency))

    def write(
        self, signer: SigningKey, kind: str, body: bytes, refs: Iterable[EntryId] = (), time_ms: int = NOW_MS
    ) -> EntryId:
        log = self.entries.setdefault(signer.public, [])
        place = log[-1].after if log else Place(signer.public, 0, None)
        run, _ = sign_drafts(signer, EMPTY.network_id, place, [(kind, body, sorted(set(refs)))], time_ms)
        entry = open_row(run.rows[0], place)
        log.append(entry)
        self.rows.setdefault(signer.public, []).append(run.rows[0])
        self.of[entry.id] = entry
        return entry.id

    def record(self, officer: int, type_name: str, fields: Mapping[str, object]) -> EntryId:
        return self.write(OFFICERS[officer], "record", encode_record(type_name, fields))

    def step(
        self, officer: int, record: EntryId, step: str, fields: Mapping[str, object], refs: Iterable[EntryId] = ()
    ) -> EntryId:
        return self.write(OFFICERS[officer], "step", encode_step(record, step, fields), {record, *refs})

    def part(self, key: bytes, first: int, end: int) -> Run:
        entry = self.entries[key][first]
        return Run(entry.key, first, entry.prev, tuple(self.rows[key][first:end]))

    def whole(self) -> list[Run]:
        """All logs, the roots' first."""
        return [self.part(key, 0, len(log)) for key, log in self.entries.items()]

    def rival(self, signer: SigningKey, seq: int) -> Fork:
        """The proof that the signer wrote another entry at that place too."""
        mine = self.entries[signer.public][seq]
        place = Place(mine.key, seq, mine.prev)
        body = encode_record("intel", {"rival": seq})
        run, _ = sign_drafts(signer, EMPTY.network_id, place, [("record", body, ())], NOW_MS)
        pair = sorted((mine, open_row(run.rows[0], place)), key=lambda entry: entry.id)
        return Fork(*((entry.header, bytes(entry.signature)) for entry in pair))


def admit(ledger: Ledger, *items: object) -> None:
    result = ledger.commit([item if isinstance(item, Fork) else (item,) for item in items])  # type: ignore[misc]
    assert [outcome.refused for outcome in result.outcomes] == [None] * len(items)
    ledger.apply(result)


def ledger_with(book: Book, storage: Storage | None = None) -> Ledger:
    ledger = create(storage if storage is not None else MemoryStorage(), CHARTER)
    admit(ledger, *book.whole())
    return ledger


def follow(path: Path, ledger: Ledger, most: int = 5000) -> Projection:
    projection = Projection(path)
    while projection.catch_up(ledger, most):
        continue
    return projection


def dump(projection: Projection) -> dict[str, list[str]]:
    """Every row of the index, but for the cursor's neighbours that say how it came to be."""
    with projection.connection() as db:
        return {
            table: sorted(map(repr, db.execute(f"SELECT * FROM {table}")))
            for table in ("docs", "steps", "items", "links", "spots", "named", "authors", "state")
        }


def readable(entry: Entry) -> bool:
    try:
        return entry.kind in ("record", "step") and operation(EMPTY, entry) is not None
    except FormatError:
        return False


def check_against_fold(projection: Projection, ledger: Ledger) -> None:
    """Every record is what `fold` makes of the entries in the ledger that count."""
    arrived, _ = ledger.arrived(0, 100_000)
    counting = [item.entry for item in arrived if not item.disputed and readable(item.entry)]
    steps: dict[EntryId, list[Entry]] = {}
    for entry in counting:
        if entry.kind == "step":
            steps.setdefault(parse_step(entry.body or b"").record, []).append(entry)
    records = {entry.id: entry for entry in counting if entry.kind == "record"}
    for item in arrived:
        record = item.entry.id
        if record not in records:
            assert projection.document(ledger, record) is None
            continue
        operations = [operation(ledger, entry) for entry in steps.get(record, [])]
        found = projection.document(ledger, record)
        assert found is not None
        assert found[1].to_bytes() == fold(operation(ledger, records[record]), operations).to_bytes()


# -- any order of arrival -----------------------------------------------------------------------------


def random_step(rng: Random, open_: Sequence[EntryId]) -> tuple[str, dict[str, Value]]:
    match rng.choice(["amend", "amend", "tag", "link", "attach", "retract", "accept", "decline", "comment"]):
        case "amend":
            fields: dict[str, Value] = {rng.choice(["x", "region"]): rng.choice(["a", "b", 3, None])}
            return "amend", {"set": fields}
        case "tag":
            return "tag", {"add": [rng.choice("pq")], "remove": [rng.choice("pq")]}
        case "link":
            return "link", {"to": TARGET, "relation": "same_event", "remove": rng.random() < 0.4}
        case "attach":
            return "attach", {"chunks": TARGET, "detach": rng.random() < 0.4}
        case "retract":
            return "retract", {"undo": True} if rng.random() < 0.5 else {"reason": "r"}
        case "comment":
            return "comment", {"text": "word"}
        case answer:
            named = rng.choice(open_).hex() if open_ else TARGET
            return answer, {"proposal": named, **({"set": {"x": "accepted"}} if answer == "accept" else {})}


def random_book(rng: Random) -> Book:
    """Records of three agencies and some thirty steps, each naming part of what its author could know."""
    book = Book()
    records = [
        book.record(officer, rng.choice(["seizure", "rfi", "intel"]), {"x": officer, "to": ["u"], "tags": ["p"]})
        for officer in rng.sample(range(6), 3)
    ]
    made: dict[EntryId, list[EntryId]] = {record: [] for record in records}
    proposed: dict[EntryId, list[EntryId]] = {record: [] for record in records}
    for _ in range(rng.randint(5, 30)):
        record, officer = rng.choice(records), rng.randrange(6)
        step, fields = random_step(rng, proposed[record])
        seen = [one for one in made[record] if rng.random() < 0.7]
        refs = set(rng.sample(seen, min(len(seen), rng.randint(0, 3))))
        if "proposal" in fields and rng.random() < 0.8:
            refs |= {EntryId(bytes.fromhex(str(fields["proposal"])))} - {EntryId(bytes.fromhex(TARGET))}
        if rng.random() < 0.7:  # what stands where it writes
            ops = [operation(EMPTY_CERTIFIED, book.of[one]) for one in seen]
            document = fold(operation(EMPTY_CERTIFIED, book.of[record]), ops)
            draft = operation(EMPTY_CERTIFIED, book.of[record])
            slots = [slot for slot, _ in changes(type(draft)(draft.id, b"", "", 0, step, fields))]
            refs |= set(document.live(slots))
        if rng.random() < 0.15:  # on another record, an act, or what nobody has
            others = [one for other in records if other != record for one in made[other]]
            roots = [log[0].id for key, log in book.entries.items() if log[0].kind == "act"]
            refs.add(rng.choice([*others, *roots, *records, EntryId(b"\x01" * 32)]))
        on = record if rng.random() < 0.95 else rng.choice([*made[record], EntryId(b"\x02" * 32), record])
        made[record].append(book.step(officer, on, step, fields, sorted(refs)[:30]))
        if step in ("amend", "retract"):
            proposed[record].append(made[record][-1])
    return book


EMPTY_CERTIFIED = create(MemoryStorage(), CHARTER)
admit(EMPTY_CERTIFIED, *Book().whole())


def disturbances(rng: Random, book: Book) -> list[Fork]:
    """What may happen beside: an officer or a root key found to equivocate, an officer taken over by another agency."""
    found_: list[Fork] = []
    if rng.random() < 0.5:
        signer = rng.choice(OFFICERS)
        if book.entries.get(signer.public):
            found_.append(book.rival(signer, rng.randrange(len(book.entries[signer.public]))))
    if rng.random() < 0.25:
        found_.append(book.rival(ROOTS[rng.choice(AGENCIES)], rng.randrange(2)))
    if rng.random() < 0.4:
        agency = rng.choice(AGENCIES)
        root = ROOTS[agency]
        book.write(root, "act", certify(rng.randrange(6), agency, rng.choice(["", "u"])))
    if rng.random() < 0.4:
        revoke(rng, book)
    return found_


def revoke(rng: Random, book: Book) -> int:
    """The root of some officer's agency ends that officer's log somewhere. Returns which officer's."""
    officer = rng.choice([number for number in range(6) if OFFICERS[number].public in book.entries])
    log = book.entries[OFFICERS[officer].public]
    seq = rng.randint(-1, len(log) - 1)
    last = log[seq].id if seq >= 0 else None
    book.write(ROOTS[agency_of(officer)], "act", encode_act(Revoke(OFFICERS[officer].public, max(seq, 0), last, "r")))
    return officer


def deliver(rng: Random, book: Book, ledger: Ledger, beside: list[Fork], caught_up: Callable[[Ledger], object]) -> None:
    """All logs in parts, in any order that each log allows, with `caught_up` called now and then."""
    left = dict.fromkeys(book.entries, 0)
    idle = 0
    while (left or beside) and idle < 40:  # what nobody certifies is never admitted
        key = rng.choice(list(left)) if left and (not beside or rng.random() < 0.9) else b""
        if key:
            end = min(len(book.entries[key]), left[key] + rng.randint(1, 6))
            item: Fork | tuple[Run] = (book.part(key, left[key], end),)
        else:
            end, item = 0, beside.pop()
        result = ledger.commit([item])
        outcome = result.outcomes[0]
        idle = 0 if outcome.new or outcome.forks else idle + 1
        if any(aside.reason == "uncertified" for aside in outcome.set_aside):
            beside += [item] if isinstance(item, Fork) else []
        elif key and (end == len(book.entries[key]) or outcome.set_aside):
            del left[key]
        elif key:
            left[key] = end
        if rng.random() < 0.3:
            caught_up(ledger)  # what is durable is not applied yet
        ledger.apply(result)
        if rng.random() < 0.4:
            caught_up(ledger)


@pytest.mark.parametrize("group", range(20))
def test_any_order_of_arrival_gives_what_folding_gives(tmp_path: Path, group: int) -> None:
    for seed in range(group * 20, group * 20 + 20):
        rng = Random(seed)
        book = random_book(rng)
        beside = disturbances(rng, book)
        ledger = create(MemoryStorage(), CHARTER)
        projection = Projection(tmp_path / f"{seed}.db")

        def some(now: Ledger, projection: Projection = projection, rng: Random = rng) -> None:
            for _ in range(rng.randint(1, 6)):
                projection.catch_up(now, rng.randint(1, 7))

        deliver(rng, book, ledger, beside, some)
        while projection.catch_up(ledger, rng.randint(1, 7)):
            continue
        check_against_fold(projection, ledger)
        again = follow(tmp_path / f"{seed}-again.db", ledger)
        assert dump(again) == dump(projection), seed
        for query in (Query('"p"', '"p"'), Query('"word"'), Query(types=("seizure",)), Query(statuses=("retracted",))):
            assert again.find(query, 100, now_ms=NOW_MS) == projection.find(query, 100, now_ms=NOW_MS)


def test_node_that_held_void_steps_shows_what_one_that_never_did_shows(tmp_path: Path) -> None:
    named = 0  # counting steps that name a void one, in all seeds together
    for seed in range(60):
        rng = Random(seed)
        book = random_book(rng)
        roots = {key: len(log) for key, log in book.entries.items() if key in ROOT_KEYS}
        lost = OFFICERS[revoke(rng, book)].public
        runs = [book.part(key, seq, seq + 1) for key, log in book.entries.items() for seq in range(len(log))]
        early = [run for run in runs if run.key in ROOT_KEYS and run.seq < roots[run.key]]
        acts = [run for run in runs if run.key in ROOT_KEYS and run.seq >= roots[run.key]]
        others = [run for run in runs if run.key not in ROOT_KEYS]
        late = sorted(others, key=lambda run: (run.key == lost, run.seq))
        seen: list[tuple[Ledger, Projection]] = []
        for order in ([*early, *others, *acts], [*early, *late, *acts], [*early, *acts, *others]):
            ledger = create(MemoryStorage(), CHARTER)
            projection = Projection(tmp_path / f"{seed}-{len(seen)}.db")
            for run in order:
                ledger.apply(ledger.commit([(run,)]))
                if rng.random() < 0.3:
                    projection.catch_up(ledger, rng.randint(1, 7))
            while projection.catch_up(ledger):
                continue
            check_against_fold(projection, ledger)
            seen.append((ledger, projection))
        states = {known: seen[0][0].status(entry) for known, entry in book.of.items()}
        void = {known for known, state in states.items() if state == "void"}
        assert all(seen[2][0].entry(known) is None for known in void)
        named += sum(not void.isdisjoint(entry.refs) for known, entry in book.of.items() if states[known] == "ok")
        for known in book.of:
            shown = [projection.document(ledger, known) for ledger, projection in seen]
            assert len({found_ and found_[1].to_bytes() for found_ in shown}) == 1, (seed, known.hex())
    assert named > 20


def test_on_disk_too(tmp_path: Path) -> None:
    rng = Random(1)
    book = random_book(rng)
    with closing(open_lmdb(tmp_path / "store")) as storage:
        ledger = create(storage, CHARTER)
        projection = Projection(tmp_path / "search.db")
        beside = disturbances(rng, book)
        deliver(rng, book, ledger, beside, lambda now: projection.catch_up(now, 3))
        while projection.catch_up(ledger, 3):
            continue
        check_against_fold(projection, ledger)
        assert dump(follow(tmp_path / "again.db", ledger)) == dump(projection)


# -- what a certified officer may write ---------------------------------------------------------------

DEEP: Value = "x"
for _ in range(DEPTH_MAX - 3):
    DEEP = [DEEP]
TEXTS: list[Value] = [
    "", " ", "\x00", "a\x00b", "\x1b[2J\u202e\u2066", "\U0010ffff\ufffe", "'\"*)(:^", "1e999", "-1e999", "9e29", "nan",
    "1" * 250, "0." + "1" * 200, "0.0000000001", "1_000", "-5", "٣", "2026-13-45T99:99:99Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999-14:00", TARGET, TARGET[:-1], " ".join(TARGET),
]  # fmt: skip
ITEMS: list[tuple[Value, Value, Value]] = [  # amount, unit, mass_g
    ("5", ["kg"], None), ("5", {}, 5), ("1e999", "kg", "x"), ("9e11", "kg", "9999999999.999999999"), (True, "g", None),
    (2**64 - 1, "mg", None), ("-0E+5", "t", "-1"), ("1" * 999, "g", "1" * 999), ("1e-29", "g", "1e-29"),
]  # fmt: skip
WRONG: list[Value] = [
    *TEXTS, None, True, 0, -1, -(2**63), 2**64 - 1, b"", b"\xff" * 32,
    [], {}, [None], [[]], {"": None}, ["a", 1, None, {}], DEEP, [TARGET] * 3, ["u"] * 900, {"from": 5, "to": []},
    {"point": {"latitude": "1e999", "longitude": "x"}, "radius_m": 2**64 - 1},
    {"point": {"latitude": "90", "longitude": "-180"}, "radius_m": 1}, {"latitude": "1e999", "longitude": "1e999"},
    [{"to": TARGET, "relation": "a:b:" + TARGET}, {"to": 5}, {"to": TARGET, "relation": "same_event"}, {}],
    [{"amount": amount, "unit": unit, "substance": [1], "mass_g": mass} for amount, unit, mass in ITEMS],
]  # fmt: skip
READ = (
    "window", "seized_at", "activity_at", "at", "region", "counting_agency", "position", "area", "items", "status",
    "links", "tags", "to", "due_at", "urgency", "import_id", "title", "names", "vehicles", "phones", "parts", "place",
)  # fmt: skip
TYPES = ("seizure", "rfi", "evidence", "operation", "alert", "sop", "intel", "case", "x" * 24)
STEPS = (
    "amend", "accept", "decline", "tag", "link", "attach", "retract", "comment", "receipt", "read", "ack", "reply",
    "refuse", "delay", "give", "take", "x",
)  # fmt: skip
SAID = (
    "set", "proposal", "add", "remove", "to", "relation", "chunks", "detach", "reason", "undo", "until", "give", "unit",
    "seal_no", "net_mass_g", "name", "text",
)  # fmt: skip
NO_BODIES = (
    b"", b"\xc1", b"\x80", encode({"type": "x", "fields": 5}), encode({"type": "X", "fields": {}}), encode([])
)  # fmt: skip
QUERIES = (
    Query('"x"', '"x"'), Query('"a"', '"a"'), Query(types=("s", "rfi")), Query(statuses=("overdue",)),
    Query(statuses=("unanswered", "\x00")), Query(near=(90.0, -180.0, 20_000.0)), Query(substances=("[1]",)),
    Query(since_ms=-(2**62), until_ms=2**62), Query('"zqi"', "", types=("intel",)), Query(regions=("",)),
)  # fmt: skip


def look_at_everything(projection: Projection, ledger: Ledger) -> None:
    """Everything that the index and the views can be asked, of every entry."""
    for query in QUERIES:
        projection.find(query, 100, now_ms=NOW_MS)
        for by in ("substance", "region", "month", "agency"):
            projection.totals(by, query, now_ms=NOW_MS)
    projection.same_events()
    projection.listed(unsettled=True)
    projection.imported(["a", '"', "\x00", ""])
    projection.counts()
    for item in ledger.arrived(0, 100_000)[0]:
        entry_view(ledger, item.entry)
        known = item.entry.id
        projection.links_to(known)
        found_ = projection.document(ledger, known)
        if found_ is None:
            continue
        document_view(ledger, found_[1])
        steps = step_operations(ledger, projection.steps_of(known))
        history_view(ledger, operation(ledger, found_[0]), steps)


def test_hostile_bodies_stop_nothing(tmp_path: Path) -> None:
    book = Book()
    records = [book.record(0, "seizure", {field: wrong}) for field in READ for wrong in WRONG]
    records += [book.record(1, name, dict.fromkeys(READ, wrong)) for name in TYPES for wrong in WRONG]
    sound = [book.record(2, name, {"to": ["u"], "items": [{"amount": "1", "unit": "g"}]}) for name in TYPES]
    act = book.entries[ROOTS["mia"].public][0].id
    for number, wrong in enumerate(WRONG):
        for name in STEPS:
            book.step(number % 3, sound[number % len(sound)], name, dict.fromkeys(SAID, wrong), [act])
            book.step(number % 3, sound[number % len(sound)], name, {SAID[number % len(SAID)]: wrong})
    step = book.step(0, sound[0], "amend", {"set": {f"n{number}": number for number in range(4096)}})
    for target in (step, act, EntryId(bytes(32)), records[0]):
        last = book.step(1, target, "amend", {"set": {"x": 1}}, [step])
        book.step(2, target, "tag", {"add": ["x"]}, [last, EntryId(b"\xff" * 32)])
    for body in NO_BODIES:
        for kind in ("record", "step"):
            spoilt = book.write(OFFICERS[4], kind, body)
            book.step(4, sound[1], "tag", {"add": ["named"]}, [spoilt])
    ledger = ledger_with(book)
    projection = follow(tmp_path / "a.db", ledger, 500)
    assert projection.cursor() == ledger.arrival()
    assert projection.counts()[""] == 12
    check_against_fold(projection, ledger)
    look_at_everything(projection, ledger)
    assert dump(follow(tmp_path / "b.db", ledger, 77)) == dump(projection)


def test_large_bodies_stop_nothing(tmp_path: Path) -> None:
    book = Book()
    room = BODY_BYTES_MAX - 4000
    wide: dict[str, Value] = {f"{number:04d}": "v" * 40 for number in range(4000)}
    link: list[Value] = [{"to": f"{number:064x}", "relation": "r" * 20} for number in range(2400)]
    heroin: Value = {"substance": "heroin", "amount": "1", "unit": "g"}
    large: list[dict[str, Value]] = [
        {"narrative": "w " * (room // 2)}, {"narrative": "\u0301" * (room // 2)}, {"x" * room: 1}, wide,
        {"tags": list(map(str, range(4096))), "region": "r" * (room // 2)}, {"items": [{"unit": "u" * room}]},
        {"links": link}, {"status": "s" * room}, {"items": [heroin] * 4096}, {"import_id": "i" * room},
    ]  # fmt: skip
    for fields in large:
        record = book.record(0, "seizure", fields)
        book.step(1, record, "amend", {"set": fields})
        book.step(3, record, "amend", {"set": fields})
        book.step(3, record, "attach", {"chunks": TARGET, **fields})
        book.step(4, record, "link", {"to": TARGET, "relation": "r" * room})
    ledger = ledger_with(book)
    projection = follow(tmp_path / "search.db", ledger)
    check_against_fold(projection, ledger)
    look_at_everything(projection, ledger)
    [total] = projection.totals("substance", Query(substances=("heroin",)), now_ms=NOW_MS)
    assert (total.count, int(total.mass_g)) == (1, 100)  # the first hundred items are read


any_value: st.SearchStrategy[Value] = st.recursive(
    st.sampled_from(WRONG) | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(READ + SAID), inner, max_size=3),
    max_leaves=6,
)
any_fields = st.dictionaries(st.sampled_from(READ + SAID), any_value, max_size=5)
any_draft = st.tuples(st.sampled_from(TYPES + STEPS), any_fields, st.integers(0, 5))


def encode_or_nothing(fields: dict[str, Value]) -> bytes:
    try:
        return encode({"fields": fields})
    except TypeError:
        return b""


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(any_draft, min_size=1, max_size=12))
def test_any_body_at_all_stops_nothing(
    tmp_path_factory: pytest.TempPathFactory, drafts: list[tuple[str, dict[str, Value], int]]
) -> None:
    book = Book()
    records = [book.record(0, "seizure", {})]
    for name, fields, officer in drafts:
        if len(encode_or_nothing(fields)) == 0:
            continue  # nested too deep to be written
        if name in TYPES:
            records.append(book.record(officer, name, fields))
        else:
            book.step(officer, records[-1], name, fields)
    ledger = ledger_with(book)
    projection = follow(tmp_path_factory.mktemp("any") / "search.db", ledger)
    check_against_fold(projection, ledger)
    look_at_everything(projection, ledger)


# -- counting -----------------------------------------------------------------------------------------


def seizure_of(book: Book, officer: int, *items: dict[str, Value], **fields: Value) -> EntryId:
    return book.record(officer, "seizure", {"seized_at": "2026-03-14T22:40:00+05:00", "items": list(items), **fields})


def one_total(projection: Projection, query: Query = Query(), by: str = "region") -> tuple[int, str]:  # noqa: B008
    """(how many, how many grams) of all totals together."""
    totals = projection.totals(by, query, now_ms=NOW_MS)
    grams = sum((total.mass_g for total in totals), Decimal(0))
    return sum(total.count for total in totals), f"{grams.normalize():f}"


def same(book: Book, officer: int, one: EntryId, other: EntryId, **more: Value) -> EntryId:
    return book.step(officer, one, "link", {"to": other.hex(), "relation": "same_event", **more})


def test_mass_is_exact_to_the_nanogram_and_does_not_overflow(tmp_path: Path) -> None:
    book = Book()
    masses = ["0.000000001", "0.1", "0.2", "123456789.123456789", "9999999999.999999999"]
    weighed: list[dict[str, Value]] = [{"amount": "1", "unit": "bag", "mass_g": mass} for mass in masses]
    for number in range(300):
        seizure_of(book, number % 3, *weighed)
    written = [("0.000001", "mg"), ("2.5", "kg"), ("3", "g"), ("7", "bag"), ("10000000000", "g")]
    for amount, unit in written:  # the last is more than is believed
        seizure_of(book, 0, {"amount": amount, "unit": unit})
    ledger = ledger_with(book)
    projection = follow(tmp_path / "search.db", ledger)
    expected = 300 * sum(map(Decimal, masses), Decimal(0)) + Decimal("0.000000001") + 2503
    assert one_total(projection) == (305, f"{expected:f}")
    [total] = projection.totals("region", Query(), now_ms=NOW_MS)
    assert total.other == {"bag": 7, "g": 10_000_000_000}


def test_only_the_substances_asked_for_are_added_up(tmp_path: Path) -> None:
    book = Book()
    items: list[dict[str, Value]] = [
        {"substance": "heroin", "amount": "2", "unit": "kg"}, {"substance": "opium", "amount": "5", "unit": "kg"}
    ]  # fmt: skip
    seizure_of(book, 0, *items)
    seizure_of(book, 0, items[1])
    projection = follow(tmp_path / "search.db", ledger_with(book))
    assert one_total(projection) == (2, "12000")
    assert one_total(projection, Query(substances=("heroin",))) == (1, "2000")
    assert one_total(projection, Query(substances=("heroin", "opium"))) == (2, "12000")


def test_joint_event_counts_once_when_both_agencies_said_so(tmp_path: Path) -> None:
    book = Book()
    heroin: dict[str, Value] = {"substance": "heroin", "amount": "2", "unit": "kg"}
    one = seizure_of(book, 0, heroin, counting_agency="scc")
    two = seizure_of(book, 1, heroin, counting_agency="scc")
    three = seizure_of(book, 2, heroin, counting_agency="scc")
    path = tmp_path / "search.db"

    def now() -> Projection:
        path.unlink(missing_ok=True)
        return follow(path, ledger_with(book))

    def pair(first: EntryId, second: EntryId) -> tuple[bytes, bytes]:
        return min(first, second), max(first, second)

    same(book, 0, one, two)
    same(book, 2, one, two)  # a third agency's word does not count
    assert now().same_events() == ([], [pair(one, two)])
    assert one_total(now()) == (3, "6000")
    theirs = same(book, 1, one, two)
    assert now().same_events() == ([frozenset({one, two})], [])
    assert one_total(now()) == (2, "4000")
    assert [total.key for total in now().totals("agency", Query(), now_ms=NOW_MS)] == ["scc"]
    same(book, 2, three, one)
    assert now().same_events()[1] == [pair(one, three)]
    same(book, 1, two, three)
    same(book, 2, two, three)
    assert now().same_events() == ([frozenset({one, two, three})], [])  # one and three are sure now, through two
    assert one_total(now()) == (1, "2000")
    book.step(1, two, "retract", {"reason": "written twice"})
    assert now().same_events() == ([frozenset({one, three})], [])  # it still connects the others
    assert one_total(now()) == (1, "2000")
    book.step(1, one, "link", {"to": two.hex(), "relation": "same_event", "remove": True}, [theirs])
    assert one_total(now()) == (2, "4000")  # taken back
    book.step(0, one, "retract", {"reason": "wrong"})
    assert one_total(now()) == (1, "2000")


def test_links_to_what_is_no_seizure_or_not_here_make_no_event(tmp_path: Path) -> None:
    book = Book()
    one, other = seizure_of(book, 0), book.record(0, "intel", {})
    for to in (one, other, EntryId(bytes(32)), book.entries[ROOTS["mia"].public][0].id):
        for officer in (0, 1, 2):
            same(book, officer, one, to)
            same(book, officer, other, to)
    projection = follow(tmp_path / "search.db", ledger_with(book))
    assert projection.same_events() == ([], [])
    assert one_total(projection)[0] == 1


def test_many_joint_events_are_grouped_in_linear_time(tmp_path: Path) -> None:
    book = Book()
    records = [seizure_of(book, number % 2) for number in range(3000)]
    for number in range(0, 3000, 2):
        same(book, 0, records[number], records[number + 1])
        same(book, 1, records[number], records[number + 1])
    for number in range(2, 1000, 2):  # one long chain
        same(book, 0, records[number], records[number - 2])
    projection = follow(tmp_path / "search.db", ledger_with(book))
    groups, possible = projection.same_events()
    assert sorted(map(len, groups)) == [2] * 1000 + [1000]
    assert possible == []
    assert one_total(projection)[0] == 1001


# -- finding ------------------------------------------------------------------------------------------


def test_step_is_told_once_though_its_words_are_exact_and_coarse(tmp_path: Path) -> None:
    book = Book()
    record = book.record(0, "intel", {"text": "other"})
    steps = [book.step(0, record, "comment", {"text": "word"}) for _ in range(3)]
    projection = follow(tmp_path / "search.db", ledger_with(book))
    [hit] = projection.find(Query('"word"', '"word"'), 10, now_ms=NOW_MS)
    assert sorted(hit.matched) == sorted(steps)


# -- cost ---------------------------------------------------------------------------------------------


def amendments(book: Book, record: EntryId, count: int) -> list[EntryId]:
    """A chain of amendments by three officers of two agencies, each of which saw the one before."""
    made = [record]
    for number in range(count):
        place = f"post {number % 97}"
        if number % 10 == 9:
            made.append(book.step(0, record, "tag", {"add": [place]}))
        else:
            refs = [known for known in made[-2:] if known != record]
            made.append(book.step(number % 2 * 3, record, "amend", {"set": {"place": place}}, refs))
    return made[1:]


def test_late_amendments_cost_no_more_than_early_ones(tmp_path: Path) -> None:
    book = Book()
    record = book.record(0, "seizure", {"place": "first"})
    for number in range(10):
        book.step(1, record, "amend", {"set": {"place": f"proposed {number}"}})
    chain = amendments(book, record, 10_000)
    ledger = ledger_with(book)
    creation, *operations = (operation(ledger, book.of[known]) for known in [record, *chain])
    document = Document.created(creation)
    spent = []
    for start in range(0, 10_000, 1000):
        begin = process_time()
        for op in operations[start : start + 1000]:
            document.apply(op)
        spent.append(process_time() - begin)
    assert spent[-1] < 3 * spent[0]

    fresh = ledger_with(Book())
    book_order = [(key, iter(range(0, len(log), 100))) for key, log in book.entries.items() if key not in ROOT_KEYS]
    projection = Projection(tmp_path / "search.db")
    spent, left = [0.0], True
    while left:
        left = False
        for key, starts in book_order:
            first = next(starts, None)
            if first is not None:
                left = True
                admit(fresh, book.part(key, first, min(len(book.entries[key]), first + 100)))
        begin = process_time()
        while projection.catch_up(fresh, 50):
            continue
        spent.append(process_time() - begin)
    assert sum(spent[-6:-1]) < 3 * sum(spent[2:7])
    found_ = projection.document(fresh, record)
    assert found_ is not None
    assert found_[1].to_bytes() == fold(operation(fresh, book.of[record]), [
        operation(fresh, item.entry) for item in fresh.arrived(0, 100_000)[0] if item.entry.kind == "step"
    ]).to_bytes()  # fmt: skip


ROOT_KEYS = {root.public for root in ROOTS.values()}


def test_flood_of_large_amendments_is_bounded(tmp_path: Path) -> None:
    book = Book()
    record = book.record(0, "intel", {"text": "sound"})
    for number in range(60):
        book.step(number % 2, record, "amend", {"set": {"text": f"{number}" + "y" * 250_000}})
    book.step(2, record, "tag", {"add": ["seen"]})
    ledger = ledger_with(Book())
    for key, log in book.entries.items():
        for seq in range(len(log) if key not in ROOT_KEYS else 0):
            admit(ledger, book.part(key, seq, seq + 1))
    projection = follow(tmp_path / "search.db", ledger, 7)
    found_ = projection.document(ledger, record)
    assert found_ is not None
    assert len(found_[1].to_bytes()) < 9_000_000
    assert list(found_[1].members(TAG)) == ["seen"]
    assert [hit.id for hit in projection.find(Query(statuses=("overfull",)), 5, now_ms=NOW_MS)] == [record]
    look_at_everything(projection, ledger)
