"""Where a project stands, as one read-only value for every face. Takes no lock and writes nothing.

Whatever can be read is shown, beside the problems of what cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aiframe.app.attempts.playing import next_agent
from aiframe.app.project.landed import landing_branch, merge_command
from aiframe.app.project.lanes import has_lanes
from aiframe.app.project.observe import local_day, observe
from aiframe.app.project.site import Site, open_site
from aiframe.app.reports.explaining import (
    explain_lanes,
    explain_project,
    is_in_the_way,
    lanes_of,
    open_form_questions,
    with_hand_edits,
)
from aiframe.app.reports.follow import last_lines, newest_log
from aiframe.app.reports.lanes import shown_attempts, together, with_rows
from aiframe.app.reports.snapshot import Snapshot, TaskLine, Trouble
from aiframe.core.budget import Spending, Spent
from aiframe.core.errors import AiframeError, UnreadableFile
from aiframe.core.explanations.words import Explanation
from aiframe.core.lanes import Waiting
from aiframe.core.model import Moment, Project, Role, Run, State, Task, TaskStatus
from aiframe.core.problem import Problem
from aiframe.core.scheduling import is_job
from aiframe.core.seen import Seen
from aiframe.core.timing import elapsed, remaining
from aiframe.core.transitions.lanes import all_spent, roster_of
from aiframe.process import now
from aiframe.store.guards import check_project_folder
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked
from aiframe.store.project_store import Loaded, ProjectStore
from aiframe.store.settings_file import ProjectSettings
from aiframe.store.tasks_file import load_tasks

if TYPE_CHECKING:
    from aiframe.workspaces.probing import Clash

T = TypeVar("T")

_ROLE_OF_STATE = {
    State.INTAKE_READY: Role.INTAKE,
    State.INTAKE_WAITING: Role.INTAKE,
    State.SPEC_READY: Role.PO,
    State.DIAGNOSE_READY: Role.DIAGNOSE,
}


def _clashes(site: Site) -> tuple[Clash, ...]:
    """What will not go together of the work in lanes; most projects have none, and need not load what finds out."""
    if not has_lanes(site.root):
        return ()
    from aiframe.app.reports.clashes import find_clashes

    return find_clashes(site)


def take_snapshot(root: Path, environ: Mapping[str, str], *, tail: int = 50) -> Snapshot:
    """Where the project in *root* stands, with the last *tail* lines of its log. Raises UsageError, GuardError."""
    readings = _Readings()
    site = _site(root, environ, readings)
    layout = site.layout
    alive = readings.take(lambda: is_run_locked(layout), False)
    loaded = readings.take(lambda: site.store.load(tolerate_unreadable=True), None)
    if loaded is not None and loaded.unreadable is not None and is_in_the_way(loaded, alive=alive):
        readings.note(loaded.unreadable)
    seen = _see(site, loaded, readings, alive=alive)
    project = with_hand_edits(site, loaded, seen) if loaded is not None else Project()
    lanes = lanes_of(site, seen)
    log = _log(layout, project.run, [Layout(lane.root) for lane in lanes])
    counts = Counter(task.status for task in seen.tasks)
    lines = explain_lanes(site, lanes, project, seen)
    spending = all_spent(project, seen.lanes)
    shown = {**project.shown, **shown_attempts(lanes)}
    return Snapshot(
        name=layout.root.name,
        path=str(layout.root),
        at=seen.clock.wall,
        state=str(project.state) if loaded is not None else "",
        **_about_run(project, seen.clock, readings.take(lambda: _heartbeat(site), 0.0)),
        alive=alive,
        **_about_agents(site, project, seen),
        spent=spending.project,
        spent_today=spending.of("day", local_day(seen.clock.wall)[0], ""),
        tasks=tuple(_task_line(task, spending, shown) for task in seen.tasks),
        tasks_by_status={status.value: counts[status] for status in TaskStatus if counts[status]},
        tasks_total=len(seen.tasks),
        lanes=with_rows(site, lines),
        queue=_queue(site, project, seen),
        diagnosis=project.diagnosis,
        last_error=project.last_error,
        failure=project.failure,
        waits=together(_explain_or_blame(site, project, seen, readings), lines),
        settings=project.settings,
        target=landing_branch(site),
        merge=merge_command(site),
        open_form_questions=readings.take(lambda: open_form_questions(site, project), 0),
        questions=project.open_questions(),
        review_items=_review_items(project, seen),
        spec_changed=bool(project.planned_spec and seen.spec_hash and project.planned_spec != seen.spec_hash),
        offered_tasks=layout.offered_tasks.exists(),
        log_file=str(log.relative_to(layout.root)) if log is not None else "",
        log_tail=readings.take(lambda: last_lines(log, tail), ()) if log is not None else (),
        problems=readings.problems(),
        clashes=_clashes(site),
    )


class _Readings:
    """Reads what can be read, and keeps what is wrong with the rest."""

    def __init__(self) -> None:
        self._found: dict[Trouble, None] = {}  # a file that is read twice has its troubles once

    def take(self, read: Callable[[], T], otherwise: T) -> T:
        """What *read* gives, or *otherwise* where the file is in trouble."""
        try:
            return read()
        except AiframeError as error:
            self.note(error)
            return otherwise

    def note(self, error: AiframeError) -> None:
        """Keep what *error* tells."""
        problems = error.problems if isinstance(error, UnreadableFile) else ()
        for problem in problems:
            self._found[_trouble(problem, error.hint)] = None
        if not problems:
            self._found[Trouble("", error.message, hint=error.hint)] = None

    def problems(self) -> tuple[Trouble, ...]:
        """All that was wrong so far."""
        return tuple(self._found)


def _trouble(problem: Problem, hint: str) -> Trouble:
    return Trouble(str(problem.path), problem.message, problem.line, problem.column, problem.hint or hint)


def _site(root: Path, environ: Mapping[str, str], readings: _Readings) -> Site:
    """The site, with default settings where PROJECT.yaml cannot be used."""
    root = root.resolve()
    check_project_folder(root)
    layout = Layout(root)
    fallback = Site(layout, ProjectStore(layout), ProjectSettings(), environ)
    return readings.take(lambda: open_site(root, environ), fallback)


def _see(site: Site, loaded: Loaded | None, readings: _Readings, *, alive: bool) -> Seen:
    clock = now()
    project = loaded.project if loaded is not None else Project()
    seen = readings.take(lambda: observe(site, project, clock, lock_held=alive), None)
    if seen is not None:
        return seen
    none: tuple[Task, ...] = ()
    return Seen(clock, lock_held=alive, tasks=readings.take(lambda: load_tasks(site.layout.tasks_yaml).tasks, none))


def _about_run(project: Project, clock: Moment, beat: float) -> dict[str, Any]:
    run = project.run
    if run is None:
        return {"timeout_s": project.settings.timeout_sec}
    return {
        "role": run.role.value,
        "task": run.task_id,
        "attempt": run.attempt,
        "run_id": run.run_id,
        "started_at": run.started.wall,
        "runtime_s": elapsed(run.started, clock),
        "timeout_s": run.timeout_s,
        "heartbeat_age_s": max(0.0, clock.wall - beat) if beat else None,
    }


def _heartbeat(site: Site) -> float:
    """When the runner last said that it is alive; where the original framework runs, only STATE.json tells."""
    own = site.store.heartbeat()
    if own:
        return own
    file = site.store.load(tolerate_unreadable=True).state_file
    return file.heartbeat_at if file is not None else 0


def _about_agents(site: Site, project: Project, seen: Seen) -> dict[str, Any]:
    """Who plays the step that runs, or the next one of the role that is on; and who rests."""
    run = project.run
    role = run.role if run is not None else None
    if role is None and isinstance(project.state, State):
        role = _ROLE_OF_STATE.get(project.state)
    first = site.settings.agents[role or Role.DEV].label
    agent = (run.agent or first) if run is not None else next_agent(site, project, role or Role.DEV)
    if run is not None and is_job(seen.tasks, run.task_id):
        agent = ""
    resting = {name: wait.until for name, wait in project.resting.items() if remaining(wait, seen.clock) > 0}
    stands_in = run.instead_of if run is not None else first if agent != first else ""
    return {"agent": agent, "instead_of": stands_in, "resting": resting}


def _task_line(task: Task, spending: Spending, shown: Mapping[str, int]) -> TaskLine:
    spent = spending.tasks.get(task.id, Spent())
    return TaskLine(task.id, task.title, task.status.value, shown.get(task.id, 0), spent)


def _queue(site: Site, project: Project, seen: Seen) -> tuple[Waiting, ...]:
    """Who is ready and has to wait for what others have, where tasks are worked at side by side."""
    by_lanes = seen.lanes and project.state is State.DEV_READY
    return roster_of(seen, site.rules).waiting if by_lanes else ()


def _explain_or_blame(site: Site, project: Project, seen: Seen, readings: _Readings) -> Explanation:
    """What it waits for; with files in trouble and no run alive, that is the person who mends them."""
    problems = readings.problems()
    if not problems or (project.state is State.RUNNING and seen.lock_held):
        return readings.take(lambda: explain_project(site, project, seen), Explanation(""))
    first, *more = problems
    place = f"{first.path}:{first.line}" if first.line else first.path
    said = f"{place}: {first.message}" if place else first.message
    others = f" (and {len(more)} more)" if more else ""
    cures = tuple(dict.fromkeys(problem.hint for problem in problems if problem.hint))
    return Explanation(f"Nothing can go on: {said}{others}", "you", cures=cures)


def _review_items(project: Project, seen: Seen) -> tuple[str, ...]:
    in_review: Sequence[str] = [task.id for task in seen.tasks if task.status is TaskStatus.REVIEW]
    return tuple(dict.fromkeys((*project.review_items, *in_review)))


def _log(layout: Layout, run: Run | None, lanes: Sequence[Layout]) -> Path | None:
    """The log of the step that runs, else the newest; of tasks side by side the one that was written last."""
    try:
        own = layout.tick_log(run.run_id) if run is not None else None
    except AiframeError:  # the original's run ids are free text
        own = None
    if own is not None and own.exists():
        return own
    found = [log for log in map(newest_log, lanes) if log is not None]
    return max(found, key=_written, default=None) or newest_log(layout)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # the lane has been put away meanwhile
        return 0.0
