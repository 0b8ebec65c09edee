"""From one state of a workspace's files to another, such that a crash in between is made good by the next who comes."""

from __future__ import annotations

import json
import re

from msgspec.structs import replace

from aiframe.durable import replace_file
from aiframe.workspaces.cleanroom import CleanRoom, clean_room
from aiframe.workspaces.commits import head, move_head, write_commit
from aiframe.workspaces.git_errors import GitBusy, GitError, GitKilled
from aiframe.workspaces.linked import Linked, keep_tree, keep_work, read_ready, write_ready
from aiframe.workspaces.locks import announced, files_of
from aiframe.workspaces.trees import add_everything, switch_files, sync_index, worktree_tree

MOVING = "moving.json"
SETTING_UP = "setting-up.json"
MAKE_ROOM = "make room on the disk, and the files writable for you: the next attempt brings them to where they belong"
_REFUSED = re.compile("not uptodate|would be overwritten|would be removed|would lose untracked|Cannot merge")
"""What git says before it touches a file, where one has changed."""


def move_work(linked: Linked, now: str, to: str, commit: str, date: float) -> None:
    """Bring the files from tree *now*, which they match, to tree *to*, and the branch to *commit*.

    What cuts it short, such as a crash or a full disk, is made good by ``ensure_worktree``. Raises GitError; where git
    refused because a file has changed since, the files are as they were.
    """
    _note_move(linked, to, commit)
    try:
        switch_files(linked, now, to)
    except GitError as error:
        if is_cut_short(error):
            error.hint = MAKE_ROOM if not isinstance(error, GitKilled | GitBusy) else error.hint
        else:
            (linked.private_dir / MOVING).unlink()
        raise
    arrive(linked, commit, date)


def is_cut_short(error: GitError) -> bool:
    """Whether git may have been at it when `switch_files` failed, so that files are between the two trees."""
    return isinstance(error, GitKilled) or _REFUSED.search(error.detail) is None


def _note_move(linked: Linked, tree: str, commit: str) -> None:
    """Remember where a move leads, for whoever has to finish it."""
    replace_file(linked.private_dir / MOVING, json.dumps({"tree": tree, "commit": commit}).encode())


def arrive(linked: Linked, commit: str, date: float) -> None:
    """The last part of a move: the files are in place."""
    at = head(linked)
    keep_work(linked, at.commit, commit, date)
    sync_index(linked, linked.tree_of(commit))
    if at.commit != commit:
        move_head(linked, at, commit, "aiframe: onto a new base", date)
    write_ready(linked, replace(read_ready(linked), base=commit))
    (linked.private_dir / MOVING).unlink(missing_ok=True)


def finish_move(linked: Linked, date: float) -> None:
    """Finish the move that a crash cut short; what lies in the files now is kept first."""
    note = linked.private_dir / MOVING
    try:
        to = json.loads(note.read_bytes())
        tree, commit = str(to["tree"]), str(to["commit"])
    except (OSError, ValueError, KeyError, TypeError):
        tree = commit = ""
    if not tree or not linked.holds(tree) or not linked.holds(commit):
        note.unlink(missing_ok=True)  # an agent's, not ours: ours names what is there
        return
    bring_by_force(linked, tree, commit, date)
    arrive(linked, commit, date)


def clear_out(linked: Linked, commit: str, date: float) -> None:
    """Bring files and branch to *commit*, whatever is there; backup refs hold what was. May be called again."""
    _note_move(linked, linked.tree_of(commit), commit)
    finish_move(linked, date)


def bring_by_force(linked: Linked, tree: str, commit: str, date: float) -> None:
    """Make the files those of *tree*, whatever they are now; a backup ref holds what they were."""
    at = head(linked).commit
    with clean_room(linked) as room, announced(linked, files_of(linked)) as held:
        room.load(tree)
        now = add_everything(room, at, ())
        if now != tree and not is_empty(room, now):
            keep_tree(linked, now, at, date)
        room.run("read-tree", "--reset", "-u", tree, keep_fds=held)
        room.keep_cache()
    sync_index(linked, linked.tree_of(commit))


def note_files(linked: Linked, tree: str) -> None:
    """Remember *tree*, which the files match, while commands run that must not change it."""
    replace_file(linked.private_dir / SETTING_UP, json.dumps({"tree": tree}).encode())


def forget_files(linked: Linked) -> None:
    """The commands have ended, and changed nothing."""
    (linked.private_dir / SETTING_UP).unlink(missing_ok=True)


def put_files_back(linked: Linked, date: float) -> None:
    """Bring the files to what `note_files` remembers, if anything; a backup ref holds what they were."""
    try:
        tree = str(json.loads((linked.private_dir / SETTING_UP).read_bytes())["tree"])
    except (OSError, ValueError, KeyError, TypeError):
        tree = ""
    if tree and linked.holds(tree):
        bring_by_force(linked, tree, head(linked).commit, date)
    forget_files(linked)


def is_empty(room: CleanRoom, tree: str) -> bool:
    """Whether *tree* holds nothing but links to submodules, which an empty folder holds too."""
    listed = room.repo.run("ls-tree", "-r", "-z", tree).split(b"\0")
    return all(entry.startswith(b"160000") for entry in listed if entry)


def checkpoint_work(linked: Linked, message: str, trailers: dict[str, str], date: float) -> str:
    """Commit all that lies in the workspace on the task's branch, proven or not; the commit, empty for nothing new.

    Raises EmbeddedRepositories for a repository of its own in it, GitError for files that cannot be read.
    """
    at = head(linked)
    tree = worktree_tree(linked, at.commit, ())
    if tree == linked.tree_of(at.commit):
        return ""
    commit = write_commit(linked, tree, (at.commit,), message, trailers, date)
    sync_index(linked, tree)
    move_head(linked, at, commit, message.partition("\n")[0], date)
    return commit


def follow(linked: Linked, target: str, date: float) -> bool:
    """Bring a workspace that holds no work of its own to commit *target*; whether it stands there now."""
    at, base = head(linked), read_ready(linked).base
    if base == target:
        return True
    tree = linked.tree_of(base)
    if linked.tree_of(at.commit) != tree or worktree_tree(linked, base, ()) != tree:
        return False
    move_work(linked, tree, linked.tree_of(target), target, date)
    return True
