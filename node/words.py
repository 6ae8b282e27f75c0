"""The language of what an officer sees: English in the code, Uzbek (Latin) and Russian in `locale/`.

    from node.words import _
    say(_("none known here"))

Chosen by --lang, else by LC_ALL, LC_MESSAGES or LANG. Fields, codes, ids and JSON are the same in every language.
"""

import gettext
import json
import os
import re
from pathlib import Path
from typing import Final

LANGUAGES: Final = ("en", "uz", "ru")
_FOLDER: Final = Path(__file__).parent / "locale"


def noted(message: str) -> str:
    """The message as it is: marks words that are translated where they are shown."""
    return message


_ELSEWHERE: Final = (  # words that come as codes, or from argparse
    noted("undelivered"), noted("open"), noted("acknowledged"), noted("delayed"), noted("replied"), noted("refused"),
    noted("urgent"), noted("normal"), noted("routine"), noted("alert"), noted("update"), noted("cancel"),
    noted("actual"), noted("exercise"), noted("test"), noted("disputed"), noted("malformed"), noted("withheld"),
    noted("void"), noted("uncertified"), noted("passed"), noted("agency"),
    noted("proposed"), noted("substance"), noted("region"),
    noted("month"), noted("serial"), noted("kind"), noted("holder_unit"), noted("condition"),
    noted("next_service"), noted("officer"), noted("from"), noted("to"), noted("period"), noted("counts"),
    noted("issues"), noted("unit"), noted("ok"), noted("admin"), noted("node"),
    noted("usage: "), noted("positional arguments"), noted("options"), noted("show this help message and exit"),
    noted("show program's version number and exit"), noted("the following arguments are required: %s"),
    noted("unrecognized arguments: %s"), noted("argument %(argument_name)s: %(message)s"),
    noted("invalid choice: %(value)r (choose from %(choices)s)"), noted("expected one argument"),
    noted("expected at least one argument"), noted("not allowed with argument %s"),
    noted("one of the arguments %s is required"), noted("invalid %(type)s value: %(value)r"),
)  # fmt: skip


class _Chosen:
    """The language in use; read from the environment when it is first needed."""

    code: str | None = None
    catalogue: gettext.NullTranslations = gettext.NullTranslations()


def use(code: str | None = None) -> str:
    """Speak `code`, or what the environment asks for; returns what it is."""
    if code is None:
        names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
        code = next((name for name in names if name), "en")[:2].lower()
    _Chosen.code = code if code in LANGUAGES else "en"
    _Chosen.catalogue = gettext.NullTranslations()
    os.environ["LANGUAGE"] = _Chosen.code  # for argparse, which asks gettext itself
    gettext.bindtextdomain("hamkor", str(_FOLDER))
    gettext.textdomain("hamkor")
    if _Chosen.code != "en":
        _Chosen.catalogue = gettext.translation("hamkor", _FOLDER, languages=[_Chosen.code], fallback=True)
    return _Chosen.code


def language() -> str:
    """The language in use: en, uz or ru."""
    return _Chosen.code or use()


def told_error(message: str) -> str:
    """An error's message in the language in use: it is matched with the templates that errors are raised with."""
    if language() == "en":
        return message
    templates: list[str] = json.loads((_FOLDER / "errors.json").read_text(encoding="utf-8"))
    for template in sorted(templates, key=len, reverse=True):
        parts = re.split(r"\{\d\}", template)
        found = re.fullmatch("(.*?)".join(map(re.escape, parts)), message, re.DOTALL)
        if found is not None:
            groups = [_(group) for group in found.groups()]
            pieces = re.split(r"\{(\d)\}", _(template))  # text, number, text, number, ... text
            return "".join(groups[int(piece)] if at % 2 else piece for at, piece in enumerate(pieces))
    return _(message)


def _(message: str) -> str:
    """The message in the language in use."""
    if _Chosen.code is None:
        use()
    if not message:
        return ""  # gettext would give the catalogue's header
    return _Chosen.catalogue.gettext(message)
