"""Starting a child: short commands that are waited for, and runners that are not."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Protocol

from msgspec import Struct

from aiframe import living
from aiframe.core.errors import StepError
from aiframe.process.identity import collect_spawned, remember_spawned
from aiframe.process.pump import Pump

CAPTURE_BYTES = 64 * 1024 * 1024
_POLL_S = 0.05
_FIRST_PAUSE_S = 0.0001


class MissingProgram(StepError):
    """A program that is not installed, or that cannot be started."""


class MissingFolder(StepError):
    """The folder in which a command is to work does not exist."""


class CommandTimeout(StepError):
    """A short command took too long; it has been ended with all that was left below it."""


class TooMuchOutput(StepError):
    """A short command printed more than its caller can take; it has been ended."""


class Captured(Struct, frozen=True):
    """How a short command ended and all that it printed; *code* is negative for a signal."""

    code: int
    out: bytes
    err: bytes


def check_startable(argv: Sequence[str], cwd: PurePath, env: Mapping[str, str]) -> None:
    """Refuse, with the cure and before anything is started, what cannot be. Raises MissingFolder, MissingProgram."""
    check_folder(cwd)
    find_program(argv[0], cwd, env)


def find_program(program: str, cwd: PurePath, env: Mapping[str, str]) -> str:
    """Where the program is that *env* and *cwd* mean by this word. Raises MissingProgram."""
    place = str(Path(cwd, program)) if "/" in program else program
    found = shutil.which(place, path=env.get("PATH", os.defpath))
    if found is None:
        raise MissingProgram(
            f"the program {program!r} was not found",
            hint=f"install {program}, or put its folder on PATH, or name another program in the settings",
        )
    return found


def check_folder(cwd: PurePath) -> None:
    """Raise MissingFolder where a child could not work in *cwd*."""
    if not Path(cwd).is_dir():
        raise MissingFolder(f"the folder {cwd} does not exist", hint="create it, or correct the path in the settings")


def not_started(argv: Sequence[str], reason: object) -> MissingProgram:
    """The error for a program that is there and cannot be started."""
    return MissingProgram(
        f"the program {argv[0]!r} could not be started: {reason}",
        hint="run it by hand: its permissions, its first line, or the length of its arguments may be wrong",
    )


def spawn_runner(
    argv: Sequence[str], *, cwd: PurePath, env: Mapping[str, str], keep_fds: Sequence[int], log: Path
) -> int:
    """Start a process that outlives this one and its terminal; return its id.

    It has a session of its own, nothing on standard input, and appends what it prints to *log*. It inherits *keep_fds*
    under the same numbers and no other descriptor. Raises MissingFolder, MissingProgram, OSError for the log.
    """
    check_startable(argv, cwd, env)
    collect_spawned()
    with log.open("ab") as file:
        try:
            runner = subprocess.Popen(
                list(argv), cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True, pass_fds=tuple(keep_fds),
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise not_started(argv, error) from error
    runner.returncode = 0  # never waited for through this object, which would complain when it goes
    remember_spawned(runner.pid)
    return runner.pid


def capture(
    argv: Sequence[str], *, cwd: PurePath, env: Mapping[str, str] | None = None, stdin: bytes = b"",
    timeout_s: float = 60, limit_bytes: int = CAPTURE_BYTES, keep_fds: Sequence[int] = (),
) -> Captured:  # fmt: skip
    """Run a short command to its end, in a session of its own, and return what it printed.

    It inherits *keep_fds* under the same numbers and no other descriptor. It is over when the command itself is, even
    where a daemon of it keeps the pipes. Raises MissingProgram, MissingFolder, CommandTimeout, and TooMuchOutput past
    *limit_bytes*; the command is then gone with all below it.
    """
    environment = dict(os.environ if env is None else env)
    check_startable(argv, cwd, environment)
    try:
        child = subprocess.Popen(
            list(argv), cwd=cwd, env=environment, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, start_new_session=True,
            pass_fds=tuple(keep_fds),
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise not_started(argv, error) from error
    with ExitStack() as stack:
        stack.enter_context(child)
        stack.callback(_end_session, child)
        return _collect(child, shlex.join(argv)[:200], stdin, timeout_s, limit_bytes)


def _collect(child: subprocess.Popen[bytes], line: str, stdin: bytes, timeout_s: float, limit_bytes: int) -> Captured:
    out, err = bytearray(), bytearray()
    deadline = time.monotonic() + timeout_s
    with Pump() as pump:
        _connect(pump, child, stdin, out, err)
        while _running(child, pump):
            _limit_output(line, len(out) + len(err), limit_bytes)
            if time.monotonic() > deadline:
                raise CommandTimeout(
                    f"`{line}` did not end within {timeout_s:g} s", hint="run it by hand and see what it waits for"
                )
        pump.drain()
        _limit_output(line, len(out) + len(err), limit_bytes)
    return Captured(child.returncode, bytes(out), bytes(err))


def _connect(pump: Pump, child: subprocess.Popen[bytes], stdin: bytes, out: bytearray, err: bytearray) -> None:
    assert child.stdout is not None
    assert child.stderr is not None
    pump.read(child.stdout, out.extend)
    pump.read(child.stderr, err.extend)
    if child.stdin is not None:
        pump.write(child.stdin, stdin)


def _running(child: subprocess.Popen[bytes], pump: Pump) -> bool:
    if pump.busy:
        pump.move(pump.wait(_POLL_S))
    else:
        wait_within(child, _POLL_S)
    return child.poll() is None


class Child(Protocol):
    """A child process that can be asked for its exit code, which is None while it lives."""

    def poll(self) -> int | None: ...


def wait_within(child: Child, timeout_s: float) -> int | None:
    """The exit code of *child*; None when it lives on. For one that has closed its pipes: it mostly ends at once.

    `Popen.wait` with a time limit would oversleep that by milliseconds, and a step waits for dozens of commands.
    """
    deadline, pause = time.monotonic() + timeout_s, _FIRST_PAUSE_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, _POLL_S)
    return child.poll()


def _limit_output(line: str, size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise TooMuchOutput(
            f"`{line}` printed more than {limit_bytes} bytes", hint="run it by hand and see what it prints"
        )


def _end_session(child: subprocess.Popen[bytes]) -> None:
    """End a command that still runs: its session and everything below it."""
    if child.poll() is not None:
        return

    def find() -> set[int]:
        table = living.process_table()
        session = {pid for pid, entry in table.items() if child.pid in (pid, entry.group, entry.session)}
        return session | living.below(table, session)

    living.end_all(find, within_s=living.END_WITHIN_S, collect=lambda _: child.poll() is None)
