"""Work that a person does by hand: how it is given to them, waited for, and handed in."""

from __future__ import annotations

from msgspec.structs import replace

from aiframe.core.effects import Decision
from aiframe.core.events import Handed
from aiframe.core.model import READY_STATE, HandedWork, Project, Run, State
from aiframe.core.scheduling import is_startable
from aiframe.core.seen import Seen
from aiframe.core.transitions.notes import one_more, subject_of
from aiframe.core.transitions.paths import Refused, start_of


def on_handed(project: Project, run: Run, ending: Handed) -> Decision:
    """Nothing goes on until the person hands it in, as often as it takes: no try of theirs is counted as the last."""
    subject = subject_of(run)
    project = project.evolve(
        state=State.WORK_WAITING,
        handed=HandedWork(run.role, run.task_id, ending.prompt, ending.workspace),
        streaks={},
        failure=ending.failure,
        last_error=ending.failure.message if ending.failure else "",
    )
    if ending.findings:
        project = project.evolve(
            findings={**project.findings, subject: ending.findings}, shown=one_more(project.shown, subject)
        )
    return Decision(project)


def is_handed(project: Project, run: Run) -> bool:
    """Whether the work of *run* is the one that is, or was, in a person's hands."""
    work = project.handed
    return work is not None and (work.role, work.task_id) == (run.role, run.task_id)


def look_work(project: Project, seen: Seen) -> Decision:
    """The work is waited for; where there is none any more, the project goes on without."""
    work = project.handed
    if work is None:
        return Decision(project.evolve(state=start_of(project, seen)))
    if work.done:
        return Decision(project.evolve(state=READY_STATE[work.role]))
    if work.task_id and not any(task.id == work.task_id and is_startable(task) for task in seen.tasks):
        return Decision(project.evolve(state=READY_STATE[work.role], handed=None, failure=None, last_error=""))
    return Decision(project)


def on_work_done(project: Project, seen: Seen, task_id: str) -> Decision:
    """The person hands the work in: its checks are the next step."""
    work = project.handed
    if project.state is not State.WORK_WAITING or work is None:
        raise Refused(f"no work is in your hands: the project is in {project.state}", hint="see `aiframe why`")
    if task_id and task_id != work.task_id:
        raise Refused(f"{task_id} is not in your hands", hint=f"in your hands is {work.task_id or work.role}")
    return Decision(project.evolve(state=READY_STATE[work.role], handed=replace(work, done=True)))
