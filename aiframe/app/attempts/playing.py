"""Who plays a step: the settings of its agent, of the first choice or of one that stands in for it."""

from __future__ import annotations

from aiframe.agents import tells_cost
from aiframe.app.project.site import COST_CURE, Site
from aiframe.core.errors import StepError
from aiframe.core.model import Project, Role, Run, Task
from aiframe.core.transitions.players import first_awake
from aiframe.process import now
from aiframe.store.agent_settings import AgentSettings


def agent_of(site: Site, run: Run, task: Task | None) -> AgentSettings:
    """The agent of *run*: the one it was begun with; the first choice where the settings no longer name that one.

    An agent that only the task names has its own defaults for all else.
    """
    chain = site.settings.agents[run.role].chain
    own = task.agent if task is not None else ""
    if own and own != chain[0].name:
        return AgentSettings(own)
    return next((agent for agent in chain if agent.label == run.agent), chain[0])


def next_agent(site: Site, project: Project, role: Role) -> str:
    """The label of the agent that plays the next step of *role*."""
    chain = tuple(agent.label for agent in site.settings.agents[role].chain)
    return first_awake(chain, project.resting, now())


def check_agent_tells_cost(site: Site, name: str) -> None:
    """Refuse an agent, which a task may name, that a limit on cost could not be held with. Raises StepError."""
    if site.rules.budget.limits_cost and not tells_cost(name):
        raise StepError(f"the agent {name} does not tell what a run costs, and the budget limits cost", hint=COST_CURE)
