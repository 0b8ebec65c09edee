"""How a process ended, as a failure, where the agent itself said nothing about it."""

from __future__ import annotations

import signal

from aiframe.agents.lines import plain
from aiframe.core.model import Failure, FailureKind
from aiframe.core.ports import Exit

NOT_FOUND = 127
NOT_EXECUTABLE = 126
OUT_OF_MEMORY = (
    "if nobody killed it, memory ran out: of this machine, or of its container (`workspace: {memory_mb: ...}` in "
    "PROJECT.yaml)"
)
"""What to look for behind SIGKILL. Engines do not always tell that it was they who sent it."""


def failure_of(ended: Exit, program: str, install: str) -> Failure:
    """Why a process that never gave its final word failed. *install* says how to get *program*."""
    early = cut_short(ended, program)
    if early is not None:
        return early
    if ended.code in (NOT_FOUND, NOT_EXECUTABLE):
        wrong = "is not on PATH" if ended.code == NOT_FOUND else "cannot be run"
        return Failure(FailureKind.SETUP, f"{program} {wrong}", install)
    said = first_line(ended.stderr)
    if ended.code < 0:
        cure = OUT_OF_MEMORY if ended.code == -signal.SIGKILL else ""
        return Failure(FailureKind.TRANSIENT, f"{program} was killed by {signal_name(-ended.code)}", cure)
    if ended.code == 0:
        return Failure(FailureKind.TRANSIENT, f"{program} ended without its final word")
    return Failure(
        FailureKind.TRANSIENT, f"{program} ended with exit code {ended.code}" + (f": {said}" if said else "")
    )


def cut_short(ended: Exit, program: str) -> Failure | None:
    """The failure of a process that was ended from outside before it was done; None where it ended by itself."""
    match ended.reason:
        case "stopped":
            return Failure(FailureKind.CANCELLED, f"{program} was stopped")
        case "timeout":
            return Failure(FailureKind.TIMEOUT, f"{program} ran for {ended.duration_s:.0f} s, which is its timeout")
        case "stalled":
            return Failure(FailureKind.STALLED, f"{program} said and changed nothing for too long")
        case _:
            return None


def signal_name(number: int) -> str:
    """SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def first_line(text: str) -> str:
    """The first line of *text* that says something and is no warning."""
    lines = [line.strip() for line in plain(text, 8192).splitlines() if line.strip()]
    return next((line for line in lines if not line.lower().startswith("warning")), lines[0] if lines else "")[:500]
