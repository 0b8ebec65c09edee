"""Starting a guardian: a copy of this process where such a copy is whole, an interpreter of its own elsewhere.

A copy is there in a quarter of the time. It shows neither what this process was started with nor its environment: those
who look for what a run has left find it by the cookie of the run, as they find all else.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, NoReturn, Self, TypeAlias

from aiframe import guardian
from aiframe.core.ports import Command
from aiframe.process.cookies import cookies_in
from aiframe.process.fork import can_fork, close_all_but, memory_shown, show, take_default_signals
from aiframe.process.start import not_started

_FOLDER = os.path.dirname(os.path.dirname(guardian.__file__))
_CODE = f"import sys; sys.path.append({_FOLDER!r}); from aiframe.%s import main; main(sys.argv[1:])"
"""Imported rather than run as a script: then Python takes it from its cache instead of compiling it each time."""

_UNKNOWN = -9
"""The exit code of a child that somebody else has waited for."""

_TITLE = "aiframe.guardian"


class Copy:
    """A child of this process that is a copy of it: what of `subprocess.Popen` its starter needs."""

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = os.fdopen(stdin, "wb", buffering=0) if stdin >= 0 else None
        self.stdout: IO[bytes] | None = os.fdopen(stdout, "rb", buffering=0)
        self.stderr: IO[bytes] | None = os.fdopen(stderr, "rb", buffering=0)
        self.returncode: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        self.wait()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        return self._collect(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        code = self._collect(0)
        return _UNKNOWN if code is None else code

    def kill(self) -> None:
        """SIGKILL, unless its end is known."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _collect(self, options: int) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                self.returncode = _UNKNOWN
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


Guardian: TypeAlias = "subprocess.Popen[bytes] | Copy"


def start_guardian(
    command: Command, env: Mapping[str, str], cookie: str, program: str = "guardian", keep_fds: Sequence[int] = ()
) -> tuple[Guardian, IO[bytes], IO[bytes]]:
    """The guardian, the end of the lifeline to write to and the end of the status pipe to read from.

    *program* is the module of aiframe that it runs; one that is not the guardian itself, or that inherits *keep_fds*,
    gets an interpreter of its own.

    Raises MissingProgram where none can be started.
    """
    life_read, life_write = os.pipe()
    status_read, status_write = os.pipe()
    alone = program == "guardian" and not keep_fds
    process: Guardian
    try:
        if alone and life_read > 2 and can_fork() and _has_room_for(_cookies(env)):
            process = _copied(command, env, cookie, life_read, status_write)
        else:
            words = [_CODE % program, str(life_read), str(status_write), cookie, env.get("LC_CTYPE", "")]
            process = _interpreted(command, env, words, (life_read, status_write, *keep_fds))
    except (OSError, ValueError) as error:
        os.close(life_write)
        os.close(status_read)
        raise not_started(command.argv, error) from error
    finally:
        os.close(life_read)
        os.close(status_write)
    return process, os.fdopen(life_write, "wb", buffering=0), os.fdopen(status_read, "rb", buffering=0)


def _interpreted(
    command: Command, env: Mapping[str, str], words: Sequence[str], keep_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", *words, *command.argv], cwd=command.cwd, env=dict(env),
        stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, bufsize=0, start_new_session=True, pass_fds=tuple(keep_fds),
    )  # fmt: skip


def _copied(command: Command, env: Mapping[str, str], cookie: str, lifeline: int, status: int) -> Copy:
    """A guardian that is a copy of this process. To be called where nothing else stands on the standard streams."""
    its_in, our_in = os.pipe() if command.stdin else (os.open(os.devnull, os.O_RDONLY), -1)
    our_out, its_out = os.pipe()
    our_err, its_err = os.pipe()
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:  # unless it is blocked now, a signal would have the copy do what this process does then
            pid = os.fork()
            if pid == 0:
                _live(command, env, cookie, (its_in, its_out, its_err), lifeline, status)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except OSError:
        for ours in (our_in, our_out, our_err):
            if ours >= 0:
                os.close(ours)
        raise
    finally:
        for its in (its_in, its_out, its_err):
            os.close(its)
    return Copy(pid, our_in, our_out, our_err)


def _live(
    command: Command, env: Mapping[str, str], cookie: str, streams: tuple[int, int, int], lifeline: int, status: int
) -> NoReturn:
    """The whole life of the copy; nothing that it does or raises gets back into the code that was copied."""
    try:
        os.setsid()
        for stream, source in enumerate(streams):
            os.dup2(source, stream)
        gc.freeze()  # what is unreachable here must not close descriptors that are somebody else's by then
        close_all_but({lifeline, status})
        take_default_signals()
        os.environ.clear()
        os.environ.update(env)
        _show_environment(_cookies(env))
        show([_TITLE, *command.argv])
        os.chdir(command.cwd)
        guardian.guard(lifeline, status, cookie, list(command.argv))
    except (OSError, ValueError) as error:
        guardian.report(status, f"error {getattr(error, 'errno', None) or errno.EINVAL}")
    finally:
        os._exit(1)


def _cookies(env: Mapping[str, str]) -> bytes:
    """What of *env* tells which runs its process belongs to."""
    return b"".join(os.fsencode(f"{name}={value}\0") for name, value in cookies_in(env).items())


def _has_room_for(text: bytes) -> bool:
    """Whether *text* fits where others see our environment."""
    try:
        _, _, begin, end = memory_shown()
    except (OSError, ValueError):
        return False
    return end - begin >= len(text)


def _show_environment(text: bytes) -> None:
    """Let others see *text* and nothing else as our environment. Ours has to be elsewhere by then."""
    import ctypes  # which the starter has loaded to become a subreaper, or nobody does

    _, _, begin, end = memory_shown()
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, text, len(text))
