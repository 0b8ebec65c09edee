"""Two locks of a project: the state mutex, held for milliseconds, and the run lock, held while a step lives.

The run lock is a plain ``flock``: it belongs to the open file, so a runner that inherits the descriptor holds it
without a gap, and the system frees it when the last holder is gone, however it went.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from aiframe.flocks import try_lock
from aiframe.store.layout import Layout

_RETRY_S = 0.005


@contextmanager
def state_mutex(layout: Layout, timeout_s: float = 10) -> Iterator[None]:
    """Hold the project's state mutex for the block. Not reentrant; never inherited by a child process.

    Raises LockHeld after *timeout_s*, StorageError where the lock's file cannot be made.
    """
    from filelock import FileLock, Timeout

    from aiframe.core.errors import LockHeld
    from aiframe.store.atomic import make_folder, storage_errors

    make_folder(layout.control_dir)
    lock = FileLock(layout.mutex, timeout=timeout_s, poll_interval=_RETRY_S, thread_local=False)
    with storage_errors(layout.mutex, "lock"):
        try:
            lock.acquire()
        except Timeout:
            from shlex import quote

            message = f"{layout.root}: another aiframe process has been changing its state for {timeout_s:g} s"
            cure = f"run the command again; if it stays so, `fuser {quote(str(layout.mutex))}` names the process"
            raise LockHeld(message, hint=cure) from None
    try:
        yield
    finally:
        lock.release()


class RunLock:
    """The right to carry a step of the project: whoever holds a copy of *fd* open holds the lock."""

    __slots__ = ("fd",)
    fd: int

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def try_take(cls, layout: Layout, retry_for_s: float = 0.0) -> Self | None:
        """The lock, or None where somebody else holds it. Raises StorageError where its file cannot be made.

        *retry_for_s* outlasts those who merely look whether it is held.
        """
        from aiframe.store.atomic import make_folder, storage_errors

        make_folder(layout.control_dir)
        give_up = time.monotonic() + retry_for_s
        with storage_errors(layout.run_lock, "lock"):
            while True:
                fd = os.open(layout.run_lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
                if try_lock(fd):
                    if _is_named(fd, layout):
                        return cls(fd)
                    os.close(fd)  # somebody removed the file meanwhile: that lock is worth nothing
                    continue
                os.close(fd)
                if time.monotonic() >= give_up:
                    return None
                time.sleep(_RETRY_S)

    @classmethod
    def adopt(cls, fd: int) -> Self:
        """The lock behind the inherited descriptor *fd*; it is not passed on to further children.

        Raises LockHeld where *fd* is no descriptor of the lock, or another process has the lock.
        """
        from aiframe.core.errors import LockHeld

        cure = "start a step with `aiframe tick`, which hands the lock over"
        try:
            os.set_inheritable(fd, False)
            held = try_lock(fd)  # takes nothing where it is ours already
        except OSError as error:
            raise LockHeld(f"descriptor {fd} is not the run lock: {error.strerror}", hint=cure) from error
        if not held:
            raise LockHeld(f"the run lock behind descriptor {fd} belongs to another process", hint=cure)
        return cls(fd)

    def is_current(self, layout: Layout) -> bool:
        """Whether the lock's path still names the file we hold; if not, someone removed it and others may start."""
        return _is_named(self.fd, layout)

    def close_here(self) -> None:
        """Close this process's descriptor. The lock stays held as long as a child has a copy open."""
        os.close(self.fd)


def is_run_locked(layout: Layout) -> bool:
    """Whether a step is alive. Writes nothing; a folder without the lock's file is not locked. Raises StorageError."""
    try:
        fd = os.open(layout.run_lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        from aiframe.store.atomic import StorageError, cure_for

        raise StorageError(f"{layout.run_lock}: cannot look: {error.strerror}", hint=cure_for(error)) from error
    try:
        # Shared, so that any number may look at once.
        return not try_lock(fd, shared=True)
    finally:
        os.close(fd)


def _is_named(fd: int, layout: Layout) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(layout.run_lock))
    except FileNotFoundError:
        return False
