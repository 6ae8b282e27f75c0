"""The programs that check proofs, each behind one function: from files to what it says."""

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from tempfile import TemporaryFile
from typing import Any

from keys.errors import RemoteError
from protocol.charter import decode_charter_file, verify_charter
from protocol.verify_proof import check
from tests.proofs.damage import Case

NODE_PROGRAM = Path(__file__).parents[1] / "interop" / "audit.mjs"


def single_file(case: Case) -> dict[str, Any]:
    """What protocol/verify_proof.py says."""
    return check(case.proof, case.charter)


def ledger(case: Case) -> dict[str, Any]:
    """What `hamkor verify` says."""
    from ledger.verify import verify_file

    try:
        charter = verify_charter(decode_charter_file(case.charter))
    except RemoteError:
        return {"verdict": "refused", "reason": "charter"}
    return dict(verify_file(case.proof, charter).to_json())


def has_ledger() -> bool:
    return find_spec("ledger.verify") is not None


def why_no_node() -> str | None:
    """Why the program in tests/interop/ cannot run here."""
    if which("node") is None:
        return "node is not installed"
    if not NODE_PROGRAM.exists():
        return f"{NODE_PROGRAM.name} is not here"
    if not (NODE_PROGRAM.parent / "node_modules").is_dir():
        return "npm ci has not been run in tests/interop"
    return None


def node(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """What the program in tests/interop/ says of each, in one process."""
    with TemporaryFile() as lines:
        for case in cases:
            files = {"proof": b64encode(case.proof).decode(), "charter": b64encode(case.charter).decode()}
            lines.write(json.dumps(files).encode() + b"\n")
        lines.seek(0)
        done = subprocess.run(["node", str(NODE_PROGRAM), "--batch"], stdin=lines, capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
