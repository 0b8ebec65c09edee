"""Which tasks are worked at side by side: a task starts the moment that all it needs is free.

Tasks are gone through in one order: priority, then how much work waits for it, then the order of the file. The first
that cannot start yet keeps what it needs from those behind it, so that none waits for ever: once it has started, the
next is the first. As a task holds nothing until it gets everything, none can wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.core.claims import Claim, claims_of, collide, values_for
from aiframe.core.model import Task
from aiframe.core.resources import Capacity, Resources
from aiframe.core.scheduling import RANK, ready_tasks
from aiframe.core.urgency import Urgency, urgencies


class Lane(Struct, frozen=True):
    """A task that is worked at, with what it holds. *values* are its own of shared resources, by their names."""

    task_id: str
    agent: str = ""
    claims: tuple[Claim, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)


class Waiting(Struct, frozen=True):
    """A task that is ready, and what keeps it: *holder* is the task that has it, or that it is kept for."""

    task_id: str
    what: str
    holder: str = ""


class Roster(Struct, frozen=True):
    """Who starts now, in this order, and who is ready and waits."""

    start: tuple[Lane, ...] = ()
    waiting: tuple[Waiting, ...] = ()


def roster(
    tasks: Sequence[Task],
    lanes: Sequence[Lane],
    resources: Resources,
    capacity: Capacity,
    *,
    agents: Mapping[str, str] | None = None,
    apart: Collection[str] = (),
    urgency: Mapping[str, Urgency] | None = None,
    ready: Sequence[Task] | None = None,
) -> Roster:
    """Who may start beside *lanes*. *agents* names the agent of each task, *apart* the tasks that wait for a person.

    *urgency* is that of the tasks as it was a moment ago, for who asks again and again, and *ready* those of the ready
    ones that count, for who knows them; None: it is reckoned anew.
    """
    busy = {lane.task_id for lane in lanes}
    ready = [task for task in (ready_tasks(tasks, apart) if ready is None else ready) if task.id not in busy]
    urgency = urgencies(tasks, resources, busy) if urgency is None else urgency
    start, waiting, first = list[Lane](), list[Waiting](), list[Lane]()
    for task in most_urgent_first(ready, urgency):
        agent = (agents or {}).get(task.id, task.agent)
        wanted = Lane(task.id, agent, claims_of(task, resources))
        obstacle = _in_use(wanted, [*lanes, *start, *first], resources) or _no_slot(wanted, [*lanes, *start], capacity)
        if obstacle is None:
            taken = (lane.values for lane in (*lanes, *start))
            start.append(replace(wanted, values=values_for(wanted.claims, taken, resources)))
        else:
            waiting.append(obstacle)
            first = first or [wanted]
    return Roster(tuple(start), tuple(waiting))


def most_urgent_first(tasks: Sequence[Task], urgency: Mapping[str, Urgency]) -> list[Task]:
    """*tasks* in the order in which they get what they need: by priority, then by what depends on them."""
    urgent = sorted(tasks, key=lambda task: urgency[task.id], reverse=True)
    return sorted(urgent, key=lambda task: RANK[task.priority])


def _in_use(wanted: Lane, ahead: Sequence[Lane], resources: Resources) -> Waiting | None:
    """Which of its claims *wanted* cannot have: one that is held, or kept for a task that comes first."""
    for claim in wanted.claims:
        places = resources[claim.name].places if claim.name else 0
        holders = [lane for lane in ahead if claim.name and _holds(lane, claim.name)]
        if places and len(holders) >= places:
            return Waiting(wanted.task_id, claim.name, holders[0].task_id)
        for lane in ahead:
            if any(collide(claim, held, resources) for held in lane.claims):
                return Waiting(wanted.task_id, str(claim), lane.task_id)
    return None


def _holds(lane: Lane, name: str) -> bool:
    """Whether *lane* has the resource; also one whose task asks for it no longer, while it has a value of it."""
    return name in lane.values or any(held.name == name for held in lane.claims)


def _no_slot(wanted: Lane, lanes: Sequence[Lane], capacity: Capacity) -> Waiting | None:
    """Whether all slots are taken. None is kept for a task that waits: the next that gets free is its own anyway."""
    if len(lanes) >= capacity.slots:
        return Waiting(wanted.task_id, "a slot")
    limit, taken = capacity.of_agent.get(wanted.agent), sum(lane.agent == wanted.agent for lane in lanes)
    return Waiting(wanted.task_id, f"a slot of {wanted.agent}") if limit is not None and taken >= limit else None
