"""How long a plan takes whose tasks run side by side: by what aiframe starts, next to what no order could go below.

The function that decides is the product's own; only time is simulated. It knows the sizes of tasks, not how long they
take. One bound is that of list scheduling: the larger of the longest chain of tasks and all work divided by the slots.
The other counts locks too: what may be written by one alone is a machine with one slot.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from aiframe.core.claims import claims_of
from aiframe.core.lanes import Lane, roster
from aiframe.core.model import Task, TaskStatus
from aiframe.core.resources import Capacity, Resource
from bench.measuring import Row

SEEDS = range(100)
TASKS = 40
SLOTS = Capacity(4)
RESOURCES = {name: Resource(name, (f"src/{name}/**",)) for name in (f"part{number}" for number in range(8))}
MEDIAN_MIN, SPREAD = 15.0, 0.6
"""How long a task takes: lognormal, so that one in six takes twice as long as the median, or longer."""
MISTAKEN = 0.4
"""How far a size is off: half as long again, or as short, for every third task."""
DEPENDENCIES = {0: 3, 1: 4, 2: 2, 3: 1}
"""How many tasks one waits for, of the twelve before it, by weight."""
LIMIT = 1.05


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks, and how long each takes, in minutes."""

    tasks: tuple[Task, ...]
    takes: Mapping[str, float]


def measure_makespan(folder: Path) -> list[Row]:
    """Over all seeds, the median of the time against the bound, the worst beside it."""
    plans = [_plan(seed) for seed in SEEDS]
    ours = [_course(plan) for plan in plans]
    blind = [_course(_without_sizes(plan)) for plan in plans]
    bounds = [max(_longest_chain(plan), _work(plan) / SLOTS.slots) for plan in plans]
    locked = [max(_bound_of_locks(plan), bound) for plan, bound in zip(plans, bounds, strict=True)]
    batches = [_in_batches(plan) for plan in plans]
    title = f"makespan, {TASKS} tasks, {SLOTS.slots} slots"
    return [
        _row(f"{title}, against the bound", ours, bounds, LIMIT),
        _row("  against the bound that counts locks", ours, locked),
        _row("  where tasks have no size", blind, bounds),
        _row("  in batches that wait for their slowest", batches, bounds),
    ]


def _row(title: str, took: Sequence[float], bounds: Sequence[float], limit: float | None = None) -> Row:
    ratios = [each / bound for each, bound in zip(took, bounds, strict=True)]
    middle = statistics.median(ratios)
    return Row(title, f"{middle:.3f} x", f"worst {max(ratios):.2f} x", middle, "x", limit)


def _plan(seed: int) -> Plan:
    """A plan by chance: half of the tasks lock one or two of the parts, three of four of these to write."""
    chance = random.Random(seed)
    tasks, takes = list[Task](), dict[str, float]()
    for number in range(TASKS):
        name, off = f"T{number}", chance.gauss(0, SPREAD)
        wanted = chance.choices(list(DEPENDENCIES), list(DEPENDENCIES.values()))[0]
        before = [task.id for task in tasks[-12:]]
        parts = chance.sample(sorted(RESOURCES), chance.choice((1, 2))) if chance.random() < 0.5 else []
        writes = tuple(part for part in parts if chance.random() < 0.75)
        reads = tuple(part for part in parts if part not in writes)
        tasks.append(
            Task(
                name, name, size=_size(off + chance.gauss(0, MISTAKEN)), reads=reads, writes=writes,
                blocked_by=tuple(chance.sample(before, min(wanted, len(before)))),
            )
        )  # fmt: skip
        takes[name] = MEDIAN_MIN * math.exp(off)
    return Plan(tuple(tasks), takes)


def _size(off: float) -> str:
    """What a person says who takes a third of the tasks for small, a third for large."""
    third = 0.43 * SPREAD
    return "S" if off < -third else "L" if off > third else "M"


def _without_sizes(plan: Plan) -> Plan:
    return Plan(tuple(replace(task, size="") for task in plan.tasks), plan.takes)


def _course(plan: Plan) -> float:
    """How long the plan takes when at the end of each task all start that may."""
    return _carry(plan, lambda tasks, lanes: roster(tasks, lanes, RESOURCES, SLOTS).start)


def _in_batches(plan: Plan) -> float:
    """The same where nothing starts before all of what runs is over: tasks that can run together, in the same order."""
    return _carry(plan, lambda tasks, lanes: () if lanes else roster(tasks, (), RESOURCES, SLOTS).start)


def _carry(plan: Plan, starts: Callable[[Sequence[Task], Sequence[Lane]], Sequence[Lane]]) -> float:
    tasks, lanes, ends, clock = list(plan.tasks), dict[str, Lane](), list[tuple[float, str]](), 0.0
    while True:
        for lane in starts(tasks, list(lanes.values())):
            lanes[lane.task_id] = lane
            heapq.heappush(ends, (clock + plan.takes[lane.task_id], lane.task_id))
        if not ends:
            break
        clock, name = heapq.heappop(ends)
        del lanes[name]
        tasks = [replace(task, status=TaskStatus.DONE) if task.id == name else task for task in tasks]
    if any(task.status is not TaskStatus.DONE for task in tasks):
        raise RuntimeError("a task of the plan never started")
    return clock


# What no order could go below -----------------------------------------------------------------------------------------


def _work(plan: Plan) -> float:
    return sum(plan.takes.values())


def _longest_chain(plan: Plan) -> float:
    return max(head + plan.takes[name] for name, head in _heads(plan).items())


def _heads(plan: Plan) -> dict[str, float]:
    """The time before which each task cannot start: its longest chain of tasks that it depends on."""
    found: dict[str, float] = {}
    for task in plan.tasks:  # each comes behind those it depends on
        found[task.id] = max((found[other] + plan.takes[other] for other in task.blocked_by), default=0.0)
    return found


def _tails(plan: Plan) -> dict[str, float]:
    """What has to come after each task: its longest chain of tasks that depend on it."""
    found = dict.fromkeys(plan.takes, 0.0)
    for task in reversed(plan.tasks):
        for other in task.blocked_by:
            found[other] = max(found[other], found[task.id] + plan.takes[task.id])
    return found


def _bound_of_locks(plan: Plan) -> float:
    """Any set of tasks that write the same part: the soonest start of one, their work, and what follows one at least.

    The same of any set of tasks in all slots.
    """
    everybody = [(tuple(task.id for task in plan.tasks), SLOTS.slots)]
    groups = everybody + [(group, 1) for group in _writers(plan)]
    heads, tails = _heads(plan), _tails(plan)
    return max(_bound_of(group, heads, tails, plan.takes, slots) for group, slots in groups)


def _writers(plan: Plan) -> Iterator[tuple[str, ...]]:
    for part in RESOURCES:
        yield tuple(
            task.id for task in plan.tasks if any(c.name == part and c.write for c in claims_of(task, RESOURCES))
        )


def _bound_of(
    group: Sequence[str],
    heads: Mapping[str, float],
    tails: Mapping[str, float],
    takes: Mapping[str, float],
    slots: int,
) -> float:
    best = 0.0
    for head in {heads[name] for name in group}:
        late = [name for name in group if heads[name] >= head]
        for tail in {tails[name] for name in late}:
            chosen = [takes[name] for name in late if tails[name] >= tail]
            best = max(best, head + sum(chosen) / slots + tail)
    return best
