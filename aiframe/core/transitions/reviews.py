"""What a tick does while a person's review or answer is waited for."""

from __future__ import annotations

from collections.abc import Iterable

from aiframe.core.effects import Archive, Decision, Effect, SetStatus
from aiframe.core.model import Project, State, TaskStatus
from aiframe.core.scheduling import CLOSED, is_startable, ready_tasks
from aiframe.core.seen import Rejection, Seen
from aiframe.core.transitions.holding import not_held, to_land, told, undecided, with_approval


def accept_reviewed(project: Project, task_ids: Iterable[str]) -> Decision:
    """Take the tasks in review as done, and forget what was to be reviewed; what is held has to land first."""
    effects = tuple(SetStatus(task_id, TaskStatus.DONE) for task_id in task_ids if task_id not in project.held)
    return Decision(_reviewed(project), effects)


def _reviewed(project: Project) -> Project:
    """The review is over, but for the candidates that are still held."""
    held = {name: looks for name, looks in project.to_look_at.items() if name in project.held}
    return project.evolve(state=State.DEV_READY, review_items=(), to_look_at=held)


def look_review(project: Project, seen: Seen) -> Decision:
    """What a look at a review that waits comes to: a rejection goes before an approval; without both it waits on."""
    in_review = [task.id for task in seen.tasks if task.status is TaskStatus.REVIEW]
    if seen.rejection is not None:
        return _send_back(project, seen, seen.rejection)
    if seen.approval:
        accepted = accept_reviewed(with_approval(project, undecided(project, seen.tasks)), in_review)
        nothing_left = all(
            task.status in CLOSED or (task.id in in_review and task.id not in project.held) for task in seen.tasks
        )
        state = State.DONE if seen.tasks and nothing_left else State.DEV_READY
        return Decision(accepted.project.evolve(state=state), (Archive("approval"), *accepted.effects))
    if not project.settings.interactive_mode and _goes_on_alone(project, seen, in_review):
        return accept_reviewed(project, in_review)
    return Decision(project)


def _goes_on_alone(project: Project, seen: Seen, in_review: list[str]) -> bool:
    """Whether there is anything to do without the person whose word on held work is waited for."""
    waiting = {question.task_id for question in project.open_questions()}
    held = undecided(project, seen.tasks)
    return len(held) < len(in_review) or not held or bool(ready_tasks(seen.tasks, waiting))


def archived_words(seen: Seen) -> tuple[Effect, ...]:
    """Put aside what a person has said about a review: it is used up, or older than the review."""
    approval = (Archive("approval"),) if seen.approval else ()
    return (*approval, Archive("rejection")) if seen.rejection is not None else approval


def _send_back(project: Project, seen: Seen, rejection: Rejection) -> Decision:
    """Reviewed work goes back to todo with the person's notes; the notes are new input, so attempts start afresh."""
    tasks = seen.tasks
    reviewed = [task.id for task in tasks if task.id in project.review_items or task.status is TaskStatus.REVIEW]
    known = {task.id for task in tasks}
    named = [task_id for task_id in rejection.task_ids if task_id in known] or reviewed
    requests = {**project.requests, **{name: told(project, name, rejection.notes) for name in named}}
    project = not_held(project, *named)
    # A task in review that was not sent back has been looked at: it counts as done. One that is held has not landed.
    looked_at = (t.id for t in tasks if t.status is TaskStatus.REVIEW and t.id not in named)
    passed = [name for name in looked_at if name not in project.held]
    effects: list[Effect] = list(archived_words(seen))
    effects += [SetStatus(task_id, TaskStatus.TODO) for task_id in named]
    effects += [SetStatus(task_id, TaskStatus.DONE) for task_id in passed]
    return Decision(_reviewed(project).evolve(requests=requests), tuple(effects))


def look_question(project: Project, seen: Seen) -> Decision:
    """It goes on once what asked is answered, or there is something else to do."""
    waiting = {question.task_id for question in project.open_questions()}
    if "" in waiting and project.paused_from is not State.DEV_READY:
        return Decision(project)
    asked = any(is_startable(task) and task.id in waiting for task in seen.tasks)
    can_start = ready_tasks(seen.tasks, waiting) or to_land(project, seen.tasks)
    if project.paused_from is State.DEV_READY and asked and not can_start:
        return Decision(project)
    return Decision(project.evolve(state=project.paused_from or State.DEV_READY, paused_from=None))
