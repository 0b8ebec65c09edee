"""What the state machine answers to the inputs, as rows of tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from msgspec.structs import replace

from aiframe.core.effects import Decision, Recover, SetStatus, StartStep, StopRunner
from aiframe.core.events import (
    Approve,
    Broken,
    DropPlan,
    Event,
    Finished,
    HandSet,
    PlanFrom,
    RunStarted,
    SendBack,
    StepEnded,
    TakePlan,
    Tick,
)
from aiframe.core.machine import Refused, decide
from aiframe.core.model import READY_STATE, Failure, FailureKind, PlanMode, Project, Role, State, Unknown
from aiframe.core.seen import Seen
from tools.state_inputs import (
    BEING_MADE,
    COMMANDS,
    HELD,
    LIMITS,
    NOW,
    STATES,
    SUCCESSES,
    TODO,
    VARIANTS,
    S,
    in_state,
    run_of,
    usual_look,
)


@dataclass(frozen=True, slots=True)
class Row:
    """A transition that was observed: from *source*, *when* something holds, to *target*, and what is done."""

    source: str
    when: str
    target: str
    done: str = ""
    flow: bool = True


def on_a_tick() -> Iterator[Row]:
    """What a tick does in each state; a variant is told only where it changes something."""
    for state in STATES:
        usual: Decision | None = None
        for variant in VARIANTS:
            if variant.only and state not in variant.only:
                continue
            project = variant.project(in_state(state))
            look = variant.seen(usual_look(state))
            decision = decide(project, Tick(look, tasks_taken=variant.tasks_taken), variant.rules)
            result = decision.project.state, decision.effects
            if usual is not None and not variant.always and result == (usual.project.state, usual.effects):
                continue
            usual = usual or decision
            yield Row(str(state), variant.when, str(decision.project.state), told(decision), variant.flow)


def on_success() -> Iterator[Row]:
    """What becomes of a step that did what its role is for."""
    for case in SUCCESSES:
        project = case.project(in_state(S.RUNNING, case.role))
        ending = case.ending or Finished(case.proposal)
        decision = decide(project, StepEnded("run", Seen(NOW, tasks=(case.task,)), ending), LIMITS)
        yield Row(case.role, case.when, str(decision.project.state), "; ".join(success_notes(project, decision)))


def success_notes(before: Project, decision: Decision) -> Iterator[str]:
    """What else a success changes."""
    for name in ("plan_locked", "require_confirmations"):
        old, new = getattr(before.settings, name), getattr(decision.project.settings, name)
        if old != new:
            yield f"`{name}` {str(new).lower()}"
    if told(decision):
        yield told(decision)


def told(decision: Decision) -> str:
    """The effects in words; what only the runner cares for is left out."""
    words = []
    for effect in decision.effects:
        match effect:
            case StartStep(role):
                words.append(f"starts the {role} step")
            case StopRunner():
                words.append("stops the runner")
            case Recover():
                words.append("replays its result, else the interrupted or timeout rule")
            case SetStatus(_, status):
                words.append(f"task {status}")
            case _:
                pass
    return ", ".join(words)


MORE_THAN_ANY_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Fate:
    """Where the same failure leads, again and again: in a *line*, in states, and the *attempts* the first costs."""

    line: str
    targets: tuple[str, ...]
    attempts: int


def fate_of(kind: FailureKind, role: Role) -> Fate:
    """Let a step of *role* fail with *kind* until something new no longer happens."""
    project, seen, stops = in_state(S.RUNNING, role), Seen(NOW, tasks=(TODO,)), []
    for _ in range(MORE_THAN_ANY_LIMIT):
        failed = Broken((Failure(kind, kind.value),))
        project = decide(project, StepEnded("run", seen, failed), LIMITS).project
        stops.append(project)
        if project.state is S.DIAGNOSE_READY and role is not Role.DIAGNOSE:
            diagnosed = decide(project, RunStarted(run_of(Role.DIAGNOSE)), LIMITS).project
            project = decide(diagnosed, StepEnded("run", seen, Finished()), LIMITS).project
        if project.state is not READY_STATE[role]:
            break
        project = decide(project, RunStarted(run_of(role)), LIMITS).project
    return Fate(told_as_a_line(stops), tuple(str(stop.state) for stop in stops), sum(stops[0].attempts.values()))


def told_as_a_line(stops: Sequence[Project]) -> str:
    """Several endings in a row, equal ones together: ``1-5: DEV_READY after 10, 20 s; 6: ERROR``."""
    parts = []
    numbered = list(enumerate(stops, 1))
    for state, group in groupby(numbered, key=lambda pair: str(pair[1].state)):
        several = list(group)
        first, last = several[0][0], several[-1][0]
        waits = [f"{stop.wait.wait_s:g}" for _, stop in several if stop.wait]
        numbers = "" if len(stops) == 1 else f"{first}: " if first == last else f"{first}-{last}: "
        open_end = ", ..." if len(several) == len(stops) > 1 else ""
        after = f" after {', '.join(waits)} s" if waits and state != S.ERROR else ""
        last_error = several[-1][1].last_error
        code = f" (`{last_error}`)" if "_" in last_error and " " not in last_error and state == S.ERROR else ""
        parts.append(f"{numbers}{state}{after}{open_end}{code}")
    return "; ".join(parts)


def on_a_command() -> Iterator[Row]:
    """What each command does in each state; refusals with their words."""
    for name, command in COMMANDS:
        for state in STATES:
            project = in_state(state)
            if isinstance(command, Approve | SendBack):
                project = HELD(project)
            if isinstance(command, TakePlan | DropPlan) or (
                isinstance(command, PlanFrom) and command.mode is PlanMode.REPLACE
            ):
                waits = isinstance(command, TakePlan | DropPlan) and state in (S.PAUSED, S.PAUSE_INTERACT, S.ERROR)
                project = project.evolve(planning=replace(BEING_MADE, made=waits))
            try:
                after = decide(project, replaced_lock(command, state), LIMITS).project
            except Refused:
                yield Row(str(state), name, "refused")
                continue
            done = "paused when the step ends" if after.pause_requested else ""
            yield Row(str(state), name, str(after.state), done)


def replaced_lock(command: Event, state: State | Unknown) -> Event:
    """A hand edit sees the lock held while a step runs."""
    if isinstance(command, HandSet):
        return replace(command, seen=replace(command.seen, lock_held=state is S.RUNNING))
    return command
