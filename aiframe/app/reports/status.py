"""Where a project stands, as one read-only value for every face. Takes no lock and writes nothing.

Whatever can be read is shown, beside the problems of what cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from aiframe.app.attempts.playing import next_agent
from aiframe.app.project.intake import open_questions
from aiframe.app.project.landed import landing_branch, merge_command
from aiframe.app.project.lanes import Lane, has_lanes, read_lanes
from aiframe.app.project.last_words import LastWords, last_words
from aiframe.app.project.observe import hand_edit, local_day, observe, read_text
from aiframe.app.project.offers import waiting
from aiframe.app.project.pushes import unpushed
from aiframe.app.project.site import Site, held_in, open_site
from aiframe.app.reports.follow import last_lines, newest_log
from aiframe.app.reports.lanes import LaneLine, lane_lines, shown_attempts, together, with_rows
from aiframe.core.budget import Spending, Spent
from aiframe.core.errors import AiframeError, UnreadableFile
from aiframe.core.events import Seen
from aiframe.core.explain import Explanation, explain, to_take_up
from aiframe.core.lanes import Waiting
from aiframe.core.machine import decide
from aiframe.core.model import Failure, Moment, Project, Question, Role, Run, Settings, State, Task, TaskStatus
from aiframe.core.problem import Problem
from aiframe.core.scheduling import is_job
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


class TaskLine(Struct, frozen=True):
    """A task as the panel shows it; *attempts* counts the tries that people have seen, *spent* is what they took."""

    id: str
    title: str
    status: str
    attempts: int = 0
    spent: Spent = field(default_factory=Spent)


class Trouble(Struct, frozen=True):
    """A file that cannot be used, and the cure. *line* and *column* count from 1; 0 means the whole file."""

    path: str
    message: str
    line: int = 0
    column: int = 0
    hint: str = ""


class Snapshot(Struct, frozen=True):
    """A project at the moment *at*. Times are epoch seconds, durations seconds; None where there is nothing to say.

    *state* is empty where no file tells it. *role*, *task*, *attempt*, *run_id*, *started_at*, *runtime_s* and
    *heartbeat_age_s* are those of the step that runs, *timeout_s* its limit or else the setting; *alive*: a runner
    holds the run lock. *agent* is who plays the role that is on, *instead_of* the agent for which it stands in.
    *resting* are the agents whose quota is used up, with the time at which it is there again. *spent* is what the
    project has spent in all, *spent_today* on this local day; a step that runs is not in it yet. *target* is the branch
    that work lands on, empty where there is none of its own or none yet, *merge* the command that takes it in. *lanes*
    are the tasks that are worked at side by side, *queue* those that are ready and wait for what others have, *clashes*
    those that will not go together.
    """

    name: str
    path: str
    at: float
    state: str = ""
    role: str = ""
    task: str = ""
    attempt: int = 0
    run_id: str = ""
    started_at: float | None = None
    runtime_s: float | None = None
    timeout_s: float = 0
    heartbeat_age_s: float | None = None
    alive: bool = False
    agent: str = ""
    instead_of: str = ""
    resting: Mapping[str, float] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    spent_today: Spent = field(default_factory=Spent)
    tasks: tuple[TaskLine, ...] = ()
    tasks_by_status: Mapping[str, int] = field(default_factory=dict)
    tasks_total: int = 0
    lanes: tuple[LaneLine, ...] = ()
    queue: tuple[Waiting, ...] = ()
    diagnosis: str = ""
    last_error: str = ""
    failure: Failure | None = None
    waits: Explanation = field(default_factory=lambda: Explanation(""))
    settings: Settings = field(default_factory=Settings)
    target: str = ""
    merge: str = ""
    open_form_questions: int = 0
    questions: tuple[Question, ...] = ()
    review_items: tuple[str, ...] = ()
    spec_changed: bool = False
    offered_tasks: bool = False
    log_file: str = ""
    log_tail: tuple[str, ...] = ()
    problems: tuple[Trouble, ...] = ()
    clashes: tuple[Clash, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values that JSON can carry."""
        return dict(to_builtins(self))


def explain_now(site: Site) -> Explanation:
    """What the project waits for at this moment. Raises UnreadableFile, as a tick would."""
    alive = is_run_locked(site.layout)
    loaded = site.store.load(tolerate_unreadable=True)
    if _is_in_the_way(loaded, alive=alive) and loaded.unreadable is not None:
        raise loaded.unreadable
    return explain_seen(site, loaded, observe(site, loaded.project, now(), lock_held=alive))


