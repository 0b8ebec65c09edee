"""What was spent, what may be spent, and whether that is reached. Money in US dollars, times in seconds.

What an agent did not tell is never taken for nothing: the sums count the runs that they do not know of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

Scope: TypeAlias = Literal["project", "day", "task"]
Amount: TypeAlias = Literal["tokens", "cost_usd", "wall_min", "attempts"]

AMOUNTS: tuple[Amount, ...] = ("tokens", "cost_usd", "wall_min", "attempts")
DAYS_KEPT = 90
"""Of older days only the project's sum and the journal tell."""


class Spent(Struct, frozen=True):
    """A sum over runs. *tokens* go in and out, *cost_usd* is what agents told, *attempts* are runs that used an agent.

    *unmetered* counts the runs whose agent told no tokens, *unpriced* those whose agent told no cost.
    """

    tokens: int = 0
    cost_usd: float = 0.0
    wall_s: float = 0.0
    attempts: int = 0
    unmetered: int = 0
    unpriced: int = 0

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(
            self.tokens + other.tokens,
            self.cost_usd + other.cost_usd,
            self.wall_s + other.wall_s,
            self.attempts + other.attempts,
            self.unmetered + other.unmetered,
            self.unpriced + other.unpriced,
        )

    def amount(self, name: Amount) -> float:
        """How much of *name*; minutes for ``wall_min``."""
        return {
            "tokens": self.tokens,
            "cost_usd": self.cost_usd,
            "wall_min": self.wall_s / 60,
            "attempts": self.attempts,
        }[name]


class Spending(Struct, frozen=True):
    """What a project has spent: in all, on each local day (``2026-02-28``), and on each task."""

    project: Spent = field(default_factory=Spent)
    days: Mapping[str, Spent] = field(default_factory=dict)
    tasks: Mapping[str, Spent] = field(default_factory=dict)

    def with_run(self, spent: Spent, day: str, task_id: str) -> Spending:
        """The same after one more run, which ended on *day* and worked on *task_id* (or on none)."""
        if spent == Spent():
            return self
        days = {**self.days, day: self.days.get(day, Spent()).plus(spent)}
        tasks = {**self.tasks, task_id: self.tasks.get(task_id, Spent()).plus(spent)} if task_id else self.tasks
        return Spending(self.project.plus(spent), dict(sorted(days.items())[-DAYS_KEPT:]), tasks)

    def plus(self, other: Spending) -> Spending:
        """What both have spent."""
        last = dict(sorted(_sums(self.days, other.days).items())[-DAYS_KEPT:])
        return Spending(self.project.plus(other.project), last, _sums(self.tasks, other.tasks))

    def of(self, scope: Scope, day: str, task_id: str) -> Spent:
        """What counts against the limits of *scope*."""
        match scope:
            case "project":
                return self.project
            case "day":
                return self.days.get(day, Spent())
            case "task":
                return self.tasks.get(task_id, Spent())


def _sums(one: Mapping[str, Spent], other: Mapping[str, Spent]) -> dict[str, Spent]:
    return {name: one.get(name, Spent()).plus(other.get(name, Spent())) for name in {*one, *other}}


class Limits(Struct, frozen=True):
    """The most that may be spent; None for no limit."""

    tokens: int | None = None
    cost_usd: float | None = None
    wall_min: float | None = None
    attempts: int | None = None


class Budget(Struct, frozen=True):
    """The limits of a project in all, of each local day, and of each task."""

    project: Limits = field(default_factory=Limits)
    day: Limits = field(default_factory=Limits)
    task: Limits = field(default_factory=Limits)

    @property
    def limits_cost(self) -> bool:
        """Whether any limit needs to know what a run costs."""
        return any(limits.cost_usd is not None for limits in (self.project, self.day, self.task))


class Reached(Struct, frozen=True):
    """A limit that is reached: no further step may start, and one that runs has to end."""

    scope: Scope
    amount: Amount
    limit: float
    spent: Spent
    task_id: str = ""

    @property
    def message(self) -> str:
        """What is used up, and what was spent so far."""
        whose = {
            "project": "the project's budget",
            "day": "today's budget",
            "task": f"the budget of task {self.task_id}",
        }
        return f"{whose[self.scope]} of {_limit(self.amount, self.limit)} is spent (so far {told(self.spent)})"

    @property
    def hint(self) -> str:
        """How to go on."""
        cure = f"raise budget.{self.scope}.{self.amount} in PROJECT.yaml"
        return f"{cure}; else it goes on tomorrow" if self.scope == "day" else cure


def reached(spending: Spending, budget: Budget, day: str, task_id: str = "") -> Reached | None:
    """The limit that is reached, the one that lasts longest first; None while more may be spent."""
    for scope in _SCOPES:
        if scope == "task" and not task_id:
            continue
        limits: Limits = getattr(budget, scope)
        spent = spending.of(scope, day, task_id)
        for amount in AMOUNTS:
            limit = getattr(limits, amount)
            if limit is not None and spent.amount(amount) >= limit:
                return Reached(scope, amount, limit, spent, task_id)
    return None


_SCOPES: tuple[Scope, ...] = ("project", "task", "day")


def without_attempts(budget: Budget) -> Budget:
    """The limits that a run can reach before it ends: its own attempt was allowed when it began."""
    return Budget(
        replace(budget.project, attempts=None), replace(budget.day, attempts=None), replace(budget.task, attempts=None)
    )


# In words -------------------------------------------------------------------------------------------------------------


def told(spent: Spent) -> str:
    """A sum in words; what is not known is said to be so."""
    count = f"{spent.attempts} attempt{'' if spent.attempts == 1 else 's'}"
    return f"{told_tokens(spent)}, {told_cost(spent)}, {told_wall(spent)}, {count}"


def told_tokens(spent: Spent) -> str:
    """``12,300 tokens``; ``at least 12,300 tokens`` or ``unknown tokens`` where a run told none."""
    return _at_least(f"{spent.tokens:,} tokens", "unknown tokens", spent.tokens > 0, spent.unmetered > 0)


def told_cost(spent: Spent) -> str:
    """``$0.42``; ``at least $0.42`` or ``cost unknown`` where a run told none."""
    return _at_least(f"${spent.cost_usd:,.2f}", "cost unknown", spent.cost_usd > 0, spent.unpriced > 0)


def told_wall(spent: Spent) -> str:
    """Hours, minutes and seconds: ``0:05:12``."""
    whole = int(spent.wall_s)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _at_least(known: str, unknown: str, some: bool, parts_unknown: bool) -> str:
    if not parts_unknown:
        return known
    return f"at least {known}" if some else unknown


def _limit(amount: Amount, limit: float) -> str:
    match amount:
        case "tokens":
            return f"{limit:,.0f} tokens"
        case "cost_usd":
            return f"${limit:,.2f}"
        case "wall_min":
            return f"{limit:g} min"
        case "attempts":
            return f"{limit:g} attempt{'' if limit == 1 else 's'}"
