"""Agents: adapters that describe a coding-agent CLI and read what it says; they never run it.

A package of somebody else's adds one by an entry point in the group ``aiframe.agents``: a callable that takes the
agent's options (a mapping, from PROJECT.yaml) and returns an object with ``name``, ``command``, ``reader`` and the rest
as :class:`aiframe.core.ports.Agent` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from aiframe.core.errors import AiframeError, UsageError
from aiframe.core.ports import Agent

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "aiframe.agents"

BUILT_IN: Mapping[str, str] = {
    "claude": "aiframe.agents.claude:Claude",
    "codex": "aiframe.agents.codex:Codex",
    "command": "aiframe.agents.command:CommandAgent",
    "human": "aiframe.agents.human:Human",
    "opencode": "aiframe.agents.opencode:Opencode",
    "scripted": "aiframe.agents.scripted:Scripted",
}
"""Found also where aiframe is not installed, and never replaced by another package's."""


def find_agent(name: str, options: Mapping[str, Any] | None = None) -> Agent:
    """The agent *name* with its *options*. Raises UsageError for a name or an option that does not exist or fit."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        make = getattr(import_module(module), attribute)
    else:
        make = _load(_added(name))
    try:
        return cast(Agent, make(dict(options or {})))
    except AiframeError:
        raise
    except Exception as error:
        raise UsageError(
            f"agent {name!r} cannot be used: {error!r}", hint="ask the package that it comes from"
        ) from error


def tells_cost(name: str) -> bool:
    """Whether the agent *name* tells what a run costs; one that does not say so is taken to tell nothing."""
    try:
        if name in BUILT_IN:
            module, _, attribute = BUILT_IN[name].partition(":")
            return bool(getattr(getattr(import_module(module), attribute), "tells_cost", False))
        return bool(getattr(_load(_added(name)), "tells_cost", False))
    except AiframeError:  # there is no such agent, which is told where it is to be started
        return False


def known_agents() -> tuple[str, ...]:
    """The names of all agents there are, in order."""
    return tuple(sorted({*BUILT_IN, *(entry.name for entry in _entries())}))


def _entries() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points  # slow to load, and no built-in agent needs it

    return entry_points(group=GROUP)


def _added(name: str) -> EntryPoint:
    for entry in _entries():
        if entry.name == name:
            return entry
    from difflib import get_close_matches

    close = get_close_matches(name, known_agents(), 1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"there is no agent {name!r}", hint=f"{meant}known agents: {', '.join(known_agents())}")


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        hint = "install its package again, or name another agent in PROJECT.yaml"
        raise UsageError(f"the agent {entry.name!r} ({entry.value}) cannot be loaded: {error!r}", hint=hint) from error
