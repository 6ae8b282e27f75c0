"""Files that are there wholly or not at all, and durable when the call returns."""

import os
from collections.abc import Callable
from pathlib import Path


def create_file(path: Path, content: bytes) -> None:
    """Write a new file, mode 0600. Raises FileExistsError, with nothing changed, when `path` exists."""
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)  # unlike a rename, this fails when the target is there
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes | Callable[[int], bytes]) -> None:
    """Write a file, mode 0600, in place of the one that may be there. content: or what makes it of the descriptor."""
    _write_temporary(path, content).replace(path)
    sync_folder(path.parent)


def _write_temporary(path: Path, content: bytes | Callable[[int], bytes]) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        view = memoryview(content if isinstance(content, bytes) else content(descriptor))
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return temporary


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
