"""A small ledger as plain logs, put into bundles and stores by hand, to be tampered with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import BytesIO
from typing import cast

from keys.signing import PublicKey, SigningKey
from ledger.audit_finding import Report
from ledger.layout import ARRIVAL, FORMAT, INDEXED_KINDS, PLACE, U32, U64, LogState, kind_key
from ledger.store import Ledger, create
from protocol.acts import Certify, Unit, encode_act
from protocol.body import encode_record
from protocol.bundle import BundleWriter
from protocol.charter import Agency, Charter, SignedCharter, encode_charter_file, sign_charter
from protocol.checkpoint import Attested, Checkpoint, draft, encode_checkpoint, parse_checkpoint
from protocol.codec import decode, encode
from protocol.entry import Entry, EntryId, NetworkId, Place, open_row, sign_row
from protocol.frame import Run, encode_frame
from protocol.message import Fork, Frame
from sim.disk import MemoryStorage


def key(name: str) -> SigningKey:
    return SigningKey.from_seed(sha256(name.encode()).digest())


CHARTER = Charter(
    "exercise", (Agency("iib", "Interior", key("iib").public), Agency("mia", "Missions", key("mia").public)),
    2, 0, bytes(16),
)  # fmt: skip
CHARTER_FILE = encode_charter_file(
    sign_charter(sign_charter(SignedCharter(CHARTER, {}), key("iib")), key("mia")),
)
NETWORK = CHARTER.network_id


@dataclass
class Log:
    """One author's log as it is written. Rows may be changed by hand afterwards."""

    name: str
    rows: list[bytes] = field(default_factory=list)

    @property
    def key(self) -> PublicKey:
        return key(self.name).public

    def entries(self) -> list[Entry]:
        place = Place(self.key, 0, None)
        found = []
        for row in self.rows:
            found.append(open_row(row, place))
            place = found[-1].after
        return found

    def ids(self) -> list[EntryId]:
        return [entry.id for entry in self.entries()]

    def place(self, seq: int | None = None) -> Place:
        ids = self.ids()[:seq]
        return Place(self.key, len(ids), ids[-1] if ids else None)

    def row(
        self, body: bytes, *, kind: str = "record", time_ms: int = 1000, at: int | None = None, network: bytes = NETWORK
    ) -> bytes:
        return sign_row(key(self.name), NetworkId(network), self.place(at), kind=kind, body=body, time_ms=time_ms)

    def write(self, body: bytes, kind: str = "record", time_ms: int | None = None, network: bytes = NETWORK) -> None:
        time = 1000 + len(self.rows) if time_ms is None else time_ms
        self.rows.append(self.row(body, kind=kind, time_ms=time, network=network))

    def certify(self, subject: str, rank: str, agency: str) -> None:
        self.write(encode_act(Certify(key(subject).public, rank, subject, agency, "", ())), kind="act")


@dataclass
class World:
    """A ledger as its logs, to be put into a bundle or a store."""

    logs: dict[str, Log]
    forks: list[Fork] = field(default_factory=list)
    run_length: int = 4
    witnesses: dict[str, "Witness"] = field(default_factory=dict)

    def log(self, name: str) -> Log:
        return self.logs.setdefault(name, Log(name))

    def runs(self) -> list[Run]:
        found = []
        for log in self.logs.values():
            ids = log.ids()
            for start in range(0, len(ids), self.run_length):
                rows = tuple(log.rows[start : start + self.run_length])
                found.append(Run(log.key, start, ids[start - 1] if start else None, rows))
        return found


def record(number: int) -> bytes:
    return encode_record("report", {"text": f"what was seen on day {number}"})


def sound_world() -> World:
    """Two agencies: mia with an admin, an officer by the root and one by the admin; iib with a node."""
    world = World({})
    world.log("mia").certify("admin", "admin", "mia")
    world.log("mia").certify("aziza", "officer", "mia")
    world.log("iib").certify("node", "node", "iib")
    world.log("admin").certify("bobur", "officer", "mia")
    world.log("admin").write(encode_act(Unit("imt-1", "First team", ("UZ-TO",))), kind="act")
    world.log("node").write(encode({"addresses": ["/ip4/192.0.2.7/tcp/4090"]}), kind="address")
    for name in ("aziza", "bobur"):
        for number in range(10):
            world.log(name).write(record(number))
    return world


ENTRIES, LOGS = 26, 6


def bundle(world: World, runs: Sequence[Run] | None = None, network: bytes = NETWORK) -> bytes:
    out = BytesIO()
    writer = BundleWriter(out.write, network)
    for number, run in enumerate(world.runs() if runs is None else runs):
        writer.add(Frame(number, encode_frame([run], compress=False)))
    for fork in world.forks:
        writer.add(fork)
    writer.close()
    return out.getvalue()


def admitted(world: World) -> tuple[MemoryStorage, Ledger]:
    """A store that admission has made of a world, and the ledger in it."""
    storage = MemoryStorage()
    ledger = create(storage, CHARTER_FILE)
    for run in world.runs():
        result = ledger.commit([encode_frame([run])])
        assert result.outcomes[0].refused is None
        ledger.apply(result)
    for fork in world.forks:
        ledger.apply(ledger.commit([fork]))
    return storage, ledger


