"""The report page: whole, escaped, in one language at a time."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from node.report import render_report

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
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

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
    assert set(page.tags).isdisjoint({"script", "link", "img", "iframe", "a", "object"})
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert '<html lang="en">' in text


def test_what_records_say_is_text() -> None:
    text = render_report(REPORT, same, "en")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 6
    assert "\u202e" not in text


def test_all_regions_are_on_the_map_with_their_counts() -> None:
    text = render_report(REPORT, same, "en")
    assert text.count('rx="4"') == 14
    assert "24.35 kg" in text
    assert "<title>Surxondaryo: 3 seizures, 24350 g</title>" in text
    assert "Karakalpakstan" not in text  # names come from the report


def test_figures_and_marks_are_shown() -> None:
    words = " ".join(Page(render_report(REPORT, same, "en")).words)
    for told in ("500 tablet", "1.23 t", "24.35 kg", "OVERDUE", "[conflict, disputed]", "1 of 5 records", "removed",
                 "imt-6 last heard 2026-", "imt-2 last heard never", "12 earlier months", "2 reports left out",
                 "1 pairs are possibly the same"):  # fmt: skip
        assert told in words, told


@pytest.mark.parametrize("report", [{}, {"records": [], "months": [], "regions": {}, "not_heard": []}])
def test_empty_report_says_that_nothing_is_known_here(report: dict[str, Any]) -> None:
    page = Page(render_report(report, same, "uz"))
    assert page.words.count("none known here") == 6
    assert page.tags.count("g") == 14


def test_every_fixed_word_is_translated() -> None:
    text = render_report(REPORT, lambda message: f"\u27e6{message}\u27e7" if message else "", "ru")
    outside = re.sub(r"\u27e6[^\u27e7]*\u27e7", "", " ".join(Page(text).words).replace(NASTY, ""))
    left = set(re.findall(r"[A-Za-z]{4,}", outside))
    assert left <= {"aaaaaaa", "bbbbbbb", "ccccccc", "heroin", "geroin", "tablet", "seizure", "place", "Surxondaryo",
                    "Toshkent", "shahri", "script", "alert"}  # fmt: skip
