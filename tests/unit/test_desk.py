"""What the desk answers, and how entries look: nothing is hidden, and nothing that is typed can break it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import AdmissionError, FormatError, UsageError
from ledger.folding import fold
from ledger.projection import Projection
from ledger.query import Query, parse_query
from ledger.store import Ledger, create
from node.desk import Desk
from protocol.acts import Certify, Unit, encode_act
from protocol.body import encode_record, encode_step
from protocol.codec import Value, encode
from protocol.entry import EntryId, Place
from sim.disk import MemoryStorage
from sim.founding import found, key_of, sign_run
from tests.ledgers import ids_of

NAME = "desk tests"
ROOT = key_of(NAME, "scc")
OFFICER = key_of(NAME, "officer")
NODE = key_of(NAME, "node")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk over certificates, records, a step, and entries that cannot be read."""
    ledger = create(MemoryStorage(), found(NAME))
    acts = [
        Certify(OFFICER.public, "officer", "Zulfiya Tosheva", "scc", "imt-4", ("officer",)),
        Certify(NODE.public, "node", "imt-4", "scc", "imt-4", ()),
        Unit("imt-4", "Mobile Team 4", ("UZ-SU",)),
    ]
    write(ledger, ROOT, [("act", encode_act(act)) for act in acts])
    ids = write(
        ledger,
        OFFICER,
        [
            ("record", encode_record("seizure", {"place": "Қашқадарё, Ғузор", "amount": "2.5", "plate": "01A777BC"})),
            ("record", encode_record("intel", {"narrative": "Sariosiyo posti orqali o‘tdi", "grade": "B2"})),
            ("record", b"\xc1 not a body"),
            ("something-new", encode({"a": 1})),
            ("record", encode({"type": "gadget", "fields": {"x": 1}, "from_a_newer_peer": True})),
        ],
    )
    write(ledger, OFFICER, [("step", encode_step(ids[0], "comment", {"text": "seen by nobody else"}))])
    projection = Projection(tmp_path_factory.mktemp("desk") / "search.db")
    while projection.catch_up(ledger, 3):
        continue
    made = Desk(ledger, projection, NODE.public)
    made.ids = ids  # type: ignore[attr-defined]
    made.book = ledger  # type: ignore[attr-defined]
    return made


def write(ledger: Ledger, signer: object, drafts: list[tuple[str, bytes]]) -> list[EntryId]:
    head = ledger.heads.get(signer.public)  # type: ignore[attr-defined]
    run = sign_run(ledger.charter, signer, Place(head.key, head.size, head.id), drafts, 1_767_225_600_000)  # type: ignore[arg-type]
    result = ledger.commit([(run,)])
    assert result.outcomes[0].refused is None
    ledger.apply(result)
    return ids_of(run)


def found_types(desk: Desk, words: str) -> list[str]:
    answer = desk.answer({"op": "find", "words": words})
    assert isinstance(answer, dict)
    hits = answer["hits"]
    assert isinstance(hits, list)
    return [str(hit["type"]) for hit in hits if isinstance(hit, dict)]


@pytest.mark.parametrize(
    ("words", "types"),
    [
        ("qashqadaryo", ["seizure"]),
        ("Қашқадарё", ["seizure"]),
        ("g'uzor", ["seizure"]),
        ("gʻuz", ["seizure"]),
        ("Сариосиё", ["intel"]),
        ("o'tdi", ["intel"]),
        ("sariosiyo b2", ["intel"]),
        ('"sariosiyo posti"', ["intel"]),
        ('"posti sariosiyo"', []),
        ("type:seiz 01A777BC", ["seizure"]),
        ("type:seizure", ["seizure"]),
        ("nobody unit:imt-4", ["seizure"]),
        ("nobody agency:mia", []),
        ("2.5", ["seizure"]),
        ("intel sario", ["intel"]),
        ("nothing", []),
    ],
)
def test_find(desk: Desk, words: str, types: list[str]) -> None:
    assert found_types(desk, words) == types


@given(st.text(max_size=60))
def test_nothing_that_is_typed_breaks_the_search(desk: Desk, words: str) -> None:
    try:
        answer = desk.answer({"op": "find", "words": words})
    except UsageError:
        assert not words.strip()
    else:
        assert isinstance(answer, dict)


@given(st.text(max_size=40))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("latin", "cyrillic"),
    [
        ("Toshkent shahri", "Тошкент шаҳри"), ("Farg‘ona viloyati", "Фарғона вилояти"), ("Jizzax", "Жиззах"),
        ("Qoraqalpog‘iston Respublikasi", "Қорақалпоғистон Республикаси"), ("Surxondaryo", "Сурхондарё"),
        ("Yangiyer", "Янгиер"), ("Xorazm viloyati", "Хоразм вилояти"), ("ko'knori", "кўкнори"),
    ],
)  # fmt: skip
def test_latin_and_cyrillic_uzbek_meet(latin: str, cyrillic: str) -> None:
    assert fold(latin) == fold(cyrillic)


