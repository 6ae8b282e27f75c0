"""Make the message catalogues again: extract, merge into the translations, compile. Called by `make words`.

Prints what is not translated yet. The compiled files are committed: nothing is needed to run in any language.
"""

import ast
import json
import re
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from keys.mark import ADVICE

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "node" / "locale"
KEYWORDS = {"_": None, "noted": None, "Problem": (2,)}
LANGUAGES = ("uz", "ru")
ERRORS = FOLDER / "errors.json"
OFFICERS = (  # files whose errors an officer sees
    "keys/keyfile.py", "keys/mark.py", "protocol/schema.py", "protocol/body.py", "protocol/shape.py",
    "ledger/query.py", "ledger/search.py", "ledger/store.py", "ledger/lmdb_store.py", "ledger/packed.py",
    "node/client.py", "node/home.py", "node/desk.py", "node/consulted.py", "node/files.py", "node/direct.py",
    "node/submit.py", "node/render.py", "node/commands/common.py", "node/commands/fields.py",
)  # fmt: skip
TOLD = ("ledger/effect.py",)  # files whose functions return sentences that an officer sees
SOURCES = (*sorted((ROOT / "node").rglob("*.py")), ROOT / "protocol" / "schema.py")


def extracted() -> Catalog:
    """Every message that a person may see: in the code, and in the schemas of the types."""
    catalogue = Catalog(project="hamkor", charset="utf-8")
    for path in SOURCES:
        for _line, message, _comments, _context in extract_from_file("python", path, keywords=KEYWORDS):
            if isinstance(message, str) and message:
                catalogue.add(message)
    for path in sorted((ROOT / "protocol" / "types").glob("*.json")):
        for description in descriptions(json.loads(path.read_text("utf-8"))):
            catalogue.add(description)
    for template in [*error_templates(), ADVICE]:
        catalogue.add(template)
    return catalogue


def error_templates() -> list[str]:
    """The messages with which errors are raised in OFFICERS; what is filled in is {0}, {1} and so on."""
    found = set()
    for name in OFFICERS:
        for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
            called = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            if called.endswith("Error"):
                found |= {text for text in map(template_of, node.args) if text is not None and " " in text}
    for name in TOLD:
        for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
            value = node.value if isinstance(node, ast.Return) else None
            sides = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value] if value is not None else []
            found |= {text for text in map(template_of, sides) if text is not None and " " in text}
    return sorted(found)


def template_of(node: ast.expr) -> str | None:
    """The text of a string in the code, or None."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    parts, count = [], 0
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        else:
            parts.append(f"{{{count}}}")
            count += 1
    return "".join(parts)


def descriptions(value: object) -> list[str]:
    """All texts under "description" in a schema."""
    if isinstance(value, dict):
        own = [value["description"]] if isinstance(value.get("description"), str) else []
        inner = value if not own else {name: item for name, item in value.items() if name != "description"}
        return own + [text for item in inner.values() for text in descriptions(item)]
    return [text for item in value for text in descriptions(item)] if isinstance(value, list) else []


def translated(language: str) -> Catalog:
    """The catalogue of a language as it is committed."""
    path = FOLDER / language / "LC_MESSAGES" / "hamkor.po"
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def faults(language: str) -> list[str]:
    """Messages without a translation, or whose translation has other placeholders."""
    catalogue = translated(language)
    found = []
    for message in extracted():
        if not message.id:
            continue
        known = catalogue.get(message.id)
        if known is None or not known.string or known.fuzzy:
            found.append(f"{language}: not translated: {message.id!r}")
        elif placeholders(message.id) != placeholders(known.string):
            found.append(f"{language}: other placeholders: {message.id!r} -> {known.string!r}")
    return found


def placeholders(text: str) -> list[str]:
    """What is filled in."""
    return sorted(re.findall(r"\{\w*\}|%\(\w+\)\w|%s", text))


def main() -> int:
    """Write the catalogues; 1 when something is not translated."""
    template = extracted()
    ERRORS.write_text(json.dumps(error_templates(), indent=0) + "\n", encoding="utf-8")
    for language in LANGUAGES:
        catalogue = translated(language)
        catalogue.update(template, no_fuzzy_matching=True)
        catalogue.obsolete.clear()
        folder = FOLDER / language / "LC_MESSAGES"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "hamkor.po").open("wb") as file:
            write_po(file, catalogue, width=120, omit_header=False, sort_output=True, no_location=True)
        with (folder / "hamkor.mo").open("wb") as file:
            write_mo(file, catalogue)
    found = [fault for language in LANGUAGES for fault in faults(language)]
    sys.stderr.write("\n".join(found[:50]) + "\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
