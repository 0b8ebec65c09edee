"""What a tick does while a person's review or answer is waited for."""

from __future__ import annotations

from collections.abc import Iterable

from aiframe.core.events import Archive, Decision, Effect, Rejection, Seen, SetStatus
from aiframe.core.model import Project, State, TaskStatus
from aiframe.core.scheduling import CLOSED, is_startable, ready_tasks


def accept_reviewed(project: Project, task_ids: Iterable[str]) -> Decision:
    """Take the tasks in review as done, and forget what was to be reviewed."""
    effects = tuple(SetStatus(task_id, TaskStatus.DONE) for task_id in task_ids)
    return Decision(project.evolve(state=State.DEV_READY, review_items=(), to_look_at={}), effects)


def look_review(project: Project, seen: Seen) -> Decision:
    in_review = [task.id for task in seen.tasks if task.status is TaskStatus.REVIEW]
    if seen.rejection is not None:
        return _send_back(project, seen, seen.rejection)
    if seen.approval:
        accepted = accept_reviewed(project, in_review)
        nothing_left = all(task.status in CLOSED or task.id in in_review for task in seen.tasks)
        state = State.DONE if seen.tasks and nothing_left else State.DEV_READY
        return Decision(accepted.project.evolve(state=state), (Archive("approval"), *accepted.effects))
    if not project.settings.interactive_mode:
        return accept_reviewed(project, in_review)
    return Decision(project)


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
    requests = dict(project.requests)
    for task_id in named:
        requests[task_id] = "\n\n".join(filter(None, [requests.get(task_id, ""), rejection.notes]))
    # A task in review that was not sent back has been looked at: it counts as done.
    passed = [t.id for t in tasks if t.status is TaskStatus.REVIEW and t.id not in named]
    effects: list[Effect] = list(archived_words(seen))
    effects += [SetStatus(task_id, TaskStatus.TODO) for task_id in named]
    effects += [SetStatus(task_id, TaskStatus.DONE) for task_id in passed]
    return Decision(
        project.evolve(state=State.DEV_READY, review_items=(), to_look_at={}, requests=requests), tuple(effects)
    )


def look_question(project: Project, seen: Seen) -> Decision:
    waiting = {question.task_id for question in project.open_questions()}
    if "" in waiting and project.paused_from is not State.DEV_READY:
        return Decision(project)
    asked = any(is_startable(task) and task.id in waiting for task in seen.tasks)
    if project.paused_from is State.DEV_READY and asked and not ready_tasks(seen.tasks, waiting):
        return Decision(project)
    return Decision(project.evolve(state=project.paused_from or State.DEV_READY, paused_from=None))
