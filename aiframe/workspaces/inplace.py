"""An attempt in the project's own folder: what it left as a tree, and how that tree becomes a commit.

Paths are relative to the project, commits and trees are object ids, *control_paths* are the files that never enter a
task's commit, dates are epoch seconds. Each function stands alone and may be called again after a crash: it then finds
what it did, and does it once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from aiframe.workspaces.commits import (
    RUN_TRAILER,
    Head,
    LogEntry,
    create_ref,
    find_run_commit,
    head,
    log,
    move_head,
    moved,
    safe_ref,
    show_file,
    write_commit,
)
from aiframe.workspaces.create import ensure_repository
from aiframe.workspaces.git import Repository, names
from aiframe.workspaces.git_errors import GitError, HeadMoved
from aiframe.workspaces.trees import (
    Change,
    changed_files,
    control_tree,
    covered,
    ignored_files,
    is_as,
    stage_paths,
    switch_files,
    sync_index,
    worktree_tree,
)

__all__ = [
    "Candidate",
    "Change",
    "Head",
    "LogEntry",
    "candidate",
    "changed_files",
    "checkpoint",
    "commit_candidate",
    "commit_control",
    "ensure_repository",
    "find_run_commit",
    "fingerprint",
    "head",
    "ignored_files",
    "keep_ref",
    "log",
    "restore_tree",
    "show_file",
    "unchanged",
    "work_of",
]

UNVERIFIED = "refs/aiframe/unverified/"
CONTROL_TRIES = 5
FINGERPRINT_LIMIT = 50_000
NOT_WORK = (".git", "logs", "STATE.json", ".agent_lock")
UNFINISHED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")


class Candidate(Struct, frozen=True):
    """What an attempt left: the tree, and the commit that it goes on top of."""

    tree: str
    parent: str


def candidate(repo: Repository, base: str, control_paths: Sequence[str]) -> Candidate:
    """The files as they are now, with *control_paths* as they are in *base*; nothing of the repository moves.

    An agent's own commits on top of *base* are kept as the parent; where HEAD went elsewhere, *base* is the parent.
    Raises EmbeddedRepositories for a nested repository, GitError for files that cannot be read.
    """
    tip = head(repo).commit
    parent = tip if repo.is_ancestor(base, tip) else base
    return Candidate(worktree_tree(repo, base, control_paths, tip=parent), parent)


def commit_candidate(
    repo: Repository,
    *,
    base_head: Head,
    tree: str,
    parent: str,
    message: str,
    trailers: Mapping[str, str],
    date: float,
    allow_empty: bool = False,
) -> str:
    """Commit *tree* on top of *parent* and move the branch there; returns the commit, the same one when replayed.

    *base_head* is HEAD as it was when the candidate was measured. A tree that *parent* already holds gives *parent*
    itself, unless *allow_empty*. Raises HeadMoved when the branch went elsewhere; then nothing is written or lost.
    """
    now = head(repo)
    if not allow_empty and repo.tree_of(parent) == tree:
        commit = parent
    else:
        commit = write_commit(repo, tree, (parent,), message, trailers, date)
    done = published(repo, now, parent, commit, tree, trailers.get(RUN_TRAILER, ""))
    if done is not None:
        return done
    expected = now.branch == base_head.branch and now.commit in (base_head.commit, parent)
    if not expected or not repo.is_ancestor(now.commit, parent):
        raise moved(repo, base_head)
    sync_index(repo, tree)  # before the branch moves: a crash between the two leaves staged work, not a staged reversal
    move_head(repo, now, commit, message.partition("\n")[0], date)
    return commit


def published(repo: Repository, now: Head, parent: str, commit: str, tree: str, run_id: str) -> str | None:
    """The commit that an earlier call has already put on the branch; None when there is none."""
    if commit != parent == now.commit:
        return None  # nothing is on top of the parent yet
    if repo.is_ancestor(commit, now.commit):
        return commit
    return find_run_commit(repo, run_id, parent, tree=tree) if run_id else None


def commit_control(
    repo: Repository, paths: Sequence[str], message: str, trailers: Mapping[str, str], date: float
) -> str | None:
    """Commit the control files *paths* as they are now, and nothing else; None when nothing changed.

    What else is changed or staged stays as it is. Raises HeadMoved when the branch will not hold still.
    """
    for _ in range(CONTROL_TRIES):
        at = head(repo)
        before = repo.tree_of(at.commit)
        tree = control_tree(repo, at.commit, paths)
        if tree == before:
            return None
        commit = write_commit(repo, tree, (at.commit,), message, trailers, date)
        stage_paths(repo, before, tree)
        try:
            move_head(repo, at, commit, message.partition("\n")[0], date)
        except HeadMoved:
            continue
        return commit
    raise moved(repo, head(repo))


def checkpoint(repo: Repository, control_paths: Sequence[str], message: str, date: float) -> str | None:
    """Commit all that a person left uncommitted, control files aside; None when there is nothing.

    Raises GitError in the middle of a person's merge or rebase, which such a commit would spoil.
    """
    for name in UNFINISHED:
        if os.path.lexists(repo.git_dir / name):
            raise GitError(
                "checkpoint", f"{repo.root} is in the middle of a merge, rebase or pick ({name})",
                hint="finish it or abort it (`git status` says how) and run the command again",
            )  # fmt: skip
    at = head(repo)
    if is_as(repo, at.commit, control_paths):
        return None
    tree = worktree_tree(repo, at.commit, control_paths)
    if tree == repo.tree_of(at.commit):
        return None
    return commit_candidate(repo, base_head=at, tree=tree, parent=at.commit, message=message, trailers={}, date=date)


def keep_ref(repo: Repository, name: str, commit_or_tree: str, message: str, date: float) -> str:
    """Keep *commit_or_tree* under refs/aiframe/unverified/NAME, or NAME-2, -3, ... where that is taken.

    Returns the ref. A tree becomes a commit on top of HEAD. Replayed with the same arguments it gives the same ref.
    """
    commit = commit_or_tree
    if repo.text("cat-file", "-t", commit_or_tree) == "tree":
        commit = write_commit(repo, commit_or_tree, (head(repo).commit,), message, {}, date)
    return create_ref(repo, UNVERIFIED + safe_ref(name), commit, date)


def restore_tree(repo: Repository, commit: str, control_paths: Sequence[str], *, backup: str) -> tuple[str, ...]:
    """Bring all files except *control_paths* and ignored ones back to *commit*; returns what still differs.

    *backup* is a ref that holds the present files (from keep_ref); without it nothing is touched and GitError is
    raised. Files that only the removed .gitignore hid are in no backup, so they stay and are returned.
    """
    now = candidate(repo, commit, control_paths)
    kept = repo.tree_of(backup)
    lost = [c.path for c in changed_files(repo, kept, now.tree) if not covered(c.path, control_paths)]
    if lost:
        raise GitError(
            "restore",
            f"{backup} does not hold the present files ({', '.join(lost[:3])})",
            hint="keep the files as they are now under a backup ref first, then restore",
        )
    switch_files(repo, now.tree, repo.tree_of(commit))
    sync_index(repo, repo.tree_of("HEAD"))
    return unchanged(repo, repo.tree_of(commit), control_paths)


def unchanged(repo: Repository, tree: str, control_paths: Sequence[str]) -> tuple[str, ...]:
    """The names that differ between the files now and *tree* (a candidate): empty when none does."""
    if is_as(repo, tree, control_paths):
        return ()
    now = worktree_tree(repo, tree, control_paths)
    return tuple(change.path for change in changed_files(repo, tree, now)) if now != tree else ()


def work_of(repo: Repository, tree: str, control_paths: Sequence[str]) -> str:
    """A name for the files in *tree* that are no control files: trees that hold the same work share it."""
    entries = names(repo.run("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", tree))
    work = (entry for entry in entries if not covered(entry.partition("\t")[2], control_paths))
    return hashlib.sha256("\0".join(work).encode("utf-8", "surrogateescape")).hexdigest()


def fingerprint(root: Path, skip: Sequence[str] = NOT_WORK) -> int:
    """A number that changes when a file below *root* does (name, size or time), at the price of one walk.

    *skip* names entries of *root* that aiframe itself keeps writing. At most 50,000 entries are looked at.
    """
    total = 0
    for count, entry in enumerate(files_below(root, frozenset(skip))):
        if count >= FINGERPRINT_LIMIT:
            break
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # gone since it was listed
        seen = f"{entry.path}\0{found.st_mtime_ns}\0{found.st_size}".encode("utf-8", "surrogateescape")
        total += int.from_bytes(hashlib.blake2b(seen, digest_size=8).digest())
    return total % 2**64


def files_below(root: Path, skip: frozenset[str]) -> Iterator[os.DirEntry[str]]:
    """Every entry below *root* that is no folder; git folders and unreadable ones are passed over."""
    folders = [os.fspath(root)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if entry.name not in skip]
        except OSError:
            continue
        skip = frozenset({".git"})  # only the top folder has entries of aiframe's own
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                yield entry
