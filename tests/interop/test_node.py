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

from keys.errors import FormatError
from keys.signing import PublicKey, SigningKey, verify
from ledger.audit import audit_bundle
from ledger.audit_authority import HeldAct, judge
from protocol import make_vectors
from protocol.acts import Propose, Rekey, Revoke, encode_act, parse_act
from protocol.bundle import BundleWriter
from protocol.charter import Charter, SignedCharter, encode_charter_file, sign_charter
from protocol.checkpoint import Attested, State, draft
from protocol.entry import EntryId, NetworkId, Place, open_row, sign_row
from protocol.frame import Run, encode_frame
from protocol.message import Fork, Frame
from protocol.verify_proof import check as check_proof
from tests.proofs import cases as made_proofs
from tests.property import test_authority as authority
from tests.property.test_standing import whole
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
        words = ["npm", "ci", "--no-audit", "--no-fund"]
        done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm ci cannot bring the msgpack decoder: {done.stderr.strip().splitlines()[-1:]}")


def asked(kind: str, cases: Iterable[Json]) -> list[Any]:
    """What the program says of each case, in one process."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    words = ["node", str(PROGRAM), "--batch", kind]
    done = subprocess.run(words, input=lines, capture_output=True, text=True, check=False)
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
    done = subprocess.run(["node", str(PROGRAM), "--vectors", str(folder)], capture_output=True, text=True, check=False)
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
    raw = bundle(make())
    (report,) = audited([raw])
    assert {fault["kind"] for fault in report["faults"]} == expected
    assert found(report) == here(raw)


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


class Writing:
    """One log as it is written, and perhaps another branch of it."""

    def __init__(self, signer: SigningKey, network: NetworkId) -> None:
        self.signer, self.network = signer, network
        self.start = Place(signer.public, 0, None)
        self.rows: list[bytes] = []
        self.ends: list[Place] = []
        self.branch: list[bytes] = []
        self.branch_ends: list[Place] = []
        self.parting = 0

    def write(self, body: bytes, kind: str = "record", refs: Sequence[EntryId] = ()) -> bytes:
        place = self.ends[-1] if self.ends else self.start
        self.rows.append(self.row(place, body, kind, refs))
        self.ends.append(open_row(self.rows[-1], place).after)
        return self.ends[-1].prev or b""

    def row(self, place: Place, body: bytes, kind: str, refs: Sequence[EntryId] = ()) -> bytes:
        return sign_row(self.signer, self.network, place, kind=kind, body=body, time_ms=7, refs=refs)

    def branch_off(self, seq: int, count: int) -> None:
        self.parting = seq
        place = self.ends[seq - 1] if seq else self.start
        for at in range(seq, seq + count):
            body, kind = b"\x80", "note"
            if seq < at < len(self.rows):  # what the other branch says there
                before = self.ends[at - 1]
                entry = open_row(self.rows[at], before)
                body, kind = entry.body or body, entry.kind
            self.branch.append(self.row(place, body, kind))
            place = open_row(self.branch[-1], place).after
            self.branch_ends.append(place)

    @property
    def run(self) -> Run:
        return Run(self.signer.public, 0, None, tuple(self.rows))

    @property
    def other(self) -> Run:
        """The log with the other branch."""
        return Run(self.signer.public, 0, None, (*self.rows[: self.parting], *self.branch))

    def fork(self) -> Fork:
        place = self.ends[self.parting - 1] if self.parting else self.start
        sides = [open_row(rows[0], place) for rows in (self.rows[self.parting :], self.branch)]
        one, two = sorted(sides, key=lambda entry: entry.id)
        return Fork((one.header, bytes(one.signature)), (two.header, bytes(two.signature)))


class Signed:
    """Acts put into real logs: what they say of each other is said of the entries that they become."""

    def __init__(self, charter: Charter, acts: Sequence[HeldAct], rng: Random) -> None:
        self.charter, self.rng = charter, rng
        self.logs: dict[PublicKey, Writing] = {}
        real: dict[bytes, bytes] = {}
        self.records(authority.SUBJECTS)
        for act in acts:
            log = self.log(act.key)
            while len(log.rows) < act.seq:
                log.write(tampering.record(0))
            body = act.body
            for known, entry in real.items():
                body = body.replace(known, entry)
            refs = sorted(EntryId(real.get(ref, ref)) for ref in act.refs)
            real[act.id] = log.write(self.aimed(body), "act", refs)
        self.records(sorted(names().values()))
        self.revoke_some()

    def revoke_some(self) -> None:
        """Cut authors that have standing, mostly at an entry that is there, of either branch."""
        held = [
            HeldAct(who, entry.seq, entry.id, entry.refs, entry.body or b"")
            for who, log in self.logs.items() for entry in whole(log.signer, log.rows).entries if entry.kind == "act"
        ]  # fmt: skip
        judgement = judge(self.charter, held)
        for who, known in sorted(judgement.standing.items()):
            root = judgement.members.get(known.agency)
            if known.rank != "agency" and root is not None and self.rng.random() < 0.5 and (end := self.end_of(who)):
                self.log(root).write(encode_act(Revoke(who, end["seq"], end["id"], "")), "act")

    def log(self, who: PublicKey) -> "Writing":
        return self.logs.setdefault(who, Writing(authority.signer(names()[who]), self.charter.network_id))

    def records(self, authors: Sequence[str]) -> None:
        for name in authors:
            for number in range(self.rng.randrange(4)):
                self.log(authority.key(name)).write(tampering.record(number))

    def aimed(self, body: bytes) -> bytes:
        """The act, mostly with its cutoff at an entry that is there, of either branch where the log forks here."""
        try:
            act = parse_act(body)
        except FormatError:
            return body
        match act:
            case Revoke(subject=subject, id=bytes()):
                return encode_act(replace(act, **self.end_of(subject)))
            case Propose(change=Rekey(id=bytes()) as change):
                return encode_act(Propose(replace(change, **self.end_of(authority.key(change.name)))))
            case _:
                return body

    def end_of(self, who: PublicKey) -> dict[str, Any]:
        log = self.logs.get(who)
        if log is None or not log.rows or self.rng.random() < 0.2:
            return {}
        if not log.branch and self.rng.random() < 0.5:
            log.branch_off(self.rng.randrange(len(log.rows)), self.rng.randint(1, 4))
        ends = log.branch_ends if log.branch and self.rng.random() < 0.5 else log.ends
        end = self.rng.choice(ends)
        return {"seq": end.seq - 1, "id": end.prev}

    def sides(self, *, both: bool) -> list[Run]:
        """All logs; of forked ones a branch or, as asked, mostly both. In any order."""
        runs = []
        for log in self.logs.values():
            if log.rows:
                one = self.rng.choice(([log.run], [log.other]) if log.branch else ([log.run],))
                runs += [log.run, log.other] if both and log.branch and self.rng.random() < 0.8 else one
        self.rng.shuffle(runs)
        return runs

    def forks(self) -> list[Fork]:
        return [log.fork() for log in self.logs.values() if log.branch]

    def charter_file(self) -> bytes:
        signed = SignedCharter(self.charter, {})
        for agency in self.charter.agencies:
            signed = sign_charter(signed, authority.signer(agency.name))
        return encode_charter_file(signed)


def cut(runs: Sequence[Run], rng: Random) -> list[Run]:
    """The same entries in shorter runs, those of two branches mixed; each after what it follows, some twice."""
    queues = []
    first: dict[PublicKey, Run] = {}
    for run in runs:
        same = [one == two for one, two in zip(first.setdefault(run.key, run).rows, run.rows, strict=False)]
        parting = same.index(False) if False in same else 0
        start = parting if rng.random() < 0.5 else 0
        stops = [*sorted(at for at in range(start + 1, len(run.rows)) if rng.random() < 0.3), len(run.rows)]
        places, place = [Place(run.key, 0, None)], Place(run.key, 0, None)
        for row in run.rows:
            place = open_row(row, place).after
            places.append(place)
        queues.append([
            (Run(run.key, at, places[at].prev, run.rows[at:stop]), {known.prev for known in places[at + 1 : stop + 1]})
            for at, stop in zip([start, *stops], stops, strict=False)
        ])  # fmt: skip
    here: set[EntryId | None] = {None}
    found = []
    while queues:
        queue = rng.choice([one for one in queues if one[0][0].prev in here])
        run, ids = queue.pop(0)
        found.append(run)
        here |= ids
        queues = [one for one in queues if one]
    return found


def test_ledgers_of_any_acts_count_alike() -> None:
    rng = Random(6)
    worlds = [Signed(*drawn(rng), rng) for _ in range(COUNT)]
    bundles = [put(world.sides(both=False), world.forks(), world.charter.network_id) for world in worlds]
    answers = asked("bundle", (case_of(world, raw) for world, raw in zip(worlds, bundles, strict=True)))
    for number, (world, raw, report) in enumerate(zip(worlds, bundles, answers, strict=True)):
        assert found(report) == here(raw, world.charter), f"ledger {number}"


def test_bundle_of_both_branches_counts_as_a_node_that_took_them_in() -> None:
    """Whichever comes first, in however many runs, and whether the proof is there: an endorsed branch counts.

    All that both find is the same: a second entry for one seq, authors without a certificate, the root.
    """
    rng = Random(7)
    worlds = [Signed(*drawn(rng), rng) for _ in range(COUNT // 10)]
    sides = [world.sides(both=True) for world in worlds]
    forks = [world.forks() if rng.random() < 0.5 else [] for world in worlds]
    bundles = [
        put(cut(runs, rng) if rng.random() < 0.7 else runs, proofs, world.charter.network_id)
        for world, runs, proofs in zip(worlds, sides, forks, strict=True)
    ]
    answers = asked("bundle", (case_of(world, raw) for world, raw in zip(worlds, bundles, strict=True)))
    for number, (world, runs, proofs, raw, report) in enumerate(
        zip(worlds, sides, forks, bundles, answers, strict=True)
    ):
        assert found(report) == here(raw, world.charter), f"ledger {number}"
        ledger = fallen.create(fallen.MemoryStorage(), world.charter_file())
        chains = [whole(authority.signer(names()[run.key]), list(run.rows)) for run in runs]
        fallen.settle(ledger, chains, rng)
        for proof in proofs:
            ledger.apply(ledger.commit([proof]))
        assert report["root"] == fallen.settle(ledger, chains, rng).root().hex(), f"ledger {number}"


def case_of(world: Signed, raw: bytes) -> Json:
    return {"bundle": b64encode(raw).decode(), "charter": b64encode(world.charter_file()).decode()}


# -- proofs -------------------------------------------------------------------------------------------


def test_proofs_valid_and_damaged_are_judged_alike() -> None:
    """`make agree` tries 10,000, with `hamkor verify` beside these two."""
    verdicts = set()
    made = list(made_proofs(seed=9, count=COUNT))
    answers = asked("proof", (
        {"proof": b64encode(case.proof).decode(), "charter": b64encode(case.charter).decode()} for case in made
    ))  # fmt: skip
    for number, (case, answer) in enumerate(zip(made, answers, strict=True)):
        assert answer == check_proof(case.proof, case.charter), f"case {number}, {case.name}"
        verdicts.add(answer["verdict"])
    assert verdicts == {"proven", "unproven", "refused"}


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
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (status, verdict)


def test_what_is_no_proof_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "charter").write_bytes(CHARTER_FILE)
    words = ["node", str(PROGRAM), "--proof", str(tmp_path / "charter"), str(tmp_path / "charter")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (2, {"verdict": "refused", "reason": "form"})
