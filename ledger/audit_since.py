"""What an earlier audit covered, named by a checkpoint: `hamkor audit --since`. Used by `ledger/audit.py`."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeAlias

from keys.errors import AdmissionError, NetworkMismatchError, UsageError
from keys.signing import PublicKey
from ledger.audit_checkpoint import read_chain
from protocol.checkpoint import Note, check_note, parse_checkpoint
from protocol.entry import EntryId, NetworkId

ID_DIGITS_MIN: Final = 12  # of a checkpoint's id: fewer could be met by another

Mark: TypeAlias = str | Note  # the beginning of an id, hexadecimal, or a signed note


@dataclass(frozen=True, slots=True)
class AuditedBefore:
    """A checkpoint up to whose state everything was audited."""

    key: PublicKey  # the node's
    seq: int
    id: EntryId
    root: bytes
    state: dict[PublicKey, tuple[int, EntryId]]


def find_mark(
    mark: Mark, network_id: NetworkId, entries: Iterator[tuple[PublicKey, int, EntryId, bytes]]
) -> AuditedBefore:
    """The checkpoint that `mark` names, among the checkpoint entries of a source, log by log in order.

    Nothing is believed for being found: the audit compares the state with what is there. Raises UsageError when
    there is none, NetworkMismatchError when the note is of another network.
    """
    if isinstance(mark, Note) and mark.network_id != network_id:
        raise NetworkMismatchError("the note after --since is of another network than the charter")
    if isinstance(mark, str) and len(mark) < ID_DIGITS_MIN:
        raise UsageError(f"give at least {ID_DIGITS_MIN} digits of the checkpoint's id after --since")
    found: list[AuditedBefore] = []
    for key, group in groupby(entries, key=lambda entry: entry[0]):
        last: tuple[EntryId, bytes] | None = None

        def bodies(entries: Iterator[tuple[PublicKey, int, EntryId, bytes]] = group) -> Iterator[tuple[int, bytes]]:
            nonlocal last
            for _, seq, known, body in entries:
                last = known, body
                yield seq, body

        for seq, whole, _, chain in read_chain(bodies()):
            if whole is not None and last is not None and _is_meant(mark, key, *last):
                found.append(AuditedBefore(key, seq, last[0], whole.root, dict(chain.state)))
    if not found:
        raise UsageError("there is no checkpoint here such as --since names; audit without it")
    if isinstance(mark, str) and len(found) > 1:
        raise UsageError("several checkpoints have an id that begins like this; give more digits after --since")
    return found[-1]


def _is_meant(mark: Mark, key: PublicKey, known: EntryId, body: bytes) -> bool:
    if isinstance(mark, str):
        return known.hex().startswith(mark)
    read = parse_checkpoint(body)
    if (read.note, read.root, read.logs, read.entries) != (mark.signature, mark.root, mark.logs, mark.entries):
        return False
    try:
        check_note(mark, key)
    except AdmissionError:
        return False
    return True
