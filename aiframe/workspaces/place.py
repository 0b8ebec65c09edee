"""Where an attempt works: the one thing that every stage of it takes instead of a folder and a list of paths."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

from aiframe.workspaces.commits import current_branch
from aiframe.workspaces.git import Repository

Kind: TypeAlias = Literal["inplace", "worktree", "clone"]


class Place(Struct, frozen=True):
    """A folder to work in. In place: the project's own; else one for each task, a linked worktree or a clone.

    *control* are the files that lie in it and never enter a task's commit (only in place there are any). *target* is
    the branch that finished work lands on; None for a detached HEAD, which itself then moves. *notes* tell what was put
    right.
    """

    kind: Kind
    root: Path
    repo: Repository
    control: tuple[str, ...] = ()
    target: str | None = None
    notes: tuple[str, ...] = ()


def in_place(root: Path, control: tuple[str, ...]) -> Place:
    """The project's own folder, on the branch that it is on now. Raises GitError."""
    repo = Repository(root)
    return Place("inplace", root, repo, control, current_branch(repo))
