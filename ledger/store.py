"""The ledger: what is kept, and how to read it. Entries come in through `Ledger.commit` and no other way.

    ledger = create(storage, charter_file)        # once, in an empty store
    ledger = load(storage)
    result = ledger.commit([frame, ...])          # any one thread: checks, writes, makes durable
    ledger.apply(result)                          # the owner's thread: heads and authority move on

Between `commit` and `apply` the owner still sees the state before; so the engine, which commits in another
thread, never acts on what is not durable. Reading is safe from the owner's thread at any time.

Memory: the heads and root leaves, about 700 bytes a log, and the acts; nothing grows with the entries.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from keys.errors import FormatError, HomeError, StorageError
from keys.signing import PublicKey, verify
from ledger.authority import Authority, evaluate_held
from ledger.council import ActEntry
from ledger.held import Kept, kept_rows, log_of
from ledger.ingest import Admission, Item, Outcome, Stretch, read_acts, read_forks
from ledger.layout import ARRIVAL, FORMAT, PLACE, U32, U64, LogState, decode_log
from ledger.measure import Measure
from ledger.storage import Reader, Storage
from protocol.body import parse_address
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.codec import decode, unpack_row
from protocol.entry import Entry, EntryId, NetworkId, Place, open_row, signed_bytes
from protocol.frame import Run
from protocol.limits import FRAME_BYTES_TARGET, FRAME_ENTRIES_MAX, MESSAGE_BYTES_MAX
from protocol.merkle import log_leaf, root, tree_root
from protocol.message import Fork, read_fork
from protocol.reconcile import Head, HeadIndex


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What one transaction did: an outcome for each item, in order, and what stands now."""

    outcomes: tuple[Outcome, ...]
    logs: tuple[LogState, ...]  # those that changed
    heads: Mapping[PublicKey, Head]  # of them, as peers are told
    authority: Authority
    acts: tuple[ActEntry, ...]

    @property
    def stretches(self) -> Iterator[Stretch]:
        """All admitted stretches, in order of arrival."""
        return (stretch for outcome in self.outcomes for stretch in outcome.new)


@dataclass(frozen=True, slots=True)
class Arrived:
    """An entry and the place it took in the order of arrival here."""

    arrival: int
    entry: Entry
    disputed: bool


def create(storage: Storage, charter_file: bytes) -> "Ledger":
    """A new ledger in an empty store. Raises HomeError when the store holds one already."""
    verify_charter(decode_charter_file(charter_file))
    with storage.write() as txn:
        if txn.get("meta", b"format") is not None:
            raise HomeError("this store holds a ledger already; choose another home")
        txn.put("meta", b"format", FORMAT)
        txn.put("meta", b"charter", charter_file)
        txn.put("meta", b"arrival", U64.pack(0))
    return load(storage)


def load(storage: Storage) -> "Ledger":
    """The ledger in `storage`. Cost: O(logs + acts). Raises HomeError or StorageError."""
    with storage.read() as txn:
        found = txn.get("meta", b"format")
        if found is None:
            raise HomeError("there is no ledger here; run hamkor init with a charter first")
        if found != FORMAT:
            raise HomeError(
                f"the store has format {found.decode('ascii', 'replace')}, this program reads format {FORMAT.decode()};"
                " make a new home and let it sync"
            )
        charter_file = txn.get("meta", b"charter") or b""
        charter = verify_charter(decode_charter_file(charter_file))
        acts = tuple(read_acts(txn))
        logs = [decode_log(key, raw) for key, raw in txn.scan("logs")]
        measure = Measure(charter.network_id, txn)
        states = {log.key: log for log in logs}
        authority = evaluate_held(
            charter, acts, read_forks(txn), lambda cutoff: measure.holds(states[cutoff.key], cutoff)
        )
        heads = [measure.head(log, authority) for log in logs]
    return Ledger(storage, charter_file, charter, acts, authority, logs, heads)


