"""The Node.js auditor, written from SPEC.md alone, says what `hamkor` says: of vectors, ledgers, authority, signatures.

Skipped, with the reason, where node or its one package cannot be had. COUNT=5000 in the environment tries more.
"""

import json
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from shutil import which
from typing import Any

import pytest

from keys.signing import PublicKey, verify
from ledger.audit import audit_bundle
from ledger.audit_authority import HeldAct
from protocol import make_vectors
from protocol.bundle import BundleWriter
from protocol.charter import Charter, SignedCharter, encode_charter_file, sign_charter
from protocol.checkpoint import Attested, State, draft
from protocol.entry import EntryId, Place, open_row, sign_row
from protocol.frame import Run, encode_frame
from protocol.message import Fork, Frame
from tests.property import test_authority as authority
from tests.unit import test_audit as tampering
from tests.unit import test_audit_authority as fallen
from tests.unit.test_audit import CHARTER, CHARTER_FILE, NETWORK, Log, World, bundle, expected_root, key, sound_world

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
PROGRAM = HERE / "audit.mjs"
SHARED = HERE.parents[2] / "shared" / "vectors"
COUNT = int(os.environ.get("COUNT", "300"))
Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _node() -> None:
    """Node.js, and the one package that the program needs."""
    if which("node") is None or which("npm") is None:
        pytest.skip("node and npm are not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"node 20 or newer is needed, this is {version}")
    if not (HERE / "node_modules").is_dir():
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm ci cannot bring the msgpack decoder: {done.stderr.strip().splitlines()[-1:]}")


def asked(kind: str, cases: Iterable[Json]) -> list[Any]:
    """What the program says of each case, in one process."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(["node", str(PROGRAM), "--batch", kind], input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def audited(bundles: Iterable[bytes], charter: bytes = CHARTER_FILE) -> list[Json]:
    file = b64encode(charter).decode()
    return asked("bundle", ({"bundle": b64encode(raw).decode(), "charter": file} for raw in bundles))


def found(report: Json) -> Json:
    """What both must say: where each fault lies is part of it, its words are not."""
    said = {name: report[name] for name in ("verdict", "network", "root", "logs", "entries")}
    return said | {"faults": sorted(map(str, {(one["kind"], one["key"], one["seq"]) for one in report["faults"]}))}


def here(raw: bytes, charter: Charter = CHARTER) -> Json:
    return found(audit_bundle(BytesIO(raw), charter).to_json())


def put(runs: Iterable[Run], forks: Iterable[Fork], network: bytes) -> bytes:
    out = BytesIO()
    writer = BundleWriter(out.write, network)
    for number, run in enumerate(runs):
        writer.add(Frame(number, encode_frame([run], compress=False)))
    for fork in forks:
        writer.add(fork)
    writer.close()
    return out.getvalue()


# -- vectors ------------------------------------------------------------------------------------------


def test_vectors_are_read_and_refused_as_they_say() -> None:
    folder = Path(make_vectors.__file__).parent / "vectors"
    done = subprocess.run(["node", str(PROGRAM), "--vectors", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    passed, failed = (int(words.split()[0]) for words in done.stdout.split(", ")[:2])
    assert failed == 0
    assert passed >= 250


def test_signatures_are_decided_as_libsodium_decides_them() -> None:
    path = SHARED / "ed25519-cctv.json"
    if not path.exists():
        pytest.skip("the edge cases of Ed25519 are not beside this checkout")
    cases = [
        {"key": one["key"], "message": one["msg"].encode().hex(), "signature": one["sig"]}
        for one in json.loads(path.read_text())
    ]
    expected = [verify(*(bytes.fromhex(case[part]) for part in ("key", "message", "signature"))) for case in cases]
    assert asked("signature", cases) == expected
    assert 0 < sum(expected) < len(expected)


# -- ledgers, sound and tampered with -----------------------------------------------------------------


@pytest.mark.parametrize("run_length", [1, 3, 100])
def test_sound_ledger_is_sound_and_has_the_same_root(run_length: int) -> None:
    world = replace(sound_world(), run_length=run_length)
    (report,) = audited([bundle(world)])
    assert found(report) == here(bundle(world))
    assert (report["verdict"], report["root"]) == ("sound", expected_root(world).hex())


TAMPERING = (
    "flip_in_body", "remove_entry", "swap_rows", "sign_by_another", "other_network", "signed_for_another_network",
    "backdate", "swap_bodies", "hidden_fork", "slipped_in_version", "two_chains", "uncertified", "certified_by_officer",
    "certified_for_another_agency", "admin_by_admin", "certificate_beyond_a_fork", "forged_certificate", "cut_short",
    "grown", "not_canonical", "not_a_row", "not_a_frame", "slander", "fork_of_nothing", "fork_without_headers",
)  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_named_alike(name: str) -> None:
    raw = getattr(tampering, name)(sound_world())
    (report,) = audited([raw])
    assert report["verdict"] == "faulty"
    assert found(report) == here(raw)


def test_every_byte_flip_of_a_bundle_gives_the_same_verdict() -> None:
    raw = bundle(sound_world())
    rng = Random(1)
    flipped = []
    for at in sorted(rng.sample(range(len(raw)), 200)):
        changed = bytearray(raw)
        changed[at] ^= 1 << rng.randrange(8)
        flipped.append(bytes(changed))
    for one, report in zip(flipped, audited(flipped), strict=True):
        assert report["verdict"] == here(one)["verdict"] == "faulty"


@pytest.mark.parametrize(("case", "_notes"), fallen.CASES, ids=fallen.IDS)
def test_what_fell_counts_alike(case: Any, _notes: set[str]) -> None:
    ledger = fallen.settle(fallen.create(fallen.MemoryStorage(), fallen.CHARTER), case(), Random(1))
    with ledger.storage.read() as view:
        charter_file = view.get("meta", b"charter")
    assert charter_file is not None
    runs = [run for head in ledger.heads if (run := ledger.run(head.key, 0, head.size)) is not None]
    proofs = [proof for _, _, proof in ledger.forks()]
    held = put([item.run for item in case()], proofs, ledger.network_id)
    sent = put(runs, proofs, ledger.network_id)
    for raw, report in zip((held, sent), audited([held, sent], charter_file), strict=True):
        assert report["root"] == ledger.root().hex()
        assert found(report) == here(raw, ledger.charter)


# -- checkpoints --------------------------------------------------------------------------------------


def attested(world: World, before: State | None = None, *, root: bytes | None = None) -> list[bytes]:
    heads = [Attested(log.key, len(log.rows), log.ids()[-1]) for log in world.logs.values() if log.rows]
    return draft(key("node"), NETWORK, root or expected_root(world), sorted(heads), before)


def sound_checkpoints() -> World:
    world = sound_world()
    (full,) = attested(world)
    state = {log.key: (len(log.rows), log.ids()[-1]) for log in world.logs.values()}
    world.log("node").write(full, kind="checkpoint")
    world.log("aziza").write(tampering.record(10))
    (changed,) = attested(world, state)
    world.log("node").write(changed, kind="checkpoint")
    return world


def note_of_another() -> World:
    world = sound_world()
    heads = sorted(Attested(log.key, len(log.rows), log.ids()[-1]) for log in world.logs.values())
    (body,) = draft(key("mia"), NETWORK, expected_root(world), heads, None)
    world.log("node").write(body, kind="checkpoint")
    return world


def another_root() -> World:
    world = sound_world()
    (body,) = attested(world, root=bytes(32))
    world.log("node").write(body, kind="checkpoint")
    return world


def tail_left_out() -> World:
    world = sound_checkpoints()
    del world.log("aziza").rows[8:]
    return world


def another_branch() -> World:
    world = sound_checkpoints()
    del world.log("aziza").rows[8:]
    for number in range(3):
        world.log("aziza").write(tampering.record(20 + number))
    return world


def nothing_before() -> World:
    world = sound_world()
    (body,) = attested(world, {})
    world.log("node").write(body, kind="checkpoint")
    return world


def no_body() -> World:
    world = sound_world()
    world.log("node").write(b"\x80", kind="checkpoint")
    return world


@pytest.mark.parametrize(
    ("make", "expected"),
    [(sound_checkpoints, set()), (note_of_another, {"checkpoint-note"}), (another_root, {"differs"}),
     (tail_left_out, {"held-back"}), (another_branch, {"parts"}), (nothing_before, {"checkpoint"}),
     (no_body, {"checkpoint"})],
)  # fmt: skip
def test_what_a_checkpoint_attests_is_compared_with_what_is_held(make: Any, expected: set[str]) -> None:
    (report,) = audited([bundle(make())])
    assert {fault["kind"] for fault in report["faults"]} == expected


# -- authority: any set of acts, as such and in logs --------------------------------------------------


def drawn(rng: Random, acts_max: int = 24) -> tuple[Charter, list[HeldAct]]:
    agencies = rng.randint(2, 4)
    charter = authority.founded(agencies, rng.randint(1, agencies))
    numbers = [[rng.randrange(64) for _ in range(6)] for _ in range(rng.randint(0, acts_max))]
    return charter, authority.written(charter, [(a, b, c, d, e, f) for a, b, c, d, e, f in numbers])


def as_json(charter: Charter, acts: Sequence[HeldAct]) -> Json:
    agencies = [{"key": one.key.hex(), "name": one.name, "title": one.title} for one in charter.agencies]
    return {"agencies": agencies, "threshold": charter.threshold, "acts": [
        {"key": one.key.hex(), "seq": one.seq, "id": one.id.hex(), "refs": [ref.hex() for ref in one.refs],
         "body": one.body.hex()} for one in acts
    ]}  # fmt: skip


def told(charter: Charter, acts: Sequence[HeldAct]) -> Json:
    """What `hamkor` says, in the program's terms."""
    said = authority.told_by_rule(charter, acts)
    standing = [
        [who.hex(), one[0], one[1], one[2], one[3], one[5].hex() if isinstance(one[5], bytes) else None, one[6]]
        for who, one in said.standing.items()
    ]
    return {
        "standing": sorted(standing), "threshold": said.threshold, "passed": sorted(one.hex() for one in said.passed),
        "cutoffs": sorted([who.hex(), cut.seq, cut.id and cut.id.hex()] for who, cut in said.cutoffs.items()),
        "members": sorted([name, who.hex()] for name, who in said.members.items()),
        "open": sorted([known.hex(), sorted(yes)] for known, yes in said.open.items()),
    }  # fmt: skip


def test_authority_is_read_alike_from_any_acts() -> None:
    rng = Random(5)
    cases = [drawn(rng, 60) for _ in range(COUNT)]
    answers = asked("authority", (as_json(charter, acts) for charter, acts in cases))
    passed = 0
    for number, ((charter, acts), answer) in enumerate(zip(cases, answers, strict=True)):
        assert answer == told(charter, acts), f"case {number}"
        passed += bool(answer["passed"])
    assert passed > COUNT // 20  # councils that decide something are among them


@cache
def names() -> dict[PublicKey, str]:
    return {authority.key(name): name for name in {*authority.SPEAKERS, *authority.SUBJECTS, *authority.NEW}}


class Signed:
    """Acts put into real logs: what they say of each other is said of the entries that they become."""

    def __init__(self, charter: Charter, acts: Sequence[HeldAct], rng: Random) -> None:
        self.charter, self.rng = charter, rng
        self.rows: dict[PublicKey, list[bytes]] = {}
        self.ends: dict[PublicKey, list[Place]] = {}
        real: dict[bytes, bytes] = {}
        for act in acts:
            while len(self.rows.get(act.key, ())) < act.seq:
                self.write(act.key, tampering.record(0), "record")
            body = act.body
            for known, entry in real.items():
                body = body.replace(known, entry)
            if rng.random() < 0.5:  # a cutoff at an entry that exists
                body = self.pointed(body)
            refs = sorted(EntryId(real.get(ref, ref)) for ref in act.refs)
            real[act.id] = self.write(act.key, body, "act", refs)
        for who in sorted(names()):
            for number in range(rng.randrange(4)):
                self.write(who, tampering.record(number), "record")

    def pointed(self, body: bytes) -> bytes:
        for who, ends in self.ends.items():
            if who in body:
                for number in range(64):
                    body = body.replace(bytes([number]) * 32, self.rng.choice(ends).prev or bytes(32))
        return body

    def write(self, who: PublicKey, body: bytes, kind: str, refs: Sequence[EntryId] = ()) -> bytes:
        place = self.ends[who][-1] if who in self.ends else Place(who, 0, None)
        row = self.row(place, body, kind, refs)
        after = open_row(row, place).after
        self.rows.setdefault(who, []).append(row)
        self.ends.setdefault(who, []).append(after)
        assert after.prev is not None
        return after.prev

    def row(self, place: Place, body: bytes, kind: str, refs: Sequence[EntryId] = ()) -> bytes:
        signer = authority.signer(names()[place.key])
        return sign_row(signer, self.charter.network_id, place, kind=kind, body=body, time_ms=7, refs=refs)

    def fork(self) -> Fork:
        """The proof that one log, somewhere, has another entry too."""
        who = self.rng.choice(sorted(self.rows))
        seq = self.rng.randrange(len(self.rows[who]))
        place = self.ends[who][seq - 1] if seq else Place(who, 0, None)
        sides = [open_row(self.rows[who][seq], place), open_row(self.row(place, b"\x80", "note"), place)]
        one, two = sorted(sides, key=lambda entry: entry.id)
        return Fork((one.header, bytes(one.signature)), (two.header, bytes(two.signature)))

    def bundle(self) -> bytes:
        runs = [Run(who, 0, None, tuple(rows)) for who, rows in self.rows.items()]
        self.rng.shuffle(runs)
        forks = [self.fork() for _ in range(self.rng.randrange(3) if runs else 0)]
        return put(runs, forks, self.charter.network_id)

    def charter_file(self) -> bytes:
        signed = SignedCharter(self.charter, {})
        for agency in self.charter.agencies:
            signed = sign_charter(signed, authority.signer(agency.name))
        return encode_charter_file(signed)


def test_ledgers_of_any_acts_count_alike() -> None:
    rng = Random(6)
    worlds = []
    for _ in range(COUNT):
        charter, acts = drawn(rng)
        world = Signed(charter, acts, rng)
        worlds.append((charter, world.bundle(), world.charter_file()))
    answers = asked("bundle", (
        {"bundle": b64encode(raw).decode(), "charter": b64encode(file).decode()} for _, raw, file in worlds
    ))  # fmt: skip
    for number, ((charter, raw, _), report) in enumerate(zip(worlds, answers, strict=True)):
        assert found(report) == here(raw, charter), f"ledger {number}"


# -- the command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "charter", "status", "verdict"),
    [(bundle(sound_world()), CHARTER_FILE, 0, "sound"), (bundle(sound_world())[:-1], CHARTER_FILE, 1, "faulty"),
     (bundle(sound_world()), CHARTER_FILE[:-1], 2, "unreadable"),
     (put([Run(Log("aziza").key, 0, None, (b"\x90",) * 2)], [], bytes(32)), CHARTER_FILE, 1, "faulty")],
)  # fmt: skip
def test_exit_status_tells_the_verdict(raw: bytes, charter: bytes, status: int, verdict: str, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(raw)
    (tmp_path / "charter").write_bytes(charter)
    words = ["node", str(PROGRAM), str(tmp_path / "bundle"), str(tmp_path / "charter")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (status, verdict)


def test_what_is_no_proof_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "charter").write_bytes(CHARTER_FILE)
    words = ["node", str(PROGRAM), "--proof", str(tmp_path / "charter"), str(tmp_path / "charter")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)) == (2, {"verdict": "refused", "reason": "form"})
