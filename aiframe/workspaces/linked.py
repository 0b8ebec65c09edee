"""The workspace of a task as git knows it: a linked worktree, known by its links before every call of git."""

from __future__ import annotations

import json
import os
from pathlib import Path

from msgspec import Struct, to_builtins

from aiframe.durable import replace_file
from aiframe.workspaces.commits import create_ref, safe_ref, write_commit
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.host import first_line

BACKUP = "refs/aiframe/backup/"
READY = "ready.json"


class Ready(Struct, frozen=True):
    """What a whole workspace remembers: the commit of the target that its work is on top of, and its last set-up."""

    base: str
    setup: str = ""


class Linked(Repository):
    """A task's workspace, whose identity is asserted before every call of git: no commit lands in a wrong folder.

    *branch* is the task's, *host_dir* the git directory of the repository that it belongs to.
    """

    __slots__ = ("branch", "host_dir")

    def __init__(self, root: Path, branch: str, host_dir: Path, git_dir: Path | None = None) -> None:
        super().__init__(root, git_dir)
        self.branch = branch
        self.host_dir = host_dir
        self.assert_own()

    def assert_own(self) -> None:
        """Raise GitError unless folder, entry and branch belong together."""
        super().assert_own()
        fault = self.fault()
        if fault:
            cure = f"put it right, or move {self.root} away: the next attempt makes a new one from its branch"
            raise GitError("check", f"{self.root} is not the workspace it should be: {fault}", hint=cure)

    def fault(self) -> str:
        """What is wrong with the links between folder and repository; empty where nothing is."""
        return mismatch(self.root, self.git_dir, self.common_dir, self.host_dir, self.branch)


def mismatch(root: Path, git_dir: Path, common_dir: Path, host_dir: Path, branch: str) -> str:
    """What is wrong with the links between the folder *root* and its repository; empty where nothing is."""
    link = root / ".git"
    if root.is_symlink() or link.is_symlink() or not link.is_file():
        return "its .git is no plain file"
    if not same(common_dir, host_dir) or not same(git_dir.parent, host_dir / "worktrees"):
        return f"it belongs to {common_dir}, not to {host_dir}"
    back = first_line(git_dir / "gitdir")
    if not back or os.path.normpath(git_dir / back) != str(link):
        return f"{git_dir} is the entry of another folder ({back or 'none'})"
    if first_line(git_dir / "HEAD") != f"ref: refs/heads/{branch}":
        return f"it is not on branch {branch}: `git -C {root} switch {branch}`"
    return ""


def same(one: Path, other: Path) -> bool:
    """Whether both paths lead to the same place."""
    return os.path.realpath(one) == os.path.realpath(other)


def read_ready(linked: Linked) -> Ready:
    """What the workspace stands on. Raises GitError where that is not known: ``ensure_worktree`` puts it right."""
    try:
        said = json.loads((linked.private_dir / READY).read_bytes())
        return Ready(str(said["base"]), str(said["setup"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise GitError("check", f"{linked.root} is not made ready", hint="run the command again") from None


def is_ready(linked: Linked) -> bool:
    """Whether the workspace is whole: made to its end, and not half removed."""
    try:
        return linked.holds(read_ready(linked).base)
    except GitError:
        return False


def write_ready(linked: Linked, ready: Ready) -> None:
    """Remember what the workspace stands on."""
    replace_file(linked.private_dir / READY, json.dumps(to_builtins(ready)).encode())


# Keeping what would go away


def keep_tree(linked: Linked, tree: str, parent: str, date: float) -> str:
    """A backup ref for *tree*, as a commit on top of *parent*."""
    commit = write_commit(linked, tree, (parent,), f"backup: {linked.branch}", {}, date)
    return create_ref(linked, BACKUP + backup_name(linked), commit, date)


def keep_work(linked: Linked, old: str, new: str, date: float) -> str:
    """A backup ref for commit *old*, unless *new* descends from it; the ref, or nothing."""
    if linked.is_ancestor(old, new):
        return ""
    return create_ref(linked, BACKUP + backup_name(linked), old, date)


def backup_name(linked: Linked) -> str:
    """The part of a backup ref that tells the project and the task."""
    return "/".join(safe_ref(part) for part in linked.branch.split("/")[1:])
