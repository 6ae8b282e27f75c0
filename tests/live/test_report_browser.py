"""The report in a real browser: it renders, the map has colours, and it prints."""

import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from pathlib import Path

import pytest

from node.report import render_report
from node.report_map import _FILLS, MAP_REGIONS
from tests.unit.test_report import REPORT

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome is on PATH"),
]
WIDTH, HEIGHT, MAP_ROWS = 1200, 2400, 1200  # pixels; the map is within the first MAP_ROWS
MASSES = dict(zip(MAP_REGIONS, ("0", "90", "400", "1800", "9000", "45000", *["300"] * 8), strict=True))  # all steps


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    regions = {code: {"name": code, "count": 2, "mass_g": mass} for code, mass in MASSES.items()}
    rows = [row | {"short": f"{at:07}", "summary": "12.4 kg"} for at, row in enumerate(REPORT["records"] * 60)]
    report = REPORT | {"regions": regions, "records": rows, "records_total": 60}
    path.write_text(render_report(report, lambda message: message, "en"), encoding="utf-8")
    return path


def browse(page: Path, *options: str) -> str:
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent}/profile"]
    done = subprocess.run([*command, *options, page.as_uri()], capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


def test_page_is_drawn_with_a_map_of_all_steps(page: Path) -> None:
    picture = page.with_suffix(".png")
    browse(page, f"--screenshot={picture}", f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars")
    width, height, rows = pixels(picture.read_bytes(), MAP_ROWS)
    assert (width, height) == (WIDTH, HEIGHT)
    colours = Counter(row[at : at + 3] for row in rows for at in range(0, len(row), 3))
    assert colours[b"\xff\xff\xff"] < 0.97 * WIDTH * MAP_ROWS  # not blank
    for fill in _FILLS:
        assert colours[bytes.fromhex(fill[1:])] > 300, fill  # an area, not a letter's edge


def test_page_holds_its_headings_and_runs_no_script(page: Path) -> None:
    text = browse(page, "--dump-dom")
    for heading in ("Seizures by region", "Seizures by month", "Substances", "Agencies", "Open conflicts",
                    "Unanswered requests", "Records"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in text
    assert "<script" not in text
    assert text.count("<polygon") == 13  # the city is a circle


def test_page_prints_on_several_sheets(page: Path) -> None:
    paper = page.with_suffix(".pdf")
    browse(page, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    raw = paper.read_bytes()
    assert raw.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", raw)) >= 3  # the map; tables; records, which begin a sheet


def pixels(raw: bytes, rows_max: int) -> tuple[int, int, list[bytes]]:
    """(width, height, the first rows of RGB) of a PNG of 8 bits without interlacing."""
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, width, height, depth = 8, b"", 0, 0, 3
    while at < len(raw):
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        content = raw[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, bits, colour = struct.unpack(">IIBB", content[:10])
            assert (bits, colour in (2, 6)) == (8, True)
            depth = 3 if colour == 2 else 4
        elif kind == b"IDAT":
            packed += content
        at += 12 + size
    flat, rows, before = zlib.decompress(packed), [], bytes(width * depth)
    for number in range(min(height, rows_max)):
        start = number * (width * depth + 1)
        before = unfiltered(flat[start], bytearray(flat[start + 1 : start + 1 + width * depth]), before, depth)
        rows.append(before if depth == 3 else bytes(b for at in range(0, len(before), 4) for b in before[at : at + 3]))
    return width, height, rows


def unfiltered(kind: int, row: bytearray, above: bytes, depth: int) -> bytes:
    """One row of a PNG with its filter undone (RFC 2083, 6)."""
    if kind == 0:
        return bytes(row)
    for at in range(len(row)):
        left = row[at - depth] if at >= depth else 0
        corner = above[at - depth] if at >= depth else 0
        guess = (left, above[at], (left + above[at]) // 2, paeth(left, above[at], corner))[kind - 1]
        row[at] = (row[at] + guess) & 255
    return bytes(row)


def paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: (abs(guess - value), (left, above, corner).index(value)))
