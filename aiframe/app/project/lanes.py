"""The lanes of a project: tasks that are worked at side by side, each in a small project of its own below lanes/.

A lane is a whole project: the same files, the same rules, one task. So whatever can befall a step is looked after there
already, and `--project PROJECT/lanes/NAME` shows and steers it like any other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field, to_builtins

from aiframe.core.errors import AiframeError
from aiframe.core.events import SeenLane
from aiframe.core.model import Failure, FailureKind, Moment, Project, State, TaskStatus
from aiframe.core.timing import remaining
from aiframe.store.atomic import read_bounded, write_durable
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked
from aiframe.store.project_store import ProjectStore
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.paths import safe_part

FOLDER = "lanes"
RECORD = "lane.json"
_GLANCE_S = 0.02
"""How often the locks of steps are looked at: a hundredth of a millisecond each."""
_FOR_A_PERSON = frozenset(
    {State.QUESTION_WAITING, State.REVIEW_WAITING, State.WORK_WAITING, State.PAUSED, State.PAUSE_INTERACT}
)


class LaneRecord(Struct, frozen=True):
    """What a lane is for, and what it has got. *granted*: it holds its locks, its slot and its *values*.

    *halted*: it was made to rest because its project does, and goes on with it.
    """

    task_id: str
    agent: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    granted: bool = True
    halted: bool = False


class Lane(Struct, frozen=True):
    """A lane that is there: its folder, its record, and what its own project says. *running*: a step lives there."""

    root: Path
    record: LaneRecord
    seen: SeenLane
    running: bool = False
    state: str = ""


def lane_root(root: Path, task_id: str) -> Path:
    """Where the lane of *task_id* lies: its name says the project's too, and so do its branch and its workspace."""
    return root / FOLDER / safe_part(f"{root.name}.{task_id}")


def has_lanes(root: Path) -> bool:
    """Whether there may be any lane: most projects never have one."""
    return (root / FOLDER).is_dir()


def read_record(root: Path) -> LaneRecord | None:
    """What the lane in *root* is for; None where it is none, or is being put away."""
    try:
        return msgspec.convert(json.loads(read_bounded(root / RECORD)), LaneRecord)
    except (OSError, AiframeError, ValueError, msgspec.ValidationError):
        return None


def lane_places(root: Path) -> list[Path]:
    """The folders of the lanes of the project in *root*, those that were made to their end."""
    try:
        return sorted(path.parent for path in (root / FOLDER).glob(f"[!.]*/{RECORD}"))
    except OSError:
        return []


def read_lanes(root: Path, clock: Moment) -> tuple[Lane, ...]:
    """The lanes of the project in *root*. Reads only."""
    found = (read_lane(place, clock) for place in lane_places(root))
    return tuple(lane for lane in found if lane is not None)


def read_lane(place: Path, clock: Moment) -> Lane | None:
    """The lane in the folder *place*; None for one that is being put away."""
    record = read_record(place)
    return _read(place, record, clock) if record is not None else None


def await_an_end(root: Path, within_s: float) -> bool:
    """Sleep for *within_s* seconds, or until a step ends that lives in a lane of *root* now; whether one has."""
    lanes = [Layout(path.parent) for path in (root / FOLDER).glob(f"*/{RECORD}")]
    alive = [lane for lane in lanes if _lives(lane)]
    until = time.monotonic() + within_s
    while all(map(_lives, alive)):
        if (left := until - time.monotonic()) <= 0:
            return False
        time.sleep(min(left, _GLANCE_S))
    return True


def _lives(lane: Layout) -> bool:
    """Whether a step lives there; a look at the lanes says what is wrong with one that cannot be read."""
    try:
        return is_run_locked(lane)
    except AiframeError:
        return False


def write_record(root: Path, record: LaneRecord) -> None:
    """Say what the lane in *root* is for. Raises StorageError."""
    write_durable(root / RECORD, json.dumps(to_builtins(record), indent=2) + "\n")


def _read(root: Path, record: LaneRecord, clock: Moment) -> Lane:
    layout = Layout(root)
    try:
        project = ProjectStore(layout).load(tolerate_unreadable=True).project
        status = next((t.status for t in load_tasks(layout.tasks_yaml).tasks if t.id == record.task_id), None)
        running = is_run_locked(layout)
    except AiframeError as error:
        failure = Failure(FailureKind.SETUP, f"the lane cannot be read: {error.message}", error.hint)
        seen = SeenLane(
            record.task_id, record.agent, record.granted, failure=failure, values=record.values, place=str(root)
        )
        return Lane(root, record, seen)
    landed = status is TaskStatus.DONE and project.state is not State.RUNNING and not running
    seen = SeenLane(
        task_id=record.task_id,
        agent=record.agent,
        granted=record.granted,
        rests=not landed and not running and not record.halted and _rests(project, clock),
        landed=landed,
        failure=project.failure if project.state is State.ERROR and not landed else None,
        values=record.values,
        spending=project.spending,
        place=str(root),
    )
    return Lane(root, record, seen, running, str(project.state))


def _rests(project: Project, clock: Moment) -> bool:
    """Whether nothing goes on there until a person has acted, or a quota is there again.

    A service in trouble is waited for in place, some minutes at most: what the lane has half done lies in files that
    its locks keep from others.
    """
    if project.failure is not None and project.failure.kind is FailureKind.TRANSIENT:
        return False
    return project.state in _FOR_A_PERSON or remaining(project.wait, clock) > 0
