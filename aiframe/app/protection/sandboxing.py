"""Which sandbox the gates of a project run in, and what its policy allows them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from aiframe.app.project.site import Site
from aiframe.app.protection.environment import chosen, gate_environment
from aiframe.app.protection.secrets import is_secret
from aiframe.core.errors import AiframeError, UsageError
from aiframe.core.ports import Policy, Sandbox
from aiframe.sandbox.choose import Kind, SandboxMissing, choose
from aiframe.sandbox.limits import MIB
from aiframe.store.layout import CONTROL_PATHS, IGNORED, Layout


def sandbox_of(site: Site) -> Sandbox:
    """The sandbox that PROJECT.yaml asks for, if it works here. Raises SandboxMissing with the ways out."""
    settings = site.settings.sandbox
    environ = gate_environment(site) if settings.kind == "none" else site.environ
    return _chosen(settings.kind, settings.image, tuple(sorted(environ.items())))


@functools.lru_cache(maxsize=8)
def _chosen(kind: str, image: str, environ: tuple[tuple[str, str], ...]) -> Sandbox:
    return choose(cast(Kind, kind), image, dict(environ))


def policy_for(site: Site, workspace: Path, *, network: bool, run_id: str) -> Policy:
    """What a gate's command may do in *workspace*: write there, but neither to its repository nor to control files.

    Raises UsageError for a path in PROJECT.yaml that leads nowhere.
    """
    workspace = workspace.resolve()
    policy = folder_policy(site, workspace, network=network, run_id=run_id)
    return replace(policy, read=(*policy.read, *repository_paths(workspace), *_control_files(workspace)))


def folder_policy(site: Site, folder: Path, *, network: bool, run_id: str) -> Policy:
    """As `policy_for`, in a *folder* (no link) that is no repository and has no control files."""
    settings = site.settings.sandbox
    return Policy(
        workspace=folder,
        network=network,
        memory_bytes=settings.memory_mb * MIB,
        processes=settings.processes,
        read=_named(site, settings.read),
        run_id=run_id,
    )


def clean_after(site: Site, run_id: str) -> None:
    """Remove the containers that a dead run may have left: no guardian of ours ends what an engine's daemon started."""
    if site.settings.sandbox.image:
        with suppress(AiframeError):  # where no engine works, none of its containers does either
            sandbox_of(site).clean(Policy(site.root, run_id=run_id))


def sandbox_problem(environ: Mapping[str, str]) -> str:
    """Why `sandbox: auto` would stop the first gate on this machine; empty where it would not."""
    try:
        choose("auto", "", environ)
    except SandboxMissing as error:
        return error.message
    return ""


def granted(site: Site) -> Mapping[str, str]:
    """The variables that PROJECT.yaml lets through by name, but for secrets."""
    found = chosen(site.environ, site.settings.env)
    return {name: value for name, value in found.items() if not is_secret(name, value)}


def repository_paths(workspace: Path) -> tuple[Path, ...]:
    """The repository that *workspace* belongs to: of a linked worktree, also the one that it shares.

    What an agent may have written into the file `.git` does not count: only a repository that names this worktree.
    """
    dot_git = workspace / ".git"
    if not dot_git.is_file():
        return (dot_git,)
    own = Layout(workspace).git_dir
    common, back = own.parent.parent, own / "gitdir"
    named = own.parent.name == "worktrees" and back.is_file() and Path(back.read_text().strip()) == dot_git
    outside = not common.resolve().is_relative_to(workspace)
    return (dot_git, common.resolve()) if named and outside else (dot_git,)


def _control_files(workspace: Path) -> tuple[Path, ...]:
    """What steers the work. Documents may be links, as AGENTS.md often is: then what they show is protected."""
    steering = ("TASKS.yaml", "PROJECT.yaml", *(name for name in IGNORED if "*" not in name))
    documents = (workspace / name.rstrip("/") for name in CONTROL_PATHS if name not in steering)
    shown = (path.resolve() for path in documents)
    inside = (path for path in shown if path.is_relative_to(workspace) and path != workspace)
    return (*(workspace / name.rstrip("/") for name in steering), *inside)


def _named(site: Site, names: tuple[str, ...]) -> tuple[Path, ...]:
    paths = list[Path]()
    for name in names:
        path = Path(name.replace("~", site.environ.get("HOME", "~"), 1) if name.startswith("~/") else name)
        path = site.root / path
        if not path.exists():
            cure = "correct or remove it in `sandbox: {read: [...]}`"
            raise UsageError(f"PROJECT.yaml: sandbox may read {name}, which does not exist", hint=cure)
        paths.append(path.resolve())
    return tuple(paths)
