"""Which task comes next, and what one attempt at it is counted against."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence

from aiframe.core.model import Priority, Project, Role, Task, TaskStatus
from aiframe.core.seen import Seen

RANK = {Priority.HIGH: 0, Priority.MEDIUM: 1, Priority.LOW: 2}
_STARTABLE = frozenset({TaskStatus.TODO, TaskStatus.IN_PROGRESS})
CLOSED = frozenset({TaskStatus.DONE, TaskStatus.CANCELLED})


def ready_tasks(tasks: Sequence[Task], waiting: Collection[str] = ()) -> tuple[Task, ...]:
    """The tasks that may start now, the first to start first: by priority, then in the order of the file.

    A task left ``in_progress`` by a run that died counts as ``todo``. *waiting* names tasks that wait for an answer.
    """
    done = {task.id for task in tasks if task.status is TaskStatus.DONE}
    ready = [
        task
        for task in tasks
        if task.status in _STARTABLE and done.issuperset(task.blocked_by) and task.id not in waiting
    ]
    return tuple(sorted(ready, key=lambda task: RANK[task.priority]))


def is_startable(task: Task) -> bool:
    """Whether the task's status alone would let it start."""
    return task.status in _STARTABLE


def is_plan_gone(project: Project, seen: Seen) -> bool:
    """Whether there is no task although there was a plan: its file is just being written anew, or was lost.

    Nothing is concluded from that: tasks that are worked at are not cancelled, and no new plan is paid for.
    """
    worked_at = set(project.shown) - set(Role.__members__)
    had_plan = project.settings.plan_locked or project.planned_spec or project.closed_lanes or worked_at
    return not seen.tasks and bool(seen.lanes or had_plan)


def is_all_jobs(project: Project, seen: Seen) -> bool:
    """Whether a project begins with a plan of jobs alone: commands need no interview and no specification."""
    return bool(seen.tasks) and not project.interviews and all(task.is_job for task in seen.tasks)


def why_stuck(task: Task, tasks: Sequence[Task]) -> str:
    """In words, why an open task cannot go on though nothing is at work."""
    if not is_startable(task):
        return f"{task.id} is {task.status}" if task.status is not TaskStatus.REVIEW else f"{task.id} is in review"
    cancelled = {other.id for other in tasks if other.status is TaskStatus.CANCELLED}
    done = {other.id for other in tasks if other.status is TaskStatus.DONE}
    needs = [
        f"{need}, which is cancelled" if need in cancelled else need for need in task.blocked_by if need not in done
    ]
    return f"{task.id} waits for {' and '.join(needs)}"


def all_closed(tasks: Sequence[Task]) -> bool:
    """Whether no task is left to work on."""
    return all(task.status in CLOSED for task in tasks)


def is_job(tasks: Sequence[Task], task_id: str) -> bool:
    """Whether commands, and no agent, do the work of the task *task_id*; False where there is none."""
    return any(task.id == task_id and task.is_job for task in tasks)


def input_key(task: Task, request: str = "") -> str:
    """What attempts are counted against: the task's own words and what a person asked of it since.

    Status, priority and notes are not part of it, so that neither aiframe's status lines nor an agent's notes give
    attempts back.
    """
    words: list[object] = [task.title, task.description, list(task.dod), list(task.verify), request]
    if task.steps:
        words.append([step.line for step in task.steps])
    digest = hashlib.sha256(json.dumps(words, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{task.id}@{digest[:16]}"
