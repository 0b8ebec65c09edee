"""Projects that go on by themselves: a step runs, or the next tick has something to do."""

from __future__ import annotations

from collections.abc import Sequence

from aiframe.core.effects import StartStep
from aiframe.core.events import Tick
from aiframe.core.explanations.words import (
    BRING_BACK,
    GO_ON,
    NEW_PLAN,
    PLAN_GONE,
    TICK,
    Explanation,
    hint_of,
    named_step,
    shortened,
)
from aiframe.core.machine import decide
from aiframe.core.model import FailureKind, Project, Rules, Run, State, Task, TaskStatus
from aiframe.core.scheduling import CLOSED, is_all_jobs, is_job, is_plan_gone
from aiframe.core.seen import Seen
from aiframe.core.timing import is_past_its_time, rebased, remaining


def explain_run(project: Project, seen: Seen, rules: Rules) -> Explanation:
    """The step that runs, for how long it may, and whether its runner is there."""
    run = project.run
    assert run is not None  # a project that runs has a run
    step, since = _jobs(run, seen.tasks) or named_step(run.role, run.task_id, run.attempt), run.started.wall
    what = step[0].upper() + step[1:]
    if run.runner.host and run.runner.host != seen.clock.host:
        return _elsewhere(run, what, seen, rules)
    if not seen.lock_held:
        return Explanation(f"{what} has lost its runner", "the next tick, which recovers it", since, cures=(TICK,))
    if is_past_its_time(run, seen.clock, rules):
        return Explanation(
            f"{what} hangs: it is past its time and does not end", "the next tick, which stops it", since, cures=(TICK,)
        )
    until = since + run.timeout_s
    if project.pause_requested:
        return Explanation(
            f"{what} runs; then the project pauses",
            "the step",
            since,
            until,
            ("aiframe logs --follow", "aiframe resume"),
        )
    return Explanation(f"{what} runs", "the step", since, until, ("aiframe logs --follow", "aiframe stop"))


def _jobs(run: Run, tasks: Sequence[Task]) -> str:
    """The run of jobs, with those at work as far as TASKS.yaml says; empty where it is another run."""
    if not is_job(tasks, run.task_id):
        return ""
    jobs = [task for task in tasks if task.is_job]
    at_work = [task.id for task in jobs if task.status is TaskStatus.IN_PROGRESS]
    over = sum(task.status in (*CLOSED, TaskStatus.FAILED) for task in jobs)
    return f"the run of jobs ({over} of {len(jobs)} over{f'; at work: {shortened(at_work)}' if at_work else ''})"


def _elsewhere(run: Run, what: str, seen: Seen, rules: Rules) -> Explanation:
    """A run of another host: never judged by the lock. Its runner ends it in time, if it lives."""
    host, since = run.runner.host, run.started.wall
    look = f"aiframe status (on {host})"
    if is_past_its_time(run, seen.clock, rules):
        return Explanation(
            f"{what} ran on the host {host} and is past its time; whether it is alive cannot be seen from here",
            "you",
            since,
            cures=(look, "aiframe stop (here, if that host is gone: the step is looked after then)"),
        )
    return Explanation(
        f"{what} runs on the host {host}; whether it is alive cannot be seen from here",
        "that host",
        since,
        since + run.timeout_s + rules.hung_grace_sec,
        (look, "aiframe stop (here once its time is over, if that host is gone)"),
    )


def explain_ready(project: Project, seen: Seen, rules: Rules) -> Explanation:
    """A state from which the next tick goes on: the machine itself says how."""
    wait = rebased(project.wait, seen.clock)
    interrupted = seen.interrupt_flag and project.settings.interactive_mode
    if project.state is not State.REVIEW_READY and wait and remaining(wait, seen.clock) > 0 and not interrupted:
        why = f": {project.last_error}" if project.last_error else ""
        by_budget = project.failure is not None and project.failure.kind is FailureKind.BUDGET
        at_once = () if by_budget else ("aiframe resume --now",)  # it would meet the same limit again
        cures = (*hint_of(project.failure), *at_once)
        return Explanation(f"The next step waits{why}", "a time", wait.set_at, wait.until, cures)
    worked_off = project.state is State.DEV_READY or (
        project.state is State.SPEC_READY and project.settings.plan_locked
    )
    if worked_off and is_plan_gone(project, seen):
        anew = f"{NEW_PLAN} (if a new one is to be made)"
        return Explanation(f"TASKS.yaml {PLAN_GONE}", "TASKS.yaml", cures=(BRING_BACK, anew))
    if seen.lanes and project.state is State.DEV_READY:
        return _side_by_side(seen)
    together = rules.capacity.slots > 1 and project.state is State.DEV_READY
    return Explanation(_headline(project, seen), next_move(project, seen, rules), cures=(GO_ON if together else TICK,))


def _side_by_side(seen: Seen) -> Explanation:
    """Tasks that are worked at in lanes: which go on, and which rest. What each waits for its own project says."""
    again = to_take_up(seen)
    idle = {lane.task_id for lane in seen.lanes if lane.rests or lane.stuck or lane.failure is not None} - again
    at_work = [lane.task_id for lane in seen.lanes if lane.task_id not in idle]
    rest = [lane.task_id for lane in seen.lanes if lane.task_id in idle]
    nobody = not any(lane.running or lane.waits for lane in seen.lanes)  # the runners may have been killed
    said = [f"{', '.join(at_work)} {'to go on' if nobody else 'at work'}"] if at_work else []
    said += [f"{', '.join(rest)} waiting"] if rest else []
    going = "the next run, which goes on with them" if nobody else "the steps"
    waiting = going if at_work else "what those tasks wait for"
    return Explanation(f"Side by side: {'; '.join(said)}", waiting, cures=(GO_ON,) if at_work else ())


def to_take_up(seen: Seen) -> set[str]:
    """The tasks with a lane that are to be begun again, whatever their lane has come to."""
    todo = {task.id for task in seen.tasks if task.status is TaskStatus.TODO}
    return {lane.task_id for lane in seen.lanes if not lane.running} & todo


def _headline(project: Project, seen: Seen) -> str:
    match project.state:
        case State.INTAKE_READY if is_all_jobs(project, seen):
            return "The jobs can begin"
        case State.INTAKE_READY if project.settings.interactive_mode:
            return "The interview can begin"
        case State.INTAKE_READY:
            return "The work can begin, without an interview"
        case State.INTAKE_WAITING if project.settings.interactive_mode:
            return "Your answers are there"
        case State.INTAKE_WAITING:
            return "The interview goes on without answers"
        case State.SPEC_READY:
            return "The specification is there; the plan is not"
        case State.DIAGNOSE_READY:
            return f"A step went wrong ({project.last_error or 'timeout'}) and is to be diagnosed"
        case State.REVIEW_READY:
            return "Work is ready for a review"
        case _:
            return "The plan is there to be worked off"


def next_move(project: Project, seen: Seen, rules: Rules) -> str:
    """What the next tick would do."""
    decision = decide(project, Tick(seen), rules)
    step = next((effect for effect in decision.effects if isinstance(effect, StartStep)), None)
    if step is not None:
        return f"the next tick, which starts {named_step(step.role, step.task_id, step.attempt)}"
    return f"the next tick, which goes on to {decision.project.state}"
