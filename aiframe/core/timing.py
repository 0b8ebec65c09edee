"""Elapsed time and waiting time that survive suspended machines, reboots and clocks set back. All in seconds."""

from __future__ import annotations

from aiframe.core.model import Moment, Rules, Run, Settings, Task, Wait

_MOST_DOUBLINGS = 1000
"""More than that no float holds."""


def elapsed(since: Moment, now: Moment) -> float:
    """Seconds from *since* to *now*, never negative.

    On the same boot of the same host the monotonic clock decides: it stands still while the machine sleeps, so a
    suspended laptop causes no timeout.
    """
    if since.boot and since.boot == now.boot and since.host == now.host:
        return max(0.0, now.mono - since.mono)
    return max(0.0, now.wall - since.wall)


def is_past_its_time(run: Run, clock: Moment, rules: Rules) -> bool:
    """Whether *run* should have ended by itself, also after the grace that an ending takes."""
    return elapsed(run.started, clock) > run.timeout_s + rules.hung_grace_sec


def remaining(wait: Wait | None, now: Moment) -> float:
    """Seconds that *wait* still has to run; a clock that went back before its start never makes it longer."""
    if wait is None:
        return 0.0
    return min(max(0.0, wait.until - now.wall), wait.wait_s)


def rebased(wait: Wait | None, now: Moment) -> Wait | None:
    """*wait* with its start moved to *now* where the clock has gone back before it, so that it ends in time."""
    if wait is not None and now.wall < wait.set_at:
        return Wait(set_at=now.wall, wait_s=wait.wait_s)
    return wait


def pause_before(count: int, rules: Rules) -> float:
    """The seconds to wait before the *count*-th try again: they double each time, up to a limit."""
    return min(rules.transient_base_sec * 2.0 ** min(count - 1, _MOST_DOUBLINGS), rules.transient_max_sec)


def time_for(settings: Settings, task: Task) -> float:
    """The seconds that one attempt at *task* may take."""
    own = task.max_duration_min
    return settings.timeout_sec if own is None else min(settings.timeout_sec, own * 60)
