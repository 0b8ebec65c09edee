"""Signals to a runner that somebody else has started."""

from __future__ import annotations

import os
import signal

from aiframe.core.model import Runner
from aiframe.process.identity import is_alive


def signal_runner(runner: Runner, number: signal.Signals) -> bool:
    """Send *number* to *runner*, if it is still that very process; whether it was sent.

    False for one that is gone, of another boot or host, or of another user.
    """
    if runner.pid <= 1 or not is_alive(runner):
        return False
    try:
        os.kill(runner.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
