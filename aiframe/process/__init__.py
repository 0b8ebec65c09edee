"""Child processes: started, supervised and ended here and nowhere else.

`capture` runs a short command, `fork_runner` and `spawn_runner` start the process that carries a run, and `supervise`
runs an agent or a gate under a guardian (``aiframe.guardian``), so that nothing of it outlives its run. A `Crew` runs
many short commands below one guardian, whose child (``aiframe.foreman``) is the parent of them all. `reap` ends
what a dead runner has left, found by the run's cookie: a variable, one for each run, in the environment of all its
processes.
`aiframe.process.companion` is for a child that serves this process for as long as it lives.
"""

from typing import TYPE_CHECKING, Any

from aiframe.process.cookies import carriers, cookie, let_go_of_orphans, reap
from aiframe.process.foreground import run_in_terminal
from aiframe.process.fork import can_fork, fork_runner
from aiframe.process.hung import end_runner
from aiframe.process.identity import (
    ProcessId,
    boot_id,
    host_name,
    is_alive,
    is_there,
    now,
    this_process,
    wait_for_spawned,
)
from aiframe.process.signals import signal_runner
from aiframe.process.start import (
    Captured,
    CommandTimeout,
    MissingFolder,
    MissingProgram,
    TooMuchOutput,
    capture,
    spawn_runner,
)
from aiframe.process.supervision import STDERR_BYTES, Limits, never, supervise

if TYPE_CHECKING:
    from aiframe.process.crew import Crew, Ended

__all__ = [
    "STDERR_BYTES",
    "Captured",
    "CommandTimeout",
    "Crew",
    "Ended",
    "Limits",
    "MissingFolder",
    "MissingProgram",
    "ProcessId",
    "TooMuchOutput",
    "boot_id",
    "can_fork",
    "capture",
    "carriers",
    "cookie",
    "end_runner",
    "fork_runner",
    "host_name",
    "is_alive",
    "is_there",
    "let_go_of_orphans",
    "never",
    "now",
    "reap",
    "run_in_terminal",
    "signal_runner",
    "spawn_runner",
    "supervise",
    "this_process",
    "wait_for_spawned",
]


def __getattr__(name: str) -> Any:
    """`Crew` and `Ended`, which most who start a process do without."""
    if name in ("Crew", "Ended"):
        from aiframe.process import crew

        return getattr(crew, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
