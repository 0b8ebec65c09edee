"""What a tick does in each state: the table "States and what a tick does"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from aiframe.core.effects import (
    Archive,
    CloseLane,
    Decision,
    Effect,
    OpenLane,
    ParkLane,
    Recover,
    SetStatus,
    StartStep,
    StopRunner,
)
from aiframe.core.events import Tick
from aiframe.core.model import (
    READY_STATES,
    Failure,
    FailureKind,
    Project,
    Role,
    Rules,
    State,
    Task,
    TaskStatus,
    Unknown,
    Wait,
)
from aiframe.core.scheduling import (
    CLOSED,
    all_closed,
    input_key,
    is_all_jobs,
    is_plan_gone,
    is_startable,
    ready_tasks,
    why_stuck,
)
from aiframe.core.seen import Seen
from aiframe.core.timing import is_past_its_time, rebased, remaining, time_for
from aiframe.core.transitions.budgets import may_spend_again, out_of_tries, stopped_by_budget, tried_out
from aiframe.core.transitions.failures import give_up, used_up
from aiframe.core.transitions.handing import look_work
from aiframe.core.transitions.holding import to_land, undecided
from aiframe.core.transitions.jobs import tell_ended
from aiframe.core.transitions.lanes import lanes_after, look_lanes, take_over, with_lanes
from aiframe.core.transitions.paths import in_error, went_back
from aiframe.core.transitions.players import all_rest, chain_of, played
from aiframe.core.transitions.reviews import accept_reviewed, archived_words, look_question, look_review


def on_tick(project: Project, event: Tick, rules: Rules) -> Decision:
    """Follow the states until one rests, asks for a step, or asks for recovery."""
    effects: list[Effect] = []
    while True:
        decision = _look(project, event, rules)
        effects.extend(decision.effects)
        resting = decision.project == project and not decision.effects
        if resting or _asks_for_work(decision):
            return Decision(decision.project, tuple(effects))
        seen = seen_after(event.seen, decision.effects)
        project, event = decision.project, Tick(seen, event.may_start, event.tasks_taken)


def _asks_for_work(decision: Decision) -> bool:
    return any(isinstance(effect, StartStep | StopRunner | Recover) for effect in decision.effects)


def seen_after(seen: Seen, effects: Iterable[Effect]) -> Seen:
    """What the files will say once *effects* are carried out, so that one look can follow several transitions."""
    for effect in effects:
        match effect:
            case SetStatus(task_id, status):
                seen = replace(seen, tasks=_with_status(seen.tasks, task_id, status))
            case OpenLane() | ParkLane() | CloseLane():
                seen = replace(seen, lanes=lanes_after(seen.lanes, effect))
            case Archive("approval"):
                seen = replace(seen, approval=False)
            case Archive("rejection"):
                seen = replace(seen, rejection=None)
            case _:
                pass
    return seen


def _look(project: Project, event: Tick, rules: Rules) -> Decision:
    """One row of the table "States and what a tick does"."""
    seen = event.seen
    if seen.lanes and project.state is not State.RUNNING:
        ended = take_over(project, seen, rules)
        if ended is not None:
            return ended
    wait = rebased(project.wait, seen.clock)
    if wait != project.wait:
        project = project.evolve(wait=wait)
    if may_spend_again(with_lanes(project, seen), seen, rules):
        project = project.evolve(wait=None, failure=None, last_error="")
    may_go_on = project.state in READY_STATES or (project.state is State.INTAKE_WAITING and _answered(project, seen))
    if may_go_on and seen.interrupt_flag and project.settings.interactive_mode:
        return Decision(project.evolve(state=State.PAUSE_INTERACT, paused_from=project.state))
    if may_go_on and project.state is not State.REVIEW_READY and remaining(project.wait, seen.clock) > 0:
        return Decision(project)
    return _look_at_state(project, event, rules)


def _look_at_state(project: Project, event: Tick, rules: Rules) -> Decision:
    """What a look comes to that neither a wait nor an interrupt is in the way of."""
    seen, settings = event.seen, project.settings
    match project.state:
        case State.INTAKE_READY:
            if is_all_jobs(project, seen):
                return Decision(project.evolve(state=State.DEV_READY))
            if not settings.interactive_mode:
                return Decision(project.evolve(state=State.SPEC_READY))
            return _start(project, event, rules, Role.INTAKE)
        case State.INTAKE_WAITING:
            if _answered(project, seen):
                return _start(project, event, rules, Role.INTAKE)
            return Decision(project)
        case State.SPEC_READY:
            if settings.plan_locked:
                return Decision(project.evolve(state=State.DEV_READY, planning=None))
            return _start(project, event, rules, Role.PO)
        case State.DEV_READY:
            return _look_dev(project, event, rules)
        case State.DIAGNOSE_READY:
            return _start(project, event, rules, Role.DIAGNOSE)
        case State.RUNNING:
            return _look_running(project, seen, rules)
        case State.REVIEW_READY:
            if not settings.interactive_mode and not undecided(project, seen.tasks):
                return Decision(project.evolve(state=State.DEV_READY))
            if _goes_on_unattended(project, seen, rules):
                return Decision(project.evolve(state=State.DEV_READY))
            # A word from before the review began was not said about what is to be reviewed.
            return Decision(project.evolve(state=State.REVIEW_WAITING), archived_words(seen))
        case State.REVIEW_WAITING:
            if _goes_on_unattended(project, seen, rules) and not (seen.approval or seen.rejection):
                return Decision(project.evolve(state=State.DEV_READY))
            return look_review(project, seen)
        case State.QUESTION_WAITING:
            return look_question(project, seen)
        case State.WORK_WAITING:
            return look_work(project, seen)
        case State.PAUSE_INTERACT:
            if seen.interrupt_flag and settings.interactive_mode:
                return Decision(project)
            return Decision(went_back(project, seen))
        case State.PAUSED | State.DONE | State.ERROR | Unknown():
            return Decision(project)
        case _:
            assert_never(project.state)


def _goes_on_unattended(project: Project, seen: Seen, rules: Rules) -> bool:
    """Whether a review is put off, and what it is about collected, because other tasks can go on without the person."""
    waiting = {question.task_id for question in project.open_questions()}
    return rules.unattended and bool(ready_tasks(seen.tasks, waiting))


def _answered(project: Project, seen: Seen) -> bool:
    """Whether the interview goes on: the form is filled in, or nobody is there to do so."""
    return seen.form_done or project.answers_done or not project.settings.interactive_mode


def _start(project: Project, event: Tick, rules: Rules, role: Role) -> Decision:
    """Start a step that is about no task, where nothing forbids it."""
    seen, chain = event.seen, chain_of(rules, role, None)
    stopped = out_of_tries(project, role, rules) or stopped_by_budget(project, seen, rules)
    if stopped is not None:
        return stopped
    rest = all_rest(chain, project.resting, seen.clock)
    if rest is not None:
        return Decision(project.evolve(wait=rest))
    if not event.may_start:
        return Decision(project)
    step = StartStep(role, project.settings.timeout_sec, attempt=project.shown.get(role.value, 0) + 1)
    return Decision(project, (played(step, chain, project.resting, seen.clock),))


def _look_running(project: Project, seen: Seen, rules: Rules) -> Decision:
    run = project.run
    if run is None or (run.runner.host and run.runner.host != seen.clock.host):
        return Decision(project)
    if not seen.lock_held:
        return Decision(project, (Recover(run.run_id),))
    if is_past_its_time(run, seen.clock, rules):
        return Decision(project, (StopRunner(run.runner, run.run_id),))
    return Decision(project)


def _look_dev(project: Project, event: Tick, rules: Rules) -> Decision:
    """Start the next ready task, or say why there is none: the first rule that holds."""
    tasks = event.seen.tasks
    if (told := tell_ended(project, event.seen)) is not None:
        return told
    if is_plan_gone(project, event.seen):
        return Decision(project)
    if rules.capacity.slots > 1 or event.seen.lanes:
        return look_lanes(project, event, rules) or _no_task_ready(project, tasks, set())
    waiting = {question.task_id for question in project.open_questions()}
    landing = (*_handed_in(project, tasks), *to_land(project, tasks))
    rests: list[Wait] = []
    for task in (*landing, *ready_tasks(tasks, waiting)):
        key = input_key(task, project.requests.get(task.id, ""))
        chain = chain_of(rules, Role.DEV, task)
        if task not in landing:  # to land costs nothing, and is no attempt
            stopped = _forbidden(project, event.seen, rules, task.id, key)
            if stopped is not None:
                return stopped
            rest = all_rest(chain, project.resting, event.seen.clock)
            if rest is not None:
                rests.append(rest)
                continue
        if not event.may_start or event.tasks_taken >= rules.dev_chain_limit:
            return Decision(project)
        attempt = project.shown.get(task.id, 0) + 1
        step = StartStep(Role.DEV, time_for(project.settings, task), task.id, attempt, key)
        return Decision(project, (played(step, chain, project.resting, event.seen.clock),))
    if rests:
        return Decision(project.evolve(wait=min(rests, key=lambda wait: wait.until)))
    return _no_task_ready(project, tasks, waiting)


def _handed_in(project: Project, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """The task whose work a person has handed in: it is checked before anything else touches the files."""
    work = project.handed
    return tuple(t for t in tasks if work is not None and work.done and t.id == work.task_id and is_startable(t))


def _forbidden(project: Project, seen: Seen, rules: Rules, task_id: str, key: str) -> Decision | None:
    """What becomes of the project where the task may not be tried again; None where it may."""
    if project.attempts.get(key, 0) >= rules.max_attempts:
        return give_up(project, task_id, used_up(rules), rules)
    if project.tries.get(key, 0) >= rules.max_tries:
        return give_up(project, task_id, tried_out(rules.max_tries), rules)
    return stopped_by_budget(project, seen, rules, task_id)


def _no_task_ready(project: Project, tasks: tuple[Task, ...], waiting: set[str]) -> Decision:
    interactive = project.settings.interactive_mode
    if any(is_startable(task) and task.id in waiting for task in tasks):
        return Decision(project.evolve(state=State.QUESTION_WAITING, paused_from=State.DEV_READY))
    in_review = [task.id for task in tasks if task.status is TaskStatus.REVIEW]
    if in_review and (interactive or undecided(project, tasks)):
        return Decision(project.evolve(state=State.REVIEW_READY))
    if in_review:
        return accept_reviewed(project, in_review)
    if not tasks:
        return Decision(project.evolve(state=State.SPEC_READY, settings=replace(project.settings, plan_locked=False)))
    if all_closed(tasks):
        return Decision(project.evolve(state=State.REVIEW_READY if interactive else State.DONE))
    message = "no task can go on: " + "; ".join(why_stuck(task, tasks) for task in tasks if task.status not in CLOSED)
    cure = "`aiframe retry TASK` gives a failed task its attempts back; set a blocked one to todo in TASKS.yaml"
    if any(task.status is TaskStatus.CANCELLED for task in tasks):
        cure += "; take a cancelled one out of blocked_by"
    return Decision(in_error(project, Failure(FailureKind.VERIFY_FAILED, message, cure), State.DEV_READY))


def _with_status(tasks: tuple[Task, ...], task_id: str, status: TaskStatus) -> tuple[Task, ...]:
    return tuple(replace(task, status=status) if task.id == task_id else task for task in tasks)
