"""The work that is the same for all: seizure reports of fifteen fields, about 300 bytes each, from a seed."""

from collections.abc import Sequence
from contextlib import closing
from random import Random

import msgpack

from keys.signing import SigningKey
from ledger.lmdb_store import open_lmdb
from ledger.store import Ledger, load
from protocol.acts import Certify, encode_act
from protocol.body import encode_record
from protocol.entry import NetworkId, Place
from protocol.frame import Run
from protocol.limits import FRAME_ENTRIES_MAX
from tests.cluster import Cluster, Node, seeded, sign_run

AUTHORS = 50
_REGIONS = ("UZ-SU", "UZ-TK", "UZ-SA", "UZ-AN", "UZ-QA", "UZ-BU")
_PLACES = ("Sariosiyo posti", "Termiz", "Denov", "Guliston", "Jartepa", "Oybek")
_DRUGS = ("heroin", "opium", "cannabis", "methamphetamine", "tramadol")
_HIDDEN = ("wheel", "fuel tank", "door", "luggage", "floor")
_ROADS = ("M39 north", "M41", "A380", "rail, Galaba", "river")


def report(number: int) -> bytes:
    """The body of one report; the same for the same number, different for every other."""
    rng = Random(number)
    drug, agency = rng.choice(_DRUGS), rng.choice(("mia", "scc", "sss"))
    fields = {
        "seized_at": f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}T10:{number % 60:02d}:00Z",
        "region": rng.choice(_REGIONS),
        "place": rng.choice(_PLACES),
        "items": [{"substance": drug, "form": "plant", "amount": f"{rng.randrange(1, 9999)}.5", "unit": "g"}],
        "hs_code": "2939",
        "route": rng.choice(_ROADS),
        "transport": rng.choice(("truck", "car", "train")),
        "concealment": rng.choice(_HIDDEN),
        "detection": rng.choice(("dog", "scan", "tip")),
        "suspects": [f"K. {number}"],
        "tags": [rng.choice(("road", "rail", "post"))],
        "vehicles": [plate(number)],
        "counting_agency": agency,
        "legal_act": "273",
        "narrative": word(number),
    }
    return encode_record("seizure", fields)


def plate(number: int) -> str:
    """The vehicle in a report: about one report in a hundred thousand has the same."""
    return f"{number // 1000 % 100:02d}A{number % 1000:03d}BC"


def word(number: int) -> str:
    """The word in a report that no other has, among the first million."""
    return f"w{number * 104729 % 1000003}"


def as_json(body: bytes) -> dict[str, object]:
    """A body's content for those who take text."""
    found = msgpack.unpackb(body)
    assert isinstance(found, dict)
    return found


def sign_reports(network_id: bytes, signer: SigningKey, place: Place, numbers: Sequence[int], time_ms: int = 2) -> Run:
    """Reports signed as the next entries of a log."""
    return sign_run(NetworkId(network_id), signer, place, [("record", report(number)) for number in numbers], time_ms)


def fill(node: Node, authors: Sequence[SigningKey], count: int, *, first: int = 0) -> None:
    """Write `count` reports, spread over the authors, into the store of a node that is not running."""
    with closing(open_lmdb(node.home.store_path)) as storage:
        ledger = load(storage)
        for number, author in enumerate(authors):
            mine = range(first + number, first + count, len(authors))
            for start in range(0, len(mine), 1000):
                run = sign_reports(ledger.network_id, author, Cluster.place(ledger, author), mine[start : start + 1000])
                admit(ledger, [run])


def certify(ledger: Ledger, officers: Sequence[SigningKey]) -> None:
    """Certify more officers, by the agency that certified the cluster's."""
    root = seeded("test", "mia")
    for start in range(0, len(officers), FRAME_ENTRIES_MAX):
        acts = [
            ("act", encode_act(Certify(key.public, "officer", f"officer {start + at}", "mia", "unit-0", ("officer",))))
            for at, key in enumerate(officers[start : start + FRAME_ENTRIES_MAX])
        ]
        admit(ledger, [sign_run(ledger.network_id, root, Cluster.place(ledger, root), acts, 1)])


def admit(ledger: Ledger, runs: Sequence[Run]) -> None:
    """Commit a frame of runs, each of which must be taken."""
    result = ledger.commit([tuple(runs)])
    assert all(outcome.refused is None for outcome in result.outcomes)
    ledger.apply(result)
