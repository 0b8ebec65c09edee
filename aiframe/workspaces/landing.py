"""How finished work comes onto its target branch: proven on the very commit, moved by compare-and-swap.

A commit lands only on top of the commit that it was proven on. Where the target has moved since, the work is first
merged with it in the workspace, and proven again. A person's checkout of the target moves only where nothing in it is
changed, and only forward.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path, PurePosixPath

from msgspec import Struct

from aiframe.durable import replace_file
from aiframe.workspaces.cleanroom import CleanRoom, clean_room
from aiframe.workspaces.commits import head, move_head, write_commit
from aiframe.workspaces.git import Repository, names
from aiframe.workspaces.git_errors import GitBusy, GitError, GitKilled, HeadMoved, checked
from aiframe.workspaces.host import checkouts, host_lock
from aiframe.workspaces.inplace import UNFINISHED
from aiframe.workspaces.linked import Linked, keep_work, read_ready
from aiframe.workspaces.locks import announced, clear_leftovers, files_of, ref_locks
from aiframe.workspaces.moving import MAKE_ROOM, is_cut_short, move_work
from aiframe.workspaces.trees import changed_files, switch_files, sync_index
from aiframe.workspaces.worktree import move_branch

NOTE = "landing.json"
MARKER = "^(<<<<<<<|>>>>>>>) [0-9a-f]{40}"
"""How a conflict's lines begin: git names the sides as `merge_trees` does, by commit, and nobody else writes that."""


class TargetMoved(HeadMoved):
    """The target is not where the work was proven: it has to be merged and proven again; nothing was written."""


class TargetBusy(GitError):
    """The target is checked out in a folder that is in use; nothing was written, and the work waits on its branch."""


class Merge(Struct, frozen=True):
    """What became of work that was merged with the target: the new base, the tree, and the files in conflict."""

    onto: str
    tree: str
    conflicts: tuple[str, ...] = ()


def merge_trees(linked: Linked, base: str, onto: str, tree: str, date: float) -> Merge:
    """What changed between *base* and *tree*, done to *onto*, in the object store alone.

    Files in conflict hold both versions. The base is what the work was begun on, whatever became of the target since.
    """

    def bare(of: str, *parents: str) -> str:
        return write_commit(linked, linked.tree_of(of), parents, "merge", {}, date)

    root = bare(base)
    with clean_room(linked) as room:  # merge drivers are programs, and hang on the configuration
        sides = (bare(onto, root), bare(tree, root))
        done = room.call("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", *sides)
        if done.code not in (0, 1):
            checked("merge-tree", done)
        merged, *conflicts = names(done.out)
    return Merge(onto, merged, tuple(dict.fromkeys(conflicts)))


def rebase_work(linked: Linked, tree: str, onto: str, message: str, date: float) -> Merge:
    """Bring the work in the workspace, whose files are *tree*, onto commit *onto*: its files become the merged ones.

    The branch then stands at *onto*, and the work as it was is kept under a backup ref. May be called again.
    """
    at = head(linked).commit
    merge = merge_trees(linked, read_ready(linked).base, onto, tree, date)
    if linked.tree_of(at) != tree:
        keep_work(linked, write_commit(linked, tree, (at,), f"unverified: {message}", {}, date), onto, date)
    move_work(linked, tree, merge.tree, onto, date)
    return merge


def landed_between(repo: Repository, old: str, new: str, files: Sequence[str], count: int) -> tuple[str, ...]:
    """The newest *count* commits of *new* that *old* has not, a line each: those that changed *files* (empty: any)."""
    paths = [f":(top,literal){file}" for file in files]
    out = repo.run("log", f"-{int(count)}", "--no-show-signature", "--no-ext-diff", "--no-textconv", "-z",
                   "--format=%h %s", "--end-of-options", f"{old}..{new}", "--", *paths)  # fmt: skip
    return tuple(line.decode("utf-8", "replace").strip() for line in out.split(b"\0") if line)


def unmended(repo: Repository, base: str, tree: str) -> tuple[str, ...]:
    """The files of *tree* with a marker of a conflict that `merge_trees` has put there, and *base* has not."""
    found = repo.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--text",
                     f"-G{MARKER}", "--end-of-options", f"{base}^{{tree}}", tree)  # fmt: skip
    return tuple(path for path in names(found) if _is_marked(repo, tree, path))