def store(world: World, charter_file: bytes = CHARTER_FILE) -> MemoryStorage:
    """The tables as the layout prescribes, written here by hand; half of each log arrived first."""
    storage = MemoryStorage()
    arrivals: list[tuple[int, int, int]] = []
    with storage.write() as txn:
        for number, log in enumerate(world.logs.values()):
            entries = log.entries()
            ids = [entry.id for entry in entries]
            for seq, (known, row) in enumerate(zip(ids, log.rows, strict=True)):
                place = PLACE.pack(number, seq)
                txn.put("rows", place, known + row)
                txn.put("ids", known, place)
                kind = entries[seq].kind
                if kind in INDEXED_KINDS:
                    txn.put("kinds", kind_key(kind, place), b"")
            half = len(ids) // 2
            arrivals += [(number, 0, half), (number, half, len(ids) - half)]
            proofs = [seq for fork in world.forks for owner, seq in [header_place(fork)] if owner == log.key]
            forked_at = min(proofs, default=None)
            size = len(ids) if forked_at is None else min(len(ids), forked_at)
            time_ms = entries[-1].time_ms
            peaks = tuple(mountain(ids[:size]))
            state = LogState(
                log.key, number, size, ids[size - 1] if size else None, time_ms, peaks, len(ids), forked_at
            )
            txn.put("logs", log.key, state.encode())
            txn.put("numbers", U32.pack(number), log.key)
        for fork in world.forks:
            owner, seq = header_place(fork)
            txn.put("forks", owner + U64.pack(seq), encode(fork.value()))
        total = 0
        for number, first, count in sorted((a for a in arrivals if a[2]), key=lambda arrival: arrival[1]):
            txn.put("arrivals", U64.pack(total), ARRIVAL.pack(number, first, count))
            total += count
        txn.put("meta", b"arrival", U64.pack(total))
        txn.put("meta", b"format", FORMAT)
        txn.put("meta", b"charter", charter_file)
    return storage


def header_place(fork: Fork) -> tuple[bytes, int]:
    fields = cast("list[object]", decode(fork.first[0], size_max=4096))
    return cast("bytes", fields[1]), cast("int", fields[2])


def fork_at(log: Log, seq: int, signer: str | None = None) -> Fork:
    """The proof that `log` has its entry at `seq`, and another one signed by `signer`."""
    mine = open_row(log.rows[seq], log.place(seq))
    theirs = open_row(log.row(b"\x80", at=seq, time_ms=1000 + seq), log.place(seq))
    other = theirs.signature if signer is None else key(signer).sign(theirs.header)
    pairs = [(mine.id, mine.header, bytes(mine.signature)), (theirs.id, theirs.header, bytes(other))]
    if signer is not None:
        pairs[1] = (EntryId(sha256(b"\x00" + theirs.header + other).digest()), theirs.header, bytes(other))
    first, second = sorted(pairs)
    return Fork(first[1:], second[1:])


def mountain(ids: Sequence[bytes]) -> list[bytes]:
    """The compact range, by the definition: perfect subtrees, largest first."""
    found, start = [], 0
    while start < len(ids):
        size = 1 << ((len(ids) - start).bit_length() - 1)
        found.append(rfc_root(ids[start : start + size]))
        start += size
    return found


def rfc_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + rfc_root(leaves[:split]) + rfc_root(leaves[split:])).digest()


def expected_root(world: World, sizes: dict[str, int] | None = None) -> bytes:
    leaves = []
    for log in sorted(world.logs.values(), key=lambda log: log.key):
        ids = log.ids()[: (sizes or {}).get(log.name)]
        if ids:
            leaves.append(sha256(b"\x00" + log.key + U64.pack(len(ids)) + rfc_root(ids)).digest())
    return rfc_root(leaves)


def replace_row(run: Run, log: Log, seq: int, change: Callable[[bytes], bytes]) -> Run:
    if run.key != log.key or not run.seq <= seq < run.end:
        return run
    rows = list(run.rows)
    changed = change(rows[seq - run.seq])
    assert changed != rows[seq - run.seq]
    rows[seq - run.seq] = changed
    return replace(run, rows=tuple(rows))


def kinds(report: Report) -> set[str]:
    return {fault.kind for fault in report.faults}


@dataclass
class Witness:
    """What a node has attested."""

    attested: dict[PublicKey, tuple[int, EntryId]] | None = None


def checkpoint(
    world: World, name: str, *, root: bytes | None = None, heads: Sequence[Attested] | None = None,
    change: Callable[[Checkpoint], Checkpoint] = lambda body: body,
) -> None:  # fmt: skip
    """Write the checkpoint of a node, over all that is in the world: or what it says instead."""
    state = [Attested(log.key, len(ids), ids[-1]) for log in world.logs.values() for ids in [log.ids()] if ids]
    state = sorted(state) if heads is None else list(heads)
    witness = world.witnesses.setdefault(name, Witness())
    for body in draft(key(name), NETWORK, root or expected_root(world), state, witness.attested):
        world.log(name).write(encode_checkpoint(change(parse_checkpoint(body))), kind="checkpoint")
    witness.attested = {head.key: (head.size, head.id) for head in state if head.id is not None}


def erase(row: bytes) -> bytes:
    """The row without its body: its size and hash are left."""
    fields = cast("list[object]", decode(row, size_max=1 << 20))
    body = cast("bytes", fields[4])
    return encode([*fields[:4], [len(body), sha256(body).digest()], *fields[5:]])