def explain_seen(site: Site, loaded: Loaded, seen: Seen) -> Explanation:
    """What the project, which was just *loaded*, waits for by what was *seen*."""
    said = _explain(site, _with_hand_edits(site, loaded, seen), seen)
    if not seen.lanes:
        return said
    lines = lane_lines(site, _lanes(site, seen), seen.clock, _explain_lane, _again(loaded.project, seen))
    return together(said, lines)


def _again(project: Project, seen: Seen) -> frozenset[str]:
    """The tasks that the next look takes up again: what is wrong in their lanes is over."""
    return frozenset(to_take_up(seen)) if project.state is State.DEV_READY else frozenset()


def _explain_lane(site: Site, lane: Lane) -> Explanation:
    """What a lane waits for, whose project is *site*; as it was read."""
    if lane.loaded is None:
        return Explanation("")
    seen = observe(site, lane.loaded.project, now(), lock_held=lane.running, tasks=lane.tasks)
    return _explain(site, _with_hand_edits(site, lane.loaded, seen), seen)


def _lanes(site: Site, seen: Seen) -> tuple[Lane, ...]:
    return read_lanes(site.root, seen.clock) if has_lanes(site.root) else ()


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
    if loaded is not None and loaded.unreadable is not None and _is_in_the_way(loaded, alive=alive):
        readings.note(loaded.unreadable)
    seen = _see(site, loaded, readings, alive=alive)
    project = _with_hand_edits(site, loaded, seen) if loaded is not None else Project()
    lanes = _lanes(site, seen)
    log = _log(layout, project.run, [Layout(lane.root) for lane in lanes])
    counts = Counter(task.status for task in seen.tasks)
    lines = lane_lines(site, lanes, seen.clock, _explain_lane, _again(project, seen))
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
        open_form_questions=readings.take(lambda: _open_form_questions(site, project), 0),
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


def _is_in_the_way(loaded: Loaded, *, alive: bool) -> bool:
    """Whether a STATE.json that cannot be read stops the project: a run has the control record to go by."""
    return loaded.unreadable is not None and not alive and loaded.project.state is not State.RUNNING


def _with_hand_edits(site: Site, loaded: Loaded, seen: Seen) -> Project:
    """The project as the next tick takes it: with what a person wrote into STATE.json."""
    event = hand_edit(loaded.edits, seen)
    return loaded.project if event is None else decide(loaded.project, event, site.rules).project


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


def _explain(site: Site, project: Project, seen: Seen) -> Explanation:
    blank = _open_form_questions(site, project)
    said = explain(project, seen, site.rules, open_form_questions=blank, repo=held_in(site), landed=merge_command(site))
    if project.run is not None and not seen.lock_held:
        said = _with_last_words(said, last_words(site.layout, since=project.run.started.wall))
    cures = (*said.cures, *waiting(site), *unpushed(site.layout, held_in(site)))
    return replace(said, cures=tuple(dict.fromkeys(cures)))


def _with_last_words(said: Explanation, words: LastWords) -> Explanation:
    """*said* of a step without a runner, with why the last one gave up: the next one may do so, too."""
    if not words.message:
        return said
    headline = f"{said.headline}. The last runner gave up: {words.message}"
    return replace(said, headline=headline, cures=(*filter(None, [words.hint]), *said.cures))


def _explain_or_blame(site: Site, project: Project, seen: Seen, readings: _Readings) -> Explanation:
    """What it waits for; with files in trouble and no run alive, that is the person who mends them."""
    problems = readings.problems()
    if not problems or (project.state is State.RUNNING and seen.lock_held):
        return readings.take(lambda: _explain(site, project, seen), Explanation(""))
    first, *more = problems
    place = f"{first.path}:{first.line}" if first.line else first.path
    said = f"{place}: {first.message}" if place else first.message
    others = f" (and {len(more)} more)" if more else ""
    cures = tuple(dict.fromkeys(problem.hint for problem in problems if problem.hint))
    return Explanation(f"Nothing can go on: {said}{others}", "you", cures=cures)


def _open_form_questions(site: Site, project: Project) -> int:
    if project.state is not State.INTAKE_WAITING:
        return 0
    return open_questions(read_text(site.layout.questions), read_text(site.layout.answers))


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
