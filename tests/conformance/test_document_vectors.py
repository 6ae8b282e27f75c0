"""The records among the vectors say what the hand-written cases expect, in whatever order the steps come."""

import json
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ledger.document import FIELD, FILE, LINK, RETRACTED, TAG, Operation, fold
from ledger.store import Ledger, create
from protocol import make_vectors
from protocol.body import parse_record, parse_step
from protocol.bundle import read_bundle
from protocol.charter import encode_charter_file
from protocol.entry import Entry
from protocol.message import Frame
from protocol.vector_cast import NETWORK, founded
from sim.disk import MemoryStorage

CASES = json.loads((Path(make_vectors.__file__).parent / "vectors" / "document.json").read_text())["valid"]


def operation(ledger: Ledger, entry: Entry) -> Operation:
    standing = ledger.authority.of(entry.key)
    assert standing is not None
    body = entry.body or b""
    step, fields = "", parse_record(body).fields if entry.kind == "record" else {}
    if entry.kind == "step":
        step, fields = parse_step(body).step, parse_step(body).fields
    return Operation(entry.id, entry.key, standing.agency, entry.time_ms, step, fields, entry.refs)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_what_a_record_says(case: dict[str, Any]) -> None:
    ledger = create(MemoryStorage(), encode_charter_file(founded()))
    for _ in range(2):
        for message in read_bundle(BytesIO(bytes.fromhex(case["hex"])), NETWORK):
            ledger.apply(ledger.commit([message.frame if isinstance(message, Frame) else message]))
    entries = [arrived.entry for arrived in ledger.arrived(0)[0]]
    counting = [operation(ledger, entry) for entry in entries if entry.kind != "act" and ledger.status(entry) == "ok"]
    created = next(one for one in counting if one.id.hex() == case["record"])
    for seed in range(5):
        steps = [one for one in counting if one is not created]
        Random(seed).shuffle(steps)
        found = fold(created, steps)
        values = {name: [said.value for said in values] for name, values in found.standing(FIELD)}
        assert {name: sorted(map(json.dumps, said)) for name, said in values.items()} == {
            name: sorted(map(json.dumps, said)) for name, said in case["fields"].items()
        }
        assert sorted(found.members(TAG)) == case["tags"]
        assert [slot.split(":", 1) for slot in sorted(found.members(LINK))] == case["links"]
        assert sorted(found.members(FILE)) == case["files"]
        assert [said.value for _, stands in found.standing(RETRACTED) for said in stands] == case["retracted"]
        assert sorted(known.hex() for known in found.proposals) == case["proposals"]
