"""Workspaces that are clones: what an agent does to the .git that it sees never reaches the person's repository.

The folder has a git directory of its own, with the history of the task's branch copied into it: no remote, no borrowed
object, no link. That one is the agent's, and aiframe runs no git by what it says. aiframe's own git works on the same
files by an *entry*, a small git directory beside the folder whose objects and refs are those of the person's
repository, as those of a linked worktree are. So all that holds for a worktree holds here; two ways are added:

- ``give`` (clone_giving.py) makes the agent's .git what aiframe writes there, with the branch where it stands;
- ``take`` (clone_taking.py) brings what was committed there into the person's repository, once it is proven sound.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from aiframe.workspaces.agent_git import remove, sweep
from aiframe.workspaces.cleanroom import sweep_rooms
from aiframe.workspaces.clone import Cloned, entry_of, is_entry, nursery
from aiframe.workspaces.clone_taking import keep_side_branches, take
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.linked import Linked
from aiframe.workspaces.worktree import Way, drop_entries, entries_for, put_aside, refuse_checked_out


def clear_clone(host: Repository, path: Path) -> tuple[str, ...]:
    """Clear away what a killed command left of the clone at *path*, and an entry for a folder that is gone."""
    for left in path.parent.glob(f".{path.name}.new-*"):
        sweep(left)
    others, entry = entries_for(host, path), entry_of(path)
    if not others and path.is_dir() and not path.is_symlink() and is_entry(entry, host.common_dir, path):
        return ()
    notes = put_aside(path) if os.path.lexists(path) else ()
    drop_entries(others)
    remove(entry)
    return notes


def add_clone(host: Repository, path: Path, branch: str, held: tuple[int, ...]) -> None:
    """Make the folder and its entry, as yet without files and without a .git of its own: ``give`` makes that."""
    refuse_checked_out(host, branch)
    sweep_rooms(host)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with nursery(path) as fresh:
            (fresh / "entry" / "aiframe").mkdir(parents=True)
            (fresh / "entry" / "HEAD").write_text(f"ref: refs/heads/{branch}\n")
            (fresh / "entry" / "commondir").write_bytes(os.fsencode(host.common_dir) + b"\n")
            (fresh / "entry" / "gitdir").write_bytes(os.fsencode(path / ".git") + b"\n")
            os.rename(fresh / "entry", entry_of(path))
        path.mkdir()
    except OSError as error:
        raise GitError("clone", f"{path}: {error.strerror or error}") from error


def drop_clone(host: Repository, linked: Linked, held: tuple[int, ...], date: float) -> list[str]:
    """Remove folder and entry; the refs that keep what an agent committed on branches of its own."""
    assert isinstance(linked, Cloned)
    try:
        kept = keep_side_branches(linked, date)
        os.chmod(linked.root, stat.S_IRWXU)
        with nursery(linked.root) as gone:
            os.rename(linked.root, gone / "folder")
            remove(linked.git_dir)
    except OSError as error:
        raise GitError("clone", f"{linked.root}: {error.strerror or error}") from error
    return kept


CLONE = Way(Cloned, clear_clone, add_clone, take, drop_clone)
