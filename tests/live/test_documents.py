"""Records in the search file: whatever the order of arrival, they are what folding the ledger's entries gives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from keys.signing import SigningKey
from ledger.document import changes, fold
from ledger.lmdb_store import open_lmdb
from ledger.projection import Projection
from ledger.query import Query
from ledger.search import operation
from ledger.storage import Storage
from ledger.store import Ledger, create
from protocol.acts import Certify, encode_act
from protocol.body import encode_record, encode_step, parse_step
from protocol.codec import Value
from protocol.entry import Entry, EntryId, Place, open_row
from protocol.frame import Run
from protocol.frame import sign_run as sign_drafts
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


def dump(projection: Projection) -> dict[str, list[object]]:
    """Every row of the index, but for the cursor's neighbours that say how it came to be."""
    with projection.connection() as db:
        return {
            table: sorted(map(repr, db.execute(f"SELECT * FROM {table}")))
            for table in ("entries", "docs", "items", "links", "spots", "ops", "waiting", "authors", "state")
        }


def check_against_fold(projection: Projection, ledger: Ledger) -> None:
    """Every record is what `fold` makes of the entries in the ledger, and the same steps wait."""
    arrived, _ = ledger.arrived(0, 100_000)
    counting = [item.entry for item in arrived if not item.disputed]
    here = {item.entry.id for item in arrived}
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
        held = here - {one.id for one in operations}
        document, waiting = fold(operation(ledger, records[record]), operations, held)
        found = projection.document(ledger, record)
        assert found is not None
        assert found[1].to_bytes() == document.to_bytes()
        assert {step for step, _ in projection.waiting_on(record)} == {one.id for one in waiting}


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
            document, _ = fold(operation(EMPTY_CERTIFIED, book.of[record]), ops, book.of.keys() - set(seen))
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
    return found_


def deliver(
    rng: Random, book: Book, ledger: Ledger, beside: list[Fork], caught_up: Callable[[Ledger], object]
) -> None:
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
