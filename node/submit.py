"""Signing entries on this machine, and reading what became of them. Used by the client and by the daemon.

The order is what makes a signature safe: prepare (where does the log stand?), build and sign the rows, make
the high-water mark durable, and only then let the rows out. After a crash between the last two steps the mark
still holds the rows, and they are submitted again before anything else is signed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from keys.errors import AdmissionError, FormatError, LocalError
from keys.mark import Mark
from keys.signing import PublicKey, SigningKey
from protocol.body import with_acts
from protocol.codec import Value, decode, encode
from protocol.entry import EntryId, NetworkId, Place
from protocol.frame import Draft, Run, sign_run
from protocol.limits import FRAME_BYTES_MAX, FRAME_ENTRIES_MAX, REFS_MAX

if TYPE_CHECKING:  # the client signs, and admits nothing
    from ledger.ingest import Outcome
    from ledger.store import CommitResult, Ledger

BATCH_MAX = 500  # entries signed and submitted together
_REQUEST_BYTES_MAX = 2 * FRAME_BYTES_MAX
_STORE_PER_BUNDLE = 3  # bytes of store that a byte of a bundle may take, indices and spare pages included


def naming(drafts: Sequence[Draft], acts: Sequence[EntryId]) -> list[Draft]:
    """The drafts, the first of which also names `acts` in its refs, as many as fit: what its writer knew."""
    (kind, body, refs), *rest = drafts
    named = [act for act in acts if act not in refs][: REFS_MAX - len(refs)]
    if kind == "step" and named:
        body = with_acts(body, named)
    return [(kind, body, (*refs, *named)), *rest]


def sign_batch(
    signer: SigningKey, network_id: NetworkId, mark: Mark, place: Place, drafts: Sequence[Draft], time_ms: int
) -> tuple[Run, list[EntryId]]:
    """Sign `drafts` as the next entries at `place`; the mark is durable when this returns.

    time_ms: of all of them; not before the log's last entry. Returns the run to submit and its entries' ids.
    Raises FormatError on a draft that is too large, and LocalError on too many.
    """
    if not 0 < len(drafts) <= FRAME_ENTRIES_MAX:
        raise LocalError(f"a batch is of 1 to {FRAME_ENTRIES_MAX} entries")
    run, ids = sign_run(signer, network_id, place, drafts, time_ms)
    remember(mark, run, ids)
    return run, ids


def remember(mark: Mark, run: Run, ids: Sequence[EntryId]) -> None:
    """Let the mark hold a run that was signed just now; durable when this returns, and only then may it be let out."""
    mark.advance(run.end - 1, ids[-1], (encode(run_request(run)),), first_seq=run.seq)


def run_request(run: Run) -> dict[str, Value]:
    """The request that submits a run."""
    return {"op": "submit", "key": run.key, "seq": run.seq, "prev": run.prev, "rows": list(run.rows)}


def read_run(request: Mapping[str, Value]) -> Run:
    """The run in a submit request. Raises FormatError on a wrong shape; its content is for admission to check."""
    match request:
        case {"key": bytes() as key, "seq": int() as seq, "prev": None | bytes() as prev, "rows": [*rows]} if rows:
            if len(key) != 32 or seq < 0 or not all(isinstance(row, bytes) for row in rows):
                raise FormatError("a submitted run has a 32-byte key, a seq, and rows of bytes")
            return Run(PublicKey(key), seq, cast("EntryId | None", prev), tuple(cast("list[bytes]", rows)))
        case _:
            raise FormatError('a submitted run is {"key", "seq", "prev", "rows"}')


def pending_runs(mark: Mark) -> list[Run]:
    """The runs that were signed last and may not have been admitted."""
    found = []
    for blob in mark.pending:
        value = decode(blob, size_max=_REQUEST_BYTES_MAX)
        if isinstance(value, dict):
            found.append(read_run(value))
    return found


def submit_answer(outcome: "Outcome") -> dict[str, Value]:
    """What to tell the writer: how many entries are durable. Raises what they were refused for."""
    if outcome.refused is not None:
        raise outcome.refused
    for aside in outcome.set_aside:
        if aside.reason == "uncertified":
            raise AdmissionError(
                "uncertified",
                f"key {aside.key.hex()[:12]} has no certificate chain to the charter;"
                " have its card certified by its agency (hamkor certify) and the certificate synced here",
            )
        if aside.reason == "forked":
            raise AdmissionError("forked", f"log {aside.key.hex()[:12]} is forked; nothing can be added to it")
        if aside.reason == "void":
            raise AdmissionError("revoked", f"key {aside.key.hex()[:12]} was revoked meanwhile; nothing was written")
    if outcome.set_aside or outcome.forks or outcome.diverged:
        raise AdmissionError("moved", "the log has moved on since the entry was prepared; prepare it again")
    return {"admitted": sum(stretch.count for stretch in outcome.new), "duplicates": outcome.duplicates}


def commit_bundle(ledger: "Ledger", path: str) -> "CommitResult":
    """Admit the bundle in a file wholly or not at all; the caller applies the result.

    Raises LocalError when the file cannot be read, and RemoteError or StorageError with nothing changed.
    """
    from protocol.bundle import read_bundle  # not above: the client signs, and reads no bundles
    from protocol.message import Frame

    try:
        with Path(path).open("rb") as file:
            ledger.storage.reserve(_STORE_PER_BUNDLE * Path(path).stat().st_size)
            messages = read_bundle(file, ledger.network_id)
            return ledger.commit_whole(item.frame if isinstance(item, Frame) else item for item in messages)
    except OSError as error:
        raise LocalError(f"the bundle {path} cannot be read: {error.strerror}") from None


def import_answer(outcome: "Outcome") -> dict[str, Value]:
    """What a bundle brought."""
    reasons = sorted(aside.reason for aside in outcome.set_aside)
    return {
        "admitted": sum(stretch.count for stretch in outcome.new),
        "duplicates": outcome.duplicates,
        "set_aside": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "forks": len(outcome.forks),
        "diverged": len(outcome.diverged),
    }
