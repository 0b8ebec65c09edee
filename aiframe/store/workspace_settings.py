"""The part of PROJECT.yaml that says where agents work, and where the branch that work lands on is pushed to."""

from __future__ import annotations

import re

from msgspec import Struct, field

from aiframe.store.container_settings import CONTAINER_KEYS, ContainerSettings, read_container
from aiframe.store.yaml_fields import Fields
from aiframe.store.yaml_nodes import Mapping, Scalar

WORKSPACE_KEYS = ("kind", "repo", "base", "target", "setup", "setup_timeout_min")
PUSH_KEYS = ("remote", "branches")
WORKSPACES = ("inplace", "worktree", "clone", "container")


class WorkspaceSettings(Struct, frozen=True):
    """Where agents work: in the project's folder, or for each task in a worktree or a clone of the repository *repo*.

    Of kind container it is a clone, too, and all agents run in a *container*.

    *repo* is a path, from the project's folder on. *base* names what the work starts from (empty: what is checked out
    there), *target* the branch that it lands on (empty: one of aiframe's own). *setup* are the commands that make a
    fresh checkout ready, each with its time in seconds.
    """

    kind: str = "inplace"
    repo: str = ""
    base: str = ""
    target: str = ""
    setup: tuple[str, ...] = ()
    setup_timeout_s: float = 600
    container: ContainerSettings = field(default_factory=ContainerSettings)


class PushSettings(Struct, frozen=True):
    """Where the branch that work lands on is pushed to, if one of the patterns *branches* names it; none: nowhere."""

    remote: str = "origin"
    branches: tuple[str, ...] = ()


def read_workspace(top: Fields) -> WorkspaceSettings:
    """What is below `workspace`. Mistakes are collected in *top*."""
    default, inner = WorkspaceSettings(), top.inner("workspace")
    if inner is None:
        return default
    inner.only((*WORKSPACE_KEYS, *CONTAINER_KEYS))
    kind = inner.word("kind", {name: name for name in WORKSPACES}, default.kind)
    repo = inner.text("repo").strip()
    if kind != "inplace" and not repo:
        inner.complain(inner.node, f"kind {kind} needs repo", "add `repo: PATH`, the top folder of a git repository")
    for name in ("repo", "base", "target"):
        node = inner.node.get(name)
        if node is not None and kind == "inplace":
            inner.complain(
                node, f"{name} is only for workspaces of a repository", "add `kind: worktree`, or take it out"
            )
    for name in CONTAINER_KEYS:
        node = inner.node.get(name)
        if node is not None and kind != "container":
            inner.complain(node, f"{name} is only for kind container", "write `kind: container`, or take it out")
    minutes = inner.number("setup_timeout_min", default.setup_timeout_s / 60, above=True)
    return WorkspaceSettings(
        kind=kind,
        repo=repo,
        base=_ref(inner, "base"),
        target=_ref(inner, "target"),
        setup=inner.texts("setup"),
        setup_timeout_s=minutes * 60,
        container=read_container(inner),
    )


def _ref(parent: Fields, key: str) -> str:
    """The name of a branch (or, as a base, of a commit)."""
    name, node = parent.text(key).strip(), parent.node.get(key)
    if node is not None and (name.startswith("-") or re.search(r"[\s\0]|\.\.", name)):
        parent.complain(node, f"{key}: {name[:80]!r} is no name of a branch", "`git branch` lists their names")
    return name


def read_push(top: Fields) -> PushSettings:
    """What is below `push`. Mistakes are collected in *top*."""
    default, inner = PushSettings(), top.inner("push")
    if inner is None:
        return default
    inner.only(PUSH_KEYS)
    remote, branches = inner.text("remote", default.remote).strip(), inner.texts("branches")
    if not branches:
        inner.complain(inner.node, "no branch is named", "add `branches: [main]`, or patterns such as `release/*`")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", remote):
        inner.complain(inner.node, f"{remote[:80]!r} is no name of a remote", "`git remote` lists their names")
    workspace = top.node.get("workspace")
    kind = workspace.get("kind") if isinstance(workspace, Mapping) else None
    if not isinstance(kind, Scalar) or kind.value not in WORKSPACES[1:]:
        cure = "add `workspace: {kind: worktree, repo: PATH}`, or take `push` out"
        inner.complain(inner.node, "there is no branch that work lands on", cure)
    return PushSettings(remote, branches)
