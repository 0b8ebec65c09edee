"""A new project for a git repository that is there already: looked at, and written into PROJECT.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiframe.app.attempts.origin import find_origin
from aiframe.app.project.site import open_site
from aiframe.core.errors import UsageError
from aiframe.process import now
from aiframe.workspaces.bases import create_base
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.host import Base, check_apart, is_shown, open_host, resolve_base
from aiframe.workspaces.paths import workspaces_home

MAKE_IT = "aiframe can make the branch: add --create-base"


def workspace_of_repository(
    repo: Path | None, base: str, kind: str, environ: Mapping[str, str], *, create: bool = False
) -> tuple[dict[str, str], str]:
    """What `workspace` in PROJECT.yaml says for *repo*, which is looked at first, and what was made there, in words.

    Nothing in it is touched, but that with *create* its base is made where it is not there. Raises StepError,
    UsageError.
    """
    if repo is None:
        for option in filter(None, (base and "--base", kind and "--workspace", create and "--create-base")):
            raise UsageError(f"{option} is for a repository", hint="name it with --repo PATH")
        return {}, ""
    host = open_host(repo)
    check_apart(host, workspaces_home(environ))
    made = create_base(host, base, now().wall) if create else ""
    found = _found_base(host, base)
    named = base or (found.name if found.ref else found.commit)
    return {"kind": kind or "worktree", "repo": str(host.root), "base": named}, made


def _found_base(host: Repository, base: str) -> Base:
    try:
        return resolve_base(host, base)
    except GitError as error:
        error.hint = f"{error.hint}; or {MAKE_IT}"
        raise


def about_repository(path: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What a person should know of the repository that the project in *path* works for."""
    site = open_site(path, environ)
    if site.settings.workspace.kind == "inplace":
        return ()
    host, origin = find_origin(site)
    start = f"{Base(origin.base, origin.commit).name} on ({origin.commit[:10]})"
    kind = site.settings.workspace.kind
    inside = f"/{site.root.relative_to(host.root)}/" if is_shown(host, site.root) else ""
    return (
        f"tasks are worked in {kind}s of {host.root}, from {start}; your checkout stays as it is",
        f"finished work lands on {origin.target}; `git merge {origin.target}` takes it in when you like",
        *([f"the project lies in that repository: add {inside} to its .gitignore"] if inside else []),
    )
