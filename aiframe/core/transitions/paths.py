"""Ways that many rows share: into an error, out of it, and back from a pause."""

from __future__ import annotations

from aiframe.core.errors import AiframeError
from aiframe.core.model import Failure, Project, State, Unknown
from aiframe.core.seen import Seen


class Refused(AiframeError):
    """A command that does not fit where the project stands."""


def in_error(project: Project, failure: Failure, go_on: State, *, code: str = "") -> Project:
    """Stopped by *failure*; *go_on* is where `resume` leads. *code* stands in ``last_error`` instead of the message."""
    return project.evolve(state=State.ERROR, failure=failure, last_error=code or failure.message, paused_from=go_on)


def without_error(project: Project) -> Project:
    """The error forgotten, with its wait and its streaks."""
    return project.evolve(failure=None, last_error="", wait=None, diagnosis_done=False, streaks={})


def way_back(project: Project) -> State | None:
    """What a pause of *project* has to remember: a wait inside a wait keeps the state behind the first."""
    if project.state in (State.PAUSE_INTERACT, State.QUESTION_WAITING):
        return project.paused_from
    return None if isinstance(project.state, Unknown) else project.state


def went_back(project: Project, seen: Seen) -> Project:
    """Back from a pause, to where it came from; to an open question of the planner first."""
    state = project.paused_from or start_of(project, seen)
    if state is State.SPEC_READY and any(not question.task_id for question in project.open_questions()):
        return project.evolve(state=State.QUESTION_WAITING, paused_from=state)
    return project.evolve(state=state, paused_from=None)


def start_of(project: Project, seen: Seen) -> State:
    """Where a project begins that does not know where it was."""
    if seen.tasks:
        return State.DEV_READY
    return State.INTAKE_READY if project.interviews == 0 and project.settings.interactive_mode else State.SPEC_READY
