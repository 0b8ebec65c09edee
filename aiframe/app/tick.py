"""A tick: one idempotent look at a project. It decides without a lock, and starts a runner where there is work."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.project.advance import Look, look
from aiframe.app.project.lane_stamps import await_an_end, lanes_stamp
from aiframe.app.project.last_words import last_words, printed
from aiframe.app.project.observe import check_plan
from aiframe.app.project.pushes import next_push
from aiframe.app.project.site import RECORD, Site, open_site
from aiframe.app.project.stamp import Survey, leave_stamp, survey
from aiframe.app.project.steplog import plain
from aiframe.app.reports.follow import follow_run, log_names
from aiframe.core.effects import CloseLane, OpenLane, StartStep, StopRunner
from aiframe.core.model import State, Unknown
from aiframe.core.timing import remaining
from aiframe.process import can_fork, end_runner, fork_runner, spawn_runner, wait_for_spawned
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.locks import RunLock, is_run_locked
from aiframe.workspaces.create import ensure_repository

LANES = "lanes"
"""What stands for a run where several tasks are worked at side by side."""
_LANES_S = 0.3
"""How often the lanes are looked at while somebody waits for them, besides the end of a step of one."""
_LANES_UNSEEN_S = 3.0
"""How often they are looked at although none of their files has changed: a wait may be over."""
_RACE_S = 0.5
"""How long a tick tries for the run lock: another tick or a look at the status may hold it for a moment."""
_GLANCE_S = 0.02
"""How often a tick that does not wait looks whether its runner has begun."""


class TickReport(Struct, frozen=True):
    """How a tick ended, for the person: *run_id* is empty when it neither started nor followed a step."""

    exit_code: int
    message: str
    run_id: str = ""
    detached: bool = False


def tick(
    root: Path, environ: Mapping[str, str], *, wait: bool, out: Callable[[str], None], patience_s: float = 0.0,
    glance: Callable[[], None] = lambda: None,
) -> TickReport:  # fmt: skip
    """Look at the project in *root*; start the step that is due, or follow the one that runs, and show it with *out*.

    With *wait* false it returns as soon as the runner is started, or, within *patience_s* seconds, as soon as that has
    begun a step or given up. While it waits it calls *glance*, many times a second. Raises GuardError, UsageError,
    UnreadableFile.
    """
    surveyed = survey(Layout(root.resolve()))  # before anything is read, or a change in between would go unseen
    site = open_site(root, environ)
    seen = look(site)
    for effect in seen.decision.effects:
        if isinstance(effect, StopRunner):
            run = look(site).loaded.project.run
            if run is not None and run.run_id == effect.run_id:  # it may have gone on to a healthy step meanwhile
                end_runner(effect.runner, effect.run_id)
            seen = look(site)
    if seen.loaded.project.state is State.RUNNING and seen.seen.lock_held:
        return _follow(site, wait, out, glance)
    check_plan(site, seen.decision.project, seen.seen)
    if _is_side_by_side(seen) and (seen.has_work or not are_quiet(seen) or _may_have_lived(site)):
        return _tend_lanes(site, wait, out, glance)
    if not seen.has_work:
        return _rest(site, seen, surveyed, glance if wait else None)
    _check_locks(site, seen)
    older, written = log_names(site.layout), printed(site.layout)
    lock = _take_lock(site)
    if lock is None:
        return _follow(site, wait, out, glance)
    pid = _start_runner(site, lock)
    if not wait:
        if _is_gone(site, pid, older, patience_s):
            return _with_last_words(site, TickReport(0, _load_message()(site)), written)
        said = f"a runner looks after it (process {pid}); follow it with `aiframe logs --follow`"
        return TickReport(0, said, "started", True)
    gc.freeze()  # else the end of this process would look through all that was loaded once more
    report = _follow(site, wait, out, glance, older, partial(wait_for_spawned, pid))
    return report if report.run_id else _with_last_words(site, report, written)


def _check_locks(site: Site, seen: Look) -> None:
    """Raise UnreadableFile for a lock that names nothing, before a task is begun under it; or what `check_settings`
    raises, where agents are wanted side by side."""
    begins = any(isinstance(effect, StartStep) and effect.task_id for effect in seen.decision.effects)
    if begins and (site.rules.resources or site.settings.rules.capacity.slots > 1):
        from aiframe.app.lanes.checks import check_locks, check_settings

        check_settings(site)
        check_locks(site, seen.seen.tasks)


def _is_side_by_side(seen: Look) -> bool:
    """Whether what is to be done is worked at in lanes."""
    decided = seen.decision
    if decided.project.state is State.RUNNING or any(isinstance(effect, StartStep) for effect in decided.effects):
        return False
    return bool(seen.seen.lanes) or any(isinstance(effect, OpenLane | CloseLane) for effect in decided.effects)


def _tend_lanes(site: Site, wait: bool, out: Callable[[str], None], glance: Callable[[], None]) -> TickReport:
    """Look after the tasks that are worked at side by side; with *wait* until none of them goes on by itself."""
    from aiframe.app.lanes.checks import check_settings
    from aiframe.app.lanes.tending import tend
    from aiframe.app.lanes.turn import guard, turn
    from aiframe.app.pushing import await_push, begin_push, news_of_pushes

    begin_push(site)  # a kill may have come in between
    while True:
        if _may_have_lived(site):  # first, for what is put back may be PROJECT.yaml
            with turn(site) as mine:
                put_back = guard(site) if mine else ()
            for line in put_back:
                out(line)
        site = open_site(site.root, site.environ)  # PROJECT.yaml may be another one by now, or half of one
        check_settings(site)
        looked, seen = time.monotonic(), lanes_stamp(site.layout)
        with turn(site) as mine:
            tended = tend(site, _begin_lane) if mine else None
        if (tended is not None and tended.news) or 0 < next_push(site) <= time.time():
            begin_push(site)
        for line in filter(None, [*(tended.news if tended else ()), news_of_pushes(site)]):
            out(line)
        if not wait or (tended is not None and not tended.running and not tended.news):
            break
        while True:
            glance()
            ended = await_an_end(site.root, _LANES_S)
            if ended or lanes_stamp(site.layout) != seen or time.monotonic() - looked >= _LANES_UNSEEN_S:
                break
    if wait and (pushed := await_push(site, glance)):
        out(pushed)
    after = look(site)
    failed = after.loaded.project.state is State.ERROR
    running = tended is None or tended.running > 0
    return TickReport(1 if failed else 0, _load_message()(site), LANES if running else "", running)


def _may_have_lived(site: Site) -> bool:
    """Whether a step may have run in a lane since the last look: what it changed of the plan is put back."""
    if not site.layout.known_plan.exists():
        return False
    from aiframe.app.project.guarding import may_have_lived

    return may_have_lived(site)


def are_quiet(found: Look) -> bool:
    """Whether the lanes stay as they are until a person acts or a wait is over."""
    project = found.loaded.project
    goes_on = project.state is State.DEV_READY and remaining(project.wait, found.seen.clock) == 0
    return not any(
        lane.running or (goes_on and not (lane.rests or lane.waits) and lane.failure is None)
        for lane in found.seen.lanes
    )


def _begin_lane(root: Path, environ: Mapping[str, str]) -> None:
    tick(root, environ, wait=False, out=lambda _: None)


def _take_lock(site: Site) -> RunLock | None:
    """The run lock, after making the project a repository of its own; None when a step is under way already."""
    ensure_repository(site.root, IGNORED)
    site.store.ensure_control_dir()
    return RunLock.try_take(site.layout, retry_for_s=_RACE_S)


def _start_runner(site: Site, lock: RunLock) -> int:
    """Start the runner with the very descriptor of the lock, so that there is no gap in which nobody holds it."""
    words = ["aiframe.app.runner", str(site.root), str(lock.fd)]
    place, env, log = site.root, site.environ, site.layout.runner_log
    try:
        if can_fork():
            work = partial(_carry, words[1:])
            return fork_runner(work, title=words, cwd=place, env=env, keep_fds=[lock.fd], log=log)
        return spawn_runner([sys.executable, "-P", "-m", *words], cwd=place, env=env, keep_fds=[lock.fd], log=log)
    finally:
        lock.close_here()


def _is_gone(site: Site, pid: int, older: frozenset[str], patience_s: float) -> bool:
    """Whether the runner *pid* ends within *patience_s* seconds without a step; *older* are the logs before it."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and not log_names(site.layout) - older:
        wait_for_spawned(pid, _GLANCE_S)
        if not is_run_locked(site.layout):
            return not log_names(site.layout) - older
    return False


