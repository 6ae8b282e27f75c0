"""The report page: whole, escaped, in one language at a time; the map on it."""

import json
import re
from collections import Counter
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from node.report import render_report
from node.report_map import _LINES, _OUTLINES, MAP_REGIONS, bounds_of, step_of
from tests.catalogues import extracted

NASTY = "<script>alert('x')</script>\u202e & \"q\""
REPORT: dict[str, Any] = {
    "query": NASTY, "made_ms": 1_773_500_000_000, "network": "test", "node": "imt-4", "entries": 311,
    "not_heard": [{"name": "imt-6", "heard_ms": 1_773_400_000_000}, {"name": "imt-2", "heard_ms": None}],
    "records": [
        {"id": "a" * 64, "short": "aaaaaaa", "type": "seizure", "time": "2026-03-14T22:40:00+05:00", "time_ms": 1,
         "region": "UZ-SU", "place": NASTY, "agency": "scc", "unit": "imt-4", "author": "Z", "summary": NASTY,
         "status": "disputed", "conflicts": 2},
    ],
    "records_total": 5,
    "regions": {"UZ-SU": {"name": "Surxondaryo", "count": 3, "mass_g": "24350"}, "UZ-TK": {"name": "Toshkent shahri"}},
    "substances": [
        {"substance": "heroin", "name": "geroin", "count": 3, "mass_g": "24350.5", "other": {"tablet": "500"}},
    ],
    "months": [{"month": f"20{year}-{month:02d}", "count": month, "mass_g": "1"} for year in (22, 23, 24, 25)
               for month in range(1, 13)],
    "agencies": [{"agency": "scc", "count": 3, "mass_g": "1234567"}],
    "double": {"same": 2, "possibly": 1},
    "conflicts": [{"short": "bbbbbbb", "type": "seizure", "field": "place", "values": [
        {"value": NASTY, "who": "Z", "time_ms": 1}, {"value": None, "who": "Y", "time_ms": 2}]}],
    "requests": [{"short": "ccccccc", "question": NASTY, "from": "oct", "to": ["imt-1"], "urgency": "urgent",
                  "due_ms": 1_773_500_000_000, "state": "overdue"}],
}  # fmt: skip


