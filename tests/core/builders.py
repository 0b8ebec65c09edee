"""Short words for the tables of the core: a project in a state, what is seen, and how a step ends."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from aiframe.core.effects import Decision, Effect, SetStatus, StartStep
from aiframe.core.events import Broken, Ending, Finished, Proposal, StepEnded, Tick
from aiframe.core.machine import decide
from aiframe.core.model import (
    Failure,
    FailureKind,
    Moment,
    Project,
    Role,
    Rules,
    Run,
    Runner,
    Settings,
    State,
    Task,
    TaskStatus,
    Unknown,
)
from aiframe.core.scheduling import input_key
from aiframe.core.seen import Seen

T0 = 1_000_000.0
RULES = Rules()
NOW = Moment(wall=T0, mono=500.0, boot="boot-1", host="here")
RUNNER = Runner(pid=42, started=7.0, boot="boot-1", host="here")


def later(seconds: float) -> Moment:
    """NOW plus *seconds* on both clocks."""
    return replace(NOW, wall=NOW.wall + seconds, mono=NOW.mono + seconds)


def task(task_id: str = "T1", status: TaskStatus = TaskStatus.TODO, **more: Any) -> Task:
    """A task that aiframe can prove by itself, unless *more* says otherwise."""
    return Task(**{"id": task_id, "title": task_id, "status": status, "verify": ("make check",), **more})


def seen(*tasks: Task, clock: Moment = NOW, **more: Any) -> Seen:
    """What a look at the files and the lock found."""
    return Seen(clock=clock, tasks=tasks, **more)


def at(state: State | Unknown, **more: Any) -> Project:
    """A project in *state*; settings may be given by their own names."""
    names = ("timeout_sec", "interactive_mode", "plan_locked", "review_every_n_tasks", "require_confirmations")
    settings = Settings(**{name: more.pop(name) for name in names if name in more})
    return Project(state=state, settings=settings, **more)


def run_of(role: Role = Role.DEV, task_: Task | None = None, **more: Any) -> Run:
    """A run of *role* that began now; a DEV run works on T1."""
    about = {}
    if role is Role.DEV:
        worked = task_ or task()
        about = {"task_id": worked.id, "input_key": input_key(worked)}
    fields = {"run_id": "run-1", "role": role, "started": NOW, "timeout_s": 1800.0, "runner": RUNNER}
    return Run(**{**fields, **about, **more})


def running(role: Role = Role.DEV, run: Run | None = None, **more: Any) -> Project:
    """A project whose step of *role* runs."""
    return at(State.RUNNING, run=run or run_of(role), **more)


def broken(*kinds: FailureKind, reset_at: float | None = None, **more: Any) -> Broken:
    """A step that ended with these failures, each saying its own name."""
    return Broken(tuple(Failure(kind, f"it was {kind}", reset_at=reset_at) for kind in kinds), **more)


def finished(**proposal: Any) -> Finished:
    """A step that did what its role is for, and proposes something."""
    return Finished(Proposal(**proposal))


def end(project: Project, ending: Ending, *tasks: Task, rules: Rules = RULES, **more: Any) -> Decision:
    """The run of *project* ends with *ending*; T1 is in progress unless *tasks* say otherwise."""
    assert project.run is not None
    there = tasks or (task("T1", TaskStatus.IN_PROGRESS), task("T2"))
    return decide(project, StepEnded(project.run.run_id, seen(*there, **more), ending), rules)


def tick(project: Project, look: Seen | None = None, *, rules: Rules = RULES, **more: Any) -> Decision:
    """Somebody looks at *project*."""
    return decide(project, Tick(look or seen(), **more), rules)


def repeat(project: Project, ending: Ending, times: int, *tasks: Task, rules: Rules = RULES) -> Project:
    """The project after *times* runs of the same role that all ended with *ending*."""
    run = project.run
    for _ in range(times):
        project = end(project.evolve(state=State.RUNNING, run=run), ending, *tasks, rules=rules).project
    return project


def started(decision: Decision) -> StartStep | None:
    """The step that the decision asks for."""
    return next((effect for effect in decision.effects if isinstance(effect, StartStep)), None)


def statuses(effects: tuple[Effect, ...]) -> dict[str, TaskStatus]:
    """The status lines that the decision writes."""
    return {effect.task_id: effect.status for effect in effects if isinstance(effect, SetStatus)}