class Ledger:
    """One node's ledger. See the module for who may call what."""

    def __init__(
        self, storage: Storage, charter_file: bytes, charter: Charter, acts: tuple[ActEntry, ...], authority: Authority,
        logs: Sequence[LogState], heads: Iterable[Head],
    ) -> None:  # fmt: skip
        self.storage = storage
        self.charter_file = charter_file
        self.charter = charter
        self.network_id: NetworkId = charter.network_id
        self.authority = authority
        self.heads = HeadIndex(head for head in heads if _is_told(head, authority))
        self._acts = acts
        self._leaves = {log.key: _leaf(log) for log in logs if log.size}
        self._cuts = {log.key: log.size for log in logs if _is_cut(log)}
        self.entries = sum(log.size for log in logs)

    # -- writing ----------------------------------------------------------------------------------

    def commit(self, items: Sequence[Item]) -> CommitResult:
        """Admit `items` in order in one durable transaction. A refused item does not hold back the others.

        Raises StorageError with nothing changed when the disk fails. Cost: about 10 us an entry, 55 us a run.
        """
        with self.storage.write() as txn:
            admission = Admission(self.charter, self.authority, self._acts, txn)
            outcomes = tuple(admission.admit(item) for item in items)
            heads = admission.finish()
        return CommitResult(outcomes, tuple(admission.logs.values()), heads, admission.authority, tuple(admission.acts))

    def commit_whole(self, items: Iterator[Item]) -> CommitResult:
        """Like `commit`, but the first refusal undoes everything and is raised: for bundles. Memory is bounded."""
        outcome = Outcome()
        with self.storage.write() as txn:
            admission = Admission(self.charter, self.authority, self._acts, txn)
            for item in items:
                found = admission.admit(item)
                if found.refused is not None:
                    raise found.refused
                outcome.new += found.new
                outcome.duplicates += found.duplicates
                outcome.set_aside += found.set_aside
                outcome.diverged += found.diverged
                outcome.forks += found.forks
            heads = admission.finish()
        logs = tuple(admission.logs.values())
        return CommitResult((outcome,), logs, heads, admission.authority, tuple(admission.acts))

    def apply(self, result: CommitResult) -> None:
        """Move on to what `result` made durable. O(logs that changed)."""
        self.authority = result.authority
        self._acts = result.acts
        cuts = self._cuts
        for log in result.logs:
            before = cuts[log.key] if log.key in cuts else self.heads.get(log.key).size
            self.entries += log.size - before
            head = result.heads[log.key]
            if _is_told(head, self.authority):
                self.heads.put(head)
            else:
                self.heads.drop(log.key)
            if _is_cut(log):
                cuts = cuts | {log.key: log.size}
            elif log.key in cuts:
                cuts = {key: size for key, size in cuts.items() if key != log.key}
            if log.size:
                self._leaves[log.key] = _leaf(log)
            else:
                self._leaves.pop(log.key, None)
        self._cuts = cuts

    # -- what stands ------------------------------------------------------------------------------

    def root(self) -> bytes:
        """The ledger root over everything that counts (SPEC.md 7.3). O(logs) hashes."""
        return tree_root(self._leaves[key] for key in sorted(self._leaves))

    @property
    def acts(self) -> tuple[ActEntry, ...]:
        """The acts held that are not disputed, in no particular order. Some may be without effect, or void."""
        return tuple(act for act in self._acts if not act.beyond or act.key in self.authority.endorsed)

    @property
    def cuts(self) -> Mapping[PublicKey, int]:
        """The logs of which not all that is held counts, and how many entries do. A mapping of its own, not a view."""
        return self._cuts

    def status(self, entry: Entry | Kept) -> str:
        """Whether an entry counts: "ok", "disputed" (from a fork on), "void" (after a cutoff, or on a branch that
        was not endorsed) or "uncertified" (no chain of certificates reaches its author any longer).
        """
        standing = self.authority.of(entry.key)
        if standing is not None and entry.key not in self._cuts and entry.seq < self.heads.get(entry.key).size:
            return "ok"  # there is one branch, and all of it counts
        log = self.log(entry.key)
        if standing is None or log is None:
            return "uncertified"
        if entry.seq < log.size and self.ids_at(entry.key, [entry.seq]) == [(entry.seq, entry.id)]:
            return "ok"
        cutoff = self.authority.cutoff(entry.key)
        if cutoff is None:
            return "disputed"
        undecided = cutoff.id is not None and entry.seq <= cutoff.seq and log.size <= cutoff.seq
        return "disputed" if undecided else "void"

    def log(self, key: PublicKey) -> LogState | None:
        """What is known of `key`'s log."""
        with self.storage.read() as txn:
            return log_of(txn, key)

    def arrival(self) -> int:
        """How many entries have ever arrived: the cursor after the last."""
        with self.storage.read() as txn:
            return _number(txn.get("meta", b"arrival"))

    # -- entries ----------------------------------------------------------------------------------

    def entry(self, entry_id: bytes) -> Entry | None:
        """The entry with that id, or None."""
        with self.storage.read() as txn:
            place = txn.get("ids", entry_id)
            if place is None:
                return None
            aside = txn.get("branches", entry_id)
            if aside is None:
                return _entry_at(txn, place)
            _, prev, row = unpack_row(aside)
            number, seq = PLACE.unpack(place)
            known = EntryId(cast("bytes", prev)) if prev else None
            return open_row(cast("bytes", row), Place(_log_numbered(txn, number).key, seq, known))

    def ids_with(self, prefix: str, most: int = 10) -> list[EntryId]:
        """Ids that start with those hexadecimal digits, at most `most`. Raises FormatError on other characters."""
        try:
            start = bytes.fromhex(prefix + "0" * (64 - len(prefix)))
        except ValueError:
            raise FormatError(f"{prefix!r} is no id: an id is up to 64 hexadecimal digits") from None
        found: list[EntryId] = []
        with self.storage.read() as txn:
            for known, _ in txn.scan("ids", start):
                if not known.hex().startswith(prefix.lower()) or len(found) == most:
                    break
                found.append(EntryId(known))
        return found

    def ids_at(self, key: PublicKey, seqs: Sequence[int]) -> list[tuple[int, EntryId]]:
        """The ids at those seqs of a log, where it has them, disputed entries included."""
        with self.storage.read() as txn:
            raw = txn.get("logs", key)
            if raw is None:
                return []
            number = decode_log(key, raw).number
            rows = [(seq, txn.get("rows", PLACE.pack(number, seq))) for seq in seqs]
        return [(seq, EntryId(row[:32])) for seq, row in rows if row is not None]

    def run(
        self, key: PublicKey, first: int, stop: int, *, bytes_max: int = FRAME_BYTES_TARGET,
        entries_max: int = FRAME_ENTRIES_MAX,
    ) -> Run | None:  # fmt: skip
        """Entries `first` to below `stop` as they may be sent, or fewer, or None when there is nothing to send.

        At least one row is taken, then as many as fit in `bytes_max` and `entries_max`. The run ends on an entry
        whose own signature verifies, so that every receiver accepts it.
        """
        with self.storage.read() as txn:
            raw = txn.get("logs", key)
            if raw is None:
                return None
            log = decode_log(key, raw)
            told = min(self.heads.get(key).size, log.held) if self.authority.speaks(key) else 0
            stop = min(stop, max(log.size, told))
            if not 0 <= first < stop:
                return None
            prev = _id_before(txn, log.number, first)
            ids: list[EntryId] = []
            rows: list[bytes] = []
            taken = 0
            for _, value in txn.scan("rows", PLACE.pack(log.number, first), PLACE.pack(log.number, stop)):
                taken += len(value)
                if rows and (taken > bytes_max or len(rows) == entries_max):
                    break
                ids.append(EntryId(value[:32]))
                rows.append(value[32:])
            while rows and not self._signed(log, first + len(rows) - 1, rows[-1], ids[-2] if len(ids) > 1 else prev):
                ids.pop()
                rows.pop()
        return Run(key, first, prev, tuple(rows)) if rows else None

    def _signed(self, log: LogState, seq: int, row: bytes, prev: EntryId | None) -> bool:
        if seq == log.held - 1 and log.forked_at is None:
            return True  # admission verified the last entry of every run
        entry = open_row(row, Place(log.key, seq, prev))
        return verify(entry.key, signed_bytes(self.network_id, entry.header), entry.signature)

    def arrived(self, cursor: int, most: int = 1000) -> tuple[list[Arrived], int]:
        """Up to `most` entries from arrival number `cursor` on, in order, and the cursor after them."""
        found: list[Arrived] = []
        with self.storage.read() as txn:
            for arrival, log, first, stop in _stretches(txn, cursor, most):
                for at, entry in enumerate(_entries(txn, log, first, stop), arrival):
                    found.append(Arrived(at, entry, disputed=entry.seq >= log.size))
        return found, found[-1].arrival + 1 if found else cursor

    def kept(self, cursor: int, most: int) -> list[Kept]:
        """The same entries as `arrived`, as they are kept."""
        found: list[Kept] = []
        with self.storage.read() as txn:
            for arrival, log, first, stop in _stretches(txn, cursor, most):
                found += kept_rows(txn, log, first, stop, arrival)
        return found

    def log_entries(self, key: PublicKey, first: int = 0, most: int = 1000) -> list[Arrived]:
        """Entries of one log in order; `arrival` is not known here and is -1."""
        with self.storage.read() as txn:
            raw = txn.get("logs", key)
            if raw is None:
                return []
            log = decode_log(key, raw)
            stop = min(log.held, first + most)
            return [Arrived(-1, entry, disputed=entry.seq >= log.size) for entry in _entries(txn, log, first, stop)]

    def refs_named(self, key: PublicKey, first: int, stop: int) -> set[EntryId]:
        """All that entries `first` to below `stop` of a log name in their refs. Cost: 1 us an entry."""
        with self.storage.read() as txn:
            raw = txn.get("logs", key)
            if raw is None:
                return set()
            number = decode_log(key, raw).number
            found: set[EntryId] = set()
            for _, value in txn.scan("rows", PLACE.pack(number, first), PLACE.pack(number, stop)):
                found.update(cast("list[EntryId]", unpack_row(value[32:])[2]))
            return found

    # -- forks and addresses ----------------------------------------------------------------------

    def fork(self, key: PublicKey) -> Fork | None:
        """The proof of the lowest known fork of `key`'s log."""
        with self.storage.read() as txn:
            for _, raw in txn.scan("forks", key, key + b"\xff" * 9):
                return _fork(raw)
        return None

    def forks(self) -> list[tuple[PublicKey, int, Fork]]:
        """All fork proofs held: key, seq, proof."""
        with self.storage.read() as txn:
            return [(PublicKey(at[:32]), _number(at[32:]), _fork(raw)) for at, raw in txn.scan("forks")]

    def addresses(self) -> dict[PublicKey, tuple[str, ...]]:
        """The addresses each certified node last published."""
        found: dict[PublicKey, tuple[str, ...]] = {}
        with self.storage.read() as txn:
            for index_key, _ in txn.scan("kinds", b"address\x00", b"address\x01"):
                entry = _entry_at(txn, index_key[8:])
                if entry.body is None or not self.authority.is_node(entry.key):
                    continue
                try:
                    found[entry.key] = parse_address(entry.body).addresses
                except FormatError:
                    continue  # shown by `hamkor log`; it names no address
        return found


