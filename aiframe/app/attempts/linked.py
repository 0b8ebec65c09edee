"""The workspaces of tasks in worktrees and clones: made and put right for an attempt, landed, and removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from aiframe.app.attempts.origin import Origin, about_base, at_target, find_origin, host_of, open_origin, read_origin
from aiframe.app.attempts.results import Kept
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError
from aiframe.core.model import TaskStatus
from aiframe.process import now
from aiframe.store.atomic import make_folder
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.commits import Head, set_ref, write_commit
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import EmbeddedRepositories, again_if_killed
from aiframe.workspaces.host import host_lock
from aiframe.workspaces.landing import TargetBusy, TargetMoved, commit_work, land, merge_trees, rebase_work
from aiframe.workspaces.ledger import enter
from aiframe.workspaces.linked import Linked, read_ready
from aiframe.workspaces.moving import checkpoint_work, clear_out, follow, put_files_back
from aiframe.workspaces.paths import contained, safe_part, task_branch, workspaces_home
from aiframe.workspaces.place import Place
from aiframe.workspaces.trees import worktree_tree
from aiframe.workspaces.worktree import WORKTREE, Way, ensure_worktree, remove_worktree

HOME = ".home"
"""The home of agents in containers that work on no task."""
_OVER = frozenset({TaskStatus.DONE, TaskStatus.CANCELLED})


def way_of(kind: str) -> Way:
    """How the workspaces of *kind* are made and removed; in place there is none."""
    if kind == "worktree":
        return WORKTREE
    from aiframe.workspaces.cloning import CLONE  # much that other kinds do without

    return CLONE


def give_back(repo: Repository) -> None:
    """Make the .git of a clone what aiframe writes there; for no clone nothing is done. Raises GitError."""
    if repo.is_clone:
        from aiframe.workspaces.clone_giving import give

        give(repo)


def linked_place(site: Site, task_id: str) -> Place:
    """The workspace of *task_id*, made where it is not there, put right where it was spoilt. Raises StepError."""
    host, origin = open_origin(site)
    path = contained(workspaces_home(site.environ), origin.key, safe_part(task_id))
    start = at_target(host, origin).commit
    kind, date = site.settings.workspace.kind, now().wall
    linked, notes = ensure_worktree(host, path, task_branch(origin.key, task_id), start, date, way_of(kind))
    return Place("worktree" if kind == "worktree" else "clone", path, linked, (), origin.target, notes)


def open_place(site: Site, task_id: str) -> Place:
    """The workspace of *task_id* as it is, with nothing in it touched: its agent may be at work. Raises GitError."""
    host, origin = find_origin(site)
    path = contained(workspaces_home(site.environ), origin.key, safe_part(task_id))
    linked = way_of(site.settings.workspace.kind).opens(path, task_branch(origin.key, task_id), host.common_dir)
    return Place("clone", path, linked, (), origin.target)


def agent_home(site: Site, task_id: str, *, audit: bool) -> Path:
    """The home of the agents of *task_id* (empty: of no task) in their containers; it stays as long as the workspace.

    Auditors have another one, in which no agent can have left them word. Raises StepError, StorageError.
    """
    key = find_origin(site)[1].key
    folder = contained(workspaces_home(site.environ), key)
    home = _homes(folder / safe_part(task_id))[audit] if task_id else folder / HOME
    make_folder(contained(folder, home.name))
    return home


def _homes(path: Path) -> tuple[Path, Path]:
    """The homes for the workspace at *path*, of its agents and of its auditors: no task's folder has such a name."""
    return path.with_name(f".{path.name}.home"), path.with_name(f".{path.name}.audit-home")


def repository_at(site: Site, folder: Path) -> Repository:
    """The repository by which aiframe's git works on *folder*, the project's own or a workspace. Raises GitError."""
    if site.settings.workspace.kind not in ("clone", "container") or folder == site.root:
        return Repository(folder)
    from aiframe.workspaces.clone import clone_at

    return clone_at(folder)


def workspace_of(place: Place) -> Linked:
    """The workspace of a place that is a task's own; for another there is none, which is a fault of the caller's."""
    if not isinstance(place.repo, Linked):
        raise TypeError(place.kind)
    return place.repo


# An attempt


def standing_on(place: Place) -> Head:
    """The commit that the work in the workspace is on top of. Raises GitError."""
    linked = workspace_of(place)
    return Head(read_ready(linked).base, linked.branch)


def put_right(site: Site, task_id: str) -> Place:
    """The workspace of *task_id*, with what a dead runner had begun there brought to its end. Raises StepError."""
    place = linked_place(site, task_id)
    put_files_back(workspace_of(place), now().wall)
    return place


def begin_linked(site: Site, place: Place, say: Callable[[str], None]) -> Head:
    """Bring the workspace onto the target as it is now, where that goes without a conflict; the commit it stands on.

    What an earlier attempt left there stays. Where base and target went apart, it does *say* so. Raises GitError.
    """
    host, origin = open_origin(site)
    linked, date = workspace_of(place), now().wall
    put_files_back(linked, date)
    follow_base(host, origin, date)
    apart = about_base(host, origin)
    if apart:
        say(f"-- {apart}")
    try:
        _catch_up(linked, at_target(host, origin).commit, date)
    except EmbeddedRepositories as error:  # the attempt begins where the work stands, and its agent was told
        say(f"-- the work is not on {origin.target} as it is now: {error.message}")
    give_back(linked)
    return standing_on(place)


def _catch_up(linked: Linked, onto: str, date: float) -> None:
    """Bring the workspace onto commit *onto*, where that goes without a conflict."""
    if not follow(linked, onto, date):
        base = read_ready(linked).base
        tree = worktree_tree(linked, base, ())
        if base != onto and not merge_trees(linked, base, onto, tree, date).conflicts:
            rebase_work(linked, tree, onto, linked.branch, date)


