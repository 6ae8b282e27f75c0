"""Files that are there wholly or not at all, and durable when the call returns."""

import os
from collections.abc import Callable
from pathlib import Path


def create_file(path: Path, content: bytes) -> None:
    """Write a new file, mode 0600. Raises FileExistsError, with nothing changed, when `path` exists."""
    temporary = _temporary(path)
    make_file(temporary, lambda _: content)
    try:
        os.link(temporary, path)  # unlike a rename, this fails when the target is there
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, mode 0600, in place of the one that may be there."""
    temporary = _temporary(path)
    make_file(temporary, lambda _: content)
    settle_file(temporary, path)


def make_file(path: Path, content: Callable[[int], bytes]) -> None:
    """Write a file, mode 0600, that is another than the one that may be there, which is gone when this fails.

    content: told the new file's descriptor. Cost: one sync, which makes the name durable too: ext4 and XFS log the
    name and the file in one transaction, or earlier, and btrfs logs the names of a new file with it. Where a file
    system leaves the name to a sync of the folder, `sync_folder` is needed.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        path.unlink()
        descriptor = os.open(path, flags, 0o600)
    try:
        view = memoryview(content(descriptor))
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def settle_file(temporary: Path, path: Path) -> None:
    """Give a file that was made under another name in that folder its own one, durably."""
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
