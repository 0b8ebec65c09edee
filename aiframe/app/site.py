"""A project opened for work: its folder, its files and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import Rules
from aiframe.store.guards import check_project_folder
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore
from aiframe.store.settings_file import ProjectSettings, load_settings


@dataclass(frozen=True, slots=True)
class Site:
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
        """The limits that hold in this project."""
        return self.settings.rules


def open_site(root: Path, environ: Mapping[str, str]) -> Site:
    """Open the project in *root*. Raises GuardError, UsageError or UnreadableFile; reads only.

    While a step's seal stands, an agent may have broken PROJECT.yaml, which whoever checks the seal puts back: then
    the defaults hold for so long.
    """
    root = root.resolve()
    check_project_folder(root)
    layout = Layout(root)
    try:
        settings = load_settings(layout.project_yaml, environ)
    except UnreadableFile:
        if not layout.seal.exists():
            raise
        settings = ProjectSettings(path=layout.project_yaml)
    return Site(layout, ProjectStore(layout), settings, environ)