def follow_base(host: Repository, origin: Origin, date: float) -> None:
    """Take into the target what was committed on the base since, where the base holds all that has landed."""
    base = host.commit_of(origin.base) if origin.base else None
    at = at_target(host, origin)
    if base is None or origin.base == f"refs/heads/{origin.target}" or base == at.commit:
        return
    if host.is_ancestor(at.commit, base):
        with suppress(TargetMoved, TargetBusy):  # then the next attempt does it
            land(host, origin.target, at.commit, base, date)


def target_tip(site: Site, place: Place) -> str:
    """The commit that finished work has to be on top of; a target that was deleted is made anew. Raises StepError."""
    target = place.target or ""
    return place.repo.commit_of(f"refs/heads/{target}") or at_target(*find_origin(site)).commit


def integrate(site: Site, place: Place, base: Head) -> tuple[Head, tuple[str, ...]]:
    """Bring the work onto the target, where that has moved off *base*: the new base, and the files in conflict.

    Files in conflict hold both versions, for the agent to mend. Raises GitError.
    """
    onto = target_tip(site, place)
    if onto == base.commit:
        return base, ()
    linked = workspace_of(place)
    merge = rebase_work(linked, worktree_tree(linked, base.commit, ()), onto, linked.branch, now().wall)
    give_back(linked)
    return Head(onto, base.branch), merge.conflicts


def land_linked(site: Site, task_id: str, kept: Kept) -> str:
    """Make the task's commit and move the target there; the commit, the same one when replayed.

    Raises TargetMoved where the target is not where the work was proven, TargetBusy where a person is at work there.
    """
    host, origin = open_origin(site)
    commit = kept.base
    if host.tree_of(kept.base) != kept.tree:
        commit = write_commit(host, kept.tree, (kept.base,), kept.message, kept.trailers, kept.date)
    if not host.is_ancestor(commit, at_target(host, origin).commit):
        commit_work(workspace_of(linked_place(site, task_id)), commit, kept.date)
        enter(host, commit)
        land(host, origin.target, kept.base, commit, kept.date)
    _keep_landed(host, origin, commit)
    return commit


def clear_linked(site: Site, place: Place) -> None:
    """Bring the workspace to the target as it is; work that is not proven is kept in backup refs. Raises GitError."""
    host, origin = open_origin(site)
    clear_out(workspace_of(place), at_target(host, origin).commit, now().wall)


def land_commit(site: Site, place: Place, commit: str) -> None:
    """Move the target from what the workspace stands on to *commit*, which a person asked for. May be called again.

    Raises TargetMoved, TargetBusy.
    """
    host, origin = open_origin(site)
    enter(host, commit)
    land(host, origin.target, read_ready(workspace_of(place)).base, commit, now().wall)
    _keep_landed(host, origin, commit)


def _keep_landed(host: Repository, origin: Origin, commit: str) -> None:
    """Keep *commit*, which has landed, whatever becomes of the target; what landed on top of it stays kept."""
    with host_lock(host):
        last = host.commit_of(origin.landed_ref)
        if last is None or not host.is_ancestor(commit, last):
            set_ref(host, origin.landed_ref, commit)


def leave_linked(place: Place, task_id: str, run_id: str) -> None:
    """Commit what an attempt left, as unverified, on the task's branch. Raises GitError, EmbeddedRepositories."""
    trailers = {"Aiframe-Run": run_id, "Aiframe-Task": task_id, "Aiframe-Gates": "unverified"}
    put_files_back(workspace_of(place), now().wall)
    checkpoint_work(workspace_of(place), f"unverified: {task_id}", trailers, now().wall)


# Tidying up


def _remove(site: Site, path: Path, branch: str, record: Origin | None) -> None:
    host, origin = (host_of(site), record) if record is not None else open_origin(site)
    from aiframe.workspaces.agent_git import sweep

    for home in _homes(path):
        sweep(home)
    remove_worktree(host, path, branch, origin.target, now().wall, way_of(site.settings.workspace.kind))


def workspaces_over(site: Site) -> tuple[tuple[str, Path, str], ...]:
    """What is left of tasks that are over: the id of each, its workspace, and its branch."""
    record = read_origin(site)
    if site.settings.workspace.kind == "inplace" or record is None:
        return ()
    home, found = workspaces_home(site.environ), []
    for task in load_tasks(site.layout.tasks_yaml).tasks:
        path = contained(home, record.key, safe_part(task.id))
        branch = task_branch(record.key, task.id)
        left = (path, Path(record.repo, "refs", "heads", branch), *_homes(path))
        if task.status in _OVER and any(map(os.path.lexists, left)):
            found.append((task.id, path, branch))
    return tuple(found)


def remove_workspace(site: Site, path: Path, branch: str, record: Origin | None = None) -> str:
    """Remove a workspace with its branch, once all in it is proven to be kept; says in words why it stays.

    With *record* by that as it is: a lane that was put aside must not claim its folder of workspaces anew.
    """
    try:
        again_if_killed(partial(_remove, site, path, branch, record))
    except EmbeddedRepositories as error:
        return f"the workspace {path} stays: {error.message}"
    except AiframeError as error:
        return f"the workspace {path} is not removed yet: {error.message}"
    return ""


def tidy(site: Site) -> tuple[str, ...]:
    """Remove the workspaces of tasks that are over, once all in them is proven to be kept; says in words what could
    not be removed."""
    return tuple(filter(None, (remove_workspace(site, path, branch) for _, path, branch in workspaces_over(site))))
