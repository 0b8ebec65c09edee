"""Two locks of a project: the state mutex, held for milliseconds, and the run lock, held while a step lives.

The run lock is a plain ``flock``: it belongs to the open file, so a runner that inherits the descriptor holds it
without a gap, and the system frees it when the last holder is gone, however it went. Where a step removes its file, the
runner that the project names keeps others out until it has the lock once more, or is gone.
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

    def take_again(self, layout: Layout) -> bool:
        """Take the lock anew whose file was removed; False where another process has that one by now.

        Raises StorageError where its file cannot be made.
        """
        fresh = RunLock.try_take(layout)
        if fresh is None:
            return False
        os.set_inheritable(fresh.fd, False)
        self.close_here()
        self.fd = fresh.fd
        return True

    def close_here(self) -> None:
        """Close this process's descriptor. The lock stays held as long as a child has a copy open."""
        os.close(self.fd)


def is_run_locked(layout: Layout) -> bool:
    """Whether a step is alive. Writes nothing. Raises StorageError.

    Where the lock's file is gone, which a step may have removed with all of .git, it is alive as its runner is.
    """
    try:
        fd = os.open(layout.run_lock, os.O_RDONLY)
    except FileNotFoundError:
        return _lives_unlocked(layout)
    except OSError as error:
        from aiframe.store.atomic import StorageError, cure_for

        raise StorageError(f"{layout.run_lock}: cannot look: {error.strerror}", hint=cure_for(error)) from error
    try:
        # Shared, so that any number may look at once.
        return not try_lock(fd, shared=True)
    finally:
        os.close(fd)


def _lives_unlocked(layout: Layout) -> bool:
    """Whether the runner lives that the project names: by its control record, or by STATE.json where that is gone."""
    try:
        data = layout.state_json.read_bytes()
    except OSError:
        data = b""
    if b"RUNNING" not in data and not layout.control_json.exists():
        return False  # most projects without the lock's file have never had a step

    from aiframe.core.errors import AiframeError
    from aiframe.process import is_alive
    from aiframe.store.codec import parse_state, runner_in
    from aiframe.store.control import read_control

    try:
        record = read_control(layout)
        if record is not None:
            return record.project.run is not None and is_alive(record.project.run.runner)
        runner = runner_in(parse_state(layout.state_json, data))
    except AiframeError:
        return False
    return runner is not None and is_alive(runner)


def _is_named(fd: int, layout: Layout) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(layout.run_lock))
    except FileNotFoundError:
        return False
