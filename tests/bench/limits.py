"""What the machine allows, measured beside what is held against it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import lmdb
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair

_MESSAGE = bytes(300)
_SIGNED = 2000  # signatures in one figure: about a tenth of a second


def signing(count: int = _SIGNED) -> float:
    """Signatures per second by libsodium on one core, through PyNaCl's lowest call."""
    _, secret = crypto_sign_seed_keypair(bytes(32))
    start = time.perf_counter()
    for _ in range(count):
        crypto_sign(_MESSAGE, secret)
    return count / (time.perf_counter() - start)


def verifying(count: int = _SIGNED) -> float:
    """Verifications per second by libsodium on one core, through PyNaCl's lowest call."""
    public, secret = crypto_sign_seed_keypair(bytes(32))
    signed = crypto_sign(_MESSAGE, secret)
    start = time.perf_counter()
    for _ in range(count):
        crypto_sign_open(signed, public)
    return count / (time.perf_counter() - start)


@contextmanager
def committing(folder: Path) -> Iterator[Callable[[], float]]:
    """A function that gives LMDB's durable commits of one small value per second, on that disk."""
    with closing(lmdb.open(str(folder / "limit"), map_size=1 << 28)) as environment:
        at = 0

        def rate(count: int = 300) -> float:
            nonlocal at
            start = time.perf_counter()
            for _ in range(count):
                at += 1
                with environment.begin(write=True) as txn:
                    txn.put(at.to_bytes(8, "big"), _MESSAGE, append=True)
            return count / (time.perf_counter() - start)

        yield rate


def remembering(folder: Path, count: int = 300) -> float:
    """How often a second a small new file can be made, synced, and put in the place of the one before."""
    new, path = folder / "limit.new", folder / "limit.file"
    start = time.perf_counter()
    for _ in range(count):
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, _MESSAGE)
        os.fsync(descriptor)
        os.close(descriptor)
        new.replace(path)
    return count / (time.perf_counter() - start)
