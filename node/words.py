"""The language of what an officer sees: English in the code, Uzbek (Latin) and Russian in `locale/`.

    from node.words import _
    say(_("none known here"))

Chosen by --lang, else by LC_ALL, LC_MESSAGES or LANG. Fields, codes, ids and JSON are the same in every language.
"""

import gettext
import os
from pathlib import Path
from typing import Final

LANGUAGES: Final = ("en", "uz", "ru")
_FOLDER: Final = Path(__file__).parent / "locale"


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
    if _Chosen.code != "en":
        _Chosen.catalogue = gettext.translation("hamkor", _FOLDER, languages=[_Chosen.code], fallback=True)
    return _Chosen.code


def language() -> str:
    """The language in use: en, uz or ru."""
    return _Chosen.code or use()


def _(message: str) -> str:
    """The message in the language in use."""
    if _Chosen.code is None:
        use()
    return _Chosen.catalogue.gettext(message)
