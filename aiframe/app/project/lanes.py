"""The lanes of a project: tasks that are worked at side by side, each in a small project of its own below lanes/.

A lane is a whole project: the same files, the same rules, one task. So whatever can befall a step is looked after there
already, and `--project PROJECT/lanes/NAME` shows and steers it like any other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from aiframe.app.project.lane_troubles import Trouble, read_troubles
from aiframe.app.project.observe import observe, tasks_now
from aiframe.app.project.site import Site, open_site
from aiframe.app.project.spent_note import spent_so_far
from aiframe.core.errors import AiframeError, UnreadableFile
from aiframe.core.events import Tick
from aiframe.core.machine import decide
from aiframe.core.model import Failure, FailureKind, Moment, Project, Rules, State, Task, TaskStatus
from aiframe.core.problem import Problem
from aiframe.core.seen import SeenLane
from aiframe.core.timing import remaining
from aiframe.numbered import free_name
from aiframe.store.atomic import StorageError, read_bounded, storage_errors, write_durable
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked
from aiframe.store.project_store import Loaded, ProjectStore
from aiframe.store.settings_file import PARALLEL, ProjectSettings
from aiframe.workspaces.paths import safe_part

FOLDER = "lanes"
_ASIDE = re.compile(r"\.closed-\d+\Z")
_FOR_A_PERSON = frozenset(
    {State.QUESTION_WAITING, State.REVIEW_WAITING, State.WORK_WAITING, State.PAUSED, State.PAUSE_INTERACT}
)


class LaneRecord(Struct, frozen=True):
    """What a lane is for, and what it has got. *granted*: it holds its locks, its slot and its *values*.

    *halted*: it was made to rest because its project does, and goes on with it. *words* is the key of the task's words
    as the lane got them, *given* names what it was given of its project, by hashes of the contents; *collected* are the
    proposals of its agents that its project has taken over.
    """

    task_id: str
    agent: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    granted: bool = True
    halted: bool = False
    words: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    collected: tuple[str, ...] = ()


class Lane(Struct, frozen=True):
    """A lane that is there: its folder, its record, and what its own project says.

    *loaded* and *tasks* are that project as it was read; None and empty where that was not possible. *trouble* is what
    keeps it from going on though nothing there says so.
    """

    root: Path
    record: LaneRecord
    seen: SeenLane
    loaded: Loaded | None = None
    tasks: tuple[Task, ...] = ()
    trouble: Trouble = Trouble()

    @property
    def project(self) -> Project | None:
        """Its own project."""
        return self.loaded.project if self.loaded is not None else None

    @property
    def task_id(self) -> str:
        """What is worked at there."""
        return self.record.task_id

    @property
    def running(self) -> bool:
        """Whether a step lives there."""
        return self.seen.running


def lane_root(root: Path, task_id: str) -> Path:
    """Where the lane of *task_id* lies: its name says the project's too, and so do its branch and its workspace.

    None has a name that one which was put aside might have.
    """
    name = f"{root.name}.{task_id}"
    return root / FOLDER / safe_part(f"{name}\0" if _ASIDE.search(name) else name)


def has_lanes(root: Path) -> bool:
    """Whether there may be any lane: most projects never have one."""
    return Layout(root).lanes.is_dir()


def project_of(lane: Layout) -> Layout:
    """The project whose task is worked at in *lane*."""
    return Layout(lane.root.parent.parent)


def open_lane(root: Path, environ: Mapping[str, str]) -> Site:
    """The lane in *root*, opened: how many tasks its project works at at once is not for it. Raises as `open_site`."""
    return open_site(root, {name: value for name, value in environ.items() if name != PARALLEL})


def read_record(root: Path) -> LaneRecord | None:
    """What the lane in *root* is for; None where it is none, is being put away, or does not say so any more."""
    try:
        return known_record(root)
    except UnreadableFile:
        return None


def known_record(root: Path) -> LaneRecord | None:
    """What the lane in *root* is for; None where it is none, or is being put away. Raises UnreadableFile."""
    path = Layout(root).lane_record
    try:
        return msgspec.convert(json.loads(read_bounded(path)), LaneRecord)
    except FileNotFoundError:
        return None
    except UnreadableFile:
        raise
    except (OSError, AiframeError, ValueError, msgspec.ValidationError) as error:
        said = error.message if isinstance(error, AiframeError) else f"is no record of a lane: {error}"
        cure = f"put it right, or move {root} out of {root.parent}: the task is begun anew then, in the same workspace"
        raise UnreadableFile([Problem(path, said, hint=cure)]) from error


def write_record(root: Path, record: LaneRecord) -> None:
    """Say what the lane in *root* is for. Raises StorageError."""
    write_durable(Layout(root).lane_record, json.dumps(to_builtins(record), indent=2) + "\n")


def put_aside(root: Path) -> Path:
    """Move what lies in *root*, and is no lane any more, beside it; where to. Raises StorageError."""
    aside = free_name(root, ".closed-")
    with storage_errors(root, "move"):
        os.rename(root, aside)
    return aside


def lane_places(root: Path) -> list[Path]:
    """The folders of the lanes of the project in *root*, those that were made to their end."""
    try:
        return sorted(place for place in (root / FOLDER).glob("[!.]*") if _is_made(place))
    except OSError:
        return []


def _is_made(place: Path) -> bool:
    """Whether the lane in *place* was made to its end; one that nobody may look into was."""
    try:
        return Layout(place).lane_record.exists()
    except OSError:
        return True


def is_at_work(layout: Layout) -> bool | None:
    """Whether a step lives in the project; None where nobody can tell."""
    try:
        return is_run_locked(layout)
    except AiframeError:
        return None


def read_lanes(root: Path, clock: Moment) -> tuple[Lane, ...]:
    """The lanes of the project in *root*. Reads only."""
    troubles = read_troubles(Layout(root))
    found = (_lane_in(place, clock, troubles) for place in lane_places(root))
    return tuple(lane for lane in found if lane is not None)


def read_lane(place: Path, clock: Moment) -> Lane | None:
    """The lane in the folder *place*; None for one that is being put away."""
    return _lane_in(place, clock, read_troubles(project_of(Layout(place))))


def _lane_in(place: Path, clock: Moment, troubles: Mapping[str, Trouble]) -> Lane | None:
    try:
        record = known_record(place)
        lane = _read(place, record, clock) if record is not None else None
    except UnreadableFile as error:
        lane = _by_its_name(place, error)
    return _with_trouble(lane, troubles.get(lane.task_id, Trouble()), clock) if lane is not None else None


def _by_its_name(place: Path, problem: UnreadableFile) -> Lane | None:
    """The lane in *place*, whose record cannot be read; None where its name does not say what it is for, either."""
    root = place.parent.parent
    task_id = place.name.removeprefix(f"{root.name}.")
    if lane_root(root, task_id) != place:
        return None
    seen = SeenLane(task_id, place=str(place), running=bool(is_at_work(Layout(place))))
    return _unreadable(Lane(place, LaneRecord(task_id), seen), problem)


def _with_trouble(lane: Lane, trouble: Trouble, clock: Moment) -> Lane:
    """*lane* as it stands with its *trouble*: it waits for its next try, or its task has failed."""
    if not trouble.tries:
        return lane
    stuck, seen = clock.wall < trouble.next_at, lane.seen
    seen = replace(
        seen, granted=seen.granted and not trouble.over, stuck=stuck, waits=seen.waits or (stuck and not seen.running),
        failure=seen.failure or (trouble.failure if not seen.running else None),
    )  # fmt: skip
    return replace(lane, seen=seen, trouble=trouble)


def _unreadable(lane: Lane, problem: AiframeError) -> Lane:
    """*lane*, of which nothing else counts than that it cannot be read."""
    found = Failure(FailureKind.INTERRUPTED, problem.message, problem.hint)
    seen = replace(lane.seen, problem=found, rests=False, landed=False)
    return replace(lane, seen=seen, loaded=None, tasks=())


def wakes_of(root: Path, clock: Moment) -> tuple[float, ...]:
    """When the waits in the lanes of the project in *root* end, in epoch seconds; those that are not over."""
    lanes = read_lanes(root, clock)
    waits = [lane.project.wait.until for lane in lanes if lane.project is not None and lane.project.wait is not None]
    times = (*waits, *(lane.trouble.next_at for lane in lanes))
    return tuple(at for at in times if at > clock.wall)


def _read(root: Path, record: LaneRecord, clock: Moment) -> Lane:
    layout = Layout(root)
    seen = SeenLane(
        record.task_id, record.agent, record.granted, values=record.values, place=str(root), halted=record.halted,
        words=record.words,
    )  # fmt: skip
    try:
        site = Site(layout, ProjectStore(layout), ProjectSettings(), {})
        loaded = site.store.load(tolerate_unreadable=True)
        project = loaded.project
        tasks = tasks_now(site, project)
        running = is_run_locked(layout)
        is_done = any(task.status is TaskStatus.DONE for task in tasks)
        landed = is_done and project.state is not State.RUNNING and not running
        rests = not landed and not running and not record.halted and _rests(site, loaded, tasks, clock)
    except (AiframeError, OSError, ValueError) as error:
        problem = error if isinstance(error, AiframeError) else StorageError(f"{root}: cannot read: {error}")
        return _unreadable(Lane(root, record, replace(seen, running=bool(is_at_work(layout)))), problem)
    seen = replace(
        seen,
        rests=rests,
        landed=landed,
        failure=project.failure if project.state is State.ERROR and not landed else None,
        spending=project.spending,
        unsettled=spent_so_far(layout, project.run, clock, running=running),
        waits=not running and remaining(project.wait, clock) > 0,
        running=running,
        state=str(project.state),
        resting=project.resting,
    )
    return Lane(root, record, seen, loaded, tasks)


def _rests(site: Site, loaded: Loaded, tasks: tuple[Task, ...], clock: Moment) -> bool:
    """Whether nothing goes on there until a person has acted, or a quota is there again.

    A service in trouble is waited for in place, some minutes at most: what the lane has half done lies in files that
    its locks keep from others.
    """
    project = loaded.project
    if project.run is None and loaded.edits.changed:
        return False
    if project.state not in _FOR_A_PERSON:
        in_trouble = project.failure is not None and project.failure.kind is FailureKind.TRANSIENT
        return remaining(project.wait, clock) > 0 and not in_trouble
    seen = observe(site, project, clock, lock_held=False, tasks=tasks)
    return decide(project, Tick(seen, may_start=False), Rules()).project.state == project.state
