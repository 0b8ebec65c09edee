"""Writes that survive a crash, and reads that stay bounded."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiframe.core.errors import AiframeError, UnreadableFile
from aiframe.core.problem import Problem
from aiframe.durable import replace_file, sync_folder, write_all

LIMIT = 10 * 1024 * 1024
"""The most bytes that any file of a project may have to be read as a whole."""

_CURES = {
    errno.ENOSPC: "the disk is full: free some space there, then run the command again",
    errno.EDQUOT: "your disk quota is used up: free some space, then run the command again",
    errno.EROFS: "the file system is read-only: mount it writable, or move the project",
    errno.EACCES: "permission denied: check the owner and mode of this path with `ls -ld`",
    errno.EPERM: "permission denied: check the owner, mode and attributes of this path with `ls -ld`",
    errno.EIO: "the disk reports an error: check it (the system log says more) before you go on",
    errno.EMFILE: "too many open files: raise the limit with `ulimit -n`",
    errno.ENFILE: "too many open files on this machine: close some programs",
    errno.EISDIR: "a folder stands where a file belongs: move it away",
    errno.ENOTDIR: "a file stands where a folder belongs: move it away",
    errno.ELOOP: "a symbolic link stands where a file belongs: remove it",
}
_UNUSABLE = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP})


class StorageError(AiframeError):
    """A file could not be written or read; what stood there before still stands. The hint names the cure."""

    exit_code = 1


def cure_for(error: OSError) -> str:
    """What a person can do about *error*."""
    return _CURES.get(error.errno or 0, "put this right, then run the command again")


@contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that says what failed, where, and the cure."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{path}: cannot {doing}: {reason}", hint=cure_for(error)) from error


def write_durable(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Replace *path* whole: a crash leaves the old bytes or the new, never a mix.

    On return the new bytes survive a power cut. *mode* is for a new file; one that exists keeps its own.
    Raises StorageError; the old bytes then stand.
    """
    _replace(path, data, mode, durable=True)


def write_durable_while(path: Path, data: str, still: Callable[[], bool]) -> bool:
    """As write_durable, where *still*() says in the last moment that *path* may be replaced; whether it was."""
    with storage_errors(path, "write"):
        return replace_file(path, data.encode(), _mode_of(path, 0o644), still=still)


def write_atomic(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """As write_durable, but a power cut may lose the new bytes: for copies that can be made again."""
    _replace(path, data, mode, durable=False)


def _replace(path: Path, data: str | bytes, mode: int, *, durable: bool) -> None:
    content = data.encode() if isinstance(data, str) else data
    with storage_errors(path, "write"):
        replace_file(path, content, _mode_of(path, mode), durable=durable)


def sweep_temporaries(folder: Path) -> None:
    """Remove from *folder* what killed writers of this machine have left there. Best effort."""
    from aiframe.process.identity import start_time  # knows a zombie, which still takes signals

    for path in folder.glob(".aiframe-*.*.*.tmp"):
        writer = path.name.split(".")[-3]
        if writer.isdigit() and start_time(int(writer)) is None:
            with suppress(OSError):
                path.unlink()


def _mode_of(path: Path, default: int) -> int | None:
    """The permission bits to give on top of the umask's: those of the file that is replaced, else None."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None if default == 0o644 else default
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None


def append_durable(path: Path, line: bytes) -> None:
    """Add *line* to the end of *path*; a newline is added where one is missing, before it (a torn line) or after it.

    Raises StorageError. A symbolic link is refused: an agent could have pointed it anywhere.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with storage_errors(path, "append"):
        descriptor = os.open(path, flags, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            end = b"" if line.endswith(b"\n") else b"\n"
            write_all(descriptor, (b"\n" if torn else b"") + line + end)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if size == 0:
            sync_folder(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in the folder *path* survive a power cut. Raises StorageError."""
    with storage_errors(path, "sync"):
        sync_folder(path)


def make_folder(path: Path) -> None:
    """Make the folder *path* with its parents, durably. One that exists is fine. Raises StorageError."""
    with storage_errors(path, "make the folder"):
        if path.is_dir():
            return
        path.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent)


def read_bounded(path: Path, limit: int = LIMIT, cure: str = "") -> bytes:
    """All bytes of the regular file *path*.

    *cure* is what to do where something else stands there, for a file that a person has named. Raises
    FileNotFoundError where there is none, UnreadableFile for one that is larger than *limit* bytes or no readable
    file, StorageError where the disk fails.
    """
    with storage_errors(path, "read"):
        try:
            return _read(path, limit, cure)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in _UNUSABLE:
                raise
            problem = Problem(path, f"cannot be read: {error.strerror}", hint=cure or cure_for(error))
            raise UnreadableFile([problem]) from error
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _read(path: Path, limit: int, cure: str) -> bytes:
    # Not blocking: a named pipe in the place of the file must not hang us.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableFile(
                [Problem(path, "is no regular file", hint=cure or "move it away and put the file back")]
            )
        if found.st_size > limit:
            raise _too_large(path, found.st_size, limit)
        parts = []
        size = 0
        while block := os.read(descriptor, 1 << 20):
            parts.append(block)
            size += len(block)
            if size > limit:  # it grew while we read
                raise _too_large(path, size, limit)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _too_large(path: Path, size: int, limit: int) -> UnreadableFile:
    message = f"has {size} bytes; at most {limit} are read"
    return UnreadableFile([Problem(path, message, hint="shorten the file; keep long texts in files of their own")])
