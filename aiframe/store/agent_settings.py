"""The part of PROJECT.yaml that says which agent plays which role, who stands in for it, and who audits."""

from __future__ import annotations

import re
from collections.abc import Mapping as ReadOnly
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.core.model import STEP_ROLES, Role, Rules
from aiframe.store.yaml_fields import Fields
from aiframe.store.yaml_nodes import Mapping, Node, Scalar, plain_value

DEFAULT_AGENT = "codex"
AUDIT_KEYS = ("agent", "model", "effort", "rounds")
OF_ALL_AGENTS = frozenset({"name", "model", "effort", "fallback"})
"""The keys of an agent that are not its own options."""


class AgentSettings(Struct, frozen=True):
    """The agent of a role. *options* are its own further keys; empty *model* and *effort* mean the agent's default.

    *fallback* plays in its place while its quota is used up.
    """

    name: str = DEFAULT_AGENT
    model: str = ""
    effort: str = ""
    options: ReadOnly[str, Any] = field(default_factory=dict)
    fallback: AgentSettings | None = None

    @property
    def label(self) -> str:
        """What tells it from others: its name, with the model after a slash where one is set."""
        return f"{self.name}/{self.model}" if self.model else self.name

    @property
    def chain(self) -> tuple[AgentSettings, ...]:
        """This one, and who stands in for it."""
        return (self, *(self.fallback.chain if self.fallback else ()))


def read_agents(top: Fields) -> dict[Role, AgentSettings]:
    """Who plays each role: the agent of the project, or one of the role's own. Mistakes are collected in *top*."""
    default = _agent(top, "agent", AgentSettings())
    agents = dict.fromkeys(STEP_ROLES, default)
    per_role = top.inner("agents")
    if per_role is not None:
        per_role.only(STEP_ROLES)
        for role in STEP_ROLES:
            agents[role] = _agent(per_role, role, default)
    return agents


def _agent(parent: Fields, key: str, default: AgentSettings) -> AgentSettings:
    """The agent below *key*: its name alone, or a mapping; what it leaves out comes from a *default* of that name."""
    node: Node | None = parent.node.get(key)
    if node is None:
        return default
    if isinstance(node, Scalar):
        return default if node.value == default.name else AgentSettings(_agent_name(parent, node, node.value))
    inner = parent.inner(key)
    if inner is None:
        return default
    name = _agent_name(inner, node, inner.text("name", default.name))
    base = default if name == default.name else AgentSettings(name)
    own = {k.value: plain_value(v) for k, v in inner.node.pairs if k.value not in OF_ALL_AGENTS}
    return AgentSettings(
        name=name,
        model=inner.text("model", base.model),
        effort=inner.text("effort", base.effort),
        options={**base.options, **own},
        fallback=_fallback(inner, base.fallback),
    )


def _fallback(inner: Fields, default: AgentSettings | None) -> AgentSettings | None:
    """Who stands in: a name, or a mapping as for an agent."""
    node = inner.node.get("fallback")
    if node is None:
        return default
    if isinstance(node, Mapping) and node.get("name") is None:
        inner.complain(node, "fallback has no name", "write `fallback: {name: claude, ...}` or `fallback: claude`")
        return None
    return _agent(inner, "fallback", AgentSettings(""))


def _agent_name(parent: Fields, node: Node, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        parent.complain(
            node, f"{name[:80]!r} is no name of an agent", "use `agent: codex`; `aiframe doctor` lists them"
        )
    return name


def read_audit(gates: Fields | None, builder: AgentSettings) -> tuple[AgentSettings | None, int]:
    """The agent that judges the work of *builder*, none where no audit is wanted, and how often it may reject.

    Mistakes are collected in *gates*.
    """
    rounds = Rules().audit_rounds
    inner = gates.inner("audit") if gates is not None else None
    if inner is None:
        return None, rounds
    inner.only(AUDIT_KEYS)
    agent = _agent(inner, "agent", builder)
    agent = replace(agent, model=inner.text("model", agent.model), effort=inner.text("effort", agent.effort))
    return agent, int(inner.number("rounds", rounds, whole=True, least=1))
