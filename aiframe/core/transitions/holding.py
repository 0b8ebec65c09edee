"""Candidates that wait for a person: how one is held, taken or sent back, and when it is its turn to land."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from aiframe.core.effects import Decision, GoOn, SetStatus
from aiframe.core.events import Held
from aiframe.core.model import HeldWork, Project, Run, State, Task, TaskStatus
from aiframe.core.scheduling import is_startable
from aiframe.core.seen import Seen
from aiframe.core.transitions.notes import with_question, without
from aiframe.core.transitions.paths import Refused


def on_held(project: Project, run: Run, ending: Held) -> Decision:
    """The candidate is kept beside the branch, its task is in review, and other tasks go on."""
    work = HeldWork(ending.reason, ending.tree, ending.ref, ending.commit, ending.findings)
    look = (ending.reason, *ending.findings, *ending.proposal.to_look_at)
    project = project.evolve(
        state=State.DEV_READY,
        held={**project.held, run.task_id: work},
        to_look_at={**project.to_look_at, run.task_id: look},
        trees=without(project.trees, run.task_id),
    )
    project = with_question(project, run, ending.proposal.question)
    return Decision(project, (SetStatus(run.task_id, TaskStatus.REVIEW), GoOn()))


def undecided(project: Project, tasks: Sequence[Task]) -> tuple[str, ...]:
    """The tasks in review whose candidate waits for a person's word."""
    in_review = (task.id for task in tasks if task.status is TaskStatus.REVIEW)
    return tuple(name for name in in_review if name in project.held and not project.held[name].approved)


def to_land(project: Project, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks whose candidate a person has taken: it is checked again and lands, before anything new is begun."""
    return tuple(
        task for task in tasks
        if task.id in project.held and project.held[task.id].approved
        and (is_startable(task) or task.status is TaskStatus.REVIEW)
    )  # fmt: skip


def with_approval(project: Project, task_ids: Sequence[str]) -> Project:
    """The held candidates of *task_ids* taken."""
    taken = {name: replace(project.held[name], approved=True) for name in task_ids if name in project.held}
    return project.evolve(held={**project.held, **taken})


def not_held(project: Project, *task_ids: str) -> Project:
    """Nothing of *task_ids* is held any more."""
    return project.evolve(
        held={name: work for name, work in project.held.items() if name not in task_ids},
        to_look_at={name: looks for name, looks in project.to_look_at.items() if name not in task_ids},
    )


def on_approve(project: Project, seen: Seen, task_id: str) -> Decision:
    """A person takes a held candidate; where the project rests for a review or an answer, it goes on to land it."""
    _check_held(project, seen, task_id)
    return Decision(_going_on(with_approval(project, (task_id,))))


def on_send_back(project: Project, seen: Seen, task_id: str, notes: str) -> Decision:
    """A held candidate goes back to todo; what was found and the person's notes are new input for the next attempt."""
    _check_held(project, seen, task_id)
    if project.state is State.RUNNING:
        raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`, then reject")
    said = told(project, task_id, notes)
    after = not_held(project.evolve(requests={**project.requests, task_id: said}), task_id)
    return Decision(_going_on(after), (SetStatus(task_id, TaskStatus.TODO),))


def told(project: Project, task_id: str, notes: str) -> str:
    """What the next attempt is asked for, with what a person said before."""
    work = project.held.get(task_id)
    why = "\n".join((f"The attempt before was held: {work.reason}", *work.findings)) if work else ""
    return "\n\n".join(filter(None, [project.requests.get(task_id, ""), why, notes]))


def _check_held(project: Project, seen: Seen, task_id: str) -> None:
    waiting = undecided(project, seen.tasks)
    if task_id not in waiting:
        known = ", ".join(waiting) or "none"
        raise Refused(f"no work of {task_id} waits for a word", hint=f"held tasks: {known}; see `aiframe status`")


def _going_on(project: Project) -> Project:
    """Out of a rest in which nothing but a person's word could be waited for, or a quota or budget to be there again.

    To land takes neither; what needs them waits again after it.
    """
    if project.state is State.DEV_READY:
        return project.evolve(wait=None)
    if project.state in (State.REVIEW_READY, State.REVIEW_WAITING):
        return project.evolve(state=State.DEV_READY)
    if project.state is State.QUESTION_WAITING and project.paused_from is State.DEV_READY:
        return project.evolve(state=State.DEV_READY, paused_from=None)
    return project
