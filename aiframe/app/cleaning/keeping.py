"""What must not be cleaned away, and why: pure rules over what is known of a project and of its runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from aiframe.app.reports.attempt import RUNNING, UNKNOWN, Attempt
from aiframe.core.model import Project, State, Task, TaskStatus

Kind: TypeAlias = Literal["logs", "workspace", "lane", "container", "backup", "unfinished project"]
STEP_RUNS = "a step is running: wait for its end, or `aiframe stop`"
_OVER = frozenset({TaskStatus.DONE, TaskStatus.CANCELLED})
_PLANNED = frozenset(
    {State.DEV_READY, State.REVIEW_READY, State.REVIEW_WAITING, State.WORK_WAITING, State.PAUSED, State.DONE}
)
"""Where a project stands once its interview and its plan are made, and nothing has gone wrong."""


class Item(Struct, frozen=True):
    """Something that was looked at. *size* in bytes; *kept* says why it is left alone, empty where it is removed."""

    kind: Kind
    name: str
    size: int = 0
    kept: str = ""


class Known(Struct, frozen=True):
    """What is known of a project while nothing of it moves. *busy* says why its runs cannot be touched now."""

    project: Project
    tasks: Sequence[Task]
    runs: Sequence[Attempt]
    lanes: Collection[str] = ()
    busy: str = ""

    @property
    def last_run(self) -> str:
        """The id of the run that was begun last; empty for none."""
        return max(self.runs, key=lambda run: run.started or 0.0).run_id if self.runs else ""


def why_task_stays(known: Known, task_id: str) -> str:
    """Why nothing of the task *task_id* may go; empty where it is over, and nobody has to look at it."""
    project = known.project
    status = next((task.status for task in known.tasks if task.id == task_id), TaskStatus.CANCELLED)
    if task_id in project.held:
        return f"its work is held for your word: `aiframe approve {task_id}` or `aiframe reject --task {task_id}`"
    reviewed = project.settings.interactive_mode and task_id in project.review_items
    if status is TaskStatus.REVIEW or reviewed:
        return f"{task_id} waits for your review"
    if any(question.task_id == task_id and not question.answer for question in project.questions):
        return f"{task_id} has a question to you: `aiframe questions`"
    if project.handed is not None and project.handed.task_id == task_id:
        return f"{task_id} is in your hands: `aiframe done`"
    if task_id in known.lanes:
        return f"{task_id} is being worked at in a lane"
    return "" if status in _OVER else f"{task_id} is not over ({status})"


def why_run_stays(known: Known, run: Attempt, *, before: float | None = None) -> str:
    """Why the logs of *run* may not go; empty where they may. With *before* (epoch seconds) it must have ended then."""
    if known.busy:
        return known.busy
    if run.outcome == RUNNING:
        return "it is under way"
    if run.outcome == UNKNOWN:
        return "how it ended is not known"
    if before is not None and (run.ended or run.started or before) >= before:
        return "it is not that old"
    if run.task:
        why = why_task_stays(known, run.task)
    else:
        why = "" if known.project.state in _PLANNED else f"the project is in {known.project.state}"
    return why or ("it is the last one" if run.run_id == known.last_run else "")