def _is_told(head: Head, authority: Authority) -> bool:
    """Whether peers hear of a log: nodes that hold none of it, and nodes where nothing of it counts, must agree."""
    return authority.admits(head.key) and (head.size > 0 or head.forked)


def _is_cut(log: LogState) -> bool:
    return log.held > log.size or log.forked_at is not None


def _leaf(log: LogState) -> bytes:
    return log_leaf(log.key, log.size, root(log.peaks))


def _number(raw: bytes | None) -> int:
    return int.from_bytes(raw or b"", "big")


def _fork(raw: bytes) -> Fork:
    try:
        value = decode(raw, size_max=MESSAGE_BYTES_MAX)
        if isinstance(value, list) and len(value) == 4:
            return read_fork(*value)
    except FormatError:
        pass  # told below, like any other damage
    raise StorageError("a fork proof in the store is damaged; run hamkor audit on this home")


def _log_numbered(txn: Reader, number: int) -> LogState:
    key = txn.get("numbers", U32.pack(number))
    raw = None if key is None else txn.get("logs", key)
    if key is None or raw is None:
        raise StorageError(f"log number {number} is missing from the store; run hamkor audit on this home")
    return decode_log(key, raw)


def _id_before(txn: Reader, number: int, seq: int) -> EntryId | None:
    if seq == 0:
        return None
    raw = txn.get("rows", PLACE.pack(number, seq - 1))
    if raw is None:
        raise StorageError(f"entry {seq - 1} of log number {number} is missing; run hamkor audit on this home")
    return EntryId(raw[:32])


