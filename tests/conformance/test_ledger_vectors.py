"""The whole ledgers among the vectors: admission and audit find what the hand-written cases say counts."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ledger.audit import audit_bundle
from ledger.store import create
from protocol import make_vectors
from protocol.bundle import read_bundle
from protocol.charter import encode_charter_file
from protocol.message import Frame
from protocol.vector_cast import NETWORK, ROOTS, founded
from sim.disk import MemoryStorage

CASES = json.loads((Path(make_vectors.__file__).parent / "vectors" / "ledger.json").read_text())["valid"]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_what_counts_in_a_ledger(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["hex"])
    report = audit_bundle(BytesIO(raw), founded().charter)
    assert report.root.hex() == case["root"]
    forked = "fork" in case["name"]
    assert {fault.kind for fault in report.faults} <= ({"fork"} if forked else {"uncertified"})

    ledger = create(MemoryStorage(), encode_charter_file(founded()))
    for _ in range(2):  # what came before its certificate comes again
        for message in read_bundle(BytesIO(raw), NETWORK):
            ledger.apply(ledger.commit([message.frame if isinstance(message, Frame) else message]))
    assert ledger.root().hex() == case["root"]
    sizes = {key: size for key, size, _ in case["logs"]}
    found = {key: ledger.log(bytes.fromhex(key)) for key in sizes}  # type: ignore[arg-type]
    assert {key: log.size if log else 0 for key, log in found.items()} == sizes
    founders = {key.public for key in ROOTS.values()}
    standings = {key.hex(): known.rank for key, known in ledger.authority.standings.items() if key not in founders}
    assert standings == case["standing"]
