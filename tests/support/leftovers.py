"""Processes of runs that outlived the tests that started them. Seen on Linux only, where /proc shows environments."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def carriers(*marks: str) -> dict[int, str]:
    """Processes with a run's cookie and one of *marks* (`NAME=value`) in their environment: pid to command line."""
    wanted = {mark.encode() for mark in marks}
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is somebody else's
        if wanted.intersection(environ) and any(name.startswith(b"AIFRAME_RUN_") for name in environ):
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def carriers_left(*marks: str, grace_s: float) -> dict[int, str]:
    """The carriers that are still there after *grace_s* seconds; returns early once none is."""
    deadline = time.monotonic() + grace_s
    while (found := carriers(*marks)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def end(pids: dict[int, str]) -> None:
    """SIGKILL to each of *pids*, which are ours by their marks."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
