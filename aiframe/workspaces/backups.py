"""Refs that keep what an attempt left, removed once it is proven that the branch holds all of it anyway."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct

from aiframe.workspaces.commits import signed
from aiframe.workspaces.git import Repository, checked
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
    """Whether each commit that leads to *commit* and is in no history of *tips* has the files of one that is."""
    done = repo.call("rev-list", "--no-commit-header", "--format=%T", commit, "--not", *tips)
    return done.code == 0 and set(os.fsdecode(done.out).split()) <= states


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
