"""Which agent plays a step: the first of its role, or another in its place while its quota is used up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from aiframe.core.effects import StartStep
from aiframe.core.model import Moment, Project, Role, Rules, Task, Wait
from aiframe.core.timing import remaining


def chain_of(rules: Rules, role: Role, task: Task | None) -> tuple[str, ...]:
    """Who may play a step of *role*, the first choice first; a task's own agent has nobody to stand in for it.

    Names are those of the settings, with the model after a slash; empty where nobody is named, or is needed.
    """
    if task is not None and task.is_job:
        return ()
    chain = rules.agents.get(role, ())
    own = task.agent if task is not None else ""
    return (own,) if own and (not chain or chain[0].partition("/")[0] != own) else chain


def named_agents(tasks: Sequence[Task], rules: Rules) -> dict[str, str]:
    """The name of the agent that works at each task, the first choice, without its model; empty where none is named."""
    return {task.id: "".join(chain_of(rules, Role.DEV, task)[:1]).partition("/")[0] for task in tasks}


def played(step: StartStep, chain: tuple[str, ...], resting: Mapping[str, Wait], clock: Moment) -> StartStep:
    """*step* with the agent that plays it now: the first that does not rest."""
    if not chain:
        return step
    agent = first_awake(chain, resting, clock)
    return replace(step, agent=agent, instead_of=chain[0] if agent != chain[0] else "")


def first_awake(chain: tuple[str, ...], resting: Mapping[str, Wait], clock: Moment) -> str:
    """The first of *chain* that does not rest; its first where all do."""
    return next((name for name in chain if remaining(resting.get(name), clock) <= 0), chain[0])


def all_rest(chain: tuple[str, ...], resting: Mapping[str, Wait], clock: Moment) -> Wait | None:
    """The wait until the first of *chain* may play again; None where one of them may now."""
    waits = [resting[name] for name in chain if name in resting and remaining(resting[name], clock) > 0]
    if not chain or len(waits) < len(chain):
        return None
    return Wait(clock.wall, min(remaining(wait, clock) for wait in waits))


def awake(project: Project, agent: str) -> Project:
    """*agent* has worked: whatever quota it had used up is there again."""
    return project.evolve(resting={name: wait for name, wait in project.resting.items() if name != agent})
