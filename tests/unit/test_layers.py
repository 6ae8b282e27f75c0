"""The floor plan as a test: who may import whom."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STDLIB = frozenset(sys.stdlib_module_names)
CLOCKS_AND_SOCKETS = frozenset(
    {"socket", "ssl", "threading", "subprocess", "asyncio", "secrets", "time", "tempfile", "shutil", "random"}
)
BELOW_NODE = {"keys", "protocol", "ledger"}
FLOORS: dict[str, set[str]] = {  # the longest prefix that fits decides; the standard library is free unless pure
    "keys": {"keys", "nacl"},
    "protocol": {"protocol", "keys"},
    "protocol/codec.py": {"protocol", "keys", "msgpack"},
    "protocol/frame.py": {"protocol", "keys", "zstandard"},
    "protocol/verify_proof.py": {"nacl"},
    "protocol/schema.py": {"protocol", "keys", "jsonschema", "referencing"},
    "ledger": BELOW_NODE,
    "ledger/packed.py": BELOW_NODE | {"zstandard"},
    "ledger/lmdb_store.py": BELOW_NODE | {"lmdb"},
    "node/engine": BELOW_NODE | {"node.engine"},
    "node": BELOW_NODE | {"node", "trio", "base58"},
    "node/transport": {"node.transport", "node", "protocol", "keys", "trio", "libp2p", "multiaddr"},
    "sim": BELOW_NODE | {"sim", "node.engine"},
    "sim/demo.py": {"sim", "node.cli", "keys", "protocol"},
    "sim/command.py": BELOW_NODE | {"sim", "node.engine"},
    "sim/plot.py": BELOW_NODE | {"sim", "matplotlib"},
}
PURE = ("protocol", "ledger", "node/engine")
IMPURE = ("ledger/lmdb_store.py", "ledger/projection.py", "ledger/search.py")  # where the disk is
MAY_DRAW = {"node/engine/engine.py": {"random"}}  # it is handed a Random
ADMISSION = {
    "ledger.ingest", "ledger.store", "ledger.authority", "ledger.council", "ledger.projection", "ledger.indexing",
    "ledger.attest", "ledger.held",
}  # fmt: skip
NEVER = {  # independence that the floors alone do not give
    **{f"ledger/{path.name}": ADMISSION for path in (ROOT / "ledger").glob("audit*.py")},
    "node/client.py": {"libp2p", "node.engine", "node.transport", "node.daemon", "trio"},
    "node/cli.py": {"libp2p", "node.engine", "node.transport", "node.daemon", "trio", "nacl", "lmdb"},
}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("keys", "protocol", "ledger", "node", "sim")
    for path in (ROOT / folder).rglob("*.py")
)


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """The modules a file imports; each name of a from-import counts as a module of its own too."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for item in tree.body if top_level_only else ast.walk(tree):
        if isinstance(item, ast.Import):
            found |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom):
            assert item.level == 0, f"{path}: relative import"
            assert item.module is not None
            found.add(item.module)
    return found


def within(name: str, allowed: set[str]) -> bool:
    return any(name == prefix or name.startswith((f"{prefix}.", f"{prefix}_")) for prefix in allowed)


def floor_of(relative: str) -> str:
    return max((floor for floor in FLOORS if relative.startswith(floor)), key=len)


@pytest.mark.parametrize("relative", FILES)
def test_file_imports_only_from_its_floor_and_those_below(relative: str) -> None:
    for name in imports(ROOT / relative):
        top = name.partition(".")[0]
        assert top in STDLIB or within(name, FLOORS[floor_of(relative)]), f"{relative} may not import {name}"
        if relative.startswith(PURE) and relative not in IMPURE:
            impure = CLOCKS_AND_SOCKETS - MAY_DRAW.get(relative, set())
            assert top not in impure, f"{relative} is pure and may not import {name}"


@pytest.mark.parametrize("relative", sorted(NEVER))
def test_file_stays_independent(relative: str) -> None:
    for name in imports(ROOT / relative, top_level_only=not relative.startswith("ledger/audit")):
        assert not within(name, NEVER[relative]), f"{relative} must not import {name}"


def test_only_one_file_knows_libp2p_and_sqlite() -> None:
    for relative in FILES:
        names = imports(ROOT / relative)
        if any(within(name, {"libp2p", "multiaddr"}) for name in names):
            assert relative.startswith("node/transport"), relative
        if "sqlite3" in names:
            assert relative in ("ledger/projection.py", "ledger/search.py"), relative


def test_no_imports_in_a_circle() -> None:
    graph = {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): imports(ROOT / path, top_level_only=True)
        for path in FILES
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done:
            return
        for name in graph[module]:
            if name in graph:
                visit(name, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())