def _carry(words: list[str]) -> int:
    return load_runner()(words)


def load_runner() -> Callable[[list[str]], int]:
    """Load what a step needs, which a tick does not; done ahead, copies of this process that carry steps have it."""
    from aiframe.app.runner import main

    return main


def _follow(
    site: Site, wait: bool, out: Callable[[str], None], glance: Callable[[], None],
    older: frozenset[str] | None = None, pause: Callable[[float], None] = time.sleep,
) -> TickReport:  # fmt: skip
    """Show the run that is alive until it ends; *older* are the logs from before it was started, when we started it."""
    if not wait:
        return TickReport(0, "a step is running; follow it with `aiframe logs --follow`", "running", True)
    if older is None and RECORD in site.environ:
        out("-- this step was begun by another tick: it is recorded only where that one says so")
    message_of = _load_message()

    def rest(seconds: float) -> None:
        glance()
        pause(seconds)

    run_id = follow_run(site.layout, out, before=older, pause=rest)
    if site.settings.push.branches:
        from aiframe.app.pushing import BRIEF_S, await_push

        if pushed := await_push(site, glance, BRIEF_S):
            out(pushed)
    after = look(site)
    project = after.loaded.project
    lost = project.state is State.RUNNING and not after.seen.lock_held  # its runner died, of a full disk for example
    failed = lost or project.state is State.ERROR or project.failure is not None
    since = project.run.started.wall if project.run is not None else 0.0
    words = last_words(site.layout, since=since).lines if lost else ()
    return TickReport(1 if failed else 0, "\n".join([*words, message_of(site)]), run_id)


