"""Ending a runner that does not end by itself."""

from __future__ import annotations

import signal
import time

from aiframe.core.model import Runner
from aiframe.process.cookies import reap
from aiframe.process.identity import is_alive
from aiframe.process.signals import signal_runner

_POLL_S = 0.05
_KILL_WITHIN_S = 5.0


def end_runner(runner: Runner, run_id: str, *, term_grace_s: float = 10) -> bool:
    """End *runner*, asked first and killed after *term_grace_s* (seconds), and what is left of its run.

    Returns whether it had to be killed. Its identity is checked each time: a process that merely has its number is
    left alone.
    """
    signal_runner(runner, signal.SIGTERM)
    deadline = time.monotonic() + term_grace_s
    while is_alive(runner) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    killed = signal_runner(runner, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_WITHIN_S
    while is_alive(runner) and time.monotonic() < deadline:  # one stuck in the kernel takes its time
        time.sleep(_POLL_S)
    reap(run_id)
    return killed