def test_query_is_always_quoted() -> None:
    query = parse_query('a" OR NEAR(b c) -d* ^e:f', 0)
    assert query.exact.count('"') % 2 == 0
    assert query.exact.startswith('"a" AND "or" AND "near b" AND ')
    assert parse_query("   ", 0) == Query()


def test_show_gives_the_record_its_steps_and_its_author(desk: Desk) -> None:
    ids = desk.ids  # type: ignore[attr-defined]
    shown = desk.answer({"op": "show", "prefix": ids[0].hex()[:9]})
    assert isinstance(shown, dict)
    assert shown["author"] == {
        "key": OFFICER.public.hex(), "name": "Zulfiya Tosheva", "agency": "scc", "unit": "imt-4", "rank": "officer",
    }  # fmt: skip
    steps = shown["steps"]
    assert isinstance(steps, list)
    assert [step["fields"] for step in steps if isinstance(step, dict)] == [{"text": "seen by nobody else"}]
    assert ids[0].hex().startswith(str(shown["short"]))
    assert desk.answer({"op": "show", "prefix": "0" * 64}) is None


def test_what_cannot_be_read_is_shown_as_such(desk: Desk) -> None:
    ids = desk.ids  # type: ignore[attr-defined]

    def status(number: int) -> tuple[Value, Value]:
        shown = desk.answer({"op": "show", "prefix": ids[number].hex()})
        assert isinstance(shown, dict)
        return shown["status"], shown.get("note")

    assert status(2)[0] == "malformed"
    assert "kind that this program does not know" in str(status(3)[1])
    assert status(4)[0] == "ok"
    book: Ledger = desk.book  # type: ignore[attr-defined]
    counts = desk.ledger_status()
    assert (counts["records"], counts["malformed"], counts["entries"]) == (3, 1, book.entries)


def test_log_pages_through_everything_once(desk: Desk) -> None:
    seen, cursor = [], 0
    while True:
        page = desk.answer({"op": "log", "cursor": cursor, "limit": 2})
        assert isinstance(page, dict)
        entries = page["entries"]
        assert isinstance(entries, list)
        if not entries:
            break
        seen += [entry["id"] for entry in entries if isinstance(entry, dict)]
        assert isinstance(page["cursor"], int)
        cursor = page["cursor"]
    book: Ledger = desk.book  # type: ignore[attr-defined]
    assert len(seen) == len(set(seen)) == book.entries
    one = desk.answer({"op": "log", "key": "tosheva", "limit": 100})
    assert isinstance(one, dict)
    assert len(one["entries"]) == 6  # type: ignore[arg-type]


def test_who_shows_the_chain_to_the_charter(desk: Desk) -> None:
    chains = desk.answer({"op": "who", "name": "tosheva"})
    assert isinstance(chains, list)
    assert [[step["rank"] for step in chain] for chain in chains] == [["officer", "agency"]]  # type: ignore[index, union-attr, call-overload]


def test_prepare_tells_where_to_write_and_who_may(desk: Desk) -> None:
    prepared = desk.answer({"op": "prepare", "key": OFFICER.public})
    assert isinstance(prepared, dict)
    assert (prepared["seq"], prepared["name"]) == (6, "Zulfiya Tosheva")
    with pytest.raises(AdmissionError, match="no certificate"):
        desk.answer({"op": "prepare", "key": bytes(32)})
    with pytest.raises(AdmissionError, match="rank node"):
        desk.answer({"op": "prepare", "key": NODE.public})
    with pytest.raises(AdmissionError, match="rank officer"):
        desk.answer({"op": "prepare", "key": OFFICER.public, "kind": "act"})
    with pytest.raises(FormatError):
        desk.answer({"op": "prepare", "key": b"short"})


@pytest.mark.parametrize(
    "request_", [{"op": "nosuch"}, {"op": "show"}, {"op": "find", "words": ""}, {"op": "log", "limit": 10**9},
                 {"op": "log", "cursor": -1}, {"op": "log", "key": "nobody at all"}],
)  # fmt: skip
def test_wrong_requests_say_what_is_wrong(desk: Desk, request_: dict[str, Value]) -> None:
    with pytest.raises(UsageError):
        desk.answer(request_)


def test_ambiguous_prefix_lists_the_candidates(desk: Desk) -> None:
    book: Ledger = desk.book  # type: ignore[attr-defined]
    entries = book.arrived(0)[0]
    first = sorted(item.entry.id.hex()[0] for item in entries)
    shared = next((digit for digit in first if first.count(digit) > 1), None)
    assert shared is not None
    with pytest.raises(UsageError, match="several ids"):
        desk.answer({"op": "show", "prefix": shared})
