"""The cookie of a run: by it the processes that a dead runner has left are found, and ended."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping

from aiframe import foreman, guardian, living
from aiframe.process.identity import ProcessId, collect_spawned, start_time

_PREFIX = "AIFRAME_RUN_"
_POLL_S = 0.02


def cookie(run_id: str) -> str:
    """The name of the variable that every process of the run carries in its environment."""
    return _PREFIX + re.sub(r"[^A-Za-z0-9]", "_", run_id)


def outer_cookies() -> dict[str, str]:
    """The cookies of the runs and of the crews' commands that this process is itself a part of."""
    return cookies_in(os.environ)


def cookies_in(env: Mapping[str, str]) -> dict[str, str]:
    """What of *env* tells of which runs, and of which commands of crews, a process is a part."""
    return {name: value for name, value in env.items() if name.startswith((_PREFIX, foreman.VARIABLE))}


def let_go_of_orphans() -> None:
    """Have a daemon that is started next be nobody's child here: it is to outlive this process and all below it.

    So it is until the next command is supervised.
    """
    guardian.become_subreaper(False)


def carriers(run_id: str) -> list[ProcessId]:
    """The living processes that carry the run's cookie, by id. Those of other users cannot be seen."""
    pids = sorted(carrying(cookie(run_id)))
    return [ProcessId(pid, started) for pid in pids if (started := start_time(pid)) is not None]


def carrying(name: str) -> set[int]:
    """The ids of the living processes that were started with the variable *name*."""
    return living.carrying(name) if living.HAS_PROC else carrying_from_psutil(name)


def carrying_from_psutil(name: str) -> set[int]:
    """The same where there is no /proc."""
    import psutil

    found = set()
    for process in psutil.process_iter():
        try:
            if name in process.environ():
                found.add(process.pid)
        except (psutil.Error, OSError):
            continue  # gone in the meantime, or another user's
    return found


def reap(run_id: str, *, spare: Collection[int] = (), term_grace_s: float = 2) -> int:
    """End every process of a run, the carriers of its cookie and all below them; return how many are gone.

    First SIGTERM, after *term_grace_s* SIGKILL until two passes find none. The caller and *spare* are left alone.
    """
    name, spared = cookie(run_id), {os.getpid(), *spare}

    def find() -> set[int]:
        found = carrying(name) - spared
        return (found | living.below(living.process_table(), found)) - spared if found else found

    asked = find()
    living.ask_to_end(asked)
    deadline = time.monotonic() + term_grace_s
    while find() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    killed = living.end_all(find, within_s=living.END_WITHIN_S, collect=lambda _: False)
    collect_spawned()
    return len((asked | killed) - find())
