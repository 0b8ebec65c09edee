"""A new project for a git repository that is there already: looked at, and written into PROJECT.yaml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from aiframe.app.attempts.linked import find_origin
from aiframe.app.project.site import open_site
from aiframe.core.errors import UsageError
from aiframe.workspaces.host import Base, open_host, resolve_base


def workspace_lines(repo: Path | None, base: str, kind: str = "") -> str:
    """The lines of PROJECT.yaml for *repo*, which is looked at first. Raises StepError, UsageError."""
    if repo is None:
        for option in filter(None, (base and "--base", kind and "--workspace")):
            raise UsageError(f"{option} is for a repository", hint="name it with --repo PATH")
        return ""
    host = open_host(repo)
    found = resolve_base(host, base)
    named = base or (found.name if found.ref else found.commit)
    told = (f"kind: {kind or 'worktree'}", f"repo: {json.dumps(str(host.root))}", f"base: {json.dumps(named)}")
    return "\n  ".join(("workspace:", *told)) + "\n"


def about_repository(path: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What a person should know of the repository that the project in *path* works for."""
    site = open_site(path, environ)
    if site.settings.workspace.kind == "inplace":
        return ()
    host, origin = find_origin(site)
    start = f"{Base(origin.base, origin.commit).name} on ({origin.commit[:10]})"
    kind = site.settings.workspace.kind
    return (
        f"tasks are worked in {kind}s of {host.root}, from {start}; your checkout stays as it is",
        f"finished work lands on {origin.target}; `git merge {origin.target}` takes it in when you like",
    )