def _is_marked(repo: Repository, tree: str, path: str) -> bool:
    """Whether *path* has a marker in *tree*: a difference may as well have taken one away."""
    said = repo.call("grep", "-q", "--text", "--no-textconv", "-E", "-e", MARKER, tree, "--", f":(top,literal){path}")
    return said.code == 0


def commit_work(linked: Linked, commit: str, date: float) -> None:
    """Put *commit*, which holds the files of the workspace, at the tip of the task's branch. May be called again.

    What was committed on the branch before, proven or not, is kept under a backup ref.
    """
    at = head(linked)
    if at.commit == commit:
        return
    keep_work(linked, at.commit, commit, date)
    sync_index(linked, linked.tree_of(commit))  # before the branch moves: a crash in between stages no reversal
    move_head(linked, at, commit, "aiframe: finished", date)


def land(host: Repository, target: str, onto: str, commit: str, date: float) -> None:
    """Move the branch *target* from *onto* to *commit*, which descends from it; once it is there, do nothing.

    Raises TargetMoved where the target is elsewhere or gone, TargetBusy where it is checked out with changes.
    """
    with host_lock(host):
        clear_leftovers(host, ref_locks(host, f"refs/heads/{target}"))  # a git whose landing was killed may yet move it
        settle_checkouts(host)
        at = host.commit_of(f"refs/heads/{target}")
        if at is not None and host.is_ancestor(commit, at):
            return
        if at != onto or not host.is_ancestor(onto, commit):
            raise moved(host, target, onto)
        folders = [Repository(folder) for folder in checkouts(host, target)]
        for checkout in folders:
            refuse_busy(checkout, target, onto)
        for checkout in folders:
            forward(host, checkout, onto, commit)
        if not move_branch(host, target, onto, commit, "aiframe: landed", date):
            settle_checkouts(host)
            raise moved(host, target, onto)
        note_of(host).unlink(missing_ok=True)


def moved(host: Repository, target: str, onto: str) -> TargetMoved:
    """The error for a target that somebody moved."""
    said = f"{target} in {host.root} is no longer at {onto[:12]}"
    cure = "nothing was lost: the work is merged and proven again at the next tick"
    return TargetMoved("update-ref", said, hint=cure)


# A checkout of the target


def refuse_busy(checkout: Repository, target: str, commit: str) -> None:
    """Raise TargetBusy unless the files and the index of *checkout* are those of *commit*; untracked files may be."""
    for name in UNFINISHED:
        if os.path.lexists(checkout.git_dir / name):
            raise busy(checkout, target, f"is in the middle of a merge, rebase or pick ({name})")
    with clean_room(checkout) as room:
        staged = room.call("diff-index", "--cached", "--quiet", commit, index=checkout.git_dir / "index")
        room.load(commit)
        room.call("update-index", "-q", "--refresh")
        changed = names(room.run("diff-files", "--name-only", "-z"))
        room.keep_cache()
    if changed or staged.code != 0:
        more = f": {', '.join(changed[:3])}" if changed else " that are staged"
        raise busy(checkout, target, f"has changes{more}")


def busy(checkout: Repository, target: str, said: str) -> TargetBusy:
    """The error for a checkout that must not be touched now."""
    cure = f"commit or stash them in {checkout.root}, or switch to another branch there; the work waits, proven"
    return TargetBusy("land", f"{target} is checked out in {checkout.root}, which {said}", hint=cure)


def forward(host: Repository, checkout: Repository, old: str, new: str) -> None:
    """Bring the clean *checkout* from commit *old* to *new*; its branch follows right after. Raises TargetBusy."""
    taken = in_the_way(checkout, old, new)
    if taken:
        raise busy(checkout, "the target", f"has files in the way of new ones: {', '.join(taken[:3])}")
    note = {"root": os.fspath(checkout.root), "old": old, "new": new}
    replace_file(note_of(host), json.dumps(note).encode())
    try:
        switch_files(checkout, checkout.tree_of(old), checkout.tree_of(new))
    except (GitKilled, GitBusy):
        raise  # and leave the note: whoever lands next settles what was begun
    except GitError as error:
        if is_cut_short(error):  # by a full disk, for example; where there is no way back now, the note stays, too
            with suppress(GitError, OSError):
                settle_checkouts(host)
            raise GitError("land", f"{checkout.root}: {error.detail}", hint=MAKE_ROOM) from error
        note_of(host).unlink(missing_ok=True)
        raise busy(checkout, "the target", f"has files in the way ({error.detail})") from error
    sync_index(checkout, checkout.tree_of(new))