def _with_last_words(site: Site, report: TickReport, since: int) -> TickReport:
    """*report* of a runner that began no step, with what it said if it gave up; its log had *since* bytes before."""
    words = last_words(site.layout, after=since).lines
    if not words or report.message.startswith(words[0]):
        return report
    return replace(report, exit_code=1, message="\n".join([*words, report.message]))


def _rest(site: Site, seen: Look, surveyed: Survey | None, glance: Callable[[], None] | None) -> TickReport:
    """Nothing to do: say what the project waits for, and leave a stamp so that the next look is cheap.

    What is owed to a remote is pushed beside that; who does not wait, and has nothing to *glance* at, may have other
    projects to look at meanwhile.
    """
    state = seen.loaded.project.state
    code = 2 if isinstance(state, Unknown) else 1 if state is State.ERROR else 0
    pushed, pushed_by = "", 0.0
    if site.settings.push.branches:
        from aiframe.app.pushing import BRIEF_S, await_push, begin_push
        from aiframe.workspaces.pushing import TIMEOUT_S

        if glance is not None:
            pushed = await_push(site, glance, BRIEF_S)
        if begin_push(site):
            pushed_by = time.time() + TIMEOUT_S
    message = _load_message()(site, seen)
    leave_stamp(site, seen, message, code, surveyed, (*_wakes(site, seen), pushed_by or next_push(site)))
    return TickReport(code, "\n".join(filter(None, [pushed, message])))


def _wakes(site: Site, seen: Look) -> tuple[float, ...]:
    if not seen.seen.lanes:
        return ()
    from aiframe.app.project.lanes import wakes_of

    return wakes_of(site.root, seen.seen.clock)


class _Message(Protocol):
    def __call__(self, site: Site, found: Look | None = None) -> str:
        """How the project stands; *found* is a look at it that has just found nothing to do."""


def _load_message() -> _Message:
    """Load what says how a project stands. A tick that waits does so while its step runs, where it costs nothing."""
    from aiframe.app.reports.explaining import explain_now, explain_seen

    def message(site: Site, found: Look | None = None) -> str:
        explained = explain_now(site) if found is None else explain_seen(site, found.loaded, found.seen)
        # It carries words of agents, and the idle stamp shows it again without another look.
        return plain("\n".join([explained.headline, *(f"  {cure}" for cure in explained.cures)]))

    return message
