"""What the machine wants done about an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct, field

from aiframe.core.model import Project, Role, Runner, TaskStatus


class StartStep(Struct, frozen=True):
    """Begin a step of *role*; *attempt* is the number that people see, *input_key* what it is counted against.

    *agent* plays it (empty: whoever the settings name), *instead_of* the agent for which it stands in.
    """

    role: Role
    timeout_s: float
    task_id: str = ""
    attempt: int = 1
    input_key: str = ""
    agent: str = ""
    instead_of: str = ""


class StopRunner(Struct, frozen=True):
    """End a runner that hangs: past its timeout and not ending by itself."""

    runner: Runner
    run_id: str


class Recover(Struct, frozen=True):
    """The runner is gone: end what is left of the run, then replay its result or report it lost."""

    run_id: str


class SetStatus(Struct, frozen=True):
    """Write a task's status line."""

    task_id: str
    status: TaskStatus


class Archive(Struct, frozen=True):
    """Move a person's note into the history: ``answers``, ``approval`` or ``rejection``."""

    what: str


class OpenLane(Struct, frozen=True):
    """Let a task be worked at beside others, in a project of its own: it has got its locks and *values*."""

    task_id: str
    agent: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


class ParkLane(Struct, frozen=True):
    """The task rests: its locks, its slot and its values are free for others until it is opened again."""

    task_id: str


class CloseLane(Struct, frozen=True):
    """The task is over: put its project away."""

    task_id: str


class Write(Struct, frozen=True):
    """Replace a document of the project, SPEC.md or TASKS.yaml, by *text*; the version that lies there is kept."""

    name: str
    text: str


class GoOn(Struct, frozen=True):
    """The same runner may start the next step without another tick."""


Effect: TypeAlias = (
    StartStep | StopRunner | Recover | SetStatus | Archive | Write | OpenLane | ParkLane | CloseLane | GoOn
)


class Decision(Struct, frozen=True):
    """The project after an event, and what to do."""

    project: Project
    effects: tuple[Effect, ...] = ()
