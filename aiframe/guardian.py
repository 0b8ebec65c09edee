"""The guardian of one command: its parent, which sees to it that nothing of the command outlives the runner.

It is a copy of the runner, or where that cannot be copied (``aiframe.process.guarding``) an interpreter of its own,
``python -I -S``; so it imports the standard library only, and little of it. The runner holds one end of a pipe, the
*lifeline*:

- the runner dies, or closes the lifeline: the whole tree is ended at once;
- the runner writes ``T``: the tree is asked to end (SIGTERM);
- the command ends by itself: what it left behind is ended.

On the status pipe it reports ``status N`` (a wait status) or ``error ERRNO`` (the command could not be started). It
exits with 0 when nothing of the tree is left. On Linux it is a child subreaper: a daemon that has left its parent, its
session and its environment becomes the guardian's child, so "no children left" means that nothing is left.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time

from aiframe.living import (
    END_WITHIN_S,
    HAS_PROC,
    LINUX,
    ask_to_end,
    below,
    carrying,
    end_all,
    process_table,
    signal_all,
    stat_fields,
)

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HANDLED = (*_ENDING, signal.SIGCHLD)

TYPE_CHECKING = False  # the name that type checkers know, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn


_c_library: Any = None


def become_subreaper(on: bool = True) -> None:
    """Make this process the parent of every orphan below it, or no longer so (Linux; elsewhere nothing happens)."""
    if LINUX:
        _libc().prctl(_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def _libc() -> Any:
    global _c_library
    if _c_library is None:
        import ctypes

        _c_library = ctypes.CDLL(None)
    return _c_library


def die_with_parent() -> None:
    """Be killed as soon as the parent is, stopped or not (Linux; elsewhere nothing happens)."""
    if LINUX:
        _libc().prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(arguments: list[str], become: Callable[[list[str]], object] | None = None) -> NoReturn:
    """Arguments ``LIFELINE STATUS COOKIE LC_CTYPE PROGRAM ARGUMENT...``: two descriptors, two words, the command.

    With *become* the child is a copy of this process that calls it with the words from PROGRAM on.
    """
    lifeline, status = int(arguments[0]), int(arguments[1])
    os.set_inheritable(lifeline, False)
    os.set_inheritable(status, False)
    _restore_locale(arguments[3])
    guard(lifeline, status, arguments[2], arguments[4:], become)


def guard(
    lifeline: int, status: int, cookie: str, argv: list[str], become: Callable[[list[str]], object] | None = None
) -> NoReturn:
    """Start *argv* with the streams and the environment of this process, and live for as long as anything of it."""
    become_subreaper()
    alarms = listen(_HANDLED)
    child = _start(argv, status, become)
    _let_go_of_streams()
    code = _wait(child, lifeline, alarms)
    if code is not None:
        report(status, f"status {code}")
    left = _end_tree(child, cookie, status if code is None else None)
    os._exit(1 if left else 0)


def _restore_locale(value: str) -> None:
    """Python sets LC_CTYPE for itself where the locale is C; the command shall get what it was meant to get."""
    if value:
        os.environ["LC_CTYPE"] = value
    else:
        os.environ.pop("LC_CTYPE", None)


def listen(numbers: Iterable[int]) -> int:
    """A descriptor on which the number of each signal arrives as a byte."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _start(argv: list[str], status: int, become: Callable[[list[str]], object] | None) -> int:
    if LINUX:
        _libc()  # loaded once, before there are two of us
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*_HANDLED, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        die_with_parent()
        if become is None:
            os.execvpe(argv[0], argv, os.environ)  # of C libraries there may be variables that Python knows not of
        else:
            become(argv)
    except OSError as error:
        report(status, f"error {error.errno}")
    except ValueError:  # a NUL byte
        report(status, f"error {errno.EINVAL}")
    finally:
        os._exit(127)


def _let_go_of_streams() -> None:
    """Only the command may hold its pipes: the runner's end of file depends on it."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


def _wait(child: int, lifeline: int, alarms: int) -> int | None:
    """Wait for *child*; its wait status, or None when the tree has to be ended first."""
    while True:
        code, _ = _collect_children(child)
        if code is not None:
            return code
        ready, _, _ = select.select((lifeline, alarms), (), ())
        if alarms in ready and not set(_ENDING).isdisjoint(os.read(alarms, 4096)):
            return None
        if lifeline in ready:
            if not os.read(lifeline, 16):
                return None
            ask_to_end(_tree(child))


def _collect_children(child: int) -> tuple[int | None, bool]:
    """Take the exit status of every dead child: that of *child*, if it is among them, and whether others live."""
    code = None
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                code = status
            if pid == 0:
                return code, True
    except ChildProcessError:
        return code, False


def _tree(child: int) -> set[int]:
    table = process_table()
    found = below(table, [os.getpid()])
    if not LINUX:  # nothing brings orphans back to us there, but most of them stay in the command's group
        found |= {pid for pid, entry in table.items() if entry.group == child}
    return found


def _end_tree(child: int, cookie: str, status: int | None) -> bool:
    """End everything; on *status* report the command's end, where that is still owed. True when something is left."""
    outside = {os.getpid(), os.getppid()}
    seen: set[str] = set()
    began = time.monotonic()

    def find() -> set[int]:
        below_us = _tree(child) if not LINUX or _has_children() else set()
        return (below_us | carrying(cookie)) - outside

    def collect(_: set[int]) -> bool:
        nonlocal status
        code, more = _collect_children(child)
        if code is not None and status is not None:
            report(status, f"status {code}")
            status = None
        if more:
            _catch_children(seen)
        return more

    end_all(find, within_s=END_WITHIN_S, collect=collect)
    return time.monotonic() - began >= END_WITHIN_S and bool(find())  # else the last two passes have found nothing


def _has_children() -> bool:
    """Whether there is a process below us. The table of all says it too, but takes milliseconds to read."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _catch_children(seen: set[str]) -> None:
    """Kill the children that are too short-lived for a table: the newest first, and each as soon as it is seen.

    A chain whose links fork and leave at once gets away from whoever looks at all processes before he strikes.
    *seen* holds the ids that were looked at before.
    """
    me = str(os.getpid()).encode()
    for name in reversed(os.listdir("/proc") if HAS_PROC else ()):
        if name.isdigit() and name not in seen:
            seen.add(name)
            fields = stat_fields(name)
            if fields is not None and fields[1] == me:
                signal_all([int(name)], signal.SIGKILL)


def report(status: int, line: str) -> None:
    """Tell the runner *line* on the pipe *status*."""
    try:
        os.write(status, f"{line}\n".encode())
    except OSError as error:
        if error.errno != errno.EPIPE:  # a dead runner reads nothing, and the tree has to be ended all the same
            raise
