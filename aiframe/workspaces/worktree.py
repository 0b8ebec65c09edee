"""Workspaces of tasks added to a person's repository, put right where they were spoilt, and removed.

Everything here may be called again after a crash at any point, and by many at once: one at a time does its work, the
others find it done. What lies in a workspace is never overwritten or removed unless a ref holds it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from aiframe.durable import replace_file
from aiframe.numbered import free_name
from aiframe.workspaces.cleanroom import sweep_rooms
from aiframe.workspaces.commits import Head, create_ref, head, safe_ref, signed
from aiframe.workspaces.git import NOT_YET, Repository
from aiframe.workspaces.git_errors import GitError, checked
from aiframe.workspaces.host import Registered, checkouts, first_line, host_lock, registered, tip
from aiframe.workspaces.linked import BACKUP, READY, Linked, Ready, is_ready, keep_tree, same, write_ready
from aiframe.workspaces.locks import announced, deleting_locks, ref_locks
from aiframe.workspaces.moving import MOVING, bring_by_force, finish_move
from aiframe.workspaces.trees import worktree_tree


class Way(Struct, frozen=True):
    """A way to have a workspace for a task, as a linked worktree or otherwise.

    *opens* is what knows it, *clears* puts away what is broken, *adds* makes it without files, *takes* brings over what
    was committed there and is not in the repository yet. *drops* removes it, and gives the refs that keep what nobody
    else would.
    """

    opens: Callable[[Path, str, Path], Linked]
    clears: Callable[[Repository, Path], tuple[str, ...]]
    adds: Callable[[Repository, Path, str, tuple[int, ...]], None]
    takes: Callable[[Repository, float], tuple[str, ...]]
    drops: Callable[[Repository, Linked, tuple[int, ...], float], list[str]]


def ensure_worktree(
    host: Repository, path: Path, branch: str, start: str, date: float, way: Way | None = None
) -> tuple[Linked, tuple[str, ...]]:
    """The workspace at *path* on *branch*, made from commit *start* where the branch is not there yet.

    Also says in words what had to be put right. Raises GitError, LockHeld, StepError; nothing is lost then.
    """
    way = way or WORKTREE
    with host_lock(host) as held:
        make_branch(host, branch, start, date)
        notes = way.clears(host, path)
        if not os.path.lexists(path):
            way.adds(host, path, branch, held)
        linked = way.opens(path, branch, host.common_dir)
        notes += way.takes(linked, date)
        sweep_rooms(linked)
        if not is_ready(linked):
            at = head(linked)
            bring_by_force(linked, linked.tree_of(at.commit), at.commit, date)
            write_ready(linked, Ready(fork_of(linked, at.commit, start)))
        elif (linked.private_dir / MOVING).is_file():
            finish_move(linked, date)
    return linked, notes


def fork_of(linked: Linked, one: str, other: str) -> str:
    """The newest commit that both descend from; *other* where there is none."""
    done = linked.call("merge-base", one, other)
    return done.out.decode().strip() if done.code == 0 else other


def make_branch(host: Repository, branch: str, start: str, date: float) -> None:
    """A branch that is there: made from *start* where it is not."""
    if host.commit_of(f"refs/heads/{branch}") is None:
        move_branch(host, branch, NOT_YET, start, "aiframe: begun", date)


def move_branch(host: Repository, branch: str, old: str, new: str, reason: str, date: float) -> bool:
    """Move *branch* from commit *old* to *new*, which is empty to delete it; False where it is not at *old*."""
    ref = f"refs/heads/{branch}"
    with announced(host, ref_locks(host, ref) if new else deleting_locks(host, ref)) as held:
        action = ("update-ref", "-m", reason, ref, new, old) if new else ("update-ref", "-d", ref, old)
        done = host.call(*action, env=signed(host, date), keep_fds=held)
    if done.code == 0:
        return True
    if host.commit_of(ref) != (old or None):
        return False
    checked("update-ref", done)
    return False


def clear_broken(host: Repository, path: Path) -> tuple[str, ...]:
    """Clear away what a killed command left of the worktree at *path*, and entries for a folder that is gone."""
    entries = entries_for(host, path)
    whole = [entry for entry in entries if entry.complete and entry.root == path]
    if len(whole) == 1 and path.is_dir() and not path.is_symlink():
        link = path / ".git"
        if not os.path.lexists(link):
            replace_file(link, b"gitdir: " + os.fsencode(whole[0].git_dir) + b"\n")
        entries.remove(whole[0])
        if first_line(link) == f"gitdir: {whole[0].git_dir}":
            drop_entries(entries)
            return ()
        entries.append(whole[0])
    notes = put_aside(path) if os.path.lexists(path) else ()
    drop_entries(entries)
    return notes


def entries_for(host: Repository, path: Path) -> list[Registered]:
    """The entries of .git/worktrees for the folder *path*, broken ones included."""
    return [entry for entry in registered(host) if _is_of(entry, path)]


def _is_of(entry: Registered, path: Path) -> bool:
    named = entry.reason == reason_for(path) or (entry.root is not None and same(entry.root, path))
    return named or _is_gutted(entry, path)


def _is_gutted(entry: Registered, path: Path) -> bool:
    """Whether git was killed as it removed the entry: it says no more whose it is. `git worktree prune` drops such."""
    named_after = re.fullmatch(rf"{re.escape(path.name)}\d*", entry.git_dir.name) is not None
    return named_after and entry.root is None and not entry.reason


def drop_entries(entries: list[Registered]) -> None:
    """Remove entries of .git/worktrees for folders of ours; branches and commits are not in them."""
    for entry in entries:
        shutil.rmtree(entry.git_dir)


def put_aside(path: Path) -> tuple[str, ...]:
    """Make *path* free without losing what is there."""
    empty = path.is_dir() and not path.is_symlink() and not set(os.listdir(path)) - {".git"}
    if empty and not (path / ".git").is_dir():
        with suppress(FileNotFoundError):
            (path / ".git").unlink()
        path.rmdir()
        return ()
    aside = free_name(path, ".aside-")
    os.rename(path, aside)
    return (f"{path} was no whole workspace: it is kept as {aside}, and a new one was made",)


def reason_for(path: Path) -> str:
    """What ``git worktree list`` shows for the workspace, and by which a half-made one is known."""
    return f"workspace of aiframe: {path}"


def refuse_checked_out(host: Repository, branch: str) -> None:
    """Raise GitError where a person has *branch* checked out: it would move under their feet."""
    elsewhere = [str(folder) for folder in checkouts(host, branch)]
    if elsewhere:
        cure = f"`git -C {elsewhere[0]} switch` to another branch, then run the command again"
        raise GitError("worktree", f"{branch} is checked out in {elsewhere[0]}", hint=cure)


def add_worktree(host: Repository, path: Path, branch: str, held: tuple[int, ...]) -> None:
    """Make the worktree, as yet without files."""
    refuse_checked_out(host, branch)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GitError("worktree", f"{path.parent}: {error.strerror or error}") from error
    args = ("--no-checkout", "--lock", "--reason", reason_for(path), str(path), branch)
    checked("worktree", host.call("-c", "worktree.useRelativePaths=false", "worktree", "add", *args, keep_fds=held))
    linked = Linked(path, branch, host.common_dir)
    if "core.sparsecheckout" in linked.settings():  # git copies that from the person's checkout
        linked.run("config", "--worktree", "core.sparseCheckout", "false")
        (linked.git_dir / "info" / "sparse-checkout").unlink(missing_ok=True)
    linked.private_dir.mkdir(exist_ok=True)


# Removing


def remove_worktree(
    host: Repository, path: Path, branch: str, target: str, date: float, way: Way | None = None
) -> tuple[str, ...]:
    """Remove the workspace at *path* and its *branch*; returns the refs that keep what is not in branch *target*.

    Nothing goes away that no ref holds. Raises EmbeddedRepositories or GitError where that cannot be told; then
    nothing is removed.
    """
    kept: list[str] = []
    way = way or WORKTREE
    with host_lock(host) as held:
        notes = way.clears(host, path)
        if path.is_dir():
            linked = way.opens(path, branch, host.common_dir)
            notes += way.takes(linked, date)
            at = head(linked).commit
            tree = worktree_tree(linked, at, ())
            if tree != linked.tree_of(at):
                kept.append(keep_tree(linked, tree, at, date))
            (linked.private_dir / READY).unlink(missing_ok=True)  # a crash from here on: its files come back whole
            kept += way.drops(host, linked, held, date)
        kept += drop_branch(host, branch, tip(host, target), date)
    return (*notes, *kept)


def drop_worktree(host: Repository, linked: Linked, held: tuple[int, ...], date: float) -> list[str]:
    """Remove folder and entry. What an agent committed on other branches stays there, in the shared repository."""
    checked("worktree", host.call("worktree", "remove", "--force", "--force", str(linked.root), keep_fds=held))
    return []


WORKTREE = Way(Linked, clear_broken, add_worktree, lambda linked, date: (), drop_worktree)


def drop_branch(host: Repository, branch: str, target: Head, date: float) -> list[str]:
    """Delete *branch*, once *target* or a backup ref is proven to hold it."""
    commit = host.commit_of(f"refs/heads/{branch}")
    if commit is None or checkouts(host, branch):
        return []
    kept = []
    if not host.is_ancestor(commit, target.commit):
        name = "/".join(safe_ref(part) for part in branch.split("/")[1:])
        kept.append(create_ref(host, BACKUP + name, commit, date))
    move_branch(host, branch, commit, "", "aiframe: landed", date)
    return kept
