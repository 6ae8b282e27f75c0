"""What an officer types or hands in as JSON, and the fields that it becomes."""

import argparse
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import FormatError, HamkorError, UsageError
from keys.keyfile import KdfCost, KeyOwner, create_key_file
from keys.signing import SigningKey
from node.cli import build_parser, main
from node.commands.fields import given_fields, parse_fields
from protocol.body import encode_record, parse_record
from protocol.codec import Value


def read(
    words: list[str], file: str | None = None, *, empty: bool = False, monkeypatch: pytest.MonkeyPatch | None = None,
    stdin: str = "",
) -> list[dict[str, Value]]:  # fmt: skip
    """The fields of each record that `hamkor add` would write."""
    if monkeypatch is not None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    args = argparse.Namespace(fields=words, file=file)
    found = given_fields(args, empty=empty)
    return [parse_record(encode_record("seizure", fields)).fields for _where, fields in found]


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["region=UZ-SU"], {"region": "UZ-SU"}),
        (["amount=2.50"], {"amount": "2.50"}),
        (["note="], {"note": ""}),
        (["url=http://x?a=b"], {"url": "http://x?a=b"}),
        (["a.b.c=x", "a.b.d=y"], {"a": {"b": {"c": "x", "d": "y"}}}),
        (["items[]=a", "items[]=b"], {"items": ["a", "b"]}),
        (["items[0].substance=heroin", "items[0].amount=2", "items[1].form=powder"],
         {"items": [{"substance": "heroin", "amount": "2"}, {"form": "powder"}]}),
        (["n:=12"], {"n": 12}),
        (["n:=-3", "ok:=true", "none:=null"], {"n": -3, "ok": True, "none": None}),
        (['to:=["oct", "imt-4"]'], {"to": ["oct", "imt-4"]}),
        (['a:={"b": {"c": 1}}'], {"a": {"b": {"c": 1}}}),
        (["place=Қашқадарё"], {"place": "Қашқадарё"}),
    ],
)  # fmt: skip
def test_words_become_fields(words: list[str], fields: dict[str, Value]) -> None:
    assert parse_fields(words) == fields


@pytest.mark.parametrize("written", ["2.5", "2.50", "-0.001", "1e3", "1E400", "41.3111111111111111111"])
def test_fraction_in_json_is_kept_as_the_text_that_was_written(written: str) -> None:
    assert parse_fields([f"amount:={written}"]) == {"amount": written}


@pytest.mark.parametrize(
    "words",
    [
        ["region"], ["=x"], [":=1"], ["a..b=x"], [".a=x"], ["a.=x"], ["[0]=x"], ["a[x]=1"], ["a[0=1"], ["a]=1"],
        ["a=1", "a=2"], ["a=1", "a.b=2"], ["a.b=1", "a[0]=2"], ["a[1]=x"], ["a[0]=x", "a[0]=y"], ["a:=x"], ["a:="],
        ["a:=NaN"], ["a:=Infinity"], ['a:={"b":1,"b":2}'], ["a:=" + "9" * 25], ["a:=" + "[" * 5000],
        ["a[99999999999]=x"],
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_misuse(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_fields(words)


@given(st.lists(st.text(alphabet="ab.[]0:={\"}' ", max_size=12), max_size=4))
def test_any_words_give_fields_or_misuse(words: list[str]) -> None:
    try:
        fields = read(words, empty=True)
    except UsageError:
        return
    assert len(fields) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), JSON, max_size=4))
def test_fields_given_as_json_come_back(fields: dict[str, Value]) -> None:
    assert parse_fields([f"{name}:={json.dumps(value)}" for name, value in fields.items()]) == fields


# -- files --------------------------------------------------------------------------------------------


def test_json_lines_are_one_record_each(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"place": "Denov"}\n\n{"place": "Termiz\u2028bozori", "amount": 2.50}\n', encoding="utf-8")
    assert read([], str(path)) == [{"place": "Denov"}, {"place": "Termiz\u2028bozori", "amount": "2.50"}]


def test_one_object_may_stand_over_many_lines(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{\n  "place": "Denov",\n  "items": [\n    {"form": "powder"}\n  ]\n}\n')
    assert read([], str(path)) == [{"place": "Denov", "items": [{"form": "powder"}]}]


def test_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(["-"], monkeypatch=monkeypatch, stdin='{"a": 1}\n{"a": 2}') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"a": 1}\n{"a": }\n', "line 2"),
        ('{\n"a": 1,\n"b" 2\n}', "line 3"),
        ('{"a": 1}\n{"a": NaN}\n', "line 2"),
        ('{"a": 1}\n{"a": 1, "a": 2}\n', "line 2"),
        ('{"a": 1}\n[1]\n', "JSON object"),
    ],
)
def test_fault_in_a_file_is_named_by_its_place(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(FormatError, match=where):
        read([], str(path))


@pytest.mark.parametrize("value", ['"\\ud800"', "[" * 30 + "]" * 30, '"' + "x" * 300_000 + '"', "true", '""'])
def test_entry_that_cannot_be_written_is_named_and_nothing_is(
    tmp_path: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "officer.key"
    signer = SigningKey.from_seed(bytes(32))
    create_key_file(key, signer, b"", KeyOwner(signer.public, "officer", "O", "scc", "imt-4"), cost=KdfCost(1, 8192))
    path = tmp_path / "records.jsonl"
    path.write_text('{"title": "fine"}\n{"title": "x", "narrative": ' + value + "}\n")
    assert main(["add", "case", "--file", str(path), "--key", str(key)]) in (2, 11)
    told = capsys.readouterr()
    assert "entry 2" in told.err
    assert "nothing was written" in told.err
    assert not told.out


def test_file_that_is_not_utf8_or_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FormatError, match="UTF-8"):
        read([], str(path))
    with pytest.raises(HamkorError, match="cannot be read"):
        read([], str(tmp_path / "none"))


def test_no_fields_are_misuse_for_a_record_and_fine_for_a_step(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no fields"):
        read([])
    assert read([], empty=True) == [{}]
    path = tmp_path / "empty"
    path.write_text("\n")
    with pytest.raises(UsageError, match="holds no fields"):
        read([], str(path))


def test_fields_from_two_sources_are_misuse(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        read(["a=1"], str(tmp_path / "file"))


def test_type_that_is_no_lower_case_word_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "Seizure", "a=1", "--key", "none.key"]) == 2
    assert capsys.readouterr().err.startswith("hamkor: there is no type 'Seizure'; the types are: alert, ")


def test_options_may_stand_among_the_fields() -> None:
    from node.cli import _parse

    args = _parse(["add", "seizure", "--key", "k", "a=1", "--json", "b=2"])
    assert (args.fields, args.key, args.json) == (["a=1", "b=2"], Path("k"), True)
    args = _parse(["certify", "a.card", "--key", "k", "b.card"])
    assert args.cards == [Path("a.card"), Path("b.card")]
    assert build_parser().parse_args(["find", "a", "b"]).words == ["a", "b"]
