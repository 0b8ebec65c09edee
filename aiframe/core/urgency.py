"""Which of the tasks that could start is the most urgent: the one for which most work waits.

How long a task takes is not known before it is done, so only its size is counted. Sets of tasks are numbers here, with
one bit for each task in the order of the plan: a plan of hundreds is weighed at every look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter

from msgspec import Struct

from aiframe.core.claims import Claim, claims_of, collide
from aiframe.core.model import Task
from aiframe.core.resources import Resources
from aiframe.core.scheduling import CLOSED

_WORK = {"S": 1, "M": 2, "L": 4}


class Urgency(Struct, frozen=True, order=True):
    """How much work waits for a task, in units of a small one; the greater, the sooner it is to start.

    *held_up* is the longest chain of tasks that depend on it, one after the other, itself among them, and half of what
    cannot run beside it: one that keeps many out is better gone before it does so alone, at the end. *behind* is all
    that depends on it: of two chains as long, the one with more beside it first.
    """

    held_up: float
    behind: int


def urgencies(tasks: Sequence[Task], resources: Resources, busy: Iterable[str] = ()) -> dict[str, Urgency]:
    """The urgency of each of *tasks*, of which *busy* are worked at: those keep nobody out much longer."""
    works = [0 if task.status in CLOSED else work(task) for task in tasks]
    chains, behind = _waiting(tasks, works)
    kept_out, by_work = _kept_out(tasks, resources, frozenset(busy)), _by_work(works)
    return {
        task.id: Urgency(chains[task.id] + _sum(by_work, kept_out[task.id]) / 2, _sum(by_work, behind[task.id]))
        for task in tasks
    }


def work(task: Task) -> int:
    """About how much work a task is: by its size, which is of the middle where it says none."""
    return _WORK.get(task.size, _WORK["M"])


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """The tasks so that each comes behind those it waits for, else as they stand. They hold no cycle."""
    by_id = {task.id: task for task in tasks}
    sorter = TopologicalSorter({task.id: [other for other in task.blocked_by if other in by_id] for task in tasks})
    return [by_id[name] for name in sorter.static_order()]


def _waiting(tasks: Sequence[Task], works: Sequence[int]) -> tuple[dict[str, int], dict[str, int]]:
    """For each task the work of the longest chain that it begins, and the set of those that depend on it."""
    waiters: dict[str, list[str]] = {}
    for task in tasks:
        for other in task.blocked_by:
            waiters.setdefault(other, []).append(task.id)
    place = {task.id: number for number, task in enumerate(tasks)}
    chains, behind = dict[str, int](), dict[str, int]()
    for task in reversed(in_order(tasks)):
        after = waiters.get(task.id, ())
        chains[task.id] = works[place[task.id]] + max((chains[other] for other in after), default=0)
        behind[task.id] = _union(behind[other] | 1 << place[other] for other in after)
    return chains, behind


def _kept_out(tasks: Sequence[Task], resources: Resources, busy: frozenset[str]) -> dict[str, int]:
    """For each task the set of open ones, not yet begun, that cannot run beside it."""
    holders: dict[Claim, int] = {}
    claims: dict[str, tuple[Claim, ...]] = {}
    for number, task in enumerate(tasks):
        if (task.reads or task.writes) and task.status not in CLOSED and task.id not in busy:
            claims[task.id] = claims_of(task, resources)
            for claim in claims[task.id]:
                holders[claim] = holders.get(claim, 0) | 1 << number
    clashes = _clashes(holders, resources)
    return {
        task.id: _union(clashes[claim] for claim in claims.get(task.id, ())) & ~(1 << number)
        for number, task in enumerate(tasks)
    }


def _clashes(holders: Mapping[Claim, int], resources: Resources) -> dict[Claim, int]:
    """For each claim the set of tasks with one that it keeps out."""
    found = dict.fromkeys(holders, 0)
    every = list(holders)
    for number, one in enumerate(every):
        for other in every[number:]:
            if _exclude(one, other, resources):
                found[one] |= holders[other]
                found[other] |= holders[one]
    return found


def _exclude(one: Claim, other: Claim, resources: Resources) -> bool:
    """Whether two tasks can never hold the two at once."""
    only_one = one.name and one.name == other.name and resources[one.name].places == 1
    return bool(only_one) or collide(one, other, resources)


def _union(sets: Iterable[int]) -> int:
    together = 0
    for each in sets:
        together |= each
    return together


def _by_work(works: Sequence[int]) -> dict[int, int]:
    """For each amount of work the set of the tasks that are so much."""
    found: dict[int, int] = {}
    for number, each in enumerate(works):
        if each:
            found[each] = found.get(each, 0) | 1 << number
    return found


def _sum(by_work: Mapping[int, int], chosen: int) -> int:
    return sum(each * (tasks & chosen).bit_count() for each, tasks in by_work.items())
