"""A file replaced whole: the one way in which a file that must survive a crash is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_TRIES = 5
"""So often is a file begun whose temporary name somebody takes away: an agent that runs `git clean -fdx`."""


def replace_file(
    path: Path,
    content: bytes,
    mode: int | None = None,
    *,
    durable: bool = True,
    still: Callable[[], bool] | None = None,
) -> bool:
    """Make *content* all that *path* holds: a crash leaves the old bytes or the new, never a mix.

    On return the new bytes survive a power cut, unless *durable* is false. *mode* are the permission bits, None what
    the umask gives. *still* is asked in the last moment whether *path* may be replaced; where it may not, nothing is
    done and False returned. Raises OSError; the old bytes then stand.
    """
    for left in reversed(range(_TRIES)):
        # Unique, so that two writers never share a temporary file and a leftover never blocks. Git ignores such names.
        temporary = path.parent / f".aiframe-{path.name}.{os.getpid()}.{os.urandom(6).hex()}.tmp"
        try:
            _fill(temporary, content, mode, durable=durable)
            if still is not None and not still():
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
                return False
            if _renamed(temporary, path, last=not left):
                break
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    if durable:
        sync_folder(path.parent)  # a rename is durable only once its folder is
    return True


def _renamed(temporary: Path, path: Path, *, last: bool) -> bool:
    """Whether *temporary* took the place of *path*; False where it was gone, unless this is the *last* try."""
    try:
        os.rename(temporary, path)
    except FileNotFoundError:
        if last:
            raise
        return False
    return True


def sync_folder(path: Path) -> None:
    """Make the names in the folder *path* survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of *content*. Raises OSError."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _fill(path: Path, content: bytes, mode: int | None, *, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644 if mode is None else 0o600)
    try:
        write_all(descriptor, content)
        if mode is not None:
            os.fchmod(descriptor, mode)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
