"""Reading a home's ledger beside a running daemon, and writing parts of it as bundles."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from keys.errors import LocalError
from keys.signing import PublicKey
from ledger.lmdb_store import open_lmdb
from ledger.store import Ledger, load
from node.commands.common import check_target
from node.direct import check_network
from node.home import Home
from protocol.bundle import BundleWriter
from protocol.frame import encode_frame
from protocol.message import Frame


@contextmanager
def open_reader(home: Home) -> Iterator[Ledger]:
    """The ledger of a home, read-only; a daemon may be running."""
    storage = open_lmdb(home.store_path, readonly=True)
    try:
        ledger = load(storage)
        check_network(ledger, home)
        yield ledger
    finally:
        storage.close()


def write_bundle(ledger: Ledger, put: Callable[[bytes], object], logs: Mapping[PublicKey, int]) -> int:
    """Write a bundle of each log from its seq on, those of keys that certify first; returns how many entries.

    Memory: one frame. Fork proofs of the logs go in too.
    """
    writer = BundleWriter(put, ledger.network_id)
    rank = {"agency": 0, "admin": 1}
    standing = ledger.authority.of
    count = number = 0
    for key in sorted(logs, key=lambda k: (rank.get(known.rank, 2) if (known := standing(k)) else 3, k)):
        first = logs[key]
        while run := ledger.run(key, first, ledger.heads.get(key).size):
            writer.add(Frame(number, encode_frame([run], compress=False)))
            count, number, first = count + len(run.rows), number + 1, run.end
    for key, _, proof in ledger.forks():
        if key in logs:
            writer.add(proof)
    writer.close()
    return count


def write_bundle_file(ledger: Ledger, path: Path, logs: Mapping[PublicKey, int]) -> int:
    """`write_bundle` into a file, mode 0600, in place of an older bundle, wholly or not at all; durable then.

    Raises LocalError: the disk, or a file of another kind that stands there.
    """
    check_target(path, "bundle")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
            count = write_bundle(ledger, file.write, logs)
            file.flush()
            os.fsync(file.fileno())  # a stick is pulled out as soon as the command ends
        partial.replace(path)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    return count