def _entries(txn: Reader, log: LogState, first: int, stop: int) -> Iterator[Entry]:
    if first >= stop:
        return
    prev = _id_before(txn, log.number, first)
    seq = first
    for _, value in txn.scan("rows", PLACE.pack(log.number, first), PLACE.pack(log.number, stop)):
        entry = open_row(value[32:], Place(log.key, seq, prev))
        yield entry
        prev, seq = EntryId(value[:32]), seq + 1


def _entry_at(txn: Reader, place: bytes) -> Entry:
    number, seq = PLACE.unpack(place)
    for entry in _entries(txn, _log_numbered(txn, number), seq, seq + 1):
        return entry
    raise StorageError(f"entry {seq} of log number {number} is missing; run hamkor audit on this home")


def _stretches(txn: Reader, cursor: int, most: int) -> Iterator[tuple[int, LogState, int, int]]:
    """(arrival number of the first, log, its first seq, that after its last) of what arrived together.

    In order, from arrival number `cursor` on, at most so many entries in all. Numbers whose entries made way for
    another branch are left out.
    """
    logs: dict[int, LogState] = {}
    for raw_arrival, value in txn.scan("arrivals", U64.pack(_stretch_start(txn, cursor))):
        number, first, count = ARRIVAL.unpack(value)
        if number not in logs:
            logs[number] = _log_numbered(txn, number)
        begins = U64.unpack(raw_arrival)[0]
        skip = max(0, cursor - begins)
        taken = min(count - skip, most)
        if taken > 0:
            yield begins + skip, logs[number], first + skip, first + skip + taken
            most -= taken
        if most <= 0:
            return


def _stretch_start(txn: Reader, cursor: int) -> int:
    """The arrival number at which the stretch that holds `cursor` starts."""
    if txn.get("arrivals", U64.pack(cursor)) is not None:
        return cursor
    before = txn.before("arrivals", U64.pack(cursor))
    return U64.unpack(before[0])[0] if before else cursor