class Page(HTMLParser):
    """Reads a page; fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.told: list[str] = []  # attributes that a person hears or sees
        self.ids: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("href", "src", "xlink:href", "action") for name, _ in attrs)
        self.told += [value or "" for name, value in attrs if name in ("title", "aria-label")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.words.append(data.strip())


def same(text: str) -> str:
    return text


def test_page_is_well_formed_needs_nothing_and_runs_nothing() -> None:
    text = render_report(REPORT, same, "en")
    page = Page(text)
    assert set(page.tags).isdisjoint({"script", "link", "img", "iframe", "a", "object", "use", "image"})
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"" in text
    assert '<html lang="en">' in text


def test_what_records_say_is_text() -> None:
    text = render_report(REPORT, same, "en")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 6
    assert "\u202e" not in text


def poisoned(value: Any, name: str = "") -> Any:
    """The report with a nasty text wherever a text may stand."""
    if isinstance(value, dict):
        return {key: poisoned(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return NASTY if isinstance(value, str) or value is None else value


def test_no_text_of_the_report_becomes_html_wherever_it_stands() -> None:
    text = render_report(poisoned(REPORT), same, NASTY)
    page = Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert "\u202e" not in text.split("<head>")[1]


def test_all_regions_are_on_the_map_with_their_counts() -> None:
    regions = {code: {"name": f"name {code}", "count": 100 + at, "mass_g": str(at * 1000)}
               for at, code in enumerate(MAP_REGIONS)}  # fmt: skip
    page = Page(render_report(REPORT | {"regions": regions}, same, "en"))
    assert len(MAP_REGIONS) == 14
    assert sorted(page.ids) == sorted(MAP_REGIONS)
    for at, code in enumerate(MAP_REGIONS):
        assert page.words.count(str(100 + at)) == 1
        exact = f"{at * 1000} g"
        title = f"name {code}: {100 + at} seizures, {f'{at} kg' if at else exact} ({exact})"
        assert title in page.words  # for the pointer
        assert title in page.told  # for a reader of screens


def test_map_says_the_word_for_a_region_once_and_tells_the_city_from_the_region() -> None:
    names = {"UZ-QR": "Республика Каракалпакстан", "UZ-TK": "город Ташкент", "UZ-TO": "Ташкентская область",
             "UZ-SU": "Surxondaryo viloyati"}  # fmt: skip
    words = Page(render_report({"regions": {code: {"name": name} for code, name in names.items()}}, same, "ru")).words
    for shown in ("Каракалпакстан", "город Ташкент", "Ташкентская область", "Surxondaryo"):
        assert words.count(shown) == 1, shown


def test_outlines_share_their_borders_and_leave_no_gap() -> None:
    edges = Counter(
        frozenset((points[at - 1], points[at])) for points in _OUTLINES.values() for at in range(len(points))
    )
    assert set(edges.values()) == {1, 2}
    within = {frozenset(pair) for name, line in _LINES.items() if name[3:].isupper() for pair in pairwise(line)}
    assert {edge for edge, times in edges.items() if times == 2} == within
    assert all(8 <= len(points) <= 26 for points in _OUTLINES.values())


@pytest.mark.parametrize(
    ("most", "bounds"),
    [("24350", "100 500 2000 10000 50000"), ("10", "0.02 0.1 0.5 2 10"), ("1", "0.002 0.01 0.05 0.2 1"),
     ("1200000", "5000 20000 100000 500000 2000000"), ("0.3", "0.001 0.005 0.02 0.1 0.5")],
)  # fmt: skip
def test_steps_of_mass_are_round_and_hold_the_largest(most: str, bounds: str) -> None:
    found = bounds_of(Decimal(most))
    assert found == tuple(map(Decimal, bounds.split()))
    assert step_of(Decimal(most), found) == 5
    assert [step_of(bound, found) for bound in found] == [1, 2, 3, 4, 5]
    assert step_of(Decimal(0), found) == 0


def test_no_mass_at_all_has_no_steps() -> None:
    assert bounds_of(Decimal(0)) == ()
    assert "up to" not in render_report({}, same, "en")


def test_figures_and_marks_are_shown() -> None:
    words = " ".join(Page(render_report(REPORT, same, "en")).words)
    expected = (
        "500 tablet", "1.23 t", "24.35 kg", "OVERDUE", "[conflict, disputed]", "1 of 5 records", "removed",
        "imt-6 last heard 2026-", "imt-2 last heard never", "12 earlier months", "2 reports left out",
        "1 pairs are possibly the same", "Unanswered requests; OVERDUE: 1", "A joint seizure counts once",
    )  # fmt: skip
    assert [told for told in expected if told not in words] == []


@pytest.mark.parametrize(
    ("grams", "told"),
    [("0", "0 g"), ("0.000001", "0.000001 g"), ("999.9", "999.9 g"), ("24350.5", "24.35 kg"), ("1200000", "1.2 t"),
     ("100", "100 g"), ("9007199254740993", "0 g"), ("123456789012345.678901234", "123456789.01 t"),
     ("-5", "-5 g"), ("NaN", "0 g"), ("1E+999999", "0 g"), ("1E-999999", "0 g"), ("no mass", "0 g")],
)  # fmt: skip
def test_masses_are_told_for_people_and_exactly(grams: str, told: str) -> None:
    text = render_report({"agencies": [{"agency": "scc", "count": 1, "mass_g": grams}]}, same, "en")
    exact = f"{Decimal(grams).normalize():f} g" if told != "0 g" else "0 g"
    assert f'<td class="n"><span title="{exact}">{told}</span></td>' in text


def test_records_stand_by_the_moment_and_not_by_its_spelling() -> None:
    times = {"b": "2026-03-14T22:40:00+05:00", "a": "2026-03-14T20:40:00Z", "c": "2026-03-14T23:00:00+06:00"}
    rows = [{"short": short, "time": time, "time_ms": 1} for short, time in times.items()]
    rows += [{"short": "d", "time": "", "time_ms": 1_700_000_000_000}, {"short": "e", "time": "spring", "time_ms": 5}]
    text = render_report({"records": rows}, same, "en")
    assert re.findall(r"<code[^>]*>(\w)</code>", text) == ["a", "b", "c", "d", "e"]
    assert ">spring<" in text  # what cannot be read stays as it was written


def test_overdue_requests_come_first_and_say_so_in_a_word() -> None:
    rows = [{"short": "a", "state": "open", "due_ms": None}, {"short": "b", "state": "open", "due_ms": 5},
            {"short": "c", "state": "overdue", "due_ms": 9}]  # fmt: skip
    text = render_report({"requests": rows}, same, "en")
    assert re.findall(r"<code[^>]*>(\w)</code>", text) == ["c", "b", "a"]
    assert text.count("OVERDUE</span>") == 1


def test_quiet_months_are_drawn_and_a_wrong_year_pushes_none_away() -> None:
    months = [{"month": month, "count": 1, "mass_g": "1"} for month in ("2026-01", "2026-03", "9999-12", "", "2026-13")]
    page = Page(render_report({"months": months}, same, "en"))
    bars = [told for told in page.told if re.match(r"[0-9]{4}-[0-9]{2}:", told)]
    assert [told[:10] for told in bars] == ["2026-01: 1", "2026-02: 0", "2026-03: 1", "9999-12: 1"]
    assert page.words.count("…") == 1
    assert "Seizures of no known month: 2." in " ".join(page.words)


def test_seizures_outside_the_map_are_told() -> None:
    report = {"regions": {"UZ-SU": {"count": 3}}, "agencies": [{"agency": "scc", "count": 5, "mass_g": "1"}]}
    assert "Seizures in no region of this map: 2." in render_report(report, same, "en")


@pytest.mark.parametrize("report", [{}, {"records": [], "months": [], "regions": {}, "not_heard": []}])
def test_empty_report_says_that_nothing_is_known_here(report: dict[str, Any]) -> None:
    page = Page(render_report(report, same, "uz"))
    assert page.words.count("none known here") == 6
    assert sorted(page.ids) == sorted(MAP_REGIONS)
    assert "div" not in page.tags  # no warning: every node is heard


def test_absence_names_the_nodes_that_may_know_more() -> None:
    missing = [{"name": f"imt-{number}", "heard_ms": None} for number in range(1, 6)]
    page = Page(render_report({"not_heard": missing}, same, "en"))
    told = "none known here; imt-1 last heard never; imt-2 last heard never; imt-3 last heard never; …"
    assert page.words.count(told) == 6
    assert page.tags.count("li") == 5 + 5  # all of them in the warning, beside the five sums


@pytest.mark.parametrize("time_ms", [0, -1, -(2**63), 2**63, 253_402_300_799_000, True, "now", None])
def test_no_time_breaks_the_page(time_ms: object) -> None:
    row = {"time": "0001-01-01T00:00:00+14:00", "time_ms": time_ms}
    report = {
        "made_ms": time_ms, "not_heard": [{"name": "a", "heard_ms": time_ms}], "records": [row, row | {"time": ""}],
        "requests": [{"due_ms": time_ms}], "conflicts": [{"values": [{"value": 1, "time_ms": time_ms}]}],
    }  # fmt: skip
    Page(render_report(report, same, "en"))


def letters_only_in_brackets(text: str) -> set[str]:
    page = Page(text)
    outside = (re.sub(r"\u27e6[^\u27e7]*\u27e7", " ", told) for told in page.words + page.told)
    return {word for told in outside for word in re.findall(r"[A-Za-z]+", told)}


@pytest.mark.parametrize("empty", [False, True])
def test_every_fixed_word_is_translated(empty: bool) -> None:
    def cyrillic(value: Any) -> Any:
        """The report without a Latin letter of its own, but for codes."""
        if isinstance(value, dict):
            return {key: item if key in ("state", "urgency", "status", "time") else cyrillic(item)
                    for key, item in value.items()}  # fmt: skip
        if isinstance(value, list):
            return [cyrillic(item) for item in value]
        return "ж" if isinstance(value, str) and re.search("[A-Za-z]", value) else value

    report = {} if empty else cyrillic(REPORT)
    report["regions"] = {code: {"name": "ж", "count": 1, "mass_g": "10"} for code in MAP_REGIONS}
    text = render_report(report, lambda message: f"\u27e6{message}\u27e7", "ru")
    assert letters_only_in_brackets(text) <= {"id"}
    assert "\u27e6\u27e7" not in text  # an empty message would be answered with the catalogue's header


def test_every_fixed_word_is_found_by_the_extraction() -> None:
    asked: set[str] = set()

    def translate(message: str) -> str:
        asked.add(message)
        return message

    render_report(json.loads(json.dumps(REPORT)), translate, "ru")
    render_report({}, translate, "ru")
    known = {message.id for message in extracted()}
    assert len(asked) > 50
    assert asked <= known
