"""Tasks side by side: each is worked at in a project of its own, a lane, and this one says which lanes there are.

A lane follows all the rules of a project, for its one task. Here its end is taken over, and what it held is given to
others while it rests.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from math import inf

from msgspec.structs import replace

from aiframe.core.budget import Spending
from aiframe.core.claims import claims_of
from aiframe.core.effects import CloseLane, Decision, Effect, OpenLane, ParkLane, SetStatus
from aiframe.core.events import Tick
from aiframe.core.lanes import Lane, Roster, Waiting, roster
from aiframe.core.model import Failure, FailureKind, Project, Role, Rules, State, Task, TaskStatus
from aiframe.core.scheduling import CLOSED, input_key, ready_tasks
from aiframe.core.seen import Seen, SeenLane
from aiframe.core.transitions.budgets import stopped_by_budget
from aiframe.core.transitions.failures import give_up
from aiframe.core.transitions.notes import without
from aiframe.core.transitions.paths import in_error
from aiframe.core.transitions.players import all_rest, chain_of, named_agents

_OF_THE_WHOLE = (FailureKind.AUTH, FailureKind.SETUP)
"""Failures that any other task would meet as well."""


def take_over(project: Project, seen: Seen, rules: Rules) -> Decision | None:
    """What the end of one lane leads to, wherever the project stands; None where none has ended."""
    if not seen.tasks:  # the plan's file is being written anew, or was lost: none of them is cancelled by that
        return None
    tasks = {task.id: task for task in seen.tasks}
    ended = (_ended(project, seen, lane, tasks.get(lane.task_id), rules) for lane in seen.lanes)
    return next((decision for decision in ended if decision is not None), None)


def look_lanes(project: Project, event: Tick, rules: Rules) -> Decision | None:
    """Let others have what a lane that rests does not need, then let start what may; None where nothing goes on."""
    seen = event.seen
    parked = tuple(ParkLane(lane.task_id) for lane in seen.lanes if lane.rests and lane.granted and not lane.stuck)
    if parked:
        return Decision(project, parked)
    stopped = stopped_by_budget(with_lanes(project, seen), seen, rules)
    if stopped is not None:
        return replace(stopped, project=stopped.project.evolve(spending=project.spending))
    opened = _opened(project, event, rules)
    if opened and not event.may_start:
        return Decision(project)
    if opened:
        new = {effect.task_id for effect in opened if isinstance(effect, OpenLane)}
        return Decision(project.evolve(closed_lanes=tuple(n for n in project.closed_lanes if n not in new)), opened)
    return Decision(project) if any(lane.failure is None for lane in seen.lanes) else None


def _ended(project: Project, seen: Seen, lane: SeenLane, task: Task | None, rules: Rules) -> Decision | None:
    """What the end of a lane leads to; None for one that has not ended, or in which a step lives."""
    if lane.stuck:
        return None
    if task is None or task.status in CLOSED:
        return None if lane.running else Decision(_booked(project, lane, seen.day), (CloseLane(lane.task_id),))
    if lane.landed and lane.words not in ("", input_key(task)):
        return _by_new_words(project, lane)
    if lane.landed and project.state is not State.DEV_READY:
        return Decision(project, (SetStatus(task.id, TaskStatus.DONE),))
    if lane.landed:
        items = tuple(dict.fromkeys((*project.review_items, task.id)))
        project = project.evolve(review_items=items, trees=without(project.trees, task.id))
        every = project.settings.review_every_n_tasks
        if project.settings.interactive_mode and 0 < every <= len(items):
            project = project.evolve(state=State.REVIEW_READY)
        return Decision(project, (SetStatus(task.id, TaskStatus.DONE),))
    if lane.failure is not None and (lane.granted or task.status is TaskStatus.IN_PROGRESS):
        after = _failed(project, task, lane.failure, rules)
        return replace(after, effects=(*after.effects, ParkLane(task.id)))
    return None


def _failed(project: Project, task: Task, failure: Failure, rules: Rules) -> Decision:
    """What the failure of a lane leads to. It lets go of what it holds: that is how one knows that this was decided."""
    if failure.kind in _OF_THE_WHOLE:
        is_first = project.state is State.DEV_READY
        after = in_error(project, failure, State.DEV_READY) if is_first else project
        return Decision(after, (SetStatus(task.id, TaskStatus.TODO),))
    if project.state is State.DEV_READY:
        return give_up(project, task.id, failure, rules)
    return Decision(project, (SetStatus(task.id, TaskStatus.FAILED),))


def _by_new_words(project: Project, lane: SeenLane) -> Decision | None:
    """What was done is not what the task says by now: it goes on from there, by its new words."""
    if project.state is not State.DEV_READY:
        return None
    return Decision(project, (OpenLane(lane.task_id, lane.agent, lane.values),))


def _booked(project: Project, lane: SeenLane, day: str) -> Project:
    """*project* with what the lane has spent, once, however often it has to be put away."""
    if lane.task_id in project.closed_lanes:
        return project
    closed = (*project.closed_lanes, lane.task_id)
    spent = lane.spending.with_run(lane.unsettled, day, lane.task_id)
    return project.evolve(spending=project.spending.plus(spent), closed_lanes=closed)


def with_lanes(project: Project, seen: Seen) -> Project:
    """*project* as its budgets see it: with what its lanes have spent so far, and with the steps that run.

    A step by which a lane sees the budget reached is counted here, too: else that lane would begin another one at once,
    and another. Only its attempt is not, for it was allowed when it began.
    """
    if not seen.lanes:
        return project
    spending = all_spent(project, seen.lanes)
    for lane in seen.lanes:
        if lane.task_id not in project.closed_lanes:
            spending = spending.with_run(replace(lane.unsettled, attempts=0), seen.day, "")
    return project.evolve(spending=spending)


def all_spent(project: Project, lanes: tuple[SeenLane, ...]) -> Spending:
    """What the project has spent, and its lanes so far, but for the steps that run."""
    total = project.spending
    for lane in lanes:
        if lane.task_id not in project.closed_lanes:
            total = total.plus(lane.spending)
    return total


def attempts_left(project: Project, seen: Seen, rules: Rules) -> float:
    """How many more attempts the budgets of the project and the day allow beside the steps that run."""
    spent, budget = all_spent(project, seen.lanes), rules.budget
    counts = (
        (budget.project.attempts, spent.of("project", seen.day, "")),
        (budget.day.attempts, spent.of("day", seen.day, "")),
    )
    left = [limit - so_far.attempts for limit, so_far in counts if limit is not None]
    return min(left, default=inf) - sum(is_under_way(lane) for lane in seen.lanes)


def is_under_way(lane: SeenLane) -> bool:
    """Whether a step lives there, or was cut off: its attempt is not counted yet."""
    return lane.running or lane.state == State.RUNNING


def is_due(lane: SeenLane) -> bool:
    """Whether the lane is to go on, as soon as its project lets it."""
    return lane.granted and not (lane.running or lane.waits or lane.landed) and lane.failure is None


def _opened(project: Project, event: Tick, rules: Rules) -> tuple[Effect, ...]:
    """The lanes that may start now, or go on after a rest; no more than there are attempts for."""
    effects: list[Effect] = []
    due = sum(is_due(lane) and not is_under_way(lane) for lane in event.seen.lanes)
    room = attempts_left(project, event.seen, rules) - due
    for number, lane in enumerate(roster_of(event.seen, rules).start):
        if number >= room:
            break
        effects += [SetStatus(lane.task_id, TaskStatus.IN_PROGRESS), OpenLane(lane.task_id, lane.agent, lane.values)]
    return tuple(effects)


def roster_of(seen: Seen, rules: Rules) -> Roster:
    """Who may start beside the lanes that are there, and who has to wait for what."""
    tasks = {task.id: task for task in seen.tasks}
    agents = named_agents(seen.tasks, rules)
    holding = [
        Lane(lane.task_id, lane.agent, claims_of(tasks[lane.task_id], rules.resources), lane.values)
        for lane in seen.lanes
        if lane.granted and lane.failure is None and lane.task_id in tasks
    ]
    # One that a person has set to todo again is to be taken up, whatever it waits for.
    again = {task.id for task in seen.tasks if task.status is TaskStatus.TODO}
    apart = {lane.task_id for lane in seen.lanes if lane.rests and lane.task_id not in again}
    refused = tuple(_refused(seen, rules, {*apart, *(lane.task_id for lane in seen.lanes)}))
    apart.update(waiting.task_id for waiting in refused)
    found = roster(seen.tasks, holding, rules.resources, rules.capacity, agents=agents, apart=apart)
    return replace(found, waiting=(*found.waiting, *refused))


def _refused(seen: Seen, rules: Rules, begun: Set[str]) -> Iterator[Waiting]:
    """The tasks, but for those *begun*, whose agents would all refuse: others were told so, the last of them counts.

    Else every task of the plan would be begun, one after the other, to be told the same.
    """
    told = [entry for lane in seen.lanes if lane.failure is None for entry in lane.resting.items()]
    resting = dict(sorted(told, key=lambda entry: entry[1].set_at))
    for task in ready_tasks(seen.tasks, begun) if resting else ():
        chain = chain_of(rules, Role.DEV, task)
        if all_rest(chain, resting, seen.clock) is not None:
            yield Waiting(task.id, f"the quota of {chain[0]}")


def lanes_after(lanes: tuple[SeenLane, ...], effect: OpenLane | ParkLane | CloseLane) -> tuple[SeenLane, ...]:
    """What the lanes will be once *effect* is carried out."""
    others = tuple(lane for lane in lanes if lane.task_id != effect.task_id)
    match effect:
        case OpenLane(task_id, agent, values):
            before = next((lane for lane in lanes if lane.task_id == task_id), SeenLane(task_id))
            after = replace(before, agent=agent, values=values, granted=True, failure=None, landed=False)
            return (*others, after)
        case ParkLane(task_id):
            return tuple(replace(lane, granted=False) if lane.task_id == task_id else lane for lane in lanes)
        case CloseLane():
            return others
