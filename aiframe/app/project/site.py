"""A project opened for work: its folder, its files and its settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.agents import tells_cost
from aiframe.core.errors import UnreadableFile
from aiframe.core.model import Rules
from aiframe.core.problem import Problem
from aiframe.store.guards import check_project_folder
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore
from aiframe.store.settings_file import ProjectSettings, load_settings

COST_CURE = "limit tokens or wall_min instead, or take an agent that tells its cost (docs/budgets.md)"


RECORD = "AIFRAME_RECORD"
"""By this variable a runner learns where to record its steps: the absolute path of a file."""


class Site(Struct, frozen=True):
    """A project folder that passed the guard, with PROJECT.yaml read. *environ* is the caller's environment."""

    layout: Layout
    store: ProjectStore
    settings: ProjectSettings
    environ: Mapping[str, str]

    @property
    def root(self) -> Path:
        """The project folder."""
        return self.layout.root

    @property
    def rules(self) -> Rules:
        """The limits that hold in this project, and who plays its roles.

        In one folder agents take turns; jobs have folders of their own and are worked at side by side.
        """
        agents = {role: tuple(each.label for each in first.chain) for role, first in self.settings.agents.items()}
        rules = replace(self.settings.rules, agents=agents)
        if self.settings.workspace.kind != "inplace":
            return rules
        return replace(rules, capacity=replace(rules.capacity, slots=1), job_slots=rules.capacity.slots)


def open_site(root: Path, environ: Mapping[str, str], *, tolerant: bool = False) -> Site:
    """Open the project in *root*. Raises GuardError, UsageError or UnreadableFile; reads only.

    With *tolerant* the defaults hold where PROJECT.yaml cannot be read: who ends a step needs none of it. So they do
    while a step's seal stands, for an agent may have broken PROJECT.yaml, which whoever checks the seal puts back.
    """
    root = root.resolve()
    check_project_folder(root)
    layout = Layout(root)
    try:
        settings = load_settings(layout.project_yaml, environ)
    except UnreadableFile:
        if not (tolerant or layout.seal.exists()):
            raise
        settings = ProjectSettings(path=layout.project_yaml)
    if not tolerant:
        _check_cost_is_told(settings)
    return Site(layout, ProjectStore(layout), settings, environ)


def repo_path(site: Site) -> Path:
    """Where PROJECT.yaml says that the repository is."""
    named = site.settings.workspace.repo
    home = site.environ.get("HOME", "")
    return Path(home, named[2:]) if named.startswith("~/") and home else site.root / named


def held_in(site: Site) -> str:
    """Where held work is, as a shell reads it; empty for the project's own repository."""
    return shlex.quote(str(repo_path(site))) if site.settings.workspace.kind != "inplace" else ""


def _check_cost_is_told(settings: ProjectSettings) -> None:
    """Refuse a limit on cost that nobody could hold, at its line."""
    if not settings.rules.budget.limits_cost or settings.path is None:
        return
    named = {agent.name for first in settings.all_agents for agent in first.chain}
    silent = sorted(name for name in named if not tells_cost(name))
    if silent:
        said = f"a limit on cost cannot be held: {', '.join(silent)} does not tell what a run costs"
        raise UnreadableFile([Problem(settings.path, said, *settings.cost_limit, hint=COST_CURE)])
