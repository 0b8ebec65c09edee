"""Kills a program at a chosen moment of its work."""

from __future__ import annotations

import subprocess
import time

import psutil


def kill_after(argv: list[str], delay: float, whole_tree: bool) -> float:
    """Start *argv*, kill it *delay* seconds after it says that it is ready; returns how many seconds it took.

    With *whole_tree* the processes below it are killed as well, one after the other, as a group that is killed dies.
    """
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
        begun = time.monotonic()
        try:
            maker.wait(delay)
        except subprocess.TimeoutExpired:
            below = psutil.Process(maker.pid).children(recursive=True) if whole_tree else []
            maker.kill()
            for process in below:
                if process.is_running():
                    process.kill()
        maker.wait()
    return time.monotonic() - begun
