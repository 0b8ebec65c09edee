"""A runner without a new interpreter: a copy of this process that takes nothing of its starter's life along.

A fork keeps all that is loaded, which is half of what starting a runner costs otherwise. Whatever an interpreter of
its own would be spared has to be left behind by hand: session, streams, descriptors, signals, cleaning up at the end.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NoReturn

from aiframe.process.identity import collect_spawned, forget_spawned, remember_spawned
from aiframe.process.start import check_folder

_ARGUMENTS = 45
"""Where among the fields of /proc/self/stat that follow the name it is told between which addresses the arguments lie,
and behind that, between which ones the environment."""


def can_fork() -> bool:
    """Whether a copy of this process would be whole: it has one thread, and the system is known to tell so (Linux)."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def fork_runner(
    work: Callable[[], int], *, title: Sequence[str], cwd: PurePath, env: Mapping[str, str], keep_fds: Sequence[int],
    log: Path,
) -> int:  # fmt: skip
    """Do *work* in a process that outlives this one and its terminal, and ends with what it returns; return its id.

    It has a session of its own, nothing on standard input, appends what it prints to *log*, and shows *title* as its
    command line where that fits into ours. It keeps *keep_fds* and no other descriptor, and lacks whatever cleaning
    up this process has noted for its end. All of this holds when the call returns. To be called where `can_fork`.
    Raises MissingFolder, OSError for the log and where the system has no room for a process.
    """
    check_folder(cwd)
    collect_spawned()
    its_env = dict(env)  # what we get may be os.environ itself, which is emptied over there
    ready, standing = os.pipe()
    try:
        with log.open("ab") as file:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:  # unless it is blocked now, a Ctrl-C would strike the copy in the middle of our own code
                pid = os.fork()
                if pid == 0:
                    _live(work, title, cwd, its_env, {*keep_fds, standing}, file.fileno(), standing)
                remember_spawned(pid)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(standing)
        standing = -1
        os.read(ready, 1)  # nothing but its end: then the copy stands on its own
    finally:
        os.close(ready)
        if standing >= 0:
            os.close(standing)
    return pid


def _live(
    work: Callable[[], int], title: Sequence[str], cwd: PurePath, env: Mapping[str, str], keep: set[int], log: int,
    standing: int,
) -> NoReturn:  # fmt: skip
    """The whole life of the copy; nothing that it does or raises gets back into the code that was copied."""
    code, _before = 1, (sys.stdin, sys.stdout, sys.stderr)  # held, for they print what they hold when they go
    try:
        os.setsid()
        _take_streams(log)
        gc.freeze()  # what our starter left unreachable must not close descriptors that are somebody else's by then
        close_all_but(keep)
        take_default_signals()
        forget_spawned()
        os.environ.clear()
        os.environ.update(env)
        os.chdir(cwd)
        _leave_search_path()
        show(title)
        os.close(standing)
        code = work()
    except BaseException:
        sys.__excepthook__(*sys.exc_info())
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _take_streams(log: int) -> None:
    """Read nothing and print to *log*."""
    null = os.open(os.devnull, os.O_RDONLY)
    for source, stream in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, stream)
    os.close(null)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout, sys.stderr = _printer(1), _printer(2)


def _printer(stream: int) -> io.TextIOWrapper:
    into = io.BufferedWriter(io.FileIO(stream, "wb", closefd=False))
    return io.TextIOWrapper(into, errors="backslashreplace", line_buffering=True)


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor but the standard streams and *keep*, those that were opened outside of Python too."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with suppress(OSError):  # that of the listing itself
                os.close(int(name))


def take_default_signals() -> None:
    """Forget our starter's handlers and what came for it meanwhile. What is ignored stays so, as in any new program."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)  # drops one that waits
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _leave_search_path() -> None:
    """Load nothing from the folder in which our starter was started: it may be one in which agents write."""
    ours = str(Path(__file__).parents[2])
    if not sys.flags.safe_path and sys.path and sys.path[0] != ours:
        del sys.path[0]


def memory_shown() -> tuple[int, int, int, int]:
    """Between which addresses of ours those look who ask for our command line, and who ask for our environment.

    What the program was started with stands there. Raises OSError, ValueError where the system does not tell.
    """
    stat = Path("/proc/self/stat").read_bytes()
    told = stat[stat.rindex(b")") + 2 :].split()[_ARGUMENTS : _ARGUMENTS + 4]
    begin, end, environment, environment_end = map(int, told)
    return begin, end, environment, environment_end


def show(title: Sequence[str]) -> None:
    """Put *title* in the place of our command line, for those who look at the list of processes; cut where it ends."""
    with suppress(OSError, ValueError):  # then it shows that of our starter
        begin, end, _, _ = memory_shown()
        text = b"\0".join(os.fsencode(word) for word in title)[: end - begin - 1]
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(memory, text.ljust(end - begin, b"\0"), begin)
        finally:
            os.close(memory)
