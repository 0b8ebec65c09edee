"""The files of a project as a git tree, measured in a private index: nothing of the repository's own state moves."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath

from msgspec import Struct

from aiframe.workspaces.cleanroom import CleanRoom, clean_room
from aiframe.workspaces.git import OBJECT_ID, Repository, known_tree, names
from aiframe.workspaces.git_errors import EmbeddedRepositories, GitError, checked, message_of
from aiframe.workspaces.locks import announced, clear_leftovers, files_of, index_locks

GITLINK = "160000"
ABSENT = "000000"
_SUBMODULES: dict[str, tuple[str, ...]] = {}
"""Those of trees, and of commits whose tree is not known, by full ids, which never come to mean something else."""


class Change(Struct, frozen=True):
    """One file that differs between two trees. *status* is A(dded), M(odified), D(eleted) or T(ype changed).

    *mode* and *blob* are those of the newer side; both are zeros for a deleted file.
    """

    status: str
    path: str
    mode: str
    blob: str
    old_mode: str


_FEW = 1000
_CHANGES: dict[tuple[str, str], tuple[Change, ...]] = {}
"""The few files that differ between two trees, or commits, that were compared by their full ids."""


def covered(path: str, control_paths: Sequence[str]) -> bool:
    """Whether *path* is one of *control_paths* or lies below one that is a folder."""
    return any(path == control or path.startswith(control + "/") for control in map(normal, control_paths))


@lru_cache(maxsize=256)
def normal(path: str) -> str:
    """*path* as git spells it: relative, without trailing slash."""
    return str(PurePosixPath(path))


def changed_files(repo: Repository, old: str, new: str) -> tuple[Change, ...]:
    """What differs between two commits or trees, by name; a renamed file is one deleted and one added."""
    known = (known_tree(old), known_tree(new))
    if known in _CHANGES:
        return _CHANGES[known]
    raw = repo.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--no-ext-diff", "--no-textconv",
                   "--end-of-options", f"{old}^{{tree}}", f"{new}^{{tree}}")  # fmt: skip
    fields = names(raw)
    changes = []
    for head, path in zip(fields[::2], fields[1::2], strict=True):
        old_mode, mode, _, blob, status = head.lstrip(":").split(" ")
        changes.append(Change(status[0], path, mode, blob, old_mode))
    found = tuple(changes)
    if all(map(OBJECT_ID.match, known)) and len(found) <= _FEW:
        _CHANGES[known] = found
    return found


def patch(repo: Repository, old: str, new: str) -> str:
    """What differs between two commits or trees, as a patch to be read; of a binary file only that it differs.

    Attributes do not count: a file cannot hide its changes by them. Raises GitError, TooMuchOutput.
    """
    with clean_room(repo) as room:
        raw = room.run("diff-tree", "-r", "-p", "--text", "--no-renames", "--no-ext-diff", "--no-textconv",
                       "--end-of-options", f"{old}^{{tree}}", f"{new}^{{tree}}")  # fmt: skip
    files = re.split(rb"(?m)^(?=diff --git )", raw)
    shown = (part.partition(b"\n")[0] + b"\n(binary)\n" if b"\0" in part else part for part in files)
    return b"".join(shown).decode("utf-8", "replace")


def worktree_tree(repo: Repository, base: str, control_paths: Sequence[str], *, tip: str | None = None) -> str:
    """The tree id of the files as they are now, with *control_paths* as they are in *base*.

    Ignored files stay out, unless *base* or a commit between it and *tip* holds them. Raises EmbeddedRepositories for
    new folders with a repository of their own, GitError for files that cannot be read.
    """
    clear_leftovers(repo, files_of(repo))
    with clean_room(repo) as room:
        room.load(base)
        if tip is not None and tip != base:
            take_commits(room, base, tip, control_paths)
        tree = add_everything(room, base, control_paths)
        room.keep_cache(tree, submodules(room))  # where there is a new one, it is refused below
    refuse_new_gitlinks(repo, base, tree)
    left_alone = _SUBMODULES.get(known_tree(base))
    if left_alone is not None:
        _SUBMODULES[tree] = left_alone  # no new one, as was just seen
    return tree


def is_as(repo: Repository, tree: str, control_paths: Sequence[str]) -> bool:
    """Whether the files, *control_paths* aside, are as in *tree*, which may be a commit: one question for git.

    False says only that they have to be measured (`worktree_tree`).
    """
    clear_leftovers(repo, files_of(repo))
    with clean_room(repo) as room:
        room.load(tree)
        specs = [f":(top,exclude,literal){path}" for path in (*map(normal, control_paths), *submodules(room))]
        done = room.call("ls-files", "-z", "--modified", "--others", "--exclude-standard", "--", ".", *specs)
    return done.code == 0 and not done.out and not done.err


def take_commits(room: CleanRoom, base: str, tip: str, control_paths: Sequence[str]) -> None:
    """Put what was committed between *base* and *tip* into the index, except control files and nested repositories."""
    changes = changed_files(room.repo, base, tip)
    kept = [c for c in changes if not covered(c.path, control_paths) and GITLINK not in (c.mode, c.old_mode)]
    stage(room, kept)


def stage(room: CleanRoom, changes: Sequence[Change]) -> None:
    """Bring the private index from the older to the newer side of *changes*."""
    if changes:
        room.run("update-index", "-z", "--index-info", stdin=index_lines(changes))


def tree_with(repo: Repository, tree: str, changes: Sequence[Change]) -> str:
    """The id of *tree* with the newer side of *changes* put in; no file is touched. Raises GitError."""
    with clean_room(repo) as room:
        room.run("read-tree", tree)
        stage(room, changes)
        return room.run("write-tree").decode().strip()


def index_lines(changes: Sequence[Change]) -> bytes:
    """*changes* as ``update-index --index-info`` reads them; deletions first, so that a file gives way to a folder."""
    ordered = sorted(changes, key=lambda change: change.status != "D")
    return b"".join(f"{c.mode} {c.blob}\t".encode() + os.fsencode(c.path) + b"\0" for c in ordered)


def add_everything(room: CleanRoom, base: str | None, control_paths: Sequence[str]) -> str:
    """Add all files except *control_paths* and known submodules to the index; returns the tree id.

    Raises EmbeddedRepositories for folders whose files would not be in it.
    """
    left_out = [*map(normal, control_paths), *(submodules(room) if base is not None else ())]
    pathspecs = [".", *(f":(top,exclude,literal){path}" for path in left_out)]
    listed = b"\0".join(os.fsencode(item) for item in pathspecs)
    done = room.call("add", "-A", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=listed)
    if done.code != 0 and "does not have a commit checked out" in message_of(done):
        raise EmbeddedRepositories(nested_repositories(room))
    checked("add", done)
    return room.run("write-tree").decode().strip()


def submodules(room: CleanRoom) -> tuple[str, ...]:
    """The submodules in the index: looking into one would run git with the configuration that lies there.

    They are those of the tree that was loaded, whatever was staged since: `take_commits` leaves them alone.
    """
    tree = known_tree(room.loaded)
    if tree in _SUBMODULES:
        return _SUBMODULES[tree]
    found = room.held.submodules if room.held is not None else None
    if found is None:
        prefix = f"{GITLINK} ".encode()
        links = (entry for entry in room.run("ls-files", "-s", "-z").split(b"\0") if entry.startswith(prefix))
        found = tuple(os.fsdecode(entry.partition(b"\t")[2]) for entry in links)
    if OBJECT_ID.match(tree):
        _SUBMODULES[tree] = found
    return found


def nested_repositories(room: CleanRoom) -> tuple[str, ...]:
    """Folders that git does not look into because they are repositories of their own."""
    others = names(room.run("ls-files", "-o", "-z", "--exclude-standard"))
    return tuple(path.rstrip("/") for path in others if path.endswith("/"))


def refuse_new_gitlinks(repo: Repository, base: str | None, tree: str) -> None:
    """Raise EmbeddedRepositories when *tree* holds a link to a repository where *base* has none."""
    if base is not None and known_tree(base) == tree:
        return
    if base is not None:
        found = [c.path for c in changed_files(repo, base, tree) if c.mode == GITLINK and c.old_mode != GITLINK]
    else:
        entries = names(repo.run("ls-tree", "-r", "-z", tree))
        found = [entry.partition("\t")[2] for entry in entries if entry.startswith(f"{GITLINK} ")]
    if found:
        raise EmbeddedRepositories(found)


def ignored_files(repo: Repository, tree: str, left_out: Sequence[str]) -> tuple[str, ...]:
    """The files that git ignores and that *tree* does not hold; a folder stands for all in it where it holds none.

    *left_out* are patterns of names in the top folder.
    """
    with clean_room(repo) as room:
        room.load(tree)
        found = names(room.run("ls-files", "-o", "-i", "-z", "--directory", "--exclude-standard"))
    patterns = [pattern.rstrip("/") for pattern in left_out]
    return tuple(name for name in found if not any(fnmatchcase(name.partition("/")[0], each) for each in patterns))


def first_tree(repo: Repository) -> str:
    """The tree id of all files of a repository that has no commit yet."""
    with clean_room(repo) as room:
        room.run("read-tree", "--empty")
        tree = add_everything(room, None, ())
        room.keep_cache(tree)
    refuse_new_gitlinks(repo, None, tree)
    return tree


def control_tree(repo: Repository, base: str, paths: Sequence[str]) -> str:
    """The tree id of *base* with *paths* alone as they are in the folder now; ignored ones stay out."""
    with clean_room(repo) as room:
        room.load(base)
        specs = [f":(top,literal){normal(path)}" for path in paths]
        found = names(room.run("ls-files", "-z", "-c", "-o", "--exclude-standard", "--", *specs)) if specs else ()
        listed = b"\0".join(os.fsencode(name) for name in dict.fromkeys(found) if not name.endswith("/"))
        room.run("update-index", "--add", "--remove", "-z", "--stdin", stdin=listed)
        tree = room.run("write-tree").decode().strip()
        room.keep_cache(tree, _SUBMODULES.get(known_tree(base)))  # among *paths* there is none
    return tree


def sync_index(repo: Repository, tree: str) -> None:
    """Set the repository's own index to *tree*; the files are not touched. Raises GitError when it is locked."""
    index = repo.git_dir / "index"
    with clean_room(repo) as room, announced(repo, index_locks(repo)) as held:
        done = room.call("read-tree", "--reset", tree, index=index, keep_fds=held)
        if done.code != 0 and not index.with_name("index.lock").exists():
            index.unlink(missing_ok=True)  # a flag in it (skip-worktree) refuses, and it is only a picture of the tree
            done = room.call("read-tree", "--reset", tree, index=index, keep_fds=held)
        checked("read-tree", done)


def stage_paths(repo: Repository, old: str, new: str) -> None:
    """Bring the repository's own index from tree *old* to *new* for the files that differ; the rest stays staged."""
    lines = index_lines(changed_files(repo, old, new))
    with clean_room(repo) as room, announced(repo, index_locks(repo)) as held:
        room.run("update-index", "-z", "--index-info", stdin=lines, index=repo.git_dir / "index", keep_fds=held)


def switch_files(repo: Repository, now: str, target: str) -> None:
    """Bring the files from tree *now*, which they must match, to tree *target*. Raises GitError, and changes nothing,
    when a file has changed since; where git was killed (GitKilled) or the disk is full, they may be between the two."""
    with clean_room(repo) as room, announced(repo, files_of(repo)) as held:
        room.load(now)
        room.call("update-index", "-q", "--refresh")
        done = room.call("read-tree", "-m", "-u", now, target, keep_fds=held)
        if done.code != 0:
            raise GitError("restore", message_of(done), hint="close what is writing to the project and try again")
        room.keep_cache()
