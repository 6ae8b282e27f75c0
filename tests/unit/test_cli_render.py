"""What is printed: nothing that others wrote can steer the terminal, and programs get whole values."""

import io
import json
import sys

import pytest

from node.render import entry_line, entry_page, print_json, safe, say, table
from protocol.codec import Value

NASTY = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnorw\u200b\ttab"
AUTHOR: dict[str, Value] = {"key": "ab" * 32, "name": "Z. Tosheva", "agency": "scc", "unit": "imt-4", "rank": "officer"}


def entry(**more: Value) -> dict[str, Value]:
    """A record as a node shows it."""
    return {
        "id": "3fa9c1d" + "0" * 57, "short": "3fa9c1d", "kind": "record", "type": "seizure", "seq": 4,
        "time_ms": 1_770_000_000_000, "author": dict(AUTHOR), "refs": [], "status": "ok", "fields": {}, "steps": [],
        **more,
    }  # fmt: skip


class Terminal(io.StringIO):
    """Somewhere that a person looks."""

    def isatty(self) -> bool:
        return True


def look(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """From now on, standard output is a terminal."""
    found = Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", found)
    return found


def test_json_is_one_line_that_reads_back_whole(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"b": NASTY, "a": b"\x01\xff", "c": ["Қашқадарё", None, 2**63]}
    print_json(value)
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert json.loads(text) == {**value, "a": "01ff"}
    assert "Қашқадарё" in text
    assert all(letter.isprintable() for letter in text.rstrip("\n"))


def test_json_has_its_keys_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"b": 1, "a": {"d": 1, "c": 2}})
    assert capsys.readouterr().out == '{"a": {"c": 2, "d": 1}, "b": 1}\n'


def test_json_on_a_narrow_encoding_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="koi8-r") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print_json({"place": "Қашқадарё \U0001f600"})
        assert json.loads(raw.getvalue()) == {"place": "Қашқадарё \U0001f600"}
        monkeypatch.undo()


@pytest.mark.parametrize("where", ["type", "note", "status", "name", "field name", "value", "step"])
def test_what_others_wrote_cannot_steer_the_terminal(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look(monkeypatch)
    shown = entry()
    match where:
        case "name":
            shown["author"] = AUTHOR | {"name": NASTY, "unit": NASTY, "agency": NASTY}
        case "field name":
            shown["fields"] = {NASTY: "x"}
        case "value":
            shown["fields"] = {"items": [{"substance": NASTY}]}
        case "step":
            shown["steps"] = [entry(fields={"answer": NASTY})]
        case _:
            shown[where] = NASTY
    entry_page(shown)
    entry_line(shown)
    table((where,), [(NASTY,)])
    text = terminal.getvalue()
    assert "\ufffd" in text
    for ours in ("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"):
        text = text.replace(ours, "")
    assert all(letter.isprintable() for line in text.split("\n") for letter in line)


def test_text_in_lines_cannot_pass_for_lines_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    entry_page(entry(fields={"narrative": "first\n  by the Minister"}))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("  by")] == ["  by Z. Tosheva (scc, imt-4)"]
    entry_line(entry(fields={"narrative": "first\nsecond"}))
    table(("a", "b"), [("x\ny", 1)])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look(monkeypatch)
    entry_line(entry(status="disputed"))
    assert "\x1b[31m [disputed]\x1b[0m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.truncate(0)
    entry_line(entry(status="disputed"))
    assert "\x1b" not in terminal.getvalue()
    monkeypatch.delenv("NO_COLOR")
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    entry_line(entry(status="disputed"))
    assert "\x1b" not in pipe.getvalue()
    assert "[disputed]" in pipe.getvalue()


def test_uncertified_author_is_named_by_key(capsys: pytest.CaptureFixture[str]) -> None:
    nobody: dict[str, Value] = {"key": "cd" * 32, "name": "", "agency": "", "unit": "", "rank": "uncertified"}
    entry_line(entry(author=nobody))
    entry_page(entry(author=nobody))
    text = capsys.readouterr().out
    assert "uncertified/cdcdcd" in text
    assert "cd" * 32 in text


def test_table_sets_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    table(("node", "n"), [("oct", 5), ("imt-1", 120)])
    assert capsys.readouterr().out == "node     n\noct      5\nimt-1  120\n"
    table(("node", "n"), [])
    assert capsys.readouterr().out == "node  n\n"


def test_safe_keeps_letters_of_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert safe("Farg‘ona Фарғона 塔什干 🚗") == "Farg‘ona Фарғона 塔什干 🚗"
    say("a\x00b")
    assert capsys.readouterr().out == "a\ufffdb\n"
