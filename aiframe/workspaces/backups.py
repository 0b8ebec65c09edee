"""Refs that keep what an attempt left, removed once it is proven that the branch holds all of it anyway."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct

from aiframe.workspaces.commits import signed
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import checked
from aiframe.workspaces.locks import announced, deleting_locks


class Kept(Struct, frozen=True):
    """A ref that keeps *commit*. *merged*: every state of the files that it keeps is part of the branch's history."""

    ref: str
    commit: str
    merged: bool


def kept_refs(repo: Repository, below: Sequence[str], branches: Sequence[str]) -> list[Kept]:
    """The refs whose names begin with one of *below*, held against the histories of *branches* (refs or commits).

    Where none of *branches* is there, none of them is merged.
    """
    if not below:
        return []
    tips = [commit for commit in map(repo.commit_of, branches) if commit is not None]
    listed = repo.text("for-each-ref", "--format=%(refname) %(objectname)", *below).splitlines()
    states = (
        set(repo.text("rev-list", "--no-commit-header", "--format=%T", *tips).split()) if listed and tips else set()
    )
    found = []
    for line in listed:
        ref, _, commit = line.partition(" ")
        found.append(Kept(ref, commit, _is_merged(repo, commit, tips, states)))
    return found


def _is_merged(repo: Repository, commit: str, tips: Sequence[str], states: set[str]) -> bool:
    """Whether each commit that leads to *commit* and is in no history of *tips* has the files of one that is.

    Or whether that history has each file that it changed just as it left it: work that others landed before is so.
    """
    done = repo.call("rev-list", "--no-commit-header", "--format=%H %T", commit, "--not", *tips)
    if done.code != 0 or not tips:
        return False
    left = [name for name, tree in map(str.split, os.fsdecode(done.out).splitlines()) if tree not in states]
    if not left:
        return True
    landed = repo.text("rev-list", "--first-parent", *tips, "--not", commit).split()
    return _changes(repo, left) <= _changes(repo, landed)


def _changes(repo: Repository, commits: Sequence[str]) -> set[tuple[bytes, ...]]:
    """What *commits* have made of files: the path, and mode and id of what is there then; zeros where nothing is."""
    words = (
        "--stdin",
        "--root",
        "-r",
        "-m",
        "--raw",
        "-z",
        "--no-renames",
        "--no-commit-id",
        "--ignore-submodules=none",
    )
    fields = repo.run("diff-tree", *words, stdin="".join(f"{name}\n" for name in commits).encode()).split(b"\0")
    changed = zip(fields[0::2], fields[1::2], strict=False)  # the last field is the empty one behind the last zero
    return {(path, *meta.split()[1:4:2]) for meta, path in changed}


def drop_ref(repo: Repository, kept: Kept, date: float) -> bool:
    """Delete the ref where it still names the same commit; whether it did. Raises GitError."""
    with announced(repo, deleting_locks(repo, kept.ref)) as held:
        done = repo.call("update-ref", "-d", kept.ref, kept.commit, env=signed(repo, date), keep_fds=held)
    if done.code == 0 or repo.call("rev-parse", "-q", "--verify", kept.ref).code != 0:
        return True
    if repo.text("rev-parse", "--verify", kept.ref) != kept.commit:
        return False
    checked("update-ref", done)
    return False
