"""Languages: everything that an officer sees is there in Uzbek and Russian, and the compiled files are fresh."""

import io
import json
import re
from pathlib import Path

import pytest
from babel.messages.mofile import read_mo

from node.cli import main
from node.words import _, language, told_error, use
from tests.catalogues import ERRORS, FOLDER, LANGUAGES, error_templates, faults, translated


@pytest.fixture(autouse=True)
def english_again(monkeypatch: pytest.MonkeyPatch) -> "object":
    monkeypatch.setenv("LANGUAGE", "")
    yield
    use("en")


@pytest.mark.parametrize("code", LANGUAGES)
def test_everything_is_translated_with_the_same_placeholders(code: str) -> None:
    assert faults(code) == []


@pytest.mark.parametrize("code", LANGUAGES)
def test_compiled_catalogue_is_that_of_the_text(code: str) -> None:
    compiled = read_mo(io.BytesIO((FOLDER / code / "LC_MESSAGES" / "hamkor.mo").read_bytes()))
    text = translated(code)
    assert {m.id: m.string for m in compiled if m.id} == {m.id: m.string for m in text if m.id and m.string}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "uz_UZ.UTF-8"}, "uz"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "ru_RU"}, "ru"),
        ({"LANG": "fr_FR"}, "en"),
    ],
)
def test_language_is_that_of_the_environment(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert use() == language() == expected


def test_errors_that_officers_see_are_those_of_the_code() -> None:
    assert json.loads(ERRORS.read_text("utf-8")) == error_templates()
    assert len(error_templates()) > 100


@pytest.mark.parametrize("code", LANGUAGES)
def test_each_error_is_told_in_the_language_with_what_belongs_in_it(code: str) -> None:
    use(code)
    for template in error_templates():
        values = [f"value{number}" for number in range(9)]
        filled = re.sub(r"\{(\d)\}", lambda number: values[int(number[1])], template)  # noqa: B023
        told = told_error(filled)
        assert told != filled or template == "{0}: {1}", template
        assert all(value in told for value in values if value in filled), told


def test_nothing_stays_nothing() -> None:
    use("ru")
    assert _("") == ""
    assert _("none known here") == "здесь не известно"


@pytest.mark.parametrize(
    ("code", "told"), [("ru", "найти записи"), ("uz", "yozuvlarni topish"), ("en", "find records")]
)
def test_help_speaks_the_language(code: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", code, "--help"]) == 0
    assert told in capsys.readouterr().out


def test_problems_are_told_in_the_language(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--lang", "ru", "types", "seizure"]) == 0
    shown = capsys.readouterr().out
    assert "изъятые наркотики" in shown
    assert "seized_at*" in shown  # fields and codes are the same in every language