def in_the_way(checkout: Repository, old: str, new: str) -> list[str]:
    """What lies, untracked or ignored, where *new* has files that *old* has not: git overwrites the ignored ones."""
    changes = changed_files(checkout, old, new)
    deleted = {change.path for change in changes if change.status == "D"}
    made = (PurePosixPath(change.path) for change in changes if change.status == "A")
    places = {str(place) for path in made for place in (path, *path.parents) if str(place) not in deleted}
    return sorted(
        place for place in places if place != "." and os.path.lexists(checkout.root / place)
        and not (is_folder(checkout.root / place) and any(c.path.startswith(place + "/") for c in changes))
    )  # fmt: skip


def is_folder(path: Path) -> bool:
    """Whether *path* is a folder and no link to one."""
    return path.is_dir() and not path.is_symlink()


def note_of(host: Repository) -> Path:
    """There while a checkout of the target moves."""
    return host.common_dir / "aiframe" / NOTE


def settle_checkouts(host: Repository) -> None:
    """After a landing that was cut short: bring the checkout to what its branch says, a person's edits aside."""
    note = note_of(host)
    try:
        said = json.loads(note.read_bytes())
        root, old, new = Path(said["root"]), str(said["old"]), str(said["new"])
        checkout = Repository(root)
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, GitError):
        note.unlink(missing_ok=True)  # the checkout is gone, or the note is none of ours
        return
    now = head(checkout).commit
    if now in (old, new) and checkout.holds(old) and checkout.holds(new):
        bring_files(checkout, old, new, now)
    note.unlink(missing_ok=True)


def bring_files(checkout: Repository, old: str, new: str, want: str) -> None:
    """Bring the files that differ between *old* and *new*, and are as one of the two has them, to what *want* has."""
    changes = changed_files(checkout, old, new)
    with clean_room(checkout) as room, announced(checkout, files_of(checkout)) as held:
        touched = {}
        for commit in (old, new):
            room.load(commit)
            room.call("update-index", "-q", "--refresh")
            touched[commit] = set(names(room.run("diff-files", "--name-only", "-z")))
        gone = {"A": old, "D": new}
        ours = []
        for change in changes:
            if not os.path.lexists(checkout.root / change.path):
                ours.append(change)
                continue
            has = [c for c in (old, new) if gone.get(change.status) != c]
            if any(change.path not in touched[c] for c in has):
                ours.append(change)
        rest = {change.path for change in changes} - {change.path for change in ours}
        torn = {path for commit in (old, new) for path in torn_files(room, commit, rest)}
        ours += [change for change in changes if change.path in torn]
        room.load(want)
        room.call("update-index", "-q", "--refresh")
        for change in ours:
            if gone.get(change.status) == want:
                (checkout.root / change.path).unlink(missing_ok=True)
        there = [os.fsencode(change.path) for change in ours if gone.get(change.status) != want]
        if there:
            listed = b"".join(path + b"\0" for path in there)
            room.run("checkout-index", "-f", "-u", "-z", "--stdin", stdin=listed, keep_fds=held)
    sync_index(checkout, checkout.tree_of(want))


def torn_files(room: CleanRoom, commit: str, paths: Set[str]) -> set[str]:
    """Those of *paths* that hold the beginning of what *commit* has there, and no more: the git that wrote them died.

    Whoever completes them takes nothing away.
    """
    if not paths:
        return set()
    whole = room.home / "whole"
    room.load(commit)
    listed = b"".join(os.fsencode(path) + b"\0" for path in paths)
    room.call("checkout-index", "-f", "-q", "-z", "--stdin", f"--prefix={whole}/", stdin=listed)
    return {path for path in paths if is_beginning(room.folder / path, whole / path)}


def is_beginning(part: Path, whole: Path) -> bool:
    """Whether the file *part* holds the first bytes of *whole*, but not all of them."""
    if not all(path.is_file() and not path.is_symlink() for path in (part, whole)):
        return False
    return part.stat().st_size < whole.stat().st_size and whole.read_bytes().startswith(part.read_bytes())
