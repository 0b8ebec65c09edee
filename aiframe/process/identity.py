"""Who is who: processes, boots and hosts by names that are never used again."""

from __future__ import annotations

import functools
import os
import select
import time
from pathlib import Path

from msgspec import Struct

from aiframe import living
from aiframe.core.model import Moment, Runner

_SAME_START_S = 0.005  # half of what the kernel counts in

_spawned: set[int] = set()


class ProcessId(Struct, frozen=True):
    """A process for good: ids are used again, with the start time (seconds since boot on Linux) they are not."""

    pid: int
    started: float


@functools.cache
def boot_id() -> str:
    """A name of this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        import psutil

        return str(int(psutil.boot_time()))


def host_name() -> str:
    """The name of this machine."""
    return os.uname().nodename


def now() -> Moment:
    """This point in time, on this boot of this host."""
    return Moment(wall=time.time(), mono=time.monotonic(), boot=boot_id(), host=host_name())


def this_process() -> Runner:
    """The calling process, by a name that outlives the reuse of its id."""
    pid = os.getpid()
    return Runner(pid=pid, started=start_time(pid) or 0.0, boot=boot_id(), host=host_name())


def is_alive(runner: Runner) -> bool:
    """Whether *runner* runs on this boot of this host. A zombie does not; of another host nothing is known: False."""
    if (runner.boot, runner.host) != (boot_id(), host_name()):
        return False
    collect_spawned()
    started = start_time(runner.pid)
    return started is not None and abs(started - runner.started) < _SAME_START_S


def is_there(pid: int) -> bool:
    """Whether a process of that number lives; a zombie does not."""
    return start_time(pid) is not None


def start_time(pid: int) -> float | None:
    """When a living process started; None for one that is dead, a zombie included."""
    if not living.HAS_PROC:
        return start_time_from_psutil(pid)
    fields = living.stat_fields(pid)
    if fields is None or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def start_time_from_psutil(pid: int) -> float | None:
    """The same where there is no /proc, in seconds since the epoch."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def remember_spawned(pid: int) -> None:
    """Note a child that nobody waits for, so that `collect_spawned` does."""
    _spawned.add(pid)


def wait_for_spawned(pid: int, timeout_s: float) -> None:
    """Wait for *timeout_s* seconds, or until the child *pid* ends where the system tells of that (Linux)."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        time.sleep(timeout_s)  # it has ended already, and nothing will tell again
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(timeout_s * 1000)
    finally:
        os.close(descriptor)
    collect_spawned()


def forget_spawned() -> None:
    """Drop the noted children: for a copy of this process, which they are no children of."""
    _spawned.clear()


def collect_spawned() -> None:
    """Take the exit status of the noted children that are dead, so that they do not stay behind as zombies."""
    for pid in tuple(_spawned):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            gone = True
        if gone:
            _spawned.discard(pid)
