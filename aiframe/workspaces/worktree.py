"""The workspace of a task: a linked worktree of a person's repository, on a branch of the task's own.

Everything here may be called again after a crash at any point, and by many at once: one at a time does its work, the
others find it done. What lies in a workspace is never overwritten or removed unless a ref holds it.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from aiframe.durable import replace_file
from aiframe.workspaces.cleanroom import CleanRoom, clean_room, sweep_rooms
from aiframe.workspaces.commits import Head, create_ref, head, move_head, safe_ref, signed, write_commit
from aiframe.workspaces.git import NOT_YET, GitError, Repository, checked
from aiframe.workspaces.host import Registered, checkouts, commit_of, first_line, host_lock, registered, tip
from aiframe.workspaces.locks import announced
from aiframe.workspaces.trees import add_everything, switch_files, sync_index, worktree_tree

BACKUP = "refs/aiframe/backup/"
READY = "ready.json"
MOVING = "moving.json"


@dataclass(frozen=True, slots=True)
class Ready:
    """What a whole workspace remembers: the commit of the target that its work is on top of, and its last set-up."""

    base: str
    setup: str = ""


class Linked(Repository):
    """A task's workspace, whose identity is asserted before every call of git: no commit lands in a wrong folder.

    *branch* is the task's, *host_dir* the git directory of the repository that it belongs to.
    """

    __slots__ = ("branch", "host_dir")

    def __init__(self, root: Path, branch: str, host_dir: Path) -> None:
        super().__init__(root)
        self.branch = branch
        self.host_dir = host_dir
        self.assert_own()

    def assert_own(self) -> None:
        """Raise GitError unless folder, entry and branch belong together."""
        super().assert_own()
        fault = mismatch(self.root, self.git_dir, self.common_dir, self.host_dir, self.branch)
        if fault:
            cure = f"put it right, or move {self.root} away: the next attempt makes a new one from its branch"
            raise GitError("check", f"{self.root} is not the workspace it should be: {fault}", hint=cure)


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


# Making


def ensure_worktree(
    host: Repository, path: Path, branch: str, start: str, date: float
) -> tuple[Linked, tuple[str, ...]]:
    """The workspace at *path* on *branch*, made from commit *start* where the branch is not there yet.

    Also says in words what had to be put right. Raises GitError, LockHeld, StepError; nothing is lost then.
    """
    with host_lock(host) as held:
        make_branch(host, branch, start, date)
        notes = clear_broken(host, path)
        if not os.path.lexists(path):
            add_worktree(host, path, branch, held)
        linked = Linked(path, branch, host.common_dir)
        sweep_rooms(linked)
        if not is_ready(linked):
            at = head(linked)
            bring_by_force(linked, linked.tree_of(at.commit), at.commit, date)
            write_ready(linked, Ready(fork_of(linked, at.commit, start)))
        elif (linked.private_dir / MOVING).is_file():
            finish_move(linked, date)
    return linked, notes


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
    replace_file(linked.private_dir / READY, json.dumps(asdict(ready)).encode())


def fork_of(linked: Linked, one: str, other: str) -> str:
    """The newest commit that both descend from; *other* where there is none."""
    done = linked.call("merge-base", one, other)
    return done.out.decode().strip() if done.code == 0 else other


def make_branch(host: Repository, branch: str, start: str, date: float) -> None:
    """A branch that is there: made from *start* where it is not."""
    if commit_of(host, f"refs/heads/{branch}") is None:
        move_branch(host, branch, NOT_YET, start, "aiframe: begun", date)


def move_branch(host: Repository, branch: str, old: str, new: str, reason: str, date: float) -> bool:
    """Move *branch* from commit *old* to *new*, which is empty to delete it; False where it is not at *old*."""
    ref = f"refs/heads/{branch}"
    with announced(host, (host.common_dir / f"{ref}.lock",)) as held:
        action = ("update-ref", "-m", reason, ref, new, old) if new else ("update-ref", "-d", ref, old)
        done = host.call(*action, env=signed(host, date), keep_fds=held)
    if done.code == 0:
        return True
    if commit_of(host, ref) != (old or None):
        return False
    checked("update-ref", done)
    return False


def clear_broken(host: Repository, path: Path) -> tuple[str, ...]:
    """Clear away what a killed command left of the worktree at *path*, and entries for a folder that is gone."""
    entries = [e for e in registered(host) if e.reason == reason_for(path) or (e.root and same(e.root, path))]
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


def drop_entries(entries: list[Registered]) -> None:
    """Remove entries of .git/worktrees for folders of ours; branches and commits are not in them."""
    for entry in entries:
        shutil.rmtree(entry.git_dir)


def put_aside(path: Path) -> tuple[str, ...]:
    """Make *path* free without losing what is there."""
    if path.is_dir() and not path.is_symlink() and not set(os.listdir(path)) - {".git"}:
        with suppress(FileNotFoundError):
            (path / ".git").unlink()
        path.rmdir()
        return ()
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.aside-{number}")):
        number += 1
    os.rename(path, aside)
    return (f"{path} was no whole workspace: it is kept as {aside}, and a new one was made",)


def reason_for(path: Path) -> str:
    """What ``git worktree list`` shows for the workspace, and by which a half-made one is known."""
    return f"workspace of aiframe: {path}"


def add_worktree(host: Repository, path: Path, branch: str, held: tuple[int, ...]) -> None:
    """Make the worktree, as yet without files."""
    elsewhere = [str(folder) for folder in checkouts(host, branch)]
    if elsewhere:
        cure = f"`git -C {elsewhere[0]} switch` to another branch, then run the command again"
        raise GitError("worktree", f"{branch} is checked out in {elsewhere[0]}", hint=cure)
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


# Moving from one state of the files to another


def move_work(linked: Linked, now: str, to: str, commit: str, date: float) -> None:
    """Bring the files from tree *now*, which they match, to tree *to*, and the branch to *commit*.

    A crash in between is made good by ``ensure_worktree``. Raises GitError; the files are then as they were.
    """
    note = linked.private_dir / MOVING
    replace_file(note, json.dumps({"tree": to, "commit": commit}).encode())
    try:
        switch_files(linked, now, to)
    except GitError:
        note.unlink()
        raise
    arrive(linked, commit, date)


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


def bring_by_force(linked: Linked, tree: str, commit: str, date: float) -> None:
    """Make the files those of *tree*, whatever they are now; a backup ref holds what they were."""
    at = head(linked).commit
    with clean_room(linked) as room:
        room.load(tree)
        now = add_everything(room, at, ())
        if now != tree and not is_empty(room, now):
            keep_tree(linked, now, at, date)
        room.run("read-tree", "--reset", "-u", tree)
        room.keep_cache()
    sync_index(linked, linked.tree_of(commit))


def is_empty(room: CleanRoom, tree: str) -> bool:
    """Whether *tree* holds nothing but links to submodules, which an empty folder holds too."""
    listed = room.repo.run("ls-tree", "-r", "-z", tree).split(b"\0")
    return all(entry.startswith(b"160000") for entry in listed if entry)


# Keeping


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


# Removing


def remove_worktree(host: Repository, path: Path, branch: str, target: str, date: float) -> tuple[str, ...]:
    """Remove the workspace at *path* and its *branch*; returns the refs that keep what is not in branch *target*.

    Nothing goes away that no ref holds. Raises EmbeddedRepositories or GitError where that cannot be told; then
    nothing is removed.
    """
    kept: list[str] = []
    with host_lock(host) as held:
        notes = clear_broken(host, path)
        if path.is_dir():
            linked = Linked(path, branch, host.common_dir)
            at = head(linked).commit
            tree = worktree_tree(linked, at, ())
            if tree != linked.tree_of(at):
                kept.append(keep_tree(linked, tree, at, date))
            (linked.private_dir / READY).unlink(missing_ok=True)  # a crash from here on: its files come back whole
            done = host.call("worktree", "remove", "--force", "--force", str(path), keep_fds=held)
            checked("worktree", done)
        kept += drop_branch(host, branch, tip(host, target), date)
    return (*notes, *kept)


def drop_branch(host: Repository, branch: str, target: Head, date: float) -> list[str]:
    """Delete *branch*, once *target* or a backup ref is proven to hold it."""
    commit = commit_of(host, f"refs/heads/{branch}")
    if commit is None or checkouts(host, branch):
        return []
    kept = []
    if not host.is_ancestor(commit, target.commit):
        name = "/".join(safe_ref(part) for part in branch.split("/")[1:])
        kept.append(create_ref(host, BACKUP + name, commit, date))
    move_branch(host, branch, commit, "", "aiframe: landed", date)
    return kept
