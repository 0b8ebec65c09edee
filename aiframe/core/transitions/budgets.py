"""What a step has used up, and when no further one may start because of it."""

from __future__ import annotations

from msgspec.structs import replace

from aiframe.core.budget import Reached, Spent, reached
from aiframe.core.effects import Decision
from aiframe.core.events import Broken, Ending
from aiframe.core.model import READY_STATE, Failure, FailureKind, Project, Role, Rules, Run, State, Wait
from aiframe.core.scheduling import ready_tasks
from aiframe.core.seen import Seen
from aiframe.core.transitions.failures import SEVERITY, give_up
from aiframe.core.transitions.notes import one_more
from aiframe.core.transitions.paths import in_error
from aiframe.core.transitions.players import awake


def recorded(project: Project, run: Run, seen: Seen, ending: Ending, spent: Spent) -> Project:
    """The project with what the step of *run* has spent, and with its try counted where it came to nothing.

    A step that met a used-up quota, or an outage, before it did anything counts as no try and as no attempt. One that
    asked no agent, such as a landing, tells nothing about a quota.
    """
    gravest = _gravest(ending) if isinstance(ending, Broken) else None
    refused = gravest is not None and (gravest.kind is FailureKind.QUOTA or gravest.outage)
    if refused:
        spent = replace(spent, attempts=0)
    elif spent.attempts:
        project = awake(project, run.agent)
    project = project.evolve(spending=project.spending.with_run(spent, seen.day, run.task_id))
    key = _tried_under(run)
    if isinstance(ending, Broken):
        free = refused and not spent.tokens
        return project if free else project.evolve(tries=one_more(project.tries, key))
    if run.task_id:
        return project  # a finished task that is set to todo again has no more tries than before
    return project.evolve(tries={name: count for name, count in project.tries.items() if name != key})


def _gravest(ending: Broken) -> Failure:
    return min(ending.failures, key=lambda failure: SEVERITY[failure.kind])


def _tried_under(run: Run) -> str:
    return run.input_key or run.role.value


def stopped_by_budget(project: Project, seen: Seen, rules: Rules, task_id: str = "") -> Decision | None:
    """What becomes of *project*, in its ready state, where a limit is reached; None where a step may start.

    A day's budget is waited for, the others need a person.
    """
    over = reached(project.spending, rules.budget, seen.day, task_id)
    if over is None:
        return None
    failure = Failure(FailureKind.BUDGET, over.message, over.hint)
    if over.scope == "day":
        return Decision(_until_tomorrow(project.evolve(failure=failure, last_error=failure.message), seen))
    if over.scope == "task" and rules.continue_on_task_failure:
        return give_up(project, task_id, replace(failure, hint=f"{over.hint}, then `aiframe retry {task_id}`"), rules)
    return Decision(
        project.evolve(state=State.PAUSED, paused_from=project.state, failure=failure, last_error=failure.message)
    )


def _until_tomorrow(project: Project, seen: Seen) -> Project:
    wall = seen.clock.wall
    return project.evolve(wait=Wait(wall, max(1.0, seen.day_ends - wall)))


def until_budget(decision: Decision, run: Run, seen: Seen, rules: Rules) -> Decision:
    """*decision* on a step that ended; where a limit stopped it, what becomes of the project by that limit's rule."""
    project = decision.project
    if project.state is not State.PAUSED or project.failure is None or project.failure.kind is not FailureKind.BUDGET:
        return decision
    ready = project.evolve(state=READY_STATE[run.role], paused_from=None)
    stopped = stopped_by_budget(ready, seen, rules, run.task_id)
    return decision if stopped is None else Decision(stopped.project, stopped.effects or decision.effects)


def may_spend_again(project: Project, seen: Seen, rules: Rules) -> bool:
    """Whether *project* waits for its day's budget, of which there is some again: it was raised, or the day is over."""
    waits = project.wait is not None and project.failure is not None and project.failure.kind is FailureKind.BUDGET
    return waits and reached(project.spending, rules.budget, seen.day) is None


def still_spent(project: Project, seen: Seen, rules: Rules) -> Reached | None:
    """The limit because of which *project* rests, if it is still reached."""
    if project.failure is None or project.failure.kind is not FailureKind.BUDGET:
        return None
    waiting = {question.task_id for question in project.open_questions()}
    next_one = next((task.id for task in ready_tasks(seen.tasks, waiting)), "")
    return reached(project.spending, rules.budget, seen.day, next_one)


def out_of_tries(project: Project, role: Role, rules: Rules) -> Decision | None:
    """An error where the steps of *role* have come to nothing too often; None where one more may be tried."""
    count = project.tries.get(role.value, 0)
    if count < rules.max_tries:
        return None
    failure = replace(tried_out(count), hint="read `aiframe logs`, mend the cause, then `aiframe retry`")
    return Decision(in_error(project, failure, project.state if isinstance(project.state, State) else State.DEV_READY))


def tried_out(count: int) -> Failure:
    """Why nothing more is tried, though no single rule forbids it."""
    return Failure(FailureKind.NO_PROGRESS, f"{count} steps came to nothing, however they ended")
