"""Kills a program at a chosen moment of its work."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

import psutil

from support.copies import started


def kill_after(code: str, words: Sequence[str], delay: float, whole_tree: bool) -> float:
    """Start ``python -c CODE WORDS``, kill it *delay* seconds after it says that it is ready; returns how many it took.

    With *whole_tree* the processes below it are killed as well, one after the other, as a group that is killed dies.
    """
    with started(code, words) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
        begun = time.monotonic()
        try:
            maker.wait(delay)
        except subprocess.TimeoutExpired:
            below = _below(maker.pid) if whole_tree else []
            maker.kill()
            for process in below:
                if process.is_running():
                    process.kill()
        maker.wait(60)
    return time.monotonic() - begun


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:  # it has come to its end by itself, just now
        return []
